// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a process without any rights may say to the RDMA devices: verbs by write() and ioctl() on every kind of object, pages
 * of the device and stores into them, connection management with identifiers and options that are not its own.
 *
 * Usage: user_fuzz SEED SECONDS ADDRESS
 * One short-lived process of two threads after the other.  Fails when one cannot be ended, or when next to nothing of what
 * they said was taken.  ADDRESS is that of this machine.
 */
#include "user_requests.h"

#include <rdma/rdma_user_cm.h>
#include <rdma/rdma_user_ioctl_cmds.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    EPISODE_MS = 2500,
    WAYS = 5, /* write, ioctl, mmap, store, rdma_cm */
};

static struct { atomic_ulong said[WAYS], taken[WAYS]; } * sums; /* of all processes */

static int verbs, managers[2];
static struct erdma_uresp_alloc_ctx pages;
static uint8_t *mapped[KEPT];
static struct in_addr own;

static uint32_t remember(unsigned int kind, uint32_t made) {
    if (kind == UVERBS_OBJECT_COMP_CHANNEL) {
        uint32_t *kept = &channels[below(KEPT)], old = *kept;
        *kept = made;
        if ((int)old > 2)
            close((int)old);
    }
    return handles[kind][below(KEPT)] = made;
}

static void count(unsigned int way, bool good) {
    atomic_fetch_add(&sums->said[way], 1);
    if (good)
        atomic_fetch_add(&sums->taken[way], 1);
}

static void say_verb(unsigned int command) {
    struct {
        struct ib_uverbs_cmd_hdr head;
        union {
            uint8_t raw[1100];
            struct {
                struct ib_uverbs_ex_cmd_hdr more;
                uint8_t body[1024];
            } extended;
        };
    } out = {0};
    struct request r = {0};
    uint32_t *answer = (uint32_t *)(room + 256 * below(256));
    uint64_t to = one_in(24) ? edge() : (uintptr_t)answer;
    bool extended = one_in(6);
    command_of(&r, command);
    if (one_in(12))
        r.body[below(r.bytes ? r.bytes : 1)] = (uint8_t)any();
    if (one_in(24))
        r.bytes = 4 * below(200);
    out.head.command = command;
    out.head.out_words = one_in(16) ? (uint16_t)edge() : 64;
    size_t bytes = sizeof(out.head);
    if (extended) { /* without the pointer to the response, which the header has */
        bool has = command == IB_USER_VERBS_CMD_CREATE_CQ || command == IB_USER_VERBS_CMD_CREATE_QP;
        uint32_t skip = has ? 8 : 0, core = has && r.bytes > 32 ? r.bytes - 24 - skip : r.bytes - skip;
        if (r.bytes < skip + 8)
            return;
        memcpy(out.extended.body, r.body + skip, r.bytes - skip);
        out.head.command |= IB_USER_VERBS_CMD_FLAG_EXTENDED;
        out.head.in_words = (uint16_t)(core / 8);
        out.extended.more.response = to;
        out.extended.more.provider_in_words = one_in(8) ? (uint16_t)edge() : (uint16_t)((r.bytes - skip - core) / 8);
        out.extended.more.provider_out_words = 2;
        out.head.out_words = 8;
        bytes += sizeof(out.extended.more) + r.bytes - skip;
    } else {
        if (r.makes || command == IB_USER_VERBS_CMD_QUERY_DEVICE)
            memcpy(r.body, &to, 8);
        memcpy(out.raw, r.body, r.bytes);
        bytes += r.bytes;
        out.head.in_words = one_in(32) ? (uint16_t)edge() : (uint16_t)(bytes / 4);
    }
    bool good = write(verbs, &out, bytes) == (ssize_t)bytes;
    count(0, good);
    if (good && r.makes && to == (uintptr_t)answer)
        remember(r.makes, answer[0]);
}

/* ---- verbs by ioctl() ---- */

enum { END, OBJECT, MADE, NUMBER, RESULT, RING, CAPACITY }; /* what an attribute is: `of` is a kind, or octets */

