// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Everything that user space can post on a connected queue pair, with the data compared bit by bit.
 * Both ends of each connection are in this process.
 */
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define KIB 1024u
#define MIB (1024u * KIB)

static const uint32_t sizes[] = {
    0,    1,    2,     3,     7,     8,      63,      64,          65,      4095,
    4096, 4097, 65535, 65536, 65537, 131071, 1 * MIB, 1 * MIB + 1, 8 * MIB, 8 * MIB + 13,
};

#define ROOM (8 * MIB + 64 * KIB)

static void open_big(struct pair *p) { pair_open(p, &(struct options){.bytes = ROOM}); }

/* Sizes with neighbours that must not change; `skew` makes both addresses odd and different. */
static void sizes_of(enum ibv_wr_opcode opcode) {
    struct pair p;
    open_big(&p);
    struct end *c = &p.client, *s = &p.server;
    bool message = opcode == IBV_WR_SEND || opcode == IBV_WR_SEND_WITH_IMM;
    bool read = opcode == IBV_WR_RDMA_READ;
    bool imm = opcode == IBV_WR_SEND_WITH_IMM || opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
    unsigned char *ground = read ? c->buf : s->buf;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint32_t bytes = sizes[i];
        uint32_t seed = (uint32_t)i * 7919 + (uint32_t)opcode;
        size_t from = 17 + i * 3, to = 101 + i * 5;
        note("opcode %d, %u octets", opcode, bytes);
        memset(ground, 0xa5, to + bytes + 4096);
        if (read)
            fill(s->buf + from, bytes, seed);
        else
            fill(c->buf + from, bytes, seed);
        if (message)
            VERB(post_receive(s, 500 + i, s->buf + to, bytes + 64, s->mr->lkey));
        else if (imm)
            VERB(post_receive(s, 500 + i, s->buf, 0, s->mr->lkey));
        struct work w = {.opcode = opcode,
                         .wr_id = 900 + i,
                         .bytes = bytes,
                         .lkey = c->mr->lkey,
                         .rkey = s->mr->rkey,
                         .imm = 0xdead0000u + (uint32_t)i};
        w.at = c->buf + (read ? to : from);
        w.remote = (uintptr_t)s->buf + (read ? from : to);
        VERB(post(c, &w));
        struct ibv_wc wc = wc_good(c->scq, 900 + i);
        EXPECT_EQ("send opcode", message ? IBV_WC_SEND : read ? IBV_WC_RDMA_READ : IBV_WC_RDMA_WRITE, wc.opcode);
        EXPECT_EQ("send qp_num", c->qp->qp_num, wc.qp_num);
        if (read)
            EXPECT_EQ("read byte_len", bytes, wc.byte_len);
        if (message || imm) {
            wc = wc_good(s->rcq, 500 + i);
            EXPECT_EQ("receive opcode", message ? IBV_WC_RECV : IBV_WC_RECV_RDMA_WITH_IMM, wc.opcode);
            EXPECT_EQ("receive byte_len", bytes, wc.byte_len);
            EXPECT_EQ("receive qp_num", s->qp->qp_num, wc.qp_num);
            EXPECT_EQ("immediate flag", imm, !!(wc.wc_flags & IBV_WC_WITH_IMM));
            if (imm)
                EXPECT_EQ("immediate", 0xdead0000u + i, ntohl(wc.imm_data));
        }
        expect_data("payload", ground + to, bytes, seed);
        expect_byte("in front", ground, to, 0xa5);
        expect_byte("behind", ground + to + bytes, 4096, 0xa5);
    }
    wc_none(c->scq, 20);
    wc_none(s->rcq, 0);
    pair_close(&p);
}

static void send_sizes(void) { sizes_of(IBV_WR_SEND); }
static void send_imm_sizes(void) { sizes_of(IBV_WR_SEND_WITH_IMM); }
static void write_sizes(void) { sizes_of(IBV_WR_RDMA_WRITE); }
static void write_imm_sizes(void) { sizes_of(IBV_WR_RDMA_WRITE_WITH_IMM); }
static void read_sizes(void) { sizes_of(IBV_WR_RDMA_READ); }

