// SPDX-License-Identifier: GPL-2.0-or-later
// Check values of wire.md 3.2 and of RFC 3720 B.4; table and instruction agree.

#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

#include "crc32c.h"

namespace erdma::test {

namespace {

ConstBytes bytesOf(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(WireCrc32c, CheckValues) {
    std::vector<std::byte> rising(32);
    for (size_t i = 0; i < rising.size(); ++i)
        rising[i] = static_cast<std::byte>(i);
    const std::vector<std::byte> falling(rising.rbegin(), rising.rend());
    for (auto* crc : {crc32c, crc32cPortable}) {
        EXPECT_EQ(crc(bytesOf("123456789"), 0), 0xE3069283u);
        EXPECT_EQ(crc(std::vector<std::byte>(32), 0), 0x8A9136AAu); // aa 36 91 8a on the wire
        EXPECT_EQ(crc(std::vector<std::byte>(32, std::byte{0xFF}), 0), 0x62A8AB43u);
        EXPECT_EQ(crc(rising, 0), 0x46DD794Eu);
        EXPECT_EQ(crc(falling, 0), 0x113FDB5Cu);
        EXPECT_EQ(crc({}, 0), 0u);
    }
}

TEST(WireCrc32c, PiecesGiveTheCrcOfTheWhole) {
    const ConstBytes text = bytesOf("The quick brown fox jumps over the lazy dog");
    for (auto* crc : {crc32c, crc32cPortable}) {
        const uint32_t whole = crc(text, 0);
        for (size_t cut = 0; cut <= text.size(); ++cut)
            EXPECT_EQ(crc(text.subspan(cut), crc(text.first(cut), 0)), whole) << cut;
    }
}

TEST(WireCrc32c, TableAndInstructionAgreeOnEveryLengthAndAlignment) {
    if (!crc32cAccelerated())
        GTEST_SKIP() << "this processor has no CRC instruction";
    std::mt19937 random(7);
    std::vector<std::byte> data(600);
    for (std::byte& b : data)
        b = static_cast<std::byte>(random());
    for (size_t from = 0; from < 9; ++from)
        for (size_t length = 0; length < 300; ++length)
            ASSERT_EQ(crc32c(ConstBytes(data).subspan(from, length), 5),
                      crc32cPortable(ConstBytes(data).subspan(from, length), 5));
}

} // namespace

} // namespace erdma::test
