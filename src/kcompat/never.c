// SPDX-License-Identifier: GPL-2.0-or-later
/* Must not compile: if it does, the probes do not notice a missing function. */
#include <linux/module.h>

int probe(void);
int probe(void)
{
	return erdma_no_kernel_has_this_function();
}
