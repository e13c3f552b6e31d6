// SPDX-License-Identifier: GPL-2.0-or-later
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *case_name = "?";
static char *progress; /* shared with the parent */
#define PROGRESS_BYTES 256
static struct sockaddr_in address = {.sin_family = AF_INET};

uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

struct sockaddr_in test_address(void) {
    return address;
}

void fail(const char *format, ...) {
    va_list arguments;
    char text[512];
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    printf("FAIL %s: %s%s%s\n", case_name, text, progress[0] ? " at: " : "", progress);
    fflush(stdout);
    _exit(1);
}

void note(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(progress, PROGRESS_BYTES, format, arguments);
    va_end(arguments);
}

unsigned int slowness(void) {
    const char *factor = getenv("ERDMA_TEST_SLOWNESS");
    return factor && atoi(factor) > 1 ? (unsigned int)atoi(factor) : 1;
}

static bool run_case(const struct test_case *test) {
    unsigned int seconds = (test->seconds ? test->seconds : 20) * slowness();
    progress[0] = '\0';
    fflush(stdout);
    uint64_t begin = now_ms();
    pid_t child = fork();
    if (child < 0) {
        printf("FAIL %s: fork: %m\n", test->name);
        return false;
    }
    if (child == 0) {
        case_name = test->name;
        test->run();
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (now_ms() - begin > seconds * 1000ULL) {
            kill(child, SIGKILL);
            /* A process that cannot even be killed is reported, not waited for. */
            for (int i = 0; i < 300 && waitpid(child, &status, WNOHANG) == 0; i++)
                usleep(100000);
            printf("FAIL %s: expected an end within %u s, it hangs at: %s%s\n", test->name, seconds, progress,
                   kill(child, 0) == 0 ? " (cannot be killed)" : "");
            return false;
        }
        usleep(2000);
    }
    if (WIFSIGNALED(status)) {
        printf("FAIL %s: killed by signal %d at: %s\n", test->name, WTERMSIG(status), progress);
        return false;
    }
    if (WEXITSTATUS(status) != 0)
        return false; /* the child said why */
    printf("ok %s (%llu ms)\n", test->name, (unsigned long long)(now_ms() - begin));
    return true;
}

int run_cases(int argc, char **argv, const struct test_case *cases, size_t count) {
    const char *only[64];
    size_t selected = 0, bad = 0, ran = 0;
    bool have_address = false;
    setvbuf(stdout, NULL, _IOLBF, 0);
    progress = mmap(NULL, PROGRESS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED)
        return 2;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--list")) {
            for (size_t k = 0; k < count; k++)
                puts(cases[k].name);
            return 0;
        }
        if (!strcmp(argv[i], "--only") && i + 1 < argc && selected < ARRAY_LEN(only))
            only[selected++] = argv[++i];
        else if (inet_pton(AF_INET, argv[i], &address.sin_addr) == 1)
            have_address = true;
        else
            have_address = false, i = argc;
    }
    if (!have_address) {
        fprintf(stderr, "usage: %s [--list] [--only PATTERN]... IPV4-ADDRESS\n", argv[0]);
        return 2;
    }
    for (size_t k = 0; k < count; k++) {
        bool wanted = selected == 0;
        for (size_t i = 0; i < selected; i++)
            wanted |= fnmatch(only[i], cases[k].name, 0) == 0;
        if (!wanted)
            continue;
        ran++;
        if (!run_case(&cases[k]))
            bad++;
    }
    printf("%zu of %zu cases passed\n", ran - bad, ran);
    if (ran == 0) {
        fprintf(stderr, "no case matches\n");
        return 2;
    }
    return bad ? 1 : 0;
}

/* ---- data ---- */

static uint64_t pattern(uint32_t seed, uint64_t index) {
    uint64_t x = (index + 1) * 0x9e3779b97f4a7c15ULL + ((uint64_t)seed << 32 | seed);
    x ^= x >> 29;
    return x * 0xbf58476d1ce4e5b9ULL;
}

void fill(void *to, size_t bytes, uint32_t seed) {
    unsigned char *at = to;
    size_t words = bytes / 8;
    for (size_t i = 0; i < words; i++) {
        uint64_t value = pattern(seed, i);
        memcpy(at + 8 * i, &value, 8);
    }
    uint64_t value = pattern(seed, words);
    memcpy(at + 8 * words, &value, bytes % 8);
}

