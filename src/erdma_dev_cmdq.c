// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: command queue (adapter.md chapter 3) and the broken state.
 *
 * The SQ has as many entries as there may be commands outstanding, so the entry's position is also
 * the number of the wait slot and the cookie: a completion that names an SQ index names its caller
 * without any look into the ring, which the device could have changed.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/errno.h>
#include <linux/sched/mm.h>

#include "erdma_dev_cmdq.h"
#include "erdma_dev_eq.h"
#include "erdma_trace.h"

#define ERDMA_CMD_WQEBBS	(ERDMA_CMD_ENTRY_BYTES / ERDMA_WQEBB_BYTES)
#define ERDMA_CMD_SQ_DEPTH	(ERDMA_CMDQ_OUTSTANDING * ERDMA_CMD_WQEBBS)
#define ERDMA_CMD_POLL_FIRST_US	50
#define ERDMA_CMD_LAST_ERRNO	133	/* the highest errno that a status may name */

/* Who must not sleep looks this often, for about a second in all. */
#define ERDMA_CMD_ATOMIC_STEP_US 20
#define ERDMA_CMD_ATOMIC_POLLS	(USEC_PER_SEC / ERDMA_CMD_ATOMIC_STEP_US)

/* How long a sleeper trusts the interrupt before it polls by itself. */
#define ERDMA_CMD_RECOVER_MS	1000

static_assert((ERDMA_CMD_SQ_DEPTH & (ERDMA_CMD_SQ_DEPTH - 1)) == 0);

static int erdma_cmd_errno(u8 status)
{
	if (!status)
		return 0;
	return status <= ERDMA_CMD_LAST_ERRNO ? -(int)status : -EIO;
}

/* ---- completions ---- */

/* Hands one completion to its caller.  Caller holds q->lock. */
static void erdma_cmdq_complete(struct erdma_cmdq *q, const struct erdma_cmd_cqe *cqe, u32 header)
{
	u32 index = be32_to_cpu(cqe->sq_index) & (q->sq_depth - 1);
	struct erdma_cmd_slot *slot = &q->slots[index / ERDMA_CMD_WQEBBS];
	struct erdma_cmd_wait *wait;

	if (index % ERDMA_CMD_WQEBBS) {
		q->bad++;
		return;
	}

	switch (slot->state) {
	case ERDMA_SLOT_WAITING:
		wait = slot->wait;
		wait->status = FIELD_GET(ERDMA_CQE_SYNDROME, header);
		wait->resp0 = (u64)be32_to_cpu(cqe->resp[1]) << 32 | be32_to_cpu(cqe->resp[0]);
		wait->resp1 = (u64)be32_to_cpu(cqe->resp[3]) << 32 | be32_to_cpu(cqe->resp[2]);
		wait->answered = true;
		slot->wait = NULL;
		slot->state = ERDMA_SLOT_FREE;
		q->completed++;
		complete(&wait->done);
		break;
	case ERDMA_SLOT_ABANDONED:
		slot->state = ERDMA_SLOT_FREE;
		q->late++;
		break;
	default:
		q->bad++;
	}
}

/*
 * Consumes completions, at most once around, and calls who waits for a free entry.  Caller holds
 * q->lock.  Returns the number.
 */
static u32 erdma_cmdq_poll(struct erdma_cmdq *q)
{
	const struct erdma_cmd_cqe *ring = q->cq;
	u32 count;

	for (count = 0; count < q->sq_depth; count++) {
		const struct erdma_cmd_cqe *cqe = &ring[q->cq_ci & (q->sq_depth - 1)];
		u32 header = be32_to_cpu(READ_ONCE(cqe->header));

		if (!erdma_owned(FIELD_GET(ERDMA_CQE_OWNER, header), q->cq_ci, q->sq_depth))
			break;
		/* The rest of the entry was written before its header. */
		dma_rmb();
		erdma_cmdq_complete(q, cqe, header);
		q->cq_ci++;
	}
	if (count)
		wake_up_all(&q->room);
	return count;
}

/* Asks for an event on the next completion, or on one that is there (3.6).  Under q->lock. */
static void erdma_cmdq_arm(struct erdma_dev *dev)
{
	struct erdma_cmdq *q = &dev->cmdq;
	u64 value = ERDMA_CQDB_ARM | FIELD_PREP(ERDMA_CQDB_IDX, q->events & 0xff) |
		    FIELD_PREP(ERDMA_CQDB_CMDSN, q->events & 3) |
		    FIELD_PREP(ERDMA_CQDB_CI, q->cq_ci & 0xffffff);

	erdma_ring_doorbell(&q->cq_rec, dev->bar + ERDMA_R_CMD_CQ_BELL, value);
}

