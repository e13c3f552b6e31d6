// SPDX-License-Identifier: GPL-2.0-or-later
#include "rc.h"

#include <utility>

namespace erdma {

RcTransport::RcTransport(QueuePair& qp, const RcSetup& setup, RcHost& host)
    : end_(*this, qp, setup, host), requester_(end_), responder_(end_) {}

RcTransport::~RcTransport() { end_.host.closed(*this); }

void RcTransport::configure(const RcSetup& setup) { end_.setup = setup; }

std::string RcTransport::describe() const { return requester_.describe() + responder_.describe(); }

const Ways& RcTransport::ways() const {
    static constexpr Ways kWays{
        .immediateOnWrite = true,
        .announcesLength = true,
        .lastTellsKind = true,
        .interleaves = true,
        .waitsForBuffer = false,
        .failsInOrder = true,
        .invalidatesLast = true,
        .quietRequester = true,
        .strictAtomics = true,
        .longestMessage = kLongestMessage,
    };
    return kWays;
}

void RcTransport::receive(const RocePacket& packet) {
    RcEnd::OnStack call(end_);
    if (isResponse(packet.op))
        requester_.receive(packet);
    else
        responder_.receive(packet);
    if (!call.gone)
        end_.qp.noteLimit();
}

Placement RcTransport::deliver(const Segment& segment) {
    switch (segment.op) {
    case SegmentOp::ReadResponse:
    case SegmentOp::AtomicResponse:
        return responder_.deliver(segment);
    case SegmentOp::Terminate:
        responder_.refuse(segment.terminate);
        return Placement{};
    default:
        return requester_.deliver(segment);
    }
}

FlowFacts RcTransport::flow() const {
    FlowFacts facts = requester_.flow();
    facts.outOfOrder = responder_.outOfOrder();
    return facts;
}

void RcTransport::readyToReceive() {
    // Not from here: the queue pair is at work.
    offerAgain_ = true;
    end_.host.rearm(*this);
}

void RcTransport::takeTurn() {
    RcEnd::OnStack call(end_);
    if (std::exchange(offerAgain_, false)) {
        responder_.offerAgain();
        requester_.offerAgain();
        if (call.gone)
            return;
    }
    requester_.takeTurn();
    if (call.gone)
        return;
    responder_.takeTurn();
    if (call.gone)
        return;
    end_.host.rearm(*this);
    end_.qp.noteLimit();
}

// 4.4, 4.6.
RefusalCode RcTransport::codeOf(Refusal why) const {
    switch (why) {
    case Refusal::Local:
    case Refusal::Gone:
        return {aeth::kOperation};
    case Refusal::TargetStag:
    case Refusal::TargetBounds:
    case Refusal::TargetPd:
    case Refusal::TargetWrap:
    case Refusal::SourceStag:
    case Refusal::SourceBounds:
    case Refusal::SourcePd:
    case Refusal::SourceWrap:
    case Refusal::Rights:
    case Refusal::Invalidate:
        return {aeth::kAccess};
    case Refusal::Unexpected:
    case Refusal::Misaligned:
    case Refusal::NoBuffer:
    case Refusal::Sequence:
    case Refusal::Offset:
    case Refusal::TooLong:
        break;
    }
    return {aeth::kInvalidRequest};
}

AsyncEvent RcTransport::eventOf(Refusal why, AsyncEvent usual) const {
    if (responder_.midAnswer()) // nothing is told to the peer either
        return AsyncEvent::QpFatal;
    return codeOf(why).number == aeth::kInvalidRequest ? AsyncEvent::Other : usual;
}

} // namespace erdma
