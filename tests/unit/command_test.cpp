// SPDX-License-Identifier: GPL-2.0-or-later
// Command queue and commands: adapter.md chapters 3 and 4.  Doorbell pages: doorbell_test.cpp.
#include <gtest/gtest.h>

#include <random>

#include "fake_host.h"

namespace erdma::test {
namespace {

struct Ready : Machine {
    explicit Ready(uint32_t entryBytes = 128, const erdma_config& config = testConfig()) : Machine(entryBytes, config) {
        guest.bringUp(entryBytes == 64);
        guest.createEq(1);
    }
};

// Everything that both generations send.
class BothSizes : public testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Command, BothSizes, testing::Values(64, 128));

TEST_P(BothSizes, CompletionFormatAndWrap) {
    Machine m(GetParam());
    m.guest.bringUp();
    const uint32_t wqebbs = GetParam() / 32;
    for (uint32_t i = 0; i < 700; ++i) { // several rounds of both rings
        const Reply reply = m.guest.command(1, 2);
        ASSERT_EQ(reply.status, 0u) << i;
        EXPECT_EQ(reply.opcode, 2u);
        EXPECT_EQ(reply.queueType, 2u);
        EXPECT_EQ(reply.sqIndex, (i * wqebbs) & 0xFFFF);
        EXPECT_EQ(reply.resp0, 0x225u);
    }
    EXPECT_EQ(m.count(Counter::Commands), 700u);
    EXPECT_EQ(m.count(Counter::CommandErrors), 0u);
}

TEST_P(BothSizes, ManyWithOneDoorbellCompleteInOrder) {
    Machine m(GetParam());
    m.guest.bringUp();
    const uint32_t n = m.guest.commandSq().depth * 32 / GetParam(); // ring full
    for (uint32_t i = 0; i < n; ++i)
        m.guest.stage(1, i % 2 ? 2 : 77);
    m.guest.ringCommands();
    m.guest.settle();
    for (uint32_t i = 0; i < n; ++i) {
        const auto reply = m.guest.pollCommand();
        ASSERT_TRUE(reply.has_value()) << i;
        EXPECT_EQ(reply->status, i % 2 ? 0u : 95u);
        EXPECT_EQ(reply->sqIndex, i * GetParam() / 32);
    }
    EXPECT_FALSE(m.guest.pollCommand().has_value());
}

TEST_P(BothSizes, Objects) {
    Ready m(GetParam());
    EXPECT_TRUE(m.guest.createCq(1).ok());
    const Reply qp = m.guest.createQp(2, 1, 1);
    EXPECT_TRUE(qp.ok());
    EXPECT_EQ(qp.resp0, 2u); // cookie
    EXPECT_TRUE(m.guest.registerMr(3, 0x1000, m.guest.memory().allocate(20000), 20000).ok());
    EXPECT_TRUE(m.guest.registerDma(4, 0x3C).ok());
    EXPECT_TRUE(m.guest.registerFast(5, m.guest.memory().allocate(4096), 512).ok());
    EXPECT_EQ(m.count(Counter::EqsNow), 1u);
    EXPECT_EQ(m.count(Counter::CqsNow), 1u);
    EXPECT_EQ(m.count(Counter::QpsNow), 1u);
    EXPECT_EQ(m.count(Counter::MrsNow), 3u);
    for (uint32_t i = 3; i <= 5; ++i)
        EXPECT_TRUE(m.guest.deregister(i).ok());
    EXPECT_TRUE(m.guest.stopQp(2).ok());
    EXPECT_TRUE(m.guest.reflushQp(2, 0, 0).ok());
    EXPECT_TRUE(m.guest.destroyQp(2).ok());
    EXPECT_TRUE(m.guest.destroyCq(1).ok());
    EXPECT_TRUE(m.guest.destroyEq(1).ok());
    for (const Counter gauge : {Counter::QpsNow, Counter::CqsNow, Counter::EqsNow, Counter::MrsNow})
        EXPECT_EQ(m.count(gauge), 0u);
}

TEST(Command, UnknownAndRoceOnlyOnesAreRefused) {
    Ready m;
    for (const int op : {7, 10, 13, 14, 15, 16, 17, 18, 255})
        EXPECT_EQ(m.guest.status(0, static_cast<uint8_t>(op)), 95u) << op;
    for (const int op : {12, 13, 255})
        EXPECT_EQ(m.guest.status(1, static_cast<uint8_t>(op)), 95u) << op;
    for (const int sub : {2, 3})
        EXPECT_EQ(m.guest.status(static_cast<uint8_t>(sub), 0), 95u);
    EXPECT_EQ(m.guest.status(1, 2), 0u);
}

TEST(Command, OtherBlockCountsCompleteWithAnError) {
    Ready m;
    for (const uint32_t wqebbs : {1u, 3u, 5u, 8u}) {
        Request request;
        storeLe64(request.bytes(), 0, uint64_t{wqebbs - 1} << 52 | 1u << 24 | 2u << 16);
        m.guest.putCommandBytes(request.bytes());
        const uint32_t index = m.guest.commandSq().pi;
        m.guest.commandSq().pi += wqebbs;
        m.guest.ringCommands();
        const auto reply = m.guest.pollCommand();
        ASSERT_TRUE(reply.has_value());
        EXPECT_EQ(reply->status, 22u);
        EXPECT_EQ(reply->sqIndex, index);
    }
    m.guest.commandSq().pi += 4 - m.guest.commandSq().pi % 4; // back in step
    m.guest.memory().put64(m.guest.commandSq().address, 0);
    m.guest.ringCommands();
    while (m.guest.pollCommand()) {
    }
    EXPECT_EQ(m.guest.status(1, 2), 0u);
}

TEST(Command, EntryLongerThanWhatWasRung) {
    Ready m;
    Request request;
    storeLe64(request.bytes(), 0, uint64_t{3} << 52 | 1u << 24 | 2u << 16);
    m.guest.putCommandBytes(request.bytes());
    m.guest.commandSq().pi += 2;
    m.guest.ringCommands();
    EXPECT_EQ(m.guest.pollCommand()->status, 22u);
    EXPECT_FALSE(m.guest.pollCommand().has_value());
}

TEST(Command, ProducerBeyondTheRing) {
    Ready m;
    const uint64_t commands = m.count(Counter::Commands);
    m.guest.write64(0x200, (m.guest.commandSq().pi + 513) & 0xFFFF);
    m.guest.write64(0x200, (m.guest.commandSq().pi - 4) & 0xFFFF); // the past
    EXPECT_EQ(m.count(Counter::Commands), commands);
    EXPECT_EQ(m.count(Counter::BadDoorbells), 2u);
    EXPECT_EQ(m.guest.status(1, 2), 0u);
}

TEST(Command, EntryMayWrapInAHostileRing) {
    Ready m;
    // One block, then entries of four that cross the ring end.
    Request one;
    storeLe64(one.bytes(), 0, 1u << 24 | 2u << 16);
    m.guest.putCommandBytes(one.bytes());
    m.guest.commandSq().pi += 1;
    m.guest.ringCommands();
    m.guest.pollCommand();
    for (int i = 0; i < 300; ++i)
        ASSERT_EQ(m.guest.status(1, 2), 0u);
}

TEST(Command, UnreachableRings) {
    Ready m;
    m.host.memory->block(m.guest.commandSq().address, 512 * 32);
    EXPECT_EQ(m.guest.status(1, 2), UINT32_MAX);
    EXPECT_EQ(m.count(Counter::DmaErrors), 1u);
    m.host.memory->unblock();
    EXPECT_EQ(m.guest.status(1, 2), 0u); // what was dropped is over
    // The rest of an entry on a page of its own.
    while (m.guest.commandSq().pi % 128 != 124)
        m.guest.command(1, 2);
    m.guest.commandSq().pi += 1;
    Request one;
    storeLe64(one.bytes(), 0, 1u << 24 | 2u << 16);
    m.guest.commandSq().pi -= 1;
    m.guest.putCommandBytes(one.bytes());
    m.guest.commandSq().pi += 1;
    m.guest.ringCommands();
    EXPECT_EQ(m.guest.pollCommand()->status, 22u);
    m.guest.stage(1, 2);
    m.host.memory->block((m.guest.commandSq().address + uint64_t{m.guest.commandSq().pi & 511} * 32 - 32) & ~4095ull);
    m.guest.ringCommands();
    EXPECT_EQ(m.guest.pollCommand()->status, 14u);
    m.host.memory->unblock();
    m.host.memory->block(m.guest.commandCq().address, 512 * 32);
    EXPECT_EQ(m.guest.status(1, 2), UINT32_MAX);
    EXPECT_TRUE(m.guest.initDone());
}

// ---- events ----

TEST(Command, PollingModeRaisesNothing) {
    Ready m;
    for (int i = 0; i < 100; ++i)
        ASSERT_EQ(m.guest.status(1, 2), 0u);
    EXPECT_TRUE(m.host.interrupts.empty());
    EXPECT_FALSE(m.guest.pollEq(m.guest.commandEq()).has_value());
}

TEST(Command, EventMode) {
    Ready m;
    m.guest.armCommandCq();
    EXPECT_TRUE(m.host.interrupts.empty());
    for (int i = 0; i < 300; ++i) {
        m.guest.stage(1, 2);
        m.guest.ringCommands();
        ASSERT_EQ(m.host.interrupts.size(), static_cast<size_t>(i + 1));
        // The driver's handler.
        ASSERT_TRUE(m.guest.pollEq(m.guest.commandEq()).has_value());
        EXPECT_FALSE(m.guest.pollEq(m.guest.commandEq()).has_value());
        m.guest.countCommandEvent();
        ASSERT_TRUE(m.guest.pollCommand().has_value());
        m.guest.armCommandCq();
        m.guest.ringEq(0);
        m.guest.ringAeq();
    }
    EXPECT_EQ(m.host.interruptsOf(0), 300u);
}

TEST(Command, ArmThatLagsFiresAtOnce) {
    Ready m;
    m.guest.stage(1, 2);
    m.guest.ringCommands(); // completed before the first arm
    m.guest.armCommandCq();
    EXPECT_EQ(m.host.interruptsOf(0), 1u);
    EXPECT_TRUE(m.guest.pollEq(m.guest.commandEq()).has_value());
}

TEST(Command, NoEventWithoutNewCompletion) {
    Ready m;
    m.guest.armCommandCq();
    m.guest.stage(1, 2);
    m.guest.stage(1, 2);
    m.guest.ringCommands(); // two completions, one event
    EXPECT_TRUE(m.guest.pollEq(m.guest.commandEq()).has_value());
    EXPECT_FALSE(m.guest.pollEq(m.guest.commandEq()).has_value());
    while (m.guest.pollCommand()) {
    }
    m.guest.armCommandCq();
    m.guest.ringEq(0);
    m.guest.ringEq(0);
    m.guest.armCommandCq();
    EXPECT_EQ(m.host.interruptsOf(0), 1u);
    EXPECT_FALSE(m.guest.pollEq(m.guest.commandEq()).has_value());
}

TEST(Command, HeaderOfACompletionIsWrittenLast) {
    Ready m;
    m.host.keepWrites = true;
    ASSERT_EQ(m.guest.status(1, 2), 0u);
    ASSERT_EQ(m.host.writes.size(), 3u);
    EXPECT_EQ(m.host.writes[0].addr, m.host.writes[2].addr + 4);
    EXPECT_EQ(m.host.writes[0].length, 28u);
    EXPECT_EQ(m.host.writes[1].addr, FakeHost::kBarrier);
    EXPECT_EQ(m.host.writes[2].length, 4u);
}

// ---- capabilities ----

TEST(Command, QueryDevice) {
    Ready m;
    const Reply reply = m.guest.command(0, 0);
    ASSERT_TRUE(reply.ok());
    EXPECT_EQ(reply.resp0, uint64_t{13} << 56 | uint64_t{20} << 40 | 0xF8000000 | 15 << 16 | 36);
    EXPECT_EQ(reply.resp1, uint64_t{0x0FFFFF00} << 32 | 1u << 28 | 4u << 16);
    erdma_config config = testConfig();
    config.atomic = config.multilevel_mtt = config.extended_doorbells = config.ipv6 = config.mpa_crc = false;
    config.max_cqe_log = 10;
    config.max_recv_wr_log = 9;
    config.max_mr_size_log = 30;
    config.qblock = 64;
    config.default_cc = 4;
    Ready other(128, config);
    const Reply o = other.guest.command(0, 0);
    EXPECT_EQ(o.resp0, uint64_t{12} << 56 | uint64_t{10} << 40 | 0x40000000 | 9 << 16 | 30);
    EXPECT_EQ(o.resp1, uint64_t{0x0FFFFF00} << 32 | 4u << 28 | 64u << 16);
}

// ---- event queues ----

TEST(Command, EventQueues) {
    Machine m;
    m.guest.bringUp();
    for (uint8_t n = 1; n < 32; ++n)
        EXPECT_TRUE(m.guest.createEq(n).ok());
    EXPECT_EQ(m.count(Counter::EqsNow), 31u);
    EXPECT_EQ(m.guest.createEq(1).status, 17u);
    EXPECT_EQ(m.guest.createEq(0).status, 22u);
    EXPECT_EQ(m.guest.createEq(32).status, 22u);
    EXPECT_EQ(m.guest.createEq(255).status, 22u);
    EXPECT_TRUE(m.guest.destroyEq(7).ok());
    EXPECT_EQ(m.guest.destroyEq(7).status, 2u);
    EXPECT_EQ(m.guest.destroyEq(0).status, 2u);
    EXPECT_EQ(m.guest.destroyEq(200).status, 2u);
    EXPECT_EQ(m.guest.createEq(7, 12, 32).status, 22u); // vector
    EXPECT_EQ(m.guest.createEq(7, 16).status, 22u);     // depth
    EXPECT_EQ(m.guest.status(1, 0, Request().u64(8, 0).u8(16, 7).u8(17, 7).u8(18, 12).u8(19, 0)), 22u);
    EXPECT_TRUE(m.guest.createEq(7, 15).ok());
    erdma_config config = testConfig();
    config.vectors = 2;
    Machine small(128, config);
    small.guest.bringUp();
    EXPECT_TRUE(small.guest.createEq(1).ok());
    EXPECT_EQ(small.guest.createEq(2).status, 22u);
}

// ---- completion queues ----

TEST(Command, CreateCqLimits) {
    Ready m;
    EXPECT_EQ(m.guest.createCq(0).status, 22u);
    EXPECT_EQ(m.guest.createCq(8192).status, 22u);
    EXPECT_TRUE(m.guest.createCq(8191).ok());
    EXPECT_EQ(m.guest.createCq(8191).status, 17u);
    EXPECT_EQ(m.guest.createCq(1, 6, 0).status, 22u);
    EXPECT_EQ(m.guest.createCq(1, 6, 2).status, 2u);
    EXPECT_EQ(m.guest.createCq(1, 6, 32).status, 22u);
    EXPECT_EQ(m.guest.createCq(1, 6, 1023).status, 22u);
    EXPECT_TRUE(m.guest.createCq(1, 20).ok());
    EXPECT_EQ(m.guest.createCq(2, 21).status, 22u);
    EXPECT_EQ(m.guest.status(0, 4, Guest::cqRequest(3, 255, 1, 0x1000)), 22u);
    EXPECT_EQ(m.guest.destroyCq(3).status, 2u);
    EXPECT_EQ(m.guest.destroyCq(UINT32_MAX).status, 2u);
    EXPECT_TRUE(m.guest.destroyCq(1).ok());
}

TEST(Command, CreateCqCountRule) {
    Ready m;
    const uint64_t page = m.guest.memory().allocate(8192), list = m.guest.memory().allocate(4096);
    m.guest.memory().put64(list, page);
    m.guest.memory().put64(list + 8, page + 4096);
    const auto posted = [&](uint32_t cqn, uint64_t at) {
        m.device.adapter().cqs.complete(cqn, {.op = Op::Send, .queue = QueueType::Send});
        return (m.guest.memory().get32(at) & 0x80) != 0;
    };
    // Count 1: the address is the page, with either level bit.
    ASSERT_EQ(m.guest.status(0, 4, Guest::cqRequest(1, 6, 1, page, 1, 0, 0, true)), 0u);
    EXPECT_TRUE(posted(1, page));
    ASSERT_EQ(m.guest.status(0, 4, Guest::cqRequest(2, 6, 1, page, 1, 0, 2048, false)), 0u);
    EXPECT_TRUE(posted(2, page + 2048));
    // More: it is an array, with either level bit.
    ASSERT_EQ(m.guest.status(0, 4, Guest::cqRequest(3, 8, 1, list, 2, 0, 0, true)), 0u);
    EXPECT_TRUE(posted(3, page));
    ASSERT_EQ(m.guest.status(0, 4, Guest::cqRequest(4, 6, 1, list, 2, 0, 4096, false)), 0u);
    EXPECT_TRUE(posted(4, page + 4096));
}

TEST(Command, CreateCqBadTables) {
    Ready m;
    const uint64_t list = m.guest.memory().allocate(4096);
    EXPECT_EQ(m.guest.status(0, 4, Guest::cqRequest(1, 6, 1, list, 0)), 22u);
    EXPECT_EQ(m.guest.status(0, 4, Guest::cqRequest(1, 8, 1, list, 1, 0)), 22u);    // 8 KiB in one page
    EXPECT_EQ(m.guest.status(0, 4, Guest::cqRequest(1, 8, 1, list, 2, 0, 1)), 22u); // offset makes it three
    EXPECT_EQ(m.guest.status(0, 4, Guest::cqRequest(1, 6, 1, list, 1, 13, 0xFFFFFFFF)), 22u);
    EXPECT_EQ(m.guest.status(0, 4, Guest::cqRequest(1, 8, 1, m.host.memory->ramBytes, 2, 0)), 14u);
    EXPECT_EQ(m.guest.status(0, 4, Guest::cqRequest(1, 8, 1, UINT64_MAX - 3, 2, 0)), 14u);
    EXPECT_EQ(m.count(Counter::CqsNow), 0u);
}

TEST(Command, RingPagesAreBounded) {
    Ready m;
    const uint64_t list = m.guest.memory().allocate(65535 * 8);
    uint32_t created = 0, refused = 0;
    for (uint32_t cqn = 1; cqn < 800; ++cqn) // 8192 page addresses each, all of one list
        ++(m.guest.status(0, 4, Guest::cqRequest(cqn, 20, 1, list, 65535, 0)) == 12 ? refused : created);
    EXPECT_EQ(created, 512u);
    EXPECT_GT(refused, 0u);
    EXPECT_TRUE(m.guest.destroyCq(1).ok());
    EXPECT_EQ(m.guest.status(0, 4, Guest::cqRequest(1, 20, 1, list, 65535, 0)), 0u);
}

// ---- queue pairs ----

TEST(Command, CreateQpLimits) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(1).ok());
    EXPECT_EQ(m.guest.createQp(0, 1, 1).status, 22u);
    EXPECT_EQ(m.guest.createQp(4096, 1, 1).status, 22u);
    EXPECT_TRUE(m.guest.createQp(4095, 1, 1).ok());
    EXPECT_EQ(m.guest.createQp(4095, 1, 1).status, 17u);
    EXPECT_EQ(m.guest.createQp(2, 2, 1).status, 2u);
    EXPECT_EQ(m.guest.createQp(2, 1, 2).status, 2u);
    EXPECT_EQ(m.guest.createQp(2, 1, 0).status, 2u);
    EXPECT_TRUE(m.guest.createQp(2, 1, 1, 15, 15).ok());
    EXPECT_EQ(m.guest.status(0, 1, Guest::qpRequest(3, 1, 1, 16, 4, 1, 0, 0, 15)), 22u);
    EXPECT_EQ(m.guest.status(0, 1, Guest::qpRequest(3, 1, 1, 4, 16, 1, 0, 0, 15)), 22u);
    EXPECT_EQ(m.guest.status(0, 1, Guest::qpRequest(3, 1, 1, 0xFFF, 4, 1, 0, 0)), 22u);
    EXPECT_EQ(m.guest.destroyQp(3).status, 2u);
    EXPECT_EQ(m.guest.destroyQp(0).status, 2u);
    EXPECT_EQ(m.count(Counter::QpsNow), 2u);
}

