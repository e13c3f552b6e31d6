# SPDX-License-Identifier: GPL-2.0-or-later
"""Shares a guest's control channel: any number of processes run commands in a guest that another one holds.

Clients speak the agent's protocol (guest/frames.py), so that channel.Channel is one.
"""

import contextlib
import json
import os
import queue
import signal
import threading

from .channel import frames
from .common import LabError
from .qmp import listen_unix

# What a client may leave unread, in pieces of up to 64 KiB, and for how many seconds, before it is dropped.
BACKLOG, PATIENCE = 256, 10


class Relay:
    """Serves one guest at a unix socket until close()."""

    def __init__(self, channel, path):
        self.channel, self.path = channel, path
        self.socket = listen_unix(path)
        threading.Thread(target=self._accept, daemon=True, name="relay").start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                Client(self.channel, self.socket.accept()[0])

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(2)
        self.socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


class Client:
    """One connection.  Its commands end with it."""

    def __init__(self, channel, sock):
        self.channel, self.sock = channel, sock
        self.jobs = {}  # by the client's number
        self.gone = False
        self.waiting = queue.Queue(BACKLOG)
        for target in (self._read, self._write):
            threading.Thread(target=target, daemon=True, name="relay-client").start()

    def _read(self):
        splitter = frames.Splitter()
        try:
            while data := self.sock.recv(1 << 18):
                for kind, number, payload in splitter.feed(data):
                    self._take(kind, number, payload)
        except (OSError, ValueError, KeyError, TypeError, LabError):
            pass  # gone, or not a client
        finally:
            self._hang_up()
            for job in list(self.jobs.values()):
                with contextlib.suppress(LabError):
                    job.kill(signal.SIGKILL)

    def _take(self, kind, number, payload):
        """A frame of the client's."""
        if kind == b"P":
            self._give(b"H", 0, json.dumps({"version": 1}).encode())
        elif kind == b"R":
            order = json.loads(payload)
            self.jobs[number] = self.channel.start(
                order["argv"] if "argv" in order else order["shell"], order.get("cwd"), order.get("env"),
                pty=bool(order.get("pty")), stdin=True, keep=False,
                on_output=lambda stream, data: self._give(stream.encode(), number, data),
                on_end=lambda job: self._end(number, job))
        elif number in self.jobs:
            self._for_job(kind, self.jobs[number], payload)

    @staticmethod
    def _for_job(kind, job, payload):
        if kind == b"I":
            if payload:
                job.send(payload)
            else:
                job.close_input()
        elif kind == b"K":
            job.kill(json.loads(payload)["signal"])
        elif kind == b"W":
            size = json.loads(payload)
            job.resize(size["rows"], size["columns"])

    def _end(self, number, job):
        self.jobs.pop(number, None)
        body = {"error": job.problem} if job.problem else {"code": job.code}
        self._give(b"X", number, json.dumps(body).encode())

    def _give(self, kind, number, payload):
        """Send a frame to the client, which must not hold up the others of this guest."""
        if self.gone:
            return
        try:
            self.waiting.put(frames.pack(kind, number, payload), timeout=PATIENCE)
        except queue.Full:
            self._hang_up()

    def _write(self):
        with contextlib.suppress(OSError):
            while data := self.waiting.get():
                self.sock.sendall(data)
        self._hang_up()
        self.sock.close()

    def _hang_up(self):
        self.gone = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(2)
        with contextlib.suppress(queue.Full):
            self.waiting.put_nowait(b"")  # ends the writer
