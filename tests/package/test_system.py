# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with the packages: second kernel, restarts, upgrade and removal while connections are open.

DKMS builds where that is quick, in the root that becomes the machine's disk, for the upgrade as well: the newer package
brings that build along in the form that DKMS has for this.
"""

import contextlib
import glob
import os
import re
import shutil
import time

import pytest

import system
from erdmalab import kernel as kernels, roots, runs, workloads
from erdmalab.vm import Adapter
from scratch import VERSION, Stages, deb, install, repacked, scratch

NEWER = "9.0.5"
ADDRESS = "10.77.0.1/24"
PACKAGES = ["dkms", "kmod", "udev", "systemd-sysv", "initramfs-tools", "python3", "iproute2", "rdma-core",
            "ibverbs-providers", "ibverbs-utils", "rdmacm-utils", "perftest"]


@contextlib.contextmanager
def bootable():
    kernel = roots.headers("6.1")[1]
    with scratch("system", "bootable", [f"linux-image-{kernel}", *PACKAGES]) as made:
        system.write(made, system.RAM_DISK)
        made.before = made.tree()
        yield made


@pytest.fixture(scope="module")
def second():
    """Release string of the machine's second kernel."""
    return roots.headers("6.12")[1]


def built_for(machine, release):
    """For repacked(): adds what DKMS makes of the package's source in the machine's root."""
    def change(tree):
        name = os.path.basename(tree)
        shutil.copytree(tree, machine.file("usr/src", name))
        machine.run("/bin/sh", "-e", "-c", f"""
            dkms build erdma/{NEWER} -k {release}
            dkms mktarball --binaries-only erdma/{NEWER} -k {release} --archive=/srv/packages/{name}.dkms.tar.gz
            dkms remove erdma/{NEWER} --all
            rm -r /usr/src/{name}""")
        shared = os.path.join(tree, os.pardir, os.pardir, "share", "erdma-dkms")
        os.makedirs(shared)
        shutil.copy(machine.file("srv/packages", f"{name}.dkms.tar.gz"), shared)
    return change


def install_and_add_a_kernel(machine):
    """A kernel that is installed later gets its module at once."""
    install(machine, deb(machine.packages, "erdma-dkms"))
    # With what it depends on.
    machine.run("apt-get", "-q", "-y", "install", machine.put(deb(machine.packages, "eadm"), "srv/packages/eadm.deb"))
    second = machine.second
    assert machine.module() == VERSION and machine.module(second) is None
    machine.run("apt-get", "-q", "-y", "install", f"linux-image-{second}", f"linux-headers-{second}")


def change_the_ram_disk(machine):
    """As docs/install.md has it; only the first kernel's."""
    machine.run("/bin/sh", "-e", "-c",
                f"echo erdma >>/etc/initramfs-tools/modules && update-initramfs -u -k {machine.kernel}")


def make_ready(machine):
    """A newer package is at hand, and the machine can become a VM's disk."""
    runs.build(kernels.find())
    machine.put(repacked(machine.packages, NEWER, built_for(machine, machine.second)), "srv/packages/newer.deb")
    system.prepare(machine, ADDRESS)


@pytest.fixture(scope="module")
def root(packages, second):
    """The machine's file system before it starts."""
    stages = Stages(bootable, {"two kernels": ("fresh", install_and_add_a_kernel),
                               "ram disk": ("two kernels", change_the_ram_disk),
                               "ready": ("ram disk", make_ready)}, packages=packages, second=second)
    yield stages
    stages.close()


@pytest.fixture(scope="module")
def life(root, second):
    """The machine, started with its first kernel; then what happens to it as a VM."""
    @contextlib.contextmanager
    def started():
        machine = root.at("ready")
        run = runs.new_run("system")
        disk = system.make_disk(machine, os.path.join(run, "disk.img"))
        try:
            with system.System(os.path.join(run, "vm1"), machine, disk, machine.kernel,
                               adapters=[Adapter(address=ADDRESS)]) as vm:
                yield vm
        finally:
            os.unlink(disk)

    stages = Stages(started, {"second kernel": ("fresh", lambda vm: vm.reboot(second)),
                              "upgraded": ("second kernel", upgrade_under_connections),
                              "removed": ("upgraded", remove_in_use)}, second=second)
    yield stages
    stages.close()


def works(vm, version):
    """The driver of this version is loaded, though not by the lab, and programs can use it."""
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


def test_second_kernel_gets_its_module(root, second):
    machine = root.within("two kernels", "ram disk", "ready")
    assert machine.module() == VERSION and machine.module(second) == VERSION


def test_initial_ram_disk(root, second):
    machine = root.within("ram disk", "ready")
    for kernel, there in ((machine.kernel, True), (second, False)):
        content = machine.run("lsinitramfs", f"/boot/initrd.img-{kernel}").stdout
        assert ("updates/dkms/erdma.ko" in content) == there, kernel


