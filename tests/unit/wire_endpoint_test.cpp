// SPDX-License-Identifier: GPL-2.0-or-later
// Two adapters on a simulated link: every operation, completion points, gates, teardown, hostile peers
// (wire.md 1.7, 1.9, chapters 4, 5 and 7).

#include "wire_bench.h"

namespace erdma::test {

namespace {

using flag::kSignal;
using flag::kSolicited;

TEST(WireEndpoint, EveryOperation) {
    for (const bool crc : {true, false}) {
        WireOptions options;
        options.format.crc = crc;
        WireBench t(options);
        t.a.memory().fill(t.a.bus, 300000, 3);
        t.b.memory().fill(t.b.bus + 500000, 300000, 77);
        for (int i = 0; i < 6; ++i)
            t.bench.recv(t.b, 0, 100000);

        t.bench.post(t.a, sendSqe(Op::Send, kSignal | kSolicited, {t.a.sge(0, 5000)}));
        expectCqe(t.received(t.b), {Op::RecvSend, QueueType::Receive, Syndrome::Success, 0, 5000}, "send");
        EXPECT_EQ(t.b.data(0, 5000), t.a.data(0, 5000));
        expectCqe(t.sent(t.a), {Op::Send, QueueType::Send, Syndrome::Success, 0, 5000}, "send");

        t.bench.post(t.a, sendSqe(Op::SendImm, kSignal, {t.a.sge(100, 10)}, 0xA1B2C3D4));
        const auto imm = t.received(t.b);
        expectCqe(imm, {Op::RecvSendImm, QueueType::Receive, Syndrome::Success, 1, 10}, "send imm");
        EXPECT_EQ(imm->immediate, 0xA1B2C3D4);
        EXPECT_EQ(t.sent(t.a)->syndrome, 0);

        t.bench.post(t.a,
                     writeSqe(Op::WriteImm, kSignal, {t.a.sge(0, 200000)}, t.b.stag, t.b.iova + 300000, 0x55667788));
        const auto write = t.received(t.b);
        expectCqe(write, {Op::RecvWriteImm, QueueType::Receive, Syndrome::Success, 2, 200000}, "write imm");
        EXPECT_EQ(write->immediate, 0x55667788u);
        EXPECT_EQ(t.b.data(300000, 200000), t.a.data(0, 200000));
        EXPECT_EQ(t.sent(t.a)->syndrome, 0);

        const uint16_t read = t.bench.post(t.a, readSqe(kSignal, t.a.sge(400000, 250000), t.b.stag, t.b.iova + 500000));
        expectCqe(t.sent(t.a), {Op::Read, QueueType::Send, Syndrome::Success, read, 250000}, "read");
        EXPECT_EQ(t.a.data(400000, 250000), t.b.data(500000, 250000));

        t.b.memory().put64(t.b.bus + 1000008 - 0, 40);
        const uint16_t add =
            t.bench.post(t.a, atomicSqe(Op::FetchAdd, kSignal, 2, 0, t.b.stag, t.b.iova + 1000008, t.a.sge(8, 8)));
        expectCqe(t.sent(t.a), {Op::FetchAdd, QueueType::Send, Syndrome::Success, add, 8}, "add");
        EXPECT_EQ(t.a.memory().get64(t.a.bus + 8), 40u);
        EXPECT_EQ(t.b.memory().get64(t.b.bus + 1000008), 42u);
        const uint16_t swap =
            t.bench.post(t.a, atomicSqe(Op::CompareSwap, kSignal, 7, 42, t.b.stag, t.b.iova + 1000008, t.a.sge(8, 8)));
        expectCqe(t.sent(t.a), {Op::CompareSwap, QueueType::Send, Syndrome::Success, swap, 8}, "swap");
        EXPECT_EQ(t.b.memory().get64(t.b.bus + 1000008), 7u);

        // Nothing at all, three ways; and the other direction.
        t.bench.post(t.a, writeSqe(Op::Write, kSignal, {}, 12345, 0));
        EXPECT_EQ(t.sent(t.a)->syndrome, 0);
        t.bench.post(t.a, readSqe(kSignal, {0, 0, 777}, 12345, 0));
        EXPECT_EQ(t.sent(t.a)->syndrome, 0);
        t.bench.post(t.a, sendSqe(Op::Send, kSignal, {}));
        EXPECT_EQ(t.received(t.b)->bytes, 0u);
        EXPECT_EQ(t.sent(t.a)->syndrome, 0);
        t.bench.recv(t.a, 0, 100);
        t.bench.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(500000, 100)}));
        EXPECT_EQ(t.received(t.a)->bytes, 100u);
        EXPECT_EQ(t.a.data(0, 100), t.b.data(500000, 100));
        EXPECT_EQ(t.sent(t.b)->syndrome, 0);

