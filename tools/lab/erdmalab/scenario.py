# SPDX-License-Identifier: GPL-2.0-or-later
"""Plays a scenario (scenario_file.py) in running guests, and judges how it went.

The guests are those of a network.Group: ./lab scenario boots one, the pytest plugin's fixture `scenario` has its own.
"""

import contextlib
import os
import time

from . import capture, table
from .channel import shell_code
from .common import LabError, say
from .vm import prefixed
from .watch import GuestTrouble

POLL_SECONDS = 0.05
# Adapters that a scenario may leave in a state that nobody else wants to find.
DISRUPTIVE = ("reset", "unplug", "plug", "run")


class Row:
    """One line of the verdict."""

    def __init__(self, what, expected, found, good, details=""):
        self.what, self.expected, self.found, self.good, self.details = what, expected, found, good, details


class Outcome:
    """How a scenario ended: rows (Row), trouble (what kernels said, or an empty text)."""

    def __init__(self):
        self.rows, self.trouble = [], ""

    @property
    def failed(self):
        return [row for row in self.rows if not row.good]

    def table(self):
        return table.render(("check", "expected", "found", "verdict"),
                            [(row.what, row.expected, row.found, "ok" if row.good else "FAILED") for row in self.rows])

    def text(self):
        """The table, and what helps to understand the lines that failed."""
        details = {row.details: None for row in self.failed if row.details}
        return "\n".join([self.table(), *details, *([self.trouble] if self.trouble else [])])


class Item:
    """A program or an event on the timeline."""

    def __init__(self, wanted, label):
        self.wanted, self.label = wanted, label
        self.due = self.done = None  # monotonic times
        self.job = None


class Over(Exception):
    """Nothing of the rest of the timeline makes sense; why stands in the outcome."""


