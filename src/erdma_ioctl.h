/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR BSD-3-Clause */
/*
 * /dev/erdma: what the driver tells operators about adapters and their objects.  One node serves
 * all adapters.
 *
 * Every request is a structure that begins with its size in bytes.  Structures only ever grow at
 * the end: a driver that knows more fills what fits, one that knows less takes the rest when it is
 * zero and says E2BIG otherwise.  Padding is explicit and zero, pointers are 64 bits wide, so
 * 32-bit programs need no translation.
 *
 * Errors: EFAULT bad pointer, EINVAL bad size, flag, kind or padding, E2BIG a field from the
 * future, ENODEV no such adapter, ENOENT no such object, EPERM rights are missing, EOPNOTSUPP the
 * adapter cannot do it, EIO it is broken.
 */
#ifndef ERDMA_IOCTL_H
#define ERDMA_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define ERDMA_DIAG_NODE "erdma"
#define ERDMA_DIAG_VERSION 1	/* raised when a meaning changes; growth does not count */
#define ERDMA_DIAG_MAGIC 0xED

/* ---- kinds of objects ---- */

enum erdma_kind {
	ERDMA_KIND_DEVICE,	/* cursor: device number */
	ERDMA_KIND_QP,		/* QPN */
	ERDMA_KIND_CQ,		/* CQN */
	ERDMA_KIND_EQ,		/* 0 asynchronous, 1 command, 2 + n completion vector n */
	ERDMA_KIND_MR,		/* index, the STag without its key */
	ERDMA_KIND_PD,		/* PD number */
	ERDMA_KIND_CTX,		/* number of the user context */
	ERDMA_KIND_CEP,		/* connection endpoint; listeners follow at ERDMA_CEP_LISTENERS */
	ERDMA_KIND_COUNTER,	/* position in the list of counters */
	ERDMA_KIND_CONF,	/* position in the list of settings */
	ERDMA_KIND_FINDING,	/* check mode: 0 itself, from 1 on what it found, oldest first */
	ERDMA_KIND_COUNT,
};

#define ERDMA_CEP_LISTENERS 0x100000000ULL

/* ---- requests ---- */

/* Version of the interface and the driver.  Works without any adapter. */
struct erdma_diag_version {
	__u32 size;
	__u32 interface;	/* out: ERDMA_DIAG_VERSION */
	__u32 kinds;		/* out: bit per enum erdma_kind */
	__u32 rings;		/* out: bit per enum erdma_ring */
	__u32 devices;		/* out: adapters that the caller can see */
	__u32 rights;		/* out: ERDMA_RIGHT_* of the caller */
	__u8 driver[32];	/* out: version of the driver, zero-terminated */
};

#define ERDMA_RIGHT_CHANGE	(1U << 0)	/* dump and set are allowed */

/* A page of a list: entries from `cursor` on, in ascending order. */
struct erdma_diag_list {
	__u32 size;
	__u32 flags;		/* ERDMA_LIST_* */
	__u32 kind;
	__u32 device;		/* of what the entries belong to; 0 for ERDMA_KIND_DEVICE */
	__aligned_u64 cursor;	/* in: first that is wanted; out: where to go on */
	__aligned_u64 entries;	/* in: room for `count` entries of `entry_size` bytes */
	__u32 entry_size;	/* in: size of the caller's structure */
	__u32 count;		/* in: room; out: entries */
	__u32 more;		/* out: 1 if there may be more at `cursor` */
	__u32 hidden;		/* out: objects of other users that were left out */
};

#define ERDMA_LIST_HARDWARE	(1U << 0)	/* ask the adapter too: a few commands per entry */
#define ERDMA_LIST_MOST		65536		/* entries in one request */
#define ERDMA_ENTRY_MOST	4096		/* bytes of an entry that a request may ask for */

enum erdma_ring {
	ERDMA_RING_SQ,
	ERDMA_RING_RQ,
	ERDMA_RING_CQ,
	ERDMA_RING_EQ,
	ERDMA_RING_CMD_SQ,
	ERDMA_RING_CMD_CQ,
	ERDMA_RING_COUNT,
};

/*
 * Raw content of a ring, entry (SQ: 32-byte block) by entry.  Needs CAP_NET_ADMIN in the initial
 * namespace.
 */
