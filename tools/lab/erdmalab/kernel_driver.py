# SPDX-License-Identifier: GPL-2.0-or-later
"""RDMA drivers that the kernel's own source has and the distributions' kernels leave out: the one for the adapter, and
SoftiWARP (siw), a peer in software that speaks standard iWARP.

They are built when they are asked for, from the distribution's source package of the guest's kernel, and kept in
build/kernel/own-VERSION and siw-VERSION.  Nothing of that source is part of this project.
"""

import collections
import copy
import glob
import os
import re
import shutil
import subprocess
import tempfile

from . import roots
from .common import BUILD, LabError, alone, call, say, tail

Source = collections.namedtuple("Source", "module folder option directory")
SOURCES = {
    "kernel": Source("erdma", "drivers/infiniband/hw/erdma", "CONFIG_INFINIBAND_ERDMA", "own"),
    "siw": Source("siw", "drivers/infiniband/sw/siw", "CONFIG_RDMA_SIW", "siw"),
}
NAMES = ("ours", *SOURCES)
INSIDE = "/build/own"


def of(kernel, name="kernel"):
    """The kernel with a driver of its own, of that name, in place of ours; builds that when it is not there."""
    if name == "ours":
        return kernel
    other = copy.copy(kernel)
    other.driver = build(kernel, name)
    return other


def build(kernel, name="kernel"):
    """Path of a module of the kernel's own."""
    if not kernel.headers and not kernel.supported:
        raise LabError(f"kernel {kernel.version} has no headers to build its own driver against")
    source = SOURCES[name]
    directory = os.path.join(BUILD, "kernel", f"{source.directory}-{kernel.version}")
    module = os.path.join(directory, f"{source.module}.ko")
    log = os.path.join(BUILD, f"build-{source.directory}-{kernel.version}.log")
    with alone(directory + ".lock"):
        if os.path.exists(module):
            return module
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        open(log, "wb").close()
        fetch(kernel, source, directory)
        say(f"building {source.module} of the source of {kernel.version}")
        settings = [f"{source.option}=m", "KCFLAGS=-Wno-error", "modules"]
        command = ["nice", "make", f"-j{os.cpu_count() or 1}", "-C"]
        if kernel.supported:
            code = roots.enter(roots.make(roots.KERNELS[kernel.supported].release),
                               [*command, f"/lib/modules/{kernel.version}/build", f"M={INSIDE}", *settings],
                               900, binds={directory: INSIDE}, log=log).returncode
        else:
            code = call([*command, kernel.headers, f"M={directory}", *settings], 900, log=log)
        if code or not os.path.exists(module):
            raise LabError(f"{source.module} of the source of {kernel.version} does not build; {log} ends with:\n{tail(log)}")
    return module


def source_names(version):
    """Names that the source package of a kernel may have: linux-source-6.1 in Debian, linux-source-6.8.0 in Ubuntu."""
    numbers = re.match(r"(\d+\.\d+)(\.\d+)?", version)
    return [f"linux-source-{numbers[1]}", f"linux-source-{numbers[0]}"]


def fetch(kernel, source, directory):
    """Put a driver's source into a directory."""
    in_tree = os.path.join(kernel.headers or "", source.folder)
    if glob.glob(os.path.join(in_tree, "*.c")):  # a whole kernel tree, the debug kernel's for one
        shutil.copytree(in_tree, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.o", "*.ko", "*.cmd"))
        return
    names = source_names(kernel.version)
    for name in names:
        for archive in glob.glob(f"/usr/src/{name}.tar.*") if not kernel.supported else ():
            with open(archive, "rb") as text:
                return extract(text, archive, name, source, directory)
    with tempfile.TemporaryDirectory(dir=os.path.join(BUILD, "kernel")) as folder:
        package, name = download(kernel, names, folder)
        inside = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, timeout=600, stdout=subprocess.PIPE).stdout
        listed = subprocess.run(["tar", "-t"], input=inside, check=True, timeout=600, stdout=subprocess.PIPE).stdout.decode()
        archive = next(line for line in listed.splitlines() if re.search(rf"/{re.escape(name)}\.tar\.\w+$", line))
        with open(os.path.join(folder, "source"), "wb") as out:
            subprocess.run(["tar", "-xO", archive], input=inside, check=True, timeout=600, stdout=out)
        with open(os.path.join(folder, "source"), "rb") as text:
            return extract(text, archive, name, source, directory)


def download(kernel, names, folder):
    """Fetch the source package without installing it; returns its path and which of the names it has."""
    say(f"fetching the source of {kernel.version} (some 140 MB)")
    os.chmod(folder, 0o777)
    output = ""
    for name in names:
        if kernel.supported:
            supported = roots.KERNELS[kernel.supported]
            result = roots.enter(roots.make(supported.release), ["apt-get", "-q", "download", f"{name}/{supported.suite}"],
                                 1800, binds={folder: "/mnt"}, cwd="/mnt")
        else:
            result = subprocess.run(["apt-get", "-q", "download", name], cwd=folder, timeout=1800, text=True, check=False,
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output += result.stdout
        found = glob.glob(os.path.join(folder, "*.deb"))
        if result.returncode == 0 and found:
            return found[0], name
    raise LabError(f"the source of {kernel.version} cannot be fetched: {output[-1000:]}")


def extract(text, archive, name, source, directory):
    """Unpack a driver's folder of a kernel source archive, an open file."""
    kind = {"xz": "-J", "bz2": "-j", "gz": "-z", "zst": "--zstd"}[archive.rpartition(".")[2]]
    result = subprocess.run(["tar", "-x", kind, "-C", directory, "--strip-components", str(1 + source.folder.count("/") + 1),
                             f"{name}/{source.folder}"], stdin=text, timeout=900, text=True, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode or not glob.glob(os.path.join(directory, "*.c")):
        raise LabError(f"{archive} has no {source.folder}: the kernel is older than that driver\n{result.stdout[-500:]}")
