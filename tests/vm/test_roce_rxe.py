# SPDX-License-Identifier: GPL-2.0-or-later
"""RoCEv2 with rdma_rxe, Linux's soft RoCE, at the other end of the wire, in both roles (roce.md 10, 118 to 121)."""

import dissect
import pytest

from erdmalab import kernel as kernels, workloads
from erdmalab.storage import IserHost, IserTarget, NvmeHost, NvmeTarget
from roce import ADAPTER, copy_over_nfs, grown, make_rxe, over_ipv6, pingpong, plain_perftest, verify_disk

pytestmark = [pytest.mark.long, pytest.mark.stock_kernel]


@pytest.fixture
def ends(vms):
    def boot(mtu=1500, kernel=None):
        """A guest with the adapter, and one with rdma_rxe on a plain network card."""
        group = vms(2, adapter=ADAPTER, mtu=mtu, kernel=[kernels.find(), kernels.find(kernel)], load=False)
        ours, soft = group
        ours.load_driver()
        make_rxe(soft)
        return ours, soft

    return boot


@pytest.mark.limit(1500)
@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("name", ["installed", "5.10", "6.12", "7.2"])
def test_programs(ends, name, mtu):
    ours, soft = ends(mtu, None if name == "installed" else name)
    for server, client in ((ours, soft), (soft, ours)):
        for options in (["-n", 200], ["-n", 100, "-s", 65536], ["-n", 50, "-e"]):
            pingpong(server, client, options)
        workloads.rping(server, 20, client=client)
        for program in ("ib_send_bw", "ib_write_bw", "ib_read_bw"):
            plain_perftest(server, client, program, ["-s", 65536, "-n", 50])
            workloads.perftest(server, program, options=["-s", 1 << 20, "-n", 10], client=client)
        # That of 5.10 answers no atomic, also between two of it (roce.md 10.2).
        atomics = [] if name == "5.10" and server is soft else ["ib_atomic_lat"]
        for program in ("ib_write_lat", "ib_send_lat", *atomics):
            plain_perftest(server, client, program, ["-n", 50])
    for machine in (ours, soft):
        machine.check_log()


@pytest.mark.limit(600)
@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("name", ["installed", "5.10", "6.12", "7.2"])
def test_ipv6(ends, name, mtu):
    ours, soft = ends(mtu, None if name == "installed" else name)
    over_ipv6(ours, soft)
    over_ipv6(soft, ours)
    for machine in (ours, soft):
        machine.check_log()


@pytest.mark.limit(600)
@pytest.mark.parametrize("target", ["ours", "soft"])
@pytest.mark.parametrize("kind", ["nvme", "iser", "nfs"])
def test_storage(ends, kind, target):
    ours, soft = ends()
    near, far = (ours, soft) if target == "ours" else (soft, ours)
    if kind == "nfs":
        copy_over_nfs(near, far)
    else:
        target_of, host_of = (NvmeTarget, NvmeHost) if kind == "nvme" else (IserTarget, IserHost)
        with target_of(near) as disk, host_of(far, disk) as host:
            verify_disk(host)
    for machine in (ours, soft):
        machine.check_log()


@pytest.mark.limit(900)
def test_loss(ends):
    """One in a hundred frames lost in each direction: everything arrives, and it took retries."""
    ours, soft = ends()
    ours.link("both:loss=1%;seed=7")
    for server, client in ((ours, soft), (soft, ours)):
        for program in ("ib_send_bw", "ib_write_bw", "ib_read_bw"):
            assert plain_perftest(server, client, program, ["-s", 65536, "-n", 100])[0]["iterations"] == 100
        workloads.rping(server, 50, client=client)
    found = ours.counters()
    assert found["link_lost"] > 0 and found["rc_retries_nak"] + found["rc_retries_implicit"] + found["rc_timeouts"] > 0, found
    ours.link("")
    for machine in (ours, soft):
        machine.check_log()


@pytest.mark.limit(600)
def test_receiver_not_ready(ends):
    """Two receive buffers and a fast sender: it is told to wait, goes on, and nothing is lost."""
    ours, soft = ends()
    for server, client, told in ((ours, soft, "rc_rnr_naks_out"), (soft, ours, "rc_rnr_naks_in")):
        before = ours.counters()
        assert plain_perftest(server, client, "ib_send_bw", ["-s", 4096, "-n", 500, "-r", 2])[0]["iterations"] == 500
        found = grown(ours, before, told, "rc_timeouts", "rc_ghosts", "rc_duplicates", "rc_retries_nak")
        assert found[told] > 0 and found["rc_timeouts"] <= 2, found
    for machine in (ours, soft):
        machine.check_log()


@pytest.mark.limit(600)
def test_wireshark_follows(vms):
    """Every packet of both ends has the right CRC, and is in good order to tshark (127)."""
    ours, soft = group = vms(2, adapter=ADAPTER, load=False, capture=True)
    ours.load_driver()
    make_rxe(soft)
    workloads.rping(soft, 10, client=ours)
    for server, client in ((ours, soft), (soft, ours)):
        pingpong(server, client, ["-n", 50, "-s", 3001])
        for program, size in (("ib_write_bw", 65536), ("ib_read_bw", 4097), ("ib_atomic_bw", None)):
            plain_perftest(server, client, program, [*(["-s", size] if size else []), "-n", 20])
    group.stop()
    for machine in group:
        machine.may_die = True  # it has been stopped above
    found = dissect.rocev2(ours.capture())
    # Sends, writes, read requests and responses, acknowledgements, an atomic of either kind, datagrams.
    assert {0, 2, 6, 8, 12, 17, 18, 100} <= set(found) and found.keys() & {19, 20}, found
