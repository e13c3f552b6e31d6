# SPDX-License-Identifier: GPL-2.0-or-later
"""A tap interface: the one kind of netdev whose frames carry a virtio-net header."""

import os
import socket
import struct
import subprocess
import time
import unittest

import qemu_host as host

ALL_PROTOCOLS = 3


class Tap:
    """The name of an interface that QEMU makes, and the host's end of it.  Skips the test without the rights."""

    def __init__(self):
        if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
            raise unittest.SkipTest("a tap interface needs root and /dev/net/tun")
        self.name = f"erdma{os.getpid()}"
        self.socket = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.socket:
            self.socket.close()

    @property
    def netdev(self):
        return f"tap,ifname={self.name},script=no,downscript=no,vnet_hdr=on"

    def up(self):
        """Once QEMU runs: frames can be sent and received."""
        with open(f"/proc/sys/net/ipv6/conf/{self.name}/disable_ipv6", "w", encoding="ascii") as quiet:
            quiet.write("1")
        subprocess.run(["ip", "link", "set", self.name, "mtu", "9000", "up"], check=True, timeout=host.LIMIT)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
        self.socket.bind((self.name, ALL_PROTOCOLS))

    def send(self, data):
        self.socket.send(data)

    def receive(self, limit=host.LIMIT):
        """The next frame that came from the guest, or None."""
        end = time.monotonic() + limit
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data, address = self.socket.recvfrom(70000)
            except socket.timeout:
                break
            if address[2] != socket.PACKET_OUTGOING:
                return data
        return None


def checksum(data):
    """RFC 1071, over an even number of octets or with a zero behind."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Segment:
    """A TCP segment in IPv4 between two private addresses."""

    OFFSET = 34  # of the TCP header
    FIELD = 16  # of the checksum in it

    def __init__(self, destination, source, payload):
        addresses = bytes([192, 0, 2, 1, 192, 0, 2, 2])
        tcp = struct.pack(">HHIIBBHHH", 1000, 2000, 1, 1, 5 << 4, 0x10, 1000, 0, 0)
        self.pseudo = addresses + struct.pack(">HH", 6, len(tcp) + len(payload))
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp) + len(payload), 1, 0x4000, 64, 6, 0) + addresses
        ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
        self.link = destination + source + b"\x08\0" + ip
        self.tcp, self.payload = tcp, payload

    def _with(self, value):
        return self.link + self.tcp[:16] + struct.pack(">H", value) + self.tcp[18:] + self.payload

    def finished(self):
        return self._with(checksum(self.pseudo + self.tcp + self.payload))

    def unfinished(self):
        """As a kernel hands it to a card that computes checksums."""
        return self._with(~checksum(self.pseudo) & 0xFFFF)
