# SPDX-License-Identifier: GPL-2.0-or-later
"""Storage of the distribution's kernel over RDMA: NVMe over Fabrics, iSER and NFS, each as a context manager."""

import contextlib
import json
import re
import time

from .common import LabError

CONFIG = "/sys/kernel/config"


def settle(vm, command, pattern, what, limit=20):
    """Wait until the output of a command matches."""
    deadline = time.monotonic() + limit * vm.slow
    while not re.search(pattern, vm.run(command, check=False).output):
        if time.monotonic() > deadline:
            raise LabError(f"{vm.name}: {what} did not happen within {limit * vm.slow:.0f} s")
        time.sleep(0.3)


class NvmeTarget:
    """A namespace in a file of a guest's memory, offered on that guest's address."""

    def __init__(self, vm, megabytes=64, transport="rdma", port=4420, address=None):
        self.vm, self.megabytes, self.transport, self.port = vm, megabytes, transport, port
        self.address = address or vm.address
        self.name = f"test-{transport}"
        self.root = f"{CONFIG}/nvmet"

    def __enter__(self):
        self.vm.run(f"""set -e
modprobe -a nvmet nvmet-{self.transport}
mountpoint -q {CONFIG} || mount -t configfs none {CONFIG}
truncate -s {self.megabytes}M /run/{self.name}
cd {self.root}
mkdir subsystems/{self.name}; echo 1 > subsystems/{self.name}/attr_allow_any_host
mkdir subsystems/{self.name}/namespaces/1; cd subsystems/{self.name}/namespaces/1
echo 1 > buffered_io; echo -n /run/{self.name} > device_path; echo 1 > enable
mkdir {self.root}/ports/{self.port}; cd {self.root}/ports/{self.port}
echo {self.transport} > addr_trtype; echo ipv4 > addr_adrfam; echo {self.address} > addr_traddr
echo {self.port} > addr_trsvcid
ln -s {self.root}/subsystems/{self.name} subsystems/{self.name}""", timeout=60 * self.vm.slow)
        return self

    def withdraw(self):
        """Take the subsystem from the port: connections end."""
        self.vm.run(f"rm -f {self.root}/ports/{self.port}/subsystems/{self.name}", timeout=60 * self.vm.slow)

    def offer(self):
        self.vm.run(f"ln -s {self.root}/subsystems/{self.name} {self.root}/ports/{self.port}/subsystems/{self.name}")

    def __exit__(self, *_):
        with contextlib.suppress(LabError):
            self.withdraw()
        self.vm.run(f"""cd {self.root}; rmdir ports/{self.port}
echo 0 > subsystems/{self.name}/namespaces/1/enable; rmdir subsystems/{self.name}/namespaces/1 subsystems/{self.name}
rm -f /run/{self.name}; modprobe -r nvmet-{self.transport}""", check=False, timeout=60 * self.vm.slow)


class Disk:
    """A block device of a guest."""

    def __init__(self, vm):
        self.vm, self.device = vm, None

    def load(self, *options):
        """Command line of fio on it."""
        return ["fio", "--name=t", f"--filename={self.device}", "--direct=1", "--ioengine=libaio", "--randrepeat=1",
                *options]

    def fio(self, *options, check=True):
        """What fio says about its only job."""
        result = self.vm.run(self.load("--output-format=json", *options), timeout=120 * self.vm.slow, check=check)
        return json.loads(result.output[result.output.index("{"):])["jobs"][0]


class NvmeHost(Disk):
    """The other end: a block device.  A patient one repeats requests after a new connection; otherwise they fail."""

    def __init__(self, vm, target, options="", patient=False):
        super().__init__(vm)
        self.target, self.options, self.patient = target, options, patient

    def __enter__(self):
        target = self.target
        self.vm.run(f"modprobe nvme-{target.transport}; nvme connect -t {target.transport} -a {target.address} "
                    f"-s {target.port} -n {target.name} -i 1 {self.options}", timeout=60 * self.vm.slow)
        settle(self.vm, "nvme list-subsys", f"nvme\\d+ {target.transport} ", "connecting to the NVMe target")
        settle(self.vm, "ls /dev/nvme*n1", "nvme", "the namespace")
        self.device = self.vm.run("ls /dev/nvme*n1").output.split()[0]
        if not self.patient:
            self.vm.run("for f in /sys/class/nvme/nvme*/fast_io_fail_tmo; do echo 1 > $f; done")
        return self

    def state(self):
        return self.vm.run("cat /sys/class/nvme/nvme*/state", check=False).output.strip()

    def __exit__(self, *_):
        self.vm.run(["nvme", "disconnect", "-n", self.target.name], check=False, timeout=60 * self.vm.slow)
        self.vm.run(f"modprobe -r nvme-{self.target.transport}", check=False, timeout=60 * self.vm.slow)


