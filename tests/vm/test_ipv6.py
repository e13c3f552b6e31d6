# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections over IPv6: global and link-local addresses, listeners on ::, addresses that come and go."""

import contextlib
import re

import pytest

from erdmalab import kernel as kernels, kernel_driver, workloads
from support import nothing_left, set_mtu, wait

INTERFACE = "eth0"
WAYS = [(mtu, server) for mtu in (1500, 9000) for server in (0, 1)]


def ping_once(client, address, port, check=True):
    """rping to a server that goes on serving; a bounded time also when there is none."""
    return client.run(["rping", "-c", "-a", address, "-p", str(port), "-C", "3", "-V", "-v"], check=check,
                      timeout=60 * client.slow)


@contextlib.contextmanager
def serving(machine, address):
    """rping's persistent server on an address; gives its port."""
    port = workloads.next_port()
    server = machine.popen(["rping", "-s", "-P", "-a", address, "-p", str(port)])
    try:
        workloads.wait_listener(machine, port, server)
        yield port
        assert server.code is None, server.text
    finally:
        server.kill()


def scoped(address):
    return f"{address}%{INTERFACE}"


def test_global_and_link_local(pair):
    one, other = pair
    counters = one.eadm("stat")["devices"][0]["counters"]
    with nothing_left(pair):
        for server, client in ((one, other), (other, one), (one, one)):
            both = workloads.rping(server, 50, server.address6, ["-v"], client=client)
            assert both.client.output.count("ping data: rdma-ping-") == 50
            workloads.rping(server, 5, scoped(server.link_local), ["-S", "65000"], client=client)
    assert one.eadm("stat")["devices"][0]["counters"]["cm_misrouted_cnt"] == counters["cm_misrouted_cnt"]


def test_one_listener_hears_both_versions(pair):
    one, other = pair
    with nothing_left(pair), serving(one, "::") as port:
        for client in (other, one):
            for address in (one.address, one.address6, scoped(one.link_local)):
                assert ping_once(client, address, port).output.count("ping data") == 3
        shown = [cep["local"] for cep in one.eadm("info", "cep")["cep"] if cep["state"] == "LISTEN"]
        assert shown == [f"[::]:{port}"], shown


def test_addresses_come_and_go(pair):
    """A listener on :: hears new addresses at once and, of those that are gone, no more; nobody waits for ever."""
    one, other = pair
    new = "fd00:10:77::99"
    with nothing_left(pair), serving(one, "::") as port:
        assert ping_once(other, new, port, check=False).code != 0
        one.run(f"ip addr add {new}/64 dev {INTERFACE} nodad")
        try:
            wait("the new address", lambda: f"[{new}]:{port}" in one.run("ss -Hltn6").output, 5)
            other.run(f"ip neigh flush dev {INTERFACE}")
            ping_once(other, new, port)
        finally:
            one.run(f"ip addr del {new}/64 dev {INTERFACE}")
        wait("the end of the address", lambda: f"[{new}]:{port}" not in one.run("ss -Hltn6").output, 5)
        other.run(f"ip neigh flush dev {INTERFACE}")  # else it takes as long as a connection may
        assert ping_once(other, new, port, check=False).code != 0
        ping_once(other, one.address6, port)
    # An address of nobody here: said at once.
    result = one.run(["rping", "-s", "-a", new, "-p", str(workloads.next_port())], check=False, timeout=10 * one.slow)
    assert result.code != 0 and "bind" in result.output + result.errors, result.output + result.errors


@pytest.mark.long
def test_shown_to_the_operator(pair):
    one, other = pair
    with nothing_left(pair), serving(one, "::") as port:
        client = other.popen(["rping", "-c", "-a", one.address6, "-p", str(port), "-C", "1000000", "-V"])
        try:
            def connected():
                return [qp for qp in other.eadm("info", "qp")["qp"] if qp["remote"] == f"[{one.address6}]:{port}"]

            wait("a connection", connected, 20 * one.slow)
            qp, = connected()
            assert qp["local"].startswith(f"[{other.address6}]:"), qp
            assert [peer["remote"] for peer in one.eadm("info", "qp")["qp"]] == [qp["local"]]
            assert [found["qp"] for found in other.eadm("info", "qp", "--peer", qp["remote"])["qp"]] == [qp["qp"]]
        finally:
            client.kill()


