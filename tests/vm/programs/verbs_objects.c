// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Creates and destroys contexts, PDs, CQs, MRs and QPs through libibverbs, with good and with bad arguments, and
 * says for each check what came of it.  Needs no peer.
 *
 * Usage: verbs_objects [DEVICE]        exit 0: all checks passed; 1: some failed; 2: no device
 * Build: cc -O2 -Wall -Wextra -o verbs_objects verbs_objects.c -libverbs
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096UL

static unsigned int failures;

static bool check(bool good, const char *what) {
    printf("%s: %s\n", good ? "ok  " : "FAIL", what);
    fflush(stdout);
    if (!good)
        failures++;
    return good;
}

/*
 * Did a call that had to fail do so with one of these errnos?  `result` is its pointer.  There are two where the
 * distribution's provider reports one of its own instead of the kernel's.
 */
static void refused_either(const void *result, int wanted, int other, const char *what) {
    char line[200];
    int got = errno;
    bool good = !result && (got == wanted || got == other);

    if (result)
        snprintf(line, sizeof(line), "%s: was accepted", what);
    else if (!good)
        snprintf(line, sizeof(line), "%s: errno %d (%s) instead of %d", what, got, strerror(got), wanted);
    else
        snprintf(line, sizeof(line), "%s: %s", what, strerror(got));
    check(good, line);
}

static void refused(const void *result, int wanted, const char *what) { refused_either(result, wanted, wanted, what); }

static struct ibv_device *pick(struct ibv_device **list, const char *name) {
    for (; *list; list++)
        if (!name || !strcmp(ibv_get_device_name(*list), name))
            return *list;
    return NULL;
}

/* ---- attributes ---- */

static void test_attributes(struct ibv_context *ctx, struct ibv_device_attr *attr) {
    struct ibv_port_attr port;
    union ibv_gid gid;

    if (!check(!ibv_query_device(ctx, attr), "query_device"))
        exit(1);
    check(attr->vendor_id == 0x1ded && attr->vendor_part_id == 0x107f, "vendor and part id");
    check(attr->max_qp >= 1023 && attr->max_cq >= 2047, "number of QPs and CQs");
    check(attr->max_sge == 1 || attr->max_sge == 6, "number of SGEs");
    check(attr->max_qp_wr > 0 && attr->max_qp_wr <= 8192, "depth of QPs");
    check(attr->page_size_cap == 0x7ffff000, "page sizes");
    check(attr->max_qp_rd_atom == 128 && attr->max_qp_init_rd_atom == 128, "reads in flight");
    check(attr->max_mr_size > 0 && attr->phys_port_cnt == 1, "MR size and ports");
    check(!ibv_query_port(ctx, 1, &port), "query_port");
    check(port.state == IBV_PORT_ACTIVE, "port is active");
    check(port.max_msg_sz == UINT32_MAX && port.gid_tbl_len == 1, "port limits");
    check(port.link_layer == IBV_LINK_LAYER_ETHERNET, "link layer");
    check(!ibv_query_gid(ctx, 1, 0, &gid) && gid.raw[6] == 0 && gid.raw[15] == 0, "GID is MAC::0");
    check(ibv_query_port(ctx, 2, &port) != 0, "port 2 does not exist");
}

/* ---- contexts ---- */

static void test_contexts(struct ibv_device *device, struct ibv_context *first) {
    struct ibv_context *ctx[100] = {0};
    unsigned int i, round, opened = 0;
    void *map;

    /* More than there are exclusive doorbell pages, twice: pages must come back. */
    for (round = 0; round < 2; round++) {
        for (i = 0; i < 100; i++) {
            ctx[i] = ibv_open_device(device);
            opened += ctx[i] != NULL;
        }
        for (i = 0; i < 100; i++)
            if (ctx[i])
                ibv_close_device(ctx[i]);
    }
    check(opened == 200, "100 contexts at a time, twice");

    map = mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, first->cmd_fd, 0x7654 * PAGE);
    refused(map == MAP_FAILED ? NULL : map, EINVAL, "mmap of an unknown key");
    map = mmap(NULL, 2 * PAGE, PROT_WRITE, MAP_SHARED, first->cmd_fd, 0);
    refused(map == MAP_FAILED ? NULL : map, EINVAL, "mmap of two pages");
    map = mmap(NULL, PAGE, PROT_WRITE, MAP_PRIVATE, first->cmd_fd, 0);
    refused(map == MAP_FAILED ? NULL : map, EINVAL, "private mmap");
    map = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, first->cmd_fd, 0);
    refused(map == MAP_FAILED ? NULL : map, EPERM, "executable mmap");
    map = mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, first->cmd_fd, 0);
    if (check(map != MAP_FAILED, "mmap of the first doorbell page")) {
        refused(mprotect(map, PAGE, PROT_EXEC) ? NULL : map, EACCES, "making it executable");
        munmap(map, PAGE);
    }
}

