#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fetch and unpack the source package of exactly the installed QEMU.

The device model is compiled against QEMU's internal headers, which no binary
package carries.  This downloads the distribution's source package of the very
version that is installed, through apt and with apt's signature checks, but
without touching the machine's apt configuration: a private source list is
derived from the configured repositories.

    qemu_source.py --out DIR      unpack below DIR, print the path of the tree

The tree is DIR/qemu-<version> and complete when DIR/qemu-<version>.stamp
exists.  Downloaded files are kept in $ERDMA_CACHE/qemu when that is set, else in
DIR/download, and are used again.  Needs no root.
"""

import argparse
import fcntl
import os
import re
import shutil
import subprocess
import sys

BINARY_PACKAGE = "qemu-system-x86"
SOURCE_PACKAGE = "qemu"
DISTRIBUTIONS = ("Debian", "Ubuntu")


class SourceError(Exception):
    """Something that the caller has to be told in one sentence."""


def say(text):
    print(f"qemu-source: {text}", file=sys.stderr, flush=True)


def output_of(command):
    return subprocess.run(command, check=True, text=True, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def installed_version():
    """Source version of the installed QEMU, with epoch, such as 1:7.2+dfsg-7."""
    try:
        text = output_of(["dpkg-query", "-W", "-f",
                          "${db:Status-Status} ${source:Version}", BINARY_PACKAGE])
    except (subprocess.CalledProcessError, FileNotFoundError):
        text = ""
    state, _, version = text.partition(" ")
    if state != "installed":
        raise SourceError(f"package {BINARY_PACKAGE} is not installed; run ./lab setup")
    return version


def plain(version):
    """The version as it appears in file names: without epoch."""
    return version.split(":", 1)[-1]


def entry_trust(entry):
    """Signed-By and Trusted of a configured repository, given apt's FILE:NUMBER name of it.

    NUMBER counts stanzas in a .sources file and lines in a .list file.  Values are
    returned as they stand there, continuation lines (an inline key) included.
    """
    path, _, number = entry.rpartition(":")
    with open(path, encoding="utf-8") as text:
        content = text.read()
    wanted = ("signed-by", "trusted")
    found = {}
    if path.endswith(".sources"):
        stanzas = [part for part in re.split(r"\n[ \t]*\n", content)
                   if re.search(r"(?m)^[A-Za-z]", part)]
        stanza = "\n".join(line for line in stanzas[int(number) - 1].splitlines()
                           if not line.startswith("#"))
        for name, value in re.findall(r"(?m)^([\w-]+):((?:.*)(?:\n[ \t].*)*)", stanza):
            if name.lower() in wanted:
                found[name] = value.strip()
    else:
        options = re.search(r"\[(.*?)\]", content.splitlines()[int(number) - 1])
        for word in options.group(1).split() if options else ():
            name, _, value = word.partition("=")
            if name.lower() in wanted:
                found[name] = value.replace(",", " ")
    return found


def source_stanzas():
    """Source entries (deb822) for the repositories from which binaries come."""
    fields = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)|$(SOURCESENTRY)"
    text = output_of(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"])
    rows = [line.split("|") for line in dict.fromkeys(text.splitlines()) if line.count("|") == 4]
    chosen = [row for row in rows if row[3] in DISTRIBUTIONS] or rows
    stanzas = []
    for uri, release, component, _, entry in chosen:
        fields = {"Types": "deb-src", "URIs": uri, "Suites": release, "Components": component}
        fields.update(entry_trust(entry))
        stanzas.append("".join(f"{name}: {value}\n" for name, value in fields.items()))
    if not stanzas:
        raise SourceError("apt knows no repository; run apt-get update (or ./lab setup) first")
    return stanzas


def apt_options(private):
    """Options that keep every file apt writes below one private directory."""
    for sub in ("lists/partial", "cache/archives/partial", "parts"):
        os.makedirs(os.path.join(private, sub), exist_ok=True)
    with open(os.path.join(private, "parts", "lab.sources"), "w", encoding="utf-8") as out:
        out.write("\n".join(source_stanzas()))
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": os.path.join(private, "parts"),
        "Dir::State::lists": os.path.join(private, "lists"),
        "Dir::Cache": os.path.join(private, "cache"),
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    if os.geteuid() == 0:
        settings["APT::Sandbox::User"] = "root"
    return [part for item in settings.items() for part in ("-o", "=".join(item))]


def description_file(download, version):
    return os.path.join(download, f"{SOURCE_PACKAGE}_{plain(version)}.dsc")


def have_download(download, version):
    """True when every file the description names is there (dpkg-source checks the sums)."""
    path = description_file(download, version)
    if not os.path.exists(path):
        return False
    with open(path, encoding="utf-8") as text:
        words = [line.split() for line in text]
    names = {w[2] for w in words if len(w) == 3 and w[2].startswith(SOURCE_PACKAGE + "_")}
    return all(os.path.exists(os.path.join(download, name)) for name in names)


def fetch(download, version):
    if have_download(download, version):
        return
    os.makedirs(download, exist_ok=True)
    private = os.path.join(download, "apt")
    options = apt_options(private)
    say("reading the source index")
    result = subprocess.run(["apt-get", *options, "-q", "update"], timeout=600, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    index_log = result.stdout
    say(f"downloading {SOURCE_PACKAGE} {version}")
    result = subprocess.run(
        ["apt-get", *options, "-q", "source", "--download-only", f"{SOURCE_PACKAGE}={version}"],
        cwd=download, timeout=1800, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode or not have_download(download, version):
        sys.stderr.write(index_log + result.stdout)
        raise SourceError(
            f"the source of {SOURCE_PACKAGE} {version} cannot be downloaded; when the archive has "
            f"only a newer one, run: apt-get update && apt-get install {BINARY_PACKAGE}")
    shutil.rmtree(private, ignore_errors=True)


def unpack(out, download, version):
    tree = os.path.join(out, f"{SOURCE_PACKAGE}-{plain(version)}")
    stamp = tree + ".stamp"
    if os.path.exists(stamp) and os.path.isdir(tree):
        return tree
    part = tree + ".part"
    for leftover in (part, tree):
        shutil.rmtree(leftover, ignore_errors=True)
    fetch(download, version)
    say(f"unpacking to {tree}")
    result = subprocess.run(
        ["dpkg-source", "--no-copy", "-q", "-x", description_file(download, version), part],
        timeout=900, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode:
        shutil.rmtree(part, ignore_errors=True)
        os.unlink(description_file(download, version))
        sys.stderr.write(result.stdout)
        raise SourceError("dpkg-source failed; the download was discarded, run this again")
    os.rename(part, tree)
    with open(stamp, "w", encoding="utf-8") as done:
        done.write(version + "\n")
    return tree


def prepare(out):
    """Unpack the matching tree below out and return its path."""
    out = os.path.abspath(out)
    os.makedirs(out, exist_ok=True)
    version = installed_version()
    cache = os.environ.get("ERDMA_CACHE")
    download = os.path.join(os.path.abspath(cache), "qemu") if cache else os.path.join(out, "download")
    with open(os.path.join(out, ".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return unpack(out, download, version)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="directory that receives the tree")
    parser.add_argument("--version", action="store_true",
                        help="print the installed QEMU's source version and do nothing else")
    arguments = parser.parse_args()
    try:
        print(installed_version() if arguments.version else prepare(arguments.out))
    except (SourceError, subprocess.TimeoutExpired, OSError) as error:
        say(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
