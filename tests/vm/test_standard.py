# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections of standard iWARP, MPA revisions 1 and 2, and CRCs: between adapters, and with SoftiWARP (wire.md 2, 8)."""

import contextlib
import os
import re
import time

import pytest
import dissect
from connecting import BLOCKING, CONNECTING, rcopy, rstream, ucmatose
from disks import copy_and_compare, verify

from erdmalab import kernel as kernels, kernel_driver, workloads
from erdmalab.channel import CommandFailed
from erdmalab.common import LabError
from erdmalab.storage import IserHost, IserTarget, NvmeHost, NvmeTarget
from perftests import BANDWIDTH, LATENCY, SIZES
from support import SOURCES, nothing_left, program, wait

PARAMETERS = "/sys/module/erdma/parameters"
PARAMETER, CRC = f"{PARAMETERS}/mpa_rev", f"{PARAMETERS}/mpa_crc"
MEASURED = ("ib_write_bw", "ib_read_bw", "ib_send_bw", "ib_write_lat")


def choose(machine, revision):
    machine.run(f"echo {revision} > {PARAMETER}")


def choose_crc(machine, choice):
    machine.run(f"echo {choice} > {CRC}")


def counter(machine, name):
    return machine.eadm("stat")["devices"][0]["counters"][f"{name}_cnt"]


@pytest.fixture(params=[2, pytest.param(1, marks=pytest.mark.long)])
def standard(pair, request):
    """Two guests whose connections begin with a revision of the standard."""
    for machine in pair:
        choose(machine, request.param)
    yield pair
    for machine in pair:
        choose(machine, "auto")


def test_parameter(vm):
    assert vm.read(PARAMETER) == "auto\n"
    try:
        for value in ("129", "2", "1", "auto"):
            choose(vm, value)
            assert vm.read(PARAMETER) == f"{value}\n"
        for value in ("0", "3", "-1", "1.5", "257", "automatic", ""):
            with pytest.raises(CommandFailed):
                choose(vm, f"'{value}'")
            assert vm.read(PARAMETER) == "auto\n"
        assert vm.read(CRC) == "accept\n"
        for value in ("off", "require", "accept"):
            choose_crc(vm, value)
            assert vm.read(CRC) == f"{value}\n"
        for value in ("on", "1", "accepted", ""):
            with pytest.raises(CommandFailed):
                choose_crc(vm, f"'{value}'")
            assert vm.read(CRC) == "accept\n"
    finally:
        choose(vm, "auto")
        choose_crc(vm, "accept")


def test_peer_by_hand(pair):
    """An initiator that another guest plays: with right CRCs, none, wrong ones, and operations that it may not use."""
    server, client = pair
    port = workloads.next_port()
    job = server.popen(["rping", "-s", "-P", "-a", server.address, "-p", str(port)])
    try:
        workloads.wait_listener(server, port, job)
        wrong = server.counters()["crc_errors"]
        result = client.run(["/usr/bin/python3", os.path.join(SOURCES, "mpa_peer.py"), "stream", server.address, str(port)],
                            timeout=100 * client.slow, check=False)
        assert result.code == 0 and result.output.count('"ok": true') >= 9, result.output + result.errors
        assert server.counters()["crc_errors"] == wrong + 3
        assert job.code is None, job.text
    finally:
        job.kill()


@pytest.mark.long
def test_adapter_without_crcs(vms):
    """It refuses who asks for them, in every revision; where its driver is to demand them there is no connection."""
    machine, = vms(1, adapter={"mpa-crc": "off"})
    assert "mpa_crc" not in machine.eadm("dev")["devices"][0]["capabilities"]
    port = workloads.next_port()
    job = machine.popen(["rping", "-s", "-P", "-a", machine.address, "-p", str(port)])
    try:
        workloads.wait_listener(machine, port, job)
        cases = ("crc", "revision-1-crc", "revision-2-crc", "enhanced-crc")
        for case in cases:
            result = machine.run(["/usr/bin/python3", os.path.join(SOURCES, "mpa_peer.py"), "request", machine.address, str(port),
                                  case], timeout=60 * machine.slow, check=False)
            assert '"outcome": "reject"' in result.output, result.output + result.errors
        assert crcs(machine) == (0, len(cases))
    finally:
        job.kill()
    workloads.rping(machine, 5)
    choose_crc(machine, "require")
    with pytest.raises(LabError):
        workloads.rping(machine, 5)
    assert crcs(machine)[0] == 0


