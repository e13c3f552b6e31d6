// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every operation of a connection once, in several sizes, between two hosts; for captures.
 *
 *   wire_ops serve ADDRESS PORT [standard]
 *   wire_ops drive ADDRESS PORT [standard]
 *
 * Last comes a read with a key that is not right, which ends the connection with a Terminate message.  Both ends check
 * the data and end with 0 when all of it was right.  With "standard" there are writes in the place of sends with immediate
 * data, which standard iWARP does not have (RFC 7306).
 */
#include <arpa/inet.h>
#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define MOST (1u << 20)
#define IMMEDIATE 0x12345678u
#define START 1000u
#define ADDEND 23u

static const uint32_t sizes[] = {0, 1, 3, 1000, 4096, 65536, MOST};
enum {
    PLAIN = ARRAY_LEN(sizes),
    WITH_IMMEDIATE = PLAIN,
    WRITE_WITH_IMMEDIATE,
    SOLICITED_IMMEDIATE,
    SOLICITED_WRITE,
    SOLICITED,
    LAST,
    MESSAGES
};

static bool standard;

struct offer { /* what the server lets the client reach */
    uint64_t address;
    uint32_t rkey;
    uint32_t reserved;
};

#define NEED(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            printf("line %d: %s: %m\n", __LINE__, #condition);                                                         \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static const struct ibv_qp_init_attr queue_pair = {
    .qp_type = IBV_QPT_RC,
    .sq_sig_all = 1,
    .cap = {.max_send_wr = 16, .max_recv_wr = MESSAGES + 1, .max_send_sge = 1, .max_recv_sge = 1},
};

static struct rdma_cm_id *endpoint(char *address, char *port, int flags) {
    struct rdma_addrinfo hints = {.ai_port_space = RDMA_PS_TCP, .ai_flags = flags}, *found;
    struct ibv_qp_init_attr attributes = queue_pair;
    struct rdma_cm_id *id;
    NEED(rdma_getaddrinfo(address, port, &hints, &found) == 0);
    NEED(rdma_create_ep(&id, found, NULL, &attributes) == 0);
    rdma_freeaddrinfo(found);
    return id;
}

static struct ibv_mr *memory(struct rdma_cm_id *id, size_t bytes) {
    struct ibv_mr *mr = ibv_reg_mr(id->pd, get_memory(bytes), bytes, ACCESS_ALL | atomic_access(id->verbs));
    NEED(mr);
    return mr;
}

static struct ibv_wc sent(struct rdma_cm_id *id) {
    struct ibv_wc wc;
    NEED(rdma_get_send_comp(id, &wc) == 1);
    NEED(wc.status == IBV_WC_SUCCESS);
    return wc;
}

static struct ibv_wc received(struct rdma_cm_id *id) {
    struct ibv_wc wc;
    NEED(rdma_get_recv_comp(id, &wc) == 1);
    NEED(wc.status == IBV_WC_SUCCESS);
    return wc;
}

/* Is this message one that ends a write? */
static bool writes(uint32_t i) {
    return i == WRITE_WITH_IMMEDIATE || i == SOLICITED_WRITE ||
           (standard && (i == WITH_IMMEDIATE || i == SOLICITED_IMMEDIATE));
}

static void serve(char *address, char *port) {
    struct rdma_cm_id *listener = endpoint(address, port, RAI_PASSIVE), *id;
    NEED(rdma_listen(listener, 1) == 0);
    NEED(rdma_get_request(listener, &id) == 0);
    struct ibv_mr *buffers = memory(id, (size_t)MESSAGES * MOST), *target = memory(id, 2 * MOST);
    char *at = buffers->addr;
    for (uint32_t i = 0; i < MESSAGES; i++)
        NEED(rdma_post_recv(id, (void *)(uintptr_t)i, at + (size_t)i * MOST, MOST, buffers) == 0);
    *(uint64_t *)((char *)target->addr + MOST) = START;
    NEED(rdma_accept(id, NULL) == 0);

    struct ibv_mr *note = memory(id, sizeof(struct offer));
    *(struct offer *)note->addr = (struct offer){(uintptr_t)target->addr, target->rkey, 0};
    NEED(rdma_post_send(id, NULL, note->addr, sizeof(struct offer), note, 0) == 0);
    sent(id);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct ibv_wc wc = received(id);
        NEED(wc.wr_id == i);
        bool write = writes(i);
        if (write || i == WITH_IMMEDIATE || i == SOLICITED_IMMEDIATE)
            NEED((wc.wc_flags & IBV_WC_WITH_IMM) && ntohl(wc.imm_data) == IMMEDIATE + i);
        if (write)
            NEED(wc.opcode == IBV_WC_RECV_RDMA_WITH_IMM &&
                 mismatch((char *)target->addr + (size_t)i * 5000, 5000, i) < 0);
        else
            NEED(wc.opcode == IBV_WC_RECV && mismatch(at + (size_t)i * MOST, wc.byte_len, i) < 0);
        if (i < PLAIN)
            NEED(wc.byte_len == sizes[i]);
    }
    NEED(*(uint64_t *)((char *)target->addr + MOST) == START + ADDEND + 1);
    NEED(rdma_post_send(id, NULL, note->addr, sizeof(struct offer), note, 0) == 0); /* goodbye */
    sent(id);
    struct rdma_cm_event *event;
    NEED(rdma_get_cm_event(id->channel, &event) == 0);
    NEED(event->event == RDMA_CM_EVENT_DISCONNECTED);
    rdma_ack_cm_event(event);
}

