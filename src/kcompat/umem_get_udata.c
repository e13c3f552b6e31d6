// SPDX-License-Identifier: GPL-2.0-or-later
/* ib_umem_get() takes the data of the user's call, from which it takes the context. */
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>

struct ib_umem *probe(struct ib_udata *udata, unsigned long va);
struct ib_umem *probe(struct ib_udata *udata, unsigned long va)
{
	return ib_umem_get(udata, va, PAGE_SIZE, IB_ACCESS_LOCAL_WRITE);
}