/* A gather of several segments ends up contiguous, for every count and with empty segments in between. */
static void gather(enum ibv_wr_opcode opcode, unsigned int flags) {
    struct pair p;
    pair_open(&p, &(struct options){.bytes = 256 * KIB});
    struct end *c = &p.client, *s = &p.server;
    for (int count = 0; count <= 6; count++) {
        for (int shape = 0; shape < 3; shape++) {
            struct ibv_sge sge[6];
            unsigned char expected[6 * 5003];
            uint32_t total = 0;
            for (int i = 0; i < count; i++) {
                uint32_t bytes = shape == 0 ? 5000u + (uint32_t)i : shape == 1 ? (i % 2 ? 0 : 13u) : (uint32_t)i + 1;
                if (flags & IBV_SEND_INLINE)
                    bytes = shape == 0 ? 16 : shape == 1 ? (i % 2 ? 0 : 13u) : (uint32_t)i + 1;
                unsigned char *at = c->buf + 1 + (size_t)(5 - i) * 20011;
                fill(at, bytes, (uint32_t)(count * 100 + shape * 10 + i));
                memcpy(expected + total, at, bytes);
                sge[i] = (struct ibv_sge){.addr = (uintptr_t)at, .length = bytes, .lkey = c->mr->lkey};
                total += bytes;
            }
            note("opcode %d, %d segments, shape %d, %u octets", opcode, count, shape, total);
            memset(s->buf, 0x5a, sizeof(expected) + 64);
            if (opcode == IBV_WR_SEND)
                VERB(post_receive(s, 1, s->buf + 3, sizeof(expected), s->mr->lkey));
            struct ibv_send_wr *bad, wr = {.wr_id = 2,
                                           .sg_list = sge,
                                           .num_sge = count,
                                           .opcode = opcode,
                                           .send_flags = IBV_SEND_SIGNALED | flags};
            wr.wr.rdma.remote_addr = (uintptr_t)s->buf + 3;
            wr.wr.rdma.rkey = s->mr->rkey;
            VERB(ibv_post_send(c->qp, &wr, &bad));
            if (flags & IBV_SEND_INLINE) /* the buffers may change as soon as the call returns */
                memset(c->buf, 0xee, c->bytes);
            wc_good(c->scq, 2);
            if (opcode == IBV_WR_SEND)
                EXPECT_EQ("byte_len", total, wc_good(s->rcq, 1).byte_len);
            if (memcmp(s->buf + 3, expected, total) != 0)
                fail("the gathered data differs");
            expect_byte("behind", s->buf + 3 + total, 64, 0x5a);
        }
    }
    pair_close(&p);
}

static void send_segments(void) { gather(IBV_WR_SEND, 0); }
static void write_segments(void) { gather(IBV_WR_RDMA_WRITE, 0); }
static void inline_segments(void) { gather(IBV_WR_SEND, IBV_SEND_INLINE); }
static void inline_write_segments(void) { gather(IBV_WR_RDMA_WRITE, IBV_SEND_INLINE); }

/* 0 to 96 octets, from memory that no region covers. */
static void inline_sizes(void) {
    struct pair p;
    pair_open(&p, NULL);
    struct end *c = &p.client, *s = &p.server;
    for (uint32_t bytes = 0; bytes <= 96; bytes++) {
        for (int kind = 0; kind < 4; kind++) {
            static const enum ibv_wr_opcode opcodes[] = {IBV_WR_SEND, IBV_WR_RDMA_WRITE, IBV_WR_SEND_WITH_IMM,
                                                         IBV_WR_RDMA_WRITE_WITH_IMM};
            unsigned char local[96];
            uint32_t seed = bytes * 4 + (uint32_t)kind;
            note("opcode %d, %u inline octets", opcodes[kind], bytes);
            fill(local, bytes, seed);
            memset(s->buf, 0x11, 256);
            if (kind != 1)
                VERB(post_receive(s, 7, s->buf + 1, 128, s->mr->lkey));
            VERB(post(c, &(struct work){.opcode = opcodes[kind],
                                        .wr_id = 8,
                                        .at = local,
                                        .bytes = bytes,
                                        .remote = (uintptr_t)s->buf + 1,
                                        .rkey = s->mr->rkey,
                                        .flags = IBV_SEND_INLINE,
                                        .imm = seed}));
            memset(local, 0, sizeof(local));
            wc_good(c->scq, 8);
            if (kind != 1) {
                struct ibv_wc wc = wc_good(s->rcq, 7);
                EXPECT_EQ("byte_len", bytes, wc.byte_len);
                if (kind >= 2)
                    EXPECT_EQ("immediate", seed, ntohl(wc.imm_data));
            }
            expect_data("inline data", s->buf + 1, bytes, seed);
            expect_byte("behind", s->buf + 1 + bytes, 64, 0x11);
        }
    }
    pair_close(&p);
}

/* Immediates are numbers of any value, octet by octet. */
static void immediates(void) {
    static const uint32_t values[] = {0, 1, 0xffffffffu, 0x12345678u, 0x80000000u, 0x000000ffu, 0xff000000u};
    struct pair p;
    pair_open(&p, NULL);
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        for (int write = 0; write < 2; write++) {
            VERB(post_receive(&p.server, i, p.server.buf, 64, p.server.mr->lkey));
            VERB(post(&p.client, &(struct work){.opcode = write ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_SEND_WITH_IMM,
                                                .wr_id = i,
                                                .at = p.client.buf,
                                                .bytes = 8,
                                                .lkey = p.client.mr->lkey,
                                                .remote = (uintptr_t)p.server.buf,
                                                .rkey = p.server.mr->rkey,
                                                .imm = values[i]}));
            wc_good(p.client.scq, i);
            EXPECT_EQ("immediate", values[i], ntohl(wc_good(p.server.rcq, i).imm_data));
        }
    }
    pair_close(&p);
}

static bool have_atomics(struct pair *p) {
    if (atomic_access(p->client.id->verbs))
        return true;
    fail("the device offers no atomics; the model's default is atomic=on");
}

