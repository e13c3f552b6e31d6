// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: completion queues as objects.
 */
#include <linux/dma-mapping.h>
#include <linux/log2.h>

#include <rdma/ib_umem.h>

#include "erdma_dev_cmdq.h"
#include "erdma_obj_cq.h"

/* ---- references ---- */

struct erdma_cq *erdma_cq_find(struct erdma_adapter *ad, u32 cqn)
{
	struct erdma_cq *cq;
	unsigned long flags;

	xa_lock_irqsave(&ad->cqs, flags);
	cq = xa_load(&ad->cqs, cqn);
	if (cq && !kref_get_unless_zero(&cq->ref))
		cq = NULL;
	xa_unlock_irqrestore(&ad->cqs, flags);
	return cq;
}

static void erdma_cq_last_ref(struct kref *ref)
{
	complete(&container_of(ref, struct erdma_cq, ref)->gone);
}

void erdma_cq_put(struct erdma_cq *cq)
{
	kref_put(&cq->ref, erdma_cq_last_ref);
}

/* ---- creation and destruction ---- */

int erdma_cq_init(struct erdma_adapter *ad, struct erdma_cq *cq)
{
	int err;

	kref_init(&cq->ref);
	init_completion(&cq->gone);
	spin_lock_init(&cq->lock);
	INIT_LIST_HEAD(&cq->senders);
	INIT_LIST_HEAD(&cq->receivers);

	err = xa_alloc_cyclic_irq(&ad->cqs, &cq->cqn, NULL, XA_LIMIT(1, ad->dev.caps.max_cqs - 1),
				  &ad->next_cqn, GFP_KERNEL);
	if (err < 0)
		return err == -EBUSY ? -ENOMEM : err;
	return 0;
}

static const struct erdma_pgtable_rules erdma_cq_table_rules = {
	.page_sizes = GENMASK_ULL(25, 12),	/* 4 KiB .. 32 MiB */
	.max_inline = 1,
	.max_count = U16_MAX,
};

int erdma_cq_pin_ring(struct erdma_adapter *ad, struct erdma_cq *cq, struct erdma_ucontext *uc,
		      const struct erdma_abi_queue_req *req)
{
	size_t bytes = (size_t)cq->depth * ERDMA_CQE_BYTES;
	int err;

	if (req->buffer_len < bytes || !IS_ALIGNED(req->buffer_va, ERDMA_CQE_BYTES))
		return -EINVAL;

	cq->umem = erdma_umem_get(&uc->ib, req->buffer_va, bytes, IB_ACCESS_LOCAL_WRITE);
	if (IS_ERR(cq->umem)) {
		err = PTR_ERR(cq->umem);
		cq->umem = NULL;
		return err;
	}
	err = erdma_pgtable_build(&ad->dev, &cq->table, cq->umem, req->buffer_va,
				  &erdma_cq_table_rules);
	if (err)
		return err;
	cq->user_rec = erdma_user_dbrec_get(uc, req->record_va, sizeof(u64), &cq->user_rec_dma);
	if (IS_ERR(cq->user_rec)) {
		err = PTR_ERR(cq->user_rec);
		cq->user_rec = NULL;
	}
	return err;
}

int erdma_cq_alloc_ring(struct erdma_adapter *ad, struct erdma_cq *cq)
{
	int err;

	cq->ring = dma_alloc_coherent(&ad->dev.pdev->dev, (size_t)cq->depth * ERDMA_CQE_BYTES,
				      &cq->ring_dma, GFP_KERNEL | __GFP_NOWARN);
	if (!cq->ring)
		return -ENOMEM;
	err = erdma_dbrec_alloc(&ad->dev, &cq->rec);
	if (err)
		return err;
	/* "Minus one", as the sequence counters of real hardware want it (adapter.md 14.2). */
	*cq->rec.cpu = cpu_to_le64(FIELD_PREP(ERDMA_CQDB_IDX, 0xff) |
				   FIELD_PREP(ERDMA_CQDB_CQN, cq->cqn) |
				   FIELD_PREP(ERDMA_CQDB_CMDSN, 3));
	return 0;
}

