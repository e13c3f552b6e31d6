# SPDX-License-Identifier: GPL-2.0-or-later
"""rdma-core's programs that make connections, between two guests."""

import re

from erdmalab import workloads


def ucmatose(one, other, port):
    both = workloads.pair(one, ["ucmatose", "-b", one.address, "-p", port, "-c", "10", "-C", "50", "-S", "3000"],
                          other, ["ucmatose", "-s", one.address, "-p", port, "-c", "10", "-C", "50", "-S", "3000"], port)
    for result in (both.server, both.client):
        assert "test complete" in result.output and "return status 0" in result.output, result.output


BLOCKING = (["-S", "64", "-C", "20"], ["-T", "b", "-S", "65536", "-C", "20", "-I", "10"])
NONBLOCKING = (["-T", "n", "-S", "4096", "-C", "20", "-I", "20"],)


def rstream(one, other, port, runs=BLOCKING + NONBLOCKING):
    for options in runs:
        both = workloads.pair(one, ["rstream", "-b", one.address, "-p", port, *options],
                              other, ["rstream", "-s", one.address, "-p", port, *options], port, timeout=90)
        assert re.search(r"[\d.]+s\s+[\d.]+\s+[\d.]+\s*$", both.client.output), both.client.output
        port = str(workloads.next_port())


def cmtime(one, other, port):
    server = one.popen(["cmtime", "-b", one.address, "-p", port, "-c", "100"])
    try:
        workloads.wait_listener(one, port, server)
        client = other.run(["cmtime", "-s", one.address, "-p", port, "-c", "100"], timeout=60 * other.slow)
        assert server.code is None, server.text
    finally:
        server.kill()  # it never ends by itself
    assert {"connect", "disconnect"} <= set(re.findall(r"(?m)^\s*([\w ]+?)\s*:", client.output)), client.output
    assert "error" not in (client.output + client.errors).lower(), client.output + client.errors


def rdma_client_server(one, other, port):
    both = workloads.pair(one, ["rdma_server", "-s", one.address, "-p", port],
                          other, ["rdma_client", "-s", one.address, "-p", port], port)
    assert re.search(r"end 0\s*$", both.client.output.strip()), both.client.text


def rcopy(one, other, port):
    """A file of some megabytes arrives as it was."""
    job = one.popen(["rcopy", "-p", port])
    try:
        workloads.wait_listener(one, port, job)
        other.run(["rcopy", "/usr/bin/bash", f"{one.address}:/run/copy", "-p", port], timeout=60 * other.slow)
        one.run("cmp /run/copy /usr/bin/bash; rm /run/copy")
    finally:
        job.kill()  # it never ends by itself


CONNECTING = {"ucmatose": ucmatose, "rstream": rstream, "cmtime": cmtime, "rdma_client_server": rdma_client_server}
