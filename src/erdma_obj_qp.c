// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: queue pairs as objects, and their states.
 */
#include <linux/dma-mapping.h>
#include <linux/fdtable.h>
#include <linux/log2.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <net/ipv6.h>

#include <rdma/ib_umem.h>

#include "erdma_dev_cmdq.h"
#include "erdma_hw_roce.h"
#include "erdma_obj_qp.h"
#include "erdma_trace.h"

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

/* ---- whose it is ---- */

static int erdma_is_ufile(const void *ufile, struct file *file, unsigned int fd)
{
	/* The pointer of a living uverbs file; no other file has it. */
	return file->private_data == ufile;
}

bool erdma_qp_is_callers(const struct erdma_qp *qp)
{
	if (current->flags & PF_KTHREAD)
		return !qp->ufile;
	/* Looking through a process's files takes long if it has many. */
	if (qp->maker == task_tgid(current))
		return true;
	return qp->ufile && iterate_fd(current->files, 0, erdma_is_ufile, qp->ufile);
}

/* ---- state machine ---- */

void erdma_qp_set_state(struct erdma_qp *qp, u8 state)
{
	if (qp->state == state)
		return;
	trace_erdma_qp_state(qp->ad->dev.number, qp->ib.qp_num,
			     erdma_qp_told_state(qp, qp->state), erdma_qp_told_state(qp, state));
	erdma_dbg(&qp->ad->ib, ERDMA_DBG_QP, "QP %u: state %d -> %d\n", qp->ib.qp_num, qp->state,
		  state);
	WRITE_ONCE(qp->state, state);
}

void erdma_qp_queue_reflush(struct erdma_qp *qp)
{
	queue_delayed_work(qp->ad->dev.wq, &qp->reflush, ERDMA_REFLUSH_DELAY);
}

static void erdma_qp_reflush(struct work_struct *work)
{
	struct erdma_qp *qp = container_of(to_delayed_work(work), struct erdma_qp, reflush);
	struct erdma_cmd_reflush request = {
		.qpn = cpu_to_le32(qp->ib.qp_num),
		.sq_pi = cpu_to_le32(READ_ONCE(qp->sq_pi)),
		.rq_pi = cpu_to_le32(READ_ONCE(qp->rq_pi)),
	};

	/* Devices without the command flush by themselves: the answer is no matter. */
	if (!erdma_qp_is_dead(qp))
		erdma_cmd_exec(&qp->ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_REFLUSH, &request,
			       sizeof(request), NULL, NULL);
	if (erdma_qp_is_dead(qp)) {
		/* Polling will find flushed work that nobody announces. */
		erdma_cq_notify(qp->scq);
		if (qp->rcq != qp->scq)
			erdma_cq_notify(qp->rcq);
	}
}

/*
 * Where bits of the cookie have a meaning, the peer's, who chose the number, do not get there.
 */
static int erdma_put_addresses(const struct erdma_dev *dev, struct erdma_cmd_modify_qp *request,
			       const struct erdma_handover *h)
{
	bool can_ipv6 = dev->caps.flags & ERDMA_CAP_IPV6;
	u32 cookie = h->peer_cookie;

	if (can_ipv6)
		cookie &= ERDMA_MODIFY_COOKIE_QPN;
	if (ipv6_addr_v4mapped(&h->own_ip)) {
		request->peer_ip = h->peer_ip.s6_addr32[3];
		request->own_ip = h->own_ip.s6_addr32[3];
	} else {
		if (!can_ipv6)
			return -EAFNOSUPPORT;
		cookie |= ERDMA_MODIFY_COOKIE_IPV6;
		request->flow_label = h->flow_label;
		memcpy(request->peer_ip6, &h->peer_ip, sizeof(request->peer_ip6));
		memcpy(request->own_ip6, &h->own_ip, sizeof(request->own_ip6));
	}
	request->peer_cookie = cpu_to_le32(cookie);
	return 0;
}

