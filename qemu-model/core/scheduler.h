// SPDX-License-Identifier: GPL-2.0-or-later
// Whose turn it is, and when: the run queue of queue pairs, their timers, and the one timer of the host.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "common.h"

namespace erdma {

class QueuePair;

// A part of the adapter that waits for times of its own.
class Timed {
public:
    virtual ~Timed() = default;
    // When onTimer() is due; ERDMA_TIMER_OFF: not.
    virtual uint64_t deadline() const = 0;
    virtual void onTimer(uint64_t nowNs) = 0;
};

class Scheduler {
public:
    explicit Scheduler(Common& common) : common_(common) {}

    // The scheduler's notes on a queue pair, which keeps them.
    struct Turn {
        bool queued = false; // on the run queue
        uint64_t wakeAt = ERDMA_TIMER_OFF;
    };

    // Puts the queue pair on the run queue (idempotent) and makes sure that it runs: an entry of this adapter sees to it
    // when it ends; otherwise (another adapter of the process is at work) the host is asked for an entry.
    void activate(QueuePair& qp);
    // Wake-up of the device no later than the given time; QueuePair::onTimer() of all that asked is then called.
    // One deadline for each: the earliest asked for since its last onTimer(), which asks again for later ones.
    void wakeAt(uint64_t deadlineNs, QueuePair& qp);
    void forget(QueuePair& qp);
    // Nobody has a turn any more, nor is woken while the adapter does not run; each is still to be forgotten.
    void stop() { runnable_.clear(); }

    // Called in the order in which they were added, behind the queue pairs.
    void add(Timed& timed) { timed_.push_back(&timed); }

    bool anyRunnable() const { return !runnable_.empty(); }
    // A unit is one work request or one segment.
    void run(unsigned budget);
    // The host's timer has fired.  What is due and does not fit into the budget stays due.
    void onTimer();
    void armTimer();

private:
    void dropTimer(QueuePair& qp);

    Common& common_;
    std::deque<QueuePair*> runnable_;            // each at most once
    std::multimap<uint64_t, QueuePair*> timers_; // deadline; at most one for each
    std::vector<Timed*> timed_;
    uint64_t armedAt_ = ERDMA_TIMER_OFF;
};

} // namespace erdma
