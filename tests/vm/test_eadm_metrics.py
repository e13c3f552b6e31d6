# SPDX-License-Identifier: GPL-2.0-or-later
"""eadm metrics: the numbers of eadm stat, also after Prometheus and node_exporter have read them."""

import contextlib
import json
import os
import re
import shutil
import time

import pytest

from eadm_tools import FAILED, NOBODY, eadm, eadm_json, eadm_path, open_node, traffic, wait_for, well  # noqa: F401
from erdmalab import workloads
from erdmalab.common import ROOT


# Asking raises these.
ASKING = ("cmdq_", "ceq_", "aeq_")
SAMPLE = re.compile(r'^(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? ([0-9.e+]+)$')


def samples(text):
    """(name, labels) -> value; every line must be one of the format."""
    found = {}
    for line in text.splitlines():
        if line.startswith("# "):
            assert re.fullmatch(r"# (HELP \w+ .+|TYPE \w+ (counter|gauge)|EOF)", line), line
            continue
        match = SAMPLE.match(line)
        assert match, line
        key = match[1], tuple(sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or "")))
        assert key not in found, line
        found[key] = float(match[3])
    return found


def still_counters(vm):
    """Counters that do not change by being asked for, under the names that metrics have."""
    said = eadm_json(vm, "stat")["devices"][0]
    return {f"erdma_{name.removesuffix('_cnt')}_total": value for name, value in said["counters"].items()
            if not name.startswith(ASKING)}, said["device"]


def get(vm, url, accept="text/plain"):
    script = ("import sys, urllib.request as u\n"
              "r = u.urlopen(u.Request(sys.argv[1], headers={'Accept': sys.argv[2]}), timeout=60)\n"
              "print(r.headers['Content-Type']); print(r.read().decode(), end='')")
    kind, _, text = vm.run(["/usr/bin/python3", "-c", script, url, accept], timeout=90 * vm.slow).output.partition("\n")
    return kind, text


@contextlib.contextmanager
def listening(vm, *words, where="0", user=()):
    """eadm metrics as a server; its address."""
    job = vm.popen([*user, eadm_path(), "metrics", "--listen", where, *words])
    try:
        wait_for(vm, "listening at ", job)
        yield re.search(r"listening at (\S+)", job.text)[1], job
    finally:
        if job.code is None:
            job.kill()


def test_same_as_stat(vm, well):
    workloads.rping(vm, 3)
    said, device = still_counters(vm)
    found = samples(eadm(vm, "metrics"))
    assert {name: value for (name, labels), value in found.items() if name in said} == said
    assert said["erdma_tx_bytes_total"] > 0 and said["erdma_cm_established_total"] == 2
    everything = eadm_json(vm, "stat")["devices"][0]["counters"]
    assert {f"erdma_{name.removesuffix('_cnt')}_total" for name in everything} <= {name for name, _ in found}
    queues = {str(eq["eq"]): eq["events"] for eq in eadm_json(vm, "info", "eq", command="info")["eq"]}
    told = {dict(labels)["eq"]: value for (name, labels), value in found.items() if name == "erdma_eq_events_total"}
    assert set(told) == set(queues) and all(told[eq] <= queues[eq] for eq in queues)
    assert found["erdma_adapter_up", (("device", device),)] == 1 and found["erdma_driver_loaded", ()] == 1
    assert found["erdma_objects", (("device", device), ("kind", "qp"))] == 0
    text = eadm(vm, "metrics", user=NOBODY)
    assert text.endswith("# EOF\n") and "# TYPE erdma_tx_bytes counter\n" in text


def test_queue_pairs_and_findings(vm, well):
    with traffic(vm):
        found = samples(eadm(vm, "metrics", "--qps", "--owners"))
        states = {dict(labels)["state"]: value for (name, labels), value in found.items() if name == "erdma_queue_pairs"}
        qps = [dict(labels) for name, labels in found if name == "erdma_qp_retransmits_total"]
        assert states["RTS"] == len(qps) >= 2 and {qp["comm"] for qp in qps} == {"ib_write_bw"}
        assert all(re.fullmatch(r"[0-9.]+:\d+", qp["local"]) and int(qp["pid"]) > 1 for qp in qps)
        spent = [dict(labels)["what"] for name, labels in found if name == "erdma_qp_spent_nanoseconds_total"]
        assert len(spent) == 8 * len(qps) and {"idle", "turn", "loss", "peer_buffers"} <= set(spent)
        assert 'comm="' not in eadm(vm, "metrics", "--qps")
        assert not [name for name, _ in samples(eadm(vm, "metrics")) if name == "erdma_qp_retransmits_total"]
        hidden = samples(eadm(vm, "metrics", user=NOBODY))
        assert {value for (name, labels), value in hidden.items() if name == "erdma_objects_hidden"
                and ("kind", "qp") in labels} == {states["RTS"]}
    vm.run(["ip", "link", "set", well, "down"])
    found = samples(eadm(vm, "metrics", "--doctor"))
    assert {dict(labels)["id"] for (name, labels), value in found.items() if name == "erdma_findings" and value} == {
        "interface-down"}
    assert found["erdma_verdict", ()] == 2 and found["erdma_healthy", ()] == 0


