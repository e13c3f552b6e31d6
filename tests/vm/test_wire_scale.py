# SPDX-License-Identifier: GPL-2.0-or-later
"""Many connections between two guests: they work side by side, cost nothing when idle and leave nothing behind."""

import concurrent.futures
import contextlib
import re
import time

import pytest

from erdmalab import workloads
from quiet import quiet, SECONDS
from support import expect_in_use, in_use, program


@contextlib.contextmanager
def serving(machine, ready=0):
    """A server, which has made `ready` queue pairs when it begins to listen; gives its port."""
    port = workloads.next_port()
    server = machine.popen([program("connections"), "serve", "rdma", machine.address, str(port),
                            "--ready", str(ready)])
    try:
        workloads.wait_listener(machine, port, server)
        yield port
        assert server.code is None, f"the server ended with code {server.code}\n{server.text}"
    finally:
        server.kill()
        server.wait(30 * machine.slow)


def open_many(machine, server, port, count, *options):
    return machine.popen([program("connections"), "open", "rdma", server.address, str(port), str(count), *options],
                         stdin=True)


def memory(group):
    """Unreclaimable slab of each guest and resident memory of each QEMU, MiB."""
    found = []
    for machine in group:
        machine.run("echo 3 > /proc/sys/vm/drop_caches")
        found.append(int(re.search(r"SUnreclaim:\s+(\d+)", machine.read("/proc/meminfo"))[1]) / 1024)
        with open(f"/proc/{machine.process.pid}/status", encoding="ascii") as status:
            found.append(int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024)
    return found


def quiet_all(group):
    """quiet() of each guest, measured at the same time."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(quiet, group))


def at_once(pair, count):
    """That many connections are open together and carry traffic; while they rest, nobody works."""
    before = [in_use(machine) for machine in pair]
    with serving(pair[0]) as port:
        idle, first = quiet_all(pair), memory(pair)
        client = open_many(pair[1], pair[0], port, count, "--messages", "5", "--hold")
        client.wait_output("open", 200 * pair[0].slow)
        for machine in pair:
            assert machine.counters()["qps"] == count
        growth = [round((after - early) * 1024 / count, 1) for early, after in zip(first, memory(pair))]
        print("KiB for each connection: slab and RSS of each guest", growth)
        time.sleep(7)  # one reminder of the device may come 5 s after an event (docs/spec/adapter.md 6.5)
        resting = quiet_all(pair)
        client.close_input()
        client.wait(60 * pair[0].slow, check=True)
    for (wakeups, ticks), (more_wakeups, more_ticks) in zip(idle, resting):
        assert more_wakeups <= wakeups + 40 * SECONDS and more_ticks <= 1.5 * ticks + 10 * SECONDS, (idle, resting)
    for machine, values in zip(pair, before):
        expect_in_use(machine, values, limit=30)


def one_after_another(pair, rounds):
    """Rounds of 100 connections opened and closed; after the first two no memory grows any more."""
    before = [in_use(machine) for machine in pair]
    with serving(pair[0], ready=150) as port:
        options = ("--messages", "1", "--repeat")
        open_many(pair[1], pair[0], port, 100, *options, "2").wait(200 * pair[0].slow, check=True)
        time.sleep(6)  # TIME_WAIT
        first = memory(pair)
        open_many(pair[1], pair[0], port, 100, *options, str(rounds)).wait(600 * pair[0].slow, check=True)
        time.sleep(6)
        last = memory(pair)
    for machine, values in zip(pair, before):
        expect_in_use(machine, values, limit=30)
    growth = [round(after - early, 1) for early, after in zip(first, last)]
    print("growth in MiB: slab and RSS of each guest", growth)
    assert all(value < limit for value, limit in zip(growth, (4, 24, 4, 24))), \
        f"grown by {growth} MiB (slab, RSS of each guest), from {first} to {last}"


@pytest.mark.long
@pytest.mark.limit(400)
def test_100_at_once(pair):
    at_once(pair, 100)


@pytest.mark.limit(400)
def test_500_one_after_another(pair):
    one_after_another(pair, 3)


@pytest.mark.long
@pytest.mark.limit(900)
def test_1024_at_once(pair):
    at_once(pair, 1024)


@pytest.mark.long
@pytest.mark.limit(1500)
def test_2000_one_after_another(pair):
    one_after_another(pair, 20)
