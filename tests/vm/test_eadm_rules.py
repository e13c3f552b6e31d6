# SPDX-License-Identifier: GPL-2.0-or-later
"""eadm doctor on staged machines: faults that other files do not stage, busy machines that are well, partial views."""

import contextlib
import json
import os
import re
import time

import pytest

from eadm_tools import (FINDINGS, NOBODY, OK, PARTIAL, USAGE, background, during, eadm, eadm_json, eadm_path, open_node,
                        traffic, wait_for, well)  # noqa: F401  (fixtures are used by name)
from erdmalab import workloads
from erdmalab.common import LabError
from support import SOURCES, program, takes_uppers, wait
from trouble import COMMAND_SECONDS

pytestmark = pytest.mark.long  # each stages a fault and watches for seconds; minutes in all

# The model's adapter never drops, an adapter goes with its NIC (not-bound), connections that are translated are refused
# (translated-setup), and check mode's lesser findings reach eadm as its errors do.
NEVER_IN_GUESTS = {"drops", "rate-limited", "not-paired", "translated", "check-warning", "check-advice"}


def doctor(vm, *words, code=FINDINGS, user=()):
    """What it finds, the worst of each id: id -> finding."""
    said = eadm_json(vm, "doctor", *words, code=code, user=user)
    found = {}
    for one in said["findings"]:
        found.setdefault(one["id"], one)
    return found


# ---- every rule ----

def test_every_rule_is_staged():
    """The manual knows every finding, and a test in guests stages it."""
    with open(os.path.join(os.path.dirname(__file__), "..", "..", "tools", "eadm", "examination.cpp"), encoding="utf-8") as file:
        ids = set(re.findall(r'^ +"([a-z-]+)"[,}]|\{"([a-z-]+)",$', file.read(), re.M))
    ids = {one or other for one, other in ids}
    assert len(ids) > 30
    with open(os.path.join(os.path.dirname(__file__), "..", "..", "docs", "eadm.8"), encoding="utf-8") as file:
        manual = file.read().replace("\\-", "-")
    assert {one for one in ids if not re.search(rf"^\.BR? (?:.*\s)?{one}(?![a-z-])", manual, re.M)} == set()
    tests = ""
    for name in ("test_check_doctor.py", "test_eadm_doctor.py", "test_eadm_roce.py", "test_eadm_rules.py", "test_eadm_slow.py"):
        with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
            tests += file.read()
    staged = {one for one in ids if re.search(rf'^(?!NEVER_).*"{one}"', tests, re.M)}
    print(f"only on made-up machines: {sorted(NEVER_IN_GUESTS)}")
    assert ids - staged == NEVER_IN_GUESTS


# ---- the past is past ----

def test_past_is_a_note(vm, well):
    """A refused command, a failed registration, a lost interrupt: trouble while it happens, a note afterwards."""
    vm.qom_set("faults", "cmd-fail=0/8:12")
    try:
        vm.run([program("rc_ops"), "--only", "immediates", vm.address], timeout=60 * vm.slow, check=False)
    finally:
        vm.qom_set("faults", "")
    found = doctor(vm, code=OK)
    for one in ("command-failed", "registration-failed"):
        assert found[one]["severity"] == "note" and found[one]["figures"]["failed"] >= 1 and found[one]["figures"]["now"] == 0


def test_interrupts_lost(vm, well):
    with vm.faults("irq-lose=0*1"):
        found = during(vm, lambda: vm.run([eadm_path(), "stat"], timeout=60 * vm.slow), seconds=6)
    assert found["lost-interrupts"]["severity"] == "warning" and found["lost-interrupts"]["figures"]["now"] >= 1
    found = doctor(vm, code=OK)
    assert found["lost-interrupts"]["severity"] == "note" and found["lost-interrupts"]["figures"]["now"] == 0


def test_command_without_answer(vm, well):
    """It ends the adapter's use; the count says when."""
    with vm.faults("db-lose=cmd*1"):
        found = during(vm, lambda: vm.run([eadm_path(), "stat"], timeout=80 * vm.slow, check=False),
                       seconds=(COMMAND_SECONDS + 6) * vm.slow)
    assert found["command-timeout"]["severity"] == "fault" and found["device-broken"]["severity"] == "fault"
    found = doctor(vm)
    assert found["command-timeout"]["severity"] == "note" and found["device-broken"]["severity"] == "fault"
    vm.unload_driver(timeout=60 * vm.slow)


