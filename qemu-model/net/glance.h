// SPDX-License-Identifier: GPL-2.0-or-later
// As much of a frame as decides who is interested.
#pragma once

#include <cstdint>

#include "bytes.h"
#include "ip_address.h"

namespace erdma {

struct Glance {
    enum class Kind : uint8_t {
        Foreign, // nobody
        Tcp,
        Arp,         // or neighbour discovery: tells its sender's address
        Unreachable, // ICMP destination unreachable, ICMPv6 packet too big
        Unclear,     // the head is too short to tell
    };
    Kind kind = Kind::Foreign;
    uint16_t vlan = 0; // ID of the innermost tag, 0 without
    // Of Tcp; ports in host order.
    IpAddress source, destination;
    uint16_t sourcePort = 0, destinationPort = 0;
    uint8_t flags = 0;
    ConstBytes payload{}; // what of it is in the head
};

Glance glanceAt(ConstBytes head);

} // namespace erdma
