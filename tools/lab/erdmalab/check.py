# SPDX-License-Identifier: GPL-2.0-or-later
"""Check mode: what the adapters of guests, and a witness in each process, find wrong with programs (docs/check.md)."""

import contextlib
import fnmatch
import json
import re
import threading

from . import witness
from .common import LabError

ORDER = ("error", "warning", "advice")
ADVICE = ("piece of advice", "pieces of advice")
# A trace instance of its own: others may trace as they like.
TRACE = "/sys/kernel/tracing/instances/erdma-check"
WATCH = f"""
[ -d /sys/kernel/tracing/events/erdma/erdma_qp_made ] || exit 0
mkdir -p {TRACE}
echo 1 > {TRACE}/events/erdma/erdma_qp_made/enable
echo watching
exec cat {TRACE}/trace_pipe
"""
MADE = re.compile(r"erdma_qp_made: device=\d+ pci=(\S+) qp=(\d+) pid=(\d+) name=(.*)")
# The newest are there at once; a guest may be slow.
NAMES_SECONDS = 2


class Suppressions:
    """Lines "ID [PROCESS [QPN]]" with wildcards, as in "shared-sink ib_*"; # begins a comment."""

    def __init__(self, path=None):
        self.rules = []
        if path is None:
            return
        try:
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except OSError as error:
            raise LabError(f"suppressions: {error}") from None
        for number, line in enumerate(lines, 1):
            words = line.partition("#")[0].split()
            if len(words) > 3:
                raise LabError(f"{path}:{number}: a suppression is ID [PROCESS [QPN]]")
            if words:
                self.rules.append((words + ["*", "*"])[:3])

    def match(self, finding):
        process = (finding.get("process") or {}).get("name", "")
        return any(fnmatch.fnmatchcase(finding["id"], kind) and fnmatch.fnmatchcase(process, name) and
                   fnmatch.fnmatchcase(str(finding.get("qpn", "")), qpn) for kind, name, qpn in self.rules)


class Checked:
    """A guest whose adapters are checked from now on; what was found before is forgotten.

    delay      longest time for which the adapters hold work back, as the property check-delay takes it
    suppress   Suppressions: findings that are left out
    """

    def __init__(self, machine, delay=None, suppress=None):
        self.machine, self.suppress = machine, suppress or Suppressions()
        self.adapters = [f"eri{number}" for number, one in enumerate(machine.adapters) if machine.model and one.erdma]
        self._owners, self._rest, self._news = {}, b"", threading.Condition()
        # Queue pairs are gone when the report is made, and programs may be short: the driver tells whose each one is.
        self._watch = None
        if machine.driver_name == "erdma":
            self._watch = machine.popen(["sh", "-c", WATCH], on_output=self._heard, on_end=self._ended)
            with contextlib.suppress(LabError):  # a kernel without tracing, or a driver that does not tell
                self._watch.wait_output("watching", 10 * machine.slow)
        for adapter in self.adapters:
            machine.qom_set("check-delay", delay or "", adapter)
            machine.qom_set("check", "on", adapter)
        self._witness = witness.Witness(machine)

    def _heard(self, kind, payload):
        if kind != "O":
            return
        *lines, self._rest = (self._rest + payload).split(b"\n")
        with self._news:
            for line in lines:
                made = MADE.search(line.decode("utf-8", "replace"))
                if made:
                    pci, qpn, pid, name = made.groups()
                    self._owners[pci, int(qpn)] = {"name": name, "pid": int(pid)}
            self._news.notify_all()

    def _ended(self, _job):
        with self._news:
            self._news.notify_all()

    def _owner(self, pci, qpn, wait):
        """Whose a queue pair is, or None; its name may be on the way."""
        with self._news:
            if wait:
                self._news.wait_for(lambda: (pci, qpn) in self._owners or self._watch.code is not None,
                                    NAMES_SECONDS * self.machine.slow)
            return self._owners.get((pci, qpn))

    def stop(self):
        """The adapters check no more, and programs have no witness."""
        self._witness.stop()
        if self._watch and self._watch.code is None:
            with contextlib.suppress(LabError):
                self._watch.kill()
                self._watch.wait(10 * self.machine.slow)
                self.machine.run(["rmdir", TRACE], check=False)
        for adapter in self.adapters:
            with contextlib.suppress(LabError, OSError):
                self.machine.qom_set("check", "off", adapter)

    def findings(self):
        """A list of dictionaries as docs/check.schema.json has them, with "vm", "adapter", and "process" where it is known."""
        found, patient = [], self._watch is not None and self._watch.code is None
        clocks = {}
        for number, adapter in enumerate(self.adapters):
            report = json.loads(self.machine.qom_get("findings", adapter))
            pci = self.machine.pci_address(number)
            clocks[pci] = adapter, report["now_ns"]
            for one in report.get("findings", []):
                owner = self._owner(pci, one["qpn"], patient) if one.get("qpn") else None
                if owner:
                    one["process"] = owner
                elif one.get("qpn"):
                    patient = False  # one that was there before; it is waited for once
                found.append({**one, "vm": self.machine.name, "adapter": adapter, "age_ns": report["now_ns"] - one["first_ns"]})
        found += [{**one, "vm": self.machine.name} for one in self._witness.findings(clocks)]
        found = [one for one in found if not self.suppress.match(one)]
        return sorted(found, key=lambda one: (ORDER.index(one["severity"]), one["first_ns"]))

    def errors(self):
        return [one for one in self.findings() if one["severity"] == "error"]


def location(one):
    """Who and where, for people."""
    process = one.get("process")
    whose = process and (f"pid {process['pid']}" if process["pid"] else "kernel")
    words = [f"{process['name']} ({whose})" if process else "the kernel" if one.get("kernel") else "a program"]
    words.append(f"on {one['vm']}")
    if one.get("qpn"):
        words.append(f"queue pair {one['qpn']}")
    if "index" in one:
        words.append(f"{one['queue']} queue, entry {one['index']}")
    return ", ".join(words)


def text(findings):
    """A report for people: grouped, worst first."""
    if not findings:
        return "check: nothing found\n"
    count = {kind: sum(one["severity"] == kind for one in findings) for kind in ORDER}
    told = [f"{number} {ADVICE[number != 1] if kind == 'advice' else kind + 's' * (number != 1)}"
            for kind, number in count.items() if number]
    lines = [f"check: {', '.join(told)}"]
    for one in findings:
        times = "once" if one["count"] == 1 else f"{one['count']} times"
        lines += ["", f"{one['severity'].upper()} {one['id']}, {times}: {location(one)}",
                  f"    {one['sentence']}.", f"    {one['advice']}"]
    return "\n".join(lines) + "\n"
