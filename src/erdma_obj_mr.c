// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: memory regions as objects.
 */
#include <linux/random.h>
#include <linux/slab.h>

#include <rdma/ib_umem.h>

#include "erdma_dev_cmdq.h"
#include "erdma_obj_mr.h"

u32 erdma_access_bits(int access)
{
	static const struct {
		int verbs;
		u32 device;
	} rights[] = {
		{ IB_ACCESS_LOCAL_WRITE, ERDMA_ACCESS_LOCAL_WRITE },
		{ IB_ACCESS_REMOTE_READ, ERDMA_ACCESS_REMOTE_READ },
		{ IB_ACCESS_REMOTE_WRITE, ERDMA_ACCESS_REMOTE_WRITE },
		{ IB_ACCESS_REMOTE_ATOMIC, ERDMA_ACCESS_REMOTE_ATOMIC },
	};
	u32 bits = ERDMA_ACCESS_LOCAL_READ;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rights); i++)
		if (access & rights[i].verbs)
			bits |= rights[i].device;
	return bits;
}

int erdma_mr_check_access(const struct erdma_adapter *ad, int access)
{
	int known = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_WRITE |
		    IB_ACCESS_HUGETLB | IB_ACCESS_OPTIONAL;
	int needs_local = IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_ATOMIC;

	if (ad->dev.caps.flags & ERDMA_CAP_ATOMIC)
		known |= IB_ACCESS_REMOTE_ATOMIC;
	if (access & ~known)
		return -EOPNOTSUPP;
	if ((access & needs_local) && !(access & IB_ACCESS_LOCAL_WRITE))
		return -EINVAL;
	return 0;
}

int erdma_mr_keep_local_key(struct erdma_adapter *ad)
{
	u32 index = ad->dev.caps.local_dma_key >> 8;
	int got;

	if (!erdma_is_region_index(&ad->dev.caps, index))
		return 0;
	got = ida_alloc_range(&ad->mr_ids, index, index, GFP_KERNEL);
	if (got < 0)
		return got;
	ad->local_index = index;
	return 0;
}

void erdma_mr_drop_local_key(struct erdma_adapter *ad)
{
	if (ad->local_index)
		ida_free(&ad->mr_ids, ad->local_index);
	ad->local_index = 0;
}

/*
 * A free index from a random place on.  With a random key, an STag of one region says nothing about
 * that of another, and a stale one hits nothing.
 */
static int erdma_mr_alloc_index(struct erdma_adapter *ad, u32 *index)
{
	u32 last = ad->dev.caps.max_mrs - 1;
	u32 from = 1 + get_random_u32() % last;
	int got;

	got = ida_alloc_range(&ad->mr_ids, from, last, GFP_KERNEL);
	if (got == -ENOSPC && from > 1)
		got = ida_alloc_range(&ad->mr_ids, 1, last, GFP_KERNEL);
	if (got < 0)
		return got == -ENOSPC ? -ENOMEM : got;
	*index = got;
	return 0;
}

struct erdma_mr *erdma_mr_alloc(struct erdma_adapter *ad, u8 type)
{
	struct erdma_mr *mr = kzalloc(sizeof(*mr), GFP_KERNEL);
	int err;

	if (!mr)
		return ERR_PTR(-ENOMEM);
	err = erdma_mr_alloc_index(ad, &mr->index);
	if (err) {
		kfree(mr);
		return ERR_PTR(err);
	}
	mr->type = type;
	mr->ib.lkey = mr->index << 8 | (get_random_u32() & 0xff);
	mr->ib.rkey = mr->ib.lkey;
	return mr;
}

void erdma_mr_free(struct erdma_adapter *ad, struct erdma_mr *mr)
{
	erdma_pgtable_release(&ad->dev, &mr->table);
	ib_umem_release(mr->umem);
	ida_free(&ad->mr_ids, mr->index);
	kfree(mr);
}

int erdma_mr_create(struct erdma_adapter *ad, struct erdma_mr *mr, u32 pdn, int access, u64 start,
		    u64 length)
{
	const struct erdma_pgtable *t = &mr->table;
	bool tree = t->level > 1;
	struct erdma_cmd_reg_mr request = {
		.cfg0 = cpu_to_le32((mr->type == ERDMA_MR_NORMAL ? ERDMA_MR0_VALID : 0) |
				    FIELD_PREP(ERDMA_MR0_VERSION, tree) |
				    FIELD_PREP(ERDMA_MR0_KEY, mr->ib.lkey & 0xff) |
				    FIELD_PREP(ERDMA_MR0_INDEX, mr->index)),
		.cfg1 = cpu_to_le32(FIELD_PREP(ERDMA_MR1_PD, pdn) |
				    FIELD_PREP(ERDMA_MR1_TYPE, mr->type) |
				    erdma_access_bits(access)),
		.start = cpu_to_le64(start),
		.len_lo = cpu_to_le32(lower_32_bits(length)),
		.cfg2 = cpu_to_le32(
			FIELD_PREP(ERDMA_MR2_PAGE_SHIFT, t->page_shift) |
			FIELD_PREP(ERDMA_MR2_TABLE_PAGE, PAGE_SHIFT - 12) |
			FIELD_PREP(ERDMA_MR2_LEVEL, t->level) |
			FIELD_PREP(ERDMA_MR2_COUNT, t->count & (BIT(ERDMA_MR2_COUNT_BITS) - 1))),
	};
	u32 i;

	if (t->level) {
		request.root = cpu_to_le64(t->root);
		if (tree) {
			request.len_hi = cpu_to_le32(upper_32_bits(length));
			request.count_hi = cpu_to_le32(t->count >> ERDMA_MR2_COUNT_BITS);
		}
	} else {
		for (i = 0; i < t->count; i++)
			request.pages[i] = cpu_to_le64(t->inline_pages[i]);
	}
	return erdma_cmd_exec(&ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_REG_MR, &request, sizeof(request),
			      NULL, NULL);
}

void erdma_mr_destroy(struct erdma_adapter *ad, struct erdma_mr *mr)
{
	erdma_cmd_destroy(&ad->dev, ERDMA_CMD_DEREG_MR, "DEREG_MR",
			  FIELD_PREP(ERDMA_MR0_INDEX, mr->index) |
				  FIELD_PREP(ERDMA_MR0_KEY, mr->ib.lkey & 0xff));
	erdma_mr_free(ad, mr);
}
