// SPDX-License-Identifier: GPL-2.0-or-later
#include "rc_requester.h"

#include <algorithm>
#include <array>

namespace erdma {

namespace {

constexpr uint64_t kWindow = 128;         // W of 3.2
constexpr uint64_t kReadAtOnce = 64;      // R of 3.1
constexpr uint32_t kAckRequestEvery = 32; // 3.3
constexpr size_t kRestingSlots = 4;       // of an idle connection
// What is sent first to a peer that had no buffer, or said nothing.  It may be slow: most of a whole window would only be
// thrown away there, and what answers it be so late behind the last one that the timer asks for a third.  A peer that says
// nothing may as well lose packets: few of them would not get through often enough.
constexpr uint64_t kFirstAfterWait = 1, kFirstAfterSilence = 32;
constexpr uint8_t kTimeoutCode = 14, kTimeoutCodeCap = 19;
constexpr uint8_t kWithoutLimit = 7;

// 3.6, in units of 10 us.
constexpr std::array<uint32_t, 32> kRnrTimers{65536, 1,    2,    3,    4,    6,     8,     12,    16,    24,   32,
                                              48,    64,   96,   128,  192,  256,   384,   512,   768,   1024, 1536,
                                              2048,  3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152};
constexpr uint64_t kRnrUnitNs = 10'000;

constexpr uint64_t timeoutNs(uint8_t code) { return uint64_t{4096} << code; }

// Where in its message a packet is: what the segments of a message become.
RoceOp sendOp(const Segment& segment) {
    const bool first = segment.offset == 0;
    if (!segment.last)
        return first ? RoceOp::SendFirst : RoceOp::SendMiddle;
    switch (segment.op) {
    case SegmentOp::SendImm:
    case SegmentOp::SendImmSe:
        return first ? RoceOp::SendOnlyImm : RoceOp::SendLastImm;
    case SegmentOp::SendInv:
    case SegmentOp::SendSeInv:
        return first ? RoceOp::SendOnlyInv : RoceOp::SendLastInv;
    default:
        return first ? RoceOp::SendOnly : RoceOp::SendLast;
    }
}

RoceOp writeOp(const Segment& segment, bool first) {
    if (!segment.last)
        return first ? RoceOp::WriteFirst : RoceOp::WriteMiddle;
    if (segment.op == SegmentOp::Write)
        return first ? RoceOp::WriteOnly : RoceOp::WriteLast;
    return first ? RoceOp::WriteOnlyImm : RoceOp::WriteLastImm;
}

bool isSolicited(SegmentOp op) {
    return op == SegmentOp::SendSe || op == SegmentOp::SendSeInv || op == SegmentOp::SendImmSe ||
           op == SegmentOp::ImmediateSe;
}

} // namespace

RcRequester::~RcRequester() { end_.host.memory().used -= keptOctets_; }

void RcRequester::start(uint32_t sendPsn) {
    start_ = sendPsn & 0xFFFFFF;
    started_ = true;
    refill();
}

std::string RcRequester::describe() const {
    return ",\"una\":" + std::to_string(psnOf(oldest_)) + ",\"nxt\":" + std::to_string(psnOf(next_)) +
           ",\"retries_left\":" + std::to_string(retriesLeft_) + ",\"rnr_left\":" + std::to_string(rnrLeft_) +
           ",\"timeouts\":" + std::to_string(timeouts_) + ",\"waits\":" + (waitUntil_ != 0 ? "true" : "false");
}

Limit RcRequester::limit() const {
    if (resending_ || waitUntil_ != 0 || expiries_ != 0)
        return notReadyYet_ ? Limit::PeerBuffers : Limit::Loss;
    return next_ - oldest_ >= kWindow ? Limit::Window : Limit::Idle;
}

// No round trips are measured.
FlowFacts RcRequester::flow() const {
    return {.window = kWindow * end_.pmtu,
            .threshold = ~uint64_t{0},
            .flight = (next_ - oldest_) * end_.pmtu,
            .peerWindow = 0,
            .rttNs = 0,
            .rttVariationNs = 0,
            .timeoutNs = end_.setup.timeoutCode == 0 ? 0 : period(),
            .repeats = repeats_,
            .recoveries = recoveries_,
            .timeouts = timeouts_,
            .notReady = notReady_,
            .outOfOrder = 0};
}

// ---- out ----

bool RcRequester::mayStart(size_t octets) const {
    if (!started_ || waitUntil_ != 0 || resending_ || next_ - oldest_ >= kWindow)
        return false;
    if (sent_.empty())
        return true;
    const Sent& newest = sent_.at(sent_.end() - 1);
    return newest.packets == newest.total && end_.host.memory().fits(octets);
}

RcRequester::Sent& RcRequester::push(const RocePacket& packet, Kind kind, uint64_t packets) {
    const bool idle = oldest_ == next_;
    sent_.push(Sent{});
    Sent& sent = sent_.at(sent_.end() - 1);
    sent.kept.keep(packet);
    sent.kind = kind;
    sent.first = next_;
    sent.packets = sent.total = packets;
    keptOctets_ += packet.payload.size();
    end_.host.memory().used += packet.payload.size();
    next_ += packets;
    if (idle) {
        progressAt_ = end_.host.nowNs();
        restartTimer();
    }
    return sent;
}

void RcRequester::popFront() {
    Sent& sent = sent_.front();
    keptOctets_ -= sent.kept.payload.size();
    end_.host.memory().used -= sent.kept.payload.size();
    sent.kept.payload = {};
    sent_.pop();
    sent_.shrink(kRestingSlots);
    resendAt_ = std::max(resendAt_, sent_.begin());
}

Placement RcRequester::deliver(const Segment& segment) {
    if (!mayStart(segment.payload.size()))
        return Placement{Placement::Kind::Hold, {}, {}};
    switch (segment.op) {
    case SegmentOp::ReadRequest:
        return sendRead(segment);
    case SegmentOp::AtomicRequest:
        return sendAtomic(segment);
    default:
        return sendData(segment);
    }
}

Placement RcRequester::sendData(const Segment& segment) {
    const bool write =
        segment.op == SegmentOp::Write || segment.op == SegmentOp::Immediate || segment.op == SegmentOp::ImmediateSe;
    RocePacket packet;
    packet.psn = psnOf(next_);
    packet.solicited = segment.last && isSolicited(segment.op);
    packet.immediate = segment.immediate;
    packet.payload = segment.payload;
    if (write) {
        packet.op = writeOp(segment, !inWrite_);
        packet.address = segment.to;
        packet.rkey = segment.stag;
        packet.length = segment.total;
        inWrite_ = !segment.last;
    } else {
        packet.op = sendOp(segment);
        packet.invalidate = segment.stag;
    }
    packet.ackRequest = segment.last || sinceAckRequest_ + 1 >= kAckRequestEvery || next_ + 1 - oldest_ >= kWindow ||
                        !end_.host.memory().fits(2 * end_.pmtu);
    sinceAckRequest_ = packet.ackRequest ? 0 : sinceAckRequest_ + 1;
    push(packet, Kind::Data, 1);
    end_.transmit(packet);
    return Placement{};
}

Placement RcRequester::sendRead(const Segment& segment) {
    RocePacket packet;
    packet.op = RoceOp::ReadRequest;
    packet.psn = psnOf(next_);
    packet.ackRequest = true;
    packet.address = segment.read.sourceTo;
    packet.rkey = segment.read.sourceStag;
    packet.length = segment.read.size;
    const uint64_t total = end_.packetsOf(segment.read.size);
    const uint64_t atOnce = std::min(total, kReadAtOnce);
    Sent& read = push(packet, Kind::Read, atOnce);
    read.total = total;
    read.sinkStag = segment.read.sinkStag;
    read.sinkTo = segment.read.sinkTo;
    sinceAckRequest_ = 0;
    requestRead(read, read.first, atOnce);
    return Placement{};
}

// A part of a Read, as a request of its own.
void RcRequester::requestRead(Sent& read, uint64_t from, uint64_t packets) {
    RocePacket packet = read.kept.packet;
    const uint64_t offset = (from - read.first) * end_.pmtu;
    packet.psn = psnOf(from);
    packet.address += offset;
    packet.length = static_cast<uint32_t>(std::min<uint64_t>(packet.length - offset, packets * end_.pmtu));
    end_.transmit(packet);
}

// The next part of a long Read, when half of the last one is there; with one request outstanding, when all of it is.
void RcRequester::askForMore() {
    if (sent_.empty() || waitUntil_ != 0 || resending_)
        return;
    Sent& read = sent_.at(sent_.end() - 1);
    if (read.packets == read.total)
        return;
    const uint64_t asked = read.first + read.packets;
    const uint64_t missing = asked - std::max(oldest_, read.first);
    const bool alone = sent_.size() >= end_.qp.ord();
    if (missing > (alone ? 0 : kReadAtOnce / 2))
        return;
    const uint64_t more = std::min(read.total - read.packets, kReadAtOnce);
    const bool idle = oldest_ == next_;
    read.packets += more;
    next_ += more;
    if (idle)
        restartTimer();
    requestRead(read, asked, more);
}

Placement RcRequester::sendAtomic(const Segment& segment) {
    RocePacket packet;
    packet.op = segment.atomic.compareSwap ? RoceOp::CompareSwap : RoceOp::FetchAdd;
    packet.psn = psnOf(next_);
    packet.ackRequest = true;
    packet.address = segment.atomic.to;
    packet.rkey = segment.atomic.stag;
    packet.operand = segment.atomic.operand;
    packet.compare = segment.atomic.compareSwap ? segment.atomic.compare : 0;
    push(packet, Kind::Atomic, 1).id = segment.atomic.id;
    sinceAckRequest_ = 0;
    end_.transmit(packet);
    return Placement{};
}

// ---- in ----

void RcRequester::receive(const RocePacket& response) {
    if (!started_ || !hasRightPayload(response)) {
        ghost();
        return;
    }
    RcEnd::OnStack call(end_);
    if (held_.empty() && handle(response) != Verdict::Held) {
        if (!call.gone)
            end_.host.rearm(end_.self);
        return;
    }
    if (call.gone)
        return;
    // As if it had been lost, when there are too many.
    const size_t octets = response.payload.size();
    if (held_.size() >= kMostWaiting || !end_.host.memory().fits(octets))
        return;
    KeptPacket kept;
    kept.keep(response);
    held_.push(kept);
    keptOctets_ += octets;
    end_.host.memory().used += octets;
}

void RcRequester::offerAgain() {
    while (!held_.empty()) {
        const Verdict verdict = handle(held_.front().whole());
        if (verdict != Verdict::Done)
            return;
        KeptPacket& kept = held_.front();
        keptOctets_ -= kept.payload.size();
        end_.host.memory().used -= kept.payload.size();
        kept.payload = {};
        held_.pop();
    }
    held_.shrink(0);
}

RcRequester::Verdict RcRequester::ghost() {
    ++end_.counters()[Counter::RcGhosts];
    return Verdict::Done;
}

// 3.4.
RcRequester::Verdict RcRequester::handle(const RocePacket& response) {
    const bool bare = response.op == RoceOp::ReadMiddle; // without AETH
    const aeth::Kind kind = aeth::kindOf(response.syndrome);
    if (!bare && (kind == aeth::Kind::Reserved || (kind != aeth::Kind::Ack && response.op != RoceOp::Acknowledge)))
        return ghost();
    const int32_t ahead = psnDiff(response.psn, psnOf(oldest_));
    uint64_t number = oldest_ + static_cast<uint64_t>(static_cast<int64_t>(ahead));
    const bool inside = ahead >= 0 && number < next_;
    if (!inside) {
        // The peer could not go on with its answers to a Read, and names the whole Read.
        const bool ofRead = !bare && kind == aeth::Kind::Rnr && ahead < 0 && !sent_.empty() &&
                            sent_.front().kind == Kind::Read &&
                            static_cast<uint64_t>(-static_cast<int64_t>(ahead)) <= oldest_ - sent_.front().first;
        if (!ofRead)
            return ghost();
        number = oldest_;
    }
    RcEnd::OnStack call(end_);
    const Verdict verdict = judge(response, number);
    if (call.gone)
        return Verdict::Gone;
    return verdict == Verdict::Held ? verdict : report();
}

// The answer concerns packet `number`.  What it says about those before comes first.
RcRequester::Verdict RcRequester::judge(const RocePacket& response, uint64_t number) {
    if (acknowledgeBefore(number))
        return take(response);
    // Answers are missing: to a Read or an atomic.
    const Sent& front = sent_.front();
    if (number >= front.first + front.packets)
        return retry(Cause::Implicit);
    if (response.op != RoceOp::Acknowledge)
        return front.kind == Kind::Read && response.op != RoceOp::AtomicAcknowledge ? retry(Cause::Implicit) : ghost();
    return aeth::kindOf(response.syndrome) == aeth::Kind::Ack ? ghost() : take(response);
}

// Completes what ends before `number`.  False: an answer before it is missing.
bool RcRequester::acknowledgeBefore(uint64_t number) {
    bool any = false;
    while (!sent_.empty() && sent_.front().kind == Kind::Data && sent_.front().first < number) {
        oldest_ = sent_.front().first + 1;
        popFront();
        any = true;
    }
    if (any)
        progressed();
    return oldest_ >= number;
}

RcRequester::Verdict RcRequester::take(const RocePacket& response) {
    switch (response.op) {
    case RoceOp::Acknowledge:
        return acknowledge(response);
    case RoceOp::AtomicAcknowledge:
        return sent_.front().kind == Kind::Atomic ? takeAtomic(response) : ghost();
    default:
        return sent_.front().kind == Kind::Read ? takeRead(response) : ghost();
    }
}

RcRequester::Verdict RcRequester::acknowledge(const RocePacket& response) {
    const uint8_t syndrome = response.syndrome;
    switch (aeth::kindOf(syndrome)) {
    case aeth::Kind::Ack:
        if (sent_.front().kind != Kind::Data)
            return ghost();
        oldest_ = sent_.front().first + 1;
        popFront();
        progressed();
        return Verdict::Done;
    case aeth::Kind::Rnr:
        ++end_.counters()[Counter::RcRnrNaksIn];
        ++notReady_;
        return wait(syndrome & 0x1F);
    case aeth::Kind::Nak:
        ++end_.counters()[Counter::RcNaksIn];
        if (syndrome == aeth::kSequence)
            return waitUntil_ != 0 ? Verdict::Done : retry(Cause::Nak);
        // What is before it is complete for the queue pair, too: the culprit is the oldest one left.
        if (report() == Verdict::Gone)
            return Verdict::Gone;
        return fail(syndrome == aeth::kAccess ? Syndrome::RecvRights : Syndrome::General, "refused by the peer");
    case aeth::Kind::Reserved:
        break;
    }
    return ghost();
}

RcRequester::Verdict RcRequester::hand(const Segment& segment) {
    RcEnd::OnStack call(end_);
    const Placement placement = end_.qp.inbound(segment);
    if (call.gone)
        return Verdict::Gone;
    return placement.kind == Placement::Kind::Accepted ? Verdict::Done : Verdict::Held;
}

RcRequester::Verdict RcRequester::takeRead(const RocePacket& response) {
    Sent& read = sent_.front();
    const uint64_t index = oldest_ - read.first;
    const uint64_t offset = index * end_.pmtu;
    const uint64_t left = read.kept.packet.length - offset;
    if (response.payload.size() != std::min<uint64_t>(left, end_.pmtu)) {
        if (report() == Verdict::Gone)
            return Verdict::Gone;
        return fail(Syndrome::General, "read response of a wrong length");
    }
    Segment segment;
    segment.op = SegmentOp::ReadResponse;
    segment.stag = read.sinkStag;
    segment.to = read.sinkTo + offset;
    segment.last = index + 1 == read.total;
    segment.payload = response.payload;
    if (const Verdict verdict = hand(segment); verdict != Verdict::Done)
        return verdict;
    ++oldest_;
    if (segment.last)
        popFront();
    progressed();
    askForMore();
    return Verdict::Done;
}

RcRequester::Verdict RcRequester::takeAtomic(const RocePacket& response) {
    Segment segment;
    segment.op = SegmentOp::AtomicResponse;
    segment.message = atomicAnswers_ + 1;
    segment.atomicResponse = {sent_.front().id, response.original};
    if (const Verdict verdict = hand(segment); verdict != Verdict::Done)
        return verdict;
    ++atomicAnswers_;
    ++oldest_;
    popFront();
    progressed();
    return Verdict::Done;
}

void RcRequester::refill() {
    retriesLeft_ = end_.setup.retries;
    rnrLeft_ = end_.setup.rnrRetries;
}

void RcRequester::progressed() {
    progress_ = true;
    progressAt_ = end_.host.nowNs();
    guard_ = false;
    expiries_ = 0;
    if (resending_ && round_ != 0 && sent_.begin() >= resendEnd_) {
        round_ *= 2;
        resendEnd_ = sent_.begin() + round_;
    }
    refill();
    restartTimer();
}

// Tells the queue pair what progressed() noted.
RcRequester::Verdict RcRequester::report() {
    if (!std::exchange(progress_, false))
        return Verdict::Done;
    RcEnd::OnStack call(end_);
    end_.qp.acknowledged();
    if (!call.gone)
        end_.qp.resume();
    return call.gone ? Verdict::Gone : Verdict::Done;
}

RcRequester::Verdict RcRequester::fail(Syndrome syndrome, const char* why) {
    end_.qp.fail(syndrome, std::nullopt, 0, why);
    return Verdict::Gone;
}

// ---- retries ----

uint64_t RcRequester::period() const {
    if (!end_.setup.timeoutCode)
        return timeoutNs(static_cast<uint8_t>(std::min<uint32_t>(kTimeoutCode + expiries_, kTimeoutCodeCap)));
    return timeoutNs(*end_.setup.timeoutCode & 31) << std::min<uint32_t>(expiries_, 2);
}

void RcRequester::restartTimer() {
    const bool off = oldest_ == next_ || waitUntil_ != 0 || end_.setup.timeoutCode == 0;
    expiry_ = off ? ERDMA_TIMER_OFF : end_.host.nowNs() + period();
    end_.host.rearm(end_.self);
}

// 3.6: the peer has no receive buffer for the oldest packet.
RcRequester::Verdict RcRequester::wait(uint8_t timerCode) {
    if (waitUntil_ != 0)
        return Verdict::Done;
    if (rnrLeft_ == 0)
        return report() == Verdict::Gone ? Verdict::Gone
                                         : fail(Syndrome::RetryExceeded, "peer is not ready to receive");
    if (end_.setup.rnrRetries != kWithoutLimit)
        --rnrLeft_;
    waitUntil_ = end_.host.nowNs() + kRnrTimers[timerCode & 31] * kRnrUnitNs;
    resending_ = false;
    notReadyYet_ = true;
    restartTimer();
    return Verdict::Done;
}

// 3.7: something was lost.
RcRequester::Verdict RcRequester::retry(Cause cause) {
    if (guard_ || waitUntil_ != 0)
        return Verdict::Done;
    ++end_.counters()[cause == Cause::Nak ? Counter::RcRetriesNak : Counter::RcRetriesImplicit];
    if (retriesLeft_ == 0)
        return report() == Verdict::Gone ? Verdict::Gone : fail(Syndrome::RetryExceeded, "retries exhausted");
    --retriesLeft_;
    ++recoveries_;
    notReadyYet_ = false;
    resendAll(); // before the queue pair hears of progress: it would send what is new
    return report() == Verdict::Gone ? Verdict::Gone : resend();
}

// `round`: no more until that is acknowledged, and then twice as much; 0: all.
void RcRequester::resendAll(uint64_t round) {
    guard_ = true;
    resending_ = oldest_ != next_;
    resendAt_ = sent_.begin();
    round_ = round;
    resendEnd_ = round == 0 ? UINT64_MAX : resendAt_ + round;
}

// As much as a turn and the round may do.
RcRequester::Verdict RcRequester::resend() {
    for (uint32_t packets = 0; resending_; ++packets) {
        if (resendAt_ == sent_.end()) {
            resending_ = false;
            break;
        }
        if (packets == kMostPacketsPerTurn || resendAt_ >= resendEnd_)
            return Verdict::Done;
        Sent& sent = sent_.at(resendAt_++);
        ++repeats_;
        if (sent.kind == Kind::Read) {
            const uint64_t from = std::max(oldest_, sent.first);
            const uint64_t after = sent.first + sent.packets;
            if (from != after)
                requestRead(sent, from, after - from);
            else if (round_ != 0)
                ++resendEnd_; // the next part is due instead, and nobody would answer this round
            continue;
        }
        // An answer to the first says that something came of it, whatever becomes of the others.
        RocePacket packet = sent.kept.whole();
        packet.ackRequest =
            packet.ackRequest || resendAt_ == sent_.begin() + 1 || resendAt_ == std::min(resendEnd_, sent_.end());
        end_.transmit(packet);
    }
    return goOn();
}

RcRequester::Verdict RcRequester::goOn() {
    RcEnd::OnStack call(end_);
    askForMore();
    end_.qp.resume();
    return call.gone ? Verdict::Gone : Verdict::Done;
}

void RcRequester::takeTurn() {
    const uint64_t now = end_.host.nowNs();
    if (waitUntil_ != 0) {
        if (now < waitUntil_)
            return;
        waitUntil_ = 0;
        resendAll(kFirstAfterWait);
        restartTimer();
        if (!resending_) {
            goOn();
            return;
        }
    } else if (now >= expiry_) {
        ++timeouts_;
        ++end_.counters()[Counter::RcTimeouts];
        if (retriesLeft_ == 0) {
            fail(Syndrome::RetryExceeded, "peer does not answer");
            return;
        }
        --retriesLeft_;
        ++expiries_;
        notReadyYet_ = false;
        restartTimer();
        resendAll(kFirstAfterSilence);
    }
    if (resending_)
        resend();
}

} // namespace erdma
