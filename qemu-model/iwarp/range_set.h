// SPDX-License-Identifier: GPL-2.0-or-later
// Which octets of a stream, as few ranges as there can be.  All operations take logarithmic time, or time for what they
// remove.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>

namespace erdma {

class RangeSet {
public:
    struct Range {
        uint64_t from, to; // first octet behind
    };
    using Iterator = std::map<uint64_t, uint64_t>::const_iterator; // from, to

    bool empty() const { return ranges_.empty(); }
    Iterator begin() const { return ranges_.begin(); }
    Iterator end() const { return ranges_.end(); }
    // The range with this octet, or end().
    Iterator at(uint64_t offset) const {
        const auto next = ranges_.upper_bound(offset);
        return next != ranges_.begin() && std::prev(next)->second > offset ? std::prev(next) : ranges_.end();
    }
    // The first piece of [from, to) that is not in the set; empty: there is none.
    Range gap(uint64_t from, uint64_t to) const {
        auto next = ranges_.upper_bound(from);
        if (next != ranges_.begin())
            from = std::max(from, std::prev(next)->second);
        if (next != ranges_.end())
            to = std::min(to, next->first);
        return {from, std::max(from, to)};
    }

    void add(uint64_t from, uint64_t to) {
        auto next = ranges_.upper_bound(from);
        if (next != ranges_.begin() && std::prev(next)->second >= from) {
            --next;
            from = next->first;
        }
        while (next != ranges_.end() && next->first <= to) {
            to = std::max(to, next->second);
            next = ranges_.erase(next);
        }
        ranges_.emplace_hint(next, from, to);
    }
    void remove(uint64_t from, uint64_t to) {
        auto next = ranges_.upper_bound(from);
        if (next != ranges_.begin() && std::prev(next)->second > from)
            --next;
        while (next != ranges_.end() && next->first < to) {
            const Range old{next->first, next->second};
            next = ranges_.erase(next);
            if (old.from < from)
                ranges_.emplace_hint(next, old.from, from);
            if (old.to > to)
                ranges_.emplace_hint(next, to, old.to);
        }
    }
    void clear() { ranges_.clear(); }

private:
    std::map<uint64_t, uint64_t> ranges_; // disjoint, not adjacent
};

} // namespace erdma
