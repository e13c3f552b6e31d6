// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: posting of work requests to kernel QPs (adapter.md 7.1 to 7.3).
 *
 * A request is put together in a buffer on the stack, checked on the way, and only then copied into
 * the ring, its header last: the device never sees half an entry, and a bad request leaves no
 * trace.
 */
#include "erdma_obj_mr.h"
#include "erdma_obj_qp.h"
#include "erdma_roce.h"
#include "erdma_verbs.h"

/* Where the parts of a send queue entry lie, by kind of operation. */
enum erdma_shape {
	ERDMA_SHAPE_NONE,	/* not an operation of this device */
	ERDMA_SHAPE_SEND,
	ERDMA_SHAPE_WRITE,
	ERDMA_SHAPE_READ,
	ERDMA_SHAPE_ATOMIC,
	ERDMA_SHAPE_REG,
	ERDMA_SHAPE_INVALIDATE,
	ERDMA_SHAPE_DATAGRAM,	/* a send on a QP for datagrams */
};

struct erdma_operation {
	u8 shape;
	u8 opcode;
	u8 wc_opcode;
};

static const struct erdma_operation erdma_operations[] = {
	[IB_WR_SEND] = { ERDMA_SHAPE_SEND, ERDMA_OP_SEND, IB_WC_SEND },
	[IB_WR_SEND_WITH_IMM] = { ERDMA_SHAPE_SEND, ERDMA_OP_SEND_IMM, IB_WC_SEND },
	[IB_WR_SEND_WITH_INV] = { ERDMA_SHAPE_SEND, ERDMA_OP_SEND_INV, IB_WC_SEND },
	[IB_WR_RDMA_WRITE] = { ERDMA_SHAPE_WRITE, ERDMA_OP_WRITE, IB_WC_RDMA_WRITE },
	[IB_WR_RDMA_WRITE_WITH_IMM] = { ERDMA_SHAPE_WRITE, ERDMA_OP_WRITE_IMM, IB_WC_RDMA_WRITE },
	[IB_WR_RDMA_READ] = { ERDMA_SHAPE_READ, ERDMA_OP_READ, IB_WC_RDMA_READ },
	[IB_WR_RDMA_READ_WITH_INV] = { ERDMA_SHAPE_READ, ERDMA_OP_READ_INV, IB_WC_RDMA_READ },
	[IB_WR_ATOMIC_CMP_AND_SWP] = { ERDMA_SHAPE_ATOMIC, ERDMA_OP_ATOMIC_CAS, IB_WC_COMP_SWAP },
	[IB_WR_ATOMIC_FETCH_AND_ADD] = { ERDMA_SHAPE_ATOMIC, ERDMA_OP_ATOMIC_FAA, IB_WC_FETCH_ADD },
	[IB_WR_REG_MR] = { ERDMA_SHAPE_REG, ERDMA_OP_REG_MR, IB_WC_REG_MR },
	[IB_WR_LOCAL_INV] = { ERDMA_SHAPE_INVALIDATE, ERDMA_OP_LOCAL_INV, IB_WC_LOCAL_INV },
};

/* A send queue entry while it is prepared. */
struct erdma_sqe_buf {
	union {
		u8 bytes[ERDMA_MAX_SQE_WQEBBS * ERDMA_WQEBB_BYTES];
		struct erdma_sqe_send send;
		struct erdma_sqe_write write;
		struct erdma_sqe_read read;
		struct erdma_sqe_atomic atomic;
		struct erdma_sqe_fastreg fastreg;
		struct erdma_sqe_local_inv local_inv;
		struct erdma_sqe_ud ud;
	} __aligned(8);
	u32 used;		/* bytes, header included */
	u64 head;		/* opcode, flags, SGL_LEN so far */
};

static struct erdma_sge erdma_make_sge(u64 addr, u32 length, u32 stag)
{
	return (struct erdma_sge) {
		.addr = cpu_to_le64(addr),
		.length = cpu_to_le32(length),
		.stag = cpu_to_le32(stag),
	};
}

