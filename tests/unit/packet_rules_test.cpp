// SPDX-License-Identifier: GPL-2.0-or-later
// Rules for chosen packets (net/packet_rules.h), by way of the link that carries them out.
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "fpdu.h"
#include "impaired_link.h"
#include "packet.h"

namespace erdma {
namespace {

using Octets = std::vector<std::byte>;

constexpr size_t kIpOffset = 14, kTcpOffset = 34, kTcpChecksum = 16;

Octets fpdu(SegmentOp op, uint32_t message = 0, size_t payload = 100) {
    const Octets data(payload, std::byte{0x5A});
    Segment segment;
    segment.op = op;
    segment.message = message;
    if (op == SegmentOp::Write || op == SegmentOp::ReadResponse || op == SegmentOp::Send)
        segment.payload = data;
    Octets out;
    encodeFpdu(segment, {FpduFormat::Dialect::Vendor, true, false}, out);
    return out;
}

Octets mpaFrame(const std::string& words) {
    Octets out(24);
    std::transform(words.begin(), words.end(), out.begin(), [](char c) { return static_cast<std::byte>(c); });
    return out;
}

// Two ends that talk through a link; what they say is numbered by the order in which it is sent.
struct Talk {
    Link l;
    uint16_t port = 4000;
    uint32_t seq[2] = {1000, 5000};

    explicit Talk(const std::string& rules) { l.set(rules); }

    void send(erdma_side side, uint8_t flags, uint32_t at, const Octets& payload, const erdma_offload& offload = {}) {
        IpHeader ip{0x0A4D0001, 0x0A4D0002, port, 7174};
        if (side == ERDMA_TO_GUEST) {
            std::swap(ip.source, ip.destination);
            std::swap(ip.sourcePort, ip.destinationPort);
        }
        ip.id = ++count;
        TcpSegment segment;
        segment.flags = flags;
        segment.seq = at;
        segment.payload = payload;
        Octets frame;
        buildTcpFrame({}, ip, segment, frame);
        sent.push_back(frame);
        l.push(side, frame, offload);
    }
    void data(const Octets& payload, erdma_side side = ERDMA_TO_WIRE) {
        send(side, tcp_flag::kAck, seq[side], payload);
        seq[side] += static_cast<uint32_t>(payload.size());
    }
    void again(const Octets& payload) {
        send(ERDMA_TO_WIRE, tcp_flag::kAck, seq[0] - static_cast<uint32_t>(payload.size()), payload);
    }
    void ack(erdma_side side = ERDMA_TO_WIRE) { send(side, tcp_flag::kAck, seq[side], {}); }
    void open(uint16_t ofPort) {
        port = ofPort;
        send(ERDMA_TO_WIRE, tcp_flag::kSyn, seq[0]++, {});
        send(ERDMA_TO_GUEST, tcp_flag::kSyn | tcp_flag::kAck, seq[1]++, {});
        ack();
    }
    // Numbers of what arrived.
    std::vector<int> arrived() const {
        std::vector<int> out;
        for (const Arrival& arrival : l.arrivals)
            out.push_back(loadBe16(arrival.frame, kIpOffset + 4));
        return out;
    }
    // Numbers of what did not.
    std::vector<int> lost() const {
        std::vector<int> out;
        const std::vector<int> there = arrived();
        for (int number = 1; number <= count; ++number)
            if (std::ranges::find(there, number) == there.end())
                out.push_back(number);
        return out;
    }

