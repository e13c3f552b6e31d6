/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: contexts of processes with their doorbell pages and records, and
 * protection domains.
 */
#ifndef ERDMA_OBJ_CTX_H
#define ERDMA_OBJ_CTX_H

#include "erdma-abi.h"
#include "erdma_adapter.h"

struct erdma_ucontext {
	struct ib_ucontext ib;
	struct erdma_track track;
	u32 db_type;			/* ERDMA_SDB_* */
	u32 db_index;			/* exclusive page or slot number */
	u16 ext_sq_page, ext_rq_page, ext_cq_page; /* from ALLOC_DB; 0: none */
	struct rdma_user_mmap_entry *sq_mmap, *rq_mmap, *cq_mmap; /* NULL: may not ring */
	struct mutex lock;		/* guards dbrec_pages */
	struct list_head dbrec_pages;
};

struct erdma_pd {
	struct ib_pd ib;
	struct erdma_track track;
	u32 pdn;
};

/* Doorbell record page of user space, pinned once and shared by the objects of a process. */
struct erdma_user_dbrec {
	struct list_head node;
	struct erdma_ucontext *owner;
	struct ib_umem *umem;
	u64 va;				/* page address */
	unsigned int users;
};

/* Where the doorbell pages of a context lie in BAR 0. */
struct erdma_db_pages {
	resource_size_t sq, rq, cq;
};

static inline struct erdma_ucontext *to_erdma_ucontext(struct ib_ucontext *ib)
{
	return container_of(ib, struct erdma_ucontext, ib);
}

static inline struct erdma_pd *to_erdma_pd(struct ib_pd *ib)
{
	return container_of(ib, struct erdma_pd, ib);
}

/* May the context have queues?  See erdma_db_permitted(). */
static inline bool erdma_can_ring(const struct erdma_ucontext *uc)
{
	return uc->sq_mmap;
}

/**
 * erdma_db_permitted() - May the calling process have doorbell pages?
 * @ad: the adapter
 *
 * Without extended doorbells, the pages for RQs and CQs, and the SQ's when the others are taken,
 * are the same for all processes and for the kernel: who has them rings everybody's queues.
 */
bool erdma_db_permitted(const struct erdma_adapter *ad);

/* Divides the send doorbell space as the device's credit groups say; before the first context. */
void erdma_db_init(struct erdma_adapter *ad);

/**
 * erdma_db_alloc() - Give a context the best doorbell pages that are left.
 * @ad: the adapter
 * @uc: the context; its db_* and ext_* fields say what it got
 * @at: where the pages are
 *
 * May sleep.  Return: 0, or as erdma_cmd_exec(), -EIO when the device names pages outside its BAR;
 * either way erdma_db_free() gives back what there is.
 */
int erdma_db_alloc(struct erdma_adapter *ad, struct erdma_ucontext *uc, struct erdma_db_pages *at);
void erdma_db_free(struct erdma_adapter *ad, struct erdma_ucontext *uc);

/**
 * erdma_user_dbrec_get() - Pin the page of a process's doorbell record.
 * @uc: the context
 * @va: address of the record, 8-byte aligned
 * @bytes: of the record; it must not cross a page
 * @dma: gets the record's bus address
 *
 * Objects of one process share pages.  May sleep.  Return: the page, or an ERR_PTR().
 */
struct erdma_user_dbrec *erdma_user_dbrec_get(struct erdma_ucontext *uc, u64 va, u32 bytes,
					      dma_addr_t *dma);
void erdma_user_dbrec_put(struct erdma_user_dbrec *page);	/* NULL does nothing */

#endif
