// SPDX-License-Identifier: GPL-2.0-or-later
/* Many small writes to places one behind the other. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    for (uint64_t i = 0; i < 16; i++) {
        const uint32_t bytes = right ? 1024 : 64, count = 1024 / bytes;
        for (uint64_t j = 0; j < count; j++) {
            struct work write = write_to_server(&p, j, bytes * j, bytes);
            VERB(post(&p.client, &write));
        }
        for (uint64_t j = 0; j < count; j++)
            wc_good(p.client.scq, j);
    }
    pair_close(&p);
}

PROGRAM(work)