def crcs(machine):
    """Connections with CRCs, and those that CRCs prevented."""
    return counter(machine, "cm_crc"), counter(machine, "cm_crc_refused")


def test_crc_by_either_side(pair):
    """One side's word is enough, in every revision, and where the other has none there is no connection."""
    one, other = pair
    try:
        for revision in ("129", "2", "1"):
            for server, client in ((one, other), (other, one)):
                choose(client, revision)
                choose_crc(server, "require")
                choose_crc(client, "accept")
                before = [crcs(machine) for machine in pair]
                workloads.rping(server, 5, client=client)
                choose_crc(client, "off")
                with pytest.raises(LabError):
                    workloads.rping(server, 5, client=client)
                after = [crcs(machine) for machine in pair]
                refused = [1, 0] if client is one else [0, 1]
                assert [now[0] - then[0] for now, then in zip(after, before)] in ([1, 1], [2, 1], [1, 2])
                assert [now[1] - then[1] for now, then in zip(after, before)] == refused
    finally:
        for machine in pair:
            choose(machine, "auto")
            choose_crc(machine, "accept")


# Closes each connection without an answer, that many seconds after the request came; says in which revisions it was asked.
CLOSER = """
import collections, socket, sys, threading, time
asked = collections.Counter()
def hold(sock):
    with sock:
        if request := sock.recv(4096):
            asked[request[17]] += 1
            time.sleep(float(sys.argv[2]))
server = socket.create_server((sys.argv[1], 0), backlog=128)
def serve():
    while True:
        threading.Thread(target=hold, args=[server.accept()[0]], daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
print("port", server.getsockname()[1], flush=True)
sys.stdin.readline()
print("asked", *(asked[revision] for revision in (129, 2, 1)), flush=True)
"""


@pytest.mark.long
@pytest.mark.limit(400)
@pytest.mark.parametrize("seconds, revision", [(0, "auto"), (9, "auto"), (0, "2")])
def test_fallback_storm(vm, seconds, revision):
    """Many connects to a peer that closes without a word: each revision once, 20 s for all, and who is killed does not hang."""
    count = 24
    with contextlib.ExitStack() as stack:
        stack.callback(choose, vm, "auto")
        choose(vm, revision)
        stack.enter_context(nothing_left([vm]))
        before = counter(vm, "cm_fallback")
        closer = vm.popen(["/usr/bin/python3", "-c", CLOSER, vm.address, str(seconds)], stdin=True)
        closer.wait_output("port", 20 * vm.slow)
        begin = time.monotonic()
        jobs = [vm.popen([program("connect_once"), vm.address, closer.output.split()[1]]) for _ in range(count)]
        if seconds:
            time.sleep(5)
            for job in jobs[::3]:
                job.kill()
        for number, job in enumerate(jobs):
            heard = job.wait(60 * vm.slow)
            if number % 3 or not seconds:
                assert heard.output.startswith("unreachable -110" if seconds else "rejected -104"), (heard, heard.errors)
        took = time.monotonic() - begin
        assert took < 22 + 5 * vm.slow, f"it took {took:.1f} s"
        closer.send(b"\n")
        closer.wait(20 * vm.slow)
        asked = [int(word) for word in closer.output.split()[3:]]
        if seconds:
            assert count >= asked[0] >= asked[1] >= asked[2] > 0, asked
        else:
            assert asked == ([count] * 3 if revision == "auto" else [0, count, 0]), asked
        assert counter(vm, "cm_fallback") - before == sum(asked) - max(asked)
    workloads.rping(vm, 5)


