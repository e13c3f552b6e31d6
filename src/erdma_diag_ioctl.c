// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: the diagnostics device /dev/erdma (erdma_ioctl.h is its interface).
 *
 * Every request is copied once, checked, and answered from zeroed memory.  The adapter of a request
 * is held with a reference of ib_core, for whose release unregistration waits.
 */
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/nsproxy.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "erdma_cm_ep.h"
#include "erdma_diag.h"
#include "erdma_roce.h"

/* 32-bit programs see the same structures. */
static_assert(sizeof(struct erdma_diag_version) == 56);
static_assert(sizeof(struct erdma_diag_list) == 48);
static_assert(sizeof(struct erdma_diag_dump) == 64);
static_assert(sizeof(struct erdma_diag_set) == 56);
static_assert(sizeof(struct erdma_info_device) == 256);
static_assert(sizeof(struct erdma_info_qp) == 440);
static_assert(sizeof(struct erdma_info_cq) == 104);
static_assert(sizeof(struct erdma_info_eq) == 112);
static_assert(sizeof(struct erdma_info_mr) == 96);
static_assert(sizeof(struct erdma_info_pd) == 48);
static_assert(sizeof(struct erdma_info_ctx) == 64);
static_assert(sizeof(struct erdma_info_cep) == 136);
static_assert(sizeof(struct erdma_info_counter) == 192);
static_assert(sizeof(struct erdma_info_conf) == 160);
static_assert(sizeof(struct erdma_info_finding) == 272);

/* The first versions of requests: nobody can send less. */
#define ERDMA_LEAST_VERSION	sizeof(struct erdma_diag_version)
#define ERDMA_LEAST_LIST	sizeof(struct erdma_diag_list)
#define ERDMA_LEAST_DUMP	sizeof(struct erdma_diag_dump)
#define ERDMA_LEAST_SET		sizeof(struct erdma_diag_set)
#define ERDMA_REQUEST_MOST	4096

/* ---- adapters ---- */

static DEFINE_MUTEX(erdma_diag_lock);	/* everything here; only ib_device_try_get() inside */
static LIST_HEAD(erdma_diag_adapters);	/* in the order of their numbers */
static u32 erdma_diag_last;

void erdma_diag_add(struct erdma_adapter *ad)
{
	mutex_lock(&erdma_diag_lock);
	ad->dev.number = erdma_diag_last++;
	list_add_tail(&ad->diag_node, &erdma_diag_adapters);
	mutex_unlock(&erdma_diag_lock);
}

void erdma_diag_remove(struct erdma_adapter *ad)
{
	mutex_lock(&erdma_diag_lock);
	list_del(&ad->diag_node);
	mutex_unlock(&erdma_diag_lock);
}

/* The caller's first adapter from `number` on, held until ib_device_put(); NULL: there is none. */
static struct erdma_adapter *erdma_diag_from(u32 number)
{
	struct erdma_adapter *ad, *found = NULL;

	mutex_lock(&erdma_diag_lock);
	list_for_each_entry(ad, &erdma_diag_adapters, diag_node) {
		if (ad->dev.number >= number &&
		    rdma_dev_access_netns(&ad->ib, current->nsproxy->net_ns) &&
		    ib_device_try_get(&ad->ib)) {
			found = ad;
			break;
		}
	}
	mutex_unlock(&erdma_diag_lock);
	return found;
}

static struct erdma_adapter *erdma_diag_get(u32 number)
{
	struct erdma_adapter *ad = erdma_diag_from(number);

	if (!ad)
		return ERR_PTR(-ENODEV);
	if (ad->dev.number != number) {
		ib_device_put(&ad->ib);
		return ERR_PTR(-ENODEV);
	}
	return ad;
}

/* ---- version ---- */

static int erdma_diag_version(void *arg)
{
	struct erdma_diag_version *v = arg;
	struct erdma_adapter *ad;
	u32 number = 0;

	v->interface = ERDMA_DIAG_VERSION;
	v->kinds = BIT(ERDMA_KIND_COUNT) - 1;
	v->rings = BIT(ERDMA_RING_COUNT) - 1;
	v->rights = ns_capable_noaudit(&init_user_ns, CAP_NET_ADMIN) ? ERDMA_RIGHT_CHANGE : 0;
	v->devices = 0;
	while ((ad = erdma_diag_from(number))) {
		v->devices++;
		number = ad->dev.number + 1;
		ib_device_put(&ad->ib);
	}
	memset(v->driver, 0, sizeof(v->driver));
	strscpy(v->driver, ERDMA_VERSION, sizeof(v->driver));
	return 0;
}

