// SPDX-License-Identifier: GPL-2.0-or-later
// What the tests of the driver's description of the adapter (src/erdma_hw.h) share: both descriptions, values in fields.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <vector>

#include "fake_host.h"
#include "sqe.h"

// Both have a number of this name.
constexpr uint64_t kCoreVectors = ERDMA_MAX_VECTORS;
#undef ERDMA_MAX_VECTORS

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
extern "C" {
#include "src/erdma_hw.h"
}
#pragma GCC diagnostic pop

namespace erdma::test {

// A value in its field of a word.  Values that do not fit are a mistake of the test.
inline uint64_t in(uint64_t mask, uint64_t value) {
    const uint64_t word = value << std::countr_zero(mask);
    EXPECT_EQ(word & ~mask, 0u) << std::hex << "value " << value << " in mask " << mask;
    return word;
}
inline uint32_t in32(uint32_t mask, uint64_t value) { return static_cast<uint32_t>(in(mask, value)); }
inline uint64_t of(uint64_t mask, uint64_t word) { return (word & mask) >> std::countr_zero(mask); }

template <typename T> ConstBytes bytesOf(const T& object) { return std::as_bytes(std::span(&object, 1)); }

} // namespace erdma::test
