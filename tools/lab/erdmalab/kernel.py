# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest kernels: which one, its modules, and the debug kernel's build."""

import functools
import glob
import hashlib
import os
import re
import shutil
import subprocess

from . import packages, roots
from .common import BUILD, CHECKOUT, LAB, ROOT, LabError, call, kill_group, say, tail

DEBUG_DIR = os.path.join(BUILD, "kernel", "debug")
DEBUG_CONFIG = os.path.join(ROOT, "tools", "lab", "kernel-debug.config")


# What to do where there is no checkout and a part is missing.
HOW = """Name a checkout of ERDMA in which './lab build' was run, or its build directory (ERDMA_DIR; for pytest also --erdma or
"erdma = ..." in its configuration file), or install the packages erdma-qemu-model, erdma-dkms and eadm."""


class Kernel:
    """A bootable kernel.

    version   release string as uname -r prints it
    image     path of the compressed image
    modules   directory with modules.dep (…/lib/modules/VERSION)
    headers   directory to build modules against, or None
    debug     True for the lab's debug kernel: slower and hungrier
    supported name in roots.KERNELS of a kernel whose modules are built in its release's root, or None
    driver    path of another erdma.ko that its guests get, or None for the one that is built here
    """

    driver = None

    def __init__(self, version, image, modules, headers, debug=False, supported=None):
        self.version, self.image, self.modules = version, image, modules
        self.headers, self.debug, self.supported = headers, debug, supported

    def __repr__(self):
        return f"{self.version}{' (debug)' if self.debug else ''}"


def version_key(version):
    """Sorts release strings the way people count."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part)
            for part in re.split(r"(\d+)", version) if part]


def first_directory(*candidates):
    for path in candidates:
        if os.path.exists(os.path.join(path, "Makefile")):
            return os.path.realpath(path)
    return None


def installed():
    """Kernels installed on this machine, newest last; those without headers are included."""
    kernels = []
    for image in glob.glob("/boot/vmlinuz-*"):
        version = os.path.basename(image)[len("vmlinuz-"):]
        modules = os.path.join("/lib/modules", version)
        if os.path.exists(os.path.join(modules, "modules.dep")):
            kernels.append(Kernel(version, image, modules,
                                  first_directory(os.path.join(modules, "build"))))
    return sorted(kernels, key=lambda kernel: version_key(kernel.version))


def installed_driver(kernel):
    """Path of the driver among a kernel's own modules, as DKMS installs it, or None."""
    found = glob.glob(os.path.join(kernel.modules, "updates", "**", "erdma.ko*"), recursive=True)
    return found[0] if found else None


def adopted_headers(tree, version):
    """Headers of an unpacked package made usable where they lie.

    The top Makefile of Debian's and Ubuntu's header packages may include one by
    an absolute path; a directory of links with that line changed takes its place.
    """
    original = first_directory(os.path.join(tree, "usr", "src", f"linux-headers-{version}"))
    if original is None:
        return None
    with open(os.path.join(original, "Makefile"), encoding="utf-8") as text:
        makefile = text.read()
    changed = re.sub(r"(?m)^(include\s+)/usr/src/", rf"\1{tree}/usr/src/", makefile)
    if changed == makefile:
        return original
    key = hashlib.sha256(tree.encode()).hexdigest()[:8]
    copy = os.path.join(BUILD, "kernel", f"headers-{version}-{key}")
    shutil.rmtree(copy, ignore_errors=True)
    os.makedirs(copy)
    for name in os.listdir(original):
        if name != "Makefile":
            os.symlink(os.path.join(original, name), os.path.join(copy, name))
    with open(os.path.join(copy, "Makefile"), "w", encoding="utf-8") as out:
        out.write(changed)
    return copy


def unpacked(tree):
    """Kernel in a directory where its packages were unpacked (dpkg-deb -x)."""
    tree = os.path.abspath(tree)
    images = glob.glob(os.path.join(tree, "boot", "vmlinuz-*"))
    for base in ("lib", "usr/lib"):
        images += glob.glob(os.path.join(tree, base, "modules", "*", "vmlinuz"))
    if len(images) != 1:
        raise LabError(f"{tree} has {len(images)} kernel images, expected one boot/vmlinuz-VERSION: "
                       "unpack a kernel's image, modules and headers packages there with dpkg-deb -x")
    name = os.path.basename(images[0])
    version = name[len("vmlinuz-"):] if "-" in name else os.path.basename(os.path.dirname(images[0]))
    for base in ("lib/modules", "usr/lib/modules"):
        modules = os.path.join(tree, base, version)
        if os.path.isdir(os.path.join(modules, "kernel")):
            break
    else:
        raise LabError(f"{tree} has no modules for {version}; unpack its modules package there too")
    if not os.path.exists(os.path.join(modules, "modules.dep")):
        say(f"indexing the modules of {version}")
        root = modules[:-len(os.path.join("/lib/modules", version))]
        if call(["/sbin/depmod", "-b", root, version], 120, quiet=True):
            raise LabError(f"depmod failed for {modules}; is the directory writable?")
    headers = adopted_headers(tree, version) or first_directory(os.path.join(modules, "build"))
    return Kernel(version, images[0], modules, headers)


