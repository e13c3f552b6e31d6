// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: event queues and interrupts (adapter.md 1.3 and chapter 5).
 *
 * Vector 0 serves the command queue and the AEQ, vector n the CEQ with number n.  The handlers come
 * from above (struct erdma_dev_ops) and run in hard irq context.
 */
#include <linux/cpumask.h>
#include <linux/log2.h>

#include "erdma_dev_cmdq.h"
#include "erdma_dev_eq.h"
#include "erdma_dev_irq.h"

/* How often a device that has nothing to do is looked at. */
#define ERDMA_HEALTH_SECS 5

/* ---- vectors ---- */

int erdma_vectors_alloc(struct erdma_dev *dev, unsigned int most)
{
	unsigned int wanted = min(num_online_cpus() + 1, most);
	int granted;

	/* Without a second vector there is no completion vector, and without that no CQ. */
	granted = pci_alloc_irq_vectors(dev->pdev, 2, max(wanted, 2U), PCI_IRQ_MSIX);
	if (granted < 0) {
		dev_err(&dev->pdev->dev,
			"%u MSI-X vectors wanted, 2 needed, not available: error %d\n", wanted,
			granted);
		return granted;
	}
	dev->vectors = granted;
	return 0;
}

void erdma_vectors_free(struct erdma_dev *dev)
{
	pci_free_irq_vectors(dev->pdev);
}

int erdma_common_irq_request(struct erdma_dev *dev)
{
	int err;

	snprintf(dev->common_irq_name, sizeof(dev->common_irq_name), "erdma-common@pci:%s",
		 pci_name(dev->pdev));
	err = request_irq(pci_irq_vector(dev->pdev, 0), dev->ops->common_interrupt, 0,
			  dev->common_irq_name, dev);
	if (err)
		dev_err(&dev->pdev->dev, "interrupt of vector 0 is not available: error %d\n", err);
	return err;
}

void erdma_common_irq_release(struct erdma_dev *dev)
{
	free_irq(pci_irq_vector(dev->pdev, 0), dev);
}

/* ---- asynchronous events ---- */

int erdma_aeq_setup(struct erdma_dev *dev)
{
	struct erdma_eq *eq = &dev->aeq;
	int err = erdma_eq_alloc(dev, eq, ERDMA_AEQ_DEPTH, 0, ERDMA_R_AEQ_BELL);

	if (err)
		return err;
	erdma_reg_write_addr(dev, ERDMA_R_AEQ_LO, ERDMA_R_AEQ_HI, eq->ring_dma);
	erdma_reg_write(dev, ERDMA_R_AEQ_ENTRIES, eq->depth);
	erdma_reg_write64(dev, ERDMA_R_AEQ_REC, eq->rec.dma);
	return 0;
}

void erdma_aeq_teardown(struct erdma_dev *dev)
{
	erdma_eq_free(dev, &dev->aeq);
}

/* ---- completion events ---- */

static int erdma_ceq_create_cmd(struct erdma_ceq *ceq)
{
	struct erdma_eq *eq = &ceq->eq;
	struct erdma_cmd_create_eq request = {
		.ring = cpu_to_le64(eq->ring_dma),
		.vector = ceq->vector,
		.eqn = eq->number,
		.log_depth = ilog2(eq->depth),
		.type = ERDMA_EQ_TYPE_CEQ,
		.rec_lo = cpu_to_le32(lower_32_bits(eq->rec.dma)),
		.rec_hi = cpu_to_le32(upper_32_bits(eq->rec.dma)),
	};

	return erdma_cmd_exec(eq->dev, ERDMA_SUB_COMMON, ERDMA_CMD_CREATE_EQ, &request,
			      sizeof(request), NULL, NULL);
}

static void erdma_ceq_destroy_cmd(struct erdma_ceq *ceq)
{
	struct erdma_cmd_destroy_eq request = {
		.vector = ceq->vector,
		.eqn = ceq->eq.number,
		.type = ERDMA_EQ_TYPE_CEQ,
	};
	struct erdma_dev *dev = ceq->eq.dev;
	int err;

	err = erdma_cmd_exec(dev, ERDMA_SUB_COMMON, ERDMA_CMD_DESTROY_EQ, &request, sizeof(request),
			     NULL, NULL);
	if (err && !erdma_is_broken(dev))
		dev_warn(&dev->pdev->dev, "event queue %u was not destroyed: error %d\n",
			 ceq->eq.number, err);
}

