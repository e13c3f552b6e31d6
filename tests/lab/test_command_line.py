# SPDX-License-Identifier: GPL-2.0-or-later
"""./lab's command line: what its options mean, and the codes that it ends with."""

import contextlib
import io
import os
import sys
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab import cli, scenario, vm  # noqa: E402  (found through the line above)
from erdmalab.common import LabError  # noqa: E402
from erdmalab.network import Group  # noqa: E402
from erdmalab.watch import GuestTrouble  # noqa: E402

NAMES = ["ord", "vectors", "link", "faults"]


class AdapterProperties(unittest.TestCase):
    def parsed(self, *texts):
        with mock.patch.object(vm, "adapter_property_names", return_value=NAMES):
            return cli.adapter_properties(texts)

    def test_values_keep_their_commas(self):
        self.assertEqual(self.parsed("link=both:loss=1%,delay=50ms,ord=4", "faults=post=aeq:0,fffff"),
                         {"link": "both:loss=1%,delay=50ms", "ord": "4", "faults": "post=aeq:0,fffff"})
        self.assertEqual(self.parsed("ord=4,vectors=2"), {"ord": "4", "vectors": "2"})
        self.assertEqual(self.parsed(), {})

    def test_qemu_gets_them_doubled(self):
        self.assertEqual(vm.properties({"link": "both:loss=1%,cut", "x": True}), ",link=both:loss=1%,,cut,x=on")


class WhichVm(unittest.TestCase):
    def test_texts(self):
        self.assertEqual(cli.by_vm(["both:cut", "vm2:to-wire:loss=1%"]), {"vm1": "both:cut", "vm2": "to-wire:loss=1%"})
        self.assertEqual(cli.by_vm([]), {})

    def test_group(self):
        group = mock.Mock(machines=[mock.Mock(index=1), mock.Mock(index=2)])
        own = [(machine.index, text) for machine, text in Group.own_texts(group, {"vm2": "cut"})]
        self.assertEqual(own, [(2, "cut")])
        self.assertEqual([machine.index for machine, _ in Group.own_texts(group, "cut")], [1])
        self.assertEqual(Group.own_texts(group, ""), [])
        with self.assertRaisesRegex(LabError, "there is no vm3"):
            Group.own_texts(group, {"vm3": "cut"})


class ExitCodes(unittest.TestCase):
    def ended(self, *arguments, error=None):
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            if error:
                for name in ("run", "build"):
                    stack.enter_context(mock.patch.object(cli, f"command_{name}", side_effect=error))
            return cli.main(arguments)

    def test_of_a_program(self):
        self.assertEqual(self.ended("run", "true", error=LabError("no")), 125)
        self.assertEqual(self.ended("run", "true", error=OSError("no")), 125)
        self.assertEqual(self.ended("run", "true", error=GuestTrouble("no")), 126)
        self.assertEqual(self.ended("run", "--nonsense"), 125)
        self.assertEqual(self.ended("run"), 125)

    def test_of_the_lab(self):
        self.assertEqual(self.ended("build", error=LabError("no")), 1)
        with self.assertRaises(SystemExit) as end:
            self.ended("build", "--nonsense")
        self.assertEqual(end.exception.code, 2)

    def test_of_scenarios(self):
        """A failed check is 1, a complaint of a kernel more than that; a file that is not in order is the lab's."""
        one = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "scenarios", "short-cut.toml")

        def outcome(good, trouble=""):
            made = scenario.Outcome()
            made.rows.append(scenario.Row("something", "0", "1", good))
            made.trouble = trouble
            return made

        for outcomes, code, said in (([outcome(True), outcome(True)], 0, "short-cut.toml: passed\n"),
                                     ([outcome(False), outcome(True)], 1, "short-cut.toml: FAILED\n"),
                                     ([outcome(False, "WARNING: x"), outcome(True)], 126, "WARNING: x")):
            output = io.StringIO()
            with mock.patch.object(cli, "play_scenario", side_effect=outcomes), contextlib.redirect_stdout(output):
                self.assertEqual(self.ended("scenario", one, one), code)
            self.assertIn(said, output.getvalue())
        with mock.patch.object(cli, "play_scenario") as play, mock.patch.object(cli.scenario_check, "check"):
            self.assertEqual(self.ended("scenario", "--check", one), 0)
            self.assertEqual(self.ended("scenario", one, "none.toml"), 125)
            play.assert_not_called()
            play.side_effect = LabError("no")
            self.assertEqual(self.ended("scenario", one), 125)


if __name__ == "__main__":
    unittest.main()
