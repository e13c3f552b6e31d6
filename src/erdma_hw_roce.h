/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the adapter defines in its RoCEv2 personality, beyond and in place of what erdma_hw.h has:
 * chapter 13 of docs/spec/adapter.md, and docs/spec/roce.md 1.7 and 1.9 where an R stands before
 * the section's number.
 */
#ifndef ERDMA_HW_ROCE_H
#define ERDMA_HW_ROCE_H

#include "erdma_hw.h"

/* ---- Limits ---- */

#define ERDMA_GSI_QPN		1		/* the one of the management datagrams */
#define ERDMA_MAX_LOG_GID	8		/* an address vector's index counts on 8 bits */
#define ERDMA_MAX_LOG_AH	16		/* of 2^n numbers the driver keeps a bitmap */
#define ERDMA_QPN_MASK		0xffffff	/* of any peer */
#define ERDMA_PSN_MASK		0xffffff
#define ERDMA_ROCE_MAX_MESSAGE	0x80000000U	/* octets */
#define ERDMA_GRH_AREA		40		/* octets in front of a received datagram */

/* ---- QUERY_DEVICE [4.2] ---- */

#define ERDMA_QD0_LOG_GID	GENMASK_ULL(51, 48)	/* log2 of the GID table */
#define ERDMA_QD0_LOG_AH	GENMASK_ULL(15, 8)	/* log2 of address handles */

/* Bits of GET_EXT_ATTR's supported mask [R 1.9] */
#define ERDMA_ATTR_QPX		BIT(16)		/* MODIFY_QP takes struct erdma_roce_modify whole */
#define ERDMA_ATTR_UDX		BIT(17)		/* VLANs in SET_GID and in datagrams' completions */

/* ---- Queue pair states [13.3, R 1.7]: numbers as in enum ib_qp_state ---- */

enum erdma_roce_qp_state {
	ERDMA_ROCE_RESET = 0,
	ERDMA_ROCE_INIT = 1,
	ERDMA_ROCE_RTR = 2,		/* serves its peer */
	ERDMA_ROCE_RTS = 3,		/* and sends */
	ERDMA_ROCE_SQD = 4,		/* ends what it has begun to send */
	ERDMA_ROCE_SQE = 5,		/* datagrams: a send failed */
	ERDMA_ROCE_ERROR = 6,
};

/* ---- Address vector, 36 octets [13.2] ---- */

struct erdma_av {
	__le32 flow;		/* ERDMA_AV_* */
	u8 traffic_class;
	u8 hop_limit;
	u8 sl;
	u8 rsvd0;
	__le16 udp_port;	/* source port, ERDMA_UDP_* */
	__le16 gid_index;	/* of the source */
	u8 mac[6];		/* of the next hop */
	u8 rsvd1[2];
	u8 gid[16];		/* of the destination; IPv4 in its mapped form */
} __packed;
static_assert(sizeof(struct erdma_av) == 36);
static_assert(offsetof(struct erdma_av, mac) == 12);
static_assert(offsetof(struct erdma_av, gid) == 20);

#define ERDMA_AV_FLOW_LABEL	GENMASK(19, 0)
#define ERDMA_AV_IPV6		BIT(20)		/* of the destination; else IPv4 */
#define ERDMA_UDP_BASE		0xc000		/* source ports are this and 14 bits */
#define ERDMA_UDP_BITS		14

/* ---- Commands of sub-module RDMA [13.3] ---- */

enum {
	ERDMA_CMD_SET_GID = 14,		/* add or delete an entry of the GID table */
	ERDMA_CMD_CREATE_AH = 15,
	ERDMA_CMD_DESTROY_AH = 16,
	ERDMA_CMD_QUERY_QP = 17,	/* state and PSNs */
};

/* CREATE_QP's type */
#define ERDMA_QP_TYPE_RC	0
#define ERDMA_QP_TYPE_UD	1

struct erdma_cmd_set_gid {
	__le64 header;
	__le32 cfg;		/* ERDMA_GID_* */
	u8 gid[16];		/* add only */
	__le32 rsvd;
} __packed;
static_assert(sizeof(struct erdma_cmd_set_gid) == 32);

#define ERDMA_GID_DELETE	BIT(31)		/* else add */
#define ERDMA_GID_VLAN		GENMASK(29, 18)	/* with UDX: its ID */
#define ERDMA_GID_HAS_VLAN	BIT(17)		/* with UDX */
#define ERDMA_GID_IPV6		BIT(16)		/* add: else IPv4 */
#define ERDMA_GID_INDEX		GENMASK(15, 0)

