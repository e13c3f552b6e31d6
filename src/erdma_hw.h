/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the adapter defines: registers, doorbells, commands, queue entries (docs/spec/adapter.md).
 * Nothing of the driver's own structure belongs here.
 *
 * Bit fields are GENMASK()s of the word after conversion from its byte order; build and take them apart with
 * FIELD_PREP()/FIELD_GET().  Section numbers in brackets are those of docs/spec/adapter.md.
 */
#ifndef ERDMA_HW_H
#define ERDMA_HW_H

#include <linux/bitfield.h>
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>

#define ERDMA_PCI_VENDOR	0x1ded
#define ERDMA_PCI_DEVICE	0x107f

/* ---- BAR 0 [1.2, 6] ---- */

#define ERDMA_BAR_REGS		0
#define ERDMA_BAR_MSIX		2
#define ERDMA_BAR_MIN_LEN	0x7a000		/* up to and with the one CQ doorbell page */

#define ERDMA_DB_PAGE_BYTES	0x1000
#define ERDMA_SQDB_OFFSET		0x01000
#define ERDMA_SQDB_PAGES	96
#define ERDMA_SQDB_KERNEL_OFFSET 0x5f000	/* all kernel QPs [6.2] */
#define ERDMA_SQDB_SHARED_OFFSET 0x5f000	/* contexts of type SHARED [6.3] */
#define ERDMA_RQDB_OFFSET		0x61000
#define ERDMA_CQDB_OFFSET		0x79000

/* Direct-WQE split of the SQ doorbell space [6.3] */
#define ERDMA_DB_MAX_EXCLUSIVE	64
#define ERDMA_DB_MAX_ENTRIES	496
#define ERDMA_DB_SLOTS_PER_PAGE 16
#define ERDMA_DWQE_MIN_GROUPS	4
#define ERDMA_DWQE_FULL_GROUPS	24

/* ---- Registers [2.2]; 32 bits wide unless said otherwise ---- */

#define ERDMA_R_VERSION		0x00
#define ERDMA_R_PROTO		0x0c
#define ERDMA_R_CTRL		0x10
#define ERDMA_R_STATUS		0x14
#define ERDMA_R_MAC_LO		0x18
#define ERDMA_R_MAC_HI		0x1c
#define ERDMA_R_CMD_SQ_LO	0x20
#define ERDMA_R_CMD_SQ_HI	0x24
#define ERDMA_R_CMD_CQ_LO	0x28
#define ERDMA_R_CMD_CQ_HI	0x2c
#define ERDMA_R_CMD_DEPTH	0x30
#define ERDMA_R_CMD_EQ_DEPTH	0x34
#define ERDMA_R_CMD_EQ_LO	0x38
#define ERDMA_R_CMD_EQ_HI	0x3c
#define ERDMA_R_AEQ_LO		0x40
#define ERDMA_R_AEQ_HI		0x44
#define ERDMA_R_AEQ_ENTRIES	0x48
#define ERDMA_R_DWQE_GROUPS	0x4c
#define ERDMA_R_AEQ_BELL	0x50		/* 64 */
#define ERDMA_R_CMD_SQ_REC	0x60		/* 64 */
#define ERDMA_R_CMD_CQ_REC	0x68		/* 64 */
#define ERDMA_R_CMD_EQ_REC	0x70		/* 64 */
#define ERDMA_R_AEQ_REC		0x78		/* 64 */
#define ERDMA_R_EQ_BELL(n)	(0x100 + 8 * (n)) /* 64; 0 is the command EQ */
#define ERDMA_R_CMD_SQ_BELL	0x200		/* 64 */
#define ERDMA_R_CMD_CQ_BELL	0x300		/* 64 */

#define ERDMA_PROTO_IWARP	0
#define ERDMA_PROTO_ROCE	1
#define ERDMA_CTRL_RESET	BIT(0)
#define ERDMA_CTRL_INIT		BIT(1)
#define ERDMA_STATUS_RESET_DONE	BIT(0)
#define ERDMA_STATUS_INIT_DONE	BIT(1)
#define ERDMA_ALL_ONES		0xffffffffU	/* what reads return when the device is gone */

/* ---- Limits and times ---- */