/*
 * Local data at `sgl`, which may run to the end of the entry: a list of segments, or with
 * IB_SEND_INLINE the bytes themselves.  Returns the total length or -EINVAL.
 */
static s64 erdma_prep_payload(struct erdma_sqe_buf *sqe, struct erdma_sge *sgl,
			      const struct ib_send_wr *wr)
{
	bool copy = wr->send_flags & IB_SEND_INLINE;
	u8 *data = (u8 *)sgl;
	u64 total = 0;
	int i;

	if (wr->num_sge < 0 || wr->num_sge > ERDMA_MAX_SEND_SGE)
		return -EINVAL;
	for (i = 0; i < wr->num_sge; i++) {
		const struct ib_sge *sge = &wr->sg_list[i];

		if (copy && total + sge->length > ERDMA_MAX_INLINE)
			return -EINVAL;
		/* For inline data of kernel consumers the address is a kernel pointer. */
		if (copy)
			memcpy(data + total, (const void *)(uintptr_t)sge->addr, sge->length);
		else
			sgl[i] = erdma_make_sge(sge->addr, sge->length, sge->lkey);
		total += sge->length;
	}
	if (total > U32_MAX)
		return -EINVAL;

	sqe->used = data - sqe->bytes;
	if (copy) {
		sqe->head |= ERDMA_SQE_INLINE | FIELD_PREP(ERDMA_SQE_SGL_LEN, total);
		sqe->used += total;
	} else {
		sqe->head |= FIELD_PREP(ERDMA_SQE_SGL_LEN, wr->num_sge);
		sqe->used += wr->num_sge * sizeof(*sgl);
	}
	return total;
}

static int erdma_prep_send(struct erdma_sqe_buf *sqe, const struct ib_send_wr *wr)
{
	s64 total = erdma_prep_payload(sqe, sqe->send.sgl, wr);

	if (total < 0)
		return total;
	sqe->send.total_len = cpu_to_le32(total);
	if (wr->opcode == IB_WR_SEND_WITH_IMM)
		sqe->send.imm = wr->ex.imm_data;
	else if (wr->opcode == IB_WR_SEND_WITH_INV)
		sqe->send.inv_stag = cpu_to_le32(wr->ex.invalidate_rkey);
	return 0;
}

/* A Q_Key with its top bit set means that of the QP itself. */
#define ERDMA_QKEY_OWN		BIT(31)

static int erdma_prep_datagram(struct erdma_sqe_buf *sqe, const struct ib_send_wr *wr,
			       const struct erdma_qp *qp)
{
	const struct ib_ud_wr *ud = ud_wr(wr);
	u32 qkey = ud->remote_qkey;
	s64 total;

	if (wr->opcode == IB_WR_SEND_WITH_INV || !ud->ah || ud->ah->device != qp->ib.device ||
	    ud->remote_qpn > ERDMA_QPN_MASK)
		return -EINVAL;
	total = erdma_prep_payload(sqe, sqe->ud.sgl, wr);
	if (total < 0)
		return total;
	if (qkey & ERDMA_QKEY_OWN)
		qkey = READ_ONCE(qp->attrs.qkey);
	if (wr->opcode == IB_WR_SEND_WITH_IMM)
		sqe->ud.imm = wr->ex.imm_data;
	sqe->ud.total_len = cpu_to_le32(total);
	sqe->ud.qkey = cpu_to_le32(qkey);
	sqe->ud.peer_qpn = cpu_to_le32(ud->remote_qpn);
	sqe->ud.ah = cpu_to_le32(to_erdma_ah(ud->ah)->number);
	return 0;
}

static int erdma_prep_write(struct erdma_sqe_buf *sqe, const struct ib_send_wr *wr)
{
	s64 total = erdma_prep_payload(sqe, sqe->write.sgl, wr);

	if (total < 0)
		return total;
	sqe->write.total_len = cpu_to_le32(total);
	sqe->write.sink_stag = cpu_to_le32(rdma_wr(wr)->rkey);
	sqe->write.sink_addr_lo = cpu_to_le32(lower_32_bits(rdma_wr(wr)->remote_addr));
	sqe->write.sink_addr_hi = cpu_to_le32(upper_32_bits(rdma_wr(wr)->remote_addr));
	if (wr->opcode == IB_WR_RDMA_WRITE_WITH_IMM)
		sqe->write.imm = wr->ex.imm_data;
	return 0;
}

