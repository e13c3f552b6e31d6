/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: page tables of pinned user memory (adapter.md 4.5, 4.7, 8.4).
 */
#ifndef ERDMA_OBJ_PGTABLE_H
#define ERDMA_OBJ_PGTABLE_H

#include "erdma_dev.h"

struct ib_umem;

/* Page table of a user buffer or a region, as the device wants it. */
struct erdma_pgtable {
	u32 page_shift;
	u32 count;			/* pages */
	u64 first_offset;		/* of byte 0 in page 0 */
	unsigned int level;		/* 0: inline[], 1..3: root */
	u64 inline_pages[4];
	dma_addr_t root;
	/* level 1: one array, coherent or mapped; 2 and 3: pages mapped one by one */
	void *array;
	size_t array_bytes;
	struct erdma_pgtable_page *pages;
	u32 num_pages;
};

/* How a table may look, by what the command that carries it can express. */
struct erdma_pgtable_rules {
	u64 page_sizes;		/* bit n: pages of 2^n bytes are possible */
	u32 max_inline;		/* page addresses that fit into the command */
	u32 max_count;		/* pages that the command can count */
	bool tree;		/* multi-level tables are understood */
};

/**
 * erdma_pgtable_build() - Describe the pages of pinned memory for the device.
 * @dev: the device
 * @t: the table
 * @umem: the memory
 * @va: address by which the device or the process names its first byte
 * @rules: what is possible
 *
 * May sleep.  Return: 0, -EINVAL when no page size or no table shape fits, -ENOMEM.
 */
int erdma_pgtable_build(struct erdma_dev *dev, struct erdma_pgtable *t, struct ib_umem *umem,
			u64 va, const struct erdma_pgtable_rules *rules);

/* Also for a zeroed or half-built table. */
void erdma_pgtable_release(struct erdma_dev *dev, struct erdma_pgtable *t);

#endif
