// SPDX-License-Identifier: GPL-2.0-or-later
/* create_cq() takes the bundle of attributes around what used to be its udata. */
#include <rdma/ib_verbs.h>

int probe(const struct ib_device_ops *ops, struct ib_cq *cq, const struct ib_cq_init_attr *attr,
	  struct uverbs_attr_bundle *attrs);
int probe(const struct ib_device_ops *ops, struct ib_cq *cq, const struct ib_cq_init_attr *attr,
	  struct uverbs_attr_bundle *attrs)
{
	return ops->create_cq(cq, attr, attrs);
}
