# SPDX-License-Identifier: GPL-2.0-or-later
"""eadm top, record and plot: they show what goes on, to a terminal, a pipe and a browser."""

import json
import os
import re
import shutil
import subprocess
import time

import jsonschema
from eadm_tools import (FAILED, NO_DEVICE, NO_DRIVER, NOBODY, USAGE, busiest, eadm, eadm_json, eadm_path, open_node, running,
                        schema, traffic, wait_for)  # noqa: F401  (fixtures are used by name)
from support import program

RECORD, PAGE = "/tmp/eadm-test.record", "/tmp/eadm-test.html"
# Runs a program on a terminal of its own, sends it keys one by one, and prints all that it wrote.
ON_TERMINAL = r"""
import fcntl, os, pty, select, struct, sys, termios, time
pid, there = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execvp(sys.argv[2], sys.argv[2:])
fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 200, 0, 0))
keys, next_key, limit = list(sys.argv[1]), time.monotonic() + 4, time.monotonic() + 90
redraw, width = 0, 200
while time.monotonic() < limit:
    if select.select([there], [], [], 0.2)[0]:
        try:
            text = os.read(there, 65536)
        except OSError:
            break
        if not text:
            break
        os.write(1, text)
    if keys and time.monotonic() > next_key:
        os.write(there, keys.pop(0).encode())
        next_key = time.monotonic() + 2
        redraw = time.monotonic() + 1
    if redraw and time.monotonic() > redraw:
        # Only what is different is sent, unless the size is.
        redraw, width = 0, width - 1
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
print("\nENDED", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def rounds_of(vm, *words, user=()):
    """The objects that top prints as JSON, one a line."""
    said = [json.loads(line) for line in eadm(vm, "top", "-j", *words, user=user).splitlines()]
    for one in said:
        jsonschema.validate(one, {**schema(), "$ref": "#/definitions/top"})
    return said


def lines_of(vm, path):
    head, *lines = [json.loads(line) for line in vm.read(path).splitlines()]
    jsonschema.validate(head, {**schema(), "$ref": "#/definitions/record_head"})
    for one in lines:
        jsonschema.validate(one, {**schema(), "$ref": "#/definitions/record_line"})
    return head, lines


# ---- top ----

def test_top_as_json(vm, open_node, rdma_device):
    """By connection, process and adapter, while traffic runs; the same numbers as elsewhere."""
    with traffic(vm, options=["-s", "8192"]):
        connections = rounds_of(vm, "-w", "1", "-n", "2")
        assert len(connections) == 2 and all(0.9 < one["seconds"] < 30 for one in connections)
        rows = connections[-1]["rows"]
        qps = {qp["qp"]: qp for qp in running(vm)}
        busy = busiest(qps.values())
        assert {row["qp"] for row in rows} >= set(qps)
        first = rows[0]
        assert first["qp"] == busy["qp"] and first["posted_blocks"] > 0 and first["device"] == rdma_device
        assert (first["owner"], first["remote"], first["state"]) == (busy["owner"], busy["remote"], "RTS")
        assert first["reads"] == 0 == first["retransmits"] == first["retransmits_rate"]
        order = [row["posted_blocks"] for row in rows]
        assert order == sorted(order, reverse=True)

        programs = rounds_of(vm, "--by", "process", "-n", "1")[0]["rows"]
        assert {row["owner"]["name"] for row in programs} == {"ib_write_bw"} and len(programs) == 2
        assert sum(row["qps"] for row in programs) == len(rows)
        adapter, = rounds_of(vm, "--by", "adapter", "-n", "1")[0]["rows"]
        assert adapter["device"] == rdma_device and adapter["tx_bytes"] > 0 and adapter["qps"] == len(rows)
        assert adapter["tx_packets"] >= adapter["tx_requests"] > 0
        # Who filters gets what there is, and no more.
        assert {row["qp"] for row in rounds_of(vm, "--pid", busy["owner"]["pid"], "-n", "1")[0]["rows"]} == {
            qp["qp"] for qp in qps.values() if qp["owner"]["pid"] == busy["owner"]["pid"]}
        said = rounds_of(vm, "--limit", "1", "--sort", "-outstanding", "-n", "1")[0]
        assert len(said["rows"]) == 1 and said["beyond_limit"] == len(rows) - 1
    deadline = time.monotonic() + 30 * vm.slow
    while rounds_of(vm, "-n", "1")[0]["rows"]:
        assert time.monotonic() < deadline


def test_top_counts_what_waits(vm, open_node):
    """Sends that wait for receives.  Reads over the loopback are complete before anybody can look."""
    job = vm.popen([program("diag_objects"), "starve", vm.address])
    try:
        wait_for(vm, "ready", job)
        rows = rounds_of(vm, "-n", "1")[0]["rows"]
    finally:
        job.kill()
    sender, = [row for row in rows if row["outstanding"]]
    assert sender["outstanding"] == 5 and sender["owner"]["name"] == "diag_objects" and sender["reads"] == 0
    peer, = [row for row in rows if (row["local"], row["remote"]) == (sender["remote"], sender["local"])]
    assert peer["receives"] == 0


def test_top_without_rights(vm, open_node):
    with traffic(vm):
        said = rounds_of(vm, "-n", "1", user=NOBODY)[0]
        assert said["rows"] == [] and said["hidden"] >= 2
        assert "queue pairs of other users not shown" in eadm(vm, "top", "-n", "1", user=NOBODY)
        adapter, = rounds_of(vm, "--by", "adapter", "-n", "1", user=NOBODY)[0]["rows"]
        assert adapter["tx_bytes"] > 0 and adapter["outstanding"] is None


def test_top_as_text(vm, open_node):
    with traffic(vm):
        text = eadm(vm, "top", "-w", "0.5", "-n", "2")
        assert text.count("BLOCKS/S") == 2 and "ib_write_bw" in text and "\033" not in text
        assert re.search(r"^\d{4}-\d\d-\d\dT\S+  by connection, sorted by -posted_blocks$", text, re.M)
        assert "UID" in eadm(vm, "top", "--by", "process", "-n", "1")
    for words in (["--by", "socket"], ["--by", "adapter", "--pid", "1"], ["--sort", "nonsense"], ["-n", "0"], ["-w", "0"],
                  ["--by", "process", "--peer", ":1"]):
        eadm(vm, "top", *words, code=USAGE)
    eadm(vm, "top", "-n", "1", "-d", "mlx5_0", code=NO_DEVICE)


def test_top_on_a_terminal(vm, open_node):
    """Keys regroup, reorder and end it, and the terminal is left as it was."""
    with traffic(vm):
        result = vm.run(["/usr/bin/python3", "-c", ON_TERMINAL, "pa>rcq", eadm_path(), "top", "-w", "0.5"],
                        timeout=120 * vm.slow, check=False)
        text = result.output
        assert text.endswith("ENDED 0\n"), text[-2000:] + result.errors
        for word in ("BLOCKS/S", "by process", "by adapter", "TX_BYTES/S", "ib_write_bw", "sorted by -", "q leave"):
            assert word in text, (word, text[-4000:])
        assert "\033[?1049h" in text and "\033[?1049l" in text
        # A signal ends it as well as a key does.
        result = vm.run(["/usr/bin/python3", "-c", ON_TERMINAL, "\x03", eadm_path(), "top"], timeout=120 * vm.slow, check=False)
        assert "\033[?1049l" in result.output and "ENDED" in result.output
    result = vm.run(["/usr/bin/python3", "-c", ON_TERMINAL.replace("xterm", "nonsense"), "q", eadm_path(), "top"],
                    timeout=120 * vm.slow, check=False)
    assert "ENDED 2" in result.output and "this terminal cannot" in result.output


# ---- record and plot ----

def charts_of(page):
    """Title of each chart -> its table: name of the line -> (least, mean, most)."""
    charts = {}
    for title, body in re.findall(r"<figcaption>(.*?)</figcaption>(.*?)</figure>", page, re.S):
        charts[title] = {name: tuple(rest) for name, *rest in re.findall(
            r"</span>(.*?)</td><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>", body)}
    return charts


def value(text):
    """A number as eadm shortens it."""
    return float(text.rstrip("kMGTPE")) * 1000 ** (" kMGTPE".index(text[-1]) if text[-1] in "kMGTPE" else 0)


def test_record_and_plot(vm, open_node, rdma_device):
    with traffic(vm, options=["-s", "8192"]):
        said = eadm_json(vm, "record", "-s", "4", "--every", "0.5", RECORD)
        assert said["file"] == RECORD and said["lines"] >= 4
    head, lines = lines_of(vm, RECORD)
    assert head["every"] == 0.5 and len(lines) == said["lines"]
    times = [line["at"] for line in lines]
    assert times == sorted(times) and times[-1] >= 3.9
    assert all(line["adapters"][0]["tx_bytes"] > 0 for line in lines)
    assert any(row["posted_blocks"] > 0 and row["owner"]["name"] == "ib_write_bw"
               for line in lines for row in line["connections"])

    assert eadm(vm, "plot", RECORD, "-o", PAGE) == ""
    page = vm.read(PAGE)
    assert page == eadm(vm, "plot", RECORD, user=NOBODY)
    charts = charts_of(page)
    assert set(charts) == {"Throughput", "Packets", "Work requests and events", "Trouble", "Under way", "Queue pairs",
                           "Busiest connections"}
    sent = [line["adapters"][0]["tx_bytes"] * 8 for line in lines]
    for shown, true in zip(charts["Throughput"]["sent"], (min(sent), sum(sent) / len(sent), max(sent))):
        assert abs(value(shown) - true) <= 0.01 * true
    assert value(charts["Trouble"]["drops"][2]) == 0 and any("ib_write_bw" in name for name in charts["Busiest connections"])
    assert "http" not in page and "<script" not in page and rdma_device in page

    browse(vm, page, charts)


def browse(vm, page, charts):
    """Opens it in a browser, where there is one."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        print("no chromium here (package chromium): the page was looked at as text only")
        return
    path = os.path.join(vm.directory, "eadm-plot.html")
    look = ("<script>const all = [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect());"
            "document.title = 'SEEN ' + all.filter(r => r.width > 300 && r.height > 50).length + ' ' + "
            "[...document.querySelectorAll('polyline')].filter(p => p.getTotalLength() > 10).length;</script>")
    with open(path, "w", encoding="utf-8") as file:
        file.write(page.replace("</body>", look + "</body>"))
    result = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{path}"],
                            capture_output=True, text=True, timeout=180, check=False)
    seen = re.search(r"<title>SEEN (\d+) (\d+)</title>", result.stdout)
    assert seen, result.stderr[-2000:]
    assert int(seen[1]) == len(charts) and int(seen[2]) >= len(charts)


