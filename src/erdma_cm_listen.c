// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Listeners of the iWARP connection manager (docs/spec/wire.md 1.3, 1.13).
 *
 * A listener on 0.0.0.0 has one socket for each IPv4 address of the paired interface, one on ::
 * also for each IPv6 address, and follows address changes.  One socket bound to the interface would
 * never see connections to an own address, which arrive through lo (1.10); one unbound wildcard
 * socket could exist for only one of several adapters in a VM.
 */
#include <linux/inetdevice.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <net/addrconf.h>
#include <net/if_inet6.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>

#include "erdma_cm_listen.h"
#include "erdma_cm_sock.h"
#include "erdma_route.h"

#define ERDMA_LISTEN_RETRY_MS 100
/* Connections accepted before the other work of the queue has its turn. */
#define ERDMA_LISTEN_BATCH 64

static void erdma_listener_free(struct kref *ref)
{
	struct erdma_listener *l = container_of(ref, struct erdma_listener, ref);
	struct erdma_cm *cm = l->cm;

	put_net(l->net);
	erdma_owner_put(&l->owner);
	kfree(l);
	erdma_cm_live_put(cm);
}

void erdma_listener_put(struct erdma_listener *l)
{
	kref_put(&l->ref, erdma_listener_free);
}

static void erdma_listener_queue(struct erdma_listener *l, unsigned int msecs)
{
	kref_get(&l->ref);
	if (!queue_delayed_work(l->cm->wq, &l->work, msecs_to_jiffies(msecs)))
		erdma_listener_put(l);
}

/* Softirq.  Sockets cloned from the listening one run this too, until they are accepted. */
static void erdma_listen_data_ready(struct sock *sk)
{
	struct erdma_listen_sock *ls;

	read_lock_bh(&sk->sk_callback_lock);
	ls = sk->sk_user_data;
	if (ls && sk->sk_state == TCP_LISTEN)
		erdma_listener_queue(ls->listener, 0);
	read_unlock_bh(&sk->sk_callback_lock);
}

static void erdma_listen_sock_close(struct erdma_listen_sock *ls)
{
	struct sock *sk = ls->sock->sk;

	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_user_data = NULL;
	sk->sk_data_ready = ls->saved_data_ready;
	write_unlock_bh(&sk->sk_callback_lock);
	sock_release(ls->sock);
	list_del(&ls->node);
	kfree(ls);
}

static int erdma_listen_sock_open(struct erdma_listener *l, const struct erdma_listen_addr *addr)
{
	struct sockaddr_storage own;
	struct erdma_listen_sock *ls;
	struct sock *sk;
	int index, ret;

	ls = kzalloc(sizeof(*ls), GFP_KERNEL);
	if (!ls)
		return -ENOMEM;
	ls->listener = l;
	ls->addr = *addr;
	erdma_cm_sockaddr(&own, &addr->ip, addr->scope, l->port);

	ret = erdma_cm_sock_create(l->net, own.ss_family, &ls->sock);
	if (ret)
		goto err_free;
	sk = ls->sock->sk;
	sock_set_reuseaddr(sk);
	if (l->tos_set)
		erdma_cm_set_tos(sk, l->tos);
	/* A new IPv6 address is none to bind while a duplicate of it may show up. */
	if (l->follows && own.ss_family == AF_INET6)
		ip_sock_set_freebind(sk);

	index = erdma_route_bind_index(l->cm->ad, l->net, &addr->ip, NULL);
	if (index)
		sock_bindtoindex(sk, index, true);
	/* The cast serves kernels that call this type otherwise. */
	ret = kernel_bind(ls->sock, (void *)&own, erdma_cm_sockaddr_len(&own));
	if (ret)
		goto err_release;

	write_lock_bh(&sk->sk_callback_lock);
	ls->saved_data_ready = sk->sk_data_ready;
	sk->sk_user_data = ls;
	sk->sk_data_ready = erdma_listen_data_ready;
	write_unlock_bh(&sk->sk_callback_lock);

	list_add_tail(&ls->node, &l->socks);
	ret = kernel_listen(ls->sock, l->backlog);
	if (ret)
		erdma_listen_sock_close(ls);
	else
		/*
		 * For the accepted sockets, and after kernel_listen(), which resets it: the reply
		 * acknowledges the request.
		 */
		erdma_sock_delay_ack(sk);
	return ret;

err_release:
	sock_release(ls->sock);
err_free:
	kfree(ls);
	return ret;
}

