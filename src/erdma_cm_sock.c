// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sockets of connection endpoints (docs/spec/wire.md 1.3, 1.5): how the iWARP connection manager
 * uses the kernel's TCP.
 */
#include <linux/nsproxy.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <net/inet_sock.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/tcp.h>

#include "erdma_cm_sock.h"
#include "erdma_route.h"

void erdma_cm_sockaddr(struct sockaddr_storage *out, const struct in6_addr *ip, u32 scope,
		       __be16 port)
{
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)out;
	struct sockaddr_in *sin = (struct sockaddr_in *)out;

	memset(out, 0, sizeof(*out));
	if (ipv6_addr_v4mapped(ip)) {
		sin->sin_family = AF_INET;
		sin->sin_addr.s_addr = ip->s6_addr32[3];
		sin->sin_port = port;
	} else {
		sin6->sin6_family = AF_INET6;
		sin6->sin6_addr = *ip;
		sin6->sin6_port = port;
		sin6->sin6_scope_id = ipv6_iface_scope_id(ip, scope);
	}
}

void erdma_cm_ip(const struct sockaddr_storage *addr, struct in6_addr *ip)
{
	if (addr->ss_family == AF_INET6)
		*ip = ((const struct sockaddr_in6 *)addr)->sin6_addr;
	else
		ipv6_addr_set_v4mapped(((const struct sockaddr_in *)addr)->sin_addr.s_addr, ip);
}

__be16 erdma_cm_port(const struct sockaddr_storage *addr)
{
	/* At the same place for both families. */
	return ((const struct sockaddr_in *)addr)->sin_port;
}

/*
 * For lockdep: locks of processes' sockets are held while memory is copied from and to the
 * process; those of the connection manager never are, though its own locks are held around them.
 * As one class with the processes' they would make cycles that do not exist.  So they, and what a
 * listener accepts, are of the kernel's class.  One of this module's own would be gone with it,
 * while TCP may still finish what it sent on a socket that was released; a socket that held the
 * module, as sock_lock_init_class_and_name() makes it do, would keep it loaded for minutes.
 */
static void erdma_sock_classify(struct sock *sk)
{
#ifdef CONFIG_DEBUG_LOCK_ALLOC
	const struct lockdep_map *lock, *slock;
	struct socket *like;

	if (sock_create_kern(sock_net(sk), sk->sk_family, SOCK_STREAM, IPPROTO_TCP, &like))
		return;
	lock = &like->sk->sk_lock.dep_map;
	slock = &like->sk->sk_lock.slock.dep_map;
	lockdep_set_class_and_name(&sk->sk_lock.slock, slock->key, slock->name);
	lockdep_init_map(&sk->sk_lock.dep_map, lock->name, lock->key, 0);
	/* Of nothing but the class of what is accepted. */
	sk->sk_kern_sock = 1;
	sock_release(like);
#endif
}

int erdma_cm_sock_create(struct net *net, int family, struct socket **sock)
{
	/* Not a kernel socket: it holds its namespace, and TCP finishes what it sent. */
	int ret = __sock_create(net, family, SOCK_STREAM, IPPROTO_TCP, sock, 0);

	if (!ret)
		erdma_sock_classify((*sock)->sk);
	return ret;
}

void erdma_cm_set_tos(struct sock *sk, u8 tos)
{
	if (sk->sk_family == AF_INET) {
		ip_sock_set_tos(sk, tos);
		return;
	}
#if IS_ENABLED(CONFIG_IPV6)
	lock_sock(sk);
	inet6_sk(sk)->tclass = tos;
	release_sock(sk);
#endif
}

static void erdma_sock_ips(const struct sock *sk, struct in6_addr *own, struct in6_addr *peer)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		*own = inet6_sk(sk)->saddr;
		*peer = sk->sk_v6_daddr;
		return;
	}
#endif
	ipv6_addr_set_v4mapped(inet_sk(sk)->inet_saddr, own);
	ipv6_addr_set_v4mapped(inet_sk(sk)->inet_daddr, peer);
}

/* What a program asked for; the device goes on with what the kernel made of it when that is 0. */
static __be32 erdma_sock_flow_label(const struct sock *sk)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		return inet6_sk(sk)->flow_label & IPV6_FLOWLABEL_MASK;
#endif
	return 0;
}

