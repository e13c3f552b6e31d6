// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: device and port attributes, user contexts with their doorbell pages, protection
 * domains, and the table of operations for ib_core (adapter.md 6.3, chapters 10 and 11).
 */
#include <linux/ethtool.h>
#include <linux/mm.h>
#include <linux/rtnetlink.h>

#include <rdma/ib_addr.h>
#include <rdma/ib_umem.h>
#include <rdma/uverbs_ioctl.h>

#include "erdma_verbs.h"
#include "kcompat_ops.h"

/* One doorbell page that a process may map. */
struct erdma_db_mapping {
	struct rdma_user_mmap_entry entry;
	phys_addr_t page;
};

/* ---- attributes ---- */

static int erdma_query_device(struct ib_device *ib, struct ib_device_attr *attr, struct ib_udata *udata)
{
	const struct erdma_adapter *ad = to_erdma(ib);
	const struct erdma_caps *caps = &ad->dev.caps;

	/* There are no private inputs; anything but zeros asks for something that we would not do. */
	if (udata && udata->inlen && !ib_is_udata_cleared(udata, 0, udata->inlen))
		return -EINVAL;

	*attr = (struct ib_device_attr) {
		.vendor_id = ERDMA_PCI_VENDOR,
		.vendor_part_id = ad->dev.pdev->device,
		.hw_ver = ad->dev.pdev->revision,
		.fw_ver = caps->firmware,
		.sys_image_guid = ib->node_guid,
		.device_cap_flags = IB_DEVICE_MEM_MGT_EXTENSIONS,
		.atomic_cap = caps->flags & ERDMA_CAP_ATOMIC ? IB_ATOMIC_GLOB : IB_ATOMIC_NONE,

		.max_qp = caps->max_qps - 1,
		.max_qp_wr = min(caps->max_send_wr, caps->max_recv_wr),
		.max_send_sge = ERDMA_MAX_SEND_SGE,
		.max_recv_sge = ERDMA_MAX_RECV_SGE,
		.max_sge_rd = ERDMA_MAX_READ_SGE,
		.max_qp_rd_atom = caps->max_reads,
		.max_qp_init_rd_atom = caps->max_reads,
		.max_res_rd_atom = caps->max_qps * caps->max_reads,

		.max_cq = caps->max_cqs - 1,
		.max_cqe = caps->max_cqe,
		.max_pd = ERDMA_MAX_PD,
		.max_mr = caps->max_mrs,
		.max_mw = caps->max_mw,
		.max_mr_size = caps->max_mr_size,
		.page_size_cap = ERDMA_MR_PAGE_SIZES,
		.max_fast_reg_page_list_len = ERDMA_MAX_FRMR_PAGES,
	};
	erdma_claim_local_dma_lkey(attr);
	return 0;
}

/* A copy of what the paired NIC looks like now; all zeros but the permanent address and the last MTU without one. */
struct erdma_nic_view {
	unsigned int mtu;
	bool usable;
	u8 mac[ETH_ALEN];
};

static void erdma_look_at_nic(struct erdma_adapter *ad, struct erdma_nic_view *view)
{
	const struct net_device *nic;

	view->mtu = ad->mtu;
	view->usable = false;
	ether_addr_copy(view->mac, ad->dev.mac);

	/* The pointer is cleared by the unregister event, after which the network core waits for readers. */
	rcu_read_lock();
	nic = READ_ONCE(ad->netdev);
	if (nic) {
		view->mtu = READ_ONCE(nic->mtu);
		view->usable = netif_running(nic) && netif_carrier_ok(nic);
		ether_addr_copy(view->mac, nic->dev_addr);
	}
	rcu_read_unlock();
}

/*
 * The NIC's speed in the terms of verbs.  A NIC that does not know its speed is ordinary in virtual machines, so
 * nothing is logged then: the lowest rate is reported.
 */
