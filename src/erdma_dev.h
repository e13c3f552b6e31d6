/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: the device layer's structures, and access to registers and
 * doorbells.
 *
 * This layer knows the device as registers, queues and commands, and nothing of verbs or
 * connections.  What it has to tell goes up through struct erdma_dev_ops.
 */
#ifndef ERDMA_DEV_H
#define ERDMA_DEV_H

#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/if_ether.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "erdma_hw.h"
#include "erdma_log.h"
#include "erdma_stats.h"
#include "kcompat.h"

struct dma_pool;
struct erdma_dev;

/* What QUERY_DEVICE and QUERY_FW_INFO said, checked and converted (adapter.md 4.2, 4.15, 11). */
struct erdma_caps {
	u32 max_qps;		/* QPNs are 1 .. max_qps - 1 */
	u32 max_cqs;		/* CQNs are 1 .. max_cqs - 1 */
	u32 max_mrs;		/* MR indices are 1 .. max_mrs - 1 */
	u32 max_regions;	/* so many of them are for regions */
	u32 max_cqe;
	u32 max_recv_wr;
	u32 max_send_wr;
	u64 max_mr_size;
	u32 max_reads;		/* reads and atomics per QP and direction; module parameter */
	u32 local_dma_key;
	u8 default_cc;
	u8 flags;		/* ERDMA_CAP_* bits */
	u8 model;		/* ERDMA_MODEL_* bits */
	u32 firmware;
	u32 direct_wqe_groups;	/* register GRP_NUM */

	/* RoCEv2 (adapter.md 13.1, roce.md 1.9) */
	u32 max_gids;		/* entries of the GID table */
	u32 max_ahs;		/* AH numbers are 1 .. max_ahs - 1 */
	u32 extensions;		/* ERDMA_ATTR_QPX, ERDMA_ATTR_UDX */
};

/* Can a region have this index? */
static inline bool erdma_is_region_index(const struct erdma_caps *caps, u32 index)
{
	return index && index < caps->max_mrs;
}

/* An 8-byte doorbell record in coherent memory. */
struct erdma_dbrec {
	__le64 *cpu;
	dma_addr_t dma;
};

/* Event queue of 16-byte entries in coherent memory. */
struct erdma_eq {
	struct erdma_dev *dev;
	void *ring;
	dma_addr_t ring_dma;
	u32 depth;		/* entries, power of two */
	u32 ci;			/* free running; only the handler of its vector changes it */
	u32 number;		/* EQN; the AEQ has none */
	void __iomem *db;
	struct erdma_dbrec rec;
	u64 events;		/* entries consumed, for statistics */
	u64 bad_events;		/* entries that named nothing we know */
	bool waiting;		/* at the last check of the health work there was an event, */
	u32 waiting_ci;		/* at this position */
};

struct erdma_ceq {
	struct erdma_eq eq;
	bool ready;
	unsigned int vector;	/* MSI-X vector, = EQN */
	char irq_name[48];
	cpumask_t affinity;
};

enum erdma_slot_state {
	ERDMA_SLOT_FREE,
	ERDMA_SLOT_WAITING,	/* the device has the command, a caller waits */
	ERDMA_SLOT_ABANDONED,	/* its caller gave up; a late completion frees it */
};

/* Who waits for a command, on that caller's stack.  Under erdma_cmdq.lock. */
struct erdma_cmd_wait {
	struct completion done;	/* answered, or the device is broken */
	bool answered;
	u8 status;
	u64 resp0, resp1;
};

/*
 * One entry position of the command SQ: the slot number is the command's cookie.  It is free again
 * when the answer has been taken from the ring, whether its caller has run since or not: one that
 * cannot sleep must never have to wait for one that does.
 */
struct erdma_cmd_slot {
	enum erdma_slot_state state;
	struct erdma_cmd_wait *wait;
};

struct erdma_cmdq {
	void *sq;
	dma_addr_t sq_dma;
	struct erdma_dbrec sq_rec;
	u32 sq_depth;		/* WQEBBs */
	u16 sq_pi;

	void *cq;
	dma_addr_t cq_dma;
	struct erdma_dbrec cq_rec;
	u32 cq_ci;
	u32 events;		/* feeds IDX and CMDSN of the arm doorbell */

	struct erdma_eq eq;

	spinlock_t lock;	/* everything here but the EQ ring; irq safe */
	wait_queue_head_t room;	/* callers that wait for the next SQ entry */
	struct erdma_cmd_slot slots[ERDMA_CMDQ_OUTSTANDING];
	bool event_mode;

	/* statistics */
	u64 submitted, completed, failed, timeouts;
	u64 bad;		/* completions that fit no command */
	u64 late;		/* completions of abandoned commands */
	u64 rescued;		/* completions found without an event */
};

