// SPDX-License-Identifier: GPL-2.0-or-later
/* What the socket option TCP_QUICKACK does is a function for the kernel, too. */
#include <linux/tcp.h>

void probe(struct sock *sk);
void probe(struct sock *sk)
{
	tcp_sock_set_quickack(sk, 0);
}
