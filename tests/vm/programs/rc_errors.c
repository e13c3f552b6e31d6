// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What goes wrong on a connected queue pair: each case has a connection of its own and checks
 *   - the completion of the culprit, status and vendor error (docs/spec/adapter.md 7.5),
 *   - that everything else queued on both sides is flushed, in order, and whatever is posted later too,
 *   - the asynchronous event, the connection event on both sides,
 *   - that memory which must not change did not,
 *   - that everything can be released at once.
 */
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ANY_VENDOR 0xffffffffu
enum { CULPRIT = 1, FOLLOWERS = 5, RECEIVES = 4, NO_EVENT = -1 };

struct outcome {
    enum ibv_wc_status status;
    uint32_t vendor;
    int server_event; /* what the target reports, if it noticed, or NO_EVENT */
};

static void expect_flush(struct ibv_cq *cq, const char *who, uint64_t first, unsigned int count, uint32_t qpn) {
    note("%s: flush of %u from %llu", who, count, (unsigned long long)first);
    for (unsigned int i = 0; i < count; i++) {
        struct ibv_wc wc = wc_expect(cq, first + i, IBV_WC_WR_FLUSH_ERR);
        EXPECT_EQ("qp_num of a flushed request", qpn, wc.qp_num);
        EXPECT_EQ("vendor error of a flushed request", 0, wc.vendor_err);
    }
}

/* All async events of the (one) context that come within a while: these two and nothing else. */
static void expect_events(struct pair *p, int on_server) {
    bool got_client = false, got_server = on_server == NO_EVENT;
    struct ibv_async_event event;
    note("async events");
    uint64_t end = now_ms() + 3000;
    while (!got_client || !got_server) {
        if (now_ms() > end || !async_wait(p->client.id->verbs, &event, 3000))
            fail("expected an event of the %s, none came", got_client ? "server" : "client");
        bool client = event.element.qp == p->client.qp;
        int wanted = client ? IBV_EVENT_QP_FATAL : on_server;
        if ((int)event.event_type != wanted || (!client && event.element.qp != p->server.qp))
            fail("expected %s got %s%s", ibv_event_type_str((enum ibv_event_type)wanted),
                 ibv_event_type_str(event.event_type), client ? " of the client" : "");
        *(client ? &got_client : &got_server) = true;
    }
}

/* The provider says EIO for a queue pair in the error state, the manual page EINVAL. */
static void expect_state_error(const char *what, int error) {
    if (error != EINVAL && error != EIO)
        fail("%s: expected EINVAL or EIO got %d", what, error);
}

/* What both sides look like after the connection broke. */
static void expect_broken(struct pair *p) {
    struct end *ends[2] = {&p->client, &p->server};
    note("connection events");
    cm_event_expect(p->client.cm, RDMA_CM_EVENT_DISCONNECTED, 3000);
    cm_event_expect(p->server.cm, RDMA_CM_EVENT_DISCONNECTED, 3000);
    for (int i = 0; i < 2; i++) {
        struct end *e = ends[i];
        note("%s: later posts", i ? "server" : "client");
        /* The library refuses when it knows the state (it was asked, or told); otherwise the device must flush. */
        bool knows = e->qp->state == IBV_QPS_ERR;
        for (uint64_t k = 0; k < 3; k++) {
            int error = post(e, &(struct work){.opcode = IBV_WR_RDMA_WRITE,
                                               .wr_id = 300 + k,
                                               .at = e->buf,
                                               .bytes = 8,
                                               .lkey = e->mr->lkey,
                                               .remote = (uintptr_t)e->buf,
                                               .rkey = e->mr->rkey});
            EXPECT(error == 0 || knows);
            if (error == 0)
                expect_flush(e->scq, "later send", 300 + k, 1, e->qp->qp_num);
            else
                expect_state_error("a send posted later", error);
            error = post_receive(e, 400 + k, e->buf, 8, e->mr->lkey);
            if (error == 0)
                expect_flush(e->rcq, "later receive", 400 + k, 1, e->qp->qp_num);
            else
                expect_state_error("a receive posted later", error);
        }
        wc_none(e->scq, 10);
        wc_none(e->rcq, 0);
        struct ibv_qp_attr attr;
        struct ibv_qp_init_attr init;
        VERB(ibv_query_qp(e->qp, &attr, IBV_QP_STATE, &init));
        EXPECT_EQ("state of the queue pair", IBV_QPS_ERR, attr.qp_state);
    }
}

