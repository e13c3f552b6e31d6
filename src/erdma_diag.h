/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: diagnostics.  /dev/erdma (erdma_diag_ioctl.c) and what stands behind
 * its requests: entries, ring contents, settings and counters; debugfs, and what ib_core asks for.
 */
#ifndef ERDMA_DIAG_H
#define ERDMA_DIAG_H

#include "erdma_adapter.h"
#include "erdma_ioctl.h"

struct erdma_qp;

/* Entries that are put together before they are copied to the caller. */
#define ERDMA_BATCH 64

/* A list on its way to the caller. */
struct erdma_listing {
	struct erdma_adapter *ad;	/* the caller holds it; NULL for ERDMA_KIND_DEVICE */
	u64 cursor;
	u32 flags;
	u32 hidden;
	bool others;		/* objects of other users may be shown */
	bool end;		/* nothing is left behind `cursor` */
	void *entries;		/* ERDMA_BATCH entries, zeroed */
	u32 room;		/* how many of them are wanted */
	ktime_t born[ERDMA_BATCH]; /* of tracked objects: does a number still mean the same? */
};

struct erdma_report {
	u32 entry_size;
	/*
	 * Fills entries from the cursor on and moves it.  May sleep.  Returns how many, or -errno.
	 */
	int (*fill)(struct erdma_listing *l);
	/* Adds what the device knows to one entry, or NULL.  May sleep.  -EINTR ends the list. */
	int (*ask_device)(struct erdma_listing *l, u32 which);
};

/* ---- erdma_diag_ioctl.c ---- */

int erdma_diag_init(void);		/* module */
void erdma_diag_exit(void);
/* After registration with ib_core; before unregistration, which waits for requests under way. */
void erdma_diag_add(struct erdma_adapter *ad);
void erdma_diag_remove(struct erdma_adapter *ad);

/* ---- erdma_diag_report.c ---- */

extern const struct erdma_report erdma_reports[ERDMA_KIND_COUNT];

/* May the caller see objects of other users on this adapter? */
bool erdma_sees_others(const struct erdma_adapter *ad);
/* May the caller of the list see what this one owns? */
bool erdma_owner_visible(const struct erdma_listing *l, const struct erdma_owner *owner);
void erdma_show_owner(struct erdma_info_owner *out, const struct erdma_owner *owner);

/* What is known of the rings of a QP that the tracker has; under the tracker's lock. */
void erdma_report_qp_indices(const struct erdma_qp *qp, struct erdma_info_qp *out);

/* ---- erdma_diag_check.c ---- */

/**
 * erdma_check_list() - Entries of ERDMA_KIND_FINDING.
 * @l: the list, with the number of the first in its cursor
 *
 * One command for each entry.  May sleep.
 *
 * Return: how many were filled, -EINTR, or -ENODEV when the adapter goes.
 */
int erdma_check_list(struct erdma_listing *l);

/* ---- erdma_diag_ring.c ---- */

/* `slots` entries of a ring from slot `first` on, and the `out` fields of `d`.  May sleep. */
#define ERDMA_RING_CHUNK SZ_16K
int erdma_ring_describe(struct erdma_adapter *ad, struct erdma_diag_dump *d);
int erdma_ring_copy(struct erdma_adapter *ad, const struct erdma_diag_dump *d, u32 first, u32 slots,
		    void *out);

/* ---- erdma_diag_conf.c ---- */

/* -ENOENT no such setting, -ERANGE, or what the device says.  May sleep. */
int erdma_conf_set(struct erdma_adapter *ad, const char *name, u64 value);
int erdma_conf_list(struct erdma_listing *l);
void erdma_debugfs_init(void);		/* module */
void erdma_debugfs_exit(void);
void erdma_debugfs_add(struct erdma_adapter *ad);
void erdma_debugfs_remove(struct erdma_adapter *ad);

/* ---- erdma_diag_stats.c ---- */

/**
 * erdma_counters_list() - Entries of the list of counters.
 * @dev: the device
 * @first: position of the first
 * @out: entries, zeroed
 * @room: how many are wanted
 *
 * Values are read now, those of the device with one command.  May sleep.
 *
 * Return: how many were filled, or -errno.
 */
int erdma_counters_list(struct erdma_dev *dev, u32 first, struct erdma_info_counter *out, u32 room);
u32 erdma_counters_total(void);
/* ib_core: sysfs hw_counters and `rdma statistic`. */
struct rdma_hw_stats *erdma_alloc_port_stats(struct ib_device *ib, erdma_port_number port);
int erdma_get_stats(struct ib_device *ib, struct rdma_hw_stats *stats, erdma_port_number port,
		    int index);
/*
 * sysfs: what monitoring demands of every RDMA device, board_id and ports/1/counters.  Without them
 * node_exporter shows no RDMA device of the machine at all.
 */
extern const struct attribute_group erdma_device_group;
extern const struct attribute_group *erdma_port_groups[];

/* ---- erdma_diag_res.c: driver-specific lines of `rdma resource show` ---- */

int erdma_fill_res_qp(struct sk_buff *msg, struct ib_qp *ibqp);
int erdma_fill_res_cq(struct sk_buff *msg, struct ib_cq *ibcq);
int erdma_fill_res_mr(struct sk_buff *msg, struct ib_mr *ibmr);

#endif
