// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One connection attempt: connect_once ADDRESS PORT prints the event that ends it, its status and the private data in
 * hex, as "established 0 00ff", "rejected -104", "unreachable -110" or "error -71", and ends 0.
 * For tests against scripted peers (mpa_replies.py).
 */
#include "common.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

static uint16_t port;

static void attempt(void) {
    struct end c = {0};
    struct rdma_conn_param param = connection_defaults();
    client_resolve(&c, port);
    end_open(&c, c.id, NULL);
    if (rdma_connect(c.id, &param) != 0)
        fail("rdma_connect: %m");
    struct cm_event e = cm_event_next(c.cm, 40000);
    const char *name = e.type == RDMA_CM_EVENT_ESTABLISHED     ? "established"
                       : e.type == RDMA_CM_EVENT_REJECTED      ? "rejected"
                       : e.type == RDMA_CM_EVENT_UNREACHABLE   ? "unreachable"
                       : e.type == RDMA_CM_EVENT_CONNECT_ERROR ? "error"
                                                               : rdma_event_str(e.type);
    printf("%s %d ", name, e.status);
    for (size_t i = 0; i < e.data_len; i++)
        printf("%02x", e.data[i]);
    printf("\n");
    end_close(&c);
}

int main(int argc, char **argv) {
    static const struct test_case cases[] = {{"attempt", attempt, 60}};
    if (argc != 3) {
        fprintf(stderr, "usage: %s ADDRESS PORT\n", argv[0]);
        return 2;
    }
    port = (uint16_t)atoi(argv[2]);
    return run_cases(2, argv, cases, ARRAY_LEN(cases));
}
