# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark's own decisions: rows that hang or fail, verdicts beside older results, the page."""

import contextlib
import html.parser
import io
import json
import os
import re
import sys
import tempfile
import types
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab import bench, benchpage, benchresult  # noqa: E402  (found through the line above)
from erdmalab.benchresult import Results  # noqa: E402
from erdmalab.channel import GuestGone  # noqa: E402
from erdmalab.common import LabError, LabTimeout  # noqa: E402
from erdmalab.vm import Adapter  # noqa: E402

VOID = {"meta", "rect", "path", "br"}


def results(**measures):
    """Results with MiB/s rows ("a_b" is the measure "a b"), or µs where the name ends so."""
    made = Results({"kernel": "6.1", "rounds": 1, "cpus": 1, "machine": {"processor": "<fast> & good"}})
    for name, peers in measures.items():
        for peer, values in peers.items():
            for value in values:
                made.note(name.replace("_", " "), "µs" if name.endswith("latency") else "MiB/s", peer, float(value))
    return made


def verdicts(old, new):
    return {row[0]: row[-1] for row in benchresult.compare(old, new)[1]}


class Page(html.parser.HTMLParser):
    """Ends all that it begins."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, tag

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


class Networks(unittest.TestCase):
    def test_cards(self):
        """What the guests are given is what network cards take."""
        for protocol, softiwarp, expected in ((None, None, [{}, None]), (None, "siw", [{}, None, None]),
                                              ("rocev2", None, [{"protocol": "rocev2"}, None])):
            cards = [Adapter(**net) for net in bench.networks(protocol, softiwarp)]
            self.assertEqual([card.options if card.erdma else None for card in cards], expected)


class Rows(unittest.TestCase):
    def setUp(self):
        adapters = [types.SimpleNamespace(address="10.77.0.1/24"), types.SimpleNamespace(address="10.77.1.1/24")]
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.file = os.path.join(self.folder.name, "bench.json")
        self.bench = bench.Bench([types.SimpleNamespace(slow=2, adapters=adapters)] * 2, Results(), self.file)

    def attempt(self, answers, measure="write", unit="MiB/s"):
        """Each call gives or raises the next of the answers; returns how many were taken."""
        left = list(answers)

        def function():
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        with contextlib.redirect_stderr(io.StringIO()):
            self.bench.attempt(measure, unit, "rdma_rxe", function)
        return len(answers) - len(left)

    def test_good(self):
        self.assertEqual(self.attempt([5.0, 6.0]), 1)
        self.assertEqual(self.bench.results.values, {"write": {"rdma_rxe": [5.0]}})

    def test_second_time(self):
        for trouble in (LabTimeout("took long"), LabError("ended with code 1"), float("nan")):
            self.assertEqual(self.attempt([trouble, 6.0]), 2)
        self.assertEqual(self.bench.results.values, {"write": {"rdma_rxe": [6.0] * 3}})
        self.assertEqual(self.bench.results.failures, {})

    def test_marked(self):
        """What hangs twice is marked, the rest goes on, and a file has all of it."""
        self.assertEqual(self.attempt([LabTimeout("did not end within 60 s")] * 3), 2)
        self.assertEqual(self.attempt([LabError("ended with code 1")] * 3, measure="read"), 2)
        self.attempt([7.0], measure="send")
        # In the next round nobody waits for it again.
        self.assertEqual(self.attempt([LabTimeout("x")] * 3), 0)
        self.assertIn("HANGS", self.bench.results.text())
        self.assertIn("write, rdma_rxe hangs: did not end within 60 s", self.bench.results.text())
        self.assertIn("read, rdma_rxe fails: ended with code 1", self.bench.results.text())
        saved = benchresult.read(self.file)
        self.assertEqual(saved.values["send"], {"rdma_rxe": [7.0]})
        self.assertEqual(saved.failures["write"]["rdma_rxe"], "hangs: did not end within 60 s")

    def test_several_measures(self):
        names = {"random": "IOPS", "row": "MiB/s"}
        self.attempt([LabError("x"), {"random": ("IOPS", 3.0), "row": ("MiB/s", 4.0)}], measure=names)
        self.assertEqual(self.bench.results.values, {"random": {"rdma_rxe": [3.0]}, "row": {"rdma_rxe": [4.0]}})
        self.attempt([LabError("x")] * 2, measure=names)
        self.assertEqual(set(self.bench.results.failures), set(names))

    def test_only(self):
        """What was not asked for is not measured."""
        self.bench.only = re.compile("64 KiB|row")
        self.assertEqual(self.attempt([5.0], measure="write 64 KiB, 1 QP"), 1)
        self.assertEqual(self.attempt([5.0], measure="write 4 KiB, 1 QP"), 0)
        self.assertEqual(self.attempt([{"row": ("MiB/s", 4.0)}], measure={"random": "IOPS", "row": "MiB/s"}), 1)
        self.assertEqual(set(self.bench.results.values), {"write 64 KiB, 1 QP", "row"})

    def test_targets_of_the_protocol(self):
        measured = {"write 64 KiB, 1 QP": {"erdma": [30], "rdma_rxe": [1], "tcp": [1]}}
        for protocol, wanted in ((None, [("rdma_rxe", True), ("tcp", True)]), ("rocev2", [("rdma_rxe", False)])):
            made = results(**measured)
            if protocol:
                made.about["protocol"] = protocol
            self.assertEqual([(row[1], row[4]) for row in made.targets()], wanted)
            with open(self.file, "w", encoding="utf-8") as file:
                json.dump(made.json(), file)
            self.assertEqual(benchresult.read(self.file).about.get("protocol"), protocol)

    def test_without_a_guest(self):
        with self.assertRaises(GuestGone):
            self.attempt([GuestGone("it ended")])


class Verdicts(unittest.TestCase):
    PEERS = {"rdma_rxe": [10, 10], "tcp": [20, 20]}

    def test_spread_decides(self):
        old = results(a={"erdma": [100, 110], **self.PEERS}, b={"erdma": [100, 110], **self.PEERS},
                      c={"erdma": [100, 110], **self.PEERS}, d_latency={"erdma": [5, 6]}, e_latency={"erdma": [5, 6]})
        new = results(a={"erdma": [111, 120], **self.PEERS}, b={"erdma": [90, 99], **self.PEERS},
                      c={"erdma": [60, 101], **self.PEERS}, d_latency={"erdma": [7, 8]}, e_latency={"erdma": [3, 4]})
        self.assertEqual(verdicts(old, new), {"a": "faster", "b": "SLOWER", "c": "same", "d latency": "SLOWER",
                                              "e latency": "faster"})
        self.assertTrue(benchresult.slower(old, new))
        self.assertFalse(benchresult.slower(old, old))

    def test_one_value_has_the_usual_spread(self):
        old, same = results(a={"erdma": [100], **self.PEERS}), results(a={"erdma": [80], **self.PEERS})
        self.assertEqual(verdicts(old, same), {"a": "same"})
        self.assertEqual(verdicts(old, results(a={"erdma": [50], **self.PEERS})), {"a": "SLOWER"})

    def test_slower_machine(self):
        """Everything takes twice as long: the adapter is as good as it was."""
        old = results(a={"erdma": [100, 102], "rdma_rxe": [10], "tcp": [20]}, l_latency={"erdma": [4, 5], "tcp": [8, 9]})
        new = results(a={"erdma": [50, 51], "rdma_rxe": [5], "tcp": [10]}, l_latency={"erdma": [8, 10], "tcp": [16, 18]})
        self.assertAlmostEqual(benchresult.machine_speed(old, new)[0], 0.5)
        self.assertEqual(set(verdicts(old, new).values()), {"same"})
        self.assertIn("0.50 times as fast", benchresult.comparison_text(old, new))

    def test_unsteady_machine(self):
        """The rows that tell of the machine's speed disagree: what may come of that is no verdict."""
        old = results(a={"erdma": [100, 100], "rdma_rxe": [10], "tcp": [20]}, b={"rdma_rxe": [10], "tcp": [20]})
        new = results(a={"erdma": [97, 97], "rdma_rxe": [8], "tcp": [24]}, b={"rdma_rxe": [10], "tcp": [21]})
        self.assertEqual(verdicts(old, new)["a"], "same")
        new = results(a={"erdma": [60, 60], "rdma_rxe": [8], "tcp": [24]}, b={"rdma_rxe": [10], "tcp": [21]})
        self.assertEqual(verdicts(old, new)["a"], "SLOWER")

    def test_rows_that_are_missing(self):
        old, new = results(gone={"erdma": [1]}, both={"erdma": [1, 1]}), results(fresh={"erdma": [1]}, both={"erdma": [1, 1]})
        new.fail("both2", "MiB/s", "erdma", "hangs: x")
        self.assertEqual(verdicts(old, new), {"gone": "not measured now", "both": "same", "fresh": "new", "both2": "FAILED"})
        self.assertTrue(benchresult.slower(old, new))


