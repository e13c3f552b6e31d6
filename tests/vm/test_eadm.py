# SPDX-License-Identifier: GPL-2.0-or-later
"""eadm and the diagnostics device: what they say is what is there, to those who may know it, and nothing else."""

import json
import os
import re
import time

import jsonschema

from eadm_tools import (FAILED, NO_DEVICE, NO_DRIVER, NO_OBJECT, NO_RIGHTS, NOBODY, USAGE, busiest, eadm, eadm_json,
                        mirror, open_node, running, schema, traffic)  # noqa: F401  (a fixture is used by name)
from erdmalab import workloads
from erdmalab.common import ROOT
from support import bdf, expect_in_use, in_use


# ---- without traffic ----

def test_versions(vm, open_node):
    with open(os.path.join(ROOT, "VERSION"), encoding="utf-8") as file:
        version = file.readline().strip()
    said = eadm_json(vm, "ver")
    assert said["eadm"] == said["driver"] == version and said["missing"] == []
    assert [one["firmware"] for one in said["devices"]] == ["0.0.549"]
    assert re.search(rf"^driver +{re.escape(version)}$", eadm(vm, "ver", user=NOBODY), re.M)


def test_devices(vm, open_node, rdma_device):
    one, = eadm_json(vm, "dev")["devices"]
    assert (one["device"], one["pci"], one["state"]) == (rdma_device, bdf(vm), "up")
    assert one["mac"] == vm.adapters[0].mac and one["mtu"] == 1500
    assert vm.run(["ip", "-o", "link", "show", one["netdev"]]).output.count(one["mac"]) == 1
    verbs = vm.run(["ibv_devinfo", "-v"]).output
    assert re.search(rf"max_qp:\s+{one['limits']['qp']}\n", verbs) and one["firmware"] in verbs
    assert one["completion_vectors"] == len(eadm_json(vm, "info", "eq")["eq"]) - 2
    for name in (rdma_device, bdf(vm), bdf(vm).split(":", 1)[1]):
        assert eadm_json(vm, "dev", "-d", name)["devices"] == [one]
    assert "mlx5_0" in eadm(vm, "-d", "mlx5_0", "dev", code=NO_DEVICE)


def test_words(vm, open_node):
    assert "did you mean 'doctor'" in eadm(vm, "docotr", code=USAGE)
    assert "did you mean 'qp'" in eadm(vm, "info", "qps", code=USAGE)
    assert "did you mean 'delayed_ack'" in eadm(vm, "conf", "delayed_akc", code=USAGE)
    for words in ([], ["info"], ["info", "qp", "x"], ["stat", "-l", "0"], ["stat", "--nonsense"], ["dump", "sq"],
                  ["dump", "sq", "1", "5-3"], ["dump", "sq", "1", "a"], ["dump", "xq", "1"], ["conf", "cc", "x"],
                  ["conf", "cc", "5"], ["conf", "retransmits", "0"], ["stat", "-n", "3"], ["info", "qp", "-n", "0", "-w", "1"],
                  ["stat", "-l", "-w", "1"], ["-w", "0.01", "dev"], ["info", "eq", "--pid", "1"], ["info", "qp", "--sort", "x"],
                  ["conf", "cc", "1", "-w", "1"], ["metrics", "-j"], ["metrics", "--listen", "localhost:x"],
                  ["metrics", "--listen", "1", "-o", "/tmp/x"], ["doctor", "-s", "0"]):
        eadm(vm, *words, code=USAGE)
    assert "Examples:" in eadm(vm, "--help")
    assert "does not exist" in eadm(vm, "info", "qp", "4000", code=NO_OBJECT)
    assert "no such object" in eadm(vm, "dump", "cq", "4000", code=NO_OBJECT)


def test_without_driver(vm):
    vm.unload_driver()
    assert "modprobe erdma" in eadm(vm, "ver", code=NO_DRIVER)
    assert "modprobe erdma" in eadm(vm, "info", "qp", code=NO_DRIVER)


# ---- with traffic ----

