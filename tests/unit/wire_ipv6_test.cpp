// SPDX-License-Identifier: GPL-2.0-or-later
// IPv6: frames and what lies in them, the tracker, whole adapters, and what remains the guest's (wire.md 1.6, 6.8).

#include <random>

#include "byteorder.h"
#include "glance.h"
#include "impairment.h"
#include "nic_bench.h"
#include "packet_rules.h"

namespace erdma::test {

namespace {

using flag::kSignal;
using Kind = Frame::Kind;
using namespace tcp_flag;

constexpr size_t kIp = 14, kTcp = kIp + 40;

Octets frameOf(bool first, uint8_t flags, ConstBytes payload = {}, const LinkHeader* link = nullptr) {
    TcpSegment s;
    s.seq = 0xFFFFFFF0;
    s.ack = 7;
    s.flags = flags;
    s.window = 501;
    s.options.timestamps = TcpTimestamps{1, 2};
    s.payload = payload;
    IpHeader ip = ipHeaderOf(first, true);
    ip.ttl = 63;
    ip.tos = 0x2B;
    ip.flowLabel = 0xABCDE;
    Octets out;
    buildTcpFrame(link != nullptr ? *link : linkHeaderOf(first), ip, s, out);
    return out;
}

// Frames of other protocols, from the peer to the guest.
Octets packetOf(uint8_t protocol, const Octets& body) {
    Octets out = frameOf(false, kAck);
    out.resize(kTcp);
    out.insert(out.end(), body.begin(), body.end());
    storeBe16(out, kIp + 4, static_cast<uint16_t>(body.size()));
    store8(out, kIp + 6, protocol);
    return out;
}

uint32_t pseudoSum(ConstBytes frame, uint8_t protocol) {
    return checksumAdd(frame.subspan(kIp + 8, 32), protocol + loadBe16(frame, kIp + 4));
}

Octets tooBig(const Octets& quoted, size_t quotedBytes, uint32_t mtu, uint8_t type = 2, uint16_t damage = 0) {
    Octets icmp(8);
    store8(icmp, 0, type);
    storeBe32(icmp, 4, mtu);
    icmp.insert(icmp.end(), quoted.begin() + kIp, quoted.begin() + kIp + static_cast<std::ptrdiff_t>(quotedBytes));
    Octets frame = packetOf(58, icmp);
    const uint16_t sum = checksumFold(checksumAdd(ConstBytes(frame).subspan(kTcp), pseudoSum(frame, 58)));
    storeBe16(frame, kTcp + 2, static_cast<uint16_t>(sum ^ damage));
    return frame;
}

// Checksums computed by hand-written code elsewhere (Python).
TEST(WireIpv6, KnownFrame) {
    const Octets frame = frameOf(true, kAck | kPsh, Octets(3, std::byte{0x55}));
    const uint8_t want[] = {0x02, 0x00, 0x00, 0x00, 0x00, 0x02, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x86, 0xDD, 0x62,
                            0xBA, 0xBC, 0xDE, 0x00, 0x23, 0x06, 0x3F, 0xFD, 0x00, 0x00, 0x10, 0x00, 0x77, 0x00, 0x00,
                            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0xFD, 0x00, 0x00, 0x10, 0x00, 0x77, 0x00,
                            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xE8, 0x07, 0xD0, 0xFF, 0xFF,
                            0xFF, 0xF0, 0x00, 0x00, 0x00, 0x07, 0x80, 0x18, 0x01, 0xF5, 0xC3, 0xA2, 0x00, 0x00, 0x01,
                            0x01, 0x08, 0x0A, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, 0x55, 0x55, 0x55};
    ASSERT_EQ(frame.size(), sizeof(want));
    for (size_t i = 0; i < sizeof(want); ++i)
        EXPECT_EQ(std::to_integer<uint8_t>(frame[i]), want[i]) << i;
}

TEST(WireIpv6, WhatIsBuiltIsRead) {
    for (uint8_t tags = 0; tags <= 2; ++tags) {
        LinkHeader link = linkHeaderOf(true);
        link.tagCount = tags;
        link.tags = {VlanTag{0x8100, 0x600A}, VlanTag{0x8100, 0xE00B}};
        for (const size_t length : {0u, 1u, 2u, 3u, 1428u, 8928u, 65000u}) {
            const Octets payload(length, std::byte{0x5A});
            const Octets frame = frameOf(true, kAck, payload, &link);
            const Frame parsed = parseFrame(frame);
            ASSERT_EQ(parsed.kind, Kind::Tcp) << unsigned{tags} << " " << length;
            EXPECT_EQ(frame.size(), 14u + 4 * tags + 40 + 32 + length);
            EXPECT_EQ(parsed.ip.source, addressOf(true, true));
            EXPECT_EQ(parsed.ip.destination, addressOf(false, true));
            EXPECT_EQ(parsed.ip.ttl, 63);
            EXPECT_EQ(parsed.ip.tos, 0x2B);
            EXPECT_TRUE(parsed.tcp.congestionExperienced);
            EXPECT_EQ(parsed.ip.flowLabel, 0xABCDEu);
            EXPECT_EQ(parsed.tcp.payload.size(), length);
            const Glance glance = glanceAt(ConstBytes(frame).first(std::min<size_t>(128, frame.size())));
            EXPECT_EQ(glance.kind, Glance::Kind::Tcp);
            EXPECT_EQ(glance.source, parsed.ip.source);
            EXPECT_EQ(glance.destination, parsed.ip.destination);
            EXPECT_EQ(glance.sourcePort, parsed.ip.sourcePort);
            EXPECT_EQ(glance.vlan, tags == 0 ? 0 : tags == 1 ? 10 : 11);
        }
    }
}

// One bit anywhere behind the flow label and the hop limit does not pass.
TEST(WireIpv6, ChecksumCoversTheAddresses) {
    const Octets good = frameOf(true, kAck, Octets(8, std::byte{1}));
    for (size_t at = kIp + 8; at < good.size(); ++at) {
        Octets frame = good;
        frame[at] ^= std::byte{4};
        EXPECT_NE(parseFrame(frame).kind, Kind::Tcp) << at;
    }
}

// What stands for the checksum in frames of a virtio NIC: the sum of the pseudo header, of large segments too.
TEST(WireIpv6, ChecksumOffload) {
    Octets frame = frameOf(true, kAck, Octets(20000, std::byte{1}));
    const uint16_t partial = static_cast<uint16_t>(~checksumFold(pseudoSum(frame, 6)));
    storeBe16(frame, kTcp + 16, partial);
    EXPECT_EQ(parseFrame(frame).kind, Kind::BadChecksum);
    erdma_offload offload{};
    offload.needs_checksum = true;
    offload.gso_type = 4; // VIRTIO_NET_HDR_GSO_TCPV6
    offload.segment_bytes = 1428;
    offload.checksum_start = kTcp;
    offload.checksum_offset = 16;
    EXPECT_EQ(parseFrame(frame, offload).kind, Kind::Tcp);
}

TEST(WireIpv6, HostileHeaders) {
    erdma_offload trusted{};
    trusted.data_valid = true;
    const auto with = [&](size_t at, uint8_t value) {
        Octets frame = frameOf(true, kAck, Octets(30));
        store8(frame, at, value);
        return parseFrame(frame, trusted).kind;
    };
    EXPECT_EQ(with(kIp, 0x4B), Kind::Malformed);       // version 4
    EXPECT_EQ(with(kIp + 4, 0xFF), Kind::Malformed);   // longer than the frame
    EXPECT_EQ(with(kIp + 5, 19), Kind::Malformed);     // no TCP header
    EXPECT_EQ(with(kIp + 5, 0), Kind::Malformed);      // nothing at all
    EXPECT_EQ(with(kTcp + 12, 0x40), Kind::Malformed); // data offset 16
    EXPECT_EQ(with(kIp + 6, 44), Kind::Fragment);
    for (const uint8_t next : std::initializer_list<uint8_t>{0, 43, 50, 51, 59, 60, 135, 139, 140, 17, 1, 255})
        EXPECT_EQ(with(kIp + 6, next), Kind::Other) << unsigned{next};
    EXPECT_EQ(with(12, 0x08), Kind::Other); // another type
    // IPv4 in IPv6's form: to be taken for a connection of IPv4.
    for (const size_t at : {kIp + 8, kIp + 24}) {
        Octets frame = frameOf(true, kAck);
        IpAddress(0x0A000001).store(frame, at);
        EXPECT_EQ(parseFrame(frame, trusted).kind, Kind::Malformed);
    }
    // A jumbogram: length 0 and a hop-by-hop header.
    Octets jumbo = frameOf(true, kAck, Octets(30));
    storeBe16(jumbo, kIp + 4, 0);
    store8(jumbo, kIp + 6, 0);
    EXPECT_EQ(parseFrame(jumbo, trusted).kind, Kind::Other);
    EXPECT_EQ(glanceAt(jumbo).kind, Glance::Kind::Foreign);
    const Octets whole = frameOf(true, kAck, Octets(30));
    for (size_t length = 0; length < whole.size(); ++length) {
        EXPECT_NE(parseFrame(ConstBytes(whole).first(length), trusted).kind, Kind::Tcp) << length;
        glanceAt(ConstBytes(whole).first(length));
    }
    std::mt19937 random(1);
    for (int round = 0; round < 50000; ++round) {
        Octets frame = whole;
        frame.resize(random() % (whole.size() + 1));
        for (auto hits = random() % 6; hits != 0 && !frame.empty(); --hits)
            frame[random() % frame.size()] = static_cast<std::byte>(random());
        const Frame parsed = parseFrame(frame, trusted);
        glanceAt(frame);
        if (parsed.kind == Kind::Tcp) {
            ASSERT_LE(parsed.payloadOffset + parsed.tcp.payload.size(), frame.size());
        }
    }
}

TEST(WireIpv6, PacketTooBig) {
    const Octets inner = frameOf(true, kAck, Octets(100));
    const Octets good = tooBig(inner, 48, 1400);
    const Frame frame = parseFrame(good);
    ASSERT_EQ(frame.kind, Kind::PathMtu);
    EXPECT_EQ(frame.notice.mtu, 1400);
    EXPECT_EQ(frame.notice.seq, 0xFFFFFFF0u);
    EXPECT_EQ(frame.notice.quoted.source, addressOf(true, true));
    EXPECT_EQ(frame.notice.quoted.destinationPort, 2000);
    EXPECT_EQ(glanceAt(good).kind, Glance::Kind::Unreachable);
    EXPECT_EQ(parseFrame(tooBig(inner, 48, 1280)).kind, Kind::PathMtu);
    EXPECT_EQ(parseFrame(tooBig(inner, 48, 1279)).kind, Kind::Other); // RFC 8201 4
    EXPECT_EQ(parseFrame(tooBig(inner, 48, 0)).kind, Kind::Other);
    EXPECT_EQ(parseFrame(tooBig(inner, 48, 0x10000)).notice.mtu, UINT16_MAX);
    EXPECT_EQ(parseFrame(tooBig(inner, 47, 1400)).kind, Kind::Other);
    EXPECT_EQ(parseFrame(tooBig(inner, 0, 1400)).kind, Kind::Other);
    EXPECT_EQ(parseFrame(tooBig(inner, 48, 1400, 1)).kind, Kind::Other); // unreachable
    EXPECT_EQ(parseFrame(tooBig(inner, 48, 1400, 2, 1)).kind, Kind::BadChecksum);
    Octets other = inner;
    store8(other, kIp + 6, 44); // of a fragment
    EXPECT_EQ(parseFrame(tooBig(other, 48, 1400)).kind, Kind::Other);
}

TEST(WireIpv6, NeighbourDiscoveryTellsAddresses) {
    for (const auto& [type, kind] :
         std::initializer_list<std::pair<uint8_t, Glance::Kind>>{{133, Glance::Kind::Arp},
                                                                 {134, Glance::Kind::Foreign},
                                                                 {135, Glance::Kind::Arp},
                                                                 {136, Glance::Kind::Arp},
                                                                 {137, Glance::Kind::Foreign},
                                                                 {128, Glance::Kind::Foreign}})
        EXPECT_EQ(glanceAt(packetOf(58, Octets(24, static_cast<std::byte>(type)))).kind, kind) << unsigned{type};
}

NicOptions v6() {
    NicOptions options;
    options.link.v6 = true;
    options.link.mss = 1440;
    return options;
}

TEST(WireIpv6, HandoverInBothRoles) {
    for (const uint8_t revision : {uint8_t{129}, uint8_t{1}}) {
        NicOptions options = v6();
        options.revision = revision;
        NicBench t(options);
        size_t longest = 0;
        for (Path& path : t.link.paths)
            path.drop = [&](const Frame& f, unsigned index) {
                longest = std::max(longest, f.payloadOffset + f.tcp.payload.size() - f.ipOffset);
                return index % 31 == 9;
            };
        t.a.memory().fill(t.a.bus, 200000, 3);
        t.bench.recv(t.b, 0, 200000);
        t.bench.recv(t.a, 300000, 64);
        t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 200000)}));
        ASSERT_EQ(t.received(t.b)->bytes, 200000u);
        EXPECT_EQ(t.b.data(0, 200000), t.a.data(0, 200000));
        EXPECT_EQ(t.sent(t.a)->syndrome, 0);
        t.bench.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, 64)}));
        EXPECT_EQ(t.received(t.a)->bytes, 64u);
        EXPECT_EQ(t.a.count(Counter::Handovers), 1u);
        EXPECT_EQ(t.a.count(Counter::Pairings), 0u);
        EXPECT_LE(longest, 1500u);
        EXPECT_GT(longest, 1490u);
        EXPECT_NE(t.iwarps[0]->connections().find("[fd00:10:77::1]:1000"), std::string::npos);
        // The end of it reaches the other kernel.
        t.bench.stop(t.a, QpState::Closing);
        t.kernelA.close();
        ASSERT_TRUE(t.run([&] { return t.over(); }, 70'000 * kMs));
        EXPECT_TRUE(t.kernelB.finReceived);
    }
}