/* Methods as they are meant. */
static const struct form {
    uint8_t object, method;
    struct {
        uint16_t id;
        uint8_t what, of;
    } attributes[12];
} forms[] = {
    {UVERBS_OBJECT_CQ,
     UVERBS_METHOD_CQ_CREATE,
     {{UVERBS_ATTR_CREATE_CQ_HANDLE, MADE, UVERBS_OBJECT_CQ},
      {UVERBS_ATTR_CREATE_CQ_CQE, NUMBER, 4},
      {UVERBS_ATTR_CREATE_CQ_USER_HANDLE, NUMBER, 8},
      {UVERBS_ATTR_CREATE_CQ_COMP_VECTOR, NUMBER, 4},
      {UVERBS_ATTR_CREATE_CQ_RESP_CQE, RESULT, 4},
      {UVERBS_ATTR_UHW_IN, RING, 24},
      {UVERBS_ATTR_UHW_OUT, RESULT, 8}}},
    {UVERBS_OBJECT_QP,
     UVERBS_METHOD_QP_CREATE,
     {{UVERBS_ATTR_CREATE_QP_HANDLE, MADE, UVERBS_OBJECT_QP},
      {UVERBS_ATTR_CREATE_QP_PD_HANDLE, OBJECT, UVERBS_OBJECT_PD},
      {UVERBS_ATTR_CREATE_QP_SEND_CQ_HANDLE, OBJECT, UVERBS_OBJECT_CQ},
      {UVERBS_ATTR_CREATE_QP_RECV_CQ_HANDLE, OBJECT, UVERBS_OBJECT_CQ},
      {UVERBS_ATTR_CREATE_QP_USER_HANDLE, NUMBER, 8},
      {UVERBS_ATTR_CREATE_QP_CAP, CAPACITY, 20},
      {UVERBS_ATTR_CREATE_QP_TYPE, NUMBER, 8},
      {UVERBS_ATTR_CREATE_QP_RESP_CAP, RESULT, 20},
      {UVERBS_ATTR_CREATE_QP_RESP_QP_NUM, RESULT, 4},
      {UVERBS_ATTR_UHW_IN, RING, 24},
      {UVERBS_ATTR_UHW_OUT, RESULT, 16}}},
    {UVERBS_OBJECT_CQ,
     UVERBS_METHOD_CQ_DESTROY,
     {{UVERBS_ATTR_DESTROY_CQ_HANDLE, OBJECT, UVERBS_OBJECT_CQ}, {UVERBS_ATTR_DESTROY_CQ_RESP, RESULT, 8}}},
    {UVERBS_OBJECT_QP,
     UVERBS_METHOD_QP_DESTROY,
     {{UVERBS_ATTR_DESTROY_QP_HANDLE, OBJECT, UVERBS_OBJECT_QP}, {UVERBS_ATTR_DESTROY_QP_RESP, RESULT, 4}}},
    {UVERBS_OBJECT_PD, UVERBS_METHOD_PD_DESTROY, {{UVERBS_ATTR_DESTROY_PD_HANDLE, OBJECT, UVERBS_OBJECT_PD}}},
    {UVERBS_OBJECT_MR, UVERBS_METHOD_MR_DESTROY, {{UVERBS_ATTR_DESTROY_MR_HANDLE, OBJECT, UVERBS_OBJECT_MR}}},
    {UVERBS_OBJECT_MW, UVERBS_METHOD_MW_DESTROY, {{UVERBS_ATTR_DESTROY_MW_HANDLE, OBJECT, UVERBS_OBJECT_MW}}},
    {UVERBS_OBJECT_MR,
     UVERBS_METHOD_QUERY_MR,
     {{UVERBS_ATTR_QUERY_MR_HANDLE, OBJECT, UVERBS_OBJECT_MR},
      {UVERBS_ATTR_QUERY_MR_RESP_LKEY, RESULT, 4},
      {UVERBS_ATTR_QUERY_MR_RESP_RKEY, RESULT, 4},
      {UVERBS_ATTR_QUERY_MR_RESP_LENGTH, RESULT, 8}}},
    {UVERBS_OBJECT_MR,
     UVERBS_METHOD_ADVISE_MR,
     {{UVERBS_ATTR_ADVISE_MR_PD_HANDLE, OBJECT, UVERBS_OBJECT_PD},
      {UVERBS_ATTR_ADVISE_MR_ADVICE, NUMBER, 8},
      {UVERBS_ATTR_ADVISE_MR_FLAGS, NUMBER, 4},
      {UVERBS_ATTR_ADVISE_MR_SGE_LIST, RESULT, 16}}},
    {UVERBS_OBJECT_DEVICE,
     UVERBS_METHOD_QUERY_PORT,
     {{UVERBS_ATTR_QUERY_PORT_PORT_NUM, NUMBER, 1}, {UVERBS_ATTR_QUERY_PORT_RESP, RESULT, 48}}},
    {UVERBS_OBJECT_DEVICE,
     UVERBS_METHOD_INFO_HANDLES,
     {{UVERBS_ATTR_INFO_OBJECT_ID, NUMBER, 8},
      {UVERBS_ATTR_INFO_TOTAL_HANDLES, RESULT, 4},
      {UVERBS_ATTR_INFO_HANDLES_LIST, RESULT, 64}}},
    {UVERBS_OBJECT_DEVICE,
     UVERBS_METHOD_QUERY_CONTEXT,
     {{UVERBS_ATTR_QUERY_CONTEXT_NUM_COMP_VECTORS, RESULT, 4}, {UVERBS_ATTR_QUERY_CONTEXT_CORE_SUPPORT, RESULT, 8}}},
    {UVERBS_OBJECT_DEVICE,
     UVERBS_METHOD_QUERY_GID_ENTRY,
     {{UVERBS_ATTR_QUERY_GID_ENTRY_PORT, NUMBER, 4},
      {UVERBS_ATTR_QUERY_GID_ENTRY_GID_INDEX, NUMBER, 4},
      {UVERBS_ATTR_QUERY_GID_ENTRY_FLAGS, NUMBER, 4},
      {UVERBS_ATTR_QUERY_GID_ENTRY_RESP_ENTRY, RESULT, 32}}},
    {UVERBS_OBJECT_ASYNC_EVENT,
     UVERBS_METHOD_ASYNC_EVENT_ALLOC,
     {{UVERBS_ATTR_ASYNC_EVENT_ALLOC_FD_HANDLE, MADE, UVERBS_OBJECT_ASYNC_EVENT}}},
};

