// SPDX-License-Identifier: GPL-2.0-or-later
/* devlink_alloc() takes the device, which devlink_register() took and could fail with. */
#include <net/devlink.h>

struct devlink *probe(const struct devlink_ops *ops, struct device *dev);
struct devlink *probe(const struct devlink_ops *ops, struct device *dev)
{
	struct devlink *devlink = devlink_alloc(ops, 0, dev);

	devlink_register(devlink);
	return devlink;
}
