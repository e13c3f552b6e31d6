// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The witness of check mode: it stands between a program and libibverbs (LD_PRELOAD) and sees what no adapter can see,
 * because only the process knows it (docs/check.md).  It tells when an object goes and when the program ends.
 *
 * To look whether completions lie in a queue it has to take them.  What it took is kept and given to the program first,
 * in the same order, so that the program sees no difference.
 */
#include "real.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

enum { BUCKETS = 1024, BATCH = 16, PCI_BYTES = 64 };
/* Empty polls of one queue that are worth a word; ERDMA_WITNESS_VAIN has another number. */
static const uint64_t vain_default = 10000000;
/* A program may arm once and have no need to sleep; one that arms so often has the cost of events and no use of them. */
static const uint64_t armed_often = 100;

/* Records are never freed and never leave their lists: others may be walking there.  An empty one is used again. */
struct watched_context {
    struct watched_context *next;
    _Atomic(struct ibv_context *) context;
    int (*poll_cq)(struct ibv_cq *cq, int entries, struct ibv_wc *wc);
    int (*req_notify_cq)(struct ibv_cq *cq, int solicited_only);
    pid_t owner;
    atomic_bool reads_events; /* the program fetches asynchronous events, or waits for them */
    char pci[PCI_BYTES];
};

struct watched_cq {
    struct watched_cq *next;
    _Atomic(struct ibv_cq *) cq;
    struct watched_context *of;
    pthread_mutex_t lock; /* held while completions are taken: what is kept comes before what the adapter has */
    struct ibv_wc *kept;
    unsigned int first, count, room;
    bool kept_at_arm; /* what is kept was there when the program armed the queue */
    bool told;
    uint32_t qpn; /* of one of its queue pairs */
    uint64_t vain, vain_since;
    atomic_bool slept;
    uint64_t arms, armed_first, armed_last;
    uint64_t slept_busy, slept_busy_first, slept_busy_last;
};

static _Atomic(struct watched_context *) contexts;
static _Atomic(struct watched_cq *) queues[BUCKETS];
static pthread_mutex_t records = PTHREAD_MUTEX_INITIALIZER;
/* Queue pairs of whose failure a completion told the program, by number; newer ones take the place of others. */
static _Atomic uint32_t known_failed[BUCKETS];
static uint64_t vain_limit;

/* ---- records ---- */

static struct watched_context *context_of(const struct ibv_context *context) {
    struct watched_context *at = atomic_load_explicit(&contexts, memory_order_acquire);
    while (at && atomic_load_explicit(&at->context, memory_order_acquire) != context)
        at = at->next;
    return at;
}

static _Atomic(struct watched_cq *) *bucket_of(const struct ibv_cq *cq) {
    return &queues[((uintptr_t)cq >> 4 ^ (uintptr_t)cq >> 14) % BUCKETS];
}

static struct watched_cq *queue_of(const struct ibv_cq *cq) {
    struct watched_cq *at = atomic_load_explicit(bucket_of(cq), memory_order_acquire);
    while (at && atomic_load_explicit(&at->cq, memory_order_acquire) != cq)
        at = at->next;
    return at;
}

static bool ours(const struct watched_context *of) { return of && of->owner == getpid(); }

/* ---- completions ---- */

static unsigned int give_kept(struct watched_cq *queue, unsigned int entries, struct ibv_wc *wc) {
    unsigned int given = queue->count < entries ? queue->count : entries;
    if (given == 0)
        return 0;
    memcpy(wc, queue->kept + queue->first, given * sizeof(*wc));
    queue->first += given;
    queue->count -= given;
    if (queue->count == 0) {
        queue->first = 0;
        queue->kept_at_arm = false;
    }
    return given;
}

static bool make_room(struct watched_cq *queue, unsigned int entries) {
    if (queue->first) {
        memmove(queue->kept, queue->kept + queue->first, queue->count * sizeof(*queue->kept));
        queue->first = 0;
    }
    if (queue->count + entries <= queue->room)
        return true;
    unsigned int room = queue->count + entries;
    struct ibv_wc *bigger = realloc(queue->kept, room * sizeof(*bigger));
    if (!bigger)
        return false;
    queue->kept = bigger;
    queue->room = room;
    return true;
}

/* Take up to so many completions, to keep them.  The lock is held. */
static void look(struct watched_cq *queue, struct ibv_cq *cq, int entries) {
    while (entries > 0) {
        int batch = entries < BATCH ? entries : BATCH;
        if (!make_room(queue, (unsigned int)batch))
            return;
        int got = queue->of->poll_cq(cq, batch, queue->kept + queue->count);
        if (got <= 0)
            return;
        queue->count += (unsigned int)got;
        entries -= got;
    }
}

