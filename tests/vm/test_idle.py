# SPDX-License-Identifier: GPL-2.0-or-later
"""An idle adapter costs nothing: no wake-ups of QEMU, no interrupts, no commands."""

import time

import pytest
from erdmalab import workloads
from quiet import SECONDS, quiet
from support import interrupts


@pytest.mark.long
def test_idle(vm):
    vm.unload_driver()
    without = quiet(vm)
    vm.load_driver()
    port = workloads.next_port()
    # Connected and waiting: the server sleeps on a completion event, the client is stopped.
    server = vm.popen(["rping", "-s", "-a", vm.address, "-p", str(port)])
    workloads.wait_listener(vm, port, server)
    client = vm.popen(["rping", "-c", "-a", vm.address, "-p", str(port)])
    deadline = time.monotonic() + 20 * vm.slow
    while vm.counters()["qps"] < 2:
        assert time.monotonic() < deadline and client.code is None, client.text + server.text
        time.sleep(0.2)
    time.sleep(1)
    client.kill(19)  # SIGSTOP
    time.sleep(1)
    assert client.code is None and server.code is None, client.text + server.text
    time.sleep(7)  # the device's reminder of an event that was served (docs/spec/adapter.md 6.5) comes after 5 s, once
    irqs, before = interrupts(vm), vm.counters()
    assert before["qps"] == 2, before
    with_adapter = quiet(vm)
    after = vm.counters()
    moved = {name: (value, after[name]) for name, value in before.items() if value != after[name]}
    assert not moved, f"counters of the idle adapter moved: {moved}"
    assert interrupts(vm) == irqs
    server.kill()
    client.kill()
    assert with_adapter[0] <= without[0] + 40 * SECONDS, \
        f"main loop: {with_adapter[0]} wake-ups in {SECONDS} s, {without[0]} without the driver"
    assert with_adapter[1] <= 1.5 * without[1] + 10 * SECONDS, \
        f"QEMU used {with_adapter[1]} ticks in {SECONDS} s, {without[1]} without the driver"
