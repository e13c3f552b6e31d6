# SPDX-License-Identifier: GPL-2.0-or-later
"""A bad network between two guests: traffic completes, or ends as the datasheet says."""

import contextlib
import time

import pytest

from erdmalab import workloads
from support import expect_in_use, in_use, nothing_left
from traffic import load_both_ends


@pytest.mark.limit(500)
@pytest.mark.parametrize("text", [
    pytest.param("both:loss=1%;seed=3", id="loss", marks=pytest.mark.long),
    pytest.param("both:reorder=5%,duplicate=2%,jitter=2ms,delay=3ms;seed=4", id="reorder-duplicate-jitter",
                 marks=pytest.mark.long),
    pytest.param("to-wire:loss=2%,corrupt=1%;seed=5", id="loss-corrupt")])
def test_lossy(pair, text):
    with nothing_left(pair):
        with pair[0].link(text):
            workloads.rping(pair[0], 100, client=pair[1])
            workloads.rping(pair[1], 20, options=["-S", "65000"], client=pair[0])
            for server, client, name in ((0, 1, "ib_write_bw"), (1, 0, "ib_read_bw"), (0, 1, "ib_send_bw")):
                workloads.perftest(pair[server], name, options=["-s", 65536, "-n", 150], client=pair[client])


@pytest.mark.long
def test_delay(pair):
    """50 ms each way: a round trip takes at least 100 ms, and a window full of writes goes on in the meantime."""
    with nothing_left(pair), pair[0].link("both:delay=50ms"):
        row = workloads.perftest(pair[0], "ib_send_lat", options=["-s", 64, "-n", 20], client=pair[1])[0]
        assert row["minimum"] >= 50000, row  # perftest prints half of the round trip
        workloads.rping(pair[1], 10, client=pair[0])
        workloads.perftest(pair[0], "ib_write_bw", options=["-s", 65536, "-n", 500], client=pair[1])


def run_through_cut(pair, server, client, port, seconds):
    """Start both, cut the link in the middle of their traffic, repair it: both end well."""
    first = pair[0].popen([*server])
    workloads.wait_listener(pair[0], port, first)
    second = pair[1].popen([*client])
    start, deadline = pair[1].counters()["tx_reqs"], time.monotonic() + 20 * pair[0].slow
    while pair[1].counters()["tx_reqs"] < start + 20:
        assert time.monotonic() < deadline, f"no traffic\n{second.text}"
        time.sleep(0.02)
    with pair[0].link("both:cut"):
        time.sleep(seconds / 2)
        middle = pair[1].counters()["tx_bytes"]
        time.sleep(seconds / 2)
        assert pair[1].counters()["tx_bytes"] - middle <= 64 << 20
        assert first.code is None and second.code is None, "it ended before the cut was repaired:\n" + second.text
    for job in (second, first):
        result = job.wait(60 * pair[0].slow)
        assert result.code == 0, f"{result.command}:\n{first.text}\n{second.text}"


def test_short_cut_of_writes(pair):
    port = workloads.next_port()
    common = ["ib_write_bw", "-R", "-F", "-p", str(port), "-s", "65536", "-D", "6"]
    with nothing_left(pair):
        run_through_cut(pair, common, [*common, pair[0].address], port, 2)


def test_short_cut_of_rping(pair):
    port = workloads.next_port()
    common = ["-a", pair[0].address, "-p", str(port), "-V", "-S", "5000", "-C", "600"]
    with nothing_left(pair):
        run_through_cut(pair, ["rping", "-s", *common], ["rping", "-c", *common], port, 2)


def expect_given_up(pair, seconds):
    """Both ends under load end by their retry limit: a completion that says so, flushed ones, a QP event."""
    before = [in_use(machine) for machine in pair]
    jobs = load_both_ends(*pair)
    begin = time.monotonic()
    with pair[0].link("both:cut"):
        for job in jobs:
            job.wait_output(r"told .*DISCONNECTED", seconds + 20 * pair[0].slow)
        told = time.monotonic() - begin
        for job in jobs:
            assert job.wait(15 * pair[0].slow).code == 0, job.text
            _, first, flushed, events = next(line.split() for line in job.output.splitlines()
                                             if line.startswith("work "))
            assert int(first) == 12, f"expected retry exceeded (12) first:\n{job.text}"  # IBV_WC_RETRY_EXC_ERR
            assert int(flushed) > 0 and int(events) == 1, job.text
        rest = seconds * 2 - (time.monotonic() - begin)
        time.sleep(max(0, rest))
    assert told >= seconds * 0.8, f"given up after {told:.0f} s"
    for machine, values in zip(pair, before):
        expect_in_use(machine, values, limit=30)
    workloads.rping(pair[0], 10, client=pair[1])


@pytest.mark.limit(400)
@pytest.mark.long
def test_cut_and_impatient(vms):
    """As the long cut, with adapters that give up after 4 s."""
    expect_given_up(vms(2, adapter={"give-up-ms": 4000}), 4)


@pytest.mark.long
@pytest.mark.limit(600)
def test_long_cut(pair):
    """60 s without a link; the adapters give up after 30."""
    expect_given_up(pair, 30)


@contextlib.contextmanager
def endless_rping(one, other):
    """An rping from other to one that goes on until the block ends; gives a client's command line for the same server."""
    port = workloads.next_port()
    address = ["-a", one.address, "-p", str(port)]
    server = one.popen(["rping", "-s", "-P", *address])
    workloads.wait_listener(one, port, server)
    client = other.popen(["rping", "-c", *address, "-V", "-C", "1000000"])
    time.sleep(1)
    assert client.code is None, client.text
    yield ["rping", "-c", *address, "-C", "1"]
    for job in (client, server):
        job.kill()
        job.wait(25 * one.slow)


def test_interface_down(pair):
    """The card of one guest goes down under traffic, and its port with it; later everything works again."""
    one, other = pair
    with nothing_left(pair):
        with endless_rping(one, other) as command:
            other.run(["ip", "link", "set", "eth0", "down"])
            state = other.run("cat /sys/class/infiniband/*/ports/1/state").output
            assert "DOWN" in state, state
            assert other.run(command, timeout=40 * one.slow, check=False).code != 0, "a connection without a card"
            other.run(["ip", "link", "set", "eth0", "up"])
            other.wait_devices(1)
    workloads.rping(one, 10, client=other)


def test_address_removed(pair):
    """Without its address a guest cannot connect; with it, it can again, and what runs meanwhile can be ended."""
    one, other = pair
    with nothing_left(pair):
        try:
            with endless_rping(one, other) as command:
                other.run(["ip", "addr", "flush", "dev", "eth0"])
                assert other.run(command, timeout=40 * one.slow, check=False).code != 0, "connected without an address"
        finally:
            other.run(["ip", "addr", "add", other.adapters[0].address, "brd", "+", "dev", "eth0"])
    workloads.rping(one, 10, client=other)
    workloads.rping(other, 10, client=one)
