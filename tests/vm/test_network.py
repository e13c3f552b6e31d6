# SPDX-License-Identifier: GPL-2.0-or-later
"""Several guests on one network: the cable, the switch, captures, and ./lab run with them."""

import glob
import os
import re
import struct
import subprocess
import tempfile
import time

import pytest

from erdmalab import workloads
from erdmalab.common import ROOT
from erdmalab.storage import nfs_export
from support import expect_in_use, in_use, set_mtu


def frames(path):
    """Frames of a capture file."""
    with open(path, "rb") as capture:
        data = capture.read()
    assert struct.unpack_from("<I", data)[0] == 0xA1B2C3D4, "not a capture file"
    found, at = [], 24
    while at < len(data):
        _, _, length, _ = struct.unpack_from("<IIII", data, at)
        found.append(data[at + 16:at + 16 + length])
        at += 16 + length
    return found


@pytest.mark.parametrize("mtu", [1500, 9000])
def test_cable(pair, mtu):
    set_mtu(pair, mtu)
    for one, other in ((pair[0], pair[1]), (pair[1], pair[0])):
        one.run(["ping", "-c", "3", "-i", "0.2", "-W", str(5 * one.slow), "-M", "do", "-s", str(mtu - 28), other.name])


def lab_run(lab, *arguments):
    """./lab run with the session's kernel and what is built."""
    command = [os.path.join(ROOT, "lab"), "run", *([] if lab.model else ["--no-model"]), "--no-build",
               "--kernel", "debug" if lab.kernel.debug else lab.kernel.supported or lab.kernel.version, *arguments]
    return subprocess.run(command, cwd=ROOT, timeout=280, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)


@pytest.mark.long
def test_run_three_on_a_switch(lab):
    """./lab run with all that concerns several guests; nothing is left behind."""
    before = set(glob.glob(os.path.join(tempfile.gettempdir(), "erdma-vde-*")))
    slow = ["--link", "vm3:to-wire:delay=300ms"] if lab.model else []
    result = lab_run(lab, "--vms", "3", "--capture", *slow, "--on", "vm2", "echo I am $(hostname)", "--", "sh", "-c",
                     'echo "$ERDMA_VMS $ERDMA_VM1 $ERDMA_VM3"; ping -c 2 vm2 && ping -c 2 -p 6c6162 vm3 || exit 9; exit 7')
    assert result.returncode == 7, result.stdout + result.stderr
    assert "3 10.77.0.1 10.77.0.3" in result.stdout, result.stdout
    assert "vm2: I am vm2\n" in result.stdout, result.stdout
    # Only the third one's link is slow.
    near, far = re.findall(r"rtt min/avg/max/mdev = ([\d.]+)/", result.stdout)
    assert not slow or float(far) >= 300 > float(near), result.stdout
    logs = os.path.join(ROOT, re.search(r"(\S+)/vm1\n", result.stderr)[1])
    # The switch learns who is where: the third guest sees its own ping and not the second one's.
    seen = [sum(b"lablablab" in frame for frame in frames(os.path.join(logs, name, "eni0.pcap")))
            for name in ("vm1", "vm2", "vm3")]
    assert seen == [4, 0, 4], seen
    assert set(glob.glob(os.path.join(tempfile.gettempdir(), "erdma-vde-*"))) <= before


def test_run_and_a_complaint(lab):
    """A complaint of the guest's kernel has a code of its own, whatever the program's is."""
    result = lab_run(lab, "--", "sh", "-c", "echo '<4>WARNING: made by a test' > /dev/kmsg; exit 3")
    assert result.returncode == 126 and "made by a test" in result.stderr, result.stderr


def test_run_and_the_labs_failure(lab):
    """So has what the lab cannot do: here an adapter with a property that is none."""
    if not lab.model:
        pytest.skip("there is no adapter to have a property")
    result = lab_run(lab, "--device", "nonsense=1", "--", "true")
    assert result.returncode == 125 and "nonsense" in result.stderr, result.stderr


@pytest.fixture(params=["shared", "exclusive"])
def moved(pair, request):
    """The second guest's interface, and in exclusive mode its RDMA device, in a network namespace named blue; both are
    back in the first one afterwards, because the namespace goes."""
    server = pair[1]
    # Without the completion queues that kernel users of earlier tests keep: they do not come along.
    server.unload_driver()
    server.load_driver()
    before = in_use(server)
    exclusive = request.param == "exclusive"
    if exclusive:
        server.run(["rdma", "system", "set", "netns", "exclusive"])
    server.run("ip netns add blue && ip link set eth0 netns blue")
    if exclusive:
        server.run(["rdma", "dev", "set", server.devices()[0], "netns", "blue"])
    server.run(f"ip netns exec blue sh -ec 'ip link set lo up; ip addr add {server.adapters[0].address} dev eth0; "
               "ip link set eth0 up'")
    yield exclusive
    server.run("ip netns del blue")
    deadline = time.monotonic() + 20 * server.slow
    while server.run("ip link show eth0", check=False).code != 0 and time.monotonic() < deadline:
        time.sleep(0.3)
    server.run(f"ip addr replace {server.adapters[0].address} dev eth0; ip link set eth0 up; ip neigh flush all")
    server.wait_devices(1)
    if exclusive:
        server.run(["rdma", "system", "set", "netns", "shared"])
    workloads.rping(server, 5)
    expect_in_use(server, before, limit=30)


def test_namespace(pair, moved):
    """The adapter goes where its interface goes: it serves that namespace's programs, and its own again afterwards."""
    client, server = pair
    inside = ["ip", "netns", "exec", "blue"]
    assert "PORT_ACTIVE" in server.run([*inside, "ibv_devinfo"]).output
    outside = server.run(["ibv_devinfo"], check=False)
    assert ("PORT_ACTIVE" in outside.output) != moved, outside.output
    for where in ([], ["-a", server.address]):
        port = str(workloads.next_port())
        job = server.popen([*inside, "rping", "-s", "-P", "-p", port, *where])
        time.sleep(2 * server.slow)
        assert job.code is None, job.text
        client.run(["rping", "-c", "-a", server.address, "-p", port, "-C", "10", "-V"], timeout=30 * client.slow)
        server.run([*inside, "rping", "-c", "-a", server.address, "-p", port, "-C", "10"], timeout=30 * server.slow)
        job.kill()
        job.wait(10 * server.slow)
    port = str(workloads.next_port())
    job = client.popen(["rping", "-s", "-P", "-p", port])
    workloads.wait_listener(client, int(port), job)
    server.run([*inside, "rping", "-c", "-a", client.address, "-p", port, "-C", "10"], timeout=30 * server.slow)
    job.kill()
    job.wait(10 * client.slow)


@pytest.mark.long
@pytest.mark.stock_kernel  # the debug one is built without file systems of the network
def test_namespace_of_the_kernel(pair, moved):
    """A kernel user that a process of the namespace called for connects in there, though its threads are nobody's."""
    client, server = pair
    with nfs_export(client):
        result = server.run(["ip", "netns", "exec", "blue", "sh", "-ec", f"""modprobe -a nfs rpcrdma; mkdir -p /run/nfs
mount -t nfs -o vers=4.1,proto=rdma,port=20049,soft,timeo=100 {client.address}:/ /run/nfs
echo from blue > /run/nfs/word; sync; cat /run/nfs/word; umount /run/nfs"""], timeout=90 * server.slow)
        assert result.output == "from blue\n"
    server.run("modprobe -r rpcrdma", check=False)
