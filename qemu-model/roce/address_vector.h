// SPDX-License-Identifier: GPL-2.0-or-later
// Where packets go, as commands name it (adapter.md 13.2).
#pragma once

#include <cstdint>

#include "byteorder.h"
#include "roce_packet.h"

namespace erdma {

inline Gid gidAt(ConstBytes from, size_t offset) {
    Gid gid;
    for (size_t i = 0; i < gid.size(); ++i)
        gid[i] = load8(from, offset + i);
    return gid;
}

struct AddressVector {
    uint32_t flowLabel = 0;
    bool ipv6 = false; // network type
    uint8_t trafficClass = 0;
    uint8_t hopLimit = 0; // as given: 0 stands for 64
    uint8_t serviceLevel = 0;
    uint16_t udpPort = 0; // source port
    uint16_t gidIndex = 0;
    Mac mac{}; // of the next hop
    Gid gid{}; // destination

    static constexpr size_t kBytes = 36;
    // The block at `offset` of a request; reserved octets are not looked at.
    static AddressVector at(ConstBytes request, size_t offset) {
        AddressVector av;
        const uint32_t word = loadLe32(request, offset);
        av.flowLabel = word & 0xFFFFF;
        av.ipv6 = (word >> 20 & 1) != 0;
        av.trafficClass = load8(request, offset + 4);
        av.hopLimit = load8(request, offset + 5);
        av.serviceLevel = load8(request, offset + 6);
        av.udpPort = loadLe16(request, offset + 8);
        av.gidIndex = loadLe16(request, offset + 10);
        for (size_t i = 0; i < av.mac.size(); ++i)
            av.mac[i] = load8(request, offset + 12 + i);
        av.gid = gidAt(request, offset + 20);
        return av;
    }
    // The network type is that of the destination.
    bool consistent() const { return ipv6 != isMapped(gid); }
};

// Path MTU codes 1 to 5, in octets of payload.
inline constexpr uint8_t kLargestPathMtuCode = 5;
constexpr uint32_t pathMtuOf(uint8_t code) { return 128u << code; }
// What a packet has at most beside its payload (7.4).
inline constexpr uint32_t kPathMtuOverhead = 96;
// The largest that fits an interface MTU; 0: none.
constexpr uint8_t largestPathMtuCode(uint32_t interfaceMtu) {
    uint8_t code = kLargestPathMtuCode;
    while (code != 0 && pathMtuOf(code) + kPathMtuOverhead > interfaceMtu)
        --code;
    return code;
}

} // namespace erdma
