// SPDX-License-Identifier: GPL-2.0-or-later
#include "icrc.h"

#include <algorithm>
#include <array>

#include "crc_table.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define ERDMA_CRC_FOLDING 1
#endif

namespace erdma {

namespace {

constexpr CrcTables kTables = makeCrcTables(0xEDB88320);
constexpr uint32_t kBehindEightOnes = 0xDEBB20E3; // register after the link header that RoCEv2 does not have
constexpr std::byte kMask{0xFF};

#ifdef ERDMA_CRC_FOLDING

constexpr size_t kFolded = 64; // octets at once

__attribute__((target("pclmul,sse4.1"))) __m128i loaded(ConstBytes from, size_t offset) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from.data() + offset));
}

// `value`, moved by the distance that `factors` stand for, onto `next`.
__attribute__((target("pclmul,sse4.1"))) __m128i fold(__m128i value, __m128i factors, __m128i next) {
    const __m128i low = _mm_clmulepi64_si128(value, factors, 0x00);
    const __m128i high = _mm_clmulepi64_si128(value, factors, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

// By multiplication without carries: octets are folded onto those 64, then 16 behind them, until 16 with the same
// remainder are left.  The factors are x^n modulo the generator, reflected, for n = 512 +- 32 and 128 +- 32.
__attribute__((target("pclmul,sse4.1"))) uint32_t crcByFolding(ConstBytes data, uint32_t state) {
    const __m128i far = _mm_set_epi64x(0x1C6E41596, 0x154442BD4);
    const __m128i near = _mm_set_epi64x(0x0CCAA009E, 0x1751997D0);
    __m128i a = _mm_xor_si128(loaded(data, 0), _mm_cvtsi32_si128(static_cast<int>(state)));
    __m128i b = loaded(data, 16), c = loaded(data, 32), d = loaded(data, 48);
    for (data = data.subspan(kFolded); data.size() >= kFolded; data = data.subspan(kFolded)) {
        a = fold(a, far, loaded(data, 0));
        b = fold(b, far, loaded(data, 16));
        c = fold(c, far, loaded(data, 32));
        d = fold(d, far, loaded(data, 48));
    }
    a = fold(fold(fold(a, near, b), near, c), near, d);
    for (; data.size() >= 16; data = data.subspan(16))
        a = fold(a, near, loaded(data, 0));
    std::array<std::byte, 16> rest;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(rest.data()), a);
    return crcByTable(kTables, data, crcByTable(kTables, rest, 0));
}

bool hasFolding() {
    static const bool has = __builtin_cpu_supports("pclmul") != 0 && __builtin_cpu_supports("sse4.1") != 0;
    return has;
}

#endif

uint32_t crcOf(ConstBytes data, uint32_t state) {
#ifdef ERDMA_CRC_FOLDING
    if (data.size() >= kFolded && hasFolding())
        return crcByFolding(data, state);
#endif
    return crcByTable(kTables, data, state);
}

} // namespace

uint32_t icrc(ConstBytes packet, bool ipv6) {
    constexpr size_t kUdpAndBth = 8 + 12;
    std::array<std::byte, 40 + kUdpAndBth> headers{}; // gcc 16 cannot see that a packet fills what is masked
    const size_t ip = ipv6 ? 40 : 20;
    const size_t masked = std::min(ip + kUdpAndBth, packet.size());
    std::copy_n(packet.begin(), masked, headers.begin());
    if (ipv6) {
        headers[0] |= std::byte{0x0F}; // traffic class, flow label
        headers[1] = headers[2] = headers[3] = kMask;
        headers[7] = kMask; // hop limit
    } else {
        headers[1] = kMask;                // DSCP, ECN
        headers[8] = kMask;                // TTL
        headers[10] = headers[11] = kMask; // checksum
    }
    headers[ip + 6] = headers[ip + 7] = kMask; // UDP checksum
    headers[ip + 12] = kMask;                  // FECN, BECN
    const uint32_t state = crcByTable(kTables, ConstBytes(headers).first(masked), kBehindEightOnes);
    return ~crcOf(packet.subspan(masked), state);
}

} // namespace erdma
