# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver builds for every supported kernel without a warning; tests/vm/test_kernel_range.py boots them."""

import pytest

from erdmalab import matrix, roots


@pytest.mark.parametrize("name", roots.KERNELS)
def test_builds_without_warnings(name):
    built = matrix.build_module(name, roots.headers(name)[1], fresh=True)
    print(built)
    assert not built.warnings
