/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: connection endpoints (docs/spec/wire.md 1.13);
 * for the connection manager and diagnostics.
 *
 * Socket callbacks, timers and QP events only mark an event and queue the endpoint's work on the
 * adapter's ordered workqueue; erdma_cm.step is the one place that acts on them.  Calls of the
 * iw_cm act in the caller's context under erdma_ep.lock.
 */
#ifndef ERDMA_CM_EP_H
#define ERDMA_CM_EP_H

#include <linux/in.h>
#include <linux/net.h>
#include <linux/sched/mm.h>
#include <net/sock.h>
#include <rdma/iw_cm.h>

#include "erdma_cm_peers.h"
#include "erdma_mpa.h"
#include "erdma_obj_qp.h"

/* Seconds (wire.md 2.6); all attempts of a connect together (2.7) are as long as one may be. */
#define ERDMA_CM_ACTIVE_SECS	(ERDMA_CM_CONNECT_SECS + ERDMA_CM_REPLY_SECS)
#define ERDMA_CM_CONNECT_SECS	10
#define ERDMA_CM_REPLY_SECS	10
#define ERDMA_CM_REQUEST_SECS	20
/* How long a request waits for accept or reject: the iw_cm may have dropped the event. */
#define ERDMA_CM_ANSWER_SECS	60
/* Connections per listener that have not sent a complete request yet; more are closed at once. */
#define ERDMA_CM_MAX_CHILDREN	1024
/* Addresses that a wildcard listener covers. */
#define ERDMA_CM_MAX_ADDRS	64

enum erdma_ep_state {
	ERDMA_EP_NEW,
	ERDMA_EP_CONNECTING,
	ERDMA_EP_WAIT_REPLY,
	ERDMA_EP_WAIT_REQUEST,
	ERDMA_EP_GOT_REQUEST,
	ERDMA_EP_RDMA,
	ERDMA_EP_CLOSED,
	ERDMA_EP_STATES,
};

/* In the order in which they are served. */
enum erdma_ep_event {
	ERDMA_EP_EV_SHUTDOWN,		/* the adapter goes away */
	ERDMA_EP_EV_QP_STOPPED,		/* verbs or the device ended the QP */
	ERDMA_EP_EV_SOCKET,		/* state change or data */
	ERDMA_EP_EV_PATH,		/* interfaces have changed */
	ERDMA_EP_EV_LISTENER_GONE,
	ERDMA_EP_EV_TIMEOUT,
	ERDMA_EP_EVENTS,
};

struct erdma_ep;

struct erdma_cm {
	struct erdma_adapter *ad;
	/* Acts on an event, under erdma_ep.lock; the state machine in erdma_cm.c. */
	void (*step)(struct erdma_ep *ep, enum erdma_ep_event event);
	struct workqueue_struct *wq;	/* ordered */
	spinlock_t qp_lock;		/* erdma_qp.ep; taken in hard irq */
	struct xarray eps;		/* handle -> endpoint that is not closed */
	u32 next_handle;
	struct erdma_peers peers;
	refcount_t live;		/* endpoints and listeners not yet freed, plus one */
	struct completion idle;		/* live fell to zero */

	struct mutex listen_lock;	/* everything of listeners */
	struct list_head listeners;	/* in the order of their numbers */
	u32 last_listener;
	struct notifier_block addr4_nb, addr6_nb;
	struct work_struct addr_work;
	struct notifier_block path_nb;	/* erdma_cm_path.c */
	struct work_struct path_work;
};

struct erdma_listen_addr {
	struct in6_addr ip;		/* IPv4 in its mapped form */
	u32 scope;			/* index of the interface, of a link-local one; else 0 */
};

/* One listening socket; a wildcard listener has one per address (erdma_cm_listen.c says why). */
struct erdma_listen_sock {
	struct list_head node;
	struct erdma_listener *listener;
	struct socket *sock;
	struct erdma_listen_addr addr;
	void (*saved_data_ready)(struct sock *sk);
};

struct erdma_listener {
	struct kref ref;
	struct erdma_cm *cm;
	struct list_head node;
	u32 number;			/* for diagnostics, as the next two */
	ktime_t born;
	struct erdma_owner owner;
	struct list_head socks;
	struct iw_cm_id *id;		/* NULL once stopped */
	struct net *net;
	struct erdma_listen_addr addr;	/* any: follows the paired interface */
	bool follows, ipv4, ipv6;	/* ... and takes addresses of these families */
	__be16 port;
	int backlog;
	bool tos_set;
	u8 tos;
	atomic_t children;		/* endpoints in WAIT_REQUEST */
	struct delayed_work work;
};

