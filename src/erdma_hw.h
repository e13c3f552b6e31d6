/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the adapter defines: registers, doorbells, commands, queue entries; docs/spec/adapter.md
 * says more.  Nothing of the driver's own structure belongs here.
 *
 * Bit fields are GENMASK()s of the word after conversion from its byte order; build and take them
 * apart with FIELD_PREP()/FIELD_GET().  Section numbers in brackets are those of
 * docs/spec/adapter.md.
 */
#ifndef ERDMA_HW_H
#define ERDMA_HW_H

#include <linux/bitfield.h>
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>

#define ERDMA_PCI_VENDOR	0x1ded		/* Alibaba */
#define ERDMA_PCI_DEVICE	0x107f		/* any subsystem and revision */

/* ---- BAR 0 [1.2, 6] ---- */

#define ERDMA_BAR_REGS		0		/* registers and doorbells */
#define ERDMA_BAR_MSIX		2		/* MSI-X table; the PCI core uses it */
#define ERDMA_BAR_MIN_LEN	0x7a000		/* up to and with the one CQ doorbell page */

#define ERDMA_DB_PAGE_BYTES	0x1000		/* unit in which doorbells are mapped */
#define ERDMA_SQDB_OFFSET		0x01000	/* send doorbells */
#define ERDMA_SQDB_PAGES	96		/* so many pages of them */
#define ERDMA_SQDB_KERNEL_OFFSET 0x5f000	/* all kernel QPs [6.2] */
#define ERDMA_SQDB_SHARED_OFFSET 0x5f000	/* contexts of type SHARED [6.3] */
#define ERDMA_RQDB_OFFSET		0x61000	/* receive doorbells of all QPs */
#define ERDMA_CQDB_OFFSET		0x79000	/* doorbells of all CQs */

/* Direct-WQE split of the SQ doorbell space [6.3] */
#define ERDMA_DB_MAX_EXCLUSIVE	64		/* pages that belong to one context each */
#define ERDMA_DB_MAX_ENTRIES	496		/* slots in pages that contexts share */
#define ERDMA_DB_SLOTS_PER_PAGE 16		/* of 256 bytes; a direct WQE is stored into one */
#define ERDMA_DWQE_MIN_GROUPS	4		/* fewer credit groups: no direct WQEs */
#define ERDMA_DWQE_FULL_GROUPS	24		/* this many or more: both maxima above */

/* ---- Registers [2.2]; 32 bits wide unless said otherwise ---- */

#define ERDMA_R_VERSION		0x00		/* R: 0 means that the function is not usable */
#define ERDMA_R_PROTO		0x0c		/* R: ERDMA_PROTO_* */
#define ERDMA_R_CTRL		0x10		/* W: one ERDMA_CTRL_* bit */
#define ERDMA_R_STATUS		0x14		/* R: ERDMA_STATUS_* bits */
#define ERDMA_R_MAC_LO		0x18 /* R: octets 2 to 5 of the MAC of the paired NIC, 2 on top */
#define ERDMA_R_MAC_HI		0x1c		/* R: octets 0 and 1, in bits 15 to 0 */
#define ERDMA_R_CMD_SQ_LO	0x20		/* W: bus address of the command SQ */
#define ERDMA_R_CMD_SQ_HI	0x24		/* W: high halves are written first */
#define ERDMA_R_CMD_CQ_LO	0x28		/* W: bus address of the command CQ */
#define ERDMA_R_CMD_CQ_HI	0x2c		/* W */
#define ERDMA_R_CMD_DEPTH	0x30		/* W: WQEBBs of the SQ, and entries of the CQ */
#define ERDMA_R_CMD_EQ_DEPTH	0x34		/* W: entries */
#define ERDMA_R_CMD_EQ_LO	0x38		/* W: bus address of the command EQ */
#define ERDMA_R_CMD_EQ_HI	0x3c		/* W */
#define ERDMA_R_AEQ_LO		0x40		/* W: bus address of the asynchronous EQ */
#define ERDMA_R_AEQ_HI		0x44		/* W */
#define ERDMA_R_AEQ_ENTRIES	0x48		/* W: entries */
#define ERDMA_R_DWQE_GROUPS	0x4c		/* R: credit groups for direct WQEs */
#define ERDMA_R_AEQ_BELL	0x50		/* 64 */
#define ERDMA_R_CMD_SQ_REC	0x60		/* 64 */
#define ERDMA_R_CMD_CQ_REC	0x68		/* 64 */
#define ERDMA_R_CMD_EQ_REC	0x70		/* 64 */
#define ERDMA_R_AEQ_REC		0x78		/* 64 */
#define ERDMA_R_EQ_BELL(n)	(0x100 + 8 * (n)) /* 64; 0 is the command EQ */
#define ERDMA_R_CMD_SQ_BELL	0x200		/* 64 */
#define ERDMA_R_CMD_CQ_BELL	0x300		/* 64 */

#define ERDMA_PROTO_IWARP	0		/* RDMA over TCP */
#define ERDMA_PROTO_ROCE	1		/* RoCEv2 */
#define ERDMA_CTRL_RESET	BIT(0)		/* stop all DMA and forget all objects */
#define ERDMA_CTRL_INIT		BIT(1)		/* start with the queues in the registers */
#define ERDMA_STATUS_RESET_DONE	BIT(0)		/* reset is over */
#define ERDMA_STATUS_INIT_DONE	BIT(1)		/* commands work */
#define ERDMA_ALL_ONES		0xffffffffU	/* what reads return when the device is gone */

/* ---- Limits and times ---- */

#define ERDMA_MAX_VECTORS	32 /* MSI-X: 0 for commands and the AEQ, others for CEQs */
#define ERDMA_MAX_CEQS		31		/* completion event queues */
#define ERDMA_AEQ_DEPTH		4096		/* entries */
#define ERDMA_CEQ_DEPTH		4096		/* entries */
#define ERDMA_CMD_EQ_DEPTH	128		/* entries */
#define ERDMA_CMDQ_OUTSTANDING	128		/* commands that the device may have at a time */
#define ERDMA_CMD_ENTRY_BYTES	128		/* of the command SQ */
#define ERDMA_CMD_TIMEOUT_MS	15000		/* for the answer to a command */
#define ERDMA_INIT_TIMEOUT_MS	10000		/* from INIT to INIT_DONE */
#define ERDMA_RESET_TIMEOUT_MS	1000		/* from RESET to INIT_DONE gone */
#define ERDMA_POLL_INTERVAL_MS	20		/* between looks at status and command CQ */

