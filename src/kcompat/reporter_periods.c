// SPDX-License-Identifier: GPL-2.0-or-later
/* A health reporter has its default periods in its operations, no longer in the call. */
#include <net/devlink.h>

void *probe(struct devlink *devlink, const struct devlink_health_reporter_ops *ops);
void *probe(struct devlink *devlink, const struct devlink_health_reporter_ops *ops)
{
	return devlink_health_reporter_create(devlink, ops, NULL);
}