static void test_pds(struct ibv_context *ctx) {
    struct ibv_pd *pd[200];
    unsigned int i, made = 0, gone = 0;

    for (i = 0; i < 200; i++) {
        pd[i] = ibv_alloc_pd(ctx);
        made += pd[i] != NULL;
    }
    for (i = 0; i < 200; i++)
        gone += pd[i] && !ibv_dealloc_pd(pd[i]);
    check(made == 200 && gone == 200, "200 PDs");
}

/* ---- completion queues ---- */

static void test_cqs(struct ibv_context *ctx, const struct ibv_device_attr *attr) {
    static const int sizes[] = {1, 63, 64, 65, 128, 1000, 4096, 65536, 262144};
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq, *many[64];
    struct ibv_wc wc;
    unsigned int i, made = 0;
    char line[80];

    for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        cq = ibv_create_cq(ctx, sizes[i], NULL, NULL, 0);
        snprintf(line, sizeof(line), "CQ of %d entries: got %d", sizes[i], cq ? cq->cqe : -errno);
        if (!check(cq && cq->cqe >= sizes[i], line))
            continue;
        check(ibv_poll_cq(cq, 1, &wc) == 0, "it is empty");
        check(!ibv_destroy_cq(cq), "destroy_cq");
    }
    errno = 0;
    cq = ibv_create_cq(ctx, attr->max_cqe + 1, NULL, NULL, 0);
    refused_either(cq, EINVAL, EIO, "CQ deeper than max_cqe");
    errno = 0;
    cq = ibv_create_cq(ctx, 64, NULL, NULL, ctx->num_comp_vectors);
    refused_either(cq, EINVAL, EIO, "CQ on a completion vector that does not exist");
    /* The provider asks for at least 64 entries, whatever the caller says. */
    cq = ibv_create_cq(ctx, 0, NULL, NULL, 0);
    check(!cq || cq->cqe > 0, "CQ without entries is refused or gets some");
    if (cq)
        ibv_destroy_cq(cq);

    for (i = 0; i < 64; i++) {
        many[i] = ibv_create_cq(ctx, 64, NULL, NULL, i % ctx->num_comp_vectors);
        made += many[i] != NULL;
    }
    check(made == 64, "64 CQs on all completion vectors");
    for (i = 0; i < 64; i++)
        if (many[i])
            ibv_destroy_cq(many[i]);

    channel = ibv_create_comp_channel(ctx);
    cq = channel ? ibv_create_cq(ctx, 64, NULL, channel, 0) : NULL;
    if (check(cq != NULL, "CQ with a completion channel")) {
        check(!ibv_req_notify_cq(cq, 0) && !ibv_req_notify_cq(cq, 1), "req_notify_cq");
        check(!ibv_destroy_cq(cq), "destroy an armed CQ");
    }
    if (channel)
        ibv_destroy_comp_channel(channel);
}

/* ---- memory regions ---- */

#define ALL_RIGHTS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ)

