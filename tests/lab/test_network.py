# SPDX-License-Identifier: GPL-2.0-or-later
"""Networks that cannot be are refused, with the reason."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab import network  # noqa: E402  (found through the line above)
from erdmalab.common import LabError  # noqa: E402


class Impossible(unittest.TestCase):
    def test_refused(self):
        for count, mtu, kind, text in ((3, 9000, "auto", "MTU of 1500"), (2, 1501, "vde", "MTU of 1500"),
                                       (3, 1500, "cable", "joins two VMs")):
            with self.subTest(count=count, mtu=mtu, kind=kind), self.assertRaisesRegex(LabError, text):
                network.join(count, mtu, kind)


if __name__ == "__main__":
    unittest.main()
