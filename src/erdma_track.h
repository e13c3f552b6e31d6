/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: which objects exist and whose they are, for the diagnostics device.
 *
 * An object is in the tracker from the end of its creation to the beginning of its destruction, so whoever holds the
 * tracker's lock may read what does not change in between.  No data path takes that lock.
 */
#ifndef ERDMA_TRACK_H
#define ERDMA_TRACK_H

#include <linux/ktime.h>
#include <linux/pid.h>
#include <linux/rbtree.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/uidgid.h>

struct erdma_adapter;

/* Who made an object.  A kernel module has no pid. */
struct erdma_owner {
	struct pid *pid;		/* thread group, referenced; NULL: the kernel */
	kuid_t uid;
	char comm[TASK_COMM_LEN];
};

/* The calling process; for kernel threads, the kernel. */
void erdma_owner_take(struct erdma_owner *owner);
/* The kernel; `name` says which part of it and may be NULL. */
void erdma_owner_kernel(struct erdma_owner *owner, const char *name);
void erdma_owner_copy(struct erdma_owner *to, const struct erdma_owner *from);
void erdma_owner_drop(struct erdma_owner *owner);

enum erdma_track_kind {
	ERDMA_TRACK_QP,
	ERDMA_TRACK_CQ,
	ERDMA_TRACK_MR,
	ERDMA_TRACK_PD,
	ERDMA_TRACK_CTX,
	ERDMA_TRACK_KINDS,
};

/* Part of each tracked object. */
struct erdma_track {
	struct rb_node node;
	u32 number;
	ktime_t born;
	struct erdma_owner owner;
};

struct erdma_tracker {
	spinlock_t lock;		/* process context only; inside it only erdma_cm.qp_lock */
	struct rb_root objects[ERDMA_TRACK_KINDS];
	u32 counts[ERDMA_TRACK_KINDS];
	u32 last_ctx;
};

void erdma_tracker_init(struct erdma_tracker *tracker);
/* The tracked object with the lowest number from `number` on, or NULL.  Caller holds the tracker's lock. */
struct erdma_track *erdma_track_from(struct erdma_tracker *tracker, enum erdma_track_kind kind, u32 number);
/* The next one; NULL behind the last. */
struct erdma_track *erdma_track_next(struct erdma_track *track);

#endif
