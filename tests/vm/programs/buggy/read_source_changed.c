// SPDX-License-Identifier: GPL-2.0-or-later
/* The peer reads memory that is written to meanwhile. */
#include "buggy.h"

enum { BYTES = 65536 };

static void work(void) {
    struct pair p;
    struct options options = {.bytes = 2 * BYTES};
    pair_open(&p, &options);
    for (uint64_t i = 0; i < 100; i++) {
        struct work read = read_of_server(&p, i, 0, BYTES);
        struct ibv_wc wc;
        memset(p.server.buf, (int)i, BYTES);
        VERB(post(&p.client, &read));
        while (!right && ibv_poll_cq(p.client.scq, 1, &wc) == 0)
            p.server.buf[BYTES - 1]++; /* as another thread of the server's may do at any time */
        if (right)
            wc_good(p.client.scq, i);
    }
    pair_close(&p);
}

PROGRAM(work)
