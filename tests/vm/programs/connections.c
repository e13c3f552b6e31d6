// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Many connections between two hosts, over RDMA or plain TCP.
 *
 *   connections serve rdma|tcp ADDRESS PORT [--ready N]
 *   connections open rdma|tcp ADDRESS PORT COUNT [--at-once N] [--messages N] [--repeat N] [--hold]
 *
 * The server prints "listening" and serves until it is killed: messages are sent back as they come.  With --ready it
 * has made N queue pairs by then, as servers with many connections do, and makes more only for connections beyond those
 * (not for InfiniBand, whose queue pairs need to know the connection).
 *
 * The client opens COUNT connections, at most N of them under way at once, sends N messages of 64 octets over each
 * (verified when they come back), closes them and starts again.  With --hold it prints "open" and keeps them until its
 * input ends.
 * Per round it prints "connected COUNT SECONDS", from the first connect() to the last established connection (addresses
 * are resolved and objects created before), and "messages COUNT SECONDS".
 */
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 4096
#define BYTES 64u
#define PATIENCE 60000 /* ms in which something must happen */

static struct sockaddr_in address = {.sin_family = AF_INET};
static unsigned int at_once = 16, messages, repeat = 1, ready;
static bool hold, serve;

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

#define MUST(expression)                                                                                               \
    do {                                                                                                               \
        if (expression)                                                                                                \
            die("line %d: %s: %m", __LINE__, #expression);                                                             \
    } while (0)

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void took(const char *step, unsigned int count, double begin) {
    printf("%s %u %.6f\n", step, count, seconds() - begin);
    fflush(stdout);
}

static void wait_for_end_of_input(void) {
    char byte;
    printf("open\n");
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
}

/* ---- TCP ---- */

static int tcp_socket(void) {
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    MUST(fd < 0);
    MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
    MUST(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
    return fd;
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

/* Greets each connection with one octet, which tells the client that it was accepted. */
static void tcp_serve(void) {
    struct epoll_event event;
    int listener = tcp_socket(), epoll = epoll_create1(0);
    MUST(bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1024));
    watch(epoll, listener);
    puts("listening");
    fflush(stdout);
    for (;;) {
        char data[BYTES] = "!";
        MUST(epoll_wait(epoll, &event, 1, -1) < 1);
        if (event.data.fd != listener) {
            ssize_t got = read(event.data.fd, data, sizeof(data));
            if (got <= 0 || write(event.data.fd, data, (size_t)got) != got)
                close(event.data.fd);
            continue;
        }
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        watch(epoll, fd);
        if (write(fd, data, 1) != 1)
            close(fd);
    }
}

static void tcp_echo(int fd, uint32_t seed) {
    unsigned char data[BYTES];
    fill(data, BYTES, seed);
    MUST(write(fd, data, BYTES) != BYTES);
    for (ssize_t got, all = 0; all < (ssize_t)BYTES; all += got) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        MUST(poll(&wait, 1, PATIENCE) != 1);
        MUST((got = read(fd, data + all, BYTES - (size_t)all)) <= 0);
    }
    if (mismatch(data, BYTES, seed) >= 0)
        die("message %u came back changed", seed);
}

static void tcp_open(unsigned int count) {
    static int fds[MOST];
    struct epoll_event event;
    int epoll = epoll_create1(0);
    for (unsigned int i = 0; i < count; i++)
        fds[i] = tcp_socket();
    double begin = seconds();
    for (unsigned int started = 0, done = 0; done < count;) {
        char greeting;
        for (; started < count && started - done < at_once; started++) {
            MUST(connect(fds[started], (struct sockaddr *)&address, sizeof(address)) && errno != EINPROGRESS);
            watch(epoll, fds[started]);
        }
        if (epoll_wait(epoll, &event, 1, PATIENCE) < 1)
            die("%u of %u connections, then nothing for %d ms", done, count, PATIENCE);
        MUST(read(event.data.fd, &greeting, 1) != 1);
        MUST(epoll_ctl(epoll, EPOLL_CTL_DEL, event.data.fd, NULL));
        done++;
    }
    took("connected", count, begin);
    begin = seconds();
    for (unsigned int i = 0; i < count * messages; i++)
        tcp_echo(fds[i % count], i);
    took("messages", count * messages, begin);
    if (hold)
        wait_for_end_of_input();
    for (unsigned int i = 0; i < count; i++)
        close(fds[i]);
    close(epoll);
}

/* ---- RDMA ---- */

struct connection {
    struct rdma_cm_id *id;
    struct ibv_qp *qp;
    unsigned int number;  /* its place in the table and in the buffers */
    unsigned int started; /* messages sent */
    unsigned int arrived; /* and come back */
    bool sending, closed;
};

static struct rdma_event_channel *cm;
static struct ibv_pd *pd;
static struct ibv_comp_channel *channel;
static struct ibv_cq *cq;
static struct ibv_mr *mr;
static unsigned char *buffers; /* of each connection: received, sent */
static struct connection table[MOST];
static struct ibv_qp *queue_pairs[MOST]; /* `ready` of them wait for a connection */

/* Objects that all connections share. */
static void prepare(struct ibv_context *context) {
    if (pd)
        return;
    pd = ibv_alloc_pd(context);
    channel = ibv_create_comp_channel(context);
    MUST(!pd || !channel);
    cq = ibv_create_cq(context, 4 * MOST, NULL, channel, 0);
    MUST(!cq);
    buffers = get_memory((size_t)MOST * 2 * BYTES);
    mr = ibv_reg_mr(pd, buffers, (size_t)MOST * 2 * BYTES, IBV_ACCESS_LOCAL_WRITE);
    MUST(!mr || ibv_req_notify_cq(cq, 0));
    MUST(fcntl(channel->fd, F_SETFL, O_NONBLOCK));
}

static unsigned char *received_of(const struct connection *c) { return buffers + (size_t)c->number * 2 * BYTES; }
static unsigned char *sent_of(const struct connection *c) { return received_of(c) + BYTES; }

static void receive(struct connection *c) {
    struct ibv_sge sge = {(uintptr_t)received_of(c), BYTES, mr->lkey};
    struct ibv_recv_wr wr = {.wr_id = c->number * 2, .sg_list = &sge, .num_sge = 1}, *bad;
    if (ibv_post_recv(c->qp, &wr, &bad))
        die("ibv_post_recv of connection %u", c->number);
}

static void transmit(struct connection *c) {
    struct ibv_sge sge = {(uintptr_t)sent_of(c), BYTES, mr->lkey};
    struct ibv_send_wr wr = {.wr_id = c->number * 2 + 1,
                             .sg_list = &sge,
                             .num_sge = 1,
                             .opcode = IBV_WR_SEND,
                             .send_flags = IBV_SEND_SIGNALED},
                       *bad;
    if (ibv_post_send(c->qp, &wr, &bad))
        die("ibv_post_send of connection %u", c->number);
    c->sending = true;
}

static struct ibv_qp_init_attr attributes(void) {
    return (struct ibv_qp_init_attr){
        .send_cq = cq, .recv_cq = cq, .cap = {2, 2, 1, 1, 0}, .qp_type = IBV_QPT_RC, .sq_sig_all = 0};
}

static void make_queue_pairs(void) {
    struct ibv_qp_init_attr attr = attributes();
    for (unsigned int i = 0; i < ready; i++)
        MUST(!(queue_pairs[i] = ibv_create_qp(pd, &attr)));
}

static void take_qp(struct connection *c, struct rdma_cm_id *id) {
    prepare(id->verbs);
    *c = (struct connection){.id = id, .number = c->number};
    id->context = c;
    if (ready) {
        c->qp = queue_pairs[--ready];
    } else {
        struct ibv_qp_init_attr attr = attributes();
        MUST(rdma_create_qp(id, pd, &attr));
        c->qp = id->qp;
    }
    receive(c);
}

static void release(struct connection *c) {
    MUST(ibv_destroy_qp(c->qp));
    c->id->qp = NULL;
    MUST(rdma_destroy_id(c->id));
    c->id = NULL;
}

/* Takes all completions; `handle` gets the good ones. */
static void completions(void (*handle)(struct connection *c, bool was_receive)) {
    struct ibv_wc wc[32];
    struct ibv_cq *which;
    void *context;
    int got;
    while (ibv_get_cq_event(channel, &which, &context) == 0)
        ibv_ack_cq_events(which, 1);
    MUST(ibv_req_notify_cq(cq, 0));
    while ((got = ibv_poll_cq(cq, 32, wc)) > 0)
        for (int i = 0; i < got; i++) {
            struct connection *c = &table[wc[i].wr_id / 2];
            if (wc[i].status == IBV_WC_SUCCESS)
                handle(c, wc[i].wr_id % 2 == 0);
            else if (!serve && !c->closed && wc[i].status != IBV_WC_WR_FLUSH_ERR)
                die("connection %u: %s", c->number, ibv_wc_status_str(wc[i].status));
        }
    MUST(got < 0);
}

/* Waits for something to happen and takes completions if that is it; false: nothing happened in time. */
static bool something(int limit, void (*handle)(struct connection *c, bool was_receive)) {
    struct pollfd fds[2] = {{.fd = cm->fd, .events = POLLIN}, {.fd = channel ? channel->fd : -1, .events = POLLIN}};
    if (poll(fds, 2, limit) <= 0)
        return false;
    if (fds[1].revents)
        completions(handle);
    return true;
}

static struct rdma_conn_param parameters(void) {
    struct rdma_conn_param p = connection_defaults();
    p.responder_resources = p.initiator_depth = 1;
    return p;
}

static void echo(struct connection *c, bool was_receive) {
    if (!was_receive || !c->id)
        return;
    memcpy(sent_of(c), received_of(c), BYTES);
    receive(c);
    transmit(c); /* the last one was through: the client waits for each echo */
}

static void make_channel(void) {
    cm = rdma_create_event_channel();
    MUST(!cm || fcntl(cm->fd, F_SETFL, O_NONBLOCK));
}

static void rdma_serve(void) {
    struct rdma_cm_id *listener;
    struct rdma_cm_event *event;
    make_channel();
    MUST(rdma_create_id(cm, &listener, NULL, RDMA_PS_TCP));
    MUST(rdma_bind_addr(listener, (struct sockaddr *)&address) || rdma_listen(listener, 1024));
    if (listener->verbs)
        prepare(listener->verbs);
    if (ready) {
        if (!pd)
            die("--ready: %s belongs to no device", inet_ntoa(address.sin_addr));
        make_queue_pairs();
    }
    puts("listening");
    fflush(stdout);
    for (;;) {
        something(-1, echo);
        if (rdma_get_cm_event(cm, &event))
            continue;
        enum rdma_cm_event_type type = event->event;
        struct rdma_cm_id *id = event->id;
        struct connection *c = id->context;
        rdma_ack_cm_event(event);
        if (type == RDMA_CM_EVENT_CONNECT_REQUEST) {
            struct rdma_conn_param p = parameters();
            unsigned int number = 0;
            while (number < MOST && table[number].id)
                number++;
            if (number == MOST)
                die("more than %d connections", MOST);
            c = &table[number];
            c->number = number;
            take_qp(c, id);
            p.qp_num = c->qp->qp_num;
            if (rdma_accept(id, &p))
                release(c);
        } else if (type == RDMA_CM_EVENT_DISCONNECTED || type == RDMA_CM_EVENT_CONNECT_ERROR ||
                   type == RDMA_CM_EVENT_UNREACHABLE || type == RDMA_CM_EVENT_REJECTED) {
            rdma_disconnect(id);
            c->closed = true;
            completions(echo);
            release(c);
        }
    }
}

static unsigned int resolved, established, gone, echoed;

static void client_event(const struct rdma_cm_event *event) {
    struct connection *c = event->id->context;
    switch (event->event) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
        MUST(rdma_resolve_route(event->id, PATIENCE));
        break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
        take_qp(c, event->id);
        resolved++;
        break;
    case RDMA_CM_EVENT_ESTABLISHED:
        established++;
        break;
    case RDMA_CM_EVENT_DISCONNECTED:
        if (!c->closed)
            die("connection %u was closed by the server", c->number);
        gone++;
        break;
    case RDMA_CM_EVENT_TIMEWAIT_EXIT:
        break;
    default:
        die("connection %u: %s, status %d", c->number, rdma_event_str(event->event), event->status);
    }
}

