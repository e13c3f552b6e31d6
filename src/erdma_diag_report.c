// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: what the diagnostics device tells of each kind of object.
 *
 * Entries are zeroed before they are filled, so nothing but what is written here reaches the
 * caller.  What changes while it is read (states, indices, counters) is read once, without the
 * locks of the data path.
 */
#include <linux/cred.h>
#include <linux/highmem.h>
#include <linux/pid.h>

#include "erdma_cm_ep.h"
#include "erdma_dev_cmdq.h"
#include "erdma_dev_query.h"
#include "erdma_diag.h"
#include "erdma_obj_mr.h"
#include "erdma_obj_qp.h"
#include "erdma_roce.h"

/* Numbers scanned under one hold of a lock. */
#define ERDMA_SCAN_MOST 256

/* ---- pieces that several kinds have ---- */

bool erdma_sees_others(const struct erdma_adapter *ad)
{
	return ns_capable_noaudit(read_pnet(&ad->ib.coredev.rdma_net)->user_ns, CAP_NET_ADMIN);
}

bool erdma_owner_visible(const struct erdma_listing *l, const struct erdma_owner *owner)
{
	return l->others || (owner->pid && uid_eq(owner->uid, current_euid()));
}

void erdma_show_owner(struct erdma_info_owner *out, const struct erdma_owner *owner)
{
	out->pid = owner->pid ? pid_vnr(owner->pid) : 0;
	out->uid = from_kuid_munged(current_user_ns(), owner->uid);
	out->kernel = !owner->pid;
	strscpy(out->name, owner->comm, sizeof(out->name));
}

static u64 erdma_age_ms(ktime_t born)
{
	return ktime_ms_delta(ktime_get(), born);
}

static void erdma_show_link(struct erdma_info_link *out, const struct erdma_link *link)
{
	memcpy(out->own, &link->own_ip, sizeof(out->own));
	memcpy(out->peer, &link->peer_ip, sizeof(out->peer));
	out->own_port = ntohs(link->own_port);
	out->peer_port = ntohs(link->peer_port);
}

/* A doorbell record that a process wrote: a hint, never more. */
static u64 erdma_user_record(const struct erdma_user_dbrec *rec, dma_addr_t dma)
{
	const u8 *page = kmap_local_page(sg_page(erdma_umem_list(rec->umem)));
	u64 value = le64_to_cpu(READ_ONCE(*(const __le64 *)(page + offset_in_page(dma))));

	kunmap_local(page);
	return value;
}

/*
 * Entries of tracked objects.  `show` runs under the tracker's lock, where the object cannot begin
 * to go; it must not sleep.
 */
static int
erdma_list_tracked(struct erdma_listing *l, enum erdma_track_kind kind, size_t entry_size,
		   void (*show)(struct erdma_listing *l, struct erdma_track *track, void *out))
{
	struct erdma_tracker *tracker = &l->ad->tracker;
	struct erdma_track *track;
	u32 filled = 0, scanned;

	if (l->cursor > U32_MAX) {
		l->end = true;
		return 0;
	}
	spin_lock(&tracker->lock);
	track = erdma_track_from(tracker, kind, l->cursor);
	for (scanned = 0; track && filled < l->room && scanned < ERDMA_SCAN_MOST; scanned++) {
		l->cursor = (u64)track->number + 1;
		if (erdma_owner_visible(l, &track->owner)) {
			l->born[filled] = track->born;
			show(l, track, l->entries + filled++ * entry_size);
		} else {
			l->hidden++;
		}
		track = erdma_track_next(track);
	}
	l->end = !track;
	spin_unlock(&tracker->lock);
	return filled;
}

/* Is the object of an entry that was filled earlier still there? */
static bool erdma_still_tracked(struct erdma_listing *l, enum erdma_track_kind kind, u32 number,
				ktime_t born)
{
	struct erdma_tracker *tracker = &l->ad->tracker;
	struct erdma_track *track;
	bool same;

	spin_lock(&tracker->lock);
	track = erdma_track_from(tracker, kind, number);
	same = track && track->number == number && track->born == born;
	spin_unlock(&tracker->lock);
	return same;
}

