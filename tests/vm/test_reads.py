# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads and atomics outstanding at a time (ORD, IRD): what the driver admits, what the device keeps to."""

import pytest

from eadm_tools import running, traffic
from erdmalab import workloads
from support import program


@pytest.mark.long
def test_limits(vms):
    """Module parameter max_reads bounds what programs may ask for, the adapter's property ord what it does."""
    machine, = vms(1, load=False, adapter={"ord": 4})
    for text in ("0", "129", "-1", "4294967296", "many"):
        assert machine.run(["modprobe", "erdma", f"max_reads={text}"], check=False).code != 0, text
    assert "erdma: max_reads=129: must be 1 to 128" in machine.dmesg()
    machine.load_driver("max_reads=16")
    info = machine.run(["ibv_devinfo", "-v"]).output.split()
    for name in ("max_qp_rd_atom:", "max_qp_init_rd_atom:"):
        assert info[info.index(name) + 1] == "16", name

    # This one compares what its reads bring, and asks for 16.
    machine.run([program("rc_ops"), "--only", "many-reads", machine.address], timeout=60 * machine.slow)
    workloads.perftest(machine, "ib_read_bw", options=["-s", 4096, "-n", 512, "-o", 16, "-l", 16])
    assert machine.counters()["most_reads"] == 4
    with traffic(machine, options=["-o", "9"], tool="ib_read_bw"):
        # Its other connection, on which the two programs agree, has none.
        assert {(one["ord"], one["ird"]) for one in running(machine)} == {(0, 0), (9, 9)}
    machine.unload_driver()
    machine.load_driver("max_reads=15")
    result = machine.run([program("rc_ops"), "--only", "immediates", machine.address], check=False)
    assert result.code != 0 and "Invalid argument" in result.output, result.output
