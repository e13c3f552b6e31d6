/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In place of libibverbs: one device whose completions and events a test makes. */
#ifndef ERDMA_TESTS_FAKE_VERBS_H
#define ERDMA_TESTS_FAKE_VERBS_H

#include <infiniband/verbs.h>

struct ibv_device *fake_device(void);
void fake_complete(struct ibv_cq *cq, uint32_t qpn, uint64_t wr_id, enum ibv_wc_status status);
void fake_event(struct ibv_qp *qp, enum ibv_event_type type);

#endif
