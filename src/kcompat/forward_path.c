// SPDX-License-Identifier: GPL-2.0-or-later
/* A bridge tells by which port it reaches a neighbour. */
#include <linux/netdevice.h>

int probe(struct net_device_path_ctx *ctx, struct net_device_path *path);
int probe(struct net_device_path_ctx *ctx, struct net_device_path *path)
{
	return ctx->dev->netdev_ops->ndo_fill_forward_path(ctx, path);
}
