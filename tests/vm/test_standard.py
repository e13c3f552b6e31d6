# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections of standard iWARP, MPA revisions 1 and 2: between adapters, and with SoftiWARP (docs/spec/wire.md 2, 8)."""

import pytest
import dissect

from erdmalab import kernel as kernels, kernel_driver, workloads
from erdmalab.channel import CommandFailed

PARAMETER = "/sys/module/erdma/parameters/mpa_rev"
MEASURED = ("ib_write_bw", "ib_read_bw", "ib_send_bw", "ib_write_lat")


def choose(machine, revision):
    machine.run(f"echo {revision} > {PARAMETER}")


def counter(machine, name):
    return machine.eadm("stat")["devices"][0]["counters"][f"{name}_cnt"]


@pytest.fixture(params=[2, 1])
def standard(pair, request):
    """Two guests whose connections begin with a revision of the standard."""
    for machine in pair:
        choose(machine, request.param)
    yield pair
    for machine in pair:
        choose(machine, "auto")


def test_parameter(vm):
    assert vm.read(PARAMETER) == "auto\n"
    try:
        for value in ("129", "2", "1", "auto"):
            choose(vm, value)
            assert vm.read(PARAMETER) == f"{value}\n"
        for value in ("0", "3", "-1", "1.5", "257", "automatic", ""):
            with pytest.raises(CommandFailed):
                choose(vm, f"'{value}'")
            assert vm.read(PARAMETER) == "auto\n"
    finally:
        choose(vm, "auto")


def test_between_adapters(standard):
    for server, client in ((standard[0], standard[1]), (standard[1], standard[0]), (standard[0], standard[0])):
        workloads.rping(server, 20, client=client)
    for name in MEASURED:
        options = ["-n", 100] if name.endswith("_lat") else ["-s", 65536, "-n", 100]
        rows = workloads.perftest(standard[0], name, options=options, client=standard[1])
        assert rows[0]["iterations"] == 100, rows


@pytest.mark.long
@pytest.mark.limit(600)
@pytest.mark.parametrize("revision", [2, 1])
def test_wireshark_follows(vms, revision):
    group = vms(2, capture=True)
    for machine in group:
        choose(machine, revision)
    workloads.rping(group[0], 10, client=group[1])
    workloads.perftest(group[1], "ib_send_bw", options=["-s", 65536, "-n", 20], client=group[0])
    group.stop()
    for machine in group:
        machine.may_die = True  # it has been stopped above
    found = dissect.iwarp(group[0].capture())
    assert {"Write", "Read Request", "Read Response", "Send"} <= set(found), found


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(1800)
@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("name", ["installed", "6.12", "7.2"])
def test_softiwarp(vms, name, mtu):
    """SoftiWARP at the other end, in both roles; it closes connections that begin with the adapter's own revision."""
    peer = kernel_driver.of(kernels.find(None if name == "installed" else name), "siw")
    soft, ours = vms(2, kernel=[peer, kernels.find()], mtu=mtu)
    assert soft.devices() == ["siw_0"]
    for server, client in ((soft, ours), (ours, soft)):
        for options in ((), ("-S", "60000")):
            workloads.rping(server, 20, client=client, options=options, timeout=120)
        # perftest connects twice, and the second time waits for no listener: SoftiWARP's client is refused, and crashes.
        for program in MEASURED if client is ours else ():
            options = ["-n", 50] if program.endswith("_lat") else ["-s", 65536, "-n", 50]
            rows = workloads.perftest(server, program, options=options, client=client, timeout=300)
            assert rows[0]["iterations"] == 50, rows
        port = str(workloads.next_port())
        common = ["-p", port, "-c", "5", "-C", "50", "-S", "3000"]
        workloads.pair(server, ["ucmatose", "-b", server.address, *common],
                       client, ["ucmatose", "-s", server.address, *common], port, timeout=120)
    # Once per port: where it worked, the revision is remembered.
    assert 0 < counter(ours, "cm_fallback")
    for machine in (soft, ours):
        machine.unload_driver()
        machine.check_log()