struct erdma_cmd_create_ah {
	__le64 header;
	__le32 pd;
	__le32 number;		/* chosen by the host */
	struct erdma_av av;
	__le32 rsvd;
} __packed;
static_assert(sizeof(struct erdma_cmd_create_ah) == 56);

struct erdma_cmd_destroy_ah {
	__le64 header;
	__le32 pd;		/* as created */
	__le32 number;		/* as created */
} __packed;
static_assert(sizeof(struct erdma_cmd_destroy_ah) == 16);

/* QUERY_QP is a struct erdma_cmd_word with the QPN; resp0: */
#define ERDMA_QQP_SQ_PSN	GENMASK_ULL(23, 0)	/* next to send */
#define ERDMA_QQP_RQ_PSN	GENMASK_ULL(47, 24)	/* next expected */
#define ERDMA_QQP_STATE		GENMASK_ULL(55, 48)	/* enum erdma_roce_qp_state */
#define ERDMA_QQP_DRAINING	BIT_ULL(56)		/* SQD: a message is not complete yet */

/* MODIFY_QP, RoCEv2 form; what stands behind `av` counts with QPX only [R 1.9] */
struct erdma_roce_modify {
	__le64 header;
	__le32 cfg;		/* ERDMA_MODIFY_STATE, ERDMA_MODIFY_QPN */
	__le32 peer_qpn;	/* 24 bits */
	__le32 mask;		/* ERDMA_RM_*: what of this counts */
	__le32 qkey;
	__le32 rq_psn;
	__le32 sq_psn;
	struct erdma_av av;
	u8 path_mtu;		/* enum ib_mtu */
	u8 timeout;		/* 4.096 us << this */
	u8 retries;
	u8 rnr_retries;		/* 7: no limit */
	u8 rnr_timer;		/* code that a peer without receive is told */
	u8 ord;			/* reads and atomics under way, sent */
	u8 ird;			/* and received */
	u8 peer_may;		/* ERDMA_PEER_* */
	__le32 rsvd;
} __packed;
static_assert(sizeof(struct erdma_roce_modify) == 80);
static_assert(offsetof(struct erdma_roce_modify, path_mtu) == 68);
#define ERDMA_ROCE_MODIFY_PLAIN	72		/* octets of it without QPX */

#define ERDMA_RM_STATE		BIT(0)		/* always */
#define ERDMA_RM_QKEY		BIT(1)
#define ERDMA_RM_AV		BIT(2)
#define ERDMA_RM_SQ_PSN		BIT(3)
#define ERDMA_RM_RQ_PSN		BIT(4)
#define ERDMA_RM_PEER_QPN	BIT(5)
#define ERDMA_RM_PATH_MTU	BIT(16)
#define ERDMA_RM_TIMEOUT	BIT(17)
#define ERDMA_RM_RETRIES	BIT(18)
#define ERDMA_RM_RNR_RETRIES	BIT(19)
#define ERDMA_RM_RNR_TIMER	BIT(20)
#define ERDMA_RM_ORD		BIT(21)
#define ERDMA_RM_IRD		BIT(22)
#define ERDMA_RM_PEER_MAY	BIT(23)
#define ERDMA_RM_QPX		GENMASK(23, 16)	/* all of these */

#define ERDMA_PEER_WRITE	BIT(0)
#define ERDMA_PEER_READ		BIT(1)
#define ERDMA_PEER_ATOMIC	BIT(2)

/* ---- Datagrams [13.4] ---- */

struct erdma_sqe_ud {
	__le64 header;		/* ERDMA_SQE_* */
	__be32 imm;		/* SEND_IMM: network order, as it is */
	__le32 total_len;	/* octets of the datagram */
	__le32 qkey;
	__le32 peer_qpn;	/* 24 bits */
	__le32 ah;		/* number of the address handle */
	__le32 rsvd;
	struct erdma_sge sgl[];		/* or inline data */
} __packed;
static_assert(sizeof(struct erdma_sqe_ud) == 32);

/* Words of a received datagram's completion: erdma_cqe.ud */
#define ERDMA_UDW_QPN24		GENMASK(23, 0)	/* ud[0], with UDX: source QPN in full */
#define ERDMA_UDW_TAGGED	BIT(12)		/* ud[1], with UDX */
#define ERDMA_UDW_VLAN		GENMASK(11, 0)
#define ERDMA_UDW_IPV6		BIT(31)		/* ud[2] */
#define ERDMA_UDW_SL		GENMASK(27, 20)
#define ERDMA_UDW_QPN20		GENMASK(19, 0)	/* source QPN */

#endif
