# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of eadm share: running it, its JSON schema, traffic to look at."""

import contextlib
import json
import os
import re
import time

import jsonschema
import pytest

from erdmalab import workloads
from erdmalab.common import BUILD, ROOT

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
OK, FINDINGS, USAGE, NO_DRIVER, NO_DEVICE, NO_OBJECT, NO_RIGHTS, FAILED, PARTIAL = range(9)


def eadm_path():
    """Path of eadm; the same in the guest."""
    path = os.path.join(BUILD, "tools", "eadm", "eadm")
    assert os.path.exists(path), f"{path} is not built; ./lab build says what is missing for it"
    return path


def schema():
    with open(os.path.join(ROOT, "tools", "eadm", "schema.json"), encoding="utf-8") as file:
        whole = json.load(file)
    return whole


def eadm(vm, *words, code=OK, user=(), timeout=60):
    """Runs eadm, which ends with that code, one of these, or (None) any; returns its output, or with an error what it says."""
    result = vm.run([*user, eadm_path(), *map(str, words)], timeout=timeout * vm.slow, check=False)
    assert code is None or result.code in (code if isinstance(code, tuple) else (code,)), \
        f"eadm {' '.join(map(str, words))}: code {result.code}\n{result.output}{result.errors}"
    return result.output if code is None or result.code in (OK, FINDINGS, PARTIAL) else result.errors + result.output


def eadm_json(vm, *words, command=None, **keywords):
    """The same as JSON, which must be as the schema says."""
    value = json.loads(eadm(vm, *words, "-j", **keywords))
    jsonschema.validate(value, {**schema(), "$ref": f"#/definitions/{command or words[0]}"})
    return value


@pytest.fixture
def open_node(vm):
    """The node as the udev rule of the packages makes it."""
    with open(os.path.join(ROOT, "tools", "eadm", "60-erdma.rules"), encoding="utf-8") as rules:
        mode = re.search(r'KERNEL=="erdma".*MODE="(\d+)"', rules.read())[1]
    vm.run(["chmod", mode, "/dev/erdma"])


@contextlib.contextmanager
def traffic(vm, seconds=1000, options=(), client_vm=None, tool="ib_write_bw"):
    """A bandwidth test for as long as the block takes, the client in another guest if one is given; polite, so that eadm
    gets a processor."""
    sender = client_vm or vm
    polite = ["nice", "-n", "19"]
    port = workloads.next_port()
    common = [*polite, tool, "-R", "-F", "-p", str(port), "-D", str(seconds), *options]
    server = vm.popen(common)
    client = None
    try:
        workloads.wait_listener(vm, port, server)
        client = sender.popen([*common, vm.address])
        begin = time.monotonic()
        deadline = begin + 30 * vm.slow
        while sum((qp["sq_pi"] or 0) > 64 for qp in running(sender)) < 1:
            assert time.monotonic() < deadline and client.code is None, client.text
            # A look takes everything from who is polite: leave it as much.
            time.sleep(max(0.2, time.monotonic() - begin))
            begin = time.monotonic()
        yield port
    finally:
        for job in (client, server):
            if job:
                with contextlib.suppress(Exception):
                    job.kill()


def busiest(qps):
    """The queue pair that the data leaves by; the others carry a few messages of the benchmark."""
    return max(qps, key=lambda qp: qp["sq_pi"] or 0)


def running(vm):
    return [qp for qp in json.loads(eadm(vm, "info", "qp", "-j"))["qp"] if qp["state"] == "RTS"]


def mirror(qp, qps):
    """The other end of a connection of which both are here."""
    peer, = [one for one in qps.values() if (one["local"], one["remote"]) == (qp["remote"], qp["local"])]
    return peer


def wait_for(vm, text, job, limit=30):
    """Wait until a job of the guest has printed something."""
    deadline = time.monotonic() + limit * vm.slow
    while text not in job.text:
        assert job.code is None and time.monotonic() < deadline, job.text
        time.sleep(0.1)


@pytest.fixture
def well(vm, open_node):
    """A driver without a past, and the interface as it was; its name."""
    vm.unload_driver()
    vm.load_driver()
    vm.run(["chmod", "666", "/dev/erdma"])
    nic = eadm_json(vm, "dev")["devices"][0]["netdev"]
    yield nic
    vm.run(f"ip link set {nic} up; ip addr replace {vm.address}/24 brd + dev {nic}; "
           "sysctl -qw net.ipv4.tcp_window_scaling=1; modprobe rdma_ucm", check=False)


def during(vm, action, seconds=4, code=FINDINGS):
    """What doctor finds while something happens: id -> finding."""
    job = vm.popen([eadm_path(), "doctor", "-j", "-s", str(seconds)])
    time.sleep(1)
    action()
    job.wait((seconds + 60) * vm.slow)
    assert code is None or job.code == code, job.text
    said = json.loads(job.output)
    jsonschema.validate(said, {**schema(), "$ref": "#/definitions/doctor"})
    found = {}
    for one in said["findings"]:
        found.setdefault(one["id"], one)
    return found


@contextlib.contextmanager
def background(vm, server, client):
    """A pair of programs, the first of which it gives; the client tries until the server is there."""
    first = vm.popen(server)
    second = vm.popen(["sh", "-c", 'until "$@"; do sleep 1; done', "sh", *client])
    try:
        yield first
    finally:
        for job in (second, first):
            with contextlib.suppress(Exception):
                job.kill()