/* An administrator can close any socket (`ss -K`); nothing comes to this one any more. */
static bool erdma_listen_sock_lives(const struct erdma_listen_sock *ls)
{
	return inet_sk_state_load(ls->sock->sk) == TCP_LISTEN;
}

static bool erdma_listen_addr_equal(const struct erdma_listen_addr *a,
				    const struct erdma_listen_addr *b)
{
	return ipv6_addr_equal(&a->ip, &b->ip) && a->scope == b->scope;
}

static struct erdma_listen_sock *erdma_listener_find(struct erdma_listener *l,
						     const struct erdma_listen_addr *addr)
{
	struct erdma_listen_sock *ls;

	list_for_each_entry(ls, &l->socks, node)
		if (erdma_listen_addr_equal(&ls->addr, addr))
			return ls;
	return NULL;
}

/* Do packets that come in by the paired interface reach this one?  Under rcu_read_lock. */
static bool erdma_listen_hears(const struct erdma_listener *l, struct net_device *dev)
{
	enum erdma_way way = erdma_route_way(l->cm->ad, dev, NULL);

	return way == ERDMA_WAY_NIC || way == ERDMA_WAY_UNKNOWN;
}

/* Adds the IPv4 addresses of an interface to the first `n`; returns how many there are then. */
static unsigned int erdma_listen_addresses4(const struct net_device *dev,
					    struct erdma_listen_addr *addrs, unsigned int n)
{
	struct in_device *in_dev = __in_dev_get_rcu(dev);
	const struct in_ifaddr *ifa;

	if (!in_dev)
		return n;
	in_dev_for_each_ifa_rcu(ifa, in_dev) {
		if (n == ERDMA_CM_MAX_ADDRS)
			break;
		ipv6_addr_set_v4mapped(ifa->ifa_local, &addrs[n].ip);
		addrs[n++].scope = 0;
	}
	return n;
}

/* The same of IPv6. */
static unsigned int erdma_listen_addresses6(const struct net_device *dev,
					    struct erdma_listen_addr *addrs, unsigned int n)
{
#if IS_ENABLED(CONFIG_IPV6)
	struct inet6_dev *in6_dev = __in6_dev_get(dev);
	const struct inet6_ifaddr *ifa;

	if (!in6_dev)
		return n;
	read_lock_bh(&in6_dev->lock);
	list_for_each_entry(ifa, &in6_dev->addr_list, if_list) {
		if (n == ERDMA_CM_MAX_ADDRS)
			break;
		if (ifa->flags & IFA_F_DADFAILED)
			continue;
		addrs[n].ip = ifa->addr;
		addrs[n++].scope = ipv6_iface_scope_id(&ifa->addr, dev->ifindex);
	}
	read_unlock_bh(&in6_dev->lock);
#endif
	return n;
}

/* Collects the addresses of the paired interface and of what is over it; returns how many. */
static unsigned int erdma_listen_addresses(struct erdma_listener *l,
					   struct erdma_listen_addr *addrs)
{
	struct net_device *dev;
	unsigned int n = 0;

	rcu_read_lock();
	for_each_netdev_rcu(l->net, dev) {
		if (!erdma_listen_hears(l, dev))
			continue;
		if (l->ipv4)
			n = erdma_listen_addresses4(dev, addrs, n);
		if (l->ipv6)
			n = erdma_listen_addresses6(dev, addrs, n);
	}
	rcu_read_unlock();
	return n;
}

