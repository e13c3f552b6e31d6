# SPDX-License-Identifier: GPL-2.0-or-later
"""eadm doctor names the cause of staged faults, and says "healthy" when nothing is wrong."""

import re
import signal
import time

import pytest

from eadm_tools import (FINDINGS, OK, background, during, eadm, eadm_json, eadm_path, open_node, running,
                        traffic, wait_for, well)  # noqa: F401  (fixtures are used by name)
from erdmalab import workloads
from support import bdf, program


EITHER = (OK, FINDINGS)


def doctor(vm, code=FINDINGS):
    """What it finds: id -> finding."""
    said = eadm_json(vm, "doctor", code=code)
    if code != EITHER:
        assert said["healthy"] == (code == OK)
    # Notes are no illness.
    assert said["healthy"] == all(one["severity"] == "note" for one in said["findings"]), said
    return {one["id"]: one for one in said["findings"]}


def test_healthy(vm, well):
    assert doctor(vm, code=OK) == {}
    with traffic(vm):
        assert eadm(vm, "doctor") == "healthy\n"


def test_network(vm, well):
    """Interface down, no address, window scaling off."""
    vm.run(["ip", "link", "set", well, "down"])
    found = doctor(vm)
    assert found["interface-down"]["severity"] == "fault" and found["interface-down"]["figures"]["up"] is False
    assert f"ip link set {well} up" in found["interface-down"]["advice"]
    vm.run(f"ip link set {well} up; ip addr flush dev {well}; sysctl -qw net.ipv4.tcp_window_scaling=0")
    found = doctor(vm)
    assert set(found) == {"no-address", "small-window"}
    assert found["small-window"]["figures"]["tcp_window_scaling"] is False


def test_refused(vm, well):
    """Nobody listens."""
    vm.run(["rping", "-c", "-a", vm.address, "-p", "1", "-C", "1"], check=False)
    found = doctor(vm, code=OK)
    assert found["connection-refused"]["severity"] == "note" and found["connection-refused"]["figures"]["count"] == 1


@pytest.mark.stock_kernel  # the other has it built in
def test_setup(vm, well):
    """The connection manager's node is missing."""
    vm.run(["modprobe", "-r", "rdma_ucm"])
    assert doctor(vm)["modules-missing"]["figures"]["missing"] == ["/dev/infiniband/rdma_cm"]


def test_commands_fail(vm, well):
    vm.qom_set("faults", "cmd-fail=0/8:12")
    try:
        found = during(vm, lambda: vm.run([program("rc_ops"), "--only", "immediates", vm.address], timeout=60 * vm.slow,
                                          check=False))
    finally:
        vm.qom_set("faults", "")
    assert found["command-failed"]["figures"]["now"] >= 1 and found["command-failed"]["severity"] == "fault"
    assert found["registration-failed"]["figures"]["now"] >= 1


def test_device_dead(vm, well):
    vm.run(["dmesg", "-C"])
    vm.qom_set("faults", "dead")
    try:
        # It says so by itself; eadm's own questions would find out as well.
        deadline = time.monotonic() + 20 * vm.slow
        while "is out of use" not in vm.dmesg():
            assert time.monotonic() < deadline
            time.sleep(0.5)
        found = doctor(vm)
    finally:
        vm.qom_set("faults", "")
        vm.unload_driver(timeout=60 * vm.slow)
    assert found["device-broken"]["severity"] == "fault"


def test_no_receive_buffers(vm, well):
    job = vm.popen([program("diag_objects"), "starve", vm.address])
    try:
        wait_for(vm, "ready", job)
        found = doctor(vm)
    finally:
        job.kill()
    assert set(found) == {"no-receive-buffers"}
    figures = found["no-receive-buffers"]["figures"]
    assert figures["outstanding_blocks"] == 5 and "diag_objects" in found["no-receive-buffers"]["text"]


