// SPDX-License-Identifier: GPL-2.0-or-later
// RoCEv2 frames as a peer may send them: none is read behind its end, what was understood is said again by the builder,
// and an octet that the CRC covers is not believed when it is another one.
#include <optional>
#include <vector>

#include "byteorder.h"
#include "fuzz.h"
#include "icrc.h"
#include "roce_packet.h"

namespace erdma::fuzz {
namespace {

using Octets = std::vector<std::byte>;

constexpr size_t kIcrc = 4, kUdp = 8;

// Where the CRC stands, if the lengths of the frame have room for one and the headers before it.
std::optional<size_t> placeOfCrc(const Octets& frame, const RoceDatagram& datagram) {
    const size_t begin = static_cast<size_t>(datagram.ip.data() - frame.data());
    const size_t header = datagram.ipHeader().size();
    if (datagram.ip.size() < header + kUdp)
        return std::nullopt;
    const size_t udp = loadBe16(datagram.ip, header + 4);
    if (udp < kUdp + 12 + kIcrc || header + udp > datagram.ip.size())
        return std::nullopt;
    return begin + header + udp - kIcrc;
}

void repairCrc(Octets& frame) {
    const std::optional<RoceDatagram> datagram = findRoceDatagram(frame);
    if (!datagram)
        return;
    const std::optional<size_t> place = placeOfCrc(frame, *datagram);
    if (!place)
        return;
    const size_t begin = static_cast<size_t>(datagram->ip.data() - frame.data());
    const uint32_t crc = icrc(ConstBytes(frame).subspan(begin, *place - begin), datagram->route.ipv6);
    for (size_t i = 0; i < kIcrc; ++i)
        frame[*place + i] = static_cast<std::byte>(crc >> (8 * i));
}

bool same(const RocePacket& a, const RocePacket& b) {
    return a.op == b.op && a.solicited == b.solicited && a.migrated == b.migrated && a.ackRequest == b.ackRequest &&
           a.fecn == b.fecn && a.becn == b.becn && a.pkey == b.pkey && a.destinationQpn == b.destinationQpn &&
           a.psn == b.psn && a.qkey == b.qkey && a.sourceQpn == b.sourceQpn && a.address == b.address &&
           a.rkey == b.rkey && a.length == b.length && a.operand == b.operand && a.compare == b.compare &&
           a.syndrome == b.syndrome && a.msn == b.msn && a.original == b.original && a.immediate == b.immediate &&
           a.invalidate == b.invalidate && std::ranges::equal(a.payload, b.payload);
}

RocePacket packetOf(Input& in) {
    RocePacket p;
    p.op = static_cast<RoceOp>(in.u8());
    const uint8_t flags = in.u8();
    p.solicited = (flags & 1) != 0;
    p.migrated = (flags & 2) != 0;
    p.becn = (flags & 4) != 0;
    p.ackRequest = (flags & 8) != 0;
    p.pkey = (flags & 16) != 0 ? in.u16() : kFullPkey;
    p.destinationQpn = in.u32() & 0xFFFFFF;
    p.psn = in.u32() & 0xFFFFFF;
    p.qkey = in.u32();
    p.sourceQpn = in.u32() & 0xFFFFFF;
    p.address = in.edge64();
    p.rkey = in.u32();
    p.length = in.edge32();
    p.operand = in.u64();
    p.compare = in.u64();
    p.syndrome = in.u8();
    p.msn = in.u32() & 0xFFFFFF;
    p.original = in.u64();
    p.immediate = in.u32();
    p.invalidate = in.u32();
    if (carriesPayload(p.op))
        p.payload = in.fewOctets(1024);
    return p;
}

RoceRoute routeOf(Input& in) {
    RoceRoute route;
    const uint8_t flags = in.u8();
    route.ipv6 = (flags & 1) != 0;
    if ((flags & 2) != 0)
        route.vlan = in.u16();
    const uint32_t from = in.u32();
    const uint32_t to = in.u32();
    route.sourceGid = mappedGid(from);
    route.destinationGid = mappedGid(to);
    if (route.ipv6)
        route.sourceGid[0] = route.destinationGid[0] = 0xFE;
    route.trafficClass = in.u8();
    route.hopLimit = in.u8();
    route.flowLabel = in.u32() & 0xFFFFF;
    route.udpPort = in.u16();
    return route;
}

void examine(const Octets& frame) {
    const std::optional<RoceDatagram> datagram = findRoceDatagram(frame);
    if (!datagram)
        return;
    std::array<std::byte, 40> grh{};
    buildGrh(*datagram, grh);
    RocePacket packet;
    if (readRocePacket(*datagram, packet) != RoceVerdict::Good)
        return;
    FUZZ_CHECK(packet.payload.size() <= frame.size(), "a payload longer than its frame");
    const std::optional<size_t> place = placeOfCrc(frame, *datagram);
    FUZZ_CHECK(place.has_value(), "a packet without room for its CRC was believed");

    // The last octet before the CRC is always covered.
    Octets wrong = frame;
    wrong[*place - 1] ^= std::byte{0x10};
    if (const std::optional<RoceDatagram> changed = findRoceDatagram(wrong)) {
        RocePacket ignored;
        FUZZ_CHECK(readRocePacket(*changed, ignored) != RoceVerdict::Good, "a changed packet was believed");
    }
    if (!isKnown(packet.op) || !hasRightPayload(packet) || packet.payload.size() > kMaxRocePayload)
        return;
    Octets again;
    buildRoceFrame(datagram->route, packet, 7, again);
    FUZZ_CHECK(again.size() == roceFrameBytes(datagram->route, packet), "a frame of another size than was said");
    const std::optional<RoceDatagram> heard = findRoceDatagram(again);
    FUZZ_CHECK(heard.has_value(), "what was built is no RoCEv2");
    RocePacket repeated;
    FUZZ_CHECK(readRocePacket(*heard, repeated) == RoceVerdict::Good, "what was built cannot be read");
    FUZZ_CHECK(same(packet, repeated), "what was built says something else");
}

void play(Input& in) {
    Octets frame;
    if (in.below(4) == 0) {
        const auto raw = in.octets(2048);
        frame.assign(raw.begin(), raw.end());
    } else {
        const RoceRoute route = routeOf(in);
        const RocePacket packet = packetOf(in);
        if (isKnown(packet.op)) // of others no frame can be built; changes below make them
            buildRoceFrame(route, packet, in.u16(), frame);
        for (uint32_t changes = in.below(4); changes != 0 && !frame.empty(); --changes) {
            const uint32_t at = in.below(static_cast<uint32_t>(frame.size()));
            frame[at] = static_cast<std::byte>(in.u8());
        }
        if (in.rarely(4))
            frame.resize(in.below(static_cast<uint32_t>(frame.size()) + 1));
        if (in.rarely(4))
            frame.resize(frame.size() + in.below(64));
    }
    if (in.below(2) == 0)
        repairCrc(frame);
    examine(frame);
}

} // namespace
} // namespace erdma::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    erdma::fuzz::Input in(data, size);
    erdma::fuzz::play(in);
    return 0;
}
