// SPDX-License-Identifier: GPL-2.0-or-later
/* Data of a read is sent on before the read has completed, without a fence. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    receive_message(&p, 1, 4096, 1024);
    struct work read = read_of_server(&p, 2, 8192, 1024);
    struct work send = {.opcode = IBV_WR_SEND,
                        .wr_id = 3,
                        .at = p.client.buf + 8192,
                        .bytes = 1024,
                        .lkey = p.client.mr->lkey,
                        .flags = right ? IBV_SEND_FENCE : 0};
    /* With one doorbell: of two, the read may have completed before the second. */
    struct ibv_sge places[2];
    struct ibv_send_wr second = work_request(&send, &places[1]), first = work_request(&read, &places[0]), *bad = NULL;
    first.next = &second;
    VERB(abs(ibv_post_send(p.client.qp, &first, &bad)));
    wc_good(p.client.scq, 2);
    wc_good(p.client.scq, 3);
    wc_good(p.server.rcq, 1);
    pair_close(&p);
}

PROGRAM(work)
