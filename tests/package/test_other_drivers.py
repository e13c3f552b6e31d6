# SPDX-License-Identifier: GPL-2.0-or-later
"""Other drivers for the adapter on the same machine: the vendor's package, and the kernel's own module.

The vendor's package is not ours to have: one that is made here takes its place, with what is known of it: its name, its
DKMS name, and configuration files in the same places.
"""

import contextlib
import os
import shutil
import subprocess

import pytest

from erdmalab.common import BUILD
from scratch import (OWN_PLACE, VERSION, Stages, add_headers, add_kernels_own, deb, debian13, debian_system, install,
                     repacked, shrink)

# Ours is here with a driver of one file.
OURS, THEIRS = "9.3.1", "9.9.9"
SCRIPTS = {
    "postinst": f"dkms add -m erdma -v {THEIRS}\nfor kernel in $(ls /lib/modules); do dkms install -m erdma -v {THEIRS} -k $kernel; done\n",
    "prerm": f"dkms remove -m erdma -v {THEIRS} --all\n",
}


def vendor_package(ours):
    """Path of a package erdma, with a later version than ours."""
    work = os.path.join(BUILD, "package", "vendor")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    subprocess.run(["dpkg-deb", "-x", ours, os.path.join(work, "ours")], check=True, timeout=60)
    root = os.path.join(work, "root")
    source = os.path.join(root, "usr", "src", f"erdma-{THEIRS}")
    shutil.copytree(os.path.join(work, "ours", "usr", "src", f"erdma-{VERSION}"), source)
    shrink(source)
    for name in ("dkms.conf", "VERSION"):
        with open(os.path.join(source, name), encoding="utf-8") as text:
            content = text.read()
        with open(os.path.join(source, name), "w", encoding="utf-8") as out:
            out.write(content.replace(VERSION, THEIRS))
    configuration = {"modprobe.d": "options erdma theirs=1\n", "modules-load.d": "erdma\n"}
    for folder, text in configuration.items():
        os.makedirs(os.path.join(root, "etc", folder))
        with open(os.path.join(root, "etc", folder, "erdma.conf"), "w", encoding="utf-8") as out:
            out.write(text)
    os.makedirs(os.path.join(root, "DEBIAN"))
    control = f"Package: erdma\nVersion: {THEIRS}\nArchitecture: all\nMaintainer: nobody\nDepends: dkms\nDescription: theirs\n"
    for name, text in {"control": control,
                       "conffiles": "".join(f"/etc/{folder}/erdma.conf\n" for folder in configuration), **SCRIPTS}.items():
        path = os.path.join(root, "DEBIAN", name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(f"#!/bin/sh\nset -e\n{text}" if name in SCRIPTS else text)
        os.chmod(path, 0o755 if name in SCRIPTS else 0o644)
    target = os.path.join(BUILD, "package", "vendor.deb")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", root, target], check=True, timeout=60, stdout=subprocess.DEVNULL)
    return target


def theirs_installed(machine):
    install(machine, vendor_package(deb(machine.packages, "erdma-dkms")))
    assert machine.module() == THEIRS
    # As an operator leaves it.
    with open(machine.file("etc/modprobe.d/erdma.conf"), "a", encoding="utf-8") as text:
        text.write("options erdma vectors=4\n")


def ours_installed(machine):
    package = machine.put(repacked(machine.packages, OURS), "srv/packages/ours.deb")
    # dpkg asks about a configuration file that was changed; this is its default, to keep it.
    machine.said = machine.run("dpkg", "--force-confdef", "-i", package).stdout


@contextlib.contextmanager
def debian13_with_headers():
    with debian13() as machine:
        machine.kernel = add_headers(machine, "amd64")[0]
        machine.before = machine.tree()
        yield machine


@pytest.fixture(scope="module", params=["debian12", "debian13"])
def life(packages, request):
    made = debian_system(request.module.__name__) if request.param == "debian12" else debian13_with_headers
    stages = Stages(made, {
        "theirs": ("fresh", theirs_installed), "replaced": ("theirs", ours_installed),
        "purged": ("replaced", lambda machine: machine.run("dpkg", "-P", "erdma-dkms", "erdma")),
        "own": ("purged", add_kernels_own),
        "beside": ("own", ours_installed),
        "alone": ("beside", lambda machine: machine.run("dpkg", "-P", "erdma-dkms"))}, packages=packages)
    yield stages
    stages.close()


def test_takes_the_place_of_the_vendors(life):
    machine = life.at("replaced")
    print(machine.said)
    assert machine.module() == OURS and "/updates/dkms/" in machine.where()
    status = machine.run("dkms", "status", "erdma").stdout
    assert f"erdma/{OURS}" in status and THEIRS not in status
    assert "ii" not in machine.run("dpkg-query", "-W", "-f", "${db:Status-Abbrev}", "erdma", check=False).stdout
    # What the operator wrote stays in force.
    assert "options erdma vectors=4" in machine.read("etc/modprobe.d/erdma.conf")


def test_the_vendors_is_not_installed_beside(life):
    machine = life.within("replaced")
    package = machine.put(vendor_package(deb(machine.packages, "erdma-dkms")), "srv/packages/vendor.deb")
    result = machine.run("dpkg", "-i", package, check=False)
    assert result.returncode and "conflict" in result.stdout
    assert machine.module() == OURS


def test_the_vendors_leftovers_can_be_purged(life):
    machine = life.within("replaced")
    machine.run("dpkg", "-P", "erdma", check=False)
    assert "options erdma vectors=4" in machine.read("etc/modprobe.d/erdma.conf")
    assert machine.module() == OURS


def test_nothing_is_left_of_both(life):
    machine = life.at("purged")
    assert machine.module() is None
    left = {path for path in machine.tree() - machine.before if not path.startswith(f"usr/lib/modules/{machine.kernel}/modules.")}
    assert left == set()


def test_goes_before_the_kernels_own(life):
    machine = life.at("beside")
    assert machine.module() == OURS and "/updates/dkms/" in machine.where()
    assert "installed" in machine.run("dkms", "status", "erdma").stdout


def test_built_anew_beside_the_kernels_own(life):
    """DKMS compares versions, of which the kernel's own has none, and checks what it finds in its place."""
    machine = life.within("beside")
    machine.run("dkms", "uninstall", f"erdma/{OURS}", "-k", machine.kernel)
    assert machine.where().endswith(OWN_PLACE)
    machine.run("dkms", "autoinstall", "-k", machine.kernel)
    assert machine.module() == OURS


def test_given_back_when_dkms_forgot(life):
    """After a build that failed DKMS knows of no module that is installed."""
    machine = life.within("beside")
    with life.changed_to("alone"):
        compiler = machine.file("usr/bin/make")
        os.rename(compiler, compiler + ".hidden")
        try:
            assert machine.run("dkms", "build", "--force", f"erdma/{OURS}", "-k", machine.kernel, check=False).returncode
        finally:
            os.rename(compiler + ".hidden", compiler)
        machine.run("dpkg", "-P", "erdma-dkms")
    assert machine.where().endswith(OWN_PLACE)


def test_the_kernels_own_is_there_again(life):
    machine = life.at("alone")
    assert machine.where().endswith(OWN_PLACE)
