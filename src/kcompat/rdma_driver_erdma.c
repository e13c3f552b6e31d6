// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Headers that know the driver's number; it is fixed by the user-space ABI, whether or not they do.
 */
#include <rdma/ib_verbs.h>

int probe(void);
int probe(void)
{
	return RDMA_DRIVER_ERDMA;
}
