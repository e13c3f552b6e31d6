// SPDX-License-Identifier: GPL-2.0-or-later
/* Drivers still have to list the uverbs commands that they serve. */
#include <rdma/ib_verbs.h>

void probe(struct ib_device *ib);
void probe(struct ib_device *ib)
{
	ib->uverbs_ex_cmd_mask = 0;
}
