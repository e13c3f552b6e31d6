# SPDX-License-Identifier: GPL-2.0-or-later
"""Large memory regions and all the queues that the adapter has (programs/large.c)."""

import contextlib
import json
import re

import pytest

from eadm_tools import eadm_path
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
@pytest.mark.parametrize("gib", [2, 64])
def test_huge_pages(vm, gib):
    """Memory in huge pages of 2 MiB, each mapped many times: the device's page table has pages of at least that size."""
    before = in_use(vm)
    vm.run("echo 4 > /proc/sys/vm/nr_hugepages")
    try:
        assert vm.read("/proc/sys/vm/nr_hugepages").strip() == "4", "the guest's memory is too fragmented"
        result = vm.run([program("large"), "--only", f"{gib}-gib-huge", vm.address], timeout=240 * vm.slow, check=False,
                        env={"ERDMA_TEST_LOOK": f"{eadm_path()} info mr -j", "ERDMA_TEST_SLOWNESS": str(vm.slow)})
        assert result.code == 0, result.output
    finally:
        vm.run("echo 0 > /proc/sys/vm/nr_hugepages")
    print([line for line in result.output.splitlines() if line.startswith("#")])
    regions = json.loads(result.output[result.output.index("{"):result.output.rindex("}") + 1])["mr"]
    large, = [region for region in regions if region["length"] == gib << 30]
    # Larger than 2 MiB where huge pages happen to be neighbours; then the region may begin and end inside of one.
    assert large["page_shift"] >= 21 and 0 <= large["pages"] - (gib << 30 >> large["page_shift"]) <= 1, large
    expect_in_use(vm, before)


@pytest.mark.long
@pytest.mark.limit(900)
def test_all_queues(vm):
    before = in_use(vm)
    result = vm.run([program("large"), "--only", "all-queues", vm.address], timeout=450 * vm.slow)
    made = re.search(r"# (\d+) queue pairs", result.output)
    assert made and int(made[1]) > 3900, result.output
    expect_in_use(vm, before, limit=60)
