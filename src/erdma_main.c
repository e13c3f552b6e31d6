// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: PCI function, bring-up and removal (adapter.md chapters 1 and 2).
 */
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/iopoll.h>
#include <linux/module.h>

#include <rdma/iw_cm.h>

#include "erdma_cm.h"
#include "erdma_dev_cmdq.h"
#include "erdma_dev_irq.h"
#include "erdma_dev_query.h"
#include "erdma_diag.h"
#include "erdma_dump.h"
#include "erdma_events.h"
#include "erdma_health.h"
#include "erdma_ibdev.h"
#include "erdma_netdev.h"
#include "erdma_obj_mr.h"
#include "erdma_rebind.h"
#include "erdma_roce.h"

#define ERDMA_CC_FROM_DEVICE 255

static unsigned int erdma_cc_default = ERDMA_CC_FROM_DEVICE;
module_param_named(cc, erdma_cc_default, uint, 0444);
MODULE_PARM_DESC(cc, "congestion control of new connections: 0 NewReno, 1 Cubic, 2 HPCC by RTT, 3 HPCC by ECN, 4 HPCC by INT, 255 what the device recommends (default)");

static unsigned int erdma_max_vectors = ERDMA_MAX_VECTORS;
module_param_named(vectors, erdma_max_vectors, uint, 0444);
MODULE_PARM_DESC(vectors, "interrupt vectors per adapter at most, 2 to 32 (default 32); never more than online CPUs + 1, but at least 2");

static unsigned int erdma_max_reads = ERDMA_MAX_ORD;
module_param_named(max_reads, erdma_max_reads, uint, 0444);
MODULE_PARM_DESC(max_reads, "RDMA reads and atomics outstanding per queue pair and direction that consumers may ask for, 1 to 128 (default 128)");

static bool erdma_shared_doorbells;
module_param_named(shared_doorbells, erdma_shared_doorbells, bool, 0444);
MODULE_PARM_DESC(shared_doorbells, "on an adapter without extended doorbells, let processes without CAP_SYS_RAWIO have queues; each can then disturb those of all others and of the kernel (default no)");

/* ---- failure of the device ---- */

static void erdma_died(struct erdma_dev *dev)
{
	struct erdma_adapter *ad = erdma_of_dev(dev);

	erdma_events_died(ad);
	erdma_port_changed(ad);
	/* Who sets this flag waits for this work before the rings go; what comes later, nobody. */
	if (test_bit(ERDMA_AD_REGISTERED, &ad->flags) &&
	    !test_bit(ERDMA_AD_REMOVING, &ad->flags)) {
		erdma_dump_core(ad);
		if (erdma_health_failed(ad))
			return;
	}
	erdma_recover(ad);
}

static const struct erdma_dev_ops erdma_dev_ops = {
	.common_interrupt = erdma_common_interrupt,
	.ceq_interrupt = erdma_ceq_interrupt,
	.died = erdma_died,
};

/* ---- bring-up, each step with its undoing ---- */

static int erdma_pci_setup(struct erdma_adapter *ad)
{
	struct pci_dev *pdev = ad->dev.pdev;
	int bars, err;
	u32 status;

	err = pci_enable_device(pdev);
	if (err) {
		dev_err(&pdev->dev, "PCI function cannot be enabled: error %d\n", err);
		return err;
	}

	err = -EINVAL;
	bars = pci_select_bars(pdev, IORESOURCE_MEM);
	if (bars != (BIT(ERDMA_BAR_REGS) | BIT(ERDMA_BAR_MSIX))) {
		dev_err(&pdev->dev, "memory BARs are 0x%x, must be 0x%lx\n", bars,
			BIT(ERDMA_BAR_REGS) | BIT(ERDMA_BAR_MSIX));
		goto disable;
	}
	ad->dev.bar_phys = pci_resource_start(pdev, ERDMA_BAR_REGS);
	ad->dev.bar_len = pci_resource_len(pdev, ERDMA_BAR_REGS);
	if (ad->dev.bar_len < ERDMA_BAR_MIN_LEN) {
		dev_err(&pdev->dev, "BAR 0 has %llu bytes, at least %u are needed\n",
			(u64)ad->dev.bar_len, ERDMA_BAR_MIN_LEN);
		goto disable;
	}

	err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (err) {
		dev_err(&pdev->dev, "64-bit DMA is not possible: error %d\n", err);
		goto disable;
	}
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);

	err = pci_request_selected_regions(pdev, BIT(ERDMA_BAR_REGS), ERDMA_NAME);
	if (err) {
		dev_err(&pdev->dev, "BAR 0 is in use: error %d\n", err);
		goto disable;
	}
	ad->dev.bar = ioremap(ad->dev.bar_phys, ad->dev.bar_len);
	if (!ad->dev.bar) {
		dev_err(&pdev->dev, "BAR 0 cannot be mapped\n");
		err = -ENOMEM;
		goto release;
	}
	/*
	 * A kernel that has crashed may have left the device running on memory that is now used for
	 * something else, and bus mastering on.
	 */
	erdma_dev_reset(&ad->dev);
	status = erdma_reg_read(&ad->dev, ERDMA_R_STATUS);
	if (status != ERDMA_ALL_ONES)
		err = readl_poll_timeout(ad->dev.bar + ERDMA_R_STATUS, status,
					 !(status & ERDMA_STATUS_INIT_DONE),
					 ERDMA_POLL_INTERVAL_MS * USEC_PER_MSEC,
					 ERDMA_RESET_TIMEOUT_MS * USEC_PER_MSEC);
	if (err) {
		dev_err(&pdev->dev, "device did not stop within %u ms: status 0x%x, error %d\n",
			ERDMA_RESET_TIMEOUT_MS, status, err);
		goto unmap;
	}
	pci_set_master(pdev);
	return 0;

