// SPDX-License-Identifier: GPL-2.0-or-later
// QUERY_FLOW (docs/capabilities.md): what holds a queue pair's sends, and for how long.
#include "hw_layout.h"
#include "roce_bench.h"
#include "wire_bench.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
extern "C" {
#include "src/erdma_ioctl.h"
}
#pragma GCC diagnostic pop

namespace erdma::test {
namespace {

erdma_flow ask(const Side& side, uint32_t qpn, uint32_t expected = 0, uint32_t room = ERDMA_STATS_BYTES) {
    const uint64_t target = side.memory().allocate(4096);
    side.memory().write(target, std::vector<std::byte>(512, std::byte{0xEE}));
    EXPECT_EQ(side.guest->status(ERDMA_SUB_COMMON, ERDMA_CMD_QUERY_FLOW,
                                 Request().u32(12, qpn).u64(16, target).u32(24, room)),
              expected);
    erdma_flow flow{};
    const auto raw = side.memory().copy(target, 512);
    std::memcpy(&flow, raw.data(), sizeof(flow));
    for (size_t at = std::min<size_t>(room, sizeof(flow)); at < raw.size(); ++at)
        EXPECT_EQ(raw[at], std::byte{0xEE}) << at;
    return flow;
}

erdma_flow ask(const Side& side) {
    const erdma_flow flow = ask(side, side.qpn);
    EXPECT_EQ(flow.head.magic, ERDMA_DUMP_MAGIC);
    EXPECT_EQ(flow.head.len, sizeof(flow));
    EXPECT_EQ(flow.head.index, side.qpn);
    EXPECT_LT(flow.limit, ERDMA_LIMIT_COUNT);
    return flow;
}

uint64_t msOf(const erdma_flow& flow, erdma_limit limit) { return flow.spent_ns[limit] / kMs; }

uint64_t allMs(const erdma_flow& flow) {
    uint64_t sum = 0;
    for (const uint64_t ns : flow.spent_ns)
        sum += ns;
    return sum / kMs;
}

TEST(QueryFlow, AsTheDriverReadsIt) {
    Bench t({.connect = false});
    EXPECT_EQ(static_cast<uint32_t>(Limit::Requests), ERDMA_LIMIT_REQUESTS);
    EXPECT_EQ(static_cast<uint32_t>(Limit::PeerBuffers), ERDMA_LIMIT_PEER_BUFFERS);
    EXPECT_EQ(static_cast<uint32_t>(Limit::Loss), ERDMA_LIMIT_LOSS);
    EXPECT_EQ(static_cast<uint32_t>(Limit::PeerWindow), ERDMA_LIMIT_PEER_WINDOW);
    EXPECT_EQ(static_cast<uint32_t>(Limit::Window), ERDMA_LIMIT_WINDOW);
    EXPECT_EQ(static_cast<uint32_t>(Limit::Turn), ERDMA_LIMIT_TURN);
    EXPECT_EQ(static_cast<uint32_t>(Limit::Answers), ERDMA_LIMIT_ANSWERS);
    EXPECT_EQ(kLimits, size_t{ERDMA_LIMIT_COUNT});
    EXPECT_EQ(ask(t.a).flags, 0u);
    t.connect();
    EXPECT_EQ(ask(t.a).flags, ERDMA_FLOW_ACTIVE);
    EXPECT_EQ(ask(t.a).limit, ERDMA_LIMIT_IDLE);
    t.advanceMs(50);
    EXPECT_EQ(msOf(ask(t.a), ERDMA_LIMIT_IDLE), 50u);
    // Cut to the room; none for the header; a queue pair that does not exist; memory that does not.
    ask(t.a, t.a.qpn, 0, 100);
    ask(t.a, t.a.qpn, static_cast<uint32_t>(Status::Invalid), 0);
    ask(t.a, 3000, static_cast<uint32_t>(Status::NotFound), 0);
    EXPECT_NE(t.a.guest->status(ERDMA_SUB_COMMON, ERDMA_CMD_QUERY_FLOW,
                                Request().u32(12, t.a.qpn).u64(16, ~uint64_t{0} << 12).u32(24, 256)),
              0u);
}

TEST(QueryFlow, PeerHasNoReceiveBuffer) {
    Bench t;
    t.post(t.a, sendSqe(Op::Send, flag::kSignal, {t.a.sge(0, 64)}));
    EXPECT_EQ(ask(t.a).limit, ERDMA_LIMIT_PEER_BUFFERS);
    EXPECT_EQ(ask(t.b).flags, ERDMA_FLOW_ACTIVE | ERDMA_FLOW_STARVING);
    t.advanceMs(30);
    t.recv(t.b, 0, 64);
    ASSERT_TRUE(t.a.sent());
    t.advanceMs(20);
    const erdma_flow own = ask(t.a), peer = ask(t.b);
    EXPECT_EQ(msOf(own, ERDMA_LIMIT_PEER_BUFFERS), 30u);
    EXPECT_EQ(msOf(own, ERDMA_LIMIT_IDLE), 20u);
    EXPECT_EQ(peer.starved_ns / kMs, 30u);
    EXPECT_EQ(peer.flags, ERDMA_FLOW_ACTIVE);
    EXPECT_EQ(msOf(peer, ERDMA_LIMIT_IDLE), 50u);
}

// What was counted stays when the connection ends, and begins anew with the next one.
TEST(QueryFlow, EndOfAConnection) {
    Bench t;
    t.post(t.a, sendSqe(Op::Send, flag::kSignal, {t.a.sge(0, 64)}));
    t.advanceMs(30);
    t.stop(t.a);
    t.advanceMs(40);
    const erdma_flow own = ask(t.a), peer = ask(t.b);
    EXPECT_EQ(own.flags, 0u);
    EXPECT_EQ(own.limit, ERDMA_LIMIT_IDLE);
    EXPECT_EQ(msOf(own, ERDMA_LIMIT_PEER_BUFFERS), 30u);
    EXPECT_EQ(peer.starved_ns / kMs, 30u);
    EXPECT_EQ(peer.flags, 0u);
}

// A fence behind a read that is under way, over a wire of 10 ms.
TEST(QueryFlow, ReadsBeforeIt) {
    WireBench t;
    for (auto& path : t.link.paths)
        path.delay = 10 * kMs;
    t.a.put(readSqe(flag::kSignal, t.a.sge(0, 64), t.b.stag, t.b.iova));
    t.a.put(writeSqe(Op::Write, flag::kSignal | flag::kFence, {t.a.sge(64, 64)}, t.b.stag, t.b.iova + 64));
    t.bench.ring(t.a);
    t.runFor(5 * kMs);
    EXPECT_EQ(ask(t.a).limit, ERDMA_LIMIT_REQUESTS);
    ASSERT_TRUE(t.sent(t.a));
    ASSERT_TRUE(t.sent(t.a));
    const erdma_flow flow = ask(t.a);
    EXPECT_EQ(flow.limit, ERDMA_LIMIT_IDLE);
    EXPECT_NEAR(static_cast<double>(msOf(flow, ERDMA_LIMIT_REQUESTS)), 20, 2);
    EXPECT_NEAR(static_cast<double>(msOf(flow, ERDMA_LIMIT_ANSWERS)), 20, 45); // an acknowledgement may be delayed
    EXPECT_GT(msOf(flow, ERDMA_LIMIT_ANSWERS), 15u);
    EXPECT_NEAR(static_cast<double>(flow.rtt_ns), 20e6, 45e6);
    EXPECT_GT(flow.frame_bytes, 1000u);
}

TEST(QueryFlow, LossOnTheWire) {
    WireBench t;
    const uint64_t begin = t.link.now;
    t.bench.post(t.a, writeSqe(Op::Write, flag::kSignal, {t.a.sge(0, 64)}, t.b.stag, t.b.iova));
    ASSERT_TRUE(t.sent(t.a));
    const erdma_flow before = ask(t.a);
    t.link.paths[0].loss = 1;
    t.bench.post(t.a, writeSqe(Op::Write, flag::kSignal, {t.a.sge(0, 64)}, t.b.stag, t.b.iova));
    t.runFor(1500 * kMs);
    EXPECT_EQ(ask(t.a).limit, ERDMA_LIMIT_LOSS);
    t.link.paths[0].loss = 0;
    ASSERT_TRUE(t.sent(t.a));
    const erdma_flow flow = ask(t.a);
    EXPECT_GE(flow.timeouts, 1u);
    EXPECT_GE(flow.repeats, 1u);
    EXPECT_EQ(flow.limit, ERDMA_LIMIT_IDLE);
    // From the first time that it was sent on, although that it was lost shows when the timer expires.
    EXPECT_GE(msOf(flow, ERDMA_LIMIT_LOSS) - msOf(before, ERDMA_LIMIT_LOSS), 1500u);
    EXPECT_NEAR(static_cast<double>(allMs(flow)), static_cast<double>((t.link.now - begin) / kMs),
                1); // nothing is forgotten
}

// The receiver's program is away: its end takes no more than fits its window.
TEST(QueryFlow, WindowOfThePeer) {
    WireBench t;
    constexpr uint32_t kBytes = 512 * 1024;
    for (int i = 0; i < 6; ++i)
        t.a.put(sendSqe(Op::Send, flag::kSignal, {t.a.sge(0, kBytes)}));
    t.bench.ring(t.a);
    t.runFor(400 * kMs);
    const erdma_flow held = ask(t.a);
    EXPECT_EQ(held.limit, ERDMA_LIMIT_PEER_WINDOW);
    EXPECT_EQ(ask(t.b).flags, ERDMA_FLOW_ACTIVE | ERDMA_FLOW_STARVING);
    EXPECT_GT(msOf(held, ERDMA_LIMIT_PEER_WINDOW), 200u);
    for (int i = 0; i < 6; ++i)
        t.b.recv(0, kBytes);
    for (int i = 0; i < 6; ++i)
        ASSERT_TRUE(t.sent(t.a)) << i;
    EXPECT_EQ(ask(t.a).limit, ERDMA_LIMIT_IDLE);
    EXPECT_GT(ask(t.b).starved_ns / kMs, 300u);
}

TEST(QueryFlow, Roce) {
    RoceBench t;
    const erdma_flow idle = ask(t.a);
    EXPECT_EQ(idle.window, 128u * idle.frame_bytes);
    t.post(t.a, sendSqe(Op::Send, flag::kSignal, {t.a.sge(0, 64)}));
    t.runFor(20 * kMs);
    EXPECT_EQ(ask(t.a).limit, ERDMA_LIMIT_PEER_BUFFERS);
    EXPECT_GE(ask(t.a).not_ready, 1u);
    EXPECT_EQ(ask(t.b).flags, ERDMA_FLOW_ACTIVE | ERDMA_FLOW_STARVING);
    t.bench.recv(t.b, 0, 64);
    ASSERT_TRUE(t.sent(t.a));
    EXPECT_GE(msOf(ask(t.a), ERDMA_LIMIT_PEER_BUFFERS), 15u);
    EXPECT_GE(ask(t.b).starved_ns / kMs, 19u);

    t.link.paths[0].loss = 1;
    t.post(t.a, writeSqe(Op::Write, flag::kSignal, {t.a.sge(0, 64)}, t.b.stag, t.b.iova));
    t.runFor(200 * kMs);
    EXPECT_EQ(ask(t.a).limit, ERDMA_LIMIT_LOSS);
    t.link.paths[0].loss = 0;
    ASSERT_TRUE(t.sent(t.a));
    const erdma_flow flow = ask(t.a);
    EXPECT_GE(flow.timeouts, 1u);
    EXPECT_GE(flow.repeats, 1u);
    EXPECT_GT(msOf(flow, ERDMA_LIMIT_LOSS), 50u);
    EXPECT_EQ(flow.limit, ERDMA_LIMIT_IDLE);
}

// What is sent again because the peer had no receive buffer was not lost, and nor is its way.
TEST(QueryFlow, RoceRepeatsForWantOfABuffer) {
    RoceBench t;
    for (auto& path : t.link.paths)
        path.delay = 5 * kMs;
    constexpr int kMessages = 5;
    for (int i = 0; i < kMessages; ++i)
        t.a.put(sendSqe(Op::Send, flag::kSignal, {t.a.sge(0, 64)}));
    t.bench.ring(t.a);
    for (int i = 0; i < kMessages; ++i) {
        t.runFor(60 * kMs);
        t.bench.recv(t.b, 0, 64);
        ASSERT_TRUE(t.sent(t.a)) << i;
    }
    const erdma_flow flow = ask(t.a);
    EXPECT_GE(flow.not_ready, 5u);
    EXPECT_GE(flow.repeats, 5u);
    EXPECT_EQ(msOf(flow, ERDMA_LIMIT_LOSS), 0u);
    EXPECT_GE(msOf(flow, ERDMA_LIMIT_PEER_BUFFERS), 200u);
}

} // namespace
} // namespace erdma::test
