# SPDX-License-Identifier: GPL-2.0-or-later
"""The diagnostics device under malformed requests, without rights, and while objects come and go."""

import json
import os
import re
import time

import pytest

from eadm_tools import (FINDINGS, NO_DEVICE, NO_RIGHTS, NOBODY, OK, eadm, eadm_json, eadm_path, open_node, traffic,
                        wait_for)  # noqa: F401  (a fixture is used by name)
from erdmalab.common import ROOT
from support import expect_in_use, in_use, program


def test_malformed_requests(vm, open_node):
    """Known mistakes and random requests, with and without rights, while there is something to list."""
    job = vm.popen([program("diag_objects"), "hold", "40"])
    wait_for(vm, "ready", job)
    settings = eadm_json(vm, "conf")["settings"]
    vm.run([program("diag_fuzz"), "3000", "7"], timeout=60 * vm.slow)
    cc = eadm(vm, "conf", "cc")
    vm.run([*NOBODY, program("diag_fuzz"), "20000"], timeout=120 * vm.slow)
    job.kill()
    eadm(vm, "conf", "cc", next(one["value"] for one in settings if one["name"] == "cc"))
    assert cc == "cubic\n" and eadm_json(vm, "conf")["settings"] == settings


@pytest.mark.long
@pytest.mark.limit(900)
def test_many_malformed_requests(vm, open_node):
    vm.run([*NOBODY, program("diag_fuzz"), "100000", str(int(time.time()))], timeout=400 * vm.slow)


def test_32_bit_program(vm, open_node):
    code = vm.run([program("diag_compat")], check=False).code
    if code == 127:
        pytest.skip("this kernel runs no 32-bit programs")
    assert code == 0


def test_who_may_see_what(vm, open_node):
    """One's own objects need no rights, those of others CAP_NET_ADMIN; rings and settings the real one."""
    vm.run(["chmod", "666", "/dev/infiniband/uverbs0"])
    mine = vm.popen([*NOBODY, program("diag_objects"), "hold", "2"])
    theirs = vm.popen([program("diag_objects"), "hold", "3"])
    wait_for(vm, "ready", mine)
    wait_for(vm, "ready", theirs)
    try:
        seen = eadm_json(vm, "info", "qp", command="info", user=NOBODY)
        assert (len(seen["qp"]), seen["hidden"]) == (2, 3)
        assert {qp["owner"]["uid"] for qp in seen["qp"]} == {65534}
        assert len(eadm_json(vm, "info", "qp", command="info")["qp"]) == 5
        for kind, own, other in (("cq", 1, 1), ("pd", 1, 1), ("ctx", 1, 1), ("mr", 0, 0)):
            seen = eadm_json(vm, "info", kind, command="info", user=NOBODY)
            assert (len(seen[kind]), seen["hidden"]) == (own, other), kind
        # Another pid namespace sees the objects, but no foreign pids.
        seen = json.loads(eadm(vm, "info", "qp", "-j", user=["unshare", "-pf"]))
        assert len(seen["qp"]) == 5 and {qp["owner"]["pid"] for qp in seen["qp"]} == {0}
        for words in (["ver"], ["dev"], ["stat"], ["conf"], ["info", "eq"]):
            eadm(vm, *words, user=NOBODY)
    finally:
        mine.kill()
        theirs.kill()


def test_root_of_ones_own(vm, open_node):
    """Root of a user namespace that anybody may make is nobody here."""
    fake_root = [*NOBODY, "unshare", "-Urn"]
    vm.run("sysctl -qw kernel.unprivileged_userns_clone=1", check=False)
    if vm.run([*fake_root, "true"], check=False).code:
        pytest.skip("this kernel has no user namespaces")
    theirs = vm.popen([program("diag_objects"), "hold", "3"])
    wait_for(vm, "ready", theirs)
    try:
        seen = json.loads(eadm(vm, "info", "qp", "-j", user=fake_root))
        assert (len(seen["qp"]), seen["hidden"]) == (0, 3)
        assert "not permitted" in eadm(vm, "dump", "cmdq", code=NO_RIGHTS, user=fake_root)
        assert "not permitted" in eadm(vm, "conf", "cc", 1, code=NO_RIGHTS, user=fake_root)
    finally:
        theirs.kill()