unmap:
	iounmap(ad->dev.bar);
release:
	pci_release_selected_regions(pdev, BIT(ERDMA_BAR_REGS));
disable:
	pci_disable_device(pdev);
	return err;
}

static void erdma_pci_teardown(struct erdma_adapter *ad)
{
	pci_clear_master(ad->dev.pdev);
	iounmap(ad->dev.bar);
	pci_release_selected_regions(ad->dev.pdev, BIT(ERDMA_BAR_REGS));
	pci_disable_device(ad->dev.pdev);
}

/* Registers that tell what this function is and whose it is. */
static int erdma_identify(struct erdma_adapter *ad)
{
	struct device *dev = &ad->dev.pdev->dev;
	u32 version = erdma_reg_read(&ad->dev, ERDMA_R_VERSION);
	u32 proto = erdma_reg_read(&ad->dev, ERDMA_R_PROTO);
	u32 high = erdma_reg_read(&ad->dev, ERDMA_R_MAC_HI);
	u32 low = erdma_reg_read(&ad->dev, ERDMA_R_MAC_LO);

	if (!version || version == ERDMA_ALL_ONES) {
		dev_err(dev, "function is not usable: its version register reads 0x%x\n", version);
		return -ENODEV;
	}
	if (proto != ERDMA_PROTO_IWARP && proto != ERDMA_PROTO_ROCE) {
		dev_err(dev, "function speaks protocol %u, this driver only %u (iWARP) and %u (RoCEv2)\n",
			proto, ERDMA_PROTO_IWARP, ERDMA_PROTO_ROCE);
		return -ENODEV;
	}
	ad->dev.protocol = proto;

	u64_to_ether_addr((u64)(high & 0xffff) << 32 | low, ad->dev.mac);
	if (!is_valid_ether_addr(ad->dev.mac)) {
		dev_err(dev, "the MAC registers name no network interface: %pM\n", ad->dev.mac);
		return -ENODEV;
	}
	ad->dev.caps.direct_wqe_groups = erdma_reg_read(&ad->dev, ERDMA_R_DWQE_GROUPS);
	return 0;
}

/* Sleeps up to 10 s. */
static int erdma_init_device(struct erdma_adapter *ad)
{
	u32 status;
	int err;

	erdma_reg_write(&ad->dev, ERDMA_R_CTRL, ERDMA_CTRL_INIT);
	err = readl_poll_timeout(ad->dev.bar + ERDMA_R_STATUS, status,
				 status & ERDMA_STATUS_INIT_DONE,
				 ERDMA_POLL_INTERVAL_MS * USEC_PER_MSEC,
				 ERDMA_INIT_TIMEOUT_MS * USEC_PER_MSEC);
	if (!err && status == ERDMA_ALL_ONES)
		err = -EIO;
	if (err)
		dev_err(&ad->dev.pdev->dev,
			"device did not initialise within %u ms: status 0x%x, error %d\n",
			ERDMA_INIT_TIMEOUT_MS, status, err);
	return err;
}

