// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: the ways of packets (docs/spec/wire.md 1.2, 1.10).
 *
 * The adapter takes a connection over by the addresses, ports and interface that its packets have
 * on the wire, and knows nothing of what lies between the socket and the NIC.
 */
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/inetdevice.h>
#include <linux/ip.h>
#include <linux/netfilter.h>
#include <linux/tcp.h>
#include <net/addrconf.h>
#include <net/bonding.h>
#include <net/dst.h>
#include <net/if_inet6.h>
#include <net/inet_sock.h>
#include <net/ipv6.h>
#include <net/l3mdev.h>
#include <net/lwtunnel.h>
#include <net/neighbour.h>
#include <net/netfilter/nf_conntrack_tuple.h>
#include <net/route.h>
#include <net/rtnetlink.h>

#include "erdma_route.h"
#include "kcompat.h"

/* More interfaces are not expected over one another; the kernel allows 8. */
#define ERDMA_ROUTE_DEPTH 8

/* ---- interfaces over others ---- */

/* The only one below, or NULL. */
static struct net_device *erdma_only_lower(struct net_device *dev)
{
	struct list_head *at = &dev->adj_list.lower;
	struct net_device *lower = netdev_next_lower_dev_rcu(dev, &at);

	return lower && !netdev_next_lower_dev_rcu(dev, &at) ? lower : NULL;
}

static int erdma_is_this(struct net_device *dev, struct netdev_nested_priv *priv)
{
	return dev == priv->data;
}

/* Is the NIC anywhere below? */
static bool erdma_is_over(struct net_device *dev, struct net_device *nic)
{
	struct netdev_nested_priv priv = { .data = nic };

	return netdev_walk_all_lower_dev_rcu(dev, erdma_is_this, &priv);
}

/* Interfaces that hand on packets as they are, to the one below. */
static bool erdma_is_plain_upper(const struct net_device *dev)
{
	static const char *const kinds[] = { "macvlan", "macvtap", "ipvlan", "ipvtap" };
	const struct rtnl_link_ops *ops = dev->rtnl_link_ops;

	return ops && match_string(kinds, ARRAY_SIZE(kinds), ops->kind) >= 0;
}

/* Which port a bond takes is known if it takes one at a time; between two it may have none. */
static struct net_device *erdma_bond_port(struct net_device *dev, bool *unknown)
{
	const struct bonding *bond = netdev_priv(dev);
	struct net_device *port = erdma_only_lower(dev);
	const struct slave *active;

	if (port || BOND_MODE(bond) != BOND_MODE_ACTIVEBACKUP)
		return port;
	active = rcu_dereference(bond->curr_active_slave);
	*unknown = !active;
	return active ? active->dev : NULL;
}

static struct net_device *erdma_port_of_bridge(struct net_device *dev, const u8 *mac, bool *unknown)
{
	struct net_device *port = erdma_only_lower(dev);

	if (!port && mac)
		port = erdma_bridge_port(dev, mac);
	*unknown = !port;
	return port;
}

/* The next one on the way down, or NULL at the end of what is known, or of what may be known. */
static struct net_device *erdma_next_lower(struct net_device *dev, const u8 *mac, bool *unknown)
{
	if (is_vlan_dev(dev))
		return vlan_dev_real_dev(dev);
	if (erdma_is_plain_upper(dev))
		return erdma_only_lower(dev);
	if (netif_is_bond_master(dev))
		return erdma_bond_port(dev, unknown);
	if (netif_is_bridge_master(dev))
		return erdma_port_of_bridge(dev, mac, unknown);
	return NULL;
}

enum erdma_way erdma_route_way(const struct erdma_adapter *ad, struct net_device *dev,
			       const u8 *mac)
{
	struct net_device *nic = READ_ONCE(ad->netdev), *next;
	bool unknown = false;
	unsigned int depth;

	for (depth = 0; depth <= ERDMA_ROUTE_DEPTH; depth++) {
		if ((dev->flags & IFF_LOOPBACK) || netif_is_l3_master(dev))
			return ERDMA_WAY_LOCAL;
		if (dev == nic)
			return ERDMA_WAY_NIC;
		next = erdma_next_lower(dev, mac, &unknown);
		if (!next)
			return unknown && nic && erdma_is_over(dev, nic) ? ERDMA_WAY_UNKNOWN :
									   ERDMA_WAY_OTHER;
		dev = next;
	}
	return ERDMA_WAY_OTHER;
}

/* ---- routes ---- */

