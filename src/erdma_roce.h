/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: what only the RoCEv2 personality has: GIDs, address handles, and the
 * transitions of its queue pairs (adapter.md chapter 13, roce.md chapter 8).
 *
 * The functions that ib_core calls have the form that struct ib_device_ops says.
 */
#ifndef ERDMA_ROCE_H
#define ERDMA_ROCE_H

#include "erdma_hw_roce.h"
#include "erdma_obj_qp.h"

struct erdma_roce {
	spinlock_t ah_lock;	/* irq safe: guards all here */
	unsigned long *ah_map;	/* numbers of address handles in use */
	u32 ah_next;		/* where the search for a free one begins */
	u32 ahs;		/* in use */
};

struct erdma_ah {
	struct ib_ah ib;
	u32 number;
	struct rdma_ah_attr attr; /* as created, without the reference to the source GID */
};

static inline struct erdma_ah *to_erdma_ah(struct ib_ah *ib)
{
	return container_of(ib, struct erdma_ah, ib);
}

/**
 * erdma_roce_mtu() - The largest payload per packet that fits an interface.
 * @mtu: of the interface, octets
 *
 * Leaves room for IPv6 and the longest headers of RoCEv2 (roce.md 7.4).
 */
static inline enum ib_mtu erdma_roce_mtu(u32 mtu)
{
	return ib_mtu_int_to_enum(max_t(int, mtu, 96) - 96);
}

/* ---- erdma_roce.c ---- */

/* Before registration; after it has ended.  May sleep.  0 or -ENOMEM. */
int erdma_roce_setup(struct erdma_adapter *ad);
void erdma_roce_shutdown(struct erdma_adapter *ad);

/**
 * erdma_roce_fill_av() - Put an address vector into the device's form.
 * @ad: the adapter
 * @av: the block, zeroed
 * @attr: the address; whoever passes it holds its source GID
 * @label: flow label that the UDP source port is made of when @attr has none
 *
 * Any context.  Return: 0, or -EINVAL for an address that is not one of RoCEv2.
 */
int erdma_roce_fill_av(const struct erdma_adapter *ad, struct erdma_av *av,
		       const struct rdma_ah_attr *attr, u32 label);

int erdma_roce_add_gid(const struct ib_gid_attr *attr, void **context);
int erdma_roce_del_gid(const struct ib_gid_attr *attr, void **context);
int erdma_roce_create_ah(struct ib_ah *ibah, struct rdma_ah_init_attr *init,
			 struct ib_udata *udata);
int erdma_roce_destroy_ah(struct ib_ah *ibah, u32 flags);
int erdma_roce_query_ah(struct ib_ah *ibah, struct rdma_ah_attr *attr);

/* ---- erdma_roce_qp.c ---- */

/**
 * erdma_roce_qp_stop() - Move a QP to ERROR, from whatever state.
 * @qp: the QP; the caller holds its state_lock
 *
 * Repeated calls do nothing.  A QP that the device refuses to stop is dead afterwards.  May sleep.
 */
void erdma_roce_qp_stop(struct erdma_qp *qp);
int erdma_roce_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
			 struct ib_udata *udata);
int erdma_roce_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
			struct ib_qp_init_attr *init);

#endif
