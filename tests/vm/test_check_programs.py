# SPDX-License-Identifier: GPL-2.0-or-later
"""Check mode raises no false alarm: programs and kernel consumers at work, over loopback and wire (docs/check.md)."""

import contextlib
import os

import pytest

from disks import copy_and_compare, verify
from erdmalab import check, workloads
from erdmalab.common import ROOT
from erdmalab.storage import IserHost, IserTarget, NvmeHost, NvmeTarget
from libraries import mpi
from roce import ADAPTER, pingpong, plain_perftest
from support import SOURCES

pytestmark = pytest.mark.long
PERFTEST = ["ib_write_bw", "ib_write_lat", "ib_read_bw", "ib_read_lat", "ib_send_bw", "ib_send_lat", "ib_atomic_bw", "ib_atomic_lat"]
# pyverbs' own extension modules load libibverbs for themselves alone.
POLL = """
from pyverbs.cq import CQ
from pyverbs.device import Context, get_device_list
context = Context(name=get_device_list()[0].name.decode())
queue = CQ(context, 8)
assert queue.poll()[0] == 0
queue.close()
context.close()
"""


@contextlib.contextmanager
def nothing_unexplained(*machines):
    """Check mode in guests; errors fail but for those of the distribution's programs that docs/check.md explains."""
    explained = check.Suppressions(os.path.join(ROOT, "examples", "check", "distribution.suppress"))
    watched = [check.Checked(machine, suppress=explained) for machine in machines]
    try:
        yield
        findings = [one for guest in watched for one in guest.findings()]
        errors = [one for one in findings if one["severity"] == "error"]
        print(check.text(findings))
        assert not errors, check.text(errors)
    finally:
        for guest in watched:
            guest.stop()


def connected(server, client):
    """Programs that connect by rdma_cm."""
    workloads.rping(server, 100, client=client, options=["-v"], timeout=60)
    port = workloads.next_port()
    workloads.pair(server, ["ucmatose", "-b", server.address, "-p", str(port), "-c", "4", "-C", "400", "-S", "3000"],
                   client, ["ucmatose", "-s", server.address, "-p", str(port), "-c", "4", "-C", "400", "-S", "3000"], port)
    port = workloads.next_port()
    workloads.pair(server, ["rstream", "-b", server.address, "-p", str(port), "-S", "64", "-C", "10"],
                   client, ["rstream", "-s", server.address, "-p", str(port), "-S", "64", "-C", "10"], port, timeout=90)


def perftests(server, client):
    for name in PERFTEST:
        workloads.perftest(server, name, options=["-n", 300], client=client, timeout=120)


def test_connected(vm):
    with nothing_unexplained(vm):
        connected(vm, vm)


def test_programs_have_witnesses(vm):
    """However they come by libibverbs: linked, by way of librdmacm, or loaded by a library of theirs for itself."""
    watched = check.Checked(vm)
    try:
        vm.environment = {**vm.environment, "ERDMA_WITNESS_VAIN": "1"}
        workloads.rping(vm, 10, options=["-v"], timeout=60)
        workloads.perftest(vm, "ib_send_lat", options=["-n", 100])
        server = vm.popen(["fi_pingpong", "-p", "verbs", "-e", "msg", "-I", "20"])
        vm.wait_listener(47592, server, tcp=True)
        vm.run(["fi_pingpong", "-p", "verbs", "-e", "msg", "-I", "20", vm.address], timeout=60 * vm.slow)
        server.wait(20 * vm.slow)
        vm.run(["/usr/bin/python3", "-B", "-c", POLL])
        vain = {one["process"]["name"] for one in watched.findings() if one["id"] == "polled-in-vain"}
        assert {"rping", "ib_send_lat", "fi_pingpong", "python3"} <= vain, vain
    finally:
        vm.environment = {name: value for name, value in vm.environment.items() if name != "ERDMA_WITNESS_VAIN"}
        watched.stop()


@pytest.mark.limit(400)
def test_perftest(vm):
    with nothing_unexplained(vm):
        perftests(vm, vm)


@pytest.mark.limit(600)
def test_wire(pair):
    with nothing_unexplained(*pair):
        connected(*pair)
        perftests(*pair)


@pytest.mark.limit(600)
@pytest.mark.guests(adapter=ADAPTER)
def test_roce(pair):
    """With rdma_cm and with addresses that programs exchange by themselves."""
    with nothing_unexplained(*pair):
        connected(*pair)
        perftests(*pair)
        pingpong(*pair, ["-n", 200])
        for name in ("ib_send_bw", "ib_write_bw", "ib_read_bw"):
            plain_perftest(*pair, name, ["-s", 65536, "-n", 100])


