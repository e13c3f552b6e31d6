#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A scripted TCP peer that speaks MPA, well or badly (docs/spec/wire.md chapter 2).

    mpa_peer.py request HOST PORT CASE    plays the initiator against a listener of the driver (rping -s)
    mpa_peer.py listen  HOST PORT CASE    plays the responder for one connect of the driver (rping -c)
    mpa_peer.py stream  HOST PORT         opens connections with CRCs, and keeps to them or not: what the adapter says
    mpa_peer.py cases request|listen      lists the cases, one a line, with what the driver must do
    mpa_peer.py sweep   HOST PORT         plays every request case in turn, checks each reaction

It prints one line of JSON with what the driver did and exits 0 if that is what the datasheet wants, else 1:
    outcome   "closed" (FIN or RST without an octet), "reject" (reply with R), "accept" (reply without R),
              "open" (neither within the time)
    reply     the reply's octets in hex, if any

"request" expects a listener that accepts when a frame is good.  Cases `truncated-N` stop behind N octets and close;
`stalled-N` stop there and wait for the driver to close (20 s).
"""
import argparse
import json
import socket
import struct
import sys
import time

REQUEST_KEY = b"MPA ID Req Frame"
REPLY_KEY = b"MPA ID Rep Frame"
MARKERS, CRC, REJECT, ENHANCED = 0x80, 0x40, 0x20, 0x10
VENDOR = 129
# Beside IRD and ORD of enhanced frames: peer-to-peer, and the frames that say "ready to receive".
P2P, RTR_SEND, RTR_WRITE, RTR_READ = 0x80000000, 0x40000000, 0x8000, 0x4000
HEAD = 20
EXTENSION = 8
TERMINATE = 28

# The driver waits 20 s for a request and 10 s for a reply.
REQUEST_TIME = 20
REPLY_TIME = 10
# A program under emulation takes its time until it connects.
CLIENT_TIME = 60


def frame(key, flags=0, revision=VENDOR, cookie=0x11, algorithm=1, data=b"", length=None):
    """One MPA frame; `length` overrides PD_Length."""
    head = key + struct.pack(">BBH", flags, revision, len(data) if length is None else length)
    extension = struct.pack(">II", cookie, algorithm) if revision == VENDOR else b""
    return head + extension + data


def enhanced(key, bits=P2P | RTR_WRITE | RTR_READ, ird=16, ord_=16, data=b"", flags=0):
    """A frame of revision 2 with IRD, ORD and RTR."""
    return frame(key, flags | ENHANCED, 2, data=struct.pack(">I", bits | ird << 16 | ord_) + data)


def in_kind(**revisions):
    """Octets of a peer that speaks these revisions, r1=... r2=..., and closes on others."""
    return lambda request: revisions.get(f"r{request[17]}", b"")


class Case:
    """What to send, how, and what the driver must do about it."""

    def __init__(self, octets, want, pieces=None, stall=False, close=False, answer=VENDOR):
        self.octets = octets    # or a function of the request's octets
        self.want = want        # outcomes that are right
        self.answer = answer    # revision that the driver must reply in
        self.pieces = pieces    # octets per segment
        self.stall = stall      # the driver's timer has to end it
        self.close = close      # half-close behind the octets


def request_cases():
    good = frame(REQUEST_KEY, data=b"mpa_peer")
    cases = {
        "good": Case(frame(REQUEST_KEY), {"accept"}),
        "private-data": Case(good, {"accept"}),
        "private-data-255": Case(frame(REQUEST_KEY, data=bytes(255)), {"accept"}),
        "octet-per-segment": Case(good, {"accept"}, pieces=1),
        "reject-bit": Case(frame(REQUEST_KEY, flags=REJECT), {"accept"}),
        "reserved-bits": Case(frame(REQUEST_KEY, flags=0x0F), {"accept"}),
        "other-algorithm": Case(frame(REQUEST_KEY, algorithm=4), {"accept"}),
        "markers": Case(frame(REQUEST_KEY, flags=MARKERS), {"reject"}),
        "crc": Case(frame(REQUEST_KEY, flags=CRC), {"accept"}),
        "markers-crc": Case(frame(REQUEST_KEY, flags=MARKERS | CRC), {"reject"}),
        "wrong-key": Case(b"X" + good[1:], {"closed"}),
        "wrong-key-last": Case(good[:15] + b"X" + good[16:], {"closed"}),
        "reply-key": Case(frame(REPLY_KEY), {"closed"}),
        "zeros": Case(bytes(64), {"closed"}),
        "private-data-256": Case(frame(REQUEST_KEY, data=bytes(256)), {"closed"}),
        "private-data-257": Case(frame(REQUEST_KEY, data=bytes(257)), {"closed"}),
        "length-65535": Case(frame(REQUEST_KEY, length=0xFFFF), {"closed"}),
        "octets-behind": Case(good + b"\0" * 24, {"closed"}),
        "half-close": Case(good, {"closed", "accept"}, close=True),
    }
    for revision in (0, 3, 128, 130, 255):
        cases[f"revision-{revision}"] = Case(frame(REQUEST_KEY, revision=revision), {"closed"})
    for revision in (1, 2):
        cases[f"revision-{revision}"] = Case(frame(REQUEST_KEY, revision=revision, data=b"hi"), {"accept"}, answer=revision)
        cases[f"revision-{revision}-crc"] = Case(frame(REQUEST_KEY, CRC, revision), {"accept"}, answer=revision)
        cases[f"revision-{revision}-256"] = Case(frame(REQUEST_KEY, revision=revision, data=bytes(256)), {"closed"})
        cases[f"revision-{revision}-513"] = Case(frame(REQUEST_KEY, revision=revision, data=bytes(513)), {"closed"})
    cases["enhanced"] = Case(enhanced(REQUEST_KEY, data=b"hi"), {"accept"}, answer=2)
    cases["enhanced-octet-per-segment"] = Case(enhanced(REQUEST_KEY), {"accept"}, pieces=1, answer=2)
    cases["enhanced-read"] = Case(enhanced(REQUEST_KEY, P2P | RTR_READ), {"accept"}, answer=2)
    cases["enhanced-send"] = Case(enhanced(REQUEST_KEY, P2P | RTR_SEND), {"accept"}, answer=2)
    cases["enhanced-no-rtr"] = Case(enhanced(REQUEST_KEY, P2P), {"accept"}, answer=2)
    cases["enhanced-client-first"] = Case(enhanced(REQUEST_KEY, 0), {"accept"}, answer=2)
    cases["enhanced-unsaid"] = Case(enhanced(REQUEST_KEY, ird=0x3FFF, ord_=0x3FFF), {"accept"}, answer=2)
    cases["enhanced-crc"] = Case(enhanced(REQUEST_KEY, flags=CRC), {"accept"}, answer=2)
    cases["enhanced-crc-markers"] = Case(enhanced(REQUEST_KEY, flags=CRC | MARKERS), {"reject"}, answer=2)
    for length in range(4):
        cases[f"enhanced-cut-{length}"] = Case(frame(REQUEST_KEY, ENHANCED, 2, data=bytes(length)), {"reject"}, answer=2)
    for cut in range(len(good)):
        cases[f"truncated-{cut}"] = Case(good[:cut], {"closed"}, close=True)
    for cut in (0, 15, 20, 27, len(good) - 1):
        cases[f"stalled-{cut}"] = Case(good[:cut], {"closed"}, stall=True)
    return cases


def reply_cases():
    """The wanted outcome is that of the driver's connect, which only its own program sees (want is a hint)."""
    good = frame(REPLY_KEY, data=b"mpa_peer")
    cases = {
        # A complete good reply brings the driver to RTS on a connection without an adapter at our end.
        "good": Case(frame(REPLY_KEY), {"established"}),
        "octet-per-segment": Case(good, {"established"}, pieces=1),
        "reject": Case(frame(REPLY_KEY, flags=REJECT), {"rejected"}),
        "reject-private-data": Case(frame(REPLY_KEY, flags=REJECT, data=b"no"), {"rejected"}),
        "reject-private-data-256": Case(frame(REPLY_KEY, flags=REJECT, data=bytes(256)), {"rejected"}),
        "markers": Case(frame(REPLY_KEY, flags=MARKERS), {"rejected"}),
        "crc": Case(frame(REPLY_KEY, flags=CRC), {"established"}),
        "wrong-key": Case(b"X" + good[1:], {"error"}),
        "request-key": Case(frame(REQUEST_KEY), {"error"}),
        "private-data-257": Case(frame(REPLY_KEY, data=bytes(257)), {"error"}),
        "length-65535": Case(frame(REPLY_KEY, length=0xFFFF), {"error"}),
        "octets-behind": Case(good + b"\0" * 24, {"error", "established"}),
        "silent": Case(b"", {"unreachable"}, stall=True),
        "close": Case(b"", {"rejected"}, close=True),
        # Answers in the revision that is tried last; and in one without what was asked for.
        "revision-1": Case(frame(REPLY_KEY, revision=1), {"established"}),
        "revision-2": Case(frame(REPLY_KEY, revision=2), {"rejected"}),
        # Standard peers, which close when they read revision 129.
        "standard": Case(in_kind(r2=enhanced(REPLY_KEY, P2P | RTR_WRITE, data=b"mpa_peer")), {"established"}),
        "standard-revision-1": Case(in_kind(r1=frame(REPLY_KEY, revision=1, data=b"mpa_peer")), {"established"}),
        "standard-unsaid": Case(in_kind(r2=enhanced(REPLY_KEY, P2P | RTR_WRITE, 0x3FFF, 0x3FFF)), {"established"}),
        "standard-reject": Case(in_kind(r2=enhanced(REPLY_KEY, 0, data=b"no", flags=REJECT)), {"rejected"}),
        "standard-reject-1": Case(in_kind(r1=frame(REPLY_KEY, REJECT, 1, data=b"no")), {"rejected"}),
        "standard-crc": Case(in_kind(r2=enhanced(REPLY_KEY, P2P | RTR_WRITE, flags=CRC)), {"established"}),
        "standard-read": Case(in_kind(r2=enhanced(REPLY_KEY, P2P | RTR_READ)), {"established"}),
        "standard-markers": Case(in_kind(r2=enhanced(REPLY_KEY, P2P | RTR_WRITE, flags=MARKERS)), {"rejected"}),
        "standard-send": Case(in_kind(r2=enhanced(REPLY_KEY, P2P | RTR_SEND)), {"error"}),
        "standard-cut": Case(in_kind(r2=frame(REPLY_KEY, ENHANCED, 2, data=b"abc")), {"error"}),
        "standard-no-rtr": Case(in_kind(r2=enhanced(REPLY_KEY, P2P)), {"error"}),
        "standard-too-many-reads": Case(in_kind(r2=enhanced(REPLY_KEY, P2P | RTR_WRITE, ord_=129)), {"error"}),
        "standard-512": Case(in_kind(r1=frame(REPLY_KEY, revision=1, data=bytes(512))), {"error"}),
    }
    for revision in (0, 3, 128, 255):
        cases[f"revision-{revision}"] = Case(frame(REPLY_KEY, revision=revision), {"error"})
    for cut in range(1, len(good)):
        cases[f"truncated-{cut}"] = Case(good[:cut], {"rejected"}, close=True)
    for cut in (15, 20, 27):
        cases[f"stalled-{cut}"] = Case(good[:cut], {"unreachable"}, stall=True)
    return cases