def debug_kernel(build=False):
    """The debug kernel; built first when asked for, else an error says how."""
    stamp = os.path.join(DEBUG_DIR, "stamp")
    try:
        with open(stamp, encoding="utf-8") as text:
            version, key = text.read().split()
    except (OSError, ValueError):
        version = key = ""
    if key != debug_key():
        if not build:
            raise LabError("the debug kernel is not built, or not from the present configuration; "
                           "run ./lab kernel debug (takes about 10 minutes)")
        return build_debug()
    return Kernel(version, os.path.join(DEBUG_DIR, "vmlinuz"),
                  os.path.join(DEBUG_DIR, "install", "lib", "modules", version),
                  os.path.join(DEBUG_DIR, "linux"), debug=True)


def find(name=None):
    """Kernel by name: None (newest with headers), 'debug', a supported kernel, a version, or a directory."""
    if name == "debug":
        return debug_kernel()
    if name in roots.KERNELS:
        if CHECKOUT is None:
            raise LabError(f"kernel {name}: the lab gets it with a checkout only (ERDMA_DIR); without one, name an installed "
                           "kernel or a directory of unpacked packages")
        kernel = unpacked(roots.unpacked_image(name))
        return Kernel(kernel.version, kernel.image, kernel.modules, None, supported=name)
    if name and os.path.isdir(name):
        return unpacked(name)
    kernels = installed()
    if name:
        for kernel in kernels:
            if kernel.version == name:
                return kernel
        known = ", ".join(kernel.version for kernel in kernels) or "none"
        raise LabError(f"kernel '{name}': neither 'debug', one of {', '.join(roots.KERNELS)}, a directory "
                       f"nor installed (installed: {known})")
    # Where there is nothing to build, the one that matters has the driver.
    usable = [kernel for kernel in kernels if (kernel.headers if CHECKOUT else installed_driver(kernel))]
    if not usable:
        raise LabError("no kernel with headers is installed; run ./lab setup" if CHECKOUT else
                       f"no installed kernel has the driver.\n{HOW}")
    # Cloud and real-time flavours lack drivers that guests need.
    plain = [k for k in usable if not re.search(r"-(rt|cloud)-", k.version)]
    return (plain or usable)[-1]


# ---- modules: the kernel's own plus the driver under test --------------------------------

def extra_modules(kernel, drivers):
    """Directory to lay over /lib/modules/VERSION: the drivers in updates/ and fresh indices.

    With it `modprobe erdma` in the guest takes the driver built here even where the
    distribution's kernel ships one of that name.  Indexing takes some seconds, so the
    result is kept until a driver's dependencies or aliases change.
    """
    if not drivers:
        return None
    facts = [kernel.version, kernel.modules,
             str(os.stat(os.path.join(kernel.modules, "modules.dep")).st_mtime_ns)]
    for driver in drivers:
        info = subprocess.run(["/sbin/modinfo", driver], check=True, timeout=30, text=True,
                              stdout=subprocess.PIPE).stdout
        facts += [os.path.basename(driver)]
        facts += re.findall(r"(?m)^(?:depends|alias|softdep|vermagic):.*", info)
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
    cache = os.path.join(LAB, "cache")
    extra = os.path.join(cache, f"modules-{kernel.version}-{key}")
    if not os.path.exists(os.path.join(extra, "modules.dep.bin")):
        os.makedirs(cache, exist_ok=True)
        work = os.path.join(cache, f"index-{os.getpid()}")
        shutil.rmtree(work, ignore_errors=True)
        tree = os.path.join(work, "lib", "modules", kernel.version)
        os.makedirs(os.path.join(tree, "updates"))
        try:
            for name in os.listdir(kernel.modules):
                if name == "kernel" or re.match(r"modules\.(order|builtin)(\.modinfo)?$", name):
                    os.symlink(os.path.join(kernel.modules, name), os.path.join(tree, name))
            for driver in drivers:
                shutil.copy(driver, os.path.join(tree, "updates"))
            if call(["/sbin/depmod", "-b", work, kernel.version], 120):
                raise LabError("depmod failed")
            for name in os.listdir(tree):
                if os.path.islink(os.path.join(tree, name)):
                    os.unlink(os.path.join(tree, name))
            try:
                os.rename(tree, extra)
            except OSError:  # another lab process was quicker
                if not os.path.isdir(extra):
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return extra


