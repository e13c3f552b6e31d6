// SPDX-License-Identifier: GPL-2.0-or-later
/* A receive is posted though the one before has failed, which nobody looked at. */
#include "buggy.h"

#include <unistd.h>

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    receive_message(&p, 1, 4096, 1024);
    send_message(&p, 2, 0, 2048); /* more than the receive has room for */
    if (wc_next(p.client.scq, 3000).status == IBV_WC_SUCCESS)
        fail("a message that did not fit was sent");
    if (right) {
        if (wc_next(p.server.rcq, 3000).status == IBV_WC_SUCCESS)
            fail("a message of 2048 bytes fits into 1024");
    } else {
        sleep(1);
        receive_message(&p, 3, 4096, 1024);
        wc_next(p.server.rcq, 3000); /* too late */
    }
    pair_close(&p);
}

PROGRAM(work)
