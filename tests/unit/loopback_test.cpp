// SPDX-License-Identifier: GPL-2.0-or-later
// Two queue pairs of one process: traffic both ways, graceful and other ends, destruction at any time
// (wire.md 1.10, 7.11).
#include <random>

#include "pair_bench.h"

namespace erdma::test {
namespace {

using flag::kSignal;
using Events = std::vector<std::pair<AsyncEvent, uint32_t>>;

TEST(Loopback, PingPong) {
    for (const bool two : {false, true}) {
        Bench t({.twoDevices = two});
        for (uint32_t i = 0; i < 1000; ++i) {
            t.recv(t.b, 0x1000, 256);
            t.recv(t.a, 0x1000, 256);
            const uint32_t size = i % 256;
            t.a.memory().fill(t.a.bus, 256, static_cast<uint8_t>(i));
            t.b.memory().fill(t.b.bus, 256, static_cast<uint8_t>(i + 1));
            t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, size)}));
            ASSERT_EQ(t.b.received()->bytes, size);
            t.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, size)}));
            ASSERT_EQ(t.a.received()->bytes, size);
            ASSERT_EQ(t.a.data(0x1000, size), t.b.data(0, size));
            ASSERT_EQ(t.b.data(0x1000, size), t.a.data(0, size));
            ASSERT_EQ(t.a.sent()->syndrome, 0);
            ASSERT_EQ(t.b.sent()->syndrome, 0);
        }
    }
}

TEST(Loopback, OneCompletionQueueForAll) {
    Bench t({.sharedCq = true});
    t.recv(t.b, 0, 64);
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    expectCqe(t.a.sent(), {Op::RecvSend, QueueType::Receive, Syndrome::Success, 0, 64});
    expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Success, 0, 64});
}

TEST(Loopback, ReceiveCompletionImpliesEarlierWrites) {
    Bench t;
    t.recv(t.b, 0, 64);
    t.a.memory().fill(t.a.bus, 70000, 1);
    t.a.put(writeSqe(Op::Write, 0, {t.a.sge(0, 70000)}, t.b.stag, t.b.iova + 4096));
    t.a.put(sendSqe(Op::Send, 0, {}));
    t.a.guest->ringSq(t.a.qpn);
    ASSERT_TRUE(t.b.received());
    EXPECT_EQ(t.b.data(4096, 70000), t.a.data(0, 70000));
}

TEST(Loopback, ClosingDeliversEverythingFirst) {
    for (const bool two : {false, true}) {
        Bench t({.twoDevices = two, .sqLog = 10, .rqLog = 8, .bufferBytes = 8u << 20});
        t.a.memory().fill(t.a.bus, 8u << 20, 9);
        for (int i = 0; i < 200; ++i)
            t.recv(t.b, 0, 4096);
        for (int i = 0; i < 5; ++i)
            t.a.put(writeSqe(Op::Write, kSignal, {t.a.sge(0, 8u << 20)}, t.b.stag, t.b.iova));
        t.a.put(readSqe(kSignal, t.a.sge(0, 4096), t.b.stag, t.b.iova + 4096));
        for (int i = 0; i < 200; ++i)
            t.a.put(sendSqe(Op::Send, kSignal | flag::kFence, {t.a.sge(0, 4096)}));
        t.a.guest->write64(0x5F000, uint64_t{t.a.qpn} << 32 | t.a.guest->qp(t.a.qpn).sq.pi);
        EXPECT_TRUE(t.a.guest->stopQp(t.a.qpn, QpState::Closing).ok());
        for (int i = 0; i < 206; ++i) {
            const auto cqe = t.a.sent();
            ASSERT_TRUE(cqe) << i;
            ASSERT_EQ(cqe->syndrome, 0) << i;
        }
        for (int i = 0; i < 200; ++i)
            ASSERT_EQ(t.b.received()->syndrome, 0);
        EXPECT_EQ(t.a.state(), QpState::Closing);
        EXPECT_EQ(t.b.state(), QpState::Error);
        EXPECT_TRUE(t.events(t.a).empty());
        EXPECT_TRUE(t.events(t.b).empty());
    }
}

TEST(Loopback, ClosingAnswersThePeerToo) {
    Bench t({.twoDevices = true});
    t.b.put(readSqe(kSignal, t.b.sge(0, 64), t.a.stag, t.a.iova));
    t.b.guest->ringSq(t.b.qpn);
    EXPECT_FALSE(t.b.sent());
    EXPECT_TRUE(t.a.guest->stopQp(t.a.qpn, QpState::Closing).ok());
    expectCqe(t.b.sent(), {Op::Read, QueueType::Send, Syndrome::Success, 0, 64});
    EXPECT_TRUE(t.events(t.b).empty());
}

