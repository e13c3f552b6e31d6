# SPDX-License-Identifier: GPL-2.0-or-later
"""Every operation as it is on the network, read by an implementation that is not ours: Wireshark."""

import pytest

import dissect
from erdmalab import workloads
from erdmalab.storage import IserHost, IserTarget
from support import program

# All but Send SE Inv: no user has it (the kernel's ask for no event, user memory is not invalidated from afar).
OPERATIONS = {"Write", "Read Request", "Read Response", "Send", "Send Inv", "Send SE", "Immediate", "Immediate SE",
              "Send Imm", "Send SE Imm", "Atomic Request", "Atomic Response", "Terminate"}


@pytest.mark.parametrize("mtu, segment", [(1500, "0"), pytest.param(9000, "auto", marks=pytest.mark.long)])
def test_every_operation_is_iwarp(vms, mtu, segment):
    group = vms(2, capture=True, mtu=mtu, adapter={"segment-bytes": segment})
    for server, client in ((group[0], group[1]), (group[1], group[0])):
        port = str(workloads.next_port())
        workloads.pair(server, [program("wire_ops"), "serve", server.address, port],
                       client, [program("wire_ops"), "drive", server.address, port], port)
        workloads.rping(server, 10, client=client)
    operations = set(OPERATIONS)
    if group[0].kernel.debug:
        operations.remove("Send Inv")  # that kernel has no block devices
    else:
        # Its target invalidates the memory that the host has offered; Wireshark can follow no other kernel user, because
        # of the length of its private data (wire.md appendix B).
        with IserTarget(group[0]) as target, IserHost(group[1], target) as host:
            host.fio("--rw=randrw", "--bs=16k", "--size=256k", "--verify=crc32c")
    group.stop()
    for machine in group:
        machine.may_die = True  # it has been stopped above
    # A cable: the other end has the same.
    found = dissect.iwarp(group[0].capture())
    assert operations <= set(found), f"not in the capture: {operations - set(found)}"


@pytest.mark.long
def test_every_operation_of_rfc7306(vms):
    """Adapters that were told that standard peers know it send them immediate data and atomics, with CRCs."""
    group = vms(2, capture=True, adapter={"rfc7306": "on"})
    for machine in group:
        assert {"mpa_crc", "rfc7306"} <= set(machine.eadm("dev")["devices"][0]["capabilities"])
        machine.run("cd /sys/module/erdma/parameters && echo 2 > mpa_rev && echo require > mpa_crc")
    for server, client in ((group[0], group[1]), (group[1], group[0])):
        port = str(workloads.next_port())
        workloads.pair(server, [program("wire_ops"), "serve", server.address, port, "standard"],
                       client, [program("wire_ops"), "drive", server.address, port, "standard"], port)
        workloads.perftest(server, "ib_atomic_bw", options=["-n", 20], client=client)
    group.stop()
    for machine in group:
        machine.may_die = True  # it has been stopped above
    found = dissect.iwarp(group[0].capture())
    operations = OPERATIONS - {"Send Imm", "Send SE Imm", "Send Inv"}
    assert operations <= set(found), f"not in the capture: {operations - set(found)}"
    assert not found.keys() & {"Send Imm", "Send SE Imm"}, "private to connections between adapters"
