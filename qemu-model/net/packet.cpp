// SPDX-License-Identifier: GPL-2.0-or-later
#include "packet.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "byteorder.h"

namespace erdma {

namespace {

constexpr uint16_t kEtherIpv4 = 0x0800;
constexpr uint16_t kEtherVlan = 0x8100;
constexpr uint16_t kEtherQinQ = 0x88A8;
constexpr uint8_t kProtocolIcmp = 1;
constexpr uint8_t kProtocolTcp = 6;
constexpr size_t kMinIp = 20;
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

uint32_t pseudoHeader(uint32_t source, uint32_t destination, size_t tcpBytes) {
    return (source >> 16) + (source & 0xFFFF) + (destination >> 16) + (destination & 0xFFFF) + kProtocolTcp +
           static_cast<uint32_t>(tcpBytes);
}

struct IpView {
    IpHeader header;
    uint8_t protocol = 0;
    bool fragment = false;
    size_t headerBytes = 0;
    size_t totalBytes = 0; // may exceed what is there
};

std::optional<IpView> parseIp(ConstBytes packet) {
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

// Length of the layer 2 header, or nothing when the frame is shorter than it or carries no IPv4.
std::optional<size_t> parseLink(ConstBytes frame, LinkHeader& link) {
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
        if (type == kEtherIpv4)
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
        checksumFold(checksumAdd(raw, pseudoHeader(ip.header.source, ip.header.destination, raw.size()))) != 0) {
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

void parseIcmp(ConstBytes packet, const IpView& ip, Frame& out) {
    const ConstBytes raw = packet.subspan(ip.headerBytes);
    if (raw.size() < 8 || load8(raw, 0) != 3 || load8(raw, 1) != 4)
        return;
    if (checksumFold(checksumAdd(raw)) != 0) {
        out.kind = Frame::Kind::BadChecksum;
        return;
    }
    const ConstBytes quote = raw.subspan(8);
    const std::optional<IpView> inner = parseIp(quote);
    // Routers quote at least 8 octets of the transport header: ports and sequence number.
    if (!inner || inner->protocol != kProtocolTcp || inner->fragment || quote.size() < inner->headerBytes + 8)
        return;
    out.kind = Frame::Kind::PathMtu;
    out.notice.quoted = inner->header;
    out.notice.quoted.sourcePort = loadBe16(quote, inner->headerBytes);
    out.notice.quoted.destinationPort = loadBe16(quote, inner->headerBytes + 2);
    out.notice.seq = loadBe32(quote, inner->headerBytes + 4);
    out.notice.mtu = loadBe16(raw, 6);
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
    const std::optional<size_t> linkBytes = parseLink(frame, out.link);
    if (!linkBytes)
        return out;
    ConstBytes packet = frame.subspan(*linkBytes);
    const std::optional<IpView> ip = parseIp(packet);
    if (!ip) {
        out.kind = Frame::Kind::Malformed;
        return out;
    }
    out.ip = ip->header;
    out.ipOffset = *linkBytes;
    if (checksumFold(checksumAdd(packet.first(ip->headerBytes))) != 0) {
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
    else if (ip->protocol == kProtocolIcmp)
        parseIcmp(packet, *ip, out);
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

} // namespace

size_t tcpFrameBytes(const TcpFrame& frame) {
    const size_t tags = std::min<size_t>(frame.link.tagCount, frame.link.tags.size());
    return 14 + 4 * tags + kMinIp + kMinTcp + tcpOptionBytes(frame.segment.options) + frame.segment.payload.size();
}

void buildTcpFrame(const LinkHeader& link, const IpHeader& ip, const TcpSegment& segment, std::vector<std::byte>& out) {
    const size_t tags = std::min<size_t>(link.tagCount, link.tags.size());
    const size_t linkBytes = 14 + 4 * tags;
    const size_t tcpHeader = kMinTcp + tcpOptionBytes(segment.options);
    const size_t tcpBytes = tcpHeader + segment.payload.size();
    const size_t start = out.size();
    out.resize(start + linkBytes + kMinIp + tcpHeader);
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
    storeBe16(at, linkBytes - 2, kEtherIpv4);

    at = at.subspan(linkBytes);
    store8(at, 0, 0x45);
    store8(at, 1, ip.tos);
    storeBe16(at, 2, static_cast<uint16_t>(kMinIp + tcpBytes));
    storeBe16(at, 4, ip.id);
    storeBe16(at, 6, 0x4000); // DF
    store8(at, 8, ip.ttl);
    store8(at, 9, kProtocolTcp);
    storeBe32(at, 12, ip.source);
    storeBe32(at, 16, ip.destination);
    storeBe16(at, 10, checksumFold(checksumAdd(at.first(kMinIp))));

    at = at.subspan(kMinIp);
    storeBe16(at, 0, ip.sourcePort);
    storeBe16(at, 2, ip.destinationPort);
    storeBe32(at, 4, segment.seq);
    storeBe32(at, 8, segment.ack);
    store8(at, 12, static_cast<uint8_t>(tcpHeader / 4 << 4));
    store8(at, 13, segment.flags);
    storeBe16(at, 14, segment.window);
    encodeOptions(segment.options, at.subspan(kMinTcp, tcpHeader - kMinTcp));
    const uint32_t sum = pseudoHeader(ip.source, ip.destination, tcpBytes) + payloadSum;
    storeBe16(at, 16, checksumFold(checksumAdd(at.first(tcpHeader), sum)));
}

} // namespace erdma
