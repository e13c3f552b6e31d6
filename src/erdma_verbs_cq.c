// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: verbs of completion queues (adapter.md 6.5, 7.4, 7.5).
 *
 * Everything in a ring was written by the device and is checked against what the driver itself
 * remembers of the posted work; a completion that fits nothing is counted and skipped.
 */
#include <linux/log2.h>

#include <rdma/uverbs_ioctl.h>

#include "erdma_hw_roce.h"
#include "erdma_obj_qp.h"
#include "erdma_verbs.h"

#define ERDMA_KERNEL_CQ_LEAST 64U

/* ---- polling ---- */

static const struct {
	u8 status;
	u8 vendor;
} erdma_syndromes[] = {
	[0] = { IB_WC_SUCCESS, 0x00 },
	[1] = { IB_WC_GENERAL_ERR, 0x00 },
	[2] = { IB_WC_GENERAL_ERR, 0x01 },
	[3] = { IB_WC_REM_ACCESS_ERR, 0x02 },
	[4] = { IB_WC_REM_ACCESS_ERR, 0x03 },
	[5] = { IB_WC_REM_ACCESS_ERR, 0x04 },
	[6] = { IB_WC_REM_ACCESS_ERR, 0x05 },
	[7] = { IB_WC_REM_ACCESS_ERR, 0x06 },
	[8] = { IB_WC_LOC_QP_OP_ERR, 0x20 },
	[9] = { IB_WC_GENERAL_ERR, 0x21 },
	[10] = { IB_WC_LOC_ACCESS_ERR, 0x30 },
	[11] = { IB_WC_LOC_ACCESS_ERR, 0x31 },
	[12] = { IB_WC_LOC_ACCESS_ERR, 0x32 },
	[13] = { IB_WC_LOC_ACCESS_ERR, 0x33 },
	[14] = { IB_WC_LOC_ACCESS_ERR, 0x34 },
	[15] = { IB_WC_WR_FLUSH_ERR, 0x00 },
	[16] = { IB_WC_RETRY_EXC_ERR, 0x00 },
};

/* The entry at the consumer index, if finished; a copy, which cannot change while we read. */
static bool erdma_cq_peek(const struct erdma_cq *cq, struct erdma_cqe *copy)
{
	const struct erdma_cqe *slot =
		(const struct erdma_cqe *)cq->ring + (cq->ci & (cq->depth - 1));
	u32 header = be32_to_cpu(READ_ONCE(slot->header));

	if (!erdma_owned(FIELD_GET(ERDMA_CQE_OWNER, header), cq->ci, cq->depth))
		return false;
	dma_rmb();
	memcpy(copy, slot, sizeof(*copy));
	return true;
}

static void erdma_wc_outcome(struct ib_wc *wc, u32 syndrome)
{
	if (syndrome < ARRAY_SIZE(erdma_syndromes)) {
		wc->status = erdma_syndromes[syndrome].status;
		wc->vendor_err = erdma_syndromes[syndrome].vendor;
	} else {
		wc->status = IB_WC_GENERAL_ERR;
		wc->vendor_err = syndrome;
	}
}

/* Retires a request and every unsignalled one before it.  False if none was posted there. */
static bool erdma_complete_send(struct erdma_qp *qp, u16 index, struct ib_wc *wc)
{
	u16 ci = qp->sq_ci;
	u16 posted = erdma_index_seen(&qp->sq_pi) - ci;
	const struct erdma_sent *sent = &qp->sent[index & (qp->sq_depth - 1)];

	if ((u16)(index - ci) >= posted || !sent->wqebbs || sent->start != index)
		return false;
	wc->wr_id = sent->wr_id;
	wc->opcode = sent->wc_opcode;
	/* Only now may the poster reuse the slots. */
	erdma_index_move(&qp->sq_ci, index + sent->wqebbs);
	return true;
}

