// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * MPA request and reply frames (docs/spec/wire.md chapter 2).  Everything here judges octets that a
 * stranger sent.
 */
#include "erdma_mpa.h"

static const char erdma_mpa_keys[][ERDMA_MPA_KEY_BYTES + 1] = {
	[ERDMA_MPA_REQUEST] = "MPA ID Req Frame",
	[ERDMA_MPA_REPLY] = "MPA ID Rep Frame",
};

/* Offsets in a frame */
enum {
	MPA_AT_FLAGS = 16,
	MPA_AT_REVISION = 17,
	MPA_AT_PD_LEN = 18,
	MPA_AT_COOKIE = 20,
	MPA_AT_CC = 27,
	MPA_AT_IRD = 20,	/* enhanced */
	MPA_AT_ORD = 22,
};

/* Beside IRD and ORD (2.3) */
#define MPA_IRD_P2P	0x8000u
#define MPA_IRD_SEND	0x4000u
#define MPA_ORD_WRITE	0x8000u
#define MPA_ORD_READ	0x4000u
#define MPA_READS	0x3fffu

struct erdma_mpa_dialect {
	u8 revision;
	u8 ext_bytes;
	u16 max_pd;	/* PD_Length of a peer */
};

static const struct erdma_mpa_dialect erdma_mpa_dialects[] = {
	{ ERDMA_MPA_REV_ERDMA, ERDMA_MPA_EXT_BYTES, ERDMA_MPA_PEER_PD },
	{ ERDMA_MPA_REV_2, 0, ERDMA_MPA_RFC_PD },
	{ ERDMA_MPA_REV_1, 0, ERDMA_MPA_RFC_PD },
};

static const struct erdma_mpa_dialect *erdma_mpa_dialect(u8 revision)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(erdma_mpa_dialects); i++)
		if (erdma_mpa_dialects[i].revision == revision)
			return &erdma_mpa_dialects[i];
	return NULL;
}

static u16 erdma_mpa_get16(const u8 *at)
{
	return (u16)(at[0] << 8 | at[1]);
}

static void erdma_mpa_put16(u8 *at, u32 value)
{
	at[0] = (u8)(value >> 8);
	at[1] = (u8)value;
}

bool erdma_mpa_is_enhanced(const struct erdma_mpa_fields *f)
{
	return f->revision == ERDMA_MPA_REV_2 && (f->flags & ERDMA_MPA_ENHANCED);
}

u32 erdma_mpa_own_pd(u8 revision)
{
	if (revision == ERDMA_MPA_REV_2)
		return ERDMA_MPA_ENH_PD;
	return erdma_mpa_dialect(revision) ? ERDMA_MPA_OWN_PD : 0;
}

static void erdma_mpa_read_enhanced(struct erdma_mpa_fields *f, const u8 *bytes)
{
	u16 ird = erdma_mpa_get16(bytes + MPA_AT_IRD), ord = erdma_mpa_get16(bytes + MPA_AT_ORD);

	f->p2p = ird & MPA_IRD_P2P;
	f->rtr = (ird & MPA_IRD_SEND ? ERDMA_MPA_RTR_SEND : 0) |
		 (ord & MPA_ORD_WRITE ? ERDMA_MPA_RTR_WRITE : 0) |
		 (ord & MPA_ORD_READ ? ERDMA_MPA_RTR_READ : 0);
	f->ird = ird & MPA_READS;
	f->ord = ord & MPA_READS;
	f->pd_len = (u16)(f->pd_len - ERDMA_MPA_ENH_BYTES);
}

static void erdma_mpa_write_enhanced(const struct erdma_mpa_fields *f, u8 *bytes)
{
	erdma_mpa_put16(bytes + MPA_AT_IRD, (f->p2p ? MPA_IRD_P2P : 0) |
			(f->rtr & ERDMA_MPA_RTR_SEND ? MPA_IRD_SEND : 0) | (f->ird & MPA_READS));
	erdma_mpa_put16(bytes + MPA_AT_ORD, (f->rtr & ERDMA_MPA_RTR_WRITE ? MPA_ORD_WRITE : 0) |
			(f->rtr & ERDMA_MPA_RTR_READ ? MPA_ORD_READ : 0) | (f->ord & MPA_READS));
}

void erdma_mpa_reader_init(struct erdma_mpa_reader *r, enum erdma_mpa_kind kind)
{
	memset(r, 0, sizeof(*r));
	r->kind = kind;
	r->total = ERDMA_MPA_HEAD_BYTES;
}

u8 *erdma_mpa_reader_room(struct erdma_mpa_reader *r, u32 *space)
{
	*space = r->total - r->have;
	return r->bytes + r->have;
}

