# SPDX-License-Identifier: GPL-2.0-or-later
"""The distribution's programs: rdmacm-utils and perftest, with exit codes, results and data checked."""

import re
import time

import pytest

from erdmalab import workloads
from perftests import BANDWIDTH, EVENTS_HERE, HERE, LATENCY, SOME_SIZES, WITH_EVENTS, expect_sizes, here
from support import expect_in_use, in_use, interrupts


def test_rping(vm):
    before = in_use(vm)
    both = workloads.rping(vm, 1000, options=["-v"], timeout=60)
    for result in (both.server, both.client):
        lines = [line for line in result.output.splitlines() if "rdma-ping-" in line]
        assert len(lines) == 1000, f"{len(lines)} lines of ping data\n{result.output[-2000:]}"
    assert len(set(both.client.output.splitlines())) > 20, "the data does not change"
    expect_in_use(vm, before)


def test_rping_big(vm):
    workloads.rping(vm, 50, options=["-S", "65000"])


def test_ucmatose(vm):
    before = in_use(vm)
    port = workloads.next_port()
    both = workloads.pair(vm, ["ucmatose", "-b", vm.address, "-p", str(port), "-c", "10", "-C", "50", "-S", "3000"],
                          vm, ["ucmatose", "-s", vm.address, "-p", str(port), "-c", "10", "-C", "50", "-S", "3000"],
                          port)
    for result in (both.server, both.client):
        assert "test complete" in result.output, result.output
        assert re.search(r"return status 0", result.output), result.output
        assert "completed" in result.output or "data transfers complete" in result.output, result.output
    expect_in_use(vm, before)


# Not its default set of sizes: both ends spin, which takes minutes on the one processor of the shared guest.
@pytest.mark.parametrize("options", [["-S", "64", "-C", "10"], ["-T", "b", "-S", "65536", "-C", "20", "-I", "10"],
                                     ["-T", "n", "-S", "4096", "-C", "20", "-I", "20"]],
                         ids=["small", "blocking", "nonblocking"])
def test_rstream(vm, options):
    before = in_use(vm)
    port = workloads.next_port()
    both = workloads.pair(vm, ["rstream", "-b", vm.address, "-p", str(port), *options],
                          vm, ["rstream", "-s", vm.address, "-p", str(port), *options], port, timeout=90)
    rows = [line for line in both.client.output.splitlines() if re.search(r"[\d.]+s\s+[\d.]+\s+[\d.]+$", line.strip())]
    assert rows, both.client.output
    expect_in_use(vm, before)


def test_cmtime(vm):
    before = in_use(vm)
    port = workloads.next_port()
    # This server never ends by itself.
    server = vm.popen(["cmtime", "-b", vm.address, "-p", str(port), "-c", "100"])
    workloads.wait_listener(vm, port, server)
    client = vm.run(["cmtime", "-s", vm.address, "-p", str(port), "-c", "100"], timeout=60 * vm.slow)
    assert server.code is None, server.text
    server.kill()
    steps = dict(re.findall(r"(?m)^\s*([\w ]+?)\s*:\s*([\d.]+)", client.output))
    assert {"connect", "disconnect", "create qp", "resolve addr"} <= set(steps), client.output
    assert "error" not in client.output.lower() + client.errors.lower(), client.output + client.errors
    expect_in_use(vm, before)


@pytest.mark.parametrize("name", ["rdma_server", "rdma_xserver"])
def test_rdma_client_server(vm, name):
    port = workloads.next_port()
    client = name.replace("server", "client")
    both = workloads.pair(vm, [name, "-p", str(port)], vm, [client, "-s", vm.address, "-p", str(port)], port)
    assert re.search(r"end 0\s*$", both.client.output.strip()), both.client.text


PROGRAMS = [pytest.param(name, *sizes.values, marks=here(name, [*BANDWIDTH, *HERE], sizes))
            for name in (*BANDWIDTH, *LATENCY) for sizes in SOME_SIZES]


@pytest.mark.parametrize("name, sizes", PROGRAMS)
def test_perftest(vm, name, sizes):
    before = in_use(vm)
    expect_sizes(name, sizes, ["-n", 20], vm)
    rows = workloads.perftest(vm, name, options=["-s", 1, "-n", 100])
    assert [int(row["bytes"]) for row in rows] == [1]
    expect_in_use(vm, before)


@pytest.mark.parametrize("name, iterations, sizes", [
    pytest.param(name, iterations, *sizes.values, marks=here(name, EVENTS_HERE, sizes))
    for name, iterations in WITH_EVENTS for sizes in SOME_SIZES])
def test_perftest_events(vm, name, iterations, sizes):
    before, count = in_use(vm), interrupts(vm)
    expect_sizes(name, sizes, ["-e", "-n", iterations], vm)
    expect_in_use(vm, before)
    grown = [irq for irq, value in interrupts(vm).items() if irq.startswith("erdma-ceq") and value > count[irq]]
    assert grown, f"no completion vector counted: {count} -> {interrupts(vm)}"


@pytest.mark.parametrize("name, options", [
    ("ib_write_bw", ["-b"]), ("ib_send_bw", ["-b"]), ("ib_write_bw", ["-q", 8]), ("ib_read_bw", ["-q", 8, "-e"]),
    ("ib_send_bw", ["-q", 4, "-r", 64]), ("ib_write_bw", ["-I", 96, "-s", 64]), ("ib_send_lat", ["-I", 96, "-s", 96]),
    ("ib_atomic_bw", []), ("ib_atomic_lat", ["-A", "CMP_AND_SWAP"]),
], ids=lambda value: value if isinstance(value, str) else "".join(map(str, value)) or "plain")
def test_perftest_variants(vm, name, options):
    rows = workloads.perftest(vm, name, options=["-n", 500, *options])
    assert len(rows) == 1


def test_send_without_flow_control(vm):
    """A receiver that is overrun makes the sender wait (wire.md 5.5): many small messages, few buffers."""
    workloads.perftest(vm, "ib_send_bw", options=["-s", 64, "-n", 5000, "-r", 8])


@pytest.mark.parametrize("server, client", [
    (["ib_write_bw", "-R", "-F", "-c", "XRC"], ["ib_write_bw", "-R", "-F", "-c", "XRC", "ADDRESS"]),
    (["udaddy", "-b", "ADDRESS"], ["udaddy", "-s", "ADDRESS"]),
    (["mckey", "-b", "ADDRESS", "-m", "239.1.2.3"], ["mckey", "-b", "ADDRESS", "-m", "239.1.2.3", "-s"]),
], ids=["xrc", "udaddy", "multicast"])
def test_refused(vm, server, client):
    """What a device with reliable connections only cannot do ends in bounded time with an error."""
    before = in_use(vm)
    jobs = []
    for command in (server, client):
        jobs.append(vm.popen([vm.address if word == "ADDRESS" else word for word in command]))
        time.sleep(1)
    # A server may wait for a client that cannot come.
    assert jobs[1].wait(15 * vm.slow).code != 0, jobs[1].text
    jobs[0].kill()
    assert jobs[0].wait(10).code != 0, jobs[0].text
    expect_in_use(vm, before)
