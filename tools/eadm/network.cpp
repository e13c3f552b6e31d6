// SPDX-License-Identifier: GPL-2.0-or-later
#include "network.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <tuple>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/inet_diag.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fmt/format.h>

#include "commands.h"
#include "netlink.h"
#include "tcpinfo.h"

namespace eadm {

namespace {

namespace fs = std::filesystem;

constexpr size_t kMostUppers = 64; // that are looked at, one over the other included

std::string addressText4(uint32_t address) {
    std::array<char, INET_ADDRSTRLEN> text{};
    inet_ntop(AF_INET, &address, text.data(), text.size());
    return text.data();
}

template <typename Visit> void forEachAddress(const std::string& name, const Visit& visit) {
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) != 0)
        return;
    for (const ifaddrs* one = list; one; one = one->ifa_next) {
        // An address with a label has that for its interface's name: "eth0:1".
        const std::string interface = one->ifa_name;
        if (one->ifa_addr && interface.substr(0, interface.find(':')) == name)
            visit(*one->ifa_addr);
    }
    freeifaddrs(list);
}

std::set<uint32_t> addressesOf(const std::string& name) {
    std::set<uint32_t> found;
    forEachAddress(name, [&](const sockaddr& any) {
        if (any.sa_family != AF_INET)
            return;
        sockaddr_in address{};
        std::memcpy(&address, &any, sizeof(address));
        found.insert(address.sin_addr.s_addr);
    });
    return found;
}

// What kind of interface it is, as the kernel calls it: "vlan", "bridge"; empty: an ordinary one.
std::string kindOf(const std::string& name) {
    std::ifstream file("/sys/class/net/" + name + "/uevent");
    constexpr std::string_view key = "DEVTYPE=";
    std::string line;
    while (std::getline(file, line))
        if (line.starts_with(key))
            return line.substr(key.size());
    return {};
}

bool isOneOf(const std::string& kind, std::initializer_list<std::string_view> kinds) {
    return std::ranges::find(kinds, kind) != kinds.end();
}

// rdma_cm takes an address of the adapter's own interface only.  Older ones take the MAC address for the interface.
bool kernelComparesInterfaces() {
    utsname name{};
    unsigned major = 0, minor = 0;
    return uname(&name) == 0 && std::sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
           std::pair(major, minor) >= std::pair(6U, 6U);
}

// Why connections of an interface over `lower` cannot be the adapter's, which is paired with `nic`; empty: they can.
std::string obstacle(const std::string& upper, const std::string& lower, const std::string& nic) {
    const std::string folder = "/sys/class/net/";
    const std::string kind = kindOf(upper);
    if (!isOneOf(kind, {"vlan", "bridge", "bond", "macvlan", "ipvlan"}))
        return "which handles packets in a way of its own";
    if (kind == "bond") {
        const std::string mode = firstLine(folder + upper + "/bonding/mode");
        const std::string ports = firstLine(folder + upper + "/bonding/slaves");
        const std::string active = firstLine(folder + upper + "/bonding/active_slave");
        if (mode.starts_with("active-backup") ? !active.empty() && active != lower
                                              : ports.find(' ') != std::string::npos)
            return active.empty() ? "which sends by several ports at once"
                                  : fmt::format("whose active port is {}", active);
    }
    if (firstLine(folder + upper + "/address") != firstLine(folder + nic + "/address"))
        return fmt::format("whose MAC address is not that of {}", nic);
    if (kernelComparesInterfaces())
        return fmt::format("and this kernel's rdma_cm takes only addresses of {} itself", nic);
    return {};
}

// The interfaces directly over this one.
std::vector<std::string> uppersOf(const std::string& name) {
    std::vector<std::string> list;
    std::error_code error;
    for (fs::directory_iterator at("/sys/class/net/" + name, error), end; !error && at != end; at.increment(error)) {
        const std::string file = at->path().filename();
        if (file.starts_with("upper_"))
            list.push_back(file.substr(6));
    }
    std::ranges::sort(list);
    return list;
}

struct Above {
    std::set<uint32_t> served;
    std::vector<Upper> others;
    std::set<std::string> seen;
};

