// SPDX-License-Identifier: GPL-2.0-or-later
#include "glance.h"

#include "byteorder.h"

namespace erdma {

namespace {

constexpr uint8_t kIcmp = 1, kTcp = 6, kIcmpv6 = 58;

// What of an IP packet's header matters.
struct Inside {
    uint8_t protocol = 0;
    size_t transport = 0; // offset of what follows the header
};

Inside insideIpv4(ConstBytes head, size_t at) {
    if (head.size() < at + 20 || load8(head, at) >> 4 != 4)
        return {};
    const bool fragment = (loadBe16(head, at + 6) & 0x3FFF) != 0;
    return {fragment ? uint8_t{0} : load8(head, at + 9), at + size_t{load8(head, at) & 0xFu} * 4};
}

// A fragment, or a packet with other extension headers, is nobody's.
Inside insideIpv6(ConstBytes head, size_t at) {
    if (head.size() < at + 40 || load8(head, at) >> 4 != 6)
        return {};
    return {load8(head, at + 6), at + 40};
}

Glance::Kind kindOfIcmp(uint8_t protocol, uint8_t type) {
    constexpr uint8_t kUnreachable = 3, kPacketTooBig = 2;
    constexpr uint8_t kRouterSolicitation = 133, kSolicitation = 135, kAdvertisement = 136;
    if (protocol == kIcmp)
        return type == kUnreachable ? Glance::Kind::Unreachable : Glance::Kind::Foreign;
    if (type == kPacketTooBig)
        return Glance::Kind::Unreachable;
    const bool discovery = type == kRouterSolicitation || type == kSolicitation || type == kAdvertisement;
    return discovery ? Glance::Kind::Arp : Glance::Kind::Foreign;
}

} // namespace

Glance glanceAt(ConstBytes head) {
    Glance out;
    size_t at = 12;
    uint16_t type = head.size() >= at + 2 ? loadBe16(head, at) : 0;
    for (unsigned tags = 0; tags < 2 && (type == 0x8100 || type == 0x88A8) && head.size() >= at + 6; ++tags) {
        out.vlan = loadBe16(head, at + 2) & 0x0FFF;
        at += 4;
        type = loadBe16(head, at);
    }
    at += 2;
    if (type == 0x0806)
        out.kind = Glance::Kind::Arp;
    const bool v6 = type == 0x86DD;
    if (!v6 && type != 0x0800)
        return out;
    const auto [protocol, transport] = v6 ? insideIpv6(head, at) : insideIpv4(head, at);
    if (protocol != kTcp && protocol != (v6 ? kIcmpv6 : kIcmp))
        return out;
    if (head.size() < transport + (protocol == kTcp ? 14 : 1)) {
        out.kind = Glance::Kind::Unclear;
        return out;
    }
    if (protocol != kTcp) {
        out.kind = kindOfIcmp(protocol, load8(head, transport));
        return out;
    }
    out.kind = Glance::Kind::Tcp;
    out.source = v6 ? IpAddress::load(head, at + 8) : IpAddress(loadBe32(head, at + 12));
    out.destination = v6 ? IpAddress::load(head, at + 24) : IpAddress(loadBe32(head, at + 16));
    out.sourcePort = loadBe16(head, transport);
    out.destinationPort = loadBe16(head, transport + 2);
    out.flags = load8(head, transport + 13);
    const size_t payload = transport + size_t{load8(head, transport + 12)} / 16 * 4;
    if (payload < head.size())
        out.payload = head.subspan(payload);
    return out;
}

} // namespace erdma
