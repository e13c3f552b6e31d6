// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: event queues and interrupts (adapter.md 1.3 and chapter 5).
 *
 * Vector 0 serves the command queue and the AEQ, vector n the CEQ with number n.  All handlers run in hard irq
 * context; an EQ is consumed by the handler of its vector only and needs no lock (the command EQ has its queue's).
 */
#include <linux/cpumask.h>
#include <linux/dma-mapping.h>
#include <linux/log2.h>

#include "erdma.h"
#include "erdma_trace.h"

/* Entries per interrupt.  With more left, the doorbell's CI lags and the device interrupts again at once (5.3). */
#define ERDMA_EVENTS_PER_PASS 64

/* ---- queues ---- */

int erdma_eq_alloc(struct erdma_adapter *ad, struct erdma_eq *eq, u32 depth, u32 number, u32 db_offset)
{
	int err;

	eq->ring = dma_alloc_coherent(&ad->pdev->dev, (size_t)depth * ERDMA_EQE_BYTES, &eq->ring_dma, GFP_KERNEL);
	if (!eq->ring)
		return -ENOMEM;
	err = erdma_dbrec_alloc(ad, &eq->rec);
	if (err) {
		dma_free_coherent(&ad->pdev->dev, (size_t)depth * ERDMA_EQE_BYTES, eq->ring, eq->ring_dma);
		eq->ring = NULL;
		return err;
	}
	eq->ad = ad;
	eq->depth = depth;
	eq->number = number;
	eq->ci = 0;
	eq->db = ad->bar + db_offset;
	return 0;
}

void erdma_eq_free(struct erdma_adapter *ad, struct erdma_eq *eq)
{
	erdma_dbrec_free(ad, &eq->rec);
	dma_free_coherent(&ad->pdev->dev, (size_t)eq->depth * ERDMA_EQE_BYTES, eq->ring, eq->ring_dma);
	eq->ring = NULL;
}

const void *erdma_eq_peek(struct erdma_eq *eq)
{
	const void *entry = eq->ring + (eq->ci & (eq->depth - 1)) * ERDMA_EQE_BYTES;
	u32 first = le32_to_cpu(READ_ONCE(*(const __le32 *)entry));

	if (!erdma_owned(FIELD_GET(ERDMA_EQE_OWNER, first), eq->ci, eq->depth))
		return NULL;
	dma_rmb();
	return entry;
}

void erdma_eq_rearm(struct erdma_eq *eq)
{
	erdma_ring_doorbell(&eq->rec, eq->db, ERDMA_DB_EQ_ARM | FIELD_PREP(ERDMA_DB_EQ_CI, eq->ci & 0xffff));
}

/*
 * The interrupt of an event that was there at the last look already was lost, since a handler does not take that long;
 * the device repeats it for a doorbell whose CI lags (5.3).  A handler may move the CI meanwhile: it is the next look
 * that judges, and that finds another CI.
 */
static void erdma_eq_look(struct erdma_eq *eq, unsigned int vector)
{
	struct pci_dev *pdev = eq->ad->pdev;
	u32 ci = READ_ONCE(eq->ci);
	bool waiting = erdma_eq_peek(eq);

	if (waiting && eq->waiting && eq->waiting_ci == ci) {
		erdma_count(eq->ad, eq_rescued_cnt);
		dev_warn_ratelimited(&pdev->dev, "events of vector %u came without an interrupt\n", vector);
		/* Not beside the handler, whose CI is the newer one. */
		disable_irq(pci_irq_vector(pdev, vector));
		erdma_eq_rearm(eq);
		enable_irq(pci_irq_vector(pdev, vector));
	}
	eq->waiting = waiting;
	eq->waiting_ci = ci;
}

void erdma_eqs_look(struct erdma_adapter *ad)
{
	unsigned int i;

	erdma_eq_look(&ad->aeq, 0);
	for (i = 0; i < ad->num_ceqs; i++)
		erdma_eq_look(&ad->ceqs[i].eq, ad->ceqs[i].vector);
}

/* ---- asynchronous events ---- */

int erdma_aeq_setup(struct erdma_adapter *ad)
{
	struct erdma_eq *eq = &ad->aeq;
	int err = erdma_eq_alloc(ad, eq, ERDMA_AEQ_DEPTH, 0, ERDMA_R_AEQ_BELL);

	if (err)
		return err;
	erdma_reg_write_addr(ad, ERDMA_R_AEQ_LO, ERDMA_R_AEQ_HI, eq->ring_dma);
	erdma_reg_write(ad, ERDMA_R_AEQ_ENTRIES, eq->depth);
	erdma_reg_write64(ad, ERDMA_R_AEQ_REC, eq->rec.dma);
	return 0;
}

void erdma_aeq_teardown(struct erdma_adapter *ad)
{
	erdma_eq_free(ad, &ad->aeq);
}

/* False if the number names nothing that exists: destroyed in the meantime, or nonsense. */
static bool erdma_report_async(struct erdma_adapter *ad, unsigned int type, u32 number)
{
	struct erdma_qp *qp;
	struct erdma_cq *cq;

	if (type == ERDMA_AE_CQ) {
		cq = erdma_cq_find(ad, number);
		if (!cq)
			return false;
		erdma_cq_async_event(cq);
		erdma_cq_put(cq);
		return true;
	}

	qp = erdma_qp_find(ad, number);
	if (!qp)
		return false;
	erdma_qp_async_event(qp, type);
	erdma_qp_put(qp);
	return true;
}

static void erdma_aeq_interrupt(struct erdma_adapter *ad)
{
	struct erdma_eq *eq = &ad->aeq;
	const struct erdma_aeqe *entry;
	unsigned int budget = ERDMA_EVENTS_PER_PASS;

	while (budget-- && (entry = erdma_eq_peek(eq))) {
		unsigned int type = FIELD_GET(ERDMA_AEQE_TYPE, le32_to_cpu(READ_ONCE(entry->header)));
		u32 number = le32_to_cpu(READ_ONCE(entry->object));
		bool known;

		eq->ci++;
		eq->events++;
		known = erdma_report_async(ad, type, number);
		if (!known)
			eq->bad_events++;
		trace_erdma_async_event(ad->number, type, number, known);
		erdma_dbg(ad, ERDMA_DBG_EVENT, "asynchronous event of type %u for %u\n", type, number);
	}
	erdma_eq_rearm(eq);
}

static irqreturn_t erdma_common_handler(int irq, void *data)
{
	struct erdma_adapter *ad = data;

	erdma_cmdq_interrupt(ad);
	erdma_aeq_interrupt(ad);
	return IRQ_HANDLED;
}

/* ---- completion events ---- */

static irqreturn_t erdma_ceq_handler(int irq, void *data)
{
	struct erdma_ceq *ceq = data;
	struct erdma_eq *eq = &ceq->eq;
	const struct erdma_ceqe *entry;
	unsigned int budget = ERDMA_EVENTS_PER_PASS;

	while (budget-- && (entry = erdma_eq_peek(eq))) {
		u32 cqn = FIELD_GET(ERDMA_CEQE_CQN, le64_to_cpu(READ_ONCE(entry->word)));
		struct erdma_cq *cq = erdma_cq_find(eq->ad, cqn);

		eq->ci++;
		eq->events++;
		if (cq) {
			erdma_cq_event(cq);
			erdma_cq_put(cq);
		} else {
			eq->bad_events++;
		}
	}
	erdma_eq_rearm(eq);
	return IRQ_HANDLED;
}

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

	return erdma_cmd_exec(eq->ad, ERDMA_SUB_COMMON, ERDMA_CMD_CREATE_EQ, &request, sizeof(request), NULL, NULL);
}

