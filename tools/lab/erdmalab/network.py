# SPDX-License-Identifier: GPL-2.0-or-later
"""What joins VMs: a cable between two, a VDE switch among more; and groups of VMs that are joined."""

import os
import shutil
import socket
import subprocess
import tempfile
import time

from . import runs
from .common import LabError, LabTimeout, kill_group, say
from .vm import Adapter, die_with_parent

# Receive buffers of libvdeplug, which carries frames to and from the switch.
VDE_MTU = 1500


class Cable:
    """A pair of unix sockets, one for each of two VMs.  Carries frames of any size."""

    def __init__(self):
        self.ends = list(socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
        self.free = list(self.ends)

    def attach(self):
        """Settings of Adapter for the next VM."""
        number = self.free.pop(0).fileno()
        return {"netdev": f"stream,server=off,addr.type=fd,addr.str={number}", "inherit": [number]}

    def connected(self):
        """The VMs hold the ends now; when one of them ends, the other notices."""
        for end in self.ends:
            end.close()

    close = connected


class Switch:
    """A VDE switch: a process of the lab with a directory of sockets, both gone after close()."""

    def __init__(self):
        program = shutil.which("vde_switch")
        if program is None:
            raise LabError("vde_switch is not installed; run ./lab setup")
        # Not among the logs: the path of a unix socket has 107 octets.
        self.directory = tempfile.mkdtemp(prefix="erdma-vde-")
        self.path = os.path.join(self.directory, "switch")
        self.process = subprocess.Popen([program, "-s", self.path, "-n", "256"], stdin=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True, preexec_fn=die_with_parent)
        deadline = time.monotonic() + 20
        while not os.path.exists(os.path.join(self.path, "ctl")):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise LabTimeout("the VDE switch does not start")
            time.sleep(0.02)

    def attach(self):
        return {"netdev": f"vde,sock={self.path}"}

    def connected(self):
        """Nothing to do: the VMs come and go."""

    def close(self):
        if self.process.poll() is None:
            kill_group(self.process)
        if self.process.stdin:
            self.process.stdin.close()
        shutil.rmtree(self.directory, ignore_errors=True)


class Isolated:
    """For a single VM: a network with nothing else on it."""

    def attach(self):
        return {}

    def connected(self):
        pass

    close = connected


def join(count, mtu=1500, kind="auto"):
    """A network for that many VMs.  kind: "cable", "vde", or "auto" for what fits."""
    if kind == "auto":
        kind = "cable" if count == 2 else "vde" if count > 2 else "isolated"
    if kind == "vde" and mtu > VDE_MTU:
        raise LabError(f"a VDE switch carries frames up to an MTU of {VDE_MTU}, not {mtu}; "
                       "larger ones need exactly two VMs, which are joined by a cable")
    if kind == "cable" and count != 2:
        raise LabError(f"a cable joins two VMs, not {count}")
    return {"cable": Cable, "vde": Switch, "isolated": Isolated}[kind]()


class Group:
    """VMs vm1, vm2, … of one run with networks of their own; `with Group(...) as group:` boots them all at once.

    run          as runs.make_vm()
    kernel       as runs.make_vm(), or a list with one for each VM
    count        number of VMs
    nets         settings of Adapter for each network (10.77.<network>.<vm>), default one with an adapter;
                 "kind" among them is that of join()
    capture      write each VM's frames to eni<network>.pcap in its directory
    settings     those of Vm, for all
    """

    def __init__(self, run, kernel, count=2, nets=({},), capture=False, prefix="vm", **settings):
        if not 1 <= count <= 250:
            raise LabError(f"{count} VMs: 1 to 250 are possible")
        self.networks, self.machines = [], []
        nets = [dict(net) for net in nets]
        kernels = kernel if isinstance(kernel, list) else [kernel] * count
        try:
            for net in nets:
                self.networks.append(join(count, net.get("mtu", 1500), net.pop("kind", "auto")))
            for index in range(1, count + 1):
                adapters = [Adapter(**{"capture": capture, **network.attach(), **net})
                            for network, net in zip(self.networks, nets)]
                self.machines.append(runs.make_vm(run, kernels[index - 1], name=f"{prefix}{index}",
                                                  index=index, adapters=adapters, **settings))
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        self.stop()

    def __iter__(self):
        return iter(self.machines)

    def __getitem__(self, index):
        return self.machines[index]

    def __len__(self):
        return len(self.machines)

    def start(self):
        """Boot all, side by side; each knows the names of all."""
        try:
            for machine in self.machines:
                machine.launch()
            for network in self.networks:
                network.connected()
            for machine in self.machines:
                machine.await_boot()
            names = "".join(f"{machine.address} {machine.name} vm{machine.index}\n" for machine in self.machines)
            for machine in self.machines:
                machine.run(["sh", "-c", 'printf "127.0.0.1 localhost\\n%s" "$1" > /etc/hosts', "sh", names])
        except BaseException:
            self.stop()
            raise
        return self

    def load_drivers(self, params=""):
        for machine in self.machines:
            machine.load_driver(params)

    def own_texts(self, text):
        """(VM, what is meant for it): of a text for vm1, or of {"vm2": text}."""
        texts = text if isinstance(text, dict) else {"vm1": text}
        unknown = sorted(set(texts) - {f"vm{machine.index}" for machine in self.machines})
        if unknown:
            raise LabError(f"there is no {', '.join(unknown)}: with {len(self.machines)} VMs there are vm1 to "
                           f"vm{len(self.machines)}")
        return [(machine, texts[f"vm{machine.index}"]) for machine in self.machines if texts.get(f"vm{machine.index}")]

    def trouble(self, link="", faults=""):
        """Impair links (Vm.link) and let adapters misbehave (Vm.faults) from now on; each as own_texts() takes it."""
        for machine, text in self.own_texts(link):
            machine.link(text)
        for machine, text in self.own_texts(faults):
            machine.faults(text)

    def environment(self):
        """For commands in the VMs: how many there are and their addresses."""
        return {"ERDMA_VMS": str(len(self.machines)),
                **{f"ERDMA_VM{machine.index}": machine.address for machine in self.machines}}

    def check_logs(self):
        for machine in self.machines:
            machine.check_log()

    def stop(self):
        for machine in self.machines:
            machine.stop()
        for network in self.networks:
            network.close()

    def tell(self):
        """Say what was booted."""
        for machine in self.machines:
            say(f"{machine.name} {machine.address}: Linux {machine.kernel}, booted in {machine.boot_seconds:.1f} s; "
                f"logs in {os.path.relpath(machine.directory)}")