def send(sock, case, request=b""):
    """Sends the case's octets, which may answer a request; a driver that closed already is no error here.

    Returns whether the connection stays: a peer that knows no answer closes it.
    """
    octets = case.octets(request) if callable(case.octets) else case.octets
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        step = case.pieces or max(len(octets), 1)
        for start in range(0, len(octets), step):
            sock.sendall(octets[start:start + step])
            if case.pieces:
                time.sleep(0.002)
        if case.close:
            sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    return bool(octets) or not callable(case.octets)


def receive(sock, count):
    """Up to `count` octets, and whether the peer closed."""
    octets = b""
    while len(octets) < count:
        try:
            part = sock.recv(count - len(octets))
        except socket.timeout:
            return octets, False
        except OSError:
            return octets, True
        if not part:
            return octets, True
        octets += part
    return octets, False


def read_frame(sock, key):
    """Reads one frame: (octets, flags or None if it is not complete and right, closed)."""
    octets, closed = receive(sock, HEAD)
    if len(octets) < HEAD:
        return octets, None, closed
    flags, revision, length = struct.unpack(">BBH", octets[len(key):])
    rest, closed = receive(sock, (EXTENSION if revision == VENDOR else 0) + length)
    octets += rest
    complete = len(rest) == (EXTENSION if revision == VENDOR else 0) + length
    return octets, flags if octets.startswith(key) and complete else None, closed


