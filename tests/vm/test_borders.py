# SPDX-License-Identifier: GPL-2.0-or-later
"""Borders: what one process cannot do to another (programs/borders.c), what the device cannot do to freed memory, and
what an administrator cannot do to the driver."""

import json
import re
import time

import pytest

from eadm_tools import NOBODY, eadm_path
from erdmalab import workloads
from erdmalab.storage import NvmeHost, NvmeTarget
from support import bdf, expect_in_use, in_use, program, run_cases, wait

TRACING = "/sys/kernel/tracing"


def test_between_processes(vm):
    before = in_use(vm)
    print(run_cases(vm, "borders"), "cases")
    expect_in_use(vm, before)


def test_shared_doorbells(vms):
    """Pages that ring everybody's queues are for those with CAP_SYS_RAWIO, unless the operator says otherwise."""
    machine, = vms(1, adapter={"extended-doorbells": "off"})

    def opens(*user):
        machine.run("chmod 666 /dev/infiniband/uverbs0")
        return machine.run([*user, "ibv_devinfo"], check=False).code == 0

    before = in_use(machine)
    powerless = ["setpriv", "--bounding-set=-sys_rawio", "--inh-caps=-sys_rawio"]
    for _ in range(3):
        assert not opens(*NOBODY) and not opens(*powerless)
        result = machine.run([*powerless, program("rc_ops"), "--only", "immediates", machine.address], check=False)
        assert result.code != 0, result.output
    assert opens()
    workloads.rping(machine, 5)
    expect_in_use(machine, before)
    machine.unload_driver()
    machine.load_driver("shared_doorbells=1")
    assert opens(*NOBODY) and opens(*powerless)
    # What they can disturb then: stores that no ring can mean end nothing of a queue pair whose owner goes on.
    machine.run("chmod 666 /dev/infiniband/rdma_cm")
    ignored = machine.counters()["bad_doorbells"]
    result = machine.run([*NOBODY, program("direct_wqe"), "--only", "foreign-doorbells", machine.address], check=False)
    assert result.code == 0, result.output + result.errors
    assert machine.counters()["bad_doorbells"] >= ignored + 12
    expect_in_use(machine, before)


# Registers regions until there are no more; prints how many, how many were promised, and the indices asked about.
ALL_REGIONS = """
import sys
from pyverbs.device import Context, get_device_list
from pyverbs.mr import MR
from pyverbs.pd import PD
from pyverbs.pyverbs_error import PyverbsRDMAError
context = Context(name=get_device_list()[0].name.decode())
pd, regions = PD(context), []
try:
    while True:
        regions.append(MR(pd, 64, 1))
except PyverbsRDMAError:
    pass
print(len(regions), context.query_device().max_mr, [r.rkey >> 8 for r in regions].count(int(sys.argv[1])))
"""


def test_local_key_of_the_device(vms):
    """The device chooses the key of all memory.  No region gets the key's index, and what is said to be there is."""
    machine, = vms(1, adapter={"qblock": 1}, load=False)
    machine.load_rdma()
    with machine.faults("cmd-drop=0/0*1"):
        commands = machine.counters()["commands"]
        job = machine.popen(["modprobe", "erdma"])
        wait("QUERY_DEVICE", lambda: not machine.qom_get("faults"), 20 * machine.slow)
        # An answer with key 0x500: no error; of four blocks each command takes one slot.
        slot = machine.counters()["commands"] - commands - 1
        machine.qom_set("faults", f"post=cmd:200,{4 * slot:x},{10 << 16 | 32:x},{12 << 8:x},{1 << 16:x},500")
        assert job.wait(30 * machine.slow).code == 0, job.text
    machine.wait_devices(1)
    result = machine.run(["/usr/bin/python3", "-c", ALL_REGIONS, "5"], timeout=120 * machine.slow)
    assert result.output.split() == ["2046", "2046", "0"], result.output


