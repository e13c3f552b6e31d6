// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A kernel consumer of the RoCEv2 personality, for tests: datagrams, address handles from where one must not sleep,
 * RESET, the table of transitions.  Loading runs a case and fails if it does; the kernel log says where.  All traffic is
 * of the machine with itself.
 */
#include <linux/etherdevice.h>
#include <linux/inet.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/slab.h>

#include <net/ipv6.h>
#include <net/net_namespace.h>

#include <rdma/ib_cache.h>
#include <rdma/ib_verbs.h>

#define LIMIT_MS 20000
#define BYTES 4096
#define DEPTH 64
#define QKEY 0x11111111
#define GRH_BYTES 40

static char *address = "10.77.0.1";
module_param(address, charp, 0444);
static char *name = "";
module_param_named(case, name, charp, 0444);
static int rounds = 1000;
module_param(rounds, int, 0444);

#define FAIL(...) (pr_err("erdma_roce_consumer: line %d: ", __LINE__), pr_cont(__VA_ARGS__), pr_cont("\n"), -EPROTO)
#define TRY(expression)                                                                            \
	do {                                                                                       \
		int try_ = (expression);                                                           \
		if (try_)                                                                          \
			return pr_err("erdma_roce_consumer: line %d: %s: %d\n", __LINE__,          \
				      #expression, try_),                                          \
			       try_;                                                               \
	} while (0)

/* ---- what all cases have ---- */

static struct net_device *nic;
static struct ib_device *device;
static const struct ib_gid_attr *gid;
static struct ib_pd *pd, *other_pd;
static struct ib_cq *cq;
static struct ib_qp *qps[2];
static struct ib_ah *ah;
static u8 *buf;			/* sends from its first half, receives into the second */
static u64 bus;

static struct rdma_ah_attr own_address(void)
{
	struct rdma_ah_attr attr = { .type = RDMA_AH_ATTR_TYPE_ROCE, .port_num = 1 };

	rdma_ah_set_grh(&attr, (union ib_gid *)&gid->gid, 0x3A478, gid->index, 64, 0x20);
	ether_addr_copy(attr.roce.dmac, nic->dev_addr);
	return attr;
}

static struct ib_qp *make_qp(enum ib_qp_type type)
{
	struct ib_qp_init_attr attr = {
		.cap = { .max_send_wr = DEPTH, .max_recv_wr = DEPTH, .max_send_sge = 1,
			 .max_recv_sge = 1, .max_inline_data = 32 },
		.qp_type = type,
		.sq_sig_type = IB_SIGNAL_ALL_WR,
		.send_cq = cq,
		.recv_cq = cq,
		.port_num = 1,
	};

	return ib_create_qp(pd, &attr);
}

static int set_up(void)
{
	struct ib_cq_init_attr cq_attr = { .cqe = 4 * DEPTH };
	union ib_gid own;

	nic = dev_get_by_name(&init_net, "eth0");
	if (!nic)
		return FAIL("no eth0");
	device = ib_device_get_by_netdev(nic, RDMA_DRIVER_UNKNOWN);
	if (!device)
		return FAIL("no RDMA device on eth0");
	ipv6_addr_set_v4mapped(in_aton(address), (struct in6_addr *)own.raw);
	gid = rdma_find_gid_by_port(device, &own, IB_GID_TYPE_ROCE_UDP_ENCAP, 1, nic);
	if (IS_ERR(gid))
		return FAIL("no GID for %s", address);
	pd = ib_alloc_pd(device, 0);
	TRY(PTR_ERR_OR_ZERO(pd));
	other_pd = ib_alloc_pd(device, 0);
	TRY(PTR_ERR_OR_ZERO(other_pd));
	cq = ib_create_cq(device, NULL, NULL, NULL, &cq_attr);
	TRY(PTR_ERR_OR_ZERO(cq));
	buf = kzalloc(BYTES, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	bus = ib_dma_map_single(device, buf, BYTES, DMA_BIDIRECTIONAL);
	return ib_dma_mapping_error(device, bus);
}

static void tear_down(void)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(qps); i++)
		if (!IS_ERR_OR_NULL(qps[i]))
			ib_destroy_qp(qps[i]);
	if (!IS_ERR_OR_NULL(ah))
		rdma_destroy_ah(ah, RDMA_DESTROY_AH_SLEEPABLE);
	if (!IS_ERR_OR_NULL(cq))
		ib_destroy_cq(cq);
	if (bus)
		ib_dma_unmap_single(device, bus, BYTES, DMA_BIDIRECTIONAL);
	if (!IS_ERR_OR_NULL(other_pd))
		ib_dealloc_pd(other_pd);
	if (!IS_ERR_OR_NULL(pd))
		ib_dealloc_pd(pd);
	if (!IS_ERR_OR_NULL(gid))
		rdma_put_gid_attr(gid);
	if (device)
		ib_device_put(device);
	if (nic)
		dev_put(nic);
	kfree(buf);
}

