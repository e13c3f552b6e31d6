# SPDX-License-Identifier: GPL-2.0-or-later
"""The QEMU source tree, put where the build looks for it."""

import os
import sys

from .common import BUILD, ROOT, LabError, call


def ensure():
    """Fetch and unpack the source of the installed QEMU; quick when it is there."""
    out = os.path.join(BUILD, "qemu-source")
    tool = os.path.join(ROOT, "tools", "lab", "qemu_source.py")
    if call([sys.executable, tool, "--out", out], 2400, quiet=False, log=None):
        raise LabError("QEMU's source is not at hand; the lines above say why")
