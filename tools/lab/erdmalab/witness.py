# SPDX-License-Identifier: GPL-2.0-or-later
"""Check mode's witness: what only the process knows, told by a library that stands before libibverbs (docs/check.md)."""

import contextlib
import os

from .common import BUILD, LabError

LIBRARY = "erdma-witness.so"
FOLDER = "/run/erdma-check"
# Everybody may append: programs of all users are witnessed.
WORDS = f"{FOLDER}/words"
CLOCK = "now"
MOST_FINDINGS = 256  # of a guest, as of an adapter

# enum ibv_wc_status and ibv_event_type, which never change: they are the interface of programs.
STATUS = {1: "local length error", 2: "local QP operation error", 3: "local EE context operation error", 4: "local protection error",
          6: "memory bind error", 7: "bad response", 8: "local access error", 9: "remote invalid request", 10: "remote access error",
          11: "remote operation error", 12: "no acknowledgement came", 13: "the receiver was never ready", 14: "RDD violation",
          15: "remote invalid read request", 16: "remote abort", 17: "invalid EE context number", 18: "invalid EE context state",
          19: "fatal error", 20: "no response came", 21: "general error"}
EVENT = {0: "completion queue error", 1: "queue pair failed", 2: "invalid request on a queue pair", 3: "access violation on a queue pair",
         7: "path migration failed", 8: "device failed", 14: "shared receive queue error"}


def error_unpolled(word):
    more = f" ({word['count']} of them)" if word["count"] > 1 else ""
    return (f"a completion with an error ({STATUS.get(word['what'], 'status ' + str(word['what']))}, wr_id {word['wr_id']:#x}) of queue "
            f"pair {word['qpn']} was never polled{more}: the program does not know that the request failed")


def event_unread(word):
    about = f" ({EVENT.get(word['what'], 'type ' + str(word['what']))})" if word["what"] >= 0 else ""
    whose = f"of queue pair {word['qpn']}" if word["qpn"] else "of the device"
    return f"an asynchronous event {whose}{about} was never fetched, and no completion told of a failure"


def queue(word):
    return f"a completion queue of {word['cqe']} entries"


# ID: (severity, sentence of a word, advice)
KINDS = {
    "error-unpolled": (
        "error", error_unpolled,
        "Poll until the queue is empty before it or its queue pair is destroyed, and look at the status of each completion."),
    "event-unread": (
        "warning", event_unread,
        "Fetch events with ibv_get_async_event(), in a thread or when context->async_fd becomes readable."),
    "polled-in-vain": (
        "advice", lambda word: f"{queue(word)} was polled {word['count']} times when it was empty",
        "Sleep between messages: arm the queue, poll once more, and wait in ibv_get_cq_event()."),
    "armed-unslept": (
        "advice", lambda word: f"{queue(word)} was armed {word['count']} times, and no event of it was ever fetched",
        "Do not arm a queue that is only polled: each arming is a doorbell, and an event with its interrupt."),
    "slept-with-work": (
        "advice", lambda word: f"the program waited for an event of {queue(word)} while a completion was there that it had not polled",
        "Poll the queue until it is empty after it was armed, and only then wait: what came before tells nobody."),
}
NUMBERS = ("pid", "qpn", "cqe", "count", "first", "last", "what", "wr_id")


def library():
    """Path of the library, or None: it was not built, or only the packages are there.  Then programs run without it."""
    path = os.path.join(BUILD, "tools", "lab", "witness", LIBRARY)
    return path if os.path.exists(path) else None


def environment(path):
    """What programs get; Vm.popen() puts LD_PRELOAD and ASAN_OPTIONS behind what they have of their own."""
    # The address sanitizer wants to be the first library, for its malloc(), which the witness leaves alone.
    return {"LD_PRELOAD": path, "ERDMA_WITNESS": WORDS, "ASAN_OPTIONS": "verify_asan_link_order=0"}


def parse(text):
    """(list of words, the guest's time in ns) of what a guest's programs said."""
    words, now = [], 0
    for line in text.splitlines():
        front, separator, name = line.partition(" name=")
        kind, *fields = front.split()[:20] or [""]
        values = dict(field.partition("=")[::2] for field in fields)
        if kind == CLOCK:
            now = int(float(values["seconds"]) * 1e9)
        elif kind in KINDS and separator:
            with contextlib.suppress(KeyError, ValueError):
                words.append({"id": kind, "name": name, "pci": values["pci"], **{key: int(values[key]) for key in NUMBERS}})
    return words, now


def merged(words):
    """One word for each kind, process and queue pair, as the adapter has one finding for each."""
    found = {}
    for word in words:
        key = word["id"], word["pid"], word["name"], word["pci"], word["qpn"]
        first = found.get(key)
        if first is None:
            if len(found) < MOST_FINDINGS:
                found[key] = dict(word)
        else:
            first["count"] += word["count"]
            first["first"], first["last"] = min(first["first"], word["first"]), max(first["last"], word["last"])
    return list(found.values())


def findings(text, adapters):
    """Findings as docs/check.schema.json has them; adapters: {PCI address: (name, its time in ns)}."""
    words, now = parse(text)
    found = []
    for word in merged(words):
        severity, sentence, advice = KINDS[word["id"]]
        adapter, adapter_now = adapters.get(word["pci"], (None, now))
        age = max(0, now - word["first"])
        one = {"id": word["id"], "severity": severity, "count": max(1, word["count"]), "first_ns": max(0, adapter_now - age),
               "last_ns": max(0, adapter_now - max(0, now - word["last"])), "sentence": sentence(word), "advice": advice,
               "process": {"name": word["name"], "pid": word["pid"]}, "age_ns": age}
        if word["qpn"]:
            one["qpn"] = word["qpn"]
        if adapter:
            one["adapter"] = adapter
        found.append(one)
    return found


class Witness:
    """Programs of a guest that start from now on are witnessed."""

    def __init__(self, machine):
        self.machine, self.path = machine, library()
        if not self.path:
            return
        machine.run(["sh", "-c", 'mkdir -p "$1" && : > "$2" && chmod 755 "$1" && chmod 666 "$2"', "sh", FOLDER, WORDS])
        machine.environment = {**machine.environment, **environment(self.path)}

    def findings(self, adapters):
        if not self.path:
            return []
        clock = f"cat {WORDS} && read -r seconds rest < /proc/uptime && echo {CLOCK} seconds=$seconds"
        return findings(self.machine.run(clock).output, adapters)

    def stop(self):
        if not self.path:
            return
        self.machine.environment = {name: value for name, value in self.machine.environment.items()
                                    if name not in environment(self.path)}
        with contextlib.suppress(LabError):
            self.machine.run(["rm", "-rf", FOLDER], check=False)
