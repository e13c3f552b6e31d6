// SPDX-License-Identifier: GPL-2.0-or-later
#include "crc32c.h"

#include <array>
#include <cstring>

#include "byteorder.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>
#define ERDMA_CRC_INSTRUCTION 1
#endif

namespace erdma {

namespace {

constexpr uint32_t kReflectedGenerator = 0x82F63B78;

// tables[k][b]: the effect of octet b followed by k zero octets.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables makeTables() {
    Tables tables{};
    for (uint32_t octet = 0; octet < 256; ++octet) {
        uint32_t value = octet;
        for (int bit = 0; bit < 8; ++bit)
            value = (value >> 1) ^ ((value & 1) != 0 ? kReflectedGenerator : 0);
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

constexpr Tables kTables = makeTables();

#ifdef ERDMA_CRC_INSTRUCTION
__attribute__((target("sse4.2"))) uint32_t byInstruction(ConstBytes data, uint32_t previous) {
    uint64_t state = ~previous;
    const std::byte* at = data.data();
    size_t left = data.size();
    for (; left >= 8; at += 8, left -= 8) {
        uint64_t word;
        std::memcpy(&word, at, sizeof(word));
        state = _mm_crc32_u64(state, word);
    }
    auto rest = static_cast<uint32_t>(state);
    for (; left != 0; ++at, --left)
        rest = _mm_crc32_u8(rest, std::to_integer<uint8_t>(*at));
    return ~rest;
}
#endif

} // namespace

uint32_t crc32cPortable(ConstBytes data, uint32_t previous) {
    uint32_t state = ~previous;
    while (data.size() >= 8) {
        const uint32_t low = loadLe32(data, 0) ^ state;
        const uint32_t high = loadLe32(data, 4);
        state = 0;
        for (size_t i = 0; i < 4; ++i) {
            state ^= kTables[7 - i][(low >> (8 * i)) & 0xFF];
            state ^= kTables[3 - i][(high >> (8 * i)) & 0xFF];
        }
        data = data.subspan(8);
    }
    for (const std::byte octet : data)
        state = (state >> 8) ^ kTables[0][(state ^ std::to_integer<uint32_t>(octet)) & 0xFF];
    return ~state;
}

bool crc32cAccelerated() {
#ifdef ERDMA_CRC_INSTRUCTION
    static const bool has = __builtin_cpu_supports("sse4.2") != 0;
    return has;
#else
    return false;
#endif
}

uint32_t crc32c(ConstBytes data, uint32_t previous) {
#ifdef ERDMA_CRC_INSTRUCTION
    if (crc32cAccelerated())
        return byInstruction(data, previous);
#endif
    return crc32cPortable(data, previous);
}

} // namespace erdma
