# SPDX-License-Identifier: GPL-2.0-or-later
"""Large memory regions and all the queues that the adapter has (programs/large.c)."""

import contextlib
import re

import pytest

from support import expect_in_use, in_use, program, run_cases

TRACING = "/sys/kernel/tracing"


@contextlib.contextmanager
def no_large_pieces(vm):
    """Meanwhile nobody needs contiguous memory of more than 2^4 pages."""
    event = f"{TRACING}/events/kmem/mm_page_alloc"
    vm.run(f"set -e; mountpoint -q {TRACING} || mount -t tracefs tracefs {TRACING}; echo 'order > 4' > {event}/filter; "
           f"echo > {TRACING}/trace; echo 1 > {event}/enable")
    try:
        yield
        found = vm.run(f"grep order= {TRACING}/trace || true").output
        # Huge pages of programs, and attempts of those who take separate pages as well (kvmalloc), are no needs.
        pieces = [line for line in found.splitlines() if "GFP_TRANSHUGE" not in line and "__GFP_NORETRY" not in line]
        assert not pieces, "\n".join(pieces)
    finally:
        vm.run(f"echo 0 > {event}/enable; echo 0 > {event}/filter; echo > {TRACING}/trace")


@pytest.mark.parametrize("case", ["256-mib", "over-the-limit", pytest.param("1-gib", marks=pytest.mark.long),
                                  pytest.param("4-gib", marks=pytest.mark.long)])
def test_region(vm, case):
    """Written and read all over, within a page table of small pieces."""
    before = in_use(vm)
    with no_large_pieces(vm):
        run_cases(vm, "large", "--only", case)
    expect_in_use(vm, before)


@pytest.mark.long
@pytest.mark.limit(900)
def test_all_queues(vm):
    before = in_use(vm)
    result = vm.run([program("large"), "--only", "all-queues", vm.address], timeout=450 * vm.slow)
    made = re.search(r"# (\d+) queue pairs", result.output)
    assert made and int(made[1]) > 3900, result.output
    expect_in_use(vm, before, limit=60)
