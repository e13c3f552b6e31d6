# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab itself: the guest boots as promised, commands and the log watch work."""

import os
import signal
import time

import pytest

from erdmalab.common import LabTimeout
from erdmalab.watch import GuestTrouble


def test_guest_environment(vm):
    assert vm.run(["uname", "-r"]).output.strip() == vm.kernel.version
    assert vm.run("ulimit -l; ulimit -c").output.split() == ["unlimited", "unlimited"]
    for path in ("/proc/1", "/sys/class", "/dev/shm", "/run", "/tmp", "/sys/kernel/debug/tracing/.."):
        assert vm.run(["test", "-d", path], check=False).code == 0, path
    assert vm.address in vm.run(["ip", "-4", "addr", "show", "up"]).output


def test_clock(vm):
    """The guest's clock runs as fast as ours; time limits in the guest mean nothing otherwise."""
    def both():
        before = time.monotonic()
        guest = float(vm.read("/proc/uptime").split()[0])
        return guest, (before + time.monotonic()) / 2

    guest, host = both()
    time.sleep(10)
    later, end = both()
    assert 0.8 < (later - guest) / (end - host) < 1.25, (later - guest, end - host)


def test_commands(vm):
    result = vm.run("echo out; echo err >&2; exit 7", check=False)
    assert (result.code, result.output, result.errors) == (7, "out\n", "err\n")
    job = vm.popen(["cat"], stdin=True)
    job.send("through the guest")
    job.close_input()
    assert job.wait(20, check=True).output == "through the guest"
    sleeper = vm.popen(["sleep", "1000"])
    time.sleep(0.2)
    sleeper.kill(signal.SIGTERM)
    assert sleeper.wait(20).code == -signal.SIGTERM
    with pytest.raises(LabTimeout):
        vm.run("sleep 1000", timeout=1)
    assert vm.run(["/does/not/exist"], check=False).code == 127


def test_much_output(vm):
    result = vm.run("head -c 8000000 /dev/zero | tr '\\0' x")
    assert result.output == "x" * 8000000


def test_share_and_root(vm):
    vm.run("echo from the guest > /share/note; echo scratch > /etc/lab-scratch")
    with open(os.path.join(vm.share, "note"), encoding="utf-8") as note:
        assert note.read() == "from the guest\n"
    assert not os.path.exists("/etc/lab-scratch")
    assert vm.read(os.path.abspath(__file__)) == open(__file__, encoding="utf-8").read()


def test_watch_sees_a_warning(vm):
    with vm.allow("WARNING: made by a test"):
        vm.run("echo '<4>WARNING: made by a test' > /dev/kmsg")
    vm.run("echo '<4>WARNING: made by another test' > /dev/kmsg")
    with pytest.raises(GuestTrouble, match="made by another test"):
        vm.check_log()
