// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: PCI function, bring-up, capabilities, failure of the whole device
 * (adapter.md chapters 1, 2, 4.2 and 11).
 */
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/iopoll.h>
#include <linux/module.h>

#include "erdma.h"
#include "erdma_trace.h"

/* How often a device that has nothing to do is looked at. */
#define ERDMA_HEALTH_SECS 5

static unsigned int erdma_cc_default = ERDMA_CC_FROM_DEVICE;
module_param_named(cc, erdma_cc_default, uint, 0444);
MODULE_PARM_DESC(cc, "congestion control of new connections: 0 NewReno, 1 Cubic, 2 HPCC by RTT, 3 HPCC by ECN, 4 HPCC by INT, 255 what the device recommends (default)");

unsigned int erdma_max_vectors = ERDMA_MAX_VECTORS;
module_param_named(vectors, erdma_max_vectors, uint, 0444);
MODULE_PARM_DESC(vectors, "interrupt vectors per adapter at most, 2 to 32 (default 32); never more than online CPUs + 1, but at least 2");

unsigned int erdma_max_reads = ERDMA_MAX_ORD;
module_param_named(max_reads, erdma_max_reads, uint, 0444);
MODULE_PARM_DESC(max_reads, "RDMA reads and atomics outstanding per queue pair and direction that consumers may ask for, 1 to 128 (default 128)");

/* ---- failure of the device ---- */

/* Stops all DMA of the device.  The read makes sure that the write has arrived. */
static void erdma_reset(struct erdma_adapter *ad)
{
	erdma_reg_write(ad, ERDMA_R_CTRL, ERDMA_CTRL_RESET);
	erdma_reg_read(ad, ERDMA_R_STATUS);
}

void erdma_mark_broken(struct erdma_adapter *ad, const char *why)
{
	if (test_and_set_bit(ERDMA_AD_BROKEN, &ad->flags))
		return;
	trace_erdma_device_broken(ad->number, why);
	dev_err(&ad->pdev->dev, "device is out of use: %s; reload the driver or reset the device\n", why);
	/*
	 * From here on destroy commands cannot make the device let go of memory that their callers are going to
	 * free; only the reset can.
	 */
	erdma_reset(ad);
	erdma_cmdq_wake_all(ad);
	queue_work(erdma_unbound_wq, &ad->fatal_work);
}

static void erdma_fatal_work(struct work_struct *work)
{
	struct erdma_adapter *ad = container_of(work, struct erdma_adapter, fatal_work);
	struct ib_event event = {
		.device = &ad->ib,
		.element.port_num = 1,
		.event = IB_EVENT_DEVICE_FATAL,
	};
	unsigned long qpn;
	void *entry;

	/* While ib_core takes the device away, its event queue does not take references. */
	if (test_bit(ERDMA_AD_REGISTERED, &ad->flags) && !test_bit(ERDMA_AD_REMOVING, &ad->flags))
		ib_dispatch_event(&event);

	/* The entry may go at any time; erdma_qp_find() looks again and takes a reference. */
	xa_for_each(&ad->qps, qpn, entry) {
		struct erdma_qp *qp = erdma_qp_find(ad, qpn);

		if (!qp)
			continue;
		erdma_qp_async_event(qp, ERDMA_AE_QP_FATAL);
		erdma_qp_put(qp);
	}
	erdma_cqs_device_died(ad);
	erdma_port_changed(ad);
}

bool erdma_check_alive(struct erdma_adapter *ad)
{
	u32 status;

	if (erdma_is_broken(ad))
		return false;
	status = erdma_reg_read(ad, ERDMA_R_STATUS);
	if (status == ERDMA_ALL_ONES)
		erdma_mark_broken(ad, "its registers read all ones");
	else if (!(status & ERDMA_STATUS_INIT_DONE))
		erdma_mark_broken(ad, "it was reset");
	else
		return true;
	return false;
}

/*
 * A device that dies while nobody asks it for anything says nothing, and an interrupt can get lost.  The timer is
 * deferrable: it waits for a processor that is awake for something else.
 */
static void erdma_health_work(struct work_struct *work)
{
	struct erdma_adapter *ad = container_of(to_delayed_work(work), struct erdma_adapter, health_work);

	if (!erdma_check_alive(ad))
		return;
	erdma_eqs_look(ad);
	queue_delayed_work(erdma_unbound_wq, &ad->health_work, round_jiffies_relative(ERDMA_HEALTH_SECS * HZ));
}

