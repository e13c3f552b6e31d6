// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: queue pairs and their states (adapter.md 4.7 to 4.10, chapter 9).
 */
#include <linux/bitfield.h>
#include <linux/dma-mapping.h>
#include <linux/log2.h>
#include <linux/overflow.h>

#include <rdma/uverbs_ioctl.h>

#include "erdma_trace.h"
#include "erdma_verbs.h"

/* Real hardware is asked to flush once the posts that raced with the stop are in the ring. */
#define ERDMA_REFLUSH_DELAY usecs_to_jiffies(100)

/* ---- references ---- */

struct erdma_qp *erdma_qp_find(struct erdma_adapter *ad, u32 qpn)
{
	struct erdma_qp *qp;
	unsigned long flags;

	xa_lock_irqsave(&ad->qps, flags);
	qp = xa_load(&ad->qps, qpn);
	if (qp && !kref_get_unless_zero(&qp->ref))
		qp = NULL;
	xa_unlock_irqrestore(&ad->qps, flags);
	return qp;
}

static void erdma_qp_last_ref(struct kref *ref)
{
	complete(&container_of(ref, struct erdma_qp, ref)->gone);
}

void erdma_qp_put(struct erdma_qp *qp)
{
	kref_put(&qp->ref, erdma_qp_last_ref);
}

void erdma_iw_add_ref(struct ib_qp *ibqp)
{
	erdma_qp_get(to_erdma_qp(ibqp));
}

void erdma_iw_rem_ref(struct ib_qp *ibqp)
{
	erdma_qp_put(to_erdma_qp(ibqp));
}

/* The connection manager takes its own reference right after this, with the QP held alive by its caller. */
struct ib_qp *erdma_iw_get_qp(struct ib_device *ib, int qpn)
{
	struct erdma_qp *qp = erdma_qp_find(to_erdma(ib), qpn);

	if (!qp)
		return NULL;
	erdma_qp_put(qp);
	return &qp->ib;
}

/* ---- state machine ---- */

/* Caller holds state_lock. */
static void erdma_qp_enter(struct erdma_qp *qp, enum erdma_hw_qp_state state)
{
	if (qp->state == state)
		return;
	trace_erdma_qp_state(qp->ad->dev.number, qp->ib.qp_num, qp->state, state);
	erdma_dbg(&qp->ad->ib, ERDMA_DBG_QP, "QP %u: state %d -> %d\n", qp->ib.qp_num, qp->state, state);
	WRITE_ONCE(qp->state, state);
}

void erdma_qp_reflush_later(struct erdma_qp *qp)
{
	queue_delayed_work(erdma_bound_wq, &qp->reflush, ERDMA_REFLUSH_DELAY);
}

static void erdma_kick_cq(struct erdma_cq *cq)
{
	if (cq->ib.comp_handler)
		cq->ib.comp_handler(&cq->ib, cq->ib.cq_context);
}

static void erdma_qp_reflush(struct work_struct *work)
{
	struct erdma_qp *qp = container_of(to_delayed_work(work), struct erdma_qp, reflush);
	struct erdma_cmd_reflush request = {
		.qpn = cpu_to_le32(qp->ib.qp_num),
		.sq_pi = cpu_to_le32(READ_ONCE(qp->sq_pi)),
		.rq_pi = cpu_to_le32(READ_ONCE(qp->rq_pi)),
	};

	/* Devices without the command flush by themselves, so its answer does not matter while they live. */
	erdma_cmd_exec(&qp->ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_REFLUSH, &request, sizeof(request), NULL, NULL);
	if (erdma_is_broken(&qp->ad->dev)) {
		/* Polling will find flushed work that nobody announces. */
		erdma_kick_cq(qp->scq);
		if (qp->rcq != qp->scq)
			erdma_kick_cq(qp->rcq);
	}
}

