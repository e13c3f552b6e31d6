// SPDX-License-Identifier: GPL-2.0-or-later
// What becomes of posted work when a queue pair stops (adapter.md 9.5, 4.10; wire.md 5.7, 7).
#include "pair_bench.h"

namespace erdma::test {
namespace {

using flag::kSignal;
using Events = std::vector<std::pair<AsyncEvent, uint32_t>>;

constexpr auto kFlushed = static_cast<uint8_t>(Syndrome::Flushed);

void expectFlushed(const std::optional<Cqe>& cqe, Op op, QueueType queue, uint32_t index) {
    expectCqe(cqe, {op, queue, Syndrome::Flushed, index, 0});
}

TEST(Flush, SendQueueThenReceiveQueueInRingOrder) {
    Bench t({.sharedCq = true});
    for (int i = 0; i < 3; ++i)
        t.recv(t.a, 0, 8);
    // The peer has no receive buffer: everything stays behind the first Send.
    t.a.put(sendSqe(Op::Send, 0, {}));
    t.a.put(writeSqe(Op::Write, kSignal, {t.a.sge(0, 8)}, t.b.stag, t.b.iova));
    t.a.put(readSqe(0, t.a.sge(0, 8), t.b.stag, t.b.iova));
    t.a.put(regMrSqe(0, 1, 2, 3, 4, {5}));
    t.a.put(localInvSqe(kSignal, 1));
    t.ring(t.a);
    t.stop(t.a);
    const std::pair<Op, uint32_t> want[] = {
        {Op::Send, 0}, {Op::Write, 1}, {Op::Read, 3}, {Op::RegMr, 5}, {Op::LocalInv, 7}};
    for (const auto& [op, index] : want)
        expectFlushed(t.a.sent(), op, QueueType::Send, index);
    for (uint32_t i = 0; i < 3; ++i)
        expectFlushed(t.a.sent(), Op::RecvSend, QueueType::Receive, i);
    EXPECT_FALSE(t.a.sent());
    EXPECT_TRUE(t.events(t.a).empty()) << "it was asked for";
    EXPECT_EQ(t.a.count(Counter::Flushes), 8u);
}

TEST(Flush, NothingIsWrittenForQueuePairsWithoutWork) {
    Bench t;
    t.stop(t.a);
    EXPECT_FALSE(t.a.sent());
    EXPECT_FALSE(t.b.sent());
    EXPECT_FALSE(t.a.received());
    EXPECT_FALSE(t.b.received());
    EXPECT_TRUE(t.events(t.b).empty());
    EXPECT_EQ(t.b.state(), QpState::Error);
}

TEST(Flush, LaterDoorbellsFlushToo) {
    for (const QpState state : {QpState::Closing, QpState::Terminate, QpState::Error}) {
        Bench t;
        t.stop(t.a, state);
        const uint16_t send = t.post(t.a, sendSqe(Op::SendImm, 0, {}));
        const uint16_t recv = t.recv(t.a, 0, 8);
        expectFlushed(t.a.sent(), Op::SendImm, QueueType::Send, send);
        expectFlushed(t.a.received(), Op::RecvSend, QueueType::Receive, recv);
        t.ring(t.a);
        EXPECT_FALSE(t.a.sent());
        // And those of the partner, which stopped on its own.
        t.post(t.b, writeSqe(Op::Write, 0, {}, 0, 0));
        expectFlushed(t.b.sent(), Op::Write, QueueType::Send, 0);
    }
}

TEST(Flush, IndicesWrapWhileFlushing) {
    Bench t({.sqLog = 4});
    t.stop(t.a);
    for (uint32_t i = 0; i < 40000; ++i) {
        const uint16_t at = t.post(t.a, writeSqe(Op::Write, 0, {t.a.sge(0, 1), t.a.sge(0, 1)}, 1, 1));
        ASSERT_EQ(at, (i * 2) & 0xFFFF);
        const auto cqe = t.a.sent();
        ASSERT_TRUE(cqe);
        ASSERT_EQ(cqe->index & 0xFFFF, at);
        ASSERT_EQ(cqe->syndrome, kFlushed);
    }
}

TEST(Flush, DoorbellBeyondTheRingOfAStoppedQueuePairIsIgnored) {
    Bench t;
    t.stop(t.a);
    t.a.qp().sqDoorbell(65, nullptr);
    t.a.qp().rqDoorbell(17);
    EXPECT_FALSE(t.a.sent());
    EXPECT_FALSE(t.a.received());
    EXPECT_TRUE(t.events(t.a).empty());
}

TEST(Flush, Reflush) {
    Bench t;
    EXPECT_NE(t.a.guest->reflushQp(t.a.qpn, 0, 0).status, 0u) << "it is running";
    t.stop(t.a);
    EXPECT_EQ(t.a.guest->reflushQp(t.a.qpn, 0, 0).status, 0u);
    // The host posted and did not ring.
    t.a.put(sendSqe(Op::Send, 0, {}));
    t.a.put(readSqe(0, t.a.sge(0, 8), t.b.stag, t.b.iova));
    for (int round = 0; round < 2; ++round) {
        EXPECT_EQ(t.a.guest->reflushQp(t.a.qpn, 3, 2).status, 0u);
        if (round == 0) {
            expectFlushed(t.a.sent(), Op::Send, QueueType::Send, 0);
            expectFlushed(t.a.sent(), Op::Read, QueueType::Send, 1);
            expectFlushed(t.a.received(), Op::RecvSend, QueueType::Receive, 0);
            expectFlushed(t.a.received(), Op::RecvSend, QueueType::Receive, 1);
        }
        EXPECT_FALSE(t.a.sent());
        EXPECT_FALSE(t.a.received());
    }
    EXPECT_EQ(t.a.guest->reflushQp(t.a.qpn, 1, 1).status, 0u) << "indices that are flushed already";
    EXPECT_FALSE(t.a.sent());
    EXPECT_EQ(t.a.guest->reflushQp(99, 0, 0).status, static_cast<uint32_t>(Status::NotFound));
}

TEST(Flush, MalformedEntriesNeverLeadBeyondPi) {
    Bench t;
    t.stop(t.a);
    t.a.put(sendSqe(Op::Send, 0, {}));
    t.a.put(sendSqe(Op::Send, 0, {}));
    const uint64_t ring = t.a.guest->qp(t.a.qpn).sq.address;
    t.a.memory().put64(ring, ~uint64_t{0}); // eight WQEBBs, opcode 31
    t.ring(t.a);
    expectFlushed(t.a.sent(), Op::Send, QueueType::Send, 0);
    EXPECT_FALSE(t.a.sent());
    EXPECT_EQ(t.a.qp().snapshot().sqCi, 2);
}

TEST(Flush, UnreadableRing) {
    Bench t;
    t.recv(t.a, 0, 8);
    t.a.put(sendSqe(Op::Send, 0, {}));
    t.ring(t.a); // held by the peer
    t.a.put(sendSqe(Op::Send, 0, {}));
    t.ring(t.a);
    t.a.memory().block(t.a.guest->qp(t.a.qpn).sq.address);
    t.stop(t.a);
    expectFlushed(t.a.sent(), Op::Send, QueueType::Send, 0); // known already
    EXPECT_FALSE(t.a.sent());
    expectFlushed(t.a.received(), Op::RecvSend, QueueType::Receive, 0);
    EXPECT_EQ(t.events(t.a), (Events{{AsyncEvent::QpFatal, 0}}));
    t.ring(t.a);
    EXPECT_TRUE(t.events(t.a).empty()) << "said once";
}

TEST(Flush, HalfDoneMessage) {
    for (const bool graceful : {false, true}) {
        Bench t({.bufferBytes = 128u << 20});
        t.recv(t.b, 0, 128u << 20);
        t.recv(t.b, 0, 8);
        t.recv(t.a, 0, 8);
        t.a.put(sendSqe(Op::Send, 0, {t.a.sge(0, 128u << 20)}));
        t.a.guest->write64(0x5F000, uint64_t{t.a.qpn} << 32 | 1);
        t.stop(t.a, graceful ? QpState::Closing : QpState::Error); // too much even for a graceful end
        expectFlushed(t.a.sent(), Op::Send, QueueType::Send, 0);
        expectFlushed(t.a.received(), Op::RecvSend, QueueType::Receive, 0);
        expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::General, 0, 0});
        expectFlushed(t.b.received(), Op::RecvSend, QueueType::Receive, 1);
        EXPECT_TRUE(t.events(t.a).empty());
        EXPECT_TRUE(t.events(t.b).empty()) << "receives alone are no incomplete work";
    }
}

