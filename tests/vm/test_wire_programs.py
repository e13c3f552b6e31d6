# SPDX-License-Identifier: GPL-2.0-or-later
"""The distribution's programs between two guests: both roles, MTU 1500 and 9000, all sizes; data is verified."""

import itertools

import pytest

from connecting import CONNECTING
from erdmalab import workloads
from perftests import BANDWIDTH, EVENTS_HERE, HERE, LATENCY, SOME_SIZES, WITH_EVENTS, expect_sizes
from support import nothing_left, set_mtu


# Every program runs with the server in either guest and at either MTU.  One of these, another for each program, is
# enough to find what is broken; the others are for the long run.
WAYS = [(mtu, server) for mtu in (1500, 9000) for server in (0, 1)]


def ways(names, *more, marks=(), elsewhere=()):
    """Those that run elsewhere each time are for the long run only."""
    for number, name in enumerate(names):
        for way, (mtu, server) in enumerate(WAYS):
            long = [pytest.mark.long] if way != number % len(WAYS) or name in elsewhere else []
            yield pytest.param(name, mtu, server, *more, marks=[*long, *marks],
                               id="-".join([name, str(mtu), f"vm{server + 1}", *more]))


def sizes_of(names, elsewhere=()):
    """ways() with a choice of sizes behind."""
    for sizes in SOME_SIZES:
        yield from ways(names, *sizes.values, marks=sizes.marks, elsewhere=elsewhere)


def ends(pair, mtu, server):
    """Server and client guest, at that MTU."""
    set_mtu(pair, mtu)
    return pair[server], pair[1 - server]


@pytest.mark.parametrize("mtu, server", WAYS)
def test_rping(pair, mtu, server):
    one, other = ends(pair, mtu, server)
    with nothing_left(pair):
        both = workloads.rping(one, 100, options=["-v"], client=other)
        for result in (both.server, both.client):
            lines = [line for line in result.output.splitlines() if "rdma-ping-" in line]
            assert len(lines) == 100 and len(set(lines)) > 20, result.output[-2000:]
        workloads.rping(one, 20, options=["-S", "65000"], client=other)


@pytest.mark.parametrize("name, mtu, server", ways(CONNECTING))
def test_connections(pair, name, mtu, server):
    one, other = ends(pair, mtu, server)
    with nothing_left(pair):
        CONNECTING[name](one, other, str(workloads.next_port()))


# Whoever moves most data goes through all sizes each time.
@pytest.mark.parametrize("name, mtu, server, sizes", [
    *ways(BANDWIDTH[:1], "all"), *sizes_of(BANDWIDTH[1:]), *sizes_of(LATENCY, HERE)])
def test_perftest(pair, name, mtu, server, sizes):
    one, other = ends(pair, mtu, server)
    with nothing_left(pair):
        expect_sizes(name, sizes, ["-n", 20], one, other)
        rows = workloads.perftest(one, name, options=["-s", 1, "-n", 100], client=other)
        assert [int(row["bytes"]) for row in rows] == [1], rows


@pytest.mark.parametrize("name, mtu, server, sizes", sizes_of([name for name, _ in WITH_EVENTS], EVENTS_HERE))
def test_perftest_events(pair, name, mtu, server, sizes):
    one, other = ends(pair, mtu, server)
    with nothing_left(pair):
        expect_sizes(name, sizes, ["-e", "-n", dict(WITH_EVENTS)[name]], one, other)


@pytest.mark.parametrize("name, options", [
    ("ib_send_bw", ["-b"]), ("ib_read_bw", ["-q", 8, "-e"]), ("ib_atomic_lat", ["-A", "CMP_AND_SWAP"]),
    *(pytest.param(name, options, marks=pytest.mark.long)
      for name, options in (("ib_write_bw", ["-b"]), ("ib_write_bw", ["-q", 8]), ("ib_write_bw", ["-I", 96, "-s", 64]),
                            ("ib_atomic_bw", []))),
], ids=lambda value: value if isinstance(value, str) else "".join(map(str, value)) or "plain")
def test_perftest_variants(pair, name, options):
    assert len(workloads.perftest(pair[0], name, options=["-n", 500, *options], client=pair[1])) == 1


def test_send_without_flow_control(pair):
    """A receiver that is overrun makes the sender wait (wire.md 5.5), over the network too."""
    workloads.perftest(pair[1], "ib_send_bw", options=["-s", 64, "-n", 20000, "-r", 8], client=pair[0])


def everybody_pings(group, count):
    """rping from every guest to every other, all at once."""
    servers, clients = [], []
    ways_ = list(itertools.permutations(group, 2))
    ports = {machine.name: workloads.next_port() for machine in group}
    try:
        for machine in group:
            port = ports[machine.name]
            servers.append(machine.popen(["rping", "-s", "-P", "-a", machine.address, "-p", str(port)]))
            workloads.wait_listener(machine, port, servers[-1])
        clients = [one.popen(["rping", "-c", "-a", other.address, "-p", str(ports[other.name]), "-C", str(count), "-V",
                              "-v"]) for one, other in ways_]
        for job in clients:
            result = job.wait(90 * group[0].slow, check=True)
            assert result.output.count("ping data: rdma-ping-") == count, result.output[-1000:]
        assert all(server.code is None for server in servers), "".join(server.text for server in servers)
    finally:
        for job in servers + clients:
            job.kill()


def test_both_directions_at_once(pair):
    with nothing_left(pair):
        everybody_pings(pair, 100)


@pytest.mark.long
def test_four_guests(vms):
    group = vms(4)
    with nothing_left(group):
        everybody_pings(group, 200)
