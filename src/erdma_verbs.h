/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: the verbs, in the form in which ib_core calls them (struct
 * ib_device_ops says what each must do).  Each counts its calls, and what it makes stands in the
 * tracker from the end of its creation to the beginning of its destruction.
 */
#ifndef ERDMA_VERBS_H
#define ERDMA_VERBS_H

#include <rdma/ib_verbs.h>

/* ---- erdma_verbs_ctx.c ---- */

int erdma_alloc_ucontext(struct ib_ucontext *ibctx, struct ib_udata *udata);
void erdma_dealloc_ucontext(struct ib_ucontext *ibctx);
void erdma_disassociate_ucontext(struct ib_ucontext *ibctx);
int erdma_mmap(struct ib_ucontext *ibctx, struct vm_area_struct *vma);
void erdma_mmap_free(struct rdma_user_mmap_entry *entry);
int erdma_alloc_pd(struct ib_pd *ibpd, struct ib_udata *udata);
int erdma_dealloc_pd(struct ib_pd *ibpd, struct ib_udata *udata);

/* ---- erdma_verbs_mr.c ---- */

struct ib_mr *erdma_get_dma_mr(struct ib_pd *ibpd, int access);
struct ib_mr *erdma_reg_user_mr(struct ib_pd *ibpd, u64 start, u64 length, u64 iova, int access,
				struct ib_udata *udata);
/* Of a DMA buffer, pinned: the exporter cannot move it before the region goes.  May sleep. */
struct ib_mr *erdma_reg_user_mr_dmabuf(struct ib_pd *ibpd, u64 offset, u64 length, u64 iova, int fd,
				       int access, struct ib_udata *udata);
/*
 * Another region, with keys of its own, which the core puts in the place of @ibmr and ends that:
 * the device cannot change one.  Without IB_MR_REREG_TRANS, -EOPNOTSUPP for memory of a DMA buffer.
 * May sleep.
 */
struct ib_mr *erdma_rereg_user_mr(struct ib_mr *ibmr, int flags, u64 start, u64 length, u64 iova,
				  int access, struct ib_pd *ibpd, struct ib_udata *udata);
struct ib_mr *erdma_alloc_mr(struct ib_pd *ibpd, enum ib_mr_type type, u32 max_num_sg);
int erdma_map_mr_sg(struct ib_mr *ibmr, struct scatterlist *sg, int nents, unsigned int *offset);
int erdma_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata);

/* ---- erdma_verbs_cq.c ---- */

int erdma_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr, struct ib_udata *udata);
int erdma_destroy_cq(struct ib_cq *ibcq, struct ib_udata *udata);
int erdma_poll_cq(struct ib_cq *ibcq, int max, struct ib_wc *wc);
int erdma_req_notify_cq(struct ib_cq *ibcq, enum ib_cq_notify_flags flags);

/* ---- erdma_verbs_qp.c ---- */

int erdma_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *init, struct ib_udata *udata);
int erdma_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata);
int erdma_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask, struct ib_udata *udata);
int erdma_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		   struct ib_qp_init_attr *init);
void erdma_iw_add_ref(struct ib_qp *ibqp);
void erdma_iw_rem_ref(struct ib_qp *ibqp);
struct ib_qp *erdma_iw_get_qp(struct ib_device *ib, int qpn);

/* ---- erdma_verbs_wr.c ---- */

int erdma_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr, const struct ib_send_wr **bad);
int erdma_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr, const struct ib_recv_wr **bad);

#endif
