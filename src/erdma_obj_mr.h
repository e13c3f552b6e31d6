/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: memory regions (adapter.md 4.11, 4.12, chapter 8).
 */
#ifndef ERDMA_OBJ_MR_H
#define ERDMA_OBJ_MR_H

#include "erdma_adapter.h"
#include "erdma_obj_pgtable.h"

#define ERDMA_FAST_PAGE_SHIFT 12

struct erdma_mr {
	struct ib_mr ib;
	struct ib_umem *umem;
	u32 index;
	u8 type;			/* ERDMA_MR_* */
	struct erdma_pgtable table;
	u32 fr_pages;			/* fast registration: pages in the list now */
	u32 fr_max;

	/* for diagnostics */
	struct erdma_track track;
	u32 pdn;
	u32 access;			/* IB_ACCESS_* */
	u64 start, length;
};

static inline struct erdma_mr *to_erdma_mr(struct ib_mr *ib)
{
	return container_of(ib, struct erdma_mr, ib);
}

/*
 * The device chooses the local DMA key, which is all of memory: no region may have its index, if
 * that is one of regions.  Once the capabilities are known, before any region.  0 or -ENOMEM.
 */
int erdma_mr_keep_local_key(struct erdma_adapter *ad);
void erdma_mr_drop_local_key(struct erdma_adapter *ad);

/* ERDMA_ACCESS_* bits of REG_MR, command and request (4.11, 7.1); always with local read. */
u32 erdma_access_bits(int access);

/**
 * erdma_mr_check_access() - Can the device grant these rights?
 * @ad: the adapter
 * @access: IB_ACCESS_* bits
 *
 * Return: 0, -EOPNOTSUPP, or -EINVAL for remote writing to memory that may not be written locally.
 */
int erdma_mr_check_access(const struct erdma_adapter *ad, int access);

/**
 * erdma_mr_alloc() - Allocate a region with an index and keys, which the device does not know yet.
 * @ad: the adapter
 * @type: ERDMA_MR_*
 *
 * Return: the region or an ERR_PTR().
 */
struct erdma_mr *erdma_mr_alloc(struct erdma_adapter *ad, u8 type);
/* Frees what the driver holds; the device must not know the region (any more). */
void erdma_mr_free(struct erdma_adapter *ad, struct erdma_mr *mr);

/**
 * erdma_mr_create() - Make a region whose table is ready known to the device (REG_MR).
 * @ad: the adapter
 * @mr: the region
 * @pdn: number of its protection domain
 * @access: IB_ACCESS_* bits
 * @start: address of its first byte
 * @length: its bytes
 *
 * @start and @length are zero where the type has none: real hardware may look at them (8.2).  May
 * sleep.
 *
 * Return: 0 or as erdma_cmd_exec().
 */
int erdma_mr_create(struct erdma_adapter *ad, struct erdma_mr *mr, u32 pdn, int access, u64 start,
		    u64 length);
/* Makes the device give up the region, and frees it.  May sleep. */
void erdma_mr_destroy(struct erdma_adapter *ad, struct erdma_mr *mr);

#endif
