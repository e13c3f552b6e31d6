# SPDX-License-Identifier: GPL-2.0-or-later
"""./lab bench: the adapter, rdma_rxe and TCP in the same two VMs, one after the other."""

import json
import os
import re
import statistics

from . import kernel as kernels, network, runs, table, workloads
from .common import BUILD, say
from .storage import NvmeHost, NvmeTarget

PROGRAMS = os.path.join(BUILD, "tests", "vm", "programs")
PROGRAM, LARGE = os.path.join(PROGRAMS, "connections"), os.path.join(PROGRAMS, "large")
PEERS = ("erdma", "rdma_rxe", "tcp")
SIZES = {64: "64 B", 4096: "4 KiB", 65536: "64 KiB", 1 << 20: "1 MiB"}
QPS = (1, 4)
OPERATIONS = ("write", "read", "send")
# Messages for about a second of emulated traffic each.
COUNTS = {"erdma": {64: 20000, 4096: 10000, 65536: 4000, 1 << 20: 400},
          "rdma_rxe": {64: 3000, 4096: 1500, 65536: 200, 1 << 20: 16}}
# What the project wants to reach: measure, compared with, factor, and whether that is a least or a most.
TARGETS = (("write 64 KiB, 1 QP", "rdma_rxe", 20, "least"), ("read 64 KiB, 1 QP", "rdma_rxe", 20, "least"),
           ("write 64 KiB, 1 QP", "tcp", 8, "least"), ("read 64 KiB, 1 QP", "tcp", 8, "least"),
           ("write 64 B, latency", "rdma_rxe", 0.5, "most"), ("connections, QPs ready", "tcp", 0.5, "least"),
           ("NVMe random read 4 KiB", "tcp", 1, "least"), ("NVMe read 128 KiB", "tcp", 1, "least"),
           ("NVMe write 128 KiB", "tcp", 1, "least"))
# Measure, its unit, from what of fio's result and over what, and how fio makes it.
NVME = (("NVMe random read 4 KiB", "IOPS", "read", "iops", 1, ("--rw=randread", "--bs=4k", "--iodepth=32")),
        ("NVMe read 128 KiB", "MiB/s", "read", "bw", 1024, ("--rw=read", "--bs=128k", "--iodepth=8")),
        ("NVMe write 128 KiB", "MiB/s", "write", "bw", 1024, ("--rw=write", "--bs=128k", "--iodepth=8")))