/* Gives a wildcard listener the sockets that the present addresses need.  First error, or 0. */
static int erdma_listener_follow(struct erdma_listener *l)
{
	struct erdma_listen_sock *ls, *next;
	struct erdma_listen_addr *addrs;
	unsigned int n, i;
	int ret = 0;

	addrs = kcalloc(ERDMA_CM_MAX_ADDRS, sizeof(*addrs), GFP_KERNEL);
	if (!addrs)
		return -ENOMEM;
	n = erdma_listen_addresses(l, addrs);

	list_for_each_entry_safe(ls, next, &l->socks, node) {
		for (i = 0; i < n && !erdma_listen_addr_equal(&addrs[i], &ls->addr); i++)
			;
		if (i == n || !erdma_listen_sock_lives(ls))
			erdma_listen_sock_close(ls);
	}
	for (i = 0; i < n; i++) {
		int err = 0;

		if (!erdma_listener_find(l, &addrs[i]))
			err = erdma_listen_sock_open(l, &addrs[i]);

		if (err && !ret)
			ret = err;
	}
	kfree(addrs);
	return ret;
}

static void erdma_listen_addr_work(struct work_struct *work)
{
	struct erdma_cm *cm = container_of(work, struct erdma_cm, addr_work);
	unsigned int scope = erdma_listen_lock(cm);
	struct erdma_listener *l;

	list_for_each_entry(l, &cm->listeners, node) {
		int err;

		if (!l->follows)
			continue;
		err = erdma_listener_follow(l);
		if (err)
			ibdev_warn_ratelimited(&cm->ad->ib,
					       "port %u: cannot listen on every address: %d\n",
					       ntohs(l->port), err);
	}
	erdma_listen_unlock(cm, scope);
}

/* Under the RTNL, or in softirq: only queue. */
static void erdma_listen_addr_event(struct erdma_cm *cm, unsigned long event)
{
	if (event == NETDEV_UP || event == NETDEV_DOWN)
		queue_work(cm->wq, &cm->addr_work);
}

static int erdma_listen_addr4_event(struct notifier_block *nb, unsigned long event, void *arg)
{
	erdma_listen_addr_event(container_of(nb, struct erdma_cm, addr4_nb), event);
	return NOTIFY_DONE;
}

static int erdma_listen_addr6_event(struct notifier_block *nb, unsigned long event, void *arg)
{
	erdma_listen_addr_event(container_of(nb, struct erdma_cm, addr6_nb), event);
	return NOTIFY_DONE;
}

/* Makes a fresh endpoint the owner of an accepted socket.  The listener gives a reference. */
static void erdma_listener_add_ep(struct erdma_listen_sock *ls, struct erdma_ep *ep,
				  struct socket *sock)
{
	/* Without ep->lock, an outer one: nobody acts on it before its first event. */
	WRITE_ONCE(ep->listener, ls->listener);
	xa_lock(&ep->cm->eps);
	erdma_owner_put(&ep->owner);
	erdma_owner_copy(&ep->owner, &ls->listener->owner);
	ep->link.passive = true;
	xa_unlock(&ep->cm->eps);
	ep->counted = true;
	atomic_inc(&ep->listener->children);
	erdma_ep_set_state(ep, ERDMA_EP_WAIT_REQUEST);
	erdma_mpa_reader_init(&ep->rx, ERDMA_MPA_REQUEST);
	erdma_ep_start_timer(ep, ERDMA_CM_REQUEST_SECS);
	erdma_ep_attach(ep, sock, ls->saved_data_ready);
	/* The request may be there already. */
	erdma_ep_post(ep, ERDMA_EP_EV_SOCKET);
}

/*
 * Accepts connections that are ready.  Returns -EAGAIN when all were accepted, 0 when there may be
 * more, else the error that stopped it.
 */
static int erdma_listener_accept(struct erdma_listen_sock *ls)
{
	struct erdma_listener *l = ls->listener;
	struct erdma_ep *ep;
	struct socket *sock;
	unsigned int n;
	int ret;

	for (n = 0; n < ERDMA_LISTEN_BATCH; n++) {
		ret = kernel_accept(ls->sock, &sock, O_NONBLOCK);
		if (ret)
			return ret;
		ep = atomic_read(&l->children) < ERDMA_CM_MAX_CHILDREN &&
				     !erdma_is_broken(&l->cm->ad->dev) ?
			     erdma_ep_alloc(l->cm) :
			     NULL;
		if (!ep) {
			/* The clone still has the listener's callback and our pointer. */
			write_lock_bh(&sock->sk->sk_callback_lock);
			sock->sk->sk_user_data = NULL;
			sock->sk->sk_data_ready = ls->saved_data_ready;
			write_unlock_bh(&sock->sk->sk_callback_lock);
			sock_release(sock);
			continue;
		}
		kref_get(&l->ref);
		erdma_listener_add_ep(ls, ep, sock);
		erdma_ep_put(ep);
	}
	return 0;
}

