# SPDX-License-Identifier: GPL-2.0-or-later
"""What captures say of retransmissions and silence, in files made here."""

import os
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab import capture  # noqa: E402  (found through the line above)
from erdmalab.common import LabError  # noqa: E402

ONE, OTHER = (b"\x0a\x4d\x00\x01", 7174), (b"\x0a\x4d\x00\x02", 40000)
DATA, SYN = 0x18, 0x02


def frame(source, destination, sequence, length, flags=DATA, tag=b"", padding=b""):
    tcp = struct.pack(">HHIIBBHHH", source[1], destination[1], sequence % (1 << 32), 0, 0x50, flags, 0xFFFF, 0, 0)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + length, 0, 0, 64, 6, 0, source[0], destination[0])
    return bytes(12) + tag + b"\x08\x00" + ip + tcp + b"x" * length + padding


class Captures(unittest.TestCase):
    def setUp(self):
        handle, self.path = tempfile.mkstemp()
        os.close(handle)
        self.addCleanup(os.unlink, self.path)
        self.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1), "wb")

    def write(self, data, mode="ab"):
        with open(self.path, mode) as file:
            file.write(data)

    def put(self, milliseconds, *arguments, **keywords):
        data = frame(*arguments, **keywords)
        self.write(struct.pack("<IIII", 1000 + milliseconds // 1000, milliseconds % 1000 * 1000, len(data), len(data)) + data)

    def again(self, **keywords):
        """(connection, sequence, milliseconds since it was sent before) of what was sent again."""
        return [(number, one.sequence, round(one.again * 1000)) for number, one in capture.segments(self.path, **keywords)
                if one.again is not None]

    def test_sent_again(self):
        for at, sequence in ((0, 1000), (10, 1100), (20, 1200), (220, 1100), (230, 1300), (620, 1100)):
            self.put(at, ONE, OTHER, sequence, 100)
        self.assertEqual(self.again(), [(1, 1100, 210), (1, 1100, 400)])

    def test_cut_anew(self):
        """A segment that is sent again in two parts: the second began inside of what was sent."""
        for at, sequence, length in ((0, 1000, 100), (50, 1000, 40), (51, 1040, 60)):
            self.put(at, ONE, OTHER, sequence, length)
        self.assertEqual(self.again(), [(1, 1000, 50), (1, 1040, 1)])

    def test_a_gap_is_no_retransmission(self):
        """A packet that was lost before the place of the capture is new when it comes."""
        self.put(0, ONE, OTHER, 1000, 100)
        self.put(1, ONE, OTHER, 1200, 100)
        self.put(2, ONE, OTHER, 1300, 100)
        self.assertEqual(self.again(), [])

    def test_sequence_numbers_wrap(self):
        for at, sequence in ((0, (1 << 32) - 50), (1, 50), (2, 150), (9, (1 << 32) - 50), (10, 250)):
            self.put(at, ONE, OTHER, sequence, 100)
        self.assertEqual(self.again(), [(1, (1 << 32) - 50, 9)])

    def test_connections_and_directions(self):
        third = (ONE[0], 7175)
        self.put(0, OTHER, ONE, 999, 0, flags=SYN)
        self.put(1, OTHER, ONE, 1000, 100)
        self.put(2, ONE, OTHER, 1000, 100)
        self.put(3, OTHER, third, 1000, 100)
        self.put(4, OTHER, third, 1000, 100)
        # The same ports again, with a new handshake: nothing of it was sent before.
        self.put(5, OTHER, ONE, 999, 0, flags=SYN)
        self.put(6, OTHER, ONE, 1000, 100)
        found = capture.segments(self.path)
        self.assertEqual([(number, one.sender) for number, one in found],
                         [(1, "10.77.0.2"), (1, "10.77.0.1"), (2, "10.77.0.2"), (2, "10.77.0.2"), (3, "10.77.0.2")])
        self.assertEqual(self.again(), [(2, 1000, 1)])

    def test_silence(self):
        for at, sequence in ((0, 1000), (100, 1100), (2600, 1200), (2700, 1300)):
            self.put(at, ONE, OTHER, sequence, 100)
        self.put(2000, OTHER, ONE, 1, 100)
        self.assertAlmostEqual(capture.silence(capture.segments(self.path)), 2.5)
        self.assertEqual(capture.silence([]), 0)

    def test_from_an_offset_and_an_unfinished_frame(self):
        self.put(0, ONE, OTHER, 1000, 100)
        begin = os.path.getsize(self.path)
        self.put(1, ONE, OTHER, 1000, 100, tag=b"\x81\x00\x00\x05", padding=bytes(9))
        self.put(2, ONE, OTHER, 1000, 100)
        self.assertEqual(self.again(begin=begin), [(1, 1000, 1)])
        os.truncate(self.path, os.path.getsize(self.path) - 1)
        self.assertEqual(len(capture.segments(self.path, begin)), 1)

    def test_what_is_not_tcp(self):
        self.write(struct.pack("<IIII", 1, 0, 14, 14) + bytes(14))
        self.write(struct.pack("<IIII", 1, 0, 40, 40) + bytes(12) + b"\x08\x00\x45" + bytes(25))
        self.assertEqual(capture.segments(self.path), [])
        self.write(b"no capture", "wb")
        with self.assertRaisesRegex(LabError, "is not a capture file"):
            capture.segments(self.path)


if __name__ == "__main__":
    unittest.main()
