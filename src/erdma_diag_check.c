// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: what an adapter in check mode found (docs/check.md), for the
 * diagnostics device.  Only this project's model has check mode (docs/capabilities.md).
 */
#include <linux/sched/signal.h>

#include "erdma_check.h"
#include "erdma_dev_query.h"
#include "erdma_diag.h"

/* Fills in the owner while the queue is there.  False: the caller may not see the entry. */
static bool erdma_finding_visible(struct erdma_listing *l, struct erdma_info_finding *out)
{
	enum erdma_track_kind kind = out->qp ? ERDMA_TRACK_QP : ERDMA_TRACK_CQ;
	struct erdma_tracker *tracker = &l->ad->tracker;
	u32 number = out->qp ? out->qp : out->cq;
	bool visible = l->others;
	struct erdma_track *track;

	if (!number || (out->flags & ERDMA_FINDING_GONE))
		return visible;
	spin_lock(&tracker->lock);
	track = erdma_track_from(tracker, kind, number);
	if (track && track->number == number) {
		visible = erdma_owner_visible(l, &track->owner);
		erdma_show_owner(&out->owner, &track->owner);
	} else {
		out->flags |= ERDMA_FINDING_GONE;
	}
	spin_unlock(&tracker->lock);
	return visible;
}

/* The entry at the cursor.  Returns 1, 0 if it is left out or there is none, or -EINTR. */
static int erdma_list_finding(struct erdma_listing *l, struct erdma_info_finding *out)
{
	struct erdma_info_finding state = { };
	u32 number = l->cursor;
	struct erdma_check check;
	int err;

	/* Any answer tells of check mode itself. */
	err = erdma_query_block(&l->ad->dev, ERDMA_SUB_COMMON, ERDMA_CMD_QUERY_CHECK,
				number ? number - 1 : 0, &check, sizeof(check));
	if (err || !erdma_check_state(&check, &state)) {
		l->end = true;
		return err == -EINTR ? err : 0;
	}
	l->cursor++;
	l->end = number >= state.total;
	if (!number) {
		*out = state;
		return 1;
	}
	if (!erdma_check_finding(&check, number, out))
		return 0;
	if (erdma_finding_visible(l, out))
		return 1;
	memset(out, 0, sizeof(*out));
	l->hidden++;
	return 0;
}

int erdma_check_list(struct erdma_listing *l)
{
	struct erdma_info_finding *out = l->entries;
	u32 filled = 0, asked;
	int got;

	if (!(l->ad->dev.caps.model & ERDMA_MODEL_CHECK) || l->cursor > ERDMA_FINDINGS_MOST)
		l->end = true;
	for (asked = 0; asked < l->room && !l->end; asked++) {
		/* The removal waits for this call, and each answer takes its time. */
		if (test_bit(ERDMA_AD_REMOVING, &l->ad->flags))
			return -ENODEV;
		got = erdma_list_finding(l, &out[filled]);
		if (got < 0)
			return got;
		filled += got;
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return filled;
}