struct erdma_diag_dump {
	__u32 size;
	__u32 flags;		/* 0 */
	__u32 device;
	__u32 ring;		/* enum erdma_ring */
	__u32 number;		/* QPN, CQN, EQ as in ERDMA_KIND_EQ; 0 for the command queue */
	__u32 first;		/* slot, from 0 */
	__u32 count;		/* in: slots wanted, out: slots given */
	__u32 reserved;		/* 0 */
	__aligned_u64 data;	/* room for `count` entries */
	__u32 data_bytes;	/* in: room at `data` */
	__u32 entry_bytes;	/* out */
	__u32 depth;		/* out: slots of the ring */
	__u32 pi, ci;		/* out: free running; see `known` */
	__u32 known;		/* out: ERDMA_KNOWN_* */
};

/* Changes a setting.  Needs CAP_NET_ADMIN in the initial namespace. */
struct erdma_diag_set {
	__u32 size;
	__u32 flags;		/* 0 */
	__u32 device;
	__u32 reserved;		/* 0 */
	__aligned_u64 value;
	__u8 name[32];		/* zero-terminated, rest zero */
};

/* The size in the number is that of the common head: the structures may grow. */
struct erdma_diag_head {
	__u32 size;
	__u32 word;
};

#define ERDMA_DIAG_GET_VERSION	_IOWR(ERDMA_DIAG_MAGIC, 0, struct erdma_diag_head)
#define ERDMA_DIAG_GET_LIST	_IOWR(ERDMA_DIAG_MAGIC, 1, struct erdma_diag_head)
#define ERDMA_DIAG_GET_DUMP	_IOWR(ERDMA_DIAG_MAGIC, 2, struct erdma_diag_head)
#define ERDMA_DIAG_SET_CONF	_IOWR(ERDMA_DIAG_MAGIC, 3, struct erdma_diag_head)

/* ---- entries ---- */

/* Bits of `known`: what of an entry is meaningful. */
#define ERDMA_KNOWN_SQ_PI	(1U << 0)	/* of a CQ or EQ: its PI */
#define ERDMA_KNOWN_SQ_CI	(1U << 1)	/* of a CQ or EQ: its CI */
#define ERDMA_KNOWN_RQ_PI	(1U << 2)
#define ERDMA_KNOWN_RQ_CI	(1U << 3)
#define ERDMA_KNOWN_ADDRESSES	(1U << 4)
#define ERDMA_KNOWN_DEPTH	(1U << 5)	/* IRD and ORD */
#define ERDMA_KNOWN_HARDWARE	(1U << 6)	/* the `hw` part */
#define ERDMA_KNOWN_IRQ		(1U << 7)
#define ERDMA_KNOWN_ROCE	(1U << 8)	/* the `roce` part, without its PSNs */
#define ERDMA_KNOWN_PSN		(1U << 9)	/* its PSNs */
#define ERDMA_KNOWN_FLOW	(1U << 10)	/* the `flow` part */

struct erdma_info_owner {
	__u32 pid;		/* as the caller sees it; 0: the kernel, or not visible */
	__u32 uid;
	__u32 kernel;		/* 1: belongs to a kernel module, `name` is its name */
	__u32 reserved;
	__u8 name[16];		/* command, zero-terminated; may hold any other bytes */
};

/* IPv4 addresses in their IPv6-mapped form; ports in host order. */
struct erdma_info_link {
	__u8 own[16];
	__u8 peer[16];
	__u16 own_port;
	__u16 peer_port;
	__u32 reserved;
};

#define ERDMA_DEVICE_BROKEN	(1U << 0)	/* gave up: a command timed out or it vanished */
#define ERDMA_DEVICE_UP		(1U << 1)	/* port active */
#define ERDMA_DEVICE_OTHERS	(1U << 2)	/* the caller is shown the objects of other users */

struct erdma_info_device {
	__u32 device;
	__u32 flags;		/* ERDMA_DEVICE_* */
	__u8 name[64];		/* of the RDMA device, zero-terminated */
	__u8 pci[32];		/* zero-terminated */
	__u8 netdev[16];	/* empty: not paired */
	__u8 mac[6];		/* of the adapter */
	__u16 pci_device;
	__u16 pci_vendor;
	__u16 pci_revision;
	__u32 firmware;
	__aligned_u64 guid;	/* network order */
	__u32 mtu;
	__u32 protocol;		/* 0 iWARP, 1 RoCEv2 */
	__u32 capabilities;	/* as QUERY_DEVICE gave them; those of the model at bit 8 and on */
	__u32 direct_groups;	/* credit groups of direct work requests */
	__u32 exclusive_pages;	/* doorbell pages for one process each */
	__u32 divided_slots;	/* slots in divided doorbell pages */
	__u32 vectors;
	__u32 completion_vectors;
	__u32 default_cc;	/* of new connections */
	__u32 device_cc;	/* as the device recommends */
	__u32 max_qp, max_cq, max_mr, max_pd, max_ctx;
	__u32 max_cqe, max_send_wr, max_recv_wr;
	__aligned_u64 max_mr_size;
	__u32 qps, cqs, mrs, pds, contexts, ceps; /* that exist */
	__u32 ahs;		/* RoCEv2: address handles that exist */
	__u32 max_ah;
};

