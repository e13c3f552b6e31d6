// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * SIGKILL for a client or a server at every stage of a connection, some times over.  The other process must hear of
 * it, get all its work back and end in good order; the killed one must disappear.
 *
 * Besides the cases, each end alone, for tests whose ends are in different guests and are killed from outside:
 *
 *   kill_cases --end server|client STAGE PORT ADDRESS
 *
 * It prints "at STAGE" when it is there (before TRAFFIC it stays there), "told EVENT" when it hears of the end of the
 * connection, and "work FIRST FLUSHED EVENTS": status of the first failed work request, how many were flushed, how
 * many QP events came.
 *
 * With RoCE nothing ends a queue pair but its own errors and its owner: an end whose requests fail has heard enough, and
 * each end disconnects by itself, which flushes what it has posted.  And there a client's death reaches the request that
 * the server has not answered: no queue pair can be made for it then.
 */
#include "common.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum stage { START, RESOLVED, REQUEST, CONNECTED, TRAFFIC, DISCONNECT, NEVER };

struct memory_of_peer {
    uint64_t at;
    uint32_t key;
};

#define BYTES (1u << 20)
#define PIECE (1u << 16)

static const char *const stage_names[] = {"start",   "resolved",   "request", "connected",
                                          "traffic", "disconnect", "never"};

static enum stage stop_at; /* of this process; NEVER: the survivor */
static int report;         /* pipe to the case's process */
static bool printing;      /* --end: what happens is printed */
static unsigned int patience = 15000;

/* The victim tells that it got there; traffic and disconnecting go on while the signal is on its way. */
static void reached(enum stage stage) {
    static bool told;
    if (stage != stop_at || told)
        return;
    char here = 'v';
    told = true;
    if (printing)
        printf("at %s\n", stage_names[stage]);
    else if (write(report, &here, 1) != 1)
        fail("pipe: %m");
    if (stage < TRAFFIC)
        for (;;)
            pause();
}

static bool end_of_connection(enum rdma_cm_event_type type) {
    bool over = type == RDMA_CM_EVENT_DISCONNECTED || type == RDMA_CM_EVENT_REJECTED ||
                type == RDMA_CM_EVENT_UNREACHABLE || type == RDMA_CM_EVENT_CONNECT_ERROR;
    if (over && printing)
        printf("told %s\n", rdma_event_str(type));
    return over;
}

/* Keeps both queues busy until the connection ends; then all accepted work must come back. */
static void traffic(struct end *e, struct memory_of_peer peer) {
    enum { DEPTH = 24, RECEIVES = 24 };
    uint64_t posted = 0, done = 0, receives = 0, received = 0;
    unsigned long long flushed = 0, events = 0;
    enum ibv_wc_status first = IBV_WC_SUCCESS;
    struct ibv_async_event asynchronous;
    struct ibv_wc wc[8];
    struct cm_event event;
    bool over = false, broken = false, disconnect = stop_at == DISCONNECT;
    bool roce = e->id->verbs->device->transport_type == IBV_TRANSPORT_IB;
    uint64_t begin = now_ms();
    while (!over) {
        if (now_ms() - begin > patience)
            fail("expected an event within %u ms of the peer's death (%llu of %llu sends done)", patience,
                 (unsigned long long)done, (unsigned long long)posted);
        while (!broken && receives - received < RECEIVES && post_receive(e, receives, e->buf, 0, e->mr->lkey) == 0)
            receives++;
        while (!broken && posted - done < DEPTH) {
            static const enum ibv_wr_opcode kinds[] = {IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ, IBV_WR_RDMA_WRITE_WITH_IMM};
            size_t offset = (posted % (BYTES / PIECE)) * PIECE;
            if (post(e, &(struct work){.opcode = kinds[posted % 3],
                                       .wr_id = posted,
                                       .at = e->buf + offset,
                                       .bytes = PIECE,
                                       .lkey = e->mr->lkey,
                                       .remote = peer.at + offset,
                                       .rkey = peer.key,
                                       .imm = (uint32_t)posted}) != 0)
                break;
            posted++;
        }
        int got = ibv_poll_cq(e->scq, 8, wc);
        for (int i = 0; i < got; i++) {
            if (first == IBV_WC_SUCCESS)
                first = wc[i].status;
            broken |= wc[i].status != IBV_WC_SUCCESS;
            flushed += wc[i].status == IBV_WC_WR_FLUSH_ERR;
        }
        done += got > 0 ? (uint64_t)got : 0;
        got = ibv_poll_cq(e->rcq, 8, wc);
        for (int i = 0; i < got; i++)
            broken |= wc[i].status != IBV_WC_SUCCESS;
        received += got > 0 ? (uint64_t)got : 0;
        if (broken && roce && stop_at != DISCONNECT) {
            over = true;
            if (printing)
                printf("told by its work\n");
        }
        if (done > 64) {
            reached(TRAFFIC);
            if (disconnect) {
                reached(DISCONNECT);
                rdma_disconnect(e->id);
                broken = true;
                disconnect = false;
            }
        }
        while (cm_event_wait(e->cm, &event, broken ? 5 : 0))
            over |= end_of_connection(event.type);
    }
    if (roce)
        rdma_disconnect(e->id);
    begin = now_ms();
    while (done < posted || received < receives) {
        if (now_ms() - begin > 5000)
            fail("expected all work back, got %llu of %llu sends, %llu of %llu receives", (unsigned long long)done,
                 (unsigned long long)posted, (unsigned long long)received, (unsigned long long)receives);
        if (ibv_poll_cq(e->scq, 1, wc) == 1) {
            if (first == IBV_WC_SUCCESS)
                first = wc[0].status;
            flushed += wc[0].status == IBV_WC_WR_FLUSH_ERR;
            done++;
        }
        received += ibv_poll_cq(e->rcq, 1, wc) == 1;
    }
    while (printing && async_wait(e->id->verbs, &asynchronous, 100))
        events += asynchronous.event_type == IBV_EVENT_QP_FATAL || asynchronous.event_type == IBV_EVENT_QP_REQ_ERR ||
                  asynchronous.event_type == IBV_EVENT_QP_ACCESS_ERR;
    if (printing)
        printf("work %u %llu %llu\n", first, flushed, events);
}

