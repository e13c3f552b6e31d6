/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: queue pairs as objects, with their states (adapter.md 4.7 to 4.10,
 * chapter 9).
 */
#ifndef ERDMA_OBJ_QP_H
#define ERDMA_OBJ_QP_H

#include <linux/in6.h>

#include "erdma_ioctl.h"
#include "erdma_obj_cq.h"

struct erdma_ep;

/* What the driver remembers of a posted send; never read back from the ring. */
struct erdma_sent {
	u64 wr_id;
	u16 start;		/* free-running index of the first WQEBB */
	u8 wqebbs;		/* 0: no entry begins in this slot */
	u8 wc_opcode;
};

/* What the two ends of a connection agreed on. */
struct erdma_terms {
	u8 revision;		/* of MPA */
	u8 fallback;		/* enum erdma_fallback */
	bool crc;		/* FPDUs have CRCs */
	u8 ird, ord;
};

/* What CM hands over with MODIFY_QP(RTS) (adapter.md 4.9, wire.md 1.4 and 1.5). */
struct erdma_handover {
	struct in6_addr own_ip, peer_ip;	/* IPv4 in its mapped form */
	__be32 flow_label;
	__be16 own_port, peer_port;
	u32 send_nxt, recv_nxt;
	u32 peer_cookie;
	u8 cc;
	bool passive;
	struct erdma_terms terms;
};

/* The two ends of a connection, for diagnostics. */
struct erdma_link {
	struct in6_addr own_ip, peer_ip;	/* IPv4 in its mapped form */
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
	atomic_t handed_out;		/* references of erdma_iw_get_qp() that await their owner */
	const void *ufile;		/* open file of the process's context; NULL: kernel */
	struct pid *maker;		/* thread group, referenced; NULL: a kernel thread */

