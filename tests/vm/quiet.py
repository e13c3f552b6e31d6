# SPDX-License-Identifier: GPL-2.0-or-later
"""What an idle guest costs its host."""

import time

SECONDS = 3


def wakeups(vm):
    """How often QEMU's main loop went to sleep, and ticks of CPU time of the whole process."""
    pid = vm.process.pid
    with open(f"/proc/{pid}/task/{pid}/status", encoding="ascii") as status:
        switches = next(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt_switches"))
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return switches, int(fields[11]) + int(fields[12])


def quiet(vm):
    """The smallest figures of three measurements."""
    results = []
    for _ in range(3):
        time.sleep(0.5)
        before = wakeups(vm)
        time.sleep(SECONDS)
        results.append(tuple(b - a for a, b in zip(before, wakeups(vm))))
    return tuple(map(min, zip(*results)))
