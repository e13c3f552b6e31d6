// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: verbs of contexts, their mappings, and protection domains
 * (adapter.md chapter 10).
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include <rdma/uverbs_ioctl.h>

#include "erdma_obj_ctx.h"
#include "erdma_verbs.h"

/* One doorbell page that a process may map. */
struct erdma_db_mapping {
	struct rdma_user_mmap_entry entry;
	phys_addr_t page;
};

/* ---- contexts ---- */

/* Makes one page of BAR0 mappable by this context; the entry's offset is its key. */
static struct rdma_user_mmap_entry *
erdma_mmap_insert(struct erdma_adapter *ad, struct erdma_ucontext *uc, resource_size_t offset)
{
	struct erdma_db_mapping *mapping = kzalloc(sizeof(*mapping), GFP_KERNEL);

	if (!mapping)
		return NULL;
	mapping->page = ad->dev.bar_phys + offset;
	if (rdma_user_mmap_entry_insert(&uc->ib, &mapping->entry, PAGE_SIZE)) {
		kfree(mapping);
		return NULL;
	}
	return &mapping->entry;
}

void erdma_mmap_free(struct rdma_user_mmap_entry *entry)
{
	kfree(container_of(entry, struct erdma_db_mapping, entry));
}

/* Undoes whatever part of the doorbell set-up a context got. */
static void erdma_context_unwind(struct erdma_adapter *ad, struct erdma_ucontext *uc)
{
	rdma_user_mmap_entry_remove(uc->cq_mmap);
	rdma_user_mmap_entry_remove(uc->rq_mmap);
	rdma_user_mmap_entry_remove(uc->sq_mmap);
	erdma_db_free(ad, uc);
	atomic_dec(&ad->num_contexts);
}

static int erdma_make_ucontext(struct ib_ucontext *ibctx, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibctx->device);
	struct erdma_ucontext *uc = to_erdma_ucontext(ibctx);
	struct erdma_abi_context_resp resp = { .device_id = ad->dev.pdev->device };
	struct erdma_db_pages at;
	int err;

	/* Doorbells have 4 KiB pages; a larger one would expose a neighbour's. */
	if (PAGE_SIZE != SZ_4K)
		return -EOPNOTSUPP;
	if (udata->outlen < sizeof(resp))
		return -EINVAL;

	/*
	 * A broken device is opened all the same: its state can be read, everything else fails.
	 * Also, 6.1's ioctl path leaks a task reference for each context that the driver refuses.
	 */
	mutex_init(&uc->lock);
	INIT_LIST_HEAD(&uc->dbrec_pages);
	uc->db_type = ERDMA_SDB_SHARED_PAGE;	/* owns nothing yet */

	if (atomic_inc_return(&ad->num_contexts) > ERDMA_MAX_CONTEXTS) {
		atomic_dec(&ad->num_contexts);
		return -ENOSPC;
	}

	/* Without doorbells, it has no queues, and rdma-core does not open it. */
	if (!erdma_db_permitted(ad)) {
		err = ib_copy_to_udata(udata, &resp, sizeof(resp));
		if (err)
			goto unwind;
		return 0;
	}
	err = erdma_db_alloc(ad, uc, &at);
	if (err)
		goto unwind;

	err = -ENOMEM;
	uc->sq_mmap = erdma_mmap_insert(ad, uc, at.sq);
	uc->rq_mmap = erdma_mmap_insert(ad, uc, at.rq);
	uc->cq_mmap = erdma_mmap_insert(ad, uc, at.cq);
	if (!uc->sq_mmap || !uc->rq_mmap || !uc->cq_mmap)
		goto unwind;

	resp.sdb_type = uc->db_type;
	if (uc->db_type == ERDMA_SDB_ENTRY)
		resp.sdb_offset = uc->db_index % ERDMA_DB_SLOTS_PER_PAGE;
	resp.sq_doorbell = rdma_user_mmap_get_offset(uc->sq_mmap);
	resp.rq_doorbell = rdma_user_mmap_get_offset(uc->rq_mmap);
	resp.cq_doorbell = rdma_user_mmap_get_offset(uc->cq_mmap);

	err = ib_copy_to_udata(udata, &resp, sizeof(resp));
	if (err)
		goto unwind;
	return 0;

unwind:
	erdma_context_unwind(ad, uc);
	return err;
}

int erdma_alloc_ucontext(struct ib_ucontext *ibctx, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibctx->device);
	int err = erdma_make_ucontext(ibctx, udata);

	if (!err)
		erdma_track_add_ctx(&ad->tracker, &to_erdma_ucontext(ibctx)->track);
	return erdma_count_call(&ad->dev, verbs_alloc_ctx, err);
}

void erdma_dealloc_ucontext(struct ib_ucontext *ibctx)
{
	struct erdma_adapter *ad = to_erdma(ibctx->device);
	struct erdma_ucontext *uc = to_erdma_ucontext(ibctx);

	erdma_track_remove(&ad->tracker, ERDMA_TRACK_CTX, &uc->track);
	WARN_ON_ONCE(!list_empty(&uc->dbrec_pages));
	erdma_context_unwind(ad, uc);
	erdma_count(&ad->dev, verbs_dealloc_ctx_cnt);
}

/*
 * Present so that the device can go while programs hold it open: the core revokes their mappings.
 */
void erdma_disassociate_ucontext(struct ib_ucontext *ibctx)
{
}

/* One doorbell page, by the key of erdma_abi_context_resp; shared, whole, never code. */
int erdma_mmap(struct ib_ucontext *ibctx, struct vm_area_struct *vma)
{
	struct rdma_user_mmap_entry *entry;
	struct erdma_db_mapping *mapping;
	int err;

	if ((vma->vm_flags & VM_EXEC) || !erdma_can_ring(to_erdma_ucontext(ibctx)))
		return -EPERM;
	entry = rdma_user_mmap_entry_get(ibctx, vma);
	if (!entry)
		return -EINVAL;

	erdma_vma_never_exec(vma);
	mapping = container_of(entry, struct erdma_db_mapping, entry);
	err = rdma_user_mmap_io(ibctx, vma, PHYS_PFN(mapping->page), PAGE_SIZE,
				pgprot_noncached(vma->vm_page_prot), entry);
	rdma_user_mmap_entry_put(entry);
	return err;
}

/* ---- protection domains ---- */

int erdma_alloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibpd->device);
	struct erdma_pd *pd = to_erdma_pd(ibpd);
	int number = ida_alloc_range(&ad->pdns, 1, ERDMA_MAX_PD, GFP_KERNEL);

	if (number >= 0) {
		pd->pdn = number;
		erdma_track_add(&ad->tracker, ERDMA_TRACK_PD, &pd->track, pd->pdn, udata,
				&ibpd->res);
	}
	return erdma_count_call(&ad->dev, verbs_alloc_pd, min(number, 0));
}

int erdma_dealloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibpd->device);
	struct erdma_pd *pd = to_erdma_pd(ibpd);

	erdma_track_remove(&ad->tracker, ERDMA_TRACK_PD, &pd->track);
	erdma_count(&ad->dev, verbs_dealloc_pd_cnt);
	ida_free(&ad->pdns, pd->pdn);
	return 0;
}