/* An entry without the device's part says enough, unless the caller is interrupted. */
static int erdma_only_interrupts(int err)
{
	return err == -EINTR ? err : 0;
}

/* ---- queue pairs ---- */

static void erdma_show_qp_connection(const struct erdma_qp *qp, struct erdma_info_qp *out)
{
	unsigned long flags;

	out->cookie = qp->cookie;
	/* Pairs with erdma_qp_start(). */
	if (smp_load_acquire(&qp->was_connected)) {
		erdma_show_link(&out->link, &qp->link);
		out->peer_cookie = qp->peer_cookie;
		out->flags |= qp->link.passive ? ERDMA_QP_FLAG_PASSIVE : 0;
		out->flags |= qp->terms.crc ? ERDMA_QP_FLAG_CRC : 0;
		out->mpa_revision = qp->terms.revision;
		out->fallback = qp->terms.fallback;
		out->ird = qp->terms.ird;
		out->ord = qp->terms.ord;
		out->known |= ERDMA_KNOWN_ADDRESSES | ERDMA_KNOWN_DEPTH;
	}
	out->detail = READ_ONCE(qp->event_detail);

	spin_lock_irqsave(&qp->ad->cm->qp_lock, flags);
	if (qp->ep)
		out->cep = qp->ep->handle;
	spin_unlock_irqrestore(&qp->ad->cm->qp_lock, flags);
}

/* Attributes change one by one while this reads them: a picture, no more. */
static void erdma_show_qp_roce(const struct erdma_qp *qp, struct erdma_info_qp *out)
{
	const struct ib_qp_attr *attrs = &qp->attrs;
	const struct ib_global_route *grh = &attrs->ah_attr.grh;
	struct erdma_roce_qp *roce = &out->roce;

	if (!READ_ONCE(qp->udp_port))
		return;
	out->known |= ERDMA_KNOWN_ROCE | ERDMA_KNOWN_ADDRESSES | ERDMA_KNOWN_DEPTH;
	memcpy(out->link.own, &qp->own_gid, sizeof(out->link.own));
	memcpy(out->link.peer, &grh->dgid, sizeof(out->link.peer));
	out->link.own_port = qp->udp_port;
	out->link.peer_port = ROCE_V2_UDP_DPORT;
	out->ord = attrs->max_rd_atomic;
	out->ird = attrs->max_dest_rd_atomic;
	roce->peer_qpn = attrs->dest_qp_num;
	roce->flow_label = grh->flow_label;
	roce->gid_index = grh->sgid_index;
	roce->path_mtu = attrs->path_mtu;
	roce->timeout = attrs->timeout;
	roce->retries = attrs->retry_cnt;
	roce->rnr_retries = attrs->rnr_retry;
	roce->rnr_timer = attrs->min_rnr_timer;
	roce->traffic_class = grh->traffic_class;
	roce->hop_limit = grh->hop_limit;
	roce->service_level = attrs->ah_attr.sl;
	memcpy(roce->mac, attrs->ah_attr.roce.dmac, sizeof(roce->mac));
}

void erdma_report_qp_indices(const struct erdma_qp *qp, struct erdma_info_qp *out)
{
	u64 record;

	if (qp->sent) {
		out->sq_pi = READ_ONCE(qp->sq_pi);
		out->sq_ci = READ_ONCE(qp->sq_ci);
		out->rq_pi = READ_ONCE(qp->rq_pi);
		out->rq_ci = READ_ONCE(qp->rq_ci);
		out->known |= ERDMA_KNOWN_SQ_PI | ERDMA_KNOWN_SQ_CI | ERDMA_KNOWN_RQ_PI |
			      ERDMA_KNOWN_RQ_CI;
		return;
	}

	/* What it posted is in the records of its doorbells; an untouched record says nothing. */
	record = erdma_user_record(qp->user_rec, qp->user_rec_dma);
	if (FIELD_GET(ERDMA_SQDB_QPN, record) == qp->ib.qp_num) {
		out->sq_pi = FIELD_GET(ERDMA_SQDB_PI, record);
		out->known |= ERDMA_KNOWN_SQ_PI;
	}
	record = erdma_user_record(qp->user_rec, qp->user_rec_dma + sizeof(u64));
	if (FIELD_GET(ERDMA_RQDB_QPN, record) == qp->ib.qp_num) {
		out->rq_pi = FIELD_GET(ERDMA_RQDB_PI, record);
		out->known |= ERDMA_KNOWN_RQ_PI;
	}
}

