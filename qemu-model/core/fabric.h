// SPDX-License-Identifier: GPL-2.0-or-later
// Everything that the adapters of one process share: pairing of loopback connections (wire.md 1.10).
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "host.h"
#include "hw.h"

namespace erdma {

class QueuePair;

inline constexpr size_t kMaxSegmentPayload = 64 * 1024;

class Fabric {
public:
    // A QP that reached RTS without tracker entry.  Pairs it with a waiting mirror of any device, or remembers it.
    // Status::Invalid: another QP owns the tuple, or the mirror's sequence numbers do not fit.
    Status connect(QueuePair& qp);
    // The QP does not need its tuple any more (stopped, destroyed, timed out).  Harmless when it owns none.
    void forget(QueuePair& qp);
    // Where payload is gathered on its way to the peer; valid until the next call.
    Bytes scratch();
    size_t connections() const { return owners_.size(); }

private:
    struct Tuple {
        uint64_t own = 0; // address << 16 | port
        uint64_t peer = 0;
        bool operator==(const Tuple&) const = default;
    };
    struct Hash {
        size_t operator()(const Tuple& t) const {
            return std::hash<uint64_t>{}(t.own * 0x9E3779B97F4A7C15u ^ (t.peer << 7 | t.peer >> 57));
        }
    };
    static Tuple tupleOf(const QueuePair& qp);

    std::unordered_map<Tuple, QueuePair*, Hash> owners_; // waiting and paired; each leaves through forget()
    std::vector<std::byte> scratch_;
};

} // namespace erdma