class Files(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, text):
        path = os.path.join(self.folder.name, "file")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_read_as_written(self):
        made = results(a={"erdma": [100, 110], "tcp": [5]})
        made.fail("b", "ms", "rdma_rxe", "fails: x")
        made.stopped = "it was enough"
        again = benchresult.read(self.path(json.dumps(made.json())))
        self.assertEqual((again.values, again.units, again.failures, again.stopped, again.about),
                         (made.values, made.units, made.failures, made.stopped, made.about))

    def test_other_files(self):
        for text in ("", "{}", "[]", '{"units": {}, "values": 3}', '{"units": {}, "values": {"a": {"erdma": [1]}}}',
                     '{"units": {"a": "s"}, "values": {"a": {"erdma": ["x"]}}}'):
            with self.assertRaises(LabError):
                benchresult.read(self.path(text))
        with self.assertRaises(LabError):
            benchresult.read(os.path.join(self.folder.name, "nothing"))

    def test_command(self):
        """`./lab bench --from FILE` shows, compares and draws without a guest."""
        old = self.path(json.dumps(results(a={"erdma": [100, 110], "tcp": [5, 5]}).json()))
        new = old + ".new"
        with open(new, "w", encoding="utf-8") as file:
            json.dump(results(a={"erdma": [10, 11], "tcp": [5, 5]}).json(), file)
        options = types.SimpleNamespace(results=new, compare=old, html=old + ".html", json=False, kernel=None, rounds=1, cpus=1)
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(bench.bench(options), 1)
        self.assertIn("SLOWER", said.getvalue())
        with open(options.html, encoding="utf-8") as file:
            self.assertIn("SLOWER", file.read())
        options.compare, options.html, options.json = None, None, True
        with contextlib.redirect_stdout(io.StringIO()) as said:
            self.assertEqual(bench.bench(options), 0)
        self.assertEqual(json.loads(said.getvalue())["median"]["a"]["erdma"], 10.5)