def play_request(host, port, case, patience):
    with socket.create_connection((host, port), timeout=10) as sock:
        send(sock, case)
        sock.settimeout(patience)
        started = time.monotonic()
        octets, flags, closed = read_frame(sock, REPLY_KEY)
        if flags is not None:
            outcome = "reject" if flags & REJECT else "accept"
        elif octets:
            outcome = "garbage"
        else:
            outcome = "closed" if closed else "open"
        return {"outcome": outcome, "reply": octets.hex(), "seconds": round(time.monotonic() - started, 2)}


def play_reply(host, port, case, patience):
    with socket.create_server((host, port)) as server:
        print(json.dumps({"listening": server.getsockname()[1]}), flush=True)
        server.settimeout(CLIENT_TIME)
        sock, _ = server.accept()
    with sock:
        sock.settimeout(patience)
        request, flags, _ = read_frame(sock, REQUEST_KEY)
        send(sock, case, request)
        started = time.monotonic()
        rest, closed = receive(sock, 1)
        return {"outcome": "request" if flags is not None else "no request", "request": request.hex(),
                "closed": closed, "behind": rest.hex(), "seconds": round(time.monotonic() - started, 2)}


def crc32c(octets):
    state = 0xFFFFFFFF
    for octet in octets:
        state ^= octet
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return struct.pack("<I", state ^ 0xFFFFFFFF)


