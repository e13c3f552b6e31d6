# SPDX-License-Identifier: GPL-2.0-or-later
"""./lab demo and ./lab bench."""

import json
import statistics

from . import kernel as kernels, qemu_tree, runs, table, workloads
from .common import LabError, Steps, say
from .vm import Adapter


def show(title, text):
    print(f"\n=== {title}\n{text.rstrip()}\n", flush=True)


def demo(kernel_name=None, model=True):
    """Everything from packages to traffic; returns the exit code."""
    steps = Steps(8)
    rows = []
    steps.run("set-up: packages of the distribution", prepare)
    kernel = kernels.find(kernel_name)
    if model:
        steps.run("build: driver and device model", runs.build, kernel)
    else:
        steps.done += 1
    run = runs.new_run("demo")
    # Two processors: both ends of a latency test poll, and would wait for their turn on one.
    vm = runs.make_vm(run, kernel, model=model, driver=model, cpus=2)
    try:
        steps.run(f"boot: Linux {kernel.version} in QEMU", vm.start)
        steps.run("driver: modprobe erdma" if model else "driver: rdma_rxe (no model)",
                  load, vm, model)
        show("ibv_devinfo", vm.run(["ibv_devinfo"]).output)
        show("rdma link", vm.run(["rdma", "link"]).output)

        def pinging():
            workloads.rping(vm, 100, timeout=60)
            rows.append(("rping", "100 round trips, data verified", "passed"))

        def writing():
            row = workloads.perftest(vm, "ib_write_bw", options=["-s", 65536, "-n", 2000 if model else 100])[-1]
            rows.append(("ib_write_bw", "64 KiB RDMA writes", f"{row['average']:.1f} MiB/s"))

        def delays():
            row = workloads.perftest(vm, "ib_send_lat", options=["-s", 64, "-n", 1000 if model else 100])[-1]
            rows.append(("ib_send_lat", "64-byte sends, typical delay", f"{row['typical']:.1f} µs"))

        steps.run("rping: connect, read, write, verify", pinging)
        steps.run("ib_write_bw: bandwidth", writing)
        steps.run("ib_send_lat: delay", delays)
        steps.run("end: unload, kernel log", finish, vm, model)
    finally:
        vm.stop()
    show("results (both ends in one VM, "
         f"{'emulated processor' if vm.slow > 1 else 'KVM'})", table.render(("program", "what", "result"), rows))
    show("time", table.render(("step", "seconds"), [(title, round(taken, 1)) for title, taken in steps.times]))
    say("the demo passed")
    return 0


def prepare():
    runs.setup()
    qemu_tree.ensure()


def load(vm, model):
    if model:
        return vm.load_driver()
    vm.load_rdma()
    vm.run(["modprobe", "rdma_rxe"])
    return vm.run("rdma link add rxe0 type rxe netdev eth0")


def finish(vm, model):
    if model:
        vm.unload_driver()
    vm.check_log()


def bench(kernel_name=None, rounds=5, as_json=False, cpus=1):
    """64 KiB writes on the adapter against rdma_rxe, alternating in one VM; returns the exit code."""
    kernel = kernels.find(kernel_name)
    runs.build(kernel)
    run = runs.new_run("bench")
    # rdma_rxe sits on an interface of its own, so that the address selects the device.
    vm = runs.make_vm(run, kernel, cpus=cpus, adapters=[Adapter(), Adapter(erdma=False)])
    peers = {"erdma": (vm.adapters[0].address.split("/")[0], 5000),
             "rdma_rxe": (vm.adapters[1].address.split("/")[0], 200)}
    results = {name: [] for name in peers}
    try:
        runs.boot(vm)
        vm.load_driver()
        vm.run(["modprobe", "rdma_rxe"])
        name = vm.run("for d in /sys/class/net/*; do grep -q "
                      f"{vm.adapters[1].mac} $d/address && basename $d; done; true").output.strip()
        vm.run(["rdma", "link", "add", "rxe0", "type", "rxe", "netdev", name])
        for number in range(rounds):
            for peer, (address, count) in peers.items():
                row = workloads.perftest(vm, "ib_write_bw", address, ["-s", 65536, "-n", count],
                                         timeout=120)[-1]
                results[peer].append(row["average"])
                say(f"round {number + 1}/{rounds}: {peer} {row['average']:.1f} MiB/s")
        vm.check_log()
    finally:
        vm.stop()
    medians = {name: statistics.median(values) for name, values in results.items()}
    if not medians["rdma_rxe"]:
        raise LabError("rdma_rxe moved nothing, so there is nothing to compare with")
    ratio = medians["erdma"] / medians["rdma_rxe"]
    if as_json:
        print(json.dumps({"benchmark": "loopback ib_write_bw -s 65536 -R", "unit": "MiB/s",
                          "kernel": kernel.version, "rounds": rounds, "values": results,
                          "median": medians, "ratio": ratio}, indent=2))
    else:
        rows = [(name, round(min(values), 1), round(medians[name], 1), round(max(values), 1))
                for name, values in results.items()]
        show("ib_write_bw -s 65536 -R, both ends in one VM, MiB/s",
             table.render(("device", "least", "median", "most"), rows))
        print(f"ratio of the medians: erdma / rdma_rxe = {ratio:.1f}")
    return 0
