# SPDX-License-Identifier: GPL-2.0-or-later
"""Adapters and links that misbehave, and what the driver is to make of it."""

import time

from erdmalab import workloads
from support import program

# How long the driver waits for the answer to a command.
COMMAND_SECONDS = 15


def reload_clean(vm, text=None):
    """After all trouble: unload, load, work.  text: the faults from then on."""
    begin = time.monotonic()
    vm.unload_driver(timeout=30 * vm.slow)
    assert time.monotonic() - begin < 20 * vm.slow
    values = vm.counters()
    assert not any(values[name] for name in ("qps", "cqs", "mrs", "eqs")), values
    if text is not None:
        vm.faults(text)
    vm.load_driver()
    workloads.rping(vm, 5)


def expect_broken(vm, jobs, watch):
    """The device is out of use: everybody is told, what starts fails at once, programs can be killed."""
    watch.wait_output("IBV_EVENT_DEVICE_FATAL", 10 * vm.slow)
    for job in jobs:
        # rping waits for completions that nobody can write any more, but knows that the connection is gone.
        job.wait_output("DISCONNECT EVENT", 10 * vm.slow)
    begin = time.monotonic()
    result = vm.run([program("rc_ops"), "--only", "immediates", vm.address], timeout=60 * vm.slow, check=False)
    assert result.code != 0, "the broken device works"
    for job in [*jobs, watch]:
        job.kill()
        job.wait(10 * vm.slow)
    assert time.monotonic() - begin < 8 * vm.slow, "a broken device must fail at once"


def watch_events(vm):
    """A program that prints the device's asynchronous events, and is ready to."""
    watch = vm.popen(["stdbuf", "-oL", "ibv_asyncwatch", "-d", vm.devices()[0]])
    watch.wait_output("async event FD", 15 * vm.slow)
    return watch
