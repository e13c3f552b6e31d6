// SPDX-License-Identifier: GPL-2.0-or-later
// All queue pairs of an adapter.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "adapter.h"
#include "queue_pair.h"

namespace erdma {

class QueuePairs {
public:
    explicit QueuePairs(Adapter& adapter) : adapter_(adapter) {}

    struct Slot {
        std::unique_ptr<QueuePair> pair;
        // Of CREATE_QP, for QUERY_QPC only.
        uint64_t sqRecord = 0, rqRecord = 0;
        uint8_t sqPageShift = 12, rqPageShift = 12;
        uint32_t group = 0; // doorbell pages (4.21), 0: those of everybody
    };
    const Slot* slot(uint32_t qpn) const;
    QueuePair* find(uint32_t qpn) const;
    // Of a number that is free; `slot` but for the queue pair itself.
    void add(QpConfig config, Slot slot);
    Status destroy(uint32_t qpn);
    // Those that complete into one of these CQs are of no use any more (wire.md 5.7).  They are stopped by stopSome().
    void stopThoseOf(const std::vector<uint32_t>& cqns);
    void stopSome(); // as many as the budget allows
    bool anyToStop() const { return !doomed_.empty(); }
    // All, unless the budget is spent before.
    void clear();
    bool empty() const { return slots_.empty(); }

private:
    Adapter& adapter_;
    std::unordered_map<uint32_t, Slot> slots_;
    std::vector<uint32_t> doomed_; // QPNs, of those perhaps gone again
};

} // namespace erdma
