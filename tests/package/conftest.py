# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the package tests.

    packages    directory with the DEB packages, built once from a copy of the tree (or ERDMA_PACKAGES, a directory
                with packages that are built already)
    rpms        directory with the RPM packages' RPMS (or ERDMA_RPMS)

Tests run in any order and one by one; in the order of their files they take the least time (scratch.Stages).
"""

import os
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

import scratch  # noqa: E402  (needs what the line above finds)


def pytest_collection_modifyitems(items):
    """What takes longest, partly waiting for a guest, is first, as each module is one worker's; builds of their own next."""
    first = ["test_system", "test_rpm"]
    items.sort(key=lambda item: first.index(item.module.__name__) if item.module.__name__ in first else len(first))


@pytest.fixture(scope="session")
def packages():
    return os.environ.get("ERDMA_PACKAGES") or scratch.build_debs()


@pytest.fixture(scope="session")
def rpms():
    return os.environ.get("ERDMA_RPMS") or scratch.build_rpms("rpm")