// 1.6: MSS 1220 of a handshake that was not seen (RFC 9293 3.7.1).
TEST(WireIpv6, HandshakeNotSeen) {
    NicOptions options = v6();
    options.connect = false;
    options.link.scaleA = options.link.scaleB = 7;
    NicBench t(options);
    t.handshakeForgotten = {true, false};
    t.connect();
    size_t longest = 0;
    t.link.paths[0].drop = [&](const Frame& f, unsigned) {
        longest = std::max(longest, f.tcp.payload.size());
        return false;
    };
    t.bench.recv(t.b, 0, 50000);
    t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 50000)}));
    ASSERT_EQ(t.received(t.b)->bytes, 50000u);
    EXPECT_LE(longest, 1220u);
    EXPECT_GT(longest, 1100u);
}

// Without the capability IPv6 is the guest's alone, also with rules for the link.
TEST(WireIpv6, SwitchedOff) {
    NicOptions options = v6();
    options.connect = false;
    options.bench.config.ipv6 = false;
    NicBench t(options);
    t.open();
    t.run([] { return false; }, 2000 * kMs);
    EXPECT_TRUE(t.kernelA.established);
    for (const Iwarp* iwarp : t.iwarps)
        EXPECT_EQ(iwarp->tracker().entries(), 0u);
    EXPECT_FALSE(t.a.device->wantsFrame(ERDMA_TO_WIRE, frameOf(true, kSyn), 100));
}

