// SPDX-License-Identifier: GPL-2.0-or-later
// A queue pair as RoCEv2's commands see it: states, transitions, attributes (adapter.md 13.3, roce.md 1.7 to 1.9).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "address_vector.h"
#include "queue_pair.h"
#include "rc.h"

namespace erdma {

class Roce;
class UdTransport;

enum class RoceState : uint8_t { Reset, Init, Rtr, Rts, Sqd, Sqe, Error };

inline constexpr uint32_t kGsiQpn = 1;
inline constexpr uint32_t kGsiQkey = 0x80010000;

class RoceQp final : public RcHost {
public:
    // All three outlive it.
    RoceQp(QueuePair& qp, Roce& roce) : qp_(qp), roce_(roce) {}
    RoceQp(const RoceQp&) = delete;
    RoceQp& operator=(const RoceQp&) = delete;

    QueuePair& pair() { return qp_; }
    uint32_t qpn() const { return qp_.qpn(); }
    bool datagram() const { return qp_.config().datagram; }
    // What the adapter found by itself counts, too.
    RoceState state() const;
    bool receives() const;                                   // packets of the peer
    const AddressVector& address() const { return now_.av; } // RC: of the peer
    uint32_t peerQpn() const { return now_.rc.peerQpn; }
    uint32_t qkey() const { return now_.qkey; }
    // Null: of the other kind, or not between RTR and its end.
    RcTransport* rc() const { return rc_; }
    UdTransport* ud() const { return ud_; }
    // The transport has ended; its PSNs are kept.
    void closed();

    // ---- for the RC transport ----
    uint64_t nowNs() override;
    void transmit(RcTransport& from, const RocePacket& packet) override;
    void rearm(RcTransport& transport) override;
    RcMemory& memory() override;
    void closed(RcTransport&) override { closed(); }

    // Of Roce.
    uint64_t scheduledAt = ERDMA_TIMER_OFF;
    uint64_t nextCnp = 0;
    bool inBatch = false, isPending = false;

    // A whole request.  Invalid: nothing changed.
    Status modify(ConstBytes request);
    Status reflush(uint16_t sqPi, uint16_t rqPi);
    uint64_t query() const;       // first word of QUERY_QP's answer
    std::string describe() const; // JSON object

private:
    struct Settings {       // of MODIFY_QP
        uint32_t given = 0; // mask bits since RESET
        uint32_t qkey = 0;
        uint32_t sendPsn = 0; // of the first packet; of the next one when there is no transport any more
        AddressVector av;
        RcSetup rc;
    };
    Status decode(ConstBytes request, uint32_t mask, bool entersRtr, bool entersRts, Settings& out) const;
    static bool decodeExtended(ConstBytes request, uint32_t mask, RcSetup& rc);
    Status checkPath(ConstBytes request, uint32_t mask, bool entersRtr, Settings& out) const;
    void enter(RoceState from, RoceState to);
    void reset();

    QueuePair& qp_;
    Roce& roce_;
    RoceState state_ = RoceState::Reset;
    Settings now_;
    RcTransport* rc_ = nullptr;
    UdTransport* ud_ = nullptr;
};

} // namespace erdma