/* ---- doorbell records ---- */

int erdma_dbrec_alloc(struct erdma_adapter *ad, struct erdma_dbrec *rec)
{
	rec->cpu = dma_pool_zalloc(ad->dbrec_pool, GFP_KERNEL, &rec->dma);
	return rec->cpu ? 0 : -ENOMEM;
}

void erdma_dbrec_free(struct erdma_adapter *ad, struct erdma_dbrec *rec)
{
	dma_pool_free(ad->dbrec_pool, rec->cpu, rec->dma);
	rec->cpu = NULL;
}

/* ---- capabilities ---- */

/* The device's number if the driver can live with it, else the most that it can. */
static u32 erdma_cap_limit(struct erdma_adapter *ad, const char *name, u32 value, u32 most)
{
	if (value <= most)
		return value;
	dev_warn(&ad->pdev->dev, "device says %s %u, using %u\n", name, value, most);
	return most;
}

static int erdma_query_caps(struct erdma_adapter *ad)
{
	struct erdma_cmd_plain request = { };
	struct device *dev = &ad->pdev->dev;
	struct erdma_caps *caps = &ad->caps;
	u32 blocks, log_cqe, log_recv, log_size, log_mw;
	u64 resp0 = 0, resp1 = 0;
	int err;

	err = erdma_cmd_exec(ad, ERDMA_SUB_RDMA, ERDMA_CMD_QUERY_DEVICE, &request, sizeof(request), &resp0, &resp1);
	if (err) {
		dev_err(dev, "QUERY_DEVICE failed: error %d\n", err);
		return err;
	}

	blocks = FIELD_GET(ERDMA_QD1_QBLOCKS, resp1);
	log_cqe = FIELD_GET(ERDMA_QD0_LOG_CQE, resp0);
	log_recv = FIELD_GET(ERDMA_QD0_LOG_RECV_WR, resp0);
	log_size = FIELD_GET(ERDMA_QD0_LOG_MR_SIZE, resp0);
	log_mw = FIELD_GET(ERDMA_QD1_LOG_MW, resp1);
	if (!blocks || !log_cqe || !log_recv || log_size < PAGE_SHIFT) {
		dev_err(dev, "unusable limits: %u QP blocks, 2^%u CQEs, 2^%u receive WRs, regions of 2^%u bytes\n",
			blocks, log_cqe, log_recv, log_size);
		return -EIO;
	}

	blocks = erdma_cap_limit(ad, "QP blocks", blocks, ERDMA_MAX_QBLOCKS);
	caps->max_qps = blocks * ERDMA_QPS_PER_BLOCK;
	caps->max_cqs = 2 * caps->max_qps;
	caps->max_mrs = 2 * caps->max_qps;
	caps->max_cqe = 1U << erdma_cap_limit(ad, "log2 of CQEs", log_cqe, ERDMA_MAX_LOG_CQE);
	caps->max_recv_wr = 1U << erdma_cap_limit(ad, "log2 of receive WRs", log_recv, ERDMA_MAX_LOG_RECV_WR);
	caps->max_send_wr = ERDMA_MAX_SEND_WR;
	caps->max_mr_size = 1ULL << erdma_cap_limit(ad, "log2 of the region size", log_size, 63);
	caps->max_mw = 1U << erdma_cap_limit(ad, "log2 of memory windows", log_mw, 30);
	caps->local_dma_key = FIELD_GET(ERDMA_QD1_LOCAL_KEY, resp1);
	caps->flags = FIELD_GET(ERDMA_QD0_FLAGS, resp0);
	caps->default_cc = FIELD_GET(ERDMA_QD1_CC, resp1);
	if (caps->default_cc > ERDMA_MAX_CC) {
		dev_warn(dev, "device recommends unknown congestion control %u, using 1\n", caps->default_cc);
		caps->default_cc = 1;
	}

	err = erdma_cmd_exec(ad, ERDMA_SUB_COMMON, ERDMA_CMD_QUERY_FW_INFO, &request, sizeof(request), &resp0, NULL);
	if (err) {
		dev_err(dev, "QUERY_FW_INFO failed: error %d\n", err);
		return err;
	}
	caps->firmware = lower_32_bits(resp0);
	ad->default_cc = erdma_cc_default <= ERDMA_MAX_CC ? erdma_cc_default : caps->default_cc;
	ad->retransmits = ERDMA_RETRANSMITS_DEFAULT;
	return 0;
}

