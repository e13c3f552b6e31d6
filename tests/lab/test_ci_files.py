# SPDX-License-Identifier: GPL-2.0-or-later
"""The files for other people's CI: their form, their shell, and that what they ask of ./lab is there.

GitHub, GitLab and containers are not at hand.  Checked is what each takes by its documentation, as far as a file of this
kind uses it; ./lab test hosts runs the same commands of ./lab in roots of the releases.
"""

import os
import re
import shlex
import subprocess
import sys
import unittest

import yaml

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tools", "lab"))

from erdmalab import cli, packages  # noqa: E402  (found through the line above)


def read(name):
    with open(os.path.join(TOP, name), encoding="utf-8") as file:
        return file.read()


class Case(unittest.TestCase):
    def check_shell(self, script, kind="bash"):
        result = subprocess.run(["shellcheck", "-s", kind, "-e", "SC2016", "-"], input=script, text=True, check=False, timeout=60,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(result.returncode, 0, f"{result.stdout}\n{script}")

    def check_lab(self, script):
        """Each ./lab in a script is a command line that it takes; returns how many there are."""
        calls = re.findall(r'"?[\w$/{}]*(?:erdma|ERDMA_DIR)/lab"? ([^&\n]*)', script)
        for call in calls:
            words = [word if "$" not in word else "x" for word in shlex.split(call)]
            options = cli.parser().parse_args(words)
            for use in getattr(options, "uses", ()):
                self.assertIn(use, packages.uses(), call)
        return len(calls)


class GitHub(Case):
    def setUp(self):
        self.action = yaml.safe_load(read("action.yml"))

    def test_form(self):
        self.assertEqual(set(self.action), {"name", "description", "inputs", "runs"})
        for name, one in self.action["inputs"].items():
            self.assertEqual((set(one), one["required"], one["default"]), ({"description", "required", "default"}, False, ""), name)
        self.assertEqual(self.action["runs"]["using"], "composite")
        for step in self.action["runs"]["steps"]:
            known = {"name", "uses", "with"} if "uses" in step else {"name", "if", "shell", "env", "run"}
            self.assertLessEqual(set(step), known, step)
            self.assertTrue("uses" in step or step["shell"] == "bash", step)

    def test_inputs(self):
        """Each is used, and reaches a script by the environment: a text in its place could be anything."""
        text = read("action.yml")
        self.assertEqual(set(re.findall(r"\binputs\.(\w+)", text)), set(self.action["inputs"]))
        for step in self.action["runs"]["steps"]:
            self.assertNotIn("${{", step.get("run", ""), step)

    def test_scripts(self):
        scripts = [step["run"] for step in self.action["runs"]["steps"] if "run" in step]
        for script in scripts:
            self.check_shell(f"#!/bin/bash\n{script}\n")
        self.assertEqual(sum(map(self.check_lab, scripts)), 4)


class GitLab(Case):
    def test_template(self):
        template = yaml.safe_load(read("packaging/ci/gitlab.yml"))
        self.assertEqual(set(template), {".erdma"})
        job = template[".erdma"]
        self.assertEqual(set(job), {"image", "variables", "cache", "before_script", "artifacts"})
        self.assertTrue(all(isinstance(line, str) for line in job["before_script"]))
        self.assertEqual((set(job["cache"]), set(job["artifacts"])), ({"key", "paths"}, {"when", "paths"}))
        script = "\n".join(job["before_script"])
        self.check_shell(f"#!/bin/bash\n{script}\n")
        self.assertEqual(self.check_lab(script), 2)


class Container(Case):
    def test_file(self):
        lines = [line for line in read("packaging/ci/Containerfile").splitlines() if line and not line.startswith("#")]
        self.assertEqual([line.split()[0] for line in lines], ["FROM", "COPY", "RUN", "ENV", "ENTRYPOINT", "CMD"])
        for line in lines:
            if line.startswith("RUN "):
                self.check_shell(f"#!/bin/sh\n{line[4:]}\n", "sh")
                self.assertEqual(self.check_lab(line), 2)
        self.assertIn("build/", read(".dockerignore").split())


if __name__ == "__main__":
    unittest.main()
