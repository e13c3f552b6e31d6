// SPDX-License-Identifier: GPL-2.0-or-later
// TCP engine: retransmission times, loss recovery and congestion windows on traces (RFC 5681, 6298, 6582, 6675, 9438;
// wire.md 6.4, 6.6), and data through a bad link.

#include "wire_link.h"

namespace erdma::test {

namespace {

// Milliseconds after `start` at which the segment at `offset` left.
std::vector<uint64_t> timesOf(const TcpEndpoint& end, uint64_t offset, uint64_t start) {
    std::vector<uint64_t> out;
    for (const auto& r : end.data())
        if (r.offset == offset)
            out.push_back((r.at - start) / kMs);
    return out;
}

// RFC 6298 5: doubled each time; the connection ends 30 s after the first transmission.
TEST(WireTcpRecovery, BackoffWithoutMeasurement) {
    LinkSetup setup;
    setup.rtt.reset();
    TcpPair pair(setup);
    pair.link.paths[0].cut = true;
    const uint64_t start = pair.link.now;
    pair.a.write(100);
    ASSERT_TRUE(pair.run([&] { return pair.a.end.has_value(); }));
    EXPECT_EQ(timesOf(pair.a, 0, start), (std::vector<uint64_t>{0, 1000, 3000, 7000, 15000}));
    EXPECT_EQ((pair.link.now - start) / kMs, 30000u);
    EXPECT_EQ(*pair.a.end, TcpEnd::TimedOut);
    EXPECT_TRUE((pair.a.sent.back().flags & tcp_flag::kRst) != 0);
}

TEST(WireTcpRecovery, BackoffFromTheMinimum) {
    TcpPair pair; // RTT 10 ms: 200 ms is the floor
    EXPECT_EQ(pair.a.tcp.rto(), 200 * kMs);
    pair.link.paths[0].cut = true;
    const uint64_t start = pair.link.now;
    pair.a.write(100);
    ASSERT_TRUE(pair.run([&] { return pair.a.end.has_value(); }));
    EXPECT_EQ(timesOf(pair.a, 0, start), (std::vector<uint64_t>{0, 200, 600, 1400, 3000, 6200, 12600, 25400}));
    EXPECT_EQ((pair.link.now - start) / kMs, 30000u);
}

TEST(WireTcpRecovery, GivesUpAfterTheConfiguredNumber) {
    LinkSetup setup;
    setup.settings.giveUpCount = 3;
    TcpPair pair(setup);
    pair.link.paths[0].cut = true;
    const uint64_t start = pair.link.now;
    pair.a.write(100);
    ASSERT_TRUE(pair.run([&] { return pair.a.end.has_value(); }));
    EXPECT_EQ(timesOf(pair.a, 0, start), (std::vector<uint64_t>{0, 200, 600, 1400}));
    EXPECT_EQ((pair.link.now - start) / kMs, 3000u);
}

TEST(WireTcpRecovery, BackoffIsCappedAt60Seconds) {
    LinkSetup setup;
    setup.rtt.reset();
    setup.settings.giveUp = 1000'000 * kMs;
    TcpPair pair(setup);
    pair.link.paths[0].cut = pair.link.paths[1].cut = true;
    const uint64_t start = pair.link.now;
    pair.a.write(100);
    pair.runFor(300'000 * kMs);
    EXPECT_EQ(timesOf(pair.a, 0, start),
              (std::vector<uint64_t>{0, 1000, 3000, 7000, 15000, 31000, 63000, 123000, 183000, 243000}));
}

// RFC 6298 2: R = 100 ms, then R = 200 ms.
TEST(WireTcpRecovery, RtoFollowsTheMeasurements) {
    for (const bool timestamps : {false, true}) {
        LinkSetup setup;
        setup.rtt = 100 * kMs;
        setup.timestamps = timestamps;
        TcpPair pair(setup);
        EXPECT_EQ(pair.a.tcp.rto(), 300 * kMs);
        pair.link.paths[0].delay = pair.link.paths[1].delay = 100 * kMs;
        pair.a.write(100);
        pair.run([&] { return pair.a.tcp.flight() == 0; });
        EXPECT_EQ(pair.a.tcp.smoothedRtt(), 112500000u);
        EXPECT_EQ(pair.a.tcp.rto(), 362500000u); // RTTVAR 62.5
    }
}

// Karn: the answer to a retransmission says nothing about the RTT, and the backed-off timer stays.
TEST(WireTcpRecovery, NoMeasurementFromRetransmissionsWithoutTimestamps) {
    LinkSetup setup;
    setup.rtt = 100 * kMs;
    setup.timestamps = false;
    TcpPair pair(setup);
    pair.link.paths[0].drop = [](const Frame&, unsigned index) { return index == 0; };
    pair.a.write(100);
    pair.run([&] { return pair.a.tcp.flight() == 0; });
    EXPECT_EQ(pair.a.tcp.smoothedRtt(), 100 * kMs);
    pair.link.paths[0].cut = true;
    const uint64_t start = pair.link.now;
    pair.a.write(100);
    pair.run([&] { return pair.a.tcp.counters().retransmissions == 2; });
    EXPECT_EQ((pair.link.now - start) / kMs, 300u);
}

// Ten segments, the first is lost; three duplicates bring it back one RTT later, with half the window.
TEST(WireTcpRecovery, FastRetransmit) {
    for (const bool sack : {false, true}) {
        LinkSetup setup;
        setup.sack = sack;
        TcpPair pair(setup);
        pair.link.paths[0].drop = [](const Frame&, unsigned index) { return index == 0; };
        const uint64_t start = pair.link.now;
        pair.a.write(10 * 1448);
        EXPECT_EQ(pair.a.tcp.flight(), 14480u);
        ASSERT_TRUE(pair.run([&] { return pair.exchanged() && pair.a.tcp.flight() == 0; }));
        EXPECT_EQ(timesOf(pair.a, 0, start), (std::vector<uint64_t>{0, 2})) << sack;
        EXPECT_EQ(pair.a.tcp.counters().retransmissions, 1u);
        EXPECT_EQ(pair.a.tcp.counters().timeouts, 0u);
        EXPECT_EQ(pair.a.tcp.counters().fastRecoveries, 1u);
        EXPECT_EQ(pair.a.tcp.congestion().threshold(), 14480u / 2);
        EXPECT_EQ(pair.a.tcp.congestion().window(), 14480u / 2);
        EXPECT_TRUE(pair.b.intact());
    }
}

TEST(WireTcpRecovery, TwoDuplicatesAreReordering) {
    TcpPair pair;
    pair.link.paths[0].drop = [](const Frame&, unsigned index) { return index == 7; }; // two come behind it
    const uint64_t start = pair.link.now;
    pair.a.write(10 * 1448);
    ASSERT_TRUE(pair.run([&] { return pair.exchanged(); }));
    EXPECT_EQ(pair.a.tcp.counters().fastRecoveries, 0u);
    EXPECT_EQ(timesOf(pair.a, 7 * 1448, start).size(), 2u);
    EXPECT_GE(timesOf(pair.a, 7 * 1448, start)[1], 200u);
}

// RFC 6675: all holes in one RTT.  RFC 6582: one hole per RTT.
TEST(WireTcpRecovery, SeveralLossesOfOneWindow) {
    for (const bool sack : {false, true}) {
        LinkSetup setup;
        setup.sack = sack;
        TcpPair pair(setup);
        pair.link.paths[0].drop = [](const Frame&, unsigned index) { return index == 0 || index == 2 || index == 4; };
        const uint64_t start = pair.link.now;
        pair.a.write(10 * 1448);
        ASSERT_TRUE(pair.run([&] { return pair.exchanged() && pair.a.tcp.flight() == 0; }));
        EXPECT_EQ(timesOf(pair.a, 0, start), (std::vector<uint64_t>{0, 2}));
        EXPECT_EQ(timesOf(pair.a, 2 * 1448, start), (std::vector<uint64_t>{0, sack ? 2u : 4u}));
        EXPECT_EQ(timesOf(pair.a, 4 * 1448, start), (std::vector<uint64_t>{0, sack ? 2u : 6u}));
        EXPECT_EQ(pair.a.tcp.counters().retransmissions, 3u);
        EXPECT_EQ(pair.a.tcp.counters().timeouts, 0u);
        EXPECT_EQ(pair.a.tcp.counters().fastRecoveries, 1u); // one reduction for all of them
    }
}

// After a timeout: window of one segment, slow start up to half of what was in flight.
// RFC 2018 8: what a peer reported and then threw away is sent again.
TEST(WireTcpRecovery, RenegingPeer) {
    TcpPair pair;
    pair.link.paths[0].drop = [](const Frame&, unsigned) { return true; };
    pair.a.write(10 * 1448);
    TcpSegment s;
    s.seq = pair.a.peer_;
    s.ack = pair.a.own_;
    s.flags = tcp_flag::kAck;
    s.window = 512;
    s.options.timestamps = TcpTimestamps{8000, 0};
    s.options.sackCount = 1;
    s.options.sack[0] = {s.ack + 1448, s.ack + 10 * 1448};
    pair.a.tcp.input(s);
    // The front arrives, and the rest is gone.
    s.options.sackCount = 0;
    s.ack += 1448;
    pair.a.tcp.input(s);
    pair.link.paths[0].drop = nullptr;
    unsigned again = 0;
    pair.link.paths[0].drop = [&](const Frame& frame, unsigned) {
        again += frame.tcp.seq == s.ack ? 1 : 0;
        return true;
    };
    pair.runFor(1000 * kMs);
    EXPECT_GE(again, 1u);
}

TEST(WireTcpRecovery, TimeoutRestartsWithOneSegment) {
    TcpPair pair;
    bool cut = true;
    pair.link.paths[0].drop = [&](const Frame&, unsigned) { return cut; };
    const uint64_t start = pair.link.now;
    pair.a.write(10 * 1448);
    pair.run([&] { return pair.a.tcp.counters().timeouts == 1; });
    EXPECT_EQ((pair.link.now - start) / kMs, 200u);
    EXPECT_EQ(pair.a.tcp.congestion().window(), 1448u);
    EXPECT_EQ(pair.a.tcp.congestion().threshold(), 14480u / 2);
    EXPECT_EQ(pair.a.data().size(), 11u);
    pair.run([&] { return pair.a.tcp.counters().timeouts == 2; }); // the threshold is not halved again
    EXPECT_EQ(pair.a.tcp.congestion().threshold(), 14480u / 2);
    cut = false;
    ASSERT_TRUE(pair.run([&] { return pair.exchanged() && pair.a.tcp.flight() == 0; }));
    EXPECT_TRUE(pair.b.intact());
    EXPECT_EQ(pair.a.tcp.counters().timeouts, 3u);
}

TEST(WireTcpRecovery, AnySingleSegmentMayBeLost) {
    for (const bool sack : {false, true}) {
        for (unsigned lost = 0; lost < 40; ++lost) {
            for (unsigned direction = 0; direction < 2; ++direction) {
                LinkSetup setup;
                setup.sack = sack;
                TcpPair pair(setup);
                pair.link.paths[direction].drop = [&](const Frame&, unsigned index) { return index == lost; };
                pair.a.write(40 * 1448);
                ASSERT_TRUE(pair.run([&] { return pair.exchanged() && pair.a.tcp.flight() == 0; }, 3000 * kMs)) << lost;
                EXPECT_TRUE(pair.b.intact());
                EXPECT_LE(pair.a.tcp.counters().timeouts, 1u);
            }
        }
    }
}

TEST(WireTcpRecovery, CutOfTwoSecondsIsSurvivedAndOfSixtyIsNot) {
    for (const uint64_t seconds : {2u, 60u}) {
        TcpPair pair;
        pair.a.write(900000);
        pair.runFor(3 * kMs);
        pair.link.paths[0].cut = pair.link.paths[1].cut = true;
        pair.runFor(seconds * 1000 * kMs);
        pair.link.paths[0].cut = pair.link.paths[1].cut = false;
        EXPECT_EQ(pair.run([&] { return pair.exchanged(); }, 20'000 * kMs), seconds == 2);
        EXPECT_EQ(pair.a.end.has_value(), seconds == 60);
    }
}

TEST(WireTcpRecovery, NothingIsLostOnABadLink) {
    uint32_t seed = 1;
    for (const CongestionControl algorithm : {CongestionControl::NewReno, CongestionControl::Cubic}) {
        for (const bool sack : {false, true}) {
            for (const bool timestamps : {false, true}) {
                LinkSetup setup;
                setup.congestion = algorithm;
                setup.sack = sack;
                setup.timestamps = timestamps;
                setup.issA = 0xFFF00000; // wraps
                TcpPair pair(setup, ++seed);
                for (Path& path : pair.link.paths) {
                    path.loss = 0.1;
                    path.reorder = 0.1;
                    path.duplicate = 0.05;
                    path.damage = 0.02;
                }
                for (int round = 0; round < 4; ++round) {
                    pair.a.write(500000);
                    pair.b.write(300000, 777);
                    ASSERT_TRUE(pair.run([&] { return pair.exchanged(); }, 40000'000 * kMs)) << seed;
                }
                pair.a.tcp.close();
                pair.b.tcp.close();
                ASSERT_TRUE(pair.run([&] { return pair.a.fins == 1 && pair.b.fins == 1; }, 100'000 * kMs));
                EXPECT_TRUE(pair.a.intact() && pair.b.intact()) << seed;
                EXPECT_GT(pair.b.badFrames, 0u);
                EXPECT_EQ(pair.a.tcp.reorderBytes() + pair.b.tcp.reorderBytes(), 0u);
            }
        }
    }
}

TEST(WireTcpRecovery, IdleConnectionStartsAgainFromTheInitialWindow) {
    TcpPair pair;
    pair.a.write(1000000);
    ASSERT_TRUE(pair.run([&] { return pair.exchanged() && pair.a.tcp.flight() == 0; }));
    EXPECT_GT(pair.a.tcp.congestion().window(), 14480u);
    pair.runFor(1000 * kMs);
    pair.a.write(100000);
    EXPECT_EQ(pair.a.tcp.flight(), 14480u);
}

TEST(WireTcpCongestion, NewReno) {
    const auto c = makeCongestion(CongestionControl::NewReno, 1000);
    EXPECT_EQ(c->window(), 10000u);
    for (int i = 0; i < 10; ++i)
        c->acknowledged(1000, 1, 1);
    EXPECT_EQ(c->window(), 20000u); // doubled
    c->acknowledged(1000000, 1, 1);
    EXPECT_EQ(c->window(), 22000u); // a stretched acknowledgement counts for two segments
    c->lossDetected(20000, 2);
    EXPECT_EQ(c->window(), 10000u);
    for (int i = 0; i < 10; ++i)
        c->acknowledged(1000, 3, 1);
    EXPECT_EQ(c->window(), 11000u); // one segment per round trip
    c->timedOut(3000, true, 4);
    EXPECT_EQ(c->window(), 1000u);
    EXPECT_EQ(c->threshold(), 2000u); // never below two
}

TEST(WireTcpCongestion, CubicReturnsToItsMaximum) {
    for (const auto algorithm : {CongestionControl::Cubic, CongestionControl::HpccRtt, CongestionControl::HpccEcn,
                                 CongestionControl::HpccInt}) {
        const auto c = makeCongestion(algorithm, 1000);
        while (c->window() < 400000)
            c->acknowledged(2000, 1, 1);
        const uint64_t maximum = c->window();
        c->lossDetected(maximum, 1);
        EXPECT_EQ(c->window(), maximum * 7 / 10);
        // K = cbrt(400 * 0.3 / 0.4) = 6.7 s; RTT 100 ms: slow growth before, close to the maximum then, faster behind.
        uint64_t now = 1000 * kMs;
        const uint64_t start = now;
        std::map<uint64_t, uint64_t> at;
        for (; now - start < 10000 * kMs; now += 100 * kMs) {
            at[(now - start) / kMs] = c->window();
            for (uint64_t left = c->window(); left >= 1000; left -= 1000)
                c->acknowledged(1000, now, 100 * kMs);
        }
        EXPECT_LT(at[6000], maximum + 5000);
        EXPECT_GT(at[6000], maximum * 95 / 100);
        EXPECT_NEAR(static_cast<double>(at[6700]), static_cast<double>(maximum), 8000.0);
        EXPECT_GT(at[9900], maximum + 8000);
    }
}

} // namespace

} // namespace erdma::test
