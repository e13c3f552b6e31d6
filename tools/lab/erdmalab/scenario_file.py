# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads scenario files: the one place that knows their tables and keys.  docs/scenarios.md explains them to users.

Every problem of a file is found in one go, and named by file, table, key and what is expected there.
"""

import re
import signal

from .common import LabError

try:
    import tomllib
except ImportError:  # Python before 3.11
    try:
        import tomli as tomllib
    except ImportError:
        tomllib = None

REQUIRED = object()
NAME = r"[A-Za-z][\w-]*"


class Table(dict):
    """A table that was read: its keys are attributes; `where` names it in messages."""

    def __init__(self, where, values):
        super().__init__(values)
        self.where = where

    def __getattr__(self, key):
        try:
            return self[key]
        except KeyError:
            raise AttributeError(key) from None


class Expected(ValueError):
    """A value is not what it has to be; the text says what that is."""


# ---- kinds of values: each returns the value as the lab uses it, or raises Expected ----

def text(value):
    if not isinstance(value, str) or not value.strip():
        raise Expected("a text that is not empty")
    return value


def plain_text(value):
    if not isinstance(value, str):
        raise Expected("a text")
    return value


def name(value):
    if not isinstance(value, str) or not re.fullmatch(NAME, value):
        raise Expected("a name: a letter, then letters, digits, _ and -")
    return value


def flag(value):
    if not isinstance(value, bool):
        raise Expected("true or false")
    return value


def pattern(value):
    try:
        return re.compile(value, re.MULTILINE)
    except (re.error, TypeError) as error:
        raise Expected(f"a regular expression ({error})") from None


def whole(low, high):
    def check(value):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Expected(f"a whole number from {low} to {high}")
        return value
    return check


def number(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        raise Expected("a number, 0 or more")
    return value


def one_of(*choices):
    def check(value):
        if value not in choices:
            raise Expected(f"one of {', '.join(map(str, choices))}")
        return value
    return check


def command(value):
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return value
    raise Expected("a line for the shell, or a list of words")


def values(value):
    if not isinstance(value, dict) or not all(isinstance(one, (str, int)) for one in value.values()):
        raise Expected("a table of texts, numbers, true and false")
    return value


def texts(value):
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise Expected("a table of texts")
    return value


def patterns(value):
    if not isinstance(value, list):
        raise Expected("a list of regular expressions")
    return [pattern(one).pattern for one in value]


def text_or_list(value):
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return value
    if isinstance(value, str) and value:
        return value
    raise Expected("a text, or a list of texts, one for each guest")


def exit_codes(value):
    """A function of a code, which says whether it will do, with the words for it as `text`."""
    allowed = value if isinstance(value, list) and value else [value]
    if value == "any":
        return Codes(lambda code: True, "any")
    if value == "failure":
        return Codes(lambda code: code != 0, "not 0")
    if all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= 255 for one in allowed):
        return Codes(lambda code: code in allowed, " or ".join(map(str, allowed)))
    raise Expected('a code from 0 to 255, a list of such, "any" or "failure"')


class Codes:
    """Which exit codes of a program are right; codes as a shell counts them."""

    def __init__(self, fits, words):
        self.fits, self.words = fits, words


def signal_number(value):
    number_ = getattr(signal, f"SIG{value}", None) if isinstance(value, str) else None
    if not isinstance(number_, signal.Signals):
        raise Expected("a signal without SIG, as KILL, TERM, STOP or CONT")
    return number_


# ---- tables: key -> (kind, default) ----

SECONDS = number
GUEST = ("guest", REQUIRED)
NETWORK = (whole(0, 15), 0)

GUESTS = {"count": (whole(1, 16), 2), "kernel": (text_or_list, None), "cpus": (whole(1, 64), 1),
          "memory": (whole(256, 1 << 20), None), "append": (plain_text, ""), "driver": (one_of("ours", "kernel"), "ours"),
          "load": (flag, True), "params": (plain_text, "")}
NETWORKS = {"mtu": (whole(68, 9000), 1500), "capture": (flag, True), "erdma": (flag, True),
            "kind": (one_of("auto", "cable", "vde", "isolated"), "auto"), "adapter": (values, {})}
TROUBLE = {"guest": GUEST, "network": NETWORK, "text": (text, REQUIRED)}
WHEN = {"program": ("program", None), "prints": (pattern, None), "guest": ("guest", None), "network": NETWORK,
        "counter": (name, None), "by": (whole(1, 1 << 62), None)}
TRIGGER = {"at": (SECONDS, None), "after": ("item", None), "when": (WHEN, None), "delay": (SECONDS, 0)}
PROGRAMS = {"name": (name, REQUIRED), "guest": GUEST, "run": (command, REQUIRED), "listens": (whole(1, 65535), None),
            "tcp": (flag, False), "exit": (exit_codes, exit_codes(0)), "forever": (flag, False), "env": (texts, {}),
            "directory": (text, None), **TRIGGER}
FOR = {"for": (SECONDS, None)}
EVENTS = {"name": (name, None), "do": (None, REQUIRED), **TRIGGER}
ACTIONS = {
    "link": {"guest": GUEST, "network": NETWORK, "text": (plain_text, REQUIRED), **FOR},
    "faults": {"guest": GUEST, "network": NETWORK, "text": (plain_text, REQUIRED), **FOR},
    "mtu": {"guest": GUEST, "network": NETWORK, "mtu": (whole(68, 9000), REQUIRED), **FOR},
    "nic": {"guest": GUEST, "network": NETWORK, "state": (one_of("up", "down"), REQUIRED), **FOR},
    "reset": {"guest": GUEST, "network": NETWORK},
    "unplug": {"guest": GUEST, "network": NETWORK, **FOR},
    "plug": {"guest": GUEST, "network": NETWORK},
    "kill": {"program": ("program", REQUIRED), "signal": (signal_number, signal.SIGKILL)},
    "run": {"guest": GUEST, "run": (command, REQUIRED), "exit": (exit_codes, exit_codes(0))},
}
BOUNDS = {"min": (number, None), "max": (number, None), "is": (number, None)}
PRINTS = {"prints": (pattern, None), "lacks": (pattern, None)}
PACKETS = {"guest": GUEST, "network": NETWORK, "from": ("guest", None), "connection": (whole(1, 10000), None), **BOUNDS}
CHECKS = {"check": (None, REQUIRED)}
KINDS = {
    "output": {"program": ("program", REQUIRED), **PRINTS},
    "time": {"program": ("program", REQUIRED), **BOUNDS},
    "counter": {"guest": GUEST, "network": NETWORK, "counter": (name, REQUIRED), **BOUNDS},
    "command": {"guest": GUEST, "run": (command, REQUIRED), "exit": (exit_codes, exit_codes(0)), **PRINTS},
    "log": {"guest": GUEST, **PRINTS},
    "retransmissions": PACKETS,
    "retransmission-delay": PACKETS,
    "silence": PACKETS,
}
TOP = {"title": (text, REQUIRED), "limit": (number, 120), "allow": (patterns, [])}
PARTS = ("guests", "networks", "links", "faults", "programs", "events", "checks")


class Reader:
    """Goes through a file's tables and collects what is wrong with them."""

    def __init__(self, path):
        self.path, self.problems = path, []
        self.guests, self.networks, self.programs, self.items = set(), 1, set(), set()

    def problem(self, where, key, sentence):
        self.problems.append(f"{self.path}: {where}" + (f", key {key}" if key else "") + f": {sentence}")

    def wrong(self, where, key, expected, found=REQUIRED):
        self.problem(where, key, f"expected {expected}" + ("" if found is REQUIRED else f", not {shown(found)}"))

    def table(self, where, source, fields):
        """The values of a table, defaults included; unknown keys and wrong values become problems."""
        if not isinstance(source, dict):
            self.wrong(where, "", "a table", source)
            source = {}
        for key in source:
            if key not in fields:
                self.problem(where, key, f"there is no such key; there are {', '.join(fields)}")
        return Table(where, {key: self.value(where, key, source, *field) for key, field in fields.items()})

    def value(self, where, key, source, kind, default):
        if key not in source:
            if default is REQUIRED:
                self.problem(where, key, "is missing")
            return None if default is REQUIRED else default
        found = source[key]
        if isinstance(kind, dict):
            return self.table(f"{where}, key {key}", found, kind)
        if isinstance(kind, str):
            return self.reference(where, key, kind, found)
        try:
            return kind(found) if kind else found
        except Expected as expected:
            self.wrong(where, key, str(expected), found)
            return default if default is not REQUIRED else None

    def reference(self, where, key, kind, found):
        """A name of something that the file has elsewhere."""
        known = {"guest": self.guests, "program": self.programs, "item": self.items}[kind]
        if found not in known:
            what = {"guest": "a guest", "program": "the name of a program", "item": "the name of a program or event"}[kind]
            self.wrong(where, key, f"{what}; there are {', '.join(sorted(known)) or 'none'}", found)
            return None
        return found

    def chosen(self, where, source, fields, key, choices):
        """As table(), with the further keys that the value of `key` brings."""
        chosen = source.get(key) if isinstance(source, dict) else None
        if not isinstance(chosen, str) or chosen not in choices:
            if isinstance(source, dict):
                self.wrong(where, key, f"one of {', '.join(choices)}", *([chosen] if chosen is not None else []))
            else:
                self.wrong(where, "", "a table", source)
            return None
        return self.table(where, source, {**fields, **choices[chosen]})

    def array(self, document, part):
        """(where, table) of each [[part]]."""
        found = document.get(part, [])
        if not isinstance(found, list):
            self.wrong(f"[[{part}]]", "", f"an array of tables: each begins with [[{part}]]", found)
            return []
        return [(f"[[{part}]] {number_}" + (f" ({one['name']})" if isinstance(one, dict) and isinstance(one.get("name"), str)
                                            else ""), one) for number_, one in enumerate(found, 1)]

    def names(self, document):
        """What tables may refer to, so that order in the file does not matter."""
        for part, sets in (("programs", (self.programs, self.items)), ("events", (self.items,))):
            for where, one in self.array(document, part):
                given = one.get("name") if isinstance(one, dict) else None
                if not isinstance(given, str):
                    continue
                if given in self.items:
                    self.wrong(where, "name", "a name that nothing else has", given)
                for known in sets:
                    known.add(given)

    def trigger(self, table):
        """At most one of at, after and when; a condition is whole."""
        given = [key for key in ("at", "after", "when") if table.get(key) is not None]
        if len(given) > 1:
            self.wrong(table.where, given[1], f"one of at, after and when; {given[0]} is there already")
        if table.delay and not {"after", "when"} & set(given):
            self.wrong(table.where, "delay", "after or when beside it")
        when = table.when
        if when is not None and not (when.program and when.prints or when.guest and when.counter and when.by):
            self.wrong(when.where, "", "either program and prints, or guest, counter and by")

    def bounds(self, table):
        if {"min", "max", "is"} <= set(table) and all(table[key] is None for key in ("min", "max", "is")):
            self.wrong(table.where, "", "one of min, max and is")
        if {"prints", "lacks"} <= set(table) and table.check != "command" and not table.prints and not table.lacks:
            self.wrong(table.where, "", "prints or lacks")

    def network(self, table):
        if isinstance(table.get("network"), int) and table.network >= self.networks:
            self.wrong(table.where, "network", f"a number below {self.networks}, the first network is 0", table.network)

    def read(self, document):
        unknown = [key for key in document if key not in TOP and key not in PARTS]
        for key in unknown:
            self.problem("the file", key, f"there is no such table or key; there are {', '.join([*TOP, *PARTS])}")
        top = self.table("the file", {key: one for key, one in document.items() if key in TOP}, TOP)
        guests = self.table("[guests]", document.get("guests", {}), GUESTS)
        self.guests = {f"vm{number_ + 1}" for number_ in range(guests.count)}
        if isinstance(guests.kernel, list) and len(guests.kernel) != guests.count:
            self.wrong("[guests]", "kernel", f"{guests.count} of them, one for each guest", guests.kernel)
        networks = [self.table(where, one, NETWORKS) for where, one in self.array(document, "networks")]
        self.networks = max(1, len(networks))
        self.names(document)
        programs = [self.table(where, one, PROGRAMS) for where, one in self.array(document, "programs")]
        if not programs:
            self.wrong("[[programs]]", "", "one program at least")
        events = [self.chosen(where, one, EVENTS, "do", ACTIONS) for where, one in self.array(document, "events")]
        checks = [self.chosen(where, one, CHECKS, "check", KINDS) for where, one in self.array(document, "checks")]
        trouble = {part: [self.table(where, one, TROUBLE) for where, one in self.array(document, part)]
                   for part in ("links", "faults")}
        for part, tables in trouble.items():
            places = [(one.guest, one.network) for one in tables]
            for one in [one for number_, one in enumerate(tables) if (one.guest, one.network) in places[:number_]]:
                self.problem(one.where, "", f"{one.guest} has one for this network already; one text can say it all")
        events, checks = [one for one in events if one], [one for one in checks if one]
        for one in [*programs, *events]:
            self.trigger(one)
        for one in checks:
            self.bounds(one)
        conditions = [one.when for one in [*programs, *events] if one.when]
        for one in [*events, *checks, *trouble["links"], *trouble["faults"], *conditions]:
            self.network(one)
        for one in checks:
            if one.check in ("retransmissions", "retransmission-delay", "silence") and networks and \
                    one.network < len(networks) and not networks[one.network].capture:
                self.wrong(one.where, "network", "a network with capture = true", one.network)
        return Scenario(self.path, top, guests, networks or [self.table("[[networks]]", {}, NETWORKS)], trouble["links"],
                        trouble["faults"], programs, events, checks)


