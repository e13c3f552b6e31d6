// SPDX-License-Identifier: GPL-2.0-or-later
/* The peer writes to memory that was deregistered. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    struct work write = write_to_server(&p, 1, 0, 1024);
    unsigned char *memory = get_memory(4096);
    struct ibv_mr *mr = region(p.server.pd, memory, 4096, ACCESS_ALL);
    write.remote = (uintptr_t)memory;
    write.rkey = mr->rkey;
    if (!right)
        CALL(ibv_dereg_mr(mr));
    VERB(post(&p.client, &write));
    wc_expect(p.client.scq, 1, right ? IBV_WC_SUCCESS : IBV_WC_REM_ACCESS_ERR);
    if (right)
        CALL(ibv_dereg_mr(mr));
    pair_close(&p);
}

PROGRAM(work)
