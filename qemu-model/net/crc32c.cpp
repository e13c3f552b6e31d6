// SPDX-License-Identifier: GPL-2.0-or-later
#include "crc32c.h"

#include <cstring>

#include "crc_table.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>
#define ERDMA_CRC_INSTRUCTION 1
#endif

namespace erdma {

namespace {

constexpr CrcTables kTables = makeCrcTables(0x82F63B78);

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

uint32_t crc32cPortable(ConstBytes data, uint32_t previous) { return ~crcByTable(kTables, data, ~previous); }

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
