#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers connects of the driver with the frames of mpa_peer.py and checks what the application hears.

    mpa_replies.py HOST CONNECT_ONCE [CASE...]

CONNECT_ONCE is the program of that name.  One line for each case; ends 0 if all were as wanted.
Some cases run at a time, as they mostly wait.  Everybody's patience is multiplied by ERDMA_TEST_SLOWNESS.
"""
import concurrent.futures
import errno
import itertools
import os
import re
import subprocess
import sys
import threading

import mpa_peer

SLOWNESS = int(os.environ.get("ERDMA_TEST_SLOWNESS", "1"))

# The driver remembers which revision an address and port spoke, so no port serves two cases, nor one that the kernel
# may have given to somebody else before.
PORTS = itertools.count(26000)


def serve(host):
    """A listening socket on a port of its own."""
    while True:
        try:
            return mpa_peer.socket.create_server((host, next(PORTS)))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


def attempt(host, program, case):
    """What the application heard, as a word and the private data, when the peer answers like `case`."""
    with serve(host) as server:
        server.settimeout(20 * SLOWNESS)
        port = server.getsockname()[1]
        request, behind = [], []

        def answer():
            # Some revisions are tried one after the other, each on a connection of its own.
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return
                with sock:
                    sock.settimeout(25 * SLOWNESS)
                    octets, _, _ = mpa_peer.read_frame(sock, mpa_peer.REQUEST_KEY)
                    request.append(octets)
                    if mpa_peer.send(sock, case, octets):
                        behind.append(mpa_peer.receive(sock, mpa_peer.TERMINATE)[0])

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        result = subprocess.run([program, host, str(port)], stdout=subprocess.PIPE, timeout=70 * SLOWNESS, text=True,
                                check=False)
        server.shutdown(2)
    thread.join(10)
    match = re.match(r"(\w+) (-?\d+) (\w*)$", result.stdout.splitlines()[0] if result.stdout else "")
    if not match or result.returncode:
        return f"nothing ({result.stdout.strip()})", "", request, behind
    return match[1], match[3], request, behind


def revisions(name):
    """The revisions that are tried until this case ends it."""
    tried = {"close": 3, "revision-1": 3, "revision-2": 2, "standard-revision-1": 3, "standard-reject-1": 3,
             "standard-512": 3}.get(name, 2 if name.startswith("standard") else 3 if name.startswith("revision") else 1)
    return [mpa_peer.VENDOR, 2, 1][:tried]


# Codes of the Terminate that tells the peer (wire.md 4.8).
TERMINATES = {"standard-too-many-reads": 6, "standard-no-rtr": 7, "standard-send": 7}


def main():
    host, program, *only = sys.argv[1:]
    bad = 0
    cases = mpa_peer.reply_cases()
    names = only or list(cases)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda name: attempt(host, program, cases[name]), names))
    for name, (heard, data, request, behind) in zip(names, results):
        case = cases[name]
        good = heard in case.want
        if not request or not request[0].startswith(mpa_peer.REQUEST_KEY):
            good, heard = False, f"{heard}, and no request came"
        if [one[17] for one in request if len(one) > 17] != revisions(name):
            good, heard = False, f"{heard}, after requests {[one.hex() for one in request]}"
        if name in TERMINATES and not (behind and len(behind[-1]) == mpa_peer.TERMINATE and behind[-1][3] == 0x47 and
                                       behind[-1][20:22] == bytes((0x20, TERMINATES[name]))):
            good, heard = False, f"{heard}, and the peer {behind}"
        if name in ("reject-private-data", "standard-reject", "standard-reject-1") and bytes.fromhex(data) != b"no":
            good, heard = False, f"{heard} with private data {data!r}"
        print(f"ok {name}" if good else f"FAIL {name}: expected {'|'.join(sorted(case.want))} got {heard}", flush=True)
        bad += not good
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
