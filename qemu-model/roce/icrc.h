// SPDX-License-Identifier: GPL-2.0-or-later
// The invariant CRC of RoCEv2 packets (roce.md 2.10).
#pragma once

#include <cstdint>

#include "bytes.h"

namespace erdma {

// CRC of `packet`: IP header (20 octets, or 40 when `ipv6`), UDP header, BTH and all that follows up to the CRC itself,
// at least those three headers.  Fields that routers change do not count.  On the wire the value stands least
// significant octet first.
uint32_t icrc(ConstBytes packet, bool ipv6);

} // namespace erdma