#define ERDMA_MAX_VECTORS	32
#define ERDMA_MAX_CEQS		31
#define ERDMA_AEQ_DEPTH		4096
#define ERDMA_CEQ_DEPTH		4096
#define ERDMA_CMD_EQ_DEPTH	128
#define ERDMA_CMDQ_OUTSTANDING	128
#define ERDMA_CMD_ENTRY_BYTES	128
#define ERDMA_CMD_TIMEOUT_MS	15000
#define ERDMA_INIT_TIMEOUT_MS	10000
#define ERDMA_POLL_INTERVAL_MS	20

#define ERDMA_MAX_SEND_WR	8192
#define ERDMA_MAX_SEND_SGE	6
#define ERDMA_MAX_RECV_SGE	1
#define ERDMA_MAX_READ_SGE	1
#define ERDMA_MAX_INLINE	96
#define ERDMA_MAX_ORD		128
#define ERDMA_MAX_IRD		128
#define ERDMA_MAX_PD		131072
#define ERDMA_MAX_CONTEXTS	131072
#define ERDMA_MAX_FRMR_PAGES	512
#define ERDMA_MAX_TABLE_PAGES	524288		/* entries of one contiguous table [8.4] */
#define ERDMA_MR_PAGE_SIZES	0x7ffff000UL	/* 4 KiB .. 1 GiB */
#define ERDMA_MAX_QBLOCKS	511
#define ERDMA_QPS_PER_BLOCK	1024
#define ERDMA_MAX_LOG_CQE	20		/* a kernel CQ ring fits the pretended 32 MiB page [11] */
#define ERDMA_MAX_LOG_RECV_WR	15		/* a kernel RQ ring fits the pretended 1 MiB page [11] */
#define ERDMA_MAX_CC		4

/* ---- Doorbells [3.4, 5.2, 6.1] ---- */

#define ERDMA_DB_CMD_PI		GENMASK_ULL(15, 0)

#define ERDMA_DB_EQ_ARM		BIT_ULL(31)
#define ERDMA_DB_EQ_CI		GENMASK_ULL(15, 0)	/* a 16-bit counter in a 24-bit field */

#define ERDMA_SQDB_QPN		GENMASK_ULL(51, 32)
#define ERDMA_SQDB_PI		GENMASK_ULL(15, 0)

#define ERDMA_RQDB_QPN		GENMASK_ULL(63, 32)
#define ERDMA_RQDB_PI		GENMASK_ULL(15, 0)

#define ERDMA_CQDB_IDX		GENMASK_ULL(63, 56)
#define ERDMA_CQDB_CQN		GENMASK_ULL(55, 32)
#define ERDMA_CQDB_ARM		BIT_ULL(31)
#define ERDMA_CQDB_SOL		BIT_ULL(30)
#define ERDMA_CQDB_CMDSN	GENMASK_ULL(29, 28)
#define ERDMA_CQDB_CI		GENMASK_ULL(23, 0)

/* ---- Event queue entries, 16 bytes [5.1] ---- */

#define ERDMA_EQE_BYTES		16
#define ERDMA_EQE_OWNER		BIT(31)		/* of the first LE32, in all kinds */

struct erdma_ceqe {
	__le64 word;
	__le64 rsvd;
} __packed;
static_assert(sizeof(struct erdma_ceqe) == ERDMA_EQE_BYTES);

#define ERDMA_CEQE_CQN		GENMASK_ULL(19, 0)
#define ERDMA_CEQE_PI		GENMASK_ULL(55, 32)

struct erdma_aeqe {
	__le32 header;
	__le32 object;		/* QPN, or CQN for ERDMA_AE_CQ */
	__le32 data1;
	__le32 rsvd;
} __packed;
static_assert(sizeof(struct erdma_aeqe) == ERDMA_EQE_BYTES);

#define ERDMA_AEQE_TYPE		GENMASK(23, 16)
#define ERDMA_AEQE_SUBTYPE	GENMASK(7, 0)

enum {
	ERDMA_AE_QP_FATAL = 0,
	ERDMA_AE_QP_ERQ = 1,
	ERDMA_AE_ACCESS = 2,
	ERDMA_AE_CQ = 3,
	ERDMA_AE_OTHER = 4,
};

