// SPDX-License-Identifier: GPL-2.0-or-later
#include "packet.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "byteorder.h"

namespace erdma {

namespace {

constexpr uint16_t kEtherIpv4 = 0x0800;
constexpr uint16_t kEtherIpv6 = 0x86DD;
constexpr uint16_t kEtherVlan = 0x8100;
constexpr uint16_t kEtherQinQ = 0x88A8;
constexpr uint8_t kProtocolIcmp = 1;
constexpr uint8_t kProtocolTcp = 6;
constexpr uint8_t kProtocolFragment = 44; // of IPv6: its extension header
constexpr uint8_t kProtocolIcmpv6 = 58;
constexpr size_t kMinIp = 20;
constexpr size_t kIpv6 = 40;
constexpr uint32_t kFlowLabelMask = 0xFFFFF;
constexpr uint32_t kLeastMtuIpv6 = 1280; // RFC 8200 5
constexpr size_t kMinTcp = 20;
constexpr uint8_t kMaxWindowScale = 14; // RFC 7323 2.3

namespace option {
constexpr uint8_t kEnd = 0, kNop = 1, kMss = 2, kScale = 3, kSackPermitted = 4, kSack = 5, kTimestamps = 8;
}

// Stops at the first option that does not fit; what was read until then stands.
TcpOptions parseOptions(ConstBytes raw) {
    TcpOptions out;
    size_t at = 0;
    while (at < raw.size()) {
        const uint8_t kind = load8(raw, at);
        if (kind == option::kEnd)
            break;
        if (kind == option::kNop) {
            ++at;
            continue;
        }
        if (at + 2 > raw.size())
            break;
        const size_t length = load8(raw, at + 1);
        if (length < 2 || length > raw.size() - at)
            break;
        const ConstBytes body = raw.subspan(at + 2, length - 2);
        switch (kind) {
        case option::kMss:
            if (body.size() == 2)
                out.mss = loadBe16(body, 0);
            break;
        case option::kScale:
            if (body.size() == 1)
                out.windowScale = std::min(load8(body, 0), kMaxWindowScale);
            break;
        case option::kSackPermitted:
            out.sackPermitted = out.sackPermitted || body.empty();
            break;
        case option::kTimestamps:
            if (body.size() == 8)
                out.timestamps = TcpTimestamps{loadBe32(body, 0), loadBe32(body, 4)};
            break;
        case option::kSack:
            if (body.size() % 8 != 0)
                break;
            out.sackCount = 0;
            for (size_t i = 0; i + 8 <= body.size() && out.sackCount < out.sack.size(); i += 8)
                out.sack[out.sackCount++] = {loadBe32(body, i), loadBe32(body, i + 4)};
            break;
        default:
            break;
        }
        at += length;
    }
    return out;
}

uint32_t pseudoHeader(const IpHeader& ip, uint8_t protocol, size_t bytes) {
    const auto common = static_cast<uint32_t>(protocol + bytes);
    if (ip.source.isV4()) {
        const uint32_t source = ip.source.v4(), destination = ip.destination.v4();
        return (source >> 16) + (source & 0xFFFF) + (destination >> 16) + (destination & 0xFFFF) + common;
    }
    std::array<std::byte, 2 * IpAddress::kBytes> both{};
    ip.source.store(both, 0);
    ip.destination.store(both, IpAddress::kBytes);
    return checksumAdd(both, common);
}

struct IpView {
    IpHeader header;
    uint8_t protocol = 0;
    bool fragment = false;
    size_t headerBytes = 0;
    size_t totalBytes = 0; // may exceed what is there
};

std::optional<IpView> parseIpv6(ConstBytes packet) {
    if (packet.size() < kIpv6 || load8(packet, 0) >> 4 != 6)
        return std::nullopt;
    const uint32_t first = loadBe32(packet, 0);
    IpView view;
    view.headerBytes = kIpv6;
    view.totalBytes = kIpv6 + size_t{loadBe16(packet, 4)};
    view.header.tos = static_cast<uint8_t>(first >> 20);
    view.header.flowLabel = first & kFlowLabelMask;
    view.protocol = load8(packet, 6);
    view.fragment = view.protocol == kProtocolFragment;
    view.header.ttl = load8(packet, 7);
    view.header.source = IpAddress::load(packet, 8);
    view.header.destination = IpAddress::load(packet, 24);
    // Nobody may send those, and here they stand for IPv4.
    if (view.header.source.isV4() || view.header.destination.isV4())
        return std::nullopt;
    return view;
}

std::optional<IpView> parseIpv4(ConstBytes packet) {
    if (packet.size() < kMinIp || load8(packet, 0) >> 4 != 4)
        return std::nullopt;
    IpView view;
    view.headerBytes = size_t{load8(packet, 0) & 0xFu} * 4;
    view.totalBytes = loadBe16(packet, 2);
    if (view.headerBytes < kMinIp || view.headerBytes > packet.size() || view.totalBytes < view.headerBytes)
        return std::nullopt;
    view.header.tos = load8(packet, 1);
    view.header.id = loadBe16(packet, 4);
    view.fragment = (loadBe16(packet, 6) & 0x3FFF) != 0; // MF or an offset
    view.header.ttl = load8(packet, 8);
    view.protocol = load8(packet, 9);
    view.header.source = loadBe32(packet, 12);
    view.header.destination = loadBe32(packet, 16);
    return view;
}

// Length of the layer 2 header, or nothing when the frame is shorter than it or carries no IP.
std::optional<size_t> parseLink(ConstBytes frame, LinkHeader& link, bool& v6) {
    if (frame.size() < 14)
        return std::nullopt;
    for (size_t i = 0; i < 6; ++i) {
        link.destination[i] = load8(frame, i);
        link.source[i] = load8(frame, 6 + i);
    }
    size_t at = 12;
    for (;;) {
        if (frame.size() < at + 2)
            return std::nullopt;
        const uint16_t type = loadBe16(frame, at);
        v6 = type == kEtherIpv6;
        if (type == kEtherIpv4 || v6)
            return at + 2;
        if ((type != kEtherVlan && type != kEtherQinQ) || link.tagCount == link.tags.size() || frame.size() < at + 4)
            return std::nullopt;
        link.tags[link.tagCount++] = VlanTag{type, loadBe16(frame, at + 2)};
        at += 4;
    }
}

void parseTcp(ConstBytes packet, const IpView& ip, const erdma_offload& offload, Frame& out) {
    const ConstBytes raw = packet.subspan(ip.headerBytes);
    out.kind = Frame::Kind::Malformed;
    if (raw.size() < kMinTcp)
        return;
    out.ip.sourcePort = loadBe16(raw, 0);
    out.ip.destinationPort = loadBe16(raw, 2);
    const size_t headerBytes = size_t{load8(raw, 12)} / 16 * 4;
    if (headerBytes < kMinTcp || headerBytes > raw.size())
        return;
    if (!offload.needs_checksum && !offload.data_valid &&
        checksumFold(checksumAdd(raw, pseudoHeader(ip.header, kProtocolTcp, raw.size()))) != 0) {
        out.kind = Frame::Kind::BadChecksum;
        return;
    }
    out.kind = Frame::Kind::Tcp;
    out.tcp.seq = loadBe32(raw, 4);
    out.tcp.ack = loadBe32(raw, 8);
    out.tcp.flags = load8(raw, 13);
    out.tcp.window = loadBe16(raw, 14);
    out.tcp.options = parseOptions(raw.subspan(kMinTcp, headerBytes - kMinTcp));
    out.tcp.payload = raw.subspan(headerBytes);
    out.tcp.congestionExperienced = (ip.header.tos & 3) == 3;
    out.tcpOffset = out.ipOffset + ip.headerBytes;
    out.payloadOffset = out.tcpOffset + headerBytes;
}

void parseNotice(ConstBytes quote, const std::optional<IpView>& inner, uint16_t mtu, Frame& out) {
    // Routers quote at least 8 octets of the transport header: ports and sequence number.
    if (!inner || inner->protocol != kProtocolTcp || inner->fragment || quote.size() < inner->headerBytes + 8)
        return;
    out.kind = Frame::Kind::PathMtu;
    out.notice.quoted = inner->header;
    out.notice.quoted.sourcePort = loadBe16(quote, inner->headerBytes);
    out.notice.quoted.destinationPort = loadBe16(quote, inner->headerBytes + 2);
    out.notice.seq = loadBe32(quote, inner->headerBytes + 4);
    out.notice.mtu = mtu;
}

void parseIcmp(ConstBytes packet, const IpView& ip, Frame& out) {
    const ConstBytes raw = packet.subspan(ip.headerBytes);
    if (raw.size() < 8 || load8(raw, 0) != 3 || load8(raw, 1) != 4)
        return;
    if (checksumFold(checksumAdd(raw)) != 0) {
        out.kind = Frame::Kind::BadChecksum;
        return;
    }
    const ConstBytes quote = raw.subspan(8);
    parseNotice(quote, parseIpv4(quote), loadBe16(raw, 6), out);
}

void parseIcmpv6(ConstBytes packet, const IpView& ip, Frame& out) {
    constexpr uint8_t kPacketTooBig = 2;
    const ConstBytes raw = packet.subspan(ip.headerBytes);
    if (raw.size() < 8 || load8(raw, 0) != kPacketTooBig)
        return;
    if (checksumFold(checksumAdd(raw, pseudoHeader(ip.header, kProtocolIcmpv6, raw.size()))) != 0) {
        out.kind = Frame::Kind::BadChecksum;
        return;
    }
    const uint32_t mtu = loadBe32(raw, 4);
    if (mtu < kLeastMtuIpv6)
        return; // to be discarded (RFC 8201 4), which the guest does
    const ConstBytes quote = raw.subspan(8);
    parseNotice(quote, parseIpv6(quote), static_cast<uint16_t>(std::min<uint32_t>(mtu, UINT16_MAX)), out);
}

} // namespace

// Added up in the order of this machine, which only exchanges the octets of the sum (RFC 1071 2.B).
uint32_t checksumAdd(ConstBytes data, uint32_t sum) {
    uint64_t low = 0, high = 0; // halves of 64-bit words, so that nothing is carried out
    size_t at = 0;
    for (; data.size() - at >= 8; at += 8) {
        uint64_t word;
        std::memcpy(&word, data.data() + at, sizeof(word));
        low += word & 0xFFFFFFFF;
        high += word >> 32;
    }
    uint64_t wide = low + high;
    wide = (wide & 0xFFFFFFFF) + (wide >> 32);
    while (wide >> 16 != 0)
        wide = (wide & 0xFFFF) + (wide >> 16);
    if constexpr (std::endian::native == std::endian::little)
        wide = byteSwapped(static_cast<uint16_t>(wide));
    for (; data.size() - at >= 2; at += 2)
        wide += loadBe16(data, at);
    if (at < data.size())
        wide += uint64_t{load8(data, at)} << 8;
    wide += sum;
    while (wide >> 32 != 0)
        wide = (wide & 0xFFFFFFFF) + (wide >> 32);
    return static_cast<uint32_t>(wide);
}

uint16_t checksumFold(uint32_t sum) {
    while (sum >> 16 != 0)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return static_cast<uint16_t>(~sum);
}

Frame parseFrame(ConstBytes frame, const erdma_offload& offload) {
    Frame out;
    bool v6 = false;
    const std::optional<size_t> linkBytes = parseLink(frame, out.link, v6);
    if (!linkBytes)
        return out;
    ConstBytes packet = frame.subspan(*linkBytes);
    const std::optional<IpView> ip = v6 ? parseIpv6(packet) : parseIpv4(packet);
    if (!ip) {
        out.kind = Frame::Kind::Malformed;
        return out;
    }
    out.ip = ip->header;
    out.ipOffset = *linkBytes;
    if (!v6 && checksumFold(checksumAdd(packet.first(ip->headerBytes))) != 0) {
        out.kind = Frame::Kind::BadChecksum;
        return out;
    }
    if (ip->fragment) {
        out.kind = Frame::Kind::Fragment;
        return out;
    }
    if (ip->totalBytes > packet.size()) {
        out.kind = Frame::Kind::Malformed;
        return out;
    }
    packet = packet.first(ip->totalBytes); // short frames are padded
    if (ip->protocol == kProtocolTcp)
        parseTcp(packet, *ip, offload, out);
    else if (ip->protocol == kProtocolIcmp && !v6)
        parseIcmp(packet, *ip, out);
    else if (ip->protocol == kProtocolIcmpv6 && v6)
        parseIcmpv6(packet, *ip, out);
    return out;
}

namespace {

constexpr size_t kMaxOptionBytes = 40;

size_t sackBlocksThatFit(const TcpOptions& options, size_t used) {
    if (options.sackCount == 0 || used + 4 + 8 > kMaxOptionBytes)
        return 0;
    return std::min<size_t>(std::min<size_t>(options.sackCount, options.sack.size()), (kMaxOptionBytes - used - 4) / 8);
}

size_t fixedOptionBytes(const TcpOptions& options) {
    size_t bytes = 0;
    bytes += options.mss ? 4 : 0;
    bytes += options.windowScale ? 4 : 0;
    bytes += options.sackPermitted ? 4 : 0;
    bytes += options.timestamps ? 12 : 0;
    return bytes;
}

// Every option padded in front to a multiple of 4.
void encodeOptions(const TcpOptions& options, Bytes to) {
    size_t at = 0;
    const auto octet = [&](uint8_t value) { store8(to, at++, value); };
    const auto word = [&](uint32_t value) {
        storeBe32(to, at, value);
        at += 4;
    };
    if (options.mss)
        word(uint32_t{option::kMss} << 24 | 4u << 16 | *options.mss);
    if (options.sackPermitted)
        word(uint32_t{option::kNop} << 24 | uint32_t{option::kNop} << 16 | uint32_t{option::kSackPermitted} << 8 | 2);
    if (options.timestamps) {
        word(uint32_t{option::kNop} << 24 | uint32_t{option::kNop} << 16 | uint32_t{option::kTimestamps} << 8 | 10);
        word(options.timestamps->value);
        word(options.timestamps->echo);
    }
    if (options.windowScale)
        word(uint32_t{option::kNop} << 24 | uint32_t{option::kScale} << 16 | 3u << 8 | *options.windowScale);
    const size_t blocks = sackBlocksThatFit(options, at);
    if (blocks == 0)
        return;
    octet(option::kNop);
    octet(option::kNop);
    octet(option::kSack);
    octet(static_cast<uint8_t>(2 + 8 * blocks));
    for (size_t i = 0; i < blocks; ++i) {
        word(options.sack[i].from);
        word(options.sack[i].to);
    }
}

} // namespace

size_t tcpOptionBytes(const TcpOptions& options) {
    const size_t fixed = fixedOptionBytes(options);
    const size_t blocks = sackBlocksThatFit(options, fixed);
    return fixed + (blocks == 0 ? 0 : 4 + 8 * blocks);
}

namespace {

// In pieces that are still in the processor's cache when they are added up.
uint32_t appendSummed(ConstBytes data, std::vector<std::byte>& out) {
    constexpr size_t kPiece = 4096; // even
    uint32_t sum = 0;
    for (size_t at = 0; at < data.size(); at += kPiece) {
        const ConstBytes piece = data.subspan(at, std::min(kPiece, data.size() - at));
        out.insert(out.end(), piece.begin(), piece.end());
        sum = checksumAdd(piece, sum);
    }
    return sum;
}

void storeIpv4(Bytes at, const IpHeader& ip, size_t tcpBytes) {
    store8(at, 0, 0x45);
    store8(at, 1, ip.tos);
    storeBe16(at, 2, static_cast<uint16_t>(kMinIp + tcpBytes));
    storeBe16(at, 4, ip.id);
    storeBe16(at, 6, 0x4000); // DF
    store8(at, 8, ip.ttl);
    store8(at, 9, kProtocolTcp);
    storeBe32(at, 12, ip.source.v4());
    storeBe32(at, 16, ip.destination.v4());
    storeBe16(at, 10, checksumFold(checksumAdd(at.first(kMinIp))));
}

void storeIpv6(Bytes at, const IpHeader& ip, size_t tcpBytes) {
    storeBe32(at, 0, uint32_t{6} << 28 | uint32_t{ip.tos} << 20 | (ip.flowLabel & kFlowLabelMask));
    storeBe16(at, 4, static_cast<uint16_t>(tcpBytes));
    store8(at, 6, kProtocolTcp);
    store8(at, 7, ip.ttl);
    ip.source.store(at, 8);
    ip.destination.store(at, 24);
}

} // namespace

size_t ipBytes(const IpHeader& ip) { return ip.source.isV4() ? kMinIp : kIpv6; }

size_t tcpFrameBytes(const TcpFrame& frame) {
    const size_t tags = std::min<size_t>(frame.link.tagCount, frame.link.tags.size());
    return 14 + 4 * tags + ipBytes(frame.ip) + kMinTcp + tcpOptionBytes(frame.segment.options) +
           frame.segment.payload.size();
}

void buildTcpFrame(const LinkHeader& link, const IpHeader& ip, const TcpSegment& segment, std::vector<std::byte>& out) {
    const size_t tags = std::min<size_t>(link.tagCount, link.tags.size());
    const size_t linkBytes = 14 + 4 * tags;
    const size_t tcpHeader = kMinTcp + tcpOptionBytes(segment.options);
    const size_t tcpBytes = tcpHeader + segment.payload.size();
    const size_t ipHeader = ipBytes(ip);
    const size_t start = out.size();
    out.resize(start + linkBytes + ipHeader + tcpHeader);
    const uint32_t payloadSum = appendSummed(segment.payload, out);
    Bytes at = Bytes(out).subspan(start);

    for (size_t i = 0; i < 6; ++i) {
        store8(at, i, link.destination[i]);
        store8(at, 6 + i, link.source[i]);
    }
    for (size_t i = 0; i < tags; ++i) {
        storeBe16(at, 12 + 4 * i, link.tags[i].protocol);
        storeBe16(at, 14 + 4 * i, link.tags[i].control);
    }
    storeBe16(at, linkBytes - 2, ip.source.isV4() ? kEtherIpv4 : kEtherIpv6);

    at = at.subspan(linkBytes);
    if (ip.source.isV4())
        storeIpv4(at, ip, tcpBytes);
    else
        storeIpv6(at, ip, tcpBytes);

    at = at.subspan(ipHeader);
    storeBe16(at, 0, ip.sourcePort);
    storeBe16(at, 2, ip.destinationPort);
    storeBe32(at, 4, segment.seq);
    storeBe32(at, 8, segment.ack);
    store8(at, 12, static_cast<uint8_t>(tcpHeader / 4 << 4));
    store8(at, 13, segment.flags);
    storeBe16(at, 14, segment.window);
    encodeOptions(segment.options, at.subspan(kMinTcp, tcpHeader - kMinTcp));
    const uint32_t sum = pseudoHeader(ip, kProtocolTcp, tcpBytes) + payloadSum;
    storeBe16(at, 16, checksumFold(checksumAdd(at.first(tcpHeader), sum)));
}

} // namespace erdma