static void erdma_show_qp(struct erdma_listing *l, struct erdma_track *track, void *entry)
{
	struct erdma_qp *qp = container_of(track, struct erdma_qp, track);
	struct erdma_info_qp *out = entry;

	out->number = qp->ib.qp_num;
	out->state = erdma_qp_told_state(qp, READ_ONCE(qp->state));
	out->flags = (qp->datagram ? ERDMA_QP_FLAG_DATAGRAM : 0) |
		     (READ_ONCE(qp->failed) ? ERDMA_QP_FLAG_FAILED : 0) |
		     (READ_ONCE(qp->in_reset) ? ERDMA_QP_FLAG_RESET : 0);
	out->pd = to_erdma_pd(qp->ib.pd)->pdn;
	out->send_cq = qp->scq->cqn;
	out->recv_cq = qp->rcq->cqn;
	out->sq_depth = qp->sq_depth;
	out->rq_depth = qp->rq_depth;
	out->cc = READ_ONCE(qp->cc);
	out->age_ms = erdma_age_ms(track->born);
	erdma_show_owner(&out->owner, &track->owner);
	if (erdma_is_roce(&qp->ad->dev))
		erdma_show_qp_roce(qp, out);
	else
		erdma_show_qp_connection(qp, out);
	erdma_report_qp_indices(qp, out);
}

static int erdma_list_qps(struct erdma_listing *l)
{
	return erdma_list_tracked(l, ERDMA_TRACK_QP, sizeof(struct erdma_info_qp), erdma_show_qp);
}

/* PSNs of a QP that has left INIT, by its number. */
static int erdma_ask_qp_psns(struct erdma_listing *l, struct erdma_info_qp *out, ktime_t born)
{
	struct erdma_cmd_word request = { .value = cpu_to_le32(out->number) };
	u64 answer = 0;
	int err;

	if (!erdma_is_roce(&l->ad->dev) || out->state < ERDMA_QP_STATE_ROCE + ERDMA_ROCE_RTR)
		return 0;
	err = erdma_cmd_exec(&l->ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_QUERY_QP, &request,
			     sizeof(request), &answer, NULL);
	if (err || !erdma_still_tracked(l, ERDMA_TRACK_QP, out->number, born))
		return erdma_only_interrupts(err);
	out->known |= ERDMA_KNOWN_PSN;
	out->roce.sq_psn = FIELD_GET(ERDMA_QQP_SQ_PSN, answer);
	out->roce.rq_psn = FIELD_GET(ERDMA_QQP_RQ_PSN, answer);
	return 0;
}

/* What holds it, of an adapter that tells. */
static int erdma_ask_qp_flow(struct erdma_listing *l, struct erdma_info_qp *out, ktime_t born)
{
	struct erdma_flow_qp *flow = &out->flow;
	struct erdma_flow f;
	unsigned int i;
	int err;

	if (!(l->ad->dev.caps.model & ERDMA_MODEL_FLOW))
		return 0;
	err = erdma_query_block(&l->ad->dev, ERDMA_SUB_COMMON, ERDMA_CMD_QUERY_FLOW, out->number,
				&f, sizeof(f));
	if (err || f.head.len != sizeof(f) || f.limit >= ERDMA_LIMIT_COUNT ||
	    !(f.flags & ERDMA_FLOW_ACTIVE) ||
	    !erdma_still_tracked(l, ERDMA_TRACK_QP, out->number, born))
		return erdma_only_interrupts(err);

	BUILD_BUG_ON(ERDMA_FLOW_LIMITS != ERDMA_LIMIT_COUNT);
	out->known |= ERDMA_KNOWN_FLOW;
	flow->limit = f.limit;
	flow->flags = f.flags & ERDMA_FLOW_STARVING ? ERDMA_FLOW_FLAG_STARVING : 0;
	flow->frame_bytes = le32_to_cpu(f.frame_bytes);
	flow->window = le64_to_cpu(f.window);
	flow->threshold = le64_to_cpu(f.threshold);
	flow->flight = le64_to_cpu(f.flight);
	flow->peer_window = le64_to_cpu(f.peer_window);
	flow->rtt_ns = le64_to_cpu(f.rtt_ns);
	flow->rtt_variation_ns = le64_to_cpu(f.rtt_variation_ns);
	flow->timeout_ns = le64_to_cpu(f.timeout_ns);
	flow->repeats = le64_to_cpu(f.repeats);
	flow->recoveries = le64_to_cpu(f.recoveries);
	flow->timeouts = le64_to_cpu(f.timeouts);
	flow->not_ready = le64_to_cpu(f.not_ready);
	flow->out_of_order = le64_to_cpu(f.out_of_order);
	for (i = 0; i < ERDMA_LIMIT_COUNT; i++)
		flow->spent_ns[i] = le64_to_cpu(f.spent_ns[i]);
	flow->starved_ns = le64_to_cpu(f.starved_ns);
	return 0;
}

