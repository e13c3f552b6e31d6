/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the shim's files share. */
#ifndef ERDMA_SHIM_H
#define ERDMA_SHIM_H

#include "qemu_compat.h"

#include "capi.h"

/* Says how the running QEMU's structures differ from those that this is compiled for (freed with g_free()), or NULL. */
char *erdma_layout_difference(void);

/* Queue the types of the device and of its filter; QEMU's type initialisation time. */
void erdma_register_types(void);
void erdma_register_filter_type(void);

/* Generated from trace-events (trace-erdma.c); QEMU's trace initialisation time. */
void erdma_register_trace_events(void);

/*
 * The NIC (ENI) that the adapter shares its address with.  It is found through
 * the netdev: the adapter never keeps a pointer to it, so the NIC may be
 * unplugged at any time.
 */
struct erdma_eni {
    MACAddr mac;
    uint32_t segment_bytes; /* largest TCP payload that the backend surely carries in one frame; 0: what the MTU says */
};

/*
 * Finds the NIC on netdev id and reads its address.  false: *errp says what is
 * wrong and what to write instead.
 */
bool erdma_eni_find(const char *id, struct erdma_eni *eni, Error **errp);

/* The net filter through which the model sees and sends frames (eni_filter.c). */
typedef struct EniFilter EniFilter;

struct erdma_eni_user {
    struct erdma_dev *const *dev; /* where the model is while it exists */
    DeviceState *device;
    const char *id; /* for trace events */
};

/*
 * Puts the filter on a netdev, as child "filter" of owner, and stores it in
 * *place, which becomes NULL again when the filter goes: by erdma_eni_detach(),
 * or together with the netdev.
 */
bool erdma_eni_attach(Object *owner, const char *netdev, const struct erdma_eni_user *user, EniFilter **place,
                      Error **errp);
void erdma_eni_detach(EniFilter *filter);

/* The machine goes on: the frames that came while it was stopped are shown to the model. */
void erdma_eni_resume(EniFilter *filter);

/* A frame of the model (capi.h, send_frame).  Lost when the filter is off or the link down. */
void erdma_eni_send(EniFilter *filter, enum erdma_side side, const void *frame, size_t len,
                    const struct erdma_offload *offload);

#endif
