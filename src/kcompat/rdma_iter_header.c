// SPDX-License-Identifier: GPL-2.0-or-later
/* The block iterator has a header of its own; it was in those of verbs and umem. */
#include <rdma/iter.h>

int probe(struct ib_block_iter *iter);
int probe(struct ib_block_iter *iter)
{
	return __rdma_block_iter_next(iter);
}