static bool erdma_complete_recv(struct erdma_qp *qp, u16 index, struct ib_wc *wc)
{
	u16 ci = qp->rq_ci;
	u16 posted = erdma_index_seen(&qp->rq_pi) - ci;

	if ((u16)(index - ci) >= posted)
		return false;
	wc->wr_id = qp->rq_wrids[index & (qp->rq_depth - 1)];
	wc->opcode = IB_WC_RECV;
	erdma_index_move(&qp->rq_ci, index + 1);
	return true;
}

/* What a receive completion carries besides its length (adapter.md 7.4). */
static bool erdma_recv_details(const struct erdma_cqe *cqe, u32 opcode, struct ib_wc *wc)
{
	switch (opcode) {
	case ERDMA_OP_RECV:
		break;
	case ERDMA_OP_RECV_IMM:
		wc->opcode = IB_WC_RECV_RDMA_WITH_IMM;
		fallthrough;
	case ERDMA_OP_RECV_SEND_IMM:
		/* Little endian here: the device reversed the sender's bytes. */
		wc->ex.imm_data = cpu_to_be32(le32_to_cpu(cqe->imm));
		wc->wc_flags = IB_WC_WITH_IMM;
		break;
	case ERDMA_OP_RECV_INV:
		wc->ex.invalidate_rkey = be32_to_cpu(cqe->inv_stag);
		wc->wc_flags = IB_WC_WITH_INVALIDATE;
		break;
	default:
		return false;
	}
	return true;
}

/* Where a datagram came from (adapter.md 13.4).  False when it cannot be one. */
static bool erdma_datagram_details(const struct erdma_qp *qp, const struct erdma_cqe *cqe,
				   struct ib_wc *wc)
{
	u32 word = be32_to_cpu(cqe->ud[2]);

	if (wc->byte_len < ERDMA_GRH_AREA || wc->opcode != IB_WC_RECV)
		return false;
	wc->wc_flags |= IB_WC_GRH | IB_WC_WITH_NETWORK_HDR_TYPE;
	wc->network_hdr_type = word & ERDMA_UDW_IPV6 ? RDMA_NETWORK_IPV6 : RDMA_NETWORK_IPV4;
	wc->sl = FIELD_GET(ERDMA_UDW_SL, word);
	wc->src_qp = FIELD_GET(ERDMA_UDW_QPN20, word);
	if (qp->ad->dev.caps.extensions & ERDMA_ATTR_UDX) {
		wc->src_qp = FIELD_GET(ERDMA_UDW_QPN24, be32_to_cpu(cqe->ud[0]));
		word = be32_to_cpu(cqe->ud[1]);
		if (word & ERDMA_UDW_TAGGED) {
			wc->vlan_id = FIELD_GET(ERDMA_UDW_VLAN, word);
			wc->wc_flags |= IB_WC_WITH_VLAN;
		}
	}
	return true;
}

/* Turns an entry into a work completion of `qp`.  False when the entry makes no sense. */
static bool erdma_cqe_to_wc(struct erdma_cq *cq, struct erdma_qp *qp, const struct erdma_cqe *cqe,
			    struct ib_wc *wc)
{
	u32 header = be32_to_cpu(cqe->header);
	u16 index = be32_to_cpu(cqe->qe_idx);
	bool found;

	memset(wc, 0, sizeof(*wc));
	erdma_wc_outcome(wc, FIELD_GET(ERDMA_CQE_SYNDROME, header));
	wc->qp = &qp->ib;
	wc->port_num = 1;
	wc->byte_len = be32_to_cpu(cqe->byte_count);

	switch (FIELD_GET(ERDMA_CQE_QTYPE, header)) {
	case ERDMA_CQE_QTYPE_SQ:
		found = qp->scq == cq && erdma_complete_send(qp, index, wc);
		break;
	case ERDMA_CQE_QTYPE_RQ:
		found = qp->rcq == cq && erdma_complete_recv(qp, index, wc);
		if (found && wc->status == IB_WC_SUCCESS &&
		    (!erdma_recv_details(cqe, FIELD_GET(ERDMA_CQE_OPCODE, header), wc) ||
		     (qp->datagram && !erdma_datagram_details(qp, cqe, wc)))) {
			/* The buffer is used up all the same; its owner must get it back. */
			wc->status = IB_WC_GENERAL_ERR;
			found = true;
		}
		break;
	default:
		found = false;
	}
	return found;
}

