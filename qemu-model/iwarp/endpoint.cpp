// SPDX-License-Identifier: GPL-2.0-or-later
#include "endpoint.h"

#include <algorithm>
#include <array>
#include <utility>

#include "adapter.h"
#include "byteorder.h"
#include "tracker.h"

namespace erdma {

namespace {

constexpr TerminateCode kTcpLost{2, 0, 1}; // Refusal::Gone
constexpr size_t kMostHeaders = 128;       // of an FPDU, CRC included
constexpr unsigned kTimeoutsBeforeMacSwitch = 3;
constexpr uint32_t kRtrStag = 1; // of the message without octets that an initiator begins with (1.9)
// What one turn does for a queue pair.
constexpr size_t kInputAtOnce = size_t{192} << 10;
constexpr size_t kUnitCost = 512; // of a segment besides its octets
constexpr unsigned kResponsesAtOnce = 4;
constexpr std::array<uint64_t, 3> kNudges{50 * kMs, 200 * kMs, 800 * kMs}; // 1.9

// Messages of the operation's kind that the queue pair does not count.
uint32_t numberedBefore(SegmentOp op, uint32_t requests, uint32_t sends) {
    switch (op) {
    case SegmentOp::ReadRequest:
    case SegmentOp::AtomicRequest:
        return requests;
    case SegmentOp::Send:
    case SegmentOp::SendInv:
    case SegmentOp::SendSe:
    case SegmentOp::SendSeInv:
    case SegmentOp::SendImm:
    case SegmentOp::SendImmSe:
    case SegmentOp::Immediate:
    case SegmentOp::ImmediateSe:
        return sends;
    default:
        return 0;
    }
}

} // namespace

// Keeps the endpoint alive while it is on the stack, and tells the host about new deadlines at the end.
class Endpoint::OnStack {
public:
    explicit OnStack(Endpoint& endpoint) : endpoint_(endpoint.shared_from_this()) {
        if (endpoint_->depth_++ == 0) {
            endpoint_->work_ = endpoint_->inputWork_ = 0;
            endpoint_->followMtu();
        }
    }
    ~OnStack() {
        if (--endpoint_->depth_ != 0)
            return;
        endpoint_->host_.rearm(*endpoint_);
        if (endpoint_->qp_ != nullptr)
            endpoint_->qp_->noteLimit();
    }
    OnStack(const OnStack&) = delete;
    OnStack& operator=(const OnStack&) = delete;

private:
    std::shared_ptr<Endpoint> endpoint_;
};

class Endpoint::Wire final : public Transport {
public:
    explicit Wire(std::shared_ptr<Endpoint> endpoint) : endpoint_(std::move(endpoint)) {}
    ~Wire() override { close(false); }

