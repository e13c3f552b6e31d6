// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A kernel consumer for tests: each case does with verbs and rdma_cm what only the kernel can.  Loading runs a case and
 * fails if it does; the kernel log says where.  Both ends of a connection are here, on one address of the machine.
 */
#include <linux/inet.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include <net/net_namespace.h>

#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>

#define LIMIT_MS 20000
#define BYTES 8192

static char *address = "10.77.0.1";
module_param(address, charp, 0444);
static char *name = "";
module_param_named(case, name, charp, 0444);

#define FAIL(...) (pr_err("erdma_consumer: line %d: ", __LINE__), pr_cont(__VA_ARGS__), pr_cont("\n"), -EPROTO)
#define TRY(expression)                                                                            \
	do {                                                                                       \
		int try_ = (expression);                                                           \
		if (try_)                                                                          \
			return pr_err("erdma_consumer: line %d: %s: %d\n", __LINE__, #expression,  \
				      try_),                                                       \
			       try_;                                                               \
	} while (0)

/* ---- one end, and a connection ---- */

struct end {
	struct rdma_cm_id *id;
	struct completion event;
	int type, status;
	struct rdma_cm_id *child;	/* of a listener */
	struct ib_pd *pd;
	struct ib_cq *cq;
	struct ib_mr *mr;
	struct scatterlist sg;
	bool mapped;
	u8 *buf;
};

static struct end listener, client, server;

static int on_event(struct rdma_cm_id *id, struct rdma_cm_event *event)
{
	struct end *end = id->context;

	if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST)
		end->child = id;
	end->type = event->event;
	end->status = event->status;
	complete(&end->event);
	return 0;
}

static int await(struct end *end, int type)
{
	if (!wait_for_completion_timeout(&end->event, msecs_to_jiffies(LIMIT_MS)))
		return FAIL("no event, expected %s", rdma_event_msg(type));
	if (end->type != type)
		return FAIL("expected %s got %s, status %d", rdma_event_msg(type), rdma_event_msg(end->type),
			    end->status);
	return 0;
}

static int make_id(struct end *end)
{
	init_completion(&end->event);
	end->id = rdma_create_id(&init_net, on_event, end, RDMA_PS_TCP, IB_QPT_RC);
	return PTR_ERR_OR_ZERO(end->id);
}

static int make_queues(struct end *end)
{
	struct ib_cq_init_attr cq_attr = { .cqe = 64 };
	struct ib_qp_init_attr attr = {
		.cap = { .max_send_wr = 16, .max_recv_wr = 16, .max_send_sge = 1, .max_recv_sge = 1 },
		.qp_type = IB_QPT_RC,
		.sq_sig_type = IB_SIGNAL_ALL_WR,
	};

	end->pd = ib_alloc_pd(end->id->device, 0);
	TRY(PTR_ERR_OR_ZERO(end->pd));
	end->cq = ib_create_cq(end->id->device, NULL, NULL, NULL, &cq_attr);
	TRY(PTR_ERR_OR_ZERO(end->cq));
	attr.send_cq = end->cq;
	attr.recv_cq = end->cq;
	TRY(rdma_create_qp(end->id, end->pd, &attr));
	end->buf = kzalloc(BYTES, GFP_KERNEL);
	return end->buf ? 0 : -ENOMEM;
}

static void unmake(struct end *end)
{
	if (!end->id || IS_ERR(end->id))
		return;
	if (end->id->qp) {
		rdma_disconnect(end->id);
		rdma_destroy_qp(end->id);
	}
	if (!IS_ERR_OR_NULL(end->mr))
		ib_dereg_mr(end->mr);
	if (!IS_ERR_OR_NULL(end->cq))
		ib_destroy_cq(end->cq);
	if (end->mapped)
		ib_dma_unmap_sg(end->id->device, &end->sg, 1, DMA_BIDIRECTIONAL);
	if (!IS_ERR_OR_NULL(end->pd))
		ib_dealloc_pd(end->pd);
	rdma_destroy_id(end->id);
	kfree(end->buf);
}

static int listen_and_resolve(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = in_aton(address) };

	TRY(make_id(&listener));
	TRY(rdma_bind_addr(listener.id, (struct sockaddr *)&at));
	TRY(rdma_listen(listener.id, 4));
	at.sin_port = ((struct sockaddr_in *)&listener.id->route.addr.src_addr)->sin_port;
	TRY(make_id(&client));
	TRY(rdma_resolve_addr(client.id, NULL, (struct sockaddr *)&at, 3000));
	TRY(await(&client, RDMA_CM_EVENT_ADDR_RESOLVED));
	TRY(rdma_resolve_route(client.id, 3000));
	TRY(await(&client, RDMA_CM_EVENT_ROUTE_RESOLVED));
	return make_queues(&client);
}

static int connect_both(void)
{
	struct rdma_conn_param param = { .responder_resources = 4, .initiator_depth = 4, .retry_count = 7 };

	TRY(rdma_connect(client.id, &param));
	TRY(await(&listener, RDMA_CM_EVENT_CONNECT_REQUEST));
	server.id = listener.child;
	init_completion(&server.event);
	server.id->context = &server;
	TRY(make_queues(&server));
	TRY(rdma_accept(server.id, &param));
	TRY(await(&server, RDMA_CM_EVENT_ESTABLISHED));
	return await(&client, RDMA_CM_EVENT_ESTABLISHED);
}

