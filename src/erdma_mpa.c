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
};

struct erdma_mpa_dialect {
	u8 revision;
	u8 ext_bytes;
	u16 max_pd;
};

static const struct erdma_mpa_dialect erdma_mpa_dialects[] = {
	{ ERDMA_MPA_REV_ERDMA, ERDMA_MPA_EXT_BYTES, ERDMA_MPA_PEER_PD },
};

static const struct erdma_mpa_dialect *erdma_mpa_dialect(u8 revision)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(erdma_mpa_dialects); i++)
		if (erdma_mpa_dialects[i].revision == revision)
			return &erdma_mpa_dialects[i];
	return NULL;
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
	r->f.pd_len = (u16)(r->bytes[MPA_AT_PD_LEN] << 8 | r->bytes[MPA_AT_PD_LEN + 1]);
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
	return 1;
}

const u8 *erdma_mpa_reader_pd(const struct erdma_mpa_reader *r)
{
	return r->bytes + r->total - r->f.pd_len;
}

u32 erdma_mpa_frame_len(u8 revision, u32 pd_len)
{
	const struct erdma_mpa_dialect *d = erdma_mpa_dialect(revision);

	return ERDMA_MPA_HEAD_BYTES + (d ? d->ext_bytes : 0) + pd_len;
}

int erdma_mpa_build(u8 *out, u32 size, enum erdma_mpa_kind kind, const struct erdma_mpa_fields *f,
		    const u8 *pd)
{
	const struct erdma_mpa_dialect *d = erdma_mpa_dialect(f->revision);
	u32 len;

	if (!d || f->pd_len > ERDMA_MPA_OWN_PD)
		return -EINVAL;
	len = erdma_mpa_frame_len(f->revision, f->pd_len);
	if (len > size)
		return -EINVAL;

	memset(out, 0, len);
	memcpy(out, erdma_mpa_keys[kind], ERDMA_MPA_KEY_BYTES);
	out[MPA_AT_FLAGS] = f->flags;
	out[MPA_AT_REVISION] = f->revision;
	out[MPA_AT_PD_LEN] = (u8)(f->pd_len >> 8);
	out[MPA_AT_PD_LEN + 1] = (u8)f->pd_len;
	if (d->ext_bytes) {
		u8 *c = out + MPA_AT_COOKIE;

		c[0] = (u8)(f->cookie >> 24);
		c[1] = (u8)(f->cookie >> 16);
		c[2] = (u8)(f->cookie >> 8);
		c[3] = (u8)f->cookie;
		out[MPA_AT_CC] = f->cc & ERDMA_MPA_CC_MASK;
	}
	if (f->pd_len)
		memcpy(out + len - f->pd_len, pd, f->pd_len);
	return (int)len;
}

int erdma_mpa_check_request(const struct erdma_mpa_fields *f)
{
	return f->flags & (ERDMA_MPA_MARKERS | ERDMA_MPA_CRC) ? -ECONNREFUSED : 0;
}

int erdma_mpa_check_reply(const struct erdma_mpa_fields *f)
{
	if (f->flags & ERDMA_MPA_REJECT)
		return -ECONNRESET;
	return f->flags & (ERDMA_MPA_MARKERS | ERDMA_MPA_CRC) ? -ECONNREFUSED : 0;
}

u8 erdma_mpa_common_cc(u8 own, u8 peer)
{
	return own == peer ? own : ERDMA_MPA_CC_CUBIC;
}