static void one_more(struct connection *c) {
    fill(sent_of(c), BYTES, c->number * 65536 + c->started++);
    transmit(c);
}

static void verify(struct connection *c, bool was_receive) {
    if (!was_receive) {
        c->sending = false;
    } else {
        if (mismatch(received_of(c), BYTES, c->number * 65536 + c->arrived) >= 0)
            die("connection %u, message %u came back changed", c->number, c->arrived);
        c->arrived++;
        echoed++;
        receive(c);
    }
    if (!c->sending && c->arrived == c->started && c->started < messages)
        one_more(c);
}

static void until(const unsigned int *counter, unsigned int value, const char *what) {
    struct rdma_cm_event *event;
    while (*counter < value) {
        if (!something(PATIENCE, verify))
            die("%s: %u of %u, then nothing for %d ms", what, *counter, value, PATIENCE);
        if (rdma_get_cm_event(cm, &event) == 0) {
            client_event(event);
            rdma_ack_cm_event(event);
        }
    }
}

static void rdma_open(unsigned int count) {
    if (!cm)
        make_channel();
    resolved = established = gone = echoed = 0;
    for (unsigned int i = 0; i < count; i++) {
        table[i] = (struct connection){.number = i};
        MUST(rdma_create_id(cm, &table[i].id, &table[i], RDMA_PS_TCP));
        MUST(rdma_resolve_addr(table[i].id, NULL, (struct sockaddr *)&address, PATIENCE));
        until(&resolved, i + 1 > at_once ? i + 1 - at_once : 0, "resolved");
    }
    until(&resolved, count, "resolved");
    double begin = seconds();
    for (unsigned int i = 0; i < count; i++) {
        struct rdma_conn_param p = parameters();
        MUST(rdma_connect(table[i].id, &p));
        until(&established, i + 1 > at_once ? i + 1 - at_once : 0, "connected");
    }
    until(&established, count, "connected");
    took("connected", count, begin);
    begin = seconds();
    for (unsigned int i = 0; i < count && messages; i++)
        one_more(&table[i]);
    until(&echoed, count * messages, "messages");
    took("messages", count * messages, begin);
    if (hold)
        wait_for_end_of_input();
    for (unsigned int i = 0; i < count; i++) {
        table[i].closed = true;
        MUST(rdma_disconnect(table[i].id));
    }
    until(&gone, count, "disconnected");
    for (unsigned int i = 0; i < count; i++)
        release(&table[i]);
}