static int erdma_prep_read(struct erdma_sqe_buf *sqe, const struct ib_send_wr *wr)
{
	const struct ib_sge *sink = wr->sg_list;

	if (wr->num_sge != ERDMA_MAX_READ_SGE)
		return -EINVAL;
	sqe->read.len = cpu_to_le32(sink->length);
	sqe->read.sink_stag = cpu_to_le32(sink->lkey);
	sqe->read.sink_addr_lo = cpu_to_le32(lower_32_bits(sink->addr));
	sqe->read.sink_addr_hi = cpu_to_le32(upper_32_bits(sink->addr));
	sqe->read.src = erdma_make_sge(rdma_wr(wr)->remote_addr, sink->length, rdma_wr(wr)->rkey);
	/*
	 * iWARP's convention: the sink's STag, whatever ex.invalidate_rkey says.  Consumers leave
	 * that zero, or read it before they renew the key.
	 */
	if (wr->opcode == IB_WR_RDMA_READ_WITH_INV)
		sqe->read.inv_stag = cpu_to_le32(sink->lkey);
	sqe->used = sizeof(sqe->read);
	return 0;
}

static int erdma_prep_atomic(struct erdma_sqe_buf *sqe, const struct ib_send_wr *wr,
			     const struct erdma_adapter *ad)
{
	const struct ib_atomic_wr *op = atomic_wr(wr);
	const struct ib_sge *result = wr->sg_list;
	bool swap = wr->opcode == IB_WR_ATOMIC_CMP_AND_SWP;

	if (!(ad->dev.caps.flags & ERDMA_CAP_ATOMIC))
		return -EOPNOTSUPP;
	if (wr->num_sge != 1 || result->length != sizeof(u64))
		return -EINVAL;
	sqe->atomic.swap_add = cpu_to_le64(swap ? op->swap : op->compare_add);
	sqe->atomic.compare = cpu_to_le64(swap ? op->compare_add : 0);
	sqe->atomic.remote = erdma_make_sge(op->remote_addr, sizeof(u64), op->rkey);
	sqe->atomic.local = erdma_make_sge(result->addr, sizeof(u64), result->lkey);
	sqe->used = sizeof(sqe->atomic);
	return 0;
}

static int erdma_prep_fastreg(struct erdma_sqe_buf *sqe, const struct ib_send_wr *wr,
			      const struct erdma_qp *qp)
{
	const struct ib_reg_wr *reg = reg_wr(wr);
	const struct erdma_mr *mr = to_erdma_mr(reg->mr);
	bool in_sqe = mr->fr_pages <= ERDMA_REG_INLINE_PAGES;

	/* The key may change, the region it names may not. */
	if (mr->type != ERDMA_MR_FRMR || reg->key >> 8 != mr->index || mr->ib.pd != qp->ib.pd ||
	    mr->ib.length > U32_MAX)
		return -EINVAL;

	sqe->fastreg.iova = cpu_to_le64(mr->ib.iova);
	sqe->fastreg.len = cpu_to_le32(mr->ib.length);
	sqe->fastreg.stag = cpu_to_le32(reg->key);
	sqe->fastreg.attrs =
		cpu_to_le32(FIELD_PREP(ERDMA_REG_MTT_CNT, mr->fr_pages) |
			    FIELD_PREP(ERDMA_REG_MTT_TYPE,
				       in_sqe ? ERDMA_REG_MTT_INLINE : ERDMA_REG_MTT_TABLE) |
			    erdma_access_bits(reg->access));
	sqe->used = sizeof(sqe->fastreg);
	if (in_sqe) {
		memcpy(sqe->bytes + sqe->used, mr->table.array, mr->fr_pages * sizeof(__le64));
		sqe->used += mr->fr_pages * sizeof(__le64);
	}
	return 0;
}

