// SPDX-License-Identifier: GPL-2.0-or-later
// Completion queues: adapter.md 4.5, 6.5, 7.4.
#include "completion_queue.h"

#include <gtest/gtest.h>

#include "fake_host.h"

namespace erdma::test {
namespace {

constexpr uint64_t kRing = 0x20000;

struct Queue {
    explicit Queue(uint32_t depthLog = 3)
        : cq(9, RingView({kRing}, 1 << 20, 0, uint64_t{32} << depthLog), depthLog, 1) {}
    bool post(bool solicited = false, Syndrome syndrome = Syndrome::Success) {
        Completion c{.op = Op::Send, .queue = QueueType::Send, .syndrome = syndrome};
        c.solicited = solicited;
        return cq.post(host, c, fire);
    }
    // Entries that a reminder is wanted for.  `fetched` is CMDSN, the events that the host has seen.
    uint32_t arm(uint64_t ci, bool solicited = false, bool armBit = true, uint32_t fetched = 2) {
        return cq.arm(uint64_t{0xAB} << 56 | uint64_t{9} << 32 | (armBit ? 1u << 31 : 0) | (solicited ? 1u << 30 : 0) |
                          (fetched & 3) << 28 | (ci & 0xFFFFFF),
                      fire);
    }
    FakeHost host;
    CompletionQueue cq;
    unsigned events = 0;
    std::function<void()> fire = [this] { ++events; };
};

TEST(CompletionQueue, EntryLayout) {
    Queue q;
    Completion c{.op = Op::RecvSendImm, .queue = QueueType::Receive, .syndrome = Syndrome::RecvBounds};
    c.index = 0x1234;
    c.qpn = 0xABCDE;
    c.word12 = 0x11223344;
    c.bytes = 0x55667788;
    ASSERT_TRUE(q.cq.post(q.host, c, q.fire));
    const auto raw = q.host.memory->copy(kRing, 32);
    EXPECT_EQ(loadBe32(raw, 0), 0x800C0104u);
    EXPECT_EQ(loadBe32(raw, 4), 0x1234u);
    EXPECT_EQ(loadBe32(raw, 8), 0xABCDEu);
    EXPECT_EQ(loadLe32(raw, 12), 0x11223344u); // immediates are little endian
    EXPECT_EQ(loadBe32(raw, 16), 0x55667788u);
    EXPECT_EQ(loadLe64(raw, 24), 0u);

    c.op = Op::RecvWriteImm;
    ASSERT_TRUE(q.cq.post(q.host, c, q.fire));
    EXPECT_EQ(loadLe32(q.host.memory->copy(kRing + 32, 32), 12), 0x11223344u);
    c.op = Op::RecvSendInv;
    ASSERT_TRUE(q.cq.post(q.host, c, q.fire));
    EXPECT_EQ(loadBe32(q.host.memory->copy(kRing + 64, 32), 12), 0x11223344u); // STags big endian
}

TEST(CompletionQueue, HeaderLastOwnerByPass) {
    Queue q(1);
    q.host.keepWrites = true;
    for (uint32_t i = 0; i < 7; ++i) {
        q.host.writes.clear();
        ASSERT_TRUE(q.post());
        EXPECT_EQ(loadBe32(q.host.memory->copy(kRing + (i % 2) * 32, 4), 0) >> 31, (i / 2) % 2 == 0 ? 1u : 0u);
        ASSERT_EQ(q.host.writes.size(), 3u);
        EXPECT_EQ(q.host.writes[0].addr, kRing + (i % 2) * 32 + 4);
        EXPECT_EQ(q.host.writes[2].addr, kRing + (i % 2) * 32);
    }
    EXPECT_EQ(q.cq.producer(), 7u);
}

TEST(CompletionQueue, UnarmedNeverFires) {
    Queue q;
    for (int i = 0; i < 20; ++i)
        q.post(true);
    q.arm(20, false, false); // ARM bit missing
    q.post();
    EXPECT_EQ(q.events, 0u);
}

TEST(CompletionQueue, ArmAnyIsOneShot) {
    Queue q;
    q.arm(0);
    EXPECT_EQ(q.events, 0u);
    q.post();
    q.post();
    EXPECT_EQ(q.events, 1u);
}

TEST(CompletionQueue, ArmAnyFiresAtOnceWhenBehind) {
    Queue q;
    q.post();
    q.arm(0);
    EXPECT_EQ(q.events, 1u);
    EXPECT_FALSE(q.cq.armed());
    q.arm(1);
    EXPECT_EQ(q.events, 1u);
    EXPECT_TRUE(q.cq.armed());
    q.arm(1); // again: still one event per arm and entry
    q.post();
    EXPECT_EQ(q.events, 2u);
}

TEST(CompletionQueue, ArmSolicited) {
    Queue q;
    q.arm(0, true);
    q.post();
    EXPECT_EQ(q.events, 0u);
    q.post(true);
    EXPECT_EQ(q.events, 1u);
    q.post(true);
    EXPECT_EQ(q.events, 1u);
}

TEST(CompletionQueue, ErrorsCountAsSolicited) {
    Queue q;
    q.arm(0, true);
    q.post(false, Syndrome::Flushed);
    EXPECT_EQ(q.events, 1u);
}

TEST(CompletionQueue, ArmSolicitedLooksBack) {
    Queue q;
    q.post();
    q.post(true);
    q.post();
    q.arm(2, true); // the solicited entry was seen
    EXPECT_EQ(q.events, 0u);
    Queue r;
    r.post();
    r.post(true);
    r.post();
    r.arm(1, true);
    EXPECT_EQ(r.events, 1u);
    Queue s;
    s.post();
    s.arm(0, true); // behind, but nothing solicited
    EXPECT_EQ(s.events, 0u);
    s.post(true);
    EXPECT_EQ(s.events, 1u);
}

TEST(CompletionQueue, AnyIsKeptWhenSolicitedFollows) {
    Queue q;
    q.arm(0);
    q.arm(0, true);
    q.post();
    EXPECT_EQ(q.events, 1u);
    Queue r;
    r.arm(0, true);
    r.arm(0); // widens
    r.post();
    EXPECT_EQ(r.events, 1u);
}

// Takes everything and keeps nothing: for the millions of entries that a 24-bit counter needs.
class NoMemory final : public Host {
public:
    bool read(uint64_t, Bytes) override { return true; }
    bool write(uint64_t, ConstBytes) override { return true; }
    std::optional<uint64_t> atomic64(uint64_t, erdma_atomic_op, uint64_t, uint64_t) override { return std::nullopt; }
    void barrier() override {}
    void raise(unsigned) override {}
    uint64_t nowNs() override { return 0; }
    void armTimer(uint64_t) override {}
    void schedule() override {}
    void trace(erdma_trace_kind, uint64_t, uint64_t, uint64_t, const char*) override {}
    void guestError(const char*) override {}
};

TEST(CompletionQueue, ConsumerIsTwentyFourBits) {
    Queue q(0);
    NoMemory nothing;
    for (uint32_t i = 0; i < (1u << 24) + 3; ++i)
        q.cq.postRaw(nothing, 0, {}, i == 5, q.fire);
    q.arm((1u << 24) + 3); // 3
    EXPECT_EQ(q.events, 0u);
    q.post();
    EXPECT_EQ(q.events, 1u);
    q.arm(3, true); // the only solicited entry is 2^24 entries old
    EXPECT_EQ(q.events, 1u);
}

TEST(CompletionQueue, ConsumerIsNoCredit) {
    Queue q(2);
    for (int i = 0; i < 100; ++i)
        EXPECT_TRUE(q.post()); // round and round whatever CI was told
}

TEST(CompletionQueue, UnwritableRingStaysBroken) {
    Queue q;
    q.arm(0);
    q.host.memory->block(kRing);
    EXPECT_FALSE(q.post());
    EXPECT_TRUE(q.cq.broken());
    EXPECT_EQ(q.events, 0u);
    q.host.memory->unblock();
    EXPECT_FALSE(q.post());
}

// ---- in the device ----

struct Ready : Machine {
    Ready() {
        guest.bringUp();
        guest.createEq(1);
        guest.createEq(2);
    }
    void complete(uint32_t cqn, bool solicited = false) {
        Completion c{.op = Op::Send, .queue = QueueType::Send};
        c.qpn = 3;
        c.solicited = solicited;
        device.adapter().cqs.complete(cqn, c);
    }
};

TEST(CompletionQueue, EventReachesItsVector) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(0x155, 6, 2).ok());
    m.guest.armCq(0x155);
    m.complete(0x155);
    EXPECT_EQ(m.host.interruptsOf(2), 1u);
    EXPECT_EQ(m.host.interruptsOf(1), 0u);
    const auto e = m.guest.pollEq(m.guest.ceq(2));
    ASSERT_TRUE(e.has_value());
    EXPECT_EQ(*e, (Eqe{0x80000155, 1, 0, 0}));
    EXPECT_EQ(m.count(Counter::CqEvents), 1u);
    ASSERT_EQ(m.guest.drainCq(0x155).size(), 1u);
    m.guest.armCq(0x155, true);
    m.complete(0x155);
    EXPECT_EQ(m.count(Counter::CqEvents), 1u);
    m.complete(0x155, true);
    EXPECT_EQ(m.count(Counter::CqEvents), 2u);
    EXPECT_EQ(m.host.interruptsOf(2), 1u); // EQ not re-armed yet
    m.guest.ringEq(2);
    EXPECT_EQ(m.host.interruptsOf(2), 2u);
}

