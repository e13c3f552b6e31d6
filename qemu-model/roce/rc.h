// SPDX-License-Identifier: GPL-2.0-or-later
// One end of a reliable connection: the transport of an RC queue pair (roce.md chapters 3 and 4).  It numbers packets,
// repeats what is lost, and executes what the peer asks for in order.  It knows no addresses and no frames.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "fifo.h"
#include "queue_pair.h"
#include "roce_packet.h"

namespace erdma {

class RcTransport;

// What MODIFY_QP tells, with the values of 1.9 for what it does not.
struct RcSetup {
    uint32_t peerQpn = 0;
    uint32_t receivePsn = 0;
    uint8_t pmtuCode = 3;               // 1 to 5: 256 to 4096 octets.  Fixed when the transport is made
    std::optional<uint8_t> timeoutCode; // nothing: 14, growing (3.5)
    uint8_t retries = 7;
    uint8_t rnrRetries = 7; // 7: without limit
    uint8_t rnrTimerCode = 12;
    uint8_t ord = 16, ird = 128; // at most 128
    bool peerMayWrite = true, peerMayRead = true, peerMayAtomic = true;
};

// Packets that connections keep, of all of them together: sent ones until they are acknowledged, received ones that
// wait for their turn.
struct RcMemory {
    size_t limit = size_t{256} << 20;
    size_t used = 0;
    bool fits(size_t octets) const { return octets <= limit && used <= limit - octets; }
};

class RcHost {
public:
    virtual ~RcHost() = default;
    virtual uint64_t nowNs() = 0;
    // Sends the packet by the address vector of the queue pair, or not at all.  Payload is valid during the call only.
    // Must not call back into the transport or its queue pair.
    virtual void transmit(RcTransport& from, const RocePacket& packet) = 0;
    // wantsTurn() or deadline() may have changed.  Must not call back.
    virtual void rearm(RcTransport& transport) = 0;
    virtual RcMemory& memory() = 0;
};

class RcTransport final : public Transport {
public:
    // For a queue pair that is about to become ready to receive; QueuePair::attach() takes it.  The host is told of its
    // end by nobody: whoever keeps a pointer hears of it from the queue pair (see ~RcTransport).
    RcTransport(QueuePair& qp, const RcSetup& setup, RcHost& host);
    ~RcTransport() override;

    // ---- MODIFY_QP ----
    // RTR to RTS.  Until then responses are ignored and nothing is sent but answers.
    void start(uint32_t sendPsn);
    bool started() const { return started_; }
    // New attributes, from the next packet on; PSNs and path MTU stay.
    void configure(const RcSetup& setup);
    const RcSetup& setup() const { return setup_; }
    // QUERY_QP.
    uint32_t sendPsn() const { return psnOf(next_); }
    uint32_t receivePsn() const { return expected_; }

    // ---- from the network ----
    // A packet for this queue pair that passed checks 1 to 9 of 2.12.  May end the queue pair and with it this object.
    void receive(const RocePacket& packet);
    // After the last packet of a batch of frames, for each transport that received one (4.8).
    void endOfBatch();

    // ---- turns ----
    // takeTurn() does what is due, and what must not be done from inside a call of the queue pair.  It is wanted at once
    // when wantsTurn(), otherwise at the deadline (ERDMA_TIMER_OFF: never).  May end the queue pair and with it this
    // object.
    bool wantsTurn() const;
    uint64_t deadline() const;
    void takeTurn(); // bounded

    // ---- Transport ----
    const Ways& ways() const override;
    Placement deliver(const Segment& segment) override;
    size_t maxPayload(bool) const override { return pmtu_; }
    uint64_t sent() const override { return next_; }
    uint64_t acknowledged() const override { return oldest_; }
    uint32_t ord() const override { return setup_.ord; }
    uint32_t ird() const override { return kMaxIrd; } // kept here
    RefusalCode codeOf(Refusal why) const override;
    AsyncEvent eventOf(Refusal why, AsyncEvent usual) const override;
    uint64_t timeouts() const override { return timeouts_; }
    void readyToReceive() override;
    unsigned runPeer(unsigned) override { return 0; }
    void close(bool graceful) override;

    QueuePair& queuePair() { return qp_; }

private:
