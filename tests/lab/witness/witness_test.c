// SPDX-License-Identifier: GPL-2.0-or-later
/* Runs with the witness before it and fake_verbs behind: programs see no difference, and the lab hears what is wrong. */
#include "fake_verbs.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            printf("line %d: %s\nthe words:\n%s", __LINE__, #condition, heard());                                      \
            fflush(stdout);                                                                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static const char *path;
static struct ibv_context *context;
static struct ibv_comp_channel channel;
static int wake[2];

static const char *heard(void) {
    static char text[65536];
    int file = open(path, O_RDONLY);
    ssize_t got = read(file, text, sizeof(text) - 1);
    close(file);
    text[got > 0 ? got : 0] = '\0';
    return text;
}

static void quiet(void) {
    if (truncate(path, 0) != 0)
        abort();
}

static struct ibv_cq *make_cq(void) { return ibv_create_cq(context, 64, NULL, &channel, 0); }

static struct ibv_qp *make_qp(struct ibv_cq *cq) {
    struct ibv_qp_init_attr attr = {.send_cq = cq, .recv_cq = cq};
    return ibv_create_qp(NULL, &attr);
}

static uint64_t next(struct ibv_cq *cq) {
    struct ibv_wc wc = {.wr_id = 0};
    return ibv_poll_cq(cq, 1, &wc) == 1 ? wc.wr_id : 0;
}

static void order(void) {
    struct ibv_cq *cq = make_cq();
    struct ibv_wc wc[8];
    for (uint64_t i = 1; i <= 5; i++)
        fake_complete(cq, 1, i, IBV_WC_SUCCESS);
    EXPECT(ibv_req_notify_cq(cq, 0) == 0);
    EXPECT(ibv_poll_cq(cq, 3, wc) == 3 && wc[0].wr_id == 1 && wc[1].wr_id == 2 && wc[2].wr_id == 3);
    EXPECT(ibv_req_notify_cq(cq, 0) == 0);
    EXPECT(ibv_req_notify_cq(cq, 0) == 0);
    EXPECT(ibv_poll_cq(cq, 8, wc) == 2 && wc[0].wr_id == 4 && wc[1].wr_id == 5);
    EXPECT(ibv_poll_cq(cq, 8, wc) == 0);
    EXPECT(ibv_destroy_cq(cq) == 0);
    EXPECT(!*heard());
}

static void destroyed(void) {
    struct ibv_cq *cq = make_cq();
    struct ibv_qp *one = make_qp(cq), *other = make_qp(cq);
    for (uint64_t i = 1; i <= 40; i++)
        fake_complete(cq, i % 2 ? one->qp_num : other->qp_num, i, IBV_WC_SUCCESS);
    EXPECT(ibv_destroy_qp(one) == 0);
    fake_complete(cq, other->qp_num, 42, IBV_WC_SUCCESS);
    for (uint64_t i = 2; i <= 42; i += 2)
        EXPECT(next(cq) == i);
    EXPECT(next(cq) == 0);
    EXPECT(ibv_destroy_qp(other) == 0 && ibv_destroy_cq(cq) == 0);
    EXPECT(!*heard());
}

static void errors(void) {
    struct ibv_cq *cq = make_cq();
    struct ibv_qp *qp = make_qp(cq);
    char wanted[64];
    fake_complete(cq, qp->qp_num, 7, IBV_WC_REM_ACCESS_ERR);
    fake_complete(cq, qp->qp_num, 8, IBV_WC_WR_FLUSH_ERR);
    snprintf(wanted, sizeof(wanted), "qpn=%u cqe=64 count=1 ", qp->qp_num);
    EXPECT(ibv_destroy_qp(qp) == 0);
    EXPECT(strstr(heard(), "error-unpolled pci=fake_0 ") && strstr(heard(), wanted));
    EXPECT(strstr(heard(), " what=10 wr_id=7 name=witness_test\n"));
    quiet();

    qp = make_qp(cq);
    fake_complete(cq, qp->qp_num, 7, IBV_WC_RETRY_EXC_ERR);
    EXPECT(next(cq) == 7);
    fake_complete(cq, qp->qp_num, 8, IBV_WC_REM_ACCESS_ERR); /* known to have failed */
    EXPECT(ibv_destroy_qp(qp) == 0);
    qp = make_qp(cq);
    fake_complete(cq, qp->qp_num, 9, IBV_WC_WR_FLUSH_ERR);
    EXPECT(ibv_destroy_qp(qp) == 0 && !*heard());
    fake_complete(cq, 99, 9, IBV_WC_LOC_PROT_ERR);
    EXPECT(ibv_destroy_cq(cq) == 0 && strstr(heard(), " qpn=99 "));
    quiet();
}

static void vain(void) {
    struct ibv_cq *cq = make_cq();
    for (int i = 0; i < 999; i++)
        EXPECT(next(cq) == 0);
    EXPECT(ibv_destroy_cq(cq) == 0 && !*heard());
    cq = make_cq();
    for (int i = 0; i < 1000; i++)
        EXPECT(next(cq) == 0);
    EXPECT(ibv_destroy_cq(cq) == 0 && strstr(heard(), "polled-in-vain ") && strstr(heard(), " count=1000 "));
    quiet();
}

