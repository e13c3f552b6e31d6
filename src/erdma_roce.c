// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: GIDs and address handles of the RoCEv2 personality (adapter.md 13.2
 * and 13.3, roce.md 8.2 and 8.3).
 */
#include <linux/bitmap.h>
#include <linux/if_vlan.h>
#include <linux/slab.h>

#include <net/ipv6.h>
#include <rdma/ib_cache.h>

#include "erdma_dev_cmdq.h"
#include "erdma_roce.h"

int erdma_roce_setup(struct erdma_adapter *ad)
{
	struct erdma_roce *roce = kzalloc(sizeof(*roce), GFP_KERNEL);

	if (!roce)
		return -ENOMEM;
	spin_lock_init(&roce->ah_lock);
	roce->ah_map = bitmap_zalloc(ad->dev.caps.max_ahs, GFP_KERNEL);
	if (!roce->ah_map) {
		kfree(roce);
		return -ENOMEM;
	}
	/* Number 0 is nobody's. */
	__set_bit(0, roce->ah_map);
	ad->roce = roce;
	return 0;
}

void erdma_roce_shutdown(struct erdma_adapter *ad)
{
	WARN_ON(ad->roce->ahs);
	bitmap_free(ad->roce->ah_map);
	kfree(ad->roce);
	ad->roce = NULL;
}

/* ---- addresses ---- */

static u16 erdma_udp_port(u32 label)
{
	return ERDMA_UDP_BASE +
	       ((label & GENMASK(ERDMA_UDP_BITS - 1, 0)) ^ (label >> ERDMA_UDP_BITS));
}

int erdma_roce_fill_av(const struct erdma_adapter *ad, struct erdma_av *av,
		       const struct rdma_ah_attr *attr, u32 label)
{
	const struct ib_global_route *grh = rdma_ah_read_grh(attr);
	bool ipv6;

	if (attr->type != RDMA_AH_ATTR_TYPE_ROCE || !(rdma_ah_get_ah_flags(attr) & IB_AH_GRH) ||
	    !grh->sgid_attr || grh->sgid_index >= ad->dev.caps.max_gids)
		return -EINVAL;
	switch (rdma_gid_attr_network_type(grh->sgid_attr)) {
	case RDMA_NETWORK_IPV4:
		ipv6 = false;
		break;
	case RDMA_NETWORK_IPV6:
		ipv6 = true;
		break;
	default:
		return -EINVAL;
	}
	if (ipv6_addr_v4mapped((const struct in6_addr *)grh->dgid.raw) == ipv6)
		return -EINVAL;

	if (grh->flow_label)
		label = grh->flow_label;
	av->flow = cpu_to_le32(FIELD_PREP(ERDMA_AV_FLOW_LABEL,
					  grh->flow_label & ERDMA_AV_FLOW_LABEL) |
			       (ipv6 ? ERDMA_AV_IPV6 : 0));
	av->traffic_class = grh->traffic_class;
	av->hop_limit = grh->hop_limit;
	av->sl = rdma_ah_get_sl(attr);
	av->udp_port = cpu_to_le16(erdma_udp_port(label & ERDMA_AV_FLOW_LABEL));
	av->gid_index = cpu_to_le16(grh->sgid_index);
	memcpy(av->mac, attr->roce.dmac, sizeof(av->mac));
	memcpy(av->gid, grh->dgid.raw, sizeof(av->gid));
	return 0;
}

/* ---- GIDs: ib_core says which, process context ---- */

int erdma_roce_add_gid(const struct ib_gid_attr *attr, void **context)
{
	struct erdma_adapter *ad = to_erdma(attr->device);
	u32 cfg = FIELD_PREP(ERDMA_GID_INDEX, attr->index);
	struct erdma_cmd_set_gid request = { };
	u16 vlan = VLAN_N_VID;
	int err;

	if (attr->index >= ad->dev.caps.max_gids)
		return -EINVAL;
	switch (rdma_gid_attr_network_type(attr)) {
	case RDMA_NETWORK_IPV4:
		break;
	case RDMA_NETWORK_IPV6:
		cfg |= ERDMA_GID_IPV6;
		break;
	default:
		return -EINVAL;
	}
	err = rdma_read_gid_l2_fields(attr, &vlan, NULL);
	if (err)
		return err;
	if (vlan < VLAN_N_VID) {
		if (!(ad->dev.caps.extensions & ERDMA_ATTR_UDX))
			return -EOPNOTSUPP;
		cfg |= ERDMA_GID_HAS_VLAN | FIELD_PREP(ERDMA_GID_VLAN, vlan);
	}
	request.cfg = cpu_to_le32(cfg);
	memcpy(request.gid, attr->gid.raw, sizeof(request.gid));
	return erdma_cmd_exec(&ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_SET_GID, &request,
			      sizeof(request), NULL, NULL);
}

