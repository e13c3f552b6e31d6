// SPDX-License-Identifier: GPL-2.0-or-later
#include "requester.h"

#include <algorithm>
#include <utility>

#include "adapter.h"
#include "fabric.h"
#include "queue_pair.h"

namespace erdma {

namespace {

bool isAnswered(SqeKind kind) { return kind == SqeKind::Read || kind == SqeKind::Atomic; }

bool isWrite(Op op) { return op == Op::Write || op == Op::WriteImm; }

} // namespace

Syndrome localSyndrome(MrFault fault) {
    switch (fault) {
    case MrFault::Stag:
        return Syndrome::SendStag;
    case MrFault::Bounds:
        return Syndrome::SendBounds;
    case MrFault::Rights:
        return Syndrome::SendRights;
    case MrFault::Pd:
        return Syndrome::SendPd;
    case MrFault::Wrap:
        return Syndrome::SendWrap;
    case MrFault::None:
    case MrFault::Dma:
        break;
    }
    return Syndrome::General;
}

uint32_t Requester::depth() const { return 1u << qp_.config().sqDepthLog; }

bool Requester::doorbell(uint16_t pi, const DirectWqe* direct) {
    if (static_cast<uint16_t>(pi - retired_) > depth())
        return false;
    // Two posts may ring in the wrong order; what was announced stays announced.
    if (static_cast<uint16_t>(pi - retired_) > static_cast<uint16_t>(pi_ - retired_)) {
        const uint16_t before = std::exchange(pi_, pi);
        if (Observer* observer = qp_.adapter().observer)
            observer->sendsPosted(qp_, before, pi);
    }
    if (direct == nullptr || direct->wqebbs == 0 || direct->wqebbs > kMaxSqeWqebbs)
        return true;
    const auto first = static_cast<uint16_t>(pi - direct->wqebbs);
    const auto ahead = static_cast<uint16_t>(first - next_);
    if (ahead >= static_cast<uint16_t>(pi_ - next_) || qp_.stopped())
        return true; // fetched already
    if (!direct_)
        direct_ = std::make_unique<Direct>();
    if (direct_->pending) // only the newest is kept; the ring has the other one too
        ++qp_.adapter().counters[Counter::DirectWqeFallbacks];
    direct_->wqe = *direct;
    direct_->first = first;
    direct_->pending = true;
    return true;
}

// One WQEBB of the ring, by way of the window.
bool Requester::load(uint16_t index, SqWindow& window, std::byte* out) const {
    const auto inside = static_cast<uint16_t>(index - window.first);
    if (inside < window.count) {
        std::copy_n(window.bytes.begin() + inside * kWqebbBytes, kWqebbBytes, out);
        return true;
    }
    const uint32_t slot = index & (depth() - 1);
    const uint32_t announced = std::max<uint32_t>(static_cast<uint16_t>(pi_ - index), 1);
    const uint32_t capacity = static_cast<uint32_t>(window.bytes.size() / kWqebbBytes);
    Host& host = qp_.adapter().machine;
    window.count = 0;
    for (uint32_t blocks : {std::min({announced, depth() - slot, capacity}), 1u}) {
        const Bytes target = std::as_writable_bytes(std::span(window.bytes)).first(blocks * kWqebbBytes);
        if (!qp_.config().sq.read(host, uint64_t{slot} * kWqebbBytes, target))
            continue; // perhaps only a later page is unreachable
        window.first = index;
        window.count = blocks;
        std::copy_n(window.bytes.begin(), kWqebbBytes, out);
        return true;
    }
    return false;
}

// The direct WQE waiting at next_, if its header is the ring's.
bool Requester::takeDirect(SqeHeader ring) {
    if (!direct_ || !direct_->pending)
        return false;
    const auto behind = static_cast<uint16_t>(next_ - direct_->first);
    if (behind >= 0x8000)
        return false; // not its turn yet
    direct_->pending = false;
    const SqeHeader slot(loadLe64(direct_->wqe.bytes, 0));
    if (behind != 0 || (slot.raw | kSqeDirectBit) != (ring.raw | kSqeDirectBit) ||
        ring.wqebbs() != direct_->wqe.wqebbs) {
        ++qp_.adapter().counters[Counter::DirectWqeFallbacks];
        return false;
    }
    std::copy_n(direct_->wqe.bytes.begin(), ring.wqebbs() * kWqebbBytes, sqe_.raw.begin());
    return true;
}

// Takes the next SQE out of the ring.  False: the queue pair ended.
bool Requester::fetch(SqWindow& window) {
    const auto available = static_cast<uint16_t>(pi_ - next_);
    qp_.adapter().budget.charge(2);
    sqe_.first = next_;
    if (!load(next_, window, sqe_.raw.data())) {
        qp_.requesterFailed(std::nullopt, "send queue unreadable");
        return false;
    }
    sqe_.header = SqeHeader(loadLe64(sqe_.raw, 0));
    const SqeHeader header = sqe_.header;

    busy_ = true;
    started_ = held_ = dataSent_ = false;
    sent_ = sgeIndex_ = sgeOffset_ = 0;
    const uint32_t step = std::min<uint32_t>(header.wqebbs(), available);
    next_ = static_cast<uint16_t>(next_ + step);

    bool good = header.wqebbs() <= kMaxSqeWqebbs && header.wqebbs() == step && header.qpn() == qp_.qpn() &&
                header.indexAfter() == next_;
    if (good) {
        next_ = sqe_.first; // for takeDirect()
        const bool direct = takeDirect(header);
        for (uint32_t i = 1; !direct && i < step; ++i) {
            if (!load(static_cast<uint16_t>(sqe_.first + i), window, sqe_.raw.data() + i * kWqebbBytes)) {
                busy_ = false;
                qp_.requesterFailed(std::nullopt, "send queue unreadable");
                return false;
            }
        }
        next_ = static_cast<uint16_t>(sqe_.first + step);
        good = sqe_.decode(qp_.config().datagram);
    }
    if (!good) {
        failCurrent(Syndrome::SendFormat, "malformed send queue entry");
        return false;
    }
    return true;
}

// Conditions that end by themselves: an answer arrives.
bool Requester::mustWait() const {
    if (sqe_.kind == SqeKind::LocalInvalidate && qp_.transport().ways().invalidatesLast)
        return !inFlight_.empty();
    if (outstanding_ == 0)
        return false;
    if (sqe_.header.fence())
        return true;
    if (isAnswered(sqe_.kind))
        return outstanding_ >= qp_.ord();
    if (sqe_.kind == SqeKind::LocalInvalidate) {
        for (uint64_t s = inFlight_.begin(); s != inFlight_.end(); ++s) {
            const InFlight& entry = inFlight_.at(s);
            if (entry.stage == InFlight::Stage::Waiting && entry.stag == sqe_.word8)
                return true;
        }
    }
    return false;
}

bool Requester::ready() const {
    if (held_ || !qp_.active() || (closing_ && !begun()))
        return false;
    if (failing_)
        return inFlight_.empty();
    if (busy_)
        return started_ || !mustWait();
    return next_ != pi_ && !heldBack();
}

Limit Requester::limit() const {
    if (held_)
        return Limit::Window;
    if (busy_ && !started_ && mustWait())
        return Limit::Requests;
    if (ready())
        return Limit::Turn;
    return inFlight_.empty() ? Limit::Idle : Limit::Answers;
}

bool Requester::heldBack() const {
    Observer* observer = qp_.adapter().observer;
    return observer != nullptr && observer->holdsRequest(qp_, next_);
}

bool Requester::step(SqWindow& window) {
    if (failing_)
        return failNow();
    if (held_ || (closing_ && !begun()))
        return false;
    if (!busy_) {
        if (next_ == pi_ || heldBack())
            return false;
        if (!fetch(window))
            return true;
    }
    if (!started_) {
        if (mustWait())
            return false;
        started_ = true;
        ++qp_.adapter().counters[Counter::TxRequests];
        if (Observer* observer = qp_.adapter().observer)
            observer->taken(qp_, sqe_);
        if (!begin())
            return true;
    }
    if (isAnswered(sqe_.kind))
        return sendRequest();
    return dataSent_ ? sendImmediate() : sendData();
}

// What the request becomes on the wire.
SegmentOp Requester::messageKind() const {
    switch (sqe_.kind) {
    case SqeKind::Read:
        return SegmentOp::ReadRequest;
    case SqeKind::Atomic:
        return SegmentOp::AtomicRequest;
    case SqeKind::Send:
        return sqe_.immediate ? SegmentOp::SendImm : SegmentOp::Send;
    default:
        return sqe_.immediate ? SegmentOp::Immediate : SegmentOp::Write;
    }
}

// First touch of a work request.  False: done, or failed.
bool Requester::begin() {
    const bool local = sqe_.kind == SqeKind::FastRegister || sqe_.kind == SqeKind::LocalInvalidate;
    const Ways& ways = qp_.transport().ways();
    if (sqe_.length > ways.longestMessage) {
        failCurrent(Syndrome::SendFormat, "message too long");
        return false;
    }
    if (!local && !qp_.transport().carries(messageKind())) {
        failCurrent(Syndrome::SendFormat, "operation that the connection's dialect does not have",
                    kNotInDialect | static_cast<uint32_t>(messageKind()));
        return false;
    }
    if (isAnswered(sqe_.kind) && qp_.ord() == 0) {
        failCurrent(Syndrome::OrdExceeded, "no request may be outstanding");
        return false;
    }
    switch (sqe_.kind) {
    case SqeKind::FastRegister:
        if (qp_.owner() != Side::Kernel) { // the entry names bus addresses
            failCurrent(Syndrome::SendFormat, "fast registration by a process");
            return false;
        }
        executeLocal();
        return false;
    case SqeKind::LocalInvalidate:
        executeLocal();
        return false;
    case SqeKind::Atomic:
        if (!qp_.adapter().config.atomic) {
            failCurrent(Syndrome::SendFormat, "atomic operation on a device without");
            return false;
        }
        if (sqe_.sges[0].length < 8 || (ways.strictAtomics && sqe_.sges[0].length != 8)) {
            failCurrent(ways.strictAtomics ? Syndrome::SendFormat : Syndrome::SendBounds,
                        "atomic result buffer of a wrong length");
            return false;
        }
        if (ways.strictAtomics && (sqe_.remoteTo & 7) != 0) {
            failCurrent(Syndrome::RecvBounds, "atomic operation on a misaligned address");
            return false;
        }
        sqe_.sges[0].length = 8;
        break;
    case SqeKind::Read:
    case SqeKind::Send:
    case SqeKind::Write:
        break;
    }
    // A message of one segment is checked while it is gathered.
    const bool single =
        !isAnswered(sqe_.kind) && sqe_.length <= qp_.transport().maxPayload(sqe_.kind == SqeKind::Write);
    if (!single && !sqe_.inlined) {
        if (const std::optional<MrFault> fault = checkSges()) {
            failCurrent(localSyndrome(*fault), "local buffer");
            return false;
        }
    }
    if (sqe_.kind == SqeKind::Write && sqe_.immediate && sqe_.length == 0 && !ways.immediateOnWrite)
        dataSent_ = true;
    return true;
}

std::optional<MrFault> Requester::checkSges() const {
    const uint32_t need = isAnswered(sqe_.kind) ? access::kLocalWrite : access::kLocalRead;
    for (uint32_t i = 0; i < sqe_.sgeCount; ++i) {
        const Sge& sge = sqe_.sges[i];
        if (sge.length == 0)
            continue;
        const MrFault fault =
            qp_.adapter().regions.check({sge.stag, qp_.config().pd, sge.addr, sge.length, need, qp_.owner()});
        if (fault != MrFault::None)
            return fault;
    }
    return std::nullopt;
}

void Requester::executeLocal() {
    MrTable& regions = qp_.adapter().regions;
    const MrFault fault = sqe_.kind == SqeKind::FastRegister ? regions.fastRegister(sqe_.registration, qp_.config().pd)
                                                             : regions.localInvalidate(sqe_.word8, qp_.config().pd);
    if (fault != MrFault::None)
        failCurrent(localSyndrome(fault), "registration work request");
    else
        finishCurrent();
}

Requester::Sent Requester::deliver(const Segment& segment) {
    const Placement placement = qp_.transport().deliver(segment);
    switch (placement.kind) {
    case Placement::Kind::Accepted: {
        Counters& counters = qp_.adapter().counters;
        ++counters[Counter::TxPackets];
        counters[Counter::TxBytes] += segment.payload.size();
        qp_.adapter().budget.chargeOctets(segment.payload.size());
        ++packets_;
        bytes_ += segment.payload.size();
        return Sent::Yes;
    }
    case Placement::Kind::Hold:
        held_ = true;
        return Sent::Later;
    case Placement::Kind::NotReady: // of the receiving side only
    case Placement::Kind::Failed:
    case Placement::Kind::Gone:
        break;
    }
    qp_.peerRefused(Blame{sqe_.first, placement.requester}, placement.code);
    return Sent::Dead;
}

bool Requester::sendRequest() {
    Segment segment;
    segment.message = nextRequest_;
    if (sqe_.kind == SqeKind::Read) {
        segment.op = SegmentOp::ReadRequest;
        segment.read = {sqe_.sges[0].stag, sqe_.sges[0].addr, sqe_.length, sqe_.remoteStag, sqe_.remoteTo};
    } else {
        segment.op = SegmentOp::AtomicRequest;
        segment.atomic = {nextRequest_, sqe_.op() == Op::CompareSwap, sqe_.remoteStag, sqe_.remoteTo, sqe_.operand,
                          sqe_.compare};
    }
    const Sent sent = deliver(segment);
    if (sent == Sent::Yes) {
        pushCurrent(InFlight::Stage::Waiting);
        ++nextRequest_;
        ++outstanding_;
        uint64_t& most = qp_.adapter().counters[Counter::MostReads];
        most = std::max<uint64_t>(most, outstanding_);
    }
    return sent != Sent::Later;
}

bool Requester::sendData() {
    const bool tagged = sqe_.kind == SqeKind::Write;
    const auto length = static_cast<size_t>(
        std::min<uint64_t>(sqe_.length - sent_, std::min(qp_.transport().maxPayload(tagged), kMaxSegmentPayload)));
    Segment segment;
    const MrFault fault = gather(length, segment.payload);
    if (fault != MrFault::None) {
        failCurrent(localSyndrome(fault), "local buffer");
        return true;
    }
    segment.last = length == sqe_.length - sent_;
    const Ways& ways = qp_.transport().ways();
    const bool immediateOnWrite = tagged && sqe_.immediate && ways.immediateOnWrite;
    if (tagged) {
        segment.op = SegmentOp::Write;
        segment.stag = sqe_.remoteStag;
        segment.to = sqe_.remoteTo + sent_;
        segment.total = ways.announcesLength ? sqe_.length : 0;
        if (immediateOnWrite && segment.last)
            describeImmediate(segment);
    } else {
        const bool solicited = sqe_.header.solicited();
        segment.op = sqe_.immediate    ? (solicited ? SegmentOp::SendImmSe : SegmentOp::SendImm)
                     : sqe_.invalidate ? (solicited ? SegmentOp::SendSeInv : SegmentOp::SendInv)
                                       : (solicited ? SegmentOp::SendSe : SegmentOp::Send);
        segment.stag = sqe_.invalidate ? sqe_.word8 : 0;
        segment.immediate = sqe_.immediate ? sqe_.word8 : 0;
        segment.message = nextSend_;
        segment.offset = sent_;
        segment.address = sqe_.address;
    }
    const bool last = segment.last;
    const Sent sent = deliver(segment);
    if (sent != Sent::Yes)
        return sent != Sent::Later;
    sent_ += static_cast<uint32_t>(length);
    skipSges(length);
    if (!last)
        return true;
    if (tagged && sqe_.immediate && !immediateOnWrite) {
        dataSent_ = true;
        return true;
    }
    finishCurrent();
    if (!tagged || immediateOnWrite)
        ++nextSend_;
    return true;
}

void Requester::describeImmediate(Segment& segment) const {
    segment.op = sqe_.header.solicited() ? SegmentOp::ImmediateSe : SegmentOp::Immediate;
    segment.message = nextSend_;
    segment.immediate = sqe_.word8;
    segment.writeLength = sqe_.length;
}

bool Requester::sendImmediate() {
    Segment segment;
    describeImmediate(segment);
    const Sent sent = deliver(segment);
    if (sent == Sent::Yes) {
        finishCurrent();
        ++nextSend_;
    }
    return sent != Sent::Later;
}

// The next `length` bytes of the message; nothing is consumed until skipSges().
MrFault Requester::gather(size_t length, ConstBytes& payload) {
    if (length == 0)
        return MrFault::None;
    if (sqe_.inlined) {
        payload = ConstBytes(sqe_.raw).subspan(sqe_.inlineOffset + sent_, length);
        return MrFault::None;
    }
    const MrTable& regions = qp_.adapter().regions;
    const Bytes buffer = qp_.adapter().fabric.scratch().first(length);
    uint32_t index = sgeIndex_;
    uint32_t offset = sgeOffset_;
    for (size_t done = 0; done < length; ++index, offset = 0) {
        const Sge& sge = sqe_.sges[index];
        const size_t piece = std::min<size_t>(sge.length - offset, length - done);
        if (piece == 0)
            continue;
        const uint64_t addr = sge.addr + offset;
        const MrFault fault = regions.read({sge.stag, qp_.config().pd, addr, piece, access::kLocalRead, qp_.owner()},
                                           buffer.subspan(done, piece));
        if (fault != MrFault::None)
            return fault;
        done += piece;
    }
    payload = buffer;
    return MrFault::None;
}

void Requester::skipSges(size_t length) {
    while (!sqe_.inlined && length != 0) {
        const size_t piece = std::min<size_t>(sqe_.sges[sgeIndex_].length - sgeOffset_, length);
        length -= piece;
        sgeOffset_ += static_cast<uint32_t>(piece);
        if (sgeOffset_ == sqe_.sges[sgeIndex_].length) {
            ++sgeIndex_;
            sgeOffset_ = 0;
        }
    }
}

void Requester::pushCurrent(InFlight::Stage stage) {
    InFlight entry;
    entry.first = sqe_.first;
    entry.after = next_;
    entry.op = sqe_.op();
    entry.stage = stage;
    entry.signalled = sqe_.header.signalled();
    entry.length = sqe_.length;
    entry.message = isAnswered(sqe_.kind) ? nextRequest_ : nextSend_;
    if (stage == InFlight::Stage::Waiting) {
        entry.stag = sqe_.sges[0].stag;
        entry.to = sqe_.sges[0].addr;
        entry.invalidate = sqe_.word8;
    } else {
        entry.mark = qp_.transport().sent();
        entry.to = sqe_.remoteTo;
    }
    inFlight_.push(entry);
    busy_ = false;
}

// All of the current work request was executed or handed to the transport.
void Requester::finishCurrent() {
    const bool local = sqe_.kind == SqeKind::FastRegister || sqe_.kind == SqeKind::LocalInvalidate;
    if (!inFlight_.empty() || (!local && qp_.transport().acknowledged() < qp_.transport().sent())) {
        pushCurrent(local ? InFlight::Stage::Done : InFlight::Stage::Sent);
        return;
    }
    busy_ = false;
    retired_ = next_;
    if (sqe_.header.signalled())
        report(sqe_.first, sqe_.op(), Syndrome::Success, sqe_.length);
}

void Requester::abandonRequests() {
    for (uint64_t s = inFlight_.begin(); s != inFlight_.end(); ++s)
        if (inFlight_.at(s).stage == InFlight::Stage::Waiting)
            inFlight_.at(s).stage = InFlight::Stage::Abandoned;
    outstanding_ = 0;
    retire();
}

void Requester::retire() {
    while (!inFlight_.empty()) {
        const InFlight entry = inFlight_.front();
        if (entry.stage == InFlight::Stage::Waiting ||
            (entry.stage == InFlight::Stage::Sent && qp_.transport().acknowledged() < entry.mark))
            return;
        inFlight_.pop();
        retired_ = entry.after;
        if (entry.stage == InFlight::Stage::Abandoned)
            report(entry.first, entry.op, Syndrome::Flushed, 0);
        else if (entry.signalled)
            report(entry.first, entry.op, Syndrome::Success, entry.length);
    }
}

void Requester::report(uint16_t index, Op op, Syndrome syndrome, uint32_t bytes) {
    ++completions_;
    Completion completion{};
    completion.op = op;
    completion.queue = QueueType::Send;
    completion.syndrome = syndrome;
    completion.index = index;
    completion.qpn = qp_.qpn();
    completion.bytes = bytes;
    qp_.adapter().cqs.complete(qp_.config().sendCqn, completion);
}

void Requester::failCurrent(Syndrome syndrome, const char* why, uint32_t detail) {
    if (!inFlight_.empty() && qp_.transport().ways().failsInOrder)
        failing_ = Failing{syndrome, why, detail};
    else
        qp_.requesterFailed(Blame{sqe_.first, syndrome}, why, detail);
}

// False: not yet.
bool Requester::failNow() {
    if (!inFlight_.empty())
        return false;
    const Failing failing = *failing_;
    qp_.requesterFailed(Blame{sqe_.first, failing.syndrome}, failing.why, failing.detail);
    return true;
}

Requester::InFlight* Requester::oldestWaiting() {
    if (outstanding_ == 0)
        return nullptr;
    oldestWaiting_ = std::max(oldestWaiting_, inFlight_.begin());
    while (inFlight_.at(oldestWaiting_).stage != InFlight::Stage::Waiting)
        ++oldestWaiting_;
    return &inFlight_.at(oldestWaiting_);
}

void Requester::answered(InFlight& entry) {
    entry.stage = InFlight::Stage::Done;
    --outstanding_;
    retire();
    if (ready())
        qp_.adapter().scheduler.activate(qp_);
}

Reception Requester::onReadResponse(const Segment& segment) {
    InFlight* entry = oldestWaiting();
    if (entry == nullptr || (entry->op != Op::Read && entry->op != Op::ReadInv))
        return qp_.refuse(Refusal::Unexpected, "read response without request");
    if (segment.stag != entry->stag)
        return qp_.refuse(Refusal::TargetStag, "read response with another STag");
    const size_t length = segment.payload.size();
    if (segment.to != entry->to + entry->received || length > entry->length - entry->received ||
        (segment.last && length != entry->length - entry->received))
        return qp_.refuse(Refusal::TargetBounds, "read response does not fit the request");

    MrFault fault = MrFault::None;
    if (length != 0)
        fault = qp_.adapter().regions.write(
            {entry->stag, qp_.config().pd, segment.to, length, access::kLocalWrite, qp_.owner()}, segment.payload);
    if (fault == MrFault::None) {
        entry->received += static_cast<uint32_t>(length);
        if (!segment.last)
            return Reception{};
        if (entry->op == Op::ReadInv)
            fault = qp_.adapter().regions.remoteInvalidate(entry->invalidate, qp_.config().pd);
    }
    if (fault != MrFault::None) {
        Reception reception = qp_.refuse(Refusal::Local, "sink of a read");
        reception.failure.own = Blame{entry->first, localSyndrome(fault)};
        return reception;
    }
    answered(*entry);
    return Reception{};
}

Reception Requester::onAtomicResponse(const Segment& segment) {
    InFlight* entry = oldestWaiting();
    if (entry == nullptr || (entry->op != Op::CompareSwap && entry->op != Op::FetchAdd) ||
        segment.atomicResponse.id != entry->message)
        return qp_.refuse(Refusal::Unexpected, "atomic response without request");
    if (segment.message != nextAtomicResponse_)
        return qp_.refuse(Refusal::Sequence, "atomic response out of sequence");
    ++nextAtomicResponse_;

    std::array<std::byte, 8> value;
    storeLe64(value, 0, segment.atomicResponse.original);
    const MrFault fault = qp_.adapter().regions.write(
        {entry->stag, qp_.config().pd, entry->to, value.size(), access::kLocalWrite, qp_.owner()}, value);
    if (fault != MrFault::None) {
        Reception reception = qp_.refuse(Refusal::Local, "sink of an atomic operation");
        reception.failure.own = Blame{entry->first, localSyndrome(fault)};
        return reception;
    }
    answered(*entry);
    return Reception{};
}

std::optional<uint16_t> Requester::oldest() const {
    if (!incomplete())
        return std::nullopt;
    return retired_;
}

std::optional<uint16_t> Requester::culprit(const TerminateInfo& info) const {
    using Kind = TerminateInfo::Culprit;
    if (info.culprit == Kind::Unknown)
        return oldest();

    const auto matches = [&](Op op, uint32_t message, uint64_t to, uint32_t length) {
        const bool request = op == Op::Read || op == Op::ReadInv || op == Op::CompareSwap || op == Op::FetchAdd;
        switch (info.culprit) {
        case Kind::Request:
            return request && message == info.message;
        case Kind::Send:
            return !request && op != Op::Write && op != Op::RegMr && op != Op::LocalInv && message == info.message;
        case Kind::Write:
            return isWrite(op) && info.to - to < length;
        case Kind::Unknown:
            break;
        }
        return false;
    };
    for (uint64_t s = inFlight_.begin(); s != inFlight_.end(); ++s) {
        const InFlight& entry = inFlight_.at(s);
        if (entry.stage != InFlight::Stage::Done && matches(entry.op, entry.message, entry.to, entry.length))
            return entry.first;
    }
    if (busy_ && started_ &&
        matches(sqe_.op(), isAnswered(sqe_.kind) ? nextRequest_ : nextSend_, sqe_.remoteTo, sqe_.length))
        return sqe_.first;
    return std::nullopt;
}

bool Requester::flush(bool& readable, uint16_t end) {
    const Budget& budget = qp_.adapter().budget;
    const auto one = [&](uint16_t index, Op op) {
        const bool guilty = culprit_ && culprit_->index == index;
        report(index, op, guilty ? culprit_->syndrome : Syndrome::Flushed, 0);
    };
    for (; !inFlight_.empty(); inFlight_.pop()) {
        if (budget.spent())
            return false;
        one(inFlight_.front().first, inFlight_.front().op);
        retired_ = inFlight_.front().after;
    }
    outstanding_ = 0;
    if (busy_) {
        one(sqe_.first, sqe_.header.echo());
        retired_ = next_;
    }
    busy_ = held_ = false;
    failing_.reset();
    direct_.reset();

    SqWindow window;
    // A ring has 32,768 blocks at most: how far it is to `end` shows even when an entry reaches beyond.
    while (static_cast<int16_t>(next_ - end) < 0) {
        if (budget.spent())
            return false;
        std::array<std::byte, kWqebbBytes> block;
        if (!load(next_, window, block.data())) {
            readable = false;
            next_ = pi_;
            break;
        }
        const SqeHeader header(loadLe64(block, 0));
        one(next_, header.echo());
        next_ = static_cast<uint16_t>(next_ + std::min<uint32_t>(header.wqebbs(), static_cast<uint16_t>(pi_ - next_)));
        retired_ = next_;
    }
    retired_ = next_;
    culprit_.reset();
    return true;
}

} // namespace erdma
