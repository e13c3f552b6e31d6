/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: the connection manager, as verbs, events and bring-up see it
 * (docs/spec/wire.md).
 */
#ifndef ERDMA_CM_H
#define ERDMA_CM_H

#include <linux/types.h>

struct erdma_adapter;
struct erdma_qp;
struct iw_cm_conn_param;
struct iw_cm_id;

/* Before registration.  0 or -errno. */
int erdma_cm_setup(struct erdma_adapter *ad);
/* After unregistration: no endpoint is left when it returns.  May sleep. */
void erdma_cm_shutdown(struct erdma_adapter *ad);

/**
 * erdma_cm_qp_stopped() - The QP left RTS (by verbs) or died (by event).
 * @qp: the QP, referenced
 *
 * Raises CLOSE and closes the socket, from the CM workqueue.  Any context.
 */
void erdma_cm_qp_stopped(struct erdma_qp *qp);
/* Cuts the QP's tie to its endpoint, after the QP stopped and before it goes.  May sleep. */
void erdma_cm_qp_destroyed(struct erdma_qp *qp);

/**
 * erdma_cm_connect() - iw_cm: start a connection.
 * @id: the cm_id
 * @param: QP, private data, IRD and ORD
 *
 * May sleep.
 *
 * Return: 0, and CONNECT_REPLY is raised within 20 s, or an error and nothing is raised: -EIO
 * device broken, -EAFNOSUPPORT not IPv4, -EINVAL private data, IRD, ORD or QP, -ENETUNREACH a route
 * that does not use the paired interface, -EPERM another's QP, or what the socket says.
 */
int erdma_cm_connect(struct iw_cm_id *id, struct iw_cm_conn_param *param);

/**
 * erdma_cm_accept() - iw_cm: accept a request.
 * @id: the cm_id
 * @param: QP, private data, IRD and ORD
 *
 * May sleep.
 *
 * Return: 0 after ESTABLISHED was raised, or an error, without events, and the connection is
 * closed: -ECONNRESET the peer is gone, -EIO device broken, -EINVAL private data, IRD, ORD or QP,
 * -EPERM another's QP, or what the device said.
 */
int erdma_cm_accept(struct iw_cm_id *id, struct iw_cm_conn_param *param);

/**
 * erdma_cm_reject() - iw_cm: refuse a request, with private data for the peer.
 * @id: the cm_id
 * @pdata: the private data
 * @pdata_len: its octets
 *
 * May sleep.  Return: 0, or -ECONNRESET when the peer is gone.
 */
int erdma_cm_reject(struct iw_cm_id *id, const void *pdata, u8 pdata_len);

#endif
