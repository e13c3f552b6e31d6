# SPDX-License-Identifier: GPL-2.0-or-later
"""What VM tests of every subject need: the test programs, and a look at what a guest has in use."""

import collections
import contextlib
import json
import os
import re
import shutil
import time

from erdmalab.common import BUILD, alone, call, tail

PROGRAMS = os.path.join(BUILD, "tests", "vm", "programs")
MODULES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "modules")
SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
# Objects that exist in the model at the moment, and those of the kernel that programs make.
NOW = ("qps", "cqs", "mrs")
KINDS = ("pd", "cq", "qp", "cm_id", "mr", "ctx")


def program(name):
    """Path of a test program; the same in the guest."""
    path = os.path.join(PROGRAMS, name)
    assert os.path.exists(path), f"{path} is not built; run ./lab build (needs libibverbs-dev and librdmacm-dev)"
    return path


def run_cases(vm, name, *arguments, timeout=300, env=None):
    """Run a program of cases; a failure shows the cases that failed, not those that passed."""
    environment = {"ERDMA_TEST_SLOWNESS": str(vm.slow), **(env or {})}
    result = vm.run([program(name), *arguments, vm.address], timeout=timeout * vm.slow / 2, check=False,
                    env=environment)
    failures = [line for line in result.output.splitlines() if not line.startswith(("ok ", "#"))]
    assert result.code == 0, f"{name} ended with code {result.code}:\n" + "\n".join(failures) + result.errors
    passed = len(re.findall(r"(?m)^ok ", result.output))
    assert passed, f"{name} ran no case:\n{result.output}"
    return passed


def kernel_case(vm, kernel, name, timeout=120, module="erdma_consumer", **parameters):
    """Run a case of a kernel consumer (modules/) in a guest of that kernel; a failure shows its log."""
    directory = os.path.join(BUILD, "kernel", f"test-{kernel.version}")
    with alone(directory + ".lock"):
        os.makedirs(directory, exist_ok=True)
        for source in os.listdir(MODULES):
            copy = os.path.join(directory, source)
            if not os.path.exists(copy) or os.path.getmtime(copy) < os.path.getmtime(os.path.join(MODULES, source)):
                shutil.copy2(os.path.join(MODULES, source), copy)
        log = os.path.join(directory, "log")
        assert kernel.headers, f"kernel {kernel.version} has no headers to build a module against"
        assert call(["make", "-C", kernel.headers, f"M={directory}", "W=1", "modules"], 300, log=log) == 0, tail(log)
    vm.run(["dmesg", "-C"])
    given = [f"{one}={value}" for one, value in {"case": name, "address": vm.address, **parameters}.items()]
    result = vm.run(["insmod", os.path.join(directory, f"{module}.ko"), *given], timeout=timeout * vm.slow, check=False)
    assert result.code == 0, f"{name}: {result.errors}{vm.dmesg()}"
    vm.run(["rmmod", module])


def kernel_objects(vm):
    """Number of RDMA objects in the guest's kernel, by kind, over all devices."""
    total = collections.Counter()
    for entry in json.loads(vm.run(["rdma", "-j", "resource", "show"]).output or "[]"):
        for kind in KINDS:
            total[kind] += entry.get(kind, 0)
    return dict(total)


def in_use(vm, device="eri0"):
    """Everything that programs leave behind when something leaks."""
    values = vm.counters(device) if vm.model else {}
    return {**{f"model {name}": value for name, value in values.items() if name in NOW}, **kernel_objects(vm)}


def expect_in_use(vm, before, limit=15, device="eri0"):
    """Wait until exactly that is in use again (the kernel cleans up behind killed programs)."""
    deadline = time.monotonic() + limit * vm.slow / 2
    while True:
        now = in_use(vm, device)
        if now == before:
            return
        if time.monotonic() > deadline:
            left = {name: f"{before.get(name, 0)} -> {value}" for name, value in now.items()
                    if value != before.get(name, 0)}
            raise AssertionError(f"left behind: {left}\n{vm.run(['rdma', 'resource', 'show', 'qp']).output}"
                                 f"{vm.run(['rdma', 'resource', 'show', 'cm_id']).output}")
        time.sleep(0.3)


@contextlib.contextmanager
def nothing_left(group):
    """Afterwards every guest has in use what it had before."""
    before = [in_use(machine) for machine in group]
    yield
    for machine, values in zip(group, before):
        expect_in_use(machine, values, limit=30)


def wait(what, condition, seconds):
    """Poll until condition() is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)


def bdf(vm, index=0):
    return vm.pci_address(index)


def takes_uppers(machine):
    """Does this kernel's rdma_cm take an address of another interface than the adapter's own?  Not from 6.6 on, where it
    compares interfaces and no longer their MAC addresses."""
    return tuple(map(int, re.match(r"(\d+)\.(\d+)", machine.kernel.version).groups())) < (6, 6)


def set_mtu(group, mtu):
    for machine in group:
        machine.run(["ip", "link", "set", "eth0", "mtu", str(mtu)])


def interrupts(vm):
    """Lines of /proc/interrupts of the driver: name -> sum over the CPUs."""
    found = {}
    for line in vm.read("/proc/interrupts").splitlines():
        match = re.match(r"\s*\d+:((?:\s+\d+)+)\s+.*\s(erdma-\S+)$", line)
        if match:
            found[match[2]] = sum(map(int, match[1].split()))
    return found
