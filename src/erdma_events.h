/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: interrupt handlers, and events to consumers and to the connection
 * manager.
 */
#ifndef ERDMA_EVENTS_H
#define ERDMA_EVENTS_H

#include <linux/irqreturn.h>

struct erdma_adapter;

/* For struct erdma_dev_ops. */
irqreturn_t erdma_common_interrupt(int irq, void *data);
irqreturn_t erdma_ceq_interrupt(int irq, void *data);

/**
 * erdma_events_died() - Report a broken device to all its consumers.
 * @ad: the adapter
 *
 * The device and every QP report fatal events, and every CQ's consumer is made to poll.  Process
 * context.
 */
void erdma_events_died(struct erdma_adapter *ad);

#endif
