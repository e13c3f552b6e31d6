// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: the health reporter "device" of devlink: state, rings and recovery
 * of a device that failed.
 *
 * Recovery lets the PCI function go, and the reporter with it: it is queued only, and a reporter
 * that comes with the function is healthy.
 */
#include <linux/slab.h>

#include "erdma_dump.h"
#include "erdma_health.h"
#include "erdma_rebind.h"
#include "kcompat_devlink.h"

struct erdma_health {
	struct erdma_adapter *ad;
	struct devlink_health_reporter *reporter;
};

/* ---- what is told ---- */

static int erdma_health_put_device(struct erdma_adapter *ad, struct devlink_fmsg *fmsg)
{
	const struct erdma_cmdq *q = &ad->dev.cmdq;
	const char *why = READ_ONCE(ad->dev.broken_why) ?: "none";
	struct erdma_dump_command command;
	int err;

	err = erdma_fmsg(devlink_fmsg_string_pair_put(fmsg, "reason", why)) ?:
	      erdma_fmsg(devlink_fmsg_u32_pair_put(fmsg, "firmware", ad->dev.caps.firmware)) ?:
	      erdma_fmsg(devlink_fmsg_u64_pair_put(fmsg, "commands", q->submitted)) ?:
	      erdma_fmsg(devlink_fmsg_u64_pair_put(fmsg, "failed", q->failed)) ?:
	      erdma_fmsg(devlink_fmsg_u64_pair_put(fmsg, "timeouts", q->timeouts));
	if (err || !erdma_dump_last_command(ad, &command))
		return err;
	return erdma_fmsg(devlink_fmsg_u32_pair_put(fmsg, "last_sub_module", command.sub)) ?:
	       erdma_fmsg(devlink_fmsg_u32_pair_put(fmsg, "last_opcode", command.opcode)) ?:
	       erdma_fmsg(devlink_fmsg_bool_pair_put(fmsg, "last_answered", command.answered));
}

static int erdma_health_put_ring(struct erdma_adapter *ad, struct devlink_fmsg *fmsg,
				 const struct erdma_dump_part *part)
{
	void *data = kzalloc(erdma_dump_bytes(part), GFP_KERNEL);
	int err;

	if (!data)
		return -ENOMEM;
	err = erdma_dump_read(ad, part, data);
	if (!err)
		err = erdma_fmsg(devlink_fmsg_obj_nest_start(fmsg)) ?:
		      erdma_fmsg(devlink_fmsg_string_pair_put(fmsg, "name", part->name)) ?:
		      erdma_fmsg(devlink_fmsg_u32_pair_put(fmsg, "entry_bytes",
							   part->entry_bytes)) ?:
		      erdma_fmsg(devlink_fmsg_u32_pair_put(fmsg, "depth", part->depth)) ?:
		      erdma_fmsg(devlink_fmsg_u32_pair_put(fmsg, "first", part->first)) ?:
		      erdma_fmsg(devlink_fmsg_u32_pair_put(fmsg, "pi", part->pi)) ?:
		      erdma_fmsg(devlink_fmsg_u32_pair_put(fmsg, "ci", part->ci)) ?:
		      erdma_fmsg(devlink_fmsg_binary_pair_put(fmsg, "data", data,
							      erdma_dump_bytes(part))) ?:
		      erdma_fmsg(devlink_fmsg_obj_nest_end(fmsg));
	kfree(data);
	return err;
}

static int erdma_health_diagnose(struct devlink_health_reporter *reporter,
				 struct devlink_fmsg *fmsg, struct netlink_ext_ack *extack)
{
	struct erdma_health *health = devlink_health_reporter_priv(reporter);

	return erdma_health_put_device(health->ad, fmsg);
}

/* Of a device that works, too, when user space asks for it. */
static int erdma_health_dump(struct devlink_health_reporter *reporter, struct devlink_fmsg *fmsg,
			     void *failed, struct netlink_ext_ack *extack)
{
	struct erdma_health *health = devlink_health_reporter_priv(reporter);
	struct erdma_dump_part part;
	unsigned int index;
	int err;

	err = erdma_health_put_device(health->ad, fmsg) ?:
	      erdma_fmsg(devlink_fmsg_arr_pair_nest_start(fmsg, "rings"));
	for (index = 0; !err && erdma_dump_find(health->ad, index, &part); index++)
		err = erdma_health_put_ring(health->ad, fmsg, &part);
	return err ?: erdma_fmsg(devlink_fmsg_arr_pair_nest_end(fmsg));
}

/* ---- recovery ---- */

/*
 * `failed` is what erdma_health_failed() gave when the device failed.  The state remains "error"
 * then: the device does not work before it has come back.
 */
static int erdma_health_recover(struct devlink_health_reporter *reporter, void *failed,
				struct netlink_ext_ack *extack)
{
	struct erdma_health *health = devlink_health_reporter_priv(reporter);

	if (failed) {
		erdma_recover(health->ad);
		return -EINPROGRESS;
	}
	if (erdma_recover_now(health->ad))
		return 0;
	NL_SET_ERR_MSG_MOD(extack, "the adapter is being brought back or removed already");
	return -EALREADY;
}

static const struct devlink_health_reporter_ops erdma_reporter_ops = {
	.name = "device",
	.recover = erdma_health_recover,
	.dump = erdma_health_dump,
	.diagnose = erdma_health_diagnose,
};

bool erdma_health_failed(struct erdma_adapter *ad)
{
	struct erdma_health *health = READ_ONCE(ad->health);

	if (!health)
		return false;
	devlink_health_report(health->reporter, ad->dev.broken_why, ad);
	return true;
}

/* ---- set-up and end ---- */

static const struct devlink_ops erdma_devlink_ops = {
};

void erdma_health_add(struct erdma_adapter *ad)
{
	struct device *dev = &ad->dev.pdev->dev;
	struct erdma_health *health;
	struct devlink *devlink;
	int err = -ENOMEM;

	devlink = erdma_devlink_alloc(&erdma_devlink_ops, sizeof(*health), dev);
	if (!devlink)
		goto fail;
	health = devlink_priv(devlink);
	health->ad = ad;
	health->reporter = erdma_reporter_create(devlink, &erdma_reporter_ops, health);
	if (IS_ERR(health->reporter)) {
		err = PTR_ERR(health->reporter);
		goto free;
	}
	err = erdma_devlink_register(devlink, dev);
	if (err)
		goto destroy;
	WRITE_ONCE(ad->health, health);
	return;

destroy:
	devlink_health_reporter_destroy(health->reporter);
free:
	devlink_free(devlink);
fail:
	dev_warn(dev, "devlink does not show it: error %d\n", err);
}

void erdma_health_remove(struct erdma_adapter *ad)
{
	struct erdma_health *health = ad->health;
	struct devlink *devlink;

	if (!health)
		return;
	ad->health = NULL;
	devlink = priv_to_devlink(health);
	devlink_unregister(devlink);
	devlink_health_reporter_destroy(health->reporter);
	devlink_free(devlink);
}