int erdma_qp_start(struct erdma_qp *qp, const struct erdma_handover *h)
{
	struct erdma_cmd_modify_qp request = {
		.cfg = cpu_to_le32(FIELD_PREP(ERDMA_MODIFY_STATE, ERDMA_QP_RTS) | FIELD_PREP(ERDMA_MODIFY_CC, h->cc) |
				   FIELD_PREP(ERDMA_MODIFY_QPN, qp->ib.qp_num)),
		.peer_cookie = cpu_to_le32(h->peer_cookie),
		.peer_ip = h->peer_ip,
		.own_ip = h->own_ip,
		.own_port = h->own_port,
		.peer_port = h->peer_port,
		.send_nxt = cpu_to_le32(h->send_nxt),
		.recv_nxt = cpu_to_le32(h->recv_nxt),
	};
	int err;

	lockdep_assert_held(&qp->state_lock);
	if ((qp->state != ERDMA_QP_IDLE && qp->state != ERDMA_QP_RTR) || READ_ONCE(qp->failed))
		return -EINVAL;
	err = erdma_cmd_exec(&qp->ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_MODIFY_QP, &request, sizeof(request), NULL, NULL);
	if (err)
		return err;
	qp->link = (struct erdma_link) {
		.own_ip = h->own_ip,
		.peer_ip = h->peer_ip,
		.own_port = h->own_port,
		.peer_port = h->peer_port,
		.passive = h->passive,
	};
	qp->peer_cookie = h->peer_cookie;
	/* Pairs with the diagnostics, which look without a lock; a QP is connected once in its life. */
	smp_store_release(&qp->was_connected, true);
	WRITE_ONCE(qp->in_reset, false);
	erdma_qp_enter(qp, ERDMA_QP_RTS);
	return 0;
}

/* What a request for CLOSING, TERMINATE or ERROR means in each state (adapter.md 9.2). */
enum erdma_stop_action {
	ERDMA_STOP_REFUSE,
	ERDMA_STOP_NOTHING,	/* there already, or further */
	ERDMA_STOP_RECORD,	/* the device needs not be told */
	ERDMA_STOP_COMMAND,
};

static const u8 erdma_stop_actions[ERDMA_QP_ERROR + 1][ERDMA_QP_ERROR + 1] = {
	[ERDMA_QP_IDLE] = { [ERDMA_QP_ERROR] = ERDMA_STOP_COMMAND },
	[ERDMA_QP_RTR] = { [ERDMA_QP_ERROR] = ERDMA_STOP_COMMAND },
	[ERDMA_QP_RTS] = {
		[ERDMA_QP_CLOSING] = ERDMA_STOP_COMMAND,
		[ERDMA_QP_TERMINATE] = ERDMA_STOP_COMMAND,
		[ERDMA_QP_ERROR] = ERDMA_STOP_COMMAND,
	},
	[ERDMA_QP_CLOSING] = {
		[ERDMA_QP_CLOSING] = ERDMA_STOP_NOTHING,
		[ERDMA_QP_TERMINATE] = ERDMA_STOP_NOTHING,
		[ERDMA_QP_ERROR] = ERDMA_STOP_COMMAND,
	},
	[ERDMA_QP_TERMINATE] = {
		[ERDMA_QP_CLOSING] = ERDMA_STOP_NOTHING,
		[ERDMA_QP_TERMINATE] = ERDMA_STOP_NOTHING,
		[ERDMA_QP_ERROR] = ERDMA_STOP_RECORD,
	},
	[ERDMA_QP_ERROR] = {
		[ERDMA_QP_CLOSING] = ERDMA_STOP_NOTHING,
		[ERDMA_QP_TERMINATE] = ERDMA_STOP_NOTHING,
		[ERDMA_QP_ERROR] = ERDMA_STOP_NOTHING,
	},
};

int erdma_qp_stop(struct erdma_qp *qp, enum erdma_hw_qp_state target)
{
	struct erdma_cmd_modify_qp request = {
		.cfg = cpu_to_le32(FIELD_PREP(ERDMA_MODIFY_STATE, target) |
				   FIELD_PREP(ERDMA_MODIFY_QPN, qp->ib.qp_num)),
	};
	u8 action;
	int err;

	lockdep_assert_held(&qp->state_lock);
	if (target > ERDMA_QP_ERROR)
		return -EINVAL;

	action = erdma_stop_actions[qp->state][target];
	if (action == ERDMA_STOP_REFUSE)
		return -EINVAL;
	if (action == ERDMA_STOP_NOTHING)
		return 0;
	if (action == ERDMA_STOP_COMMAND) {
		err = erdma_cmd_exec(&qp->ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_MODIFY_QP, &request, sizeof(request), NULL,
				     NULL);
		/* On a dead device every QP has stopped, whatever the command says. */
		if (err && !erdma_is_broken(&qp->ad->dev))
			return err;
		if (err)
			target = ERDMA_QP_ERROR;
	}
	WRITE_ONCE(qp->in_reset, false);
	erdma_qp_enter(qp, target);
	if (qp->sent)
		erdma_qp_reflush_later(qp);
	return 0;
}