/* The address has gone, whatever we say. */
int erdma_roce_del_gid(const struct ib_gid_attr *attr, void **context)
{
	struct erdma_adapter *ad = to_erdma(attr->device);
	struct erdma_cmd_set_gid request = {
		.cfg = cpu_to_le32(ERDMA_GID_DELETE | FIELD_PREP(ERDMA_GID_INDEX, attr->index)),
	};
	int err;

	err = erdma_cmd_exec(&ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_SET_GID, &request, sizeof(request),
			     NULL, NULL);
	if (err && !erdma_is_broken(&ad->dev))
		ibdev_warn(&ad->ib, "GID %u was not deleted: error %d\n", attr->index, err);
	return 0;
}

/* ---- address handles: also of callers that must not sleep ---- */

/* 0 when all are in use. */
static u32 erdma_ah_take_number(struct erdma_adapter *ad)
{
	struct erdma_roce *roce = ad->roce;
	u32 most = ad->dev.caps.max_ahs, number;
	unsigned long flags;

	spin_lock_irqsave(&roce->ah_lock, flags);
	number = find_next_zero_bit(roce->ah_map, most, roce->ah_next);
	if (number >= most)
		number = find_next_zero_bit(roce->ah_map, most, 0);
	if (number < most) {
		__set_bit(number, roce->ah_map);
		roce->ah_next = number + 1;
		roce->ahs++;
	} else {
		number = 0;
	}
	spin_unlock_irqrestore(&roce->ah_lock, flags);
	return number;
}

static void erdma_ah_give_number(struct erdma_adapter *ad, u32 number)
{
	struct erdma_roce *roce = ad->roce;
	unsigned long flags;

	spin_lock_irqsave(&roce->ah_lock, flags);
	__clear_bit(number, roce->ah_map);
	roce->ahs--;
	spin_unlock_irqrestore(&roce->ah_lock, flags);
}

static int erdma_ah_command(struct erdma_adapter *ad, unsigned int opcode, void *request,
			    size_t len, bool may_sleep)
{
	if (may_sleep)
		return erdma_cmd_exec(&ad->dev, ERDMA_SUB_RDMA, opcode, request, len, NULL, NULL);
	return erdma_cmd_exec_atomic(&ad->dev, ERDMA_SUB_RDMA, opcode, request, len);
}

int erdma_roce_create_ah(struct ib_ah *ibah, struct rdma_ah_init_attr *init, struct ib_udata *udata)
{
	struct erdma_adapter *ad = to_erdma(ibah->device);
	struct erdma_ah *ah = to_erdma_ah(ibah);
	struct erdma_cmd_create_ah request = {
		.pd = cpu_to_le32(to_erdma_pd(ibah->pd)->pdn),
	};
	int err;

	/* The provider of user space cannot use one. */
	if (udata)
		return -EOPNOTSUPP;
	ah->number = erdma_ah_take_number(ad);
	if (!ah->number)
		return -ENOMEM;
	request.number = cpu_to_le32(ah->number);
	err = erdma_roce_fill_av(ad, &request.av, init->ah_attr,
				 ah->number & GENMASK(ERDMA_UDP_BITS - 1, 0));
	if (!err)
		err = erdma_ah_command(ad, ERDMA_CMD_CREATE_AH, &request, sizeof(request),
				       init->flags & RDMA_CREATE_AH_SLEEPABLE);
	if (err) {
		erdma_ah_give_number(ad, ah->number);
		return err;
	}
	ah->attr = *init->ah_attr;
	ah->attr.grh.sgid_attr = NULL;
	return 0;
}

int erdma_roce_destroy_ah(struct ib_ah *ibah, u32 flags)
{
	struct erdma_adapter *ad = to_erdma(ibah->device);
	struct erdma_ah *ah = to_erdma_ah(ibah);
	struct erdma_cmd_destroy_ah request = {
		.pd = cpu_to_le32(to_erdma_pd(ibah->pd)->pdn),
		.number = cpu_to_le32(ah->number),
	};
	int err;

	err = erdma_ah_command(ad, ERDMA_CMD_DESTROY_AH, &request, sizeof(request),
			       flags & RDMA_DESTROY_AH_SLEEPABLE);
	if (err && !erdma_is_broken(&ad->dev))
		ibdev_warn_ratelimited(&ad->ib, "address handle %u was not destroyed: error %d\n",
				       ah->number, err);
	/* The device holds no memory of ours for it, and a new one with the number replaces it. */
	erdma_ah_give_number(ad, ah->number);
	return 0;
}

int erdma_roce_query_ah(struct ib_ah *ibah, struct rdma_ah_attr *attr)
{
	*attr = to_erdma_ah(ibah)->attr;
	return 0;
}