TEST(Command, CreateQpLevelRule) {
    for (const uint32_t entryBytes : {64u, 128u}) {
        Ready m(entryBytes);
        ASSERT_TRUE(m.guest.createCq(1).ok());
        FakeMemory& memory = m.guest.memory();
        const uint64_t page = memory.allocate(5 * 4096), list = memory.allocate(4096);
        for (uint64_t i = 0; i < 5; ++i)
            memory.put64(list + i * 8, page + (4 - i) * 4096);
        const auto first = [&](uint32_t qpn) { return m.device.findQp(qpn)->config().sq.firstAddress(); };
        // Level 0, one page: exact address.
        ASSERT_EQ(m.guest.status(0, 1, Guest::qpRequest(1, 1, 1, 6, 4, 1, page + 64, page + 128)), 0u);
        EXPECT_EQ(first(1), page + 64);
        // Level 1: an array, also for one page (6.1).
        ASSERT_EQ(m.guest.status(0, 1, Guest::qpRequest(2, 1, 1, 6, 4, 1, list, list, 0, 1, true)), 0u);
        EXPECT_EQ(first(2), page + 4 * 4096);
        ASSERT_EQ(m.guest.status(0, 1, Guest::qpRequest(3, 1, 1, 9, 4, 1, list, list, 0, 5, true)), 0u);
        EXPECT_EQ(m.device.findQp(3)->config().sq.pageCount(), 4u); // 16 KiB
        EXPECT_EQ(m.device.findQp(3)->config().rq.pageCount(), 1u);
        // Level 0 with 2 to 4 pages: inline, in the long entry only.
        Request request = Guest::qpRequest(4, 1, 1, 9, 4, 1, page, page, 0, 4);
        for (size_t i = 0; i < 3; ++i)
            request.u64(64 + i * 8, page + (i + 1) * 4096).u64(88 + i * 8, page);
        EXPECT_EQ(m.guest.status(0, 1, request), entryBytes == 128 ? 0u : 22u);
        if (entryBytes == 128) {
            std::array<std::byte, 1> b{std::byte{0x77}}, back{};
            memory.write(page + 3 * 4096 + 5, b);
            EXPECT_TRUE(m.device.findQp(4)->config().sq.read(m.host, 3 * 4096 + 5, back));
            EXPECT_EQ(back, b);
        }
        EXPECT_EQ(m.guest.status(0, 1, Guest::qpRequest(5, 1, 1, 9, 4, 1, page, page, 0, 5)), 22u);
        EXPECT_EQ(m.guest.status(0, 1, Guest::qpRequest(5, 1, 1, 9, 4, 1, page, page, 0, 0)), 22u);
        EXPECT_EQ(m.guest.status(0, 1, Guest::qpRequest(5, 1, 1, 9, 4, 1, list, list, 0, 0, true)), 22u);
        EXPECT_EQ(m.guest.status(0, 1, Guest::qpRequest(5, 1, 1, 9, 4, 1, list, list, 0, 3, true)), 22u); // too short
        EXPECT_EQ(m.guest.status(0, 1, Guest::qpRequest(5, 1, 1, 6, 4, 1, memory.ramBytes, list, 0, 1, true)), 14u);
        EXPECT_EQ(m.guest.status(0, 1, Guest::qpRequest(5, 1, 1, 6, 4, 1, list, memory.ramBytes, 0, 1, true)), 14u);
        // Offset into the first page, merged into the word unshifted.
        ASSERT_EQ(m.guest.status(0, 1, Guest::qpRequest(6, 1, 1, 6, 4, 1, page, page, 1).u32(40, 0x1000 | 1 << 1)), 0u);
        EXPECT_EQ(first(6), page + 0x1000);
    }
}