int erdma_qp_start(struct erdma_qp *qp, const struct erdma_handover *h)
{
	struct erdma_cmd_modify_qp request = {
		.cfg = cpu_to_le32(FIELD_PREP(ERDMA_MODIFY_STATE, ERDMA_QP_RTS) |
				   FIELD_PREP(ERDMA_MODIFY_CC, h->cc) |
				   FIELD_PREP(ERDMA_MODIFY_QPN, qp->ib.qp_num)),
		.own_port = h->own_port,
		.peer_port = h->peer_port,
		.send_nxt = cpu_to_le32(h->send_nxt),
		.recv_nxt = cpu_to_le32(h->recv_nxt),
	};
	int err;

	lockdep_assert_held(&qp->state_lock);
	if ((qp->state != ERDMA_QP_IDLE && qp->state != ERDMA_QP_RTR) || READ_ONCE(qp->failed))
		return -EINVAL;
	err = erdma_put_addresses(&qp->ad->dev, &request, h);
	if (err)
		return err;
	err = erdma_cmd_exec(&qp->ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_MODIFY_QP, &request,
			     sizeof(request), NULL, NULL);
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
	qp->terms = h->terms;
	/* Pairs with the diagnostics, without a lock; a QP is connected once. */
	smp_store_release(&qp->was_connected, true);
	WRITE_ONCE(qp->in_reset, false);
	erdma_qp_set_state(qp, ERDMA_QP_RTS);
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

void erdma_qp_give_up(struct erdma_qp *qp, int err)
{
	struct ib_event event = {
		.device = qp->ib.device,
		.element.qp = &qp->ib,
		.event = IB_EVENT_QP_FATAL,
	};

	ibdev_err_ratelimited(&qp->ad->ib, "QP %u was not stopped: error %d; giving it up\n",
			      qp->ib.qp_num, err);
	erdma_cmd_destroy(&qp->ad->dev, ERDMA_CMD_DESTROY_QP, "DESTROY_QP", qp->ib.qp_num);
	WRITE_ONCE(qp->scq->has_dead, true);
	WRITE_ONCE(qp->rcq->has_dead, true);
	WRITE_ONCE(qp->dead, true);
	if (qp->ib.event_handler)
		qp->ib.event_handler(&event, qp->ib.qp_context);
}

static int erdma_qp_stop_cmd(struct erdma_qp *qp, enum erdma_hw_qp_state target)
{
	struct erdma_cmd_modify_qp request = {
		.cfg = cpu_to_le32(FIELD_PREP(ERDMA_MODIFY_STATE, target) |
				   FIELD_PREP(ERDMA_MODIFY_QPN, qp->ib.qp_num)),
	};

	return erdma_cmd_exec(&qp->ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_MODIFY_QP, &request,
			      sizeof(request), NULL, NULL);
}

int erdma_qp_stop(struct erdma_qp *qp, enum erdma_hw_qp_state target)
{
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
		err = erdma_qp_stop_cmd(qp, target);
		/* A gentle end may be refused when the QP has had a rough one. */
		if (err && target != ERDMA_QP_ERROR) {
			target = ERDMA_QP_ERROR;
			err = erdma_qp_stop_cmd(qp, target);
		}
		/* On a dead device every QP has stopped, whatever the command says. */
		if (err && !erdma_is_broken(&qp->ad->dev))
			erdma_qp_give_up(qp, err);
	}
	WRITE_ONCE(qp->in_reset, false);
	erdma_qp_set_state(qp, target);
	if (qp->sent)
		erdma_qp_queue_reflush(qp);
	return 0;
}

/* ---- attributes as verbs have them ---- */

#define ERDMA_MODIFY_MASK                                                                         \
	(IB_QP_STATE | IB_QP_CUR_STATE | IB_QP_EN_SQD_ASYNC_NOTIFY | IB_QP_ACCESS_FLAGS |         \
	 IB_QP_PKEY_INDEX | IB_QP_PORT | IB_QP_QKEY | IB_QP_AV | IB_QP_PATH_MTU | IB_QP_TIMEOUT | \
	 IB_QP_RETRY_CNT | IB_QP_RNR_RETRY | IB_QP_RQ_PSN | IB_QP_MAX_QP_RD_ATOMIC |              \
	 IB_QP_MIN_RNR_TIMER | IB_QP_SQ_PSN | IB_QP_MAX_DEST_RD_ATOMIC | IB_QP_DEST_QPN)