static void erdma_port_rate(struct erdma_adapter *ad, struct ib_port_attr *attr)
{
	static const struct {
		u32 mbps;
		u8 speed;
		u8 width;
	} rates[] = {
		{ SPEED_1000, IB_SPEED_SDR, IB_WIDTH_1X },
		{ SPEED_10000, IB_SPEED_FDR10, IB_WIDTH_1X },
		{ SPEED_20000, IB_SPEED_DDR, IB_WIDTH_4X },
		{ SPEED_25000, IB_SPEED_EDR, IB_WIDTH_1X },
		{ SPEED_40000, IB_SPEED_FDR10, IB_WIDTH_4X },
		{ SPEED_50000, IB_SPEED_HDR, IB_WIDTH_1X },
		{ SPEED_100000, IB_SPEED_EDR, IB_WIDTH_4X },
		{ SPEED_200000, IB_SPEED_HDR, IB_WIDTH_4X },
	};
	struct ethtool_link_ksettings link;
	unsigned int i;
	u32 mbps = 0;

	rtnl_lock();
	if (ad->netdev && !__ethtool_get_link_ksettings(ad->netdev, &link) && link.base.speed != (u32)SPEED_UNKNOWN)
		mbps = link.base.speed;
	rtnl_unlock();

	for (i = ARRAY_SIZE(rates) - 1; i && rates[i].mbps > mbps; i--)
		;
	attr->active_speed = rates[i].speed;
	attr->active_width = rates[i].width;
}

static int erdma_query_port(struct ib_device *ib, erdma_port_number port, struct ib_port_attr *attr)
{
	struct erdma_adapter *ad = to_erdma(ib);
	struct erdma_nic_view nic;

	erdma_look_at_nic(ad, &nic);
	if (nic.usable && !erdma_is_broken(&ad->dev)) {
		attr->state = IB_PORT_ACTIVE;
		attr->phys_state = IB_PORT_PHYS_STATE_LINK_UP;
	} else {
		attr->state = IB_PORT_DOWN;
		attr->phys_state = IB_PORT_PHYS_STATE_DISABLED;
	}
	attr->active_mtu = ib_mtu_int_to_enum(nic.mtu);
	attr->max_mtu = attr->active_mtu;
	attr->max_msg_sz = U32_MAX;
	attr->gid_tbl_len = 1;
	attr->port_cap_flags = IB_PORT_CM_SUP | IB_PORT_DEVICE_MGMT_SUP;

	erdma_port_rate(ad, attr);
	return 0;
}

static int erdma_port_immutable(struct ib_device *ib, erdma_port_number port, struct ib_port_immutable *fixed)
{
	fixed->core_cap_flags = RDMA_CORE_PORT_IWARP;
	fixed->gid_tbl_len = 1;
	return 0;
}

/* iWARP addresses peers by IP; the only GID is the NIC's MAC, padded with zeros. */
static int erdma_query_gid(struct ib_device *ib, erdma_port_number port, int index, union ib_gid *gid)
{
	struct erdma_nic_view nic;

	if (index)
		return -EINVAL;
	erdma_look_at_nic(to_erdma(ib), &nic);
	memset(gid, 0, sizeof(*gid));
	memcpy(gid->raw, nic.mac, ETH_ALEN);
	return 0;
}

/* In the form in which the user-space provider prints it (adapter.md 4.15). */
static void erdma_fw_str(struct ib_device *ib, char *text)
{
	u32 version = to_erdma(ib)->dev.caps.firmware;

	snprintf(text, IB_FW_VERSION_NAME_MAX, "0.%u.%u", version >> 16, version & 0xffff);
}

/* ---- send doorbell pages ---- */

/* How many exclusive pages and divided slots the credit groups of the device make (adapter.md 6.3). */
static void erdma_plan_doorbells(struct erdma_adapter *ad)
{
	u32 groups = ad->dev.caps.direct_wqe_groups;
	u32 divided = groups * 4 / 3;

	if (groups < ERDMA_DWQE_MIN_GROUPS) {
		ad->db_exclusive = 0;
		ad->db_entries = 0;
	} else if (groups < ERDMA_DWQE_FULL_GROUPS) {
		ad->db_exclusive = groups * 4 - divided - 1;
		ad->db_entries = divided * ERDMA_DB_SLOTS_PER_PAGE;
	} else {
		ad->db_exclusive = ERDMA_DB_MAX_EXCLUSIVE;
		ad->db_entries = ERDMA_DB_MAX_ENTRIES;
	}
}

/* Takes the lowest free bit of a map; returns `bits` when there is none.  Caller holds db_lock. */
static u32 erdma_take_bit(unsigned long *map, u32 bits)
{
	u32 bit = find_first_zero_bit(map, bits);

	if (bit < bits)
		__set_bit(bit, map);
	return bit;
}