/* ---- creation ---- */

static int erdma_qp_check(const struct erdma_adapter *ad, const struct ib_qp_init_attr *init)
{
	const struct ib_qp_cap *cap = &init->cap;

	if (init->qp_type != IB_QPT_RC || init->srq || init->create_flags || init->rwq_ind_tbl)
		return -EOPNOTSUPP;
	if (!init->send_cq || !init->recv_cq)
		return -EINVAL;
	if (cap->max_send_wr > ad->dev.caps.max_send_wr || cap->max_recv_wr > ad->dev.caps.max_recv_wr ||
	    cap->max_send_sge > ERDMA_MAX_SEND_SGE || cap->max_recv_sge > ERDMA_MAX_RECV_SGE ||
	    cap->max_inline_data > ERDMA_MAX_INLINE)
		return -EINVAL;
	return 0;
}

/* Ring sizes as the user-space provider computes them too (adapter.md 10.4), and what that really allows. */
static void erdma_qp_size(struct erdma_qp *qp, const struct ib_qp_cap *wanted)
{
	qp->sq_depth = roundup_pow_of_two(max(wanted->max_send_wr, 1u) * ERDMA_MAX_SQE_WQEBBS);
	qp->rq_depth = roundup_pow_of_two(max(wanted->max_recv_wr, 1u));
	qp->sq_bytes = (size_t)qp->sq_depth * ERDMA_WQEBB_BYTES;
	qp->rq_bytes = (size_t)qp->rq_depth * ERDMA_RQE_BYTES;
	qp->cap = (struct ib_qp_cap) {
		.max_send_wr = qp->sq_depth / ERDMA_MAX_SQE_WQEBBS,
		.max_recv_wr = qp->rq_depth,
		.max_send_sge = ERDMA_MAX_SEND_SGE,
		.max_recv_sge = ERDMA_MAX_RECV_SGE,
		.max_inline_data = ERDMA_MAX_INLINE,
		.max_rdma_ctxs = wanted->max_rdma_ctxs,	/* belongs to the RDMA core, which reads it back */
	};
}

static int erdma_ring_alloc(struct erdma_adapter *ad, size_t bytes, void **ring, dma_addr_t *dma,
			    struct erdma_dbrec *rec)
{
	*ring = dma_alloc_coherent(&ad->dev.pdev->dev, bytes, dma, GFP_KERNEL | __GFP_NOWARN);
	return *ring ? erdma_dbrec_alloc(&ad->dev, rec) : -ENOMEM;
}

static int erdma_qp_take_kernel(struct erdma_adapter *ad, struct erdma_qp *qp)
{
	int err;

	err = erdma_ring_alloc(ad, qp->sq_bytes, &qp->sq, &qp->sq_dma, &qp->sq_rec);
	if (!err)
		err = erdma_ring_alloc(ad, qp->rq_bytes, &qp->rq, &qp->rq_dma, &qp->rq_rec);
	if (err)
		return err;
	qp->sent = kvcalloc(qp->sq_depth, sizeof(*qp->sent), GFP_KERNEL);
	qp->rq_wrids = kvcalloc(qp->rq_depth, sizeof(*qp->rq_wrids), GFP_KERNEL);
	return qp->sent && qp->rq_wrids ? 0 : -ENOMEM;
}

static const struct erdma_pgtable_rules erdma_ring_table_rules = {
	.page_sizes = GENMASK_ULL(19, 12),	/* 4 KiB .. 512 KiB */
	.max_inline = 4,
	.max_count = 2047,
};

static int erdma_ring_pin(struct erdma_adapter *ad, u64 va, size_t bytes, struct ib_umem **umem,
			  struct erdma_pgtable *table)
{
	struct ib_umem *pinned = erdma_umem_get(&ad->ib, va, bytes, IB_ACCESS_LOCAL_WRITE);

	if (IS_ERR(pinned))
		return PTR_ERR(pinned);
	*umem = pinned;
	return erdma_pgtable_build(ad, table, pinned, va, &erdma_ring_table_rules);
}

