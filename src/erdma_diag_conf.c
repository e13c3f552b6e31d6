// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: settings, and debugfs.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "erdma_dev_cmdq.h"
#include "erdma_dev_query.h"
#include "erdma_diag.h"

/* ---- settings ---- */

static int erdma_get_delayed_ack(struct erdma_adapter *ad, u64 *value)
{
	struct erdma_ext_attrs attrs;
	int err;

	err = erdma_query_block(&ad->dev, ERDMA_SUB_COMMON, ERDMA_CMD_GET_EXT_ATTR, 0, &attrs,
				sizeof(attrs));
	if (!err)
		*value = attrs.delayed_ack;
	return err;
}

static int erdma_set_delayed_ack(struct erdma_adapter *ad, u64 value)
{
	struct erdma_cmd_ext_attr request = {
		.mask = cpu_to_le32(ERDMA_ATTR_DELAYED_ACK),
		.delayed_ack = value,
	};

	return erdma_cmd_exec(&ad->dev, ERDMA_SUB_COMMON, ERDMA_CMD_SET_EXT_ATTR, &request,
			      sizeof(request), NULL, NULL);
}

static int erdma_get_retransmits(struct erdma_adapter *ad, u64 *value)
{
	*value = READ_ONCE(ad->dev.retransmits);
	return 0;
}

static int erdma_set_retransmits(struct erdma_adapter *ad, u64 value)
{
	struct erdma_cmd_word request = { .value = cpu_to_le32(value) };
	int err;

	err = erdma_cmd_exec(&ad->dev, ERDMA_SUB_COMMON, ERDMA_CMD_SET_RETRANS_NUM, &request,
			     sizeof(request), NULL, NULL);
	if (!err)
		WRITE_ONCE(ad->dev.retransmits, value);
	return err;
}

static int erdma_get_cc(struct erdma_adapter *ad, u64 *value)
{
	*value = READ_ONCE(ad->dev.default_cc);
	return 0;
}

static int erdma_set_cc(struct erdma_adapter *ad, u64 value)
{
	WRITE_ONCE(ad->dev.default_cc, value);
	return 0;
}

static int erdma_get_dprint(struct erdma_adapter *ad, u64 *value)
{
	*value = READ_ONCE(erdma_dprint_mask);
	return 0;
}

static int erdma_set_dprint(struct erdma_adapter *ad, u64 value)
{
	WRITE_ONCE(erdma_dprint_mask, value);
	return 0;
}

static const struct erdma_setting {
	const char *name;
	const char *help;
	int (*get)(struct erdma_adapter *ad, u64 *value);
	int (*set)(struct erdma_adapter *ad, u64 value);
	u32 least, most;
	u32 flags;
} erdma_settings[] = {
	{ "cc",
	  "congestion control of new queue pairs: 0 NewReno, 1 Cubic, 2 HPCC by RTT, 3 by ECN, 4 by INT",
	  erdma_get_cc, erdma_set_cc, 0, ERDMA_MAX_CC },
	{ "delayed_ack", "segments that are received before an acknowledgement must be sent",
	  erdma_get_delayed_ack, erdma_set_delayed_ack, 0, U8_MAX },
	{ "retransmits", "retransmissions before a queue pair fails", erdma_get_retransmits,
	  erdma_set_retransmits, 1, ERDMA_RETRANSMITS_MOST },
	{ "dprint_mask",
	  "kernel messages: 1 commands, 2 connections, 4 events, 8 queue pair states",
	  erdma_get_dprint, erdma_set_dprint, 0, ERDMA_DBG_ALL, ERDMA_CONF_FLAG_GLOBAL },
};

int erdma_conf_list(struct erdma_listing *l)
{
	struct erdma_info_conf *out = l->entries;
	u32 filled = 0;

	for (; l->cursor < ARRAY_SIZE(erdma_settings) && filled < l->room;
	     l->cursor++, filled++, out++) {
		const struct erdma_setting *setting = &erdma_settings[l->cursor];
		u64 value = 0;
		int err = setting->get(l->ad, &value);

		if (err == -EINTR)
			return err;
		out->number = l->cursor;
		out->flags = setting->flags | (err ? ERDMA_CONF_FLAG_UNKNOWN : 0);
		out->value = value;
		out->least = setting->least;
		out->most = setting->most;
		strscpy(out->name, setting->name, sizeof(out->name));
		strscpy(out->help, setting->help, sizeof(out->help));
	}
	l->end = l->cursor >= ARRAY_SIZE(erdma_settings);
	return filled;
}

int erdma_conf_set(struct erdma_adapter *ad, const char *name, u64 value)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(erdma_settings); i++) {
		const struct erdma_setting *setting = &erdma_settings[i];

		if (strcmp(setting->name, name))
			continue;
		if (value < setting->least || value > setting->most)
			return -ERANGE;
		return setting->set(ad, value);
	}
	return -ENOENT;
}

/* ---- debugfs: erdma/PCI-ADDRESS/ ---- */

static struct dentry *erdma_debugfs_root;

static int erdma_debugfs_caps_show(struct seq_file *file, void *unused)
{
	const struct erdma_adapter *ad = file->private;

	seq_printf(file, "capabilities 0x%02x\n", ad->dev.caps.flags);
	seq_printf(file, "protocol %u\n", ad->dev.protocol);
	seq_printf(file, "extensions 0x%08x\n", ad->dev.caps.extensions);
	seq_printf(file, "model 0x%02x\n", ad->dev.caps.model);
	seq_printf(file, "firmware 0x%08x\n", ad->dev.caps.firmware);
	seq_printf(file, "direct_groups %u\n", ad->dev.caps.direct_wqe_groups);
	seq_printf(file, "vectors %u\n", ad->dev.vectors);
	seq_printf(file, "broken %d\n", erdma_is_broken(&ad->dev));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(erdma_debugfs_caps);

static int erdma_debugfs_ack_get(void *data, u64 *value)
{
	return erdma_get_delayed_ack(data, value);
}

static int erdma_debugfs_ack_set(void *data, u64 value)
{
	return erdma_conf_set(data, "delayed_ack", value);
}
DEFINE_DEBUGFS_ATTRIBUTE(erdma_debugfs_ack, erdma_debugfs_ack_get, erdma_debugfs_ack_set, "%llu\n");

void erdma_debugfs_add(struct erdma_adapter *ad)
{
	ad->debugfs = debugfs_create_dir(pci_name(ad->dev.pdev), erdma_debugfs_root);
	debugfs_create_file("capabilities", 0400, ad->debugfs, ad, &erdma_debugfs_caps_fops);
	debugfs_create_file("delayed_ack", 0600, ad->debugfs, ad, &erdma_debugfs_ack);
}

void erdma_debugfs_remove(struct erdma_adapter *ad)
{
	/* Waits for readers and writers. */
	debugfs_remove_recursive(ad->debugfs);
}

void erdma_debugfs_init(void)
{
	erdma_debugfs_root = debugfs_create_dir(ERDMA_NAME, NULL);
}

void erdma_debugfs_exit(void)
{
	debugfs_remove_recursive(erdma_debugfs_root);
}