static int erdma_ask_qp(struct erdma_listing *l, u32 which)
{
	struct erdma_info_qp *out = (struct erdma_info_qp *)l->entries + which;
	struct erdma_hw_qp *hw = &out->hw;
	struct erdma_qpc c;
	int err;

	err = erdma_ask_qp_psns(l, out, l->born[which]);
	if (!err)
		err = erdma_ask_qp_flow(l, out, l->born[which]);
	if (err)
		return err;
	err = erdma_query_block(&l->ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_QUERY_QPC, out->number, &c,
				sizeof(c));
	if (err || !erdma_still_tracked(l, ERDMA_TRACK_QP, out->number, l->born[which]))
		return erdma_only_interrupts(err);

	out->known |= ERDMA_KNOWN_HARDWARE;
	hw->sq_enabled = c.sq.enabled;
	hw->sq_pi = le16_to_cpu(c.sq.pi);
	hw->sq_ci = le16_to_cpu(c.sq.ci);
	hw->rq_enabled = c.rq.enabled;
	hw->rq_pi = le16_to_cpu(c.rq.pi);
	hw->rq_ci = le16_to_cpu(c.rq.ci);
	hw->last_sqe = le16_to_cpu(c.last_sqe);
	hw->last_rqe = le16_to_cpu(c.last_rqe);
	hw->send_cqes = le16_to_cpu(c.send_cqes);
	hw->recv_cqes = le16_to_cpu(c.recv_cqes);
	hw->tx_packets = le16_to_cpu(c.tx_packets);
	hw->rx_packets = le16_to_cpu(c.rx_packets);
	hw->error_drops = le16_to_cpu(c.error_drops);
	hw->invalid_drops = le16_to_cpu(c.invalid_drops);
	hw->retransmits = le32_to_cpu(c.retransmits);
	hw->peer_qpn = le32_to_cpu(c.peer_qpn);
	hw->fw_sq_pi = le16_to_cpu(c.fw_sq_pi);
	hw->fw_sq_ci = le16_to_cpu(c.fw_sq_ci);
	hw->fw_rq_ci = le16_to_cpu(c.fw_rq_ci);
	hw->sq_flushing = c.sq_flushing;
	hw->rq_flushing = c.rq_flushing;
	hw->sq_flushed = le16_to_cpu(c.sq_flushed);
	hw->rq_flushed = le16_to_cpu(c.rq_flushed);
	return 0;
}

/* ---- completion queues ---- */

static void erdma_show_cq(struct erdma_listing *l, struct erdma_track *track, void *entry)
{
	struct erdma_cq *cq = container_of(track, struct erdma_cq, track);
	struct erdma_info_cq *out = entry;
	u64 record;

	out->number = cq->cqn;
	out->depth = cq->depth;
	out->eq = cq->assoc_eqn + 1;
	out->events = READ_ONCE(cq->events);
	out->skipped = READ_ONCE(cq->skipped);
	out->nonsense = READ_ONCE(cq->nonsense);
	out->age_ms = erdma_age_ms(track->born);
	erdma_show_owner(&out->owner, &track->owner);

	if (cq->ring) {
		out->ci = READ_ONCE(cq->ci);
		out->doorbells = READ_ONCE(cq->arm_idx);
		out->known |= ERDMA_KNOWN_SQ_CI;
		return;
	}
	record = erdma_user_record(cq->user_rec, cq->user_rec_dma);
	if (FIELD_GET(ERDMA_CQDB_CQN, record) == cq->cqn) {
		out->ci = FIELD_GET(ERDMA_CQDB_CI, record);
		out->known |= ERDMA_KNOWN_SQ_CI;
	}
}

