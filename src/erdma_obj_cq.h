/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: completion queues as objects (adapter.md 4.5, 4.6).
 */
#ifndef ERDMA_OBJ_CQ_H
#define ERDMA_OBJ_CQ_H

#include <linux/kref.h>

#include "erdma_obj_ctx.h"
#include "erdma_obj_pgtable.h"

struct erdma_cq {
	struct ib_cq ib;
	struct erdma_track track;
	u32 cqn;
	u32 depth;			/* entries, power of two */
	u32 assoc_eqn;
	struct kref ref;
	struct completion gone;

	/* kernel */
	spinlock_t lock;
	void *ring;
	dma_addr_t ring_dma;
	struct erdma_dbrec rec;
	u32 ci;				/* free running */
	u32 arm_idx;			/* doorbells so far */
	u32 events;			/* CEQEs so far (CMDSN) */
	u64 skipped;			/* entries of QPs that are gone */
	u64 nonsense;			/* entries that fit no posted work */
	struct list_head senders;	/* kernel QPs that complete here: erdma_qp.scq_node */
	struct list_head receivers;	/* erdma_qp.rcq_node */
	bool has_dead;			/* one of them was given up; stays set */

	/* user */
	struct ib_umem *umem;
	struct erdma_pgtable table;
	struct erdma_user_dbrec *user_rec;
	dma_addr_t user_rec_dma;
};

static inline struct erdma_cq *to_erdma_cq(struct ib_cq *ib)
{
	return container_of(ib, struct erdma_cq, ib);
}

/* May there be work that has to be flushed in software? */
static inline bool erdma_cq_has_dead(const struct erdma_cq *cq)
{
	return READ_ONCE(cq->has_dead) || erdma_is_broken(&to_erdma(cq->ib.device)->dev);
}

/* Calls the consumer, who may poll at once; not one that polls without being called. */
static inline void erdma_cq_notify(struct erdma_cq *cq)
{
	if (cq->ib.comp_handler && cq->ib.poll_ctx != IB_POLL_DIRECT)
		cq->ib.comp_handler(&cq->ib, cq->ib.cq_context);
}

/* Referenced, or NULL.  Any context. */
struct erdma_cq *erdma_cq_find(struct erdma_adapter *ad, u32 cqn);
void erdma_cq_put(struct erdma_cq *cq);

/**
 * erdma_cq_init() - Begin a CQ, whose depth and EQN are set, and reserve its number.
 * @ad: the adapter
 * @cq: the CQ, zeroed otherwise
 *
 * The number finds nothing until erdma_cq_create().  May sleep.
 *
 * Return: 0 or -ENOMEM; if 0, erdma_cq_free() undoes this and the allocation of rings.
 */
int erdma_cq_init(struct erdma_adapter *ad, struct erdma_cq *cq);
/* Ring and record of a kernel CQ.  0 or -ENOMEM. */
int erdma_cq_alloc_ring(struct erdma_adapter *ad, struct erdma_cq *cq);

/**
 * erdma_cq_pin_ring() - Pin ring and record of a process.
 * @ad: the adapter
 * @cq: the CQ
 * @uc: the process's context
 * @req: where they are
 *
 * May sleep.  Return: 0, -EINVAL for memory that is too small or does not fit, or as pinning fails.
 */
int erdma_cq_pin_ring(struct erdma_adapter *ad, struct erdma_cq *cq, struct erdma_ucontext *uc,
		      const struct erdma_abi_queue_req *req);

/**
 * erdma_cq_create() - Make a CQ known to the device and to the interrupt handlers.
 * @ad: the adapter
 * @cq: the CQ with its ring
 * @uc: context of the process, or NULL for the kernel's
 *
 * May sleep.  Return: 0 or as erdma_cmd_exec().
 */
int erdma_cq_create(struct erdma_adapter *ad, struct erdma_cq *cq, const struct erdma_ucontext *uc);
/**
 * erdma_cq_forget() - Take a kernel QP's completions out of the ring.
 * @cq: the CQ, of the kernel; the caller holds its lock
 * @qpn: whose; the device writes no more of them
 *
 * What others have unread stays, in order (adapter.md 13.3).
 */
void erdma_cq_forget(struct erdma_cq *cq, u32 qpn);
/* Makes the device give up the CQ and waits for the last event of it.  May sleep. */
void erdma_cq_stop(struct erdma_adapter *ad, struct erdma_cq *cq);
/* Frees a CQ that the device does not know (any more); fields not reached yet are zero. */
void erdma_cq_free(struct erdma_adapter *ad, struct erdma_cq *cq);

#endif