def test_dashboard(vm, well):
    """Grafana's file asks for metrics that there are."""
    with open(os.path.join(ROOT, "tools", "eadm", "dashboard.json"), encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    asked = {name for panel in panels for target in panel["targets"] for name in re.findall(r"\berdma_\w+", target["expr"])}
    with traffic(vm):
        there = {name for name, _ in samples(eadm(vm, "metrics", "--qps", "--doctor"))}
    assert len(asked) > 15 and asked - there == set()


def test_file(vm, well):
    """Replaced as a whole, readable, in the text format; again and again when wanted."""
    eadm(vm, "metrics", "-o", "/tmp/e.prom")
    text = vm.read("/tmp/e.prom")
    assert "# TYPE erdma_tx_bytes_total counter\n" in text and "EOF" not in text and samples(text)
    assert vm.run("stat -c %a /tmp/e.prom; ls /tmp/e.prom*").output.split() == ["644", "/tmp/e.prom"]
    before = vm.run(["stat", "-c", "%i", "/tmp/e.prom"]).output
    assert eadm(vm, "metrics", "-o", "/tmp/e.prom", "-w", "0.2", "-n", "2") == ""
    assert vm.run(["stat", "-c", "%i", "/tmp/e.prom"]).output != before
    assert "No such file" in eadm(vm, "metrics", "-o", "/nowhere/e.prom", code=FAILED)


def test_server(vm, well):
    with listening(vm) as (where, job):
        assert where.startswith("127.0.0.1:")
        kind, text = get(vm, f"http://{where}/metrics")
        assert kind.startswith("text/plain; version=0.0.4") and "# TYPE erdma_tx_bytes_total counter" in text
        kind, text = get(vm, f"http://{where}/metrics", "application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text; version=1.0.0") and text.endswith("# EOF\n")
        # It keeps no driver from being unloaded, and tells that it is.
        vm.unload_driver()
        assert samples(get(vm, f"http://{where}/metrics")[1])["erdma_driver_loaded", ()] == 0
        vm.load_driver()
        vm.run("pid=$(pgrep -x eadm); kill -TERM $pid")
        assert job.wait(20 * vm.slow).code == 0
    assert "cannot be listened at" in eadm(vm, "metrics", "--listen", "192.0.2.1:9999", code=FAILED)


@pytest.mark.long
def test_server_and_rude_clients(vm, well):
    """Garbage, endless headers, bodies, clients that say nothing: the next one is answered."""
    script = ("import os, socket, sys\n"
              "host, port = sys.argv[1].rsplit(':', 1)\n"
              "idle = [socket.create_connection((host, int(port))) for _ in range(20)]\n"
              "for data in (b'\\0' * 100, os.urandom(10000), b'GET / HTTP/1.1\\r\\n' + b'A: ' + b'x' * 1000000,\n"
              "             b'GET ' + b'/' * 100000 + b' HTTP/1.1\\r\\n\\r\\n', b'GET /metrics HTTP/9.9\\r\\n\\r\\n',\n"
              "             b'POST /metrics HTTP/1.1\\r\\nContent-Length: 99999999999\\r\\n\\r\\n' + b'x' * 100000,\n"
              "             b'GET /../../etc/shadow HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n', b'GET /%00 HTTP/1.1\\r\\n\\r\\n'):\n"
              "    s = socket.create_connection((host, int(port)), timeout=30)\n"
              "    try:\n"
              "        s.sendall(data); s.shutdown(socket.SHUT_WR)\n"
              "        while s.recv(65536): pass\n"
              "    except OSError: pass\n"
              "    s.close()\n")
    with listening(vm) as (where, job):
        vm.run(["/usr/bin/python3", "-c", script, where], timeout=200 * vm.slow)
        assert samples(get(vm, f"http://{where}/metrics")[1])
        assert job.code is None


@pytest.mark.limit(900)
@pytest.mark.stock_kernel
def test_prometheus_and_node_exporter(vm, well):
    """What the distribution's Prometheus stores is what eadm stat says, over HTTP and by way of node_exporter."""
    for name in ("prometheus", "prometheus-node-exporter"):
        assert shutil.which(name), f"{name} is missing; run ./lab setup"
    workloads.rping(vm, 3)
    vm.run("rm -rf /tmp/prom; mkdir -p /tmp/prom/text")
    eadm(vm, "metrics", "-o", "/tmp/prom/text/eadm.prom")
    with listening(vm) as (where, _):
        config = {"global": {"scrape_interval": "2s"}, "scrape_configs": [
            {"job_name": "eadm", "static_configs": [{"targets": [where]}]},
            {"job_name": "node", "static_configs": [{"targets": ["127.0.0.1:9911"]}]}]}
        vm.run(["/usr/bin/python3", "-c", "import sys; open('/tmp/prom/config.yml', 'w').write(sys.argv[1])", json.dumps(config)])
        jobs = [vm.popen(["prometheus-node-exporter", "--web.listen-address=127.0.0.1:9911", "--collector.disable-defaults",
                          "--collector.textfile", "--collector.textfile.directory=/tmp/prom/text"]),
                vm.popen(["prometheus", "--config.file=/tmp/prom/config.yml", "--storage.tsdb.path=/tmp/prom/data",
                          "--web.listen-address=127.0.0.1:9912"])]
        try:
            said, device = still_counters(vm)
            deadline = time.monotonic() + 200 * vm.slow
            while True:
                stored = {"eadm": {}, "node": {}}
                with contextlib.suppress(Exception):  # it is not up yet
                    answer = get(vm, "http://127.0.0.1:9912/api/v1/query?query=%7B__name__%3D~%22erdma_.*%22%7D")[1]
                    for one in json.loads(answer)["data"]["result"]:
                        labels = one["metric"]
                        if labels.get("device") == device:
                            stored[labels["job"]][labels["__name__"]] = float(one["value"][1])
                if all(set(said) <= set(part) for part in stored.values()):
                    break
                assert time.monotonic() < deadline and all(job.code is None for job in jobs), [job.text[-2000:] for job in jobs]
                time.sleep(2)
        finally:
            for job in jobs:
                if job.code is None:
                    job.kill()
    for source, part in stored.items():
        assert {name: part[name] for name in said} == said, source


@pytest.mark.stock_kernel
def test_infiniband_collector_of_node_exporter(vm, well, rdma_device):
    """It shows the adapter as it shows any RDMA device, with the numbers of eadm stat."""
    workloads.rping(vm, 3)
    folder = f"/sys/class/infiniband/{rdma_device}"
    assert vm.read(f"{folder}/board_id") == "1ded:107f\n"
    job = vm.popen(["prometheus-node-exporter", "--web.listen-address=127.0.0.1:9913", "--collector.disable-defaults",
                    "--collector.infiniband"])
    try:
        deadline = time.monotonic() + 60 * vm.slow
        while True:
            with contextlib.suppress(Exception):  # it is not up yet
                text = get(vm, "http://127.0.0.1:9913/metrics")[1]
                break
            assert time.monotonic() < deadline and job.code is None, job.text
            time.sleep(1)
    finally:
        job.kill()
    shown = {name: float(value) for name, labels, value in re.findall(
        r"(?m)^node_infiniband_(\w+)\{([^}]*)\} (\S+)$", text) if f'device="{rdma_device}"' in labels}
    said = eadm_json(vm, "stat")["devices"][0]["counters"]
    assert shown["info"] == 1 and shown["state_id"] == 4, text
    for name, counter in (("port_data_transmitted_bytes_total", "tx_bytes_cnt"), ("port_data_received_bytes_total", "rx_bytes_cnt")):
        assert shown[name] == said[counter] // 4 * 4 > 0
    for name, counter in (("port_packets_transmitted_total", "tx_packets_cnt"), ("port_packets_received_total", "rx_packets_cnt")):
        assert shown[name] == said[counter] > 0
    assert shown["port_discards_transmitted_total"] == 0
