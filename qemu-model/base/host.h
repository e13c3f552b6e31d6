// SPDX-License-Identifier: GPL-2.0-or-later
// What the model needs from outside; implemented over capi.h's callbacks and by the unit tests.
#pragma once

#include <cstdint>
#include <optional>

#include "bytes.h"
#include "seam.h"

namespace erdma {

// The address of `length` octets that begin `offset` behind `base`; nothing when the address space ends before they do.
// Everything that the guest named a base of is reached by this: an address that wraps is an error, not another address.
constexpr std::optional<uint64_t> behind(uint64_t base, uint64_t offset, uint64_t length) {
    const uint64_t first = base + offset;
    if (first < base || (length != 0 && first + (length - 1) < first))
        return std::nullopt;
    return first;
}

class Host {
public:
    virtual ~Host() = default;
    // Guest bus addresses, RAM only; false when any byte is unreachable (contents then undefined).
    virtual bool read(uint64_t addr, Bytes out) = 0;
    virtual bool write(uint64_t addr, ConstBytes in) = 0;
    // Atomic little-endian u64 at an aligned address; the old value, or nothing when unreachable.
    virtual std::optional<uint64_t> atomic64(uint64_t addr, erdma_atomic_op op, uint64_t operand, uint64_t compare) = 0;
    // What was written before is seen by the guest's processors before what is written after.
    virtual void barrier() = 0;
    virtual void raise(unsigned vector) = 0;
    virtual uint64_t nowNs() = 0;
    virtual void armTimer(uint64_t deadlineNs) = 0;
    virtual void schedule() = 0;
    virtual void trace(erdma_trace_kind kind, uint64_t a, uint64_t b, uint64_t c, const char* text) = 0;
    virtual void guestError(const char* text) = 0;
    // A whole Ethernet frame continues to `side`.  Only hosts with a paired NIC have to do it.
    virtual void sendFrame(erdma_side, ConstBytes, const erdma_offload&) {}
};

} // namespace erdma
