// SPDX-License-Identifier: GPL-2.0-or-later
// Whole adapters with their filters: handover from the kernels' sockets in both roles, who may speak on the wire, and
// what the kernels are told (wire.md chapter 1 and 7, checklist 9.1 and 9.6).

#include "link_text.h"
#include "nic_bench.h"

namespace erdma::test {

namespace {

using flag::kSignal;

TEST(WireNic, HandoverInBothRoles) {
    NicBench t;
    EXPECT_EQ(t.acceptStatus, 0u);
    EXPECT_EQ(t.connectStatus, 0u);
    EXPECT_EQ(t.kernelA.received.size(), 28u);
    t.a.memory().fill(t.a.bus, 200000, 3);
    t.bench.recv(t.b, 0, 200000);
    t.bench.recv(t.a, 300000, 64);
    t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 200000)}));
    EXPECT_EQ(t.received(t.b)->bytes, 200000u);
    EXPECT_EQ(t.b.data(0, 200000), t.a.data(0, 200000));
    EXPECT_EQ(t.sent(t.a)->syndrome, 0);
    t.bench.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, 64)}));
    EXPECT_EQ(t.received(t.a)->bytes, 64u);
    EXPECT_EQ(t.sent(t.b)->syndrome, 0);
    EXPECT_EQ(t.a.count(Counter::Handovers), 1u);
    EXPECT_EQ(t.a.count(Counter::Pairings), 0u);
    EXPECT_EQ(t.kernelA.received.size(), 28u); // no FPDU reached a kernel
    EXPECT_EQ(t.kernelB.received.size(), 28u);
}

TEST(WireNic, DisconnectReachesTheOtherKernel) {
    for (unsigned who = 0; who < 2; ++who) {
        NicBench t;
        t.runFor(100 * kMs);
        Side& own = t.side(who);
        const uint64_t start = t.link.now;
        t.bench.stop(own, QpState::Closing);
        t.kernel(who).close();
        ASSERT_TRUE(t.run([&] { return t.disconnects[1 - who] == 1; }, 1000 * kMs)) << who;
        EXPECT_LE(t.link.now - start, 1000 * kMs);
        EXPECT_TRUE(t.kernel(1 - who).finReceived);
        ASSERT_TRUE(t.run([&] { return t.over(); }, 70'000 * kMs)) << who;
        EXPECT_TRUE(t.kernelA.closed());
        EXPECT_TRUE(t.kernelB.closed());
        EXPECT_TRUE(t.bench.events(t.a).empty() && t.bench.events(t.b).empty());
    }
}

// The kernels' acknowledgements, absorbed since the handover, cause no more of the adapters': a late one of those would
// be answered with a RST.
TEST(WireNic, NothingIsSaidTwice) {
    for (unsigned who = 0; who < 2; ++who) {
        NicBench t;
        unsigned acknowledgements[2] = {}, resets = 0;
        for (unsigned i = 0; i < 2; ++i)
            t.link.paths[i].drop = [&, i](const Frame& frame, unsigned) {
                acknowledgements[i] += frame.tcp.flags == tcp_flag::kAck && frame.tcp.payload.empty() ? 1 : 0;
                resets += frame.tcp.has(tcp_flag::kRst) ? 1 : 0;
                return false;
            };
        t.runFor(1000 * kMs);
        EXPECT_LE(acknowledgements[0], 1u); // of the reply
        EXPECT_LE(acknowledgements[1], 1u); // of the RTR frame
        t.bench.stop(t.side(who), QpState::Closing);
        t.kernel(who).close();
        ASSERT_TRUE(t.run([&] { return t.over(); }, 70'000 * kMs)) << who;
        EXPECT_EQ(resets, 0u) << who;
        EXPECT_LE(acknowledgements[0] + acknowledgements[1], 2u) << who; // the FINs' acknowledge as well
    }
}

// CONF_MTU: connections that exist follow when they send next.
TEST(WireNic, ConnectionsFollowTheMtu) {
    NicBench t;
    t.runFor(100 * kMs);
    size_t longest = 0;
    t.link.paths[0].drop = [&](const Frame& frame, unsigned) {
        longest = std::max(longest, frame.tcp.payload.size());
        return false;
    };
    for (const auto& [mtu, least, most] : std::initializer_list<std::tuple<uint32_t, size_t, size_t>>{
             {1500, 1300, 1460}, {1000, 800, 960}, {1400, 1200, 1360}}) {
        ASSERT_TRUE(t.a.guest->command(1, 3, Request().u32(8, mtu)).ok());
        longest = 0;
        t.bench.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 50000)}, t.b.stag, t.b.iova));
        ASSERT_EQ(t.sent(t.a)->syndrome, 0);
        EXPECT_LE(longest, most) << mtu;
        EXPECT_GE(longest, least) << mtu;
    }
}