    uint16_t count = 0;
    std::vector<Octets> sent;
};

using Numbers = std::vector<int>;

TEST(PacketRules, TheNthDataPacket) {
    Talk t("to-wire:drop=data#2,drop=data#4-5");
    t.open(4000);                         // 1 2 3
    t.data(mpaFrame("MPA ID Req Frame")); // 4
    t.data(mpaFrame("MPA ID Rep Frame"), ERDMA_TO_GUEST);
    for (int i = 0; i < 3; ++i) {
        t.data(fpdu(SegmentOp::Write)); // 6 9 12
        t.ack();
        t.data(fpdu(SegmentOp::Write), ERDMA_TO_GUEST);
    }
    for (int i = 0; i < 3; ++i)
        t.data(fpdu(SegmentOp::Write)); // 15 16 17
    EXPECT_EQ(t.lost(), (Numbers{9, 15, 16}));
    EXPECT_EQ(t.l.counters[Counter::LinkLost], 3u);
}

TEST(PacketRules, TheNthAcknowledgement) {
    Talk t("to-wire:drop=ack#3-");
    t.open(4000); // its third packet is one
    t.ack();
    t.data(fpdu(SegmentOp::Send, 1)); // 5
    t.ack();
    t.ack(ERDMA_TO_GUEST); // 7
    t.ack();
    t.send(ERDMA_TO_WIRE, tcp_flag::kAck | tcp_flag::kFin, t.seq[0], {}); // 9
    t.send(ERDMA_TO_WIRE, tcp_flag::kRst | tcp_flag::kAck, t.seq[0], {});
    EXPECT_EQ(t.lost(), (Numbers{6, 8}));
}

TEST(PacketRules, TheNthRetransmission) {
    Talk t("to-wire:drop=data#2,drop=retransmission#1");
    t.open(4000);
    t.data(fpdu(SegmentOp::Write));
    t.data(fpdu(SegmentOp::Write));  // 5
    t.again(fpdu(SegmentOp::Write)); // 6
    t.again(fpdu(SegmentOp::Write));
    // New data behind a gap was not sent before.
    t.seq[0] += 1000;
    t.data(fpdu(SegmentOp::Write));
    EXPECT_EQ(t.lost(), (Numbers{5, 6}));
}

TEST(PacketRules, SequenceNumbersWrap) {
    Talk t("to-wire:drop=retransmission");
    t.seq[0] = UINT32_MAX - 50;
    t.open(4000);
    t.data(Octets(100));
    t.data(Octets(100));
    t.again(Octets(100)); // 6
    t.again(Octets(200)); // 7
    EXPECT_EQ(t.lost(), (Numbers{6, 7}));
}

TEST(PacketRules, EveryPacketOfAConnection) {
    Talk t("both:drop=any/conn=2#2");
    t.open(4000);
    t.open(4001); // 4 5 6
    t.ack(ERDMA_TO_GUEST);
    t.ack(ERDMA_TO_GUEST); // 8: the third of its direction
    t.port = 4000;
    t.ack();
    EXPECT_EQ(t.lost(), (Numbers{6, 7}));
}

TEST(PacketRules, ConnectionsAreNumberedByTheirFirstPacket) {
    Talk t("to-wire:drop=data/conn=3");
    t.port = 4000;
    t.ack(ERDMA_TO_GUEST);                                   // 1: under way since before, number 1
    t.open(4001);                                            // 2 3 4
    t.send(ERDMA_TO_WIRE, tcp_flag::kSyn, t.seq[0] - 1, {}); // 5: the same SYN again
    t.data(fpdu(SegmentOp::Write));                          // 6: of number 2
    t.open(4001);                                            // 7 8 9: the same ports, another connection
    t.data(fpdu(SegmentOp::Write));                          // 10
    t.port = 4000;
    t.data(fpdu(SegmentOp::Write));
    EXPECT_EQ(t.lost(), (Numbers{10}));
}

TEST(PacketRules, ByOpcodeAndMessageNumber) {
    Talk t("to-wire:drop=data/opcode=send/msn=2,drop=data/opcode=read-request#2,drop=any/msn=9");
    t.open(4000);
    t.data(fpdu(SegmentOp::Send, 1));
    t.data(fpdu(SegmentOp::Send, 2)); // 5
    t.data(fpdu(SegmentOp::ReadRequest, 2));
    t.data(fpdu(SegmentOp::Write, 2));       // writes have no number
    t.data(fpdu(SegmentOp::ReadRequest, 3)); // 8
    t.again(fpdu(SegmentOp::Send, 2));       // 9: it is no new data
    // Several in one packet: one of them has both.
    Octets several = fpdu(SegmentOp::Write, 0, 33);
    for (const Octets& more : {fpdu(SegmentOp::Send, 3), fpdu(SegmentOp::Send, 2), fpdu(SegmentOp::Immediate, 4)})
        several.insert(several.end(), more.begin(), more.end());
    t.data(several);                           // 10
    t.data(fpdu(SegmentOp::AtomicRequest, 9)); // 11
    // Nothing of this is an FPDU, or a whole one.
    t.data(Octets(40, std::byte{0}));
    t.data(Octets(40, std::byte{0xFF}));
    t.data(Octets(5));
    EXPECT_EQ(t.lost(), (Numbers{5, 8, 10, 11}));
}

TEST(PacketRules, CorruptionCanBeSeen) {
    Talk t("to-wire:corrupt=data#1,corrupt=ack#2");
    t.open(4000);
    t.data(fpdu(SegmentOp::Write)); // 4
    t.ack();                        // 5
    EXPECT_EQ(t.lost(), Numbers{});
    for (const size_t at : {size_t{3}, size_t{4}}) {
        const Octets& before = t.sent[at];
        const Octets& after = t.l.arrivals[at].frame;
        ASSERT_EQ(before.size(), after.size());
        EXPECT_EQ(before.back() ^ after.back(), std::byte{1});
        EXPECT_EQ(Octets(before.begin(), before.end() - 1), Octets(after.begin(), after.end() - 1));
        EXPECT_EQ(parseFrame(before).kind, Frame::Kind::Tcp);
        EXPECT_EQ(parseFrame(after).kind, Frame::Kind::BadChecksum);
    }
    EXPECT_EQ(t.l.counters[Counter::LinkCorrupted], 2u);
}

// The guest's kernel leaves the checksum to the card.
TEST(PacketRules, CorruptionOfAnUnfinishedChecksumCanBeSeen) {
    Talk t("to-wire:corrupt=data#1");
    erdma_offload offload{};
    offload.needs_checksum = true;
    offload.checksum_start = kTcpOffset;
    offload.checksum_offset = kTcpChecksum;
    t.send(ERDMA_TO_WIRE, tcp_flag::kAck, 1, Octets(1000), offload);
    ASSERT_EQ(t.l.arrivals.size(), 1u);
    EXPECT_FALSE(t.l.arrivals[0].offload.needs_checksum);
    EXPECT_EQ(parseFrame(t.l.arrivals[0].frame).kind, Frame::Kind::BadChecksum);
}

TEST(PacketRules, OnePacketTwice) {
    Talk t("to-wire:duplicate=data#2");
    t.open(4000);
    for (int i = 0; i < 3; ++i)
        t.data(fpdu(SegmentOp::Write));
    EXPECT_EQ(t.arrived(), (Numbers{1, 2, 3, 4, 5, 5, 6}));
    EXPECT_EQ(t.l.counters[Counter::LinkDuplicated], 1u);
}

TEST(PacketRules, AMarkLeavesAGoodFrame) {
    Talk t("to-wire:ecn=data#1");
    t.open(4000);
    t.data(fpdu(SegmentOp::Write));
    t.data(fpdu(SegmentOp::Write));
    const Frame marked = parseFrame(t.l.arrivals[3].frame), other = parseFrame(t.l.arrivals[4].frame);
    ASSERT_EQ(marked.kind, Frame::Kind::Tcp);
    EXPECT_TRUE(marked.tcp.congestionExperienced);
    EXPECT_FALSE(other.tcp.congestionExperienced);
    EXPECT_EQ(t.l.counters[Counter::LinkMarked], 1u);
}

TEST(PacketRules, OnePacketIsLateAndOvertaken) {
    Talk t("to-wire:delay=50ms/data#2");
    t.open(4000);
    const uint64_t begin = t.l.now;
    for (int i = 0; i < 4; ++i)
        t.data(fpdu(SegmentOp::Write));
    t.ack(ERDMA_TO_GUEST);
    EXPECT_EQ(t.arrived(), (Numbers{1, 2, 3, 4, 6, 7, 8}));
    EXPECT_EQ(t.l.link.deadline(), begin + 50 * kMs);
    t.l.drain();
    EXPECT_EQ(t.arrived().back(), 5);
    EXPECT_EQ(t.l.arrivals.back().at, begin + 50 * kMs);
    EXPECT_EQ(t.l.counters[Counter::LinkDelayed], 1u);
}

TEST(PacketRules, SeveralRulesAndOnePacket) {
    // A rule counts what it matches, whatever others make of it.
    Talk t("to-wire:drop=data#1,duplicate=data#2,ecn=data#2,delay=1ms/data#2");
    t.open(4000);
    t.data(fpdu(SegmentOp::Write));
    t.data(fpdu(SegmentOp::Write)); // 5
    t.l.drain();
    EXPECT_EQ(t.arrived(), (Numbers{1, 2, 3, 5, 5}));
    EXPECT_TRUE(parseFrame(t.l.arrivals.back().frame).tcp.congestionExperienced);
}

// The same packets meet the same fate, beside any dice.
TEST(PacketRules, Repeatable) {
    const auto fate = [](const std::string& text) {
        Talk t(text);
        t.open(4000);
        for (int i = 0; i < 200; ++i)
            t.data(fpdu(SegmentOp::Write));
        t.l.drain();
        return t.arrived();
    };
    const std::string dice = "to-wire:loss=5%,";
    EXPECT_EQ(fate("to-wire:drop=data#100;seed=1"), fate("to-wire:drop=data#100;seed=2"));
    EXPECT_EQ(fate(dice + "drop=data#100;seed=3"), fate(dice + "drop=data#100;seed=3"));
}

TEST(PacketRules, SettingThemAgainCountsAnew) {
    Talk t("to-wire:drop=data#1");
    t.data(fpdu(SegmentOp::Write)); // 1
    t.data(fpdu(SegmentOp::Write));
    t.l.set("to-wire:drop=data/conn=1#1");
    t.data(fpdu(SegmentOp::Write)); // 3
    t.l.set("");
    EXPECT_FALSE(t.l.link.active());
    t.data(fpdu(SegmentOp::Write));
    EXPECT_EQ(t.lost(), (Numbers{1, 3}));
}

TEST(PacketRules, RulesAreBounded) {
    std::string text = "to-wire:drop=data#1";
    for (size_t i = 1; i < PacketRules::kMaxRules; ++i)
        text += ",drop=data#" + std::to_string(i + 1);
    Talk t(text);
    EXPECT_EQ(describeLink(t.l.link.plan()), text);
    EXPECT_NE(t.l.refused(text + ",drop=data#99").find("drop is one too many: 32 for chosen packets"),
              std::string::npos);
}

// A stranger who opens connections costs no memory; the oldest is forgotten, and counts as new when it goes on.
TEST(PacketRules, ConnectionsAreBounded) {
    Talk t("to-wire:drop=ack/conn=" + std::to_string(PacketRules::kMaxFlows + 2));
    for (size_t i = 0; i <= PacketRules::kMaxFlows; ++i) {
        t.port = static_cast<uint16_t>(1000 + i);
        t.ack();
    }
    t.port = 1000;
    t.ack();
    EXPECT_EQ(t.lost(), (Numbers{static_cast<int>(PacketRules::kMaxFlows) + 2}));
}

TEST(PacketRules, WhatIsNotTcpPasses) {
    Talk t("both:drop=any");
    t.l.push(ERDMA_TO_WIRE, 1);
    t.l.push(ERDMA_TO_GUEST, Octets{});
    EXPECT_EQ(t.l.arrivals.size(), 2u);
    t.ack();
    EXPECT_EQ(t.l.arrivals.size(), 2u);
}

} // namespace
} // namespace erdma