/* The interface that has the address; under RCU. */
static struct net_device *erdma_dev_of6(struct net *net, const struct in6_addr *ip)
{
#if IS_ENABLED(CONFIG_IPV6)
	struct net_device *dev;

	for_each_netdev_rcu(net, dev) {
		struct inet6_dev *in6_dev = __in6_dev_get(dev);
		const struct inet6_ifaddr *ifa;
		bool found = false;

		if (!in6_dev)
			continue;
		read_lock_bh(&in6_dev->lock);
		list_for_each_entry(ifa, &in6_dev->addr_list, if_list)
			found = found || ipv6_addr_equal(&ifa->addr, ip);
		read_unlock_bh(&in6_dev->lock);
		if (found)
			return dev;
	}
#endif
	return NULL;
}

/* Does routing prefer another NIC, whatever the source address is?  Under RCU. */
static bool erdma_is_led_astray(const struct erdma_adapter *ad, struct net *net, __be32 own,
				__be32 peer)
{
	struct flowi4 flow = { .saddr = own, .daddr = peer };
	struct rtable *route = ip_route_output_key(net, &flow);
	bool other;

	if (IS_ERR(route))
		return false;
	other = erdma_route_way(ad, route->dst.dev, NULL) == ERDMA_WAY_OTHER;
	ip_rt_put(route);
	return other;
}

int erdma_route_bind_index(const struct erdma_adapter *ad, struct net *net,
			   const struct in6_addr *own, const struct in6_addr *peer)
{
	bool ipv4 = ipv6_addr_v4mapped(own);
	struct net_device *dev;
	int index = 0;

	/* The scope says where a link-local address is. */
	if (ipv6_addr_type(own) & IPV6_ADDR_LINKLOCAL)
		return 0;
	rcu_read_lock();
	dev = ipv4 ? __ip_dev_find(net, own->s6_addr32[3], false) : erdma_dev_of6(net, own);
	if (dev)
		index = l3mdev_master_ifindex_rcu(dev);
	if (dev && !index && ipv4 && peer && erdma_route_way(ad, dev, NULL) == ERDMA_WAY_NIC &&
	    erdma_is_led_astray(ad, net, own->s6_addr32[3], peer->s6_addr32[3]))
		index = dev->ifindex;
	rcu_read_unlock();
	return index;
}

/* The peer's address, as large as the family's addresses are. */
static const void *erdma_peer_of(const struct sock *sk)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		return &sk->sk_v6_daddr;
#endif
	return &inet_sk(sk)->inet_daddr;
}

/* The way out, and the name of the interface for a message; under RCU. */
static enum erdma_way erdma_way_out(const struct erdma_adapter *ad, struct dst_entry *dst,
				    const struct sock *sk, char *name)
{
	u8 mac[MAX_ADDR_LEN];
	enum erdma_way way;
	struct neighbour *n;
	bool known = false;

	strscpy(name, dst->dev->name, IFNAMSIZ);
	/* Encrypted, or in a tunnel. */
	if (dst_xfrm(dst) || dst->lwtstate)
		return ERDMA_WAY_OTHER;
	way = erdma_route_way(ad, dst->dev, NULL);
	if (way != ERDMA_WAY_UNKNOWN)
		return way;
	n = dst_neigh_lookup(dst, erdma_peer_of(sk));
	if (n) {
		known = READ_ONCE(n->nud_state) & NUD_VALID;
		neigh_ha_snapshot(mac, n, dst->dev);
		neigh_release(n);
	}
	return known ? erdma_route_way(ad, dst->dev, mac) : way;
}

/*
 * Does what comes in fit what goes out?  Replies that leave by another NIC than the one where the
 * requests arrive show the adapter one half of a connection.  A VRF shows itself in place of the
 * interface in it.
 */
static bool erdma_way_in_fits(const struct erdma_adapter *ad, struct sock *sk, enum erdma_way out,
			      char *name)
{
	int index = erdma_sock_rx_ifindex(sk);
	struct net_device *dev = index ? dev_get_by_index_rcu(sock_net(sk), index) : NULL;
	enum erdma_way in;

	if (!dev || netif_is_l3_master(dev))
		return true;
	in = erdma_route_way(ad, dev, NULL);
	if (in == out || in == ERDMA_WAY_UNKNOWN ||
	    (out == ERDMA_WAY_UNKNOWN && in == ERDMA_WAY_NIC))
		return true;
	strscpy(name, dev->name, IFNAMSIZ);
	return false;
}