static const struct options room = {.bytes = BYTES, .send_wr = 32, .recv_wr = 32, .may_be_gone = true};

static void connection_of(struct end *e, struct rdma_conn_param *param, struct memory_of_peer *own) {
    *own = (struct memory_of_peer){(uintptr_t)e->buf, e->mr->rkey};
    *param = connection_defaults();
    param->private_data = own;
    param->private_data_len = sizeof(*own);
}

static void server(int port_pipe, uint16_t fixed_port) {
    struct pair p = {0};
    struct rdma_conn_param param;
    struct memory_of_peer own, peer = {0};
    struct cm_event e;
    listener_open(&p, fixed_port, 4);
    uint16_t port = listener_port(&p);
    if (printing)
        printf("listening\n");
    else if (write(port_pipe, &port, sizeof(port)) != sizeof(port) || close(port_pipe))
        fail("pipe: %m");
    reached(START);
    e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 30000);
    memcpy(&peer, e.data, sizeof(peer));
    reached(REQUEST);
    end_open(&p.server, e.id, &room);
    if (!p.server.qp) {
        if (printing)
            printf("told by rdma_create_qp: %m\n");
        pair_close(&p);
        return;
    }
    connection_of(&p.server, &param, &own);
    if (rdma_accept(e.id, &param) == 0) {
        e = cm_event_next(p.server.cm, 10000);
        if (e.type == RDMA_CM_EVENT_ESTABLISHED) {
            reached(CONNECTED);
            traffic(&p.server, peer);
        } else if (!end_of_connection(e.type)) {
            fail("server: unexpected %s", rdma_event_str(e.type));
        }
    } else if (printing) {
        printf("told by rdma_accept: %m\n");
    }
    pair_close(&p);
}

static void client(uint16_t port) {
    struct pair p = {0};
    struct rdma_conn_param param;
    struct memory_of_peer own, peer = {0};
    client_resolve(&p.client, port);
    end_open(&p.client, p.client.id, &room);
    reached(RESOLVED);
    connection_of(&p.client, &param, &own);
    CALL(rdma_connect(p.client.id, &param));
    reached(REQUEST);
    struct cm_event e = cm_event_next(p.client.cm, 15000);
    if (e.type == RDMA_CM_EVENT_ESTABLISHED) {
        memcpy(&peer, e.data, sizeof(peer));
        reached(CONNECTED);
        traffic(&p.client, peer);
    } else if (!end_of_connection(e.type)) {
        fail("client: unexpected %s", rdma_event_str(e.type));
    }
    pair_close(&p);
}

static pid_t start(bool is_server, enum stage stage, int pipe_end, int port_pipe, uint16_t port) {
    pid_t pid = fork();
    if (pid < 0)
        fail("fork: %m");
    if (pid > 0)
        return pid;
    stop_at = stage;
    report = pipe_end;
    if (is_server)
        server(port_pipe, 0);
    else
        client(port);
    _exit(0);
}

/* Waits for a process; returns its status. */
static int ended(pid_t pid, const char *who, int limit) {
    int status;
    uint64_t begin = now_ms();
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now_ms() - begin > (uint64_t)limit)
            fail("the %s did not end within %d ms", who, limit);
        usleep(2000);
    }
    return status;
}