/* Posts the culprit with followers behind it in one list, receives on both sides, and checks everything. */
static void break_with(struct pair *p, struct ibv_send_wr *culprit, struct outcome expected) {
    struct end *c = &p->client, *s = &p->server;
    struct ibv_sge sge[FOLLOWERS];
    struct ibv_send_wr followers[FOLLOWERS], *bad;
    unsigned char *landing = s->buf + s->bytes - 4096;
    memset(landing, 0x33, 4096);
    for (uint64_t i = 0; i < RECEIVES; i++) {
        VERB(post_receive(c, 100 + i, c->buf, 16, c->mr->lkey));
        VERB(post_receive(s, 200 + i, s->buf, 16, s->mr->lkey));
    }
    for (int i = 0; i < FOLLOWERS; i++) {
        followers[i] = work_request(&(struct work){.opcode = IBV_WR_RDMA_WRITE,
                                                   .wr_id = (uint64_t)(CULPRIT + 1 + i),
                                                   .at = c->buf,
                                                   .bytes = 64,
                                                   .lkey = c->mr->lkey,
                                                   .remote = (uintptr_t)landing,
                                                   .rkey = s->mr->rkey,
                                                   .silent = i % 2 == 1}, /* errors complete anyway */
                                    &sge[i]);
        if (i)
            followers[i - 1].next = &followers[i];
    }
    culprit->wr_id = CULPRIT;
    culprit->next = followers;
    note("posting the culprit");
    VERB(ibv_post_send(c->qp, culprit, &bad));
    struct ibv_wc wc = wc_next(c->scq, 5000);
    if (wc.wr_id != CULPRIT || wc.status != expected.status ||
        (expected.vendor != ANY_VENDOR && wc.vendor_err != expected.vendor))
        fail("culprit: expected %s, vendor 0x%x got %s, vendor 0x%x (wr_id %llu)", ibv_wc_status_str(expected.status),
             expected.vendor, ibv_wc_status_str(wc.status), wc.vendor_err, (unsigned long long)wc.wr_id);
    EXPECT_EQ("qp_num of the culprit", c->qp->qp_num, wc.qp_num);
    expect_flush(c->scq, "client sends", CULPRIT + 1, FOLLOWERS, c->qp->qp_num);
    expect_flush(c->rcq, "client receives", 100, RECEIVES, c->qp->qp_num);
    expect_flush(s->rcq, "server receives", 200, RECEIVES, s->qp->qp_num);
    expect_byte("written behind an error", landing, 4096, 0x33);
    expect_events(p, expected.server_event);
    expect_broken(p);
}

/* ---- local side of a request ---- */

enum bad_key {
    KEY_UNKNOWN,
    KEY_OLD,
    KEY_OTHER_PD,
    RANGE_BEHIND,
    RANGE_BEFORE,
    RANGE_TOO_LONG,
    WRAP,
    NO_RIGHT,
    KEY_KEY
};

struct target {
    uintptr_t at;
    uint32_t bytes, key;
};

static struct ibv_mr *used[2]; /* regions of bad_target() */

static struct ibv_mr *use(struct ibv_mr *mr) {
    used[used[0] != NULL] = mr;
    return mr;
}

static void release_used(void) {
    for (size_t i = 0; i < ARRAY_LEN(used); i++) {
        if (used[i])
            VERB(ibv_dereg_mr(used[i]));
        used[i] = NULL;
    }
}

/* A segment that is wrong in the given way, made in `pd` (or another one of the same device). */
static struct target bad_target(struct end *e, enum bad_key kind, int access, int missing) {
    unsigned char *area = get_memory(8192);
    memset(area, 0x44, 8192);
    struct ibv_mr *mr = use(region(e->pd, area, 4096, access));
    struct target t = {.at = (uintptr_t)area, .bytes = 512, .key = mr->lkey};
    switch (kind) {
    case KEY_UNKNOWN:
        t.key = 0x0abcde42; /* an index that nothing uses */
        break;
    case KEY_KEY:
        t.key ^= 0x5a; /* right index, wrong key octet */
        break;
    case KEY_OLD:
        release_used();
        break;
    case KEY_OTHER_PD: {
        struct ibv_pd *other = ibv_alloc_pd(e->id->verbs);
        EXPECT(other != NULL);
        t.key = use(region(other, area, 4096, access))->lkey;
        break;
    }
    case RANGE_BEHIND:
        t.at += 4096 - 511;
        break;
    case RANGE_BEFORE:
        t.at -= 1;
        break;
    case RANGE_TOO_LONG:
        t.bytes = 4097;
        break;
    case WRAP:
        t.at = UINT64_MAX - 255;
        break;
    case NO_RIGHT:
        t.key = use(region(e->pd, area, 4096, access & ~missing))->lkey;
        break;
    }
    return t;
}

static void local_error(enum ibv_wr_opcode opcode, enum bad_key kind, uint32_t vendor) {
    struct pair p;
    pair_open(&p, NULL);
    struct target t = bad_target(&p.client, kind, IBV_ACCESS_LOCAL_WRITE, IBV_ACCESS_LOCAL_WRITE);
    bool atomic = opcode == IBV_WR_ATOMIC_FETCH_AND_ADD;
    struct ibv_sge sge;
    struct ibv_send_wr wr = work_request(&(struct work){.opcode = opcode,
                                                        .at = (void *)t.at,
                                                        .bytes = atomic ? 8 : t.bytes,
                                                        .lkey = t.key,
                                                        .remote = (uintptr_t)p.server.buf,
                                                        .rkey = p.server.mr->rkey},
                                         &sge);
    memset(p.server.buf, 0x21, 4097);
    break_with(&p, &wr, (struct outcome){IBV_WC_LOC_ACCESS_ERR, vendor, NO_EVENT});
    expect_byte("the server's buffer", p.server.buf, 4097, 0x21);
    release_used();
    pair_close(&p);
}

