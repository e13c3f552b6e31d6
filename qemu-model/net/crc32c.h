// SPDX-License-Identifier: GPL-2.0-or-later
// CRC-32C, the checksum of FPDUs (wire.md 3.2).
#pragma once

#include <cstdint>
#include <span>

#include "host.h"

namespace erdma {

// CRC of `data`; with the CRC of what precedes it, that of both together.  In an FPDU the value stands least
// significant octet first.
uint32_t crc32c(ConstBytes data, uint32_t previous = 0);

// One way to compute it.
struct Crc32cPath {
    const char* name;
    uint32_t (*compute)(ConstBytes data, uint32_t previous);
};

// Those that this processor has, the fastest, which crc32c() takes, first.
std::span<const Crc32cPath> crc32cPaths();

} // namespace erdma
