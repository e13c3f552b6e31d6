# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter between NIC and network: frames in both directions, trouble on the link, hot unplug (wire.md 1.2)."""

import os
import shutil
import socket
import struct
import tempfile
import time
import unittest

import qemu_host as host
from tap import Segment, Tap
from virtio_nic import CHECKSUM_AND_TSO, FEATURES, GUEST_CHECKSUM_AND_TSO, VirtioNic

NIC, NIC2, ERI, ERI2 = 0x10, 0x11, 0x12, 0x13
MAC = bytes.fromhex("525400123450")
PEER = bytes.fromhex("525400123499")
BROADCAST = b"\xff" * 6


def frame(to_guest, number, size=60, ethertype=0x88B5, tags=()):
    """A frame of a private protocol that carries its number."""
    link = (MAC + PEER if to_guest else PEER + MAC)
    for tag in tags:
        link += struct.pack(">HH", 0x8100, tag)
    link += struct.pack(">H", ethertype)
    body = struct.pack(">I", number) + bytes(range(256)) * (size // 256 + 1)
    return (link + body)[:size]


class Wire:
    """The test's end of a datagram netdev: one datagram, one frame."""

    def __init__(self, number=0):
        self.folder = tempfile.mkdtemp(prefix="erdma-wire-")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(os.path.join(self.folder, "test"))
        self.netdev = (f"dgram,local.type=unix,local.path={self.folder}/qemu,"
                       f"remote.type=unix,remote.path={self.folder}/test")

    def close(self):
        self.socket.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def send(self, data):
        self.socket.sendto(data, os.path.join(self.folder, "qemu"))

    def receive(self, limit=host.LIMIT):
        self.socket.settimeout(limit)
        try:
            return self.socket.recv(70000)
        except (socket.timeout, BlockingIOError):
            return None

    def received(self):
        """Everything that has come so far."""
        frames = []
        while (data := self.receive(0.2)) is not None:
            frames.append(data)
        return frames


def pcap_frames(path):
    with open(path, "rb") as file:
        data = file.read()
    frames, at = [], 24
    while at < len(data):
        length, = struct.unpack_from("<I", data, at + 8)
        frames.append(data[at + 16:at + 16 + length])
        at += 16 + length
    return frames


class Base(unittest.TestCase):
    machine = "q35"

    def start(self, *options, adapter=True, **properties):
        self.wire = Wire()
        self.addCleanup(self.wire.close)
        nic = host.nic(netdev=self.wire.netdev)
        nic[-1] += f",id=nic0,addr={NIC:#x}"
        if adapter:
            options = [*options, *host.adapter(addr=f"{ERI:#x}", **properties)]
        self.qemu = host.Qemu([*nic, *options], machine=self.machine, running=True)
        self.addCleanup(self.qemu.close)
        self.nic = VirtioNic(self.qemu, NIC)

    def counter(self, name, device="eri0"):
        return self.qemu.get(f"counter-{name}", device)

    def wait(self, name, value, device="eri0"):
        """Until a counter has its value."""
        end = time.monotonic() + host.LIMIT
        while self.counter(name, device) < value and time.monotonic() < end:
            time.sleep(0.01)
        self.assertEqual(self.counter(name, device), value)

    def both_ways(self, data_out, data_in):
        self.nic.send(data_out)
        self.assertEqual(self.wire.receive(), data_out)
        self.wire.send(data_in)
        self.assertEqual(self.nic.receive(), data_in)


class Frames(Base):
    def check(self):
        number = 0
        for size in (14, 60, 64, 65, 1514, 9014, 65000):
            for tags in ((), (5,), (5, 6)):
                number += 1
                if size >= 60 or not tags:
                    self.both_ways(frame(False, number, size, tags=tags), frame(True, number, size, tags=tags))
        # Not quite IPv4, TCP: nothing that reads headers may stumble.
        for ethertype in (0x0800, 0x0806, 0x86DD):
            for size in (14, 18, 34, 54, 60, 1514):
                self.both_ways(frame(False, size, size, ethertype), frame(True, size, size, ethertype))

    def test_pass_unchanged(self):
        self.start()
        self.check()
        for name, value in self.qemu.get("counters").items():
            if name.startswith("link"):
                self.assertEqual(value, 0, name)

    def test_pass_unchanged_through_an_impaired_link(self):
        """The same, but each frame is taken and sent again by the model."""
        self.start(link="both:duplicate=0.0001%")
        self.check()

    def test_frames_wait_while_the_machine_is_stopped(self):
        self.start(link="both:delay=1ms")
        self.qemu.command("stop")
        for number in range(20):
            self.wire.send(frame(True, number))
        time.sleep(0.5)
        self.assertEqual(self.counter("link_delayed"), 0)
        self.qemu.command("cont")
        for number in range(20):
            self.assertEqual(self.nic.receive(), frame(True, number))
        self.assertEqual(self.counter("link_delayed"), 20)

    def test_many_frames_wait_while_the_machine_is_stopped(self):
        """Those that come while others still wait stay behind them."""
        self.start(link="to-guest:cut")
        self.qemu.command("stop")
        for number in range(900):
            self.wire.send(frame(True, number))
        self.assertEqual(self.counter("link_cut"), 0)
        self.qemu.command("cont")
        self.wait("link_cut", 900)

    def test_frames_wait_while_the_machine_sleeps(self):
        self.start(link="both:delay=1ms")
        self.qemu.sleep()
        for number in range(20):
            self.wire.send(frame(True, number))
        time.sleep(0.5)
        self.assertEqual(self.counter("link_delayed"), 0)
        self.qemu.command("system_wakeup")
        self.qemu.wait_event("WAKEUP")
        self.wait("link_delayed", 20)
        self.nic = VirtioNic(self.qemu, NIC)
        while self.nic.receive(0.2):
            pass
        self.both_ways(frame(False, 99), frame(True, 99))


class Link(Base):
    def send_out(self, count, first=0):
        for number in range(first, first + count):
            self.nic.send(frame(False, number))

    def out(self, count, first=0):
        return [frame(False, number) for number in range(first, first + count)]

    def test_delay(self):
        self.start(link="both:delay=700ms")
        begin = time.monotonic()
        self.send_out(3)
        self.assertEqual([self.wire.receive() for _ in range(3)], self.out(3))
        self.assertGreaterEqual(time.monotonic() - begin, 0.7)
        self.assertEqual(self.counter("link_delayed"), 3)

        begin = time.monotonic()
        for number in range(3):
            self.wire.send(frame(True, number))
        self.assertEqual([self.nic.receive() for _ in range(3)], [frame(True, number) for number in range(3)])
        self.assertGreaterEqual(time.monotonic() - begin, 0.7)
        self.assertEqual(self.counter("link_delayed"), 6)

    def test_loss_is_counted_and_repeatable(self):
        arrived = []
        for seed in (7, 7, 8):
            self.start(link=f"to-wire:loss=30%;seed={seed}")
            self.send_out(100)
            self.assertTrue(10 < self.counter("link_lost") < 60)
            arrived.append([self.wire.receive() for _ in range(100 - self.counter("link_lost"))])
            self.assertNotIn(None, arrived[-1])
            self.assertEqual(self.wire.received(), [])
            self.qemu.close()
        self.assertEqual(arrived[0], arrived[1])
        self.assertNotEqual(arrived[0], arrived[2])

    def test_duplicates(self):
        self.start(link="to-wire:duplicate=100%")
        self.send_out(5)
        self.assertEqual([self.wire.receive() for _ in range(10)], [f for f in self.out(5) for _ in (0, 1)])
        self.assertEqual(self.counter("link_duplicated"), 5)

    def test_netdev_that_takes_nothing(self):
        """What the model sends does not pile up in QEMU, and all is well when somebody reads again."""
        self.start(link="to-wire:duplicate=100%")
        count, size = 400, 65000
        for _ in range(2):
            for number in range(count):
                self.nic.send(frame(False, number, size))
            arrived = self.wire.received()
            self.assertTrue(8 * 2 ** 20 < len(arrived) * size < 20 * 2 ** 20, len(arrived))
            self.assertEqual(arrived[:4], [frame(False, number // 2, size) for number in range(4)])
        self.nic.send(frame(False, 1))
        self.assertEqual(self.wire.received(), [frame(False, 1)] * 2)

    def test_other_direction_is_clean(self):
        self.start(link="to-guest:cut")
        self.nic.send(frame(False, 1))
        self.assertEqual(self.wire.receive(), frame(False, 1))
        self.wire.send(frame(True, 1))
        self.wait("link_cut", 1)
        self.assertIsNone(self.nic.receive(0.2))

    def test_set_at_run_time(self):
        self.start()
        self.both_ways(frame(False, 1), frame(True, 1))
        self.qemu.set("link", "both:cut")
        self.nic.send(frame(False, 2))
        self.wire.send(frame(True, 2))
        self.wait("link_cut", 2)
        self.qemu.set("link", "")
        self.both_ways(frame(False, 3), frame(True, 3))

    def test_text(self):
        self.start(link="both:loss=1.50%")
        self.assertEqual(self.qemu.get("link"), "both:loss=1.5%")
        for text, words in (("loss=1%", "direction"), ("both:loss=1", "loss must"), ("both:delay=2", "delay must"),
                            ("both:delay=1ms,jitter=2ms", "jitter must"), ("both:rate=fast", "rate must"),
                            ("both:loss=1%;seed=-1", "seed must"), ("both:speed=1", "speed=1")):
            with self.assertRaises(host.QmpError) as refused:
                self.qemu.set("link", text)
            self.assertIn("'link'", str(refused.exception))
            self.assertIn(words, str(refused.exception))
            self.assertEqual(self.qemu.get("link"), "both:loss=1.5%")

    def test_bad_text_on_the_command_line(self):
        result = host.run([*host.nic(), *host.adapter(link="both:corrupt=200%")])
        self.assertEqual(result.returncode, 1)
        self.assertIn("property 'link'", result.stderr)
        self.assertIn("corrupt must be 0% to 100%", result.stderr)
        self.assertIn("for example", result.stderr)

    def test_filter_can_be_switched_off(self):
        self.start(link="both:cut")
        path = "/machine/peripheral/eri0/filter"
        self.qemu.command("qom-set", path=path, property="status", value="off")
        self.both_ways(frame(False, 1), frame(True, 1))
        self.qemu.command("qom-set", path=path, property="status", value="on")
        self.nic.send(frame(False, 2))
        self.wait("link_cut", 1)

    def test_switched_off_filter_sends_nothing(self):
        self.start(link="both:delay=2s")
        self.send_out(1)
        self.qemu.command("qom-set", path="/machine/peripheral/eri0/filter", property="status", value="off")
        time.sleep(2.5)
        self.assertEqual(self.wire.received(), [])

    def test_link_down(self):
        self.start(link="both:delay=2s")
        self.send_out(1)
        self.qemu.command("set_link", name="nic0", up=False)
        time.sleep(2.5)
        self.assertEqual(self.wire.received(), [])


class VirtioHeader(unittest.TestCase):
    """Frames with a virtio-net header: unfinished checksums and super-frames keep what finishes them."""

    CHECKSUM = struct.pack("<BBHHHHH", 1, 0, 0, 0, Segment.OFFSET, Segment.FIELD, 0)

    def check(self, features, exchange, **properties):
        with Tap() as tap:
            nic = host.nic(netdev=tap.netdev)
            nic[-1] += f",addr={NIC:#x}"
            with host.Qemu([*nic, *host.adapter(**properties)], running=True) as qemu:
                card = VirtioNic(qemu, NIC, features=FEATURES | features)
                tap.up()
                exchange(tap, card)
                return qemu.get("counters")

    def plain(self, tap, card):
        to_guest, to_wire = frame(True, 1, 9014), frame(False, 1, 9014)
        card.send(to_wire)
        self.assertEqual(tap.receive(), to_wire)
        tap.send(to_guest)
        self.assertEqual(card.receive(), to_guest)
        segment = Segment(PEER, MAC, bytes(range(250)) * 4)
        card.send(segment.finished())
        self.assertEqual(tap.receive(), segment.finished())

    def offloads(self, tap, card):
        self.plain(tap, card)
        # A packet socket shows the frame as it came; the kernel finishes the checksum when somebody needs it.
        segment = Segment(PEER, MAC, bytes(range(250)) * 4)
        card.send(segment.unfinished(), self.CHECKSUM)
        self.assertIn(tap.receive(), (segment.unfinished(), segment.finished()))
        long = Segment(PEER, MAC, bytes(range(250)) * 200)
        tso = struct.pack("<BBHHHHH", 1, 1, 54, 1448, Segment.OFFSET, Segment.FIELD, 0)
        card.send(long.unfinished(), tso)
        self.assertIn(tap.receive(), (long.unfinished(), long.finished()))

    def test_pass(self):
        self.check(0, self.plain)

    def test_sent_again_by_the_model(self):
        self.assertEqual(self.check(0, self.plain, link="both:delay=1ms")["link_delayed"], 3)

    def test_offloads_pass(self):
        self.check(CHECKSUM_AND_TSO | GUEST_CHECKSUM_AND_TSO, self.offloads)

    def test_offloads_sent_again_by_the_model(self):
        counters = self.check(CHECKSUM_AND_TSO | GUEST_CHECKSUM_AND_TSO, self.offloads, link="both:delay=1ms")
        self.assertEqual(counters["link_delayed"], 5)

    def test_damage_is_not_hidden(self):
        """A corrupted frame arrives without the words that would make the receiver trust it."""
        def corrupt(tap, card):
            segment = Segment(PEER, MAC, bytes(range(250)) * 4)
            card.send(segment.unfinished(), self.CHECKSUM)
            received, good = tap.receive(), segment.finished()
            bits = sum((one ^ other).bit_count() for one, other in zip(received, good))
            self.assertEqual((len(received), bits), (len(good), 1))

        self.check(CHECKSUM_AND_TSO, corrupt, link="to-wire:corrupt=100%")


class OtherFilters(Base):
    def test_dump_sees_what_the_model_sends(self):
        folder = tempfile.mkdtemp(prefix="erdma-dump-")
        self.addCleanup(shutil.rmtree, folder)
        dump = os.path.join(folder, "pcap")
        self.start("-object", f"filter-dump,id=dump,netdev=eni0,file={dump}", link="both:duplicate=100%")
        self.nic.send(frame(False, 1))
        self.assertEqual([self.wire.receive() for _ in range(2)], [frame(False, 1)] * 2)
        self.wire.send(frame(True, 2))
        self.assertEqual([self.nic.receive() for _ in range(2)], [frame(True, 2)] * 2)
        self.qemu.close()
        # Two on the wire; one came from the wire.
        self.assertEqual(pcap_frames(dump), [frame(False, 1)] * 2 + [frame(True, 2)])


class SeveralAdapters(unittest.TestCase):
    """Two NICs of one QEMU, joined by a hub, each with its adapter: what one sends reaches the other at once."""

    def test_frames_pass_from_adapter_to_adapter(self):
        options = []
        for number, (nic, eri) in enumerate(((NIC, ERI), (NIC2, ERI2))):
            card = host.nic(number)
            card[-1] += f",addr={nic:#x}"
            options += [*card, *host.adapter(number, addr=f"{eri:#x}", link="both:delay=5ms")]
        with host.Qemu(options, running=True) as qemu:
            one, two = VirtioNic(qemu, NIC, 0), VirtioNic(qemu, NIC2, 1)
            data = [BROADCAST + PEER + b"\x88\xb5" + bytes([number]) * 60 for number in range(5)]
            for item in data:
                one.send(item)
            self.assertEqual([two.receive() for _ in data], data)
            two.send(data[0])
            self.assertEqual(one.receive(), data[0])
            self.assertEqual([qemu.get("counter-link_delayed", f"eri{number}") for number in (0, 1)], [6, 6])


class E1000:
    """Just enough of a driver for an Intel 82540EM to send."""

    BAR, RING, BUFFER, SIZE = 0xE1800000, 0x3000000, 0x3100000, 64

    def __init__(self, qemu, slot):
        self.qemu, self.tail = qemu, 0
        function = host.Function(qemu, slot)
        function.set_config(0x10, self.BAR)
        function.set_config(4, 6, 2)
        for register, value in ((0x3800, self.RING), (0x3804, 0), (0x3808, 16 * self.SIZE), (0x3810, 0), (0x3818, 0),
                                (0x400, 2)):  # TDBAL, TDBAH, TDLEN, TDH, TDT, TCTL.EN
            qemu.write32(self.BAR + register, value)

    def send(self, data):
        self.qemu.write(self.BUFFER, data)
        self.qemu.write(self.RING + 16 * self.tail, struct.pack("<QIHH", self.BUFFER, 3 << 24 | len(data), 0, 0))
        self.tail = (self.tail + 1) % self.SIZE
        self.qemu.write32(self.BAR + 0x3818, self.tail)


class HotPlug(Base):
    """The three parts leave in every order, with frames under way."""

    machine = "pc"  # the eject register of its ACPI hardware is enough to play the guest

    def begin(self):
        self.start(link="both:delay=2s")
        self.nic.send(frame(False, 1))
        self.wire.send(frame(True, 1))
        self.wait("link_delayed", 2)

    def eject(self, name, slot):
        self.qemu.command("device_del", id=name)
        self.qemu.qtest("outl 0xae10 0")
        self.qemu.qtest(f"outl 0xae08 {1 << slot:#x}")
        self.qemu.wait_event("DEVICE_DELETED")

    def show_what_is_freed(self):
        os.environ["MALLOC_PERTURB_"] = "165"
        self.addCleanup(os.environ.pop, "MALLOC_PERTURB_")

    def filters(self):
        """None when the adapter is gone too."""
        try:
            names = [entry["name"] for entry in self.qemu.command("qom-list", path="/machine/peripheral/eri0")]
        except host.QmpError:
            return None
        return "filter" in names

    def test_adapter_goes_and_comes(self):
        self.begin()
        for _ in range(3):
            self.eject("eri0", ERI)
            time.sleep(2.2)
            self.both_ways(frame(False, 2), frame(True, 2))
            self.qemu.command("device_add", driver="erdma", id="eri0", eni="eni0", addr=f"{ERI:#x}",
                              link="to-wire:delay=2s")
            self.assertTrue(self.filters())
            self.nic.send(frame(False, 3))
            self.assertEqual(self.wire.received(), [])

    def test_nic_goes_first(self):
        self.begin()
        self.eject("nic0", NIC)
        time.sleep(2.2)
        self.wire.send(frame(True, 2))
        time.sleep(2.2)
        self.assertTrue(self.filters())
        self.eject("eri0", ERI)
        self.qemu.command("netdev_del", id="eni0")

    def test_nic_goes_while_its_frames_wait_for_the_netdev(self):
        """An e1000 leaves its frames in the netdev's queue; who sent them is not asked when they leave it."""
        self.show_what_is_freed()
        self.wire = Wire()
        self.addCleanup(self.wire.close)
        self.qemu = host.Qemu(["-netdev", self.wire.netdev + ",id=eni0",
                               "-device", f"e1000,id=nic0,netdev=eni0,mac=52:54:00:12:34:50,romfile=,addr={NIC:#x}",
                               *host.adapter(addr=f"{ERI:#x}", link="to-wire:duplicate=100%")],
                              machine="pc", running=True)
        self.addCleanup(self.qemu.close)
        card = E1000(self.qemu, NIC)
        for number in range(200):
            card.send(frame(False, number, 1514))
        self.eject("nic0", NIC)
        arrived = self.wire.received()
        self.assertEqual(arrived[:4], [frame(False, number // 2, 1514) for number in range(4)])
        self.assertTrue(self.filters())
        self.eject("eri0", ERI)
        self.qemu.command("netdev_del", id="eni0")

    def test_adapter_goes_while_its_frames_wait_for_the_netdev(self):
        self.show_what_is_freed()
        self.start(link="to-wire:duplicate=100%")
        for number in range(400):
            self.nic.send(frame(False, number, 9000))
        self.eject("eri0", ERI)
        self.assertGreater(len(self.wire.received()), 3)
        self.both_ways(frame(False, 1), frame(True, 1))

    def test_netdev_goes_first(self):
        self.begin()
        self.qemu.command("netdev_del", id="eni0")
        self.assertFalse(self.filters())
        time.sleep(2.2)
        self.nic.send(frame(False, 2))
        self.eject("nic0", NIC)
        time.sleep(2.2)
        self.eject("eri0", ERI)

    def test_nic_and_netdev_go_before_the_adapter(self):
        self.begin()
        self.eject("nic0", NIC)
        self.qemu.command("netdev_del", id="eni0")
        self.assertFalse(self.filters())
        time.sleep(2.2)
        self.eject("eri0", ERI)

    def test_netdev_goes_between(self):
        self.begin()
        self.qemu.command("netdev_del", id="eni0")
        self.eject("eri0", ERI)
        self.nic.send(frame(False, 2))
        self.eject("nic0", NIC)

    def test_nic_comes_back(self):
        self.begin()
        self.eject("nic0", NIC)
        self.qemu.command("device_add", driver="virtio-net-pci", id="nic0", netdev="eni0", addr=f"{NIC:#x}",
                          mac="52:54:00:12:34:50", romfile="")
        self.nic = VirtioNic(self.qemu, NIC)
        time.sleep(2.2)
        self.qemu.set("link", "")
        while self.nic.receive(0.2):
            pass
        self.wire.received()
        self.both_ways(frame(False, 2), frame(True, 2))


if __name__ == "__main__":
    unittest.main()