def test_objects(vm, open_node, rdma_device):
    before = in_use(vm)
    with traffic(vm) as port:
        qps = {qp["qp"]: qp for qp in eadm_json(vm, "info", "qp", command="info")["qp"]}
        listed = json.loads(vm.run(["rdma", "-j", "resource", "show", "qp"]).output)
        assert {qp["lqpn"] for qp in listed if qp["ifname"] == rdma_device and qp["type"] == "RC"} == set(qps)
        for qp in qps.values():
            assert {qp["role"], mirror(qp, qps)["role"]} == {"active", "passive"}
            assert qp["owner"]["name"] == "ib_write_bw" and qp["owner"]["uid"] == 0
            assert vm.read(f"/proc/{qp['owner']['pid']}/comm").strip() == "ib_write_bw"
        assert all(f":{port}" in qp["local"] + qp["remote"] for qp in qps.values())

        values = vm.counters()
        one = eadm_json(vm, "dev")["devices"][0]["objects"]
        assert (one["qp"], one["cq"], one["mr"]) == (values["qps"], values["cqs"], values["mrs"])
        for kind in ("cq", "mr", "pd", "ctx"):
            rows = eadm_json(vm, "info", kind, command="info")[kind]
            assert len(rows) == one[kind]
            assert {row["owner"]["name"] for row in rows} == {"ib_write_bw"}
        last = eadm_json(vm, "info", "cq", qps[max(qps)]["send_cq"], command="info_one")["cq"]
        assert last["hw"]["enabled"] and 1 << last["hw"]["log_depth"] == last["depth"]
        ceps = eadm_json(vm, "info", "cep", command="info")["cep"]
        assert {cep["qp"] for cep in ceps if cep["state"] == "RDMA"} == set(qps)
        assert "RDMA" in eadm(vm, "info", "cep") and "ib_write_bw" in eadm(vm, "info", "qp")

        # Indices and counters move with the traffic, and by the same amount as the model's.
        busy = busiest(qps.values())["qp"]
        first = eadm_json(vm, "info", "qp", busy, command="info_one")["qp"]["hw"]
        assert first["peer_qpn"] == mirror(qps[busy], qps)["qp"]
        time.sleep(0.5)
        second = eadm_json(vm, "info", "qp", busy, command="info_one")["qp"]["hw"]
        assert first["sq_pi"] != second["sq_pi"] and first["tx_packets"] != second["tx_packets"]
        low = vm.counters()
        said = eadm_json(vm, "stat")["devices"][0]["counters"]
        high = vm.counters()
        for name, theirs in (("tx_bytes_cnt", "tx_bytes"), ("rx_packets_cnt", "rx_packets"), ("tx_reqs_cnt", "tx_reqs")):
            key = next(k for k in low if k.replace("-", "_") in (theirs, theirs.replace("reqs", "requests")))
            assert low[key] <= said[name] <= high[key] and said[name] > 0

        # A peer that left is not seen any more, and others see nothing of it.
        assert eadm_json(vm, "info", "qp", command="info", user=NOBODY) == {
            "json_version": 2, "device": rdma_device, "pci": bdf(vm), "qp": [], "hidden": len(qps), "beyond_limit": 0}
        eadm(vm, "info", "qp", busy, code=NO_OBJECT, user=NOBODY)
    expect_in_use(vm, before)
    assert eadm_json(vm, "info", "qp", command="info")["qp"] == []


def test_counters_of_the_core(vm, rdma_device, open_node):
    """sysfs, rdma statistic and eadm tell the same, under both spellings."""
    workloads.rping(vm, 5)
    said = eadm_json(vm, "stat")["devices"][0]["counters"]
    folder = f"/sys/class/infiniband/{rdma_device}/ports/1/hw_counters"
    names = set(vm.run(["ls", folder]).output.split()) - {"lifespan"}
    alias = {name for name in names if name.startswith("hw_")}
    assert {name[3:] for name in alias} == {name for name in said if name.startswith(("tx_", "rx_"))}
    assert names - alias == set(said)
    assert said["tx_bytes_cnt"] > 0 and said["cm_established_cnt"] >= 2 and said["verbs_create_qp_cnt"] >= 2
    assert int(vm.read(f"{folder}/hw_tx_bytes_cnt")) == int(vm.read(f"{folder}/tx_bytes_cnt")) == said["tx_bytes_cnt"]
    link = json.loads(vm.run(["rdma", "-j", "statistic", "show", "link", f"{rdma_device}/1"]).output)[0]
    assert link["tx_bytes_cnt"] == said["tx_bytes_cnt"] and link["cm_accept_cnt"] == said["cm_accept_cnt"]
    explained = eadm_json(vm, "stat", "-x", command="stat_explained")["devices"][0]["counters"]
    assert [one["name"] for one in explained] == list(said) and all(one["help"] for one in explained)


