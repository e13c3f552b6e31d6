# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures for tests in booted guests.

    vm          a running guest with the driver loaded.  One boot serves all tests; a
                test that leaves it dead, hung or with a kernel report gets the next test
                a new one.  vm.address is its own IPv4 address (see erdmalab.vm.Vm for
                run, popen, load_driver, unload_driver, qom_get, qom_set, unplug, plug,
                dmesg, allow, kmemleak).  A test may unload the driver; it is loaded
                again, without parameters, for the next one.
    fresh_vm    a function that boots a guest of the test's own:
                    machine = fresh_vm(cpus=2, adapters=[Adapter(options={...})])
                takes erdmalab.vm.Vm's settings and load=False (do not load the driver),
                params="a=1" (module parameters), model=False.  All are stopped after the test.
    pair        two running guests on a cable, driver loaded, pair[0] and pair[1]; shared and
                renewed like vm.  Links are clean and the MTU is 1500 when a test begins.
    fresh_pair  a function that boots a group of the test's own; takes the settings of
                erdmalab.network.Group (count=4, nets=[{"mtu": 9000}], ...), load and params.
    rdma_device name of the shared guest's RDMA device, as -d wants it
    lab         the kernel, the run's directory, and vm_settings()

After each test the kernel log of every guest it used is checked: a warning, oops,
stall, lockdep or KASAN report fails the test and is shown; on the debug kernel the shared
guests are searched for leaked memory when a file's last test is over.  A test that
provokes a report says so:

    with vm.allow(r"WARNING: .* some_function"):
        ...

A guest whose QEMU ends by itself fails the test as well, unless the test sets
machine.may_die = True.  Commands that a test left running are killed.

A test may take 300 s (stretched on the debug kernel by vm.slow / 2); more with
@pytest.mark.limit(seconds).  Tests marked @pytest.mark.long run with --long only.  Tests that need the usual kernel, or the debug one,
say @pytest.mark.stock_kernel or @pytest.mark.debug_kernel.

