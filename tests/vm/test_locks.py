# SPDX-License-Identifier: GPL-2.0-or-later
"""What lockdep has seen of the driver's locks after connections of all kinds."""

import re

import pytest

from erdmalab import workloads

pytestmark = pytest.mark.debug_kernel  # others have no lockdep


def classes(vm):
    """Name of a class of locks -> those that were taken directly inside it.  Other classes of the same name have #2, #3 behind it."""
    found, inside = {}, set()
    for line in vm.read("/proc/lockdep").splitlines():
        if new := re.match(r"[0-9a-f]+ .*?\s(?:FD: *\d+ BD: *\d+ )?\S{4,8}: (.+)$", line):
            inside = found.setdefault(new[1], set())
        elif taken := re.match(r" -> \[[0-9a-f]+\] (.+)$", line):
            inside.add(taken[1])
    return found


def within(seen, name):
    """Everything that was taken inside a class, in any number of steps -> in what."""
    ways, todo = {name: None}, [name]
    while todo:
        outer = todo.pop()
        for inner in seen.get(outer, set()) - set(ways):
            ways[inner] = outer
            todo.append(inner)
    return ways


# A program's sockets: their locks are held while memory is asked for that waits for I/O.
TRAFFIC = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
accepted = server.accept()[0]
for _ in range(10):
    client.sendall(bytes(20000))
    accepted.recv(20000, socket.MSG_WAITALL)
"""


def test_locks(pair):
    """Sockets of connections are the kernel's to lockdep, and nothing waits for I/O that may wait for a connection."""
    machine, other = pair
    workloads.rping(machine, 10, client=other)
    workloads.rping(other, 10, client=machine)
    machine.run(["/usr/bin/python3", "-c", TRAFFIC], timeout=60 * machine.slow)
    seen = classes(machine)
    # The test would see it: processes' sockets do both.
    assert "fs_reclaim" in seen["sk_lock-AF_INET"], seen["sk_lock-AF_INET"]
    ours = [name for name in seen
            if re.fullmatch(r"\(wq_completion\)erdma.*|(&cm->listen_lock|&ep->lock|&qp->state_lock|k-sk_lock-AF_INET6?)(#\d+)?", name)]
    assert {"&cm->listen_lock", "&qp->state_lock", "k-sk_lock-AF_INET"} < set(ours), sorted(seen)
    # The kernel's eventpoll has an &ep->lock, too; that of connections is among them.
    assert [name for name in ours if name.startswith("&ep->lock") and "&qp->state_lock" in seen[name]], sorted(seen)
    assert "k-sk_lock-AF_INET" in seen["&cm->listen_lock"], seen["&cm->listen_lock"]
    for name in ours:
        inside = within(seen, name)
        assert not {"fs_reclaim", "sk_lock-AF_INET", "sk_lock-AF_INET6"} & set(inside), (name, inside)
