# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the small initial RAM disk with which a guest reaches the host's root."""

import gzip
import hashlib
import lzma
import os
import shutil
import stat
import subprocess

from .common import GUEST_FILES, LAB, LabError

# What it takes to mount the root and to talk to the lab.
MODULES = ("virtio_pci", "virtio_net", "virtio_console", "9p", "9pnet_virtio", "overlay")


def cpio_entry(name, mode, data=b"", inode=0):
    """One entry of the "newc" cpio format."""
    header = "070701" + "".join(f"{value:08X}" for value in (
        inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
    text = header.encode() + name.encode() + b"\0"
    text += b"\0" * (-len(text) % 4)
    return text + data + b"\0" * (-len(data) % 4)


def cpio_archive(entries):
    """Archive of (name, mode, data) triples."""
    body = b"".join(cpio_entry(name, mode, data, number + 1)
                    for number, (name, mode, data) in enumerate(entries))
    return body + cpio_entry("TRAILER!!!", 0)


def module_key(path):
    """Module name of a file such as kernel/net/9p/9pnet.ko.xz."""
    return os.path.basename(path).split(".ko")[0].replace("-", "_")


def read_module(path):
    """Uncompressed content of a module file."""
    if path.endswith(".xz"):
        with lzma.open(path) as module:
            return module.read()
    if path.endswith(".gz"):
        with gzip.open(path) as module:
            return module.read()
    if path.endswith(".zst"):
        if not shutil.which("zstd"):
            raise LabError(f"{path} is compressed with zstd; install the package zstd")
        return subprocess.run(["zstd", "-dcq", path], check=True, timeout=60,
                              stdout=subprocess.PIPE).stdout
    with open(path, "rb") as module:
        return module.read()


def load_order(directory, names):
    """Files of the named modules and what they need, in loading order; built-in ones are left out."""
    depends, where = {}, {}
    with open(os.path.join(directory, "modules.dep"), encoding="utf-8") as text:
        for line in text:
            path, _, rest = line.partition(":")
            where[module_key(path)] = path
            depends[module_key(path)] = [module_key(item) for item in rest.split()]
    with open(os.path.join(directory, "modules.builtin"), encoding="utf-8") as text:
        builtin = {module_key(line.strip()) for line in text}
    order = []

    def add(name):
        if name in builtin or name in order:
            return
        if name not in where:
            raise LabError(f"the kernel with modules in {directory} has no module {name}, "
                           "which the lab needs to reach its root file system")
        for needed in depends[name]:
            add(needed)
        order.append(name)

    for name in names:
        add(name)
    return [where[name] for name in order]


def busybox():
    for path in ("/bin/busybox", "/usr/bin/busybox"):
        if os.path.exists(path):
            with open(path, "rb") as program:
                return program.read()
    raise LabError("busybox is missing; run ./lab setup")


def make(kernel):
    """RAM disk for a kernel; made once and kept under build/lab/cache."""
    with open(os.path.join(GUEST_FILES, "init"), "rb") as script:
        init = script.read()
    dependencies = os.stat(os.path.join(kernel.modules, "modules.dep"))
    key = hashlib.sha256(init + repr((kernel.version, kernel.modules, dependencies.st_mtime_ns,
                                      MODULES)).encode()).hexdigest()[:12]
    path = os.path.join(LAB, "cache", f"initramfs-{kernel.version}-{key}.gz")
    if os.path.exists(path):
        return path
    folder, program = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755
    entries = [("bin", folder, b""), ("bin/busybox", program, busybox()), ("init", program, init),
               ("dev", folder, b""), ("modules", folder, b"")]
    files = load_order(kernel.modules, MODULES)
    for number, name in enumerate(files):
        entries.append((f"modules/{number:02d}-{module_key(name)}.ko", program,
                        read_module(os.path.join(kernel.modules, name))))
    order = "".join(f"{number:02d}-{module_key(name)}.ko\n" for number, name in enumerate(files))
    entries.append(("modules/order", stat.S_IFREG | 0o644, order.encode()))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = f"{path}.{os.getpid()}"
    with open(part, "wb") as out:
        out.write(gzip.compress(cpio_archive(entries), 1, mtime=0))
    os.replace(part, path)
    return path
