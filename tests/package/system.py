# SPDX-License-Identifier: GPL-2.0-or-later
"""A scratch root made into a disk, and a VM that starts from it as a machine does: its own RAM disk, systemd, udev."""

import os
import re
import subprocess

from erdmalab import kernel as kernels, roots
from erdmalab.common import GUEST_FILES
from erdmalab.vm import Vm

AGENT = "usr/local/lib/lab"
PORT = "/dev/virtio-ports/org.erdma.lab"
# A RAM disk that has what this machine needs is made, and unpacked under emulation, in a fraction of the time.
RAM_DISK = {
    "etc/initramfs-tools/conf.d/small": "MODULES=list\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
}
NEEDED = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "ext4", "erdma", "ib_uverbs", "rdma_ucm"]
FILES = {
    "etc/hostname": "machine\n",
    "etc/fstab": "/dev/vda / ext4 defaults 0 0\n",
    "etc/systemd/network/all.network": "[Match]\nType=ether\n[Network]\nAddress={address}\nLinkLocalAddressing=no\n",
    "etc/systemd/system/lab-agent.service": f"""[Unit]
ConditionPathExists=/{AGENT}/agent.py
[Service]
ExecStart=/usr/bin/python3 -ISB /{AGENT}/agent.py {PORT}
Restart=always
RestartSec=1
KillSignal=SIGKILL
[Install]
WantedBy=multi-user.target
""",
}


def write(machine, files):
    for name, text in files.items():
        os.makedirs(os.path.dirname(machine.file(name)), exist_ok=True)
        with open(machine.file(name), "w", encoding="utf-8") as out:
            out.write(text)


def thin_out(machine, release):
    """Leave of a kernel's modules what the machine needs: depmod reads them all, for minutes under emulation."""
    needed = set()
    for name in NEEDED:
        shown = machine.run("modprobe", "-S", release, "--show-depends", name).stdout
        needed.update(re.findall(r"(?m)^insmod /lib/(\S+)", shown))
    for folder, _, names in os.walk(machine.file("lib/modules", release, "kernel")):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.relpath(path, machine.file("lib")) not in needed:
                os.unlink(path)
    machine.run("depmod", release)


def prepare(machine, address):
    """Add to a scratch root what a VM needs that the lab talks to."""
    for release in os.listdir(machine.file("lib/modules")):
        thin_out(machine, release)
    for name in ("agent.py", "frames.py"):
        machine.put(os.path.join(GUEST_FILES, name), os.path.join(AGENT, name))
    write(machine, {name: text.replace("{address}", address) for name, text in FILES.items()})
    machine.run("systemctl", "enable", "systemd-networkd", "lab-agent")


def make_disk(machine, path):
    """An ext4 disk image with the root's content."""
    if os.path.exists(path):
        os.unlink(path)
    subprocess.run([*roots.privileged(), "mke2fs", "-q", "-F", "-t", "ext4", "-d", machine.path, path, "6G"],
                   check=True, timeout=900, stdout=subprocess.DEVNULL)
    return path


class System(Vm):
    """A VM with a disk.  release: the kernel that the boot loader, here QEMU, takes from the root's /boot."""

    def __init__(self, directory, machine, disk, release, **settings):
        super().__init__(directory, kernel=self.kernel_of(machine, release), **settings)
        self.machine, self.disk = machine, disk

    @staticmethod
    def kernel_of(machine, release):
        return kernels.Kernel(release, machine.file(f"boot/vmlinuz-{release}"),
                              machine.file(f"lib/modules/{release}"), None)

    def boot_arguments(self):
        return ["-kernel", self.kernel.image, "-initrd", self.machine.file(f"boot/initrd.img-{self.kernel.version}"),
                "-append", " ".join(["root=/dev/vda rw console=ttyS0,115200 loglevel=7 panic=-1 no_timer_check",
                                     "mitigations=off tsc=reliable random.trust_cpu=on", *self.clock_parameters()]),
                "-drive", f"file={self.disk},format=raw,if=none,id=disk,cache=unsafe",
                "-device", "virtio-blk-pci,drive=disk"]

    def start(self, timeout=None):
        return super().start(timeout or 300 * self.slow)

    def reboot(self, release=None):
        """Restart from inside, into another kernel if one is named."""
        self.popen(["systemctl", "reboot"])
        self.process.wait(timeout=120 * self.slow)
        self.stop()
        if release:
            self.kernel = self.kernel_of(self.machine, release)
        return self.start()
