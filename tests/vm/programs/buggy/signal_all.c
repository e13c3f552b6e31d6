// SPDX-License-Identifier: GPL-2.0-or-later
/* Each of many requests is signalled, though several are under way at a time. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    for (uint64_t i = 0; i < 1120; i += 32) {
        for (uint64_t j = i; j < i + 32; j++) {
            struct work write = write_to_server(&p, j, 0, 1024);
            write.silent = right && j % 8 != 7;
            VERB(post(&p.client, &write));
        }
        for (uint64_t j = i; j < i + 32; j++)
            if (!right || j % 8 == 7)
                wc_good(p.client.scq, j);
    }
    pair_close(&p);
}

PROGRAM(work)
