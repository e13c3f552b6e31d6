// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: life, events and timers of connection endpoints.
 */
#include <linux/slab.h>

#include "erdma_cm_ep.h"
#include "erdma_trace.h"

void erdma_cm_live_put(struct erdma_cm *cm)
{
	if (refcount_dec_and_test(&cm->live))
		complete(&cm->idle);
}

static void erdma_ep_free(struct kref *ref)
{
	struct erdma_ep *ep = container_of(ref, struct erdma_ep, ref);
	struct erdma_cm *cm = ep->cm;

	erdma_owner_put(&ep->owner);
	kfree(ep);
	erdma_cm_live_put(cm);
}

void erdma_ep_put(struct erdma_ep *ep)
{
	kref_put(&ep->ref, erdma_ep_free);
}

void erdma_ep_get(struct erdma_ep *ep)
{
	kref_get(&ep->ref);
}

void erdma_ep_set_state(struct erdma_ep *ep, enum erdma_ep_state state)
{
	struct erdma_adapter *ad = ep->cm->ad;

	trace_erdma_cm_state(ad->dev.number, ep->handle, ep->qpn, ep->state, state);
	erdma_dbg(&ad->ib, ERDMA_DBG_CM, "endpoint %u: state %d -> %d\n", ep->handle, ep->state,
		  state);
	WRITE_ONCE(ep->state, state);
	WRITE_ONCE(ep->state_since, ktime_get());
	if (state == ERDMA_EP_RDMA)
		erdma_count(&ad->dev, cm_established_cnt);
}

void erdma_ep_post(struct erdma_ep *ep, enum erdma_ep_event event)
{
	set_bit(event, &ep->events);
	erdma_ep_get(ep);
	if (!queue_work(ep->cm->wq, &ep->work))
		erdma_ep_put(ep);
}

void erdma_ep_start_timer(struct erdma_ep *ep, unsigned int secs)
{
	ep->timer_on = true;
	ep->deadline = jiffies + secs * HZ;
	erdma_ep_get(ep);
	if (mod_delayed_work(ep->cm->wq, &ep->timer, secs * HZ))
		erdma_ep_put(ep);
}

void erdma_ep_stop_timer(struct erdma_ep *ep)
{
	ep->timer_on = false;
	if (cancel_delayed_work(&ep->timer))
		erdma_ep_put(ep);
}

static void erdma_ep_work(struct work_struct *work)
{
	struct erdma_ep *ep = container_of(work, struct erdma_ep, work);
	unsigned int scope = erdma_ep_lock(ep);
	unsigned long events;
	unsigned int event;

	events = xchg(&ep->events, 0);
	for_each_set_bit(event, &events, ERDMA_EP_EVENTS)
		ep->cm->step(ep, event);
	erdma_ep_unlock(ep, scope);
	erdma_ep_put(ep);
}

static void erdma_ep_timer(struct work_struct *work)
{
	struct erdma_ep *ep = container_of(to_delayed_work(work), struct erdma_ep, timer);
	unsigned int scope = erdma_ep_lock(ep);

	/* A timer that was armed anew while this waited for the lock has its own turn to come. */
	if (ep->timer_on && time_after_eq(jiffies, ep->deadline)) {
		ep->timer_on = false;
		ep->cm->step(ep, ERDMA_EP_EV_TIMEOUT);
	}
	erdma_ep_unlock(ep, scope);
	erdma_ep_put(ep);
}

struct erdma_ep *erdma_ep_alloc(struct erdma_cm *cm)
{
	struct erdma_ep *ep = kzalloc(sizeof(*ep), GFP_KERNEL);

	if (!ep)
		return NULL;
	kref_init(&ep->ref);
	mutex_init(&ep->lock);
	INIT_WORK(&ep->work, erdma_ep_work);
	INIT_DELAYED_WORK(&ep->timer, erdma_ep_timer);
	ep->cm = cm;
	ep->state = ERDMA_EP_NEW;
	ep->born = ktime_get();
	ep->state_since = ep->born;
	erdma_owner_get(&ep->owner);
	refcount_inc(&cm->live);

	erdma_ep_get(ep);
	if (xa_alloc_cyclic(&cm->eps, &ep->handle, ep, XA_LIMIT(1, U32_MAX), &cm->next_handle,
			    GFP_KERNEL) < 0) {
		erdma_ep_put(ep);
		erdma_ep_put(ep);
		return NULL;
	}
	return ep;
}

struct erdma_ep *erdma_ep_lookup(struct erdma_cm *cm, const void *provider_data)
{
	struct erdma_ep *ep;

	xa_lock(&cm->eps);
	ep = xa_load(&cm->eps, (uintptr_t)provider_data);
	if (ep)
		erdma_ep_get(ep);
	xa_unlock(&cm->eps);
	return ep;
}