static unsigned int number_after(int argc, char **argv, int *i) {
    int value = *i + 1 < argc ? atoi(argv[++*i]) : 0;
    if (value < 0)
        die("%s: a number is missing", argv[*i]);
    return (unsigned int)value;
}

int main(int argc, char **argv) {
    bool rdma = argc >= 5 && !strcmp(argv[2], "rdma");
    serve = argc >= 5 && !strcmp(argv[1], "serve");
    if (argc < 5 || inet_pton(AF_INET, argv[3], &address.sin_addr) != 1)
        die("usage: %s serve rdma|tcp ADDRESS PORT [--ready N]\n"
            "       %s open rdma|tcp ADDRESS PORT COUNT [--at-once N] [--messages N] [--repeat N] [--hold]",
            argv[0], argv[0]);
    address.sin_port = htons((uint16_t)atoi(argv[4]));
    if (serve) {
        for (int i = 5; i < argc; i++) {
            if (!rdma || strcmp(argv[i], "--ready"))
                die("unknown option %s", argv[i]);
            ready = number_after(argc, argv, &i);
        }
        if (ready > MOST)
            die("at most %d queue pairs", MOST);
        if (rdma)
            rdma_serve();
        tcp_serve();
    }
    unsigned int count = argc > 5 ? (unsigned int)atoi(argv[5]) : 0;
    if (count < 1 || count > MOST)
        die("1 to %d connections", MOST);
    for (int i = 6; i < argc; i++) {
        if (!strcmp(argv[i], "--at-once"))
            at_once = number_after(argc, argv, &i);
        else if (!strcmp(argv[i], "--messages"))
            messages = number_after(argc, argv, &i);
        else if (!strcmp(argv[i], "--repeat"))
            repeat = number_after(argc, argv, &i);
        else if (!strcmp(argv[i], "--hold"))
            hold = true;
        else
            die("unknown option %s", argv[i]);
    }
    if (at_once == 0)
        at_once = 1;
    while (repeat--)
        rdma ? rdma_open(count) : tcp_open(count);
    return 0;
}