static int erdma_ceq_start(struct erdma_dev *dev, unsigned int index)
{
	struct erdma_ceq *ceq = &dev->ceqs[index];
	unsigned int number = index + 1;
	int irq, err;

	err = erdma_eq_alloc(dev, &ceq->eq, ERDMA_CEQ_DEPTH, number, ERDMA_R_EQ_BELL(number));
	if (err)
		return err;
	ceq->vector = number;
	err = erdma_ceq_create_cmd(ceq);
	if (err) {
		dev_err(&dev->pdev->dev, "event queue %u was not created: error %d\n", number, err);
		return err;
	}

	irq = pci_irq_vector(dev->pdev, number);
	snprintf(ceq->irq_name, sizeof(ceq->irq_name), "erdma-ceq%u@pci:%s", number,
		 pci_name(dev->pdev));
	err = request_irq(irq, dev->ops->ceq_interrupt, 0, ceq->irq_name, ceq);
	if (err) {
		dev_err(&dev->pdev->dev, "interrupt of vector %u is not available: error %d\n",
			number, err);
		erdma_ceq_destroy_cmd(ceq);
		return err;
	}

	/* One CPU each, those near the device first. */
	cpumask_clear(&ceq->affinity);
	cpumask_set_cpu(cpumask_local_spread(index, dev_to_node(&dev->pdev->dev)), &ceq->affinity);
	erdma_irq_place(irq, &ceq->affinity);
	ceq->ready = true;
	return 0;
}

int erdma_ceqs_start(struct erdma_dev *dev)
{
	unsigned int i;
	int err;

	dev->num_ceqs = dev->vectors - 1;
	for (i = 0; i < dev->num_ceqs; i++) {
		err = erdma_ceq_start(dev, i);
		if (err) {
			erdma_ceqs_stop(dev);
			return err;
		}
	}
	return 0;
}

void erdma_ceqs_stop(struct erdma_dev *dev)
{
	unsigned int i;

	for (i = 0; i < dev->num_ceqs; i++) {
		struct erdma_ceq *ceq = &dev->ceqs[i];
		int irq = pci_irq_vector(dev->pdev, i + 1);

		if (!ceq->ready)
			continue;
		ceq->ready = false;
		erdma_irq_unplace(irq);
		free_irq(irq, ceq);
		erdma_ceq_destroy_cmd(ceq);
	}
}

void erdma_ceqs_free(struct erdma_dev *dev)
{
	unsigned int i;

	for (i = 0; i < dev->num_ceqs; i++)
		if (dev->ceqs[i].eq.ring)
			erdma_eq_free(dev, &dev->ceqs[i].eq);
	dev->num_ceqs = 0;
}

/* ---- health ---- */

/*
 * The interrupt of an event that was there at the last check already was lost, since a handler does
 * not take that long; the device repeats it for a doorbell whose CI lags (5.3).  A handler may move
 * the CI meanwhile: it is the next check that judges, and that finds another CI.
 */
static void erdma_eq_check(struct erdma_eq *eq, unsigned int vector)
{
	struct pci_dev *pdev = eq->dev->pdev;
	u32 ci = READ_ONCE(eq->ci);
	bool waiting = erdma_eq_peek(eq);

	if (waiting && eq->waiting && eq->waiting_ci == ci) {
		erdma_count(eq->dev, eq_rescued_cnt);
		dev_warn_ratelimited(&pdev->dev, "events of vector %u came without an interrupt\n",
				     vector);
		/* Not beside the handler, whose CI is the newer one. */
		disable_irq(pci_irq_vector(pdev, vector));
		erdma_eq_arm(eq);
		enable_irq(pci_irq_vector(pdev, vector));
	}
	eq->waiting = waiting;
	eq->waiting_ci = ci;
}

static void erdma_eqs_check(struct erdma_dev *dev)
{
	unsigned int i;

	erdma_eq_check(&dev->aeq, 0);
	for (i = 0; i < dev->num_ceqs; i++)
		erdma_eq_check(&dev->ceqs[i].eq, dev->ceqs[i].vector);
}

/*
 * A device that dies while nobody asks it for anything says nothing, and an interrupt can get
 * lost, one of a completion that reclaim of memory waits for among them: so this is in a workqueue
 * that goes on without memory, and asks for none.  The timer is deferrable: it waits for a
 * processor that is awake for something else.
 */
static void erdma_health_work(struct work_struct *work)
{
	struct erdma_dev *dev = container_of(to_delayed_work(work), struct erdma_dev, health_work);

	if (!erdma_check_alive(dev))
		return;
	erdma_eqs_check(dev);
	queue_delayed_work(dev->wq, &dev->health_work,
			   round_jiffies_relative(ERDMA_HEALTH_SECS * HZ));
}

void erdma_health_start(struct erdma_dev *dev)
{
	INIT_DEFERRABLE_WORK(&dev->health_work, erdma_health_work);
	queue_delayed_work(dev->wq, &dev->health_work, 0);
}

void erdma_health_stop(struct erdma_dev *dev)
{
	cancel_delayed_work_sync(&dev->health_work);
}
