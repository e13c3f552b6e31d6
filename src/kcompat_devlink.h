/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What differs between kernels in devlink.
 */
#ifndef ERDMA_KCOMPAT_DEVLINK_H
#define ERDMA_KCOMPAT_DEVLINK_H

#include <net/devlink.h>

#include "kcompat.h"

/* Not registered yet, or NULL.  May sleep. */
static inline struct devlink *erdma_devlink_alloc(const struct devlink_ops *ops, size_t priv_bytes,
						  struct device *dev)
{
#ifdef ERDMA_HAVE_DEVLINK_ALLOC_DEV
	return devlink_alloc(ops, priv_bytes, dev);
#else
	return devlink_alloc(ops, priv_bytes);
#endif
}

/* Shows it to user space.  May sleep.  0 or -errno. */
static inline int erdma_devlink_register(struct devlink *devlink, struct device *dev)
{
#ifdef ERDMA_HAVE_DEVLINK_ALLOC_DEV
	devlink_register(devlink);
	return 0;
#else
	return devlink_register(devlink, dev);
#endif
}

/* A reporter that recovers as often as it is told, or an ERR_PTR().  May sleep. */
static inline struct devlink_health_reporter *
erdma_reporter_create(struct devlink *devlink, const struct devlink_health_reporter_ops *ops,
		      void *priv)
{
#ifdef ERDMA_HAVE_REPORTER_PERIODS
	return devlink_health_reporter_create(devlink, ops, priv);
#else
	return devlink_health_reporter_create(devlink, ops, 0, priv);
#endif
}

/* What a call that adds to a message returns; newer kernels keep the error in the message. */
#ifdef ERDMA_HAVE_FMSG_VOID
#define erdma_fmsg(call) ({ (call); 0; })
#else
#define erdma_fmsg(call) (call)
#endif

#endif
