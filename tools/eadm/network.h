// SPDX-License-Identifier: GPL-2.0-or-later
// What the kernel's network says about the interface of an adapter and the connections over it.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "driver.h"

namespace eadm {

// An interface over another, whose addresses the adapter does not serve.
struct Upper {
    std::string name;
    std::vector<std::string> addresses; // IPv4
    std::string why;                    // a clause about it: "whose active port is d0"
};

struct Interface {
    bool exists = false; // in the network namespace of this process
    bool up = false;
    bool carrier = false;
    uint32_t mtu = 0;
    uint32_t addresses = 0;    // IPv4, of it and of interfaces over it: those that the adapter serves
    std::string mac;           // as it is now
    std::string master;        // what takes its packets in a way that the driver does not know; or empty
    std::vector<Upper> uppers; // interfaces over it that have other addresses
};

// The interface itself is asked, with all that lies over it.  An empty name does not exist.
Interface lookAtInterface(const std::string& name);
// Its own addresses, IPv4 and IPv6, as text.
std::set<std::string> ownAddresses(const std::string& name);
// The addresses that a RoCEv2 device answers to, in the kernel's spelling, by the numbers that queue pairs name them with.
std::map<unsigned, std::string> gidTable(const std::string& device);
// The IPv4 addresses, network order, that lookAtInterface() counts.
std::set<uint32_t> servedAddresses(const std::string& name);

// One end of a TCP connection over IPv4; addresses and ports in network and host order.
struct TcpEnd {
    uint32_t own = 0, peer = 0;
    uint16_t ownPort = 0, peerPort = 0;
    uint64_t cookie = 0; // tells it from a later one of the same name
    auto operator<=>(const TcpEnd&) const = default;
};

struct TcpBytes {
    uint64_t sent = 0; // and acknowledged
    uint64_t received = 0;
    uint32_t uid = 0;
};

// Established connections of this network namespace that begin at these addresses; nothing: the kernel does not tell.
using TcpTable = std::map<TcpEnd, TcpBytes>;
std::optional<TcpTable> tcpConnections(const std::set<uint32_t>& addresses);

struct TcpFlow {
    std::string local, remote;
    uint32_t uid = 0;
    uint64_t bytesPerSecond = 0;
};

// What grew between two looks, busiest first.  Of a connection both of whose ends are here each byte counts once.
std::vector<TcpFlow> tcpGrowth(const TcpTable& before, const TcpTable& now, double seconds);

// (own address, own port, peer's address, peer's port), addresses in network and ports in host order.
using Tuple = std::array<uint32_t, 4>;
Tuple tupleOf(const erdma_info_link& link);

// Which of these connections the kernel translates (NAT), and how.  Nothing: the kernel does not tell.
using Translations = std::map<Tuple, std::string>;
std::optional<Translations> translations(const std::vector<erdma_info_link>& links);

// As the kernel's routing knows it; 0: no route.
uint32_t pathMtu(const erdma_info_link& link);

} // namespace eadm
