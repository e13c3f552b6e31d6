/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR BSD-3-Clause */
/*
 * What the kernel and the user-space provider tell each other through uverbs (docs/spec/adapter.md
 * chapter 10).
 */
#ifndef ERDMA_ABI_USER_H
#define ERDMA_ABI_USER_H

#include <linux/types.h>

#define ERDMA_UVERBS_ABI 1

/* Kind of send doorbell that a context was given (sdb_type). */
enum {
	ERDMA_SDB_EXCLUSIVE_PAGE = 0,
	ERDMA_SDB_ENTRY = 1,
	ERDMA_SDB_SHARED_PAGE = 2,
};

/* 10.2, behind the standard response */
struct erdma_abi_context_resp {
	__u32 device_id;
	__u32 reserved;
	__u32 sdb_type;
	__u32 sdb_offset;
	__aligned_u64 sq_doorbell;	/* mmap offsets */
	__aligned_u64 rq_doorbell;
	__aligned_u64 cq_doorbell;
};

/* 10.3 and 10.4 share the request: create CQ, create QP */
struct erdma_abi_queue_req {
	__aligned_u64 record_va;
	__aligned_u64 buffer_va;
	__u32 buffer_len;
	__u32 reserved;
};

struct erdma_abi_cq_resp {
	__u32 cqn;
	__u32 entries;
};

struct erdma_abi_qp_resp {
	__u32 qpn;
	__u32 sq_wqebbs;
	__u32 rq_entries;
	__u32 rq_offset;
};

#endif
