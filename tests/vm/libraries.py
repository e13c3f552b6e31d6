# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers of libraries and tools that listen with TCP, and Open MPI between two guests."""

import contextlib
import os

from erdmalab.common import BUILD, ROOT
from support import nothing_left

MPI = os.path.join(BUILD, "tests", "vm", "mpi", "mpi_checks")
MPI_SETTINGS = os.path.join(ROOT, "packaging", "openmpi-erdma.conf")
REMOTE_SHELL = 5140


@contextlib.contextmanager
def server(machine, command, port):
    """A server that needs no RDMA listener yet; ended with the block, if it does not end by itself."""
    job = machine.popen(command)
    try:
        machine.wait_listener(port, job, tcp=True)
        yield job
    finally:
        if job.poll() is None:
            job.kill()
            job.wait(20 * machine.slow)


def mpi(pair, ranks):
    """The parameter file that the packages install; no ssh in these guests: a shell behind netcat stands for it."""
    one, other = pair
    for machine in pair:
        machine.run(f"printf '#!/bin/sh\\nhost=$1; shift; echo \"$*\" | busybox nc $host {REMOTE_SHELL}\\n' > /run/rsh; "
                    "chmod +x /run/rsh")
    before = other.counters()["tx_bytes"]
    with nothing_left(pair), server(other, ["busybox", "nc", "-ll", "-p", str(REMOTE_SHELL), "-e", "/bin/sh"], REMOTE_SHELL):
        result = one.run(["mpirun", "--allow-run-as-root", "--tune", MPI_SETTINGS, "--mca", "plm_rsh_agent", "/run/rsh",
                          "--host", f"{one.name}:{ranks // 2},{other.name}:{ranks // 2}", "-np", str(ranks),
                          "--oversubscribe", MPI], timeout=120 * one.slow)
    assert f"{ranks} ranks, all results are right" in result.output, result.output + result.errors
    assert other.counters()["tx_bytes"] > before + (1 << 20), "it went another way"
