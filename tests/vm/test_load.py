# SPDX-License-Identifier: GPL-2.0-or-later
"""Life of the driver: load, look, events of the NIC, unbind, reload, unload."""

import os
import re
import time

import pytest

from erdmalab import workloads
from erdmalab.common import ROOT
from support import bdf, expect_in_use, in_use, interrupts, program, wait
from traffic import expect_end, start_rping


def built_in(vm, module):
    return vm.run(["modinfo", "-n", module]).output.strip() == "(builtin)"


def test_modinfo(vm):
    text = vm.run(["modinfo", "erdma"]).output
    fields = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.strip())
    assert fields["license"] == ["GPL"]
    assert any(re.match(r"pci:v00001DEDd0000107Fsv\*", alias) for alias in fields["alias"]), fields["alias"]
    with open(os.path.join(ROOT, "VERSION"), encoding="ascii") as version:
        assert fields["version"] == [version.read().strip()]
    for name in {"ib_core", "ib_uverbs"} - set(fields["depends"][0].split(",")):
        assert built_in(vm, name), fields["depends"]
    assert fields["description"] and fields["author"]
    parameters = set(vm.run("ls /sys/module/erdma/parameters").output.split())
    described = {value.partition(":")[0]: value.partition(":")[2] for value in fields["parm"]}
    assert set(described) == parameters and all(len(text) > 20 for text in described.values()), described


def test_devinfo(vm, rdma_device):
    text = vm.run(["ibv_devinfo", "-v", "-d", rdma_device]).output
    values = dict(re.findall(r"(?m)^\s*([\w \[\]]+?):\s*(.*?)\s*$", text))
    mac = vm.read("/sys/class/net/eth0/address").strip().replace(":", "")
    expected = {
        "transport": "iWARP (1)", "vendor_id": "0x1ded", "vendor_part_id": "4223", "hw_ver": "0x1",
        "phys_port_cnt": "1", "state": "PORT_ACTIVE (4)", "link_layer": "Ethernet", "max_qp": "4095",
        "max_cq": "8191", "max_mr": "8191", "max_mw": "0", "max_qp_wr": "8192", "max_sge": "1", "max_sge_rd": "1",
        "max_cqe": "1048576", "max_qp_rd_atom": "128", "max_qp_init_rd_atom": "128", "max_pd": "131072",
        "page_size_cap": "0x7ffff000", "max_mr_size": hex(1 << 36), "gid_tbl_len": "1",
    }
    wrong = {name: (value, values.get(name)) for name, value in expected.items() if values.get(name) != value}
    assert not wrong, f"(expected, reported): {wrong}\n{text}"
    # EUI-64 of the MAC: FF FE in the middle, one bit inverted.
    guid = f"{int(mac[:2], 16) ^ 2:02x}{mac[2:6]}fffe{mac[6:]}"
    assert values["node_guid"].replace(":", "") == guid
    assert values["sys_image_guid"] == values["node_guid"]
    gid = vm.read(f"/sys/class/infiniband/{rdma_device}/ports/1/gids/0").strip().replace(":", "")
    assert gid == mac + "0" * 20
    assert "ATOMIC_GLOB" in text or "ATOMIC_HCA" in text, text


def test_rdma_link(vm, rdma_device):
    text = vm.run(["rdma", "link"]).output
    assert re.search(rf"link {rdma_device}/1 state ACTIVE physical_state LINK_UP netdev eth0", text), text
    assert "node_type rnic" in vm.run(["rdma", "dev", "show", rdma_device]).output


def test_interrupts(vm):
    before = interrupts(vm)
    cpus = int(vm.run(["nproc"]).output)
    address = bdf(vm)
    names = {f"erdma-common@pci:{address}", *(f"erdma-ceq{n + 1}@pci:{address}" for n in range(cpus))}
    assert set(before) == names, before
    for vector in range(cpus):
        workloads.perftest(vm, "ib_send_bw", options=["-s", 64, "-n", 200, "-e", "-X", vector])
    after = interrupts(vm)
    assert all(after[name] > value for name, value in before.items()), (before, after)


