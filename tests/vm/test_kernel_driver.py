# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver that Linux has itself, on the model, alone and with ours at the other end of the wire."""

import pytest

from erdmalab import kernel as kernels, kernel_driver, runs, workloads
from roce import ADAPTER, make_rxe, pingpong, plain_perftest


def released(name):
    """A kernel of that release: the default one, which needs no root of another distribution, or the supported one."""
    own = kernels.find()
    return own if own.version.startswith(f"{name}.") else kernels.find(name)


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(1800)
@pytest.mark.parametrize("name", ["6.1", "6.12", "7.2"])
def test_with_ours(vms, name):
    other, ours = kernel_driver.of(released(name)), kernels.find()
    for kernel in (other, ours):
        runs.build(kernel)
    pair = vms(2, kernel=[other, ours])
    # Ours says its version; Linux's has none.
    assert [machine.run(["sh", "-c", "cat /sys/module/erdma/version || true"]).output != "" for machine in pair] == [False, True]
    for server, client in ((pair[0], pair[0]), (pair[0], pair[1]), (pair[1], pair[0])):
        workloads.rping(server, 10, client=client)
        rows = workloads.perftest(server, "ib_write_bw", options=["-s", "65536", "-n", 100], client=client)
        assert rows[0]["iterations"] == 100, rows
    for machine in pair:
        machine.unload_driver()
        machine.check_log()


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(900)
@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("peer", ["itself", "ours", "rxe"])
def test_rocev2(vms, peer, mtu):
    """Linux knows this protocol since 6.14 (roce.md 116, 125)."""
    other, ours = kernel_driver.of(released("7.2")), kernels.find()
    runs.build(other)
    if peer == "ours":
        runs.build(ours)
    pair = vms(2, kernel=[other, other if peer == "itself" else ours], adapter=ADAPTER, mtu=mtu, load=False)
    pair[0].load_driver()
    if peer == "rxe":
        make_rxe(pair[1])
    else:
        pair[1].load_driver()
    assert pair[0].run(["sh", "-c", "cat /sys/module/erdma/version || true"]).output == ""
    for server, client in ((pair[0], pair[1]), (pair[1], pair[0])):
        workloads.rping(server, 10, client=client)
        # That driver tells the adapter no path MTU, which takes the largest that fits; the program has 1024.
        pingpong(server, client, ["-n", 100, *(["-m", 4096] if mtu == 9000 else [])])
        for program in ("ib_write_bw", "ib_read_bw", "ib_send_bw"):
            plain_perftest(server, client, program, ["-s", 65536, "-n", 50])
            workloads.perftest(server, program, options=["-s", 65536, "-n", 50], client=client)
        plain_perftest(server, client, "ib_atomic_bw", ["-n", 50])
    for machine in pair:
        if peer != "rxe" or machine is pair[0]:
            machine.unload_driver()
        machine.check_log()
