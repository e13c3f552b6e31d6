// SPDX-License-Identifier: GPL-2.0-or-later
// States, pairing, doorbells (adapter.md chapter 9, wire.md 1.10).
#include "pair_bench.h"

namespace erdma::test {
namespace {

using flag::kSignal;
using Events = std::vector<std::pair<AsyncEvent, uint32_t>>;

BenchOptions apart() {
    BenchOptions options;
    options.connect = false;
    return options;
}

Status modify(const Side& side, QpState state) { return side.qp().modify({.qpn = side.qpn, .state = state}); }

uint32_t connectStatus(const Side& side, const Handover& link) { return side.guest->connectQp(side.qpn, link).status; }

constexpr auto kInvalid = static_cast<uint32_t>(Status::Invalid);

TEST(QueuePairTest, AllowedTransitions) {
    Bench t(apart());
    EXPECT_EQ(t.a.state(), QpState::Idle);
    EXPECT_EQ(modify(t.a, QpState::Idle), Status::Ok);
    EXPECT_EQ(modify(t.a, QpState::Rtr), Status::Ok);
    EXPECT_EQ(modify(t.a, QpState::Rtr), Status::Ok);
    EXPECT_EQ(modify(t.a, QpState::Idle), Status::Invalid);
    EXPECT_EQ(connectStatus(t.a, t.a.link), 0u); // from RTR
    EXPECT_EQ(t.a.state(), QpState::Rts);
    EXPECT_EQ(connectStatus(t.a, t.a.link), kInvalid);
    EXPECT_EQ(modify(t.a, QpState::Rtr), Status::Invalid);
    EXPECT_EQ(modify(t.a, static_cast<QpState>(6)), Status::Invalid);
    EXPECT_EQ(modify(t.a, QpState::Closing), Status::Ok);
    EXPECT_EQ(modify(t.a, QpState::Closing), Status::Ok);
    EXPECT_EQ(t.a.state(), QpState::Closing);
    EXPECT_EQ(connectStatus(t.a, t.a.link), kInvalid);
    EXPECT_EQ(modify(t.a, QpState::Error), Status::Ok);
    EXPECT_EQ(t.a.state(), QpState::Error);
    EXPECT_EQ(modify(t.a, QpState::Terminate), Status::Ok);
    EXPECT_EQ(modify(t.a, QpState::Closing), Status::Ok);
    EXPECT_EQ(t.a.state(), QpState::Error) << "there is no way back";
    EXPECT_EQ(modify(t.a, QpState::Idle), Status::Invalid);
    EXPECT_TRUE(t.events(t.a).empty());
}

TEST(QueuePairTest, StopFromIdle) {
    for (const QpState state : {QpState::Closing, QpState::Terminate, QpState::Error}) {
        Bench t(apart());
        t.recv(t.a, 0, 8);
        t.a.put(sendSqe(Op::Send, 0, {}));
        t.ring(t.a);
        EXPECT_FALSE(t.a.sent());
        t.stop(t.a, state);
        EXPECT_EQ(t.a.state(), state);
        expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Flushed, 0, 0});
        expectCqe(t.a.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Flushed, 0, 0});
        EXPECT_TRUE(t.events(t.a).empty());
    }
}

TEST(QueuePairTest, PairsInEitherOrderAndAcrossAdapters) {
    for (const bool two : {false, true}) {
        for (const bool activeFirst : {false, true}) {
            BenchOptions options = apart();
            options.twoDevices = two;
            Bench t(options);
            Side& first = activeFirst ? t.a : t.b;
            Side& second = activeFirst ? t.b : t.a;
            EXPECT_EQ(connectStatus(first, first.link), 0u);
            EXPECT_TRUE(first.qp().waiting());
            first.put(inlineWriteSqe(kSignal, std::vector<std::byte>(9, std::byte{7}), second.stag, second.iova));
            t.ring(first);
            EXPECT_FALSE(first.sent()) << "work queues until the peer is there";
            EXPECT_EQ(connectStatus(second, second.link), 0u);
            EXPECT_TRUE(first.qp().active());
            EXPECT_TRUE(second.qp().active());
            t.settle();
            EXPECT_EQ(first.sent()->syndrome, 0);
            EXPECT_EQ(second.data(0, 9), std::vector<std::byte>(9, std::byte{7}));
            t.advanceMs(60'000);
            EXPECT_EQ(first.state(), QpState::Rts) << "the waiting time is over";
            EXPECT_EQ(second.count(Counter::Pairings), 1u);
            EXPECT_EQ(t.fabric.connections(), 2u);
        }
    }
}

TEST(QueuePairTest, WorkPostedInIdleRunsInRts) {
    Bench t(apart());
    t.recv(t.b, 0, 64);
    t.a.put(sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    t.ring(t.a);
    t.connect();
    EXPECT_EQ(t.a.sent()->syndrome, 0);
    EXPECT_EQ(t.b.received()->syndrome, 0);
}

TEST(QueuePairTest, NoPeer) {
    Bench t(apart());
    t.recv(t.a, 0, 8);
    t.recv(t.a, 0, 8);
    EXPECT_EQ(connectStatus(t.a, t.a.link), 0u);
    t.post(t.a, sendSqe(Op::Send, 0, {}));
    t.advanceMs(14'999);
    EXPECT_EQ(t.a.state(), QpState::Rts);
    t.a.qp().onTimer(t.a.host->clock); // too early does no harm
    t.advanceMs(2);
    EXPECT_EQ(t.a.state(), QpState::Error);
    expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Flushed, 0, 0});
    EXPECT_EQ(t.a.received()->syndrome, static_cast<uint8_t>(Syndrome::Flushed));
    EXPECT_EQ(t.a.received()->syndrome, static_cast<uint8_t>(Syndrome::Flushed));
    EXPECT_EQ(t.events(t.a), (Events{{AsyncEvent::QpFatal, 0}}));
    EXPECT_EQ(t.a.count(Counter::PairTimeouts), 1u);
    EXPECT_EQ(t.fabric.connections(), 0u);
    // Too late for the other one: it waits on its own.
    EXPECT_EQ(connectStatus(t.b, t.b.link), 0u);
    EXPECT_TRUE(t.b.qp().waiting());
}

TEST(QueuePairTest, StopWhileWaiting) {
    for (const QpState state : {QpState::Closing, QpState::Terminate, QpState::Error}) {
        Bench t(apart());
        EXPECT_EQ(connectStatus(t.a, t.a.link), 0u);
        t.post(t.a, sendSqe(Op::Send, 0, {}));
        t.stop(t.a, state);
        expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Flushed, 0, 0});
        EXPECT_EQ(t.fabric.connections(), 0u);
        t.advanceMs(60'000);
        EXPECT_TRUE(t.events(t.a).empty());
    }
}

