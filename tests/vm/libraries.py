# SPDX-License-Identifier: GPL-2.0-or-later
"""How libraries and tools of the distribution are tried between two guests: libfabric, qperf, Open MPI, and rdma-core's suite."""

import contextlib
import os
import re
import time

from erdmalab.common import BUILD, ROOT
from support import SOURCES, expect_in_use, in_use, nothing_left

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


def libfabric(pair, provider, endpoint):
    """Messages of all sizes, compared."""
    one, other = pair
    common = ["fi_pingpong", "-p", provider, "-e", endpoint, "-I", "20", "-c"]
    with nothing_left(pair), server(one, common, 47592) as waiting:
        client = other.run([*common, one.address], timeout=60 * other.slow)
        waiting.wait(20 * one.slow)
        # rxm's server ends with an error when the client leaves before its last message is through, but measured all.
        assert waiting.code == 0 or endpoint == "rdm", waiting.text
        for output in (client.output, waiting.output):
            sizes = re.findall(r"(?m)^(\S+)\s+20\s+=20\s", output)
            assert sizes == ["64", "256", "1k", "4k", "64k", "1m"], output


def qperf(pair, tests):
    """Those tests, each for a second."""
    # Its server's process for a test crashes by itself when all is done, with other adapters too.
    with pair[0].allow(r"qperf\[\d+\]: segfault"), nothing_left(pair), server(pair[0], ["qperf"], 19765):
        for test in tests:
            # Its client may be quicker than its server's listener.
            for attempt in range(10):
                time.sleep(0.3 * attempt)
                result = pair[1].run(["qperf", "-cm", "1", "-t", "1", pair[0].address, test], timeout=60 * pair[1].slow,
                                     check=False)
                if "Event rejected" not in result.errors:
                    break
            assert result.code == 0 and re.search(rf"{test}:\n\s+(bw|latency)\s+=\s+[\d.]+ ", result.output), \
                result.output + result.errors


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


LINE = re.compile(r"(?m)^(pass|skip|fail|error|hang) +(?:tests\.)?(test_\S+) ?(.*)$")
# What they find depends on the host's graphics device and huge pages.
CHANGEABLE = re.compile(r"dmabuf|huge")


def pyverbs(vm, device, expected_file):
    """rdma-core's own test suite, from the distribution's package, against the list of what is expected."""
    with open(expected_file, encoding="utf-8") as file:
        expected = {test: (outcome, why) for outcome, test, why in LINE.findall(file.read())}
    unexplained = [test for test, (outcome, why) in expected.items() if outcome != "pass" and not why]
    assert not unexplained, "the list gives no reason"

    before = in_use(vm)
    result = vm.run(["/usr/bin/python3", "-B", os.path.join(SOURCES, "pyverbs_suite.py"), device],
                    timeout=300 * vm.slow / 2, check=False, env={"PYVERBS_SECONDS": str(30 * vm.slow)})
    assert result.code == 0, result.output + result.errors
    found = {test: (outcome, why) for outcome, test, why in LINE.findall(result.output)}
    wrong = []
    for test in sorted(expected.keys() | found.keys()):
        outcome, why = found.get(test, ("not run", ""))
        wanted = expected.get(test, ("not in the list", ""))[0]
        if outcome == wanted or CHANGEABLE.search(test) and {outcome, wanted} <= {"pass", "skip"}:
            continue
        wrong.append(f"{test}: expected {wanted}, got {outcome} {why}")
    assert not wrong, "\n".join(wrong)
    assert sum(outcome == "pass" for outcome, _ in found.values()) >= 25
    expect_in_use(vm, before)
