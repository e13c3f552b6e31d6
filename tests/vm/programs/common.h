/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the test programs share: cases that run in a process of their own, connections between two ends of one
 * process, waiting with limits, data patterns.
 *
 * A program prints one line per case, "ok NAME" or "FAIL NAME: what was expected and what came", and ends 0 only if
 * every case passed.  Usage: PROGRAM [--list] [--only PATTERN]... ADDRESS
 */
#ifndef ERDMA_TESTS_COMMON_H
#define ERDMA_TESTS_COMMON_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

struct test_case {
    const char *name;
    void (*run)(void);
    unsigned int seconds; /* limit; 0: 20 */
};

/* Runs the cases that the command line selects, each in a child process.  Returns main()'s result. */
int run_cases(int argc, char **argv, const struct test_case *cases, size_t count);

/* The address on the command line, port 0. */
struct sockaddr_in test_address(void);

/* Ends the case. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Where the case is; shown when it fails or runs out of time. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            fail("line %d: %s", __LINE__, #condition);                                                                 \
    } while (0)
#define EXPECT_EQ(what, expected, got)                                                                                 \
    do {                                                                                                               \
        long long expected_ = (long long)(expected), got_ = (long long)(got);                                          \
        if (expected_ != got_)                                                                                         \
            fail("line %d: %s: expected %lld got %lld", __LINE__, what, expected_, got_);                              \
    } while (0)
/* A call that returns 0 or -1 with errno. */
#define CALL(expression)                                                                                               \
    do {                                                                                                               \
        if ((expression) != 0)                                                                                         \
            fail("line %d: %s: %m", __LINE__, #expression);                                                            \
    } while (0)
/* A verbs call that returns 0 or an error number (of either sign: providers differ). */
#define VERB(expression)                                                                                               \
    do {                                                                                                               \
        int verb_ = (expression);                                                                                      \
        if (verb_ != 0)                                                                                                \
            fail("line %d: %s: error %d", __LINE__, #expression, verb_);                                               \
    } while (0)

uint64_t now_ms(void);
/* Factor for time limits: a debug kernel needs longer. */
unsigned int slowness(void);

/* ---- data ---- */

/* Every seed and offset gives another pattern; the length need not be a multiple of anything. */
void fill(void *to, size_t bytes, uint32_t seed);
/* Offset of the first octet that differs from fill()'s pattern, or -1. */
long long mismatch(const void *data, size_t bytes, uint32_t seed);
void expect_data(const char *what, const void *data, size_t bytes, uint32_t seed);
void expect_byte(const char *what, const void *data, size_t bytes, unsigned char value);
/* Page aligned, zeroed. */
void *get_memory(size_t bytes);

/* ---- one end of a connection, and a connection with both ends here ---- */

struct options {
    uint32_t send_wr, recv_wr; /* 0: 64 */
    uint32_t cqe;              /* 0: send_wr + recv_wr */
    uint32_t send_sge;         /* 0: 6 */
    uint32_t inline_bytes;     /* 0: 96 */
    size_t bytes;              /* of the buffer of each end; 0: 64 KiB */
    int access;                /* of the server's region; 0: everything */
    bool one_cq;               /* send and receive completions share a queue */
    bool may_be_gone;          /* the connection of the queue pair: then there is none in the end */
    struct rdma_conn_param *connect, *accept;
};

struct end {
    struct rdma_cm_id *id;
    struct rdma_event_channel *cm;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *scq, *rcq; /* may be one */
    struct ibv_qp *qp;
    unsigned char *buf;
    size_t bytes;
    struct ibv_mr *mr;
};

struct pair {
    struct rdma_cm_id *listener;
    struct end client, server;
};

#define ACCESS_ALL (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ)

void pair_open(struct pair *pair, const struct options *options);
/* Disconnects and frees everything; fails when that takes longer than 3 s. */
void pair_close(struct pair *pair);
/* Step by step, for cases that look at the steps. */
void listener_open(struct pair *pair, uint16_t port, int backlog);
void client_resolve(struct end *client, uint16_t port);
void end_open(struct end *end, struct rdma_cm_id *id, const struct options *options);
void end_close(struct end *end);
struct rdma_conn_param connection_defaults(void);
uint16_t listener_port(const struct pair *pair);
/* REMOTE_ATOMIC if the device has atomics, else 0. */
int atomic_access(struct ibv_context *context);
struct ibv_mr *region(struct ibv_pd *pd, void *at, size_t bytes, int access);

/* ---- events and completions; limits in ms ---- */

struct cm_event {
    enum rdma_cm_event_type type;
    int status;
    struct rdma_cm_id *id, *listen_id;
    struct rdma_conn_param param;
    unsigned char data[256];
    size_t data_len;
};

bool cm_event_wait(struct rdma_event_channel *channel, struct cm_event *event, int limit);
struct cm_event cm_event_next(struct rdma_event_channel *channel, int limit);
struct cm_event cm_event_expect(struct rdma_event_channel *channel, enum rdma_cm_event_type type, int limit);

bool wc_wait(struct ibv_cq *cq, struct ibv_wc *wc, int limit);
struct ibv_wc wc_next(struct ibv_cq *cq, int limit);
/* The next completion: this work request, successful. */
struct ibv_wc wc_good(struct ibv_cq *cq, uint64_t wr_id);
struct ibv_wc wc_expect(struct ibv_cq *cq, uint64_t wr_id, enum ibv_wc_status status);
void wc_none(struct ibv_cq *cq, int for_ms);
/* Waits for a completion event of the channel; false: none came. */
bool cq_event_wait(struct ibv_comp_channel *channel, struct ibv_cq **cq, int limit);

/* The next asynchronous event of the device, acknowledged; false: none came. */
bool async_wait(struct ibv_context *context, struct ibv_async_event *event, int limit);

/* ---- work requests with one segment; the result is 0 or a positive error number ---- */

struct work {
    enum ibv_wr_opcode opcode;
    uint64_t wr_id;
    const void *at;
    uint32_t bytes, lkey;
    uint64_t remote;
    uint32_t rkey;
    unsigned int flags; /* IBV_SEND_*; SIGNALED is added unless `silent` */
    bool silent;
    uint32_t imm;               /* host order */
    uint64_t compare_add, swap; /* atomics */
};

struct ibv_send_wr work_request(const struct work *work, struct ibv_sge *sge);
int post(struct end *end, const struct work *work);
int post_receive(struct end *end, uint64_t wr_id, const void *at, uint32_t bytes, uint32_t lkey);

#ifdef __cplusplus
}
#endif

#endif
