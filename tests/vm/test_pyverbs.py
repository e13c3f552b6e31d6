# SPDX-License-Identifier: GPL-2.0-or-later
"""rdma-core's own test suite, from the distribution's package, against the list of what is expected."""

import os
import re

import pytest

from support import SOURCES, expect_in_use, in_use

EXPECTED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pyverbs_expected.txt")
LINE = re.compile(r"(?m)^(pass|skip|fail|error|hang) +(?:tests\.)?(test_\S+) ?(.*)$")
# What they find depends on the host's graphics device and huge pages.
CHANGEABLE = re.compile(r"dmabuf|huge")


@pytest.mark.limit(400)
def test_rdma_core_suite(vm, rdma_device):
    with open(EXPECTED, encoding="utf-8") as file:
        expected = {test: (outcome, why) for outcome, test, why in LINE.findall(file.read())}
    unexplained = [test for test, (outcome, why) in expected.items() if outcome != "pass" and not why]
    assert not unexplained, "the list gives no reason"

    before = in_use(vm)
    result = vm.run(["/usr/bin/python3", "-B", os.path.join(SOURCES, "pyverbs_suite.py"), rdma_device],
                    timeout=300 * vm.slow / 2, check=False, env={"PYVERBS_SECONDS": str(30 * vm.slow)})
    assert result.code == 0, result.output + result.errors
    found = {test: (outcome, why) for outcome, test, why in LINE.findall(result.output)}
    wrong = []
    for test in sorted(expected.keys() | found.keys()):
        outcome, why = found.get(test, ("not run", ""))
        wanted = expected.get(test, ("not in the list", ""))[0]
        if outcome == wanted or CHANGEABLE.search(test) and {outcome, wanted} <= {"pass", "skip"}:
            continue
        wrong.append(f"{test}: expected {wanted}, got {outcome} {why}")
    assert not wrong, "\n".join(wrong)
    assert sum(outcome == "pass" for outcome, _ in found.values()) >= 25
    expect_in_use(vm, before)
