// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: raw content of rings for the diagnostics device.
 */
#include <rdma/ib_umem.h>

#include "erdma_diag.h"
#include "erdma_obj_qp.h"

/* A ring found by number; a QP or CQ is referenced until erdma_ring_release(). */
struct erdma_ring_view {
	const void *memory;		/* NULL: in user memory, `umem` */
	struct ib_umem *umem;
	u32 entry_bytes;
	u32 depth;
	u32 pi, ci, known;
	struct erdma_qp *qp;
	struct erdma_cq *cq;
};

static void erdma_ring_release(struct erdma_ring_view *v)
{
	if (v->qp)
		erdma_qp_put(v->qp);
	if (v->cq)
		erdma_cq_put(v->cq);
}

static int erdma_ring_find_qp(struct erdma_adapter *ad, u32 number, bool send,
			      struct erdma_ring_view *v)
{
	struct erdma_qp *qp = erdma_qp_find(ad, number);

	if (!qp)
		return -ENOENT;
	v->qp = qp;
	v->memory = send ? qp->sq : qp->rq;
	v->umem = send ? qp->umem : qp->rq_umem;
	v->entry_bytes = send ? ERDMA_WQEBB_BYTES : ERDMA_RQE_BYTES;
	v->depth = send ? qp->sq_depth : qp->rq_depth;
	if (qp->sent) {
		v->pi = READ_ONCE(*(send ? &qp->sq_pi : &qp->rq_pi));
		v->ci = READ_ONCE(*(send ? &qp->sq_ci : &qp->rq_ci));
		v->known = ERDMA_KNOWN_SQ_PI | ERDMA_KNOWN_SQ_CI;
	}
	return 0;
}

static int erdma_ring_find_cq(struct erdma_adapter *ad, u32 number, struct erdma_ring_view *v)
{
	struct erdma_cq *cq = erdma_cq_find(ad, number);

	if (!cq)
		return -ENOENT;
	v->cq = cq;
	v->memory = cq->ring;
	v->umem = cq->umem;
	v->entry_bytes = ERDMA_CQE_BYTES;
	v->depth = cq->depth;
	if (cq->ring) {
		v->ci = READ_ONCE(cq->ci);
		v->known = ERDMA_KNOWN_SQ_CI;
	}
	return 0;
}

static int erdma_ring_find_eq(struct erdma_adapter *ad, u32 number, struct erdma_ring_view *v)
{
	const struct erdma_eq *eq;

	if (number >= ad->dev.num_ceqs + 2)
		return -ENOENT;
	eq = number == 0 ? &ad->dev.aeq :
	     number == 1 ? &ad->dev.cmdq.eq :
			   &ad->dev.ceqs[number - 2].eq;
	v->memory = eq->ring;
	v->entry_bytes = ERDMA_EQE_BYTES;
	v->depth = eq->depth;
	v->ci = READ_ONCE(eq->ci);
	v->known = ERDMA_KNOWN_SQ_CI;
	return 0;
}

static int erdma_ring_find(struct erdma_adapter *ad, const struct erdma_diag_dump *d,
			   struct erdma_ring_view *v)
{
	struct erdma_cmdq *q = &ad->dev.cmdq;

	memset(v, 0, sizeof(*v));
	switch (d->ring) {
	case ERDMA_RING_SQ:
		return erdma_ring_find_qp(ad, d->number, true, v);
	case ERDMA_RING_RQ:
		return erdma_ring_find_qp(ad, d->number, false, v);
	case ERDMA_RING_CQ:
		return erdma_ring_find_cq(ad, d->number, v);
	case ERDMA_RING_EQ:
		return erdma_ring_find_eq(ad, d->number, v);
	case ERDMA_RING_CMD_SQ:
		v->memory = q->sq;
		v->entry_bytes = ERDMA_CMD_ENTRY_BYTES;
		v->depth = ERDMA_CMDQ_OUTSTANDING;
		v->pi = READ_ONCE(q->sq_pi) / (ERDMA_CMD_ENTRY_BYTES / ERDMA_WQEBB_BYTES);
		v->known = ERDMA_KNOWN_SQ_PI;
		break;
	case ERDMA_RING_CMD_CQ:
		v->memory = q->cq;
		v->entry_bytes = ERDMA_CQE_BYTES;
		v->depth = q->sq_depth;
		v->ci = READ_ONCE(q->cq_ci);
		v->known = ERDMA_KNOWN_SQ_CI;
		break;
	default:
		return -EINVAL;
	}
	return d->number ? -ENOENT : 0;
}

int erdma_ring_describe(struct erdma_adapter *ad, struct erdma_diag_dump *d)
{
	struct erdma_ring_view v;
	int err = erdma_ring_find(ad, d, &v);

	if (err)
		return err;
	d->entry_bytes = v.entry_bytes;
	d->depth = v.depth;
	d->pi = v.pi;
	d->ci = v.ci;
	d->known = v.known;
	erdma_ring_release(&v);
	return 0;
}

int erdma_ring_copy(struct erdma_adapter *ad, const struct erdma_diag_dump *d, u32 first, u32 slots,
		    void *out)
{
	struct erdma_ring_view v;
	size_t offset, bytes;
	int err = erdma_ring_find(ad, d, &v);

	if (err)
		return err;
	/* The number may belong to another object by now. */
	if (v.depth != d->depth || v.entry_bytes != d->entry_bytes) {
		err = -ENOENT;
		goto release;
	}
	offset = (size_t)first * v.entry_bytes;
	bytes = (size_t)slots * v.entry_bytes;
	if (v.memory)
		memcpy(out, v.memory + offset, bytes);
	else
		err = ib_umem_copy_from(out, v.umem, offset, bytes);
release:
	erdma_ring_release(&v);
	return err;
}