/* ---- work ---- */

/* Posts one request, and waits for its end. */
static int carry_out(struct end *end, struct ib_send_wr *wr, enum ib_wc_status expected)
{
	unsigned long limit = jiffies + msecs_to_jiffies(LIMIT_MS);
	const struct ib_send_wr *bad;
	struct ib_wc wc;

	TRY(ib_post_send(end->id->qp, wr, &bad));
	while (ib_poll_cq(end->cq, 1, &wc) != 1) {
		if (time_after(jiffies, limit))
			return FAIL("no completion");
		usleep_range(100, 200);
	}
	if (wc.status != expected)
		return FAIL("expected %s got %s, vendor 0x%x", ib_wc_status_msg(expected), ib_wc_status_msg(wc.status),
			    wc.vendor_err);
	return 0;
}

static int register_buffer(struct end *end, int access)
{
	struct ib_reg_wr reg = { .wr.opcode = IB_WR_REG_MR, .access = access };

	if (!end->mr) {
		end->mr = ib_alloc_mr(end->pd, IB_MR_TYPE_MEM_REG, 4);
		TRY(PTR_ERR_OR_ZERO(end->mr));
		sg_init_one(&end->sg, end->buf, BYTES);
		end->mapped = ib_dma_map_sg(end->id->device, &end->sg, 1, DMA_BIDIRECTIONAL) == 1;
		if (!end->mapped)
			return FAIL("no mapping");
	}
	ib_update_fast_reg_key(end->mr, end->mr->lkey + 1);
	if (ib_map_mr_sg(end->mr, &end->sg, 1, NULL, PAGE_SIZE) != 1)
		return FAIL("no page list");
	reg.mr = end->mr;
	reg.key = end->mr->lkey;
	return carry_out(end, &reg.wr, IB_WC_SUCCESS);
}

/* ---- cases ---- */

/* A connect that fails at once leaves the identifier and its queue pair as good as before. */
static int retry(void)
{
	struct rdma_conn_param param = { .responder_resources = 4, .initiator_depth = 200 };
	struct ib_qp_attr attr = { .qp_state = IB_QPS_RESET };
	int ret;

	TRY(listen_and_resolve());
	ret = rdma_connect(client.id, &param);
	if (ret != -EINVAL)
		return FAIL("more reads than there can be: %d", ret);
	TRY(ib_modify_qp(client.id->qp, &attr, IB_QP_STATE));
	TRY(ib_modify_qp(client.id->qp, &attr, IB_QP_STATE));
	ret = rdma_connect(client.id, &param);
	if (ret != -EINVAL)
		return FAIL("the same once more: %d", ret);
	return connect_both();
}

/* iWARP invalidates the sink of a READ with invalidate, whatever the request's other field says. */
static int read_inv(void)
{
	static const u32 sizes[] = { 1, 4095, 4097, BYTES };
	struct ib_sge sge;
	struct ib_rdma_wr read = {
		.wr = { .opcode = IB_WR_RDMA_READ_WITH_INV, .num_sge = 1, .sg_list = &sge },
	};
	struct ib_rdma_wr write;
	u32 i, at;

	TRY(listen_and_resolve());
	TRY(connect_both());
	for (at = 0; at < BYTES; at++)
		server.buf[at] = at * 7;
	TRY(register_buffer(&server, IB_ACCESS_REMOTE_READ));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		TRY(register_buffer(&client, IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE));
		sge = (struct ib_sge) { .addr = client.mr->iova, .length = sizes[i], .lkey = client.mr->lkey };
		read.remote_addr = server.mr->iova;
		read.rkey = server.mr->rkey;
		read.wr.ex.invalidate_rkey = i & 1 ? client.mr->rkey : 0;
		TRY(carry_out(&client, &read.wr, IB_WC_SUCCESS));
		ib_dma_sync_single_for_cpu(client.id->device, sg_dma_address(&client.sg), BYTES, DMA_BIDIRECTIONAL);
		if (memcmp(client.buf, server.buf, sizes[i]))
			return FAIL("%u octets are not what was read", sizes[i]);
	}
	/* Invalid now: a source that it can be no longer. */
	write = read;
	write.wr.opcode = IB_WR_RDMA_WRITE;
	return carry_out(&client, &write.wr, IB_WC_LOC_ACCESS_ERR);
}

static const struct {
	const char *name;
	int (*run)(void);
} cases[] = {
	{ "retry", retry },
	{ "read-inv", read_inv },
};

static int __init erdma_consumer_init(void)
{
	int ret = -ENOENT;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(cases); i++)
		if (!strcmp(cases[i].name, name))
			ret = cases[i].run();
	unmake(&client);
	unmake(&server);
	unmake(&listener);
	return ret;
}

static void __exit erdma_consumer_exit(void)
{
}

module_init(erdma_consumer_init);
module_exit(erdma_consumer_exit);

MODULE_DESCRIPTION("Kernel consumer for tests of the Elastic RDMA Adapter driver");
MODULE_LICENSE("GPL");
