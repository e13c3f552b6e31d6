// SPDX-License-Identifier: GPL-2.0-or-later
#include "glance.h"

#include "byteorder.h"

namespace erdma {

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
    if (type != 0x0800 || head.size() < at + 20 || load8(head, at) >> 4 != 4)
        return out;
    const uint8_t protocol = load8(head, at + 9);
    const bool fragment = (loadBe16(head, at + 6) & 0x3FFF) != 0;
    if (fragment || (protocol != 6 && protocol != 1))
        return out;
    const size_t transport = at + size_t{load8(head, at) & 0xFu} * 4;
    if (head.size() < transport + (protocol == 6 ? 14 : 1)) {
        out.kind = Glance::Kind::Unclear;
        return out;
    }
    if (protocol == 1) {
        out.kind = load8(head, transport) == 3 ? Glance::Kind::Unreachable : Glance::Kind::Foreign;
        return out;
    }
    out.kind = Glance::Kind::Tcp;
    out.source = loadBe32(head, at + 12);
    out.destination = loadBe32(head, at + 16);
    out.sourcePort = loadBe16(head, transport);
    out.destinationPort = loadBe16(head, transport + 2);
    out.flags = load8(head, transport + 13);
    const size_t payload = transport + size_t{load8(head, transport + 12)} / 16 * 4;
    if (payload < head.size())
        out.payload = head.subspan(payload);
    return out;
}

} // namespace erdma
