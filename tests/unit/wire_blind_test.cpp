// SPDX-License-Identifier: GPL-2.0-or-later
// Segments of somebody who sees nothing of the connection: whatever they say, nothing of it is believed before the
// acknowledgement was checked (RFC 5961, RFC 7323 5.3; wire.md 6.2).

#include "nic_bench.h"

namespace erdma::test {

namespace {

using namespace tcp_flag;

// In the window, with an acknowledgement of what was never sent.
TcpSegment blind(const TcpEndpoint& to, uint32_t tsValue) {
    TcpSegment s;
    s.seq = to.peer_;
    s.ack = to.own_ + 0x40000000;
    s.flags = kAck;
    s.window = 512;
    s.options.timestamps = TcpTimestamps{tsValue, 0};
    return s;
}

TEST(WireBlind, TimestampIsTakenOnlyFromAValidSegment) {
    TcpPair pair;
    TcpSegment s = blind(pair.a, 7000 + 0x7000'0000);
    pair.a.tcp.input(s);
    EXPECT_EQ(pair.a.tcp.peerTimestamp(), 7000u);
    EXPECT_EQ(pair.a.tcp.counters().challenges, 1u);
    pair.b.write(1000);
    ASSERT_TRUE(pair.run([&] { return pair.exchanged(); }, 10'000 * kMs));
    EXPECT_FALSE(pair.a.end || pair.b.end);
    // One that acknowledges what was sent counts.
    s.seq = pair.a.peer_ + 1000;
    s.ack = pair.a.own_;
    s.options.timestamps->value = 60'000;
    pair.a.tcp.input(s);
    EXPECT_EQ(pair.a.tcp.peerTimestamp(), 60'000u);
}

TEST(WireBlind, KeepaliveBelievesOnlyValidSegments) {
    TcpPair pair;
    pair.link.paths[1].cut = true; // the peer is dead
    pair.runFor(1 * kMs);
    for (int i = 0; i < 300 && !pair.a.end; ++i) {
        TcpSegment s = blind(pair.a, 7000);
        pair.a.tcp.input(s);
        pair.runFor(1000 * kMs);
    }
    EXPECT_EQ(pair.a.end, TcpEnd::TimedOut);
}

// RFC 5961 4.2, RFC 7323 3.2: a peer that lost its memory asks without timestamps, and hears that it is known.
TEST(WireBlind, SynWithoutTimestampsIsChallenged) {
    TcpPair pair;
    TcpSegment s;
    s.seq = pair.a.peer_ + 0x30000000;
    s.flags = kSyn;
    pair.a.tcp.input(s);
    EXPECT_EQ(pair.a.tcp.counters().challenges, 1u);
    ASSERT_EQ(pair.a.sent.size(), 1u);
    EXPECT_EQ(pair.a.sent[0].flags, kAck);
    EXPECT_EQ(pair.a.tcp.state(), TcpState::Established);
}

TEST(WireBlind, ResetNeedsNoTimestamp) {
    TcpPair pair;
    TcpSegment s;
    s.seq = pair.a.peer_;
    s.flags = kRst;
    s.options.timestamps = TcpTimestamps{1, 0}; // old
    pair.a.tcp.input(s);
    EXPECT_EQ(pair.a.end, TcpEnd::Reset);
}

TEST(WireBlind, ResetCountsWithAClosedWindow) {
    LinkSetup setup;
    setup.scaleA = setup.scaleB = 0;
    setup.settings.receiveBuffer = 65535;
    TcpPair pair(setup);
    pair.b.hold = true;
    pair.a.write(65535, 65535);
    pair.runFor(1000 * kMs);
    ASSERT_EQ(pair.b.tcp.receiveWindow(), 0u);
    pair.forge(pair.b, 65535, kRst);
    EXPECT_EQ(pair.b.end, TcpEnd::Reset);
}

// A flood of challenges leaves the answers that the peer waits for: its probes have the number before the window.
TEST(WireBlind, FloodDoesNotSilenceProbes) {
    TcpPair pair;
    pair.timestamps = true;
    for (int i = 0; i < 1000; ++i)
        pair.forge(pair.a, 5, kRst);
    EXPECT_EQ(pair.a.tcp.counters().challenges, 100u);
    const size_t before = pair.a.sent.size();
    pair.forge(pair.a, ~uint64_t{0}, kAck);
    EXPECT_EQ(pair.a.sent.size(), before + 1);
}

// What the peer repeats because it did not hear of its arrival is no challenge: every one is answered.
TEST(WireBlind, FloodDoesNotSilenceAcknowledgementsOfRepeatedData) {
    for (const bool timestamps : {false, true}) {
        LinkSetup setup;
        setup.timestamps = timestamps;
        TcpPair pair(setup);
        pair.timestamps = timestamps;
        pair.b.write(1000);
        ASSERT_TRUE(pair.run([&] { return pair.exchanged(); }, 10'000 * kMs));
        const uint64_t base = 1000; // of what a has received
        for (int i = 0; i < 1000; ++i)
            pair.forge(pair.a, base + 5, kRst);
        EXPECT_EQ(pair.a.tcp.counters().challenges, 100u);
        const Octets data(100);
        const size_t before = pair.a.sent.size();
        for (int i = 0; i < 300; ++i)
            pair.forge(pair.a, base - 100, kAck, data);
        EXPECT_EQ(pair.a.sent.size(), before + 300);
        EXPECT_EQ(pair.a.tcp.counters().challenges, 100u);
        EXPECT_EQ(pair.a.input.size(), 1000u);
    }
}

// And it uses up nothing of what forged segments have.
TEST(WireBlind, RepeatedDataLeavesTheChallenges) {
    TcpPair pair;
    pair.timestamps = true;
    pair.b.write(1000);
    ASSERT_TRUE(pair.run([&] { return pair.exchanged(); }, 10'000 * kMs));
    const Octets data(100);
    for (int i = 0; i < 300; ++i)
        pair.forge(pair.a, 900, kAck, data);
    pair.forge(pair.a, 1005, kRst);
    EXPECT_EQ(pair.a.tcp.counters().challenges, 1u);
}

// An old duplicate of the network has an old timestamp as well; a guess in the window with one is limited.
TEST(WireBlind, OldTimestamps) {
    TcpPair pair;
    pair.b.write(1000);
    ASSERT_TRUE(pair.run([&] { return pair.exchanged(); }, 10'000 * kMs));
    const Octets data(100);
    const auto old = [&](uint32_t offset) {
        TcpSegment s;
        s.seq = pair.a.peer_ + offset;
        s.ack = pair.a.own_;
        s.flags = kAck;
        s.options.timestamps = TcpTimestamps{1, 0};
        s.payload = data;
        pair.a.tcp.input(s);
    };
    const size_t before = pair.a.sent.size();
    for (int i = 0; i < 300; ++i)
        old(900);
    EXPECT_EQ(pair.a.sent.size(), before + 300);
    for (int i = 0; i < 300; ++i)
        old(1000);
    EXPECT_EQ(pair.a.sent.size(), before + 400);
    EXPECT_EQ(pair.a.input.size(), 1000u);
}

// 6.3: after three timeouts frames go to where the newest valid one came from.
TEST(WireBlind, StrangerDoesNotDivertFrames) {
    NicBench t;
    t.runFor(100 * kMs);
    std::vector<Mac> destinations;
    t.link.paths[0].drop = [&](const Frame& frame, unsigned) {
        destinations.push_back(frame.link.destination);
        return true;
    };
    t.bench.post(t.a, writeSqe(Op::Write, 0, {t.a.sge(0, 1000)}, t.b.stag, t.b.iova));
    t.settle();
    TcpSegment s;
    s.seq = 0x60000000;
    s.ack = 0x50000000;
    s.flags = kAck;
    s.options.timestamps = TcpTimestamps{1, 1};
    LinkHeader link = linkHeaderOf(false);
    link.source = {2, 0, 0, 0, 0, 0x66};
    Octets frame;
    buildTcpFrame(link, ipHeaderOf(false), s, frame);
    EXPECT_TRUE(t.a.device->frame(ERDMA_TO_GUEST, frame, {}));
    t.runFor(8000 * kMs);
    ASSERT_GE(destinations.size(), 5u);
    for (const Mac& mac : destinations)
        EXPECT_EQ(mac, linkHeaderOf(true).destination);
}

// RFC 9293 3.10.7.4, RFC 6191: a SYN out of the past does not end TIME_WAIT.
TEST(WireBlind, OldSynDoesNotReplaceTimeWait) {
    NicBench t;
    t.runFor(100 * kMs);
    t.bench.stop(t.a, QpState::Closing);
    t.kernelA.close();
    ASSERT_TRUE(t.run([&] { return t.kernelA.closed() && t.kernelB.closed(); }, 3000 * kMs));
    t.runFor(50 * kMs);
    ASSERT_NE(t.iwarps[0]->connections().find("TIME_WAIT"), std::string::npos);
    const auto syn = [&](uint32_t seq, uint32_t tsValue) {
        TcpSegment s;
        s.seq = seq;
        s.flags = kSyn;
        s.options.timestamps = TcpTimestamps{tsValue, 0};
        Octets frame;
        buildTcpFrame(linkHeaderOf(false), ipHeaderOf(false), s, frame);
        t.a.device->frame(ERDMA_TO_GUEST, frame, {});
    };
    const auto clock = static_cast<uint32_t>(7000 + t.link.now / kMs);
    syn(LinkSetup{}.issB - 1000, 1);
    syn(LinkSetup{}.issB + 0x100000, 1);
    EXPECT_EQ(t.iwarps[0]->owned(), 1u);
    syn(LinkSetup{}.issB + 0x100000, clock + 1000);
    EXPECT_EQ(t.iwarps[0]->owned(), 0u);
}

} // namespace

} // namespace erdma::test
