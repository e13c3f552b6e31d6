// SPDX-License-Identifier: GPL-2.0-or-later
#include "scheduler.h"

#include <algorithm>

#include "queue_pair.h"

namespace erdma {

namespace {

constexpr unsigned kTurn = 16; // units of one queue pair before the next has its turn

} // namespace

void Scheduler::activate(QueuePair& qp) {
    if (!common_.running || qp.turn().queued)
        return;
    qp.turn().queued = true;
    runnable_.push_back(&qp);
    common_.host.schedule();
}

void Scheduler::run(unsigned budget) {
    while (budget > 0 && !runnable_.empty() && !common_.budget.spent()) {
        QueuePair& qp = *runnable_.front();
        runnable_.pop_front();
        qp.turn().queued = false;
        const unsigned turn = std::min(budget, kTurn);
        const bool more = qp.run(turn);
        budget -= more ? turn : 1;
        if (more)
            activate(qp);
    }
}

void Scheduler::dropTimer(QueuePair& qp) {
    const auto [first, last] = timers_.equal_range(qp.turn().wakeAt);
    const auto old = std::find_if(first, last, [&qp](const auto& t) { return t.second == &qp; });
    if (old != last)
        timers_.erase(old);
    qp.turn().wakeAt = ERDMA_TIMER_OFF;
}

void Scheduler::wakeAt(uint64_t deadlineNs, QueuePair& qp) {
    if (!common_.running || qp.turn().wakeAt <= deadlineNs)
        return;
    dropTimer(qp);
    qp.turn().wakeAt = deadlineNs;
    timers_.emplace(deadlineNs, &qp);
    armTimer();
}

void Scheduler::forget(QueuePair& qp) {
    if (qp.turn().queued)
        std::erase(runnable_, &qp);
    if (qp.turn().wakeAt != ERDMA_TIMER_OFF)
        dropTimer(qp);
}

void Scheduler::onTimer() {
    armedAt_ = ERDMA_TIMER_OFF;
    const uint64_t now = common_.host.nowNs();
    // None is destroyed from inside onTimer(): that takes a command.
    std::vector<QueuePair*> due;
    while (common_.running && !timers_.empty() && timers_.begin()->first <= now && !common_.budget.spent()) {
        common_.budget.charge(16);
        due.push_back(timers_.begin()->second);
        timers_.erase(timers_.begin());
        due.back()->turn().wakeAt = ERDMA_TIMER_OFF;
    }
    for (QueuePair* qp : due)
        qp->onTimer(now);
    for (Timed* timed : timed_) {
        if (timed->deadline() <= now)
            timed->onTimer(now);
    }
}

void Scheduler::armTimer() {
    uint64_t next = timers_.empty() || !common_.running ? ERDMA_TIMER_OFF : timers_.begin()->first;
    for (const Timed* timed : timed_)
        next = std::min(next, timed->deadline());
    if (next == armedAt_)
        return;
    armedAt_ = next;
    common_.host.armTimer(next);
}

} // namespace erdma