def fpdu(control, opcode, rest, crc=None):
    """One FPDU, with its right CRC unless another one is given."""
    segment = bytes((control, 0x40 | opcode)) + rest
    octets = struct.pack(">H", len(segment)) + segment
    octets += bytes(-len(octets) % 4)
    return octets + (crc32c(octets) if crc is None else crc)


def stream_cases():
    """What an initiator with CRCs begins with: request, FPDUs, code of the Terminate that comes (None: none does)."""
    write = (0xC1, 0, struct.pack(">IQ", 1, 0))
    send = (0x41, 3, struct.pack(">IIII", 0, 0, 1, 0))
    wrong = bytes((crc32c(b"")[0] ^ 1, 0, 0, 0))

    def asking(bits, flags=CRC):
        return enhanced(REQUEST_KEY, P2P | bits, flags=flags)

    return {
        "crc-write": (asking(RTR_WRITE), [fpdu(*write)], None),
        "crc-send": (asking(RTR_SEND), [fpdu(*send)], None),
        "crc-read": (asking(RTR_READ), [fpdu(0x41, 1, struct.pack(">IIIIIQIIQ", 0, 1, 1, 0, 1, 0, 0, 1, 0))], None),
        "crc-zero": (asking(RTR_WRITE), [fpdu(*write, crc=bytes(4))], 0x2002),
        "crc-wrong": (asking(RTR_WRITE), [fpdu(*write, crc=wrong)], 0x2002),
        "crc-second-zero": (asking(RTR_WRITE), [fpdu(*write), fpdu(*write, crc=bytes(4))], 0x2002),
        "no-crc": (asking(RTR_WRITE, flags=0), [fpdu(*write, crc=bytes(4)), fpdu(*write, crc=wrong)], None),
        "atomic": (asking(RTR_WRITE), [fpdu(*write), fpdu(0x41, 10, struct.pack(">IIII", 0, 1, 1, 0) + bytes(52))], 0x0206),
        "immediate": (asking(RTR_WRITE), [fpdu(*write), fpdu(0x41, 8, struct.pack(">IIII", 0, 0, 1, 0) + bytes(8))], 0x0206),
    }