# ---- the debug kernel ---------------------------------------------------------------------

def source_package():
    """The package that the distribution's metapackage linux-source stands for, such as linux-source-6.1, or None."""
    result = subprocess.run(["dpkg-query", "-W", "-f", "${Depends}", "linux-source"], text=True, timeout=60, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    found = re.search(r"linux-source-[\w.+-]+", result.stdout)
    return found[0] if found else None


def source_archive(package):
    """The kernel source that a package put below /usr/src."""
    found = sorted(glob.glob(f"/usr/src/{package}.tar.*"))
    if not found:
        raise LabError(f"/usr/src/{package or 'linux-source-VERSION'}.tar.xz is missing; install the package linux-source")
    return found[0]


@functools.lru_cache(maxsize=None)
def debug_key():
    """Identifies source and configuration of a debug kernel build."""
    digest = hashlib.sha256()
    with open(DEBUG_CONFIG, "rb") as text:
        digest.update(text.read())
    digest.update(packages.version_of(source_package() or "").encode())
    return digest.hexdigest()[:16]


def make_with_progress(arguments, cwd, log, expected):
    """Run make with its output in a log; prints how far it is twice a minute."""
    with open(log, "ab") as sink:
        process = subprocess.Popen(["nice", "-n", "10", "make", f"-j{os.cpu_count() or 1}", *arguments],
                                   cwd=cwd, stdin=subprocess.DEVNULL, stdout=sink,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            for _ in range(240):
                try:
                    code = process.wait(timeout=30)
                    break
                except subprocess.TimeoutExpired:
                    with open(log, "rb") as text:
                        done = sum(1 for line in text if re.match(rb"\s+(CC|AS)\s", line))
                    say(f"  debug kernel: {done} of about {expected} files compiled")
            else:
                raise LabError(f"the debug kernel's build takes more than 2 hours; see {log}")
        finally:
            if process.poll() is None:
                kill_group(process)
    if code:
        raise LabError(f"the debug kernel's build failed; {log} ends with:\n{tail(log)}")


def build_debug():
    """Build the debug kernel from the distribution's source package; about 10 minutes."""
    packages.ensure("kernel")
    os.makedirs(DEBUG_DIR, exist_ok=True)
    key = debug_key()
    tree, log = os.path.join(DEBUG_DIR, "linux"), os.path.join(DEBUG_DIR, "build.log")
    stamp = os.path.join(DEBUG_DIR, "stamp")
    if os.path.exists(stamp):
        os.unlink(stamp)
    open(log, "wb").close()
    source = os.path.join(DEBUG_DIR, "source.version")
    wanted = packages.version_of(source_package() or "")
    have = open(source, encoding="utf-8").read() if os.path.exists(source) else ""
    if have != wanted or not os.path.isdir(tree):
        archive = source_archive(source_package())
        say("unpacking the kernel source")
        shutil.rmtree(tree, ignore_errors=True)
        os.makedirs(tree)
        if call(["tar", "-C", tree, "--strip-components=1", "-xf", archive], 600):
            raise LabError(f"cannot unpack {archive}")
        with open(source, "w", encoding="utf-8") as out:
            out.write(wanted)
    say(f"building the debug kernel (log: {log})")
    for command in (["make", "-s", "tinyconfig"],
                    ["scripts/kconfig/merge_config.sh", "-m", ".config", DEBUG_CONFIG],
                    ["make", "olddefconfig"]):
        if call(command, 300, cwd=tree, log=log):
            raise LabError(f"'{' '.join(command)}' failed; {log} ends with:\n{tail(log)}")
    make_with_progress(["bzImage", "modules"], tree, log, 2700)
    install = os.path.join(DEBUG_DIR, "install")
    shutil.rmtree(install, ignore_errors=True)
    make_with_progress(["modules_install", f"INSTALL_MOD_PATH={install}"], tree, log, 2700)
    version = subprocess.run(["make", "-s", "kernelrelease"], cwd=tree, check=True, text=True,
                             timeout=120, stdout=subprocess.PIPE).stdout.strip()
    shutil.copy(os.path.join(tree, "arch/x86/boot/bzImage"), os.path.join(DEBUG_DIR, "vmlinuz"))
    with open(stamp, "w", encoding="utf-8") as out:
        out.write(f"{version} {key}\n")
    say(f"debug kernel {version} is ready")
    return debug_kernel()