/* Gives a context the best send doorbell that is left; returns its page's offset in BAR0. */
static u32 erdma_claim_send_page(struct erdma_adapter *ad, struct erdma_ucontext *uc)
{
	u32 offset = ERDMA_SQDB_SHARED_OFFSET;
	u32 got, page;

	uc->db_type = ERDMA_SDB_SHARED_PAGE;
	uc->db_index = 0;

	spin_lock(&ad->db_lock);
	got = erdma_take_bit(ad->db_page_map, ad->db_exclusive);
	if (got < ad->db_exclusive) {
		uc->db_type = ERDMA_SDB_EXCLUSIVE_PAGE;
		uc->db_index = got;
		offset = ERDMA_SQDB_OFFSET + got * ERDMA_DB_PAGE_BYTES;
	} else {
		got = erdma_take_bit(ad->db_entry_map, ad->db_entries);
		if (got < ad->db_entries) {
			uc->db_type = ERDMA_SDB_ENTRY;
			uc->db_index = got;
			page = ad->db_exclusive + got / ERDMA_DB_SLOTS_PER_PAGE;
			offset = ERDMA_SQDB_OFFSET + page * ERDMA_DB_PAGE_BYTES;
		}
	}
	spin_unlock(&ad->db_lock);
	return offset;
}

static void erdma_release_send_page(struct erdma_adapter *ad, struct erdma_ucontext *uc)
{
	spin_lock(&ad->db_lock);
	if (uc->db_type == ERDMA_SDB_EXCLUSIVE_PAGE)
		__clear_bit(uc->db_index, ad->db_page_map);
	else if (uc->db_type == ERDMA_SDB_ENTRY)
		__clear_bit(uc->db_index, ad->db_entry_map);
	spin_unlock(&ad->db_lock);
}

/*
 * Pages from the device instead (ALLOC_DB, adapter.md 4.21).  A page number is only believed when it lies in BAR0
 * behind the registers: page 0 in a process would hand it the whole device.
 */
static bool erdma_page_is_mappable(const struct erdma_adapter *ad, u16 page)
{
	return page && ((u64)page + 1) * PAGE_SIZE <= ad->dev.bar_len;
}

static int erdma_alloc_ext_pages(struct erdma_adapter *ad, struct erdma_ucontext *uc)
{
	struct erdma_cmd_ext_db request = { .wanted = cpu_to_le32(ERDMA_EXT_DB_ALL) };
	u64 pages;
	int err;

	err = erdma_cmd_exec(&ad->dev, ERDMA_SUB_COMMON, ERDMA_CMD_ALLOC_DB, &request, sizeof(request), &pages, NULL);
	if (err)
		return err;

	uc->ext_sq_page = FIELD_GET(ERDMA_EXT_DB_RESP_SQ, pages);
	uc->ext_rq_page = FIELD_GET(ERDMA_EXT_DB_RESP_RQ, pages);
	uc->ext_cq_page = FIELD_GET(ERDMA_EXT_DB_RESP_CQ, pages);
	if (erdma_page_is_mappable(ad, uc->ext_sq_page) && erdma_page_is_mappable(ad, uc->ext_rq_page) &&
	    erdma_page_is_mappable(ad, uc->ext_cq_page))
		return 0;

	ibdev_err_ratelimited(&ad->ib, "device offered doorbell pages %u, %u, %u outside its BAR\n", uc->ext_sq_page,
			      uc->ext_rq_page, uc->ext_cq_page);
	return -EIO;
}

static void erdma_free_ext_pages(struct erdma_adapter *ad, struct erdma_ucontext *uc)
{
	struct erdma_cmd_ext_db request = {
		.wanted = cpu_to_le32(ERDMA_EXT_DB_ALL),
		.sq_page = cpu_to_le16(uc->ext_sq_page),
		.rq_page = cpu_to_le16(uc->ext_rq_page),
		.cq_page = cpu_to_le16(uc->ext_cq_page),
	};

	erdma_cmd_exec(&ad->dev, ERDMA_SUB_COMMON, ERDMA_CMD_FREE_DB, &request, sizeof(request), NULL, NULL);
}

/* ---- contexts ---- */

/* Makes one page of BAR0 mappable by this context; the key that user space needs is the entry's offset. */
static struct rdma_user_mmap_entry *erdma_offer_page(struct erdma_adapter *ad, struct erdma_ucontext *uc,
						     resource_size_t offset)
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

