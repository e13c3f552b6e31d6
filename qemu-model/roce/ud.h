// SPDX-License-Identifier: GPL-2.0-or-later
// Datagrams of UD queue pairs and of the GSI queue pair (adapter.md 13.4, roce.md chapter 5).
#pragma once

#include <cstdint>

#include "fabric.h"
#include "roce_packet.h"
#include "transport.h"

namespace erdma {

class Roce;
class RoceQp;

class UdTransport final : public Transport {
public:
    // Both outlive it.
    UdTransport(RoceQp& qp, Roce& roce) : qp_(qp), roce_(roce) {}

    Placement deliver(const Segment& segment) override;
    size_t maxPayload(bool) const override { return kMaxSegmentPayload; } // a longer one is never sent
    uint64_t sent() const override { return 0; }                          // complete when it left
    uint64_t acknowledged() const override { return 0; }
    RefusalCode codeOf(Refusal) const override { return {}; }
    void readyToReceive() override {}
    unsigned runPeer(unsigned) override { return 0; }
    void close(bool graceful) override;

    // After 2.12, checks 1 to 9.
    void input(const RoceDatagram& datagram, const RocePacket& packet);
    uint32_t sendPsn() const { return psn_; }
    void setSendPsn(uint32_t psn) { psn_ = psn; }

private:
    RoceQp& qp_;
    Roce& roce_;
    uint32_t psn_ = 0;
};

} // namespace erdma