static void fill_attribute(struct ib_uverbs_attr *a, unsigned int what, unsigned int of) {
    struct request ring = {0};
    a->flags = one_in(8) ? (uint16_t)below(4) : UVERBS_ATTR_F_MANDATORY;
    a->len = (uint16_t)of;
    switch (what) {
    case OBJECT:
        a->len = 0;
        a->data = handle(of);
        break;
    case MADE:
        a->len = 0;
        break;
    case NUMBER: /* up to 8 octets lie in the attribute itself */
        a->data = one_in(8) ? edge() & (of >= 8 ? ~0ull : (1ull << 8 * of) - 1)
                  : of == 4 ? 1 + below(64)
                            : 1 + below(3);
        break;
    case RING:
        add_ring(&ring, 64);
        a->data = (uintptr_t)room + 64 * below(1000);
        memcpy((void *)(uintptr_t)a->data, ring.body, sizeof(struct erdma_ureq_create_qp));
        break;
    case CAPACITY: {
        const uint32_t capacity[] = {number(64), number(64), number(6), number(3), number(97)};
        a->data = (uintptr_t)room + 64 * below(1000);
        memcpy((void *)(uintptr_t)a->data, capacity, sizeof(capacity));
        break;
    }
    default:
        a->data = pointer();
        break;
    }
    if (one_in(48))
        a->attr_id = one_in(2) ? (uint16_t)any() : (uint16_t)below(16);
    if (one_in(48))
        a->len = one_in(2) ? (uint16_t)any() : (uint16_t)below(80);
    if (one_in(48))
        a->data = one_in(2) ? edge() : pointer();
    if (one_in(64))
        a->attr_data.reserved = (uint16_t)any();
}

