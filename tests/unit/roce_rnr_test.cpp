// SPDX-License-Identifier: GPL-2.0-or-later
// A fast sender and a receiver with two buffers, which it posts again as fast as it can (roce.md 120).

#include "roce_bench.h"

namespace erdma::test {

namespace {

using flag::kSignal;

struct Lane {
    uint64_t delay;    // of a frame, each way
    uint64_t perFrame; // that the receiver takes for one
    uint64_t repost;   // until a buffer is there again
    double loss = 0;
};

struct Outcome {
    uint64_t frames, notReady, timeouts, ghosts;
};

constexpr unsigned kMessages = 500, kPackets = 4 * kMessages;

// Messages of four packets, as fast as the sender can.
Outcome flood(const Lane& lane) {
    RoceOptions options;
    options.bench.sqLog = 8;
    options.bench.cqLog = 12;
    options.rc.timeoutCode = 14;
    RoceBench t(options);
    constexpr uint32_t kSize = 4096;
    uint64_t busy = 0;
    Path& out = t.link.paths[0];
    out.loss = t.link.paths[1].loss = lane.loss;
    t.link.paths[1].delay = lane.delay;
    out.drop = [&](const Frame&, unsigned) { // never, but the receiver takes one after the other
        busy = std::max(busy, t.link.now) + lane.perFrame;
        out.delay = busy - t.link.now + lane.delay;
        return false;
    };
    unsigned posted = 0, sent = 0, received = 0;
    std::deque<uint64_t> again; // when to post a buffer
    for (unsigned i = 0; i < 2; ++i)
        t.b.recv(0x1000, kSize);
    const auto done = [&] {
        for (std::optional<Cqe> cqe; (cqe = t.b.received()); ++received) {
            EXPECT_EQ(cqe->syndrome, 0);
            again.push_back(t.link.now + lane.repost);
        }
        for (; !again.empty() && again.front() <= t.link.now; again.pop_front())
            t.b.recv(0x1000, kSize);
        for (std::optional<Cqe> cqe; (cqe = t.a.sent()); ++sent)
            EXPECT_EQ(cqe->syndrome, 0);
        for (; posted < kMessages && posted - sent < 100; ++posted)
            t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, kSize)}));
        return sent == kMessages;
    };
    EXPECT_TRUE(t.run(done, 100'000 * kMs));
    EXPECT_EQ(received, kMessages);
    return {t.nodes[0]->sentFrames, t.a.count(Counter::RcRnrNaksIn), t.a.count(Counter::RcTimeouts),
            t.a.count(Counter::RcGhosts)};
}

// 120: however long answers and buffers take, the timer has nothing to mend, and little is sent in vain.
TEST(RoceRnr, SenderWaitsAsItIsTold) {
    for (const Lane& lane : {Lane{10'000, 0, 1000}, Lane{10'000, 0, 300'000}, Lane{10'000, 10'000, 100'000},
                             Lane{1'000'000, 10'000, 100'000}, Lane{3'000'000, 100'000, 500'000}}) {
        SCOPED_TRACE(testing::Message() << lane.delay << " " << lane.perFrame << " " << lane.repost);
        const Outcome got = flood(lane);
        EXPECT_GT(got.notReady, 0u);
        EXPECT_EQ(got.timeouts, 0u);
        EXPECT_EQ(got.ghosts, 0u);
        EXPECT_LE(got.frames, kPackets + 20 * got.notReady);
    }
}

// A receiver that needs longer for a window than the sender's timer: a whole window after each wait made the next answer
// later than the timer, which sent one more, and so on (453 time-outs, 62,080 frames).
TEST(RoceRnr, SlowReceiverWithFewBuffers) {
    const Outcome got = flood({10'000, 1'000'000, 20'000'000});
    EXPECT_GT(got.notReady, 0u);
    EXPECT_LE(got.timeouts, 20u);
    EXPECT_LE(got.ghosts, 20u);
    EXPECT_LE(got.frames, 4 * kPackets);
}

// The same when a frame is lost (113 time-outs, 17,434 frames).
TEST(RoceRnr, SlowReceiverIsNotFlooded) {
    const Outcome got = flood({10'000, 1'000'000, 500'000, 0.01});
    EXPECT_GT(got.timeouts, 0u);
    EXPECT_LE(got.timeouts, 40u);
    EXPECT_LE(got.frames, 4 * kPackets);
}

} // namespace

} // namespace erdma::test
