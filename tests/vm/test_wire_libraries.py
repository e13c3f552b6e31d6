# SPDX-License-Identifier: GPL-2.0-or-later
"""Libraries and tools of the distribution between two guests: libfabric, rsockets, atomics, qperf, Open MPI."""

import re
import time

import pytest

from connecting import rcopy
from erdmalab import workloads
from libraries import libfabric, mpi, qperf
from support import nothing_left


@pytest.mark.parametrize("provider, endpoint", [
    ("verbs", "msg"), pytest.param("verbs;ofi_rxm", "rdm", marks=pytest.mark.long)], ids=["msg", "rxm"])
def test_libfabric(pair, provider, endpoint):
    libfabric(pair, provider, endpoint)


@pytest.mark.long
def test_riostream(pair):
    port = str(workloads.next_port())
    for options in (["-S", "64", "-C", "20"], ["-T", "b", "-S", "65536", "-C", "20", "-I", "10"]):
        both = workloads.pair(pair[0], ["riostream", "-b", pair[0].address, "-p", port, *options],
                              pair[1], ["riostream", "-s", pair[0].address, "-p", port, *options], port, timeout=90)
        assert re.search(r"[\d.]+s\s+[\d.]+\s+[\d.]+\s*$", both.client.output), both.client.output
        port = str(workloads.next_port())


def test_rcopy(pair):
    rcopy(*pair, str(workloads.next_port()))


@pytest.mark.parametrize("name, kind", [
    ("ib_atomic_bw", "FETCH_AND_ADD"), pytest.param("ib_atomic_bw", "CMP_AND_SWAP", marks=pytest.mark.long),
    pytest.param("ib_atomic_lat", "FETCH_AND_ADD", marks=pytest.mark.long), ("ib_atomic_lat", "CMP_AND_SWAP")])
def test_atomics(pair, name, kind):
    with nothing_left(pair):
        rows = workloads.perftest(pair[0], name, options=["-A", kind, "-n", 100], client=pair[1])
        assert [int(row["bytes"]) for row in rows] == [8], rows


@pytest.mark.parametrize("tests", [["rc_lat"],
                                   pytest.param(["rc_bw", "rc_bi_bw", "rc_rdma_write_lat", "rc_rdma_write_bw", "rc_rdma_read_lat",
                                                 "rc_rdma_read_bw"], marks=pytest.mark.long)], ids=["send", "all"])
def test_qperf(pair, tests):
    qperf(pair, tests)


@pytest.mark.long
@pytest.mark.parametrize("ranks", [2, 4])
def test_open_mpi(pair, ranks):
    mpi(pair, ranks)


# What needs datagrams, or connects queue pairs with addresses that programs exchange by themselves: server, client (the
# server's address follows), the port on which the server waits for TCP, and what the program says.
REFUSED = {
    "ib_send_bw-UD": (["ib_send_bw", "-c", "UD"], 18515, r"Unable to create QP|Couldn't|Failed"),
    "ib_write_bw": (["ib_write_bw"], 18515, r"Unable|Couldn't|Failed"),
    "ibv_rc_pingpong": (["ibv_rc_pingpong"], 18515, r"Couldn't|Failed"),
    "ibv_ud_pingpong": (["ibv_ud_pingpong"], 18515, r"Couldn't|Failed"),
    "ucx_perftest": (["env", "UCX_TLS=rc,ud", "ucx_perftest", "-t", "tag_lat"], 13337, r"ERROR"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(pair, name):
    """These cannot work; they say so at once, and leave nothing behind."""
    command, port, says = REFUSED[name]
    one, other = pair
    with nothing_left(pair):
        waiting = one.popen(command)
        while waiting.poll() is None and one.run(f"ss -Htln | grep -q ':{port} '", check=False).code:
            time.sleep(0.2)
        try:
            begin = time.monotonic()
            client = other.run([*command, one.address], timeout=20 * other.slow, check=False)
            took = time.monotonic() - begin
            text = client.output + client.errors + waiting.text
            assert client.code != 0, f"it worked\n{text}"
            assert re.search(says, text) and took < 5 * other.slow, f"{took:.1f} s\n{text}"
            # A server that waits for TCP ends at its client's attempt.
            assert waiting.wait(10 * one.slow).code != 0, waiting.text
        finally:
            if waiting.poll() is None:
                waiting.kill()
                waiting.wait(10 * one.slow)
