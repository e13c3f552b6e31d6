/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: entries, ring contents and settings behind the requests of erdma_ioctl.c.
 */
#ifndef ERDMA_REPORT_H
#define ERDMA_REPORT_H

#include "erdma.h"
#include "erdma_ioctl.h"

/* Entries that are put together before they are copied to the caller. */
#define ERDMA_BATCH 64

/* A list on its way to the caller. */
struct erdma_listing {
	struct erdma_adapter *ad;	/* the caller holds it; NULL for ERDMA_KIND_DEVICE */
	u64 cursor;
	u32 flags;
	u32 hidden;
	bool others;		/* objects of other users may be shown */
	bool end;		/* nothing is left behind `cursor` */
	void *entries;		/* ERDMA_BATCH entries, zeroed */
	u32 room;		/* how many of them are wanted */
	ktime_t born[ERDMA_BATCH]; /* of tracked objects: says whether a number still means the same */
};

struct erdma_report {
	u32 entry_size;
	/* Fills entries from the cursor on and moves it.  May sleep.  Returns how many, or -errno. */
	int (*fill)(struct erdma_listing *l);
	/* Adds what the device knows to one entry; NULL: nothing.  May sleep.  -EINTR ends the list. */
	int (*ask_device)(struct erdma_listing *l, u32 which);
};

extern const struct erdma_report erdma_reports[ERDMA_KIND_COUNT];

/* May the caller see objects of other users on this adapter? */
bool erdma_sees_others(const struct erdma_adapter *ad);
void erdma_report_device(struct erdma_adapter *ad, struct erdma_info_device *out);

/* A part of a ring: `slots` entries from slot `first` on to `out`, and the `out` fields of `d`.  May sleep. */
#define ERDMA_RING_CHUNK SZ_16K
int erdma_ring_describe(struct erdma_adapter *ad, struct erdma_diag_dump *d);
int erdma_ring_copy(struct erdma_adapter *ad, const struct erdma_diag_dump *d, u32 first, u32 slots, void *out);

/* -ENOENT no such setting, -ERANGE, or what the device says. */
int erdma_conf_set(struct erdma_adapter *ad, const char *name, u64 value);
int erdma_conf_list(struct erdma_listing *l);

#endif
