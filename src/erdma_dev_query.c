// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: capabilities (adapter.md 4.2 and chapter 11), and blocks of state
 * that the device writes to memory (4.14 to 4.19).
 */
#include <linux/dma-mapping.h>

#include "erdma_dev_cmdq.h"
#include "erdma_dev_query.h"
#include "erdma_hw_roce.h"

/* ---- capabilities ---- */

/* The device's number if the driver can live with it, else the most that it can. */
static u32 erdma_cap_limit(struct erdma_dev *dev, const char *name, u32 value, u32 most)
{
	if (value <= most)
		return value;
	dev_warn(&dev->pdev->dev, "device says %s %u, using %u\n", name, value, most);
	return most;
}

/* What RoCEv2 has of its own: sizes of tables, and our model's additions if it has them. */
static int erdma_query_roce_caps(struct erdma_dev *dev, u64 resp0)
{
	u32 log_gid = FIELD_GET(ERDMA_QD0_LOG_GID, resp0);
	u32 log_ah = FIELD_GET(ERDMA_QD0_LOG_AH, resp0);
	struct erdma_caps *caps = &dev->caps;
	struct erdma_ext_attrs attrs;
	int err;

	if (!log_ah) {
		dev_err(&dev->pdev->dev, "unusable limits: no address handles\n");
		return -EIO;
	}
	caps->max_gids = 1U << erdma_cap_limit(dev, "log2 of GIDs", log_gid, ERDMA_MAX_LOG_GID);
	caps->max_ahs =
		1U << erdma_cap_limit(dev, "log2 of address handles", log_ah, ERDMA_MAX_LOG_AH);

	/* Any other device may refuse, or answer with what it has: then there are none. */
	err = erdma_query_block(dev, ERDMA_SUB_COMMON, ERDMA_CMD_GET_EXT_ATTR, 0, &attrs,
				sizeof(attrs));
	if (!err)
		caps->extensions = le32_to_cpu(attrs.supported) & (ERDMA_ATTR_QPX | ERDMA_ATTR_UDX);
	return err == -EINTR || erdma_is_broken(dev) ? -EIO : 0;
}

int erdma_query_caps(struct erdma_dev *dev)
{
	struct erdma_cmd_plain request = { };
	struct device *parent = &dev->pdev->dev;
	struct erdma_caps *caps = &dev->caps;
	u32 blocks, log_cqe, log_recv, log_size;
	u64 resp0 = 0, resp1 = 0;
	int err;

	err = erdma_cmd_exec(dev, ERDMA_SUB_RDMA, ERDMA_CMD_QUERY_DEVICE, &request, sizeof(request),
			     &resp0, &resp1);
	if (err) {
		dev_err(parent, "QUERY_DEVICE failed: error %d\n", err);
		return err;
	}

	blocks = FIELD_GET(ERDMA_QD1_QBLOCKS, resp1);
	log_cqe = FIELD_GET(ERDMA_QD0_LOG_CQE, resp0);
	log_recv = FIELD_GET(ERDMA_QD0_LOG_RECV_WR, resp0);
	log_size = FIELD_GET(ERDMA_QD0_LOG_MR_SIZE, resp0);
	if (!blocks || !log_cqe || !log_recv || log_size < PAGE_SHIFT) {
		dev_err(parent,
			"unusable limits: %u QP blocks, 2^%u CQEs, 2^%u receive WRs, regions of 2^%u bytes\n",
			blocks, log_cqe, log_recv, log_size);
		return -EIO;
	}

	blocks = erdma_cap_limit(dev, "QP blocks", blocks, ERDMA_MAX_QBLOCKS);
	caps->max_qps = blocks * ERDMA_QPS_PER_BLOCK;
	caps->max_cqs = 2 * caps->max_qps;
	caps->max_mrs = 2 * caps->max_qps;
	caps->max_cqe = 1U << erdma_cap_limit(dev, "log2 of CQEs", log_cqe, ERDMA_MAX_LOG_CQE);
	caps->max_recv_wr =
		1U << erdma_cap_limit(dev, "log2 of receive WRs", log_recv, ERDMA_MAX_LOG_RECV_WR);
	caps->max_send_wr = ERDMA_MAX_SEND_WR;
	caps->max_mr_size = 1ULL << erdma_cap_limit(dev, "log2 of the region size", log_size, 63);
	caps->local_dma_key = FIELD_GET(ERDMA_QD1_LOCAL_KEY, resp1);
	caps->max_regions = caps->max_mrs - 1;
	if (erdma_is_region_index(caps, caps->local_dma_key >> 8))
		caps->max_regions--;
	caps->flags = FIELD_GET(ERDMA_QD0_FLAGS, resp0);
	if (erdma_is_roce(dev)) {
		err = erdma_query_roce_caps(dev, resp0);
		if (err)
			return err;
	}
	caps->model = FIELD_GET(ERDMA_QD0_MODEL, resp0);
	caps->default_cc = FIELD_GET(ERDMA_QD1_CC, resp1);
	if (caps->default_cc > ERDMA_MAX_CC) {
		dev_warn(parent, "device recommends unknown congestion control %u, using 1\n",
			 caps->default_cc);
		caps->default_cc = 1;
	}

	err = erdma_cmd_exec(dev, ERDMA_SUB_COMMON, ERDMA_CMD_QUERY_FW_INFO, &request,
			     sizeof(request), &resp0, NULL);
	if (err) {
		dev_err(parent, "QUERY_FW_INFO failed: error %d\n", err);
		return err;
	}
	caps->firmware = lower_32_bits(resp0);
	dev->default_cc = caps->default_cc;
	dev->retransmits = ERDMA_RETRANSMITS_DEFAULT;
	return 0;
}

