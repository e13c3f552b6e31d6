// SPDX-License-Identifier: GPL-2.0-or-later
/* Two receives have the same buffer. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    receive_message(&p, 1, 4096, 1024);
    receive_message(&p, 2, right ? 8192 : 4096, 1024);
    for (uint64_t i = 1; i <= 2; i++) {
        send_message(&p, 10 + i, 0, 1024);
        wc_good(p.client.scq, 10 + i);
        wc_good(p.server.rcq, i);
    }
    pair_close(&p);
}

PROGRAM(work)
