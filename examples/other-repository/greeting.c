// SPDX-License-Identifier: GPL-2.0-or-later
// greeting serve ADDRESS, greeting greet ADDRESS: the one sends the other a line of text by RDMA, and gets it back in
// capitals.  Stands for a program of yours.
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>

#define PORT "7471"
#define SIZE 64

static int failed(const char *what) {
    perror(what);
    return 1;
}

// The result of the next receive or send, or an error's text.
static int finish(struct rdma_cm_id *id, int (*wait)(struct rdma_cm_id *, struct ibv_wc *), const char *what) {
    struct ibv_wc wc;

    if (wait(id, &wc) != 1)
        return failed(what);
    if (wc.status != IBV_WC_SUCCESS) {
        fprintf(stderr, "%s: %s\n", what, ibv_wc_status_str(wc.status));
        return 1;
    }
    return 0;
}

static int receive(struct rdma_cm_id *id) { return finish(id, rdma_get_recv_comp, "receive"); }

static int transmit(struct rdma_cm_id *id, char *text, struct ibv_mr *mr) {
    if (rdma_post_send(id, NULL, text, SIZE, mr, IBV_SEND_SIGNALED))
        return failed("rdma_post_send");
    return finish(id, rdma_get_send_comp, "send");
}

static int serve(struct rdma_cm_id *listener) {
    static char text[SIZE];
    struct rdma_cm_id *id;
    struct ibv_mr *mr;
    int i, error;

    if (rdma_listen(listener, 1))
        return failed("rdma_listen");
    if (rdma_get_request(listener, &id))
        return failed("rdma_get_request");
    mr = rdma_reg_msgs(id, text, SIZE);
    if (!mr)
        return failed("ibv_reg_mr");
    if (rdma_post_recv(id, NULL, text, SIZE, mr) || rdma_accept(id, NULL))
        return failed("rdma_accept");
    error = receive(id);
    for (i = 0; i < SIZE; i++)
        text[i] = toupper((unsigned char)text[i]);
    error = error || transmit(id, text, mr);
    rdma_disconnect(id);
    rdma_dereg_mr(mr);
    rdma_destroy_ep(id);
    return error;
}

static int greet(struct rdma_cm_id *id) {
    static char text[SIZE] = "hello, other guest", answer[SIZE];
    struct ibv_mr *out = rdma_reg_msgs(id, text, SIZE), *in = rdma_reg_msgs(id, answer, SIZE);
    int error;

    if (!out || !in)
        return failed("ibv_reg_mr");
    if (rdma_post_recv(id, NULL, answer, SIZE, in) || rdma_connect(id, NULL))
        return failed("rdma_connect");
    error = transmit(id, text, out) || receive(id);
    if (!error)
        printf("%.*s\n", SIZE, answer);
    rdma_disconnect(id);
    rdma_dereg_mr(in);
    rdma_dereg_mr(out);
    return error;
}

int main(int argc, char **argv) {
    const int server = argc == 3 && !strcmp(argv[1], "serve");
    struct rdma_addrinfo hints = {.ai_port_space = RDMA_PS_TCP, .ai_flags = server ? RAI_PASSIVE : 0}, *found;
    struct ibv_qp_init_attr attributes = {
        .cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1}, .sq_sig_all = 1};
    struct rdma_cm_id *id;
    int error;

    if (argc != 3 || (!server && strcmp(argv[1], "greet"))) {
        fprintf(stderr, "usage: greeting serve|greet ADDRESS\n");
        return 2;
    }
    if (rdma_getaddrinfo(argv[2], PORT, &hints, &found))
        return failed("rdma_getaddrinfo");
    if (rdma_create_ep(&id, found, NULL, &attributes))
        return failed("rdma_create_ep");
    rdma_freeaddrinfo(found);
    error = server ? serve(id) : greet(id);
    rdma_destroy_ep(id);
    return error;
}