static void test_mrs(struct ibv_pd *pd, const struct ibv_device_attr *attr) {
    static const struct {
        size_t offset, length;
    } shapes[] = {
        {0, 1},        {17, 1},       {4095, 1},     {4095, 2},       {0, PAGE},       {1, PAGE},       {100, 3 * PAGE},
        {0, 4 * PAGE}, {1, 4 * PAGE}, {0, 5 * PAGE}, {3, 511 * PAGE}, {0, 513 * PAGE}, {8, 40UL << 20},
    };
    size_t area = (40UL << 20) + 2 * PAGE;
    char *mem = mmap(NULL, area, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct ibv_mr *mr, *many[500];
    unsigned int i, made = 0, distinct = 0;
    char line[100], *fixed;

    if (!check(mem != MAP_FAILED, "memory for MRs"))
        return;
    /* Small pages only, so that large regions need large tables. */
    madvise(mem, area, MADV_NOHUGEPAGE);
    for (i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
        mr = ibv_reg_mr(pd, mem + shapes[i].offset, shapes[i].length, ALL_RIGHTS);
        snprintf(line, sizeof(line), "MR of %zu bytes at offset %zu", shapes[i].length, shapes[i].offset);
        if (check(mr && mr->lkey == mr->rkey, line))
            check(!ibv_dereg_mr(mr), "dereg_mr");
    }
    madvise(mem, area, MADV_HUGEPAGE);
    mr = ibv_reg_mr(pd, mem, 36UL << 20, ALL_RIGHTS);
    if (check(mr != NULL, "MR over possibly huge pages"))
        ibv_dereg_mr(mr);

    mr = ibv_reg_mr_iova(pd, mem + 5, 100000, 0x123000000005ULL, ALL_RIGHTS);
    if (check(mr != NULL, "MR with an address of its own choice"))
        ibv_dereg_mr(mr);
    errno = 0;
    refused(ibv_reg_mr_iova(pd, mem, 100000, -PAGE, ALL_RIGHTS), EINVAL, "MR that wraps around the address space");
    errno = 0;
    refused(ibv_reg_mr(pd, mem, 0, ALL_RIGHTS), EINVAL, "MR of length 0");
    errno = 0;
    refused(ibv_reg_mr(pd, mem, attr->max_mr_size + 1, ALL_RIGHTS), EINVAL, "MR longer than max_mr_size");
    errno = 0;
    refused(ibv_reg_mr(pd, mem, PAGE, IBV_ACCESS_REMOTE_WRITE), EINVAL, "remote write without local write");
    errno = 0;
    refused(ibv_reg_mr(pd, mem, PAGE, ALL_RIGHTS | IBV_ACCESS_MW_BIND), EOPNOTSUPP, "MR for memory windows");

    fixed = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    errno = 0;
    refused(ibv_reg_mr(pd, fixed, 2 * PAGE, ALL_RIGHTS), EFAULT, "read-only memory with write access");
    mr = ibv_reg_mr(pd, fixed, 2 * PAGE, IBV_ACCESS_REMOTE_READ);
    if (check(mr != NULL, "read-only memory with read access"))
        ibv_dereg_mr(mr);
    munmap(fixed, 2 * PAGE);
    errno = 0;
    refused(ibv_reg_mr(pd, fixed, 2 * PAGE, ALL_RIGHTS), EFAULT, "memory that is not mapped");

    for (i = 0; i < 500; i++) {
        many[i] = ibv_reg_mr(pd, mem + i * 64, PAGE, ALL_RIGHTS);
        made += many[i] != NULL;
        distinct += i && many[i] && many[i - 1] && many[i]->rkey != many[i - 1]->rkey;
    }
    check(made == 500 && distinct == 499, "500 MRs over the same memory, each with its key");
    check(ibv_dealloc_pd(pd) == EBUSY, "PD with MRs stays");
    for (i = 0; i < 500; i++)
        if (many[i])
            ibv_dereg_mr(many[i]);
    munmap(mem, area);
}

/* ---- queue pairs ---- */

static struct ibv_qp_init_attr usual(struct ibv_cq *cq) {
    return (struct ibv_qp_init_attr){
        .send_cq = cq,
        .recv_cq = cq,
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = 16, .max_recv_wr = 16, .max_send_sge = 1, .max_recv_sge = 1},
    };
}

static int to_state(struct ibv_qp *qp, enum ibv_qp_state state) {
    struct ibv_qp_attr attr = {
        .qp_state = state,
        .port_num = 1,
        .qp_access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE,
    };
    int mask = IBV_QP_STATE;

    if (state == IBV_QPS_INIT)
        mask |= IBV_QP_PORT | IBV_QP_ACCESS_FLAGS;
    return ibv_modify_qp(qp, &attr, mask);
}

static enum ibv_qp_state state_of(struct ibv_qp *qp) {
    struct ibv_qp_init_attr init;
    struct ibv_qp_attr attr;

    return ibv_query_qp(qp, &attr, IBV_QP_STATE, &init) ? IBV_QPS_UNKNOWN : attr.qp_state;
}