def test_between_adapters(standard):
    for server, client in ((standard[0], standard[1]), (standard[1], standard[0]), (standard[0], standard[0])):
        workloads.rping(server, 20, client=client)
    for name in MEASURED:
        options = ["-n", 100] if name.endswith("_lat") else ["-s", 65536, "-n", 100]
        rows = workloads.perftest(standard[0], name, options=options, client=standard[1])
        assert rows[0]["iterations"] == 100, rows


@pytest.mark.stock_kernel
def test_target_reads(pair):
    """A target reads what it is to write: the host's request says how much, and its own wish for reads is none."""
    dialect_s(pair, 2, True)
    try:
        with NvmeTarget(pair[0], megabytes=8) as target, NvmeHost(pair[1], target) as host:
            verify(host, size="256k")
    finally:
        dialect_s(pair, "auto", False)


def dialect_s(machines, revision, crc):
    for machine in machines:
        choose(machine, revision)
        choose_crc(machine, "require" if crc else "accept")


@pytest.mark.long
@pytest.mark.limit(900)
@pytest.mark.parametrize("crc", [False, True])
@pytest.mark.parametrize("revision", [2, 1])
def test_wireshark_follows(vms, revision, crc):
    """Everything on the wire is iWARP in good order to it, storage included, and CRCs are good where there are any."""
    group = vms(2, capture=True)
    dialect_s(group, revision, crc)
    workloads.rping(group[0], 10, client=group[1])
    workloads.perftest(group[1], "ib_send_bw", options=["-s", 65536, "-n", 20], client=group[0])
    workloads.perftest(group[1], "ib_read_bw", options=["-s", 4096, "-n", 20], client=group[0])
    with NvmeTarget(group[0]) as target, NvmeHost(group[1], target) as host:
        verify(host, size="1M")
    copy_and_compare(group[1], group[0])
    assert all((counter(machine, "cm_crc") > 0) == crc for machine in group)
    group.stop()
    for machine in group:
        machine.may_die = True  # it has been stopped above
    found = dissect.iwarp(group[0].capture())
    assert {"Write", "Read Request", "Read Response", "Send"} <= set(found), found


def with_softiwarp(vms, name="installed", mtu=1500, **settings):
    """A guest with SoftiWARP and one with the adapter."""
    peer = kernel_driver.of(kernels.find(None if name == "installed" else name), "siw")
    soft, ours = vms(2, kernel=[peer, kernels.find()], mtu=mtu, **settings)
    assert soft.devices() == ["siw_0"]
    return soft, ours


