// SPDX-License-Identifier: GPL-2.0-or-later
/* The peer gives the connection up; an asynchronous event says so, which nobody fetches. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    struct ibv_async_event event;
    pair_open(&p, NULL);
    receive_message(&p, 1, 4096, 1024);
    send_message(&p, 2, 0, 2048); /* more than the receive has room for */
    if (wc_next(p.server.rcq, 3000).status == IBV_WC_SUCCESS)
        fail("a message of 2048 bytes fits into 1024");
    if (right) {
        while (async_wait(p.client.id->verbs, &event, 1000))
            ;
    } else {
        wc_none(p.server.scq, 1000);
    }
    pair_close(&p);
}

PROGRAM(work)
