// SPDX-License-Identifier: GPL-2.0-or-later
/* A receive buffer is cleared after it was posted. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    for (int i = 0; i < 5; i++) {
        if (right)
            memset(p.server.buf + 4096, i, 1024);
        receive_message(&p, 1, 4096, 1024);
        if (!right)
            memset(p.server.buf + 4096, i, 1024);
        send_message(&p, 2, 0, 1024);
        wc_good(p.client.scq, 2);
        wc_good(p.server.rcq, 1);
        memset(p.server.buf + 4096, 0xFF, 1024);
    }
    pair_close(&p);
}

PROGRAM(work)
