/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: shared structures.
 *
 * Lock order, outermost first.  A path takes any subset, in this order:
 *
 *   1. erdma_ep.lock          mutex     one connection endpoint (erdma_cm.c)
 *   2. erdma_qp.state_lock    mutex     state of one QP and its MODIFY_QP commands
 *   3. erdma_ucontext.lock    mutex     doorbell record pages of one process
 *   4. erdma_cmdq.* waits     sleeping  no spinlock may be held when a command is sent
 *   5. erdma_qp.sq_lock       spin irq  send ring of a kernel QP
 *   6. erdma_qp.rq_lock       spin irq  receive ring of a kernel QP
 *   7. erdma_cq.lock          spin irq  completion ring of a kernel CQ
 *   8. xarray locks of erdma_adapter.{qps,cqs}, erdma_cmdq.lock (spin, irq safe)
 *
 * Diagnostics have a mutex for their commands, erdma_dev.block_lock, in place 4 above the waits, and
 * erdma_tracker.lock (spin, process context), inside which only erdma_cm.qp_lock is taken.
 *
 * A QP or CQ that an interrupt handler looks up is referenced under the xarray lock or RCU and released with
 * erdma_qp_put()/erdma_cq_put(); destroy waits for the last reference.
 */
#ifndef ERDMA_H
#define ERDMA_H

#include <linux/bitmap.h>
#include <linux/completion.h>
#include <linux/etherdevice.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>
#include <rdma/iw_cm.h>

#include "erdma-abi.h"
#include "erdma_dev.h"
#include "erdma_track.h"

#define ERDMA_NAME "erdma"

struct erdma_adapter;
struct erdma_cm;
struct erdma_ep;

enum erdma_adapter_flags {
	ERDMA_AD_REGISTERED,	/* with ib_core */
	ERDMA_AD_REMOVING,	/* remove or shutdown runs: ib_core gets no events any more */
};

struct erdma_adapter {
	struct ib_device ib;
	struct erdma_dev dev;
	struct net_device *netdev;	/* paired NIC or NULL; changes under rtnl, readers hold rtnl or RCU */
	struct notifier_block netdev_nb;
	unsigned long flags;		/* enum erdma_adapter_flags bits */
	u32 mtu;

	struct xarray qps;		/* QPN -> struct erdma_qp */
	struct xarray cqs;		/* CQN -> struct erdma_cq */
	u32 next_qpn, next_cqn;		/* cyclic allocation */
	struct ida pdns;
	struct ida mr_ids;
	u32 next_mr;

	/* direct-WQE doorbell pages (adapter.md 6.3) */
	spinlock_t db_lock;
	u32 db_exclusive;		/* number of exclusive pages */
	u32 db_entries;			/* number of slots in divided pages */
	DECLARE_BITMAP(db_page_map, ERDMA_DB_MAX_EXCLUSIVE);
	DECLARE_BITMAP(db_entry_map, ERDMA_DB_MAX_ENTRIES);
	atomic_t num_contexts;

	/* connection management */
	struct erdma_cm *cm;		/* private to erdma_cm.c */

	struct work_struct port_work;	/* port events and CONF_MTU, out of notifier context */
	bool port_active;		/* what consumers were told last; port_work only */
	u32 device_mtu;			/* what the device was told last; port_work only */

	/* diagnostics */
	struct list_head diag_node;	/* erdma_ioctl.c */
	struct erdma_tracker tracker;
	struct dentry *debugfs;
};

struct erdma_ucontext {
	struct ib_ucontext ib;
	struct erdma_track track;
	u32 db_type;			/* ERDMA_SDB_* */
	u32 db_index;			/* exclusive page or slot number */
	u16 ext_sq_page, ext_rq_page, ext_cq_page; /* from ALLOC_DB; 0: none */
	struct rdma_user_mmap_entry *sq_mmap, *rq_mmap, *cq_mmap;
	struct mutex lock;		/* guards dbrec_pages */
	struct list_head dbrec_pages;
};

struct erdma_pd {
	struct ib_pd ib;
	struct erdma_track track;
	u32 pdn;
};

/* Doorbell record page of user space, pinned once and shared by the objects of a process. */
struct erdma_user_dbrec {
	struct list_head node;
	struct erdma_ucontext *owner;
	struct ib_umem *umem;
	u64 va;				/* page address */
	unsigned int users;
};

/* Page table of a user buffer or a region, as the device wants it (adapter.md 4.5, 4.7, 8.4). */
struct erdma_pgtable {
	u32 page_shift;
	u32 count;			/* pages */
	u64 first_offset;		/* of byte 0 in page 0 */
	unsigned int level;		/* 0: inline[], 1..3: root */
	u64 inline_pages[4];
	dma_addr_t root;
	/* level 1: one contiguous, coherent or mapped array; levels 2 and 3: pages mapped one by one */
	void *array;
	size_t array_bytes;
	struct erdma_pgtable_page *pages;
	u32 num_pages;
};