static void erdma_listener_work(struct work_struct *work)
{
	struct erdma_listener *l = container_of(to_delayed_work(work), struct erdma_listener, work);
	unsigned int scope = erdma_listen_lock(l->cm);
	bool more = false, failed = false;
	struct erdma_listen_sock *ls;

	list_for_each_entry(ls, &l->socks, node) {
		int ret = erdma_listener_accept(ls);

		if (!ret)
			more = true;
		else if (ret == -EAGAIN)
			continue;
		else if (erdma_listen_sock_lives(ls))
			failed = true;
		else
			ibdev_warn_ratelimited(&l->cm->ad->ib,
					       "port %u: somebody closed the listening socket\n",
					       ntohs(l->port));
	}
	erdma_listen_unlock(l->cm, scope);
	/* Nothing would tell of connections that still wait; after a failure, not at once. */
	if (more || failed)
		erdma_listener_queue(l, more ? 0 : ERDMA_LISTEN_RETRY_MS);
	erdma_listener_put(l);
}

int erdma_listener_deliver(struct erdma_listener *l, struct iw_cm_event *ev)
{
	unsigned int scope = erdma_listen_lock(l->cm);
	int ret = -ECONNABORTED;

	if (l->id)
		ret = l->id->event_handler(l->id, ev);
	erdma_listen_unlock(l->cm, scope);
	return ret;
}

/* Closes the sockets and forgets the cm_id; under listen_lock.  Consumes the list's reference. */
static void erdma_listener_stop(struct erdma_listener *l)
{
	struct erdma_listen_sock *ls, *next;

	lockdep_assert_held(&l->cm->listen_lock);
	l->id->provider_data = NULL;
	l->id = NULL;
	list_for_each_entry_safe(ls, next, &l->socks, node)
		erdma_listen_sock_close(ls);
	list_del(&l->node);
	if (cancel_delayed_work(&l->work))
		erdma_listener_put(l);
}

/* Is it a listener on every IPv6 address? */
static bool erdma_is_any6(const struct iw_cm_id *id)
{
	const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)&id->local_addr;

	return sin6->sin6_family == AF_INET6 && ipv6_addr_any(&sin6->sin6_addr);
}

/*
 * A listener on every IPv6 address hears IPv4 clients, too, unless it is for IPv6 only.  That one
 * is accepted and hears nothing here if the device cannot do IPv6: rdma_cm takes a single refusal
 * for the failure of the listener on all devices of the system, and 6.1's NFS server oopses over
 * that.
 */
