// SPDX-License-Identifier: GPL-2.0-or-later
// Sending: acknowledgements of the peer, RTT, loss detection and recovery, new data
// (RFC 5681, 6298, 6582, 6675, 7323; wire.md 6.3 to 6.6).
#include <algorithm>

#include "tcp.h"

namespace erdma {

namespace {

constexpr unsigned kDuplicateThreshold = 3;
constexpr uint64_t kGranularity = 1 * kMs;
constexpr size_t kMaxSent = 8192;      // segments in flight
constexpr uint64_t kSegmentCost = 512; // in octets, besides its own

} // namespace

// False: the segment must not be looked at further, because it is nobody's, or because the connection ended.
bool TcpConnection::receiveAck(const TcpSegment& segment) {
    const int64_t ahead = seqDiff(segment.ack, sndSeq(una_));
    if (ahead > static_cast<int64_t>(nxt_ - una_) || -ahead > static_cast<int64_t>(maxWnd_)) {
        challenge(); // RFC 5961 5
        return false;
    }
    heard(segment);
    if (ahead < 0)
        return true;
    const uint64_t window = uint64_t{segment.window} << link_.peerScale;
    const bool sameWindow = window == sndWnd_;
    if (seqBefore(wl1_, segment.seq) || (wl1_ == segment.seq && seqAtOrBefore(wl2_, segment.ack))) {
        sndWnd_ = window;
        maxWnd_ = std::max(maxWnd_, window);
        wl1_ = segment.seq;
        wl2_ = segment.ack;
    }
    unansweredSince_ = kNever;
    if (sndWnd_ == 0)
        progressAt_ = now(); // alive, only busy (6.4)
    else if (!sameWindow)
        persistAt_ = kNever, persistBackoff_ = 0;

    const bool sacked = applySack(segment);
    if (ahead > 0) {
        advanceUna(una_ + static_cast<uint64_t>(ahead), segment);
        if (state_ == TcpState::Closed)
            return false;
    } else if (flight() != 0 && segment.length() == 0 && (sameWindow || sacked)) {
        ++duplicateAcks_;
        if (!link_.sack) { // something left the network; nobody knows what
            const uint64_t left = flight() - sackedBytes_ - lostBytes_ - duplicateBytes_;
            duplicateBytes_ += std::min<uint64_t>(emss_, left);
        }
    }
    detectLoss();
    transmit();
    return state_ != TcpState::Closed;
}

void TcpConnection::advanceUna(uint64_t to, const TcpSegment& segment) {
    const uint64_t acked = to - una_;
    const bool limited = pipe() + 2 * emss_ >= congestion_->window() || end_ > nxt_;
    const uint64_t flightBefore = flight();
    uint64_t rtt = kNever;
    bool retransmitted = false;
    uint64_t lastRepeat = 0;
    bool fin = false;
    una_ = to;
    while (!sent_.empty() && sent_.front().from < to) {
        Sent& entry = sent_.front();
        if (entry.retransmissions != 0) {
            retransmitted = true;
            lastRepeat = std::max(lastRepeat, entry.at);
        } else if (!entry.sacked) { // when it was sacked is not known any more
            rtt = now() - entry.at;
            newestArrived_ = std::max(newestArrived_, entry.at);
        }
        const uint64_t covered = std::min(entry.end, to) - entry.from;
        if (entry.sacked)
            sackedBytes_ -= covered;
        if (entry.lost)
            lostBytes_ -= covered;
        if (entry.end > to) {
            entry.from = to;
            break;
        }
        fin = fin || entry.fin;
        shortInFlight_ -= entry.roomForMore ? 1 : 0;
        sent_.pop_front();
    }
    sacked_.remove(0, to);
    lost_.remove(0, to);
    if (sent_.empty())
        repeated_.clear();
    // Karn's rule: with timestamps the echo tells whether the last transmission was answered, otherwise nobody knows.
    // An older echo is that of a segment whose acknowledgement was lost.
    if (retransmitted)
        rtt = kNever;
    if (retransmitted && link_.timestamps && segment.options.timestamps) {
        const int32_t age = seqDiff(timestamp(), segment.options.timestamps->echo);
        if (age >= 0 && static_cast<uint64_t>(age) <= (now() - lastRepeat) / kMs + 1)
            rtt = static_cast<uint64_t>(age) * kMs;
    }
    if (rtt != kNever)
        sampleRtt(rtt);
    if (rtt != kNever || link_.timestamps)
        backoff_ = 0;
    if (una_ > txStart_) {
        tx_.drop(static_cast<size_t>(una_ - txStart_));
        txStart_ = std::min(una_, end_);
    }
    progressAt_ = now();
    duplicateAcks_ = 0;
    rtoAt_ = flight() == 0 ? kNever : now() + backedOffRto();

    if (recovery_ != Recovery::None && una_ >= recover_) {
        recovery_ = Recovery::None;
        duplicateBytes_ = 0;
    } else if (recovery_ == Recovery::Fast && !link_.sack) {
        // Partial acknowledgement: the next hole is lost too (RFC 6582).
        duplicateBytes_ -= std::min(duplicateBytes_, acked);
        if (!sent_.empty() && !sent_.front().lost && sent_.front().from == una_)
            markLost(sent_.front());
    } else if (recovery_ == Recovery::None) {
        duplicateBytes_ = 0;
    }
    duplicateBytes_ = std::min(duplicateBytes_, flight() - sackedBytes_ - lostBytes_);
    if (recovery_ != Recovery::Fast && limited && flightBefore != 0)
        congestion_->acknowledged(acked, now(), srtt_);
    if (fin)
        finAcknowledged();
    if (state_ != TcpState::Closed)
        user_.progressed();
}

std::deque<TcpConnection::Sent>::iterator TcpConnection::entryAt(uint64_t offset) {
    return std::lower_bound(sent_.begin(), sent_.end(), offset, [](const Sent& s, uint64_t at) { return s.end <= at; });
}

bool TcpConnection::applySack(const TcpSegment& segment) {
    if (!link_.sack || sent_.empty())
        return false;
    bool any = false;
    for (size_t i = 0; i < segment.options.sackCount; ++i) {
        const SackBlock& block = segment.options.sack[i];
        const int64_t from = seqDiff(block.from, sndSeq(una_));
        const int64_t to = seqDiff(block.to, sndSeq(una_));
        if (from < 0 || to <= from || to > static_cast<int64_t>(flight()))
            continue; // a report of duplicates, or nonsense
        const uint64_t behind = una_ + static_cast<uint64_t>(to);
        // What was reported before costs nothing.
        for (auto gap = sacked_.gap(una_ + static_cast<uint64_t>(from), behind); gap.from < gap.to;
             gap = sacked_.gap(gap.to, behind))
            any |= sackEntries(gap.from, gap.to);
    }
    return any;
}

// Those that lie in there wholly; none of them is sacked.
bool TcpConnection::sackEntries(uint64_t from, uint64_t to) {
    auto entry = std::lower_bound(sent_.begin(), sent_.end(), from,
                                  [](const Sent& s, uint64_t offset) { return s.from < offset; });
    const auto first = entry;
    for (; entry != sent_.end() && entry->end <= to; ++entry) {
        const uint64_t length = entry->end - entry->from;
        if (entry->lost)
            lostBytes_ -= length;
        entry->lost = false;
        entry->sacked = true;
        sackedBytes_ += length;
        if (entry->retransmissions == 0)
            newestArrived_ = std::max(newestArrived_, entry->at);
        auto place = std::find_if(newestSacked_.begin(), newestSacked_.end(),
                                  [&](uint64_t newer) { return newer < entry->from; });
        for (uint64_t moved = entry->from; place != newestSacked_.end(); ++place)
            std::swap(*place, moved);
    }
    if (entry == first)
        return false;
    sacked_.add(first->from, std::prev(entry)->end);
    lost_.remove(first->from, std::prev(entry)->end);
    return true;
}

void TcpConnection::markLost(Sent& entry) {
    if (entry.lost || entry.sacked)
        return;
    entry.lost = true;
    lost_.add(entry.from, entry.end);
    lostBytes_ += entry.end - entry.from;
    duplicateBytes_ = std::min(duplicateBytes_, flight() - sackedBytes_ - lostBytes_);
}

void TcpConnection::detectLoss() {
    if (sent_.empty())
        return;
    if (link_.sack) {
        if (sackedBytes_ == 0)
            return;
        const uint64_t before = lostBytes_;
        // RFC 6675: lost when three segments behind it arrived.
        const uint64_t third = newestSacked_.back();
        for (auto entry = entryAt(std::max(una_, lossScanned_)); entry != sent_.end() && entry->from < third; ++entry)
            if (entry->retransmissions == 0)
                markLost(*entry);
        lossScanned_ = std::max(lossScanned_, third);
        // A retransmission is lost when something that was sent clearly later arrived (RFC 8985).
        const uint64_t tolerance = std::max(kGranularity, srtt_ / 4);
        while (!repeated_.empty() && repeated_.front().first + tolerance < newestArrived_) {
            const auto [at, from] = repeated_.front();
            repeated_.pop_front();
            const auto entry = entryAt(from);
            if (entry != sent_.end() && entry->retransmissions != 0 && entry->at == at)
                markLost(*entry);
        }
        if (lostBytes_ != before && recovery_ == Recovery::None)
            enterRecovery();
        return;
    }
    if (recovery_ == Recovery::None && duplicateAcks_ >= kDuplicateThreshold) {
        // Duplicates of the previous loss do not start another recovery (RFC 6582 4).
        if (recover_ != 0 && una_ < recover_)
            return;
        markLost(sent_.front());
        enterRecovery();
    }
}

void TcpConnection::enterRecovery() {
    ++counters_.fastRecoveries;
    recovery_ = Recovery::Fast;
    recover_ = nxt_;
    congestion_->lossDetected(flight(), now());
    retransmitNext(true); // the first one is not held back by the window
}

uint64_t TcpConnection::backedOffRto() const { return std::min(rto_ << std::min(backoff_, 16u), settings_.maxRto); }

void TcpConnection::sampleRtt(uint64_t rtt) {
    if (srtt_ == 0) {
        srtt_ = std::max<uint64_t>(rtt, 1);
        rttvar_ = rtt / 2;
    } else {
        const uint64_t delta = srtt_ > rtt ? srtt_ - rtt : rtt - srtt_;
        rttvar_ = (3 * rttvar_ + delta) / 4;
        srtt_ = std::max<uint64_t>((7 * srtt_ + rtt) / 8, 1);
    }
    rto_ = std::clamp(srtt_ + std::max(kGranularity, 4 * rttvar_), settings_.minRto, settings_.maxRto);
}

uint64_t TcpConnection::pipe() const { return flight() - sackedBytes_ - lostBytes_ - duplicateBytes_; }

// Less than a segment is left, and several that had room for more are in flight (after Nagle and Minshall).
bool TcpConnection::keeps() const {
    return nxt_ < end_ && end_ - nxt_ < emss_ && !finQueued_ && shortInFlight_ >= kShortInFlight;
}

// `mayHold`: only the owner's program has caused this, and may have more.
void TcpConnection::transmit(bool mayHold) {
    if (state_ == TcpState::Closed)
        return;
    if (flight() == 0 && srtt_ != 0 && now() - lastSend_ > rto_)
        congestion_->idled();
    const uint64_t stop = emitted_ + kOctetsAtOnce;
    while (lostBytes_ != 0 && emitted_ < stop && retransmitNext(false)) {
    }
    while (emitted_ < stop && !(mayHold && keeps()) && sendNew(false)) {
    }
    gatherAt_ = mayHold && keeps() ? std::min(gatherAt_, now() + kGather) : kNever;
    flushLater_ = emitted_ >= stop;
    const bool waiting = nxt_ < end_ || (finQueued_ && !finSent_);
    if (flight() == 0 && waiting) {
        if (persistAt_ == kNever)
            persistAt_ = now() + rto_;
    } else {
        persistAt_ = kNever;
        persistBackoff_ = 0;
    }
    if (flight() != 0 && rtoAt_ == kNever)
        rtoAt_ = now() + rto_;
}

Limit TcpConnection::limit() const {
    if (recovery_ != Recovery::None || backoff_ != 0)
        return Limit::Loss;
    if (flushLater_ || gatherAt_ != kNever)
        return Limit::Turn;
    if (nxt_ >= end_)
        return Limit::Idle;
    const uint64_t piece = std::min<uint64_t>((units_.empty() ? end_ : units_.front().end) - nxt_, emss_);
    if (una_ + sndWnd_ < nxt_ + piece)
        return Limit::PeerWindow;
    return pipe() != 0 && pipe() + piece > congestion_->window() ? Limit::Window : Limit::Idle;
}

FlowFacts TcpConnection::flow() const {
    return {.window = congestion_->window(),
            .threshold = congestion_->threshold(),
            .flight = flight(),
            .peerWindow = sndWnd_,
            .rttNs = srtt_,
            .rttVariationNs = rttvar_,
            .timeoutNs = backedOffRto(),
            .repeats = counters_.retransmissions,
            .recoveries = counters_.fastRecoveries,
            .timeouts = counters_.timeouts,
            .notReady = 0,
            .outOfOrder = counters_.outOfOrder};
}

bool TcpConnection::retransmitNext(bool force) {
    if (lost_.empty())
        return false;
    const auto entry = entryAt(lost_.begin()->first);
    const uint64_t length = entry->end - entry->from;
    if (!force && pipe() != 0 && pipe() + length > congestion_->window())
        return false;
    lostBytes_ -= length;
    entry->lost = false;
    lost_.remove(entry->from, entry->end);
    ++entry->retransmissions;
    ++counters_.retransmissions;
    if (entry == sent_.begin())
        rtoAt_ = now() + backedOffRto();
    sendEntry(*entry);
    if (link_.sack)
        repeated_.emplace_back(entry->at, entry->from);
    return true;
}

// Something is about to be in flight.
void TcpConnection::startClock() {
    if (flight() == 0)
        progressAt_ = now();
    if (rtoAt_ == kNever)
        rtoAt_ = now() + rto_;
}

// One new segment of whole units; with `split` of whatever the window allows.
bool TcpConnection::sendNew(bool split) {
    if (finSent_ || sent_.size() >= kMaxSent)
        return false;
    if (nxt_ >= end_) {
        if (!finQueued_)
            return false;
        Sent entry{nxt_, nxt_ + 1, now()};
        entry.fin = true;
        finSent_ = true;
        if (state_ == TcpState::Established)
            state_ = TcpState::FinWait1;
        else if (state_ == TcpState::CloseWait)
            state_ = TcpState::LastAck;
        startClock();
        sendEntry(entry);
        nxt_ = entry.end;
        sent_.push_back(entry);
        return true;
    }
    const uint64_t windowEnd = una_ + sndWnd_;
    const uint64_t usable = windowEnd > nxt_ ? windowEnd - nxt_ : 0;
    uint64_t to = nxt_;
    bool push = false;
    size_t taken = 0;
    for (; taken < units_.size() && units_[taken].end - nxt_ <= std::min<uint64_t>(emss_, usable); ++taken) {
        to = units_[taken].end;
        push = push || units_[taken].push;
    }
    if (to == nxt_) {
        // The first unit does not fit: it is longer than a segment, or than the window.
        const uint64_t piece = std::min({units_.front().end - nxt_, uint64_t{emss_}, split ? usable : uint64_t{emss_}});
        if (piece == 0 || piece > usable)
            return false;
        to = nxt_ + piece;
    }
    const uint64_t length = to - nxt_;
    if (pipe() != 0 && pipe() + length > congestion_->window())
        return false;
    units_.erase(units_.begin(), units_.begin() + static_cast<std::ptrdiff_t>(taken));
    startClock();
    Sent entry{nxt_, to, now()};
    entry.push = push;
    entry.roomForMore = to == end_ && length < emss_;
    shortInFlight_ += entry.roomForMore ? 1 : 0;
    sendEntry(entry);
    nxt_ = to;
    sent_.push_back(entry);
    return true;
}

// Once more, or for the first time.  More than one segment when the path became narrower.
void TcpConnection::sendEntry(Sent& entry) {
    entry.at = now();
    uint64_t from = entry.from;
    const uint64_t data = entry.fin ? entry.end - 1 : entry.end;
    if (from >= data) {
        emit(from, from, false, entry.fin);
        return;
    }
    while (from < data) {
        const uint64_t to = std::min(from + emss_, data);
        emit(from, to, entry.push && to == data, entry.fin && to == data);
        from = to;
    }
}

void TcpConnection::emit(uint64_t from, uint64_t end, bool push, bool fin) {
    if (from < txStart_ && end > from)
        return; // the kernel sent it, and sends it again
    TcpSegment segment =
        header(static_cast<uint8_t>(tcp_flag::kAck | (push ? tcp_flag::kPsh : 0) | (fin ? tcp_flag::kFin : 0)));
    segment.seq = sndSeq(from);
    if (end > from)
        segment.payload = tx_.view(static_cast<size_t>(from - txStart_), static_cast<size_t>(end - from));
    if (!segment.payload.empty() && bareAckAt_ != kNever) {
        answers_ = now() - bareAckAt_ <= kAnswer ? answers_ + 1 : 0;
        bareAckAt_ = kNever;
    }
    emitted_ += segment.payload.size() + kSegmentCost;
    output_.transmit(segment);
}

void TcpConnection::retransmissionTimeout() {
    rtoAt_ = kNever;
    if (flight() == 0)
        return;
    ++counters_.timeouts;
    const unsigned attempts = sent_.empty() ? 0 : sent_.front().retransmissions;
    if (now() - progressAt_ >= settings_.giveUp || attempts >= settings_.giveUpCount) {
        die(TcpEnd::TimedOut);
        return;
    }
    // Perhaps the path does not carry such segments.
    if (link_.largeSegment != 0 && attempts >= 1) {
        link_.largeSegment = 0;
        updateSegmentBytes();
    }
    const bool first = backoff_ == 0;
    congestion_->timedOut(flight(), first, now());
    if (!sent_.empty() && sent_.front().sacked) { // the peer changed its mind (RFC 2018 8)
        for (Sent& entry : sent_)
            entry.sacked = false;
        sackedBytes_ = 0;
        sacked_.clear();
        newestSacked_ = {};
    }
    duplicateBytes_ = 0;
    duplicateAcks_ = 0;
    repeated_.clear();
    for (Sent& entry : sent_)
        markLost(entry);
    recovery_ = Recovery::Timeout;
    recover_ = nxt_;
    ++backoff_;
    retransmitNext(true);
    transmit();
    rtoAt_ = std::min(now() + backedOffRto(), std::max(progressAt_ + settings_.giveUp, now() + 1));
}

} // namespace erdma