/* With doorbell pages from the device, it has to know what a page is (4.20). */
static int erdma_conf_device(struct erdma_adapter *ad)
{
	struct erdma_cmd_conf_device request = {
		.cfg = cpu_to_le32(ERDMA_CONF_PAGE_VALID | FIELD_PREP(ERDMA_CONF_PAGE_SHIFT, PAGE_SHIFT)),
	};
	int err;

	if (!(ad->caps.flags & ERDMA_CAP_EXTEND_DB))
		return 0;
	err = erdma_cmd_exec(ad, ERDMA_SUB_COMMON, ERDMA_CMD_CONF_DEVICE, &request, sizeof(request), NULL, NULL);
	if (err)
		dev_err(&ad->pdev->dev, "CONF_DEVICE failed: error %d\n", err);
	return err;
}

/* ---- bring-up, each step with its undoing ---- */

static int erdma_pci_setup(struct erdma_adapter *ad)
{
	struct pci_dev *pdev = ad->pdev;
	int bars, err;

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
	ad->bar_phys = pci_resource_start(pdev, ERDMA_BAR_REGS);
	ad->bar_len = pci_resource_len(pdev, ERDMA_BAR_REGS);
	if (ad->bar_len < ERDMA_BAR_MIN_LEN) {
		dev_err(&pdev->dev, "BAR 0 has %llu bytes, at least %u are needed\n", (u64)ad->bar_len,
			ERDMA_BAR_MIN_LEN);
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
	ad->bar = ioremap(ad->bar_phys, ad->bar_len);
	if (!ad->bar) {
		dev_err(&pdev->dev, "BAR 0 cannot be mapped\n");
		err = -ENOMEM;
		goto release;
	}
	pci_set_master(pdev);
	return 0;

release:
	pci_release_selected_regions(pdev, BIT(ERDMA_BAR_REGS));
disable:
	pci_disable_device(pdev);
	return err;
}

static void erdma_pci_teardown(struct erdma_adapter *ad)
{
	pci_clear_master(ad->pdev);
	iounmap(ad->bar);
	pci_release_selected_regions(ad->pdev, BIT(ERDMA_BAR_REGS));
	pci_disable_device(ad->pdev);
}

/* Registers that tell what this function is and whose it is. */
static int erdma_identify(struct erdma_adapter *ad)
{
	struct device *dev = &ad->pdev->dev;
	u32 version = erdma_reg_read(ad, ERDMA_R_VERSION);
	u32 proto = erdma_reg_read(ad, ERDMA_R_PROTO);
	u32 high = erdma_reg_read(ad, ERDMA_R_MAC_HI);
	u32 low = erdma_reg_read(ad, ERDMA_R_MAC_LO);

	if (!version || version == ERDMA_ALL_ONES) {
		dev_err(dev, "function is not usable: its version register reads 0x%x\n", version);
		return -ENODEV;
	}
	if (proto != ERDMA_PROTO_IWARP) {
		dev_err(dev, "function speaks protocol %u, this driver only %u (iWARP)\n", proto,
			ERDMA_PROTO_IWARP);
		return -ENODEV;
	}

	u64_to_ether_addr((u64)(high & 0xffff) << 32 | low, ad->mac);
	if (!is_valid_ether_addr(ad->mac)) {
		dev_err(dev, "the MAC registers name no network interface: %pM\n", ad->mac);
		return -ENODEV;
	}
	ad->caps.direct_wqe_groups = erdma_reg_read(ad, ERDMA_R_DWQE_GROUPS);
	return 0;
}

/* Sleeps up to 10 s. */
static int erdma_init_device(struct erdma_adapter *ad)
{
	u32 status;
	int err;

	erdma_reg_write(ad, ERDMA_R_CTRL, ERDMA_CTRL_INIT);
	err = readl_poll_timeout(ad->bar + ERDMA_R_STATUS, status, status & ERDMA_STATUS_INIT_DONE,
				 ERDMA_POLL_INTERVAL_MS * USEC_PER_MSEC, ERDMA_INIT_TIMEOUT_MS * USEC_PER_MSEC);
	if (!err && status == ERDMA_ALL_ONES)
		err = -EIO;
	if (err)
		dev_err(&ad->pdev->dev, "device did not initialise within %u ms: status 0x%x, error %d\n",
			ERDMA_INIT_TIMEOUT_MS, status, err);
	return err;
}

/* Queues, interrupts, INIT: when it returns 0, commands work. */
static int erdma_start(struct erdma_adapter *ad)
{
	int err;

	ad->dbrec_pool = dma_pool_create("erdma-doorbell-records", &ad->pdev->dev, ERDMA_DBREC_BYTES,
					 ERDMA_DBREC_BYTES, 0);
	if (!ad->dbrec_pool)
		return -ENOMEM;
	err = erdma_vectors_alloc(ad);
	if (err)
		goto destroy_pool;
	err = erdma_aeq_setup(ad);
	if (err)
		goto free_vectors;
	err = erdma_cmdq_setup(ad);
	if (err)
		goto teardown_aeq;
	err = erdma_common_irq_request(ad);
	if (err)
		goto teardown_cmdq;
	err = erdma_init_device(ad);
	if (err)
		goto reset;
	err = erdma_ceqs_start(ad);
	if (err)
		goto reset;
	erdma_cmdq_enter_event_mode(ad);
	return 0;

reset:
	erdma_reset(ad);
	erdma_common_irq_release(ad);
	erdma_ceqs_free(ad);
teardown_cmdq:
	erdma_cmdq_teardown(ad);
teardown_aeq:
	erdma_aeq_teardown(ad);
free_vectors:
	erdma_vectors_free(ad);
destroy_pool:
	dma_pool_destroy(ad->dbrec_pool);
	return err;
}

/* No memory is given back before the reset: a device that did not answer DESTROY_EQ may still write to it. */
static void erdma_stop(struct erdma_adapter *ad)
{
	erdma_ceqs_stop(ad);
	erdma_reset(ad);
	erdma_common_irq_release(ad);
	erdma_ceqs_free(ad);
	erdma_cmdq_teardown(ad);
	erdma_aeq_teardown(ad);
	erdma_vectors_free(ad);
	dma_pool_destroy(ad->dbrec_pool);
}

static void erdma_describe(struct erdma_adapter *ad)
{
	struct ib_device *ib = &ad->ib;

	ib->node_type = RDMA_NODE_RNIC;
	strscpy(ib->node_desc, "Elastic RDMA(iWARP) stack", sizeof(ib->node_desc));
	ib->phys_port_cnt = 1;
	ib->dev.parent = &ad->pdev->dev;
	/* Connections use the very ports that their sockets have; there is nothing to map. */
	ib->iw_driver_flags = IW_F_NO_PORT_MAP;
	erdma_permit_commands(ib);
	ib_set_device_ops(ib, &erdma_device_ops);
}

static int erdma_register(struct erdma_adapter *ad)
{
	struct device *dev = &ad->pdev->dev;
	int err;

	ad->ib.num_comp_vectors = ad->num_ceqs;
	ad->ib.local_dma_lkey = ad->caps.local_dma_key;

	err = erdma_cm_setup(ad);
	if (err)
		return err;
	err = erdma_netdev_attach(ad);
	if (err) {
		dev_err_probe(dev, err, "network interface with permanent address %pM is gone\n", ad->mac);
		goto shutdown_cm;
	}
	err = ib_register_device(&ad->ib, "erdma_%d", dev);
	if (err) {
		dev_err(dev, "registration as RDMA device failed: error %d\n", err);
		goto detach;
	}
	set_bit(ERDMA_AD_REGISTERED, &ad->flags);
	erdma_debugfs_add(ad);
	erdma_diag_add(ad);
	erdma_port_changed(ad);
	return 0;

detach:
	erdma_netdev_detach(ad);
shutdown_cm:
	erdma_cm_shutdown(ad);
	return err;
}

static void erdma_unregister(struct erdma_adapter *ad)
{
	set_bit(ERDMA_AD_REMOVING, &ad->flags);
	erdma_diag_remove(ad);
	erdma_debugfs_remove(ad);
	erdma_netdev_detach(ad);
	/* Past this, the work sees the flag and leaves ib_core alone. */
	flush_work(&ad->fatal_work);
	ib_unregister_device(&ad->ib);
	clear_bit(ERDMA_AD_REGISTERED, &ad->flags);
	erdma_cm_shutdown(ad);
}

/* ---- PCI driver ---- */

static int erdma_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct erdma_adapter *ad;
	int err;

	ad = ib_alloc_device(erdma_adapter, ib);
	if (!ad)
		return -ENOMEM;
	ad->pdev = pdev;
	INIT_WORK(&ad->fatal_work, erdma_fatal_work);
	INIT_DEFERRABLE_WORK(&ad->health_work, erdma_health_work);
	erdma_cmdq_init(ad);
	erdma_describe(ad);

	err = erdma_pci_setup(ad);
	if (err)
		goto dealloc;
	err = erdma_identify(ad);
	if (err)
		goto teardown_pci;
	/* Looked for before the device is started, which would be in vain without it. */
	if (!erdma_nic_is_there(ad)) {
		err = dev_err_probe(&pdev->dev, -EPROBE_DEFER,
				    "waiting for a network interface with permanent address %pM\n", ad->mac);
		goto teardown_pci;
	}

	/* Before the first interrupt: its handlers look into the object tables. */
	erdma_verbs_init(ad);
	err = erdma_start(ad);
	if (err)
		goto cleanup_verbs;
	err = erdma_stats_setup(ad);
	if (err)
		goto stop;
	err = erdma_query_caps(ad);
	if (err)
		goto stop;
	err = erdma_conf_device(ad);
	if (err)
		goto stop;
	err = erdma_register(ad);
	if (err)
		goto stop;

	pci_set_drvdata(pdev, ad);
	queue_delayed_work(erdma_unbound_wq, &ad->health_work, 0);
	dev_info(&pdev->dev, "%s: %u completion vectors, up to %u QPs, firmware 0x%08x\n",
		 dev_name(&ad->ib.dev), ad->num_ceqs, ad->caps.max_qps - 1, ad->caps.firmware);
	return 0;

stop:
	erdma_stop(ad);
	erdma_stats_teardown(ad);
cleanup_verbs:
	cancel_work_sync(&ad->fatal_work);
	erdma_verbs_cleanup(ad);
teardown_pci:
	erdma_pci_teardown(ad);
dealloc:
	ib_dealloc_device(&ad->ib);
	return err;
}

