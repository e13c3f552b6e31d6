# SPDX-License-Identifier: GPL-2.0-or-later
"""Which failed tests ./lab test repeats, and what it says of them then."""

import contextlib
import io
import os
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab import testing  # noqa: E402  (found through the line above)

FAILURE, GUEST = '<failure message="x"/>', '<properties><property name="guest" value="trouble"/></properties>'


def junit(path, **cases):
    with open(path, "w", encoding="utf-8") as file:
        file.write('<testsuites><testsuite name="pytest">')
        for name, inside in cases.items():
            file.write(f'<testcase classname="tests.vm.test_some" name="{name}">{inside}</testcase>')
        file.write("</testsuite></testsuites>")
    return path


class Repeat(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.run_path = folder.name
        self.first = os.path.join(folder.name, "first.xml")
        self.status = os.path.join(folder.name, "exit-status")
        self.ended(1)

    def ended(self, status):
        with open(self.status, "w", encoding="ascii") as file:
            file.write(str(status))

    def test_what_is_repeated(self):
        self.assertEqual(testing.repeatable(junit(self.first, a="", b=FAILURE, c='<error/><failure/>'), self.status),
                         ["test_some::b", "test_some::c"])

    def test_what_is_not(self):
        for cases in ({"a": ""}, {"a": FAILURE, "b": GUEST + FAILURE},
                      {str(number): FAILURE for number in range(testing.MOST_REPEATED + 1)}):
            self.assertEqual(testing.repeatable(junit(self.first, **cases), self.status), [])
        none = os.path.join(self.run_path, "none")
        self.assertEqual(testing.repeatable(none, self.status), [])
        self.assertEqual(testing.repeatable(junit(self.first, a=FAILURE), none), [])
        for status in (0, 2, 3, 4, 5):  # pytest did not get to the end of the tests
            self.ended(status)
            self.assertEqual(testing.repeatable(self.first, self.status), [])

    def repeat(self, **second):
        """The tally, ctest's code and the report when a and b failed first."""
        tally = testing.Tally()
        tally.add_junit(junit(self.first, a=FAILURE, b=FAILURE, c=""))

        def stream(_command, _deadline, environment, strip):
            self.assertTrue(strip)
            words = environment["PYTEST_ADDOPTS"].split()
            # Not a word of its own: pytest would look for tests there before it knows the option.
            listed, = [word.partition("=")[2] for word in words if word.startswith("--only=")]
            with open(listed, encoding="utf-8") as file:
                self.assertEqual(file.read(), "test_some::a\ntest_some::b\n")
            self.assertNotIn("-n", words)
            if second:
                junit(words[words.index("--junitxml") + 1], **second)
            return int(any(second.values()))

        with mock.patch.object(testing, "stream", stream), contextlib.redirect_stdout(io.StringIO()):
            code = testing.repeat(testing.repeatable(self.first, self.status), self.run_path, tally, [],
                                  {"PYTEST_ADDOPTS": f"--junitxml {self.first} -n 2"}, 0)
        with contextlib.redirect_stdout(io.StringIO()) as text:
            result = testing.report(tally, self.run_path, 1)
        return tally, code, result, text.getvalue()

    def test_all_pass(self):
        tally, code, result, text = self.repeat(a="", b="")
        self.assertEqual((tally.passed, tally.failed, code, result), (3, 0, 0, 0))
        self.assertIn("UNSTABLE: tests.vm.test_some::a", text)

    def test_one_fails_again(self):
        tally, code, result, text = self.repeat(a=FAILURE, b="")
        self.assertEqual((tally.passed, tally.failed, code, result), (2, 1, 1, 1))
        self.assertIn("FAILED: tests.vm.test_some::a", text)
        self.assertIn("UNSTABLE: tests.vm.test_some::b", text)

    def test_one_is_missing(self):
        for second in ({}, {"a": ""}):
            with contextlib.suppress(OSError):
                os.rename(os.path.join(self.run_path, "again"), tempfile.mkdtemp(dir=self.run_path))
            tally, _, result, _ = self.repeat(**second)
            self.assertEqual((tally.passed, tally.failed, result), (1, 2, 1))


if __name__ == "__main__":
    unittest.main()