/* Everything that any transition may ask for, of a QP that is connected with `peer`. */
static struct ib_qp_attr all_attributes(u32 peer)
{
	return (struct ib_qp_attr) {
		.pkey_index = 0,
		.port_num = 1,
		.qkey = QKEY,
		.qp_access_flags = IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_READ,
		.ah_attr = own_address(),
		.path_mtu = IB_MTU_1024,
		.dest_qp_num = peer,
		.rq_psn = 0xABCDE,
		.sq_psn = 0xABCDE,
		.max_rd_atomic = 16,
		.max_dest_rd_atomic = 16,
		.min_rnr_timer = 12,
		.timeout = 14,
		.retry_cnt = 6,
		.rnr_retry = 5,
	};
}

/* Masks that lead from RESET to RTS. */
static int mask_to(enum ib_qp_type type, enum ib_qp_state state)
{
	bool rc = type == IB_QPT_RC;

	switch (state) {
	case IB_QPS_INIT:
		return IB_QP_STATE | IB_QP_PKEY_INDEX | IB_QP_PORT | (rc ? IB_QP_ACCESS_FLAGS : IB_QP_QKEY);
	case IB_QPS_RTR:
		return IB_QP_STATE | (rc ? IB_QP_AV | IB_QP_PATH_MTU | IB_QP_DEST_QPN | IB_QP_RQ_PSN |
					   IB_QP_MAX_DEST_RD_ATOMIC | IB_QP_MIN_RNR_TIMER : 0);
	case IB_QPS_RTS:
		return IB_QP_STATE | IB_QP_SQ_PSN | (rc ? IB_QP_TIMEOUT | IB_QP_RETRY_CNT | IB_QP_RNR_RETRY |
							  IB_QP_MAX_QP_RD_ATOMIC : 0);
	default:
		return IB_QP_STATE;
	}
}

static int step(struct ib_qp *qp, enum ib_qp_state state, u32 peer)
{
	struct ib_qp_attr attr = all_attributes(peer);

	attr.qp_state = state;
	return ib_modify_qp(qp, &attr, mask_to(qp->qp_type, state));
}

/* Any state but SQE, by way of RESET. */
static int bring(struct ib_qp *qp, enum ib_qp_state state, u32 peer)
{
	enum ib_qp_state each, last = state == IB_QPS_SQD ? IB_QPS_RTS : state;

	TRY(step(qp, IB_QPS_RESET, peer));
	if (state == IB_QPS_ERR) {
		TRY(step(qp, IB_QPS_INIT, peer));
		return step(qp, IB_QPS_ERR, peer);
	}
	for (each = IB_QPS_INIT; each <= last; each++)
		TRY(step(qp, each, peer));
	return state == IB_QPS_SQD ? step(qp, IB_QPS_SQD, peer) : 0;
}

static int post_receive(struct ib_qp *qp, u64 wr_id, u32 bytes)
{
	struct ib_sge sge = { .addr = bus + BYTES / 2, .length = bytes, .lkey = pd->local_dma_lkey };
	struct ib_recv_wr wr = { .wr_id = wr_id, .sg_list = &sge, .num_sge = 1 };
	const struct ib_recv_wr *bad;

	return ib_post_recv(qp, &wr, &bad);
}

static int post_send(struct ib_qp *qp, u64 wr_id, u32 bytes)
{
	struct ib_sge sge = { .addr = bus, .length = bytes, .lkey = pd->local_dma_lkey };
	struct ib_send_wr wr = { .wr_id = wr_id, .sg_list = &sge, .num_sge = 1, .opcode = IB_WR_SEND };
	const struct ib_send_wr *bad;

	return ib_post_send(qp, &wr, &bad);
}

