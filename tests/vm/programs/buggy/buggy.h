/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For programs with one mistake (docs/check.md): each is built twice, with RIGHT 0 and with RIGHT 1, where it is
 * mended.  The adapter's check mode has to find the mistake in the one and nothing in the other.
 */
#ifndef ERDMA_TESTS_BUGGY_H
#define ERDMA_TESTS_BUGGY_H

#include "../common.h"

#include <stdlib.h>
#include <string.h>

static const bool right = RIGHT;

#define PROGRAM(work)                                                                                                  \
    int main(int argc, char **argv) {                                                                                  \
        static const struct test_case cases[] = {{"work", work, 0}};                                                   \
        return run_cases(argc, argv, cases, ARRAY_LEN(cases));                                                         \
    }

/* A message from the client's buffer; the server has a receive for it behind offset 4096 of its own. */
static inline void send_message(struct pair *pair, uint64_t wr_id, size_t offset, uint32_t bytes) {
    struct work send = {.opcode = IBV_WR_SEND,
                        .wr_id = wr_id,
                        .at = pair->client.buf + offset,
                        .bytes = bytes,
                        .lkey = pair->client.mr->lkey};
    VERB(post(&pair->client, &send));
}

static inline void receive_message(struct pair *pair, uint64_t wr_id, size_t offset, uint32_t bytes) {
    VERB(post_receive(&pair->server, wr_id, pair->server.buf + offset, bytes, pair->server.mr->lkey));
}

static inline struct work read_of_server(const struct pair *pair, uint64_t wr_id, size_t offset, uint32_t bytes) {
    return (struct work){.opcode = IBV_WR_RDMA_READ,
                         .wr_id = wr_id,
                         .at = pair->client.buf + offset,
                         .bytes = bytes,
                         .lkey = pair->client.mr->lkey,
                         .remote = (uintptr_t)pair->server.buf,
                         .rkey = pair->server.mr->rkey};
}

static inline struct work write_to_server(const struct pair *pair, uint64_t wr_id, size_t offset, uint32_t bytes) {
    struct work work = read_of_server(pair, wr_id, 0, bytes);
    work.opcode = IBV_WR_RDMA_WRITE;
    work.remote += offset;
    return work;
}

#endif
