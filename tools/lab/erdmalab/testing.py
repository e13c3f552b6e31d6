# SPDX-License-Identifier: GPL-2.0-or-later
"""./lab test: ctest with progress and one summary of all tests."""

import os
import re
import shlex
import subprocess
import threading
import time
import xml.etree.ElementTree as ElementTree

from . import kernel as kernels, runs
from .common import BUILD, kill_group, say

KINDS = ("unit", "vm", "checked", "package", "hosts", "fuzz", "analysis")
# ctest labels that have a kind of their own; everything else belongs to unit.
SEPARATE = KINDS[1:]
# Kinds that are one pytest run to ctest, whose cases are counted.
PYTEST = ("vm", "package", "hosts")
# Two quiet processors need less than 30 minutes; machines that are shared can be several times slower.
TIME_LIMIT = 70 * 60
# Each has a guest, a pair and what a test boots for itself: some 4 GiB.
MOST_WORKERS = 4
# More failures than these are no accident of a busy machine.
MOST_REPEATED = 3


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        self.unstable = []
        self.problems = []

    def add_junit(self, path):
        """Count the cases of a JUnit file."""
        try:
            root = ElementTree.parse(path).getroot()
        except (OSError, ElementTree.ParseError) as error:
            self.problems.append(f"no result in {path}: {error}")
            return
        for case in root.iter("testcase"):
            name = case.get("name", "?")
            status = case.get("status", "run")
            if case.find("failure") is not None or case.find("error") is not None or status == "fail":
                self.failed += 1
                where = case.get("classname", "")
                self.failures.append(f"{where}::{name}" if where and where != name else name)
            elif case.find("skipped") is not None or status in ("notrun", "disabled"):
                self.skipped += 1
            else:
                self.passed += 1


def stream(command, deadline, environment, strip):
    """Run a command and pass its output on, without ctest's "7: " before each line."""
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)
    noise = re.compile(r"^(\d+: (Test command|Working Directory|Environment variables|Test timeout|  ?[A-Z_]+=)"
                       r"|UpdateCTestConfiguration|Constructing a list|Done constructing|Updating test list"
                       r"|Checking test dependency|test \d+$|Internal ctest changing|Total Test time"
                       r"|Label Time Summary|Parse Config|Test project )")
    late = threading.Event()

    def stop():
        late.set()
        kill_group(process)

    timer = threading.Timer(max(1.0, deadline - time.monotonic()), stop)
    timer.daemon = True
    timer.start()
    try:
        for raw in process.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            if not noise.match(line):
                print(re.sub(r"^\d+: ?", "", line) if strip else line, flush=True)
        code = process.wait(timeout=60)
        if late.is_set():
            print("the tests take longer than allowed and were stopped", flush=True)
        return code
    finally:
        timer.cancel()
        if process.poll() is None:
            kill_group(process)
        process.stdout.close()