TEST(WireIpv6, RoutersShortenThePath) {
    NicBench t(v6());
    t.runFor(100 * kMs);
    size_t longest = 0;
    Octets lost;
    t.link.paths[0].drop = [&](const Frame& f, unsigned) {
        if (f.payloadOffset + f.tcp.payload.size() - f.ipOffset <= 1300) {
            longest = std::max(longest, f.tcp.payload.size());
            return false;
        }
        if (lost.empty())
            buildTcpFrame(f.link, f.ip, f.tcp, lost);
        return true;
    };
    t.bench.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 50000)}, t.b.stag, t.b.iova));
    ASSERT_TRUE(t.run([&] { return !lost.empty(); }, 1000 * kMs));
    const auto arrives = [&](const Octets& frame) {
        const bool taken =
            t.a.device->wantsFrame(ERDMA_TO_GUEST, frame, frame.size()) && t.a.device->frame(ERDMA_TO_GUEST, frame, {});
        t.a.device->framesEnd();
        t.settle();
        return taken;
    };
    // Too small, of nobody's connection, to somebody else: the guest's.
    EXPECT_FALSE(arrives(tooBig(lost, 60, 1000)));
    Octets foreign = lost;
    storeBe16(foreign, kTcp, 4711);
    EXPECT_FALSE(arrives(tooBig(foreign, 60, 1300)));
    foreign = lost;
    store8(foreign, kIp + 8 + 15, 0x33);
    EXPECT_FALSE(arrives(tooBig(foreign, 60, 1300)));
    // Of octets that are not under way: nothing happens.
    foreign = lost;
    storeBe32(foreign, kTcp + 4, loadBe32(lost, kTcp + 4) + 0x1000000);
    EXPECT_TRUE(arrives(tooBig(foreign, 60, 1300)));
    EXPECT_EQ(longest, 0u);
    EXPECT_TRUE(arrives(tooBig(lost, 60, 1300)));
    ASSERT_EQ(t.sent(t.a)->syndrome, 0);
    EXPECT_GT(longest, 1100u);
}

