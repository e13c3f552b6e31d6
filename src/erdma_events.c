// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: what the device reports, on its way to those whom it concerns
 * (adapter.md chapter 5).
 */
#include "erdma_cm.h"
#include "erdma_dev_cmdq.h"
#include "erdma_dev_eq.h"
#include "erdma_events.h"
#include "erdma_obj_qp.h"
#include "erdma_trace.h"

/* ---- asynchronous events ---- */

/* Each of them ends the QP; a type that is new to this driver does, too. */
static enum ib_event_type erdma_qp_event_type(const struct erdma_qp *qp, unsigned int type)
{
	switch (type) {
	case ERDMA_AE_QP_ERQ:
		return IB_EVENT_QP_REQ_ERR;
	case ERDMA_AE_ACCESS:
		return IB_EVENT_QP_ACCESS_ERR;
	case ERDMA_AE_OTHER: /* RoCEv2: a request that is none (roce.md 6.3) */
		return erdma_is_roce(&qp->ad->dev) ? IB_EVENT_QP_REQ_ERR : IB_EVENT_QP_FATAL;
	default:
		return IB_EVENT_QP_FATAL;
	}
}

/* The consumer hears of it first, then the connection is torn down. */
static void erdma_qp_async_event(struct erdma_qp *qp, unsigned int type, u32 detail)
{
	struct ib_event event = {
		.device = qp->ib.device,
		.element.qp = &qp->ib,
		.event = erdma_qp_event_type(qp, type),
	};

	/* The device will not run it again; the state follows with the connection. */
	WRITE_ONCE(qp->event_detail, detail);
	WRITE_ONCE(qp->failed, true);
	erdma_count(&qp->ad->dev, qp_fatal_events_cnt);
	if (detail == ERDMA_DETAIL_CRC)
		erdma_count(&qp->ad->dev, qp_crc_errors_cnt);
	if (detail & ERDMA_DETAIL_DIALECT)
		erdma_count(&qp->ad->dev, qp_dialect_errors_cnt);
	if (qp->ib.event_handler)
		qp->ib.event_handler(&event, qp->ib.qp_context);
	erdma_cm_qp_stopped(qp);
}

static void erdma_cq_async_event(struct erdma_cq *cq)
{
	struct ib_event event = {
		.device = cq->ib.device,
		.element.cq = &cq->ib,
		.event = IB_EVENT_CQ_ERR,
	};

	if (cq->ib.event_handler)
		cq->ib.event_handler(&event, cq->ib.cq_context);
}

/* False if the number names nothing that exists: destroyed in the meantime, or nonsense. */
static bool erdma_report_async(struct erdma_adapter *ad, unsigned int type, u32 number, u32 detail)
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
	/* Hardware may put there what it likes. */
	erdma_qp_async_event(qp, type, ad->dev.caps.model & ERDMA_MODEL_DETAIL ? detail : 0);
	erdma_qp_put(qp);
	return true;
}

static void erdma_aeq_interrupt(struct erdma_adapter *ad)
{
	struct erdma_eq *eq = &ad->dev.aeq;
	const struct erdma_aeqe *entry;
	unsigned int budget = ERDMA_EVENTS_PER_PASS;

	while (budget-- && (entry = erdma_eq_peek(eq))) {
		unsigned int type =
			FIELD_GET(ERDMA_AEQE_TYPE, le32_to_cpu(READ_ONCE(entry->header)));
		u32 number = le32_to_cpu(READ_ONCE(entry->object));
		u32 detail = le32_to_cpu(READ_ONCE(entry->data1));
		bool known;

		eq->ci++;
		eq->events++;
		known = erdma_report_async(ad, type, number, detail);
		if (!known)
			eq->bad_events++;
		trace_erdma_async_event(ad->dev.number, type, number, known);
		erdma_dbg(&ad->ib, ERDMA_DBG_EVENT, "asynchronous event of type %u for %u\n", type,
			  number);
	}
	erdma_eq_arm(eq);
}

irqreturn_t erdma_common_interrupt(int irq, void *data)
{
	struct erdma_dev *dev = data;

	erdma_cmdq_interrupt(dev);
	erdma_aeq_interrupt(erdma_of_dev(dev));
	return IRQ_HANDLED;
}

/* ---- completion events ---- */

static void erdma_cq_event(struct erdma_cq *cq)
{
	WRITE_ONCE(cq->events, cq->events + 1);
	erdma_cq_notify(cq);
}

irqreturn_t erdma_ceq_interrupt(int irq, void *data)
{
	struct erdma_ceq *ceq = data;
	struct erdma_eq *eq = &ceq->eq;
	struct erdma_adapter *ad = erdma_of_dev(eq->dev);
	const struct erdma_ceqe *entry;
	unsigned int budget = ERDMA_EVENTS_PER_PASS;

	while (budget-- && (entry = erdma_eq_peek(eq))) {
		u32 cqn = FIELD_GET(ERDMA_CEQE_CQN, le64_to_cpu(READ_ONCE(entry->word)));
		struct erdma_cq *cq = erdma_cq_find(ad, cqn);

		eq->ci++;
		eq->events++;
		if (cq) {
			erdma_cq_event(cq);
			erdma_cq_put(cq);
		} else {
			eq->bad_events++;
		}
	}
	erdma_eq_arm(eq);
	return IRQ_HANDLED;
}

/* ---- failure of the device ---- */

/* Makes every CQ's consumer poll, and find its work flushed. */
static void erdma_cqs_died(struct erdma_adapter *ad)
{
	unsigned long cqn;
	struct erdma_cq *cq;

	/* One look-up per number: consumers are called without the table's lock. */
	for (cqn = 1; cqn < ad->dev.caps.max_cqs; cqn++) {
		if (!xa_find(&ad->cqs, &cqn, ad->dev.caps.max_cqs - 1, XA_PRESENT))
			break;
		cq = erdma_cq_find(ad, cqn);
		if (!cq)
			continue;
		erdma_cq_notify(cq);
		erdma_cq_put(cq);
	}
}

void erdma_events_died(struct erdma_adapter *ad)
{
	struct ib_event event = {
		.device = &ad->ib,
		.element.port_num = 1,
		.event = IB_EVENT_DEVICE_FATAL,
	};
	unsigned long qpn;
	void *entry;

	/* While ib_core takes the device away, its event queue does not take references. */
	if (test_bit(ERDMA_AD_REGISTERED, &ad->flags) && !test_bit(ERDMA_AD_REMOVING, &ad->flags))
		ib_dispatch_event(&event);

	/* The entry may go at any time; erdma_qp_find() looks again and takes a reference. */
	xa_for_each(&ad->qps, qpn, entry) {
		struct erdma_qp *qp = erdma_qp_find(ad, qpn);

		if (!qp)
			continue;
		erdma_qp_async_event(qp, ERDMA_AE_QP_FATAL, 0);
		erdma_qp_put(qp);
	}
	erdma_cqs_died(ad);
}