#define LOCAL_CASE(function, opcode, kind, vendor)                                                                     \
    static void function(void) { local_error(opcode, kind, vendor); }
LOCAL_CASE(send_bad_lkey, IBV_WR_SEND, KEY_UNKNOWN, 0x30)
LOCAL_CASE(send_wrong_key_octet, IBV_WR_SEND, KEY_KEY, 0x30)
LOCAL_CASE(send_old_lkey, IBV_WR_SEND, KEY_OLD, 0x30)
LOCAL_CASE(send_other_pd, IBV_WR_SEND, KEY_OTHER_PD, 0x33)
LOCAL_CASE(send_behind, IBV_WR_SEND, RANGE_BEHIND, 0x31)
LOCAL_CASE(send_before, IBV_WR_SEND, RANGE_BEFORE, 0x31)
LOCAL_CASE(send_too_long, IBV_WR_SEND, RANGE_TOO_LONG, 0x31)
LOCAL_CASE(send_wrap, IBV_WR_SEND, WRAP, 0x34)
LOCAL_CASE(write_bad_lkey, IBV_WR_RDMA_WRITE, KEY_UNKNOWN, 0x30)
LOCAL_CASE(write_old_lkey, IBV_WR_RDMA_WRITE, KEY_OLD, 0x30)
LOCAL_CASE(write_other_pd, IBV_WR_RDMA_WRITE, KEY_OTHER_PD, 0x33)
LOCAL_CASE(write_behind, IBV_WR_RDMA_WRITE, RANGE_BEHIND, 0x31)
LOCAL_CASE(read_bad_lkey, IBV_WR_RDMA_READ, KEY_UNKNOWN, 0x30)
LOCAL_CASE(read_old_lkey, IBV_WR_RDMA_READ, KEY_OLD, 0x30)
LOCAL_CASE(read_other_pd, IBV_WR_RDMA_READ, KEY_OTHER_PD, 0x33)
LOCAL_CASE(read_behind, IBV_WR_RDMA_READ, RANGE_BEHIND, 0x31)
LOCAL_CASE(read_sink_read_only, IBV_WR_RDMA_READ, NO_RIGHT, 0x32)
LOCAL_CASE(atomic_bad_lkey, IBV_WR_ATOMIC_FETCH_AND_ADD, KEY_UNKNOWN, 0x30)
LOCAL_CASE(atomic_sink_read_only, IBV_WR_ATOMIC_FETCH_AND_ADD, NO_RIGHT, 0x32)

/* ---- remote side of a request ---- */

static void remote_error(enum ibv_wr_opcode opcode, enum bad_key kind, uint32_t vendor) {
    struct pair p;
    pair_open(&p, NULL);
    int all = ACCESS_ALL | atomic_access(p.client.id->verbs);
    int missing = opcode == IBV_WR_RDMA_READ              ? IBV_ACCESS_REMOTE_READ
                  : opcode == IBV_WR_ATOMIC_FETCH_AND_ADD ? IBV_ACCESS_REMOTE_ATOMIC
                                                          : IBV_ACCESS_REMOTE_WRITE;
    struct target t = bad_target(&p.server, kind, all, missing);
    bool atomic = opcode == IBV_WR_ATOMIC_FETCH_AND_ADD || opcode == IBV_WR_ATOMIC_CMP_AND_SWP;
    if (atomic && kind == RANGE_BEHIND)
        t.at = (t.at + 511 + 7) & ~(uintptr_t)7;
    if (atomic && kind == RANGE_BEFORE)
        t.at = (t.at - 7) & ~(uintptr_t)7;
    struct ibv_sge sge;
    struct ibv_send_wr wr = work_request(&(struct work){.opcode = opcode,
                                                        .at = p.client.buf,
                                                        .bytes = atomic ? 8 : t.bytes,
                                                        .lkey = p.client.mr->lkey,
                                                        .remote = t.at,
                                                        .rkey = t.key,
                                                        .compare_add = 1},
                                         &sge);
    memset(p.client.buf, 0x21, 8192);
    break_with(&p, &wr, (struct outcome){IBV_WC_REM_ACCESS_ERR, vendor, IBV_EVENT_QP_ACCESS_ERR});
    expect_byte("the client's buffer", p.client.buf, 8192, 0x21);
    if (kind != WRAP) {
        unsigned char *page = (unsigned char *)((t.at + 1) & ~(uintptr_t)4095);
        if (kind == RANGE_BEHIND)
            page = (unsigned char *)((t.at - 1) & ~(uintptr_t)4095);
        expect_byte("the region", page, 4096, 0x44);
    }
    release_used();
    pair_close(&p);
}

