# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab decides by looking at the machine: KVM or emulation, and how it gets its packages."""

import os
import sys
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab import cli, clock, kernel, kernel_driver, packages, runs, vm  # noqa: E402  (found through the line above)
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

    def install(self, programs, offered=("one", "two", "three")):
        found = mock.patch("shutil.which", side_effect=lambda name: f"/usr/bin/{name}" if name in programs else None)
        with mock.patch("os.geteuid", return_value=1000), found, mock.patch.object(packages, "call") as call, \
                mock.patch.object(packages, "offered", return_value=set(offered)), mock.patch.object(packages, "say"):
            call.return_value = 0
            packages.install([("one",), ("other-two", "two", "three")])
            return [entry.args[0] for entry in call.call_args_list]

    def test_without_sudo(self):
        with self.assertRaises(LabError) as caught:
            self.install({"apt-get"})
        self.assertIn("neither root nor sudo", str(caught.exception))
        self.assertIn("--no-install-recommends one two", str(caught.exception), "it says what to run")

    def test_with_sudo(self):
        commands = self.install({"apt-get", "sudo"})
        self.assertTrue(commands)
        for command in commands:
            self.assertEqual(command[0], "sudo")
            self.assertEqual(command[-2:], ["one", "two"], "the first alternative that there is")

    def test_not_debian(self):
        with self.assertRaises(LabError) as caught:
            self.install({"sudo"})
        self.assertIn("\n  one\n  other-two or two or three", str(caught.exception))
        self.assertIn("--no-install", str(caught.exception))

    def test_unknown_release(self):
        with self.assertRaises(LabError) as caught:
            self.install({"apt-get", "sudo"}, offered=["one"])
        self.assertIn("\n  other-two or two or three", str(caught.exception))
        self.assertNotIn("\n  one", str(caught.exception), "what the release has is not in the list of what it lacks")
        self.assertIn(packages.distribution(), str(caught.exception))
        self.assertIn("--no-install", str(caught.exception))


class NoInstall(unittest.TestCase):
    def test_goes_on(self):
        with mock.patch.object(packages, "missing", return_value=[("one",), ("two", "three")]), \
                mock.patch.object(packages, "say") as say, mock.patch.object(packages, "install") as install, \
                mock.patch.dict(os.environ, {packages.NO_INSTALL: "1"}):
            self.assertEqual(packages.ensure("run"), 0)
        install.assert_not_called()
        self.assertIn("two or three", say.call_args.args[0])

    def test_every_command_takes_it(self):
        commands = cli.parser()._subparsers._group_actions[0].choices  # pylint: disable=protected-access
        self.assertIn("demo", commands)
        for name, parser in commands.items():
            self.assertIn("--no-install", parser.format_help(), name)


class Kernels(unittest.TestCase):
    def test_unreadable_image(self):
        """Ubuntu's kernels are root's alone."""
        mine = kernel.Kernel("6.8.0-31-generic", "/boot/vmlinuz-6.8.0-31-generic", "/lib/modules/6.8.0-31-generic", "/usr/src/x")
        with mock.patch("os.access", return_value=False), self.assertRaises(LabError) as caught:
            runs.make_vm("/nowhere", mine)
        self.assertIn("sudo chmod +r /boot/vmlinuz-6.8.0-31-generic", str(caught.exception))

    def test_source_package_of_a_kernel(self):
        """Debian's and Ubuntu's names of the package that has a kernel's source."""
        for version, names in (("6.1.0-56-amd64", ["linux-source-6.1"]), ("6.12.117+deb13-amd64", ["linux-source-6.12"]),
                               ("6.8.0-31-generic", ["linux-source-6.8", "linux-source-6.8.0"])):
            self.assertEqual([name for name in names if name not in kernel_driver.source_names(version)], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
