// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: adapters that are let go and probed again: when the paired interface
 * goes for good (it may return), when the device failed or was reset, and around the machine's
 * sleep, which no connection would outlast.
 */
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/suspend.h>

#include "erdma_dev_cmdq.h"
#include "erdma_rebind.h"

static unsigned int erdma_recoveries = 3;
module_param_named(recoveries, erdma_recoveries, uint, 0644);
MODULE_PARM_DESC(recoveries, "how often within an hour an adapter that failed or was reset is brought back, 0 for never (default 3)");

#define ERDMA_RECOVERY_DELAY_MS 1000
#define ERDMA_RECOVERY_RETRY_MS 10000
#define ERDMA_RECOVERY_PERIOD	(3600 * HZ)

/* What was done for an adapter that failed; outlives it. */
struct erdma_past {
	struct list_head node;
	unsigned int bus;		/* domain, bus and function */
	unsigned int attempts;
	unsigned long begin;		/* jiffies of the first of them */
};

/* Made at probe, since it may be needed where memory is reclaimed; outlives the adapter. */
struct erdma_rebinding {
	struct list_head node;		/* in erdma_rebindings once it is queued */
	struct delayed_work work;
	struct pci_dev *pdev;
	struct pci_saved_state *state;
	bool recovery;
	bool asked;			/* for the recovery: it is not one of those that count */
	bool released;
};

struct erdma_sleeper {
	struct list_head node;
	struct device *dev;
};

static struct workqueue_struct *erdma_rebind_wq;
static struct device_driver *erdma_bound_driver;
static DEFINE_SPINLOCK(erdma_rebind_lock);	/* innermost: the next three */
static LIST_HEAD(erdma_rebindings);
static bool erdma_rebind_ends;
static LIST_HEAD(erdma_pasts);
/* In calls of the PM notifier only, which come one at a time. */
static LIST_HEAD(erdma_sleepers);

/* ---- how often ---- */

/* Counts an attempt.  Returns its number, or 0 when there were enough. */
static unsigned int erdma_count_attempt(struct pci_dev *pdev)
{
	unsigned int bus = pci_domain_nr(pdev->bus) << 16 | pci_dev_id(pdev);
	struct erdma_past *past, *fresh = kzalloc(sizeof(*fresh), GFP_KERNEL);
	unsigned int number = 0;

	spin_lock(&erdma_rebind_lock);
	list_for_each_entry(past, &erdma_pasts, node)
		if (past->bus == bus)
			goto found;
	if (!fresh)
		goto unlock;
	past = fresh;
	fresh = NULL;
	past->bus = bus;
	list_add(&past->node, &erdma_pasts);
found:
	if (!past->attempts || time_after(jiffies, past->begin + ERDMA_RECOVERY_PERIOD)) {
		past->attempts = 0;
		past->begin = jiffies;
	}
	if (past->attempts < READ_ONCE(erdma_recoveries))
		number = ++past->attempts;
unlock:
	spin_unlock(&erdma_rebind_lock);
	kfree(fresh);
	return number;
}

/* ---- one adapter ---- */

static void erdma_rebinding_free(struct erdma_rebinding *rebinding)
{
	if (!rebinding)
		return;
	kfree(rebinding->state);
	pci_dev_put(rebinding->pdev);
	kfree(rebinding);
}

/* Queues it, unless the module goes. */
static bool erdma_rebinding_queue(struct erdma_rebinding *rebinding, unsigned int msecs)
{
	bool queued;

	spin_lock(&erdma_rebind_lock);
	queued = !erdma_rebind_ends;
	if (queued) {
		list_add(&rebinding->node, &erdma_rebindings);
		queue_delayed_work(erdma_rebind_wq, &rebinding->work, msecs_to_jiffies(msecs));
	}
	spin_unlock(&erdma_rebind_lock);
	return queued;
}

/*
 * Is it still for us?  Somebody may have taken the function, or bound the driver anew, since this
 * was queued.
 */
static bool erdma_is_wanted(const struct erdma_rebinding *rebinding)
{
	struct device *dev = &rebinding->pdev->dev;
	struct erdma_adapter *ad;
	bool wanted;

	device_lock(dev);
	if (rebinding->released) {
		wanted = !dev->driver;
	} else {
		wanted = dev->driver == erdma_bound_driver;
		ad = wanted ? pci_get_drvdata(rebinding->pdev) : NULL;
		if (rebinding->recovery)
			wanted = ad && erdma_is_broken(&ad->dev);
	}
	device_unlock(dev);
	return wanted;
}

