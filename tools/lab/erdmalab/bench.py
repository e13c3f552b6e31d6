# SPDX-License-Identifier: GPL-2.0-or-later
"""./lab bench: the adapter, SoftiWARP, rdma_rxe and TCP in the same two VMs, one after the other."""

import json
import math
import os
import platform
import re
import shlex
import subprocess

from . import benchpage, benchresult, check, kernel as kernels, kernel_driver, network, runs, workloads
from .benchresult import PEERS, Results
from .channel import GuestGone
from .common import BUILD, LabError, LabTimeout, say
from .storage import NvmeHost, NvmeTarget

PROGRAMS = os.path.join(BUILD, "tests", "vm", "programs")
PROGRAM, LARGE = os.path.join(PROGRAMS, "connections"), os.path.join(PROGRAMS, "large")
SIZES = {64: "64 B", 4096: "4 KiB", 65536: "64 KiB", 1 << 20: "1 MiB"}
QPS = (1, 4)
OPERATIONS = ("write", "read", "send")
# Messages for about a second of emulated traffic each.
COUNTS = {"erdma": {64: 20000, 4096: 10000, 65536: 4000, 1 << 20: 400},
          "siw": {64: 3000, 65536: 200},  # what the others are compared with it by
          "rdma_rxe": {64: 3000, 4096: 1500, 65536: 200, 1 << 20: 16}}
# Measure, its unit, from what of fio's result and over what, and how fio makes it.
NVME = (("NVMe random read 4 KiB", "IOPS", "read", "iops", 1, ("--rw=randread", "--bs=4k", "--iodepth=32")),
        ("NVMe read 128 KiB", "MiB/s", "read", "bw", 1024, ("--rw=read", "--bs=128k", "--iodepth=8")),
        ("NVMe write 128 KiB", "MiB/s", "write", "bw", 1024, ("--rw=write", "--bs=128k", "--iodepth=8")))


# Seconds that one program of a row may take, times what a guest is slower: its traffic takes about one.
ROW_SECONDS = 30


