# SPDX-License-Identifier: GPL-2.0-or-later
"""Installs the distribution packages named in tools/lab/packages.txt."""

import os
import re
import shutil
import subprocess

from .common import BUILD, ROOT, LabError, alone, call, say

LIST = os.path.join(ROOT, "tools", "lab", "packages.txt")


def read_list():
    """Sections of the list: {name: (on_demand, [packages])}."""
    sections = {}
    current = None
    with open(LIST, encoding="utf-8") as text:
        for line in text:
            header = re.match(r"\[(\w+)\](.*)", line)
            line = line.split("#")[0].strip()
            if header:
                current = sections.setdefault(header[1], ("on demand" in header[2], []))
            elif line:
                current[1].append(line)
    return sections


def wanted(section=None):
    """Packages of one section, or of all that are not on demand."""
    sections = read_list()
    if section:
        return sections[section][1]
    return [name for on_demand, names in sections.values() if not on_demand for name in names]


def missing(names):
    """Those of the names that are not installed; virtual packages count when provided."""
    result = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Provides}\n"],
        text=True, timeout=60, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    have = set()
    for line in result.stdout.splitlines():
        state, _, rest = line.partition(" ")
        if state == "installed":
            have.update(re.findall(r"[a-z0-9][a-z0-9+.-]+", re.sub(r"\([^)]*\)", "", rest)))
    return [name for name in names if name not in have]


def version_of(package):
    """Installed version of a package, or an empty string."""
    result = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], text=True,
                            timeout=60, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return result.stdout if result.returncode == 0 else ""


def as_root():
    """Prefix that makes a command run as root."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo"):
        return ["sudo", "-E"]
    return None


def known_to_apt(names):
    """True when apt's lists offer every package."""
    result = subprocess.run(["apt-cache", "policy", *names], text=True, timeout=120,
                            env={**os.environ, "LC_ALL": "C"},
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    offered = len(re.findall(r"(?m)^  Candidate: (?!\(none\))", result.stdout))
    return offered == len(names)


def install(names):
    """Install packages with apt-get; refreshes apt's lists when they do not offer them."""
    if not shutil.which("apt-get"):
        raise LabError("this machine has no apt-get: the lab sets itself up on Debian 12 only; install "
                       f"what corresponds to these packages by hand: {' '.join(names)}")
    root = as_root()
    if root is None:
        raise LabError("packages are missing, and neither root nor sudo is at hand; as root run:\n  "
                       f"apt-get update && apt-get install {' '.join(names)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options = ["-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    update = [*root, "apt-get", *options, "update"]
    command = [*root, "apt-get", *options, "-y", "--no-install-recommends", "install", *names]
    say(f"installing {len(names)} packages: {' '.join(names)}")
    updated = not known_to_apt(names)
    if updated:
        call(update, 600, env=environment)
    code = call(command, 3600, env=environment)
    if code and not updated:
        say("installation failed; once more with fresh package lists")
        call(update, 600, env=environment)
        code = call(command, 3600, env=environment)
    if code:
        raise LabError(f"apt-get cannot install {len(names)} packages that are missing (exit code {code}); the lines above "
                       "say why: is the package archive within reach, is there room on the disk?")


def ensure(section=None):
    """Install what is missing; quick when nothing is.  Returns the number of packages installed."""
    if not missing(wanted(section)):
        return 0
    with alone(os.path.join(BUILD, "packages.lock")):
        absent = missing(wanted(section))
        if absent:
            install(absent)
            left = missing(absent)
            if left:
                raise LabError(f"apt-get succeeded but these are still missing: {' '.join(left)}")
        return len(absent)
