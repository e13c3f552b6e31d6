/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: adapters that are let go and probed again.
 */
#ifndef ERDMA_REBIND_H
#define ERDMA_REBIND_H

#include "erdma_adapter.h"

/**
 * erdma_rebind_init() - Before the first adapter.
 * @driver: of the adapters
 *
 * May sleep.  Return: 0 or -ENOMEM.
 */
int erdma_rebind_init(struct device_driver *driver);
/* After the last adapter.  May sleep. */
void erdma_rebind_exit(void);
/*
 * From here on adapters are let go before the machine sleeps; while the driver is registered, as
 * it is asked for them.  0 or -errno.  May sleep.
 */
int erdma_rebind_watch_sleep(void);
/* Those that are let go at this time stay so.  May sleep. */
void erdma_rebind_ignore_sleep(void);

/*
 * At probe, as soon as the registers can be read: keeps what a reset takes from the function.  0 or
 * -ENOMEM.
 */
int erdma_rebind_remember(struct erdma_adapter *ad);
/* At removal. */
void erdma_rebind_forget(struct erdma_adapter *ad);

/**
 * erdma_rebind() - Let the adapter go, and probe it anew at once.
 * @ad: the adapter
 *
 * From a workqueue: removal takes the RTNL and waits.  Only the first call counts, and none while
 * the adapter is being removed.  Process context.
 */
void erdma_rebind(struct erdma_adapter *ad);

/**
 * erdma_recover() - As erdma_rebind(), for an adapter that is broken, and after a reset of it.
 * @ad: the adapter
 *
 * After some delay, so that its users can look at what happened; with more attempts if this one
 * fails, up to the module parameter "recoveries" within an hour.
 */
void erdma_recover(struct erdma_adapter *ad);

/**
 * erdma_recover_now() - As erdma_recover(), since somebody asks for it: at once, once, uncounted.
 * @ad: the adapter
 *
 * Return: false if it is under way, or the adapter is being removed.
 */
bool erdma_recover_now(struct erdma_adapter *ad);

#endif
