// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: what is kept of a device that failed.
 */
#include <linux/devcoredump.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "erdma_diag.h"
#include "erdma_dump.h"

/* The text in front of the rings; a line for each of at most 34 rings is within it. */
#define ERDMA_DUMP_TEXT_BYTES SZ_8K

/* ---- parts ---- */

bool erdma_dump_find(struct erdma_adapter *ad, unsigned int index, struct erdma_dump_part *part)
{
	struct erdma_diag_dump d = { };

	memset(part, 0, sizeof(*part));
	switch (index) {
	case 0:
		d.ring = ERDMA_RING_CMD_SQ;
		strscpy(part->name, "cmd-sq", sizeof(part->name));
		break;
	case 1:
		d.ring = ERDMA_RING_CMD_CQ;
		strscpy(part->name, "cmd-cq", sizeof(part->name));
		break;
	default:
		d.ring = ERDMA_RING_EQ;
		d.number = index - 2;
		if (!d.number)
			strscpy(part->name, "aeq", sizeof(part->name));
		else if (d.number == 1)
			strscpy(part->name, "cmd-eq", sizeof(part->name));
		else
			snprintf(part->name, sizeof(part->name), "ceq-%u", d.number - 1);
	}
	if (erdma_ring_describe(ad, &d))
		return false;

	part->ring = d.ring;
	part->number = d.number;
	part->entry_bytes = d.entry_bytes;
	part->depth = d.depth;
	part->slots = d.depth;
	part->pi = d.pi;
	part->ci = d.ci;
	if (d.ring == ERDMA_RING_EQ && d.depth > ERDMA_DUMP_EQ_SLOTS) {
		part->first = (d.ci - ERDMA_DUMP_EQ_BEFORE) & (d.depth - 1);
		part->slots = ERDMA_DUMP_EQ_SLOTS;
	}
	return true;
}

int erdma_dump_read(struct erdma_adapter *ad, const struct erdma_dump_part *part, void *out)
{
	const struct erdma_diag_dump d = {
		.ring = part->ring,
		.number = part->number,
		.depth = part->depth,
		.entry_bytes = part->entry_bytes,
	};
	u32 front = min(part->slots, part->depth - part->first);
	int err = erdma_ring_copy(ad, &d, part->first, front, out);

	if (!err && front < part->slots)
		err = erdma_ring_copy(ad, &d, 0, part->slots - front,
				      out + (size_t)front * part->entry_bytes);
	return err;
}

bool erdma_dump_last_command(struct erdma_adapter *ad, struct erdma_dump_command *command)
{
	const u32 blocks = ERDMA_CMD_ENTRY_BYTES / ERDMA_WQEBB_BYTES;
	struct erdma_cmdq *q = &ad->dev.cmdq;
	u64 header;
	bool found;

	spin_lock_irq(&q->lock);
	found = q->submitted;
	if (found) {
		command->slot = (q->sq_pi / blocks - 1) % ERDMA_CMDQ_OUTSTANDING;
		header = le64_to_cpup(q->sq + command->slot * ERDMA_CMD_ENTRY_BYTES);
		command->sub = FIELD_GET(ERDMA_CMDH_SUB, header);
		command->opcode = FIELD_GET(ERDMA_CMDH_OPCODE, header);
		command->answered = q->slots[command->slot].state == ERDMA_SLOT_FREE;
	}
	spin_unlock_irq(&q->lock);
	return found;
}

/* ---- for devcoredump ---- */

static size_t erdma_dump_text(struct erdma_adapter *ad, char *text, size_t room)
{
	const struct erdma_cmdq *q = &ad->dev.cmdq;
	struct erdma_dump_command command;
	size_t n;

	n = scnprintf(text, room,
		      "erdma-dump: 1\ndevice: %s %s\ndriver: %s\nreason: %s\nfirmware: 0x%08x\n"
		      "protocol: %s\ncommands: submitted %llu completed %llu failed %llu unanswered-in-time %llu rescued %llu\n",
		      pci_name(ad->dev.pdev), dev_name(&ad->ib.dev), ERDMA_VERSION,
		      READ_ONCE(ad->dev.broken_why) ?: "none", ad->dev.caps.firmware,
		      erdma_is_roce(&ad->dev) ? "RoCEv2" : "iWARP", q->submitted, q->completed,
		      q->failed, q->timeouts, q->rescued);
	if (erdma_dump_last_command(ad, &command))
		n += scnprintf(text + n, room - n, "last-command: %u/%u slot %u %s\n", command.sub,
			       command.opcode, command.slot,
			       command.answered ? "answered" : "unanswered");
	return n;
}

void erdma_dump_core(struct erdma_adapter *ad)
{
	struct erdma_dump_part part;
	size_t text, bytes = ERDMA_DUMP_TEXT_BYTES;
	unsigned int index;
	char *data;

	if (!IS_ENABLED(CONFIG_DEV_COREDUMP))
		return;
	for (index = 0; erdma_dump_find(ad, index, &part); index++)
		bytes += erdma_dump_bytes(&part);
	data = vzalloc(bytes);
	if (!data)
		return;

	text = erdma_dump_text(ad, data, ERDMA_DUMP_TEXT_BYTES);
	bytes = ERDMA_DUMP_TEXT_BYTES;
	for (index = 0; erdma_dump_find(ad, index, &part); index++) {
		text += scnprintf(data + text, ERDMA_DUMP_TEXT_BYTES - text,
				  "ring: %s offset %zu entry-bytes %u depth %u first %u slots %u pi %u ci %u\n",
				  part.name, bytes, part.entry_bytes, part.depth, part.first,
				  part.slots, part.pi, part.ci);
		/* One that cannot be read stays zeros. */
		erdma_dump_read(ad, &part, data + bytes);
		bytes += erdma_dump_bytes(&part);
	}
	dev_coredumpv(&ad->dev.pdev->dev, data, bytes, GFP_KERNEL);
	dev_info(&ad->dev.pdev->dev, "its rings are in /sys/class/devcoredump for five minutes\n");
}
