# SPDX-License-Identifier: GPL-2.0-or-later
"""The RoCEv2 personality in guests: GIDs, programs that connect over a TCP socket of their own, rdma_rxe as the peer."""

import contextlib
import ipaddress

from erdmalab import workloads
from erdmalab.common import LabError
from erdmalab.storage import nfs_export, nfs_mount

DEVICES = "/sys/class/infiniband"
ADAPTER = {"protocol": "rocev2"}


def rdma_device(vm):
    """Name of the RDMA device on eth0."""
    return vm.run(f"ls {DEVICES}").output.split()[0]


def gids(vm):
    """The GID table as the kernel shows it: {index: (address, type)}, without empty entries."""
    at = f"{DEVICES}/{rdma_device(vm)}/ports/1"
    # Hundreds of files: two processes, not two for each.  The types of empty entries cannot be read.
    text = vm.run(f"cd {at}; grep -r [1-9a-f] gids; grep -rs . gid_attrs/types || true").output
    values = dict(line.split(":", 1) for line in text.splitlines())
    found = {}
    for name, gid in values.items():
        folder, index = name.rsplit("/", 1)
        if folder == "gids":
            found[int(index)] = (gid, values.get(f"gid_attrs/types/{index}", ""))
    return found


def mapped(address):
    """An IPv4 address as a GID."""
    octets = [int(part) for part in address.split(".")]
    return "0000:0000:0000:0000:0000:ffff:%02x%02x:%02x%02x" % tuple(octets)


def gid_index(vm, gid=None):
    """Index of a GID, by default of the guest's IPv4 address."""
    wanted = gid or mapped(vm.address)
    for index, (one, kind) in gids(vm).items():
        if one == wanted and kind == "RoCE v2":
            return index
    raise AssertionError(f"{wanted} is not in the table: {gids(vm)}")


def over_tcp(server_vm, server, client_vm, client, port, timeout=60):
    """A server that listens with TCP, and its client; both must end with code 0.  Returns both results."""
    first = server_vm.popen(server)
    second = None
    try:
        server_vm.wait_listener(port, first, tcp=True)
        second = client_vm.popen(client)
        results = [job.wait(timeout * client_vm.slow, check=False) for job in (second, first)]
        for result in results:
            if result.code:
                raise LabError("\n".join(f"'{one.command}' ended with code {one.code}\n{one.output}{one.errors}" for one in results))
        return workloads.Pair(results[1], results[0])
    finally:
        for job in (first, second):
            if job and job.code is None:
                with contextlib.suppress(LabError):
                    job.kill()


def gid6_indices(*group):
    """Indices of the GIDs of the guests' global IPv6 addresses, which the lab gives them."""
    return [gid_index(vm, ipaddress.ip_address(vm.address6).exploded) for vm in group]


def pingpong(server, client, options=(), indices=None):
    """ibv_rc_pingpong, whose data is compared, by GID index."""
    port = workloads.next_port()
    near, far = indices or (gid_index(server), gid_index(client))
    common = ["ibv_rc_pingpong", "-c", "-p", str(port), *map(str, options)]
    over_tcp(server, [*common, "-g", str(near)], client, [*common, "-g", str(far), server.address], port)


def plain_perftest(server, client, program, options=(), timeout=120, indices=None):
    """A perftest program that connects without rdma_cm; returns the client's rows."""
    port = workloads.next_port()
    near, far = indices or (gid_index(server), gid_index(client))
    common = [program, "-F", "-p", str(port), *map(str, options)]
    result = over_tcp(server, [*common, "-x", str(near)],
                      client, [*common, "-x", str(far), server.address], port, timeout)
    return workloads.checked(result.client)


def make_rxe(vm):
    """rdma_rxe on eth0 of a guest that has no adapter there."""
    vm.load_rdma()
    vm.run("modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0")


def over_ipv6(server, client):
    """With rdma_cm and without; messages of several packets, compared."""
    indices = gid6_indices(server, client)
    workloads.rping(server, 20, server.address6, ["-S", "20000"], client=client)
    for options in (["-n", 200], ["-n", 100, "-s", 65536], ["-n", 50, "-e"]):
        pingpong(server, client, options, indices)
    for program in ("ib_send_bw", "ib_write_bw", "ib_read_bw"):
        assert plain_perftest(server, client, program, ["-s", 65536, "-n", 50], indices=indices)[0]["iterations"] == 50


def verify_disk(disk):
    """What is written to a block device is read back as it was."""
    job = disk.fio("--rw=randrw", "--bsrange=4k-128k", "--iodepth=8", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1",
                   "--size=8M")
    assert job["error"] == 0 and job["write"]["io_bytes"] > 0, job


def copy_over_nfs(server, client):
    """A file there and back, compared at both ends."""
    with nfs_export(server) as folder, nfs_mount(client, server) as at:
        assert "proto=rdma" in client.run(f"grep {at} /proc/mounts").output
        client.run(f"cp /usr/bin/bash {at}/ && sync && echo 3 > /proc/sys/vm/drop_caches && cmp /usr/bin/bash {at}/bash",
                   timeout=120 * client.slow)
        server.run(f"cmp /usr/bin/bash {folder}/bash", timeout=60 * server.slow)


def grown(vm, before, *names):
    """How much these counters of a guest's adapter have grown since."""
    after = vm.counters()
    return {name: after[name] - before[name] for name in names}
