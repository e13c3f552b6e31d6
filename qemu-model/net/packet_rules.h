// SPDX-License-Identifier: GPL-2.0-or-later
// Rules for chosen packets of TCP connections: exact and repeatable, without dice.  ../lab/link_text.h has their grammar.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "packet.h"

namespace erdma {

struct PacketRule {
    enum class Action : uint8_t {
        Drop,
        Corrupt, // one bit of the last octet, so that the checksum does not fit
        Duplicate,
        Mark,  // congestion experienced, whether or not the sender takes part in ECN
        Delay, // this packet only: others overtake it
    };
    enum class Kind : uint8_t {
        Any,            // every segment, SYN, FIN, RST and the MPA frames included
        Data,           // payload that was not sent before, but for the MPA frames
        Ack,            // nothing but an acknowledgement
        Retransmission, // payload that begins with octets that were sent before
    };
    Action action = Action::Drop;
    Kind kind = Kind::Any;
    uint32_t connection = 0;       // 0: of all of them
    std::optional<uint8_t> opcode; // of one of the packet's DDP segments
    std::optional<uint32_t> msn;   // of the same one, which is untagged then
    uint64_t first = 1;            // of the packets that match, counted from 1
    uint64_t last = UINT64_MAX;
    uint64_t delayNs = 0; // of Delay

    bool operator==(const PacketRule&) const = default;
};

// Knows the connections on a link as far as rules ask for them.  They are numbered from 1 in the order of their first
// packet, in either direction, since set(); the same ports with a new SYN are a new connection.
//
// Bounded: the oldest connection is forgotten when there are kMaxFlows, and counts as a new one when it goes on.
class PacketRules {
public:
    static constexpr size_t kMaxRules = 32; // of one direction
    static constexpr size_t kMaxFlows = 4096;
    static constexpr size_t kMaxSegments = 64; // of one packet that are looked at

    struct Fate {
        bool drop = false, duplicate = false;
        std::optional<size_t> corruptAt; // offset in the frame
        std::optional<size_t> markAt;    // of the IP header
        uint64_t delayNs = 0;
    };

    // By erdma_side.  Counts and numbers begin anew.
    void set(const std::array<std::vector<PacketRule>, 2>& rules);
    // To be asked once for each frame of both directions, in their order.
    Fate judge(erdma_side side, ConstBytes frame, const erdma_offload& offload);

private:
    struct End {
        IpAddress address;
        uint16_t port;
        auto operator<=>(const End&) const = default;
    };
    using Key = std::pair<End, End>; // the lower one first
    struct Flow {
        uint32_t number = 0;
        std::array<std::optional<uint32_t>, 2> next; // behind the last octet that the key's end has sent
        std::array<std::optional<uint32_t>, 2> syn;  // its first sequence number
    };
    struct Counted {
        PacketRule rule;
        uint64_t matches = 0;
    };

    Flow& flowOf(const Key& key, size_t end, const TcpSegment& segment);
    static PacketRule::Kind kindOf(const TcpSegment& segment, const Flow& flow, size_t end);
    static bool hasSegment(ConstBytes payload, const PacketRule& rule);

    std::array<std::vector<Counted>, 2> rules_;
    std::map<Key, Flow> flows_;
    std::deque<Key> order_; // oldest first
    uint32_t numbers_ = 0;
};

} // namespace erdma
