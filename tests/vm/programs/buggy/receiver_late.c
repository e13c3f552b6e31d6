// SPDX-License-Identifier: GPL-2.0-or-later
/* A message comes long before its receive is posted. */
#include "buggy.h"

#include <unistd.h>

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    if (right)
        receive_message(&p, 1, 4096, 1024);
    send_message(&p, 2, 0, 1024);
    if (!right) {
        sleep(1);
        receive_message(&p, 1, 4096, 1024);
    }
    wc_good(p.client.scq, 2);
    wc_good(p.server.rcq, 1);
    pair_close(&p);
}

PROGRAM(work)
