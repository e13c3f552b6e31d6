// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A connection whose data are checked, for as long as others do what they like (user_fuzz.c).  Usage: bystander SECONDS ADDRESS
 * Tells how many messages a second there were, and the longest pause between two.
 */
#include "common.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned int seconds;

static void bystander(void) {
    struct pair p = {0};
    unsigned long messages = 0;
    uint64_t longest = 0;
    pair_open(&p, NULL);
    uint64_t begin = now_ms(), last = begin;
    for (uint32_t seed = 1; now_ms() - begin < 1000ull * seconds; seed++) {
        uint32_t bytes = 1 + seed * 977 % 16384;
        fill(p.client.buf, bytes, seed);
        memset(p.server.buf, 0, bytes);
        VERB(post_receive(&p.server, seed, p.server.buf, bytes, p.server.mr->lkey));
        VERB(post(
            &p.client,
            &(struct work){
                .opcode = IBV_WR_SEND, .wr_id = seed, .at = p.client.buf, .bytes = bytes, .lkey = p.client.mr->lkey}));
        struct ibv_wc got = wc_next(p.server.rcq, 10000);
        EXPECT_EQ("status of the receive", IBV_WC_SUCCESS, got.status);
        EXPECT_EQ("length", bytes, got.byte_len);
        wc_good(p.client.scq, seed);
        expect_data("message", p.server.buf, bytes, seed);
        uint64_t now = now_ms();
        longest = now - last > longest ? now - last : longest;
        last = now;
        messages++;
    }
    pair_close(&p);
    printf("# %lu messages, %lu/s, longest pause %" PRIu64 " ms\n", messages, messages / seconds, longest);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 3 || !(seconds = (unsigned int)atoi(argv[1]))) {
        fprintf(stderr, "usage: %s SECONDS ADDRESS\n", argv[0]);
        return 2;
    }
    const struct test_case cases[] = {{"bystander", bystander, seconds + 60}};
    char *rest[] = {argv[0], argv[2], NULL};
    return run_cases(2, rest, cases, 1);
}
