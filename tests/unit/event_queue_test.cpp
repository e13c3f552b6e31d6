// SPDX-License-Identifier: GPL-2.0-or-later
// Event queues: adapter.md chapter 5.
#include "event_queue.h"

#include <gtest/gtest.h>

#include "fake_host.h"

namespace erdma::test {
namespace {

constexpr uint64_t kRing = 0x10000;
constexpr uint64_t kArm = 1u << 31;

struct Queue {
    explicit Queue(uint32_t depth = 8) { eq.open(kRing, depth, 3, 5); }
    bool post(uint32_t number) { return eq.post(host, counters, {number, 1, 2, 3}); }
    bool ring(uint64_t value) { return eq.doorbell(host, counters, value); }
    uint32_t word(uint32_t slot, uint32_t i = 0) { return host.memory->get32(kRing + slot * 16 + i * 4); }
    FakeHost host;
    Counters counters;
    EventQueue eq;
};

TEST(EventQueue, StartsArmedAndInterruptsOnce) {
    Queue q;
    EXPECT_TRUE(q.eq.armed());
    EXPECT_TRUE(q.post(7));
    EXPECT_EQ(q.host.interrupts, std::vector<unsigned>{3});
    EXPECT_FALSE(q.eq.armed());
    EXPECT_TRUE(q.post(8));
    EXPECT_EQ(q.host.interrupts.size(), 1u);
    EXPECT_EQ(q.word(0), 0x80000007u);
    EXPECT_EQ(q.word(0, 3), 3u);
    EXPECT_EQ(q.word(1), 0x80000008u);
    EXPECT_EQ(q.counters[Counter::Interrupts], 1u);
}

TEST(EventQueue, ArmWithCaughtUpConsumer) {
    Queue q;
    q.post(1);
    EXPECT_TRUE(q.ring(kArm | 1));
    EXPECT_TRUE(q.eq.armed());
    EXPECT_EQ(q.host.interrupts.size(), 1u);
    EXPECT_TRUE(q.ring(kArm | 1)); // arming an armed queue is harmless
    EXPECT_TRUE(q.eq.armed());
    EXPECT_EQ(q.host.interrupts.size(), 1u);
    q.post(2);
    EXPECT_EQ(q.host.interrupts.size(), 2u);
}

TEST(EventQueue, ArmWithLaggingConsumerInterruptsAtOnceAndStaysUnarmed) {
    Queue q;
    q.post(1);
    q.post(2);
    EXPECT_TRUE(q.ring(kArm | 1));
    EXPECT_EQ(q.host.interrupts.size(), 2u);
    EXPECT_FALSE(q.eq.armed());
    q.post(3);
    EXPECT_EQ(q.host.interrupts.size(), 2u);
}

TEST(EventQueue, DoorbellWithoutArmOnlyMovesTheConsumer) {
    Queue q;
    q.post(1);
    EXPECT_TRUE(q.ring(1));
    EXPECT_EQ(q.eq.consumer(), 1u);
    EXPECT_FALSE(q.eq.armed());
    EXPECT_EQ(q.host.interrupts.size(), 1u);
}

TEST(EventQueue, OwnerBitAlternatesByPass) {
    Queue q(4);
    for (uint32_t i = 0; i < 12; ++i) {
        ASSERT_TRUE(q.post(i));
        EXPECT_EQ(q.word(i % 4) >> 31, (i / 4) % 2 == 0 ? 1u : 0u) << i;
        q.ring(kArm | (i + 1));
    }
}

TEST(EventQueue, OwnerWordIsWrittenLast) {
    Queue q;
    q.host.keepWrites = true;
    q.post(1);
    ASSERT_EQ(q.host.writes.size(), 3u);
    EXPECT_EQ(q.host.writes[0].addr, kRing + 4);
    EXPECT_EQ(q.host.writes[2].addr, kRing);
    EXPECT_EQ(q.host.writes[2].length, 4u);
}

TEST(EventQueue, FullRingHoldsBackInOrder) {
    Queue q(4);
    for (uint32_t i = 0; i < 10; ++i)
        EXPECT_TRUE(q.post(i));
    EXPECT_EQ(q.eq.producer(), 4u);
    EXPECT_EQ(q.eq.held(), 6u);
    for (uint32_t i = 0; i < 4; ++i)
        EXPECT_EQ(q.word(i) & 0xFF, i); // nothing overwritten
    EXPECT_TRUE(q.ring(kArm | 3));
    EXPECT_EQ(q.eq.producer(), 7u);
    EXPECT_EQ(q.word(0), 4u); // second pass: owner 0
    EXPECT_EQ(q.word(2), 6u);
    EXPECT_EQ(q.host.interrupts.size(), 2u);
    EXPECT_TRUE(q.ring(kArm | 7));
    EXPECT_EQ(q.eq.held(), 0u);
    EXPECT_EQ(q.eq.producer(), 10u);
    EXPECT_EQ(q.host.interrupts.size(), 3u);
    EXPECT_TRUE(q.ring(kArm | 10));
    EXPECT_TRUE(q.eq.armed());
}

TEST(EventQueue, ConsumerIsSixteenBits) {
    Queue q(4);
    for (uint32_t i = 0; i < 65536 + 10; ++i) {
        ASSERT_TRUE(q.post(i & 0xFF));
        ASSERT_TRUE(q.ring(kArm | ((i + 1) & 0xFFFF)));
        ASSERT_TRUE(q.eq.armed()) << i;
    }
    EXPECT_EQ(q.eq.held(), 0u);
    q.post(0);
    EXPECT_TRUE(q.ring(kArm | 0xAB0000 | (q.eq.producer() & 0xFFFF))); // bits above 15 are not looked at
    EXPECT_TRUE(q.eq.armed());
}

TEST(EventQueue, ImpossibleConsumerIsRefused) {
    Queue q(4);
    q.post(1);
    EXPECT_FALSE(q.ring(kArm | 2));
    EXPECT_FALSE(q.ring(kArm | 0xFFFC));
    EXPECT_TRUE(q.ring(kArm | 0xFFFF)); // a late doorbell of the past
    EventQueue closed;
    EXPECT_FALSE(closed.doorbell(q.host, q.counters, kArm));
    EXPECT_FALSE(closed.post(q.host, q.counters, {}));
}

TEST(EventQueue, LargestRingFillsCompletely) {
    Queue q(32768);
    for (uint32_t i = 0; i < 32768; ++i)
        ASSERT_TRUE(q.post(1));
    EXPECT_EQ(q.eq.held(), 0u);
    EXPECT_TRUE(q.post(1));
    EXPECT_EQ(q.eq.held(), 1u);
    EXPECT_TRUE(q.ring(kArm | 0x8000));
    EXPECT_EQ(q.eq.held(), 0u);
}

TEST(EventQueue, HoldBackIsBounded) {
    Queue q(2);
    for (size_t i = 0; i < EventQueue::kMaxHeld + 2; ++i)
        ASSERT_TRUE(q.post(1));
    EXPECT_FALSE(q.post(1));
    EXPECT_EQ(q.eq.held(), EventQueue::kMaxHeld);
}

TEST(EventQueue, HeldEventsOfOneCqAreOneAndCanBeDropped) {
    Queue q(2);
    for (uint32_t i = 0; i < 100; ++i) {
        EXPECT_TRUE(q.eq.postForCq(q.host, q.counters, 17, i));
        EXPECT_TRUE(q.eq.postForCq(q.host, q.counters, 18, i));
    }
    EXPECT_EQ(q.eq.producer(), 2u);
    EXPECT_EQ(q.eq.held(), 2u);
    q.eq.dropCq(17);
    q.eq.dropCq(99);
    EXPECT_EQ(q.eq.held(), 1u);
    q.ring(kArm | 2);
    EXPECT_EQ(q.word(0), 18u);
    EXPECT_EQ(q.eq.producer(), 3u);
    EXPECT_TRUE(q.eq.postForCq(q.host, q.counters, 18, 0x1000005));
    EXPECT_EQ(q.word(1), 18u);
    EXPECT_EQ(q.word(1, 1), 5u); // PI of the CQ modulo 2^24
}

TEST(EventQueue, UnwritableRing) {
    Queue q;
    q.host.memory->block(kRing);
    EXPECT_FALSE(q.post(1));
    EXPECT_EQ(q.eq.producer(), 0u);
    EXPECT_TRUE(q.host.interrupts.empty());
    EXPECT_EQ(q.counters[Counter::DmaErrors], 1u);
    q.host.memory->unblock();
    EXPECT_TRUE(q.post(1));
    EXPECT_EQ(q.host.interrupts.size(), 1u);
}

TEST(EventQueue, HeldEventIsLostWhenTheRingGoesAway) {
    Queue q(1);
    q.post(1);
    q.post(2);
    q.host.memory->block(kRing);
    EXPECT_TRUE(q.ring(kArm | 1));
    EXPECT_EQ(q.counters[Counter::LostEvents], 1u);
}

// ---- in the device ----

TEST(EventQueue, AsyncEventsThroughTheDevice) {
    Machine m;
    m.device.adapter().events.raise(AsyncEvent::QpFatal, 1, 0); // before INIT: nothing
    m.guest.bringUp();
    m.device.adapter().events.raise(AsyncEvent::Access, 0x123, 0x1005);
    EXPECT_EQ(m.host.interrupts, std::vector<unsigned>{0});
    const auto e = m.guest.pollEq(m.guest.aeq());
    ASSERT_TRUE(e.has_value());
    EXPECT_EQ(*e, (Eqe{0x80020000, 0x123, 0x1005, 0}));
    m.guest.ringAeq();
    m.device.adapter().events.raise(AsyncEvent::Cq, 9, 0);
    EXPECT_EQ(m.host.interrupts.size(), 2u);
    EXPECT_EQ(m.count(Counter::AsyncEvents), 2u);
    m.guest.write64(0x50, kArm | 77); // ahead of PI
    EXPECT_EQ(m.count(Counter::BadDoorbells), 1u);
}

TEST(EventQueue, DoorbellOfAbsentQueueIsCounted) {
    Machine m;
    m.guest.bringUp();
    m.guest.write64(0x108, kArm);
    m.guest.write32(0x108, 1); // halves ring with the high one
    m.guest.write32(0x10C, 0);
    EXPECT_EQ(m.count(Counter::BadDoorbells), 2u);
}

TEST(EventQueue, LostAsyncEventsAreCounted) {
    Machine m;
    m.guest.bringUp();
    m.host.memory->block(m.guest.aeq().address, 4096 * 16);
    m.device.adapter().events.raise(AsyncEvent::QpFatal, 1, 0);
    EXPECT_EQ(m.count(Counter::LostEvents), 1u);
}

} // namespace
} // namespace erdma::test
