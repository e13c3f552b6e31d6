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

KINDS = ("unit", "vm", "package", "fuzz", "analysis")
# ctest labels that have a kind of their own; everything else belongs to unit.
SEPARATE = ("vm", "package", "fuzz", "analysis")
# Kinds that are one pytest run to ctest, whose cases are counted.
PYTEST = ("vm", "package")
# A quiet machine needs under 25 minutes; machines that are shared can be several times slower.
TIME_LIMIT = 70 * 60
# Each has a guest, a pair and what a test boots for itself: some 4 GiB.
MOST_WORKERS = 4


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        self.problems = []

    def add_junit(self, path, leave_out=()):
        """Count the cases of a JUnit file."""
        try:
            root = ElementTree.parse(path).getroot()
        except (OSError, ElementTree.ParseError) as error:
            self.problems.append(f"no result in {path}: {error}")
            return
        for case in root.iter("testcase"):
            name = case.get("name", "?")
            if name in leave_out:
                continue
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


def workers():
    """How many guests, or pairs of them, are tested side by side: an emulated one keeps a processor busy."""
    return min(os.cpu_count() or 1, MOST_WORKERS)


def test(kinds=(), pattern=None, kernel_name=None, long=False):
    """Build and run the tests; returns the exit code."""
    kinds = list(kinds) or ["unit", "vm", *(["package"] if long else [])]
    kernel = kernels.find(kernel_name)
    say("building")
    runs.build(kernel, everything="unit" in kinds)
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
            if kind == "vm" and workers() > 1:
                options += ["-n", str(workers())]
            environment["PYTEST_ADDOPTS"] = shlex.join(options)
        elif pattern and kind != "unit":
            command += ["-R", pattern]
        code = stream(command, deadline, environment, strip=kind in PYTEST)
        failed_before = tally.failed
        if kind in PYTEST:
            if os.path.exists(pytest_junit):
                tally.add_junit(pytest_junit)
            elif code or not os.path.exists(junit):
                tally.problems.append(f"the {kind} tests gave no result")
            else:
                tally.add_junit(junit)
        elif os.path.exists(junit):
            tally.add_junit(junit)
        if code and tally.failed == failed_before:
            tally.problems.append(f"ctest ended with code {code} for the {kind} tests")
    return report(tally, run, time.monotonic() - begin)


def report(tally, run, seconds):
    print(f"\nlogs: {os.path.relpath(run)}   time: {seconds:.0f} s")
    for problem in tally.problems:
        print(f"PROBLEM: {problem}")
    for name in tally.failures:
        print(f"FAILED: {name}")
    if not tally.passed + tally.failed:
        print("no test ran: check the kind and the pattern")
    failed = tally.failed + len(tally.problems)
    print(f"{tally.passed} passed, {failed} failed, {tally.skipped} skipped", flush=True)
    return 0 if tally.passed and not failed else 1
