# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's kernel crashes, and a second one (kdump) finds an adapter that is still at work for the first."""

import os
import time

import pytest

from erdmalab import initramfs, workloads
from erdmalab.channel import Channel
from support import wait


# kexec-tools would do it; on the machine of whoever installs it, it also takes over every reboot.
KEEP_FOR_CRASH = """
import ctypes, os, sys
KEXEC_FILE_LOAD, ON_CRASH = 320, 2  # x86-64
image, initrd = (os.open(path, os.O_RDONLY) for path in sys.argv[1:3])
line = sys.argv[3].encode() + b"\\0"
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(ctypes.c_long(KEXEC_FILE_LOAD), image, initrd, ctypes.c_ulong(len(line)), line, ctypes.c_ulong(ON_CRASH)):
    sys.exit(f"kexec_file_load: {os.strerror(ctypes.get_errno())}")
"""


def booted(machine):
    with open(os.path.join(machine.directory, "console.log"), encoding="utf-8", errors="replace") as console:
        return console.read().count("lab-init: ready")


def crash(machine):
    """The guest's kernel crashes; the one that it has kept for that takes over, without a word to any device."""
    words = machine.read("/proc/cmdline").split()
    line = " ".join(word for word in words if not word.startswith("crashkernel=")) + " nr_cpus=1 reset_devices"
    machine.run(["/usr/bin/python3", "-c", KEEP_FOR_CRASH, machine.kernel.image, initramfs.make(machine.kernel), line],
                timeout=60 * machine.slow)
    machine.popen("echo c > /proc/sysrq-trigger")
    # The agent of the first kernel would answer, too, while it lives.
    wait("the second kernel", lambda: booted(machine) == 2, 120 * machine.slow)
    machine.channel.close()
    machine.channel = Channel(os.path.join(machine.directory, "lab.sock"), machine.alive)
    machine.channel.connect(120 * machine.slow)
    assert "vmcore" in machine.run("ls /proc").output, "this is not the second kernel"


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(900)
def test_second_kernel(vms):
    """A kernel crashes while a peer writes into its memory by RDMA; another one takes over the live device.  From its
    start of the driver on, not one octet of the first kernel's memory changes."""
    client, server = vms(2, memory=640, append="crashkernel=256M")
    port = str(workloads.next_port())
    listening = server.popen(["ib_write_bw", "-R", "-F", "-p", port, "-D", "600", "-s", "65536"])
    workloads.wait_listener(server, int(port), listening)
    writing = client.popen(["ib_write_bw", "-R", "-F", "-p", port, "-D", "600", "-s", "65536", server.address])

    def received():
        return server.counters()["rx_bytes"]

    def first_memory():
        return server.run("md5sum < /proc/vmcore", timeout=240 * server.slow).output

    begin = received()
    while received() < begin + (8 << 20):
        assert writing.code is None, writing.text
        time.sleep(0.2)
    with server.allow("sysrq: Trigger a crash", "Kernel panic", "Oops", "Call Trace", "unable to handle", "BUG: "):
        crash(server)
    before = received()
    time.sleep(1)
    assert received() > before, "nobody writes any more"
    server.load_driver()
    memory, count = first_memory(), received()
    time.sleep(2)
    assert (first_memory(), received()) == (memory, count), "the first kernel's memory was written"
    workloads.rping(server, 5)
    writing.kill()
