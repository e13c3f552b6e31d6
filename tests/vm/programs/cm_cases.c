// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connection management through librdmacm: setting up, refusing, breaking off; private data; limits.
 * ERDMA_TEST_FOREIGN must be the guest's address on an interface without adapter.
 */
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool refusal(enum rdma_cm_event_type type) {
    return type == RDMA_CM_EVENT_REJECTED || type == RDMA_CM_EVENT_UNREACHABLE || type == RDMA_CM_EVENT_CONNECT_ERROR;
}

static void client_connect(struct end *client, uint16_t port, struct rdma_conn_param *param) {
    struct rdma_conn_param defaults = connection_defaults();
    client_resolve(client, port);
    end_open(client, client->id, &(struct options){.send_wr = 4, .recv_wr = 4, .bytes = 4096});
    CALL(rdma_connect(client->id, param ? param : &defaults));
}

static void server_accept(struct end *server, struct rdma_cm_id *id, struct rdma_conn_param *param) {
    struct rdma_conn_param defaults = connection_defaults();
    end_open(server, id, &(struct options){.send_wr = 4, .recv_wr = 4, .bytes = 4096});
    CALL(rdma_accept(id, param ? param : &defaults));
}

/* One message each way shows that a connection is one. */
static void exchange(struct end *a, struct end *b) {
    struct end *ends[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        fill(ends[i]->buf, 100, (uint32_t)(uintptr_t)ends[i]);
        VERB(post_receive(ends[i], 1, ends[i]->buf + 200, 100, ends[i]->mr->lkey));
    }
    for (int i = 0; i < 2; i++)
        VERB(post(ends[i],
                  &(struct work){
                      .opcode = IBV_WR_SEND, .wr_id = 2, .at = ends[i]->buf, .bytes = 100, .lkey = ends[i]->mr->lkey}));
    for (int i = 0; i < 2; i++) {
        wc_good(ends[i]->scq, 2);
        wc_good(ends[i]->rcq, 1);
        expect_data("message", ends[i]->buf + 200, 100, (uint32_t)(uintptr_t)ends[1 - i]);
    }
}

static void closed_port(void) {
    struct end c = {0};
    for (int round = 0; round < 5; round++) {
        uint64_t begin = now_ms();
        client_connect(&c, 1, NULL);
        struct cm_event e = cm_event_expect(c.cm, RDMA_CM_EVENT_REJECTED, 5000);
        EXPECT_EQ("status", -ECONNREFUSED, e.status);
        EXPECT(now_ms() - begin < 3000 * slowness());
        end_close(&c);
    }
}

static struct cm_event resolve(const char *to, int limit) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(7)};
    struct rdma_event_channel *cm = rdma_create_event_channel();
    struct rdma_cm_id *id;
    EXPECT(inet_pton(AF_INET, to, &address.sin_addr) == 1);
    CALL(rdma_create_id(cm, &id, NULL, RDMA_PS_TCP));
    struct cm_event event = {.type = RDMA_CM_EVENT_ADDR_ERROR};
    note("address %s", to);
    if (rdma_resolve_addr(id, NULL, (struct sockaddr *)&address, limit) == 0)
        event = cm_event_next(cm, limit + 3000);
    else
        event.status = -errno;
    CALL(rdma_destroy_id(id));
    rdma_destroy_event_channel(cm);
    return event;
}

/* An own address of another interface, a neighbour behind it, the loopback address. */
static void address_without_adapter(void) {
    const char *foreign = getenv("ERDMA_TEST_FOREIGN");
    char neighbour[INET_ADDRSTRLEN];
    struct in_addr next;
    if (!foreign || inet_pton(AF_INET, foreign, &next) != 1)
        fail("ERDMA_TEST_FOREIGN is not set to an address");
    next.s_addr = htonl(ntohl(next.s_addr) + 1);
    inet_ntop(AF_INET, &next, neighbour, sizeof(neighbour));
    const char *addresses[] = {foreign, neighbour, "127.0.0.1"};
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        struct cm_event e = resolve(addresses[i], 1000);
        if (e.type != RDMA_CM_EVENT_ADDR_ERROR)
            fail("%s: expected %s got %s", addresses[i], rdma_event_str(RDMA_CM_EVENT_ADDR_ERROR),
                 rdma_event_str(e.type));
        EXPECT(e.status < 0);
    }
}

