// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: which objects exist and whose they are.
 */
#include <linux/cred.h>
#include <linux/sched/signal.h>

#include "erdma_obj_track.h"
#include "kcompat.h"

/* ---- owners ---- */

/* The kernel; `name` says which part of it and may be NULL. */
static void erdma_owner_kernel(struct erdma_owner *owner, const char *name)
{
	owner->pid = NULL;
	owner->uid = GLOBAL_ROOT_UID;
	memset(owner->comm, 0, sizeof(owner->comm));
	strscpy(owner->comm, name ?: "kernel", sizeof(owner->comm));
}

void erdma_owner_get(struct erdma_owner *owner)
{
	if (current->flags & PF_KTHREAD) {
		erdma_owner_kernel(owner, NULL);
		return;
	}
	owner->pid = get_pid(task_tgid(current));
	owner->uid = current_uid();
	get_task_comm(owner->comm, current->group_leader);
}

void erdma_owner_copy(struct erdma_owner *to, const struct erdma_owner *from)
{
	*to = *from;
	get_pid(to->pid);
}

void erdma_owner_put(struct erdma_owner *owner)
{
	put_pid(owner->pid);
	owner->pid = NULL;
}

/* ---- the tracker ---- */

void erdma_tracker_init(struct erdma_tracker *tracker)
{
	unsigned int kind;

	spin_lock_init(&tracker->lock);
	for (kind = 0; kind < ERDMA_TRACK_KINDS; kind++)
		tracker->objects[kind] = RB_ROOT;
}

static struct erdma_track *erdma_track_of(struct rb_node *node)
{
	return rb_entry_safe(node, struct erdma_track, node);
}

struct erdma_track *erdma_track_from(struct erdma_tracker *tracker, enum erdma_track_kind kind,
				     u32 number)
{
	struct rb_node *node = tracker->objects[kind].rb_node;
	struct erdma_track *best = NULL;

	lockdep_assert_held(&tracker->lock);
	while (node) {
		struct erdma_track *track = erdma_track_of(node);

		if (track->number < number) {
			node = node->rb_right;
		} else {
			best = track;
			node = node->rb_left;
		}
	}
	return best;
}

struct erdma_track *erdma_track_next(struct erdma_track *track)
{
	return erdma_track_of(rb_next(&track->node));
}

static bool erdma_track_before(struct rb_node *a, const struct rb_node *b)
{
	return erdma_track_of(a)->number < rb_entry(b, struct erdma_track, node)->number;
}

static void erdma_track_insert(struct erdma_tracker *tracker, enum erdma_track_kind kind,
			       struct erdma_track *track)
{
	rb_add(&track->node, &tracker->objects[kind], erdma_track_before);
	tracker->counts[kind]++;
}

void erdma_track_add(struct erdma_tracker *tracker, enum erdma_track_kind kind,
		     struct erdma_track *track, u32 number, const struct ib_udata *udata,
		     const struct rdma_restrack_entry *res)
{
	track->number = number;
	track->born = ktime_get();
	if (udata)
		erdma_owner_get(&track->owner);
	else
		erdma_owner_kernel(&track->owner, res->kern_name);
	spin_lock(&tracker->lock);
	erdma_track_insert(tracker, kind, track);
	spin_unlock(&tracker->lock);
}

void erdma_track_add_ctx(struct erdma_tracker *tracker, struct erdma_track *track)
{
	track->born = ktime_get();
	erdma_owner_get(&track->owner);
	spin_lock(&tracker->lock);
	track->number = ++tracker->last_ctx;
	erdma_track_insert(tracker, ERDMA_TRACK_CTX, track);
	spin_unlock(&tracker->lock);
}

void erdma_track_remove(struct erdma_tracker *tracker, enum erdma_track_kind kind,
			struct erdma_track *track)
{
	spin_lock(&tracker->lock);
	rb_erase(&track->node, &tracker->objects[kind]);
	tracker->counts[kind]--;
	spin_unlock(&tracker->lock);
	erdma_owner_put(&track->owner);
}
