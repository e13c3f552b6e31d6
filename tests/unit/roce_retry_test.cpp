// SPDX-License-Identifier: GPL-2.0-or-later
// How a reliable connection takes refusals, losses and silence of a peer that the test plays (roce.md 3.4 to 3.7; numbers
// in comments are items of 11.3).

#include "roce_script.h"

namespace erdma::test {

namespace {

using namespace script;
using flag::kSignal;

// 43, 44: what stands behind tells of what stands before.
TEST(RoceRetry, AnswersImplyOthers) {
    ScriptBench t;
    const Octets body(1024, std::byte{9});
    t.post(t.a, write(t, 10));
    t.post(t.a, read(t, 2500)); // 1, 2, 3
    t.post(t.a, send(t, 20));   // 4
    ASSERT_EQ(t.all().size(), 3u);
    t.answer(RoceOp::ReadFirst, psn(1), aeth::kAck, body);
    EXPECT_EQ(status(t), Syndrome::Success); // the Write
    EXPECT_FALSE(status(t));
    t.ack(psn(4)); // before the rest of the Read: it was lost
    const auto got = t.all();
    ASSERT_EQ(seen(got),
              (std::vector<Seen>{{RoceOp::ReadRequest, psn(2), 0, true}, {RoceOp::SendOnly, psn(4), 20, true}}));
    EXPECT_EQ(got[0].packet.address, 0x7f0000002000u + 1024);
    EXPECT_EQ(got[0].packet.length, 1476u);
    EXPECT_FALSE(status(t));
    t.ack(psn(4)); // once is enough
    EXPECT_TRUE(t.quiet());
    t.answer(RoceOp::ReadFirst, psn(2), aeth::kAck, body); // 45
    t.answer(RoceOp::ReadLast, psn(3), aeth::kAck, ConstBytes(body).first(452));
    EXPECT_EQ(status(t), Syndrome::Success);
    t.ack(psn(4));
    EXPECT_EQ(status(t), Syndrome::Success);
}

// 47, 48.
TEST(RoceRetry, SequenceNakRepeatsOnce) {
    ScriptBench t;
    t.post(t.a, send(t, 5000));
    const auto first = t.all();
    ASSERT_EQ(first.size(), 5u);
    t.answer(RoceOp::Acknowledge, psn(2), aeth::kSequence);
    auto got = t.all();
    ASSERT_EQ(got.size(), 3u);
    for (unsigned i = 0; i < 3; ++i) {
        EXPECT_EQ(got[i].packet.op, first[2 + i].packet.op);
        EXPECT_EQ(got[i].packet.psn, psn(2 + i));
        EXPECT_EQ(got[i].payload, first[2 + i].payload);
    }
    EXPECT_TRUE(got.back().packet.ackRequest);
    t.answer(RoceOp::Acknowledge, psn(2), aeth::kSequence);
    EXPECT_TRUE(t.quiet());
    t.answer(RoceOp::Acknowledge, psn(3), aeth::kSequence); // progress
    EXPECT_EQ(t.all().size(), 2u);
    t.ack(psn(4));
    EXPECT_EQ(status(t), Syndrome::Success);
}

// 49.
TEST(RoceRetry, WaitsForAPeerThatIsNotReady) {
    for (const auto& [code, wait] : {std::pair<uint8_t, uint64_t>{12, 640'000}, {0, 655'360'000}, {31, 491'520'000}}) {
        ScriptBench t;
        t.post(t.a, send(t, 3000));
        ASSERT_EQ(t.all().size(), 3u);
        const uint64_t begin = t.link.now;
        t.answer(RoceOp::Acknowledge, psn(0), static_cast<uint8_t>(aeth::kRnr | code));
        t.answer(RoceOp::Acknowledge, psn(0), aeth::kSequence);
        t.answer(RoceOp::Acknowledge, psn(0), aeth::kRnr | 1);
        EXPECT_TRUE(t.quiet(wait - 1000));
        t.post(t.a, send(t, 1)); // not now
        ASSERT_TRUE(t.run([&] { return !t.out.empty(); }, kMs));
        EXPECT_GE(t.link.now - begin, wait);
        EXPECT_EQ(seen(t.all()), (std::vector<Seen>{{RoceOp::SendFirst, psn(0), 1024, true}}));
        t.answer(RoceOp::Acknowledge, psn(0), aeth::kSequence); // late
        EXPECT_TRUE(t.quiet());
        EXPECT_EQ(t.a.count(Counter::RcTimeouts), 0u);
        t.ack(psn(0)); // twice as much, which is all there was
        EXPECT_EQ(seen(t.all()), (std::vector<Seen>{{RoceOp::SendMiddle, psn(1), 1024, true},
                                                    {RoceOp::SendLast, psn(2), 952, true},
                                                    {RoceOp::SendOnly, psn(3), 1, true}}));
        t.ack(psn(3));
        EXPECT_EQ(status(t), Syndrome::Success);
        EXPECT_EQ(status(t), Syndrome::Success);
    }
}

// 50.
TEST(RoceRetry, NotReadyForEver) {
    for (uint8_t retries = 0; retries <= 7; ++retries) {
        RoceOptions options;
        options.rc.rnrRetries = retries;
        ScriptBench t(options);
        t.post(t.a, send(t, 1));
        t.post(t.a, send(t, 2));
        for (unsigned i = 0; i < (retries == 7 ? 1000u : retries); ++i) {
            ASSERT_EQ(t.all(kMs / 10).size(), i == 0 ? 2u : 1u) << i;
            t.answer(RoceOp::Acknowledge, psn(0), aeth::kRnr | 1);
        }
        ASSERT_EQ(t.all(kMs / 10).size(), retries == 0 ? 2u : 1u);
        if (retries == 7) {
            t.ack(psn(1));
            EXPECT_EQ(status(t), Syndrome::Success);
            continue;
        }
        t.answer(RoceOp::Acknowledge, psn(0), aeth::kRnr | 1);
        EXPECT_EQ(status(t), Syndrome::RetryExceeded);
        EXPECT_EQ(status(t), Syndrome::Flushed);
        EXPECT_FALSE(t.alive());
        EXPECT_TRUE(t.bench.events(t.a).empty());
        EXPECT_TRUE(t.quiet(100 * kMs));
    }
}

// 51.
TEST(RoceRetry, NotReadyInTheMiddleOfARead) {
    ScriptBench t;
    const Octets body(1024, std::byte{9});
    t.post(t.a, read(t, 4096));
    EXPECT_EQ(t.next().psn, psn(0));
    t.answer(RoceOp::ReadFirst, psn(0), aeth::kAck, body);
    t.answer(RoceOp::ReadMiddle, psn(1), aeth::kAck, body);
    t.answer(RoceOp::Acknowledge, psn(0), aeth::kRnr | 12);
    EXPECT_TRUE(t.quiet(600'000));
    const RocePacket again = t.next();
    EXPECT_EQ(again.op, RoceOp::ReadRequest);
    EXPECT_EQ(again.psn, psn(2));
    EXPECT_EQ(again.address, 0x7f0000002000u + 2048);
    EXPECT_EQ(again.length, 2048u);
    t.answer(RoceOp::ReadMiddle, psn(2), aeth::kAck, body);
    t.answer(RoceOp::ReadLast, psn(3), aeth::kAck, body);
    EXPECT_EQ(status(t), Syndrome::Success);
}

// 52.
TEST(RoceRetry, TimeoutsOfAGivenCode) {
    RoceOptions options;
    options.rc.timeoutCode = 14;
    options.rc.retries = 4;
    ScriptBench t(options);
    const uint64_t period = 4096u << 14;
    uint64_t last = t.link.now;
    t.post(t.a, send(t, 1));
    t.post(t.a, send(t, 1));
    ASSERT_EQ(t.all().size(), 2u);
    for (const unsigned factor : {1u, 2u, 4u, 4u}) {
        ASSERT_TRUE(t.run([&] { return t.out.size() == 2; }, 5 * period));
        EXPECT_NEAR(static_cast<double>(t.link.now - last), static_cast<double>(factor * period), 100'000);
        last = t.link.now;
        t.out.clear();
    }
    std::optional<Cqe> cqe = t.sent(t.a);
    ASSERT_TRUE(cqe);
    EXPECT_EQ(cqe->syndrome, static_cast<uint8_t>(Syndrome::RetryExceeded));
    EXPECT_NEAR(static_cast<double>(t.link.now - last), static_cast<double>(4 * period), 100'000);
    EXPECT_EQ(status(t), Syndrome::Flushed);
    EXPECT_TRUE(t.bench.events(t.a).empty());
    EXPECT_EQ(t.a.count(Counter::RcTimeouts), 5u);
}

// 52: a lost acknowledgement; 54: an idle connection has no timer.
TEST(RoceRetry, LostAcknowledgement) {
    ScriptBench t;
    t.post(t.a, send(t, 1));
    EXPECT_EQ(t.next().psn, psn(0));
    ASSERT_TRUE(t.run([&] { return !t.out.empty(); }, 70 * kMs));
    EXPECT_EQ(t.next().psn, psn(0));
    t.ack(psn(0));
    EXPECT_EQ(status(t), Syndrome::Success);
    t.ack(psn(0));
    EXPECT_FALSE(status(t));
    const uint64_t turns = t.nodes[0]->turns;
    EXPECT_TRUE(t.quiet(10'000 * kMs));
    EXPECT_EQ(t.nodes[0]->turns, turns);
    EXPECT_EQ(t.nodes[0]->deadline(), ERDMA_TIMER_OFF);
}

// 53; and code 0: no timer at all.
TEST(RoceRetry, SilentPeer) {
    ScriptBench t;
    const uint64_t begin = t.link.now;
    for (unsigned i = 0; i < 3; ++i)
        t.post(t.a, send(t, 1));
    ASSERT_TRUE(t.run([&] { return !t.alive(); }, 20'000 * kMs));
    EXPECT_GT(t.link.now - begin, 7000 * kMs);
    EXPECT_LT(t.link.now - begin, 10'000 * kMs);
    EXPECT_EQ(status(t), Syndrome::RetryExceeded);
    EXPECT_EQ(status(t), Syndrome::Flushed);
    EXPECT_EQ(status(t), Syndrome::Flushed);

    RoceOptions options;
    options.rc.timeoutCode = 0;
    ScriptBench u(options);
    u.post(u.a, send(u, 1));
    EXPECT_EQ(u.all(1'000'000 * kMs).size(), 1u);
    EXPECT_TRUE(u.alive());
}

// 55.
TEST(RoceRetry, RefusalsOfThePeer) {
    for (const auto& [syndrome, want] : {std::pair<uint8_t, Syndrome>{0x61, Syndrome::General},
                                         {0x62, Syndrome::RecvRights},
                                         {0x63, Syndrome::General},
                                         {0x64, Syndrome::General},
                                         {0x7F, Syndrome::General}}) {
        ScriptBench t;
        t.post(t.a, send(t, 1, 0));
        t.post(t.a, send(t, 2));
        t.post(t.a, write(t, 3000)); // 2, 3, 4
        t.post(t.a, send(t, 4, 0));
        ASSERT_EQ(t.all().size(), 6u);
        t.answer(RoceOp::Acknowledge, psn(3), syndrome);
        EXPECT_EQ(status(t), Syndrome::Success); // the second one
        const std::optional<Cqe> cqe = t.a.sent();
        ASSERT_TRUE(cqe);
        EXPECT_EQ(cqe->opcode, static_cast<uint8_t>(Op::Write));
        EXPECT_EQ(cqe->syndrome, static_cast<uint8_t>(want));
        EXPECT_EQ(status(t), Syndrome::Flushed); // 64: unsignalled, but flushed
        EXPECT_FALSE(status(t));
        EXPECT_FALSE(t.alive());
        EXPECT_TRUE(t.bench.events(t.a).empty());
        EXPECT_TRUE(t.quiet(100 * kMs));
    }
}

// 56.
TEST(RoceRetry, AtomicIsAskedAgainAsItWas) {
    ScriptBench t;
    t.post(t.a, atomicSqe(Op::CompareSwap, kSignal, 0x1111, 0x2222, 0x0D04, 0x7f0000004000, t.a.sge(0, 8)));
    const RocePacket first = t.next();
    ASSERT_TRUE(t.run([&] { return !t.out.empty(); }, 100 * kMs));
    const RocePacket second = t.next();
    for (const RocePacket& p : {first, second}) {
        EXPECT_EQ(p.op, RoceOp::CompareSwap);
        EXPECT_EQ(p.psn, psn(0));
        EXPECT_EQ(p.address, 0x7f0000004000u);
        EXPECT_EQ(p.rkey, 0x0D04u);
        EXPECT_EQ(p.operand, 0x1111u);
        EXPECT_EQ(p.compare, 0x2222u);
    }
    RocePacket answer;
    answer.op = RoceOp::AtomicAcknowledge;
    answer.psn = psn(0);
    answer.syndrome = aeth::kAck;
    answer.original = 0x0102030405060708;
    t.inject({answer, answer});
    EXPECT_EQ(status(t), Syndrome::Success);
    EXPECT_FALSE(status(t));
    EXPECT_EQ(t.a.memory().get64(t.a.bus), 0x0102030405060708u);
}

// A part of a long Read is lost, and the peer says that it is not ready.
TEST(RoceRetry, LongReadIsRetried) {
    ScriptBench t;
    const Octets body(1024, std::byte{9});
    t.post(t.a, read(t, 100 * 1024));
    ASSERT_EQ(t.all().size(), 1u);
    for (uint32_t i = 0; i < 64; ++i)
        if (i != 40)
            t.answer(RoceOp::ReadMiddle, psn(i), aeth::kAck, body);
    const auto got = t.all();
    ASSERT_EQ(got.size(), 2u); // the second part, and again what is missing of both
    EXPECT_EQ(got[0].packet.psn, psn(64));
    EXPECT_EQ(got[1].packet.psn, psn(40));
    EXPECT_EQ(got[1].packet.length, 60u * 1024);
    t.answer(RoceOp::Acknowledge, psn(40), aeth::kRnr | 1);
    t.answer(RoceOp::Acknowledge, psn(0), aeth::kRnr | 1); // during the wait
    const RocePacket again = t.next();
    EXPECT_EQ(again.psn, psn(40));
    for (uint32_t i = 40; i < 100; ++i)
        t.answer(RoceOp::ReadMiddle, psn(i), aeth::kAck, body);
    EXPECT_EQ(status(t), Syndrome::Success);
}

// A peer that was only slow: what it got the first time is acknowledged after all, before the rest is sent again.
TEST(RoceRetry, GoesOnWhenNothingIsLeftToRepeat) {
    for (const bool notReady : {true, false}) {
        ScriptBench t;
        for (unsigned i = 0; i < 40; ++i)
            t.post(t.a, send(t, 1));
        ASSERT_EQ(t.all().size(), 40u);
        if (notReady)
            t.answer(RoceOp::Acknowledge, psn(0), aeth::kRnr | 1);
        ASSERT_TRUE(t.run([&] { return !t.out.empty(); }, 100 * kMs));
        EXPECT_EQ(t.all().size(), notReady ? 1u : 32u);
        t.ack(psn(39));
        for (unsigned i = 0; i < 40; ++i)
            EXPECT_EQ(status(t), Syndrome::Success);
        t.post(t.a, send(t, 1));
        EXPECT_EQ(t.next().psn, psn(40));
        t.ack(psn(40));
        EXPECT_EQ(status(t), Syndrome::Success);
    }
}

// Chapter 9 items 16 and 27.
TEST(RoceRetry, StormsOfAnswers) {
    ScriptBench t;
    t.post(t.a, send(t, 20'000));
    ASSERT_EQ(t.all().size(), 20u);
    for (unsigned i = 0; i < 2000; ++i) {
        t.answer(RoceOp::Acknowledge, psn(0), aeth::kSequence);
        t.answer(RoceOp::Acknowledge, psn(0), aeth::kRnr | 31);
    }
    EXPECT_EQ(t.all().size(), 20u); // one retry, then one wait
    EXPECT_TRUE(t.quiet(400 * kMs));
    ASSERT_TRUE(t.run([&] { return t.out.size() == 1; }, 100 * kMs));
    for (uint32_t i = 20; i-- > 0;) {
        t.ack(psn(i));
        t.ack(psn(i));
    }
    EXPECT_EQ(status(t), Syndrome::Success);
    EXPECT_FALSE(status(t));
    EXPECT_TRUE(t.alive());
}

} // namespace

} // namespace erdma::test