/* Queues, interrupts, INIT: when it returns 0, commands work. */
static int erdma_start(struct erdma_adapter *ad)
{
	int err;

	ad->dev.dbrec_pool = dma_pool_create("erdma-doorbell-records", &ad->dev.pdev->dev,
					     ERDMA_DBREC_BYTES, ERDMA_DBREC_BYTES, 0);
	if (!ad->dev.dbrec_pool)
		return -ENOMEM;
	err = erdma_vectors_alloc(&ad->dev, erdma_max_vectors);
	if (err)
		goto destroy_pool;
	err = erdma_aeq_setup(&ad->dev);
	if (err)
		goto free_vectors;
	err = erdma_cmdq_setup(&ad->dev);
	if (err)
		goto teardown_aeq;
	err = erdma_common_irq_request(&ad->dev);
	if (err)
		goto teardown_cmdq;
	err = erdma_init_device(ad);
	if (err)
		goto reset;
	err = erdma_ceqs_start(&ad->dev);
	if (err)
		goto reset;
	erdma_cmdq_enter_event_mode(&ad->dev);
	return 0;

reset:
	erdma_dev_reset(&ad->dev);
	erdma_common_irq_release(&ad->dev);
	erdma_ceqs_free(&ad->dev);
teardown_cmdq:
	erdma_cmdq_teardown(&ad->dev);
teardown_aeq:
	erdma_aeq_teardown(&ad->dev);
free_vectors:
	erdma_vectors_free(&ad->dev);
destroy_pool:
	dma_pool_destroy(ad->dev.dbrec_pool);
	return err;
}

/* No memory is freed before the reset: a device that did not answer may still write to it. */
static void erdma_stop(struct erdma_adapter *ad)
{
	erdma_ceqs_stop(&ad->dev);
	erdma_dev_reset(&ad->dev);
	erdma_common_irq_release(&ad->dev);
	erdma_ceqs_free(&ad->dev);
	erdma_cmdq_teardown(&ad->dev);
	erdma_aeq_teardown(&ad->dev);
	erdma_vectors_free(&ad->dev);
	dma_pool_destroy(ad->dev.dbrec_pool);
}

/* What ib_core shall take the adapter for; its protocol is known. */
static void erdma_describe(struct erdma_adapter *ad)
{
	struct ib_device *ib = &ad->ib;

	if (erdma_is_roce(&ad->dev)) {
		ib->node_type = RDMA_NODE_IB_CA;
		strscpy(ib->node_desc, "Elastic RDMA(RoCEv2) stack", sizeof(ib->node_desc));
		ib_set_device_ops(ib, &erdma_roce_ops);
	} else {
		ib->node_type = RDMA_NODE_RNIC;
		strscpy(ib->node_desc, "Elastic RDMA(iWARP) stack", sizeof(ib->node_desc));
		/* Connections use the very ports that their sockets have: nothing to map. */
		ib->iw_driver_flags = IW_F_NO_PORT_MAP;
		ib_set_device_ops(ib, &erdma_iwarp_ops);
	}
	ib->phys_port_cnt = 1;
	ib->dev.parent = &ad->dev.pdev->dev;
	erdma_permit_commands(ib);
	ib_set_device_ops(ib, &erdma_device_ops);
}

/* What the protocol needs before consumers come, and may let go of when all of them have gone. */
static int erdma_protocol_setup(struct erdma_adapter *ad)
{
	return erdma_is_roce(&ad->dev) ? erdma_roce_setup(ad) : erdma_cm_setup(ad);
}

static void erdma_protocol_shutdown(struct erdma_adapter *ad)
{
	if (erdma_is_roce(&ad->dev))
		erdma_roce_shutdown(ad);
	else
		erdma_cm_shutdown(ad);
}

static int erdma_register(struct erdma_adapter *ad)
{
	struct device *dev = &ad->dev.pdev->dev;
	int err;

	ad->ib.num_comp_vectors = ad->dev.num_ceqs;
	ad->ib.local_dma_lkey = ad->dev.caps.local_dma_key;

	err = erdma_protocol_setup(ad);
	if (err)
		return err;
	err = erdma_netdev_attach(ad);
	if (err) {
		dev_err_probe(dev, err, "network interface with permanent address %pM is gone\n",
			      ad->dev.mac);
		goto shutdown;
	}
	err = ib_register_device(&ad->ib, "erdma_%d", dev);
	if (err) {
		dev_err(dev, "registration as RDMA device failed: error %d\n", err);
		goto detach;
	}
	set_bit(ERDMA_AD_REGISTERED, &ad->flags);
	erdma_debugfs_add(ad);
	erdma_diag_add(ad);
	erdma_health_add(ad);
	erdma_port_changed(ad);
	return 0;

detach:
	erdma_netdev_detach(ad);
shutdown:
	erdma_protocol_shutdown(ad);
	return err;
}

