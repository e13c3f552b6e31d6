# SPDX-License-Identifier: GPL-2.0-or-later
"""SMC-R: TCP programs whose data the kernel carries by RDMA, over two adapters that speak RoCEv2."""

import os
import re
import sys

import pytest

from erdmalab import workloads
from roce import ADAPTER, over_tcp, rdma_device
from support import SOURCES

STREAM = [sys.executable, "-B", os.path.join(SOURCES, "smc_stream.py")]
TRACING = "/sys/kernel/tracing"
# Segments of a receive that a kernel consumer asks for: struct ib_qp_init_attr begins with six pointers, then ib_qp_cap.
PROBE = "p:asked ib_create_qp_kernel segments=+60(%si):u32"


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(600)
@pytest.mark.guests(adapter=ADAPTER)
def test_stream(pair):
    """4 MiB there and back in both roles.

    SMC takes the device, its GIDs and a peer, and asks for queue pairs.  Version 2 of it, the one for RoCEv2, wants receives
    of two segments in Linux 6.1; the adapter has one.  Then it goes on with TCP, and must say so.
    """
    for machine in pair:
        machine.run("modprobe -a smc smc_diag")
        machine.run(f"echo '{PROBE}' > {TRACING}/kprobe_events; echo 1 > {TRACING}/events/kprobes/asked/enable")
    for server, client in (pair, reversed(pair)):
        port = workloads.next_port()
        sent = client.counters()["tx_bytes"]
        done = over_tcp(server, [*STREAM, "serve", rdma_device(server), server.address, str(port)],
                        client, [*STREAM, "send", rdma_device(client), server.address, str(port), "4"], port, timeout=120)
        assert "4 MiB there and back" in done.client.output, done.client
        asked = {int(text) for machine in pair for text in re.findall(r"segments=(\d+)", machine.read(f"{TRACING}/trace"))}
        assert asked, "SMC has asked for no queue pair"
        carried = client.counters()["tx_bytes"] - sent
        told = done.server.output + done.client.output
        print(f"receives of {asked} segments; {told}")
        if max(asked) > 1:
            # SMC_CLC_DECL_INTERR of whoever asked, and what the other one was told.
            assert "mode SMC" not in told and told.count("mode TCP") == 2 and "0x9990000" in told and carried == 0, told
        else:
            assert told.count("mode SMC-R, fallback 0x0 ") == 2 and carried > 4 << 20, told
    for machine in pair:
        machine.run(f"echo 0 > {TRACING}/events/kprobes/asked/enable; echo > {TRACING}/kprobe_events; rmmod smc_diag smc")
        machine.check_log()
