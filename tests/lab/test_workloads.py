# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab makes of the tables that perftest prints."""

import math
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab import workloads  # noqa: E402  (found through the line above)
from erdmalab.channel import Result  # noqa: E402
from erdmalab.common import LabError  # noqa: E402

HEAD = " #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]\n"
GOOD, ZERO = " 2  20  0.09  0.07  0.038784\n", " 4  20  0.00  0.00  0.000000\n"
TOLD = "Correlation coefficient r^2: 0.3 < 0.9\n"


def rows(text, errors=""):
    return workloads.checked(Result("ib_write_bw", 0, text, errors, 1.0))


class Tables(unittest.TestCase):
    def test_good(self):
        self.assertEqual(rows(HEAD + GOOD), [
            {"bytes": 2, "iterations": 20, "peak": 0.09, "average": 0.07, "message_rate": 0.038784}])

    def test_slow(self):
        self.assertEqual(rows(HEAD + " 2  20  0.01  0.00  0.002061\n")[0]["average"], 0)
        self.assertEqual(rows(HEAD + " 8388608  5  2.34  2.34  0.000000\n")[0]["average"], 2.34)

    def test_frequency_unknown(self):
        for zero in (ZERO, " 4  20  inf  inf  inf\n", " 4  20  -nan  -nan  -nan\n"):
            good, bad = rows(HEAD + GOOD + zero, TOLD)
            self.assertEqual(good["average"], 0.07)
            self.assertEqual((bad["bytes"], bad["iterations"]), (4, 20))
            self.assertTrue(math.isnan(bad["average"]) and math.isnan(bad["message_rate"]))

    def test_senseless(self):
        for text, errors in ((HEAD + ZERO, ""), (HEAD + ZERO + ZERO, TOLD), (HEAD, ""), (GOOD, "")):
            with self.assertRaises(LabError):
                rows(text, errors)


if __name__ == "__main__":
    unittest.main()