def test_strange_events(vm, well):
    """Entries that nothing caused; a few of them are a note."""
    with vm.faults("post=eq1:fffff*2"):
        time.sleep(1)
    found = doctor(vm, code=OK)
    assert found["strange-events"]["severity"] == "note" and found["strange-events"]["figures"]["now"] == 0
    found = during(vm, lambda: vm.qom_set("faults", "post=eq1:fffff*40"))
    vm.qom_set("faults", "")
    assert found["strange-events"]["severity"] == "warning" and found["strange-events"]["figures"]["now"] >= 10


# ---- the machine ----

def test_no_adapter(vms):
    machine, = vms(1)
    machine.unplug("eri0")
    found = doctor(machine)
    assert set(found) == {"no-adapter"}


def test_interface_is_gone(vms):
    machine, = vms(1)
    nic = eadm_json(machine, "dev")["devices"][0]["netdev"]
    where = machine.run(["readlink", "-f", f"/sys/class/net/{nic}/device"]).output.strip()
    machine.run(f"echo {os.path.basename(where)} > {where}/driver/unbind")
    # The driver lets the adapter go with it.
    wait("the end of the device", lambda: machine.devices() == [], 20 * machine.slow)
    assert "not-bound" in doctor(machine)


# ---- addresses ----

@pytest.fixture
def cleared(pair):
    """Two guests whose drivers have no past; the interfaces are as they were again afterwards."""
    for guest in pair:
        guest.unload_driver()
        guest.load_driver()
        guest.run(["chmod", "666", "/dev/erdma"])
    nic = eadm_json(pair[0], "dev")["devices"][0]["netdev"]
    yield (*pair, nic)
    for guest in pair:
        guest.run(f"for l in br0 bond0 d0 mv0 v7; do ip link del $l; done; ip link set {nic} nomaster up address {guest.adapters[0].mac}; "
                  f"ip addr replace {guest.address}/24 brd + dev {nic}; ip neigh flush all; nft flush ruleset", check=False)
        guest.unload_driver()


def test_address_on_a_macvlan(cleared):
    server, _, nic = cleared
    server.run(f"ip link add link {nic} name mv0 type macvlan; ip addr flush dev {nic}; "
               f"ip addr add {server.address}/24 dev mv0; ip link set mv0 up; sleep 2")
    found = doctor(server)
    assert set(found) == {"address-elsewhere"} and found["address-elsewhere"]["figures"]["master"] is None
    assert f"{server.address} is on mv0, whose MAC address is not that of {nic}" in found["address-elsewhere"]["text"]


def test_address_on_a_bond(cleared):
    """One that sends by the adapter's interface, and one that does not."""
    server, _, nic = cleared
    server.run(f"ip link add bond0 type bond mode active-backup miimon 100; ip link add d0 type dummy; ip addr flush dev {nic}; "
               f"ip link set {nic} down; ip link set {nic} master bond0; ip link set d0 master bond0; "
               f"ip addr add {server.address}/24 dev bond0; ip link set bond0 up; ip link set bond0 type bond active_slave {nic}; "
               "sleep 2")
    if takes_uppers(server):
        assert doctor(server, code=OK) == {}
    server.run("ip link set bond0 type bond active_slave d0; sleep 1")
    assert f"{server.address} is on bond0, whose active port is d0" in doctor(server)["address-elsewhere"]["text"]


def test_misrouted(cleared):
    """A route by another interface with the same MAC address: rdma_cm takes it for the adapter's, the driver does not."""
    server, _, nic = cleared
    if not takes_uppers(server):
        pytest.skip("this kernel's rdma_cm compares interfaces")
    server.run(f"ip link add d0 address {server.adapters[0].mac} type dummy; ip link set d0 up; "
               f"ip route add 10.66.0.1 dev d0 src {server.address}")
    server.run(["rping", "-c", "-a", "10.66.0.1", "-C", "1"], timeout=60 * server.slow, check=False)
    found = doctor(server)
    assert set(found) == {"misrouted"} and found["misrouted"]["figures"]["count"] == 1
    assert "not leave by the paired interface, but by d0" in server.dmesg()