static int erdma_listener_start(struct erdma_adapter *ad, struct iw_cm_id *id, int backlog)
{
	int family = id->local_addr.ss_family == id->m_local_addr.ss_family ?
			     id->m_local_addr.ss_family :
			     AF_UNSPEC;
	bool ipv6 = family == AF_INET6 && ad->dev.caps.flags & ERDMA_CAP_IPV6;
	bool ipv4 = family == AF_INET;
	struct erdma_cm *cm = ad->cm;
	struct erdma_listener *l;
	unsigned int scope;
	int ret;

	if (erdma_is_any6(id)) {
		ipv4 = !erdma_id_is_v6_only(id);
		if (!ipv4 && !ipv6)
			return 0;
	} else if (!ipv4 && !ipv6) {
		return -EAFNOSUPPORT;
	}
	if (erdma_is_broken(&ad->dev))
		return -EIO;

	l = kzalloc(sizeof(*l), GFP_KERNEL);
	if (!l)
		return -ENOMEM;
	kref_init(&l->ref);
	INIT_LIST_HEAD(&l->socks);
	INIT_DELAYED_WORK(&l->work, erdma_listener_work);
	refcount_inc(&cm->live);
	l->cm = cm;
	l->net = erdma_cm_net(cm);
	l->ipv4 = ipv4;
	l->ipv6 = ipv6;
	if (ipv6) {
		const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)&id->m_local_addr;

		l->addr.ip = sin6->sin6_addr;
		l->addr.scope = ipv6_iface_scope_id(&sin6->sin6_addr, sin6->sin6_scope_id);
		l->follows = ipv6_addr_any(&sin6->sin6_addr);
	} else {
		const struct sockaddr_in *sin = (const struct sockaddr_in *)&id->m_local_addr;
		__be32 ip = erdma_is_any6(id) ? htonl(INADDR_ANY) : sin->sin_addr.s_addr;

		ipv6_addr_set_v4mapped(ip, &l->addr.ip);
		l->follows = ip == htonl(INADDR_ANY);
	}
	l->port = erdma_cm_port(&id->m_local_addr);
	l->backlog = backlog;
	l->tos_set = id->tos_set;
	l->tos = id->tos;

	l->born = ktime_get();
	erdma_owner_get(&l->owner);

	scope = erdma_listen_lock(cm);
	l->number = ++cm->last_listener;
	l->id = id;
	list_add_tail(&l->node, &cm->listeners);
	ret = l->follows ? erdma_listener_follow(l) : erdma_listen_sock_open(l, &l->addr);
	if (ret)
		erdma_listener_stop(l);
	else
		id->provider_data = l;
	erdma_listen_unlock(cm, scope);
	if (ret)
		erdma_listener_put(l);
	return ret;
}

int erdma_cm_listen_start(struct iw_cm_id *id, int backlog)
{
	struct erdma_adapter *ad = to_erdma(id->device);

	return erdma_count_call(&ad->dev, cm_listen, erdma_listener_start(ad, id, backlog));
}

int erdma_cm_listen_stop(struct iw_cm_id *id)
{
	struct erdma_cm *cm = to_erdma(id->device)->cm;
	struct erdma_listener *l;
	unsigned long handle;
	struct erdma_ep *ep;
	unsigned int scope;

	scope = erdma_listen_lock(cm);
	l = id->provider_data;
	if (l)
		erdma_listener_stop(l);
	erdma_listen_unlock(cm, scope);
	if (!l)
		return 0;

	/* Each endpoint knows whether it was a child of this one: ask those that may be. */
	xa_lock(&cm->eps);
	xa_for_each(&cm->eps, handle, ep)
		if (READ_ONCE(ep->listener) == l)
			erdma_ep_post(ep, ERDMA_EP_EV_LISTENER_GONE);
	xa_unlock(&cm->eps);
	erdma_listener_put(l);
	return 0;
}

int erdma_listen_setup(struct erdma_cm *cm)
{
	int ret;

	mutex_init(&cm->listen_lock);
	INIT_LIST_HEAD(&cm->listeners);
	INIT_WORK(&cm->addr_work, erdma_listen_addr_work);
	cm->addr4_nb.notifier_call = erdma_listen_addr4_event;
	cm->addr6_nb.notifier_call = erdma_listen_addr6_event;
	ret = register_inetaddr_notifier(&cm->addr4_nb);
	if (ret)
		return ret;
	ret = register_inet6addr_notifier(&cm->addr6_nb);
	if (ret)
		unregister_inetaddr_notifier(&cm->addr4_nb);
	return ret;
}

void erdma_listen_shutdown(struct erdma_cm *cm)
{
	struct erdma_listener *l, *next;
	unsigned int scope;

	unregister_inetaddr_notifier(&cm->addr4_nb);
	unregister_inet6addr_notifier(&cm->addr6_nb);
	cancel_work_sync(&cm->addr_work);

	/* The cm_ids went before the device was unregistered: the list is empty.  Be sure. */
	scope = erdma_listen_lock(cm);
	list_for_each_entry_safe(l, next, &cm->listeners, node) {
		erdma_listener_stop(l);
		erdma_listener_put(l);
	}
	erdma_listen_unlock(cm, scope);
}
