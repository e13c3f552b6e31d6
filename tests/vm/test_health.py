# SPDX-License-Identifier: GPL-2.0-or-later
"""What is left of a device that failed, for devcoredump and devlink, and its recovery by devlink."""

import base64
import json
import re
import struct

import pytest

from erdmalab import workloads
from support import bdf, program, wait
from trouble import COMMAND_SECONDS

CORES = "/sys/class/devcoredump"
NOTICED_SECONDS = 20  # the driver looks every 5 s, when a processor is awake
CORE_SECONDS = 300  # so long the kernel keeps one that nobody reads


def cores(vm):
    return vm.run(f"ls {CORES} 2>/dev/null | grep devcd", check=False).output.split()


def forget_cores(vm):
    for core in cores(vm):
        vm.run(f"echo 1 > {CORES}/{core}/data", check=False)
    wait("the end of the core dumps", lambda: not cores(vm), 10 * vm.slow)


def bind_anew(vm, address):
    vm.run(f"echo {address} > /sys/bus/pci/drivers/erdma/unbind; echo {address} > /sys/bus/pci/drivers/erdma/bind",
           timeout=30 * vm.slow)
    vm.wait_devices(1)
    workloads.rping(vm, 5)


@pytest.fixture
def failing(vm):
    """A guest whose adapter may die; it works afterwards, and there is no core dump, as before."""
    forget_cores(vm)
    vm.run(["dmesg", "-C"])
    yield vm
    vm.faults()
    vm.unload_driver()
    vm.load_driver()
    forget_cores(vm)
    workloads.rping(vm, 3)


def die(vm):
    """The adapter dies while nobody uses it, and the driver has noticed."""
    with vm.faults("dead"):
        wait("the core dump", lambda: cores(vm), 3 * NOTICED_SECONDS * vm.slow)
    assert "is out of use: its registers read all ones" in vm.dmesg()


def read_core(vm):
    """Header and rings (name -> its line as a dictionary, with `data`) of the one core dump."""
    [core] = cores(vm)
    data = base64.b64decode(vm.run(f"base64 -w0 {CORES}/{core}/data", timeout=30 * vm.slow).output)
    text = data[:8192].rstrip(b"\0").decode()
    assert text.startswith("erdma-dump: 1\n") and text.endswith("\n"), text
    header, rings = {}, {}
    for line in text.splitlines():
        key, value = line.split(": ", 1)
        if key != "ring":
            header[key] = value
            continue
        name, *fields = value.split()
        ring = {key: int(number) for key, number in zip(fields[::2], fields[1::2], strict=True)}
        size = ring["entry-bytes"] * ring["slots"]
        ring["data"] = data[ring["offset"]:ring["offset"] + size]
        assert len(ring["data"]) == size
        rings[name] = ring
    end = max(ring["offset"] + len(ring["data"]) for ring in rings.values())
    assert len(data) == end and end < 256 * 1024, (len(data), end)
    return data, header, rings


def test_core_dump(failing):
    """A dead adapter's rings are for root to read, with the last command, without pointers, and within a size."""
    vm = failing
    vm.run(["ibv_devinfo"])
    die(vm)
    [core] = cores(vm)
    assert vm.run(f"stat -c %a {CORES}/{core}/data").output.strip() == "600"
    assert vm.run(f"basename $(readlink -f {CORES}/{core}/failing_device)").output.strip() == bdf(vm)
    data, header, rings = read_core(vm)
    assert header["reason"] == "its registers read all ones"
    assert header["device"].split() == [bdf(vm), vm.devices()[0]]
    assert {"cmd-sq", "cmd-cq", "aeq", "cmd-eq", "ceq-1"} <= set(rings)
    # The command that the header names is the one in the ring, and the device has answered it.
    command = re.fullmatch(r"(\d+)/(\d+) slot (\d+) answered", header["last-command"])
    assert command, header
    sub, opcode, slot = map(int, command.groups())
    word = struct.unpack_from("<Q", rings["cmd-sq"]["data"], slot * 128)[0]
    assert (word >> 24 & 3, word >> 16 & 0xff, word >> 32 & 0xffff) == (sub, opcode, slot)
    submitted = int(re.search(r"submitted (\d+)", header["commands"]).group(1))
    assert submitted and slot == (submitted - 1) % 128
    # Addresses of the kernel begin with 17 ones; a whole word of ones is none.
    words = struct.unpack(f"<{len(data) // 8}Q", data)
    assert not [hex(word) for word in words if word >> 47 == 0x1ffff and word != 2 ** 64 - 1]