TEST(Command, ModifyAndReflushOfUnknownOrBadState) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(1).ok());
    ASSERT_TRUE(m.guest.createQp(1, 1, 1).ok());
    for (const uint32_t state : {6u, 7u, 255u})
        EXPECT_EQ(m.guest.status(0, 3, Request().u32(8, state << 24 | 1)), 22u);
    EXPECT_EQ(m.guest.stopQp(2).status, 2u);
    EXPECT_EQ(m.guest.reflushQp(2, 0, 0).status, 2u);
    EXPECT_TRUE(m.guest.stopQp(1).ok());
    EXPECT_TRUE(m.guest.stopQp(1).ok()); // repeated
    EXPECT_TRUE(m.guest.reflushQp(1, 0, 0).ok());
}

TEST(Command, ModifyToRtsIsDecoded) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(1).ok());
    ASSERT_TRUE(m.guest.createQp(1, 1, 1).ok());
    Handover link;
    link.congestionControl = 3;
    link.cookie = 0x40000ABC;
    link.ownIp = 0x0A000001;
    link.peerIp = 0x0A000002;
    link.ownPort = 1000;
    link.peerPort = 2000;
    link.sendStart = 0x11111111;
    link.recvStart = 0x22222222;
    ASSERT_TRUE(m.guest.connectQp(1, link).ok());
    const Handover& seen = m.device.findQp(1)->handover();
    EXPECT_EQ(seen.congestionControl, 3u);
    EXPECT_EQ(seen.cookie, link.cookie);
    EXPECT_EQ(seen.ownIp, link.ownIp);
    EXPECT_EQ(seen.peerIp, link.peerIp);
    EXPECT_EQ(seen.ownPort, 1000u);
    EXPECT_EQ(seen.peerPort, 2000u);
    EXPECT_EQ(seen.sendStart, link.sendStart);
    EXPECT_EQ(seen.recvStart, link.recvStart);
    EXPECT_NE(m.host.timerAt, ERDMA_TIMER_OFF); // waits for its pair
    m.guest.advance(16'000'000'000);
    EXPECT_EQ(m.device.findQp(1)->state(), QpState::Error);
    EXPECT_EQ(m.guest.drainAeq().size(), 1u);
}