TEST(Loopback, ClosingDoesNotWaitForReceiveBuffers) {
    Bench t;
    t.post(t.a, sendSqe(Op::Send, 0, {})); // held
    t.post(t.a, sendSqe(Op::Send, 0, {}));
    t.stop(t.a, QpState::Closing);
    for (uint32_t i = 0; i < 2; ++i)
        expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Flushed, i, 0});
    t.advanceMs(60'000);
    EXPECT_TRUE(t.events(t.a).empty());
    EXPECT_TRUE(t.events(t.b).empty());
    EXPECT_EQ(t.b.count(Counter::RnrTimeouts), 0u);
}

TEST(Loopback, ClosingMeetsAnError) {
    Bench t;
    t.a.put(writeSqe(Op::Write, 0, {t.a.sge(0, 8u)}, 1, 2));
    t.a.qp().sqDoorbell(2, nullptr); // not run yet
    EXPECT_EQ(t.a.qp().modify({.qpn = t.a.qpn, .state = QpState::Closing}), Status::Ok);
    EXPECT_EQ(t.a.state(), QpState::Error);
    expectCqe(t.a.sent(), {Op::Write, QueueType::Send, Syndrome::RecvStag, 0, 0});
}

TEST(Loopback, BothEndsClose) {
    Bench t;
    t.recv(t.a, 0, 8);
    t.recv(t.b, 0, 8);
    t.stop(t.a, QpState::Closing);
    t.stop(t.b, QpState::Closing);
    EXPECT_TRUE(t.events(t.a).empty());
    EXPECT_TRUE(t.events(t.b).empty());
}

TEST(Loopback, DestroyIsErrorWithoutCompletions) {
    for (const bool two : {false, true}) {
        Bench t({.twoDevices = two});
        t.recv(t.a, 0, 8);
        t.recv(t.b, 0, 8);
        t.post(t.b, readSqe(kSignal, t.b.sge(0, 8), t.a.stag, t.a.iova));
        t.post(t.b, sendSqe(Op::Send, 0, {}));
        t.post(t.b, sendSqe(Op::Send, 0, {})); // held
        EXPECT_TRUE(t.a.guest->destroyQp(t.a.qpn).ok());
        t.settle();
        EXPECT_TRUE(t.a.received());
        EXPECT_FALSE(t.a.received()) << "no flush for a queue pair that is gone";
        EXPECT_EQ(t.b.sent()->syndrome, 0);
        expectCqe(t.b.sent(), {Op::Send, QueueType::Send, Syndrome::Flushed, 3, 0});
        expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Flushed, 0, 0});
        EXPECT_EQ(t.events(t.b), (Events{{AsyncEvent::QpFatal, 0}}));
        EXPECT_TRUE(t.b.guest->destroyQp(t.b.qpn).ok());
        EXPECT_EQ(t.fabric.connections(), 0u);
    }
}

TEST(Loopback, DestroyInTheMiddle) {
    for (int victim = 0; victim < 2; ++victim) {
        for (int shape = 0; shape < 4; ++shape) {
            Bench t({.twoDevices = (shape & 1) != 0, .bufferBytes = 32u << 20});
            t.recv(t.b, 0, 32u << 20);
            t.a.put(shape < 2 ? sendSqe(Op::Send, 0, {t.a.sge(0, 32u << 20)})
                              : readSqe(0, t.a.sge(0, 32u << 20), t.b.stag, t.b.iova));
            t.a.guest->write64(0x5F000, uint64_t{t.a.qpn} << 32 | t.a.guest->qp(t.a.qpn).sq.pi);
            const Side& gone = victim == 0 ? t.a : t.b;
            const Side& left = victim == 0 ? t.b : t.a;
            EXPECT_TRUE(gone.guest->destroyQp(gone.qpn).ok());
            const uint64_t reads = gone.host->reads;
            const uint64_t writes = gone.host->writeCount;
            t.settle();
            if ((shape & 1) != 0) {
                EXPECT_EQ(gone.host->reads, reads) << "no access to memory of a queue pair that is gone";
                EXPECT_EQ(gone.host->writeCount, writes);
            }
            EXPECT_EQ(left.state(), QpState::Error);
            if (victim == 1) {
                EXPECT_EQ(t.a.sent()->syndrome, static_cast<uint8_t>(Syndrome::Flushed));
            }
        }
    }
}

TEST(Loopback, AdapterGoesAway) {
    Bench t({.twoDevices = true, .bufferBytes = 32u << 20});
    t.recv(t.b, 0, 8);
    t.a.put(readSqe(0, t.a.sge(0, 32u << 20), t.b.stag, t.b.iova));
    t.a.guest->ringSq(t.a.qpn);
    t.b.guest->settle();
    t.dropMachine(0);
    t.settle();
    EXPECT_EQ(t.b.state(), QpState::Error);
    expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Flushed, 0, 0});
    EXPECT_EQ(t.fabric.connections(), 0u);
}

