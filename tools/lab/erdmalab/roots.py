# SPDX-License-Identifier: GPL-2.0-or-later
"""Root directories of other Debian releases, made with mmdebstrap, and the kernels in them.

A release's root has its compiler and its kernels' headers, so that the driver is built there as it is on
such a machine.  Roots are kept in build/roots/ and made anew when their recipe changes.
"""

import collections
import os
import re
import shlex
import shutil
import subprocess
import tempfile

from . import packages
from .common import BUILD, ROOT, LabError, alone, call, say, tail

ROOTS = os.path.join(BUILD, "roots")
MIRROR = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"

# sources: (mirror, suite)
RELEASES = {
    "bullseye": [(MIRROR, "bullseye")],
    "bookworm": [(MIRROR, "bookworm"), (SECURITY, "bookworm-security"), (MIRROR, "bookworm-backports")],
    "trixie": [(MIRROR, "trixie")],
    "sid": [(MIRROR, "sid")],
}

Supported = collections.namedtuple("Supported", "release suite")
# The supported kernels by the name that people use, oldest first; the suite's newest is taken.
KERNELS = {
    "5.10": Supported("bullseye", "bullseye"),
    "6.1": Supported("bookworm", "bookworm-security"),
    "6.12": Supported("bookworm", "bookworm-backports"),
    "7.2": Supported("sid", "sid"),
}
FLAVOURS = ("amd64", "cloud-amd64")


def path_of(release):
    return os.path.join(ROOTS, release)


def recipe(release, extra):
    """What a root is made of, as text."""
    return "\n".join([release, *(" ".join(source) for source in RELEASES[release]), *sorted(extra)])


def stamped(path, text):
    try:
        with open(path + ".stamp", encoding="utf-8") as stamp:
            return stamp.read() == text
    except OSError:
        return False


def remove(path):
    """Delete a root.  Nothing is mounted in one outside of enter()."""
    with open("/proc/self/mounts", encoding="utf-8") as text:
        inside = [line.split()[1] for line in text if line.split()[1].startswith(path + "/")]
    if inside:
        raise LabError(f"{path} is not removed, something is mounted in it: {' '.join(inside)}")
    if call([*privileged(), "rm", "-rf", "--one-file-system", path], 600):
        raise LabError(f"cannot remove {path}")


def privileged():
    prefix = packages.as_root()
    if prefix is None:
        raise LabError("Debian roots are made as root, and neither root nor sudo is at hand")
    return prefix


def make(release, name=None, extra=()):
    """Make the root of a release with further packages, if it is not there; returns its path."""
    path = path_of(name or release)
    text = recipe(release, extra)
    with alone(path + ".lock"):
        if not stamped(path, text) or not os.path.isdir(path):
            bootstrap(release, path, extra)
            with open(path + ".stamp", "w", encoding="utf-8") as stamp:
                stamp.write(text)
    return path


def bootstrap(release, path, extra):
    packages.ensure("kernels")
    if os.path.exists(path):
        remove(path)
    log = path + ".log"
    open(log, "wb").close()
    say(f"making a Debian {release} root with mmdebstrap (log: {os.path.relpath(log)})")
    lines = [f"deb {mirror} {suite} main" for mirror, suite in RELEASES[release]]
    command = [*privileged(), "nice", "mmdebstrap", "--variant=apt", "--skip=cleanup/apt/lists",
               "--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Retries "3"',
               # A mirror may be older than Debian lets its index be; signatures are checked all the same.
               '--aptopt=Acquire::Check-Valid-Until "false"',
               '--aptopt=APT::Install-Recommends "false"', f"--include={','.join(['make', *extra])}",
               release, path, *lines]
    if call(command, 2400, log=log):
        raise LabError(f"mmdebstrap failed for {release}; {log} ends with:\n{tail(log, 15)}")


# In a mount namespace of its own, so that nothing stays mounted whatever happens.  Arguments: root,
# working directory, number of binds, HOST INSIDE for each, command.
ENTER = """
set -e
root=$1 cwd=$2 count=$3; shift 3
mount --make-rprivate /
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
while [ "$count" -gt 0 ]; do
    if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$(dirname "$root$2")"; touch "$root$2"; fi
    mount --bind "$1" "$root$2"
    shift 2; count=$((count - 1))
done
exec chroot "$root" /bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$cwd" "$@"
"""


def enter_command(root, command, binds=None, cwd="/", environment=None):
    """Command line that runs a command inside a root; binds: {host path: path inside}."""
    pairs = {"/etc/resolv.conf": "/etc/resolv.conf", **(binds or {})}
    settings = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
                "DEBIAN_FRONTEND": "noninteractive", **(environment or {})}
    return [*privileged(), "unshare", "--mount", "--pid", "--fork", "--kill-child",
            "/bin/sh", "-c", ENTER, "sh", root, cwd, str(len(pairs)),
            *(word for pair in pairs.items() for word in pair),
            "/usr/bin/env", "-i", *(f"{name}={value}" for name, value in settings.items()), *command]