struct erdma_mr {
	struct ib_mr ib;
	struct ib_umem *umem;
	u32 index;
	u8 type;			/* ERDMA_MR_* */
	struct erdma_pgtable table;
	u32 fr_pages;			/* fast registration: pages in the list now */
	u32 fr_max;

	/* for diagnostics */
	struct erdma_track track;
	u32 pdn;
	u32 access;			/* IB_ACCESS_* */
	u64 start, length;
};

struct erdma_cq {
	struct ib_cq ib;
	struct erdma_track track;
	u32 cqn;
	u32 depth;			/* entries, power of two */
	u32 assoc_eqn;
	struct kref ref;
	struct completion gone;

	/* kernel */
	spinlock_t lock;
	void *ring;
	dma_addr_t ring_dma;
	struct erdma_dbrec rec;
	u32 ci;				/* free running */
	u32 arm_idx;			/* doorbells so far */
	u32 events;			/* CEQEs so far (CMDSN) */
	u64 skipped;			/* entries of QPs that are gone */
	u64 nonsense;			/* entries that fit no posted work */
	struct list_head senders;	/* kernel QPs that complete here: erdma_qp.scq_node, .rcq_node */
	struct list_head receivers;

	/* user */
	struct ib_umem *umem;
	struct erdma_pgtable table;
	struct erdma_user_dbrec *user_rec;
	dma_addr_t user_rec_dma;
};

/* What the driver remembers of a posted send; never read back from the ring. */
struct erdma_sent {
	u64 wr_id;
	u16 start;		/* free-running index of the first WQEBB */
	u8 wqebbs;		/* 0: no entry begins in this slot */
	u8 wc_opcode;
};

/* What CM hands over with MODIFY_QP(RTS) (adapter.md 4.9, wire.md 1.4 and 1.5). */
struct erdma_handover {
	__be32 own_ip, peer_ip;
	__be16 own_port, peer_port;
	u32 send_nxt, recv_nxt;
	u32 peer_cookie;
	u8 cc;
	bool passive;
};

/* The two ends of a connection, for diagnostics. */
struct erdma_link {
	__be32 own_ip, peer_ip;
	__be16 own_port, peer_port;
	bool passive;
};

struct erdma_qp {
	struct ib_qp ib;
	struct erdma_track track;
	struct erdma_adapter *ad;
	u32 cookie;			/* from CREATE_QP */
	struct kref ref;
	struct completion gone;

	struct mutex state_lock;	/* guards state, ep; one MODIFY_QP at a time */
	enum erdma_hw_qp_state state;	/* ours; changes under state_lock, read anywhere */
	u8 cc;
	struct ib_qp_cap cap;
	struct ib_qp_attr attrs;	/* what modify set and query reports */
	bool in_reset;			/* verbs RESET (IDLE has two names) */
	bool failed;			/* an AEQE said so; the state follows when the connection is torn down */
	struct erdma_ep *ep;		/* connection; under erdma_cm.qp_lock, holds a reference */
	struct erdma_link link;		/* of the connection that it has or had */
	u32 peer_cookie;
	bool was_connected;		/* link and peer_cookie are set and do not change any more */

	struct erdma_cq *scq, *rcq;
	u32 sq_depth;			/* WQEBBs, power of two */
	u32 rq_depth;			/* RQEs, power of two */

	/* kernel */
	spinlock_t sq_lock, rq_lock;
	void *sq, *rq;
	dma_addr_t sq_dma, rq_dma;
	size_t sq_bytes, rq_bytes;
	struct erdma_dbrec sq_rec, rq_rec;
	u16 sq_pi, sq_ci, rq_pi, rq_ci;
	struct erdma_sent *sent;	/* by slot of the first WQEBB; NULL for user QPs */
	u64 *rq_wrids;			/* by ring slot */
	struct list_head scq_node, rcq_node;
	bool sig_all;
	struct delayed_work reflush;

	/* user */
	struct ib_umem *umem, *rq_umem;	/* the two parts of the process's buffer */
	struct erdma_pgtable sq_table, rq_table;
	struct erdma_user_dbrec *user_rec;
	dma_addr_t user_rec_dma;
};

static inline struct erdma_adapter *to_erdma(struct ib_device *ib)
{
	return container_of(ib, struct erdma_adapter, ib);
}

static inline struct erdma_ucontext *to_erdma_ucontext(struct ib_ucontext *ib)
{
	return container_of(ib, struct erdma_ucontext, ib);
}

