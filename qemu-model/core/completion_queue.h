// SPDX-License-Identifier: GPL-2.0-or-later
// Completion queues: entries, arming, events (adapter.md 3.5, 4.5, 6.5, 7.4).
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "host.h"
#include "hw.h"
#include "page_table.h"

namespace erdma {

struct Completion {
    Op op;
    QueueType queue;
    Syndrome syndrome = Syndrome::Success;
    uint16_t index = 0; // free running: first WQEBB of the SQE, or the RQE
    uint32_t qpn = 0;
    uint32_t word12 = 0; // as a number: immediate (written LE) or invalidated STag (written BE), by op
    uint32_t bytes = 0;
    bool solicited = false;
    std::array<uint32_t, 3> tail{}; // as numbers, the last words of the entry (13.4)
};

class CompletionQueue {
public:
    // 2^depthLog entries of 32 bytes in `ring`.  Starts unarmed, PI = CI = 0.
    CompletionQueue(uint32_t cqn, RingView ring, uint32_t depthLog, uint32_t eqn)
        : cqn_(cqn), depthLog_(depthLog), eqn_(eqn), ring_(std::move(ring)) {}
    uint32_t cqn() const { return cqn_; }
    uint32_t eqn() const { return eqn_; }
    uint32_t depthLog() const { return depthLog_; }
    const RingView& ring() const { return ring_; }
    // Writes the entry (owner word last).  `fire` is called when the entry raises an event.  false: ring unwritable,
    // now or earlier.
    bool post(Host& host, const Completion& completion, const std::function<void()>& fire);
    // Header word without owner bit, and the 28 bytes behind it as the numbers that are stored big endian (3.5).
    bool postRaw(Host& host, uint32_t header, const std::array<uint32_t, 7>& words, bool wakes,
                 const std::function<void()>& fire);
    // Arm doorbell (6.5).  Not 0: so many entries are behind CI, and all were reported by an event that the host has
    // fetched since its last arm (CMDSN tells), so it is about to poll them, as programs do that arm first and poll
    // then.  An event now would wake them once more for nothing; remind() must be called a while later in case they
    // left some.
    [[nodiscard]] uint32_t arm(uint64_t doorbell, const std::function<void()>& fire);
    // Fires for what that arm left unreported, unless a newer entry or arm has settled it.
    void remind(const std::function<void()>& fire);
    bool reminding() const { return reminding_; }
    // Fires, if armed for any completion, without an entry.
    void wake(const std::function<void()>& fire);
    uint32_t producer() const { return static_cast<uint32_t>(producer_); }
    // Owner bit of the next entry.
    bool owner() const { return ((producer_ >> depthLog_) & 1) == 0; }
    bool broken() const { return broken_; }
    bool armed() const { return armed_ != Armed::None; }

    static constexpr uint32_t kEntryBytes = 32;

private:
    enum class Armed : uint8_t { None, Solicited, Any };
    void raise(const std::function<void()>& fire);

    uint32_t cqn_;
    uint32_t depthLog_;
    uint32_t eqn_;
    RingView ring_;
    uint64_t producer_ = 0;     // free running
    uint64_t solicitedEnd_ = 0; // producer just after the last solicited or error entry; 0: there was none
    uint64_t reported_ = 0;     // producer when the last event was raised
    uint8_t fetched_ = 0;       // CMDSN of the last arm: events that the host has seen, modulo 4
    Armed armed_ = Armed::None;
    bool reminding_ = false;
    bool broken_ = false;
};

} // namespace erdma