/*
 * The work of a dead QP is flushed here, in ring order, so that consumers who drain or count their
 * requests come to an end.
 */
static int erdma_flush_in_software(struct erdma_cq *cq, int max, struct ib_wc *wc)
{
	struct erdma_qp *qp;
	int done = 0;

	list_for_each_entry(qp, &cq->senders, scq_node) {
		while (done < max && erdma_qp_is_dead(qp) &&
		       qp->sq_ci != erdma_index_seen(&qp->sq_pi)) {
			memset(&wc[done], 0, sizeof(*wc));
			/* Fails only if the shadow were inconsistent; the ring is then given up. */
			if (!erdma_complete_send(qp, qp->sq_ci, &wc[done]))
				break;
			wc[done].status = IB_WC_WR_FLUSH_ERR;
			wc[done++].qp = &qp->ib;
		}
	}
	list_for_each_entry(qp, &cq->receivers, rcq_node) {
		while (done < max && erdma_qp_is_dead(qp) &&
		       qp->rq_ci != erdma_index_seen(&qp->rq_pi)) {
			memset(&wc[done], 0, sizeof(*wc));
			if (!erdma_complete_recv(qp, qp->rq_ci, &wc[done]))
				break;
			wc[done].status = IB_WC_WR_FLUSH_ERR;
			wc[done++].qp = &qp->ib;
		}
	}
	return done;
}

/* Is there anything that erdma_flush_in_software() would report? */
static bool erdma_has_unflushed(const struct erdma_cq *cq)
{
	const struct erdma_qp *qp;

	list_for_each_entry(qp, &cq->senders, scq_node)
		if (erdma_qp_is_dead(qp) && qp->sq_ci != READ_ONCE(qp->sq_pi))
			return true;
	list_for_each_entry(qp, &cq->receivers, rcq_node)
		if (erdma_qp_is_dead(qp) && qp->rq_ci != READ_ONCE(qp->rq_pi))
			return true;
	return false;
}

int erdma_poll_cq(struct ib_cq *ibcq, int max, struct ib_wc *wc)
{
	struct erdma_adapter *ad = to_erdma(ibcq->device);
	struct erdma_cq *cq = to_erdma_cq(ibcq);
	struct erdma_qp *qp = NULL;
	struct erdma_cqe cqe;
	unsigned long flags;
	u32 budget = cq->depth;
	int done = 0;

	spin_lock_irqsave(&cq->lock, flags);
	/* A device that writes nonsense round and round must not keep us here. */
	for (; done < max && budget && erdma_cq_peek(cq, &cqe); budget--) {
		u32 qpn = be32_to_cpu(cqe.qpn);

		cq->ci++;
		if (!qp || qp->ib.qp_num != qpn) {
			if (qp)
				erdma_qp_put(qp);
			qp = erdma_qp_find(ad, qpn);
		}
		/* A destroyed QP is an ordinary case, a foreign or wild one is not. */
		if (!qp)
			cq->skipped++;
		else if (!qp->sent || !erdma_cqe_to_wc(cq, qp, &cqe, &wc[done]))
			cq->nonsense++;
		else
			done++;
	}
	if (done < max && erdma_cq_has_dead(cq))
		done += erdma_flush_in_software(cq, max - done, wc + done);
	spin_unlock_irqrestore(&cq->lock, flags);

	if (qp)
		erdma_qp_put(qp);
	return done;
}