// 9.1 number 6: after handover nothing of the kernels passes, and nothing of the peer reaches them.
TEST(WireNic, NothingOfTheKernelReachesTheWire) {
    NicBench t;
    t.runFor(100 * kMs);
    const unsigned frames = t.link.paths[0].frames;
    const unsigned segments = t.kernelA.segments;
    t.kernelA.probe(); // keepalive
    t.kernelA.send(Octets(100, std::byte{0x55}));
    t.settle();
    EXPECT_EQ(t.link.paths[0].frames, frames);
    EXPECT_GT(t.kernelA.segments, segments);       // the probe was answered
    EXPECT_NE(t.kernelA.sndUna, t.kernelA.sndNxt); // the octets were not acknowledged
    EXPECT_GE(t.a.count(Counter::KernelMisplaced), 1u);
    // The peer's octets at the numbers that the kernel waits for.
    const size_t got = t.kernelA.received.size();
    t.bench.recv(t.a, 0, 64);
    t.bench.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, 64)}));
    EXPECT_EQ(t.received(t.a)->bytes, 64u);
    EXPECT_EQ(t.kernelA.received.size(), got);
}

// 9.1 number 3, 1.5.
TEST(WireNic, WrongSequenceIsRefused) {
    NicOptions options;
    options.connect = false;
    for (const uint32_t wrong : {2000u, static_cast<uint32_t>(-29)}) {
        NicBench t(options);
        t.wrongSequence = wrong;
        t.open();
        t.run([&] { return t.acceptStatus != UINT32_MAX; }, 5000 * kMs);
        EXPECT_EQ(t.acceptStatus, static_cast<uint32_t>(Status::Invalid));
        EXPECT_EQ(t.b.state(), QpState::Idle);
        EXPECT_EQ(t.b.count(Counter::HandoversRefused), 1u);
        EXPECT_EQ(t.iwarps[1]->owned(), 0u);
    }
}

// 9.1 number 7, 9.5 number 64: any single frame of the set-up may be lost.
TEST(WireNic, AnySingleFrameOfTheSetUpMayBeLost) {
    for (unsigned from = 0; from < 2; ++from) {
        for (unsigned lost = 0; lost < 6; ++lost) {
            NicOptions options;
            options.connect = false;
            NicBench t(options);
            t.link.paths[from].drop = [lost](const Frame&, unsigned index) { return index == lost; };
            t.connect();
            t.bench.recv(t.b, 0, 64);
            t.bench.recv(t.a, 0, 64);
            t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
            t.bench.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, 64)}));
            ASSERT_TRUE(t.received(t.b)) << from << " " << lost;
            ASSERT_TRUE(t.received(t.a)) << from << " " << lost;
            ASSERT_EQ(t.sent(t.a)->syndrome, 0);
            ASSERT_EQ(t.sent(t.b)->syndrome, 0);
            EXPECT_EQ(t.kernelB.sndUna, t.kernelB.sndNxt) << "the reply was not acknowledged";
        }
    }
}

