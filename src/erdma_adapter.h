/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: the adapter as ib_core sees it, with a part for each layer, and the
 * order of all locks.
 *
 * Lock order, outermost first.  A path takes any subset, in this order:
 *
 *    1. erdma_diag_lock         mutex     list of adapters; only ib_device_try_get() inside
 *    2. erdma_ep.lock           mutex     one connection endpoint
 *    3. erdma_qp.state_lock     mutex     state of one QP and its MODIFY_QP commands
 *       erdma_cm.listen_lock    mutex     all listeners; never together with a state_lock
 *    4. erdma_ucontext.lock     mutex     doorbell record pages of one process
 *    5. erdma_dev.block_lock    mutex     the block that the device writes for diagnostics
 *    6. erdma_cmdq waits        sleeping  no spinlock may be held when a command is sent
 *    7. socket locks            sleeping  of the kernel's TCP; nothing that sleeps is called inside
 *    8. erdma_qp.sq_lock        spin irq  send ring of a kernel QP
 *    9. erdma_qp.rq_lock        spin irq  receive ring of a kernel QP
 *   10. erdma_cq.lock           spin irq  completion ring of a kernel CQ
 *   11. erdma_tracker.lock      spin      which objects there are; process context
 *   12. innermost              spin      sk_callback_lock, erdma_cm.qp_lock, erdma_cmdq.lock,
 *                                         erdma_dev.retire_lock, erdma_adapter.db_lock,
 *                                         erdma_roce.ah_lock, the
 *                                         xarrays' own of erdma_adapter.{qps,cqs} and
 *                                         erdma_cm.eps, the iw_cm's
 *
 * The connection manager never takes the RTNL: rdma_cm calls it with locks held that rdma_cm's own
 * netdev notifier takes under the RTNL.  Pairing with the NIC (erdma_netdev.c) happens under the
 * RTNL, with no lock of ours.
 *
 * A QP or CQ that an interrupt handler looks up is referenced under the xarray lock and released
 * with erdma_qp_put()/erdma_cq_put(); destroy waits for the last reference.
 */
#ifndef ERDMA_ADAPTER_H
#define ERDMA_ADAPTER_H

#include <linux/bitmap.h>
#include <linux/etherdevice.h>
#include <linux/idr.h>
#include <linux/netdevice.h>
#include <linux/xarray.h>

#include <rdma/ib_verbs.h>

#include "erdma_dev.h"
#include "erdma_obj_track.h"

#define ERDMA_NAME "erdma"

struct erdma_cm;
struct erdma_health;
struct erdma_rebinding;
struct erdma_roce;

enum erdma_adapter_flags {
	ERDMA_AD_REGISTERED,	/* with ib_core */
	ERDMA_AD_REMOVING,	/* remove or shutdown runs: ib_core gets no events any more */
};

struct erdma_adapter {
	struct ib_device ib;
	struct erdma_dev dev;
	unsigned long flags;		/* enum erdma_adapter_flags bits */

	/* objects; erdma_obj_*.c */
	struct xarray qps;		/* QPN -> struct erdma_qp */
	struct xarray cqs;		/* CQN -> struct erdma_cq */
	u32 next_qpn, next_cqn;		/* cyclic allocation */
	struct ida pdns;
	struct ida mr_ids;
	u32 local_index;		/* taken out of mr_ids for the local DMA key, or 0 */
	struct erdma_tracker tracker;

	/* direct-WQE doorbell pages (adapter.md 6.3); erdma_obj_ctx.c */
	spinlock_t db_lock;
	u32 db_exclusive;		/* number of exclusive pages */
	u32 db_entries;			/* number of slots in divided pages */
	DECLARE_BITMAP(db_page_map, ERDMA_DB_MAX_EXCLUSIVE);
	DECLARE_BITMAP(db_entry_map, ERDMA_DB_MAX_ENTRIES);
	atomic_t num_contexts;
	bool shared_doorbells;		/* everybody may have pages that ring others' queues, too */

	/* one of them, by the device's protocol, the other is NULL */
	struct erdma_cm *cm;		/* iWARP's connections; erdma_cm*.c */
	struct erdma_roce *roce;	/* what RoCEv2 has of its own; erdma_roce*.c */

	/* diagnostics; erdma_diag_*.c */
	struct list_head diag_node;
	struct dentry *debugfs;

	/* what probes it again, until it is used; erdma_rebind.c */
	struct erdma_rebinding *release, *recovery;

	struct erdma_health *health;	/* what devlink shows, or NULL; erdma_health.c */

	/* paired NIC; erdma_netdev.c */
	struct net_device *netdev;	/* or NULL; changes under rtnl, readers hold rtnl or RCU */
	struct notifier_block netdev_nb;
	u32 mtu;
	struct work_struct port_work;	/* port events and CONF_MTU, out of notifier context */
	bool port_active;		/* what consumers were told last; port_work only */
	u32 device_mtu;			/* what the device was told last; port_work only */
	u8 gid_mac[ETH_ALEN];		/* of which ib_core knows the GID; port_work only */
};

static inline struct erdma_adapter *to_erdma(struct ib_device *ib)
{
	return container_of(ib, struct erdma_adapter, ib);
}

static inline struct erdma_adapter *erdma_of_dev(struct erdma_dev *dev)
{
	return container_of(dev, struct erdma_adapter, dev);
}

#endif
