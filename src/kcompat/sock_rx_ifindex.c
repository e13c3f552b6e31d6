// SPDX-License-Identifier: GPL-2.0-or-later
/* Where the last packet of a socket came in is a field of struct sock, no longer of inet_sock. */
#include <net/sock.h>

int probe(const struct sock *sk);
int probe(const struct sock *sk)
{
	return sk->sk_rx_dst_ifindex;
}
