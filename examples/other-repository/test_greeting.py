# SPDX-License-Identifier: GPL-2.0-or-later
"""greeting in guests that have the adapter: as it should be, over a bad cable, and with an adapter that refuses."""

import os
import subprocess

import pytest

PORT = 7471
ANSWER = "HELLO, OTHER GUEST"


@pytest.fixture(scope="session")
def greeting(tmp_path_factory):
    """The program, compiled here; guests see it where it lies."""
    program = str(tmp_path_factory.mktemp("build") / "greeting")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "greeting.c")
    subprocess.run(["cc", "-Wall", "-O2", "-o", program, source, "-lrdmacm", "-libverbs"], check=True)
    return program


def greet(server, client, program):
    job = server.popen([program, "serve", server.address])
    server.wait_listener(PORT, job)
    result = client.run([program, "greet", server.address])
    job.wait(check=True)
    return result.output.strip()


def test_greeting(pair, greeting):
    before = pair[0].counters()["rx_bytes"]
    assert greet(pair[0], pair[1], greeting) == ANSWER
    # It went through the adapters.
    assert pair[0].counters()["rx_bytes"] > before


@pytest.mark.guests(link="both:loss=10%;seed=2", mtu=9000)
def test_bad_cable(pair, greeting):
    for _ in range(5):
        assert greet(pair[1], pair[0], greeting) == ANSWER


def test_memory_cannot_be_registered(vm, greeting):
    """The adapter refuses the command REG_MR: the program says what failed, and leaves nothing behind."""
    job = vm.popen([greeting, "serve", vm.address])
    vm.wait_listener(PORT, job)
    with vm.faults("cmd-fail=0/8:12"):
        result = vm.run([greeting, "greet", vm.address], check=False)
    assert result.code == 1 and "ibv_reg_mr" in result.errors
    job.kill()
    job.wait()
    assert vm.eadm("info", "qp")["qp"] == []


def test_three_guests(vms, greeting):
    group = vms(3, capture=True, adapter={"ord": 4})
    assert greet(group[2], group[0], greeting) == ANSWER
    assert os.path.getsize(group[2].capture()) > 1000