/* Gives it back to the adapter that was not let go: somebody may ask for it later.  NULL then. */
static struct erdma_rebinding *erdma_rebinding_return(struct erdma_rebinding *rebinding)
{
	struct device *dev = &rebinding->pdev->dev;
	struct erdma_adapter *ad;

	device_lock(dev);
	ad = dev->driver == erdma_bound_driver ? pci_get_drvdata(rebinding->pdev) : NULL;
	if (ad && !cmpxchg(&ad->recovery, NULL, rebinding))
		rebinding = NULL;
	device_unlock(dev);
	return rebinding;
}

/*
 * A reset that nobody announced took the function's configuration, too; a device that does not
 * answer may do so after one.  Without a driver.
 */
static void erdma_revive(struct erdma_rebinding *rebinding)
{
	struct pci_dev *pdev = rebinding->pdev;

	if (rebinding->state) {
		pci_load_saved_state(pdev, rebinding->state);
		pci_restore_state(pdev);
	}
	/* Not every function can be reset; the driver resets the device in any case. */
	pci_reset_function(pdev);
}

/*
 * Without the interface the probe asks to be called again when something has changed, as a new
 * interface does.
 */
static void erdma_rebind_work(struct work_struct *work)
{
	struct erdma_rebinding *rebinding = container_of(to_delayed_work(work),
							 struct erdma_rebinding, work);
	struct pci_dev *pdev = rebinding->pdev;
	struct device *dev = &pdev->dev;
	/*
	 * Swap over NFS may wait for the adapter's return.  A workqueue for reclaim this cannot be
	 * in, since removal waits for those of ib_core and its consumers, which are none.
	 */
	unsigned int scope = memalloc_noio_save();
	unsigned int attempt = 0;
	int ret;

	spin_lock(&erdma_rebind_lock);
	list_del(&rebinding->node);
	spin_unlock(&erdma_rebind_lock);
	if (!erdma_is_wanted(rebinding))
		goto end;
	if (rebinding->recovery && !rebinding->asked) {
		attempt = erdma_count_attempt(pdev);
		if (!attempt) {
			dev_err(dev, "not brought back: %u attempts within an hour are the limit\n",
				erdma_recoveries);
			rebinding = erdma_rebinding_return(rebinding);
			goto end;
		}
	}
	if (!rebinding->released)
		device_release_driver(dev);
	rebinding->released = true;
	if (rebinding->recovery)
		erdma_revive(rebinding);

	ret = device_attach(dev);
	if (ret < 0)
		dev_warn(dev, "not probed again: error %d\n", ret);
	if (rebinding->recovery && ret > 0) {
		if (rebinding->asked)
			dev_info(dev, "in use again, as somebody asked for\n");
		else
			dev_info(dev, "in use again, attempt %u\n", attempt);
	}
	if (rebinding->recovery && !rebinding->asked && !ret &&
	    erdma_rebinding_queue(rebinding, ERDMA_RECOVERY_RETRY_MS))
		rebinding = NULL;
end:
	erdma_rebinding_free(rebinding);
	memalloc_noio_restore(scope);
}

static bool erdma_rebind_start(struct erdma_adapter *ad, struct erdma_rebinding **kept, bool asked,
			       unsigned int msecs)
{
	struct erdma_rebinding *rebinding;

	if (test_bit(ERDMA_AD_REMOVING, &ad->flags))
		return false;
	rebinding = xchg(kept, NULL);
	if (!rebinding)
		return false;
	rebinding->asked = asked;
	if (erdma_rebinding_queue(rebinding, msecs))
		return true;
	erdma_rebinding_free(rebinding);
	return false;
}

void erdma_rebind(struct erdma_adapter *ad)
{
	erdma_rebind_start(ad, &ad->release, false, 0);
}

void erdma_recover(struct erdma_adapter *ad)
{
	if (READ_ONCE(erdma_recoveries))
		erdma_rebind_start(ad, &ad->recovery, false, ERDMA_RECOVERY_DELAY_MS);
}

bool erdma_recover_now(struct erdma_adapter *ad)
{
	return erdma_rebind_start(ad, &ad->recovery, true, 0);
}