def test_vlan_is_served(cleared):
    """An address on a VLAN or bridge of the interface is as good as its own where rdma_cm takes it."""
    server, _, nic = cleared
    served = takes_uppers(server)
    for make, name in ((f"ip link add link {nic} name v7 type vlan id 7", "v7"),
                       (f"ip link add br0 address {server.adapters[0].mac} type bridge; ip link set {nic} master br0", "br0")):
        server.run(f"{make}; ip addr flush dev {nic}; ip addr add 10.99.0.1/24 dev {name}; ip link set {name} up; sleep 2")
        found = doctor(server, code=OK if served else None)
        server.run(f"ip link del {name}")
        assert found == {} if served else "takes only addresses" in found["address-elsewhere"]["text"], found


def test_changed_mac(cleared):
    server, _, nic = cleared
    server.run(f"ip link set {nic} address 02:00:00:00:00:77")
    found = doctor(server)
    assert set(found) == {"mac-mismatch"} and found["mac-mismatch"]["figures"]["interface"] == "02:00:00:00:00:77"
    assert f"ip link set {nic} address {server.adapters[0].mac}" in found["mac-mismatch"]["advice"]


@contextlib.contextmanager
def redirected(server, client, port=7999):
    """A connection to a port that the server's kernel changes without keeping account of connections."""
    server.run(["nft", "add table ip t; add chain ip t pre { type filter hook prerouting priority -300; }; "
                "add chain ip t out { type filter hook output priority -300; }; "
                f"add rule ip t pre tcp dport {port} tcp dport set 7174; add rule ip t out tcp sport 7174 tcp sport set {port}"])
    there = server.popen(["rping", "-s", "-a", server.address, "-C", "3"])
    here = None
    try:
        workloads.wait_listener(server, 7174, there)
        here = client.popen(["rping", "-c", "-a", server.address, "-p", str(port), "-C", "3"])
        deadline = time.monotonic() + 30 * client.slow
        while not any(qp["state"] == "RTS" for qp in json.loads(eadm(client, "info", "qp", "-j"))["qp"]):
            assert time.monotonic() < deadline, here.text
            time.sleep(0.2)
        yield
    finally:
        for job in (here, there):
            if job:
                with contextlib.suppress(LabError):
                    job.kill()
        server.run(["nft", "flush ruleset"])


def test_translated(cleared):
    """A connection by way of NAT is refused, and doctor says why.  One that only the other end could know of carries
    nothing, and doctor says that."""
    server, client, _ = cleared
    server.run(["nft", "add table ip t; add chain ip t pre { type nat hook prerouting priority -100; }; "
                "add rule ip t pre tcp dport 7999 redirect to :7174"])
    job = server.popen(["rping", "-s", "-a", server.address, "-C", "3"])
    workloads.wait_listener(server, 7174, job)
    client.run(["rping", "-c", "-a", server.address, "-p", "7999", "-C", "3"], timeout=60 * client.slow, check=False)
    job.kill()
    found = doctor(server)
    assert set(found) == {"translated-setup"} and found["translated-setup"]["figures"]["count"] == 1
    server.run(["nft", "flush ruleset"])
    with redirected(server, client):
        deadline = time.monotonic() + 40 * client.slow
        while "one-way" not in (found := doctor(client, code=None)):
            assert time.monotonic() < deadline, found
        assert found["one-way"]["severity"] == "fault"


# ---- partial views ----

def test_partial_view(vm, well):
    """Who sees only a part hears that, and never "healthy"."""
    assert doctor(vm, code=OK, user=NOBODY) == {}
    theirs = vm.popen([program("diag_objects"), "hold", "3"])
    wait_for(vm, "ready", theirs)
    try:
        found = doctor(vm, code=PARTIAL, user=NOBODY)
        assert set(found) == {"not-examined"} and found["not-examined"]["severity"] == "unknown"
        assert found["not-examined"]["text"].startswith("3 of 3 queue pairs belong to others")
        said = eadm_json(vm, "doctor", code=PARTIAL, user=NOBODY)
        assert not said["healthy"] and not said["complete"]
        text = eadm(vm, "doctor", code=PARTIAL, user=NOBODY)
        assert "healthy" not in text and "3 of 3 queue pairs" in text
        assert eadm(vm, "doctor") == "healthy\n"
    finally:
        theirs.kill()


