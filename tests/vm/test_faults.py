# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter misbehaves (property `faults`): bounded times, errors instead of hangs, and the driver gets over it."""

import time

import pytest

from erdmalab import workloads
from support import bdf, expect_in_use, in_use, program
from traffic import expect_end, start_rping
from trouble import COMMAND_SECONDS, expect_broken, reload_clean, watch_events

QUERY_DEVICE, CREATE_QP, DESTROY_QP, MODIFY_QP, CREATE_CQ, DESTROY_CQ, REG_MR, DEREG_MR = \
    "0/0", "0/1", "0/2", "0/3", "0/4", "0/5", "0/8", "0/9"
CREATE_EQ, DESTROY_EQ, FIRMWARE = "1/0", "1/1", "1/2"
BRING_UP_SECONDS = 10


@pytest.mark.parametrize("command, error", [(CREATE_CQ, "ibv_create_cq"), (CREATE_QP, "rdma_create_qp"),
                                            (REG_MR, "ibv_reg_mr"), (MODIFY_QP, None)])
def test_command_fails(vm, command, error):
    """An error status of the device becomes an error of the call, and nothing is left behind."""
    before = in_use(vm)
    arguments = [program("rc_ops"), "--only", "immediates", vm.address]
    with vm.faults(f"cmd-fail={command}:12"):
        begin = time.monotonic()
        result = vm.run(arguments, timeout=60 * vm.slow, check=False)
        assert result.code != 0 and "FAIL" in result.output, result.output
        if error:
            assert error in result.output, result.output
        assert time.monotonic() - begin < 20 * vm.slow
    expect_in_use(vm, before)
    vm.run(arguments, timeout=60 * vm.slow)


@pytest.mark.long
def test_every_failure_in_a_row(vm):
    """The n-th command of each kind fails, for every n that a connection needs."""
    before = in_use(vm)
    arguments = [program("rc_ops"), "--only", "immediates", vm.address]
    for command in (CREATE_CQ, CREATE_QP, REG_MR, MODIFY_QP):
        for good in range(20):
            with vm.faults(f"cmd-fail={command}:5+{good}*1"):
                result = vm.run(arguments, timeout=60 * vm.slow, check=False)
                if vm.qom_get("faults"):
                    break
                # The first ones of each kind are the program's own; later ones may be part of its clean-up.
                assert good or result.code != 0, f"nobody noticed that {command} failed"
        assert result.code == 0 and good > 0, f"{command}: {good} failed\n{result.output}"
    expect_in_use(vm, before)
    vm.run(arguments, timeout=60 * vm.slow)


def each_step(vm, subs, fault="cmd-fail={}/any:5", most=80):
    """The first, the second, ... command of each sub-module is hit once, until what is done meanwhile needs no more."""
    for sub in subs:
        for step in range(most):
            begin = time.monotonic()
            with vm.faults(f"{fault.format(sub)}+{step}*1"):
                yield
                assert time.monotonic() - begin < 20 * vm.slow, f"command {step} of {sub}"
                if vm.qom_get("faults"):
                    break
        else:
            raise AssertionError(f"more than {most} commands")
        print("commands of sub-module", sub, step)
        assert step > 0, "no command"


def sweep_probe(vm, **settings):
    vm.unload_driver()
    for _ in each_step(vm, (0, 1), **settings):
        vm.run(["modprobe", "erdma"], timeout=30 * vm.slow, check=False)
        vm.unload_driver(timeout=30 * vm.slow)
        values = vm.counters()
        assert not any(values[name] for name in ("qps", "cqs", "mrs", "eqs")), values
    vm.load_driver()
    workloads.rping(vm, 5)


def sweep_verbs(vm, **settings):
    before = in_use(vm)
    arguments = [program("rc_ops"), "--only", "immediates", vm.address]
    for _ in each_step(vm, (0,), **settings):
        vm.run(arguments, timeout=60 * vm.slow, check=False)
        if "broken 1" in vm.run("cat /sys/kernel/debug/erdma/*/*", check=False).output:
            vm.unload_driver(timeout=30 * vm.slow)
            vm.load_driver()
        expect_in_use(vm, before)
    vm.run(arguments, timeout=60 * vm.slow)


def test_sweep_of_probe(vm):
    """Every single command between loading and unloading fails once."""
    sweep_probe(vm)


@pytest.mark.long
@pytest.mark.limit(900)
def test_sweep_of_verbs(vm):
    """Every single command of a program that makes a connection fails once; only one that frees something is fatal."""
    sweep_verbs(vm)


@pytest.mark.long
@pytest.mark.limit(1800)
@pytest.mark.parametrize("sweep", [sweep_probe, sweep_verbs])
def test_lost_answers(vm, sweep):
    """The same with answers that never come: each costs the driver its time-out and the device, once."""
    sweep(vm, fault="cmd-drop={}/any")


def test_slow_commands(vm):
    """Each command takes a tenth of a second: the driver loads and connections work."""
    vm.unload_driver()
    with vm.faults("cmd-slow=0/any:100;cmd-slow=1/any:100"):
        vm.load_driver()
        workloads.rping(vm, 5)
    workloads.rping(vm, 5)