static int next_completion(struct ib_wc *wc)
{
	unsigned long limit = jiffies + msecs_to_jiffies(LIMIT_MS);

	while (ib_poll_cq(cq, 1, wc) != 1) {
		if (time_after(jiffies, limit))
			return FAIL("no completion");
		usleep_range(100, 200);
	}
	return 0;
}

/* So many completions, all of one status. */
static int take(u32 count, enum ib_wc_status status)
{
	struct ib_wc wc;

	while (count--) {
		TRY(next_completion(&wc));
		if (wc.status != status)
			return FAIL("QP %u, request %llu: %s", wc.qp->qp_num, wc.wr_id, ib_wc_status_msg(wc.status));
	}
	return 0;
}

/* Two QPs, connected with each other or with nobody, in RTS. */
static int make_pair(enum ib_qp_type type)
{
	u32 i;

	for (i = 0; i < 2; i++) {
		qps[i] = make_qp(type);
		TRY(PTR_ERR_OR_ZERO(qps[i]));
	}
	for (i = 0; i < 2; i++)
		TRY(bring(qps[i], IB_QPS_RTS, qps[!i]->qp_num));
	return 0;
}

/* ---- cases: address handles ---- */

/*
 * Sleeps in one command after the other, until it is enough.  Nice: as many of them as below would starve everybody
 * else of a single processor, up to RCU's callbacks, and then the memory that those free is short.
 */
static int busy(void *enough)
{
	int ret = 0;

	set_user_nice(current, MAX_NICE);
	while (!ret && !READ_ONCE(*(bool *)enough)) {
		struct ib_mr *mr = ib_alloc_mr(pd, IB_MR_TYPE_MEM_REG, 1);

		ret = IS_ERR(mr) ? PTR_ERR(mr) : ib_dereg_mr(mr);
	}
	while (!kthread_should_stop())
		msleep(20);
	return ret;
}

/* Many are made and destroyed with interrupts off, while the command queue is full of commands that sleep. */
static int handles(void)
{
	static struct task_struct *tasks[140];
	static struct ib_ah *many[500];
	struct rdma_ah_attr attr = own_address(), asked;
	bool enough = false;
	unsigned long flags;
	int ret = 0, i, ended;

	for (i = 0; i < ARRAY_SIZE(tasks); i++)
		tasks[i] = kthread_run(busy, &enough, "erdma-busy-%d", i);
	for (i = 0; i < rounds && !ret; i++) {
		struct ib_ah *one;

		local_irq_save(flags);
		one = rdma_create_ah(pd, &attr, 0);
		if (IS_ERR(one))
			ret = PTR_ERR(one);
		else
			ret = rdma_destroy_ah_user(one, 0, NULL);
		local_irq_restore(flags);
		if (!(i % 64))
			cond_resched();
	}
	/* All at once: one after the other would wait for its turn among those that are left. */
	WRITE_ONCE(enough, true);
	for (i = 0; i < ARRAY_SIZE(tasks); i++) {
		ended = IS_ERR(tasks[i]) ? PTR_ERR(tasks[i]) : kthread_stop(tasks[i]);
		if (ended)
			ret = FAIL("thread %d: %d", i, ended);
	}
	TRY(ret);

	for (i = 0; i < ARRAY_SIZE(many); i++) {
		many[i] = rdma_create_ah(pd, &attr, RDMA_CREATE_AH_SLEEPABLE);
		if (IS_ERR(many[i])) {
			ret = PTR_ERR(many[i]);
			break;
		}
	}
	if (!ret)
		ret = rdma_query_ah(many[0], &asked);
	if (!ret && (asked.type != attr.type || memcmp(asked.roce.dmac, attr.roce.dmac, ETH_ALEN) ||
		     memcmp(&asked.grh.dgid, &attr.grh.dgid, 16) || asked.grh.flow_label != 0x3A478 ||
		     asked.grh.hop_limit != 64 || asked.grh.traffic_class != 0x20 || asked.grh.sgid_index != gid->index))
		ret = FAIL("the answer differs from what was made");
	while (i--)
		rdma_destroy_ah(many[i], RDMA_DESTROY_AH_SLEEPABLE);
	return ret;
}

