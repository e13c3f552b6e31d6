// SPDX-License-Identifier: GPL-2.0-or-later
// One rule (entry.h): an entry runs, then its effects are published.
#include <cstdlib>

#include "capi.h"
#include "nic_bench.h"

namespace erdma::test {
namespace {

using flag::kSignal;

size_t countCqes(const Side& side) { return side.guest->drainCq(side.scq).size(); }

TEST(Entry, InterruptsComeWhenTheWorkIsDone) {
    Bench t;
    t.a.guest->armCq(t.a.scq);
    size_t seen = 0;
    t.a.host->onInterrupt = [&](unsigned) { seen += countCqes(t.a); };
    for (int i = 0; i < 4; ++i)
        t.a.put(writeSqe(Op::Write, kSignal, {t.a.sge(0, 8)}, t.b.stag, t.b.iova));
    t.a.guest->ringSq(t.a.qpn);
    EXPECT_EQ(seen, 4u);
}

// The end of a loopback connection by command: its completion and the peer's event share vector 0.
TEST(Entry, InterruptsOfOneEntryAreMerged) {
    Bench t;
    t.a.guest->armCommandCq();
    t.post(t.b, readSqe(kSignal, t.b.sge(0, 8), t.a.stag, t.a.iova)); // so that the peer has work to lose
    t.b.put(sendSqe(Op::Send, kSignal, {t.b.sge(0, 8)}));             // waits for a receive buffer
    t.ring(t.b);
    const size_t before = t.a.host->interruptsOf(0);
    t.a.guest->stopQp(t.a.qpn, QpState::Terminate);
    EXPECT_EQ(t.a.host->interruptsOf(0), before + 1);
    EXPECT_EQ(t.events(t.b).size(), 1u);
}

TEST(Entry, AResetByAnInterruptFindsNobodyAtWork) {
    Bench t;
    t.a.guest->armCq(t.a.scq);
    size_t interrupts = 0;
    t.a.host->onInterrupt = [&](unsigned) {
        ++interrupts;
        t.a.device->reset();
        EXPECT_FALSE(t.a.alive());
    };
    for (int i = 0; i < 4; ++i)
        t.a.put(writeSqe(Op::Write, kSignal, {t.a.sge(0, 8)}, t.b.stag, t.b.iova));
    t.a.guest->ringSq(t.a.qpn);
    EXPECT_EQ(interrupts, 1u);
    EXPECT_EQ(countCqes(t.a), 4u) << "all done before the reset";
    EXPECT_FALSE(t.a.guest->initDone());
}

// An IOMMU that reports a fault by a message is the only way in during a run.
TEST(Entry, WhatAMemoryAccessLeadsToWaitsOrIsDropped) {
    Bench t({.twoDevices = true});
    unsigned accesses = 0;
    t.a.host->onAccess = [&] {
        if (++accesses != 2)
            return;
        t.a.device->reset();
        EXPECT_TRUE(t.a.alive());
        t.a.guest->write64(0x200, 1);
        t.b.guest->write64(0x1000, uint64_t{t.b.qpn} << 32 | 1);
        t.b.device->run();
        t.b.device->timer();
        EXPECT_EQ(t.b.qp().snapshot().sqPi, 0u);
    };
    for (int i = 0; i < 4; ++i)
        t.a.put(writeSqe(Op::Write, kSignal, {t.a.sge(0, 8)}, t.b.stag, t.b.iova));
    t.a.guest->ringSq(t.a.qpn);
    EXPECT_GT(accesses, 4u);
    EXPECT_EQ(countCqes(t.a), 4u);
    EXPECT_FALSE(t.a.guest->initDone());
    EXPECT_EQ(t.a.device->counters()[Counter::Resets], 1u);
}

TEST(Entry, AStoreByAnInterruptIsAStoreLikeAnyOther) {
    Bench t;
    t.a.guest->armCq(t.a.scq);
    t.a.host->onInterrupt = [&](unsigned) {
        t.a.host->onInterrupt = nullptr;
        t.a.put(writeSqe(Op::Write, kSignal, {t.a.sge(0, 8)}, t.b.stag, t.b.iova));
        t.a.guest->write64(0x5F000, uint64_t{t.a.qpn} << 32 | (t.a.guest->qp(t.a.qpn).sq.pi & 0xFFFF));
    };
    t.a.put(writeSqe(Op::Write, kSignal, {t.a.sge(0, 8)}, t.b.stag, t.b.iova));
    t.a.guest->ringSq(t.a.qpn);
    EXPECT_EQ(countCqes(t.a), 2u);
}

// Adapters whose messages are doorbells that cause messages: each entry ends.
TEST(Entry, MessagesThatCauseMessagesDoNotGoRoundForEver) {
    Bench t({.twoDevices = true});
    size_t depth = 0, deepest = 0, all = 0;
    for (const Side* side : {&t.a, &t.b}) {
        side->memory().put64(side->bus, 0);
        const Side& other = side == &t.a ? t.b : t.a;
        side->host->onInterrupt = [&](unsigned) {
            deepest = std::max(deepest, ++depth);
            ++all;
            other.guest->ringEq(1); // CI behind PI: interrupts at once
            --depth;
        };
    }
    for (const Side* side : {&t.a, &t.b}) {
        side->guest->armCq(side->scq);
        side->put(writeSqe(Op::Write, kSignal, {side->sge(0, 8)}, side == &t.a ? t.b.stag : t.a.stag,
                           side == &t.a ? t.b.iova : t.a.iova));
        side->guest->write64(0x5F000, uint64_t{side->qpn} << 32 | 1);
    }
    EXPECT_GT(all, 0u);
    EXPECT_LT(all, 10u);
    EXPECT_EQ(deepest, 1u);
    EXPECT_TRUE(t.a.host->scheduled || t.b.host->scheduled) << "it goes on by turns";
}

// A hub hands the answer to a frame over before the frame is sent.
TEST(Entry, FramesAreSentWhenTheWorkIsDone) {
    NicBench t;
    bool inside = false, nested = false;
    const auto before = t.a.host->onFrame;
    t.a.host->onFrame = [&](erdma_side side, ConstBytes frame, const erdma_offload& offload) {
        nested = nested || inside;
        inside = true;
        EXPECT_FALSE(t.bench.fabric.entrance.running());
        before(side, frame, offload);
        inside = false;
    };
    t.bench.recv(t.b, 0, 64);
    t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    EXPECT_TRUE(t.received(t.b));
    EXPECT_FALSE(nested);
    t.a.host->onFrame = before;
}

// ---- destruction from inside, through the C functions ----

struct Seam {
    FakeHost host;
    erdma_dev* dev = nullptr;
    std::function<void()> onRaise, onAccess;
    bool gone = false;
    unsigned callsAfter = 0;