@pytest.mark.long
def test_too_slow_commands(vm):
    """Answers that come after the driver's patience are as good as none, and one that comes then does no harm."""
    with vm.faults("cmd-slow=0/any:20000"):
        begin = time.monotonic()
        result = vm.run([program("rc_ops"), "--only", "immediates", vm.address], timeout=80 * vm.slow, check=False)
        assert result.code != 0 and "FAIL" in result.output
        assert time.monotonic() - begin < COMMAND_SECONDS + 5 * vm.slow
        reload_clean(vm, text="")
    time.sleep(6)
    workloads.rping(vm, 5)


@pytest.mark.parametrize("command", [DESTROY_QP, DESTROY_CQ, DEREG_MR])
def test_destroy_fails(vm, command):
    """A device that refuses to let go hangs nobody, and a reload gets rid of everything."""
    with vm.faults(f"cmd-fail={command}:5*1"):
        vm.run([program("rc_ops"), "--only", "immediates", vm.address], timeout=60 * vm.slow, check=False)
        assert vm.qom_get("faults") == "", "the device did let go"
    reload_clean(vm)


@pytest.mark.parametrize("command, says", [
    (QUERY_DEVICE, "QUERY_DEVICE failed"), (CREATE_EQ, "event queue 1 was not created"), (FIRMWARE, "QUERY_FW_INFO failed")])
def test_bring_up_fails(vm, command, says):
    vm.unload_driver()
    vm.run(["dmesg", "-C"])
    with vm.faults(f"cmd-fail={command}:5"):
        vm.run(["modprobe", "erdma"], timeout=30 * vm.slow, check=False)
        assert vm.devices() == []
        assert says in vm.dmesg(), vm.dmesg()
        vm.unload_driver()
    assert vm.counters()["eqs"] == 0
    vm.load_driver()
    workloads.rping(vm, 5)


@pytest.mark.long
def test_init_stuck(vm):
    vm.unload_driver()
    with vm.faults("init-stuck"):
        begin = time.monotonic()
        vm.run(["modprobe", "erdma"], timeout=(BRING_UP_SECONDS + 15) * vm.slow, check=False)
        assert BRING_UP_SECONDS - 2 < time.monotonic() - begin < BRING_UP_SECONDS + 5 * vm.slow
        assert vm.devices() == []
        vm.unload_driver()
    vm.load_driver()
    workloads.rping(vm, 5)


def test_dead_at_bring_up(vm):
    vm.unload_driver()
    with vm.faults("dead"):
        begin = time.monotonic()
        vm.run(["modprobe", "erdma"], timeout=30 * vm.slow, check=False)
        assert time.monotonic() - begin < 15 * vm.slow
        assert vm.devices() == []
        vm.unload_driver()
    vm.load_driver()
    workloads.rping(vm, 5)


@pytest.mark.long
def test_command_lost(vm):
    """A command that never completes: after its time the device counts as broken."""
    jobs, watch = start_rping(vm), watch_events(vm)
    with vm.faults("cmd-drop=0/any"):
        begin = time.monotonic()
        result = vm.run([program("rc_ops"), "--only", "immediates", vm.address], timeout=80 * vm.slow, check=False)
        assert result.code != 0 and "FAIL" in result.output
        took = time.monotonic() - begin
        assert took < COMMAND_SECONDS + 5 * vm.slow, f"it took {took:.0f} s"
        expect_broken(vm, jobs, watch)
        values = vm.counters()["commands"]
        vm.run(["ibv_devinfo"], check=False)
        assert vm.counters()["commands"] == values, "a broken device is still asked"
        reload_clean(vm, text="")


def test_command_lost_in_use(vm):
    """The command that removes things is lost while programs are killed: they disappear anyway."""
    jobs = start_rping(vm)
    with vm.faults("cmd-drop=0/2;cmd-drop=0/3"):
        begin = time.monotonic()
        for job in jobs:
            job.kill()
        for job in jobs:
            assert job.wait((COMMAND_SECONDS + 10) * vm.slow).code == -9
        # One command waits for its time, the others behind it do not any more.
        assert time.monotonic() - begin < COMMAND_SECONDS + 5 * vm.slow
        reload_clean(vm, text="")


def test_dies_at_work(vm):
    """All registers turn to ones under traffic."""
    jobs, watch = start_rping(vm), watch_events(vm)
    with vm.faults("dead"):
        begin = time.monotonic()
        result = vm.run([program("rc_ops"), "--only", "immediates", vm.address], timeout=80 * vm.slow, check=False)
        assert result.code != 0
        assert time.monotonic() - begin < COMMAND_SECONDS + 5 * vm.slow
        expect_broken(vm, jobs, watch)
        vm.unload_driver(timeout=30 * vm.slow)
        assert vm.devices() == []
    vm.load_driver()
    workloads.rping(vm, 5)


def test_hot_unplug(vms):
    """The adapter is pulled out under traffic and put back, twice."""
    machine, = vms(1)
    for _ in range(2):
        jobs = start_rping(machine)
        machine.unplug("eri0", timeout=30)
        expect_end(jobs, 15 * machine.slow)
        assert machine.devices() == []
        machine.plug(eni="eni0")
        machine.wait_devices(1)
        workloads.rping(machine, 5)
        assert bdf(machine)