static void erdma_ceq_destroy_cmd(struct erdma_ceq *ceq)
{
	struct erdma_cmd_destroy_eq request = {
		.vector = ceq->vector,
		.eqn = ceq->eq.number,
		.type = ERDMA_EQ_TYPE_CEQ,
	};
	struct erdma_adapter *ad = ceq->eq.ad;
	int err;

	err = erdma_cmd_exec(ad, ERDMA_SUB_COMMON, ERDMA_CMD_DESTROY_EQ, &request, sizeof(request), NULL, NULL);
	if (err && !erdma_is_broken(ad))
		dev_warn(&ad->pdev->dev, "event queue %u was not destroyed: error %d\n", ceq->eq.number, err);
}

static int erdma_ceq_start(struct erdma_adapter *ad, unsigned int index)
{
	struct erdma_ceq *ceq = &ad->ceqs[index];
	unsigned int number = index + 1;
	int irq, err;

	err = erdma_eq_alloc(ad, &ceq->eq, ERDMA_CEQ_DEPTH, number, ERDMA_R_EQ_BELL(number));
	if (err)
		return err;
	ceq->vector = number;
	err = erdma_ceq_create_cmd(ceq);
	if (err) {
		dev_err(&ad->pdev->dev, "event queue %u was not created: error %d\n", number, err);
		return err;
	}

	irq = pci_irq_vector(ad->pdev, number);
	snprintf(ceq->irq_name, sizeof(ceq->irq_name), "erdma-ceq%u@pci:%s", number, pci_name(ad->pdev));
	err = request_irq(irq, erdma_ceq_handler, 0, ceq->irq_name, ceq);
	if (err) {
		dev_err(&ad->pdev->dev, "interrupt of vector %u is not available: error %d\n", number, err);
		erdma_ceq_destroy_cmd(ceq);
		return err;
	}

	/* One CPU each, those near the device first. */
	cpumask_clear(&ceq->affinity);
	cpumask_set_cpu(cpumask_local_spread(index, dev_to_node(&ad->pdev->dev)), &ceq->affinity);
	erdma_irq_place(irq, &ceq->affinity);
	ceq->ready = true;
	return 0;
}

