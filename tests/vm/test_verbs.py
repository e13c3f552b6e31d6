# SPDX-License-Identifier: GPL-2.0-or-later
"""Verbs from user space: objects, operations, errors.  programs/*.c say what each case checks."""

import pytest

from support import expect_in_use, in_use, program, run_cases


def test_objects(vm, rdma_device):
    before = in_use(vm)
    result = vm.run([program("verbs_objects"), rdma_device], timeout=120 * vm.slow, check=False)
    failures = [line for line in result.output.splitlines() if not line.startswith("ok")]
    assert result.code == 0, "\n".join(failures) + result.errors
    assert "ok  " in result.output
    expect_in_use(vm, before)


@pytest.mark.limit(400)
@pytest.mark.parametrize("name", ["rc_ops", "rc_errors"])
def test_connected(vm, name):
    before = in_use(vm)
    print(run_cases(vm, name), "cases")
    expect_in_use(vm, before)


def test_connected_on_two_cpus(vms):
    """What overlaps most, with real concurrency between program, interrupts and device."""
    machine, = vms(1, cpus=2)
    before = in_use(machine)
    run_cases(machine, "rc_ops", "--only", "send-segments", "--only", "event*", "--only", "both-ways",
              "--only", "many-reads", "--only", "again-and-again")
    run_cases(machine, "rc_errors", "--only", "*-disconnect", "--only", "deregister-under-way",
              "--only", "write-bad-rkey", "--only", "abort-by-modify")
    expect_in_use(machine, before)


def test_regions(vm):
    """Registered anew.  Debian's 6.1 has no DMA buffers of a program's memory: test_kernel_range.py has kernels that do."""
    before = in_use(vm)
    run_cases(vm, "regions", "--only", "other-*")
    expect_in_use(vm, before)
