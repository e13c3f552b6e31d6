// SPDX-License-Identifier: GPL-2.0-or-later
// The half of a reliable connection that asks: packets of own messages, the peer's answers, retries (roce.md chapter 3).
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "fifo.h"
#include "rc_end.h"
#include "transport.h"

namespace erdma {

class RcRequester {
public:
    explicit RcRequester(RcEnd& end) : end_(end) { refill(); }
    ~RcRequester();
    RcRequester(const RcRequester&) = delete;
    RcRequester& operator=(const RcRequester&) = delete;

    void start(uint32_t sendPsn);
    bool started() const { return started_; }
    // New retry counts hold from the next progress on.
    uint32_t nextPsn() const { return psnOf(next_); }
    // Packets since start(): handed out, acknowledged.
    uint64_t sent() const { return next_; }
    uint64_t acknowledged() const { return oldest_; }
    uint64_t timeouts() const { return timeouts_; }
    // Why what the queue pair has is not under way.
    Limit limit() const;
    uint64_t quietSince() const { return progressAt_; }
    FlowFacts flow() const;
    std::string describe() const;

    // A segment of a Send or Write, or a request.
    Placement deliver(const Segment& segment);

    // All of these may end the queue pair.
    void receive(const RocePacket& response);
    void offerAgain(); // what the queue pair did not take
    bool wantsTurn() const { return resending_ && (resendAt_ < resendEnd_ || resendAt_ == sent_.end()); }
    uint64_t deadline() const { return waitUntil_ != 0 ? waitUntil_ : expiry_; }
    void takeTurn();

private:
    enum class Kind : uint8_t { Data, Read, Atomic };
    // A packet of a Send or Write, or a whole Read or atomic request.
    struct Sent {
        KeptPacket kept; // as first sent
        Kind kind = Kind::Data;
        uint64_t first = 0;   // number of its (first) packet
        uint64_t packets = 1; // Read: asked for so far
        uint64_t total = 1;   // Read: all
        uint32_t sinkStag = 0;
        uint64_t sinkTo = 0;
        uint32_t id = 0; // atomic
    };
    enum class Verdict : uint8_t { Done, Held, Gone };
    enum class Cause : uint8_t { Nak, Implicit };

    uint32_t psnOf(uint64_t number) const { return psnPlus(start_, number); }
    bool mayStart(size_t octets) const;
    Sent& push(const RocePacket& packet, Kind kind, uint64_t packets);
    void popFront();
    Placement sendData(const Segment& segment);
    Placement sendRead(const Segment& segment);
    Placement sendAtomic(const Segment& segment);
    void requestRead(Sent& read, uint64_t from, uint64_t packets);
    void askForMore();

    Verdict handle(const RocePacket& response);
    Verdict judge(const RocePacket& response, uint64_t number);
    Verdict take(const RocePacket& response);
    Verdict takeRead(const RocePacket& response);
    Verdict takeAtomic(const RocePacket& response);
    Verdict acknowledge(const RocePacket& response);
    Verdict hand(const Segment& segment);
    bool acknowledgeBefore(uint64_t number);
    void progressed();
    Verdict report();
    Verdict ghost();
    Verdict wait(uint8_t timerCode);
    Verdict retry(Cause cause);
    Verdict fail(Syndrome syndrome, const char* why);
    void refill();
    void restartTimer();
    uint64_t period() const;
    void resendAll(uint64_t round = 0);
    Verdict resend();
    Verdict goOn();

    RcEnd& end_;
    bool started_ = false;
    uint32_t start_ = 0; // PSN of packet 0
    uint64_t oldest_ = 0, next_ = 0;
    Fifo<Sent> sent_;
    size_t keptOctets_ = 0;
    uint32_t sinceAckRequest_ = 0; // packets without
    bool inWrite_ = false;         // between the segments of one
    uint32_t atomicAnswers_ = 0;

    bool progress_ = false; // the queue pair is to be told
    uint64_t progressAt_ = 0;
    bool guard_ = false; // one retry since the last progress
    uint8_t retriesLeft_ = 0, rnrLeft_ = 0;
    uint32_t expiries_ = 0; // since the last progress
    uint64_t timeouts_ = 0, repeats_ = 0, recoveries_ = 0, notReady_ = 0;
    uint64_t expiry_ = ERDMA_TIMER_OFF;
    uint64_t waitUntil_ = 0; // the peer is not ready; 0: it is
    bool resending_ = false;
    bool notReadyYet_ = false;        // what is repeated was not lost: the peer had no receive buffer
    uint64_t resendAt_ = 0;           // in sent_
    uint64_t round_ = 0;              // what of sent_ is repeated at most before an acknowledgement; 0: all
    uint64_t resendEnd_ = UINT64_MAX; // where this round ends

    Fifo<KeptPacket> held_; // responses that the queue pair did not take, in their order
};

} // namespace erdma
