# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests that the packages have for distributions (debian/tests), run by autopkgtest on what is built here."""

import glob
import os
import re

from erdmalab.roots import copy_of_tree
from scratch import VERSION, debian_system


def test_all_pass(packages):
    with debian_system("autopkgtest")() as machine:
        machine.run("apt-get", "-q", "-y", "install", "autopkgtest")
        copy_of_tree(machine.file("srv/erdma"))
        inside = [machine.put(path, f"srv/packages/{os.path.basename(path)}")
                  for path in glob.glob(os.path.join(packages, f"*_{VERSION}_*.deb")) if "-dbgsym" not in path]
        result = machine.run("autopkgtest", "-B", *inside, "/srv/erdma", "--", "null", check=False, limit=1800)
        print(result.stdout)
        outcome = dict(re.findall(r"(?m)^(?:autopkgtest \[[^]]*\]: )?(\w+) +(PASS|FAIL|SKIP)\b", result.stdout))
        assert outcome == {"driver": "PASS", "eadm": "PASS", "model": "PASS"}
        assert result.returncode == 0
