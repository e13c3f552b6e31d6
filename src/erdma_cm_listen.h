/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: listeners of the connection manager.
 */
#ifndef ERDMA_CM_LISTEN_H
#define ERDMA_CM_LISTEN_H

#include "erdma_cm_ep.h"

/* Part of erdma_cm_setup() and erdma_cm_shutdown(); 0 or -errno.  May sleep. */
int erdma_listen_setup(struct erdma_cm *cm);
void erdma_listen_shutdown(struct erdma_cm *cm);
void erdma_listener_put(struct erdma_listener *l);

/**
 * erdma_listener_deliver() - Hand a connection request to the iw_cm of a listener.
 * @l: the listener
 * @ev: the request
 *
 * May sleep.  Return: 0, -ECONNABORTED when the listener was stopped, -ENOMEM when the iw_cm has no
 * room for it.
 */
int erdma_listener_deliver(struct erdma_listener *l, struct iw_cm_event *ev);

/**
 * erdma_cm_listen_start() - iw_cm: listen until erdma_cm_listen_stop().
 * @id: the cm_id
 * @backlog: of the sockets
 *
 * Return: 0, -EAFNOSUPPORT not IPv4, -EIO device broken, or what the socket says.
 */
int erdma_cm_listen_start(struct iw_cm_id *id, int backlog);
/* Closes its sockets; requests that nobody answered are given up later.  May sleep.  0. */
int erdma_cm_listen_stop(struct iw_cm_id *id);

#endif
