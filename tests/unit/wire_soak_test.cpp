// SPDX-License-Identifier: GPL-2.0-or-later
// Many messages of all kinds over a link that does everything wrong (wire.md checklist 66).  ERDMA_SOAK_MESSAGES in the
// environment sets how many; the test of all 10^5 is unit-soak.
#include <cstdlib>

#include "wire_bench.h"

namespace erdma::test {

namespace {

using flag::kSignal;

unsigned soakMessages() {
    const char* text = std::getenv("ERDMA_SOAK_MESSAGES");
    return text == nullptr ? 1200 : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

// Messages of all kinds in both directions over a link that does everything wrong.
TEST(WireSoak, MixedMessagesOverABadLink) {
    const unsigned rounds = soakMessages() / 4; // two seeds, two directions
    for (uint32_t seed = 1; seed <= 2; ++seed) {
        WireOptions options;
        options.seed = seed;
        options.link.sack = seed != 2;
        // One message in 10^5 would lose eight times in a row, which is all that fits into 30 s from 200 ms on.
        options.link.settings.minRto = 10 * kMs;
        options.link.congestion = CongestionControl::Cubic;
        options.bench.sqLog = 7;
        options.bench.rqLog = 7;
        options.bench.bufferBytes = 4u << 20;
        WireBench t(options);
        for (Path& path : t.link.paths) {
            path.loss = 0.1;
            path.reorder = 0.1;
            path.duplicate = 0.05;
            path.damage = 0.01;
            path.delay = kMs / 5;
        }
        std::mt19937 random(seed * 77);
        const auto sizes = [&]() -> uint32_t {
            switch (random() % 6) {
            case 0:
                return 1 + random() % 8 + 0u;
            case 1:
                return static_cast<uint32_t>(random() % 2000);
            case 5:
                return random() % 40 == 0 ? 1u << 20 : static_cast<uint32_t>(random() % 60000);
            default:
                return static_cast<uint32_t>(random() % 9000);
            }
        };
        constexpr uint64_t kIn = 2u << 20, kRead = 3u << 20; // own buffer: sources, targets of the peer, sinks
        for (unsigned round = 0; round < rounds; ++round) {
            const std::array<const Side*, 2> sides{&t.a, &t.b};
            struct Message {
                unsigned kind;
                uint32_t size;
                uint64_t from;
            };
            std::array<Message, 2> messages{};
            for (unsigned i = 0; i < 2; ++i) {
                const Side& own = *sides[i];
                const Side& peer = *sides[1 - i];
                Message& m = messages[i];
                m = {static_cast<unsigned>(random() % 4), sizes(), random() % 1000};
                own.memory().fill(own.bus + m.from, m.size, static_cast<uint8_t>(random()));
                peer.recv(kIn, 1u << 20);
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
                const Side& own = *sides[i];
                const Side& peer = *sides[1 - i];
                const Message& m = messages[i];
                const auto in = t.received(peer);
                ASSERT_TRUE(in) << seed << " " << round;
                ASSERT_EQ(in->syndrome, 0);
                ASSERT_EQ(in->bytes, m.kind < 2 ? m.size : 0);
                if (m.kind < 3) {
                    ASSERT_EQ(peer.data(kIn, m.size), own.data(m.from, m.size)) << seed << " " << round;
                }
                for (unsigned c = 0; c < (m.kind == 3 ? 2u : 1u); ++c)
                    ASSERT_EQ(t.sent(own)->syndrome, 0);
                if (m.kind == 3) {
                    ASSERT_EQ(own.data(kRead, m.size), peer.data(m.from, m.size)) << seed << " " << round;
                }
            }
        }
        EXPECT_FALSE(t.a.sent() || t.b.sent() || t.a.received() || t.b.received());
        EXPECT_GT(t.badFrames, 0u);
        t.bench.stop(t.a, QpState::Closing);
        ASSERT_TRUE(t.run([&] { return t.over(); }, 100'000 * kMs));
        EXPECT_EQ(t.budget.used(), 0u);
        EXPECT_TRUE(t.events(t.a).empty() && t.events(t.b).empty());
    }
}

} // namespace

} // namespace erdma::test