static int erdma_list_cqs(struct erdma_listing *l)
{
	return erdma_list_tracked(l, ERDMA_TRACK_CQ, sizeof(struct erdma_info_cq), erdma_show_cq);
}

static int erdma_ask_cq(struct erdma_listing *l, u32 which)
{
	struct erdma_info_cq *out = (struct erdma_info_cq *)l->entries + which;
	struct erdma_cqc c;
	int err;

	err = erdma_query_block(&l->ad->dev, ERDMA_SUB_RDMA, ERDMA_CMD_QUERY_CQC, out->number, &c,
				sizeof(c));
	if (err || !erdma_still_tracked(l, ERDMA_TRACK_CQ, out->number, l->born[which]))
		return erdma_only_interrupts(err);

	out->known |= ERDMA_KNOWN_HARDWARE;
	out->hw.pi = le32_to_cpu(c.pi);
	out->hw.enabled = c.enabled;
	out->hw.log_depth = c.log_depth;
	out->hw.owner_bit = c.owner;
	out->hw.bad_doorbell_type = c.bad_type;
	out->hw.bad_doorbell_ci = le32_to_cpu(c.bad_ci);
	out->hw.out_of_order = c.out_of_order;
	out->hw.duplicates = c.duplicates;
	return 0;
}

/* ---- event queues ---- */

static const struct erdma_eq *erdma_eq_by_number(const struct erdma_adapter *ad, u32 number)
{
	if (number == 0)
		return &ad->dev.aeq;
	return number == 1 ? &ad->dev.cmdq.eq : &ad->dev.ceqs[number - 2].eq;
}

static int erdma_list_eqs(struct erdma_listing *l)
{
	struct erdma_adapter *ad = l->ad;
	struct erdma_info_eq *out = l->entries;
	u32 total = ad->dev.num_ceqs + 2, filled = 0;

	for (; l->cursor < total && filled < l->room; l->cursor++, filled++, out++) {
		u32 number = l->cursor;
		const struct erdma_eq *eq = erdma_eq_by_number(ad, number);
		const struct erdma_ceq *ceq = number < 2 ? NULL : &ad->dev.ceqs[number - 2];

		out->number = number;
		out->known = ERDMA_KNOWN_SQ_CI | ERDMA_KNOWN_IRQ;
		out->depth = eq->depth;
		out->ci = READ_ONCE(eq->ci);
		out->vector = ceq ? ceq->vector : 0;
		out->irq = pci_irq_vector(ad->dev.pdev, out->vector);
		out->cpu = ceq ? cpumask_first(&ceq->affinity) : ~0U;
		out->events = READ_ONCE(eq->events);
		out->bad_events = READ_ONCE(eq->bad_events);
		strscpy(out->irq_name, ceq ? ceq->irq_name : ad->dev.common_irq_name,
			sizeof(out->irq_name));
	}
	l->end = l->cursor >= total;
	return filled;
}

static int erdma_ask_eq(struct erdma_listing *l, u32 which)
{
	struct erdma_info_eq *out = (struct erdma_info_eq *)l->entries + which;
	struct erdma_eqc c;
	int err;

	err = erdma_query_block(&l->ad->dev, ERDMA_SUB_COMMON, ERDMA_CMD_QUERY_EQC, out->number, &c,
				sizeof(c));
	if (err)
		return erdma_only_interrupts(err);

	out->known |= ERDMA_KNOWN_HARDWARE;
	out->hw.depth = le16_to_cpu(c.depth);
	out->hw.vector = le16_to_cpu(c.vector);
	out->hw.suppressed = c.suppressed;
	out->hw.tail_owner = c.tail_owner;
	out->hw.head_owner = c.head_owner;
	out->hw.overflow = c.overflow;
	out->hw.head = le32_to_cpu(c.head_index);
	out->hw.tail = le32_to_cpu(c.tail_index);
	return 0;
}