def test_connection_counters(vm, open_node):
    def values():
        return eadm_json(vm, "stat")["devices"][0]["counters"]

    before = values()
    vm.run(["rping", "-c", "-a", vm.address, "-p", "1", "-C", "1"], check=False)
    after = values()
    assert after["cm_refused_cnt"] - before["cm_refused_cnt"] == 1
    assert after["cm_connect_cnt"] - before["cm_connect_cnt"] == 1
    assert after["cm_established_cnt"] == before["cm_established_cnt"]
    workloads.rping(vm, 2)
    last = values()
    assert last["cm_established_cnt"] - after["cm_established_cnt"] == 2
    assert last["cm_requests_cnt"] - after["cm_requests_cnt"] == 1 == last["cm_accept_cnt"] - after["cm_accept_cnt"]
    assert last["verbs_create_qp_cnt"] - after["verbs_create_qp_cnt"] == 2
    assert last["verbs_destroy_qp_cnt"] - after["verbs_destroy_qp_cnt"] == 2


def test_resource_details(vm, rdma_device):
    with traffic(vm):
        text = vm.run(["rdma", "-d", "-d", "resource", "show", "qp"]).output
        assert re.search(r"drv_sq_depth \d+ drv_rq_depth \d+", text), text
        assert re.search(r"drv_cqn \d+ drv_depth \d+ drv_eqn 1 ", vm.run(["rdma", "-d", "-d", "resource", "show", "cq"]).output)
        assert re.search(r"drv_index \d+ drv_type 0 drv_level \d", vm.run(["rdma", "-d", "-d", "resource", "show", "mr"]).output)


def test_live(vm, open_node):
    with traffic(vm):
        rounds = [json.loads(line) for line in eadm(vm, "stat", "-l", "0.5", "-n", "2", "-j").splitlines()]
        assert len(rounds) == 2
        for one in rounds:
            jsonschema.validate(one, {**schema(), "$ref": "#/definitions/live"})
            assert one["rates"]["tx_bytes"] > 0 and one["qps"][0]["posted_blocks"] > 0
        text = eadm(vm, "stat", "-d", vm.wait_devices(1)[0], "-l", "-n", "1")
        assert re.search(r"sent \S+bit/s", text) and "SEND_BLOCKS/S" in text and "\033" not in text


def test_watch_and_filters(vm, open_node):
    """Every command repeats itself; lists leave and order what is wanted."""
    with traffic(vm) as port:
        rounds = [json.loads(line) for line in eadm(vm, "info", "qp", "-w", "0.2", "-n", "3", "-j").splitlines()]
        assert len(rounds) == 3 and all(len(one["qp"]) >= 2 for one in rounds)
        assert rounds[0]["time"] < rounds[1]["time"] < rounds[2]["time"]
        text = eadm(vm, "-w", "0.2", "-n", "2", "dev")
        assert text.count("DEVICE") == 2 and "\033" not in text
        everything = rounds[0]["qp"]
        peer, = {qp["remote"] for qp in everything if qp["remote"].endswith(f":{port}")} or {None}
        pids = {qp["owner"]["pid"] for qp in everything}
        assert len(pids) == 2

        def chosen(*words):
            return [qp["qp"] for qp in eadm_json(vm, "info", "qp", *words, command="info")["qp"]]

        pid = min(pids)
        assert set(chosen("--pid", pid)) == {qp["qp"] for qp in everything if qp["owner"]["pid"] == pid} != set()
        assert chosen("--comm", "ib_write_*") == [qp["qp"] for qp in everything] and chosen("--comm", "rping") == []
        assert chosen("--peer", peer) == [qp["qp"] for qp in everything if qp["remote"] == peer] != []
        assert chosen("--local", f":{port}") == [qp["qp"] for qp in everything if qp["local"].endswith(f":{port}")] != []
        assert chosen("--state", "rts") and chosen("--state", "ERROR") == []
        assert chosen("--sort", "-qp") == sorted((qp["qp"] for qp in everything), reverse=True)
        said = eadm_json(vm, "info", "qp", "--limit", "1", command="info")
        assert len(said["qp"]) == 1 and said["beyond_limit"] == len(everything) - 1
        assert "more beyond the limit" in eadm(vm, "info", "qp", "--limit", "1")


