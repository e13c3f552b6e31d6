# SPDX-License-Identifier: GPL-2.0-or-later
"""Every operation as it is on the network, read by an implementation that is not ours: Wireshark."""

import os

import pytest

import dissect
from erdmalab import workloads
from support import program

OPERATIONS = {"Write", "Read Request", "Read Response", "Send", "Send SE", "Immediate", "Send Imm", "Atomic Request",
              "Atomic Response", "Terminate"}


@pytest.mark.parametrize("mtu, segment", [(1500, "0"), pytest.param(9000, "auto", marks=pytest.mark.long)])
def test_every_operation_is_iwarp(fresh_pair, mtu, segment):
    group = fresh_pair(capture=True, nets=[{"mtu": mtu, "options": {"segment-bytes": segment}}])
    group.load_drivers()
    for server, client in ((group[0], group[1]), (group[1], group[0])):
        port = str(workloads.next_port())
        workloads.pair(server, [program("wire_ops"), "serve", server.address, port],
                       client, [program("wire_ops"), "drive", server.address, port], port)
        workloads.rping(server, 10, client=client)
    group.stop()
    for machine in group:
        machine.may_die = True  # it has been stopped above
    # A cable: the other end has the same.
    found = dissect.iwarp(os.path.join(group[0].directory, "eni0.pcap"))
    assert OPERATIONS <= set(found), f"not in the capture: {OPERATIONS - set(found)}"
