# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames between the lab and the agent in the guest.

A frame is a header (kind: 1 byte, job: 4 bytes, length: 4 bytes, big endian) and
a payload.  Jobs are numbered by the lab; 0 means the machine itself.

lab -> guest                               guest -> lab
  R  run: JSON {argv|shell, cwd, env, pty}   H  hello: JSON {version}, sent on request
  I  input bytes; empty = end of input       O  output bytes     E  error bytes
  K  kill: JSON {signal}                     X  exit: JSON {code} or {error}
  W  window size: JSON {rows, columns}
  P  hello, please
"""

import struct

HEADER = struct.Struct(">cII")
LIMIT = 1 << 20


def pack(kind, job, payload=b""):
    return HEADER.pack(kind, job, len(payload)) + payload


class Splitter:
    """Cuts a byte stream into frames."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        """Add bytes; yields (kind, job, payload) for each complete frame."""
        self.buffer += data
        while len(self.buffer) >= HEADER.size:
            kind, job, length = HEADER.unpack_from(self.buffer)
            if length > LIMIT:
                raise ValueError(f"frame of {length} bytes")
            if len(self.buffer) < HEADER.size + length:
                return
            payload = bytes(self.buffer[HEADER.size:HEADER.size + length])
            del self.buffer[:HEADER.size + length]
            yield kind, job, payload
