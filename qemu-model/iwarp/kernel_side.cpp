// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel_side.h"

#include <algorithm>

namespace erdma {

namespace {

constexpr uint64_t kRepeat = 200 * kMs; // 1.8
constexpr unsigned kFinTries = 7;       // the first one included
constexpr unsigned kRstTries = 6;

} // namespace

void KernelSide::send(uint8_t flags, uint32_t seq) {
    TcpSegment segment;
    segment.seq = seq;
    segment.ack = setup_.sndEnd;
    segment.flags = static_cast<uint8_t>(flags | tcp_flag::kAck);
    segment.window = 0xFFFF;
    if (setup_.timestamps)
        segment.options.timestamps = TcpTimestamps{output_.peerTimestamp(), setup_.tsValue};
    ++counters_.sent;
    output_.toKernel(segment);
}

void KernelSide::acknowledge(uint32_t end) {
    if (seqBefore(setup_.sndEnd, end))
        setup_.sndEnd = end;
    send(0, setup_.rcvNxt + (finSent_ ? 1 : 0));
}

KernelSide::Input KernelSide::input(const TcpSegment& segment) {
    Input out;
    ++counters_.dropped; // whatever it is, it ends here
    if (segment.has(tcp_flag::kRst)) {
        out.rst = !gone_;
        gone_ = true;
        timerAt_ = kNever;
        return out;
    }
    if (segment.options.timestamps && seqAtOrBefore(setup_.tsValue, segment.options.timestamps->value))
        setup_.tsValue = segment.options.timestamps->value;
    if (gone_ || segment.has(tcp_flag::kSyn) || !segment.has(tcp_flag::kAck))
        return out;
    if (rstSent_) { // a challenge: its number is the right one (RFC 5961)
        setup_.rcvNxt = segment.ack;
        finAcked_ = false;
        if (tries_ < kRstTries) {
            ++tries_;
            send(tcp_flag::kRst, setup_.rcvNxt);
        }
        return out;
    }
    if (finSent_ && !finAcked_ && segment.ack == setup_.rcvNxt + 1) {
        finAcked_ = true;
        timerAt_ = kNever;
    } else if (!finSent_ && seqBefore(setup_.rcvNxt, segment.ack)) {
        setup_.rcvNxt = segment.ack;
    }
    const auto payloadEnd = segment.seq + static_cast<uint32_t>(segment.payload.size());
    // Repeated, or a keepalive probe, which may carry one octet.
    const bool old = seqBefore(segment.seq, setup_.sndEnd) && seqAtOrBefore(segment.end(), setup_.sndEnd);
    if (old) {
        acknowledge(setup_.sndEnd);
        return out;
    }
    if (!segment.payload.empty()) {
        if (seqBefore(setup_.fpduStart, payloadEnd))
            ++counters_.misplaced;
        if (seqAtOrBefore(segment.seq, setup_.sndEnd) && seqBefore(segment.seq, setup_.fpduStart)) {
            const auto room = static_cast<size_t>(seqDiff(setup_.fpduStart, segment.seq));
            out.payload = segment.payload.first(std::min(segment.payload.size(), room));
        }
    }
    if (segment.has(tcp_flag::kFin) && !finSeen_) {
        finSeen_ = out.fin = true;
        setup_.sndEnd = segment.end();
        if (finSent_)
            acknowledge(setup_.sndEnd);
        else
            signal(KernelSignal::Fin);
    }
    return out;
}

void KernelSide::repeat(uint64_t wait) { timerAt_ = output_.nowNs() + wait; }

void KernelSide::signal(KernelSignal what) {
    if (gone_ || rstSent_)
        return;
    if (what == KernelSignal::Fin) {
        if (finSent_)
            return;
        finSent_ = true;
        tries_ = 1;
        send(tcp_flag::kFin, setup_.rcvNxt);
    } else {
        rstSent_ = true;
        tries_ = 1;
        send(tcp_flag::kRst, setup_.rcvNxt + (finAcked_ ? 1 : 0));
    }
    repeat(kRepeat);
}

void KernelSide::onTimer() {
    if (timerAt_ > output_.nowNs())
        return;
    timerAt_ = kNever;
    if (tries_ >= (rstSent_ ? kRstTries : kFinTries)) {
        gone_ = true; // silent: there is nobody
        return;
    }
    if (rstSent_) {
        send(tcp_flag::kRst, setup_.rcvNxt + (finAcked_ ? 1 : 0));
        repeat(kRepeat);
    } else {
        send(tcp_flag::kFin, setup_.rcvNxt);
        repeat(kRepeat << tries_);
    }
    ++tries_;
}

const char* KernelSide::stateName() const {
    if (gone_)
        return "gone";
    if (rstSent_)
        return "reset";
    if (finSent_)
        return finAcked_ ? (finSeen_ ? "closed" : "told") : "telling";
    return finSeen_ ? "closing" : "open";
}

} // namespace erdma
