// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Objects to look at:
 *   diag_objects hold N            N unconnected queue pairs until killed; prints "ready"
 *   diag_objects churn SECONDS     makes and destroys regions, completion queues and queue pairs
 *   diag_objects starve ADDRESS    a connection whose receiving end posts no buffers, until killed; prints "ready"
 */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct ibv_qp *make_qp(struct ibv_pd *pd, struct ibv_cq *cq) {
    struct ibv_qp_init_attr init = {.send_cq = cq,
                                    .recv_cq = cq,
                                    .qp_type = IBV_QPT_RC,
                                    .cap = {.max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1, .max_recv_sge = 1}};
    return ibv_create_qp(pd, &init);
}

static struct ibv_context *open_first(void) {
    int count = 0;
    struct ibv_device **devices = ibv_get_device_list(&count);
    struct ibv_context *context = devices && count > 0 ? ibv_open_device(devices[0]) : NULL;
    if (!context)
        perror("no device");
    return context;
}

static int hold(long count) {
    struct ibv_context *context = open_first();
    struct ibv_pd *pd = context ? ibv_alloc_pd(context) : NULL;
    struct ibv_cq *cq = pd ? ibv_create_cq(context, 256, NULL, NULL, 0) : NULL;
    for (long i = 0; i < count; i++)
        if (!cq || !make_qp(pd, cq)) {
            perror("objects");
            return 1;
        }
    printf("ready\n");
    fflush(stdout);
    for (;;)
        pause();
}

static int churn(long seconds) {
    long rounds = 0;
    static char memory[65536];
    struct ibv_context *context = open_first();
    uint64_t end = now_ms() + (uint64_t)seconds * 1000;
    if (!context)
        return 1;
    for (; rounds == 0 || now_ms() < end; rounds++) {
        struct ibv_pd *pd = ibv_alloc_pd(context);
        struct ibv_mr *mr = pd ? ibv_reg_mr(pd, memory, 1 + (size_t)rounds % sizeof(memory), ACCESS_ALL) : NULL;
        struct ibv_cq *cq = mr ? ibv_create_cq(context, 64, NULL, NULL, 0) : NULL;
        struct ibv_qp *qp[3] = {0};
        for (int i = 0; i < 3; i++)
            qp[i] = cq ? make_qp(pd, cq) : NULL;
        if (!qp[0] || !qp[1] || !qp[2]) {
            perror("objects");
            return 1;
        }
        for (int i = 0; i < 3; i++)
            if (ibv_destroy_qp(qp[i]))
                return 1;
        if (ibv_destroy_cq(cq) || ibv_dereg_mr(mr) || ibv_dealloc_pd(pd))
            return 1;
    }
    printf("%ld rounds\n", rounds);
    return 0;
}

static void starve(void) {
    struct pair pair;
    pair_open(&pair, NULL);
    for (uint64_t i = 0; i < 5; i++)
        VERB(post(
            &pair.client,
            &(struct work){
                .opcode = IBV_WR_SEND, .wr_id = i, .at = pair.client.buf, .bytes = 64, .lkey = pair.client.mr->lkey}));
    printf("ready\n");
    fflush(stdout);
    for (;;)
        pause();
}

int main(int argc, char **argv) {
    static const struct test_case cases[] = {{"starve", starve, 3600}};
    if (argc == 3 && !strcmp(argv[1], "hold"))
        return hold(strtol(argv[2], NULL, 0));
    if (argc == 3 && !strcmp(argv[1], "churn"))
        return churn(strtol(argv[2], NULL, 0));
    if (argc == 3 && !strcmp(argv[1], "starve"))
        return run_cases(2, argv + 1, cases, ARRAY_LEN(cases));
    fprintf(stderr, "usage: %s hold N | churn SECONDS | starve ADDRESS\n", argv[0]);
    return 2;
}
