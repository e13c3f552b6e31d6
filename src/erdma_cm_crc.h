/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: whether connections have CRCs (docs/spec/wire.md 2.6); for the
 * connection manager.
 */
#ifndef ERDMA_CM_CRC_H
#define ERDMA_CM_CRC_H

struct erdma_ep;

/*
 * Decides what an endpoint does about CRCs, by the module parameter and what the adapter can.
 * Under erdma_ep.lock.  0, or -EOPNOTSUPP when they are required and the adapter has none.
 */
int erdma_ep_choose_crc(struct erdma_ep *ep);

#endif
