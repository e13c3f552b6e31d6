// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: pinned user memory, its page tables, and memory regions (adapter.md 4.11, chapter 8).
 */
#include <linux/bitfield.h>
#include <linux/dma-mapping.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/overflow.h>

#include "erdma_verbs.h"

/*
 * Tables up to this size are one contiguous array; larger ones become trees where the device takes trees, because
 * contiguous memory of high order is hard to get on a machine that has been up for a while.
 */
#define ERDMA_ARRAY_EASY_BYTES SZ_64K
#define ERDMA_ARRAY_MOST_BYTES (ERDMA_MAX_TABLE_PAGES * sizeof(__le64))
#define ERDMA_FAST_PAGE_SHIFT 12
#define ERDMA_DMA_PAGE_SHIFT 31	/* what public drivers send for "no page size" */
#define ERDMA_TABLE_ENTRIES ((u32)(PAGE_SIZE / sizeof(__le64)))

/* One page of a tree: 512 addresses of data pages or of lower table pages. */
struct erdma_pgtable_page {
	__le64 *entries;
	dma_addr_t dma;		/* DMA_MAPPING_ERROR: not mapped yet */
};

/* ---- page tables ---- */

static void erdma_tree_release(struct erdma_adapter *ad, struct erdma_pgtable *t)
{
	u32 i;

	for (i = 0; i < t->num_pages; i++) {
		struct erdma_pgtable_page *page = &t->pages[i];

		if (!page->entries)
			break;
		if (page->dma != DMA_MAPPING_ERROR)
			dma_unmap_single(&ad->dev.pdev->dev, page->dma, PAGE_SIZE, DMA_TO_DEVICE);
		free_page((unsigned long)page->entries);
	}
	kvfree(t->pages);
}

void erdma_pgtable_release(struct erdma_adapter *ad, struct erdma_pgtable *t)
{
	if (t->array)
		dma_free_coherent(&ad->dev.pdev->dev, t->array_bytes, t->array, t->root);
	if (t->pages)
		erdma_tree_release(ad, t);
	memset(t, 0, sizeof(*t));
}

static int erdma_tree_reserve(struct erdma_pgtable *t, u32 leaves)
{
	u32 tier, i;

	t->num_pages = leaves;
	for (tier = leaves; tier > 1; t->num_pages += tier)
		tier = DIV_ROUND_UP(tier, ERDMA_TABLE_ENTRIES);

	t->pages = kvcalloc(t->num_pages, sizeof(*t->pages), GFP_KERNEL);
	if (!t->pages)
		return -ENOMEM;
	for (i = 0; i < t->num_pages; i++) {
		t->pages[i].dma = DMA_MAPPING_ERROR;
		t->pages[i].entries = (__le64 *)get_zeroed_page(GFP_KERNEL);
		if (!t->pages[i].entries)
			return -ENOMEM;
		cond_resched();
	}
	return 0;
}

/* Hands `n` filled table pages to the device. */
static int erdma_tree_map(struct erdma_adapter *ad, struct erdma_pgtable_page *page, u32 n)
{
	for (; n; n--, page++) {
		page->dma = dma_map_single(&ad->dev.pdev->dev, page->entries, PAGE_SIZE, DMA_TO_DEVICE);
		if (dma_mapping_error(&ad->dev.pdev->dev, page->dma)) {
			page->dma = DMA_MAPPING_ERROR;
			return -ENOMEM;
		}
	}
	return 0;
}

/* Builds the tiers above the filled leaves, from the bottom: a page is mapped once its entries are final. */
static int erdma_tree_raise(struct erdma_adapter *ad, struct erdma_pgtable *t, u32 leaves)
{
	struct erdma_pgtable_page *below = t->pages;
	struct erdma_pgtable_page *above;
	u32 width = leaves, i;
	int err;

	err = erdma_tree_map(ad, below, width);
	for (t->level = 1; !err && width > 1; t->level++) {
		above = below + width;
		for (i = 0; i < width; i++)
			above[i / ERDMA_TABLE_ENTRIES].entries[i % ERDMA_TABLE_ENTRIES] = cpu_to_le64(below[i].dma);
		width = DIV_ROUND_UP(width, ERDMA_TABLE_ENTRIES);
		err = erdma_tree_map(ad, above, width);
		below = above;
	}
	t->root = below->dma;
	return err;
}

