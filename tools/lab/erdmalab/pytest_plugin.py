# SPDX-License-Identifier: GPL-2.0-or-later
"""Pytest plugin: tests of RDMA programs in emulated guests.  docs/ci.md has it all; in short:

    vm          a running guest with the driver loaded
    pair        two of them on a cable, pair[0] and pair[1]
    vms         a function: vms(3, mtu=9000) boots three guests of the test's own, on a switch
    scenario    a function: scenario("cut.toml") plays a scenario file, and fails where its checks do
    checked     vm with its adapters in check mode; errors that they find fail the test
    rdma_device name of vm's RDMA device, as -d wants it
    lab         lab.kernel, lab.run (the directory of this run's logs), lab.model

@pytest.mark.guests(...) gives vm and pair other settings.  After each test the kernel log of every guest it used is
checked, and trouble fails the test.
"""

import contextlib
import ctypes
import faulthandler
import os
import sys
import threading
import time

import pytest

# How many guests a fixture has, which tests with the same settings share.
SINGLE, DOUBLE = 1, 2
# Settings that a running guest takes.
AT_RUN_TIME = ("link", "faults", "mtu")
MARKER = "guests"
# For ./lab test, which repeats no test during which a guest reported something.
GUEST_TROUBLE = ("guest", "trouble")
LIMIT = 300


def pytest_addoption(parser):
    group = parser.getgroup("erdma", "RDMA guests")
    group.addoption("--erdma", metavar="DIR", help="a checkout of the ERDMA project in which './lab build' was run, or its "
                    "build directory (default: ERDMA_DIR, or what the packages installed)")
    group.addoption("--kernel", default=os.environ.get("ERDMA_LAB_KERNEL") or None,
                    help="guest kernel: a version, a directory or 'debug' (default: ERDMA_LAB_KERNEL)")
    group.addoption("--lab-cpus", type=int, default=1, help="processors of each guest")
    group.addoption("--no-model", action="store_true",
                    help="boot without the adapter and load nothing; pairs of guests get rdma_rxe then")
    parser.addini("erdma", "as --erdma; relative to this file")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config):
    """Say where the parts are, before anybody imports what looks for them."""
    named = early_config.known_args_namespace.erdma or os.environ.get("ERDMA_DIR")
    if not named and early_config.getini("erdma"):
        named = os.path.join(early_config.rootpath, early_config.getini("erdma"))
    if named:
        os.environ["ERDMA_DIR"] = os.path.abspath(named)
    os.environ.setdefault("ERDMA_LAB_DIR", os.path.join(early_config.rootpath, ".erdma-lab"))


def pytest_configure(config):
    config.addinivalue_line("markers", "guests(**settings): of the guests of vm and pair, as vms() takes them (docs/ci.md)")
    config.addinivalue_line("markers", f"limit(seconds): time limit of a test that uses guests, default {LIMIT}")
    config.lab = None


class Lab:
    """What the tests of one session share."""

    def __init__(self, config):
        from . import kernel, runs

        self.model = not config.getoption("--no-model")
        self.cpus = config.getoption("--lab-cpus")
        self.kernel = kernel.find(config.getoption("--kernel"))
        if self.model:
            runs.check_parts(self.kernel)
        parent = os.environ.get("ERDMA_LAB_RUN")
        self.run = parent if parent and os.path.isdir(parent) else runs.new_run("pytest")
        # Workers of pytest-xdist have guests of their own.
        self.run = os.path.join(self.run, os.environ.get("PYTEST_XDIST_WORKER", ""))
        self.shared = {}  # number of guests: (settings, group)
        self.boots = 0
        self.in_use = []

    def kernel_of(self, wanted):
        """Kernel by name, or as it is; a list for several guests."""
        from . import kernel

        if isinstance(wanted, (list, tuple)):
            return [self.kernel_of(one) for one in wanted]
        return kernel.find(wanted) if isinstance(wanted, str) else wanted or self.kernel

    def driven(self, wanted, driver):
        """As kernel_of(), with the driver that a scenario asks for: "ours" or "kernel"."""
        from . import kernel_driver

        found = self.kernel_of(wanted)
        if driver != "kernel":
            return found
        return [kernel_driver.of(one) for one in found] if isinstance(found, list) else kernel_driver.of(found)

    def make(self, name, count, kernel=None, mtu=1500, adapter=None, nets=({},), load=True, params="", **settings):
        """A Group that is not started yet.  load, params: the driver, as prepare() loads it."""
        from . import network

        self.boots += 1
        nets = [{"mtu": mtu, **net, "options": {**(adapter or {}), **net.get("options", {})}} for net in nets]
        settings = {"model": self.model, "driver": self.model, "cpus": self.cpus, **settings}
        group = network.Group(self.run, self.kernel_of(kernel), count, nets=nets, prefix=f"{name}-{self.boots}-", **settings)
        group.load, group.params = load, params
        for machine in group:
            machine.may_die = machine.tainted = False
        return group

    def shared_group(self, count, settings):
        """Running guests with these settings, fit for a test."""
        boot = {name: value for name, value in settings.items() if name not in AT_RUN_TIME}
        before, group = self.shared.pop(count, (None, None))
        if group and (before != boot or not all(map(self.usable, group))):
            group.stop()
            group = None
        if group is None:
            group = self.make("shared" if count == SINGLE else "pair", count, **boot)
            group.start()
        self.shared[count] = (boot, group)
        prepare(group, **{name: value for name, value in settings.items() if name in AT_RUN_TIME})
        return group

    def shared_machines(self):
        return [machine for _, group in self.shared.values() for machine in group]

    def stop(self):
        for _, group in self.shared.values():
            group.stop()

    @staticmethod
    def usable(machine):
        from .common import LabError

        if machine.tainted or not machine.alive():
            return False
        try:
            return machine.run(["true"], timeout=10 * machine.slow, check=False).code == 0
        except LabError:
            return False

    def begin(self, machine, name):
        """A started guest takes part in a test."""
        machine.check_log()
        machine.mark(f"test {name}")
        self.in_use.append(machine)

    def verdict(self):
        """Check every guest that the test used; returns what is wrong, or an empty string."""
        from .common import LabError
        from .watch import GuestTrouble

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


