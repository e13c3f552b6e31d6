// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: driver-specific lines of `rdma resource show`.
 */
#include <net/netlink.h>
#include <rdma/restrack.h>
#include <uapi/rdma/rdma_netlink.h>

#include "erdma_diag.h"
#include "erdma_obj_mr.h"
#include "erdma_obj_qp.h"

/*
 * A reference of ib_core's keeps the object, but not what it points to: kernels without
 * rdma_restrack_begin_del() hide a queue pair only after it was taken apart.
 */
static void erdma_res_qp_indices(struct erdma_qp *qp, struct erdma_info_qp *out)
{
	struct erdma_tracker *tracker = &qp->ad->tracker;

	spin_lock(&tracker->lock);
	if (erdma_track_from(tracker, ERDMA_TRACK_QP, qp->ib.qp_num) == &qp->track)
		erdma_report_qp_indices(qp, out);
	spin_unlock(&tracker->lock);
}

int erdma_fill_res_qp(struct sk_buff *msg, struct ib_qp *ibqp)
{
	struct erdma_qp *qp = to_erdma_qp(ibqp);
	struct erdma_info_qp info = { };
	struct nlattr *table = nla_nest_start(msg, RDMA_NLDEV_ATTR_DRIVER);

	if (!table)
		return -EMSGSIZE;
	erdma_res_qp_indices(qp, &info);
	if (rdma_nl_put_driver_u32(msg, "state", READ_ONCE(qp->state)) ||
	    rdma_nl_put_driver_u32(msg, "cc", READ_ONCE(qp->cc)) ||
	    rdma_nl_put_driver_u32(msg, "sq_depth", qp->sq_depth) ||
	    rdma_nl_put_driver_u32(msg, "rq_depth", qp->rq_depth) ||
	    ((info.known & ERDMA_KNOWN_SQ_PI) &&
	     rdma_nl_put_driver_u32(msg, "sq_pi", info.sq_pi)) ||
	    ((info.known & ERDMA_KNOWN_SQ_CI) &&
	     rdma_nl_put_driver_u32(msg, "sq_ci", info.sq_ci)) ||
	    ((info.known & ERDMA_KNOWN_RQ_PI) &&
	     rdma_nl_put_driver_u32(msg, "rq_pi", info.rq_pi)) ||
	    ((info.known & ERDMA_KNOWN_RQ_CI) && rdma_nl_put_driver_u32(msg, "rq_ci", info.rq_ci)))
		goto cancel;
	nla_nest_end(msg, table);
	return 0;
cancel:
	nla_nest_cancel(msg, table);
	return -EMSGSIZE;
}

int erdma_fill_res_cq(struct sk_buff *msg, struct ib_cq *ibcq)
{
	struct erdma_cq *cq = to_erdma_cq(ibcq);
	struct nlattr *table = nla_nest_start(msg, RDMA_NLDEV_ATTR_DRIVER);

	if (!table)
		return -EMSGSIZE;
	if (rdma_nl_put_driver_u32(msg, "cqn", cq->cqn) ||
	    rdma_nl_put_driver_u32(msg, "depth", cq->depth) ||
	    rdma_nl_put_driver_u32(msg, "eqn", cq->assoc_eqn) ||
	    rdma_nl_put_driver_u32(msg, "events", READ_ONCE(cq->events)))
		goto cancel;
	nla_nest_end(msg, table);
	return 0;
cancel:
	nla_nest_cancel(msg, table);
	return -EMSGSIZE;
}

int erdma_fill_res_mr(struct sk_buff *msg, struct ib_mr *ibmr)
{
	struct erdma_mr *mr = to_erdma_mr(ibmr);
	struct nlattr *table = nla_nest_start(msg, RDMA_NLDEV_ATTR_DRIVER);

	if (!table)
		return -EMSGSIZE;
	if (rdma_nl_put_driver_u32(msg, "index", mr->index) ||
	    rdma_nl_put_driver_u32(msg, "type", mr->type) ||
	    rdma_nl_put_driver_u32(msg, "level", mr->table.level) ||
	    rdma_nl_put_driver_u32(msg, "page_shift", mr->table.page_shift) ||
	    rdma_nl_put_driver_u32(msg, "pages", mr->table.count))
		goto cancel;
	nla_nest_end(msg, table);
	return 0;
cancel:
	nla_nest_cancel(msg, table);
	return -EMSGSIZE;
}
