// SPDX-License-Identifier: GPL-2.0-or-later
/* No request is signalled, so the send queue is full one day and stays so. */
#include "buggy.h"

static void work(void) {
    struct pair p;
    struct options options = {.send_wr = 16, .recv_wr = 64, .cqe = 64};
    pair_open(&p, &options);
    for (uint64_t i = 0; i < 32; i++)
        receive_message(&p, i, 4096 + 64 * i, 64);
    for (uint64_t i = 0; i < 32; i++) {
        struct work send = {.opcode = IBV_WR_SEND,
                            .wr_id = i,
                            .at = p.client.buf,
                            .bytes = 16,
                            .lkey = p.client.mr->lkey,
                            .silent = !right || i % 8 != 7};
        if (post(&p.client, &send) != 0)
            break; /* full: the program hangs here, if it tries again */
        if (!send.silent)
            wc_good(p.client.scq, i);
    }
    if (!right)
        wc_none(p.client.scq, 100);
    pair_close(&p);
}

PROGRAM(work)