// Many queue pairs, random work, random ends; the order of effects is checked by the sanitizers and by counting.
TEST(Loopback, ManyPairsComeAndGo) {
    std::mt19937 random(99);
    LoopbackFabric fabric;
    Machine first(128, testConfig(), &fabric);
    Machine second(128, testConfig(), &fabric);
    Machine* machines[] = {&first, &second};
    for (Machine* m : machines) {
        m->guest.bringUp();
        ASSERT_TRUE(m->guest.createEq(1).ok());
        ASSERT_TRUE(m->guest.createCq(1, 16).ok());
        ASSERT_TRUE(m->guest.registerDma(5, access::kMask).ok());
    }
    constexpr uint32_t kStag = 5 << 8;
    constexpr uint64_t kBuffer = 0x8000000;
    uint32_t next = 1;
    struct End {
        Machine* machine;
        uint32_t qpn;
    };
    std::vector<std::pair<End, End>> pairs;
    const auto settle = [&] {
        while (first.host.scheduled || second.host.scheduled) {
            first.guest.settle();
            second.guest.settle();
        }
    };
    const auto pick = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
    for (int round = 0; round < 3000; ++round) {
        if (pairs.size() < 20) {
            const End a{machines[pick(2)], next++};
            const End b{machines[pick(2)], next++};
            for (const End& e : {a, b})
                ASSERT_TRUE(e.machine->guest.createQp(e.qpn, 1, 1, 6, 4).ok());
            Handover link{.ownIp = 1, .peerIp = 2, .ownPort = static_cast<uint16_t>(a.qpn), .peerPort = 7};
            ASSERT_TRUE(a.machine->guest.connectQp(a.qpn, link).ok());
            if (pick(10) != 0) {
                Handover mirror{.ownIp = 2, .peerIp = 1, .ownPort = 7, .peerPort = static_cast<uint16_t>(a.qpn)};
                ASSERT_TRUE(b.machine->guest.connectQp(b.qpn, mirror).ok());
            }
            pairs.emplace_back(a, b);
        }
        const size_t which = pick(static_cast<uint32_t>(pairs.size()));
        const End& e = pick(2) ? pairs[which].first : pairs[which].second;
        const Sge local{kBuffer + pick(4096), pick(3) == 0 ? pick(200000) : pick(100), kStag};
        const uint64_t remote = kBuffer + (1u << 20) + pick(4096) * 8;
        const uint32_t stag = pick(200) == 0 ? kStag | 1 : kStag;
        const uint64_t flags = (pick(2) ? kSignal : 0) | (pick(4) == 0 ? flag::kFence : 0);
        const auto put = [&](SqeBytes sqe) {
            e.machine->guest.putSqe(e.qpn, sqe);
            e.machine->guest.write64(0x5F000, uint64_t{e.qpn} << 32 | (e.machine->guest.qp(e.qpn).sq.pi & 0xFFFF));
        };
        switch (pick(14)) {
        case 0:
        case 1:
            put(sendSqe(Op::Send, flags, {local, local}));
            break;
        case 2:
            put(writeSqe(Op::WriteImm, flags, {local}, stag, remote));
            break;
        case 3:
        case 4:
            put(writeSqe(Op::Write, flags, {local}, stag, remote));
            break;
        case 5:
        case 6:
            put(readSqe(flags, local, stag, remote));
            break;
        case 7:
            put(atomicSqe(Op::FetchAdd, flags, 1, 0, stag, remote, {kBuffer, 8, kStag}));
            break;
        case 8:
        case 9:
        case 10:
            e.machine->guest.postRecv(e.qpn, kBuffer + (2u << 20), 500000, kStag);
            break;
        case 11:
            if (pick(4) == 0)
                e.machine->guest.stopQp(e.qpn, static_cast<QpState>(3 + pick(3)));
            break;
        case 12:
            settle();
            break;
        default:
            if (pick(4) == 0) {
                for (const End& dead : {pairs[which].first, pairs[which].second})
                    ASSERT_TRUE(dead.machine->guest.destroyQp(dead.qpn).ok());
                pairs.erase(pairs.begin() + static_cast<std::ptrdiff_t>(which));
            }
            break;
        }
        if (pick(100) == 0) {
            for (Machine* m : machines)
                m->guest.advance(uint64_t{pick(20'000)} * 1'000'000);
        }
        for (Machine* m : machines)
            m->guest.drainAeq();
    }
    settle();
    for (const auto& [a, b] : pairs) {
        for (const End& e : {a, b})
            ASSERT_TRUE(e.machine->guest.destroyQp(e.qpn).ok());
    }
    EXPECT_EQ(fabric.connections(), 0u);
    EXPECT_EQ(first.count(Counter::QpsNow), 0u);
}

} // namespace
} // namespace erdma::test
