# SPDX-License-Identifier: GPL-2.0-or-later
"""What lockdep has seen of the driver's locks after connections of all kinds."""

import re

import pytest

from erdmalab import workloads

pytestmark = pytest.mark.debug_kernel  # others have no lockdep


def classes(vm):
    """Name of a class of locks -> those that were taken directly inside it."""
    found, inside = {}, set()
    for line in vm.read("/proc/lockdep").splitlines():
        if new := re.match(r"[0-9a-f]+ .*?\s(?:FD: *\d+ BD: *\d+ )?\S{4,8}: (.+)$", line):
            inside = found.setdefault(new[1], set())
        elif taken := re.match(r" -> \[[0-9a-f]+\] (.+)$", line):
            inside.add(taken[1])
    return found


def test_locks(pair):
    """Sockets of connections are the kernel's to lockdep, and nothing waits for I/O that may wait for a connection."""
    machine, other = pair
    workloads.rping(machine, 10, client=other)
    workloads.rping(other, 10, client=machine)
    seen = classes(machine)
    # The test would see it: processes' sockets do both.
    assert "fs_reclaim" in seen["sk_lock-AF_INET"] | seen.get("sk_lock-AF_INET6", set()), sorted(seen)
    ours = [name for name in seen if name == "&cm->listen_lock" or "(wq_completion)erdma" in name]
    assert "&cm->listen_lock" in ours, sorted(seen)
    assert "k-sk_lock-AF_INET" in seen["&cm->listen_lock"], seen["&cm->listen_lock"]
    for name in [*ours, "&ep->lock", "&qp->state_lock", "k-sk_lock-AF_INET"]:
        inside = seen.get(name, set())
        assert not {"fs_reclaim", "sk_lock-AF_INET", "sk_lock-AF_INET6"} & inside, (name, inside)
