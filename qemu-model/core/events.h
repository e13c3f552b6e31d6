// SPDX-License-Identifier: GPL-2.0-or-later
// The event queues of an adapter and what goes into them (adapter.md chapter 5).
#pragma once

#include <array>

#include "common.h"
#include "completion_queue.h"
#include "event_queue.h"

namespace erdma {

class Events {
public:
    explicit Events(Common& common) : common_(common) {}

    static constexpr uint32_t kQueues = ERDMA_MAX_VECTORS; // 0: command EQ, 1..31: CEQs
    EventQueue& queue(uint32_t eqn) { return queues_[eqn]; }
    EventQueue& async() { return async_; }
    void close();

    void doorbell(EventQueue& queue, uint64_t value);
    void raise(AsyncEvent type, uint32_t number, uint32_t detail);
    // A CQ's event, into the EQ that it belongs to; none when that was destroyed first (4.4).
    void raise(const CompletionQueue& cq);

private:
    Common& common_;
    EventQueue async_;
    std::array<EventQueue, kQueues> queues_;
};

} // namespace erdma
