// SPDX-License-Identifier: GPL-2.0-or-later
/* The same memory is registered for each use. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    void *memory = get_memory(16384);
    for (int i = 0; i < 60 && !(right && i); i++)
        CALL(ibv_dereg_mr(region(p.client.pd, memory, 16384, ACCESS_ALL)));
    pair_close(&p);
}

PROGRAM(work)
