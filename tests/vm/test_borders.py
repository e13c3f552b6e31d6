# SPDX-License-Identifier: GPL-2.0-or-later
"""Borders between the processes of a guest: what one cannot do to another (programs/borders.c)."""

from eadm_tools import NOBODY
from erdmalab import workloads
from support import expect_in_use, in_use, program, run_cases


def test_between_processes(vm):
    before = in_use(vm)
    print(run_cases(vm, "borders"), "cases")
    expect_in_use(vm, before)


def test_shared_doorbells(vms):
    """Pages that ring everybody's queues are for those with CAP_SYS_RAWIO, unless the operator says otherwise."""
    machine, = vms(1, adapter={"extended-doorbells": "off"})

    def opens(*user):
        machine.run("chmod 666 /dev/infiniband/uverbs0")
        return machine.run([*user, "ibv_devinfo"], check=False).code == 0

    before = in_use(machine)
    powerless = ["setpriv", "--bounding-set=-sys_rawio", "--inh-caps=-sys_rawio"]
    for _ in range(3):
        assert not opens(*NOBODY) and not opens(*powerless)
        result = machine.run([*powerless, program("rc_ops"), "--only", "immediates", machine.address], check=False)
        assert result.code != 0, result.output
    assert opens()
    workloads.rping(machine, 5)
    expect_in_use(machine, before)
    machine.unload_driver()
    machine.load_driver("shared_doorbells=1")
    assert opens(*NOBODY) and opens(*powerless)
