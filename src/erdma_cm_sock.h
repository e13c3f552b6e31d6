/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: how connection endpoints use the kernel's TCP.  The functions that
 * take an endpoint are called under erdma_ep.lock and may sleep.
 */
#ifndef ERDMA_CM_SOCK_H
#define ERDMA_CM_SOCK_H

#include "erdma_cm_ep.h"

/*
 * The network namespace for the sockets of a call, referenced: the process's; for a kernel thread,
 * whose own says nothing, that of the paired interface.  Process context.
 */
struct net *erdma_cm_net(struct erdma_cm *cm);
/*
 * Between addresses as the iw_cm and sockets have them, and ours, with IPv4 in its mapped form.
 * `scope`: the interface of a link-local address, ignored for others.  Any context.
 */
void erdma_cm_sockaddr(struct sockaddr_storage *out, const struct in6_addr *ip, u32 scope,
		       __be16 port);
void erdma_cm_ip(const struct sockaddr_storage *addr, struct in6_addr *ip);
__be16 erdma_cm_port(const struct sockaddr_storage *addr);
static inline int erdma_cm_sockaddr_len(const struct sockaddr_storage *addr)
{
	return addr->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) :
					     sizeof(struct sockaddr_in);
}

/*
 * A TCP socket for a connection or a listener, unbound.  0 or what the kernel says.  May sleep.
 */
int erdma_cm_sock_create(struct net *net, int family, struct socket **sock);

/* Type of service, or traffic class, of what a socket sends.  May sleep. */
void erdma_cm_set_tos(struct sock *sk, u8 tos);

/**
 * erdma_ep_open() - Open a socket on the local address of a cm_id and start to connect.
 * @ep: the endpoint
 * @net: network namespace
 * @id: the cm_id
 * @port: local port, or 0 for any
 *
 * Does not wait for the connection.  Return: 0, what erdma_ep_check_wire() returns, or what the
 * socket says.
 */
int erdma_ep_open(struct erdma_ep *ep, struct net *net, const struct iw_cm_id *id, __be16 port);

/**
 * erdma_ep_attach() - Make a socket's events go to an endpoint.
 * @ep: the endpoint, which owns the socket from now on
 * @sock: the socket
 * @data_ready: to be restored on release; an accepted socket comes with its listener's callback
 */
void erdma_ep_attach(struct erdma_ep *ep, struct socket *sock, void (*data_ready)(struct sock *sk));
/* The ends of its socket. */
void erdma_ep_sockaddrs(struct erdma_ep *ep, struct sockaddr_storage *own,
			struct sockaddr_storage *peer);
/* Gives the socket its callbacks back and closes it, if there is one. */
void erdma_ep_put_socket(struct erdma_ep *ep);
/*
 * Frames of a connection must pass the adapter with the socket's addresses and ports, or stay
 * within the machine and be paired (wire.md 1.10).  Counts and tells why not, and what
 * erdma_route_check() returns.
 */
int erdma_ep_check_wire(struct erdma_ep *ep);
/* All or nothing: these few octets always fit into the empty send buffer of a fresh connection. */
int erdma_ep_send(struct erdma_ep *ep, u8 *frame, u32 len);
/* Reads on in the peer's frame: 1 complete, 0 more to come, -errno when it never will be. */
int erdma_ep_read(struct erdma_ep *ep);
/* Did the peer close, or send more than its frame? */
bool erdma_ep_sock_disturbed(struct erdma_ep *ep);
/* Why the socket could not connect, as status of a CONNECT_REPLY. */
int erdma_ep_sock_error(struct erdma_ep *ep);

/**
 * erdma_ep_sample() - Numbers for the handover (wire.md 1.5).
 * @ep: the endpoint
 * @ahead: octets that the kernel will send after it: the reply of the passive side
 * @h: gets addresses and sequence numbers
 *
 * Whatever the kernel received but nobody read would be lost, so there must be none.
 *
 * Return: 0, -ECONNRESET when the peer closed, -EPROTO when octets are under way.
 */
int erdma_ep_sample(struct erdma_ep *ep, u32 ahead, struct erdma_handover *h);

#endif
