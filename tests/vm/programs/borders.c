// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What one process can do to another through numbers that it knows or guesses: QP numbers, STags; and what a peer or a
 * consumer that takes no interest can keep.
 */
#include "common.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- another process's queue pair ---- */

/* A process with a queue pair of its own, which it keeps until it is told to look whether something happened to it. */
struct victim {
    pid_t pid;
    uint32_t qpn;
    int tell;
};

static void be_victim(int say, int hear) {
    struct end end = {0};
    struct ibv_qp_attr attr;
    struct ibv_qp_init_attr init;
    char word;
    client_resolve(&end, 7);
    end_open(&end, end.id, NULL);
    EXPECT(write(say, &end.qp->qp_num, sizeof(end.qp->qp_num)) == sizeof(end.qp->qp_num));
    EXPECT(read(hear, &word, 1) == 1);
    VERB(ibv_query_qp(end.qp, &attr, IBV_QP_STATE, &init));
    EXPECT_EQ("state of the victim's queue pair", IBV_QPS_INIT, attr.qp_state);
    end_close(&end);
    _exit(0);
}

static struct victim victim_start(void) {
    struct victim victim;
    int there[2], back[2];
    CALL(pipe(there));
    CALL(pipe(back));
    victim.pid = fork();
    EXPECT(victim.pid >= 0);
    if (!victim.pid)
        be_victim(back[1], there[0]);
    close(there[0]);
    close(back[1]);
    victim.tell = there[1];
    EXPECT(read(back[0], &victim.qpn, sizeof(victim.qpn)) == sizeof(victim.qpn));
    close(back[0]);
    return victim;
}

static void victim_end(struct victim *victim) {
    int status = -1;
    EXPECT(write(victim->tell, "e", 1) == 1);
    close(victim->tell);
    EXPECT(waitpid(victim->pid, &status, 0) == victim->pid);
    EXPECT_EQ("exit of the victim", 0, status);
}

static void expect_no_connect(uint32_t qpn) {
    struct pair p = {0};
    struct rdma_conn_param param = connection_defaults();
    struct cm_event e;
    listener_open(&p, 0, 4);
    client_resolve(&p.client, listener_port(&p));
    param.qp_num = qpn;
    EXPECT(rdma_connect(p.client.id, &param) != 0);
    EXPECT_EQ("errno of connect", EPERM, errno);
    EXPECT(!cm_event_wait(p.server.cm, &e, 500));
    pair_close(&p);
}

static void expect_no_accept(uint32_t qpn) {
    struct pair p = {0};
    struct rdma_conn_param param = connection_defaults();
    listener_open(&p, 0, 4);
    client_resolve(&p.client, listener_port(&p));
    end_open(&p.client, p.client.id, NULL);
    CALL(rdma_connect(p.client.id, &param));
    struct cm_event e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    param.qp_num = qpn;
    EXPECT(rdma_accept(e.id, &param) != 0);
    EXPECT_EQ("errno of accept", EPERM, errno);
    CALL(rdma_destroy_id(e.id));
    cm_event_expect(p.client.cm, RDMA_CM_EVENT_REJECTED, 5000);
    pair_close(&p);
}

static void foreign_connect(void) {
    struct victim victim = victim_start();
    expect_no_connect(victim.qpn);
    victim_end(&victim);
}

static void foreign_accept(void) {
    struct victim victim = victim_start();
    expect_no_accept(victim.qpn);
    victim_end(&victim);
}

/* Numbers of queue pairs that the kernel has, separated by blanks; each is tried. */
static void for_kernel_qps(void (*try)(uint32_t qpn)) {
    const char *at = getenv("ERDMA_TEST_KERNEL_QPS");
    char *end;
    if (!at)
        fail("ERDMA_TEST_KERNEL_QPS names no queue pair of the kernel");
    for (; *at; at = end) {
        unsigned long qpn = strtoul(at, &end, 10);
        EXPECT(end != at);
        note("queue pair %lu", qpn);
        try((uint32_t)qpn);
    }
}

static void kernel_connect(void) { for_kernel_qps(expect_no_connect); }

static void kernel_accept(void) { for_kernel_qps(expect_no_accept); }