#define REMOTE_CASE(function, opcode, kind, vendor)                                                                    \
    static void function(void) { remote_error(opcode, kind, vendor); }
REMOTE_CASE(write_bad_rkey, IBV_WR_RDMA_WRITE, KEY_UNKNOWN, 0x02)
REMOTE_CASE(write_wrong_rkey_octet, IBV_WR_RDMA_WRITE, KEY_KEY, 0x02)
REMOTE_CASE(write_old_rkey, IBV_WR_RDMA_WRITE, KEY_OLD, 0x02)
REMOTE_CASE(write_remote_other_pd, IBV_WR_RDMA_WRITE, KEY_OTHER_PD, 0x05)
REMOTE_CASE(write_remote_behind, IBV_WR_RDMA_WRITE, RANGE_BEHIND, 0x03)
REMOTE_CASE(write_remote_before, IBV_WR_RDMA_WRITE, RANGE_BEFORE, 0x03)
REMOTE_CASE(write_remote_too_long, IBV_WR_RDMA_WRITE, RANGE_TOO_LONG, 0x03)
REMOTE_CASE(write_remote_wrap, IBV_WR_RDMA_WRITE, WRAP, 0x06)
REMOTE_CASE(write_no_remote_write, IBV_WR_RDMA_WRITE, NO_RIGHT, 0x04)
REMOTE_CASE(write_imm_bad_rkey, IBV_WR_RDMA_WRITE_WITH_IMM, KEY_UNKNOWN, 0x02)
REMOTE_CASE(write_imm_no_remote_write, IBV_WR_RDMA_WRITE_WITH_IMM, NO_RIGHT, 0x04)
REMOTE_CASE(read_bad_rkey, IBV_WR_RDMA_READ, KEY_UNKNOWN, 0x02)
REMOTE_CASE(read_old_rkey, IBV_WR_RDMA_READ, KEY_OLD, 0x02)
REMOTE_CASE(read_remote_other_pd, IBV_WR_RDMA_READ, KEY_OTHER_PD, 0x05)
REMOTE_CASE(read_remote_behind, IBV_WR_RDMA_READ, RANGE_BEHIND, 0x03)
REMOTE_CASE(read_remote_before, IBV_WR_RDMA_READ, RANGE_BEFORE, 0x03)
REMOTE_CASE(read_remote_wrap, IBV_WR_RDMA_READ, WRAP, 0x06)
REMOTE_CASE(read_no_remote_read, IBV_WR_RDMA_READ, NO_RIGHT, 0x04)
REMOTE_CASE(atomic_bad_rkey, IBV_WR_ATOMIC_FETCH_AND_ADD, KEY_UNKNOWN, 0x02)
REMOTE_CASE(atomic_old_rkey, IBV_WR_ATOMIC_FETCH_AND_ADD, KEY_OLD, 0x02)
REMOTE_CASE(atomic_remote_other_pd, IBV_WR_ATOMIC_FETCH_AND_ADD, KEY_OTHER_PD, 0x05)
REMOTE_CASE(atomic_remote_behind, IBV_WR_ATOMIC_FETCH_AND_ADD, RANGE_BEHIND, 0x03)
REMOTE_CASE(atomic_no_remote_atomic, IBV_WR_ATOMIC_FETCH_AND_ADD, NO_RIGHT, 0x04)

/* The local DMA key opens all memory and must be no remote key; it is nothing for users either. */
static void write_local_dma_key(void) {
    struct pair p;
    pair_open(&p, NULL);
    struct ibv_sge sge;
    struct ibv_send_wr wr = work_request(&(struct work){.opcode = IBV_WR_RDMA_WRITE,
                                                        .at = p.client.buf,
                                                        .bytes = 64,
                                                        .lkey = p.client.mr->lkey,
                                                        .remote = 0x100000,
                                                        .rkey = 0x0fffff00},
                                         &sge);
    break_with(&p, &wr, (struct outcome){IBV_WC_REM_ACCESS_ERR, ANY_VENDOR, IBV_EVENT_QP_ACCESS_ERR});
    pair_close(&p);
}

/* The target side reports a misaligned atomic as a protocol error: the requester learns "general error". */
static void atomic_misaligned(void) {
    struct pair p;
    pair_open(&p, NULL);
    struct ibv_sge sge;
    memset(p.server.buf, 0x44, 64);
    struct ibv_send_wr wr = work_request(&(struct work){.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD,
                                                        .at = p.client.buf,
                                                        .bytes = 8,
                                                        .lkey = p.client.mr->lkey,
                                                        .remote = (uintptr_t)p.server.buf + 4,
                                                        .rkey = p.server.mr->rkey,
                                                        .compare_add = 1},
                                         &sge);
    break_with(&p, &wr, (struct outcome){IBV_WC_REM_ACCESS_ERR, 0x03, IBV_EVENT_QP_FATAL});
    expect_byte("the region", p.server.buf, 64, 0x44);
    pair_close(&p);
}

