# SPDX-License-Identifier: GPL-2.0-or-later
"""Check mode: programs with one mistake each, the same without, and programs of the distribution (docs/check.md)."""

import json
import os
import subprocess

import jsonschema
import pytest

from disks import copy_and_compare, verify
from erdmalab import check, workloads
from erdmalab.common import ROOT
from erdmalab.storage import NvmeHost, NvmeTarget
from support import program

MISTAKES = ["source_changed", "read_too_early", "sink_overlap", "unordered_reuse", "stale_key", "out_of_bounds",
            "wrong_rights", "wrong_pd", "cq_overflow", "sq_overrun", "unsignalled_full", "destroyed_busy"]


def run(checked, variant, name):
    vm = checked.machine
    return vm.run([program(f"{variant}-{name}"), vm.address], timeout=30 * vm.slow, check=False)


def expect_found(checked, name):
    result = run(checked, "buggy", name)
    checked.expected = True
    findings = checked.findings()
    ids = {one["id"] for one in findings if one["severity"] == "error"}
    assert ids == {name.replace("_", "-")}, check.text(findings) + result.output
    return findings


def expect_clean(checked, name):
    result = run(checked, "clean", name)
    assert result.code == 0, result.output + result.errors
    findings = [one for one in checked.findings() if one["severity"] != "advice"]
    assert not findings, check.text(findings)


def test_mistake_is_found(checked):
    """One of the programs, and all that a finding says."""
    finding = expect_found(checked, "source_changed")[0]
    assert finding["process"]["name"].startswith("buggy-source"), finding
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
@pytest.mark.parametrize("name", MISTAKES)
def test_twins(checked, name):
    expect_clean(checked, name)


@pytest.fixture
def explained(checked):
    """What docs/check.md explains about the distribution's programs is left out."""
    checked.suppress = check.Suppressions(os.path.join(ROOT, "examples", "check", "distribution.suppress"))
    return checked


@pytest.mark.long
def test_programs_at_work(explained):
    """No false alarms."""
    vm = explained.machine
    workloads.rping(vm, 100, options=["-v"], timeout=60)
    port = workloads.next_port()
    workloads.pair(vm, ["ucmatose", "-b", vm.address, "-p", str(port), "-c", "4", "-C", "400", "-S", "3000"],
                   vm, ["ucmatose", "-s", vm.address, "-p", str(port), "-c", "4", "-C", "400", "-S", "3000"], port)
    port = workloads.next_port()
    workloads.pair(vm, ["rstream", "-b", vm.address, "-p", str(port), "-S", "64", "-C", "10"],
                   vm, ["rstream", "-s", vm.address, "-p", str(port), "-S", "64", "-C", "10"], port, timeout=90)
    errors = explained.errors()
    assert not errors, check.text(errors)


@pytest.mark.long
@pytest.mark.parametrize("name", ["ib_write_bw", "ib_write_lat", "ib_read_bw", "ib_read_lat", "ib_send_bw", "ib_send_lat",
                                  "ib_atomic_bw", "ib_atomic_lat"])
def test_perftest(explained, name):
    workloads.perftest(explained.machine, name, options=["-n", 500])
    errors = explained.errors()
    assert not errors, check.text(errors)


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(400)
def test_kernel_consumers(checked):
    """NVMe over Fabrics and NFS, both ends in one guest."""
    vm = checked.machine
    with NvmeTarget(vm) as target, NvmeHost(vm, target) as host:
        verify(host, size="4M")
    copy_and_compare(vm, vm)
    errors = checked.errors()
    assert not errors, check.text(errors)


@pytest.mark.long
@pytest.mark.parametrize("server, client, tests", [
    (["qperf"], ["qperf", "-cm", "1", "-t", "1"], [["rc_bw"], ["rc_lat"], ["rc_rdma_write_bw"], ["rc_rdma_read_bw"]]),
    (["fi_pingpong", "-p", "verbs", "-e", "msg", "-I", "20", "-c"],
     ["fi_pingpong", "-p", "verbs", "-e", "msg", "-I", "20", "-c"], [[]])], ids=["qperf", "libfabric"])
def test_libraries(explained, server, client, tests):
    vm = explained.machine
    job = vm.popen(server)
    vm.wait_listener(19765 if server[0] == "qperf" else 47592, job, tcp=True)
    # Its server's process for a test crashes by itself when all is done, with other adapters too.
    with vm.allow(r"qperf\[\d+\]: segfault"):
        for test in tests:
            vm.run([*client, vm.address, *test], timeout=60 * vm.slow)
        job.kill()
    errors = explained.errors()
    assert not errors, check.text(errors)


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