/* ---- Completion queue entries, 32 bytes [3.5, 7.4] ---- */

#define ERDMA_CQE_BYTES		32
#define ERDMA_CQE_OWNER		BIT(31)
#define ERDMA_CQE_OPCODE	GENMASK(23, 16)
#define ERDMA_CQE_QTYPE		GENMASK(15, 8)
#define ERDMA_CQE_SYNDROME	GENMASK(7, 0)	/* command status, or syndrome */

enum {
	ERDMA_CQE_QTYPE_SQ = 0,
	ERDMA_CQE_QTYPE_RQ = 1,
	ERDMA_CQE_QTYPE_CMD = 2,
};

struct erdma_cqe {
	__be32 header;
	__be32 qe_idx;	/* 16 bits are significant */
	__be32 qpn;
	union {
		__le32 imm;	/* a number: htonl() of it is the immediate of the sender */
		__be32 inv_stag;
	};
	__be32 byte_count;
	__be32 rsvd[3];
} __packed;
static_assert(sizeof(struct erdma_cqe) == ERDMA_CQE_BYTES);
static_assert(offsetof(struct erdma_cqe, byte_count) == 16);

struct erdma_cmd_cqe {
	__be32 header;
	__be32 sq_index;	/* first WQEBB of the completed entry, masked or free running */
	__be32 resp[4];		/* resp0 low, high; resp1 low, high */
	__be32 rsvd[2];
} __packed;
static_assert(sizeof(struct erdma_cmd_cqe) == ERDMA_CQE_BYTES);
static_assert(offsetof(struct erdma_cmd_cqe, resp) == 8);

/* Syndromes of work completions [7.5] */
enum {
	ERDMA_SYN_OK = 0,
	ERDMA_SYN_GENERAL = 1,
	ERDMA_SYN_RQ_FORMAT = 2,
	ERDMA_SYN_RQ_STAG = 3,
	ERDMA_SYN_RQ_BOUNDS = 4,
	ERDMA_SYN_RQ_RIGHTS = 5,
	ERDMA_SYN_RQ_PD = 6,
	ERDMA_SYN_RQ_WRAP = 7,
	ERDMA_SYN_SQ_FORMAT = 8,
	ERDMA_SYN_SQ_READ_DEPTH = 9,
	ERDMA_SYN_SQ_STAG = 10,
	ERDMA_SYN_SQ_BOUNDS = 11,
	ERDMA_SYN_SQ_RIGHTS = 12,
	ERDMA_SYN_SQ_PD = 13,
	ERDMA_SYN_SQ_WRAP = 14,
	ERDMA_SYN_FLUSHED = 15,
	ERDMA_SYN_RETRIES = 16,
	ERDMA_SYN_COUNT,
};

/* ---- Work queue entries [7.1, 7.3] ---- */

#define ERDMA_WQEBB_BYTES	32
#define ERDMA_MAX_SQE_WQEBBS	4
#define ERDMA_RQE_BYTES		32
#define ERDMA_SGE_BYTES		16
#define ERDMA_DBREC_BYTES	8

/* Opcodes of SQEs (S), of completions (C), or of both [7.1] */
enum {
	ERDMA_OP_WRITE = 0,
	ERDMA_OP_READ = 1,
	ERDMA_OP_SEND = 2,
	ERDMA_OP_SEND_IMM = 3,
	ERDMA_OP_RECV = 4,		/* C: a plain send arrived */
	ERDMA_OP_RECV_IMM = 5,	/* C */
	ERDMA_OP_RECV_INV = 6,		/* C */
	ERDMA_OP_WRITE_IMM = 9,
	ERDMA_OP_RECV_SEND_IMM = 12,	/* C */
	ERDMA_OP_SEND_INV = 13,
	ERDMA_OP_REG_MR = 14,
	ERDMA_OP_LOCAL_INV = 15,
	ERDMA_OP_READ_INV = 16,
	ERDMA_OP_ATOMIC_CAS = 17,
	ERDMA_OP_ATOMIC_FAA = 18,
	ERDMA_OP_COUNT,
};

