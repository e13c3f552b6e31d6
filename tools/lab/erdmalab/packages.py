# SPDX-License-Identifier: GPL-2.0-or-later
"""Installs the distribution packages named in tools/lab/packages.txt."""

import collections
import os
import re
import shutil
import subprocess

from .common import BUILD, ROOT, LabError, alone, call, say

LIST = os.path.join(ROOT, "tools", "lab", "packages.txt")
# Set: whatever is missing stays so, in this process and in those that it starts (./lab ... --no-install).
NO_INSTALL = "ERDMA_NO_INSTALL"
TRIED = "Debian 12, 13 and sid and Ubuntu 22.04 and 24.04"

# uses: {use: True when ./lab setup leaves the section out for it}; packages: tuples of alternatives
Section = collections.namedtuple("Section", "uses packages")


def read_list():
    """Sections of the list: {name: Section}."""
    sections = {}
    current = None
    with open(LIST, encoding="utf-8") as text:
        for line in text:
            line = line.split("#")[0].strip()
            header = re.match(r"\[(\w+)\](.*)", line)
            if header:
                uses = {word.rstrip("*"): word.endswith("*") for word in header[2].split()}
                current = sections[header[1]] = Section(uses, [])
            elif line:
                current.packages.append(tuple(name.strip() for name in line.split("|")))
    return sections


def uses():
    """What packages can be wanted for."""
    return list(dict.fromkeys(use for section in read_list().values() for use in section.uses))


def wanted(*names):
    """Packages, each a tuple of alternatives, for these uses; without any, for all that ./lab setup prepares for."""
    unknown = set(names) - set(uses())
    if unknown:
        raise LabError(f"{LIST} has no section for {' '.join(sorted(unknown))}")
    return list(dict.fromkeys(
        package for section in read_list().values()
        if any(name in section.uses for name in names) or (not names and not all(section.uses.values()))
        for package in section.packages))


def installed():
    """Names of the installed packages, with those that they provide."""
    try:
        result = subprocess.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Provides}\n"],
            text=True, timeout=60, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        return set()
    have = set()
    for line in result.stdout.splitlines():
        state, _, rest = line.partition(" ")
        if state == "installed":
            have.update(re.findall(r"[a-z0-9][a-z0-9+.-]+", re.sub(r"\([^)]*\)", "", rest)))
    return have


def missing(packages):
    """Those packages of which no alternative is installed."""
    have = installed()
    return [package for package in packages if have.isdisjoint(package)]


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


def candidates(policy):
    """Names that have a candidate for installation in what apt-cache policy printed."""
    return set(re.findall(r"(?m)^(\S+):\n(?:  Installed: .*\n)?  Candidate: (?!\(none\))", policy))


def offered(names):
    """Those of the names that apt can install, by the lists it has."""
    result = subprocess.run(["apt-cache", "policy", *names], text=True, timeout=120, check=False,
                            env={**os.environ, "LC_ALL": "C"},
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return candidates(result.stdout)


def chosen(packages, have):
    """The first alternative of each package that is in the set have, and the packages without one."""
    names = [next((name for name in package if name in have), None) for package in packages]
    return [name for name in names if name], [package for package, name in zip(packages, names) if not name]


def spelled(packages):
    """Packages for a reader, one a line."""
    return "".join(f"\n  {' or '.join(package)}" for package in packages)


def distribution():
    """What the machine says it runs."""
    try:
        with open("/etc/os-release", encoding="utf-8") as text:
            found = re.search(r'(?m)^PRETTY_NAME="?([^"\n]*)', text.read())
    except OSError:
        found = None
    return found[1] if found else "an unknown system"


def by_hand(packages, reason):
    """The error that says what to install on a system that this list does not fit."""
    return LabError(f"{reason}. The lab knows the packages of {TRIED}; this is {distribution()}. Install what "
                    f"corresponds to these, then say the same with --no-install:{spelled(packages)}")


def install(packages):
    """Install packages with apt-get; refreshes apt's lists when they do not offer all.  Returns the names."""
    if not shutil.which("apt-get"):
        raise by_hand(packages, "packages are missing and there is no apt-get")
    root = as_root()
    alternatives = [name for package in packages for name in package]
    names, unknown = chosen(packages, offered(alternatives))
    if root is None:
        raise LabError("packages are missing, and neither root nor sudo is at hand; go on without them by --no-install, "
                       "or as root run:\n  apt-get update && apt-get install --no-install-recommends "
                       f"{' '.join(names + [package[0] for package in unknown])}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options = ["-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    update = [*root, "apt-get", *options, "update"]
    updated = bool(unknown)
    if updated:
        call(update, 600, env=environment)
        names, unknown = chosen(packages, offered(alternatives))
        if unknown:
            raise by_hand(unknown, "apt-get knows none of some packages' names")
    say(f"installing {len(names)} packages: {' '.join(names)}")
    command = [*root, "apt-get", *options, "-y", "--no-install-recommends", "install", *names]
    code = call(command, 3600, env=environment)
    if code and not updated:
        say("installation failed; once more with fresh package lists")
        call(update, 600, env=environment)
        code = call(command, 3600, env=environment)
    if code:
        raise LabError(f"apt-get cannot install {len(names)} packages that are missing (exit code {code}); the lines above "
                       "say why: is the package archive within reach, is there room on the disk?")
    return names


def ensure(*names):
    """Install what is missing for these uses (see wanted()); quick when nothing is.  Returns how many packages."""
    if not missing(wanted(*names)):
        return 0
    if os.environ.get(NO_INSTALL):
        say(f"not installed, going on without:{spelled(missing(wanted(*names)))}")
        return 0
    with alone(os.path.join(BUILD, "packages.lock")):
        absent = missing(wanted(*names))
        if absent:
            install(absent)
            left = missing(absent)
            if left:
                raise LabError(f"apt-get succeeded but these are still missing:{spelled(left)}")
        return len(absent)