long long mismatch(const void *data, size_t bytes, uint32_t seed) {
    const unsigned char *at = data;
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t value = pattern(seed, i / 8);
        size_t part = bytes - i < 8 ? bytes - i : 8;
        if (memcmp(at + i, &value, part) == 0)
            continue;
        for (size_t k = 0; k < part; k++) {
            if (at[i + k] != ((unsigned char *)&value)[k])
                return (long long)(i + k);
        }
    }
    return -1;
}

void expect_data(const char *what, const void *data, size_t bytes, uint32_t seed) {
    long long at = mismatch(data, bytes, seed);
    if (at >= 0)
        fail("%s: %zu octets differ from what was sent, first at offset %lld (0x%02x)", what, bytes, at,
             ((const unsigned char *)data)[at]);
}

void expect_byte(const char *what, const void *data, size_t bytes, unsigned char value) {
    for (size_t i = 0; i < bytes; i++) {
        unsigned char got = ((const unsigned char *)data)[i];
        if (got != value)
            fail("%s: octet %zu was overwritten: expected 0x%02x got 0x%02x", what, i, value, got);
    }
}

void *get_memory(size_t bytes) {
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        fail("mmap of %zu octets: %m", bytes);
    return at;
}

/* ---- connections ---- */

int atomic_access(struct ibv_context *context) {
    struct ibv_device_attr attr;
    VERB(ibv_query_device(context, &attr));
    return attr.atomic_cap == IBV_ATOMIC_NONE ? 0 : IBV_ACCESS_REMOTE_ATOMIC;
}

struct ibv_mr *region(struct ibv_pd *pd, void *at, size_t bytes, int access) {
    struct ibv_mr *mr = ibv_reg_mr(pd, at, bytes, access);
    if (!mr)
        fail("ibv_reg_mr of %zu octets with access 0x%x: %m", bytes, access);
    return mr;
}

struct rdma_conn_param connection_defaults(void) {
    return (struct rdma_conn_param){
        .responder_resources = 16, .initiator_depth = 16, .retry_count = 7, .rnr_retry_count = 7};
}

void end_open(struct end *end, struct rdma_cm_id *id, const struct options *o) {
    struct options none = {0};
    if (!o)
        o = &none;
    struct ibv_qp_init_attr init = {
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = o->send_wr ? o->send_wr : 64,
                .max_recv_wr = o->recv_wr ? o->recv_wr : 64,
                .max_send_sge = o->send_sge ? o->send_sge : 6,
                .max_recv_sge = 1,
                .max_inline_data = o->inline_bytes ? o->inline_bytes : 96},
    };
    int cqe = (int)(o->cqe ? o->cqe : init.cap.max_send_wr + init.cap.max_recv_wr);
    end->id = id;
    end->bytes = o->bytes ? o->bytes : 65536;
    end->pd = ibv_alloc_pd(id->verbs);
    if (!end->pd)
        fail("ibv_alloc_pd: %m");
    end->channel = ibv_create_comp_channel(id->verbs);
    if (!end->channel)
        fail("ibv_create_comp_channel: %m");
    end->scq = ibv_create_cq(id->verbs, cqe, NULL, end->channel, 0);
    if (!end->scq)
        fail("ibv_create_cq of %d entries: %m", cqe);
    end->rcq = o->one_cq ? end->scq : ibv_create_cq(id->verbs, cqe, NULL, end->channel, 0);
    if (!end->rcq)
        fail("ibv_create_cq of %d entries: %m", cqe);
    init.send_cq = end->scq;
    init.recv_cq = end->rcq;
    if (rdma_create_qp(id, end->pd, &init) != 0) {
        if (o->may_be_gone)
            return;
        fail("rdma_create_qp: %m");
    }
    end->qp = id->qp;
    end->buf = get_memory(end->bytes);
    end->mr = region(end->pd, end->buf, end->bytes, o->access ? o->access : ACCESS_ALL | atomic_access(id->verbs));
}

void end_close(struct end *end) {
    if (end->qp)
        rdma_destroy_qp(end->id);
    if (end->mr)
        VERB(ibv_dereg_mr(end->mr));
    if (end->rcq && end->rcq != end->scq)
        VERB(ibv_destroy_cq(end->rcq));
    if (end->scq)
        VERB(ibv_destroy_cq(end->scq));
    if (end->channel)
        VERB(ibv_destroy_comp_channel(end->channel));
    if (end->pd)
        VERB(ibv_dealloc_pd(end->pd));
    if (end->buf)
        munmap(end->buf, end->bytes);
    if (end->id)
        CALL(rdma_destroy_id(end->id));
    struct rdma_event_channel *cm = end->cm;
    *end = (struct end){.cm = cm};
}

