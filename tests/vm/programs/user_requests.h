/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verbs commands that are nearly right: what the body of each looks like, with handles that exist, or nearly so. */
#ifndef ERDMA_TESTS_USER_REQUESTS_H
#define ERDMA_TESTS_USER_REQUESTS_H

#include "chance.h"

#include <infiniband/verbs.h>
#include <rdma/erdma-abi.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/ib_user_verbs.h>

#include <string.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

enum {
    PAGE = 4096,
    ROOM = 1 << 20, /* where everything that is handed over lies */
    KINDS = 17,     /* of objects, as ioctl() numbers them */
    KEPT = 8,       /* handles of a kind that are remembered */
};

static uint8_t *room;
static uint32_t handles[KINDS][KEPT], ids[KEPT], channels[KEPT];

static uint64_t edge(void) {
    static const uint64_t edges[] = {0,          1,
                                     2,          8,
                                     31,         4095,
                                     4096,       65535,
                                     65536,      0x7fffffff,
                                     0x80000000, 0xffffffff,
                                     1ull << 32, 0x0fffff00,
                                     UINT64_MAX, UINT64_MAX - 4095,
                                     1ull << 63, 0xffff888000000000};
    return one_in(2) ? edges[below(ARRAY_LEN(edges))] : any() >> below(64);
}
static uint64_t pointer(void) {
    return one_in(32) ? edge() : (uintptr_t)room + (below(ROOM) & (one_in(4) ? ~0u : ~4095u));
}
/* Mostly one that exists. */
static uint32_t handle(unsigned int kind) {
    return one_in(12) ? (uint32_t)edge() : one_in(6) ? below(40) : handles[kind][below(KEPT)];
}
static uint32_t identifier(void) { return one_in(6) ? below(200) : one_in(12) ? (uint32_t)edge() : ids[below(KEPT)]; }
static uint32_t number(uint32_t usual) { return one_in(12) ? (uint32_t)edge() : below(usual); }

/* ---- verbs by write() ---- */

struct request {
    uint32_t bytes;
    unsigned int makes; /* kind of object that the response names first; 0: none */
    uint8_t body[1024];
};

#define BODY(name)                                                                                                     \
    struct ib_uverbs_##name *c = (void *)r->body;                                                                      \
    r->bytes = sizeof(*c)

/* The driver's part of a creation: where the ring and its doorbell record are. */
static void add_ring(struct request *r, uint32_t entries) {
    struct erdma_ureq_create_qp ring = {
        .db_record_va = one_in(8) ? pointer() : (uintptr_t)room + 8 * below(1000),
        .qbuf_va = one_in(8) ? pointer() : (uintptr_t)room + PAGE * (1 + below(ROOM / PAGE / 2)),
        .qbuf_len = one_in(8) ? (uint32_t)edge() : (entries * 32 + PAGE - 1) / PAGE * PAGE,
    };
    if (!one_in(16)) {
        memcpy(r->body + r->bytes, &ring, sizeof(ring));
        r->bytes += sizeof(ring);
    }
}

static void make_cq(struct request *r) {
    BODY(create_cq);
    uint32_t log = 1 + below(8);
    c->user_handle = any();
    c->cqe = one_in(8) ? (uint32_t)edge() : 1u << log;
    c->comp_vector = number(3);
    c->comp_channel = one_in(2) ? -1 : (int)channels[below(KEPT)];
    r->makes = UVERBS_OBJECT_CQ;
    add_ring(r, 1u << log);
}
static void make_qp(struct request *r) {
    BODY(create_qp);
    uint32_t log = 1 + below(6);
    c->user_handle = any();
    c->pd_handle = handle(UVERBS_OBJECT_PD);
    c->send_cq_handle = handle(UVERBS_OBJECT_CQ);
    c->recv_cq_handle = handle(UVERBS_OBJECT_CQ);
    c->srq_handle = handle(UVERBS_OBJECT_SRQ);
    c->max_send_wr = one_in(8) ? (uint32_t)edge() : 1u << log;
    c->max_recv_wr = one_in(8) ? (uint32_t)edge() : 1u << log;
    c->max_send_sge = number(8);
    c->max_recv_sge = number(3);
    c->max_inline_data = number(100);
    c->sq_sig_all = below(2);
    c->qp_type = one_in(8) ? (uint8_t)edge() : IBV_QPT_RC;
    c->is_srq = one_in(32);
    r->makes = UVERBS_OBJECT_QP;
    add_ring(r, (1u << log) * 5); /* an entry of the send queue has up to four blocks */
}
static void register_region(struct request *r) {
    BODY(reg_mr);
    c->start = c->hca_va = pointer();
    c->length = one_in(6) ? edge() : 1 + below(64 * 1024);
    if (one_in(8))
        c->hca_va = edge();
    c->pd_handle = handle(UVERBS_OBJECT_PD);
    c->access_flags = one_in(4) ? (uint32_t)edge() : below(32);
    r->makes = UVERBS_OBJECT_MR;
}
static void modify_qp(struct request *r) {
    BODY(modify_qp);
    for (uint32_t at = 0; at < r->bytes; at++)
        r->body[at] = one_in(4) ? (uint8_t)any() : 0;
    c->qp_handle = handle(UVERBS_OBJECT_QP);
    c->attr_mask = one_in(2) ? IBV_QP_STATE : IBV_QP_STATE | (uint32_t)(any() & 0x1fffff);
    c->qp_state = one_in(8) ? (uint8_t)any() : below(8);
}
/* A handle, and what else there may be. */
static void with_handle(struct request *r, unsigned int kind, bool response) {
    uint32_t words[12] = {0};
    uint64_t to = pointer();
    unsigned int at = 0;
    if (response) {
        memcpy(words, &to, 8);
        at = 2;
    }
    words[at] = handle(kind);
    for (unsigned int i = at + 1; i < ARRAY_LEN(words); i++)
        words[i] = one_in(3) ? (uint32_t)edge() : below(4);
    r->bytes = 4 * (at + 1 + below((uint32_t)ARRAY_LEN(words) - at));
    if (one_in(2))
        r->bytes = 4 * (at + 2);
    memcpy(r->body, words, r->bytes);
}

