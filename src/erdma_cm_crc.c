// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Whether connections have CRCs (docs/spec/wire.md 2.6).  The adapter computes and checks them once
 * it has seen either side ask in its MPA frame; whether this side asks, or agrees, is said here.
 */
#include <linux/moduleparam.h>
#include <linux/string.h>

#include "erdma_cm_crc.h"
#include "erdma_cm_ep.h"

static const char * const erdma_crc_names[] = {
	[ERDMA_MPA_CRC_NEVER] = "off",
	[ERDMA_MPA_CRC_ACCEPT] = "accept",
	[ERDMA_MPA_CRC_DEMAND] = "require",
};

static enum erdma_mpa_crc erdma_mpa_crc = ERDMA_MPA_CRC_ACCEPT;

static int erdma_mpa_crc_set(const char *text, const struct kernel_param *param)
{
	int value = sysfs_match_string(erdma_crc_names, text);

	if (value < 0)
		return value;
	WRITE_ONCE(erdma_mpa_crc, value);
	return 0;
}

static int erdma_mpa_crc_get(char *text, const struct kernel_param *param)
{
	return scnprintf(text, PAGE_SIZE, "%s\n", erdma_crc_names[READ_ONCE(erdma_mpa_crc)]);
}

static const struct kernel_param_ops erdma_mpa_crc_ops = {
	.set = erdma_mpa_crc_set,
	.get = erdma_mpa_crc_get,
};

module_param_cb(mpa_crc, &erdma_mpa_crc_ops, NULL, 0644);
MODULE_PARM_DESC(mpa_crc, "CRCs on the data of connections: off, accept: if the peer asks (default), require; they need an adapter that offers them");

int erdma_ep_choose_crc(struct erdma_ep *ep)
{
	struct erdma_adapter *ad = ep->cm->ad;

	ep->crc = READ_ONCE(erdma_mpa_crc);
	if (ad->dev.caps.model & ERDMA_MODEL_MPA_CRC)
		return 0;
	if (ep->crc == ERDMA_MPA_CRC_DEMAND) {
		ibdev_warn_ratelimited(&ad->ib,
				       "mpa_crc=require: the adapter has no CRCs, no connection is made\n");
		erdma_count(&ad->dev, cm_crc_refused_cnt);
		return -EOPNOTSUPP;
	}
	ep->crc = ERDMA_MPA_CRC_NEVER;
	return 0;
}