/* What the adapter says of a QP (adapter.md 4.16). */
struct erdma_hw_qp {
	__u16 sq_pi, sq_ci, rq_pi, rq_ci;
	__u16 last_sqe, last_rqe;	/* index of the last completed */
	__u16 send_cqes, recv_cqes;
	__u16 tx_packets, rx_packets;	/* these wrap */
	__u16 error_drops, invalid_drops;
	__u32 retransmits;		/* time-outs of the retransmission timer */
	__u32 peer_qpn;
	__u16 fw_sq_pi, fw_sq_ci, fw_rq_ci;
	__u8 sq_flushing, rq_flushing;
	__u16 sq_flushed, rq_flushed;
	__u8 sq_enabled, rq_enabled;
	__u16 reserved;
};

#define ERDMA_QP_FLAG_FAILED	(1U << 0)	/* the device reported an error */
#define ERDMA_QP_FLAG_RESET	(1U << 1)	/* verbs state RESET */
#define ERDMA_QP_FLAG_PASSIVE	(1U << 2)	/* accepted the connection */
#define ERDMA_QP_FLAG_DATAGRAM	(1U << 3)	/* RoCEv2: UD, or GSI if its number is 1 */
#define ERDMA_QP_FLAG_CRC	(1U << 4)	/* data of the connection has CRCs */

/* RoCEv2: what modify-QP set; numbers as verbs have them. */
struct erdma_roce_qp {
	__u32 peer_qpn;
	__u32 sq_psn, rq_psn;	/* next to send; next expected */
	__u32 flow_label;
	__u16 gid_index;	/* of the source */
	__u16 reserved;
	__u8 path_mtu;		/* 1: 256 octets, 5: 4096 */
	__u8 timeout;		/* 4.096 us << this */
	__u8 retries;
	__u8 rnr_retries;	/* 7: no limit */
	__u8 rnr_timer;		/* code */
	__u8 traffic_class, hop_limit, service_level;
	__u8 mac[6];		/* of the next hop */
	__u16 reserved2;
	__u32 reserved3;
};

#define ERDMA_QP_STATE_ROCE	16		/* added to RoCEv2's states */

/* Why a connection was not opened with the revision of MPA that is tried first. */
enum erdma_fallback {
	ERDMA_FALLBACK_NONE,
	ERDMA_FALLBACK_CLOSED,		/* the peer closed when it read the one before */
	ERDMA_FALLBACK_REVISION,	/* the peer answered it in another revision */
	ERDMA_FALLBACK_KNOWN = 0x80,	/* and that was an earlier connection to the same place */
};

/* What holds the sends of a queue pair. */
enum erdma_limit {
	ERDMA_LIMIT_IDLE,	/* nothing: all that was posted is complete */
	ERDMA_LIMIT_ANSWERS,	/* all is sent; what the peer says is under way */
	ERDMA_LIMIT_TURN,	/* the adapter has not come to it */
	ERDMA_LIMIT_WINDOW,	/* as much is under way as the path is given */
	ERDMA_LIMIT_PEER_WINDOW,	/* the peer takes no more */
	ERDMA_LIMIT_LOSS,	/* what was lost is sent again first */
	ERDMA_LIMIT_PEER_BUFFERS,	/* the peer has no receive buffer */
	ERDMA_LIMIT_REQUESTS,	/* no more reads and atomics may be out, or a fence */
	ERDMA_LIMIT_COUNT,
};

#define ERDMA_FLOW_FLAG_STARVING (1U << 0)	/* a message of the peer waits for a buffer */

/*
 * Where the time of a connection goes, if the adapter tells (docs/capabilities.md).  Octets and
 * nanoseconds; counts and times since the connection was made.
 */
