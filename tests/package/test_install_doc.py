# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of docs/install.md that are marked "tested" do what they say, in a scratch root."""

import glob
import os
import re

from scratch import TOP, VERSION, debian_system


def test_debian_part(packages):
    with debian_system("install-doc")() as machine:
        follow(machine, packages)


def follow(machine, packages):
    """What a reader does, block by block."""
    for path in glob.glob(os.path.join(packages, f"*_{VERSION}_*.deb")):
        machine.put(path, f"srv/packages/{os.path.basename(path)}")
    with open(os.path.join(TOP, "docs", "install.md"), encoding="utf-8") as text:
        blocks = re.findall(r"(?ms)^```sh tested\n(.*?)^```", text.read())
    assert len(blocks) == 3
    built = []
    for block in blocks:
        # ./ is the directory with the packages.
        machine.run("/bin/sh", "-e", "-c", f"cd /srv/packages\n{block}")
        built.append(machine.module())
    assert built == [VERSION, VERSION, None]