void erdma_cmdq_interrupt(struct erdma_dev *dev)
{
	struct erdma_cmdq *q = &dev->cmdq;
	u32 budget = q->eq.depth;
	bool seen = false;

	spin_lock(&q->lock);
	if (!q->event_mode) {
		spin_unlock(&q->lock);
		return;
	}

	/* What an entry says is of no use; that there is one means that the CQ is disarmed. */
	while (budget-- && erdma_eq_peek(&q->eq)) {
		q->eq.ci++;
		q->eq.events++;
		seen = true;
	}
	erdma_cmdq_poll(q);
	if (seen) {
		q->events++;
		erdma_cmdq_arm(dev);
	}
	erdma_eq_arm(&q->eq);
	spin_unlock(&q->lock);
}

/*
 * Polls the ring for a caller whose interrupt does not come.  Completions found here mean that
 * an event was lost, so both doorbells are rung again; otherwise every later command would wait as
 * long.
 */
static void erdma_cmdq_recover(struct erdma_dev *dev)
{
	struct erdma_cmdq *q = &dev->cmdq;
	unsigned long flags;
	u32 found;

	spin_lock_irqsave(&q->lock, flags);
	found = erdma_cmdq_poll(q);
	if (found && q->event_mode) {
		q->rescued += found;
		q->events++;
		erdma_cmdq_arm(dev);
		erdma_eq_arm(&q->eq);
	} else {
		found = 0;
	}
	spin_unlock_irqrestore(&q->lock, flags);

	if (found)
		dev_warn_ratelimited(&dev->pdev->dev,
				     "%u command completions came without an interrupt\n", found);
}

/* ---- failure of the device ---- */

/* Ends all waiting, after ERDMA_DEV_BROKEN was set. */
static void erdma_cmdq_wake_all(struct erdma_dev *dev)
{
	struct erdma_cmdq *q = &dev->cmdq;
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&q->lock, flags);
	for (i = 0; i < ERDMA_CMDQ_OUTSTANDING; i++)
		if (q->slots[i].state == ERDMA_SLOT_WAITING)
			complete(&q->slots[i].wait->done);
	spin_unlock_irqrestore(&q->lock, flags);
	wake_up_all(&q->room);
}

bool erdma_retire(struct erdma_dev *dev)
{
	unsigned long flags;
	bool first;

	/*
	 * Whoever sees the flag frees memory without asking the device to let go of it: the reset
	 * has been taken by then, and who comes in between waits for it.
	 */
	spin_lock_irqsave(&dev->retire_lock, flags);
	first = !erdma_is_broken(dev);
	if (first) {
		erdma_dev_reset(dev);
		/* Nobody sees the flag before the reset. */
		smp_mb__before_atomic();
		set_bit(ERDMA_DEV_BROKEN, &dev->flags);
	}
	spin_unlock_irqrestore(&dev->retire_lock, flags);
	if (first)
		erdma_cmdq_wake_all(dev);
	return first;
}

void erdma_mark_broken(struct erdma_dev *dev, const char *why)
{
	if (!erdma_retire(dev))
		return;
	WRITE_ONCE(dev->broken_why, why);
	trace_erdma_device_broken(dev->number, why);
	dev_err(&dev->pdev->dev,
		"device is out of use: %s; reload the driver or reset the device\n", why);
	queue_work(dev->wq, &dev->died_work);
}

static void erdma_died_work(struct work_struct *work)
{
	struct erdma_dev *dev = container_of(work, struct erdma_dev, died_work);
	/* Reclaim of memory may wait for requests that end by this. */
	unsigned int scope = memalloc_noio_save();

	dev->ops->died(dev);
	memalloc_noio_restore(scope);
}

bool erdma_check_alive(struct erdma_dev *dev)
{
	u32 status;

	if (erdma_is_broken(dev))
		return false;
	status = erdma_reg_read(dev, ERDMA_R_STATUS);
	if (status == ERDMA_ALL_ONES)
		erdma_mark_broken(dev, "its registers read all ones");
	else if (!(status & ERDMA_STATUS_INIT_DONE))
		erdma_mark_broken(dev, "it was reset");
	else
		return true;
	return false;
}

/* ---- submission ---- */

/*
 * Puts a command into the ring and rings the doorbell.  NULL when the next entry is still in use or
 * the device is broken.  Any context.
 */