/* Posts one work request. */
static void start(struct rdma_cm_id *id, enum ibv_wr_opcode opcode, struct ibv_mr *mr, uint32_t bytes, unsigned flags,
                  uint32_t immediate, const struct offer *offer) {
    const struct work w = {.opcode = opcode,
                           .at = mr->addr,
                           .bytes = bytes,
                           .lkey = mr->lkey,
                           .flags = flags,
                           .imm = immediate,
                           .remote = offer->address,
                           .rkey = offer->rkey};
    struct ibv_sge sge;
    struct ibv_send_wr wr = work_request(&w, &sge), *bad;
    if (opcode == IBV_WR_ATOMIC_CMP_AND_SWP || opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
        wr.wr.atomic.remote_addr = offer->address + MOST;
        wr.wr.atomic.compare_add = opcode == IBV_WR_ATOMIC_CMP_AND_SWP ? START : ADDEND;
        wr.wr.atomic.swap = START + 1;
    }
    NEED(ibv_post_send(id->qp, &wr, &bad) == 0);
}

/* The same, and waits for its completion. */
static void work(struct rdma_cm_id *id, enum ibv_wr_opcode opcode, struct ibv_mr *mr, uint32_t bytes, unsigned flags,
                 uint32_t immediate, const struct offer *offer) {
    start(id, opcode, mr, bytes, flags, immediate, offer);
    sent(id);
}

static void drive(char *address, char *port) {
    struct rdma_cm_id *id = endpoint(address, port, 0);
    struct ibv_mr *from = memory(id, MOST), *back = memory(id, MOST), *note = memory(id, sizeof(struct offer));
    NEED(rdma_post_recv(id, NULL, note->addr, sizeof(struct offer), note) == 0);
    NEED(rdma_connect(id, NULL) == 0);
    received(id);
    const struct offer offer = *(struct offer *)note->addr;
    NEED(rdma_post_recv(id, NULL, note->addr, sizeof(struct offer), note) == 0);

    for (uint32_t i = 0; i < PLAIN; i++) {
        fill(from->addr, sizes[i], i);
        memset(back->addr, 0, MOST);
        work(id, IBV_WR_RDMA_WRITE, from, sizes[i], 0, 0, &offer);
        work(id, IBV_WR_RDMA_READ, back, sizes[i], 0, 0, &offer);
        NEED(mismatch(back->addr, sizes[i], i) < 0);
        work(id, IBV_WR_SEND, from, sizes[i], 0, 0, &offer);
    }
    for (uint32_t i = WITH_IMMEDIATE; i <= SOLICITED_WRITE; i++) {
        bool write = writes(i);
        /* Each write has a place of its own: the server may look late. */
        const struct offer place = {offer.address + i * 5000, offer.rkey, 0};
        fill(from->addr, 5000, i);
        work(id, write ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_SEND_WITH_IMM, from, 5000,
             i >= SOLICITED_IMMEDIATE ? IBV_SEND_SOLICITED : 0, IMMEDIATE + i, &place);
    }
    fill(from->addr, 100, SOLICITED);
    work(id, IBV_WR_SEND, from, 100, IBV_SEND_SOLICITED, 0, &offer);
    work(id, IBV_WR_ATOMIC_CMP_AND_SWP, back, 8, 0, 0, &offer);
    NEED(*(uint64_t *)back->addr == START);
    work(id, IBV_WR_ATOMIC_FETCH_AND_ADD, back, 8, 0, 0, &offer);
    NEED(*(uint64_t *)back->addr == START + 1);
    fill(from->addr, 8, LAST);
    work(id, IBV_WR_SEND, from, 8, 0, 0, &offer);
    received(id);

    const struct offer forged = {offer.address, offer.rkey + 1, 0};
    struct ibv_wc wc;
    start(id, IBV_WR_RDMA_READ, back, 8, 0, 0, &forged);
    NEED(rdma_get_send_comp(id, &wc) == 1);
    NEED(wc.status == IBV_WC_REM_ACCESS_ERR);
    rdma_disconnect(id);
}

int main(int argc, char **argv) {
    standard = argc == 5 && !strcmp(argv[4], "standard");
    bool server = argc > 1 && !strcmp(argv[1], "serve");
    if (argc != 4 + standard || !(server || !strcmp(argv[1], "drive"))) {
        fprintf(stderr, "usage: %s serve|drive ADDRESS PORT [standard]\n", argv[0]);
        return 2;
    }
    server ? serve(argv[2], argv[3]) : drive(argv[2], argv[3]);
    puts("all right");
    return 0;
}
