# SPDX-License-Identifier: GPL-2.0-or-later
"""What check mode found, as eadm doctor tells it in the guest (docs/capabilities.md, QUERY_CHECK)."""

import contextlib
import re

from eadm_tools import FINDINGS, NOBODY, OK, PARTIAL, eadm, eadm_json, open_node, wait_for  # noqa: F401
from support import program


@contextlib.contextmanager
def mistake(vm, user=()):
    """A program that has made its mistake and keeps its queue pairs; gives its process id."""
    job = vm.popen([*user, program("checked_stays"), vm.address])
    try:
        wait_for(vm, "ready", job, limit=60)
        yield int(re.search(r"ready (\d+)", job.text)[1])
    finally:
        job.kill()
        job.wait(30 * vm.slow)


def doctor(vm, *words, code=(OK, FINDINGS, PARTIAL), **keywords):
    """What doctor says of check mode."""
    said = eadm_json(vm, *words, "doctor", "-s", 0.1, command="doctor", code=code, **keywords)
    return [one for one in said["findings"] if one["id"].startswith("check-")]


def errors(found):
    return [one for one in found if one["id"] == "check-error"]


def test_doctor_names_the_mistake(checked, open_node):
    """While its queue pair lives, with the process; later without; and in a snapshot as it was."""
    vm = checked.machine
    checked.expected = True
    assert "check" in eadm_json(vm, "dev")["devices"][0]["capabilities"]
    none, = doctor(vm)
    assert (none["id"], none["severity"], none["figures"]) == ("check-mode", "note", {"found": 0})
    with mistake(vm) as pid:
        found = doctor(vm, code=FINDINGS)
        error, = errors(found)
        assert error["severity"] == "fault", error
        assert "alone until its completion" in error["advice"], error
        figures = error["figures"]
        assert (figures["finding"], figures["process"], figures["pid"]) == ("source-changed", "checked_stays", pid), error
        qpn = figures["qp"]
        told, = [one for one in checked.findings() if one["id"] == "source-changed"]
        assert (told["qpn"], told["count"]) == (qpn, figures["count"]), told
        assert 0 < figures["last_seconds_ago"] <= figures["first_seconds_ago"] < 600, figures
        assert any(one["id"] == "check-mode" and one["figures"]["found"] >= 1 for one in found), found
        text = eadm(vm, "doctor", "-s", "0.1", code=FINDINGS)
        assert re.search(rf"^fault \S+: Check mode found source-changed in queue pair {qpn} of checked_stays \(pid {pid}\), "
                         rf"{figures['count']} times, last ", text, re.M), text
        eadm(vm, "snapshot", "-s", "0.1", "/tmp/checked.json")
    gone, = [one for one in errors(doctor(vm)) if one["figures"]["finding"] == "source-changed"]
    assert gone["figures"]["qp"] == qpn and "pid" not in gone["figures"] and "which is gone" in gone["text"], gone
    # Switched off, there is nothing.
    checked.stop()
    assert not doctor(vm)
    eadm(vm, "snapshot", "-s", "0.1", "/tmp/unchecked.json")
    kept, = errors(doctor(vm, "--from", "/tmp/checked.json", code=FINDINGS))
    assert (kept["figures"]["finding"], kept["figures"]["pid"]) == ("source-changed", pid), kept
    change = eadm_json(vm, "diff", "/tmp/checked.json", "/tmp/unchecked.json")
    assert "check-error" in {one["id"] for one in change["findings"]["gone"]}, change["findings"]


def test_ordinary_users_see_their_own(checked, open_node):
    """Findings of others, and of queue pairs that are gone, are counted only."""
    vm = checked.machine
    checked.expected = True
    vm.run("chmod 666 /dev/infiniband/uverbs0 /dev/infiniband/rdma_cm")
    with mistake(vm, NOBODY) as mine, mistake(vm) as theirs:
        assert {one["figures"]["pid"] for one in errors(doctor(vm))} == {mine, theirs}
        seen = errors(doctor(vm, user=NOBODY))
        assert [one["figures"]["pid"] for one in seen] == [mine], seen
        said = eadm_json(vm, "doctor", "-s", 0.1, user=NOBODY, code=FINDINGS)
        hidden = [one["figures"]["hidden_check_findings"] for one in said["findings"]
                  if "hidden_check_findings" in one["figures"]]
        assert hidden and hidden[0] >= 1, said
    assert not errors(doctor(vm, user=NOBODY))
    assert len(errors(doctor(vm))) >= 2
