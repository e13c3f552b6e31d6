/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The functions of libibverbs that stand behind the witness; NULL in a process that has none. */
#ifndef ERDMA_WITNESS_REAL_H
#define ERDMA_WITNESS_REAL_H

#include <infiniband/verbs.h>

__typeof__(&ibv_open_device) real_ibv_open_device(void);
__typeof__(&ibv_close_device) real_ibv_close_device(void);
__typeof__(&ibv_create_cq) real_ibv_create_cq(void);
__typeof__(&ibv_destroy_cq) real_ibv_destroy_cq(void);
__typeof__(&ibv_create_qp) real_ibv_create_qp(void);
__typeof__(&ibv_destroy_qp) real_ibv_destroy_qp(void);
__typeof__(&ibv_get_cq_event) real_ibv_get_cq_event(void);
__typeof__(&ibv_get_async_event) real_ibv_get_async_event(void);
__typeof__(&ibv_ack_async_event) real_ibv_ack_async_event(void);

/*
 * Before a program is in a hurry: what it does too early is to be seen, and must not be late for a look into a library.
 */
void real_look_up(void);

#endif