// The addresses of all that lies over an interface.
void collectUppers(const std::string& name, const std::string& nic, const std::string& before, Above& above) {
    for (const std::string& upper : uppersOf(name)) {
        // What is in a VRF keeps its addresses.
        if (kindOf(upper) == "vrf" || above.seen.size() >= kMostUppers || !above.seen.insert(upper).second)
            continue;
        const std::string why = before.empty() ? obstacle(upper, name, nic) : before;
        const auto addresses = addressesOf(upper);
        if (why.empty()) {
            above.served.insert(addresses.begin(), addresses.end());
        } else if (!addresses.empty()) {
            above.others.push_back({upper, {}, why});
            for (const uint32_t address : addresses)
                above.others.back().addresses.push_back(addressText4(address));
        }
        collectUppers(upper, nic, why, above);
    }
}

std::string masterOf(const std::string& name) {
    std::error_code error;
    return fs::read_symlink("/sys/class/net/" + name + "/master", error).filename();
}

Above lookAbove(const std::string& name) {
    Above above;
    collectUppers(name, name, {}, above);
    // A port's packets are those of its bridge or bond, whatever addresses it has.
    const std::string master = masterOf(name);
    if (master.empty() || kindOf(master) == "vrf")
        above.served.merge(addressesOf(name));
    return above;
}

// An IPv4 address, also one in its IPv6-mapped form.
std::optional<uint32_t> addressOf(uint8_t family, const __be32 (&words)[4]) {
    if (family == AF_INET)
        return words[0];
    if (family == AF_INET6 && words[0] == 0 && words[1] == 0 && words[2] == htonl(0xFFFF))
        return words[3];
    return std::nullopt;
}

void addSocket(nlmsghdr* head, const std::set<uint32_t>& addresses, TcpTable& table) {
    if (head->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg)))
        return;
    const auto* message = static_cast<const inet_diag_msg*>(NLMSG_DATA(head));
    const auto own = addressOf(message->idiag_family, message->id.idiag_src);
    const auto peer = addressOf(message->idiag_family, message->id.idiag_dst);
    std::array<nlattr*, INET_DIAG_MAX + 1> attributes{};
    if (!own || !peer || !addresses.contains(*own) ||
        nlmsg_parse(head, sizeof(inet_diag_msg), attributes.data(), INET_DIAG_MAX, nullptr) < 0)
        return;
    TcpBytes bytes;
    bytes.uid = message->idiag_uid;
    if (const nlattr* attribute = attributes[INET_DIAG_INFO])
        std::tie(bytes.sent, bytes.received) =
            tcpBytes(nla_data(attribute), static_cast<size_t>(std::max(nla_len(attribute), 0)));
    const uint64_t cookie = uint64_t{message->id.idiag_cookie[1]} << 32 | message->id.idiag_cookie[0];
    table[{*own, *peer, ntohs(message->id.idiag_sport), ntohs(message->id.idiag_dport), cookie}] = bytes;
}

// (source, source port, destination, destination port) of a tuple of the connection tracking.
std::optional<Tuple> trackedTuple(nlattr* attribute) {
    std::array<nlattr*, CTA_TUPLE_MAX + 1> tuple{};
    std::array<nlattr*, CTA_IP_MAX + 1> ip{};
    std::array<nlattr*, CTA_PROTO_MAX + 1> proto{};
    if (!attribute || nla_parse_nested(tuple.data(), CTA_TUPLE_MAX, attribute, nullptr) < 0 || !tuple[CTA_TUPLE_IP] ||
        !tuple[CTA_TUPLE_PROTO] || nla_parse_nested(ip.data(), CTA_IP_MAX, tuple[CTA_TUPLE_IP], nullptr) < 0 ||
        nla_parse_nested(proto.data(), CTA_PROTO_MAX, tuple[CTA_TUPLE_PROTO], nullptr) < 0 || !ip[CTA_IP_V4_SRC] ||
        !ip[CTA_IP_V4_DST] || !proto[CTA_PROTO_NUM] || nla_get_u8(proto[CTA_PROTO_NUM]) != IPPROTO_TCP ||
        !proto[CTA_PROTO_SRC_PORT] || !proto[CTA_PROTO_DST_PORT])
        return std::nullopt;
    return Tuple{nla_get_u32(ip[CTA_IP_V4_SRC]), ntohs(nla_get_u16(proto[CTA_PROTO_SRC_PORT])),
                 nla_get_u32(ip[CTA_IP_V4_DST]), ntohs(nla_get_u16(proto[CTA_PROTO_DST_PORT]))};
}