class Play:
    """One performance of a scenario."""

    def __init__(self, scenario, group, tell=say):
        self.scenario, self.group, self.tell = scenario, group, tell
        self.slow = max(machine.slow for machine in group)
        self.programs = {one.name: Item(one, one.name) for one in scenario.programs}
        self.events = [Item(one, one.name or f"event {number} ({one.do})") for number, one in enumerate(scenario.events, 1)]
        self.named = {**self.programs, **{item.wanted.name: item for item in self.events if item.wanted.name}}
        self.undo = []  # (when, label, function)
        self.outcome = Outcome()
        self.begin = None
        self.before = {}
        self.captured = {}

    # ---- the timeline ----

    def guest(self, name):
        return self.group[int(name[2:]) - 1]

    def run(self):
        """Play it to its end; returns the Outcome.  Raises LabError for what is not the programs' doing."""
        for machine in self.group:
            machine.check_log()
        self.outcome = Outcome()
        try:
            with contextlib.ExitStack() as stack:
                for machine in self.group:
                    stack.callback(setattr, machine, "allowed", machine.allowed)
                    machine.allowed = [*machine.allowed, *self.scenario.allow]
                self.look()
                try:
                    with contextlib.suppress(Over):
                        self.perform()
                finally:
                    self.end()
                self.judge()
                self.check_logs()
        finally:
            self.keep_output()
        return self.outcome

    def look(self):
        """What counters and captures had before anything happened."""
        for machine in self.group:
            for number, adapter in enumerate(machine.adapters):
                if adapter.erdma and machine.model:
                    self.before[machine.name, number] = machine.counters(f"eri{number}")
                if adapter.capture:
                    self.captured[machine.name, number] = os.path.getsize(machine.capture(number))

    def growth(self, guest, network, counter):
        """By how much a counter of an adapter has grown since look()."""
        machine = self.guest(guest)
        before = self.before.get((machine.name, network))
        if before is None:
            raise LabError(f"{guest} has no adapter on network {network}")
        if counter not in before:
            raise LabError(f"the adapter has no counter {counter}; there are {', '.join(sorted(before))}")
        return machine.counters(f"eri{network}")[counter] - before[counter]

    def perform(self):
        self.begin = time.monotonic()
        for item in self.programs.values():
            if not self.triggered(item):
                self.start(item)
        self.begin = time.monotonic()
        deadline = self.begin + self.scenario.limit * self.slow
        while True:
            now = time.monotonic()
            for when, label, function in [one for one in self.undo if one[0] <= now]:
                self.undo = [one for one in self.undo if one[2] is not function]
                self.tell(f"{label} ends")
                function()
            for item in [*self.programs.values(), *self.events]:
                self.advance(item, time.monotonic())
            if self.finished():
                return
            if now > deadline:
                self.outcome.rows.append(Row("the scenario's end", f"within {self.scenario.limit * self.slow:g} s", "not yet",
                                             False, self.waiting()))
                return
            time.sleep(POLL_SECONDS)

    @staticmethod
    def triggered(item):
        return any(item.wanted[key] is not None for key in ("at", "after", "when"))

    def advance(self, item, now):
        """Carry out what is due."""
        if item.job is not None and item.done is None and item.job.code is not None:
            item.done = now
            self.tell(f"{item.label} ended with code {shell_code(item.job.code)} after {item.job.seconds or 0:.1f} s")
        if item.done is not None or item.job is not None:
            return
        if item.due is None and self.fulfilled(item.wanted):
            item.due = now + item.wanted.delay
        if item.due is None or item.due > now:
            return
        if item.label in self.programs:
            self.start(item)
        else:
            self.tell(f"{item.label}: {described(item.wanted)}")
            getattr(self, f"do_{item.wanted.do}")(item.wanted, item.label)
            item.done = time.monotonic()

    def fulfilled(self, wanted):
        """Whether the condition of a program or an event is true."""
        if wanted.after is not None:
            return self.named[wanted.after].done is not None
        if wanted.when is None:
            return time.monotonic() >= self.begin + (wanted.at or 0)
        when = wanted.when
        if when.program:
            job = self.programs[when.program].job
            return job is not None and when.prints.search(job.text) is not None
        return self.growth(when.guest, when.network, when.counter) >= when.by

    def start(self, item):
        wanted = item.wanted
        machine = self.guest(wanted.guest)
        self.tell(f"{item.label} starts in {wanted.guest}: {words(wanted.run)}")
        folder = os.path.join(os.path.dirname(os.path.abspath(self.scenario.path)), wanted.directory or "")
        item.job = machine.popen(wanted.run, cwd=folder, env={**self.group.environment(), **wanted.env},
                                 on_output=prefixed(item.label, errors=True))
        if wanted.listens:
            try:
                machine.wait_listener(wanted.listens, item.job, tcp=wanted.tcp)
            except LabError as error:
                if not machine.alive():
                    raise
                self.outcome.rows.append(Row(item.label, f"to listen on port {wanted.listens}", "it does not", False, str(error)))
                raise Over from None

    def finished(self):
        """Whether nothing is left to wait for."""
        over = all(item.done is not None for item in self.programs.values() if not item.wanted.forever)
        started = all(item.job is not None for item in self.programs.values())
        if over and started and not self.undo and all(item.done is not None for item in self.events):
            return True
        # With all programs over, nothing but time makes a condition true.
        idle = all(item.job is None or item.done is not None or item.wanted.forever for item in self.programs.values())
        left = [item for item in [*self.programs.values(), *self.events] if item.done is None and item.job is None]
        if idle and left and not self.undo and all(item.due is None and item.wanted.at is None and self.triggered(item)
                                                   and not self.fulfilled(item.wanted) for item in left):
            for item in left:
                self.outcome.rows.append(Row(item.label, "to happen", "its condition never came true", False, self.texts()))
            return True
        return False

    def waiting(self):
        left = [item.label for item in [*self.programs.values(), *self.events]
                if item.done is None and not item.wanted.get("forever")]
        return f"still waited for: {', '.join(left)}\n{self.texts()}"

    def end(self):
        """Links and adapters behave again, and what still runs is ended."""
        for _, _, function in self.undo:
            with contextlib.suppress(LabError, OSError):
                function()
        self.undo = []
        for item in self.programs.values():
            if item.job is not None and item.job.code is None:
                with contextlib.suppress(LabError):
                    item.job.kill()
                    item.job.wait(10 * self.slow)

    # ---- events ----

    def later(self, wanted, label, function):
        """`for`: the event's opposite, after that time."""
        seconds = wanted.get("for")
        if seconds is not None:
            self.undo.append((time.monotonic() + seconds, label, function))

    def do_link(self, wanted, label):
        machine, device = self.guest(wanted.guest), f"eri{wanted.network}"
        machine.link(wanted.text, device)
        self.later(wanted, label, lambda: machine.link("", device))

    def do_faults(self, wanted, label):
        machine, device = self.guest(wanted.guest), f"eri{wanted.network}"
        machine.faults(wanted.text, device)
        self.later(wanted, label, lambda: machine.faults("", device))

    def do_mtu(self, wanted, label):
        machine, interface = self.guest(wanted.guest), f"eth{wanted.network}"
        old = machine.read(f"/sys/class/net/{interface}/mtu").strip()
        machine.run(["ip", "link", "set", interface, "mtu", str(wanted.mtu)])
        self.later(wanted, label, lambda: machine.run(["ip", "link", "set", interface, "mtu", old]))

    def do_nic(self, wanted, label):
        machine, interface = self.guest(wanted.guest), f"eth{wanted.network}"
        machine.run(["ip", "link", "set", interface, wanted.state])
        other = "up" if wanted.state == "down" else "down"
        self.later(wanted, label, lambda: machine.run(["ip", "link", "set", interface, other]))

    def do_reset(self, wanted, _label):
        machine = self.guest(wanted.guest)
        machine.run(f"echo 1 > /sys/bus/pci/devices/{machine.pci_address(wanted.network)}/reset", timeout=20 * machine.slow)

    def do_unplug(self, wanted, label):
        machine = self.guest(wanted.guest)
        machine.unplug(f"eri{wanted.network}")
        self.later(wanted, label, lambda: self.do_plug(wanted, label))

    def do_plug(self, wanted, _label):
        machine, number = self.guest(wanted.guest), wanted.network
        machine.plug(device=f"eri{number}", bus=f"port{number}", eni=f"eni{number}", **machine.adapters[number].options)
        machine.wait_devices(sum(adapter.erdma for adapter in machine.adapters), 30 * machine.slow)

    def do_kill(self, wanted, label):
        job = self.programs[wanted.program].job
        if job is None or job.code is not None:
            self.outcome.rows.append(Row(label, f"{wanted.program} to run", "not started" if job is None else "ended before",
                                         False, job.text if job else ""))
        else:
            job.kill(wanted.signal)

    def do_run(self, wanted, label):
        machine = self.guest(wanted.guest)
        result = machine.run(wanted.run, timeout=60 * machine.slow, check=False, env=self.group.environment())
        code = shell_code(result.code)
        if not wanted.exit.fits(code):
            self.outcome.rows.append(Row(label, f"exit code {wanted.exit.words}", code, False,
                                         f"--- {label}: {words(wanted.run)}\n{result.output}{result.errors}".rstrip()))

    # ---- the verdict ----

    def texts(self):
        return "\n".join(f"--- {item.label} ({words(item.wanted.run)}):\n{item.job.text}".rstrip()
                         for item in self.programs.values() if item.job is not None)

    def keep_output(self):
        """Each program's output is left beside the logs of its guest."""
        for item in self.programs.values():
            if item.job is not None:
                path = os.path.join(self.guest(item.wanted.guest).directory, f"{item.label}.txt")
                with open(path, "w", encoding="utf-8") as out:
                    out.write(item.job.text)

    def judge(self):
        for item in self.programs.values():
            wanted = item.wanted
            if item.job is None:
                continue
            what = f"{item.label}: exit code"
            if wanted.forever:
                if item.done is not None and not wanted.exit.fits(shell_code(item.job.code)):
                    self.outcome.rows.append(Row(what, f"to run on, or {wanted.exit.words}", shell_code(item.job.code), False,
                                                 self.texts()))
                continue
            code = shell_code(item.job.code) if item.done is not None else "none, it was still running"
            self.outcome.rows.append(Row(what, wanted.exit.words, code, item.done is not None and wanted.exit.fits(code),
                                         self.texts()))
        for wanted in self.scenario.checks:
            getattr(self, f"check_{wanted.check.replace('-', '_')}")(wanted)

    def check_logs(self):
        troubles = []
        for machine in self.group:
            try:
                machine.check_log()
                good = True
            except GuestTrouble as trouble:
                troubles.append(str(trouble))
                good = False
            self.outcome.rows.append(Row(f"kernel of vm{machine.index}", "no complaint", "none" if good else "a complaint", good))
        self.outcome.trouble = "\n".join(troubles)

    def bounded(self, what, wanted, value, unit="", details=""):
        """A row for a number that has to be within bounds; None: there is none."""
        good = value is not None and (wanted.min is None or value >= wanted.min) and (
            wanted.max is None or value <= wanted.max) and (wanted["is"] is None or value == wanted["is"])
        limits = [text for text in (f"{wanted['is']}" if wanted["is"] is not None else "",
                                    f"at least {wanted.min}" if wanted.min is not None else "",
                                    f"at most {wanted.max}" if wanted.max is not None else "") if text]
        found = "none" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
        self.outcome.rows.append(Row(what, ", ".join(limits) + unit, found + (unit if value is not None else ""), good, details))

    def matched(self, what, wanted, content, details):
        """Rows for a text that has to match, or must not."""
        for expression, expected in ((wanted.prints, True), (wanted.lacks, False)):
            if expression is not None:
                match = expression.search(content)
                found = f'"{match[0][:60]}"' if match else "no such text"
                self.outcome.rows.append(Row(what, f"{'' if expected else 'no '}/{expression.pattern}/", found,
                                             bool(match) == expected, details))

    def check_output(self, wanted):
        item = self.programs[wanted.program]
        text = item.job.text if item.job is not None else ""
        self.matched(f"{wanted.program}: output", wanted, text, self.texts())

    def check_time(self, wanted):
        job = self.programs[wanted.program].job
        self.bounded(f"{wanted.program}: time", wanted, job.seconds if job is not None else None, " s", self.texts())

    def check_counter(self, wanted):
        self.bounded(f"{wanted.guest}: {wanted.counter}", wanted, self.growth(wanted.guest, wanted.network, wanted.counter))

    def check_command(self, wanted):
        machine = self.guest(wanted.guest)
        result = machine.run(wanted.run, timeout=60 * machine.slow, check=False, env=self.group.environment())
        text, code = result.output + result.errors, shell_code(result.code)
        details = f"--- in {wanted.guest}: {words(wanted.run)}\n{text}".rstrip()
        what = f"{wanted.guest}: {words(wanted.run)}"[:60]
        self.outcome.rows.append(Row(what, f"exit code {wanted.exit.words}", code, wanted.exit.fits(code), details))
        self.matched(what, wanted, text, details)

    def check_log(self, wanted):
        machine = self.guest(wanted.guest)
        text = machine.dmesg()
        self.matched(f"{wanted.guest}: kernel log", wanted, text, "\n".join(text.splitlines()[-20:]))

    def packets(self, wanted):
        """Data packets of a guest's capture since the beginning, as the check chooses them."""
        machine = self.guest(wanted.guest)
        found = capture.segments(machine.capture(wanted.network), self.captured[machine.name, wanted.network])
        sender = self.guest(wanted["from"]).adapters[wanted.network].address.split("/")[0] if wanted["from"] else None
        return [(number, one) for number, one in found
                if wanted.connection in (None, number) and sender in (None, one.sender)]

    def check_retransmissions(self, wanted):
        self.bounded(f"{wanted.guest}: retransmissions", wanted,
                     sum(one.again is not None for _, one in self.packets(wanted)))

    def check_retransmission_delay(self, wanted):
        delays = [one.again for _, one in self.packets(wanted) if one.again is not None]
        for delay in sorted({min(delays), max(delays)}) if delays else [None]:
            self.bounded(f"{wanted.guest}: retransmission after", wanted, delay, " s")

    def check_silence(self, wanted):
        self.bounded(f"{wanted.guest}: longest silence", wanted, capture.silence(self.packets(wanted)), " s")


def words(command):
    return command if isinstance(command, str) else " ".join(command)


def described(wanted):
    """An event in words, for the progress."""
    told = [f"{key} {value}" for key, value in wanted.items()
            if key in ("guest", "program", "text", "mtu", "state", "run", "for") and value is not None]
    return f"{wanted.do} " + ", ".join(told)


def play(scenario, group, tell=say):
    """Play a scenario in the guests of a started group, whose drivers are loaded; returns the Outcome."""
    for part, method in ((scenario.links, "link"), (scenario.faults, "faults")):
        for one in part:
            getattr(group[int(one.guest[2:]) - 1], method)(one.text, f"eri{one.network}")
    try:
        return Play(scenario, group, tell).run()
    except LabError:
        group.check_logs()  # a reason that comes first
        raise
