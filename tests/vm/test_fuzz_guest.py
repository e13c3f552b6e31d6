# SPDX-License-Identifier: GPL-2.0-or-later
"""A user without rights who means harm to a guest's kernel (docs/fuzzing.md)."""

import re
import time

import pytest

from eadm_tools import NOBODY, open_node  # noqa: F401  (a fixture is used by name)
from erdmalab import workloads
from support import expect_in_use, in_use, program

SHORT, LONG = 20, 600  # seconds
QUICK_SEED = 20261127


def hostile_user(vm, seed, seconds):
    """Returns how many messages a second the bystander had, alone and under attack."""
    before, rates = in_use(vm), []
    vm.run("chmod 666 /dev/infiniband/*")
    diagnostics = f"until [ $(cut -d. -f1 /proc/uptime) -ge $0 ]; do {program('diag_fuzz')} 2000 $RANDOM || exit 1; done"
    uptime = float(vm.read("/proc/uptime").split()[0])
    for attack in (False, True):
        bystander = vm.popen([program("bystander"), str(seconds if attack else 3), vm.address])
        if attack:
            command = [*NOBODY, "nice", program("user_fuzz"), str(seed), str(seconds), vm.address]
            print(" ".join(command))
            talk = vm.popen([*NOBODY, "nice", "bash", "-c", diagnostics, str(int(uptime) + seconds)])
            result = vm.run(command, timeout=(seconds + 90) * vm.slow, check=False)
            assert result.code == 0, result.output + result.errors
            print(result.output)
            said = talk.wait(60 * vm.slow)
            assert said.code == 0, said.output
        ended = bystander.wait((seconds + 90) * vm.slow)
        assert ended.code == 0, ended.output + ended.errors
        print(ended.output)
        rates.append((int(re.search(r"(\d+)/s", ended.output)[1]), int(re.search(r"pause (\d+) ms", ended.output)[1])))
    expect_in_use(vm, before, limit=60)
    return rates


def expect_rate(vm, rates):
    """One processor is shared with what attacks, so the rate is not the same; but the connection is never starved."""
    (alone_rate, _), (rate, pause) = rates
    assert alone_rate and rate > alone_rate / 20 and pause < 2000 * vm.slow, rates


@pytest.mark.limit(600)
def test_hostile_user(vm, open_node):
    """Nothing that a process without rights says disturbs the kernel, or another's connection."""
    expect_rate(vm, hostile_user(vm, QUICK_SEED, SHORT))
    workloads.rping(vm, 5)


@pytest.mark.long
@pytest.mark.limit(2400)
def test_hostile_user_for_long(vm, open_node):
    expect_rate(vm, hostile_user(vm, int(time.time()), LONG))
    workloads.rping(vm, 5)
