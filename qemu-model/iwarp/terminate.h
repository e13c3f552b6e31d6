// SPDX-License-Identifier: GPL-2.0-or-later
// Codes of the RDMAP Terminate (wire.md 4.8, 5.6).
#pragma once

#include <cstdint>

#include "segment.h"

namespace erdma {

struct TerminateCode {
    uint8_t layer = 0; // 0 RDMAP, 1 DDP, 2 the transport below
    uint8_t type = 0;
    uint8_t code = 0;

    constexpr uint16_t detail() const { return static_cast<uint16_t>(layer << 12 | type << 8 | code); }
    // As core carries it.
    constexpr operator RefusalCode() const { return {detail()}; }
    static constexpr TerminateCode of(RefusalCode code) {
        return {static_cast<uint8_t>(code.number >> 12), static_cast<uint8_t>(code.number >> 8 & 0xF),
                static_cast<uint8_t>(code.number)};
    }
    bool operator==(const TerminateCode&) const = default;
};

TerminateCode terminateCode(Refusal why);

// 5.7: completion status of a work request that the peer answered with this Terminate.
Syndrome culpritSyndrome(TerminateCode code);

} // namespace erdma