#define ERDMA_MAX_SEND_WR	8192		/* per QP */
#define ERDMA_MAX_SEND_SGE	6		/* segments of a send or write */
#define ERDMA_MAX_RECV_SGE	1		/* segments of a receive */
#define ERDMA_MAX_READ_SGE	1		/* local segments of a read */
#define ERDMA_MAX_INLINE	96		/* bytes of data in a send queue entry */
#define ERDMA_MAX_ORD		128		/* reads and atomics under way, sent */
#define ERDMA_MAX_IRD		128		/* and received */
#define ERDMA_MAX_PD		131072		/* PD numbers are 1 to this */
#define ERDMA_MAX_CONTEXTS	131072		/* processes */
#define ERDMA_MAX_FRMR_PAGES	512		/* pages of a fast registration */
#define ERDMA_MAX_TABLE_PAGES	524288		/* entries of one contiguous table [8.4] */
#define ERDMA_MR_PAGE_SIZES	0x7ffff000UL	/* 4 KiB .. 1 GiB */
#define ERDMA_MAX_QBLOCKS	511		/* QP and CQ numbers have 20 bits */
#define ERDMA_QPS_PER_BLOCK	1024		/* unit of QUERY_DEVICE */
#define ERDMA_MAX_LOG_CQE	20 /* a kernel ring fits the pretended 32 MiB page [11] */
#define ERDMA_MAX_LOG_RECV_WR	15 /* a kernel ring fits the pretended 1 MiB page [11] */
#define ERDMA_MAX_CC		4		/* 0 NewReno, 1 Cubic, 2 to 4 HPCC */

/* ---- Doorbells [3.4, 5.2, 6.1] ---- */

#define ERDMA_DB_CMD_PI		GENMASK_ULL(15, 0)	/* command SQ: behind the last entry */

#define ERDMA_DB_EQ_ARM		BIT_ULL(31)	/* interrupt at the next entry, or now if CI lags */
#define ERDMA_DB_EQ_CI		GENMASK_ULL(15, 0)	/* a 16-bit counter in a 24-bit field */

#define ERDMA_SQDB_QPN		GENMASK_ULL(51, 32)	/* send doorbell: whose */
#define ERDMA_SQDB_PI		GENMASK_ULL(15, 0)	/* index behind the last entry, in WQEBBs */

#define ERDMA_RQDB_QPN		GENMASK_ULL(63, 32)	/* receive doorbell: whose; the low half */
#define ERDMA_RQDB_PI		GENMASK_ULL(15, 0)	/* is the first word of the entry */

#define ERDMA_CQDB_IDX		GENMASK_ULL(63, 56)	/* doorbells rung on this CQ so far */
#define ERDMA_CQDB_CQN		GENMASK_ULL(55, 32)	/* CQ doorbell: whose; 0 for commands */
#define ERDMA_CQDB_ARM		BIT_ULL(31)	/* one event for the next completion behind CI */
#define ERDMA_CQDB_SOL		BIT_ULL(30)	/* only for a solicited or failed one */
#define ERDMA_CQDB_CMDSN	GENMASK_ULL(29, 28)	/* events taken so far */
#define ERDMA_CQDB_CI		GENMASK_ULL(23, 0)	/* entries consumed so far */

/* ---- Event queue entries, 16 bytes [5.1] ---- */

#define ERDMA_EQE_BYTES		16
#define ERDMA_EQE_OWNER		BIT(31)		/* of the first LE32, in all kinds */

struct erdma_ceqe {
	__le64 word;		/* ERDMA_EQE_OWNER, ERDMA_CEQE_* */
	__le64 rsvd;
} __packed;
static_assert(sizeof(struct erdma_ceqe) == ERDMA_EQE_BYTES);

#define ERDMA_CEQE_CQN		GENMASK_ULL(19, 0)	/* which CQ has a completion */
#define ERDMA_CEQE_PI		GENMASK_ULL(55, 32)	/* its producer index; not used */

struct erdma_aeqe {
	__le32 header;		/* ERDMA_EQE_OWNER, ERDMA_AEQE_* */
	__le32 object;		/* QPN, or CQN for ERDMA_AE_CQ */
	__le32 data1;		/* of the model: ERDMA_DETAIL_*; hardware: not used */
	__le32 rsvd;
} __packed;
static_assert(sizeof(struct erdma_aeqe) == ERDMA_EQE_BYTES);

/* What the model's Terminate says (layer, type, code), or this and the RDMAP opcode */
#define ERDMA_DETAIL_CRC	0x2002		/* layer 2, code 2 */
#define ERDMA_DETAIL_DIALECT	0x10000		/* the peer's dialect does not have the operation */

#define ERDMA_AEQE_TYPE		GENMASK(23, 16)	/* ERDMA_AE_* */
#define ERDMA_AEQE_SUBTYPE	GENMASK(7, 0)	/* not used */

enum {
	ERDMA_AE_QP_FATAL = 0,		/* the connection failed */
	ERDMA_AE_QP_ERQ = 1,		/* bad entry in a queue */
	ERDMA_AE_ACCESS = 2,		/* forbidden access */
	ERDMA_AE_CQ = 3,		/* a CQ failed */
	ERDMA_AE_OTHER = 4,		/* taken as a failed QP */
};

/* ---- Completion queue entries, 32 bytes [3.5, 7.4] ---- */

#define ERDMA_CQE_BYTES		32
#define ERDMA_CQE_OWNER		BIT(31) /* 1 in the first round of the ring, 0 in the next ... */
#define ERDMA_CQE_OPCODE	GENMASK(23, 16)	/* ERDMA_OP_* */
#define ERDMA_CQE_QTYPE		GENMASK(15, 8)	/* ERDMA_CQE_QTYPE_* */
#define ERDMA_CQE_SYNDROME	GENMASK(7, 0)	/* ERDMA_SYN_*; of a command its status, an errno */

enum {
	ERDMA_CQE_QTYPE_SQ = 0,		/* a send was completed */
	ERDMA_CQE_QTYPE_RQ = 1,		/* a receive was completed */
	ERDMA_CQE_QTYPE_CMD = 2,	/* a command was completed */
};

struct erdma_cqe {
	__be32 header;		/* ERDMA_CQE_*; the device writes it last */
	__be32 qe_idx;	/* 16 bits are significant */
	__be32 qpn;		/* whose work it was */
	union {
		__le32 imm;	/* a number: htonl() of it is the immediate of the sender */
		__be32 inv_stag;	/* RECV_INV: what was invalidated */
	};
	__be32 byte_count;	/* of the message */
	__be32 ud[3];		/* of a received datagram: ERDMA_UDW_*; else 0 */
} __packed;
static_assert(sizeof(struct erdma_cqe) == ERDMA_CQE_BYTES);
static_assert(offsetof(struct erdma_cqe, byte_count) == 16);

struct erdma_cmd_cqe {
	__be32 header;		/* ERDMA_CQE_*; the device writes it last */
	__be32 sq_index;	/* first WQEBB of the completed entry, masked or free running */
	__be32 resp[4];		/* resp0 low, high; resp1 low, high */
	__be32 rsvd[2];
} __packed;
static_assert(sizeof(struct erdma_cmd_cqe) == ERDMA_CQE_BYTES);
static_assert(offsetof(struct erdma_cmd_cqe, resp) == 8);

/* Syndromes of work completions [7.5] */
enum {
	ERDMA_SYN_OK = 0,
	ERDMA_SYN_GENERAL = 1,		/* no more is known */
	ERDMA_SYN_RQ_FORMAT = 2,	/* 2 to 7: a receive, or the remote side */
	ERDMA_SYN_RQ_STAG = 3,		/* no such region */
	ERDMA_SYN_RQ_BOUNDS = 4,	/* outside of the region */
	ERDMA_SYN_RQ_RIGHTS = 5,	/* not allowed by the region */
	ERDMA_SYN_RQ_PD = 6,		/* region of another PD */
	ERDMA_SYN_RQ_WRAP = 7,		/* address and length overflow */
	ERDMA_SYN_SQ_FORMAT = 8,	/* 8 to 14: the same of the local entry */
	ERDMA_SYN_SQ_READ_DEPTH = 9,	/* more reads than agreed */
	ERDMA_SYN_SQ_STAG = 10,
	ERDMA_SYN_SQ_BOUNDS = 11,
	ERDMA_SYN_SQ_RIGHTS = 12,
	ERDMA_SYN_SQ_PD = 13,
	ERDMA_SYN_SQ_WRAP = 14,
	ERDMA_SYN_FLUSHED = 15,		/* the QP stopped before */
	ERDMA_SYN_RETRIES = 16,		/* the peer does not answer */
	ERDMA_SYN_COUNT,
};

/* ---- Work queue entries [7.1, 7.3] ---- */

#define ERDMA_WQEBB_BYTES	32		/* basic block, unit of the SQ */
#define ERDMA_MAX_SQE_WQEBBS	4		/* blocks of one send queue entry */
#define ERDMA_RQE_BYTES		32
#define ERDMA_SGE_BYTES		16
#define ERDMA_DBREC_BYTES	8		/* copy of the last doorbell, in memory */

/* Opcodes of SQEs (S), of completions (C), or of both [7.1] */
enum {
	ERDMA_OP_WRITE = 0,		/* S, C */
	ERDMA_OP_READ = 1,		/* S, C */
	ERDMA_OP_SEND = 2,		/* S, C */
	ERDMA_OP_SEND_IMM = 3,		/* S, C: with immediate data */
	ERDMA_OP_RECV = 4,		/* C: a plain send arrived */
	ERDMA_OP_RECV_IMM = 5,		/* C: a write with immediate arrived */
	ERDMA_OP_RECV_INV = 6,		/* C: a send that invalidated a local STag */
	ERDMA_OP_WRITE_IMM = 9,		/* S, C */
	ERDMA_OP_RECV_SEND_IMM = 12,	/* C: a send with immediate arrived */
	ERDMA_OP_SEND_INV = 13,		/* S, C: invalidates an STag of the peer */
	ERDMA_OP_REG_MR = 14,		/* S, C: fast registration */
	ERDMA_OP_LOCAL_INV = 15,	/* S, C: invalidates a local STag */
	ERDMA_OP_READ_INV = 16,		/* S, C: and invalidates a local STag */
	ERDMA_OP_ATOMIC_CAS = 17,	/* S, C: compare and swap */
	ERDMA_OP_ATOMIC_FAA = 18,	/* S, C: fetch and add */
	ERDMA_OP_COUNT,
};

/* LE64 header of each SQE, stored last */
#define ERDMA_SQE_SGL_LEN	GENMASK_ULL(63, 56)	/* SGEs, or inline bytes */
#define ERDMA_SQE_WQEBB_CNT	GENMASK_ULL(54, 52)	/* blocks of this entry, minus one */
#define ERDMA_SQE_QPN		GENMASK_ULL(51, 32)	/* of the queue it lies in */
#define ERDMA_SQE_OPCODE	GENMASK_ULL(31, 27)	/* ERDMA_OP_* */
#define ERDMA_SQE_DIRECT	BIT_ULL(26)	/* stored into the doorbell page */
#define ERDMA_SQE_INLINE	BIT_ULL(25)	/* the data itself follows */
#define ERDMA_SQE_FENCE		BIT_ULL(24)	/* wait for earlier reads */
#define ERDMA_SQE_SE	BIT_ULL(23)		/* solicited event at the peer */
#define ERDMA_SQE_CE	BIT_ULL(22)		/* report the completion */
#define ERDMA_SQE_PI	GENMASK_ULL(15, 0)	/* index behind this entry */

struct erdma_sge {
	__le64 addr;		/* virtual or, for the DMA key, bus address */
	__le32 length;		/* bytes */
	__le32 stag;		/* of the region */
} __packed;
static_assert(sizeof(struct erdma_sge) == ERDMA_SGE_BYTES);

/*
 * First WQEBBs of each kind of SQE.  An SQE may wrap at the ring end between WQEBBs, so build it in
 * a local buffer of ERDMA_MAX_SQE_WQEBBS and copy WQEBB by WQEBB.
 */
struct erdma_sqe_send {
	__le64 header;		/* ERDMA_SQE_* */
	union {
		__be32 imm;		/* SEND_IMM: network order, as it is */
		__le32 inv_stag;	/* SEND_INV */
	};
	__le32 total_len;	/* bytes of the message */
	struct erdma_sge sgl[];		/* or inline data */
} __packed;
static_assert(sizeof(struct erdma_sqe_send) == 16);

struct erdma_sqe_write {
	__le64 header;		/* ERDMA_SQE_* */
	__be32 imm;		/* WRITE_IMM: network order, as it is */
	__le32 total_len;	/* bytes of the message */
	__le32 sink_stag;	/* remote */
	__le32 sink_addr_lo;	/* remote */
	__le32 sink_addr_hi;
	__le32 rsvd;
	struct erdma_sge sgl[];		/* or inline data */
} __packed;
static_assert(sizeof(struct erdma_sqe_write) == 32);

struct erdma_sqe_read {
	__le64 header;		/* ERDMA_SQE_* */
	__le32 inv_stag;		/* READ_INV: local STag to invalidate */
	__le32 len;		/* bytes */
	__le32 sink_stag;		/* local */
	__le32 sink_addr_lo;
	__le32 sink_addr_hi;
	__le32 rsvd;
	struct erdma_sge src;		/* remote */
} __packed;
static_assert(sizeof(struct erdma_sqe_read) == 48);
static_assert(offsetof(struct erdma_sqe_read, src) == 32);

struct erdma_sqe_atomic {
	__le64 header;		/* ERDMA_SQE_* */
	__le64 rsvd;
	__le64 swap_add;	/* new value, or what is added */
	__le64 compare;		/* CAS: expected value */
	struct erdma_sge remote;	/* 8 bytes, aligned */
	struct erdma_sge local;	/* gets the old value */
} __packed;
static_assert(sizeof(struct erdma_sqe_atomic) == 64);

struct erdma_sqe_fastreg {
	__le64 header;		/* ERDMA_SQE_* */
	__le64 iova;		/* address of the first byte */
	__le32 len;		/* bytes */
	__le32 stag;			/* with the new key */
	__le32 attrs;		/* ERDMA_REG_MTT_*, ERDMA_ACCESS_* */
	__le32 rsvd;
	__le64 pages[];			/* ERDMA_REG_MTT_INLINE */
} __packed;
static_assert(sizeof(struct erdma_sqe_fastreg) == 32);

#define ERDMA_REG_MTT_CNT	GENMASK(31, 12)	/* pages of the region */
#define ERDMA_REG_MTT_TYPE	GENMASK(7, 6)	/* where their addresses are */
#define ERDMA_REG_MTT_INLINE	0		/* values of ERDMA_REG_MTT_TYPE */
#define ERDMA_REG_MTT_TABLE	1		/* in the table given with REG_MR */
#define ERDMA_REG_INLINE_PAGES	4		/* most that fit */

struct erdma_sqe_local_inv {
	__le64 header;		/* ERDMA_SQE_* */
	__le64 rsvd0;
	__le32 rsvd1;
	__le32 stag;		/* what becomes invalid */
	__le64 rsvd2;
} __packed;
static_assert(sizeof(struct erdma_sqe_local_inv) == 32);
static_assert(offsetof(struct erdma_sqe_local_inv, stag) == 20);

struct erdma_rqe {
	__le16 pi;			/* free running index + 1 = doorbell PI */
	__le16 rsvd0;
	__le32 qpn;		/* whose */
	__le32 rsvd1[2];
	__le64 addr;		/* of the one segment */
	__le32 length;		/* bytes */
	__le32 stag;		/* of its region */
} __packed;
static_assert(sizeof(struct erdma_rqe) == ERDMA_RQE_BYTES);
static_assert(offsetof(struct erdma_rqe, addr) == 16);

/* ---- Memory regions [4.11, 8] ---- */

/* STag = index << 8 | key */
#define ERDMA_STAG_INDEX	GENMASK(27, 8)	/* of the region */
#define ERDMA_STAG_KEY		GENMASK(7, 0)	/* chosen by the consumer */

enum {
	ERDMA_MR_NORMAL = 0,		/* pinned memory */
	ERDMA_MR_FRMR = 1,		/* for fast registration */
	ERDMA_MR_DMA = 2,		/* all bus addresses */
};

/*
 * Rights, where they stand in REG_MR commands and in REG_MR work requests: bits [5:1] of the word
 */
enum {
	ERDMA_ACCESS_REMOTE_ATOMIC = BIT(1),
	ERDMA_ACCESS_LOCAL_READ = BIT(2),
	ERDMA_ACCESS_LOCAL_WRITE = BIT(3),
	ERDMA_ACCESS_REMOTE_READ = BIT(4),
	ERDMA_ACCESS_REMOTE_WRITE = BIT(5),
};

/* ---- QP states [9.1] ---- */

enum erdma_hw_qp_state {
	ERDMA_QP_IDLE = 0,		/* created; receives may be posted */
	ERDMA_QP_RTR = 1,		/* waits for its connection */
	ERDMA_QP_RTS = 2,		/* connected */
	ERDMA_QP_CLOSING = 3,		/* ends in order */
	ERDMA_QP_TERMINATE = 4,		/* ends with a Terminate message */
	ERDMA_QP_ERROR = 5,		/* ended; work is flushed */
};

/* ---- Commands [3.2, 4] ---- */

#define ERDMA_SUB_RDMA		0
#define ERDMA_SUB_COMMON	1

enum {					/* sub-module RDMA */
	ERDMA_CMD_QUERY_DEVICE = 0,	/* limits and capabilities */
	ERDMA_CMD_CREATE_QP = 1,
	ERDMA_CMD_DESTROY_QP = 2,
	ERDMA_CMD_MODIFY_QP = 3,	/* next state, with the connection for RTS */
	ERDMA_CMD_CREATE_CQ = 4,
	ERDMA_CMD_DESTROY_CQ = 5,
	ERDMA_CMD_REFLUSH = 6,		/* flush what was posted after the stop */
	ERDMA_CMD_REG_MR = 8,
	ERDMA_CMD_DEREG_MR = 9,
	ERDMA_CMD_QUERY_QPC = 11,	/* context of a QP */
	ERDMA_CMD_QUERY_CQC = 12,	/* context of a CQ */
};

enum {					/* sub-module COMMON */
	ERDMA_CMD_CREATE_EQ = 0,
	ERDMA_CMD_DESTROY_EQ = 1,
	ERDMA_CMD_QUERY_FW_INFO = 2,	/* resp0: firmware version */
	ERDMA_CMD_CONF_MTU = 3,		/* MTU of the paired NIC */
	ERDMA_CMD_GET_STATS = 4,	/* counters */
	ERDMA_CMD_CONF_DEVICE = 5,	/* page size of the host */
	ERDMA_CMD_QUERY_EQC = 6,	/* context of an EQ */
	ERDMA_CMD_SET_RETRANS_NUM = 7,	/* retransmissions before a QP fails */
	ERDMA_CMD_ALLOC_DB = 8,		/* doorbell pages of a context */
	ERDMA_CMD_FREE_DB = 9,
	ERDMA_CMD_SET_EXT_ATTR = 10,	/* delayed ACK, legacy mode */
	ERDMA_CMD_GET_EXT_ATTR = 11,
	ERDMA_CMD_QUERY_CHECK = 192,	/* of the model: one finding of check mode */
	ERDMA_CMD_QUERY_FLOW = 193,	/* of the model: what holds the sends of a QP */
};

/* Entry header, LE64; the command queue fills it */
#define ERDMA_CMDH_WQEBBS_M1	GENMASK_ULL(54, 52)	/* blocks of the entry, minus one */
#define ERDMA_CMDH_COOKIE	GENMASK_ULL(47, 32)	/* wait slot of the host */
#define ERDMA_CMDH_SUB		GENMASK_ULL(25, 24)	/* sub-module */
#define ERDMA_CMDH_OPCODE	GENMASK_ULL(23, 16)	/* ERDMA_CMD_* */
#define ERDMA_CMDH_PI_AFTER	GENMASK_ULL(15, 0)	/* index behind this entry, in WQEBBs */

/* QUERY_DEVICE [4.2] */
#define ERDMA_QD0_MODEL		GENMASK_ULL(63, 56)	/* ERDMA_MODEL_*, 0 in hardware */
#define ERDMA_QD0_LOG_CQE	GENMASK_ULL(47, 40)	/* log2 of entries per CQ */
#define ERDMA_QD0_FLAGS		GENMASK_ULL(31, 24)	/* ERDMA_CAP_* */
#define ERDMA_QD0_LOG_RECV_WR	GENMASK_ULL(23, 16)	/* log2 of receives per QP */
#define ERDMA_QD0_LOG_MR_SIZE	GENMASK_ULL(7, 0)	/* log2 of bytes */
#define ERDMA_QD1_LOCAL_KEY	GENMASK_ULL(63, 32)	/* STag of all memory, for the kernel */
#define ERDMA_QD1_CC		GENMASK_ULL(31, 28)	/* recommended congestion control */
#define ERDMA_QD1_QBLOCKS	GENMASK_ULL(27, 16)	/* blocks of ERDMA_QPS_PER_BLOCK */
#define ERDMA_QD1_LOG_MW	GENMASK_ULL(7, 0)	/* log2 of memory windows */

/* Bits of the FLAGS field */
#define ERDMA_CAP_ATOMIC	BIT(7)		/* atomic operations */
#define ERDMA_CAP_QUERY_QC	BIT(6)		/* QUERY_QPC, QUERY_CQC, QUERY_EQC */
#define ERDMA_CAP_MTT_VA	BIT(5)		/* page tables may be trees */
#define ERDMA_CAP_IPV6		BIT(4)		/* IPv6 in MODIFY_QP */
#define ERDMA_CAP_EXTEND_DB	BIT(3)		/* ALLOC_DB, FREE_DB, CONF_DEVICE */

/* Bits of the MODEL field: what this project's model can beyond (docs/capabilities.md) */
#define ERDMA_MODEL_MPA_CRC	BIT(0)		/* CRCs of FPDUs, if the MPA frames ask for them */
#define ERDMA_MODEL_RFC7306	BIT(1)		/* immediate data, atomics with standard peers */
#define ERDMA_MODEL_CHECK	BIT(2)		/* QUERY_CHECK */
#define ERDMA_MODEL_FLOW	BIT(3)		/* QUERY_FLOW */
#define ERDMA_MODEL_DETAIL	(ERDMA_MODEL_MPA_CRC | ERDMA_MODEL_RFC7306) /* ERDMA_DETAIL_* */

/* QUERY_DEVICE, QUERY_FW_INFO: nothing but the header */
struct erdma_cmd_plain {
	__le64 header;
} __packed;

/* CREATE_EQ [4.3] */
struct erdma_cmd_create_eq {
	__le64 header;
	__le64 ring;		/* bus address */
	u8 vector;		/* MSI-X vector, equal to eqn */
	u8 eqn;			/* 1 to ERDMA_MAX_CEQS */
	u8 log_depth;		/* log2 of entries */
	u8 type;		/* ERDMA_EQ_TYPE_CEQ */
	__le32 rec_lo;		/* bus address of the doorbell record */
	__le32 rec_hi;
	__le32 rsvd;
} __packed;
static_assert(sizeof(struct erdma_cmd_create_eq) == 32);
static_assert(offsetof(struct erdma_cmd_create_eq, rec_lo) == 20);

#define ERDMA_EQ_TYPE_CEQ	1		/* the only type that is created */

/* DESTROY_EQ [4.4] */
struct erdma_cmd_destroy_eq {
	__le64 header;
	__le64 rsvd0;
	u8 vector;		/* as created */
	u8 eqn;			/* as created */
	u8 rsvd1;
	u8 type;		/* as created */
	__le32 rsvd2;
} __packed;
static_assert(sizeof(struct erdma_cmd_destroy_eq) == 24);

/* CREATE_CQ [4.5] */
struct erdma_cmd_create_cq {
	__le64 header;
	__le32 cfg0;		/* ERDMA_CQ0_* */
	__le32 buf_lo;		/* bus address of the one page, or of a list */
	__le32 buf_hi;
	__le32 cfg1;		/* ERDMA_CQ1_* */
	__le64 rec;		/* bus address of the doorbell record */
	__le32 first_offset;	/* of the ring in its first page */
	__le32 cfg2;		/* ERDMA_CQ2_* */
} __packed;
static_assert(sizeof(struct erdma_cmd_create_cq) == 40);
static_assert(offsetof(struct erdma_cmd_create_cq, rec) == 24);

#define ERDMA_CQ0_LOG_DEPTH	GENMASK(31, 24)	/* log2 of entries */
#define ERDMA_CQ0_PAGE		GENMASK(23, 20)		/* log2 - 12 */
#define ERDMA_CQ0_CQN		GENMASK(19, 0)	/* chosen by the host */
#define ERDMA_CQ1_COUNT		GENMASK(31, 16)	/* pages of the ring */
#define ERDMA_CQ1_TABLE		BIT(15)		/* the address is that of a list of pages */
#define ERDMA_CQ1_DB_VALID	BIT(11)		/* cfg2 names a doorbell page */
#define ERDMA_CQ1_EQN		GENMASK(9, 0)	/* where its events go */
#define ERDMA_CQ2_DB_PAGE	GENMASK(15, 0)	/* from ALLOC_DB */
#define ERDMA_CQ_KERNEL_PAGE	13		/* the whole ring counts as one page of 32 MiB */
#define ERDMA_CQ_MAX_PAGE	13		/* user rings: 32 MiB */

/* DESTROY_CQ [4.6], DESTROY_QP [4.8], CONF_MTU [4.13], DEREG_MR [4.12]: one word */
struct erdma_cmd_word {
	__le64 header;
	__le32 value;		/* CQN, QPN, MTU, or ERDMA_MR0_KEY and _INDEX */
	__le32 rsvd;
} __packed;
static_assert(sizeof(struct erdma_cmd_word) == 16);

/* CREATE_QP [4.7] */
struct erdma_cmd_create_qp {
	__le64 header;
	__le32 cfg0;		/* ERDMA_QP0_* */
	__le32 cfg1;		/* ERDMA_QP1_* */
	__le32 sq_cfg;		/* ERDMA_QPQ_* */
	__le32 rq_cfg;		/* ERDMA_QPQ_* */
	__le64 sq_buf;		/* bus address: ring, first page, or list */
	__le64 rq_buf;		/* the same */
	__le32 sq_table;	/* ERDMA_QPT_* */
	__le32 rq_table;	/* ERDMA_QPT_* */
	__le64 sq_rec;		/* bus address of the doorbell record */
	__le64 rq_rec;		/* the same */
	__le64 sq_pages[3];		/* 1..3; page 0 is sq_buf */
	__le64 rq_pages[3];	/* the same */
	__le32 db_pages;	/* ERDMA_QPD_* */
	__le32 type;		/* RoCEv2: ERDMA_QP_TYPE_* */
} __packed;
static_assert(sizeof(struct erdma_cmd_create_qp) == 120);
static_assert(offsetof(struct erdma_cmd_create_qp, sq_rec) == 48);
static_assert(offsetof(struct erdma_cmd_create_qp, rq_pages) == 88);

#define ERDMA_QP0_LOG_SQ	GENMASK(31, 20)	/* log2 of WQEBBs */
#define ERDMA_QP0_QPN		GENMASK(19, 0)	/* chosen by the host */
#define ERDMA_QP1_LOG_RQ	GENMASK(31, 20)	/* log2 of entries */
#define ERDMA_QP1_PD		GENMASK(19, 0)	/* protection domain */
#define ERDMA_QPQ_PAGE		GENMASK(31, 28)		/* sq_cfg and rq_cfg: log2 - 12 */
#define ERDMA_QPQ_DB_VALID	BIT(25)			/* sq_cfg only */
#define ERDMA_QPQ_CQN		GENMASK(23, 0)	/* CQ of this queue */
#define ERDMA_QPT_OFFSET	GENMASK(31, 12)		/* the byte offset is OR-ed in unshifted */
#define ERDMA_QPT_COUNT		GENMASK(11, 1)	/* pages of the ring */
#define ERDMA_QPT_TABLE		BIT(0)		/* the address is that of a list of pages */
#define ERDMA_QPD_SQ		GENMASK(31, 16)	/* doorbell pages from ALLOC_DB */
#define ERDMA_QPD_RQ		GENMASK(15, 0)	/* if ERDMA_QPQ_DB_VALID */
#define ERDMA_QP_KERNEL_PAGE	8		/* the whole ring counts as one page of 1 MiB */
#define ERDMA_QP_MAX_PAGE	7			/* user rings: 512 KiB */
#define ERDMA_QP_COOKIE		GENMASK_ULL(31, 0)	/* of resp0 */

/* MODIFY_QP, iWARP form [4.9] */
struct erdma_cmd_modify_qp {
	__le64 header;
	__le32 cfg;		/* ERDMA_MODIFY_*; all below for RTS only */
	__le32 peer_cookie;	/* from the MPA frames; ERDMA_MODIFY_COOKIE_* with ERDMA_CAP_IPV6 */
	__be32 peer_ip;
	__be32 own_ip;
	__be16 own_port;
	__be16 peer_port;
	__le32 send_nxt;	/* first TCP sequence number to send with */
	__le32 recv_nxt;	/* first TCP sequence number to expect */
	__le32 rsvd[2];
	/* With ERDMA_MODIFY_COOKIE_IPV6, instead of the other addresses */
	__be32 flow_label;
	u8 peer_ip6[16];
	u8 own_ip6[16];
} __packed;
static_assert(sizeof(struct erdma_cmd_modify_qp) == 80);
static_assert(offsetof(struct erdma_cmd_modify_qp, own_port) == 24);
static_assert(offsetof(struct erdma_cmd_modify_qp, peer_ip6) == 48);

#define ERDMA_MODIFY_STATE		GENMASK(31, 24)	/* enum erdma_hw_qp_state */
#define ERDMA_MODIFY_CC		GENMASK(23, 20)	/* congestion control, for RTS */
#define ERDMA_MODIFY_QPN		GENMASK(19, 0)	/* which QP */
#define ERDMA_MODIFY_COOKIE_IPV6	BIT(31)		/* the IPv6 addresses count */
#define ERDMA_MODIFY_COOKIE_QPN		GENMASK(19, 0)	/* what is left of the peer's cookie */

/* REFLUSH [4.10] */
struct erdma_cmd_reflush {
	__le64 header;
	__le32 qpn;		/* whose */
	__le32 sq_pi;		/* flush what lies before these indices */
	__le32 rq_pi;
	__le32 rsvd;
} __packed;
static_assert(sizeof(struct erdma_cmd_reflush) == 24);

