// SPDX-License-Identifier: GPL-2.0-or-later
/* Completions are there when the program arms its queue, and it waits without a look. */
#include "buggy.h"

#include <unistd.h>

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    for (uint64_t i = 0; i < 3; i++) {
        struct work write = write_to_server(&p, i, 0, 1024);
        VERB(post(&p.client, &write));
    }
    usleep(500000);
    CALL(ibv_req_notify_cq(p.client.scq, 0));
    if (!right) {
        struct ibv_cq *cq;
        void *context;
        CALL(ibv_get_cq_event(p.client.channel, &cq, &context));
        ibv_ack_cq_events(cq, 1);
    }
    /* In their order, whoever looked before. */
    for (uint64_t i = 0; i < 3; i++)
        wc_good(p.client.scq, i);
    wc_none(p.client.scq, 10);
    pair_close(&p);
}

PROGRAM(work)
