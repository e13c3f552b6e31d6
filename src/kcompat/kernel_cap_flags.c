// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ib_device_attr.kernel_cap_flags takes what only kernel consumers may see out of device_cap_flags.
 */
#include <rdma/ib_verbs.h>

void probe(struct ib_device_attr *attr);
void probe(struct ib_device_attr *attr)
{
	attr->kernel_cap_flags = IBK_LOCAL_DMA_LKEY;
}
