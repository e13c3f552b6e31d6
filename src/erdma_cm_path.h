/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: interfaces change under connections.
 */
#ifndef ERDMA_CM_PATH_H
#define ERDMA_CM_PATH_H

#include "erdma_cm_ep.h"

/* Before the first endpoint.  0 or -errno.  May sleep (rtnl). */
int erdma_path_setup(struct erdma_cm *cm);
/* No endpoint hears of interfaces when it returns.  May sleep (rtnl). */
void erdma_path_shutdown(struct erdma_cm *cm);

#endif
