# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections that carry data until something ends them."""

from erdmalab import workloads
from support import program, wait


def start_rping(vm):
    """An rping pair that runs until something ends it."""
    port = workloads.next_port()
    server = vm.popen(["rping", "-s", "-a", vm.address, "-p", str(port), "-S", "1000"])
    workloads.wait_listener(vm, port, server)
    before = vm.counters()["sq_doorbells"]
    client = vm.popen(["rping", "-c", "-a", vm.address, "-p", str(port), "-S", "1000"])
    wait("traffic", lambda: client.code is not None or vm.counters()["sq_doorbells"] > before + 20, 15 * vm.slow)
    assert client.code is None and server.code is None, client.text + server.text
    return [server, client]


def expect_end(jobs, seconds):
    """The programs end by themselves, with an error."""
    for job in jobs:
        job.wait(seconds)
    assert any(job.code != 0 for job in jobs), "nobody noticed anything"


def start_end(machine, role, stage, port, address):
    """One end of a connection (programs/kill_cases.c); stops or goes on at that stage."""
    job = machine.popen([program("kill_cases"), "--end", role, stage, str(port), address])
    if role == "server":
        job.wait_output("listening", 20 * machine.slow)
    return job


def load_both_ends(server_vm, client_vm):
    """Both ends under full load until something ends them; the server's first."""
    port = str(workloads.next_port())
    jobs = [start_end(server_vm, "server", "traffic", port, server_vm.address),
            start_end(client_vm, "client", "traffic", port, server_vm.address)]
    for job in jobs:
        job.wait_output("at traffic", 20 * server_vm.slow)
    return jobs