class Bench:
    """The two VMs and what was measured in them: values[measure][peer] is a list, one value a round."""

    def __init__(self, group):
        self.group, self.values, self.units = group, {}, {}
        self.address = {"erdma": group[0].adapters[0].address.split("/")[0]}
        # rdma_rxe and TCP have network cards of their own: the address selects the device, and nobody is filtered.
        self.address["rdma_rxe"] = self.address["tcp"] = group[0].adapters[1].address.split("/")[0]
        self.more = 1 if group[0].slow > 1 else 10

    def note(self, measure, unit, peer, value):
        self.units[measure] = unit
        self.values.setdefault(measure, {}).setdefault(peer, []).append(value)
        say(f"{measure}, {peer}: {value:.4g} {unit}")

    def wanted(self, measure):
        """How often to measure in a round: what has a target three times."""
        return 3 if any(measure == target[0] for target in TARGETS) else 1

    def perftest(self, peer, program, *options, client=None):
        return workloads.perftest(self.group[0], program, self.address[peer], options,
                                  client=client or self.group[1])[-1]

    def bandwidth(self, operation, size, qps):
        measure = f"{operation} {SIZES[size]}, {qps} QP{'s' if qps > 1 else ''}"
        for _ in range(self.wanted(measure)):
            for peer in COUNTS:
                count = max(8, COUNTS[peer][size] * self.more // qps)
                row = self.perftest(peer, f"ib_{operation}_bw", "-s", size, "-n", count, "-q", qps)
                self.note(measure, "MiB/s", peer, row["average"])
            if operation != "send":
                self.note(measure, "MiB/s", "tcp", self.tcp_stream(size, qps, reverse=operation == "read"))

    def tcp_stream(self, size, streams, reverse):
        """MiB/s from the client to the server, or back."""
        port = str(workloads.next_port())
        server = self.group[0].popen(["iperf3", "-s", "-1", "-p", port, "--forceflush"])
        server.wait_output("listening", 20 * self.group[0].slow)
        result = self.group[1].run(["iperf3", "-J", "-c", self.address["tcp"], "-p", port, "-t", "2", "-l", str(size),
                                    "-P", str(streams), *(["-R"] if reverse else [])], timeout=40 * self.group[1].slow)
        server.wait(20 * self.group[0].slow)
        return json.loads(result.output)["end"]["sum_received"]["bits_per_second"] / 8 / (1 << 20)

    def latency(self, operation):
        measure = f"{operation} 64 B, latency"
        for _ in range(self.wanted(measure)):
            for peer in COUNTS:
                row = self.perftest(peer, f"ib_{operation}_lat", "-s", 64, "-n", 1000 * self.more)
                self.note(measure, "µs", peer, row["typical"])
            if operation == "send":
                count = 1000 * self.more
                taken = self.connections("tcp", 1, "--messages", count)["messages"]
                self.note(measure, "µs", "tcp", taken / count / 2 * 1e6)

    def connections(self, peer, count, *options, ready=0):
        """Seconds of each step of tests/vm/programs/connections; `ready` queue pairs wait in the server."""
        kind, port, server_vm = "tcp" if peer == "tcp" else "rdma", str(workloads.next_port()), self.group[0]
        words = [kind, self.address[peer], port]
        server = server_vm.popen([PROGRAM, "serve", *words, *(["--ready", str(ready)] if ready else [])])
        try:
            server.wait_output("listening", 20 * server_vm.slow)
            result = self.group[1].run([PROGRAM, "open", *words, str(count), *map(str, options)],
                                       timeout=90 * server_vm.slow)
        finally:
            server.kill()
        return {step: float(seconds) for step, seconds in re.findall(r"(?m)^(\w+) \d+ ([\d.]+)$", result.output)}

    def connection_rate(self, count=200):
        """
        Queue pairs that the server makes while it accepts, and those that it has by then: only the second compares
        what connecting costs with TCP.  rdma_rxe has no such servers: its queue pairs need to know the connection.
        """
        for _ in range(self.wanted("connections, QPs ready")):
            for peer in PEERS:
                rate = count / self.connections(peer, count)["connected"]
                self.note("connections", "1/s", peer, rate)
                if peer == "erdma":
                    rate = count / self.connections(peer, count, ready=count)["connected"]
                if peer != "rdma_rxe":
                    self.note("connections, QPs ready", "1/s", peer, rate)

    def loopback(self):
        """Both ends in one VM, where no network is involved."""
        for peer in COUNTS:
            row = self.perftest(peer, "ib_write_bw", "-s", 65536, "-n", COUNTS[peer][65536] * self.more,
                                client=self.group[0])
            self.note("loopback write 64 KiB", "MiB/s", peer, row["average"])

    def registration(self):
        """How long ibv_reg_mr() takes for memory in separate pages."""
        for peer in COUNTS:
            result = self.group[0].run([LARGE, "--only", "256-mib", self.address[peer]], timeout=60 * self.group[0].slow)
            self.note("register 256 MiB", "ms", peer, float(re.search(r"registered in (\d+) ms", result.output)[1]))

    def storage(self):
        """NVMe over Fabrics: the same disk in the server's memory, over the adapter and over TCP."""
        for _ in range(self.wanted(NVME[0][0])):
            for peer, transport in (("erdma", "rdma"), ("tcp", "tcp")):
                with NvmeTarget(self.group[0], transport=transport, address=self.address[peer]) as target, \
                        NvmeHost(self.group[1], target) as host:
                    for measure, unit, direction, value, divisor, options in NVME:
                        job = host.fio(*options, "--runtime=3", "--time_based")
                        self.note(measure, unit, peer, job[direction][value] / divisor)

    def everything(self):
        for operation in OPERATIONS:
            for size in SIZES:
                for qps in QPS:
                    self.bandwidth(operation, size, qps)
            self.latency(operation)
        self.connection_rate()
        self.loopback()
        self.registration()
        self.storage()

    def medians(self):
        return {measure: {peer: statistics.median(values) for peer, values in peers.items()}
                for measure, peers in self.values.items()}


def ratio(medians, measure, peer):
    """The adapter's value as a multiple of another's; None where one is missing."""
    values = medians.get(measure, {})
    return values["erdma"] / values[peer] if values.get(peer) and "erdma" in values else None


def targets(medians):
    """Measure, peer, ratio, what it should be, whether it is."""
    for measure, peer, factor, kind in TARGETS:
        value = ratio(medians, measure, peer)
        if value is not None:
            yield measure, peer, value, f"at {kind} {factor}", value >= factor if kind == "least" else value <= factor


def start_rxe(machine):
    """rdma_rxe on a VM's second network card."""
    name = machine.run("for d in /sys/class/net/*; do grep -q "
                       f"{machine.adapters[1].mac} $d/address && basename $d; done; true").output.strip()
    machine.run(["modprobe", "rdma_rxe"])
    machine.run(["rdma", "link", "add", "rxe0", "type", "rxe", "netdev", name])


def bench(kernel_name=None, rounds=1, as_json=False, cpus=1):
    """Run everything and print it; returns the exit code."""
    kernel = kernels.find(kernel_name)
    runs.build(kernel, more=[os.path.basename(PROGRAM), os.path.basename(LARGE)])
    with network.Group(runs.new_run("bench"), kernel, 2, nets=[{}, {"erdma": False}], cpus=cpus) as group:
        group.tell()
        group.load_drivers()
        for machine in group:
            start_rxe(machine)
        work = Bench(group)
        for _ in range(rounds):
            work.everything()
        group.check_logs()
    medians = work.medians()
    if as_json:
        print(json.dumps({"kernel": kernel.version, "rounds": rounds, "cpus": cpus, "units": work.units,
                          "values": work.values, "median": medians,
                          "targets": [dict(zip(("measure", "peer", "ratio", "target", "met"), row))
                                      for row in targets(medians)]}, indent=2))
        return 0

    def cell(value, form="{:.4g}"):
        return "-" if value is None else form.format(value)

    rows = [(measure, work.units[measure], *(cell(values.get(peer)) for peer in PEERS),
             *(cell(ratio(medians, measure, peer), "{:.2f}") for peer in PEERS[1:]))
            for measure, values in medians.items()]
    print(f"\n=== two VMs, {'emulated processors' if work.more == 1 else 'KVM'}, MTU 1500, median of {rounds} "
          f"round{'s' if rounds > 1 else ''}\n"
          f"{table.render(('measure', 'unit', *PEERS, 'erdma/rxe', 'erdma/tcp'), rows)}\n")
    print(table.render(("target", "compared with", "ratio", "should be", ""),
                       [(measure, peer, f"{value:.2f}", wish, "met" if met else "MISSED")
                        for measure, peer, value, wish, met in targets(medians)]))
    return 0
