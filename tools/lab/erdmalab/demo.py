# SPDX-License-Identifier: GPL-2.0-or-later
"""./lab demo."""

from . import kernel as kernels, network, qemu_tree, runs, table, workloads
from .common import LabError, Steps, say


def show(title, text):
    print(f"\n=== {title}\n{text.rstrip()}\n", flush=True)


def demo(kernel_name=None, model=True, protocol=None):
    """Everything from packages to traffic between two VMs; returns the exit code."""
    steps = Steps(8 if model else 7)
    steps.run("set-up: packages of the distribution", prepare)
    kernel = kernels.find(kernel_name)
    if model:
        steps.run("build: driver and device model", runs.build, kernel)
    options = {"protocol": protocol} if protocol else {}
    group = network.Group(runs.new_run("demo"), kernel, 2, nets=[{"options": options}], model=model, driver=model)
    try:
        steps.run(f"boot: two VMs with Linux {kernel.version}, side by side", group.start)
        steps.run("driver: modprobe erdma in both" if model else "driver: rdma_rxe in both (no model)",
                  load, group, model)
        for vm in group:
            show(f"{vm.name} ({vm.address}): ibv_devinfo", vm.run(["ibv_devinfo"]).output)
            show(f"{vm.name}: rdma link", vm.run(["rdma", "link"]).output)
        rows = []
        steps.run("rping: connect, read, write, verify, both ways", ping, group, rows)
        steps.run("ib_write_bw: bandwidth, both ways", write, group, rows, 2000 if model else 100)
        steps.run("ib_send_lat: delay, both ways", send, group, rows, 1000 if model else 100)
        steps.run("end: unload, kernel logs", finish, group, model)
    finally:
        group.stop()
    emulated = group[0].slow > 1
    show(f"results (two VMs on a cable, MTU 1500, {'emulated processors' if emulated else 'KVM'})",
         table.render(("program", "from", "to", "what", "result"), rows))
    show("time", table.render(("step", "seconds"), [(title, round(taken, 1)) for title, taken in steps.times]))
    say("the demo passed")
    return 0


def prepare():
    runs.setup("demo")
    qemu_tree.ensure()


def load(group, model):
    if model:
        return group.load_drivers()
    for vm in group:
        vm.load_rdma()
        vm.run("modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0")
    return None


def both_ways(group):
    return ((group[0], group[1]), (group[1], group[0]))


def ping(group, rows):
    for client, server in both_ways(group):
        result = workloads.rping(server, 100, options=["-v"], client=client)
        for role, end in (("client", result.client), ("server", result.server)):
            if end.output.count("rdma-ping-") != 100:
                raise LabError(f"rping: the {role} shows {end.output.count('rdma-ping-')} of 100 pings\n{end.output}")
        show(f"rping from {client.name} to {server.name}, last lines of both ends",
             "\n".join(f"{vm.name} {line[:100]}" for vm, end in ((client, result.client), (server, result.server))
                       for line in end.output.splitlines()[-2:]))
        rows.append(("rping", client.name, server.name, "100 round trips, data verified", "passed"))


def write(group, rows, count):
    for client, server in both_ways(group):
        row = workloads.perftest(server, "ib_write_bw", options=["-s", 65536, "-n", count], client=client)[-1]
        rows.append(("ib_write_bw", client.name, server.name, "64 KiB RDMA writes", f"{row['average']:.1f} MiB/s"))


def send(group, rows, count):
    for client, server in both_ways(group):
        row = workloads.perftest(server, "ib_send_lat", options=["-s", 64, "-n", count], client=client)[-1]
        rows.append(("ib_send_lat", client.name, server.name, "64-byte sends, typical delay",
                     f"{row['typical']:.1f} µs"))


def finish(group, model):
    if model:
        for vm in group:
            vm.unload_driver()
    group.check_logs()