int erdma_pgtable_build(struct erdma_adapter *ad, struct erdma_pgtable *t, struct ib_umem *umem, u64 va,
			const struct erdma_pgtable_rules *rules)
{
	struct ib_block_iter block;
	unsigned long page_size;
	size_t blocks, bytes;
	u32 leaves = 0, i = 0;
	int err;

	memset(t, 0, sizeof(*t));
	page_size = ib_umem_find_best_pgsz(umem, rules->page_sizes, va);
	if (!page_size)
		return -EINVAL;
	blocks = ib_umem_num_dma_blocks(umem, page_size);
	if (!blocks || blocks > rules->max_count)
		return -EINVAL;

	t->page_shift = ilog2(page_size);
	t->first_offset = va & (page_size - 1);
	t->count = blocks;
	bytes = blocks * sizeof(__le64);

	if (blocks <= rules->max_inline) {
		t->level = 0;
	} else if (!rules->tree || bytes <= ERDMA_ARRAY_EASY_BYTES) {
		if (bytes > ERDMA_ARRAY_MOST_BYTES)
			return -EINVAL;
		t->array_bytes = bytes;
		t->array = dma_alloc_coherent(&ad->dev.pdev->dev, bytes, &t->root, GFP_KERNEL | __GFP_NOWARN);
		if (!t->array)
			return -ENOMEM;
		t->level = 1;
	} else {
		leaves = DIV_ROUND_UP(t->count, ERDMA_TABLE_ENTRIES);
		err = erdma_tree_reserve(t, leaves);
		if (err)
			goto fail;
	}

	rdma_umem_for_each_dma_block(umem, &block, page_size) {
		u64 at = rdma_block_iter_dma_address(&block);

		if (i == t->count)
			break;
		if (t->array)
			((__le64 *)t->array)[i] = cpu_to_le64(at);
		else if (t->pages)
			t->pages[i / ERDMA_TABLE_ENTRIES].entries[i % ERDMA_TABLE_ENTRIES] = cpu_to_le64(at);
		else
			t->inline_pages[i] = at;
		i++;
	}
	err = i == t->count ? 0 : -EINVAL;
	if (!err && t->pages)
		err = erdma_tree_raise(ad, t, leaves);
	if (!err && t->level > ERDMA_MAX_TABLE_LEVEL)
		err = -EINVAL;
	if (!err)
		return 0;
fail:
	erdma_pgtable_release(ad, t);
	return err;
}

/* ---- doorbell records of processes ---- */

struct erdma_user_dbrec *erdma_user_dbrec_get(struct erdma_ucontext *uc, u64 va, u32 bytes, dma_addr_t *dma)
{
	u64 base = va & PAGE_MASK;
	u32 offset = offset_in_page(va);
	struct erdma_user_dbrec *page;
	int err;

	if (!IS_ALIGNED(va, sizeof(u64)) || offset + bytes > PAGE_SIZE)
		return ERR_PTR(-EINVAL);

	mutex_lock(&uc->lock);
	list_for_each_entry(page, &uc->dbrec_pages, node)
		if (page->va == base && page->umem->owning_mm == current->mm)
			goto found;

	page = kzalloc(sizeof(*page), GFP_KERNEL);
	if (!page) {
		err = -ENOMEM;
		goto unlock;
	}
	page->owner = uc;
	page->va = base;
	page->umem = erdma_umem_get(uc->ib.device, base, PAGE_SIZE, IB_ACCESS_LOCAL_WRITE);
	if (IS_ERR(page->umem)) {
		err = PTR_ERR(page->umem);
		kfree(page);
		goto unlock;
	}
	list_add(&page->node, &uc->dbrec_pages);
found:
	page->users++;
	*dma = sg_dma_address(erdma_umem_list(page->umem)) + offset;
	mutex_unlock(&uc->lock);
	return page;

unlock:
	mutex_unlock(&uc->lock);
	return ERR_PTR(err);
}

void erdma_user_dbrec_put(struct erdma_user_dbrec *page)
{
	struct erdma_ucontext *uc;

	if (!page)
		return;
	uc = page->owner;
	mutex_lock(&uc->lock);
	if (--page->users == 0) {
		list_del(&page->node);
		ib_umem_release(page->umem);
		kfree(page);
	}
	mutex_unlock(&uc->lock);
}

