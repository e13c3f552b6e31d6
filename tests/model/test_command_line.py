# SPDX-License-Identifier: GPL-2.0-or-later
"""Properties on the command line: what is refused, with which words, and what works."""

import unittest

import qemu_host as host
from tap import Tap


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
                "ord": (0, 129),
                "ird": (0, 129),
                "segment-bytes": (1, 1459, 65001),
                "buffer-bytes": (65535, 4194305),
                "total-buffer-bytes": (4194303, 2147483649),
                "ack-delay-ms": (500,),
                "ack-segments": (0, 65),
                "rto-min-ms": (9, 1001),
                "give-up-ms": (999, 600001),
                "keep-idle-ms": (999, 7200001),
                "keep-interval-ms": (99, 600001),
                "keep-probes": (0, 101),
                "first-fpdu-ms": (60001,),
                "time-wait-ms": (99, 120001),
        }.items():
            for value in values:
                with self.subTest(property=name, value=value):
                    self.refused([*host.nic(), "-device", f"erdma,eni=eni0,{name}={value}"],
                                 "erdma: ", name, str(value), "-device erdma,help")

    def test_not_a_number(self):
        self.refused([*host.nic(), *host.adapter(vectors="many")], "'vectors'")
        self.refused([*host.nic(), *host.adapter(atomic="perhaps")], "'atomic'")
        self.refused([*host.nic(), *host.adapter(vectors=2 ** 33)], "vectors")
        for text in ("", "large", "1448k", "-1", "4294967296"):
            self.refused([*host.nic(), *host.adapter(segment_bytes=text)], "'segment-bytes'", "auto")

    def test_several_queues(self):
        with Tap() as tap:
            self.refused(["-netdev", f"tap,id=eni0,ifname={tap.name},script=no,downscript=no,queues=2",
                          "-device", "virtio-net-pci,netdev=eni0,mq=on,vectors=6,romfile=", *host.adapter()],
                         "netdev 'eni0' has 2 queues", "Leave out queues=")

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
                    "extended-doorbells": "true", "ipv6": "true", "pair-timeout-ms": "15000", "rnr-hold-ms": "30000", "ord": "128",
                    "ird": "128",
                    "buffer-bytes": "1048576", "total-buffer-bytes": "268435456", "ack-delay-ms": "40", "ack-segments": "2", "rto-min-ms": "200",
                    "give-up-ms": "30000", "keep-idle-ms": "60000", "keep-interval-ms": "10000", "keep-probes": "6",
                    "first-fpdu-ms": "1000", "time-wait-ms": "4000", "complete-queued": "false",
                    "mpa-crc": "true", "rfc7306": "false",
                    "segment-bytes": "auto"}
        # Booleans are "on" and "off" from QEMU 10 on.
        other = {"true": "on", "false": "off"}
        for name, default in defaults.items():
            self.assertIn(" - ", lines[name])
            self.assertRegex(lines[name], rf"\(default: ({default}|{other.get(default, default)})\)")
        for name in ("eni", "faults", "link"):
            self.assertIn(" - ", lines[name])

    def test_ends_of_ranges(self):
        low = {"vectors": 2, "direct_wqe_groups": 0, "qblock": 1, "max_cqe_log": 6, "max_recv_wr_log": 6,
               "max_mr_size_log": 20, "default_cc": 0, "pair_timeout_ms": 1, "rnr_hold_ms": 0, "ord": 1, "ird": 1, "atomic": "off",
               "segment_bytes": 0, "buffer_bytes": 65536, "total_buffer_bytes": 4194304, "ack_delay_ms": 0, "ack_segments": 1, "rto_min_ms": 10,
               "give_up_ms": 1000, "keep_idle_ms": 1000, "keep_interval_ms": 100, "keep_probes": 1,
               "first_fpdu_ms": 0, "time_wait_ms": 100}
        high = {"vectors": 32, "direct_wqe_groups": 255, "qblock": 64, "max_cqe_log": 20, "max_recv_wr_log": 15,
                "max_mr_size_log": 48, "default_cc": 4, "pair_timeout_ms": 600000, "rnr_hold_ms": 600000,
                "ord": 128, "ird": 128,
                "extended_doorbells": "off", "ipv6": "off", "segment_bytes": 65000, "buffer_bytes": 4194304, "total_buffer_bytes": 2147483648, "ack_delay_ms": 499,
                "ack_segments": 64, "rto_min_ms": 1000, "give_up_ms": 600000, "keep_idle_ms": 7200000,
                "keep_interval_ms": 600000, "keep_probes": 100, "first_fpdu_ms": 60000, "time_wait_ms": 120000,
                "complete_queued": "on"}
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