static void note_failures(int entries, const struct ibv_wc *wc) {
    for (int i = 0; i < entries; i++) {
        if (wc[i].status != IBV_WC_SUCCESS)
            atomic_store_explicit(&known_failed[wc[i].qp_num % BUCKETS], wc[i].qp_num, memory_order_relaxed);
    }
}

static bool knows_failure(uint32_t qpn) {
    return atomic_load_explicit(&known_failed[qpn % BUCKETS], memory_order_relaxed) == qpn;
}

static int poll_cq(struct ibv_cq *cq, int entries, struct ibv_wc *wc) {
    struct watched_cq *queue = queue_of(cq);
    if (!queue) {
        struct watched_context *of = context_of(cq->context);
        return of ? of->poll_cq(cq, entries, wc) : -ENODEV;
    }
    if (entries <= 0)
        return queue->of->poll_cq(cq, entries, wc);
    pthread_mutex_lock(&queue->lock);
    int given = (int)give_kept(queue, (unsigned int)entries, wc), more = 0;
    if (given < entries)
        more = queue->of->poll_cq(cq, entries - given, wc + given);
    if (given == 0 && more == 0 && ++queue->vain == vain_limit)
        queue->vain_since = words_now();
    pthread_mutex_unlock(&queue->lock);
    if (more < 0 && given == 0)
        return more;
    given += more > 0 ? more : 0;
    note_failures(given, wc);
    return given;
}

static int req_notify_cq(struct ibv_cq *cq, int solicited_only) {
    struct watched_context *of = context_of(cq->context);
    if (!of)
        return ENODEV;
    struct watched_cq *queue = queue_of(cq);
    int result = of->req_notify_cq(cq, solicited_only);
    if (!queue || result)
        return result;
    int error = errno;
    pthread_mutex_lock(&queue->lock);
    queue->armed_last = words_now();
    if (queue->arms++ == 0)
        queue->armed_first = queue->armed_last;
    /*
     * Behind the arming, so that the adapter is told what the program really polled; one is enough to know.  Others than
     * solicited completions are not meant to wake the program, which may well leave them.
     */
    if (!solicited_only && queue->count == 0) {
        look(queue, cq, 1);
        queue->kept_at_arm = queue->count > 0;
    }
    pthread_mutex_unlock(&queue->lock);
    errno = error;
    return result;
}

/* ---- words ---- */

static struct words about(const struct watched_cq *queue, const struct ibv_cq *cq, const char *id) {
    return (struct words){.id = id, .pci = queue->of->pci, .qpn = queue->qpn, .cqe = cq->cqe, .what = -1};
}

static bool is_error(const struct ibv_wc *wc) {
    /* Flushed ones are left by habit: they tell nothing that the program does not know. */
    return wc->status != IBV_WC_SUCCESS && wc->status != IBV_WC_WR_FLUSH_ERR;
}

/* The kept completions with errors of one queue pair, of whose failure no other completion told the program.  The lock is held. */
static void tell_errors(const struct watched_cq *queue, const struct ibv_cq *cq, uint32_t qpn) {
    if (knows_failure(qpn))
        return;
    struct words words = about(queue, cq, "error-unpolled");
    words.qpn = qpn;
    for (unsigned int i = 0; i < queue->count; i++) {
        const struct ibv_wc *wc = &queue->kept[queue->first + i];
        if (wc->qp_num != qpn || !is_error(wc))
            continue;
        if (words.count++ == 0) {
            words.what = wc->status;
            words.wr_id = wc->wr_id;
            words.first = words.last = words_now();
        }
    }
    if (words.count)
        words_say(&words);
}