static void say_ioctl(void) {
    union {
        struct ib_uverbs_ioctl_hdr head;
        uint8_t bytes[sizeof(struct ib_uverbs_ioctl_hdr) + 16 * sizeof(struct ib_uverbs_attr)];
    } out = {.head = {.driver_id = 19}}; /* RDMA_DRIVER_ERDMA */
    struct ib_uverbs_attr *attributes = (void *)(out.bytes + sizeof(out.head));
    const struct form *form = &forms[below(ARRAY_LEN(forms))];
    unsigned int n = 0, kind = one_in(24) ? below(KINDS) : form->object;
    out.head.object_id = (uint16_t)kind;
    out.head.method_id = (uint16_t)(one_in(24) ? below(10) : form->method);
    if (one_in(6)) { /* the other way to the commands of write() */
        struct request r = {0};
        unsigned int command = below(40);
        form = NULL;
        command_of(&r, command);
        memcpy(room, r.body, r.bytes);
        out.head.object_id = UVERBS_OBJECT_DEVICE;
        out.head.method_id = UVERBS_METHOD_INVOKE_WRITE;
        n = 3;
        attributes[0] = (struct ib_uverbs_attr){UVERBS_ATTR_WRITE_CMD, 8, 1, {{0, 0}}, {command}};
        attributes[1] = (struct ib_uverbs_attr){UVERBS_ATTR_CORE_IN, (uint16_t)r.bytes, 1, {{0, 0}}, {(uintptr_t)room}};
        attributes[2] = (struct ib_uverbs_attr){UVERBS_ATTR_CORE_OUT, 256, 0, {{0, 0}}, {pointer()}};
    }
    for (; form && n < ARRAY_LEN(form->attributes) && form->attributes[n].what != END; n++) {
        attributes[n].attr_id = form->attributes[n].id;
        fill_attribute(&attributes[n], form->attributes[n].what, form->attributes[n].of);
    }
    if (one_in(24) && n < 15)
        fill_attribute(&attributes[n++], below(6), below(20));
    out.head.num_attrs = (uint16_t)n;
    out.head.length = (uint16_t)(one_in(64) ? edge() : sizeof(out.head) + n * sizeof(*attributes));
    if (one_in(32))
        out.head.driver_id = (uint32_t)edge();
    unsigned long request = one_in(64) ? any() : RDMA_VERBS_IOCTL;
    bool good = ioctl(verbs, request, one_in(64) ? (void *)(uintptr_t)edge() : (void *)&out) == 0;
    count(1, good);
    if (good && form && form->attributes[0].what == MADE && out.head.object_id == form->object)
        remember(form->object, (uint32_t)attributes[0].data);
}

/* ---- pages of the device ---- */

static void map_pages(void) {
    const uint64_t known[] = {pages.sdb, pages.rdb, pages.cdb};
    uint64_t offset = one_in(3)   ? edge() & ~4095ull
                      : one_in(2) ? (uint64_t)PAGE * below(64)
                                  : known[below(3)] & ~4095ull;
    size_t bytes = one_in(6) ? (size_t)PAGE * below(600) : PAGE;
    int protection = one_in(4) ? (int)below(8) : PROT_READ | PROT_WRITE;
    uint8_t *at = mmap(NULL, bytes, protection, one_in(8) ? MAP_PRIVATE : MAP_SHARED, verbs, (off_t)offset);
    count(2, at != MAP_FAILED);
    if (at == MAP_FAILED)
        return;
    if (!(protection & PROT_WRITE) || one_in(8)) {
        mprotect(at, bytes, PROT_READ | PROT_WRITE | PROT_EXEC);
        munmap(at, bytes);
        return;
    }
    mapped[below(KEPT)] = at;
}