static void erdma_unregister(struct erdma_adapter *ad)
{
	set_bit(ERDMA_AD_REMOVING, &ad->flags);
	erdma_diag_remove(ad);
	erdma_debugfs_remove(ad);
	erdma_netdev_detach(ad);
	/* Past this, the work sees the flag and leaves ib_core alone. */
	flush_work(&ad->dev.died_work);
	erdma_health_remove(ad);
	ib_unregister_device(&ad->ib);
	clear_bit(ERDMA_AD_REGISTERED, &ad->flags);
	erdma_protocol_shutdown(ad);
}

/* ---- PCI driver ---- */

static int erdma_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct erdma_adapter *ad;
	int err;

	ad = ib_alloc_device(erdma_adapter, ib);
	if (!ad)
		return -ENOMEM;
	ad->dev.pdev = pdev;
	ad->dev.ib = &ad->ib;
	ad->dev.ops = &erdma_dev_ops;
	err = erdma_cmdq_init(&ad->dev);
	if (err)
		goto dealloc;

	err = erdma_pci_setup(ad);
	if (err)
		goto exit_cmdq;
	err = erdma_identify(ad);
	if (!err)
		err = erdma_rebind_remember(ad);
	if (err)
		goto teardown_pci;
	erdma_describe(ad);
	/* Looked for before the device is started, which would be in vain without it. */
	if (!erdma_nic_is_there(ad)) {
		err = dev_err_probe(&pdev->dev, -EPROBE_DEFER,
				    "waiting for a network interface with permanent address %pM\n",
				    ad->dev.mac);
		goto forget;
	}

	/* Before the first interrupt: its handlers look into the object tables. */
	erdma_objects_init(ad);
	err = erdma_start(ad);
	if (err)
		goto cleanup_objects;
	err = erdma_block_setup(&ad->dev);
	if (err)
		goto stop;
	err = erdma_query_caps(&ad->dev);
	if (err)
		goto stop;
	err = erdma_mr_keep_local_key(ad);
	if (err)
		goto stop;
	ad->dev.caps.max_reads = erdma_max_reads;
	ad->shared_doorbells = erdma_shared_doorbells;
	if (erdma_cc_default <= ERDMA_MAX_CC)
		ad->dev.default_cc = erdma_cc_default;
	err = erdma_conf_device(&ad->dev);
	if (err)
		goto stop;
	err = erdma_register(ad);
	if (err)
		goto stop;

	pci_set_drvdata(pdev, ad);
	erdma_health_start(&ad->dev);
	dev_info(&pdev->dev, "%s: %s, %u completion vectors, up to %u QPs, firmware 0x%08x\n",
		 dev_name(&ad->ib.dev), erdma_is_roce(&ad->dev) ? "RoCEv2" : "iWARP",
		 ad->dev.num_ceqs, ad->dev.caps.max_qps - 1, ad->dev.caps.firmware);
	return 0;

stop:
	erdma_stop(ad);
	erdma_block_teardown(&ad->dev);
cleanup_objects:
	cancel_work_sync(&ad->dev.died_work);
	erdma_objects_cleanup(ad);
forget:
	erdma_rebind_forget(ad);
teardown_pci:
	erdma_pci_teardown(ad);
exit_cmdq:
	erdma_cmdq_exit(&ad->dev);
dealloc:
	ib_dealloc_device(&ad->ib);
	return err;
}

static void erdma_remove(struct pci_dev *pdev)
{
	struct erdma_adapter *ad = pci_get_drvdata(pdev);

	erdma_health_stop(&ad->dev);
	/* Pulled out: commands would only run into their time-outs. */
	if (!pci_device_is_present(pdev))
		erdma_mark_broken(&ad->dev, "it was removed");

	erdma_unregister(ad);
	erdma_stop(ad);
	erdma_block_teardown(&ad->dev);
	cancel_work_sync(&ad->dev.died_work);
	erdma_objects_cleanup(ad);
	erdma_rebind_forget(ad);
	erdma_pci_teardown(ad);
	erdma_cmdq_exit(&ad->dev);
	pci_set_drvdata(pdev, NULL);
	ib_dealloc_device(&ad->ib);
}

