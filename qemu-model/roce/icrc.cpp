// SPDX-License-Identifier: GPL-2.0-or-later
#include "icrc.h"

#include <algorithm>
#include <array>

#include "crc_table.h"

namespace erdma {

namespace {

constexpr CrcTables kTables = makeCrcTables(0xEDB88320);
constexpr uint32_t kBehindEightOnes = 0xDEBB20E3; // register after the link header that RoCEv2 does not have
constexpr std::byte kMask{0xFF};

} // namespace

uint32_t icrc(ConstBytes packet, bool ipv6) {
    constexpr size_t kUdpAndBth = 8 + 12;
    std::array<std::byte, 40 + kUdpAndBth> headers;
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
    return ~crcByTable(kTables, packet.subspan(masked), state);
}

} // namespace erdma
