# SPDX-License-Identifier: GPL-2.0-or-later
"""Frequency of the time-stamp counter, as a guest without KVM needs it.

QEMU's emulation hands the host's counter through.  A guest that measures it against an
emulated timer while the host is busy is wrong, by a factor of 3 at times, and then every
time limit in it is.
"""

import ctypes
import functools
import mmap
import platform
import time

READ_TSC = bytes((0x0f, 0x31,              # rdtsc
                  0x48, 0xc1, 0xe2, 0x20,  # shl $32, %rdx
                  0x48, 0x09, 0xd0,        # or %rdx, %rax
                  0xc3))                   # ret
SECONDS = 0.1


@functools.lru_cache(maxsize=None)
def tsc_khz():
    """kHz of this machine's time-stamp counter, or None where there is none to be read."""
    if platform.machine() != "x86_64":
        return None
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as code:
        code.write(READ_TSC)
        anchor = ctypes.c_char.from_buffer(code)
        read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(anchor))

        def sample():
            """Counter and nanoseconds of one moment: of a few tries the one that took the shortest."""
            tries = []
            for _ in range(20):
                before = read()
                nanoseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
                after = read()
                tries.append((after - before, (before + after) // 2, nanoseconds))
            return min(tries)[1:]

        ticks, begin = sample()
        time.sleep(SECONDS)
        more, end = sample()
        del anchor, read  # they hold the memory
    return round((more - ticks) * 1_000_000 / (end - begin))