TEST(Flush, ReceiverStopsInTheMiddleOfAMessage) {
    Bench t({.bufferBytes = 16u << 20});
    t.recv(t.b, 0, 16u << 20);
    t.a.put(sendSqe(Op::Send, 0, {t.a.sge(0, 16u << 20)}));
    t.a.guest->write64(0x5F000, uint64_t{t.a.qpn} << 32 | 1);
    t.stop(t.b);
    expectFlushed(t.b.received(), Op::RecvSend, QueueType::Receive, 0);
    expectFlushed(t.a.sent(), Op::Send, QueueType::Send, 0);
    EXPECT_EQ(t.events(t.a), (Events{{AsyncEvent::QpFatal, 0}}));
    EXPECT_TRUE(t.events(t.b).empty());
}

TEST(Flush, PeerEventOnlyWithIncompleteSends) {
    for (const QpState state : {QpState::Closing, QpState::Error}) {
        Bench t;
        t.recv(t.a, 0, 8);
        t.recv(t.b, 0, 8);
        t.stop(t.a, state);
        EXPECT_TRUE(t.events(t.b).empty());
        EXPECT_TRUE(t.b.received());

        Bench u;
        u.post(u.b, sendSqe(Op::Send, 0, {})); // held
        u.stop(u.a, state);
        expectFlushed(u.b.sent(), Op::Send, QueueType::Send, 0);
        EXPECT_EQ(u.events(u.b), (Events{{AsyncEvent::QpFatal, 0}}));
    }
}