struct erdma_flow_qp {
	__u32 limit;		/* enum erdma_limit: now */
	__u32 flags;		/* ERDMA_FLOW_FLAG_* */
	__u32 frame_bytes;	/* payload of a full frame */
	__u32 reserved;
	__aligned_u64 window;	/* what may be under way: congestion window, or packets */
	__aligned_u64 threshold;	/* of slow start; all ones: none yet */
	__aligned_u64 flight;	/* not acknowledged */
	__aligned_u64 peer_window;
	__aligned_u64 rtt_ns;	/* smoothed; 0: not measured */
	__aligned_u64 rtt_variation_ns;
	__aligned_u64 timeout_ns;	/* of the retransmission timer */
	__aligned_u64 repeats;	/* segments or packets sent again */
	__aligned_u64 recoveries;	/* losses noticed without the timer */
	__aligned_u64 timeouts;	/* of the timer */
	__aligned_u64 not_ready;	/* the peer had no receive buffer, and said so */
	__aligned_u64 out_of_order;	/* segments of the peer */
	__aligned_u64 spent_ns[ERDMA_LIMIT_COUNT];
	__aligned_u64 starved_ns;	/* messages of the peer waited for a receive buffer */
};

struct erdma_info_qp {
	__u32 number;
	__u32 known;
	/*
	 * 0 IDLE, 1 RTR, 2 RTS, 3 CLOSING, 4 TERMINATE, 5 ERROR; RoCEv2: 16 RESET, 17 INIT, 18 RTR,
	 * 19 RTS, 20 SQD, 21 SQE, 22 ERROR
	 */
	__u32 state;
	__u32 flags;		/* ERDMA_QP_FLAG_* */
	__u32 pd, send_cq, recv_cq, cep; /* cep: 0 without connection */
	__u32 sq_depth, rq_depth;	/* blocks of 32 bytes; entries */
	__u16 sq_pi, sq_ci, rq_pi, rq_ci; /* free running */
	__u32 cc;
	__u32 ird, ord;
	__u32 cookie, peer_cookie;
	__u32 reserved;
	__aligned_u64 age_ms;
	struct erdma_info_owner owner;
	struct erdma_info_link link;	/* RoCEv2: GIDs, and UDP ports of what is sent */
	struct erdma_hw_qp hw;
	struct erdma_roce_qp roce;
	__u32 mpa_revision;	/* of the connection that it has or had, 0: none */
	__u32 fallback;		/* enum erdma_fallback */
	/*
	 * If it failed, and the adapter tells: layer << 12 | type << 8 | code of the Terminate, or
	 * 0x10000 | RDMAP opcode of an operation that the peer's dialect does not have
	 */
	__u32 detail;
	__u32 reserved2;
	struct erdma_flow_qp flow;	/* with ERDMA_LIST_HARDWARE */
};

/* What the adapter says of a CQ (adapter.md 4.17). */
struct erdma_hw_cq {
	__u32 pi;
	__u8 enabled, log_depth, owner_bit, bad_doorbell_type;
	__u32 bad_doorbell_ci;
	__u8 out_of_order, duplicates;
	__u16 reserved;
};

struct erdma_info_cq {
	__u32 number;
	__u32 known;
	__u32 depth;
	__u32 eq;		/* as in ERDMA_KIND_EQ */
	__u32 ci;		/* free running (kernel) or of the last doorbell, 24 bits */
	__u32 doorbells;	/* arms so far, kernel CQs only */
	__aligned_u64 events;
	__aligned_u64 skipped;	/* entries of QPs that were gone */
	__aligned_u64 nonsense;	/* entries that fit no posted work */
	__aligned_u64 age_ms;
	struct erdma_info_owner owner;
	struct erdma_hw_cq hw;
};

/* What the adapter says of an EQ (adapter.md 4.18). */
struct erdma_hw_eq {
	__u16 depth, vector;
	__u8 suppressed, tail_owner, head_owner, overflow;
	__u32 head, tail;
};

struct erdma_info_eq {
	__u32 number;
	__u32 known;
	__u32 depth;
	__u32 ci;		/* free running */
	__u32 vector;
	__u32 irq;
	__u32 cpu;		/* where the driver placed the interrupt; ~0: nowhere */
	__u32 reserved;
	__aligned_u64 events;
	__aligned_u64 bad_events; /* entries that named nothing that exists */
	__u8 irq_name[48];
	struct erdma_hw_eq hw;
};