def prepare(group, link="", faults="", mtu=None):
    """Guests as tests want to find them: interfaces, driver, then what is bad about links and adapters."""
    for machine in group:
        machine.run(["ip", "link", "set", "eth0", "mtu", str(mtu or machine.adapters[0].mtu), "up"])
        if machine.model:
            machine.link()
            machine.faults()
            if group.load and not machine.driver_loaded():
                machine.load_driver(group.params)
        elif group.load and "rxe0" not in machine.run(["rdma", "link"]).output:
            machine.load_rdma()
            if len(group) > 1:
                machine.run("modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0")
    group.trouble(link, faults)


@pytest.fixture(scope="session")
def lab(request):
    from .common import LabError

    config, problem = request.config, None
    if config.lab is None:
        try:
            config.lab = Lab(config)
        except LabError as error:
            problem = str(error)
    if problem:
        pytest.fail(f"lab: {problem}", pytrace=False)
    return config.lab


def settings_of(request):
    settings = {}
    for marker in reversed(list(request.node.iter_markers(MARKER))):
        if marker.args:
            raise pytest.UsageError(f"@pytest.mark.{MARKER} takes settings by name only")
        settings.update(marker.kwargs)
    return settings


def shared(lab, request, count):
    group = lab.shared_group(count, settings_of(request))
    for machine in group:
        lab.begin(machine, request.node.name)
    return group


@pytest.fixture
def vm(lab, request):
    return shared(lab, request, SINGLE)[0]


@pytest.fixture
def pair(lab, request):
    return shared(lab, request, DOUBLE)


@pytest.fixture
def vms(lab, request):
    with contextlib.ExitStack() as groups:
        def boot(count, link="", faults="", **settings):
            group = groups.enter_context(lab.make("group", count, **settings))
            for machine in group:
                lab.begin(machine, request.node.name)
            prepare(group, link, faults)
            return group

        yield boot


@pytest.fixture
def scenario(lab, request):
    from . import scenario as scenarios, scenario_file

    with contextlib.ExitStack() as groups:
        def play(path):
            """Play a file, relative to the test's; returns the scenario.Outcome, which has failed no check."""
            one = scenario_file.load(os.path.join(os.path.dirname(request.node.path), path))
            guests = one.guests
            settings = {"kernel": lab.driven(guests.kernel, guests.driver), "load": guests.load, "params": guests.params,
                        **one.settings}
            if guests.count in (SINGLE, DOUBLE):
                group = lab.shared_group(guests.count, settings)
            else:
                group = groups.enter_context(lab.make("group", guests.count, **settings))
                prepare(group)
            for machine in group:
                lab.begin(machine, request.node.name)
                # Events like a reset leave a guest that no other test is to find.
                machine.tainted = machine.tainted or any(event.do in scenarios.DISRUPTIVE for event in one.events)
            outcome = scenarios.play(one, group)
            print(outcome.text())
            if outcome.trouble:
                request.node.user_properties.append(GUEST_TROUBLE)
            if outcome.failed:
                pytest.fail(f"{one.path}: {one.title}\n{outcome.text()}", pytrace=False)
            return outcome

        yield play


@pytest.fixture
def checked(vm):
    """Check mode for vm's adapters: the test fails when they find errors that it did not ask for."""
    from . import check

    one = check.Checked(vm)
    one.expected = False
    try:
        yield one
        errors = [] if one.expected else one.errors()
    finally:
        one.stop()
    if errors:
        pytest.fail(check.text(errors), pytrace=False)


@pytest.fixture
def rdma_device(vm):
    return vm.wait_devices(1)[0]


@pytest.fixture(scope="module", autouse=True)
def no_leaks(request):
    """On the debug kernel the shared guests are searched for leaked memory when a file's last test is over."""
    yield
    lab = request.config.lab
    if lab is None or not lab.kernel.debug:
        return
    for machine in lab.shared_machines():
        leaks = machine.kmemleak() if lab.usable(machine) else ""
        machine.tainted = machine.tainted or bool(leaks)
        assert not leaks, leaks


def pytest_sessionfinish(session):
    if getattr(session.config, "lab", None):
        session.config.lab.stop()


def uses_guests(item):
    return "lab" in getattr(item, "fixturenames", ())


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """Limit the time of a test in guests, its fixtures included."""
    from .common import LabTimeout

    marker = item.get_closest_marker("limit")
    if not marker and not uses_guests(item):
        yield
        return
    limit = marker.args[0] if marker else LIMIT
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
    from .common import LabError

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
        for machine in lab.in_use:
            # Nobody knows what state it is in.
            machine.tainted = machine.tainted or report.failed
        lab.in_use.clear()
        report.duration += time.monotonic() - begin
    if problem:
        item.user_properties.append(GUEST_TROUBLE)
    if problem and report.outcome != "failed":
        report.outcome = "failed"
        report.longrepr = problem
    elif problem:
        report.sections.append(("guest", problem))