static void test_qp_limits(struct ibv_pd *pd, struct ibv_cq *cq, const struct ibv_device_attr *attr) {
    static const unsigned int depths[] = {1, 2, 3, 16, 100, 512, 4096, 8192};
    struct ibv_qp_init_attr init;
    struct ibv_qp *qp;
    unsigned int i;
    char line[100];

    for (i = 0; i < sizeof(depths) / sizeof(*depths); i++) {
        init = usual(cq);
        init.cap.max_send_wr = depths[i];
        init.cap.max_recv_wr = depths[i];
        qp = ibv_create_qp(pd, &init);
        snprintf(line, sizeof(line), "QP of depth %u: got %u and %u", depths[i], init.cap.max_send_wr,
                 init.cap.max_recv_wr);
        if (check(qp && init.cap.max_send_wr >= depths[i] && init.cap.max_recv_wr >= depths[i], line))
            check(!ibv_destroy_qp(qp), "destroy_qp");
    }

#define REFUSE(change, wanted, what)                                                                                   \
    do {                                                                                                               \
        init = usual(cq);                                                                                              \
        change;                                                                                                        \
        errno = 0;                                                                                                     \
        qp = ibv_create_qp(pd, &init);                                                                                 \
        refused(qp, wanted, what);                                                                                     \
        if (qp)                                                                                                        \
            ibv_destroy_qp(qp);                                                                                        \
    } while (0)

    REFUSE(init.cap.max_send_wr = 8193, EINVAL, "QP with a send queue too deep");
    REFUSE(init.cap.max_recv_wr = 1U << 20, EINVAL, "QP with a receive queue too deep");
    REFUSE(init.cap.max_send_wr = UINT32_MAX, EINVAL, "QP with an absurd send queue");
    REFUSE(init.cap.max_send_sge = 7, EINVAL, "QP with too many send SGEs");
    REFUSE(init.cap.max_recv_sge = 2, EINVAL, "QP with too many receive SGEs");
    REFUSE(init.cap.max_inline_data = 97, EINVAL, "QP with too much inline data");
    REFUSE(init.qp_type = IBV_QPT_UD, EOPNOTSUPP, "UD QP");
    REFUSE(init.qp_type = IBV_QPT_UC, EOPNOTSUPP, "UC QP");
    check(attr->max_srq == 0, "no SRQs");
}

