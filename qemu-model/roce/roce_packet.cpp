// SPDX-License-Identifier: GPL-2.0-or-later
#include "roce_packet.h"

#include <algorithm>

#include "byteorder.h"
#include "icrc.h"

namespace erdma {

namespace {

constexpr uint16_t kEtherIpv4 = 0x0800, kEtherIpv6 = 0x86DD, kEtherVlan = 0x8100;
constexpr uint8_t kProtocolUdp = 17;
constexpr size_t kIpv4 = 20, kIpv6 = 40, kUdp = 8, kBth = 12, kIcrc = 4;

// Extended headers.
constexpr uint8_t kDeth = 1, kReth = 2, kAtomicEth = 4, kAeth = 8, kAtomicAck = 16, kImmediate = 32, kInvalidate = 64,
                  kCnpZeros = 128;

struct Shape {
    bool known = false;
    bool payload = false;
    uint8_t headers = 0;
};

constexpr Shape shapeOf(RoceOp op) {
    switch (op) {
    case RoceOp::SendFirst:
    case RoceOp::SendMiddle:
    case RoceOp::SendLast:
    case RoceOp::SendOnly:
    case RoceOp::WriteMiddle:
    case RoceOp::WriteLast:
    case RoceOp::ReadMiddle:
        return {true, true, 0};
    case RoceOp::SendLastImm:
    case RoceOp::SendOnlyImm:
    case RoceOp::WriteLastImm:
        return {true, true, kImmediate};
    case RoceOp::SendLastInv:
    case RoceOp::SendOnlyInv:
        return {true, true, kInvalidate};
    case RoceOp::WriteFirst:
    case RoceOp::WriteOnly:
        return {true, true, kReth};
    case RoceOp::WriteOnlyImm:
        return {true, true, kReth | kImmediate};
    case RoceOp::ReadRequest:
        return {true, false, kReth};
    case RoceOp::ReadFirst:
    case RoceOp::ReadLast:
    case RoceOp::ReadOnly:
        return {true, true, kAeth};
    case RoceOp::Acknowledge:
        return {true, false, kAeth};
    case RoceOp::AtomicAcknowledge:
        return {true, false, kAeth | kAtomicAck};
    case RoceOp::CompareSwap:
    case RoceOp::FetchAdd:
        return {true, false, kAtomicEth};
    case RoceOp::UdSend:
        return {true, true, kDeth};
    case RoceOp::UdSendImm:
        return {true, true, kDeth | kImmediate};
    case RoceOp::Cnp:
        return {true, false, kCnpZeros};
    }
    return {};
}

constexpr size_t bytesOf(Shape shape) {
    size_t bytes = kBth;
    bytes += (shape.headers & kDeth) != 0 ? 8 : 0;
    bytes += (shape.headers & kReth) != 0 ? 16 : 0;
    bytes += (shape.headers & kAtomicEth) != 0 ? 28 : 0;
    bytes += (shape.headers & kAeth) != 0 ? 4 : 0;
    bytes += (shape.headers & kAtomicAck) != 0 ? 8 : 0;
    bytes += (shape.headers & kImmediate) != 0 ? 4 : 0;
    bytes += (shape.headers & kInvalidate) != 0 ? 4 : 0;
    bytes += (shape.headers & kCnpZeros) != 0 ? 16 : 0;
    return bytes;
}

template <typename Array> Array arrayAt(ConstBytes from, size_t offset) {
    Array out{};
    for (size_t i = 0; i < out.size(); ++i)
        out[i] = load8(from, offset + i);
    return out;
}

template <typename Array> void putArray(Bytes to, size_t offset, const Array& value) {
    for (size_t i = 0; i < value.size(); ++i)
        store8(to, offset + i, value[i]);
}

// The extended headers in their order, read or written by `Field`: one visit for each field.
template <typename Packet, typename Field> void visitHeaders(Shape shape, Packet& packet, Field field) {
    const auto has = [&](uint8_t header) { return (shape.headers & header) != 0; };
    size_t at = kBth;
    if (has(kDeth)) {
        field.word(at, packet.qkey);
        field.word24(at + 4, packet.sourceQpn, uint8_t{0});
        at += 8;
    }
    if (has(kReth)) {
        field.wide(at, packet.address);
        field.word(at + 8, packet.rkey);
        field.word(at + 12, packet.length);
        at += 16;
    }
    if (has(kAtomicEth)) {
        field.wide(at, packet.address);
        field.word(at + 8, packet.rkey);
        field.wide(at + 12, packet.operand);
        field.wide(at + 20, packet.compare);
        at += 28;
    }
    if (has(kAeth)) {
        field.word24(at, packet.msn, packet.syndrome);
        at += 4;
    }
    if (has(kAtomicAck)) {
        field.wide(at, packet.original);
        at += 8;
    }
    if (has(kImmediate)) {
        field.word(at, packet.immediate);
        at += 4;
    }
    if (has(kInvalidate))
        field.word(at, packet.invalidate);
}

struct Reader {
    ConstBytes from;
    void word(size_t at, uint32_t& value) const { value = loadBe32(from, at); }
    void wide(size_t at, uint64_t& value) const { value = loadAs<uint64_t>(from, at, std::endian::big); }
    void word24(size_t at, uint32_t& value, uint8_t& high) const {
        high = load8(from, at);
        value = loadBe32(from, at) & 0xFFFFFF;
    }
    void word24(size_t at, uint32_t& value, uint8_t&&) const { value = loadBe32(from, at) & 0xFFFFFF; }
};

struct Writer {
    Bytes to;
    void word(size_t at, uint32_t value) const { storeBe32(to, at, value); }
    void wide(size_t at, uint64_t value) const { storeAs<uint64_t>(to, at, value, std::endian::big); }
    void word24(size_t at, uint32_t value, uint8_t high) const {
        storeBe32(to, at, uint32_t{high} << 24 | (value & 0xFFFFFF));
    }
};

size_t padOf(size_t payload) { return (4 - (payload & 3)) & 3; }

// From the UDP header to the ICRC.
size_t udpBytes(const RocePacket& packet) {
    return kUdp + headerBytes(packet.op) + packet.payload.size() + padOf(packet.payload.size()) + kIcrc;
}

size_t linkBytes(const RoceRoute& route) { return route.vlan ? 18 : 14; }

bool findIpv4(ConstBytes ip, RoceRoute& route) {
    if (ip.size() < kIpv4 + kUdp || load8(ip, 0) != 0x45 || load8(ip, 9) != kProtocolUdp ||
        (loadBe16(ip, 6) & 0x3FFF) != 0 || checksumFold(checksumAdd(ip.first(kIpv4))) != 0)
        return false;
    route.ipv6 = false;
    route.trafficClass = load8(ip, 1);
    route.hopLimit = load8(ip, 8);
    route.sourceGid = mappedGid(loadBe32(ip, 12));
    route.destinationGid = mappedGid(loadBe32(ip, 16));
    return true;
}

bool findIpv6(ConstBytes ip, RoceRoute& route) {
    if (ip.size() < kIpv6 + kUdp || load8(ip, 0) >> 4 != 6 || load8(ip, 6) != kProtocolUdp)
        return false;
    const uint32_t word = loadBe32(ip, 0);
    route.ipv6 = true;
    route.trafficClass = static_cast<uint8_t>(word >> 20);
    route.flowLabel = word & 0xFFFFF;
    route.hopLimit = load8(ip, 7);
    route.sourceGid = arrayAt<Gid>(ip, 8);
    route.destinationGid = arrayAt<Gid>(ip, 24);
    return true;
}

void putIp(const RoceRoute& route, size_t udp, uint16_t identification, Bytes ip) {
    if (route.ipv6) {
        storeBe32(ip, 0, 6u << 28 | uint32_t{route.trafficClass} << 20 | (route.flowLabel & 0xFFFFF));
        storeBe16(ip, 4, static_cast<uint16_t>(udp));
        store8(ip, 6, kProtocolUdp);
        store8(ip, 7, route.hopLimit);
        putArray(ip, 8, route.sourceGid);
        putArray(ip, 24, route.destinationGid);
        return;
    }
    store8(ip, 0, 0x45);
    store8(ip, 1, route.trafficClass);
    storeBe16(ip, 2, static_cast<uint16_t>(kIpv4 + udp));
    storeBe16(ip, 4, identification);
    storeBe16(ip, 6, 0x4000); // DF
    store8(ip, 8, route.hopLimit);
    store8(ip, 9, kProtocolUdp);
    for (size_t i = 0; i < 4; ++i) {
        store8(ip, 12 + i, route.sourceGid[12 + i]);
        store8(ip, 16 + i, route.destinationGid[12 + i]);
    }
    storeBe16(ip, 10, checksumFold(checksumAdd(ip.first(kIpv4))));
}

} // namespace

Gid mappedGid(uint32_t ipv4) {
    Gid gid{};
    gid[10] = gid[11] = 0xFF;
    for (size_t i = 0; i < 4; ++i)
        gid[12 + i] = static_cast<uint8_t>(ipv4 >> (24 - 8 * i));
    return gid;
}

bool isMapped(const Gid& gid) {
    return std::all_of(gid.begin(), gid.begin() + 10, [](uint8_t octet) { return octet == 0; }) && gid[10] == 0xFF &&
           gid[11] == 0xFF;
}

bool isKnown(RoceOp op) { return shapeOf(op).known; }

size_t headerBytes(RoceOp op) { return bytesOf(shapeOf(op)); }

bool carriesPayload(RoceOp op) { return shapeOf(op).payload; }

std::optional<RoceDatagram> findRoceDatagram(ConstBytes frame) {
    RoceDatagram datagram;
    RoceRoute& route = datagram.route;
    if (frame.size() < 18)
        return std::nullopt;
    route.destination = arrayAt<Mac>(frame, 0);
    route.source = arrayAt<Mac>(frame, 6);
    uint16_t type = loadBe16(frame, 12);
    size_t at = 14;
    if (type == kEtherVlan) {
        route.vlan = loadBe16(frame, 14);
        type = loadBe16(frame, 16);
        at = 18;
    }
    datagram.ip = frame.subspan(at);
    const bool ip = type == kEtherIpv4   ? findIpv4(datagram.ip, route)
                    : type == kEtherIpv6 ? findIpv6(datagram.ip, route)
                                         : false;
    if (!ip)
        return std::nullopt;
    const size_t header = datagram.ipHeader().size();
    route.udpPort = loadBe16(datagram.ip, header);
    if (loadBe16(datagram.ip, header + 2) != kRoceUdpPort)
        return std::nullopt;
    return datagram;
}

RoceVerdict readRocePacket(const RoceDatagram& datagram, RocePacket& packet) {
    const ConstBytes ip = datagram.ip;
    const bool ipv6 = datagram.route.ipv6;
    const size_t header = datagram.ipHeader().size();
    const size_t total = ipv6 ? kIpv6 + loadBe16(ip, 4) : loadBe16(ip, 2);
    const size_t udp = loadBe16(ip, header + 4);
    if (total > ip.size() || total != header + udp || udp < kUdp + kBth + kIcrc || udp % 4 != 0)
        return RoceVerdict::BadLength;

    const ConstBytes transport = ip.subspan(header + kUdp, udp - kUdp - kIcrc);
    const uint8_t flags = load8(transport, 1);
    if ((flags & 0x0F) != 0)
        return RoceVerdict::BadVersion;
    packet = RocePacket{};
    packet.op = static_cast<RoceOp>(load8(transport, 0));
    const Shape shape = shapeOf(packet.op);
    if (!shape.known && !isRc(packet.op))
        return RoceVerdict::BadOpcode;
    packet.pad = shape.known ? flags >> 4 & 3 : 0;
    const size_t headers = bytesOf(shape);
    if (headers + packet.pad > transport.size())
        return RoceVerdict::BadLength;
    if (loadLe32(ip, total - kIcrc) != icrc(ip.first(total - kIcrc), ipv6))
        return RoceVerdict::BadIcrc;

    packet.solicited = (flags & 0x80) != 0;
    packet.migrated = (flags & 0x40) != 0;
    packet.pkey = loadBe16(transport, 2);
    packet.fecn = (load8(transport, 4) & 0x80) != 0;
    packet.becn = (load8(transport, 4) & 0x40) != 0;
    packet.destinationQpn = loadBe32(transport, 4) & 0xFFFFFF;
    packet.ackRequest = (load8(transport, 8) & 0x80) != 0;
    packet.psn = loadBe32(transport, 8) & 0xFFFFFF;
    visitHeaders(shape, packet, Reader{transport});
    packet.payload = transport.subspan(headers, transport.size() - headers - packet.pad);
    return RoceVerdict::Good;
}

bool hasRightPayload(const RocePacket& packet) {
    if (!carriesPayload(packet.op))
        return packet.payload.empty() && packet.pad == 0;
    return packet.pad == padOf(packet.payload.size());
}

size_t roceFrameBytes(const RoceRoute& route, const RocePacket& packet) {
    return linkBytes(route) + (route.ipv6 ? kIpv6 : kIpv4) + udpBytes(packet);
}

void buildRoceFrame(const RoceRoute& route, const RocePacket& packet, uint16_t identification,
                    std::vector<std::byte>& out) {
    const Shape shape = shapeOf(packet.op);
    const size_t link = linkBytes(route);
    const size_t header = route.ipv6 ? kIpv6 : kIpv4;
    const size_t udp = udpBytes(packet);
    const size_t start = out.size();
    out.resize(start + link + header + udp); // zeros: reserved fields, pad
    const Bytes frame = Bytes(out).subspan(start);

    putArray(frame, 0, route.destination);
    putArray(frame, 6, route.source);
    if (route.vlan) {
        storeBe16(frame, 12, kEtherVlan);
        storeBe16(frame, 14, *route.vlan);
    }
    storeBe16(frame, link - 2, route.ipv6 ? kEtherIpv6 : kEtherIpv4);
    const Bytes ip = frame.subspan(link);
    putIp(route, udp, identification, ip);
    storeBe16(ip, header, route.udpPort);
    storeBe16(ip, header + 2, kRoceUdpPort);
    storeBe16(ip, header + 4, static_cast<uint16_t>(udp));

    const Bytes transport = ip.subspan(header + kUdp);
    const size_t pad = padOf(packet.payload.size());
    store8(transport, 0, static_cast<uint8_t>(packet.op));
    store8(transport, 1,
           static_cast<uint8_t>((packet.solicited ? 0x80u : 0u) | (packet.migrated ? 0x40u : 0u) | pad << 4));
    storeBe16(transport, 2, packet.pkey);
    storeBe32(transport, 4,
              (packet.fecn ? 1u << 31 : 0) | (packet.becn ? 1u << 30 : 0) | (packet.destinationQpn & 0xFFFFFF));
    storeBe32(transport, 8, (packet.ackRequest ? 1u << 31 : 0) | (packet.psn & 0xFFFFFF));
    visitHeaders(shape, packet, Writer{transport});
    std::copy(packet.payload.begin(), packet.payload.end(),
              transport.begin() + static_cast<std::ptrdiff_t>(bytesOf(shape)));
    storeLe32(ip, header + udp - kIcrc, icrc(ip.first(header + udp - kIcrc), route.ipv6));
}

void buildGrh(const RoceDatagram& datagram, Bytes out) {
    std::fill(out.begin(), out.end(), std::byte{0});
    const ConstBytes header = datagram.ipHeader();
    if (out.size() >= kIpv6)
        std::copy(header.begin(), header.end(), out.begin() + static_cast<std::ptrdiff_t>(kIpv6 - header.size()));
}

} // namespace erdma