/* A neighbour on the adapter's network that does not exist. */
static void address_of_nobody(void) {
    struct in_addr nobody = test_address().sin_addr;
    nobody.s_addr = htonl((ntohl(nobody.s_addr) & ~0xffu) | 0xde);
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &nobody, text, sizeof(text));
    struct cm_event e = resolve(text, 1500);
    if (e.type != RDMA_CM_EVENT_ADDR_ERROR)
        fail("expected %s got %s", rdma_event_str(RDMA_CM_EVENT_ADDR_ERROR), rdma_event_str(e.type));
}

static const uint8_t lengths[] = {0, 1, 2, 3, 4, 5, 251, 252, 253, 254, 255};

static void expect_private(const char *what, const struct cm_event *e, size_t bytes, uint32_t seed) {
    EXPECT_EQ(what, bytes, e->data_len);
    expect_data(what, e->data, bytes, seed);
}

static void private_data(void) {
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct pair p = {0};
        unsigned char request[256], reply[256];
        uint8_t there = lengths[i], back = lengths[ARRAY_LEN(lengths) - 1 - i];
        struct rdma_conn_param connect = connection_defaults(), accept = connect;
        note("%u octets there, %u back", there, back);
        fill(request, sizeof(request), 100 + there);
        fill(reply, sizeof(reply), 700 + back);
        connect.private_data = request, connect.private_data_len = there;
        accept.private_data = reply, accept.private_data_len = back;
        listener_open(&p, 0, 4);
        client_connect(&p.client, listener_port(&p), &connect);
        struct cm_event e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
        EXPECT(e.listen_id == p.listener);
        expect_private("private data of the request", &e, there, 100 + there);
        server_accept(&p.server, e.id, &accept);
        e = cm_event_expect(p.client.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
        EXPECT_EQ("status", 0, e.status);
        expect_private("private data of the reply", &e, back, 700 + back);
        cm_event_expect(p.server.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
        exchange(&p.client, &p.server);
        pair_close(&p);
    }
}

static void rejected(void) {
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct pair p = {0};
        unsigned char reason[256];
        note("rejected with %u octets", lengths[i]);
        fill(reason, sizeof(reason), lengths[i]);
        listener_open(&p, 0, 4);
        client_connect(&p.client, listener_port(&p), NULL);
        struct cm_event e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
        CALL(rdma_reject(e.id, reason, lengths[i]));
        CALL(rdma_destroy_id(e.id));
        e = cm_event_expect(p.client.cm, RDMA_CM_EVENT_REJECTED, 5000);
        EXPECT_EQ("status", -ECONNRESET, e.status);
        expect_private("private data of the rejection", &e, lengths[i], lengths[i]);
        pair_close(&p);
    }
}

/* A child that is destroyed without an answer is a rejection too. */
static void destroyed_is_rejected(void) {
    struct pair p = {0};
    listener_open(&p, 0, 4);
    client_connect(&p.client, listener_port(&p), NULL);
    struct cm_event e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    CALL(rdma_destroy_id(e.id));
    cm_event_expect(p.client.cm, RDMA_CM_EVENT_REJECTED, 5000);
    pair_close(&p);
}