// 9.5 number 63: what the SYNs agreed on is used, and nothing else.
TEST(WireNic, OptionsOfTheHandshake) {
    for (unsigned set = 0; set < 16; ++set) {
        NicOptions options;
        options.link.sack = (set & 1) != 0;
        options.link.timestamps = (set & 2) != 0;
        options.link.scaleA = (set & 4) != 0 ? 7 : 0;
        options.link.scaleB = (set & 8) != 0 ? 9 : 0;
        options.link.mss = set % 3 == 0 ? 1460 : 900;
        NicBench t(options);
        unsigned sacks = 0, stamps = 0, segments = 0;
        size_t longest = 0;
        for (Path& path : t.link.paths)
            path.drop = [&](const Frame& f, unsigned index) {
                ++segments;
                sacks += f.tcp.options.sackCount != 0 ? 1 : 0;
                stamps += f.tcp.options.timestamps ? 1 : 0;
                longest = std::max(longest, f.tcp.payload.size());
                return index % 17 == 5; // so that there is something to report
            };
        t.a.memory().fill(t.a.bus, 400000, 3);
        t.bench.recv(t.b, 0, 400000);
        t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 400000)}));
        ASSERT_EQ(t.received(t.b)->bytes, 400000u) << set;
        EXPECT_EQ(t.b.data(0, 400000), t.a.data(0, 400000));
        EXPECT_EQ(sacks != 0, options.link.sack) << set;
        EXPECT_EQ(stamps, options.link.timestamps ? segments : 0u) << set;
        const size_t most = options.link.mss - (options.link.timestamps ? 12u : 0u);
        EXPECT_EQ(longest, most / 4 * 4) << set;
    }
}

// 1.6: of a connection whose SYNs an adapter did not see it uses what the segments show.
TEST(WireNic, HandshakeNotSeen) {
    for (unsigned set = 1; set < 16; ++set) {
        NicOptions options;
        options.connect = false;
        options.link.timestamps = (set & 4) != 0;
        options.link.scaleA = options.link.scaleB = (set & 8) != 0 ? 7 : 0;
        // Where nobody scales, or nobody knows, little fits into the window that is safe to announce.
        const uint32_t bytes = (set & 8) != 0 && (set & 3) != 3 ? 100000 : 3000;
        NicBench t(options);
        t.handshakeForgotten = {(set & 1) != 0, (set & 2) != 0};
        t.connect();
        ASSERT_EQ(t.acceptStatus, 0u) << set;
        ASSERT_EQ(t.connectStatus, 0u) << set;
        std::array<size_t, 2> longest{};
        std::array<unsigned, 2> sacks{};
        uint32_t widest = 0;
        for (unsigned from = 0; from < 2; ++from)
            t.link.paths[from].drop = [&, from](const Frame& f, unsigned index) {
                longest[from] = std::max(longest[from], f.tcp.payload.size());
                sacks[from] += f.tcp.options.sackCount != 0 ? 1 : 0;
                if (t.handshakeForgotten[from])
                    widest = std::max<uint32_t>(widest, f.tcp.window);
                return index % 17 == 5;
            };
        for (Side* side : {&t.a, &t.b}) {
            side->memory().fill(side->bus, bytes, 3);
            t.bench.recv(*side, 200000, bytes);
        }
        t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, bytes)}));
        t.bench.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, bytes)}));
        ASSERT_EQ(t.received(t.b)->bytes, bytes) << set;
        ASSERT_EQ(t.received(t.a)->bytes, bytes) << set;
        EXPECT_EQ(t.a.data(200000, bytes), t.b.data(0, bytes));
        EXPECT_EQ(t.b.data(200000, bytes), t.a.data(0, bytes));
        for (unsigned from = 0; from < 2; ++from) {
            if (t.handshakeForgotten[from]) {
                EXPECT_LE(longest[from], 536u) << set;
                EXPECT_EQ(sacks[from], 0u) << set;
            } else if (bytes > 3000) {
                EXPECT_GT(longest[from], 536u) << set;
            }
        }
        EXPECT_LE(widest, (1u << 20) >> 14) << set;
    }
}

// 9.1 number 11: a peer that speaks right behind its reply, held until the handover, whole and split.
TEST(WireNic, WhatComesBehindTheReplyIsHeld) {
    NicOptions options;
    options.connect = false;
    options.replyFlags = 0x40;
    NicBench t(options);
    t.bench.recv(t.a, 0, 64);
    t.a.memory().fill(t.a.bus, 64, 9);
    // B is no adapter: its kernel sends reply and FPDU in one go.
    t.sendReply = false;
    t.foreignPeer = true;
    t.open();
    ASSERT_TRUE(t.run([&] { return t.kernelB.received.size() >= 28; }, 5000 * kMs));
    Octets both = mpaFrame(true, 129, 0x40);
    const Octets payload(64, std::byte{0x77});
    encodeFpdu({.op = SegmentOp::Send, .message = 1, .payload = payload}, {.crc = true}, both);
    t.kernelB.send(both);
    EXPECT_EQ(t.received(t.a)->bytes, 64u);
    EXPECT_EQ(t.a.data(0, 64), payload);
    EXPECT_EQ(t.kernelA.received.size(), 28u);
    EXPECT_EQ(t.a.count(Counter::HeldFrames), 1u);
}

