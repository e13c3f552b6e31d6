# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes wrong between two adapters that speak RoCEv2: the link, a peer that dies, devices that go."""

import time

import pytest

from erdmalab import workloads
from killing import kill_all
from roce import ADAPTER, grown, pingpong, plain_perftest
from support import bdf, expect_in_use, in_use, nothing_left, program, run_cases, wait
from traffic import load_both_ends
from trouble import watch_events

pytestmark = [pytest.mark.guests(adapter=ADAPTER), pytest.mark.long]


@pytest.mark.limit(900)
def test_loss(pair):
    """One in a hundred frames lost in each direction, some late or twice: everything arrives as it was (119)."""
    server, client = pair
    client.link("both:loss=1%,reorder=1%,duplicate=1%;seed=7")
    try:
        with nothing_left(pair):
            pingpong(server, client, ["-n", 500, "-s", 20000])
            for program in ("ib_send_bw", "ib_write_bw", "ib_read_bw"):
                assert plain_perftest(server, client, program, ["-s", 65536, "-n", 500])[0]["iterations"] == 500
        found = client.counters()
        assert found["link_lost"] > 0 and found["rc_retries_nak"] + found["rc_retries_implicit"] > 0, found
    finally:
        client.link("")


@pytest.mark.limit(300)
def test_cut(pair):
    """Two seconds without a link: the transfer goes on (rdma_cm's time-outs allow for it)."""
    server, client = pair
    port = workloads.next_port()
    waiting = server.popen(["rping", "-s", "-a", server.address, "-p", str(port), "-V", "-S", "4096"])
    workloads.wait_listener(server, port, waiting)
    job = client.popen(["rping", "-c", "-a", server.address, "-p", str(port), "-V", "-S", "4096", "-C", "4000"])
    before = client.counters()["tx_bytes"]
    wait("traffic", lambda: client.counters()["tx_bytes"] > before + (1 << 17), 30 * client.slow)
    client.link("both:cut")
    time.sleep(2)
    assert job.poll() is None, job.text
    client.link("")
    assert job.wait(100 * client.slow).code == 0, job.text
    assert client.counters()["rc_timeouts"] + server.counters()["rc_timeouts"] > 0
    waiting.wait(30 * server.slow, check=False)


@pytest.mark.limit(400)
def test_receiver_not_ready(pair):
    """Two buffers and a fast sender: it waits as often as it is told to, and its timer has nothing to mend (120)."""
    server, client = pair
    before = client.counters()
    assert plain_perftest(server, client, "ib_send_bw", ["-s", 4096, "-n", 500, "-r", 2])[0]["iterations"] == 500
    found = grown(client, before, "rc_rnr_naks_in", "rc_timeouts", "rc_ghosts", "rc_retries_nak")
    assert found["rc_rnr_naks_in"] > 0 and found["rc_timeouts"] <= 2, found


@pytest.mark.limit(600)
def test_stages_in_one_guest(pair):
    """SIGKILL at every stage of a connection of a guest with itself."""
    with nothing_left(pair[:1]):
        print(run_cases(pair[0], "kill_cases"), "cases")


@pytest.mark.limit(600)
def test_stages(pair):
    """Either program is killed at every stage of a connection: the other one hears of it, and nothing is left (123)."""
    kill_all(pair, 1)


@pytest.mark.limit(400)
def test_guest_dies(vms):
    """A whole guest ends without a word: what was sent ends as retry exceeded, and the programs with it."""
    group = vms(2, adapter=ADAPTER)
    before = in_use(group[0])
    jobs = load_both_ends(group[0], group[1])
    group[1].may_die = True
    group[1].process.kill()
    # rdma_cm of 6.1 gives code 19 and 7 retries: 2.15 s, 4.3 s, and then 8.6 s each.
    jobs[0].wait_output("told ", 90 * group[0].slow)
    assert jobs[0].wait(15 * group[0].slow).code == 0, jobs[0].text
    assert "work 12 " in jobs[0].text, f"expected a retry-exceeded completion:\n{jobs[0].text}"
    expect_in_use(group[0], before, limit=60)


@pytest.mark.limit(400)
def test_function_reset(vms):
    """A reset of the function under traffic: everybody here is told, the peer's requests end, binding anew repairs it (130)."""
    group = vms(2, adapter=ADAPTER)
    one, other = group
    left = in_use(other)
    jobs, watch = load_both_ends(one, other), watch_events(one)
    address = bdf(one)
    one.run(f"echo 1 > /sys/bus/pci/devices/{address}/reset", timeout=20 * one.slow)
    watch.wait_output("IBV_EVENT_DEVICE_FATAL", 10 * one.slow)
    result = one.run([program("rc_ops"), "--only", "immediates", one.address], timeout=60 * one.slow, check=False)
    assert result.code != 0, "the broken device works"
    for job in (jobs[0], watch):
        job.kill()
        job.wait(10 * one.slow)
    values = one.counters()
    assert not any(values[name] for name in ("qps", "cqs", "mrs")), values
    jobs[1].wait_output("told ", 90 * one.slow)
    assert jobs[1].wait(15 * one.slow).code == 0 and "work 12 " in jobs[1].text, jobs[1].text
    expect_in_use(other, left, limit=60)
    one.run(f"echo {address} > /sys/bus/pci/drivers/erdma/unbind; echo {address} > /sys/bus/pci/drivers/erdma/bind",
            timeout=60 * one.slow)
    one.wait_devices(1)
    workloads.rping(one, 5, client=other)
    workloads.rping(other, 5, client=one)


@pytest.mark.limit(300)
def test_unplug(vms):
    """The adapter goes under traffic: programs end, and so does what its guest has of it."""
    group = vms(2, adapter=ADAPTER)
    jobs = load_both_ends(group[0], group[1])
    group[0].unplug("eri0", timeout=60)
    for job in jobs:
        job.kill()
        job.wait(60 * group[0].slow, check=False)
    wait("no device", lambda: not group[0].devices(), 30 * group[0].slow)
    for machine in group:
        machine.check_log()


@pytest.mark.limit(300)
def test_plain_interface(vms):
    """A device without this project's own attributes: the driver does with what all have (33)."""
    group = vms(2, adapter=ADAPTER, load=False)
    for machine in group:
        machine.faults("cmd-fail=1/11:22")  # GET_EXT_ATTR
        machine.load_driver()
    with nothing_left(group):
        workloads.rping(group[0], 20, client=group[1])
        pingpong(group[0], group[1], ["-n", 200])
        plain_perftest(group[0], group[1], "ib_write_bw", ["-s", 65536, "-n", 100])
    for machine in group:
        machine.check_log()
