// SPDX-License-Identifier: GPL-2.0-or-later
/* Messages of devlink's health reporters keep their error themselves. */
#include <net/devlink.h>

void (*probe(void))(struct devlink_fmsg *fmsg);
void (*probe(void))(struct devlink_fmsg *fmsg)
{
	return devlink_fmsg_obj_nest_start;
}