def test_recording_that_is_interrupted(vm, open_node):
    """What was written until then is complete, and can be plotted."""
    vm.run(["rm", "-f", RECORD])
    job = vm.popen([eadm_path(), "record", "-s", "600", "--every", "0.2", RECORD])
    vm.run(f"until [ -e {RECORD} ] && [ $(wc -l < {RECORD}) -ge 4 ]; do sleep 0.2; done", timeout=60 * vm.slow)
    job.kill(15)
    assert job.wait(20 * vm.slow).code == 0 and "looks" in job.output
    head, lines = lines_of(vm, RECORD)
    assert len(lines) >= 3
    assert "<svg" in eadm(vm, "plot", RECORD)
    # The last line was cut by a full disk, say.
    vm.run(f"truncate -s -30 {RECORD}")
    assert "ended in the middle" in eadm(vm, "plot", RECORD)


def test_what_is_no_recording(vm, open_node):
    vm.run(f"rm -f {RECORD}; head -c 100000 /dev/urandom > /tmp/rubbish; : > /tmp/empty")
    for path in (RECORD, "/tmp/rubbish", "/tmp/empty", "/etc/passwd", "/tmp"):
        eadm(vm, "plot", path, code=USAGE)
    for words in (["record", "-s", "1", "--every", "2", RECORD], ["record", "-w", "1", RECORD], ["record"],
                  ["plot", "-j", RECORD], ["record", "--every", "0", RECORD]):
        eadm(vm, *words, code=USAGE)
    eadm(vm, "record", "-s", "1", "/proc/nowhere/x", code=FAILED)
    vm.unload_driver()
    eadm(vm, "record", "-s", "1", RECORD, code=NO_DRIVER)
    eadm(vm, "top", "-n", "1", code=NO_DRIVER)
    vm.load_driver()
