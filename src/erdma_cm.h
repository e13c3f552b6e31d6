/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * iWARP connection management, private to erdma_cm.c, erdma_listen.c and erdma_sock.c (docs/spec/wire.md 1.13).
 *
 * Locks, outermost first: erdma_ep.lock, erdma_qp.state_lock | erdma_cm.listen_lock, socket locks, and innermost the
 * spinlocks (erdma_cm.qp_lock, the lock of erdma_cm.eps, sk_callback_lock, the iw_cm's own).  Nothing here takes the
 * RTNL: rdma_cm calls in with locks held that its own netdev notifier takes under the RTNL.
 *
 * Socket callbacks, timers and QP events only mark an event and queue the endpoint's work on the adapter's ordered
 * workqueue; erdma_ep_step() is the one place that acts on them.  Calls of the iw_cm act in the caller's context
 * under erdma_ep.lock.
 */
#ifndef ERDMA_CM_H
#define ERDMA_CM_H

#include <linux/in.h>
#include <linux/net.h>
#include <net/sock.h>

#include "erdma.h"
#include "erdma_mpa.h"
#include "erdma_trace.h"

/* Seconds (wire.md 2.6); the two active ones add up to the 20 s that a whole attempt may take (2.7). */
#define ERDMA_CM_CONNECT_SECS	10
#define ERDMA_CM_REPLY_SECS	10
#define ERDMA_CM_REQUEST_SECS	20
/* How long a request lives that nobody answered after its listener went away: the iw_cm may have dropped the event. */
#define ERDMA_CM_ORPHAN_SECS	60
/* Connections per listener that have not sent a complete request yet; more are closed at once. */
#define ERDMA_CM_MAX_CHILDREN	1024
/* IPv4 addresses that a wildcard listener covers. */
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
	ERDMA_EP_EV_LISTENER_GONE,
	ERDMA_EP_EV_TIMEOUT,
	ERDMA_EP_EVENTS,
};

struct erdma_cm {
	struct erdma_adapter *ad;
	struct workqueue_struct *wq;	/* ordered */
	spinlock_t qp_lock;		/* erdma_qp.ep; taken in hard irq */
	struct xarray eps;		/* handle -> endpoint that is not closed */
	u32 next_handle;
	refcount_t live;		/* endpoints and listeners not yet freed, plus one */
	struct completion idle;		/* live fell to zero */

	struct mutex listen_lock;	/* everything of listeners */
	struct list_head listeners;	/* in the order of their numbers */
	u32 last_listener;
	struct notifier_block addr_nb;
	struct work_struct addr_work;
};

/* One listening socket; a wildcard listener has one per address (erdma_listen.c says why). */
struct erdma_listen_sock {
	struct list_head node;
	struct erdma_listener *listener;
	struct socket *sock;
	__be32 addr;
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
	__be32 addr;			/* INADDR_ANY: follows the paired interface */
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
	u32 handle;			/* key in erdma_cm.eps, provider_data of a passive cm_id; never 0 */
	unsigned long events;		/* bit per enum erdma_ep_event */
	struct work_struct work;
	struct delayed_work timer;

	/* For diagnostics, which read under the lock of erdma_cm.eps: written under it, or once, or whole words. */
	struct erdma_owner owner;
	struct erdma_link link;
	ktime_t born, state_since;
	u32 qpn;

	struct mutex lock;		/* all below */
	enum erdma_ep_state state;
	bool timer_on;
	unsigned long deadline;		/* jiffies */

	struct socket *sock;
	void (*saved_data_ready)(struct sock *sk);
	void (*saved_state_change)(struct sock *sk);

	struct iw_cm_id *id;		/* referenced */
	struct erdma_qp *qp;		/* referenced; erdma_qp.ep points back while set */
	struct erdma_listener *listener; /* referenced; passive, until accepted or closed */
	bool counted;			/* in listener->children */

