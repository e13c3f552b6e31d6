/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What differs between kernels, and only that.  Each ERDMA_HAVE_* comes from a file of the same
 * name in kcompat/ that either compiles against this kernel or does not; no version number is
 * looked at.
 */
#ifndef ERDMA_KCOMPAT_H
#define ERDMA_KCOMPAT_H

#include <linux/highmem.h>
#include <linux/interrupt.h>
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/rbtree.h>
#include <linux/tcp.h>
#include <linux/workqueue.h>
#include <net/inet_connection_sock.h>
#include <net/inet_sock.h>

#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>
#include <rdma/iw_cm.h>
#include <rdma/uverbs_ioctl.h>

#include "kcompat-probed.h"

#ifdef ERDMA_HAVE_RDMA_ITER_HEADER
#include <rdma/iter.h>
#endif

/* The number by which user space knows the driver; older headers end before it. */
#ifndef ERDMA_HAVE_RDMA_DRIVER_ERDMA
#define RDMA_DRIVER_ERDMA ((enum rdma_driver_id)(RDMA_DRIVER_SIW + 1))
#endif

/* Port number as ib_device_ops takes it. */
#ifdef ERDMA_HAVE_WIDE_PORT_NUMBERS
typedef u32 erdma_port_number;
#else
typedef u8 erdma_port_number;
#endif

/* Spreads the interrupt to `mask` now, as a hint that tools may override. */
static inline void erdma_irq_place(int irq, const struct cpumask *mask)
{
#ifdef ERDMA_HAVE_AFFINITY_AND_HINT
	irq_set_affinity_and_hint(irq, mask);
#else
	irq_set_affinity_hint(irq, mask);
#endif
}

/* Before free_irq() of an interrupt that erdma_irq_place() placed. */
static inline void erdma_irq_unplace(int irq)
{
#ifdef ERDMA_HAVE_AFFINITY_AND_HINT
	irq_update_affinity_hint(irq, NULL);
#else
	irq_set_affinity_hint(irq, NULL);
#endif
}

/* A mapping of device memory that mprotect() cannot make executable. */
static inline void erdma_vma_never_exec(struct vm_area_struct *vma)
{
#ifdef ERDMA_HAVE_VM_FLAGS_CLEAR
	vm_flags_clear(vma, VM_MAYEXEC);
#else
	vma->vm_flags &= ~VM_MAYEXEC;
#endif
}

/* A workqueue that is bound to no processor. */
#ifdef ERDMA_HAVE_SYSTEM_DFL_WQ
#define erdma_unbound_wq system_dfl_wq
#else
#define erdma_unbound_wq system_unbound_wq
#endif

/* Pins memory of the current process; may sleep, returns an ERR_PTR() on failure. */
static inline struct ib_umem *erdma_umem_get(struct ib_ucontext *context, u64 va, size_t bytes,
					     int access)
{
#if defined(ERDMA_HAVE_UMEM_GET_VA)
	return ib_umem_get_va(context->device, va, bytes, access);
#elif defined(ERDMA_HAVE_UMEM_GET_UDATA)
	struct uverbs_attr_bundle attrs = { .context = context };

	return ib_umem_get(&attrs.driver_udata, va, bytes, access);
#else
	return ib_umem_get(context->device, va, bytes, access);
#endif
}

/*
 * Pins @bytes of a DMA buffer from an offset on, for as long as the result lives; the exporter may
 * not move them.  May sleep, returns an ERR_PTR() on failure.
 */
static inline struct ib_umem *erdma_umem_get_dmabuf(struct ib_device *ib, u64 offset, size_t bytes,
						    int fd, int access)
{
#ifdef ERDMA_HAVE_DMABUF_PINNED
	struct ib_umem_dmabuf *got = ib_umem_dmabuf_get_pinned(ib, offset, bytes, fd, access);

	return IS_ERR(got) ? ERR_CAST(got) : &got->umem;
#else
	return ERR_PTR(-EOPNOTSUPP);
#endif
}

static inline bool erdma_umem_is_dmabuf(const struct ib_umem *umem)
{
#ifdef ERDMA_HAVE_DMABUF_PINNED
	return umem->is_dmabuf;
#else
	return false;
#endif
}

/*
 * What tcp_sock_set_quickack() does with 0: acknowledgements wait for what the owner of the socket
 * sends.  May sleep.
 */
static inline void erdma_sock_delay_ack(struct sock *sk)
{
#ifdef ERDMA_HAVE_TCP_QUICKACK
	tcp_sock_set_quickack(sk, 0);
#else
	lock_sock(sk);
	inet_csk_enter_pingpong_mode(sk);
	release_sock(sk);
#endif
}

/* Index of the interface where the last packet of a socket came in, or 0 when it is not known. */
static inline int erdma_sock_rx_ifindex(const struct sock *sk)
{
	if (!rcu_access_pointer(sk->sk_rx_dst))
		return 0;
#ifdef ERDMA_HAVE_SOCK_RX_IFINDEX
	return READ_ONCE(sk->sk_rx_dst_ifindex);
#else
	return READ_ONCE(inet_sk(sk)->rx_dst_ifindex);
#endif
}

