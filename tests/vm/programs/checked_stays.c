// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writes to the buffer of a send before its completion (buggy/source_changed.c), prints "ready" and its process id, and
 * keeps its queue pairs until it is killed: whoever asks the driver meanwhile learns whose they are.
 */
#define RIGHT 0
#include "buggy/buggy.h"

#include <stdio.h>
#include <unistd.h>

static void work(void) {
    struct pair p;
    pair_open(&p, NULL);
    for (int i = 0; i < 20; i++) {
        receive_message(&p, 1, 4096, 1024);
        memset(p.client.buf, i, 1024);
        send_message(&p, 2, 0, 1024);
        memset(p.client.buf, 0x80 + i, 1024);
        wc_good(p.client.scq, 2);
        wc_good(p.server.rcq, 1);
    }
    printf("ready %d\n", getpid());
    fflush(stdout);
    for (;;)
        pause();
}

int main(int argc, char **argv) {
    static const struct test_case cases[] = {{"work", work, 3600}};
    return run_cases(argc, argv, cases, ARRAY_LEN(cases));
}
