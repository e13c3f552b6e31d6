/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MPA request and reply frames (docs/spec/wire.md chapter 2), as octets: no sockets, no sleeping,
 * no allocation.  Also compiles in user space, where the unit tests feed it.
 */
#ifndef ERDMA_MPA_H
#define ERDMA_MPA_H

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/types.h>
#else
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#endif

#define ERDMA_MPA_KEY_BYTES	16u
#define ERDMA_MPA_HEAD_BYTES	20u	/* key, flags, revision, PD_Length */
#define ERDMA_MPA_EXT_BYTES	8u	/* revision 129: cookie and CC, not in PD_Length */
#define ERDMA_MPA_ENH_BYTES	4u	/* revision 2 with S: IRD, ORD and RTR, in PD_Length */
#define ERDMA_MPA_RFC_PD	512u	/* most private data of any revision */
#define ERDMA_MPA_PEER_PD	256u	/* most private data that a peer of revision 129 may send */
#define ERDMA_MPA_OWN_PD	255u	/* most that we send, and that the iw_cm takes */
#define ERDMA_MPA_ENH_PD	252u	/* most that we send in enhanced frames (2.5) */
#define ERDMA_MPA_FRAME_BYTES	(ERDMA_MPA_HEAD_BYTES + ERDMA_MPA_EXT_BYTES + ERDMA_MPA_RFC_PD)

#define ERDMA_MPA_MARKERS	0x80u
#define ERDMA_MPA_CRC		0x40u
#define ERDMA_MPA_REJECT	0x20u
#define ERDMA_MPA_ENHANCED	0x10u	/* S: IRD, ORD and RTR follow; revision 2 */

#define ERDMA_MPA_REV_1		1u	/* RFC 5044 */
#define ERDMA_MPA_REV_2		2u	/* RFC 6581 */
#define ERDMA_MPA_REV_ERDMA	129u	/* the adapter's own (2.4) */

/* Frames that may say "ready to receive" (2.3): zero-length Send, RDMA Write, RDMA Read */
#define ERDMA_MPA_RTR_SEND	1u
#define ERDMA_MPA_RTR_WRITE	2u
#define ERDMA_MPA_RTR_READ	4u

#define ERDMA_MPA_UNSAID	0x3fffu	/* IRD or ORD that is not negotiated here */
#define ERDMA_MPA_MAX_READS	128u	/* what it counts as */
#define ERDMA_MPA_PLAIN_ORD	16u	/* where a standard revision does not say it (2.7) */

#define ERDMA_MPA_TERMINATE_BYTES 28u
/* Why a connection ends before it began (4.8, layer LLP) */
#define ERDMA_MPA_TERM_IRD	0x06u
#define ERDMA_MPA_TERM_RTR	0x07u

#define ERDMA_MPA_CC_MASK	0x0fu
#define ERDMA_MPA_CC_CUBIC	1u	/* both sides fall back to it when they differ (2.4) */

/* What a side does about CRCs (2.6): either one may ask, and then both have them. */
enum erdma_mpa_crc {
	ERDMA_MPA_CRC_NEVER,	/* it has none */
	ERDMA_MPA_CRC_ACCEPT,	/* if the peer asks */
	ERDMA_MPA_CRC_DEMAND,
};

enum erdma_mpa_kind {
	ERDMA_MPA_REQUEST,
	ERDMA_MPA_REPLY,
};

/* What a frame says, without its private data. */
struct erdma_mpa_fields {
	u8 flags;	/* ERDMA_MPA_* */
	u8 revision;
	u8 cc;		/* revision 129 */
	u8 rtr;		/* enhanced: ERDMA_MPA_RTR_* offered, or the one chosen */
	bool p2p;	/* enhanced: either side may send first */
	bool cut;	/* S without room for what it announces; only read */
	u16 pd_len;	/* octets of the consumer's private data */
	u16 ird, ord;	/* enhanced: of the frame's sender */
	u32 cookie;	/* revision 129 */
};

/* Collects one frame from a byte stream, and never asks for an octet behind the frame. */
struct erdma_mpa_reader {
	enum erdma_mpa_kind kind;
	u32 have;	/* octets collected */
	u32 total;	/* octets of the frame as far as they are known */
	struct erdma_mpa_fields f;	/* valid once the frame is complete */
	u8 bytes[ERDMA_MPA_FRAME_BYTES];
};