static void erdma_mmap_free(struct rdma_user_mmap_entry *entry)
{
	kfree(container_of(entry, struct erdma_db_mapping, entry));
}

/* Undoes whatever part of the doorbell set-up a context got. */
static void erdma_context_unwind(struct erdma_adapter *ad, struct erdma_ucontext *uc)
{
	rdma_user_mmap_entry_remove(uc->cq_mmap);
	rdma_user_mmap_entry_remove(uc->rq_mmap);
	rdma_user_mmap_entry_remove(uc->sq_mmap);
	if (uc->ext_sq_page)
		erdma_free_ext_pages(ad, uc);
	else
		erdma_release_send_page(ad, uc);
	atomic_dec(&ad->num_contexts);
}

int erdma_alloc_ucontext(struct ib_ucontext *ibctx, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibctx->device);
	struct erdma_ucontext *uc = to_erdma_ucontext(ibctx);
	struct erdma_abi_context_resp resp = { .device_id = ad->dev.pdev->device };
	resource_size_t sq_at, rq_at, cq_at;
	int err;

	/* The doorbell spaces are laid out in 4 KiB pages; a larger mapping would expose a neighbour's. */
	if (PAGE_SIZE != SZ_4K)
		return -EOPNOTSUPP;
	if (udata->outlen < sizeof(resp))
		return -EINVAL;

	/*
	 * A broken device is opened all the same: its state can be read, everything else fails.  Also, 6.1's ioctl
	 * path leaks a task reference for each context that the driver refuses.
	 */
	mutex_init(&uc->lock);
	INIT_LIST_HEAD(&uc->dbrec_pages);
	uc->db_type = ERDMA_SDB_SHARED_PAGE;

	if (atomic_inc_return(&ad->num_contexts) > ERDMA_MAX_CONTEXTS) {
		atomic_dec(&ad->num_contexts);
		return -ENOSPC;
	}

	if ((ad->dev.caps.flags & ERDMA_CAP_EXTEND_DB) && !erdma_is_broken(&ad->dev)) {
		err = erdma_alloc_ext_pages(ad, uc);
		if (err)
			goto unwind;
		uc->db_type = ERDMA_SDB_EXCLUSIVE_PAGE;
		sq_at = (resource_size_t)uc->ext_sq_page << PAGE_SHIFT;
		/* Crossed on purpose: the page named RQ takes the CQ doorbells and the other way round (4.21). */
		rq_at = (resource_size_t)uc->ext_cq_page << PAGE_SHIFT;
		cq_at = (resource_size_t)uc->ext_rq_page << PAGE_SHIFT;
	} else {
		sq_at = erdma_claim_send_page(ad, uc);
		rq_at = ERDMA_RQDB_OFFSET;
		cq_at = ERDMA_CQDB_OFFSET;
	}

	err = -ENOMEM;
	uc->sq_mmap = erdma_offer_page(ad, uc, sq_at);
	uc->rq_mmap = erdma_offer_page(ad, uc, rq_at);
	uc->cq_mmap = erdma_offer_page(ad, uc, cq_at);
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

void erdma_dealloc_ucontext(struct ib_ucontext *ibctx)
{
	struct erdma_ucontext *uc = to_erdma_ucontext(ibctx);

	WARN_ON_ONCE(!list_empty(&uc->dbrec_pages));
	erdma_context_unwind(to_erdma(ibctx->device), uc);
}

/* Present so that the device can go while programs hold it open: the core revokes their mappings. */
static void erdma_disassociate_ucontext(struct ib_ucontext *ibctx)
{
}

/* One doorbell page, by the key from erdma_abi_context_resp; shared, whole, device memory, never code. */
static int erdma_mmap(struct ib_ucontext *ibctx, struct vm_area_struct *vma)
{
	struct rdma_user_mmap_entry *entry;
	struct erdma_db_mapping *mapping;
	int err;

	if (vma->vm_flags & VM_EXEC)
		return -EPERM;
	entry = rdma_user_mmap_entry_get(ibctx, vma);
	if (!entry)
		return -EINVAL;

	erdma_vma_never_exec(vma);
	mapping = container_of(entry, struct erdma_db_mapping, entry);
	err = rdma_user_mmap_io(ibctx, vma, PHYS_PFN(mapping->page), PAGE_SIZE, pgprot_noncached(vma->vm_page_prot),
				entry);
	rdma_user_mmap_entry_put(entry);
	return err;
}