/* ---- lists ---- */

static void erdma_report_device(struct erdma_adapter *ad, struct erdma_info_device *out)
{
	const struct net_device *nic;
	unsigned long index;
	void *entry;

	out->device = ad->dev.number;
	out->flags = (erdma_is_broken(&ad->dev) ? ERDMA_DEVICE_BROKEN : 0) |
		     (erdma_sees_others(ad) ? ERDMA_DEVICE_OTHERS : 0);
	strscpy(out->name, dev_name(&ad->ib.dev), sizeof(out->name));
	strscpy(out->pci, pci_name(ad->dev.pdev), sizeof(out->pci));
	rcu_read_lock();
	nic = READ_ONCE(ad->netdev);
	if (nic) {
		strscpy(out->netdev, nic->name, sizeof(out->netdev));
		if (netif_running(nic) && netif_carrier_ok(nic) && !erdma_is_broken(&ad->dev))
			out->flags |= ERDMA_DEVICE_UP;
	}
	rcu_read_unlock();
	ether_addr_copy(out->mac, ad->dev.mac);
	out->mtu = READ_ONCE(ad->mtu);
	out->pci_vendor = ad->dev.pdev->vendor;
	out->pci_device = ad->dev.pdev->device;
	out->pci_revision = ad->dev.pdev->revision;
	out->firmware = ad->dev.caps.firmware;
	out->guid = (__force u64)ad->ib.node_guid;
	out->protocol = ad->dev.protocol;
	out->capabilities = ad->dev.caps.flags | ad->dev.caps.model << 8;
	out->direct_groups = ad->dev.caps.direct_wqe_groups;
	out->exclusive_pages = ad->db_exclusive;
	out->divided_slots = ad->db_entries;
	out->vectors = ad->dev.vectors;
	out->completion_vectors = ad->dev.num_ceqs;
	out->default_cc = READ_ONCE(ad->dev.default_cc);
	out->device_cc = ad->dev.caps.default_cc;

	out->max_qp = ad->dev.caps.max_qps - 1;
	out->max_cq = ad->dev.caps.max_cqs - 1;
	out->max_mr = ad->dev.caps.max_regions;
	out->max_pd = ERDMA_MAX_PD;
	out->max_ctx = ERDMA_MAX_CONTEXTS;
	out->max_cqe = ad->dev.caps.max_cqe;
	out->max_send_wr = ad->dev.caps.max_send_wr;
	out->max_recv_wr = ad->dev.caps.max_recv_wr;
	out->max_mr_size = ad->dev.caps.max_mr_size;

	spin_lock(&ad->tracker.lock);
	out->qps = ad->tracker.counts[ERDMA_TRACK_QP];
	out->cqs = ad->tracker.counts[ERDMA_TRACK_CQ];
	out->mrs = ad->tracker.counts[ERDMA_TRACK_MR];
	out->pds = ad->tracker.counts[ERDMA_TRACK_PD];
	out->contexts = ad->tracker.counts[ERDMA_TRACK_CTX];
	spin_unlock(&ad->tracker.lock);
	if (erdma_is_roce(&ad->dev)) {
		out->ahs = READ_ONCE(ad->roce->ahs);
		out->max_ah = ad->dev.caps.max_ahs - 1;
		return;
	}
	xa_lock(&ad->cm->eps);
	xa_for_each(&ad->cm->eps, index, entry)
		out->ceps++;
	xa_unlock(&ad->cm->eps);
}

static int erdma_list_devices(struct erdma_listing *l)
{
	struct erdma_info_device *out = l->entries;
	struct erdma_adapter *ad;
	u32 filled = 0;

	l->end = true;
	while (l->cursor <= U32_MAX) {
		ad = erdma_diag_from(l->cursor);
		if (!ad)
			break;
		if (filled == l->room) {
			l->end = false;
		} else {
			erdma_report_device(ad, &out[filled++]);
			l->cursor = (u64)ad->dev.number + 1;
		}
		ib_device_put(&ad->ib);
		if (!l->end)
			break;
	}
	return filled;
}