/* ---- translation ---- */

/*
 * Does the connection tracking know the IPv4 socket's connection by other addresses or ports at its
 * other side?  It is asked with a packet, as nothing else can be without depending on its module;
 * one that the kernel translates without it shows nothing.
 */
static bool erdma_is_translated(const struct sock *sk)
{
	const struct inet_sock *inet = inet_sk(sk);
	struct nf_conntrack_tuple back;
	struct sk_buff *skb;
	struct tcphdr *tcp;
	struct iphdr *ip;
	bool translated;

	skb = alloc_skb(sizeof(*ip) + sizeof(*tcp), GFP_KERNEL);
	if (!skb)
		return false;
	skb->dev = sock_net(sk)->loopback_dev;
	skb->protocol = htons(ETH_P_IP);
	skb_reset_network_header(skb);
	ip = skb_put_zero(skb, sizeof(*ip));
	ip->version = 4;
	ip->ihl = sizeof(*ip) / 4;
	ip->tot_len = htons(sizeof(*ip) + sizeof(*tcp));
	ip->protocol = IPPROTO_TCP;
	ip->saddr = inet->inet_saddr;
	ip->daddr = inet->inet_daddr;
	tcp = skb_put_zero(skb, sizeof(*tcp));
	tcp->source = inet->inet_sport;
	tcp->dest = inet->inet_dport;
	tcp->doff = sizeof(*tcp) / 4;

	translated = nf_ct_get_tuple_skb(&back, skb) &&
		     (back.src.u3.ip != inet->inet_daddr || back.src.u.all != inet->inet_dport ||
		      back.dst.u3.ip != inet->inet_saddr || back.dst.u.all != inet->inet_sport);
	skb->dev = NULL;
	kfree_skb(skb);
	return translated;
}

/* ---- both ---- */

static void erdma_tell_refusal(struct erdma_adapter *ad, const struct sock *sk, const char *why,
			       const char *name)
{
	const struct inet_sock *inet = inet_sk(sk);

#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		ibdev_notice_ratelimited(&ad->ib, "no connection [%pI6c]:%u - [%pI6c]:%u: %s%s\n",
					 &inet6_sk(sk)->saddr, ntohs(inet->inet_sport),
					 &sk->sk_v6_daddr, ntohs(inet->inet_dport), why, name);
		return;
	}
#endif
	ibdev_notice_ratelimited(&ad->ib, "no connection %pI4:%u - %pI4:%u: %s%s\n",
				 &inet->inet_saddr, ntohs(inet->inet_sport), &inet->inet_daddr,
				 ntohs(inet->inet_dport), why, name);
}

int erdma_route_check(struct erdma_adapter *ad, struct sock *sk)
{
	struct dst_entry *dst = sk_dst_get(sk);
	bool fits = true, comes = false;
	char name[IFNAMSIZ] = "";

	if (dst) {
		enum erdma_way out;

		rcu_read_lock();
		out = erdma_way_out(ad, dst, sk, name);
		if (out == ERDMA_WAY_OTHER) {
			fits = false;
		} else if (!erdma_way_in_fits(ad, sk, out, name)) {
			fits = false;
			comes = true;
		}
		rcu_read_unlock();
		dst_release(dst);
	}
	if (!fits) {
		erdma_tell_refusal(ad, sk,
				   comes ? "packets arrive not by the paired interface, but by " :
					   "packets do not leave by the paired interface, but by ",
				   name);
		return -ENETUNREACH;
	}
	if (sk->sk_family == AF_INET && erdma_is_translated(sk)) {
		erdma_tell_refusal(ad, sk, "the kernel translates its addresses or ports", "");
		return -EADDRNOTAVAIL;
	}
	return 0;
}

int erdma_route_out_index(struct sock *sk)
{
	struct dst_entry *dst = sk_dst_get(sk);
	int index;

	if (!dst)
		return 0;
	rcu_read_lock();
	index = dst->dev->ifindex;
	rcu_read_unlock();
	dst_release(dst);
	return index;
}

bool erdma_route_lives(const struct erdma_adapter *ad, const struct net *net, int out_index)
{
	struct net_device *dev;
	bool lives;

	if (!out_index)
		return true;
	rcu_read_lock();
	dev = dev_get_by_index_rcu((struct net *)net, out_index);
	lives = dev && erdma_route_way(ad, dev, NULL) != ERDMA_WAY_OTHER;
	rcu_read_unlock();
	return lives;
}
