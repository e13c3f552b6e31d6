# SPDX-License-Identifier: GPL-2.0-or-later
"""The shared object in programs that it was not built for, and in those it was."""

import os
import shutil
import subprocess
import tempfile
import unittest

import qemu_host as host
from tap import Tap


def preload(command, model=host.MODEL, **extra):
    return subprocess.run(command, env={**os.environ, "LD_PRELOAD": os.path.abspath(model), **extra},
                          timeout=host.LIMIT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, check=False)


def qemu_binary():
    with open(host.WRAPPER, encoding="utf-8") as script:
        return script.read().split("${ERDMA_QEMU:-")[1].split("}")[0]


class OtherPrograms(unittest.TestCase):
    """LD_PRELOAD reaches more than QEMU: nobody else must notice."""

    def test_shell_is_unharmed(self):
        for setting in ({}, {"LD_BIND_NOW": "1"}):
            result = preload(["/bin/sh", "-c", "/bin/true && echo fine"], **setting)
            self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "fine\n", ""))

    def test_qemu_img_is_unharmed(self):
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed")
        result = preload(["qemu-img", "--version"])
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_nothing_is_exported(self):
        result = subprocess.run(["nm", "-D", "--defined-only", host.MODEL], check=True, text=True,
                                stdout=subprocess.PIPE)
        self.assertEqual(result.stdout, "")

    def test_children_of_qemu_do_not_inherit_it(self):
        folder = tempfile.mkdtemp(prefix="erdma-model-test-")
        self.addCleanup(shutil.rmtree, folder)
        script, report = os.path.join(folder, "script"), os.path.join(folder, "report")
        with open(script, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n{{ echo ran with $1; cat /proc/$$/maps; tr '\\0' '\\n' </proc/$$/environ; }} >{report}\n")
        os.chmod(script, 0o755)

        def reported():
            with open(report, encoding="utf-8", errors="replace") as file:
                return file.read()

        # The script would tell.
        self.assertEqual(preload([script, "itself"]).returncode, 0)
        self.assertIn("ran with itself", reported())
        self.assertIn("erdma-model", reported())
        with Tap() as tap, host.Qemu(["-netdev", f"tap,id=t,ifname={tap.name},script={script},downscript=no"]) as qemu:
            with open(f"/proc/{qemu.process.pid}/maps", encoding="utf-8") as maps:
                self.assertIn("erdma-model", maps.read())
            self.assertIn(f"ran with {tap.name}", reported())
            self.assertIn("PATH=", reported())
            self.assertNotIn("erdma-model", reported())


class OtherBuilds(unittest.TestCase):
    """A model that was built for another QEMU refuses, and names both."""

    def patched(self, old, new):
        self.assertEqual(len(old), len(new))
        with open(host.MODEL, "rb") as original:
            content = original.read()
        self.assertIn(old, content)
        folder = tempfile.mkdtemp(prefix="erdma-model-test-")
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "erdma-model.so")
        with open(path, "wb") as copy:
            copy.write(content.replace(old, new))
        return path

    def version(self):
        banner = subprocess.run([qemu_binary(), "--version"], check=True, text=True, stdout=subprocess.PIPE).stdout
        return banner.splitlines()[0].removeprefix("QEMU emulator version ")

    def test_other_version(self):
        running = self.version()
        built = running.replace(running[:3], "6.9", 1)
        result = preload([qemu_binary(), "-S", *host.BASE], self.patched(running.encode(), built.encode()))
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"built for QEMU {built}, but this is QEMU {running};", result.stderr)

    def test_other_configuration(self):
        with open(host.MODEL, "rb") as model:
            stamp = model.read().split(b"qemu_stamp_", 1)[1].split(b"\0")[0]
        result = preload([qemu_binary(), "-S", *host.BASE],
                         self.patched(b"qemu_stamp_" + stamp, b"qemu_stamp_" + b"0" * len(stamp)))
        self.assertEqual(result.returncode, 1)
        self.assertIn("configured differently", result.stderr)
        self.assertIn(self.version(), result.stderr)


if __name__ == "__main__":
    unittest.main()
