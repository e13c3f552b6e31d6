# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the driver for every supported kernel, each in the root of its own Debian release."""

import collections
import concurrent.futures
import filecmp
import itertools
import os
import re
import shutil
import subprocess

from . import roots, table
from .common import BUILD, ROOT, LabError, say

Built = collections.namedtuple("Built", "kernel release package compiler warnings seconds module")
INSIDE = "/build/erdma"


def directory_of(release):
    return os.path.join(BUILD, "kernel", f"module-{release}", "src")


def copy_sources(target):
    """Bring a copy of src/ up to date without touching what did not change; what src/ dropped goes."""
    source = os.path.join(ROOT, "src")
    kept = {"VERSION"}
    shutil.copy(os.path.join(ROOT, "VERSION"), target)
    for folder, _, names in os.walk(source):
        relative = os.path.relpath(folder, source)
        os.makedirs(os.path.join(target, relative), exist_ok=True)
        for name in names:
            if re.search(r"(\.[ch]|Kbuild|Makefile)$", name) and not name.endswith(".mod.c"):
                path = os.path.normpath(os.path.join(relative, name))
                kept.add(path)
                new, old = os.path.join(source, path), os.path.join(target, path)
                if not os.path.exists(old) or not filecmp.cmp(new, old, shallow=False):
                    shutil.copyfile(new, old)
    for name in os.listdir(target):
        if re.fullmatch(r"\w+\.[ch]", name) and name not in kept and not re.search(r"\.mod\.c$|-probed\.h$", name):
            os.unlink(os.path.join(target, name))


def warnings_in(text):
    """Lines of a build's output that complain."""
    return [line for line in text.splitlines()
            # Out-of-tree modules never have the kernel's own debug information at hand.
            if re.search(r"\b(warning|error|WARNING|ERROR)\b", line) and "Skipping BTF generation" not in line]


def compiler_of(module):
    with open(module, "rb") as content:
        found = re.search(rb"GCC: \([^)]*\) [\d.]+", content.read())
    return found[0].decode().replace("GCC: (", "gcc (") if found else "unknown"


def processor_seconds():
    """Of the commands that this process has run."""
    times = os.times()
    return times.children_user + times.children_system


def build_module(name, release, fresh=False):
    """Build the driver for one release string of a supported kernel, with W=1; returns a Built, its seconds the
    processor's.

    LabError with the end of the output when the build fails.  fresh: from scratch, so that every warning shows.
    """
    root = roots.make(roots.KERNELS[name].release)
    target = directory_of(release)
    if fresh:
        shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target, exist_ok=True)
    copy_sources(target)
    begin = processor_seconds()
    result = roots.enter(root, ["nice", "make", f"-j{os.cpu_count() or 1}", "-C", f"/lib/modules/{release}/build",
                                f"M={INSIDE}", "W=1", "modules"],
                         1800, binds={target: INSIDE}, log=os.path.join(BUILD, f"build-{release}.log"))
    seconds = processor_seconds() - begin
    module = os.path.join(target, "erdma.ko")
    if result.returncode or not os.path.exists(module):
        raise LabError(f"the driver does not build for {release}:\n{result.stdout[-4000:]}")
    magic = subprocess.run(["/sbin/modinfo", "-F", "vermagic", module], check=True, timeout=30, text=True,
                           stdout=subprocess.PIPE).stdout.split()[0]
    if magic != release:
        raise LabError(f"the driver built for {release} says it is for {magic}")
    package = roots.checked(root, ["dpkg-query", "-W", "-f", "${Version}", f"linux-headers-{release}"], 60)
    return Built(name, release, package, compiler_of(module), warnings_in(result.stdout), seconds, module)


def build_all(name, flavours):
    """Build from scratch for a supported kernel; returns (release string, Built or None, complaint) of each flavour."""
    results = []
    for flavour in roots.FLAVOURS[:None if flavours else 1]:
        _, release = roots.headers(name, flavour)
        say(f"building for {release}")
        try:
            results.append((release, build_module(name, release, fresh=True), None))
        except LabError as error:
            results.append((release, None, str(error)))
    return results


def run(names=(), flavours=False):
    """Build for all supported kernels, or the named ones, and print what came of it; returns the exit code.

    flavours: every flavour of each, not only the plain one.  Several at a time: roots that have to be made first
    wait for the network and use one processor each.
    """
    unknown = [name for name in names if name not in roots.KERNELS]
    if unknown:
        raise LabError(f"'{unknown[0]}' is not one of {', '.join(roots.KERNELS)}")
    names = names or list(roots.KERNELS)
    rows, complaints = [], []
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        for name, results in zip(names, pool.map(build_all, names, itertools.repeat(flavours))):
            for release, built, complaint in results:
                if built is None:
                    complaints.append(complaint)
                    rows.append((name, release, "", "", "FAILED", 0))
                    continue
                complaints += [f"{release}: {line}" for line in built.warnings]
                rows.append((name, release, built.package, built.compiler, f"{len(built.warnings)} warnings",
                             round(built.seconds)))
    print(table.render(("kernel", "headers", "package", "compiler", "W=1", "CPU seconds"), rows))
    for text in complaints:
        print(text)
    return 1 if complaints else 0