def test_start_from_the_ram_disk(life):
    vm = life.at("fresh")
    works(vm, VERSION)
    log = vm.dmesg()
    assert log.index("erdma: loading out-of-tree module") < log.index("EXT4-fs (vda): mounted")


def test_everybody_may_ask_at_once(life):
    """eadm's rule counts for the device of the driver that is loaded, which makes it root's own."""
    vm = life.within("fresh", "second kernel")
    vm.run(["chmod", "600", "/dev/erdma"])
    vm.run(["dpkg", "-i", "/srv/packages/eadm.deb"], timeout=300 * vm.slow)
    deadline = time.monotonic() + 30 * vm.slow
    while vm.run(["stat", "-c", "%a", "/dev/erdma"]).output.strip() != "666":
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_restart_into_the_second_kernel(life, second):
    vm = life.at("second kernel")
    assert vm.run(["uname", "-r"]).output.strip() == second
    works(vm, VERSION)


class Connection:
    """An rping that goes on whenever works() is asked, and sleeps in between."""

    def __init__(self, vm):
        self.vm, port = vm, workloads.next_port()
        common = ["-a", vm.address, "-p", str(port), "-v"]
        self.server = vm.popen(["rping", "-s", *common])
        workloads.wait_listener(vm, port, self.server)
        self.client = vm.popen(["rping", "-c", *common])
        self.works()

    def signal(self, name):
        self.vm.run(f"kill -{name} $(pidof rping)")

    def works(self):
        """More data goes over it."""
        before, deadline = len(self.client.output), time.monotonic() + 120 * self.vm.slow
        self.signal("CONT")
        while len(self.client.output) == before:
            assert self.server.code is None and self.client.code is None, self.client.text
            assert time.monotonic() < deadline, self.client.text
            time.sleep(0.2)
        self.signal("STOP")

    def close(self):
        self.signal("KILL")
        for job in (self.client, self.server):
            job.wait(60)


def upgrade_under_connections(vm):
    connection = Connection(vm)
    result = vm.run(["dpkg", "-i", "/srv/packages/newer.deb"], timeout=600 * vm.slow)
    connection.works()
    assert f"erdma: version {VERSION} keeps running; {NEWER} takes over" in result.errors
    assert vm.read("/sys/module/erdma/version").strip() == VERSION
    # DKMS builds for the running kernel; the other one is not left without.
    for kernel, version in ((vm.second, NEWER), (vm.machine.kernel, VERSION)):
        assert vm.run(["modinfo", "-k", kernel, "-F", "version", "erdma"]).output.strip() == version
    connection.close()
    # What the message says.
    vm.run(re.search(r"rmmod erdma && modprobe erdma", result.errors)[0], timeout=60 * vm.slow)


def test_upgrade_under_connections(life):
    works(life.at("upgraded"), NEWER)


def remove_in_use(vm):
    connection = Connection(vm)
    result = vm.run(["dpkg", "-P", "erdma-dkms"], timeout=600 * vm.slow)
    assert "the module stays loaded until 'rmmod erdma'" in result.errors
    connection.works()
    assert vm.run(["modinfo", "erdma"], check=False).code
    connection.close()
    vm.run(["rmmod", "erdma"], timeout=60 * vm.slow)


def test_removal_in_use(life):
    vm = life.at("removed")
    assert not vm.driver_loaded()
    vm.check_log()


def owned(machine):
    """Paths of all packages but the driver's."""
    paths = set()
    for name in glob.glob(machine.file("var/lib/dpkg/info/*.list")):
        if os.path.basename(name) != "erdma-dkms.list":
            with open(name, encoding="utf-8") as text:
                # Packages may name a folder by the link that stands in its place.
                paths.update(re.sub(r"^/(?=(bin|sbin|lib|lib64)/)", "/usr/", line) for line in text.read().splitlines())
    return paths


# What systems, package managers and depmod write for themselves, and what the test put there.
OTHERS = re.compile(r"/(var/(lib/(dpkg|apt|systemd)|cache|log)|tmp|lost\+found|boot/initrd\.img-[^/]+|srv/packages|"
                    r"usr/lib/modules/[^/]+/modules\.[^/]+|etc/(systemd/(system|network)|resolv\.conf|ld\.so\.cache)|"
                    r"usr/local/lib/lab|)(/|$)")


def test_nothing_is_left(life):
    vm = life.at("removed")
    listed = vm.run("find / -xdev", timeout=300 * vm.slow).output.splitlines()
    assert f"/lib/modules/{vm.machine.kernel}" in {path.removeprefix("/usr") for path in listed}
    new = set(listed) - owned(vm.machine) - {f"/{path}" for path in vm.machine.before}
    assert not {path for path in new if not OTHERS.match(path)}
    assert not {path for path in new if "erdma" in path and not path.startswith("/srv/packages/")}
