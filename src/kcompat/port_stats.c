// SPDX-License-Identifier: GPL-2.0-or-later
/* Counters of ports and of the device are allocated apart. */
#include <rdma/ib_verbs.h>

struct rdma_hw_stats *probe(const struct ib_device_ops *ops, struct ib_device *ib);
struct rdma_hw_stats *probe(const struct ib_device_ops *ops, struct ib_device *ib)
{
	return ops->alloc_hw_port_stats(ib, 1);
}
