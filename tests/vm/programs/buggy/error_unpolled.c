// SPDX-License-Identifier: GPL-2.0-or-later
/* A request has failed, and the program ends its connection without a look at the completion that says so. */
#include "buggy.h"

#include <unistd.h>

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    receive_message(&p, 1, 4096, 1024);
    send_message(&p, 2, 0, 2048); /* more than the receive has room for */
    if (right) {
        if (wc_next(p.server.rcq, 3000).status == IBV_WC_SUCCESS)
            fail("a message of 2048 bytes fits into 1024");
        if (wc_next(p.client.scq, 3000).status == IBV_WC_SUCCESS)
            fail("a message that did not fit was sent");
    } else {
        sleep(1);
    }
    pair_close(&p);
}

PROGRAM(work)
