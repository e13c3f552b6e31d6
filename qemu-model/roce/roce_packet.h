// SPDX-License-Identifier: GPL-2.0-or-later
// RoCEv2 packets in Ethernet frames: reading and building (roce.md chapter 2).  Knows no queue pair and no GID table.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "packet.h"

namespace erdma {

inline constexpr uint16_t kRoceUdpPort = 4791;
inline constexpr size_t kMaxRocePayload = 4096; // the largest path MTU
inline constexpr uint16_t kFullPkey = 0xFFFF;
inline constexpr uint32_t kMulticastQpn = 0xFFFFFF;

using Gid = std::array<uint8_t, 16>;
Gid mappedGid(uint32_t ipv4); // host order
bool isMapped(const Gid& gid);

enum class RoceOp : uint8_t {
    SendFirst = 0x00,
    SendMiddle = 0x01,
    SendLast = 0x02,
    SendLastImm = 0x03,
    SendOnly = 0x04,
    SendOnlyImm = 0x05,
    WriteFirst = 0x06,
    WriteMiddle = 0x07,
    WriteLast = 0x08,
    WriteLastImm = 0x09,
    WriteOnly = 0x0A,
    WriteOnlyImm = 0x0B,
    ReadRequest = 0x0C,
    ReadFirst = 0x0D,
    ReadMiddle = 0x0E,
    ReadLast = 0x0F,
    ReadOnly = 0x10,
    Acknowledge = 0x11,
    AtomicAcknowledge = 0x12,
    CompareSwap = 0x13,
    FetchAdd = 0x14,
    SendLastInv = 0x16,
    SendOnlyInv = 0x17,
    UdSend = 0x64,
    UdSendImm = 0x65,
    Cnp = 0x81,
};

// The headers and payload of one packet.  Fields that the opcode does not have are 0.
struct RocePacket {
    RoceOp op = RoceOp::SendOnly; // any octet, of packets that were received
    bool solicited = false;
    bool migrated = true;
    bool fecn = false, becn = false;
    bool ackRequest = false;
    uint8_t pad = 0; // as received; built from the payload
    uint16_t pkey = kFullPkey;
    uint32_t destinationQpn = 0;
    uint32_t psn = 0;

    uint32_t qkey = 0, sourceQpn = 0;  // DETH
    uint64_t address = 0;              // RETH, AtomicETH
    uint32_t rkey = 0;                 // the same
    uint32_t length = 0;               // RETH: of the message
    uint64_t operand = 0, compare = 0; // AtomicETH
    uint8_t syndrome = 0;              // AETH
    uint32_t msn = 0;                  // AETH
    uint64_t original = 0;             // AtomicAckETH
    uint32_t immediate = 0;            // ImmDt, as a number
    uint32_t invalidate = 0;           // IETH
    ConstBytes payload{};              // without pad
};

// What an opcode is.
constexpr bool isRc(RoceOp op) { return static_cast<uint8_t>(op) <= 0x1F; }
constexpr bool isUd(RoceOp op) { return op == RoceOp::UdSend || op == RoceOp::UdSendImm; }
constexpr bool isResponse(RoceOp op) { return op >= RoceOp::ReadFirst && op <= RoceOp::AtomicAcknowledge; }
bool isKnown(RoceOp op);       // of 2.7 and 2.8, FLUSH and ATOMIC WRITE excepted
size_t headerBytes(RoceOp op); // BTH and extended headers
bool carriesPayload(RoceOp op);

// Whence and where to, without queue pairs.
struct RoceRoute {
    Mac destination{}, source{};
    std::optional<uint16_t> vlan; // control word of the tag: priority << 13 | VLAN ID
    bool ipv6 = false;            // otherwise both GIDs are mapped IPv4 addresses
    Gid sourceGid{}, destinationGid{};
    uint8_t trafficClass = 0; // DSCP and ECN
    uint8_t hopLimit = 64;
    uint32_t flowLabel = 0; // IPv6 only
    uint16_t udpPort = 0xC000;
};

// A UDP datagram to port 4791 (1.2, conditions 3 to 5; the caller judges MACs, VLAN and addresses).
struct RoceDatagram {
    RoceRoute route; // as in the frame
    ConstBytes ip;   // the frame from its IP header on, with whatever pads it
    ConstBytes ipHeader() const { return ip.first(route.ipv6 ? 40 : 20); }
    bool congestionExperienced() const { return (route.trafficClass & 3) == 3; }
};

// `frame` may be truncated, padded, or any octets at all; its first 66 octets suffice.  The result points into it.
std::optional<RoceDatagram> findRoceDatagram(ConstBytes frame);

enum class RoceVerdict : uint8_t {
    Good,
    BadLength,  // lengths contradict each other, or the headers do not fit
    BadVersion, // transport version
    BadOpcode,  // of no transport that is spoken here
    BadIcrc,
};

// 2.12, checks 1 to 4.  Good: `packet` is filled and points into the frame.  Of opcodes in the range of RC that are not
// isKnown() only the BTH is read, all that follows is payload.
RoceVerdict readRocePacket(const RoceDatagram& datagram, RocePacket& packet);
// Check 9: full or limited member of the only partition.
constexpr bool isOwnPartition(uint16_t pkey) { return (pkey & 0x7FFF) == 0x7FFF; }
// Check 10, and 2.9: payload only where there may be some, and the pad that belongs to it.
bool hasRightPayload(const RocePacket& packet);

// Octets of a frame, without FCS and without padding to 60.
size_t roceFrameBytes(const RoceRoute& route, const RocePacket& packet);
// Appends the frame to `out`.  `identification` is that of IPv4.
void buildRoceFrame(const RoceRoute& route, const RocePacket& packet, uint16_t identification,
                    std::vector<std::byte>& out);
// The IP header of that frame, for the 40 octets of 2.13: 40 octets are written, IPv4 headers into the last 20.
void buildGrh(const RoceDatagram& datagram, Bytes out);

} // namespace erdma