static int erdma_qp_take_user(struct erdma_adapter *ad, struct erdma_qp *qp, struct ib_udata *udata)
{
	struct erdma_ucontext *uc = rdma_udata_to_drv_context(udata, struct erdma_ucontext, ib);
	u32 rq_offset = ALIGN(qp->sq_bytes, SZ_4K);
	struct erdma_abi_queue_req req;
	u64 end;
	int err;

	if (udata->inlen < sizeof(req))
		return -EINVAL;
	err = ib_copy_from_udata(&req, udata, sizeof(req));
	if (err)
		return err;
	if (!IS_ALIGNED(req.buffer_va, SZ_4K) || req.buffer_len < rq_offset + qp->rq_bytes ||
	    check_add_overflow(req.buffer_va, (u64)req.buffer_len, &end))
		return -EINVAL;

	err = erdma_ring_pin(ad, req.buffer_va, qp->sq_bytes, &qp->umem, &qp->sq_table);
	if (!err)
		err = erdma_ring_pin(ad, req.buffer_va + rq_offset, qp->rq_bytes, &qp->rq_umem, &qp->rq_table);
	if (err)
		return err;

	/* Both records lie side by side: SQ, then RQ. */
	qp->user_rec = erdma_user_dbrec_get(uc, req.record_va, 2 * sizeof(u64), &qp->user_rec_dma);
	if (IS_ERR(qp->user_rec)) {
		err = PTR_ERR(qp->user_rec);
		qp->user_rec = NULL;
	}
	return err;
}

static int erdma_qp_tell_user(const struct erdma_qp *qp, struct ib_udata *udata)
{
	struct erdma_abi_qp_resp resp = {
		.qpn = qp->ib.qp_num,
		.sq_wqebbs = qp->sq_depth,
		.rq_entries = qp->rq_depth,
		.rq_offset = ALIGN(qp->sq_bytes, SZ_4K),
	};

	return ib_copy_to_udata(udata, &resp, min(sizeof(resp), udata->outlen));
}

/* One ring of a process as CREATE_QP wants it: where it begins, and pages 1 to 3 if there is no table. */
static u64 erdma_ring_layout(const struct erdma_pgtable *t, __le32 *table, __le64 *pages)
{
	u32 i;

	*table = cpu_to_le32((t->first_offset & ERDMA_QPT_OFFSET) | FIELD_PREP(ERDMA_QPT_COUNT, t->count) |
			     (t->level ? ERDMA_QPT_TABLE : 0));
	if (t->level)
		return t->root;
	for (i = 1; i < t->count; i++)
		pages[i - 1] = cpu_to_le64(t->inline_pages[i]);
	return t->inline_pages[0];
}

static int erdma_qp_tell_device(struct erdma_adapter *ad, struct erdma_qp *qp, const struct erdma_ucontext *uc)
{
	u32 sq_cfg = FIELD_PREP(ERDMA_QPQ_CQN, qp->scq->cqn);
	u32 rq_cfg = FIELD_PREP(ERDMA_QPQ_CQN, qp->rcq->cqn);
	struct erdma_cmd_create_qp request = {
		.cfg0 = cpu_to_le32(FIELD_PREP(ERDMA_QP0_LOG_SQ, ilog2(qp->sq_depth)) |
				    FIELD_PREP(ERDMA_QP0_QPN, qp->ib.qp_num)),
		.cfg1 = cpu_to_le32(FIELD_PREP(ERDMA_QP1_LOG_RQ, ilog2(qp->rq_depth)) |
				    FIELD_PREP(ERDMA_QP1_PD, to_erdma_pd(qp->ib.pd)->pdn)),
	};
	u64 resp = 0;
	int err;

	if (uc) {
		sq_cfg |= FIELD_PREP(ERDMA_QPQ_PAGE, qp->sq_table.page_shift - 12);
		rq_cfg |= FIELD_PREP(ERDMA_QPQ_PAGE, qp->rq_table.page_shift - 12);
		request.sq_buf = cpu_to_le64(erdma_ring_layout(&qp->sq_table, &request.sq_table, request.sq_pages));
		request.rq_buf = cpu_to_le64(erdma_ring_layout(&qp->rq_table, &request.rq_table, request.rq_pages));
		request.sq_rec = cpu_to_le64(qp->user_rec_dma);
		request.rq_rec = cpu_to_le64(qp->user_rec_dma + sizeof(u64));
		if (uc->ext_sq_page) {
			sq_cfg |= ERDMA_QPQ_DB_VALID;
			request.db_pages = cpu_to_le32(FIELD_PREP(ERDMA_QPD_SQ, uc->ext_sq_page) |
						       FIELD_PREP(ERDMA_QPD_RQ, uc->ext_rq_page));
		}
	} else {
		sq_cfg |= FIELD_PREP(ERDMA_QPQ_PAGE, ERDMA_QP_KERNEL_PAGE);
		rq_cfg |= FIELD_PREP(ERDMA_QPQ_PAGE, ERDMA_QP_KERNEL_PAGE);
		request.sq_buf = cpu_to_le64(qp->sq_dma);
		request.rq_buf = cpu_to_le64(qp->rq_dma);
		request.sq_table = cpu_to_le32(FIELD_PREP(ERDMA_QPT_COUNT, 1));
		request.rq_table = request.sq_table;
		request.sq_rec = cpu_to_le64(qp->sq_rec.dma);
		request.rq_rec = cpu_to_le64(qp->rq_rec.dma);
	}
	request.sq_cfg = cpu_to_le32(sq_cfg);
	request.rq_cfg = cpu_to_le32(rq_cfg);

	err = erdma_cmd_exec(&ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_CREATE_QP, &request, sizeof(request), &resp, NULL);
	qp->cookie = FIELD_GET(ERDMA_QP_COOKIE, resp);
	return err;
}