void listener_open(struct pair *pair, uint16_t port, int backlog) {
    struct sockaddr_in at = address;
    at.sin_port = htons(port);
    pair->server.cm = rdma_create_event_channel();
    if (!pair->server.cm)
        fail("rdma_create_event_channel: %m");
    CALL(rdma_create_id(pair->server.cm, &pair->listener, NULL, RDMA_PS_TCP));
    CALL(rdma_bind_addr(pair->listener, (struct sockaddr *)&at));
    CALL(rdma_listen(pair->listener, backlog));
}

uint16_t listener_port(const struct pair *pair) { return ntohs(rdma_get_src_port(pair->listener)); }

void client_resolve(struct end *client, uint16_t port) {
    struct sockaddr_in to = address;
    to.sin_port = htons(port);
    if (!client->cm) {
        client->cm = rdma_create_event_channel();
        if (!client->cm)
            fail("rdma_create_event_channel: %m");
    }
    CALL(rdma_create_id(client->cm, &client->id, NULL, RDMA_PS_TCP));
    CALL(rdma_resolve_addr(client->id, NULL, (struct sockaddr *)&to, 3000));
    cm_event_expect(client->cm, RDMA_CM_EVENT_ADDR_RESOLVED, 5000);
    CALL(rdma_resolve_route(client->id, 3000));
    cm_event_expect(client->cm, RDMA_CM_EVENT_ROUTE_RESOLVED, 5000);
}

