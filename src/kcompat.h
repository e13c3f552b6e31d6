/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What differs between kernels, and only that.  Each ERDMA_HAVE_* comes from a file of the same name in kcompat/
 * that either compiles against this kernel or does not; no version number is looked at.
 */
#ifndef ERDMA_KCOMPAT_H
#define ERDMA_KCOMPAT_H

#include <linux/interrupt.h>
#include <linux/mm.h>

#include "kcompat-probed.h"

/* Spreads the interrupt to `mask` now, as a hint that tools may override. */
static inline void erdma_irq_place(int irq, const struct cpumask *mask)
{
#ifdef ERDMA_HAVE_AFFINITY_AND_HINT
	irq_set_affinity_and_hint(irq, mask);
#else
	irq_set_affinity_hint(irq, mask);
#endif
}

/* Before free_irq() of an interrupt that erdma_irq_place() placed. */
static inline void erdma_irq_unplace(int irq)
{
#ifdef ERDMA_HAVE_AFFINITY_AND_HINT
	irq_update_affinity_hint(irq, NULL);
#else
	irq_set_affinity_hint(irq, NULL);
#endif
}

/* A mapping of device memory that mprotect() cannot make executable. */
static inline void erdma_vma_never_exec(struct vm_area_struct *vma)
{
#ifdef ERDMA_HAVE_VM_FLAGS_CLEAR
	vm_flags_clear(vma, VM_MAYEXEC);
#else
	vma->vm_flags &= ~VM_MAYEXEC;
#endif
}

#endif