/* ---- receive buffers ---- */

/* The server's first receive is `t`; a message of `bytes` arrives for it. */
static void receive_error(struct pair *p, struct target t, uint32_t bytes, uint32_t vendor, enum ibv_wr_opcode opcode) {
    struct end *c = &p->client, *s = &p->server;
    fill(c->buf, bytes, 8);
    VERB(post_receive(s, 200, (void *)t.at, t.bytes, t.key));
    for (uint64_t i = 1; i < RECEIVES; i++)
        VERB(post_receive(s, 200 + i, s->buf, 16, s->mr->lkey));
    VERB(post_receive(c, 100, c->buf, 16, c->mr->lkey));
    note("sending");
    for (uint64_t i = 0; i < 3; i++)
        VERB(post(c, &(struct work){
                         .opcode = opcode, .wr_id = CULPRIT + i, .at = c->buf, .bytes = bytes, .lkey = c->mr->lkey}));
    struct ibv_wc wc = wc_next(s->rcq, 5000);
    if (wc.wr_id != 200 || wc.status != IBV_WC_REM_ACCESS_ERR || wc.vendor_err != vendor)
        fail("receive: expected %s, vendor 0x%x got %s, vendor 0x%x (wr_id %llu)",
             ibv_wc_status_str(IBV_WC_REM_ACCESS_ERR), vendor, ibv_wc_status_str(wc.status), wc.vendor_err,
             (unsigned long long)wc.wr_id);
    expect_flush(s->rcq, "server receives", 201, RECEIVES - 1, s->qp->qp_num);
    wc = wc_next(c->scq, 5000);
    EXPECT_EQ("wr_id of the sender", CULPRIT, wc.wr_id);
    if (wc.status != IBV_WC_GENERAL_ERR && wc.status != IBV_WC_WR_FLUSH_ERR)
        fail("sender: expected general error or flush got %s", ibv_wc_status_str(wc.status));
    expect_flush(c->scq, "client sends", CULPRIT + 1, 2, c->qp->qp_num);
    expect_flush(c->rcq, "client receives", 100, 1, c->qp->qp_num);
    expect_events(p, IBV_EVENT_QP_REQ_ERR);
    expect_broken(p);
}

static void message_too_long(void) {
    for (int round = 0; round < 3; round++) {
        static const uint32_t room[] = {100, 0, 4095}, bytes[] = {101, 1, 65536};
        struct pair p;
        pair_open(&p, &(struct options){.bytes = 128 * 1024});
        note("%u octets into %u", bytes[round], room[round]);
        unsigned char *at = p.server.buf + 8192;
        memset(p.server.buf, 0x44, p.server.bytes);
        receive_error(&p, (struct target){(uintptr_t)at, room[round], p.server.mr->lkey}, bytes[round], 0x03,
                      round == 2 ? IBV_WR_SEND_WITH_IMM : IBV_WR_SEND);
        expect_byte("behind the buffer", at + room[round], 70000, 0x44);
        expect_byte("in front of the buffer", p.server.buf, 8192, 0x44);
        pair_close(&p);
    }
}

static void receive_buffer(enum bad_key kind, uint32_t vendor) {
    struct pair p;
    pair_open(&p, NULL);
    struct target t = bad_target(&p.server, kind, IBV_ACCESS_LOCAL_WRITE, IBV_ACCESS_LOCAL_WRITE);
    receive_error(&p, t, t.bytes, vendor, IBV_WR_SEND);
    if (kind != WRAP && kind != RANGE_BEHIND && kind != RANGE_BEFORE)
        expect_byte("the region", (void *)t.at, 4096, 0x44);
    release_used();
    pair_close(&p);
}

static void receive_bad_lkey(void) { receive_buffer(KEY_UNKNOWN, 0x02); }
static void receive_old_lkey(void) { receive_buffer(KEY_OLD, 0x02); }
static void receive_behind(void) { receive_buffer(RANGE_BEHIND, 0x03); }
static void receive_too_long_for_region(void) { receive_buffer(RANGE_TOO_LONG, 0x03); }
static void receive_read_only(void) { receive_buffer(NO_RIGHT, 0x04); }
static void receive_other_pd(void) { receive_buffer(KEY_OTHER_PD, 0x05); }
static void receive_wrap(void) { receive_buffer(WRAP, 0x06); }

/* ---- posting at the wrong time ---- */

