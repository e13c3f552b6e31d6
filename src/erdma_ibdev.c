// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: the adapter as a device of ib_core: attributes of device and port,
 * and the table of operations (adapter.md chapters 10 and 11).
 */
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>

#include <rdma/ib_addr.h>
#include <rdma/iw_cm.h>
#include <rdma/uverbs_ioctl.h>

#include "erdma_cm.h"
#include "erdma_cm_listen.h"
#include "erdma_diag.h"
#include "erdma_ibdev.h"
#include "erdma_obj_mr.h"
#include "erdma_obj_qp.h"
#include "erdma_roce.h"
#include "erdma_verbs.h"
#include "kcompat_ops.h"

/* ---- attributes ---- */

/* 4.096 us << this: the longest that a peer waits for an answer of ours (roce.md 8.1). */
#define ERDMA_ACK_DELAY 15

static int erdma_query_device(struct ib_device *ib, struct ib_device_attr *attr,
			      struct ib_udata *udata)
{
	const struct erdma_adapter *ad = to_erdma(ib);
	const struct erdma_caps *caps = &ad->dev.caps;

	/*
	 * There are no private inputs; anything but zeros asks for something that we would not do.
	 */
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
		.max_mr = caps->max_regions,
		/* The device has memory windows, this driver does not. */
		.max_mw = 0,
		.max_mr_size = caps->max_mr_size,
		.page_size_cap = ERDMA_MR_PAGE_SIZES,
		.max_fast_reg_page_list_len = ERDMA_MAX_FRMR_PAGES,
	};
	if (erdma_is_roce(&ad->dev)) {
		attr->device_cap_flags |= IB_DEVICE_RC_RNR_NAK_GEN;
		attr->max_ah = caps->max_ahs - 1;
		attr->max_pkeys = 1;
		attr->local_ca_ack_delay = ERDMA_ACK_DELAY;
	}
	erdma_claim_local_dma_lkey(attr);
	return 0;
}

/* The paired NIC as it is now; without one, the permanent address and the last MTU. */
struct erdma_nic_view {
	unsigned int mtu;
	bool usable;
	u8 mac[ETH_ALEN];
};

static void erdma_query_nic(struct erdma_adapter *ad, struct erdma_nic_view *view)
{
	const struct net_device *nic;

	view->mtu = ad->mtu;
	view->usable = false;
	ether_addr_copy(view->mac, ad->dev.mac);

	/* The unregister event clears it, and the network core waits for readers. */
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
 * The rate of the adapter where the NIC does not know its own, which is ordinary in virtual
 * machines: nothing is logged then.  No register tells it; this is what small instances have.
 */
#define ERDMA_NOMINAL_MBPS SPEED_25000

/* The NIC's speed in the terms of verbs. */
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
	u32 mbps = ERDMA_NOMINAL_MBPS;

	rtnl_lock();
	if (ad->netdev && !__ethtool_get_link_ksettings(ad->netdev, &link) &&
	    link.base.speed && link.base.speed != (u32)SPEED_UNKNOWN)
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

	erdma_query_nic(ad, &nic);
	if (nic.usable && !erdma_is_broken(&ad->dev)) {
		attr->state = IB_PORT_ACTIVE;
		attr->phys_state = IB_PORT_PHYS_STATE_LINK_UP;
	} else {
		attr->state = IB_PORT_DOWN;
		attr->phys_state = IB_PORT_PHYS_STATE_DISABLED;
	}
	if (erdma_is_roce(&ad->dev)) {
		attr->active_mtu = erdma_roce_mtu(nic.mtu);
		attr->max_mtu = IB_MTU_4096;
		attr->max_msg_sz = ERDMA_ROCE_MAX_MESSAGE;
		attr->gid_tbl_len = ad->dev.caps.max_gids;
		attr->pkey_tbl_len = 1;
		attr->ip_gids = true;
	} else {
		attr->active_mtu = ib_mtu_int_to_enum(nic.mtu);
		attr->max_mtu = attr->active_mtu;
		attr->max_msg_sz = U32_MAX;
		attr->gid_tbl_len = 1;
	}
	attr->port_cap_flags = IB_PORT_CM_SUP | IB_PORT_DEVICE_MGMT_SUP;

	erdma_port_rate(ad, attr);
	return 0;
}

static int erdma_port_immutable(struct ib_device *ib, erdma_port_number port,
				struct ib_port_immutable *fixed)
{
	fixed->core_cap_flags = RDMA_CORE_PORT_IWARP;
	fixed->gid_tbl_len = 1;
	return 0;
}

/* iWARP addresses peers by IP; the only GID is the NIC's MAC, padded with zeros. */
static int erdma_query_gid(struct ib_device *ib, erdma_port_number port, int index,
			   union ib_gid *gid)
{
	struct erdma_nic_view nic;

	if (index)
		return -EINVAL;
	erdma_query_nic(to_erdma(ib), &nic);
	memset(gid, 0, sizeof(*gid));
	memcpy(gid->raw, nic.mac, ETH_ALEN);
	return 0;
}

