/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: debug messages by category.  Tracepoints are in erdma_trace.h.
 */
#ifndef ERDMA_LOG_H
#define ERDMA_LOG_H

#include <linux/bits.h>
#include <linux/types.h>

#include <rdma/ib_verbs.h>

/* Categories of messages; module parameter "dprint_mask". */
#define ERDMA_DBG_CMD	BIT(0)	/* commands and their answers */
#define ERDMA_DBG_CM	BIT(1)	/* connection setup and end */
#define ERDMA_DBG_EVENT	BIT(2)	/* asynchronous events */
#define ERDMA_DBG_QP	BIT(3)	/* QP states */
#define ERDMA_DBG_ALL	GENMASK(3, 0)

extern uint erdma_dprint_mask;

/* A rate-limited message, if its category is on.  `ibdev` names the device.  Any context. */
#define erdma_dbg(ibdev, category, format, ...) \
	do { \
		if (unlikely(READ_ONCE(erdma_dprint_mask) & (category))) \
			ibdev_info_ratelimited(ibdev, format, ##__VA_ARGS__); \
	} while (0)

#endif
