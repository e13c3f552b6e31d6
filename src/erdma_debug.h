/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: debug messages by category, debugfs, and the diagnostics device's side towards the
 * rest of the driver.  Tracepoints are in erdma_trace.h.
 */
#ifndef ERDMA_DEBUG_H
#define ERDMA_DEBUG_H

#include <linux/bits.h>
#include <linux/types.h>

struct erdma_adapter;

/* Categories of messages; module parameter "dprint_mask". */
#define ERDMA_DBG_CMD	BIT(0)	/* commands and their answers */
#define ERDMA_DBG_CM	BIT(1)	/* connection setup and end */
#define ERDMA_DBG_EVENT	BIT(2)	/* asynchronous events */
#define ERDMA_DBG_QP	BIT(3)	/* QP states */
#define ERDMA_DBG_ALL	GENMASK(3, 0)

extern uint erdma_dprint_mask;

/* A message of a category, if that is switched on; rate-limited.  Any context. */
#define erdma_dbg(ad, category, format, ...) \
	do { \
		if (unlikely(READ_ONCE(erdma_dprint_mask) & (category))) \
			ibdev_info_ratelimited(&(ad)->ib, format, ##__VA_ARGS__); \
	} while (0)

/* ---- erdma_debug.c ---- */

void erdma_debugfs_init(void);		/* module */
void erdma_debugfs_exit(void);
void erdma_debugfs_add(struct erdma_adapter *ad);
void erdma_debugfs_remove(struct erdma_adapter *ad);

/* ---- erdma_ioctl.c ---- */

int erdma_diag_init(void);		/* module */
void erdma_diag_exit(void);
void erdma_diag_add(struct erdma_adapter *ad);		/* after registration with ib_core */
void erdma_diag_remove(struct erdma_adapter *ad);	/* before unregistration, which waits for requests under way */

#endif