// 4.9: what bit 31 of the cookie means depends on the capability and on the entry's length.
TEST(Command, Ipv6AddressesInModifyQp) {
    Handover link;
    link.ownIp = IpAddress(0xFE80'0000'0000'0000u, 1);
    link.peerIp = IpAddress(0xFE80'0000'0000'0000u, 2);
    link.flowLabel = 0x54321;
    for (const bool on : {false, true}) {
        for (const uint32_t entry : {64u, 128u}) {
            erdma_config config = testConfig();
            config.ipv6 = on;
            Ready m(entry, config);
            ASSERT_TRUE(m.guest.createCq(1).ok());
            ASSERT_TRUE(m.guest.createQp(1, 1, 1).ok());
            ASSERT_TRUE(m.guest.connectQp(1, link).ok());
            const Handover& seen = m.device.findQp(1)->handover();
            const bool v6 = on && entry == 128;
            EXPECT_EQ(seen.ownIp, v6 ? link.ownIp : IpAddress()) << on << entry;
            EXPECT_EQ(seen.peerIp, v6 ? link.peerIp : IpAddress()) << on << entry;
            EXPECT_EQ(seen.flowLabel, v6 ? 0x54321u : 0u);
        }
    }
    // Addresses that no end of a connection has.
    Ready m;
    ASSERT_TRUE(m.guest.createCq(1).ok());
    ASSERT_TRUE(m.guest.createQp(1, 1, 1).ok());
    const auto refused = [&](const IpAddress& own, const IpAddress& peer) {
        Request request;
        request.u32(8, 2u << 24 | 1).u32(12, 1u << 31).address(48, peer).address(64, own);
        return m.guest.status(0, 3, request) == static_cast<uint32_t>(Status::Invalid);
    };
    EXPECT_TRUE(refused(link.ownIp, IpAddress(0x0A000001)));
    EXPECT_TRUE(refused(IpAddress(0x0A000001), link.peerIp));
    EXPECT_TRUE(refused(IpAddress(0, 0), link.peerIp));
    EXPECT_TRUE(refused(link.ownIp, IpAddress(0xFF02'0000'0000'0000u, 1)));
    EXPECT_EQ(m.device.findQp(1)->state(), QpState::Idle);
    EXPECT_FALSE(refused(link.ownIp, link.peerIp));
}

TEST(Command, DestroyWhileWaitingForThePair) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(1).ok());
    Handover link;
    for (const uint32_t qpn : {1u, 2u}) {
        ASSERT_TRUE(m.guest.createQp(qpn, 1, 1).ok());
        link.ownPort = static_cast<uint16_t>(qpn);
        ASSERT_TRUE(m.guest.connectQp(qpn, link).ok());
        m.host.clock += 1000;
    }
    const uint64_t first = m.host.timerAt;
    // Later than what is asked for already: kept for the next time.
    m.device.adapter().scheduler.wakeAt(first + 1, *m.device.findQp(1));
    EXPECT_EQ(m.host.timerAt, first);
    m.device.adapter().scheduler.wakeAt(first - 1, *m.device.findQp(2));
    EXPECT_EQ(m.host.timerAt, first - 1);
    ASSERT_TRUE(m.guest.destroyQp(2).ok());
    EXPECT_EQ(m.host.timerAt, first);
    ASSERT_TRUE(m.guest.destroyQp(1).ok());
    EXPECT_EQ(m.host.timerAt, ERDMA_TIMER_OFF);
}

TEST(Command, ActivatedFromOutsideAsksForAnEntry) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(1).ok());
    ASSERT_TRUE(m.guest.createQp(1, 1, 1).ok());
    QueuePair& qp = *m.device.findQp(1);
    m.device.adapter().scheduler.activate(qp);
    m.device.adapter().scheduler.activate(qp);
    EXPECT_TRUE(m.host.scheduled);
    m.guest.settle(); // nothing to do, and not again
    EXPECT_FALSE(m.host.scheduled);
    m.device.adapter().scheduler.activate(qp);
    ASSERT_TRUE(m.guest.destroyQp(1).ok());
    m.guest.settle();
    EXPECT_FALSE(m.host.scheduled);
}

// ---- memory regions ----

TEST(Command, RegisterAndDeregister) {
    Ready m;
    const uint64_t bus = m.guest.memory().allocate(65536);
    EXPECT_TRUE(m.guest.registerMr(8191, 0x5123, bus + 0x123, 10000).ok());
    EXPECT_EQ(m.guest.registerMr(8191, 0x5000, bus, 4096).status, 17u);
    EXPECT_EQ(m.guest.registerMr(8192, 0x5000, bus, 4096).status, 22u);
    m.guest.memory().fill(bus + 0x123, 10000, 9);
    std::vector<std::byte> data(10000);
    EXPECT_EQ(m.device.regions().read({8191 << 8, 1, 0x5123, 10000, access::kRemoteRead, Side::Remote}, data),
              MrFault::None);
    EXPECT_EQ(data, m.guest.memory().copy(bus + 0x123, 10000));
    // Key and rights of the command; another key in DEREG_MR is fine.
    ASSERT_EQ(m.guest.status(0, 8, Guest::mrRequest(7, 0, 0x2A, 5, 0, 4096, 12, 0, 1, true, 0x7F).u64(32, bus)), 0u);
    EXPECT_EQ(m.device.regions().check({7 << 8 | 0x7F, 5, 0, 1, 0x2A, Side::Remote}), MrFault::None);
    EXPECT_EQ(m.device.regions().check({7 << 8 | 0x7F, 5, 0, 1, access::kRemoteRead, Side::Remote}), MrFault::Rights);
    EXPECT_EQ(m.guest.status(0, 9, Request().u32(8, 0x33u << 20 | 7)), 0u);
    EXPECT_EQ(m.guest.status(0, 9, Request().u32(8, 7)), 2u);
    EXPECT_EQ(m.guest.status(0, 8, Guest::mrRequest(7, 3, 0x3E, 5, 0, 4096, 12, 0, 1)), 22u);
    EXPECT_EQ(m.guest.status(0, 8, Guest::mrRequest(7, 0, 0x3E, 5, 0, 0, 12, 0, 1)), 22u); // zero length
    EXPECT_EQ(m.count(Counter::MrsNow), 1u);
}

TEST(Command, RegisterTree) {
    Ready m;
    const uint64_t root = m.guest.memory().allocate(8192), leaf = m.guest.memory().allocate(8192);
    const uint64_t bus = m.guest.memory().allocate(4096);
    m.guest.memory().put64(root, leaf);
    m.guest.memory().put64(leaf + 5 * 8, bus);
    // 8 KiB table pages, 6 pages, sizes in two words.
    Request request = Guest::mrRequest(7, 0, 0x3E, 1, 0, 6 * 4096, 12, 2, 6, true, 0, 1, 1);
    request.u64(32, root).u32(40, 0).u32(44, 0);
    ASSERT_EQ(m.guest.status(0, 8, request), 0u);
    std::array<std::byte, 16> data;
    data.fill(std::byte{0x3C});
    EXPECT_EQ(m.device.regions().write({7 << 8, 1, 5 * 4096 + 8, 16, access::kLocalWrite, Side::User}, data),
              MrFault::None);
    EXPECT_EQ(m.guest.memory().get64(bus + 8), 0x3C3C3C3C3C3C3C3Cu);
    erdma_config config = testConfig();
    config.multilevel_mtt = false;
    Ready flat(128, config);
    EXPECT_EQ(flat.guest.status(0, 8, request), 95u);
}

// ---- queries and settings ----

struct Block {
    uint32_t status;
    std::vector<std::byte> bytes;
    uint16_t u16(size_t at) const { return loadLe16(bytes, at); }
    uint32_t u32(size_t at) const { return loadLe32(bytes, at); }
    uint64_t u64(size_t at) const { return loadLe64(bytes, at); }
    uint8_t u8(size_t at) const { return load8(bytes, at); }
};

Block query(Machine& m, uint8_t sub, uint8_t op, uint32_t index, uint32_t room = 256) {
    const uint64_t target = m.guest.memory().allocate(4096);
    m.guest.memory().write(target, std::vector<std::byte>(512, std::byte{0xEE}));
    Block block;
    block.status = m.guest.status(sub, op, Request().u32(12, index).u64(16, target).u32(24, room));
    block.bytes = m.guest.memory().copy(target, 512);
    for (size_t i = room; i < block.bytes.size(); ++i)
        EXPECT_EQ(block.bytes[i], std::byte{0xEE}); // never more than asked for
    return block;
}

TEST(Command, GetStats) {
    Ready m;
    Counters& c = m.device.counters();
    uint64_t n = 0x100000001;
    for (const Counter id : {Counter::TxRequests, Counter::TxPackets, Counter::TxBytes, Counter::TxDrops,
                             Counter::RxPackets, Counter::RxBytes, Counter::RxDrops})
        c[id] = n++;
    const Block b = query(m, 1, 4, 0xA5A5A5A5);
    ASSERT_EQ(b.status, 0u);
    EXPECT_EQ(b.u16(0), 0x5566u);
    EXPECT_EQ(b.u8(3), 104u);
    n = 0x100000001;
    for (const size_t at : {16, 24, 32, 40})
        EXPECT_EQ(b.u64(at), n++);
    for (const size_t at : {48, 56, 88, 96})
        EXPECT_EQ(b.u64(at), 0u);
    for (const size_t at : {64, 72, 80})
        EXPECT_EQ(b.u64(at), n++);
    EXPECT_EQ(b.u64(104), 0xEEEEEEEEEEEEEEEEu);
}

TEST(Command, QueriesNeverWriteMoreThanTheTarget) {
    Ready m;
    for (const uint32_t room : {16u, 17u, 40u, 103u, 104u, 512u})
        EXPECT_EQ(query(m, 1, 4, 0, room).status, 0u) << room;
    for (const uint32_t room : {0u, 15u})
        EXPECT_EQ(query(m, 1, 4, 0, room).status, 22u);
    EXPECT_EQ(m.guest.status(1, 4, Request().u64(16, m.host.memory->ramBytes).u32(24, 256)), 14u);
    EXPECT_EQ(m.guest.status(1, 4, Request().u64(16, UINT64_MAX - 7).u32(24, UINT32_MAX)), 14u);
}

TEST(Command, QueryQpc) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(1).ok());
    ASSERT_TRUE(m.guest.createCq(2).ok());
    ASSERT_TRUE(m.guest.createQp(9, 1, 2, 6, 4, 0x1234).ok());
    m.guest.memory().put64(0x20, 0xAABB); // the SQ's doorbell record
    m.guest.postRecv(9, 0, 0, 0);
    const Block b = query(m, 0, 11, 9);
    ASSERT_EQ(b.status, 0u);
    EXPECT_EQ(b.u16(0), 0x5566u);
    EXPECT_EQ(b.u8(3), 140u);
    EXPECT_EQ(b.u32(4), 9u);
    EXPECT_EQ(b.u8(16), 1u);
    EXPECT_EQ(b.u8(18), 20u);
    EXPECT_EQ(b.u8(19), 6u);
    EXPECT_EQ(b.u8(27), 4u);
    EXPECT_EQ(b.u16(28), 1u); // RQ PI
    EXPECT_EQ(b.u32(56), 0x1234u);
    EXPECT_EQ(b.u8(66), 0u);
    EXPECT_EQ(b.u32(72), 1u);
    EXPECT_EQ(b.u32(76), 2u);
    EXPECT_EQ(b.u64(80), m.guest.qp(9).sq.address);
    EXPECT_EQ(b.u64(88), m.guest.qp(9).rq.address);
    EXPECT_EQ(b.u64(96), 0x20u);
    EXPECT_EQ(b.u64(112), 0xAABBu);
    ASSERT_TRUE(m.guest.stopQp(9).ok());
    EXPECT_EQ(query(m, 0, 11, 9).u8(67), 1u);
    EXPECT_EQ(query(m, 0, 11, 10).status, 2u);
    const Block cmdq = query(m, 0, 11, 0);
    ASSERT_EQ(cmdq.status, 0u);
    EXPECT_EQ(cmdq.u64(80), m.guest.commandSq().address);
    EXPECT_EQ(cmdq.u8(19), 9u);
}