/* Commands of a handle; `makes`: what kind of object. */
static const struct {
    uint8_t command, kind;
    bool response;
    uint8_t makes;
} simple[] = {
    {IB_USER_VERBS_CMD_ALLOC_MW, UVERBS_OBJECT_PD, true, UVERBS_OBJECT_MW},
    {IB_USER_VERBS_CMD_DEALLOC_PD, UVERBS_OBJECT_PD, false, 0},
    {IB_USER_VERBS_CMD_DEREG_MR, UVERBS_OBJECT_MR, false, 0},
    {IB_USER_VERBS_CMD_REREG_MR, UVERBS_OBJECT_MR, true, 0},
    {IB_USER_VERBS_CMD_DEALLOC_MW, UVERBS_OBJECT_MW, false, 0},
    {IB_USER_VERBS_CMD_RESIZE_CQ, UVERBS_OBJECT_CQ, true, 0},
    {IB_USER_VERBS_CMD_DESTROY_CQ, UVERBS_OBJECT_CQ, true, 0},
    {IB_USER_VERBS_CMD_POLL_CQ, UVERBS_OBJECT_CQ, true, 0},
    {IB_USER_VERBS_CMD_PEEK_CQ, UVERBS_OBJECT_CQ, true, 0},
    {IB_USER_VERBS_CMD_REQ_NOTIFY_CQ, UVERBS_OBJECT_CQ, false, 0},
    {IB_USER_VERBS_CMD_QUERY_QP, UVERBS_OBJECT_QP, true, 0},
    {IB_USER_VERBS_CMD_DESTROY_QP, UVERBS_OBJECT_QP, true, 0},
    {IB_USER_VERBS_CMD_POST_SEND, UVERBS_OBJECT_QP, true, 0},
    {IB_USER_VERBS_CMD_POST_RECV, UVERBS_OBJECT_QP, true, 0},
};

static void command_of(struct request *r, unsigned int command) {
    switch (command) {
    case IB_USER_VERBS_CMD_ALLOC_PD:
    case IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL:
        r->bytes = 8;
        r->makes = command == IB_USER_VERBS_CMD_ALLOC_PD ? UVERBS_OBJECT_PD : UVERBS_OBJECT_COMP_CHANNEL;
        return;
    case IB_USER_VERBS_CMD_CREATE_CQ:
        make_cq(r);
        return;
    case IB_USER_VERBS_CMD_CREATE_QP:
        make_qp(r);
        return;
    case IB_USER_VERBS_CMD_REG_MR:
        register_region(r);
        return;
    case IB_USER_VERBS_CMD_MODIFY_QP:
        modify_qp(r);
        return;
    case IB_USER_VERBS_CMD_ATTACH_MCAST:
    case IB_USER_VERBS_CMD_DETACH_MCAST:
        r->bytes = sizeof(struct ib_uverbs_attach_mcast);
        ((struct ib_uverbs_attach_mcast *)r->body)->qp_handle = handle(UVERBS_OBJECT_QP);
        return;
    }
    for (unsigned int i = 0; i < ARRAY_LEN(simple); i++)
        if (simple[i].command == command) {
            with_handle(r, simple[i].kind, simple[i].response);
            r->makes = simple[i].makes;
            return;
        }
    with_handle(r, below(KINDS), one_in(2));
}

#endif
