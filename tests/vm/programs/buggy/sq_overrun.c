// SPDX-License-Identifier: GPL-2.0-or-later
/* More sends are under way than max_send_wr allows. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    struct options options = {.send_wr = 16, .recv_wr = 64, .cqe = 64};
    const uint64_t together = right ? 16 : 32;
    pair_open(&p, &options);
    for (uint64_t i = 0; i < 32; i += together) {
        for (uint64_t k = i; k < i + together; k++)
            send_message(&p, k, 0, 16);
        /* The receiver has no room before, so that they stay under way. */
        for (uint64_t k = i; k < i + together; k++)
            receive_message(&p, k, 4096 + 64 * k, 64);
        for (uint64_t k = i; k < i + together; k++)
            wc_good(p.client.scq, k);
    }
    pair_close(&p);
}

PROGRAM(work)