/* ---- cases: datagrams ---- */

static int send_datagram(u32 bytes, u32 qkey, enum ib_wr_opcode opcode, unsigned int flags)
{
	struct ib_sge sge = { .addr = flags & IB_SEND_INLINE ? (uintptr_t)buf : bus, .length = bytes,
			      .lkey = pd->local_dma_lkey };
	struct ib_ud_wr wr = {
		.wr = { .wr_id = 7, .sg_list = &sge, .num_sge = 1, .opcode = opcode, .send_flags = flags,
			.ex.imm_data = cpu_to_be32(0x12345678) },
		.ah = ah,
		.remote_qpn = qps[1]->qp_num,
		.remote_qkey = qkey,
	};
	const struct ib_send_wr *bad;

	return ib_post_send(qps[0], &wr.wr, &bad);
}

static int expect_datagram(u32 bytes, bool immediate)
{
	struct ib_wc wc;
	int i;

	for (i = 0; i < 2; i++) {
		TRY(next_completion(&wc));
		if (wc.status != IB_WC_SUCCESS)
			return FAIL("%s", ib_wc_status_msg(wc.status));
		if (wc.qp == qps[0]) {
			if (wc.opcode != IB_WC_SEND || wc.wr_id != 7 || wc.wc_flags & IB_WC_GRH)
				return FAIL("sent: opcode %d, flags 0x%x", wc.opcode, wc.wc_flags);
			continue;
		}
		if (wc.opcode != IB_WC_RECV || wc.byte_len != GRH_BYTES + bytes || wc.src_qp != qps[0]->qp_num ||
		    !(wc.wc_flags & IB_WC_GRH) || !(wc.wc_flags & IB_WC_WITH_NETWORK_HDR_TYPE) ||
		    wc.network_hdr_type != RDMA_NETWORK_IPV4 || wc.port_num != 1 || wc.pkey_index ||
		    !!(wc.wc_flags & IB_WC_WITH_IMM) != immediate)
			return FAIL("received: opcode %d, %u octets from QP %u, flags 0x%x, network %u", wc.opcode,
				    wc.byte_len, wc.src_qp, wc.wc_flags, wc.network_hdr_type);
		if (immediate && wc.ex.imm_data != cpu_to_be32(0x12345678))
			return FAIL("immediate 0x%x", be32_to_cpu(wc.ex.imm_data));
		/* The header that was or would have been on the wire. */
		if (memchr_inv(buf + BYTES / 2, 0, 20) || buf[BYTES / 2 + 20] != 0x45 ||
		    memcmp(buf + BYTES / 2 + GRH_BYTES, buf, bytes))
			return FAIL("%u octets are not what was sent", bytes);
	}
	return 0;
}

static int datagrams(void)
{
	struct rdma_ah_attr attr = own_address();
	struct ib_qp_attr state = { .qp_state = IB_QPS_RTS, .cur_qp_state = IB_QPS_SQE };
	struct ib_qp_init_attr init;
	struct ib_wc wc;
	int i, ret;

	TRY(make_pair(IB_QPT_UD));
	ah = rdma_create_ah(pd, &attr, RDMA_CREATE_AH_SLEEPABLE);
	TRY(PTR_ERR_OR_ZERO(ah));
	for (i = 0; i < BYTES / 2; i++)
		buf[i] = i * 7;
	for (i = 0; i < 6; i++)
		TRY(post_receive(qps[1], i, 1024 + GRH_BYTES));

	TRY(send_datagram(1000, QKEY, IB_WR_SEND, 0));
	TRY(expect_datagram(1000, false));
	TRY(send_datagram(0, QKEY, IB_WR_SEND, 0));
	TRY(expect_datagram(0, false));
	TRY(send_datagram(31, 0x80000000, IB_WR_SEND_WITH_IMM, IB_SEND_INLINE | IB_SEND_SOLICITED));
	TRY(expect_datagram(31, true));
	/* Another Q_Key is not let in; too long a datagram goes nowhere. */
	TRY(send_datagram(100, QKEY + 1, IB_WR_SEND, 0));
	TRY(take(1, IB_WC_SUCCESS));
	ret = send_datagram(4, QKEY, IB_WR_RDMA_WRITE, 0);
	if (ret != -EINVAL)
		return FAIL("RDMA WRITE as a datagram: %d", ret);

	/* A handle of another protection domain: the queue stops, and goes on when told so. */
	rdma_destroy_ah(ah, RDMA_DESTROY_AH_SLEEPABLE);
	ah = rdma_create_ah(other_pd, &attr, RDMA_CREATE_AH_SLEEPABLE);
	TRY(PTR_ERR_OR_ZERO(ah));
	TRY(send_datagram(4, QKEY, IB_WR_SEND, 0));
	TRY(next_completion(&wc));
	if (wc.status != IB_WC_LOC_QP_OP_ERR)
		return FAIL("a handle of another PD: %s", ib_wc_status_msg(wc.status));
	TRY(ib_modify_qp(qps[0], &state, IB_QP_STATE | IB_QP_CUR_STATE));
	TRY(ib_query_qp(qps[0], &state, IB_QP_STATE, &init));
	if (state.qp_state != IB_QPS_RTS)
		return FAIL("state %d", state.qp_state);
	rdma_destroy_ah(ah, RDMA_DESTROY_AH_SLEEPABLE);
	ah = rdma_create_ah(pd, &attr, RDMA_CREATE_AH_SLEEPABLE);
	TRY(PTR_ERR_OR_ZERO(ah));
	TRY(send_datagram(64, QKEY, IB_WR_SEND, 0));
	return expect_datagram(64, false);
}

