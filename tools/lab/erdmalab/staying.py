# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that stay: ./lab up boots them in a process of its own, which holds them until ./lab stop.

That process has a directory among the runs with guests.json, which says what is there, and holder.lock, which it holds
locked as long as it lives.  Each guest's directory has exec.sock (relay.Relay).
"""

import contextlib
import glob
import json
import os
import signal
import sys
import time

from . import table
from .channel import Channel
from .common import HOLDER, LAB, LabError, LabTimeout, alone, held, say
from .relay import Relay
from .vm import Vm, slowness
from .watch import GuestTrouble, LogWatch

STATE, TROUBLE, LOG = "guests.json", "trouble.txt", "holder.log"
SOCKET = "exec.sock"


class Running(Vm):
    """A guest that another process holds, as far as commands and its kernel log are concerned."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        self.console = os.path.join(directory, "console.log")
        self.watch = LogWatch(self.console)
        with contextlib.suppress(FileNotFoundError):
            self.watch.offset = os.path.getsize(self.console)
        self.allowed, self._marks = [], os.getpid()
        shared = os.path.join(directory, SOCKET)
        self.channel = Channel(shared if os.path.exists(shared) else os.path.join(directory, "shell.sock"))
        self.channel.connect(20)

    def alive(self):
        return self.channel.sock is not None

    @property
    def slow(self):
        """As slow as a guest can be: it may have been found by its socket alone."""
        return slowness(True)


def groups():
    """What guests.json of every group that runs says, the newest first, with its "directory"."""
    found = []
    for path in glob.glob(os.path.join(LAB, "[0-9]*-up*", STATE)):
        directory = os.path.dirname(path)
        if held(os.path.join(directory, HOLDER)):
            with open(path, encoding="utf-8") as text:
                found.append({**json.load(text), "directory": directory})
    return sorted(found, key=lambda group: group["since"], reverse=True)


def group_of(name):
    """The newest group with a guest of that name."""
    for group in groups():
        if name in group["guests"]:
            return group
    names = sorted({guest for group in groups() for guest in group["guests"]})
    raise LabError(f"no guest '{name}' stays (there: {', '.join(names) or 'none'}); ./lab up boots one")


def up(boot, run):
    """Boot in a process that stays; returns when the guests are ready, or raises what kept them from it.

    boot: gives a started network.Group; run: the group's directory.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
        try:
            os.setsid()
            code = hold(boot, run, writer)
        finally:
            os._exit(code)  # whatever happens, this process does not go on with what its parent does
    os.close(writer)
    try:
        with os.fdopen(reader, encoding="utf-8") as said:
            answer = said.read()
    except BaseException:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    if answer != "ready":
        os.waitpid(child, 0)
        raise LabError(answer or f"the process that holds the guests ended; see {os.path.join(run, LOG)}")
    with open(os.path.join(run, STATE), encoding="utf-8") as text:
        return json.load(text)


def hold(boot, run, writer):
    """The process that stays; returns its exit code."""
    code, group, relays = 1, None, []
    with alone(os.path.join(run, HOLDER)):
        try:
            group = boot()
            relays = [Relay(machine.channel, os.path.join(machine.directory, SOCKET)) for machine in group]
            describe(group, run)
            os.write(writer, b"ready")
            os.close(writer)
            writer = None
            leave_terminal(os.path.join(run, LOG))
            while any(machine.alive() for machine in group):
                time.sleep(0.5)
            code = 0
        except SystemExit:
            code = 0
        except BaseException as error:
            if writer is None:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            else:
                os.write(writer, (str(error) or type(error).__name__).encode())
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for relay in relays:
                relay.close()
            if group:
                end(group, run)
    return code


def end(group, run):
    """Stop a group; what its kernels complained of is left in a file."""
    try:
        group.check_logs()
    except (GuestTrouble, LabError) as trouble:
        with open(os.path.join(run, TROUBLE), "w", encoding="utf-8") as out:
            out.write(str(trouble))
    group.stop()


def describe(group, run):
    state = {"pid": os.getpid(), "since": time.time(), "environment": group.environment(), "guests": {
        machine.name: {"address": machine.address, "kernel": machine.kernel.version, "directory": machine.directory}
        for machine in group}}
    part = os.path.join(run, STATE + ".part")
    with open(part, "w", encoding="utf-8") as out:
        json.dump(state, out, indent=1)
    os.replace(part, os.path.join(run, STATE))


def leave_terminal(log):
    """From now on what this process says goes to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with open(os.devnull, "rb") as nothing, open(log, "ab") as sink:
        os.dup2(nothing.fileno(), 0)
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)


def show():
    """Print what stays."""
    rows = [(name, guest["address"], guest["kernel"], time.strftime("%H:%M:%S", time.localtime(group["since"])),
             os.path.relpath(guest["directory"])) for group in groups() for name, guest in group["guests"].items()]
    print(table.render(("guest", "address", "kernel", "since", "logs"), rows) if rows else "no guest stays")
    return 0


def stop(name=None):
    """End the group with that guest, or all; raises GuestTrouble when a kernel complained."""
    ending = [group_of(name)] if name else groups()
    for group in ending:
        # Its lock is held, so that this is the process and no other one's number.
        os.kill(group["pid"], signal.SIGTERM)
    troubles = []
    for group in ending:
        deadline = time.monotonic() + 60
        while held(os.path.join(group["directory"], HOLDER)):
            if time.monotonic() > deadline:
                raise LabTimeout(f"the guests in {group['directory']} do not end")
            time.sleep(0.1)
        with contextlib.suppress(FileNotFoundError), \
                open(os.path.join(group["directory"], TROUBLE), encoding="utf-8") as text:
            troubles.append(text.read())
        say(f"stopped: {', '.join(group['guests'])}")
    if troubles:
        raise GuestTrouble("\n".join(troubles))
    return 0