/* Many connects at once to one listener; everybody is served, no matter how long its queue is. */
static void burst(int count, int backlog) {
    enum { MOST = 64 };
    static struct end clients[MOST], servers[MOST];
    struct pair p = {0};
    int established[2] = {0, 0}, refused = 0;
    struct cm_event e;
    listener_open(&p, 0, backlog);
    struct rdma_event_channel *cm = rdma_create_event_channel();
    for (int i = 0; i < count; i++) {
        note("resolving %d", i);
        clients[i].cm = cm;
        client_resolve(&clients[i], listener_port(&p));
        end_open(&clients[i], clients[i].id, &(struct options){.send_wr = 4, .recv_wr = 4, .bytes = 4096});
    }
    for (int i = 0; i < count; i++) {
        uint32_t number = (uint32_t)i;
        struct rdma_conn_param param = connection_defaults();
        param.private_data = &number, param.private_data_len = sizeof(number);
        note("connecting %d", i);
        CALL(rdma_connect(clients[i].id, &param));
    }
    usleep(200000); /* let them pile up */
    while (established[0] + refused < count || established[1] < established[0]) {
        note("of %d: %d clients, %d servers connected, %d refused", count, established[0], established[1], refused);
        bool any = false;
        while (cm_event_wait(p.server.cm, &e, any ? 0 : 50)) {
            any = true;
            if (e.type == RDMA_CM_EVENT_CONNECT_REQUEST) {
                uint32_t number = 0;
                EXPECT_EQ("private data", sizeof(number), e.data_len);
                memcpy(&number, e.data, sizeof(number));
                EXPECT(number < (uint32_t)count && !servers[number].id);
                server_accept(&servers[number], e.id, NULL);
            } else if (e.type == RDMA_CM_EVENT_ESTABLISHED) {
                established[1]++;
            } else {
                fail("a server got %s with status %d", rdma_event_str(e.type), e.status);
            }
        }
        while (cm_event_wait(cm, &e, any ? 0 : 50)) {
            any = true;
            if (e.type == RDMA_CM_EVENT_ESTABLISHED) {
                established[0]++;
                continue;
            }
            if (e.type != RDMA_CM_EVENT_REJECTED || count <= backlog)
                fail("a client got %s with status %d", rdma_event_str(e.type), e.status);
            refused++;
        }
    }
    EXPECT(established[0] >= (count < backlog ? count : backlog));
    for (int i = 0; i < count; i++) {
        note("exchange %d", i);
        if (!servers[i].id)
            continue;
        exchange(&clients[i], &servers[i]);
        CALL(rdma_disconnect(i % 2 ? clients[i].id : servers[i].id));
    }
    int gone[2] = {0, 0};
    while (gone[0] < established[0] || gone[1] < established[1]) {
        note("of %d: %d clients, %d servers disconnected", established[0], gone[0], gone[1]);
        struct rdma_event_channel *from = gone[0] < established[0] ? cm : p.server.cm;
        e = cm_event_expect(from, RDMA_CM_EVENT_DISCONNECTED, 5000);
        gone[from == p.server.cm]++;
    }
    for (int i = 0; i < count; i++) {
        end_close(&clients[i]);
        end_close(&servers[i]);
    }
    rdma_destroy_event_channel(cm);
    pair_close(&p);
}
static void burst_64(void) { burst(64, 64); }
static void burst_short_queue(void) { burst(24, 8); }

/* Connections that nobody fetched end with their listener. */
static void listener_gone(void) {
    enum { COUNT = 8 };
    static struct end clients[COUNT];
    struct pair p = {0};
    listener_open(&p, 0, COUNT);
    for (int i = 0; i < COUNT; i++)
        client_connect(&clients[i], listener_port(&p), NULL);
    usleep(200000);
    note("destroying the listener");
    uint64_t begin = now_ms();
    CALL(rdma_destroy_id(p.listener));
    EXPECT(now_ms() - begin < 3000);
    p.listener = NULL;
    for (int i = 0; i < COUNT; i++) {
        note("client %d", i);
        struct cm_event e = cm_event_next(clients[i].cm, 12000);
        if (!refusal(e.type))
            fail("expected a refusal got %s", rdma_event_str(e.type));
        end_close(&clients[i]);
        rdma_destroy_event_channel(clients[i].cm);
    }
    rdma_destroy_event_channel(p.server.cm);
}

