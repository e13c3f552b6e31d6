// SPDX-License-Identifier: GPL-2.0-or-later
/* kmap_local_page() replaces kmap_atomic(). */
#include <linux/highmem.h>

void probe(struct page *page);
void probe(struct page *page)
{
	kunmap_local(kmap_local_page(page));
}
