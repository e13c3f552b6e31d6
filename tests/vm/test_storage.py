# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel consumers: NVMe over Fabrics, iSER and NFS between two guests, and in one over the adapter's loopback."""

import contextlib
import time

import pytest

from disks import VERIFY, copy_and_compare, verify
from erdmalab import workloads
from erdmalab.storage import IserHost, IserTarget, NvmeHost, NvmeTarget, settle
from support import expect_in_use, in_use

pytestmark = pytest.mark.stock_kernel  # the debug one is built without block devices and file systems of the network


@contextlib.contextmanager
def nothing_new(*machines):
    """Afterwards every guest has in use what it had before; completion queues that the kernel keeps must be there."""
    before = [in_use(machine) for machine in machines]
    yield
    for machine, values in zip(machines, before):
        expect_in_use(machine, values, limit=30)
        assert machine.counters()["qps"] == values["model qps"], "queue pairs outlive the controller"


def warm_up(target_vm, host_vm):
    """The first connection makes completion queues that the kernel keeps for all that follow."""
    with NvmeTarget(target_vm) as target, NvmeHost(host_vm, target):
        pass


def start_load(host, *options):
    """fio in the background, under way when this returns."""
    sent = host.vm.counters()["tx_bytes"]
    job = host.vm.popen(host.load(*options))
    deadline = time.monotonic() + 20 * host.vm.slow
    while host.vm.counters()["tx_bytes"] < sent + (1 << 20):
        assert time.monotonic() < deadline and job.poll() is None, job.text
        time.sleep(0.2)
    return job


def target_goes(target_vm, host_vm):
    """The target withdraws under load: the user gets errors, reconnects when it is back, and nothing hangs."""
    warm_up(target_vm, host_vm)
    with nothing_new(target_vm, host_vm), NvmeTarget(target_vm) as target, \
            NvmeHost(host_vm, target, "--reconnect-delay=1 --ctrl-loss-tmo=60") as host:
        job = start_load(host, "--iodepth=16", "--rw=randwrite", "--bs=16k", "--size=32M", "--time_based",
                         "--runtime=60", "--continue_on_error=none")
        target.withdraw()
        job.wait(60 * host_vm.slow)
        assert job.code != 0, "fio did not notice"
        target.offer()
        settle(host_vm, "cat /sys/class/nvme/nvme*/state", "live", "reconnecting", 40)
        verify(host, size="4M")


def test_nvme(pair):
    with NvmeTarget(pair[0]) as target, NvmeHost(pair[1], target) as host:
        verify(host, size="4M")
    for machine in pair:
        assert machine.counters()["qps"] == 0, "queue pairs outlive the controller"


def test_nvme_unregistered(pair):
    """A host that registers nothing lets the target at all of its memory by one key, which allows remote access only."""
    target_vm, host_vm = pair
    host_vm.run("modprobe -r nvme-rdma; modprobe nvme-rdma register_always=N")
    # One segment of memory is what goes without registration.
    with NvmeTarget(target_vm) as target, NvmeHost(host_vm, target) as host:
        assert host_vm.read("/sys/module/nvme_rdma/parameters/register_always").strip() == "N"
        job = host.fio("--rw=randrw", "--bs=4k", "--iodepth=8", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--size=2M")
        assert job["error"] == 0 and job["write"]["io_bytes"] > 0, job
        verify(host, size="2M")


@pytest.mark.long
def test_iser_unregistered(pair):
    """The same of iSER's initiator."""
    pair[1].run("modprobe -r ib_iser; modprobe ib_iser always_register=N")
    with IserTarget(pair[0]) as target, IserHost(pair[1], target) as host:
        assert pair[1].read("/sys/module/ib_iser/parameters/always_register").strip() == "N"
        verify(host, size="4M")


@pytest.mark.long
def test_nvme_again(pair):
    """The second connection leaves nothing behind; the kernel keeps the first one's completion queues for it."""
    warm_up(*pair)
    with nothing_new(*pair), NvmeTarget(pair[0]) as target, NvmeHost(pair[1], target) as host:
        verify(host)


@pytest.mark.long
def test_nvme_target_goes(pair):
    target_goes(*pair)


@pytest.mark.long
def test_nvme_cut(pair):
    """Without a link the host gives its connection up and tries again; requests wait, and their data is right."""
    target_vm, host_vm = pair
    warm_up(*pair)
    with nothing_new(*pair), NvmeTarget(target_vm) as target, \
            NvmeHost(host_vm, target, "--reconnect-delay=1 --keep-alive-tmo=3", patient=True) as host:
        job = start_load(host, *VERIFY, "--size=48M")
        with target_vm.link("both:cut"):
            settle(host_vm, "cat /sys/class/nvme/nvme*/state", "connecting", "giving the connection up", 60)
            assert job.poll() is None, job.text
        settle(host_vm, "cat /sys/class/nvme/nvme*/state", "live", "reconnecting", 60)
        assert job.wait(120 * host_vm.slow).code == 0, job.text
        verify(host, size="4M")


@pytest.mark.long
def test_iser(pair):
    """A SCSI disk of the kernel's iSCSI target, whose data the adapters carry."""
    with IserTarget(pair[0]) as target, IserHost(pair[1], target) as host:
        assert pair[1].run(["iscsiadm", "-m", "session"]).output.startswith("iser: ")
        sent = [machine.counters()["tx_bytes"] for machine in pair]
        verify(host)
        moved = [machine.counters()["tx_bytes"] - before for machine, before in zip(pair, sent)]
        assert min(moved) > 1 << 20, moved
    for machine in pair:
        assert machine.counters()["qps"] == 0, "queue pairs outlive the session"


def test_nfs(pair):
    with nothing_new(*pair):
        copy_and_compare(*pair)


@pytest.mark.limit(300)
def test_queue_pairs_that_do_not_stop(vm):
    """The device refuses to stop queue pairs: the kernel's are drained all the same, and the device goes on."""
    warm_up(vm, vm)
    with nothing_new(vm), NvmeTarget(vm) as target:
        with contextlib.ExitStack() as trouble, NvmeHost(vm, target):
            trouble.enter_context(vm.faults("cmd-fail=0/3:12"))
    workloads.rping(vm, 5)


@pytest.mark.long
@pytest.mark.limit(400)
def test_nvme_loopback(vm):
    warm_up(vm, vm)
    with nothing_new(vm), NvmeTarget(vm) as target, NvmeHost(vm, target) as host:
        verify(host)


@pytest.mark.long
@pytest.mark.limit(400)
def test_nvme_target_goes_loopback(vm):
    target_goes(vm, vm)


@pytest.mark.long
def test_nfs_loopback(vm):
    with nothing_new(vm, vm):
        copy_and_compare(vm, vm)
