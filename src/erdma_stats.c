// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: counters, and blocks of state that the device writes to memory (adapter.md 4.14 to
 * 4.19).
 */
#include <linux/dma-mapping.h>

#include "erdma.h"
#include "erdma_ioctl.h"

/* ---- blocks that the device writes ---- */

int erdma_stats_setup(struct erdma_adapter *ad)
{
	mutex_init(&ad->block_lock);
	ad->block = dma_alloc_coherent(&ad->pdev->dev, ERDMA_STATS_BYTES, &ad->block_dma, GFP_KERNEL);
	return ad->block ? 0 : -ENOMEM;
}

void erdma_stats_teardown(struct erdma_adapter *ad)
{
	dma_free_coherent(&ad->pdev->dev, ERDMA_STATS_BYTES, ad->block, ad->block_dma);
	ad->block = NULL;
}

int erdma_query_block(struct erdma_adapter *ad, unsigned int sub, unsigned int opcode, u32 index, void *out,
		      size_t bytes)
{
	struct erdma_cmd_dump request = {
		.index = cpu_to_le32(index),
		.target_len = cpu_to_le32(ERDMA_STATS_BYTES),
	};
	const struct erdma_dump_head *head = out;
	int err;

	if (bytes > ERDMA_STATS_BYTES || bytes < sizeof(*head))
		return -EINVAL;
	/* Not more than one: whoever asks in a loop must not keep the command queue from its work. */
	err = mutex_lock_interruptible(&ad->block_lock);
	if (err)
		return err;
	memset(ad->block, 0, ERDMA_STATS_BYTES);
	request.target = cpu_to_le64(ad->block_dma);
	err = erdma_cmd_exec(ad, sub, opcode, &request, sizeof(request), NULL, NULL);
	if (!err) {
		memcpy(out, ad->block, bytes);
		if (le16_to_cpu(head->magic) != ERDMA_DUMP_MAGIC)
			err = -EIO;
	}
	mutex_unlock(&ad->block_lock);
	return err;
}

/* ---- the list ---- */

struct erdma_counter_name {
	const char *name;
	const char *alias;
	const char *help;
	u8 group;
};

static const struct erdma_counter_name erdma_counter_names[] = {
#define ERDMA_HW_NAME(name, help) { #name, "hw_" #name, help, ERDMA_COUNTER_HW },
	ERDMA_HW_COUNTERS(ERDMA_HW_NAME)
#define ERDMA_KEPT_NAME(group, name, value, help) { #name, "", help, ERDMA_COUNTER_##group },
	ERDMA_KEPT_COUNTERS(ERDMA_KEPT_NAME)
#define ERDMA_OWN_NAME(group, name, help) { #name, "", help, ERDMA_COUNTER_##group },
	ERDMA_OWN_COUNTERS(ERDMA_OWN_NAME)
};

#define ERDMA_COUNTERS ARRAY_SIZE(erdma_counter_names)

static u64 erdma_sum_ceqs(const struct erdma_adapter *ad, bool bad)
{
	u64 sum = 0;
	u32 i;

	for (i = 0; i < ad->num_ceqs; i++)
		sum += READ_ONCE(*(bad ? &ad->ceqs[i].eq.bad_events : &ad->ceqs[i].eq.events));
	return sum;
}

/*
 * Values in the order of erdma_counter_names.  No lock of a data path or of an interrupt handler: each value is
 * right for itself.  A device that cannot count keeps its part at zero.
 */
static int erdma_counter_values(struct erdma_adapter *ad, u64 *values)
{
	struct {
		struct erdma_dump_head head;
		__le64 counter[ERDMA_STATS_COUNT];
	} __packed block;
	const u64 kept[] = {
#define ERDMA_KEPT_VALUE(group, name, value, help) (value),
		ERDMA_KEPT_COUNTERS(ERDMA_KEPT_VALUE)
	};
	u64 *at = values;
	u32 i;
	int err;

	err = erdma_query_block(ad, ERDMA_SUB_COMMON, ERDMA_CMD_GET_STATS, 0, &block, sizeof(block));
	if (err == -EINTR)
		return err;
	for (i = 0; i < ERDMA_STATS_COUNT; i++)
		*at++ = err ? 0 : le64_to_cpu(block.counter[i]);
	for (i = 0; i < ARRAY_SIZE(kept); i++)
		*at++ = kept[i];
	for (i = 0; i < ERDMA_OWN_COUNTER_COUNT; i++)
		*at++ = atomic64_read(&ad->counters[i]);
	return 0;
}

u32 erdma_counters_total(void)
{
	return ERDMA_COUNTERS;
}

int erdma_counters_list(struct erdma_adapter *ad, u32 first, struct erdma_info_counter *out, u32 room)
{
	u64 values[ERDMA_COUNTERS];
	u32 filled = 0;
	int err;

	if (first >= ERDMA_COUNTERS)
		return 0;
	err = erdma_counter_values(ad, values);
	if (err)
		return err;
	for (; first < ERDMA_COUNTERS && filled < room; first++, filled++) {
		const struct erdma_counter_name *name = &erdma_counter_names[first];

		out->number = first;
		out->group = name->group;
		out->value = values[first];
		strscpy(out->name, name->name, sizeof(out->name));
		strscpy(out->alias, name->alias, sizeof(out->alias));
		strscpy(out->help, name->help, sizeof(out->help));
		out++;
	}
	return filled;
}

/* ---- ib_core ---- */

/* The counters of the device once under each spelling, as users' scripts know them, then the others. */
#define ERDMA_PORT_COUNTERS (ERDMA_COUNTERS + ERDMA_STATS_COUNT)

static const erdma_stat_name erdma_port_descs[] = {
#define ERDMA_HW_DESC(counter, help) ERDMA_STAT_NAME(#counter),
	ERDMA_HW_COUNTERS(ERDMA_HW_DESC)
#define ERDMA_KEPT_DESC(group, counter, value, help) ERDMA_STAT_NAME(#counter),
	ERDMA_KEPT_COUNTERS(ERDMA_KEPT_DESC)
#define ERDMA_OWN_DESC(group, counter, help) ERDMA_STAT_NAME(#counter),
	ERDMA_OWN_COUNTERS(ERDMA_OWN_DESC)
#define ERDMA_ALIAS_DESC(counter, help) ERDMA_STAT_NAME("hw_" #counter),
	ERDMA_HW_COUNTERS(ERDMA_ALIAS_DESC)
};

static_assert(ARRAY_SIZE(erdma_port_descs) == ERDMA_PORT_COUNTERS);

struct rdma_hw_stats *erdma_alloc_port_stats(struct ib_device *ib, erdma_port_number port)
{
	return rdma_alloc_hw_stats_struct(erdma_port_descs, ERDMA_PORT_COUNTERS, RDMA_HW_STATS_DEFAULT_LIFESPAN);
}

int erdma_get_stats(struct ib_device *ib, struct rdma_hw_stats *stats, erdma_port_number port, int index)
{
	int err;

	if (!port)
		return -EINVAL;
	err = erdma_counter_values(to_erdma(ib), stats->value);
	if (err)
		return err;
	memcpy(&stats->value[ERDMA_COUNTERS], stats->value, ERDMA_STATS_COUNT * sizeof(u64));
	return stats->num_counters;
}