int erdma_mpa_reader_stored(struct erdma_mpa_reader *r, u32 count)
{
	const struct erdma_mpa_dialect *d;
	u32 known;

	if (count > r->total - r->have)
		return -EPROTO;
	r->have += count;

	known = r->have < ERDMA_MPA_KEY_BYTES ? r->have : ERDMA_MPA_KEY_BYTES;
	if (memcmp(r->bytes, erdma_mpa_keys[r->kind], known))
		return -EPROTO;
	if (r->have < ERDMA_MPA_HEAD_BYTES)
		return 0;

	r->f.flags = r->bytes[MPA_AT_FLAGS];
	r->f.revision = r->bytes[MPA_AT_REVISION];
	r->f.pd_len = erdma_mpa_get16(r->bytes + MPA_AT_PD_LEN);
	d = erdma_mpa_dialect(r->f.revision);
	if (!d)
		return -EPROTONOSUPPORT;
	if (r->f.pd_len > d->max_pd)
		return -EMSGSIZE;

	r->total = ERDMA_MPA_HEAD_BYTES + d->ext_bytes + r->f.pd_len;
	if (r->have < r->total)
		return 0;
	if (d->ext_bytes) {
		const u8 *c = r->bytes + MPA_AT_COOKIE;

		r->f.cookie = (u32)c[0] << 24 | (u32)c[1] << 16 | (u32)c[2] << 8 | c[3];
		r->f.cc = r->bytes[MPA_AT_CC] & ERDMA_MPA_CC_MASK;
	}
	if (erdma_mpa_is_enhanced(&r->f)) {
		r->f.cut = r->f.pd_len < ERDMA_MPA_ENH_BYTES;
		if (!r->f.cut)
			erdma_mpa_read_enhanced(&r->f, r->bytes);
	}
	return 1;
}

const u8 *erdma_mpa_reader_pd(const struct erdma_mpa_reader *r)
{
	return r->bytes + r->total - r->f.pd_len;
}

/* Octets of the frame's extension that PD_Length counts */
static u32 erdma_mpa_enh_bytes(const struct erdma_mpa_fields *f)
{
	return erdma_mpa_is_enhanced(f) && !f->cut ? ERDMA_MPA_ENH_BYTES : 0;
}

u32 erdma_mpa_frame_len(const struct erdma_mpa_fields *f)
{
	const struct erdma_mpa_dialect *d = erdma_mpa_dialect(f->revision);

	return ERDMA_MPA_HEAD_BYTES + (d ? d->ext_bytes : 0) + erdma_mpa_enh_bytes(f) + f->pd_len;
}

int erdma_mpa_build(u8 *out, u32 size, enum erdma_mpa_kind kind, const struct erdma_mpa_fields *f,
		    const u8 *pd)
{
	const struct erdma_mpa_dialect *d = erdma_mpa_dialect(f->revision);
	u32 enhanced = erdma_mpa_enh_bytes(f);
	u32 len;

	if (!d || f->pd_len > erdma_mpa_own_pd(f->revision))
		return -EINVAL;
	len = erdma_mpa_frame_len(f);
	if (len > size)
		return -EINVAL;

	memset(out, 0, len);
	memcpy(out, erdma_mpa_keys[kind], ERDMA_MPA_KEY_BYTES);
	out[MPA_AT_FLAGS] = f->flags;
	out[MPA_AT_REVISION] = f->revision;
	erdma_mpa_put16(out + MPA_AT_PD_LEN, enhanced + f->pd_len);
	if (d->ext_bytes) {
		u8 *c = out + MPA_AT_COOKIE;

		c[0] = (u8)(f->cookie >> 24);
		c[1] = (u8)(f->cookie >> 16);
		c[2] = (u8)(f->cookie >> 8);
		c[3] = (u8)f->cookie;
		out[MPA_AT_CC] = f->cc & ERDMA_MPA_CC_MASK;
	}
	if (enhanced)
		erdma_mpa_write_enhanced(f, out);
	if (f->pd_len)
		memcpy(out + len - f->pd_len, pd, f->pd_len);
	return (int)len;
}

void erdma_mpa_offer(struct erdma_mpa_fields *request, u16 ird, u16 ord)
{
	request->flags |= ERDMA_MPA_ENHANCED;
	request->p2p = true;
	request->rtr = ERDMA_MPA_RTR_WRITE | ERDMA_MPA_RTR_READ;
	request->ird = ird;
	request->ord = ord;
}

u16 erdma_mpa_reads(u16 said, u16 max)
{
	u16 reads = said == ERDMA_MPA_UNSAID ? ERDMA_MPA_MAX_READS : said;

	return reads < max ? reads : max;
}