TEST(CompletionQueue, ScatteredRing) {
    Ready m;
    // 256 entries over 4 KiB pages in reverse order, starting 64 bytes into the first: three pages.
    const uint64_t pages = m.guest.memory().allocate(3 * 4096), list = m.guest.memory().allocate(64);
    for (uint64_t i = 0; i < 3; ++i)
        m.guest.memory().put64(list + 8 * i, pages + (2 - i) * 4096);
    ASSERT_EQ(m.guest.status(0, 4, Guest::cqRequest(3, 8, 1, list, 3, 0, 64)), 0u);
    m.guest.memory().put64(list, 0); // copied at creation
    for (int i = 0; i < 256; ++i)
        m.complete(3);
    EXPECT_EQ(m.guest.memory().get32(pages + 2 * 4096 + 64 + 8) >> 24, 3u);
    EXPECT_EQ(m.guest.memory().get32(pages + 2 * 4096 + 60), 0u);
    EXPECT_EQ(m.guest.memory().get32(pages + 4096 + 8) >> 24, 3u); // entry 126
    EXPECT_EQ(m.guest.memory().get32(pages + 32 + 8) >> 24, 3u);   // entry 255
    EXPECT_EQ(m.guest.memory().get32(pages + 64 + 8), 0u);
}

TEST(CompletionQueue, UnknownCqIsReportedOnce) {
    Ready m;
    for (int i = 0; i < 100; ++i)
        m.complete(77);
    const auto events = m.guest.drainAeq();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0][0] & 0x7FFFFFFF, 0x30000u);
    EXPECT_EQ(events[0][1], 77u);
}

