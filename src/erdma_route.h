/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: do the packets of a connection pass the paired NIC as its socket
 * names them?  What the kernel does to them on the way (a bridge that has other ports, address
 * translation, IPsec) the adapter does not do to its own.
 */
#ifndef ERDMA_ROUTE_H
#define ERDMA_ROUTE_H

#include <net/sock.h>

#include "erdma_adapter.h"

enum erdma_way {
	ERDMA_WAY_OTHER,	/* not by the NIC */
	ERDMA_WAY_NIC,
	ERDMA_WAY_LOCAL,	/* not by any: to this machine itself */
	ERDMA_WAY_UNKNOWN,	/* by the NIC or by others, depending on what cannot be known now */
};

/**
 * erdma_route_way() - Which way packets of an interface take.
 * @ad: the adapter
 * @dev: where the kernel's routing sends them, or where they came in
 * @mac: the neighbour that they go to, or NULL when it is not known
 *
 * Under rcu_read_lock.
 *
 * Return: the way.
 */
enum erdma_way erdma_route_way(const struct erdma_adapter *ad, struct net_device *dev,
			       const u8 *mac);

/**
 * erdma_route_bind_index() - What a socket must be bound to for its packets to find their way.
 * @ad: the adapter
 * @net: network namespace
 * @own: the socket's address, IPv4 in its mapped form
 * @peer: the peer's, or NULL for a listener
 *
 * An address in a VRF is one of that VRF's sockets only.  With two NICs in one subnet routing
 * prefers one of them whatever the source address is, and rdma_cm goes by the source address; of
 * IPv6 only VRFs are looked at.  May sleep.
 *
 * Return: index of an interface, or 0 for none.
 */
int erdma_route_bind_index(const struct erdma_adapter *ad, struct net *net,
			   const struct in6_addr *own, const struct in6_addr *peer);

/**
 * erdma_route_check() - Can the adapter carry on what a TCP socket began?
 * @ad: the adapter
 * @sk: the socket, from SYN-SENT on
 *
 * Both directions must pass the NIC, or stay within the machine, and be on the wire with the
 * addresses and ports of the socket.  Translation of IPv6 is not noticed.  Tells the log of one
 * that does not.  May sleep.
 *
 * Return: 0, -ENETUNREACH when the packets take another way, -EADDRNOTAVAIL when the kernel
 * translates addresses or ports.
 */
int erdma_route_check(struct erdma_adapter *ad, struct sock *sk);

/* Index of the interface that the packets of a socket leave by, or 0.  May sleep. */
int erdma_route_out_index(struct sock *sk);
/* Do they still pass the NIC, or stay within the machine, as far as that can be known?  0: yes. */
bool erdma_route_lives(const struct erdma_adapter *ad, const struct net *net, int out_index);

#endif
