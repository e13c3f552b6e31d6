// SPDX-License-Identifier: GPL-2.0-or-later
// Two ends of a reliable connection on a link: messages of all kinds, and what a bad link does to them (roce.md 11.3,
// 11.4; numbers in comments are items of that checklist).

#include "roce_bench.h"

namespace erdma::test {

namespace {

using flag::kSignal;

RoceOptions withMtu(uint8_t code) {
    RoceOptions options;
    options.rc.pmtuCode = code;
    return options;
}

// Sizes around the edges of packets.
std::vector<uint32_t> sizesFor(uint32_t pmtu) {
    return {0, 1, 2, 3, 4, 5, pmtu - 1, pmtu, pmtu + 1, 2 * pmtu, 2 * pmtu + 452, 5 * pmtu, 100'000};
}

TEST(RoceRc, MessagesOfAllSizesAndPathMtus) {
    for (uint8_t code = 1; code <= 5; ++code) {
        RoceBench t(withMtu(code));
        uint8_t seed = 1;
        for (const uint32_t size : sizesFor(128u << code)) {
            for (const bool back : {false, true}) {
                const Side& own = t.side(back ? 1 : 0);
                const Side& peer = t.side(back ? 0 : 1);
                const auto fill = [&] { own.memory().fill(own.bus + 1000, size, seed += 7); };

                fill();
                const uint16_t rqe = peer.recv(400'000, size);
                const uint16_t sqe = own.put(sendSqe(Op::SendImm, kSignal, {own.sge(1000, size)}, 0x01020304));
                t.bench.ring(own);
                const auto in = t.received(peer);
                ASSERT_TRUE(in) << size << " " << int{code};
                expectCqe(in, {Op::RecvSendImm, QueueType::Receive, Syndrome::Success, rqe, size});
                EXPECT_EQ(in->immediate, 0x01020304u);
                expectCqe(t.sent(own), {Op::SendImm, QueueType::Send, Syndrome::Success, sqe, size});
                EXPECT_EQ(peer.data(400'000, size), own.data(1000, size));

                fill(); // 88
                peer.memory().fill(peer.bus + 700'000, 8, 0x77);
                const auto before = peer.data(700'000, 8);
                peer.recv(700'000, 8);
                t.post(own, writeSqe(Op::WriteImm, kSignal, {own.sge(1000, size)}, peer.stag, peer.iova + 400'000, 9));
                const auto written = t.received(peer);
                ASSERT_TRUE(written);
                EXPECT_EQ(written->opcode, static_cast<uint8_t>(Op::RecvWriteImm));
                EXPECT_EQ(written->bytes, size);
                EXPECT_EQ(written->immediate, 9u);
                EXPECT_EQ(peer.data(700'000, 8), before);
                expectCqe(t.sent(own), {Op::WriteImm, QueueType::Send, Syndrome::Success,
                                        static_cast<uint16_t>(sqe + blocksFor(32)), size});
                EXPECT_EQ(peer.data(400'000, size), own.data(1000, size));

                fill();
                t.post(own, writeSqe(Op::Write, kSignal, {own.sge(1000, size)}, peer.stag, peer.iova + 500'000));
                ASSERT_EQ(t.sent(own)->syndrome, 0);
                EXPECT_EQ(peer.data(500'000, size), own.data(1000, size));

                peer.memory().fill(peer.bus + 600'000, size, seed += 3);
                t.post(own, readSqe(kSignal, own.sge(200'000, size), peer.stag, peer.iova + 600'000));
                const auto read = t.sent(own);
                ASSERT_TRUE(read) << size << " " << int{code};
                EXPECT_EQ(read->syndrome, 0);
                EXPECT_EQ(read->bytes, size);
                EXPECT_EQ(own.data(200'000, size), peer.data(600'000, size));
            }
        }
        EXPECT_EQ(t.a.count(Counter::RcTimeouts) + t.b.count(Counter::RcTimeouts), 0u);
        EXPECT_EQ(t.nodes[0]->kept.used, 0u);
    }
}

TEST(RoceRc, Atomics) {
    RoceBench t;
    const uint64_t target = t.b.bus + 0xFF0; // aligned
    const uint64_t remote = t.b.iova + 0xFF0;
    t.b.memory().put64(target, 5);
    t.post(t.a, atomicSqe(Op::FetchAdd, kSignal, 3, 0, t.b.stag, remote, t.a.sge(0, 8)));
    expectCqe(t.sent(t.a), {Op::FetchAdd, QueueType::Send, Syndrome::Success, 0, 8});
    EXPECT_EQ(t.a.memory().get64(t.a.bus), 5u);
    t.post(t.a, atomicSqe(Op::CompareSwap, kSignal, 100, 8, t.b.stag, remote, t.a.sge(8, 8)));
    EXPECT_EQ(t.sent(t.a)->syndrome, 0);
    EXPECT_EQ(t.a.memory().get64(t.a.bus + 8), 8u);
    EXPECT_EQ(t.b.memory().get64(target), 100u);
}

// 90: as many as fit, of several connections' worth of requests each.
TEST(RoceRc, ManyRequestsOutstanding) {
    RoceOptions options;
    options.bench.sqLog = 9;
    options.rc.ord = 8;
    options.rc.timeoutCode = 8;
    RoceBench t(options);
    for (Path& path : t.link.paths) {
        path.loss = 0.02;
        path.reorder = 0.02;
        path.delay = 10'000;
    }
    constexpr uint64_t kCounter = 0xFF0, kIn = 0x80000;
    constexpr unsigned kRounds = 40;
    for (const Side* side : {&t.a, &t.b}) {
        side->memory().put64(side->bus + kCounter, 0);
        side->memory().fill(side->bus + 0x2000, 0x10000, side == &t.a ? 1 : 2);
    }
    for (unsigned i = 0; i < kRounds; ++i) {
        for (unsigned end = 0; end < 2; ++end) {
            const Side& own = t.side(end);
            const Side& peer = t.side(1 - end);
            own.put(atomicSqe(Op::FetchAdd, 0, 1, 0, peer.stag, peer.iova + kCounter, own.sge(8 * i, 8)));
            own.put(writeSqe(Op::Write, 0, {own.sge(0x2000, 5000)}, peer.stag, peer.iova + kIn + 5000 * i));
            own.put(readSqe(i + 1 == kRounds ? kSignal : 0, own.sge(kIn + 0x40000 + 700 * i, 700), peer.stag,
                            peer.iova + kIn + 5000 * i));
        }
    }
    t.bench.ring(t.a);
    t.bench.ring(t.b);
    for (unsigned end = 0; end < 2; ++end) {
        const Side& own = t.side(end);
        const Side& peer = t.side(1 - end);
        const auto cqe = t.sent(own);
        ASSERT_TRUE(cqe);
        EXPECT_EQ(cqe->syndrome, 0);
        EXPECT_EQ(peer.memory().get64(peer.bus + kCounter), kRounds);
        for (unsigned i = 0; i < kRounds; ++i) {
            EXPECT_EQ(own.memory().get64(own.bus + 8 * i), i);
            EXPECT_EQ(peer.data(kIn + 5000 * i, 5000), own.data(0x2000, 5000));
            EXPECT_EQ(own.data(kIn + 0x40000 + 700 * i, 700), own.data(0x2000, 700)); // 84
        }
    }
    EXPECT_GT(t.a.count(Counter::RcRetriesNak) + t.a.count(Counter::RcTimeouts), 0u);
    EXPECT_LE(t.a.count(Counter::MostReads), 8u);
}

// 129: five seconds without link.
TEST(RoceRc, LinkIsCutForAWhile) {
    for (const bool patient : {false, true}) {
        RoceOptions options;
        options.rc.timeoutCode = patient ? 19 : 8;
        RoceBench t(options);
        t.b.recv(0x1000, 200'000);
        t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 200'000)}));
        t.link.paths[0].cut = t.link.paths[1].cut = true;
        t.runFor(5000 * kMs);
        t.link.paths[0].cut = t.link.paths[1].cut = false;
        const auto cqe = t.sent(t.a);
        ASSERT_TRUE(cqe);
        EXPECT_EQ(cqe->syndrome, static_cast<uint8_t>(patient ? Syndrome::Success : Syndrome::RetryExceeded));
        if (patient) {
            EXPECT_EQ(t.b.data(0x1000, 200'000), t.a.data(0, 200'000));
        }
    }
}

// 131: what a connection that does nothing takes.
TEST(RoceRc, IdleConnectionIsSmall) { EXPECT_LE(sizeof(RcTransport) + 4 * sizeof(KeptPacket), size_t{1500}); }

unsigned soakMessages() {
    const char* text = std::getenv("ERDMA_SOAK_MESSAGES");
    return text == nullptr ? 1500 : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

// 52, 68 to 72, 84, 87, 119: messages of all kinds both ways over a link that does everything wrong.
TEST(RoceSoak, MixedMessagesOverABadLink) {
    const unsigned rounds = soakMessages() / 4; // two seeds, two directions
    for (uint32_t seed = 1; seed <= 2; ++seed) {
        RoceOptions options;
        options.seed = seed;
        options.psnA = 0xFFFFF0; // wraps
        options.rc.pmtuCode = seed == 1 ? 3 : 5;
        options.rc.timeoutCode = 8;
        options.rc.rnrTimerCode = 1;
        options.rc.retries = 7;
        options.bench.sqLog = 7;
        options.bench.rqLog = 7;
        options.bench.bufferBytes = 4u << 20;
        RoceBench t(options);
        for (Path& path : t.link.paths) {
            path.loss = 0.1;
            path.reorder = 0.1;
            path.duplicate = 0.05;
            path.damage = 0.01;
            path.delay = 10'000;
        }
        std::array<bool, 2> late{};
        std::mt19937 random(seed * 77);
        const auto sizes = [&]() -> uint32_t {
            switch (random() % 6) {
            case 0:
                return 1 + random() % 8 + 0u;
            case 1:
                return static_cast<uint32_t>(random() % 2000);
            case 5:
                return static_cast<uint32_t>(random() % 60000);
            default:
                return static_cast<uint32_t>(random() % 9000);
            }
        };
        constexpr uint64_t kIn = 2u << 20, kRead = 3u << 20; // own buffer: sources, targets of the peer, sinks
        uint64_t sum = 0;
        const uint64_t counter = 0xFF0;
        for (const Side* side : {&t.a, &t.b})
            side->memory().put64(side->bus + counter, 0);
        for (unsigned round = 0; round < rounds; ++round) {
            const std::array<const Side*, 2> sides{&t.a, &t.b};
            struct Message {
                unsigned kind;
                uint32_t size;
                uint64_t from;
            };
            std::array<Message, 2> messages{};
            sum += round;
            for (unsigned i = 0; i < 2; ++i) {
                const Side& own = *sides[i];
                const Side& peer = *sides[1 - i];
                Message& m = messages[i];
                m = {static_cast<unsigned>(random() % 4), sizes(), 0x2000 + random() % 1000};
                own.memory().fill(own.bus + m.from, m.size, static_cast<uint8_t>(random()));
                if (random() % 4 != 0) // otherwise the peer is not ready
                    peer.recv(kIn, 1u << 20);
                else
                    late[1 - i] = true;
                own.put(atomicSqe(Op::FetchAdd, 0, round, 0, peer.stag, peer.iova + counter, own.sge(0, 8)));
                if (m.kind == 0)
                    own.put(sendSqe(Op::Send, kSignal, {own.sge(m.from, m.size)}));
                if (m.kind == 1)
                    own.put(writeSqe(Op::WriteImm, kSignal, {own.sge(m.from, m.size)}, peer.stag, peer.iova + kIn, 9));
                if (m.kind == 2) {
                    own.put(writeSqe(Op::Write, 0, {own.sge(m.from, m.size)}, peer.stag, peer.iova + kIn));
                    own.put(sendSqe(Op::Send, kSignal, {}));
                }
                if (m.kind == 3) {
                    own.put(readSqe(kSignal, own.sge(kRead, m.size), peer.stag, peer.iova + m.from));
                    own.put(sendSqe(Op::Send, flag::kFence | kSignal, {}));
                }
            }
            for (const Side* side : sides)
                side->guest->ringSq(side->qpn);
            for (unsigned i = 0; i < 2; ++i) {
                if (std::exchange(late[i], false)) {
                    t.runFor(kMs / 5);
                    sides[i]->recv(kIn, 1u << 20);
                }
            }
            for (unsigned i = 0; i < 2; ++i) {
                const Side& own = *sides[i];
                const Side& peer = *sides[1 - i];
                const Message& m = messages[i];
                const auto in = t.received(peer);
                ASSERT_TRUE(in) << seed << " " << round;
                ASSERT_EQ(in->syndrome, 0) << seed << " " << round;
                ASSERT_EQ(in->bytes, m.kind < 2 ? m.size : 0);
                if (m.kind < 3) {
                    ASSERT_EQ(peer.data(kIn, m.size), own.data(m.from, m.size)) << seed << " " << round;
                }
                ASSERT_EQ(peer.memory().get64(peer.bus + counter), sum) << seed << " " << round;
                for (unsigned c = 0; c < (m.kind == 3 ? 2u : 1u); ++c)
                    ASSERT_EQ(t.sent(own)->syndrome, 0);
                ASSERT_EQ(own.memory().get64(own.bus), sum - round);
                if (m.kind == 3) {
                    ASSERT_EQ(own.data(kRead, m.size), peer.data(m.from, m.size)) << seed << " " << round;
                }
            }
        }
        EXPECT_FALSE(t.a.sent() || t.b.sent() || t.a.received() || t.b.received());
        EXPECT_GT(t.a.count(Counter::RcRetriesNak) + t.b.count(Counter::RcRetriesNak), 0u);
        EXPECT_GT(t.a.count(Counter::RcRetriesImplicit) + t.b.count(Counter::RcRetriesImplicit), 0u);
        EXPECT_GT(t.a.count(Counter::RcRnrNaksIn) + t.b.count(Counter::RcRnrNaksIn), 0u);
        t.runFor(100 * kMs); // late duplicates
        EXPECT_EQ(t.nodes[0]->kept.used + t.nodes[1]->kept.used, 0u);
        EXPECT_TRUE(t.bench.events(t.a).empty() && t.bench.events(t.b).empty());
    }
}

} // namespace

} // namespace erdma::test