static void sleep_on(struct ibv_cq *cq) {
    void *none;
    EXPECT(write(wake[1], &cq, sizeof(cq)) == sizeof(cq));
    EXPECT(ibv_get_cq_event(&channel, &cq, &none) == 0);
}

static void arming(void) {
    struct ibv_cq *cq = make_cq();
    for (int i = 0; i < 100; i++)
        EXPECT(ibv_req_notify_cq(cq, 0) == 0);
    EXPECT(ibv_destroy_cq(cq) == 0 && strstr(heard(), "armed-unslept ") && strstr(heard(), " count=100 "));
    quiet();
    cq = make_cq();
    for (int i = 0; i < 100; i++)
        EXPECT(ibv_req_notify_cq(cq, 0) == 0);
    sleep_on(cq); /* nothing is there */
    fake_complete(cq, 1, 1, IBV_WC_SUCCESS);
    EXPECT(ibv_req_notify_cq(cq, 0) == 0 && next(cq) == 1);
    sleep_on(cq); /* it was polled */
    fake_complete(cq, 1, 1, IBV_WC_SUCCESS);
    EXPECT(ibv_req_notify_cq(cq, 1) == 0);
    sleep_on(cq); /* only solicited ones wake it */
    EXPECT(next(cq) == 1 && ibv_destroy_cq(cq) == 0 && !*heard());
    cq = make_cq();
    fake_complete(cq, 1, 1, IBV_WC_SUCCESS);
    EXPECT(ibv_req_notify_cq(cq, 0) == 0);
    sleep_on(cq);
    EXPECT(next(cq) == 1 && ibv_destroy_cq(cq) == 0 && strstr(heard(), "slept-with-work "));
    quiet();
}

static void events(void) {
    struct ibv_cq *cq = make_cq();
    struct ibv_qp *qp = make_qp(cq);
    fake_event(qp, IBV_EVENT_QP_FATAL);
    EXPECT(ibv_destroy_qp(qp) == 0 && strstr(heard(), "event-unread ") && strstr(heard(), " what=-1 "));
    quiet();
    qp = make_qp(cq);
    fake_event(qp, IBV_EVENT_PORT_ACTIVE);
    fake_event(qp, IBV_EVENT_QP_ACCESS_ERR);
    EXPECT(ibv_close_device(context) == 0 && strstr(heard(), "event-unread ") && strstr(heard(), " what=3 "));
    EXPECT(strchr(heard(), '\n') == strrchr(heard(), '\n'));
    quiet();

    context = ibv_open_device(fake_device());
    struct ibv_async_event event;
    fake_event(qp, IBV_EVENT_DEVICE_FATAL);
    EXPECT(ibv_get_async_event(context, &event) == 0);
    fake_event(qp, IBV_EVENT_DEVICE_FATAL);
    EXPECT(ibv_close_device(context) == 0 && !*heard());
    context = ibv_open_device(fake_device());
}

static bool ended(pid_t child) {
    int status;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 5;
}

static void ends(void) {
    for (int way = 0; way < 2; way++) {
        pid_t child = fork();
        if (child == 0) {
            context = ibv_open_device(fake_device());
            struct ibv_cq *cq = make_cq();
            fake_complete(cq, 12, 3, IBV_WC_GENERAL_ERR);
            way ? exit(5) : _exit(5);
        }
        EXPECT(ended(child) && strstr(heard(), " qpn=12 "));
        EXPECT(strchr(heard(), '\n') == strrchr(heard(), '\n'));
        quiet();
    }
    /* What the parent has is not the child's to look at. */
    struct ibv_cq *cq = make_cq();
    fake_complete(cq, 12, 3, IBV_WC_GENERAL_ERR);
    pid_t child = fork();
    if (child == 0)
        exit(5);
    EXPECT(ended(child) && !*heard());
    EXPECT(next(cq) == 3 && ibv_destroy_cq(cq) == 0);
}

/* Each completion comes once, though one thread polls, another arms and a third destroys. */
enum { MESSAGES = 60, ROUNDS = 200 };
static struct ibv_cq *shared;

static void *arm(void *none) {
    for (int i = 0; i < MESSAGES; i++)
        ibv_req_notify_cq(shared, 0);
    return none;
}

static void threads(void) {
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t thread;
        shared = make_cq();
        for (uint64_t i = 1; i <= MESSAGES; i++)
            fake_complete(shared, 1, i, IBV_WC_SUCCESS);
        EXPECT(pthread_create(&thread, NULL, arm, NULL) == 0);
        for (uint64_t i = 1; i <= MESSAGES; i++)
            EXPECT(next(shared) == i);
        EXPECT(pthread_join(thread, NULL) == 0);
        EXPECT(next(shared) == 0 && ibv_destroy_cq(shared) == 0);
    }
}

int main(void) {
    path = getenv("ERDMA_WITNESS");
    if (!path || pipe(wake) != 0)
        return 2;
    close(open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600));
    context = ibv_open_device(fake_device());
    channel.context = context;
    channel.fd = wake[0];
    order();
    destroyed();
    errors();
    vain();
    arming();
    threads();
    events();
    ends();
    return 0;
}
