# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of erdma-dkms on a Debian system."""

import glob
import os
import re
import shutil
import subprocess

import pytest

from erdmalab.common import BUILD
from erdmalab.roots import copy_of_tree
from scratch import VERSION, Stages, deb, debian_system, install, repacked, shrink

NEWER, BROKEN = "9.0.1", "9.0.2"


def test_lintian(packages):
    changes = sorted(glob.glob(os.path.join(packages, "erdma_*.changes")))
    result = subprocess.run(["lintian", "-I", "--tag-display-limit", "0", changes[-1]], text=True, timeout=300,
                            check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # Its code says whether it worked, and of errors, not of warnings.
    assert result.returncode == 0, result.stdout + result.stderr
    assert not re.findall(r"(?m)^[EWI]: .*", result.stdout), result.stdout


def test_version_has_one_source():
    """debian/changelog is the one copy of VERSION, since Debian's tools read nothing else."""
    tree = copy_of_tree(os.path.join(BUILD, "package", "version-tree"))
    with open(os.path.join(tree, "debian", "changelog"), encoding="utf-8") as text:
        assert re.match(r"erdma \(([^)]*)\)", text.readline())[1] == VERSION
    with open(os.path.join(tree, "VERSION"), "w", encoding="utf-8") as out:
        out.write("8.8.8\n")
    result = subprocess.run(["make", "-f", "debian/rules", "execute_before_dh_auto_configure"], cwd=tree, text=True,
                            timeout=60, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode and "VERSION says 8.8.8" in result.stdout


def first_installation(machine):
    install(machine, deb(machine.packages, "erdma-dkms"))


def upgrade(machine):
    with open(machine.file("etc/modprobe.d/erdma.conf"), "a", encoding="utf-8") as text:
        text.write("options erdma vectors=4\n")
    install(machine, repacked(machine.packages, NEWER))


def broken_upgrade(machine):
    """The old module stays, and what the message says mends it."""
    def spoil(tree):
        shrink(tree)
        with open(os.path.join(tree, "src", "erdma.c"), "a", encoding="utf-8") as out:
            out.write("#error \"spoilt on purpose\"\n")
    result = install(machine, repacked(machine.packages, BROKEN, spoil), check=False)
    assert result.returncode
    assert machine.module() == NEWER
    assert f"version {BROKEN} was not built for {machine.kernel}" in result.stdout
    assert "dpkg --configure erdma-dkms" in result.stdout
    # Half configured now; once the reason is gone, that command mends it.
    source = machine.file(f"usr/src/erdma-{BROKEN}", "src", "erdma.c")
    with open(source, encoding="utf-8") as text:
        content = text.read()
    with open(source, "w", encoding="utf-8") as out:
        out.write(content.replace("#error \"spoilt on purpose\"\n", ""))
    machine.run("dpkg", "--configure", "erdma-dkms")
    assert machine.module() == BROKEN


# "other" is a later version, of whatever number.
INSTALLED = ("installed", "newer", "mended", "other")


@pytest.fixture(scope="module")
def life(packages, request):
    make = debian_system(request.module.__name__)

    def remove(machine):
        machine.run("dpkg", "-r", "erdma-dkms")

    stages = Stages(make, {"installed": ("fresh", first_installation), "newer": ("installed", upgrade),
                           "mended": ("newer", broken_upgrade), "removed": ("installed", remove),
                           "purged": ("removed", lambda machine: machine.run("dpkg", "-P", "erdma-dkms"))},
                    packages=packages)
    yield stages
    stages.close()


def test_install_builds_the_module(life):
    machine = life.at("installed")
    assert machine.module() == VERSION
    magic = machine.run("modinfo", "-k", machine.kernel, "-F", "vermagic", "erdma").stdout
    assert magic.split()[0] == machine.kernel
    where = machine.run("modinfo", "-k", machine.kernel, "-n", "erdma").stdout
    assert "/updates/dkms/" in where
    assert "installed" in machine.run("dkms", "status", "erdma").stdout
    # Loads by itself: at start-up, and for the device.
    assert re.findall(r"(?m)^[^#\n].*", machine.read("etc/modules-load.d/erdma.conf")) == ["erdma"]
    alias = machine.run("modprobe", "-S", machine.kernel, "-n", "-v",
                        "pci:v00001DEDd0000107Fsv00001DEDsd00000000bc02sc00i00").stdout
    # With the interfaces that programs use: that is said in one place, the module.
    assert re.search(r"(?s)insmod .*/ib_uverbs\.ko.*insmod .*/rdma_ucm\.ko.*insmod .*/updates/dkms/erdma\.ko", alias)
    for name in ("modprobe.d", "modules-load.d"):
        assert "uverbs" not in machine.read(f"etc/{name}/erdma.conf")


def test_users_may_lock_memory(life):
    machine = life.within(*INSTALLED)
    locked = ["su", "-s", "/bin/sh", "nobody", "-c", "ulimit -l"]
    assert machine.run(*locked).stdout.strip() == "unlimited"
    # It is this file that does it.
    limits = machine.file("etc/security/limits.d/erdma.conf")
    os.rename(limits, limits + ".hidden")
    try:
        assert machine.run("/bin/sh", "-c", 'ulimit -l 64 && exec "$@"', "sh", *locked).stdout.strip() == "64"
    finally:
        os.rename(limits + ".hidden", limits)


def test_upgrade_keeps_configuration(life):
    machine = life.at("newer")
    assert machine.module() == NEWER
    assert "vectors=4" in machine.read("etc/modprobe.d/erdma.conf")
    assert VERSION not in machine.run("dkms", "status", "erdma").stdout
    assert not os.path.exists(machine.file(f"usr/src/erdma-{VERSION}"))


def test_broken_build_keeps_the_old_module(life):
    assert life.at("mended").module() == BROKEN


@pytest.mark.parametrize("hidden, words", [
    ("usr/bin/gcc-12", "the compiler gcc-12 is missing; install it"),
    ("usr/bin/make", "make is missing; install it"),
])
def test_missing_tool_is_named(life, hidden, words):
    machine = life.at("mended")
    path = machine.file(hidden)
    os.rename(path, path + ".hidden")
    try:
        result = machine.run("dkms", "build", "--force", f"erdma/{BROKEN}", "-k", machine.kernel, check=False)
        assert result.returncode and words in result.stdout
        assert machine.module() == BROKEN
    finally:
        os.rename(path + ".hidden", path)


def test_missing_headers_are_named(life):
    machine = life.at("mended")
    result = machine.run("dkms", "build", f"erdma/{BROKEN}", "-k", "6.1.0-99-amd64", check=False)
    assert result.returncode and "headers" in result.stdout and "6.1.0-99-amd64" in result.stdout


def test_kernel_without_infiniband(life):
    machine = life.at("mended")
    headers = machine.file("srv/packages/no-infiniband")
    os.makedirs(headers, exist_ok=True)
    for name, content in (("Makefile", ""), (".config", "# CONFIG_INFINIBAND is not set\n")):
        with open(os.path.join(headers, name), "w", encoding="utf-8") as out:
            out.write(content)
    result = machine.run(f"/usr/src/erdma-{BROKEN}/dkms-check", machine.kernel, "/srv/packages/no-infiniband",
                         check=False)
    assert result.returncode == 1 and "no InfiniBand support" in result.stdout


@pytest.mark.parametrize("kernel, config", [
    ("4.19.0-27-amd64", "CONFIG_PCI_MSI=y\nCONFIG_INFINIBAND=m\nCONFIG_INFINIBAND_USER_ACCESS=m\n"),
    ("5.9.0-5-amd64", "CONFIG_PCI_MSI=y\nCONFIG_INFINIBAND=m\nCONFIG_INFINIBAND_USER_ACCESS=m\n"),
    ("6.1.0-98-amd64", "CONFIG_PCI_MSI=y\n# CONFIG_INFINIBAND is not set\n"),
    ("6.1.0-98-amd64", "CONFIG_PCI_MSI=y\nCONFIG_INFINIBAND=m\n# CONFIG_INFINIBAND_USER_ACCESS is not set\n"),
])
def test_unsupported_kernel_is_skipped(life, kernel, config):
    """A machine may keep such a kernel: DKMS does not try to build for it."""
    machine = life.at("mended")
    modules = machine.file("lib/modules", kernel)
    os.makedirs(os.path.join(modules, "build", "include"))
    try:
        for name, content in (("Makefile", ""), (".config", config)):
            with open(os.path.join(modules, "build", name), "w", encoding="utf-8") as out:
                out.write(content)
        # DKMS before 3.1 calls skipping an error here; 77 is its code for it.
        for command in (["autoinstall"], ["build", f"erdma/{BROKEN}"]):
            result = machine.run("dkms", *command, "-k", kernel, check=False)
            assert "does not match this kernel/arch/config" in result.stdout
            assert "Bad return status" not in result.stdout
        assert result.returncode == 77
        assert kernel not in machine.run("dkms", "status", "erdma").stdout
    finally:
        shutil.rmtree(modules)


def test_foreign_stack_is_told(life):
    machine = life.at("mended")
    foreign = machine.file(f"lib/modules/{machine.kernel}/updates/foreign/ib_core.ko")
    os.makedirs(os.path.dirname(foreign))
    open(foreign, "wb").close()
    try:
        result = machine.run(f"/usr/src/erdma-{BROKEN}/dkms-check", machine.kernel,
                             f"/lib/modules/{machine.kernel}/build")
        assert "another InfiniBand stack" in result.stdout and "updates/foreign/ib_core.ko" in result.stdout
        assert "ofed_uninstall.sh" in result.stdout
    finally:
        shutil.rmtree(os.path.dirname(foreign))


# Little room in DKMS's directory, or in the compiler's, while a package is installed.  In the first this small driver
# could be compiled, and DKMS would not notice that there is no room for a copy of it.
FULL = {
    "packages": """
        mkdir -p /mnt/real && mount --bind /var/lib/dkms /mnt/real
        mount -t tmpfs -o size=$(($(du -sk /var/lib/dkms | cut -f1) + 4096))k tmpfs /var/lib/dkms
        cp -a /mnt/real/. /var/lib/dkms/
        dpkg -i "$1"; code=$?
        rm -rf /mnt/real/* && cp -a /var/lib/dkms/. /mnt/real/
        umount /mnt/real && rmdir /mnt/real
        exit $code""",
    "compiler": """
        mount -o remount,size=4k /tmp
        dpkg -i "$1" """,
}


@pytest.mark.parametrize("where, version, words", [
    ("packages", "9.0.3", r"/var/lib/dkms/erdma/9\.0\.3/build has \d MiB left and the build needs 48 MiB; free some"),
    ("compiler", "9.0.4", r"/var/lib/dkms/erdma/9\.0\.4/build/make\.log"),
])
def test_full_disk(life, where, version, words):
    machine = life.within(*INSTALLED)
    before = machine.module()
    package = machine.put(repacked(machine.packages, version), f"srv/packages/{where}.deb")
    with life.changed_to("other"):
        result = machine.run("/bin/sh", "-c", FULL[where], "sh", package, check=False)
        assert result.returncode and re.search(words, result.stdout), result.stdout
        assert f"version {version} was not built for {machine.kernel}, the module from before stays" in result.stdout
        assert machine.module() == before
        if where == "compiler":
            assert "No space left on device" in machine.read(f"var/lib/dkms/erdma/{version}/build/make.log")
        machine.run("dpkg", "--configure", "erdma-dkms")
        assert machine.module() == version


def test_running_kernel_without_headers(life):
    machine = life.within(*INSTALLED)
    running = os.uname().release
    folder = machine.file("lib/modules", running)
    os.mkdir(folder)
    try:
        result = machine.run("/var/lib/dpkg/info/erdma-dkms.postinst", "configure")
        assert f"the running kernel {running} has no module yet" in result.stdout
        assert f"apt-get install linux-headers-{running}" in result.stdout
        assert machine.module()
    finally:
        shutil.rmtree(folder)


def test_two_versions(life):
    """One by hand and newer than the package's; told, and mended by what the message says."""
    machine = life.within(*INSTALLED)
    ours, theirs, newest = machine.module(), "9.1.0", "9.0.6"
    with life.changed_to("other"):
        source = machine.file(f"usr/src/erdma-{theirs}")
        shutil.copytree(machine.file(f"usr/src/erdma-{ours}"), source)
        for name in ("dkms.conf", "VERSION"):
            with open(os.path.join(source, name), encoding="utf-8") as text:
                content = text.read()
            with open(os.path.join(source, name), "w", encoding="utf-8") as out:
                out.write(content.replace(ours, theirs))
        machine.run("dkms", "install", "--force", f"erdma/{theirs}", "-k", machine.kernel)
        assert machine.module() == theirs
        result = install(machine, repacked(machine.packages, newest), check=False)
        assert f"DKMS also has version {theirs}" in result.stdout
        advice = re.search(r"dkms remove erdma/\S+ --all && dpkg --configure -a", result.stdout)[0]
        assert machine.module() in (theirs, newest)
        machine.run("/bin/sh", "-e", "-c", advice)
        assert machine.module() == newest
        assert theirs not in machine.run("dkms", "status", "erdma").stdout
        shutil.rmtree(source)


def left_behind(machine):
    """What is there now and was not before, but for depmod's index, which every module package leaves."""
    return {path for path in machine.tree() - machine.before
            if not re.match(rf"usr/lib/modules/{machine.kernel}/modules\.", path)}


def test_remove_leaves_configuration_only(life):
    machine = life.within(*INSTALLED)
    with life.changed_to("removed"):
        machine.run("dpkg", "-r", "erdma-dkms")
    assert machine.module() is None
    assert left_behind(machine) == {"etc/modprobe.d/erdma.conf", "etc/modules-load.d/erdma.conf",
                                    "etc/security/limits.d/erdma.conf"}


def test_purge_leaves_nothing(life):
    assert left_behind(life.at("purged")) == set()


def test_model_fits_one_release_of_qemu(packages):
    control = subprocess.run(["dpkg-deb", "-f", deb(packages, "erdma-qemu-model"), "Depends"], check=True, text=True,
                             timeout=60, stdout=subprocess.PIPE).stdout
    installed = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "qemu-system-x86"], check=True, text=True,
                               timeout=60, stdout=subprocess.PIPE).stdout
    epoch, major, minor = re.match(r"(\d+:)?(\d+)\.(\d+)", installed).groups("")
    assert f"qemu-system-x86 (>= {epoch}{major}.{minor})" in control
    assert f"qemu-system-x86 (<< {epoch}{major}.{int(minor) + 1}~)" in control
