# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs commands in a guest through the agent's virtio-serial port."""

import itertools
import json
import re
import select
import signal
import sys
import threading
import time

from .common import GUEST_FILES, LabError, LabTimeout
from .qmp import connect_unix

sys.path.insert(0, GUEST_FILES)
import frames  # noqa: E402  (shared with the guest, found through the line above)


class GuestGone(LabError):
    """The guest ended while something was going on in it."""


class CommandFailed(LabError):
    """A command in the guest ended with a code other than 0."""

    def __init__(self, result):
        self.result = result
        super().__init__(f"in the guest, '{result.command}' ended with code {result.code}\n"
                         f"{result.output}{result.errors}".rstrip())


def shell_code(code):
    """An exit code as a shell counts: 128 and the number of the signal that ended the command."""
    return code if code >= 0 else 128 - code


class Result:
    """Outcome of a finished command: code, output, errors (both text), seconds."""

    def __init__(self, command, code, output, errors, seconds):
        self.command, self.code = command, code
        self.output, self.errors, self.seconds = output, errors, seconds

    def __repr__(self):
        return f"<Result {self.code} of '{self.command}' in {self.seconds:.1f} s>"


class Job:
    """A command that runs in the guest.

    code is None until it ended; negative values are signal numbers.  output and
    errors give what has arrived so far.
    """

    def __init__(self, channel, number, command, on_output=None, on_end=None, keep=True):
        self.channel, self.number, self.command = channel, number, command
        self.on_output, self.on_end, self.keep = on_output, on_end, keep
        self.code = None
        self.problem = None
        self.begin = time.monotonic()
        self.seconds = None
        self._data = {"O": bytearray(), "E": bytearray()}
        self._changed = threading.Condition()

    @property
    def output(self):
        return bytes(self._data["O"]).decode("utf-8", "replace")

    @property
    def errors(self):
        return bytes(self._data["E"]).decode("utf-8", "replace")

    @property
    def text(self):
        return self.output + self.errors

    def _receive(self, kind, payload):
        with self._changed:
            if kind == "X":
                body = json.loads(payload)
                self.seconds = time.monotonic() - self.begin
                self.problem = body.get("error")
                self.code = body.get("code", 127)
            elif self.keep:
                self._data[kind] += payload
            self._changed.notify_all()
        if kind == "X":
            self._ended()
        elif self.on_output:
            self.on_output(kind, payload)

    def _lost(self, reason):
        with self._changed:
            if self.code is None:
                self.problem = reason
                self.code = 255
            self._changed.notify_all()
        self._ended()

    def _ended(self):
        if self.on_end:
            self.on_end(self)

    def wait(self, timeout=60, check=False):
        """Wait for the end; returns a Result.

        Raises LabTimeout (the command is killed), GuestGone when the guest died, and
        CommandFailed when check is set and the code is not 0.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            # Short waits keep the main thread open for Ctrl-C.
            while self.code is None and time.monotonic() < deadline:
                self._changed.wait(min(1.0, max(0.01, deadline - time.monotonic())))
        if self.code is None:
            self.kill()
            with self._changed:
                self._changed.wait_for(lambda: self.code is not None, timeout=5)
            raise LabTimeout(f"in the guest, '{self.command}' did not end within {timeout} s"
                             f"{' and could not be killed' if self.code is None else ''}\n"
                             f"{self.text}".rstrip())
        if self.problem and self.seconds is None:
            raise GuestGone(f"{self.problem} while '{self.command}' was running\n{self.text}".rstrip())
        errors = self.errors + (f"{self.problem}\n" if self.problem else "")
        result = Result(self.command, self.code, self.output, errors, self.seconds)
        if check and self.code:
            raise CommandFailed(result)
        return result

    def wait_output(self, pattern, timeout=30):
        """Wait until output or errors match a compiled or plain regular expression."""
        deadline = time.monotonic() + timeout
        while True:
            match = re.search(pattern, self.text)
            if match:
                return match
            if self.code is not None:
                raise LabError(f"in the guest, '{self.command}' ended with code {self.code} without "
                               f"printing '{pattern}'\n{self.text}".rstrip())
            if time.monotonic() > deadline:
                raise LabTimeout(f"in the guest, '{self.command}' did not print '{pattern}' within "
                                 f"{timeout} s\n{self.text}".rstrip())
            with self._changed:
                self._changed.wait(0.2)

    def poll(self):
        return self.code

    def send(self, data):
        """Give bytes or text to the command's standard input."""
        if isinstance(data, str):
            data = data.encode()
        for start in range(0, len(data), 65536):
            self.channel.send(b"I", self.number, data[start:start + 65536])

    def close_input(self):
        self.channel.send(b"I", self.number, b"")

    def resize(self, rows, columns):
        self.channel.send(b"W", self.number, {"rows": rows, "columns": columns})

    def kill(self, number=signal.SIGKILL):
        """Send a signal to the command and its process group."""
        if self.code is None:
            self.channel.send(b"K", self.number, {"signal": int(number)})


class Channel:
    """Connection to the agent of one guest."""

    def __init__(self, path, alive=lambda: True):
        self.path, self.alive = path, alive
        self.sock = None
        self.jobs = {}
        self.numbers = itertools.count(1)
        self.lock = threading.Lock()
        self.hello = threading.Event()

    def connect(self, timeout):
        """Connect and wait until the agent answers."""
        deadline = time.monotonic() + timeout
        self.sock = connect_unix(self.path, min(timeout, 20))
        threading.Thread(target=self._read, daemon=True, name="guest-channel").start()
        while not self.hello.wait(0.25):
            if not self.alive():
                raise GuestGone("QEMU ended during boot")
            if time.monotonic() > deadline:
                raise LabTimeout(f"no answer from the guest's agent within {timeout} s")
            # A guest that hangs reads nothing, and one that takes long to boot nothing yet.
            if select.select([], [self.sock], [], 0)[1]:
                self.send(b"P", 0, {})

    def _read(self):
        splitter = frames.Splitter()
        try:
            while True:
                data = self.sock.recv(1 << 18)
                if not data:
                    break
                for kind, number, payload in splitter.feed(data):
                    kind = kind.decode()
                    if kind == "H":
                        self.hello.set()
                    job = self.jobs.get(number)
                    if job:
                        if kind == "X":
                            self.jobs.pop(number, None)
                        job._receive(kind, payload)
        except (OSError, ValueError):
            pass
        finally:
            for job in list(self.jobs.values()):
                job._lost("the guest has gone")
            self.jobs.clear()

    def send(self, kind, number, body):
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        with self.lock:
            try:
                self.sock.sendall(frames.pack(kind, number, payload))
            except (OSError, AttributeError) as error:
                raise GuestGone(f"the guest has gone: {error}") from None

    def start(self, command, cwd=None, env=None, pty=False, stdin=False, **keywords):
        """Start a command: a list is executed as it is, a string by the shell.

        Keywords are Job's: on_output(kind, bytes) and on_end(job) are called as things happen, from the thread that reads;
        keep=False keeps no output.
        """
        order = {"cwd": cwd, "env": env, "pty": pty}
        if isinstance(command, str):
            order["shell"], shown = command, command
        else:
            order["argv"], shown = [str(part) for part in command], " ".join(map(str, command))
        number = next(self.numbers)
        job = Job(self, number, shown, **keywords)
        self.jobs[number] = job
        self.send(b"R", number, order)
        if not stdin and not pty:
            job.close_input()
        return job

    def close(self):
        if self.sock:
            try:
                self.sock.shutdown(2)
            except OSError:
                pass
            self.sock.close()
            self.sock = None