/* Gives back everything of a QP that the device does not know (any more); fields not reached yet are zero. */
static void erdma_qp_release(struct erdma_adapter *ad, struct erdma_qp *qp)
{
	struct device *dma = &ad->dev.pdev->dev;

	erdma_user_dbrec_put(qp->user_rec);
	erdma_pgtable_release(ad, &qp->sq_table);
	erdma_pgtable_release(ad, &qp->rq_table);
	ib_umem_release(qp->umem);
	ib_umem_release(qp->rq_umem);

	kvfree(qp->sent);
	kvfree(qp->rq_wrids);
	if (qp->sq_rec.cpu)
		erdma_dbrec_free(&ad->dev, &qp->sq_rec);
	if (qp->rq_rec.cpu)
		erdma_dbrec_free(&ad->dev, &qp->rq_rec);
	if (qp->sq)
		dma_free_coherent(dma, qp->sq_bytes, qp->sq, qp->sq_dma);
	if (qp->rq)
		dma_free_coherent(dma, qp->rq_bytes, qp->rq, qp->rq_dma);

	xa_erase_irq(&ad->qps, qp->ib.qp_num);
	mutex_destroy(&qp->state_lock);
}

int erdma_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *init, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibqp->device);
	struct erdma_qp *qp = to_erdma_qp(ibqp);
	struct erdma_ucontext *uc = NULL;
	int err;

	err = erdma_qp_check(ad, init);
	if (err)
		return err;

	qp->ad = ad;
	qp->state = ERDMA_QP_IDLE;
	qp->in_reset = true;
	qp->cc = READ_ONCE(ad->dev.default_cc);
	qp->scq = to_erdma_cq(init->send_cq);
	qp->rcq = to_erdma_cq(init->recv_cq);
	qp->sig_all = init->sq_sig_type == IB_SIGNAL_ALL_WR;
	kref_init(&qp->ref);
	init_completion(&qp->gone);
	mutex_init(&qp->state_lock);
	spin_lock_init(&qp->sq_lock);
	spin_lock_init(&qp->rq_lock);
	INIT_DELAYED_WORK(&qp->reflush, erdma_qp_reflush);
	erdma_qp_size(qp, &init->cap);

	/* The number is taken but finds nothing until the device knows the QP. */
	err = xa_alloc_cyclic_irq(&ad->qps, &ibqp->qp_num, NULL, XA_LIMIT(1, ad->dev.caps.max_qps - 1), &ad->next_qpn,
				  GFP_KERNEL);
	if (err < 0)
		return err == -EBUSY ? -ENOMEM : err;

	if (udata) {
		uc = rdma_udata_to_drv_context(udata, struct erdma_ucontext, ib);
		err = erdma_qp_take_user(ad, qp, udata);
		if (!err)
			err = erdma_qp_tell_user(qp, udata);
	} else {
		err = erdma_qp_take_kernel(ad, qp);
	}
	if (!err)
		err = erdma_qp_tell_device(ad, qp, uc);
	if (err) {
		erdma_qp_release(ad, qp);
		return err;
	}

	init->cap = qp->cap;
	if (!udata)
		erdma_cq_attach(qp);
	/* Replaces the reservation, which needs no memory. */
	xa_store_irq(&ad->qps, ibqp->qp_num, qp, GFP_KERNEL);
	return 0;
}

