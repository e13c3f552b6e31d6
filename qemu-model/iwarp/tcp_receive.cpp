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
    if (!link_.timestamps || segment.has(tcp_flag::kRst))
        return true;
    if (!segment.options.timestamps)
        return false; // RFC 7323 3.2: dropped silently
    if (seqBefore(segment.options.timestamps->value, tsRecent_)) {
        ++counters_.unacceptable;
        challenge();
        return false;
    }
    return true;
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

void TcpConnection::input(const TcpSegment& segment) {
    if (state_ == TcpState::Closed)
        return;
    ++counters_.segmentsIn;
    if (!checkTimestamps(segment))
        return;
    if (!acceptable(segment)) {
        ++counters_.unacceptable;
        if (segment.has(tcp_flag::kRst))
            return;
        // A closed window lets acknowledgements through (RFC 9293 3.10.7.4).
        if (segment.seq == rcvSeq() && segment.has(tcp_flag::kAck) && !segment.has(tcp_flag::kSyn))
            receiveAck(segment);
        if (state_ == TcpState::TimeWait && segment.has(tcp_flag::kFin))
            endAt_ = now() + settings_.timeWait;
        if (state_ != TcpState::Closed)
            challenge();
        return;
    }
    if (segment.has(tcp_flag::kRst)) {
        if (segment.seq != rcvSeq()) {
            challenge();
        } else if (state_ == TcpState::TimeWait) {
            shut();
        } else {
            die(TcpEnd::Reset);
        }
        return;
    }
    if (segment.has(tcp_flag::kSyn)) {
        challenge();
        return;
    }
    if (!segment.has(tcp_flag::kAck))
        return;
    if (link_.timestamps && seqAtOrBefore(segment.seq, rcvBase_ + static_cast<uint32_t>(lastAckSent_)))
        tsRecent_ = segment.options.timestamps->value;
    lastHeard_ = now();
    keepSent_ = 0;
    if (!receiveAck(segment) || state_ == TcpState::Closed)
        return;
    if (link_.ecn) {
        if (segment.has(tcp_flag::kCwr))
            echoCongestion_ = false;
        if (segment.congestionExperienced)
            echoCongestion_ = true;
    }
    if (!segment.payload.empty() || segment.has(tcp_flag::kFin))
        receiveData(segment);
    if (state_ != TcpState::Closed && ackNow_)
        sendAck();
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
        if (!octets.empty()) {
            const auto segments = static_cast<unsigned>((octets.size() + emss_ - 1) / emss_);
            ackPending_ += segments;
            rcvNxt_ += octets.size();
            // A gap was filled, wholly or in part.
            ackNow_ = ackNow_ || !reorder_.empty() || ackPending_ >= settings_.delayedAckSegments;
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
    if (state_ != TcpState::Closed && !delivering_) {
        receiveFin();
        if (state_ != TcpState::Closed)
            advanceWindow();
    }
}

// Keeps only octets that are not there yet: what came first stays.
void TcpConnection::store(uint64_t from, ConstBytes octets) {
    ++counters_.outOfOrder;
    const auto insert = [&](uint64_t at, ConstBytes piece) {
        const size_t cost = piece.size() + kStoredOverhead;
        if (reorder_.size() >= kMaxStored || budget_.used + cost > budget_.limit) {
            ++counters_.outOfOrderDropped;
            return;
        }
        budget_.used += cost;
        reorderBytes_ += cost;
        reorder_.emplace(at, std::vector<std::byte>(piece.begin(), piece.end()));
        lastStored_ = at;
    };
    auto next = reorder_.upper_bound(from);
    if (next != reorder_.begin()) {
        const auto before = std::prev(next);
        const uint64_t covered = before->first + before->second.size();
        if (covered > from) {
            lastStored_ = before->first;
            const uint64_t skip = std::min<uint64_t>(covered - from, octets.size());
            octets = octets.subspan(static_cast<size_t>(skip));
            from += skip;
        }
    }
    while (!octets.empty()) {
        const uint64_t gap = next == reorder_.end() ? octets.size() : std::min(next->first - from, octets.size());
        if (gap != 0)
            insert(from, octets.first(static_cast<size_t>(gap)));
        octets = octets.subspan(static_cast<size_t>(gap));
        from += gap;
        if (octets.empty() || next == reorder_.end())
            break;
        const uint64_t skip = std::min<uint64_t>(next->second.size(), octets.size());
        octets = octets.subspan(static_cast<size_t>(skip));
        from += skip;
        ++next;
    }
}

void TcpConnection::pullStored() {
    while (!reorder_.empty() && reorder_.begin()->first <= rcvNxt_) {
        const uint64_t from = reorder_.begin()->first;
        const std::vector<std::byte> octets = std::move(reorder_.begin()->second);
        reorder_.erase(reorder_.begin());
        const size_t cost = octets.size() + kStoredOverhead;
        budget_.used -= cost;
        reorderBytes_ -= cost;
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
    budget_.used -= reorderBytes_;
    reorderBytes_ = 0;
    reorder_.clear();
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
    const size_t used = std::min(rx_.size(), settings_.receiveBuffer);
    rcvAdv_ = std::max(rcvAdv_, rcvNxt_ + (settings_.receiveBuffer - used));
}

// Blocks are runs of adjacent entries; the one that changed last comes first (RFC 2018 4).
void TcpConnection::fillSack(TcpOptions& options) const {
    if (!link_.sack || reorder_.empty())
        return;
    const size_t most = options.timestamps ? 3 : options.sack.size(); // 40 octets of options
    const auto add = [&](uint64_t from, uint64_t to) {
        const SackBlock block{rcvBase_ + static_cast<uint32_t>(from), rcvBase_ + static_cast<uint32_t>(to)};
        for (size_t i = 0; i < options.sackCount; ++i)
            if (options.sack[i] == block)
                return;
        options.sack[options.sackCount++] = block;
    };
    const auto runFrom = [&](std::map<uint64_t, std::vector<std::byte>>::const_iterator at) {
        uint64_t to = at->first;
        for (; at != reorder_.end() && at->first == to; ++at)
            to += at->second.size();
        return to;
    };
    auto recent = reorder_.find(lastStored_);
    if (recent != reorder_.end()) {
        while (recent != reorder_.begin() &&
               std::prev(recent)->first + std::prev(recent)->second.size() == recent->first)
            --recent;
        add(recent->first, runFrom(recent));
    }
    for (auto at = reorder_.begin(); at != reorder_.end() && options.sackCount < most;) {
        const uint64_t to = runFrom(at);
        add(at->first, to);
        at = reorder_.lower_bound(to);
    }
}

} // namespace erdma
