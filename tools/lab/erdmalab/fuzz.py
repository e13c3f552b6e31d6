# SPDX-License-Identifier: GPL-2.0-or-later
"""./lab fuzz: builds the targets of tests/fuzz with libFuzzer, runs them, keeps what they find."""

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
import time

from . import runs, table
from .common import BUILD, ROOT, LabError, alone, call, kill_group, say, tail

SOURCES = os.path.join(ROOT, "tests", "fuzz")
SEEDS = os.path.join(SOURCES, "corpus")
PLACE = os.path.join(BUILD, "fuzz")
PROGRAMS = os.path.join(PLACE, "build", "tests", "fuzz")
TOTAL = os.path.join(PLACE, "executions.json")
# Where memory came from is told at length when a finding is shown again; keeping that for each allocation costs time.
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:malloc_context_size=2:quarantine_size_mb=16",
              "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}
# Of one input.  Slower or larger ones are findings, like crashes; all inputs so far need a hundredth of it.
LIMITS = {"timeout": 10, "rss_limit_mb": 1024, "malloc_limit_mb": 128}
LONGEST_INPUT = 1024
PROGRESS_SECONDS = 10
STATUS = re.compile(r"#(\d+)\s+\S+\s+cov: (\d+) ft: \d+ corp: (\d+)/\S+ .*exec/s: (\d+)")


def names():
    """Every target, after the file that it is made of."""
    return sorted(re.sub(r".*target_|\.cpp$", "", path) for path in glob.glob(os.path.join(SOURCES, "target_*.cpp")))


def program(name):
    return os.path.join(PROGRAMS, f"fuzz-{name}")


def build():
    """Compile all targets with clang, ASan and UBSan."""
    compilers = {name: shutil.which(name) for name in ("clang", "clang++")}
    if not all(compilers.values()):
        raise LabError("clang is missing; ./lab setup installs it")
    os.makedirs(PLACE, exist_ok=True)
    flags = "-O2 -g1"
    with alone(os.path.join(PLACE, "build.lock")):
        runs.cmake_build(os.path.join(PLACE, "build"), {
            "CMAKE_C_COMPILER": compilers["clang"], "CMAKE_CXX_COMPILER": compilers["clang++"],
            "CMAKE_C_FLAGS_RELWITHDEBINFO": flags, "CMAKE_CXX_FLAGS_RELWITHDEBINFO": flags,
            "ERDMA_SANITIZE": "address,undefined,fuzzer-no-link", "ERDMA_FUZZ_ENGINE": "-fsanitize=fuzzer",
            "ERDMA_MODULE": "OFF", "ERDMA_MODEL": "OFF", "ERDMA_TESTS": "OFF", "ERDMA_NESTED": "ON",
        }, os.path.join(PLACE, "build.log"), ["fuzz-targets"])


class Run:
    """One process of one target."""

    def __init__(self, name, number, seconds, length):
        self.name = name
        self.executions = self.coverage = self.inputs = self.rate = 0
        self.findings = []
        self.code = None
        corpus, self.kept = (os.path.join(PLACE, kind, name) for kind in ("corpus", "findings"))
        os.makedirs(corpus, exist_ok=True)
        os.makedirs(self.kept, exist_ok=True)
        self.log = os.path.join(PLACE, f"{name}.{number}.log")
        seeds = os.path.join(SEEDS, name)
        command = [program(name), *(f"-{limit}={value}" for limit, value in LIMITS.items()),
                   f"-max_total_time={seconds}", f"-max_len={length}", "-print_final_stats=1", "-reload=30",
                   # Weighing the inputs by their rarest features takes 40 % of the time here.
                   "-entropic=0",
                   f"-artifact_prefix={self.kept}/", corpus, *([seeds] if os.path.isdir(seeds) else [])]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, env={**os.environ, **SANITIZERS},
                                        start_new_session=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        with open(self.log, "wb") as log:
            for raw in self.process.stdout:
                log.write(raw)
                line = raw.decode("utf-8", "replace")
                if status := STATUS.match(line):
                    self.executions, self.coverage, self.inputs, self.rate = map(int, status.groups())
                elif found := re.search(r"Test unit written to (\S+)", line):
                    self.findings.append(found[1])
                elif final := re.match(r"stat::number_of_executed_units:\s+(\d+)", line):
                    self.executions = int(final[1])

    def ended(self):
        if self.process.poll() is None:
            return False
        self.reader.join(10)
        self.code = self.process.returncode
        return True

    def stop(self):
        if self.process.poll() is None:
            kill_group(self.process)
        self.reader.join(10)