/* Everything about a queue that goes, or whose program ends.  The lock is held. */
static void tell_queue(struct watched_cq *queue, const struct ibv_cq *cq) {
    if (queue->told)
        return;
    queue->told = true;
    for (unsigned int i = 0; i < queue->count; i++) {
        const struct ibv_wc *wc = queue->kept + queue->first;
        unsigned int before = 0;
        while (before < i && (wc[before].qp_num != wc[i].qp_num || !is_error(&wc[before])))
            before++;
        if (before == i && is_error(&wc[i]))
            tell_errors(queue, cq, wc[i].qp_num);
    }
    if (queue->vain >= vain_limit) {
        struct words words = about(queue, cq, "polled-in-vain");
        words.count = queue->vain;
        words.first = queue->vain_since;
        words.last = words_now();
        words_say(&words);
    }
    if (queue->arms >= armed_often && !atomic_load(&queue->slept)) {
        struct words words = about(queue, cq, "armed-unslept");
        words.count = queue->arms;
        words.first = queue->armed_first;
        words.last = queue->armed_last;
        words_say(&words);
    }
    if (queue->slept_busy) {
        struct words words = about(queue, cq, "slept-with-work");
        words.count = queue->slept_busy;
        words.first = queue->slept_busy_first;
        words.last = queue->slept_busy_last;
        words_say(&words);
    }
}

static bool readable(int fd) {
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, 0) == 1 && (one.revents & POLLIN);
}

/* The queue pair that an event is about, or 0; false: one that needs no answer. */
static bool is_trouble(const struct ibv_async_event *event, uint32_t *qpn) {
    *qpn = 0;
    switch (event->event_type) {
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_PATH_MIG_ERR:
        *qpn = event->element.qp->qp_num;
        return !knows_failure(*qpn);
    case IBV_EVENT_CQ_ERR:
    case IBV_EVENT_SRQ_ERR:
    case IBV_EVENT_DEVICE_FATAL:
        return true;
    default:
        return false;
    }
}

/* A device goes: fetch the events that lie there, unless the program has ever asked for some and may do so again. */
static void tell_events(struct watched_context *of, struct ibv_context *context) {
    struct ibv_async_event event;
    while (!atomic_load(&of->reads_events) && readable(context->async_fd)) {
        if (!real_ibv_get_async_event() || real_ibv_get_async_event()(context, &event) != 0)
            return;
        struct words words = {.id = "event-unread", .pci = of->pci, .count = 1, .what = event.event_type};
        words.first = words.last = words_now();
        if (is_trouble(&event, &words.qpn))
            words_say(&words);
        if (real_ibv_ack_async_event())
            real_ibv_ack_async_event()(&event);
    }
}

/* A program may end within a signal's handler that came while this thread was polling. */
static bool lock_patiently(pthread_mutex_t *lock) {
    for (int i = 0; i < 100; i++) {
        if (pthread_mutex_trylock(lock) == 0)
            return true;
        sched_yield();
    }
    return false;
}

/* The queues of a context that goes or, without one, of a program that ends. */
static void tell_queues(const struct watched_context *only) {
    for (unsigned int i = 0; i < BUCKETS; i++) {
        for (struct watched_cq *queue = atomic_load(&queues[i]); queue; queue = queue->next) {
            struct ibv_cq *cq = atomic_load(&queue->cq);
            if (!cq || (only && queue->of != only) || !ours(queue->of) || !lock_patiently(&queue->lock))
                continue;
            if (atomic_load(&queue->cq) == cq) {
                look(queue, cq, cq->cqe);
                tell_queue(queue, cq);
                if (only)
                    atomic_store(&queue->cq, NULL);
            }
            pthread_mutex_unlock(&queue->lock);
        }
    }
}

static void last_words(void) {
    static atomic_flag said = ATOMIC_FLAG_INIT;
    int error = errno;
    struct watched_context *of = atomic_load(&contexts);
    if (of && ours(of) && !atomic_flag_test_and_set(&said)) {
        tell_queues(NULL);
        for (; of; of = of->next) {
            struct ibv_context *context = atomic_load(&of->context);
            if (context && ours(of))
                tell_events(of, context);
        }
    }
    errno = error;
}

/* ---- what stands before libibverbs ---- */

static void *without(const char *name) {
    (void)name;
    errno = ENOSYS;
    return NULL;
}

static void name_device(struct watched_context *of, const struct ibv_device *device) {
    char path[sizeof(device->ibdev_path) + 16], target[512];
    snprintf(path, sizeof(path), "%s/device", device->ibdev_path);
    ssize_t length = readlink(path, target, sizeof(target) - 1);
    const char *name = device->name;
    if (length > 0) {
        target[length] = '\0';
        name = strrchr(target, '/') ? strrchr(target, '/') + 1 : target;
    }
    snprintf(of->pci, sizeof(of->pci), "%.*s", (int)sizeof(of->pci) - 1, name);
}

