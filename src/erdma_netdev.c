// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: the paired network interface (adapter.md 2.3 and 2.6).
 *
 * The interface with the adapter's MAC as its permanent address, in whatever network namespace, is
 * the one whose connections the adapter carries.  It may move while the adapter lives.  When it
 * goes for good the driver lets the PCI function go, too, and probes it anew when the interface is
 * back: ib_core keeps a hold on the interface for as long as the RDMA device is registered.
 *
 * ad->netdev changes under rtnl, in the notifier only.  No reference of our own is needed: the
 * unregister event clears the pointer, and the network core waits for RCU readers after it.
 */
#include <linux/if_arp.h>
#include <linux/rtnetlink.h>

#include <net/addrconf.h>
#include <net/net_namespace.h>

#include "erdma_dev_cmdq.h"
#include "erdma_netdev.h"
#include "erdma_rebind.h"

/* Interfaces on top of others may have the same permanent address, but no parent device. */
static bool erdma_is_our_nic(const struct erdma_adapter *ad, const struct net_device *nic)
{
	return nic->dev.parent && nic->type == ARPHRD_ETHER && nic->addr_len == ETH_ALEN &&
	       ether_addr_equal(nic->perm_addr, ad->dev.mac);
}

static void erdma_pair(struct erdma_adapter *ad, struct net_device *nic)
{
	int err = ib_device_set_netdev(&ad->ib, nic, 1);

	if (err) {
		netdev_err(nic, "could not become the network interface of %s: error %d\n",
			   pci_name(ad->dev.pdev), err);
		return;
	}
	WRITE_ONCE(ad->mtu, nic->mtu);
	strscpy(ad->ib.iw_ifname, nic->name, sizeof(ad->ib.iw_ifname));
	WRITE_ONCE(ad->netdev, nic);
}

static void erdma_unpair(struct erdma_adapter *ad)
{
	WRITE_ONCE(ad->netdev, NULL);
	ib_device_set_netdev(&ad->ib, NULL, 1);
}

/* Under rtnl. */
static int erdma_netdev_event(struct notifier_block *nb, unsigned long event, void *info)
{
	struct erdma_adapter *ad = container_of(nb, struct erdma_adapter, netdev_nb);
	struct net_device *nic = netdev_notifier_info_to_dev(info);

	if (event == NETDEV_REGISTER) {
		if (ad->netdev || !erdma_is_our_nic(ad, nic))
			return NOTIFY_DONE;
		erdma_pair(ad, nic);
	} else if (nic != ad->netdev) {
		return NOTIFY_DONE;
	}

	switch (event) {
	case NETDEV_UNREGISTER:
		erdma_unpair(ad);
		/* Told, too, when it moves to another namespace or the notifier is removed. */
		if (nic->reg_state == NETREG_UNREGISTERING)
			erdma_rebind(ad);
		break;
	case NETDEV_CHANGEMTU:
		WRITE_ONCE(ad->mtu, nic->mtu);
		break;
	case NETDEV_CHANGENAME:
		strscpy(ad->ib.iw_ifname, nic->name, sizeof(ad->ib.iw_ifname));
		break;
	case NETDEV_REGISTER:
	case NETDEV_UP:
	case NETDEV_DOWN:
	case NETDEV_CHANGE:
	case NETDEV_CHANGEADDR:
		break;
	default:
		return NOTIFY_DONE;
	}

	erdma_port_changed(ad);
	return NOTIFY_DONE;
}

void erdma_port_changed(struct erdma_adapter *ad)
{
	if (test_bit(ERDMA_AD_REGISTERED, &ad->flags) && !test_bit(ERDMA_AD_REMOVING, &ad->flags))
		queue_work(erdma_unbound_wq, &ad->port_work);
}

/*
 * Tells the device a new MTU and consumers a new port state; sleeps as long as a command.  Reclaim
 * of memory waits for none of this.
 */
static void erdma_port_work(struct work_struct *work)
{
	struct erdma_adapter *ad = container_of(work, struct erdma_adapter, port_work);
	struct ib_event event = { .device = &ad->ib, .element.port_num = 1 };
	struct erdma_cmd_word request = { };
	const struct net_device *nic;
	bool active = false, moved = false;
	u32 mtu = READ_ONCE(ad->mtu);

	if (mtu && mtu != ad->device_mtu && !erdma_is_broken(&ad->dev)) {
		request.value = cpu_to_le32(mtu);
		/* The device may not care for it (4.13); it is asked once per value. */
		erdma_cmd_exec(&ad->dev, ERDMA_SUB_COMMON, ERDMA_CMD_CONF_MTU, &request,
			       sizeof(request), NULL, NULL);
		ad->device_mtu = mtu;
	}

	rcu_read_lock();
	nic = READ_ONCE(ad->netdev);
	if (nic) {
		active = netif_running(nic) && netif_carrier_ok(nic) && !erdma_is_broken(&ad->dev);
		moved = !ether_addr_equal(ad->gid_mac, nic->dev_addr);
		ether_addr_copy(ad->gid_mac, nic->dev_addr);
	}
	rcu_read_unlock();

	if (test_bit(ERDMA_AD_REMOVING, &ad->flags))
		return;
	/*
	 * rdma_cm looks for the GID of the interface's address in what ib_core remembers.  RoCEv2's
	 * GIDs are ib_core's own.
	 */
	if (moved && !erdma_is_roce(&ad->dev)) {
		event.event = IB_EVENT_GID_CHANGE;
		ib_dispatch_event(&event);
	}
	if (active == ad->port_active)
		return;
	ad->port_active = active;
	event.event = active ? IB_EVENT_PORT_ACTIVE : IB_EVENT_PORT_ERR;
	ib_dispatch_event(&event);
}

int erdma_netdev_attach(struct erdma_adapter *ad)
{
	struct device *dev = &ad->dev.pdev->dev;
	int err;

	INIT_WORK(&ad->port_work, erdma_port_work);
	ad->netdev_nb.notifier_call = erdma_netdev_event;
	/* Replays the events of the interfaces that exist: that is the first pairing. */
	err = register_netdevice_notifier(&ad->netdev_nb);
	if (err) {
		dev_err(dev, "network interfaces cannot be watched: error %d\n", err);
		return err;
	}

	rtnl_lock();
	if (ad->netdev) {
		addrconf_addr_eui48((u8 *)&ad->ib.node_guid, ad->netdev->dev_addr);
		ether_addr_copy(ad->gid_mac, ad->netdev->dev_addr);
	} else {
		err = -EPROBE_DEFER;
	}
	rtnl_unlock();
	if (err)
		unregister_netdevice_notifier(&ad->netdev_nb);
	return err;
}

void erdma_netdev_detach(struct erdma_adapter *ad)
{
	/* Replays "unregister", which ends the pairing. */
	unregister_netdevice_notifier(&ad->netdev_nb);
	cancel_work_sync(&ad->port_work);
}

bool erdma_nic_is_there(struct erdma_adapter *ad)
{
	const struct net_device *nic;
	const struct net *net;
	bool found = false;

	rtnl_lock();
	down_read(&net_rwsem);
	for_each_net(net)
		for_each_netdev(net, nic)
			found |= erdma_is_our_nic(ad, nic);
	up_read(&net_rwsem);
	rtnl_unlock();
	return found;
}