	struct mutex state_lock;	/* guards state, ep; one MODIFY_QP at a time */
	/* Ours; changes under state_lock, read anywhere.  RoCEv2: enum erdma_roce_qp_state. */
	u8 state;
	u8 first_sending;		/* from this state on it takes sends */
	u8 first_stopped;		/* and from this one on it flushes all it takes */
	bool datagram;			/* RoCEv2: UD or GSI, of the kernel */
	u8 cc;
	struct ib_qp_cap cap;
	struct ib_qp_attr attrs;	/* what modify set and query reports */
	bool in_reset;			/* verbs RESET (IDLE has two names) */
	bool dead;			/* the device refused to stop it and gave it up instead */
	bool failed;			/* an AEQE said so; the state follows with the connection */
	struct erdma_ep *ep;		/* connection; under erdma_cm.qp_lock, holds a reference */
	struct erdma_link link;		/* of the connection that it has or had */
	u32 peer_cookie;
	struct erdma_terms terms;
	bool was_connected;		/* link, peer_cookie, terms are set for good */
	u32 event_detail;		/* second word of the event that said `failed` */
	/* RoCEv2, for diagnostics: the source of its address vector */
	union ib_gid own_gid;
	u16 udp_port;			/* 0: it has none yet */

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

static inline struct erdma_qp *to_erdma_qp(struct ib_qp *ib)
{
	return container_of(ib, struct erdma_qp, ib);
}

/*
 * Ring indices of kernel QPs.  One side posts and moves the producer index, the other completes and
 * moves the consumer index; each looks at the other's without its lock, and what an index covers
 * must be visible with it.
 */
static inline u16 erdma_index_seen(const u16 *index)
{
	/* Pairs with erdma_index_move(). */
	return smp_load_acquire(index);
}

static inline void erdma_index_move(u16 *index, u16 value)
{
	/* Pairs with erdma_index_seen(). */
	smp_store_release(index, value);
}

/* A state as /dev/erdma and the tracepoints number it. */
static inline u32 erdma_qp_told_state(const struct erdma_qp *qp, u32 state)
{
	return erdma_is_roce(&qp->ad->dev) ? ERDMA_QP_STATE_ROCE + state : state;
}

/* Referenced, or NULL.  Any context. */
struct erdma_qp *erdma_qp_find(struct erdma_adapter *ad, u32 qpn);
void erdma_qp_put(struct erdma_qp *qp);

/**
 * erdma_qp_is_callers() - May the caller connect this QP?
 * @qp: the QP, referenced
 *
 * Whoever asks names a QP by its number, through a file that has nothing to do with the one that
 * the QP belongs to.  A process's QP is for those who have that file open; one of the kernel is for
 * kernel threads and for the process on whose behalf it was made.
 *
 * Process context.  Looks at every file of a process that is refused, or has inherited the one of
 * the QP: callers hold no lock.
 */
bool erdma_qp_is_callers(const struct erdma_qp *qp);
static inline void erdma_qp_get(struct erdma_qp *qp)
{
	kref_get(&qp->ref);
}

/* Its device completes nothing any more: what was posted is flushed in software.  Any context. */
static inline bool erdma_qp_is_dead(const struct erdma_qp *qp)
{
	return READ_ONCE(qp->dead) || erdma_is_broken(&qp->ad->dev);
}

/* Records a state; the caller holds qp->state_lock. */
void erdma_qp_set_state(struct erdma_qp *qp, u8 state);

/**
 * erdma_qp_give_up() - The device refused to stop a QP: it is made to destroy it at once.
 * @qp: the QP; the caller holds its state_lock
 * @err: what the device said
 *
 * What was posted is then flushed in software, if it is the kernel's; a process hears that its QP
 * has died.  May sleep.
 */
void erdma_qp_give_up(struct erdma_qp *qp, int err);

/**
 * erdma_qp_forget_work() - Begin a kernel QP's rings anew, after the device's RESET of it.
 * @qp: the QP; the caller holds its state_lock
 *
 * What was posted and what completed of it unread is gone (adapter.md 13.3).  May sleep.
 */
void erdma_qp_forget_work(struct erdma_qp *qp);

/**
 * erdma_qp_start() - MODIFY_QP(RTS) with the connection's numbers.
 * @qp: the QP, in IDLE or RTR; the caller holds its state_lock
 * @h: the numbers
 *
 * May sleep.  Return: 0, -EINVAL (state), or as erdma_cmd_exec().
 */
int erdma_qp_start(struct erdma_qp *qp, const struct erdma_handover *h);

/**
 * erdma_qp_stop() - Move a QP to CLOSING, TERMINATE or ERROR as adapter.md 9.2 says.
 * @qp: the QP; the caller holds its state_lock
 * @target: the state
 *
 * Repeated calls succeed.  A QP that the device refuses to stop is dead and in ERROR afterwards.
 * Does not touch the connection: callers use erdma_cm_qp_stopped() after unlocking.  May sleep.
 *
 * Return: 0, or -EINVAL when the state does not allow it.
 */
int erdma_qp_stop(struct erdma_qp *qp, enum erdma_hw_qp_state target);
/**
 * erdma_qp_check_attrs() - May these attributes be set, whatever the state?
 * @qp: the QP
 * @attr: the attributes
 * @mask: which of them
 *
 * Return: 0, -EOPNOTSUPP for what the device lacks, -EINVAL for bad values.
 */
int erdma_qp_check_attrs(const struct erdma_qp *qp, const struct ib_qp_attr *attr, int mask);
/* Keeps attributes that were set, for queries; the caller holds qp->state_lock. */
void erdma_qp_keep_attrs(struct erdma_qp *qp, const struct ib_qp_attr *attr, int mask);
/* The answer to a query, without state and PSNs; the caller holds qp->state_lock. */
void erdma_qp_report(const struct erdma_qp *qp, struct ib_qp_attr *attr,
		     struct ib_qp_init_attr *init);
/* Work was posted to a QP that no longer runs: have it flushed soon.  Any context. */
void erdma_qp_queue_reflush(struct erdma_qp *qp);

/**
 * erdma_qp_init() - Begin a QP, whose CQs are set, and reserve its number.
 * @ad: the adapter
 * @qp: the QP, zeroed otherwise; qp->cap says what the rings really allow
 * @uc: context of the process, or NULL for the kernel's
 * @wanted: what the rings must allow; within the device's limits
 *
 * The number finds nothing until erdma_qp_create().  May sleep.
 *
 * Return: 0, -ENOMEM, or -EBUSY for a second GSI QP; if 0, erdma_qp_free() undoes this and the
 * allocation of rings.
 */
int erdma_qp_init(struct erdma_adapter *ad, struct erdma_qp *qp, const struct erdma_ucontext *uc,
		  const struct ib_qp_cap *wanted);
/* Rings and records of a kernel QP, and the memory of what was posted.  0 or -ENOMEM. */
int erdma_qp_alloc_rings(struct erdma_adapter *ad, struct erdma_qp *qp);

/**
 * erdma_qp_pin_rings() - Pin rings and records of a process.
 * @ad: the adapter
 * @qp: the QP
 * @uc: the process's context
 * @req: where they are
 *
 * May sleep.  Return: 0, -EINVAL for memory that is too small or does not fit, or as pinning fails.
 */
int erdma_qp_pin_rings(struct erdma_adapter *ad, struct erdma_qp *qp, struct erdma_ucontext *uc,
		       const struct erdma_abi_queue_req *req);
/* Where the RQ begins in the one buffer of a process. */
static inline u32 erdma_qp_rq_offset(const struct erdma_qp *qp)
{
	return ALIGN(qp->sq_bytes, SZ_4K);
}

/**
 * erdma_qp_create() - Make a QP known to the device, its CQs and the interrupt handlers.
 * @ad: the adapter
 * @qp: the QP with its rings
 * @uc: context of the process, or NULL for the kernel's
 *
 * May sleep.  Return: 0 or as erdma_cmd_exec().
 */
int erdma_qp_create(struct erdma_adapter *ad, struct erdma_qp *qp, const struct erdma_ucontext *uc);
/* After stop and connection: makes the device give it up, waits for references, frees. */
void erdma_qp_destroy(struct erdma_adapter *ad, struct erdma_qp *qp);
/* Frees a QP that the device does not know (any more); fields not reached yet are zero. */
void erdma_qp_free(struct erdma_adapter *ad, struct erdma_qp *qp);

#endif
