# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of erdma-dkms on a Debian system: the tests run in this order, each goes on from the one before."""

import glob
import os
import re
import shutil
import subprocess

import pytest

from conftest import BUILD, VERSION, copy_of_tree, deb, install, repacked, shrink

NEWER, BROKEN = "9.0.1", "9.0.2"
STATE = {}


def test_lintian(packages):
    changes = sorted(glob.glob(os.path.join(packages, "erdma_*.changes")))
    result = subprocess.run(["lintian", "-I", "--tag-display-limit", "0", changes[-1]], text=True, timeout=300,
                            check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
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


def test_install_builds_the_module(machine, packages):
    STATE["before"] = machine.tree()
    install(machine, deb(packages, "erdma-dkms"))
    assert machine.module() == VERSION
    magic = machine.run("modinfo", "-k", machine.kernel, "-F", "vermagic", "erdma").stdout
    assert magic.split()[0] == machine.kernel
    where = machine.run("modinfo", "-k", machine.kernel, "-n", "erdma").stdout
    assert "/updates/dkms/" in where
    assert "installed" in machine.run("dkms", "status", "erdma").stdout
    # Loads by itself: at start-up, and for the device.
    assert machine.read("etc/modules-load.d/erdma.conf").split("\n")[2:5] == ["erdma", "ib_uverbs", "rdma_ucm"]
    alias = machine.run("modprobe", "-S", machine.kernel, "-n", "-v",
                        "pci:v00001DEDd0000107Fsv00001DEDsd00000000bc02sc00i00").stdout
    assert re.search(r"insmod .*/updates/dkms/erdma\.ko", alias)
    assert "softdep erdma post: ib_uverbs rdma_ucm" in machine.run("modprobe", "-S", machine.kernel, "-c").stdout


def test_upgrade_keeps_configuration(machine, packages):
    with open(machine.file("etc/modprobe.d/erdma.conf"), "a", encoding="utf-8") as text:
        text.write("options erdma vectors=4\n")
    install(machine, repacked(packages, NEWER))
    assert machine.module() == NEWER
    assert "vectors=4" in machine.read("etc/modprobe.d/erdma.conf")
    assert VERSION not in machine.run("dkms", "status", "erdma").stdout
    assert not os.path.exists(machine.file(f"usr/src/erdma-{VERSION}"))


def test_broken_build_keeps_the_old_module(machine, packages):
    def spoil(tree):
        shrink(tree)
        with open(os.path.join(tree, "src", "erdma.c"), "a", encoding="utf-8") as out:
            out.write("#error \"spoilt on purpose\"\n")
    result = install(machine, repacked(packages, BROKEN, spoil), check=False)
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


@pytest.mark.parametrize("hidden, words", [
    ("usr/bin/gcc-12", "the compiler gcc-12 is missing; install it"),
    ("usr/bin/make", "make is missing; install it"),
])
def test_missing_tool_is_named(machine, hidden, words):
    path = machine.file(hidden)
    os.rename(path, path + ".hidden")
    try:
        result = machine.run("dkms", "build", "--force", f"erdma/{BROKEN}", "-k", machine.kernel, check=False)
        assert result.returncode and words in result.stdout
        assert machine.module() == BROKEN
    finally:
        os.rename(path + ".hidden", path)


def test_missing_headers_are_named(machine):
    result = machine.run("dkms", "build", f"erdma/{BROKEN}", "-k", "6.1.0-99-amd64", check=False)
    assert result.returncode and "headers" in result.stdout and "6.1.0-99-amd64" in result.stdout


def test_kernel_without_infiniband(machine):
    headers = machine.file("srv/packages/no-infiniband")
    os.makedirs(headers)
    for name, content in (("Makefile", ""), (".config", "# CONFIG_INFINIBAND is not set\n")):
        with open(os.path.join(headers, name), "w", encoding="utf-8") as out:
            out.write(content)
    result = machine.run(f"/usr/src/erdma-{BROKEN}/dkms-check", machine.kernel, "/srv/packages/no-infiniband",
                         check=False)
    assert result.returncode == 1 and "no InfiniBand support" in result.stdout


def test_foreign_stack_is_told(machine):
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
def test_full_disk(machine, packages, where, version, words):
    before = machine.module()
    package = machine.put(repacked(packages, version), f"srv/packages/{where}.deb")
    result = machine.run("/bin/sh", "-c", FULL[where], "sh", package, check=False)
    assert result.returncode and re.search(words, result.stdout), result.stdout
    assert f"version {version} was not built for {machine.kernel}, the module from before stays" in result.stdout
    assert machine.module() == before
    if where == "compiler":
        assert "No space left on device" in machine.read(f"var/lib/dkms/erdma/{version}/build/make.log")
    machine.run("dpkg", "--configure", "erdma-dkms")
    assert machine.module() == version


def test_running_kernel_without_headers(machine):
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


def test_two_versions(machine, packages):
    """One by hand and newer than the package's; told, and mended by what the message says."""
    ours, theirs = machine.module(), "9.1.0"
    source = machine.file(f"usr/src/erdma-{theirs}")
    shutil.copytree(machine.file(f"usr/src/erdma-{ours}"), source)
    for name in ("dkms.conf", "VERSION"):
        with open(os.path.join(source, name), encoding="utf-8") as text:
            content = text.read()
        with open(os.path.join(source, name), "w", encoding="utf-8") as out:
            out.write(content.replace(ours, theirs))
    machine.run("dkms", "install", "--force", f"erdma/{theirs}", "-k", machine.kernel)
    assert machine.module() == theirs
    newer = repacked(packages, "9.0.6")
    result = install(machine, newer, check=False)
    assert f"DKMS also has version {theirs}" in result.stdout
    advice = re.search(r"dkms remove erdma/\S+ --all && dpkg --configure -a", result.stdout)[0]
    assert machine.module() in (theirs, "9.0.6")
    machine.run("/bin/sh", "-e", "-c", advice)
    assert machine.module() == "9.0.6"
    assert theirs not in machine.run("dkms", "status", "erdma").stdout
    shutil.rmtree(source)


def left_behind(machine):
    """What is there now and was not before, but for depmod's index, which every module package leaves."""
    return {path for path in machine.tree() - STATE["before"]
            if not re.match(rf"usr/lib/modules/{machine.kernel}/modules\.", path)}


def test_remove_leaves_configuration_only(machine):
    machine.run("dpkg", "-r", "erdma-dkms")
    assert machine.module() is None
    assert left_behind(machine) == {"etc/modprobe.d/erdma.conf", "etc/modules-load.d/erdma.conf"}


def test_purge_leaves_nothing(machine):
    machine.run("dpkg", "-P", "erdma-dkms")
    assert left_behind(machine) == set()


def test_model_fits_one_qemu(packages):
    control = subprocess.run(["dpkg-deb", "-f", deb(packages, "erdma-qemu-model"), "Depends"], check=True, text=True,
                             timeout=60, stdout=subprocess.PIPE).stdout
    installed = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "qemu-system-x86"], check=True, text=True,
                               timeout=60, stdout=subprocess.PIPE).stdout
    assert f"qemu-system-x86 (= {installed})" in control