int erdma_qp_check_attrs(const struct erdma_qp *qp, const struct ib_qp_attr *attr, int mask)
{
	int rights = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_WRITE |
		     IB_ACCESS_REMOTE_ATOMIC;

	if (mask & ~ERDMA_MODIFY_MASK)
		return -EOPNOTSUPP;
	if (((mask & IB_QP_PORT) && attr->port_num != 1) ||
	    ((mask & IB_QP_PKEY_INDEX) && attr->pkey_index) ||
	    ((mask & IB_QP_ACCESS_FLAGS) && (attr->qp_access_flags & ~rights)) ||
	    ((mask & IB_QP_MAX_QP_RD_ATOMIC) && attr->max_rd_atomic > qp->ad->dev.caps.max_reads) ||
	    ((mask & IB_QP_MAX_DEST_RD_ATOMIC) &&
	     attr->max_dest_rd_atomic > qp->ad->dev.caps.max_reads))
		return -EINVAL;
	return 0;
}

void erdma_qp_keep_attrs(struct erdma_qp *qp, const struct ib_qp_attr *attr, int mask)
{
	struct ib_qp_attr *kept = &qp->attrs;

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
	if (mask & IB_QP_PATH_MTU)
		kept->path_mtu = attr->path_mtu;
	if (mask & IB_QP_AV) {
		kept->ah_attr = attr->ah_attr;
		/* ib_core holds the reference; a query's caller gets none. */
		kept->ah_attr.grh.sgid_attr = NULL;
	}
}

void erdma_qp_report(const struct erdma_qp *qp, struct ib_qp_attr *attr,
		     struct ib_qp_init_attr *init)
{
	*attr = qp->attrs;
	attr->port_num = 1;
	attr->cap = qp->cap;

	*init = (struct ib_qp_init_attr) {
		.event_handler = qp->ib.event_handler,
		.qp_context = qp->ib.qp_context,
		.send_cq = qp->ib.send_cq,
		.recv_cq = qp->ib.recv_cq,
		.cap = qp->cap,
		.sq_sig_type = qp->sig_all ? IB_SIGNAL_ALL_WR : IB_SIGNAL_REQ_WR,
		.qp_type = qp->ib.qp_type,
		.port_num = 1,
	};
}

/* ---- CQs: their lists serve the flushing of a dead device's work in software ---- */

static void erdma_qp_attach_cqs(struct erdma_qp *qp)
{
	spin_lock_irq(&qp->scq->lock);
	list_add_tail(&qp->scq_node, &qp->scq->senders);
	spin_unlock_irq(&qp->scq->lock);
	spin_lock_irq(&qp->rcq->lock);
	list_add_tail(&qp->rcq_node, &qp->rcq->receivers);
	spin_unlock_irq(&qp->rcq->lock);
}

static void erdma_qp_detach_cqs(struct erdma_qp *qp)
{
	spin_lock_irq(&qp->scq->lock);
	list_del_init(&qp->scq_node);
	spin_unlock_irq(&qp->scq->lock);
	spin_lock_irq(&qp->rcq->lock);
	list_del_init(&qp->rcq_node);
	spin_unlock_irq(&qp->rcq->lock);
}

void erdma_qp_forget_work(struct erdma_qp *qp)
{
	cancel_delayed_work_sync(&qp->reflush);

	spin_lock_irq(&qp->sq_lock);
	spin_lock(&qp->scq->lock);
	erdma_cq_forget(qp->scq, qp->ib.qp_num);
	memset(qp->sq, 0, qp->sq_bytes);
	memset(qp->sent, 0, qp->sq_depth * sizeof(*qp->sent));
	qp->sq_pi = 0;
	qp->sq_ci = 0;
	spin_unlock(&qp->scq->lock);
	spin_unlock_irq(&qp->sq_lock);

	spin_lock_irq(&qp->rq_lock);
	spin_lock(&qp->rcq->lock);
	erdma_cq_forget(qp->rcq, qp->ib.qp_num);
	memset(qp->rq, 0, qp->rq_bytes);
	qp->rq_pi = 0;
	qp->rq_ci = 0;
	spin_unlock(&qp->rcq->lock);
	spin_unlock_irq(&qp->rq_lock);
}

/* ---- creation and destruction ---- */

/* Ring sizes, as the provider computes them too (adapter.md 10.4), and what they allow. */
static void erdma_qp_set_depths(struct erdma_qp *qp, const struct ib_qp_cap *wanted)
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
		/* Belongs to the RDMA core, which reads it back. */
		.max_rdma_ctxs = wanted->max_rdma_ctxs,
	};
}