@pytest.mark.long
def test_slow_addresses(pair):
    """An address that waits for duplicates of it is listened on, and heard when it is confirmed; privacy addresses, too."""
    one, other = pair
    new = "fd00:10:77::77"
    with nothing_left(pair), serving(one, "::") as port:
        try:
            one.run(f"sysctl -qw net.ipv6.conf.{INTERFACE}.dad_transmits=3; ip addr add {new}/64 dev {INTERFACE}")
            wait("the new address", lambda: f"[{new}]:{port}" in one.run("ss -Hltn6").output, 3)
            assert "tentative" in one.run(f"ip -6 addr show dev {INTERFACE} to {new}").output
            wait("the end of the detection",
                 lambda: "tentative" not in one.run(f"ip -6 addr show dev {INTERFACE} to {new}").output, 10 * one.slow)
            ping_once(other, new, port)
            # Temporary addresses (RFC 8981) come and go by themselves.
            one.run(f"sysctl -qw net.ipv6.conf.{INTERFACE}.use_tempaddr=2 net.ipv6.conf.{INTERFACE}.regen_max_retry=3; "
                    f"ip addr add fd00:10:77:0:5:6:7:8/64 dev {INTERFACE} mngtmpaddr nodad valid_lft 600 preferred_lft 300")
            shown = rf"inet6 (fd00:10:77:\S+)/64 scope global temporary(?! tentative)"
            wait("a temporary address", lambda: re.search(shown, one.run(f"ip -6 addr show dev {INTERFACE}").output),
                 10 * one.slow)
            temporary = re.search(shown, one.run(f"ip -6 addr show dev {INTERFACE}").output).group(1)
            wait("its socket", lambda: f"[{temporary}]:{port}" in one.run("ss -Hltn6").output, 3)
            ping_once(other, temporary, port)
        finally:
            one.run(f"ip addr del {new}/64 dev {INTERFACE}; ip addr del fd00:10:77:0:5:6:7:8/64 dev {INTERFACE}; "
                    f"sysctl -qw net.ipv6.conf.{INTERFACE}.use_tempaddr=0 net.ipv6.conf.{INTERFACE}.dad_transmits=1",
                    check=False)


@pytest.mark.long
def test_device_without_the_capability(vms):
    """IPv6 fails at once, a listener on :: hears IPv4, and IPv6 of the guest's own passes."""
    one, other = vms(2, adapter={"ipv6": "off"})
    assert "ipv6" not in one.eadm("dev")["devices"][0]["capabilities"]
    with serving(one, "::") as port:
        ping_once(other, one.address, port)
        result = ping_once(other, one.address6, port, check=False)
        assert result.code != 0
    result = one.run(["rping", "-s", "-a", one.address6, "-p", str(workloads.next_port())], check=False,
                     timeout=10 * one.slow)
    assert result.code != 0, result.output
    assert "0% packet loss" in one.run(f"ping -6 -c 3 -i 0.2 {other.address6}").output


# ---- README's table of programs ----

def ucmatose(one, other, port):
    common = ["-p", port, "-c", "10", "-C", "50", "-S", "3000", "-f", "ip6"]
    both = workloads.pair(one, ["ucmatose", "-b", one.address6, *common],
                          other, ["ucmatose", "-s", one.address6, *common], port)
    for result in (both.server, both.client):
        assert "test complete" in result.output and "return status 0" in result.output, result.output


def rstream(one, other, port):
    for options in (["-S", "64", "-C", "20"], ["-T", "b", "-S", "65536", "-C", "20", "-I", "10"]):
        common = ["-p", port, "-f", "ip6", *options]
        both = workloads.pair(one, ["rstream", "-b", one.address6, *common],
                              other, ["rstream", "-s", one.address6, *common], port, timeout=90)
        assert re.search(r"[\d.]+s\s+[\d.]+\s+[\d.]+\s*$", both.client.output), both.client.output
        port = str(workloads.next_port())


def rdma_client_server(one, other, port):
    both = workloads.pair(one, ["rdma_server", "-s", one.address6, "-p", port],
                          other, ["rdma_client", "-s", one.address6, "-p", port], port)
    assert re.search(r"end 0\s*$", both.client.output.strip()), both.client.text


@pytest.mark.long
@pytest.mark.parametrize("mtu, server", WAYS)
@pytest.mark.parametrize("name", ["ucmatose", "rstream", "rdma_client_server"])
def test_connections(pair, name, mtu, server):
    set_mtu(pair, mtu)
    one, other = pair[server], pair[1 - server]
    with nothing_left(pair):
        globals()[name](one, other, str(workloads.next_port()))


@pytest.mark.long
@pytest.mark.parametrize("mtu, server", WAYS)
def test_rping(pair, mtu, server):
    set_mtu(pair, mtu)
    one, other = pair[server], pair[1 - server]
    with nothing_left(pair):
        for address in (one.address6, scoped(one.link_local)):
            workloads.rping(one, 100, address, client=other)
            workloads.rping(one, 20, address, ["-S", "65000"], client=other)


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(1800)
@pytest.mark.parametrize("mtu", [1500, 9000])
def test_softiwarp(vms, mtu):
    """SoftiWARP at the other end, in both roles."""
    peer = kernel_driver.of(kernels.find(), "siw")
    soft, ours = vms(2, kernel=[peer, kernels.find()], mtu=mtu)
    for server, client in ((soft, ours), (ours, soft)):
        for address in (server.address6, scoped(server.link_local)):
            workloads.rping(server, 20, address, client=client, timeout=120)
        port = str(workloads.next_port())
        ucmatose(server, client, port)
    for machine in (soft, ours):
        machine.check_log()


@pytest.mark.long
def test_loss(pair):
    """Where segments are lost, connections over IPv6 recover as those over IPv4 do."""
    one, other = pair
    set_mtu(pair, 1500)
    for machine in pair:
        machine.link("both:loss=1%")
    try:
        with nothing_left(pair):
            workloads.rping(one, 100, one.address6, ["-S", "65000"], client=other, timeout=120)
    finally:
        for machine in pair:
            machine.link("")