std::string tupleText(const Tuple& tuple) {
    return fmt::format("{}:{} -> {}:{}", addressText4(tuple[0]), tuple[1], addressText4(tuple[2]), tuple[3]);
}

Tuple turned(const Tuple& tuple) { return {tuple[2], tuple[3], tuple[0], tuple[1]}; }

} // namespace

Tuple tupleOf(const erdma_info_link& link) {
    Tuple tuple{0, link.own_port, 0, link.peer_port};
    std::memcpy(tuple.data(), link.own + 12, 4);
    std::memcpy(&tuple[2], link.peer + 12, 4);
    return tuple;
}

std::set<std::string> ownAddresses(const std::string& name) {
    std::set<std::string> found;
    forEachAddress(name, [&](const sockaddr& address) {
        std::array<char, INET6_ADDRSTRLEN> text{};
        sockaddr_in6 v6{};
        sockaddr_in v4{};
        if (address.sa_family == AF_INET6)
            std::memcpy(&v6, &address, sizeof(v6));
        else if (address.sa_family == AF_INET)
            std::memcpy(&v4, &address, sizeof(v4));
        else
            return;
        const void* octets = address.sa_family == AF_INET6 ? static_cast<const void*>(&v6.sin6_addr) : &v4.sin_addr;
        inet_ntop(address.sa_family, octets, text.data(), text.size());
        found.insert(text.data());
    });
    return found;
}

std::map<unsigned, std::string> gidTable(const std::string& device) {
    std::map<unsigned, std::string> gids;
    constexpr unsigned kMost = 256; // more than any adapter says it has
    for (unsigned index = 0; index < kMost; ++index) {
        const std::string gid = firstLine(fmt::format("/sys/class/infiniband/{}/ports/1/gids/{}", device, index));
        if (gid.empty())
            break;
        if (gid.find_first_not_of("0:") != std::string::npos)
            gids[index] = gid;
    }
    return gids;
}

std::set<uint32_t> servedAddresses(const std::string& name) { return lookAbove(name).served; }

Interface lookAtInterface(const std::string& name) {
    Interface nic;
    const std::string folder = "/sys/class/net/" + name + "/";
    std::error_code error;
    nic.exists = !name.empty() && fs::exists(folder, error);
    if (!nic.exists)
        return nic;
    uint64_t flags = 0;
    const std::string text = firstLine(folder + "flags");
    if (text.size() > 2)
        std::from_chars(text.data() + 2, text.data() + text.size(), flags, 16);
    nic.up = (flags & IFF_UP) != 0;
    nic.carrier = firstLine(folder + "carrier") == "1";
    const std::string mtu = firstLine(folder + "mtu");
    std::from_chars(mtu.data(), mtu.data() + mtu.size(), nic.mtu);
    nic.mac = firstLine(folder + "address");
    const std::string master = masterOf(name);
    if (!isOneOf(kindOf(master), {"bridge", "bond", "vrf"}))
        nic.master = master;
    Above above = lookAbove(name);
    nic.addresses = static_cast<uint32_t>(above.served.size());
    nic.uppers = std::move(above.others);
    return nic;
}

std::optional<TcpTable> tcpConnections(const std::set<uint32_t>& addresses) {
    TcpTable table;
    Netlink netlink(NETLINK_SOCK_DIAG);
    // Sockets of either family carry IPv4.
    for (const int family : {AF_INET, AF_INET6}) {
        inet_diag_req_v2 request{};
        request.sdiag_family = static_cast<uint8_t>(family);
        request.sdiag_protocol = IPPROTO_TCP;
        request.idiag_ext = 1 << (INET_DIAG_INFO - 1);
        request.idiag_states = 1 << 1; // TCP_ESTABLISHED
        const bool complete = netlink.dump(SOCK_DIAG_BY_FAMILY, &request, sizeof(request),
                                           [&](nlmsghdr* head) { addSocket(head, addresses, table); });
        if (!complete)
            return std::nullopt;
    }
    return table;
}

