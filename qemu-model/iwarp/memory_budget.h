// SPDX-License-Identifier: GPL-2.0-or-later
// What the connections of one adapter may keep of octets together: sent and not acknowledged, received and not taken,
// out of order, held for a handover.  One limit for all of it, which nobody can grow from outside.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <list>
#include <utility>

namespace erdma {

class MemoryShare;

class MemoryBudget {
public:
    size_t limit = size_t{256} << 20;

    // May exceed the limit by what nobody is refused (TcpConnection::kAlways).
    size_t used() const { return used_; }
    size_t left() const { return limit - std::min(limit, used_); }
    // Half is gone: nobody is promised much any more, and nobody keeps what he does not need.
    bool tight() const { return used_ > limit / 2; }

private:
    friend class MemoryShare;
    size_t used_ = 0;
    std::list<MemoryShare*> spare_; // longest unused first
};

// What one user has of it; given back at the end.
class MemoryShare {
public:
    // `giveBack` is called when memory is short, while the share is spare; it calls set().
    explicit MemoryShare(MemoryBudget& budget, std::function<void()> giveBack = {})
        : budget_(budget), giveBack_(std::move(giveBack)), own_(1, this) {}
    ~MemoryShare() { set(0); }
    MemoryShare(const MemoryShare&) = delete;
    MemoryShare& operator=(const MemoryShare&) = delete;

    // `spare`: kept for later only.
    void set(size_t octets, bool spare = false) {
        budget_.used_ += octets - octets_; // modulo: also less
        const bool grows = octets > octets_;
        octets_ = octets;
        if (spare != spare_) {
            spare_ = spare;
            std::list<MemoryShare*>& from = spare ? own_ : budget_.spare_;
            std::list<MemoryShare*>& to = spare ? budget_.spare_ : own_;
            to.splice(to.end(), from, here_);
        }
        for (unsigned i = 0; grows && i < kCallsAtOnce && budget_.tight() && !budget_.spare_.empty(); ++i)
            budget_.spare_.front()->giveBack_();
    }
    size_t octets() const { return octets_; }
    const MemoryBudget& budget() const { return budget_; }

private:
    static constexpr unsigned kCallsAtOnce = 4;

    MemoryBudget& budget_;
    std::function<void()> giveBack_;
    std::list<MemoryShare*> own_; // this, unless it is spare
    std::list<MemoryShare*>::iterator here_ = own_.begin();
    size_t octets_ = 0;
    bool spare_ = false;
};

} // namespace erdma
