/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: what the verbs files (verbs, mr, cq, qp, work requests) share among themselves.
 */
#ifndef ERDMA_VERBS_H
#define ERDMA_VERBS_H

#include "erdma.h"
#include "erdma_dev_cmdq.h"

/*
 * Ring indices of kernel QPs.  One side posts and moves the producer index, the other completes and moves the
 * consumer index; each looks at the other's without its lock, and what an index covers must be visible with it.
 */
static inline u16 erdma_index_seen(const u16 *index)
{
	/* Pairs with erdma_index_move(). */
	return smp_load_acquire(index);
}

static inline void erdma_index_move(u16 *index, u16 value)
{
	/* Pairs with erdma_index_seen(). */
	smp_store_release(index, value);
}

/* ---- erdma_verbs.c ---- */

int erdma_alloc_ucontext(struct ib_ucontext *ibctx, struct ib_udata *udata);
void erdma_dealloc_ucontext(struct ib_ucontext *ibctx);
int erdma_alloc_pd(struct ib_pd *ibpd, struct ib_udata *udata);
int erdma_dealloc_pd(struct ib_pd *ibpd, struct ib_udata *udata);

/* ---- erdma_track.c: what ib_core calls; counted, and objects entered into the tracker ---- */

int erdma_ib_alloc_ucontext(struct ib_ucontext *ibctx, struct ib_udata *udata);
void erdma_ib_dealloc_ucontext(struct ib_ucontext *ibctx);
int erdma_ib_alloc_pd(struct ib_pd *ibpd, struct ib_udata *udata);
int erdma_ib_dealloc_pd(struct ib_pd *ibpd, struct ib_udata *udata);
struct ib_mr *erdma_ib_get_dma_mr(struct ib_pd *ibpd, int access);
struct ib_mr *erdma_ib_reg_user_mr(struct ib_pd *ibpd, u64 start, u64 length, u64 iova, int access,
				   struct ib_udata *udata);
struct ib_mr *erdma_ib_alloc_mr(struct ib_pd *ibpd, enum ib_mr_type type, u32 max_num_sg);
int erdma_ib_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata);
int erdma_ib_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr, struct ib_udata *udata);
int erdma_ib_destroy_cq(struct ib_cq *ibcq, struct ib_udata *udata);
int erdma_ib_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *init, struct ib_udata *udata);
int erdma_ib_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask, struct ib_udata *udata);
int erdma_ib_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata);
int erdma_ib_connect(struct iw_cm_id *id, struct iw_cm_conn_param *param);
int erdma_ib_accept(struct iw_cm_id *id, struct iw_cm_conn_param *param);
int erdma_ib_reject(struct iw_cm_id *id, const void *pdata, u8 pdata_len);
int erdma_ib_listen(struct iw_cm_id *id, int backlog);

/* ---- erdma_report.c: driver-specific lines of `rdma resource show` ---- */

int erdma_fill_res_qp(struct sk_buff *msg, struct ib_qp *ibqp);
int erdma_fill_res_cq(struct sk_buff *msg, struct ib_cq *ibcq);
int erdma_fill_res_mr(struct sk_buff *msg, struct ib_mr *ibmr);

/* ---- erdma_mr.c: page tables of pinned user memory ---- */

/* How a table may look, by what the command that carries it can express. */
struct erdma_pgtable_rules {
	u64 page_sizes;		/* bit n: pages of 2^n bytes are possible */
	u32 max_inline;		/* page addresses that fit into the command */
	u32 max_count;		/* pages that the command can count */
	bool tree;		/* multi-level tables are understood */
};

/*
 * Describes the pages of `umem` for the device; `va` is the address by which the device or the process names its
 * first byte.  May sleep.  -EINVAL when no page size or no table shape fits, -ENOMEM.
 */
int erdma_pgtable_build(struct erdma_adapter *ad, struct erdma_pgtable *t, struct ib_umem *umem, u64 va,
			const struct erdma_pgtable_rules *rules);
/* Also for a zeroed or half-built table. */
void erdma_pgtable_release(struct erdma_adapter *ad, struct erdma_pgtable *t);

/*
 * Pins the page of a process's doorbell record and gives the record's bus address.  Objects of one process share
 * pages.  `va` must be 8-byte aligned and `bytes` must not cross a page.
 */
struct erdma_user_dbrec *erdma_user_dbrec_get(struct erdma_ucontext *uc, u64 va, u32 bytes, dma_addr_t *dma);
void erdma_user_dbrec_put(struct erdma_user_dbrec *page);	/* NULL does nothing */

struct ib_mr *erdma_get_dma_mr(struct ib_pd *ibpd, int access);
struct ib_mr *erdma_reg_user_mr(struct ib_pd *ibpd, u64 start, u64 length, u64 iova, int access,
				struct ib_udata *udata);
struct ib_mr *erdma_alloc_mr(struct ib_pd *ibpd, enum ib_mr_type type, u32 max_num_sg);
int erdma_map_mr_sg(struct ib_mr *ibmr, struct scatterlist *sg, int nents, unsigned int *offset);
int erdma_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata);
/* ERDMA_ACCESS_* bits of the command and of the REG_MR work request (4.11, 7.1); local read is always granted. */
u32 erdma_access_bits(int access);

/* ---- erdma_cq.c ---- */

int erdma_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr, struct ib_udata *udata);
int erdma_destroy_cq(struct ib_cq *ibcq, struct ib_udata *udata);
int erdma_poll_cq(struct ib_cq *ibcq, int max, struct ib_wc *wc);
int erdma_req_notify_cq(struct ib_cq *ibcq, enum ib_cq_notify_flags flags);
/* Ties kernel QPs to the CQs that complete for them, so that a dead device's CQs can flush them in software. */
void erdma_cq_attach(struct erdma_qp *qp);
void erdma_cq_detach(struct erdma_qp *qp);

/* ---- erdma_qp.c ---- */

int erdma_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *init, struct ib_udata *udata);
int erdma_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata);
int erdma_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask, struct ib_udata *udata);
int erdma_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask, struct ib_qp_init_attr *init);
void erdma_iw_add_ref(struct ib_qp *ibqp);
void erdma_iw_rem_ref(struct ib_qp *ibqp);
struct ib_qp *erdma_iw_get_qp(struct ib_device *ib, int qpn);
/* Work was posted to a QP that no longer runs: have it flushed soon.  Any context. */
void erdma_qp_reflush_later(struct erdma_qp *qp);

/* ---- erdma_wr.c ---- */

int erdma_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr, const struct ib_send_wr **bad);
int erdma_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr, const struct ib_recv_wr **bad);

#endif
