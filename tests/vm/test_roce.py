# SPDX-License-Identifier: GPL-2.0-or-later
"""The RoCEv2 personality: the device that it is, programs between two adapters, kernel consumers (roce.md 11)."""

import contextlib
import re

import pytest

from erdmalab import workloads
from erdmalab.storage import IserHost, IserTarget, NvmeHost, NvmeTarget
from eadm_tools import eadm_path
from roce import (ADAPTER, copy_over_nfs, gid6_indices, gid_index, gids, mapped, over_ipv6, pingpong, plain_perftest,
                  rdma_device, verify_disk)
from support import kernel_case, nothing_left, wait

pytestmark = pytest.mark.guests(adapter=ADAPTER)
MODULE = "erdma_roce_consumer"


def test_device(pair):
    """What ibv_devinfo, the GID table and eadm say of it."""
    machine = pair[0]
    text = machine.run(["ibv_devinfo", "-v"]).output
    for line in (r"transport:\s+InfiniBand", r"link_layer:\s+Ethernet", r"active_mtu:\s+1024", r"max_mtu:\s+4096",
                 r"max_ah:\s+[1-9]", r"state:\s+PORT_ACTIVE"):
        assert re.search(line, text), f"{line}\n{text}"
    table = gids(machine)
    assert table[0][0].startswith("fe80:") and {kind for _, kind in table.values()} == {"RoCE v2"}, table
    assert table[1][0] == mapped(machine.address), table
    shown = machine.eadm("dev")["devices"][0]
    assert shown["protocol"] == "rocev2" and shown["objects"]["qp"] == 1, shown
    assert {int(index): (one["gid"], one["type"]) for index, one in shown["gids"].items()} == table, shown["gids"]
    assert shown["gids"]["1"]["netdev"] == "eth0" and mapped(machine.address) in machine.run(
        [eadm_path(), "dev", "-d", shown["device"]]).output
    managed, = machine.eadm("info", "qp")["qp"]
    assert (managed["qp"], managed["type"], managed["state"]) == (1, "gsi", "RTS"), managed
    # 4096 leaves no room for the headers of 4096.
    try:
        for mtu, expected in ((4096, "2048"), (9000, "4096")):
            machine.run(["ip", "link", "set", "eth0", "mtu", mtu])
            assert re.search(rf"active_mtu:\s+{expected}\b", machine.run(["ibv_devinfo"]).output), mtu
    finally:
        machine.run("ip link set eth0 mtu 1500")


def test_gids_follow_addresses(pair):
    machine = pair[0]
    before = gids(machine)
    for address, gid in (("10.99.0.1/24", mapped("10.99.0.1")), ("fd99::1/64", "fd99:0000:0000:0000:0000:0000:0000:0001")):
        machine.run(["ip", "address", "add", address, "dev", "eth0"])
        wait(f"GID of {address}", lambda gid=gid: gid in [one for one, _ in gids(machine).values()], 5 * machine.slow)
        machine.run(["ip", "address", "del", address, "dev", "eth0"])
        wait(f"GID of {address} gone", lambda gid=gid: gid not in [one for one, _ in gids(machine).values()], 5 * machine.slow)
    assert gids(machine) == before


def test_programs(pair):
    """With and without rdma_cm, between two guests and in one."""
    with nothing_left(pair):
        for server, client in ((pair[0], pair[1]), (pair[0], pair[0])):
            workloads.rping(server, 20, client=client)
            pingpong(server, client, ["-n", 200])
        pingpong(pair[1], pair[0], ["-n", 100, "-e"])
        rows = workloads.perftest(pair[0], "ib_write_bw", options=["-s", 65536, "-n", 100], client=pair[1])
        assert rows[0]["iterations"] == 100, rows
        for program in ("ib_send_bw", "ib_read_bw"):
            assert plain_perftest(pair[1], pair[0], program, ["-s", 65536, "-n", 100])[0]["iterations"] == 100


