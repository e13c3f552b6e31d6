# SPDX-License-Identifier: GPL-2.0-or-later
"""Check mode: what the adapters of guests find wrong with the programs that use them (docs/check.md)."""

import contextlib
import fnmatch
import json

from .common import LabError
from .vm import eadm_program

ORDER = ("error", "warning", "advice")
ADVICE = ("piece of advice", "pieces of advice")
# A program that lives shorter than this may stay without a name.
SAMPLE_SECONDS = 0.25


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
        self._owners, self._rest = {}, b""
        for adapter in self.adapters:
            machine.qom_set("check-delay", delay or "", adapter)
            machine.qom_set("check", "on", adapter)
        # Queue pairs are gone when the report is made: who had them is asked all the time.
        self._sampler = None
        if machine.driver_name == "erdma" and machine.run(["test", "-e", "/dev/erdma"], check=False).code == 0:
            self._sampler = machine.popen([eadm_program() or "eadm", "-w", str(SAMPLE_SECONDS), "-j", "info", "qp"],
                                          on_output=self._sampled, keep=False)

    def _sampled(self, kind, payload):
        if kind != "O":
            return
        *lines, self._rest = (self._rest + payload).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self._note(json.loads(line))

    def _note(self, told):
        for one in told["devices"] if "devices" in told else [told]:
            for pair in one["qp"]:
                self._owners[one["pci"], pair["qp"]] = pair["owner"]

    def stop(self):
        """The adapters check no more."""
        if self._sampler and self._sampler.code is None:
            with contextlib.suppress(LabError):
                self._sampler.kill()
        for adapter in self.adapters:
            with contextlib.suppress(LabError, OSError):
                self.machine.qom_set("check", "off", adapter)

    def findings(self):
        """A list of dictionaries as docs/check.schema.json has them, with "vm", "adapter", and "process" where it is known."""
        found = []
        for number, adapter in enumerate(self.adapters):
            report = json.loads(self.machine.qom_get("findings", adapter))
            pci = self.machine.pci_address(number) if report.get("findings") else None
            for one in report.get("findings", []):
                owner = self._owners.get((pci, one.get("qpn")))
                if owner:
                    one["process"] = {"name": owner["name"], "pid": owner["pid"]}
                found.append({**one, "vm": self.machine.name, "adapter": adapter, "age_ns": report["now_ns"] - one["first_ns"]})
        found = [one for one in found if not self.suppress.match(one)]
        return sorted(found, key=lambda one: (ORDER.index(one["severity"]), one["first_ns"]))

    def errors(self):
        return [one for one in self.findings() if one["severity"] == "error"]


def location(one):
    """Who and where, for people."""
    process = one.get("process")
    words = [f"{process['name']} (pid {process['pid']})" if process else "the kernel" if one.get("kernel") else "a program"]
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
