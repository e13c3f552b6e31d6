# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user of each release does first, in a root of it that has nothing but Python: the tests of a release run in
this order, each goes on from the one before.

The guests of such a host have the root's own file system.  What a kind of test prints is in the test's output; the
root stays in build/roots/scratch-host-RELEASE when a test of it failed.
"""

import os
import re
import shlex
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab import packages, roots  # noqa: E402  (found through the line above)

RELEASES = ("bookworm", "trixie", "sid")
PLACE = "/src/erdma"
OTHER_QEMU = "trixie"
# Boot, driver, user programs, kernel log; the wire between two guests.
SMOKE = "test_boot or test_load or test_verbs or test_cable or test_rping"
# The host's own, as a container has them.
DEVICES = ("/sys", "/dev", "/dev/pts", "/dev/shm")


class Host:
    """A root of a release with a copy of the tree."""

    def __init__(self, release):
        self.release = release
        self.path = roots.scratch(f"host-{release}", roots.make(release, f"host-{release}", ["python3", "ca-certificates"]))
        roots.copy_of_tree(os.path.join(self.path, PLACE.lstrip("/")))

    def run(self, command, limit, place=PLACE, check=True):
        """Run a command in the tree, print what it says, and fail with its end when it fails; returns the output."""
        result = roots.enter(self.path, shlex.split(command), limit, cwd=place, environment={"TERM": "dumb"},
                             binds={path: path for path in DEVICES if os.path.exists(path)})
        print(f"[{self.release}] {command}\n{result.stdout}")
        assert not check or result.returncode == 0, f"{command}: {result.returncode}\n{result.stdout[-4000:]}"
        return result.stdout

    def take_qemu_of(self, release):
        """Install QEMU of another release, whose source the archive has."""
        mirror, suite = roots.RELEASES[release][0]
        names = " ".join(f"{name}/{suite}" for name in ("qemu-system-x86", "qemu-system-common", "qemu-system-data"))
        self.run(f"sh -c 'echo deb {mirror} {suite} main >/etc/apt/sources.list.d/other.list && apt-get -q update && "
                 f"apt-get -q install -y --no-install-recommends --allow-downgrades {names}'", 900, "/")


@pytest.fixture(scope="module", params=RELEASES)
def host(request):
    made = Host(request.param)
    failed = request.session.testsfailed
    yield made
    if request.session.testsfailed == failed:
        roots.remove(made.path)


def test_names(host):
    """Every line of the package list has one that this release's archive offers."""
    everything = [package for section in packages.read_list().values() for package in section.packages]
    names = sorted({name for package in everything for name in package})
    offered = packages.candidates(host.run(f"apt-cache policy {' '.join(names)}", 300, "/"))
    assert packages.chosen(everything, offered)[1] == []


def test_source_of_qemu(host):
    """The archive has the source of the QEMU that it offers.  A mirror of sid may lack it for days."""
    host.run("./lab setup demo", 2400, check=False)
    problem = host.run(f"tools/lab/qemu_source.py --out {PLACE}/build/qemu-source", 1800, check=False)
    if "cannot be downloaded" in problem:
        host.take_qemu_of(OTHER_QEMU)
        pytest.skip(f"{host.release}: {problem.strip().splitlines()[-1]}; QEMU is {OTHER_QEMU}'s from here on")


def test_demo(host):
    output = host.run("./lab demo", 2400)
    assert "the demo passed" in output
    assert len(re.findall(r"100 round trips, data verified +passed", output)) == 2


def test_run_without_root(host):
    """Once the packages are there: build, boot, load, run, all as a user without rights."""
    host.run(f"sh -c 'useradd -m tester && chown -R tester: {PLACE} && touch {PLACE}/src/*.c'", 300, "/")
    output = host.run("runuser -u tester -- ./lab run -- sh -c 'ibv_devinfo && touch /share/mine'", 1800)
    assert re.search(r"state:\s+PORT_ACTIVE", output)


def test_update_of_qemu(host):
    """Another build of the same release, where the archive has one, works with the model that is there."""
    policy = host.run("apt-cache policy qemu-system-x86", 60, "/")
    versions = re.findall(r"(?m)^ (?:\*\*\*|   ) (\S+) \d+$", policy)
    installed = re.search(r"Installed: (\S+)", policy)[1]
    release = re.match(r"(\d+:)?\d+\.\d+\.?", installed)[0]
    others = [version for version in versions if version.startswith(release) and version != installed]
    if not others:
        pytest.skip(f"the archive of {host.release} has one build of QEMU {release} only: {', '.join(versions)}")
    names = [name for name in ("qemu-system-x86", "qemu-system-common", "qemu-system-data")
             if "Installed: (none)" not in host.run(f"apt-cache policy {name}", 60, "/")]

    def put(version):
        host.run("apt-get install -y --no-install-recommends --allow-downgrades "
                 + " ".join(f"{name}={version}" for name in names), 600, "/")

    put(others[0])
    try:
        output = host.run("./lab run --no-build -- sh -c 'rping -s -C 10 & sleep 1; rping -c -a 10.77.0.1 -C 10 -v'", 600)
        assert output.count("ping data") == 10
    finally:
        put(installed)


@pytest.mark.parametrize("kind", ["unit", f"vm -k '{SMOKE}'"], ids=["unit", "smoke"])
def test_lab_test(host, kind):
    output = host.run(f"./lab test {kind}", 4800)
    assert re.search(r"(?m)^\d{2,} passed, 0 failed", output)
