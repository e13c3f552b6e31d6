// SPDX-License-Identifier: GPL-2.0-or-later
// TCP engine: data in both directions, sequence checks, windows, timers and states (wire.md 6.1, 6.2, 6.5, 6.7 to 6.9).

#include "wire_link.h"

namespace erdma::test {

namespace {

using namespace tcp_flag;

TEST(WireTcp, DataBothWaysAcrossTheEndOfTheSequenceSpace) {
    LinkSetup setup;
    setup.issA = 0xFFFFFF00;
    setup.issB = 0xFFFF8000;
    TcpPair pair(setup);
    pair.a.write(300000);
    pair.b.write(200000);
    ASSERT_TRUE(pair.run([&] { return pair.exchanged() && pair.a.tcp.flight() == 0 && pair.b.tcp.flight() == 0; }));
    EXPECT_TRUE(pair.a.intact());
    EXPECT_TRUE(pair.b.intact());
    EXPECT_EQ(pair.a.tcp.counters().retransmissions + pair.b.tcp.counters().retransmissions, 0u);
    EXPECT_EQ(pair.a.tcp.acknowledged(), 300000u);
    EXPECT_EQ(pair.a.tcp.appended(), 300000u);
    EXPECT_EQ(pair.b.tcp.reorderBytes(), 0u);
}

// 3.4 and 6.1: what fits a segment.
TEST(WireTcp, SegmentBytesFollowMssMtuAndTimestamps) {
    const auto emss = [](uint16_t mss, uint16_t mtu, bool timestamps) {
        LinkSetup setup;
        setup.mss = mss;
        setup.mtu = mtu;
        setup.timestamps = timestamps;
        return TcpPair(setup).a.tcp.segmentBytes();
    };
    EXPECT_EQ(emss(1460, 1500, false), 1460u);
    EXPECT_EQ(emss(1460, 1500, true), 1448u);
    EXPECT_EQ(emss(8960, 9000, true), 8948u);
    EXPECT_EQ(emss(8960, 8500, true), 8448u);
    EXPECT_EQ(emss(536, 9000, false), 536u);
    EXPECT_EQ(emss(1, 1500, true), 128u);
    EXPECT_EQ(emss(1460, 0, true), 128u);
}

TEST(WireTcp, UnitsStartSegmentsAndShortOnesShareThem) {
    TcpPair pair;
    for (int i = 0; i < 20; ++i) // 28 of 50 octets fit 1448
        pair.a.tcp.append(Octets(50), true);
    pair.a.tcp.append(Octets(1000), false);
    pair.a.tcp.append(Octets(1000), false);
    pair.a.tcp.append(Octets(448), true);
    pair.a.tcp.flush();
    std::vector<size_t> lengths;
    for (const auto& r : pair.a.data())
        lengths.push_back(r.length);
    EXPECT_EQ(lengths, (std::vector<size_t>{1000, 1000, 1448}));
    EXPECT_TRUE((pair.a.data()[0].flags & kPsh) != 0);
    EXPECT_TRUE((pair.a.data()[1].flags & kPsh) == 0);
    EXPECT_TRUE((pair.a.data()[2].flags & kPsh) != 0);
}

TEST(WireTcp, AcknowledgementsAreDelayedByAtMost40Ms) {
    LinkSetup setup;
    TcpPair pair(setup);
    pair.b.batching = false;
    const uint64_t start = pair.link.now;
    pair.a.write(100);
    pair.run([&] { return pair.a.tcp.flight() == 0; });
    EXPECT_EQ(pair.link.now - start, 42 * kMs);
    // The second segment is acknowledged at once, and so is the end of a batch.
    pair.a.write(2 * 1448);
    const uint64_t second = pair.link.now;
    pair.run([&] { return pair.a.tcp.flight() == 0; });
    EXPECT_EQ(pair.link.now - second, 2 * kMs);
    pair.b.batching = true;
    pair.a.write(100);
    const uint64_t third = pair.link.now;
    pair.run([&] { return pair.a.tcp.flight() == 0; });
    EXPECT_EQ(pair.link.now - third, 2 * kMs);
    EXPECT_EQ(pair.a.tcp.counters().retransmissions, 0u);
}

TEST(WireTcp, EveryCombinationOfOptions) {
    for (unsigned bits = 0; bits < 16; ++bits) {
        LinkSetup setup;
        setup.sack = (bits & 1) != 0;
        setup.timestamps = (bits & 2) != 0;
        setup.scaleA = (bits & 4) != 0 ? 7 : 0;
        setup.scaleB = setup.scaleA;
        setup.mss = (bits & 8) != 0 ? 8960 : 1460;
        setup.mtu = 9000;
        TcpPair pair(setup, bits + 1);
        for (Path& path : pair.link.paths) {
            path.loss = 0.02;
            path.reorder = 0.02;
        }
        bool sackSeen = false;
        pair.link.paths[1].drop = [&](const Frame& frame, unsigned) {
            EXPECT_EQ(frame.tcp.options.timestamps.has_value(), setup.timestamps);
            sackSeen |= frame.tcp.options.sackCount != 0;
            return false;
        };
        pair.a.write(1000000, pair.a.tcp.segmentBytes());
        pair.b.write(50000);
        ASSERT_TRUE(pair.run([&] { return pair.exchanged(); })) << bits;
        EXPECT_TRUE(pair.a.intact() && pair.b.intact()) << bits;
        EXPECT_EQ(sackSeen, setup.sack) << bits;
    }
}

TEST(WireTcp, WindowIsNeverTakenBack) {
    LinkSetup setup;
    setup.settings.receiveBuffer = 32768;
    TcpPair pair(setup);
    pair.b.hold = true;
    pair.a.write(200000);
    pair.runFor(2000 * kMs);
    // The kernel had promised 65535.
    EXPECT_EQ(pair.a.tcp.flight(), 0u);
    EXPECT_GT(pair.b.tcp.acknowledged() + 1, 0u);
    uint64_t edge = 65535;
    for (const auto& r : pair.b.sent) {
        EXPECT_GE(r.ack + r.window + 128, edge); // the scale rounds
        edge = std::max(edge, r.ack + r.window);
    }
    EXPECT_LT(pair.b.tcp.receiveWindow(), 1448u);
    pair.b.hold = false;
    pair.b.tcp.resumeReceiving();
    ASSERT_TRUE(pair.run([&] { return pair.exchanged(); }));
    EXPECT_TRUE(pair.b.intact());
}

// RFC 9293 3.8.6.2.2: a reader of few octets at a time does not make the peer send as few.
TEST(WireTcp, WindowGrowsInStepsWorthASegment) {
    LinkSetup setup;
    setup.scaleA = setup.scaleB = 0;
    setup.settings.receiveBuffer = 65535;
    TcpPair pair(setup);
    pair.b.hold = true;
    pair.a.write(200000, 1448);
    pair.runFor(1000 * kMs);
    pair.b.hold = false;
    pair.b.takeAtMost = 100;
    size_t before = pair.b.sent.size();
    uint64_t edge = pair.b.sent.back().ack + pair.b.sent.back().window;
    for (int i = 0; i < 300; ++i) {
        pair.b.tcp.resumeReceiving();
        pair.runFor(10 * kMs); // probes are answered meanwhile
    }
    ASSERT_GT(pair.b.sent.size(), before + 5);
    for (; before < pair.b.sent.size(); ++before) {
        const uint64_t now = pair.b.sent[before].ack + pair.b.sent[before].window;
        EXPECT_TRUE(now == edge || now >= edge + 1448) << now - edge;
        edge = now;
    }
}

// 6.5: probes with growing distance; whoever answers lives for ever.
TEST(WireTcp, ZeroWindowIsProbedAndReopens) {
    LinkSetup setup;
    setup.scaleA = setup.scaleB = 0;
    setup.settings.receiveBuffer = 65535;
    TcpPair pair(setup);
    pair.b.hold = true;
    pair.a.write(100000, 1024);
    pair.runFor(10000 * kMs);
    const auto probes = pair.a.tcp.counters().probes;
    EXPECT_GE(probes, 4u); // 0.2 + 0.4 + 0.8 + ... s
    EXPECT_LE(probes, 7u);
    pair.runFor(200000 * kMs);
    EXPECT_FALSE(pair.a.end);
    pair.b.hold = false;
    const uint64_t opened = pair.link.now;
    pair.b.tcp.resumeReceiving(); // tells by itself
    ASSERT_TRUE(pair.run([&] { return pair.exchanged(); }));
    EXPECT_LT(pair.link.now - opened, 100 * kMs);
    EXPECT_TRUE(pair.b.intact());
}

TEST(WireTcp, LostWindowUpdateIsFoundByAProbe) {
    LinkSetup setup;
    setup.settings.receiveBuffer = 65535;
    TcpPair pair(setup);
    pair.b.hold = true;
    pair.a.write(100000, 1024);
    pair.runFor(3000 * kMs);
    pair.b.hold = false;
    pair.link.paths[1].cut = true;
    pair.b.tcp.resumeReceiving();
    pair.link.paths[1].cut = false;
    ASSERT_TRUE(pair.run([&] { return pair.exchanged(); }, 10000 * kMs));
}

TEST(WireTcp, UnansweredProbesEndTheConnectionAfter30Seconds) {
    LinkSetup setup;
    setup.settings.receiveBuffer = 65535;
    TcpPair pair(setup);
    pair.b.hold = true;
    pair.a.write(100000, 1024);
    pair.runFor(3000 * kMs);
    pair.link.paths[1].cut = true;
    const uint64_t cut = pair.link.now;
    ASSERT_TRUE(pair.run([&] { return pair.a.end.has_value(); }, 100000 * kMs));
    EXPECT_EQ(*pair.a.end, TcpEnd::TimedOut);
    EXPECT_GE(pair.link.now - cut, 30000 * kMs);
    EXPECT_LE(pair.link.now - cut, 36000 * kMs);
}

// 6.3: a unit is not cut for a small window before one RTO has passed.
TEST(WireTcp, SmallWindowSplitsAUnitOnlyAfterTheTimeout) {
    TcpPair pair;
    pair.forge(pair.a, 0, kAck, {}, 0, 4); // 4 << 7 = 512 octets; no timestamps on purpose: dropped
    EXPECT_EQ(pair.a.tcp.peerWindow(), 65535u);
    pair.timestamps = true;
    pair.forge(pair.a, 0, kAck, {}, 0, 4);
    EXPECT_EQ(pair.a.tcp.peerWindow(), 512u);
    pair.link.paths[0].drop = [](const Frame&, unsigned) { return true; };
    pair.a.write(1448);
    EXPECT_TRUE(pair.a.data().empty());
    const uint64_t start = pair.link.now;
    pair.run([&] { return !pair.a.data().empty(); });
    EXPECT_EQ(pair.link.now - start, 200 * kMs);
    EXPECT_EQ(pair.a.data()[0].length, 512u);
}

// 6.7: 60 s idle, then 6 probes every 10 s.
TEST(WireTcp, KeepaliveFindsASilentPeer) {
    TcpPair pair;
    pair.runFor(600'000 * kMs);
    EXPECT_FALSE(pair.a.end || pair.b.end);
    EXPECT_GE(pair.a.tcp.counters().probes + pair.b.tcp.counters().probes, 8u);
    EXPECT_LE(pair.a.sent.size() + pair.b.sent.size(), 50u);

    pair.a.write(10);
    pair.run([&] { return pair.exchanged() && pair.a.tcp.flight() == 0; });
    pair.link.paths[0].cut = pair.link.paths[1].cut = true;
    const uint64_t cut = pair.link.now;
    const auto before = pair.a.tcp.counters().probes;
    ASSERT_TRUE(pair.run([&] { return pair.a.end.has_value(); }, 200'000 * kMs));
    EXPECT_EQ(*pair.a.end, TcpEnd::TimedOut);
    EXPECT_EQ(pair.a.tcp.counters().probes - before, 6u);
    EXPECT_LE(pair.link.now - cut, 130'000 * kMs);
    EXPECT_GE(pair.link.now - cut, 119'000 * kMs);
}

TEST(WireTcp, CloseDeliversEverythingFirst) {
    TcpPair pair;
    pair.a.write(100000);
    pair.a.tcp.close();
    ASSERT_TRUE(pair.run([&] { return pair.b.fins == 1; }));
    EXPECT_EQ(pair.b.input.size(), 100000u);
    EXPECT_TRUE(pair.b.intact());
    EXPECT_EQ(pair.b.tcp.state(), TcpState::CloseWait);
    pair.runFor(10 * kMs);
    EXPECT_EQ(pair.a.tcp.state(), TcpState::FinWait2);
    pair.b.write(5000); // half-closed
    ASSERT_TRUE(pair.run([&] { return pair.a.input.size() == 5000; }));
    pair.b.tcp.close();
    ASSERT_TRUE(pair.run([&] { return pair.b.tcp.state() == TcpState::Closed; }));
    EXPECT_EQ(pair.a.tcp.state(), TcpState::TimeWait);
    EXPECT_EQ(pair.a.fins, 1);
    const uint64_t since = pair.link.now;
    ASSERT_TRUE(pair.run([&] { return pair.a.tcp.state() == TcpState::Closed; }));
    EXPECT_NEAR(static_cast<double>(pair.link.now - since), 4e9, 1e7);
    EXPECT_FALSE(pair.a.end || pair.b.end);
}

TEST(WireTcp, SimultaneousClose) {
    TcpPair pair;
    pair.a.tcp.close();
    pair.b.tcp.close();
    EXPECT_EQ(pair.a.tcp.state(), TcpState::FinWait1);
    pair.runFor(100 * kMs);
    EXPECT_EQ(pair.a.tcp.state(), TcpState::TimeWait);
    EXPECT_EQ(pair.b.tcp.state(), TcpState::TimeWait);
    EXPECT_EQ(pair.a.fins + pair.b.fins, 2);
}

TEST(WireTcp, FinWait2EndsByItself) {
    TcpPair pair;
    pair.a.tcp.close();
    pair.runFor(100 * kMs);
    EXPECT_EQ(pair.a.tcp.state(), TcpState::FinWait2);
    pair.runFor(10000 * kMs);
    EXPECT_EQ(pair.a.tcp.state(), TcpState::Closed);
}

TEST(WireTcp, EveryLossOfTheClosingExchangeIsRepaired) {
    for (unsigned end = 0; end < 2; ++end) {
        for (unsigned lost = 0; lost < 4; ++lost) {
            TcpPair pair;
            pair.link.paths[end].drop = [&](const Frame&, unsigned index) { return index == lost; };
            pair.a.write(10);
            pair.a.tcp.close();
            ASSERT_TRUE(pair.run([&] { return pair.b.fins == 1; }, 5000 * kMs)) << end << lost;
            pair.b.tcp.close();
            ASSERT_TRUE(
                pair.run([&] { return pair.a.fins == 1 && pair.b.tcp.state() == TcpState::Closed; }, 5000 * kMs))
                << end << lost;
            EXPECT_EQ(pair.b.input.size(), 10u);
        }
    }
}

TEST(WireTcp, AbortResetsThePeer) {
    TcpPair pair;
    pair.a.write(1000);
    pair.run([&] { return pair.exchanged() && pair.a.tcp.flight() == 0; });
    pair.a.tcp.abort();
    EXPECT_EQ(pair.a.tcp.state(), TcpState::Closed);
    pair.runFor(10 * kMs);
    EXPECT_EQ(pair.b.end, TcpEnd::Reset);
    EXPECT_EQ(pair.b.tcp.deadline(), kNever);
}

// RFC 5961: only the exact sequence number resets; everything else is asked back about.
TEST(WireTcp, ForgedResetsAndSynsAreChallenged) {
    TcpPair pair;
    pair.timestamps = true;
    for (const uint64_t offset : {uint64_t{1}, uint64_t{1000}, uint64_t{65534}})
        pair.forge(pair.a, offset, kRst);
    EXPECT_EQ(pair.a.tcp.counters().challenges, 3u);
    pair.forge(pair.a, ~uint64_t{0}, kRst); // in front of the window
    pair.forge(pair.a, 1u << 21, kRst);
    EXPECT_EQ(pair.a.tcp.counters().challenges, 3u);
    pair.forge(pair.a, 0, kSyn);
    pair.forge(pair.a, 5, kSyn | kAck);
    EXPECT_EQ(pair.a.tcp.counters().challenges, 5u);
    EXPECT_FALSE(pair.a.end);
    EXPECT_EQ(pair.a.tcp.state(), TcpState::Established);
    for (int i = 0; i < 1000; ++i)
        pair.forge(pair.a, 5, kRst);
    EXPECT_LE(pair.a.tcp.counters().challenges, 100u);
    pair.forge(pair.a, 0, kRst);
    EXPECT_EQ(pair.a.end, TcpEnd::Reset);
}

TEST(WireTcp, AcknowledgementsOfTheFutureAndOfLongAgoAreRefused) {
    TcpPair pair;
    pair.timestamps = true;
    const Octets data(10);
    pair.forge(pair.a, 0, kAck, data, 1); // nothing was sent
    EXPECT_TRUE(pair.a.input.empty());
    EXPECT_EQ(pair.a.tcp.counters().challenges, 1u);
    pair.forge(pair.a, 0, kAck, data, ~uint64_t{0} - 70000);
    EXPECT_TRUE(pair.a.input.empty());
    EXPECT_EQ(pair.a.tcp.counters().challenges, 2u);
    pair.forge(pair.a, 0, 0, data);
    EXPECT_TRUE(pair.a.input.empty());
    pair.forge(pair.a, 0, kAck, data);
    EXPECT_EQ(pair.a.input.size(), 10u);
}

TEST(WireTcp, DataOutsideTheWindowIsAcknowledgedAndDropped) {
    TcpPair pair;
    pair.timestamps = true;
    const Octets data(100);
    pair.forge(pair.a, 2u << 20, kAck, data);
    pair.forge(pair.a, ~uint64_t{0} - 99, kAck, data);
    EXPECT_TRUE(pair.a.input.empty());
    EXPECT_EQ(pair.a.tcp.counters().unacceptable, 2u);
    EXPECT_EQ(pair.a.sent.size(), 2u);
    pair.forge(pair.a, ~uint64_t{0} - 49, kAck, data); // half of it is new
    EXPECT_EQ(pair.a.input.size(), 50u);
}

// First come, first kept; the window and the common budget bound the store.
TEST(WireTcp, OverlappingSegmentsOutOfOrder) {
    for (uint32_t seed = 1; seed <= 200; ++seed) {
        TcpPair pair;
        pair.timestamps = true;
        std::mt19937 random(seed);
        Octets expected(400);
        std::vector<bool> have(400);
        bool wrongFirst = false;
        for (int i = 0; i < 60; ++i) {
            const size_t from = 1 + random() % 399;
            const size_t length = 1 + random() % (400 - from);
            Octets data(length);
            for (std::byte& b : data)
                b = static_cast<std::byte>(random());
            for (size_t k = 0; k < length; ++k)
                if (!have[from + k]) {
                    have[from + k] = true;
                    expected[from + k] = data[k];
                }
            pair.forge(pair.a, from, kAck, data);
            ASSERT_LE(pair.budget.used(), 400 + 128 * 60u);
        }
        wrongFirst = !pair.a.input.empty();
        EXPECT_FALSE(wrongFirst);
        const Octets first(1, std::byte{0x42});
        expected[0] = first[0];
        pair.forge(pair.a, 0, kAck, first);
        const auto behind = std::find(have.begin() + 1, have.end(), false) - have.begin();
        ASSERT_EQ(pair.a.input, Octets(expected.begin(), expected.begin() + behind)) << seed;
    }
}

TEST(WireTcp, ReorderingMemoryIsBounded) {
    TcpPair pair;
    pair.timestamps = true;
    pair.budget.limit = 100000;
    const Octets one(1);
    for (unsigned i = 1; i < 60000; i += 2) // every second octet: as many entries as possible
        pair.forge(pair.a, i, kAck, one);
    EXPECT_LE(pair.budget.used(), 100000u);
    EXPECT_GT(pair.a.tcp.counters().outOfOrderDropped, 0u);
    EXPECT_LE(pair.a.sent.back().sackCount, 3);
    pair.budget.limit = 1u << 30;
    for (unsigned i = 1; i < 60000; i += 2)
        pair.forge(pair.a, i, kAck, one);
    EXPECT_LE(pair.budget.used(), 4096 * 129u);
    pair.a.tcp.abort();
    EXPECT_EQ(pair.budget.used(), 0u);
}

TEST(WireTcp, SackNamesTheNewestBlockFirst) {
    TcpPair pair;
    pair.timestamps = true;
    std::vector<SackBlock> blocks;
    pair.link.paths[0].drop = [&](const Frame& frame, unsigned) {
        blocks.assign(frame.tcp.options.sack.begin(), frame.tcp.options.sack.begin() + frame.tcp.options.sackCount);
        return true;
    };
    const uint32_t base = pair.a.peer_;
    const Octets data(100);
    pair.forge(pair.a, 1000, kAck, data);
    EXPECT_EQ(blocks, (std::vector<SackBlock>{{base + 1000, base + 1100}}));
    pair.forge(pair.a, 3000, kAck, data);
    pair.forge(pair.a, 2000, kAck, data);
    EXPECT_EQ(blocks, (std::vector<SackBlock>{
                          {base + 2000, base + 2100}, {base + 1000, base + 1100}, {base + 3000, base + 3100}}));
    pair.forge(pair.a, 1100, kAck, data); // joins the first
    ASSERT_EQ(blocks.size(), 3u);
    EXPECT_EQ(blocks[0], (SackBlock{base + 1000, base + 1200}));
    pair.forge(pair.a, 0, kAck, Octets(1000));
    EXPECT_EQ(blocks, (std::vector<SackBlock>{{base + 2000, base + 2100}, {base + 3000, base + 3100}}));
}

TEST(WireTcp, OldTimestampsAreRefused) {
    TcpPair pair;
    TcpSegment s;
    s.seq = pair.a.peer_;
    s.ack = pair.a.own_;
    s.flags = kAck;
    s.window = 512;
    const Octets data(10);
    s.payload = data;
    pair.a.tcp.input(s); // none at all
    EXPECT_TRUE(pair.a.input.empty());
    s.options.timestamps = TcpTimestamps{6999, 0};
    pair.a.tcp.input(s);
    EXPECT_TRUE(pair.a.input.empty());
    EXPECT_EQ(pair.a.sent.size(), 1u);
    s.options.timestamps = TcpTimestamps{7000, 0};
    pair.a.tcp.input(s);
    EXPECT_EQ(pair.a.input.size(), 10u);
}

TEST(WireTcp, FinMayComeEarlyButCountsInOrder) {
    TcpPair pair;
    pair.timestamps = true;
    const Octets data(100);
    pair.forge(pair.a, 100, kAck | kFin, data);
    EXPECT_EQ(pair.a.fins, 0);
    pair.forge(pair.a, 200, kAck, data); // behind the end
    pair.forge(pair.a, 0, kAck, data);
    EXPECT_EQ(pair.a.fins, 1);
    EXPECT_EQ(pair.a.input.size(), 200u);
    EXPECT_EQ(pair.a.sent.back().ack, 201u);
    pair.forge(pair.a, 201, kAck, data);
    EXPECT_EQ(pair.a.input.size(), 200u);
    EXPECT_EQ(pair.a.fins, 1);
}

TEST(WireTcp, FinWaitsForTheUser) {
    TcpPair pair;
    pair.b.hold = true;
    pair.a.write(5000);
    pair.a.tcp.close();
    pair.runFor(500 * kMs);
    EXPECT_EQ(pair.b.fins, 0);
    pair.b.hold = false;
    pair.b.tcp.resumeReceiving();
    EXPECT_EQ(pair.b.fins, 1);
    EXPECT_EQ(pair.b.input.size(), 5000u);
}

// 6.8: what is in flight goes out again in smaller pieces.
TEST(WireTcp, NarrowerPath) {
    LinkSetup setup;
    setup.mss = 8960;
    setup.mtu = 9000;
    TcpPair pair(setup);
    pair.link.paths[0].drop = [](const Frame& frame, unsigned) {
        return frame.payloadOffset - frame.ipOffset + frame.tcp.payload.size() > 1400;
    };
    pair.a.write(80000, 8948);
    pair.a.tcp.pathMtu(pair.a.own_ + 100000, 1400); // not in flight: ignored
    pair.a.tcp.pathMtu(pair.a.own_ - 1, 1400);
    EXPECT_EQ(pair.a.tcp.segmentBytes(), 8948u);
    pair.a.tcp.pathMtu(pair.a.own_, 1400);
    EXPECT_EQ(pair.a.tcp.segmentBytes(), 1348u);
    pair.a.tcp.pathMtu(pair.a.own_, 9000); // never back up
    EXPECT_EQ(pair.a.tcp.segmentBytes(), 1348u);
    ASSERT_TRUE(pair.run([&] { return pair.exchanged(); }, 5000 * kMs));
    EXPECT_TRUE(pair.b.intact());
    pair.a.write(1);
    pair.a.tcp.pathMtu(pair.a.own_ + 80000, 68);
    EXPECT_EQ(pair.a.tcp.segmentBytes(), 128u);
}

TEST(WireTcp, CongestionSeenByARouterIsEchoedUntilConfirmed) {
    TcpPair pair;
    LinkSetup setup;
    TcpHandover h = handoverOf(setup, true, pair.link.now);
    h.ecn = true;
    MemoryBudget budget;
    TcpConnection tcp(h, setup.settings, pair.a, pair.a, budget);
    TcpSegment s;
    s.seq = h.rcvNxt;
    s.ack = h.sndUna;
    s.flags = kAck;
    s.window = 512;
    s.options.timestamps = TcpTimestamps{7000, 0};
    s.congestionExperienced = true;
    tcp.input(s);
    tcp.acknowledgeSoon();
    pair.link.now += 40 * kMs;
    tcp.onTimer();
    ASSERT_FALSE(pair.a.sent.empty());
    EXPECT_TRUE((pair.a.sent.back().flags & kEce) != 0);
    s.congestionExperienced = false;
    s.flags = kAck | kCwr;
    tcp.input(s);
    tcp.acknowledgeSoon();
    pair.link.now += 40 * kMs;
    tcp.onTimer();
    EXPECT_TRUE((pair.a.sent.back().flags & kEce) == 0);
}

TEST(WireTcp, RandomSegmentsNeverCrash) {
    for (uint32_t seed = 1; seed <= 300; ++seed) {
        TcpPair pair({}, seed);
        pair.timestamps = true;
        std::mt19937 random(seed);
        Octets data(3000);
        for (int i = 0; i < 200; ++i) {
            if (random() % 4 == 0)
                pair.a.write(1 + random() % 5000);
            if (random() % 50 == 0)
                pair.a.tcp.close();
            pair.a.hold = random() % 3 == 0;
            pair.a.tcp.resumeReceiving();
            const auto near = [&](uint64_t around) {
                return around + random() % 4000 - 2000 + (random() % 10 == 0 ? random() : 0);
            };
            const uint8_t flags = static_cast<uint8_t>(random() % 20 == 0 ? random()
                                                       : random() % 2     ? kAck
                                                                          : kAck | kFin);
            pair.forge(pair.a, near(pair.a.input.size()), flags, ConstBytes(data).first(random() % 3000),
                       near(pair.a.tcp.acknowledged()), static_cast<uint16_t>(random()));
            pair.link.now += random() % (300 * kMs);
            if (pair.a.tcp.deadline() <= pair.link.now)
                pair.a.tcp.onTimer();
        }
        pair.a.tcp.abort();
        ASSERT_EQ(pair.budget.used(), 0u);
    }
}

} // namespace

} // namespace erdma::test