        EXPECT_EQ(t.a.state(), QpState::Rts);
        EXPECT_TRUE(t.events(t.a).empty() && t.events(t.b).empty());
    }
}

TEST(WireEndpoint, SendWithInvalidate) {
    WireBench t;
    ASSERT_TRUE(t.b.guest->registerFast(50, t.b.memory().allocate(64), 1).ok());
    t.b.put(regMrSqe(kSignal, 50 << 8 | 1, 0x5000, 4096, 0x3E, {t.b.memory().allocate(4096)}));
    t.bench.ring(t.b);
    ASSERT_EQ(t.sent(t.b)->syndrome, 0);
    t.bench.recv(t.b, 0, 64);
    t.bench.post(t.a, sendSqe(Op::SendInv, kSignal, {t.a.sge(0, 64)}, 50 << 8 | 1));
    const auto cqe = t.received(t.b);
    expectCqe(cqe, {Op::RecvSendInv, QueueType::Receive, Syndrome::Success, 0, 64});
    EXPECT_EQ(cqe->invalidated, 50u << 8 | 1);
}

// 9.4 number 58: acknowledged by the peer's TCP, not merely sent.
TEST(WireEndpoint, SendCompletesWhenAcknowledged) {
    WireBench t;
    t.bench.recv(t.b, 0, 64);
    t.runFor(500 * kMs);
    t.link.paths[1].cut = true;
    t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    t.runFor(5000 * kMs);
    EXPECT_TRUE(t.b.received());
    EXPECT_FALSE(t.a.sent());
    t.link.paths[1].cut = false;
    EXPECT_EQ(t.sent(t.a)->syndrome, 0);
}

// 1.9: an initiator with nothing to say says that.
TEST(WireEndpoint, RtrFrameOpensThePassiveGate) {
    WireBench t;
    t.bench.recv(t.a, 0, 64);
    t.bench.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, 64)}));
    EXPECT_FALSE(t.endB.endpoint->gateOpen());
    EXPECT_EQ(t.endB.endpoint->tcp().appended(), 0u);
    EXPECT_EQ(t.received(t.a)->bytes, 64u);
    EXPECT_TRUE(t.endB.endpoint->gateOpen());
    EXPECT_EQ(t.sent(t.b)->syndrome, 0);
    EXPECT_EQ(t.endA.endpoint->tcp().appended(), 20u); // the RTR frame is all that A sent
    EXPECT_FALSE(t.a.sent());
}

// Revision 2 may choose a Read Request for it: no queue pair hears of it or of its answer, and later requests count on.
TEST(WireEndpoint, RtrIsTheReadThatTheReplyChose) {
    WireOptions options;
    options.format = {.dialect = FpduFormat::Dialect::Standard, .crc = false};
    options.rtr = Rtr::Read;
    WireBench t(options);
    t.bench.recv(t.a, 0, 64);
    t.bench.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, 64)}));
    EXPECT_EQ(t.received(t.a)->bytes, 64u);
    EXPECT_EQ(t.sent(t.b)->syndrome, 0);
    EXPECT_EQ(t.endA.endpoint->tcp().appended(), 52u); // the Read Request alone
    EXPECT_FALSE(t.a.sent());

    for (unsigned i = 0; i < 3; ++i) {
        const uint16_t read = t.bench.post(t.a, readSqe(kSignal, t.a.sge(100000, 5000), t.b.stag, t.b.iova + i * 5000));
        expectCqe(t.sent(t.a), {Op::Read, QueueType::Send, Syndrome::Success, read, 5000}, "read");
        EXPECT_EQ(t.a.data(100000, 5000), t.b.data(i * 5000, 5000));
    }
    // Whose request is refused is known nevertheless.
    const uint16_t bad = t.bench.post(t.a, readSqe(kSignal, t.a.sge(0, 64), 0xBAD00, t.b.iova));
    const auto refused = t.sent(t.a);
    EXPECT_EQ(refused->index, bad);
    EXPECT_EQ(refused->syndrome, static_cast<uint8_t>(Syndrome::RecvStag));
}