class Scenario:
    """A file that is in order."""

    def __init__(self, path, top, guests, networks, links, faults, programs, events, checks):
        self.path, self.title, self.limit, self.allow = path, top.title, top.limit, top.allow
        self.guests, self.networks, self.links, self.faults = guests, networks, links, faults
        self.programs, self.events, self.checks = programs, events, checks

    @property
    def settings(self):
        """Settings of the guests as the plugin's vms() and network.Group take them, but for the kernel."""
        guests = self.guests
        return {"cpus": guests.cpus, "append": guests.append, **({"memory": guests.memory} if guests.memory else {}),
                "nets": [{"mtu": one.mtu, "erdma": one.erdma, "kind": one.kind, "options": dict(one.adapter),
                          "capture": one.capture} for one in self.networks]}


def shown(value):
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def parse(content, path):
    """The Scenario of a file's text; raises LabError that names every problem."""
    if tomllib is None:
        raise LabError("scenario files need Python 3.11, or the module tomli (package python3-tomli)")
    try:
        document = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"{path}: this is not TOML: {error}") from None
    reader = Reader(path)
    scenario = reader.read(document)
    if reader.problems:
        raise LabError("\n".join(reader.problems))
    return scenario


def load(path):
    try:
        with open(path, encoding="utf-8") as file:
            content = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{path}: cannot be read: {error}") from None
    return parse(content, path)
