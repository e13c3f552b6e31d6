# SPDX-License-Identifier: GPL-2.0-or-later
"""The list of packages: in each release every line has exactly one name to install, and a command takes its own only.

What the releases of Debian have is compared with their archives by `./lab test hosts`.  Ubuntu's archive was not at
hand: its names are from the distribution's own package lists as we know them.
"""

import os
import sys
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab import packages, roots, testing  # noqa: E402  (found through the line above)
from erdmalab.common import LabError  # noqa: E402

# In all of the releases below.
EVERYWHERE = set("""
    bc bison build-essential busybox-static clang clang-format clang-tidy cmake cpio debhelper dpkg-dev fio flex gcovr
    git ibverbs-providers ibverbs-utils iperf3 iproute2 iputils-ping kmod libbenchmark-dev libcli11-dev
    libcpp-httplib-dev libelf-dev libfabric-bin libfmt-dev libglib2.0-dev libgmock-dev libgtest-dev libibverbs-dev
    libncurses-dev libnl-3-dev libopenmpi-dev librdmacm-dev libssl-dev libtraceevent-dev libtracefs-dev libvirt-clients
    libvirt-daemon libvirt-daemon-driver-qemu lintian linux-source meson mmdebstrap
    nfs-common nfs-kernel-server nftables ninja-build nlohmann-json3-dev nvme-cli open-iscsi openmpi-bin perftest perl
    pkg-config procps prometheus prometheus-node-exporter psmisc python3 python3-jsonschema python3-pytest
    python3-pytest-xdist python3-pyverbs python3-setuptools python3-venv python3-wheel python3-yaml qemu-system-x86 qperf rdma-core
    rdmacm-utils rpm rpmlint shellcheck sparse tshark ucx-utils xz-utils zlib1g-dev zsh zstd
""".split())

# Only in this one, of the names that the list has.
RELEASES = {
    "Debian 12": "dh-dkms libclang-rt-dev libclang-rt-14-dev libclang-common-14-dev linux-headers-amd64 linux-image-amd64 "
                 "vde-switch vde2",
    "Debian 13": "dh-dkms libclang-rt-dev linux-headers-amd64 linux-image-amd64 vde-switch vde2",
    "Debian sid": "dh-dkms libclang-rt-dev linux-headers-amd64 linux-image-amd64 vde-switch vde2",
    "Ubuntu 22.04": "dkms libclang-common-14-dev linux-headers-generic linux-image-generic vde2",
    "Ubuntu 24.04": "dh-dkms dkms libclang-rt-18-dev linux-headers-generic linux-image-generic vde-switch vde2",
}


class Names(unittest.TestCase):
    def test_every_release_has_one_of_each(self):
        everything = [package for section in packages.read_list().values() for package in section.packages]
        for release, names in RELEASES.items():
            found, lacking = packages.chosen(everything, EVERYWHERE | set(names.split()))
            self.assertEqual(lacking, [], f"say in this file which of these names {release} has")
            self.assertEqual(len(found), len(everything))

    def test_an_alternative_is_for_some_release(self):
        known = EVERYWHERE.union(*(names.split() for names in RELEASES.values()))
        for section in packages.read_list().values():
            for package in section.packages:
                self.assertEqual([name for name in package if name not in known], [])

    def test_apt_is_understood(self):
        text = ("one:\n  Installed: 1.0\n  Candidate: 1.0\n  Version table:\n"
                "two:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n"
                "three-c++:\n  Installed: (none)\n  Candidate: 1:2-3\n  Version table:\n")
        self.assertEqual(packages.candidates(text), {"one", "three-c++"})


class Uses(unittest.TestCase):
    def names(self, *uses):
        return {package[0] for package in packages.wanted(*uses)}

    def test_a_command_takes_its_own(self):
        """What a demo and a run are not to wait for."""
        for use in ("demo", "run", "shell"):
            names = self.names(use)
            self.assertTrue({"qemu-system-x86", "perftest", "cmake"} <= names)
            for unwanted in ("clang", "clang-tidy", "gcovr", "sparse", "openmpi-bin", "tshark", "linux-source", "libgtest-dev",
                             "libcli11-dev", "nvme-cli", "python3-pytest", "mmdebstrap", "vde-switch"):
                self.assertNotIn(unwanted, names, use)

    def test_roots_install_what_makes_them(self):
        with mock.patch.object(packages, "ensure", side_effect=KeyboardInterrupt) as ensure, self.assertRaises(KeyboardInterrupt):
            roots.bootstrap("sid", "/nowhere", ())
        self.assertIn("mmdebstrap", self.names(*ensure.call_args.args))

    def test_a_use_that_no_section_has(self):
        with self.assertRaises(LabError):
            packages.wanted("demo", "roots")

    def test_every_kind_of_test_has_its_packages(self):
        for kind in testing.KINDS:
            self.assertIn(kind, packages.uses())
            self.assertLess({"cmake", "qemu-system-x86"}, self.names(kind))
        self.assertLessEqual(self.names(*testing.chosen()), self.names())

    def test_setup_leaves_out_what_is_asked_for_apart(self):
        names = self.names()
        self.assertTrue({"cmake", "tshark", "openmpi-bin"} <= names)
        for name in ("mmdebstrap", "lintian", "flex"):
            self.assertNotIn(name, names)
            self.assertIn(name, self.names("package", "kernel"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
