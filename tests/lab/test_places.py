# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the lab looks for its parts: in its checkout, where ERDMA_DIR says, or among what is installed."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAB = os.path.join(TOP, "tools", "lab")
SHOW = "import json; from erdmalab import common as c; print(json.dumps([c.CHECKOUT, c.BUILD, c.LAB, c.GUEST_FILES]))"


class Places(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = os.path.realpath(folder.name)
        self.site = os.path.join(self.folder, "site")
        shutil.copytree(os.path.join(LAB, "erdmalab"), os.path.join(self.site, "erdmalab"))

    def python(self, code, where, **settings):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ERDMA_")}
        return subprocess.run([sys.executable, "-B", "-c", code], cwd=self.folder, text=True, timeout=60, check=False,
                              env={**environment, "PYTHONPATH": where, **settings}, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)

    def shown(self, where, **settings):
        return json.loads(self.python(SHOW, where, **settings).stdout)

    def test_in_a_checkout(self):
        for settings in ({}, {"ERDMA_DIR": "/elsewhere", "ERDMA_LAB_DIR": "/elsewhere"}):
            self.assertEqual(self.shown(LAB, **settings), [TOP, f"{TOP}/build", f"{TOP}/build/lab", f"{LAB}/erdmalab/guest"])

    def test_installed(self):
        here = f"{self.folder}/.erdma-lab"
        self.assertEqual(self.shown(self.site), [None, here, here, f"{self.site}/erdmalab/guest"])
        self.assertEqual(self.shown(self.site, ERDMA_LAB_DIR="/logs")[2], "/logs")

    def test_named(self):
        self.assertEqual(self.shown(self.site, ERDMA_DIR=TOP)[:3], [TOP, f"{TOP}/build", f"{self.folder}/.erdma-lab"])
        self.assertEqual(self.shown(self.site, ERDMA_DIR="/a/build", ERDMA_LAB_DIR="logs")[:3],
                         ["/a", "/a/build", f"{self.folder}/logs"])

    def test_what_is_missing_is_named(self):
        check = ("from erdmalab import kernel, runs\n"
                 "try:\n    runs.check_parts(kernel.Kernel('9.9', '/image', '/nowhere', '/nowhere'))\n"
                 "except kernel.LabError as error:\n    print(error)\n")
        for settings in ({}, {"ERDMA_DIR": "/nowhere/build"}):
            said = self.python(check, self.site, PATH=self.folder, **settings).stdout
            self.assertIn("the device model is not there: ", said)
            self.assertIn("ERDMA_DIR", said)
            self.assertIn("erdma-qemu-model", said)


if __name__ == "__main__":
    unittest.main()
