# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with the packages: second kernel, start and restart; the driver is there and carries traffic.

DKMS builds where that is quick, in the root that becomes the machine's disk.  The tests run in this order.
"""

import os
import time

import pytest

import system
from conftest import VERSION, deb, install, scratch
from erdmalab import kernel as kernels, roots, runs, workloads
from erdmalab.vm import Adapter

ADDRESS = "10.77.0.1/24"
PACKAGES = ["dkms", "kmod", "udev", "systemd-sysv", "initramfs-tools", "python3", "iproute2", "rdma-core",
            "ibverbs-providers", "ibverbs-utils", "rdmacm-utils", "perftest"]


@pytest.fixture(scope="module")
def machine():
    kernel = roots.headers("6.1")[1][0]
    with scratch("system", "bootable", [f"linux-image-{kernel}", *PACKAGES]) as made:
        system.write(made, system.RAM_DISK)
        yield made


@pytest.fixture(scope="module")
def second():
    """Release string of the machine's second kernel."""
    return roots.headers("6.12")[1][0]


@pytest.fixture(scope="module")
def booted(machine):
    """The machine, started with its first kernel."""
    runs.build(kernels.find())
    system.prepare(machine, ADDRESS)
    run = runs.new_run("system")
    disk = system.make_disk(machine, os.path.join(run, "disk.img"))
    try:
        with system.System(os.path.join(run, "vm1"), machine, disk, machine.kernel, cpus=2,
                           adapters=[Adapter(address=ADDRESS)]) as vm:
            yield vm
    finally:
        os.unlink(disk)


def loaded_by_itself(vm, version):
    """Nobody has loaded the driver, and programs can use it."""
    vm.wait_devices(1, 60 * vm.slow)
    assert vm.read("/sys/module/erdma/version").strip() == version
    loaded = vm.read("/proc/modules")
    assert "ib_uverbs " in loaded and "rdma_ucm " in loaded
    deadline = time.monotonic() + 60 * vm.slow
    while vm.address not in vm.run(["ip", "-4", "addr"]).output:
        assert time.monotonic() < deadline, vm.run(["ip", "addr"]).output
        time.sleep(0.5)
    workloads.rping(vm, 10)
    rows = workloads.perftest(vm, "ib_write_bw", options=["-s", 4096, "-n", 100])
    assert rows[0]["average"] > 0
    assert ["driver", version] in [line.split() for line in vm.run(["eadm", "ver"]).output.splitlines()]
    vm.check_log()


def test_second_kernel_gets_its_module(machine, packages, second):
    install(machine, deb(packages, "erdma-dkms"))
    # With what it depends on.
    machine.run("apt-get", "-q", "-y", "install", machine.put(deb(packages, "eadm"), "srv/packages/eadm.deb"))
    assert machine.module() == VERSION and machine.module(second) is None
    machine.run("apt-get", "-q", "-y", "install", f"linux-image-{second}", f"linux-headers-{second}")
    assert machine.module() == VERSION and machine.module(second) == VERSION


def test_initial_ram_disk(machine, second):
    """As docs/install.md has it; only the first kernel's."""
    machine.run("/bin/sh", "-e", "-c",
                f"echo erdma >>/etc/initramfs-tools/modules && update-initramfs -u -k {machine.kernel}")
    for kernel, there in ((machine.kernel, True), (second, False)):
        content = machine.run("lsinitramfs", f"/boot/initrd.img-{kernel}").stdout
        assert ("updates/dkms/erdma.ko" in content) == there, kernel


def test_start_from_the_ram_disk(booted):
    loaded_by_itself(booted, VERSION)
    log = booted.dmesg()
    assert log.index("erdma: loading out-of-tree module") < log.index("EXT4-fs (vda): mounted")


def test_restart_into_the_second_kernel(booted, second):
    booted.reboot(second)
    assert booted.run(["uname", "-r"]).output.strip() == second
    loaded_by_itself(booted, VERSION)
