// SPDX-License-Identifier: GPL-2.0-or-later
// One end of a reliable connection: the transport of an RC queue pair (roce.md chapters 3 and 4).  It joins the half that
// asks and the half that answers; it knows no addresses and no frames.
#pragma once

#include <string>

#include "rc_end.h"
#include "rc_requester.h"
#include "rc_responder.h"

namespace erdma {

class RcTransport final : public Transport {
public:
    // For a queue pair that is about to become ready to receive.
    RcTransport(QueuePair& qp, const RcSetup& setup, RcHost& host);
    ~RcTransport() override; // calls RcHost::closed()
    RcTransport(const RcTransport&) = delete;
    RcTransport& operator=(const RcTransport&) = delete;

    // ---- MODIFY_QP ----
    // RTR to RTS.  Until then responses are ignored and nothing is sent but answers.
    void start(uint32_t sendPsn) { requester_.start(sendPsn); }
    bool started() const { return requester_.started(); }
    // New attributes, from the next packet on; PSNs and path MTU stay.
    void configure(const RcSetup& setup);
    const RcSetup& setup() const { return end_.setup; }
    // QUERY_QP.
    uint32_t sendPsn() const { return requester_.nextPsn(); }
    uint32_t receivePsn() const { return responder_.expectedPsn(); }
    // Members of a JSON object, each with a comma before it.
    std::string describe() const;

    // ---- from the network ----
    // A packet for this queue pair that passed checks 1 to 9 of 2.12.  May end the queue pair and with it this object.
    void receive(const RocePacket& packet);
    // After the last packet of a batch of frames, for each transport that received one (4.8).
    void endOfBatch() { responder_.settle(); }

    // ---- turns ----
    // takeTurn() does what is due, and what must not be done from inside a call of the queue pair.  It is wanted at once
    // when wantsTurn(), otherwise at the deadline (ERDMA_TIMER_OFF: never).  May end the queue pair and with it this
    // object.
    bool wantsTurn() const { return offerAgain_ || requester_.wantsTurn() || responder_.wantsTurn(); }
    uint64_t deadline() const { return requester_.deadline(); }
    void takeTurn(); // bounded

    // ---- Transport ----
    const Ways& ways() const override;
    Placement deliver(const Segment& segment) override;
    size_t maxPayload(bool) const override { return end_.pmtu; }
    uint64_t sent() const override { return requester_.sent(); }
    uint64_t acknowledged() const override { return requester_.acknowledged(); }
    uint32_t ord() const override { return end_.setup.ord; }
    RefusalCode codeOf(Refusal why) const override;
    AsyncEvent eventOf(Refusal why, AsyncEvent usual) const override;
    uint64_t timeouts() const override { return requester_.timeouts(); }
    PathFacts path() const override { return {.frameBytes = static_cast<uint32_t>(end_.pmtu)}; }
    Limit limit() const override { return requester_.limit(); }
    FlowFacts flow() const override;
    uint64_t quietSince() const override { return requester_.quietSince(); }
    void readyToReceive() override;
    unsigned runPeer(unsigned) override { return 0; }
    void close(bool) override {} // the peer learns nothing (10.1)

private:
    RcEnd end_;
    RcRequester requester_;
    RcResponder responder_;
    bool offerAgain_ = false; // the queue pair takes again what it did not take
};

} // namespace erdma