/* REG_MR [4.11] */
struct erdma_cmd_reg_mr {
	__le64 header;
	__le32 cfg0;		/* ERDMA_MR0_* */
	__le32 cfg1;		/* ERDMA_MR1_*, ERDMA_ACCESS_* */
	__le64 start;		/* address of the first byte */
	__le32 len_lo;		/* bytes */
	__le32 cfg2;		/* ERDMA_MR2_* */
	union {
		__le64 pages[4];	/* level 0 */
		struct {
			__le64 root;	/* levels 1..3 */
			__le32 len_hi;	/* ERDMA_MR0_VERSION = 1 only */
			__le32 count_hi;	/* the same: pages >> ERDMA_MR2_COUNT_BITS */
		};
	};
} __packed;
static_assert(sizeof(struct erdma_cmd_reg_mr) == 64);
static_assert(offsetof(struct erdma_cmd_reg_mr, pages) == 32);
static_assert(offsetof(struct erdma_cmd_reg_mr, count_hi) == 44);

#define ERDMA_MR0_VALID		BIT(31)		/* of normal regions; 0 for the others */
#define ERDMA_MR0_VERSION	GENMASK(30, 28)	/* 1: the second words of the union count */
#define ERDMA_MR0_KEY		GENMASK(27, 20)	/* low byte of the STag */
#define ERDMA_MR0_INDEX		GENMASK(19, 0)	/* the rest of it */
#define ERDMA_MR1_PD		GENMASK(31, 12)	/* protection domain */
#define ERDMA_MR1_TYPE		GENMASK(7, 6)	/* ERDMA_MR_* */
/* bits [5:1]: ERDMA_ACCESS_* */
#define ERDMA_MR2_PAGE_SHIFT	GENMASK(31, 27)	/* plain log2 */
#define ERDMA_MR2_TABLE_PAGE	GENMASK(26, 24)	/* log2 - 12 */
#define ERDMA_MR2_LEVEL		GENMASK(21, 20)	/* of the page table; 0: addresses in here */
#define ERDMA_MR2_COUNT		GENMASK(19, 0)	/* low bits; the rest in count_hi */
#define ERDMA_MR2_COUNT_BITS	20
#define ERDMA_MAX_TABLE_LEVEL	3		/* deepest tree */
#define ERDMA_MR_INLINE_PAGES	4		/* most pages at level 0 */

/* DEREG_MR value: these two fields stand where REG_MR has them */

/*
 * GET_STATS, QUERY_QPC, QUERY_CQC, QUERY_EQC, QUERY_CHECK, QUERY_FLOW: the device writes a block
 * to memory [4.14]
 */
struct erdma_cmd_dump {
	__le64 header;
	__le32 rsvd0;
	__le32 index;		/* QPN, CQN or number of the EQ */
	__le64 target;		/* bus address for the block */
	__le32 target_len;	/* its bytes */
	__le32 rsvd1;
} __packed;
static_assert(sizeof(struct erdma_cmd_dump) == 32);

struct erdma_dump_head {
	__le16 magic;		/* ERDMA_DUMP_MAGIC */
	u8 version;		/* of the block */
	u8 len;			/* of the block */
	__le32 index;		/* as asked for */
	__le32 rsvd[2];
} __packed;
static_assert(sizeof(struct erdma_dump_head) == 16);

#define ERDMA_DUMP_MAGIC	0x5566		/* the device did write */
#define ERDMA_STATS_COUNT	11		/* counters of 8 bytes behind the head */
#define ERDMA_STATS_BYTES	256		/* longest block of any query */

/* QUERY_QPC [4.16] */
struct erdma_qpc_ring {
	u8 enabled;		/* it runs */
	u8 page_offset;		/* of the ring */
	u8 page_size;		/* log2 - 12 */
	u8 depth;		/* log2 */
	__le16 pi;		/* as the hardware knows it */
	__le16 ci;
} __packed;

struct erdma_qpc {
	struct erdma_dump_head head;
	struct erdma_qpc_ring sq;
	struct erdma_qpc_ring rq;
	__le16 last_sqe;	/* index of the last completed one */
	__le16 last_rqe;
	__le16 send_cqes;	/* completions written */
	__le16 recv_cqes;
	__le16 tx_packets;	/* sent */
	__le16 rx_packets;	/* received */
	__le16 error_drops;	/* dropped: error */
	__le16 invalid_drops;	/* dropped: invalid */
	__le32 retransmits;	/* time-outs */
	__le32 peer_qpn;
	__le32 pd;
	__le16 fw_sq_pi;	/* as the firmware knows it */
	__le16 fw_sq_ci;
	__le16 fw_rq_ci;
	u8 sq_flushing;		/* being flushed */
	u8 rq_flushing;
	__le16 sq_flushed;	/* flushed up to here */
	__le16 rq_flushed;
	__le32 send_cqn;
	__le32 recv_cqn;
	__le64 addresses[4];		/* SQ, RQ, SQ record, RQ record */
	__le64 records[2];	/* values of both doorbell records */
	__le32 own_ip;
	__le32 peer_ip;
	__le16 own_port;
	__le16 peer_port;
} __packed;
static_assert(sizeof(struct erdma_qpc) == 140);
static_assert(offsetof(struct erdma_qpc, retransmits) == 48);
static_assert(offsetof(struct erdma_qpc, send_cqn) == 72);
static_assert(offsetof(struct erdma_qpc, own_ip) == 128);

/* QUERY_CQC [4.17] */
struct erdma_cqc {
	struct erdma_dump_head head;
	__le32 pi;		/* entries written */
	u8 enabled;		/* it runs */
	u8 log_depth;		/* log2 of entries */
	u8 owner;		/* owner bit of this round */
	u8 bad_type;			/* of the last bad doorbell: 0 duplicate, 1 out of order */
	__le32 bad_ci;		/* of that doorbell */
	u8 out_of_order;	/* doorbells with such an IDX */
	u8 duplicates;		/* doorbells with such an IDX */
	__le16 rsvd;
	__le64 record_addr;	/* bus address */
	__le64 record;		/* value of the doorbell record */
} __packed;
static_assert(sizeof(struct erdma_cqc) == 48);