@pytest.mark.long
def test_core_dump_command(failing):
    """A command without an answer is the last one, and unanswered."""
    vm = failing
    with vm.faults("cmd-drop=0/any"):
        job = vm.popen([program("rc_ops"), "--only", "immediates", vm.address])
        wait("the core dump", lambda: cores(vm), COMMAND_SECONDS + 30 * vm.slow)
        job.kill()
    _, header, _ = read_core(vm)
    assert header["reason"] == "a command timed out"
    assert re.fullmatch(r"0/\d+ slot \d+ unanswered", header["last-command"]), header


def test_core_dump_unloaded(failing):
    """A dump that nobody has read holds neither the driver nor anything of it: it can be read when that is gone."""
    vm = failing
    die(vm)
    vm.unload_driver(timeout=30 * vm.slow)
    _, header, _ = read_core(vm)
    assert header["reason"] == "its registers read all ones"
    forget_cores(vm)
    vm.load_driver()


@pytest.mark.long
def test_core_dump_unread(failing):
    """One that nobody ever reads goes by itself, and until then no other takes memory."""
    vm = failing
    die(vm)
    first = cores(vm)
    bind_anew(vm, bdf(vm))
    vm.run(["dmesg", "-C"])
    with vm.faults("dead"):
        wait("the second death", lambda: "is out of use" in vm.dmesg(), NOTICED_SECONDS * vm.slow)
    assert cores(vm) == first
    vm.unload_driver(timeout=30 * vm.slow)
    wait("the end of the core dump", lambda: not cores(vm), CORE_SECONDS + 60 * vm.slow)
    vm.load_driver()


def devlink(vm, *arguments):
    return json.loads(vm.run(["devlink", "-j", "health", *arguments], timeout=30 * vm.slow).output)


def reporter(vm):
    """Name of the device as devlink has it, and the one reporter."""
    [(name, reporters)] = devlink(vm, "show")["health"].items()
    [found] = reporters
    assert name == f"pci/{bdf(vm)}" and found["reporter"] == "device", (name, found)
    return name, found


def test_health(failing):
    """devlink shows the adapter's state and rings, and brings a dead one back when it is asked to."""
    vm = failing
    name, healthy = reporter(vm)
    assert (healthy["state"], healthy["error"]) == ("healthy", 0), healthy
    values = devlink(vm, "diagnose", name, "reporter", "device")
    assert values["reason"] == "none" and values["commands"] > 0 and values["last_answered"] is True, values
    dump = devlink(vm, "dump", "show", name, "reporter", "device")
    assert {"cmd-sq", "cmd-cq", "aeq"} <= {ring["name"] for ring in dump["rings"]}
    vm.run(["devlink", "health", "dump", "clear", name, "reporter", "device"])
    # Nothing is to be recovered.
    vm.run(["devlink", "health", "recover", name, "reporter", "device"])
    assert vm.devices()

    die(vm)
    _, dead = reporter(vm)
    assert (dead["state"], dead["error"]) == ("error", 1), dead
    dump = devlink(vm, "dump", "show", name, "reporter", "device")
    assert dump["reason"] == "its registers read all ones"
    [ring] = [ring for ring in dump["rings"] if ring["name"] == "cmd-sq"]
    assert len(ring["data"]) == ring["entry_bytes"] * ring["depth"]
    vm.run(["devlink", "health", "recover", name, "reporter", "device"], timeout=30 * vm.slow)
    wait("the adapter's return", lambda: "in use again, as somebody asked for" in vm.dmesg(), 40 * vm.slow)
    vm.wait_devices(1)
    workloads.rping(vm, 5)
    assert reporter(vm)[1]["state"] == "healthy"


def test_health_automatic(failing):
    """An adapter that comes back by itself does so with devlink, and not when devlink was told not to."""
    vm = failing
    vm.run("echo 3 > /sys/module/erdma/parameters/recoveries")
    name, _ = reporter(vm)
    vm.run(["devlink", "health", "set", name, "reporter", "device", "auto_recover", "false"])
    die(vm)
    assert reporter(vm)[1]["state"] == "error"
    assert "in use again" not in vm.dmesg()
    vm.run(["devlink", "health", "recover", name, "reporter", "device"], timeout=30 * vm.slow)
    wait("the adapter's return", lambda: "in use again, as somebody asked for" in vm.dmesg(), 40 * vm.slow)
    forget_cores(vm)
    vm.run(["dmesg", "-C"])
    die(vm)
    # On a slow machine the first attempt may come while the adapter is still dead.
    wait("the adapter's return", lambda: re.search(r"in use again, attempt [1-3]$", vm.dmesg(), re.MULTILINE), 40 * vm.slow)
    vm.wait_devices(1)
    workloads.rping(vm, 5)
