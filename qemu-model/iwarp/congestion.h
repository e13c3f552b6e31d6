// SPDX-License-Identifier: GPL-2.0-or-later
// Congestion windows of the TCP engine (wire.md 6.6).  All sizes in octets, all times in nanoseconds.
#pragma once

#include <cstdint>
#include <memory>

namespace erdma {

// cfg[23:20] of MODIFY_QP; the HPCC values run as CUBIC.
enum class CongestionControl : uint8_t { NewReno = 0, Cubic = 1, HpccRtt = 2, HpccEcn = 3, HpccInt = 4 };

class Congestion {
public:
    virtual ~Congestion() = default;

    uint64_t window() const { return window_; }
    uint64_t threshold() const { return threshold_; } // between slow start and congestion avoidance
    bool slowStart() const { return window_ < threshold_; }

    // New octets were acknowledged outside fast recovery, and the window was what limited the sender.
    virtual void acknowledged(uint64_t octets, uint64_t nowNs, uint64_t rttNs) = 0;
    // Fast recovery begins with `flight` octets outstanding.
    virtual void lossDetected(uint64_t flight, uint64_t nowNs) = 0;
    // Retransmission timeout; `first` of this loss, or a further one for the same octets (RFC 5681 3.1).
    virtual void timedOut(uint64_t flight, bool first, uint64_t nowNs) = 0;
    // Nothing was sent for longer than the retransmission timeout.
    void idled();
    // The largest segment changed.
    void setSegmentBytes(uint64_t octets) { segment_ = octets; }

protected:
    explicit Congestion(uint64_t segment);
    void growSlowly(uint64_t octets); // slow start

    uint64_t segment_;
    uint64_t window_;
    uint64_t threshold_ = ~uint64_t{0};
};

// `segment`: the largest payload of a segment.
std::unique_ptr<Congestion> makeCongestion(CongestionControl algorithm, uint64_t segment);

} // namespace erdma
