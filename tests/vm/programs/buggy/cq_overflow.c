// SPDX-License-Identifier: GPL-2.0-or-later
/* More receives are posted than the completion queue has entries. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    struct options options = {.recv_wr = 256, .cqe = right ? 256 : 64};
    pair_open(&p, &options);
    for (uint64_t i = 0; i < 200; i++)
        receive_message(&p, i, 4096 + 64 * i, 64);
    for (uint64_t i = 0; i < 200; i++) {
        send_message(&p, i, 0, 64);
        wc_good(p.client.scq, i);
        wc_good(p.server.rcq, i);
    }
    pair_close(&p);
}

PROGRAM(work)
