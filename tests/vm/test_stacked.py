# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses that are not on the adapter's interface itself, and packets that take other ways: right, or refused at once."""

import contextlib
import time

import pytest

from eadm_tools import eadm_json
from erdmalab import workloads
from support import takes_uppers, wait

REFUSED = 10  # seconds that a refusal may take, of a guest that is not slow


def count(machine, name):
    counters = eadm_json(machine, "stat")["devices"][0]["counters"]
    return counters[f"cm_{name}_cnt"]


TCP_SERVER = """
import socket, sys
server = socket.create_server(("10.77.0.9", 7999))
print("listens", flush=True)
kept = [server.accept()]
sys.stdin.read()
"""


@pytest.fixture
def stacked(pair):
    """A guest whose interfaces a test may rearrange, and another; as before afterwards."""
    machine, other = pair
    yield machine, other
    for guest in pair:
        guest.run("for l in br0 bond0 v7 mv0 ipv0 red d0 ve0; do ip link del $l; done; ip netns del blue; "
                  "nft flush ruleset; ip addr flush dev lo scope global; sysctl -q net.ipv4.tcp_l3mdev_accept=0", check=False)
        guest.run(f"ip link set eth0 nomaster; ip link set eth0 up; ip addr flush dev eth0; "
                  f"ip addr add {guest.adapters[0].address} dev eth0; ip neigh flush all")
        guest.wait_devices(1)
    workloads.rping(machine, 3, client=other)


@contextlib.contextmanager
def listening(machine, *options):
    """rping as a server that stays; its port."""
    port = workloads.next_port()
    job = machine.popen(["rping", "-s", "-P", "-p", str(port), *options])
    try:
        workloads.wait_listener(machine, port, job)
        yield str(port)
    finally:
        job.kill()
        job.wait(10 * machine.slow)


def connects(client, address, port, *options):
    client.run(["rping", "-c", "-a", address, "-p", port, "-C", "3", "-V", *options], timeout=30 * client.slow)


def refused(client, address, port, *options):
    """The client hears of it at once, whether its program ends then or not; what it said."""
    begin = time.monotonic()
    job = client.popen(["rping", "-c", "-a", address, "-p", port, "-C", "3", "-V", *options])
    job.wait_output("rdma_|cma event|event", REFUSED * client.slow)
    took = time.monotonic() - begin
    with contextlib.suppress(Exception):
        job.kill()
    assert took < REFUSED * client.slow and "ping data" not in job.text, job.text
    return job.text


def both_ways(machine, other, address, *source):
    """Traffic to an address of the first guest, to itself, and to the other one."""
    with listening(machine) as port:
        connects(other, address, port)
    with listening(machine, "-a", address) as port:
        connects(machine, address, port, *source)
    with listening(other) as port:
        connects(machine, other.address, port, *source)


def neither_way(machine, other, address):
    """rdma_cm itself refuses this interface."""
    with listening(machine) as port:
        refused(other, address, port)
    with listening(other) as port:
        refused(machine, other.address, port)


def way(machine):
    return both_ways if takes_uppers(machine) else neither_way


def bridge(machine):
    mac = machine.adapters[0].mac
    machine.run(f"ip link add br0 address {mac} type bridge; ip addr flush dev eth0; ip link set eth0 master br0; "
                f"ip addr add {machine.adapters[0].address} dev br0; ip link set br0 up")


def test_bridge(stacked):
    """An address on a bridge with the adapter's interface: by its only port, and by one of several."""
    machine, other = stacked
    bridge(machine)
    way(machine)(machine, other, machine.address)
    # A container on another port: packets to it do not pass the adapter.
    machine.run("ip netns add blue; ip link add ve0 type veth peer name ve1 netns blue; ip link set ve0 master br0 up; "
                "ip netns exec blue sh -c 'ip link set lo up; ip addr add 10.77.0.9/24 dev ve1; ip link set ve1 up'; "
                "ping -c 1 -w 10 10.77.0.9")
    with listening(other) as port:
        (connects if takes_uppers(machine) else refused)(machine, other.address, port)
    container = machine.popen(["ip", "netns", "exec", "blue", "/usr/bin/python3", "-c", TCP_SERVER], stdin=True)
    container.wait_output("listens", 20 * machine.slow)
    misrouted = count(machine, "misrouted")
    refused(machine, "10.77.0.9", "7999")
    assert not takes_uppers(machine) or count(machine, "misrouted") > misrouted
    container.kill()


def bond(machine):
    machine.run("ip link add bond0 type bond mode active-backup miimon 100; ip link add d0 type dummy; "
                "ip addr flush dev eth0; ip link set eth0 down; ip link set eth0 master bond0; ip link set d0 master bond0; "
                f"ip addr add {machine.adapters[0].address} dev bond0; ip link set bond0 up; "
                "ip link set bond0 type bond active_slave eth0", timeout=30 * machine.slow)


