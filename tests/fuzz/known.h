// SPDX-License-Identifier: GPL-2.0-or-later
// Faults that are known and not mended yet.  A target steps around each, because it would find nothing else; whoever
// mends one sets its constant to false and with that lets the fuzzer look there.
#pragma once

namespace erdma::fuzz {

// The local DMA key is good on every queue pair.
inline constexpr bool kLocalKeyWorksForAll = true;
// A reset that comes from an interrupt message, while the adapter is at work, takes away what it works on.
inline constexpr bool kNoResetFromInside = true;

} // namespace erdma::fuzz