def test_network_namespaces(vm, open_node):
    """What an adapter's network namespace does not share with another, eadm does not show there."""
    elsewhere = ["unshare", "-n"]
    theirs = vm.popen([program("diag_objects"), "hold", "3"])
    wait_for(vm, "ready", theirs)
    try:
        assert len(json.loads(eadm(vm, "info", "qp", "-j", user=elsewhere))["qp"]) == 3
        seen = json.loads(eadm(vm, "info", "qp", "-j", user=[*elsewhere, *NOBODY]))
        assert (len(seen["qp"]), seen["hidden"]) == (0, 3)
        vm.run(["rdma", "system", "set", "netns", "exclusive"])
        for user in (elsewhere, [*elsewhere, *NOBODY]):
            assert json.loads(eadm(vm, "dev", "-j", user=user))["devices"] == []
            for words in (["stat"], ["info", "qp"], ["dump", "cmdq"], ["conf", "cc"], ["conf", "cc", "1"]):
                assert eadm(vm, *words, code=(NO_DEVICE, NO_RIGHTS), user=user), words
            assert "erdma" not in vm.run([*user, "rdma", "statistic"], check=False).output
        assert len(eadm_json(vm, "info", "qp", command="info")["qp"]) == 3
    finally:
        vm.run(["rdma", "system", "set", "netns", "shared"])
        theirs.kill()


def test_names_that_bite(vm, open_node):
    """A process may call itself what it likes: no escape sequence reaches the terminal, JSON stays JSON."""
    rename = ("import ctypes, subprocess, sys; name = b'\\x1b[31m\\xff\\n\"x'\n"
              "ctypes.CDLL(None).prctl(15, name, 0, 0, 0)\n"
              "v = ctypes.CDLL('libibverbs.so.1', use_errno=True); n = ctypes.c_int()\n"
              "v.ibv_get_device_list.restype = ctypes.POINTER(ctypes.c_void_p)\n"
              "v.ibv_open_device.restype = ctypes.c_void_p; v.ibv_alloc_pd.restype = ctypes.c_void_p\n"
              "c = v.ibv_open_device(ctypes.c_void_p(v.ibv_get_device_list(ctypes.byref(n))[0]))\n"
              "assert v.ibv_alloc_pd(ctypes.c_void_p(c)); print('ready', flush=True); sys.stdin.read()\n")
    job = vm.popen(["/usr/bin/python3", "-c", rename], stdin=True)
    wait_for(vm, "ready", job)
    try:
        assert [pd["owner"]["name"] for pd in eadm_json(vm, "info", "pd", command="info")["pd"]] == ['?[31m??"x']
        assert "\033" not in eadm(vm, "info", "pd")
    finally:
        job.kill()


def stress(vm, seconds):
    before = in_use(vm)
    jobs = [vm.popen([program("diag_objects"), "churn", str(seconds)]) for _ in range(2)]
    loop = (f"end=$(($(cut -d. -f1 /proc/uptime) + {seconds})); while [ $(cut -d. -f1 /proc/uptime) -lt $end ]; do "
            f"for k in qp cq mr pd ctx cep; do {eadm_path()} info $k -j >/dev/null || exit 1; done; "
            f"for n in 1 2 3 4 5 6; do {eadm_path()} dump sq $n >/dev/null 2>&1; {eadm_path()} info qp $n >/dev/null 2>&1; done; done; exit 0")
    jobs.append(vm.popen(["sh", "-c", loop]))
    jobs.append(vm.popen(["sh", "-c", f"while {program('diag_fuzz')} 500 $RANDOM >/dev/null; do :; done"]))
    for job in jobs[:3]:
        job.wait(seconds * 3 + 60 * vm.slow, check=True)
    assert jobs[3].code is None, jobs[3].text
    jobs[3].kill()
    eadm(vm, "conf", "cc", 1)
    expect_in_use(vm, before)


