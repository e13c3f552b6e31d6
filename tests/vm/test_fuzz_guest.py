# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that means harm (docs/fuzzing.md): its kernel against the model and QEMU, and a user without rights against the kernel."""

import os
import random
import re
import subprocess
import time

import pytest

from eadm_tools import NOBODY, open_node  # noqa: F401  (a fixture is used by name)
from erdmalab import runs, workloads
from erdmalab.common import BUILD, alone
from support import bdf, expect_in_use, in_use, program

# Memory that the guest's kernel leaves alone.
ARENA, ARENA_BYTES = 0x30000000, 48 << 20
SHORT, LONG = 20, 600  # seconds
QUICK_SEED = 20261127
# It may hit its own memory.
SELF_INFLICTED = r"user_fuzz\[\d+\]: segfault"


@pytest.fixture(scope="module")
def sanitized():
    """Settings of a guest whose adapter is built with ASan and UBSan."""
    directory = os.path.join(BUILD, "qemu-model", "checked")
    with alone(os.path.join(BUILD, "checked-model.lock")):
        runs.cmake_build(BUILD, {}, os.path.join(BUILD, "checked-model.log"), ["erdma-model-checked"])
    asan = subprocess.run(["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True).stdout.strip()
    assert os.path.isabs(asan), "gcc has no libasan"
    # QEMU itself leaves a lot behind.  What gcov counts is about the unit tests.
    return {"model": directory,
            "qemu_env": {"LD_PRELOAD": os.path.realpath(asan), "GCOV_PREFIX": "gcov",
                         "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0:abort_on_error=1:handle_abort=1",
                         "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}}


def reports(machine):
    with open(machine.qemu_log, encoding="utf-8", errors="replace") as log:
        return [line for line in log if re.search(r"Sanitizer|runtime error", line)]


def hostile_driver(vms, sanitized, seed, seconds):
    machine, = vms(1, load=False, append=f"memmap={ARENA_BYTES >> 20}M${ARENA:#x}", **sanitized)
    with open(f"/proc/{machine.process.pid}/maps", encoding="ascii") as maps:
        assert "libasan" in maps.read(), "the adapter is not the one that is built with ASan"
    address = bdf(machine)
    memory = re.search(r"([0-9a-f]+)-[0-9a-f]+ : PCI MMCONFIG", machine.read("/proc/iomem"))
    command = [program("hostile_driver"), address, hex(ARENA), str(ARENA_BYTES), f"0x{memory[1]}", str(seed), str(seconds)]
    print(" ".join(command))
    # Interrupts of an adapter without driver are no trouble, and neither is a link that was reset.
    result = machine.run(command, timeout=(seconds + 60) * machine.slow, check=False)
    assert machine.alive() and not reports(machine), "".join(reports(machine))
    assert result.code == 0, result.output + result.errors
    print(result.output)
    episodes, answers, good = map(int, re.search(r"in (\d+) episodes, (\d+) answers, (\d+) good", result.output).groups())
    # It got as far as commands that do something.
    assert episodes > seconds and answers > 10 * episodes and good > 4 * episodes, result.output
    machine.run(f"echo 1 > /sys/bus/pci/devices/{address}/remove; echo 1 > /sys/bus/pci/rescan")
    machine.load_driver()
    workloads.rping(machine, 50)
    assert not reports(machine), "".join(reports(machine))


@pytest.mark.long
@pytest.mark.limit(1800)
def test_hostile_driver(vms, sanitized):
    """Whatever a guest's kernel does to the adapter, QEMU lives, and a driver finds an adapter that works."""
    hostile_driver(vms, sanitized, QUICK_SEED, SHORT)


@pytest.mark.long
@pytest.mark.limit(1800)
def test_hostile_driver_for_long(vms, sanitized):
    hostile_driver(vms, sanitized, random.getrandbits(32), LONG)


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
    with vm.allow(SELF_INFLICTED):
        expect_rate(vm, hostile_user(vm, QUICK_SEED, SHORT))
    workloads.rping(vm, 5)


@pytest.mark.long
@pytest.mark.limit(2400)
def test_hostile_user_for_long(vm, open_node):
    with vm.allow(SELF_INFLICTED):
        expect_rate(vm, hostile_user(vm, int(time.time()), LONG))
    workloads.rping(vm, 5)
