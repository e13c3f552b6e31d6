// SPDX-License-Identifier: GPL-2.0-or-later
/* Port numbers of RDMA devices are u32, no longer u8. */
#include <rdma/ib_verbs.h>

int probe(struct ib_device *ib, u32 port, struct ib_port_attr *attr);

const struct ib_device_ops probe_ops = {
	.query_port = probe,
};
