// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: states and attributes of queue pairs in the RoCEv2 personality
 * (adapter.md 13.3; roce.md 1.7 to 1.9 and 8.4).
 *
 * ib_core's table of transitions decides what may be asked for; the device has the last word.
 */
#include "erdma_dev_cmdq.h"
#include "erdma_roce.h"

/* One set of numbers for the device, the driver and verbs. */
static_assert(ERDMA_ROCE_RESET == (int)IB_QPS_RESET && ERDMA_ROCE_INIT == (int)IB_QPS_INIT &&
	      ERDMA_ROCE_RTR == (int)IB_QPS_RTR && ERDMA_ROCE_RTS == (int)IB_QPS_RTS &&
	      ERDMA_ROCE_SQD == (int)IB_QPS_SQD && ERDMA_ROCE_SQE == (int)IB_QPS_SQE &&
	      ERDMA_ROCE_ERROR == (int)IB_QPS_ERR);

/* ---- what the device says ---- */

/*
 * The device finds errors by itself, and tells not of each: states that it can have gone to are
 * taken over.  Caller holds the state_lock.
 */
static int erdma_roce_ask(struct erdma_qp *qp, u64 *answer)
{
	struct erdma_cmd_word request = { .value = cpu_to_le32(qp->ib.qp_num) };
	unsigned int state;
	int err;

	*answer = 0;
	if (erdma_qp_is_dead(qp))
		return 0;
	err = erdma_cmd_exec(&qp->ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_QUERY_QP, &request,
			     sizeof(request), answer, NULL);
	if (err)
		return erdma_is_broken(&qp->ad->dev) ? 0 : err;
	state = FIELD_GET(ERDMA_QQP_STATE, *answer);
	if (state > ERDMA_ROCE_ERROR) {
		ibdev_err_ratelimited(&qp->ad->ib, "QP %u: the device says it is in state %u\n",
				      qp->ib.qp_num, state);
		return -EIO;
	}
	if (qp->state >= ERDMA_ROCE_RTR && qp->state != state &&
	    (state == ERDMA_ROCE_ERROR || (state == ERDMA_ROCE_SQE && qp->datagram)))
		erdma_qp_set_state(qp, state);
	return 0;
}

static enum ib_qp_state erdma_roce_state(const struct erdma_qp *qp)
{
	return erdma_qp_is_dead(qp) ? IB_QPS_ERR : (enum ib_qp_state)qp->state;
}

/* ---- modify ---- */

void erdma_roce_qp_stop(struct erdma_qp *qp)
{
	struct erdma_roce_modify request = {
		.cfg = cpu_to_le32(FIELD_PREP(ERDMA_MODIFY_STATE, ERDMA_ROCE_ERROR) |
				   FIELD_PREP(ERDMA_MODIFY_QPN, qp->ib.qp_num)),
		.mask = cpu_to_le32(ERDMA_RM_STATE),
	};
	int err;

	lockdep_assert_held(&qp->state_lock);
	if (qp->state == ERDMA_ROCE_ERROR)
		return;
	err = erdma_cmd_exec(&qp->ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_MODIFY_QP, &request,
			     ERDMA_ROCE_MODIFY_PLAIN, NULL, NULL);
	/* On a dead device every QP has stopped, whatever the command says. */
	if (err && !erdma_is_broken(&qp->ad->dev))
		erdma_qp_give_up(qp, err);
	WRITE_ONCE(qp->in_reset, false);
	erdma_qp_set_state(qp, ERDMA_ROCE_ERROR);
	if (qp->sent)
		erdma_qp_queue_reflush(qp);
}

/* What ib_core's table does not look at. */
static int erdma_roce_check(const struct erdma_qp *qp, const struct ib_qp_attr *attr, int mask)
{
	int err = erdma_qp_check_attrs(qp, attr, mask);

	if (err)
		return err;
	/* The device does not tell when a queue has drained. */
	if ((mask & IB_QP_EN_SQD_ASYNC_NOTIFY) && attr->en_sqd_async_notify)
		return -EOPNOTSUPP;
	if (((mask & IB_QP_PATH_MTU) &&
	     (attr->path_mtu < IB_MTU_256 ||
	      attr->path_mtu > erdma_roce_mtu(READ_ONCE(qp->ad->mtu)))) ||
	    ((mask & IB_QP_TIMEOUT) && attr->timeout > 31) ||
	    ((mask & IB_QP_RETRY_CNT) && attr->retry_cnt > 7) ||
	    ((mask & IB_QP_RNR_RETRY) && attr->rnr_retry > 7) ||
	    ((mask & IB_QP_MIN_RNR_TIMER) && attr->min_rnr_timer > 31) ||
	    ((mask & IB_QP_DEST_QPN) && attr->dest_qp_num > ERDMA_QPN_MASK))
		return -EINVAL;
	return 0;
}

