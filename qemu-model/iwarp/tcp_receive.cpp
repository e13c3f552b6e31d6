// SPDX-License-Identifier: GPL-2.0-or-later
// Receiving: sequence checks, data in and out of order, acknowledgements (RFC 9293, 5961, 7323, 2018; wire.md 6.2).
#include <algorithm>

#include "tcp.h"

namespace erdma {

namespace {

// What an entry of the reordering store costs besides its octets, so that many tiny ones do not cost more than few
// large ones.
constexpr size_t kStoredOverhead = 128;
constexpr size_t kMaxStored = 4096; // entries of one connection

} // namespace

bool TcpConnection::checkTimestamps(const TcpSegment& segment) {
    if (!link_.timestamps || segment.has(tcp_flag::kRst) || segment.has(tcp_flag::kSyn))
        return true;
    if (!segment.options.timestamps)
        return false; // RFC 7323 3.2: dropped silently
    if (seqBefore(segment.options.timestamps->value, tsRecent_)) {
        refuse(segment);
        return false;
    }
    return true;
}

// What has been here before is answered each time: the peer did not hear of it, and stops when it does.  All else that
// does not fit may be somebody's guess, or the answer to an answer; those are limited (RFC 9293 3.10.7.4, RFC 5961 7).
void TcpConnection::refuse(const TcpSegment& segment) {
    ++counters_.unacceptable;
    const int32_t ahead = seqDiff(segment.seq, rcvSeq());
    const bool repeated = segment.length() != 0 && ahead < 0 && seqAtOrBefore(segment.end(), rcvSeq());
    const bool probe = segment.length() != 0 && ahead == 0 && rcvAdv_ == rcvNxt_; // of a closed window
    if (repeated || probe)
        sendAck();
    else
        challenge(ahead == -1);
}

bool TcpConnection::isNewIncarnation(const TcpSegment& syn) const {
    if (link_.timestamps && syn.options.timestamps && syn.options.timestamps->value != tsRecent_)
        return seqBefore(tsRecent_, syn.options.timestamps->value);
    return seqBefore(rcvSeq(), syn.seq);
}

// RFC 9293 3.10.7.4, first table.
bool TcpConnection::acceptable(const TcpSegment& segment) {
    const int64_t from = seqDiff(segment.seq, rcvSeq());
    const int64_t window = static_cast<int64_t>(rcvAdv_ - rcvNxt_);
    const int64_t length = segment.length();
    if (length == 0)
        return from == 0 || (from > 0 && from < window);
    return from < window && from + length > 0;
}

// The order of RFC 7323 5.3 and RFC 5961: number, RST, SYN, acknowledgement; nothing is remembered of a segment before
// all of them were found right.
bool TcpConnection::input(const TcpSegment& segment) {
    if (state_ == TcpState::Closed)
        return false;
    ++counters_.segmentsIn;
    if (!checkTimestamps(segment))
        return false;
    if (!acceptable(segment)) {
        if (segment.has(tcp_flag::kRst)) {
            ++counters_.unacceptable;
            return false;
        }
        // A closed window lets acknowledgements through (RFC 9293 3.10.7.4).
        const bool valid = segment.seq == rcvSeq() && segment.has(tcp_flag::kAck) && !segment.has(tcp_flag::kSyn) &&
                           receiveAck(segment);
        // The peer's FIN again, which has the last number.
        if (state_ == TcpState::TimeWait && segment.has(tcp_flag::kFin) && segment.end() == rcvSeq())
            endAt_ = now() + settings_.timeWait;
        if (state_ != TcpState::Closed)
            refuse(segment);
        return valid;
    }
    if (segment.has(tcp_flag::kRst)) {
        if (segment.seq != rcvSeq()) {
            challenge();
            return false;
        }
        if (state_ == TcpState::TimeWait)
            shut();
        else
            die(TcpEnd::Reset);
        return true;
    }
    if (segment.has(tcp_flag::kSyn)) {
        challenge();
        return false;
    }
    if (!segment.has(tcp_flag::kAck) || !receiveAck(segment))
        return false;
    if (state_ == TcpState::Closed)
        return true;
    if (link_.ecn) {
        if (segment.has(tcp_flag::kCwr))
            echoCongestion_ = false;
        if (segment.congestionExperienced)
            echoCongestion_ = true;
    }
    if (!segment.payload.empty() || segment.has(tcp_flag::kFin))
        receiveData(segment);
    account();
    if (state_ != TcpState::Closed && ackNow_)
        sendAck();
    return true;
}

// Numbers and acknowledgement are right: the peer lives.
void TcpConnection::heard(const TcpSegment& segment) {
    if (link_.timestamps && segment.options.timestamps &&
        seqAtOrBefore(segment.seq, rcvBase_ + static_cast<uint32_t>(lastAckSent_)))
        tsRecent_ = segment.options.timestamps->value;
    lastHeard_ = now();
    keepSent_ = 0;
}

void TcpConnection::receiveData(const TcpSegment& segment) {
    const int64_t ahead = seqDiff(segment.seq, rcvSeq());
    ConstBytes octets = segment.payload;
    const uint64_t finOffset = rcvNxt_ + static_cast<uint64_t>(ahead) + octets.size();
    if (ahead < 0) {
        const auto old = static_cast<uint64_t>(-ahead);
        ++counters_.duplicates;
        ackNow_ = true;
        octets = octets.subspan(static_cast<size_t>(std::min<uint64_t>(old, octets.size())));
    }
    const uint64_t from = ahead < 0 ? rcvNxt_ : rcvNxt_ + static_cast<uint64_t>(ahead);
    // Behind the end of the stream, or of the window, there is nothing to take.
    const uint64_t limit = finAt_ ? std::min(rcvAdv_, *finAt_) : rcvAdv_;
    if (from + octets.size() > limit) {
        octets = octets.first(static_cast<size_t>(limit > from ? limit - from : 0));
        ackNow_ = true;
    }
    if (segment.has(tcp_flag::kFin) && !finAt_ && finOffset <= rcvAdv_ && finOffset >= rcvNxt_)
        finAt_ = finOffset;

    if (from == rcvNxt_) {
        // Only of what the user leaves lying, and only when all of them together leave too much.
        if (rx_.size() >= kAlways && memory_.budget().left() < octets.size()) {
            ++counters_.memoryDropped;
            octets = {};
            ackNow_ = true;
        }
        if (!octets.empty()) {
            ackPending_ += octets.size(); // every second full segment (RFC 9293 3.8.6.3); short ones by the batch
            ++ackPendingPieces_;
            rcvNxt_ += octets.size();
            // A gap was filled, wholly or in part.
            ackNow_ = ackNow_ || !reorder_.empty() || ackPending_ >= settings_.delayedAckSegments * emss_;
            if (delackAt_ == kNever)
                delackAt_ = now() + settings_.delayedAck;
            deliver(octets);
        }
    } else if (!octets.empty()) {
        store(from, octets);
        ackNow_ = true;
    } else {
        ackNow_ = true;
    }
    if (state_ == TcpState::Closed)
        return;
    pullStored();
    if (state_ != TcpState::Closed)
        receiveFin();
    if (state_ != TcpState::Closed)
        advanceWindow();
}

// The octets directly behind what was delivered before; rcvNxt_ is behind them already.
void TcpConnection::deliver(ConstBytes octets) {
    if (discard_)
        return;
    if (!rx_.empty() || delivering_) {
        rx_.append(octets);
        return;
    }
    delivering_ = true;
    const size_t taken = user_.received(octets);
    delivering_ = false;
    if (state_ != TcpState::Closed && !discard_ && taken < octets.size())
        rx_.append(octets.subspan(taken));
}

void TcpConnection::resumeReceiving() {
    if (state_ == TcpState::Closed || delivering_)
        return;
    if (!rx_.empty()) {
        delivering_ = true;
        OctetQueue waiting;
        std::swap(waiting, rx_); // the user may close, which empties rx_
        const size_t taken = user_.received(waiting.view());
        delivering_ = false;
        if (state_ == TcpState::Closed || discard_)
            return;
        waiting.drop(taken);
        std::swap(waiting, rx_);
    }
    account();
    receiveFin();
    if (state_ == TcpState::Closed)
        return;
    advanceWindow();
    // Worth telling the peer (RFC 1122 4.2.3.3).
    const uint64_t step = std::min<uint64_t>(2 * emss_, settings_.receiveBuffer / 2);
    if (!finReceived_ && rcvAdv_ - windowSent_ >= step && rcvAdv_ > windowSent_)
        sendAck();
}

void TcpConnection::discardInput() {
    discard_ = true;
    rx_.release();
    account();
    if (state_ != TcpState::Closed && !delivering_) {
        receiveFin();
        if (state_ != TcpState::Closed)
            advanceWindow();
    }
}

bool TcpConnection::insert(uint64_t at, ConstBytes octets) {
    const size_t cost = octets.size() + kStoredOverhead;
    if (reorder_.size() >= kMaxStored || memory_.budget().left() < cost) {
        ++counters_.outOfOrderDropped;
        return false;
    }
    reorder_.emplace(at, std::vector<std::byte>(octets.begin(), octets.end()));
    stored_.add(at, at + octets.size());
    reorderBytes_ += cost;
    account();
    return true;
}

// Keeps only octets that are not there yet: what came first stays.
void TcpConnection::store(uint64_t from, ConstBytes octets) {
    ++counters_.outOfOrder;
    lastStored_ = from;
    const uint64_t behind = from + octets.size();
    for (RangeSet::Range gap = stored_.gap(from, behind); gap.from < gap.to; gap = stored_.gap(gap.to, behind)) {
        const auto skip = static_cast<size_t>(gap.from - from);
        if (!insert(gap.from, octets.subspan(skip, static_cast<size_t>(gap.to - gap.from))))
            return;
    }
}

void TcpConnection::pullStored() {
    while (!reorder_.empty() && reorder_.begin()->first <= rcvNxt_) {
        const uint64_t from = reorder_.begin()->first;
        const std::vector<std::byte> octets = std::move(reorder_.begin()->second);
        reorder_.erase(reorder_.begin());
        stored_.remove(from, from + octets.size());
        reorderBytes_ -= octets.size() + kStoredOverhead;
        const uint64_t limit = finAt_ ? *finAt_ : kNever;
        const uint64_t behind = std::min(from + octets.size(), limit);
        if (behind <= rcvNxt_)
            continue;
        const ConstBytes fresh =
            ConstBytes(octets).subspan(static_cast<size_t>(rcvNxt_ - from), static_cast<size_t>(behind - rcvNxt_));
        rcvNxt_ = behind;
        deliver(fresh);
        if (state_ == TcpState::Closed)
            return;
    }
}

void TcpConnection::dropStored() {
    reorderBytes_ = 0;
    reorder_.clear();
    stored_.clear();
    account();
}

void TcpConnection::receiveFin() {
    if (!finReceived_ && finAt_ && rcvNxt_ == *finAt_) {
        finReceived_ = true;
        ++rcvNxt_;
        rcvAdv_ = std::max(rcvAdv_, rcvNxt_);
        dropStored();
        ackNow_ = true;
        switch (state_) {
        case TcpState::Established:
            state_ = TcpState::CloseWait;
            break;
        case TcpState::FinWait1:
            state_ = TcpState::Closing;
            break;
        case TcpState::FinWait2:
            state_ = TcpState::TimeWait;
            endAt_ = now() + settings_.timeWait;
            break;
        default:
            break;
        }
    }
    if (!finReceived_ || finReported_ || !rx_.empty() || delivering_)
        return;
    finReported_ = true;
    user_.finished();
    if (state_ != TcpState::Closed && ackNow_)
        sendAck();
}

void TcpConnection::advanceWindow() {
    const size_t most = memory_.budget().tight() ? std::min(settings_.receiveBuffer, kAlways) : settings_.receiveBuffer;
    const uint64_t edge = rcvNxt_ + (most - std::min(rx_.size(), most));
    // In steps that are worth a segment (RFC 9293 3.8.6.2.2), never back.
    if (edge >= rcvAdv_ + std::min<size_t>(emss_, settings_.receiveBuffer / 2))
        rcvAdv_ = edge;
}

// The block that changed last comes first (RFC 2018 4).
void TcpConnection::fillSack(TcpOptions& options) const {
    if (!link_.sack || stored_.empty())
        return;
    const size_t most = options.timestamps ? 3 : options.sack.size(); // 40 octets of options
    const auto block = [this](const RangeSet::Iterator& run) {
        return SackBlock{rcvBase_ + static_cast<uint32_t>(run->first), rcvBase_ + static_cast<uint32_t>(run->second)};
    };
    const auto newest = stored_.at(lastStored_);
    if (newest != stored_.end())
        options.sack[options.sackCount++] = block(newest);
    for (auto run = stored_.begin(); run != stored_.end() && options.sackCount < most; ++run)
        if (run != newest)
            options.sack[options.sackCount++] = block(run);
}

} // namespace erdma