int erdma_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibqp->device);
	struct erdma_qp *qp = to_erdma_qp(ibqp);

	mutex_lock(&qp->state_lock);
	erdma_qp_stop(qp, ERDMA_QP_ERROR);
	/* Even if the device refused: from here on no connection may take this QP. */
	erdma_qp_enter(qp, ERDMA_QP_ERROR);
	mutex_unlock(&qp->state_lock);
	erdma_cm_qp_destroyed(qp);
	cancel_delayed_work_sync(&qp->reflush);

	erdma_cmd_destroy(&ad->dev, ERDMA_CMD_DESTROY_QP, "DESTROY_QP", ibqp->qp_num);

	/* The CM and events on their way may hold references; all of them end by themselves. */
	erdma_qp_put(qp);
	wait_for_completion(&qp->gone);
	if (qp->sent)
		erdma_cq_detach(qp);
	erdma_qp_release(ad, qp);
	return 0;
}

/* ---- modify and query ---- */

#define ERDMA_MODIFY_MASK (IB_QP_STATE | IB_QP_CUR_STATE | IB_QP_EN_SQD_ASYNC_NOTIFY | IB_QP_ACCESS_FLAGS | \
			   IB_QP_PKEY_INDEX | IB_QP_PORT | IB_QP_QKEY | IB_QP_AV | IB_QP_PATH_MTU | IB_QP_TIMEOUT | \
			   IB_QP_RETRY_CNT | IB_QP_RNR_RETRY | IB_QP_RQ_PSN | IB_QP_MAX_QP_RD_ATOMIC | \
			   IB_QP_MIN_RNR_TIMER | IB_QP_SQ_PSN | IB_QP_MAX_DEST_RD_ATOMIC | IB_QP_DEST_QPN)

static enum ib_qp_state erdma_verbs_state(const struct erdma_qp *qp)
{
	static const u8 names[] = {
		[ERDMA_QP_IDLE] = IB_QPS_INIT,
		[ERDMA_QP_RTR] = IB_QPS_RTR,
		[ERDMA_QP_RTS] = IB_QPS_RTS,
		[ERDMA_QP_CLOSING] = IB_QPS_ERR,
		[ERDMA_QP_TERMINATE] = IB_QPS_ERR,
		[ERDMA_QP_ERROR] = IB_QPS_ERR,
	};

	if (READ_ONCE(qp->failed) || erdma_is_broken(&qp->ad->dev))
		return IB_QPS_ERR;
	if (qp->state == ERDMA_QP_IDLE && qp->in_reset)
		return IB_QPS_RESET;
	return names[qp->state];
}

/* Moves to a state named by verbs.  *stopped tells the caller to let the CM know. */
static int erdma_enter_state(struct erdma_qp *qp, enum ib_qp_state wanted, bool *stopped)
{
	bool unused = qp->state == ERDMA_QP_IDLE;
	enum erdma_hw_qp_state target, before = qp->state;
	int err;

	switch (wanted) {
	case IB_QPS_RESET:
	case IB_QPS_INIT:
		if (!unused)
			return -EINVAL;
		WRITE_ONCE(qp->in_reset, wanted == IB_QPS_RESET);
		return 0;
	case IB_QPS_RTR:
		if (!(unused && !qp->in_reset) && qp->state != ERDMA_QP_RTR)
			return -EINVAL;
		erdma_qp_enter(qp, ERDMA_QP_RTR);
		return 0;
	case IB_QPS_RTS:
		/* Only the connection manager knows the peer; staying there is no change. */
		return qp->state == ERDMA_QP_RTS ? 0 : -EINVAL;
	case IB_QPS_SQD:
		target = ERDMA_QP_CLOSING;
		break;
	case IB_QPS_SQE:
		target = ERDMA_QP_TERMINATE;
		break;
	case IB_QPS_ERR:
		target = ERDMA_QP_ERROR;
		break;
	default:
		return -EINVAL;
	}
	err = erdma_qp_stop(qp, target);
	*stopped = !err && qp->state != before;
	return err;
}

