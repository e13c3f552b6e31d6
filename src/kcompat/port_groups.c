// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The core takes groups of sysfs attributes for the device and for each port with the operations.
 */
#include <rdma/ib_sysfs.h>
#include <rdma/ib_verbs.h>

bool probe(const struct ib_device_ops *ops, struct ib_port_attribute *attr,
	   ssize_t (*show)(struct ib_device *ib, u32 port, struct ib_port_attribute *attr,
			   char *buf));
bool probe(const struct ib_device_ops *ops, struct ib_port_attribute *attr,
	   ssize_t (*show)(struct ib_device *ib, u32 port, struct ib_port_attribute *attr,
			   char *buf))
{
	const struct attribute_group **groups = ops->port_groups;

	attr->show = show;
	return ops->device_group == groups[0];
}
