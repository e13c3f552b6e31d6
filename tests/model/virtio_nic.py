# SPDX-License-Identifier: GPL-2.0-or-later
"""Just enough of a driver for a virtio network card, over the qtest protocol."""

import struct
import time

import qemu_host as host

SIZE = 32  # descriptors of a queue
BUFFER = 0x11000  # octets of each buffer
HEADER = 12

FEATURES = 1 << 32  # VIRTIO_F_VERSION_1
CHECKSUM_AND_TSO = 1 << 0 | 1 << 11  # VIRTIO_NET_F_CSUM, HOST_TSO4
GUEST_CHECKSUM_AND_TSO = 1 << 1 | 1 << 7  # VIRTIO_NET_F_GUEST_CSUM, GUEST_TSO4


class VirtioNic:
    """The card in PCI slot `slot`; `number` keeps the memory of several apart."""

    def __init__(self, qemu, slot, number=0, features=FEATURES):
        self.qemu = qemu
        self.function = host.Function(qemu, slot)
        self.bar = 0xE1000000 + number * 0x100000
        self.memory = 0x1000000 + number * 0x800000
        self._find_structures()
        self._start(features)

    def _find_structures(self):
        config = self.function.config
        self.function.set_config(0x20, self.bar)  # BAR 4
        self.function.set_config(0x24, 0)
        self.function.set_config(4, 6, 2)
        self.structures = {}
        offset = config(0x34, 1)
        while offset:
            if config(offset, 1) == 9:
                kind, bar, where = config(offset + 3, 1), config(offset + 4, 1), config(offset + 8)
                if bar == 4:
                    self.structures[kind] = self.bar + where
                    if kind == 2:
                        self.multiplier = config(offset + 16)
            offset = config(offset + 1, 1)

    def _common(self, letter, offset, value=None):
        address = self.structures[1] + offset
        if value is None:
            return self.qemu.qtest(f"read{letter} {address:#x}")
        return self.qemu.qtest(f"write{letter} {address:#x} {value:#x}")

    def _start(self, features):
        for status in (0, 1, 3):
            self._common("b", 20, status)
        for half in (0, 1):
            self._common("l", 8, half)
            self._common("l", 12, features >> 32 * half & 0xFFFFFFFF)
        self._common("b", 20, 11)
        if not self._common("b", 20) & 8:
            raise RuntimeError("the card refuses the features")
        self.queues = [self._queue(number) for number in (0, 1)]
        self._common("b", 20, 15)
        for index in range(SIZE):
            self._offer_receive(index)

    def _queue(self, number):
        ring = self.memory + number * 0x10000
        queue = {"descriptors": ring, "available": ring + 0x1000, "used": ring + 0x2000, "produced": 0, "seen": 0,
                 "buffers": self.memory + 0x100000 + number * SIZE * BUFFER}
        self.qemu.zero(ring, 0x4000)
        self._common("w", 22, number)
        self._common("w", 24, SIZE)
        for offset, name in ((32, "descriptors"), (40, "available"), (48, "used")):
            self._common("q", offset, queue[name])
        queue["notify"] = self.structures[2] + self._common("w", 30) * self.multiplier
        queue["number"] = number
        self._common("w", 28, 1)
        return queue

    def _produce(self, queue, index, length, flags):
        address = queue["buffers"] + index * BUFFER
        self.qemu.write(queue["descriptors"] + 16 * index, struct.pack("<QIHH", address, length, flags, 0))
        self.qemu.write(queue["available"] + 4 + 2 * (queue["produced"] % SIZE), struct.pack("<H", index))
        queue["produced"] += 1
        self.qemu.write(queue["available"] + 2, struct.pack("<H", queue["produced"] & 0xFFFF))
        self.qemu.qtest(f"writew {queue['notify']:#x} {queue['number']}")

    def _offer_receive(self, index):
        self._produce(self.queues[0], index, BUFFER, 2)

    def _used(self, queue):
        """Index and length of the next used buffer, or None."""
        count, = struct.unpack("<H", self.qemu.read(queue["used"] + 2, 2))
        if count == queue["seen"] & 0xFFFF:
            return None
        entry = self.qemu.read(queue["used"] + 4 + 8 * (queue["seen"] % SIZE), 8)
        queue["seen"] += 1
        return struct.unpack("<II", entry)

    def _wait(self, queue, limit):
        end = time.monotonic() + limit
        while True:
            used = self._used(queue)
            if used or time.monotonic() > end:
                return used
            time.sleep(0.005)

    def send(self, frame, header=bytes(HEADER)):
        """Returns when the card has taken the frame."""
        queue = self.queues[1]
        index = queue["produced"] % SIZE
        self.qemu.write(queue["buffers"] + index * BUFFER, header + frame)
        self._produce(queue, index, len(header) + len(frame), 0)
        if not self._wait(queue, host.LIMIT):
            raise RuntimeError("the card does not send")

    def receive_raw(self, limit=host.LIMIT):
        """Header and frame, or None."""
        used = self._wait(self.queues[0], limit)
        if not used:
            return None
        index, length = used
        data = self.qemu.read(self.queues[0]["buffers"] + index * BUFFER, length)
        self._offer_receive(index)
        return data[:HEADER], data[HEADER:]

    def receive(self, limit=host.LIMIT):
        """The next frame, or None."""
        both = self.receive_raw(limit)
        return both and both[1]
