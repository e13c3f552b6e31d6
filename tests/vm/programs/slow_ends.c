// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Two ends that are as slow as they are told to be, until they are killed:
 *
 *   slow_ends receive ADDRESS PORT BYTES MS      posts a receive each MS milliseconds; 0: as many as there can be, always
 *   slow_ends send ADDRESS PORT BYTES            sends as fast as can be
 *   slow_ends serve ADDRESS PORT BYTES READS     lets itself be read, READS at a time
 *   slow_ends read ADDRESS PORT BYTES READS      reads as fast as can be, and asks for READS at a time
 *
 * "receive" and "serve" print "listening", the others "connected".
 */
#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

#define DEPTH 16

#define NEED(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            printf("line %d: %s: %m\n", __LINE__, #condition);                                                         \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

struct offer { /* what the server lets the client reach */
    uint64_t address;
    uint32_t rkey;
    uint32_t reserved;
};

static struct rdma_cm_id *endpoint(char *address, char *port, bool passive) {
    struct rdma_addrinfo hints = {.ai_port_space = RDMA_PS_TCP, .ai_flags = passive ? RAI_PASSIVE : 0}, *found;
    struct ibv_qp_init_attr queue_pair = {
        .qp_type = IBV_QPT_RC,
        .sq_sig_all = 1,
        .cap = {.max_send_wr = DEPTH, .max_recv_wr = DEPTH, .max_send_sge = 1, .max_recv_sge = 1},
    };
    struct rdma_cm_id *id;
    NEED(rdma_getaddrinfo(address, port, &hints, &found) == 0);
    NEED(rdma_create_ep(&id, found, NULL, &queue_pair) == 0);
    rdma_freeaddrinfo(found);
    return id;
}

static void completed(const struct ibv_wc *wc) {
    if (wc->status == IBV_WC_SUCCESS)
        return;
    printf("completion: %s\n", ibv_wc_status_str(wc->status));
    exit(1);
}

static void receive(struct rdma_cm_id *id, struct ibv_mr *mr, size_t bytes, useconds_t ms) {
    if (ms == 0)
        for (int i = 1; i < DEPTH; i++)
            NEED(rdma_post_recv(id, NULL, mr->addr, bytes, mr) == 0);
    for (;;) {
        usleep(ms * 1000);
        NEED(rdma_post_recv(id, NULL, mr->addr, bytes, mr) == 0);
        /* Which was posted before may be complete already. */
        struct ibv_wc wc;
        NEED(rdma_get_recv_comp(id, &wc) == 1);
        completed(&wc);
    }
}

static void keep_busy(struct rdma_cm_id *id, struct ibv_mr *mr, size_t bytes, const struct offer *from) {
    for (unsigned long posted = 0;; posted++) {
        if (posted >= DEPTH) {
            struct ibv_wc wc;
            NEED(rdma_get_send_comp(id, &wc) == 1);
            completed(&wc);
        }
        if (from)
            NEED(rdma_post_read(id, NULL, mr->addr, bytes, mr, 0, from->address, from->rkey) == 0);
        else
            NEED(rdma_post_send(id, NULL, mr->addr, bytes, mr, 0) == 0);
    }
}

int main(int argc, char **argv) {
    bool receives = argc == 6 && !strcmp(argv[1], "receive"), serves = argc == 6 && !strcmp(argv[1], "serve");
    bool reads = argc == 6 && !strcmp(argv[1], "read"), sends = argc == 5 && !strcmp(argv[1], "send");
    if (!receives && !serves && !reads && !sends) {
        fprintf(stderr, "usage: %s receive|send|serve|read ADDRESS PORT BYTES [MS|READS]\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    size_t bytes = strtoul(argv[4], NULL, 0);
    unsigned long last = argc == 6 ? strtoul(argv[5], NULL, 0) : 0;
    struct rdma_cm_id *id = endpoint(argv[2], argv[3], receives || serves);
    if (receives || serves) {
        struct rdma_cm_id *listener = id;
        NEED(rdma_listen(listener, 1) == 0);
        printf("listening\n");
        NEED(rdma_get_request(listener, &id) == 0);
    }
    struct ibv_mr *mr = ibv_reg_mr(id->pd, get_memory(bytes), bytes, ACCESS_ALL);
    NEED(mr);
    struct offer offer = {.address = (uintptr_t)mr->addr, .rkey = mr->rkey};
    struct rdma_conn_param param = connection_defaults();
    param.private_data = &offer;
    param.private_data_len = sizeof(offer);
    if (serves || reads)
        param.initiator_depth = param.responder_resources = (uint8_t)last;
    if (receives || serves) {
        NEED(rdma_accept(id, &param) == 0);
        if (receives)
            receive(id, mr, bytes, (useconds_t)last);
        for (;;)
            pause();
    }
    NEED(rdma_connect(id, &param) == 0);
    printf("connected\n");
    if (reads)
        memcpy(&offer, id->event->param.conn.private_data, sizeof(offer));
    keep_busy(id, mr, bytes, reads ? &offer : NULL);
}
