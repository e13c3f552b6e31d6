// SPDX-License-Identifier: GPL-2.0-or-later
// What could be faster: habits of a program, said once they are habits.
#pragma once

#include <cstdint>
#include <map>
#include <utility>

#include "finding.h"
#include "observer.h"
#include "sqe.h"

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
    uint32_t lastStag = 0;     // of the last small write
    uint64_t lastEnd = 0;
};

class Advisor {
public:
    explicit Advisor(Findings& findings) : findings_(findings) {}

    // `unfinished`: requests of the queue pair that no completion has told of.  `oneRead`: a read is among them, and only
    // one may be outstanding.
    void posted(Habits& habits, const Place& place, const Sqe& sqe, size_t unfinished, bool oneRead, uint64_t nowNs);
    void starved(Habits& habits, uint64_t nowNs);
    void fed(Habits& habits, const Place& place, uint64_t nowNs);
    void registered(const RegionFacts& region, uint64_t nowNs);
    void clear() { ranges_.clear(); }

private:
    Findings& findings_;
    std::map<std::pair<uint64_t, uint64_t>, uint64_t> ranges_; // start, length: how often registered; bounded
};

} // namespace erdma::check