/* ---- protection domains ---- */

int erdma_alloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibpd->device);
	int number = ida_alloc_range(&ad->pdns, 1, ERDMA_MAX_PD, GFP_KERNEL);

	if (number < 0)
		return number;
	to_erdma_pd(ibpd)->pdn = number;
	return 0;
}

int erdma_dealloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	ida_free(&to_erdma(ibpd->device)->pdns, to_erdma_pd(ibpd)->pdn);
	return 0;
}

/* ---- life cycle of the object tables ---- */

void erdma_verbs_init(struct erdma_adapter *ad)
{
	xa_init_flags(&ad->qps, XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_IRQ);
	xa_init_flags(&ad->cqs, XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_IRQ);
	ad->next_qpn = 1;
	ad->next_cqn = 1;
	ad->next_mr = 1;
	ida_init(&ad->pdns);
	ida_init(&ad->mr_ids);
	spin_lock_init(&ad->db_lock);
	atomic_set(&ad->num_contexts, 0);
	erdma_tracker_init(&ad->tracker);
	erdma_plan_doorbells(ad);
}

void erdma_verbs_cleanup(struct erdma_adapter *ad)
{
	WARN_ON(!xa_empty(&ad->qps));
	WARN_ON(!xa_empty(&ad->cqs));
	WARN_ON(!ida_is_empty(&ad->mr_ids));
	WARN_ON(!ida_is_empty(&ad->pdns));
	xa_destroy(&ad->qps);
	xa_destroy(&ad->cqs);
	ida_destroy(&ad->mr_ids);
	ida_destroy(&ad->pdns);
}

const struct ib_device_ops erdma_device_ops = {
	.owner = THIS_MODULE,
	.driver_id = RDMA_DRIVER_ERDMA,
	.uverbs_abi_ver = ERDMA_UVERBS_ABI,

	INIT_RDMA_OBJ_SIZE(ib_ucontext, erdma_ucontext, ib),
	INIT_RDMA_OBJ_SIZE(ib_pd, erdma_pd, ib),
	INIT_RDMA_OBJ_SIZE(ib_cq, erdma_cq, ib),
	ERDMA_QP_SIZE

	.query_device = erdma_query_device,
	.query_port = erdma_query_port,
	.query_gid = erdma_query_gid,
	.get_port_immutable = erdma_port_immutable,
	.get_dev_fw_str = erdma_fw_str,
	ERDMA_PORT_STATS_OP
	.get_hw_stats = erdma_get_stats,
	.fill_res_qp_entry = erdma_fill_res_qp,
	.fill_res_cq_entry = erdma_fill_res_cq,
	.fill_res_mr_entry = erdma_fill_res_mr,

	.alloc_ucontext = erdma_ib_alloc_ucontext,
	.dealloc_ucontext = erdma_ib_dealloc_ucontext,
	.disassociate_ucontext = erdma_disassociate_ucontext,
	.mmap = erdma_mmap,
	.mmap_free = erdma_mmap_free,
	.alloc_pd = erdma_ib_alloc_pd,
	.dealloc_pd = erdma_ib_dealloc_pd,

	.get_dma_mr = erdma_ib_get_dma_mr,
	.reg_user_mr = erdma_op_reg_user_mr,
	.alloc_mr = erdma_ib_alloc_mr,
	.map_mr_sg = erdma_map_mr_sg,
	.dereg_mr = erdma_ib_dereg_mr,

	.create_cq = erdma_op_create_cq,
	ERDMA_USER_CQ_OP
	.destroy_cq = erdma_ib_destroy_cq,
	.poll_cq = erdma_poll_cq,
	.req_notify_cq = erdma_req_notify_cq,

	.create_qp = erdma_op_create_qp,
	.modify_qp = erdma_ib_modify_qp,
	.query_qp = erdma_query_qp,
	.destroy_qp = erdma_op_destroy_qp,
	.post_send = erdma_post_send,
	.post_recv = erdma_post_recv,

	.iw_add_ref = erdma_iw_add_ref,
	.iw_rem_ref = erdma_iw_rem_ref,
	.iw_get_qp = erdma_iw_get_qp,
	.iw_connect = erdma_ib_connect,
	.iw_accept = erdma_ib_accept,
	.iw_reject = erdma_ib_reject,
	.iw_create_listen = erdma_ib_listen,
	.iw_destroy_listen = erdma_cm_listen_stop,
};