static void ring(void) {
    uint8_t *page = mapped[below(KEPT)];
    if (!page)
        return;
    uint64_t value = one_in(3) ? any() : (uint64_t)below(100) << 32 | below(2) << 31 | below(one_in(2) ? 64 : 65536);
    uint32_t at = below(PAGE);
    if (one_in(4))
        page[at] = (uint8_t)value;
    else if (one_in(3))
        *(volatile uint32_t *)(page + (at & ~3u)) = (uint32_t)value;
    else
        *(volatile uint64_t *)(page + (at & ~7u)) = value;
    if (one_in(16))
        (void)*(volatile uint32_t *)(page + (at & ~3u));
    count(3, true);
}

/* Entries as they may be in a ring, and noise. */
static void scribble(void) {
    uint64_t *at = (uint64_t *)(room + (below(ROOM - 4096) & ~31u));
    for (unsigned int i = 0; i < 4 + below(60); i++)
        at[i] = one_in(4) ? edge()
                : one_in(2)
                    ? pointer()
                    : (uint64_t)below(8) << 52 | (uint64_t)below(100) << 32 | (uint64_t)below(20) << 27 | below(256);
}

/* ---- connections ---- */

static void socket_address(struct sockaddr_in *to) {
    *to = (struct sockaddr_in){.sin_family = one_in(16) ? (sa_family_t)any() : AF_INET,
                               .sin_addr = own,
                               .sin_port = htons((uint16_t)(one_in(8) ? below(65536) : 7000 + below(4)))};
    if (one_in(12))
        to->sin_addr.s_addr = (uint32_t)any();
}

