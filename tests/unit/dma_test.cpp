// SPDX-License-Identifier: GPL-2.0-or-later
// Addresses of the guest that lead nowhere: they wrap, are no memory, or memory is out of reach for a while.
#include "pair_bench.h"

namespace erdma::test {
namespace {

using flag::kSignal;

constexpr uint64_t kLastPage = ~uint64_t{0} << 12;

// All of it is memory, so that only the check stands between a wrapped address and the page at 0.
struct Everywhere : Machine {
    Everywhere() {
        host.memory->ramBytes = UINT64_MAX;
        host.memory->put64(0, kSecret);
        guest.bringUp();
        guest.createEq(1);
        guest.createCq(1);
    }
    static constexpr uint64_t kSecret = 0x5EC2E7;
};

TEST(Dma, RegionsDoNotWrap) {
    Everywhere m;
    // One page of 8 KiB that begins 4 KiB before the end.
    ASSERT_EQ(m.guest.status(0, 8, Guest::mrRequest(5, 0, 0x3E, 1, 0x10000, 8192, 13, 0, 1).u64(32, kLastPage)), 0u);
    std::array<std::byte, 8> raw{};
    const MrAccess behindTheEnd{5 << 8, 1, 0x11000, 8, access::kLocalWrite, erdma::Side::User};
    EXPECT_EQ(m.device.regions().write(behindTheEnd, raw), MrFault::Dma);
    uint64_t old = 0;
    MrAccess atomic = behindTheEnd;
    atomic.need = access::kRemoteAtomic;
    atomic.side = erdma::Side::Remote;
    EXPECT_EQ(m.device.regions().atomic(atomic, ERDMA_ATOMIC_ADD, 1, 0, old), MrFault::Dma);
    // Its table, one entry before the end.
    ASSERT_EQ(m.guest.status(0, 8, Guest::mrRequest(6, 0, 0x3E, 1, 0, 8 * 4096, 12, 1, 8).u64(32, UINT64_MAX - 7)), 0u);
    EXPECT_EQ(m.device.regions().write({6 << 8, 1, 0x1000, 8, access::kLocalWrite, erdma::Side::User}, raw),
              MrFault::Dma);
    EXPECT_EQ(m.host.memory->get64(0), Everywhere::kSecret);
}

TEST(Dma, RingsDoNotWrap) {
    Everywhere m;
    // A CQ of 2 KiB whose last half would lie at 0.
    ASSERT_EQ(m.guest.status(0, 4, Guest::cqRequest(7, 6, 1, kLastPage + 3072)), 0u);
    ASSERT_TRUE(m.guest.createQp(1, 7, 7).ok());
    for (int i = 0; i < 16; ++i)
        m.guest.postRecv(1, 0, 8, 0);
    for (int i = 0; i < 40; ++i) {
        SqeBytes sqe = localInvSqe(kSignal, 0);
        m.guest.putSqe(1, sqe);
    }
    m.guest.ringSq(1);
    m.guest.stopQp(1);
    EXPECT_EQ(m.host.memory->get64(0), Everywhere::kSecret);
    EXPECT_EQ(m.count(Counter::DmaErrors), 1u);
    const auto events = m.guest.drainAeq();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0][0] >> 16 & 0xFF, static_cast<uint32_t>(AsyncEvent::Cq));
    // A page list that wraps.
    EXPECT_EQ(m.guest.status(0, 4, Guest::cqRequest(8, 10, 1, UINT64_MAX - 7, 8, 0)), 14u);
    // The event queue.
    ASSERT_EQ(m.guest.status(1, 0, Request().u64(8, kLastPage + 4064).u8(16, 2).u8(17, 2).u8(18, 4).u8(19, 1)), 0u);
    ASSERT_EQ(m.guest.status(0, 4, Guest::cqRequest(9, 6, 2, m.guest.memory().allocate(4096))), 0u);
    for (unsigned i = 0; i < 3; ++i) {
        m.guest.write64(kCqDoorbells, Guest::armValue(9, 5, false)); // CI behind: an event at once
    }
    EXPECT_EQ(m.count(Counter::LostEvents), 2u);
    EXPECT_EQ(m.host.memory->get64(0), Everywhere::kSecret);
}

TEST(Dma, CommandRingsDoNotWrap) {
    Machine m;
    m.host.memory->ramBytes = UINT64_MAX;
    m.guest.programQueues();
    m.guest.write32(0x24, 0xFFFFFFFF);
    m.guest.write32(0x20, 0xFFFFF000);
    m.guest.init();
    ASSERT_TRUE(m.guest.initDone());
    // What lies at 0 is a command, too.
    m.host.memory->put64(0, uint64_t{3} << 52 | 1u << 24 | 2u << 16 | 4);
    for (unsigned i = 0; i < 40; ++i)
        m.host.memory->put64(kLastPage + i * 128, uint64_t{3} << 52 | 1u << 24 | 2u << 16 | 4);
    m.guest.write64(0x200, 132);
    m.guest.settle();
    EXPECT_EQ(m.count(Counter::Commands), 32u);
    EXPECT_EQ(m.count(Counter::DmaErrors), 1u);
}

// Bus mastering goes off under traffic and comes back.
TEST(Dma, MemoryOutOfReachUnderTraffic) {
    for (const bool two : {false, true}) {
        Bench t({.twoDevices = two, .sqLog = 8});
        t.recv(t.b, 0, 1 << 20);
        for (int i = 0; i < 40; ++i)
            t.a.put(writeSqe(Op::Write, kSignal, {t.a.sge(0, 0x10000)}, t.b.stag, t.b.iova));
        t.a.guest->ringSq(t.a.qpn);
        const uint64_t ram = std::exchange(t.a.memory().ramBytes, 0);
        for (int i = 0; i < 40; ++i)
            t.ring(t.a);
        t.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, 8)}));
        EXPECT_EQ(t.a.guest->status(0, 0), UINT32_MAX);
        t.advanceMs(60'000);
        EXPECT_GT(t.a.count(Counter::DmaErrors), 0u);
        t.a.memory().ramBytes = ram;
        t.a.guest->write32(0x10, 1);
        t.a.guest->bringUp();
        EXPECT_TRUE(t.a.guest->command(0, 0).ok()) << "a reset makes it whole";
    }
}

} // namespace
} // namespace erdma::test