static int erdma_roce_port_immutable(struct ib_device *ib, erdma_port_number port,
				     struct ib_port_immutable *fixed)
{
	fixed->core_cap_flags = RDMA_CORE_PORT_IBA_ROCE_UDP_ENCAP;
	fixed->pkey_tbl_len = 1;
	fixed->gid_tbl_len = to_erdma(ib)->dev.caps.max_gids;
	fixed->max_mad_size = IB_MGMT_MAD_SIZE;
	return 0;
}

/* A channel adapter whose driver does not say so is taken for one of InfiniBand. */
static enum rdma_link_layer erdma_link_layer(struct ib_device *ib, erdma_port_number port)
{
	return IB_LINK_LAYER_ETHERNET;
}

static int erdma_query_pkey(struct ib_device *ib, erdma_port_number port, u16 index, u16 *pkey)
{
	if (index)
		return -EINVAL;
	*pkey = IB_DEFAULT_PKEY_FULL;
	return 0;
}

/* In the form in which the user-space provider prints it (adapter.md 4.15). */
static void erdma_fw_str(struct ib_device *ib, char *text)
{
	u32 version = to_erdma(ib)->dev.caps.firmware;

	snprintf(text, IB_FW_VERSION_NAME_MAX, "0.%u.%u", version >> 16, version & 0xffff);
}

/* ---- life cycle of the object tables ---- */

void erdma_objects_init(struct erdma_adapter *ad)
{
	xa_init_flags(&ad->qps, XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_IRQ);
	xa_init_flags(&ad->cqs, XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_IRQ);
	ad->next_qpn = 1;
	ad->next_cqn = 1;
	ida_init(&ad->pdns);
	ida_init(&ad->mr_ids);
	erdma_tracker_init(&ad->tracker);
	erdma_db_init(ad);
}

void erdma_objects_cleanup(struct erdma_adapter *ad)
{
	WARN_ON(!xa_empty(&ad->qps));
	WARN_ON(!xa_empty(&ad->cqs));
	erdma_mr_drop_local_key(ad);
	WARN_ON(!ida_is_empty(&ad->mr_ids));
	WARN_ON(!ida_is_empty(&ad->pdns));
	xa_destroy(&ad->qps);
	xa_destroy(&ad->cqs);
	ida_destroy(&ad->mr_ids);
	ida_destroy(&ad->pdns);
}

/* ---- operations ---- */

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
	.get_dev_fw_str = erdma_fw_str,
	ERDMA_PORT_STATS_OP
	ERDMA_SYSFS_GROUPS
	.get_hw_stats = erdma_get_stats,
	.fill_res_qp_entry = erdma_fill_res_qp,
	.fill_res_cq_entry = erdma_fill_res_cq,
	.fill_res_mr_entry = erdma_fill_res_mr,

	.alloc_ucontext = erdma_alloc_ucontext,
	.dealloc_ucontext = erdma_dealloc_ucontext,
	.disassociate_ucontext = erdma_disassociate_ucontext,
	.mmap = erdma_mmap,
	.mmap_free = erdma_mmap_free,
	.alloc_pd = erdma_alloc_pd,
	.dealloc_pd = erdma_dealloc_pd,

	.get_dma_mr = erdma_get_dma_mr,
	.reg_user_mr = erdma_op_reg_user_mr,
	ERDMA_REREG_OP
	ERDMA_DMABUF_OP
	.alloc_mr = erdma_alloc_mr,
	.map_mr_sg = erdma_map_mr_sg,
	.dereg_mr = erdma_dereg_mr,

	.create_cq = erdma_op_create_cq,
	ERDMA_USER_CQ_OP
	.destroy_cq = erdma_destroy_cq,
	.poll_cq = erdma_poll_cq,
	.req_notify_cq = erdma_req_notify_cq,

	.create_qp = erdma_op_create_qp,
	.destroy_qp = erdma_op_destroy_qp,
	.post_send = erdma_post_send,
	.post_recv = erdma_post_recv,
};

const struct ib_device_ops erdma_iwarp_ops = {
	.query_gid = erdma_query_gid,
	.get_port_immutable = erdma_port_immutable,
	.modify_qp = erdma_modify_qp,
	.query_qp = erdma_query_qp,
	.iw_add_ref = erdma_iw_add_ref,
	.iw_rem_ref = erdma_iw_rem_ref,
	.iw_get_qp = erdma_iw_get_qp,
	.iw_connect = erdma_cm_connect,
	.iw_accept = erdma_cm_accept,
	.iw_reject = erdma_cm_reject,
	.iw_create_listen = erdma_cm_listen_start,
	.iw_destroy_listen = erdma_cm_listen_stop,
};

const struct ib_device_ops erdma_roce_ops = {
	INIT_RDMA_OBJ_SIZE(ib_ah, erdma_ah, ib),

	.get_port_immutable = erdma_roce_port_immutable,
	.get_link_layer = erdma_link_layer,
	.query_pkey = erdma_query_pkey,
	.add_gid = erdma_roce_add_gid,
	.del_gid = erdma_roce_del_gid,
	.create_ah = erdma_roce_create_ah,
	.destroy_ah = erdma_roce_destroy_ah,
	.query_ah = erdma_roce_query_ah,
	.modify_qp = erdma_roce_modify_qp,
	.query_qp = erdma_roce_query_qp,
};