class Bench:
    """The two VMs and what was measured in them.  `file` has what there is so far, whatever happens next."""

    def __init__(self, group, results, file=None):
        self.group, self.results, self.file = group, results, file
        self.address = {"erdma": group[0].adapters[0].address.split("/")[0]}
        # rdma_rxe and TCP have network cards of their own: the address selects the device, and nobody is filtered.
        self.address["rdma_rxe"] = self.address["tcp"] = group[0].adapters[1].address.split("/")[0]
        if len(group[0].adapters) > 2:
            self.address["siw"] = group[0].adapters[2].address.split("/")[0]
        self.more = 1 if group[0].slow > 1 else 10
        self.only = None  # a compiled expression: the measures wanted, if not all

    def attempt(self, measure, unit, peer, function, *arguments):
        """
        Measures with a function that returns a value, or one for each of several measures as a dictionary measure ->
        (unit, value).  One that hangs or fails is ended and tried once more; then the rows are marked, and the benchmark
        goes on.
        """
        names = measure if isinstance(measure, dict) else {measure: unit}
        if self.only and not any(self.only.search(one) for one in names):
            return
        if any(peer in self.results.failures.get(one, {}) for one in names):
            return  # it would only take as long once more
        for last in (False, True):
            try:
                value = function(*arguments)
                if isinstance(value, float) and not 0 < value < math.inf:
                    raise LabError("it could not tell")
                break
            except GuestGone:
                raise  # there is nothing to go on with
            except (LabError, KeyError, ValueError) as error:
                reason = f"{'hangs' if isinstance(error, LabTimeout) else 'fails'}: {error}"
                say(f"{', '.join(names)}, {peer} {reason.splitlines()[0]}{'' if last else '; once more'}")
        else:
            for one, of in names.items():
                self.results.fail(one, of, peer, reason)
            self.save()
            return
        for one, (of, amount) in (value if isinstance(value, dict) else {measure: (unit, value)}).items():
            self.results.note(one, of, peer, amount)
            say(f"{one}, {peer}: {amount:.4g} {of}")
        self.save()

    def save(self):
        if self.file:
            with open(self.file + ".new", "w", encoding="utf-8") as file:
                json.dump(self.results.json(), file, indent=2)
            os.replace(self.file + ".new", self.file)

    def wanted(self, measure):
        """How often to measure in a round: what has a target three times."""
        return 3 if any(measure == target[0] for target in self.results.wanted()) else 1

    def perftest(self, peer, program, *options, client=None):
        return workloads.perftest(self.group[0], program, self.address[peer], options, timeout=ROW_SECONDS,
                                  client=client or self.group[1])[-1]

    def devices(self, size):
        """The RDMA devices that are measured with messages of this size."""
        return [peer for peer in COUNTS if peer in self.address and size in COUNTS[peer]]

    def bandwidth(self, operation, size, qps):
        measure = f"{operation} {SIZES[size]}, {qps} QP{'s' if qps > 1 else ''}"
        for _ in range(self.wanted(measure)):
            for peer in self.devices(size) if operation != "send" and qps == 1 else ("erdma", "rdma_rxe"):
                count = max(8, COUNTS[peer][size] * self.more // qps)
                self.attempt(measure, "MiB/s", peer, lambda *words: self.perftest(*words)["average"],
                             peer, f"ib_{operation}_bw", "-s", size, "-n", count, "-q", qps)
            if operation != "send":
                self.attempt(measure, "MiB/s", "tcp", self.tcp_stream, size, qps, operation == "read")

    def tcp_stream(self, size, streams, reverse):
        """MiB/s from the client to the server, or back."""
        port = str(workloads.next_port())
        server = self.group[0].popen(["iperf3", "-s", "-1", "-p", port, "--forceflush"])
        try:
            server.wait_output("listening", 20 * self.group[0].slow)
            result = self.group[1].run(["iperf3", "-J", "-c", self.address["tcp"], "-p", port, "-t", "2", "-l", str(size),
                                        "-P", str(streams), *(["-R"] if reverse else [])],
                                       timeout=ROW_SECONDS * self.group[1].slow)
            server.wait(20 * self.group[0].slow)
        finally:
            server.kill()
        return json.loads(result.output)["end"]["sum_received"]["bits_per_second"] / 8 / (1 << 20)

    def latency(self, operation):
        measure = f"{operation} 64 B, latency"
        for _ in range(self.wanted(measure)):
            for peer in self.devices(64):
                self.attempt(measure, "µs", peer, lambda *words: self.perftest(*words)["typical"],
                             peer, f"ib_{operation}_lat", "-s", 64, "-n", 1000 * self.more)
            if operation == "send":
                count = 1000 * self.more
                self.attempt(measure, "µs", "tcp", lambda times: self.connections(
                    "tcp", 1, "--messages", times)["messages"] / times / 2 * 1e6, count)

    def connections(self, peer, count, *options, ready=0):
        """Seconds of each step of tests/vm/programs/connections; `ready` queue pairs wait in the server."""
        kind, port, server_vm = "tcp" if peer == "tcp" else "rdma", str(workloads.next_port()), self.group[0]
        words = [kind, self.address[peer], port]
        server = server_vm.popen([PROGRAM, "serve", *words, *(["--ready", str(ready)] if ready else [])])
        try:
            server.wait_output("listening", 20 * server_vm.slow)
            result = self.group[1].run([PROGRAM, "open", *words, str(count), *map(str, options)],
                                       timeout=2 * ROW_SECONDS * server_vm.slow)
        finally:
            server.kill()
        return {step: float(seconds) for step, seconds in re.findall(r"(?m)^(\w+) \d+ ([\d.]+)$", result.output)}

    def connection_rate(self, count=200):
        """
        Queue pairs that the server makes while it accepts, and those that it has by then: only the second compares
        what connecting costs with TCP.  RoCEv2 has no such servers: its queue pairs need to know the connection.
        """
        for _ in range(self.wanted("connections, QPs ready")):
            for peer in (one for one in PEERS if one in self.address):
                def rate(*words, one=peer, **ready):
                    return count / self.connections(one, count, *words, **ready)["connected"]

                self.attempt("connections", "1/s", peer, rate)
                if peer == "tcp" or peer == "erdma" and self.results.about.get("protocol") != "rocev2":
                    ready = {"ready": count} if peer == "erdma" else {}
                    self.attempt("connections, QPs ready", "1/s", peer, lambda: rate(**ready))

    def loopback(self):
        """Both ends in one VM, where no network is involved."""
        for peer in ("erdma", "rdma_rxe"):
            def rate(one=peer):
                return self.perftest(one, "ib_write_bw", "-s", 65536, "-n", COUNTS[one][65536] * self.more,
                                     client=self.group[0])["average"]

            self.attempt("loopback write 64 KiB", "MiB/s", peer, rate)

    def checked(self):
        """The same writes in check mode, which docs/check.md promises a quarter of the speed."""
        for where, client in (("loopback ", self.group[0]), ("", self.group[1])):
            def rate(client=client):
                watched = [check.Checked(machine) for machine in dict.fromkeys((self.group[0], client))]
                try:
                    return self.perftest("erdma", "ib_write_bw", "-s", 65536, "-n", COUNTS["erdma"][65536] * self.more,
                                         client=client)["average"]
                finally:
                    for guest in watched:
                        guest.stop()

            self.attempt(f"{where}write 64 KiB, check mode", "MiB/s", "erdma", rate)

    def registration(self):
        """How long ibv_reg_mr() takes for memory in separate pages."""
        for peer in ("erdma", "rdma_rxe"):
            def taken(one=peer):
                result = self.group[0].run([LARGE, "--only", "256-mib", self.address[one]],
                                           timeout=ROW_SECONDS * self.group[0].slow)
                said = re.search(r"registered in (\d+) ms", result.output)
                if not said:
                    raise LabError(f"'{result.command}' printed no time\n{result.output}")
                return float(said[1])

            self.attempt("register 256 MiB", "ms", peer, taken)

    def storage(self):
        """NVMe over Fabrics: the same disk in the server's memory, over the adapter and over TCP."""
        def rates(peer, transport):
            with NvmeTarget(self.group[0], transport=transport, address=self.address[peer]) as target, \
                    NvmeHost(self.group[1], target) as host:
                return {measure: (unit, host.fio(*options, "--runtime=3", "--time_based")[direction][value] / divisor)
                        for measure, unit, direction, value, divisor, options in NVME}

        for _ in range(self.wanted(NVME[0][0])):
            for peer, transport in (("erdma", "rdma"), ("tcp", "tcp")):
                self.attempt({row[0]: row[1] for row in NVME}, None, peer, rates, peer, transport)

    def everything(self):
        for operation in OPERATIONS:
            for size in SIZES:
                for qps in QPS:
                    self.bandwidth(operation, size, qps)
            self.latency(operation)
        self.connection_rate()
        self.loopback()
        self.checked()
        self.registration()
        self.storage()


def card(machine, number):
    """Name of a VM's network card."""
    return machine.run("for d in /sys/class/net/*; do grep -q "
                       f"{machine.adapters[number].mac} $d/address && basename $d; done; true").output.strip()


def start_others(machine, softiwarp):
    """rdma_rxe on a VM's second network card, SoftiWARP, a module's path or None, on the third."""
    machine.run(["modprobe", "rdma_rxe"])
    machine.run(["rdma", "link", "add", "rxe0", "type", "rxe", "netdev", card(machine, 1)])
    if softiwarp:
        machine.run(f"modprobe libcrc32c; insmod {shlex.quote(softiwarp)}")
        machine.run(["rdma", "link", "add", "siw0", "type", "siw", "netdev", card(machine, 2)])


def softiwarp_of(kernel):
    """Path of its module, or None where the kernel's source is not to be had."""
    try:
        return kernel_driver.build(kernel, "siw")
    except LabError as error:
        say(f"SoftiWARP is left out: {str(error).splitlines()[0]}")
        return None


def about_machine(kvm):
    """What a reader must know of the machine."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"(?m)^model name\s*: (.*)$", file.read())
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=False).stdout
    return {"processor": model[1] if model else platform.machine(), "processors": os.cpu_count(),
            "guests by": "KVM" if kvm else "emulation", "host's kernel": platform.release(),
            "QEMU": (re.search(r"version (\S+)", qemu) or ["", "unknown"])[1],
            "load before": f"{os.getloadavg()[0]:.2f}"}


def networks(protocol, softiwarp):
    """Settings of each guest's network cards: with the adapter, for rdma_rxe and TCP, and one for SoftiWARP if it takes part."""
    plain = {"erdma": False}
    return [{"options": {"protocol": protocol}} if protocol else {}, plain, *([plain] if softiwarp else [])]


def measure(kernel_name, rounds, cpus, protocol=None, only=None):
    """
    Everything, or the measures that match an expression, in two new VMs; returns the results, of which a file in the
    run's directory has what came before the end.  SoftiWARP has nothing to say where the adapter speaks RoCEv2.
    """
    try:
        only = only and re.compile(only)
    except re.error as error:
        raise LabError(f"--only {only}: {error}") from error
    kernel = kernels.find(kernel_name)
    runs.build(kernel, more=[os.path.basename(PROGRAM), os.path.basename(LARGE)])
    softiwarp = None if protocol == "rocev2" else softiwarp_of(kernel)
    run = runs.new_run("bench")
    with network.Group(run, kernel, 2, nets=networks(protocol, softiwarp), cpus=cpus) as group:
        group.tell()
        group.load_drivers()
        for machine in group:
            start_others(machine, softiwarp)
        results = Results({"machine": about_machine(group[0].slow == 1), "kernel": kernel.version, "rounds": rounds,
                           "cpus": cpus, **({"protocol": protocol} if protocol else {})})
        work = Bench(group, results, os.path.join(run, "bench.json"))
        work.only = only
        try:
            for _ in range(rounds):
                work.everything()
            group.check_logs()
        except (LabError, AssertionError, KeyboardInterrupt) as error:
            results.stopped = str(error) or type(error).__name__
            work.save()
    return results


def show(results, as_json=False, page=None, old=None):
    """Prints and writes what was measured; returns the exit code."""
    if page:
        with open(page, "w", encoding="utf-8") as file:
            file.write(benchpage.page(results, old))
        say(f"the page is {page}")
    if as_json:
        print(json.dumps({**results.json(), **({"compared": comparison(old, results)} if old else {})}, indent=2))
    else:
        about = results.about
        print(f"\n=== two VMs, {about.get('machine', {}).get('guests by', 'unknown')}, MTU 1500, median of "
              f"{about.get('rounds')} round{'s' if about.get('rounds') != 1 else ''}\n" + results.text())
        if old:
            print("\n" + benchresult.comparison_text(old, results))
    return 1 if results.stopped or old and benchresult.slower(old, results) else 0


def comparison(old, new):
    factor, lines = benchresult.compare(old, new)
    return {"machine_speed": factor, "rows": [
        dict(zip(("measure", "unit", "then", "now", "times_as_fast", "verdict"), line)) for line in lines]}


def bench(options):
    """`./lab bench`; returns the exit code: 1 when it did not come to its end, or a row is slower than in --compare's."""
    old = benchresult.read(options.compare) if options.compare else None
    if options.html:  # before an hour of work
        with open(options.html, "a", encoding="utf-8"):
            pass
    results = benchresult.read(options.results) if options.results else \
        measure(options.kernel, options.rounds, options.cpus, options.protocol, options.only)
    return show(results, options.json, options.html, old)
