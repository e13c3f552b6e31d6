# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab decides by looking at the machine: KVM or emulation, and how it gets its packages."""

import os
import sys
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab import clock, packages, vm  # noqa: E402  (found through the line above)
from erdmalab.common import LabError  # noqa: E402

PLAIN = "processor\t: 0\nflags\t\t: fpu vme hypervisor lm\nbugs\t\t: spectre_v1\n"


def cpuinfo(flags):
    """Patches the processors' description."""
    return mock.patch("builtins.open", mock.mock_open(read_data=PLAIN.replace("hypervisor", flags)))


class Kvm(unittest.TestCase):
    def works(self, flags, device):
        with cpuinfo(flags), mock.patch("os.access", return_value=device) as access:
            result = vm.kvm_works()
            for call in access.call_args_list:
                self.assertEqual(call, mock.call("/dev/kvm", os.R_OK | os.W_OK))
            return result

    def test_needs_flag_and_device(self):
        for flag in ("vmx", "svm", "hypervisor vmx"):
            self.assertTrue(self.works(flag, True))
            self.assertFalse(self.works(flag, False), "no device, or no right to open it")

    def test_nothing_else_will_do(self):
        for flags in ("hypervisor", "svm_lock", "nvmx", "avx vmxfoo"):
            self.assertFalse(self.works(flags, True), flags)

    def test_a_bug_list_is_no_flag(self):
        text = PLAIN + "vmx flags\t: vnmi svm\nbugs\t\t: vmx\n"
        with mock.patch("builtins.open", mock.mock_open(read_data=text)), mock.patch("os.access", return_value=True):
            self.assertFalse(vm.kvm_works())

    def test_no_proc(self):
        with mock.patch("builtins.open", side_effect=OSError), mock.patch("os.access", return_value=True):
            self.assertFalse(vm.kvm_works())


class Clock(unittest.TestCase):
    def test_counter_frequency(self):
        first = clock.tsc_khz()
        clock.tsc_khz.cache_clear()
        second = clock.tsc_khz()
        self.assertGreater(first, 100_000)
        self.assertLess(abs(first - second) / first, 0.001)

    @mock.patch("platform.machine", return_value="riscv64")
    def test_other_machines(self, _):
        clock.tsc_khz.cache_clear()
        self.assertIsNone(clock.tsc_khz())
        clock.tsc_khz.cache_clear()


class Installing(unittest.TestCase):
    """Missing packages, as a user without rights."""

    def install(self, programs):
        found = mock.patch("shutil.which", side_effect=lambda name: f"/usr/bin/{name}" if name in programs else None)
        with mock.patch("os.geteuid", return_value=1000), found, mock.patch.object(packages, "call") as call, \
                mock.patch.object(packages, "known_to_apt", return_value=True), mock.patch.object(packages, "say"):
            call.return_value = 0
            packages.install(["one", "two"])
            return [entry.args[0] for entry in call.call_args_list]

    def test_without_sudo(self):
        with self.assertRaises(LabError) as caught:
            self.install({"apt-get"})
        self.assertIn("neither root nor sudo", str(caught.exception))
        self.assertIn("apt-get install one two", str(caught.exception), "it says what to run")

    def test_with_sudo(self):
        commands = self.install({"apt-get", "sudo"})
        self.assertTrue(commands)
        for command in commands:
            self.assertEqual(command[0], "sudo")
            self.assertEqual(command[-2:], ["one", "two"])

    def test_not_debian(self):
        with self.assertRaises(LabError) as caught:
            self.install({"sudo"})
        self.assertIn("one two", str(caught.exception))


if __name__ == "__main__":
    unittest.main(verbosity=2)