struct erdma_info_mr {
	__u32 number;
	__u32 type;		/* 0 normal, 1 fast registration, 2 all of memory */
	__u32 lkey, rkey;
	__u32 pd;
	__u32 access;		/* IBV_ACCESS_* */
	__u32 page_shift;
	__u32 level;		/* tiers of the page table, 0: in the command */
	__u32 pages;
	__u32 reserved;
	__aligned_u64 start;	/* address by which the owner names it */
	__aligned_u64 length;
	__aligned_u64 age_ms;
	struct erdma_info_owner owner;
};

struct erdma_info_pd {
	__u32 number;
	__u32 users;		/* objects that refer to it */
	__aligned_u64 age_ms;
	struct erdma_info_owner owner;
};

struct erdma_info_ctx {
	__u32 number;
	__u32 doorbell_type;	/* 0 a page of its own, 1 a slot, 2 the shared page */
	__u32 doorbell_index;
	__u32 reserved;
	__u16 sq_page, rq_page, cq_page; /* from the device, 0: none */
	__u16 reserved2;
	__aligned_u64 age_ms;
	struct erdma_info_owner owner;
};

#define ERDMA_CEP_STATE_LISTEN	255

struct erdma_info_cep {
	__aligned_u64 number;	/* a listener's has ERDMA_CEP_LISTENERS set */
	__u32 known;
	/*
	 * 0 new, 1 connecting, 2 waits for the reply, 3 waits for the request, 4 has the request, 5
	 * RDMA, 6 closed
	 */
	__u32 state;
	__u32 qp;		/* 0: none */
	__u32 passive;
	__u32 ird, ord;
	__u32 backlog;		/* listeners */
	__u32 pending;		/* listeners: connections without a complete request */
	__aligned_u64 age_ms;
	__aligned_u64 state_age_ms;
	struct erdma_info_owner owner;
	struct erdma_info_link link;
	__u32 mpa_revision;	/* of the frame that was read, or the request under way */
	__u32 fallback;		/* enum erdma_fallback */
};

/* Where a counter comes from. */
enum erdma_counter_group {
	ERDMA_COUNTER_HW,
	ERDMA_COUNTER_CMDQ,
	ERDMA_COUNTER_EQ,
	ERDMA_COUNTER_CM,
	ERDMA_COUNTER_VERBS,
};

struct erdma_info_counter {
	__u32 number;
	__u32 group;		/* enum erdma_counter_group */
	__aligned_u64 value;
	__u8 name[40];
	__u8 alias[40];		/* the other spelling, or empty */
	__u8 help[96];
};

#define ERDMA_CONF_FLAG_UNKNOWN	(1U << 0)	/* the adapter does not tell the value */
#define ERDMA_CONF_FLAG_GLOBAL	(1U << 1)	/* one value for all adapters */

struct erdma_info_conf {
	__u32 number;
	__u32 flags;
	__aligned_u64 value, least, most;
	__u8 name[32];
	__u8 help[96];
};

enum erdma_finding_severity {
	ERDMA_FINDING_ERROR,	/* a rule of the verbs is broken */
	ERDMA_FINDING_WARNING,	/* fine only for programs that mean it */
	ERDMA_FINDING_ADVICE,	/* slow */
};

#define ERDMA_FINDING_ON	(1U << 0)	/* of number 0: the adapter is in check mode */
#define ERDMA_FINDING_KERNEL	(1U << 1)	/* the queue pair is not of a process */
#define ERDMA_FINDING_GONE	(1U << 2)	/* the queue was destroyed since */

/*
 * What an adapter in check mode (docs/check.md) found.  An adapter that cannot do it has no
 * entries, one that is not in check mode has number 0 only.  Findings about queues that are gone,
 * and about none, are of nobody: who does not see the objects of other users does not see them.
 * What the adapter says that cannot be is left out.
 */
struct erdma_info_finding {
	__u32 number;
	__u32 flags;		/* ERDMA_FINDING_* */
	__u32 total;		/* of number 0: findings there are, of all users */
	__u32 severity;		/* enum erdma_finding_severity */
	__u32 qp, cq;		/* of which queue; both 0: of none */
	__aligned_u64 count;	/* how often it was found */
	__aligned_u64 first_ns;	/* since it was first found, by the adapter's clock */
	__aligned_u64 last_ns;	/* and last; not more than first_ns */
	struct erdma_info_owner owner; /* of the queue; zero when that is gone */
	__u8 id[32];		/* printable, zero-terminated, never empty */
	__u8 advice[160];	/* printable, zero-terminated */
};

#endif
