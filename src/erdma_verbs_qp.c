// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: verbs of queue pairs.
 */
#include <rdma/uverbs_ioctl.h>

#include "erdma_cm.h"
#include "erdma_obj_qp.h"
#include "erdma_roce.h"
#include "erdma_trace.h"
#include "erdma_verbs.h"

/* ---- references, for the iw_cm ---- */

/* The iw_cm does this right after erdma_iw_get_qp(), whose reference it then takes over. */
void erdma_iw_add_ref(struct ib_qp *ibqp)
{
	struct erdma_qp *qp = to_erdma_qp(ibqp);

	if (atomic_dec_if_positive(&qp->handed_out) < 0)
		erdma_qp_get(qp);
}

void erdma_iw_rem_ref(struct ib_qp *ibqp)
{
	erdma_qp_put(to_erdma_qp(ibqp));
}

/* Nothing else holds the QP until the iw_cm's reference: its owner may destroy it meanwhile. */
struct ib_qp *erdma_iw_get_qp(struct ib_device *ib, int qpn)
{
	struct erdma_qp *qp = erdma_qp_find(to_erdma(ib), qpn);

	if (!qp)
		return NULL;
	atomic_inc(&qp->handed_out);
	return &qp->ib;
}

/* ---- creation and destruction ---- */

/* The provider of user space posts no datagrams; what it wrote would be taken for them. */
static bool erdma_qp_has_type(const struct erdma_adapter *ad, enum ib_qp_type type, bool user)
{
	return type == IB_QPT_RC ||
	       ((type == IB_QPT_UD || type == IB_QPT_GSI) && erdma_is_roce(&ad->dev) && !user);
}

static int erdma_qp_check(const struct erdma_adapter *ad, const struct ib_qp_init_attr *init,
			  bool user)
{
	const struct ib_qp_cap *cap = &init->cap;

	if (!erdma_qp_has_type(ad, init->qp_type, user) || init->srq ||
	    init->create_flags || init->rwq_ind_tbl)
		return -EOPNOTSUPP;
	if (!init->send_cq || !init->recv_cq)
		return -EINVAL;
	if (cap->max_send_wr > ad->dev.caps.max_send_wr ||
	    cap->max_recv_wr > ad->dev.caps.max_recv_wr || cap->max_send_sge > ERDMA_MAX_SEND_SGE ||
	    cap->max_recv_sge > ERDMA_MAX_RECV_SGE || cap->max_inline_data > ERDMA_MAX_INLINE)
		return -EINVAL;
	return 0;
}

static int erdma_qp_pin_user(struct erdma_adapter *ad, struct erdma_qp *qp,
			     struct erdma_ucontext *uc, struct ib_udata *udata)
{
	struct erdma_abi_qp_resp resp = {
		.qpn = qp->ib.qp_num,
		.sq_wqebbs = qp->sq_depth,
		.rq_entries = qp->rq_depth,
		.rq_offset = erdma_qp_rq_offset(qp),
	};
	struct erdma_abi_queue_req req;
	int err;

	if (!erdma_can_ring(uc))
		return -EPERM;
	if (udata->inlen < sizeof(req))
		return -EINVAL;
	err = ib_copy_from_udata(&req, udata, sizeof(req));
	if (!err)
		err = erdma_qp_pin_rings(ad, qp, uc, &req);
	return err ?: ib_copy_to_udata(udata, &resp, min(sizeof(resp), udata->outlen));
}

static int erdma_make_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *init, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibqp->device);
	struct erdma_qp *qp = to_erdma_qp(ibqp);
	struct erdma_ucontext *uc = NULL;
	int err;

	if (udata)
		uc = rdma_udata_to_drv_context(udata, struct erdma_ucontext, ib);
	err = erdma_qp_check(ad, init, udata);
	if (err)
		return err;
	qp->scq = to_erdma_cq(init->send_cq);
	qp->rcq = to_erdma_cq(init->recv_cq);
	qp->sig_all = init->sq_sig_type == IB_SIGNAL_ALL_WR;
	err = erdma_qp_init(ad, qp, uc, &init->cap);
	if (err)
		return err;

	if (uc)
		err = erdma_qp_pin_user(ad, qp, uc, udata);
	else
		err = erdma_qp_alloc_rings(ad, qp);
	if (!err)
		err = erdma_qp_create(ad, qp, uc);
	if (err) {
		erdma_qp_free(ad, qp);
		return err;
	}
	init->cap = qp->cap;
	return 0;
}

