// SPDX-License-Identifier: GPL-2.0-or-later
/* Many small messages, which the adapter has to fetch from memory one by one. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    for (uint64_t i = 0; i < 1100; i++) {
        struct work write = write_to_server(&p, i, 0, 64);
        write.flags = right ? IBV_SEND_INLINE : 0;
        VERB(post(&p.client, &write));
        wc_good(p.client.scq, i);
    }
    pair_close(&p);
}

PROGRAM(work)
