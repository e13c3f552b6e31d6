# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab makes of the words of check mode's witness, and how programs come to have one."""

import json
import os
import sys
import unittest

import jsonschema

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "tools", "lab"))

from erdmalab import check, vm, witness  # noqa: E402  (found through the line above)

SECOND = 10 ** 9


def word(kind, name="my program", **values):
    fields = {"pci": "0000:01:00.0", "pid": 231, "qpn": 5, "cqe": 64, "count": 1, "first": 3 * SECOND, "last": 4 * SECOND, "what": 10,
              "wr_id": 16, **values}
    return f"{kind} {' '.join(f'{key}={value}' for key, value in fields.items())} name={name}\n"


def heard(*lines):
    return witness.findings("".join(lines) + "now seconds=10.50\n", {"0000:01:00.0": ("eri0", 110 * SECOND)})


class Words(unittest.TestCase):
    def test_every_kind_is_a_finding(self):
        with open(os.path.join(ROOT, "docs", "check.schema.json"), encoding="utf-8") as file:
            schema = json.load(file)
        for kind, (severity, _, advice) in witness.KINDS.items():
            with self.subTest(kind=kind):
                one, = heard(word(kind))
                self.assertEqual((one["id"], one["severity"], one["advice"], one["adapter"]), (kind, severity, advice, "eri0"))
                self.assertEqual(one["process"], {"name": "my program", "pid": 231})
                jsonschema.validate({"version": 1, "findings": [{**one, "vm": "vm1"}]}, schema)

    def test_times_are_the_adapters(self):
        one, = heard(word("armed-unslept"))
        self.assertEqual((one["first_ns"], one["last_ns"]), (int(102.5 * SECOND), int(103.5 * SECOND)))
        self.assertEqual(one["age_ns"], int(7.5 * SECOND))

    def test_one_finding_for_each_queue_pair_of_a_process(self):
        found = heard(word("error-unpolled"), word("error-unpolled", count=2, first=2 * SECOND), word("error-unpolled", qpn=6),
                      word("error-unpolled", pid=232))
        self.assertEqual([one["count"] for one in found], [3, 1, 1])
        self.assertEqual(found[0]["age_ns"], int(8.5 * SECOND))

    def test_there_is_an_end(self):
        found = heard(*(word("error-unpolled", qpn=1 + number) for number in range(300)))
        self.assertEqual(len(found), witness.MOST_FINDINGS)

    def test_sentences(self):
        self.assertIn("remote access error, wr_id 0x10) of queue pair 5", heard(word("error-unpolled"))[0]["sentence"])
        self.assertIn("of the device (device failed)", heard(word("event-unread", qpn=0, what=8))[0]["sentence"])
        self.assertIn("64 entries was polled 12000000 times", heard(word("polled-in-vain", count=12000000))[0]["sentence"])

    def test_a_queue_without_queue_pair_and_an_unknown_device(self):
        one, = heard(word("polled-in-vain", qpn=0, pci="siw_0"))
        self.assertNotIn("qpn", one)
        self.assertNotIn("adapter", one)
        self.assertIn("my program (pid 231), on vm1", check.location({**one, "vm": "vm1"}))

    def test_broken_lines_are_left_out(self):
        self.assertEqual(heard("nonsense\n", "error-unpolled pid=1 name=x\n", "\n", word("no-such-kind"),
                               word("error-unpolled", pid="x")), [])


class Environment(unittest.TestCase):
    def test_what_a_program_has_comes_first(self):
        more = witness.environment("/w.so")
        self.assertEqual(vm.joined({}, more)["LD_PRELOAD"], "/w.so")
        own = vm.joined({"LD_PRELOAD": "libasan.so", "A": "1", "ERDMA_WITNESS": ""}, more)
        self.assertEqual((own["LD_PRELOAD"], own["A"], own["ERDMA_WITNESS"]), ("libasan.so:/w.so", "1", ""))
        self.assertEqual(vm.joined({"ASAN_OPTIONS": "a=1"}, more)["ASAN_OPTIONS"], "a=1:verify_asan_link_order=0")


if __name__ == "__main__":
    unittest.main(verbosity=2)
