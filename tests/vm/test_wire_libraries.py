# SPDX-License-Identifier: GPL-2.0-or-later
"""Libraries and tools of the distribution between two guests: libfabric, rsockets, atomics, qperf, Open MPI."""

import re
import time

import pytest

from connecting import rcopy
from erdmalab import workloads
from libraries import mpi, server
from support import nothing_left


@pytest.mark.parametrize("provider, endpoint", [
    ("verbs", "msg"), pytest.param("verbs;ofi_rxm", "rdm", marks=pytest.mark.long)], ids=["msg", "rxm"])
def test_libfabric(pair, provider, endpoint):
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
