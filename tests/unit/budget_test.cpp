// SPDX-License-Identifier: GPL-2.0-or-later
// No entry works for long: what a guest or a peer can make long goes on in later turns (entry.h, Budget).
#include "nic_bench.h"

namespace erdma::test {
namespace {

using flag::kSignal;

BenchOptions deep(bool connect) {
    BenchOptions options;
    options.connect = connect;
    options.sqLog = options.rqLog = 15;
    options.cqLog = 16;
    return options;
}

// Both rings full, in a queue pair that is not connected.
void fill(const Side& side) {
    for (unsigned i = 0; i < 1u << 15; ++i) {
        SqeBytes sqe = localInvSqe(0, 0);
        side.guest->putSqe(side.qpn, sqe);
    }
    side.guest->write64(0x5F000, uint64_t{side.qpn} << 32 | 0x8000);
    side.guest->write64(kRqDoorbells, uint64_t{side.qpn} << 32 | 0x8000);
}

Request stopped(const Side& side, QpState state) {
    return Request().u32(8, static_cast<uint32_t>(state) << 24 | side.qpn);
}

TEST(Budget, AFlushTakesTurnsAndTheCommandCompletesBehindIt) {
    Bench t(deep(false));
    fill(t.a);
    t.a.guest->stage(0, 3, stopped(t.a, QpState::Error));
    t.a.guest->stage(0, 2, Request().u32(8, t.a.qpn));
    t.a.guest->ringCommands();
    uint32_t index = 0, turns = 0;
    const auto flushed = [&](uint32_t cqn) {
        const auto all = t.a.guest->drainCq(cqn);
        for (const Cqe& cqe : all) {
            EXPECT_EQ(cqe.index & 0xFFFF, index++ & 0x7FFF);
            EXPECT_EQ(cqe.syndrome, static_cast<uint8_t>(Syndrome::Flushed));
        }
        return all.size();
    };
    size_t sent = flushed(t.a.scq), received = 0;
    EXPECT_LT(sent, 10'000u);
    while (sent + received < 65'536) {
        EXPECT_FALSE(t.a.guest->pollCommand()) << "its work is not done";
        ASSERT_TRUE(std::exchange(t.a.host->scheduled, false));
        t.a.device->run();
        const size_t before = sent + received;
        sent += flushed(t.a.scq);
        received += flushed(t.a.rcq);
        EXPECT_LT(sent + received - before, 10'000u);
        ASSERT_LT(++turns, 100u);
    }
    EXPECT_EQ(sent, received);
    EXPECT_GT(turns, 5u);
    t.a.guest->settle();
    EXPECT_TRUE(t.a.guest->pollCommand()->ok());
    EXPECT_TRUE(t.a.guest->pollCommand()->ok()) << "DESTROY_QP";
    EXPECT_FALSE(t.a.alive());
}

TEST(Budget, ADoorbellOfAStoppedQueuePairTakesTurns) {
    Bench t(deep(false));
    t.stop(t.a);
    fill(t.a);
    EXPECT_LT(t.a.guest->drainCq(t.a.scq).size() + t.a.guest->drainCq(t.a.rcq).size(), 20'000u);
    t.settle();
    EXPECT_EQ(t.a.qp().snapshot().sqCi, 0x8000u);
    EXPECT_EQ(t.a.qp().snapshot().rqCi, 0x8000u);
}

TEST(Budget, ClosingDeliversInTurns) {
    for (const bool two : {false, true}) {
        BenchOptions options = deep(true);
        options.twoDevices = two;
        Bench t(options);
        for (unsigned i = 0; i < 48; ++i)
            t.a.put(writeSqe(Op::Write, 0, {t.a.sge(0, 1u << 20)}, t.b.stag, t.b.iova));
        t.a.guest->write64(0x5F000, uint64_t{t.a.qpn} << 32 | (t.a.guest->qp(t.a.qpn).sq.pi & 0xFFFF));
        const uint64_t before = t.a.count(Counter::TxBytes);
        t.a.guest->stage(0, 3, stopped(t.a, QpState::Closing));
        t.a.guest->ringCommands();
        EXPECT_LE(t.a.count(Counter::TxBytes) - before, 8u << 20);
        EXPECT_FALSE(t.a.guest->pollCommand());
        t.settle();
        EXPECT_EQ(t.a.count(Counter::TxBytes), 48u << 20);
        EXPECT_TRUE(t.a.guest->pollCommand()->ok());
        EXPECT_EQ(t.a.state(), QpState::Closing);
        EXPECT_FALSE(t.a.sent()) << "nothing was left to flush";
    }
}

// Whoever rings on does not keep a command waiting, and with it all commands of the adapter.
TEST(Budget, AStoppedQueuePairThatIsRungForEverHoldsNoCommand) {
    for (const bool receive : {false, true}) {
        Bench t(deep(false));
        fill(t.a);
        uint32_t sq = 0x8000, rq = 0x8000;
        const auto ringOn = [&] { // as much as the ring has room for
            const QueuePair::Snapshot s = t.a.qp().snapshot();
            sq = (s.sqCi + 0x8000u) & 0xFFFF;
            rq = (s.rqCi + 0x8000u) & 0xFFFF;
            t.a.guest->write64(0x5F000, uint64_t{t.a.qpn} << 32 | sq);
            if (receive)
                t.a.guest->write64(kRqDoorbells, uint64_t{t.a.qpn} << 32 | rq);
        };
        for (const bool again : {false, true}) {
            t.a.guest->stage(
                0, again ? 6 : 3,
                again ? Request().u32(8, t.a.qpn).u16(12, static_cast<uint16_t>(sq)).u16(16, static_cast<uint16_t>(rq))
                      : stopped(t.a, QpState::Error));
            t.a.guest->ringCommands();
            unsigned turns = 0;
            std::optional<Reply> answer;
            while (!(answer = t.a.guest->pollCommand())) {
                ringOn();
                t.a.guest->drainCq(t.a.scq);
                t.a.guest->drainCq(t.a.rcq);
                ASSERT_LT(++turns, 200u) << "the command waits for ever";
                ASSERT_TRUE(std::exchange(t.a.host->scheduled, false));
                t.a.device->run();
            }
            EXPECT_TRUE(answer->ok());
            EXPECT_GT(turns, again ? 0u : 5u);
        }
    }
}

TEST(Budget, AnEndOnItsOwnTellsBehindTheFlush) {
    Bench t(deep(true));
    for (unsigned i = 0; i < 1u << 15; ++i)
        t.a.put(localInvSqe(0, 0x700)); // there is no such region: the first one fails
    t.a.guest->write64(0x5F000, uint64_t{t.a.qpn} << 32 | 0x8000);
    EXPECT_TRUE(t.events(t.a).empty());
    t.settle();
    EXPECT_EQ(t.a.guest->drainCq(t.a.scq).size(), size_t{1} << 15);
    EXPECT_EQ(t.events(t.a).size(), 1u);
}

// What a reset leaves is taken apart in turns.  Until that is done RESET_DONE is not set, and an INIT waits; no memory of
// the guest is touched any more from the first moment on.
TEST(Budget, AResetTakesTurns) {
    for (const bool initAtOnce : {false, true}) {
        BenchOptions options;
        options.config.qblock = 16;
        Bench t(options);
        Guest& guest = *t.a.guest;
        for (uint32_t qpn = 1000; qpn < 16000; ++qpn)
            ASSERT_TRUE(guest.createQp(qpn, t.a.scq, t.a.rcq, 1, 1).ok());
        t.recv(t.a, 0, 8);
        t.settle();
        const uint64_t writes = t.a.host->writeCount;
        guest.write32(0x10, 1);
        EXPECT_FALSE(guest.initDone());
        EXPECT_FALSE(guest.resetDone());
        EXPECT_EQ(t.a.count(Counter::QpsNow), 0u);
        if (initAtOnce) {
            guest.bringUp();
            EXPECT_FALSE(guest.initDone());
        }
        guest.write64(kRqDoorbells, uint64_t{t.a.qpn} << 32 | 2);
        unsigned turns = 0;
        for (; initAtOnce ? !guest.initDone() : !guest.resetDone(); ++turns) {
            ASSERT_LT(turns, 50u);
            ASSERT_TRUE(std::exchange(t.a.host->scheduled, false));
            EXPECT_EQ(t.a.host->writeCount, writes);
            t.a.device->run();
        }
        EXPECT_GE(turns, 3u);
        EXPECT_EQ(guest.resetDone(), !initAtOnce);
        if (!initAtOnce)
            guest.bringUp();
        EXPECT_TRUE(guest.initDone());
        EXPECT_EQ(t.a.device->findQp(1000), nullptr);
        guest.createEq(1);
        EXPECT_TRUE(guest.createCq(t.a.scq).ok());
        EXPECT_TRUE(guest.createQp(1000, t.a.scq, t.a.scq, 1, 1).ok());
    }
}

TEST(Budget, ResetsAndInitsInARow) {
    BenchOptions options;
    options.config.qblock = 16;
    Bench t(options);
    Guest& guest = *t.a.guest;
    for (uint32_t qpn = 1000; qpn < 16000; ++qpn)
        ASSERT_TRUE(guest.createQp(qpn, t.a.scq, t.a.rcq, 1, 1).ok());
    guest.bringUp(); // over a running device
    EXPECT_FALSE(guest.initDone());
    guest.write32(0x10, 1); // and this INIT is forgotten
    t.settle();
    EXPECT_TRUE(guest.resetDone());
    EXPECT_FALSE(guest.initDone());
    guest.bringUp();
    EXPECT_TRUE(guest.initDone());
}

// The peer of a queue pair that waits to be taken apart is refused, and nothing reaches memory.
TEST(Budget, AQueuePairOfAnAdapterThatWasResetTakesNothing) {
    Bench t({.twoDevices = true});
    for (uint32_t qpn = 1000; qpn < 3000; ++qpn)
        ASSERT_TRUE(t.b.guest->createQp(qpn, t.b.scq, t.b.rcq, 1, 1).ok());
    t.b.guest->write32(0x10, 1);
    ASSERT_FALSE(t.b.guest->resetDone());
    const uint64_t writes = t.b.host->writeCount;
    t.a.put(writeSqe(Op::Write, kSignal, {t.a.sge(0, 64)}, t.b.stag, t.b.iova));
    t.a.guest->ringSq(t.a.qpn);
    EXPECT_EQ(t.b.host->writeCount, writes);
    t.settle();
    EXPECT_EQ(t.b.host->writeCount, writes);
    EXPECT_EQ(t.a.state(), QpState::Error);
    EXPECT_TRUE(t.b.guest->resetDone());
}

// Connections over the wire: each peer, and each kernel, hears of it.
TEST(Budget, AConnectionOfAnAdapterThatWasResetIsDeafAndEnds) {
    NicBench t;
    t.runFor(100 * kMs);
    t.b.device->adapter().budget.refill();
    t.b.device->adapter().budget.charge(Budget::kUnits); // of this entry nothing is left
    EXPECT_FALSE(t.nics[1]->reset());
    t.bench.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 64)}, t.b.stag, t.b.iova));
    const uint64_t writes = t.b.host->writeCount;
    t.runFor(50 * kMs);
    EXPECT_EQ(t.b.host->writeCount, writes);
    EXPECT_EQ(t.iwarps[1]->owned(), 1u);
    t.b.guest->write32(0x10, 1);
    EXPECT_TRUE(t.b.guest->resetDone());
    EXPECT_EQ(t.iwarps[1]->owned(), 0u);
    t.runFor(1000 * kMs);
    EXPECT_EQ(t.a.state(), QpState::Error);
    EXPECT_TRUE(t.kernelB.reset);
}

// One frame with thousands of messages: those that are too many are taken in later turns, in order.
TEST(Budget, AFrameOfManyMessages) {
    NicOptions options;
    options.bench = deep(true);
    options.bench.config.segment_bytes = 65000;
    NicBench t(options);
    for (unsigned i = 0; i < 1u << 15; ++i) {
        std::array<std::byte, 32> rqe{};
        storeLe16(rqe, 0, static_cast<uint16_t>(i + 1));
        storeLe32(rqe, 4, t.b.qpn);
        t.b.memory().write(t.b.guest->qp(t.b.qpn).rq.address + uint64_t{i} * 32, rqe);
    }
    t.b.guest->write64(kRqDoorbells, uint64_t{t.b.qpn} << 32 | 0x8000);
    size_t most = 0;
    uint64_t all = t.b.count(Counter::Completions);
    const auto deliver = t.link.receivers[1];
    t.link.receivers[1] = [&](ConstBytes frame) {
        deliver(frame);
        const uint64_t now = t.b.count(Counter::Completions);
        most = std::max<size_t>(most, now - std::exchange(all, now));
    };
    constexpr unsigned kMessages = 10'000;
    for (unsigned i = 1; i <= kMessages; ++i)
        t.a.put(sendSqe(Op::Send, i == kMessages ? kSignal : 0, {}));
    t.a.guest->write64(0x5F000, uint64_t{t.a.qpn} << 32 | kMessages);
    ASSERT_TRUE(t.sent(t.a));
    t.link.receivers[1] = deliver;
    t.settle();
    const auto cqes = t.b.guest->drainCq(t.b.rcq);
    ASSERT_EQ(cqes.size(), size_t{kMessages});
    for (unsigned i = 0; i < kMessages; ++i)
        ASSERT_EQ(cqes[i].index, i);
    EXPECT_LT(most, 2800u) << "a frame and its end: two entries";
}

} // namespace
} // namespace erdma::test