@pytest.fixture
def traced(vm):
    """A function: calls of kernel functions, if asked for those of programs of one name, and events of the driver are
    recorded while it runs what it is given."""
    def trace(probes, events, action, who=None):
        for name, function in probes.items():
            vm.run(f"echo 'p:order/{name} {function}' >> {TRACING}/kprobe_events")
            if who:
                vm.run(f"""echo 'comm == "{who}"' > {TRACING}/events/order/{name}/filter""")
        switches = [f"{TRACING}/events/{event}/enable" for event in [*events, "order"]]
        vm.run(f"echo > {TRACING}/trace; for e in {' '.join(switches)}; do echo 1 > $e; done")
        try:
            action()
            # Taking the probes away empties the buffer.
            return re.findall(r"(?m)^[^#].*?: (\w+):", vm.read(f"{TRACING}/trace"))
        finally:
            vm.run(f"for e in {' '.join(switches)}; do echo 0 > $e; done; echo > {TRACING}/kprobe_events")
    return trace


@pytest.mark.stock_kernel
def test_reset_comes_first(vm, traced):
    """Nobody takes the device for dead, and may free memory, before the reset that makes it let go of memory."""
    address = bdf(vm)
    seen = traced({"reset": "erdma:erdma_dev_reset"}, ["erdma/erdma_device_broken"],
                  lambda: vm.run(f"echo 1 > /sys/bus/pci/devices/{address}/reset", timeout=20 * vm.slow))
    assert seen[:2] == ["reset", "erdma_device_broken"], seen
    # What an earlier kernel left running is reset before it may reach memory.
    vm.run(f"echo {address} > /sys/bus/pci/drivers/erdma/unbind", timeout=20 * vm.slow)
    seen = traced({"reset": "erdma:erdma_dev_reset", "master": "pci_set_master"}, [],
                  lambda: vm.run(f"echo {address} > /sys/bus/pci/drivers/erdma/bind", timeout=20 * vm.slow))
    assert "master" in seen and seen[0] == "reset", seen
    vm.wait_devices(1)
    workloads.rping(vm, 5)


@pytest.mark.stock_kernel  # the debug one is built without block devices of the network
def test_kernel_queue_pairs(vm):
    """A process connects none of the kernel's queue pairs, whether a thread made it or another process had it made."""
    with NvmeTarget(vm) as target, NvmeHost(vm, target):
        shown = json.loads(vm.run(["rdma", "-j", "resource", "show", "qp"]).output)
        numbers = [str(entry["lqpn"]) for entry in shown if entry["type"] == "RC" and "comm" in entry and "pid" not in entry]
        assert len(numbers) >= 4, shown
        run_cases(vm, "borders", "--only", "kernel-*", env={"ERDMA_TEST_KERNEL_QPS": " ".join(numbers)})
        assert "live" in vm.run("cat /sys/class/nvme/nvme*/state").output
    workloads.rping(vm, 5)


@pytest.mark.stock_kernel
def test_whose_without_locks(vm, traced):
    """Whose a queue pair is takes as long to find out as the asking process has files: no connection waits meanwhile."""
    probes = {"accept": "erdma:erdma_cm_accept", "search": "iterate_fd", "lock": "mutex_lock"}
    seen = traced(probes, [], lambda: run_cases(vm, "borders", "--only", "foreign-accept"), who="borders")
    assert seen.count("accept") == 1 and "search" in seen, seen
    order = seen[seen.index("accept"):]
    assert order.index("search") < order.index("lock"), order[:10]


@pytest.mark.stock_kernel  # the debug one is built without block devices of the network
def test_last_event_of_a_queue(vm, traced):
    """An event may have the kernel look into a completion queue until the device has given that up: the look is called
    off after that, and before memory is freed."""
    with NvmeTarget(vm) as target, NvmeHost(vm, target):
        pass
    probes = {"stop": "erdma:erdma_cq_stop", "cancel": "cancel_work_sync", "free": "erdma:erdma_cq_free"}
    # The kernel keeps its completion queues for the device's whole life.
    seen = traced(probes, [], lambda: vm.run(f"echo {bdf(vm)} > /sys/bus/pci/drivers/erdma/unbind", timeout=30 * vm.slow))
    vm.run(f"echo {bdf(vm)} > /sys/bus/pci/drivers/erdma/bind", timeout=30 * vm.slow)
    vm.wait_devices(1)
    assert "stop cancel free" in " ".join(seen), seen


HOLD_QUEUE_PAIRS = """
import sys
from pyverbs.cq import CQ
from pyverbs.device import Context, get_device_list
from pyverbs.pd import PD
from pyverbs.qp import QP, QPCap, QPInitAttr
context = Context(name=get_device_list()[0].name.decode())
cq, pd = CQ(context, 8), PD(context)
qps = [QP(pd, QPInitAttr(qp_type=2, scq=cq, rcq=cq, cap=QPCap(1, 1, 1, 1))) for _ in range(40)]
print("made", flush=True)
sys.stdin.read()
"""


