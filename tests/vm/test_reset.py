# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter is reset behind the driver's back, or the machine wants to sleep."""

import time

import pytest

from erdmalab import workloads
from support import bdf, program, wait
from traffic import start_rping
from trouble import expect_broken, watch_events

NOTICED_SECONDS = 20  # the driver looks every 5 s, when a processor is awake


def bind_anew(vm, address):
    vm.run(f"echo {address} > /sys/bus/pci/drivers/erdma/unbind; echo {address} > /sys/bus/pci/drivers/erdma/bind",
           timeout=30 * vm.slow)
    vm.wait_devices(1)
    workloads.rping(vm, 5)


def test_function_reset(vm):
    """A reset of the function under traffic is noticed at once and told to everybody; binding anew repairs it."""
    address = bdf(vm)
    jobs, watch = start_rping(vm), watch_events(vm)
    assert "flr" in vm.read(f"/sys/bus/pci/devices/{address}/reset_method")
    vm.run(f"echo 1 > /sys/bus/pci/devices/{address}/reset", timeout=20 * vm.slow)
    expect_broken(vm, jobs, watch)
    values = vm.counters()
    assert not any(values[name] for name in ("qps", "cqs", "mrs")), values
    bind_anew(vm, address)


def test_dies_unused(vm):
    """All registers turn to ones while nobody wants anything: noticed, told to everybody, repaired by binding anew."""
    address, watch = bdf(vm), watch_events(vm)
    commands = vm.counters()["commands"]
    vm.run(["dmesg", "-C"])
    with vm.faults("dead"):
        for event in ("IBV_EVENT_DEVICE_FATAL", "IBV_EVENT_PORT_ERR"):
            watch.wait_output(event, NOTICED_SECONDS * vm.slow)
        assert "is out of use: its registers read all ones" in vm.dmesg()
        assert "state DOWN" in vm.run(["rdma", "link"]).output
    assert vm.counters()["commands"] == commands
    watch.kill()
    bind_anew(vm, address)


def reset_bus(vm):
    """A reset that the kernel does not tell of, by the control register of the bridge before the adapter."""
    bridge = vm.run(f"basename $(dirname $(readlink -f /sys/bus/pci/devices/{bdf(vm)}))").output.strip()
    # Bridge control is at 0x3e of the configuration space, secondary bus reset its bit 6.
    vm.run(["python3", "-c", f"""
import os
space = os.open('/sys/bus/pci/devices/{bridge}/config', os.O_RDWR)
old = os.pread(space, 2, 0x3e)
os.pwrite(space, bytes([old[0] | 0x40, old[1]]), 0x3e)
os.pwrite(space, old, 0x3e)
"""])


def test_reset_unnoticed(vm):
    """A reset of the bus while nobody wants anything."""
    address, slow = bdf(vm), vm.slow
    vm.run(["dmesg", "-C"])
    reset_bus(vm)
    begin = time.monotonic()
    while "is out of use" not in vm.dmesg():
        assert time.monotonic() - begin < NOTICED_SECONDS * slow
        time.sleep(0.5)
    begin = time.monotonic()
    result = vm.run([program("rc_ops"), "--only", "immediates", vm.address], timeout=80 * slow, check=False)
    assert result.code != 0
    assert time.monotonic() - begin < 10 * slow
    # Nobody kept what the function had in its configuration space: it has to be found again.
    vm.run(f"echo 1 > /sys/bus/pci/devices/{address}/remove; echo 1 > /sys/bus/pci/rescan", timeout=30 * slow)
    vm.wait_devices(1)
    workloads.rping(vm, 5)


@pytest.fixture
def recovering(vm):
    """The driver brings the adapter back, as users have it; it has not done so before."""
    vm.unload_driver()
    vm.load_driver("recoveries=3")
    vm.run(["dmesg", "-C"])
    yield vm
    vm.faults()
    vm.unload_driver()
    vm.load_driver()


def comes_back(vm, attempt):
    wait("the adapter's return", lambda: f"in use again, attempt {attempt}" in vm.dmesg(), 40 * vm.slow)
    vm.wait_devices(1)
    workloads.rping(vm, 5)


def test_recovery(recovering):
    """After resets, announced or not, and under traffic, the adapter is there again without anybody's doing."""
    vm = recovering
    jobs, watch = start_rping(vm), watch_events(vm)
    vm.run(f"echo 1 > /sys/bus/pci/devices/{bdf(vm)}/reset", timeout=20 * vm.slow)
    watch.wait_output("IBV_EVENT_DEVICE_FATAL", 10 * vm.slow)
    for job in jobs:
        job.wait_output("DISCONNECT EVENT", 10 * vm.slow)
    comes_back(vm, 1)
    for job in [*jobs, watch]:
        job.kill()
        job.wait(10 * vm.slow)
    reset_bus(vm)
    comes_back(vm, 2)


