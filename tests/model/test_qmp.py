# SPDX-License-Identifier: GPL-2.0-or-later
"""What a running adapter shows and takes over QMP."""

import time
import unittest

import qemu_host as host


class Properties(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.qemu = host.Qemu([*host.nic(), *host.adapter()])

    @classmethod
    def tearDownClass(cls):
        cls.qemu.close()

    def test_counters(self):
        counters = self.qemu.get("counters")
        self.assertGreater(len(counters), 0)
        for name, value in counters.items():
            self.assertEqual(self.qemu.get(f"counter-{name}"), value)
            with self.assertRaises(host.QmpError):
                self.qemu.set(f"counter-{name}", 1)

    def test_mac_is_read_only(self):
        self.assertEqual(self.qemu.get("mac"), "52:54:00:12:34:50")
        with self.assertRaises(host.QmpError):
            self.qemu.set("mac", "52:54:00:00:00:01")

    def test_tunables_are_fixed_once_running(self):
        with self.assertRaises(host.QmpError):
            self.qemu.set("vectors", 4)

    def test_faults(self):
        self.assertEqual(self.qemu.get("faults"), "")
        for text in ("cmd-drop=0/1", "cmd-fail=0/8:12*3;cmd-drop=1/any", "init-stuck", "dead"):
            self.qemu.set("faults", text)
            self.assertEqual(self.qemu.get("faults"), text)
        for text in ("nonsense", "cmd-drop=", "cmd-drop=0", "cmd-fail=0/1", "cmd-drop=0/1*0", "dead=1", "cmd-drop=x/y"):
            with self.assertRaises(host.QmpError) as refused:
                self.qemu.set("faults", text)
            self.assertIn("faults", str(refused.exception))
            self.assertEqual(self.qemu.get("faults"), "dead")
        self.qemu.set("faults", "")
        self.assertEqual(self.qemu.get("faults"), "")

    def test_migration_is_refused(self):
        with self.assertRaises(host.QmpError) as refused:
            self.qemu.command("migrate", uri="exec:cat")
        self.assertIn("adapter 'eri0' cannot be migrated", str(refused.exception))
        self.assertIn("device_del eri0", str(refused.exception))

    def test_idle_costs_no_time(self):
        def used():
            with open(f"/proc/{self.qemu.process.pid}/stat", encoding="utf-8") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        before = used()
        time.sleep(2)
        self.assertLessEqual(used() - before, 2)  # ticks of 10 ms


class HotPlug(unittest.TestCase):
    """A conventional bus, where the eject register of the ACPI hardware is enough to play the guest."""

    SLOT = 9

    def eject(self, qemu):
        qemu.command("device_del", id="eri0")
        qemu.qtest("outl 0xae10 0")
        qemu.qtest(f"outl 0xae08 {1 << self.SLOT:#x}")
        qemu.wait_event("DEVICE_DELETED")

    def plug(self, qemu, **extra):
        qemu.command("device_add", driver="erdma", id="eri0", eni="eni0", addr=f"{self.SLOT:#x}", **extra)

    def test_unplug_and_plug(self):
        with host.Qemu(host.nic(), machine="pc") as qemu:
            for _ in range(3):
                self.plug(qemu)
                self.assertEqual(qemu.get("mac"), "52:54:00:12:34:50")
                self.eject(qemu)
                with self.assertRaises(host.QmpError):
                    qemu.get("mac")
            # With the adapter the obstacle to migration is gone.
            qemu.command("migrate", uri="exec:cat >/dev/null")

    def test_failed_plug_leaves_nothing_behind(self):
        with host.Qemu(host.nic(), machine="pc") as qemu:
            for bad in ({"vectors": 99}, {"faults": "nonsense"}):
                with self.assertRaises(host.QmpError):
                    self.plug(qemu, **bad)
            self.plug(qemu)
            with self.assertRaises(host.QmpError) as refused:
                qemu.command("device_add", driver="erdma", id="eri1", eni="eni0")
            self.assertIn("'eri0'", str(refused.exception))
            self.assertEqual(qemu.get("mac"), "52:54:00:12:34:50")

    def test_nic_goes_first(self):
        with host.Qemu([*host.nic()[:2], "-device",
                        "virtio-net-pci,netdev=eni0,id=nic,mac=52:54:00:12:34:50,addr=8,romfile="],
                       machine="pc") as qemu:
            self.plug(qemu)
            qemu.command("device_del", id="nic")
            qemu.qtest("outl 0xae10 0")
            qemu.qtest("outl 0xae08 0x100")
            qemu.wait_event("DEVICE_DELETED")
            qemu.command("system_reset")
            self.assertEqual(qemu.get("mac"), "52:54:00:12:34:50")
            self.eject(qemu)

    def test_express_port(self):
        options = ["-device", "pcie-root-port,id=rp0,chassis=1", *host.nic(), "-global",
                   "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]
        with host.Qemu(options) as qemu:
            qemu.command("device_add", driver="erdma", id="eri0", eni="eni0", bus="rp0")
            self.assertEqual(qemu.get("mac"), "52:54:00:12:34:50")


if __name__ == "__main__":
    unittest.main()