static struct erdma_cmd_slot *erdma_cmdq_post(struct erdma_dev *dev, unsigned int sub,
					      unsigned int opcode, const void *request, size_t len,
					      struct erdma_cmd_wait *wait)
{
	struct erdma_cmdq *q = &dev->cmdq;
	struct erdma_cmd_slot *slot = NULL;
	unsigned long flags;
	unsigned int number;
	u64 header;
	u8 *entry;

	spin_lock_irqsave(&q->lock, flags);
	number = q->sq_pi / ERDMA_CMD_WQEBBS % ERDMA_CMDQ_OUTSTANDING;
	if (erdma_is_broken(dev) || q->slots[number].state != ERDMA_SLOT_FREE)
		goto unlock;

	slot = &q->slots[number];
	slot->state = ERDMA_SLOT_WAITING;
	slot->wait = wait;

	entry = q->sq + number * ERDMA_CMD_ENTRY_BYTES;
	q->sq_pi += ERDMA_CMD_WQEBBS;
	header = FIELD_PREP(ERDMA_CMDH_WQEBBS_M1, ERDMA_CMD_WQEBBS - 1) |
		 FIELD_PREP(ERDMA_CMDH_COOKIE, number) | FIELD_PREP(ERDMA_CMDH_SUB, sub) |
		 FIELD_PREP(ERDMA_CMDH_OPCODE, opcode) | FIELD_PREP(ERDMA_CMDH_PI_AFTER, q->sq_pi);

	memcpy(entry + sizeof(__le64), request + sizeof(__le64), len - sizeof(__le64));
	memset(entry + len, 0, ERDMA_CMD_ENTRY_BYTES - len);
	dma_wmb();
	WRITE_ONCE(*(__le64 *)entry, cpu_to_le64(header));

	q->submitted++;
	trace_erdma_cmd_submit(dev->number, number, sub, opcode);
	erdma_ring_doorbell(&q->sq_rec, dev->bar + ERDMA_R_CMD_SQ_BELL,
			    FIELD_PREP(ERDMA_DB_CMD_PI, q->sq_pi));
unlock:
	spin_unlock_irqrestore(&q->lock, flags);
	return slot;
}

/* Sleeps, polling the ring, until the command is done or its time is up. */
static void erdma_cmd_poll(struct erdma_dev *dev, struct erdma_cmd_wait *wait)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(ERDMA_CMD_TIMEOUT_MS);
	unsigned long us = ERDMA_CMD_POLL_FIRST_US;
	bool last = false;

	for (;;) {
		erdma_cmdq_recover(dev);
		if (completion_done(&wait->done) || last)
			return;
		/* One more poll after the deadline: this task may have slept through it. */
		last = time_after(jiffies, deadline);
		usleep_range(us, 2 * us);
		us = min_t(unsigned long, 2 * us, ERDMA_POLL_INTERVAL_MS * USEC_PER_MSEC);
	}
}

/* Sleeps until an interrupt brings the completion or the time is up. */
static void erdma_cmd_sleep(struct erdma_dev *dev, struct erdma_cmd_wait *wait)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(ERDMA_CMD_TIMEOUT_MS);

	while (!wait_for_completion_timeout(&wait->done, msecs_to_jiffies(ERDMA_CMD_RECOVER_MS))) {
		erdma_cmdq_recover(dev);
		if (completion_done(&wait->done) || time_after_eq(jiffies, deadline))
			return;
		if (!erdma_check_alive(dev))
			return;
	}
}

/*
 * The end of a command, answered or not: what the caller of erdma_cmd_exec() gets.  Nothing refers
 * to `wait` any more.
 */
static int erdma_cmd_finish(struct erdma_dev *dev, struct erdma_cmd_slot *slot,
			    struct erdma_cmd_wait *wait, unsigned int sub, unsigned int opcode,
			    u64 *resp0, u64 *resp1)
{
	struct erdma_cmdq *q = &dev->cmdq;
	bool timed_out = false;
	unsigned long flags;
	int err;

	spin_lock_irqsave(&q->lock, flags);
	if (wait->answered) {
		err = erdma_cmd_errno(wait->status);
		if (err)
			q->failed++;
		if (resp0)
			*resp0 = wait->resp0;
		if (resp1)
			*resp1 = wait->resp1;
	} else {
		slot->state = ERDMA_SLOT_ABANDONED;
		slot->wait = NULL;
		timed_out = !erdma_is_broken(dev);
		err = timed_out ? -ETIMEDOUT : -EIO;
		if (timed_out)
			q->timeouts++;
	}
	spin_unlock_irqrestore(&q->lock, flags);
	trace_erdma_cmd_done(dev->number, slot - q->slots, sub, opcode, err);
	erdma_dbg(dev->ib, ERDMA_DBG_CMD, "command %u/%u: %d\n", sub, opcode, err);

	if (timed_out) {
		dev_err(&dev->pdev->dev, "no answer to command %u/%u in time\n", sub, opcode);
		erdma_mark_broken(dev, "a command timed out");
	}
	return err;
}