static int erdma_check_modify(const struct erdma_qp *qp, const struct ib_qp_attr *attr, int mask)
{
	int rights = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_ATOMIC;

	if (mask & ~ERDMA_MODIFY_MASK)
		return -EOPNOTSUPP;
	if (((mask & IB_QP_CUR_STATE) && attr->cur_qp_state != erdma_verbs_state(qp)) ||
	    ((mask & IB_QP_PORT) && attr->port_num != 1) ||
	    ((mask & IB_QP_PKEY_INDEX) && attr->pkey_index) ||
	    ((mask & IB_QP_ACCESS_FLAGS) && (attr->qp_access_flags & ~rights)) ||
	    ((mask & IB_QP_MAX_QP_RD_ATOMIC) && attr->max_rd_atomic > qp->ad->dev.caps.max_reads) ||
	    ((mask & IB_QP_MAX_DEST_RD_ATOMIC) && attr->max_dest_rd_atomic > qp->ad->dev.caps.max_reads))
		return -EINVAL;
	return 0;
}

/* Values that the device has no use for; a query reports them as they were set. */
static void erdma_remember(struct ib_qp_attr *kept, const struct ib_qp_attr *attr, int mask)
{
	if (mask & IB_QP_ACCESS_FLAGS)
		kept->qp_access_flags = attr->qp_access_flags;
	if (mask & IB_QP_QKEY)
		kept->qkey = attr->qkey;
	if (mask & IB_QP_MAX_QP_RD_ATOMIC)
		kept->max_rd_atomic = attr->max_rd_atomic;
	if (mask & IB_QP_MAX_DEST_RD_ATOMIC)
		kept->max_dest_rd_atomic = attr->max_dest_rd_atomic;
	if (mask & IB_QP_MIN_RNR_TIMER)
		kept->min_rnr_timer = attr->min_rnr_timer;
	if (mask & IB_QP_TIMEOUT)
		kept->timeout = attr->timeout;
	if (mask & IB_QP_RETRY_CNT)
		kept->retry_cnt = attr->retry_cnt;
	if (mask & IB_QP_RNR_RETRY)
		kept->rnr_retry = attr->rnr_retry;
	if (mask & IB_QP_RQ_PSN)
		kept->rq_psn = attr->rq_psn;
	if (mask & IB_QP_SQ_PSN)
		kept->sq_psn = attr->sq_psn;
	if (mask & IB_QP_DEST_QPN)
		kept->dest_qp_num = attr->dest_qp_num;
}

int erdma_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask, struct ib_udata *udata)
{
	struct erdma_qp *qp = to_erdma_qp(ibqp);
	bool stopped = false;
	int err;

	mutex_lock(&qp->state_lock);
	err = erdma_check_modify(qp, attr, mask);
	if (!err && (mask & IB_QP_STATE))
		err = erdma_enter_state(qp, attr->qp_state, &stopped);
	if (!err)
		erdma_remember(&qp->attrs, attr, mask);
	mutex_unlock(&qp->state_lock);

	if (stopped)
		erdma_cm_qp_stopped(qp);
	return err;
}

int erdma_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask, struct ib_qp_init_attr *init)
{
	struct erdma_qp *qp = to_erdma_qp(ibqp);

	mutex_lock(&qp->state_lock);
	*attr = qp->attrs;
	attr->qp_state = erdma_verbs_state(qp);
	mutex_unlock(&qp->state_lock);
	attr->cur_qp_state = attr->qp_state;
	attr->path_mtu = ib_mtu_int_to_enum(qp->ad->mtu);
	attr->port_num = 1;
	attr->cap = qp->cap;

	*init = (struct ib_qp_init_attr) {
		.event_handler = ibqp->event_handler,
		.qp_context = ibqp->qp_context,
		.send_cq = ibqp->send_cq,
		.recv_cq = ibqp->recv_cq,
		.cap = qp->cap,
		.sq_sig_type = qp->sig_all ? IB_SIGNAL_ALL_WR : IB_SIGNAL_REQ_WR,
		.qp_type = ibqp->qp_type,
		.port_num = 1,
	};
	return 0;
}
