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
    """A model works with its release of QEMU, if that lays its structures out as expected; otherwise it says both."""

    def changed(self, change):
        """A copy of the model with a change of its content."""
        with open(host.MODEL, "rb") as original:
            content = bytearray(original.read())
        change(content)
        folder = tempfile.mkdtemp(prefix="erdma-model-test-")
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "erdma-model.so")
        with open(path, "wb") as copy:
            copy.write(content)
        return path

    def built_for(self, version):
        """The model as if built for another version of the same length."""
        old, new = self.version().encode(), version.encode()
        self.assertEqual(len(old), len(new))

        def change(content):
            start = content.index(old)
            content[start:start + len(new)] = new
        return self.changed(change)

    def expecting(self, name):
        """The model as if it had been built with another number for this name (qemu/layout.c)."""
        def change(content):
            start = content.index(name.encode().ljust(24, b"\0")) + 24
            content[start] ^= 0x08
        return self.changed(change)

    def version(self):
        banner = subprocess.run([qemu_binary(), "--version"], check=True, text=True, stdout=subprocess.PIPE).stdout
        return banner.splitlines()[0].removeprefix("QEMU emulator version ")

    def start(self, model):
        return preload([qemu_binary(), *host.BASE, "-device", "erdma,help"], model)

    def test_other_release(self):
        running = self.version()
        built = "0.9" + running[3:] if running[1] == "." else "0.99" + running[4:]
        result = self.start(self.built_for(built))
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"built for QEMU {built}, but this is QEMU {running};", result.stderr)
        self.assertIn("build it again", result.stderr)

    def test_other_update_of_the_release(self):
        running = self.version()
        number, _, package = running.partition(" ")
        release, micro = number.rsplit(".", 1)
        result = self.start(self.built_for(f"{release}.{'9' * len(micro)} {package.upper()}".ljust(len(running))))
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertIn("erdma options", result.stdout)

    def test_other_layout(self):
        for name in ("PCIDevice.devfn", "PCIDevice.cap_present", "PCIDevice.romfile", "PCIDevice.config",
                     "PCIDevice.irq_state", "PCIEPort.port", "NetFilterState", "NetClientState"):
            result = self.start(self.expecting(name))
            self.assertEqual(result.returncode, 1, name)
            self.assertRegex(result.stderr, rf"in which {name} is \d+ instead of \d+; build it again")
            self.assertIn(self.version(), result.stderr)


if __name__ == "__main__":
    unittest.main()