@pytest.mark.parametrize("command", [["ibv_ud_pingpong", "-g", "1"], ["ibv_uc_pingpong", "-g", "1"], ["ibv_srq_pingpong", "-g", "1"]],
                         ids=lambda command: command[0])
def test_refused(pair, command):
    """What user space cannot have says so at once."""
    result = pair[0].run(command, timeout=20 * pair[0].slow, check=False)
    assert result.code not in (0, None) and re.search(r"Couldn't|Failed", result.errors), result


@pytest.mark.stock_kernel
@pytest.mark.parametrize("name, rounds", [("handles", 200), pytest.param("handles", 2000, marks=pytest.mark.long), ("datagrams", 1), ("resets", 200), ("walk", 1), ("refusals", 1)])
def test_kernel_consumer(lab, pair, name, rounds):
    with nothing_left(pair[:1]):
        kernel_case(pair[0], lab.kernel, name, module=MODULE, rounds=rounds)


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(600)
def test_many_handles(lab, pair):
    kernel_case(pair[0], lab.kernel, "handles", timeout=500, module=MODULE, rounds=100000)


@pytest.mark.long
@pytest.mark.limit(900)
@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_pingpong(vms, mtu, family):
    group = vms(2, adapter=ADAPTER, mtu=mtu)
    indices = None
    if family == "ipv6":
        over_ipv6(*group)
        indices = gid6_indices(*group)
    for options in (["-n", 500], ["-n", 200, "-s", 65536], ["-n", 100, "-m", 256], ["-n", 100, "-e"],
                    *([["-n", 200, "-m", 4096, "-s", 100000]] if mtu == 9000 else [])):
        pingpong(group[0], group[1], options, indices)


@pytest.mark.long
@pytest.mark.limit(400)
def test_vlan(vms):
    """Over interfaces of a VLAN on the adapters' own: its GIDs, and frames with its tag (110)."""
    group = vms(2, adapter=ADAPTER)
    found = []
    for number, machine in enumerate(group, 1):
        machine.run("modprobe 8021q; ip link add link eth0 name eth0.5 type vlan id 5")
        machine.run(["ip", "address", "add", f"10.78.0.{number}/24", "dev", "eth0.5"])
        machine.run("ip link set eth0.5 up")
        name = mapped(f"10.78.0.{number}")
        wait("the GID", lambda m=machine, n=name: n in [one for one, _ in gids(m).values()], 10 * machine.slow)
        found.append(gid_index(machine, name))
    workloads.rping(group[0], 20, address="10.78.0.1", client=group[1])
    pingpong(*group, ["-n", 200, "-s", 20000], found)
    for machine in group:
        machine.run("ip link del eth0.5")
        wait("no GID", lambda m=machine: not [one for one, _ in gids(m).values() if ":ffff:0a4e:" in one], 10 * machine.slow)
        machine.check_log()


@pytest.mark.long
@pytest.mark.limit(1200)
@pytest.mark.parametrize("manager", ["rdma_cm", "tcp"])
@pytest.mark.parametrize("program", ["ib_send_bw", "ib_write_bw", "ib_read_bw", "ib_atomic_bw",
                                     "ib_send_lat", "ib_write_lat", "ib_read_lat", "ib_atomic_lat"])
def test_perftest(pair, program, manager):
    def run(*options):
        if manager == "tcp":
            return plain_perftest(pair[0], pair[1], program, options, timeout=300)
        return workloads.perftest(pair[0], program, options=options, client=pair[1], timeout=300)

    sizes = [] if "atomic" in program else ["-a"]
    with nothing_left(pair):
        assert len(run(*sizes, "-n", 50)) == (23 if sizes else 1)
        if program.endswith("_bw"):
            run("-q", 8, "-n", 100, *([] if "atomic" in program else ["-s", 65536]))
            run("-b", "-n", 100)
        if program in ("ib_send_bw", "ib_read_bw", "ib_send_lat", "ib_read_lat"):
            run("-e", "-n", 1000 if program == "ib_send_bw" else 100)