// A standard responder that has not said anything may not have looked at what came at once (8.3, found with SoftiWARP).
TEST(WireEndpoint, NudgesUntilSomethingIsSaidLater) {
    for (const bool later : {false, true}) {
        WireOptions options;
        options.format = {.dialect = FpduFormat::Dialect::Standard, .crc = false};
        WireBench t(options);
        t.bench.recv(t.b, 0, 100);
        t.bench.recv(t.b, 0, 100);
        t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
        t.runFor(45 * kMs);
        const uint64_t atOnce = t.endA.endpoint->counters().fpdusOut;
        EXPECT_GE(atOnce, 1u);
        t.runFor(10 * kMs);
        EXPECT_EQ(t.endA.endpoint->counters().fpdusOut, atOnce + 1);
        if (later)
            t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
        t.runFor(2000 * kMs);
        EXPECT_EQ(t.endA.endpoint->counters().fpdusOut, atOnce + (later ? 2 : 3));
        EXPECT_EQ(t.a.state(), QpState::Rts);
    }
}

TEST(WireEndpoint, PassiveEndSendsTheReplyOfItsKernelFirst) {
    for (unsigned lost = 0; lost < 3; ++lost) {
        WireOptions options;
        options.replyOctets = 28;
        WireBench t(options);
        bool dropped = false;
        t.link.paths[1].drop = [&](const Frame& f, unsigned) {
            return lost != 0 && !f.tcp.payload.empty() && !std::exchange(dropped, true);
        };
        if (lost == 2)
            t.link.paths[0].drop = [n = 0](const Frame& f, unsigned) mutable {
                return !f.tcp.payload.empty() && n++ == 0;
            };
        t.bench.recv(t.a, 0, 64);
        t.bench.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, 64)}));
        const Octets reply(28, std::byte{0x4D});
        // A's TCP begins behind the reply, so that the test plays the kernel of A as well.
        t.endB.endpoint->kernelOctets(0x20000000 + 28, reply); // beyond: dropped
        EXPECT_EQ(t.endB.endpoint->counters().kernelMisplaced, 1u);
        t.endB.endpoint->kernelOctets(0x20000000, ConstBytes(reply).first(20));
        EXPECT_EQ(t.endB.endpoint->tcp().appended(), 20u);
        t.endB.endpoint->kernelOctets(0x20000000 + 10, ConstBytes(reply).subspan(10)); // repeated in part
        EXPECT_EQ(t.endB.endpoint->tcp().appended(), 28u);
        t.endB.endpoint->kernelOctets(0x20000000, reply); // again
        EXPECT_EQ(t.endB.endpoint->tcp().appended(), 28u);
        EXPECT_EQ(t.received(t.a)->bytes, 64u) << lost;
        EXPECT_EQ(t.sent(t.b)->syndrome, 0);
    }
}

// Either side may ask for CRCs; the passive end learns from its own kernel's reply that it did.
TEST(WireEndpoint, ReplyOfTheKernelMayTurnCrcsOn) {
    for (const bool asked : {false, true}) {
        WireOptions options;
        options.replyOctets = 28;
        options.format.crc = asked; // A saw the reply
        options.passiveCrc = false;
        WireBench t(options);
        bool crc = false;
        t.link.paths[1].drop = [&](const Frame& f, unsigned) {
            if (f.tcp.payload.size() > 28)
                crc = loadBe32(f.tcp.payload, f.tcp.payload.size() - 4) != 0;
            return false;
        };
        Octets reply;
        for (const char c : std::string("MPA ID Rep Frame"))
            reply.push_back(static_cast<std::byte>(c));
        reply.push_back(asked ? std::byte{0x40} : std::byte{0});
        reply.push_back(std::byte{129});
        reply.resize(28);
        t.endB.endpoint->kernelOctets(0x20000000, reply);
        t.bench.recv(t.a, 0, 64);
        t.bench.recv(t.b, 0, 64);
        t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
        EXPECT_EQ(t.received(t.b)->bytes, 64u);
        t.bench.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, 64)}));
        EXPECT_EQ(t.received(t.a)->bytes, 64u);
        EXPECT_EQ(crc, asked);
    }
}

