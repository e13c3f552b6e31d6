// SPDX-License-Identifier: GPL-2.0-or-later
// Watches TCP handshakes and MPA frames of the paired NIC, and holds what comes behind an MPA reply until the
// connection is handed over (wire.md 1.5, 1.6, chapter 2).
#pragma once

#include <cstdint>
#include <array>
#include <bit>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fpdu.h"
#include "packet.h"
#include "tcp.h"

namespace erdma {

// Seen from the guest; ports in host order.
struct FlowKey {
    IpAddress ownIp, peerIp;
    uint16_t ownPort = 0, peerPort = 0;
    uint16_t vlan = 0; // VLAN ID of the innermost tag, 0 without
    bool operator==(const FlowKey&) const = default;
};

struct FlowKeyHash {
    size_t operator()(const FlowKey& k) const {
        const uint64_t a = std::rotl(k.ownIp.folded(), 32) ^ k.peerIp.folded();
        const uint64_t b = uint64_t{k.ownPort} << 32 | uint64_t{k.peerPort} << 16 | k.vlan;
        return std::hash<uint64_t>{}((a ^ (b * 0x9E3779B97F4A7C15u)) * 0xD6E8FEB86659FD93u);
    }
};

// Of a frame that the guest sends (or gets).
FlowKey keyOf(const Frame& frame, bool fromGuest);

// Octets 0 to 27 of an MPA frame, decoded.
struct MpaHeader {
    bool reply = false;
    uint8_t flags = 0;
    uint8_t revision = 0;
    uint16_t privateBytes = 0;
    uint16_t ird = 0x3FFF, ord = 0x3FFF; // 0x3FFF: not negotiated
    bool enhanced = false;               // revision 2 with IRD and ORD
    Rtr rtr = Rtr::Write;                // and the message without octets to begin with, the first of those named (2.3)
    bool peerToPeer = false;             // and that this message is to come
    uint32_t cookie = 0;                 // revision 129
    uint8_t congestion = 0;              // revision 129

    bool crc() const { return (flags & 0x40) != 0; }
    bool rejects() const { return reply && (flags & 0x20) != 0; }
    size_t bytes() const { return (revision == 129 ? 28u : 20u) + privateBytes; }
};

// Whether these octets, the first of a segment, have the key of an MPA request in front.
bool beginsRequest(ConstBytes octets);

// Reads and atomics outstanding on a connection that this reply opened, seen from one end (2.7).
struct RequestLimits {
    uint16_t ord = 0, ird = 0;
};
RequestLimits requestLimits(const MpaHeader& reply, bool initiator);

// Needs more octets, is none, or is one (of which the private data may still be missing).
struct MpaParse {
    enum class Kind : uint8_t { NeedMore, None, Header };
    Kind kind = Kind::NeedMore;
    MpaHeader header{};
};
MpaParse parseMpa(ConstBytes octets, bool reply);

struct TrackerSettings {
    size_t entries = 65536;
    uint64_t idle = 30000 * kMs;    // before MPA frames
    uint64_t idleMpa = 60000 * kMs; // among them
    uint64_t hold = 5000 * kMs;
    size_t holdBytes = 1u << 20; // of one connection, with what a frame costs besides
    size_t holdFrames = 256;     // of one connection
    uint16_t mtu = 1500;
};

struct TrackerCounters {
    uint64_t created = 0, evicted = 0, expired = 0, foreign = 0, heldFrames = 0, holdTimeouts = 0, dropped = 0;
};

// A frame that waits, with what its virtio-net header said.
struct HeldFrame {
    std::vector<std::byte> octets;
    erdma_offload offload{};
};

// Which VLANs are in use.
class VlanCounts {
public:
    void add(uint16_t vlan) { ++counts_[vlan]; }
    void drop(uint16_t vlan) {
        if (const auto at = counts_.find(vlan); --at->second == 0)
            counts_.erase(at);
    }
    bool contains(uint16_t vlan) const { return counts_.contains(vlan); }
    size_t size() const { return counts_.size(); }
    auto begin() const { return counts_.begin(); }
    auto end() const { return counts_.end(); }

private:
    std::map<uint16_t, size_t> counts_;
};

// Everything that the tracker knows when MODIFY_QP(RTS) arrives.
struct FlowHandover {
    TcpHandover tcp;
    FpduFormat format;
    LinkHeader link;
    IpHeader ip; // from the guest to the peer
    bool initiator = false;
    uint32_t kernelOctets = 0; // passive: of the reply that the kernel will send
    std::optional<MpaHeader> request, reply;
    std::vector<HeldFrame> held; // for the endpoint, in order of arrival
};

class TrackerOutput {
public:
    virtual ~TrackerOutput() = default;
    virtual void toGuest(ConstBytes frame, const erdma_offload& offload) = 0;
};

class FlowTracker {
public:
    FlowTracker(const TrackerSettings& settings, TrackerOutput& output, MemoryBudget& budget)
        : settings_(settings), output_(output), held_(budget) {}
    ~FlowTracker();