int erdma_ceqs_start(struct erdma_adapter *ad)
{
	unsigned int i;
	int err;

	ad->num_ceqs = ad->vectors - 1;
	for (i = 0; i < ad->num_ceqs; i++) {
		err = erdma_ceq_start(ad, i);
		if (err) {
			erdma_ceqs_stop(ad);
			return err;
		}
	}
	return 0;
}

void erdma_ceqs_stop(struct erdma_adapter *ad)
{
	unsigned int i;

	for (i = 0; i < ad->num_ceqs; i++) {
		struct erdma_ceq *ceq = &ad->ceqs[i];
		int irq = pci_irq_vector(ad->pdev, i + 1);

		if (!ceq->ready)
			continue;
		ceq->ready = false;
		erdma_irq_unplace(irq);
		free_irq(irq, ceq);
		erdma_ceq_destroy_cmd(ceq);
	}
}

void erdma_ceqs_free(struct erdma_adapter *ad)
{
	unsigned int i;

	for (i = 0; i < ad->num_ceqs; i++)
		if (ad->ceqs[i].eq.ring)
			erdma_eq_free(ad, &ad->ceqs[i].eq);
	ad->num_ceqs = 0;
}

/* ---- vectors ---- */

int erdma_vectors_alloc(struct erdma_adapter *ad)
{
	unsigned int wanted = min(num_online_cpus() + 1, erdma_max_vectors);
	int granted;

	/* Without a second vector there is no completion vector, and without that no CQ. */
	granted = pci_alloc_irq_vectors(ad->pdev, 2, max(wanted, 2U), PCI_IRQ_MSIX);
	if (granted < 0) {
		dev_err(&ad->pdev->dev, "%u MSI-X vectors wanted, 2 needed, not available: error %d\n", wanted,
			granted);
		return granted;
	}
	ad->vectors = granted;
	return 0;
}

void erdma_vectors_free(struct erdma_adapter *ad)
{
	pci_free_irq_vectors(ad->pdev);
}

int erdma_common_irq_request(struct erdma_adapter *ad)
{
	int err;

	snprintf(ad->common_irq_name, sizeof(ad->common_irq_name), "erdma-common@pci:%s", pci_name(ad->pdev));
	err = request_irq(pci_irq_vector(ad->pdev, 0), erdma_common_handler, 0, ad->common_irq_name, ad);
	if (err)
		dev_err(&ad->pdev->dev, "interrupt of vector 0 is not available: error %d\n", err);
	return err;
}

void erdma_common_irq_release(struct erdma_adapter *ad)
{
	free_irq(pci_irq_vector(ad->pdev, 0), ad);
}
