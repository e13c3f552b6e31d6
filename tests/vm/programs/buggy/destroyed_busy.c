// SPDX-License-Identifier: GPL-2.0-or-later
/* A connection is given up while messages are under way, for which the peer has no room yet. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    for (uint64_t i = 0; i < 4; i++) {
        if (right)
            receive_message(&p, i, 4096 * (i + 1), 4096);
        send_message(&p, i, 4096 * (i + 1), 4096);
    }
    for (uint64_t i = 0; right && i < 4; i++)
        wc_good(p.client.scq, i);
    rdma_destroy_qp(p.client.id);
    p.client.qp = NULL;
    pair_close(&p);
}

PROGRAM(work)
