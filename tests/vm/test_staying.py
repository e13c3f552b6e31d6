# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that stay: ./lab up, ps, exec and stop, each a process of its own."""

import os
import subprocess
import time

import pytest

from erdmalab.common import LAB, ROOT


def command(*words, **keywords):
    return subprocess.Popen([os.path.join(ROOT, "lab"), *words], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, **{"stdin": subprocess.DEVNULL, **keywords})


def run(*words, code=0, given=None, timeout=120):
    process = command(*words, stdin=subprocess.PIPE if given else subprocess.DEVNULL)
    try:
        output, errors = process.communicate(given, timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == code, f"lab {' '.join(words)}: {process.returncode}\n{output}{errors}"
    return output + errors


@pytest.fixture
def group(lab):
    """Two guests of ./lab up; gives the directory of their run."""
    said = run("up", *([] if lab.model else ["--no-model"]), "--no-build", "--vms", "2",
               "--kernel", "debug" if lab.kernel.debug else lab.kernel.version, timeout=250)
    assert "./lab exec vm1" in said, said
    directory = os.path.join(LAB, os.readlink(os.path.join(LAB, "latest")))
    yield directory
    # Nothing to do where the test came to its end.
    command("stop", "vm1").communicate(timeout=100)
    left = subprocess.run(["pgrep", "-f", f"{directory}/vm[12]/share"], check=False, text=True, stdout=subprocess.PIPE)
    assert not left.stdout, f"QEMU still runs: {left.stdout}"


@pytest.mark.limit(500)
def test_staying(lab, group):
    """Programs run in them, at once and with input; what their kernels complain of is told by exec and by stop."""
    shown = run("ps")
    assert shown.count(lab.kernel.version) >= 2 and "10.77.0.2" in shown, shown
    assert run("exec", "vm1", "--", "sh", "-c", "echo $ERDMA_VMS $ERDMA_VM2 $(hostname); exit 7", code=7) == "2 10.77.0.2 vm1\n"
    assert run("exec", "vm2", "--", "tr", "a-z", "A-Z", given="through the relay\n") == "THROUGH THE RELAY\n"
    # Much output arrives whole, while other programs of the same guest run.
    server = command("exec", "vm2", "--", "rping", "-s", "-a", "10.77.0.2", "-C", "10") if lab.model else None
    assert run("exec", "vm2", "--", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x") == "x" * 3000000
    if server:
        assert "ping data" in run("exec", "vm1", "--", "rping", "-c", "-a", "10.77.0.2", "-C", "10", "-v")
        assert server.wait(60) == 0, server.stderr.read()
    # A program ends with the process that wanted it.
    waiting = command("exec", "vm1", "--", "sleep", "4711")
    deadline = time.monotonic() + 60
    while run("exec", "vm1", "--", "sh", "-c", "pgrep -f 'sleep 471[1]' || true") == "":
        assert time.monotonic() < deadline and waiting.poll() is None
    waiting.kill()
    waiting.wait()
    while run("exec", "vm1", "--", "sh", "-c", "pgrep -f 'sleep 471[1]' || true"):
        assert time.monotonic() < deadline
    said = run("exec", "vm2", "--", "sh", "-c", "echo '<4>WARNING: made by a test' > /dev/kmsg; exit 3", code=126)
    assert "made by a test" in said
    run("exec", "vm2", "--", "true")
    assert "made by a test" in run("stop", "vm2", code=126)
    assert group not in run("ps")
    assert not os.path.exists(os.path.join(group, "vm1", "exec.sock"))
