# SPDX-License-Identifier: GPL-2.0-or-later
"""The channel to a guest's agent, without a guest."""

import os
import socket
import sys
import tempfile
import threading
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab import channel  # noqa: E402  (found through the line above)
from erdmalab.common import LabTimeout  # noqa: E402
from erdmalab.guest import agent  # noqa: E402


class Connect(unittest.TestCase):
    def test_guest_that_reads_nothing(self):
        """It neither reads nor says anything, as one that hangs while it boots; the time limit holds."""
        errors = []

        def connect():
            try:
                link.connect(3)
            except LabTimeout as error:
                errors.append(str(error))

        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
            path = os.path.join(folder, "lab.sock")
            server.bind(path)
            server.listen()
            link = channel.Channel(path)
            self.addCleanup(link.close)
            # So long that a few of them fill the socket, which takes a minute of real ones.
            with mock.patch.object(channel.frames, "pack", lambda *_: bytes(50000)):
                thread = threading.Thread(target=connect, daemon=True)
                thread.start()
                thread.join(20)
            self.assertFalse(thread.is_alive(), "it hangs")
        self.assertEqual(errors, ["no answer from the guest's agent within 3 s"])


class Agent(unittest.TestCase):
    def test_program_that_ends_under_way(self):
        """One that ends after the agent asked who has output: what is in its pipe by then is waited for, and no longer."""
        job, forced = mock.Mock(), []
        machine = agent.Agent.__new__(agent.Agent)
        machine.ports, machine.lingering = [], set()
        machine.woken = lambda: machine.lingering.add(job)
        wake, stream = mock.Mock(data=None), mock.Mock(data=mock.create_autospec(agent.Stream, instance=True))
        rounds = iter([[(wake, 1)], [(stream, 1)], []])

        def select(_timeout):
            forced.append(job.finish.called)
            return next(rounds)

        machine.selector = mock.Mock(select=select)
        with self.assertRaises(StopIteration):
            machine.run()
        self.assertEqual(forced, [False, False, False, True])


if __name__ == "__main__":
    unittest.main()
