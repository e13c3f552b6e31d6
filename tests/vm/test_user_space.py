# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs and the rdma-core of later Debian releases, unmodified, over the same driver."""

import contextlib
import re

import pytest

from erdmalab import roots, workloads
from support import expect_in_use, in_use

PACKAGES = ("ibverbs-providers", "ibverbs-utils", "perftest", "rdmacm-utils")


@contextlib.contextmanager
def entered(vm, root):
    """Words in front of a command that make it run inside the root."""
    folders = ("dev", "proc", "sys")
    vm.run(" && ".join(f"mount --rbind /{folder} {root}/{folder}" for folder in folders))
    try:
        yield ["chroot", root]
    finally:
        vm.run(" && ".join(f"umount --recursive --lazy {root}/{folder}" for folder in folders))


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(1200)
@pytest.mark.parametrize("release", ["trixie", "sid"])
def test_programs(vm, release):
    """The device is shown, and data goes by every kind of work request; rping looks at what arrives."""
    root = roots.make(release, f"{release}-programs", PACKAGES)
    before = in_use(vm)
    with entered(vm, root) as prefix:
        print(vm.run([*prefix, "dpkg-query", "-W", *PACKAGES]).output)
        shown = vm.run([*prefix, "ibv_devinfo", "-v"]).output
        assert "PORT_ACTIVE" in shown and "iWARP" in shown, shown

        port = str(workloads.next_port())
        result = workloads.pair(vm, [*prefix, "rping", "-s", "-a", vm.address, "-p", port, "-V", "-v", "-C", "100"],
                                vm, [*prefix, "rping", "-c", "-a", vm.address, "-p", port, "-V", "-v", "-C", "100"], port)
        assert len(re.findall("rdma-ping-", result.client.output)) == 100
        for name, size in (("ib_write_bw", 65536), ("ib_read_bw", 1 << 20), ("ib_send_bw", 4096), ("ib_send_lat", 64),
                           ("ib_atomic_bw", 8)):
            port = str(workloads.next_port())
            words = [*prefix, name, "-R", "-F", "-p", port, "-n", "200", *(["-s", str(size)] if size > 8 else [])]
            result = workloads.pair(vm, words, vm, [*words, vm.address], port, timeout=90)
            assert re.search(rf"(?m)^\s*{size}\s+200\s", result.client.output), result.client.text
    expect_in_use(vm, before)