static inline struct erdma_pd *to_erdma_pd(struct ib_pd *ib)
{
	return container_of(ib, struct erdma_pd, ib);
}

static inline struct erdma_mr *to_erdma_mr(struct ib_mr *ib)
{
	return container_of(ib, struct erdma_mr, ib);
}

static inline struct erdma_cq *to_erdma_cq(struct ib_cq *ib)
{
	return container_of(ib, struct erdma_cq, ib);
}

static inline struct erdma_qp *to_erdma_qp(struct ib_qp *ib)
{
	return container_of(ib, struct erdma_qp, ib);
}

static inline struct erdma_adapter *erdma_of_dev(struct erdma_dev *dev)
{
	return container_of(dev, struct erdma_adapter, dev);
}

/* ---- erdma_diag_conf.c, erdma_ioctl.c ---- */

void erdma_debugfs_init(void);		/* module */
void erdma_debugfs_exit(void);
void erdma_debugfs_add(struct erdma_adapter *ad);
void erdma_debugfs_remove(struct erdma_adapter *ad);
int erdma_diag_init(void);		/* module */
void erdma_diag_exit(void);
void erdma_diag_add(struct erdma_adapter *ad);		/* after registration with ib_core */
void erdma_diag_remove(struct erdma_adapter *ad);	/* before unregistration, which waits for requests under way */

/* ---- erdma_netdev.c ---- */

/* Is the NIC with the adapter's MAC there?  May sleep (rtnl). */
bool erdma_nic_is_there(struct erdma_adapter *ad);
/* Pairs and watches from then on.  -EPROBE_DEFER without a NIC.  Before registration; may sleep (rtnl). */
int erdma_netdev_attach(struct erdma_adapter *ad);
void erdma_netdev_detach(struct erdma_adapter *ad);	/* no port event is under way when it returns */
/* Has port state and MTU looked at again, from a workqueue.  Any context. */
void erdma_port_changed(struct erdma_adapter *ad);

/* ---- erdma_verbs.c, erdma_mr.c ---- */

extern const struct ib_device_ops erdma_device_ops;
void erdma_verbs_init(struct erdma_adapter *ad);	/* object tables, before registration */
void erdma_verbs_cleanup(struct erdma_adapter *ad);	/* after unregistration: everything must be gone */

/* ---- erdma_qp.c ---- */

struct erdma_qp *erdma_qp_find(struct erdma_adapter *ad, u32 qpn);	/* referenced, or NULL; any context */
void erdma_qp_put(struct erdma_qp *qp);
static inline void erdma_qp_get(struct erdma_qp *qp)
{
	kref_get(&qp->ref);
}

/*
 * MODIFY_QP(RTS) with the connection's numbers.  Caller holds qp->state_lock; the QP must be in IDLE or RTR.
 * May sleep.  0, -EINVAL (state), or what erdma_cmd_exec() says.
 */
int erdma_qp_start(struct erdma_qp *qp, const struct erdma_handover *h);
/*
 * Moves the QP to CLOSING, TERMINATE or ERROR as adapter.md 9.2 says; repeated calls succeed.  Caller holds
 * qp->state_lock.  May sleep.  Does not touch the connection: callers use erdma_cm_qp_stopped() after unlocking.
 */
int erdma_qp_stop(struct erdma_qp *qp, enum erdma_hw_qp_state target);

/* ---- erdma_cq.c ---- */

struct erdma_cq *erdma_cq_find(struct erdma_adapter *ad, u32 cqn);	/* referenced, or NULL; any context */
void erdma_cq_put(struct erdma_cq *cq);

/* ---- erdma_cm.c ---- */

int erdma_cm_setup(struct erdma_adapter *ad);
void erdma_cm_shutdown(struct erdma_adapter *ad);	/* after unregistration: no endpoint is left when it returns */
/*
 * The QP left RTS (by verbs) or died (by event): raises CLOSE and closes the socket, from the CM workqueue.
 * Any context.
 */
void erdma_cm_qp_stopped(struct erdma_qp *qp);
int erdma_cm_connect(struct iw_cm_id *id, struct iw_cm_conn_param *param);
int erdma_cm_accept(struct iw_cm_id *id, struct iw_cm_conn_param *param);
int erdma_cm_reject(struct iw_cm_id *id, const void *pdata, u8 pdata_len);
int erdma_cm_listen_start(struct iw_cm_id *id, int backlog);
int erdma_cm_listen_stop(struct iw_cm_id *id);
/* Drops the QP's tie to its endpoint; called by destroy_qp after the QP stopped.  May sleep. */
void erdma_cm_qp_destroyed(struct erdma_qp *qp);

#endif
