# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of erdma-dkms on Debian 13, whose DKMS is of another kind (3.1 and later): without headers at first."""

import re

import pytest

from scratch import Stages, add_headers, debian13, install, repacked

# With a driver of one file.
FIRST, NEWER = "9.2.1", "9.2.2"


def without_headers(machine):
    machine.said = install(machine, repacked(machine.packages, FIRST)).stdout


def headers(machine):
    machine.kernel, machine.said = add_headers(machine, "amd64")


def second_kernel(machine):
    machine.second, machine.said = add_headers(machine, "cloud-amd64")


def upgrade(machine):
    machine.said = install(machine, repacked(machine.packages, NEWER)).stdout


@pytest.fixture(scope="module")
def life(packages):
    stages = Stages(debian13, {
        "no headers": ("fresh", without_headers), "headers": ("no headers", headers),
        "two kernels": ("headers", second_kernel), "newer": ("two kernels", upgrade),
        "purged": ("newer", lambda machine: machine.run("dpkg", "-P", "erdma-dkms"))}, packages=packages)
    yield stages
    stages.close()


def state(machine, kernel):
    """What DKMS says of a kernel's module."""
    said = machine.run("dkms", "status", "erdma", "-k", kernel).stdout
    print(said)
    found = re.findall(r"(?m)^erdma/(\S+), \S+, \S+: (\w+)", said)
    assert len(found) == 1, said
    return found[0]


def calm(text):
    """Nothing in it that a user of this DKMS would not expect."""
    print(text)
    assert not re.search(r"(?i)deprecated|\berror|bad return|warning: (?!no kernel headers)", text)


def test_without_headers(life):
    machine = life.at("no headers")
    calm(machine.said)
    assert "No kernel headers were found" in machine.said
    assert machine.run("dkms", "status", "erdma").stdout.strip() == f"erdma/{FIRST}: added"
    assert machine.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "erdma-dkms").stdout == "installed"


def test_headers_that_come_later(life):
    """Their installation gives a module that is installed, not only built."""
    machine = life.at("headers")
    calm(machine.said)
    assert state(machine, machine.kernel) == (FIRST, "installed")
    assert machine.module() == FIRST
    assert "/updates/dkms/" in machine.where()


def both_have(machine, version):
    calm(machine.said)
    for kernel in (machine.kernel, machine.second):
        assert state(machine, kernel) == (version, "installed")
        assert machine.module(kernel) == version


def test_second_kernel(life):
    both_have(life.at("two kernels"), FIRST)


def test_upgrade(life):
    machine = life.at("newer")
    both_have(machine, NEWER)
    assert FIRST not in machine.run("dkms", "status", "erdma").stdout


def test_purge_leaves_nothing(life):
    machine = life.at("purged")
    assert machine.module(machine.kernel) is None and machine.module(machine.second) is None
    left = {path for path in machine.tree() - machine.before if "erdma" in path}
    assert left == set()
    assert "updates" not in {path.split("/")[-1] for path in machine.tree() - machine.before}
