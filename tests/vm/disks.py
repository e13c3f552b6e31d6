# SPDX-License-Identifier: GPL-2.0-or-later
"""Data on disks and file systems of the network, checked: whatever carries it."""

from erdmalab.storage import nfs_export, nfs_mount

VERIFY = ["--rw=randrw", "--bsrange=4k-128k", "--iodepth=8", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1"]
NFS_TREE = "/usr/share/perl5/Debconf"


def verify(disk, size="16M"):
    """Random reads and writes of mixed sizes whose data is checked, also once more from the medium."""
    job = disk.fio(*VERIFY, f"--size={size}")
    assert job["error"] == 0 and job["write"]["io_bytes"] > 0, job


def copy_and_compare(server, client):
    """A tree of files is copied over NFS/RDMA and compared, on the medium too."""
    with nfs_export(server) as folder, nfs_mount(client, server) as at:
        assert "proto=rdma" in client.run(f"grep {at} /proc/mounts").output
        client.run(f"cp -r {NFS_TREE} /usr/bin/bash {at}/ && sync && echo 3 > /proc/sys/vm/drop_caches && "
                   f"diff -r {NFS_TREE} {at}/Debconf && cmp /usr/bin/bash {at}/bash", timeout=120 * client.slow)
        server.run(f"cmp /usr/bin/bash {folder}/bash && diff -r {NFS_TREE} {folder}/Debconf", timeout=60 * server.slow)
