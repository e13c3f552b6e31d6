// SPDX-License-Identifier: GPL-2.0-or-later
/* Completion queues of processes have an operation of their own. */
#include <rdma/ib_verbs.h>

int probe(const struct ib_device_ops *ops, struct ib_cq *cq, const struct ib_cq_init_attr *attr,
	  struct uverbs_attr_bundle *attrs);
int probe(const struct ib_device_ops *ops, struct ib_cq *cq, const struct ib_cq_init_attr *attr,
	  struct uverbs_attr_bundle *attrs)
{
	return ops->create_user_cq(cq, attr, attrs);
}