void erdma_mpa_answer(struct erdma_mpa_fields *reply, const struct erdma_mpa_fields *request,
		      u16 ird, u16 ord, enum erdma_mpa_crc crc)
{
	reply->revision = request->revision;
	if (crc == ERDMA_MPA_CRC_DEMAND || request->flags & ERDMA_MPA_CRC)
		reply->flags |= ERDMA_MPA_CRC;
	if (!erdma_mpa_is_enhanced(request))
		return;
	reply->flags |= ERDMA_MPA_ENHANCED;
	/* More than asked for is no harm, and an initiator that says nothing gets our own. */
	reply->ird = ird;
	if (request->ord != ERDMA_MPA_UNSAID && request->ord <= ERDMA_MPA_MAX_READS &&
	    request->ord > ird)
		reply->ird = request->ord;
	reply->ord = erdma_mpa_reads(request->ird, ord);
	reply->p2p = request->p2p;
	if (!request->p2p)
		return;
	/* One that offers none is asked for what every peer understands. */
	reply->rtr = ERDMA_MPA_RTR_WRITE;
	if (!(request->rtr & ERDMA_MPA_RTR_WRITE) && request->rtr)
		reply->rtr = request->rtr & ERDMA_MPA_RTR_READ ? ERDMA_MPA_RTR_READ :
								 ERDMA_MPA_RTR_SEND;
}

/* Wants the frame what its reader does not have? */
static bool erdma_mpa_wants_more(const struct erdma_mpa_fields *f, enum erdma_mpa_crc crc)
{
	return f->flags & ERDMA_MPA_MARKERS ||
	       (f->flags & ERDMA_MPA_CRC && crc == ERDMA_MPA_CRC_NEVER);
}

int erdma_mpa_check_request(const struct erdma_mpa_fields *f, enum erdma_mpa_crc crc)
{
	return f->cut || erdma_mpa_wants_more(f, crc) ? -ECONNREFUSED : 0;
}

bool erdma_mpa_agreed_crc(const struct erdma_mpa_fields *one, const struct erdma_mpa_fields *other)
{
	return (one->flags | other->flags) & ERDMA_MPA_CRC;
}

u16 erdma_mpa_ord(const struct erdma_mpa_fields *f, u16 ord)
{
	if (f->revision == ERDMA_MPA_REV_ERDMA || erdma_mpa_is_enhanced(f))
		return ord;
	return ord < ERDMA_MPA_PLAIN_ORD ? ord : ERDMA_MPA_PLAIN_ORD;
}

int erdma_mpa_check_reply(const struct erdma_mpa_fields *f, const struct erdma_mpa_fields *request,
			  enum erdma_mpa_crc crc)
{
	if (f->revision != request->revision)
		return -EPROTONOSUPPORT;
	if (f->cut)
		return -EPROTO;
	if (f->flags & ERDMA_MPA_REJECT)
		return -ECONNRESET;
	if (erdma_mpa_wants_more(f, crc))
		return -ECONNREFUSED;
	return erdma_mpa_is_enhanced(request) && !erdma_mpa_is_enhanced(f) ? -ECONNRESET : 0;
}

u8 erdma_mpa_conclude(const struct erdma_mpa_fields *reply, const struct erdma_mpa_fields *request,
		      u16 max, u8 *ird, u8 *ord)
{
	*ord = (u8)erdma_mpa_ord(reply, *ord);
	if (!erdma_mpa_is_enhanced(reply) || !erdma_mpa_is_enhanced(request))
		return 0;
	if (reply->ord != ERDMA_MPA_UNSAID && reply->ord > max)
		return ERDMA_MPA_TERM_IRD;
	if (request->p2p && !(reply->rtr & request->rtr))
		return ERDMA_MPA_TERM_RTR;
	if (reply->ord != ERDMA_MPA_UNSAID && reply->ord > *ird)
		*ird = (u8)reply->ord;
	*ord = (u8)erdma_mpa_reads(reply->ird, *ord);
	return 0;
}

void erdma_mpa_terminate(u8 out[ERDMA_MPA_TERMINATE_BYTES], u8 code, bool crc)
{
	/* ULPDU_Length, DDP: last and untagged, RDMAP: Terminate, queue 2, MSN 1, layer LLP. */
	static const u8 frame[ERDMA_MPA_TERMINATE_BYTES] = {
		0, 22, 0x41, 0x47, [11] = 2, [15] = 1, [20] = 0x20,
	};

	/* Of the two frames that there are, so that nothing here computes one. */
	static const u8 crc_of_ird[4] = { 0x65, 0x40, 0xfb, 0x1b };
	static const u8 crc_of_rtr[4] = { 0x1b, 0xd2, 0xba, 0xbe };

	memcpy(out, frame, sizeof(frame));
	out[21] = code;
	if (crc)
		memcpy(out + sizeof(frame) - sizeof(crc_of_ird),
		       code == ERDMA_MPA_TERM_IRD ? crc_of_ird : crc_of_rtr, sizeof(crc_of_ird));
}

u8 erdma_mpa_common_cc(u8 own, u8 peer)
{
	return own == peer ? own : ERDMA_MPA_CC_CUBIC;
}
