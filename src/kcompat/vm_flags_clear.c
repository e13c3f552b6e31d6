// SPDX-License-Identifier: GPL-2.0-or-later
/* vm_flags_clear() guards vm_area_struct.vm_flags, which became read-only. */
#include <linux/mm.h>

void probe(struct vm_area_struct *vma);
void probe(struct vm_area_struct *vma)
{
	vm_flags_clear(vma, VM_MAYEXEC);
}