/* ---- regions, protection domains, contexts ---- */

static void erdma_show_mr(struct erdma_listing *l, struct erdma_track *track, void *entry)
{
	struct erdma_mr *mr = container_of(track, struct erdma_mr, track);
	struct erdma_info_mr *out = entry;

	out->number = mr->index;
	out->type = mr->type;
	out->lkey = READ_ONCE(mr->ib.lkey);
	out->rkey = READ_ONCE(mr->ib.rkey);
	out->pd = mr->pdn;
	out->access = mr->access;
	out->page_shift = mr->table.page_shift;
	out->level = mr->table.level;
	out->pages = mr->table.count;
	out->start = mr->start;
	out->length = mr->length;
	out->age_ms = erdma_age_ms(track->born);
	erdma_show_owner(&out->owner, &track->owner);
}

static int erdma_list_mrs(struct erdma_listing *l)
{
	return erdma_list_tracked(l, ERDMA_TRACK_MR, sizeof(struct erdma_info_mr), erdma_show_mr);
}

static void erdma_show_pd(struct erdma_listing *l, struct erdma_track *track, void *entry)
{
	struct erdma_pd *pd = container_of(track, struct erdma_pd, track);
	struct erdma_info_pd *out = entry;

	out->number = pd->pdn;
	out->users = atomic_read(&pd->ib.usecnt);
	out->age_ms = erdma_age_ms(track->born);
	erdma_show_owner(&out->owner, &track->owner);
}

static int erdma_list_pds(struct erdma_listing *l)
{
	return erdma_list_tracked(l, ERDMA_TRACK_PD, sizeof(struct erdma_info_pd), erdma_show_pd);
}

static void erdma_show_ctx(struct erdma_listing *l, struct erdma_track *track, void *entry)
{
	struct erdma_ucontext *uc = container_of(track, struct erdma_ucontext, track);
	struct erdma_info_ctx *out = entry;

	out->number = track->number;
	out->doorbell_type = uc->db_type;
	out->doorbell_index = uc->db_index;
	out->sq_page = uc->ext_sq_page;
	out->rq_page = uc->ext_rq_page;
	out->cq_page = uc->ext_cq_page;
	out->age_ms = erdma_age_ms(track->born);
	erdma_show_owner(&out->owner, &track->owner);
}

static int erdma_list_contexts(struct erdma_listing *l)
{
	return erdma_list_tracked(l, ERDMA_TRACK_CTX, sizeof(struct erdma_info_ctx),
				  erdma_show_ctx);
}

/* ---- connections ---- */

static void erdma_show_ep(const struct erdma_ep *ep, struct erdma_info_cep *out)
{
	out->number = ep->handle;
	out->state = READ_ONCE(ep->state);
	out->qp = READ_ONCE(ep->qpn);
	out->passive = READ_ONCE(ep->link.passive);
	out->ird = READ_ONCE(ep->ird);
	out->ord = READ_ONCE(ep->ord);
	out->mpa_revision = READ_ONCE(ep->revision);
	out->fallback = READ_ONCE(ep->fallback);
	out->known = ERDMA_KNOWN_DEPTH;
	out->age_ms = erdma_age_ms(ep->born);
	out->state_age_ms = erdma_age_ms(READ_ONCE(ep->state_since));
	erdma_show_owner(&out->owner, &ep->owner);
	if (READ_ONCE(ep->link.own_port)) {
		erdma_show_link(&out->link, &ep->link);
		out->known |= ERDMA_KNOWN_ADDRESSES;
	}
}

/* Endpoints leave the table before they go, so the table's lock keeps them. */
static int erdma_list_endpoints(struct erdma_listing *l)
{
	struct erdma_cm *cm = l->ad->cm;
	struct erdma_info_cep *out = l->entries;
	unsigned long handle = l->cursor;
	u32 filled = 0, scanned;
	struct erdma_ep *ep;

	xa_lock(&cm->eps);
	ep = xa_find(&cm->eps, &handle, U32_MAX, XA_PRESENT);
	for (scanned = 0; ep && filled < l->room && scanned < ERDMA_SCAN_MOST; scanned++) {
		l->cursor = (u64)handle + 1;
		if (erdma_owner_visible(l, &ep->owner))
			erdma_show_ep(ep, &out[filled++]);
		else
			l->hidden++;
		ep = xa_find_after(&cm->eps, &handle, U32_MAX, XA_PRESENT);
	}
	xa_unlock(&cm->eps);
	if (!ep)
		l->cursor = ERDMA_CEP_LISTENERS;
	return filled;
}