/* ---- regions ---- */

u32 erdma_access_bits(int access)
{
	static const struct {
		int verbs;
		u32 device;
	} rights[] = {
		{ IB_ACCESS_LOCAL_WRITE, ERDMA_ACCESS_LOCAL_WRITE },
		{ IB_ACCESS_REMOTE_READ, ERDMA_ACCESS_REMOTE_READ },
		{ IB_ACCESS_REMOTE_WRITE, ERDMA_ACCESS_REMOTE_WRITE },
		{ IB_ACCESS_REMOTE_ATOMIC, ERDMA_ACCESS_REMOTE_ATOMIC },
	};
	u32 bits = ERDMA_ACCESS_LOCAL_READ;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rights); i++)
		if (access & rights[i].verbs)
			bits |= rights[i].device;
	return bits;
}

/* 0 when the device can grant these rights. */
static int erdma_check_access(const struct erdma_adapter *ad, int access)
{
	int known = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_WRITE | IB_ACCESS_HUGETLB |
		    IB_ACCESS_OPTIONAL;
	int needs_local = IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_ATOMIC;

	if (ad->dev.caps.flags & ERDMA_CAP_ATOMIC)
		known |= IB_ACCESS_REMOTE_ATOMIC;
	if (access & ~known)
		return -EOPNOTSUPP;
	if ((access & needs_local) && !(access & IB_ACCESS_LOCAL_WRITE))
		return -EINVAL;
	return 0;
}

/* Next free index after the one given last, so that a stale STag keeps failing for as long as possible. */
static int erdma_take_index(struct erdma_adapter *ad, u32 *index)
{
	u32 last = ad->dev.caps.max_mrs - 1;
	u32 from = READ_ONCE(ad->next_mr);
	int got;

	if (from < 1 || from > last)
		from = 1;
	got = ida_alloc_range(&ad->mr_ids, from, last, GFP_KERNEL);
	if (got == -ENOSPC && from > 1)
		got = ida_alloc_range(&ad->mr_ids, 1, last, GFP_KERNEL);
	if (got < 0)
		return got == -ENOSPC ? -ENOMEM : got;
	WRITE_ONCE(ad->next_mr, got + 1);
	*index = got;
	return 0;
}

static struct erdma_mr *erdma_mr_new(struct ib_pd *ibpd, u8 type)
{
	struct erdma_adapter *ad = to_erdma(ibpd->device);
	struct erdma_mr *mr = kzalloc(sizeof(*mr), GFP_KERNEL);
	int err;

	if (!mr)
		return ERR_PTR(-ENOMEM);
	err = erdma_take_index(ad, &mr->index);
	if (err) {
		kfree(mr);
		return ERR_PTR(err);
	}
	mr->type = type;
	mr->ib.lkey = mr->index << 8;
	mr->ib.rkey = mr->ib.lkey;
	return mr;
}

/* Frees what the driver holds; the device must not know the region (any more). */
static void erdma_mr_free(struct erdma_adapter *ad, struct erdma_mr *mr)
{
	erdma_pgtable_release(ad, &mr->table);
	ib_umem_release(mr->umem);
	ida_free(&ad->mr_ids, mr->index);
	kfree(mr);
}

/*
 * REG_MR for a region whose table is ready.  `start` and `length` are zero where the type has none: real hardware
 * may look at them (adapter.md 8.2).
 */
