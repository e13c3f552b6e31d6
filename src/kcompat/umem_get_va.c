// SPDX-License-Identifier: GPL-2.0-or-later
/* ib_umem_get_va() is what ib_umem_get() was. */
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>

struct ib_umem *probe(struct ib_device *ib, unsigned long va);
struct ib_umem *probe(struct ib_device *ib, unsigned long va)
{
	return ib_umem_get_va(ib, va, PAGE_SIZE, IB_ACCESS_LOCAL_WRITE);
}
