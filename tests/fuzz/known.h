// SPDX-License-Identifier: GPL-2.0-or-later
// What a target steps around, because it would find nothing else: faults that are known and not mended yet, and what is
// right.  Whoever mends a fault sets its constant to false and with that lets the fuzzer look there.
#pragma once

namespace erdma::fuzz {

// The rings of this target look like the kernel's, so the local DMA key is good on its queue pairs: what it writes would
// count as memory that was not given for it.  LocalKey in tests/unit tells the two kinds of rings apart.
inline constexpr bool kRingsAreTheKernels = true;

} // namespace erdma::fuzz
