// SPDX-License-Identifier: GPL-2.0-or-later
// Ethernet frames with IPv4 or IPv6 and TCP: reading what the backend or the guest sent, and building own frames
// (wire.md 1.2, 6.1 to 6.3).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "host.h"
#include "ip_address.h"

namespace erdma {

namespace tcp_flag {
inline constexpr uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kPsh = 0x08, kAck = 0x10, kUrg = 0x20, kEce = 0x40,
                         kCwr = 0x80;
}

// Sequence arithmetic modulo 2^32.
constexpr int32_t seqDiff(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b); }
constexpr bool seqBefore(uint32_t a, uint32_t b) { return seqDiff(a, b) < 0; }
constexpr bool seqAtOrBefore(uint32_t a, uint32_t b) { return seqDiff(a, b) <= 0; }

struct SackBlock {
    uint32_t from = 0;
    uint32_t to = 0; // first octet behind
    bool operator==(const SackBlock&) const = default;
};

struct TcpTimestamps {
    uint32_t value = 0;
    uint32_t echo = 0;
    bool operator==(const TcpTimestamps&) const = default;
};

struct TcpOptions {
    std::optional<uint16_t> mss;
    std::optional<uint8_t> windowScale; // at most 14
    bool sackPermitted = false;
    std::optional<TcpTimestamps> timestamps;
    std::array<SackBlock, 4> sack{};
    uint8_t sackCount = 0;
};

// One TCP segment without addresses: what TCP engines say to each other.
struct TcpSegment {
    uint32_t seq = 0;
    uint32_t ack = 0;
    uint16_t window = 0; // as in the header, unscaled
    uint8_t flags = 0;
    TcpOptions options;
    ConstBytes payload{};
    bool congestionExperienced = false; // IP ECN field of a received segment is CE

    bool has(uint8_t flag) const { return (flags & flag) != 0; }
    // Sequence numbers that the segment occupies.
    uint32_t length() const {
        return static_cast<uint32_t>(payload.size()) + (has(tcp_flag::kSyn) ? 1 : 0) + (has(tcp_flag::kFin) ? 1 : 0);
    }
    uint32_t end() const { return seq + length(); }
};

using Mac = std::array<uint8_t, 6>;

struct VlanTag {
    uint16_t protocol = 0x8100; // or 0x88A8
    uint16_t control = 0;       // priority, DEI, VLAN ID
    bool operator==(const VlanTag&) const = default;
};

// Layer 2 of a frame; at most two tags, outermost first.
struct LinkHeader {
    Mac destination{};
    Mac source{};
    std::array<VlanTag, 2> tags{};
    uint8_t tagCount = 0;
    bool operator==(const LinkHeader&) const = default;
};

// Both addresses are of one version.  Ports in host order.
struct IpHeader {
    IpAddress source, destination;
    uint16_t sourcePort = 0;
    uint16_t destinationPort = 0;
    uint8_t ttl = 64;       // hop limit
    uint8_t tos = 0;        // traffic class: DSCP and ECN
    uint16_t id = 0;        // IPv4
    uint32_t flowLabel = 0; // IPv6, 20 bits
};

// "Fragmentation needed", or "packet too big" of IPv6 (wire.md 6.8): whose segment it quotes.
struct PathMtuNotice {
    IpHeader quoted;
    uint32_t seq = 0;
    uint16_t mtu = 0; // 0: the router did not say
};

struct Frame {
    enum class Kind : uint8_t {
        Other,       // not IP, or a protocol that is nobody's business here, or with extension headers
        Fragment,    // the guest's
        Malformed,   // lengths contradict each other
        BadChecksum, // IP, TCP or ICMP; of TCP the ports are known
        Tcp,
        PathMtu, // a router's, quoting TCP
    };
    Kind kind = Kind::Other;
    LinkHeader link;
    IpHeader ip;
    TcpSegment tcp;                                        // Tcp; payload points into the frame
    PathMtuNotice notice;                                  // PathMtu
    size_t ipOffset = 0, tcpOffset = 0, payloadOffset = 0; // Tcp
};

// Reads `frame`, which may be truncated, padded, or any octets at all.  The result points into it.
Frame parseFrame(ConstBytes frame, const erdma_offload& offload = {});

// Octets that encodeTcpOptions() writes, a multiple of 4.
size_t tcpOptionBytes(const TcpOptions& options);

// A frame that does not exist yet.
struct TcpFrame {
    const LinkHeader& link;
    const IpHeader& ip;
    const TcpSegment& segment;
};
size_t ipBytes(const IpHeader& ip); // that buildTcpFrame() writes, without what follows
// Octets that buildTcpFrame() appends.
size_t tcpFrameBytes(const TcpFrame& frame);
// Appends a whole frame with correct checksums to `out`, of the addresses' version: IPv4 with DF, IPv6 without extension
// headers.  SACK blocks that do not fit behind the other options are left out.
void buildTcpFrame(const LinkHeader& link, const IpHeader& ip, const TcpSegment& segment, std::vector<std::byte>& out);
inline void buildTcpFrame(const TcpFrame& frame, std::vector<std::byte>& out) {
    buildTcpFrame(frame.link, frame.ip, frame.segment, out);
}

// Internet checksum (RFC 1071) as it stands in headers; `sum` carries over what came before, in 16-bit words.
uint32_t checksumAdd(ConstBytes data, uint32_t sum = 0);
uint16_t checksumFold(uint32_t sum);

} // namespace erdma