/* LE64 header of each SQE, stored last */
#define ERDMA_SQE_SGL_LEN	GENMASK_ULL(63, 56)	/* SGEs, or inline bytes */
#define ERDMA_SQE_WQEBB_CNT	GENMASK_ULL(54, 52)
#define ERDMA_SQE_QPN		GENMASK_ULL(51, 32)
#define ERDMA_SQE_OPCODE	GENMASK_ULL(31, 27)
#define ERDMA_SQE_DIRECT	BIT_ULL(26)
#define ERDMA_SQE_INLINE	BIT_ULL(25)
#define ERDMA_SQE_FENCE		BIT_ULL(24)
#define ERDMA_SQE_SE	BIT_ULL(23)
#define ERDMA_SQE_CE	BIT_ULL(22)
#define ERDMA_SQE_PI	GENMASK_ULL(15, 0)

struct erdma_sge {
	__le64 addr;
	__le32 length;
	__le32 stag;
} __packed;
static_assert(sizeof(struct erdma_sge) == ERDMA_SGE_BYTES);

/*
 * First WQEBBs of each kind of SQE.  An SQE may wrap at the ring end between WQEBBs, so build it in a local
 * buffer of ERDMA_MAX_SQE_WQEBBS and copy WQEBB by WQEBB.
 */
struct erdma_sqe_send {
	__le64 header;
	union {
		__be32 imm;		/* SEND_IMM: network order, as it is */
		__le32 inv_stag;	/* SEND_INV */
	};
	__le32 total_len;
	struct erdma_sge sgl[];		/* or inline data */
} __packed;
static_assert(sizeof(struct erdma_sqe_send) == 16);

struct erdma_sqe_write {
	__le64 header;
	__be32 imm;
	__le32 total_len;
	__le32 sink_stag;
	__le32 sink_addr_lo;
	__le32 sink_addr_hi;
	__le32 rsvd;
	struct erdma_sge sgl[];		/* or inline data */
} __packed;
static_assert(sizeof(struct erdma_sqe_write) == 32);

struct erdma_sqe_read {
	__le64 header;
	__le32 inv_stag;		/* READ_INV: local STag to invalidate */
	__le32 len;
	__le32 sink_stag;		/* local */
	__le32 sink_addr_lo;
	__le32 sink_addr_hi;
	__le32 rsvd;
	struct erdma_sge src;		/* remote */
} __packed;
static_assert(sizeof(struct erdma_sqe_read) == 48);
static_assert(offsetof(struct erdma_sqe_read, src) == 32);

struct erdma_sqe_atomic {
	__le64 header;
	__le64 rsvd;
	__le64 swap_add;
	__le64 compare;
	struct erdma_sge remote;
	struct erdma_sge local;
} __packed;
static_assert(sizeof(struct erdma_sqe_atomic) == 64);

struct erdma_sqe_fastreg {
	__le64 header;
	__le64 iova;
	__le32 len;
	__le32 stag;			/* with the new key */
	__le32 attrs;
	__le32 rsvd;
	__le64 pages[];			/* ERDMA_REG_MTT_INLINE */
} __packed;
static_assert(sizeof(struct erdma_sqe_fastreg) == 32);

#define ERDMA_REG_MTT_CNT	GENMASK(31, 12)
#define ERDMA_REG_MTT_TYPE	GENMASK(7, 6)
#define ERDMA_REG_MTT_INLINE	0		/* values of ERDMA_REG_MTT_TYPE */
#define ERDMA_REG_MTT_TABLE	1
#define ERDMA_REG_INLINE_PAGES	4

struct erdma_sqe_local_inv {
	__le64 header;
	__le64 rsvd0;
	__le32 rsvd1;
	__le32 stag;
	__le64 rsvd2;
} __packed;
static_assert(sizeof(struct erdma_sqe_local_inv) == 32);
static_assert(offsetof(struct erdma_sqe_local_inv, stag) == 20);

struct erdma_rqe {
	__le16 pi;			/* free running index + 1 = doorbell PI */
	__le16 rsvd0;
	__le32 qpn;
	__le32 rsvd1[2];
	__le64 addr;
	__le32 length;
	__le32 stag;
} __packed;
static_assert(sizeof(struct erdma_rqe) == ERDMA_RQE_BYTES);
static_assert(offsetof(struct erdma_rqe, addr) == 16);

