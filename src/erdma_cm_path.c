// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: interfaces over the paired one may go, or send by another, while
 * connections use them.  The kernel's TCP would notice when nothing is acknowledged any more, but
 * the device acknowledges for the connection: each endpoint is asked to look.
 */
#include <linux/netdevice.h>

#include "erdma_cm_path.h"

static void erdma_path_work(struct work_struct *work)
{
	struct erdma_cm *cm = container_of(work, struct erdma_cm, path_work);
	unsigned long handle;
	struct erdma_ep *ep;

	xa_lock(&cm->eps);
	xa_for_each(&cm->eps, handle, ep)
		if (READ_ONCE(ep->state) == ERDMA_EP_RDMA)
			erdma_ep_post(ep, ERDMA_EP_EV_PATH);
	xa_unlock(&cm->eps);
}

/* Under the RTNL: only queue. */
static int erdma_path_event(struct notifier_block *nb, unsigned long event, void *info)
{
	struct erdma_cm *cm = container_of(nb, struct erdma_cm, path_nb);

	switch (event) {
	case NETDEV_UNREGISTER:
	case NETDEV_CHANGEUPPER:
	case NETDEV_BONDING_FAILOVER:
		queue_work(cm->wq, &cm->path_work);
	}
	return NOTIFY_DONE;
}

int erdma_path_setup(struct erdma_cm *cm)
{
	INIT_WORK(&cm->path_work, erdma_path_work);
	cm->path_nb.notifier_call = erdma_path_event;
	return register_netdevice_notifier(&cm->path_nb);
}

void erdma_path_shutdown(struct erdma_cm *cm)
{
	/* Replays the end of every interface. */
	unregister_netdevice_notifier(&cm->path_nb);
	cancel_work_sync(&cm->path_work);
}
