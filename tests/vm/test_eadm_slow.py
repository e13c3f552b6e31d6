# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a connection is slow: one cause after the other is staged with real traffic, and eadm doctor names it before all
others.  Of the same traffic without the cause it says nothing."""

import contextlib
import time

import pytest

from eadm_tools import eadm_json, traffic, wait_for
from erdmalab import workloads
from roce import ADAPTER
from support import program

PARAMETERS = "/sys/module/erdma/parameters"


def findings(vm):
    """What doctor finds: the worst, and what costs most, first."""
    return eadm_json(vm, "doctor", code=None)["findings"]


def slow(vm):
    """What it says against a connection that gets on; time-outs, which a busy host makes, are no matter of this file."""
    return [one for one in findings(vm) if one["id"] in ("held-up", "read-depth", "receives-late")]


def costs_most(finding):
    """The cause that most of the time went to; waiting for answers, or for the adapter, is none."""
    shares = finding["figures"]["percent"]
    return max((cause for cause in shares if cause not in ("idle", "answers", "turn")), key=shares.get)


def first(vm, kind, *causes, seconds=30):
    """That finding, as soon as it is of one of those causes and before all faults and warnings: what was before takes a
    moment to be over.  Time-outs stand beside loss, and come with a busy host."""
    deadline = time.monotonic() + seconds * vm.slow
    while True:
        found = [one for one in findings(vm)
                 if one["id"] == kind or (one["severity"] in ("fault", "warning") and one["id"] != "retransmissions")]
        if found and found[0]["id"] == kind and (not causes or costs_most(found[0]) in causes):
            return found[0]
        assert time.monotonic() < deadline, found


@contextlib.contextmanager
def ends(server, client, passive, active, size, passive_last=(), active_last=()):
    """Two ends of programs/slow_ends.c, for as long as the block takes."""
    port = workloads.next_port()
    polite = ["nice", "-n", "19", program("slow_ends")]
    jobs = [server.popen([*polite, passive, server.address, str(port), str(size), *map(str, passive_last)])]
    try:
        wait_for(server, "listening", jobs[0])
        jobs.append(client.popen([*polite, active, server.address, str(port), str(size), *map(str, active_last)]))
        wait_for(client, "connected", jobs[1])
        yield
        assert [job.code for job in jobs] == [None, None], [job.text for job in jobs]
    finally:
        for job in jobs:
            with contextlib.suppress(Exception):
                job.kill()


@contextlib.contextmanager
def standard(client):
    """It speaks standard iWARP from now on, where ORD and IRD count."""
    client.run(f"echo 2 > {PARAMETERS}/mpa_rev")
    try:
        yield
    finally:
        client.run(f"echo auto > {PARAMETERS}/mpa_rev")


def test_receiver_posts_late(pair):
    """A receive every 50 ms: both ends say so, each in its own words."""
    server, client = pair
    with ends(server, client, "receive", "send", 65536, [50]):
        held = first(client, "held-up", "peer_window")
        late = first(server, "receives-late")
    assert held["figures"]["percent"]["peer_window"] >= 30, held
    assert "for its peer to take more" in held["text"] and "slow_ends" in held["text"], held
    assert late["figures"]["percent_starved"] >= 30 and "slow_ends" in late["text"], late


def test_few_reads(pair):
    """One read at a time, where that was agreed on.  Between adapters it counts for nothing, and doctor knows that."""
    server, client = pair
    with client.link("both:delay=10ms"):
        with standard(client), ends(server, client, "serve", "read", 4096, [1], [1]):
            found = first(client, "read-depth", "requests")
        assert found["figures"]["percent"]["requests"] >= 30 and "slow_ends" in found["text"], found
        assert found["figures"]["ord"] == 1 < found["figures"]["reads"], found
        with ends(server, client, "serve", "read", 4096, [1], [1]):
            time.sleep(1)
            assert slow(client) == []


def test_long_path(pair):
    """As much is under way as the peer's window allows, and it takes long: the peer is not to blame."""
    server, client = pair
    with client.link("both:delay=60ms"), ends(server, client, "receive", "send", 262144, [0]):
        found = first(client, "long-path", "window", "peer_window")
        assert slow(client) == []
    assert found["severity"] == "note" and found["figures"]["rtt_us"] >= 100000 and "slow_ends" in found["text"], found


def test_nothing_is_slow(pair):
    """As many reads as were agreed on are under way: nothing to say."""
    server, client = pair
    with standard(client), ends(server, client, "serve", "read", 16384, [16], [16]):
        time.sleep(1)
        assert slow(client) == [] and slow(server) == []


@pytest.mark.long
def test_nothing_is_slow_with_perftest(pair):
    server, client = pair
    for tool in ("ib_write_bw", "ib_send_lat", "ib_read_bw"):
        with traffic(server, client_vm=client, tool=tool):
            assert slow(client) == [] and slow(server) == [], tool


@pytest.mark.long
def test_loss(pair):
    """One of ten packets each way is lost: most of the time goes to waiting for what was lost."""
    server, client = pair
    with traffic(server, client_vm=client, tool="ib_send_lat", options=["-s", "1024"]), client.link("both:loss=10%"):
        found = first(client, "held-up", "loss", seconds=60)
    assert found["figures"]["repeats_now"] >= 1 and "lost" in found["text"] and "ib_send_lat" in found["text"], found


@pytest.mark.long
@pytest.mark.guests(adapter=ADAPTER)
def test_receiver_posts_late_with_roce(pair):
    """The peer says that it has no receive buffer (RNR)."""
    server, client = pair
    with ends(server, client, "receive", "send", 65536, [50]):
        held = first(client, "held-up", "peer_buffers")
        late = first(server, "receives-late")
    assert "receive buffers of its peer" in held["text"], held
    assert late["figures"]["percent_starved"] >= 30, late


@pytest.mark.long
@pytest.mark.guests(adapter=ADAPTER)
def test_few_reads_with_roce(pair):
    """What was agreed on counts there, always."""
    server, client = pair
    with client.link("both:delay=10ms"), ends(server, client, "serve", "read", 4096, [1], [1]):
        found = first(client, "read-depth", "requests")
    assert found["figures"]["ord"] == 1, found
