# SPDX-License-Identifier: GPL-2.0-or-later
"""The RPM packages' life in a scratch root, by Debian's rpm."""

import glob
import os
import re
import subprocess

import pytest

from scratch import TOP, VERSION, Stages, build_rpms, debian_system, shrink

NEWER, NEWEST = "9.0.1", "9.0.2"


def rpm(folder, name, version=VERSION):
    found = glob.glob(os.path.join(folder, "RPMS", "*", f"{name}-{version}-1.*.rpm"))
    assert len(found) == 1, f"{name} in {folder}: {found}"
    return found[0]


def later(machine, version):
    """Path in the machine of a later version's package, which has something to say in a configuration file."""
    def change(tree):
        shrink(tree)
        with open(os.path.join(tree, "VERSION"), "w", encoding="utf-8") as out:
            out.write(f"{version}\n")
        with open(os.path.join(tree, "packaging", "modprobe.conf"), "a", encoding="utf-8") as out:
            out.write("# A newer package's remark.\n")
    built = build_rpms(f"rpm-{version}", "driver", change)
    return machine.put(rpm(built, "erdma-dkms", version), f"srv/packages/{version}.rpm")


def test_rpmlint(rpms):
    result = subprocess.run(["rpmlint", "-r", os.path.join(TOP, "rpm", "erdma.rpmlintrc"),
                             *glob.glob(os.path.join(rpms, "RPMS", "*", "*.rpm"))], text=True, timeout=300,
                            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert not re.findall(r"(?m)^\S+: [EW]: .*", result.stdout), result.stdout
    assert re.search(r"[1-9]\d* packages? and .* 0 errors, 0 warnings", result.stdout), result.stdout


def first_installation(machine):
    inside = machine.put(rpm(machine.rpms, "erdma-dkms"), "srv/packages/erdma-dkms.rpm")
    # Debian's packages provide what is required, under names that rpm does not know.
    machine.run("rpm", "-i", "--nodeps", inside)


def upgrade(machine):
    with open(machine.file("etc/modprobe.d/erdma.conf"), "a", encoding="utf-8") as text:
        text.write("options erdma vectors=4\n")
    print(machine.run("rpm", "-U", "--nodeps", later(machine, NEWER)).stdout)


def upgrade_that_does_not_build(machine):
    """While there is no compiler."""
    package = later(machine, NEWEST)
    compiler = machine.file("usr/bin/gcc-12")
    os.rename(compiler, compiler + ".hidden")
    try:
        result = machine.run("rpm", "-U", "--nodeps", package, check=False)
    finally:
        os.rename(compiler + ".hidden", compiler)
    print(result.stdout)
    assert "the compiler gcc-12 is missing; install it" in result.stdout
    assert f"version {NEWEST} was not built for {machine.kernel}" in result.stdout
    assert f"{machine.kernel} keeps the module of version {NEWER}" in result.stdout
    assert machine.module() == NEWER
    # Once the reason is gone, what the message says mends it.
    advice = re.search(r"dkms install --force \S+ -k \S+", result.stdout)[0]
    machine.run("/bin/sh", "-e", "-c", advice)


@pytest.fixture(scope="module")
def life(rpms, request):
    stages = Stages(debian_system(request.module.__name__), {
        "installed": ("fresh", first_installation), "newer": ("installed", upgrade),
        "newest": ("newer", upgrade_that_does_not_build),
        "erased": ("newest", lambda machine: machine.run("rpm", "-e", "erdma-dkms"))}, rpms=rpms)
    yield stages
    stages.close()


def test_install_builds_the_module(life):
    machine = life.at("installed")
    assert machine.module() == VERSION
    assert "/etc/modules-load.d/erdma.conf" in machine.run("rpm", "-q", "--configfiles", "erdma-dkms").stdout


def test_upgrade(life):
    machine = life.at("newer")
    assert machine.module() == NEWER
    status = machine.run("dkms", "status", "erdma").stdout
    assert NEWER in status and VERSION not in status
    assert not os.path.exists(machine.file(f"usr/src/erdma-{VERSION}"))
    # The operator's file stays, what the package has for it lies beside.
    assert "vectors=4" in machine.read("etc/modprobe.d/erdma.conf")
    assert "A newer package's remark" in machine.read("etc/modprobe.d/erdma.conf.rpmnew")


def test_upgrade_that_does_not_build(life):
    assert life.at("newest").module() == NEWEST


def test_erase_removes_it(life):
    machine = life.at("erased")
    assert machine.module() is None
    left = {path for path in machine.tree() - machine.before
            if not path.startswith(f"usr/lib/modules/{machine.kernel}/modules.")}
    # These folders are there on a system that rpm has made, and here if another package has them.
    left -= {"usr/share/licenses", "usr/share/man/man4", "etc/modules-load.d"}
    # What the operator changed is kept, as rpm does it.
    assert left == {"etc/modprobe.d/erdma.conf.rpmsave", "etc/modprobe.d/erdma.conf.rpmnew"}
