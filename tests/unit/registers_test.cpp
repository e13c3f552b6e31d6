// SPDX-License-Identifier: GPL-2.0-or-later
// Register file, bring-up and reset: adapter.md chapter 2; and the C seam.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <random>

#include "capi.h"
#include "config.h"
#include "fake_host.h"

namespace erdma::test {
namespace {

TEST(Registers, Constants) {
    Machine m;
    EXPECT_EQ(m.guest.read32(0x00), 0x01000000u);
    EXPECT_EQ(m.guest.read32(0x0C), 0u);
    EXPECT_EQ(m.guest.read32(0x14), 0u);
    EXPECT_EQ(m.guest.read32(0x18), 0x00123456u);
    EXPECT_EQ(m.guest.read32(0x1C), 0x00005254u);
    EXPECT_EQ(m.guest.read32(0x4C), 24u);
    EXPECT_EQ(m.guest.read64(0x18), 0x0000525400123456u);
}

TEST(Registers, ReadOnlyOnesStay) {
    Machine m;
    for (const uint64_t offset : {0x00, 0x0C, 0x14, 0x18, 0x1C, 0x4C}) {
        const uint32_t before = m.guest.read32(offset);
        m.guest.write32(offset, ~before);
        EXPECT_EQ(m.guest.read32(offset), before);
    }
    m.guest.write64(0x80, 5);
    EXPECT_EQ(m.guest.read64(0x80), 0u);
    EXPECT_EQ(m.count(Counter::GuestErrors), 7u);
}

TEST(Registers, ProgrammedOnesReadBackAndStartAtZero) {
    Machine m;
    for (const uint64_t offset : {0x20, 0x24, 0x28, 0x2C, 0x30, 0x34, 0x38, 0x3C, 0x40, 0x44, 0x48}) {
        EXPECT_EQ(m.guest.read32(offset), 0u);
        m.guest.write32(offset, static_cast<uint32_t>(0xABC00000 + offset));
        EXPECT_EQ(m.guest.read32(offset), 0xABC00000 + offset);
    }
    for (const uint64_t offset : {0x60, 0x68, 0x70, 0x78}) {
        EXPECT_EQ(m.guest.read64(offset), 0u);
        m.guest.write64(offset, 0x1122334400000000 + offset);
        EXPECT_EQ(m.guest.read64(offset), 0x1122334400000000 + offset);
    }
    m.guest.write32(0x10, 1);
    EXPECT_EQ(m.guest.read32(0x20), 0u);
    EXPECT_EQ(m.guest.read64(0x60), 0u);
}

TEST(Registers, PairsAndHalves) {
    Machine m;
    m.guest.write64(0x20, 0x1122334455667788); // both halves of an address at once
    EXPECT_EQ(m.guest.read32(0x20), 0x55667788u);
    EXPECT_EQ(m.guest.read32(0x24), 0x11223344u);
    m.guest.write32(0x60, 0xAABBCCDD); // a 64-bit register in two halves, low first
    EXPECT_EQ(m.guest.read64(0x60), 0u);
    m.guest.write32(0x64, 0x1);
    EXPECT_EQ(m.guest.read64(0x60), 0x1AABBCCDDu);
    EXPECT_EQ(m.guest.read32(0x64), 0x1u);
    m.guest.write32(0x6C, 0x2); // high half alone
    EXPECT_EQ(m.guest.read64(0x68), 0u);
    EXPECT_EQ(m.device.mmioRead(0x19, 1), 0x34u);
    EXPECT_EQ(m.device.mmioRead(0x1A, 2), 0x0012u);
}

TEST(Registers, UnassignedUnalignedAndOddSizes) {
    Machine m;
    for (const uint64_t offset : {0x04, 0x08, 0x58, 0xB0, 0xB8, 0xE8, 0x208, 0x308, 0xFF8, 0x1000, 0xFFFF8}) {
        EXPECT_EQ(m.guest.read64(offset), 0u) << offset;
        m.guest.write64(offset, UINT64_MAX);
        EXPECT_EQ(m.guest.read64(offset), 0u) << offset;
    }
    EXPECT_EQ(m.device.mmioRead(0x01, 4), 0u);
    EXPECT_EQ(m.device.mmioRead(0x1C, 8), 0u);
    EXPECT_EQ(m.device.mmioRead(0x18, 3), 0u);
    m.device.mmioWrite(0x20, 7, 1);
    m.device.mmioWrite(0x20, 7, 2);
    m.device.mmioWrite(0x22, 7, 4);
    m.device.mmioWrite(0x24, 7, 8);
    EXPECT_EQ(m.guest.read64(0x20), 0u);
    EXPECT_EQ(m.device.mmioRead(UINT64_MAX - 7, 8), 0u);
    m.device.mmioWrite(UINT64_MAX - 7, 1, 8);
}

TEST(Registers, BringUpAndShutdown) {
    Machine m;
    m.guest.programQueues();
    EXPECT_FALSE(m.guest.initDone());
    m.guest.init();
    EXPECT_TRUE(m.guest.initDone());
    EXPECT_FALSE(m.guest.resetDone());
    EXPECT_EQ(m.guest.read32(0x10), 0u);
    EXPECT_TRUE(m.guest.createEq(1).ok());
    m.guest.write32(0x10, 1);
    EXPECT_FALSE(m.guest.initDone());
    EXPECT_TRUE(m.guest.resetDone());
    EXPECT_EQ(m.count(Counter::Resets), 1u);
    m.guest.write32(0x10, 1); // again
    EXPECT_TRUE(m.guest.resetDone());
    m.guest.bringUp();
    EXPECT_TRUE(m.guest.initDone());
    EXPECT_FALSE(m.guest.resetDone());
    m.device.reset(); // function-level
    EXPECT_EQ(m.guest.read32(0x14), 0u);
}

TEST(Registers, QueueRegistersAreLatchedAtInit) {
    Machine m;
    m.guest.bringUp();
    m.guest.write32(0x20, 0);
    m.guest.write32(0x28, 0);
    m.guest.write32(0x30, 2);
    m.guest.write32(0x48, 1);
    EXPECT_EQ(m.guest.status(1, 2), 0u);
}

TEST(Registers, InitWithUnusableDepths) {
    for (const uint64_t offset : {0x30, 0x34, 0x48}) {
        for (const uint32_t depth : {0u, 3u, 100u, 65536u, 0x80000000u, 0xFFFFFFFFu}) {
            Machine m;
            m.guest.programQueues();
            m.guest.write32(offset, depth);
            m.guest.init();
            EXPECT_FALSE(m.guest.initDone()) << offset << " " << depth;
            EXPECT_EQ(m.count(Counter::GuestErrors), 1u);
        }
    }
    Machine m;
    m.guest.init(); // nothing programmed
    EXPECT_FALSE(m.guest.initDone());
}

TEST(Registers, BadControlValues) {
    Machine m;
    m.guest.bringUp();
    for (const uint32_t value : {0u, 3u, 4u, 0xFFFFFFFFu})
        m.guest.write32(0x10, value);
    EXPECT_TRUE(m.guest.initDone());
    EXPECT_EQ(m.count(Counter::GuestErrors), 4u);
}

TEST(Registers, InitWhileRunningIsResetAndInit) {
    Machine m;
    m.guest.bringUp();
    ASSERT_TRUE(m.guest.createEq(1).ok());
    ASSERT_TRUE(m.guest.createCq(5).ok());
    ASSERT_TRUE(m.guest.createQp(7, 5, 5).ok());
    ASSERT_TRUE(m.guest.registerDma(3, 0x3C).ok());
    EXPECT_EQ(m.count(Counter::QpsNow), 1u);
    m.guest.bringUp(false); // crash kernel: rings elsewhere
    EXPECT_TRUE(m.guest.initDone());
    for (const Counter gauge : {Counter::QpsNow, Counter::CqsNow, Counter::EqsNow, Counter::MrsNow})
        EXPECT_EQ(m.count(gauge), 0u);
    EXPECT_TRUE(m.guest.createEq(1).ok());
    EXPECT_TRUE(m.guest.createCq(5).ok());
}

TEST(Registers, NoDmaAfterReset) {
    Machine m;
    m.guest.bringUp();
    ASSERT_TRUE(m.guest.createEq(1).ok());
    ASSERT_TRUE(m.guest.createCq(5).ok());
    ASSERT_TRUE(m.guest.createQp(7, 5, 5).ok());
    m.guest.armCommandCq();
    m.guest.armCq(5);
    m.guest.stage(1, 2);
    m.guest.postRecv(7, 0x1000, 64, 0x100);
    m.guest.write32(0x10, 1);
    const uint64_t reads = m.host.reads, writes = m.host.writeCount;
    const size_t interrupts = m.host.interrupts.size();
    m.guest.ringCommands();
    m.guest.armCommandCq();
    m.guest.armCq(5);
    m.guest.ringSq(7);
    m.guest.ringEq(1);
    m.guest.ringAeq();
    m.device.run();
    m.guest.advance(60'000'000'000);
    EXPECT_EQ(m.host.reads, reads);
    EXPECT_EQ(m.host.writeCount, writes);
    EXPECT_EQ(m.host.interrupts.size(), interrupts);
    EXPECT_EQ(m.host.timerAt, ERDMA_TIMER_OFF);
}

TEST(Registers, Statistics) {
    Machine m;
    Counters& c = m.device.counters();
    c[Counter::TxRequests] = 1;
    c[Counter::TxPackets] = 2;
    c[Counter::TxBytes] = 0x300000004;
    c[Counter::TxDrops] = 4;
    c[Counter::RxPackets] = 5;
    c[Counter::RxBytes] = 6;
    c[Counter::RxDrops] = 7;
    EXPECT_EQ(m.guest.read64(0x80), 1u);
    EXPECT_EQ(m.guest.read64(0x88), 2u);
    EXPECT_EQ(m.guest.read64(0x90), 0x300000004u);
    EXPECT_EQ(m.guest.read32(0x94), 3u);
    EXPECT_EQ(m.guest.read64(0x98), 4u);
    EXPECT_EQ(m.guest.read64(0xA0), 0u);
    EXPECT_EQ(m.guest.read64(0xA8), 0u);
    EXPECT_EQ(m.guest.read64(0xC0), 5u);
    EXPECT_EQ(m.guest.read64(0xC8), 6u);
    EXPECT_EQ(m.guest.read64(0xD0), 7u);
    EXPECT_EQ(m.guest.read64(0xD8), 0u);
    EXPECT_EQ(m.guest.read64(0xE0), 0u);
}

TEST(Registers, GuestErrorsAreRateLimited) {
    Machine m;
    for (int i = 0; i < 1000; ++i)
        m.guest.write32(0x04, 1);
    EXPECT_EQ(m.count(Counter::GuestErrors), 1000u);
    EXPECT_LE(m.host.errors.size(), 20u);
    m.host.clock += 2'000'000'000;
    m.guest.write32(0x04, 1);
    EXPECT_LE(m.host.errors.size(), 21u);
    EXPECT_GT(m.host.errors.size(), 1u);
}

// ---- configuration ----

TEST(Config, DefaultsAreFine) { EXPECT_EQ(checkConfig(testConfig()), std::nullopt); }

struct Range {
    const char* name;
    uint32_t erdma_config::*field;
    uint32_t min, max;
};

TEST(Config, RangesAreNamed) {
    const Range ranges[] = {
        {"vectors", &erdma_config::vectors, 2, 32},
        {"direct_wqe_groups", &erdma_config::direct_wqe_groups, 0, 255},
        {"qblock", &erdma_config::qblock, 1, 64},
        {"max_cqe_log", &erdma_config::max_cqe_log, 6, 20},
        {"max_recv_wr_log", &erdma_config::max_recv_wr_log, 6, 15},
        {"max_mr_size_log", &erdma_config::max_mr_size_log, 20, 48},
        {"default_cc", &erdma_config::default_cc, 0, 4},
        {"pair_timeout_ms", &erdma_config::pair_timeout_ms, 1, 600000},
        {"rnr_hold_ms", &erdma_config::rnr_hold_ms, 0, 600000},
    };
    for (const Range& range : ranges) {
        for (const uint32_t good : {range.min, range.max}) {
            erdma_config config = testConfig();
            config.*range.field = good;
            EXPECT_EQ(checkConfig(config), std::nullopt) << range.name << good;
        }
        for (const uint32_t bad : {range.max + 1, range.min - 1}) {
            if (range.min == 0 && bad == UINT32_MAX)
                continue;
            erdma_config config = testConfig();
            config.*range.field = bad;
            const auto error = checkConfig(config);
            ASSERT_TRUE(error.has_value()) << range.name << bad;
            EXPECT_NE(error->find(range.name), std::string::npos);
            EXPECT_NE(error->find(std::to_string(bad)), std::string::npos);
            EXPECT_NE(error->find(std::to_string(range.min)), std::string::npos);
            EXPECT_NE(error->find(std::to_string(range.max)), std::string::npos);
        }
    }
}

// ---- the C seam ----

struct Seam {
    FakeHost host;
    erdma_dev* dev = nullptr;
    uint64_t storeOnRaise = 0;
};

erdma_host_ops seamOps() {
    erdma_host_ops ops{};
    ops.dma_read = [](void* o, uint64_t addr, void* buf, size_t len) {
        return static_cast<Seam*>(o)->host.read(addr, {static_cast<std::byte*>(buf), len});
    };
    ops.dma_write = [](void* o, uint64_t addr, const void* buf, size_t len) {
        return static_cast<Seam*>(o)->host.write(addr, {static_cast<const std::byte*>(buf), len});
    };
    ops.dma_atomic64 = [](void* o, uint64_t addr, erdma_atomic_op op, uint64_t a, uint64_t b, uint64_t* old) {
        const auto result = static_cast<Seam*>(o)->host.atomic64(addr, op, a, b);
        *old = result.value_or(0);
        return result.has_value();
    };
    ops.dma_barrier = [](void*) {};
    ops.raise_vector = [](void* o, unsigned vector) {
        auto* seam = static_cast<Seam*>(o);
        seam->host.raise(vector);
        if (seam->storeOnRaise != 0) // an interrupt message aimed at the adapter itself
            erdma_dev_mmio_write(seam->dev, seam->storeOnRaise, 1, 4);
    };
    ops.now_ns = [](void* o) { return static_cast<Seam*>(o)->host.clock; };
    ops.arm_timer = [](void* o, uint64_t at) { static_cast<Seam*>(o)->host.timerAt = at; };
    ops.schedule = [](void* o) { static_cast<Seam*>(o)->host.scheduled = true; };
    return ops; // trace and guest_error are optional
}

// What capi.h hands to its caller to free.
using Text = std::unique_ptr<char, decltype(&std::free)>;

TEST(Capi, LifeAndNestedStores) {
    Seam seam;
    const erdma_host_ops ops = seamOps();
    erdma_config config = testConfig();
    char* error = nullptr;
    seam.dev = erdma_dev_create(&config, &ops, &seam, &error);
    ASSERT_NE(seam.dev, nullptr);
    EXPECT_EQ(erdma_dev_mmio_read(seam.dev, 0, 4), 0x01000000u);
    for (const uint64_t offset : {0x20, 0x28, 0x38, 0x40})
        erdma_dev_mmio_write(seam.dev, offset, 0x10000 + offset * 0x1000, 4);
    for (const uint64_t offset : {0x30, 0x34, 0x48})
        erdma_dev_mmio_write(seam.dev, offset, 128, 4);
    erdma_dev_mmio_write(seam.dev, 0x10, 2, 4);
    ASSERT_EQ(erdma_dev_mmio_read(seam.dev, 0x14, 4), 2u);

    erdma_dev_mmio_write(seam.dev, 0x300, 1u << 31, 8);
    seam.host.memory->put64(0x10000 + 0x20 * 0x1000, uint64_t{3} << 52 | 1u << 24 | 2u << 16 | 4);
    seam.storeOnRaise = 0x10; // RESET from within the completion of a command
    erdma_dev_mmio_write(seam.dev, 0x200, 4, 8);
    EXPECT_EQ(seam.host.interrupts.size(), 1u);
    EXPECT_EQ(erdma_dev_mmio_read(seam.dev, 0x14, 4), 1u);

    erdma_dev_run(seam.dev);
    erdma_dev_timer(seam.dev);
    ASSERT_GT(erdma_counter_count(), 10u);
    EXPECT_STREQ(erdma_counter_name(0), "tx_reqs");
    EXPECT_EQ(erdma_counter_name(erdma_counter_count()), nullptr);
    EXPECT_EQ(erdma_dev_counter(seam.dev, static_cast<size_t>(Counter::Commands)), 1u);
    EXPECT_EQ(erdma_dev_counter(seam.dev, 100000), 0u);
    const Text complaint(erdma_dev_set_faults(seam.dev, "bad"), &std::free);
    ASSERT_NE(complaint.get(), nullptr);
    EXPECT_EQ(erdma_dev_set_faults(seam.dev, "dead"), nullptr);
    EXPECT_STREQ(erdma_dev_faults(seam.dev), "dead");
    EXPECT_EQ(erdma_dev_set_faults(seam.dev, nullptr), nullptr);
    erdma_dev_reset(seam.dev);
    EXPECT_EQ(erdma_dev_mmio_read(seam.dev, 0x14, 4), 0u);
    erdma_dev_destroy(seam.dev);
}

TEST(Capi, BadConfiguration) {
    Seam seam;
    const erdma_host_ops ops = seamOps();
    erdma_config config = testConfig();
    config.vectors = 1;
    char* text = nullptr;
    EXPECT_EQ(erdma_dev_create(&config, &ops, &seam, &text), nullptr);
    const Text error(text, &std::free);
    ASSERT_NE(error.get(), nullptr);
    EXPECT_NE(std::string(text).find("vectors=1"), std::string::npos);
}

// ---- hostile ----

TEST(Registers, RandomAccessesNeverHarm) {
    std::mt19937_64 random(20240601);
    Machine m;
    m.host.memory->ramBytes = 1 << 30;
    const unsigned sizes[] = {1, 2, 4, 8};
    for (int i = 0; i < 30000; ++i) {
        const unsigned size = sizes[random() % 4];
        uint64_t offset = random() % 2 ? random() % 0x320 : random() % ERDMA_BAR0_SIZE;
        if (random() % 4 != 0)
            offset &= ~uint64_t{size - 1};
        uint64_t value = random();
        if (random() % 2 == 0)
            value &= 0xFFFF;
        if (random() % 500 == 0)
            m.guest.bringUp();
        else if (random() % 3 == 0)
            m.device.mmioRead(offset, size);
        else
            m.device.mmioWrite(offset, value, size);
        if (m.host.scheduled && random() % 2 == 0) {
            m.host.scheduled = false;
            m.device.run();
        }
        if (m.host.timerAt != ERDMA_TIMER_OFF && random() % 100 == 0)
            m.device.timer();
    }
    EXPECT_LT(m.host.memory->pagesInUse(), 100000u);
}

} // namespace
} // namespace erdma::test
