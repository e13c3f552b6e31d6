// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: home of the tracepoints and of the categories of debug messages.
 */
#include <linux/module.h>

#include "erdma_log.h"

#define CREATE_TRACE_POINTS
#include "erdma_trace.h"

uint erdma_dprint_mask;
module_param_named(dprint_mask, erdma_dprint_mask, uint, 0644);
MODULE_PARM_DESC(dprint_mask, "debug messages: 1 commands, 2 connections, 4 events, 8 QP states (default 0: none)");