/**
 * struct erdma_dev_ops - What the layers above give the device layer at probe.
 * @common_interrupt: handler of vector 0 (command queue and AEQ); its data is the struct erdma_dev
 * @ceq_interrupt: handler of the other vectors; its data is the struct erdma_ceq
 * @died: the device was declared broken; called once, from a workqueue
 */
struct erdma_dev_ops {
	irq_handler_t common_interrupt;
	irq_handler_t ceq_interrupt;
	void (*died)(struct erdma_dev *dev);
};

enum erdma_dev_flags {
	ERDMA_DEV_BROKEN,	/* it died, or did not answer, and was reset: no more commands */
};

struct erdma_dev {
	struct pci_dev *pdev;
	struct ib_device *ib;		/* names the device in messages, nothing else */
	const struct erdma_dev_ops *ops;
	unsigned long flags;		/* enum erdma_dev_flags bits */
	const char *broken_why;		/* for good, or NULL while it was not declared broken */
	u32 number;			/* in diagnostics and tracepoints, never used again */
	u32 protocol;			/* ERDMA_PROTO_*, for good */
	u8 mac[ETH_ALEN];		/* permanent address of the paired NIC */

	void __iomem *bar;
	resource_size_t bar_phys;
	resource_size_t bar_len;
	u32 vectors;			/* granted MSI-X vectors */
	char common_irq_name[48];

	struct erdma_caps caps;
	struct erdma_cmdq cmdq;
	struct erdma_eq aeq;
	struct erdma_ceq ceqs[ERDMA_MAX_CEQS];
	u32 num_ceqs;
	struct dma_pool *dbrec_pool;

	spinlock_t retire_lock;		/* reset before ERDMA_DEV_BROKEN */
	struct workqueue_struct *wq;	/* what memory reclaim may wait for */
	struct work_struct died_work;	/* tells the layers above after ERDMA_DEV_BROKEN */
	struct delayed_work health_work; /* in it; checks whether the device is still there */

	atomic64_t counters[ERDMA_OWN_COUNTER_COUNT];
	struct mutex block_lock;	/* guards block */
	void *block;			/* where the device writes its statistics and contexts */
	dma_addr_t block_dma;
	u8 default_cc;			/* of new QPs */
	u8 retransmits;			/* what the device was told last */
};

static inline bool erdma_is_roce(const struct erdma_dev *dev)
{
	return dev->protocol == ERDMA_PROTO_ROCE;
}

static inline bool erdma_is_broken(const struct erdma_dev *dev)
{
	return test_bit(ERDMA_DEV_BROKEN, &dev->flags);
}

/* Is the entry at free-running index `ci` of a ring ours?  `owner` is its owner bit (3.5). */
static inline bool erdma_owned(u32 owner, u32 ci, u32 depth)
{
	return (owner & 1) ^ !!(ci & depth);
}

static inline u32 erdma_reg_read(struct erdma_dev *dev, u32 offset)
{
	return readl(dev->bar + offset);
}

static inline void erdma_reg_write(struct erdma_dev *dev, u32 offset, u32 value)
{
	writel(value, dev->bar + offset);
}

/* A bus address in a pair of 32-bit registers; the high half goes first. */
static inline void erdma_reg_write_addr(struct erdma_dev *dev, u32 low, u32 high, dma_addr_t addr)
{
	erdma_reg_write(dev, high, upper_32_bits(addr));
	erdma_reg_write(dev, low, lower_32_bits(addr));
}

static inline void erdma_reg_write64(struct erdma_dev *dev, u32 offset, u64 value)
{
	writeq(value, dev->bar + offset);
}

/* Rings a doorbell: its record first, then the register (6.6). */
static inline void erdma_ring_doorbell(const struct erdma_dbrec *rec, void __iomem *db, u64 value)
{
	WRITE_ONCE(*rec->cpu, cpu_to_le64(value));
	writeq(value, db);
}

/**
 * erdma_dev_reset() - Stop all DMA of the device.
 * @dev: the device
 *
 * Any context.  When it returns the device has taken the reset.
 */
void erdma_dev_reset(struct erdma_dev *dev);

/**
 * erdma_dbrec_alloc() - Allocate a zeroed doorbell record.
 * @dev: the device
 * @rec: gets its addresses
 *
 * May sleep.  Return: 0 or -ENOMEM.
 */
int erdma_dbrec_alloc(struct erdma_dev *dev, struct erdma_dbrec *rec);

/**
 * erdma_dbrec_free() - Free a doorbell record that the device does not use any more.
 * @dev: the device
 * @rec: the record; its address becomes NULL
 */
void erdma_dbrec_free(struct erdma_dev *dev, struct erdma_dbrec *rec);

#endif
