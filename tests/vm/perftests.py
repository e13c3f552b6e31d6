# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured with perftest, in one guest and between two: programs, sizes, and which of them each time."""

import pytest

from erdmalab import workloads

SIZES = [2 ** power for power in range(1, 24)]
BANDWIDTH = ["ib_write_bw", "ib_read_bw", "ib_send_bw"]
LATENCY = ["ib_write_lat", "ib_read_lat", "ib_send_lat"]
# -a, or the sizes that differ in kind: inline, less than a page, many pages.
SOME_SIZES = [pytest.param("some", id="some"), pytest.param("all", id="all", marks=pytest.mark.long)]
# Latency tests, and tests with events, that run in one guest each time (test_programs.py).  The others run between two
# guests each time (test_wire_programs.py), and in one in the long run.
HERE = {"ib_write_lat"}
EVENTS_HERE = {"ib_read_lat", "ib_send_lat"}


def here(name, each_time, sizes):
    return [*sizes.marks, *([] if name in each_time else [pytest.mark.long])]


def expect_sizes(name, sizes, options, server, client=None):
    """One run with all sizes, or one for each; every size has its row."""
    runs = [["-a"]] if sizes == "all" else [["-s", size] for size in (16, 1024, 1 << 20)]
    rows = [row for run in runs
            for row in workloads.perftest(server, name, options=[*run, *options], timeout=90, client=client)]
    assert [int(row["bytes"]) for row in rows] == (SIZES if sizes == "all" else [run[1] for run in runs])
    assert all(row["iterations"] >= 20 for row in rows), rows


# The write tests have no events.  ib_send_bw waits for its own credits without asking for an event when its queues
# are shorter than usual, so it runs with the usual number of iterations.
WITH_EVENTS = [("ib_read_bw", 20), ("ib_send_bw", 1000), ("ib_read_lat", 20), ("ib_send_lat", 20)]
