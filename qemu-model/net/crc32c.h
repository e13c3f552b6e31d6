// SPDX-License-Identifier: GPL-2.0-or-later
// CRC-32C, the checksum of FPDUs (wire.md 3.2).
#pragma once

#include <cstdint>

#include "host.h"

namespace erdma {

// CRC of `data`; with the CRC of what precedes it, that of both together.  Uses the processor's instruction if it has
// one.  In an FPDU the value stands least significant octet first.
uint32_t crc32c(ConstBytes data, uint32_t previous = 0);

// The same by table, on any processor.
uint32_t crc32cPortable(ConstBytes data, uint32_t previous = 0);

// Whether crc32c() uses an instruction.
bool crc32cAccelerated();

} // namespace erdma