@pytest.mark.long
@pytest.mark.limit(600)
def test_connections(pair):
    """Many of them, and rsockets."""
    with nothing_left(pair):
        for command in (["ucmatose", "-c", "50", "-C", "20", "-S", "3000"], ["rstream", "-S", "65536", "-C", "200"]):
            port = str(workloads.next_port())
            workloads.pair(pair[0], [*command, "-b", pair[0].address, "-p", port],
                           pair[1], [*command, "-s", pair[0].address, "-p", port], port, timeout=180)


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(600)
@pytest.mark.parametrize("kind", ["nvme", "iser"])
def test_block_storage(pair, kind):
    target_of, host_of = (NvmeTarget, NvmeHost) if kind == "nvme" else (IserTarget, IserHost)
    with target_of(pair[0]) as target, host_of(pair[1], target) as host:
        verify_disk(host)


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(600)
def test_nfs(pair):
    copy_over_nfs(*pair)


@pytest.mark.long
@pytest.mark.limit(400)
@pytest.mark.parametrize("killed", ["server", "client"])
@pytest.mark.parametrize("manager", ["rdma_cm", "tcp"])
def test_kill(pair, killed, manager):
    """A side is killed under load: the other one ends, and nothing is left."""
    with nothing_left(pair):
        port = workloads.next_port()
        common = ["ib_write_bw", "-F", "-D", "60", "-p", str(port)]
        ways = [["-R"], ["-R"]] if manager == "rdma_cm" else [["-x", str(gid_index(machine))] for machine in pair]
        server = pair[0].popen([*common, *ways[0]])
        pair[0].wait_listener(port, server, tcp=manager == "tcp")
        client = pair[1].popen([*common, *ways[1], pair[0].address])
        sent = pair[1].counters()["tx_bytes"]
        wait("traffic", lambda: pair[1].counters()["tx_bytes"] > sent + (1 << 20), 30 * pair[1].slow)
        first, second = (server, client) if killed == "server" else (client, server)
        first.kill()
        second.wait(90 * pair[0].slow, check=False)
        assert second.code not in (0, None)
        # Without a connection manager nobody says anything: its requests run out of retries, at verbs' number for that.
        if (killed, manager) == ("server", "tcp"):
            assert "status 12" in second.text, second.text


@pytest.mark.long
@pytest.mark.limit(400)
def test_unbind(vms):
    """The driver goes and comes back under load and with management traffic."""
    group = vms(2, adapter=ADAPTER)
    for _ in range(3):
        port = workloads.next_port()
        server = group[0].popen(["ib_write_bw", "-R", "-F", "-D", "60", "-p", str(port)])
        workloads.wait_listener(group[0], port, server)
        client = group[1].popen(["ib_write_bw", "-R", "-F", "-D", "60", "-p", str(port), group[0].address])
        sent = group[1].counters()["tx_bytes"]
        wait("traffic", lambda sent=sent: group[1].counters()["tx_bytes"] > sent + (1 << 20), 30 * group[1].slow)
        pci = group[0].pci_address()
        group[0].run(f"echo {pci} > /sys/bus/pci/drivers/erdma/unbind", timeout=60 * group[0].slow)
        for job in (server, client):
            with contextlib.suppress(Exception):
                job.kill()
        group[0].run(f"echo {pci} > /sys/bus/pci/drivers/erdma/bind", timeout=60 * group[0].slow)
        group[0].wait_devices(1)
        workloads.rping(group[0], 5, client=group[1])
    for machine in group:
        machine.unload_driver()
        machine.check_log()


def test_unload(pair):
    """The last one here: GIDs, handles and the management queue pair go with the driver."""
    for machine in pair:
        assert rdma_device(machine)
        machine.unload_driver()
        assert machine.counters()["qps"] == 0
        machine.load_driver()
    workloads.rping(pair[0], 5, client=pair[1])