/* ---- Memory regions [4.11, 8] ---- */

/* STag = index << 8 | key */
#define ERDMA_STAG_INDEX	GENMASK(27, 8)
#define ERDMA_STAG_KEY		GENMASK(7, 0)

enum {
	ERDMA_MR_NORMAL = 0,
	ERDMA_MR_FRMR = 1,
	ERDMA_MR_DMA = 2,
};

/* Rights, where they stand in REG_MR commands and in REG_MR work requests: bits [5:1] of the word */
enum {
	ERDMA_ACCESS_REMOTE_ATOMIC = BIT(1),
	ERDMA_ACCESS_LOCAL_READ = BIT(2),
	ERDMA_ACCESS_LOCAL_WRITE = BIT(3),
	ERDMA_ACCESS_REMOTE_READ = BIT(4),
	ERDMA_ACCESS_REMOTE_WRITE = BIT(5),
};

/* ---- QP states [9.1] ---- */

enum erdma_hw_qp_state {
	ERDMA_QP_IDLE = 0,
	ERDMA_QP_RTR = 1,
	ERDMA_QP_RTS = 2,
	ERDMA_QP_CLOSING = 3,
	ERDMA_QP_TERMINATE = 4,
	ERDMA_QP_ERROR = 5,
};

/* ---- Commands [3.2, 4] ---- */

#define ERDMA_SUB_RDMA		0
#define ERDMA_SUB_COMMON	1

enum {					/* sub-module RDMA */
	ERDMA_CMD_QUERY_DEVICE = 0,
	ERDMA_CMD_CREATE_QP = 1,
	ERDMA_CMD_DESTROY_QP = 2,
	ERDMA_CMD_MODIFY_QP = 3,
	ERDMA_CMD_CREATE_CQ = 4,
	ERDMA_CMD_DESTROY_CQ = 5,
	ERDMA_CMD_REFLUSH = 6,
	ERDMA_CMD_REG_MR = 8,
	ERDMA_CMD_DEREG_MR = 9,
	ERDMA_CMD_QUERY_QPC = 11,
	ERDMA_CMD_QUERY_CQC = 12,
};

enum {					/* sub-module COMMON */
	ERDMA_CMD_CREATE_EQ = 0,
	ERDMA_CMD_DESTROY_EQ = 1,
	ERDMA_CMD_QUERY_FW_INFO = 2,
	ERDMA_CMD_CONF_MTU = 3,
	ERDMA_CMD_GET_STATS = 4,
	ERDMA_CMD_CONF_DEVICE = 5,
	ERDMA_CMD_QUERY_EQC = 6,
	ERDMA_CMD_SET_RETRANS_NUM = 7,
	ERDMA_CMD_ALLOC_DB = 8,
	ERDMA_CMD_FREE_DB = 9,
	ERDMA_CMD_SET_EXT_ATTR = 10,
	ERDMA_CMD_GET_EXT_ATTR = 11,
};

/* Entry header, LE64; the command queue fills it */
#define ERDMA_CMDH_WQEBBS_M1	GENMASK_ULL(54, 52)
#define ERDMA_CMDH_COOKIE	GENMASK_ULL(47, 32)
#define ERDMA_CMDH_SUB		GENMASK_ULL(25, 24)
#define ERDMA_CMDH_OPCODE	GENMASK_ULL(23, 16)
#define ERDMA_CMDH_PI_AFTER	GENMASK_ULL(15, 0)

/* QUERY_DEVICE [4.2] */
#define ERDMA_QD0_LOG_CQE	GENMASK_ULL(47, 40)
#define ERDMA_QD0_FLAGS		GENMASK_ULL(31, 24)
#define ERDMA_QD0_LOG_RECV_WR	GENMASK_ULL(23, 16)
#define ERDMA_QD0_LOG_MR_SIZE	GENMASK_ULL(7, 0)
#define ERDMA_QD1_LOCAL_KEY	GENMASK_ULL(63, 32)
#define ERDMA_QD1_CC		GENMASK_ULL(31, 28)
#define ERDMA_QD1_QBLOCKS	GENMASK_ULL(27, 16)
#define ERDMA_QD1_LOG_MW	GENMASK_ULL(7, 0)

