// SPDX-License-Identifier: GPL-2.0-or-later
// Short messages share segments, acknowledgements travel with data, and neither makes anybody wait.

#include "nic_bench.h"

namespace erdma::test {

namespace {

using flag::kSignal;

constexpr size_t kMessage = 84; // a Write of 64 octets as FPDU
constexpr uint64_t kUs = kMs / 1000;

// One doorbell each.
void post(TcpEndpoint& end, unsigned messages) {
    for (unsigned i = 0; i < messages; ++i)
        end.write(kMessage);
}

size_t bareAcks(const TcpEndpoint& end) { return end.sent.size() - end.data().size(); }

TEST(WireGather, FewMessagesLeaveAtOnce) {
    TcpPair pair;
    for (size_t i = 1; i <= TcpConnection::kSmallInFlight; ++i) {
        post(pair.a, 1);
        EXPECT_EQ(pair.a.data().size(), i);
    }
}

TEST(WireGather, ManyShareSegmentsUntilAnAcknowledgement) {
    LinkSetup setup;
    TcpPair pair(setup);
    for (Path& path : pair.link.paths)
        path.delay = 50 * kUs;
    const uint64_t start = pair.link.now;
    post(pair.a, 128);
    // The first ones, and what filled segments.
    const size_t full = (128 - TcpConnection::kSmallInFlight) / (1448 / kMessage);
    EXPECT_EQ(pair.a.data().size(), TcpConnection::kSmallInFlight + full);
    ASSERT_TRUE(pair.run([&] { return pair.exchanged() && pair.a.tcp.flight() == 0; }));
    EXPECT_EQ(pair.a.data().size(), TcpConnection::kSmallInFlight + full + 1);
    EXPECT_EQ(pair.link.now - start, 200 * kUs); // the last ones waited for one round trip
    EXPECT_TRUE(pair.a.intact() && pair.b.intact());
}

TEST(WireGather, WhatWaitsLeavesWithoutAcknowledgements) {
    TcpPair pair;
    pair.link.paths[1].cut = true;
    post(pair.a, 8);
    EXPECT_EQ(pair.a.data().size(), TcpConnection::kSmallInFlight);
    EXPECT_EQ(pair.a.tcp.deadline(), pair.link.now + TcpConnection::kGather);
    const uint64_t start = pair.link.now;
    pair.runFor(TcpConnection::kGather);
    ASSERT_EQ(pair.a.data().size(), TcpConnection::kSmallInFlight + 1);
    EXPECT_EQ(pair.a.data().back().at, start + TcpConnection::kGather);
    EXPECT_EQ(pair.a.data().back().length, 4 * kMessage);
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
}

TEST(WireGather, AnEndDoesNotWait) {
    TcpPair pair;
    post(pair.a, 8);
    pair.a.tcp.close();
    ASSERT_EQ(pair.a.data().size(), TcpConnection::kSmallInFlight + 1);
    EXPECT_EQ(pair.a.sent.back().at, pair.link.now);
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

TEST(WireGather, ShortSegmentsAreAcknowledgedByTheBatch) {
    TcpPair pair;
    for (Path& path : pair.link.paths)
        path.delay = 50 * kUs;
    pair.b.batching = false;
    post(pair.a, TcpConnection::kSmallInFlight);
    pair.run([&] { return pair.b.input.size() == pair.a.written; });
    EXPECT_EQ(pair.b.sent.size(), 0u);
    pair.b.tcp.endOfBatch();
    EXPECT_EQ(pair.b.sent.size(), 1u);
    pair.run([&] { return pair.a.tcp.flight() == 0; });
    EXPECT_EQ(pair.b.sent.size(), 1u);
    // Full ones two by two.
    pair.a.write(6 * 1448);
    pair.run([&] { return pair.b.input.size() == pair.a.written; });
    EXPECT_EQ(pair.b.sent.size(), 4u);
}

// The program answers 50 us after it got the message.
void pingPong(TcpPair& pair, unsigned rounds, uint64_t think = 50 * kUs) {
    for (unsigned i = 0; i < 2 * rounds; ++i) {
        TcpEndpoint& from = i % 2 == 0 ? pair.a : pair.b;
        TcpEndpoint& to = i % 2 == 0 ? pair.b : pair.a;
        post(from, 1);
        ASSERT_EQ(from.sent.back().at, pair.link.now); // never delayed
        ASSERT_EQ(from.sent.back().length, kMessage);
        ASSERT_TRUE(pair.run([&] { return to.input.size() == from.written; }));
        pair.runFor(think);
    }
}

TEST(WireGather, APingPongIsTwoFrames) {
    TcpPair pair;
    for (Path& path : pair.link.paths)
        path.delay = 20 * kUs;
    pingPong(pair, 5);
    pair.runFor(kMs);
    const size_t before = pair.a.sent.size() + pair.b.sent.size();
    // One is acknowledged alone for every pause in the conversation.
    pingPong(pair, 100);
    const size_t frames = pair.a.sent.size() + pair.b.sent.size() - before;
    EXPECT_GE(frames, 200u);
    EXPECT_LE(frames, 206u);
    EXPECT_TRUE(pair.a.intact() && pair.b.intact());
    EXPECT_EQ(pair.a.tcp.counters().retransmissions + pair.b.tcp.counters().retransmissions, 0u);
}

TEST(WireGather, AProgramThatAnswersLateIsNotWaitedFor) {
    TcpPair pair;
    for (Path& path : pair.link.paths)
        path.delay = 20 * kUs;
    pingPong(pair, 20, kMs);
    EXPECT_EQ(bareAcks(pair.a) + bareAcks(pair.b), 40u);
    for (const auto& sent : pair.b.sent) // at once, when the message came
        EXPECT_NE(sent.at % kMs, TcpConnection::kAnswer);
}

// Who waits for acknowledgements only gets them at once; after a conversation once a little later.
TEST(WireGather, OneSidedMessagesAreAcknowledgedAtOnce) {
    TcpPair pair;
    for (Path& path : pair.link.paths)
        path.delay = 20 * kUs;
    const auto round = [&pair] {
        const uint64_t start = pair.link.now;
        post(pair.a, 1);
        pair.run([&] { return pair.a.tcp.flight() == 0; });
        return pair.link.now - start;
    };
    for (int i = 0; i < 10; ++i)
        EXPECT_EQ(round(), 40 * kUs);
    pingPong(pair, 10);
    pair.runFor(kMs);
    round();
    for (int i = 0; i < 10; ++i)
        EXPECT_EQ(round(), 40 * kUs) << i;
}

// Whole adapters: 30 requests, each with a doorbell of its own.
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
        for (unsigned i = 0; i < 30; ++i)
            t.bench.post(t.a, read ? readSqe(kSignal, t.a.sge(64 * i, 64), t.b.stag, t.b.iova + 64 * i)
                                   : writeSqe(Op::Write, kSignal, {t.a.sge(64 * i, 64)}, t.b.stag, t.b.iova + 64 * i));
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