TEST(Command, QueryCqc) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(5, 6).ok());
    for (int i = 0; i < 65; ++i)
        m.device.adapter().cqs.complete(5, {.op = Op::Send, .queue = QueueType::Send});
    const Block b = query(m, 0, 12, 5);
    ASSERT_EQ(b.status, 0u);
    EXPECT_EQ(b.u32(16), 65u);
    EXPECT_EQ(b.u8(20), 1u);
    EXPECT_EQ(b.u8(21), 6u);
    EXPECT_EQ(b.u8(22), 0u); // second pass
    EXPECT_EQ(b.u64(32), 0x10u);
    EXPECT_EQ(query(m, 0, 12, 6).status, 2u);
    const Block cmd = query(m, 0, 12, 0);
    EXPECT_EQ(cmd.status, 0u);
    EXPECT_EQ(cmd.u8(21), 9u);
}

TEST(Command, QueryEqc) {
    Ready m;
    ASSERT_TRUE(m.guest.createEq(31).ok());
    const Block aeq = query(m, 1, 6, 0);
    ASSERT_EQ(aeq.status, 0u);
    EXPECT_EQ(aeq.u16(16), 4096u);
    EXPECT_EQ(aeq.u64(32), m.guest.aeq().address);
    const Block cmd = query(m, 1, 6, 1);
    EXPECT_EQ(cmd.u16(16), 128u);
    const Block last = query(m, 1, 6, 32);
    EXPECT_EQ(last.status, 0u);
    EXPECT_EQ(last.u16(18), 31u);
    EXPECT_EQ(last.u8(20), 0u); // armed
    EXPECT_EQ(query(m, 1, 6, 5).status, 2u);
    EXPECT_EQ(query(m, 1, 6, 33).status, 2u);
    EXPECT_EQ(query(m, 1, 6, UINT32_MAX).status, 2u);
}

