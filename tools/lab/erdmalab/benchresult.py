# SPDX-License-Identifier: GPL-2.0-or-later
"""What a benchmark measured: as a file, as tables, and beside an older one."""

import json
import math
import statistics

from . import table
from .common import LabError

VERSION = 1
PEERS = ("erdma", "siw", "rdma_rxe", "tcp")
# What the project wants to reach: measure, compared with, factor, and whether that is a least or a most.
TARGETS = (("write 64 KiB, 1 QP", "rdma_rxe", 20, "least"), ("read 64 KiB, 1 QP", "rdma_rxe", 20, "least"),
           ("write 64 KiB, 1 QP", "tcp", 8, "least"), ("read 64 KiB, 1 QP", "tcp", 8, "least"),
           ("write 64 B, latency", "rdma_rxe", 0.5, "most"), ("connections, QPs ready", "tcp", 0.5, "least"),
           ("NVMe random read 4 KiB", "tcp", 1, "least"), ("NVMe read 128 KiB", "tcp", 1, "least"),
           ("NVMe write 128 KiB", "tcp", 1, "least"))
# What RoCEv2 wants to reach, in another way than that: rdma_rxe is the only other one that speaks it.
ROCE_TARGETS = (("write 64 KiB, 1 QP", "rdma_rxe", 40, "least"), ("read 64 KiB, 1 QP", "rdma_rxe", 40, "least"),
                ("write 64 B, latency", "rdma_rxe", 0.3, "most"))
# Of these less is better.
TIMES = ("µs", "ms", "s")
# What one value may be off, as a factor, where too few were measured to know: a shared machine's speed varies so much.
USUAL_SPREAD = 1.25


class Results:
    """values[measure][peer]: one value for each time it was measured; failures[measure][peer]: why there is none."""

    def __init__(self, about=None):
        self.about, self.units, self.values, self.failures, self.stopped = dict(about or {}), {}, {}, {}, None

    def note(self, measure, unit, peer, value):
        self.units[measure] = unit
        self.values.setdefault(measure, {}).setdefault(peer, []).append(value)

    def fail(self, measure, unit, peer, reason):
        self.units[measure] = unit
        self.values.setdefault(measure, {})
        self.failures.setdefault(measure, {})[peer] = reason

    def medians(self):
        return {measure: {peer: statistics.median(values) for peer, values in peers.items()}
                for measure, peers in self.values.items()}

    def ratio(self, measure, peer):
        """The adapter's value as a multiple of another's; None where one is missing."""
        values = self.medians().get(measure, {})
        return values["erdma"] / values[peer] if values.get(peer) and "erdma" in values else None

    def wanted(self):
        """The targets of what the adapter spoke."""
        return ROCE_TARGETS if self.about.get("protocol") == "rocev2" else TARGETS

    def targets(self):
        """Measure, peer, ratio, what it should be, whether it is."""
        for measure, peer, factor, kind in self.wanted():
            value = self.ratio(measure, peer)
            if value is not None:
                yield (measure, peer, value, f"at {kind} {factor}",
                       value >= factor if kind == "least" else value <= factor)

    def json(self):
        return {"version": VERSION, **self.about, "units": self.units, "values": self.values, "median": self.medians(),
                "failures": self.failures, "stopped": self.stopped,
                "targets": [dict(zip(("measure", "peer", "ratio", "target", "met"), row)) for row in self.targets()]}

    def text(self):
        """The tables that a person reads."""
        medians = self.medians()

        def cell(measure, peer):
            if peer in self.failures.get(measure, {}):
                return self.failures[measure][peer].split(":", 1)[0].upper()
            return "-" if peer not in medians[measure] else f"{medians[measure][peer]:.4g}"

        def multiple(measure, peer):
            value = self.ratio(measure, peer)
            return "-" if value is None else f"{value:.2f}"

        rows = [(measure, self.units[measure], *(cell(measure, peer) for peer in PEERS),
                 *(multiple(measure, peer) for peer in PEERS[1:])) for measure in self.values]
        text = table.render(("measure", "unit", *PEERS, "erdma/siw", "erdma/rxe", "erdma/tcp"), rows) + "\n\n" + \
            table.render(("target", "compared with", "ratio", "should be", ""),
                         [(measure, peer, f"{value:.2f}", wish, "met" if met else "MISSED")
                          for measure, peer, value, wish, met in self.targets()])
        for measure, peers in self.failures.items():
            for peer, reason in peers.items():
                text += f"\n{measure}, {peer} {reason}"
        return text + (f"\nThe benchmark did not come to its end: {self.stopped}" if self.stopped else "")


