// SPDX-License-Identifier: GPL-2.0-or-later
// Connections between two queue pairs of this process: segments are handed over by call (wire.md 1.10, 7.11).
#pragma once

#include <bit>
#include <cstdint>
#include <functional>
#include <unordered_map>

#include "fabric.h"
#include "ip_address.h"

namespace erdma {

// Pairs by the TCP tuple: the ends mirror each other, and so do their sequence numbers.
class LoopbackFabric final : public Fabric {
public:
    Status connect(QueuePair& qp) override;
    void forget(QueuePair& qp) override;
    size_t connections() const override { return owners_.size(); }

private:
    struct Tuple {
        struct End {
            IpAddress address;
            uint16_t port = 0;
            bool operator==(const End&) const = default;
            uint64_t folded() const { return address.folded() << 16 ^ address.folded() >> 48 ^ port; }
        };
        End own, peer;
        bool operator==(const Tuple&) const = default;
    };
    struct Hash {
        size_t operator()(const Tuple& t) const {
            return std::hash<uint64_t>{}(t.own.folded() * 0x9E3779B97F4A7C15u ^ std::rotl(t.peer.folded(), 7));
        }
    };
    static Tuple tupleOf(const QueuePair& qp);

    std::unordered_map<Tuple, QueuePair*, Hash> owners_; // waiting and paired; each leaves through forget()
};

} // namespace erdma
