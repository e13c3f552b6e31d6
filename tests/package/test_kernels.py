# SPDX-License-Identifier: GPL-2.0-or-later
"""Every supported kernel: the driver builds without a warning, loads, carries traffic and unloads."""

import pytest

from erdmalab import kernel as kernels, matrix, roots, runs, workloads


@pytest.mark.parametrize("name", roots.KERNELS)
def test_builds_without_warnings(name):
    built = matrix.build_module(name, roots.headers(name)[1][0], fresh=True)
    print(built)
    assert not built.warnings


@pytest.mark.parametrize("name", roots.KERNELS)
def test_smoke(name):
    kernel = kernels.find(name)
    runs.build(kernel)
    with runs.make_vm(runs.new_run(f"kernel-{name}"), kernel) as vm:
        vm.load_driver()
        assert "PORT_ACTIVE" in vm.run(["ibv_devinfo"]).output
        workloads.rping(vm, 10)
        rows = workloads.perftest(vm, "ib_write_bw", options=["-s", 4096, "-n", 200])
        assert rows and rows[0]["average"] > 0
        vm.unload_driver()
        vm.check_log()
