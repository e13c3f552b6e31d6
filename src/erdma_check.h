/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an adapter in check mode says that it found (QUERY_CHECK, docs/capabilities.md), judged: it
 * may say anything.  Also compiles in user space, where the unit tests feed it.
 */
#ifndef ERDMA_CHECK_H
#define ERDMA_CHECK_H

#include "erdma_hw.h"
#include "erdma_ioctl.h"

#ifndef __KERNEL__
#include <stdbool.h>
#endif

#define ERDMA_FINDINGS_MOST 1024	/* that are believed; the model has 256 */

/**
 * erdma_check_state() - The entry of check mode itself, number 0.
 * @check: the answer about any finding
 * @out: zeroed; its flags and total are filled
 *
 * Return: false when it is no such answer.
 */
bool erdma_check_state(const struct erdma_check *check, struct erdma_info_finding *out);

/**
 * erdma_check_finding() - The entry of a finding, without its owner.
 * @check: the answer about finding number - 1
 * @number: from 1 on
 * @out: zeroed; filled if there is one
 *
 * Return: false when there is none, or none that can be.
 */
bool erdma_check_finding(const struct erdma_check *check, __u32 number,
			 struct erdma_info_finding *out);

#endif