int erdma_cmd_exec(struct erdma_dev *dev, unsigned int sub, unsigned int opcode, void *request,
		   size_t len, u64 *resp0, u64 *resp1)
{
	struct erdma_cmdq *q = &dev->cmdq;
	struct erdma_cmd_slot *slot = NULL;
	struct erdma_cmd_wait wait = { };

	might_sleep();
	if (WARN_ON_ONCE(len < sizeof(__le64) || len > ERDMA_CMD_ENTRY_BYTES))
		return -EINVAL;

	init_completion(&wait.done);
	/* Bounded: the device gives the entry back in time, or is broken. */
	wait_event(q->room, (slot = erdma_cmdq_post(dev, sub, opcode, request, len, &wait)) ||
				    erdma_is_broken(dev));
	if (!slot)
		return -EIO;

	if (READ_ONCE(q->event_mode))
		erdma_cmd_sleep(dev, &wait);
	else
		erdma_cmd_poll(dev, &wait);
	return erdma_cmd_finish(dev, slot, &wait, sub, opcode, resp0, resp1);
}

/* Takes what the ring has; the event that the device raised for it finds nothing and re-arms. */
static bool erdma_cmdq_poll_once(struct erdma_dev *dev, const struct erdma_cmd_wait *wait)
{
	struct erdma_cmdq *q = &dev->cmdq;
	unsigned long flags;
	bool over;

	spin_lock_irqsave(&q->lock, flags);
	erdma_cmdq_poll(q);
	over = wait->answered || erdma_is_broken(dev);
	spin_unlock_irqrestore(&q->lock, flags);
	return over;
}

int erdma_cmd_exec_atomic(struct erdma_dev *dev, unsigned int sub, unsigned int opcode,
			  void *request, size_t len)
{
	struct erdma_cmd_slot *slot;
	struct erdma_cmd_wait wait = { };
	unsigned int polls = 0;

	if (WARN_ON_ONCE(len < sizeof(__le64) || len > ERDMA_CMD_ENTRY_BYTES))
		return -EINVAL;

	init_completion(&wait.done);
	while (!(slot = erdma_cmdq_post(dev, sub, opcode, request, len, &wait))) {
		if (erdma_is_broken(dev))
			return -EIO;
		/* Commands of others are all that is in the way, and the device's alone to end. */
		if (polls++ >= ERDMA_CMD_ATOMIC_POLLS) {
			erdma_mark_broken(dev, "no command ended in time");
			return -ETIMEDOUT;
		}
		udelay(ERDMA_CMD_ATOMIC_STEP_US);
		erdma_cmdq_poll_once(dev, &wait);
	}
	while (!erdma_cmdq_poll_once(dev, &wait) && polls++ < ERDMA_CMD_ATOMIC_POLLS)
		udelay(ERDMA_CMD_ATOMIC_STEP_US);
	return erdma_cmd_finish(dev, slot, &wait, sub, opcode, NULL, NULL);
}

void erdma_cmd_destroy(struct erdma_dev *dev, unsigned int opcode, const char *name, u32 value)
{
	struct erdma_cmd_word request = { .value = cpu_to_le32(value) };
	int err =
		erdma_cmd_exec(dev, ERDMA_SUB_RDMA, opcode, &request, sizeof(request), NULL, NULL);

	/* "No such object" is as good as done. */
	if (!err || err == -ENOENT || erdma_is_broken(dev))
		return;
	ibdev_err(dev->ib, "%s failed with %d\n", name, err);
	erdma_mark_broken(dev, "the device refuses to give up an object");
}

/* ---- set-up ---- */

int erdma_cmdq_init(struct erdma_dev *dev)
{
	struct erdma_cmdq *q = &dev->cmdq;

	spin_lock_init(&dev->retire_lock);
	spin_lock_init(&q->lock);
	init_waitqueue_head(&q->room);
	INIT_WORK(&dev->died_work, erdma_died_work);
	dev->wq = alloc_workqueue("erdma-%s", WQ_UNBOUND | WQ_MEM_RECLAIM, 0, pci_name(dev->pdev));
	return dev->wq ? 0 : -ENOMEM;
}

