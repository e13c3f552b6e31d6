// SPDX-License-Identifier: GPL-2.0-or-later
// All completion queues of an adapter: completing, arming, and reminders of what a program may have overlooked.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "completion_queue.h"
#include "events.h"
#include "scheduler.h"

namespace erdma {

class CompletionQueues final : public Timed {
public:
    CompletionQueues(Common& common, Events& events) : common_(common), events_(events) {}

    struct Slot {
        std::unique_ptr<CompletionQueue> queue;
        uint64_t record = 0;
        uint32_t group = 0;                     // doorbell pages (4.21), 0: those of everybody
        uint64_t remindAt = 0;                  // of the last arm that asked for it
        uint64_t scheduledAt = ERDMA_TIMER_OFF; // in reminders_; not later than remindAt
    };
    const Slot* slot(uint32_t cqn) const;
    CompletionQueue* find(uint32_t cqn) const;
    // Of a number that is free.
    void add(Slot slot);
    // Of one that exists.
    void remove(uint32_t cqn);
    // All, unless the budget is spent before.
    void clear();
    bool empty() const { return slots_.empty(); }

    // CQE for a work completion; unknown CQN or unwritable ring: counted, AEQE type 3.  Also updates counters.
    void complete(uint32_t cqn, const Completion& completion);
    // A Write of the peer is complete.  It leaves no entry, but a program that sleeps on the CQ may wait for nothing
    // else: perftest's senders on iWARP devices wait in ibv_get_cq_event() for credits that the peer writes.
    void written(uint32_t cqn);
    // On a page of this group (Slot).
    void doorbell(uint64_t value, uint32_t group);
    void postRaw(CompletionQueue& cq, uint32_t header, const std::array<uint32_t, 7>& words);

    // Whose ring could not be written since the last call; their queue pairs are of no use any more.
    std::vector<uint32_t> takeBroken() { return std::exchange(broken_, {}); }
    bool anyBroken() const { return !broken_.empty(); }

    uint64_t deadline() const override {
        return reminders_.empty() || !common_.running ? ERDMA_TIMER_OFF : reminders_.begin()->first;
    }
    void onTimer(uint64_t nowNs) override;

private:
    Common& common_;
    Events& events_;
    std::unordered_map<uint32_t, Slot> slots_;
    std::vector<uint32_t> broken_;
    uint32_t lastMissing_ = UINT32_MAX;
    std::set<std::pair<uint64_t, uint32_t>> reminders_; // deadline, CQN; at most one per CQ
};

} // namespace erdma
