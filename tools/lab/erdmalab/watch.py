# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds kernel trouble in a guest's log.

The serial console carries what the kernel prints, down to its last words.  Any
report of the kinds below fails the run, unless a test said that it expects it.
"""

import re
import threading
import time

TROUBLE = re.compile("|".join((
    r"\bWARNING: (?!.*(TSC|tsc))",
    r"\bBUG: ", r"\bBUG at ", r"\bkernel BUG\b",
    r"\bOops\b", r"\bCall Trace:", r"\bKASAN: ", r"\bUBSAN: ", r"\bKCSAN: ", r"\bKFENCE: ",
    r"\bINFO: possible ", r"trying to register non-static key", r"possible circular locking", r"possible recursive locking",
    r"possible irq lock inversion", r"inconsistent lock state", r"suspicious RCU usage",
    r"bad unlock balance", r"held lock freed", r"Invalid wait context",
    r"DEBUG_LOCKS_WARN_ON",
    r"\brcu: .*(self-detected stall|detected stalls|stall on)", r"\brcu.* kthread starved",
    r"blocked for more than \d+ seconds", r"hung_task:",
    r"soft lockup", r"hard LOCKUP", r"kmemleak: \d+ new suspected",
    r"Unable to handle", r"unable to handle", r"general protection", r"segfault at",
    r"Kernel panic", r"refcount_t: ", r"list_(add|del) corruption", r"ODEBUG: ",
    r"unregister_netdevice: waiting for", r"Out of memory: ", r"page allocation failure",
    r"irq \d+: nobody cared", r"scheduling while atomic", r"sleeping function called",
    r"double free", r"Bad page state", r"DMA-API: ", r"invalid opcode: ",
    r"traps: .* trap ",
)))

# Lines that contain a word from above and mean no harm.
HARMLESS = re.compile("|".join((
    r"Command line:", r"Kernel command line:", r"[Uu]nknown kernel command line",
    r"clocksource: ",
)))


class GuestTrouble(AssertionError):
    """The guest's kernel reported a problem; the text shows the lines."""


def find(lines, allow=()):
    """Indices of the lines that report trouble.

    allow: regular expressions; a report whose headline matches one is ignored,
    together with the trace below it (up to its end marker or 80 lines).
    """
    allowed = [re.compile(pattern) for pattern in allow]
    found = []
    skip_until = -1
    for index, line in enumerate(lines):
        if index <= skip_until:
            if "---[ end trace" in line:
                skip_until = index
            continue
        if not TROUBLE.search(line) or HARMLESS.search(line):
            continue
        near = lines[index:index + 3]
        if any(pattern.search(text) for pattern in allowed for text in near):
            skip_until = index + 80
            continue
        found.append(index)
    return found


def excerpt(lines, hits, before=5, after=25, limit=120):
    """The reported lines with their surroundings, as one text."""
    wanted = set()
    for hit in hits:
        wanted.update(range(max(0, hit - before), min(len(lines), hit + after)))
    text = []
    last = -1
    for index in sorted(wanted)[:limit]:
        if last >= 0 and index != last + 1:
            text.append("  ...")
        text.append((">>" if index in hits else "  ") + lines[index])
        last = index
    if len(wanted) > limit:
        text.append("  ... (more in the log)")
    return "\n".join(text)


class Pulse:
    """Notes when this machine itself stands still: a guest's watchdogs then bark at the wrong one."""

    TICK, LEAST = 1.0, 15.0

    def __init__(self):
        self.gaps = []  # (end on the wall clock, seconds)
        threading.Thread(target=self.beat, name="pulse", daemon=True).start()

    def beat(self):
        before = time.monotonic()
        while True:
            time.sleep(self.TICK)
            now = time.monotonic()
            if now - before > self.LEAST:
                self.gaps.append((time.time(), now - before))
            before = now

    def note(self):
        return "".join(f"\nThis machine itself stood still for {seconds:.0f} s until "
                       f"{time.strftime('%H:%M:%S', time.localtime(end))}." for end, seconds in self.gaps)


PULSE = Pulse()


class LogWatch:
    """Reads a growing console log piece by piece and looks for trouble in each."""

    def __init__(self, path):
        self.path = path
        self.offset = 0

    def take(self):
        """Complete lines that were written since the last call."""
        try:
            with open(self.path, "rb") as log:
                log.seek(self.offset)
                data = log.read()
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        self.offset += end
        return data[:end].decode("utf-8", "replace").replace("\r", "").splitlines()

    def check(self, allow=(), name="guest"):
        """Raise GuestTrouble when what was written since the last call reports a problem."""
        lines = self.take()
        hits = find(lines, allow)
        if hits:
            raise GuestTrouble(f"the kernel of {name} reported a problem "
                               f"({self.path}):\n{excerpt(lines, hits)}{PULSE.note()}")
        return lines
