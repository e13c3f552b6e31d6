# SPDX-License-Identifier: GPL-2.0-or-later
"""The PCI function as a driver finds it (adapter.md chapters 1 to 3), without a guest."""

import struct
import time
import unittest

import qemu_host as host

SLOT = 0x10
NIC = 0x11
DEPTH = 512  # WQEBBs of the command queue

# Guest memory: rings, records, and where interrupt messages are written to
SQ, CQ, EQ, AEQ = 0x100000, 0x110000, 0x120000, 0x130000
RECORDS = 0x150000
MESSAGE = 0x160000


class Base(unittest.TestCase):
    options = []
    running = False

    def setUp(self):
        nic = host.nic()
        nic[-1] += f",addr={NIC:#x}"
        self.qemu = host.Qemu([*nic, *host.adapter(addr=hex(SLOT)), *self.options], running=self.running)
        self.addCleanup(self.qemu.close)
        self.function = host.Function(self.qemu, SLOT)

    def eventually(self, check, what):
        limit = time.monotonic() + 10
        while not check():
            self.assertLess(time.monotonic(), limit, what)
            time.sleep(0.01)


class Configuration(Base):
    def test_identity(self):
        function = self.function
        self.assertEqual(function.config(0), 0x107F1DED)
        self.assertEqual(function.config(8), 0x02800001)
        self.assertEqual(function.config(0x2C), 0x107F1DED)
        self.assertEqual(function.config(0x3D, 1), 0, "no INTx pin")
        self.assertEqual(function.config(0x30), 0, "no ROM")

    def test_bars(self):
        sizes = []
        for bar in range(6):
            offset = 0x10 + 4 * bar
            self.function.set_config(offset, 0xFFFFFFFF)
            sizes.append(self.function.config(offset))
        self.assertEqual(sizes, [0xFF000004, 0xFFFFFFFF, 0xFFFFE004, 0xFFFFFFFF, 0, 0])

    def test_capabilities(self):
        msix = self.function.capability(0x11)
        self.assertEqual(self.function.config(msix + 2, 2) & 0x7FF, 31)
        self.assertEqual(self.function.config(msix + 4) & 7, 2)
        self.assertEqual(self.function.config(msix + 8) & 7, 2)
        express = self.function.capability(0x10)
        self.assertTrue(self.function.config(express + 4) & 1 << 28, "function-level reset")

    def test_registers(self):
        function = self.function
        function.enable()
        self.assertEqual(function.reg(0x00), 0x01000000)
        self.assertEqual(function.reg(0x0C), 0)
        self.assertEqual(function.reg(0x14), 0)
        self.assertEqual(function.reg(0x18), 0x00123450)
        self.assertEqual(function.reg(0x1C), 0x00005254)
        self.assertEqual(function.reg(0x4C), 24)
        self.assertEqual(self.qemu.read64(function.REGISTERS + 0x80), 0)

    def test_any_access_is_harmless(self):
        function = self.function
        function.enable()
        for letter in "bwlq":
            for offset in (0, 1, 3, 0x10, 0x11, 0xFFF, 0x1000, 0x1003, 0x79000, 0xFFFF8):
                address = function.REGISTERS + offset
                self.qemu.qtest(f"write{letter} {address:#x} 0x5a")
                self.qemu.qtest(f"read{letter} {address:#x}")
        self.assertEqual(function.reg(0x00), 0x01000000)

    def test_dead_device_reads_all_ones(self):
        self.function.enable()
        self.qemu.set("faults", "dead")
        self.assertEqual(self.function.reg(0x00), 0xFFFFFFFF)
        self.qemu.set("faults", "")
        self.assertEqual(self.function.reg(0x00), 0x01000000)


