# SPDX-License-Identifier: GPL-2.0-or-later
"""The RPM packages, installed into a scratch root by Debian's rpm."""

import glob
import os
import re
import subprocess

from conftest import TOP, VERSION


def rpm(folder, name):
    found = glob.glob(os.path.join(folder, "RPMS", "*", f"{name}-{VERSION}-1.*.rpm"))
    assert len(found) == 1, f"{name} in {folder}: {found}"
    return found[0]


def test_rpmlint(rpms):
    result = subprocess.run(["rpmlint", "-r", os.path.join(TOP, "rpm", "erdma.rpmlintrc"),
                             *glob.glob(os.path.join(rpms, "RPMS", "*", "*.rpm"))], text=True, timeout=300,
                            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert not re.findall(r"(?m)^\S+: [EW]: .*", result.stdout), result.stdout


def test_install_builds_the_module(machine, rpms):
    inside = machine.put(rpm(rpms, "erdma-dkms"), "srv/packages/erdma-dkms.rpm")
    # Debian's packages provide what is required, under names that rpm does not know.
    machine.run("rpm", "-i", "--nodeps", inside)
    assert machine.module() == VERSION
    assert "/etc/modules-load.d/erdma.conf" in machine.run("rpm", "-q", "--configfiles", "erdma-dkms").stdout


def test_erase_removes_it(machine):
    machine.run("rpm", "-e", "erdma-dkms")
    assert machine.module() is None
    for left in (f"usr/src/erdma-{VERSION}", "etc/modules-load.d/erdma.conf", "etc/modprobe.d/erdma.conf",
                 "var/lib/dkms/erdma"):
        assert not os.path.exists(machine.file(left)), left
