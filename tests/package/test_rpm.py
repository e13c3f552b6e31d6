# SPDX-License-Identifier: GPL-2.0-or-later
"""The RPM packages' life in a scratch root, by Debian's rpm."""

import glob
import hashlib
import os
import re
import shutil
import subprocess

import pytest

from erdmalab.roots import copy_of_tree
from scratch import OWN_PLACE, TOP, VERSION, Stages, add_kernels_own, build_rpms, debian_system, shrink

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


def digest(path):
    with open(path, "rb") as content:
        return hashlib.sha256(content.read()).hexdigest()


def test_tarball_and_source_package_are_reproducible(tmp_path):
    """Of the same files: with and without git, with other dates, rights and leftovers, and of what a tarball has."""
    trees = {name: copy_of_tree(str(tmp_path / name)) for name in ("plain", "git", "other")}
    subprocess.run("git init -q && git add -A && mkdir -p build && touch build/x src/x.pyc", shell=True, check=True,
                   cwd=trees["git"], timeout=60)
    subprocess.run("chmod -R g+w,o-r . && find . -type f | xargs touch && mkdir -p build src/__pycache__ && "
                   "touch build/x src/__pycache__/x.pyc", shell=True, check=True, cwd=trees["other"], timeout=60)

    def digests(name):
        # Source packages name the folder that they were made in.
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        subprocess.run(["make", "-C", os.path.join(trees[name], "rpm"), "srpm", f"OUT={out}"], check=True, timeout=300,
                       stdout=subprocess.DEVNULL)
        return digest(out / "SOURCES" / f"erdma-{VERSION}.tar.gz"), digest(out / "SRPMS" / f"erdma-{VERSION}-1.src.rpm")

    found = {name: digests(name) for name in trees}
    subprocess.run(["tar", "-xf", tmp_path / "out" / "SOURCES" / f"erdma-{VERSION}.tar.gz", "-C", tmp_path], check=True,
                   timeout=60)
    trees["unpacked"] = str(tmp_path / f"erdma-{VERSION}")
    assert {digests("unpacked"), *found.values()} == {found["plain"]}


def test_source_package_builds(tmp_path):
    """Anywhere, with what is in it; the driver's package takes seconds."""
    built = build_rpms("srpm", "srpm")
    source = glob.glob(os.path.join(built, "SRPMS", "*.src.rpm"))
    assert len(source) == 1
    subprocess.run(["rpmbuild", "--nodeps", "--without", "eadm", "--define", f"_topdir {tmp_path}", "--define", "dist .el9",
                    "--rebuild", *source], check=True, timeout=300, stdout=subprocess.DEVNULL)
    assert os.path.exists(tmp_path / "RPMS" / "noarch" / f"erdma-dkms-{VERSION}-1.el9.noarch.rpm")


def test_debug_information_is_apart(rpms):
    """Of programs that were compiled with the distribution's options."""
    listed = subprocess.run(["rpm", "-qlp", rpm(rpms, "eadm-debuginfo")], check=True, text=True, timeout=60,
                            stdout=subprocess.PIPE).stdout
    assert re.search(r"(?m)^/usr/lib/debug/usr/bin/eadm\S*\.debug$", listed)


def test_takes_the_place_of_the_vendors(rpms):
    """Of a package named erdma, which has the same files."""
    package = rpm(rpms, "erdma-dkms")
    for question in ("--conflicts", "--provides"):
        said = subprocess.run(["rpm", "-qp", question, package], check=True, text=True, timeout=60, stdout=subprocess.PIPE).stdout
        assert re.search(r"(?m)^erdma( =|$)", said), said


def first_installation(machine):
    inside = machine.put(rpm(machine.rpms, "erdma-dkms"), "srv/packages/erdma-dkms.rpm")
    # Debian's packages provide what is required, under names that rpm does not know.
    machine.run("rpm", "-i", "--nodeps", inside)


def upgrade(machine):
    with open(machine.file("etc/modprobe.d/erdma.conf"), "a", encoding="utf-8") as text:
        text.write("options erdma vectors=4\n")
    print(machine.run("rpm", "-U", "--nodeps", later(machine, NEWER)).stdout)


def upgraded_without_compiler(machine, package):
    compiler = machine.file("usr/bin/gcc-12")
    os.rename(compiler, compiler + ".hidden")
    try:
        result = machine.run("rpm", "-U", "--nodeps", package, check=False)
    finally:
        os.rename(compiler + ".hidden", compiler)
    print(result.stdout)
    return result


def upgrade_that_does_not_build(machine):
    """While there is no compiler."""
    result = upgraded_without_compiler(machine, later(machine, NEWEST))
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
    left -= {"usr/share/licenses", "usr/share/man/man4", "etc/modules-load.d", "etc/security", "etc/security/limits.d"}
    # What the operator changed is kept, as rpm does it.
    assert left == {"etc/modprobe.d/erdma.conf.rpmsave", "etc/modprobe.d/erdma.conf.rpmnew"}


def test_where_dkms_puts_modules_elsewhere():
    """On RHEL and its relatives DKMS puts modules into extra, and away what the kernel has of its own."""
    with debian_system("rhel")() as machine:
        with open(machine.file("etc/os-release"), "w", encoding="utf-8") as out:
            out.write("ID=el\nID_LIKE=rhel\n")
        add_kernels_own(machine)
        machine.run("rpm", "-i", "--nodeps", later(machine, NEWER))
        place = f"/lib/modules/{machine.kernel}/extra/erdma.ko"
        assert machine.where() == place and machine.module() == NEWER
        result = upgraded_without_compiler(machine, later(machine, NEWEST))
        assert f"{machine.kernel} keeps the module of version {NEWER}" in result.stdout
        assert machine.where() == place and machine.module() == NEWER
        machine.run("rpm", "-e", "erdma-dkms")
        assert machine.where().endswith(OWN_PLACE)
        assert not os.path.exists(machine.file("var/lib/dkms/erdma"))
        # And without the detour.
        machine.run("rpm", "-i", "--nodeps", later(machine, NEWEST))
        assert machine.where() == place and machine.module() == NEWEST
        machine.run("rpm", "-e", "erdma-dkms")
        assert machine.where().endswith(OWN_PLACE)