class Pages(unittest.TestCase):
    def test_page(self):
        made = results(write={"erdma": [100, 120, 110], "rdma_rxe": [10], "tcp": [20, 22]}, d_latency={"erdma": [5]})
        made.fail("read <4 QPs>", "MiB/s", "rdma_rxe", "hangs: <b>did not end</b>")
        text = benchpage.page(made, results(write={"erdma": [10, 11], "rdma_rxe": [10], "tcp": [20, 22]}))
        page = Page(text)
        self.assertEqual(page.open, [])
        self.assertEqual(sum(tag == "svg" for tag, _ in page.seen), 3)
        bars = [float(attributes["width"]) for tag, attributes in page.seen if tag == "rect"]
        self.assertEqual(len(bars), 4)
        # As long as the medians are large, and the spread where there is one.
        self.assertAlmostEqual(bars[0] / bars[1], 11, delta=0.1)
        self.assertEqual(sum(tag == "path" for tag, _ in page.seen), 2)
        for word in ("110 (100–120)", "&lt;fast&gt; &amp; good", "&lt;b&gt;did not end", "hangs", "faster", "less is better"):
            self.assertIn(word, text)
        for word in ("<script", "http", "src=", "<b>", "nan"):
            self.assertNotIn(word, text)

    def test_nothing_measured(self):
        made = Results()
        made.fail("a", "MiB/s", "erdma", "fails: x")
        made.stopped = "the guest ended"
        self.assertIn("the guest ended", benchpage.page(made))


if __name__ == "__main__":
    unittest.main()
