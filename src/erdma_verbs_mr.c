// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: verbs of memory regions.
 */
#include <linux/dma-mapping.h>
#include <linux/overflow.h>

#include <rdma/ib_umem.h>

#include "erdma_obj_ctx.h"
#include "erdma_obj_mr.h"
#include "erdma_verbs.h"

#define ERDMA_DMA_PAGE_SHIFT 31	/* what public drivers send for "no page size" */

/*
 * The end of each registration: counted, and a region that was made entered into the tracker.  What
 * ib_core fills in only later, or not at all, is kept in the region itself.
 */
static struct ib_mr *erdma_mr_finish(struct ib_pd *ibpd, struct erdma_mr *mr, u64 start, u64 length,
				     int access, const struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibpd->device);

	if (IS_ERR(mr)) {
		erdma_count(&ad->dev, verbs_reg_mr_failed_cnt);
		return ERR_CAST(mr);
	}
	mr->pdn = to_erdma_pd(ibpd)->pdn;
	mr->start = start;
	mr->length = length;
	mr->access = access;
	erdma_track_add(&ad->tracker, ERDMA_TRACK_MR, &mr->track, mr->index, udata, &ibpd->res);
	erdma_count(&ad->dev, verbs_reg_mr_cnt);
	return &mr->ib;
}

static struct erdma_mr *erdma_make_dma_mr(struct ib_pd *ibpd, int access)
{
	struct erdma_adapter *ad = to_erdma(ibpd->device);
	struct erdma_mr *mr;
	int err;

	/*
	 * All of memory, for the kernel, which may write it locally by the local DMA key anyway.
	 * The core asks for remote rights alone when consumers shall not have to register.
	 */
	access |= IB_ACCESS_LOCAL_WRITE;
	err = erdma_mr_check_access(ad, access);
	if (err)
		return ERR_PTR(err);
	mr = erdma_mr_alloc(ad, ERDMA_MR_DMA);
	if (IS_ERR(mr))
		return mr;

	mr->table.page_shift = ERDMA_DMA_PAGE_SHIFT;
	err = erdma_mr_create(ad, mr, to_erdma_pd(ibpd)->pdn, access, 0, 0);
	if (err) {
		erdma_mr_free(ad, mr);
		return ERR_PTR(err);
	}
	return mr;
}

struct ib_mr *erdma_get_dma_mr(struct ib_pd *ibpd, int access)
{
	return erdma_mr_finish(ibpd, erdma_make_dma_mr(ibpd, access), 0, U64_MAX, access, NULL);
}

/* What user space registers: its own memory from @start on, or a DMA buffer from that offset on. */
struct erdma_user_memory {
	u64 start;
	int dmabuf;		/* descriptor of the buffer, or NOT_DMABUF */
};

#define NOT_DMABUF (-1)

static struct ib_umem *erdma_pin(struct ib_pd *ibpd, const struct erdma_user_memory *memory,
				 u64 length, int access)
{
	if (memory->dmabuf == NOT_DMABUF)
		return erdma_umem_get(ibpd->uobject->context, memory->start, length, access);
	return erdma_umem_get_dmabuf(ibpd->device, memory->start, length, memory->dmabuf, access);
}

static struct erdma_mr *erdma_make_user_mr(struct ib_pd *ibpd,
					   const struct erdma_user_memory *memory, u64 length,
					   u64 iova, int access)
{
	struct erdma_adapter *ad = to_erdma(ibpd->device);
	const struct erdma_pgtable_rules rules = {
		.page_sizes = ERDMA_MR_PAGE_SIZES,
		.max_inline = ERDMA_MR_INLINE_PAGES,
		.max_count = U32_MAX,
		.tree = ad->dev.caps.flags & ERDMA_CAP_MTT_VA,
	};
	struct erdma_mr *mr;
	u64 end;
	int err;

	if (!length || length > ad->dev.caps.max_mr_size ||
	    check_add_overflow(iova, length - 1, &end))
		return ERR_PTR(-EINVAL);
	err = erdma_mr_check_access(ad, access);
	if (err)
		return ERR_PTR(err);

	mr = erdma_mr_alloc(ad, ERDMA_MR_NORMAL);
	if (IS_ERR(mr))
		return mr;
	mr->umem = erdma_pin(ibpd, memory, length, access);
	if (IS_ERR(mr->umem)) {
		err = PTR_ERR(mr->umem);
		mr->umem = NULL;
		goto fail;
	}
	err = erdma_pgtable_build(&ad->dev, &mr->table, mr->umem, iova, &rules);
	if (!err)
		err = erdma_mr_create(ad, mr, to_erdma_pd(ibpd)->pdn, access, iova, length);
	if (!err)
		return mr;
fail:
	erdma_mr_free(ad, mr);
	return ERR_PTR(err);
}