TEST(CompletionQueue, UnwritableRingRaisesAsyncEventAndStopsItsQps) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(4).ok());
    ASSERT_TRUE(m.guest.createQp(6, 4, 4).ok());
    m.host.memory->block(m.guest.cq(4).address);
    m.complete(4);
    m.complete(4);
    EXPECT_TRUE(m.host.scheduled);
    m.guest.settle();
    const auto events = m.guest.drainAeq();
    ASSERT_GE(events.size(), 1u);
    EXPECT_EQ(events[0][0] & 0x7FFFFFFF, 0x30000u);
    EXPECT_EQ(events[0][1], 4u);
    EXPECT_EQ(m.device.findQp(6)->state(), QpState::Error);
}

TEST(CompletionQueue, DestroyedQueueLeavesNoHeldEvent) {
    Ready m;
    ASSERT_TRUE(m.guest.createEq(5, 1).ok()); // two entries
    for (uint32_t cqn = 10; cqn < 14; ++cqn) {
        ASSERT_TRUE(m.guest.createCq(cqn, 6, 5).ok());
        m.guest.armCq(cqn);
        m.complete(cqn);
    }
    ASSERT_TRUE(m.guest.destroyCq(12).ok());
    std::vector<uint32_t> seen;
    for (int round = 0; round < 3; ++round) {
        while (const auto e = m.guest.pollEq(m.guest.ceq(5)))
            seen.push_back((*e)[0] & 0xFFFFF);
        m.guest.ringEq(5);
    }
    EXPECT_EQ(seen, (std::vector<uint32_t>{10, 11, 13}));
}

TEST(CompletionQueue, DestroyedEqMeansNoEvents) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(4, 6, 2).ok());
    m.guest.armCq(4);
    ASSERT_TRUE(m.guest.destroyEq(2).ok());
    const uint64_t writes = m.host.writeCount;
    m.complete(4);
    EXPECT_EQ(m.host.writeCount, writes + 2);
    EXPECT_EQ(m.host.interruptsOf(2), 0u);
}

TEST(CompletionQueue, Counters) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(4).ok());
    for (const Syndrome s : {Syndrome::Success, Syndrome::Flushed, Syndrome::Flushed, Syndrome::SendPd})
        m.device.adapter().cqs.complete(4, {.op = Op::Send, .queue = QueueType::Send, .syndrome = s});
    EXPECT_EQ(m.count(Counter::Completions), 4u);
    EXPECT_EQ(m.count(Counter::Flushes), 2u);
    EXPECT_EQ(m.count(Counter::CompletionErrors), 1u);
}

