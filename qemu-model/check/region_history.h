// SPDX-License-Identifier: GPL-2.0-or-later
// Regions that there are and were, and what was wrong with an access that the adapter refused.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>

#include "finding.h"
#include "memory_region.h"

namespace erdma::check {

class RegionHistory {
public:
    struct Known {
        RegionFacts facts;
        uint64_t madeNs = 0;
        uint64_t goneNs = 0; // of one that is gone
    };
    struct Complaint {
        Kind kind;
        std::string sentence; // begins with what is accessed, without an article
    };

    void made(const RegionFacts& region, uint64_t nowNs);
    void gone(const RegionFacts& region, uint64_t nowNs);
    void clear();
    // Nothing for a fault that is nobody's mistake.
    std::optional<Complaint> explain(const MrAccess& access, MrFault fault, uint64_t nowNs) const;

private:
    static constexpr size_t kMostGone = 4096; // the oldest are forgotten
    const Known* lastOf(uint32_t stag) const;
    std::string nearest(const MrAccess& access) const;

    std::unordered_map<uint32_t, Known> live_; // by index, as the adapter has them
    std::deque<Known> gone_;
};

// "local write", "remote read", ...
std::string rightsText(uint32_t access);

} // namespace erdma::check