/* An unconnected queue pair: what is accepted must be flushed when it goes to the error state. */
static void before_connect(void) {
    struct end c = {0};
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
    client_resolve(&c, 1);
    end_open(&c, c.id, NULL);
    for (uint64_t i = 0; i < RECEIVES; i++)
        VERB(post_receive(&c, 100 + i, c.buf, 16, c.mr->lkey));
    unsigned int accepted = 0;
    for (uint64_t i = 0; i < 3; i++) {
        int error = post(
            &c,
            &(struct work){.opcode = IBV_WR_SEND, .wr_id = CULPRIT + i, .at = c.buf, .bytes = 8, .lkey = c.mr->lkey});
        if (error)
            expect_state_error("a send before the connection", error);
        else
            accepted++;
    }
    wc_none(c.scq, 100);
    wc_none(c.rcq, 0);
    VERB(ibv_modify_qp(c.qp, &attr, IBV_QP_STATE));
    expect_flush(c.scq, "sends", CULPRIT, accepted, c.qp->qp_num);
    expect_flush(c.rcq, "receives", 100, RECEIVES, c.qp->qp_num);
    end_close(&c);
}

/* Receives posted before the connection are the first to be used; sends posted early go out or are refused. */
static void early_posts_survive(void) {
    struct pair p = {0};
    struct rdma_conn_param param = connection_defaults();
    listener_open(&p, 0, 4);
    client_resolve(&p.client, listener_port(&p));
    end_open(&p.client, p.client.id, NULL);
    fill(p.client.buf, 64, 12);
    int error =
        post(&p.client,
             &(struct work){
                 .opcode = IBV_WR_SEND, .wr_id = CULPRIT, .at = p.client.buf, .bytes = 64, .lkey = p.client.mr->lkey});
    if (error)
        expect_state_error("a send before the connection", error);
    CALL(rdma_connect(p.client.id, &param));
    struct cm_event request = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    end_open(&p.server, request.id, NULL);
    VERB(post_receive(&p.server, 200, p.server.buf, 64, p.server.mr->lkey));
    CALL(rdma_accept(request.id, &param));
    cm_event_expect(p.client.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    cm_event_expect(p.server.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    if (error)
        VERB(post(
            &p.client,
            &(struct work){
                .opcode = IBV_WR_SEND, .wr_id = CULPRIT, .at = p.client.buf, .bytes = 64, .lkey = p.client.mr->lkey}));
    wc_good(p.client.scq, CULPRIT);
    wc_good(p.server.rcq, 200);
    expect_data("message", p.server.buf, 64, 12);
    pair_close(&p);
}

/* The peer leaves: no error events, receives are flushed, later posts too. */
static void after_disconnect(bool by_server) {
    struct pair p;
    struct ibv_async_event event;
    pair_open(&p, NULL);
    for (uint64_t i = 0; i < RECEIVES; i++) {
        VERB(post_receive(&p.client, 100 + i, p.client.buf, 16, p.client.mr->lkey));
        VERB(post_receive(&p.server, 200 + i, p.server.buf, 16, p.server.mr->lkey));
    }
    CALL(rdma_disconnect(by_server ? p.server.id : p.client.id));
    expect_flush(p.client.rcq, "client receives", 100, RECEIVES, p.client.qp->qp_num);
    expect_flush(p.server.rcq, "server receives", 200, RECEIVES, p.server.qp->qp_num);
    expect_broken(&p);
    if (async_wait(p.client.id->verbs, &event, 50))
        fail("an orderly disconnect caused %s", ibv_event_type_str(event.event_type));
    pair_close(&p);
}
static void after_client_disconnect(void) { after_disconnect(false); }
static void after_server_disconnect(void) { after_disconnect(true); }

/* modify to ERR is the way to abort. */
static void abort_by_modify(void) {
    struct pair p;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
    pair_open(&p, NULL);
    for (uint64_t i = 0; i < RECEIVES; i++) {
        VERB(post_receive(&p.client, 100 + i, p.client.buf, 16, p.client.mr->lkey));
        VERB(post_receive(&p.server, 200 + i, p.server.buf, 16, p.server.mr->lkey));
    }
    VERB(ibv_modify_qp(p.client.qp, &attr, IBV_QP_STATE));
    expect_flush(p.client.rcq, "client receives", 100, RECEIVES, p.client.qp->qp_num);
    expect_flush(p.server.rcq, "server receives", 200, RECEIVES, p.server.qp->qp_num);
    expect_broken(&p);
    VERB(ibv_modify_qp(p.client.qp, &attr, IBV_QP_STATE));
    pair_close(&p);
}

/* A region that goes away under a transfer ends the transfer, not the machine. */
static void deregister_under_way(void) {
    struct pair p;
    enum { BYTES = 8 << 20 };
    pair_open(&p, &(struct options){.bytes = BYTES});
    struct ibv_mr *target = region(p.server.pd, p.server.buf, BYTES, ACCESS_ALL);
    struct ibv_wc wc;
    bool failed = false;
    for (uint64_t i = 0; i < 16; i++)
        VERB(post(&p.client, &(struct work){.opcode = IBV_WR_RDMA_WRITE,
                                            .wr_id = i,
                                            .at = p.client.buf,
                                            .bytes = BYTES,
                                            .lkey = p.client.mr->lkey,
                                            .remote = (uintptr_t)p.server.buf,
                                            .rkey = target->rkey}));
    VERB(ibv_dereg_mr(target));
    for (uint64_t i = 0; i < 16; i++) {
        wc = wc_next(p.client.scq, 10000);
        EXPECT_EQ("order", i, wc.wr_id);
        if (wc.status == IBV_WC_SUCCESS)
            EXPECT(!failed);
        else if (!failed)
            EXPECT_EQ("first failure", IBV_WC_REM_ACCESS_ERR, wc.status);
        else
            EXPECT_EQ("behind it", IBV_WC_WR_FLUSH_ERR, wc.status);
        failed |= wc.status != IBV_WC_SUCCESS;
    }
    if (!failed) { /* the writes were quicker; now it must fail */
        VERB(post(&p.client, &(struct work){.opcode = IBV_WR_RDMA_WRITE,
                                            .wr_id = 16,
                                            .at = p.client.buf,
                                            .bytes = 8,
                                            .lkey = p.client.mr->lkey,
                                            .remote = (uintptr_t)p.server.buf,
                                            .rkey = target->rkey}));
        wc_expect(p.client.scq, 16, IBV_WC_REM_ACCESS_ERR);
    }
    pair_close(&p);
}

/* ---- posts that the library or the rings refuse ---- */

static void expect_refused(struct pair *p, struct ibv_send_wr *wr, const char *what) {
    struct ibv_send_wr *bad = NULL;
    int error = abs(ibv_post_send(p->client.qp, wr, &bad));
    if (error != EINVAL && error != ENOMEM)
        fail("%s: expected EINVAL or ENOMEM got %d", what, error);
    EXPECT(bad == wr);
    wc_none(p->client.scq, 30);
}

static void post_limits(void) {
    struct pair p;
    struct ibv_sge sge[8];
    pair_open(&p, NULL);
    struct end *c = &p.client;
    for (size_t i = 0; i < ARRAY_LEN(sge); i++)
        sge[i] = (struct ibv_sge){.addr = (uintptr_t)c->buf, .length = 16, .lkey = c->mr->lkey};
    struct ibv_send_wr wr = {
        .wr_id = 1, .sg_list = sge, .num_sge = 7, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED};
    expect_refused(&p, &wr, "send with 7 segments");
    wr.opcode = IBV_WR_RDMA_WRITE;
    wr.wr.rdma.remote_addr = (uintptr_t)p.server.buf;
    wr.wr.rdma.rkey = p.server.mr->rkey;
    expect_refused(&p, &wr, "write with 7 segments");
    wr.num_sge = 1;
    wr.send_flags |= IBV_SEND_INLINE;
    sge[0].length = 97;
    expect_refused(&p, &wr, "97 inline octets");
    wr.num_sge = 6;
    for (size_t i = 0; i < ARRAY_LEN(sge); i++)
        sge[i].length = 17;
    expect_refused(&p, &wr, "102 inline octets in 6 segments");
    wr.num_sge = 1;
    wr.send_flags = IBV_SEND_SIGNALED;
    static const enum ibv_wr_opcode foreign[] = {IBV_WR_LOCAL_INV, IBV_WR_BIND_MW, IBV_WR_TSO, IBV_WR_DRIVER1};
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
        wr.opcode = foreign[i];
        expect_refused(&p, &wr, "an opcode that user space does not have");
    }
    struct ibv_recv_wr *bad_recv = NULL, recv = {.wr_id = 2, .sg_list = sge, .num_sge = 2};
    int error = abs(ibv_post_recv(p.client.qp, &recv, &bad_recv));
    EXPECT_EQ("receive with 2 segments", EINVAL, error);
    EXPECT(bad_recv == &recv);

    note("the queue pair still works");
    VERB(post_receive(&p.server, 5, p.server.buf, 64, p.server.mr->lkey));
    VERB(post(c, &(struct work){.opcode = IBV_WR_SEND, .wr_id = 6, .at = c->buf, .bytes = 64, .lkey = c->mr->lkey}));
    wc_good(c->scq, 6);
    wc_good(p.server.rcq, 5);
    pair_close(&p);
}

/* A full send queue and a full receive queue refuse with ENOMEM, and nothing that was accepted is lost. */
static void queues_full(void) {
    enum { DEPTH = 16 };
    struct pair p;
    pair_open(&p, &(struct options){.send_wr = DEPTH, .recv_wr = DEPTH, .cqe = 1024});
    struct end *c = &p.client, *s = &p.server;
    uint64_t sent = 0;
    int error = 0;
    for (; sent < 1000 && !error; sent += error == 0) {
        fill(c->buf + sent * 16, 16, (uint32_t)sent);
        error = post(
            c, &(struct work){
                   .opcode = IBV_WR_SEND, .wr_id = sent, .at = c->buf + sent * 16, .bytes = 16, .lkey = c->mr->lkey});
    }
    EXPECT_EQ("error of the full send queue", ENOMEM, error);
    EXPECT(sent >= DEPTH);
    for (uint64_t i = 0; i < sent; i++) {
        note("message %llu of %llu", (unsigned long long)i, (unsigned long long)sent);
        VERB(post_receive(s, i, s->buf, 64, s->mr->lkey));
        wc_good(s->rcq, i);
        expect_data("message", s->buf, 16, (uint32_t)i);
        wc_good(c->scq, i);
    }
    uint64_t buffers = 0;
    error = 0;
    for (; buffers < 1000 && !error; buffers += error == 0)
        error = post_receive(s, buffers, s->buf + buffers * 16, 16, s->mr->lkey);
    EXPECT_EQ("error of the full receive queue", ENOMEM, error);
    EXPECT(buffers >= DEPTH);
    for (uint64_t i = 0; i < buffers; i++) {
        VERB(
            post(c, &(struct work){.opcode = IBV_WR_SEND, .wr_id = i, .at = c->buf, .bytes = 16, .lkey = c->mr->lkey}));
        wc_good(s->rcq, i);
        wc_good(c->scq, i);
    }
    pair_close(&p);
}

static const struct test_case cases[] = {
    {"send-bad-lkey", send_bad_lkey, 0},
    {"send-wrong-key-octet", send_wrong_key_octet, 0},
    {"send-old-lkey", send_old_lkey, 0},
    {"send-other-pd", send_other_pd, 0},
    {"send-behind-region", send_behind, 0},
    {"send-before-region", send_before, 0},
    {"send-longer-than-region", send_too_long, 0},
    {"send-address-wrap", send_wrap, 0},
    {"write-bad-lkey", write_bad_lkey, 0},
    {"write-old-lkey", write_old_lkey, 0},
    {"write-other-pd", write_other_pd, 0},
    {"write-behind-region", write_behind, 0},
    {"read-bad-lkey", read_bad_lkey, 0},
    {"read-old-lkey", read_old_lkey, 0},
    {"read-other-pd", read_other_pd, 0},
    {"read-behind-region", read_behind, 0},
    {"read-sink-read-only", read_sink_read_only, 0},
    {"atomic-bad-lkey", atomic_bad_lkey, 0},
    {"atomic-sink-read-only", atomic_sink_read_only, 0},
    {"write-bad-rkey", write_bad_rkey, 0},
    {"write-wrong-rkey-octet", write_wrong_rkey_octet, 0},
    {"write-old-rkey", write_old_rkey, 0},
    {"write-remote-other-pd", write_remote_other_pd, 0},
    {"write-remote-behind", write_remote_behind, 0},
    {"write-remote-before", write_remote_before, 0},
    {"write-remote-too-long", write_remote_too_long, 0},
    {"write-remote-wrap", write_remote_wrap, 0},
    {"write-no-remote-write", write_no_remote_write, 0},
    {"write-imm-bad-rkey", write_imm_bad_rkey, 0},
    {"write-imm-no-remote-write", write_imm_no_remote_write, 0},
    {"write-local-dma-key", write_local_dma_key, 0},
    {"read-bad-rkey", read_bad_rkey, 0},
    {"read-old-rkey", read_old_rkey, 0},
    {"read-remote-other-pd", read_remote_other_pd, 0},
    {"read-remote-behind", read_remote_behind, 0},
    {"read-remote-before", read_remote_before, 0},
    {"read-remote-wrap", read_remote_wrap, 0},
    {"read-no-remote-read", read_no_remote_read, 0},
    {"atomic-bad-rkey", atomic_bad_rkey, 0},
    {"atomic-old-rkey", atomic_old_rkey, 0},
    {"atomic-remote-other-pd", atomic_remote_other_pd, 0},
    {"atomic-remote-behind", atomic_remote_behind, 0},
    {"atomic-no-remote-atomic", atomic_no_remote_atomic, 0},
    {"atomic-misaligned", atomic_misaligned, 0},
    {"message-too-long", message_too_long, 30},
    {"receive-bad-lkey", receive_bad_lkey, 0},
    {"receive-old-lkey", receive_old_lkey, 0},
    {"receive-behind-region", receive_behind, 0},
    {"receive-longer-than-region", receive_too_long_for_region, 0},
    {"receive-read-only", receive_read_only, 0},
    {"receive-other-pd", receive_other_pd, 0},
    {"receive-address-wrap", receive_wrap, 0},
    {"before-connect", before_connect, 0},
    {"early-posts-survive", early_posts_survive, 0},
    {"after-client-disconnect", after_client_disconnect, 0},
    {"after-server-disconnect", after_server_disconnect, 0},
    {"abort-by-modify", abort_by_modify, 0},
    {"deregister-under-way", deregister_under_way, 30},
    {"post-limits", post_limits, 0},
    {"queues-full", queues_full, 0},
};

int main(int argc, char **argv) { return run_cases(argc, argv, cases, ARRAY_LEN(cases)); }
