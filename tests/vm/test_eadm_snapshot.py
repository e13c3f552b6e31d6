# SPDX-License-Identifier: GPL-2.0-or-later
"""eadm snapshot, --from and diff: a file says what the machine said when it was taken, and no address if so wished."""

import json
import re

import jsonschema
import pytest

from eadm_tools import (FINDINGS, NO_DEVICE, NO_DRIVER, NOBODY, USAGE, eadm, eadm_json, open_node, schema,
                        traffic, well)  # noqa: F401  (fixtures are used by name)
from support import bdf

pytestmark = pytest.mark.long  # reloads the driver for each file that it compares

FILE, OTHER = "/tmp/eadm-snapshot.json", "/tmp/eadm-snapshot-2.json"


def without_times(value):
    """Objects without what goes on between two looks."""
    if isinstance(value, dict):
        return {name: without_times(one) for name, one in value.items()
                if not re.search(r"_ms$|^(hw|[sr]q_[pc]i|ci|events|skipped|doorbells|objects|time)$", name)}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def test_says_what_the_machine_said(vm, well, rdma_device):
    with traffic(vm):
        said = eadm_json(vm, "snapshot", FILE)
        assert said["file"] == FILE and said["adapters"] == 1 and not said["masked"]
        for words, command in ((["ver"], "ver"), (["dev"], "dev"), (["conf"], "conf"), (["conf", "cc"], "conf"),
                               *((["info", kind], "info") for kind in ("qp", "cq", "eq", "mr", "pd", "ctx", "cep"))):
            then, now = (eadm_json(vm, *words, *more, command=command) for more in (["--from", FILE], []))
            assert without_times(then) == without_times(now), words
        qp = eadm_json(vm, "info", "qp", command="info")["qp"][0]["qp"]
        assert eadm_json(vm, "info", "qp", qp, "--from", FILE, command="info_one")["qp"]["hw"]["sq_pi"] is not None
        assert eadm_json(vm, "--from", FILE, "doctor", command="doctor") == {
            "json_version": 2, "healthy": True, "complete": True, "seconds": 2, "findings": []}
    # All that traffic is over now, here.
    assert eadm_json(vm, "info", "qp", command="info")["qp"] == []
    rates = json.loads(eadm(vm, "stat", "-l", "-j", "--from", FILE))
    jsonschema.validate(rates, {**schema(), "$ref": "#/definitions/live"})
    assert rates["device"] == rdma_device and rates["rates"]["tx_bytes"] > 0 and rates["qps"][0]["posted_blocks"] > 0
    top = json.loads(eadm(vm, "top", "-j", "--from", FILE))
    jsonschema.validate(top, {**schema(), "$ref": "#/definitions/top"})
    assert top["rows"][0]["posted_blocks"] > 0 and top["rows"][0]["outstanding"] is not None
    assert "erdma_tx_bytes_total" in eadm(vm, "metrics", "--from", FILE, "--qps", "--doctor")
    for words in (["dump", "cmdq"], ["conf", "cc", "1"], ["trace"], ["snapshot", OTHER]):
        eadm(vm, *words, "--from", FILE, code=USAGE)
    eadm(vm, "dev", "--from", "/etc/passwd", code=USAGE)
    eadm(vm, "doctor", "-d", "mlx5_0", "--from", FILE, code=NO_DEVICE)
    whole = json.loads(vm.read(FILE))["machine"]
    assert "Linux version" in whole["kernel"] and any(line.startswith("erdma ") for line in whole["modules"])
    assert any("erdma" in line for line in whole["log"]) and any(vm.address in line for line in whole["addresses"])
    assert any("erdma" in line for line in whole["interrupts"])


def test_masked(vm, well):
    mac = vm.adapters[0].mac
    with traffic(vm):
        eadm(vm, "snapshot", FILE, "--mask")
    text = vm.read(FILE)
    hexadecimal = "".join(f"{int(part):02x}" for part in vm.address.split("."))
    for left in (vm.address, hexadecimal, mac, mac.replace(":", "")):
        assert left not in text
    qps = eadm_json(vm, "--from", FILE, "info", "qp", command="info")["qp"]
    assert qps and {end.rsplit(":", 1)[0] for qp in qps for end in (qp["local"], qp["remote"])} == {"198.18.0.1"}
    assert eadm(vm, "--from", FILE, "doctor") == "healthy\n"


def test_difference(vm, well, rdma_device):
    eadm(vm, "snapshot", FILE)
    eadm(vm, "conf", "delayed_ack", "7")
    vm.run(["ip", "link", "set", well, "down"])
    vm.run(["ip", "link", "set", well, "up"])
    with traffic(vm):
        vm.run("sysctl -qw net.ipv4.tcp_window_scaling=0")
        eadm(vm, "snapshot", OTHER)
    said = eadm_json(vm, "diff", FILE, OTHER)
    device, = said["devices"]
    assert device["device"] == rdma_device and device["settings"]["delayed_ack"][1] == 7
    assert device["counters"]["tx_bytes_cnt"][1] > device["counters"]["tx_bytes_cnt"][0]
    assert len(device["objects"]["qp"]["came"]) >= 2 and device["objects"]["qp"]["went"] == []
    assert [one["id"] for one in said["findings"]["new"]] == ["small-window"] and said["findings"]["gone"] == []
    text = eadm(vm, "diff", OTHER, FILE)
    assert re.search(r"delayed_ack  7 -> \d+", text) and re.search(r"qp  0 came, \d+ went", text) and "gone warning" in text
    nothing = eadm_json(vm, "diff", FILE, FILE)
    assert nothing["devices"][0]["counters"] == {} and nothing["machine"] == {} and nothing["findings"]["new"] == []


def test_without_driver_and_rights(vm, well):
    """A machine that is not well has a snapshot, too; who sees a part writes that."""
    vm.run(["rm", "-f", FILE])
    eadm(vm, "snapshot", FILE, user=NOBODY)
    assert any("may not be read" in line or "erdma" in line for line in json.loads(vm.read(FILE))["machine"]["log"])
    where = bdf(vm)
    vm.unload_driver()
    eadm(vm, "snapshot", OTHER)
    found = eadm_json(vm, "doctor", "--from", OTHER, code=FINDINGS)["findings"]
    assert [one["id"] for one in found] == ["driver-not-loaded"] and found[0]["figures"]["adapters"] == [where]
    assert "not loaded when the snapshot was taken" in eadm(vm, "info", "qp", "--from", OTHER, code=NO_DRIVER)
    assert [one["id"] for one in eadm_json(vm, "diff", FILE, OTHER)["findings"]["new"]] == ["driver-not-loaded"]
    assert vm.run(["stat", "-c", "%a", FILE]).output.strip() in ("644", "600")
