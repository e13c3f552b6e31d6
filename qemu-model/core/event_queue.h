// SPDX-License-Identifier: GPL-2.0-or-later
// Event queues: arming, owner bit, hold-back when full (adapter.md chapter 5).
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <unordered_set>

#include "counters.h"
#include "fault.h"
#include "host.h"
#include "hw.h"

namespace erdma {

class EventQueue {
public:
    using Words = std::array<uint32_t, 4>;

    // Depth in entries of 16 bytes, a power of two up to 32768.  Starts armed with PI = CI = 0 (5.3).
    // `faults` may swallow its interrupts.
    void open(uint64_t ring, uint32_t depth, uint32_t vector, uint32_t number, uint64_t record = 0,
              FaultPlan* faults = nullptr);
    void close() { *this = EventQueue{}; }
    bool isOpen() const { return depth_ != 0; }
    uint32_t depth() const { return depth_; }
    uint32_t vector() const { return vector_; }
    // Appends one entry (owner bit added here); held back while the ring is full, delivered when CI advances.
    // The hold-back list has at most kMaxHeld entries.
    // false: the ring is unwritable or the hold-back list is full; the event is lost and counted by the caller.
    bool post(Host& host, Counters& counters, const Words& words);
    // As post(), for the event of a CQ: while one for this CQ is held back already, that one speaks for both.
    bool postForCq(Host& host, Counters& counters, uint32_t cqn, uint32_t cqProducer);
    // After DESTROY_CQ nothing may be said about the CQ any more.
    void dropCq(uint32_t cqn);
    // 5.2 and 5.3.  CI counts modulo 2^16.  false: CI is ahead of PI or more than the depth behind; ignored.
    bool doorbell(Host& host, Counters& counters, uint64_t value);
    uint32_t producer() const { return producer_; }
    uint32_t consumer() const { return consumer_; }
    bool armed() const { return armed_; }
    size_t held() const { return held_.size(); }
    uint64_t ring() const { return ring_; }
    uint64_t record() const { return record_; }

    static constexpr uint32_t kMaxDepthLog = 15; // CI has 16 bits; a full ring must differ from an empty one
    static constexpr uint32_t kEntryBytes = 16;
    static constexpr size_t kMaxHeld = 65536;
    static constexpr size_t kMostAtOnce = 4096; // of what was held, for one doorbell

private:
    struct Held {
        Words words;
        bool ofCq;
    };
    bool emit(Host& host, Counters& counters, Words words);
    bool enqueue(Host& host, Counters& counters, const Words& words, bool ofCq);
    void interrupt(Host& host, Counters& counters);
    uint32_t used() const { return (producer_ - consumer_) & 0xFFFF; }

    uint64_t ring_ = 0;
    uint64_t record_ = 0;
    FaultPlan* faults_ = nullptr;
    uint32_t depth_ = 0;
    uint32_t vector_ = 0;
    uint32_t number_ = 0;
    uint32_t producer_ = 0; // free running
    uint32_t consumer_ = 0; // modulo 2^16
    bool armed_ = false;
    std::deque<Held> held_;
    std::unordered_set<uint32_t> heldCqs_; // CQNs with an entry in held_
};

} // namespace erdma