def test_another_network_namespace(vm, well):
    found = doctor(vm, code=PARTIAL, user=["unshare", "-n"])
    assert set(found) == {"not-examined"} and "network namespace" in found["not-examined"]["text"]


def test_node_may_not_be_opened(vm, well):
    vm.run(["chmod", "600", "/dev/erdma"])
    found = doctor(vm, code=PARTIAL, user=NOBODY)
    assert set(found) == {"not-examined"} and "may not be opened" in found["not-examined"]["text"]


@pytest.mark.limit(600)
def test_every_queue_pair_is_seen(vm, well):
    """The one that waits is the three hundredth."""
    many = vm.popen([program("diag_objects"), "hold", "300"])
    wait_for(vm, "ready", many, limit=120)
    job = vm.popen([program("diag_objects"), "starve", vm.address])
    try:
        wait_for(vm, "ready", job)
        found = doctor(vm)
        assert found["no-receive-buffers"]["figures"]["qp"] > 256
    finally:
        job.kill()
        many.kill()


# ---- busy, and well ----

def test_busy_and_well(vm, well):
    """Others' objects, heavy TCP beside RDMA, traffic of lo: nothing to say."""
    theirs = vm.popen([program("diag_objects"), "hold", "40"])
    wait_for(vm, "ready", theirs)
    with traffic(vm), tcp_stream(vm, vm.address):
        assert doctor(vm, code=OK) == {}
    theirs.kill()
    with tcp_stream(vm, "127.0.0.1"):
        # One idle connection of the interface is not to blame for what lo carries.
        idle = vm.popen(["/usr/bin/python3", "-c", IDLE, vm.address])
        wait_for(vm, "ready", idle)
        assert doctor(vm, code=OK) == {}
        idle.kill()


IDLE = ("import socket, sys, time\ns = socket.socket(); s.bind((sys.argv[1], 0)); s.listen()\n"
        "c = socket.create_connection(s.getsockname()); d = s.accept()[0]\nprint('ready', flush=True); time.sleep(600)\n")


@contextlib.contextmanager
def tcp_stream(vm, address):
    script = ("import socket, sys\n"
              "s = socket.socket()\n"
              "if sys.argv[1] == 'listen':\n"
              "    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
              "    s.bind((sys.argv[2], 18997)); s.listen(1); c = s.accept()[0]; print('ready', flush=True)\n"
              "    while c.recv(1 << 20): pass\n"
              "else:\n"
              "    s.connect((sys.argv[2], 18997))\n"
              "    while True: s.sendall(bytes(1 << 20))\n")
    python = ["nice", "-n", "19", "/usr/bin/python3", "-c", script]
    with background(vm, [*python, "listen", address], [*python, "send", address]) as server:
        wait_for(vm, "ready", server)
        yield


def test_tcp_is_named(vm, well):
    with tcp_stream(vm, vm.address):
        found = doctor(vm)
    busiest = found["tcp-instead"]["figures"]["busiest"][0]
    assert set(found) == {"tcp-instead"} and f"{vm.address}:18997" in (busiest["local"], busiest["remote"])


# ---- thresholds, monitoring ----

def test_thresholds(vm, well):
    vm.run("echo 'tcp_instead = 1e12' > /tmp/eadm.conf; echo 'no_such = 1' > /tmp/bad.conf")
    with tcp_stream(vm, vm.address):
        assert doctor(vm, "--config", "/tmp/eadm.conf", code=OK) == {}
    assert "no_such" in eadm(vm, "doctor", "--config", "/tmp/bad.conf", code=USAGE)
    assert eadm_json(vm, "doctor", "-s", "0.5")["seconds"] == 0.5


