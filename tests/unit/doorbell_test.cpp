// SPDX-License-Identifier: GPL-2.0-or-later
// Doorbell pages: adapter.md 6.1 to 6.4, 4.21.
#include "doorbell.h"

#include <gtest/gtest.h>

#include <random>

#include "fake_host.h"

namespace erdma::test {
namespace {

constexpr uint64_t kDirect = uint64_t{1} << 26;

struct Ready : Machine {
    explicit Ready(const erdma_config& config = testConfig()) : Machine(128, config) {
        guest.bringUp();
        guest.createEq(1);
        guest.createCq(1);
        guest.createQp(32, 1, 1);
        guest.createQp(33, 1, 1);
    }
    uint16_t sqPi(uint32_t qpn) { return device.findQp(qpn)->snapshot().sqPi; }
    uint16_t rqPi(uint32_t qpn) { return device.findQp(qpn)->snapshot().rqPi; }
    static uint64_t value(uint32_t qpn, uint16_t pi) { return uint64_t{qpn} << 32 | pi; }
};

TEST(Doorbell, AddressSelectsTheClassDataTheQueue) {
    Ready m;
    uint16_t pi = 1;
    for (const uint64_t offset : {0x1000, 0x1080, 0x5F000, 0x60F80}) {
        m.guest.write64(offset, Ready::value(33, pi));
        EXPECT_EQ(m.sqPi(33), pi++);
    }
    pi = 1;
    for (const uint64_t offset : {0x61000, 0x61020, 0x78FE0}) {
        m.guest.write64(offset, Ready::value(33, pi) | 0xABCD0000 | uint64_t{0xFFF} << 52); // garbage around
        EXPECT_EQ(m.rqPi(33), pi++);
    }
    for (const uint64_t offset : {0x79000, 0x79008, 0x7FFF8})
        m.guest.write64(offset, Guest::armValue(1, 0, false));
    EXPECT_EQ(m.count(Counter::SqDoorbells), 4u);
    EXPECT_EQ(m.count(Counter::RqDoorbells), 3u);
    EXPECT_EQ(m.count(Counter::CqDoorbells), 3u);
    EXPECT_EQ(m.count(Counter::BadDoorbells), 0u);
}

TEST(Doorbell, UnknownQueuesAreDroppedAndCounted) {
    Ready m;
    m.guest.write64(0x1000, Ready::value(99, 1));
    m.guest.write64(0x61000, Ready::value(99, 1));
    m.guest.write64(0x79000, Guest::armValue(99, 0, false));
    m.guest.write64(0x80000, Ready::value(33, 1)); // a page that nobody allocated
    EXPECT_EQ(m.count(Counter::BadDoorbells), 4u);
    EXPECT_EQ(m.sqPi(33), 0u);
}

TEST(Doorbell, Widths) {
    Ready m;
    m.guest.write32(0x1000, 5);
    EXPECT_EQ(m.sqPi(33), 0u);
    m.guest.write32(0x1004, 33);
    EXPECT_EQ(m.sqPi(33), 5u);
    m.guest.write32(0x1004, 33); // high half alone
    m.device.mmioWrite(0x1000, 33, 2);
    m.device.mmioWrite(0x1004, Ready::value(33, 6), 8);
    EXPECT_EQ(m.count(Counter::BadDoorbells), 3u);
    for (uint64_t i = 0; i < 1000; ++i) // low halves for ever
        m.guest.write32(0x61000 + i * 32, 1);
    EXPECT_EQ(m.sqPi(33), 5u);
}

TEST(Doorbell, RestOfASlotIsIgnored) {
    Ready m;
    for (uint64_t offset = 8; offset < 128; offset += 8)
        m.guest.write64(0x1000 + offset, Ready::value(33, 9));
    for (uint64_t offset = 8; offset < 32; offset += 8)
        m.guest.write64(0x61000 + offset, Ready::value(33, 9));
    EXPECT_EQ(m.sqPi(33), 0u);
    EXPECT_EQ(m.rqPi(33), 0u);
    EXPECT_EQ(m.count(Counter::BadDoorbells), 0u);
}

// ---- direct work requests ----

struct Direct : Ready {
    explicit Direct(const erdma_config& config = testConfig()) : Ready(config) {}
    // A local invalidate is one WQEBB; the content does not matter in IDLE, where work is held.
    std::vector<std::byte> put(uint32_t qpn, uint32_t wqebbs) {
        std::vector<std::byte> sqe(wqebbs * 32);
        for (size_t i = 0; i < sqe.size(); ++i)
            sqe[i] = static_cast<std::byte>(i);
        storeLe64(sqe, 0, kDirect | uint64_t{15} << 27);
        guest.putSqe(qpn, sqe);
        return sqe;
    }
    void store(uint64_t slot, const std::vector<std::byte>& sqe, std::vector<size_t> order = {}) {
        if (order.empty())
            for (size_t i = 0; i < sqe.size() / 8; ++i)
                order.push_back(i);
        for (const size_t i : order)
            guest.write64(slot + i * 8, loadLe64(sqe, i * 8));
    }
};

TEST(DirectWqe, ExecutesWhenComplete) {
    for (uint32_t wqebbs = 1; wqebbs <= 4; ++wqebbs) {
        Direct m;
        const auto sqe = m.put(33, wqebbs);
        for (size_t i = 0; i < sqe.size() / 8; ++i) {
            EXPECT_EQ(m.sqPi(33), 0u);
            m.guest.write64(0x1080 + i * 8, loadLe64(sqe, i * 8));
        }
        EXPECT_EQ(m.sqPi(33), wqebbs);
        EXPECT_EQ(m.count(Counter::DirectWqes), 1u);
        EXPECT_EQ(m.count(Counter::DirectWqeFallbacks), 0u);
    }
}

TEST(DirectWqe, AnyOrderAndHalves) {
    Direct m;
    const auto sqe = m.put(33, 2);
    m.store(0x1180, sqe, {0, 7, 3, 1, 2});
    m.guest.write32(0x1180 + 6 * 8 + 4, loadLe32(sqe, 6 * 8 + 4));
    m.guest.write32(0x1180 + 6 * 8, loadLe32(sqe, 6 * 8));
    m.store(0x1180, sqe, {4, 4});
    EXPECT_EQ(m.sqPi(33), 0u);
    m.store(0x1180, sqe, {5});
    EXPECT_EQ(m.sqPi(33), 2u);
    EXPECT_EQ(m.count(Counter::DirectWqes), 1u);
}

TEST(DirectWqe, AnotherDoorbellTakesTheRing) {
    Direct m;
    const auto sqe = m.put(33, 2);
    m.store(0x1080, sqe, {0, 1});
    m.put(33, 1);
    m.guest.ringSq(33);
    EXPECT_EQ(m.sqPi(33), 3u);
    EXPECT_EQ(m.count(Counter::DirectWqes), 0u);
    EXPECT_EQ(m.count(Counter::DirectWqeFallbacks), 1u);
    m.store(0x1080, sqe, {2, 3, 4, 5, 6, 7}); // the rest comes too late
    EXPECT_EQ(m.sqPi(33), 3u);
    EXPECT_EQ(m.count(Counter::BadDoorbells), 0u);
}

TEST(DirectWqe, SlotTakenByAnotherQueuePair) {
    Direct m;
    m.store(0x1080, m.put(33, 2), {0, 1});
    m.store(0x1080, m.put(32, 1));
    EXPECT_EQ(m.sqPi(33), 2u);
    EXPECT_EQ(m.sqPi(32), 1u);
    EXPECT_EQ(m.count(Counter::DirectWqes), 1u);
    EXPECT_EQ(m.count(Counter::DirectWqeFallbacks), 1u);
}

TEST(DirectWqe, ReopenedInAnotherSlot) {
    Direct m;
    m.store(0x1080, m.put(33, 2), {0, 1});
    m.store(0x1100, m.put(33, 1));
    EXPECT_EQ(m.sqPi(33), 3u);
    EXPECT_EQ(m.count(Counter::DirectWqes), 1u);
    EXPECT_EQ(m.count(Counter::DirectWqeFallbacks), 1u);
}

TEST(DirectWqe, HeaderThatDisagreesWithTheRing) {
    Direct m;
    auto sqe = m.put(33, 1);
    storeLe64(sqe, 0, loadLe64(sqe, 0) | uint64_t{1} << 22);
    m.store(0x1080, sqe);
    EXPECT_EQ(m.sqPi(33), 1u);
    EXPECT_EQ(m.count(Counter::DirectWqes), 0u);
    EXPECT_EQ(m.count(Counter::DirectWqeFallbacks), 1u);
}

TEST(DirectWqe, SwitchedOffIsAnOrdinaryDoorbell) {
    erdma_config config = testConfig();
    config.direct_wqe_groups = 3;
    Direct m(config);
    m.store(0x1080, m.put(33, 2), {0});
    EXPECT_EQ(m.sqPi(33), 2u);
    EXPECT_EQ(m.count(Counter::DirectWqes) + m.count(Counter::DirectWqeFallbacks), 0u);
}

TEST(DirectWqe, TooManyBlocksOrUnknownQueuePair) {
    Direct m;
    m.guest.write64(0x1080, kDirect | uint64_t{5} << 52 | Ready::value(33, 6));
    EXPECT_EQ(m.sqPi(33), 6u);
    m.guest.write64(0x1080, kDirect | Ready::value(77, 1));
    EXPECT_EQ(m.count(Counter::BadDoorbells), 1u);
}

TEST(DirectWqe, DestroyedWhileOpen) {
    Direct m;
    const auto sqe = m.put(33, 1);
    m.store(0x1080, sqe, {0, 1});
    ASSERT_TRUE(m.guest.destroyQp(33).ok());
    m.store(0x1080, sqe, {2, 3});
    ASSERT_TRUE(m.guest.createQp(33, 1, 1).ok());
    m.store(0x1080, sqe, {2, 3});
    EXPECT_EQ(m.sqPi(33), 0u);
    EXPECT_EQ(m.count(Counter::BadDoorbells), 0u);
}

// ---- extended pages ----

struct Process {
    uint16_t sq, rq, cq;
    static uint64_t base(uint16_t page) { return uint64_t{page} * 4096; }
};

struct Extended : Machine {
    Extended() {
        guest.bringUp();
        guest.createEq(1);
    }
    std::optional<Process> open() {
        const Reply reply = guest.command(1, 8, Request().u32(8, 7));
        if (!reply.ok())
            return std::nullopt;
        return Process{static_cast<uint16_t>(reply.resp0), static_cast<uint16_t>(reply.resp0 >> 48),
                       static_cast<uint16_t>(reply.resp0 >> 32)};
    }
    uint32_t close(const Process& p) {
        return guest.status(1, 9, Request().u32(8, 7).u16(12, p.rq).u16(14, p.sq).u16(18, p.cq));
    }
    uint32_t createCq(uint32_t cqn, uint16_t page) {
        Request request = Guest::cqRequest(cqn, 6, 1, guest.memory().allocate(4096));
        return guest.status(0, 4, request.u32(20, 1u << 16 | 1u << 11 | 1).u32(36, page));
    }
    uint32_t createQp(uint32_t qpn, uint32_t cqn, uint16_t sqPage, uint16_t rqPage) {
        Request request =
            Guest::qpRequest(qpn, cqn, cqn, 4, 4, 1, guest.memory().allocate(4096), guest.memory().allocate(4096));
        return guest.status(0, 1, request.u32(16, 8u << 28 | 1u << 25 | cqn).u32(112, uint32_t{sqPage} << 16 | rqPage));
    }
};

TEST(ExtendedDoorbells, CommandsNeedTheCapability) {
    erdma_config config = testConfig();
    config.extended_doorbells = false;
    Machine m(128, config);
    m.guest.bringUp();
    EXPECT_EQ(m.guest.status(1, 5, Request().u32(8, 1u << 31 | 12)), 95u);
    EXPECT_EQ(m.guest.status(1, 8, Request().u32(8, 7)), 95u);
    EXPECT_EQ(m.guest.status(1, 9, Request().u32(8, 7)), 95u);
}

TEST(ExtendedDoorbells, ConfDevice) {
    Extended m;
    EXPECT_EQ(m.guest.status(1, 5, Request().u32(8, 1u << 31 | 12)), 0u);
    EXPECT_EQ(m.guest.status(1, 5, Request().u32(8, 1u << 31 | 16)), 95u);
    EXPECT_EQ(m.guest.status(1, 5, Request().u32(8, 3)), 0u); // page size not valid
}

TEST(ExtendedDoorbells, PagesRunOutAndComeBack) {
    Extended m;
    std::vector<Process> all;
    while (const auto p = m.open())
        all.push_back(*p);
    EXPECT_EQ(all.size(), kExtPages / 3);
    std::set<uint16_t> pages;
    for (const Process& p : all) {
        for (const uint16_t page : {p.sq, p.rq, p.cq}) {
            EXPECT_GE(page, 0x80);
            EXPECT_LT(page, 0x1000);
            EXPECT_TRUE(pages.insert(page).second);
        }
    }
    EXPECT_EQ(m.guest.status(1, 8, Request().u32(8, 7)), 28u);
    EXPECT_EQ(m.guest.status(1, 8, Request().u32(8, 0)), 22u);
    EXPECT_EQ(m.close(all[3]), 0u);
    EXPECT_EQ(m.close(all[3]), 2u);
    EXPECT_TRUE(m.open().has_value());
    EXPECT_EQ(m.close({0x7F, 0x1000, 0xFFFF}), 2u);
}

TEST(ExtendedDoorbells, SwappedAndUnswappedPagesBothRing) {
    Extended m;
    const Process p = *m.open();
    ASSERT_EQ(m.createCq(0x203, p.cq), 0u);
    ASSERT_EQ(m.createQp(0x85, 0x203, p.sq, p.rq), 0u);
    m.guest.write64(Process::base(p.sq) + 5 * 128, Ready::value(0x85, 1));
    EXPECT_EQ(m.count(Counter::SqDoorbells), 1u);
    for (const uint16_t page : {p.rq, p.cq}) { // as published drivers map them, and as numbered
        m.guest.write64(Process::base(page) + 3 * 8, Guest::armValue(0x203, 0, false));
        m.guest.write64(Process::base(page) + 5 * 32, Ready::value(0x85, 1));
    }
    EXPECT_EQ(m.count(Counter::CqDoorbells), 2u);
    EXPECT_EQ(m.count(Counter::RqDoorbells), 2u);
    EXPECT_EQ(m.count(Counter::BadDoorbells), 0u);
    m.guest.write64(Process::base(p.cq) + 4 * 8, Guest::armValue(0x203, 0, false)); // not its place
    EXPECT_EQ(m.count(Counter::BadDoorbells), 1u);
}

TEST(ExtendedDoorbells, AmbiguousNumbersAreToldApartByTheArmBit) {
    Extended m;
    const Process p = *m.open();
    ASSERT_EQ(m.createCq(0x200, p.cq), 0u);
    ASSERT_EQ(m.createQp(0x200, 0x200, p.sq, p.rq), 0u);
    m.guest.write64(Process::base(p.rq), Guest::armValue(0x200, 0, false));
    EXPECT_EQ(m.count(Counter::CqDoorbells), 1u);
    m.guest.write64(Process::base(p.rq), Ready::value(0x200, 1));
    EXPECT_EQ(m.count(Counter::RqDoorbells), 1u);
}

TEST(ExtendedDoorbells, AProcessReachesOnlyItsOwnQueues) {
    Extended m;
    const Process a = *m.open(), b = *m.open();
    ASSERT_EQ(m.createCq(1, a.cq), 0u);
    ASSERT_EQ(m.createQp(1, 1, a.sq, a.rq), 0u);
    m.guest.write64(Process::base(b.sq) + 128, Ready::value(1, 1));
    m.guest.write64(Process::base(b.rq) + 32, Ready::value(1, 1));
    m.guest.write64(Process::base(b.cq) + 8, Guest::armValue(1, 0, false));
    EXPECT_EQ(m.count(Counter::BadDoorbells), 3u);
    m.guest.write64(Process::base(a.sq) + 128 + 8, Ready::value(1, 1)); // inside a slot
    EXPECT_EQ(m.count(Counter::SqDoorbells), 0u);
    ASSERT_EQ(m.close(a), 0u);
    m.guest.write64(Process::base(a.sq) + 128, Ready::value(1, 1));
    EXPECT_EQ(m.count(Counter::BadDoorbells), 4u);
    const Process c = *m.open(); // same pages, another process
    EXPECT_EQ(c.sq, a.sq);
    m.guest.write64(Process::base(c.sq) + 128, Ready::value(1, 1));
    EXPECT_EQ(m.count(Counter::SqDoorbells), 0u);
}

// The pages of everybody ring what was made without pages of its own, and nothing else.
TEST(ExtendedDoorbells, ThePagesOfEverybodyRingNothingOfAProcess) {
    Extended m;
    const Process p = *m.open();
    ASSERT_EQ(m.createCq(1, p.cq), 0u);
    ASSERT_EQ(m.createQp(33, 1, p.sq, p.rq), 0u);
    ASSERT_TRUE(m.guest.createCq(2).ok());
    ASSERT_TRUE(m.guest.createQp(34, 2, 2).ok());
    m.guest.write64(0x1080, Ready::value(33, 1));
    m.guest.write64(0x1080, kDirect | Ready::value(33, 1));
    m.guest.write64(0x61020, Ready::value(33, 1));
    m.guest.write64(0x79008, Guest::armValue(1, 0, false));
    EXPECT_EQ(m.count(Counter::BadDoorbells), 4u);
    EXPECT_EQ(m.device.findQp(33)->snapshot().sqPi, 0u);
    EXPECT_EQ(m.device.findQp(33)->snapshot().rqPi, 0u);
    EXPECT_FALSE(m.device.findCq(1)->armed());
    m.guest.write64(Process::base(p.sq) + 128, Ready::value(34, 1)); // and the kernel's queues no page of a process
    m.guest.write64(Process::base(p.rq) + 34 * 32, Ready::value(34, 1));
    m.guest.write64(Process::base(p.cq) + 2 * 8, Guest::armValue(2, 0, false));
    EXPECT_EQ(m.count(Counter::BadDoorbells), 7u);
    EXPECT_EQ(m.device.findQp(34)->snapshot().sqPi, 0u);
    EXPECT_FALSE(m.device.findCq(2)->armed());
    EXPECT_EQ(m.count(Counter::SqDoorbells) + m.count(Counter::RqDoorbells) + m.count(Counter::CqDoorbells), 0u);
}

TEST(ExtendedDoorbells, DirectWqes) {
    Extended m;
    const Process p = *m.open(), other = *m.open();
    ASSERT_EQ(m.createCq(1, p.cq), 0u);
    ASSERT_EQ(m.createQp(33, 1, p.sq, p.rq), 0u);
    std::array<std::byte, 32> sqe{};
    storeLe64(sqe, 0, kDirect | uint64_t{15} << 27 | Ready::value(33, 1));
    m.host.memory->write(m.device.findQp(33)->config().sq.firstAddress(), sqe);
    for (const Process& page : {other, p})
        for (size_t i = 0; i < 4; ++i)
            m.guest.write64(Process::base(page.sq) + 128 + i * 8, loadLe64(sqe, i * 8));
    EXPECT_EQ(m.count(Counter::DirectWqes), 1u);
    EXPECT_EQ(m.count(Counter::BadDoorbells), 1u);
    EXPECT_EQ(m.device.findQp(33)->snapshot().sqPi, 1u);
}

TEST(ExtendedDoorbells, QueuesNeedAllocatedPages) {
    Extended m;
    const Process a = *m.open(), b = *m.open();
    EXPECT_EQ(m.createCq(1, 0xFF0), 22u);
    ASSERT_EQ(m.createCq(1, a.cq), 0u);
    EXPECT_EQ(m.createQp(1, 1, a.sq, b.rq), 22u);
    EXPECT_EQ(m.createQp(1, 1, 0, 0), 22u);
}

// ---- hostile ----

TEST(Doorbell, RandomStoresNeverHarm) {
    std::mt19937_64 random(4711);
    Extended m;
    m.host.memory->ramBytes = 1 << 30;
    const Process p = *m.open();
    m.createCq(0x200, p.cq);
    m.createQp(0x200, 0x200, p.sq, p.rq);
    m.guest.createCq(2);
    for (uint32_t qpn = 1; qpn < 6; ++qpn)
        m.guest.createQp(qpn, 2, 2);
    m.guest.memory().fill(m.guest.qp(1).sq.address, 2048, 3);
    for (int i = 0; i < 20000; ++i) {
        const uint64_t page = random() % 3 == 0 ? 0x80 + random() % 4 : 1 + random() % 0x7F;
        const uint64_t offset = page * 4096 + (random() % 512) * 8 + (random() % 8 == 0 ? 4 : 0);
        uint64_t value = random();
        if (random() % 4 != 0)
            value = (value & 0xFFF0000004C0FFFF) | (random() % 4 == 0 ? uint64_t{0x200} : random() % 7) << 32;
        m.device.mmioWrite(offset, value, offset % 8 == 0 && random() % 4 != 0 ? 8 : 4);
        if (random() % 64 == 0)
            m.guest.settle();
        if (random() % 512 == 0)
            m.guest.stopQp(static_cast<uint32_t>(1 + random() % 5));
    }
    EXPECT_TRUE(m.guest.initDone());
}

} // namespace
} // namespace erdma::test
