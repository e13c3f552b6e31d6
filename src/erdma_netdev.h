/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: the paired network interface.
 */
#ifndef ERDMA_NETDEV_H
#define ERDMA_NETDEV_H

#include "erdma_adapter.h"

/* Is the NIC with the adapter's MAC there?  May sleep (rtnl). */
bool erdma_nic_is_there(struct erdma_adapter *ad);
/* Pairs, and watches from then on.  -EPROBE_DEFER without a NIC.  May sleep (rtnl). */
int erdma_netdev_attach(struct erdma_adapter *ad);
/* No port event is under way when it returns.  May sleep (rtnl). */
void erdma_netdev_detach(struct erdma_adapter *ad);
/* Has port state and MTU checked again, from a workqueue.  Any context. */
void erdma_port_changed(struct erdma_adapter *ad);

#endif