struct net *erdma_cm_net(struct erdma_cm *cm)
{
	const struct net_device *nic;
	struct net *net = NULL;

	/* An exiting process has none. */
	if (!(current->flags & PF_KTHREAD) && current->nsproxy)
		return get_net(current->nsproxy->net_ns);
	rcu_read_lock();
	nic = READ_ONCE(cm->ad->netdev);
	if (nic)
		net = maybe_get_net(dev_net(nic));
	rcu_read_unlock();
	return net ?: get_net(&init_net);
}

int erdma_ep_check_wire(struct erdma_ep *ep)
{
	struct erdma_adapter *ad = ep->cm->ad;
	int ret = erdma_route_check(ad, ep->sock->sk);

	if (ret == -EADDRNOTAVAIL)
		erdma_count(&ad->dev, cm_translated_cnt);
	else if (ret)
		erdma_count(&ad->dev, cm_misrouted_cnt);
	else
		ep->out_index = erdma_route_out_index(ep->sock->sk);
	return ret;
}

/* State change or data; softirq, or a process inside release_sock(). */
static void erdma_ep_sock_event(struct sock *sk)
{
	struct erdma_ep *ep;

	read_lock_bh(&sk->sk_callback_lock);
	ep = sk->sk_user_data;
	if (ep)
		erdma_ep_post(ep, ERDMA_EP_EV_SOCKET);
	read_unlock_bh(&sk->sk_callback_lock);
}

/* Records the addresses of its socket for diagnostics. */
static void erdma_ep_save_link(struct erdma_ep *ep)
{
	const struct inet_sock *inet = inet_sk(ep->sock->sk);

	xa_lock(&ep->cm->eps);
	erdma_sock_ips(ep->sock->sk, &ep->link.own_ip, &ep->link.peer_ip);
	ep->link.own_port = inet->inet_sport;
	ep->link.peer_port = inet->inet_dport;
	xa_unlock(&ep->cm->eps);
}

void erdma_ep_sockaddrs(struct erdma_ep *ep, struct sockaddr_storage *own,
			struct sockaddr_storage *peer)
{
	const struct sock *sk = ep->sock->sk;
	struct in6_addr own_ip, peer_ip;

	erdma_sock_ips(sk, &own_ip, &peer_ip);
	erdma_cm_sockaddr(own, &own_ip, sk->sk_bound_dev_if, inet_sk(sk)->inet_sport);
	erdma_cm_sockaddr(peer, &peer_ip, sk->sk_bound_dev_if, inet_sk(sk)->inet_dport);
}

void erdma_ep_attach(struct erdma_ep *ep, struct socket *sock, void (*data_ready)(struct sock *sk))
{
	struct sock *sk = sock->sk;

	tcp_sock_set_nodelay(sk);
	write_lock_bh(&sk->sk_callback_lock);
	ep->sock = sock;
	ep->saved_data_ready = data_ready;
	ep->saved_state_change = sk->sk_state_change;
	sk->sk_user_data = ep;
	sk->sk_data_ready = erdma_ep_sock_event;
	sk->sk_state_change = erdma_ep_sock_event;
	write_unlock_bh(&sk->sk_callback_lock);
	erdma_ep_save_link(ep);
}

void erdma_ep_put_socket(struct erdma_ep *ep)
{
	struct socket *sock = ep->sock;
	struct sock *sk;

	if (!sock)
		return;
	sk = sock->sk;
	ep->sock = NULL;
	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_user_data = NULL;
	sk->sk_data_ready = ep->saved_data_ready;
	sk->sk_state_change = ep->saved_state_change;
	write_unlock_bh(&sk->sk_callback_lock);
	sock_release(sock);
}

int erdma_ep_send(struct erdma_ep *ep, u8 *frame, u32 len)
{
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
	struct kvec vec = { .iov_base = frame, .iov_len = len };
	int sent = kernel_sendmsg(ep->sock, &msg, &vec, 1, len);

	if (sent < 0)
		return sent;
	return sent == len ? 0 : -EIO;
}