/* Prepares the entry of a request in `sqe`; errors as ib_post_send() promises them. */
static int erdma_prep_wr(struct erdma_qp *qp, const struct ib_send_wr *wr,
			 struct erdma_sqe_buf *sqe, const struct erdma_operation **which)
{
	const struct erdma_operation *op;
	u8 shape;
	int err = 0;

	if (wr->opcode < 0 || wr->opcode >= ARRAY_SIZE(erdma_operations))
		return -EINVAL;
	op = &erdma_operations[wr->opcode];
	*which = op;
	memset(sqe, 0, sizeof(*sqe));
	sqe->head = FIELD_PREP(ERDMA_SQE_OPCODE, op->opcode) |
		    FIELD_PREP(ERDMA_SQE_QPN, qp->ib.qp_num);

	shape = op->shape;
	if (qp->datagram)
		shape = shape == ERDMA_SHAPE_SEND ? ERDMA_SHAPE_DATAGRAM : ERDMA_SHAPE_NONE;
	switch (shape) {
	case ERDMA_SHAPE_SEND:
		err = erdma_prep_send(sqe, wr);
		break;
	case ERDMA_SHAPE_DATAGRAM:
		err = erdma_prep_datagram(sqe, wr, qp);
		break;
	case ERDMA_SHAPE_WRITE:
		err = erdma_prep_write(sqe, wr);
		break;
	case ERDMA_SHAPE_READ:
		err = erdma_prep_read(sqe, wr);
		break;
	case ERDMA_SHAPE_ATOMIC:
		err = erdma_prep_atomic(sqe, wr, qp->ad);
		break;
	case ERDMA_SHAPE_REG:
		err = erdma_prep_fastreg(sqe, wr, qp);
		break;
	case ERDMA_SHAPE_INVALIDATE:
		sqe->local_inv.stag = cpu_to_le32(wr->ex.invalidate_rkey);
		sqe->used = sizeof(sqe->local_inv);
		break;
	default:
		err = -EINVAL;
	}

	if (wr->send_flags & IB_SEND_FENCE)
		sqe->head |= ERDMA_SQE_FENCE;
	if (wr->send_flags & IB_SEND_SOLICITED)
		sqe->head |= ERDMA_SQE_SE;
	if (qp->sig_all || (wr->send_flags & IB_SEND_SIGNALED))
		sqe->head |= ERDMA_SQE_CE;
	return err;
}

/*
 * Copies a finished entry into the ring, block by block because it may wrap.  Caller holds sq_lock.
 */
static int erdma_post_sqe(struct erdma_qp *qp, struct erdma_sqe_buf *sqe,
			  const struct erdma_operation *op, u64 wr_id)
{
	u32 blocks = DIV_ROUND_UP(sqe->used, ERDMA_WQEBB_BYTES);
	u32 mask = qp->sq_depth - 1;
	u16 start = qp->sq_pi;
	u16 in_use = start - erdma_index_seen(&qp->sq_ci);
	__le64 *first = qp->sq + (start & mask) * ERDMA_WQEBB_BYTES;
	u32 i;

	if (in_use + blocks > qp->sq_depth)
		return -ENOMEM;

	/* The first eight bytes are the header and come later. */
	memcpy(first + 1, sqe->bytes + sizeof(*first), ERDMA_WQEBB_BYTES - sizeof(*first));
	for (i = 1; i < blocks; i++) {
		u32 slot = (start + i) & mask;

		memcpy(qp->sq + slot * ERDMA_WQEBB_BYTES, sqe->bytes + i * ERDMA_WQEBB_BYTES,
		       ERDMA_WQEBB_BYTES);
		qp->sent[slot].wqebbs = 0;
	}
	qp->sent[start & mask] = (struct erdma_sent) {
		.wr_id = wr_id,
		.start = start,
		.wqebbs = blocks,
		.wc_opcode = op->wc_opcode,
	};

	sqe->head |= FIELD_PREP(ERDMA_SQE_WQEBB_CNT, blocks - 1) |
		     FIELD_PREP(ERDMA_SQE_PI, (u16)(start + blocks));
	dma_wmb();
	WRITE_ONCE(*first, cpu_to_le64(sqe->head));
	/* Whoever sees the new index finds the request described in sent[]. */
	erdma_index_move(&qp->sq_pi, start + blocks);
	return 0;
}