TEST(WireIpv6, LabelOfTheKernelOrOfTheCommand) {
    for (const uint32_t label : {0u, 0x12345u}) {
        NicOptions options = v6();
        options.connect = false;
        NicBench t(options);
        t.a.link.flowLabel = label;
        uint32_t seen = 0xFFFFFFFF;
        t.connect();
        t.link.paths[0].drop = [&](const Frame& f, unsigned) {
            seen = f.ip.flowLabel;
            return false;
        };
        t.bench.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 8)}, t.b.stag, t.b.iova));
        ASSERT_EQ(t.sent(t.a)->syndrome, 0);
        EXPECT_EQ(seen, label);
    }
}

// The same ports and low octets, in both versions.
TEST(WireIpv6, AddressesOfTwoVersionsAreTwo) {
    const FlowKey four{0x0A000001, 0x0A000002, 1, 2, 0};
    const FlowKey six{IpAddress(0, 0x0A000001), IpAddress(0, 0x0A000002), 1, 2, 0};
    EXPECT_FALSE(four == six);
    EXPECT_TRUE(IpAddress(0x0A000001).isV4());
    EXPECT_EQ(IpAddress(0x0A000001).v4(), 0x0A000001u);
    EXPECT_FALSE(six.ownIp.isV4());
    EXPECT_EQ(six.ownIp.v4(), 0u);
}

