// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which revision of MPA a connection is tried with (docs/spec/wire.md 2.7).
 *
 * Other adapters speak 129, all other iWARP peers 2 or 1, and those close the connection when they
 * read something else.  What a destination spoke is remembered for a while.
 */
#include <linux/jiffies.h>
#include <linux/moduleparam.h>
#include <linux/string.h>
#include <net/ipv6.h>

#include "erdma_cm_peers.h"
#include "erdma_ioctl.h"
#include "erdma_mpa.h"

#define ERDMA_MPA_REV_AUTO 0u

static const u8 erdma_peer_order[] = { ERDMA_MPA_REV_ERDMA, ERDMA_MPA_REV_2, ERDMA_MPA_REV_1 };

static unsigned int erdma_mpa_rev = ERDMA_MPA_REV_AUTO;

static int erdma_mpa_rev_set(const char *text, const struct kernel_param *param)
{
	unsigned int value, i;
	int ret;

	if (sysfs_streq(text, "auto")) {
		WRITE_ONCE(erdma_mpa_rev, ERDMA_MPA_REV_AUTO);
		return 0;
	}
	ret = kstrtouint(text, 10, &value);
	if (ret)
		return ret;
	for (i = 0; i < ARRAY_SIZE(erdma_peer_order); i++) {
		if (value == erdma_peer_order[i]) {
			WRITE_ONCE(erdma_mpa_rev, value);
			return 0;
		}
	}
	return -EINVAL;
}

static int erdma_mpa_rev_get(char *text, const struct kernel_param *param)
{
	unsigned int value = READ_ONCE(erdma_mpa_rev);

	if (value == ERDMA_MPA_REV_AUTO)
		return scnprintf(text, PAGE_SIZE, "auto\n");
	return scnprintf(text, PAGE_SIZE, "%u\n", value);
}

static const struct kernel_param_ops erdma_mpa_rev_ops = {
	.set = erdma_mpa_rev_set,
	.get = erdma_mpa_rev_get,
};

module_param_cb(mpa_rev, &erdma_mpa_rev_ops, NULL, 0644);
MODULE_PARM_DESC(mpa_rev, "MPA revision of connections begun here: 129 (adapters), 2, 1 (standard iWARP), or auto: one after the other (default)");

void erdma_peers_init(struct erdma_peers *p)
{
	spin_lock_init(&p->lock);
}

static bool erdma_peer_is_old(const struct erdma_peer *peer)
{
	return !peer->revision || time_after(jiffies, peer->since + ERDMA_CM_PEER_SECS * HZ);
}

/* The destination's entry, if it is still worth something; under the lock. */
static struct erdma_peer *erdma_peers_find(struct erdma_peers *p, const struct in6_addr *addr,
					   __be16 port)
{
	unsigned int i;

	for (i = 0; i < ERDMA_CM_PEERS; i++) {
		struct erdma_peer *peer = &p->peer[i];

		if (peer->port == port && ipv6_addr_equal(&peer->addr, addr) &&
		    !erdma_peer_is_old(peer))
			return peer;
	}
	return NULL;
}

/* A free entry, or the oldest; under the lock. */
static struct erdma_peer *erdma_peers_room(struct erdma_peers *p)
{
	struct erdma_peer *oldest = &p->peer[0];
	unsigned int i;

	for (i = 0; i < ERDMA_CM_PEERS; i++) {
		struct erdma_peer *peer = &p->peer[i];

		if (erdma_peer_is_old(peer))
			return peer;
		if (time_before(peer->since, oldest->since))
			oldest = peer;
	}
	return oldest;
}

static u8 erdma_peers_known(struct erdma_peers *p, const struct in6_addr *addr, __be16 port,
			    u8 *fallback)
{
	struct erdma_peer *peer;
	u8 revision;

	spin_lock_bh(&p->lock);
	peer = erdma_peers_find(p, addr, port);
	revision = peer ? peer->revision : 0;
	if (peer)
		*fallback = peer->fallback | ERDMA_FALLBACK_KNOWN;
	spin_unlock_bh(&p->lock);
	return revision;
}

u8 erdma_peers_next(struct erdma_peers *p, const struct in6_addr *addr, __be16 port,
		    unsigned int *tried, u8 *fallback)
{
	unsigned int fixed = READ_ONCE(erdma_mpa_rev), i;
	u8 first = fixed;

	if (fixed != ERDMA_MPA_REV_AUTO && *tried)
		return 0;
	if (fixed == ERDMA_MPA_REV_AUTO && !*tried)
		first = erdma_peers_known(p, addr, port, fallback);

	for (i = 0; i < ARRAY_SIZE(erdma_peer_order); i++) {
		u8 revision = erdma_peer_order[i];

		if (*tried & BIT(i) || (!*tried && first && first != revision))
			continue;
		*tried |= BIT(i);
		return revision;
	}
	return 0;
}

void erdma_peers_worked(struct erdma_peers *p, const struct in6_addr *addr, __be16 port,
			u8 revision, u8 fallback)
{
	struct erdma_peer *peer;

	spin_lock_bh(&p->lock);
	peer = erdma_peers_find(p, addr, port);
	if (revision == erdma_peer_order[0]) {
		/* Tried first anyhow. */
		if (peer)
			peer->revision = 0;
	} else {
		if (!peer)
			peer = erdma_peers_room(p);
		peer->addr = *addr;
		peer->port = port;
		peer->revision = revision;
		peer->fallback = fallback & ~ERDMA_FALLBACK_KNOWN;
		peer->since = jiffies;
	}
	spin_unlock_bh(&p->lock);
}