static void say_manager(void) {
    struct {
        struct rdma_ucm_cmd_hdr head;
        union {
            uint64_t response; /* where it comes first */
            uint8_t raw[700];
            struct rdma_ucm_create_id create;
            struct rdma_ucm_bind_ip bind_ip;
            struct rdma_ucm_bind bind;
            struct rdma_ucm_resolve_ip resolve_ip;
            struct rdma_ucm_resolve_addr resolve;
            struct rdma_ucm_connect connect;
            struct rdma_ucm_accept accept;
            struct rdma_ucm_reject reject;
            struct rdma_ucm_set_option option;
            struct rdma_ucm_migrate_id migrate;
            struct rdma_ucm_query query;
            uint32_t words[4];
        };
    } out = {0};
    uint32_t *answer = (uint32_t *)(room + ROOM / 2 + 1024 * below(64));
    uint32_t command = one_in(3) ? RDMA_USER_CM_CMD_CREATE_ID : one_in(32) ? (uint32_t)edge() : below(23);
    uint16_t bytes = 16;
    struct sockaddr_in to;
    socket_address(&to);
    out.response = one_in(24) ? edge() : (uintptr_t)answer;
    switch (command) {
    case RDMA_USER_CM_CMD_CREATE_ID:
        out.create.uid = any();
        out.create.response = one_in(24) ? edge() : (uintptr_t)answer;
        out.create.ps = one_in(6) ? (uint16_t)any() : RDMA_PS_TCP;
        out.create.qp_type = one_in(6) ? (uint8_t)any() : IBV_QPT_RC;
        bytes = sizeof(out.create);
        break;
    case RDMA_USER_CM_CMD_BIND_IP:
        memcpy(&out.bind_ip.addr, &to, sizeof(to));
        out.bind_ip.id = identifier();
        bytes = sizeof(out.bind_ip);
        break;
    case RDMA_USER_CM_CMD_BIND:
        out.bind.id = identifier();
        out.bind.addr_size = (uint16_t)number(sizeof(to) + 1);
        memcpy(&out.bind.addr, &to, sizeof(to));
        bytes = sizeof(out.bind);
        break;
    case RDMA_USER_CM_CMD_RESOLVE_IP:
        memset(&out.resolve_ip, 0, sizeof(out.resolve_ip));
        memcpy(&out.resolve_ip.dst_addr, &to, sizeof(to));
        if (one_in(4))
            memcpy(&out.resolve_ip.src_addr, &to, sizeof(to));
        out.resolve_ip.id = identifier();
        out.resolve_ip.timeout_ms = number(2000);
        bytes = sizeof(out.resolve_ip);
        break;
    case RDMA_USER_CM_CMD_RESOLVE_ADDR:
        memset(&out.resolve, 0, sizeof(out.resolve));
        out.resolve.id = identifier();
        out.resolve.timeout_ms = number(2000);
        out.resolve.src_size = one_in(2) ? 0 : (uint16_t)number(130);
        out.resolve.dst_size = one_in(4) ? (uint16_t)number(130) : sizeof(to);
        memcpy(&out.resolve.dst_addr, &to, sizeof(to));
        bytes = sizeof(out.resolve);
        break;
    case RDMA_USER_CM_CMD_CONNECT:
    case RDMA_USER_CM_CMD_ACCEPT: {
        struct rdma_ucm_conn_param *p =
            command == RDMA_USER_CM_CMD_CONNECT ? &out.connect.conn_param : &out.accept.conn_param;
        for (size_t at = 0; at < sizeof(out.connect); at++)
            out.raw[at] = one_in(8) ? (uint8_t)any() : 0;
        p->qp_num = number(100); /* often another process's */
        p->private_data_len = (uint8_t)number(200);
        p->valid = !one_in(8);
        out.connect.id = out.accept.id = identifier();
        bytes = command == RDMA_USER_CM_CMD_CONNECT ? sizeof(out.connect) : sizeof(out.accept);
        break;
    }
    case RDMA_USER_CM_CMD_REJECT:
        out.reject.id = identifier();
        out.reject.private_data_len = (uint8_t)any();
        bytes = sizeof(out.reject);
        break;
    case RDMA_USER_CM_CMD_SET_OPTION:
        out.option.optval = pointer();
        out.option.id = identifier();
        out.option.level = number(3);
        out.option.optname = number(6);
        out.option.optlen = one_in(3) ? (uint32_t)edge() : one_in(2) ? 4 : 1;
        bytes = sizeof(out.option);
        break;
    case RDMA_USER_CM_CMD_MIGRATE_ID:
        out.migrate.id = identifier();
        out.migrate.fd = (uint32_t)(one_in(4) ? verbs : one_in(4) ? (int)edge() : managers[below(2)]);
        bytes = sizeof(out.migrate);
        break;
    case RDMA_USER_CM_CMD_QUERY:
    case RDMA_USER_CM_CMD_QUERY_ROUTE:
    case RDMA_USER_CM_CMD_INIT_QP_ATTR:
    case RDMA_USER_CM_CMD_DESTROY_ID:
        out.query.id = identifier();
        out.query.option = number(8);
        break;
    case RDMA_USER_CM_CMD_GET_EVENT:
        bytes = 8;
        break;
    default: /* LISTEN, RESOLVE_ROUTE, DISCONNECT, NOTIFY, multicast */
        out.words[0] = identifier();
        out.words[1] = number(2000);
        bytes = one_in(4) ? (uint16_t)(4 * below(60)) : 8;
        break;
    }
    out.head =
        (struct rdma_ucm_cmd_hdr){command, one_in(32) ? (uint16_t)edge() : bytes, one_in(16) ? (uint16_t)edge() : 512};
    bool good = write(managers[below(2)], &out, sizeof(out.head) + bytes) == (ssize_t)sizeof(out.head) + bytes;
    count(4, good);
    if (good && command == RDMA_USER_CM_CMD_CREATE_ID)
        ids[below(KEPT)] = *answer;
}

/* ---- processes ---- */

static void *act(void *seed) {
    static const uint8_t usual[] = {IB_USER_VERBS_CMD_ALLOC_PD,  IB_USER_VERBS_CMD_CREATE_CQ,
                                    IB_USER_VERBS_CMD_CREATE_QP, IB_USER_VERBS_CMD_REG_MR,
                                    IB_USER_VERBS_CMD_MODIFY_QP, IB_USER_VERBS_CMD_CREATE_CQ,
                                    IB_USER_VERBS_CMD_CREATE_QP, IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL};
    chance = (uint64_t)(uintptr_t)seed | 1;
    for (;;) {
        uint32_t what = below(32);
        if (what < 8)
            say_verb(usual[below(ARRAY_LEN(usual))]);
        else if (what < 13)
            say_verb(one_in(16) ? (uint32_t)edge() & IB_USER_VERBS_CMD_COMMAND_MASK : below(60));
        else if (what < 18)
            say_ioctl();
        else if (what < 20)
            map_pages();
        else if (what < 25)
            ring();
        else if (what < 26)
            scribble();
        else
            say_manager();
    }
    return NULL;
}