TEST(WireIpv6, SynsAreBounded) {
    NicOptions options = v6();
    options.connect = false;
    NicBench t(options);
    for (uint32_t i = 0; i < 70000; ++i) {
        Octets frame = frameOf(false, kSyn);
        storeBe32(frame, kIp + 12, i * 2654435761u);
        erdma_offload checked{};
        checked.data_valid = true;
        EXPECT_FALSE(t.a.device->frame(ERDMA_TO_GUEST, frame, checked));
    }
    EXPECT_EQ(t.iwarps[0]->tracker().entries(), TrackerSettings{}.entries);
    EXPECT_GT(t.iwarps[0]->tracker().counters().evicted, 0u);
    t.connect();
    EXPECT_EQ(t.a.count(Counter::Handovers), 1u);
}

TEST(WireIpv6, LoopbackPairsByAddress) {
    Bench t({.twoDevices = true, .connect = false});
    t.a.link.ownIp = t.b.link.peerIp = IpAddress(0xFE80'0000'0000'0000u, 1);
    t.a.link.peerIp = t.b.link.ownIp = IpAddress(0xFE80'0000'0000'0000u, 2);
    t.connect();
    t.recv(t.b, 0, 64);
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    EXPECT_EQ(t.b.received()->bytes, 64u);
    EXPECT_EQ(t.a.sent()->syndrome, 0);
}

// A queue that is full says so in the traffic class; rules tell connections apart.
TEST(WireIpv6, ImpairedLink) {
    PacketRules rules;
    PacketRule rule;
    rule.action = PacketRule::Action::Mark;
    rules.set({std::vector<PacketRule>{rule}, {}});
    const Octets frame = frameOf(true, kAck, Octets(4));
    const PacketRules::Fate fate = rules.judge(ERDMA_TO_WIRE, frame, {});
    ASSERT_TRUE(fate.markAt);
    EXPECT_EQ(*fate.markAt, kIp);
    Counters counters{};
    Impairment link(counters);
    Impairment::Plan plan;
    plan.sides[ERDMA_TO_WIRE].rules = {rule};
    link.set(plan);
    Octets plain = frame;
    store8(plain, kIp + 1, load8(plain, kIp + 1) & 0xCF); // not capable
    ASSERT_FALSE(parseFrame(plain).tcp.congestionExperienced);
    link.push(ERDMA_TO_WIRE, plain, {}, 0);
    unsigned seen = 0;
    link.deliverDue(kNever - 1, [&](erdma_side, ConstBytes out, const erdma_offload&) {
        const Frame parsed = parseFrame(out);
        EXPECT_EQ(parsed.kind, Kind::Tcp);
        EXPECT_TRUE(parsed.tcp.congestionExperienced);
        EXPECT_EQ(parsed.ip.flowLabel, 0xABCDEu);
        ++seen;
    });
    EXPECT_EQ(seen, 1u);
}

} // namespace

} // namespace erdma::test
