// SPDX-License-Identifier: GPL-2.0-or-later
#include "queue_pair.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "adapter.h"
#include "fabric.h"

namespace erdma {

namespace {

// What CLOSING may still deliver inside the command (wire.md 1.10 grants 100 ms).
constexpr uint64_t kDrainBytes = 64u << 20;
constexpr unsigned kDrainUnits = 1u << 16;
// 7.2: for answers, and for acknowledgements.
constexpr uint64_t kAbandonNs = 100'000'000;
constexpr uint64_t kLingerNs = 5'000'000'000;

// Each in one piece: what is put together from its members is slow to read as a whole.
constexpr Placement kTaken{};
constexpr Placement kGone{Placement::Kind::Gone, {}, Syndrome::Flushed};

TerminateInfo aboutSegment(const Segment& segment, const Failure& failure) {
    TerminateInfo info;
    info.code = failure.code;
    info.syndrome = failure.requester;
    info.message = segment.message;
    info.to = segment.to;
    switch (segment.op) {
    case SegmentOp::Write:
        info.culprit = TerminateInfo::Culprit::Write;
        break;
    case SegmentOp::ReadRequest:
    case SegmentOp::AtomicRequest:
        info.culprit = TerminateInfo::Culprit::Request;
        break;
    case SegmentOp::ReadResponse:
    case SegmentOp::AtomicResponse:
    case SegmentOp::Terminate:
        info.culprit = TerminateInfo::Culprit::Unknown;
        break;
    default:
        info.culprit = TerminateInfo::Culprit::Send;
        break;
    }
    return info;
}

} // namespace

QueuePair::QueuePair(Adapter& adapter, QpConfig config)
    : adapter_(adapter), config_(std::move(config)), requester_(*this), responder_(*this) {}

QueuePair::~QueuePair() {
    adapter_.fabric.forget(*this);
    const bool graceful = windingUp() && !requester_.begun();
    state_ = QpState::Error;
    if (const std::unique_ptr<Transport> transport = std::move(transport_))
        transport->close(graceful);
}

bool QueuePair::waiting() const { return state_ == QpState::Rts && !transport_ && adapter_.running; }

void QueuePair::setState(QpState state, const char* why) {
    if (state == state_)
        return;
    adapter_.host.trace(ERDMA_TRACE_QP_STATE, qpn(), static_cast<uint64_t>(state_), static_cast<uint64_t>(state), why);
    state_ = state;
}

Status QueuePair::modify(const QpModify& request) {
    switch (request.state) {
    case QpState::Idle:
    case QpState::Rtr:
        if (state_ > QpState::Rtr || request.state < state_)
            return Status::Invalid;
        setState(request.state, "command");
        return Status::Ok;
    case QpState::Rts:
        return connect(request);
    case QpState::Closing:
    case QpState::Terminate:
    case QpState::Error:
        return stop(request.state);
    }
    return Status::Invalid;
}

Status QueuePair::connect(const QpModify& request) {
    if (state_ > QpState::Rtr)
        return Status::Invalid;
    const QpState before = state_;
    handover_ = request.handover;
    setState(QpState::Rts, "command");
    pairDeadline_ = adapter_.host.nowNs() + uint64_t{adapter_.config.pair_timeout_ms} * 1000000;
    const Status status = reachPeer();
    if (status != Status::Ok) {
        handover_ = {};
        setState(before, "connection refused");
        return status;
    }
    if (waiting())
        adapter_.scheduler.wakeAt(pairDeadline_, *this);
    return Status::Ok;
}

// By the wire when the NIC saw the handshake, otherwise within this process (wire.md 1.10).
Status QueuePair::reachPeer() {
    PairedNic* nic = adapter_.nic.get();
    switch (nic == nullptr ? PairedNic::Claim::Unknown : nic->connect(*this)) {
    case PairedNic::Claim::Connected:
        return Status::Ok;
    case PairedNic::Claim::Refused:
        return Status::Invalid;
    case PairedNic::Claim::Unknown:
        break;
    }
    return adapter_.fabric.connect(*this);
}

void QueuePair::attach(std::unique_ptr<Transport> transport) {
    transport_ = std::move(transport);
    limits_.begin(adapter_.machine.nowNs());
    adapter_.host.trace(ERDMA_TRACE_QP_STATE, qpn(), static_cast<uint64_t>(QpState::Rts),
                        static_cast<uint64_t>(QpState::Rts), "paired");
    adapter_.scheduler.activate(*this);
}

Status QueuePair::stop(QpState target) {
    if (stopped() && (target == QpState::Closing || !windingUp())) {
        if (target == QpState::Error)
            setState(QpState::Error, "command");
        if (flushing_)
            owed_ = producers();
        return Status::Ok;
    }
    if (target == QpState::Closing) {
        if (!drain_) {
            drain_ = Drain{requester_.bytes() + responder_.bytes(), kDrainUnits};
            goOnDraining();
        }
        return Status::Ok;
    }
    Ending ending;
    ending.state = target;
    ending.why = "command";
    if (target == QpState::Terminate)
        ending.goodbye = Goodbye::Terminate;
    end(ending);
    return Status::Ok;
}

// 7.11: the FIN of the kernel's socket must not overtake what this end accepted.  False: the budget is spent.
bool QueuePair::drain() {
    unsigned idle = 0;
    while (active() && drain_->left != 0 && requester_.bytes() + responder_.bytes() - drain_->start < kDrainBytes) {
        if (adapter_.budget.spent())
            return false;
        unsigned done = work(std::min(drain_->left, 64u));
        if (!drain_) // ended over it
            return true;
        if (active())
            done += transport_->runPeer(64);
        if (!drain_)
            return true;
        if (done == 0 && ++idle > 1) // the peer may have taken up what it held
            return !adapter_.budget.spent();
        if (done != 0)
            idle = 0;
        drain_->left -= std::min(drain_->left, done);
    }
    return true;
}

void QueuePair::goOnDraining() {
    if (!drain()) {
        adapter_.scheduler.activate(*this);
        return;
    }
    drain_.reset();
    if (stopped()) // the rest of the work failed
        return;
    if (active() && transport_->confirmsLater()) {
        windUp();
        return;
    }
    Ending ending;
    ending.state = QpState::Closing;
    ending.goodbye = Goodbye::Graceful;
    ending.why = "command";
    end(ending);
}

// What was sent finishes as if nothing had happened, nothing new starts; the rest is flushed behind it (7.2).
void QueuePair::windUp() {
    setState(QpState::Closing, "command");
    requester_.finishOnly();
    abandonAt_ = adapter_.host.nowNs() + kAbandonNs;
    lingerUntil_ = adapter_.host.nowNs() + kLingerNs;
    adapter_.scheduler.wakeAt(abandonAt_, *this);
    finishWindUp();
}

void QueuePair::finishWindUp() {
    if (!windingUp() || requester_.unfinished() || !responder_.idle())
        return;
    Ending ending;
    ending.state = QpState::Closing;
    ending.goodbye = Goodbye::Graceful;
    ending.why = "everything sent is acknowledged";
    end(ending);
}

// Answers to own requests count, everything else is thrown away.
Placement QueuePair::inboundWhileWindingUp(const Segment& segment) {
    if (requester_.outstanding() != 0 && segment.op == SegmentOp::ReadResponse)
        requester_.onReadResponse(segment);
    else if (requester_.outstanding() != 0 && segment.op == SegmentOp::AtomicResponse)
        requester_.onAtomicResponse(segment);
    finishWindUp();
    return Placement{};
}

Status QueuePair::reflush(uint16_t sqPi, uint16_t rqPi) {
    if (!stopped())
        return Status::Invalid;
    // Indices older than what was flushed look far ahead; both are ignored.
    requester_.doorbell(sqPi, nullptr);
    responder_.doorbell(rqPi);
    if (!windingUp())
        flushAll();
    return Status::Ok;
}

// A producer index that cannot be is ignored: whoever stores it need not be the owner of the ring.
void QueuePair::sqDoorbell(uint16_t pi, const DirectWqe* direct) {
    if (!requester_.doorbell(pi, direct)) {
        adapter_.badDoorbell("send queue doorbell beyond the ring");
        if (adapter_.observer)
            adapter_.observer->overrun(*this);
    } else if (windingUp()) // flushed behind what finishes
        return;
    else if (stopped())
        flush();
    else if (sendsFailed_)
        flushSends();
    else if (active()) {
        adapter_.scheduler.activate(*this);
        noteLimit();
    }
}

void QueuePair::rqDoorbell(uint16_t pi) {
    if (!responder_.doorbell(pi))
        adapter_.badDoorbell("receive queue doorbell beyond the ring");
    else if (stopped() && !windingUp())
        flush();
}

bool QueuePair::run(unsigned budget) {
    if (flushing_) {
        flush();
        return flushing_;
    }
    if (sendsFailed_) {
        flushSends();
        return flushingSends_;
    }
    takeUp();
    if (drain_) {
        goOnDraining();
        if (flushing_ || drain_)
            return true;
    }
    work(budget);
    finishWindUp();
    if (!active())
        return false;
    noteLimit();
    if (transport_->ways().interleaves)
        return responder_.ready() || requester_.ready();
    if (requester_.midMessage())
        return requester_.ready();
    return responder_.ready() || (!responder_.midMessage() && requester_.ready());
}

// Own work and responses take turns, message by message.
unsigned QueuePair::work(unsigned budget) {
    SqWindow window;
    unsigned done = 0;
    while (done < budget && active() && !sendsFailed_ && !adapter_.budget.spent()) {
        bool moved = false;
        const bool interleaves = transport_->ways().interleaves;
        if (!interleaves && requester_.midMessage()) {
            moved = requester_.step(window);
        } else if (!interleaves && responder_.midMessage()) {
            moved = responder_.step();
        } else {
            const bool responder = responderTurn_ && responder_.ready();
            moved = responder ? responder_.step() : requester_.step(window);
            if (!moved && !responder && active())
                moved = responder_.step();
            responderTurn_ = !responder;
        }
        if (!moved)
            break;
        ++done;
    }
    return done;
}

// The peer may say again what it was not let say for want of budget.
void QueuePair::takeUp() {
    if (std::exchange(heldForBudget_, false) && active())
        transport_->readyToReceive();
}

unsigned QueuePair::serve(unsigned budget) {
    if (!adapter_.running)
        return 0;
    takeUp();
    unsigned done = 0;
    while (done < budget && active() && !adapter_.budget.spent() && !requester_.midMessage() && responder_.step())
        ++done;
    return done;
}

void QueuePair::onTimer(uint64_t nowNs) {
    if (waiting()) {
        if (nowNs < pairDeadline_) {
            adapter_.scheduler.wakeAt(pairDeadline_, *this);
            return;
        }
        ++adapter_.counters[Counter::PairTimeouts];
        Ending ending;
        ending.event = AsyncEvent::QpFatal;
        ending.why = "no peer in time";
        end(ending);
        return;
    }
    if (windingUp()) {
        if (nowNs < abandonAt_) {
            adapter_.scheduler.wakeAt(abandonAt_, *this);
            return;
        }
        if (nowNs >= lingerUntil_) {
            Ending ending;
            ending.state = QpState::Closing;
            ending.why = "peer does not acknowledge";
            end(ending);
            return;
        }
        adapter_.scheduler.wakeAt(lingerUntil_, *this);
        abandonAnswers();
        return;
    }
    const uint64_t deadline = responder_.holdDeadline();
    if (!active() || deadline == 0 || deadline == ~uint64_t{0})
        return;
    if (nowNs < deadline)
        adapter_.scheduler.wakeAt(deadline, *this);
    else
        responder_.holdExpired();
}

Placement QueuePair::inbound(const Segment& segment) {
    if (!active() || !adapter_.running) // of an adapter that was reset
        return kGone;
    if (segment.op == SegmentOp::Terminate) {
        peerTerminated(segment.terminate);
        return Placement{};
    }
    if (windingUp())
        return inboundWhileWindingUp(segment);
    if (responder_.refusing())
        return Placement{Placement::Kind::Hold, {}, {}};
    if (adapter_.budget.spent()) {
        heldForBudget_ = true;
        adapter_.scheduler.activate(*this);
        return Placement{Placement::Kind::Hold, {}, {}};
    }
    if (adapter_.observer && adapter_.observer->holdsSegment(*this)) {
        heldForBudget_ = true; // takeUp() asks for it again
        return Placement{Placement::Kind::Hold, {}, {}};
    }
    adapter_.budget.charge(4); // checks, a receive queue entry
    adapter_.budget.chargeOctets(segment.payload.size());

    const Reception reception = segment.op == SegmentOp::ReadResponse     ? requester_.onReadResponse(segment)
                                : segment.op == SegmentOp::AtomicResponse ? requester_.onAtomicResponse(segment)
                                                                          : responder_.place(segment);
    Counters& counters = adapter_.counters;
    switch (reception.kind) {
    case Reception::Kind::Accepted:
        ++counters[Counter::RxPackets];
        counters[Counter::RxBytes] += segment.payload.size();
        ++packetsIn_;
        return active() ? kTaken : kGone;
    case Reception::Kind::Hold:
        return Placement{Placement::Kind::Hold, {}, {}};
    case Reception::Kind::NotReady:
        return Placement{Placement::Kind::NotReady, {}, {}};
    case Reception::Kind::Failed:
        break;
    }
    ++counters[Counter::RxDrops];
    ++drops_;
    const TerminateInfo terminate = aboutSegment(segment, reception.failure);
    // What was asked for before is still answered, so that the peer's work requests complete in order.
    if (!responder_.idle() && !reception.failure.own) {
        responder_.refuseLater(reception.failure, terminate);
        return Placement{Placement::Kind::Hold, {}, {}};
    }
    inboundFailed(reception.failure, terminate);
    return Placement{Placement::Kind::Failed, reception.failure.code, reception.failure.requester};
}

uint32_t QueuePair::ord() const { return std::min(transport_->ord(), adapter_.config.ord); }

uint32_t QueuePair::ird() const { return std::min(transport_->ird(), adapter_.config.ird); }

void QueuePair::resume() {
    requester_.resume();
    responder_.resume();
    if (active())
        adapter_.scheduler.activate(*this);
}

void QueuePair::acknowledged() {
    if (!active())
        return;
    requester_.retire();
    finishWindUp();
    noteLimit();
}

Limit QueuePair::limit() const {
    if (!active())
        return Limit::Idle;
    const Limit ofWay = transport_->limit();
    return ofWay != Limit::Idle ? ofWay : requester_.limit();
}

void QueuePair::noteLimit() {
    const Limit next = limit();
    if (next == limits_.current())
        return;
    // That something was lost shows late.
    const uint64_t now = adapter_.machine.nowNs();
    limits_.become(next, next == Limit::Loss ? transport_->quietSince() : now, now);
}

// Neither answers of the peer nor answers to it are of use any more.
void QueuePair::abandonAnswers() {
    requester_.abandonRequests();
    responder_.discard();
    finishWindUp();
}

void QueuePair::peerClosed(bool graceful) {
    if (windingUp() && graceful) {
        abandonAnswers();
        return;
    }
    if (stopped() && !windingUp())
        return;
    Ending ending;
    ending.halfReceived = Syndrome::General;
    if (requester_.incomplete())
        ending.event = AsyncEvent::QpFatal;
    ending.why = graceful ? "peer closed" : "peer aborted";
    end(ending);
}

void QueuePair::peerTerminated(const TerminateInfo& info) {
    Ending ending;
    if (const std::optional<uint16_t> index = requester_.culprit(info))
        ending.culprit = Blame{*index, info.syndrome};
    ending.halfReceived = Syndrome::General;
    ending.event = AsyncEvent::QpFatal;
    ending.detail = info.code.number;
    ending.why = "terminated by the peer";
    end(ending);
}

Reception QueuePair::refuse(Refusal reason, const char* why) const {
    return {Reception::Kind::Failed, Failure{.reason = reason, .code = transport_->codeOf(reason), .why = why}};
}

void QueuePair::peerRefused(std::optional<Blame> culprit, RefusalCode code) {
    if (config_.datagram && culprit) {
        failSends(*culprit, "refused");
        return;
    }
    Ending ending;
    ending.culprit = culprit;
    if (!culprit) {
        if (const std::optional<uint16_t> index = requester_.oldest())
            ending.culprit = Blame{*index, Syndrome::General};
    }
    ending.halfReceived = Syndrome::General;
    ending.event = AsyncEvent::QpFatal;
    ending.detail = code.number;
    ending.why = "refused by the peer";
    end(ending);
}

void QueuePair::requesterFailed(std::optional<Blame> culprit, const char* why, uint32_t detail) {
    if (config_.datagram && culprit) {
        failSends(*culprit, why);
        return;
    }
    Ending ending;
    ending.culprit = culprit;
    ending.detail = detail;
    if (culprit && transport_ && transport_->ways().quietRequester) {
        ending.halfReceived = Syndrome::Flushed;
    } else {
        ending.halfReceived = Syndrome::General;
        ending.event = AsyncEvent::QpFatal;
    }
    ending.goodbye = Goodbye::Terminate;
    ending.why = why;
    end(ending);
}

void QueuePair::inboundFailed(const Failure& failure, const TerminateInfo& terminate) {
    Ending ending;
    ending.culprit = failure.own;
    if (failure.own && transport_->ways().quietRequester) {
        ending.halfReceived = Syndrome::Flushed;
    } else {
        ending.halfReceived = failure.rqe;
        ending.event = transport_->eventOf(failure.reason, failure.event);
    }
    ending.detail = failure.code.number;
    ending.goodbye = Goodbye::Terminate;
    ending.terminate = terminate;
    ending.why = failure.why;
    end(ending);
}

void QueuePair::fail(Syndrome oldest, std::optional<AsyncEvent> event, uint32_t detail, const char* why) {
    Ending ending;
    if (const std::optional<uint16_t> index = requester_.oldest())
        ending.culprit = Blame{*index, oldest};
    ending.halfReceived = transport_ && transport_->ways().quietRequester ? Syndrome::Flushed : Syndrome::General;
    ending.event = event;
    ending.detail = detail;
    ending.why = why;
    end(ending);
}

void QueuePair::end(const Ending& ending) {
    if (stopped() && !windingUp())
        return;
    const bool silent = windingUp(); // the user is done with it
    const std::unique_ptr<Transport> transport = std::move(transport_);
    noteLimit();
    drain_.reset();
    heldForBudget_ = sendsFailed_ = false;
    resumeBehind_.reset();
    if (adapter_.observer)
        adapter_.observer->ended(*this, ending.why);
    setState(ending.state, ending.why);
    adapter_.fabric.forget(*this);
    requester_.blame(ending.culprit);
    responder_.end(ending.halfReceived);
    if (ending.event && !silent)
        lastWord_ = Event{*ending.event, ending.detail};
    flushAll();
    if (ending.event || ending.culprit)
        adapter_.host.trace(ERDMA_TRACE_ERROR, qpn(),
                            ending.culprit ? static_cast<uint64_t>(ending.culprit->syndrome) : 0, ending.detail,
                            ending.why);
    if (!transport)
        return;
    if (ending.goodbye == Goodbye::Terminate) {
        Segment segment;
        segment.op = SegmentOp::Terminate;
        segment.message = 1;
        segment.terminate = ending.terminate.value_or(TerminateInfo{.code = transport->codeOf(Refusal::Local)});
        transport->deliver(segment);
    }
    transport->close(ending.goodbye == Goodbye::Graceful);
}

// What is posted now comes first, whatever is rung meanwhile: somebody waits for it.
void QueuePair::flushAll() {
    owed_ = producers();
    flush();
}

// Send queue first, then receive queue, in ring order; then the event (wire.md 5.7, 7.1).  What the budget does not allow
// goes on in later turns.
void QueuePair::flush() {
    flushing_ = false;
    responder_.discard();
    if (!adapter_.running) // being reset: no guest memory may be touched any more
        return;
    for (bool later = false; !later;) {
        const Producers end = owed_.value_or(producers());
        bool readable = true;
        const bool sent = requester_.flush(readable, end.sq);
        if (!readable && !lastWord_)
            lastWord_ = Event{AsyncEvent::QpFatal, 0};
        if (!sent || !responder_.flush(end.rq)) {
            flushing_ = true;
            adapter_.scheduler.activate(*this);
            return;
        }
        if (const auto word = std::exchange(lastWord_, std::nullopt))
            adapter_.events.raise(word->type, qpn(), word->detail);
        later = !owed_;
        owed_.reset();
    }
}

// ---- step by step ----

void QueuePair::open(std::unique_ptr<Transport> transport) {
    state_ = QpState::Rts;
    requester_.finishOnly();
    transport_ = std::move(transport);
    limits_.begin(adapter_.machine.nowNs());
}

void QueuePair::pauseSending(bool paused) {
    if (sendsFailed_) {
        if (!paused && !resumeBehind_)
            resumeBehind_ = requester_.producer();
        flushSends();
        return;
    }
    requester_.finishOnly(paused);
    if (!paused && active())
        adapter_.scheduler.activate(*this);
}

void QueuePair::restart(bool fromZero) {
    if (const std::unique_ptr<Transport> transport = std::move(transport_))
        transport->close(false);
    const Producers begin = fromZero ? Producers{0, 0} : producers();
    std::destroy_at(&requester_);
    std::construct_at(&requester_, *this, begin.sq);
    std::destroy_at(&responder_);
    std::construct_at(&responder_, *this, begin.rq);
    state_ = QpState::Idle;
    drain_.reset();
    lastWord_.reset();
    owed_.reset();
    resumeBehind_.reset();
    flushing_ = flushingSends_ = sendsFailed_ = heldForBudget_ = responderTurn_ = false;
}

void QueuePair::failSends(const Blame& culprit, const char* why) {
    adapter_.host.trace(ERDMA_TRACE_ERROR, qpn(), static_cast<uint64_t>(culprit.syndrome), 0, why);
    sendsFailed_ = true;
    requester_.finishOnly();
    requester_.blame(culprit);
    flushSends();
}

void QueuePair::flushSends() {
    bool readable = true;
    flushingSends_ = !requester_.flush(readable, resumeBehind_.value_or(requester_.producer()));
    if (!readable) {
        requesterFailed(std::nullopt, "send queue unreadable");
        return;
    }
    if (flushingSends_) {
        adapter_.scheduler.activate(*this);
        return;
    }
    if (!resumeBehind_)
        return;
    resumeBehind_.reset();
    sendsFailed_ = false;
    pauseSending(false);
}

void QueuePair::reflushSends(uint16_t sqPi) {
    requester_.doorbell(sqPi, nullptr);
    flushSends();
}

DatagramFate QueuePair::inbound(const Datagram& datagram) {
    adapter_.budget.charge(4);
    adapter_.budget.chargeOctets(datagram.octets.size());
    const DatagramFate fate = responder_.place(datagram);
    Counters& counters = adapter_.counters;
    if (fate == DatagramFate::Received) {
        ++counters[Counter::RxPackets];
        counters[Counter::RxBytes] += datagram.octets.size();
        ++packetsIn_;
    } else {
        ++counters[Counter::RxDrops];
        ++drops_;
    }
    return fate;
}

QueuePair::Snapshot QueuePair::snapshot() const {
    Snapshot s{};
    s.sqPi = requester_.producer();
    s.sqCi = requester_.consumer();
    s.rqPi = responder_.producer();
    s.rqCi = responder_.consumer();
    s.sendCqes = requester_.completions();
    s.recvCqes = responder_.completions();
    s.packetsOut = requester_.packets() + responder_.packets();
    s.packetsIn = packetsIn_;
    s.dropsError = drops_;
    s.timeouts = transport_ ? static_cast<uint32_t>(transport_->timeouts()) : 0;
    s.flushing = stopped();
    s.outstandingReads = requester_.outstanding();
    s.queuedRequests = responder_.queued();
    return s;
}

} // namespace erdma
