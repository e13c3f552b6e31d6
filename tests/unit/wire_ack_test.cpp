// SPDX-License-Identifier: GPL-2.0-or-later
// When acknowledgements leave: with data that is about to come, otherwise as soon as somebody may wait for them.
#include "wire_link.h"

namespace erdma::test {

namespace {

constexpr size_t kMessage = 84; // a Write of 64 octets as FPDU
constexpr uint64_t kUs = kMs / 1000;

// One doorbell each.
void post(TcpEndpoint& end, unsigned messages) {
    for (unsigned i = 0; i < messages; ++i)
        end.write(kMessage);
}

size_t bareAcks(const TcpEndpoint& end) { return end.sent.size() - end.data().size(); }

TEST(WireAck, ShortSegmentsAreAcknowledgedByTheBatch) {
    TcpPair pair;
    for (Path& path : pair.link.paths)
        path.delay = 50 * kUs;
    pair.b.batching = false;
    post(pair.a, 4);
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

TEST(WireAck, APingPongIsTwoFrames) {
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

TEST(WireAck, AProgramThatAnswersLateIsNotWaitedFor) {
    TcpPair pair;
    for (Path& path : pair.link.paths)
        path.delay = 20 * kUs;
    pingPong(pair, 20, kMs);
    EXPECT_EQ(bareAcks(pair.a) + bareAcks(pair.b), 40u);
    for (const auto& sent : pair.b.sent) // at once, when the message came
        EXPECT_NE(sent.at % kMs, TcpConnection::kAnswer);
}

// What comes behind an answer that is due is no conversation.
TEST(WireAck, OneSegmentAtMostWaitsForAnAnswer) {
    TcpPair pair;
    for (Path& path : pair.link.paths)
        path.delay = 20 * kUs;
    pingPong(pair, 10);
    pair.runFor(kMs);
    const uint64_t start = pair.link.now;
    post(pair.a, 2);
    pair.run([&] { return pair.a.tcp.flight() == 0; });
    EXPECT_EQ(pair.link.now - start, 40 * kUs);
}

// Who waits for acknowledgements only gets them at once; after a conversation once a little later.
TEST(WireAck, OneSidedMessagesAreAcknowledgedAtOnce) {
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

} // namespace

} // namespace erdma::test