/* The machine goes down or another kernel takes over: nothing may be written to memory any more. */
static void erdma_shutdown(struct pci_dev *pdev)
{
	struct erdma_adapter *ad = pci_get_drvdata(pdev);

	if (!ad)
		return;
	set_bit(ERDMA_AD_REMOVING, &ad->flags);
	erdma_retire(&ad->dev);
	pci_clear_master(pdev);
}

/*
 * A reset of the function, by whatever way, takes everything from the device that the driver has
 * made in it.  What it was declared broken for is mended by erdma_recover().
 */
static void erdma_reset_prepare(struct pci_dev *pdev)
{
	struct erdma_adapter *ad = pci_get_drvdata(pdev);

	if (ad)
		erdma_mark_broken(&ad->dev, "its PCI function is reset");
}

static const struct pci_error_handlers erdma_pci_errors = {
	.reset_prepare = erdma_reset_prepare,
};

/* It was let go before (erdma_rebind.c), and somebody has bound it meanwhile. */
static int erdma_refuse_sleep(struct device *dev)
{
	dev_warn(dev, "bound while the machine was about to sleep, which it cannot now\n");
	return -EBUSY;
}

static const struct dev_pm_ops erdma_pm_ops = {
	.suspend = erdma_refuse_sleep,
	.freeze = erdma_refuse_sleep,
};

static const struct pci_device_id erdma_pci_ids[] = {
	{ PCI_DEVICE(ERDMA_PCI_VENDOR, ERDMA_PCI_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, erdma_pci_ids);

static struct pci_driver erdma_pci_driver = {
	.name = ERDMA_NAME,
	.id_table = erdma_pci_ids,
	.probe = erdma_probe,
	.remove = erdma_remove,
	.shutdown = erdma_shutdown,
	.err_handler = &erdma_pci_errors,
	.driver.pm = &erdma_pm_ops,
};

static int __init erdma_module_init(void)
{
	int err;

	if (erdma_cc_default > ERDMA_MAX_CC && erdma_cc_default != ERDMA_CC_FROM_DEVICE) {
		pr_err("erdma: cc=%u: must be 0 to %u, or %u\n", erdma_cc_default, ERDMA_MAX_CC,
		       ERDMA_CC_FROM_DEVICE);
		return -EINVAL;
	}
	if (erdma_max_vectors < 2 || erdma_max_vectors > ERDMA_MAX_VECTORS) {
		pr_err("erdma: vectors=%u: must be 2 to %u\n", erdma_max_vectors,
		       ERDMA_MAX_VECTORS);
		return -EINVAL;
	}
	if (!erdma_max_reads || erdma_max_reads > ERDMA_MAX_ORD) {
		pr_err("erdma: max_reads=%u: must be 1 to %u\n", erdma_max_reads, ERDMA_MAX_ORD);
		return -EINVAL;
	}
	err = erdma_diag_init();
	if (err) {
		pr_err("erdma: the diagnostics device is not available: error %d\n", err);
		return err;
	}
	err = erdma_rebind_init(&erdma_pci_driver.driver);
	if (err)
		goto exit_diag;
	erdma_debugfs_init();
	err = pci_register_driver(&erdma_pci_driver);
	if (err)
		goto exit_rebind;
	err = erdma_rebind_watch_sleep();
	if (err)
		goto unregister;
	return 0;

unregister:
	pci_unregister_driver(&erdma_pci_driver);
exit_rebind:
	erdma_debugfs_exit();
	erdma_rebind_exit();
exit_diag:
	erdma_diag_exit();
	return err;
}

static void __exit erdma_module_exit(void)
{
	erdma_rebind_ignore_sleep();
	pci_unregister_driver(&erdma_pci_driver);
	erdma_rebind_exit();
	erdma_debugfs_exit();
	erdma_diag_exit();
}

module_init(erdma_module_init);
module_exit(erdma_module_exit);

MODULE_DESCRIPTION("Elastic RDMA Adapter (ERDMA) driver");
MODULE_AUTHOR("The ERDMA driver project");
MODULE_LICENSE("GPL");
MODULE_VERSION(ERDMA_VERSION);
MODULE_SOFTDEP("pre: ib_uverbs rdma_ucm");