std::vector<TcpFlow> tcpGrowth(const TcpTable& before, const TcpTable& now, double seconds) {
    std::set<Tuple> here;
    for (const auto& [end, bytes] : now)
        here.insert({end.own, end.ownPort, end.peer, end.peerPort});
    std::vector<TcpFlow> flows;
    for (const auto& [end, bytes] : now) {
        const auto old = before.find(end);
        const TcpBytes base = old == before.end() ? TcpBytes{} : old->second;
        uint64_t grown = bytes.sent - std::min(bytes.sent, base.sent);
        // The other end counts what comes from there.
        if (!here.contains({end.peer, end.peerPort, end.own, end.ownPort}))
            grown += bytes.received - std::min(bytes.received, base.received);
        if (grown != 0 && seconds > 0)
            flows.push_back({fmt::format("{}:{}", addressText4(end.own), end.ownPort),
                             fmt::format("{}:{}", addressText4(end.peer), end.peerPort), bytes.uid,
                             static_cast<uint64_t>(static_cast<double>(grown) / seconds)});
    }
    std::ranges::stable_sort(flows,
                             [](const TcpFlow& a, const TcpFlow& b) { return a.bytesPerSecond > b.bytesPerSecond; });
    return flows;
}

std::optional<Translations> translations(const std::vector<erdma_info_link>& links) {
    std::set<Tuple> wanted;
    for (const auto& link : links)
        wanted.insert(tupleOf(link));
    Translations found;
    if (wanted.empty())
        return found;
    std::error_code error;
    // Asking would load the module that tracks, and begin to track.
    if (!fs::exists("/proc/sys/net/netfilter/nf_conntrack_count", error))
        return found;
    nfgenmsg request{};
    request.nfgen_family = AF_INET;
    request.version = NFNETLINK_V0;
    Netlink netlink(NETLINK_NETFILTER);
    const int type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
    const bool complete = netlink.dump(type, &request, sizeof(request), [&](nlmsghdr* head) {
        std::array<nlattr*, CTA_MAX + 1> attributes{};
        if (nlmsg_parse(head, sizeof(nfgenmsg), attributes.data(), CTA_MAX, nullptr) < 0)
            return;
        const uint32_t status = attributes[CTA_STATUS] ? ntohl(nla_get_u32(attributes[CTA_STATUS])) : 0;
        const auto original = trackedTuple(attributes[CTA_TUPLE_ORIG]);
        const auto reply = trackedTuple(attributes[CTA_TUPLE_REPLY]);
        if ((status & (IPS_SRC_NAT | IPS_DST_NAT)) == 0 || !original || !reply)
            return;
        // The connecting end knows it by the original names, the accepting one by those of its replies.
        for (const auto& name : {*original, *reply, turned(*original), turned(*reply)})
            if (wanted.contains(name))
                found.emplace(name, fmt::format("{}, answered by {}", tupleText(*original), tupleText(turned(*reply))));
    });
    return complete ? std::optional(std::move(found)) : std::nullopt;
}

uint32_t pathMtu(const erdma_info_link& link) {
    sockaddr_in peer{};
    peer.sin_family = AF_INET;
    peer.sin_port = htons(link.peer_port);
    std::memcpy(&peer.sin_addr, link.peer + 12, 4);
    sockaddr_in6 peer6{};
    peer6.sin6_family = AF_INET6;
    peer6.sin6_port = htons(link.peer_port);
    std::memcpy(&peer6.sin6_addr, link.peer, sizeof(peer6.sin6_addr));
    const bool v6 = !IN6_IS_ADDR_V4MAPPED(&peer6.sin6_addr);
    const int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int mtu = 0;
    socklen_t size = sizeof(mtu);
    if (fd < 0)
        return 0;
    // A link-local peer is asked for in vain: its interface is not in the link.
    const bool connected = v6 ? connect(fd, reinterpret_cast<const sockaddr*>(&peer6), sizeof(peer6)) == 0
                              : connect(fd, reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)) == 0;
    if (!connected || getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &size) != 0)
        mtu = 0;
    close(fd);
    return static_cast<uint32_t>(std::max(mtu, 0));
}

} // namespace eadm