def test_objects_vanish(vm, open_node):
    stress(vm, 8)


@pytest.mark.long
@pytest.mark.limit(900)
def test_objects_vanish_for_long(vm, open_node):
    stress(vm, 120)


def test_unbind_under_questions(vm, open_node):
    """The adapter goes away while it is asked; unloading waits for nobody but an open node."""
    job = vm.popen(["sh", "-c", f"while sleep 0.05; do {eadm_path()} stat >/dev/null 2>&1; {eadm_path()} dump cmdq >/dev/null 2>&1; done"])
    time.sleep(1)
    where = json.loads(eadm(vm, "dev", "-j"))["devices"][0]["pci"]
    for _ in range(2):
        vm.run(f"echo {where} > /sys/bus/pci/drivers/erdma/unbind; echo {where} > /sys/bus/pci/drivers/erdma/bind",
               timeout=60 * vm.slow)
    job.kill()
    vm.wait_devices(1)
    eadm(vm, "dev", code=OK)


def test_examples_of_the_manual(vm, open_node):
    """Every command has a section in eadm(8) with an example, and each example works as it stands there."""
    with open(os.path.join(ROOT, "docs", "eadm.8"), encoding="utf-8") as manual:
        text = manual.read().replace("\\-", "-")
    commands = re.search(r"Subcommands:\n(.*?)\n\n", eadm(vm, "--help"), re.S)[1]
    sections = re.search(r"(?s)^\.SH COMMANDS\n(.*?)^\.SH ", text, re.M)[1].split(".SS ")[1:]
    assert re.findall(r"(?m)^  ([a-z]+) ", commands) == [part.split("\n")[0] for part in sections]
    assert [part for part in sections if not re.search(rf"(?m)^\$ eadm .*\b{part.split()[0]}\b", part)] == []
    examples = re.findall(r"(?m)^\$ eadm (.+)$", text)
    before = eadm(vm, "conf", "cc")
    with traffic(vm):
        for example in examples:
            result = vm.run(f"PATH={os.path.dirname(eadm_path())}:$PATH; eadm {example}", timeout=60 * vm.slow, check=False)
            # The guest has a past, of which the doctor may tell.
            assert result.code in ((OK, FINDINGS) if example == "doctor" else (OK,)) and (
                result.output or re.search(" -o |^trace", example)), \
                f"{example}: {result.code}\n{result.output}{result.errors}"
    eadm(vm, "conf", "cc", before.strip())


@pytest.mark.long
@pytest.mark.stock_kernel
def test_cost_of_watching(vm, open_node):
    """A thousand queue pairs, looked at once a second."""
    job = vm.popen([program("diag_objects"), "hold", "1000"])
    wait_for(vm, "ready", job, limit=120)
    try:
        watch = "TIMEFORMAT='%U %S'; time {} stat -l {} >/dev/null"
        used = vm.run(["bash", "-c", watch.format(eadm_path(), "1 -n 31")], timeout=120 * vm.slow).errors
        idle = vm.run(["bash", "-c", watch.format(eadm_path(), "0.1 -n 1")], timeout=30 * vm.slow).errors
    finally:
        job.kill()
    # Starting the program and its first round are in both.
    seconds = (sum(map(float, used.split())) - sum(map(float, idle.split()))) / 30
    print(f"{seconds * 100:.2f} % of a processor")
    # The limit is 1 % of a real processor; under emulation everything takes ten times as long and more.
    assert seconds < 0.01 * (1 if vm.slow < 2 else 20), (used, idle)