TEST(Command, Settings) {
    Ready m;
    for (const uint32_t mtu : {68u, 1500u, 9000u, 65535u})
        EXPECT_EQ(m.guest.status(1, 3, Request().u32(8, mtu)), 0u);
    for (const uint32_t mtu : {0u, 67u, 65536u, UINT32_MAX})
        EXPECT_EQ(m.guest.status(1, 3, Request().u32(8, mtu)), 22u);
    for (const uint32_t n : {1u, 24u, 255u})
        EXPECT_EQ(m.guest.status(1, 7, Request().u32(8, n)), 0u);
    for (const uint32_t n : {0u, 256u})
        EXPECT_EQ(m.guest.status(1, 7, Request().u32(8, n)), 22u);
    EXPECT_EQ(m.guest.status(1, 10, Request().u32(8, 1).u8(12, 9).u8(13, 0)), 0u);
    EXPECT_EQ(m.guest.status(1, 10, Request().u32(8, 4).u8(13, 1)), 0u);
    EXPECT_EQ(m.guest.status(1, 10, Request().u32(8, 2)), 22u);
    const Block b = query(m, 1, 11, 0);
    ASSERT_EQ(b.status, 0u);
    EXPECT_EQ(b.u16(0), 0x5566u);
    EXPECT_EQ(b.u32(16), 0u);
    EXPECT_EQ(b.u32(20), 0u);
    EXPECT_EQ(b.u8(24), 9u);
}

