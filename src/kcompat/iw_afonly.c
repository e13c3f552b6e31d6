// SPDX-License-Identifier: GPL-2.0-or-later
/* A listener of the iw_cm knows whether it is for its own kind of address only. */
#include <rdma/iw_cm.h>

int probe(const struct iw_cm_id *id);
int probe(const struct iw_cm_id *id)
{
	return id->afonly;
}