int erdma_conf_device(struct erdma_dev *dev)
{
	struct erdma_cmd_conf_device request = {
		.cfg = cpu_to_le32(ERDMA_CONF_PAGE_VALID |
				   FIELD_PREP(ERDMA_CONF_PAGE_SHIFT, PAGE_SHIFT)),
	};
	int err;

	if (!(dev->caps.flags & ERDMA_CAP_EXTEND_DB))
		return 0;
	err = erdma_cmd_exec(dev, ERDMA_SUB_COMMON, ERDMA_CMD_CONF_DEVICE, &request,
			     sizeof(request), NULL, NULL);
	if (err)
		dev_err(&dev->pdev->dev, "CONF_DEVICE failed: error %d\n", err);
	return err;
}

/* ---- blocks that the device writes ---- */

int erdma_block_setup(struct erdma_dev *dev)
{
	mutex_init(&dev->block_lock);
	dev->block =
		dma_alloc_coherent(&dev->pdev->dev, ERDMA_STATS_BYTES, &dev->block_dma, GFP_KERNEL);
	return dev->block ? 0 : -ENOMEM;
}

void erdma_block_teardown(struct erdma_dev *dev)
{
	dma_free_coherent(&dev->pdev->dev, ERDMA_STATS_BYTES, dev->block, dev->block_dma);
	dev->block = NULL;
}

int erdma_query_block(struct erdma_dev *dev, unsigned int sub, unsigned int opcode, u32 index,
		      void *out, size_t bytes)
{
	struct erdma_cmd_dump request = {
		.index = cpu_to_le32(index),
		.target_len = cpu_to_le32(ERDMA_STATS_BYTES),
	};
	const struct erdma_dump_head *head = out;
	int err;

	if (bytes > ERDMA_STATS_BYTES || bytes < sizeof(*head))
		return -EINVAL;
	/*
	 * Not more than one: whoever asks in a loop must not keep the command queue from its work.
	 */
	err = mutex_lock_interruptible(&dev->block_lock);
	if (err)
		return err;
	memset(dev->block, 0, ERDMA_STATS_BYTES);
	request.target = cpu_to_le64(dev->block_dma);
	err = erdma_cmd_exec(dev, sub, opcode, &request, sizeof(request), NULL, NULL);
	if (!err) {
		memcpy(out, dev->block, bytes);
		if (le16_to_cpu(head->magic) != ERDMA_DUMP_MAGIC)
			err = -EIO;
	}
	mutex_unlock(&dev->block_lock);
	return err;
}