    enum class Passage : uint8_t {
        Pass,  // goes on unchanged
        Taken, // held, dropped, or passed in another form
    };
    // `raw` is what `frame` was parsed from.  Only Frame::Kind::Tcp is of interest.
    Passage fromGuest(const Frame& frame, uint64_t nowNs);
    Passage fromWire(const Frame& frame, ConstBytes raw, const erdma_offload& offload, uint64_t nowNs);

    enum class Outcome : uint8_t {
        Ok,
        Untracked,   // nothing known of the tuple
        BadSequence, // 1.5: send_nxt or recv_nxt does not fit what passed; held frames went to the kernel
    };
    // Ends the tracking of the tuple when Ok.
    Outcome handOver(const FlowKey& key, uint32_t sendNxt, uint32_t recvNxt, uint64_t nowNs, FlowHandover& out);
    void setMtu(uint16_t mtu) { settings_.mtu = mtu; }

    uint64_t deadline() const; // of the oldest hold; entries expire when others are touched
    void onTimer(uint64_t nowNs);
    // Device reset: everything held goes to the kernel.
    void clear(size_t most = SIZE_MAX); // so many at most

    bool tracks(const FlowKey& key) const { return flows_.contains(key); }
    size_t entries() const { return flows_.size(); }
    size_t heldBytes() const { return held_.octets(); }
    const VlanCounts& vlans() const { return vlans_; } // of flows that may be handed over
    const TrackerCounters& counters() const { return counters_; }

private:
    // What one end of the connection said.
    struct Half {
        bool synSeen = false;
        uint32_t first = 0; // sequence number behind the SYN
        uint16_t mss = 536;
        std::optional<uint8_t> scale;
        bool sack = false, timestamps = false, ecn = false;
        uint32_t highest = 0, ack = 0; // sequence end, acknowledgement
        bool acked = false;
        uint64_t window = 0; // of the segment below, in octets
        uint32_t windowSeq = 0, windowAck = 0;
        uint32_t edge = 0; // ack + window, never back
        std::optional<uint32_t> tsValue;
        uint64_t tsAt = 0, synAt = 0;
        bool synRepeated = false; // nobody knows which one was answered (RFC 6298 3)
        // MPA frame.
        std::vector<std::byte> mpa;
        std::vector<bool> have;
        std::optional<MpaHeader> header;
        bool mpaComplete = false;
        uint32_t mpaEnd() const { return first + static_cast<uint32_t>(header ? header->bytes() : 0); }
    };
    // How much a stranger cannot have made up.  Of one rank the longest unused goes first, and none for a lower one.
    enum Rank : uint8_t {
        Opening, // one side alone, or numbers that nobody confirmed
        Open,    // the peer confirmed the guest's numbers
        Asked,   // and an MPA request came: waits for its handover
        kRanks,
    };
    struct Flow {
        FlowKey key;
        Rank rank = Opening;
        bool guestSpoke = false;
        bool counted = false;   // in vlans_
        bool ended = false;     // FIN of either side
        bool initiator = false; // the guest sent the SYN
        bool assumed = false;   // the SYNs were not seen
        Half guest, peer;
        LinkHeader link;
        IpHeader ip;
        std::optional<uint64_t> rtt;
        uint64_t seen = 0;
        std::vector<HeldFrame> held;
        size_t heldBytes = 0;
        uint64_t holdUntil = kNever;
        bool holdOver = false;
        std::list<FlowKey>::iterator holdAt{}; // while something is held
    };
    using Flows = std::list<Flow>; // least recently used first

    Flow* lookUp(const FlowKey& key, const Frame& frame, bool fromGuest, uint64_t nowNs);
    bool makeRoom();
    void touch(Flow& flow, uint64_t nowNs);
    void promote(Flow& flow, Rank rank);
    void countVlan(Flow& flow);
    static bool believable(const Flow& flow, const TcpSegment& segment);
    static bool resets(const Flow& flow, const TcpSegment& segment);
    void expire(uint64_t nowNs);
    void erase(Flows::iterator flow);
    void erase(Flow& flow);
    static void assumeHandshake(Flow& flow, const Frame& frame, uint64_t nowNs);
    void learn(Flow& flow, Half& from, const Half& other, const Frame& frame, uint64_t nowNs);
    bool learnMpa(Half& from, const TcpSegment& segment, bool reply);
    bool holding(const Flow& flow) const;
    void hold(Flow& flow, HeldFrame frame, uint64_t nowNs);
    void release(Flow& flow);
    void endHold(Flow& flow);

    TrackerSettings settings_;
    TrackerOutput& output_;
    TrackerCounters counters_;
    std::array<Flows, kRanks> order_;
    VlanCounts vlans_;
    std::unordered_map<FlowKey, Flows::iterator, FlowKeyHash> flows_;
    std::list<FlowKey> holds_; // flows with held frames, oldest first
    MemoryShare held_;
};

} // namespace erdma
