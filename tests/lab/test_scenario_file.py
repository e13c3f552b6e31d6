# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenario files: what is wrong with one is named by file, table, key and what is expected; the examples are in order."""

import glob
import os
import sys
import unittest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(TOP, "tools", "lab"))

from erdmalab import scenario_file  # noqa: E402  (found through the line above)
from erdmalab.common import LabError  # noqa: E402

GOOD = """
title = "a title"
[[programs]]
name = "server"
guest = "vm1"
run = "true"
"""
EVENT = GOOD + '[[events]]\nname = "one"\nguest = "vm1"\n'
CHECK = GOOD + "[[checks]]\n"

# (file, what each problem's line ends with, in that order)
WRONG = [
    ("title = ", ["x.toml: this is not TOML: Invalid value (at end of document)"]),
    ("", ["the file, key title: is missing", "[[programs]]: expected one program at least"]),
    (GOOD + '[nonsense]\n', ["the file, key nonsense: there is no such table or key; there are title, limit, allow, guests, "
                             "networks, links, faults, programs, events, checks"]),
    (GOOD + "name2 = 1\n", ['[[programs]] 1 (server), key name2: there is no such key; there are name, guest, run, listens, '
                            'tcp, exit, forever, env, directory, at, after, when, delay']),
    (GOOD.replace('"vm1"', '"vm3"'), ['[[programs]] 1 (server), key guest: expected a guest; there are vm1, vm2, not "vm3"']),
    (GOOD.replace('"true"', "[1]"), ["[[programs]] 1 (server), key run: expected a line for the shell, or a list of words, "
                                     "not [1]"]),
    (GOOD.replace('"server"', '"a server"'),
     ['[[programs]] 1 (a server), key name: expected a name: a letter, then letters, digits, _ and -, not "a server"']),
    (GOOD + "exit = 256\n", ['[[programs]] 1 (server), key exit: expected a code from 0 to 255, a list of such, "any" or '
                             '"failure", not 256']),
    (GOOD + "listens = true\n", ["[[programs]] 1 (server), key listens: expected a whole number from 1 to 65535, not true"]),
    (GOOD + GOOD[GOOD.index("[["):], ['[[programs]] 2 (server), key name: expected a name that nothing else has, '
                                      'not "server"']),
    (GOOD + "[programs.when]\nprogram = 'server'\n", ["[[programs]] 1 (server), key when: expected either program and prints, "
                                                      "or guest, counter and by"]),
    (GOOD + "[programs.when]\nprogram = 'server'\nprints='('\n",
     ["[[programs]] 1 (server), key when, key prints: expected a regular expression (missing ), unterminated subpattern at "
      'position 0), not "("',
      "[[programs]] 1 (server), key when: expected either program and prints, or guest, counter and by"]),
    (GOOD + "at = 1\nafter = 'server'\n", ["[[programs]] 1 (server), key after: expected one of at, after and when; at is there "
                                           "already"]),
    (GOOD + "delay = 1\n", ["[[programs]] 1 (server), key delay: expected after or when beside it"]),
    (GOOD + "[guests]\ncount = 0\n", ["[guests], key count: expected a whole number from 1 to 16, not 0"]),
    (GOOD + "[guests]\nkernel = ['6.1']\n", ["[guests], key kernel: expected 2 of them, one for each guest, not ['6.1']"]),
    (GOOD + "[[networks]]\nmtu = 67\n", ["[[networks]] 1, key mtu: expected a whole number from 68 to 9000, not 67"]),
    (GOOD + "[networks]\nmtu = 1500\n", ["[[networks]]: expected an array of tables: each begins with [[networks]], not "
                                         "{'mtu': 1500}"]),
    (GOOD + 2 * "[[links]]\nguest = 'vm1'\ntext = 'both:cut'\n", ["[[links]] 2: vm1 has one for this network already; one "
                                                                  "text can say it all"]),
    (EVENT, ["[[events]] 1 (one), key do: expected one of link, faults, mtu, nic, reset, unplug, plug, kill, run"]),
    (EVENT + "do = 'lnk'\n", ["[[events]] 1 (one), key do: expected one of link, faults, mtu, nic, reset, unplug, plug, kill, "
                              'run, not "lnk"']),
    (EVENT + "do = 'link'\n", ["[[events]] 1 (one), key text: is missing"]),
    (EVENT + "do = 'nic'\nstate = 'off'\n", ['[[events]] 1 (one), key state: expected one of up, down, not "off"']),
    (EVENT + "do = 'reset'\nnetwork = 1\n", ["[[events]] 1 (one), key network: expected a number below 1, the first network is "
                                             "0, not 1"]),
    (EVENT + "do = 'reset'\nafter = 'two'\n", ["[[events]] 1 (one), key after: expected the name of a program or event; there "
                                               'are one, server, not "two"']),
    (GOOD + "[[events]]\ndo = 'kill'\nprogram = 'client'\nsignal = 'SIGKILL'\n",
     ['[[events]] 1, key program: expected the name of a program; there are server, not "client"',
      '[[events]] 1, key signal: expected a signal without SIG, as KILL, TERM, STOP or CONT, not "SIGKILL"']),
    (CHECK + "check = 'outputs'\n", ["[[checks]] 1, key check: expected one of output, time, counter, command, log, "
                                     'retransmissions, retransmission-delay, silence, not "outputs"']),
    (CHECK + "check = 'output'\nprogram = 'server'\n", ["[[checks]] 1: expected prints or lacks"]),
    (CHECK + "check = 'time'\nprogram = 'server'\n", ["[[checks]] 1: expected one of min, max and is"]),
    (CHECK + "check = 'silence'\nguest = 'vm1'\nmax = -1\n",
     ["[[checks]] 1, key max: expected a number, 0 or more, not -1", "[[checks]] 1: expected one of min, max and is"]),
    (CHECK + "check = 'silence'\nguest = 'vm1'\nmax = 1\n[[networks]]\ncapture = false\n",
     ["[[checks]] 1, key network: expected a network with capture = true, not 0"]),
]


