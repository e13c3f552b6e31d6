// SPDX-License-Identifier: GPL-2.0-or-later
#include "rc_responder.h"

#include <algorithm>
#include <utility>

#include "rc.h"

namespace erdma {

namespace {

bool isRead(RoceOp op) { return op == RoceOp::ReadRequest; }
bool isAtomic(RoceOp op) { return op == RoceOp::CompareSwap || op == RoceOp::FetchAdd; }
bool isSend(RoceOp op) { return op <= RoceOp::SendOnlyImm || op == RoceOp::SendLastInv || op == RoceOp::SendOnlyInv; }
bool isWrite(RoceOp op) { return op >= RoceOp::WriteFirst && op <= RoceOp::WriteOnlyImm; }
bool isOnly(RoceOp op) {
    return op == RoceOp::SendOnly || op == RoceOp::SendOnlyImm || op == RoceOp::SendOnlyInv ||
           op == RoceOp::WriteOnly || op == RoceOp::WriteOnlyImm;
}
bool begins(RoceOp op) { return op == RoceOp::SendFirst || op == RoceOp::WriteFirst || isOnly(op); }
bool ends(RoceOp op) {
    return isOnly(op) || op == RoceOp::SendLast || op == RoceOp::SendLastImm || op == RoceOp::SendLastInv ||
           op == RoceOp::WriteLast || op == RoceOp::WriteLastImm;
}
bool hasImmediate(RoceOp op) {
    return op == RoceOp::SendLastImm || op == RoceOp::SendOnlyImm || op == RoceOp::WriteLastImm ||
           op == RoceOp::WriteOnlyImm;
}
bool hasInvalidate(RoceOp op) { return op == RoceOp::SendLastInv || op == RoceOp::SendOnlyInv; }

bool isPathMtu(size_t octets) {
    return octets == 256 || octets == 512 || octets == 1024 || octets == 2048 || octets == 4096;
}

SegmentOp sendOp(const RocePacket& request) {
    if (hasImmediate(request.op))
        return request.solicited ? SegmentOp::SendImmSe : SegmentOp::SendImm;
    if (hasInvalidate(request.op))
        return request.solicited ? SegmentOp::SendSeInv : SegmentOp::SendInv;
    return request.solicited && ends(request.op) ? SegmentOp::SendSe : SegmentOp::Send;
}

} // namespace

RcResponder::~RcResponder() { end_.host.memory().used -= waitingOctets_; }

std::string RcResponder::describe() const {
    return ",\"epsn\":" + std::to_string(expected_) + ",\"msn\":" + std::to_string(msn_) +
           ",\"waiting\":" + std::to_string(waiting_.size()) + ",\"gap\":" + (gap_ ? "true" : "false");
}

// ---- sequence: 4.2, 4.3 ----

void RcResponder::receive(const RocePacket& request) {
    const int32_t ahead = psnDiff(request.psn, expected_);
    if (ahead > 0) {
        beyond();
        return;
    }
    RcEnd::OnStack call(end_);
    if (ahead < 0) {
        if (duplicate(request) && !call.gone)
            end_.host.rearm(end_.self);
        return;
    }
    gap_ = gapOwed_ = false;
    const bool answered = isRead(request.op) || isAtomic(request.op);
    const bool atWork = answer_ && !answer_->repeated;
    const bool tooMany = answered && waitingAnswers_ + (atWork ? 1 : 0) >= end_.setup.ird;
    const uint32_t after = psnPlus(request.psn, isRead(request.op) ? end_.packetsOf(request.length) : 1);
    if (!idle()) {
        if (enqueue(request, tooMany))
            expected_ = after;
        return;
    }
    expected_ = after;
    switch (execute(request, tooMany)) {
    case Verdict::Held:
        if (!enqueue(request, tooMany))
            expected_ = request.psn;
        break;
    case Verdict::NotReady:
        notReady(request);
        break;
    case Verdict::Done:
    case Verdict::Gone:
        break;
    }
}

void RcResponder::beyond() {
    if (!gap_)
        gap_ = gapOwed_ = true;
}

// False: as if the packet had been lost.
bool RcResponder::enqueue(const RocePacket& request, bool tooMany) {
    if (waiting_.size() >= kMostWaiting || !end_.host.memory().fits(request.payload.size())) {
        ++end_.counters()[Counter::RcOverflows];
        return false;
    }
    Waiting waiting;
    waiting.kept.keep(request);
    waiting.tooMany = tooMany;
    waiting_.push(waiting);
    waitingOctets_ += request.payload.size();
    end_.host.memory().used += request.payload.size();
    if (isRead(request.op) || isAtomic(request.op))
        ++waitingAnswers_;
    return true;
}

void RcResponder::dropWaiting() {
    for (; !waiting_.empty(); waiting_.pop())
        waiting_.front().kept.payload = {};
    waiting_.shrink(0);
    end_.host.memory().used -= waitingOctets_;
    waitingOctets_ = 0;
    waitingAnswers_ = 0;
}

// Whether a turn may be needed.
bool RcResponder::duplicate(const RocePacket& request) {
    ++end_.counters()[Counter::RcDuplicates];
    // What waits for its execution is answered then.
    if (psnDiff(request.psn, executed_) >= 0 || !hasRightPayload(request))
        return false;
    if (isSend(request.op) || isWrite(request.op)) {
        if (request.ackRequest && (!ackOwed_ || psnDiff(request.psn, *ackOwed_) > 0))
            ackOwed_ = request.psn;
        return false;
    }
    if (isRead(request.op))
        return repeatRead(request);
    if (isAtomic(request.op))
        repeatAtomic(request);
    return goOn_;
}

bool RcResponder::repeatRead(const RocePacket& request) {
    const uint64_t packets = end_.packetsOf(request.length);
    if (request.length > kLongestMessage || !end_.setup.peerMayRead ||
        packets > static_cast<uint64_t>(-static_cast<int64_t>(psnDiff(request.psn, executed_))))
        return false;
    const uint32_t after = psnPlus(request.psn, packets);
    const auto same = std::find_if(repeats_.begin(), repeats_.end(), [&](const RocePacket& waiting) {
        return isRead(waiting.op) && psnPlus(waiting.psn, end_.packetsOf(waiting.length)) == after;
    });
    if (same != repeats_.end())
        repeats_.erase(same);
    if (answer_ && isRead(answer_->request.op)) {
        Answer& train = *answer_;
        const bool again = train.after() == after;
        if (!again && psnDiff(request.psn, train.request.psn) > 0) {
            later(request);
            return false;
        }
        // The peer has gone back.  What this train still has to bring comes behind what is asked for now.
        if (!again) {
            RocePacket rest = train.request;
            const uint64_t offset = train.sent * end_.pmtu;
            rest.psn = psnPlus(rest.psn, train.sent);
            rest.address += offset;
            rest.length -= static_cast<uint32_t>(std::min<uint64_t>(offset, rest.length));
            later(rest);
        }
        cutShort_ = cutShort_ || train.sent != 0;
        end_.qp.withdrawAnswers();
        answer_.reset();
    } else if (answer_ || blocked_) {
        later(request);
        return false;
    }
    return startRepeat(request);
}

// Bounded: what is too much will be asked for again.
void RcResponder::later(const RocePacket& request) {
    if (repeats_.size() >= std::max<size_t>(end_.setup.ird, 1))
        return;
    RocePacket kept = request;
    kept.payload = {};
    const auto place = std::find_if(repeats_.begin(), repeats_.end(),
                                    [&](const RocePacket& r) { return psnDiff(r.psn, request.psn) >= 0; });
    if (place == repeats_.end() || place->psn != request.psn)
        repeats_.insert(place, kept);
    goOn_ = true;
}

void RcResponder::repeatAtomic(const RocePacket& request) {
    if (executedAtomic(request) == nullptr)
        return;
    if (answer_)
        later(request);
    else
        startRepeat(request);
}

const RcResponder::Executed* RcResponder::executedAtomic(const RocePacket& request) const {
    const auto at = std::find_if(atomics_.begin(), atomics_.end(), [&](const Executed& e) {
        return e.psn == request.psn && e.op == request.op && e.address == request.address;
    });
    return at == atomics_.end() ? nullptr : &*at;
}

// A Read or atomic that was executed before.  False: the connection is gone.
bool RcResponder::startRepeat(const RocePacket& request) {
    current_ = request.psn;
    settleBefore(request.psn);
    if (isAtomic(request.op)) {
        if (const Executed* executed = executedAtomic(request))
            answerAtomic(request, executed->original);
        return true;
    }
    switch (hand(segmentOf(request))) {
    case Verdict::Done:
        ++requests_;
        answer_ = Answer{.request = request, .packets = end_.packetsOf(request.length), .repeated = true};
        answer_->request.payload = {};
        return true;
    case Verdict::Held:
    case Verdict::NotReady:
        later(request);
        return true;
    case Verdict::Gone:
        break;
    }
    return false;
}

// ---- execution: 4.4 to 4.7 ----

RcResponder::Verdict RcResponder::hand(const Segment& segment) {
    RcEnd::OnStack call(end_);
    const Placement placement = end_.qp.inbound(segment);
    if (call.gone)
        return Verdict::Gone;
    switch (placement.kind) {
    case Placement::Kind::Accepted:
        return Verdict::Done;
    case Placement::Kind::NotReady:
        return Verdict::NotReady;
    default:
        blocked_ = true;
        return Verdict::Held;
    }
}

RcResponder::Verdict RcResponder::execute(const RocePacket& request, bool tooMany) {
    current_ = request.psn;
    if (const std::optional<Refusal> why = objection(request, tooMany))
        return refuseRequest(*why);
    const Verdict verdict = hand(segmentOf(request));
    if (verdict == Verdict::Done)
        done(request);
    return verdict;
}

RcResponder::Verdict RcResponder::refuseRequest(Refusal why) {
    Failure failure;
    failure.reason = why;
    failure.code = end_.self.codeOf(why);
    failure.why = "invalid request";
    TerminateInfo info;
    info.code = failure.code;
    info.culprit = TerminateInfo::Culprit::Request;
    end_.qp.inboundFailed(failure, info);
    return Verdict::Gone;
}

std::optional<Refusal> RcResponder::objection(const RocePacket& request, bool tooMany) const {
    const RoceOp op = request.op;
    const Message kind = isSend(op) ? Message::Send : isWrite(op) ? Message::Write : Message::None;
    if (message_ == Message::None) {
        if (kind != Message::None && !begins(op))
            return Refusal::Sequence;
    } else if (kind != message_ || begins(op)) {
        return Refusal::Sequence;
    }
    if (kind == Message::None && !isRead(op) && !isAtomic(op))
        return Refusal::Unexpected;
    const RcSetup& setup = end_.setup;
    if ((kind == Message::Write && !setup.peerMayWrite) || (isRead(op) && !setup.peerMayRead) ||
        (isAtomic(op) && !setup.peerMayAtomic))
        return Refusal::Unexpected;
    if (tooMany)
        return Refusal::NoBuffer;
    return lengthObjection(request);
}

std::optional<Refusal> RcResponder::lengthObjection(const RocePacket& request) const {
    const RoceOp op = request.op;
    const size_t octets = request.payload.size();
    if (!hasRightPayload(request) || request.length > kLongestMessage)
        return Refusal::Offset;
    if (!carriesPayload(op))
        return std::nullopt;
    const bool first = begins(op), last = ends(op);
    const bool good = first && last ? octets <= kMaxRocePayload
                      : first       ? isPathMtu(octets)
                      : last        ? octets != 0 && octets <= packetOctets_
                                    : octets == packetOctets_;
    if (!good)
        return Refusal::Offset;
    if (isWrite(op)) {
        const uint64_t total = first ? request.length : length_;
        const uint64_t placed = (first ? 0 : placed_) + octets;
        if (last ? placed != total : placed >= total)
            return Refusal::Offset;
    }
    return std::nullopt;
}

Segment RcResponder::segmentOf(const RocePacket& request) const {
    const RoceOp op = request.op;
    Segment segment;
    segment.payload = request.payload;
    segment.last = ends(op);
    segment.immediate = request.immediate;
    if (isSend(op)) {
        segment.op = sendOp(request);
        segment.message = sends_;
        segment.offset = begins(op) ? 0 : static_cast<uint32_t>(placed_);
        segment.stag = request.invalidate;
    } else if (isWrite(op)) {
        const bool first = begins(op);
        segment.op = !hasImmediate(op)   ? SegmentOp::Write
                     : request.solicited ? SegmentOp::ImmediateSe
                                         : SegmentOp::Immediate;
        segment.message = sends_;
        segment.stag = first ? request.rkey : rkey_;
        segment.to = first ? request.address : address_ + placed_;
        segment.total = first ? request.length : 0;
        segment.writeLength = first ? request.length : length_;
    } else if (isRead(op)) {
        segment.op = SegmentOp::ReadRequest;
        segment.message = requests_;
        segment.read.size = request.length;
        segment.read.sourceStag = request.rkey;
        segment.read.sourceTo = request.address;
    } else {
        segment.op = SegmentOp::AtomicRequest;
        segment.message = requests_;
        segment.atomic = {requests_,       op == RoceOp::CompareSwap, request.rkey,
                          request.address, request.operand,           request.compare};
    }
    return segment;
}

// A new request was executed, or is being answered.
void RcResponder::done(const RocePacket& request) {
    const RoceOp op = request.op;
    if (isRead(op) || isAtomic(op)) {
        settleBefore(request.psn);
        answer_ = Answer{.request = request, .packets = isRead(op) ? end_.packetsOf(request.length) : 1};
        answer_->request.payload = {};
        executed_ = answer_->after();
        ++requests_;
        msn_ = (msn_ + 1) & 0xFFFFFF;
        return;
    }
    executed_ = psnPlus(request.psn, 1);
    if (request.ackRequest)
        ackOwed_ = request.psn;
    if (begins(op)) {
        message_ = isSend(op) ? Message::Send : Message::Write;
        packetOctets_ = static_cast<uint32_t>(request.payload.size());
        address_ = request.address;
        rkey_ = request.rkey;
        length_ = request.length;
        placed_ = 0;
    }
    placed_ += request.payload.size();
    if (!ends(op))
        return;
    if (message_ == Message::Send || hasImmediate(op))
        ++sends_;
    message_ = Message::None;
    msn_ = (msn_ + 1) & 0xFFFFFF;
}

// 4.5.
void RcResponder::notReady(const RocePacket& request) {
    ++end_.counters()[Counter::RcRnrNaksOut];
    expected_ = executed_ = request.psn;
    gap_ = true;
    gapOwed_ = false;
    ackOwed_.reset(); // implied
    dropWaiting();
    acknowledge(request.psn, static_cast<uint8_t>(aeth::kRnr | (end_.setup.rnrTimerCode & 0x1F)));
}

void RcResponder::takeTurn() {
    if (std::exchange(goOn_, false))
        goOn();
}

// Duplicates first: they are older than all that waits.
void RcResponder::goOn() {
    RcEnd::OnStack call(end_);
    for (uint32_t packets = 0; !answer_ && !blocked_; ++packets) {
        if (repeats_.empty() && waiting_.empty())
            break;
        if (packets == kMostPacketsPerTurn) {
            goOn_ = true;
            break;
        }
        if (!repeats_.empty()) {
            const RocePacket request = repeats_.front();
            repeats_.erase(repeats_.begin());
            if (!startRepeat(request))
                return;
            continue;
        }
        // The packet stays where it is until it is done with: nothing comes in meanwhile.
        const Waiting& front = waiting_.front();
        const RocePacket request = front.kept.whole();
        const Verdict verdict = execute(request, front.tooMany);
        if (verdict == Verdict::Gone)
            return;
        if (verdict == Verdict::Held)
            break;
        if (verdict == Verdict::NotReady) {
            notReady(request);
            break;
        }
        waitingOctets_ -= request.payload.size();
        end_.host.memory().used -= request.payload.size();
        if (isRead(request.op) || isAtomic(request.op))
            --waitingAnswers_;
        waiting_.front().kept.payload = {};
        waiting_.pop();
    }
    waiting_.shrink(0);
    if (!call.gone)
        settle();
}

// ---- answers: 4.8, 4.9 ----

void RcResponder::acknowledge(uint32_t psn, uint8_t syndrome) {
    RocePacket packet;
    packet.op = RoceOp::Acknowledge;
    packet.psn = psn;
    packet.syndrome = syndrome;
    packet.msn = msn_;
    end_.transmit(packet);
}

// Nothing may come between the packets of one answer, and a gap is told when all before it is executed.
void RcResponder::settle() {
    if (answer_)
        return;
    if (gapOwed_ && waiting_.empty()) {
        gapOwed_ = false;
        ackOwed_.reset(); // implied
        ++end_.counters()[Counter::RcNaksOut];
        ++outOfOrder_;
        acknowledge(expected_, aeth::kSequence);
    }
    if (ackOwed_)
        acknowledge(*std::exchange(ackOwed_, std::nullopt), aeth::kAck);
}

// An answer is about to begin, which implies what is before it.
void RcResponder::settleBefore(uint32_t psn) {
    if (!cutShort_ && ackOwed_ && psnDiff(*ackOwed_, psn) < 0)
        acknowledge(*std::exchange(ackOwed_, std::nullopt), aeth::kAck);
}

Placement RcResponder::deliver(const Segment& segment) {
    if (!answer_) // withdrawn
        return Placement{};
    Answer& answer = *answer_;
    if (segment.op == SegmentOp::AtomicResponse) {
        const Executed executed{answer.request.psn, answer.request.op, answer.request.address,
                                segment.atomicResponse.original};
        if (atomics_.size() < end_.setup.ird)
            atomics_.push_back(executed);
        else if (!atomics_.empty())
            atomics_[oldestAtomic_++ % atomics_.size()] = executed;
        answerAtomic(answer.request, executed.original);
        answered();
        return Placement{};
    }
    RocePacket packet;
    packet.op = answer.packets == 1                 ? RoceOp::ReadOnly
                : answer.sent == 0                  ? RoceOp::ReadFirst
                : answer.sent + 1 == answer.packets ? RoceOp::ReadLast
                                                    : RoceOp::ReadMiddle;
    packet.psn = psnPlus(answer.request.psn, answer.sent++);
    if (packet.op != RoceOp::ReadMiddle) {
        packet.syndrome = aeth::kAck;
        packet.msn = msn_;
    }
    packet.payload = segment.payload;
    end_.transmit(packet);
    if (segment.last)
        answered();
    return Placement{};
}

void RcResponder::answerAtomic(const RocePacket& request, uint64_t original) {
    RocePacket packet;
    packet.op = RoceOp::AtomicAcknowledge;
    packet.psn = request.psn;
    packet.syndrome = aeth::kAck;
    packet.msn = msn_;
    packet.original = original;
    end_.transmit(packet);
}

// Called by the queue pair: what waits is executed in a turn of its own.
void RcResponder::answered() {
    answer_.reset();
    cutShort_ = false;
    if (repeats_.empty() && waiting_.empty()) {
        settle();
    } else {
        goOn_ = true;
        end_.host.rearm(end_.self);
    }
}

void RcResponder::refuse(const TerminateInfo& why) {
    if (why.culprit == TerminateInfo::Culprit::Unknown || midAnswer())
        return;
    ++end_.counters()[Counter::RcNaksOut];
    acknowledge(current_, static_cast<uint8_t>(why.code.number));
}

} // namespace erdma