/* QUERY_EQC [4.18]; index 0 is the AEQ, 1 the command EQ, 2 + n completion vector n */
struct erdma_eqc {
	struct erdma_dump_head head;
	__le16 depth;		/* entries */
	__le16 vector;		/* MSI-X vector */
	u8 suppressed;		/* unarmed: no interrupt */
	u8 tail_owner;		/* owner bits */
	u8 head_owner;
	u8 overflow;		/* entries were lost */
	__le32 head_index;	/* consumer */
	__le32 tail_index;	/* producer */
	__le64 event_addr;	/* bus address of the ring */
	__le64 record_addr;	/* bus address */
	__le64 record;		/* value of the doorbell record */
} __packed;
static_assert(sizeof(struct erdma_eqc) == 56);

/* SET_EXT_ATTR, GET_EXT_ATTR [4.19]; SET_RETRANS_NUM is a struct erdma_cmd_word */
struct erdma_cmd_ext_attr {
	__le64 header;
	__le32 mask;		/* ERDMA_ATTR_*: what is set */
	u8 delayed_ack;		/* segments received per ACK */
	u8 legacy;		/* 1: on */
	__le16 rsvd;
} __packed;
static_assert(sizeof(struct erdma_cmd_ext_attr) == 16);

#define ERDMA_ATTR_DELAYED_ACK	BIT(0)		/* delayed_ack counts */
#define ERDMA_ATTR_LEGACY	BIT(2)		/* legacy counts */

struct erdma_ext_attrs {
	struct erdma_dump_head head;
	__le32 supported;	/* ERDMA_ATTR_* */
	__le32 active;		/* ERDMA_ATTR_* */
	u8 delayed_ack;		/* segments received per ACK */
	u8 rsvd[3];
} __packed;
static_assert(sizeof(struct erdma_ext_attrs) == 28);

/* QUERY_CHECK (docs/capabilities.md); index counts findings from 0, the oldest */
struct erdma_check {
	struct erdma_dump_head head;
	u8 on;			/* 1: the device is in check mode */
	u8 severity;		/* 0 error, 1 warning, 2 advice */
	u8 flags;		/* ERDMA_CHECK_* */
	u8 rsvd;
	__le32 total;		/* findings there are; what follows is zero from there on */
	__le32 qpn;		/* of which queue; both 0: of none */
	__le32 cqn;
	__le64 count;		/* how often it was found */
	__le64 first_ns;	/* since it was first found */
	__le64 last_ns;		/* and last */
	u8 id[32];		/* zero-terminated */
	u8 advice[160];		/* zero-terminated */
} __packed;
static_assert(sizeof(struct erdma_check) == 248);
static_assert(offsetof(struct erdma_check, total) == 20);
static_assert(offsetof(struct erdma_check, count) == 32);
static_assert(offsetof(struct erdma_check, id) == 56);

#define ERDMA_CHECK_KERNEL	BIT(0)		/* the queue pair is not of a process */
#define ERDMA_CHECK_GONE	BIT(1)		/* the queue was destroyed since */

#define ERDMA_FLOW_LIMITS	8		/* causes; numbered as enum erdma_limit */

/* QUERY_FLOW (docs/capabilities.md); octets, nanoseconds, counts since the connection */
struct erdma_flow {
	struct erdma_dump_head head;
	u8 limit;		/* what holds it now */
	u8 flags;		/* ERDMA_FLOW_* */
	__le16 rsvd;
	__le32 frame_bytes;	/* payload of a full frame */
	__le64 window;		/* what may be under way */
	__le64 threshold;	/* of slow start; all ones: none yet */
	__le64 flight;		/* not acknowledged */
	__le64 peer_window;
	__le64 rtt_ns;
	__le64 rtt_variation_ns;
	__le64 timeout_ns;	/* of the retransmission timer */
	__le64 repeats;		/* segments or packets sent again */
	__le64 recoveries;	/* losses noticed without the timer */
	__le64 timeouts;	/* of the timer */
	__le64 not_ready;	/* the peer had no receive buffer, and said so */
	__le64 out_of_order;	/* segments of the peer */
	__le64 spent_ns[ERDMA_FLOW_LIMITS];
	__le64 starved_ns;	/* messages of the peer waited here for a receive buffer */
} __packed;
static_assert(sizeof(struct erdma_flow) == 192);
static_assert(offsetof(struct erdma_flow, window) == 24);
static_assert(offsetof(struct erdma_flow, spent_ns) == 120);

#define ERDMA_FLOW_ACTIVE	BIT(0)		/* connected */
#define ERDMA_FLOW_STARVING	BIT(1)		/* a message of the peer waits for a buffer */

#define ERDMA_RETRANSMITS_DEFAULT 24		/* what a device starts with */
#define ERDMA_RETRANSMITS_MOST	255		/* that SET_RETRANS_NUM takes */

/* CONF_DEVICE [4.20] */
struct erdma_cmd_conf_device {
	__le64 header;
	__le32 cfg;		/* ERDMA_CONF_* */
	__le32 rsvd[5];
} __packed;
static_assert(sizeof(struct erdma_cmd_conf_device) == 32);

#define ERDMA_CONF_PAGE_VALID	BIT(31)		/* the shift counts */
#define ERDMA_CONF_PAGE_SHIFT	GENMASK(4, 0)	/* log2 of bytes */

/* ALLOC_DB and FREE_DB [4.21] */
struct erdma_cmd_ext_db {
	__le64 header;
	__le32 wanted;		/* ERDMA_EXT_DB_* */
	__le16 rq_page;		/* FREE_DB: what ALLOC_DB answered */
	__le16 sq_page;		/* the same */
	__le16 rsvd0;
	__le16 cq_page;		/* the same */
	__le32 rsvd1[3];
} __packed;
static_assert(sizeof(struct erdma_cmd_ext_db) == 32);
static_assert(offsetof(struct erdma_cmd_ext_db, cq_page) == 18);

#define ERDMA_EXT_DB_SQ		BIT(0)
#define ERDMA_EXT_DB_RQ		BIT(1)
#define ERDMA_EXT_DB_CQ		BIT(2)
#define ERDMA_EXT_DB_ALL	(ERDMA_EXT_DB_SQ | ERDMA_EXT_DB_RQ | ERDMA_EXT_DB_CQ)
/* resp0; page numbers count host pages from the start of BAR 0 */
#define ERDMA_EXT_DB_RESP_RQ		GENMASK_ULL(63, 48)
#define ERDMA_EXT_DB_RESP_CQ		GENMASK_ULL(47, 32)
#define ERDMA_EXT_DB_RESP_SQ		GENMASK_ULL(15, 0)

#endif