static void erdma_show_listener(const struct erdma_listener *lis, struct erdma_info_cep *out)
{
	struct erdma_link link = { .own_ip = lis->addr.ip, .own_port = lis->port };

	out->number = ERDMA_CEP_LISTENERS | lis->number;
	out->state = ERDMA_CEP_STATE_LISTEN;
	out->passive = 1;
	out->backlog = lis->backlog;
	out->pending = atomic_read(&lis->children);
	out->known = ERDMA_KNOWN_ADDRESSES;
	out->age_ms = erdma_age_ms(lis->born);
	out->state_age_ms = out->age_ms;
	erdma_show_owner(&out->owner, &lis->owner);
	erdma_show_link(&out->link, &link);
}

static int erdma_list_ceps(struct erdma_listing *l)
{
	struct erdma_cm *cm = l->ad->cm;
	struct erdma_info_cep *out = l->entries;
	const struct erdma_listener *lis;
	u32 filled = 0;
	u64 number;

	if (!cm) {
		/* RoCEv2: ib_core's connection manager has them. */
		l->end = true;
		return 0;
	}
	if (l->cursor < ERDMA_CEP_LISTENERS)
		return erdma_list_endpoints(l);

	if (mutex_lock_interruptible(&cm->listen_lock))
		return -EINTR;
	l->end = true;
	/* New ones are added at the end, with higher numbers. */
	list_for_each_entry(lis, &cm->listeners, node) {
		number = ERDMA_CEP_LISTENERS | lis->number;
		if (number < l->cursor)
			continue;
		if (filled == l->room) {
			l->end = false;
			break;
		}
		l->cursor = number + 1;
		if (erdma_owner_visible(l, &lis->owner))
			erdma_show_listener(lis, &out[filled++]);
		else
			l->hidden++;
	}
	mutex_unlock(&cm->listen_lock);
	return filled;
}

/* ---- counters ---- */

static int erdma_list_counters(struct erdma_listing *l)
{
	u32 total = erdma_counters_total();
	int filled;

	if (l->cursor >= total) {
		l->end = true;
		return 0;
	}
	filled = erdma_counters_list(&l->ad->dev, l->cursor, l->entries, l->room);
	if (filled > 0)
		l->cursor += filled;
	l->end = l->cursor >= total;
	return filled;
}

/* ---- all kinds ---- */

const struct erdma_report erdma_reports[ERDMA_KIND_COUNT] = {
	/* Adapters are listed by erdma_diag_ioctl.c, which has them. */
	[ERDMA_KIND_DEVICE] = { sizeof(struct erdma_info_device) },
	[ERDMA_KIND_QP] = { sizeof(struct erdma_info_qp), erdma_list_qps, erdma_ask_qp },
	[ERDMA_KIND_CQ] = { sizeof(struct erdma_info_cq), erdma_list_cqs, erdma_ask_cq },
	[ERDMA_KIND_EQ] = { sizeof(struct erdma_info_eq), erdma_list_eqs, erdma_ask_eq },
	[ERDMA_KIND_MR] = { sizeof(struct erdma_info_mr), erdma_list_mrs },
	[ERDMA_KIND_PD] = { sizeof(struct erdma_info_pd), erdma_list_pds },
	[ERDMA_KIND_CTX] = { sizeof(struct erdma_info_ctx), erdma_list_contexts },
	[ERDMA_KIND_CEP] = { sizeof(struct erdma_info_cep), erdma_list_ceps },
	[ERDMA_KIND_COUNTER] = { sizeof(struct erdma_info_counter), erdma_list_counters },
	[ERDMA_KIND_CONF] = { sizeof(struct erdma_info_conf), erdma_conf_list },
	[ERDMA_KIND_FINDING] = { sizeof(struct erdma_info_finding), erdma_check_list },
};
