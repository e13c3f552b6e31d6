// SPDX-License-Identifier: GPL-2.0-or-later
#include "completion_queues.h"

#include <string>

namespace erdma {

namespace {

// How long a program that armed a CQ may take to poll what it was told of; see CompletionQueue::arm().  One entry is
// what a program takes that does one thing for each event, and it may rest before it arms again; of several it may
// well leave some.
constexpr uint64_t kReminderOneNs = 5'000'000'000;
constexpr uint64_t kReminderManyNs = 1'000'000;

} // namespace

const CompletionQueues::Slot* CompletionQueues::slot(uint32_t cqn) const {
    const auto at = slots_.find(cqn);
    return at == slots_.end() ? nullptr : &at->second;
}

CompletionQueue* CompletionQueues::find(uint32_t cqn) const {
    const Slot* found = slot(cqn);
    return found ? found->queue.get() : nullptr;
}

void CompletionQueues::add(Slot slot) {
    const uint32_t cqn = slot.queue->cqn();
    slots_.emplace(cqn, std::move(slot));
    if (lastMissing_ == cqn)
        lastMissing_ = UINT32_MAX;
    common_.counters[Counter::CqsNow] = slots_.size();
}

void CompletionQueues::remove(uint32_t cqn) {
    const auto at = slots_.find(cqn);
    if (common_.observer)
        common_.observer->completionQueueGone(cqn);
    events_.queue(at->second.queue->eqn()).dropCq(cqn);
    reminders_.erase({at->second.scheduledAt, cqn});
    slots_.erase(at);
    common_.counters[Counter::CqsNow] = slots_.size();
}

void CompletionQueues::clear() {
    broken_.clear();
    lastMissing_ = UINT32_MAX;
    for (; !slots_.empty() && !common_.budget.spent(); slots_.erase(slots_.begin())) {
        common_.budget.charge(4);
        reminders_.erase({slots_.begin()->second.scheduledAt, slots_.begin()->first});
    }
}

void CompletionQueues::complete(uint32_t cqn, const Completion& completion) {
    if (!common_.running || (common_.observer && common_.observer->holdsCompletion(cqn, completion)))
        return;
    common_.budget.charge(4);
    CompletionQueue* cq = find(cqn);
    if (!cq) {
        // One report for the usual case, a burst of flushes into a CQ that was destroyed too early.
        if (lastMissing_ != cqn) {
            lastMissing_ = cqn;
            common_.guestError("completion for CQ " + std::to_string(cqn) + ", which does not exist");
            events_.raise(AsyncEvent::Cq, cqn, 0);
        }
        return;
    }
    const bool wasBroken = cq->broken();
    if (!cq->post(common_.machine, completion, [this, cq] { events_.raise(*cq); })) {
        if (!wasBroken) {
            ++common_.counters[Counter::DmaErrors];
            common_.guestError("ring of CQ " + std::to_string(cqn) + " is unwritable");
            events_.raise(AsyncEvent::Cq, cqn, 0);
            broken_.push_back(cqn);
            common_.host.schedule();
        }
        return;
    }
    ++common_.counters[Counter::Completions];
    if (completion.syndrome == Syndrome::Flushed) {
        ++common_.counters[Counter::Flushes];
    } else if (completion.syndrome != Syndrome::Success) {
        ++common_.counters[Counter::CompletionErrors];
        common_.host.trace(ERDMA_TRACE_ERROR, completion.qpn, static_cast<uint64_t>(completion.syndrome), cqn,
                           "work completed in error");
    }
}

void CompletionQueues::written(uint32_t cqn) {
    if (CompletionQueue* cq = find(cqn); cq && common_.running)
        cq->wake([this, cq] { events_.raise(*cq); });
}

void CompletionQueues::postRaw(CompletionQueue& cq, uint32_t header, const std::array<uint32_t, 7>& words) {
    cq.postRaw(common_.host, header, words, true, [this, &cq] { events_.raise(cq); });
}

void CompletionQueues::doorbell(uint64_t value, uint32_t group) {
    if (common_.faults.losesDoorbell(Doorbell::Completion))
        return;
    const auto at = slots_.find(static_cast<uint32_t>(value >> 32) & 0xFFFFFF);
    if (at == slots_.end()) {
        common_.badDoorbell("CQ doorbell of an unknown completion queue");
        return;
    }
    if (at->second.group != group) {
        common_.badDoorbell("CQ doorbell of a completion queue that does not belong to the page");
        return;
    }
    ++common_.counters[Counter::CqDoorbells];
    Slot& slot = at->second;
    CompletionQueue* cq = slot.queue.get();
    if (common_.observer)
        common_.observer->armed(cq->cqn(), static_cast<uint32_t>(cq->producer() - value) & 0xFFFFFF);
    const uint32_t unseen = cq->arm(value, [this, cq] { events_.raise(*cq); });
    if (unseen == 0)
        return;
    slot.remindAt = common_.host.nowNs() + (unseen == 1 ? kReminderOneNs : kReminderManyNs);
    if (slot.scheduledAt <= slot.remindAt)
        return;
    reminders_.erase({slot.scheduledAt, cq->cqn()});
    slot.scheduledAt = slot.remindAt;
    reminders_.emplace(slot.scheduledAt, cq->cqn());
}

void CompletionQueues::onTimer(uint64_t nowNs) {
    while (!reminders_.empty() && reminders_.begin()->first <= nowNs && !common_.budget.spent()) {
        common_.budget.charge(2);
        const uint32_t cqn = reminders_.begin()->second;
        reminders_.erase(reminders_.begin());
        Slot& slot = slots_.at(cqn);
        slot.scheduledAt = ERDMA_TIMER_OFF;
        if (!slot.queue->reminding())
            continue;
        if (slot.remindAt > nowNs) { // armed anew since
            slot.scheduledAt = slot.remindAt;
            reminders_.emplace(slot.scheduledAt, cqn);
            continue;
        }
        slot.queue->remind([this, &slot] { events_.raise(*slot.queue); });
    }
}

} // namespace erdma