def test_check(vm, well):
    """The exit codes of monitoring plugins, in every case, and one line."""
    def check(code, *words, user=()):
        result = vm.run([*user, eadm_path(), "doctor", "--check", *words], timeout=60 * vm.slow, check=False)
        assert result.code == code, result.output + result.errors
        assert words or re.fullmatch(r"ERDMA (OK|WARNING|CRITICAL|UNKNOWN) - [^\n|]+( \| (\w+=\d+ ?)+)?\n", result.output)
        return result.output

    assert check(0).startswith("ERDMA OK - 1 adapters, nothing wrong | faults=0 warnings=0 unknown=0 adapters=1")
    vm.run("sysctl -qw net.ipv4.tcp_window_scaling=0")
    assert "small-window" in check(1)
    vm.run(f"sysctl -qw net.ipv4.tcp_window_scaling=1; ip link set {well} down")
    assert "interface-down" in check(2)
    vm.run(f"ip link set {well} up; ip addr replace {vm.address}/24 brd + dev {well}")
    theirs = vm.popen([program("diag_objects"), "hold", "3"])
    wait_for(vm, "ready", theirs)
    assert "3 of 3 queue pairs" in check(3, user=NOBODY)
    theirs.kill()
    assert "no adapter 'mlx5_0'" in check(3, "-d", "mlx5_0")
    check(3, "--nonsense")
    check(3, "-j")
    vm.unload_driver()
    assert "driver-not-loaded" in check(2)


# ---- limits, set-up, interrupts, and what fails ----

@pytest.mark.limit(900)
def test_limits(vm, well):
    """Nine tenths of a kind of objects are in use, by the threshold of this test."""
    limits = eadm_json(vm, "dev")["devices"][0]["limits"]
    vm.run(f"echo 'limit_percent = {100 * 100 / limits['qp']:.6f}' > /tmp/eadm.conf")
    job = vm.popen([program("diag_objects"), "hold", "110"])
    wait_for(vm, "ready", job, limit=120)
    try:
        found = doctor(vm, "--config", "/tmp/eadm.conf")
    finally:
        job.kill()
    assert found["limit-reached"]["figures"]["used"] >= 110


def test_slow_setup(vm, well):
    """A server that listens and never accepts."""
    script = ("import socket, sys, time\ns = socket.socket(); s.bind((sys.argv[1], 18995)); s.listen()\n"
              "print('ready', flush=True); time.sleep(600)\n")
    mute = vm.popen(["/usr/bin/python3", "-c", script, vm.address])
    wait_for(vm, "ready", mute)
    client = vm.popen(["rping", "-c", "-a", vm.address, "-p", "18995", "-C", "1"])
    vm.run("echo 'slow_setup = 1' > /tmp/eadm.conf")
    try:
        found = doctor(vm, "--config", "/tmp/eadm.conf", "-s", "3")
    finally:
        client.kill()
        mute.kill()
    assert found["slow-setup"]["figures"]["endpoints"][0]["state"] == "WAIT_REPLY"


def test_connections_fail_while_it_watches(vm, well):
    """Refused, and what does not speak RDMA."""
    found = during(vm, lambda: vm.run(["rping", "-c", "-a", vm.address, "-p", "1", "-C", "1"], check=False))
    assert found["connection-refused"]["severity"] == "warning"
    server = vm.popen(["rping", "-s", "-a", vm.address, "-C", "1"])
    workloads.wait_listener(vm, 7174, server)
    plain = f"import socket; s = socket.create_connection(('{vm.address}', 7174)); s.sendall(b'GET / HTTP/1.0' * 9); s.recv(9)"
    found = during(vm, lambda: vm.run(["/usr/bin/python3", "-c", plain], timeout=60 * vm.slow, check=False))
    server.kill()
    assert found["bad-requests"]["severity"] == "warning"


def test_connections_that_fail(vm, well):
    """A peer that rejects, one that does not answer, and queue pairs that fail: while it happens, and afterwards."""
    def case(name, only):
        return lambda: vm.run([program(name), "--only", only, vm.address], timeout=90 * vm.slow)

    for name, only, one in (("cm_cases", "rejected", "connection-rejected"), ("cm_cases", "no-answer", "connection-timeout"),
                            ("rc_errors", "send-bad-lkey", "qp-failed")):
        found = during(vm, case(name, only), seconds=(14 if only == "no-answer" else 4) * vm.slow)
        assert found[one]["severity"] in ("warning", "fault") and found[one]["figures"]["now"] >= 1
        found = doctor(vm, code=OK)
        assert found[one]["severity"] == "note" and found[one]["figures"]["now"] == 0
    assert {"connection-rejected", "connection-timeout", "qp-failed"} <= set(found)


