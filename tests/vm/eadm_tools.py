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
OK, FINDINGS, USAGE, NO_DRIVER, NO_DEVICE, NO_OBJECT, NO_RIGHTS, FAILED = range(8)


def eadm_path():
    """Path of eadm; the same in the guest."""
    path = os.path.join(BUILD, "tools", "eadm", "eadm")
    assert os.path.exists(path), f"{path} is not built; install libcli11-dev, libfmt-dev and nlohmann-json3-dev " \
        "and run ./lab build"
    return path


def schema():
    with open(os.path.join(ROOT, "tools", "eadm", "schema.json"), encoding="utf-8") as file:
        whole = json.load(file)
    return whole


def eadm(vm, *words, code=OK, user=(), timeout=60):
    """Runs eadm, which ends with that code or one of these; returns its output, or with an error what it says about it."""
    result = vm.run([*user, eadm_path(), *map(str, words)], timeout=timeout * vm.slow, check=False)
    assert result.code in (code if isinstance(code, tuple) else (code,)), \
        f"eadm {' '.join(map(str, words))}: code {result.code}\n{result.output}{result.errors}"
    return result.output if result.code in (OK, FINDINGS) else result.errors + result.output


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
