/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: the health reporter "device" of devlink.  Kernels without devlink
 * have none.
 */
#ifndef ERDMA_HEALTH_H
#define ERDMA_HEALTH_H

#include "erdma_adapter.h"

#if IS_ENABLED(CONFIG_NET_DEVLINK)

/**
 * erdma_health_add() - Shows the adapter to devlink.
 * @ad: the adapter, registered with ib_core
 *
 * A failure is logged, and the adapter goes without.  May sleep.
 */
void erdma_health_add(struct erdma_adapter *ad);
/* When nobody reports any more, before the rings are freed; waits for calls.  May sleep. */
void erdma_health_remove(struct erdma_adapter *ad);

/**
 * erdma_health_failed() - The device is broken: keep its rings, bring it back if that is wanted.
 * @ad: the adapter
 *
 * From the work that the device's death queues.
 *
 * Return: is there a reporter?  If not, nothing was done.
 */
bool erdma_health_failed(struct erdma_adapter *ad);

#else

static inline void erdma_health_add(struct erdma_adapter *ad)
{
}

static inline void erdma_health_remove(struct erdma_adapter *ad)
{
}

static inline bool erdma_health_failed(struct erdma_adapter *ad)
{
	return false;
}

#endif

#endif