/* ---- cases: states ---- */

/* RESET forgets what one QP has in the completion queue, and nothing else. */
static int resets(void)
{
	struct ib_wc wc;
	int round, i, error;

	TRY(make_pair(IB_QPT_RC));
	for (round = 0; round < 6; round++) {
		for (i = 0; i < 5; i++)
			TRY(post_receive(qps[1], 100 + i, 64));
		for (i = 0; i < 5; i++)
			TRY(post_send(qps[0], i, 64));
		/* Ten completions, of which none is read: they are there when the last of them is. */
		msleep(200);
		error = round & 1;
		if (error)
			TRY(step(qps[0], IB_QPS_ERR, 0));
		TRY(bring(qps[0], IB_QPS_RTS, qps[1]->qp_num));
		for (i = 0; i < 5; i++) {
			TRY(next_completion(&wc));
			if (wc.qp != qps[1] || wc.status != IB_WC_SUCCESS || wc.wr_id != 100 + i)
				return FAIL("round %d: QP %u, request %llu, %s", round, wc.qp->qp_num, wc.wr_id,
					    ib_wc_status_msg(wc.status));
		}
		if (ib_poll_cq(cq, 1, &wc))
			return FAIL("round %d: too many completions", round);
		TRY(bring(qps[1], IB_QPS_RTS, qps[0]->qp_num));
		for (i = 0; i < rounds / 10; i++) {
			TRY(post_receive(qps[1], i, 64));
			TRY(post_send(qps[0], i, 64));
			TRY(take(2, IB_WC_SUCCESS));
		}
	}
	/* What is posted to a stopped queue is flushed. */
	TRY(step(qps[0], IB_QPS_ERR, 0));
	TRY(post_receive(qps[0], 1, 64));
	TRY(post_send(qps[0], 2, 64));
	return take(2, IB_WC_WR_FLUSH_ERR);
}

static int walk_step(struct ib_qp *qp, enum ib_qp_state from, enum ib_qp_state to, int mask)
{
	struct ib_qp_attr attr = all_attributes(qp->qp_num);
	bool allowed = ib_modify_qp_is_ok(from, to, qp->qp_type, mask);
	int ret;

	TRY(bring(qp, from, qp->qp_num));
	attr.qp_state = to;
	attr.cur_qp_state = from;
	ret = ib_modify_qp(qp, &attr, mask);
	/* The table says yes to what the device does not have. */
	if (ret == (allowed ? 0 : -EINVAL) || (allowed && ret == -EOPNOTSUPP && mask & (IB_QP_CAP | IB_QP_PATH_MIG_STATE)))
		return 0;
	return FAIL("type %d, %d to %d, mask 0x%x: %d", qp->qp_type, from, to, mask, ret);
}