/*
 * The port by which a bridge reaches a neighbour, or NULL when it does not know or not tell.  Under
 * rcu_read_lock.
 */
static inline struct net_device *erdma_bridge_port(struct net_device *dev, const u8 *mac)
{
#ifdef ERDMA_HAVE_FORWARD_PATH
	struct net_device_path_ctx ctx = { .dev = dev };
	struct net_device_path path = { };

	memcpy(ctx.daddr, mac, sizeof(ctx.daddr));
	if (!dev->netdev_ops->ndo_fill_forward_path ||
	    dev->netdev_ops->ndo_fill_forward_path(&ctx, &path) || ctx.dev == dev)
		return NULL;
	return (struct net_device *)ctx.dev;
#else
	return NULL;
#endif
}

/*
 * Is a listener on every IPv6 address for IPv6 only?  Kernels that do not tell have users whose
 * listeners are, beside one for IPv4 on the same port.
 */
static inline bool erdma_id_is_v6_only(const struct iw_cm_id *id)
{
#ifdef ERDMA_HAVE_IW_AFONLY
	return id->afonly;
#else
	return true;
#endif
}

/* Says that kernel consumers may use the local DMA key. */
static inline void erdma_claim_local_dma_lkey(struct ib_device_attr *attr)
{
#ifdef ERDMA_HAVE_KERNEL_CAP_FLAGS
	attr->kernel_cap_flags |= IBK_LOCAL_DMA_LKEY;
#else
	attr->device_cap_flags |= IB_DEVICE_LOCAL_DMA_LKEY;
#endif
}

/* The pages of pinned memory. */
static inline struct scatterlist *erdma_umem_list(const struct ib_umem *umem)
{
#ifdef ERDMA_HAVE_UMEM_SGT_APPEND
	return umem->sgt_append.sgt.sgl;
#else
	return umem->sg_head.sgl;
#endif
}

#ifndef ERDMA_HAVE_RB_ADD
static inline void rb_add(struct rb_node *node, struct rb_root *tree,
			  bool (*before)(struct rb_node *a, const struct rb_node *b))
{
	struct rb_node **at = &tree->rb_node, *parent = NULL;

	while (*at) {
		parent = *at;
		at = before(node, parent) ? &parent->rb_left : &parent->rb_right;
	}
	rb_link_node(node, parent, at);
	rb_insert_color(node, tree);
}
#endif

#ifndef ERDMA_HAVE_KMAP_LOCAL
#ifdef CONFIG_HIGHMEM
#error "this kernel cannot map single pages of high memory"
#endif
#define kmap_local_page(page) page_address(page)
#define kunmap_local(address) ((void)(address))
#endif

/*
 * An attribute of a port in sysfs, as the core takes it.  Older cores take none, and nothing refers
 * to ours then.
 */
#ifdef ERDMA_HAVE_PORT_GROUPS
#include <rdma/ib_sysfs.h>
#else
struct ib_port_attribute {
	struct attribute attr;
	ssize_t (*show)(struct ib_device *ib, u32 port, struct ib_port_attribute *attr, char *buf);
};
#endif

/* Name of a counter as the core takes it. */
#ifdef ERDMA_HAVE_STAT_DESC
#define erdma_stat_name struct rdma_stat_desc
#define ERDMA_STAT_NAME(text) { .name = (text) }
#else
#define erdma_stat_name char *const
#define ERDMA_STAT_NAME(text) (text)
#endif

/* Before registration: lets user space send the commands that there are operations for. */
static inline void erdma_permit_commands(struct ib_device *ib)
{
#ifdef ERDMA_HAVE_EX_COMMAND_MASK
	ib->uverbs_cmd_mask =
		BIT_ULL(IB_USER_VERBS_CMD_GET_CONTEXT) | BIT_ULL(IB_USER_VERBS_CMD_QUERY_DEVICE) |
		BIT_ULL(IB_USER_VERBS_CMD_QUERY_PORT) | BIT_ULL(IB_USER_VERBS_CMD_ALLOC_PD) |
		BIT_ULL(IB_USER_VERBS_CMD_DEALLOC_PD) | BIT_ULL(IB_USER_VERBS_CMD_REG_MR) |
		BIT_ULL(IB_USER_VERBS_CMD_DEREG_MR) |
		BIT_ULL(IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL) |
		BIT_ULL(IB_USER_VERBS_CMD_CREATE_CQ) | BIT_ULL(IB_USER_VERBS_CMD_DESTROY_CQ) |
		BIT_ULL(IB_USER_VERBS_CMD_CREATE_QP) | BIT_ULL(IB_USER_VERBS_CMD_QUERY_QP) |
		BIT_ULL(IB_USER_VERBS_CMD_MODIFY_QP) | BIT_ULL(IB_USER_VERBS_CMD_DESTROY_QP);
	ib->uverbs_ex_cmd_mask = BIT_ULL(IB_USER_VERBS_EX_CMD_QUERY_DEVICE) |
				 BIT_ULL(IB_USER_VERBS_EX_CMD_CREATE_CQ) |
				 BIT_ULL(IB_USER_VERBS_EX_CMD_CREATE_QP) |
				 BIT_ULL(IB_USER_VERBS_EX_CMD_MODIFY_QP);
#endif
}

#endif