/* RoCEv2's QPN 1 is for management datagrams, and for nothing else. */
static int erdma_qp_reserve_number(struct erdma_adapter *ad, struct erdma_qp *qp)
{
	u32 first = erdma_is_roce(&ad->dev) ? ERDMA_GSI_QPN + 1 : 1;
	int err;

	if (qp->ib.qp_type == IB_QPT_GSI) {
		qp->ib.qp_num = ERDMA_GSI_QPN;
		return xa_insert_irq(&ad->qps, ERDMA_GSI_QPN, NULL, GFP_KERNEL);
	}
	err = xa_alloc_cyclic_irq(&ad->qps, &qp->ib.qp_num, NULL,
				  XA_LIMIT(first, ad->dev.caps.max_qps - 1), &ad->next_qpn,
				  GFP_KERNEL);
	if (err < 0)
		return err == -EBUSY ? -ENOMEM : err;
	return 0;
}

int erdma_qp_init(struct erdma_adapter *ad, struct erdma_qp *qp, const struct erdma_ucontext *uc,
		  const struct ib_qp_cap *wanted)
{
	bool roce = erdma_is_roce(&ad->dev);
	int err;

	qp->ad = ad;
	/* Both protocols' first state is 0. */
	qp->state = ERDMA_QP_IDLE;
	qp->first_sending = roce ? ERDMA_ROCE_RTS : ERDMA_QP_RTS;
	qp->first_stopped = roce ? ERDMA_ROCE_ERROR : ERDMA_QP_CLOSING;
	qp->datagram = qp->ib.qp_type != IB_QPT_RC;
	qp->in_reset = true;
	qp->cc = READ_ONCE(ad->dev.default_cc);
	kref_init(&qp->ref);
	init_completion(&qp->gone);
	mutex_init(&qp->state_lock);
	spin_lock_init(&qp->sq_lock);
	spin_lock_init(&qp->rq_lock);
	INIT_DELAYED_WORK(&qp->reflush, erdma_qp_reflush);
	erdma_qp_set_depths(qp, wanted);

	err = erdma_qp_reserve_number(ad, qp);
	if (err)
		return err;
	qp->ufile = uc ? uc->ib.ufile : NULL;
	if (!(current->flags & PF_KTHREAD))
		qp->maker = get_pid(task_tgid(current));
	return 0;
}

static int erdma_ring_alloc(struct erdma_adapter *ad, size_t bytes, void **ring, dma_addr_t *dma,
			    struct erdma_dbrec *rec)
{
	*ring = dma_alloc_coherent(&ad->dev.pdev->dev, bytes, dma, GFP_KERNEL | __GFP_NOWARN);
	return *ring ? erdma_dbrec_alloc(&ad->dev, rec) : -ENOMEM;
}

int erdma_qp_alloc_rings(struct erdma_adapter *ad, struct erdma_qp *qp)
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

/*
 * The device knows by the page size which rings are the kernel's (4.7): the local DMA key, which is
 * all of memory, serves those only.
 */
static_assert(ERDMA_QP_MAX_PAGE < ERDMA_QP_KERNEL_PAGE);

static const struct erdma_pgtable_rules erdma_ring_table_rules = {
	.page_sizes = GENMASK_ULL(12 + ERDMA_QP_MAX_PAGE, 12),	/* 4 KiB .. 512 KiB */
	.max_inline = 4,
	.max_count = 2047,
};

static int erdma_ring_pin(struct erdma_adapter *ad, struct erdma_ucontext *uc, u64 va, size_t bytes,
			  struct ib_umem **umem, struct erdma_pgtable *table)
{
	struct ib_umem *pinned = erdma_umem_get(&uc->ib, va, bytes, IB_ACCESS_LOCAL_WRITE);

	if (IS_ERR(pinned))
		return PTR_ERR(pinned);
	*umem = pinned;
	return erdma_pgtable_build(&ad->dev, table, pinned, va, &erdma_ring_table_rules);
}

int erdma_qp_pin_rings(struct erdma_adapter *ad, struct erdma_qp *qp, struct erdma_ucontext *uc,
		       const struct erdma_abi_queue_req *req)
{
	u32 rq_offset = erdma_qp_rq_offset(qp);
	u64 end;
	int err;

	if (!IS_ALIGNED(req->buffer_va, SZ_4K) || req->buffer_len < rq_offset + qp->rq_bytes ||
	    check_add_overflow(req->buffer_va, (u64)req->buffer_len, &end))
		return -EINVAL;

	err = erdma_ring_pin(ad, uc, req->buffer_va, qp->sq_bytes, &qp->umem, &qp->sq_table);
	if (!err)
		err = erdma_ring_pin(ad, uc, req->buffer_va + rq_offset, qp->rq_bytes, &qp->rq_umem,
				     &qp->rq_table);
	if (err)
		return err;

	/* Both records lie side by side: SQ, then RQ. */
	qp->user_rec = erdma_user_dbrec_get(uc, req->record_va, 2 * sizeof(u64), &qp->user_rec_dma);
	if (IS_ERR(qp->user_rec)) {
		err = PTR_ERR(qp->user_rec);
		qp->user_rec = NULL;
	}
	return err;
}

