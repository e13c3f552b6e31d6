# SPDX-License-Identifier: GPL-2.0-or-later
"""Borders between the processes of a guest: what one cannot do to another (programs/borders.c)."""

from support import expect_in_use, in_use, run_cases


def test_between_processes(vm):
    before = in_use(vm)
    print(run_cases(vm, "borders"), "cases")
    expect_in_use(vm, before)
