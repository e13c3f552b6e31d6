// SPDX-License-Identifier: GPL-2.0-or-later
/* The peer writes to memory that was registered for reading only. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    struct options options = {.access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ |
                                        (right ? IBV_ACCESS_REMOTE_WRITE : 0)};
    pair_open(&p, &options);
    struct work write = write_to_server(&p, 1, 0, 1024);
    VERB(post(&p.client, &write));
    wc_expect(p.client.scq, 1, right ? IBV_WC_SUCCESS : IBV_WC_REM_ACCESS_ERR);
    pair_close(&p);
}

PROGRAM(work)
