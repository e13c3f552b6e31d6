// SPDX-License-Identifier: GPL-2.0-or-later
#include "responder.h"

#include <algorithm>
#include <utility>

#include "adapter.h"
#include "fabric.h"
#include "queue_pair.h"

namespace erdma {

namespace {

constexpr uint32_t kRqeBytes = 32;
constexpr uint64_t kForever = ~uint64_t{0};

bool isSolicited(SegmentOp op) {
    return op == SegmentOp::SendSe || op == SegmentOp::SendSeInv || op == SegmentOp::SendImmSe ||
           op == SegmentOp::ImmediateSe;
}

} // namespace

Syndrome remoteSyndrome(MrFault fault) {
    switch (fault) {
    case MrFault::Stag:
        return Syndrome::RecvStag;
    case MrFault::Bounds:
        return Syndrome::RecvBounds;
    case MrFault::Rights:
        return Syndrome::RecvRights;
    case MrFault::Pd:
        return Syndrome::RecvPd;
    case MrFault::Wrap:
        return Syndrome::RecvWrap;
    case MrFault::None:
    case MrFault::Dma:
        break;
    }
    return Syndrome::General;
}

// A fault at the target of a Write (5.6 rows 11 to 15), or at the source of a read or atomic (row 17).
Reception Responder::remoteFault(MrFault fault, bool write) const {
    Refusal why = Refusal::Local;
    switch (fault) {
    case MrFault::None:
    case MrFault::Dma:
        return qp_.refuse(Refusal::Local, "guest memory unreachable");
    case MrFault::Stag:
        why = write ? Refusal::TargetStag : Refusal::SourceStag;
        break;
    case MrFault::Bounds:
        why = write ? Refusal::TargetBounds : Refusal::SourceBounds;
        break;
    case MrFault::Rights:
        why = Refusal::Rights;
        break;
    case MrFault::Pd:
        why = write ? Refusal::TargetPd : Refusal::SourcePd;
        break;
    case MrFault::Wrap:
        why = write ? Refusal::TargetWrap : Refusal::SourceWrap;
        break;
    }
    Reception reception = qp_.refuse(why, write ? "remote write refused" : "remote read or atomic refused");
    reception.failure.requester = remoteSyndrome(fault);
    reception.failure.event = AsyncEvent::Access;
    return reception;
}

uint32_t Responder::depth() const { return 1u << qp_.config().rqDepthLog; }

bool Responder::doorbell(uint16_t pi) {
    if (static_cast<uint16_t>(pi - ci_) > depth())
        return false;
    if (static_cast<uint16_t>(pi - ci_) > static_cast<uint16_t>(pi_ - ci_)) {
        const uint16_t before = std::exchange(pi_, pi);
        if (Observer* observer = qp_.adapter().observer)
            observer->receivesPosted(qp_, before, pi);
    }
    if (holdDeadline_ != 0 && pi_ != ci_ && qp_.active()) {
        holdDeadline_ = 0;
        qp_.transport().readyToReceive();
    }
    return true;
}

Reception Responder::place(const Segment& segment) {
    Reception reception;
    switch (segment.op) {
    case SegmentOp::Write:
        reception = placeWrite(segment);
        break;
    case SegmentOp::Send:
    case SegmentOp::SendSe:
    case SegmentOp::SendInv:
    case SegmentOp::SendSeInv:
    case SegmentOp::SendImm:
    case SegmentOp::SendImmSe:
        reception = placeSend(segment);
        break;
    case SegmentOp::Immediate:
    case SegmentOp::ImmediateSe:
        reception = placeImmediate(segment);
        break;
    case SegmentOp::ReadRequest:
        reception = queueRead(segment);
        break;
    case SegmentOp::AtomicRequest:
        reception = executeAtomic(segment);
        break;
    case SegmentOp::ReadResponse:
    case SegmentOp::AtomicResponse:
    case SegmentOp::Terminate:
        reception = qp_.refuse(Refusal::Unexpected, "unexpected message");
        break;
    }
    return reception;
}

Reception Responder::placeWrite(const Segment& segment) {
    const size_t length = segment.payload.size();
    if (!inWrite_ && segment.total > length) {
        if (const MrFault fault = checkTarget(segment, segment.total); fault != MrFault::None)
            return remoteFault(fault, true);
    }
    if (inWrite_ && segment.stag != writeStag_)
        return qp_.refuse(Refusal::TargetStag, "write continues with another STag");
    if (inWrite_ && segment.to != writeNext_)
        return qp_.refuse(Refusal::TargetBounds, "write continues elsewhere");
    if (length != 0) {
        const MrAccess target{segment.stag, qp_.config().pd, segment.to, length, access::kRemoteWrite, Side::Remote};
        const MrFault fault =
            segment.stag == kLocalDmaKey ? MrFault::Rights : qp_.adapter().regions.write(target, segment.payload);
        if (fault != MrFault::None)
            return remoteFault(fault, true);
    }
    inWrite_ = !segment.last;
    writeStag_ = segment.stag;
    writeNext_ = segment.to + length;
    if (segment.last && length != 0)
        qp_.adapter().cqs.written(qp_.config().sendCqn);
    return Reception{};
}

// All that the peer announced, before the first octet is placed.
MrFault Responder::checkTarget(const Segment& segment, uint64_t length) const {
    if (segment.stag == kLocalDmaKey)
        return MrFault::Rights;
    return qp_.adapter().regions.check(
        {segment.stag, qp_.config().pd, segment.to, length, access::kRemoteWrite, Side::Remote});
}

// Nothing: the ring is unreachable.
std::optional<Responder::Rqe> Responder::readRqe(uint16_t index) const {
    std::array<std::byte, kRqeBytes> raw;
    if (!qp_.config().rq.read(qp_.adapter().machine, uint64_t{index & (depth() - 1)} * kRqeBytes, raw))
        return std::nullopt;
    return Rqe{.addr = loadLe64(raw, 16),
               .length = loadLe32(raw, 24),
               .stag = loadLe32(raw, 28),
               .wellFormed =
                   loadLe16(raw, 0) == static_cast<uint16_t>(index + 1) && (loadLe32(raw, 4) & 0xFFFFF) == qp_.qpn()};
}

// Takes the next RQE for a message.  A reception when there is none, or a bad one.
std::optional<Reception> Responder::takeRqe(uint32_t message) {
    Adapter& adapter = qp_.adapter();
    if (message != expectedSend_)
        return qp_.refuse(Refusal::Sequence, "message out of sequence");
    if (ci_ == pi_) {
        if (!starvedSince_)
            starvedSince_ = adapter.machine.nowNs();
        if (!qp_.transport().ways().waitsForBuffer)
            return Reception{Reception::Kind::NotReady, {}};
        if (holdDeadline_ == 0) {
            const uint64_t limit = uint64_t{adapter.config.rnr_hold_ms} * 1000000;
            holdDeadline_ = limit == 0 ? kForever : adapter.host.nowNs() + limit;
            ++adapter.counters[Counter::RnrHolds];
            if (adapter.observer)
                adapter.observer->starved(qp_);
            if (limit != 0)
                adapter.scheduler.wakeAt(holdDeadline_, qp_);
        }
        return Reception{Reception::Kind::Hold, {}};
    }
    fed();
    const std::optional<Rqe> rqe = readRqe(ci_);
    rqeIndex_ = ci_++;
    rqeInUse_ = true;
    if (!rqe)
        return qp_.refuse(Refusal::Local, "receive queue unreadable");
    rqeAddr_ = rqe->addr;
    rqeLength_ = rqe->length;
    rqeStag_ = rqe->stag;
    if (rqe->wellFormed)
        return std::nullopt;
    Reception reception = qp_.refuse(Refusal::Local, "malformed receive queue entry");
    reception.failure.rqe = Syndrome::RecvFormat;
    reception.failure.event = AsyncEvent::RecvQueue;
    return reception;
}

Reception Responder::placeSend(const Segment& segment) {
    if (inSend_) {
        if (segment.message != expectedSend_)
            return qp_.refuse(Refusal::Sequence, "message out of sequence");
        if (segment.op != sendOp_ && !(segment.last && qp_.transport().ways().lastTellsKind))
            return qp_.refuse(Refusal::Unexpected, "message inside a message");
        if (segment.offset != received_)
            return qp_.refuse(Refusal::Offset, "gap in a message");
    } else {
        if (segment.offset != 0 && segment.message == expectedSend_)
            return qp_.refuse(Refusal::Offset, "message does not start at its beginning");
        if (const std::optional<Reception> reception = takeRqe(segment.message))
            return *reception;
        inSend_ = true;
        sendOp_ = segment.op;
        received_ = 0;
    }
    const size_t length = segment.payload.size();
    if (length > rqeLength_ - received_) {
        Reception reception = qp_.refuse(Refusal::TooLong, "message longer than the receive buffer");
        reception.failure.rqe = Syndrome::RecvBounds;
        reception.failure.event = AsyncEvent::RecvQueue;
        return reception;
    }
    if (length != 0) {
        const MrFault fault = qp_.adapter().regions.write(
            {rqeStag_, qp_.config().pd, rqeAddr_ + received_, length, access::kLocalWrite, qp_.owner()},
            segment.payload);
        if (fault != MrFault::None) {
            Reception reception = qp_.refuse(Refusal::Local, "receive buffer");
            reception.failure.rqe = remoteSyndrome(fault);
            if (fault != MrFault::Dma)
                reception.failure.event = AsyncEvent::RecvQueue;
            return reception;
        }
    }
    received_ += static_cast<uint32_t>(length);
    return segment.last ? finishSend(segment) : Reception{};
}

Reception Responder::finishSend(const Segment& segment) {
    Op op = Op::RecvSend;
    uint32_t word12 = 0;
    if (segment.op == SegmentOp::SendInv || segment.op == SegmentOp::SendSeInv) {
        const MrFault fault = qp_.adapter().regions.remoteInvalidate(segment.stag, qp_.config().pd);
        if (fault != MrFault::None) {
            Reception reception = qp_.refuse(Refusal::Invalidate, "STag cannot be invalidated");
            reception.failure.requester = Syndrome::RecvStag;
            reception.failure.rqe = Syndrome::RecvStag;
            reception.failure.event = AsyncEvent::Access;
            return reception;
        }
        op = Op::RecvSendInv;
        word12 = segment.stag;
    } else if (segment.op == SegmentOp::SendImm || segment.op == SegmentOp::SendImmSe) {
        op = Op::RecvSendImm;
        word12 = segment.immediate;
    }
    inSend_ = false;
    ++expectedSend_;
    report(op, word12, received_, isSolicited(segment.op));
    return Reception{};
}

Reception Responder::placeImmediate(const Segment& segment) {
    if (inSend_)
        return qp_.refuse(Refusal::Unexpected, "message inside a message");
    if (const std::optional<Reception> reception = takeRqe(segment.message))
        return *reception;
    if (qp_.transport().ways().immediateOnWrite) {
        Reception reception = placeWrite(segment);
        if (reception.kind != Reception::Kind::Accepted) {
            if (reception.failure.event == AsyncEvent::Access)
                reception.failure.rqe = Syndrome::RecvRights;
            return reception;
        }
    }
    ++expectedSend_;
    report(Op::RecvWriteImm, segment.immediate, segment.writeLength, isSolicited(segment.op));
    return Reception{};
}

void Responder::report(Op op, uint32_t word12, uint32_t bytes, bool solicited, const std::array<uint32_t, 3>& tail) {
    rqeInUse_ = false;
    ++completions_;
    Completion completion{};
    completion.op = op;
    completion.queue = QueueType::Receive;
    completion.index = rqeIndex_;
    completion.qpn = qp_.qpn();
    completion.word12 = word12;
    completion.bytes = bytes;
    completion.solicited = solicited;
    completion.tail = tail;
    qp_.adapter().cqs.complete(qp_.config().recvCqn, completion);
}

DatagramFate Responder::place(const Datagram& datagram) {
    if (ci_ == pi_)
        return DatagramFate::NoBuffer;
    const std::optional<Rqe> rqe = readRqe(ci_);
    const bool good = rqe && rqe->wellFormed;
    if (good && rqe->length < datagram.octets.size())
        return DatagramFate::TooLong;
    rqeIndex_ = ci_++;
    rqeInUse_ = true;
    const MrFault fault = good ? qp_.adapter().regions.write({rqe->stag, qp_.config().pd, rqe->addr,
                                                              datagram.octets.size(), access::kLocalWrite, qp_.owner()},
                                                             datagram.octets)
                               : MrFault::None;
    if (good && fault == MrFault::None) {
        report(datagram.immediate ? Op::RecvSendImm : Op::RecvSend, datagram.immediate.value_or(0),
               static_cast<uint32_t>(datagram.octets.size()), datagram.solicited, datagram.tail);
        return DatagramFate::Received;
    }
    Failure failure;
    failure.why = rqe ? "receive buffer" : "receive queue unreadable";
    failure.rqe = rqe && !good ? Syndrome::RecvFormat : remoteSyndrome(fault);
    if (rqe && fault != MrFault::Dma)
        failure.event = AsyncEvent::RecvQueue;
    qp_.inboundFailed(failure, {});
    return DatagramFate::Broken;
}

MrFault Responder::checkSource(const ReadRequest& read) const {
    if (read.size == 0)
        return MrFault::None;
    if (read.sourceStag == kLocalDmaKey)
        return MrFault::Rights;
    return qp_.adapter().regions.check(
        {read.sourceStag, qp_.config().pd, read.sourceTo, read.size, access::kRemoteRead, Side::Remote});
}

// The source is checked on arrival, so that nothing behind a bad request is processed, and again when it is read.
Reception Responder::queueRead(const Segment& segment) {
    if (segment.message != expectedRequest_)
        return qp_.refuse(Refusal::Sequence, "request out of sequence");
    if (owed_.size() >= qp_.ird())
        return qp_.refuse(Refusal::NoBuffer, "too many requests at once");
    if (const MrFault fault = checkSource(segment.read); fault != MrFault::None)
        return remoteFault(fault, false);
    ++expectedRequest_;
    owed_.push(Owed{.message = segment.message, .read = segment.read});
    if (Observer* observer = qp_.adapter().observer)
        observer->readAsked(qp_, segment.message, segment.read);
    qp_.adapter().scheduler.activate(qp_);
    return Reception{};
}

// Executed on arrival, so that it is ordered with the Writes around it; only the answer queues (wire.md 5.1).
Reception Responder::executeAtomic(const Segment& segment) {
    if (segment.message != expectedRequest_)
        return qp_.refuse(Refusal::Sequence, "request out of sequence");
    if (owed_.size() >= qp_.ird())
        return qp_.refuse(Refusal::NoBuffer, "too many requests at once");
    if (!qp_.adapter().config.atomic)
        return qp_.refuse(Refusal::Unexpected, "atomic request to a device without");
    const AtomicRequest& request = segment.atomic;
    if ((request.to & 7) != 0) {
        Reception reception = qp_.refuse(Refusal::Misaligned, "misaligned atomic request");
        reception.failure.requester = Syndrome::RecvBounds;
        return reception;
    }
    uint64_t original = 0;
    MrFault fault = MrFault::Rights;
    if (request.stag != kLocalDmaKey)
        fault = qp_.adapter().regions.atomic(
            {request.stag, qp_.config().pd, request.to, 8, access::kRemoteAtomic, Side::Remote},
            request.compareSwap ? ERDMA_ATOMIC_SWAP_IF_EQUAL : ERDMA_ATOMIC_ADD, request.operand, request.compare,
            original);
    if (fault != MrFault::None)
        return remoteFault(fault, false);
    ++expectedRequest_;
    owed_.push(Owed{.atomic = true, .message = segment.message, .answer = {request.id, original}});
    qp_.adapter().scheduler.activate(qp_);
    return Reception{};
}

void Responder::refuseLater(const Failure& failure, const TerminateInfo& terminate) {
    refusal_ = Refused{failure, terminate};
    qp_.adapter().scheduler.activate(qp_);
}

bool Responder::step() {
    if (held_)
        return false;
    if (!owed_.empty()) {
        const Owed owed = owed_.front();
        return owed.atomic ? sendAtomicResponse(owed) : sendReadResponse(owed);
    }
    if (!refusal_)
        return false;
    const Refused refusal = *refusal_;
    qp_.inboundFailed(refusal.failure, refusal.terminate);
    return true;
}

// Hands a segment of a response to the transport.  False: not now, or the connection is gone.
bool Responder::accepted(const Segment& segment) {
    const Placement placement = qp_.transport().deliver(segment);
    switch (placement.kind) {
    case Placement::Kind::Accepted: {
        Counters& counters = qp_.adapter().counters;
        ++counters[Counter::TxPackets];
        counters[Counter::TxBytes] += segment.payload.size();
        qp_.adapter().budget.chargeOctets(segment.payload.size());
        ++packets_;
        bytes_ += segment.payload.size();
        return true;
    }
    case Placement::Kind::Hold:
        held_ = true;
        return false;
    case Placement::Kind::NotReady: // of the receiving side only
    case Placement::Kind::Failed:
    case Placement::Kind::Gone:
        break;
    }
    qp_.peerRefused(std::nullopt, placement.code);
    return false;
}

bool Responder::sendAtomicResponse(const Owed& owed) {
    Segment segment;
    segment.op = SegmentOp::AtomicResponse;
    segment.message = nextAtomicResponse_;
    segment.atomicResponse = owed.answer;
    if (!accepted(segment))
        return !held_;
    ++nextAtomicResponse_;
    owed_.pop();
    return true;
}

bool Responder::sendReadResponse(const Owed& owed) {
    const ReadRequest& read = owed.read;
    const uint64_t left = read.size - sent_;
    const auto length =
        static_cast<size_t>(std::min<uint64_t>(left, std::min(qp_.transport().maxPayload(true), kMaxSegmentPayload)));
    Segment segment;
    segment.op = SegmentOp::ReadResponse;
    segment.last = length == left;
    segment.stag = read.sinkStag;
    segment.to = read.sinkTo + sent_;
    if (length != 0) {
        const Bytes buffer = qp_.adapter().fabric.scratch().first(length);
        const MrFault fault = qp_.adapter().regions.read(
            {read.sourceStag, qp_.config().pd, read.sourceTo + sent_, length, access::kRemoteRead, Side::Remote},
            buffer);
        segment.payload = buffer;
        if (fault != MrFault::None) {
            refuse(owed, fault);
            return true;
        }
    }
    if (!accepted(segment))
        return !held_;
    sent_ += length;
    if (segment.last) {
        sent_ = 0;
        owed_.pop();
        if (Observer* observer = qp_.adapter().observer)
            observer->readServed(qp_, owed.message, read);
    }
    return true;
}

void Responder::refuse(const Owed& owed, MrFault fault) {
    const Reception reception = remoteFault(fault, false);
    TerminateInfo terminate;
    terminate.code = reception.failure.code;
    terminate.culprit = TerminateInfo::Culprit::Request;
    terminate.message = owed.message;
    terminate.syndrome = reception.failure.requester;
    qp_.inboundFailed(reception.failure, terminate);
}

void Responder::holdExpired() {
    ++qp_.adapter().counters[Counter::RnrTimeouts];
    Failure failure;
    failure.code = qp_.transport().codeOf(Refusal::NoBuffer);
    failure.event = AsyncEvent::RecvQueue;
    failure.why = "no receive buffer in time";
    TerminateInfo terminate;
    terminate.code = failure.code;
    terminate.culprit = TerminateInfo::Culprit::Send;
    terminate.message = expectedSend_;
    qp_.inboundFailed(failure, terminate);
}

void Responder::discard() {
    owed_.clear();
    refusal_.reset();
    holdDeadline_ = 0;
    fed();
}

// No message waits for a receive buffer any more.
void Responder::fed() {
    if (starvedSince_)
        starvedNs_ += qp_.adapter().machine.nowNs() - *std::exchange(starvedSince_, std::nullopt);
}

bool Responder::flush(uint16_t end) {
    const auto one = [&](uint16_t index, Syndrome syndrome) {
        ++completions_;
        Completion completion{};
        completion.op = Op::RecvSend;
        completion.queue = QueueType::Receive;
        completion.syndrome = syndrome;
        completion.index = index;
        completion.qpn = qp_.qpn();
        qp_.adapter().cqs.complete(qp_.config().recvCqn, completion);
    };
    if (rqeInUse_)
        one(rqeIndex_, halfReceived_);
    rqeInUse_ = inSend_ = false;
    for (; ci_ != end; one(ci_++, Syndrome::Flushed)) {
        if (qp_.adapter().budget.spent())
            return false;
    }
    return true;
}

} // namespace erdma
