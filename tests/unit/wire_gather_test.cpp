// SPDX-License-Identifier: GPL-2.0-or-later
// Short messages share segments, and none waits for long (wire.md 6.3).
#include "nic_bench.h"

namespace erdma::test {

namespace {

using flag::kSignal;

constexpr size_t kMessage = 84; // a Write of 64 octets as FPDU
constexpr size_t kFew = TcpConnection::kShortInFlight;
constexpr uint64_t kUs = kMs / 1000;

// One doorbell each.
void post(TcpEndpoint& end, unsigned messages) {
    for (unsigned i = 0; i < messages; ++i)
        end.write(kMessage);
}

TEST(WireGather, FewMessagesLeaveAtOnce) {
    TcpPair pair;
    for (size_t i = 1; i <= kFew; ++i) {
        post(pair.a, 1);
        EXPECT_EQ(pair.a.data().size(), i);
        EXPECT_EQ(pair.a.tcp.limit(), Limit::Idle);
    }
    post(pair.a, 1);
    EXPECT_EQ(pair.a.data().size(), kFew);
    EXPECT_EQ(pair.a.tcp.limit(), Limit::Turn);
}

TEST(WireGather, ManyShareSegmentsUntilAnAcknowledgement) {
    TcpPair pair;
    for (Path& path : pair.link.paths)
        path.delay = 50 * kUs;
    const uint64_t start = pair.link.now;
    post(pair.a, 128);
    // The first ones, and what filled segments.
    const size_t full = (128 - kFew) / (1448 / kMessage);
    EXPECT_EQ(pair.a.data().size(), kFew + full);
    ASSERT_TRUE(pair.run([&] { return pair.exchanged() && pair.a.tcp.flight() == 0; }));
    EXPECT_EQ(pair.a.data().size(), kFew + full + 1);
    EXPECT_EQ(pair.link.now - start, 200 * kUs); // the last ones waited for one round trip
    EXPECT_EQ(pair.a.tcp.limit(), Limit::Idle);
    EXPECT_TRUE(pair.a.intact() && pair.b.intact());
}

TEST(WireGather, WhatWaitsLeavesWithoutAcknowledgements) {
    TcpPair pair;
    pair.link.paths[1].cut = true;
    post(pair.a, 8);
    EXPECT_EQ(pair.a.data().size(), kFew);
    EXPECT_EQ(pair.a.tcp.deadline(), pair.link.now + TcpConnection::kGather);
    const uint64_t start = pair.link.now;
    pair.runFor(TcpConnection::kGather);
    ASSERT_EQ(pair.a.data().size(), kFew + 1);
    EXPECT_EQ(pair.a.data().back().at, start + TcpConnection::kGather);
    EXPECT_EQ(pair.a.data().back().length, (8 - kFew) * kMessage);
    // Later messages wait for as long, not for ever longer.
    post(pair.a, 1);
    const uint64_t second = pair.link.now;
    pair.runFor(TcpConnection::kGather / 2);
    post(pair.a, 1);
    pair.runFor(TcpConnection::kGather / 2);
    EXPECT_EQ(pair.a.data().back().at, second + TcpConnection::kGather);
    pair.link.paths[1].cut = false;
    ASSERT_TRUE(pair.run([&] { return pair.exchanged() && pair.a.tcp.flight() == 0; }));
    EXPECT_TRUE(pair.b.intact());
    const size_t before = pair.a.data().size();
    // Nothing is left behind that would make later ones wait.
    post(pair.a, kFew);
    EXPECT_EQ(pair.a.data().size(), before + kFew);
}

// Nothing of the kind is sent alone: what is held goes with the acknowledgement.
TEST(WireGather, AnAcknowledgementTakesAlongWhatIsHeld) {
    TcpPair pair;
    pair.a.batching = false;
    pair.link.paths[0].cut = true;
    post(pair.a, kFew);
    post(pair.b, 1);
    ASSERT_TRUE(pair.run([&] { return pair.a.input.size() == kMessage; }));
    post(pair.a, 1); // the program's answer
    ASSERT_EQ(pair.a.tcp.limit(), Limit::Turn);
    pair.a.tcp.endOfBatch();
    EXPECT_EQ(pair.a.tcp.limit(), Limit::Idle);
    EXPECT_EQ(pair.a.data().size(), kFew + 1);
    EXPECT_EQ(pair.a.sent.size(), pair.a.data().size());
}

TEST(WireGather, AnEndDoesNotWait) {
    TcpPair pair;
    post(pair.a, 8);
    pair.a.tcp.close();
    ASSERT_EQ(pair.a.data().size(), kFew + 1);
    EXPECT_NE(pair.a.sent.back().flags & tcp_flag::kFin, 0);
    ASSERT_TRUE(pair.run([&] { return pair.b.fins == 1; }));
    EXPECT_EQ(pair.b.input.size(), 8 * kMessage);
}

// The short rest of a long message does not wait behind its own segments.
TEST(WireGather, ALongMessageLeavesWhole) {
    TcpPair pair;
    pair.a.write(6 * 1448 + 100);
    EXPECT_EQ(pair.a.data().size(), 7u);
}

TEST(WireGather, AClosedWindowAndLossDoNotStop) {
    for (uint32_t seed = 1; seed <= 10; ++seed) {
        LinkSetup setup;
        setup.settings.receiveBuffer = 4096;
        TcpPair pair(setup, seed);
        for (Path& path : pair.link.paths)
            path.loss = 0.05;
        for (unsigned burst = 0; burst < 50; ++burst) {
            post(pair.a, 1 + burst % 40);
            pair.b.hold = burst % 10 == 5;
            pair.runFor(burst % 3 * 100 * kUs);
            pair.b.hold = false;
            pair.b.tcp.resumeReceiving();
        }
        ASSERT_TRUE(pair.run([&] { return pair.exchanged(); }, 120'000 * kMs)) << seed;
        EXPECT_TRUE(pair.b.intact()) << seed;
    }
}

// Whole adapters: requests that have a doorbell each, faster than the host has turns.
void postMany(NicBench& t, bool read, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
        t.a.put(read ? readSqe(kSignal, t.a.sge(64 * i, 64), t.b.stag, t.b.iova + 64 * i)
                     : writeSqe(Op::Write, kSignal, {t.a.sge(64 * i, 64)}, t.b.stag, t.b.iova + 64 * i));
        t.a.guest->write64(0x5F000, uint64_t{t.a.qpn} << 32 | (t.a.guest->qp(t.a.qpn).sq.pi & 0xFFFF));
    }
}

TEST(WireGather, RequestsAndResponsesShareFrames) {
    for (const bool read : {false, true}) {
        NicBench t;
        t.runFor(2000 * kMs);
        std::array<unsigned, 2> before{};
        for (unsigned i = 0; i < 2; ++i) {
            t.link.paths[i].delay = 50 * kUs;
            before[i] = t.link.paths[i].frames;
        }
        const uint64_t fpdus = t.a.count(Counter::FpdusOut);
        t.b.memory().fill(t.b.bus, 4096, 7);
        postMany(t, read, 30);
        const uint64_t start = t.link.now;
        for (unsigned i = 0; i < 30; ++i)
            ASSERT_EQ(t.sent(t.a)->syndrome, 0) << i;
        EXPECT_LE(t.link.now - start, 300 * kUs);
        EXPECT_EQ(t.a.count(Counter::FpdusOut) - fpdus, 30u);
        EXPECT_EQ(t.a.data(0, 30 * 64), t.b.data(0, 30 * 64));
        // Four alone, the others in full segments; 30 of them with 30 acknowledgements otherwise.
        EXPECT_LE(t.link.paths[0].frames - before[0], 12u) << read;
        EXPECT_LE(t.link.paths[1].frames - before[1], 12u) << read;
    }
}

} // namespace

} // namespace erdma::test