def count(done):
    """Add to the executions of all runs in this build folder; returns the sums by target."""
    with alone(f"{TOTAL}.lock"):
        try:
            with open(TOTAL, encoding="ascii") as file:
                sums = json.load(file)
        except (OSError, ValueError):
            sums = {}
        for run in done:
            sums[run.name] = sums.get(run.name, 0) + run.executions
        with open(f"{TOTAL}.new", "w", encoding="ascii") as file:
            json.dump(sums, file, indent=1)
        os.replace(f"{TOTAL}.new", TOTAL)
    return sums


def fuzz(wanted, minutes, jobs, length=LONGEST_INPUT):
    """Run targets, as many side by side as there are jobs, each for so many minutes; returns the exit code.

    With more jobs than targets, several processes work on one target and share what they find.
    `length`: of the longest input, in bytes; what lies behind it in the inputs of earlier runs is left out.
    """
    wanted = chosen(wanted)
    if not 1 <= length <= LONGEST_INPUT:
        raise LabError(f"--length takes 1 to {LONGEST_INPUT}")
    say("building")
    build()
    waiting = [(name, number) for number in range(max(1, jobs // len(wanted))) for name in wanted]
    active, done = [], []
    told = time.monotonic()
    try:
        while waiting or active:
            while waiting and len(active) < jobs:
                name, number = waiting.pop(0)
                active.append(Run(name, number, max(1, round(minutes * 60)), length))
                say(f"{name}: {minutes:g} min, log {os.path.relpath(active[-1].log)}")
            time.sleep(0.5)
            for run in [run for run in active if run.ended()]:
                active.remove(run)
                done.append(run)
                tell(run)
                for path in run.findings:
                    say(f"{run.name}: FINDING; see it again with\n    {reproduce(run.name, path)}")
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                for run in active:
                    tell(run)
    finally:
        for run in active:
            run.stop()
        sums = count(done + active)
    return report(done, sums)


def tell(run):
    say(f"{run.name}: {run.executions} executions, {run.rate}/s, {run.coverage} edges, {run.inputs} inputs")


def reproduce(name, path):
    return f"{os.path.relpath(program(name))} {os.path.relpath(path)}"


def report(done, sums):
    rows = []
    for run in done:
        rows.append((run.name, run.executions, run.coverage, run.inputs, len(run.findings), sums.get(run.name, 0)))
    print(table.render(("target", "executions", "edges", "inputs", "findings", "of all runs"), rows))
    print(f"{sum(run.executions for run in done)} executions, {sum(sums.values())} with all earlier runs")
    bad = False
    for run in done:
        for path in run.findings:
            bad = True
            print(f"FINDING: {reproduce(run.name, path)}")
        if run.code and not run.findings:
            bad = True
            print(f"PROBLEM: {run.name} ended with code {run.code}; {os.path.relpath(run.log)} ends with:\n"
                  f"{tail(run.log, 15)}")
    return 1 if bad else 0


def merge(wanted):
    """Make the checked-in inputs anew: the fewest that reach what these and all of this build folder's reach."""
    wanted = chosen(wanted)
    say("building")
    build()
    for name in wanted:
        seeds, fresh = os.path.join(SEEDS, name), os.path.join(PLACE, "merged", name)
        shutil.rmtree(fresh, ignore_errors=True)
        os.makedirs(fresh)
        sources = [path for path in (seeds, os.path.join(PLACE, "corpus", name)) if os.path.isdir(path)]
        log = os.path.join(PLACE, f"{name}.merge.log")
        if call([program(name), "-merge=1", "-use_counters=0", f"-timeout={LIMITS['timeout']}", fresh, *sources], 3600,
                env={**os.environ, **SANITIZERS}, log=log):
            raise LabError(f"merging {name} failed; {log} ends with:\n{tail(log, 15)}")
        shutil.rmtree(seeds, ignore_errors=True)
        os.makedirs(seeds)
        octets = 0
        for path in sorted(glob.glob(os.path.join(fresh, "*"))):
            with open(path, "rb") as file:
                content = file.read()
            octets += len(content)
            with open(os.path.join(seeds, hashlib.sha1(content).hexdigest()[:16]), "wb") as file:
                file.write(content)
        say(f"{name}: {len(os.listdir(seeds))} inputs, {octets} octets")
    return 0


def chosen(wanted):
    known = names()
    for name in wanted:
        if name not in known:
            raise LabError(f"there is no target '{name}'; there are {', '.join(known)}")
    return list(wanted) or known
