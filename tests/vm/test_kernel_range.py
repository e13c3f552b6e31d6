# SPDX-License-Identifier: GPL-2.0-or-later
"""Every supported kernel in a guest, and guests of different kernels with each other."""

import pytest

from erdmalab import kernel as kernels, roots, runs, workloads
from roce import ADAPTER, over_ipv6, pingpong, plain_perftest
from support import expect_in_use, in_use, run_cases

PAIRS = [("5.10", "7.2"), ("6.1", "6.12")]
SIZES = ("4096", "65536")


def carries_traffic(server, client):
    workloads.rping(server, 10, client=client)
    for size in SIZES:
        rows = workloads.perftest(server, "ib_write_bw", options=["-s", size, "-n", 100], client=client)
        assert rows[0]["iterations"] == 100, rows


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(1800)
@pytest.mark.parametrize("names", PAIRS, ids="-with-".join)
def test_smoke(vms, names):
    """Loads, shows its device, carries traffic over loopback and the wire in both directions, and unloads."""
    assert {name for pair in PAIRS for name in pair} == set(roots.KERNELS)
    both = [kernels.find(name) for name in names]
    for kernel in both:
        runs.build(kernel)
    pair = vms(2, kernel=both)
    for machine, kernel in zip(pair, both):
        assert machine.run(["uname", "-r"]).output.strip() == kernel.version
        assert "PORT_ACTIVE" in machine.run(["ibv_devinfo"]).output
        carries_traffic(machine, machine)
    carries_traffic(pair[0], pair[1])
    carries_traffic(pair[1], pair[0])
    for machine in pair:
        machine.unload_driver()
        machine.load_driver()
        machine.unload_driver()
        machine.check_log()


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(1800)
@pytest.mark.parametrize("names", PAIRS, ids="-with-".join)
def test_rocev2(vms, names):
    """The same with the other protocol: with rdma_cm and without, both roles, IPv4 and IPv6."""
    both = [kernels.find(name) for name in names]
    for kernel in both:
        runs.build(kernel)
    pair = vms(2, kernel=both, adapter=ADAPTER)
    for server, client in (pair, pair[::-1], (pair[0], pair[0]), (pair[1], pair[1])):
        carries_traffic(server, client)
        pingpong(server, client, ["-n", 200, "-s", 20000])
    for server, client in (pair, pair[::-1]):
        for program in ("ib_send_bw", "ib_read_bw", "ib_atomic_bw"):
            plain_perftest(server, client, program, ["-n", 50])
        over_ipv6(server, client)
    for machine in pair:
        machine.unload_driver()
        machine.load_driver()
        machine.unload_driver()
        machine.check_log()


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(900)
@pytest.mark.parametrize("name", ["6.12", "7.2"])
def test_regions(vms, name):
    """Regions registered anew, and of a DMA buffer, which these kernels make of a program's memory."""
    kernel = kernels.find(name)
    runs.build(kernel)
    machine, = vms(1, kernel=kernel)
    machine.run("modprobe -q udmabuf; test -e /dev/udmabuf")
    before = in_use(machine)
    run_cases(machine, "regions")
    expect_in_use(machine, before)
