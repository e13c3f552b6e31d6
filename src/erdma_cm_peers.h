/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: which revision of MPA a connection is tried with
 * (docs/spec/wire.md 2.7); for the connection manager.
 */
#ifndef ERDMA_CM_PEERS_H
#define ERDMA_CM_PEERS_H

#include <linux/in6.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#define ERDMA_CM_PEERS		256
#define ERDMA_CM_PEER_SECS	600

/* A destination that did not speak the revision that is tried first, and what it spoke. */
struct erdma_peer {
	struct in6_addr addr;		/* IPv4 in its mapped form */
	__be16 port;
	u8 revision;			/* 0: the entry is free */
	u8 fallback;			/* enum erdma_fallback: why not the first one */
	unsigned long since;		/* jiffies */
};

struct erdma_peers {
	spinlock_t lock;		/* the entries; innermost */
	struct erdma_peer peer[ERDMA_CM_PEERS];
};

void erdma_peers_init(struct erdma_peers *p);

/**
 * erdma_peers_next() - The revision for the next attempt to connect.
 * @p: what is known of destinations
 * @addr: of the destination
 * @port: of the destination
 * @tried: which ones were tried, to be 0 before the first attempt; gets the one returned
 * @fallback: why this one, enum erdma_fallback; written when the destination is known
 *
 * Any context.  Return: the revision, or 0 when there is none to try any more.
 */
u8 erdma_peers_next(struct erdma_peers *p, const struct in6_addr *addr, __be16 port,
		    unsigned int *tried, u8 *fallback);
/* A connection with this revision came about, after this (enum erdma_fallback).  Any context. */
void erdma_peers_worked(struct erdma_peers *p, const struct in6_addr *addr, __be16 port,
			u8 revision, u8 fallback);

#endif
