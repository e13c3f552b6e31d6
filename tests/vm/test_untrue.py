# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter says what is not true, or does not hear or say what is (property `faults`).  The driver believes
nothing, and what can be repaired it repairs."""

import contextlib
import json
import time

import pytest

from erdmalab import workloads
from erdmalab.qmp import QmpError
from erdmalab.storage import NvmeHost, NvmeTarget
from support import expect_in_use, in_use, program, run_cases, wait
from traffic import start_rping
from trouble import COMMAND_SECONDS, reload_clean

RARE = "command completions came without an interrupt"


def queue_pairs(vm):
    shown = json.loads(vm.run(["rdma", "-j", "resource", "show", "qp"]).output)
    return [entry["lqpn"] for entry in shown if entry["type"] == "RC"]


def one_case(vm):
    """One connection and what belongs to it: a dozen commands."""
    vm.run([program("rc_ops"), "--only", "immediates", vm.address], timeout=60 * vm.slow)


def test_lost_interrupts(vm):
    """An interrupt of the command queue is lost: the waiting caller finds the answer, later ones do not wait."""
    one_case(vm)
    before = vm.dmesg().count(RARE)
    with vm.faults("irq-lose=0*1"):
        begin = time.monotonic()
        one_case(vm)
        took = time.monotonic() - begin
        assert vm.qom_get("faults") == "", "no interrupt of vector 0 came"
    assert vm.dmesg().count(RARE) == before + 1
    assert took < 15 * vm.slow, f"it took {took:.0f} s"
    begin = time.monotonic()
    one_case(vm)
    assert time.monotonic() - begin < 10 * vm.slow
    assert vm.dmesg().count(RARE) == before + 1, "one loss makes one late answer"


@pytest.mark.parametrize("vector, counter", [(0, "aeq_events_cnt"), (1, "ceq_events_cnt")], ids=["aeq", "ceq"])
def test_lost_interrupt_of_events(vm, vector, counter):
    """Events whose interrupt is lost are found by the driver's next looks, and who waits for them goes on."""
    message = f"events of vector {vector} came without an interrupt"

    def values():
        folder = f"/sys/class/infiniband/{vm.devices()[0]}/ports/1/hw_counters"
        return [int(vm.read(f"{folder}/{name}")) for name in (counter, "eq_rescued_cnt")]

    before, logged = values(), vm.dmesg().count(message)
    if vector:
        with vm.faults("irq-lose=1*1"):
            workloads.rping(vm, 10)
    else:
        # For something that does not exist.  A command, and reading counters is one, would bring the interrupt.
        with vm.faults("irq-lose=0*1;post=aeq:0,fffff"):
            wait("the driver's look", lambda: vm.dmesg().count(message) > logged, 40 * vm.slow)
    assert vm.dmesg().count(message) == logged + 1
    events, rescued = values()
    assert events > before[0] and rescued == before[1] + 1


@pytest.mark.long
def test_interrupts_always_lost(vm):
    """Without any interrupt of vector 0 commands still work, slowly; with them again, quickly."""
    before = in_use(vm)
    with vm.faults("irq-lose=0"):
        vm.run(["ibv_devinfo"], timeout=60 * vm.slow)
        result = vm.run(["timeout", "120", program("rc_ops"), "--only", "immediates", vm.address], timeout=150 * vm.slow,
                        check=False)
        # Or it is too slow for the program's own time limits, or for ours.
        assert result.code in (0, 1, 124), result.output
    # The first command finds its queue again.
    one_case(vm)
    expect_in_use(vm, before, limit=60)


def test_lost_command_doorbell(vm):
    """The device does not hear of a command: after its time it counts as broken, and a reload mends it."""
    with vm.faults("db-lose=cmd*1"):
        begin = time.monotonic()
        result = vm.run([program("rc_ops"), "--only", "immediates", vm.address], timeout=80 * vm.slow, check=False)
        assert result.code != 0
        assert time.monotonic() - begin < COMMAND_SECONDS + 8 * vm.slow
    assert "timed out" in vm.dmesg()
    reload_clean(vm)


# Nothing of this names anything that exists: unknown numbers and types, all bits set, many at once so that one
# interrupt does not take them all, entries of the command queue that nobody waits for, twice the same, between slots.
NONSENSE = ["post=aeq:0,fffff", "post=aeq:7fffffff,ffffffff,ffffffff,ffffffff", "post=aeq:30000,fffff*300",
            "post=aeq:ff0000,0*5000", "post=eq1:fffff*200", "post=eq1:7fffffff,ffffffff,ffffffff,ffffffff",
            "post=eq1:0*5000", "post=eq0:fffff*100", "post=cmd:0,1", "post=cmd:0,ffffffff", "post=cmd:ffff,4",
            "post=cmd:7fffffff,ffffffff,ffffffff,ffffffff,ffffffff,ffffffff,ffffffff,ffffffff*40"]