def test_removal_ends_lists(vm):
    """A list that asks the device about each object does not hold up the removal until it is complete."""
    holder = vm.popen(["/usr/bin/python3", "-c", HOLD_QUEUE_PAIRS], stdin=True)
    holder.wait_output("made", 60 * vm.slow)
    with vm.faults("cmd-slow=0/11:1000"):
        asking = vm.popen([eadm_path(), "snapshot", "/tmp/removed.json"])
        time.sleep(3)
        assert asking.poll() is None, asking.text
        begin = time.monotonic()
        vm.run(f"echo {bdf(vm)} > /sys/bus/pci/drivers/erdma/unbind", timeout=60 * vm.slow)
        assert time.monotonic() - begin < 8 * vm.slow
    asking.wait(60 * vm.slow)
    holder.kill()
    vm.run(f"rm -f /tmp/removed.json; echo {bdf(vm)} > /sys/bus/pci/drivers/erdma/bind", timeout=30 * vm.slow)
    vm.wait_devices(1)
    workloads.rping(vm, 5)


@pytest.mark.long
@pytest.mark.stock_kernel
def test_killed_listener(vm):
    """Somebody closes the socket of a listener while a connection waits: the driver does not ask it for ever."""
    before, port = in_use(vm), workloads.next_port()
    server = vm.popen(["rping", "-s", "-P", "-a", vm.address, "-p", str(port)])
    workloads.wait_listener(vm, port, server)
    # While the connection manager is busy with a command, connections wait.
    with vm.faults("cmd-slow=0/3:4000"):
        client = vm.popen([program("connect_once"), vm.address, str(port)])
        kill = (f"import socket, subprocess, time\nend = time.monotonic() + {60 * vm.slow}\nsocks = []\n"
                f"while time.monotonic() < end:\n"
                f" socks.append(socket.create_connection(('{vm.address}', {port})))\n time.sleep(0.2)\n"
                f" text = subprocess.run(['ss', '-Hltn', 'sport = :{port}'], capture_output=True, text=True).stdout\n"
                f" if text and int(text.split()[1]):\n"
                f"  subprocess.run(['ss', '-Klt', 'sport = :{port}'], check=True); print('killed'); break\n")
        assert "killed" in vm.run(["/usr/bin/python3", "-c", kill], timeout=90 * vm.slow).output
        client.wait(60 * vm.slow)
    time.sleep(1)
    lines = vm.run(f"echo > {TRACING}/trace; echo 1 > {TRACING}/events/workqueue/workqueue_execute_start/enable; sleep 3; "
                   f"echo 0 > {TRACING}/events/workqueue/workqueue_execute_start/enable; "
                   f"grep -c erdma_listener_work {TRACING}/trace", check=False).output
    assert int(lines) == 0, lines
    server.kill()
    server.wait(10 * vm.slow)
    expect_in_use(vm, before, limit=40)
    workloads.rping(vm, 5)


@pytest.mark.debug_kernel
def test_no_memory_for_a_reply(vm):
    """The iw_cm has no memory for the private data of a reply: the connect fails, instead of waiting for ever."""
    before, failslab = in_use(vm), "/sys/kernel/debug/failslab"
    symbols = sorted(line.split()[:3] for line in vm.read("/proc/kallsyms").splitlines() if line.endswith("[iw_cm]"))
    place = next(number for number, symbol in enumerate(symbols) if symbol[2] == "cm_event_handler")
    settings = {"require-start": f"0x{symbols[place][0]}", "require-end": f"0x{symbols[place + 1][0]}",
                "stacktrace-depth": 32, "ignore-gfp-wait": "Y", "task-filter": "N", "verbose": 0, "times": 1,
                "probability": 100}
    vm.run("".join(f"echo {value} > {failslab}/{name};" for name, value in settings.items()))
    try:
        run_cases(vm, "borders", "--only", "reply-with-data", env={"ERDMA_TEST_NO_MEMORY": "1"})
        assert vm.read(f"{failslab}/times").strip() == "0", "nothing failed"
    finally:
        vm.run(f"echo 0 > {failslab}/probability; echo 0 > {failslab}/require-start; echo 0 > {failslab}/stacktrace-depth")
    expect_in_use(vm, before)
