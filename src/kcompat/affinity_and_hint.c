// SPDX-License-Identifier: GPL-2.0-or-later
/* irq_set_affinity_and_hint() and irq_update_affinity_hint() replace irq_set_affinity_hint(). */
#include <linux/interrupt.h>

int probe(unsigned int irq, const struct cpumask *mask);
int probe(unsigned int irq, const struct cpumask *mask)
{
	return irq_set_affinity_and_hint(irq, mask) ?: irq_update_affinity_hint(irq, NULL);
}
