// SPDX-License-Identifier: GPL-2.0-or-later
// The peer as the guest's kernel knows it after handover: acknowledges, closes or resets the frozen socket with
// segments of its own (wire.md 1.7, 1.8).
#pragma once

#include <cstdint>

#include "endpoint.h"
#include "packet.h"

namespace erdma {

class KernelOutput {
public:
    virtual ~KernelOutput() = default;
    // A segment of the virtual peer.
    virtual void toKernel(const TcpSegment& segment) = 0;
    virtual uint32_t peerTimestamp() const = 0; // newest TSval of the real one
    virtual uint64_t nowNs() const = 0;
};

struct KernelSetup {
    uint32_t sndEnd = 0;    // highest sequence end that the kernel sent
    uint32_t fpduStart = 0; // what the kernel sends from here on is a mistake
    uint32_t rcvNxt = 0;
    bool timestamps = false;
    uint32_t tsValue = 0; // newest TSval of the kernel
};

struct KernelCounters {
    uint64_t sent = 0, dropped = 0, misplaced = 0;
};

class KernelSide {
public:
    KernelSide(const KernelSetup& setup, KernelOutput& output) : setup_(setup), output_(output) {}

    // What a segment of the kernel means beyond the answer that it got here.
    struct Input {
        ConstBytes payload{}; // below fpduStart, in order or repeated; acknowledge() when it was taken
        bool fin = false;     // for the first time
        bool rst = false;
    };
    Input input(const TcpSegment& segment);
    void acknowledge(uint32_t end); // everything before `end`; K-ACK
    // K-FIN, K-RST; repeated until the kernel reacts.
    void signal(KernelSignal what);
    // The kernel's socket is gone, or closed both ways.
    bool done() const { return gone_ || (finSeen_ && finAcked_); }

    uint64_t deadline() const { return timerAt_; }
    void onTimer();
    const KernelCounters& counters() const { return counters_; }
    const char* stateName() const;

private:
    void send(uint8_t flags, uint32_t seq);
    void repeat(uint64_t wait);

    KernelSetup setup_;
    KernelOutput& output_;
    KernelCounters counters_;
    bool finSeen_ = false;
    bool finSent_ = false, finAcked_ = false;
    bool rstSent_ = false;
    bool gone_ = false;
    unsigned tries_ = 0;
    uint64_t timerAt_ = kNever;
};

} // namespace erdma
