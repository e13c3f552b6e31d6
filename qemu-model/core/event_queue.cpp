// SPDX-License-Identifier: GPL-2.0-or-later
#include "event_queue.h"

#include "byteorder.h"

namespace erdma {

namespace {
constexpr uint32_t kOwner = 1u << 31;
constexpr uint32_t kArm = 1u << 31;
constexpr uint32_t kCqnMask = 0xFFFFF;
constexpr uint32_t kCqProducerMask = 0xFFFFFF;
} // namespace

void EventQueue::open(uint64_t ring, uint32_t depth, uint32_t vector, uint32_t number, uint64_t record,
                      FaultPlan* faults) {
    close();
    faults_ = faults;
    ring_ = ring;
    record_ = record;
    depth_ = depth;
    vector_ = vector;
    number_ = number;
    armed_ = true; // the host rings only from inside its handler, so the first event must interrupt
}

void EventQueue::interrupt(Host& host, Counters& counters) {
    armed_ = false;
    if (faults_ && faults_->losesInterrupt(vector_))
        return;
    ++counters[Counter::Interrupts];
    host.raise(vector_);
}

bool EventQueue::emit(Host& host, Counters& counters, Words words) {
    const bool firstPass = (producer_ & depth_) == 0;
    words[0] = (words[0] & ~kOwner) | (firstPass ? kOwner : 0);
    std::array<std::byte, kEntryBytes> raw;
    for (size_t i = 0; i < words.size(); ++i)
        storeLe32(raw, i * 4, words[i]);

    const auto at = behind(ring_, uint64_t{producer_ & (depth_ - 1)} * kEntryBytes, kEntryBytes);
    const ConstBytes bytes(raw);
    // The owner word makes the entry valid, so it goes last.
    bool written = at && host.write(*at + 4, bytes.subspan(4));
    if (written) {
        host.barrier();
        written = host.write(*at, bytes.first(4));
    }
    if (!written) {
        ++counters[Counter::DmaErrors];
        return false;
    }
    ++producer_;
    host.trace(ERDMA_TRACE_EVENT, vector_, number_, producer_, nullptr);
    return true;
}

bool EventQueue::enqueue(Host& host, Counters& counters, const Words& words, bool ofCq) {
    if (!isOpen())
        return false;
    if (used() == depth_ || !held_.empty()) {
        if (held_.size() >= kMaxHeld)
            return false;
        held_.push_back({words, ofCq});
        return true;
    }
    if (!emit(host, counters, words))
        return false;
    if (armed_)
        interrupt(host, counters);
    return true;
}

bool EventQueue::post(Host& host, Counters& counters, const Words& words) {
    return enqueue(host, counters, words, false);
}

bool EventQueue::postForCq(Host& host, Counters& counters, uint32_t cqn, uint32_t cqProducer) {
    cqn &= kCqnMask;
    if (heldCqs_.contains(cqn))
        return true;
    const size_t before = held_.size();
    if (!enqueue(host, counters, {cqn, cqProducer & kCqProducerMask, 0, 0}, true))
        return false;
    if (held_.size() > before)
        heldCqs_.insert(cqn);
    return true;
}

void EventQueue::dropCq(uint32_t cqn) {
    cqn &= kCqnMask;
    if (heldCqs_.erase(cqn) != 0)
        std::erase_if(held_, [cqn](const Held& h) { return h.ofCq && h.words[0] == cqn; });
}

bool EventQueue::doorbell(Host& host, Counters& counters, uint64_t value) {
    const auto ci = static_cast<uint32_t>(value & 0xFFFF);
    if (!isOpen() || ((producer_ - ci) & 0xFFFF) > depth_)
        return false;
    consumer_ = ci;
    // With what is left the host rings again: there is something in its queue.
    for (size_t left = kMostAtOnce; left != 0 && !held_.empty() && used() < depth_; --left) {
        const Held next = held_.front();
        held_.pop_front();
        if (next.ofCq)
            heldCqs_.erase(next.words[0]);
        if (!emit(host, counters, next.words))
            ++counters[Counter::LostEvents];
    }
    if ((value & kArm) == 0)
        return true;
    if (used() == 0)
        armed_ = true;
    else
        interrupt(host, counters);
    return true;
}

} // namespace erdma