@pytest.mark.long
def test_recovery_ends(recovering):
    """An adapter that stays dead is given up; one that answers again before that is not."""
    vm = recovering
    vm.run("echo 2 > /sys/module/erdma/parameters/recoveries")
    with vm.faults("dead"):
        wait("a first attempt", lambda: "function is not usable" in vm.dmesg(), 40 * vm.slow)
    comes_back(vm, 2)
    with vm.faults("dead"):
        wait("the end of patience", lambda: "not brought back: 2 attempts" in vm.dmesg(), 40 * vm.slow)
    bind_anew(vm, bdf(vm))


def nap(vm, state, level="freezer"):
    """Everything of the machine's sleep up to a level, some seconds of it, and of waking up."""
    vm.run(f"echo {level} > /sys/power/pm_test; echo {state} > /sys/power/state; echo none > /sys/power/pm_test",
           timeout=60 * vm.slow)


@pytest.mark.stock_kernel  # the debug one is built without power management
def test_sleep(vm):
    """Before processes are frozen the adapter is let go, and its connections end; afterwards it is there again."""
    jobs = start_rping(vm)
    states = [state for state in ("freeze", "mem", "disk") if state in vm.read("/sys/power/state").split()]
    assert "mem" in states, states
    for state in states:
        vm.run(["dmesg", "-C"])
        nap(vm, state)
        log = vm.dmesg()
        assert "let go while the machine sleeps" in log and "Freezing user space processes" in log, log
        for job in jobs:
            job.wait_output("DISCONNECT EVENT|device removal", 10 * vm.slow)
            job.kill()
            job.wait(20 * vm.slow)
        jobs = []
        vm.wait_devices(1)
        workloads.rping(vm, 10)
    # Nothing was there to be let go, and nothing comes.
    vm.run(f"echo {bdf(vm)} > /sys/bus/pci/drivers/erdma/unbind", timeout=30 * vm.slow)
    nap(vm, "mem")
    assert vm.devices() == []
    vm.run(f"echo {bdf(vm)} > /sys/bus/pci/drivers/erdma/bind", timeout=30 * vm.slow)
    vm.wait_devices(1)


# The guest's file system, a device of virtio, does not outlast the sleep of devices: what runs afterwards is in memory.
ISLAND = """
mkdir -p /run/island; mount -t tmpfs none /run/island; cd /run/island
mkdir -p dev sys proc etc tmp usr/bin usr/lib lib64 run; ln -s usr/bin bin; ln -s usr/lib lib
mount --rbind /dev dev; mount --bind /sys sys; mount --bind /proc proc
cp -r /etc/libibverbs.d etc; cp /etc/ld.so.cache etc
programs="/bin/sh /bin/sleep /bin/ls /bin/cat /usr/bin/rping"
# libgcc is what ends of threads load.
libraries=$(echo /usr/lib/*/libibverbs/liberdma-*.so /lib/*/libgcc_s.so.1)
cp -L $programs usr/bin
for file in $(ldd $programs $libraries | grep -o '/[^ ]*' | grep -v ':$' | sort -u) $libraries; do
    mkdir -p ".$(dirname $file)"; cp -L $file ".$file"
done
cat > nap.sh <<'END'
for level in devices platform; do
    echo $level > /sys/power/pm_test
    echo "island: to $level" > /dev/kmsg
    echo mem > /sys/power/state || echo "island: no sleep" > /dev/kmsg
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        [ "$(cat /sys/class/infiniband/*/ports/1/state 2>/dev/null)" = "4: ACTIVE" ] && break
        sleep 1
    done
    rping -s -a ADDRESS -C 5 & sleep 2
    rping -c -a ADDRESS -C 5 -V > /dev/null
    echo "island: $level $?" > /dev/kmsg
    wait
done
END
sed -i "s/ADDRESS/$1/" nap.sh
"""


@pytest.mark.long
@pytest.mark.stock_kernel  # the debug one is built without power management
def test_sleep_devices(vms):
    """The same with devices asleep, the adapter's function and the network interface among them."""
    [vm] = vms(1)
    vm.run(["sh", "-ec", ISLAND, "sh", vm.address], timeout=60 * vm.slow)
    vm.popen(["chroot", "/run/island", "/bin/sh", "/nap.sh"])

    def console():
        with open(vm.console, encoding="utf-8", errors="replace") as log:
            return "".join(line for line in log if "island: " in line or "let go" in line)

    for level in ("devices", "platform"):
        wait(f"traffic after the sleep of {level}", lambda: f"island: {level} " in console(), 90 * vm.slow)
        assert f"island: {level} 0" in console() and "island: no sleep" not in console(), console()
    assert console().count("let go while the machine sleeps") == 2, console()
