/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Operations whose form in struct ib_device_ops differs between kernels.  erdma_op_X is what the
 * table takes for erdma_X(), which has one form everywhere.
 */
#ifndef ERDMA_KCOMPAT_OPS_H
#define ERDMA_KCOMPAT_OPS_H

#include <linux/slab.h>

#include <rdma/uverbs_ioctl.h>

#include "erdma_obj_qp.h"
#include "erdma_verbs.h"
#include "kcompat.h"

#ifdef ERDMA_HAVE_CORE_ALLOCATES_QP

#define ERDMA_QP_SIZE INIT_RDMA_OBJ_SIZE(ib_qp, erdma_qp, ib),
#define erdma_op_create_qp erdma_create_qp
#define erdma_op_destroy_qp erdma_destroy_qp

#else

#define ERDMA_QP_SIZE

/* Newer cores fill these fields before the call, older ones after it. */
static struct ib_qp *erdma_op_create_qp(struct ib_pd *pd, struct ib_qp_init_attr *init,
					struct ib_udata *udata)
{
	struct erdma_qp *qp = kzalloc(sizeof(*qp), GFP_KERNEL);
	int err;

	if (!qp)
		return ERR_PTR(-ENOMEM);
	qp->ib.device = pd->device;
	qp->ib.pd = pd;
	qp->ib.qp_type = init->qp_type;
	qp->ib.send_cq = init->send_cq;
	qp->ib.recv_cq = init->recv_cq;
	qp->ib.event_handler = init->event_handler;
	qp->ib.qp_context = init->qp_context;
	err = erdma_create_qp(&qp->ib, init, udata);
	if (err) {
		kfree(qp);
		return ERR_PTR(err);
	}
	return &qp->ib;
}

static int erdma_op_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata)
{
	int err = erdma_destroy_qp(ibqp, udata);

	if (!err)
		kfree(to_erdma_qp(ibqp));
	return err;
}

#endif

#ifdef ERDMA_HAVE_CQ_ATTR_BUNDLE

/* Without a bundle it is the kernel's own. */
static int erdma_op_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr,
			      struct uverbs_attr_bundle *attrs)
{
	return erdma_create_cq(ibcq, attr, attrs ? &attrs->driver_udata : NULL);
}

#else
#define erdma_op_create_cq erdma_create_cq
#endif

#ifdef ERDMA_HAVE_CREATE_USER_CQ
#define ERDMA_USER_CQ_OP .create_user_cq = erdma_op_create_cq,
#else
#define ERDMA_USER_CQ_OP
#endif

#ifdef ERDMA_HAVE_REG_MR_DMAH

static struct ib_mr *erdma_op_reg_user_mr(struct ib_pd *pd, u64 start, u64 length, u64 iova,
					  int access, struct ib_dmah *dmah, struct ib_udata *udata)
{
	/* The device has no steering tags. */
	if (dmah)
		return ERR_PTR(-EOPNOTSUPP);
	return erdma_reg_user_mr(pd, start, length, iova, access, udata);
}

#else
#define erdma_op_reg_user_mr erdma_reg_user_mr
#endif

/* Older cores expect the region to be changed in place, under its keys. */
#ifdef ERDMA_HAVE_REREG_NEW_MR
#define ERDMA_REREG_OP .rereg_user_mr = erdma_rereg_user_mr,
#else
#define ERDMA_REREG_OP
#endif

#ifdef ERDMA_HAVE_DMABUF_PINNED

#if defined(ERDMA_HAVE_REG_MR_DMAH)
static struct ib_mr *erdma_op_reg_dmabuf(struct ib_pd *pd, u64 offset, u64 length, u64 iova, int fd,
					 int access, struct ib_dmah *dmah,
					 struct uverbs_attr_bundle *attrs)
{
	if (dmah)
		return ERR_PTR(-EOPNOTSUPP);
	return erdma_reg_user_mr_dmabuf(pd, offset, length, iova, fd, access, &attrs->driver_udata);
}
#elif defined(ERDMA_HAVE_REG_DMABUF_ATTRS)
static struct ib_mr *erdma_op_reg_dmabuf(struct ib_pd *pd, u64 offset, u64 length, u64 iova, int fd,
					 int access, struct uverbs_attr_bundle *attrs)
{
	return erdma_reg_user_mr_dmabuf(pd, offset, length, iova, fd, access, &attrs->driver_udata);
}
#else
#define erdma_op_reg_dmabuf erdma_reg_user_mr_dmabuf
#endif

#define ERDMA_DMABUF_OP .reg_user_mr_dmabuf = erdma_op_reg_dmabuf,
#else
#define ERDMA_DMABUF_OP
#endif

#ifdef ERDMA_HAVE_PORT_STATS
#define ERDMA_PORT_STATS_OP .alloc_hw_port_stats = erdma_alloc_port_stats,
#else

/* Port 0 asks for counters of the device, apart from its ports. */
static struct rdma_hw_stats *erdma_op_alloc_stats(struct ib_device *ib, erdma_port_number port)
{
	return port ? erdma_alloc_port_stats(ib, port) : NULL;
}

#define ERDMA_PORT_STATS_OP .alloc_hw_stats = erdma_op_alloc_stats,
#endif

#ifdef ERDMA_HAVE_PORT_GROUPS
#define ERDMA_SYSFS_GROUPS \
	.device_group = &erdma_device_group, \
	.port_groups = erdma_port_groups,
#else
#define ERDMA_SYSFS_GROUPS
#endif

#endif
