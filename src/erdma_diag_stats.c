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

/* ---- sysfs as other RDMA devices have it ---- */

static ssize_t board_id_show(struct device *device, struct device_attribute *attr, char *buf)
{
	/* In other network namespaces ib_core shows a device of its own instead of ours. */
	const struct pci_dev *pdev = to_erdma(rdma_device_to_ibdev(device))->dev.pdev;

	return sysfs_emit(buf, "%04x:%04x\n", pdev->vendor, pdev->device);
}
static DEVICE_ATTR_RO(board_id);

static struct attribute *erdma_device_attrs[] = { &dev_attr_board_id.attr, NULL };

const struct attribute_group erdma_device_group = { .attrs = erdma_device_attrs };

enum {
#define ERDMA_HW_PLACE(name, help) ERDMA_AT_##name,
	ERDMA_HW_COUNTERS(ERDMA_HW_PLACE)
};

/* A counter of InfiniBand's ports, and those of the device that it is the sum of. */
struct erdma_port_count {
	struct ib_port_attribute attr;
	u8 first;
	u8 number;
	u8 unit;	/* octets, where the device counts those */
};

static ssize_t erdma_port_count_show(struct ib_device *ib, u32 port, struct ib_port_attribute *attr,
				     char *buf)
{
	const struct erdma_port_count *count = container_of(attr, struct erdma_port_count, attr);
	u64 values[ERDMA_COUNTERS];
	u64 sum = 0;
	int err;
	u32 i;

	err = erdma_counter_values(&to_erdma(ib)->dev, values);
	if (err)
		return err;
	for (i = 0; i < count->number; i++)
		sum += values[count->first + i];
	return sysfs_emit(buf, "%llu\n", div_u64(sum, count->unit));
}

#define ERDMA_PORT_COUNT(_name, _first, _number, _unit) \
	static struct erdma_port_count erdma_##_name = { \
		.attr = { \
			.attr = { .name = #_name, .mode = 0444 }, \
			.show = erdma_port_count_show, \
		}, \
		.first = ERDMA_AT_##_first, \
		.number = (_number), \
		.unit = (_unit), \
	}

/* Data is counted in words of 32 bits there. */
ERDMA_PORT_COUNT(port_xmit_data, tx_bytes_cnt, 1, 4);
ERDMA_PORT_COUNT(port_rcv_data, rx_bytes_cnt, 1, 4);
ERDMA_PORT_COUNT(port_xmit_packets, tx_packets_cnt, 1, 1);
ERDMA_PORT_COUNT(port_rcv_packets, rx_packets_cnt, 1, 1);
ERDMA_PORT_COUNT(port_xmit_discards, tx_disable_drop_cnt, 3, 1);

static struct attribute *erdma_port_attrs[] = {
	&erdma_port_xmit_data.attr.attr,
	&erdma_port_rcv_data.attr.attr,
	&erdma_port_xmit_packets.attr.attr,
	&erdma_port_rcv_packets.attr.attr,
	&erdma_port_xmit_discards.attr.attr,
	NULL
};

static const struct attribute_group erdma_port_group = {
	.name = "counters",
	.attrs = erdma_port_attrs,
};

const struct attribute_group *erdma_port_groups[] = { &erdma_port_group, NULL };
