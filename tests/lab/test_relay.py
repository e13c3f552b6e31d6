# SPDX-License-Identifier: GPL-2.0-or-later
"""Several processes share a guest's channel: each has its own commands, and none holds up the others."""

import json
import os
import socket
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab import relay  # noqa: E402  (found through the line above)
from erdmalab.channel import Channel, frames  # noqa: E402


class Agent(threading.Thread):
    """Answers as a guest's agent does: "echo" gives back its input, "flood" a megabyte, "exit N" ends."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        self.killed = []
        self.start()

    def run(self):
        self.sock = self.listener.accept()[0]
        splitter, echoing = frames.Splitter(), set()
        while data := self.sock.recv(65536):
            for kind, number, payload in splitter.feed(data):
                if kind == b"P":
                    self.give(b"H", 0, b"{}")
                elif kind == b"R":
                    words = json.loads(payload)["argv"]
                    if words[0] == "echo":
                        echoing.add(number)
                    elif words[0] == "flood":
                        for _ in range(16):
                            self.give(b"O", number, b"x" * 65536)
                    elif words[0] == "exit":
                        self.give(b"X", number, json.dumps({"code": int(words[1])}).encode())
                elif kind == b"I" and number in echoing:
                    self.give(b"O", number, payload) if payload else self.give(b"X", number, b'{"code": 0}')
                elif kind == b"K":
                    self.killed.append(number)
                    self.give(b"X", number, b'{"code": -9}')

    def give(self, *frame):
        self.sock.sendall(frames.pack(*frame))


class Shared(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.agent = Agent(os.path.join(self.folder, "agent"))
        self.guest = Channel(os.path.join(self.folder, "agent"))
        self.guest.connect(10)
        self.relay = relay.Relay(self.guest, os.path.join(self.folder, "exec.sock"))
        self.addCleanup(self.relay.close)

    def client(self):
        channel = Channel(os.path.join(self.folder, "exec.sock"))
        channel.connect(10)
        self.addCleanup(channel.close)
        return channel

    def until(self, condition):
        deadline = time.monotonic() + 10
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_codes_and_input(self):
        one, two = self.client(), self.client()
        echo = one.start(["echo"], stdin=True)
        self.assertEqual(two.start(["exit", 7]).wait(10).code, 7)
        echo.send("to and fro")
        echo.close_input()
        self.assertEqual(echo.wait(10).output, "to and fro")

    def test_commands_end_with_their_client(self):
        one, two = self.client(), self.client()
        one.start(["echo"], stdin=True)
        kept = two.start(["echo"], stdin=True)
        self.until(lambda: len(self.guest.jobs) == 2)
        one.close()
        self.until(lambda: len(self.agent.killed) == 1 and len(self.guest.jobs) == 1)
        kept.close_input()
        self.assertEqual(kept.wait(10).code, 0)

    def test_who_does_not_read_is_dropped(self):
        with mock.patch.object(relay, "PATIENCE", 0.1), mock.patch.object(relay, "BACKLOG", 2):
            deaf = socket.socket(socket.AF_UNIX)
            self.addCleanup(deaf.close)
            deaf.connect(os.path.join(self.folder, "exec.sock"))
            deaf.sendall(frames.pack(b"R", 1, b'{"argv": ["flood"]}'))
            self.assertEqual(self.client().start(["exit", 3]).wait(10).code, 3)
            self.until(lambda: self.agent.killed)

    def test_nonsense_ends_its_client_only(self):
        for data in (frames.pack(b"R", 1, b"no json"), frames.pack(b"R", 1, b"{}"), b"O\0\0\0\0\xff\xff\xff\xff",
                     frames.pack(b"K", 9, b"{}")):
            with socket.socket(socket.AF_UNIX) as bad:
                bad.connect(os.path.join(self.folder, "exec.sock"))
                bad.sendall(data)
        self.assertEqual(self.client().start(["exit", 5]).wait(10).code, 5)

    def test_closed(self):
        self.relay.close()
        self.assertEqual(os.listdir(self.folder), ["agent"])


if __name__ == "__main__":
    unittest.main()
