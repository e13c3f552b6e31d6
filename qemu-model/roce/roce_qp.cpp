// SPDX-License-Identifier: GPL-2.0-or-later
#include "roce_qp.h"

#include <algorithm>
#include <memory>

#include "rc.h"
#include "roce.h"
#include "ud.h"

namespace erdma {

namespace {

// MODIFY_QP's attribute mask.
constexpr uint32_t kState = 1u << 0, kQkey = 1u << 1, kAddress = 1u << 2, kSendPsn = 1u << 3, kRecvPsn = 1u << 4,
                   kDestination = 1u << 5;
constexpr uint32_t kPathMtu = 1u << 16, kTimeout = 1u << 17, kRetries = 1u << 18, kRnrRetries = 1u << 19,
                   kRnrTimer = 1u << 20, kOrd = 1u << 21, kIrd = 1u << 22, kPeerMay = 1u << 23;
constexpr size_t kPathMtuAt = 68, kTimeoutAt = 69, kRetriesAt = 70, kRnrRetriesAt = 71, kRnrTimerAt = 72, kOrdAt = 73,
                 kIrdAt = 74, kPeerMayAt = 75;
constexpr uint32_t k24Bits = 0xFFFFFF;
constexpr uint8_t kMostOutstanding = 128;

constexpr const char* kNames[] = {"RESET", "INIT", "RTR", "RTS", "SQD", "SQE", "ERROR"};

// Without those that every state has: to itself, to RESET and to ERROR.
bool follows(RoceState from, RoceState to) {
    switch (to) {
    case RoceState::Init:
        return from == RoceState::Reset;
    case RoceState::Rtr:
        return from == RoceState::Init;
    case RoceState::Rts:
        return from == RoceState::Rtr || from == RoceState::Sqd || from == RoceState::Sqe;
    case RoceState::Sqd:
        return from == RoceState::Rts;
    case RoceState::Reset:
    case RoceState::Sqe:
    case RoceState::Error:
        break;
    }
    return false;
}

} // namespace

RoceState RoceQp::state() const {
    if (qp_.stopped())
        return RoceState::Error;
    return qp_.sendsFailed() ? RoceState::Sqe : state_;
}

bool RoceQp::receives() const { return state() >= RoceState::Rtr && state() <= RoceState::Sqe; }

void RoceQp::closed() {
    now_.sendPsn = rc_ ? rc_->sendPsn() : ud_ ? ud_->sendPsn() : 0;
    if (rc_)
        now_.rc.receivePsn = rc_->receivePsn();
    rc_ = nullptr;
    ud_ = nullptr;
    roce_.forget(*this);
}

uint64_t RoceQp::nowNs() { return roce_.adapter().machine.nowNs(); }

// Without a source address the packet is as good as lost (1.4).
void RoceQp::transmit(RcTransport&, const RocePacket& packet) { roce_.send(now_.av, packet); }

void RoceQp::rearm(RcTransport&) { roce_.schedule(*this); }

RcMemory& RoceQp::memory() { return roce_.memory(); }

// False: a value out of its range.
bool RoceQp::decodeExtended(ConstBytes request, uint32_t mask, RcSetup& rc) {
    uint8_t timeout = 0, peerMay = 0;
    const auto take = [&](uint32_t bit, size_t at, uint8_t most, uint8_t& field) {
        if ((mask & bit) == 0)
            return true;
        field = load8(request, at);
        return field <= most;
    };
    if (!take(kTimeout, kTimeoutAt, 31, timeout) || !take(kRetries, kRetriesAt, 7, rc.retries) ||
        !take(kRnrRetries, kRnrRetriesAt, 7, rc.rnrRetries) || !take(kRnrTimer, kRnrTimerAt, 31, rc.rnrTimerCode) ||
        !take(kOrd, kOrdAt, UINT8_MAX, rc.ord) || !take(kIrd, kIrdAt, UINT8_MAX, rc.ird) ||
        !take(kPeerMay, kPeerMayAt, 7, peerMay))
        return false;
    if ((mask & kTimeout) != 0)
        rc.timeoutCode = timeout;
    if ((mask & kPeerMay) != 0) {
        rc.peerMayWrite = (peerMay & 1) != 0;
        rc.peerMayRead = (peerMay & 2) != 0;
        rc.peerMayAtomic = (peerMay & 4) != 0;
    }
    rc.ord = std::min(rc.ord, kMostOutstanding);
    rc.ird = std::min(rc.ird, kMostOutstanding);
    return true;
}

// Path MTU and addresses (7.4, 1.7).
Status RoceQp::checkPath(ConstBytes request, uint32_t mask, bool entersRtr, Settings& out) const {
    if ((mask & kPathMtu) != 0) {
        const uint8_t code = load8(request, kPathMtuAt);
        if (code < 1 || code > 5 || pathMtuOf(code) + kPathMtuOverhead > roce_.mtu())
            return Status::Invalid;
        out.rc.pmtuCode = code;
    }
    if ((mask & kAddress) != 0) {
        out.av = AddressVector::at(request, 32);
        if (!out.av.consistent() || out.av.gidIndex >= 1u << GidTable::kSizeLog)
            return Status::Invalid;
    }
    if (!entersRtr || datagram())
        return Status::Ok;
    constexpr uint32_t needed = kAddress | kDestination | kRecvPsn;
    if ((out.given & needed) != needed)
        return Status::Invalid;
    const GidEntry* source = roce_.gids().at(out.av.gidIndex);
    if (source && isMapped(source->gid) == out.av.ipv6)
        return Status::Invalid;
    if ((out.given & kPathMtu) == 0)
        out.rc.pmtuCode = roce_.defaultPathMtuCode();
    return out.rc.pmtuCode != 0 ? Status::Ok : Status::Invalid;
}

Status RoceQp::decode(ConstBytes request, uint32_t mask, bool entersRtr, bool entersRts, Settings& out) const {
    out = now_;
    out.given |= mask;
    if (((mask & kSendPsn) != 0 && !entersRtr && !entersRts) || ((mask & kRecvPsn) != 0 && !entersRtr))
        return Status::Invalid;
    if ((mask & kQkey) != 0)
        out.qkey = loadLe32(request, 20);
    if ((mask & kDestination) != 0)
        out.rc.peerQpn = loadLe32(request, 12) & k24Bits;
    if ((mask & kSendPsn) != 0)
        out.sendPsn = loadLe32(request, 28) & k24Bits;
    if ((mask & kRecvPsn) != 0)
        out.rc.receivePsn = loadLe32(request, 24) & k24Bits;
    if (!decodeExtended(request, mask, out.rc))
        return Status::Invalid;
    return checkPath(request, mask, entersRtr, out);
}

Status RoceQp::modify(ConstBytes request) {
    const uint32_t mask = loadLe32(request, 16);
    const RoceState from = state();
    RoceState to = from;
    if ((mask & kState) != 0) {
        const uint32_t wanted = loadLe32(request, 8) >> 24;
        if (wanted > static_cast<uint32_t>(RoceState::Error))
            return Status::Invalid;
        to = static_cast<RoceState>(wanted);
    }
    if (to == RoceState::Reset) {
        if (from != RoceState::Reset)
            reset();
        roce_.traceState(qpn(), from, to);
        return Status::Ok;
    }
    if (to == RoceState::Error) {
        roce_.traceState(qpn(), from, to);
        return qp_.modify({.qpn = qpn(), .state = QpState::Error}); // again: what was rung since is flushed
    }
    if (from == RoceState::Error || (to != from && !follows(from, to)))
        return Status::Invalid;

    const bool entersRts = to == RoceState::Rts && from == RoceState::Rtr;
    Settings next;
    if (const Status status = decode(request, mask, to == RoceState::Rtr && from != to, entersRts, next);
        status != Status::Ok)
        return status;
    now_ = next;
    if (rc_)
        rc_->configure(now_.rc);
    if (to != from)
        enter(from, to);
    return Status::Ok;
}

void RoceQp::enter(RoceState from, RoceState to) {
    roce_.traceState(qpn(), from, to);
    state_ = to;
    switch (to) {
    case RoceState::Init:
        if ((now_.given & kQkey) == 0)
            now_.qkey = qpn() == kGsiQpn ? kGsiQkey : 0;
        break;
    case RoceState::Rtr:
        if (datagram()) {
            auto transport = std::make_unique<UdTransport>(*this, roce_);
            ud_ = transport.get();
            qp_.open(std::move(transport));
        } else {
            auto transport = std::make_unique<RcTransport>(qp_, now_.rc, *this);
            rc_ = transport.get();
            qp_.open(std::move(transport));
        }
        break;
    case RoceState::Rts:
        if (from == RoceState::Rtr && rc_)
            rc_->start(now_.sendPsn);
        if (from == RoceState::Rtr && ud_)
            ud_->setSendPsn(now_.sendPsn);
        qp_.pauseSending(false);
        break;
    case RoceState::Sqd:
        qp_.pauseSending(true);
        break;
    case RoceState::Reset:
    case RoceState::Sqe:
    case RoceState::Error:
        break;
    }
}

// 1.8: a driver zeroes the rings of kernel queue pairs; a process goes on counting.
void RoceQp::reset() {
    qp_.restart(qp_.config().ofKernel);
    state_ = RoceState::Reset;
    now_ = {};
}

Status RoceQp::reflush(uint16_t sqPi, uint16_t rqPi) {
    switch (state()) {
    case RoceState::Error:
        return qp_.reflush(sqPi, rqPi);
    case RoceState::Sqe:
        qp_.reflushSends(sqPi);
        break;
    default: // the driver goes on asking once it began
        break;
    }
    return Status::Ok;
}

uint64_t RoceQp::query() const {
    const RoceState now = state();
    if (now == RoceState::Reset)
        return 0;
    const uint64_t send = rc_ ? rc_->sendPsn() : ud_ ? ud_->sendPsn() : now_.sendPsn;
    const uint64_t recv = rc_ ? rc_->receivePsn() : now_.rc.receivePsn;
    const bool draining = now == RoceState::Sqd && rc_ && qp_.draining();
    return (send & k24Bits) | (recv & k24Bits) << 24 | static_cast<uint64_t>(now) << 48 | uint64_t{draining} << 56;
}

std::string RoceQp::describe() const {
    std::string out = "{\"qpn\":" + std::to_string(qpn()) + ",\"type\":\"" +
                      (qpn() == kGsiQpn ? "GSI"
                       : datagram()     ? "UD"
                                        : "RC") +
                      "\",\"state\":\"" + kNames[static_cast<size_t>(state())] + "\"";
    const uint64_t word = query();
    out += ",\"sq_psn\":" + std::to_string(word & k24Bits) + ",\"rq_psn\":" + std::to_string(word >> 24 & k24Bits);
    if (!datagram() && (now_.given & kAddress) != 0)
        out += ",\"peer\":\"" + textOf(now_.av.gid) + "\",\"peer_qpn\":" + std::to_string(now_.rc.peerQpn) +
               ",\"gid_index\":" + std::to_string(now_.av.gidIndex) +
               ",\"path_mtu\":" + std::to_string(pathMtuOf(now_.rc.pmtuCode));
    if (rc_)
        out += rc_->describe();
    return out + "}";
}

} // namespace erdma
