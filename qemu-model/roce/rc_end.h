// SPDX-License-Identifier: GPL-2.0-or-later
// What the two halves of a reliable connection share.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "adapter.h"
#include "queue_pair.h"
#include "roce_packet.h"

namespace erdma {

class RcTransport;

// What MODIFY_QP tells, with the values of 1.9 for what it does not.
struct RcSetup {
    uint32_t peerQpn = 0;
    uint32_t receivePsn = 0;            // of the first request; looked at when the transport is made, like the path MTU
    uint8_t pmtuCode = 3;               // 1 to 5: 256 to 4096 octets
    std::optional<uint8_t> timeoutCode; // nothing: 14, growing (3.5)
    uint8_t retries = 7;
    uint8_t rnrRetries = 7; // 7: without limit
    uint8_t rnrTimerCode = 12;
    uint8_t ord = 16, ird = 128; // at most 128
    bool peerMayWrite = true, peerMayRead = true, peerMayAtomic = true;
};

// Packets that connections keep, all of them together: sent ones until they are acknowledged, received ones that wait for
// their turn.
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
    // The transport is being destroyed.
    virtual void closed(RcTransport& transport) = 0;
};

// Packet sequence numbers: `a - b`, signed, modulo 2^24.
constexpr int32_t psnDiff(uint32_t a, uint32_t b) { return static_cast<int32_t>((a - b) << 8) >> 8; }
constexpr uint32_t psnPlus(uint32_t psn, uint64_t packets) { return static_cast<uint32_t>(psn + packets) & 0xFFFFFF; }

// Syndromes of the AETH (2.6).
namespace aeth {
inline constexpr uint8_t kAck = 0x1F; // no credits
inline constexpr uint8_t kRnr = 0x20; // | timer code
inline constexpr uint8_t kSequence = 0x60, kInvalidRequest = 0x61, kAccess = 0x62, kOperation = 0x63;
enum class Kind : uint8_t { Ack, Rnr, Reserved, Nak };
constexpr Kind kindOf(uint8_t syndrome) {
    return (syndrome & 0x80) != 0 ? Kind::Reserved : static_cast<Kind>(syndrome >> 5);
}
} // namespace aeth

inline constexpr uint32_t kMostPacketsPerTurn = 64; // B of 3.2
inline constexpr size_t kMostWaiting = 512;         // packets (4.7)
inline constexpr uint32_t kLongestMessage = 1u << 31;

// A packet that is kept, with its payload.
struct KeptPacket {
    RocePacket packet; // without payload
    std::vector<std::byte> payload;
    RocePacket whole() const {
        RocePacket out = packet;
        out.payload = payload;
        return out;
    }
    void keep(const RocePacket& from) {
        packet = from;
        packet.payload = {};
        payload.assign(from.payload.begin(), from.payload.end());
    }
};

struct RcEnd {
    RcEnd(RcTransport& transport, QueuePair& pair, const RcSetup& attributes, RcHost& owner)
        : self(transport), qp(pair), host(owner), setup(attributes), pmtu(128u << attributes.pmtuCode) {}
    ~RcEnd() {
        for (OnStack* call = calls; call != nullptr; call = call->outer)
            call->gone = true;
    }
    RcEnd(const RcEnd&) = delete;
    RcEnd& operator=(const RcEnd&) = delete;

    // A call into the queue pair may end it, and with it all this.
    class OnStack {
    public:
        explicit OnStack(RcEnd& end) : end_(end), outer(end.calls) { end.calls = this; }
        ~OnStack() {
            if (!gone)
                end_.calls = outer;
        }
        OnStack(const OnStack&) = delete;
        OnStack& operator=(const OnStack&) = delete;

    private:
        friend struct RcEnd;
        RcEnd& end_;
        OnStack* outer;

    public:
        bool gone = false;
    };

    Counters& counters() { return qp.adapter().counters; }
    void transmit(RocePacket& packet) {
        packet.destinationQpn = setup.peerQpn;
        host.transmit(self, packet);
    }
    uint64_t packetsOf(uint64_t octets) const { return octets == 0 ? 1 : (octets + pmtu - 1) / pmtu; }

    RcTransport& self;
    QueuePair& qp;
    RcHost& host;
    RcSetup setup;
    const uint32_t pmtu;
    OnStack* calls = nullptr;
};

} // namespace erdma
