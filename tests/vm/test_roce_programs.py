# SPDX-License-Identifier: GPL-2.0-or-later
"""Libraries and tools of the distribution over RoCEv2, with and without rdma_cm, and rdma-core's own suite."""

import os

import pytest

from libraries import libfabric, mpi, pyverbs, qperf
from roce import ADAPTER, rdma_device

pytestmark = [pytest.mark.guests(adapter=ADAPTER), pytest.mark.long]
EXPECTED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pyverbs_expected_rocev2.txt")


@pytest.mark.limit(500)
def test_rdma_core_suite(pair):
    pyverbs(pair[0], rdma_device(pair[0]), EXPECTED)


@pytest.mark.limit(300)
@pytest.mark.parametrize("provider, endpoint", [("verbs", "msg"), ("verbs;ofi_rxm", "rdm")], ids=["msg", "rxm"])
def test_libfabric(pair, provider, endpoint):
    libfabric(pair, provider, endpoint)


@pytest.mark.limit(400)
def test_qperf(pair):
    """With rdma_cm: queue pairs that qperf connects by itself name no GID, which RoCE wants."""
    qperf(pair, ["rc_lat", "rc_bw", "rc_bi_bw", "rc_rdma_write_lat", "rc_rdma_write_bw", "rc_rdma_read_lat", "rc_rdma_read_bw"])


@pytest.mark.limit(300)
@pytest.mark.parametrize("ranks", [2, 4])
def test_open_mpi(pair, ranks):
    mpi(pair, ranks)