TEST(QueuePairTest, DestroyWhileWaiting) {
    Bench t(apart());
    EXPECT_EQ(connectStatus(t.a, t.a.link), 0u);
    ASSERT_TRUE(t.a.guest->destroyQp(t.a.qpn).ok());
    EXPECT_EQ(t.fabric.connections(), 0u);
    EXPECT_EQ(connectStatus(t.b, t.b.link), 0u);
    t.advanceMs(60'000);
    EXPECT_EQ(t.b.state(), QpState::Error);
}

TEST(QueuePairTest, SequenceNumbersMustFit) {
    for (int field = 0; field < 2; ++field) {
        Bench t(apart());
        EXPECT_EQ(connectStatus(t.b, t.b.link), 0u);
        Handover wrong = t.a.link;
        ++(field == 0 ? wrong.sendStart : wrong.recvStart);
        EXPECT_EQ(connectStatus(t.a, wrong), kInvalid);
        EXPECT_EQ(t.a.state(), QpState::Idle);
        EXPECT_TRUE(t.b.qp().waiting());
        EXPECT_EQ(connectStatus(t.a, t.a.link), 0u) << "and a correct one works after that";
        EXPECT_TRUE(t.b.qp().active());
    }
}

TEST(QueuePairTest, TupleBelongsToOne) {
    Bench t(apart());
    EXPECT_EQ(connectStatus(t.b, t.b.link), 0u);
    ASSERT_TRUE(t.a.guest->createQp(7, t.a.scq, t.a.rcq).ok());
    EXPECT_EQ(t.a.guest->connectQp(7, t.b.link).status, kInvalid) << "waiting";
    EXPECT_EQ(connectStatus(t.a, t.a.link), 0u);
    EXPECT_EQ(t.a.guest->connectQp(7, t.b.link).status, kInvalid) << "paired";
    EXPECT_EQ(t.a.guest->connectQp(7, t.a.link).status, kInvalid) << "paired";
    t.stop(t.a);
    EXPECT_EQ(t.a.guest->connectQp(7, t.a.link).status, 0u) << "free at once after the end";
}

TEST(QueuePairTest, TupleThatMirrorsItself) {
    Bench t(apart());
    Handover self = t.a.link;
    self.peerIp = self.ownIp;
    self.peerPort = self.ownPort;
    self.recvStart = self.sendStart;
    EXPECT_EQ(connectStatus(t.a, self), 0u);
    EXPECT_TRUE(t.a.qp().waiting());
    EXPECT_EQ(connectStatus(t.b, self), kInvalid);
    t.advanceMs(15'001);
    EXPECT_EQ(t.a.state(), QpState::Error);
}

// Whoever can store such an index need not be the owner of the ring: nothing ends.
TEST(QueuePairTest, SendDoorbellBeyondTheRing) {
    for (const bool connected : {false, true}) {
        BenchOptions options = apart();
        options.connect = connected;
        Bench t(options); // 64 WQEBBs
        const QpState before = t.a.state();
        const uint64_t rung = t.a.count(Counter::BadDoorbells);
        for (const uint32_t pi : {65u, 0x8000u, 0xFFFFu}) {
            t.a.guest->qp(t.a.qpn).sq.pi = pi;
            t.ring(t.a);
        }
        EXPECT_EQ(t.a.state(), before);
        EXPECT_EQ(t.a.count(Counter::BadDoorbells), rung + 3);
        EXPECT_TRUE(t.events(t.a).empty());
        EXPECT_FALSE(t.a.sent());
        EXPECT_FALSE(t.a.host->errors.empty());
        t.a.guest->qp(t.a.qpn).sq.pi = 0;
        t.recv(t.b, 0, 8);
        t.post(t.a, sendSqe(Op::Send, kSignal, {}));
        if (connected) {
            EXPECT_EQ(t.a.sent()->syndrome, 0);
        }
    }
}

TEST(QueuePairTest, SendDoorbellThatFillsTheRing) {
    Bench t;
    for (int i = 0; i < 64; ++i)
        t.a.put(inlineWriteSqe(kSignal, {}, 0, 0));
    t.ring(t.a);
    for (int i = 0; i < 64; ++i)
        EXPECT_EQ(t.a.sent()->syndrome, 0);
    EXPECT_EQ(t.a.state(), QpState::Rts);
}

TEST(QueuePairTest, ReceiveDoorbellBeyondTheRing) {
    Bench t; // 16 RQEs
    for (int i = 0; i < 16; ++i)
        t.recv(t.a, 0, 8);
    t.recv(t.a, 0, 8);
    EXPECT_EQ(t.a.state(), QpState::Rts);
    EXPECT_EQ(t.b.state(), QpState::Rts);
    EXPECT_EQ(t.a.count(Counter::BadDoorbells), 1u);
    EXPECT_TRUE(t.events(t.a).empty());
    EXPECT_EQ(t.a.qp().snapshot().rqPi, 16u);
}

TEST(QueuePairTest, DoorbellsMayRepeat) {
    Bench t;
    t.recv(t.b, 0, 8);
    t.b.qp().rqDoorbell(1);
    t.post(t.a, sendSqe(Op::Send, kSignal, {}));
    t.ring(t.a);
    t.ring(t.a);
    EXPECT_TRUE(t.a.sent());
    EXPECT_FALSE(t.a.sent());
    EXPECT_EQ(t.a.state(), QpState::Rts);
}

TEST(QueuePairTest, LateDoorbellDoesNotTakeWorkBack) {
    Bench t(apart());
    for (int i = 0; i < 3; ++i)
        t.a.put(inlineWriteSqe(kSignal, {}, 0, 0));
    t.ring(t.a);
    t.a.qp().sqDoorbell(1, nullptr);
    for (int i = 0; i < 3; ++i)
        t.recv(t.a, 0, 8);
    t.a.qp().rqDoorbell(1);
    const auto s = t.a.qp().snapshot();
    EXPECT_EQ(s.sqPi, 3);
    EXPECT_EQ(s.rqPi, 3);
}

TEST(QueuePairTest, Snapshot) {
    Bench t({.twoDevices = true});
    t.recv(t.b, 0, 64);
    t.recv(t.b, 0, 64);
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    t.a.put(readSqe(0, t.a.sge(0, 8), t.b.stag, t.b.iova));
    t.a.guest->ringSq(t.a.qpn);
    auto a = t.a.qp().snapshot();
    auto b = t.b.qp().snapshot();
    EXPECT_EQ(a.sqPi, 3);
    EXPECT_EQ(a.sqCi, 1);
    EXPECT_EQ(a.sendCqes, 1u);
    EXPECT_EQ(a.packetsOut, 2u);
    EXPECT_EQ(a.outstandingReads, 1u);
    EXPECT_EQ(b.packetsIn, 2u);
    EXPECT_EQ(b.rqPi, 2);
    EXPECT_EQ(b.rqCi, 1);
    EXPECT_EQ(b.recvCqes, 1u);
    EXPECT_EQ(b.queuedRequests, 1u);
    EXPECT_FALSE(a.flushing);
    t.settle();
    t.post(t.a, writeSqe(Op::Write, 0, {t.a.sge(0, 8)}, 1, 2));
    a = t.a.qp().snapshot();
    b = t.b.qp().snapshot();
    EXPECT_TRUE(a.flushing);
    EXPECT_EQ(a.packetsIn, 1u);
    EXPECT_EQ(b.dropsError, 1u);
    EXPECT_EQ(t.a.count(Counter::TxRequests), 3u);
    EXPECT_EQ(t.a.count(Counter::TxBytes), 64u);
    EXPECT_EQ(t.b.count(Counter::RxBytes), 64u);
    EXPECT_EQ(t.b.count(Counter::RxDrops), 1u);
    EXPECT_EQ(t.a.count(Counter::RxBytes), 8u);
}

TEST(QueuePairTest, StateChangesAreTraced) {
    Bench t(apart());
    const uint64_t before = t.a.host->traces[ERDMA_TRACE_QP_STATE];
    t.connect();
    t.stop(t.a);
    EXPECT_GE(t.a.host->traces[ERDMA_TRACE_QP_STATE] - before, 4u);
}

} // namespace
} // namespace erdma::test