/* Bits of the FLAGS field */
#define ERDMA_CAP_ATOMIC	BIT(7)
#define ERDMA_CAP_QUERY_QC	BIT(6)
#define ERDMA_CAP_MTT_VA	BIT(5)
#define ERDMA_CAP_IPV6		BIT(4)
#define ERDMA_CAP_EXTEND_DB	BIT(3)

/* QUERY_DEVICE, QUERY_FW_INFO: nothing but the header */
struct erdma_cmd_plain {
	__le64 header;
} __packed;

/* CREATE_EQ [4.3] */
struct erdma_cmd_create_eq {
	__le64 header;
	__le64 ring;
	u8 vector;
	u8 eqn;
	u8 log_depth;
	u8 type;
	__le32 rec_lo;
	__le32 rec_hi;
	__le32 rsvd;
} __packed;
static_assert(sizeof(struct erdma_cmd_create_eq) == 32);
static_assert(offsetof(struct erdma_cmd_create_eq, rec_lo) == 20);

#define ERDMA_EQ_TYPE_CEQ	1

/* DESTROY_EQ [4.4] */
struct erdma_cmd_destroy_eq {
	__le64 header;
	__le64 rsvd0;
	u8 vector;
	u8 eqn;
	u8 rsvd1;
	u8 type;
	__le32 rsvd2;
} __packed;
static_assert(sizeof(struct erdma_cmd_destroy_eq) == 24);

/* CREATE_CQ [4.5] */
struct erdma_cmd_create_cq {
	__le64 header;
	__le32 cfg0;
	__le32 buf_lo;
	__le32 buf_hi;
	__le32 cfg1;
	__le64 rec;
	__le32 first_offset;
	__le32 cfg2;
} __packed;
static_assert(sizeof(struct erdma_cmd_create_cq) == 40);
static_assert(offsetof(struct erdma_cmd_create_cq, rec) == 24);

#define ERDMA_CQ0_LOG_DEPTH	GENMASK(31, 24)
#define ERDMA_CQ0_PAGE		GENMASK(23, 20)		/* log2 - 12 */
#define ERDMA_CQ0_CQN		GENMASK(19, 0)
#define ERDMA_CQ1_COUNT		GENMASK(31, 16)
#define ERDMA_CQ1_TABLE		BIT(15)
#define ERDMA_CQ1_DB_VALID	BIT(11)
#define ERDMA_CQ1_EQN		GENMASK(9, 0)
#define ERDMA_CQ2_DB_PAGE	GENMASK(15, 0)
#define ERDMA_CQ_KERNEL_PAGE	13			/* the contiguous ring counts as one 32 MiB page */
#define ERDMA_CQ_MAX_PAGE	13

/* DESTROY_CQ [4.6], DESTROY_QP [4.8], CONF_MTU [4.13], DEREG_MR [4.12]: one word */
struct erdma_cmd_word {
	__le64 header;
	__le32 value;
	__le32 rsvd;
} __packed;
static_assert(sizeof(struct erdma_cmd_word) == 16);

/* CREATE_QP [4.7] */
struct erdma_cmd_create_qp {
	__le64 header;
	__le32 cfg0;
	__le32 cfg1;
	__le32 sq_cfg;
	__le32 rq_cfg;
	__le64 sq_buf;
	__le64 rq_buf;
	__le32 sq_table;
	__le32 rq_table;
	__le64 sq_rec;
	__le64 rq_rec;
	__le64 sq_pages[3];		/* 1..3; page 0 is sq_buf */
	__le64 rq_pages[3];
	__le32 db_pages;
	__le32 type;
} __packed;
static_assert(sizeof(struct erdma_cmd_create_qp) == 120);
static_assert(offsetof(struct erdma_cmd_create_qp, sq_rec) == 48);
static_assert(offsetof(struct erdma_cmd_create_qp, rq_pages) == 88);

