# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs client and server of the distribution's RDMA programs, and reads their tables."""

import contextlib
import itertools
import math
import re
import time

from .common import LabError, LabTimeout

_ports = itertools.count(20000)

BANDWIDTH = ("bytes", "iterations", "peak", "average", "message_rate")
LATENCY = ("bytes", "iterations", "minimum", "maximum", "typical", "average", "deviation",
           "percentile99", "percentile999")


def next_port():
    """A port that no earlier workload of this process has used."""
    return next(_ports)


def wait_listener(vm, port, server, timeout=20):
    """Wait until an RDMA listener of the guest holds the port.

    Clients that come earlier are rejected, and perftest crashes by itself then.
    """
    begin = time.monotonic()
    # A listener says so a moment before it is true, and one without address becomes true device by device: wait until
    # its process waits for something else (a program that never does gets two seconds).
    look = ("all=$(rdma resource show cm_id); echo \"$all\" >&2; echo \"$all\" | "
            f"sed -n 's/.*state LISTEN .* pid \\([0-9]*\\) .*:{port} *$/\\1/p' | sort -u | "
            "while read pid; do cat /proc/$pid/wchan; echo; done")
    while True:
        result = vm.run(look, check=False)
        text, places = result.errors, result.output.split()
        waiting = all(re.search("ucma_get_event|poll|futex|sleep|read|wait", place) for place in places)
        if re.search(rf"state LISTEN.*src-addr \S*:{port}\b", text) and (
                waiting or time.monotonic() > begin + 2 * vm.slow):
            return
        if server.code is not None:
            raise LabError(f"'{server.command}' ended with code {server.code} before it listened\n"
                           f"{server.text}")
        if time.monotonic() > begin + timeout * vm.slow:
            raise LabTimeout(f"'{server.command}' does not listen on port {port}\n{server.text}\n{text}")
        time.sleep(0.1)


class Pair:
    """Results of a server and a client."""

    def __init__(self, server, client):
        self.server, self.client = server, client


def pair(server_vm, server, client_vm, client, port, timeout=60):
    """Run a server and, once it listens, a client; both must end with code 0.

    Commands are lists.  On failure everything is killed and the error shows the
    output of both.
    """
    first = server_vm.popen(server)
    second = None
    try:
        wait_listener(server_vm, port, first)
        second = client_vm.popen(client)
        result = second.wait(timeout * client_vm.slow, check=False)
        if result.code:
            with contextlib.suppress(LabError):
                first.wait(3)
            raise LabError(f"client '{result.command}' ended with code {result.code}\n{second.text}\n"
                           f"--- server '{first.command}' (code {first.code}):\n{first.text}")
        served = first.wait(20 * server_vm.slow, check=False)
        if served.code:
            raise LabError(f"server '{served.command}' ended with code {served.code}\n{first.text}\n"
                           f"--- client '{second.command}':\n{second.text}")
        return Pair(served, result)
    finally:
        for job in (first, second):
            if job and job.code is None:
                with contextlib.suppress(LabError):
                    job.kill()


def rping(vm, count=100, address=None, options=(), timeout=60, client=None):
    """rping with verified data between a server and a client, in another VM if one is given."""
    address = address or vm.address
    for more in (2, 1, 0):
        port = next_port()
        common = ["-a", address, "-p", str(port), "-C", str(count), "-V", *options]
        try:
            return pair(vm, ["rping", "-s", *common], client or vm, ["rping", "-c", *common], port, timeout)
        except LabError as error:
            # At its end it closes the channel that its other thread waits for, and fails if that one is quicker.
            if not more or "rdma_get_cm_event: Bad file descriptor" not in str(error):
                raise


def perftest(vm, program, address=None, options=(), timeout=120, client=None):
    """A perftest program against itself, the client in another VM if one is given; returns the client's table rows.

    A row is a dictionary with the columns of BANDWIDTH (MiB/s, million messages/s)
    or LATENCY (µs).  Their figures are sensible, or nan if perftest could not tell.
    """
    address, client = address or vm.address, client or vm
    for more in (2, 1, 0):
        port = next_port()
        common = [program, "-R", "-F", "-p", str(port), *map(str, options)]
        try:
            result = pair(vm, common, client, [*common, address], port, timeout).client
        except LabError as error:
            # It connects twice, and for the second time the server listens anew: a client that is quicker is rejected, or
            # refused by the server's TCP as SoftiWARP tells it, and crashes.
            if not more or not re.search("RDMA_CM_EVENT_REJECTED|Failed to connect.*\n.*Connection refused", str(error)):
                raise
            client.check_log([rf"\b{program[:15]}\[\d+\]"])
            continue
        rows = checked(result)
        if len(rows) > 1 or not math.isnan(rows[0]["average"]):
            break
    return rows


def checked(result):
    """The rows that a perftest program printed, after a look at them."""
    text = result.output + result.errors
    rows = parse_perftest(result.output)
    if not rows:
        raise LabError(f"'{result.command}' printed no result\n{text}")
    # Small messages may well move 0.00 MiB in a second, and large ones be 0.000000 million.
    figures = [name for name in ("message_rate", "average") if name in rows[0]]
    senseless = [row for row in rows if not any(0 < row[name] < math.inf for name in figures)]
    # For each row it measures how fast the processor's counter runs.  When the processor is taken away meanwhile it
    # says so, and computes the figures with a frequency of zero.
    if len(senseless) > text.count("Correlation coefficient"):
        raise LabError(f"'{result.command}' printed senseless figures\n{text}")
    for row in senseless:
        row.update((column, math.nan) for column in row if column not in ("bytes", "iterations"))
    return rows


def parse_perftest(text):
    """Rows of the table that a perftest program prints."""
    columns, rows = None, []
    for line in text.splitlines():
        if line.lstrip().startswith("#bytes"):
            columns = BANDWIDTH if "BW" in line else LATENCY
        elif columns and re.match(r"\s*\d+\s+\d+\s+-?([\d.]|nan|inf)", line):
            rows.append(dict(zip(columns, map(float, line.split()))))
    return rows