def test_unbind_bind(vm):
    address = bdf(vm)
    for busy in (False, True, True):
        jobs = start_rping(vm) if busy else []
        vm.run(f"echo {address} > /sys/bus/pci/drivers/erdma/unbind", timeout=20 * vm.slow)
        assert vm.devices() == [] and not interrupts(vm)
        assert vm.counters()["qps"] == vm.counters()["cqs"] == vm.counters()["mrs"] == vm.counters()["eqs"] == 0
        expect_end(jobs, 15 * vm.slow) if jobs else None
        vm.run(f"echo {address} > /sys/bus/pci/drivers/erdma/bind", timeout=20 * vm.slow)
        vm.wait_devices(1)
        workloads.rping(vm, 5)


def test_unload_under_traffic(vm):
    """The module goes although programs use the device; they are told and end."""
    jobs = start_rping(vm)
    vm.run(["rmmod", "erdma"], timeout=20 * vm.slow)
    expect_end(jobs, 15 * vm.slow)
    vm.load_driver()
    workloads.rping(vm, 5)


def test_without_rdma_core(vm):
    """Without the kernel's RDMA modules the driver refuses to load and the log says why; modprobe brings them."""
    if built_in(vm, "ib_core"):
        pytest.skip("the RDMA core is built into this kernel")
    vm.unload_driver()
    path = vm.run(["modinfo", "-n", "erdma"]).output.strip()
    needed = vm.run("lsmod | awk '$1 ~ /^(rdma_|ib_|iw_)/ {print $1}'").output.split()
    for _ in needed:  # in the order of dependence, whatever it is
        vm.run(["modprobe", "-r", *needed], check=False)
    assert not vm.run("lsmod | grep -E '^(iw_cm|ib_core) '", check=False).output
    vm.run("dmesg -C")
    result = vm.run(["insmod", path], check=False)
    assert result.code != 0 and "Unknown symbol" in result.errors, result.errors
    assert re.search(r"erdma: Unknown symbol i[bw]_\w+", vm.dmesg()), vm.dmesg()
    vm.load_driver()
    workloads.rping(vm, 5)


def bring_up(vm):
    vm.run(f"ip addr replace {vm.adapters[0].address} dev eth0; ip link set eth0 up")


@pytest.fixture
def nic(vm):
    """Switches the NIC of the shared guest off and on; it is on again at the end."""
    device = os.path.basename(vm.run(["readlink", "-f", "/sys/class/net/eth0/device"]).output.strip())
    state = {"on": True}

    def switch(on):
        vm.run(f"echo {device} > /sys/bus/virtio/drivers/virtio_net/{'bind' if on else 'unbind'}", timeout=20 * vm.slow)
        state["on"] = on
        if on:
            bring_up(vm)

    yield switch
    if not state["on"]:
        switch(True)


def test_nic_comes_and_goes(vm, nic):
    """The RDMA device goes with its NIC, and comes again with it, idle and under traffic: nothing waits for anything."""
    for busy in (False, True):
        jobs = start_rping(vm) if busy else []
        nic(False)
        wait("the end of the device", lambda: vm.devices() == [], 20 * vm.slow)
        wait("the deferred probe", lambda: bdf(vm) in vm.read("/sys/kernel/debug/devices_deferred"), 10 * vm.slow)
        nic(True)
        vm.wait_devices(1)
        for job in jobs:
            job.kill()
            job.wait(15 * vm.slow)
        workloads.rping(vm, 5)
    assert "waiting for eth0 to become free" not in vm.dmesg()


def test_unload_while_nic_goes(vm, nic):
    """The driver is unloaded while it lets the device go with the NIC."""
    for _ in range(3):
        nic(False)
        vm.unload_driver(timeout=30 * vm.slow)
        nic(True)
        vm.load_driver()
    workloads.rping(vm, 5)


# The command ETHTOOL_SSET with a speed in Mb/s and full duplex.
SET_SPEED = """
import ctypes, fcntl, socket, struct, sys
speed = int(sys.argv[1])
command = ctypes.create_string_buffer(struct.pack("<IIIHBBBBBBIIHBBIII", 2, 0, 0, speed & 0xffff, 1, 255, 0, 0, 0, 0, 0, 0,
                                                  speed >> 16, 0, 0, 0, 0, 0), 44)
request = struct.pack("16sQ8x", b"eth0", ctypes.addressof(command))
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8946, request)
"""


