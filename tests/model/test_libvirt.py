# SPDX-License-Identifier: GPL-2.0-or-later
"""The distribution's libvirt takes erdma-qemu for an emulator: capabilities, a domain from examples/libvirt, its life.

libvirtd runs for this test only, in a folder of its own, as a user without rights: a session.  QEMU is in libvirt's sandbox,
starts stopped and takes its devices as JSON.  There is no disk: the firmware finds nothing to boot, which is enough.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import qemu_host as host

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
WRAPPER = os.path.realpath(host.WRAPPER)
EXAMPLE = os.path.join(TOP, "examples", "libvirt", "erdma.xml")
MORE = '<controller type="pci" index="11" model="pcie-root-port"><alias name="ua-more"/></controller>'
NOBODY = 65534
LIMIT = 60
DAEMON = shutil.which("libvirtd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def lacking():
    """Why the test cannot run here, or None."""
    if DAEMON is None or shutil.which("virsh") is None:
        return "libvirt is not installed; install libvirt-daemon, libvirt-daemon-driver-qemu and libvirt-clients"
    if os.geteuid() == 0 and as_nobody(["test", "-x", WRAPPER]).returncode:
        return f"{WRAPPER} is in a folder that the user nobody, as whom a session runs here, may not enter"
    return None


def as_nobody(command, **keywords):
    """Run a command as a user without rights: this one, or nobody."""
    return subprocess.run([*drop(), *command], text=True, timeout=LIMIT, check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **keywords)


def drop():
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []


@unittest.skipIf(lacking(), lacking())
class Libvirt(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Not below the build directory: paths of unix sockets are short.
        cls.folder = tempfile.mkdtemp(prefix="erdma-lv-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        places = {name: os.path.join(cls.folder, name.lower()) for name in
                  ("HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
        cls.environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "LC_ALL": "C", **places}
        os.makedirs(os.path.join(places["XDG_CONFIG_HOME"], "libvirt"))
        # Without virtlogd, which would stay for a while.
        with open(os.path.join(places["XDG_CONFIG_HOME"], "libvirt", "qemu.conf"), "w", encoding="ascii") as out:
            out.write('stdio_handler = "file"\n')
        for place in places.values():
            os.makedirs(place, exist_ok=True)
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", cls.folder], check=True)
        cls.log = os.path.join(cls.folder, "libvirtd.log")
        with open(cls.log, "wb") as log:
            cls.daemon = subprocess.Popen([*drop(), DAEMON], cwd=cls.folder, env=cls.environment, stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, start_new_session=True)
        cls.addClassCleanup(cls.end_daemon)
        deadline = time.monotonic() + LIMIT
        while not os.path.exists(os.path.join(places["XDG_RUNTIME_DIR"], "libvirt", "libvirt-sock")):
            if cls.daemon.poll() is not None or time.monotonic() > deadline:
                with open(cls.log, encoding="utf-8") as log:
                    raise AssertionError(f"libvirtd does not start: {log.read()[-2000:]}")
            time.sleep(0.1)

    @classmethod
    def end_daemon(cls):
        cls.daemon.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            cls.daemon.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(cls.daemon.pid, signal.SIGKILL)
        cls.daemon.wait(20)

    def virsh(self, *words, code=0):
        result = as_nobody(["virsh", "-q", "-c", "qemu:///session", *words], cwd=self.folder, env=self.environment)
        self.assertEqual(result.returncode, code, f"virsh {' '.join(words)}: {result.stdout}\n{self.qemu_log()}")
        return result.stdout

    def qemu_log(self):
        path = os.path.join(self.environment["XDG_CACHE_HOME"], "libvirt", "qemu", "log", "erdma.log")
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def monitor(self, command, **arguments):
        words = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(self.virsh("qemu-monitor-command", "erdma", words))

    def added(self, command, **arguments):
        answer = self.monitor(command, **arguments)
        self.assertIn("return", answer, answer)

    def counters(self, device):
        return self.monitor("qom-get", path=f"/machine/peripheral/{device}", property="counters")["return"]

    def example(self, old, new):
        """Path of the example with what is built here for an emulator, a smaller memory, and one thing changed."""
        with open(EXAMPLE, encoding="utf-8") as file:
            domain = file.read()
        for before, after in (("/usr/bin/erdma-qemu<", f"{WRAPPER}<"), ('"MiB">1024<', '"MiB">128<'), (old, new)):
            self.assertEqual(domain.count(before), 1, before)
            domain = domain.replace(before, after)
        path = os.path.join(self.folder, "erdma.xml")
        with open(path, "w", encoding="utf-8") as out:
            out.write(domain)
        return path

    def test_capabilities(self):
        """libvirt asks the emulator what it can do, and takes the answer."""
        text = self.virsh("domcapabilities", "--emulatorbin", WRAPPER, "--machine", "q35")
        self.assertIn(f"<path>{WRAPPER}</path>", text)

    def test_life(self):
        self.virsh("define", self.example("<console", f"{MORE}<console"))
        self.addCleanup(self.virsh, "undefine", "erdma")
        self.virsh("start", "erdma")
        try:
            self.assertEqual(self.virsh("domstate", "erdma").strip(), "running")
            log = self.qemu_log()
            for part in ("-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny", "-S ",
                         '{"driver":"erdma"'):
                self.assertIn(part, log)
            self.assertIn("link_lost", self.counters("eri0"))
            # Trouble on the link, by libvirt's monitor.
            self.monitor("qom-set", path="/machine/peripheral/eri0", property="link", value="both:loss=1%")
            self.assertEqual(self.monitor("qom-get", path="/machine/peripheral/eri0", property="link")["return"], "both:loss=1%")
            self.virsh("suspend", "erdma")
            self.assertEqual(self.virsh("domstate", "erdma").strip(), "paused")
            self.virsh("resume", "erdma")
            # A second card and its adapter come while it runs.
            self.added("netdev_add", type="user", id="eni1")
            self.added("device_add", driver="virtio-net-pci", id="nic1", netdev="eni1", bus="ua-more")
            self.added("device_add", driver="erdma", id="eri1", eni="eni1", bus="ua-spare")
            self.assertIn("link_lost", self.counters("eri1"))
        finally:
            self.virsh("destroy", "erdma")
        self.assertEqual(self.virsh("domstate", "erdma").strip(), "shut off")

    def test_what_the_model_refuses(self):
        """A wrong property ends the start, and libvirt passes on the model's sentence."""
        path = self.example("hostua-eni0\"", "no-such-netdev\"")
        self.assertIn("no-such-netdev", self.virsh("create", path, code=1))


if __name__ == "__main__":
    unittest.main()