TEST(WireEndpoint, ReplyThatNeverComesEndsTheConnection) {
    WireOptions options;
    options.replyOctets = 28;
    WireBench t(options);
    t.run([&] { return t.b.state() == QpState::Error; }, 11'000 * kMs);
    EXPECT_EQ(t.b.state(), QpState::Error);
    EXPECT_EQ(t.events(t.b).size(), 1u);
}

TEST(WireEndpoint, GuardOpensTheGateForInitiatorsThatStaySilent) {
    WireOptions options;
    options.replyOctets = 28;
    WireBench t(options);
    t.bench.recv(t.a, 0, 64);
    t.link.paths[0].drop = [](const Frame& f, unsigned) { return !f.tcp.payload.empty(); }; // no FPDU arrives
    t.bench.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, 64)}));
    t.endB.endpoint->kernelOctets(0x20000000, Octets(28));
    const uint64_t start = t.link.now;
    EXPECT_EQ(t.received(t.a)->bytes, 64u);
    EXPECT_GE(t.link.now - start, 1000 * kMs);
    EXPECT_LE(t.link.now - start, 1100 * kMs);
}

// 5.5: the window closes, nothing is lost, and everything continues with the receive buffer.
TEST(WireEndpoint, MissingReceiveBufferClosesTheWindow) {
    WireOptions options;
    options.link.settings.receiveBuffer = 100000;
    options.bench.sqLog = 8;
    options.bench.rqLog = 8;
    options.bench.bufferBytes = 2u << 20;
    WireBench t(options);
    t.a.memory().fill(t.a.bus, 1u << 20, 1);
    for (int i = 0; i < 40; ++i)
        t.a.put(sendSqe(Op::Send, kSignal, {t.a.sge(static_cast<uint64_t>(i) * 16384, 16384)}));
    t.bench.ring(t.a);
    t.runFor(20'000 * kMs);
    EXPECT_LT(t.endA.endpoint->tcp().peerWindow(), 1448u);
    EXPECT_EQ(t.a.state(), QpState::Rts);
    for (int i = 0; i < 40; ++i)
        t.bench.recv(t.b, static_cast<uint64_t>(i) * 16384, 16384);
    for (int i = 0; i < 40; ++i)
        ASSERT_EQ(t.received(t.b)->bytes, 16384u);
    for (int i = 0; i < 40; ++i)
        ASSERT_EQ(t.sent(t.a)->syndrome, 0);
    EXPECT_EQ(t.b.data(0, 40 * 16384), t.a.data(0, 40 * 16384));
}

TEST(WireEndpoint, NoReceiveBufferInTimeIsTerminated) {
    WireBench t;
    t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    t.run([&] { return t.a.state() == QpState::Error; }, 40'000 * kMs);
    EXPECT_EQ(t.events(t.a), (Events{{AsyncEvent::QpFatal, 0x1202}}));
    EXPECT_EQ(t.events(t.b), (Events{{AsyncEvent::RecvQueue, 0x1202}}));
    ASSERT_TRUE(t.run([&] { return t.over(); }, 20'000 * kMs));
}

// 5.6 and 5.7: what the target refuses, and how it looks on both ends.
TEST(WireEndpoint, RefusedRequests) {
    struct Row {
        const char* name;
        std::function<SqeBytes(WireBench&)> sqe;
        Syndrome culprit;
        uint32_t detail;
    };
    const std::vector<Row> rows{
        {"write, unknown STag",
         [](WireBench& t) { return writeSqe(Op::Write, kSignal, {t.a.sge(0, 64)}, 0xBAD00, t.b.iova); },
         Syndrome::RecvStag, 0x1100},
        {"write, one octet behind",
         [](WireBench& t) {
             return writeSqe(Op::Write, kSignal, {t.a.sge(0, 64)}, t.b.stag, t.b.iova + (1u << 20) - 63);
         },
         Syndrome::RecvBounds, 0x1101},
        {"write, wrapping",
         [](WireBench& t) { return writeSqe(Op::Write, kSignal, {t.a.sge(0, 64)}, t.b.stag, ~uint64_t{0} - 10); },
         Syndrome::RecvWrap, 0x1103},
        {"write by the local key",
         [](WireBench& t) { return writeSqe(Op::Write, kSignal, {t.a.sge(0, 64)}, kLocalDmaKey, t.b.bus); },
         Syndrome::RecvRights, 0x0102},
        {"read, unknown STag", [](WireBench& t) { return readSqe(kSignal, t.a.sge(0, 64), 0xBAD00, t.b.iova); },
         Syndrome::RecvStag, 0x0100},
        {"read, out of bounds", [](WireBench& t) { return readSqe(kSignal, t.a.sge(0, 64), t.b.stag, t.b.iova - 1); },
         Syndrome::RecvBounds, 0x0101},
        {"send too long", [](WireBench& t) { return sendSqe(Op::Send, kSignal, {t.a.sge(0, 6000)}); },
         Syndrome::General, 0x1205},
    };
    for (const Row& row : rows) {
        WireBench t;
        t.bench.recv(t.b, 0, 3000);
        const auto before = t.b.data(3000, 5000);
        t.bench.post(t.a, row.sqe(t));
        ASSERT_TRUE(t.run([&] { return t.a.state() == QpState::Error && t.b.state() == QpState::Error; }, 5000 * kMs))
            << row.name;
        const Events atA = t.events(t.a), atB = t.events(t.b);
        ASSERT_EQ(atA.size(), 1u) << row.name;
        ASSERT_EQ(atB.size(), 1u) << row.name;
        EXPECT_EQ(atA[0].second, row.detail) << row.name;
        EXPECT_EQ(atB[0].second, row.detail) << row.name;
        const auto cqe = t.a.sent();
        // A request whose octets were acknowledged before it was refused has completed (5.7).
        ASSERT_TRUE(cqe) << row.name;
        if (cqe->syndrome != 0) {
            EXPECT_EQ(cqe->syndrome, static_cast<uint8_t>(row.culprit)) << row.name;
        }
        EXPECT_EQ(t.b.data(3000, 5000), before) << row.name;
        EXPECT_EQ(t.endB.endpoint->counters().terminatesOut, 1u);
        EXPECT_EQ(t.endA.endpoint->counters().terminatesIn, 1u);
        EXPECT_EQ(t.endA.endpoint->counters().terminatesOut, 0u); // never answered by another
        ASSERT_TRUE(t.run([&] { return t.over(); }, 20'000 * kMs)) << row.name;
        EXPECT_EQ(t.endA.signals, (std::vector<KernelSignal>{KernelSignal::Fin})) << row.name;
        EXPECT_EQ(t.endB.signals, (std::vector<KernelSignal>{KernelSignal::Fin})) << row.name;
    }
}

TEST(WireEndpoint, BadFpdusAreTerminatedAndNotPlaced) {
    WireBench t;
    t.runFor(100 * kMs);
    const auto before = t.b.data(0, 4096);
    Octets octets;
    const Octets payload(100, std::byte{0xEE});
    encodeFpdu({.op = SegmentOp::Write, .stag = t.b.stag, .to = t.b.iova, .payload = payload}, {.crc = true}, octets);
    octets.back() ^= std::byte{1};
    t.inject(t.endB, octets);
    EXPECT_EQ(t.b.state(), QpState::Error);
    EXPECT_EQ(t.events(t.b), (Events{{AsyncEvent::QpFatal, 0x2002}}));
    EXPECT_EQ(t.b.data(0, 4096), before);
    EXPECT_EQ(t.endB.endpoint->counters().crcErrors, 1u);
    EXPECT_EQ(t.endB.endpoint->counters().terminatesOut, 1u);
}

// 7.2, 7.3: what was accepted arrives, then both ends wind up without error events.
TEST(WireEndpoint, GracefulDisconnect) {
    for (const double loss : {0.0, 0.1}) {
        WireOptions options;
        options.bench.rqLog = 6;
        WireBench t(options);
        for (int i = 0; i < 40; ++i)
            t.bench.recv(t.b, static_cast<uint64_t>(i) * 4096, 4096);
        t.a.memory().fill(t.a.bus, 200000, 5);
        t.runFor(100 * kMs);
        t.link.paths[0].loss = t.link.paths[1].loss = loss;
        for (int i = 0; i < 40; ++i)
            t.a.put(sendSqe(Op::Send, kSignal, {t.a.sge(static_cast<uint64_t>(i) * 4096, 4096)}));
        t.bench.ring(t.a);
        t.bench.stop(t.a, QpState::Closing);
        EXPECT_EQ(t.a.state(), QpState::Closing);
        ASSERT_TRUE(t.run([&] { return t.b.state() == QpState::Error; }, 5000 * kMs));
        for (int i = 0; i < 40; ++i)
            ASSERT_EQ(t.b.received()->syndrome, 0) << i;
        EXPECT_EQ(t.b.data(0, 40 * 4096), t.a.data(0, 40 * 4096));
        EXPECT_TRUE(t.events(t.b).empty());
        ASSERT_TRUE(t.run([&] { return t.over(); }, 30'000 * kMs));
        EXPECT_EQ(t.endB.signals, (std::vector<KernelSignal>{KernelSignal::Fin}));
    }
}

TEST(WireEndpoint, SimultaneousDisconnect) {
    WireBench t;
    t.runFor(100 * kMs);
    t.bench.stop(t.a, QpState::Closing);
    t.bench.stop(t.b, QpState::Closing);
    ASSERT_TRUE(t.run([&] { return t.over(); }, 30'000 * kMs));
    EXPECT_TRUE(t.events(t.a).empty() && t.events(t.b).empty());
}

TEST(WireEndpoint, AbortInTrafficResetsThePeer) {
    WireBench t;
    t.runFor(100 * kMs);
    t.bench.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 1000000)}, t.b.stag, t.b.iova));
    t.bench.post(t.b, readSqe(kSignal, t.b.sge(0, 1000), t.a.stag, t.a.iova));
    t.bench.stop(t.a);
    ASSERT_TRUE(t.run([&] { return t.b.state() == QpState::Error; }, 2000 * kMs));
    EXPECT_EQ(t.b.sent()->syndrome, static_cast<uint8_t>(Syndrome::Flushed));
    EXPECT_EQ(t.events(t.b).size(), 1u);
    EXPECT_EQ(t.endB.signals, (std::vector<KernelSignal>{KernelSignal::Rst}));
    EXPECT_TRUE(t.over());
}

TEST(WireEndpoint, DestroyedQueuePairLeavesTheWireInOrder) {
    WireBench t;
    t.bench.recv(t.b, 0, 64);
    t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    ASSERT_EQ(t.sent(t.a)->syndrome, 0);
    EXPECT_TRUE(t.a.guest->destroyQp(t.a.qpn).ok());
    const uint64_t writes = t.a.host->writeCount;
    ASSERT_TRUE(t.run([&] { return t.b.state() == QpState::Error; }, 2000 * kMs));
    EXPECT_EQ(t.b.received()->syndrome, 0);
    ASSERT_TRUE(t.run([&] { return t.over(); }, 20'000 * kMs));
    EXPECT_EQ(t.a.host->writeCount, writes);
}

// 7.6
TEST(WireEndpoint, DeadPeerGivesRetryExceeded) {
    WireBench t;
    t.runFor(100 * kMs);
    t.link.paths[0].cut = t.link.paths[1].cut = true;
    const uint64_t cut = t.link.now;
    t.a.put(writeSqe(Op::Write, 0, {t.a.sge(0, 5000)}, t.b.stag, t.b.iova));
    t.a.put(sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    t.bench.ring(t.a);
    ASSERT_TRUE(t.run([&] { return t.a.state() == QpState::Error; }, 60'000 * kMs));
    EXPECT_LE(t.link.now - cut, 31'000 * kMs);
    EXPECT_EQ(t.a.sent()->syndrome, static_cast<uint8_t>(Syndrome::RetryExceeded));
    EXPECT_EQ(t.a.sent()->syndrome, static_cast<uint8_t>(Syndrome::Flushed));
    EXPECT_EQ(t.events(t.a), (Events{{AsyncEvent::QpFatal, 0x2001}}));
    EXPECT_EQ(t.endA.signals, (std::vector<KernelSignal>{KernelSignal::Rst}));
    ASSERT_TRUE(t.run([&] { return t.b.state() == QpState::Error; }, 130'000 * kMs)); // keepalive
    EXPECT_TRUE(t.over());
}

// Row 24: the stream ends inside a message.
TEST(WireEndpoint, FinInsideAnFpduIsNoOrderlyEnd) {
    for (const bool insideFpdu : {true, false}) {
        WireBench t;
        t.bench.recv(t.b, 0, 4096);
        t.runFor(100 * kMs);
        Octets octets;
        const Octets payload(100);
        encodeFpdu({.op = SegmentOp::Send, .last = false, .message = 1, .payload = payload}, {.crc = true}, octets);
        if (insideFpdu)
            octets.resize(60);
        t.inject(t.endB, octets, tcp_flag::kAck | tcp_flag::kFin);
        EXPECT_EQ(t.b.state(), QpState::Error);
        EXPECT_NE(t.b.received()->syndrome, 0);
        EXPECT_EQ(t.endB.signals, (std::vector<KernelSignal>{KernelSignal::Rst}));
        EXPECT_EQ(t.endB.endpoint->tcp().state(), TcpState::Closed);
    }
}

// 7.3: what the budget of the entry does not allow when the peer's FIN comes is answered in the next turn.
TEST(WireEndpoint, ResponsesToAPeerThatClosedGoOnWhenTheBudgetWasSpent) {
    WireBench t;
    t.runFor(100 * kMs);
    Octets request;
    t.link.paths[0].drop = [&](const Frame& frame, unsigned) {
        if (!frame.tcp.payload.empty())
            request.assign(frame.tcp.payload.begin(), frame.tcp.payload.end());
        return true;
    };
    t.bench.post(t.a, readSqe(kSignal, t.a.sge(0, 64), t.b.stag, t.b.iova));
    t.runFor(1 * kMs);
    ASSERT_FALSE(request.empty());
    Endpoint& b = *t.endB.endpoint;
    TcpSegment s;
    s.seq = LinkSetup{}.issA + static_cast<uint32_t>(t.endA.endpoint->tcp().appended() - request.size());
    s.ack = LinkSetup{}.issB + static_cast<uint32_t>(b.tcp().acknowledged());
    s.window = 512;
    s.flags = tcp_flag::kAck;
    s.options.timestamps = TcpTimestamps{0x10000, 0};
    s.payload = request;
    b.input(s);
    ASSERT_EQ(t.b.qp().snapshot().queuedRequests, 1u);
    t.b.device->adapter().budget.charge(Budget::kUnits);
    s.seq += static_cast<uint32_t>(request.size());
    s.payload = {};
    s.flags |= tcp_flag::kFin;
    b.input(s);
    EXPECT_EQ(t.b.qp().snapshot().queuedRequests, 1u);
    EXPECT_TRUE(b.wantsTurn());
    t.runFor(50 * kMs);
    EXPECT_EQ(t.b.qp().snapshot().queuedRequests, 0u);
    EXPECT_EQ(t.b.state(), QpState::Error) << "it waits for its patience to end";
}

TEST(WireEndpoint, RandomOctetsHurtNobody) {
    for (uint32_t seed = 1; seed <= 150; ++seed) {
        WireOptions options;
        options.format.crc = seed % 2 == 0;
        WireBench t(options);
        t.bench.recv(t.b, 0, 64);
        t.runFor(10 * kMs);
        std::mt19937 random(seed);
        Octets octets(4000);
        for (std::byte& o : octets)
            o = static_cast<std::byte>(random());
        store8(octets, 0, 0);
        store8(octets, 2, static_cast<uint8_t>(1 | (random() & 0xC0)));
        store8(octets, 3, static_cast<uint8_t>(0x40 | (random() & 0x0F)));
        const auto before = t.b.data(4096, 100000);
        t.inject(t.endB, ConstBytes(octets).first(1400));
        t.inject(t.endB, octets, tcp_flag::kAck | tcp_flag::kFin);
        t.runFor(6000 * kMs);
        EXPECT_EQ(t.b.data(4096, 100000), before);
    }
}

// 9.4 number 53: only the last of many overlapping Writes is seen, at every flag.
TEST(WireEndpoint, OverlappingWritesAreNeverTorn) {
    WireOptions options;
    options.bench.sqLog = 8;
    WireBench t(options);
    for (Path& path : t.link.paths) {
        path.loss = 0.05;
        path.reorder = 0.1;
    }
    for (int round = 0; round < 20; ++round) {
        for (int i = 0; i < 8; ++i) {
            const auto fill = static_cast<uint8_t>(round * 8 + i + 1);
            const Octets pattern(20000, static_cast<std::byte>(fill));
            t.a.memory().write(t.a.bus + static_cast<uint64_t>(i) * 20000, pattern);
            t.a.put(
                writeSqe(Op::Write, 0, {t.a.sge(static_cast<uint64_t>(i) * 20000, 20000)}, t.b.stag, t.b.iova + 100));
        }
        t.bench.recv(t.b, 100000, 64);
        t.a.put(sendSqe(Op::Send, kSignal, {}));
        t.bench.ring(t.a);
        ASSERT_TRUE(t.received(t.b));
        EXPECT_EQ(t.b.data(100, 20000), Octets(20000, static_cast<std::byte>(round * 8 + 8)));
        ASSERT_EQ(t.sent(t.a)->syndrome, 0);
    }
}

// Whatever ends the connection, and whenever: every work request completes once, and both ends come to rest.
TEST(WireEndpoint, EndsAtAnyMoment) {
    for (uint32_t seed = 1; seed <= 150; ++seed) {
        WireOptions options;
        options.seed = seed;
        options.link.timestamps = seed % 3 != 0;
        options.link.sack = seed % 4 != 0;
        options.link.settings.receiveBuffer = 200000;
        WireBench t(options);
        std::mt19937 random(seed);
        for (Path& path : t.link.paths) {
            path.loss = seed % 2 == 0 ? 0.05 : 0;
            path.reorder = 0.05;
        }
        std::array<unsigned, 2> posted{}, receives{};
        const std::array<Side*, 2> sides{&t.a, &t.b};
        for (unsigned i = 0; i < 2; ++i) {
            const Side& own = *sides[i];
            const Side& peer = *sides[1 - i];
            for (auto n = random() % 8; n != 0; --n, ++receives[i])
                t.bench.recv(own, 0, 60000);
            for (auto n = random() % 12; n != 0; --n, ++posted[i]) {
                const auto size = static_cast<uint32_t>(random() % 60000);
                if (random() % 3 == 0)
                    own.put(sendSqe(Op::Send, kSignal, {own.sge(0, size)}));
                else if (random() % 2 == 0)
                    own.put(writeSqe(Op::Write, kSignal, {own.sge(0, size)}, peer.stag, peer.iova));
                else
                    own.put(readSqe(kSignal, own.sge(100000, size), peer.stag, peer.iova));
            }
            own.guest->ringSq(own.qpn);
        }
        t.runFor(random() % (60 * kMs));
        Side& end = *sides[random() % 2];
        switch (random() % 5) {
        case 0:
            t.bench.stop(end, QpState::Closing);
            break;
        case 1:
            t.bench.stop(end, QpState::Terminate);
            break;
        case 2:
            t.bench.stop(end, QpState::Error);
            break;
        case 3:
            t.link.paths[0].cut = t.link.paths[1].cut = true;
            break;
        case 4:
            (end.qpn == t.a.qpn ? t.endA : t.endB).endpoint->reset();
            t.settle();
            break;
        }
        ASSERT_TRUE(t.run([&] { return t.over(); }, 300'000 * kMs)) << seed;
        for (unsigned i = 0; i < 2; ++i) {
            EXPECT_GE(sides[i]->state(), QpState::Closing) << seed;
            EXPECT_EQ(sides[i]->guest->drainCq(sides[i]->scq).size(), posted[i]) << seed;
            EXPECT_EQ(sides[i]->guest->drainCq(sides[i]->rcq).size(), receives[i]) << seed;
        }
        EXPECT_EQ(t.budget.used(), 0u);
    }
}

} // namespace

} // namespace erdma::test
