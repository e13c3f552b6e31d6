// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: doorbell pages of contexts (adapter.md 6.3, 4.21) and pinned
 * doorbell records.
 */
#include <linux/capability.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include <rdma/ib_umem.h>

#include "erdma_dev_cmdq.h"
#include "erdma_obj_ctx.h"

/* ---- doorbell pages ---- */

bool erdma_db_permitted(const struct erdma_adapter *ad)
{
	return (ad->dev.caps.flags & ERDMA_CAP_EXTEND_DB) || ad->shared_doorbells ||
	       capable(CAP_SYS_RAWIO);
}

/*
 * How many exclusive pages and divided slots the credit groups of the device make (adapter.md 6.3).
 */
void erdma_db_init(struct erdma_adapter *ad)
{
	u32 groups = ad->dev.caps.direct_wqe_groups;
	u32 divided = groups * 4 / 3;

	spin_lock_init(&ad->db_lock);
	atomic_set(&ad->num_contexts, 0);
	if (groups < ERDMA_DWQE_MIN_GROUPS) {
		ad->db_exclusive = 0;
		ad->db_entries = 0;
	} else if (groups < ERDMA_DWQE_FULL_GROUPS) {
		ad->db_exclusive = groups * 4 - divided - 1;
		ad->db_entries = divided * ERDMA_DB_SLOTS_PER_PAGE;
	} else {
		ad->db_exclusive = ERDMA_DB_MAX_EXCLUSIVE;
		ad->db_entries = ERDMA_DB_MAX_ENTRIES;
	}
}

/*
 * Allocates the lowest free bit of a map; returns `bits` when there is none.  Caller holds db_lock.
 */
static u32 erdma_alloc_bit(unsigned long *map, u32 bits)
{
	u32 bit = find_first_zero_bit(map, bits);

	if (bit < bits)
		__set_bit(bit, map);
	return bit;
}

/* Gives a context the best send doorbell that is left; returns its page's offset in BAR0. */
static u32 erdma_alloc_send_page(struct erdma_adapter *ad, struct erdma_ucontext *uc)
{
	u32 offset = ERDMA_SQDB_SHARED_OFFSET;
	u32 got, page;

	spin_lock(&ad->db_lock);
	got = erdma_alloc_bit(ad->db_page_map, ad->db_exclusive);
	if (got < ad->db_exclusive) {
		uc->db_type = ERDMA_SDB_EXCLUSIVE_PAGE;
		uc->db_index = got;
		offset = ERDMA_SQDB_OFFSET + got * ERDMA_DB_PAGE_BYTES;
	} else {
		got = erdma_alloc_bit(ad->db_entry_map, ad->db_entries);
		if (got < ad->db_entries) {
			uc->db_type = ERDMA_SDB_ENTRY;
			uc->db_index = got;
			page = ad->db_exclusive + got / ERDMA_DB_SLOTS_PER_PAGE;
			offset = ERDMA_SQDB_OFFSET + page * ERDMA_DB_PAGE_BYTES;
		}
	}
	spin_unlock(&ad->db_lock);
	return offset;
}

static void erdma_free_send_page(struct erdma_adapter *ad, struct erdma_ucontext *uc)
{
	spin_lock(&ad->db_lock);
	if (uc->db_type == ERDMA_SDB_EXCLUSIVE_PAGE)
		__clear_bit(uc->db_index, ad->db_page_map);
	else if (uc->db_type == ERDMA_SDB_ENTRY)
		__clear_bit(uc->db_index, ad->db_entry_map);
	spin_unlock(&ad->db_lock);
}

/*
 * Pages from the device instead (ALLOC_DB, adapter.md 4.21).  A page number is only believed when
 * it lies in BAR0 behind the registers: page 0 in a process would hand it the whole device.
 */
static bool erdma_page_is_mappable(const struct erdma_adapter *ad, u16 page)
{
	return page && ((u64)page + 1) * PAGE_SIZE <= ad->dev.bar_len;
}

static int erdma_alloc_ext_pages(struct erdma_adapter *ad, struct erdma_ucontext *uc)
{
	struct erdma_cmd_ext_db request = { .wanted = cpu_to_le32(ERDMA_EXT_DB_ALL) };
	u64 pages;
	int err;

	err = erdma_cmd_exec(&ad->dev, ERDMA_SUB_COMMON, ERDMA_CMD_ALLOC_DB, &request,
			     sizeof(request), &pages, NULL);
	if (err)
		return err;

	uc->ext_sq_page = FIELD_GET(ERDMA_EXT_DB_RESP_SQ, pages);
	uc->ext_rq_page = FIELD_GET(ERDMA_EXT_DB_RESP_RQ, pages);
	uc->ext_cq_page = FIELD_GET(ERDMA_EXT_DB_RESP_CQ, pages);
	if (erdma_page_is_mappable(ad, uc->ext_sq_page) &&
	    erdma_page_is_mappable(ad, uc->ext_rq_page) &&
	    erdma_page_is_mappable(ad, uc->ext_cq_page))
		return 0;

	ibdev_err_ratelimited(&ad->ib, "device offered doorbell pages %u, %u, %u outside its BAR\n",
			      uc->ext_sq_page, uc->ext_rq_page, uc->ext_cq_page);
	return -EIO;
}

static void erdma_free_ext_pages(struct erdma_adapter *ad, struct erdma_ucontext *uc)
{
	struct erdma_cmd_ext_db request = {
		.wanted = cpu_to_le32(ERDMA_EXT_DB_ALL),
		.sq_page = cpu_to_le16(uc->ext_sq_page),
		.rq_page = cpu_to_le16(uc->ext_rq_page),
		.cq_page = cpu_to_le16(uc->ext_cq_page),
	};

	erdma_cmd_exec(&ad->dev, ERDMA_SUB_COMMON, ERDMA_CMD_FREE_DB, &request, sizeof(request),
		       NULL, NULL);
}

int erdma_db_alloc(struct erdma_adapter *ad, struct erdma_ucontext *uc, struct erdma_db_pages *at)
{
	int err;

	uc->db_type = ERDMA_SDB_SHARED_PAGE;
	if (!(ad->dev.caps.flags & ERDMA_CAP_EXTEND_DB) || erdma_is_broken(&ad->dev)) {
		at->sq = erdma_alloc_send_page(ad, uc);
		at->rq = ERDMA_RQDB_OFFSET;
		at->cq = ERDMA_CQDB_OFFSET;
		return 0;
	}

	err = erdma_alloc_ext_pages(ad, uc);
	if (err)
		return err;
	uc->db_type = ERDMA_SDB_EXCLUSIVE_PAGE;
	at->sq = (resource_size_t)uc->ext_sq_page << PAGE_SHIFT;
	/* Crossed on purpose: the page named RQ takes the CQ doorbells (4.21). */
	at->rq = (resource_size_t)uc->ext_cq_page << PAGE_SHIFT;
	at->cq = (resource_size_t)uc->ext_rq_page << PAGE_SHIFT;
	return 0;
}

void erdma_db_free(struct erdma_adapter *ad, struct erdma_ucontext *uc)
{
	if (uc->ext_sq_page)
		erdma_free_ext_pages(ad, uc);
	else
		erdma_free_send_page(ad, uc);
}

/* ---- doorbell records of processes ---- */

struct erdma_user_dbrec *erdma_user_dbrec_get(struct erdma_ucontext *uc, u64 va, u32 bytes,
					      dma_addr_t *dma)
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
	page->umem = erdma_umem_get(&uc->ib, base, PAGE_SIZE, IB_ACCESS_LOCAL_WRITE);
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
