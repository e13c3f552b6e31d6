# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that are killed at one end of a connection, at any of its stages; the other end must be told."""

import random
import time

from erdmalab import workloads
from erdmalab.common import LabTimeout
from support import nothing_left
from traffic import start_end

VICTIMS = [*(("client", stage) for stage in ("resolved", "request", "connected", "traffic", "disconnect")),
           *(("server", stage) for stage in ("start", "request", "connected", "traffic", "disconnect"))]
TOLD = 2.0


def hears(job, seconds):
    """True when that end is told within the time."""
    try:
        job.wait_output("told ", seconds)
        return True
    except LabTimeout:
        return False


def kill_one(server_vm, client_vm, victim, stage, dice):
    """A connection whose victim is killed at that stage; returns after how many seconds the other end was told."""
    port = str(workloads.next_port())
    slow = server_vm.slow
    server = start_end(server_vm, "server", stage if victim == "server" else "never", port, server_vm.address)
    client = None
    if stage != "start":
        client = start_end(client_vm, "client", stage if victim == "client" else "never", port, server_vm.address)
    dead, other = (server, client) if victim == "server" else (client, server)
    dead.wait_output(f"at {stage}", 20 * slow)
    time.sleep(dice.random() * 0.03)
    begin = time.monotonic()
    dead.kill()
    told = 0.0
    # A client that just began to connect may die before its MPA request leaves: then there is nothing to tell.
    early = (victim, stage) == ("client", "request")
    if stage in ("start", "resolved") or early and not hears(other, 5 * slow):  # nothing connects the two
        if other:
            other.kill()
    else:
        other.wait_output("told ", 15 * slow)
        told = time.monotonic() - begin
        assert other.wait(15 * slow).code == 0, f"the survivor of {victim} {stage}:\n{other.text}"
    code = dead.wait(25 * slow).code
    # Behind its last stage it may have been quicker than the signal.
    assert code == -9 or (stage == "disconnect" and code == 0), f"the victim ended by itself:\n{dead.text}"
    return told


def kill_all(pair, times):
    """Every victim at every stage, that many times; the server is in either guest in turn."""
    dice, late = random.Random(1), []
    with nothing_left(pair):
        for number in range(times):
            for victim, stage in VICTIMS:
                server = dice.randrange(2)
                told = kill_one(pair[server], pair[1 - server], victim, stage, dice)
                if told > TOLD * pair[0].slow / 2:
                    late.append(f"round {number}, {victim} at {stage}: {told:.1f} s")
    assert not late, late
    workloads.rping(pair[0], 10, client=pair[1])
    workloads.rping(pair[1], 10, client=pair[0])
