/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: what the device tells about itself (adapter.md 4.2, 4.14 to 4.20).
 * All may sleep.
 */
#ifndef ERDMA_DEV_QUERY_H
#define ERDMA_DEV_QUERY_H

#include "erdma_dev.h"

/**
 * erdma_query_caps() - Fill dev->caps from QUERY_DEVICE and QUERY_FW_INFO.
 * @dev: the device
 *
 * What the driver cannot live with is reduced, or fails.
 *
 * Return: 0, -EIO for unusable limits, or as erdma_cmd_exec().
 */
int erdma_query_caps(struct erdma_dev *dev);

/* Tells a device with doorbell pages (4.21) what a page is (4.20).  0 or as erdma_cmd_exec(). */
int erdma_conf_device(struct erdma_dev *dev);

/* Memory for erdma_query_block(): from before registration until after the reset.  0 or -ENOMEM. */
int erdma_block_setup(struct erdma_dev *dev);
void erdma_block_teardown(struct erdma_dev *dev);

/**
 * erdma_query_block() - Read a block that the device writes to memory.
 * @dev: the device
 * @sub: sub-module
 * @opcode: GET_STATS, QUERY_QPC, QUERY_CQC, QUERY_EQC, GET_EXT_ATTR, QUERY_CHECK or QUERY_FLOW
 * @index: of the object asked for
 * @out: gets the block, header included; what the device did not write is zero
 * @bytes: of @out, at most ERDMA_STATS_BYTES
 *
 * One at a time per device.  Return: 0, -EINTR, -EIO without the magic, or as erdma_cmd_exec().
 */
int erdma_query_block(struct erdma_dev *dev, unsigned int sub, unsigned int opcode, u32 index,
		      void *out, size_t bytes);

#endif
