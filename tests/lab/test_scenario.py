# SPDX-License-Identifier: GPL-2.0-or-later
"""The timeline of a scenario, with guests that are none: their programs run on this machine."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab import scenario, scenario_file  # noqa: E402  (found through the line above)
from erdmalab.common import LabError, LabTimeout  # noqa: E402
from erdmalab.watch import GuestTrouble  # noqa: E402


NEVER = 1  # a port that nobody listens on


class Job:
    """As channel.Job."""

    def __init__(self, line, env):
        self.begin = time.monotonic()
        self.process = subprocess.Popen(["sh", "-c", line], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, **env})
        self.text, self.code, self.seconds, self.command = "", None, None, line
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            self.text += line
        self.process.stdout.close()
        self.seconds = time.monotonic() - self.begin
        self.code = self.process.wait()

    def kill(self, number=9):
        os.killpg(self.process.pid, number)

    def wait(self, timeout):
        self.thread.join(timeout)


class Machine:
    """As much of vm.Vm as a scenario uses."""

    slow = 1
    model = True

    def __init__(self, index, directory):
        self.index, self.name, self.directory = index, f"vm{index}", os.path.join(directory, f"vm{index}")
        os.makedirs(self.directory)
        self.adapters = [types.SimpleNamespace(erdma=True, capture=False, address=f"10.77.0.{index}/24", options={})]
        self.allowed, self.done, self.count, self.complaint, self.begin = [], [], 100, "", time.monotonic()

    def popen(self, line, cwd, env, on_output):
        return Job(line, env)

    def run(self, line, timeout=60, check=True, env=None):
        job = Job(line, env or {})
        job.wait(timeout)
        return types.SimpleNamespace(code=job.code, output=job.text, errors="")

    def alive(self):
        return True

    def wait_listener(self, port, job, tcp=False):
        if port == NEVER:
            raise LabTimeout(f"'{job.command}' does not listen")
        self.note("listener", port)

    def counters(self, device):
        self.count += 1
        return {"ticks": self.count}

    def note(self, *what):
        self.done.append((round(time.monotonic() - self.begin, 2), *what))

    def link(self, text="", device="eri0"):
        self.note("link", text)

    def faults(self, text="", device="eri0"):
        self.note("faults", text)

    def dmesg(self):
        return "a line of the kernel\n"

    def check_log(self):
        if self.complaint and not self.allowed:
            raise GuestTrouble(self.complaint)

    def what(self):
        return [entry[1:] for entry in self.done]


class Timeline(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.machines = [Machine(index, self.folder) for index in (1, 2)]
        self.told = []

    def play(self, content, name="x.toml"):
        """The outcome of a scenario without its title."""
        group = type("Group", (list,), {"environment": lambda self: {"ERDMA_VMS": "2"}, "check_logs": lambda self: None})(
            self.machines)
        self.one = scenario_file.parse(f'title = "x"\n{content}', os.path.join(self.folder, name))
        return scenario.play(self.one, group, self.told.append)

    def failed(self, content):
        return [(row.what, row.expected, str(row.found)) for row in self.play(content).failed]

    def test_two_programs(self):
        outcome = self.play('programs = [{name="a", guest="vm1", run="echo $ERDMA_VMS guests", listens=99},'
                            '{name="b", guest="vm2", run="exit 3", exit=[3, 4]}]')
        self.assertEqual([(row.what, row.good) for row in outcome.rows],
                         [("a: exit code", True), ("b: exit code", True), ("kernel of vm1", True), ("kernel of vm2", True)])
        self.assertEqual(self.machines[0].what(), [("listener", 99)])
        with open(os.path.join(self.folder, "vm1", "a.txt"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "2 guests\n")

    def test_a_server_that_does_not_listen(self):
        """That is the program's fault, and what would follow does not."""
        found = self.failed(f'programs = [{{name="a", guest="vm1", run="sleep 50", listens={NEVER}}},'
                            '{name="b", guest="vm2", run="true"}]')
        self.assertEqual(found, [("a", "to listen on port 1", "it does not"),
                                 ("a: exit code", "0", "none, it was still running")])

    def test_wrong_exit_codes(self):
        self.assertEqual(self.failed('programs = [{name="a", guest="vm1", run="exit 3"},'
                                     '{name="b", guest="vm2", run="true", exit="failure"},'
                                     '{name="c", guest="vm2", run="kill -9 $$", exit=137},'
                                     '{name="d", guest="vm2", run="exit 2", forever=true},'
                                     '{name="e", guest="vm2", run="sleep 0.5; exec true"}]'),
                         [("a: exit code", "0", "3"), ("b: exit code", "not 0", "0"),
                          ("d: exit code", "to run on, or 0", "2")])

    def test_a_server_that_never_ends(self):
        outcome = self.play('programs = [{name="a", guest="vm1", run="sleep 50", forever=true},'
                            '{name="b", guest="vm2", run="true"}]')
        self.assertFalse(outcome.failed, outcome.table())

    def test_events_in_time(self):
        """A time, a line of output and a counter; what is to last a while ends by itself, one that follows comes after it."""
        self.assertEqual(self.failed("""
            programs = [{name="a", guest="vm1", run="sleep 0.4; echo now; sleep 1"}]
            [[events]]
            do = "link"
            guest = "vm1"
            at = 0.2
            text = "both:cut"
            for = 0.5
            [[events]]
            name = "second"
            when = {program="a", prints="^no"}
            do = "faults"
            guest = "vm1"
            text = "dead"
            [[events]]
            after = "second"
            delay = 0.6
            do = "faults"
            guest = "vm1"
            text = ""
            [[events]]
            when = {guest="vm2", counter="ticks", by=10}
            do = "run"
            guest = "vm2"
            run = "exit 5"
            exit = 5
            """), [])
        self.assertEqual(self.machines[0].what(), [("link", "both:cut"), ("faults", "dead"), ("link", ""), ("faults", "")])
        first, second, third, fourth = (entry[0] for entry in self.machines[0].done)
        late = 0.02  # the times are kept with two digits: a difference may lack one of them
        self.assertTrue(0.2 <= first < second and second >= 0.4 and 0.5 - late <= third - first < 0.9 and
                        fourth - second >= 0.6 - late, self.machines[0].done)
        self.assertTrue(any("exit 5" in line for line in self.told), self.told)

    def test_a_program_that_starts_later(self):
        outcome = self.play('programs = [{name="a", guest="vm1", run="sleep 0.3; date +%s.%N"},'
                            '{name="b", guest="vm2", run="date +%s.%N", after="a"}]')
        self.assertFalse(outcome.failed, outcome.table())

    def test_kill(self):
        self.assertEqual(self.failed("""
            programs = [{name="a", guest="vm1", run="exec sleep 50", exit=143}]
            [[events]]
            do = "kill"
            program = "a"
            signal = "TERM"
            at = 0.1
            """), [])

    def test_kill_of_what_has_ended(self):
        self.assertEqual(self.failed("""
            programs = [{name="a", guest="vm1", run="true"}]
            [[events]]
            do = "kill"
            program = "a"
            at = 0.4
            """), [("event 1 (kill)", "a to run", "ended before")])

    def test_what_never_happens(self):
        """A condition that nothing can make true any more ends the scenario, and fails it."""
        begin = time.monotonic()
        self.assertEqual(self.failed("""
            programs = [{name="a", guest="vm1", run="echo something"}, {name="b", guest="vm1", run="true", after="never"}]
            [[events]]
            name = "never"
            when = {program="a", prints="other"}
            do = "link"
            guest = "vm1"
            text = "both:cut"
            """), [("b", "to happen", "its condition never came true"), ("never", "to happen", "its condition never came true")])
        self.assertLess(time.monotonic() - begin, 5)
        self.assertEqual(self.machines[0].what(), [])

    def test_limit(self):
        outcome = self.play('limit = 1\nprograms = [{name="a", guest="vm1", run="echo before; sleep 50"}]')
        self.assertEqual([row.what for row in outcome.failed], ["the scenario's end", "a: exit code"])
        self.assertIn("still waited for: a\n", outcome.text())
        self.assertIn("before\n", outcome.text())

    def test_a_link_is_clean_after_a_failure(self):
        with self.assertRaisesRegex(LabError, "no counter tocks; there are ticks"):
            self.play("""
                programs = [{name="a", guest="vm1", run="sleep 50"}]
                [[events]]
                do = "link"
                guest = "vm1"
                text = "both:cut"
                for = 100
                [[events]]
                when = {guest="vm2", counter="tocks", by=1}
                do = "link"
                guest = "vm1"
                text = "both:cut"
                """)
        self.assertEqual(self.machines[0].what()[-1], ("link", ""))

    def test_from_the_start(self):
        self.play('links = [{guest="vm2", text="both:loss=1%"}]\nfaults = [{guest="vm1", text="dead"}]\n'
                  'programs = [{name="a", guest="vm1", run="true"}]')
        self.assertEqual((self.machines[0].what(), self.machines[1].what()), ([("faults", "dead")], [("link", "both:loss=1%")]))

    def test_checks(self):
        failing = """
            programs = [{name="a", guest="vm1", run="sleep 0.2; echo 'first line'; echo second"}]
            checks = [
                {check="output", program="a", prints="^second$"},
                {check="output", program="a", prints="third", lacks="first"},
                {check="time", program="a", min=0.2, max=5},
                {check="time", program="a", max=0.1},
                {check="counter", guest="vm1", counter="ticks", is=1},
                {check="counter", guest="vm1", counter="ticks", min=50},
                {check="command", guest="vm2", run="echo word; exit 2", exit=2, prints="word"},
                {check="command", guest="vm2", run="echo word", prints="other"},
                {check="log", guest="vm1", prints="kernel$", lacks="oops"},
            ]"""
        found = self.failed(failing)
        self.assertEqual([one[:2] for one in found],
                         [("a: output", "/third/"), ("a: output", "no /first/"), ("a: time", "at most 0.1 s"),
                          ("vm1: ticks", "at least 50"), ("vm2: echo word", "/other/")])
        self.assertEqual(found[1][2], '"first"')

    def test_a_complaint(self):
        self.machines[1].complaint = "WARNING: made by a test"
        one = '\nprograms = [{name="a", guest="vm1", run="true"}]'
        group_error = None
        try:
            self.play(one)
        except GuestTrouble as error:  # from before the scenario
            group_error = str(error)
        self.assertEqual(group_error, "WARNING: made by a test")
        self.machines[1].complaint = ""
        outcome = self.play(one + '\n[[events]]\ndo = "run"\nguest = "vm1"\nrun = "true"')
        self.assertFalse(outcome.failed)

    def test_a_complaint_meanwhile(self):
        machine = self.machines[1]
        machine.run = lambda *_, **__: (setattr(machine, "complaint", "WARNING: made by a test"),
                                        types.SimpleNamespace(code=0, output="", errors=""))[1]
        content = 'programs = [{name="a", guest="vm1", run="true"}]\n[[events]]\ndo = "run"\nguest = "vm2"\nrun = "true"'
        outcome = self.play(content)
        self.assertEqual(([row.what for row in outcome.failed], outcome.trouble), (["kernel of vm2"], "WARNING: made by a test"))
        machine.complaint = ""
        self.assertFalse(self.play('allow = ["made by"]\n' + content).failed)


if __name__ == "__main__":
    unittest.main()