/* The open file counts, not the process: a child that inherited it may connect its parent's queue pair. */
static void inherited_file(void) {
    struct pair p = {0};
    struct rdma_conn_param param = connection_defaults();
    struct ibv_qp_attr attr;
    struct ibv_qp_init_attr init;
    struct end parent = {0};
    int status = -1;
    listener_open(&p, 0, 4);
    client_resolve(&parent, listener_port(&p));
    end_open(&parent, parent.id, NULL);
    uint32_t qpn = parent.qp->qp_num;
    uint16_t port = listener_port(&p);
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (!pid) {
        struct end child = {0};
        client_resolve(&child, port);
        param.qp_num = qpn;
        CALL(rdma_connect(child.id, &param));
        cm_event_expect(child.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
        _exit(0);
    }
    struct cm_event e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    end_open(&p.server, e.id, NULL);
    CALL(rdma_accept(e.id, &param));
    cm_event_expect(p.server.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    EXPECT(waitpid(pid, &status, 0) == pid);
    EXPECT_EQ("exit of the child", 0, status);
    VERB(ibv_query_qp(parent.qp, &attr, IBV_QP_STATE, &init));
    EXPECT(attr.qp_state == IBV_QPS_RTS || attr.qp_state == IBV_QPS_ERR);
    end_close(&parent);
    pair_close(&p);
}

static struct ibv_pd *race_pd;
static struct ibv_cq *race_cq;
static volatile uint32_t race_qpn;
static volatile bool race_over;

static void *make_and_destroy(void *unused) {
    struct ibv_qp_init_attr init = {
        .send_cq = race_cq,
        .recv_cq = race_cq,
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1},
    };
    (void)unused;
    while (!race_over) {
        struct ibv_qp *qp = ibv_create_qp(race_pd, &init);
        EXPECT(qp);
        race_qpn = qp->qp_num;
        VERB(ibv_destroy_qp(qp));
    }
    return NULL;
}

/* A queue pair is named to rdma_connect() while its owner destroys it: it stays whole for as long as that takes. */
static void connect_while_destroyed(void) {
    struct pair p = {0};
    pthread_t thread;
    listener_open(&p, 0, 16);
    client_resolve(&p.client, listener_port(&p));
    end_open(&p.client, p.client.id, NULL);
    race_pd = p.client.pd;
    race_cq = p.client.scq;
    EXPECT(pthread_create(&thread, NULL, make_and_destroy, NULL) == 0);
    unsigned int tries = 0;
    for (uint64_t begin = now_ms(); now_ms() - begin < 3000; tries++) {
        struct end odd = {0};
        struct rdma_conn_param param = connection_defaults();
        client_resolve(&odd, listener_port(&p));
        for (int i = 0; i < 50; i++) {
            param.qp_num = race_qpn;
            if (rdma_connect(odd.id, &param) == 0)
                break;
        }
        CALL(rdma_destroy_id(odd.id));
        rdma_destroy_event_channel(odd.cm);
    }
    race_over = true;
    EXPECT(pthread_join(thread, NULL) == 0);
    note("%u identifiers", tries);
    EXPECT(tries > 2);
    pair_close(&p);
}

/* ---- connections ---- */

/* Nobody answers a request, and its peer waits for ever: it is refused after a minute. */
static void unanswered_request(void) {
    static const unsigned char request[] = "MPA ID Req Frame\0\x81\0\0\0\0\0\x11\0\0\0\1";
    struct pair p = {0};
    struct rdma_conn_param param = connection_defaults();
    struct sockaddr_in to = test_address();
    unsigned char reply[64];
    listener_open(&p, 0, 4);
    to.sin_port = htons(listener_port(&p));
    int peer = socket(AF_INET, SOCK_STREAM, 0);
    CALL(connect(peer, (struct sockaddr *)&to, sizeof(to)));
    EXPECT(write(peer, request, sizeof(request) - 1) == sizeof(request) - 1);
    struct cm_event e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    uint64_t begin = now_ms();
    struct pollfd readable = {.fd = peer, .events = POLLIN};
    EXPECT(poll(&readable, 1, 75000) == 1);
    EXPECT(now_ms() - begin > 55000);
    EXPECT(recv(peer, reply, sizeof(reply), 0) == sizeof(request) - 1);
    EXPECT(memcmp(reply, "MPA ID Rep Frame", 16) == 0 && (reply[16] & 0x20));
    end_open(&p.server, e.id, NULL);
    EXPECT(rdma_accept(e.id, &param) != 0);
    close(peer);
    pair_close(&p);
}

/* A reply with private data, for which the kernel has no memory if ERDMA_TEST_NO_MEMORY is set: an end all the same. */
static void reply_with_data(void) {
    struct pair p = {0};
    struct rdma_conn_param param = connection_defaults();
    listener_open(&p, 0, 4);
    client_resolve(&p.client, listener_port(&p));
    end_open(&p.client, p.client.id, NULL);
    CALL(rdma_connect(p.client.id, &param));
    struct cm_event e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    end_open(&p.server, e.id, NULL);
    param.private_data = "some data";
    param.private_data_len = 10;
    CALL(rdma_accept(e.id, &param));
    e = cm_event_next(p.client.cm, 5000);
    if (getenv("ERDMA_TEST_NO_MEMORY")) {
        if (e.type != RDMA_CM_EVENT_UNREACHABLE && e.type != RDMA_CM_EVENT_CONNECT_ERROR)
            fail("expected a failure got %s", rdma_event_str(e.type));
        EXPECT_EQ("status", -ENOMEM, e.status);
    } else {
        EXPECT_EQ("event", RDMA_CM_EVENT_ESTABLISHED, e.type);
    }
    pair_close(&p);
}

/* ---- STags ---- */

/* Neither the key nor the index of a region can be told from those of another. */
static void keys_not_guessed(void) {
    enum { COUNT = 64 };
    struct pair p = {0};
    struct ibv_mr *mrs[COUNT];
    bool seen[256] = {false};
    unsigned int keys = 0, neighbours = 0;
    unsigned char *memory = get_memory(4096);
    pair_open(&p, NULL);
    for (int i = 0; i < COUNT; i++) {
        mrs[i] = region(p.server.pd, memory, 4096, ACCESS_ALL);
        EXPECT_EQ("rkey", mrs[i]->lkey, mrs[i]->rkey);
        keys += !seen[mrs[i]->rkey & 0xff];
        seen[mrs[i]->rkey & 0xff] = true;
        neighbours += i && mrs[i]->rkey >> 8 == (mrs[i - 1]->rkey >> 8) + 1;
    }
    note("%u different keys, %u neighbours of %d", keys, neighbours, COUNT);
    /* 57 are to be expected, and fewer than 30 come once in more than 10^15. */
    EXPECT(keys >= 30);
    EXPECT(neighbours <= 4);
    note("every one works");
    for (int i = 0; i < COUNT; i++) {
        VERB(post(&p.client, &(struct work){.opcode = IBV_WR_RDMA_WRITE,
                                            .wr_id = 1,
                                            .at = p.client.buf,
                                            .bytes = 64,
                                            .lkey = p.client.mr->lkey,
                                            .remote = (uintptr_t)memory,
                                            .rkey = mrs[i]->rkey}));
        wc_good(p.client.scq, 1);
    }
    note("another key of the same region does not");
    VERB(post(&p.client, &(struct work){.opcode = IBV_WR_RDMA_WRITE,
                                        .wr_id = 2,
                                        .at = p.client.buf,
                                        .bytes = 64,
                                        .lkey = p.client.mr->lkey,
                                        .remote = (uintptr_t)memory,
                                        .rkey = mrs[0]->rkey ^ 1}));
    struct ibv_wc wc = wc_next(p.client.scq, 5000);
    EXPECT(wc.status != IBV_WC_SUCCESS);
    for (int i = 0; i < COUNT; i++)
        VERB(ibv_dereg_mr(mrs[i]));
    pair_close(&p);
}

static const struct test_case cases[] = {
    {"foreign-connect", foreign_connect, 0},
    {"foreign-accept", foreign_accept, 0},
    {"inherited-file", inherited_file, 0},
    {"connect-while-destroyed", connect_while_destroyed, 0},
    {"keys-not-guessed", keys_not_guessed, 0},
    {"reply-with-data", reply_with_data, 0},
    {"unanswered-request", unanswered_request, 100},
    /* Only with queue pairs of the kernel around; the last two. */
    {"kernel-connect", kernel_connect, 60},
    {"kernel-accept", kernel_accept, 60},
};

int main(int argc, char **argv) {
    bool kernel = getenv("ERDMA_TEST_KERNEL_QPS");
    return run_cases(argc, argv, cases, ARRAY_LEN(cases) - (kernel ? 0 : 2));
}
