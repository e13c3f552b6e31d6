# SPDX-License-Identifier: GPL-2.0-or-later
"""Client of QEMU's machine protocol (QMP)."""

import json
import os
import socket
import threading
import time

from .common import LabError, LabTimeout


class QmpError(LabError):
    """QEMU refused a command; the text is QEMU's."""


def connect_unix(path, timeout):
    """Connect to a unix socket whose path may be longer than the 107 bytes of sockaddr_un."""
    directory = os.open(os.path.dirname(path), os.O_PATH)
    try:
        deadline = time.monotonic() + timeout
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
                return sock
            except OSError as error:
                sock.close()
                if time.monotonic() > deadline:
                    raise LabTimeout(f"cannot connect to {path}: {error}") from None
                time.sleep(0.05)
    finally:
        os.close(directory)


def listen_unix(path):
    """A listening unix socket at a path that may be as long."""
    directory = os.open(os.path.dirname(path), os.O_PATH)
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        sock.listen(16)
        return sock
    finally:
        os.close(directory)


class Qmp:
    """One connection; commands from any thread, events kept in a list."""

    def __init__(self, path, timeout=20):
        self.sock = connect_unix(path, timeout)
        self.sock.settimeout(30)
        self.stream = self.sock.makefile("rwb")
        self.lock = threading.Lock()
        self.events = []
        self._read()
        self.command("qmp_capabilities")

    def _read(self):
        try:
            line = self.stream.readline()
        except (OSError, ValueError) as error:
            raise LabError(f"QMP: {error}") from None
        if not line:
            raise LabError("QMP: QEMU has gone")
        return json.loads(line)

    def command(self, name, /, **arguments):
        """Execute one command and return its result; raises QmpError when refused."""
        request = {"execute": name}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        with self.lock:
            self.stream.write(json.dumps(request).encode() + b"\n")
            self.stream.flush()
            while True:
                reply = self._read()
                if "event" in reply:
                    self.events.append(reply)
                elif "error" in reply:
                    raise QmpError(f"{name}: {reply['error'].get('desc', reply['error'])}")
                else:
                    return reply.get("return")

    def wait_event(self, name, timeout, **data):
        """Wait for an event of that name whose data has the given values."""
        deadline = time.monotonic() + timeout
        while True:
            for event in self.events:
                body = event.get("data", {})
                if event["event"] == name and all(body.get(k) == v for k, v in data.items()):
                    self.events.remove(event)
                    return event
            if time.monotonic() > deadline:
                raise LabTimeout(f"QMP: no event {name} within {timeout} s")
            time.sleep(0.1)
            self.command("query-name")  # collects what is waiting in the socket

    def close(self):
        for item in (self.stream, self.sock):
            try:
                item.close()
            except OSError:
                pass