int erdma_req_notify_cq(struct ib_cq *ibcq, enum ib_cq_notify_flags flags)
{
	struct erdma_adapter *ad = to_erdma(ibcq->device);
	struct erdma_cq *cq = to_erdma_cq(ibcq);
	struct erdma_cqe cqe;
	unsigned long irq;
	int missed = 0;
	u64 arm;

	spin_lock_irqsave(&cq->lock, irq);
	arm = FIELD_PREP(ERDMA_CQDB_IDX, cq->arm_idx & 0xff) | FIELD_PREP(ERDMA_CQDB_CQN, cq->cqn) |
	      ERDMA_CQDB_ARM | FIELD_PREP(ERDMA_CQDB_CMDSN, READ_ONCE(cq->events) & 3) |
	      FIELD_PREP(ERDMA_CQDB_CI, cq->ci & 0xffffff);
	if ((flags & IB_CQ_SOLICITED_MASK) == IB_CQ_SOLICITED)
		arm |= ERDMA_CQDB_SOL;
	cq->arm_idx++;
	erdma_ring_doorbell(&cq->rec, ad->dev.bar + ERDMA_CQDB_OFFSET, arm);

	if (flags & IB_CQ_REPORT_MISSED_EVENTS)
		missed = erdma_cq_peek(cq, &cqe) ||
			 (erdma_cq_has_dead(cq) && erdma_has_unflushed(cq));
	spin_unlock_irqrestore(&cq->lock, irq);
	return missed;
}

/* ---- creation and destruction ---- */

static int erdma_cq_pin_user(struct erdma_adapter *ad, struct erdma_cq *cq,
			     struct erdma_ucontext *uc, struct ib_udata *udata)
{
	struct erdma_abi_cq_resp resp = { .cqn = cq->cqn, .entries = cq->depth };
	struct erdma_abi_queue_req req;
	int err;

	if (!erdma_can_ring(uc))
		return -EPERM;
	if (udata->inlen < sizeof(req) || udata->outlen < sizeof(resp))
		return -EINVAL;
	err = ib_copy_from_udata(&req, udata, sizeof(req));
	if (!err)
		err = erdma_cq_pin_ring(ad, cq, uc, &req);
	return err ?: ib_copy_to_udata(udata, &resp, sizeof(resp));
}

static int erdma_make_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr,
			 struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibcq->device);
	struct erdma_cq *cq = to_erdma_cq(ibcq);
	struct erdma_ucontext *uc = NULL;
	int err;

	if (attr->flags)
		return -EOPNOTSUPP;
	if (!attr->cqe || attr->cqe > ad->dev.caps.max_cqe || attr->comp_vector >= ad->dev.num_ceqs)
		return -EINVAL;
	cq->depth = roundup_pow_of_two(udata ? attr->cqe : max(attr->cqe, ERDMA_KERNEL_CQ_LEAST));
	cq->assoc_eqn = attr->comp_vector + 1;
	ibcq->cqe = cq->depth;
	err = erdma_cq_init(ad, cq);
	if (err)
		return err;

	if (udata) {
		uc = rdma_udata_to_drv_context(udata, struct erdma_ucontext, ib);
		err = erdma_cq_pin_user(ad, cq, uc, udata);
	} else {
		err = erdma_cq_alloc_ring(ad, cq);
	}
	if (!err)
		err = erdma_cq_create(ad, cq, uc);
	if (err)
		erdma_cq_free(ad, cq);
	return err;
}

int erdma_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibcq->device);
	struct erdma_cq *cq = to_erdma_cq(ibcq);
	int err = erdma_make_cq(ibcq, attr, udata);

	if (!err)
		erdma_track_add(&ad->tracker, ERDMA_TRACK_CQ, &cq->track, cq->cqn, udata,
				&ibcq->res);
	return erdma_count_call(&ad->dev, verbs_create_cq, err);
}

int erdma_destroy_cq(struct ib_cq *ibcq, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibcq->device);
	struct erdma_cq *cq = to_erdma_cq(ibcq);

	erdma_track_remove(&ad->tracker, ERDMA_TRACK_CQ, &cq->track);
	erdma_count(&ad->dev, verbs_destroy_cq_cnt);
	erdma_cq_stop(ad, cq);
	/*
	 * ib_core cancelled its work before this call, and an event may have queued it again until
	 * erdma_cq_stop() returned.  Its other way to poll cannot be scheduled again.
	 */
	if (ibcq->poll_ctx == IB_POLL_WORKQUEUE || ibcq->poll_ctx == IB_POLL_UNBOUND_WORKQUEUE)
		cancel_work_sync(&ibcq->work);
	erdma_cq_free(ad, cq);
	return 0;
}
