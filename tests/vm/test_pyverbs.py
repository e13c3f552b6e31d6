# SPDX-License-Identifier: GPL-2.0-or-later
"""rdma-core's own test suite on the adapter."""

import os

import pytest

from libraries import pyverbs

EXPECTED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pyverbs_expected.txt")


@pytest.mark.limit(400)
def test_rdma_core_suite(vm, rdma_device):
    pyverbs(vm, rdma_device, EXPECTED)