class IserTarget:
    """A SCSI disk in a guest's memory that the kernel's iSCSI target offers over iSER.

    The target listens for TCP at each address that it has iSER at, and the adapter's connections come from a TCP socket
    at that address, too.  So the target gets its own in a network namespace that nobody else uses.
    """

    name = "iqn.2026-01.test.erdma:disk"

    def __init__(self, vm, megabytes=32, port=3260):
        self.vm, self.megabytes, self.portal = vm, megabytes, f"{vm.address}:{port}"
        self.disk = f"{CONFIG}/target/core/rd_mcp_0/test"
        self.root = f"{CONFIG}/target/iscsi/{self.name}"

    def __enter__(self):
        self.vm.run(f"""set -e
mountpoint -q {CONFIG} || mount -t configfs none {CONFIG}
modprobe -a target_core_mod iscsi_target_mod ib_isert
mkdir -p {self.disk} {CONFIG}/target/iscsi
echo rd_pages={self.megabytes * 256} > {self.disk}/control; echo 1 > {self.disk}/enable
mkdir -p {self.root}/tpgt_1; cd {self.root}/tpgt_1
echo 0 > attrib/authentication; echo 1 > attrib/generate_node_acls; echo 1 > attrib/cache_dynamic_acls
echo 0 > attrib/demo_mode_write_protect
mkdir lun/lun_0; ln -s {self.disk} lun/lun_0/disk
unshare -n sh -ec 'ip link set lo up; ip addr add {self.vm.address}/32 dev lo; mkdir np/{self.portal}'
echo 1 > np/{self.portal}/iser; echo 1 > enable""", timeout=60 * self.vm.slow)
        return self

    def __exit__(self, *_):
        self.vm.run(f"""cd {self.root}/tpgt_1; echo 0 > enable; echo 0 > np/{self.portal}/iser; rmdir np/{self.portal}
rm lun/lun_0/disk; rmdir lun/lun_0 {self.root}/tpgt_1 {self.root} {CONFIG}/target/iscsi {self.disk}
modprobe -r ib_isert iscsi_target_mod""", check=False, timeout=60 * self.vm.slow)


class IserHost(Disk):
    """The other end: a SCSI disk of open-iscsi."""

    def __init__(self, vm, target):
        super().__init__(vm)
        self.node = f"iscsiadm -m node -T {target.name} -p {target.portal}"

    def __enter__(self):
        self.vm.run(f"""set -e
modprobe -a ib_iser sd_mod; mkdir -p /etc/iscsi /run/lock/iscsi
echo InitiatorName=iqn.2026-01.test.erdma:host > /etc/iscsi/initiatorname.iscsi; pidof iscsid > /dev/null || iscsid
{self.node} -o new; {self.node} -o update -n iface.transport_name -v iser; {self.node} --login""",
                    timeout=60 * self.vm.slow)
        blocks = "/sys/class/iscsi_session/session*/device/target*/*/block/"
        settle(self.vm, f"ls -d {blocks}*", "/sd", "the disk")
        self.device = "/dev/" + self.vm.run(f"ls {blocks}").output.split()[0]
        return self

    def __exit__(self, *_):
        self.vm.run(f"{self.node} --logout; {self.node} -o delete; iscsiadm -k 0; modprobe -r ib_iser", check=False,
                    timeout=60 * self.vm.slow)


@contextlib.contextmanager
def nfs_export(vm, folder="/run/nfs-export"):
    """A folder in memory that NFS clients may mount over RDMA on port 20049."""
    vm.run(f"""set -e
modprobe -a nfsd rpcrdma
mkdir -p {folder}; mountpoint -q {folder} || mount -t tmpfs tmpfs {folder}
mkdir -p /run/nfs-state /var/lib/nfs; mountpoint -q /var/lib/nfs || mount -t tmpfs tmpfs /var/lib/nfs
mkdir -p /var/lib/nfs/v4recovery /var/lib/nfs/rpc_pipefs; touch /var/lib/nfs/etab /var/lib/nfs/rmtab
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
rpc.nfsd --no-nfs-version 3 --nfs-version 4 2
pidof rpc.mountd > /dev/null || rpc.mountd --no-nfs-version 3
exportfs -o rw,no_root_squash,insecure,fsid=0 "*:{folder}"
echo "rdma 20049" > /proc/fs/nfsd/portlist""", timeout=60 * vm.slow)
    try:
        yield folder
    finally:
        vm.run(f"exportfs -au; rpc.nfsd 0; pkill rpc.mountd; umount {folder}; modprobe -r rpcrdma", check=False,
               timeout=60 * vm.slow)


@contextlib.contextmanager
def nfs_mount(vm, server, at="/run/nfs"):
    vm.run(f"modprobe -a nfs rpcrdma; mkdir -p {at}; "
           f"mount -t nfs -o vers=4.1,proto=rdma,port=20049,soft,timeo=100 {server.address}:/ {at}",
           timeout=90 * vm.slow)
    try:
        yield at
    finally:
        vm.run(f"umount {at} || umount -f -l {at}", check=False, timeout=90 * vm.slow)
