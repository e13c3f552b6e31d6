// SPDX-License-Identifier: GPL-2.0-or-later
/* rb_add() inserts by a comparison; it was written out by each user. */
#include <linux/rbtree.h>

void probe(struct rb_node *node, struct rb_root *tree,
	   bool (*less)(struct rb_node *a, const struct rb_node *b));
void probe(struct rb_node *node, struct rb_root *tree,
	   bool (*less)(struct rb_node *a, const struct rb_node *b))
{
	rb_add(node, tree, less);
}
