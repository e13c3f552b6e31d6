// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What an adapter in check mode says that it found, judged.
 */
#include "erdma_check.h"

#ifdef __KERNEL__
#include <linux/kernel.h>
#include <linux/string.h>
#else
#include <string.h>
/* The tests run on little-endian hosts only. */
#define le32_to_cpu(value) ((__u32)(value))
#define le64_to_cpu(value) ((__u64)(value))
#endif

/* Printable, and zero from its end on, which there is. */
static bool erdma_is_text(const u8 *text, size_t bytes, size_t least)
{
	size_t i = 0, end;

	while (i < bytes && text[i] >= ' ' && text[i] <= '~')
		i++;
	end = i;
	while (i < bytes && !text[i])
		i++;
	return i == bytes && end < bytes && end >= least;
}

/* Findings that there are, as far as it is believed; none when check mode is off. */
static __u32 erdma_check_total(const struct erdma_check *check)
{
	__u32 total = le32_to_cpu(check->total);

	if (!check->on)
		return 0;
	return total < ERDMA_FINDINGS_MOST ? total : ERDMA_FINDINGS_MOST;
}

bool erdma_check_state(const struct erdma_check *check, struct erdma_info_finding *out)
{
	if (check->head.len != sizeof(*check) || check->on > 1)
		return false;
	out->flags = check->on ? ERDMA_FINDING_ON : 0;
	out->total = erdma_check_total(check);
	return true;
}

bool erdma_check_finding(const struct erdma_check *check, __u32 number,
			 struct erdma_info_finding *out)
{
	if (check->head.len != sizeof(*check) || check->on > 1 || !number ||
	    number > erdma_check_total(check) || le32_to_cpu(check->head.index) != number - 1 ||
	    check->severity > ERDMA_FINDING_ADVICE || !check->count ||
	    !erdma_is_text(check->id, sizeof(check->id), 1) ||
	    !erdma_is_text(check->advice, sizeof(check->advice), 0))
		return false;
	out->number = number;
	out->flags = (check->flags & ERDMA_CHECK_KERNEL ? ERDMA_FINDING_KERNEL : 0) |
		     (check->flags & ERDMA_CHECK_GONE ? ERDMA_FINDING_GONE : 0);
	out->severity = check->severity;
	out->qp = le32_to_cpu(check->qpn);
	out->cq = le32_to_cpu(check->cqn);
	out->count = le64_to_cpu(check->count);
	out->first_ns = le64_to_cpu(check->first_ns);
	out->last_ns = le64_to_cpu(check->last_ns);
	if (out->last_ns > out->first_ns)
		out->last_ns = out->first_ns;
	memcpy(out->id, check->id, sizeof(out->id));
	memcpy(out->advice, check->advice, sizeof(out->advice));
	return true;
}