/* A fetched request belongs to its own id, not to the listener. */
static void child_outlives_listener(void) {
    struct pair p = {0};
    listener_open(&p, 0, 4);
    client_connect(&p.client, listener_port(&p), NULL);
    struct cm_event e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    CALL(rdma_destroy_id(p.listener));
    p.listener = NULL;
    server_accept(&p.server, e.id, NULL);
    cm_event_expect(p.client.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    cm_event_expect(p.server.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    exchange(&p.client, &p.server);
    pair_close(&p);
}

static void read_depths(void) {
    struct pair p = {0};
    struct rdma_conn_param param = connection_defaults();
    listener_open(&p, 0, 4);
    client_resolve(&p.client, listener_port(&p));
    end_open(&p.client, p.client.id, NULL);
    for (int i = 0; i < 2; i++) {
        param = connection_defaults();
        *(i ? &param.initiator_depth : &param.responder_resources) = 129;
        EXPECT(rdma_connect(p.client.id, &param) != 0);
        EXPECT_EQ("errno of connect with depth 129", EINVAL, errno);
    }
    param.initiator_depth = param.responder_resources = 128;
    CALL(rdma_connect(p.client.id, &param));
    struct cm_event e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    EXPECT(e.param.initiator_depth >= 1 && e.param.initiator_depth <= 128);
    EXPECT(e.param.responder_resources >= 1 && e.param.responder_resources <= 128);
    server_accept(&p.server, e.id, &param);
    cm_event_expect(p.client.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    cm_event_expect(p.server.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    exchange(&p.client, &p.server);
    pair_close(&p);
}

/* who: 1 client, 2 server, 3 both at once */
static void disconnect_by(int who) {
    for (int round = 0; round < 5; round++) {
        struct pair p;
        struct ibv_async_event async;
        pair_open(&p, NULL);
        exchange(&p.client, &p.server);
        note("disconnecting, round %d", round);
        uint64_t begin = now_ms();
        if (who & 1)
            CALL(rdma_disconnect(p.client.id));
        if (who & 2 && rdma_disconnect(p.server.id) != 0)
            EXPECT_EQ("errno of the second disconnect", EINVAL, who == 3 ? errno : 0);
        cm_event_expect(p.client.cm, RDMA_CM_EVENT_DISCONNECTED, 2000);
        cm_event_expect(p.server.cm, RDMA_CM_EVENT_DISCONNECTED, 2000);
        EXPECT(now_ms() - begin < 2000);
        struct cm_event e;
        if (cm_event_wait(p.client.cm, &e, 20) || cm_event_wait(p.server.cm, &e, 20))
            fail("expected nothing after DISCONNECTED, got %s", rdma_event_str(e.type));
        if (async_wait(p.client.id->verbs, &async, 0))
            fail("an orderly disconnect caused %s", ibv_event_type_str(async.event_type));
        rdma_disconnect(p.client.id); /* once more must be harmless */
        rdma_disconnect(p.server.id);
        pair_close(&p);
    }
}
static void disconnect_client(void) { disconnect_by(1); }
static void disconnect_server(void) { disconnect_by(2); }
static void disconnect_both(void) { disconnect_by(3); }

/* The same numbers again at once. */
static void same_port_again(void) {
    struct pair p = {0};
    uint16_t port = 0;
    for (int round = 0; round < 20; round++) {
        note("round %d", round);
        memset(&p, 0, sizeof(p));
        listener_open(&p, port, 4);
        port = listener_port(&p);
        client_connect(&p.client, port, NULL);
        struct cm_event e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
        server_accept(&p.server, e.id, NULL);
        cm_event_expect(p.client.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
        cm_event_expect(p.server.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
        exchange(&p.client, &p.server);
        pair_close(&p);
    }
}

static void port_in_use(void) {
    struct pair p = {0}, q = {0};
    struct sockaddr_in at = test_address();
    listener_open(&p, 0, 4);
    at.sin_port = htons(listener_port(&p));
    q.server.cm = rdma_create_event_channel();
    CALL(rdma_create_id(q.server.cm, &q.listener, NULL, RDMA_PS_TCP));
    int result = rdma_bind_addr(q.listener, (struct sockaddr *)&at);
    if (result == 0)
        result = rdma_listen(q.listener, 4);
    EXPECT(result != 0);
    EXPECT_EQ("errno", EADDRINUSE, errno);
    pair_close(&q);
    pair_close(&p);
}

static void wildcard_listener(void) {
    struct pair p = {0};
    struct sockaddr_in any = {.sin_family = AF_INET};
    p.server.cm = rdma_create_event_channel();
    CALL(rdma_create_id(p.server.cm, &p.listener, NULL, RDMA_PS_TCP));
    CALL(rdma_bind_addr(p.listener, (struct sockaddr *)&any));
    CALL(rdma_listen(p.listener, 4));
    client_connect(&p.client, listener_port(&p), NULL);
    struct cm_event e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    server_accept(&p.server, e.id, NULL);
    cm_event_expect(p.client.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    cm_event_expect(p.server.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    exchange(&p.client, &p.server);
    pair_close(&p);
}

/* A listener on every IPv6 address hears IPv4 clients, unless it is for IPv6 only; then IPv4 may have one of its own. */
static void wildcard_listener_6(void) {
    struct pair p = {0};
    struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    struct rdma_cm_id *only;
    int one = 1;
    p.server.cm = rdma_create_event_channel();
    CALL(rdma_create_id(p.server.cm, &p.listener, NULL, RDMA_PS_TCP));
    CALL(rdma_bind_addr(p.listener, (struct sockaddr *)&any));
    CALL(rdma_listen(p.listener, 4));
    client_connect(&p.client, listener_port(&p), NULL);
    struct cm_event e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    server_accept(&p.server, e.id, NULL);
    cm_event_expect(p.client.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    cm_event_expect(p.server.cm, RDMA_CM_EVENT_ESTABLISHED, 5000);
    exchange(&p.client, &p.server);
    pair_close(&p);
    p = (struct pair){0};
    note("for IPv6 only");
    p.server.cm = rdma_create_event_channel();
    CALL(rdma_create_id(p.server.cm, &only, NULL, RDMA_PS_TCP));
    CALL(rdma_set_option(only, RDMA_OPTION_ID, RDMA_OPTION_ID_AFONLY, &one, sizeof(one)));
    CALL(rdma_bind_addr(only, (struct sockaddr *)&any));
    CALL(rdma_listen(only, 4));
    client_connect(&p.client, ntohs(rdma_get_src_port(only)), NULL);
    e = cm_event_expect(p.client.cm, RDMA_CM_EVENT_REJECTED, 5000);
    EXPECT_EQ("status", -ECONNREFUSED, e.status);
    end_close(&p.client);
    note("IPv4 on the same port");
    uint16_t port = ntohs(rdma_get_src_port(only));
    CALL(rdma_create_id(p.server.cm, &p.listener, NULL, RDMA_PS_TCP));
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    CALL(rdma_bind_addr(p.listener, (struct sockaddr *)&any4));
    CALL(rdma_listen(p.listener, 4));
    client_connect(&p.client, port, NULL);
    e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    EXPECT(e.listen_id == p.listener);
    CALL(rdma_destroy_id(e.id));
    CALL(rdma_destroy_id(only));
    pair_close(&p);
}

/* A queue pair in the error state cannot be connected, on either side; the other side hears of it. */
static void client_queue_pair_broken(void) {
    struct pair p = {0};
    struct cm_event e;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
    struct rdma_conn_param param = connection_defaults();
    listener_open(&p, 0, 4);
    client_resolve(&p.client, listener_port(&p));
    end_open(&p.client, p.client.id, NULL);
    VERB(ibv_modify_qp(p.client.qp, &attr, IBV_QP_STATE));
    if (rdma_connect(p.client.id, &param) == 0) {
        if (cm_event_wait(p.server.cm, &e, 3000)) {
            EXPECT_EQ("event", RDMA_CM_EVENT_CONNECT_REQUEST, e.type);
            server_accept(&p.server, e.id, NULL);
        }
        e = cm_event_next(p.client.cm, 12000);
        if (!refusal(e.type))
            fail("expected a refusal got %s", rdma_event_str(e.type));
    } else {
        EXPECT_EQ("errno of connect", EINVAL, errno);
    }
    pair_close(&p);
}

static void server_queue_pair_broken(void) {
    struct pair p = {0};
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
    struct rdma_conn_param param = connection_defaults();
    listener_open(&p, 0, 4);
    client_connect(&p.client, listener_port(&p), NULL);
    struct cm_event e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    end_open(&p.server, e.id, NULL);
    VERB(ibv_modify_qp(p.server.qp, &attr, IBV_QP_STATE));
    EXPECT(rdma_accept(e.id, &param) != 0);
    end_close(&p.server); /* who cannot accept has to refuse, by destroying at the latest */
    e = cm_event_next(p.client.cm, 5000);
    if (!refusal(e.type))
        fail("expected a refusal got %s", rdma_event_str(e.type));
    pair_close(&p);
}

/* Queue pair numbers that do not exist, given by hand. */
static void unknown_queue_pair(void) {
    struct pair p = {0};
    struct rdma_conn_param param = connection_defaults();
    listener_open(&p, 0, 4);
    struct end odd = {0};
    client_resolve(&odd, listener_port(&p));
    param.qp_num = 0xfffff;
    EXPECT(rdma_connect(odd.id, &param) != 0);
    EXPECT_EQ("errno of connect", EINVAL, errno);
    end_close(&odd);
    rdma_destroy_event_channel(odd.cm);
    client_connect(&p.client, listener_port(&p), NULL);
    struct cm_event e = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    EXPECT(rdma_accept(e.id, &param) != 0);
    CALL(rdma_destroy_id(e.id));
    e = cm_event_next(p.client.cm, 5000);
    if (!refusal(e.type))
        fail("expected a refusal got %s", rdma_event_str(e.type));
    pair_close(&p);
}

/* Steps in an order that makes no sense are refused and change nothing. */
static void steps_out_of_order(void) {
    struct pair p;
    struct rdma_conn_param param = connection_defaults();
    pair_open(&p, NULL);
    note("accept, reject, connect, listen on a connected id");
    EXPECT(rdma_accept(p.server.id, &param) != 0);
    EXPECT(rdma_reject(p.server.id, NULL, 0) != 0);
    EXPECT(rdma_connect(p.client.id, &param) != 0);
    EXPECT(rdma_listen(p.client.id, 1) != 0);
    EXPECT(rdma_disconnect(p.listener) != 0);
    exchange(&p.client, &p.server);
    pair_close(&p);
}

static void *destroy_client(void *argument) {
    struct end *client = argument;
    end_close(client);
    return NULL;
}

/*
 * A listener that never answers.  The connect of one client times out; another client is destroyed while it waits, in
 * bounded time; their requests cannot be accepted any more.
 */
static void no_answer(void) {
    struct pair p = {0};
    struct end other = {0};
    struct cm_event request[2];
    struct rdma_conn_param param = connection_defaults();
    pthread_t thread;
    listener_open(&p, 0, 4);
    client_connect(&p.client, listener_port(&p), NULL);
    request[0] = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    client_connect(&other, listener_port(&p), NULL);
    request[1] = cm_event_expect(p.server.cm, RDMA_CM_EVENT_CONNECT_REQUEST, 5000);
    uint64_t begin = now_ms();
    EXPECT(pthread_create(&thread, NULL, destroy_client, &other) == 0);
    note("waiting for the time-out");
    struct cm_event e = cm_event_expect(p.client.cm, RDMA_CM_EVENT_UNREACHABLE, 20000);
    EXPECT_EQ("status", -ETIMEDOUT, e.status);
    note("waiting for the destroyed client");
    EXPECT(pthread_join(thread, NULL) == 0);
    EXPECT(now_ms() - begin < 22000);
    usleep(200000); /* the ends of the connections travel */
    for (int i = 0; i < 2; i++) {
        note("late accept %d", i);
        struct end late = {0};
        end_open(&late, request[i].id, NULL);
        if (rdma_accept(request[i].id, &param) == 0) {
            /* The request was valid when it was accepted; then the end must be told. */
            for (;;) {
                e = cm_event_next(p.server.cm, 5000);
                if (e.type == RDMA_CM_EVENT_DISCONNECTED || refusal(e.type))
                    break;
                EXPECT_EQ("event", RDMA_CM_EVENT_ESTABLISHED, e.type);
            }
        }
        end_close(&late);
    }
    rdma_destroy_event_channel(other.cm);
    pair_close(&p);
}

static const struct test_case cases[] = {
    {"closed-port", closed_port, 0},
    {"address-without-adapter", address_without_adapter, 0},
    {"address-of-nobody", address_of_nobody, 0},
    {"private-data", private_data, 30},
    {"rejected", rejected, 30},
    {"destroyed-is-rejected", destroyed_is_rejected, 0},
    {"burst-64", burst_64, 60},
    {"burst-short-queue", burst_short_queue, 60},
    {"listener-gone", listener_gone, 30},
    {"child-outlives-listener", child_outlives_listener, 0},
    {"read-depths", read_depths, 0},
    {"disconnect-by-client", disconnect_client, 30},
    {"disconnect-by-server", disconnect_server, 30},
    {"disconnect-by-both", disconnect_both, 30},
    {"same-port-again", same_port_again, 30},
    {"port-in-use", port_in_use, 0},
    {"wildcard-listener", wildcard_listener, 0},
    {"wildcard-listener-6", wildcard_listener_6, 0},
    {"client-queue-pair-broken", client_queue_pair_broken, 40},
    {"server-queue-pair-broken", server_queue_pair_broken, 0},
    {"unknown-queue-pair", unknown_queue_pair, 0},
    {"steps-out-of-order", steps_out_of_order, 0},
    {"no-answer", no_answer, 60},
};

int main(int argc, char **argv) { return run_cases(argc, argv, cases, ARRAY_LEN(cases)); }
