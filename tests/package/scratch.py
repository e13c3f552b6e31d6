# SPDX-License-Identifier: GPL-2.0-or-later
"""What the package tests share: building packages, scratch roots to install them in, and stages of an installation."""

import contextlib
import glob
import os
import shutil
import subprocess

from erdmalab import kernel as kernels, kernel_driver, packages as distribution, roots
from erdmalab.common import BUILD, alone
from erdmalab.roots import copy_of_tree

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

with open(os.path.join(TOP, "VERSION"), encoding="utf-8") as _text:
    VERSION = _text.readline().strip()

SYSTEM = ["dkms", "kmod", "udev", "rpm"]


def build(command, cwd, limit):
    sources = sorted(path for path in glob.glob(os.path.join(BUILD, "qemu-source", "qemu-*")) if os.path.isdir(path))
    environment = {**os.environ, "ERDMA_QEMU_SOURCE": sources[-1]} if sources else os.environ
    result = subprocess.run(command, cwd=cwd, env=environment, timeout=limit, text=True, check=False,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout[-4000:]
    return result.stdout


def build_debs():
    """Directory with the DEB packages of the tree, built once in a run, whose workers share it."""
    distribution.ensure("package")
    folder = os.path.join(BUILD, "package")
    stamp = os.path.join(folder, f"built-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}")
    with alone(os.path.join(folder, "lock")):
        if not os.path.exists(stamp):
            for old in glob.glob(os.path.join(folder, "*.deb")) + glob.glob(os.path.join(folder, "built-*")):
                os.unlink(old)
            tree = copy_of_tree(os.path.join(folder, "erdma"))
            build(["nice", "dpkg-buildpackage", "-us", "-uc", "-b", f"-j{os.cpu_count() or 1}"], tree, 1800)
            open(stamp, "wb").close()
    return folder


def build_rpms(name, target="packages", change=None):
    """Directory with RPM packages of the tree, or of what change makes of a copy of it; target: rpm/Makefile's."""
    distribution.ensure("package")
    folder = os.path.join(BUILD, "package", name)
    shutil.rmtree(folder, ignore_errors=True)
    tree = copy_of_tree(os.path.join(BUILD, "package", f"{name}-tree"))
    if change:
        change(tree)
    build(["nice", "make", "-C", "rpm", target, f"OUT={folder}"], tree, 1800)
    return folder


class Machine:
    """A scratch root.  run() gives a CompletedProcess with output and errors in stdout."""

    def __init__(self, path, kernel):
        self.path, self.kernel = path, kernel

    def run(self, *command, check=True, limit=900, environment=None):
        result = roots.enter(self.path, list(command), limit, environment=environment)
        assert not check or result.returncode == 0, f"{' '.join(command)}: {result.returncode}\n{result.stdout}"
        return result

    def file(self, *parts):
        return os.path.join(self.path, *parts)

    def read(self, name):
        with open(self.file(name), encoding="utf-8") as text:
            return text.read()

    def put(self, source, name):
        target = self.file(name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(source, target)
        return "/" + name

    def module(self, kernel=None):
        """modinfo's version of the module that modprobe would take, or None."""
        result = self.run("modinfo", "-k", kernel or self.kernel, "-F", "version", "erdma", check=False)
        return result.stdout.strip() if result.returncode == 0 else None

    def where(self):
        """The module that modprobe takes."""
        return self.run("modinfo", "-k", self.kernel, "-n", "erdma").stdout.strip()

    def tree(self):
        """Every path but what package management keeps for itself."""
        left_out = ("var/lib/dpkg", "var/log", "var/cache", "var/lib/apt", "proc", "run", "tmp", "srv/packages",
                    "etc/ld.so.cache", "etc/resolv.conf", "root/.rpmdb")
        found = set()
        for folder, folders, names in os.walk(self.path):
            relative = os.path.relpath(folder, self.path)
            folders[:] = [name for name in folders
                          if os.path.normpath(os.path.join(relative, name)) not in left_out]
            found.update(os.path.normpath(os.path.join(relative, name)) for name in folders + names
                         if os.path.normpath(os.path.join(relative, name)) not in left_out)
        return found


@contextlib.contextmanager
def scratch(name, base, extra):
    """A Machine in a copy of the root named base, which has headers of 6.1 and the packages extra."""
    kernel = roots.headers("6.1")[1]
    original = roots.make("bookworm", base, [f"linux-headers-{kernel}", *extra])
    path = roots.scratch(name, original)
    yield Machine(path, kernel)
    roots.remove(path)


def debian_system(name):
    """A scratch root with DKMS, a compiler and headers of one kernel."""
    @contextlib.contextmanager
    def made():
        with scratch(name, "system", SYSTEM) as machine:
            # DKMS takes the running kernel for the one to build for, and in a root that is another's.
            with open(machine.file("etc/dkms/framework.conf"), "a", encoding="utf-8") as text:
                text.write("autoinstall_all_kernels=y\n")
            machine.before = machine.tree()
            yield machine
    return made


@contextlib.contextmanager
def debian13():
    """A scratch root of Debian 13 with DKMS, of another kind than Debian 12's (3.1 and later), and no headers."""
    path = roots.scratch("debian13", roots.make("trixie", "system-trixie", ["dkms", "kmod", "udev"]))
    machine = Machine(path, None)
    machine.before = machine.tree()
    yield machine
    roots.remove(path)


def add_headers(machine, flavour):
    """Install Debian 13's newest headers of a flavour as a user does; returns the kernel and what was said."""
    package = roots.header_package(machine.path, "trixie", flavour)
    return package[len("linux-headers-"):], machine.run("apt-get", "-q", "-y", "install", package).stdout


OWN_PLACE = "kernel/drivers/infiniband/hw/erdma/erdma.ko"


def add_kernels_own(machine):
    """Give the kernel a module of its own, as if it had been configured with that.  It is 6.1's, whatever the kernel is:
    nothing loads it here."""
    own = kernel_driver.build(kernels.Kernel(roots.headers("6.1")[1], None, None, None, supported="6.1"))
    machine.put(own, os.path.join("lib/modules", machine.kernel, OWN_PLACE))
    machine.run("depmod", machine.kernel)
    assert machine.where().endswith(OWN_PLACE)


class Stages:
    """The life of an installation, which tests look at in stages.

    steps: {stage: (the stage before it, what leads from there)}; the first stage is "fresh".  attributes: what the steps
    find in the machine.  A test asks for the stage
    that it is about with at(), or for any with within(), and gets the machine; what leads there runs if it did not run
    yet.  In the order of the file each step runs once.  A test on its own, or in another order, begins anew where there
    is no way from the stage that is reached.
    """

    def __init__(self, make, steps, **attributes):
        self.make, self.steps, self.attributes = make, steps, attributes
        self.stack, self.machine, self.stage = contextlib.ExitStack(), None, None

    def way(self, stage):
        """The steps to a stage from the present one, or None."""
        names = []
        while stage != self.stage:
            if stage == "fresh":
                return None
            names.insert(0, stage)
            stage = self.steps[stage][0]
        return names

    def anew(self):
        self.close()
        self.machine = self.stack.enter_context(self.make())
        vars(self.machine).update(self.attributes)
        self.stage = "fresh"

    def at(self, stage):
        if self.machine is None or self.way(stage) is None:
            self.anew()
        for name in self.way(stage):
            self.stage = "in between"  # should the step fail
            self.steps[name][1](self.machine)
            self.stage = name
        return self.machine

    def within(self, *stages):
        """At one of these stages; the first one if it is at none."""
        return self.machine if self.machine and self.stage in stages else self.at(stages[0])

    @contextlib.contextmanager
    def changed_to(self, stage):
        """Within this block the test itself leads to a stage."""
        self.stage = "in between"
        yield
        self.stage = stage

    def close(self):
        self.stack.close()
        self.machine = self.stage = None


def deb(folder, name):
    found = glob.glob(os.path.join(folder, f"{name}_{VERSION}_*.deb"))
    assert len(found) == 1, f"{name} in {folder}: {found}"
    return found[0]


def shrink(tree):
    """Make the driver in a tree that DKMS builds one of a single file: seconds, where the driver does not matter."""
    source = os.path.join(tree, "src")
    for name in glob.glob(os.path.join(source, "*.[ch]")):
        os.unlink(name)
    with open(os.path.join(source, "Kbuild"), "w", encoding="utf-8") as out:
        out.write("obj-m := erdma.o\nccflags-y := -DERDMA_VERSION=\\\"$(shell cat $(src)/../VERSION)\\\"\n")
    with open(os.path.join(source, "erdma.c"), "w", encoding="utf-8") as out:
        out.write("""#include <linux/module.h>
MODULE_DESCRIPTION("Takes the driver's place in tests of packages");
MODULE_LICENSE("GPL");
MODULE_VERSION(ERDMA_VERSION);
""")


def repacked(folder, version, change=shrink):
    """erdma-dkms as it would be with another version number and changed sources."""
    work = os.path.join(BUILD, "package", f"repack-{version}")
    shutil.rmtree(work, ignore_errors=True)
    subprocess.run(["dpkg-deb", "-R", deb(folder, "erdma-dkms"), work], check=True, timeout=60)
    os.rename(os.path.join(work, f"usr/src/erdma-{VERSION}"), os.path.join(work, f"usr/src/erdma-{version}"))
    for name in ("DEBIAN/control", "DEBIAN/postinst", "DEBIAN/prerm", f"usr/src/erdma-{version}/dkms.conf",
                 f"usr/src/erdma-{version}/VERSION"):
        path = os.path.join(work, name)
        with open(path, encoding="utf-8") as text:
            content = text.read()
        assert VERSION in content, name
        with open(path, "w", encoding="utf-8") as out:
            out.write(content.replace(VERSION, version))
    os.unlink(os.path.join(work, "DEBIAN", "md5sums"))
    change(os.path.join(work, f"usr/src/erdma-{version}"))
    target = os.path.join(BUILD, "package", f"erdma-dkms_{version}_all.deb")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", work, target], check=True, timeout=60,
                   stdout=subprocess.DEVNULL)
    return target


def install(machine, path, check=True):
    inside = machine.put(path, f"srv/packages/{os.path.basename(path)}")
    return machine.run("dpkg", "-i", inside, check=check)