/* A stopped QP takes work to flush it; whether the device notices depends on its generation. */
static bool erdma_is_stopped(const struct erdma_qp *qp)
{
	return READ_ONCE(qp->state) >= qp->first_stopped || READ_ONCE(qp->failed) ||
	       erdma_is_broken(&qp->ad->dev);
}

int erdma_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr, const struct ib_send_wr **bad)
{
	struct erdma_qp *qp = to_erdma_qp(ibqp);
	const struct erdma_operation *op;
	struct erdma_sqe_buf sqe;
	unsigned long flags;
	int err = 0;
	u16 before;

	if (!qp->sent || READ_ONCE(qp->state) < qp->first_sending) {
		*bad = wr;
		return -EINVAL;
	}

	spin_lock_irqsave(&qp->sq_lock, flags);
	before = qp->sq_pi;
	for (; wr; wr = wr->next) {
		err = erdma_prep_wr(qp, wr, &sqe, &op);
		if (!err)
			err = erdma_post_sqe(qp, &sqe, op, wr->wr_id);
		if (err) {
			*bad = wr;
			break;
		}
	}
	if (qp->sq_pi != before)
		erdma_ring_doorbell(&qp->sq_rec, qp->ad->dev.bar + ERDMA_SQDB_KERNEL_OFFSET,
				    FIELD_PREP(ERDMA_SQDB_QPN, qp->ib.qp_num) | qp->sq_pi);
	spin_unlock_irqrestore(&qp->sq_lock, flags);

	if (erdma_is_stopped(qp))
		erdma_qp_queue_reflush(qp);
	return err;
}

/*
 * One receive entry and its doorbell, which is the entry's first word (7.3).  Caller holds rq_lock.
 */
static int erdma_post_rqe(struct erdma_qp *qp, const struct ib_recv_wr *wr)
{
	u32 slot = qp->rq_pi & (qp->rq_depth - 1);
	u16 in_use = qp->rq_pi - erdma_index_seen(&qp->rq_ci);
	struct erdma_rqe *rqe = (struct erdma_rqe *)qp->rq + slot;
	u16 after = qp->rq_pi + 1;

	if (wr->num_sge < 0 || wr->num_sge > ERDMA_MAX_RECV_SGE)
		return -EINVAL;
	if (in_use >= qp->rq_depth)
		return -ENOMEM;

	memset(rqe, 0, sizeof(*rqe));
	rqe->pi = cpu_to_le16(after);
	rqe->qpn = cpu_to_le32(qp->ib.qp_num);
	if (wr->num_sge) {
		rqe->addr = cpu_to_le64(wr->sg_list->addr);
		rqe->length = cpu_to_le32(wr->sg_list->length);
		rqe->stag = cpu_to_le32(wr->sg_list->lkey);
	}
	qp->rq_wrids[slot] = wr->wr_id;
	dma_wmb();
	erdma_index_move(&qp->rq_pi, after);
	erdma_ring_doorbell(&qp->rq_rec, qp->ad->dev.bar + ERDMA_RQDB_OFFSET,
			    FIELD_PREP(ERDMA_RQDB_QPN, qp->ib.qp_num) | after);
	return 0;
}

int erdma_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr, const struct ib_recv_wr **bad)
{
	struct erdma_qp *qp = to_erdma_qp(ibqp);
	unsigned long flags;
	int err = 0;

	if (!qp->rq_wrids || READ_ONCE(qp->in_reset)) {
		*bad = wr;
		return -EINVAL;
	}

	spin_lock_irqsave(&qp->rq_lock, flags);
	for (; wr; wr = wr->next) {
		err = erdma_post_rqe(qp, wr);
		if (err) {
			*bad = wr;
			break;
		}
	}
	spin_unlock_irqrestore(&qp->rq_lock, flags);

	if (erdma_is_stopped(qp))
		erdma_qp_queue_reflush(qp);
	return err;
}