static void test_qp_states(struct ibv_pd *pd, struct ibv_cq *cq) {
    struct ibv_qp_init_attr init = usual(cq);
    struct ibv_qp *qp = ibv_create_qp(pd, &init);
    struct ibv_recv_wr recv = {0}, *bad;
    struct ibv_qp_attr attr;
    struct ibv_sge sge[2];
    struct ibv_mr *mr;
    struct ibv_wc wc[8];
    static char buffer[PAGE];
    unsigned int i;
    int got = 0, err;

    if (!check(qp != NULL, "RC QP"))
        return;
    mr = ibv_reg_mr(pd, buffer, sizeof(buffer), ALL_RIGHTS);
    check(state_of(qp) == IBV_QPS_RESET, "a new QP is in RESET");
    check(ibv_destroy_cq(cq) == EBUSY, "CQ with QPs stays");
    check(to_state(qp, IBV_QPS_RTS) != 0, "RESET to RTS is refused");
    check(!to_state(qp, IBV_QPS_INIT) && state_of(qp) == IBV_QPS_INIT, "RESET to INIT");
    check(!ibv_query_qp(qp, &attr, IBV_QP_ACCESS_FLAGS, &init) &&
              attr.qp_access_flags == (IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE) &&
              attr.cap.max_inline_data == 96 && attr.cap.max_send_sge == 6 && attr.cap.max_recv_sge == 1,
          "query_qp reports rights and capabilities");
    check(to_state(qp, IBV_QPS_SQD) == EINVAL, "INIT to SQD is refused");
    check(to_state(qp, IBV_QPS_RTS) == EINVAL, "INIT to RTS without a connection is refused");
    check(!to_state(qp, IBV_QPS_RTR) && state_of(qp) == IBV_QPS_RTR, "INIT to RTR");
    check(!to_state(qp, IBV_QPS_INIT) && state_of(qp) == IBV_QPS_INIT, "RTR to INIT");
    check(!to_state(qp, IBV_QPS_RTR) && !to_state(qp, IBV_QPS_RESET) && state_of(qp) == IBV_QPS_RESET, "RTR to RESET");
    check(to_state(qp, IBV_QPS_RTR) == EINVAL, "RESET to RTR is refused");
    check(!to_state(qp, IBV_QPS_INIT) && state_of(qp) == IBV_QPS_INIT, "and from there to INIT");

    recv.num_sge = 1;
    recv.sg_list = sge;
    sge[0] = (struct ibv_sge){(uintptr_t)buffer, 64, mr ? mr->lkey : 0};
    sge[1] = sge[0];
    for (i = 0; i < 5; i++) {
        recv.wr_id = 100 + i;
        check(!ibv_post_recv(qp, &recv, &bad), "post_recv in INIT");
    }
    recv.num_sge = 2;
    err = ibv_post_recv(qp, &recv, &bad);
    check(err != 0 && bad == &recv, "post_recv with two SGEs is refused");
    recv.num_sge = 1;
    for (i = 0, err = 0; i < 200 && !err; i++) {
        recv.wr_id = 105 + i;
        err = ibv_post_recv(qp, &recv, &bad);
    }
    check(err != 0 && bad == &recv, "post_recv beyond the depth is refused");
    check(ibv_poll_cq(cq, 8, wc) == 0, "nothing completes before the end");

    check(!to_state(qp, IBV_QPS_ERR) && state_of(qp) == IBV_QPS_ERR, "INIT to ERR");
    for (i = 0; i < 100 && got < 16; i++) {
        int n = ibv_poll_cq(cq, 8, wc), k;

        for (k = 0; k < n; k++, got++)
            if (wc[k].status != IBV_WC_WR_FLUSH_ERR || wc[k].wr_id != 100U + got || wc[k].qp_num != qp->qp_num)
                check(false, "flush completion with the right id and status");
        usleep(1000);
    }
    check(got == 16, "all posted receives are flushed in order");
    check(!to_state(qp, IBV_QPS_ERR), "ERR to ERR");
    check(to_state(qp, IBV_QPS_INIT) == EINVAL, "no way back from ERR");
    check(!ibv_destroy_qp(qp), "destroy_qp in ERR");
    if (mr)
        ibv_dereg_mr(mr);

    init = usual(cq);
    qp = ibv_create_qp(pd, &init);
    attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_INIT, .port_num = 2};
    if (qp) {
        check(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PORT) == EINVAL, "port 2 is refused");
        check(!ibv_destroy_qp(qp), "destroy_qp in RESET");
    }
}

static void test_many_qps(struct ibv_pd *pd, struct ibv_cq *cq) {
    struct ibv_qp *qp[300] = {0};
    unsigned int i, made = 0, gone = 0;

    for (i = 0; i < 300; i++) {
        struct ibv_qp_init_attr init = usual(cq);

        qp[i] = ibv_create_qp(pd, &init);
        made += qp[i] != NULL;
    }
    for (i = 0; i < 300; i++)
        gone += qp[i] && !ibv_destroy_qp(qp[i]);
    check(made == 300 && gone == 300, "300 QPs");
}

int main(int argc, char **argv) {
    struct ibv_device **list = ibv_get_device_list(NULL);
    struct ibv_device *device = list ? pick(list, argc > 1 ? argv[1] : NULL) : NULL;
    struct ibv_device_attr attr;
    struct ibv_context *ctx;
    struct ibv_pd *pd;
    struct ibv_cq *cq;

    if (!device) {
        fprintf(stderr, "no RDMA device%s%s; is the driver loaded?\n", argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
        return 2;
    }
    ctx = ibv_open_device(device);
    if (!check(ctx != NULL, "open_device"))
        return 1;
    test_attributes(ctx, &attr);
    test_contexts(device, ctx);
    test_pds(ctx);
    test_cqs(ctx, &attr);

    pd = ibv_alloc_pd(ctx);
    cq = ibv_create_cq(ctx, 512, NULL, NULL, 0);
    if (check(pd && cq, "PD and CQ for the rest")) {
        test_mrs(pd, &attr);
        test_qp_limits(pd, cq, &attr);
        test_qp_states(pd, cq);
        test_many_qps(pd, cq);
        check(!ibv_destroy_cq(cq), "destroy the CQ");
        check(!ibv_dealloc_pd(pd), "dealloc the PD");
    }
    check(!ibv_close_device(ctx), "close_device");
    ibv_free_device_list(list);
    printf("%u failed\n", failures);
    return failures != 0;
}