@pytest.mark.long
def test_bond(stacked):
    """A bond by its active port; when another one takes over, what used the adapter ends."""
    machine, other = stacked
    bond(machine)
    way(machine)(machine, other, machine.address)
    if not takes_uppers(machine):
        return
    with listening(other) as port:
        job = machine.popen(["rping", "-c", "-a", other.address, "-p", port, "-C", "1000000"])
        wait("a connection", lambda: "state CONNECT " in machine.run("rdma resource show cm_id").output, 20 * machine.slow)
        assert job.code is None, job.text
        machine.run("ip link set bond0 type bond active_slave d0")
        job.wait_output("DISCONNECT EVENT", REFUSED * machine.slow)
        refused(machine, other.address, port)
        job.kill()


@pytest.mark.long
@pytest.mark.stock_kernel  # the debug one is built without VLANs
def test_vlan(stacked):
    """Tagged RDMA between two guests; the end of the VLAN's interface is the end of its connections."""
    machine, other = stacked
    for guest, address in ((machine, "10.99.0.1"), (other, "10.99.0.2")):
        guest.run(f"ip link add link eth0 name v7 type vlan id 7; ip addr add {address}/24 dev v7; ip link set v7 up")
    if not takes_uppers(machine):
        refused(machine, "10.99.0.2", "7174")
        return
    with listening(other, "-a", "10.99.0.2") as port:
        connects(machine, "10.99.0.2", port)
        job = machine.popen(["rping", "-c", "-a", "10.99.0.2", "-p", port, "-C", "1000000"])
        wait("a connection", lambda: "state CONNECT " in machine.run("rdma resource show cm_id").output, 20 * machine.slow)
        machine.run("ip link del v7")
        job.wait_output("DISCONNECT EVENT", REFUSED * machine.slow)
        job.kill()


@pytest.mark.long
def test_ipvlan(stacked):
    machine, other = stacked
    machine.run("ip link add link eth0 name ipv0 type ipvlan mode l2; ip addr flush dev eth0; "
                f"ip addr add {machine.adapters[0].address} dev ipv0; ip link set ipv0 up")
    way(machine)(machine, other, machine.address)


@pytest.mark.long
def test_macvlan(stacked):
    """One with a MAC address of its own is none of the RDMA device's; that is said at once."""
    machine, other = stacked
    machine.run("ip link add link eth0 name mv0 type macvlan; ip addr flush dev eth0; "
                f"ip addr add {machine.adapters[0].address} dev mv0; ip link set mv0 up")
    neither_way(machine, other, machine.address)


@pytest.mark.long
@pytest.mark.stock_kernel  # the debug one is built without VRFs
def test_vrf(stacked):
    """An interface in a VRF: its connections are that VRF's."""
    machine, other = stacked
    machine.run("ip link add red type vrf table 10; ip link set red up; ip link set eth0 master red; "
                f"ip addr replace {machine.adapters[0].address} dev eth0")
    both_ways(machine, other, machine.address, "-I", machine.address)


@pytest.mark.long
def test_address_on_lo(stacked):
    """rdma_cm finds no RDMA device for an address of lo: listeners on it fail, clients are refused."""
    machine, other = stacked
    machine.run("ip addr add 10.98.0.1/32 dev lo")
    other.run("ip route add 10.98.0.1 via 10.77.0.1")
    with listening(machine) as port:
        refused(other, "10.98.0.1", port)
    result = machine.run(["rping", "-s", "-a", "10.98.0.1"], check=False, timeout=20 * machine.slow)
    assert result.code != 0, result.output
    other.run("ip route del 10.98.0.1")


NAT = {
    "redirect": ("type nat hook prerouting priority -100", "tcp dport 7999 redirect to :{port}", "server"),
    "dnat": ("type nat hook output priority -100", "ip daddr 10.55.0.1 dnat to 10.77.0.2", "client"),
    "snat": ("type nat hook postrouting priority 100", "ip protocol tcp snat to :30000-30009", "client"),
}


@pytest.mark.stock_kernel  # the debug one is built without netfilter
@pytest.mark.parametrize("kind", ["redirect", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("dnat", "snat"))])
def test_translated(stacked, kind):
    """The adapter's packets would go past the kernel's translation: refused at both ends, at once."""
    client, server = stacked
    chain, rule, where = NAT[kind]
    with listening(server) as port:
        guest = server if where == "server" else client
        guest.run(["nft", f"add table ip t; add chain ip t c {{ {chain}; }}; add rule ip t c {rule.format(port=port)}"])
        before = count(guest, "translated")
        if kind == "dnat":
            client.run("ip route add 10.55.0.1 via 10.77.0.2")  # rdma_cm asks for its neighbour
        refused(client, "10.55.0.1" if kind == "dnat" else server.address, "7999" if kind == "redirect" else port)
        assert count(guest, "translated") > before
        guest.run("nft flush ruleset; ip route del 10.55.0.1 || true", check=False)
        connects(client, server.address, port)
