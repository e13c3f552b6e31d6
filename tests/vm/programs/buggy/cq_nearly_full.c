// SPDX-License-Identifier: GPL-2.0-or-later
/* Completions wait until the queue is nearly full before anybody polls. */
#include "buggy.h"

#include <unistd.h>

static void work(void) {
    struct pair p;
    struct options options = {.cqe = 64};
    pair_open(&p, &options);
    for (uint64_t i = 0; i < 60; i++) {
        struct work write = write_to_server(&p, i, 0, 1024);
        VERB(post(&p.client, &write));
        if (right)
            wc_good(p.client.scq, i);
    }
    if (!right)
        sleep(1);
    CALL(ibv_req_notify_cq(p.client.scq, 0));
    for (uint64_t i = 0; i < 60 && !right; i++)
        wc_good(p.client.scq, i);
    pair_close(&p);
}

PROGRAM(work)
