// SPDX-License-Identifier: GPL-2.0-or-later
#include "device.h"

#include <algorithm>
#include <utility>

namespace erdma {

namespace {

// A unit is one work request or one 64 KiB segment.  The inline share is done inside the doorbell store, which is
// cheaper than waking the main loop; what is left lets the vCPU go on.  Neither goes beyond the entry's Budget.
constexpr unsigned kInlineBudget = 32;
constexpr unsigned kRunBudget = 256;

} // namespace

Device::Device(const erdma_config& config, Host& host, Fabric& fabric) : adapter_(config, host, fabric) {
    adapter_.scheduler.add(adapter_.cqs);
    adapter_.scheduler.add(commands_);
}

Device::~Device() {
    if (!entrance().running()) {
        Device::leave();
        return;
    }
    Device::stop();
    dismantleWholly();
}

void Device::attachNic(std::unique_ptr<PairedNic> nic) {
    adapter_.nic = std::move(nic);
    adapter_.scheduler.add(*adapter_.nic);
}

// ---- entry points ----

uint64_t Device::mmioRead(uint64_t offset, unsigned size) {
    if (size != 1 && size != 2 && size != 4 && size != 8)
        return 0;
    if (adapter_.faults.dead())
        return size == 8 ? UINT64_MAX : (uint64_t{1} << (8 * size)) - 1;
    if (offset % size != 0 || offset >= kSqDoorbells)
        return 0;
    return registers_.read(offset, size);
}

void Device::mmioWrite(uint64_t offset, uint64_t value, unsigned size) {
    if (adapter_.faults.dead() || entrance().running())
        return;
    const Entry entry(entrance(), *this, kInlineBudget);
    if (offset < kSqDoorbells)
        registers_.write(offset, value, size);
    else if (offset < ERDMA_BAR0_SIZE && adapter_.running)
        doorbells_.store(offset, value, size);
    else
        adapter_.badDoorbell("doorbell before INIT or behind BAR0");
}

void Device::reset() {
    if (entrance().running()) {
        adapter_.effects.afterRun([this] { reset(); });
        return;
    }
    const Entry entry(entrance(), *this, kInlineBudget);
    resetNow(false);
}

void Device::leave() {
    const Entry entry(entrance(), *this, kInlineBudget);
    resetNow(false);
    dismantleWholly();
}

void Device::resetNow(bool byRegister) {
    registers_.clear(byRegister);
    stop();
    ++adapter_.counters[Counter::Resets];
}

void Device::run() {
    if (entrance().running()) {
        adapter_.host.schedule();
        return;
    }
    const Entry entry(entrance(), *this, kRunBudget);
    if (adapter_.running)
        commands_.process();
}

void Device::timer() {
    if (entrance().running()) {
        adapter_.effects.afterRun([this] { timer(); });
        return;
    }
    const Entry entry(entrance(), *this, kInlineBudget);
    adapter_.scheduler.onTimer();
}

bool Device::frame(erdma_side side, ConstBytes frame, const erdma_offload& offload) {
    if (!adapter_.nic)
        return false;
    if (entrance().running()) // the network lost it
        return true;
    const Entry entry(entrance(), *this, kInlineBudget);
    return adapter_.nic->frame(side, frame, offload);
}

void Device::framesEnd() {
    if (!adapter_.nic || entrance().running())
        return;
    const Entry entry(entrance(), *this, kInlineBudget);
    adapter_.nic->endOfFrames();
}

// ---- faults ----

bool Device::setFaults(FaultPlan plan) {
    if (!std::ranges::all_of(plan.injections(), [this](const auto& injection) { return canInject(injection); }))
        return false;
    adapter_.faults = std::move(plan);
    if (adapter_.faults.injections().empty())
        return true;
    const Entry entry(entrance(), *this, kInlineBudget);
    for (const FaultPlan::Injection& injection : adapter_.faults.injections())
        inject(injection);
    return true;
}

// Null: for a CQ, or there is none of this number.
EventQueue* Device::eventQueue(const FaultPlan::Injection& injection) {
    if (injection.queue == FaultPlan::Injection::Queue::Async)
        return &adapter_.events.async();
    if (injection.queue != FaultPlan::Injection::Queue::Event || injection.number >= Events::kQueues)
        return nullptr;
    EventQueue& queue = adapter_.events.queue(injection.number);
    return queue.isOpen() ? &queue : nullptr;
}

bool Device::canInject(const FaultPlan::Injection& injection) {
    using Queue = FaultPlan::Injection::Queue;
    if (!adapter_.running || entrance().running())
        return false;
    if (injection.queue == Queue::Completion)
        return findCq(injection.number) != nullptr;
    return injection.queue != Queue::Event || eventQueue(injection) != nullptr;
}

// Nothing is checked: a device that misbehaves writes what it likes.
void Device::inject(const FaultPlan::Injection& injection) {
    const auto& w = injection.words;
    EventQueue* eq = eventQueue(injection);
    CompletionQueue& cq = injection.queue == FaultPlan::Injection::Queue::Completion ? *findCq(injection.number)
                                                                                     : commands_.completionQueue();
    for (uint64_t i = 0; i < injection.count; ++i) {
        if (eq)
            eq->post(adapter_.host, adapter_.counters, {w[0], w[1], w[2], w[3]});
        else
            adapter_.cqs.postRaw(cq, w[0], {w[1], w[2], w[3], w[4], w[5], w[6], w[7]});
    }
}

// ---- life ----

void Device::stop() {
    adapter_.running = false; // from here on nothing completes, fires or activates
    adapter_.scheduler.stop();
    if (adapter_.observer)
        adapter_.observer->stopped();
    commands_.close();
    adapter_.events.close();
    doorbells_.clear();
    adapter_.effects.dropInterrupts();
    dismantling_ = true;
    dismantle();
    adapter_.scheduler.armTimer();
    for (const Counter gauge : {Counter::QpsNow, Counter::CqsNow, Counter::EqsNow, Counter::MrsNow})
        adapter_.counters[gauge] = 0;
}

// Takes apart what a reset left, as much of it as the budget allows.  It does nothing any more, but may be very much.
void Device::dismantle() {
    constexpr size_t kAtOnce = 64;
    if (adapter_.nic && !adapter_.nic->reset())
        return;
    qps_.clear();
    adapter_.cqs.clear();
    for (; adapter_.regions.count() != 0 && !adapter_.budget.spent(); adapter_.budget.charge(kAtOnce))
        adapter_.regions.clear(kAtOnce);
    if (!qps_.empty() || !adapter_.cqs.empty() || adapter_.regions.count() != 0)
        return;
    adapter_.rings.clear();
    dismantling_ = false;
    registers_.dismantled();
}

void Device::dismantleWholly() {
    for (; dismantling_; dismantle())
        adapter_.budget.refill();
}

void Device::stopBroken() {
    if (!adapter_.cqs.anyBroken() && !qps_.anyToStop())
        return;
    qps_.stopThoseOf(adapter_.cqs.takeBroken());
    qps_.stopSome();
}

void Device::finish(unsigned budget) {
    PairedNic* nic = adapter_.nic.get();
    if (dismantling_)
        dismantle();
    stopBroken();
    if (nic)
        nic->runPending();
    adapter_.scheduler.run(budget);
    stopBroken();
    if (nic && nic->anyPending())
        nic->runPending();
    adapter_.scheduler.armTimer();
    adapter_.effects.wantTurn(dismantling_ || adapter_.scheduler.anyRunnable() || commands_.pending() ||
                              adapter_.cqs.anyBroken() || qps_.anyToStop() || (nic && nic->anyPending()));
}

} // namespace erdma
