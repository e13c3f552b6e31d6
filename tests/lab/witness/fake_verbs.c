// SPDX-License-Identifier: GPL-2.0-or-later
#include "fake_verbs.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct queue {
    struct ibv_cq cq;
    struct ibv_wc entries[64];
    int count;
};

static struct ibv_device device = {.name = "fake_0"};
static int async_pipe[2];

struct ibv_device *fake_device(void) {
    return &device;
}

static int poll_cq(struct ibv_cq *cq, int entries, struct ibv_wc *wc) {
    struct queue *queue = (struct queue *)cq;
    int given = queue->count < entries ? queue->count : entries;
    memcpy(wc, queue->entries, (size_t)given * sizeof(*wc));
    queue->count -= given;
    memmove(queue->entries, queue->entries + given, (size_t)queue->count * sizeof(*wc));
    return given;
}

static int req_notify_cq(struct ibv_cq *cq, int solicited_only) {
    (void)cq;
    (void)solicited_only;
    return 0;
}

void fake_complete(struct ibv_cq *cq, uint32_t qpn, uint64_t wr_id, enum ibv_wc_status status) {
    struct queue *queue = (struct queue *)cq;
    queue->entries[queue->count++] = (struct ibv_wc){.qp_num = qpn, .wr_id = wr_id, .status = status};
}

void fake_event(struct ibv_qp *qp, enum ibv_event_type type) {
    struct ibv_async_event event = {.element.qp = qp, .event_type = type};
    if (write(async_pipe[1], &event, sizeof(event)) != sizeof(event))
        abort();
}

struct ibv_context *ibv_open_device(struct ibv_device *of) {
    struct ibv_context *context = calloc(1, sizeof(*context));
    if (!context || pipe(async_pipe) != 0)
        abort();
    context->device = of;
    context->async_fd = async_pipe[0];
    context->ops.poll_cq = poll_cq;
    context->ops.req_notify_cq = req_notify_cq;
    return context;
}

int ibv_close_device(struct ibv_context *context) {
    close(async_pipe[0]);
    close(async_pipe[1]);
    free(context);
    return 0;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *context, int cqe, void *cq_context, struct ibv_comp_channel *channel,
                             int comp_vector) {
    struct queue *queue = calloc(1, sizeof(*queue));
    (void)comp_vector;
    if (!queue)
        abort();
    queue->cq.context = context;
    queue->cq.cqe = cqe;
    queue->cq.cq_context = cq_context;
    queue->cq.channel = channel;
    return &queue->cq;
}

int ibv_destroy_cq(struct ibv_cq *cq) {
    free(cq);
    return 0;
}

struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr) {
    static uint32_t next = 1;
    struct ibv_qp *qp = calloc(1, sizeof(*qp));
    (void)pd;
    if (!qp)
        abort();
    qp->context = attr->send_cq->context;
    qp->send_cq = attr->send_cq;
    qp->recv_cq = attr->recv_cq;
    qp->qp_num = next++;
    return qp;
}

static void forget(struct ibv_cq *cq, uint32_t qpn) {
    struct queue *queue = (struct queue *)cq;
    int left = 0;
    for (int i = 0; i < queue->count; i++) {
        if (queue->entries[i].qp_num != qpn)
            queue->entries[left++] = queue->entries[i];
    }
    queue->count = left;
}

/* What is unseen of it goes with it, events too: the test has one queue pair at a time that has some. */
int ibv_destroy_qp(struct ibv_qp *qp) {
    struct ibv_async_event event;
    forget(qp->send_cq, qp->qp_num);
    forget(qp->recv_cq, qp->qp_num);
    struct pollfd one = {.fd = async_pipe[0], .events = POLLIN};
    while (poll(&one, 1, 0) == 1 && read(async_pipe[0], &event, sizeof(event)) == sizeof(event))
        ;
    free(qp);
    return 0;
}

int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **cq_context) {
    if (read(channel->fd, cq, sizeof(*cq)) != sizeof(*cq))
        return -1;
    *cq_context = (*cq)->cq_context;
    return 0;
}

int ibv_get_async_event(struct ibv_context *context, struct ibv_async_event *event) {
    return read(context->async_fd, event, sizeof(*event)) == sizeof(*event) ? 0 : -1;
}

void ibv_ack_async_event(struct ibv_async_event *event) { (void)event; }
