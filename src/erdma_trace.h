/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: tracepoints for commands, steps of connections, events and errors.
 * `device` is the adapter's number in the diagnostics device.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM erdma

#if !defined(ERDMA_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define ERDMA_TRACE_H

#include <linux/tracepoint.h>

TRACE_EVENT(erdma_cmd_submit,
	TP_PROTO(u32 device, u32 slot, u32 sub, u32 opcode),
	TP_ARGS(device, slot, sub, opcode),
	TP_STRUCT__entry(
		__field(u32, device)
		__field(u32, slot)
		__field(u32, sub)
		__field(u32, opcode)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->slot = slot;
		__entry->sub = sub;
		__entry->opcode = opcode;
	),
	TP_printk("device=%u slot=%u command=%u/%u",
		  __entry->device, __entry->slot, __entry->sub, __entry->opcode)
);

TRACE_EVENT(erdma_cmd_done,
	TP_PROTO(u32 device, u32 slot, u32 sub, u32 opcode, int err),
	TP_ARGS(device, slot, sub, opcode, err),
	TP_STRUCT__entry(
		__field(u32, device)
		__field(u32, slot)
		__field(u32, sub)
		__field(u32, opcode)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->slot = slot;
		__entry->sub = sub;
		__entry->opcode = opcode;
		__entry->err = err;
	),
	TP_printk("device=%u slot=%u command=%u/%u error=%d",
		  __entry->device, __entry->slot, __entry->sub, __entry->opcode, __entry->err)
);

TRACE_EVENT(erdma_cm_state,
	TP_PROTO(u32 device, u32 cep, u32 qpn, u32 from, u32 to),
	TP_ARGS(device, cep, qpn, from, to),
	TP_STRUCT__entry(
		__field(u32, device)
		__field(u32, cep)
		__field(u32, qpn)
		__field(u32, from)
		__field(u32, to)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->cep = cep;
		__entry->qpn = qpn;
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("device=%u cep=%u qp=%u state=%u->%u",
		  __entry->device, __entry->cep, __entry->qpn, __entry->from, __entry->to)
);

TRACE_EVENT(erdma_cm_event,
	TP_PROTO(u32 device, u32 cep, u32 state, u32 event),
	TP_ARGS(device, cep, state, event),
	TP_STRUCT__entry(
		__field(u32, device)
		__field(u32, cep)
		__field(u32, state)
		__field(u32, event)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->cep = cep;
		__entry->state = state;
		__entry->event = event;
	),
	TP_printk("device=%u cep=%u state=%u event=%u",
		  __entry->device, __entry->cep, __entry->state, __entry->event)
);

/* Whose a new QP is: it may be gone before anybody asks (docs/check.md). */
TRACE_EVENT(erdma_qp_made,
	TP_PROTO(u32 device, const char *pci, u32 qpn, pid_t pid, const char *name),
	TP_ARGS(device, pci, qpn, pid, name),
	TP_STRUCT__entry(
		__field(u32, device)
		__array(char, pci, 16)
		__field(u32, qpn)
		__field(pid_t, pid)
		__array(char, name, TASK_COMM_LEN)
	),
	TP_fast_assign(
		__entry->device = device;
		strscpy(__entry->pci, pci, sizeof(__entry->pci));
		__entry->qpn = qpn;
		__entry->pid = pid;
		strscpy(__entry->name, name, sizeof(__entry->name));
	),
	TP_printk("device=%u pci=%s qp=%u pid=%d name=%s", __entry->device, __entry->pci,
		  __entry->qpn, __entry->pid, __entry->name)
);

TRACE_EVENT(erdma_qp_state,
	TP_PROTO(u32 device, u32 qpn, u32 from, u32 to),
	TP_ARGS(device, qpn, from, to),
	TP_STRUCT__entry(
		__field(u32, device)
		__field(u32, qpn)
		__field(u32, from)
		__field(u32, to)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->qpn = qpn;
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("device=%u qp=%u state=%u->%u",
		  __entry->device, __entry->qpn, __entry->from, __entry->to)
);

TRACE_EVENT(erdma_async_event,
	TP_PROTO(u32 device, u32 type, u32 number, bool known),
	TP_ARGS(device, type, number, known),
	TP_STRUCT__entry(
		__field(u32, device)
		__field(u32, type)
		__field(u32, number)
		__field(bool, known)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->type = type;
		__entry->number = number;
		__entry->known = known;
	),
	TP_printk("device=%u type=%u number=%u%s", __entry->device, __entry->type, __entry->number,
		  __entry->known ? "" : " unknown")
);

TRACE_EVENT(erdma_device_broken,
	TP_PROTO(u32 device, const char *why),
	TP_ARGS(device, why),
	TP_STRUCT__entry(
		__field(u32, device)
		__array(char, why, 48)
	),
	TP_fast_assign(
		__entry->device = device;
		strscpy(__entry->why, why, sizeof(__entry->why));
	),
	TP_printk("device=%u why=\"%s\"", __entry->device, __entry->why)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE erdma_trace
#include <trace/define_trace.h>
