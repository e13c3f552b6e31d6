/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: what is kept of a device that failed: its command queue and event
 * queues.  The rings have bus addresses and the keys of regions in them, and no pointers.
 */
#ifndef ERDMA_DUMP_H
#define ERDMA_DUMP_H

#include "erdma_adapter.h"

/* Of an event queue so many entries are kept, some of them before its consumer index. */
#define ERDMA_DUMP_EQ_SLOTS	256
#define ERDMA_DUMP_EQ_BEFORE	64

/* A part of a ring, as it lies in memory. */
struct erdma_dump_part {
	char name[16];
	u32 ring, number;		/* as in struct erdma_diag_dump */
	u32 entry_bytes, depth;		/* of the ring */
	u32 first, slots;		/* from this one on, around the end */
	u32 pi, ci;			/* 0 where it is not known */
};

/* The last command that was given to the device. */
struct erdma_dump_command {
	u32 slot;
	u8 sub, opcode;
	bool answered;
};

/**
 * erdma_dump_find() - The parts that are kept, one after the other.
 * @ad: the adapter, started and not stopped
 * @index: from 0
 * @part: is filled
 *
 * Process context.  Return: is there one with this index?
 */
bool erdma_dump_find(struct erdma_adapter *ad, unsigned int index, struct erdma_dump_part *part);

/* Bytes of a part, at most 16 KiB. */
static inline size_t erdma_dump_bytes(const struct erdma_dump_part *part)
{
	return (size_t)part->slots * part->entry_bytes;
}

/* Copies a part as it is now; erdma_dump_bytes() at `out`.  0 or -errno.  Process context. */
int erdma_dump_read(struct erdma_adapter *ad, const struct erdma_dump_part *part, void *out);

/* False when there was none.  Process context. */
bool erdma_dump_last_command(struct erdma_adapter *ad, struct erdma_dump_command *command);

/**
 * erdma_dump_core() - Gives a device that failed to devcoredump, for user space to read.
 * @ad: the adapter, broken, started and not stopped
 *
 * The memory is devcoredump's from then on, and freed when user space says so or after its time,
 * whether the driver is still there or not.  While user space has not read an earlier one, nothing
 * is kept.  Without memory nothing is kept either.  May sleep.
 */
void erdma_dump_core(struct erdma_adapter *ad);

#endif