static void watch_context(struct ibv_context *context) {
    static bool prepared;
    real_look_up();
    pthread_mutex_lock(&records);
    if (!prepared) {
        const char *limit = getenv("ERDMA_WITNESS_VAIN");
        vain_limit = limit && strtoull(limit, NULL, 10) ? strtoull(limit, NULL, 10) : vain_default;
        prepared = atexit(last_words) == 0;
    }
    struct watched_context *of = context_of(NULL);
    bool added = !of;
    if (added)
        of = calloc(1, sizeof(*of));
    if (of) {
        of->poll_cq = context->ops.poll_cq;
        of->req_notify_cq = context->ops.req_notify_cq;
        of->owner = getpid();
        atomic_store(&of->reads_events, false);
        name_device(of, context->device);
        atomic_store(&of->context, context);
        if (added) {
            of->next = atomic_load(&contexts);
            atomic_store(&contexts, of);
        }
        context->ops.poll_cq = poll_cq;
        context->ops.req_notify_cq = req_notify_cq;
    }
    pthread_mutex_unlock(&records);
}

EXPORTED struct ibv_context *ibv_open_device(struct ibv_device *device) {
    if (!real_ibv_open_device())
        return without("ibv_open_device");
    struct ibv_context *context = real_ibv_open_device()(device);
    if (context && words_wanted())
        watch_context(context);
    return context;
}

EXPORTED int ibv_close_device(struct ibv_context *context) {
    struct watched_context *of = context_of(context);
    if (of) {
        int error = errno;
        if (ours(of)) {
            tell_queues(of);
            tell_events(of, context);
        }
        context->ops.poll_cq = of->poll_cq;
        context->ops.req_notify_cq = of->req_notify_cq;
        atomic_store(&of->context, NULL);
        errno = error;
    }
    return real_ibv_close_device() ? real_ibv_close_device()(context) : ENOSYS;
}

static void watch_queue(struct watched_context *of, struct ibv_cq *cq) {
    _Atomic(struct watched_cq *) *bucket = bucket_of(cq);
    pthread_mutex_lock(&records);
    struct watched_cq *queue = atomic_load(bucket);
    while (queue && atomic_load(&queue->cq))
        queue = queue->next;
    bool added = !queue;
    if (added && (queue = calloc(1, sizeof(*queue))))
        pthread_mutex_init(&queue->lock, NULL);
    if (queue) {
        queue->of = of;
        queue->first = queue->count = 0;
        make_room(queue, BATCH);
        queue->kept_at_arm = queue->told = false;
        queue->qpn = 0;
        queue->vain = queue->arms = queue->slept_busy = 0;
        atomic_store(&queue->slept, false);
        atomic_store(&queue->cq, cq);
        if (added) {
            queue->next = atomic_load(bucket);
            atomic_store(bucket, queue);
        }
    }
    pthread_mutex_unlock(&records);
}

EXPORTED struct ibv_cq *ibv_create_cq(struct ibv_context *context, int cqe, void *cq_context,
                                      struct ibv_comp_channel *channel, int comp_vector) {
    if (!real_ibv_create_cq())
        return without("ibv_create_cq");
    struct ibv_cq *cq = real_ibv_create_cq()(context, cqe, cq_context, channel, comp_vector);
    struct watched_context *of = cq ? context_of(context) : NULL;
    if (of)
        watch_queue(of, cq);
    return cq;
}

EXPORTED int ibv_destroy_cq(struct ibv_cq *cq) {
    struct watched_cq *queue = queue_of(cq);
    if (!real_ibv_destroy_cq())
        return ENOSYS;
    if (!queue || !ours(queue->of))
        return real_ibv_destroy_cq()(cq);
    /* Its memory is gone afterwards. */
    struct ibv_cq before = *cq;
    pthread_mutex_lock(&queue->lock);
    look(queue, cq, cq->cqe);
    pthread_mutex_unlock(&queue->lock);
    int result = real_ibv_destroy_cq()(cq);
    if (result == 0) {
        pthread_mutex_lock(&queue->lock);
        tell_queue(queue, &before);
        free(queue->kept);
        queue->kept = NULL;
        queue->first = queue->count = queue->room = 0;
        atomic_store(&queue->cq, NULL);
        pthread_mutex_unlock(&queue->lock);
    }
    return result;
}

EXPORTED struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr) {
    if (!real_ibv_create_qp())
        return without("ibv_create_qp");
    struct ibv_qp *qp = real_ibv_create_qp()(pd, attr);
    struct ibv_cq *both[] = {qp ? qp->send_cq : NULL, qp ? qp->recv_cq : NULL};
    for (int i = 0; i < 2; i++) {
        struct watched_cq *queue = both[i] ? queue_of(both[i]) : NULL;
        if (queue && queue->qpn == 0)
            queue->qpn = qp->qp_num;
    }
    return qp;
}