#define ERDMA_QP0_LOG_SQ	GENMASK(31, 20)
#define ERDMA_QP0_QPN		GENMASK(19, 0)
#define ERDMA_QP1_LOG_RQ	GENMASK(31, 20)
#define ERDMA_QP1_PD		GENMASK(19, 0)
#define ERDMA_QPQ_PAGE		GENMASK(31, 28)		/* sq_cfg and rq_cfg: log2 - 12 */
#define ERDMA_QPQ_DB_VALID	BIT(25)			/* sq_cfg only */
#define ERDMA_QPQ_CQN		GENMASK(23, 0)
#define ERDMA_QPT_OFFSET	GENMASK(31, 12)		/* the byte offset is OR-ed in unshifted */
#define ERDMA_QPT_COUNT		GENMASK(11, 1)
#define ERDMA_QPT_TABLE		BIT(0)
#define ERDMA_QPD_SQ		GENMASK(31, 16)
#define ERDMA_QPD_RQ		GENMASK(15, 0)
#define ERDMA_QP_KERNEL_PAGE	8			/* the contiguous ring counts as one 1 MiB page */
#define ERDMA_QP_MAX_PAGE	7			/* user rings: 512 KiB */
#define ERDMA_QP_COOKIE		GENMASK_ULL(31, 0)	/* of resp0 */

/* MODIFY_QP, iWARP form [4.9] */
struct erdma_cmd_modify_qp {
	__le64 header;
	__le32 cfg;
	__le32 peer_cookie;
	__be32 peer_ip;
	__be32 own_ip;
	__be16 own_port;
	__be16 peer_port;
	__le32 send_nxt;
	__le32 recv_nxt;
	__le32 rsvd;
} __packed;
static_assert(sizeof(struct erdma_cmd_modify_qp) == 40);
static_assert(offsetof(struct erdma_cmd_modify_qp, own_port) == 24);

#define ERDMA_MODIFY_STATE		GENMASK(31, 24)
#define ERDMA_MODIFY_CC		GENMASK(23, 20)
#define ERDMA_MODIFY_QPN		GENMASK(19, 0)

/* REFLUSH [4.10] */
struct erdma_cmd_reflush {
	__le64 header;
	__le32 qpn;
	__le32 sq_pi;
	__le32 rq_pi;
	__le32 rsvd;
} __packed;
static_assert(sizeof(struct erdma_cmd_reflush) == 24);

/* REG_MR [4.11] */
struct erdma_cmd_reg_mr {
	__le64 header;
	__le32 cfg0;
	__le32 cfg1;
	__le64 start;
	__le32 len_lo;
	__le32 cfg2;
	union {
		__le64 pages[4];	/* level 0 */
		struct {
			__le64 root;	/* levels 1..3 */
			__le32 len_hi;	/* ERDMA_MR0_VERSION = 1 only */
			__le32 count_hi;
		};
	};
} __packed;
static_assert(sizeof(struct erdma_cmd_reg_mr) == 64);
static_assert(offsetof(struct erdma_cmd_reg_mr, pages) == 32);
static_assert(offsetof(struct erdma_cmd_reg_mr, count_hi) == 44);

#define ERDMA_MR0_VALID		BIT(31)
#define ERDMA_MR0_VERSION	GENMASK(30, 28)
#define ERDMA_MR0_KEY		GENMASK(27, 20)
#define ERDMA_MR0_INDEX		GENMASK(19, 0)
#define ERDMA_MR1_PD		GENMASK(31, 12)
#define ERDMA_MR1_TYPE		GENMASK(7, 6)
/* bits [5:1]: ERDMA_ACCESS_* */
#define ERDMA_MR2_PAGE_SHIFT	GENMASK(31, 27)	/* plain log2 */
#define ERDMA_MR2_TABLE_PAGE	GENMASK(26, 24)	/* log2 - 12 */
#define ERDMA_MR2_LEVEL		GENMASK(21, 20)
#define ERDMA_MR2_COUNT		GENMASK(19, 0)	/* low bits; the rest in count_hi */
#define ERDMA_MR2_COUNT_BITS	20
#define ERDMA_MAX_TABLE_LEVEL	3
#define ERDMA_MR_INLINE_PAGES	4

/* DEREG_MR value: these two fields stand where REG_MR has them */

/* GET_STATS, QUERY_QPC, QUERY_CQC, QUERY_EQC: the device writes a block to memory [4.14] */
struct erdma_cmd_dump {
	__le64 header;
	__le32 rsvd0;
	__le32 index;
	__le64 target;
	__le32 target_len;
	__le32 rsvd1;
} __packed;
static_assert(sizeof(struct erdma_cmd_dump) == 32);