@pytest.mark.long
def test_network_loses(pair):
    """
    Every tenth packet between two guests is lost.  A stream that always has more to send learns of each loss from what
    arrives behind it; who sends one message and waits, as most programs do, learns by time-outs alone, which is what the
    adapter counts.
    """
    server, client = pair
    for guest in pair:
        guest.unload_driver()
        guest.load_driver()
        guest.run(["chmod", "666", "/dev/erdma"])
    with traffic(server, client_vm=client, tool="ib_send_lat", options=["-s", "1024"]):
        assert "retransmissions" not in doctor(client, code=EITHER)
        client.link("both:loss=10%")
        try:
            deadline = time.monotonic() + 60 * client.slow
            while True:
                found = doctor(client, code=EITHER).get("retransmissions", {})
                if found.get("severity") == "fault":
                    break
                assert time.monotonic() < deadline, (found, running(client))
        finally:
            client.link()
    figures = found["figures"]
    assert figures["retransmits"] >= figures["now"] >= 2 and figures["percent"] >= 0.1
    assert f"queue pair {figures['qp']} of ib_send_lat" in found["text"]


def test_other_ways(vm, well):
    """Soft-RoCE on the same interface, idle and carrying; TCP instead of RDMA."""
    vm.run(["modprobe", "rdma_rxe"])
    vm.run(["rdma", "link", "add", "rxe0", "type", "rxe", "netdev", well])
    try:
        assert doctor(vm)["other-rdma-device"]["severity"] == "warning"
        common = ["ib_write_bw", "-d", "rxe0", "-F", "-p", "18999", "-D", "60"]
        with background(vm, common, common + [vm.address]):
            deadline = time.monotonic() + 30 * vm.slow
            while doctor(vm)["other-rdma-device"]["severity"] != "fault":
                assert time.monotonic() < deadline
    finally:
        vm.run(["rdma", "link", "delete", "rxe0"])
    script = ("import socket, sys\n"
              "s = socket.socket()\n"
              "if sys.argv[1] == 'listen':\n"
              "    s.bind((sys.argv[2], 18998)); s.listen(1); c = s.accept()[0]\n"
              "    while c.recv(1 << 20): pass\n"
              "else:\n"
              "    s.connect((sys.argv[2], 18998))\n"
              "    while True: s.sendall(bytes(1 << 20))\n")
    python = ["nice", "-n", "19", "/usr/bin/python3", "-c", script]
    with background(vm, [*python, "listen", vm.address], [*python, "send", vm.address]):
        deadline = time.monotonic() + 30 * vm.slow
        while True:
            found = eadm_json(vm, "doctor", code=EITHER)["findings"]
            if found:
                break
            assert time.monotonic() < deadline
    assert [one["id"] for one in found] == ["tcp-instead"] and found[0]["figures"]["tcp_connections"] >= 1


def test_driver_is_not_there(vm, well):
    """Not bound, then not loaded."""
    where = bdf(vm)
    vm.run(f"echo {where} > /sys/bus/pci/drivers/erdma/unbind")
    found = doctor(vm)
    assert found["not-bound"]["figures"]["pci"] == where
    vm.unload_driver()
    found = doctor(vm)
    assert set(found) == {"driver-not-loaded"} and found["driver-not-loaded"]["figures"]["adapters"] == [where]
    assert "modprobe erdma" in eadm(vm, "doctor", code=FINDINGS)


def test_trace(vm, well):
    def instances():
        return vm.run("ls /sys/kernel/tracing/instances").output.split()

    before = instances()
    job = vm.popen([eadm_path(), "trace"])
    deadline = time.monotonic() + 30 * vm.slow
    while "CREATE_QP" not in job.text or "RDMA" not in job.text:
        assert job.code is None and time.monotonic() < deadline, job.text
        workloads.rping(vm, 1)
    # Its instance is private, and goes with it.
    assert len(instances()) == len(before) + 1
    job.kill(signal.SIGTERM)
    assert job.wait(10 * vm.slow).code == OK
    assert instances() == before
    with_time = r"(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d \S+ cmd_submit slot=\d+ command=CREATE_QP$"
    assert re.search(with_time, job.text)
    assert any("cmd_done" in line and "CREATE_QP" in line and "error=0" in line for line in job.text.splitlines())
