# SPDX-License-Identifier: GPL-2.0-or-later
"""Stages of the package tests' installations: any order works, the file's order begins once."""

import contextlib
import os
import sys
import types
import unittest

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(TESTS, "..", "tools", "lab"))
sys.path.insert(0, os.path.join(TESTS, "package"))

from scratch import Stages  # noqa: E402  (found through the lines above)


class Order(unittest.TestCase):
    def setUp(self):
        self.did = []

        @contextlib.contextmanager
        def make():
            self.did.append("make")
            yield types.SimpleNamespace()
            self.did.append("end")

        def step(name):
            return lambda machine: self.did.append(name)

        self.stages = Stages(make, {"one": ("fresh", step("one")), "two": ("one", step("two")),
                                    "three": ("two", step("three"))}, extra=7)

    def test_in_order(self):
        for stage in ("fresh", "one", "one", "two", "three"):
            self.assertEqual(self.stages.at(stage).extra, 7)
        self.assertEqual(self.did, ["make", "one", "two", "three"])

    def test_one_alone(self):
        self.stages.at("three")
        self.assertEqual(self.did, ["make", "one", "two", "three"])

    def test_backwards(self):
        self.stages.at("two")
        self.stages.at("one")
        self.assertEqual(self.did, ["make", "one", "two", "end", "make", "one"])

    def test_within(self):
        self.stages.within("two", "three")
        self.stages.at("three")
        self.stages.within("two", "three")
        self.assertEqual(self.did, ["make", "one", "two", "three"])
        self.stages.within("one")
        self.assertEqual(self.did[4:], ["end", "make", "one"])

    def test_failed_step(self):
        def fail(machine):
            raise AssertionError("no")

        self.stages.steps["two"] = ("one", fail)
        with self.assertRaises(AssertionError):
            self.stages.at("two")
        self.stages.at("one")
        self.assertEqual(self.did, ["make", "one", "end", "make", "one"])

    def test_test_leads_on(self):
        self.stages.at("one")
        with self.stages.changed_to("two"):
            pass
        self.stages.at("three")
        self.assertEqual(self.did, ["make", "one", "three"])
        with self.assertRaises(AssertionError), self.stages.changed_to("two"):
            raise AssertionError("no")
        self.stages.at("three")
        self.assertEqual(self.did[3:], ["end", "make", "one", "two", "three"])

    def test_close(self):
        self.stages.at("one")
        self.stages.close()
        self.stages.close()
        self.assertEqual(self.did, ["make", "one", "end"])


if __name__ == "__main__":
    unittest.main()
