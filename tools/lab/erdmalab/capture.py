# SPDX-License-Identifier: GPL-2.0-or-later
"""What a capture of a guest's network says of its TCP connections: what was sent again, when, and where nothing was sent.

Reads the pcap files that QEMU's filter-dump writes; connections are numbered from 1 by their first packet.
"""

import struct

from .common import LabError

HEADER, RECORD = 24, 16
HALF = 1 << 31
SYN, FIN = 0x02, 0x01


def frames(path, begin=0):
    """(seconds, frame) of each frame behind that offset of the file; one that is still being written is left out."""
    with open(path, "rb") as file:
        data = file.read()
    if len(data) < HEADER or struct.unpack_from("<I", data)[0] != 0xA1B2C3D4:
        raise LabError(f"{path} is not a capture file")
    at = max(begin, HEADER)
    while at + RECORD <= len(data):
        seconds, fraction, length, _ = struct.unpack_from("<IIII", data, at)
        at += RECORD
        if at + length > len(data):
            return
        yield seconds + fraction / 1e6, data[at:at + length]
        at += length


class Segment:
    """A TCP segment over IPv4; times in seconds, `key` is the connection's, the same in both directions."""

    def __init__(self, time, source, destination, sequence, flags, length):
        self.time, self.source, self.destination = time, source, destination
        self.sequence, self.flags, self.length = sequence, flags, length
        self.key = tuple(sorted((source, destination)))
        self.again = None  # seconds since its bytes were sent last, if they were

    @property
    def sender(self):
        return ".".join(map(str, self.source[0]))


def segment(time, frame):
    """The Segment in a frame, or None."""
    at = 12
    while frame[at:at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    if frame[at:at + 2] != b"\x08\x00" or len(frame) < at + 22:
        return None
    ip = at + 2
    total = struct.unpack_from(">H", frame, ip + 2)[0]
    tcp = ip + (frame[ip] & 15) * 4
    if frame[ip + 9] != 6 or struct.unpack_from(">H", frame, ip + 6)[0] & 0x1FFF or len(frame) < tcp + 20:
        return None
    source, destination, sequence = struct.unpack_from(">HHI", frame, tcp)
    # A frame of the guest's own TCP may be longer than the field for it can say.
    length = (total or len(frame) - ip) - (tcp - ip) - (frame[tcp + 12] >> 4) * 4
    return Segment(time, (tuple(frame[ip + 12:ip + 16]), source), (tuple(frame[ip + 16:ip + 20]), destination),
                   sequence, frame[tcp + 13], max(0, length))


class Sender:
    """One direction of a connection."""

    def __init__(self):
        self.next = None
        self.sent = {}  # sequence: when the segment that begins there was sent last

    def take(self, one):
        if self.next is None or one.flags & SYN:
            self.next, self.sent = one.sequence, {}
        end = (one.sequence + one.length) % (1 << 32)
        if (one.sequence - self.next) % (1 << 32) >= HALF:
            # A segment that was cut anew begins inside of an old one; the closest beginning before it is that one's.
            before = [start for start in self.sent if (one.sequence - start) % (1 << 32) < HALF]
            if before:
                one.again = one.time - self.sent[min(before, key=lambda start: (one.sequence - start) % (1 << 32))]
        self.sent[one.sequence] = one.time
        if (end - self.next) % (1 << 32) < HALF:
            self.next = end
        # Nobody repeats what is that far back.
        while len(self.sent) > 4096:
            self.sent.pop(next(iter(self.sent)))


def segments(path, begin=0):
    """[(number of the connection, Segment)] of all that carry data; .again is set where one was sent before."""
    numbers, senders, found = {}, {}, []
    for time, frame in frames(path, begin):
        one = segment(time, frame)
        if one is None:
            continue
        # The same ports again are another connection.
        if one.key not in numbers or one.flags & SYN and senders[one.key].get(one.source, Sender()).sent:
            numbers[one.key] = len(set(numbers.values()) | {number for number, _ in found}) + 1
            senders[one.key] = {}
        if one.length:
            senders[one.key].setdefault(one.source, Sender()).take(one)
            found.append((numbers[one.key], one))
    return found


def silence(found):
    """The longest time in seconds between two data packets of one connection and direction, one after the other."""
    last, longest = {}, 0.0
    for number, one in found:
        before = last.get((number, one.source))
        if before is not None:
            longest = max(longest, one.time - before)
        last[number, one.source] = one.time
    return longest