def measure(server, client, ours, tool, options):
    """perftest with SoftiWARP at one end.

    It connects twice, and SoftiWARP's client is quicker than the server's second listener: its second SYN waits.
    """
    with contextlib.nullcontext() if client is ours else ours.link("to-guest:delay=700ms/any/conn=2#1"):
        return workloads.perftest(server, tool, options=options, client=client, timeout=300)


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(1800)
@pytest.mark.parametrize("crc", [False, True])
@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("name", ["installed", "6.12", "7.2"])
def test_softiwarp(vms, name, mtu, crc):
    """SoftiWARP at the other end, in both roles; it closes connections that begin with the adapter's own revision."""
    soft, ours = with_softiwarp(vms, name, mtu)
    choose_crc(ours, "require" if crc else "accept")
    for server, client in ((soft, ours), (ours, soft)):
        for options in ((), ("-S", "60000")):
            workloads.rping(server, 20, client=client, options=options, timeout=120)
        for tool in MEASURED:
            options = ["-n", 50] if tool.endswith("_lat") else ["-s", 65536, "-n", 50]
            rows = measure(server, client, ours, tool, options)
            assert rows[0]["iterations"] == 50, rows
        for play in (ucmatose, rcopy):
            play(server, client, str(workloads.next_port()))
        # Without blocking it ends before SoftiWARP has sent everything, which is lost then (wire.md 8.3).
        rstream(server, client, str(workloads.next_port()), BLOCKING)
    # Once per port: where it worked, the revision is remembered.
    assert 0 < counter(ours, "cm_fallback")
    assert (counter(ours, "cm_crc") > 0) == crc
    for machine in (soft, ours):
        machine.unload_driver()
        machine.check_log()


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(1800)
def test_softiwarp_sizes(vms):
    """Messages of every size of perftest, with SoftiWARP at either end."""
    soft, ours = with_softiwarp(vms)
    for server, client in ((soft, ours), (ours, soft)):
        for tool in (*BANDWIDTH, *LATENCY):
            rows = measure(server, client, ours, tool, ["-a", "-n", 5])
            assert [int(row["bytes"]) for row in rows] == SIZES, rows
    for machine in (soft, ours):
        machine.check_log()


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(1200)
@pytest.mark.parametrize("crc", [False, True])
def test_softiwarp_storage(vms, crc):
    """NVMe over Fabrics and NFS, the server at either end; data is checked."""
    soft, ours = with_softiwarp(vms)
    choose_crc(ours, "require" if crc else "accept")
    for server, client in ((soft, ours), (ours, soft)):
        with NvmeTarget(server) as target, NvmeHost(client, target) as host:
            verify(host, size="4M")
        copy_and_compare(server, client)
    for machine in (soft, ours):
        machine.check_log()


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(900)
def test_softiwarp_iser(vms):
    soft, ours = with_softiwarp(vms)
    for server, client in ((soft, ours), (ours, soft)):
        with IserTarget(server) as target, IserHost(client, target) as host:
            assert client.run(["iscsiadm", "-m", "session"]).output.startswith("iser: ")
            verify(host, size="4M")
    for machine in (soft, ours):
        machine.check_log()


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(600)
def test_softiwarp_is_remembered(vms):
    """The second connection to a server begins in its revision, and eadm says what was agreed with whom, and why."""
    soft, ours = with_softiwarp(vms)
    port = workloads.next_port()
    server = soft.popen(["rping", "-s", "-P", "-a", soft.address, "-p", str(port), "-S", "1000"])
    try:
        workloads.wait_listener(soft, port, server)
        before = counter(ours, "cm_fallback")
        for crc, remembered in ((False, False), (True, True)):
            choose_crc(ours, "require" if crc else "accept")
            client = ours.popen(["rping", "-c", "-a", soft.address, "-p", str(port), "-S", "1000"])
            try:
                wait("a connection", lambda: [qp for qp in ours.eadm("info", "qp")["qp"] if qp["dialect"]], 20 * ours.slow)
                qp, = ours.eadm("info", "qp")["qp"]
                assert (qp["dialect"], qp["crc"]) == ("iwarp2", crc) and qp["ord"] > 0, qp
                assert "the peer closed" in qp["fallback"] and ("remembered" in qp["fallback"]) == remembered, qp
                said, = [one for one in ours.eadm("doctor")["findings"] if one["id"] == "standard-peer"]
                assert said["figures"]["revision"] == 2 and said["figures"]["crc"] == crc and qp["fallback"] in said["text"], said
            finally:
                client.kill()
            wait("its end", lambda: not ours.eadm("info", "qp")["qp"], 30 * ours.slow)
            assert counter(ours, "cm_fallback") == before + 1
    finally:
        server.kill()
    # wire.md 9.8: what is remembered costs no attempt.
    port, count = str(workloads.next_port()), 50
    server = soft.popen([program("connections"), "serve", "rdma", soft.address, port])
    try:
        server.wait_output("listening", 20 * soft.slow)
        result = ours.run([program("connections"), "open", "rdma", soft.address, port, str(count), "--at-once", "1",
                           "--messages", "1", "--repeat", "2"], timeout=120 * ours.slow)
        seconds = [float(text) for text in re.findall(r"(?m)^connected \d+ ([\d.]+)", result.output)]
        print("connections per second to SoftiWARP:", [round(count / one, 1) for one in seconds])
        assert len(seconds) == 2 and seconds[1] / count < 0.1 * ours.slow, result.output
        assert counter(ours, "cm_fallback") == before + 2
    finally:
        server.kill()
    for machine in (soft, ours):
        machine.check_log()


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(600)
def test_softiwarp_lacks_operations(vms):
    """Immediate data and atomics end with a local error that eadm explains, and SoftiWARP never hears of them."""
    soft, ours = with_softiwarp(vms)
    for tool in (["ib_atomic_bw"], ["ib_write_bw", "--write_with_imm"]):
        known = ours.run([tool[0], "--help"], check=False)
        if len(tool) > 1 and "with_imm" not in known.output + known.errors:
            print(f"left out: this {tool[0]} knows no {tool[1]}")
            continue
        before, sent = counter(ours, "qp_dialect_errors"), ours.counters()["terminates_in"]
        with pytest.raises(LabError):
            workloads.perftest(soft, tool[0], options=["-n", 5, *tool[1:]], client=ours)
        assert counter(ours, "qp_dialect_errors") > before
        assert ours.counters()["terminates_in"] == sent, "SoftiWARP found something to refuse"
    said = {one["id"]: one for one in ours.eadm("doctor")["findings"]}
    assert "atomics" in said["not-in-dialect"]["text"]
    workloads.rping(soft, 5, client=ours)


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(900)
def test_softiwarp_in_trouble(vms):
    """One in a hundred frames lost, a link of two seconds without, programs killed, and SoftiWARP gone under traffic."""
    soft, ours = with_softiwarp(vms)
    ours.link("both:loss=1%;seed=3")
    for server, client in ((soft, ours), (ours, soft)):
        workloads.rping(server, 50, client=client, options=("-S", "30000"), timeout=200)
    ours.link("")
    for server, client in ((soft, ours), (ours, soft)):
        jobs = load(server, client)
        with ours.link("both:cut"):
            time.sleep(2)
        going_on(ours, jobs)
        jobs[0].kill()
        jobs[1].wait(60 * ours.slow)
        jobs = load(server, client)
        jobs[1].kill()
        jobs[0].wait(60 * ours.slow)
        workloads.rping(server, 10, client=client, timeout=120)
    for server, client in ((soft, ours), (ours, soft)):
        jobs = load(server, client)
        here, there = jobs if server is ours else reversed(jobs)
        soft.run("rdma link delete siw_0", timeout=60 * soft.slow)
        here.wait(60 * ours.slow)
        assert "DISCONNECT" in here.text, here.text  # rping's client ends without an error then
        there.kill()
        soft.run("rdma link add siw_0 type siw netdev eth0")
        soft.wait_devices(1)
        workloads.rping(server, 5, client=client, timeout=120)
    for machine in (soft, ours):
        machine.unload_driver()
        machine.check_log()