static int erdma_mr_tell_device(struct erdma_adapter *ad, struct erdma_mr *mr, u32 pdn, int access, u64 start,
				u64 length)
{
	const struct erdma_pgtable *t = &mr->table;
	bool tree = t->level > 1;
	struct erdma_cmd_reg_mr request = {
		.cfg0 = cpu_to_le32((mr->type == ERDMA_MR_NORMAL ? ERDMA_MR0_VALID : 0) |
				    FIELD_PREP(ERDMA_MR0_VERSION, tree) | FIELD_PREP(ERDMA_MR0_INDEX, mr->index)),
		.cfg1 = cpu_to_le32(FIELD_PREP(ERDMA_MR1_PD, pdn) | FIELD_PREP(ERDMA_MR1_TYPE, mr->type) |
				    erdma_access_bits(access)),
		.start = cpu_to_le64(start),
		.len_lo = cpu_to_le32(lower_32_bits(length)),
		.cfg2 = cpu_to_le32(FIELD_PREP(ERDMA_MR2_PAGE_SHIFT, t->page_shift) |
				    FIELD_PREP(ERDMA_MR2_TABLE_PAGE, PAGE_SHIFT - 12) |
				    FIELD_PREP(ERDMA_MR2_LEVEL, t->level) |
				    FIELD_PREP(ERDMA_MR2_COUNT, t->count & (BIT(ERDMA_MR2_COUNT_BITS) - 1))),
	};
	u32 i;

	if (t->level) {
		request.root = cpu_to_le64(t->root);
		if (tree) {
			request.len_hi = cpu_to_le32(upper_32_bits(length));
			request.count_hi = cpu_to_le32(t->count >> ERDMA_MR2_COUNT_BITS);
		}
	} else {
		for (i = 0; i < t->count; i++)
			request.pages[i] = cpu_to_le64(t->inline_pages[i]);
	}
	return erdma_cmd_exec(&ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_REG_MR, &request, sizeof(request), NULL, NULL);
}

struct ib_mr *erdma_get_dma_mr(struct ib_pd *ibpd, int access)
{
	struct erdma_adapter *ad = to_erdma(ibpd->device);
	struct erdma_mr *mr;
	int err;

	err = erdma_check_access(ad, access);
	if (err)
		return ERR_PTR(err);
	mr = erdma_mr_new(ibpd, ERDMA_MR_DMA);
	if (IS_ERR(mr))
		return ERR_CAST(mr);

	mr->table.page_shift = ERDMA_DMA_PAGE_SHIFT;
	err = erdma_mr_tell_device(ad, mr, to_erdma_pd(ibpd)->pdn, access, 0, 0);
	if (err) {
		erdma_mr_free(ad, mr);
		return ERR_PTR(err);
	}
	return &mr->ib;
}

struct ib_mr *erdma_reg_user_mr(struct ib_pd *ibpd, u64 start, u64 length, u64 iova, int access,
				struct ib_udata *udata)
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

	if (!length || length > ad->dev.caps.max_mr_size || check_add_overflow(iova, length - 1, &end))
		return ERR_PTR(-EINVAL);
	err = erdma_check_access(ad, access);
	if (err)
		return ERR_PTR(err);

	mr = erdma_mr_new(ibpd, ERDMA_MR_NORMAL);
	if (IS_ERR(mr))
		return ERR_CAST(mr);
	mr->umem = erdma_umem_get(ibpd->device, start, length, access);
	if (IS_ERR(mr->umem)) {
		err = PTR_ERR(mr->umem);
		mr->umem = NULL;
		goto fail;
	}
	err = erdma_pgtable_build(ad, &mr->table, mr->umem, iova, &rules);
	if (!err)
		err = erdma_mr_tell_device(ad, mr, to_erdma_pd(ibpd)->pdn, access, iova, length);
	if (!err)
		return &mr->ib;
fail:
	erdma_mr_free(ad, mr);
	return ERR_PTR(err);
}

struct ib_mr *erdma_alloc_mr(struct ib_pd *ibpd, enum ib_mr_type type, u32 max_num_sg)
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
	mr = erdma_mr_new(ibpd, ERDMA_MR_FRMR);
	if (IS_ERR(mr))
		return ERR_CAST(mr);

	mr->fr_max = max_num_sg;
	t = &mr->table;
	t->level = 1;
	t->count = max_num_sg;
	t->page_shift = ERDMA_FAST_PAGE_SHIFT;
	t->array_bytes = max_num_sg * sizeof(__le64);
	t->array = dma_alloc_coherent(&ad->dev.pdev->dev, t->array_bytes, &t->root, GFP_KERNEL);
	if (t->array)
		err = erdma_mr_tell_device(ad, mr, to_erdma_pd(ibpd)->pdn, access, 0, 0);
	if (!err)
		return &mr->ib;
	erdma_mr_free(ad, mr);
	return ERR_PTR(err);
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

	erdma_cmd_destroy(&ad->dev, ERDMA_CMD_DEREG_MR, "DEREG_MR",
			  FIELD_PREP(ERDMA_MR0_INDEX, mr->index) | FIELD_PREP(ERDMA_MR0_KEY, mr->ib.lkey & 0xff));
	erdma_mr_free(ad, mr);
	return 0;
}