/* The driver says no exactly where the core's table does. */
static int walk(void)
{
	static const enum ib_qp_state from[] = { IB_QPS_RESET, IB_QPS_INIT, IB_QPS_RTR, IB_QPS_RTS, IB_QPS_SQD, IB_QPS_ERR };
	static const enum ib_qp_type types[] = { IB_QPT_RC, IB_QPT_UD };
	struct ib_qp_init_attr init;
	struct ib_qp_attr attr;
	u32 t, f, to, bit;

	for (t = 0; t < ARRAY_SIZE(types); t++) {
		qps[0] = make_qp(types[t]);
		TRY(PTR_ERR_OR_ZERO(qps[0]));
		for (f = 0; f < ARRAY_SIZE(from); f++) {
			for (to = IB_QPS_RESET; to <= IB_QPS_ERR; to++) {
				int least = mask_to(types[t], to);

				TRY(walk_step(qps[0], from[f], to, least));
				for (bit = 1; bit < 21; bit++) {
					/* The core itself refuses alternate paths. */
					if (BIT(bit) == IB_QP_ALT_PATH)
						continue;
					TRY(walk_step(qps[0], from[f], to, least ^ BIT(bit)));
				}
			}
		}
		if (types[t] == IB_QPT_RC) {
			TRY(bring(qps[0], IB_QPS_RTS, 0xABCDE1));
			TRY(ib_query_qp(qps[0], &attr, IB_QP_STATE, &init));
			if (attr.qp_state != IB_QPS_RTS || attr.path_mtu != IB_MTU_1024 || attr.timeout != 14 ||
			    attr.retry_cnt != 6 || attr.rnr_retry != 5 || attr.min_rnr_timer != 12 ||
			    attr.max_rd_atomic != 16 || attr.max_dest_rd_atomic != 16 ||
			    attr.dest_qp_num != 0xABCDE1 || attr.sq_psn != 0xABCDE || attr.rq_psn != 0xABCDE ||
			    attr.ah_attr.grh.hop_limit != 64 ||
			    memcmp(&attr.ah_attr.grh.dgid, &gid->gid, sizeof(gid->gid)))
				return FAIL("a query tells something else than was set");
		}
		TRY(ib_destroy_qp(qps[0]));
		qps[0] = NULL;
	}
	return 0;
}

/* ---- cases: refusals ---- */

static int refusals(void)
{
	static const struct {
		enum ib_qp_type type;
		int expected;
	} kinds[] = {
		{ IB_QPT_GSI, -EBUSY },
		{ IB_QPT_UC, -EOPNOTSUPP },
		{ IB_QPT_RAW_PACKET, -EOPNOTSUPP },
	};
	struct ib_srq_init_attr srq_attr = { .attr = { .max_wr = 16, .max_sge = 1 } };
	struct ib_srq *srq;
	struct ib_qp *qp;
	union ib_gid group = { .raw = { 0xff, 0x0e, [15] = 1 } };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		qp = make_qp(kinds[i].type);
		if (PTR_ERR_OR_ZERO(qp) != kinds[i].expected)
			return FAIL("QP of type %d: %d", kinds[i].type, PTR_ERR_OR_ZERO(qp));
	}
	srq = ib_create_srq(pd, &srq_attr);
	if (!IS_ERR(srq))
		return FAIL("there is a shared receive queue");
	qps[0] = make_qp(IB_QPT_UD);
	TRY(PTR_ERR_OR_ZERO(qps[0]));
	if (!ib_attach_mcast(qps[0], &group, 0xC000))
		return FAIL("there is multicast");
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} cases[] = {
	{ "handles", handles },
	{ "datagrams", datagrams },
	{ "resets", resets },
	{ "walk", walk },
	{ "refusals", refusals },
};

static int __init erdma_roce_consumer_init(void)
{
	int ret = set_up();
	u32 i;

	for (i = 0; !ret && i < ARRAY_SIZE(cases); i++) {
		if (!strcmp(cases[i].name, name)) {
			ret = cases[i].run();
			tear_down();
			return ret;
		}
	}
	tear_down();
	return ret ?: -ENOENT;
}

static void __exit erdma_roce_consumer_exit(void)
{
}

module_init(erdma_roce_consumer_init);
module_exit(erdma_roce_consumer_exit);

MODULE_DESCRIPTION("Kernel consumer for tests of the Elastic RDMA Adapter driver's RoCEv2 personality");
MODULE_LICENSE("GPL");