def test_port_rate(vm, rdma_device):
    """The port is as fast as the NIC, or as the adapter where the NIC does not know."""
    rate = f"/sys/class/infiniband/{rdma_device}/ports/1/rate"
    assert vm.read("/sys/class/net/eth0/speed").strip() == "-1"
    assert vm.read(rate).strip() == "25 Gb/sec (1X EDR)"
    try:
        for speed, expected in ((100000, "100 Gb/sec (4X EDR)"), (1000, "2.5 Gb/sec (1X SDR)")):
            vm.run(["/usr/bin/python3", "-c", SET_SPEED, str(speed)])
            assert vm.read(rate).strip() == expected
    finally:
        vm.run(["/usr/bin/python3", "-c", SET_SPEED, str(0xffffffff)])


def test_nic_after_driver(vm, nic):
    """Without NIC the probe is deferred, and done when the NIC appears."""
    vm.unload_driver()
    nic(False)
    vm.run(["modprobe", "erdma"], timeout=30 * vm.slow)
    assert vm.devices() == [], "a device without NIC"
    assert bdf(vm) in vm.read("/sys/kernel/debug/devices_deferred")
    nic(True)
    vm.wait_devices(1)
    workloads.rping(vm, 5)


@pytest.fixture
def link(vm):
    """The link of the shared guest as it was, at the end."""
    yield
    vm.qmp("set_link", name="nic0", up=True)
    vm.run("ip link set eth0 mtu 1500")
    bring_up(vm)
    vm.wait_devices(1)


def test_link(vm, rdma_device, link):
    watch = vm.popen(["stdbuf", "-oL", "ibv_asyncwatch", "-d", rdma_device])
    watch.wait_output("async event FD", 15)
    state = f"/sys/class/infiniband/{rdma_device}/ports/1/state"
    vm.run("ip link set eth0 down")
    watch.wait_output("IBV_EVENT_PORT_ERR", 10 * vm.slow)
    assert "DOWN" in vm.read(state)
    bring_up(vm)
    watch.wait_output("IBV_EVENT_PORT_ACTIVE", 10 * vm.slow)
    assert "ACTIVE" in vm.read(state)
    vm.qmp("set_link", name="nic0", up=False)
    wait("port down", lambda: "DOWN" in vm.read(state), 10 * vm.slow)
    vm.qmp("set_link", name="nic0", up=True)
    wait("port active", lambda: "ACTIVE" in vm.read(state), 10 * vm.slow)
    wait("four events", lambda: len(re.findall("IBV_EVENT_PORT_", watch.output)) == 4, 10 * vm.slow)
    watch.kill()


def test_mtu(vm, rdma_device, link):
    """The verbs MTU follows the interface's, and the device is told each time."""
    for mtu, active in ((9000, 4096), (2500, 2048), (1500, 1024), (600, 512)):
        before = vm.counters()["commands"]
        vm.run(f"ip link set eth0 mtu {mtu}")
        wait("MTU command", lambda: vm.counters()["commands"] > before, 10 * vm.slow)
        text = vm.run(["ibv_devinfo", "-d", rdma_device]).output
        assert re.search(r"active_mtu:\s*(\d+)", text)[1] == str(active), text
        workloads.rping(vm, 5)


RELOADS = """
set -e
echo 1 > /proc/sys/vm/drop_caches
modprobe erdma
for i in $(seq 100); do
    cat /sys/class/infiniband/*/ports/1/state 2>/dev/null | grep -q ACTIVE && break
    sleep 0.1
done
{program} --only send-segments --only events --only disconnect-delivers {address} > /tmp/reload.log 2>&1 || {{ cat /tmp/reload.log; exit 1; }}
rmmod erdma
"""


def memory(vm):
    """Kernel memory in use after shrinking: active objects by slab cache, vmalloc lines, vmalloc KiB."""
    vm.run("sync; echo 3 > /proc/sys/vm/drop_caches; sleep 0.3; "
           "for f in /sys/kernel/slab/*/shrink; do echo 1 > $f 2>/dev/null; done; true")
    slabs = {}
    for line in vm.read("/proc/slabinfo").splitlines()[2:]:
        words = line.split()
        slabs[words[0]] = int(words[1])
    areas = vm.read("/proc/vmallocinfo")
    ours = [line for line in areas.splitlines() if "erdma" in line]
    return slabs, len(areas.splitlines()), ours