int erdma_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *init, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibqp->device);
	struct erdma_qp *qp = to_erdma_qp(ibqp);
	int err = erdma_make_qp(ibqp, init, udata);

	if (!err) {
		erdma_track_add(&ad->tracker, ERDMA_TRACK_QP, &qp->track, ibqp->qp_num, udata,
				&ibqp->res);
		trace_erdma_qp_made(ad->dev.number, pci_name(ad->dev.pdev), ibqp->qp_num,
				    pid_nr(qp->track.owner.pid), qp->track.owner.comm);
	}
	return erdma_count_call(&ad->dev, verbs_create_qp, err);
}

int erdma_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibqp->device);
	struct erdma_qp *qp = to_erdma_qp(ibqp);

	erdma_track_remove(&ad->tracker, ERDMA_TRACK_QP, &qp->track);
	erdma_count(&ad->dev, verbs_destroy_qp_cnt);

	mutex_lock(&qp->state_lock);
	/* From here on no connection may take this QP. */
	if (erdma_is_roce(&ad->dev))
		erdma_roce_qp_stop(qp);
	else
		erdma_qp_stop(qp, ERDMA_QP_ERROR);
	mutex_unlock(&qp->state_lock);
	erdma_cm_qp_destroyed(qp);
	erdma_qp_destroy(ad, qp);
	return 0;
}

/* ---- modify and query ---- */

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
static int erdma_qp_modify_state(struct erdma_qp *qp, enum ib_qp_state wanted, bool *stopped)
{
	bool unused = qp->state == ERDMA_QP_IDLE || qp->state == ERDMA_QP_RTR;
	enum erdma_hw_qp_state target, before = qp->state;
	int err;

	switch (wanted) {
	case IB_QPS_RESET:
	case IB_QPS_INIT:
		/* The device has heard of none of these; once it has there is no way back. */
		if (!unused)
			return -EINVAL;
		WRITE_ONCE(qp->in_reset, wanted == IB_QPS_RESET);
		erdma_qp_set_state(qp, ERDMA_QP_IDLE);
		return 0;
	case IB_QPS_RTR:
		if (!unused || qp->in_reset)
			return -EINVAL;
		erdma_qp_set_state(qp, ERDMA_QP_RTR);
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

int erdma_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask, struct ib_udata *udata)
{
	struct erdma_qp *qp = to_erdma_qp(ibqp);
	bool stopped = false;
	int err;

	mutex_lock(&qp->state_lock);
	err = erdma_qp_check_attrs(qp, attr, mask);
	if (!err && (mask & IB_QP_CUR_STATE) && attr->cur_qp_state != erdma_verbs_state(qp))
		err = -EINVAL;
	if (!err && (mask & IB_QP_STATE))
		err = erdma_qp_modify_state(qp, attr->qp_state, &stopped);
	if (!err)
		erdma_qp_keep_attrs(qp, attr, mask);
	mutex_unlock(&qp->state_lock);

	if (stopped)
		erdma_cm_qp_stopped(qp);
	return erdma_count_call(&qp->ad->dev, verbs_modify_qp, err);
}

int erdma_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		   struct ib_qp_init_attr *init)
{
	struct erdma_qp *qp = to_erdma_qp(ibqp);

	mutex_lock(&qp->state_lock);
	erdma_qp_report(qp, attr, init);
	attr->qp_state = erdma_verbs_state(qp);
	/* Agreed with the peer, whatever was asked for. */
	if (qp->was_connected) {
		attr->max_rd_atomic = qp->terms.ord;
		attr->max_dest_rd_atomic = qp->terms.ird;
	}
	mutex_unlock(&qp->state_lock);
	attr->cur_qp_state = attr->qp_state;
	attr->path_mtu = ib_mtu_int_to_enum(qp->ad->mtu);
	return 0;
}