@pytest.mark.guests(adapter=ADAPTER)
def test_roce_loopback(vm):
    with nothing_unexplained(vm):
        workloads.rping(vm, 100, options=["-v"], timeout=60)
        pingpong(vm, vm, ["-n", 200])
        workloads.perftest(vm, "ib_write_bw", options=["-n", 300])


@pytest.mark.stock_kernel
@pytest.mark.limit(400)
@pytest.mark.parametrize("where", ["loopback", "wire"])
def test_kernel_consumers(request, where):
    """NVMe over Fabrics, iSER (which wants two guests) and NFS."""
    guests = request.getfixturevalue("vm"), request.getfixturevalue("vm")
    if where == "wire":
        guests = request.getfixturevalue("pair")
    server, client = guests
    with nothing_unexplained(*dict.fromkeys(guests)):
        with NvmeTarget(server) as target, NvmeHost(client, target) as host:
            verify(host, size="4M")
        copy_and_compare(server, client)
        if where == "wire":
            with IserTarget(server) as target, IserHost(client, target) as host:
                verify(host, size="4M")


@pytest.mark.parametrize("server, client, tests", [
    (["qperf"], ["qperf", "-cm", "1", "-t", "1"], [["rc_bw"], ["rc_lat"], ["rc_rdma_write_bw"], ["rc_rdma_read_bw"]]),
    (["fi_pingpong", "-p", "verbs", "-e", "msg", "-I", "20", "-c"],
     ["fi_pingpong", "-p", "verbs", "-e", "msg", "-I", "20", "-c"], [[]])], ids=["qperf", "libfabric"])
def test_libraries(vm, server, client, tests):
    # Its server's process for a test crashes by itself when all is done, with other adapters too.
    with nothing_unexplained(vm), vm.allow(r"qperf\[\d+\]: segfault"):
        job = vm.popen(server)
        vm.wait_listener(19765 if server[0] == "qperf" else 47592, job, tcp=True)
        for test in tests:
            vm.run([*client, vm.address, *test], timeout=60 * vm.slow)
        job.kill()


@pytest.mark.parametrize("verb", ["write", "read", "send"])
def test_fio_engine(vm, verb):
    """fio's engine rdma: the server of an I/O job waits for its client."""
    common = ["fio", "--ioengine=rdma", "--name=job", "--bs=64k", "--size=8m", "--port=18999", "--iodepth=8", "--iodepth_batch_complete=8"]
    with nothing_unexplained(vm):
        server = vm.popen([*common, "--rw=read"])
        try:
            workloads.wait_listener(vm, 18999, server)
            result = vm.run([*common, "--rw=write", f"--verb={verb}", f"--hostname={vm.address}"], timeout=60 * vm.slow, check=False)
            assert result.code == 0 and "io=8192KiB" in result.output, result.output + result.errors + server.text
            assert server.wait(20 * vm.slow).code == 0, server.text
        finally:
            server.kill()


@pytest.mark.limit(300)
def test_open_mpi(pair):
    with nothing_unexplained(*pair):
        mpi(pair, 4)


@pytest.mark.guests(adapter=ADAPTER)
def test_ucx_refused(pair):
    """
    UCX connects queue pairs with addresses that it exchanges by itself, which RoCE has and iWARP has not; but it receives
    with shared receive queues only.  It leaves nothing to find.
    """
    one, other = pair
    environment = {"UCX_TLS": "rc_verbs,self", "UCX_NET_DEVICES": f"{one.devices()[0]}:1"}
    words = ["ucx_perftest", "-t", "tag_lat", "-n", "200"]
    with nothing_unexplained(*pair), contextlib.ExitStack() as stack:
        waiting = one.popen(words, env=environment)
        stack.callback(waiting.kill)
        one.wait_listener(13337, waiting, tcp=True)
        result = other.run([*words, one.address], env=environment, timeout=100 * other.slow, check=False)
        assert result.code != 0 and "ibv_create_srq() failed: Operation not supported" in result.output + result.errors, \
            result.output + result.errors + waiting.text


@pytest.mark.limit(600)
def test_rdma_core_suite(vm, rdma_device):
    with nothing_unexplained(vm):
        result = vm.run(["/usr/bin/python3", "-B", os.path.join(SOURCES, "pyverbs_suite.py"), rdma_device],
                        timeout=400 * vm.slow / 2, check=False, env={"PYVERBS_SECONDS": str(30 * vm.slow)})
        assert result.code == 0, result.output + result.errors
