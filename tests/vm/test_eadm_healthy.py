# SPDX-License-Identifier: GPL-2.0-or-later
"""eadm doctor on machines that are busy and well: it says nothing but notes.  test_eadm_rules.py has more of them
(objects of others, heavy TCP beside RDMA, traffic of lo, an address on a VLAN)."""

import contextlib
import time

import pytest

from eadm_tools import OK, eadm_json, open_node, running, traffic, wait_for, well  # noqa: F401  (fixtures are used by name)
from erdmalab import workloads
from support import program

pytestmark = pytest.mark.long  # each sets up much and watches for seconds; minutes in all


def healthy(vm):
    """It looked at everything, and found nothing but notes, which it returns."""
    said = eadm_json(vm, "doctor", code=OK)
    assert said["healthy"] and said["complete"] and {one["severity"] for one in said["findings"]} <= {"note"}, said
    return said["findings"]


@pytest.mark.limit(900)
def test_thousands_of_connections(vm, well):
    """Two thousand connected queue pairs, busy and at rest."""
    count, port = 1000, workloads.next_port()
    server = vm.popen([program("connections"), "serve", "rdma", vm.address, str(port)])
    client = None
    try:
        workloads.wait_listener(vm, port, server)
        client = vm.popen([program("connections"), "open", "rdma", vm.address, str(port), str(count), "--messages", "3",
                           "--hold"], stdin=True)
        wait_for(vm, "open", client, limit=240)
        assert len(running(vm)) == 2 * count
        healthy(vm)
        with traffic(vm):
            healthy(vm)
    finally:
        for job in (client, server):
            if job:
                with contextlib.suppress(Exception):
                    job.kill()


def test_one_retransmission(pair):
    """The cable is out for a moment, once: that is a note, while it happens and afterwards."""
    server, client = pair
    for guest in pair:
        guest.unload_driver()
        guest.load_driver()
        guest.run(["chmod", "666", "/dev/erdma"])
    with traffic(server, client_vm=client, options=["-s", "8192"]):
        deadline = time.monotonic() + 60 * client.slow
        while True:
            # Until exactly one time-out was the price.
            client.link("both:cut")
            time.sleep(0.1)
            client.link()
            time.sleep(1)
            if any(eadm_json(client, "info", "qp", qp["qp"], command="info_one")["qp"]["hw"]["retransmits"]
                   for qp in running(client)):
                break
            assert time.monotonic() < deadline
        assert "retransmissions" in {one["id"] for one in healthy(client)}


def test_other_network_namespaces(vm, well):
    """What goes on in another namespace is not this adapter's."""
    vm.run("ip netns add there; ip link add here0 type veth peer name there0 netns there; "
           "ip addr add 10.66.0.1/24 dev here0; ip link set here0 up; "
           "ip -n there addr add 10.66.0.2/24 dev there0; ip -n there link set there0 up; ip -n there link set lo up; "
           "ip netns exec there sysctl -qw net.ipv4.tcp_window_scaling=0")
    jobs = []
    try:
        # Over the veth, and inside of the other namespace with the adapter's own address.
        vm.run(f"ip -n there addr add {vm.address}/32 dev lo")
        for inside, address in ((["ip", "netns", "exec", "there"], "10.66.0.2"), (["ip", "netns", "exec", "there"], vm.address)):
            server = vm.popen([*inside, "nice", "-n", "19", "iperf3", "-s", "-B", address, "--forceflush"])
            jobs.append(server)
            server.wait_output("listening", 20 * vm.slow)
            from_here = inside if address == vm.address else []
            jobs.append(vm.popen([*from_here, "nice", "-n", "19", "iperf3", "-c", address, "-t", "600"]))
        healthy(vm)
        with traffic(vm):
            healthy(vm)
    finally:
        for job in jobs:
            with contextlib.suppress(Exception):
                job.kill()
        vm.run("ip link del here0; ip netns del there", check=False)


def test_programs_come_and_go(vm, well):
    """Connections are made and ended all the time, memory is registered and freed."""
    server = vm.popen(["rping", "-s", "-P", "-a", vm.address, "-p", "7300"])
    clients = None
    try:
        workloads.wait_listener(vm, 7300, server)
        clients = vm.popen(["sh", "-c", f"while rping -c -a {vm.address} -p 7300 -C 3; do echo round; done"])
        wait_for(vm, "round", clients)
        for _ in range(4):
            healthy(vm)
        assert clients.code is None and server.code is None, clients.text + server.text
    finally:
        for job in (clients, server):
            if job:
                with contextlib.suppress(Exception):
                    job.kill()
