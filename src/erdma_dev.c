// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: reset and doorbell records.
 */
#include <linux/dmapool.h>

#include "erdma_dev.h"

void erdma_dev_reset(struct erdma_dev *dev)
{
	erdma_reg_write(dev, ERDMA_R_CTRL, ERDMA_CTRL_RESET);
	/* Makes sure that the write has arrived. */
	erdma_reg_read(dev, ERDMA_R_STATUS);
}

int erdma_dbrec_alloc(struct erdma_dev *dev, struct erdma_dbrec *rec)
{
	rec->cpu = dma_pool_zalloc(dev->dbrec_pool, GFP_KERNEL, &rec->dma);
	return rec->cpu ? 0 : -ENOMEM;
}

void erdma_dbrec_free(struct erdma_dev *dev, struct erdma_dbrec *rec)
{
	dma_pool_free(dev->dbrec_pool, rec->cpu, rec->dma);
	rec->cpu = NULL;
}