TEST(Flush, TerminateBlamesTheOldest) {
    Bench t;
    t.post(t.b, sendSqe(Op::Send, 0, {})); // held
    t.post(t.b, sendSqe(Op::Send, 0, {}));
    t.stop(t.a, QpState::Terminate);
    EXPECT_EQ(t.a.state(), QpState::Terminate);
    expectCqe(t.b.sent(), {Op::Send, QueueType::Send, Syndrome::General, 0, 0});
    expectFlushed(t.b.sent(), Op::Send, QueueType::Send, 1);
    EXPECT_EQ(t.events(t.b), (Events{{AsyncEvent::QpFatal, 0}}));
    EXPECT_TRUE(t.events(t.a).empty());
}

TEST(Flush, EndInTheMiddleOfReads) {
    Bench t({.twoDevices = true, .sqLog = 9});
    for (uint32_t i = 0; i < 200; ++i)
        t.a.put(readSqe(0, t.a.sge(0, 8), t.b.stag, t.b.iova));
    t.a.guest->ringSq(t.a.qpn);
    EXPECT_TRUE(t.a.guest->stopQp(t.a.qpn).ok());
    for (uint32_t i = 0; i < 200; ++i)
        expectFlushed(t.a.sent(), Op::Read, QueueType::Send, 2 * i);
    t.settle();
    EXPECT_FALSE(t.a.sent());
    EXPECT_EQ(t.b.state(), QpState::Error);
    EXPECT_EQ(t.b.qp().snapshot().queuedRequests, 0u);
}

TEST(Flush, CompletionQueueThatIsGone) {
    Bench t;
    t.recv(t.a, 0, 8);
    ASSERT_TRUE(t.a.guest->destroyCq(t.a.rcq).ok());
    t.stop(t.a);
    EXPECT_EQ(t.a.state(), QpState::Error);
}

TEST(Flush, UnwritableCompletionQueueStopsTheQueuePair) {
    Bench t;
    t.recv(t.b, 0, 8);
    t.a.memory().block(t.a.guest->cq(t.a.scq).address);
    t.post(t.a, sendSqe(Op::Send, kSignal, {}));
    EXPECT_EQ(t.a.state(), QpState::Error);
    EXPECT_EQ(t.b.state(), QpState::Error);
    expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Success, 0, 0});
}

TEST(Flush, AfterResetNothingIsTouched) {
    Bench t({.twoDevices = true});
    t.recv(t.a, 0, 8);
    t.recv(t.b, 0, 8);
    t.post(t.a, sendSqe(Op::Send, 0, {}));
    t.b.received();
    t.recv(t.b, 0, 8);
    const uint64_t writes = t.a.host->writeCount;
    t.a.guest->write32(0x10, 1); // RESET
    EXPECT_EQ(t.a.host->writeCount, writes);
    EXPECT_EQ(t.b.state(), QpState::Error);
    expectFlushed(t.b.received(), Op::RecvSend, QueueType::Receive, 1);
    EXPECT_EQ(t.fabric.connections(), 0u);
}

} // namespace
} // namespace erdma::test