// 7.5, 9.6 number 86: accept failed after RTS.
TEST(WireNic, PassiveKernelClosesInsteadOfReplying) {
    NicOptions options;
    options.connect = false;
    NicBench t(options);
    t.sendReply = false;
    t.open();
    ASSERT_TRUE(t.run([&] { return t.acceptStatus == 0; }, 5000 * kMs));
    t.kernelB.close();
    ASSERT_TRUE(t.run([&] { return t.b.state() == QpState::Error; }, 2000 * kMs));
    // The peer is told with a number that its kernel accepts.
    ASSERT_TRUE(t.run([&] { return t.kernelA.finReceived; }, 2000 * kMs));
    ASSERT_TRUE(t.run([&] { return t.over(); }, 90'000 * kMs));
}

// 7.5: a socket that goes away without a command.
TEST(WireNic, KernelClosesWithoutCommand) {
    for (const bool reset : {false, true}) {
        NicOptions options;
        options.managers = false;
        NicBench t(options);
        t.runFor(100 * kMs);
        const uint64_t start = t.link.now;
        if (reset)
            t.kernelA.abort();
        else
            t.kernelA.close();
        ASSERT_TRUE(t.run([&] { return t.a.state() >= QpState::Closing; }, 3000 * kMs)) << reset;
        EXPECT_GE(t.link.now - start, 1000 * kMs);
        ASSERT_TRUE(t.run([&] { return t.kernelB.finReceived || t.kernelB.reset; }, 2000 * kMs)) << reset;
    }
}

// 9.6 number 77, 1.8: K-FIN and K-RST carry the kernel's numbers, and come again until they were heard.
TEST(WireNic, AbortInTrafficIsToldToBothKernels) {
    NicBench t;
    t.runFor(100 * kMs);
    t.bench.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 1000000)}, t.b.stag, t.b.iova));
    t.bench.stop(t.a);
    ASSERT_TRUE(t.run([&] { return t.b.state() == QpState::Error; }, 2000 * kMs));
    EXPECT_TRUE(t.run([&] { return t.kernelB.reset && t.kernelA.reset; }, 2000 * kMs));
    ASSERT_TRUE(t.run([&] { return t.over(); }, 90'000 * kMs));
}

// 7.2: what was sent completes as if nothing had happened.
TEST(WireNic, ClosingFinishesWhatWasSent) {
    NicOptions options;
    options.bench.sqLog = 8;
    options.bench.rqLog = 8;
    NicBench t(options);
    t.link.paths[0].loss = t.link.paths[1].loss = 0.05;
    t.a.memory().fill(t.a.bus, 1000000, 5);
    for (int i = 0; i < 20; ++i)
        t.bench.recv(t.b, static_cast<uint64_t>(i) * 40000, 40000);
    for (int i = 0; i < 20; ++i)
        t.a.put(sendSqe(Op::Send, kSignal, {t.a.sge(static_cast<uint64_t>(i) * 40000, 40000)}));
    t.bench.ring(t.a);
    t.bench.stop(t.a, QpState::Closing);
    EXPECT_EQ(t.a.state(), QpState::Closing);
    for (int i = 0; i < 20; ++i) {
        ASSERT_EQ(t.received(t.b)->syndrome, 0) << i;
        ASSERT_EQ(t.sent(t.a)->syndrome, 0) << i;
    }
    EXPECT_EQ(t.b.data(0, 800000), t.a.data(0, 800000));
    t.kernelA.close();
    ASSERT_TRUE(t.run([&] { return t.over(); }, 90'000 * kMs));
    EXPECT_TRUE(t.bench.events(t.a).empty() && t.bench.events(t.b).empty());
}

// 7.2: what had not begun is flushed, in order; new work requests too.
TEST(WireNic, ClosingFlushesTheRest) {
    NicOptions options;
    options.bench.sqLog = 8;
    options.bench.bufferBytes = 4u << 20;
    NicBench t(options);
    t.runFor(100 * kMs);
    for (int i = 0; i < 10; ++i)
        t.a.put(writeSqe(Op::Write, kSignal, {t.a.sge(0, 400000)}, t.b.stag, t.b.iova));
    t.bench.ring(t.a);
    t.bench.stop(t.a, QpState::Closing);
    t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    unsigned good = 0, flushed = 0;
    for (int i = 0; i < 11; ++i) {
        const auto cqe = t.sent(t.a);
        ASSERT_TRUE(cqe) << i;
        if (cqe->syndrome == 0) {
            EXPECT_EQ(flushed, 0u);
            ++good;
        } else {
            EXPECT_EQ(cqe->syndrome, static_cast<uint8_t>(Syndrome::Flushed));
            ++flushed;
        }
    }
    EXPECT_GE(good, 2u);
    EXPECT_GE(flushed, 1u);
    t.kernelA.close();
    ASSERT_TRUE(t.run([&] { return t.over(); }, 90'000 * kMs));
    // No message was cut: B saw an orderly end.
    EXPECT_TRUE(t.bench.events(t.b).empty());
    EXPECT_TRUE(t.kernelB.finReceived);
}

// 9.6 number 83: destroyed at any time, the wire is wound up without the queue pair.
TEST(WireNic, DestroyedQueuePair) {
    for (const bool busy : {false, true}) {
        NicBench t;
        t.runFor(100 * kMs);
        if (busy)
            t.bench.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 1000000)}, t.b.stag, t.b.iova));
        EXPECT_TRUE(t.a.guest->destroyQp(t.a.qpn).ok());
        t.kernelA.close();
        ASSERT_TRUE(t.run([&] { return t.b.state() >= QpState::Closing; }, 2000 * kMs)) << busy;
        ASSERT_TRUE(t.run([&] { return t.over(); }, 90'000 * kMs)) << busy;
    }
}

// 7.10, 9.6 number 84.
TEST(WireNic, DeviceReset) {
    NicBench t;
    t.runFor(100 * kMs);
    t.a.guest->write32(0x10, 1);
    EXPECT_EQ(t.iwarps[0]->owned(), 0u);
    ASSERT_TRUE(t.run([&] { return t.b.state() == QpState::Error; }, 1000 * kMs));
    EXPECT_TRUE(t.run([&] { return t.kernelA.reset && t.kernelB.reset; }, 2000 * kMs));
}

// What connections() tells is in octets of the stream, which the FIN is not.
TEST(WireNic, UnacknowledgedUntilTheEnd) {
    NicBench t;
    t.runFor(100 * kMs);
    t.bench.post(t.a, writeSqe(Op::Write, 0, {t.a.sge(0, 100000)}, t.b.stag, t.b.iova));
    t.settle();
    t.bench.stop(t.a, QpState::Closing);
    t.kernelA.close();
    const auto most = [&t] {
        uint64_t found = 0;
        for (const auto* iwarp : {t.iwarps[0], t.iwarps[1]}) {
            const std::string text = iwarp->connections();
            const std::string name = "\"unacknowledged\":";
            for (size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1))
                found = std::max<uint64_t>(found, std::stoull(text.substr(at + name.size())));
        }
        return found;
    };
    ASSERT_TRUE(t.run(
        [&] {
            EXPECT_LE(most(), 200000u) << t.iwarps[0]->connections() << t.iwarps[1]->connections();
            return ::testing::Test::HasFailure() || (t.kernelA.closed() && t.kernelB.closed());
        },
        3000 * kMs));
    t.runFor(50 * kMs);
    ASSERT_NE(t.iwarps[0]->connections().find("TIME_WAIT"), std::string::npos);
    EXPECT_EQ(most(), 0u) << t.iwarps[0]->connections();
}

// 9.6 number 85: the tuple again, while the old endpoint is in TIME_WAIT.
TEST(WireNic, SynReplacesTimeWait) {
    NicBench t;
    t.runFor(100 * kMs);
    t.bench.stop(t.a, QpState::Closing);
    t.kernelA.close();
    ASSERT_TRUE(t.run([&] { return t.kernelA.closed() && t.kernelB.closed(); }, 3000 * kMs));
    t.runFor(50 * kMs);
    ASSERT_EQ(t.iwarps[0]->owned(), 1u);
    EXPECT_NE(t.iwarps[0]->connections().find("TIME_WAIT"), std::string::npos);
    LinkSetup again;
    again.issA = 0x70000000;
    FakeKernel fresh(again, true, t.link.now);
    fresh.open();
    const Octets frame = fresh.outbox.front();
    EXPECT_FALSE(t.a.device->frame(ERDMA_TO_WIRE, frame, {}));
    EXPECT_EQ(t.iwarps[0]->owned(), 0u);
    EXPECT_EQ(t.iwarps[0]->tracker().entries(), 1u);
}

// 7.6: cut for good.
TEST(WireNic, DeadPeer) {
    NicBench t;
    t.runFor(100 * kMs);
    t.link.paths[0].cut = t.link.paths[1].cut = true;
    t.bench.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 1000)}, t.b.stag, t.b.iova));
    const auto cqe = t.sent(t.a);
    ASSERT_TRUE(cqe);
    EXPECT_EQ(cqe->syndrome, static_cast<uint8_t>(Syndrome::RetryExceeded));
    EXPECT_TRUE(t.run([&] { return t.kernelA.reset; }, 2000 * kMs));
    EXPECT_EQ(t.disconnects[0], 1u);
    ASSERT_TRUE(t.run([&] { return t.over(); }, 200'000 * kMs));
    EXPECT_EQ(t.disconnects[1], 1u);
}

// The filter's quick test lets everything else pass.
TEST(WireNic, WantsOnlyWhatIsTracked) {
    NicOptions options;
    options.connect = false;
    NicBench t(options);
    const auto wants = [&](erdma_side side, uint8_t flags, uint16_t port, bool vlan = false, ConstBytes payload = {}) {
        TcpSegment s;
        s.flags = flags;
        s.payload = payload;
        IpHeader ip = ipHeaderOf(side == ERDMA_TO_WIRE);
        (side == ERDMA_TO_WIRE ? ip.sourcePort : ip.destinationPort) = port;
        LinkHeader link = linkHeaderOf(side == ERDMA_TO_WIRE);
        link.tagCount = vlan ? 1 : 0;
        link.tags[0].control = 5;
        Octets frame;
        buildTcpFrame(link, ip, s, frame);
        return t.a.device->wantsFrame(side, frame, frame.size());
    };
    using namespace tcp_flag;
    EXPECT_FALSE(wants(ERDMA_TO_WIRE, kAck, 1000));
    EXPECT_TRUE(wants(ERDMA_TO_WIRE, kSyn, 1000));
    EXPECT_TRUE(wants(ERDMA_TO_GUEST, kSyn, 1000));
    EXPECT_FALSE(wants(ERDMA_TO_GUEST, kSyn | kAck, 1000));
    const Octets request = mpaFrame(false);
    EXPECT_TRUE(wants(ERDMA_TO_WIRE, kAck, 1000, true, request));
    EXPECT_TRUE(wants(ERDMA_TO_GUEST, kAck, 1000, false, request));
    EXPECT_FALSE(wants(ERDMA_TO_GUEST, kAck, 1000, false, ConstBytes(request).first(15)));
    EXPECT_FALSE(wants(ERDMA_TO_WIRE, kAck, 1000, false, mpaFrame(true)));
    t.connect();
    EXPECT_TRUE(wants(ERDMA_TO_WIRE, kAck, 1000));
    EXPECT_TRUE(wants(ERDMA_TO_GUEST, kAck, 1000));
    EXPECT_FALSE(wants(ERDMA_TO_WIRE, kAck, 1001));
    EXPECT_FALSE(wants(ERDMA_TO_WIRE, kAck, 1000, true)); // another network
    for (size_t length = 0; length < 54; ++length) {
        Octets head(length, std::byte{0x45});
        t.a.device->wantsFrame(ERDMA_TO_WIRE, head, length);
        t.a.device->frame(ERDMA_TO_WIRE, head, {});
    }
    // An MPA conversation that is none ends the tracking: a flow of another program.
    EXPECT_EQ(t.iwarps[0]->tracker().entries(), 0u);
}

// 9.3 number 49, 2.7: dialect S knows neither immediates nor atomics, and revision 1 has 16 reads outstanding.
TEST(WireNic, DialectS) {
    NicOptions options;
    options.revision = 1;
    options.bench.sqLog = 8;
    for (const Op op : {Op::WriteImm, Op::SendImm, Op::FetchAdd}) {
        NicBench t(options);
        t.bench.recv(t.b, 0, 64);
        t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
        EXPECT_EQ(t.received(t.b)->bytes, 64u);
        EXPECT_EQ(t.sent(t.a)->syndrome, 0);
        const uint64_t packets = t.a.count(Counter::TxPackets);
        if (op == Op::WriteImm)
            t.bench.post(t.a, writeSqe(op, kSignal, {t.a.sge(0, 64)}, t.b.stag, t.b.iova, 1));
        else if (op == Op::SendImm)
            t.bench.post(t.a, sendSqe(op, kSignal, {t.a.sge(0, 64)}, 1));
        else
            t.bench.post(t.a, atomicSqe(op, kSignal, 1, 0, t.b.stag, t.b.iova, t.a.sge(8, 8)));
        EXPECT_EQ(t.sent(t.a)->syndrome, static_cast<uint8_t>(Syndrome::SendFormat));
        EXPECT_EQ(t.a.count(Counter::TxPackets), packets);
        EXPECT_EQ(t.a.state(), QpState::Error);
    }
    NicBench t(options);
    t.runFor(100 * kMs);
    t.link.paths[1].cut = true;
    for (int i = 0; i < 20; ++i)
        t.a.put(readSqe(kSignal, t.a.sge(0, 8), t.b.stag, t.b.iova));
    t.bench.ring(t.a);
    t.runFor(100 * kMs);
    EXPECT_EQ(t.a.qp().snapshot().outstandingReads, 16u);
    t.link.paths[1].cut = false;
    for (int i = 0; i < 20; ++i)
        ASSERT_EQ(t.sent(t.a)->syndrome, 0);
}

// 2.6: either side asks for CRCs.
TEST(WireNic, CrcByEitherFrame) {
    for (unsigned who = 0; who < 4; ++who) {
        NicOptions options;
        options.mpaFlags = (who & 1) != 0 ? 0x40 : 0;
        options.replyFlags = (who & 2) != 0 ? 0x40 : 0;
        NicBench t(options);
        EXPECT_EQ(t.iwarps[0]->connections().find("\"crc\":1") != std::string::npos, who != 0);
        EXPECT_EQ(t.iwarps[1]->connections().find("\"crc\":1") != std::string::npos, who != 0);
        t.bench.recv(t.b, 0, 64);
        t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
        EXPECT_EQ(t.received(t.b)->bytes, 64u);
    }
}

// Between two adapters segments may be as long as a frame; a path that loses them falls back to the MSS.
TEST(WireNic, LongSegments) {
    for (const bool carried : {true, false}) {
        NicOptions options;
        options.bench.config.segment_bytes = 65000;
        NicBench t(options);
        size_t longest = 0;
        for (Path& path : t.link.paths)
            path.drop = [&longest, carried](const Frame& f, unsigned) {
                longest = std::max(longest, f.tcp.payload.size());
                return !carried && f.tcp.payload.size() > 1460;
            };
        t.a.memory().fill(t.a.bus, 600000, 3);
        t.bench.recv(t.b, 0, 600000);
        t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 600000)}));
        ASSERT_EQ(t.received(t.b)->bytes, 600000u);
        EXPECT_EQ(t.b.data(0, 600000), t.a.data(0, 600000));
        EXPECT_EQ(t.sent(t.a)->syndrome, 0);
        EXPECT_GT(longest, 64000u);
    }
}

// The impaired link is where all frames pass, those of the kernels too.
TEST(WireNic, ImpairedLink) {
    NicOptions options;
    options.connect = false;
    NicBench t(options);
    EXPECT_TRUE(setLink(t.nics[0]->impairment(), "nonsense"));
    ASSERT_FALSE(setLink(t.nics[0]->impairment(), "both:loss=5%,delay=2ms,jitter=1ms,reorder=3%,duplicate=2%;seed=5"));
    EXPECT_TRUE(t.a.device->wantsFrame(ERDMA_TO_WIRE, Octets(14), 14));
    t.connect();
    t.a.memory().fill(t.a.bus, 300000, 3);
    t.bench.recv(t.b, 0, 300000);
    t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 300000)}));
    ASSERT_EQ(t.received(t.b)->bytes, 300000u);
    EXPECT_EQ(t.b.data(0, 300000), t.a.data(0, 300000));
    EXPECT_GT(t.a.count(Counter::LinkLost), 0u);
    ASSERT_FALSE(setLink(t.nics[0]->impairment(), ""));
}

} // namespace

} // namespace erdma::test
