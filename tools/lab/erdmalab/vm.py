# SPDX-License-Identifier: GPL-2.0-or-later
"""One virtual machine: start, commands, driver, QMP, log watch, stop."""

import contextlib
import ctypes
import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

from . import clock, initramfs, kernel as kernels, watch, workloads
from .channel import Channel, CommandFailed
from .common import BUILD, CHECKOUT, GUEST_FILES, LabError, LabTimeout, kill_group, tail
from .qmp import Qmp



def model_directory():
    """Where the model and its wrapper are: built, or installed by the package.

    As in the tests of the model without guest ERDMA_MODEL_DIR comes first: one that was built for another QEMU brings
    that with it.
    """
    installed = None if CHECKOUT else shutil.which("erdma-qemu")
    default = os.path.dirname(os.path.realpath(installed)) if installed else os.path.join(BUILD, "qemu-model")
    return os.path.abspath(os.environ.get("ERDMA_MODEL_DIR") or default)


def eadm_program():
    """Path of eadm, built or installed, or None."""
    program = os.path.join(BUILD, "tools", "eadm", "eadm")
    return program if os.path.exists(program) else None if CHECKOUT else shutil.which("eadm")


MODEL_DIR = model_directory()
MODEL = os.path.join(MODEL_DIR, "erdma-model.so")
WRAPPER = os.path.join(MODEL_DIR, "erdma-qemu")
QEMU = "qemu-system-x86_64"
# What rdma-core's programs need; the driver's own dependencies come by themselves.
RDMA_MODULES = ("ib_core", "ib_uverbs", "iw_cm", "rdma_cm", "rdma_ucm")


def kvm_works():
    """True when processor flags and the device file say that KVM can be used."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as text:
            flags = re.search(r"(?m)^flags\s*:.*\b(vmx|svm)\b", text.read())
    except OSError:
        flags = None
    return bool(flags) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def die_with_parent():
    """In QEMU before it starts: end when the lab is killed without a chance to clean up."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Adapter:
    """One network interface with (usually) an RDMA adapter beside it.

    netdev    QEMU's -netdev without the id; default: a network with nothing else on it
    inherit   file descriptors of the lab that netdev names
    address   IPv4 address with prefix for the guest, or None: one of the lab's, with an IPv6 address (address6) beside it
    erdma     False leaves the RDMA adapter out (a plain NIC)
    options   further properties of the erdma device: {"name": value}
    nic       further properties of the virtio-net device
    capture   True writes all frames to eni<number>.pcap in the VM's directory
    """

    def __init__(self, netdev="user,restrict=on,ipv6=off", inherit=(), address=None, mtu=1500, mac=None,
                 erdma=True, options=None, nic=None, capture=False):
        self.netdev, self.inherit = netdev, list(inherit)
        self.address, self.mtu, self.mac = address, mtu, mac
        self.address6 = None
        self.erdma, self.options, self.nic = erdma, dict(options or {}), dict(nic or {})
        self.capture = capture


def properties(settings):
    """Properties as QEMU wants them: booleans as on and off, commas in values doubled."""
    words = []
    for name, value in settings.items():
        if isinstance(value, bool):
            value = "on" if value else "off"
        words.append(f",{name}={value}".replace(",", ",,")[1:])
    return "".join(words)


def joined(own, more):
    """Environment of a program: its own and more; of variables that are lists, as of libraries, its own comes first."""
    lists = {name: ":".join([own[name], more[name]]) for name in ("LD_PRELOAD", "ASAN_OPTIONS") if own.get(name) and name in more}
    return {**more, **own, **lists}