def repeatable(path, status):
    """The failed cases of a JUnit file as "module::name", if it makes sense to repeat them, otherwise nothing.

    status names the file with pytest's exit status: 1 says that all tests ran and some failed.

    They may be accidents: guests side by side on a machine that others use as well see seconds pass at once.  What a
    guest's kernel or QEMU reported is none, and neither are many failures.
    """
    try:
        with open(status, encoding="ascii") as file:
            if file.read() != "1":
                return []
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return []
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    if len(failed) > MOST_REPEATED or any(
            entry.get("name") == "guest" for case in failed for entry in case.iter("property")):
        return []
    return sorted({f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}" for case in failed})


def workers():
    """How many guests, or pairs of them, are tested side by side: an emulated one keeps a processor busy."""
    return min(os.cpu_count() or 1, MOST_WORKERS)


def chosen(kinds=(), long=False):
    """The kinds that run when these are named, or none."""
    return list(kinds) or ["unit", "vm", *(["checked", "package"] if long else [])]


def test(kinds=(), pattern=None, kernel_name=None, long=False):
    """Build and run the tests; returns the exit code."""
    kinds = chosen(kinds, long)
    kernel = kernels.find(kernel_name)
    say("building")
    runs.build(kernel, everything=not {"unit", "checked"}.isdisjoint(kinds), more=["erdma-vm-programs"] if "vm" in kinds else [])
    run = runs.new_run("test")
    deadline = time.monotonic() + TIME_LIMIT * (4 if kernel.debug else 1) * (2 if long else 1)
    tally = Tally()
    begin = time.monotonic()
    for kind in kinds:
        say(f"{kind} tests")
        junit = os.path.join(run, f"ctest-{kind}.xml")
        pytest_junit = os.path.join(run, f"pytest-{kind}.xml")
        command = ["ctest", "--test-dir", BUILD, "--no-tests=ignore", "--output-junit", junit,
                   "--output-on-failure", "-j", str(os.cpu_count() or 1)]
        environment = {**os.environ, "GTEST_COLOR": "no", "ERDMA_LAB_RUN": run,
                       "ERDMA_LAB_KERNEL": kernel_name or ""}
        if kind == "unit":
            command += ["-LE", "|".join(f"^{label}$" for label in SEPARATE)]
            command += ["-R", pattern] if pattern else []
        else:
            command += ["-L", f"^{kind}$"]
        if kind in PYTEST:
            command += ["-V"]
            options = ["--junitxml", pytest_junit, *(["-k", pattern] if pattern else []),
                       *(["--long"] if long and kind == "vm" else [])]
            if workers() > 1:
                options += ["-n", str(workers()), *(["--dist", "loadfile"] if kind == "package" else [])]
            environment["PYTEST_ADDOPTS"] = shlex.join(options)
        elif pattern and kind != "unit":
            command += ["-R", pattern]
        code = stream(command, deadline, environment, strip=kind in PYTEST)
        failed_before = tally.failed
        if kind in PYTEST:
            if os.path.exists(pytest_junit):
                tally.add_junit(pytest_junit)
                again = repeatable(pytest_junit, os.path.join(run, "exit-status")) if kind == "vm" else []
                if again:
                    code = repeat(again, run, tally, command, environment, deadline)
            elif code or not os.path.exists(junit):
                tally.problems.append(f"the {kind} tests gave no result")
            else:
                tally.add_junit(junit)
        elif os.path.exists(junit):
            tally.add_junit(junit)
        if code and tally.failed == failed_before:
            tally.problems.append(f"ctest ended with code {code} for the {kind} tests")
    return report(tally, run, time.monotonic() - begin)


def repeat(names, run, tally, command, environment, deadline):
    """Run failed tests in guests once more, alone, and correct the tally; returns ctest's code."""
    say(f"once more, with nothing beside: {', '.join(names)}")
    run = os.path.join(run, "again")
    os.makedirs(run)
    listed, junit = os.path.join(run, "tests"), os.path.join(run, "pytest-vm.xml")
    with open(listed, "w", encoding="utf-8") as file:
        file.writelines(f"{name}\n" for name in names)
    options = shlex.split(environment["PYTEST_ADDOPTS"])
    options = ["--junitxml", junit, *(["--long"] if "--long" in options else []), f"--only={listed}"]
    code = stream(command, deadline, {**environment, "PYTEST_ADDOPTS": shlex.join(options), "ERDMA_LAB_RUN": run},
                  strip=True)
    second = Tally()
    second.add_junit(junit)
    if not second.problems and second.passed + second.failed == len(names):
        good = [name for name in tally.failures if name not in second.failures]
        tally.failures = [name for name in tally.failures if name in second.failures]
        tally.unstable += good
        tally.failed -= len(good)
        tally.passed += len(good)
    return code


def report(tally, run, seconds):
    print(f"\nlogs: {os.path.relpath(run)}   time: {seconds:.0f} s")
    for problem in tally.problems:
        print(f"PROBLEM: {problem}")
    for name in tally.unstable:
        print(f"UNSTABLE: {name} failed, and passed when it was repeated alone")
    for name in tally.failures:
        print(f"FAILED: {name}")
    if not tally.passed + tally.failed:
        print("no test ran: check the kind and the pattern")
    failed = tally.failed + len(tally.problems)
    print(f"{tally.passed} passed, {failed} failed, {tally.skipped} skipped", flush=True)
    return 0 if tally.passed and not failed else 1