Options: --kernel KERNEL (or ERDMA_LAB_KERNEL) as in ./lab; --lab-cpus N; --no-model
boots without the adapter and loads nothing, to try the lab itself; pairs of guests get rdma_rxe then.
"""

import contextlib
import ctypes
import faulthandler
import itertools
import os
import sys
import threading
import time

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab import kernel as kernels, network, runs  # noqa: E402  (found through the line above)
from erdmalab.common import LabError, LabTimeout  # noqa: E402
from erdmalab.watch import GuestTrouble  # noqa: E402


def pytest_addoption(parser):
    group = parser.getgroup("lab")
    group.addoption("--kernel", default=os.environ.get("ERDMA_LAB_KERNEL") or None,
                    help="guest kernel: a version, a directory or 'debug'")
    group.addoption("--lab-cpus", type=int, default=1, help="processors of each guest")
    group.addoption("--long", action="store_true", help="also the tests that take minutes each")
    group.addoption("--only", help="a file that lists the tests to run, module::name on each line")
    group.addoption("--no-model", action="store_true", help="boot without the adapter")


def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): time limit of the test, default 300")
    config.addinivalue_line("markers", "long: takes minutes and repeats at length what others do briefly; only with --long")
    config.addinivalue_line("markers", "stock_kernel: not on the debug kernel")
    config.addinivalue_line("markers", "debug_kernel: only on the debug kernel")
    config.lab = None


class Lab:
    """What the tests of one session share."""

    def __init__(self, config):
        self.kernel = kernels.find(config.getoption("--kernel"))
        self.model = not config.getoption("--no-model")
        self.cpus = config.getoption("--lab-cpus")
        parent = os.environ.get("ERDMA_LAB_RUN")
        self.run = parent if parent and os.path.isdir(parent) else runs.new_run("pytest")
        # Workers of pytest-xdist have guests of their own.
        self.run = os.path.join(self.run, os.environ.get("PYTEST_XDIST_WORKER", ""))
        self.shared = self.shared_group = None
        self.boots = 0
        self.in_use = []

    def vm_settings(self, **changes):
        settings = {"kernel": self.kernel, "model": self.model, "driver": self.model, "cpus": self.cpus}
        settings.update(changes)
        return settings

    def make(self, name, **settings):
        self.boots += 1
        machine = runs.make_vm(self.run, name=f"{name}-{self.boots}", **self.vm_settings(**settings))
        machine.may_die = False
        machine.tainted = False
        return machine

    def shared_vm(self):
        """The shared guest, usable and with its driver loaded."""
        if self.shared and not self.usable(self.shared):
            self.shared.stop()
            self.shared = None
        if self.shared is None:
            machine = self.make("shared", cpus=self.cpus)
            machine.start()
            self.shared = machine
        if self.model and not self.shared.driver_loaded():
            self.shared.load_driver()
        return self.shared

    def make_group(self, name, **settings):
        self.boots += 1
        group = network.Group(self.run, prefix=f"{name}-{self.boots}-", **self.vm_settings(**settings))
        for machine in group:
            machine.may_die = False
            machine.tainted = False
        return group

    def shared_pair(self):
        """The shared pair of guests, usable, with drivers loaded."""
        if self.shared_group and not all(map(self.usable, self.shared_group)):
            self.shared_group.stop()
            self.shared_group = None
        if self.shared_group is None:
            group = self.make_group("pair")
            group.start()
            self.shared_group = group
        for machine in self.shared_group:
            prepare(machine)
        return self.shared_group

    def stop(self):
        for shared in (self.shared, self.shared_group):
            if shared:
                shared.stop()

    def shared_machines(self):
        return [machine for machine in (self.shared, *(self.shared_group or ())) if machine]

    @staticmethod
    def usable(machine):
        if machine.tainted or not machine.alive():
            return False
        try:
            return machine.run(["true"], timeout=10 * machine.slow, check=False).code == 0
        except LabError:
            return False

    def verdict(self):
        """Check every guest that the test used; returns what is wrong, or an empty string."""
        problems = []
        for machine in self.in_use:
            for job in list(machine.channel.jobs.values()) if machine.channel else ():
                with contextlib.suppress(LabError):
                    job.kill()
            if not machine.alive() and not machine.may_die and machine.process is not None:
                if not getattr(machine, "stopped", False):
                    problems.append(f"QEMU of {machine.name} ended with code {machine.process.returncode}; "
                                    f"see {machine.qemu_log}")
            try:
                machine.check_log()
            except GuestTrouble as trouble:
                machine.tainted = True
                problems.append(str(trouble))
        return "\n".join(problems)


def prepare(machine):
    """A guest of a pair as tests want to find it."""
    machine.run(["ip", "link", "set", "eth0", "mtu", str(machine.adapters[0].mtu), "up"])
    if machine.model:
        machine.link()
        if not machine.driver_loaded():
            machine.load_driver()
    elif "rxe0" not in machine.run(["rdma", "link"]).output:
        machine.load_rdma()
        machine.run("modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0")


def lab_of(config):
    if config.lab is None:
        try:
            config.lab = Lab(config)
        except LabError as error:
            pytest.exit(f"lab: {error}", returncode=3)
    return config.lab


@pytest.fixture(scope="session")
def lab(request):
    return lab_of(request.config)


def pytest_sessionfinish(session, exitstatus):
    if session.config.lab:
        session.config.lab.stop()
    run = os.environ.get("ERDMA_LAB_RUN")
    if run and "PYTEST_XDIST_WORKER" not in os.environ:
        # For ./lab test: ctest passes on only that it is not 0.
        with open(os.path.join(run, "exit-status"), "w", encoding="ascii") as file:
            file.write(str(int(exitstatus)))


def pytest_collection_modifyitems(config, items):
    if config.getoption("--only"):
        with open(config.getoption("--only"), encoding="utf-8") as file:
            names = file.read().splitlines()
        items[:] = [item for item in items if f"{item.module.__name__}::{item.name}" in names]
    debug = config.getoption("--kernel") == "debug"
    for item in items:
        if item.get_closest_marker("long") and not config.getoption("--long"):
            item.add_marker(pytest.mark.skip(reason="takes minutes and repeats at length what others do briefly; "
                                                    "--long runs it"))
        if debug and item.get_closest_marker("stock_kernel"):
            item.add_marker(pytest.mark.skip(reason="not on the debug kernel"))
        if not debug and item.get_closest_marker("debug_kernel"):
            item.add_marker(pytest.mark.skip(reason="needs --kernel debug"))


@pytest.fixture(scope="module", autouse=True)
def no_leaks(request):
    yield
    lab = request.config.lab
    if lab is None or not lab.kernel.debug:
        return
    for machine in lab.shared_machines():
        leaks = machine.kmemleak() if lab.usable(machine) else ""
        machine.tainted = machine.tainted or bool(leaks)
        assert not leaks, leaks


@pytest.fixture
def vm(lab, request):
    return begin(lab, request, lab.shared_vm())


@pytest.fixture
def pair(lab, request):
    group = lab.shared_pair()
    for machine in group:
        begin(lab, request, machine)
    return group


@pytest.fixture
def rdma_device(vm):
    return vm.wait_devices(1)[0]


def begin(lab, request, machine, load=False, params=""):
    """A started guest takes part in a test."""
    machine.check_log()
    machine.mark(f"test {request.node.name}")
    lab.in_use.append(machine)
    if load and machine.model:
        machine.load_driver(params)
    return machine


@pytest.fixture
def fresh_vm(lab, request):
    with contextlib.ExitStack() as machines:
        numbers = itertools.count(1)

        def boot(load=True, params="", **settings):
            settings.setdefault("index", next(numbers))
            machine = machines.enter_context(lab.make("fresh", **settings))
            return begin(lab, request, machine, load, params)

        yield boot


@pytest.fixture
def fresh_pair(lab, request):
    with contextlib.ExitStack() as groups:
        def boot(load=True, params="", **settings):
            group = groups.enter_context(lab.make_group("group", **settings))
            for machine in group:
                begin(lab, request, machine, load, params)
            return group

        yield boot


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """Limit the time of a test, its fixtures included."""
    marker = item.get_closest_marker("limit")
    limit = marker.args[0] if marker else 300
    if item.config.getoption("--kernel") == "debug":
        limit *= 4
    name, thread = item.name, threading.get_ident()

    class Expired(LabTimeout):
        def __init__(self):
            super().__init__(f"{name} took longer than {limit} s")

    # Not a signal: now and then xdist runs its tests in another thread than the main one, which alone may use them.
    timer = threading.Timer(limit, ctypes.pythonapi.PyThreadState_SetAsyncExc,
                            (ctypes.c_ulong(thread), ctypes.py_object(Expired)))
    timer.daemon = True
    timer.start()
    # An exception does not end a call that blocks.
    faulthandler.dump_traceback_later(limit + 120, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()
    timer.cancel()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Make a report of a guest's kernel a failure of the test during which it came."""
    outcome = yield
    report = outcome.get_result()
    lab = item.config.lab
    if lab is None or call.when == "setup" and report.passed or not lab.in_use:
        return
    problem = ""
    if call.when == "call" or call.when == "setup":
        begin = time.monotonic()
        try:
            problem = lab.verdict()
        except LabError as error:
            problem = str(error)
        lab.in_use.clear()
        report.duration += time.monotonic() - begin
    if problem:
        # For ./lab test, which repeats no test during which a guest reported something.
        item.user_properties.append(("guest", "trouble"))
    if problem and report.outcome != "failed":
        report.outcome = "failed"
        report.longrepr = problem
    elif problem:
        report.sections.append(("guest", problem))
