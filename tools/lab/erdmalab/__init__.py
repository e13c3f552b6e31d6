# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: boots virtual machines with the adapter and runs programs in them.

Python 3 standard library only.  Start reading at vm.Vm; docs/lab.md tells the rest.
"""
