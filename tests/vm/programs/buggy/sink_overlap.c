// SPDX-License-Identifier: GPL-2.0-or-later
/* Two receive buffers share 512 bytes. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    receive_message(&p, 1, 4096, 1024);
    receive_message(&p, 2, right ? 4096 + 1024 : 4096 + 512, 1024);
    for (uint64_t i = 1; i <= 2; i++) {
        send_message(&p, i, 0, 1024);
        wc_good(p.client.scq, i);
        wc_good(p.server.rcq, i);
    }
    pair_close(&p);
}

PROGRAM(work)