static void rounds(bool kill_server, enum stage stage, int count) {
    unsigned int random = (unsigned int)stage * 2 + kill_server;
    for (int round = 0; round < count; round++) {
        int here[2], ports[2];
        uint16_t port;
        note("round %d", round);
        CALL(pipe(here));
        CALL(pipe(ports));
        pid_t s = start(true, kill_server ? stage : NEVER, here[1], ports[1], 0);
        if (read(ports[0], &port, sizeof(port)) != sizeof(port))
            fail("the server did not start");
        bool alone = kill_server ? stage == START : stage == RESOLVED;
        pid_t c = kill_server && alone ? 0 : start(false, kill_server ? NEVER : stage, here[1], -1, port);
        pid_t victim = kill_server ? s : c, survivor = kill_server ? c : s;
        struct pollfd wait = {.fd = here[0], .events = POLLIN};
        if (poll(&wait, 1, 20000) != 1)
            fail("the %s did not get to its stage", kill_server ? "server" : "client");
        usleep((useconds_t)rand_r(&random) % 30000);
        CALL(kill(victim, SIGKILL));
        note("round %d, waiting for the killed %s", round, kill_server ? "server" : "client");
        int status = ended(victim, "killed process", 25000);
        /* In the last stage it may have been quicker than the signal. */
        if (!(WIFSIGNALED(status) || (stage == DISCONNECT && WEXITSTATUS(status) == 0)))
            fail("the victim ended by itself with status 0x%x", status);
        if (alone && survivor) { /* nothing connects it with the victim */
            CALL(kill(survivor, SIGKILL));
            ended(survivor, "server without client", 10000);
        } else if (survivor) {
            note("round %d, waiting for the surviving %s", round, kill_server ? "client" : "server");
            status = ended(survivor, "survivor", 25000);
            if (status != 0)
                fail("the survivor ended with status 0x%x", status);
        }
        close(here[0]), close(here[1]), close(ports[0]), close(ports[1]);
    }
}

/* Nobody answers the client: it must be gone when the connection manager gives up, and the server can go on. */
static void client_unanswered(void) {
    int here[2], ports[2];
    uint16_t port;
    CALL(pipe(here));
    CALL(pipe(ports));
    pid_t s = start(true, REQUEST, here[1], ports[1], 0);
    if (read(ports[0], &port, sizeof(port)) != sizeof(port))
        fail("the server did not start");
    pid_t c = start(false, REQUEST, here[1], -1, port);
    for (int i = 0; i < 2; i++) {
        struct pollfd wait = {.fd = here[0], .events = POLLIN};
        char byte;
        if (poll(&wait, 1, 20000) != 1 || read(here[0], &byte, 1) != 1)
            fail("client and server did not get to their stages");
    }
    CALL(kill(c, SIGKILL));
    note("waiting for the killed client");
    ended(c, "killed client", 25000);
    CALL(kill(s, SIGKILL));
    note("waiting for the killed server");
    ended(s, "killed server", 5000);
}

static void client_resolved(void) { rounds(false, RESOLVED, 3); }
static void client_waiting(void) { rounds(false, REQUEST, 2); }
static void client_connected(void) { rounds(false, CONNECTED, 5); }
static void client_traffic(void) { rounds(false, TRAFFIC, 12); }
static void client_disconnecting(void) { rounds(false, DISCONNECT, 8); }
static void server_listening(void) { rounds(true, START, 3); }
static void server_request(void) { rounds(true, REQUEST, 5); }
static void server_connected(void) { rounds(true, CONNECTED, 5); }
static void server_traffic(void) { rounds(true, TRAFFIC, 12); }
static void server_disconnecting(void) { rounds(true, DISCONNECT, 8); }

static const struct test_case cases[] = {
    {"client-resolved", client_resolved, 60},
    {"client-waiting", client_waiting, 60},
    {"client-unanswered", client_unanswered, 60},
    {"client-connected", client_connected, 60},
    {"client-traffic", client_traffic, 90},
    {"client-disconnecting", client_disconnecting, 60},
    {"server-listening", server_listening, 60},
    {"server-request", server_request, 60},
    {"server-connected", server_connected, 60},
    {"server-traffic", server_traffic, 90},
    {"server-disconnecting", server_disconnecting, 60},
};

static bool is_server;
static uint16_t port_of_end;

static void one_end(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (is_server)
        server(-1, port_of_end);
    else
        client(port_of_end);
}

/* --end server|client STAGE PORT ADDRESS */
static int end_only(char **argv) {
    static const struct test_case end = {"end", one_end, 120};
    char *arguments[] = {argv[0], argv[5], NULL};
    printing = true;
    patience = 100000;
    is_server = !strcmp(argv[2], "server");
    port_of_end = (uint16_t)atoi(argv[4]);
    while (strcmp(stage_names[stop_at], argv[3]) && stop_at < NEVER)
        stop_at++;
    return run_cases(2, arguments, &end, 1);
}

int main(int argc, char **argv) {
    if (argc == 6 && !strcmp(argv[1], "--end"))
        return end_only(argv);
    return run_cases(argc, argv, cases, ARRAY_LEN(cases));
}
