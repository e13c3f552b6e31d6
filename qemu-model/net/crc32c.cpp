// SPDX-License-Identifier: GPL-2.0-or-later
#include "crc32c.h"

#include <cstring>

#include "crc_table.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define ERDMA_CRC_INSTRUCTION __attribute__((target("sse4.2,pclmul")))
#elif defined(__aarch64__) && defined(__linux__) && defined(__GNUC__)
#include <arm_acle.h>
#include <arm_neon.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#if !defined(__clang__)
#define ERDMA_CRC_INSTRUCTION __attribute__((target("+crc+crypto")))
#elif defined(__ARM_FEATURE_CRC32) && defined(__ARM_FEATURE_AES) // clang has them only if told to for the whole file
#define ERDMA_CRC_INSTRUCTION
#endif
#endif

namespace erdma {

namespace {

constexpr uint32_t kReflectedGenerator = 0x82F63B78;
constexpr CrcTables kTables = makeCrcTables(kReflectedGenerator);

uint32_t byTable(ConstBytes data, uint32_t previous) { return ~crcByTable(kTables, data, ~previous); }

// ---- by instruction ----

#ifdef ERDMA_CRC_INSTRUCTION

// The instruction takes three cycles, and one can begin in each: three parts of a block are computed side by side and
// joined by carry-less multiplication.
//
// The state of n octets more is state * x^(8n) mod G, plus the state of these octets alone.  A product of two reflected
// 32-bit polynomials is x times what it should be, and the instruction multiplies by x^32 when it reduces it: the
// factor is x^(8n - 33).
constexpr uint32_t factorFor(size_t octets) {
    uint32_t power = 0x80000000; // x^0
    for (size_t exponent = 8 * octets - 33; exponent != 0; --exponent)
        power = (power >> 1) ^ ((power & 1) != 0 ? kReflectedGenerator : 0);
    return power;
}

#if defined(__x86_64__)

bool instructionIsThere() { return __builtin_cpu_supports("sse4.2") != 0 && __builtin_cpu_supports("pclmul") != 0; }

ERDMA_CRC_INSTRUCTION inline uint32_t addWord(uint32_t state, uint64_t word) {
    return static_cast<uint32_t>(_mm_crc32_u64(state, word));
}

ERDMA_CRC_INSTRUCTION inline uint32_t addOctet(uint32_t state, uint8_t octet) { return _mm_crc32_u8(state, octet); }

ERDMA_CRC_INSTRUCTION inline uint64_t multiply(uint32_t a, uint32_t b) {
    const __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi32_si128(static_cast<int>(a)), _mm_cvtsi32_si128(static_cast<int>(b)), 0);
    return static_cast<uint64_t>(_mm_cvtsi128_si64(product));
}

#else

bool instructionIsThere() {
    constexpr unsigned long wanted = HWCAP_CRC32 | HWCAP_PMULL;
    return (getauxval(AT_HWCAP) & wanted) == wanted;
}

ERDMA_CRC_INSTRUCTION inline uint32_t addWord(uint32_t state, uint64_t word) { return __crc32cd(state, word); }

ERDMA_CRC_INSTRUCTION inline uint32_t addOctet(uint32_t state, uint8_t octet) { return __crc32cb(state, octet); }

ERDMA_CRC_INSTRUCTION inline uint64_t multiply(uint32_t a, uint32_t b) {
    return static_cast<uint64_t>(vmull_p64(static_cast<poly64_t>(a), static_cast<poly64_t>(b)));
}

#endif

ERDMA_CRC_INSTRUCTION inline uint64_t wordAt(const std::byte* at) {
    uint64_t word;
    std::memcpy(&word, at, sizeof(word));
    return word;
}

// As many blocks of three parts of that many octets as there are.
template <size_t Part>
ERDMA_CRC_INSTRUCTION inline uint32_t addBlocks(uint32_t state, const std::byte*& at, size_t& left) {
    constexpr uint32_t overTwo = factorFor(2 * Part), overOne = factorFor(Part);
    for (; left >= 3 * Part; at += 3 * Part, left -= 3 * Part) {
        uint32_t second = 0, third = 0;
        for (size_t i = 0; i < Part; i += 8) {
            state = addWord(state, wordAt(at + i));
            second = addWord(second, wordAt(at + Part + i));
            third = addWord(third, wordAt(at + 2 * Part + i));
        }
        state = addWord(0, multiply(state, overTwo) ^ multiply(second, overOne)) ^ third;
    }
    return state;
}

ERDMA_CRC_INSTRUCTION uint32_t byThreeStreams(ConstBytes data, uint32_t previous) {
    uint32_t state = ~previous;
    const std::byte* at = data.data();
    size_t left = data.size();
    state = addBlocks<2048>(state, at, left);
    state = addBlocks<256>(state, at, left);
    state = addBlocks<64>(state, at, left);
    for (; left >= 8; at += 8, left -= 8)
        state = addWord(state, wordAt(at));
    for (; left != 0; ++at, --left)
        state = addOctet(state, std::to_integer<uint8_t>(*at));
    return ~state;
}

#endif

constexpr Crc32cPath kPaths[] = {
#ifdef ERDMA_CRC_INSTRUCTION
    {"three streams", byThreeStreams},
#endif
    {"table", byTable},
};

} // namespace

std::span<const Crc32cPath> crc32cPaths() {
#ifdef ERDMA_CRC_INSTRUCTION
    if (!instructionIsThere())
        return std::span(kPaths).subspan(1);
#endif
    return kPaths;
}

uint32_t crc32c(ConstBytes data, uint32_t previous) {
    static const Crc32cPath& fastest = crc32cPaths().front();
    return fastest.compute(data, previous);
}

} // namespace erdma
