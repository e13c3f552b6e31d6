// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: page tables of pinned user memory.
 */
#include <linux/dma-mapping.h>
#include <linux/log2.h>
#include <linux/slab.h>

#include <rdma/ib_umem.h>

#include "erdma_obj_pgtable.h"

/*
 * Tables up to this size are one contiguous array; larger ones become trees where the device takes
 * trees, because contiguous memory of high order is hard to get on a machine that has been up for a
 * while.
 */
#define ERDMA_ARRAY_EASY_BYTES SZ_64K
#define ERDMA_ARRAY_MOST_BYTES (ERDMA_MAX_TABLE_PAGES * sizeof(__le64))
#define ERDMA_TABLE_ENTRIES ((u32)(PAGE_SIZE / sizeof(__le64)))

/* One page of a tree: 512 addresses of data pages or of lower table pages. */
struct erdma_pgtable_page {
	__le64 *entries;
	dma_addr_t dma;		/* DMA_MAPPING_ERROR: not mapped yet */
};

static void erdma_tree_release(struct erdma_dev *dev, struct erdma_pgtable *t)
{
	u32 i;

	for (i = 0; i < t->num_pages; i++) {
		struct erdma_pgtable_page *page = &t->pages[i];

		if (!page->entries)
			break;
		if (page->dma != DMA_MAPPING_ERROR)
			dma_unmap_single(&dev->pdev->dev, page->dma, PAGE_SIZE, DMA_TO_DEVICE);
		free_page((unsigned long)page->entries);
	}
	kvfree(t->pages);
}

void erdma_pgtable_release(struct erdma_dev *dev, struct erdma_pgtable *t)
{
	if (t->array)
		dma_free_coherent(&dev->pdev->dev, t->array_bytes, t->array, t->root);
	if (t->pages)
		erdma_tree_release(dev, t);
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
static int erdma_tree_map(struct erdma_dev *dev, struct erdma_pgtable_page *page, u32 n)
{
	for (; n; n--, page++) {
		page->dma =
			dma_map_single(&dev->pdev->dev, page->entries, PAGE_SIZE, DMA_TO_DEVICE);
		if (dma_mapping_error(&dev->pdev->dev, page->dma)) {
			page->dma = DMA_MAPPING_ERROR;
			return -ENOMEM;
		}
	}
	return 0;
}

/* Builds the tiers above the leaves, from the bottom: a page is mapped when it is final. */
static int erdma_tree_raise(struct erdma_dev *dev, struct erdma_pgtable *t, u32 leaves)
{
	struct erdma_pgtable_page *below = t->pages;
	struct erdma_pgtable_page *above;
	u32 width = leaves, i;
	int err;

	err = erdma_tree_map(dev, below, width);
	for (t->level = 1; !err && width > 1; t->level++) {
		above = below + width;
		for (i = 0; i < width; i++)
			above[i / ERDMA_TABLE_ENTRIES].entries[i % ERDMA_TABLE_ENTRIES] =
				cpu_to_le64(below[i].dma);
		width = DIV_ROUND_UP(width, ERDMA_TABLE_ENTRIES);
		err = erdma_tree_map(dev, above, width);
		below = above;
	}
	t->root = below->dma;
	return err;
}

int erdma_pgtable_build(struct erdma_dev *dev, struct erdma_pgtable *t, struct ib_umem *umem,
			u64 va, const struct erdma_pgtable_rules *rules)
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
		t->array = dma_alloc_coherent(&dev->pdev->dev, bytes, &t->root,
					      GFP_KERNEL | __GFP_NOWARN);
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
			t->pages[i / ERDMA_TABLE_ENTRIES].entries[i % ERDMA_TABLE_ENTRIES] =
				cpu_to_le64(at);
		else
			t->inline_pages[i] = at;
		i++;
	}
	err = i == t->count ? 0 : -EINVAL;
	if (!err && t->pages)
		err = erdma_tree_raise(dev, t, leaves);
	if (!err && t->level > ERDMA_MAX_TABLE_LEVEL)
		err = -EINVAL;
	if (!err)
		return 0;
fail:
	erdma_pgtable_release(dev, t);
	return err;
}