class Wrong(unittest.TestCase):
    def test_every_problem_is_named(self):
        for content, problems in WRONG:
            with self.subTest(content=content):
                with self.assertRaises(LabError) as raised:
                    scenario_file.parse(content, "x.toml")
                lines = str(raised.exception).splitlines()
                self.assertEqual(lines, [line if line.startswith("x.toml") else f"x.toml: {line}" for line in problems])

    def test_a_file_that_is_not_there(self):
        with self.assertRaisesRegex(LabError, "none.toml: cannot be read"):
            scenario_file.load("none.toml")


class Right(unittest.TestCase):
    def test_defaults(self):
        scenario = scenario_file.parse(GOOD, "x.toml")
        self.assertEqual((scenario.title, scenario.limit, scenario.guests.count), ("a title", 120, 2))
        program = scenario.programs[0]
        self.assertTrue(program.exit.fits(0))
        self.assertFalse(program.exit.fits(1))
        self.assertEqual(scenario.settings["nets"], [{"mtu": 1500, "erdma": True, "kind": "auto", "options": {},
                                                      "capture": True}])

    def test_exit_codes(self):
        for words, fits, not_fits in (("'any'", (0, 9), ()), ("'failure'", (1, 137), (0,)), ("[1, 137]", (1, 137), (0, 2))):
            codes = scenario_file.parse(f"{GOOD}exit = {words}\n", "x.toml").programs[0].exit
            self.assertEqual(([codes.fits(one) for one in fits], [codes.fits(one) for one in not_fits]),
                             ([True] * len(fits), [False] * len(not_fits)))

    def test_names_are_known_before_their_tables(self):
        text = GOOD + "after = 'late'\n[[events]]\nname = 'late'\ndo = 'kill'\nprogram = 'server'\nat = 1\n"
        self.assertEqual(scenario_file.parse(text, "x.toml").programs[0].after, "late")

    def test_the_examples(self):
        files = glob.glob(os.path.join(TOP, "examples", "**", "*.toml"), recursive=True)
        self.assertTrue(files)
        for path in files:
            with self.subTest(path=path):
                scenario = scenario_file.load(path)
                self.assertTrue(scenario.checks)
                with open(path, encoding="utf-8") as file:
                    self.assertRegex(file.read(), r"\A# SPDX-License-Identifier: GPL-2.0-or-later\n#\n# [A-Z]")


if __name__ == "__main__":
    unittest.main()