def adapter_property_names():
    """Names of the properties of QEMU's erdma device, as the model that is built or installed has them."""
    result = subprocess.run([WRAPPER, "-machine", "none", "-device", "erdma,help"], text=True, timeout=60, check=False,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    names = re.findall(r"(?m)^\s+([\w-]+)=", result.stdout)
    if result.returncode or not names:
        raise LabError(f"{WRAPPER} does not tell the adapter's properties: {result.stderr.strip()}")
    return names


def slowness(debug):
    """Factor by which to stretch a guest's time limits: emulation and debugging kernels are slow."""
    return (1 if kvm_works() else 2) * (4 if debug else 1)


class Vm:
    """A virtual machine.  Use it with `with Vm(...) as vm:`, which starts and stops it.

    directory  where logs, sockets and the share are kept
    kernel     kernel.Kernel; default: kernels.find()
    driver     path of erdma.ko to make known to modprobe, or None
    adapters   list of Adapter; default: one
    model      False boots stock QEMU without the device model (and without adapters' erdma); a path: the directory of
               another build of it, with its wrapper
    qemu_args  further arguments for QEMU; qemu_env: further environment
    append     further kernel parameters
    index      number of this VM among those of one run: gives addresses and MACs
    """

    # Module parameters where load_driver() gets none.
    driver_params = ""
    # What every command gets; replaced, never changed.
    environment = {}

    def __init__(self, directory, kernel=None, driver=None, adapters=None, model=True, cpus=1,
                 memory=None, name="vm1", index=1, append="", qemu_args=(), qemu_env=None):
        self.kernel = kernel or kernels.find()
        self.directory = os.path.abspath(directory)
        self.driver, self.model, self.cpus = driver, model, cpus
        self.preload, self.wrapper = MODEL, WRAPPER
        if isinstance(model, str):
            self.preload, self.wrapper = (os.path.join(model, os.path.basename(path)) for path in (MODEL, WRAPPER))
        self.memory = memory or (2048 if self.kernel.debug else 1024)
        self.name, self.index, self.append = name, index, append
        self.adapters = [Adapter()] if adapters is None else list(adapters)
        self.qemu_args, self.qemu_env = list(qemu_args), dict(qemu_env or {})
        for number, adapter in enumerate(self.adapters):
            adapter.mac = adapter.mac or f"52:54:00:e0:{number:02x}:{index:02x}"
            if adapter.address is None:
                adapter.address = f"10.77.{number}.{index}/24"
                adapter.address6 = str(ipaddress.IPv6Interface(f"fd00:10:77:{number:x}::{index:x}/64"))
        self.process = self.channel = self.qmp_connection = None
        self.console = os.path.join(self.directory, "console.log")
        self.qemu_log = os.path.join(self.directory, "qemu.log")
        self.share = os.path.join(self.directory, "share")
        self.watch = watch.LogWatch(self.console)
        self.allowed = []
        self.boot_seconds = None
        self._marks = 0
        self._begin = None

    # ---- life -----------------------------------------------------------------------

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        self.stop()

    @property
    def address(self):
        """The first interface's IPv4 address, without prefix."""
        return self.adapters[0].address.split("/")[0]

    @property
    def address6(self):
        """The first interface's IPv6 address of all the lab's networks, without prefix."""
        return self.adapters[0].address6.split("/")[0]

    @property
    def link_local(self):
        """The first interface's link-local IPv6 address (RFC 4862), for a %INTERFACE behind it."""
        octets = bytearray.fromhex(self.adapters[0].mac.replace(":", ""))
        octets[0] ^= 2
        return str(ipaddress.IPv6Address(0xFE80 << 112 | int.from_bytes(octets[:3] + b"\xff\xfe" + octets[3:], "big")))

    @property
    def slow(self):
        """Factor by which to stretch time limits."""
        return slowness(self.kernel.debug)

    def boot_arguments(self):
        """What is booted: kernel, RAM disk, kernel parameters, the host's root to run in, the share."""
        extra = kernels.extra_modules(self.kernel, [self.driver] if self.driver else [])
        if extra:
            # The VM gets a copy of its own: a rebuild must not change it under way.
            copy = os.path.join(self.directory, "modules")
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(extra, copy, copy_function=os.link)
            updates = os.path.join(copy, "updates")
            os.makedirs(updates, exist_ok=True)
            target = os.path.join(updates, os.path.basename(self.driver))
            if os.path.exists(target):
                os.unlink(target)
            shutil.copy(self.driver, target)
            extra = copy
        nets = ";".join(f"{a.mac},{a.address},{a.mtu},{a.address6 or ''}" for a in self.adapters)
        paths = (os.path.realpath(self.kernel.modules), extra or "", GUEST_FILES, nets)
        if any(re.search(r"\s", text) for text in paths):
            raise LabError("paths with white space cannot be handed to the guest: "
                           f"{[text for text in paths if re.search(chr(92) + 's', text)]}")
        append = (
            "console=ttyS0,115200 loglevel=7 panic=-1 mitigations=off nokaslr net.ifnames=0 "
            "random.trust_cpu=on no_timer_check tsc=reliable rcupdate.rcu_cpu_stall_timeout=60 "
            f"lab.release={self.kernel.version} lab.modules={paths[0]} lab.extra={paths[1]} "
            f"lab.guest={paths[2]} lab.name={self.name} lab.net={nets} "
            f"lab.hung={60 if self.kernel.debug else 30} {self.append}").strip()
        return [
            "-kernel", self.kernel.image, "-initrd", initramfs.make(self.kernel),
            "-append", " ".join([append, *self.clock_parameters()]),
            "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
            "-fsdev", f"local,id=share,path={self.share},security_model=none,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=share,mount_tag=share",
        ]

    @staticmethod
    def clock_parameters():
        """Kernel parameters for a clock that runs right under emulation."""
        frequency = None if kvm_works() else clock.tsc_khz()
        return [f"tsc_early_khz={frequency}"] if frequency else []

    def command_line(self):
        """QEMU's arguments, complete; sockets are relative to the VM's directory."""
        kvm = kvm_works()
        line = [
            self.qemu_program(), "-name", self.name, "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-machine", "q35,vmport=off,hpet=off",
            "-accel", "kvm" if kvm else "tcg,thread=multi", "-cpu", "host" if kvm else "max,la57=off",
            "-smp", str(self.cpus), "-m", f"{self.memory}M",
            *self.boot_arguments(),
            "-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console",
            "-qmp", "unix:qmp.sock,server=on,wait=off",
            "-device", "virtio-serial-pci,id=serial0",
            "-chardev", "socket,id=lab,path=lab.sock,server=on,wait=off",
            "-device", "virtserialport,chardev=lab,name=org.erdma.lab",
            "-chardev", "socket,id=shell,path=shell.sock,server=on,wait=off",
            "-device", "virtserialport,chardev=shell,name=org.erdma.shell",
            "-device", "virtio-rng-pci",
        ]
        for number, adapter in enumerate(self.adapters):
            line += self.adapter_arguments(number, adapter)
        line += ["-device", "pcie-root-port,id=spare,chassis=90,slot=90"]
        return line + self.qemu_args

    def adapter_arguments(self, number, adapter):
        eni, eri = f"eni{number}", f"eri{number}"
        kind, _, rest = adapter.netdev.partition(",")
        line = ["-netdev", f"{kind},id={eni}" + (f",{rest}" if rest else ""),
                "-device", f"virtio-net-pci,netdev={eni},mac={adapter.mac},id=nic{number}"
                           f"{properties(adapter.nic)}"]
        if adapter.capture:
            # Filters are passed in the order of their creation, seen from the network: objects come before
            # devices, so this one stands outside of the adapter's.
            line += ["-object", f"filter-dump,id=dump{number},netdev={eni},file={eni}.pcap,maxlen=262144"]
        if self.model and adapter.erdma:
            line += ["-device", f"pcie-root-port,id=port{number},chassis={number + 1},slot={number + 1}",
                     "-device", f"erdma,id={eri},eni={eni},bus=port{number}{properties(adapter.options)}"]
        return line

    def qemu_program(self):
        if self.model and os.path.exists(self.wrapper):
            return self.wrapper
        program = shutil.which(QEMU)
        if program is None:
            raise LabError(f"{QEMU} is not installed; run ./lab setup")
        return program

    def start(self, timeout=None):
        """Boot and wait for the agent; about 10 s under emulation."""
        self.launch()
        return self.await_boot(timeout)

    def launch(self):
        """Start QEMU.  In the thread that lives longest: when it ends, the kernel ends QEMU too."""
        if self.model and not os.path.exists(self.preload):
            raise LabError(f"{self.preload} is not built; run ./lab build (or use --no-model)" if CHECKOUT else
                           f"the device model is not there: {self.preload}\n{kernels.HOW}")
        os.makedirs(self.share, exist_ok=True)
        os.chmod(self.share, 0o777)
        for name in ("qmp.sock", "lab.sock", "shell.sock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.directory, name))
        with contextlib.suppress(FileNotFoundError):
            self.watch.offset = os.path.getsize(self.console)  # of an earlier boot
        environment = {**os.environ, **self.qemu_env}
        line = self.command_line()
        if self.model and line[0] != self.wrapper:
            environment["LD_PRELOAD"] = self.preload
        inherited = [number for adapter in self.adapters for number in adapter.inherit]
        self._begin = time.monotonic()
        with open(self.qemu_log, "ab") as log:
            log.write((" ".join(line) + "\n").encode())
            log.flush()
            self.process = subprocess.Popen(line, cwd=self.directory, env=environment, stdout=log,
                                            stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT,
                                            pass_fds=inherited, start_new_session=True,
                                            preexec_fn=die_with_parent)

    def await_boot(self, timeout=None):
        """Wait until a launched VM answers."""
        timeout = timeout or 60 * self.slow
        try:
            self.channel = Channel(os.path.join(self.directory, "lab.sock"), self.alive)
            self._await_socket("qmp.sock")
            self.qmp_connection = Qmp(os.path.join(self.directory, "qmp.sock"))
            self.channel.connect(timeout)
        except BaseException as error:
            self.stop()
            if isinstance(error, LabError):
                raise LabError(f"{self.name} did not boot: {error}\n"
                               f"--- {self.qemu_log}:\n{tail(self.qemu_log, 8)}\n"
                               f"--- {self.console}:\n{tail(self.console, 30)}") from None
            raise
        self.boot_seconds = time.monotonic() - self._begin
        return self

    def _await_socket(self, name):
        deadline = time.monotonic() + 30
        while not os.path.exists(os.path.join(self.directory, name)):
            if not self.alive():
                raise LabError(f"QEMU ended with code {self.process.returncode}")
            if time.monotonic() > deadline:
                raise LabTimeout(f"QEMU did not open {name} within 30 s")
            time.sleep(0.02)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """End QEMU and everything that belongs to it.  Harmless when repeated."""
        if self.process is None:
            return
        try:
            if self.alive() and self.qmp_connection:
                with contextlib.suppress(LabError, OSError):
                    self.qmp_connection.command("quit")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(timeout=10)
        finally:
            if self.process.poll() is None:
                kill_group(self.process)
            for connection in (self.channel, self.qmp_connection):
                if connection:
                    connection.close()
            for name in ("qmp.sock", "lab.sock", "shell.sock"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.directory, name))
            shutil.rmtree(os.path.join(self.directory, "modules"), ignore_errors=True)

    # ---- commands -------------------------------------------------------------------

    def popen(self, command, **keywords):
        """Start a command in the background; returns a channel.Job.

        command: a list (executed as it is) or a string (for /bin/sh).  Keywords: cwd, env,
        pty, stdin (True keeps standard input open), on_output(kind, bytes).  What environment has is added to env.
        """
        if self.environment:
            keywords["env"] = joined(keywords.get("env") or {}, self.environment)
        return self.channel.start(command, **keywords)

    def run(self, command, timeout=None, check=True, **keywords):
        """Run a command to its end; returns a channel.Result, raises CommandFailed on failure.

        timeout: in seconds; by default 60, times `slow`.
        """
        job = self.popen(command, **keywords)
        try:
            return job.wait(timeout or 60 * self.slow, check)
        except BaseException:
            if job.code is None:
                with contextlib.suppress(LabError):
                    job.kill()
            raise

    def read(self, path):
        """Content of a file in the guest."""
        return self.run(["cat", path]).output

    def wait_listener(self, port, job, timeout=20, tcp=False):
        """Wait until an RDMA listener (or a TCP one) holds the port; job is the program that is to listen.

        Raises LabError when that ended before, LabTimeout when it does not listen in time.
        """
        if not tcp:
            return workloads.wait_listener(self, port, job, timeout)
        deadline = time.monotonic() + timeout * self.slow
        while self.run(f"ss -Htln 'sport = :{port}' | grep -q .", check=False).code:
            if job.code is not None:
                raise LabError(f"'{job.command}' ended with code {job.code} before it listened\n{job.text}")
            if time.monotonic() > deadline:
                raise LabTimeout(f"'{job.command}' does not listen on TCP port {port}\n{job.text}")
            time.sleep(0.1)
        return None

    def eadm(self, *words, timeout=60):
        """What `eadm WORDS --json` says, as Python values; raises CommandFailed for codes but 0 and 1 (doctor's findings)."""
        result = self.run([eadm_program() or "eadm", *map(str, words), "--json"],
                          timeout=timeout * self.slow, check=False)
        if result.code not in (0, 1):
            raise CommandFailed(result)
        return json.loads(result.output)

    # ---- driver ---------------------------------------------------------------------

    def load_rdma(self):
        """Load the kernel's RDMA modules that user programs need."""
        self.run(["modprobe", "-a", *RDMA_MODULES])

    @property
    def driver_name(self):
        """erdma, or siw: SoftiWARP, which makes its devices on network interfaces when it is told to."""
        return "siw" if os.path.basename(self.driver or "") == "siw.ko" else "erdma"

    def load_driver(self, params="", timeout=None):
        """Load the RDMA modules and the driver; waits until its devices are there.

        params: module parameters, "a=1 b=2".
        """
        self.load_rdma()
        self.run(["modprobe", self.driver_name, *(params or self.driver_params).split()], timeout)
        if self.driver_name == "siw":
            for number in range(len(self.adapters)):
                self.run(["rdma", "link", "add", f"siw_{number}", "type", "siw", "netdev", f"eth{number}"])
        expected = sum(1 for adapter in self.adapters if adapter.erdma)
        return self.wait_devices(expected, timeout)

    def pci_address(self, index=0):
        """PCI address of an adapter, in the order of the bus."""
        text = self.run("grep -l 0x1ded /sys/bus/pci/devices/*/vendor").output
        return sorted(os.path.basename(os.path.dirname(line)) for line in text.split())[index]

    def unload_driver(self, timeout=None):
        self.run(["rmmod", self.driver_name], timeout)

    def driver_loaded(self):
        return self.run(["test", "-d", f"/sys/module/{self.driver_name}"], check=False).code == 0

    def devices(self):
        """Names of the RDMA devices that the driver made, in order."""
        if self.driver_name == "siw":
            return self.run("ls /sys/class/infiniband").output.split()
        text = self.run("for d in /sys/class/infiniband/*; do [ -e $d ] || continue; "
                        "echo ${d##*/} $(basename \"$(readlink -f $d/device/driver)\"); done").output
        # The device of Linux's own driver of 6.1 is nobody's child.
        return [words[0] for words in map(str.split, text.splitlines())
                if words[1:] == ["erdma"] or (len(words) == 1 and words[0].startswith("erdma_"))]

    def wait_devices(self, count, timeout=None):
        """Wait for that many active devices, by default for 30 s, times `slow`; returns their names."""
        deadline = time.monotonic() + (timeout or 30 * self.slow)
        while True:
            names = self.devices()
            active = [name for name in names
                      if "ACTIVE" in self.run(f"cat /sys/class/infiniband/{name}/ports/*/state",
                                              check=False).output]
            if len(active) >= count:
                return active
            if time.monotonic() > deadline:
                raise LabTimeout(f"{len(active)} of {count} RDMA devices are active (present: "
                                 f"{names or 'none'})\n{self.dmesg()[-3000:]}")
            time.sleep(0.3)

    # ---- kernel log -----------------------------------------------------------------

    def dmesg(self):
        return self.run(["dmesg"]).output

    def mark(self, text):
        """Put a line into the guest's kernel log and wait until the console has it."""
        self._marks += 1
        line = f"lab: mark {self._marks}: {text}"
        self.run(f"echo '<6>{line}' > /dev/kmsg".replace("\n", " ")
                 if "'" not in line else ["sh", "-c", 'echo "<6>$1" > /dev/kmsg', "sh", line])
        wanted = f"lab: mark {self._marks}:".encode()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with open(self.console, "rb") as log:
                log.seek(max(0, self.watch.offset))
                if wanted in log.read():
                    return
            time.sleep(0.02)

    @contextlib.contextmanager
    def allow(self, *patterns):
        """Within this block, kernel reports that match one of the patterns are expected."""
        self.check_log()
        self.allowed = list(patterns)
        try:
            yield
        finally:
            try:
                self.check_log()
            finally:
                self.allowed = []

    def check_log(self, expected=()):
        """Raise watch.GuestTrouble when the kernel reported trouble since the last call, other than is expected."""
        if self.alive():
            with contextlib.suppress(LabError):
                self.mark("log check")
        return self.watch.check([*self.allowed, *expected], self.name)

    def kmemleak(self):
        """Scan for leaked kernel memory (debug kernel); returns the report, empty when clean."""
        path = "/sys/kernel/debug/kmemleak"
        if self.run(["test", "-e", path], check=False).code:
            return ""
        # Objects younger than 5 s are not reported, and a report wants two scans.
        time.sleep(6)
        for _ in range(2):
            self.run(f"echo scan > {path}", timeout=120 * self.slow)
        return self.read(path)

    # ---- QEMU -----------------------------------------------------------------------

    def qmp(self, command, /, **arguments):
        """Execute a QMP command (underscores in argument names become dashes)."""
        return self.qmp_connection.command(command, **arguments)

    def qom_get(self, name, path="eri0"):
        return self.qmp("qom-get", path=path if "/" in path else f"/machine/peripheral/{path}",
                        property=name)

    def qom_set(self, name, value, path="eri0"):
        return self.qmp("qom-set", path=path if "/" in path else f"/machine/peripheral/{path}",
                        property=name, value=value)

    def qom_list(self, path="eri0"):
        """Names and types of a device's properties."""
        items = self.qmp("qom-list", path=path if "/" in path else f"/machine/peripheral/{path}")
        return {item["name"]: item["type"] for item in items}

    def link(self, text="", device="eri0"):
        """Impair the link of an adapter's network card, from now on; an empty text makes it clean again.

        As in "to-wire:loss=1%,delay=50ms;to-guest:loss=1%;seed=7"; docs/lab.md has the grammar.  What it returns can be
        used in a with statement, whose end makes the link clean.
        """
        return self._until_left("link", text, device)

    def faults(self, text="", device="eri0"):
        """Let an adapter misbehave from now on, as in "cmd-drop=0/any"; an empty text ends it, and so does a with statement."""
        return self._until_left("faults", text, device)

    def _until_left(self, name, text, device):
        self.qom_set(name, text, device)
        block = contextlib.ExitStack()
        block.callback(self._clear, name, device)
        return block

    def _clear(self, name, device):
        # The device or the guest may be gone by then, which is for others to find.
        with contextlib.suppress(LabError, OSError):
            self.qom_set(name, "", device)

    def counters(self, device="eri0"):
        """The adapter's own counters: {name: number}."""
        return self.qom_get("counters", device)

    def capture(self, number=0):
        """Path of the frames that passed between the guest and network `number` until now; for a Vm with capture=True."""
        path = os.path.join(self.directory, f"eni{number}.pcap")
        if not self.adapters[number].capture:
            raise LabError(f"{self.name} was booted without capture=True")
        return path

    def unplug(self, device="eri0", timeout=60):
        """Hot-unplug a device and wait until the guest has let it go."""
        self.qmp("device_del", id=device)
        self.qmp_connection.wait_event("DEVICE_DELETED", timeout * self.slow, device=device)

    def plug(self, driver="erdma", device="eri0", bus="port0", **settings):
        """Hot-plug a device into a root port (port0, port1, … or spare)."""
        self.qmp("device_add", driver=driver, id=device, bus=bus, **settings)


def echo(kind, payload):
    """on_output that passes a guest's output on to this process's own."""
    stream = sys.stdout.buffer if kind == "O" else sys.stderr.buffer
    stream.write(payload)
    stream.flush()


def prefixed(name, errors=False):
    """on_output that writes whole lines, each with a name before it; errors: all of them to this process's errors."""
    rest = {"O": b"", "E": b""}

    def write(kind, payload):
        lines = (rest[kind] + payload).split(b"\n")
        rest[kind] = lines.pop()
        if lines:
            echo("E" if errors else kind, b"".join(name.encode() + b": " + line + b"\n" for line in lines))
    return write
