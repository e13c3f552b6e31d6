// SPDX-License-Identifier: GPL-2.0-or-later
#include "tcp.h"

#include <algorithm>

namespace erdma {

namespace {

constexpr size_t kMinSegment = 128; // 6.8
constexpr size_t kTcpHeader = 20;
constexpr size_t kTimestampBytes = 12;
constexpr uint16_t kMtuOfSilentRouter = 576;
constexpr unsigned kChallengesPerSecond = 100;   // RFC 5961 7
constexpr unsigned kConversation = 3;            // answers in time, until one is waited for
constexpr size_t kPromiseMost = size_t{4} << 20; // of what a kernel announced before

} // namespace

TcpConnection::TcpConnection(const TcpHandover& handover, const TcpSettings& settings, TcpUser& user, TcpOutput& output,
                             MemoryBudget& budget)
    : settings_(settings), link_(handover), user_(user), output_(output), memory_(budget, [this] { giveBack(); }),
      sndBase_(handover.sndUna), rto_(settings.initialRto), rcvBase_(handover.rcvNxt) {
    nxt_ = end_ = txStart_ = static_cast<uint32_t>(std::max(0, seqDiff(handover.sndNxt, handover.sndUna)));
    sndWnd_ = maxWnd_ = handover.sndWnd;
    wl1_ = handover.sndWl1;
    wl2_ = handover.sndWl2;
    tsRecent_ = handover.tsRecent;
    const auto promised = static_cast<size_t>(std::max(0, seqDiff(handover.rcvAdv, handover.rcvNxt)));
    rcvAdv_ = windowSent_ = std::min(promised, std::max(kPromiseMost, settings_.receiveBuffer));
    updateSegmentBytes();
    congestion_ = makeCongestion(handover.congestion, emss_);
    lastHeard_ = lastSend_ = progressAt_ = now();
    if (handover.rtt)
        sampleRtt(*handover.rtt);
    if (nxt_ != 0)
        rtoAt_ = now() + rto_;
    keepAt_ = now() + settings_.keepIdle;
    advanceWindow();
}

TcpConnection::~TcpConnection() = default;

// To be called when buffers have changed.
void TcpConnection::account() {
    const size_t books = (sent_.size() + units_.size()) * sizeof(Sent);
    const size_t buffers = tx_.capacity() + rx_.capacity();
    const bool idle = tx_.empty() && rx_.empty() && reorder_.empty();
    memory_.set(books + buffers + reorderBytes_, idle && buffers != 0);
}

// Memory is short, and the buffers are empty.
void TcpConnection::giveBack() {
    tx_.release();
    rx_.release();
    account();
}

size_t TcpConnection::sendLimit() const {
    return memory_.budget().tight() ? std::min(settings_.sendBuffer, kAlways) : settings_.sendBuffer;
}

void TcpConnection::updateSegmentBytes() {
    const size_t headers = link_.ipBytes + kTcpHeader;
    const size_t byMtu = link_.mtu > headers ? link_.mtu - headers : 0;
    const size_t options = link_.timestamps ? kTimestampBytes : 0;
    const size_t limit = link_.largeSegment != 0 ? link_.largeSegment : std::min<size_t>(link_.peerMss, byMtu);
    emss_ = std::max(limit, kMinSegment + options) - options;
    if (congestion_)
        congestion_->setSegmentBytes(emss_);
}

void TcpConnection::setMtu(uint16_t mtu) {
    link_.mtu = mtu;
    updateSegmentBytes();
}

void TcpConnection::pathMtu(uint32_t quotedSeq, uint16_t mtu) {
    const auto offset = una_ + static_cast<uint64_t>(int64_t{seqDiff(quotedSeq, sndSeq(una_))});
    if (state_ == TcpState::Closed || offset < una_ || offset >= nxt_)
        return;
    const uint16_t limit = mtu == 0 ? kMtuOfSilentRouter : mtu;
    if (limit >= link_.mtu && link_.largeSegment == 0)
        return;
    link_.largeSegment = 0;
    setMtu(std::min(limit, link_.mtu));
    resegment();
    transmit();
}

// What is too long for the path now did not arrive.
void TcpConnection::resegment() {
    for (Sent& entry : sent_)
        if (entry.end - entry.from > emss_ && !entry.sacked && !entry.lost)
            markLost(entry);
}

uint32_t TcpConnection::timestamp() const {
    return link_.tsValue + static_cast<uint32_t>((now() - std::min(now(), link_.tsValueAt)) / kMs);
}

// Everything but sequence number and payload.  The caller transmits it.
TcpSegment TcpConnection::header(uint8_t flags) {
    TcpSegment segment;
    segment.seq = sndSeq(nxt_);
    segment.ack = rcvSeq();
    segment.flags = flags;
    if (link_.timestamps)
        segment.options.timestamps = TcpTimestamps{timestamp(), tsRecent_};
    if (echoCongestion_)
        segment.flags |= tcp_flag::kEce;
    const uint64_t units = std::min<uint64_t>((rcvAdv_ - rcvNxt_) >> link_.ownScale, 0xFFFF);
    segment.window = static_cast<uint16_t>(units);
    windowSent_ = rcvNxt_ + (units << link_.ownScale);
    lastAckSent_ = rcvNxt_;
    ackPending_ = 0;
    ackPendingPieces_ = 0;
    ackNow_ = false;
    delackAt_ = kNever;
    ++counters_.segmentsOut;
    lastSend_ = now();
    return segment;
}

void TcpConnection::sendAck() {
    TcpSegment segment = header(tcp_flag::kAck);
    fillSack(segment.options);
    output_.transmit(segment);
}

// `exact`: the segment stands directly in front of the window, as probes do.  Those have a budget of their own, so that
// strangers, who do not know the number, cannot use it up.
void TcpConnection::challenge(bool exact) {
    if (now() - challengeWindow_ >= 1000 * kMs) {
        challengeWindow_ = now();
        challengesInWindow_ = probesInWindow_ = 0;
    }
    if (++(exact ? probesInWindow_ : challengesInWindow_) > kChallengesPerSecond)
        return;
    ++counters_.challenges;
    sendAck();
}

void TcpConnection::acknowledgeSoon() { delackAt_ = std::min(delackAt_, now() + settings_.delayedAck); }

// At once, as the peer's program may wait for it, unless the own program has been answering within the same time anyway.
void TcpConnection::endOfBatch() {
    if (state_ == TcpState::Closed || (ackPending_ == 0 && !ackNow_))
        return;
    if (gatherAt_ != kNever) {
        transmit(); // as something is to be sent anyway
        if (ackPending_ == 0 && !ackNow_)
            return;
    }
    if (bareAckAt_ != kNever) // and no data since
        answers_ = 0;
    if (!ackNow_ && ackPendingPieces_ <= 1 && answers_ >= kConversation) {
        delackAt_ = std::min(delackAt_, now() + kAnswer);
        return;
    }
    sendAck();
    bareAckAt_ = now();
}

uint64_t TcpConnection::deadline() const {
    if (state_ == TcpState::Closed)
        return kNever;
    return std::min({rtoAt_, persistAt_, delackAt_, gatherAt_, keepAt_, endAt_});
}

void TcpConnection::onTimer() {
    const uint64_t time = now();
    if (state_ != TcpState::Closed && endAt_ <= time) {
        shut(); // TIME_WAIT or FIN_WAIT_2 is over
        return;
    }
    if (state_ != TcpState::Closed && gatherAt_ <= time)
        transmit();
    if (state_ != TcpState::Closed && delackAt_ <= time) {
        answers_ = 0;
        sendAck();
    }
    if (state_ != TcpState::Closed && rtoAt_ <= time)
        retransmissionTimeout();
    if (state_ != TcpState::Closed && persistAt_ <= time)
        persistFired();
    if (state_ != TcpState::Closed && keepAt_ <= time)
        keepaliveFired();
}

// A zero-length segment in front of the window: whoever lives answers with an ACK.
void TcpConnection::probe() {
    TcpSegment segment = header(tcp_flag::kAck);
    segment.seq = sndSeq(una_) - 1;
    ++counters_.probes;
    output_.transmit(segment);
}

void TcpConnection::persistFired() {
    persistAt_ = kNever;
    if (flight() != 0 || (nxt_ == end_ && !finQueued_))
        return;
    if (unansweredSince_ != kNever && now() - unansweredSince_ >= settings_.giveUp) {
        die(TcpEnd::TimedOut);
        return;
    }
    if (sndWnd_ != 0 && sendNew(true)) // too small for a whole unit for too long
        return;
    if (unansweredSince_ == kNever)
        unansweredSince_ = now();
    probe();
    persistBackoff_ = std::min(persistBackoff_ + 1, 16u);
    persistAt_ = now() + std::min(rto_ << persistBackoff_, settings_.maxRto);
    if (unansweredSince_ != kNever)
        persistAt_ = std::min(persistAt_, std::max(unansweredSince_ + settings_.giveUp, now() + 1));
}

void TcpConnection::keepaliveFired() {
    keepAt_ = kNever;
    const bool idle = flight() == 0 && nxt_ == end_ && persistAt_ == kNever;
    if (!idle || (state_ != TcpState::Established && state_ != TcpState::CloseWait)) {
        keepAt_ = now() + settings_.keepIdle;
        return;
    }
    const uint64_t due = lastHeard_ + settings_.keepIdle;
    if (keepSent_ == 0 && now() < due) {
        keepAt_ = due;
        return;
    }
    if (keepSent_ >= settings_.keepProbes) {
        die(TcpEnd::TimedOut);
        return;
    }
    ++keepSent_;
    probe();
    keepAt_ = now() + settings_.keepInterval;
}

size_t TcpConnection::room() const {
    // Many short units cost more than their octets.
    const uint64_t books = (sent_.size() + units_.size()) * sizeof(Sent);
    const uint64_t used = books + end_ - std::min(std::max(una_, txStart_), end_);
    return used >= sendLimit() ? 0 : sendLimit() - static_cast<size_t>(used);
}

void TcpConnection::append(ConstBytes unit, bool push) {
    if (finQueued_ || state_ == TcpState::Closed || unit.empty())
        return;
    tx_.append(unit);
    end_ += unit.size();
    units_.push_back({end_, push});
    account();
}

void TcpConnection::flush() {
    if (state_ != TcpState::Closed)
        transmit(true);
    account();
}

void TcpConnection::close() {
    if (finQueued_ || state_ == TcpState::Closed)
        return;
    finQueued_ = true;
    transmit();
}

void TcpConnection::abort() {
    if (state_ == TcpState::Closed)
        return;
    TcpSegment segment = header(tcp_flag::kRst | tcp_flag::kAck);
    const bool answered = state_ == TcpState::TimeWait;
    shut();
    if (!answered)
        output_.transmit(segment);
}

void TcpConnection::die(TcpEnd why) {
    if (why == TcpEnd::TimedOut)
        abort();
    shut();
    user_.lost(why);
}

void TcpConnection::shut() {
    state_ = TcpState::Closed;
    dropStored();
    rx_.release();
    tx_.release();
    units_.clear();
    sent_.clear();
    shortInFlight_ = 0;
    sacked_.clear();
    lost_.clear();
    repeated_.clear();
    flushLater_ = false;
    account();
    rtoAt_ = persistAt_ = delackAt_ = gatherAt_ = keepAt_ = endAt_ = kNever;
}

void TcpConnection::finAcknowledged() {
    switch (state_) {
    case TcpState::FinWait1:
        state_ = TcpState::FinWait2;
        endAt_ = now() + settings_.finWait2;
        break;
    case TcpState::Closing:
        state_ = TcpState::TimeWait;
        endAt_ = now() + settings_.timeWait;
        break;
    case TcpState::LastAck:
        shut();
        break;
    default:
        break;
    }
}

} // namespace erdma