	u8 ird, ord;
	struct erdma_mpa_reader rx;
	u32 tx_len;			/* active: the request, until it is sent */
	u8 tx[ERDMA_MPA_HEAD_BYTES + ERDMA_MPA_EXT_BYTES + ERDMA_MPA_OWN_PD];
};

/* ---- erdma_cm.c ---- */

/* New endpoint in state NEW; the caller owns a reference, erdma_cm.eps another.  NULL without memory. */
struct erdma_ep *erdma_ep_alloc(struct erdma_cm *cm);
void erdma_ep_put(struct erdma_ep *ep);
/* Records a state that the endpoint goes to. */
void erdma_ep_enter(struct erdma_ep *ep, enum erdma_ep_state state);
/* Any context, also hard irq; the caller must be sure that `ep` exists. */
void erdma_ep_post(struct erdma_ep *ep, enum erdma_ep_event event);
/* Makes a fresh endpoint the owner of an accepted socket and waits for its request.  The listener gives a reference. */
void erdma_ep_adopt(struct erdma_ep *ep, struct erdma_listen_sock *ls, struct socket *sock);
void erdma_cm_live_put(struct erdma_cm *cm);

/* ---- erdma_sock.c: all but the first two under erdma_ep.lock; they may sleep ---- */

/* May connections of the paired interface use `dev`?  Under rcu_read_lock. */
bool erdma_cm_dev_fits(struct erdma_cm *cm, struct net_device *dev);
void erdma_cm_sockaddr(struct sockaddr_storage *out, __be32 ip, __be16 port);
/*
 * Opens a socket on the local address of `id` and on `port`, or any port when 0, and starts to connect without
 * waiting.  0, -ENETUNREACH when the route does not use the paired interface, or what the socket says.
 */
int erdma_ep_open(struct erdma_ep *ep, struct net *net, const struct iw_cm_id *id, __be16 port);
/*
 * Takes the socket over: its events go to the endpoint.  `data_ready` is what to restore on release, for an accepted
 * socket comes with the callback of its listener.
 */
void erdma_ep_attach(struct erdma_ep *ep, struct socket *sock, void (*data_ready)(struct sock *sk));
/* Notes the addresses of its socket for diagnostics. */
void erdma_ep_note_link(struct erdma_ep *ep);
void erdma_ep_release_socket(struct erdma_ep *ep);
/* Frames of a connection must pass the adapter, or go through lo and be paired by it (wire.md 1.10). */
bool erdma_ep_route_fits(struct erdma_ep *ep);
/* All or nothing: these few octets always fit into the empty send buffer of a fresh connection. */
int erdma_ep_send(struct erdma_ep *ep, u8 *frame, u32 len);
/* Reads on in the peer's frame: 1 complete, 0 more to come, -errno when it never will be. */
int erdma_ep_read(struct erdma_ep *ep);
/* Did the peer close, or send more than its frame? */
bool erdma_ep_sock_disturbed(struct erdma_ep *ep);
/* Why the socket could not connect, as status of a CONNECT_REPLY. */
int erdma_ep_sock_error(struct erdma_ep *ep);
/*
 * Numbers for the handover (wire.md 1.5).  `ahead` octets will be sent by the kernel after it: the reply of the
 * passive side.  Whatever the kernel received but nobody read would be lost, so there must be none.
 * 0, -ECONNRESET when the peer closed, -EPROTO when octets are under way.
 */
int erdma_ep_sample(struct erdma_ep *ep, u32 ahead, struct erdma_handover *h);

/* ---- erdma_listen.c ---- */

int erdma_listen_setup(struct erdma_cm *cm);
void erdma_listen_shutdown(struct erdma_cm *cm);
void erdma_listener_put(struct erdma_listener *l);
/*
 * Hands a connection request to the iw_cm of the listener.  Returns 0, -ECONNABORTED when the listener was stopped,
 * -ENOMEM when the iw_cm has no room for it.
 */
int erdma_listener_deliver(struct erdma_listener *l, struct iw_cm_event *ev);

#endif
