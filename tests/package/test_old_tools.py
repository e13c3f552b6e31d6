# SPDX-License-Identifier: GPL-2.0-or-later
"""The oldest tools that the source is for: gcc 10, and of CMake, which may be 3.16, the oldest that Debian has, 3.18.

They are Debian 11's, which lacks some of eadm's libraries; these are Debian 12's.
"""

import re

import pytest

from erdmalab import roots
from erdmalab.roots import copy_of_tree
from scratch import VERSION, Machine

LIBRARIES = ["libcli11-dev", "libfmt-dev", "nlohmann-json3-dev", "libnl-3-dev", "libncurses-dev", "libtraceevent-dev",
             "libtracefs-dev", "libcpp-httplib-dev", "libgtest-dev", "pkg-config"]


@pytest.fixture(scope="module")
def machine():
    path = roots.scratch("old-tools", roots.make("bookworm"))
    made = Machine(path, None)
    made.run("/bin/sh", "-e", "-c", f"""
        echo 'deb {roots.MIRROR} bullseye main' >/etc/apt/sources.list.d/bullseye.list
        apt-get -q -o Acquire::Check-Valid-Until=false update
        apt-get -q -y --no-install-recommends install g++-10 cmake/bullseye cmake-data/bullseye {' '.join(LIBRARIES)}""")
    copy_of_tree(made.file("src/erdma"))
    yield made
    roots.remove(path)


def test_eadm_builds(machine):
    shown = machine.run("/bin/sh", "-e", "-c", """
        cmake --version
        cmake -S /src/erdma -B /src/build -DCMAKE_C_COMPILER=gcc-10 -DCMAKE_CXX_COMPILER=g++-10 -DERDMA_WERROR=ON \\
            -DERDMA_EADM=ON -DERDMA_TESTS=ON -DERDMA_MODULE=OFF -DERDMA_MODEL=OFF
        cmake --build /src/build --target eadm -- -j2""").stdout
    print(shown)
    assert re.search(r"cmake version 3\.18\.", shown) and re.search(r"The CXX compiler identification is GNU 10\.", shown)
    # Nothing that later versions of CMake do in another way is left to chance.
    assert "Policy" not in shown and "CMake Warning" not in shown
    assert "the unit tests: is built" in shown
    assert machine.run("/src/build/tools/eadm/eadm", "--version").stdout.strip() == VERSION