void erdma_mpa_reader_init(struct erdma_mpa_reader *r, enum erdma_mpa_kind kind);
/* Where the next octets go, and how many may be stored there: 0 once the frame is complete. */
u8 *erdma_mpa_reader_room(struct erdma_mpa_reader *r, u32 *space);
/*
 * `count` octets were stored at the room.  Returns 1 when the frame is complete, 0 when octets are
 * missing, -EPROTO for a wrong key, -EPROTONOSUPPORT for a revision we do not speak, -EMSGSIZE for
 * private data over the limit.  An error shows as early as the octets tell it, and is final.
 */
int erdma_mpa_reader_stored(struct erdma_mpa_reader *r, u32 count);
const u8 *erdma_mpa_reader_pd(const struct erdma_mpa_reader *r);

/* Octets of a frame. */
u32 erdma_mpa_frame_len(const struct erdma_mpa_fields *f);
/* Are IRD, ORD and RTR in the frame? */
bool erdma_mpa_is_enhanced(const struct erdma_mpa_fields *f);
/* Most private data of our own that fits a frame of this revision; 0 for one we do not speak. */
u32 erdma_mpa_own_pd(u8 revision);
/*
 * Writes a frame into `out` (`size` octets); f->pd_len octets come from `pd`.  Returns its length,
 * or -EINVAL when the private data or the frame is too long or the revision is not spoken.
 */
int erdma_mpa_build(u8 *out, u32 size, enum erdma_mpa_kind kind, const struct erdma_mpa_fields *f,
		    const u8 *pd);

/* Makes a request of revision 2 an enhanced one, with the reads that its sender means (2.7). */
void erdma_mpa_offer(struct erdma_mpa_fields *request, u16 ird, u16 ord);
/* Makes a reply to `request` of its kind, with IRD, ORD and RTR if it has any (2.7). */
void erdma_mpa_answer(struct erdma_mpa_fields *reply, const struct erdma_mpa_fields *request,
		      u16 ird, u16 ord, enum erdma_mpa_crc crc);
/* IRD or ORD of a frame as a number of reads, at most `max`. */
u16 erdma_mpa_reads(u16 said, u16 max);

/* May a responder without markers take this?  0, or -ECONNREFUSED: answer R (2.6). */
int erdma_mpa_check_request(const struct erdma_mpa_fields *f, enum erdma_mpa_crc crc);
/*
 * May the initiator take this reply to its request?  0, -EPROTONOSUPPORT: another revision,
 * -ECONNRESET: rejected, or not what was asked for, -ECONNREFUSED: wants what the device cannot,
 * -EPROTO: no room for what it announces (2.6).
 */
int erdma_mpa_check_reply(const struct erdma_mpa_fields *f, const struct erdma_mpa_fields *request,
			  enum erdma_mpa_crc crc);
/* Do FPDUs have CRCs after these two frames?  Either side's word is enough. */
bool erdma_mpa_agreed_crc(const struct erdma_mpa_fields *one, const struct erdma_mpa_fields *other);
/* ORD of a connection of this frame's kind, of which the own side wants `ord` (2.7). */
u16 erdma_mpa_ord(const struct erdma_mpa_fields *f, u16 ord);
/*
 * What the initiator's reads are after the reply, which erdma_mpa_check_reply() passed: `ird` and
 * `ord` come with its own and get what holds.  Returns 0, or ERDMA_MPA_TERM_* to end with: the
 * responder wants to read more than `max` at a time, or chose no RTR frame that was offered.
 */
u8 erdma_mpa_conclude(const struct erdma_mpa_fields *reply, const struct erdma_mpa_fields *request,
		      u16 max, u8 *ird, u8 *ord);
/* A Terminate of the MPA layer (4.8), ERDMA_MPA_TERM_*, the first message of its queue. */
void erdma_mpa_terminate(u8 out[ERDMA_MPA_TERMINATE_BYTES], u8 code, bool crc);

/* Congestion control that both sides use: their own when equal, else CUBIC (2.4). */
u8 erdma_mpa_common_cc(u8 own, u8 peer);

#endif