int erdma_cq_create(struct erdma_adapter *ad, struct erdma_cq *cq, const struct erdma_ucontext *uc)
{
	struct erdma_cmd_create_cq request = { };
	u32 cfg0, cfg1;
	u64 buffer;
	int err;

	cfg0 = FIELD_PREP(ERDMA_CQ0_LOG_DEPTH, ilog2(cq->depth)) |
	       FIELD_PREP(ERDMA_CQ0_CQN, cq->cqn);
	cfg1 = FIELD_PREP(ERDMA_CQ1_EQN, cq->assoc_eqn);
	if (uc) {
		const struct erdma_pgtable *t = &cq->table;

		/* The address of the one page itself, or else of the list of pages (4.5). */
		buffer = t->level ? t->root : t->inline_pages[0];
		cfg0 |= FIELD_PREP(ERDMA_CQ0_PAGE, t->page_shift - 12);
		cfg1 |= FIELD_PREP(ERDMA_CQ1_COUNT, t->count) | (t->level ? ERDMA_CQ1_TABLE : 0);
		request.first_offset = cpu_to_le32(t->first_offset);
		request.rec = cpu_to_le64(cq->user_rec_dma);
		if (uc->ext_cq_page) {
			cfg1 |= ERDMA_CQ1_DB_VALID;
			request.cfg2 = cpu_to_le32(FIELD_PREP(ERDMA_CQ2_DB_PAGE, uc->ext_cq_page));
		}
	} else {
		buffer = cq->ring_dma;
		cfg0 |= FIELD_PREP(ERDMA_CQ0_PAGE, ERDMA_CQ_KERNEL_PAGE);
		cfg1 |= FIELD_PREP(ERDMA_CQ1_COUNT, 1);
		request.rec = cpu_to_le64(cq->rec.dma);
	}
	request.cfg0 = cpu_to_le32(cfg0);
	request.cfg1 = cpu_to_le32(cfg1);
	request.buf_lo = cpu_to_le32(lower_32_bits(buffer));
	request.buf_hi = cpu_to_le32(upper_32_bits(buffer));
	err = erdma_cmd_exec(&ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_CREATE_CQ, &request,
			     sizeof(request), NULL, NULL);
	if (err)
		return err;
	/* Replaces the reservation, which needs no memory. */
	xa_store_irq(&ad->cqs, cq->cqn, cq, GFP_KERNEL);
	return 0;
}

static struct erdma_cqe *erdma_cq_slot(const struct erdma_cq *cq, u32 index)
{
	return (struct erdma_cqe *)cq->ring + (index & (cq->depth - 1));
}

static u32 erdma_cq_header(const struct erdma_cq *cq, u32 index)
{
	return be32_to_cpu(READ_ONCE(erdma_cq_slot(cq, index)->header));
}

void erdma_cq_forget(struct erdma_cq *cq, u32 qpn)
{
	u32 end = cq->ci, removed = 0, i;
	struct erdma_cqe *slot;
	u32 header;

	lockdep_assert_held(&cq->lock);
	while (end - cq->ci < cq->depth &&
	       erdma_owned(FIELD_GET(ERDMA_CQE_OWNER, erdma_cq_header(cq, end)), end, cq->depth))
		end++;
	/* The rest of each entry was written before its header. */
	dma_rmb();

	/* The device goes on at the end: survivors move there, the last one first. */
	for (i = end; i != cq->ci; i--) {
		slot = erdma_cq_slot(cq, i - 1);
		if (be32_to_cpu(slot->qpn) == qpn) {
			removed++;
			continue;
		}
		if (!removed)
			continue;
		header = be32_to_cpu(slot->header) & ~ERDMA_CQE_OWNER;
		/* Whoever reads the new place expects its round's owner bit. */
		if (erdma_owned(1, i - 1 + removed, cq->depth))
			header |= ERDMA_CQE_OWNER;
		*erdma_cq_slot(cq, i - 1 + removed) = *slot;
		erdma_cq_slot(cq, i - 1 + removed)->header = cpu_to_be32(header);
	}
	cq->ci += removed;
}

void erdma_cq_stop(struct erdma_adapter *ad, struct erdma_cq *cq)
{
	erdma_cmd_destroy(&ad->dev, ERDMA_CMD_DESTROY_CQ, "DESTROY_CQ", cq->cqn);
	/* Events that are on their way hold references; afterwards the number finds nothing. */
	erdma_cq_put(cq);
	wait_for_completion(&cq->gone);
}

void erdma_cq_free(struct erdma_adapter *ad, struct erdma_cq *cq)
{
	erdma_user_dbrec_put(cq->user_rec);
	erdma_pgtable_release(&ad->dev, &cq->table);
	ib_umem_release(cq->umem);
	if (cq->rec.cpu)
		erdma_dbrec_free(&ad->dev, &cq->rec);
	if (cq->ring)
		dma_free_coherent(&ad->dev.pdev->dev, (size_t)cq->depth * ERDMA_CQE_BYTES, cq->ring,
				  cq->ring_dma);
	xa_erase_irq(&ad->cqs, cq->cqn);
}
