// SPDX-License-Identifier: GPL-2.0-or-later
/* Several busy completion queues, all with the same vector. */
#include "buggy.h"

enum { QUEUES = 4, TIMES = 600 };

static void work(void) {
    struct pair p;
    struct ibv_cq *cqs[QUEUES];
    pair_open(&p, NULL);
    struct ibv_context *verbs = p.client.id->verbs;
    EXPECT(verbs->num_comp_vectors >= 2);
    for (int i = 0; i < QUEUES; i++) {
        cqs[i] = ibv_create_cq(verbs, 16, NULL, p.client.channel, right ? i % verbs->num_comp_vectors : 0);
        EXPECT(cqs[i] != NULL);
    }
    for (int i = 0; i < TIMES * QUEUES; i++)
        CALL(ibv_req_notify_cq(cqs[i % QUEUES], 0));
    for (int i = 0; i < QUEUES; i++)
        CALL(ibv_destroy_cq(cqs[i]));
    pair_close(&p);
}

PROGRAM(work)
