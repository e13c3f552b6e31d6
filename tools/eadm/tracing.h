/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A trace instance of one's own, by way of libtracefs; in C because that library's header (1.6) is no C++.
 */
#ifndef EADM_TRACING_H
#define EADM_TRACING_H

#ifdef __cplusplus
extern "C" {
#endif

struct tep_event;
struct tep_record;
struct tracing;

enum tracing_trouble {
    TRACING_FINE,
    TRACING_NO_ACCESS,   /* tracefs is not there or may not be read */
    TRACING_NO_EVENTS,   /* the system has none: its module is not loaded */
    TRACING_NO_INSTANCE, /* none may be made; errno says why */
    TRACING_NO_SWITCH,   /* the events cannot be switched on */
};

/*
 * Switches on all events of `system` in a new instance called `name`, whose clock is CLOCK_MONOTONIC.  NULL: `trouble`
 * says why not.  The caller ends it with tracing_close(), which removes the instance.
 */
struct tracing *tracing_open(const char *system, const char *name, enum tracing_trouble *trouble);
/*
 * Calls `each` for what happened since the last call, in order; a result other than 0 ends that.  Does not wait.
 */
void tracing_read(struct tracing *tracing, int (*each)(struct tep_event *, struct tep_record *, int cpu, void *context),
                  void *context);
void tracing_close(struct tracing *tracing);

#ifdef __cplusplus
}
#endif

#endif
