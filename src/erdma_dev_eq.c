// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: memory of event queues.
 */
#include <linux/dma-mapping.h>

#include "erdma_dev_eq.h"

int erdma_eq_alloc(struct erdma_dev *dev, struct erdma_eq *eq, u32 depth, u32 number, u32 db_offset)
{
	int err;

	eq->ring = dma_alloc_coherent(&dev->pdev->dev, (size_t)depth * ERDMA_EQE_BYTES,
				      &eq->ring_dma, GFP_KERNEL);
	if (!eq->ring)
		return -ENOMEM;
	err = erdma_dbrec_alloc(dev, &eq->rec);
	if (err) {
		dma_free_coherent(&dev->pdev->dev, (size_t)depth * ERDMA_EQE_BYTES, eq->ring,
				  eq->ring_dma);
		eq->ring = NULL;
		return err;
	}
	eq->dev = dev;
	eq->depth = depth;
	eq->number = number;
	eq->ci = 0;
	eq->db = dev->bar + db_offset;
	return 0;
}

void erdma_eq_free(struct erdma_dev *dev, struct erdma_eq *eq)
{
	erdma_dbrec_free(dev, &eq->rec);
	dma_free_coherent(&dev->pdev->dev, (size_t)eq->depth * ERDMA_EQE_BYTES, eq->ring,
			  eq->ring_dma);
	eq->ring = NULL;
}
