// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: the calls of ib_core, counted and with their objects entered into the tracker; and the
 * tracker itself.
 */
#include <linux/cred.h>
#include <linux/sched/signal.h>

#include "erdma_verbs.h"

/* ---- owners ---- */

void erdma_owner_take(struct erdma_owner *owner)
{
	if (current->flags & PF_KTHREAD) {
		erdma_owner_kernel(owner, NULL);
		return;
	}
	owner->pid = get_pid(task_tgid(current));
	owner->uid = current_uid();
	get_task_comm(owner->comm, current->group_leader);
}

void erdma_owner_kernel(struct erdma_owner *owner, const char *name)
{
	owner->pid = NULL;
	owner->uid = GLOBAL_ROOT_UID;
	memset(owner->comm, 0, sizeof(owner->comm));
	strscpy(owner->comm, name ?: "kernel", sizeof(owner->comm));
}

void erdma_owner_copy(struct erdma_owner *to, const struct erdma_owner *from)
{
	*to = *from;
	get_pid(to->pid);
}

void erdma_owner_drop(struct erdma_owner *owner)
{
	put_pid(owner->pid);
	owner->pid = NULL;
}

/* ---- the tracker ---- */

void erdma_tracker_init(struct erdma_tracker *tracker)
{
	unsigned int kind;

	spin_lock_init(&tracker->lock);
	for (kind = 0; kind < ERDMA_TRACK_KINDS; kind++)
		tracker->objects[kind] = RB_ROOT;
}

static struct erdma_track *erdma_track_of(struct rb_node *node)
{
	return rb_entry_safe(node, struct erdma_track, node);
}

struct erdma_track *erdma_track_from(struct erdma_tracker *tracker, enum erdma_track_kind kind, u32 number)
{
	struct rb_node *node = tracker->objects[kind].rb_node;
	struct erdma_track *best = NULL;

	lockdep_assert_held(&tracker->lock);
	while (node) {
		struct erdma_track *track = erdma_track_of(node);

		if (track->number < number) {
			node = node->rb_right;
		} else {
			best = track;
			node = node->rb_left;
		}
	}
	return best;
}

struct erdma_track *erdma_track_next(struct erdma_track *track)
{
	return erdma_track_of(rb_next(&track->node));
}

static bool erdma_track_before(struct rb_node *a, const struct rb_node *b)
{
	return erdma_track_of(a)->number < rb_entry(b, struct erdma_track, node)->number;
}

static void erdma_track_insert(struct erdma_tracker *tracker, enum erdma_track_kind kind, struct erdma_track *track)
{
	rb_add(&track->node, &tracker->objects[kind], erdma_track_before);
	tracker->counts[kind]++;
}

/* Enters a finished object.  Numbers of living objects of a kind are unique.  `udata` is NULL for the kernel's. */
static void erdma_track(struct erdma_adapter *ad, enum erdma_track_kind kind, struct erdma_track *track, u32 number,
			const struct ib_udata *udata, const struct rdma_restrack_entry *res)
{
	track->number = number;
	track->born = ktime_get();
	if (udata)
		erdma_owner_take(&track->owner);
	else
		erdma_owner_kernel(&track->owner, res->kern_name);
	spin_lock(&ad->tracker.lock);
	erdma_track_insert(&ad->tracker, kind, track);
	spin_unlock(&ad->tracker.lock);
}

/* Before anything of the object is taken apart. */
static void erdma_untrack(struct erdma_adapter *ad, enum erdma_track_kind kind, struct erdma_track *track)
{
	spin_lock(&ad->tracker.lock);
	rb_erase(&track->node, &ad->tracker.objects[kind]);
	ad->tracker.counts[kind]--;
	spin_unlock(&ad->tracker.lock);
	erdma_owner_drop(&track->owner);
}

/* ---- contexts and protection domains ---- */

int erdma_ib_alloc_ucontext(struct ib_ucontext *ibctx, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibctx->device);
	struct erdma_ucontext *uc = to_erdma_ucontext(ibctx);
	int err = erdma_alloc_ucontext(ibctx, udata);

	if (!err) {
		uc->track.born = ktime_get();
		erdma_owner_take(&uc->track.owner);
		spin_lock(&ad->tracker.lock);
		uc->track.number = ++ad->tracker.last_ctx;
		erdma_track_insert(&ad->tracker, ERDMA_TRACK_CTX, &uc->track);
		spin_unlock(&ad->tracker.lock);
	}
	return erdma_count_call(&ad->dev, verbs_alloc_ctx, err);
}

void erdma_ib_dealloc_ucontext(struct ib_ucontext *ibctx)
{
	struct erdma_adapter *ad = to_erdma(ibctx->device);

	erdma_untrack(ad, ERDMA_TRACK_CTX, &to_erdma_ucontext(ibctx)->track);
	erdma_dealloc_ucontext(ibctx);
	erdma_count(&ad->dev, verbs_dealloc_ctx_cnt);
}

int erdma_ib_alloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibpd->device);
	struct erdma_pd *pd = to_erdma_pd(ibpd);
	int err = erdma_alloc_pd(ibpd, udata);

	if (!err)
		erdma_track(ad, ERDMA_TRACK_PD, &pd->track, pd->pdn, udata, &ibpd->res);
	return erdma_count_call(&ad->dev, verbs_alloc_pd, err);
}

