// SPDX-License-Identifier: GPL-2.0-or-later
// An IPv4 or IPv6 address.  IPv4 addresses have their IPv6-mapped form (RFC 4291 2.5.5.2), in which they come from nowhere
// but IPv4 packets: whoever reads an IPv6 address from outside refuses that form.
#pragma once

#include <compare>
#include <cstdint>

#include "byteorder.h"

namespace erdma {

class IpAddress {
public:
    static constexpr size_t kBytes = 16; // of an IPv6 address in packets

    constexpr IpAddress() = default;                         // 0.0.0.0
    constexpr IpAddress(uint32_t v4) : low_(kMapped | v4) {} // in host order
    constexpr IpAddress(uint64_t high, uint64_t low)
        : high_(high), low_(low) {} // halves of an IPv6 address, host order
    static IpAddress load(ConstBytes from, size_t at) {
        return {uint64_t{loadBe32(from, at)} << 32 | loadBe32(from, at + 4),
                uint64_t{loadBe32(from, at + 8)} << 32 | loadBe32(from, at + 12)};
    }
    void store(Bytes to, size_t at) const {
        storeBe32(to, at, static_cast<uint32_t>(high_ >> 32));
        storeBe32(to, at + 4, static_cast<uint32_t>(high_));
        storeBe32(to, at + 8, static_cast<uint32_t>(low_ >> 32));
        storeBe32(to, at + 12, static_cast<uint32_t>(low_));
    }

    constexpr bool isV4() const { return high_ == 0 && low_ >> 32 == kMapped >> 32; }
    // The IPv4 address in host order; 0 of an IPv6 address.
    constexpr uint32_t v4() const { return isV4() ? static_cast<uint32_t>(low_) : 0; }
    // An IPv6 address that one end of a connection can have.
    constexpr bool isV6Host() const { return !isV4() && (high_ | low_) != 0 && high_ >> 56 != 0xFF; }

    auto operator<=>(const IpAddress&) const = default;

    // For hash tables.  As good as the address for IPv4.
    constexpr uint64_t folded() const { return high_ * 0xD6E8FEB86659FD93u ^ low_; }

private:
    static constexpr uint64_t kMapped = uint64_t{0xFFFF} << 32;
    uint64_t high_ = 0, low_ = kMapped;
};

} // namespace erdma
