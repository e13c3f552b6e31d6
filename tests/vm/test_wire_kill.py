# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs and drivers that die at one end of the wire: the other end is told, nothing hangs, nothing leaks."""

import random
import time

import pytest

from erdmalab import workloads
from erdmalab.common import LabTimeout
from support import expect_in_use, in_use, nothing_left
from traffic import load_both_ends, start_end

VICTIMS = [*(("client", stage) for stage in ("resolved", "request", "connected", "traffic", "disconnect")),
           *(("server", stage) for stage in ("start", "request", "connected", "traffic", "disconnect"))]
TOLD = 2.0


def hears(job, seconds):
    """True when that end is told within the time."""
    try:
        job.wait_output("told ", seconds)
        return True
    except LabTimeout:
        return False


def kill_one(server_vm, client_vm, victim, stage, dice):
    """A connection whose victim is killed at that stage; returns after how many seconds the other end was told."""
    port = str(workloads.next_port())
    slow = server_vm.slow
    server = start_end(server_vm, "server", stage if victim == "server" else "never", port, server_vm.address)
    client = None
    if stage != "start":
        client = start_end(client_vm, "client", stage if victim == "client" else "never", port, server_vm.address)
    dead, other = (server, client) if victim == "server" else (client, server)
    dead.wait_output(f"at {stage}", 20 * slow)
    time.sleep(dice.random() * 0.03)
    begin = time.monotonic()
    dead.kill()
    told = 0.0
    # A client that just began to connect may die before its MPA request leaves: then there is nothing to tell.
    early = (victim, stage) == ("client", "request")
    if stage in ("start", "resolved") or early and not hears(other, 5 * slow):  # nothing connects the two
        if other:
            other.kill()
    else:
        other.wait_output("told ", 15 * slow)
        told = time.monotonic() - begin
        assert other.wait(15 * slow).code == 0, f"the survivor of {victim} {stage}:\n{other.text}"
    code = dead.wait(25 * slow).code
    # Behind its last stage it may have been quicker than the signal.
    assert code == -9 or (stage == "disconnect" and code == 0), f"the victim ended by itself:\n{dead.text}"
    return told


def kill_all(pair, times):
    """Every victim at every stage, that many times; the server is in either guest in turn."""
    dice, late = random.Random(1), []
    with nothing_left(pair):
        for number in range(times):
            for victim, stage in VICTIMS:
                server = dice.randrange(2)
                told = kill_one(pair[server], pair[1 - server], victim, stage, dice)
                if told > TOLD * pair[0].slow / 2:
                    late.append(f"round {number}, {victim} at {stage}: {told:.1f} s")
    assert not late, late
    workloads.rping(pair[0], 10, client=pair[1])
    workloads.rping(pair[1], 10, client=pair[0])


@pytest.mark.long
@pytest.mark.limit(400)
def test_stages(pair):
    kill_all(pair, 2)


@pytest.mark.long
@pytest.mark.limit(1500)
def test_stages_200_times(pair):
    kill_all(pair, 20)


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.long)])
def test_driver_unloaded(pair, victim):
    """The driver of one guest is unloaded under traffic in both directions; the other guest is told at once."""
    gone, other = pair[victim], pair[1 - victim]
    left = in_use(other)
    here, there = load_both_ends(gone, other)
    there_too, here_too = load_both_ends(other, gone)
    begin = time.monotonic()
    rmmod = gone.popen(["rmmod", "erdma"])
    for job in (there, there_too):
        job.wait_output("told ", 15 * gone.slow)
    told = time.monotonic() - begin
    rmmod.wait(30 * gone.slow, check=True)
    for job in (there, there_too):
        assert job.wait(15 * gone.slow).code == 0, job.text
    for job in (here, here_too):
        job.kill()
        job.wait(15 * gone.slow)
    assert gone.devices() == []
    expect_in_use(other, left, limit=30)
    assert told < 2 * TOLD * gone.slow, f"the other end was told after {told:.1f} s"
    gone.load_driver()
    workloads.rping(gone, 10, client=other)
    workloads.rping(other, 10, client=gone)


def test_guest_dies(vms):
    """A whole guest ends without a word; the other one's connections end at their retry limit, its programs at once."""
    group = vms(2, adapter={"give-up-ms": 4000})
    before = in_use(group[0])
    jobs = load_both_ends(group[0], group[1])
    group[1].may_die = True
    begin = time.monotonic()
    group[1].process.kill()
    jobs[0].wait_output("told ", 30 * group[0].slow)
    told = time.monotonic() - begin
    assert jobs[0].wait(15 * group[0].slow).code == 0, jobs[0].text
    assert "work 12 " in jobs[0].text, f"expected a retry-exceeded completion:\n{jobs[0].text}"
    assert told < 10 * group[0].slow, f"{told:.1f} s"
    expect_in_use(group[0], before, limit=30)
