// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory of one protection domain is sent by a queue pair of another. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    receive_message(&p, 1, 4096, 1024);
    struct ibv_pd *other = ibv_alloc_pd(p.client.id->verbs);
    EXPECT(other != NULL);
    struct ibv_mr *mr = region(right ? p.client.pd : other, p.client.buf, 1024, IBV_ACCESS_LOCAL_WRITE);
    struct work send = {.opcode = IBV_WR_SEND, .wr_id = 2, .at = p.client.buf, .bytes = 1024, .lkey = mr->lkey};
    VERB(post(&p.client, &send));
    wc_expect(p.client.scq, 2, right ? IBV_WC_SUCCESS : IBV_WC_LOC_PROT_ERR);
    CALL(ibv_dereg_mr(mr));
    CALL(ibv_dealloc_pd(other));
    pair_close(&p);
}

PROGRAM(work)
