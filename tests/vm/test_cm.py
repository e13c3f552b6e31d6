# SPDX-License-Identifier: GPL-2.0-or-later
"""Connection management: through librdmacm, and against peers that speak MPA by hand."""

import contextlib
import os
import re
import time

import pytest

from erdmalab import workloads
from support import SOURCES, expect_in_use, in_use, kernel_case, program, run_cases, wait


@pytest.fixture
def foreign(vm):
    """An address of the guest on an interface without adapter, of a kind that the debug kernel has, too."""
    vm.run("ip link add lab0 type sit local 10.99.0.1 && ip addr add 10.99.0.1/24 dev lab0 && ip link set lab0 up")
    yield "10.99.0.1"
    vm.run("ip link del lab0; modprobe -qr sit || true")


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
    print(check_lines(vm.run(["/usr/bin/python3", script, vm.address, program("connect_once")], timeout=150 * vm.slow,
                             check=False, env={"ERDMA_TEST_SLOWNESS": str(vm.slow)})), "cases")
    expect_in_use(vm, before, limit=40)
    workloads.rping(vm, 5)


# Opens COUNT connections to HOST PORT at once, says so, and keeps them until its input ends; then says how many of
# them the other side had closed, and after how many seconds the last one of the rest was.
IDLE_CLIENTS = """
import resource, select, socket, sys, time
host, port, count, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 64, count + 64))
begin = time.monotonic()
socks = [socket.create_connection((host, port)) for _ in range(count)]
poll = select.poll()
for sock in socks:
    poll.register(sock, select.POLLIN | select.POLLRDHUP)
print("open", flush=True)
closed, early, last = set(), 0, 0.0
while len(closed) < count and time.monotonic() < begin + seconds:
    for fd, _ in poll.poll(200):
        poll.unregister(fd)
        closed.add(fd)
        last = time.monotonic() - begin
        early += last < 10
print("early", early, "closed", len(closed), "after", round(last, 1), flush=True)
"""


def idle_clients(vm, port, count, seconds):
    job = vm.popen(["/usr/bin/python3", "-c", IDLE_CLIENTS, vm.address, str(port), str(count), str(seconds)])
    job.wait_output("open", 30 * vm.slow)
    return job


@pytest.mark.long
def test_silent_requesters(vm):
    """Peers that send nothing are closed after 20 s; others get in meanwhile."""
    before = in_use(vm)
    with accepting_server(vm) as port:
        job = idle_clients(vm, port, 40, 60)
        result = vm.run([program("connect_once"), vm.address, str(port)], timeout=60 * vm.slow)
        assert "established" in result.output
        job.wait(70 * vm.slow)
        early, closed, last = re.search(r"early (\d+) closed (\d+) after ([\d.]+)", job.output).groups()
        assert (early, closed) == ("0", "40"), job.output
        assert 19 < float(last) < 22 + 5 * vm.slow, job.output
    expect_in_use(vm, before, limit=40)


# A listener whose queue is full drops SYNs: nobody answers.
FULL_QUEUE = """
import socket, sys, time
server = socket.create_server((sys.argv[1], 0), backlog=0)
fill = []
for _ in range(4):
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(server.getsockname())
    fill.append(sock)
time.sleep(1)
print("port", server.getsockname()[1], flush=True)
time.sleep(100)
"""


def test_no_syn_ack(vm):
    """A connect that nobody answers ends as unreachable after 10 s."""
    before = in_use(vm)
    server = vm.popen(["/usr/bin/python3", "-c", FULL_QUEUE, vm.address])
    server.wait_output("port", 20 * vm.slow)
    port = re.search(r"port (\d+)", server.output)[1]
    begin = time.monotonic()
    result = vm.run([program("connect_once"), vm.address, port], timeout=60 * vm.slow)
    took = time.monotonic() - begin
    assert "unreachable -110" in result.output, result.output
    assert 9.5 < took < 12 + 5 * vm.slow, f"it took {took:.1f} s"
    server.kill()
    expect_in_use(vm, before)


@pytest.fixture
def addresses(vm):
    """The interface's only address, as it was, at the end."""
    yield
    vm.run(f"ip link set eth0 up; ip addr flush dev eth0; ip addr add {vm.address}/24 dev eth0")


def connects(vm, address, port):
    result = vm.run([program("connect_once"), address, str(port)], timeout=60 * vm.slow, check=False)
    return result.code == 0 and "established" in result.output


def test_addresses_come_and_go(vm, addresses):
    """A listener on every address follows them; one on an address that went away serves again when it is back."""
    before = in_use(vm)
    anywhere, second = workloads.next_port(), "10.77.0.77"
    wildcard = vm.popen(["rping", "-s", "-P", "-p", str(anywhere)])
    workloads.wait_listener(vm, anywhere, wildcard)
    with accepting_server(vm) as port:
        assert connects(vm, vm.address, anywhere) and connects(vm, vm.address, port)
        vm.run(f"ip addr add {second}/24 dev eth0")
        assert connects(vm, second, anywhere)
        vm.run(f"ip addr del {vm.address}/24 dev eth0 && ip addr replace {second}/24 dev eth0")
        assert not connects(vm, vm.address, port), "to an address that nobody has"
        assert connects(vm, second, anywhere)
        vm.run(f"ip addr replace {vm.address}/24 dev eth0")
        assert connects(vm, vm.address, anywhere) and connects(vm, vm.address, port)
    wildcard.kill()
    wildcard.wait(10 * vm.slow)
    expect_in_use(vm, before, limit=40)


def test_address_of_the_interface(vm):
    """Another MAC address is the port's GID from then on, and connections go on to be made."""
    before, old = in_use(vm), vm.read("/sys/class/net/eth0/address").strip()
    try:
        for new in ("52:54:00:00:77:01", old):
            vm.run(f"ip link set eth0 address {new}")
            vm.wait_devices(1)
            gid = f"/sys/class/infiniband/{vm.devices()[0]}/ports/1/gids/0"
            wait("the GID", lambda new=new, gid=gid: vm.read(gid).replace(":", "").startswith(new.replace(":", "")), 5 * vm.slow)
            workloads.rping(vm, 5)
    finally:
        vm.run(f"ip link set eth0 address {old}")
    expect_in_use(vm, before)


def test_interface_down_under_connections(vm, addresses):
    """The interface goes down and comes back: connections within the guest go on or end, but nothing hangs."""
    before = in_use(vm)
    with accepting_server(vm) as port:
        client = vm.popen(["rping", "-c", "-a", vm.address, "-p", str(port)])
        time.sleep(2)
        assert client.code is None, client.text
        vm.run("ip link set eth0 down")
        time.sleep(2)
        vm.run("ip link set eth0 up")
        vm.wait_devices(1)
        client.kill()
        client.wait(30 * vm.slow)
        assert connects(vm, vm.address, port)
    expect_in_use(vm, before, limit=40)


@pytest.mark.parametrize("name", ["retry", "read-inv"])
def test_kernel_consumer(vm, lab, name):
    """A kernel consumer tries again on the same identifier; and reads with invalidate as is usual with iWARP."""
    before = in_use(vm)
    kernel_case(vm, lab.kernel, name)
    expect_in_use(vm, before)
    workloads.rping(vm, 5)
