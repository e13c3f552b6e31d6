// SPDX-License-Identifier: GPL-2.0-or-later
/* ib_umem keeps its pages in sgt_append, which was sg_head. */
#include <rdma/ib_umem.h>

dma_addr_t probe(struct ib_umem *umem);
dma_addr_t probe(struct ib_umem *umem)
{
	return sg_dma_address(umem->sgt_append.sgt.sgl);
}