/* The label that a connection without one has its UDP source port made of (adapter.md 13.2). */
static u32 erdma_roce_label(u32 own_qpn, u32 peer_qpn)
{
	u64 v = (u64)own_qpn * peer_qpn;

	v ^= v >> 20;
	v ^= v >> 40;
	return v & ERDMA_AV_FLOW_LABEL;
}

static u8 erdma_roce_peer_may(int rights)
{
	return (rights & IB_ACCESS_REMOTE_WRITE ? ERDMA_PEER_WRITE : 0) |
	       (rights & IB_ACCESS_REMOTE_READ ? ERDMA_PEER_READ : 0) |
	       (rights & IB_ACCESS_REMOTE_ATOMIC ? ERDMA_PEER_ATOMIC : 0);
}

/* Attributes into the command's fields, and their bits of its mask, whether it has room or not. */
static int erdma_roce_fill(const struct erdma_qp *qp, struct erdma_roce_modify *r,
			   const struct ib_qp_attr *attr, int mask)
{
	static const struct {
		int verbs;
		u32 device;
	} bits[] = {
		{ IB_QP_QKEY, ERDMA_RM_QKEY },
		{ IB_QP_AV, ERDMA_RM_AV },
		{ IB_QP_SQ_PSN, ERDMA_RM_SQ_PSN },
		{ IB_QP_RQ_PSN, ERDMA_RM_RQ_PSN },
		{ IB_QP_DEST_QPN, ERDMA_RM_PEER_QPN },
		{ IB_QP_PATH_MTU, ERDMA_RM_PATH_MTU },
		{ IB_QP_TIMEOUT, ERDMA_RM_TIMEOUT },
		{ IB_QP_RETRY_CNT, ERDMA_RM_RETRIES },
		{ IB_QP_RNR_RETRY, ERDMA_RM_RNR_RETRIES },
		{ IB_QP_MIN_RNR_TIMER, ERDMA_RM_RNR_TIMER },
		{ IB_QP_MAX_QP_RD_ATOMIC, ERDMA_RM_ORD },
		{ IB_QP_MAX_DEST_RD_ATOMIC, ERDMA_RM_IRD },
		{ IB_QP_ACCESS_FLAGS, ERDMA_RM_PEER_MAY },
	};
	u32 device = ERDMA_RM_STATE, peer;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bits); i++)
		if (mask & bits[i].verbs)
			device |= bits[i].device;
	/* Fields whose bits are clear do not count: they may have any value. */
	r->qkey = cpu_to_le32(attr->qkey);
	r->sq_psn = cpu_to_le32(attr->sq_psn & ERDMA_PSN_MASK);
	r->rq_psn = cpu_to_le32(attr->rq_psn & ERDMA_PSN_MASK);
	r->peer_qpn = cpu_to_le32(attr->dest_qp_num & ERDMA_QPN_MASK);
	if (qp->ad->dev.caps.extensions & ERDMA_ATTR_QPX) {
		r->path_mtu = attr->path_mtu;
		r->timeout = attr->timeout;
		r->retries = attr->retry_cnt;
		r->rnr_retries = attr->rnr_retry;
		r->rnr_timer = attr->min_rnr_timer;
		r->ord = attr->max_rd_atomic;
		r->ird = attr->max_dest_rd_atomic;
		r->peer_may = erdma_roce_peer_may(attr->qp_access_flags);
	} else {
		device &= ~(u32)ERDMA_RM_QPX;
	}
	r->mask = cpu_to_le32(device);
	if (!(mask & IB_QP_AV))
		return 0;
	peer = mask & IB_QP_DEST_QPN ? attr->dest_qp_num : qp->attrs.dest_qp_num;
	return erdma_roce_fill_av(qp->ad, &r->av, &attr->ah_attr,
				  erdma_roce_label(qp->ib.qp_num, peer));
}

/* Any step but that to ERROR.  Caller holds the state_lock. */
static int erdma_roce_step(struct erdma_qp *qp, enum ib_qp_state next,
			   const struct ib_qp_attr *attr, int mask)
{
	struct erdma_roce_modify request = {
		.cfg = cpu_to_le32(FIELD_PREP(ERDMA_MODIFY_STATE, next) |
				   FIELD_PREP(ERDMA_MODIFY_QPN, qp->ib.qp_num)),
	};
	bool whole = qp->ad->dev.caps.extensions & ERDMA_ATTR_QPX;
	int err;

	if (erdma_qp_is_dead(qp))
		return -EIO;
	err = erdma_roce_fill(qp, &request, attr, mask);
	if (!err)
		err = erdma_cmd_exec(&qp->ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_MODIFY_QP, &request,
				     whole ? sizeof(request) : ERDMA_ROCE_MODIFY_PLAIN, NULL,
				     NULL);
	if (err)
		return err;

	if (next == IB_QPS_RESET) {
		/* The device has forgotten all of it, too. */
		memset(&qp->attrs, 0, sizeof(qp->attrs));
		qp->udp_port = 0;
		WRITE_ONCE(qp->in_reset, true);
		erdma_qp_set_state(qp, next);
		if (qp->sent)
			erdma_qp_forget_work(qp);
		WRITE_ONCE(qp->failed, false);
		return 0;
	}
	erdma_qp_keep_attrs(qp, attr, mask);
	if (mask & IB_QP_AV) {
		qp->own_gid = attr->ah_attr.grh.sgid_attr->gid;
		WRITE_ONCE(qp->udp_port, le16_to_cpu(request.av.udp_port));
	}
	WRITE_ONCE(qp->in_reset, false);
	erdma_qp_set_state(qp, next);
	return 0;
}

static int erdma_roce_modify(struct erdma_qp *qp, const struct ib_qp_attr *attr, int mask)
{
	enum ib_qp_state now, next;
	u64 unused;
	int err;

	/* Before it serves its peer a QP does not fail by itself. */
	if (qp->state >= ERDMA_ROCE_RTR) {
		err = erdma_roce_ask(qp, &unused);
		if (err)
			return err;
	}
	now = erdma_roce_state(qp);
	next = mask & IB_QP_STATE ? attr->qp_state : now;
	if (((mask & IB_QP_CUR_STATE) && attr->cur_qp_state != now) ||
	    !ib_modify_qp_is_ok(now, next, qp->ib.qp_type, mask))
		return -EINVAL;
	err = erdma_roce_check(qp, attr, mask);
	if (err)
		return err;
	if (next != IB_QPS_ERR)
		return erdma_roce_step(qp, next, attr, mask);
	erdma_roce_qp_stop(qp);
	return 0;
}

int erdma_roce_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
			 struct ib_udata *udata)
{
	struct erdma_qp *qp = to_erdma_qp(ibqp);
	int err;

	mutex_lock(&qp->state_lock);
	err = erdma_roce_modify(qp, attr, mask);
	mutex_unlock(&qp->state_lock);
	return erdma_count_call(&qp->ad->dev, verbs_modify_qp, err);
}

int erdma_roce_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
			struct ib_qp_init_attr *init)
{
	struct erdma_qp *qp = to_erdma_qp(ibqp);
	u64 answer;
	int err;

	mutex_lock(&qp->state_lock);
	err = erdma_roce_ask(qp, &answer);
	erdma_qp_report(qp, attr, init);
	attr->qp_state = erdma_roce_state(qp);
	mutex_unlock(&qp->state_lock);
	if (err)
		return err;
	attr->cur_qp_state = attr->qp_state;
	attr->path_mig_state = IB_MIG_MIGRATED;
	attr->sq_draining = FIELD_GET(ERDMA_QQP_DRAINING, answer);
	attr->sq_psn = FIELD_GET(ERDMA_QQP_SQ_PSN, answer);
	attr->rq_psn = FIELD_GET(ERDMA_QQP_RQ_PSN, answer);
	return 0;
}