    Placement deliver(const Segment& segment) override {
        if (endpoint_->flushPending_ && segment.op != SegmentOp::Terminate) // nobody has to be told any more
            return endpoint_->deliver(segment);
        const OnStack here(*endpoint_);
        return segment.op == SegmentOp::Terminate ? endpoint_->deliverTerminate(segment) : endpoint_->deliver(segment);
    }
    size_t maxPayload(bool tagged) const override {
        endpoint_->followMtu();
        return std::min(fpduPayload(endpoint_->tcp_.segmentBytes(), tagged), size_t{64} * 1024);
    }
    uint64_t sent() const override { return endpoint_->tcp_.appended(); }
    uint64_t acknowledged() const override {
        return endpoint_->setup_.completeQueued ? endpoint_->tcp_.appended() : endpoint_->tcp_.acknowledged();
    }
    bool confirmsLater() const override { return true; }
    uint32_t ord() const override { return endpoint_->setup_.ord; }
    uint32_t ird() const override { return endpoint_->setup_.ird; }
    bool carries(SegmentOp op) const override { return opcodeAllowed(endpoint_->setup_.format, op); }
    RefusalCode codeOf(Refusal why) const override { return terminateCode(why); }
    uint64_t timeouts() const override { return endpoint_->tcp_.counters().timeouts; }
    PathFacts path() const override {
        const TcpConnection& tcp = endpoint_->tcp_;
        const bool more = tcp.appended() > tcp.acknowledged() + tcp.flight(); // in the buffer, and not sent
        const bool full = more ? tcp.flight() + tcp.segmentBytes() > tcp.peerWindow() : !tcp.roomy();
        return {.frameBytes = static_cast<uint32_t>(tcp.segmentBytes()), .windowFull = full};
    }
    Limit limit() const override {
        if (endpoint_->sendingHeld_ && !endpoint_->gateOpen())
            return Limit::Answers; // of the set-up
        return endpoint_->tcp_.limit();
    }
    FlowFacts flow() const override { return endpoint_->tcp_.flow(); }
    uint64_t quietSince() const override { return endpoint_->tcp_.quietSince(); }
    void readyToReceive() override {
        const OnStack here(*endpoint_);
        endpoint_->resumePending_ = true; // not from inside the doorbell
    }
    unsigned runPeer(unsigned) override { return 0; }
    void close(bool graceful) override {
        const OnStack here(*endpoint_);
        endpoint_->queuePairEnded(graceful);
    }

private:
    std::shared_ptr<Endpoint> endpoint_;
};

Endpoint::Endpoint(QueuePair& qp, const EndpointSetup& setup, EndpointHost& host, MemoryBudget& budget)
    : qp_(&qp), setup_(setup), host_(host), tcp_(setup.tcp, setup.settings, *this, *this, budget),
      decoder_(setup.format), mtu_(host.mtu()), kernelLeft_(setup.kernelOctets),
      fpduStart_(tcp_.appended() + setup.kernelOctets), gateOpen_(setup.initiator) {
    started_ = nowNs();
    if (kernelLeft_ != 0)
        replyAt_ = nowNs() + setup_.replyLimit;
    tcp_.acknowledgeSoon(); // of the MPA frame that the kernel read last
}

std::shared_ptr<Endpoint> Endpoint::open(QueuePair& qp, const EndpointSetup& setup, EndpointHost& host,
                                         MemoryBudget& budget) {
    auto endpoint = std::make_shared<Endpoint>(qp, setup, host, budget);
    const OnStack here(*endpoint);
    qp.attach(std::make_unique<Wire>(endpoint));
    return endpoint;
}

void Endpoint::transmit(const TcpSegment& segment) {
    if (tcp_.timeoutsInARow() >= kTimeoutsBeforeMacSwitch && heardFrom_)
        setup_.link.destination = *heardFrom_;
    IpHeader ip = setup_.ip;
    ip.id = ipId_++;
    work_ += segment.payload.size() + kUnitCost;
    host_.sendFrame({setup_.link, ip, segment});
}

// ---- from the queue pair ----

void Endpoint::send(const Segment& segment, const QuotedHeaders* quoted) {
    ++counters_.fpdusOut;
    tcp_.append(segment.payload.size() + kMostHeaders, segment.last,
                [&](std::vector<std::byte>& out) { encodeFpdu(segment, setup_.format, out, quoted); });
    flushPending_ = true;
}

Placement Endpoint::deliver(const Segment& segment) {
    if (tcp_.state() == TcpState::Closed)
        return Placement{Placement::Kind::Failed, kTcpLost, Syndrome::Flushed};
    if (!gateOpen() || tcp_.room() == 0) {
        sendingHeld_ = true;
        return Placement{Placement::Kind::Hold, {}, {}};
    }
    if (startPending_ && setup_.rtrAgreed)
        start();
    halfSent_ = !segment.last;
    if (nudgeAt_ != kNever)
        spokenAt_ = nowNs();
    if (const uint32_t before = numberedBefore(segment.op, ownRequests_, ownSends_)) {
        Segment next = segment;
        next.message += before;
        send(next);
    } else {
        send(segment);
    }
    return Placement{};
}

// The last thing that the queue pair says.  It may cut a message, and may exceed the send buffer.
Placement Endpoint::deliverTerminate(const Segment& segment) {
    if (tcp_.state() == TcpState::Closed || kernelLeft_ != 0 || terminateSent_)
        return Placement{};
    QuotedHeaders quoted = decoder_.quoted();
    const TerminateInfo& info = segment.terminate;
    if (info.culprit == TerminateInfo::Culprit::Request &&
        (quoted.ddpBytes != quoted.ddp.size() || loadBe32(quoted.ddp, 6) != 1 ||
         loadBe32(quoted.ddp, 10) != info.message)) {
        quoted = quoteFrom(info);
        for (uint64_t i = reads_.begin(); i != reads_.end(); ++i)
            if (reads_.at(i).msn == info.message)
                quoted = reads_.at(i).headers;
    }
    terminateSent_ = true;
    ++counters_.terminatesOut;
    send(segment, &quoted);
    return Placement{};
}

// Wire action of 7.2 to 7.7.
void Endpoint::queuePairEnded(bool graceful) {
    if (qp_ == nullptr)
        return;
    qp_ = nullptr;
    guardAt_ = replyAt_ = responsesAt_ = nudgeAt_ = kNever;
    startPending_ = segmentHeld_ = resumePending_ = goOn_ = sendingHeld_ = false;
    if (tcp_.state() == TcpState::Closed)
        return;
    tcp_.discardInput();
    const bool orderly =
        graceful || kernelFinished_ || terminateSent_ || terminateSeen_ || (peerFinished_ && !truncated_);
    const bool clean = !halfSent_ && tcp_.acknowledged() >= tcp_.appended();
    if (truncated_ || (!orderly && !clean)) {
        tcp_.abort();
        signal(KernelSignal::Rst);
        return;
    }
    lingerAt_ = nowNs() + (terminateSent_ ? setup_.terminateLinger : setup_.linger);
    tcp_.close();
    if (orderly && !graceful)
        signal(KernelSignal::Fin);
}

void Endpoint::signal(KernelSignal signal) {
    if (!signalled_)
        host_.signalKernel(*this, signal);
    signalled_ = true;
}

// ---- from the wire ----

bool Endpoint::input(const TcpSegment& segment) {
    const OnStack here(*this);
    return tcp_.input(segment);
}

void Endpoint::endOfBatch() {
    const OnStack here(*this);
    tcp_.endOfBatch();
}

void Endpoint::pathMtu(const PathMtuNotice& notice) {
    const OnStack here(*this);
    tcp_.pathMtu(notice.seq, notice.mtu);
}

// When it is about to do something: there may be more endpoints than one command has time for.
void Endpoint::followMtu() {
    const uint16_t now = host_.mtu();
    if (std::exchange(mtu_, now) != now)
        tcp_.setMtu(now);
}

size_t Endpoint::received(ConstBytes octets) {
    ConstBytes input = octets;
    if (segmentHeld_)
        return 0;
    while (qp_ != nullptr) {
        if (inputWork_ >= kInputAtOnce) {
            goOn_ = true;
            break;
        }
        const FpduDecoder::Result result = decoder_.take(input);
        if (result == FpduDecoder::Result::NeedMore)
            return octets.size();
        if (result == FpduDecoder::Result::Failed) {
            decoderFailed();
            break;
        }
        ++counters_.fpdusIn;
        inputWork_ += decoder_.segment().payload.size() + kUnitCost;
        fpduSeen_ = true;
        nudgeAt_ = kNever;
        openGate();
        if (!giveSegment())
            break;
    }
    // Without queue pair nobody wants the rest.
    return qp_ == nullptr ? octets.size() : octets.size() - input.size();
}

bool Endpoint::giveSegment() {
    Segment segment = decoder_.segment();
    if (ownRequests_ != 0 && !rtrReadAnswered_ && segment.op == SegmentOp::ReadResponse) {
        rtrReadAnswered_ = true;
        if (segment.stag == kRtrStag && segment.payload.empty() && segment.last)
            return true;
    }
    if (isRtr(segment)) {
        peerSends_ = 1;
        return true;
    }
    if (segment.op == SegmentOp::Terminate && segment.terminate.culprit == TerminateInfo::Culprit::Request)
        segment.terminate.message -= ownRequests_;
    if (segment.op == SegmentOp::Terminate && segment.terminate.culprit == TerminateInfo::Culprit::Send)
        segment.terminate.message -= ownSends_;
    segment.message -= numberedBefore(segment.op, 0, peerSends_);
    terminateSeen_ = terminateSeen_ || segment.op == SegmentOp::Terminate;
    counters_.terminatesIn += segment.op == SegmentOp::Terminate ? 1 : 0;
    const Placement placement = qp_->inbound(segment);
    if (qp_ == nullptr)
        return false;
    if (placement.kind == Placement::Kind::Hold) {
        decoder_.keep();
        segmentHeld_ = true;
        return false;
    }
    remember(segment);
    return true;
}

// The Send without octets that the reply asked for: nobody posted a buffer for it.
bool Endpoint::isRtr(const Segment& segment) {
    return !setup_.initiator && setup_.rtrAgreed && setup_.rtr == Rtr::Send && counters_.fpdusIn == 1 &&
           segment.op == SegmentOp::Send && segment.message == 1 && segment.offset == 0 && segment.payload.empty() &&
           segment.last;
}

void Endpoint::remember(const Segment& segment) {
    switch (segment.op) {
    case SegmentOp::Write:
        halfWrite_ = !segment.last;
        break;
    case SegmentOp::ReadResponse:
        halfRead_ = !segment.last;
        break;
    case SegmentOp::ReadRequest:
        reads_.push({segment.message, decoder_.quoted()});
        if (reads_.size() > kMaxIrd)
            reads_.pop();
        break;
    default:
        halfSend_ = !segment.last;
        break;
    }
}

void Endpoint::decoderFailed() {
    const TerminateCode code = decoder_.failure();
    if (code.detail() == 0x2002)
        ++counters_.crcErrors;
    Failure failure;
    failure.code = code;
    failure.why = "malformed FPDU";
    TerminateInfo terminate;
    terminate.code = code;
    qp_->inboundFailed(failure, terminate);
}

void Endpoint::giveHeldSegment() {
    if (!segmentHeld_ || qp_ == nullptr)
        return;
    segmentHeld_ = false;
    if (giveSegment() || qp_ == nullptr)
        tcp_.resumeReceiving();
}

void Endpoint::openGate() {
    const bool before = gateOpen();
    gateOpen_ = true;
    guardAt_ = kNever;
    if (!before && gateOpen() && qp_ != nullptr) {
        sendingHeld_ = false;
        qp_->resume();
    }
}

void Endpoint::progressed() {
    if (qp_ == nullptr)
        return;
    if (!gateOpen_ && kernelLeft_ == 0 && guardAt_ == kNever && setup_.guard != 0 && tcp_.acknowledged() >= fpduStart_)
        guardAt_ = nowNs() + setup_.guard;
    qp_->acknowledged();
    if (qp_ != nullptr && sendingHeld_ && gateOpen() && tcp_.roomy()) {
        sendingHeld_ = false;
        qp_->resume();
    }
    if (responsesAt_ != kNever)
        tryFinish();
}

// 7.3, and row 24 of 5.6.
void Endpoint::finished() {
    peerFinished_ = true;
    if (qp_ == nullptr)
        return;
    truncated_ = decoder_.insideFpdu() || halfWrite_ || halfSend_ || halfRead_;
    if (truncated_) {
        qp_->peerClosed(false);
        return;
    }
    responsesAt_ = nowNs() + setup_.responses;
    tryFinish();
}

void Endpoint::tryFinish() {
    if (qp_ != nullptr && (qp_->serve(kResponsesAtOnce) != 0 || qp_->adapter().budget.spent()))
        goOn_ = true;
    if (qp_ != nullptr && (qp_->snapshot().queuedRequests == 0 || nowNs() >= responsesAt_)) {
        responsesAt_ = kNever;
        qp_->peerClosed(true);
    }
}

void Endpoint::lost(TcpEnd why) {
    signal(KernelSignal::Rst);
    if (qp_ == nullptr)
        return;
    if (why == TcpEnd::TimedOut)
        qp_->fail(Syndrome::RetryExceeded, AsyncEvent::QpFatal, kTcpLost.detail(), "peer does not answer");
    else
        qp_->peerClosed(false);
}

// ---- from the kernel ----

void Endpoint::kernelOctets(uint32_t seq, ConstBytes octets) {
    const OnStack here(*this);
    const uint32_t next = setup_.tcp.sndUna + static_cast<uint32_t>(tcp_.appended());
    const int64_t old = -int64_t{seqDiff(seq, next)};
    if (kernelLeft_ == 0 || old < 0 || old >= static_cast<int64_t>(octets.size())) {
        counters_.kernelMisplaced += old < 0 ? 1 : 0;
        return;
    }
    octets = octets.subspan(static_cast<size_t>(old));
    if (octets.size() > kernelLeft_) {
        ++counters_.kernelMisplaced;
        octets = octets.first(kernelLeft_);
    }
    tcp_.append(octets, true);
    reply_.insert(reply_.end(), octets.begin(), octets.end());
    kernelLeft_ -= static_cast<uint32_t>(octets.size());
    if (kernelLeft_ == 0)
        replyComplete();
    tcp_.flush();
    if (kernelLeft_ != 0)
        return;
    replyAt_ = kNever;
    if (gateOpen_ && qp_ != nullptr) {
        sendingHeld_ = false;
        qp_->resume();
    }
}

void Endpoint::kernelAcknowledged(uint32_t ack) {
    const OnStack here(*this);
    // Everything sent since the handover acknowledged at least as much, the peer's FIN included.
    if (tcp_.counters().segmentsOut == 0 && !seqBefore(ack, setup_.tcp.rcvNxt))
        tcp_.acknowledgeSoon();
}

void Endpoint::kernelClosed(KernelSignal how) {
    const OnStack here(*this);
    if (qp_ == nullptr)
        return;
    signalled_ = true; // it knows
    if (kernelLeft_ != 0) {
        kernelFinished_ = how == KernelSignal::Fin;
        qp_->fail(Syndrome::Flushed, AsyncEvent::QpFatal, kTcpLost.detail(), "the kernel closed instead of accepting");
        return;
    }
    QpModify change;
    change.qpn = qp_->qpn();
    change.state = how == KernelSignal::Fin ? QpState::Closing : QpState::Error;
    qp_->modify(change);
}

// 1.9: what was agreed is known only now.
void Endpoint::replyComplete() {
    const MpaParse parse = parseMpa(reply_, true);
    if (parse.kind == MpaParse::Kind::Header) {
        const RequestLimits limits = requestLimits(parse.header, false);
        setup_.ord = limits.ord;
        setup_.ird = limits.ird;
        setup_.rtr = parse.header.rtr;
        setup_.rtrAgreed = parse.header.peerToPeer;
    }
    if (parse.kind == MpaParse::Kind::Header && parse.header.crc() && setup_.crcCapable && !setup_.format.crc &&
        !fpduSeen_ && !decoder_.insideFpdu()) {
        setup_.format.crc = true;
        decoder_ = FpduDecoder(setup_.format);
    }
    reply_ = {};
}

// ---- time ----

uint64_t Endpoint::deadline() const {
    return std::min({tcp_.deadline(), guardAt_, replyAt_, lingerAt_, responsesAt_, nudgeAt_});
}

// The initiator speaks first (1.9).
void Endpoint::start() {
    startPending_ = false;
    if (!setup_.initiator)
        return;
    if (setup_.format.dialect == FpduFormat::Dialect::Standard)
        nudgeAt_ = started_ + kNudges[0];
    if (tcp_.appended() != fpduStart_)
        return;
    Segment rtr;
    switch (setup_.rtr) {
    case Rtr::Write:
        rtr.stag = kRtrStag;
        break;
    case Rtr::Read:
        rtr.op = SegmentOp::ReadRequest;
        rtr.message = 1;
        rtr.read.sinkStag = rtr.read.sourceStag = kRtrStag;
        ownRequests_ = 1;
        break;
    case Rtr::Send:
        rtr.op = SegmentOp::Send;
        rtr.message = 1;
        ownSends_ = 1;
        break;
    }
    send(rtr);
}

// Some responders do not look at what came while they made themselves ready, until more comes (8.3).
void Endpoint::nudge(uint64_t now) {
    if (nudgeAt_ > now)
        return;
    nudgeAt_ = kNever;
    if (qp_ == nullptr || fpduSeen_ || spokenAt_ > started_ + kNudges[0] || tcp_.state() == TcpState::Closed)
        return;
    if (!halfSent_) {
        Segment nothing;
        nothing.stag = kRtrStag;
        send(nothing);
        tcp_.flush();
    }
    if (++nudges_ < kNudges.size())
        nudgeAt_ = started_ + kNudges[nudges_];
}

size_t Endpoint::takeTurn() {
    const OnStack here(*this);
    tcp_.onTimer();
    doPending();
    fireTimers(nowNs());
    return work_ + inputWork_;
}

// Transmits what the queue pair appended, and gives it what it takes again.
void Endpoint::doPending() {
    if (qp_ != nullptr && startPending_)
        start();
    if (std::exchange(flushPending_, false) || tcp_.wantsFlush())
        tcp_.flush();
    if (qp_ != nullptr && std::exchange(resumePending_, false))
        giveHeldSegment();
    if (qp_ != nullptr && std::exchange(goOn_, false)) {
        tcp_.resumeReceiving();
        if (responsesAt_ != kNever)
            tryFinish();
    }
}

void Endpoint::fireTimers(uint64_t now) {
    nudge(now);
    if (guardAt_ <= now)
        openGate();
    if (responsesAt_ <= now)
        tryFinish();
    if (replyAt_ <= now && qp_ != nullptr) {
        replyAt_ = kNever;
        qp_->fail(Syndrome::Flushed, AsyncEvent::QpFatal, kTcpLost.detail(), "the kernel did not send the MPA reply");
    }
    if (lingerAt_ <= now) {
        lingerAt_ = kNever;
        if (tcp_.state() != TcpState::TimeWait)
            tcp_.abort();
    }
}

void Endpoint::reset() {
    const OnStack here(*this);
    tcp_.abort();
    lost(TcpEnd::Reset);
}

} // namespace erdma
