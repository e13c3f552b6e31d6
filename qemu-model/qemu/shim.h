/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the shim's files share. */
#ifndef ERDMA_SHIM_H
#define ERDMA_SHIM_H

#include "qemu_compat.h"

/* Queues the device type; QEMU's type initialisation time. */
void erdma_register_types(void);

/* Generated from trace-events (trace-erdma.c); QEMU's trace initialisation time. */
void erdma_register_trace_events(void);

/*
 * The NIC (ENI) that the adapter shares its address with.  It is found through
 * the netdev: the adapter never keeps a pointer to it, so the NIC may be
 * unplugged at any time.
 */
struct erdma_eni {
    MACAddr mac;
};

/*
 * Finds the NIC on netdev id and reads its address.  false: *errp says what is
 * wrong and what to write instead.
 */
bool erdma_eni_find(const char *id, struct erdma_eni *eni, Error **errp);

#endif