def load(server, client):
    """rping for as long as it is let; server and client."""
    port = workloads.next_port()
    first = server.popen(["rping", "-s", "-a", server.address, "-p", str(port), "-S", "10000"])
    workloads.wait_listener(server, port, first)
    second = client.popen(["rping", "-c", "-a", server.address, "-p", str(port), "-S", "10000"])
    time.sleep(2 * client.slow)
    assert first.code is None and second.code is None, first.text + second.text
    return first, second


def going_on(machine, jobs):
    """The adapter still carries what the jobs send."""
    sent, deadline = machine.counters()["tx_bytes"], time.monotonic() + 60 * machine.slow
    while machine.counters()["tx_bytes"] < sent + 100000:
        assert all(job.code is None for job in jobs) and time.monotonic() < deadline, [job.text for job in jobs]
        time.sleep(0.5)


@pytest.mark.long
@pytest.mark.limit(1800)
@pytest.mark.parametrize("revision, crc", [(2, False), (2, True), (1, False)])
def test_programs_in_dialect_s(pair, revision, crc):
    """README's programs between two adapters as if they were strangers to each other."""
    dialect_s(pair, revision, crc)
    try:
        for server, client in ((pair[0], pair[1]), (pair[1], pair[0])):
            for name in (*BANDWIDTH, *LATENCY):
                rows = workloads.perftest(server, name, options=["-a", "-n", 20], client=client, timeout=600)
                assert [int(row["bytes"]) for row in rows] == SIZES, rows
            for play in CONNECTING.values():
                play(server, client, str(workloads.next_port()))
            with NvmeTarget(server) as target, NvmeHost(client, target) as host:
                verify(host, size="4M")
            copy_and_compare(server, client)
    finally:
        dialect_s(pair, "auto", False)
