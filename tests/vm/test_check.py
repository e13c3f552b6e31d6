# SPDX-License-Identifier: GPL-2.0-or-later
"""Check mode: programs with one mistake each, and the same without (docs/check.md)."""

import json
import os
import subprocess

import jsonschema
import pytest

from erdmalab import check
from erdmalab.common import ROOT
from support import program

MISTAKES = ["source_changed", "read_too_early", "sink_overlap", "unordered_reuse", "stale_key", "out_of_bounds",
            "wrong_rights", "wrong_pd", "cq_overflow", "sq_overrun", "unsignalled_full", "destroyed_busy"]

WARNINGS = ["shared_sink", "posted_after_error"]
ADVICE = ["receiver_late", "no_inline", "register_often", "signal_all", "tiny_messages", "cq_nearly_full"]


def run(checked, variant, name):
    vm = checked.machine
    return vm.run([program(f"{variant}-{name}"), vm.address], timeout=30 * vm.slow, check=False)


def expect_found(checked, name, severity="error"):
    result = run(checked, "buggy", name)
    checked.expected = True
    findings = checked.findings()
    ids = {one["id"] for one in findings if one["severity"] == severity}
    assert ids == {name.replace("_", "-")}, check.text(findings) + result.output
    return findings


def expect_clean(checked, name):
    result = run(checked, "clean", name)
    assert result.code == 0, result.output + result.errors
    findings = checked.findings()
    wrong = [one for one in findings if one["severity"] != "advice" or one["id"] == name.replace("_", "-")]
    assert not wrong, check.text(findings)


def test_mistake_is_found(checked):
    """One of the programs, and all that a finding says."""
    finding = expect_found(checked, "source_changed")[0]
    assert finding["process"]["name"].startswith("buggy-source") and finding["process"]["pid"] > 0, finding
    assert finding["queue"] == "send" and finding["length"] == 1024, finding
    with open(os.path.join(ROOT, "docs", "check.schema.json"), encoding="utf-8") as file:
        jsonschema.validate(json.loads(checked.machine.qom_get("findings")), json.load(file))


def test_right_program_is_silent(checked):
    expect_clean(checked, "source_changed")


@pytest.mark.long
@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(checked, name):
    expect_found(checked, name)


@pytest.mark.long
@pytest.mark.parametrize("name", WARNINGS)
def test_warnings(checked, name):
    expect_found(checked, name, "warning")
    assert not checked.errors()


@pytest.mark.long
@pytest.mark.parametrize("name", ADVICE)
def test_advice(checked, name):
    expect_found(checked, name, "advice")
    assert not checked.errors()


@pytest.mark.long
@pytest.mark.parametrize("name", MISTAKES + WARNINGS + ADVICE)
def test_twins(checked, name):
    expect_clean(checked, name)


@pytest.mark.long
def test_command_line(tmp_path):
    """./lab run --check: report, exit code, suppressions."""
    suppress = tmp_path / "known"
    suppress.write_text("# ours\nsource-changed buggy-source*\n", encoding="utf-8")
    report = tmp_path / "report.json"

    def lab(*words):
        return subprocess.run([os.path.join(ROOT, "lab"), "run", "--no-install", "--no-build", *words, "--",
                               program("buggy-source_changed"), "10.77.0.1"], text=True, timeout=300, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)

    result = lab("--check", "--check-json", str(report))
    assert result.returncode == 124, result.stdout + result.stderr
    assert "ERROR source-changed" in result.stderr, result.stderr
    assert json.loads(report.read_text(encoding="utf-8"))["findings"][0]["id"] == "source-changed"
    result = lab("--check=warn")
    assert result.returncode == 0 and "ERROR source-changed" in result.stderr, result.stderr
    result = lab("--check", "--suppress", str(suppress))
    assert result.returncode == 0 and "source-changed" not in result.stderr, result.stderr