@pytest.mark.limit(400)
def test_nonsense(vm):
    """Events and command completions that fit nothing change nothing, also under traffic."""
    before = in_use(vm)
    jobs = start_rping(vm)
    for text in NONSENSE:
        vm.qom_set("faults", text)
        time.sleep(0.2)
        assert all(job.code is None for job in jobs), f"{text} ended the traffic"
    vm.run(["ibv_devinfo"], timeout=30 * vm.slow)
    run_cases(vm, "rc_ops", "--only", "immediates", "--only", "events", "--only", "send-segments")
    for job in jobs:
        job.kill()
        job.wait(10 * vm.slow)
    expect_in_use(vm, before)
    reload_clean(vm)


def test_spurious_events(vm):
    """Events that name what exists: programs wake for nothing, or are told of an error, and everything can go."""
    vm.unload_driver()
    vm.load_driver()  # numbers begin anew
    before = in_use(vm)
    jobs = start_rping(vm)
    qpns = queue_pairs(vm)
    assert len(qpns) == 2
    for cqn in range(1, 20):
        vm.qom_set("faults", f"post=eq1:{cqn:x}*150")
    time.sleep(0.5)
    assert all(job.code is None for job in jobs), "a spurious completion event ended the traffic"
    for qpn in qpns:
        for kind in (0, 1, 2, 4, 0xff):
            vm.qom_set("faults", f"post=aeq:{kind << 16:x},{qpn:x}*30")
    for cqn in range(1, 20):
        vm.qom_set("faults", f"post=aeq:30000,{cqn:x}*30")
    for job in jobs:
        # The connection ends, as after an error of the queue pair.
        job.wait_output("DISCONNECT EVENT", 10 * vm.slow)
        job.kill()
        job.wait(10 * vm.slow)
    expect_in_use(vm, before)
    one_case(vm)


COPY = """
set -e
dd if=/dev/urandom of=/run/copy-in bs=64k count=32 2>/dev/null
dd if=/run/copy-in of={device} bs=64k oflag=direct 2>/dev/null
dd if={device} of=/run/copy-out bs=64k count=32 iflag=direct 2>/dev/null
cmp /run/copy-in /run/copy-out
"""


@pytest.mark.long
@pytest.mark.stock_kernel
def test_nonsense_completions(vm):
    """Completions in the rings of kernel users that fit no posted work are skipped; data stays right."""
    vm.unload_driver()
    vm.load_driver()  # numbers begin anew
    with NvmeTarget(vm) as target, NvmeHost(vm, target) as host:
        copy = ["sh", "-c", COPY.format(device=host.device)]
        vm.run(copy, timeout=60 * vm.slow)
        # Header (opcode, queue, syndrome), index, QPN: a QP that is not there, one that is but completes elsewhere or
        # has nothing posted there, unknown queue types.
        entries = ["7fffffff,ffffffff,ffffffff,ffffffff,ffffffff", "20000,0,fffff", "40100,8000,fffff"]
        for qpn in queue_pairs(vm):
            entries += [f"500,1,{qpn:x}", f"20000,7777,{qpn:x}", f"40100,7777,{qpn:x}", f"ff00ff,7777,{qpn:x}"]
        assert len(entries) > 10, entries
        reached = 0
        for cqn in range(1, 40):
            with contextlib.suppress(QmpError):  # no such queue
                vm.qom_set("faults", ";".join(f"post=cq{cqn}:{entry}" for entry in entries))
                reached += 1
        assert reached == vm.counters()["cqs"] > 1
        vm.run(copy, timeout=60 * vm.slow)
    # The RDMA core keeps completion queues for the next user as long as the device is there.
    reload_clean(vm)


def test_extended_doorbells(vms):
    """Doorbell pages handed out by the device: everything works on them; when they run out, opening says so."""
    machine, = vms(1)
    before = in_use(machine)
    run_cases(machine, "rc_ops", "--only", "immediates", "--only", "events", "--only", "send-segments")
    workloads.perftest(machine, "ib_write_bw", options=["-s", 4096, "-n", 200])
    device = machine.devices()[0]
    # ALLOC_DB: the pages are for more processes than a small guest can hold.
    machine.qom_set("faults", "cmd-fail=1/8:28")
    refused = machine.run(["ibv_devinfo", "-d", device], check=False)
    assert refused.code != 0, refused.output
    machine.qom_set("faults", "")
    one_case(machine)
    expect_in_use(machine, before)
    assert machine.counters()["bad_doorbells"] == 0
