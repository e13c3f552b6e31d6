/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: which objects exist and whose they are, for the diagnostics device.
 *
 * An object is in the tracker from the end of its creation to the beginning of its destruction, so
 * whoever holds the tracker's lock may read what does not change in between.  No data path takes
 * that lock.
 */
#ifndef ERDMA_OBJ_TRACK_H
#define ERDMA_OBJ_TRACK_H

#include <linux/ktime.h>
#include <linux/pid.h>
#include <linux/rbtree.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/uidgid.h>

struct ib_udata;
struct rdma_restrack_entry;

/* Who made an object.  A kernel module has no pid. */
struct erdma_owner {
	struct pid *pid;		/* thread group, referenced; NULL: the kernel */
	kuid_t uid;
	char comm[TASK_COMM_LEN];
};

/* The calling process; for kernel threads, the kernel. */
void erdma_owner_get(struct erdma_owner *owner);
void erdma_owner_copy(struct erdma_owner *to, const struct erdma_owner *from);
void erdma_owner_put(struct erdma_owner *owner);

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
	spinlock_t lock;		/* process context only */
	struct rb_root objects[ERDMA_TRACK_KINDS];
	u32 counts[ERDMA_TRACK_KINDS];
	u32 last_ctx;
};

void erdma_tracker_init(struct erdma_tracker *tracker);

/**
 * erdma_track_add() - Enter a finished object.
 * @tracker: the adapter's tracker
 * @kind: of object
 * @track: part of the object
 * @number: of the object, unique among the living ones of its kind
 * @udata: the caller's, NULL for the kernel
 * @res: ib_core's entry of the object or of what it belongs to
 */
void erdma_track_add(struct erdma_tracker *tracker, enum erdma_track_kind kind,
		     struct erdma_track *track, u32 number, const struct ib_udata *udata,
		     const struct rdma_restrack_entry *res);
/* A context, which gets its number here. */
void erdma_track_add_ctx(struct erdma_tracker *tracker, struct erdma_track *track);
/* Before anything of the object is taken apart. */
void erdma_track_remove(struct erdma_tracker *tracker, enum erdma_track_kind kind,
			struct erdma_track *track);

/* The object with the lowest number from `number` on, or NULL.  Under the tracker's lock. */
struct erdma_track *erdma_track_from(struct erdma_tracker *tracker, enum erdma_track_kind kind,
				     u32 number);
/* The next one; NULL behind the last. */
struct erdma_track *erdma_track_next(struct erdma_track *track);

#endif