# ---- rings and settings ----

def test_rings(vm, open_node):
    with traffic(vm, options=["-s", "4096"]):
        busy = busiest(running(vm))
        # Programs that go on write while eadm reads.  Once stopped, each has at most one entry half written.
        vm.run(["pkill", "-STOP", "ib_write_bw"])
        ring = eadm_json(vm, "dump", "sq", busy["qp"], command="dump")
        assert ring["depth"] == busy["sq_depth"] and ring["entries"]
        said = [(entry["op"], entry.get("qp"), entry.get("length")) for entry in ring["entries"]]
        whole = said.count(("WRITE", busy["qp"], 4096))
        assert whole and len(said) - whole <= 1, ring["entries"]
        done = eadm_json(vm, "dump", "cq", busy["send_cq"], "0-3", command="dump")
        assert [entry["slot"] for entry in done["entries"]] == [0, 1, 2, 3]
        assert {(entry["op"], entry["queue"], entry["syndrome"]) for entry in done["entries"]} == {("WRITE", "sq", "ok")}
        assert re.search(r"\n +[0-9a-f]{64}\n", eadm(vm, "dump", "cq", busy["send_cq"], "1", "-x"))
        eadm_json(vm, "dump", "rq", busy["qp"], command="dump")
        eadm(vm, "dump", "sq", busy["qp"], code=NO_RIGHTS, user=NOBODY)
        eadm(vm, "dump", "sq", busy["qp"], 10 ** 6, code=FAILED)
    eadm(vm, "stat")
    commands = eadm_json(vm, "dump", "cmdq", command="dump")["entries"]
    assert {"CREATE_QP", "REG_MR", "GET_STATS"} <= {entry["command"] for entry in commands}
    assert {entry["status"] for entry in eadm_json(vm, "dump", "cmdcq", "0-3", command="dump")["entries"]} == {0}
    for number in (0, 1, 2):
        eadm_json(vm, "dump", "eq", number, "0-1", command="dump")
    eadm(vm, "dump", "eq", 99, code=NO_OBJECT)


def test_settings(vm, open_node):
    before = {one["name"]: one["value"] for one in eadm_json(vm, "conf")["settings"]}
    assert before["retransmits"] == 24
    for name, value, said in (("cc", 0, "newreno"), ("cc", "hpcc_ecn", "hpcc_ecn"), ("cc", 2, "hpcc_rtt"), ("delayed_ack", 9, 9),
                              ("retransmits", 200, 200), ("dprint_mask", 3, 3)):
        eadm(vm, "conf", name, 1, code=NO_RIGHTS, user=NOBODY)
        assert eadm(vm, "conf", name, value) == f"{said}\n" == eadm(vm, "conf", name, user=NOBODY)
    assert "newreno,cubic" in eadm(vm, "conf", "cc", "reno", code=USAGE)
    assert vm.read(f"/sys/kernel/debug/erdma/{bdf(vm)}/delayed_ack") == "9\n"
    assert vm.read("/sys/module/erdma/parameters/dprint_mask") == "3\n"
    workloads.rping(vm, 1)
    text = vm.dmesg()
    assert re.search(r"erdma_\d: command 0/1: 0", text) and re.search(r"endpoint \d+: state \d -> 5", text)
    with traffic(vm):
        assert {qp["cc"] for qp in running(vm)} == {"hpcc_rtt"}
    for name, value in before.items():
        eadm(vm, "conf", name, value)


def test_tracepoints(vm):
    tracing = "/sys/kernel/tracing"
    vm.run(f"echo > {tracing}/trace; echo 1 > {tracing}/events/erdma/enable")
    try:
        workloads.rping(vm, 1)
        text = vm.read(f"{tracing}/trace")
    finally:
        vm.run(f"echo 0 > {tracing}/events/erdma/enable")
    for pattern in (r"erdma_cmd_submit: device=\d+ slot=\d+ command=0/1", r"erdma_cmd_done: .* error=0",
                    r"erdma_cm_state: .*state=\d->5", r"erdma_qp_state: .*state=0->2",
                    r"erdma_qp_made: device=\d+ pci=\S+ qp=\d+ pid=[1-9]\d* name=rping"):
        assert re.search(pattern, text), pattern
