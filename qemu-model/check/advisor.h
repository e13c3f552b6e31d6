// SPDX-License-Identifier: GPL-2.0-or-later
// What could be faster: habits of a program, said once they are habits.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <utility>

#include "finding.h"
#include "observer.h"
#include "sqe.h"
#include "transport.h"

namespace erdma::check {

// Of one queue pair.
struct Habits {
    uint64_t requests = 0;
    uint64_t signalled = 0;
    uint64_t unfinished = 0; // sum over the requests of those that were unfinished when one was posted
    uint64_t small = 0;      // fit inline, and were not
    uint64_t adjacent = 0;   // small writes behind the end of the one before
    uint64_t readsBehindReads = 0;
    uint64_t starved = 0;
    uint64_t starvedNs = 0;
    uint64_t starvedSince = 0; // 0: not now
    uint64_t alone = 0;        // took long, with no other under way, right behind the one before
    uint64_t aloneNs = 0;
    uint64_t toldNs = 0;     // when the program last learned of a completion
    uint64_t windowFull = 0; // were posted while no more could be under way
    uint64_t long_ = 0;      // messages of many small frames
    uint32_t lastStag = 0;   // of the last small write
    uint64_t lastEnd = 0;
};

class Advisor {
public:
    explicit Advisor(Findings& findings) : findings_(findings) {}

    // `unfinished`: requests of the queue pair that no completion has told of.  `oneRead`: a read is among them, and only
    // one may be outstanding.
    void posted(Habits& habits, const Place& place, const Sqe& sqe, size_t unfinished, bool oneRead,
                const PathFacts& path, uint64_t nowNs);
    // A request of a program is complete that had the way to the peer for itself from `takenNs` on.
    void alone(Habits& habits, const Place& place, uint64_t takenNs, uint64_t nowNs);
    // A completion queue of this vector, one of `vectors`.
    void armed(uint32_t cqn, uint32_t vector, uint32_t vectors, uint64_t nowNs);
    void starved(Habits& habits, uint64_t nowNs);
    void fed(Habits& habits, const Place& place, uint64_t nowNs);
    void registered(const RegionFacts& region, uint64_t nowNs);
    void clear();

private:
    Findings& findings_;
    void aboutPath(Habits& habits, const Place& place, const Sqe& sqe, const PathFacts& path, uint64_t nowNs);

    std::map<std::pair<uint64_t, uint64_t>, uint64_t> ranges_; // start, length: how often registered; bounded
    bool atWork_ = false;                                      // a program posted since the last registration
    uint64_t between_ = 0, betweenBytes_ = 0, betweenSinceNs_ = 0;
    std::map<uint32_t, uint64_t> arms_; // of each completion queue; bounded
    std::array<uint64_t, ERDMA_MAX_VECTORS> vectors_{};
    uint64_t armed_ = 0;
};

} // namespace erdma::check