    bool called() { return gone && ++callsAfter != 0; }
    void destroy() {
        erdma_dev_destroy(dev);
        gone = true;
    }
    // A command that completes and interrupts.
    void command() {
        for (const uint64_t offset : {0x20, 0x28, 0x38, 0x40})
            erdma_dev_mmio_write(dev, offset, 0x10000 + offset * 0x1000, 4);
        for (const uint64_t offset : {0x30, 0x34, 0x48})
            erdma_dev_mmio_write(dev, offset, 128, 4);
        erdma_dev_mmio_write(dev, 0x10, 2, 4);
        erdma_dev_mmio_write(dev, 0x300, 1u << 31, 8);
        host.memory->put64(0x10000 + 0x20 * 0x1000, uint64_t{3} << 52 | 1u << 24 | 2u << 16 | 4);
        erdma_dev_mmio_write(dev, 0x200, 4, 8);
    }
    void create() {
        static erdma_host_ops ops{};
        ops.dma_read = [](void* o, uint64_t addr, void* buf, size_t len) {
            auto* s = static_cast<Seam*>(o);
            s->called();
            if (s->onAccess)
                s->onAccess();
            return s->host.read(addr, {static_cast<std::byte*>(buf), len});
        };
        ops.dma_write = [](void* o, uint64_t addr, const void* buf, size_t len) {
            auto* s = static_cast<Seam*>(o);
            s->called();
            return s->host.write(addr, {static_cast<const std::byte*>(buf), len});
        };
        ops.dma_atomic64 = [](void*, uint64_t, erdma_atomic_op, uint64_t, uint64_t, uint64_t*) { return false; };
        ops.dma_barrier = [](void* o) { static_cast<Seam*>(o)->called(); };
        ops.raise_vector = [](void* o, unsigned vector) {
            auto* s = static_cast<Seam*>(o);
            s->called();
            s->host.interrupts.push_back(vector);
            if (s->onRaise)
                s->onRaise();
        };
        ops.now_ns = [](void* o) { return static_cast<Seam*>(o)->called(), uint64_t{1}; };
        ops.arm_timer = [](void* o, uint64_t) { static_cast<Seam*>(o)->called(); };
        ops.schedule = [](void* o) { static_cast<Seam*>(o)->called(); };
        const erdma_config config = testConfig();
        dev = erdma_dev_create(&config, &ops, this, nullptr);
        ASSERT_NE(dev, nullptr);
    }
};

TEST(Entry, DestroyedByAnInterrupt) {
    Seam s;
    s.create();
    s.onRaise = [&] { s.destroy(); };
    s.command();
    EXPECT_TRUE(s.gone);
    EXPECT_EQ(s.host.interrupts.size(), 1u);
    EXPECT_EQ(s.callsAfter, 0u);
}

TEST(Entry, DestroyedByAMemoryAccess) {
    Seam s;
    s.create();
    s.onAccess = [&] {
        if (!s.gone)
            s.destroy();
    };
    s.command();
    EXPECT_TRUE(s.gone);
    EXPECT_EQ(s.callsAfter, 0u);
    EXPECT_TRUE(s.host.interrupts.empty());
}

TEST(Entry, DestroyedByTheInterruptOfAnotherAdapter) {
    Seam first, second;
    first.create();
    second.create();
    first.onRaise = [&] { second.destroy(); };
    first.command();
    EXPECT_EQ(second.callsAfter, 0u);
    first.onRaise = nullptr;
    first.destroy();
    EXPECT_EQ(first.callsAfter, 0u);
}

// ---- owner words ----

// Nothing but a barrier stands between an entry's body and the word that makes it valid (adapter.md 3.5, 5.1).
TEST(Entry, OwnerWordsGoBehindABarrier) {
    Bench t;
    t.a.guest->armCq(t.a.scq);
    t.a.put(writeSqe(Op::Write, kSignal, {t.a.sge(0, 8)}, t.b.stag, t.b.iova));
    t.a.host->keepWrites = true;
    t.a.guest->ringSq(t.a.qpn);
    t.a.host->keepWrites = false;
    const auto& w = t.a.host->writes;
    unsigned entries = 0;
    for (size_t i = 0; i + 2 < w.size(); ++i) {
        if (w[i].length != 28 && w[i].length != 12)
            continue;
        ++entries;
        EXPECT_EQ(w[i + 1].addr, FakeHost::kBarrier);
        EXPECT_EQ(w[i + 2].addr, w[i].addr - 4);
        EXPECT_EQ(w[i + 2].length, 4u);
    }
    EXPECT_EQ(entries, 2u) << "a completion and its event";
}

} // namespace
} // namespace erdma::test
