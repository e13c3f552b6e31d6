# SPDX-License-Identifier: GPL-2.0-or-later
"""The example scenarios do what they say, and ./lab scenario says how it went."""

import glob
import os
import subprocess

import pytest

from erdmalab.common import ROOT
from erdmalab.vm import Vm

FOLDER = os.path.join(ROOT, "examples", "scenarios")
QUICK = ("lost-packet", "killed-peer")
LONG = ("short-cut", "lost-tail", "mtu-change", "lost-interrupt", "stuck-command", "nic-down", "unplug", "adapter-reset")


@pytest.fixture(autouse=True)
def as_users_have_it(monkeypatch):
    """The driver brings back what failed, unlike in other tests (conftest.py)."""
    monkeypatch.setattr(Vm, "driver_params", "")


@pytest.mark.limit(600)
@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)])
def test_example(scenario, name):
    assert scenario(os.path.join(FOLDER, f"{name}.toml")).rows


def test_every_example_is_tested():
    there = {os.path.basename(path)[:-len(".toml")] for path in glob.glob(os.path.join(FOLDER, "*.toml"))}
    assert there == {*QUICK, *LONG}


FAILS = """
title = "a program that fails"
guests.count = 1
[[programs]]
name = "one"
guest = "vm1"
run = "echo these words; exit 3"
[[checks]]
check = "output"
program = "one"
prints = "these words"
"""
COMPLAINS = """
title = "a kernel that complains"
guests.count = 1
[[programs]]
name = "one"
guest = "vm1"
run = "echo '<4>WARNING: made by a test' > /dev/kmsg"
"""


def test_command(lab, tmp_path):
    """A file after the other, with a table each; a complaint counts more than a failure."""
    if not lab.model:
        pytest.skip("./lab scenario always has the adapter")
    paths = []
    for name, content in (("fails", FAILS), ("complains", COMPLAINS)):
        path = tmp_path / f"{name}.toml"
        path.write_text(content, encoding="utf-8")
        paths.append(str(path))
    result = subprocess.run([os.path.join(ROOT, "lab"), "scenario", "--no-build", "--kernel",
                             "debug" if lab.kernel.debug else lab.kernel.version, *paths], cwd=ROOT, timeout=280, text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert result.returncode == 126, result.stdout + result.stderr
    first, second = result.stdout.split(f"{paths[1]}: FAILED\n")
    assert first.startswith(f"{paths[0]}: FAILED\n"), first
    assert "one: exit code" in first and "--- one (echo these words; exit 3):\nthese words" in first, first
    assert "made by a test" in second and "made by a test" not in first, second
    assert "one: these words\n" in result.stderr, result.stderr