def test_standard_peers(pair):
    """How a connection of standard iWARP talks, what it does not have, and CRCs: missing, unwanted and wrong."""
    server, client = pair
    for machine in pair:
        machine.unload_driver()
        machine.load_driver()
    parameters = "/sys/module/erdma/parameters"
    try:
        client.run(f"echo 2 > {parameters}/mpa_rev; echo require > {parameters}/mpa_crc")
        with traffic(server, client_vm=client, tool="ib_read_bw"):
            for machine in pair:
                said = [one for one in eadm_json(machine, "doctor", code=None)["findings"] if one["id"] == "standard-peer"]
                assert all(one["severity"] == "note" and "with CRCs" in one["text"] for one in said), said
                # The other connection, on which the two programs agree, has no reads.
                figures = [one["figures"] for one in said]
                assert {one["revision"] for one in figures} == {2} and any(one["ord"] > 0 for one in figures), said
        found = during(client, lambda: client_of_atomics(server, client))
        assert found["not-in-dialect"]["figures"]["now"] >= 1
        server.run(f"echo off > {parameters}/mpa_crc")
        port = workloads.next_port()
        job = server.popen(["rping", "-s", "-P", "-a", server.address, "-p", str(port)])
        workloads.wait_listener(server, port, job)
        found = during(server, lambda: client.run(["rping", "-c", "-a", server.address, "-p", str(port), "-C", "1"], check=False))
        assert found["crc-refused"]["severity"] == "warning"
        server.run(f"echo accept > {parameters}/mpa_crc")
        by_hand = ["/usr/bin/python3", os.path.join(SOURCES, "mpa_peer.py"), "stream", server.address, str(port)]
        found = during(server, lambda: client.run(by_hand, timeout=100 * client.slow), seconds=8 * client.slow)
        assert found["crc-errors"]["figures"]["now"] >= 1
        job.kill()
    finally:
        for machine in pair:
            machine.run(f"echo auto > {parameters}/mpa_rev; echo accept > {parameters}/mpa_crc")


def client_of_atomics(server, client):
    with contextlib.suppress(LabError):
        workloads.perftest(server, "ib_atomic_bw", options=["-n", 5], client=client)


def test_stalled(pair):
    """The program at the other end hangs."""
    server, client = pair
    with traffic(server, client_vm=client, tool="ib_send_bw"):
        server.run("pkill -STOP -x ib_send_bw")
        try:
            deadline = time.monotonic() + 60 * client.slow
            while "stalled" not in (found := doctor(client, code=None)):
                assert time.monotonic() < deadline, found
        finally:
            server.run("pkill -CONT -x ib_send_bw", check=False)
    assert found["stalled"]["severity"] == "warning" and "ib_send_bw" in found["stalled"]["text"]


def test_interrupts_on_one_cpu(vms):
    machine, = vms(1, cpus=2)
    machine.run(["chmod", "666", "/dev/erdma"])
    vectors = [eq["irq"] for eq in eadm_json(machine, "info", "eq")["eq"] if eq["kind"] == "completion"]
    assert len(vectors) >= 2
    machine.run("".join(f"echo 0 > /proc/irq/{irq}/smp_affinity_list;" for irq in vectors))
    found = doctor(machine)
    assert found["interrupts-not-balanced"]["severity"] == "warning"


def test_mtu_of_the_path(vm, well):
    with traffic(vm):
        vm.run(f"ip route add {vm.address}/32 dev {well} mtu 1000", check=False)
        vm.run(f"ip route replace local {vm.address} dev {well} table local mtu lock 1000")
        try:
            found = doctor(vm)
        finally:
            vm.run(f"ip route replace local {vm.address} dev {well} table local proto kernel scope host src {vm.address}")
    assert found["mtu-mismatch"]["figures"]["path"] == 1000
