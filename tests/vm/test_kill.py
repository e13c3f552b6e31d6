# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that die: nothing hangs, nothing leaks, the others go on."""

import time

import pytest

from erdmalab import workloads
from support import expect_in_use, in_use, run_cases


@pytest.mark.limit(400)
def test_stages(vm):
    """SIGKILL at every stage of a connection (programs/kill_cases.c)."""
    before = in_use(vm)
    print(run_cases(vm, "kill_cases"), "cases")
    expect_in_use(vm, before)
    workloads.rping(vm, 10)


def wait_traffic(vm, requests=200):
    """Wait until that many requests were posted from now on."""
    start, deadline = vm.counters()["tx_reqs"], time.monotonic() + 20 * vm.slow
    while vm.counters()["tx_reqs"] < start + requests:
        assert time.monotonic() < deadline, "no traffic"
        time.sleep(0.05)


# A client of ib_send_bw that loses its server while it waits for credits has nothing outstanding and watches no
# connection events: it waits for ever by its own fault, so only its client is killed here.
@pytest.mark.parametrize("name, options, victim", [
    ("ib_write_bw", ["-s", 65536, "-D", 60], "client"),
    ("ib_write_bw", ["-s", 65536, "-D", 60], "server"),
    ("ib_read_bw", ["-s", 8192, "-D", 60], "client"),
    ("ib_read_bw", ["-s", 8192, "-D", 60], "server"),
    ("ib_send_bw", ["-s", 4096, "-n", 5000000, "-e"], "client"),
])
def test_benchmark_killed(vm, name, options, victim):
    """kill -9 of one end of a benchmark at full speed; the other end terminates by itself."""
    before = in_use(vm)
    for pause in (0.1, 0.4):
        port = workloads.next_port()
        common = [name, "-R", "-F", "-p", str(port), *map(str, options)]
        server = vm.popen(common)
        workloads.wait_listener(vm, port, server)
        client = vm.popen([*common, vm.address])
        wait_traffic(vm)
        time.sleep(pause)
        dead, other = (client, server) if victim == "client" else (server, client)
        assert dead.code is None, f"the {victim} ended too early:\n{dead.text}"
        dead.kill()
        assert dead.wait(10 * vm.slow).code == -9
        # The survivor sees flushed completions or the disconnection, and says so in its exit code or not.
        other.wait(30 * vm.slow)
    expect_in_use(vm, before)


@pytest.mark.long
def test_kill_storm(vm):
    """Many programs at once, all killed at the same moment, several times."""
    before = in_use(vm)
    for _ in range(4):
        port = workloads.next_port()
        servers = [vm.popen(["rping", "-s", "-a", vm.address, "-p", str(port + i), "-S", "4000", "-V"])
                   for i in range(4)]
        for _ in range(3):
            workloads.next_port()
        for i, server in enumerate(servers):
            workloads.wait_listener(vm, port + i, server)
        clients = [vm.popen(["rping", "-c", "-a", vm.address, "-p", str(port + i), "-S", "4000", "-V"])
                   for i in range(4)]
        time.sleep(0.8)
        assert all(job.code is None for job in servers + clients), "a program ended before it was killed:\n" + \
            "".join(job.text for job in servers + clients if job.code is not None)
        # All at the same moment: nobody runs between the signals.
        vm.run("killall -STOP rping && killall -9 rping")
        for job in servers + clients:
            job.wait(15 * vm.slow)
        expect_in_use(vm, before)
    workloads.rping(vm, 10)
