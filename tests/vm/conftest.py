# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of this repository have besides the plugin's fixtures (docs/ci.md): kinds of tests, and which of them run.

Tests marked @pytest.mark.long run with --long only.  Tests that need the usual kernel, or the debug one, say
@pytest.mark.stock_kernel or @pytest.mark.debug_kernel.
"""

import os
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

pytest_plugins = ["erdmalab.pytest_plugin"]

LONG = "takes minutes and repeats at length what others do briefly"


def pytest_addoption(parser):
    group = parser.getgroup("erdma")
    group.addoption("--long", action="store_true", help="also the tests that take minutes each")
    group.addoption("--only", help="a file that lists the tests to run, module::name on each line")


def pytest_configure(config):
    config.addinivalue_line("markers", f"long: {LONG}; only with --long")
    config.addinivalue_line("markers", "stock_kernel: not on the debug kernel")
    config.addinivalue_line("markers", "debug_kernel: only on the debug kernel")


def pytest_sessionstart():
    from erdmalab.vm import Vm

    # What tests break stays broken until they say otherwise.
    Vm.driver_params = "recoveries=0"


def pytest_collection_modifyitems(config, items):
    if config.getoption("--only"):
        with open(config.getoption("--only"), encoding="utf-8") as file:
            names = file.read().splitlines()
        items[:] = [item for item in items if f"{item.module.__name__}::{item.name}" in names]
    debug = config.getoption("--kernel") == "debug"
    for item in items:
        if item.get_closest_marker("long") and not config.getoption("--long"):
            item.add_marker(pytest.mark.skip(reason=f"{LONG}; --long runs it"))
        if debug and item.get_closest_marker("stock_kernel"):
            item.add_marker(pytest.mark.skip(reason="not on the debug kernel"))
        if not debug and item.get_closest_marker("debug_kernel"):
            item.add_marker(pytest.mark.skip(reason="needs --kernel debug"))


def pytest_sessionfinish(exitstatus):
    run = os.environ.get("ERDMA_LAB_RUN")
    if run and "PYTEST_XDIST_WORKER" not in os.environ:
        # For ./lab test: ctest passes on only that it is not 0.
        with open(os.path.join(run, "exit-status"), "w", encoding="ascii") as file:
            file.write(str(int(exitstatus)))