static void atomics(void) {
    struct pair p;
    pair_open(&p, NULL);
    struct end *c = &p.client, *s = &p.server;
    have_atomics(&p);
    uint64_t *target = (uint64_t *)(s->buf + 4096), *result = (uint64_t *)(c->buf + 512);
    static const struct {
        uint64_t start, compare_add, swap;
        bool add;
    } cases[] = {
        {0, 5, 0, true},
        {UINT64_MAX, 1, 0, true},
        {0x0123456789abcdefULL, 0x1000000000000001ULL, 0, true},
        {42, UINT64_MAX, 0, true},
        {42, 42, 0xfeedfacecafebeefULL, false},
        {42, 43, 0xfeedfacecafebeefULL, false},
        {0, 0, UINT64_MAX, false},
        {0x8000000000000000ULL, 0x8000000000000000ULL, 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        note("atomic case %zu", i);
        target[-1] = target[1] = result[-1] = result[1] = 0x7777777777777777ULL;
        target[0] = cases[i].start;
        result[0] = 0;
        VERB(post(c, &(struct work){.opcode = cases[i].add ? IBV_WR_ATOMIC_FETCH_AND_ADD : IBV_WR_ATOMIC_CMP_AND_SWP,
                                    .wr_id = i,
                                    .at = result,
                                    .bytes = 8,
                                    .lkey = c->mr->lkey,
                                    .remote = (uintptr_t)target,
                                    .rkey = s->mr->rkey,
                                    .compare_add = cases[i].compare_add,
                                    .swap = cases[i].swap}));
        struct ibv_wc wc = wc_good(c->scq, i);
        EXPECT_EQ("opcode", cases[i].add ? IBV_WC_FETCH_ADD : IBV_WC_COMP_SWAP, wc.opcode);
        EXPECT_EQ("byte_len", 8, wc.byte_len);
        EXPECT_EQ("original value", cases[i].start, result[0]);
        uint64_t expected = cases[i].add                             ? cases[i].start + cases[i].compare_add
                            : cases[i].start == cases[i].compare_add ? cases[i].swap
                                                                     : cases[i].start;
        EXPECT_EQ("new value", expected, target[0]);
        EXPECT(target[-1] == 0x7777777777777777ULL && target[1] == target[-1]);
        EXPECT(result[-1] == target[-1] && result[1] == target[-1]);
    }
    pair_close(&p);
}

/* Sixteen connections add to one number of one region at the same time. */
static void atomic_sum(void) {
    enum { PAIRS = 16, EACH = 64 };
    static struct pair p[PAIRS];
    uint64_t *target = get_memory(4096);
    for (int i = 0; i < PAIRS; i++)
        pair_open(&p[i], NULL);
    have_atomics(&p[0]);
    struct ibv_mr *mr[PAIRS];
    for (int i = 0; i < PAIRS; i++)
        mr[i] = region(p[i].server.pd, target, 4096, ACCESS_ALL | IBV_ACCESS_REMOTE_ATOMIC);
    uint64_t sum = 0;
    for (int round = 0; round < EACH; round++) {
        for (int i = 0; i < PAIRS; i++) {
            uint64_t add = (uint64_t)round * 1000003 + (uint64_t)i;
            sum += add;
            VERB(post(&p[i].client, &(struct work){.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD,
                                                   .wr_id = (uint64_t)round,
                                                   .at = p[i].client.buf + 8 * round,
                                                   .bytes = 8,
                                                   .lkey = p[i].client.mr->lkey,
                                                   .remote = (uintptr_t)target,
                                                   .rkey = mr[i]->rkey,
                                                   .compare_add = add}));
        }
    }
    for (int i = 0; i < PAIRS; i++)
        for (int round = 0; round < EACH; round++)
            wc_good(p[i].client.scq, (uint64_t)round);
    EXPECT_EQ("sum", sum, target[0]);
    for (int i = 0; i < PAIRS; i++) {
        VERB(ibv_dereg_mr(mr[i]));
        pair_close(&p[i]);
    }
}

/* Only the signalled request completes, after all that were posted before it. */
static void unsignaled(void) {
    struct pair p;
    pair_open(&p, NULL);
    struct end *c = &p.client, *s = &p.server;
    for (int round = 0; round < 40; round++) {
        note("round %d", round);
        for (uint32_t i = 0; i < 32; i++) {
            fill(c->buf + i * 128, 128, (uint32_t)round * 32 + i);
            VERB(post(c, &(struct work){.opcode = IBV_WR_RDMA_WRITE,
                                        .wr_id = i,
                                        .at = c->buf + i * 128,
                                        .bytes = 128,
                                        .lkey = c->mr->lkey,
                                        .remote = (uintptr_t)s->buf + i * 128,
                                        .rkey = s->mr->rkey,
                                        .silent = i != 31}));
        }
        wc_good(c->scq, 31);
        for (uint32_t i = 0; i < 32; i++)
            expect_data("written", s->buf + i * 128, 128, (uint32_t)round * 32 + i);
    }
    wc_none(c->scq, 20);
    pair_close(&p);
}

/* sq_sig_all is the other way to ask for completions. */
static void signal_all(void) {
    struct pair p;
    pair_open(&p, NULL);
    struct ibv_qp_init_attr init = {.qp_type = IBV_QPT_RC,
                                    .sq_sig_all = 1,
                                    .send_cq = p.client.scq,
                                    .recv_cq = p.client.rcq,
                                    .cap = {.max_send_wr = 8, .max_recv_wr = 8, .max_send_sge = 1, .max_recv_sge = 1}};
    struct end second = {.cm = p.client.cm};
    client_resolve(&second, listener_port(&p));
    struct rdma_conn_param param = connection_defaults();
    CALL(rdma_create_qp(second.id, p.client.pd, &init));
    CALL(rdma_connect(second.id, &param));
    struct cm_event request = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    struct end child = {0};
    end_open(&child, request.id, NULL);
    CALL(rdma_accept(request.id, &param));
    cm_event_expect(p.client.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    cm_event_expect(p.server.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    second.qp = second.id->qp;
    for (uint64_t i = 0; i < 20; i++) {
        VERB(post(&second, &(struct work){.opcode = IBV_WR_RDMA_WRITE,
                                          .wr_id = i,
                                          .at = p.client.buf,
                                          .bytes = 16,
                                          .lkey = p.client.mr->lkey,
                                          .remote = (uintptr_t)child.buf,
                                          .rkey = child.mr->rkey,
                                          .silent = true}));
        wc_good(p.client.scq, i);
    }
    rdma_disconnect(second.id);
    rdma_destroy_qp(second.id);
    CALL(rdma_destroy_id(second.id));
    end_close(&child);
    pair_close(&p);
}

static void one_send(struct pair *p, unsigned int flags) {
    VERB(post_receive(&p->server, 1, p->server.buf, 64, p->server.mr->lkey));
    VERB(post(&p->client, &(struct work){.opcode = IBV_WR_SEND,
                                         .wr_id = 2,
                                         .at = p->client.buf,
                                         .bytes = 8,
                                         .lkey = p->client.mr->lkey,
                                         .flags = flags}));
    wc_good(p->client.scq, 2);
}

/* Completion events: any, solicited only, armed late, and none without arming. */
static void events(void) {
    struct pair p;
    struct ibv_cq *cq = NULL;
    pair_open(&p, NULL);
    struct end *s = &p.server;
    note("not armed");
    one_send(&p, IBV_SEND_SOLICITED);
    EXPECT(!cq_event_wait(s->channel, &cq, 100));
    wc_good(s->rcq, 1);

    note("armed for any");
    VERB(ibv_req_notify_cq(s->rcq, 0));
    EXPECT(!cq_event_wait(s->channel, &cq, 50));
    one_send(&p, 0);
    EXPECT(cq_event_wait(s->channel, &cq, 3000));
    EXPECT(cq == s->rcq);
    wc_good(s->rcq, 1);
    note("arming is for one event");
    one_send(&p, 0);
    EXPECT(!cq_event_wait(s->channel, &cq, 100));

    note("armed behind a completion that is not polled");
    VERB(ibv_req_notify_cq(s->rcq, 0));
    EXPECT(cq_event_wait(s->channel, &cq, 3000));
    wc_good(s->rcq, 1);

    note("solicited only");
    VERB(ibv_req_notify_cq(s->rcq, 1));
    one_send(&p, 0);
    EXPECT(!cq_event_wait(s->channel, &cq, 100));
    wc_good(s->rcq, 1);
    one_send(&p, IBV_SEND_SOLICITED);
    EXPECT(cq_event_wait(s->channel, &cq, 3000));
    wc_good(s->rcq, 1);

    note("solicited write with immediate");
    VERB(ibv_req_notify_cq(s->rcq, 1));
    VERB(post_receive(s, 1, s->buf, 64, s->mr->lkey));
    VERB(post(&p.client, &(struct work){.opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
                                        .wr_id = 2,
                                        .at = p.client.buf,
                                        .bytes = 8,
                                        .lkey = p.client.mr->lkey,
                                        .remote = (uintptr_t)s->buf,
                                        .rkey = s->mr->rkey,
                                        .flags = IBV_SEND_SOLICITED}));
    EXPECT(cq_event_wait(s->channel, &cq, 3000));
    wc_good(s->rcq, 1);
    wc_good(p.client.scq, 2);

    note("send completions");
    VERB(ibv_req_notify_cq(p.client.scq, 0));
    one_send(&p, 0);
    EXPECT(cq_event_wait(p.client.channel, &cq, 3000));
    EXPECT(cq == p.client.scq);
    wc_good(s->rcq, 1);
    pair_close(&p);
}

/* Arm, look, wait: the usual loop never sleeps through a completion. */
static void event_loop(void) {
    enum { ROUNDS = 400 };
    struct pair p;
    struct ibv_cq *cq;
    struct ibv_wc wc;
    pair_open(&p, NULL);
    struct end *c = &p.client, *s = &p.server;
    VERB(ibv_req_notify_cq(s->rcq, 0));
    for (uint64_t i = 0; i < ROUNDS; i++) {
        note("round %llu", (unsigned long long)i);
        VERB(post_receive(s, i, s->buf, 64, s->mr->lkey));
        VERB(
            post(c, &(struct work){.opcode = IBV_WR_SEND, .wr_id = i, .at = c->buf, .bytes = 64, .lkey = c->mr->lkey}));
        if (!cq_event_wait(s->channel, &cq, 5000))
            fail("an event was lost");
        VERB(ibv_req_notify_cq(s->rcq, 0));
        int got = 0;
        while (ibv_poll_cq(s->rcq, 1, &wc) == 1) {
            EXPECT_EQ("wr_id", i, wc.wr_id);
            EXPECT_EQ("status", IBV_WC_SUCCESS, wc.status);
            got++;
        }
        if (got == 0 && i + 1 < ROUNDS)
            wc_good(s->rcq, i);
        wc_good(c->scq, i);
    }
    pair_close(&p);
}

/* What a read brings is what a fenced send carries on. */
static void fence(void) {
    struct pair p;
    pair_open(&p, &(struct options){.bytes = 512 * KIB});
    struct end *c = &p.client, *s = &p.server;
    const uint32_t bytes = 200 * KIB;
    for (uint32_t i = 0; i < 20; i++) {
        note("round %u", i);
        memset(c->buf, 0, bytes);
        fill(s->buf, bytes, i);
        VERB(post_receive(s, i, s->buf + bytes, bytes, s->mr->lkey));
        struct ibv_sge sge[2];
        struct ibv_send_wr *bad, wr[2];
        wr[0] = work_request(&(struct work){.opcode = IBV_WR_RDMA_READ,
                                            .wr_id = 1,
                                            .at = c->buf,
                                            .bytes = bytes,
                                            .lkey = c->mr->lkey,
                                            .remote = (uintptr_t)s->buf,
                                            .rkey = s->mr->rkey},
                             &sge[0]);
        wr[1] = work_request(&(struct work){.opcode = IBV_WR_SEND,
                                            .wr_id = 2,
                                            .at = c->buf,
                                            .bytes = bytes,
                                            .lkey = c->mr->lkey,
                                            .flags = IBV_SEND_FENCE},
                             &sge[1]);
        wr[0].next = &wr[1];
        VERB(ibv_post_send(c->qp, wr, &bad));
        wc_good(c->scq, 1);
        wc_good(c->scq, 2);
        wc_good(s->rcq, i);
        expect_data("sent on", s->buf + bytes, bytes, i);
    }
    pair_close(&p);
}

/*
 * Random mixture that takes both rings round many times, so that requests of every length wrap at every place and the
 * 16-bit indices overflow.  Batches of random length, one completion in eight.
 */
static void ring_wrap(void) {
    enum { DEPTH = 128, TOTAL = 30000, SLOT = 512 };
    struct pair p;
    pair_open(&p, &(struct options){.send_wr = DEPTH, .recv_wr = DEPTH, .cqe = 4 * DEPTH, .bytes = DEPTH * SLOT});
    struct end *c = &p.client, *s = &p.server;
    unsigned int state = 12345;
    uint32_t posted = 0, done = 0, received = 0, buffers = 0;
    static uint32_t length[DEPTH];
    while (received < TOTAL) {
        note("posted %u, completed %u, received %u", posted, done, received);
        while (buffers < TOTAL && buffers - received < DEPTH) {
            VERB(post_receive(s, buffers, s->buf + (buffers % DEPTH) * SLOT, SLOT, s->mr->lkey));
            buffers++;
        }
        struct ibv_send_wr wr[32], *bad;
        struct ibv_sge sge[32][6];
        uint32_t batch = 1 + (uint32_t)rand_r(&state) % 32, n = 0;
        for (; n < batch && posted < TOTAL && posted < buffers && posted - done < DEPTH && posted - received < DEPTH;
             n++, posted++) {
            unsigned char *slot = c->buf + (posted % DEPTH) * SLOT;
            int segments = rand_r(&state) % 7;
            bool in_line = rand_r(&state) % 3 == 0;
            uint32_t left = in_line ? 96 : SLOT, bytes = 0;
            for (int i = 0; i < segments; i++) {
                uint32_t part = (uint32_t)rand_r(&state) % (left / 6 + 1);
                sge[n][i] = (struct ibv_sge){.addr = (uintptr_t)slot + bytes, .length = part, .lkey = c->mr->lkey};
                bytes += part;
            }
            fill(slot, bytes, posted);
            length[posted % DEPTH] = bytes;
            bool last = posted % 8 == 7 || posted + 1 == TOTAL;
            wr[n] =
                (struct ibv_send_wr){.wr_id = posted,
                                     .sg_list = sge[n],
                                     .num_sge = segments,
                                     .opcode = posted % 3 ? IBV_WR_SEND : IBV_WR_SEND_WITH_IMM,
                                     .imm_data = htonl(posted),
                                     .send_flags = (last ? IBV_SEND_SIGNALED : 0u) | (in_line ? IBV_SEND_INLINE : 0u)};
            if (n)
                wr[n - 1].next = &wr[n];
        }
        if (n)
            VERB(ibv_post_send(c->qp, wr, &bad));
        struct ibv_wc wc[16];
        int got = ibv_poll_cq(s->rcq, 16, wc);
        for (int i = 0; i < got; i++, received++) {
            EXPECT_EQ("receive status", IBV_WC_SUCCESS, wc[i].status);
            EXPECT_EQ("receive wr_id", received, wc[i].wr_id);
            EXPECT_EQ("byte_len", length[received % DEPTH], wc[i].byte_len);
            if (received % 3 == 0)
                EXPECT_EQ("immediate", received, ntohl(wc[i].imm_data));
            expect_data("message", s->buf + (received % DEPTH) * SLOT, wc[i].byte_len, received);
        }
        got = ibv_poll_cq(c->scq, 16, wc);
        for (int i = 0; i < got; i++) {
            EXPECT_EQ("send status", IBV_WC_SUCCESS, wc[i].status);
            uint32_t expected = (done / 8) * 8 + 7 < TOTAL ? (done / 8) * 8 + 7 : TOTAL - 1;
            EXPECT_EQ("send wr_id", expected, wc[i].wr_id);
            done = (uint32_t)wc[i].wr_id + 1;
        }
    }
    pair_close(&p);
}

/* Both ends send, write and read at the same time; one completion queue takes it all. */
static void both_ways(void) {
    enum { ROUNDS = 200, BYTES = 3000 };
    struct pair p;
    pair_open(&p, &(struct options){.one_cq = true, .cqe = 256, .bytes = 8 * BYTES});
    struct end *end[2] = {&p.client, &p.server};
    for (uint32_t round = 0; round < ROUNDS; round++) {
        note("round %u", round);
        for (int i = 0; i < 2; i++) {
            fill(end[i]->buf, BYTES, round * 2 + (uint32_t)i);
            VERB(post_receive(end[i], 10, end[i]->buf + BYTES, BYTES, end[i]->mr->lkey));
        }
        for (int i = 0; i < 2; i++) {
            struct end *e = end[i], *peer = end[1 - i];
            struct work w = {.opcode = IBV_WR_SEND,
                             .wr_id = 1,
                             .at = e->buf,
                             .bytes = BYTES,
                             .lkey = e->mr->lkey,
                             .rkey = peer->mr->rkey};
            VERB(post(e, &w));
            w.opcode = IBV_WR_RDMA_WRITE, w.wr_id = 2, w.remote = (uintptr_t)peer->buf + 2 * BYTES;
            VERB(post(e, &w));
            w.opcode = IBV_WR_RDMA_READ, w.wr_id = 3, w.at = e->buf + 3 * BYTES, w.remote = (uintptr_t)peer->buf;
            VERB(post(e, &w));
        }
        for (int i = 0; i < 2; i++) {
            uint64_t next = 1;
            for (int n = 0; n < 4; n++) {
                struct ibv_wc wc = wc_next(end[i]->scq, 5000);
                EXPECT_EQ("status", IBV_WC_SUCCESS, wc.status);
                if (wc.wr_id == 10)
                    EXPECT_EQ("opcode", IBV_WC_RECV, wc.opcode);
                else
                    EXPECT_EQ("order", next++, wc.wr_id);
            }
        }
        for (int i = 0; i < 2; i++) {
            uint32_t other = round * 2 + (uint32_t)(1 - i);
            expect_data("received", end[i]->buf + BYTES, BYTES, other);
            expect_data("written to us", end[i]->buf + 2 * BYTES, BYTES, other);
            expect_data("read", end[i]->buf + 3 * BYTES, BYTES, other);
        }
    }
    pair_close(&p);
}

/* A message without a buffer waits for one, with everything behind it. */
static void late_receive(void) {
    struct pair p;
    pair_open(&p, NULL);
    struct end *c = &p.client, *s = &p.server;
    memset(s->buf, 0, 8192);
    fill(c->buf, 4096, 77);
    VERB(post(c, &(struct work){.opcode = IBV_WR_SEND, .wr_id = 1, .at = c->buf, .bytes = 4096, .lkey = c->mr->lkey}));
    VERB(post(c, &(struct work){.opcode = IBV_WR_RDMA_WRITE,
                                .wr_id = 2,
                                .at = c->buf,
                                .bytes = 64,
                                .lkey = c->mr->lkey,
                                .remote = (uintptr_t)s->buf + 4096,
                                .rkey = s->mr->rkey}));
    wc_none(s->rcq, 300);
    expect_byte("written too early", s->buf + 4096, 64, 0);
    VERB(post_receive(s, 3, s->buf, 4096, s->mr->lkey));
    wc_good(s->rcq, 3);
    expect_data("message", s->buf, 4096, 77);
    wc_good(c->scq, 1);
    wc_good(c->scq, 2);
    expect_data("write behind it", s->buf + 4096, 64, 77);
    pair_close(&p);
}

/* Writes to one place arrive in order; the message behind them finds the last. */
static void write_order(void) {
    struct pair p;
    pair_open(&p, NULL);
    struct end *c = &p.client, *s = &p.server;
    for (uint32_t round = 0; round < 100; round++) {
        note("round %u", round);
        VERB(post_receive(s, round, s->buf + 32768, 64, s->mr->lkey));
        for (uint32_t i = 0; i < 8; i++) {
            fill(c->buf + i * 4096, 4096, round * 8 + i);
            VERB(post(c, &(struct work){.opcode = IBV_WR_RDMA_WRITE,
                                        .at = c->buf + i * 4096,
                                        .bytes = 4096,
                                        .lkey = c->mr->lkey,
                                        .remote = (uintptr_t)s->buf + (i % 2) * 8,
                                        .rkey = s->mr->rkey,
                                        .silent = true}));
        }
        VERB(post(c, &(struct work){.opcode = IBV_WR_SEND, .wr_id = 9, .at = c->buf, .bytes = 1, .lkey = c->mr->lkey}));
        wc_good(s->rcq, round);
        expect_data("last write", s->buf + 8, 4096, round * 8 + 7);
        wc_good(c->scq, 9);
    }
    pair_close(&p);
}

/* The application's region need not start or end at a page, and may have its own numbering. */
static void regions(void) {
    struct pair p;
    pair_open(&p, &(struct options){.bytes = 64 * KIB});
    struct end *c = &p.client, *s = &p.server;
    static const struct {
        size_t start, bytes;
    } shapes[] = {{0, 1},        {4095, 1},  {4095, 2},  {1, 4095},        {5, 4096},
                  {0, 3 * 4096}, {9, 16383}, {9, 16384}, {4097, 5 * 4096}, {0, 5 * 4096 + 1}};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        for (int own = 0; own < 2; own++) {
            note("region at %zu of %zu octets%s", shapes[i].start, shapes[i].bytes, own ? " with own numbering" : "");
            unsigned char *at = s->buf + 4096 + shapes[i].start;
            uint64_t iova = own ? 0x123456789000ULL + ((uintptr_t)at & 4095) : (uintptr_t)at;
            struct ibv_mr *mr = ibv_reg_mr_iova(s->pd, at, shapes[i].bytes, iova, ACCESS_ALL);
            if (!mr)
                fail("ibv_reg_mr_iova: %m");
            memset(s->buf, 0xcc, s->bytes);
            fill(c->buf, shapes[i].bytes, (uint32_t)i + 1);
            VERB(post(c, &(struct work){.opcode = IBV_WR_RDMA_WRITE,
                                        .wr_id = 1,
                                        .at = c->buf,
                                        .bytes = (uint32_t)shapes[i].bytes,
                                        .lkey = c->mr->lkey,
                                        .remote = iova,
                                        .rkey = mr->rkey}));
            wc_good(c->scq, 1);
            expect_data("written", at, shapes[i].bytes, (uint32_t)i + 1);
            expect_byte("in front", s->buf, (size_t)(at - s->buf), 0xcc);
            expect_byte("behind", at + shapes[i].bytes, 4096, 0xcc);
            VERB(ibv_dereg_mr(mr));
        }
    }
    pair_close(&p);
}

/* Tables of every depth that fits in a guest: small pages (many entries) and huge ones (few). */
static void region_tables(void) {
    struct pair p;
    pair_open(&p, NULL);
    struct end *c = &p.client, *s = &p.server;
    for (int huge = 0; huge < 2; huge++) {
        size_t bytes = 32 * MIB;
        unsigned char *area = get_memory(2 * bytes + 2 * MIB);
        area = (unsigned char *)(((uintptr_t)area + 2 * MIB - 1) & ~(uintptr_t)(2 * MIB - 1));
        unsigned char *from = area, *to = area + bytes;
        if (madvise(area, 2 * bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) != 0)
            printf("# %s pages cannot be asked for: %m\n", huge ? "huge" : "small");
        memset(to, 0, bytes);
        fill(from, bytes, 4711);
        struct ibv_mr *local = region(c->pd, from, bytes, IBV_ACCESS_LOCAL_WRITE);
        struct ibv_mr *remote = region(s->pd, to, bytes, ACCESS_ALL);
        note("%s pages, one write", huge ? "huge" : "small");
        VERB(post(c, &(struct work){.opcode = IBV_WR_RDMA_WRITE,
                                    .wr_id = 1,
                                    .at = from,
                                    .bytes = (uint32_t)bytes,
                                    .lkey = local->lkey,
                                    .remote = (uintptr_t)to,
                                    .rkey = remote->rkey}));
        wc_good(c->scq, 1);
        expect_data("written", to, bytes, 4711);
        memset(from, 0, bytes);
        note("%s pages, one read", huge ? "huge" : "small");
        VERB(post(c, &(struct work){.opcode = IBV_WR_RDMA_READ,
                                    .wr_id = 2,
                                    .at = from,
                                    .bytes = (uint32_t)bytes,
                                    .lkey = local->lkey,
                                    .remote = (uintptr_t)to,
                                    .rkey = remote->rkey}));
        wc_good(c->scq, 2);
        expect_data("read back", from, bytes, 4711);
        VERB(ibv_dereg_mr(local));
        VERB(ibv_dereg_mr(remote));
        munmap(area, 2 * bytes);
    }
    pair_close(&p);
}

/* More reads than may be under way at once wait for their turn. */
static void many_reads(void) {
    enum { READS = 300, BYTES = 700 };
    struct pair p;
    pair_open(&p, &(struct options){.send_wr = READS, .bytes = READS * BYTES});
    struct end *c = &p.client, *s = &p.server;
    fill(s->buf, s->bytes, 5);
    for (uint32_t i = 0; i < READS; i++)
        VERB(post(c, &(struct work){.opcode = IBV_WR_RDMA_READ,
                                    .wr_id = i,
                                    .at = c->buf + i * BYTES,
                                    .bytes = BYTES,
                                    .lkey = c->mr->lkey,
                                    .remote = (uintptr_t)s->buf + i * BYTES,
                                    .rkey = s->mr->rkey}));
    for (uint32_t i = 0; i < READS; i++)
        wc_good(c->scq, i);
    expect_data("read", c->buf, c->bytes, 5);
    pair_close(&p);
}

/* A second connection from the same process, and the same numbers again and again. */
static void again_and_again(void) {
    struct pair p;
    for (uint32_t i = 0; i < 30; i++) {
        pair_open(&p, NULL);
        note("connection %u", i);
        fill(p.client.buf, 1000, i);
        VERB(post_receive(&p.server, i, p.server.buf, 1000, p.server.mr->lkey));
        VERB(
            post(&p.client,
                 &(struct work){
                     .opcode = IBV_WR_SEND, .wr_id = i, .at = p.client.buf, .bytes = 1000, .lkey = p.client.mr->lkey}));
        wc_good(p.server.rcq, i);
        wc_good(p.client.scq, i);
        expect_data("message", p.server.buf, 1000, i);
        pair_close(&p);
    }
}

/* Everything posted before an orderly disconnect arrives. */
static void disconnect_delivers(void) {
    struct pair p;
    for (int round = 0; round < 10; round++) {
        pair_open(&p, &(struct options){.bytes = 1 * MIB});
        struct end *c = &p.client, *s = &p.server;
        note("round %d", round);
        fill(c->buf, c->bytes, 3);
        for (uint32_t i = 0; i < 16; i++)
            VERB(post_receive(s, i, s->buf + i * 65536, 65536, s->mr->lkey));
        for (uint32_t i = 0; i < 16; i++)
            VERB(post(
                c,
                &(struct work){
                    .opcode = IBV_WR_SEND, .wr_id = i, .at = c->buf + i * 65536, .bytes = 65536, .lkey = c->mr->lkey}));
        CALL(rdma_disconnect(c->id));
        for (uint32_t i = 0; i < 16; i++)
            wc_good(s->rcq, i);
        expect_data("messages", s->buf, s->bytes, 3);
        for (uint32_t i = 0; i < 16; i++)
            wc_good(c->scq, i);
        cm_event_expect(s->cm, RDMA_CM_EVENT_DISCONNECTED, 5000);
        cm_event_expect(c->cm, RDMA_CM_EVENT_DISCONNECTED, 5000);
        struct ibv_async_event event;
        if (async_wait(c->id->verbs, &event, 50))
            fail("an orderly disconnect caused %s", ibv_event_type_str(event.event_type));
        pair_close(&p);
    }
}

static const struct test_case cases[] = {
    {"send-sizes", send_sizes, 60},
    {"send-imm-sizes", send_imm_sizes, 60},
    {"write-sizes", write_sizes, 60},
    {"write-imm-sizes", write_imm_sizes, 60},
    {"read-sizes", read_sizes, 60},
    {"send-segments", send_segments, 0},
    {"write-segments", write_segments, 0},
    {"inline-segments", inline_segments, 0},
    {"inline-write-segments", inline_write_segments, 0},
    {"inline-sizes", inline_sizes, 0},
    {"immediates", immediates, 0},
    {"atomics", atomics, 0},
    {"atomic-sum", atomic_sum, 30},
    {"unsignaled", unsignaled, 0},
    {"signal-all", signal_all, 0},
    {"events", events, 0},
    {"event-loop", event_loop, 0},
    {"fence", fence, 30},
    {"ring-wrap", ring_wrap, 60},
    {"both-ways", both_ways, 30},
    {"late-receive", late_receive, 0},
    {"write-order", write_order, 0},
    {"regions", regions, 0},
    {"region-tables", region_tables, 60},
    {"many-reads", many_reads, 0},
    {"again-and-again", again_and_again, 30},
    {"disconnect-delivers", disconnect_delivers, 30},
};

int main(int argc, char **argv) { return run_cases(argc, argv, cases, ARRAY_LEN(cases)); }
