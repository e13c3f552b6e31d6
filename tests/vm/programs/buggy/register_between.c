// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory is registered for each transfer, always another piece. */
#include "buggy.h"

enum { PIECE = 4096, PIECES = 120 };

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    unsigned char *memory = get_memory(PIECE * PIECES);
    struct ibv_mr *all = right ? region(p.client.pd, memory, PIECE * PIECES, IBV_ACCESS_LOCAL_WRITE) : NULL;
    for (uint64_t i = 0; i < PIECES; i++) {
        struct ibv_mr *mr = right ? all : region(p.client.pd, memory + PIECE * i, PIECE, IBV_ACCESS_LOCAL_WRITE);
        struct work write = write_to_server(&p, i, 0, PIECE);
        write.at = memory + PIECE * i;
        write.lkey = mr->lkey;
        VERB(post(&p.client, &write));
        wc_good(p.client.scq, i);
        if (!right)
            CALL(ibv_dereg_mr(mr));
    }
    if (right)
        CALL(ibv_dereg_mr(all));
    pair_close(&p);
}

PROGRAM(work)
