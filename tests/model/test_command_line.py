# SPDX-License-Identifier: GPL-2.0-or-later
"""Properties on the command line: what is refused, with which words, and what works."""

import unittest

import qemu_host as host


class Refused(unittest.TestCase):
    def refused(self, options, *words, base=None):
        result = host.run(options, base=base)
        self.assertEqual(result.returncode, 1, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)

    def test_eni_is_required(self):
        self.refused(["-device", "erdma"], "'eni' must name the netdev", "-device erdma,eni=eni0")
        self.refused(["-device", "erdma,eni="], "'eni' must name the netdev")

    def test_unknown_netdev(self):
        self.refused(["-device", "erdma,eni=nothing"], "no netdev with id 'nothing'", "-netdev user,id=eni0")

    def test_id_of_the_nic_instead_of_the_netdev(self):
        options = ["-netdev", "hubport,hubid=0,id=n", "-device", "virtio-net-pci,netdev=n,id=nic,romfile="]
        self.refused([*options, "-device", "erdma,eni=nic"], "no netdev with id 'nic'", "id of a -netdev")

    def test_netdev_without_nic(self):
        self.refused(["-netdev", "hubport,hubid=0,id=eni0", *host.adapter()],
                     "no NIC is attached to netdev 'eni0'", "-device virtio-net-pci,netdev=eni0 before")

    def test_nic_behind_the_adapter(self):
        netdev, device = host.nic()[:2], host.nic()[2:]
        self.refused([*netdev, *host.adapter(), *device], "no NIC is attached", "order of the command line")

    def test_two_adapters_on_one_nic(self):
        self.refused([*host.nic(), *host.adapter(), "-device", "erdma,id=eri1,eni=eni0"],
                     "netdev 'eni0' is already paired with adapter 'eri0'", "NIC of its own")

    def test_only_migratable(self):
        self.refused([*host.nic(), *host.adapter()], "migrat", base=[*host.BASE, "-only-migratable"])

    def test_faults(self):
        self.refused([*host.nic(), *host.adapter(faults="no-such-fault")], "property 'faults'", "for example")

    def test_ranges(self):
        for name, values in {
                "vectors": (0, 1, 33, 4294967295),
                "direct-wqe-groups": (256,),
                "qblock": (0, 65),
                "max-cqe-log": (5, 21),
                "max-recv-wr-log": (5, 16),
                "max-mr-size-log": (19, 49),
                "default-cc": (5,),
                "pair-timeout-ms": (0, 600001),
                "rnr-hold-ms": (600001,),
        }.items():
            for value in values:
                with self.subTest(property=name, value=value):
                    self.refused([*host.nic(), "-device", f"erdma,eni=eni0,{name}={value}"],
                                 "erdma: ", name, str(value), "-device erdma,help")

    def test_not_a_number(self):
        self.refused([*host.nic(), *host.adapter(vectors="many")], "'vectors'")
        self.refused([*host.nic(), *host.adapter(atomic="perhaps")], "'atomic'")
        self.refused([*host.nic(), *host.adapter(vectors=2 ** 33)], "vectors")

    def test_option_rom(self):
        self.refused([*host.nic(), *host.adapter(romfile="efi-virtio.rom")], "leave out 'romfile'")

    def test_unknown_property(self):
        self.refused([*host.nic(), *host.adapter(colour="red")], "colour")


class Accepted(unittest.TestCase):
    def test_help_names_every_property(self):
        result = host.run(["-device", "erdma,help"])
        self.assertEqual(result.returncode, 0)
        lines = {line.split("=")[0].strip(): line for line in result.stdout.splitlines() if "=" in line}
        defaults = {"vectors": "32", "direct-wqe-groups": "24", "qblock": "4", "max-cqe-log": "20",
                    "max-recv-wr-log": "15", "max-mr-size-log": "36", "default-cc": "1",
                    "firmware-version": str(0x225), "atomic": "true", "multilevel-mtt": "true",
                    "extended-doorbells": "false", "pair-timeout-ms": "15000", "rnr-hold-ms": "30000"}
        for name, default in defaults.items():
            self.assertIn(" - ", lines[name])
            self.assertIn(f"(default: {default})", lines[name])
        for name in ("eni", "faults"):
            self.assertIn(" - ", lines[name])

    def test_ends_of_ranges(self):
        low = {"vectors": 2, "direct_wqe_groups": 0, "qblock": 1, "max_cqe_log": 6, "max_recv_wr_log": 6,
               "max_mr_size_log": 20, "default_cc": 0, "pair_timeout_ms": 1, "rnr_hold_ms": 0, "atomic": "off"}
        high = {"vectors": 32, "direct_wqe_groups": 255, "qblock": 64, "max_cqe_log": 20, "max_recv_wr_log": 15,
                "max_mr_size_log": 48, "default_cc": 4, "pair_timeout_ms": 600000, "rnr_hold_ms": 600000,
                "extended_doorbells": "on"}
        with host.Qemu([*host.nic(0), *host.adapter(0, **low), *host.nic(1), *host.adapter(1, **high)]) as qemu:
            self.assertEqual(qemu.get("vectors", "eri0"), 2)
            self.assertEqual(qemu.get("vectors", "eri1"), 32)

    def test_several_adapters_and_other_nics(self):
        options = []
        for number in range(3):
            options += [*host.nic(number), *host.adapter(number)]
        options += ["-netdev", "hubport,hubid=1,id=eni3", "-device", "e1000e,netdev=eni3,mac=52:54:00:aa:bb:cc,romfile=",
                    *host.adapter(3)]
        with host.Qemu(options) as qemu:
            macs = [qemu.get("mac", f"eri{number}") for number in range(4)]
        self.assertEqual(macs, ["52:54:00:12:34:50", "52:54:00:12:34:51", "52:54:00:12:34:52", "52:54:00:aa:bb:cc"])

    def test_faults_from_the_start(self):
        with host.Qemu([*host.nic(), *host.adapter(faults="init-stuck")]) as qemu:
            self.assertEqual(qemu.get("faults"), "init-stuck")

    def test_conventional_bus(self):
        with host.Qemu([*host.nic(), *host.adapter()], machine="pc") as qemu:
            self.assertEqual(qemu.get("mac"), "52:54:00:12:34:50")


if __name__ == "__main__":
    unittest.main()
