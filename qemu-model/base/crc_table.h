// SPDX-License-Identifier: GPL-2.0-or-later
// Reflected CRCs of 32 bits by table, eight octets at a time, for any generator.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "byteorder.h"

namespace erdma {

// tables[k][b]: the effect of octet b followed by k zero octets.
using CrcTables = std::array<std::array<uint32_t, 256>, 8>;

constexpr CrcTables makeCrcTables(uint32_t reflectedGenerator) {
    CrcTables tables{};
    for (uint32_t octet = 0; octet < 256; ++octet) {
        uint32_t value = octet;
        for (int bit = 0; bit < 8; ++bit)
            value = (value >> 1) ^ ((value & 1) != 0 ? reflectedGenerator : 0);
        tables[0][octet] = value;
    }
    for (size_t zeros = 1; zeros < tables.size(); ++zeros) {
        for (size_t octet = 0; octet < 256; ++octet) {
            const uint32_t shorter = tables[zeros - 1][octet];
            tables[zeros][octet] = (shorter >> 8) ^ tables[0][shorter & 0xFF];
        }
    }
    return tables;
}

// The register behind `data`, which began as `state`.  Neither is complemented.
inline uint32_t crcByTable(const CrcTables& tables, ConstBytes data, uint32_t state) {
    while (data.size() >= 8) {
        const uint32_t low = loadLe32(data, 0) ^ state;
        const uint32_t high = loadLe32(data, 4);
        state = 0;
        for (size_t i = 0; i < 4; ++i) {
            state ^= tables[7 - i][(low >> (8 * i)) & 0xFF];
            state ^= tables[3 - i][(high >> (8 * i)) & 0xFF];
        }
        data = data.subspan(8);
    }
    for (const std::byte octet : data)
        state = (state >> 8) ^ tables[0][(state ^ std::to_integer<uint32_t>(octet)) & 0xFF];
    return state;
}

} // namespace erdma
