# SPDX-License-Identifier: GPL-2.0-or-later
"""eadm doctor on adapters that speak RoCEv2: what operators ask about retries, receivers, GIDs and path MTUs."""

import contextlib
import time

import pytest

from eadm_tools import OK, eadm, eadm_json
from erdmalab import workloads
from roce import ADAPTER, gid_index, gids, mapped
from support import set_mtu, wait

pytestmark = [pytest.mark.guests(adapter=ADAPTER), pytest.mark.long, pytest.mark.limit(600)]


def doctor(machine, *words, code=None):
    """What it finds, the worst of each id: id -> finding."""
    found = {}
    for one in eadm_json(machine, "doctor", *words, code=code)["findings"]:
        found.setdefault(one["id"], one)
    return found


def doctor_until(machine, name, *words, seconds=60):
    """Looks again and again until it finds that as a fault or a warning."""
    deadline = time.monotonic() + seconds * machine.slow
    while True:
        found = doctor(machine, *words)
        if found.get(name, {}).get("severity") in ("fault", "warning"):
            return found[name]
        assert time.monotonic() < deadline, found


@pytest.fixture
def fresh(pair):
    """Two guests whose drivers have no past; links, addresses and MTUs are as they were again afterwards."""
    for machine in pair:
        machine.unload_driver()
        machine.load_driver()
    yield pair
    pair[1].link("")
    set_mtu(pair, 1500)
    pair[0].run("ip address del 10.99.0.1/24 dev eth0", check=False)


@contextlib.contextmanager
def streaming(server, client, tool, options=(), address=None):
    """A bandwidth test that connects over TCP and takes the adapter's short time-out (code 14), polite to eadm."""
    port = workloads.next_port()
    common = ["nice", "-n", "19", tool, "-F", "-D", "1000", "-p", str(port), *map(str, options)]
    near = gid_index(server, mapped(address) if address else None)
    jobs = [server.popen([*common, "-x", str(near)])]
    try:
        server.wait_listener(port, jobs[0], tcp=True)
        jobs.append(client.popen([*common, "-x", str(gid_index(client)), server.address]))
        # The data of reads leaves the server.
        source = server if "read" in tool else client
        sent = source.counters()["tx_bytes"]
        wait("traffic", lambda: source.counters()["tx_bytes"] > sent + (1 << 18), 60 * client.slow)
        yield jobs
    finally:
        for job in jobs:
            with contextlib.suppress(Exception):
                job.kill()


def test_healthy(fresh):
    for machine in fresh:
        assert eadm(machine, "doctor", code=OK) == "healthy\n"
    for tool in ("ib_write_bw", "ib_send_bw", "ib_read_bw"):
        with streaming(*fresh, tool):
            for machine in fresh:
                found = doctor(machine)
                # Of the time-outs that a busy host makes nobody can say that they are wrong.
                assert not found or set(found) == {"retransmissions"}, (tool, found)


def test_receiver_not_ready(fresh):
    """The receiving program stands still: its peer is told to wait, which no counter has, and doctor knows it."""
    server, client = fresh
    with streaming(server, client, "ib_send_bw"):
        assert "no-receive-buffers" not in doctor(client)
        server.run(["killall", "-STOP", "ib_send_bw"])
        found = doctor_until(client, "no-receive-buffers")
        server.run(["killall", "-CONT", "ib_send_bw"])
        assert found["severity"] == "fault" and "(RNR)" in found["text"] and "ib_send_bw" in found["text"], found
        assert found["figures"]["rnr_retries"] == 7 and "waits for ever" in found["advice"], found
        wait("no finding", lambda: "no-receive-buffers" not in doctor(client), 60 * client.slow)


def test_retries(fresh):
    """Nothing comes back any more: retries, and when they end."""
    server, client = fresh
    with streaming(server, client, "ib_write_bw", ["-u", 18]):
        client.link("both:cut")
        found = doctor_until(client, "retransmissions", "-s", "6")
        assert found["severity"] == "fault" and "gets nothing through" in found["text"], found
        assert "After 7 tries in a row the queue pair fails (status 12)" in found["advice"], found


def test_address_without_gid(fresh):
    """The adapter refuses a GID; the address is there all the same."""
    machine = fresh[0]
    with machine.faults("cmd-fail=0/14:12"):
        machine.run("ip address add 10.99.0.1/24 dev eth0")
        found = doctor_until(machine, "gid-missing")
    assert found["severity"] == "fault" and found["figures"]["addresses"] == ["10.99.0.1"], found
    machine.run("ip address del 10.99.0.1/24 dev eth0; ip address add 10.99.0.1/24 dev eth0")
    wait("the GID", lambda: mapped("10.99.0.1") in [one for one, _ in gids(machine).values()], 10 * machine.slow)
    assert "gid-missing" not in doctor(machine)


def test_gid_is_gone(fresh):
    """An address is taken away under a connection: its adapter knows the packets no more, and the peer repeats them."""
    server, client = fresh
    server.run("ip address add 10.99.0.1/24 dev eth0")
    client.run(f"ip route add 10.99.0.0/24 dev eth0 src {client.address}")
    wait("the GID", lambda: mapped("10.99.0.1") in [one for one, _ in gids(server).values()], 10 * server.slow)
    index = gid_index(server, mapped("10.99.0.1"))
    with streaming(server, client, "ib_write_bw", ["-u", 20], address="10.99.0.1"):
        assert "gid-missing" not in doctor(server)
        server.run("ip address del 10.99.0.1/24 dev eth0")
        found = doctor_until(server, "gid-missing")
    client.run("ip route del 10.99.0.0/24")
    assert found["severity"] == "fault" and found["figures"]["gid_index"] == index, found
    assert "10.99.0.1" in found["text"], found


def test_path_mtu(fresh):
    """The interface's MTU becomes smaller than what a connection sends."""
    server, client = fresh
    set_mtu(fresh, 9000)
    with streaming(server, client, "ib_write_bw", ["-m", 4096]):
        assert "mtu-mismatch" not in doctor(client)
        client.run("ip link set eth0 mtu 1500")
        found = doctor_until(client, "mtu-mismatch")
    assert found["severity"] == "warning" and found["figures"]["path_mtu"] == 4096, found
    assert found["figures"]["interface"] == 1500 and found["figures"]["packet"] == 4096 + 60, found