// Programs arm with the CI of before the entry that the event was for, and poll then.
TEST(CompletionQueue, ArmBehindAFetchedEventAsksForAReminder) {
    Queue q;
    EXPECT_EQ(q.arm(0, false, true, 0), 0u);
    q.post();
    EXPECT_EQ(q.events, 1u);
    EXPECT_EQ(q.arm(0, false, true, 1), 1u); // the event was fetched, its entry not polled yet
    EXPECT_EQ(q.events, 1u);
    EXPECT_TRUE(q.cq.armed());
    q.post(); // a newer entry settles it
    EXPECT_EQ(q.events, 2u);
    q.cq.remind(q.fire);
    EXPECT_EQ(q.events, 2u);

    EXPECT_EQ(q.arm(1, false, true, 2), 1u);
    q.cq.remind(q.fire); // the host left its entry: it is told again
    EXPECT_EQ(q.events, 3u);
    q.cq.remind(q.fire);
    EXPECT_EQ(q.events, 3u);
}

TEST(CompletionQueue, ArmBehindUnreportedEntriesFiresAtOnce) {
    Queue q;
    EXPECT_EQ(q.arm(0, false, true, 0), 0u);
    q.post();
    q.post(); // after the event, before the arm
    EXPECT_EQ(q.events, 1u);
    EXPECT_EQ(q.arm(0, false, true, 1), 0u);
    EXPECT_EQ(q.events, 2u);
    // Without a fetched event in between, an arm that lags means what it says.
    EXPECT_EQ(q.arm(0, false, true, 1), 0u);
    EXPECT_EQ(q.events, 3u);
}

TEST(CompletionQueue, NewArmCancelsTheReminder) {
    Queue q;
    EXPECT_EQ(q.arm(0, false, true, 0), 0u);
    q.post();
    EXPECT_EQ(q.arm(0, false, true, 1), 1u);
    EXPECT_EQ(q.arm(1, false, true, 1), 0u); // polled meanwhile
    q.cq.remind(q.fire);
    EXPECT_EQ(q.events, 1u);
    EXPECT_TRUE(q.cq.armed());
}

TEST(CompletionQueue, WakeFiresOnlyWhenArmedForAny) {
    Queue q;
    q.cq.wake(q.fire);
    EXPECT_EQ(q.arm(0, true), 0u);
    q.cq.wake(q.fire);
    EXPECT_EQ(q.events, 0u);
    EXPECT_EQ(q.arm(0), 0u);
    q.cq.wake(q.fire);
    q.cq.wake(q.fire);
    EXPECT_EQ(q.events, 1u);
}

TEST(CompletionQueue, ReminderComesAfterAWhileUnlessSettled) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(7, 6, 1).ok());
    m.guest.armCq(7);
    m.complete(7);
    ASSERT_EQ(m.count(Counter::CqEvents), 1u);
    m.guest.armCq(7, false, 1);
    EXPECT_EQ(m.count(Counter::CqEvents), 1u);
    m.guest.advance(4'999'000'000);
    EXPECT_EQ(m.count(Counter::CqEvents), 1u);
    m.guest.advance(2'000'000);
    EXPECT_EQ(m.count(Counter::CqEvents), 2u);

    // The same again, but a newer entry comes first; then the entries are polled and nothing is left to say.
    m.guest.armCq(7, false, 2);
    m.complete(7);
    EXPECT_EQ(m.count(Counter::CqEvents), 3u);
    m.guest.armCq(7, false, 3); // two entries: it has not long to take them
    m.guest.advance(2'000'000);
    EXPECT_EQ(m.count(Counter::CqEvents), 4u);
    ASSERT_EQ(m.guest.drainCq(7).size(), 2u);
    m.guest.armCq(7, false, 4);
    m.guest.advance(20'000'000'000);
    EXPECT_EQ(m.count(Counter::CqEvents), 4u);
    EXPECT_EQ(m.host.timerAt, ERDMA_TIMER_OFF) << "an idle adapter needs no timer";
}

TEST(CompletionQueue, ArmsInARowMoveTheReminder) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(7, 6, 1).ok());
    m.guest.armCq(7);
    m.complete(7);
    for (uint32_t i = 1; i <= 5; ++i) { // each claims to have fetched an event
        m.guest.armCq(7, false, i);
        m.guest.advance(3'000'000'000);
        EXPECT_EQ(m.count(Counter::CqEvents), 1u);
    }
    m.guest.advance(3'000'000'000);
    EXPECT_EQ(m.count(Counter::CqEvents), 2u);
}

TEST(CompletionQueue, ReminderDiesWithItsQueue) {
    Ready m;
    ASSERT_TRUE(m.guest.createCq(7, 6, 1).ok());
    m.guest.armCq(7);
    m.complete(7);
    m.guest.armCq(7, false, 1);
    ASSERT_TRUE(m.guest.destroyCq(7).ok());
    m.guest.advance(20'000'000'000);
    EXPECT_EQ(m.count(Counter::CqEvents), 1u);
    EXPECT_EQ(m.host.timerAt, ERDMA_TIMER_OFF);
}

} // namespace
} // namespace erdma::test
