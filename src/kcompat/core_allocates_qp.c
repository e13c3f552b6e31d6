// SPDX-License-Identifier: GPL-2.0-or-later
/* The core allocates QPs, so that create_qp() fills one instead of returning one. */
#include <rdma/ib_verbs.h>

int probe(const struct ib_device_ops *ops, struct ib_qp *qp, struct ib_qp_init_attr *init);
int probe(const struct ib_device_ops *ops, struct ib_qp *qp, struct ib_qp_init_attr *init)
{
	return ops->size_ib_qp && ops->create_qp(qp, init, NULL);
}
