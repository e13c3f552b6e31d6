# SPDX-License-Identifier: GPL-2.0-or-later
"""Check mode: programs with one mistake each, and the same without (docs/check.md)."""

import json
import os
import subprocess

import jsonschema
import pytest

from erdmalab import check, witness, workloads
from erdmalab.common import ROOT
from support import program, run_cases

MISTAKES = ["source_changed", "read_too_early", "sink_overlap", "unordered_reuse", "stale_key", "out_of_bounds",
            "wrong_rights", "wrong_pd", "cq_overflow", "sq_overrun", "unsignalled_full", "destroyed_busy"]

WARNINGS = ["shared_sink", "posted_after_error", "read_source_changed"]
ADVICE = ["receiver_late", "no_inline", "register_often", "signal_all", "tiny_messages", "cq_nearly_full", "register_between"]
# What the witness in the process sees, not the adapter.
WITNESSED = {"error_unpolled": "error", "event_unread": "warning", "polled_in_vain": "advice", "armed_unslept": "advice",
             "slept_with_work": "advice"}


def run(checked, variant, name):
    vm = checked.machine
    if name == "event_unread":  # the failure that it is not told of, in both variants
        checked.suppress.rules.append(["wrong-rights", "*", "*"])
    environment = {"ERDMA_WITNESS_VAIN": "100000"} if name == "polled_in_vain" else None
    return vm.run([program(f"{variant}-{name}"), vm.address], timeout=30 * vm.slow, check=False, env=environment)


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


def test_witness(checked):
    """What only the process knows; and the program that polls has no such finding."""
    expect_clean(checked, "error_unpolled")
    sender, receiver = sorted((one for one in expect_found(checked, "error_unpolled") if one["severity"] == "error"),
                              key=lambda one: one["qpn"])
    assert sender["process"]["name"].startswith("buggy-error_unp") and sender["process"]["pid"] > 0, sender
    assert sender["adapter"] == "eri0" and "general error, wr_id 0x2)" in sender["sentence"], sender
    assert "remote access error, wr_id 0x1)" in receiver["sentence"], receiver


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in WITNESSED if name != "error_unpolled"])
def test_witnessed(checked, name):
    result = run(checked, "buggy", name)
    assert result.code == 0, result.output + result.errors
    findings = [one for one in checked.findings() if one["id"] == name.replace("_", "-")]
    assert [one["severity"] for one in findings] == [WITNESSED[name]], check.text(checked.findings())
    assert not checked.errors()


@pytest.mark.long
def test_witness_of_every_user(checked):
    """A user who may not write to the file system's tracing is heard; a library that he brings himself stays."""
    vm, checked.expected = checked.machine, True
    words = ["setpriv", "--reuid=65534", "--clear-groups", program("buggy-error_unpolled"), vm.address]
    result = vm.run(words, timeout=30 * vm.slow, check=False, env={"LD_PRELOAD": "libm.so.6", "LD_DEBUG": "files"})
    assert result.code == 0 and "calling init: " in result.errors and "libm.so.6" in result.errors, result.output + result.errors[-2000:]
    assert {one["id"] for one in checked.errors()} == {"error-unpolled"}, check.text(checked.findings())


@pytest.mark.long
@pytest.mark.limit(600)
@pytest.mark.parametrize("name", ["rc_ops", "rc_errors"])
def test_witness_changes_nothing(vm, name):
    """Programs that compare each completion, event and status get what they get without."""
    one = witness.Witness(vm)
    try:
        run_cases(vm, name)
    finally:
        one.stop()


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
@pytest.mark.parametrize("name", [*MISTAKES, *WARNINGS, *ADVICE, *WITNESSED])
def test_twins(checked, name):
    expect_clean(checked, name)


# ---- advice about what is not in one process ----

@pytest.mark.long
@pytest.mark.parametrize("variant, told", [("buggy", True), ("clean", False)])
def test_vectors(vms, variant, told):
    """A guest has as many vectors as processors."""
    machine, = vms(1, cpus=2)
    one = check.Checked(machine)
    result = run(one, variant, "vectors_uneven")
    assert result.code == 0, result.output + result.errors
    assert ("vectors-uneven" in {finding["id"] for finding in one.findings()}) == told, check.text(one.findings())


def advice_about(server, client, *options, tool="ib_write_bw"):
    """What the client's end is told about one of perftest's programs."""
    one = check.Checked(client)
    try:
        workloads.perftest(server, tool, client=client, options=options, timeout=120)
        return {finding["id"] for finding in one.findings() if finding["severity"] == "advice"}
    finally:
        one.stop()


@pytest.mark.long
def test_way(pair):
    """A long way, with one request under way, with more than a connection may have, and with neither."""
    pair[1].link("both:delay=5ms")
    assert {"one-at-a-time", "window-limited"} & advice_about(*pair, "-s", 4096, "-n", 200, "-t", 1, "-Q", 1) == {"one-at-a-time"}
    assert {"one-at-a-time", "window-limited"} & advice_about(*pair, "-s", 65536, "-n", 1000, "-t", 64, "-Q", 1) == {"window-limited"}
    assert not {"one-at-a-time", "window-limited"} & advice_about(*pair, "-s", 4096, "-n", 400, "-t", 16, "-Q", 1)


@pytest.mark.long
@pytest.mark.parametrize("most, told", [(1, True), (8, False)])
def test_reads_one_by_one(vms, most, told):
    """An adapter that allows one read at a time, and a program that posts many."""
    machine, = vms(1, adapter={"ord": most, "ird": most})
    assert ("reads-one-by-one" in advice_about(machine, machine, "-n", 400, tool="ib_read_bw")) == told


@pytest.mark.long
def test_small_frames(vms):
    """Without the long segments that adapters of one cable agree on, the MTU counts."""
    pair = vms(2, adapter={"segment-bytes": "0"})
    many = ["-s", 65536, "-n", 400]
    assert "small-mtu" in advice_about(*pair, *many)
    for machine in pair:
        machine.run("ip link set eth0 mtu 9000")
    assert "small-mtu" not in advice_about(*pair, *many)


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