@pytest.mark.limit(900)
@pytest.mark.parametrize("cycles", [3, pytest.param(20, marks=pytest.mark.long)])
def test_reload(vm, cycles):
    """Cycles of load, traffic, unload leave nothing behind; twenty of them find a single lost object per cycle."""
    vm.unload_driver()
    script = RELOADS.format(program=program("rc_ops"), address=vm.address)
    before = None
    for cycle in range(cycles + 2):
        result = vm.run(["sh", "-c", script], timeout=60 * vm.slow, check=False)
        assert result.code == 0, f"cycle {cycle}: {result.output}{result.errors}\n{vm.dmesg()[-2000:]}"
        now = vm.counters()
        assert not any(now[name] for name in ("qps", "cqs", "mrs", "eqs")), f"cycle {cycle}: {now}"
        if cycle == 1:
            before = memory(vm)
    slabs, areas, ours = memory(vm)
    assert not ours, f"vmalloc areas of the unloaded driver: {ours}"
    assert areas - before[1] < 10, f"vmalloc areas: {before[1]} -> {areas}"
    # One object lost in each of twenty cycles makes 20; the caches of files and processes breathe on their own, others by
    # a few pages, so that fewer cycles find only what loses many.
    least, part = (20, 20) if cycles >= 20 else (200, 5)
    ignored = re.compile(r"inode|dentry|task_struct|signal|sighand|files|mm_struct|vm_area|anon_vma|filp|cred|pid|"
                         r"buffer_head|radix|maple|lsm|9p|ext4|proc_|seq_file|names_cache|skbuff|shmem|vmap_area|"
                         r"kernfs|bio|pool_workqueue|fs_cache|eventpoll|sock_|TCP|UNIX|numa|trace|ebitmap|avtab|kmalloc-rcl")
    grown = {name: f"{before[0].get(name, 0)} -> {value}" for name, value in slabs.items()
             if not ignored.search(name) and value - before[0].get(name, 0) >= least + before[0].get(name, 0) // part}
    # KASAN keeps freed objects for a while; on the debug kernel kmemleak is the judge.
    assert vm.kernel.debug or not grown, f"slab caches: {grown}"
    leaks = vm.kmemleak()
    assert not leaks, leaks


@pytest.mark.long
def test_two_adapters(vms):
    """Two adapters and two CPUs: own interrupts, traffic on each, reboot at the end.

    From one to the other: rdma_cm looks for the second's address behind the first's interface and finds nobody, so the
    unit tests pair queue pairs of two adapters.
    """
    machine, = vms(1, cpus=2, nets=[{}, {}])
    first, second = machine.address, machine.adapters[1].address.split("/")[0]
    names = machine.wait_devices(2)
    assert len(set(names)) == 2
    irqs = interrupts(machine)
    for index in range(2):
        for kind in ("common", "ceq1", "ceq2"):
            assert f"erdma-{kind}@pci:{bdf(machine, index)}" in irqs, irqs
    assert len(irqs) == 6, irqs
    numbers = machine.run("awk '/erdma-ceq/ {sub(\":\", \"\", $1); print $1}' /proc/interrupts").output.split()
    masks = [machine.read(f"/proc/irq/{number}/affinity_hint").strip() for number in numbers]
    assert sorted(int(mask.replace(",", ""), 16) for mask in masks) == [1, 1, 2, 2], masks
    before = [in_use(machine, device) for device in ("eri0", "eri1")]
    workloads.rping(machine, 30, address=first)
    assert machine.counters("eri1")["sq_doorbells"] == 0
    workloads.rping(machine, 30, address=second)
    assert machine.counters("eri1")["sq_doorbells"] > 0
    for device, state in zip(("eri0", "eri1"), before):
        expect_in_use(machine, state, device=device)
    # One leaves, the other works on.
    machine.run(f"echo {bdf(machine, 1)} > /sys/bus/pci/drivers/erdma/unbind")
    workloads.rping(machine, 10, address=first)
    machine.run(f"echo {bdf(machine, 1)} > /sys/bus/pci/drivers/erdma/bind")
    machine.wait_devices(2)
    machine.check_log()
    # The driver's shutdown, under traffic; the guest's reboot ends QEMU (-no-reboot).
    server = machine.popen(["rping", "-s", "-a", first])
    workloads.wait_listener(machine, 7174, server)
    machine.popen(["rping", "-c", "-a", first])
    time.sleep(1)
    machine.may_die = True
    machine.popen("echo 1 > /proc/sys/kernel/sysrq; reboot -f")
    wait("end of QEMU", lambda: not machine.alive(), 30 * machine.slow)
    assert machine.process.returncode == 0