class Driver(Base):
    """Just enough of a driver for the command queue."""

    def bring_up(self, eq=EQ, sq=SQ, cq=CQ, aeq=AEQ):
        qemu, function = self.qemu, self.function
        for address, length in ((SQ, DEPTH * 32), (CQ, DEPTH * 32), (EQ, 0x1000), (AEQ, 0x10000), (RECORDS, 64),
                                (MESSAGE, 0x100)):
            qemu.zero(address, length)
        for offset, value in ((0x44, 0), (0x40, aeq), (0x48, 4096), (0x24, 0), (0x20, sq), (0x30, DEPTH),
                              (0x2C, 0), (0x28, cq), (0x3C, 0), (0x38, eq), (0x34, 128)):
            function.set_reg(offset, value)
        for number, offset in enumerate((0x60, 0x68, 0x70, 0x78)):
            function.set_reg64(offset, RECORDS + 8 * number)
        function.set_reg(0x10, 2)
        self.eventually(lambda: function.reg(0x14) == 2, "INIT_DONE")
        self.producer = 0
        self.consumer = 0

    def put(self, sub_module=0, opcode=0, cookie=7, fields=b""):
        """Puts a command of 128 bytes into the ring."""
        after = self.producer + 4
        header = 3 << 52 | cookie << 32 | sub_module << 24 | opcode << 16 | after & 0xFFFF
        self.qemu.write(SQ + self.producer % DEPTH * 32, struct.pack("<Q", header) + fields.ljust(120, b"\0"))
        self.producer = after

    def ring(self):
        self.function.set_reg64(0x200, self.producer & 0xFFFF)

    def post(self, *command, **details):
        self.put(*command, **details)
        self.ring()

    def completion(self):
        raw = self.qemu.read(CQ + self.consumer % DEPTH * 32, 32)
        header = struct.unpack(">I", raw[:4])[0]
        valid = bool(header >> 31) == (self.consumer // DEPTH % 2 == 0)
        return header, raw if valid else None

    def complete(self):
        self.eventually(lambda: self.completion()[1], "a completion")
        header, raw = self.completion()
        self.consumer += 1
        return header & 0xFF, struct.unpack(">4I", raw[8:24])

    def arm(self):
        self.function.set_reg64(0x300, 1 << 31 | self.consumer)


class CommandQueue(Driver):
    def test_query_device(self):
        self.function.enable()
        self.bring_up()
        self.post()
        status, words = self.complete()
        self.assertEqual(status, 0)
        self.assertEqual(words[0] & 0xFF, 36)
        self.assertEqual(words[0] >> 16 & 0xFF, 15)
        self.assertEqual(words[1] >> 8 & 0xFF, 20)
        self.assertEqual(words[2] >> 16 & 0xFFF, 4)
        self.assertGreater(sum(self.qemu.get("counters").values()), 0)

    def test_faults_reach_the_commands(self):
        self.function.enable()
        self.bring_up()
        self.qemu.set("faults", "cmd-fail=0/0:12*1")
        self.post()
        self.assertEqual(self.complete()[0], 12)
        self.post()
        self.assertEqual(self.complete()[0], 0)

    def test_no_dma_without_bus_mastering(self):
        self.function.enable(bus_master=False)
        self.bring_up()
        self.post()
        time.sleep(0.2)
        self.assertIsNone(self.completion()[1])
        self.assertEqual(self.function.reg(0x00), 0x01000000)

    def test_rings_in_the_adapters_own_registers(self):
        """DMA reaches memory only: an address of a BAR is an error, not a second way in."""
        self.function.enable()
        self.bring_up(eq=self.function.REGISTERS + 0x10)
        self.arm()
        self.post()
        time.sleep(0.2)
        self.assertEqual(self.function.reg(0x14) & 2, 2, "no RESET was written")

    def test_rings_in_devices(self):
        """Own registers, MSI-X table, another device's registers, configuration spaces: an error each, nothing is called."""
        host.enable_memory_mapped(self.qemu)
        function = self.function
        function.enable()
        nic = host.Function(self.qemu, NIC)
        nic.set_config(0x20, 0xE4000000)
        nic.set_config(0x24, 0)
        nic.set_config(4, 6, 2)
        places = (function.REGISTERS, function.REGISTERS + 0x1000, function.MSIX, 0xE4000000,
                  function.memory_mapped(0), 0xFEC00000)
        for place in places:
            for ring in ("sq", "cq", "eq", "aeq"):
                with self.subTest(f"{ring} at {place:#x}"):
                    before = self.qemu.get("counter-dma_errors")
                    self.bring_up(**{ring: place})
                    self.arm()
                    self.post()
                    if ring != "aeq":
                        self.assertGreater(self.qemu.get("counter-dma_errors"), before)
                    self.assertEqual(function.reg(0x14), 2)
                    self.assertEqual(function.reg(0x00), 0x01000000)
                    function.set_reg(0x10, 1)
        self.bring_up()
        for place in places:
            # GET_STATS: an answer into memory.
            self.post(1, 4, fields=struct.pack("<IIQI", 0, 0, place, 256))
            self.assertEqual(self.complete()[0], 14)
        self.post()
        self.assertEqual(self.complete()[0], 0)

    def test_bus_mastering_goes_and_comes(self):
        self.function.enable()
        self.bring_up()
        self.post()
        self.assertEqual(self.complete()[0], 0)
        self.function.set_config(4, 2, 2)
        self.post()
        self.assertIsNone(self.completion()[1])
        self.assertGreater(self.qemu.get("counter-dma_errors"), 0)
        self.function.set_config(4, 6, 2)
        self.post()
        self.assertEqual(self.complete()[0], 0)

    def reset_ways(self):
        express = self.function.capability(0x10)
        control = self.function.config(express + 8, 2)
        yield "function-level reset", lambda: self.function.set_config(express + 8, control | 1 << 15, 2)
        yield "system reset", lambda: self.qemu.command("system_reset")

    def test_reset(self):
        for name, reset in self.reset_ways():
            with self.subTest(name):
                self.function.enable()
                self.bring_up()
                self.post()
                self.complete()
                reset()
                self.eventually(lambda: self.function.config(4, 2) & 6 == 0, "configuration space is reset")
                self.function.enable()
                self.assertEqual(self.function.reg(0x14), 0)
                self.assertEqual(self.function.reg(0x20), 0)

    def test_reset_register(self):
        self.function.enable()
        for _ in range(3):
            self.bring_up()
            self.post()
            self.function.set_reg(0x10, 1)
            self.assertEqual(self.function.reg(0x14), 1)


class Interrupts(Driver):
    def event(self, number):
        """Makes vector 0 fire: an armed command completion queue gets an entry."""
        self.arm()
        self.post()
        self.complete()
        # The event queue's doorbell as after its handler.
        self.eventually(lambda: self.qemu.read32(EQ + 16 * (number - 1)) >> 31, "an event")

    def rearm_eq(self, number):
        self.function.set_reg64(0x100, 1 << 31 | number)

    def message(self):
        return self.qemu.read32(MESSAGE)

    def prepare(self, masked):
        self.function.enable()
        self.function.enable_msix()
        self.function.set_vector(0, MESSAGE, 0x4711, masked)
        self.bring_up()

    def test_message(self):
        self.prepare(masked=False)
        self.event(1)
        self.eventually(lambda: self.message() == 0x4711, "the message")
        self.assertFalse(self.function.pending(0))

    def test_masked_vector_is_latched(self):
        self.prepare(masked=True)
        self.event(1)
        self.eventually(lambda: self.function.pending(0), "the pending bit")
        self.assertEqual(self.message(), 0)
        self.function.set_vector(0, MESSAGE, 0x4712, masked=False)
        self.assertEqual(self.message(), 0x4712)
        self.assertFalse(self.function.pending(0))

    def test_masked_function_is_latched(self):
        self.prepare(masked=False)
        self.function.enable_msix(masked=True)
        self.event(1)
        self.eventually(lambda: self.function.pending(0), "the pending bit")
        self.assertEqual(self.message(), 0)
        self.function.enable_msix(masked=False)
        self.assertEqual(self.message(), 0x4711)

    def test_one_message_for_each_arm(self):
        self.prepare(masked=False)
        for number in (1, 2, 3):
            self.qemu.write32(MESSAGE, 0)
            self.event(number)
            self.eventually(lambda: self.message() == 0x4711, "the message")
            self.rearm_eq(number)

    def test_nothing_without_msix(self):
        self.function.enable()
        self.function.set_vector(0, MESSAGE, 0x4711, False)
        self.bring_up()
        self.event(1)
        self.function.enable_msix()
        time.sleep(0.1)
        self.assertEqual(self.message(), 0)

    def test_message_into_the_adapters_own_registers(self):
        """A guest may point a message at DEV_CTRL; QEMU refuses it while the access that caused it is not over."""
        self.prepare(masked=False)
        self.function.set_vector(0, self.function.REGISTERS + 0x10, 1, False)
        self.event(1)
        time.sleep(0.2)
        self.assertEqual(self.function.reg(0x14), 2)

    def test_message_that_resets_the_function(self):
        """Aimed at the function-level reset in the configuration space: all commands are done, then it is reset."""
        host.enable_memory_mapped(self.qemu)
        for _ in range(3):
            self.prepare(masked=False)
            express = self.function.capability(0x10)
            control = self.function.config(express + 8, 2)
            self.function.set_vector(0, self.function.memory_mapped(express + 8), control | 1 << 15, False)
            self.arm()
            self.put()
            self.put()
            self.ring()
            self.eventually(lambda: self.function.config(4, 2) & 6 == 0, "configuration space is reset")
            self.assertEqual(self.complete()[0], 0)
            self.assertEqual(self.complete()[0], 0)
            self.function.enable()
            self.assertEqual(self.function.reg(0x14), 0)
        self.bring_up()
        self.post()
        self.assertEqual(self.complete()[0], 0)


class Slot(Interrupts):
    """Behind a root port whose slot can be switched off."""

    WINDOW = 0xE2F0E000  # both BARs

    def setUp(self):
        self.qemu = host.Qemu(["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
                               "-device", f"pcie-root-port,id=rp1,chassis=1,slot=1,addr={SLOT:#x}",
                               *host.nic(), *host.adapter(bus="rp1")])
        self.addCleanup(self.qemu.close)
        self.port = host.Function(self.qemu, SLOT)
        self.port.set_config(0x18, 0x00010100)
        self.port.set_config(0x20, self.WINDOW)
        self.port.set_config(4, 7, 2)
        self.function = host.Function(self.qemu, 0, bus=1)

    def test_message_that_unplugs_the_adapter(self):
        """Power off by a message: the adapter finishes, and leaves when nothing of it is on the stack."""
        host.enable_memory_mapped(self.qemu)
        self.prepare(masked=False)
        slot_control = self.port.capability(0x10) + 0x18
        self.function.set_vector(0, self.port.memory_mapped(slot_control), 0x0700, False)
        self.arm()
        self.put()
        self.put()
        self.ring()
        self.qemu.wait_event("DEVICE_DELETED")
        self.assertEqual(self.complete()[0], 0)
        self.assertEqual(self.complete()[0], 0)
        self.assertEqual(self.function.config(0), 0xFFFFFFFF)
        self.assertEqual(self.qemu.command("query-status")["running"], False)


class Stopped(Driver):
    """What an access leaves to later turns waits while the machine is stopped."""

    running = True

    def test_nothing_before_cont(self):
        self.function.enable()
        self.bring_up()
        # More than one turn does: half as many blocks in each command.
        for number in range(200):
            self.qemu.write(SQ + number * 64, struct.pack("<Q", 1 << 52 | (number * 2 + 2) & 0xFFFF) + bytes(56))
        self.producer = 400
        self.qemu.command("stop")
        self.ring()
        time.sleep(0.5)
        done = sum(self.qemu.read(CQ + number * 32, 1)[0] >> 7 for number in range(200))
        self.assertLess(done, 200)
        time.sleep(0.5)
        self.assertEqual(sum(self.qemu.read(CQ + number * 32, 1)[0] >> 7 for number in range(200)), done)
        self.qemu.command("cont")
        for _ in range(200):
            self.assertEqual(self.complete()[0], 0)


class Trace(Driver):
    options = ["-trace", "erdma_*", "-d", "guest_errors"]

    def test_events_are_printed(self):
        self.function.enable()
        self.bring_up()
        self.post()
        self.complete()
        self.eventually(lambda: "erdma_command eri0" in self.qemu.output(), "a command's trace line")
        self.assertIn("erdma_paired eri0", self.qemu.output())
        self.assertIn("erdma_bringup eri0", self.qemu.output())


if __name__ == "__main__":
    unittest.main()
