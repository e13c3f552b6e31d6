# SPDX-License-Identifier: GPL-2.0-or-later
"""Connection management: through librdmacm, and against peers that speak MPA by hand."""

import contextlib
import os

import pytest

from erdmalab import workloads
from support import SOURCES, expect_in_use, in_use, program, run_cases


@pytest.fixture
def foreign(vm):
    """An address of the guest on an interface without adapter."""
    vm.run("modprobe dummy numdummies=0; ip link add lab0 type dummy && ip addr add 10.99.0.1/24 dev lab0 && "
           "ip link set lab0 up")
    yield "10.99.0.1"
    vm.run("ip link del lab0")


def test_cases(vm, foreign):
    before = in_use(vm)
    print(run_cases(vm, "cm_cases", env={"ERDMA_TEST_FOREIGN": foreign}), "cases")
    expect_in_use(vm, before)


@contextlib.contextmanager
def accepting_server(vm):
    """A listener that accepts whoever comes."""
    port = workloads.next_port()
    # rping's persistent server serves each connection in a thread.
    server = vm.popen(["rping", "-s", "-P", "-a", vm.address, "-p", str(port)])
    try:
        workloads.wait_listener(vm, port, server)
        yield port
        assert server.code is None, f"the server ended with code {server.code}\n{server.text}"
    finally:
        server.kill()


def check_lines(result):
    bad = [line for line in result.output.splitlines() if '"ok": false' in line or line.startswith("FAIL")]
    assert result.code == 0, "\n".join(bad) + result.errors
    good = [line for line in result.output.splitlines() if '"ok": true' in line or line.startswith("ok ")]
    assert good, f"no case ran:\n{result.output}"
    return len(good)


def test_requests_by_hand(vm):
    """Requests of every kind of wrongness are answered as the datasheet says, and the good ones still work."""
    before = in_use(vm)
    with accepting_server(vm) as port:
        script = os.path.join(SOURCES, "mpa_peer.py")
        print(check_lines(vm.run(["/usr/bin/python3", script, "sweep", vm.address, str(port)],
                                 timeout=150 * vm.slow, check=False)), "cases")
        workloads.rping(vm, 5)
    expect_in_use(vm, before, limit=40)


def test_replies_by_hand(vm):
    """Replies of every kind of wrongness end the connect in bounded time with the event that fits."""
    before = in_use(vm)
    script = os.path.join(SOURCES, "mpa_replies.py")
    print(check_lines(vm.run(["/usr/bin/python3", script, vm.address, program("connect_once")],
                             timeout=150 * vm.slow, check=False)), "cases")
    expect_in_use(vm, before, limit=40)
    workloads.rping(vm, 5)
