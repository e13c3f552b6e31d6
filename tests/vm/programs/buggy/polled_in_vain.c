// SPDX-License-Identifier: GPL-2.0-or-later
/* Nothing is to come for a while, and the program polls all the time. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    struct ibv_wc wc;
    pair_open(&p, NULL);
    for (int i = 0; i < 150000 && !right; i++)
        EXPECT_EQ("completions", 0, ibv_poll_cq(p.client.scq, 1, &wc));
    struct work write = write_to_server(&p, 1, 0, 1024);
    CALL(ibv_req_notify_cq(p.client.scq, 0));
    VERB(post(&p.client, &write));
    if (right) {
        struct ibv_cq *cq;
        EXPECT(cq_event_wait(p.client.channel, &cq, 5000));
    }
    wc_good(p.client.scq, 1);
    pair_close(&p);
}

PROGRAM(work)