def read(path):
    """Results from a file of `./lab bench --json`, which may be of an older lab."""
    try:
        with open(path, encoding="utf-8") as file:
            said = json.load(file)
        results = Results({key: said[key] for key in ("machine", "kernel", "rounds", "cpus", "protocol") if key in said})
        results.units, results.failures, results.stopped = said["units"], said.get("failures", {}), said.get("stopped")
        results.values = {
            measure: {peer: [float(value) for value in values] for peer, values in peers.items() if values}
            for measure, peers in said["values"].items()}
        if not set(results.values) <= set(results.units):
            raise ValueError("a measure has no unit")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LabError(f"{path} holds no results of ./lab bench: {error}") from error
    return results


def spread(values):
    """(least, most) that a value may be: what was measured, and where that is one value only, as far as is usual."""
    if len(values) > 1:
        return min(values), max(values)
    return values[0] / USUAL_SPREAD, values[0] * USUAL_SPREAD


def speed(old, new, measure, peer):
    """How many times as fast as then, None where one is missing."""
    before, now = old.medians().get(measure, {}).get(peer), new.medians().get(measure, {}).get(peer)
    if not before or not now:
        return None
    return before / now if new.units[measure] in TIMES else now / before


def machine_speed(old, new):
    """How many times as fast the machine was, by the rows of those that the project does not change: median, quartiles."""
    known = [speed(old, new, measure, peer) for measure in new.values for peer in PEERS[1:]]
    known = [math.log(value) for value in known if value]
    if len(known) < 2:
        known = (known or [0.0]) * 2
    low, middle, high = map(math.exp, statistics.quantiles(known, method="inclusive"))
    return middle, low, high


def compare(old, new):
    """
    How the adapter does beside then: (machine's speed, rows of (measure, unit, then, now, times as fast, verdict)).

    Figures of two runs are no figures of one machine: what was measured then is first brought to the machine's speed
    now, as well as that is known.  A verdict is only given where the two ranges do not meet.
    """
    (factor, slow, fast), rows = machine_speed(old, new), []
    for measure in dict.fromkeys([*old.values, *new.values]):
        unit = new.units.get(measure, old.units.get(measure))
        then, now = (side.values.get(measure, {}).get("erdma") for side in (old, new))
        if "erdma" in new.failures.get(measure, {}):
            verdict = "FAILED"
        elif not now:
            verdict = "not measured now"
        elif not then:
            verdict = "new"
        elif old.units[measure] != new.units[measure]:
            verdict = "another unit"
        else:
            less = unit in TIMES
            low, high = spread(then)
            low, high = (low / fast, high / slow) if less else (low * slow, high * fast)
            least, most = spread(now)
            better, worse = (most < low, least > high) if less else (least > high, most < low)
            verdict = "faster" if better else "SLOWER" if worse else "same"
        times = speed(old, new, measure, "erdma") if then and now and verdict != "another unit" else None
        rows.append((measure, unit, statistics.median(then) if then else None, statistics.median(now) if now else None,
                     times / factor if times else None, verdict))
    return factor, rows


def comparison_text(old, new):
    factor, rows = compare(old, new)

    def cell(value, form="{:.4g}"):
        return "-" if value is None else form.format(value)

    return (f"Against the older results: by the rows of the others this machine was {factor:.2f} times as fast as "
            "then, and the adapter's are compared after that.\n" +
            table.render(("measure", "unit", "then", "now", "times as fast", ""),
                         [(measure, unit, cell(then), cell(now), cell(times, "{:.2f}"), verdict)
                          for measure, unit, then, now, times, verdict in rows]))


def slower(old, new):
    """Is a row slower, or failed, beyond what its spread allows?"""
    return any(row[-1] in ("SLOWER", "FAILED") for row in compare(old, new)[1])
