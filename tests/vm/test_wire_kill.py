# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs and drivers that die at one end of the wire: the other end is told, nothing hangs, nothing leaks."""

import time

import pytest

from erdmalab import workloads
from killing import TOLD, kill_all
from support import expect_in_use, in_use
from traffic import load_both_ends


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
