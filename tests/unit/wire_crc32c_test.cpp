// SPDX-License-Identifier: GPL-2.0-or-later
// Check values of wire.md 3.2 and of RFC 3720 B.4; all ways to compute it agree.

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
    for (const auto& [name, crc] : crc32cPaths()) {
        SCOPED_TRACE(name);
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
    for (const auto& [name, crc] : crc32cPaths()) {
        SCOPED_TRACE(name);
        const uint32_t whole = crc(text, 0);
        for (size_t cut = 0; cut <= text.size(); ++cut)
            EXPECT_EQ(crc(text.subspan(cut), crc(text.first(cut), 0)), whole) << cut;
    }
}

std::vector<std::byte> randomOctets(size_t count) {
    std::mt19937 random(7);
    std::vector<std::byte> data(count);
    for (std::byte& b : data)
        b = static_cast<std::byte>(random());
    return data;
}

// Bit by bit, as the polynomial says.
uint32_t byDefinition(ConstBytes data, uint32_t previous) {
    uint32_t state = ~previous;
    for (const std::byte octet : data) {
        state ^= std::to_integer<uint32_t>(octet);
        for (int bit = 0; bit < 8; ++bit)
            state = (state >> 1) ^ ((state & 1) != 0 ? 0x82F63B78 : 0);
    }
    return ~state;
}

TEST(WireCrc32c, EveryPathAgreesOnEveryLengthAndAlignment) {
    // Past two blocks of three streams of the middle size, where every way to go on behind a block has been met.
    constexpr size_t kMost = 2 * 3 * 256 + 3 * 64 + 24;
    const std::vector<std::byte> data = randomOctets(kMost + 16);
    for (size_t from = 0; from < 16; ++from) {
        const ConstBytes whole = ConstBytes(data).subspan(from);
        for (size_t length = 0; length <= kMost; length += from == 0 || length < 300 ? 1 : 7) {
            const uint32_t right = byDefinition(whole.first(length), 5);
            for (const auto& [name, crc] : crc32cPaths())
                ASSERT_EQ(crc(whole.first(length), 5), right) << name << ' ' << from << ' ' << length;
        }
    }
}

TEST(WireCrc32c, EveryPathAgreesOnLongData) {
    const std::vector<std::byte> data = randomOctets(65544 + 8);
    for (const size_t length : {6143u, 6144u, 6145u, 8948u, 12288u, 13000u, 65535u, 65544u}) {
        for (const size_t from : {0u, 1u, 3u, 8u}) {
            const ConstBytes part = ConstBytes(data).subspan(from, length);
            const uint32_t right = byDefinition(part, 0);
            for (const auto& [name, crc] : crc32cPaths())
                ASSERT_EQ(crc(part, 0), right) << name << ' ' << from << ' ' << length;
            ASSERT_EQ(crc32c(part), right);
        }
    }
}

} // namespace

} // namespace erdma::test
