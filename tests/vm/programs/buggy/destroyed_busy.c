// SPDX-License-Identifier: GPL-2.0-or-later
/* A connection is given up while a write is under way. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    for (uint64_t i = 0; i < 16; i++) {
        struct work write = write_to_server(&p, i, 0, 16384);
        VERB(post(&p.client, &write));
    }
    for (uint64_t i = 0; right && i < 16; i++)
        wc_good(p.client.scq, i);
    rdma_destroy_qp(p.client.id);
    p.client.qp = NULL;
    pair_close(&p);
}

PROGRAM(work)
