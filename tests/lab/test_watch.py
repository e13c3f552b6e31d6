# SPDX-License-Identifier: GPL-2.0-or-later
"""What the watch takes for a complaint of the kernel, and what not."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lab"))

from erdmalab.watch import find  # noqa: E402  (found through the line above)

COMPLAINTS = [
    "[ 1.0] WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1/0x2",
    "[ 1.0] WARNING: possible circular locking dependency detected",
    "[ 1.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2",
    "[ 1.0] BUG: unable to handle page fault for address: 0000000000000008",
    "[ 1.0] INFO: task x:1 blocked for more than 30 seconds.",
    "[ 1.0] rcu: INFO: rcu_preempt self-detected stall on CPU",
    "[ 1.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
    "[ 1.0] kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "[ 1.0] general protection fault, probably for non-canonical address",
]
HARMLESS = [
    "[ 1.0] rcu: \tRCU lockdep checking is enabled.",
    "[ 1.0] Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar",
    "[ 1.0] kmemleak: Kernel memory leak detector initialized (mem pool available: 1)",
    "[ 1.0] tsc: Marking TSC unstable due to clocksource watchdog",
    "[ 1.0] clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable",
    "[ 1.0] ib_core: module verification failed: signature missing - tainting kernel",
    "[ 1.0] rcu: Preemptible hierarchical RCU implementation.",
]


class Patterns(unittest.TestCase):
    def test_complaints(self):
        for line in COMPLAINTS:
            with self.subTest(line=line):
                self.assertTrue(find([line]))

    def test_harmless_lines(self):
        for line in HARMLESS:
            with self.subTest(line=line):
                self.assertFalse(find([line]))


if __name__ == "__main__":
    unittest.main()