void erdma_cmdq_exit(struct erdma_dev *dev)
{
	destroy_workqueue(dev->wq);
}

int erdma_cmdq_setup(struct erdma_dev *dev)
{
	struct device *parent = &dev->pdev->dev;
	struct erdma_cmdq *q = &dev->cmdq;
	int err = -ENOMEM;

	q->sq_depth = ERDMA_CMD_SQ_DEPTH;
	q->sq_pi = 0;
	q->cq_ci = 0;
	q->events = 0;
	q->event_mode = false;

	q->sq = dma_alloc_coherent(parent, ERDMA_CMD_SQ_DEPTH * ERDMA_WQEBB_BYTES, &q->sq_dma,
				   GFP_KERNEL);
	if (!q->sq)
		return -ENOMEM;
	q->cq = dma_alloc_coherent(parent, ERDMA_CMD_SQ_DEPTH * ERDMA_CQE_BYTES, &q->cq_dma,
				   GFP_KERNEL);
	if (!q->cq)
		goto free_sq;
	err = erdma_dbrec_alloc(dev, &q->sq_rec);
	if (err)
		goto free_cq;
	err = erdma_dbrec_alloc(dev, &q->cq_rec);
	if (err)
		goto free_sq_rec;
	err = erdma_eq_alloc(dev, &q->eq, ERDMA_CMD_EQ_DEPTH, 0, ERDMA_R_EQ_BELL(0));
	if (err)
		goto free_cq_rec;

	/* "Minus one": hardware that checks takes the first arm, with 0, as next (14.2). */
	*q->cq_rec.cpu =
		cpu_to_le64(FIELD_PREP(ERDMA_CQDB_IDX, 0xff) | FIELD_PREP(ERDMA_CQDB_CMDSN, 3));

	erdma_reg_write_addr(dev, ERDMA_R_CMD_SQ_LO, ERDMA_R_CMD_SQ_HI, q->sq_dma);
	erdma_reg_write(dev, ERDMA_R_CMD_DEPTH, q->sq_depth);
	erdma_reg_write64(dev, ERDMA_R_CMD_SQ_REC, q->sq_rec.dma);
	erdma_reg_write_addr(dev, ERDMA_R_CMD_CQ_LO, ERDMA_R_CMD_CQ_HI, q->cq_dma);
	erdma_reg_write64(dev, ERDMA_R_CMD_CQ_REC, q->cq_rec.dma);
	erdma_reg_write_addr(dev, ERDMA_R_CMD_EQ_LO, ERDMA_R_CMD_EQ_HI, q->eq.ring_dma);
	erdma_reg_write(dev, ERDMA_R_CMD_EQ_DEPTH, q->eq.depth);
	erdma_reg_write64(dev, ERDMA_R_CMD_EQ_REC, q->eq.rec.dma);
	return 0;

free_cq_rec:
	erdma_dbrec_free(dev, &q->cq_rec);
free_sq_rec:
	erdma_dbrec_free(dev, &q->sq_rec);
free_cq:
	dma_free_coherent(parent, ERDMA_CMD_SQ_DEPTH * ERDMA_CQE_BYTES, q->cq, q->cq_dma);
free_sq:
	dma_free_coherent(parent, ERDMA_CMD_SQ_DEPTH * ERDMA_WQEBB_BYTES, q->sq, q->sq_dma);
	return err;
}

void erdma_cmdq_enter_event_mode(struct erdma_dev *dev)
{
	struct erdma_cmdq *q = &dev->cmdq;

	spin_lock_irq(&q->lock);
	q->event_mode = true;
	erdma_cmdq_arm(dev);
	/* An interrupt that came too early left the EQ unarmed. */
	erdma_eq_arm(&q->eq);
	spin_unlock_irq(&q->lock);
}

void erdma_cmdq_teardown(struct erdma_dev *dev)
{
	struct device *parent = &dev->pdev->dev;
	struct erdma_cmdq *q = &dev->cmdq;

	erdma_eq_free(dev, &q->eq);
	erdma_dbrec_free(dev, &q->cq_rec);
	erdma_dbrec_free(dev, &q->sq_rec);
	dma_free_coherent(parent, ERDMA_CMD_SQ_DEPTH * ERDMA_CQE_BYTES, q->cq, q->cq_dma);
	dma_free_coherent(parent, ERDMA_CMD_SQ_DEPTH * ERDMA_WQEBB_BYTES, q->sq, q->sq_dma);
}
