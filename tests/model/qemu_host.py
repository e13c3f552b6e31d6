# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU with the device model, driven over QMP and the qtest protocol.

No guest runs: the processor is stopped, the tests play the part of the driver
by reading and writing ports, registers and guest memory.  All waits are
bounded, QEMU is ended with the test.

A machine that is started with running=True has a processor that sleeps from
the first instruction on; its clock runs and its network cards work.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

MODEL_DIR = os.environ.get("ERDMA_MODEL_DIR", "build/qemu-model")
WRAPPER = os.path.join(MODEL_DIR, "erdma-qemu")
MODEL = os.path.join(MODEL_DIR, "erdma-model.so")
MMCFG = 0xB0000000
LIMIT = 60  # seconds; generous, the machine may be busy

BASE = ["-machine", "q35", "-display", "none", "-nodefaults"]


def nic(number=0, mac=None, netdev="hubport,hubid=0"):
    """Options for one virtio NIC with netdev eni<number>."""
    address = mac or f"52:54:00:12:34:{0x50 + number:02x}"
    return ["-netdev", f"{netdev},id=eni{number}",
            "-device", f"virtio-net-pci,netdev=eni{number},mac={address},romfile="]


def adapter(number=0, **properties):
    """Options for adapter eri<number> on eni<number>."""
    extra = "".join(f",{name.replace('_', '-')}={value}" for name, value in properties.items())
    return ["-device", f"erdma,id=eri{number},eni=eni{number}{extra}"]


def run(options, base=None, **settings):
    """Starts QEMU to its end and returns the finished process; for command lines that must fail."""
    return subprocess.run([WRAPPER, *(BASE if base is None else base), "-S", *options], timeout=LIMIT,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, check=False, **settings)


class QmpError(Exception):
    """QEMU's answer to a refused command."""


class Qemu:
    """A running QEMU.  Use as context manager."""

    def __init__(self, options, machine="q35", wrapper=WRAPPER, running=False, **settings):
        self.folder = tempfile.mkdtemp(prefix="erdma-model-test-")
        self.log = open(os.path.join(self.folder, "stderr"), "w+", encoding="utf-8")
        self.events = []
        listeners = {}
        for name in ("qmp", "qtest"):
            listeners[name] = socket.socket(socket.AF_UNIX)
            listeners[name].bind(os.path.join(self.folder, name))
            listeners[name].listen(1)
            listeners[name].settimeout(LIMIT)
        command = [wrapper, "-machine", machine, "-display", "none", "-nodefaults", "-accel", "tcg",
                   *(["-bios", self._sleeping_firmware()] if running else ["-S"]),
                   "-qtest", f"unix:{self.folder}/qtest", "-qtest-log", "none",
                   "-chardev", f"socket,path={self.folder}/qmp,id=qmp", "-mon", "chardev=qmp,mode=control",
                   *options]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        **settings)
        self.streams = {}
        try:
            for name in ("qtest", "qmp"):
                self.streams[name] = self._accept(listeners[name])
            for listener in listeners.values():
                listener.close()
            self._receive()
            self.command("qmp_capabilities")
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept(self, listener):
        limit = time.monotonic() + LIMIT
        listener.settimeout(0.2)
        while True:
            try:
                connection, _ = listener.accept()
                connection.settimeout(LIMIT)
                with connection:  # the stream keeps it open
                    return connection.makefile("rw", encoding="utf-8", newline="\n")
            except socket.timeout:
                if self.process.poll() is not None or time.monotonic() > limit:
                    raise RuntimeError("QEMU did not come up: " + self.output()) from None

    def _sleeping_firmware(self):
        path = os.path.join(self.folder, "firmware")
        with open(path, "wb") as file:
            file.write(bytes(0xFFF0) + b"\xfa\xf4\xeb\xfd".ljust(16, b"\0"))  # cli; hlt; again
        return path

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in self.streams.values():
            with contextlib.suppress(OSError):
                stream.close()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def output(self):
        """What QEMU has printed so far."""
        with open(self.log.name, encoding="utf-8") as text:
            return text.read()

    # QMP

    def _receive(self):
        line = self.streams["qmp"].readline()
        if not line:
            raise RuntimeError("QEMU ended: " + self.output())
        return json.loads(line)

    def command(self, name, /, **arguments):
        request = {"execute": name}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.streams["qmp"].write(json.dumps(request) + "\n")
        self.streams["qmp"].flush()
        while True:
            answer = self._receive()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise QmpError(answer["error"]["desc"])
            else:
                return answer["return"]

    def wait_event(self, name):
        while True:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event
            self.events.append(self._receive())

    def get(self, name, device="eri0"):
        return self.command("qom-get", path=f"/machine/peripheral/{device}", property=name)

    def set(self, name, value, device="eri0"):
        return self.command("qom-set", path=f"/machine/peripheral/{device}", property=name, value=value)

    def sleep(self):
        """ACPI's S3 on a q35 machine, as its guest would ask for it.  QMP's system_wakeup ends it, and resets all devices."""
        bridge = Function(self, 0x1F)
        bridge.set_config(0x40, 0x600 | 1)  # PMBASE
        bridge.set_config(0x44, 0x80, 1)  # ACPI_EN
        self.qtest("outw 0x604 0x2400")  # PM1a_CNT: SLP_EN, SLP_TYP 1
        self.wait_event("SUSPEND")

    # qtest

    def qtest(self, text):
        stream = self.streams["qtest"]
        stream.write(text + "\n")
        stream.flush()
        while True:
            line = stream.readline()
            if not line:
                raise RuntimeError("QEMU ended: " + self.output())
            words = line.split()
            if words[0] == "IRQ":
                continue
            if words[0] != "OK":
                raise RuntimeError(f"qtest {text}: {line}")
            return int(words[1], 0) if len(words) > 1 and len(words[1]) <= 18 else words[1:]

    def write32(self, address, value):
        self.qtest(f"writel {address:#x} {value:#x}")

    def write64(self, address, value):
        self.qtest(f"writeq {address:#x} {value:#x}")

    def read32(self, address):
        return self.qtest(f"readl {address:#x}")

    def read64(self, address):
        return self.qtest(f"readq {address:#x}")

    def write(self, address, data):
        self.qtest(f"write {address:#x} {len(data):#x} 0x{data.hex()}")

    def zero(self, address, length):
        self.qtest(f"memset {address:#x} {length:#x} 0")

    def read(self, address, length):
        stream = self.streams["qtest"]
        stream.write(f"read {address:#x} {length:#x}\n")
        stream.flush()
        return bytes.fromhex(stream.readline().split()[1][2:])