/* Copies entries out: what the caller's structure lacks is cut off, what it has more is zeroed. */
static int erdma_list_copy(u64 __user_at, u32 user_size, const void *entries, u32 size, u32 count)
{
	u32 both = min(user_size, size);
	u32 i;

	for (i = 0; i < count; i++) {
		u8 __user *to = u64_to_user_ptr(__user_at + (u64)i * user_size);

		if (copy_to_user(to, entries + (size_t)i * size, both) ||
		    clear_user(to + both, user_size - both))
			return -EFAULT;
	}
	return 0;
}

static int erdma_list_batch(struct erdma_listing *l, const struct erdma_report *report)
{
	int filled = report->fill ? report->fill(l) : erdma_list_devices(l);
	int i, err;

	if (!(l->flags & ERDMA_LIST_HARDWARE) || !report->ask_device)
		return filled;
	for (i = 0; i < filled; i++) {
		/* The removal waits for this call, and each answer takes its time. */
		if (test_bit(ERDMA_AD_REMOVING, &l->ad->flags))
			return -ENODEV;
		err = report->ask_device(l, i);
		if (err)
			return err;
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return filled;
}

static int erdma_list_run(struct erdma_listing *l, struct erdma_diag_list *req)
{
	const struct erdma_report *report = &erdma_reports[req->kind];
	u32 total = 0;
	int filled, err = 0;

	while (total < req->count && !l->end) {
		memset(l->entries, 0, ERDMA_BATCH * (size_t)report->entry_size);
		l->room = min_t(u32, req->count - total, ERDMA_BATCH);
		filled = erdma_list_batch(l, report);
		if (filled < 0)
			return filled;
		err = erdma_list_copy(req->entries + (u64)total * req->entry_size, req->entry_size,
				      l->entries, report->entry_size, filled);
		if (err)
			return err;
		total += filled;
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	req->count = total;
	req->cursor = l->cursor;
	req->more = !l->end;
	req->hidden = l->hidden;
	return 0;
}

static int erdma_diag_list(void *arg)
{
	struct erdma_diag_list *req = arg;
	struct erdma_listing *l;
	int err;

	if ((req->flags & ~ERDMA_LIST_HARDWARE) || req->kind >= ERDMA_KIND_COUNT ||
	    req->count > ERDMA_LIST_MOST || req->entry_size < sizeof(u64) ||
	    req->entry_size > ERDMA_ENTRY_MOST || (req->kind == ERDMA_KIND_DEVICE && req->device))
		return -EINVAL;

	l = kzalloc(sizeof(*l), GFP_KERNEL_ACCOUNT);
	if (!l)
		return -ENOMEM;
	l->entries = kvmalloc_array(ERDMA_BATCH, erdma_reports[req->kind].entry_size,
				    GFP_KERNEL_ACCOUNT);
	err = -ENOMEM;
	if (!l->entries)
		goto free;
	l->cursor = req->cursor;
	l->flags = req->flags;

	if (req->kind == ERDMA_KIND_DEVICE) {
		err = erdma_list_run(l, req);
	} else {
		l->ad = erdma_diag_get(req->device);
		err = PTR_ERR_OR_ZERO(l->ad);
		if (!err) {
			l->others = erdma_sees_others(l->ad);
			err = erdma_list_run(l, req);
			ib_device_put(&l->ad->ib);
		}
	}
	kvfree(l->entries);
free:
	kfree(l);
	return err;
}

/* ---- rings and settings ---- */

static int erdma_dump_run(struct erdma_adapter *ad, struct erdma_diag_dump *d, void *chunk)
{
	u32 done, slots;
	int err;

	err = erdma_ring_describe(ad, d);
	if (err)
		return err;
	if (d->first >= d->depth)
		return -EINVAL;
	d->count = min3(d->count, d->depth - d->first, d->data_bytes / d->entry_bytes);

	for (done = 0; done < d->count; done += slots) {
		slots = min_t(u32, d->count - done, ERDMA_RING_CHUNK / d->entry_bytes);
		err = erdma_ring_copy(ad, d, d->first + done, slots, chunk);
		if (err)
			return err;
		if (copy_to_user(u64_to_user_ptr(d->data + (u64)done * d->entry_bytes), chunk,
				 (size_t)slots * d->entry_bytes))
			return -EFAULT;
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

static int erdma_diag_dump(void *arg)
{
	struct erdma_diag_dump *d = arg;
	struct erdma_adapter *ad;
	void *chunk;
	int err;

	if (!capable(CAP_NET_ADMIN))
		return -EPERM;
	if (d->flags || d->reserved || d->ring >= ERDMA_RING_COUNT)
		return -EINVAL;
	ad = erdma_diag_get(d->device);
	if (IS_ERR(ad))
		return PTR_ERR(ad);
	err = -ENOMEM;
	chunk = kvmalloc(ERDMA_RING_CHUNK, GFP_KERNEL_ACCOUNT);
	if (chunk)
		err = erdma_dump_run(ad, d, chunk);
	kvfree(chunk);
	ib_device_put(&ad->ib);
	return err;
}

static int erdma_diag_set(void *arg)
{
	struct erdma_diag_set *req = arg;
	struct erdma_adapter *ad;
	int err;

	if (!capable(CAP_NET_ADMIN))
		return -EPERM;
	if (req->flags || req->reserved ||
	    strnlen(req->name, sizeof(req->name)) == sizeof(req->name))
		return -EINVAL;
	ad = erdma_diag_get(req->device);
	if (IS_ERR(ad))
		return PTR_ERR(ad);
	err = erdma_conf_set(ad, req->name, req->value);
	ib_device_put(&ad->ib);
	return err;
}

/* ---- the node ---- */

union erdma_request {
	struct erdma_diag_version version;
	struct erdma_diag_list list;
	struct erdma_diag_dump dump;
	struct erdma_diag_set set;
};

static const struct erdma_diag_call {
	unsigned int command;
	int (*run)(void *request);
	u32 size;		/* of the structure as this driver knows it */
	u32 least;
} erdma_diag_calls[] = {
	{ ERDMA_DIAG_GET_VERSION, erdma_diag_version, sizeof(struct erdma_diag_version),
	  ERDMA_LEAST_VERSION },
	{ ERDMA_DIAG_GET_LIST, erdma_diag_list, sizeof(struct erdma_diag_list), ERDMA_LEAST_LIST },
	{ ERDMA_DIAG_GET_DUMP, erdma_diag_dump, sizeof(struct erdma_diag_dump), ERDMA_LEAST_DUMP },
	{ ERDMA_DIAG_SET_CONF, erdma_diag_set, sizeof(struct erdma_diag_set), ERDMA_LEAST_SET },
};

static int erdma_diag_serve(const struct erdma_diag_call *call, void __user *arg)
{
	union erdma_request request;
	u32 size;
	int err;

	if (get_user(size, (u32 __user *)arg))
		return -EFAULT;
	if (size < call->least || size > ERDMA_REQUEST_MOST)
		return -EINVAL;
	memset(&request, 0, sizeof(request));
	err = copy_struct_from_user(&request, call->size, arg, size);
	if (err)
		return err;
	err = call->run(&request);
	if (err)
		return err;
	/* The size may have changed meanwhile: it goes back as it was read first. */
	request.version.size = size;
	return copy_to_user(arg, &request, min(size, call->size)) ? -EFAULT : 0;
}

static long erdma_diag_ioctl(struct file *file, unsigned int command, unsigned long arg)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(erdma_diag_calls); i++)
		if (erdma_diag_calls[i].command == command)
			return erdma_diag_serve(&erdma_diag_calls[i], (void __user *)arg);
	return -ENOTTY;
}

static const struct file_operations erdma_diag_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = erdma_diag_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

/* Only root may open the node until a udev rule says otherwise. */
static struct miscdevice erdma_diag_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = ERDMA_DIAG_NODE,
	.fops = &erdma_diag_fops,
};

int erdma_diag_init(void)
{
	return misc_register(&erdma_diag_misc);
}

void erdma_diag_exit(void)
{
	misc_deregister(&erdma_diag_misc);
}