void pair_open(struct pair *pair, const struct options *o) {
    struct rdma_conn_param connect = connection_defaults(), accept = connect;
    *pair = (struct pair){0};
    note("connecting");
    listener_open(pair, 0, 16);
    client_resolve(&pair->client, listener_port(pair));
    end_open(&pair->client, pair->client.id, o);
    CALL(rdma_connect(pair->client.id, o && o->connect ? o->connect : &connect));
    struct cm_event request = cm_event_expect(pair->server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    end_open(&pair->server, request.id, o);
    CALL(rdma_accept(request.id, o && o->accept ? o->accept : &accept));
    cm_event_expect(pair->client.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    cm_event_expect(pair->server.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    note("connected");
}

void pair_close(struct pair *pair) {
    note("closing");
    uint64_t begin = now_ms();
    if (pair->client.id)
        rdma_disconnect(pair->client.id); /* may be down already */
    end_close(&pair->client);
    end_close(&pair->server);
    if (pair->listener)
        CALL(rdma_destroy_id(pair->listener));
    if (pair->client.cm)
        rdma_destroy_event_channel(pair->client.cm);
    if (pair->server.cm)
        rdma_destroy_event_channel(pair->server.cm);
    uint64_t took = now_ms() - begin;
    if (took > 3000)
        fail("releasing the connection took %llu ms", (unsigned long long)took);
}

/* ---- events and completions ---- */

static bool readable(int fd, int limit) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n;
    do {
        n = poll(&p, 1, limit);
    } while (n < 0 && errno == EINTR);
    return n > 0;
}

bool cm_event_wait(struct rdma_event_channel *channel, struct cm_event *out, int limit) {
    struct rdma_cm_event *event;
    if (!readable(channel->fd, limit))
        return false;
    CALL(rdma_get_cm_event(channel, &event));
    *out = (struct cm_event){.type = event->event,
                             .status = event->status,
                             .id = event->id,
                             .listen_id = event->listen_id,
                             .param = event->param.conn};
    if (event->param.conn.private_data && event->param.conn.private_data_len) {
        out->data_len = event->param.conn.private_data_len;
        memcpy(out->data, event->param.conn.private_data, out->data_len);
    }
    out->param.private_data = NULL;
    CALL(rdma_ack_cm_event(event));
    return true;
}

struct cm_event cm_event_next(struct rdma_event_channel *channel, int limit) {
    struct cm_event event;
    if (!cm_event_wait(channel, &event, limit))
        fail("no connection event within %d ms", limit);
    return event;
}

struct cm_event cm_event_expect(struct rdma_event_channel *channel, enum rdma_cm_event_type type, int limit) {
    struct cm_event event;
    if (!cm_event_wait(channel, &event, limit))
        fail("expected %s, no connection event within %d ms", rdma_event_str(type), limit);
    if (event.type != type)
        fail("expected %s got %s with status %d", rdma_event_str(type), rdma_event_str(event.type), event.status);
    return event;
}

bool wc_wait(struct ibv_cq *cq, struct ibv_wc *wc, int limit) {
    uint64_t end = now_ms() + (uint64_t)limit;
    for (unsigned int i = 0;; i++) {
        int n = ibv_poll_cq(cq, 1, wc);
        if (n < 0)
            fail("ibv_poll_cq: %d", n);
        if (n == 1)
            return true;
        if (i < 2000)
            continue;
        if (now_ms() >= end)
            return false;
        usleep(100);
    }
}

struct ibv_wc wc_next(struct ibv_cq *cq, int limit) {
    struct ibv_wc wc;
    if (!wc_wait(cq, &wc, limit))
        fail("no completion within %d ms", limit);
    return wc;
}

struct ibv_wc wc_expect(struct ibv_cq *cq, uint64_t wr_id, enum ibv_wc_status status) {
    struct ibv_wc wc;
    if (!wc_wait(cq, &wc, 10000))
        fail("expected completion of %llu (%s), none came within 10 s", (unsigned long long)wr_id,
             ibv_wc_status_str(status));
    if (wc.wr_id != wr_id || wc.status != status)
        fail("expected completion of %llu (%s) got %llu (%s, vendor 0x%x)", (unsigned long long)wr_id,
             ibv_wc_status_str(status), (unsigned long long)wc.wr_id, ibv_wc_status_str(wc.status), wc.vendor_err);
    return wc;
}

struct ibv_wc wc_good(struct ibv_cq *cq, uint64_t wr_id) {
    struct ibv_wc wc = wc_expect(cq, wr_id, IBV_WC_SUCCESS);
    if (wc.vendor_err != 0)
        fail("completion of %llu: expected vendor error 0 got 0x%x", (unsigned long long)wr_id, wc.vendor_err);
    return wc;
}

void wc_none(struct ibv_cq *cq, int for_ms) {
    struct ibv_wc wc;
    if (wc_wait(cq, &wc, for_ms))
        fail("expected no completion, got %llu (%s)", (unsigned long long)wc.wr_id, ibv_wc_status_str(wc.status));
}

bool cq_event_wait(struct ibv_comp_channel *channel, struct ibv_cq **cq, int limit) {
    void *context;
    if (!readable(channel->fd, limit))
        return false;
    CALL(ibv_get_cq_event(channel, cq, &context));
    ibv_ack_cq_events(*cq, 1);
    return true;
}

bool async_wait(struct ibv_context *context, struct ibv_async_event *event, int limit) {
    if (!readable(context->async_fd, limit))
        return false;
    CALL(ibv_get_async_event(context, event));
    ibv_ack_async_event(event);
    return true;
}

/* ---- work requests ---- */

struct ibv_send_wr work_request(const struct work *w, struct ibv_sge *sge) {
    *sge = (struct ibv_sge){.addr = (uintptr_t)w->at, .length = w->bytes, .lkey = w->lkey};
    struct ibv_send_wr wr = {
        .wr_id = w->wr_id,
        .sg_list = sge,
        .num_sge = w->at || w->bytes ? 1 : 0,
        .opcode = w->opcode,
        .send_flags = w->flags | (w->silent ? 0 : IBV_SEND_SIGNALED),
        .imm_data = htonl(w->imm),
    };
    if (w->opcode == IBV_WR_ATOMIC_CMP_AND_SWP || w->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
        wr.wr.atomic.remote_addr = w->remote;
        wr.wr.atomic.rkey = w->rkey;
        wr.wr.atomic.compare_add = w->compare_add;
        wr.wr.atomic.swap = w->swap;
    } else {
        wr.wr.rdma.remote_addr = w->remote;
        wr.wr.rdma.rkey = w->rkey;
    }
    return wr;
}

int post(struct end *end, const struct work *work) {
    struct ibv_sge sge;
    struct ibv_send_wr wr = work_request(work, &sge), *bad = NULL;
    return abs(ibv_post_send(end->qp, &wr, &bad));
}

int post_receive(struct end *end, uint64_t wr_id, const void *at, uint32_t bytes, uint32_t lkey) {
    struct ibv_sge sge = {.addr = (uintptr_t)at, .length = bytes, .lkey = lkey};
    struct ibv_recv_wr wr = {.wr_id = wr_id, .sg_list = &sge, .num_sge = 1}, *bad = NULL;
    return abs(ibv_post_recv(end->qp, &wr, &bad));
}