def enable_memory_mapped(qemu):
    """Configuration spaces in memory: PCIEXBAR of the q35 host bridge."""
    bridge = Function(qemu, 0)
    bridge.set_config(0x64, 0)
    bridge.set_config(0x60, MMCFG | 1)


class Function:
    """The adapter's PCI function: configuration space through the legacy ports, BARs placed by hand."""

    REGISTERS = 0xE0000000
    MSIX = 0xE2000000

    def __init__(self, qemu, slot, bus=0):
        self.qemu = qemu
        self.base = 0x80000000 | bus << 16 | slot << 11

    def config(self, offset, size=4):
        self.qemu.qtest(f"outl 0xcf8 {self.base | offset & ~3:#x}")
        letter = {1: "b", 2: "w", 4: "l"}[size]
        return self.qemu.qtest(f"in{letter} {0xCFC + offset % 4:#x}")

    def set_config(self, offset, value, size=4):
        self.qemu.qtest(f"outl 0xcf8 {self.base | offset & ~3:#x}")
        letter = {1: "b", 2: "w", 4: "l"}[size]
        self.qemu.qtest(f"out{letter} {0xCFC + offset % 4:#x} {value:#x}")

    def capability(self, number):
        """Offset of a capability, 0 if there is none."""
        offset = self.config(0x34, 1)
        while offset and self.config(offset, 1) != number:
            offset = self.config(offset + 1, 1)
        return offset

    def enable(self, bus_master=True):
        """Places both BARs and switches memory decoding (and bus mastering) on."""
        for offset, address in ((0x10, self.REGISTERS), (0x18, self.MSIX)):
            self.set_config(offset, address)
            self.set_config(offset + 4, 0)
        self.set_config(4, 6 if bus_master else 2, 2)

    def enable_msix(self, enabled=True, masked=False):
        capability = self.capability(0x11)
        control = self.config(capability + 2, 2) & 0x3FFF
        self.set_config(capability + 2, control | enabled << 15 | masked << 14, 2)

    def set_vector(self, vector, address, data, masked):
        entry = self.MSIX + 16 * vector
        self.qemu.write32(entry, address)
        self.qemu.write32(entry + 4, 0)
        self.qemu.write32(entry + 8, data)
        self.qemu.write32(entry + 12, int(masked))

    def memory_mapped(self, offset):
        """Where the configuration space lies in memory, once enable_memory_mapped() was called."""
        return MMCFG + ((self.base & 0x7FFFFFFF) >> 8 << 12) + offset

    def pending(self, vector):
        return bool(self.qemu.read32(self.MSIX + 0x1000 + vector // 32 * 4) >> vector % 32 & 1)

    def reg(self, offset):
        return self.qemu.read32(self.REGISTERS + offset)

    def set_reg(self, offset, value):
        self.qemu.write32(self.REGISTERS + offset, value)

    def set_reg64(self, offset, value):
        self.qemu.write64(self.REGISTERS + offset, value)
