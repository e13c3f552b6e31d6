// SPDX-License-Identifier: GPL-2.0-or-later
/* The buffer of a send is written to before its completion. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    for (int i = 0; i < 20; i++) {
        receive_message(&p, 1, 4096, 1024);
        memset(p.client.buf, i, 1024);
        send_message(&p, 2, 0, 1024);
        if (right)
            wc_good(p.client.scq, 2);
        memset(p.client.buf, 0x80 + i, 1024); /* the next message is prepared */
        if (!right)
            wc_good(p.client.scq, 2);
        wc_good(p.server.rcq, 1);
    }
    pair_close(&p);
}

PROGRAM(work)