def play_stream(host, port, request, fpdus, patience):
    """The code of the Terminate that the adapter answers with, or None; an Error text where it answers otherwise."""
    with socket.create_connection((host, port), timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(request)
        sock.settimeout(patience)
        reply, flags, _ = read_frame(sock, REPLY_KEY)
        if flags is None or flags & REJECT or (flags ^ request[16]) & CRC:
            return f"reply {reply.hex()}"
        for octets in fpdus:
            sock.sendall(octets)
            time.sleep(0.05)
        sock.settimeout(2)
        answer, _ = receive(sock, TERMINATE)
        if len(answer) < TERMINATE or answer[3] != 0x47:  # nothing, or the answer to a Read Request
            return None
        if answer[-4:] != (crc32c(answer[:-4]) if flags & CRC else bytes(4)):
            return f"Terminate with a wrong CRC {answer.hex()}"
        return answer[20] << 8 | answer[21]


def run_streams(host, port, patience):
    good = True
    for name, (request, fpdus, want) in stream_cases().items():
        try:
            got = play_stream(host, port, request, fpdus, patience)
        except OSError as error:
            got = str(error)
        print(json.dumps({"case": name, "want": want, "ok": got == want, "got": got}), flush=True)
        good &= got == want
    return good


def report(name, case, result, good):
    print(json.dumps({"case": name, "want": sorted(case.want), "ok": good, **result}), flush=True)
    return good


def run_request(host, port, name, case, patience):
    limit = REQUEST_TIME + 5 if case.stall else patience
    try:
        result = play_request(host, port, case, limit)
    except OSError as error:
        return report(name, case, {"outcome": "no connection", "error": str(error)}, False)
    good = result["outcome"] in case.want
    if result["outcome"] in ("accept", "reject"):
        good &= answers(bytes.fromhex(result["reply"]), case)
    return report(name, case, result, good)


def answers(reply, case):
    """Whether a reply is one to the case's request: of its revision, with CRCs, IRD, ORD and one RTR frame if that asks."""
    if reply[17] != case.answer:
        return False
    if not reply[16] & REJECT and (reply[16] ^ case.octets[16]) & CRC:
        return False
    if case.octets[17] != 2 or not case.octets[16] & ENHANCED:
        return not reply[16] & ENHANCED
    if not reply[16] & ENHANCED or len(reply) < HEAD + 4:
        return False
    said = struct.unpack(">I", reply[HEAD:HEAD + 4])[0]
    if reply[16] & REJECT:
        return True
    asked = struct.unpack(">I", case.octets[HEAD:HEAD + 4])[0]
    if not asked & P2P:
        return not said & (P2P | RTR_SEND | RTR_WRITE | RTR_READ)
    chosen = next((bit for bit in (RTR_WRITE, RTR_READ, RTR_SEND) if asked & bit), RTR_WRITE)
    return said & (P2P | RTR_SEND | RTR_WRITE | RTR_READ) == P2P | chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patience", type=float, default=8, help="seconds to wait for the driver (default 8)")
    parser.add_argument("--stalls", action="store_true", help="sweep: also the cases that take 20 s each")
    parser.add_argument("--skip", action="append", default=[], help="sweep: leave this case out (repeatable)")
    parser.add_argument("mode", choices=["request", "listen", "cases", "sweep", "stream"])
    parser.add_argument("rest", nargs="*")
    args = parser.parse_args()

    if args.mode == "cases":
        cases = {"request": request_cases, "listen": reply_cases}.get("".join(args.rest))
        if not cases:
            parser.error("cases: say 'request' or 'listen'")
        for name, case in cases().items():
            print(name, "|".join(sorted(case.want)))
        return 0

    if len(args.rest) != (2 if args.mode in ("sweep", "stream") else 3):
        parser.error(f"{args.mode}: wrong number of arguments")
    host, port = args.rest[0], int(args.rest[1])
    if args.mode == "stream":
        return 0 if run_streams(host, port, args.patience) else 1
    if args.mode == "sweep":
        good = True
        for name, case in request_cases().items():
            if name not in args.skip and (args.stalls or not case.stall):
                good &= run_request(host, port, name, case, args.patience)
        return 0 if good else 1

    cases = request_cases() if args.mode == "request" else reply_cases()
    case = cases.get(args.rest[2])
    if not case:
        parser.error(f"no case '{args.rest[2]}'; 'cases {args.mode}' lists them")
    if args.mode == "request":
        return 0 if run_request(host, port, args.rest[2], case, args.patience) else 1
    try:
        result = play_reply(host, port, case, REPLY_TIME + 20 if case.stall else args.patience)
    except OSError as error:
        report(args.rest[2], case, {"outcome": "no connection", "error": str(error)}, False)
        return 1
    return 0 if report(args.rest[2], case, result, result["outcome"] == "request") else 1


if __name__ == "__main__":
    sys.exit(main())