int erdma_ib_dealloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibpd->device);

	erdma_untrack(ad, ERDMA_TRACK_PD, &to_erdma_pd(ibpd)->track);
	erdma_count(&ad->dev, verbs_dealloc_pd_cnt);
	return erdma_dealloc_pd(ibpd, udata);
}

/* ---- memory regions ---- */

/* What ib_core fills in only later, or not at all, is kept in the region itself. */
static struct ib_mr *erdma_made_mr(struct ib_pd *ibpd, struct ib_mr *ibmr, u64 start, u64 length, int access,
				   const struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibpd->device);
	struct erdma_mr *mr;

	if (IS_ERR(ibmr)) {
		erdma_count(&ad->dev, verbs_reg_mr_failed_cnt);
		return ibmr;
	}
	mr = to_erdma_mr(ibmr);
	mr->pdn = to_erdma_pd(ibpd)->pdn;
	mr->start = start;
	mr->length = length;
	mr->access = access;
	erdma_track(ad, ERDMA_TRACK_MR, &mr->track, mr->index, udata, &ibpd->res);
	erdma_count(&ad->dev, verbs_reg_mr_cnt);
	return ibmr;
}

struct ib_mr *erdma_ib_get_dma_mr(struct ib_pd *ibpd, int access)
{
	return erdma_made_mr(ibpd, erdma_get_dma_mr(ibpd, access), 0, U64_MAX, access, NULL);
}

struct ib_mr *erdma_ib_reg_user_mr(struct ib_pd *ibpd, u64 start, u64 length, u64 iova, int access,
				   struct ib_udata *udata)
{
	return erdma_made_mr(ibpd, erdma_reg_user_mr(ibpd, start, length, iova, access, udata), iova, length, access,
			     udata);
}

struct ib_mr *erdma_ib_alloc_mr(struct ib_pd *ibpd, enum ib_mr_type type, u32 max_num_sg)
{
	return erdma_made_mr(ibpd, erdma_alloc_mr(ibpd, type, max_num_sg), 0, 0, 0, NULL);
}

int erdma_ib_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibmr->device);

	erdma_untrack(ad, ERDMA_TRACK_MR, &to_erdma_mr(ibmr)->track);
	erdma_count(&ad->dev, verbs_dereg_mr_cnt);
	return erdma_dereg_mr(ibmr, udata);
}

/* ---- completion queues and queue pairs ---- */

int erdma_ib_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibcq->device);
	struct erdma_cq *cq = to_erdma_cq(ibcq);
	int err = erdma_create_cq(ibcq, attr, udata);

	if (!err)
		erdma_track(ad, ERDMA_TRACK_CQ, &cq->track, cq->cqn, udata, &ibcq->res);
	return erdma_count_call(&ad->dev, verbs_create_cq, err);
}

int erdma_ib_destroy_cq(struct ib_cq *ibcq, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibcq->device);

	erdma_untrack(ad, ERDMA_TRACK_CQ, &to_erdma_cq(ibcq)->track);
	erdma_count(&ad->dev, verbs_destroy_cq_cnt);
	return erdma_destroy_cq(ibcq, udata);
}

int erdma_ib_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *init, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibqp->device);
	struct erdma_qp *qp = to_erdma_qp(ibqp);
	int err = erdma_create_qp(ibqp, init, udata);

	if (!err)
		erdma_track(ad, ERDMA_TRACK_QP, &qp->track, ibqp->qp_num, udata, &ibqp->res);
	return erdma_count_call(&ad->dev, verbs_create_qp, err);
}

int erdma_ib_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask, struct ib_udata *udata)
{
	return erdma_count_call(&to_erdma(ibqp->device)->dev, verbs_modify_qp, erdma_modify_qp(ibqp, attr, mask, udata));
}

int erdma_ib_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibqp->device);

	erdma_untrack(ad, ERDMA_TRACK_QP, &to_erdma_qp(ibqp)->track);
	erdma_count(&ad->dev, verbs_destroy_qp_cnt);
	return erdma_destroy_qp(ibqp, udata);
}

/* ---- connections ---- */

int erdma_ib_connect(struct iw_cm_id *id, struct iw_cm_conn_param *param)
{
	struct erdma_adapter *ad = to_erdma(id->device);
	int err;

	/* Counted first: the events of a failing connection may come before the call returns. */
	erdma_count(&ad->dev, cm_connect_cnt);
	err = erdma_cm_connect(id, param);
	if (err)
		erdma_count(&ad->dev, cm_connect_failed_cnt);
	return err;
}

int erdma_ib_accept(struct iw_cm_id *id, struct iw_cm_conn_param *param)
{
	return erdma_count_call(&to_erdma(id->device)->dev, cm_accept, erdma_cm_accept(id, param));
}

int erdma_ib_reject(struct iw_cm_id *id, const void *pdata, u8 pdata_len)
{
	erdma_count(&to_erdma(id->device)->dev, cm_reject_cnt);
	return erdma_cm_reject(id, pdata, pdata_len);
}

int erdma_ib_listen(struct iw_cm_id *id, int backlog)
{
	return erdma_count_call(&to_erdma(id->device)->dev, cm_listen, erdma_cm_listen_start(id, backlog));
}
