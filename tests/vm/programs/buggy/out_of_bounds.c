// SPDX-License-Identifier: GPL-2.0-or-later
/* A write ends 12 bytes behind the end of the region. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    struct work write = write_to_server(&p, 1, p.server.bytes - 1024 + (right ? 0 : 12), 1024);
    VERB(post(&p.client, &write));
    wc_expect(p.client.scq, 1, right ? IBV_WC_SUCCESS : IBV_WC_REM_ACCESS_ERR);
    pair_close(&p);
}

PROGRAM(work)