/* One ring of a process for CREATE_QP: where it begins, and pages 1 to 3 without a table. */
static u64 erdma_ring_layout(const struct erdma_pgtable *t, __le32 *table, __le64 *pages)
{
	u32 i;

	*table = cpu_to_le32((t->first_offset & ERDMA_QPT_OFFSET) |
			     FIELD_PREP(ERDMA_QPT_COUNT, t->count) |
			     (t->level ? ERDMA_QPT_TABLE : 0));
	if (t->level)
		return t->root;
	for (i = 1; i < t->count; i++)
		pages[i - 1] = cpu_to_le64(t->inline_pages[i]);
	return t->inline_pages[0];
}

int erdma_qp_create(struct erdma_adapter *ad, struct erdma_qp *qp, const struct erdma_ucontext *uc)
{
	u32 sq_cfg = FIELD_PREP(ERDMA_QPQ_CQN, qp->scq->cqn);
	u32 rq_cfg = FIELD_PREP(ERDMA_QPQ_CQN, qp->rcq->cqn);
	struct erdma_cmd_create_qp request = {
		.cfg0 = cpu_to_le32(FIELD_PREP(ERDMA_QP0_LOG_SQ, ilog2(qp->sq_depth)) |
				    FIELD_PREP(ERDMA_QP0_QPN, qp->ib.qp_num)),
		.cfg1 = cpu_to_le32(FIELD_PREP(ERDMA_QP1_LOG_RQ, ilog2(qp->rq_depth)) |
				    FIELD_PREP(ERDMA_QP1_PD, to_erdma_pd(qp->ib.pd)->pdn)),
		.type = cpu_to_le32(qp->datagram ? ERDMA_QP_TYPE_UD : ERDMA_QP_TYPE_RC),
	};
	u64 resp = 0;
	int err;

	if (uc) {
		sq_cfg |= FIELD_PREP(ERDMA_QPQ_PAGE, qp->sq_table.page_shift - 12);
		rq_cfg |= FIELD_PREP(ERDMA_QPQ_PAGE, qp->rq_table.page_shift - 12);
		request.sq_buf = cpu_to_le64(
			erdma_ring_layout(&qp->sq_table, &request.sq_table, request.sq_pages));
		request.rq_buf = cpu_to_le64(
			erdma_ring_layout(&qp->rq_table, &request.rq_table, request.rq_pages));
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

	err = erdma_cmd_exec(&ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_CREATE_QP, &request,
			     sizeof(request), &resp, NULL);
	qp->cookie = FIELD_GET(ERDMA_QP_COOKIE, resp);
	if (err)
		return err;
	if (!uc)
		erdma_qp_attach_cqs(qp);
	/* Replaces the reservation, which needs no memory. */
	xa_store_irq(&ad->qps, qp->ib.qp_num, qp, GFP_KERNEL);
	return 0;
}

void erdma_qp_destroy(struct erdma_adapter *ad, struct erdma_qp *qp)
{
	cancel_delayed_work_sync(&qp->reflush);
	if (!qp->dead)
		erdma_cmd_destroy(&ad->dev, ERDMA_CMD_DESTROY_QP, "DESTROY_QP", qp->ib.qp_num);

	/* The CM and events on their way may hold references; all of them end by themselves. */
	erdma_qp_put(qp);
	wait_for_completion(&qp->gone);
	if (qp->sent)
		erdma_qp_detach_cqs(qp);
	erdma_qp_free(ad, qp);
}

void erdma_qp_free(struct erdma_adapter *ad, struct erdma_qp *qp)
{
	struct device *dma = &ad->dev.pdev->dev;

	erdma_user_dbrec_put(qp->user_rec);
	erdma_pgtable_release(&ad->dev, &qp->sq_table);
	erdma_pgtable_release(&ad->dev, &qp->rq_table);
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
	put_pid(qp->maker);
	mutex_destroy(&qp->state_lock);
}
