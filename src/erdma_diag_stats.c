// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: values of the counters of erdma_stats.h.
 */
#include "erdma_dev_query.h"
#include "erdma_diag.h"

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

static u64 erdma_sum_ceqs(const struct erdma_dev *dev, bool bad)
{
	u64 sum = 0;
	u32 i;

	for (i = 0; i < dev->num_ceqs; i++)
		sum += READ_ONCE(*(bad ? &dev->ceqs[i].eq.bad_events : &dev->ceqs[i].eq.events));
	return sum;
}

/*
 * Values in the order of erdma_counter_names.  No lock of a data path or of an interrupt handler:
 * each value is right for itself.  A device that cannot count keeps its part at zero.
 */
static int erdma_counter_values(struct erdma_dev *dev, u64 *values)
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

	err = erdma_query_block(dev, ERDMA_SUB_COMMON, ERDMA_CMD_GET_STATS, 0, &block,
				sizeof(block));
	if (err == -EINTR)
		return err;
	for (i = 0; i < ERDMA_STATS_COUNT; i++)
		*at++ = err ? 0 : le64_to_cpu(block.counter[i]);
	for (i = 0; i < ARRAY_SIZE(kept); i++)
		*at++ = kept[i];
	for (i = 0; i < ERDMA_OWN_COUNTER_COUNT; i++)
		*at++ = atomic64_read(&dev->counters[i]);
	return 0;
}

u32 erdma_counters_total(void)
{
	return ERDMA_COUNTERS;
}

int erdma_counters_list(struct erdma_dev *dev, u32 first, struct erdma_info_counter *out, u32 room)
{
	u64 values[ERDMA_COUNTERS];
	u32 filled = 0;
	int err;

	if (first >= ERDMA_COUNTERS)
		return 0;
	err = erdma_counter_values(dev, values);
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

/* The counters of the device under each spelling, as scripts know them, then the others. */
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
	return rdma_alloc_hw_stats_struct(erdma_port_descs, ERDMA_PORT_COUNTERS,
					  RDMA_HW_STATS_DEFAULT_LIFESPAN);
}

int erdma_get_stats(struct ib_device *ib, struct rdma_hw_stats *stats, erdma_port_number port,
		    int index)
{
	int err;

	if (!port)
		return -EINVAL;
	err = erdma_counter_values(&to_erdma(ib)->dev, stats->value);
	if (err)
		return err;
	memcpy(&stats->value[ERDMA_COUNTERS], stats->value, ERDMA_STATS_COUNT * sizeof(u64));
	return stats->num_counters;
}
