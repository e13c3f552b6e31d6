# SPDX-License-Identifier: GPL-2.0-or-later
"""What Wireshark makes of a capture of the network between two guests (wire.md appendix B)."""

import collections
import re
import subprocess

# These guess at payload and cry malformed.
DISABLED = ["rpcordma", "smb_direct", "iser"]
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
