// SPDX-License-Identifier: GPL-2.0-or-later
// What check mode holds back and for how long, completions, endings, and the report.
#include "checker.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "queue_pair.h"

namespace erdma::check {

namespace {

// Streams of drawDelay(); the numbers of queue pairs are below.
constexpr uint64_t kSegmentStream = uint64_t{1} << 32;
constexpr uint64_t kCompletionStream = uint64_t{2} << 32;
// One segment in so many is held: others wait behind it, and each wait is as long as the delay.
constexpr uint64_t kHeldSegments = 8;
// A stream goes on for so many times as long as it was held.
constexpr uint64_t kFlowing = 3;

} // namespace

Checker::Checker(Adapter& adapter) : adapter_(adapter), buffers_(adapter) {}

void Checker::start(const Settings& settings) {
    settings_ = settings;
    findings_.clear();
    advisor_.clear();
    unchecked_ = 0;
    if (!std::exchange(timed_, true))
        adapter_.scheduler.add(*this);
    if (!std::exchange(on_, true)) {
        regions_.clear();
        adapter_.observe(this);
    }
}

void Checker::stop() {
    on_ = false;
    wakes_.clear();
    for (auto& [qpn, queue] : queues_) {
        forget(queue);
        wakeAt(0, {false, qpn});
    }
    for (const auto& [cqn, channel] : channels_)
        wakeAt(0, {true, cqn});
    wakeAt(0, {true, 0}); // onTimer() leaves when nothing is held
}

// ---- delays ----

uint64_t Checker::deadline() const {
    return wakes_.empty() || !adapter_.running ? ERDMA_TIMER_OFF : wakes_.begin()->first;
}

void Checker::wakeAt(uint64_t ns, Wake wake) {
    const auto at = wakes_.emplace(ns, wake);
    if (at == wakes_.begin()) // another adapter's entry may be what runs: this one has to set its timer
        adapter_.host.schedule();
}

void Checker::onTimer(uint64_t nowNs) {
    while (!wakes_.empty() && wakes_.begin()->first <= nowNs && !adapter_.budget.spent()) {
        const Wake wake = wakes_.extract(wakes_.begin()).mapped();
        adapter_.budget.charge(1);
        if (wake.completions)
            release(wake.number, nowNs);
        else if (Queue* queue = find(wake.number))
            adapter_.scheduler.activate(*queue->qp);
    }
    if (!on_ && wakes_.empty()) {
        adapter_.observe(nullptr);
        queues_.clear();
        channels_.clear();
    }
}

bool Checker::holdsRequest(QueuePair& qp, uint16_t index) {
    if (!on_ || settings_.mostDelayNs == 0 || qp.busy())
        return false;
    Queue* queue = find(qp.qpn());
    const Request* request = queue == nullptr ? nullptr : requestAt(*queue, index);
    if (request == nullptr || request->dueNs <= now())
        return false;
    if (request->dueNs != queue->wokenAtNs) {
        queue->wokenAtNs = request->dueNs;
        wakeAt(request->dueNs, {false, qp.qpn()});
    }
    return true;
}

// A segment that is offered again is taken, before its time as well: somebody has a reason, and may wait for it.
bool Checker::holdsSegment(QueuePair& qp) {
    current_ = qp.qpn();
    if (!on_ || settings_.mostDelayNs == 0 || qp.stopped())
        return false;
    Queue& queue = of(qp);
    const uint64_t stream = kSegmentStream | qp.qpn();
    if (std::exchange(queue.segmentHeld, false) || ++queue.segments % kHeldSegments != 0 || now() < queue.flowsUntilNs)
        return false;
    queue.segmentHeld = true;
    const uint64_t delay = drawDelay(settings_, stream, queue.segments);
    queue.flowsUntilNs = now() + (1 + kFlowing) * delay;
    wakeAt(now() + delay, {false, qp.qpn()});
    return true;
}

bool Checker::holdsCompletion(uint32_t cqn, const Completion& completion) {
    if (releasing_) {
        told(cqn, completion);
        return false;
    }
    Queue* queue = find(completion.qpn);
    Channel& channel = channels_[cqn];
    if (on_ && queue != nullptr && completion.queue == QueueType::Send)
        noteAlone(*queue, completion);
    if (!on_ || settings_.mostDelayNs == 0 || queue == nullptr || queue->over || held_ >= kMostHeld) {
        release(cqn, UINT64_MAX);
        told(cqn, completion);
        return false;
    }
    const uint64_t due =
        std::max(channel.lastDueNs, now() + drawDelay(settings_, kCompletionStream | cqn, ++channel.completions));
    channel.lastDueNs = due;
    if (channel.held.empty())
        wakeAt(due, {true, cqn});
    channel.held.push_back({completion, due});
    ++held_;
    return true;
}

// Writes what was held until then, in order.
void Checker::release(uint32_t cqn, uint64_t untilNs) {
    const auto at = channels_.find(cqn);
    if (at == channels_.end())
        return;
    Channel& channel = at->second;
    const bool inside = std::exchange(releasing_, true);
    while (!channel.held.empty() && channel.held.front().dueNs <= untilNs) {
        const Completion completion = channel.held.front().completion;
        channel.held.pop_front();
        --held_;
        adapter_.cqs.complete(cqn, completion);
    }
    releasing_ = inside;
    if (!channel.held.empty())
        wakeAt(channel.held.front().dueNs, {true, cqn});
}

void Checker::releaseFor(const QueuePair& qp) {
    release(qp.config().sendCqn, UINT64_MAX);
    release(qp.config().recvCqn, UINT64_MAX);
}

// ---- completions ----

void Checker::noteAlone(Queue& queue, const Completion& completion) {
    if (completion.syndrome == Syndrome::Success && queue.sends.size() == 1 && queue.sends.front().takenNs != 0)
        advisor_.alone(queue.habits, placeOf(queue), queue.sends.front().takenNs, now());
}

// The program can learn of it from now on.
void Checker::told(uint32_t cqn, const Completion& completion) {
    Queue* queue = find(completion.qpn);
    if (!on_ || queue == nullptr)
        return;
    const bool good = completion.syndrome == Syndrome::Success;
    if (!good && completion.syndrome != Syndrome::Flushed)
        queue->failedNs = now();
    queue->habits.toldNs = now();
    int64_t& expected = channels_[cqn].expected;
    const auto done = [&](bool counted) { expected -= counted && expected > 0 ? 1 : 0; };
    if (completion.queue == QueueType::Receive) {
        dropAcknowledged(*queue, true);
        while (!queue->receives.empty() &&
               static_cast<int16_t>(queue->receives.front().index - completion.index) <= 0) {
            buffers_.remove(queue->receives.front().buffer);
            queue->receives.pop_front();
            --requests_;
            done(true);
        }
        return;
    }
    while (!queue->sends.empty() && static_cast<int16_t>(queue->sends.front().first - completion.index) <= 0) {
        const Request& request = queue->sends.front();
        if (good)
            compareSources(*queue, request, "before its completion");
        queue->told = request.ordinal;
        done(request.signalled);
        drop(*queue, 1);
    }
}

void Checker::armed(uint32_t cqn, uint32_t unseen) {
    const CompletionQueue* cq = adapter_.cqs.find(cqn);
    if (!on_ || cq == nullptr)
        return;
    Place place;
    place.cqn = cqn;
    const uint32_t room = 1u << cq->depthLog();
    const std::string queue = "completion queue " + std::to_string(cqn);
    if (unseen > room)
        add(Kind::CqOverflow, place,
            queue + " has " + std::to_string(room) + " entries, and " + std::to_string(unseen) +
                " were written since the program polled: the oldest are lost");
    else if (unseen * uint64_t{8} >= room * uint64_t{7})
        add(Kind::CqNearlyFull, place,
            std::to_string(unseen) + " of the " + std::to_string(room) + " entries of " + queue +
                " waited when the program came");
    uint32_t vectors = 0;
    for (uint32_t eqn = 1; eqn < Events::kQueues; ++eqn)
        vectors += adapter_.events.queue(eqn).isOpen() ? 1 : 0;
    advisor_.armed(cqn, cq->eqn(), vectors, now());
}

void Checker::starved(QueuePair& qp) {
    if (on_)
        advisor_.starved(of(qp).habits, now());
}

// ---- endings ----

void Checker::ended(QueuePair& qp, const char* why) {
    releaseFor(qp);
    Queue* queue = find(qp.qpn());
    if (queue == nullptr || queue->over)
        return;
    if (on_ && queue->qp == &qp && !qp.config().ofKernel && std::string_view(why) == "command") {
        dropAcknowledged(*queue, false);
        if (!queue->sends.empty()) {
            Place place = placeOf(*queue);
            place.index = queue->sends.front().first;
            add(Kind::DestroyedBusy, place,
                "queue pair " + std::to_string(qp.qpn()) + " was given up, or disconnected, with " +
                    std::to_string(queue->sends.size()) + " unfinished requests, from " +
                    std::to_string(queue->sends.front().first) + " on");
        }
    }
    int64_t& sends = channels_[qp.config().sendCqn].expected;
    sends -= std::min<int64_t>(sends, std::ranges::count_if(queue->sends, &Request::signalled));
    int64_t& receives = channels_[qp.config().recvCqn].expected;
    receives -= std::min(receives, static_cast<int64_t>(queue->receives.size()));
    forget(*queue);
    queue->over = true;
}

void Checker::queuePairGone(QueuePair& qp) {
    ended(qp, "command");
    findings_.queuePairGone(qp.qpn());
    queues_.erase(qp.qpn());
    if (current_ == qp.qpn())
        current_ = 0;
}

void Checker::completionQueueGone(uint32_t cqn) {
    findings_.completionQueueGone(cqn);
    const auto at = channels_.find(cqn);
    if (at == channels_.end())
        return;
    held_ -= at->second.held.size();
    channels_.erase(at);
}

void Checker::stopped() {
    for (auto& [qpn, queue] : queues_)
        forget(queue);
    queues_.clear();
    findings_.allGone();
    channels_.clear();
    wakes_.clear();
    regions_.clear();
    held_ = 0;
    current_ = 0;
}

// ---- report ----

std::string Checker::report() {
    const auto number = [](const char* name, uint64_t value) {
        return "\"" + std::string(name) + "\":" + std::to_string(value);
    };
    return "{\"version\":1,\"check\":" + std::string(on_ ? "true" : "false") + "," + number("now_ns", now()) +
           ",\"delay\":\"" + describeDelay(settings_) + "\"," + number("errors", findings_.count(Severity::Error)) +
           "," + number("warnings", findings_.count(Severity::Warning)) + "," +
           number("advice", findings_.count(Severity::Advice)) + "," + number("dropped", findings_.dropped()) + "," +
           number("unchecked", unchecked_ + buffers_.unchecked()) + ",\"findings\":" + findings_.json() + "}";
}

} // namespace erdma::check