struct ib_mr *erdma_reg_user_mr(struct ib_pd *ibpd, u64 start, u64 length, u64 iova, int access,
				struct ib_udata *udata)
{
	const struct erdma_user_memory memory = { .start = start, .dmabuf = NOT_DMABUF };
	struct erdma_mr *mr = erdma_make_user_mr(ibpd, &memory, length, iova, access);

	return erdma_mr_finish(ibpd, mr, iova, length, access, udata);
}

struct ib_mr *erdma_reg_user_mr_dmabuf(struct ib_pd *ibpd, u64 offset, u64 length, u64 iova, int fd,
				       int access, struct ib_udata *udata)
{
	const struct erdma_user_memory memory = { .start = offset, .dmabuf = fd };
	struct erdma_mr *mr;

	if (fd < 0)
		return ERR_PTR(-EBADF);
	mr = erdma_make_user_mr(ibpd, &memory, length, iova, access);
	return erdma_mr_finish(ibpd, mr, iova, length, access, udata);
}

struct ib_mr *erdma_rereg_user_mr(struct ib_mr *ibmr, int flags, u64 start, u64 length, u64 iova,
				  int access, struct ib_pd *ibpd, struct ib_udata *udata)
{
	struct erdma_mr *old = to_erdma_mr(ibmr);

	if (flags & ~(IB_MR_REREG_TRANS | IB_MR_REREG_PD | IB_MR_REREG_ACCESS))
		return ERR_PTR(-EOPNOTSUPP);
	if (!(flags & IB_MR_REREG_TRANS)) {
		/* Nobody keeps the descriptor by which the pages could be had once more. */
		if (erdma_umem_is_dmabuf(old->umem))
			return ERR_PTR(-EOPNOTSUPP);
		start = old->umem->address;
		length = old->length;
		iova = old->start;
	}
	if (!(flags & IB_MR_REREG_ACCESS))
		access = old->access;
	return erdma_reg_user_mr(ibpd, start, length, iova, access, udata);
}

static struct erdma_mr *erdma_make_fast_mr(struct ib_pd *ibpd, enum ib_mr_type type, u32 max_num_sg)
{
	int access = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_WRITE;
	struct erdma_adapter *ad = to_erdma(ibpd->device);
	struct erdma_pgtable *t;
	struct erdma_mr *mr;
	int err = -ENOMEM;

	if (type != IB_MR_TYPE_MEM_REG)
		return ERR_PTR(-EOPNOTSUPP);
	if (!max_num_sg || max_num_sg > ERDMA_MAX_FRMR_PAGES)
		return ERR_PTR(-EINVAL);
	mr = erdma_mr_alloc(ad, ERDMA_MR_FRMR);
	if (IS_ERR(mr))
		return mr;

	mr->fr_max = max_num_sg;
	t = &mr->table;
	t->level = 1;
	t->count = max_num_sg;
	t->page_shift = ERDMA_FAST_PAGE_SHIFT;
	t->array_bytes = max_num_sg * sizeof(__le64);
	t->array = dma_alloc_coherent(&ad->dev.pdev->dev, t->array_bytes, &t->root, GFP_KERNEL);
	if (t->array)
		err = erdma_mr_create(ad, mr, to_erdma_pd(ibpd)->pdn, access, 0, 0);
	if (!err)
		return mr;
	erdma_mr_free(ad, mr);
	return ERR_PTR(err);
}

struct ib_mr *erdma_alloc_mr(struct ib_pd *ibpd, enum ib_mr_type type, u32 max_num_sg)
{
	return erdma_mr_finish(ibpd, erdma_make_fast_mr(ibpd, type, max_num_sg), 0, 0, 0, NULL);
}

static int erdma_add_fast_page(struct ib_mr *ibmr, u64 at)
{
	struct erdma_mr *mr = to_erdma_mr(ibmr);

	if (mr->fr_pages == mr->fr_max)
		return -ENOMEM;
	((__le64 *)mr->table.array)[mr->fr_pages++] = cpu_to_le64(at);
	return 0;
}

int erdma_map_mr_sg(struct ib_mr *ibmr, struct scatterlist *sg, int nents, unsigned int *offset)
{
	struct erdma_mr *mr = to_erdma_mr(ibmr);

	/* The work request cannot carry a page size: the device takes 4 KiB (adapter.md 8.5). */
	if (mr->type != ERDMA_MR_FRMR || ibmr->page_size != BIT(ERDMA_FAST_PAGE_SHIFT))
		return -EINVAL;
	mr->fr_pages = 0;
	return ib_sg_to_pages(ibmr, sg, nents, offset, erdma_add_fast_page);
}

int erdma_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibmr->device);
	struct erdma_mr *mr = to_erdma_mr(ibmr);

	erdma_track_remove(&ad->tracker, ERDMA_TRACK_MR, &mr->track);
	erdma_count(&ad->dev, verbs_dereg_mr_cnt);
	erdma_mr_destroy(ad, mr);
	return 0;
}
