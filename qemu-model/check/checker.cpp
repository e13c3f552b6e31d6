// SPDX-License-Identifier: GPL-2.0-or-later
// What is posted, and the memory of it.  Delays, completions and the report: checker_flow.cpp.
#include "checker.h"

#include <algorithm>
#include <array>
#include <utility>

#include "queue_pair.h"

namespace erdma::check {

namespace {

constexpr uint32_t kRqeBytes = 32;
// A ring has four blocks for each request that the program asked for, or more (adapter.md 10.4).
constexpr uint32_t kBlocksPerRequest = 4;

bool isAnswered(SqeKind kind) { return kind == SqeKind::Read || kind == SqeKind::Atomic; }

const char* useText(Use use) {
    switch (use) {
    case Use::Source:
        return "a send or write";
    case Use::Receive:
        return "a posted receive";
    case Use::ReadSink:
        return "a read or atomic";
    case Use::Served:
        break;
    }
    return "a read of the peer";
}

std::string requestText(const Buffer& buffer) {
    const char* what = buffer.use == Use::Served ? "read " : buffer.use == Use::Receive ? "receive " : "request ";
    return what + std::to_string(buffer.index) + " of queue pair " + std::to_string(buffer.qpn);
}

std::string memoryText(const Buffer& buffer) { return bytes(buffer.length) + " at " + hex(buffer.address); }

} // namespace

// ---- queue pairs ----

Checker::Queue& Checker::of(QueuePair& qp) {
    Queue& queue = queues_[qp.qpn()];
    if (queue.qp != &qp) {
        forget(queue);
        queue = Queue{};
        queue.qp = &qp;
    }
    return queue;
}

Checker::Queue* Checker::find(uint32_t qpn) {
    const auto at = queues_.find(qpn);
    return at == queues_.end() ? nullptr : &at->second;
}

Place Checker::placeOf(const Queue& queue) {
    Place place;
    place.qpn = queue.qp->qpn();
    place.kernel = queue.qp->config().ofKernel;
    return place;
}

Place Checker::placeOf(const Queue& queue, const Buffer& buffer) {
    Place place = placeOf(queue);
    place.receiveQueue = buffer.use == Use::Receive;
    if (buffer.use != Use::Served)
        place.index = buffer.index;
    place.stag = buffer.stag;
    place.address = buffer.address;
    place.length = buffer.length;
    return place;
}

void Checker::add(Kind kind, const Place& place, std::string sentence) {
    if (on_)
        findings_.add(kind, place, now(), std::move(sentence));
}

// The first `count` requests are over.
void Checker::drop(Queue& queue, size_t count) {
    for (; count != 0; --count, --requests_) {
        for (const uint64_t id : queue.sends.front().buffers)
            buffers_.remove(id);
        queue.sends.pop_front();
    }
}

void Checker::forget(Queue& queue) {
    drop(queue, queue.sends.size());
    for (const Receive& receive : queue.receives)
        buffers_.remove(receive.buffer);
    requests_ -= queue.receives.size();
    queue.receives.clear();
    for (const auto& [message, id] : queue.served)
        buffers_.remove(id);
    queue.served.clear();
}

// They are in the order of the ring, of which there is one round at most.
Checker::Request* Checker::requestAt(Queue& queue, uint16_t index) {
    if (queue.sends.empty())
        return nullptr;
    const uint16_t base = queue.sends.front().first;
    const auto distance = [base](const Request& r) { return static_cast<uint16_t>(r.first - base); };
    const auto at = std::ranges::lower_bound(queue.sends, static_cast<uint16_t>(index - base), {}, distance);
    return at == queue.sends.end() || at->first != index ? nullptr : &*at;
}

// ---- posting ----

// The entry at `index` of the ring, which was posted up to `to`.  False: not one that the adapter will take.
bool Checker::readRequest(QueuePair& qp, uint16_t index, uint16_t to, Sqe& sqe) {
    const uint32_t mask = (1u << qp.config().sqDepthLog) - 1;
    const auto block = [&](uint32_t i) {
        const uint64_t slot = static_cast<uint16_t>(index + i) & mask;
        return qp.config().sq.read(adapter_.machine, slot * kWqebbBytes,
                                   Bytes(sqe.raw).subspan(size_t{i} * kWqebbBytes, kWqebbBytes));
    };
    if (!block(0))
        return false;
    sqe.first = index;
    sqe.header = SqeHeader(loadLe64(sqe.raw, 0));
    const uint32_t count = sqe.header.wqebbs();
    if (count > kMaxSqeWqebbs || count > static_cast<uint16_t>(to - index) || sqe.header.qpn() != qp.qpn())
        return false;
    for (uint32_t i = 1; i < count; ++i) {
        if (!block(i))
            return false;
    }
    return sqe.decode();
}

void Checker::sendsPosted(QueuePair& qp, uint16_t from, uint16_t to) {
    if (!on_)
        return;
    Queue& queue = of(qp);
    if (qp.stopped()) {
        reportPostedAfterEnd(queue, false);
        return;
    }
    for (uint16_t index = from; index != to;) {
        adapter_.budget.charge(2);
        Sqe sqe;
        if (!readRequest(qp, index, to, sqe))
            return;
        countRequest(queue, sqe);
        track(queue, sqe);
        index = sqe.after();
    }
}

void Checker::reportPostedAfterEnd(const Queue& queue, bool receiveQueue) {
    // Kernels post a marker behind the end on purpose, and programs a receive or two before they know of it.
    constexpr uint64_t kTimeToNoticeNs = 100'000'000;
    if (queue.failedNs == 0 || queue.qp->config().ofKernel || now() - queue.failedNs < kTimeToNoticeNs)
        return;
    Place place = placeOf(queue);
    place.receiveQueue = receiveQueue;
    add(Kind::PostedAfterError, place,
        std::string(receiveQueue ? "a receive" : "a request") + " was posted to queue pair " +
            std::to_string(place.qpn) + " " + duration(now() - queue.failedNs) +
            " after a completion told of its failure: nobody polled it, or looked at its status");
}

void Checker::countRequest(Queue& queue, const Sqe& sqe) {
    Place place = placeOf(queue);
    place.index = sqe.first;
    ++queue.posted;
    const bool oneRead = queue.qp->active() && queue.qp->ord() == 1 &&
                         std::ranges::any_of(queue.sends, [](const Request& r) { return r.op == Op::Read; });
    advisor_.posted(queue.habits, place, sqe, queue.sends.size(), oneRead, queue.qp->path(), now());

    const uint64_t room = std::max(1u, (1u << queue.qp->config().sqDepthLog) / kBlocksPerRequest);
    queue.unsignalled = sqe.header.signalled() ? 0 : queue.unsignalled + 1;
    if (queue.unsignalled == room)
        add(Kind::UnsignalledFull, place,
            "the last " + std::to_string(room) + " requests of queue pair " + std::to_string(place.qpn) +
                " are all unsignalled, as many as its queue can have been made for: no completion will ever free them");
    else if (queue.unsignalled < room && queue.posted - queue.told > room)
        add(Kind::SqOverrun, place,
            std::to_string(queue.posted - queue.told) + " requests of queue pair " + std::to_string(place.qpn) +
                " are unfinished, and it cannot have been made for more than " + std::to_string(room));
    if (sqe.header.signalled())
        expect(queue.qp->config().sendCqn, place);
}

void Checker::expect(uint32_t cqn, const Place& place) {
    Channel& channel = channels_[cqn];
    const CompletionQueue* cq = adapter_.cqs.find(cqn);
    const int64_t room = cq == nullptr ? INT64_MAX : int64_t{1} << cq->depthLog();
    if (++channel.expected <= room)
        return;
    Place both = place;
    both.cqn = cqn;
    add(Kind::CqOverflow, both,
        std::to_string(channel.expected) + " requests may complete into completion queue " + std::to_string(cqn) +
            " before anybody polls, and it has " + std::to_string(room) + " entries");
}

void Checker::track(Queue& queue, const Sqe& sqe) {
    if (requests_ >= kMostRequests) {
        ++unchecked_;
        queue.told = queue.posted; // nobody knows any more which are unfinished
        return;
    }
    ++requests_;
    Request& request = queue.sends.emplace_back();
    request.first = sqe.first;
    request.op = sqe.op();
    request.signalled = sqe.header.signalled();
    request.ordinal = queue.posted;
    request.dueNs = std::max(queue.lastDueNs, now() + drawDelay(settings_, queue.qp->qpn(), queue.posted));
    queue.lastDueNs = request.dueNs;
    if (sqe.inlined)
        return;
    for (uint32_t i = 0; i < sqe.sgeCount; ++i) {
        Sge sge = sqe.sges[i];
        if (sqe.kind == SqeKind::Atomic)
            sge.length = std::min(sge.length, 8u);
        watch(queue, request, sge, isAnswered(sqe.kind), sqe.header.fence());
    }
}

void Checker::watch(Queue& queue, Request& request, const Sge& sge, bool sink, bool fence) {
    Buffer facts;
    facts.use = sink ? Use::ReadSink : Use::Source;
    facts.qpn = queue.qp->qpn();
    facts.index = request.first;
    const uint64_t id = buffers_.add(facts, {sge.stag, queue.qp->config().pd, sge.addr, sge.length,
                                             sink ? access::kLocalWrite : access::kLocalRead, queue.qp->owner()});
    if (id == 0)
        return;
    request.buffers.push_back(id);
    buffers_.overlapping(id, [&](uint64_t, Buffer& other) {
        if (other.use == Use::Served || (other.qpn == facts.qpn && other.index == facts.index))
            return true;
        reportOverlap(queue, *buffers_.find(id), other, fence);
        return false;
    });
}

// `mine` was posted when `other` was unfinished; at least one of them is to be written to.
void Checker::reportOverlap(const Queue& queue, const Buffer& mine, const Buffer& other, bool fence) {
    const std::string sentence = memoryText(mine) + " of " + requestText(mine) + " overlap " + memoryText(other) +
                                 " of " + requestText(other) + ", " + useText(other.use) + " that is unfinished";
    if (mine.use == Use::Source && other.use == Use::ReadSink) {
        if (!fence || mine.qpn != other.qpn)
            add(Kind::UnorderedReuse, placeOf(queue, mine), sentence + ": the old data may be sent");
        return;
    }
    const bool same = mine.use == other.use && mine.address == other.address && mine.length == other.length;
    add(same ? Kind::SharedSink : Kind::SinkOverlap, placeOf(queue, mine), sentence);
}

void Checker::receivesPosted(QueuePair& qp, uint16_t from, uint16_t to) {
    if (!on_)
        return;
    Queue& queue = of(qp);
    advisor_.fed(queue.habits, placeOf(queue), now());
    if (qp.stopped()) {
        reportPostedAfterEnd(queue, true);
        return;
    }
    const uint32_t mask = (1u << qp.config().rqDepthLog) - 1;
    for (uint16_t index = from; index != to; ++index) {
        adapter_.budget.charge(2);
        std::array<std::byte, kRqeBytes> rqe;
        if (!qp.config().rq.read(adapter_.machine, uint64_t{index & mask} * kRqeBytes, rqe))
            return;
        Place place = placeOf(queue);
        place.index = index;
        place.receiveQueue = true;
        expect(qp.config().recvCqn, place);
        if (requests_ >= kMostRequests) {
            ++unchecked_;
            continue;
        }
        ++requests_;
        Receive& receive = queue.receives.emplace_back();
        receive.index = index;
        Buffer facts;
        facts.use = Use::Receive;
        facts.qpn = qp.qpn();
        facts.index = index;
        receive.buffer = buffers_.add(facts, {loadLe32(rqe, 28), qp.config().pd, loadLe64(rqe, 16), loadLe32(rqe, 24),
                                              access::kLocalWrite, qp.owner()});
        buffers_.overlapping(receive.buffer, [&](uint64_t, Buffer& other) {
            if (other.use == Use::Served)
                return true;
            reportOverlap(queue, *buffers_.find(receive.buffer), other, false);
            return false;
        });
    }
}

void Checker::overrun(QueuePair& qp) {
    if (on_)
        add(Kind::SqOverrun, placeOf(of(qp)),
            "a doorbell of queue pair " + std::to_string(qp.qpn()) + " names a place beyond the end of its ring");
}

// ---- execution ----

void Checker::taken(QueuePair& qp, const Sqe& sqe) {
    current_ = qp.qpn();
    Queue* queue = find(qp.qpn());
    Request* request = on_ && queue != nullptr ? requestAt(*queue, sqe.first) : nullptr;
    if (request == nullptr)
        return;
    request->takenNs = now();
    for (const uint64_t id : request->buffers) {
        Buffer* buffer = buffers_.find(id);
        if (buffer != nullptr && buffer->use == Use::Source && buffers_.changedSince(*buffer))
            reportChanged(*queue, *buffer, "before it was sent: the peer gets the new bytes");
    }
}

void Checker::reportChanged(const Queue& queue, const Buffer& buffer, const char* when) {
    add(Kind::SourceChanged, placeOf(queue, buffer),
        memoryText(buffer) + " of " + requestText(buffer) + " were changed " + when);
}

void Checker::compareSources(const Queue& queue, const Request& request, const char* when) {
    for (const uint64_t id : request.buffers) {
        const Buffer* buffer = buffers_.find(id);
        if (buffer != nullptr && buffer->use == Use::Source && buffers_.changed(*buffer))
            reportChanged(queue, *buffer, when);
    }
}

// What the adapter is done with needs no completion to be known to the program: an answer of the peer says it, too.
void Checker::dropAcknowledged(Queue& queue, bool compare) {
    if (queue.sends.empty() || queue.sends.front().signalled)
        return;
    const uint16_t done = queue.qp->snapshot().sqCi;
    while (!queue.sends.empty() && !queue.sends.front().signalled &&
           static_cast<int16_t>(queue.sends.front().first - done) < 0) {
        if (compare)
            compareSources(queue, queue.sends.front(), "before it was acknowledged");
        drop(queue, 1);
    }
}

// The buffer of the queue pair's own that this placement is for, or 0.  Says so when the guest had its hands in it.
uint64_t Checker::sinkOf(Queue& queue, const MrAccess& target) {
    const auto fits = [&](uint64_t id) {
        const Buffer* buffer = buffers_.find(id);
        return buffer != nullptr && buffer->use != Use::Source && buffer->stag == target.stag &&
               target.addr - buffer->address < buffer->length;
    };
    const auto first = [&](uint64_t id, bool& placed) {
        const Buffer& buffer = *buffers_.find(id);
        if (!std::exchange(placed, true) && buffers_.changed(buffer))
            add(Kind::ReadTooEarly, placeOf(queue, buffer),
                memoryText(buffer) + " of " + requestText(buffer) +
                    " were changed by the program before the data came, which overwrites them");
        return id;
    };
    for (Receive& receive : queue.receives) {
        if (fits(receive.buffer))
            return first(receive.buffer, receive.placed);
    }
    for (Request& request : queue.sends) {
        for (const uint64_t id : request.buffers) {
            if (fits(id))
                return first(id, request.placed);
        }
    }
    return 0;
}

void Checker::placing(const MrAccess& target) {
    if (!on_ || target.length == 0)
        return;
    Queue* queue = find(current_);
    uint64_t own = 0;
    if (queue != nullptr) {
        dropAcknowledged(*queue, true);
        if (target.side != Side::Remote)
            own = sinkOf(*queue, target);
    }
    buffers_.overlapping(target, [&](uint64_t id, Buffer& buffer) {
        buffer.written = true;
        const bool remote = target.side == Side::Remote;
        Queue* owner = find(buffer.qpn);
        if (id == own || !remote || buffer.use == Use::Served || owner == nullptr)
            return true;
        add(Kind::SinkOverlap, placeOf(*owner, buffer),
            "the peer wrote " + bytes(target.length) + " at " + hex(target.addr) + " into memory of " +
                requestText(buffer) + ", " + useText(buffer.use) + " that is unfinished");
        return true;
    });
}

void Checker::readAsked(QueuePair& qp, uint32_t message, const ReadRequest& read) {
    if (!on_)
        return;
    Queue& queue = of(qp);
    Buffer facts;
    facts.use = Use::Served;
    facts.qpn = qp.qpn();
    facts.index = static_cast<uint16_t>(message);
    const uint64_t id = buffers_.add(
        facts, {read.sourceStag, qp.config().pd, read.sourceTo, read.size, access::kRemoteRead, Side::Remote});
    if (id == 0)
        return;
    queue.served[message] = id;
    buffers_.overlapping(id, [&](uint64_t, Buffer& other) {
        const Buffer& mine = *buffers_.find(id);
        add(Kind::UnorderedReuse, placeOf(queue, mine),
            "the peer reads " + memoryText(mine) + ", which overlap " + memoryText(other) + " of " +
                requestText(other) + ", " + useText(other.use) + " that is unfinished");
        return false;
    });
}

void Checker::readServed(QueuePair& qp, uint32_t message, const ReadRequest&) {
    Queue* queue = find(qp.qpn());
    const auto at = queue == nullptr ? decltype(Queue::served)::iterator{} : queue->served.find(message);
    if (queue == nullptr || at == queue->served.end())
        return;
    const Buffer* buffer = buffers_.find(at->second);
    if (on_ && buffer != nullptr && buffers_.changed(*buffer))
        add(Kind::ReadSourceChanged, placeOf(*queue, *buffer),
            memoryText(*buffer) + " were changed while the peer read them by queue pair " +
                std::to_string(buffer->qpn) + ": it may have a mixture");
    buffers_.remove(at->second);
    queue->served.erase(at);
}

// ---- regions ----

void Checker::regionMade(const RegionFacts& region) {
    regions_.made(region, now());
    if (on_)
        advisor_.registered(region, now());
}

void Checker::regionGone(const RegionFacts& region) {
    regions_.gone(region, now());
    if (!on_)
        return;
    buffers_.ofRegion(region.stag, [&](const Buffer& buffer) {
        Queue* queue = find(buffer.qpn);
        const bool busy = buffer.use == Use::Source || buffer.use == Use::ReadSink;
        // What is acknowledged is the program's again, whether or not a completion says so.
        if (queue == nullptr || !busy || static_cast<int16_t>(buffer.index - queue->qp->snapshot().sqCi) < 0)
            return true;
        add(Kind::DestroyedBusy, placeOf(*queue, buffer),
            "region " + hex(region.stag) + " goes while " + requestText(buffer) + " uses " + memoryText(buffer));
        return false;
    });
}

void Checker::refused(const MrAccess& access, MrFault fault) {
    const auto complaint = on_ ? regions_.explain(access, fault, now()) : std::nullopt;
    if (!complaint)
        return;
    Place place;
    // Whoever is at work is the culprit, unless the access cannot be his.
    const Queue* queue = find(current_);
    if (queue != nullptr && queue->qp->config().pd == access.pd)
        place = placeOf(*queue);
    place.stag = access.stag;
    place.address = access.addr;
    place.length = access.length;
    add(complaint->kind, place, (access.side == Side::Remote ? "the peer asked for " : "") + complaint->sentence);
}

} // namespace erdma::check
