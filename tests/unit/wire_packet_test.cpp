// SPDX-License-Identifier: GPL-2.0-or-later
// Ethernet, IPv4 and TCP headers: reading, building, and frames that lie.

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "byteorder.h"
#include "packet.h"

namespace erdma::test {

namespace {

using Octets = std::vector<std::byte>;
using Kind = Frame::Kind;

LinkHeader someLink(unsigned tags = 0) {
    LinkHeader link;
    link.destination = {0x52, 0x54, 0, 1, 2, 3};
    link.source = {0x52, 0x54, 0, 4, 5, 6};
    link.tagCount = static_cast<uint8_t>(tags);
    if (tags > 1)
        link.tags = {VlanTag{0x88A8, 0x0123}, VlanTag{0x8100, 0xE00A}};
    else if (tags == 1)
        link.tags[0] = VlanTag{0x8100, 0x600A};
    return link;
}

IpHeader someIp() {
    IpHeader ip;
    ip.source = 0x0A000001;
    ip.destination = 0x0A000002;
    ip.sourcePort = 40000;
    ip.destinationPort = 7;
    ip.ttl = 63;
    ip.tos = 0x28;
    ip.id = 0x1234;
    return ip;
}

Octets payloadOf(size_t length) {
    Octets out(length);
    for (size_t i = 0; i < length; ++i)
        out[i] = static_cast<std::byte>(i * 7 + 1);
    return out;
}

TcpSegment someSegment(ConstBytes payload) {
    TcpSegment segment;
    segment.seq = 0xFFFFFFF0;
    segment.ack = 0x01020304;
    segment.window = 501;
    segment.flags = tcp_flag::kAck | tcp_flag::kPsh;
    segment.options.timestamps = TcpTimestamps{0x11223344, 0x55667788};
    segment.payload = payload;
    return segment;
}

Octets build(const TcpSegment& segment, unsigned tags = 0) {
    Octets out;
    buildTcpFrame(someLink(tags), someIp(), segment, out);
    return out;
}

void fixIpChecksum(Octets& frame, size_t ip = 14) {
    storeAs<uint16_t>(frame, ip + 10, 0, std::endian::big);
    storeAs<uint16_t>(frame, ip + 10, checksumFold(checksumAdd(ConstBytes(frame).subspan(ip, 20))), std::endian::big);
}

// RFC 1071, chapter 3.
TEST(WirePacket, ChecksumExample) {
    const uint8_t raw[] = {0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7};
    EXPECT_EQ(checksumFold(checksumAdd(std::as_bytes(std::span(raw)))), 0x220D);
    EXPECT_EQ(checksumFold(checksumAdd(std::as_bytes(std::span(raw)).subspan(4),
                                       checksumAdd(std::as_bytes(std::span(raw)).first(4)))),
              0x220D);
    const uint8_t odd[] = {0x12};
    EXPECT_EQ(checksumFold(checksumAdd(std::as_bytes(std::span(odd)))), static_cast<uint16_t>(~0x1200));
}

// MSS 1460, SACK permitted, timestamps, window scale 7; checksums computed by hand-written code
// elsewhere (Python).
TEST(WirePacket, KnownFrame) {
    TcpSegment syn;
    syn.seq = 0x10000000;
    syn.window = 64240;
    syn.flags = tcp_flag::kSyn;
    syn.options.mss = 1460;
    syn.options.sackPermitted = true;
    syn.options.windowScale = 7;
    syn.options.timestamps = TcpTimestamps{1000, 0};
    IpHeader ip = someIp();
    ip.tos = 0;
    ip.id = 1;
    ip.ttl = 64;
    Octets frame;
    buildTcpFrame(someLink(), ip, syn, frame);
    const uint8_t want[] = {0x52, 0x54, 0x00, 0x01, 0x02, 0x03, 0x52, 0x54, 0x00, 0x04, 0x05, 0x06, 0x08,
                            0x00, 0x45, 0x00, 0x00, 0x40, 0x00, 0x01, 0x40, 0x00, 0x40, 0x06, 0x26, 0xB5,
                            0x0A, 0x00, 0x00, 0x01, 0x0A, 0x00, 0x00, 0x02, 0x9C, 0x40, 0x00, 0x07, 0x10,
                            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xB0, 0x02, 0xFA, 0xF0, 0x76, 0xD7,
                            0x00, 0x00, 0x02, 0x04, 0x05, 0xB4, 0x01, 0x01, 0x04, 0x02, 0x01, 0x01, 0x08,
                            0x0A, 0x00, 0x00, 0x03, 0xE8, 0x00, 0x00, 0x00, 0x00, 0x01, 0x03, 0x03, 0x07};
    ASSERT_EQ(frame.size(), sizeof(want));
    for (size_t i = 0; i < sizeof(want); ++i)
        EXPECT_EQ(std::to_integer<uint8_t>(frame[i]), want[i]) << i;
    const Frame parsed = parseFrame(frame);
    ASSERT_EQ(parsed.kind, Kind::Tcp);
    EXPECT_EQ(parsed.tcp.options.mss, 1460);
    EXPECT_EQ(parsed.tcp.options.windowScale, 7);
    EXPECT_TRUE(parsed.tcp.options.sackPermitted);
    EXPECT_EQ(parsed.tcp.options.timestamps, (TcpTimestamps{1000, 0}));
    EXPECT_EQ(parsed.tcp.length(), 1u);
}

TEST(WirePacket, WhatIsBuiltIsRead) {
    for (unsigned tags = 0; tags <= 2; ++tags) {
        for (const size_t length : {0u, 1u, 2u, 3u, 1448u, 8948u, 65000u}) {
            const Octets payload = payloadOf(length);
            const Octets frame = build(someSegment(payload), tags);
            const Frame parsed = parseFrame(frame);
            ASSERT_EQ(parsed.kind, Kind::Tcp) << tags << " " << length;
            EXPECT_EQ(parsed.link, someLink(tags));
            EXPECT_EQ(parsed.ip.source, 0x0A000001u);
            EXPECT_EQ(parsed.ip.destination, 0x0A000002u);
            EXPECT_EQ(parsed.ip.sourcePort, 40000);
            EXPECT_EQ(parsed.ip.destinationPort, 7);
            EXPECT_EQ(parsed.ip.ttl, 63);
            EXPECT_EQ(parsed.ip.tos, 0x28);
            EXPECT_EQ(parsed.ip.id, 0x1234);
            EXPECT_EQ(parsed.tcp.seq, 0xFFFFFFF0u);
            EXPECT_EQ(parsed.tcp.ack, 0x01020304u);
            EXPECT_EQ(parsed.tcp.window, 501);
            EXPECT_EQ(parsed.tcp.flags, tcp_flag::kAck | tcp_flag::kPsh);
            EXPECT_EQ(parsed.tcp.options.timestamps, (TcpTimestamps{0x11223344, 0x55667788}));
            EXPECT_EQ(Octets(parsed.tcp.payload.begin(), parsed.tcp.payload.end()), payload);
            EXPECT_EQ(parsed.ipOffset, 14 + 4 * tags);
            EXPECT_EQ(parsed.payloadOffset + length, frame.size());
            EXPECT_EQ(parsed.tcp.end(), static_cast<uint32_t>(0xFFFFFFF0u + length));
        }
    }
}

TEST(WirePacket, SackBlocksAsManyAsFit) {
    TcpSegment segment = someSegment({});
    segment.options.sackCount = 4;
    for (uint32_t i = 0; i < 4; ++i)
        segment.options.sack[i] = {100 * i, 100 * i + 50};
    EXPECT_EQ(tcpOptionBytes(segment.options), 40u); // 12 for timestamps, 4 + 3 * 8
    EXPECT_EQ(parseFrame(build(segment)).tcp.options.sackCount, 3);
    segment.options.timestamps.reset();
    const Frame parsed = parseFrame(build(segment));
    ASSERT_EQ(parsed.tcp.options.sackCount, 4);
    EXPECT_EQ(parsed.tcp.options.sack[3], (SackBlock{300, 350}));
    EXPECT_FALSE(parsed.tcp.options.timestamps);
}

TEST(WirePacket, PaddingOfShortFramesIsNoPayload) {
    Octets frame = build(someSegment(payloadOf(1)));
    frame.resize(frame.size() + 20, std::byte{0xAA});
    const Frame parsed = parseFrame(frame);
    ASSERT_EQ(parsed.kind, Kind::Tcp);
    EXPECT_EQ(parsed.tcp.payload.size(), 1u);
}

TEST(WirePacket, EveryDamagedBitBehindTheLinkHeaderIsNoticed) {
    const Octets good = build(someSegment(payloadOf(40)));
    for (size_t bit = 14 * 8; bit < good.size() * 8; ++bit) {
        Octets bad = good;
        bad[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
        EXPECT_NE(parseFrame(bad).kind, Kind::Tcp) << bit;
    }
}

TEST(WirePacket, OffloadFlagsStandForTheChecksum) {
    const Octets payload = payloadOf(3000);
    Octets frame = build(someSegment(payload));
    frame[14 + 20 + 16] ^= std::byte{0xFF};
    EXPECT_EQ(parseFrame(frame).kind, Kind::BadChecksum);
    erdma_offload offload{};
    offload.needs_checksum = true;
    EXPECT_EQ(parseFrame(frame, offload).kind, Kind::Tcp);
    offload.needs_checksum = false;
    offload.data_valid = true;
    offload.segment_bytes = 1448;
    EXPECT_EQ(parseFrame(frame, offload).kind, Kind::Tcp);
    frame[14 + 12] ^= std::byte{1}; // the IP header is always checked
    EXPECT_EQ(parseFrame(frame, offload).kind, Kind::BadChecksum);
}

TEST(WirePacket, TruncationAtEveryPoint) {
    for (unsigned tags = 0; tags <= 2; ++tags) {
        const Octets good = build(someSegment(payloadOf(30)), tags);
        for (size_t length = 0; length < good.size(); ++length) {
            const Octets cut(good.begin(),
                             good.begin() + static_cast<std::ptrdiff_t>(length)); // exact: ASan sees reads behind
            EXPECT_NE(parseFrame(cut).kind, Kind::Tcp) << length;
        }
    }
}

TEST(WirePacket, LyingLengths) {
    erdma_offload trusted{};
    trusted.data_valid = true;
    const auto with = [&](size_t at, uint8_t value) {
        Octets frame = build(someSegment(payloadOf(30)));
        store8(frame, at, value);
        fixIpChecksum(frame);
        return parseFrame(frame, trusted).kind;
    };
    EXPECT_EQ(with(14, 0x44), Kind::Malformed);           // IP header of 16 octets
    EXPECT_EQ(with(14, 0x65), Kind::Malformed);           // IP version 6
    EXPECT_EQ(with(16, 0xFF), Kind::Malformed);           // total length beyond the frame
    EXPECT_EQ(with(17, 19), Kind::Malformed);             // total length below the header
    EXPECT_EQ(with(17, 39), Kind::Malformed);             // TCP header cut
    EXPECT_EQ(with(14 + 20 + 12, 0x40), Kind::Malformed); // data offset 16
    EXPECT_EQ(with(14 + 20 + 12, 0xF0), Kind::Tcp);       // data offset 60: all there is
    EXPECT_EQ(with(20, 0x20), Kind::Fragment);            // MF
    EXPECT_EQ(with(21, 1), Kind::Fragment);               // offset 8
    EXPECT_EQ(with(23, 17), Kind::Other);                 // UDP
    Octets arp = build(someSegment({}));
    store8(arp, 13, 6);
    EXPECT_EQ(parseFrame(arp).kind, Kind::Other);
}

TEST(WirePacket, OptionsThatDoNotFitEndTheList) {
    const auto options = [](std::vector<uint8_t> raw) {
        TcpSegment segment;
        segment.flags = tcp_flag::kAck;
        segment.options.timestamps = TcpTimestamps{}; // room
        Octets frame;
        buildTcpFrame(someLink(), someIp(), segment, frame);
        for (size_t i = 0; i < 12; ++i)
            store8(frame, 54 + i, i < raw.size() ? raw[i] : 0);
        erdma_offload trusted{};
        trusted.data_valid = true;
        return parseFrame(frame, trusted).tcp.options;
    };
    EXPECT_EQ(options({2, 4, 5, 0xB4}).mss, 1460);
    EXPECT_FALSE(options({2, 3, 5, 0xB4}).mss);
    EXPECT_FALSE(options({2, 0, 2, 4, 5, 0xB4}).mss); // length 0 must not loop
    EXPECT_FALSE(options({2, 1, 2, 4, 5, 0xB4}).mss);
    EXPECT_FALSE(options({99, 13}).mss);
    EXPECT_EQ(options({99, 4, 1, 1, 2, 4, 5, 0xB4}).mss, 1460); // unknown ones are skipped
    EXPECT_EQ(options({3, 3, 200}).windowScale, 14);
    EXPECT_EQ(options({5, 10, 0, 0, 0, 1, 0, 0, 0, 2}).sackCount, 1);
    EXPECT_EQ(options({5, 9, 0, 0, 0, 1, 0, 0, 0}).sackCount, 0);
    EXPECT_FALSE(options({1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 8}).timestamps);
    EXPECT_FALSE(options({0, 2, 4, 5, 0xB4}).mss); // behind the end
}

TEST(WirePacket, FragmentationNeeded) {
    const Octets inner = build(someSegment(payloadOf(100)));
    const auto notice = [&](size_t quoted, uint16_t mtu, uint8_t code, bool goodChecksum) {
        Octets frame(inner.begin(), inner.begin() + 34);
        Octets icmp(8);
        store8(icmp, 0, 3);
        store8(icmp, 1, code);
        storeAs<uint16_t>(icmp, 6, mtu, std::endian::big);
        icmp.insert(icmp.end(), inner.begin() + 14, inner.begin() + 14 + static_cast<std::ptrdiff_t>(quoted));
        storeAs<uint16_t>(icmp, 2, static_cast<uint16_t>(checksumFold(checksumAdd(icmp)) ^ (goodChecksum ? 0 : 1)),
                          std::endian::big);
        frame.insert(frame.end(), icmp.begin(), icmp.end());
        store8(frame, 23, 1);
        storeAs<uint16_t>(frame, 16, static_cast<uint16_t>(frame.size() - 14), std::endian::big);
        fixIpChecksum(frame);
        return parseFrame(frame);
    };
    const Frame frame = notice(28, 1200, 4, true);
    ASSERT_EQ(frame.kind, Kind::PathMtu);
    EXPECT_EQ(frame.notice.mtu, 1200);
    EXPECT_EQ(frame.notice.seq, 0xFFFFFFF0u);
    EXPECT_EQ(frame.notice.quoted.source, 0x0A000001u);
    EXPECT_EQ(frame.notice.quoted.sourcePort, 40000);
    EXPECT_EQ(frame.notice.quoted.destinationPort, 7);
    EXPECT_EQ(notice(27, 1200, 4, true).kind, Kind::Other);
    EXPECT_EQ(notice(28, 1200, 1, true).kind, Kind::Other);
    EXPECT_EQ(notice(28, 1200, 4, false).kind, Kind::BadChecksum);
}

TEST(WirePacket, RandomOctetsAndRandomDamage) {
    std::mt19937 random(1);
    erdma_offload trusted{};
    trusted.data_valid = true;
    const Octets good = build(someSegment(payloadOf(50)), 1);
    for (int round = 0; round < 100000; ++round) {
        Octets frame;
        if (round % 2 == 0) {
            frame.resize(random() % 120);
            for (std::byte& b : frame)
                b = static_cast<std::byte>(random());
            if (frame.size() > 15)
                store8(frame, 12, 8), store8(frame, 13, 0), store8(frame, 14, 0x45);
        } else {
            frame = good;
            frame.resize(random() % (good.size() + 1));
            for (auto hits = random() % 6; hits != 0 && !frame.empty(); --hits)
                frame[random() % frame.size()] = static_cast<std::byte>(random());
        }
        if (frame.size() >= 38)
            fixIpChecksum(frame, round % 2 == 0 ? 14 : 18);
        const Frame parsed = parseFrame(frame, trusted);
        if (parsed.kind == Kind::Tcp) {
            ASSERT_LE(parsed.payloadOffset + parsed.tcp.payload.size(), frame.size());
            ASSERT_LE(parsed.tcp.options.sackCount, 4);
        }
    }
}

} // namespace

} // namespace erdma::test