struct erdma_ep {
	struct kref ref;
	struct erdma_cm *cm;
	u32 handle;		/* key in erdma_cm.eps, provider_data of a passive cm_id; never 0 */
	unsigned long events;		/* bit per enum erdma_ep_event */
	struct work_struct work;
	struct delayed_work timer;

	/*
	 * For diagnostics, which read under the lock of erdma_cm.eps: written under it, or once, or
	 * whole words.
	 */
	struct erdma_owner owner;
	struct erdma_link link;
	ktime_t born, state_since;
	u32 qpn;

	struct mutex lock;		/* all below */
	enum erdma_ep_state state;
	bool timer_on;
	unsigned long deadline;		/* jiffies */

	struct socket *sock;
	int out_index;			/* of the interface that its packets leave by */
	void (*saved_data_ready)(struct sock *sk);
	void (*saved_state_change)(struct sock *sk);

	struct iw_cm_id *id;		/* referenced */
	struct erdma_qp *qp;		/* referenced; erdma_qp.ep points back while set */
	struct erdma_listener *listener; /* referenced; passive, until accepted or closed */
	bool counted;			/* in listener->children */

	u8 ird, ord;
	u8 revision, fallback;		/* of MPA; enum erdma_fallback */
	enum erdma_mpa_crc crc;		/* what this side does about them */
	struct erdma_mpa_reader rx;
	/* Active: the attempt that is made, and what the next one takes */
	unsigned int tried;		/* revisions, as erdma_peers_next() counts them */
	unsigned long give_up;		/* jiffies; after that there is no next one */
	struct erdma_mpa_fields request;
	u8 pd[ERDMA_MPA_OWN_PD];
	u32 tx_len;			/* the request, until it is sent */
	u8 tx[ERDMA_MPA_HEAD_BYTES + ERDMA_MPA_EXT_BYTES + ERDMA_MPA_OWN_PD];
};

/*
 * The locks of the connection manager, and what goes with them.  Reclaim of memory may wait for a
 * connection: swap over NVMe or NFS has one, which fails and is made again.  So who holds one of
 * these locks, and with it the ordered workqueue's only worker, asks for memory without waiting for
 * I/O.  The result is for erdma_ep_unlock() or erdma_listen_unlock().  May sleep.
 */
static inline unsigned int erdma_ep_lock(struct erdma_ep *ep)
{
	unsigned int scope = memalloc_noio_save();

	mutex_lock(&ep->lock);
	return scope;
}

static inline void erdma_ep_unlock(struct erdma_ep *ep, unsigned int scope)
{
	mutex_unlock(&ep->lock);
	memalloc_noio_restore(scope);
}

static inline unsigned int erdma_listen_lock(struct erdma_cm *cm)
{
	unsigned int scope = memalloc_noio_save();

	mutex_lock(&cm->listen_lock);
	return scope;
}

static inline void erdma_listen_unlock(struct erdma_cm *cm, unsigned int scope)
{
	mutex_unlock(&cm->listen_lock);
	memalloc_noio_restore(scope);
}

/**
 * erdma_ep_alloc() - New endpoint in state NEW.
 * @cm: the connection manager
 *
 * The caller owns a reference, erdma_cm.eps another.  May sleep.
 *
 * Return: the endpoint, or NULL without memory.
 */
struct erdma_ep *erdma_ep_alloc(struct erdma_cm *cm);

/**
 * erdma_ep_lookup() - The endpoint of a cm_id.
 * @cm: the connection manager
 * @provider_data: of the cm_id
 *
 * The iw_cm keeps handles, not pointers: it may drop a CONNECT_REQUEST without a word, so an
 * endpoint must be able to vanish while its handle is still around.
 *
 * Return: the endpoint, referenced, or NULL.
 */
struct erdma_ep *erdma_ep_lookup(struct erdma_cm *cm, const void *provider_data);
void erdma_ep_get(struct erdma_ep *ep);
void erdma_ep_put(struct erdma_ep *ep);
/* Records a state that the endpoint goes to; under erdma_ep.lock. */
void erdma_ep_set_state(struct erdma_ep *ep, enum erdma_ep_state state);
/* Any context, also hard irq; the caller must be sure that `ep` exists. */
void erdma_ep_post(struct erdma_ep *ep, enum erdma_ep_event event);
/* The one timer of an endpoint, which ends in ERDMA_EP_EV_TIMEOUT; under erdma_ep.lock. */
void erdma_ep_start_timer(struct erdma_ep *ep, unsigned int secs);
void erdma_ep_stop_timer(struct erdma_ep *ep);
/* An endpoint or a listener was freed. */
void erdma_cm_live_put(struct erdma_cm *cm);

#endif
