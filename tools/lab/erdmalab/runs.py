# SPDX-License-Identifier: GPL-2.0-or-later
"""Directories that keep the logs of each run, and the steps before a boot."""

import glob
import os
import shutil
import time

from . import kernel as kernels, matrix, packages, vm as machines
from .common import BUILD, CHECKOUT, HOLDER, LAB, ROOT, LabError, call, held, say, tail

KEEP = 30


def new_run(name):
    """Make a directory for a run, point build/lab/latest at it, drop the oldest ones."""
    base = os.path.join(LAB, f"{time.strftime('%Y%m%d-%H%M%S')}-{name}")
    path, number = base, 1
    while True:
        try:
            os.makedirs(path)
            break
        except FileExistsError:
            number += 1
            path = f"{base}.{number}"
    link = os.path.join(LAB, "latest")
    part = f"{link}.{os.getpid()}"
    os.symlink(os.path.basename(path), part)
    os.replace(part, link)
    old = sorted(glob.glob(os.path.join(LAB, "[0-9]*-*")), key=os.path.getmtime)
    for directory in old[:-KEEP]:
        if not held(os.path.join(directory, HOLDER)):
            shutil.rmtree(directory, ignore_errors=True)
    return path


def setup(*uses):
    """Install packages that are missing for these uses (packages.wanted()); quick when there are none."""
    return packages.ensure(*uses)


def configured(directory, settings):
    """True when CMake's cache has these settings already."""
    try:
        with open(os.path.join(directory, "CMakeCache.txt"), encoding="utf-8") as text:
            lines = set(text.read().splitlines())
    except OSError:
        return False
    return all(any(line.startswith(f"{name}:") and line.endswith(f"={value}") for line in lines)
               for name, value in settings.items())


def cmake_build(directory, settings, log, targets=()):
    """Configure (when needed) and build; output goes to the log, errors show its end."""
    os.makedirs(directory, exist_ok=True)
    open(log, "wb").close()
    commands = []
    if not configured(directory, settings):
        commands.append(["cmake", "-S", ROOT, "-B", directory,
                         *(f"-D{name}={value}" for name, value in settings.items())])
    commands.append(["cmake", "--build", directory, "-j", str(os.cpu_count() or 1),
                     *(word for target in targets for word in ("--target", target))])
    for command in commands:
        if call(command, 1800, log=log):
            raise LabError(f"'{' '.join(command)}' failed; {log} ends with:\n{tail(log, 40)}")


def build(kernel, everything=False, more=()):
    """Build for a kernel what a guest needs, and more targets, or everything; returns the path of erdma.ko.

    The default kernel's module comes from the main build directory.  Another
    kernel's module is built in a directory of its own beside it.  The caller has installed the packages.
    """
    default = kernels.find()
    log = os.path.join(BUILD, "build.log")
    if not kernel.headers and not kernel.supported:
        raise LabError(f"kernel {kernel.version} has no headers to build the driver against; "
                       f"install linux-headers-{kernel.version}, or unpack that package and the "
                       "-common and kbuild ones beside the kernel's")
    own = not kernel.supported and os.path.realpath(kernel.headers) == os.path.realpath(default.headers)
    targets = ["erdma-model", "erdma-witness", *(["erdma-module"] if own and not kernel.driver else []), *more]
    cmake_build(BUILD, {"KERNEL_DIR": default.headers, "ERDMA_MODULE": "ON", "ERDMA_MODEL": "ON"}, log,
                [] if everything else targets)
    if kernel.driver:
        return kernel.driver
    if own:
        return os.path.join(BUILD, "src", "erdma.ko")
    if kernel.supported:
        return matrix.build_module(kernel.supported, kernel.version).module
    directory = os.path.join(BUILD, "kernel", f"module-{kernel.version}")
    cmake_build(directory, {"KERNEL_DIR": kernel.headers, "ERDMA_MODULE": "ON", "ERDMA_MODEL": "OFF",
                            "ERDMA_TESTS": "OFF"},
                os.path.join(BUILD, f"build-{kernel.version}.log"), ["erdma-module"])
    return os.path.join(directory, "src", "erdma.ko")


def driver_path(kernel):
    """Where build() leaves the module for a kernel, whether or not it is built; without a checkout, where it is installed."""
    if kernel.driver:
        return kernel.driver
    if CHECKOUT is None:
        return kernels.installed_driver(kernel)
    default = kernels.find()
    if kernel.headers and os.path.realpath(kernel.headers) == os.path.realpath(default.headers):
        return os.path.join(BUILD, "src", "erdma.ko")
    return os.path.join(BUILD, "kernel", f"module-{kernel.version}", "src", "erdma.ko")


def check_parts(kernel):
    """Raise LabError, which says what to do, where the model or the driver for this kernel is missing."""
    driver = driver_path(kernel)
    parts = [("the device model", machines.MODEL), ("QEMU's wrapper", machines.WRAPPER),
             (f"the driver for {kernel.version}", driver or os.path.join(kernel.modules, "updates", "dkms", "erdma.ko"))]
    absent = [f"{what} is not there: {path}" for what, path in parts if not os.path.exists(path)]
    if absent:
        build = CHECKOUT and os.path.exists(os.path.join(CHECKOUT, "lab"))
        name = "debug" if kernel.debug else kernel.supported or kernel.version
        raise LabError("; ".join(absent) + "\n" +
                       (f"Run ./lab build --kernel {name} in {CHECKOUT}." if build else kernels.HOW))


def make_vm(run, kernel, name="vm1", index=1, model=True, driver=True, **settings):
    """A Vm in a run's directory with the driver that was built for its kernel."""
    if not os.access(kernel.image, os.R_OK):  # as Ubuntu installs it
        raise LabError(f"{kernel.image} may not be read by this user; sudo chmod +r {kernel.image}, or take another --kernel")
    path = driver_path(kernel) if driver else None
    if driver and path is None:
        check_parts(kernel)
    if path and not os.path.exists(path):
        raise LabError(f"{path} is not built; run ./lab build --kernel {kernel.version}")
    return machines.Vm(os.path.join(run, name), kernel=kernel, driver=path, model=model, name=name, index=index, **settings)


def boot(vm):
    vm.start()
    say(f"{vm.name} runs {vm.kernel}, booted in {vm.boot_seconds:.1f} s; logs in "
        f"{os.path.relpath(vm.directory)}")
    return vm
