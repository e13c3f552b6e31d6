/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: the adapter as a device of ib_core.
 */
#ifndef ERDMA_IBDEV_H
#define ERDMA_IBDEV_H

#include "erdma_adapter.h"

/* What both protocols have, and what each of them adds. */
extern const struct ib_device_ops erdma_device_ops;
extern const struct ib_device_ops erdma_iwarp_ops;
extern const struct ib_device_ops erdma_roce_ops;

/* Tables of objects; before the first interrupt, whose handlers look into them. */
void erdma_objects_init(struct erdma_adapter *ad);
/* After unregistration: everything must be gone. */
void erdma_objects_cleanup(struct erdma_adapter *ad);

#endif