int erdma_ep_read(struct erdma_ep *ep)
{
	int ret;

	do {
		struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
		struct kvec vec;
		u32 space;

		vec.iov_base = erdma_mpa_reader_room(&ep->rx, &space);
		vec.iov_len = space;
		ret = kernel_recvmsg(ep->sock, &msg, &vec, 1, space, MSG_DONTWAIT);
		if (ret == -EAGAIN)
			return 0;
		if (ret == -ETIMEDOUT)
			return ret;
		if (ret <= 0)
			return -ECONNRESET;
		ret = erdma_mpa_reader_stored(&ep->rx, ret);
	} while (!ret);
	return ret;
}

bool erdma_ep_sock_disturbed(struct erdma_ep *ep)
{
	struct sock *sk = ep->sock->sk;
	bool disturbed;

	lock_sock(sk);
	disturbed = sk->sk_state != TCP_ESTABLISHED ||
		    tcp_sk(sk)->copied_seq != tcp_sk(sk)->rcv_nxt;
	release_sock(sk);
	return disturbed;
}

int erdma_ep_sample(struct erdma_ep *ep, u32 ahead, struct erdma_handover *h)
{
	struct sock *sk = ep->sock->sk;
	const struct inet_sock *inet = inet_sk(sk);
	const struct tcp_sock *tp = tcp_sk(sk);
	int ret = 0;

	lock_sock(sk);
	if (sk->sk_state != TCP_ESTABLISHED) {
		ret = -ECONNRESET;
	} else if (tp->copied_seq != tp->rcv_nxt || tp->write_seq != tp->snd_nxt) {
		ret = -EPROTO;
	} else {
		erdma_sock_ips(sk, &h->own_ip, &h->peer_ip);
		h->flow_label = erdma_sock_flow_label(sk);
		h->own_port = inet->inet_sport;
		h->peer_port = inet->inet_dport;
		h->send_nxt = tp->write_seq + ahead;
		h->recv_nxt = tp->copied_seq;
	}
	release_sock(sk);
	return ret;
}

int erdma_ep_open(struct erdma_ep *ep, struct net *net, const struct iw_cm_id *id, __be16 port)
{
	struct sockaddr_storage own = id->m_local_addr, peer = id->m_remote_addr;
	struct in6_addr own_ip, peer_ip;
	struct socket *sock;
	int index, ret;

	/* At the same place for both families. */
	((struct sockaddr_in *)&own)->sin_port = port;
	ret = erdma_cm_sock_create(net, own.ss_family, &sock);
	if (ret)
		return ret;
	sock_set_reuseaddr(sock->sk);
	if (id->tos_set)
		erdma_cm_set_tos(sock->sk, id->tos);
	erdma_ep_attach(ep, sock, sock->sk->sk_data_ready);
	/* The handshake's last ACK rides on the MPA request, which follows at once. */
	erdma_sock_delay_ack(sock->sk);

	erdma_cm_ip(&own, &own_ip);
	erdma_cm_ip(&peer, &peer_ip);
	index = erdma_route_bind_index(ep->cm->ad, net, &own_ip, &peer_ip);
	if (index)
		sock_bindtoindex(sock->sk, index, true);
	/* The casts serve kernels that call this type otherwise. */
	ret = kernel_bind(sock, (void *)&own, erdma_cm_sockaddr_len(&own));
	if (!ret) {
		ret = kernel_connect(sock, (void *)&peer, erdma_cm_sockaddr_len(&peer), O_NONBLOCK);
		if (ret == -EINPROGRESS)
			ret = 0;
	}
	if (!ret)
		ret = erdma_ep_check_wire(ep);
	erdma_ep_save_link(ep);
	if (ret)
		erdma_ep_put_socket(ep);
	return ret;
}

int erdma_ep_sock_error(struct erdma_ep *ep)
{
	int err = sock_error(ep->sock->sk);

	switch (err) {
	case -ECONNREFUSED:
	case -ETIMEDOUT:
		return err;
	case -EHOSTUNREACH:
	case -ENETUNREACH:
	case -EHOSTDOWN:
		/* What rdma_cm reports as "unreachable". */
		return -ETIMEDOUT;
	default:
		return -EIO;
	}
}