static void erdma_remove(struct pci_dev *pdev)
{
	struct erdma_adapter *ad = pci_get_drvdata(pdev);

	cancel_delayed_work_sync(&ad->health_work);
	/* Pulled out: commands would only run into their time-outs. */
	if (!pci_device_is_present(pdev))
		erdma_mark_broken(ad, "it was removed");

	erdma_unregister(ad);
	erdma_stop(ad);
	erdma_stats_teardown(ad);
	cancel_work_sync(&ad->fatal_work);
	erdma_verbs_cleanup(ad);
	erdma_pci_teardown(ad);
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
	set_bit(ERDMA_AD_BROKEN, &ad->flags);
	erdma_reset(ad);
	pci_clear_master(pdev);
	erdma_cmdq_wake_all(ad);
}

/*
 * A reset of the function, by whatever way, takes everything from the device that the driver has made in it.  Binding the
 * driver anew makes it usable again.
 */
static void erdma_reset_prepare(struct pci_dev *pdev)
{
	struct erdma_adapter *ad = pci_get_drvdata(pdev);

	if (ad)
		erdma_mark_broken(ad, "its PCI function is reset");
}

static const struct pci_error_handlers erdma_pci_errors = {
	.reset_prepare = erdma_reset_prepare,
};

/* Connections live in the device and on the wire: they would not outlast it. */
static int erdma_refuse_sleep(struct device *dev)
{
	dev_warn(dev, "the machine cannot sleep while the driver is bound; unload erdma first\n");
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
		pr_err("erdma: vectors=%u: must be 2 to %u\n", erdma_max_vectors, ERDMA_MAX_VECTORS);
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
	erdma_debugfs_init();
	err = pci_register_driver(&erdma_pci_driver);
	if (err) {
		erdma_debugfs_exit();
		erdma_diag_exit();
	}
	return err;
}

static void __exit erdma_module_exit(void)
{
	pci_unregister_driver(&erdma_pci_driver);
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