static void end(const char *what) {
    printf("FAIL %s: %m\n", what);
    fflush(stdout);
    _exit(1);
}

static void episode(uint64_t seed) {
    pthread_t thread;
    struct {
        struct ib_uverbs_cmd_hdr head;
        uint64_t response;
    } context = {{IB_USER_VERBS_CMD_GET_CONTEXT, 4, 64}, 0};
    chance = seed | 1;
    room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    verbs = open("/dev/infiniband/uverbs0", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (room == MAP_FAILED || verbs < 0)
        end("no room, or no /dev/infiniband/uverbs0");
    for (unsigned int i = 0; i < 2; i++)
        if ((managers[i] = open("/dev/infiniband/rdma_cm", O_RDWR | O_CLOEXEC | O_NONBLOCK)) < 0)
            end("/dev/infiniband/rdma_cm");
    /* Once in a while everything is said to a file without context. */
    if (!one_in(16)) {
        context.response = (uintptr_t)room;
        count(0, write(verbs, &context, sizeof(context)) == sizeof(context));
        memcpy(&pages, room + sizeof(struct ib_uverbs_get_context_resp), sizeof(pages));
    }
    for (unsigned int kind = 0; kind < KINDS; kind++)
        for (unsigned int i = 0; i < KEPT; i++)
            handles[kind][i] = i;
    /* One of each, so that there is something to talk about. */
    for (unsigned int i = 0; i < 8; i++) {
        say_verb(IB_USER_VERBS_CMD_ALLOC_PD);
        say_verb(IB_USER_VERBS_CMD_CREATE_CQ);
        say_verb(IB_USER_VERBS_CMD_CREATE_QP);
        say_verb(IB_USER_VERBS_CMD_REG_MR);
        say_manager();
    }
    if (pthread_create(&thread, NULL, act, (void *)(uintptr_t)(seed * 7)))
        end("no thread");
    act((void *)(uintptr_t)(seed * 5));
}

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int attack(uint64_t seed, unsigned int seconds) {
    static const char *const ways[WAYS] = {"write", "ioctl", "mmap", "store", "rdma_cm"};
    uint64_t over = now_ms() + 1000ull * seconds;
    unsigned int episodes = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    sums = mmap(NULL, sizeof(*sums), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (; now_ms() < over; episodes++) {
        int status, ended = 0;
        pid_t pid = fork();
        if (!pid) {
            episode((seed + episodes) * 0x9e3779b97f4a7c15ull);
            _exit(0);
        }
        usleep(EPISODE_MS * 1000);
        kill(pid, SIGKILL);
        for (uint64_t limit = now_ms() + 60000; !ended && now_ms() < limit; usleep(20000))
            ended = waitpid(pid, &status, WNOHANG) == pid;
        if (!ended)
            return printf("FAIL seed %" PRIu64 ": a process cannot be ended\n", seed + episodes), 1;
        if (WIFEXITED(status))
            return printf("FAIL seed %" PRIu64 ": it ended with %d\n", seed + episodes, WEXITSTATUS(status)), 1;
    }
    int result = 0;
    for (unsigned int way = 0; way < WAYS; way++) {
        unsigned long said = sums->said[way], taken = sums->taken[way];
        bool enough = taken > 2 * episodes && said > 20 * episodes;
        printf("%s %s: %lu, %lu of them taken\n", enough ? "ok" : "FAIL", ways[way], said, taken);
        result |= !enough;
    }
    printf("%u processes\n", episodes);
    return result;
}

int main(int argc, char **argv) {
    if (argc != 4 || !inet_aton(argv[3], &own)) {
        fprintf(stderr, "usage: %s SEED SECONDS ADDRESS\n", argv[0]);
        return 2;
    }
    return attack(strtoull(argv[1], NULL, 0), (unsigned int)atoi(argv[2]));
}