struct erdma_dump_head {
	__le16 magic;
	u8 version;
	u8 len;
	__le32 index;
	__le32 rsvd[2];
} __packed;
static_assert(sizeof(struct erdma_dump_head) == 16);

#define ERDMA_DUMP_MAGIC	0x5566
#define ERDMA_STATS_COUNT	11
#define ERDMA_STATS_BYTES	256

/* QUERY_QPC [4.16] */
struct erdma_qpc_ring {
	u8 enabled;
	u8 page_offset;
	u8 page_size;
	u8 depth;
	__le16 pi;
	__le16 ci;
} __packed;

struct erdma_qpc {
	struct erdma_dump_head head;
	struct erdma_qpc_ring sq;
	struct erdma_qpc_ring rq;
	__le16 last_sqe;
	__le16 last_rqe;
	__le16 send_cqes;
	__le16 recv_cqes;
	__le16 tx_packets;
	__le16 rx_packets;
	__le16 error_drops;
	__le16 invalid_drops;
	__le32 retransmits;
	__le32 peer_qpn;
	__le32 pd;
	__le16 fw_sq_pi;
	__le16 fw_sq_ci;
	__le16 fw_rq_ci;
	u8 sq_flushing;
	u8 rq_flushing;
	__le16 sq_flushed;
	__le16 rq_flushed;
	__le32 send_cqn;
	__le32 recv_cqn;
	__le64 addresses[4];		/* SQ, RQ, SQ record, RQ record */
	__le64 records[2];
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
	__le32 pi;
	u8 enabled;
	u8 log_depth;
	u8 owner;
	u8 bad_type;			/* of the last bad doorbell: 0 duplicate, 1 out of order */
	__le32 bad_ci;
	u8 out_of_order;
	u8 duplicates;
	__le16 rsvd;
	__le64 record_addr;
	__le64 record;
} __packed;
static_assert(sizeof(struct erdma_cqc) == 48);

/* QUERY_EQC [4.18]; index 0 is the AEQ, 1 the command EQ, 2 + n completion vector n */
struct erdma_eqc {
	struct erdma_dump_head head;
	__le16 depth;
	__le16 vector;
	u8 suppressed;
	u8 tail_owner;
	u8 head_owner;
	u8 overflow;
	__le32 head_index;
	__le32 tail_index;
	__le64 event_addr;
	__le64 record_addr;
	__le64 record;
} __packed;
static_assert(sizeof(struct erdma_eqc) == 56);

/* SET_EXT_ATTR, GET_EXT_ATTR [4.19]; SET_RETRANS_NUM is a struct erdma_cmd_word */
struct erdma_cmd_ext_attr {
	__le64 header;
	__le32 mask;
	u8 delayed_ack;
	u8 legacy;
	__le16 rsvd;
} __packed;
static_assert(sizeof(struct erdma_cmd_ext_attr) == 16);

#define ERDMA_ATTR_DELAYED_ACK	BIT(0)
#define ERDMA_ATTR_LEGACY	BIT(2)

struct erdma_ext_attrs {
	struct erdma_dump_head head;
	__le32 supported;
	__le32 active;
	u8 delayed_ack;
	u8 rsvd[3];
} __packed;
static_assert(sizeof(struct erdma_ext_attrs) == 28);

#define ERDMA_RETRANSMITS_DEFAULT 24
#define ERDMA_RETRANSMITS_MOST	255

/* CONF_DEVICE [4.20] */
struct erdma_cmd_conf_device {
	__le64 header;
	__le32 cfg;
	__le32 rsvd[5];
} __packed;
static_assert(sizeof(struct erdma_cmd_conf_device) == 32);

#define ERDMA_CONF_PAGE_VALID	BIT(31)
#define ERDMA_CONF_PAGE_SHIFT	GENMASK(4, 0)

/* ALLOC_DB and FREE_DB [4.21] */
struct erdma_cmd_ext_db {
	__le64 header;
	__le32 wanted;
	__le16 rq_page;
	__le16 sq_page;
	__le16 rsvd0;
	__le16 cq_page;
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