static struct erdma_rebinding *erdma_rebinding_alloc(struct pci_dev *pdev)
{
	struct erdma_rebinding *rebinding = kzalloc(sizeof(*rebinding), GFP_KERNEL);

	if (!rebinding)
		return NULL;
	INIT_DELAYED_WORK(&rebinding->work, erdma_rebind_work);
	rebinding->pdev = pci_dev_get(pdev);
	return rebinding;
}

int erdma_rebind_remember(struct erdma_adapter *ad)
{
	struct pci_dev *pdev = ad->dev.pdev;

	ad->release = erdma_rebinding_alloc(pdev);
	ad->recovery = erdma_rebinding_alloc(pdev);
	if (!ad->release || !ad->recovery) {
		erdma_rebind_forget(ad);
		return -ENOMEM;
	}
	ad->recovery->recovery = true;
	if (!pci_save_state(pdev))
		ad->recovery->state = pci_store_saved_state(pdev);
	/* It is not what the PCI core would save when the machine sleeps. */
	pdev->state_saved = false;
	return 0;
}

void erdma_rebind_forget(struct erdma_adapter *ad)
{
	erdma_rebinding_free(xchg(&ad->release, NULL));
	erdma_rebinding_free(xchg(&ad->recovery, NULL));
}

/* ---- sleep of the machine ---- */

static int erdma_add_sleeper(struct device *dev, void *unused)
{
	struct erdma_sleeper *sleeper = kmalloc(sizeof(*sleeper), GFP_KERNEL);

	if (!sleeper)
		return -ENOMEM;
	sleeper->dev = get_device(dev);
	list_add_tail(&sleeper->node, &erdma_sleepers);
	return 0;
}

static void erdma_wake(bool attach)
{
	struct erdma_sleeper *sleeper, *next;

	list_for_each_entry_safe(sleeper, next, &erdma_sleepers, node) {
		if (attach && device_attach(sleeper->dev) < 0)
			dev_warn(sleeper->dev, "not probed again after the machine's sleep\n");
		list_del(&sleeper->node);
		put_device(sleeper->dev);
		kfree(sleeper);
	}
}

/*
 * Before processes and workqueues are frozen: consumers in the kernel need both to let go of an
 * RDMA device.
 */
static int erdma_sleep(void)
{
	struct erdma_sleeper *sleeper;
	int ret;

	ret = driver_for_each_device(erdma_bound_driver, NULL, NULL, erdma_add_sleeper);
	if (ret) {
		erdma_wake(false);
		return ret;
	}
	list_for_each_entry(sleeper, &erdma_sleepers, node) {
		dev_info(sleeper->dev, "let go while the machine sleeps\n");
		device_release_driver(sleeper->dev);
	}
	return 0;
}

static int erdma_pm_event(struct notifier_block *nb, unsigned long event, void *unused)
{
	switch (event) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		return notifier_from_errno(erdma_sleep());
	case PM_POST_SUSPEND:
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
		erdma_wake(true);
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block erdma_pm_nb = {
	.notifier_call = erdma_pm_event,
};

/* ---- all adapters ---- */

int erdma_rebind_init(struct device_driver *driver)
{
	erdma_rebind_wq = alloc_workqueue("erdma-rebind", WQ_UNBOUND, 0);
	if (!erdma_rebind_wq)
		return -ENOMEM;
	erdma_bound_driver = driver;
	erdma_rebind_ends = false;
	return 0;
}

int erdma_rebind_watch_sleep(void)
{
	return register_pm_notifier(&erdma_pm_nb);
}

void erdma_rebind_ignore_sleep(void)
{
	unregister_pm_notifier(&erdma_pm_nb);
	erdma_wake(false);
}

void erdma_rebind_exit(void)
{
	struct erdma_rebinding *rebinding, *later;
	struct erdma_past *past, *next;
	LIST_HEAD(waiting);

	spin_lock(&erdma_rebind_lock);
	erdma_rebind_ends = true;
	list_for_each_entry_safe(rebinding, later, &erdma_rebindings, node)
		if (cancel_delayed_work(&rebinding->work))
			list_move(&rebinding->node, &waiting);
	spin_unlock(&erdma_rebind_lock);
	list_for_each_entry_safe(rebinding, later, &waiting, node)
		erdma_rebinding_free(rebinding);
	/* Those that run end by themselves. */
	destroy_workqueue(erdma_rebind_wq);
	list_for_each_entry_safe(past, next, &erdma_pasts, node)
		kfree(past);
}
