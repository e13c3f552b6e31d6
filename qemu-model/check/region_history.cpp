// SPDX-License-Identifier: GPL-2.0-or-later
#include "region_history.h"

#include <algorithm>
#include <array>

namespace erdma::check {

namespace {

std::string rangeText(uint64_t start, uint64_t length) {
    return hex(start) + " to " + hex(start + (length == 0 ? 0 : length - 1)) + " (" + bytes(length) + ")";
}

std::string regionText(const RegionFacts& region) {
    return "region " + hex(region.stag) +
           (region.whole ? ", which is all memory" : ", " + rangeText(region.start, region.length));
}

} // namespace

std::string rightsText(uint32_t access) {
    struct Right {
        uint32_t bit;
        const char* name;
    };
    constexpr std::array<Right, 5> rights = {{{access::kLocalRead, "local read"},
                                              {access::kLocalWrite, "local write"},
                                              {access::kRemoteRead, "remote read"},
                                              {access::kRemoteWrite, "remote write"},
                                              {access::kRemoteAtomic, "remote atomic"}}};
    std::string out;
    for (const Right& right : rights) {
        if ((access & right.bit) != 0)
            out += (out.empty() ? "" : ", ") + std::string(right.name);
    }
    return out.empty() ? "nothing" : out;
}

void RegionHistory::made(const RegionFacts& region, uint64_t nowNs) {
    live_[region.stag >> 8] = Known{region, nowNs, 0};
}

void RegionHistory::gone(const RegionFacts& region, uint64_t nowNs) {
    const auto at = live_.find(region.stag >> 8);
    Known known{region, nowNs, nowNs};
    if (at != live_.end()) {
        known.madeNs = at->second.madeNs;
        live_.erase(at);
    }
    gone_.push_front(known);
    if (gone_.size() > kMostGone)
        gone_.pop_back();
}

void RegionHistory::clear() {
    live_.clear();
    gone_.clear();
}

const RegionHistory::Known* RegionHistory::lastOf(uint32_t stag) const {
    const auto at = std::ranges::find_if(gone_, [stag](const Known& k) { return k.facts.stag == stag; });
    return at == gone_.end() ? nullptr : &*at;
}

// Which region the address may have been meant for.
std::string RegionHistory::nearest(const MrAccess& access) const {
    const Known* best = nullptr;
    uint64_t distance = UINT64_MAX;
    for (const auto& [index, known] : live_) {
        const RegionFacts& region = known.facts;
        if (region.whole || region.length == 0)
            continue;
        const uint64_t end = region.start + (region.length - 1);
        const uint64_t away = access.addr < region.start ? region.start - access.addr
                              : access.addr > end        ? access.addr - end
                                                         : 0;
        if (away < distance) {
            distance = away;
            best = &known;
        }
    }
    if (best == nullptr)
        return "there is no other region";
    if (distance == 0)
        return "the address is inside of " + regionText(best->facts);
    return "nearest is " + regionText(best->facts) + ", " + bytes(distance) + " away";
}

std::optional<RegionHistory::Complaint> RegionHistory::explain(const MrAccess& access, MrFault fault,
                                                               uint64_t nowNs) const {
    std::string what = bytes(access.length) + " at " + hex(access.addr) + " with key " + hex(access.stag) + " for " +
                       rightsText(access.need) + ": ";
    const auto at = live_.find(access.stag >> 8);
    const RegionFacts* region = at == live_.end() || at->second.facts.stag != access.stag ? nullptr : &at->second.facts;
    switch (fault) {
    case MrFault::Stag: {
        if (const Known* former = lastOf(access.stag))
            return Complaint{Kind::StaleKey, what + "the key was that of " + regionText(former->facts) +
                                                 ", which is gone since " + duration(nowNs - former->goneNs) +
                                                 " and had lived for " + duration(former->goneNs - former->madeNs)};
        const std::string other =
            at == live_.end() ? nearest(access) : "of the same number is now " + regionText(at->second.facts);
        return Complaint{Kind::StaleKey, what + "no region has or had this key; " + other};
    }
    case MrFault::Pd:
        return Complaint{Kind::WrongPd, what + "the queue pair is of protection domain " + std::to_string(access.pd) +
                                            (region == nullptr ? ", the region of another"
                                                               : ", the region of " + std::to_string(region->pd))};
    case MrFault::Rights:
        if (region == nullptr)
            return Complaint{Kind::WrongRights, what + "the key of all local memory does not open it"};
        return Complaint{Kind::WrongRights, what + regionText(*region) + " was registered for " +
                                                rightsText(region->access) + ", not for " +
                                                rightsText(access.need & ~region->access)};
    case MrFault::Wrap:
        return Complaint{Kind::OutOfBounds, what + "the range runs beyond the end of the address space"};
    case MrFault::Bounds:
        break;
    case MrFault::None:
    case MrFault::Dma:
        return std::nullopt;
    }
    if (region == nullptr)
        return Complaint{Kind::OutOfBounds, what + "not inside of the region"};
    const uint64_t end = region->start + region->length; // a region does not wrap
    std::string where;
    if (access.addr < region->start)
        where = "begins " + bytes(region->start - access.addr) + " before the beginning of ";
    else if (access.addr >= end)
        where = "begins " + bytes(access.addr - end) + " behind the end of ";
    else
        where = "reaches " + bytes(access.addr + access.length - end) + " beyond the end of ";
    return Complaint{Kind::OutOfBounds, what + where + regionText(*region)};
}

} // namespace erdma::check
