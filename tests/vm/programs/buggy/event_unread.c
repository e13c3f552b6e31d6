// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The server's queue pair fails, as the client has written where it may not (both variants have that mistake).  Nothing
 * is posted there that could fail, too: only an asynchronous event tells the server, and nobody fetches it.
 */
#include "buggy.h"

static void work(void) {
    struct pair p;
    struct ibv_async_event event;
    struct options options = {.access = IBV_ACCESS_LOCAL_WRITE};
    pair_open(&p, &options);
    struct work write = write_to_server(&p, 1, 0, 1024);
    VERB(post(&p.client, &write));
    if (wc_next(p.client.scq, 3000).status == IBV_WC_SUCCESS)
        fail("a write to a region without the right for it was done");
    if (right)
        EXPECT(async_wait(p.server.id->verbs, &event, 3000));
    else
        wc_none(p.server.scq, 1000);
    pair_close(&p);
}

PROGRAM(work)
