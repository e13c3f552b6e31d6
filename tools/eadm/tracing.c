/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tracing.h"

#include <errno.h>
#include <stdlib.h>

#include <traceevent/event-parse.h>
#include <tracefs/tracefs.h>

struct tracing {
    struct tep_handle *events;
    struct tracefs_instance *instance;
};

struct tracing *tracing_open(const char *system, const char *name, enum tracing_trouble *trouble) {
    const char *const systems[] = {system, NULL};
    struct tracing *tracing = calloc(1, sizeof(*tracing));

    *trouble = TRACING_NO_ACCESS;
    if (!tracing)
        return NULL;
    if (!tracefs_tracing_dir() || !tracefs_file_exists(NULL, "trace_clock"))
        goto out;

    *trouble = TRACING_NO_EVENTS;
    tracing->events = tracefs_local_events_system(NULL, systems);
    if (!tracing->events || !tep_get_events_count(tracing->events))
        goto out;

    *trouble = TRACING_NO_INSTANCE;
    tracing->instance = tracefs_instance_create(name);
    if (!tracing->instance)
        goto out;

    *trouble = TRACING_NO_SWITCH;
    if (tracefs_instance_file_write(tracing->instance, "trace_clock", "mono") < 0 ||
        tracefs_event_enable(tracing->instance, system, NULL) < 0)
        goto out;

    *trouble = TRACING_FINE;
    return tracing;
out:
    tracing_close(tracing);
    return NULL;
}

void tracing_read(struct tracing *tracing, int (*each)(struct tep_event *, struct tep_record *, int cpu, void *context),
                  void *context) {
    tracefs_iterate_raw_events(tracing->events, tracing->instance, NULL, 0, each, context);
}

void tracing_close(struct tracing *tracing) {
    int err = errno;

    if (tracing->instance) {
        tracefs_event_disable(tracing->instance, NULL, NULL);
        tracefs_instance_destroy(tracing->instance);
        tracefs_instance_free(tracing->instance);
    }
    tep_free(tracing->events);
    free(tracing);
    errno = err;
}
