# SPDX-License-Identifier: GPL-2.0-or-later
"""Doorbell pages and direct WQEs, by a program that needs no provider (programs/direct_wqe.cpp)."""

import pytest

from support import bdf, expect_in_use, in_use, program, run_cases
from erdmalab import workloads


@pytest.fixture
def vm(vms):
    """Pages of all three kinds exist only where the device does not hand pages out (adapter.md 6.3)."""
    machine, = vms(1, adapter={"extended-doorbells": "off"})
    return machine


@pytest.mark.limit(400)
def test_direct_wqes(vm):
    before, objects = vm.counters(), in_use(vm)
    run_cases(vm, "direct_wqe")
    after = vm.counters()
    # Three kinds of page with 160 requests each, 400 in order of which two thirds are direct, 18 processes with 300.
    assert after["direct_wqes"] - before["direct_wqes"] > 2 * 160 + 250 + 3000
    # The slot that disagrees, and the WQE that is never finished.
    assert after["direct_wqe_fallbacks"] - before["direct_wqe_fallbacks"] >= 2
    expect_in_use(vm, objects)


def test_pages_are_revoked(vm):
    """A program keeps its doorbell page over the removal of the device: what it stores goes nowhere."""
    job = vm.popen([program("direct_wqe"), "hold", vm.address], stdin=True)
    job.wait_output("holding", 20 * vm.slow)
    before = vm.counters()
    vm.run(f"echo {bdf(vm)} > /sys/bus/pci/drivers/erdma/unbind", timeout=20 * vm.slow)
    job.close_input()
    job.wait(20 * vm.slow)
    assert job.code == 0 and "stored" in job.output, job.output
    after = vm.counters()
    for name in ("direct_wqes", "direct_wqe_fallbacks", "bad_doorbells"):
        assert after[name] == before[name], name
    vm.run(f"echo {bdf(vm)} > /sys/bus/pci/drivers/erdma/bind", timeout=20 * vm.slow)
    vm.wait_devices(1)
    workloads.rping(vm, 5)
