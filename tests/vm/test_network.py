# SPDX-License-Identifier: GPL-2.0-or-later
"""Several guests on one network: the cable, the switch, captures, and ./lab run with them."""

import glob
import os
import re
import struct
import subprocess
import tempfile

import pytest

from erdmalab.common import ROOT
from support import set_mtu


def frames(path):
    """Frames of a capture file."""
    with open(path, "rb") as capture:
        data = capture.read()
    assert struct.unpack_from("<I", data)[0] == 0xA1B2C3D4, "not a capture file"
    found, at = [], 24
    while at < len(data):
        _, _, length, _ = struct.unpack_from("<IIII", data, at)
        found.append(data[at + 16:at + 16 + length])
        at += 16 + length
    return found


@pytest.mark.parametrize("mtu", [1500, 9000])
def test_cable(pair, mtu):
    set_mtu(pair, mtu)
    for one, other in ((pair[0], pair[1]), (pair[1], pair[0])):
        one.run(["ping", "-c", "3", "-i", "0.2", "-W", str(5 * one.slow), "-M", "do", "-s", str(mtu - 28), other.name])


def test_run_three_on_a_switch(lab):
    """./lab run with all that concerns several guests; nothing is left behind."""
    model = [] if lab.model else ["--no-model"]
    before = set(glob.glob(os.path.join(tempfile.gettempdir(), "erdma-vde-*")))
    command = [os.path.join(ROOT, "lab"), "run", *model, "--no-build", "--vms", "3", "--capture",
               *(["--kernel", lab.kernel.version] if not lab.kernel.debug else ["--kernel", "debug"]),
               "--on", "vm2", "echo I am $(hostname)", "--", "sh", "-c",
               'echo "$ERDMA_VMS $ERDMA_VM1 $ERDMA_VM3"; ping -c 2 vm2 && ping -c 2 -p 6c6162 vm3 || exit 9; exit 7']
    result = subprocess.run(command, cwd=ROOT, timeout=280, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, check=False)
    assert result.returncode == 7, result.stdout + result.stderr
    assert "3 10.77.0.1 10.77.0.3" in result.stdout, result.stdout
    assert "vm2: I am vm2\n" in result.stdout, result.stdout
    logs = os.path.join(ROOT, re.search(r"(\S+)/vm1\n", result.stderr)[1])
    # The switch learns who is where: the third guest sees its own ping and not the second one's.
    seen = [sum(b"lablablab" in frame for frame in frames(os.path.join(logs, name, "eni0.pcap")))
            for name in ("vm1", "vm2", "vm3")]
    assert seen == [4, 0, 4], seen
    assert set(glob.glob(os.path.join(tempfile.gettempdir(), "erdma-vde-*"))) <= before