/* The completions of a queue pair that is gone go with it, as those go that the adapter has. */
static void drop(struct watched_cq *queue, uint32_t qpn) {
    struct ibv_wc *wc = queue->kept + queue->first;
    unsigned int left = 0;
    for (unsigned int i = 0; i < queue->count; i++) {
        if (wc[i].qp_num != qpn)
            wc[left++] = wc[i];
    }
    queue->count = left;
    queue->kept_at_arm = queue->kept_at_arm && left;
}

EXPORTED int ibv_destroy_qp(struct ibv_qp *qp) {
    if (!real_ibv_destroy_qp())
        return ENOSYS;
    struct watched_context *of = context_of(qp->context);
    if (!ours(of))
        return real_ibv_destroy_qp()(qp);
    struct ibv_context *context = qp->context;
    struct ibv_cq *both[] = {qp->send_cq, qp->recv_cq == qp->send_cq ? NULL : qp->recv_cq};
    struct watched_cq *queue[2];
    uint32_t qpn = qp->qp_num;
    for (int i = 0; i < 2; i++) {
        queue[i] = both[i] ? queue_of(both[i]) : NULL;
        if (!queue[i])
            continue;
        pthread_mutex_lock(&queue[i]->lock);
        look(queue[i], both[i], both[i]->cqe);
        pthread_mutex_unlock(&queue[i]->lock);
    }
    bool events = readable(context->async_fd);
    int result = real_ibv_destroy_qp()(qp);
    if (result)
        return result;
    for (int i = 0; i < 2; i++) {
        if (!queue[i])
            continue;
        pthread_mutex_lock(&queue[i]->lock);
        tell_errors(queue[i], both[i], qpn);
        drop(queue[i], qpn);
        pthread_mutex_unlock(&queue[i]->lock);
    }
    /* The kernel throws the events of an object away with it: those that were there were this one's. */
    if (events && !atomic_load(&of->reads_events) && !knows_failure(qpn) && !readable(context->async_fd)) {
        struct words words = {.id = "event-unread", .pci = of->pci, .qpn = qpn, .count = 1, .what = -1};
        words.first = words.last = words_now();
        words_say(&words);
    }
    if (knows_failure(qpn)) /* another may get the number */
        atomic_store_explicit(&known_failed[qpn % BUCKETS], 0, memory_order_relaxed);
    return 0;
}

/* The program goes to sleep; by the rules nothing wakes it for what was there when it armed its queues. */
static void asleep(const struct ibv_comp_channel *channel) {
    int flags = fcntl(channel->fd, F_GETFL);
    if (flags < 0 || (flags & O_NONBLOCK))
        return;
    for (unsigned int i = 0; i < BUCKETS; i++) {
        for (struct watched_cq *queue = atomic_load(&queues[i]); queue; queue = queue->next) {
            const struct ibv_cq *cq = atomic_load(&queue->cq);
            if (!cq || cq->channel != channel)
                continue;
            pthread_mutex_lock(&queue->lock);
            if (queue->count && queue->kept_at_arm) {
                queue->slept_busy_last = words_now();
                if (queue->slept_busy++ == 0)
                    queue->slept_busy_first = queue->slept_busy_last;
            }
            pthread_mutex_unlock(&queue->lock);
        }
    }
}

EXPORTED int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **cq_context) {
    if (!real_ibv_get_cq_event()) {
        errno = ENOSYS;
        return -1;
    }
    if (context_of(channel->context))
        asleep(channel);
    int result = real_ibv_get_cq_event()(channel, cq, cq_context);
    struct watched_cq *queue = result ? NULL : queue_of(*cq);
    if (queue)
        atomic_store(&queue->slept, true);
    return result;
}

EXPORTED int ibv_get_async_event(struct ibv_context *context, struct ibv_async_event *event) {
    struct watched_context *of = context_of(context);
    if (of)
        atomic_store(&of->reads_events, true);
    if (real_ibv_get_async_event())
        return real_ibv_get_async_event()(context, event);
    errno = ENOSYS;
    return -1;
}

/* Programs that fork often end so; what libibverbs' own handlers would do is left undone, as it would be. */
EXPORTED __attribute__((noreturn)) void _exit(int status) {
    last_words();
    for (;;)
        syscall(SYS_exit_group, status);
}

EXPORTED __attribute__((noreturn)) void _Exit(int status) { _exit(status); }
