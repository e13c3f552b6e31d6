// SPDX-License-Identifier: GPL-2.0-or-later
// Connections between two queue pairs of this process: segments are handed over by call (wire.md 1.10, 7.11).
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>

#include "fabric.h"

namespace erdma {

// Pairs by the TCP tuple: the ends mirror each other, and so do their sequence numbers.
class LoopbackFabric final : public Fabric {
public:
    Status connect(QueuePair& qp) override;
    void forget(QueuePair& qp) override;
    size_t connections() const override { return owners_.size(); }

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
};

} // namespace erdma
