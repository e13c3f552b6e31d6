/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: one event queue (adapter.md 5.1 to 5.3).
 *
 * An EQ is consumed by the handler of its vector only and needs no lock (the command EQ has its
 * queue's).
 */
#ifndef ERDMA_DEV_EQ_H
#define ERDMA_DEV_EQ_H

#include "erdma_dev.h"

/* Entries per interrupt.  With more left the doorbell's CI lags: it interrupts again (5.3). */
#define ERDMA_EVENTS_PER_PASS 64

/* The entry at the consumer index, or NULL; the caller advances eq->ci. */
static inline const void *erdma_eq_peek(struct erdma_eq *eq)
{
	const void *entry = eq->ring + (eq->ci & (eq->depth - 1)) * ERDMA_EQE_BYTES;
	u32 first = le32_to_cpu(READ_ONCE(*(const __le32 *)entry));

	if (!erdma_owned(FIELD_GET(ERDMA_EQE_OWNER, first), eq->ci, eq->depth))
		return NULL;
	dma_rmb();
	return entry;
}

/* Tells the device what was consumed and asks for the next interrupt. */
static inline void erdma_eq_arm(struct erdma_eq *eq)
{
	erdma_ring_doorbell(&eq->rec, eq->db,
			    ERDMA_DB_EQ_ARM | FIELD_PREP(ERDMA_DB_EQ_CI, eq->ci & 0xffff));
}

/**
 * erdma_eq_alloc() - Allocate ring and record of an event queue.
 * @dev: the device
 * @eq: the queue, zeroed
 * @depth: entries, a power of two
 * @number: its EQN, for those that have one
 * @db_offset: of its doorbell in BAR 0
 *
 * May sleep.  Return: 0 or -ENOMEM.
 */
int erdma_eq_alloc(struct erdma_dev *dev, struct erdma_eq *eq, u32 depth, u32 number,
		   u32 db_offset);

/**
 * erdma_eq_free() - Free an event queue that the device does not know any more.
 * @dev: the device
 * @eq: the queue
 */
void erdma_eq_free(struct erdma_dev *dev, struct erdma_eq *eq);

#endif
