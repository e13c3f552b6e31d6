// SPDX-License-Identifier: GPL-2.0-or-later
#include "device.h"

#include <algorithm>
#include <utility>

#include "byteorder.h"
#include "fabric.h"

namespace erdma {

namespace {

// A unit is one work request or one 64 KiB segment.  The inline share is done inside the doorbell store, which is
// cheaper than waking the main loop; what is left lets the vCPU go on.
constexpr unsigned kInlineBudget = 32;
// How long a program that armed a CQ may take to poll what it was told of; see CompletionQueue::arm().  One entry is
// what a program takes that does one thing for each event, and it may rest before it arms again; of several it may
// well leave some.
constexpr uint64_t kReminderOneNs = 5'000'000'000;
constexpr uint64_t kReminderManyNs = 1'000'000;
constexpr unsigned kRunBudget = 256;
constexpr unsigned kTurn = 16; // of one QP before the next has its turn

constexpr uint64_t kErrorWindowNs = 1'000'000'000;
constexpr uint32_t kErrorsPerWindow = 20;

} // namespace

// Queue pairs activated while an entry point is on the stack are run when it ends; otherwise (another adapter of the
// process is at work) the host is asked for an entry.
class Device::Entry {
public:
    Entry(Device& device, unsigned budget) : device_(device), budget_(budget) { device_.inEntry_ = true; }
    ~Entry() {
        device_.settle(budget_);
        device_.inEntry_ = false;
    }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

private:
    Device& device_;
    unsigned budget_;
};

Device::Device(const erdma_config& config, Host& host, Fabric& fabric)
    : config_(config), host_(host), fabric_(fabric),
      regions_(host, 2048u * config.qblock, config.max_mr_size_log, config.multilevel_mtt) {}

Device::~Device() { stop(); }

// ---- entry points ----

uint64_t Device::mmioRead(uint64_t offset, unsigned size) {
    if (size != 1 && size != 2 && size != 4 && size != 8)
        return 0;
    const uint64_t mask = size == 8 ? UINT64_MAX : (uint64_t{1} << (8 * size)) - 1;
    if (faults_.dead())
        return mask;
    if (offset % size != 0 || offset >= kSqDoorbells)
        return 0;
    const uint64_t base = offset & ~uint64_t{7};
    const uint64_t both = readWord(base) | uint64_t{readWord(base + 4)} << 32;
    return both >> (8 * (offset - base)) & mask;
}

void Device::mmioWrite(uint64_t offset, uint64_t value, unsigned size) {
    if (faults_.dead() || inEntry_)
        return;
    const Entry entry(*this, kInlineBudget);
    if (offset < kSqDoorbells)
        writeRegister(offset, value, size);
    else if (offset < ERDMA_BAR0_SIZE && running_)
        doorbells_.store(*this, offset, value, size);
    else
        badDoorbell("doorbell before INIT or behind BAR0");
}

void Device::reset(bool fromRegister) {
    stop();
    regs_ = {};
    lowHalfOffset_ = 0;
    resetDone_ = fromRegister;
    ++counters_[Counter::Resets];
}

void Device::run() {
    if (inEntry_)
        return;
    const Entry entry(*this, kRunBudget);
    if (running_)
        processCommands();
}

void Device::timer() {
    if (inEntry_)
        return;
    const Entry entry(*this, kInlineBudget);
    armedAt_ = ERDMA_TIMER_OFF; // it has fired
    const uint64_t now = host_.nowNs();
    std::vector<uint32_t> due;
    while (!timers_.empty() && timers_.begin()->first <= now) {
        due.push_back(timers_.begin()->second);
        timers_.erase(timers_.begin());
    }
    for (const uint32_t qpn : due) {
        if (const auto at = qps_.find(qpn); at != qps_.end())
            at->second.wakeAt = ERDMA_TIMER_OFF;
    }
    for (const uint32_t qpn : due) {
        if (QueuePair* qp = findQp(qpn))
            qp->onTimer(now);
    }
    remindCqs(now);
    answerLate(now);
    if (nic_ && nic_->deadline() <= now)
        nic_->onTimer(now);
}

bool Device::frame(erdma_side side, ConstBytes frame, const erdma_offload& offload) {
    if (!nic_)
        return false;
    if (inEntry_) // the host sends it again from outside, or the network lost it
        return true;
    const Entry entry(*this, kInlineBudget);
    return nic_->frame(side, frame, offload);
}

void Device::framesEnd() {
    if (!nic_ || inEntry_)
        return;
    const Entry entry(*this, kInlineBudget);
    nic_->endOfFrames();
}

bool Device::setFaults(FaultPlan plan) {
    if (!std::ranges::all_of(plan.injections(), [this](const auto& injection) { return canInject(injection); }))
        return false;
    faults_ = std::move(plan);
    if (faults_.injections().empty())
        return true;
    const Entry entry(*this, kInlineBudget);
    for (const FaultPlan::Injection& injection : faults_.injections())
        inject(injection);
    return true;
}

bool Device::canInject(const FaultPlan::Injection& injection) {
    using Queue = FaultPlan::Injection::Queue;
    if (!running_ || inEntry_)
        return false;
    if (injection.queue == Queue::Completion)
        return findCq(injection.number) != nullptr;
    return injection.queue != Queue::Event || (injection.number < eqs_.size() && eqs_[injection.number].isOpen());
}

// Nothing is checked: a device that misbehaves writes what it likes.
void Device::inject(const FaultPlan::Injection& injection) {
    using Queue = FaultPlan::Injection::Queue;
    const auto& w = injection.words;
    for (uint64_t i = 0; i < injection.count; ++i) {
        if (injection.queue == Queue::Async || injection.queue == Queue::Event) {
            EventQueue& eq = injection.queue == Queue::Async ? aeq_ : eqs_[injection.number];
            eq.post(host_, counters_, {w[0], w[1], w[2], w[3]});
        } else if (injection.queue == Queue::Completion) {
            CompletionQueue& cq = *findCq(injection.number);
            cq.postRaw(host_, w[0], {w[1], w[2], w[3], w[4], w[5], w[6], w[7]}, true, [&] { fireCqEvent(cq); });
        } else {
            cmdCq_->postRaw(host_, w[0], {w[1], w[2], w[3], w[4], w[5], w[6], w[7]}, true, [&] { fireCommandEvent(); });
        }
    }
}

// ---- life ----

void Device::stop() {
    running_ = false; // from here on nothing completes, fires or activates
    if (nic_)
        nic_->reset();
    commands_ = {};
    cmdCq_.reset();
    late_.clear();
    aeq_.close();
    for (EventQueue& eq : eqs_)
        eq.close();
    runnable_.clear();
    brokenCqs_.clear();
    lastMissingCq_ = UINT32_MAX;
    doorbells_.clear();
    while (!qps_.empty()) {
        // Out of the map first: the destructor may look queue pairs up.
        const auto node = qps_.extract(qps_.begin());
    }
    cqs_.clear();
    regions_.clear();
    ringPages_ = 0;
    timers_.clear();
    reminders_.clear();
    updateTimer();
    mtu_ = 1500;
    if (nic_)
        nic_->setMtu(static_cast<uint16_t>(mtu_));
    retransmitLimit_ = 24;
    delayedAck_ = 0;
    for (const Counter gauge : {Counter::QpsNow, Counter::CqsNow, Counter::EqsNow, Counter::MrsNow})
        counters_[gauge] = 0;
}

// ---- run queue and timers ----

void Device::activate(QueuePair& qp) {
    const auto at = qps_.find(qp.qpn());
    if (!running_ || at == qps_.end() || at->second.queued)
        return;
    at->second.queued = true;
    runnable_.push_back(qp.qpn());
    if (!inEntry_)
        host_.schedule();
}

void Device::runQueue(unsigned budget) {
    while (budget > 0 && !runnable_.empty()) {
        const uint32_t qpn = runnable_.front();
        runnable_.pop_front();
        const auto at = qps_.find(qpn);
        if (at == qps_.end())
            continue;
        at->second.queued = false;
        const unsigned turn = std::min(budget, kTurn);
        QueuePair& qp = *at->second.pair;
        const bool more = qp.run(turn);
        budget -= more ? turn : 1;
        if (more)
            activate(qp);
    }
}

void Device::settle(unsigned budget) {
    stopQpsOfBrokenCqs();
    if (nic_)
        nic_->runPending();
    runQueue(budget);
    stopQpsOfBrokenCqs();
    if (nic_)
        nic_->runPending();
    updateTimer();
    if (!runnable_.empty() || commands_.pending() || !brokenCqs_.empty())
        host_.schedule();
}

void Device::wakeAt(uint64_t deadlineNs, uint32_t qpn) {
    const auto at = qps_.find(qpn);
    if (!running_ || at == qps_.end() || at->second.wakeAt <= deadlineNs)
        return;
    const auto [first, last] = timers_.equal_range(at->second.wakeAt);
    const auto old = std::find_if(first, last, [qpn](const auto& t) { return t.second == qpn; });
    if (old != last)
        timers_.erase(old);
    at->second.wakeAt = deadlineNs;
    timers_.emplace(deadlineNs, qpn);
    if (!inEntry_)
        updateTimer();
}

void Device::updateTimer() {
    uint64_t next = std::min(timers_.empty() ? ERDMA_TIMER_OFF : timers_.begin()->first,
                             reminders_.empty() ? ERDMA_TIMER_OFF : reminders_.begin()->first);
    if (!late_.empty())
        next = std::min(next, late_.begin()->first);
    if (nic_)
        next = std::min(next, nic_->deadline());
    if (next == armedAt_)
        return;
    armedAt_ = next;
    host_.armTimer(next);
}

// ---- completions and events ----

CompletionQueue* Device::findCq(uint32_t cqn) {
    const auto at = cqs_.find(cqn);
    return at == cqs_.end() ? nullptr : at->second.queue.get();
}

QueuePair* Device::findQp(uint32_t qpn) {
    const auto at = qps_.find(qpn);
    return at == qps_.end() ? nullptr : at->second.pair.get();
}

void Device::complete(uint32_t cqn, const Completion& completion) {
    if (!running_)
        return;
    CompletionQueue* cq = findCq(cqn);
    if (!cq) {
        // One report for the usual case, a burst of flushes into a CQ that was destroyed too early.
        if (lastMissingCq_ != cqn) {
            lastMissingCq_ = cqn;
            guestError("completion for CQ " + std::to_string(cqn) + ", which does not exist");
            asyncEvent(AsyncEvent::Cq, cqn, 0);
        }
        return;
    }
    const bool wasBroken = cq->broken();
    if (!cq->post(host_, completion, [this, cq] { fireCqEvent(*cq); })) {
        if (!wasBroken) {
            ++counters_[Counter::DmaErrors];
            guestError("ring of CQ " + std::to_string(cqn) + " is unwritable");
            asyncEvent(AsyncEvent::Cq, cqn, 0);
            brokenCqs_.push_back(cqn);
            if (!inEntry_)
                host_.schedule();
        }
        return;
    }
    ++counters_[Counter::Completions];
    if (completion.syndrome == Syndrome::Flushed) {
        ++counters_[Counter::Flushes];
    } else if (completion.syndrome != Syndrome::Success) {
        ++counters_[Counter::CompletionErrors];
        host_.trace(ERDMA_TRACE_ERROR, completion.qpn, static_cast<uint64_t>(completion.syndrome), cqn,
                    "work completed in error");
    }
}

void Device::fireCqEvent(CompletionQueue& cq) {
    EventQueue& eq = eqs_[cq.eqn()];
    if (!eq.isOpen())
        return; // its EQ was destroyed first: no events any more (4.4)
    if (eq.postForCq(host_, counters_, cq.cqn(), cq.producer()))
        ++counters_[Counter::CqEvents];
    else
        ++counters_[Counter::LostEvents];
}

void Device::asyncEvent(AsyncEvent type, uint32_t number, uint32_t detail) {
    if (!running_)
        return;
    host_.trace(ERDMA_TRACE_ERROR, number, static_cast<uint64_t>(type), detail, "asynchronous event");
    if (aeq_.post(host_, counters_, {static_cast<uint32_t>(type) << 16, number, detail, 0}))
        ++counters_[Counter::AsyncEvents];
    else
        ++counters_[Counter::LostEvents];
}

// A QP whose completions cannot be written is of no use any more (wire.md 5.7).
void Device::stopQpsOfBrokenCqs() {
    if (brokenCqs_.empty())
        return;
    std::vector<uint32_t> broken;
    broken.swap(brokenCqs_);
    std::vector<uint32_t> victims;
    for (const auto& [qpn, slot] : qps_) {
        const QpConfig& qp = slot.pair->config();
        if (std::ranges::any_of(broken, [&](uint32_t cqn) { return cqn == qp.sendCqn || cqn == qp.recvCqn; }))
            victims.push_back(qpn);
    }
    for (const uint32_t qpn : victims) {
        QpModify change;
        change.qpn = qpn;
        change.state = QpState::Error;
        modifyQp(change);
    }
}

void Device::guestError(const std::string& text) {
    ++counters_[Counter::GuestErrors];
    const uint64_t now = host_.nowNs();
    if (errorsInWindow_ == 0 || now - errorWindowStart_ >= kErrorWindowNs) {
        errorWindowStart_ = now;
        errorsInWindow_ = 0;
    }
    if (errorsInWindow_ >= kErrorsPerWindow)
        return;
    ++errorsInWindow_;
    host_.guestError(text.c_str());
}

// ---- doorbells, decoded ----

void Device::badDoorbell(const char* what) {
    ++counters_[Counter::BadDoorbells];
    guestError(what);
}

// The host wrote the SQE to its ring before it stored the slot; if the two say different things, the ring counts.
bool Device::matchesRing(QueuePair& qp, uint16_t pi, const DirectWqe& direct) {
    const uint64_t depth = uint64_t{1} << qp.config().sqDepthLog;
    const uint64_t first = static_cast<uint16_t>(pi - direct.wqebbs) & (depth - 1);
    std::array<std::byte, 8> header;
    return qp.config().sq.read(host_, first * kWqebbBytes, header) && loadLe64(header, 0) == loadLe64(direct.bytes, 0);
}

void Device::sqDoorbell(uint32_t qpn, uint16_t pi, const DirectWqe* direct) {
    if (faults_.losesDoorbell(Doorbell::Send))
        return;
    doorbells_.abandon(*this, qpn);
    QueuePair* qp = findQp(qpn);
    if (!qp) {
        badDoorbell("SQ doorbell of an unknown queue pair");
        return;
    }
    ++counters_[Counter::SqDoorbells];
    if (direct) {
        const bool same = matchesRing(*qp, pi, *direct);
        ++counters_[same ? Counter::DirectWqes : Counter::DirectWqeFallbacks];
        if (!same)
            direct = nullptr;
    }
    qp->sqDoorbell(pi, direct);
}

void Device::rqDoorbell(uint32_t qpn, uint16_t pi) {
    if (faults_.losesDoorbell(Doorbell::Receive))
        return;
    QueuePair* qp = findQp(qpn);
    if (!qp) {
        badDoorbell("RQ doorbell of an unknown queue pair");
        return;
    }
    ++counters_[Counter::RqDoorbells];
    qp->rqDoorbell(pi);
}

void Device::cqDoorbell(uint64_t value) {
    if (faults_.losesDoorbell(Doorbell::Completion))
        return;
    CompletionQueue* cq = findCq(static_cast<uint32_t>(value >> 32) & 0xFFFFFF);
    if (!cq) {
        badDoorbell("CQ doorbell of an unknown completion queue");
        return;
    }
    ++counters_[Counter::CqDoorbells];
    const uint32_t unseen = cq->arm(value, [this, cq] { fireCqEvent(*cq); });
    if (unseen == 0)
        return;
    CqSlot& slot = cqs_.at(cq->cqn());
    slot.remindAt = host_.nowNs() + (unseen == 1 ? kReminderOneNs : kReminderManyNs);
    if (slot.scheduledAt <= slot.remindAt)
        return;
    reminders_.erase({slot.scheduledAt, cq->cqn()});
    slot.scheduledAt = slot.remindAt;
    reminders_.emplace(slot.scheduledAt, cq->cqn());
}

void Device::remindCqs(uint64_t now) {
    while (!reminders_.empty() && reminders_.begin()->first <= now) {
        const uint32_t cqn = reminders_.begin()->second;
        reminders_.erase(reminders_.begin());
        CqSlot& slot = cqs_.at(cqn);
        slot.scheduledAt = ERDMA_TIMER_OFF;
        if (!slot.queue->reminding())
            continue;
        if (slot.remindAt > now) { // armed anew since
            slot.scheduledAt = slot.remindAt;
            reminders_.emplace(slot.scheduledAt, cqn);
            continue;
        }
        slot.queue->remind([this, &slot] { fireCqEvent(*slot.queue); });
    }
}

void Device::written(uint32_t cqn) {
    if (CompletionQueue* cq = findCq(cqn); cq && running_)
        cq->wake([this, cq] { fireCqEvent(*cq); });
}

uint32_t Device::qpGroup(uint32_t qpn) const {
    const auto at = qps_.find(qpn);
    return at == qps_.end() ? 0 : at->second.group;
}

uint32_t Device::cqGroup(uint32_t cqn) const {
    const auto at = cqs_.find(cqn);
    return at == cqs_.end() ? 0 : at->second.group;
}

// ---- queue pairs ----

Status Device::createQp(const QpConfig& request) {
    if (request.qpn == 0 || request.qpn >= maxQps())
        return Status::Invalid;
    if (qps_.contains(request.qpn))
        return Status::Exists;
    QpSlot slot;
    slot.pair = std::make_unique<QueuePair>(*this, request);
    ringPages_ += request.sq.pageCount() + request.rq.pageCount();
    qps_.emplace(request.qpn, std::move(slot));
    counters_[Counter::QpsNow] = qps_.size();
    return Status::Ok;
}

Status Device::modifyQp(const QpModify& request) {
    QueuePair* qp = findQp(request.qpn);
    return qp ? qp->modify(request) : Status::NotFound;
}

Status Device::reflushQp(uint32_t qpn, uint16_t sqPi, uint16_t rqPi) {
    QueuePair* qp = findQp(qpn);
    return qp ? qp->reflush(sqPi, rqPi) : Status::NotFound;
}

Status Device::destroyQp(uint32_t qpn) {
    const auto at = qps_.find(qpn);
    if (at == qps_.end())
        return Status::NotFound;
    doorbells_.forget(qpn);
    const auto node = qps_.extract(at); // destroyed at the end: its destructor must not find it here
    const QpSlot& slot = node.mapped();
    if (slot.queued)
        std::erase(runnable_, qpn);
    if (slot.wakeAt != ERDMA_TIMER_OFF) {
        const auto [first, last] = timers_.equal_range(slot.wakeAt);
        const auto old = std::find_if(first, last, [qpn](const auto& t) { return t.second == qpn; });
        if (old != last)
            timers_.erase(old);
    }
    ringPages_ -= slot.pair->config().sq.pageCount() + slot.pair->config().rq.pageCount();
    counters_[Counter::QpsNow] = qps_.size();
    return Status::Ok;
}

} // namespace erdma
