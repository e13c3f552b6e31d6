# SPDX-License-Identifier: GPL-2.0-or-later
"""./lab scenario --check: what only the model can judge of a scenario is named by file, table and key."""

import glob
import os
import sys
import unittest

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tools", "lab"))

from erdmalab import scenario_check, scenario_file  # noqa: E402  (found through the line above)
from erdmalab.common import LabError  # noqa: E402

WRONG = """
title = "x"
links = [{guest = "vm1", text = "both:lss=1%"}]
programs = [{name = "a", guest = "vm1", run = "true"}]
[[events]]
name = "one"
do = "faults"
guest = "vm1"
text = "deadd"
when = {guest = "vm1", counter = "tocks", by = 1}
[[events]]
do = "link"
guest = "vm1"
text = "to-wire:drop=data#0"
[[checks]]
check = "counter"
guest = "vm1"
counter = "ticks"
min = 1
"""


class Check(unittest.TestCase):
    def test_every_problem_is_named(self):
        with self.assertRaises(LabError) as raised:
            scenario_check.check([scenario_file.parse(WRONG, "x.toml")])
        lines = str(raised.exception).splitlines()
        for line, begin, words in zip(lines, (
                "x.toml: [[links]] 1, key text: ", "x.toml: [[events]] 1 (one), key text: ", "x.toml: [[events]] 2, key text: ",
                "x.toml: [[events]] 1 (one), key when, key counter: ", "x.toml: [[checks]] 1, key counter: "), (
                '"lss=1%" is none of', 'unknown fault "deadd"', "drop must say which packets", "no tocks; there are ",
                ", link_lost, ")):
            self.assertTrue(line.startswith(begin) and words in line, line)
        self.assertEqual(len(lines), 5)

    def test_the_examples(self):
        files = glob.glob(os.path.join(TOP, "examples", "scenarios", "*.toml"))
        self.assertTrue(files)
        scenario_check.check([scenario_file.load(path) for path in files])


if __name__ == "__main__":
    unittest.main()