def enter(root, command, timeout, **keywords):
    """Run a command inside a root; returns the CompletedProcess with output and errors in stdout."""
    log = keywords.pop("log", None)
    result = subprocess.run(enter_command(root, command, **keywords), stdin=subprocess.DEVNULL, text=True,
                            errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            timeout=timeout, check=False)
    if log:
        with open(log, "a", encoding="utf-8") as out:
            out.write(f"$ {shlex.join(command)}\n{result.stdout}")
    return result


def checked(root, command, timeout, **keywords):
    result = enter(root, command, timeout, **keywords)
    if result.returncode:
        raise LabError(f"in {os.path.relpath(root)}, '{shlex.join(command)}' ended with code "
                       f"{result.returncode}:\n{result.stdout[-3000:]}")
    return result.stdout


def copy_of_tree(target):
    """Copy to a directory what git knows or would know of the tree, as a clean clone has it; returns the directory."""
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z"], check=True, timeout=60,
                           stdout=subprocess.PIPE).stdout.split(b"\0")
    for name in map(os.fsdecode, filter(None, names)):
        source = os.path.join(ROOT, name)
        if os.path.lexists(source):
            os.makedirs(os.path.join(target, os.path.dirname(name)), exist_ok=True)
            shutil.copy2(source, os.path.join(target, name), follow_symlinks=False)
    return target


def scratch(name, original):
    """A copy of a root that the caller may spoil, and has to remove(); one that was left behind goes first."""
    path = path_of(f"scratch-{name}")
    if os.path.exists(path):
        remove(path)
    if call([*privileged(), "cp", "-a", "--reflink=auto", original, path], 600):
        raise LabError(f"cannot copy {original}")
    return path


# ---- kernels --------------------------------------------------------------------------------


def header_package(root, suite, flavour):
    """Name of the suite's newest header package."""
    text = checked(root, ["apt-get", "-s", "install", f"linux-headers-{flavour}/{suite}"], 120)
    # What the metapackage stands for is either among the new packages or installed already.
    found = re.findall(rf"^Inst (linux-headers-\d\S*-{flavour}) ", text, re.M)
    if not found:
        shown = checked(root, ["apt-cache", "show", f"linux-headers-{flavour}/{suite}"], 60)
        found = re.findall(rf"linux-headers-\d\S*?-{flavour}\b", shown)
    found = [name for name in found if flavour != "amd64" or not re.search(r"-(cloud|rt)-", name)]
    if not found:
        raise LabError(f"{suite} has no linux-headers-{flavour}")
    return found[0]


def headers(name, flavour=FLAVOURS[0]):
    """(root, release string) of a supported kernel, its headers installed in its release's root."""
    kernel = KERNELS[name]
    root = make(kernel.release)
    cache = os.path.join(ROOTS, f"headers-{name}-{flavour}")
    with alone(root + ".lock"):
        if os.path.exists(cache) and os.path.getmtime(cache) > os.path.getmtime(root + ".stamp"):
            with open(cache, encoding="utf-8") as text:
                return root, text.read()
        say(f"installing the headers of {name} {flavour} in {os.path.relpath(root)}")
        package = header_package(root, kernel.suite, flavour)
        # Some releases' headers bring the kernel along; nothing starts from its RAM disk here.
        checked(root, ["apt-get", "-q", "-y", "install", package], 1200, environment={"INITRD": "No"})
        release = package[len("linux-headers-"):]
        with open(cache, "w", encoding="utf-8") as out:
            out.write(release)
    return root, release


def unpacked_image(name):
    """Directory with the unpacked image and modules of a supported kernel's plain flavour."""
    root, release = headers(name)
    tree = os.path.join(BUILD, "kernel", f"image-{release}")
    if os.path.exists(tree + ".stamp"):
        return tree
    say(f"fetching the kernel {release}")
    shutil.rmtree(tree, ignore_errors=True)
    os.makedirs(tree)
    # Newer releases put the image and the modules into packages of their own.
    offered = checked(root, ["apt-cache", "pkgnames"], 60).split()
    wanted = [name for name in (f"linux-{part}-{release}" for part in ("image", "base", "binary", "modules"))
              if name in offered]
    with tempfile.TemporaryDirectory(dir=os.path.join(BUILD, "kernel")) as folder:
        os.chmod(folder, 0o777)
        checked(root, ["apt-get", "-q", "download", *wanted], 1200, binds={folder: "/mnt"}, cwd="/mnt")
        for package in os.listdir(folder):
            if call(["dpkg-deb", "-x", os.path.join(folder, package), tree], 600):
                raise LabError(f"cannot unpack {package}")
    with open(tree + ".stamp", "w", encoding="utf-8") as stamp:
        stamp.write("\n".join(wanted))
    return tree
