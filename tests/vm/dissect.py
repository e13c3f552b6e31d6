# SPDX-License-Identifier: GPL-2.0-or-later
"""What Wireshark makes of a capture of the network between two guests (wire.md and roce.md, appendix B)."""

import binascii
import collections
import re
import struct
import subprocess

# These guess at payload and cry malformed; the last takes a port's connections before anybody may look at them.
DISABLED = ["rpcordma", "smb_direct", "iser", "nvme-tcp"]
OPCODES = {0: "Write", 1: "Read Request", 2: "Read Response", 3: "Send", 4: "Send Inv", 5: "Send SE", 6: "Send SE Inv",
           7: "Terminate", 8: "Immediate", 9: "Immediate SE", 10: "Atomic Request", 11: "Atomic Response",
           12: "Send Imm", 13: "Send SE Imm"}
FIELDS = ["frame.number", "frame.protocols", "tcp.len", "tcp.analysis.flags", "iwarp_rdma.opcode", "_ws.malformed",
          "iwarp_mpa.key.req", "iwarp_mpa.key.rep"]
COMPLAINT = re.compile(r"Malformed|Unreassembled|Bad CRC|Status: Bad", re.IGNORECASE)


def tshark(path, *arguments):
    result = subprocess.run(["tshark", "-r", path, "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE",
                             *(word for name in DISABLED for word in ("--disable-protocol", name)), *arguments],
                            timeout=280, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            stdin=subprocess.DEVNULL, check=True)
    return result.stdout


def iwarp(path):
    """Checks that every payload of the RDMA connections in the capture is iWARP in good order.

    Returns how often each operation occurs.  Segments that TCP sent again are left out: the dissector looks at
    octets once.
    """
    found = collections.Counter()
    strangers, handshakes = [], 0
    output = tshark(path, "-Y", "tcp.len > 0", "-T", "fields", *(word for name in FIELDS for word in ("-e", name)))
    for line in output.splitlines():
        number, protocols, _, again, opcodes, malformed, request, reply = line.split("\t")
        handshakes += bool(request or reply)
        if malformed or not again and "iwarp_mpa" not in protocols:
            strangers.append((number, protocols, malformed))
        for opcode in filter(None, opcodes.split(",")):
            found[OPCODES.get(int(opcode, 0), "unknown operation")] += 1
    assert handshakes >= 2, "no MPA handshake in the capture"
    assert not strangers, f"{len(strangers)} payloads are not iWARP, the first: {strangers[:5]}"
    assert "unknown operation" not in found, found
    complaints = [line.strip() for line in tshark(path, "-V").splitlines() if COMPLAINT.search(line)]
    assert not complaints, f"{len(complaints)} complaints of tshark, the first: {complaints[:5]}"
    return found


def frames(path):
    """The frames of a capture file of QEMU's."""
    with open(path, "rb") as file:
        order = "<" if file.read(24)[0] in (0xd4, 0x4d) else ">"
        while len(header := file.read(16)) == 16:
            yield file.read(struct.unpack(order + "4I", header)[2])


def icrc_is_right(packet):
    """Of an IP packet with RoCEv2: the CRC over what routers leave alone (roce.md 2.10), and pad octets that are 0."""
    ipv6 = packet[0] >> 4 == 6
    udp = 40 if ipv6 else 20
    masked = bytearray(packet[:-4])
    for at in (*((0, 1, 2, 3, 7) if ipv6 else (1, 8, 10, 11)), udp + 6, udp + 7, udp + 12):
        masked[at] = 0xff
    if ipv6:
        masked[0] = 0x6f
    pad = packet[udp + 9] >> 4 & 3
    return packet[-4:] == struct.pack("<I", binascii.crc32(b"\xff" * 8 + masked)) and not any(packet[-4 - pad:-4])


def rocev2(path):
    """Checks that every packet to RoCEv2's port has the right CRC and pleases tshark; returns how often each opcode occurs."""
    found, wrong = collections.Counter(), []
    for number, frame in enumerate(frames(path), 1):
        kind, packet = frame[12:14], frame[14:]
        if kind == b"\x08\x00" and packet[9] == 17:
            packet, udp = packet[:int.from_bytes(packet[2:4], "big")], 20
        elif kind == b"\x86\xdd" and packet[6] == 17:
            packet, udp = packet[:40 + int.from_bytes(packet[4:6], "big")], 40
        else:
            continue
        if packet[udp + 2:udp + 4] != b"\x12\xb7":
            continue
        found[packet[udp + 8]] += 1
        if not icrc_is_right(packet):
            wrong.append(number)
    assert not wrong, f"{len(wrong)} of {found.total()} packets have a wrong CRC, the first: {wrong[:5]}"
    # Its heuristic takes short sends for RPC (appendix B).
    malformed = tshark(path, "--disable-heuristic", "rpcrdma_infiniband", "-Y", "_ws.malformed && infiniband",
                       "-T", "fields", "-e", "frame.number").split()
    assert not malformed, f"malformed to tshark, the first: {malformed[:5]}"
    return found
