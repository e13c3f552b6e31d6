// SPDX-License-Identifier: GPL-2.0-or-later
/* A queue is armed before each poll, and the program never waits for its events. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    for (uint64_t i = 0; i < 120; i++) {
        struct work write = write_to_server(&p, i, 0, 64);
        write.flags = IBV_SEND_INLINE;
        if (!right)
            CALL(ibv_req_notify_cq(p.client.scq, 0));
        VERB(post(&p.client, &write));
        wc_good(p.client.scq, i);
    }
    pair_close(&p);
}

PROGRAM(work)
