/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: counters.  The lists below are the one place that names them: enum,
 * names for ib_core and the diagnostics device, and the explanations that operators read come from
 * here.
 */
#ifndef ERDMA_STATS_H
#define ERDMA_STATS_H

#include <linux/types.h>

/* X(name, explanation): the block of GET_STATS, in its order (adapter.md 4.14). */
#define ERDMA_HW_COUNTERS(X) \
	X(tx_reqs_cnt, "work requests sent") \
	X(tx_packets_cnt, "packets sent") \
	X(tx_bytes_cnt, "bytes sent") \
	X(tx_disable_drop_cnt, "packets not sent because the device is disabled") \
	X(tx_bps_limit_drop_cnt, "packets not sent because of the bandwidth limit") \
	X(tx_pps_limit_drop_cnt, "packets not sent because of the packet rate limit") \
	X(rx_packets_cnt, "packets received") \
	X(rx_bytes_cnt, "bytes received") \
	X(rx_disable_drop_cnt, "packets dropped because the device is disabled") \
	X(rx_bps_limit_drop_cnt, "packets dropped because of the bandwidth limit") \
	X(rx_pps_limit_drop_cnt, "packets dropped because of the packet rate limit")

/* X(group, name, value, explanation): kept elsewhere; `dev` is the struct erdma_dev. */
#define ERDMA_KEPT_COUNTERS(X) \
	X(CMDQ, cmdq_submitted_cnt, dev->cmdq.submitted, "commands given to the device") \
	X(CMDQ, cmdq_completed_cnt, dev->cmdq.completed, "commands that the device answered") \
	X(CMDQ, cmdq_failed_cnt, dev->cmdq.failed, \
	  "commands that the device answered with an error") \
	X(CMDQ, cmdq_timeout_cnt, dev->cmdq.timeouts, \
	  "commands without an answer in time; the first one ends the device's use") \
	X(CMDQ, cmdq_late_cnt, dev->cmdq.late, "answers to commands that had been given up") \
	X(CMDQ, cmdq_bad_cnt, dev->cmdq.bad, "answers that fit no command") \
	X(CMDQ, cmdq_rescued_cnt, dev->cmdq.rescued, "answers that came without an interrupt") \
	X(CMDQ, cmdq_events_cnt, dev->cmdq.eq.events, "events of the command queue") \
	X(EQ, aeq_events_cnt, dev->aeq.events, "asynchronous events") \
	X(EQ, aeq_bad_events_cnt, dev->aeq.bad_events, \
	  "asynchronous events that named nothing that exists") \
	X(EQ, ceq_events_cnt, erdma_sum_ceqs(dev, false), "completion events") \
	X(EQ, ceq_bad_events_cnt, erdma_sum_ceqs(dev, true), \
	  "completion events that named no CQ that exists")

/* X(group, name, explanation): counted with erdma_count(). */
#define ERDMA_OWN_COUNTERS(X) \
	X(CM, cm_listen_cnt, "listeners started") \
	X(CM, cm_listen_failed_cnt, "listeners that could not be started") \
	X(CM, cm_connect_cnt, "connections begun from here") \
	X(CM, cm_connect_failed_cnt, "connections that failed at once or on the way") \
	X(CM, cm_accept_cnt, "connection requests accepted") \
	X(CM, cm_accept_failed_cnt, "connection requests whose acceptance failed") \
	X(CM, cm_reject_cnt, "connection requests rejected here") \
	X(CM, cm_rejected_cnt, "connections that the peer rejected") \
	X(CM, cm_refused_cnt, "connections to ports where nobody listens") \
	X(CM, cm_timeout_cnt, "connections that the peer did not answer in time") \
	X(CM, cm_reset_cnt, "connections that the peer closed during setup") \
	X(CM, cm_fallback_cnt, "connections tried again with another revision of MPA") \
	X(CM, cm_crc_cnt, "connections whose data has CRCs") \
	X(CM, cm_crc_refused_cnt, \
	  "connections given up because one side wants CRCs and the other has none") \
	X(CM, cm_requests_cnt, "connection requests received") \
	X(CM, cm_bad_requests_cnt, "incoming connections that sent no valid request") \
	X(CM, cm_misrouted_cnt, \
	  "connections given up because their packets do not pass the paired interface") \
	X(CM, cm_translated_cnt, \
	  "connections given up because the kernel translates their addresses or ports") \
	X(CM, cm_established_cnt, "connections handed over to the device") \
	X(CM, cm_disconnected_cnt, "connections that the peer ended") \
	X(EQ, eq_rescued_cnt, \
	  "event queues whose interrupt did not come though there were events") \
	X(VERBS, verbs_alloc_ctx_cnt, "contexts opened") \
	X(VERBS, verbs_alloc_ctx_failed_cnt, "contexts that could not be opened") \
	X(VERBS, verbs_dealloc_ctx_cnt, "contexts closed") \
	X(VERBS, verbs_alloc_pd_cnt, "protection domains made") \
	X(VERBS, verbs_alloc_pd_failed_cnt, "protection domains that could not be made") \
	X(VERBS, verbs_dealloc_pd_cnt, "protection domains removed") \
	X(VERBS, verbs_reg_mr_cnt, "memory regions registered") \
	X(VERBS, verbs_reg_mr_failed_cnt, "memory regions that could not be registered") \
	X(VERBS, verbs_dereg_mr_cnt, "memory regions removed") \
	X(VERBS, verbs_create_cq_cnt, "completion queues made") \
	X(VERBS, verbs_create_cq_failed_cnt, "completion queues that could not be made") \
	X(VERBS, verbs_destroy_cq_cnt, "completion queues removed") \
	X(VERBS, verbs_create_qp_cnt, "queue pairs made") \
	X(VERBS, verbs_create_qp_failed_cnt, "queue pairs that could not be made") \
	X(VERBS, verbs_modify_qp_cnt, "queue pairs modified") \
	X(VERBS, verbs_modify_qp_failed_cnt, "queue pairs that could not be modified") \
	X(VERBS, verbs_destroy_qp_cnt, "queue pairs removed") \
	X(VERBS, qp_fatal_events_cnt, "queue pairs that the device stopped with an error") \
	X(VERBS, qp_crc_errors_cnt, "queue pairs stopped because data came with a wrong CRC") \
	X(VERBS, qp_dialect_errors_cnt, \
	  "queue pairs stopped by an operation that the peer's dialect does not have")

enum erdma_own_counter {
#define ERDMA_COUNTER_ID(group, name, help) ERDMA_CNT_##name,
	ERDMA_OWN_COUNTERS(ERDMA_COUNTER_ID)
#undef ERDMA_COUNTER_ID
	ERDMA_OWN_COUNTER_COUNT,
};

/* Adds one.  Any context; for control paths only. */
#define erdma_count(dev, name) atomic64_inc(&(dev)->counters[ERDMA_CNT_##name])
/* One of a pair, by the outcome of a call; its value is that outcome. */
#define erdma_count_call(dev, name, err) \
	({ \
		int outcome_ = (err); \
		if (outcome_) \
			erdma_count(dev, name##_failed_cnt); \
		else \
			erdma_count(dev, name##_cnt); \
		outcome_; \
	})

#endif