TEST(Command, ResetWhileBusy) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(1).ok());
    for (uint32_t qpn = 1; qpn < 20; ++qpn)
        ASSERT_TRUE(m.guest.createQp(qpn, 1, 1).ok());
    for (int i = 0; i < 128; ++i)
        m.guest.stage(1, 2);
    m.guest.write32(0x10, 1);
    m.guest.write32(0x10, 1);
    EXPECT_EQ(m.count(Counter::QpsNow), 0u);
    m.guest.ringCommands();
    EXPECT_FALSE(m.guest.pollCommand().has_value());
    m.guest.bringUp(false);
    EXPECT_EQ(m.guest.status(1, 2), 0u);
}

// ---- hostile ----

TEST(Command, RandomCommandsNeverHarm) {
    for (const uint32_t entryBytes : {64u, 128u}) {
        std::mt19937_64 random(entryBytes);
        Ready m(entryBytes);
        m.host.memory->ramBytes = 1 << 30;
        const uint64_t scratch = m.guest.memory().allocate(1 << 20);
        for (int i = 0; i < 20000; ++i) {
            Request request(static_cast<uint8_t>(random()));
            for (size_t at = 8; at + 8 <= 128; at += 8) {
                switch (random() % 5) {
                case 0:
                    request.u64(at, random());
                    break;
                case 1:
                    request.u64(at, scratch + (random() % (1 << 20)));
                    break;
                case 2:
                    request.u64(at, random() % 32 | (random() % 32) << 32);
                    break;
                case 3: // fields at the top of a word and small numbers
                    request.u64(at, (random() & 0xFF00000F0F70000F) | (random() % 4) << 16);
                    break;
                default:
                    break;
                }
            }
            const auto sub = static_cast<uint8_t>(random() % 2);
            const auto op = static_cast<uint8_t>(random() % 18);
            if (random() % 50 == 0)
                m.guest.memory().put64(m.guest.commandSq().address + random() % (512 * 32) / 8 * 8, random());
            m.guest.command(sub, op, request);
            if (random() % 5 == 0)
                m.guest.createCq(static_cast<uint32_t>(1 + random() % 8), static_cast<uint32_t>(random() % 8));
            if (random() % 5 == 0) {
                const auto cqn = static_cast<uint32_t>(1 + random() % 8);
                m.guest.createQp(static_cast<uint32_t>(1 + random() % 8), cqn, cqn, 3, 3);
            }
            if (random() % 4 == 0)
                m.guest.write64(kSqDoorbells, (1 + random() % 8) << 32 | (random() & 0xFFFF));
            if (random() % 4 == 0)
                m.guest.write64(kRqDoorbells, (1 + random() % 8) << 32 | (random() & 0xFFFF));
            if (random() % 4 == 0)
                m.guest.write64(kCqDoorbells, (1 + random() % 8) << 32 | (random() & 0xC0FFFFFF));
            if (random() % 200 == 0)
                m.guest.advance(1'000'000'000);
            if (random() % 2000 == 0) {
                m.guest.bringUp(random() % 2);
                m.guest.createEq(1);
            }
        }
        EXPECT_LT(m.host.memory->pagesInUse(), 100000u);
        m.guest.bringUp();
        EXPECT_EQ(m.guest.status(1, 2), 0u);
    }
}

} // namespace
} // namespace erdma::test
