// SPDX-License-Identifier: GPL-2.0-or-later
// Whole adapters with their filters: handover from the kernels' sockets in both roles, who may speak on the wire, and
// what the kernels are told (wire.md chapter 1 and 7, checklist 9.1 and 9.6).

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

} // namespace

} // namespace erdma::test
