# SPDX-License-Identifier: GPL-2.0-or-later
"""The version is the project's; everything else is in pyproject.toml.  Nothing is written beside the source."""

import atexit
import os
import shutil
import tempfile

from setuptools import setup

work = tempfile.mkdtemp(prefix="erdma-lab-")
atexit.register(shutil.rmtree, work, ignore_errors=True)
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "VERSION"), encoding="ascii") as text:
    setup(version=text.readline().strip(), options={"build": {"build_base": work}, "egg_info": {"egg_base": work}})
