# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel consumers in one guest: the target and its user meet over the adapter's loopback."""

import json
import time

import pytest

from storage import NvmeHost, NvmeTarget, nfs_export, nfs_mount, settle
from support import counters, expect_in_use, in_use


def verify(host, pattern="randrw", size="16M", block="4k-128k"):
    """Random reads and writes of mixed sizes whose data is checked, also once more from the medium."""
    result = host.fio(f"--rw={pattern}", f"--size={size}", f"--bsrange={block}", "--verify=crc32c", "--do_verify=1",
                      "--verify_fatal=1")
    job = json.loads(result.output[result.output.index("{"):])["jobs"][0]
    assert job["error"] == 0 and job["write"]["io_bytes"] > 0, job


@pytest.mark.limit(400)
def test_nvme(vm):
    for _ in range(2):
        before = in_use(vm)
        with NvmeTarget(vm) as target, NvmeHost(vm, target) as host:
            verify(host)
    # The kernel keeps the completion queues of the first time for all that follow, so the second leaves nothing new.
    expect_in_use(vm, before)
    assert counters(vm)["qps"] == 0, "queue pairs outlive the controller"


@pytest.mark.limit(400)
def test_nvme_target_goes(vm):
    """The target withdraws under load: the user gets errors, reconnects when it is back, and nothing hangs."""
    with NvmeTarget(vm) as target, NvmeHost(vm, target):
        pass
    before = in_use(vm)
    with NvmeTarget(vm) as target, NvmeHost(vm, target, "--reconnect-delay=1 --ctrl-loss-tmo=60") as host:
        job = vm.popen(["fio", "--name=load", f"--filename={host.device}", "--direct=1", "--ioengine=libaio",
                        "--iodepth=16", "--rw=randwrite", "--bs=16k", "--size=32M", "--time_based", "--runtime=60",
                        "--continue_on_error=none"])
        start, deadline = counters(vm)["tx_bytes"], time.monotonic() + 20 * vm.slow
        while counters(vm)["tx_bytes"] < start + (1 << 20):
            assert time.monotonic() < deadline and job.poll() is None, job.text
            time.sleep(0.2)
        target.withdraw()
        job.wait(60 * vm.slow)
        assert job.code != 0, "fio did not notice"
        target.offer()
        settle(vm, "cat /sys/class/nvme/nvme*/state", "live", "reconnecting", 40)
        verify(host, size="4M")
    expect_in_use(vm, before)


@pytest.mark.limit(400)
def test_nfs(vm):
    """A tree of files is copied over NFS/RDMA and compared."""
    before = in_use(vm)
    with nfs_export(vm) as folder, nfs_mount(vm, vm) as at:
        assert "proto=rdma" in vm.run(f"grep {at} /proc/mounts").output
        vm.run(f"cp -r /usr/share/perl5/Debconf /usr/bin/bash {at}/ && sync && echo 3 > /proc/sys/vm/drop_caches && "
               f"diff -r /usr/share/perl5/Debconf {at}/Debconf && cmp /usr/bin/bash {at}/bash && "
               f"cmp /usr/bin/bash {folder}/bash", timeout=120 * vm.slow)
    expect_in_use(vm, before)
