// SPDX-License-Identifier: GPL-2.0-or-later
// Memory regions: adapter.md 4.11, 4.12, chapter 8.
#include "memory_region.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>

#include "fake_host.h"

namespace erdma::test {
namespace {

constexpr uint32_t kAll = access::kMask;
constexpr uint32_t kPd = 7;

struct Table {
    FakeHost host;
    MrTable regions{host, 8192, 36};
    FakeMemory& memory() { return *host.memory; }

    static RegisterMr normal(uint32_t index, uint64_t start, uint64_t size, uint8_t level, uint64_t count,
                             uint8_t pageShift = 12) {
        RegisterMr mr{};
        mr.index = index;
        mr.valid = true;
        mr.pd = kPd;
        mr.access = kAll;
        mr.start = start;
        mr.sizeLow = static_cast<uint32_t>(size);
        mr.pageShift = pageShift;
        mr.tablePageShift = 12;
        mr.level = level;
        mr.countLow = static_cast<uint32_t>(count & 0xFFFFF);
        if (level > 1) {
            mr.version = 1;
            mr.words[1] = size >> 32 | (count >> 20) << 32;
        }
        return mr;
    }
    static RegisterMr fast(uint32_t index, uint64_t table, uint32_t capacity) {
        RegisterMr mr = normal(index, 0xBAD, 0xBAD, 1, capacity);
        mr.type = 1;
        mr.valid = false;
        mr.words[0] = table;
        return mr;
    }
    static MrAccess at(uint32_t stag, uint64_t addr, uint64_t length, uint32_t need = access::kLocalRead,
                       uint32_t pd = kPd, Side side = Side::Kernel) {
        return {stag, pd, addr, length, need, side};
    }
    // Writes through the region, looks with `where` (logical page to bus address), reads back.
    void roundTrip(uint32_t stag, uint64_t start, uint64_t length, uint64_t offsetInFirst,
                   const std::vector<uint64_t>& pages, uint64_t pageBytes) {
        std::vector<std::byte> data(length), back(length);
        for (size_t i = 0; i < length; ++i)
            data[i] = static_cast<std::byte>(i * 7 + i / 251);
        ASSERT_EQ(regions.write(at(stag, start, length, access::kLocalWrite), data), MrFault::None);
        for (uint64_t i = 0; i < length; i += 97) {
            const uint64_t position = offsetInFirst + i;
            ASSERT_EQ(memory().copy(pages[position / pageBytes] + position % pageBytes, 1)[0], data[i]) << i;
        }
        ASSERT_EQ(regions.read(at(stag, start, length), back), MrFault::None);
        EXPECT_EQ(back, data);
    }
};

std::vector<uint64_t> shuffledPages(FakeMemory& memory, size_t count, uint64_t pageBytes) {
    std::vector<uint64_t> pages(count);
    const uint64_t base = memory.allocate(count * pageBytes, pageBytes);
    for (size_t i = 0; i < count; ++i)
        pages[i] = base + i * pageBytes;
    std::mt19937 random(5);
    std::shuffle(pages.begin(), pages.end(), random);
    return pages;
}

TEST(MemoryRegion, InlinePages) {
    for (uint64_t count = 1; count <= 4; ++count) {
        Table t;
        const auto pages = shuffledPages(t.memory(), count, 4096);
        const uint64_t start = 0x7F0000000123, length = count * 4096 - 0x123;
        RegisterMr mr = Table::normal(5, start, length, 0, count);
        std::copy(pages.begin(), pages.end(), mr.words);
        ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
        t.roundTrip(5 << 8, start, length, 0x123, pages, 4096);
    }
}

TEST(MemoryRegion, OneLevel) {
    for (const uint64_t count : {1, 5, 64, 65, 700}) {
        Table t;
        const auto pages = shuffledPages(t.memory(), count, 4096);
        const uint64_t start = 0x10000F00, length = count * 4096 - 0xF00 - 5;
        RegisterMr mr = Table::normal(6, start, length, 1, count);
        mr.words[0] = t.memory().allocate(count * 8);
        for (size_t i = 0; i < count; ++i)
            t.memory().put64(mr.words[0] + i * 8, pages[i]);
        ASSERT_EQ(t.regions.registerMr(mr), Status::Ok) << count;
        t.roundTrip(6 << 8, start, length, 0xF00, pages, 4096);
    }
}

TEST(MemoryRegion, TwoLevels) {
    Table t;
    const size_t count = 1300; // 512 per table page: three leaves
    const auto pages = shuffledPages(t.memory(), count, 4096);
    const auto leaves = shuffledPages(t.memory(), 3, 4096);
    RegisterMr mr = Table::normal(1, 0x5000, count * 4096, 2, count);
    mr.words[0] = t.memory().allocate(4096);
    for (size_t i = 0; i < leaves.size(); ++i)
        t.memory().put64(mr.words[0] + i * 8, leaves[i]);
    for (size_t i = 0; i < count; ++i)
        t.memory().put64(leaves[i / 512] + i % 512 * 8, pages[i]);
    ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
    t.roundTrip(1 << 8, 0x5000, count * 4096, 0, pages, 4096);
}

TEST(MemoryRegion, ThreeLevels) {
    Table t;
    const size_t count = 512 * 512 + 700;
    // The data pages repeat: only the last ones are used, the walk is what matters.
    const auto pages = shuffledPages(t.memory(), 1400, 4096);
    RegisterMr mr = Table::normal(2, 0, uint64_t{count} * 4096, 3, count);
    mr.words[0] = t.memory().allocate(4096);
    const uint64_t middle[2] = {t.memory().allocate(4096), t.memory().allocate(4096)};
    t.memory().put64(mr.words[0], middle[0]);
    t.memory().put64(mr.words[0] + 8, middle[1]);
    const uint64_t leaves[3] = {t.memory().allocate(4096), t.memory().allocate(4096), t.memory().allocate(4096)};
    t.memory().put64(middle[0] + 511 * 8, leaves[0]);
    t.memory().put64(middle[1], leaves[1]);
    t.memory().put64(middle[1] + 8, leaves[2]);
    for (size_t i = 0; i < 512 + 700; ++i)
        t.memory().put64(leaves[i / 512] + i % 512 * 8, pages[i]);
    ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
    t.roundTrip(2 << 8, uint64_t{512 * 511} * 4096, (512 + 700) * 4096, 0, pages, 4096);
}

TEST(MemoryRegion, SixtyFourGibibytes) {
    Table t;
    constexpr uint64_t kCount = uint64_t{1} << 24, kLeaf = 512, kMiddle = 512 * 512;
    RegisterMr mr = Table::normal(3, 0, kCount * 4096, 3, kCount);
    mr.words[0] = t.memory().allocate(4096);
    // Populated where it is touched: around the middle, where all levels go on to the next table, and at the end.
    const auto pages = shuffledPages(t.memory(), 6, 4096);
    const uint64_t numbers[] = {kCount / 2 - 2, kCount / 2 - 1, kCount / 2, kCount / 2 + 1, kCount - 2, kCount - 1};
    std::map<uint64_t, uint64_t> tables;
    const auto tableAt = [&](uint64_t entry) {
        if (!tables.contains(entry)) {
            tables[entry] = t.memory().allocate(4096);
            t.memory().put64(entry, tables[entry]);
        }
        return tables[entry];
    };
    for (size_t i = 0; i < pages.size(); ++i) {
        const uint64_t middle = tableAt(mr.words[0] + numbers[i] / kMiddle * 8);
        const uint64_t leaf = tableAt(middle + numbers[i] / kLeaf % 512 * 8);
        t.memory().put64(leaf + numbers[i] % kLeaf * 8, pages[i]);
    }
    EXPECT_EQ(tables.size(), 6u) << "three tables of leaves behind three of the middle";
    ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
    t.roundTrip(3 << 8, (kCount / 2 - 2) * 4096, 4 * 4096, 0, pages, 4096);
    t.roundTrip(3 << 8, (kCount - 2) * 4096, 2 * 4096, 0, {pages.begin() + 4, pages.end()}, 4096);
    std::vector<std::byte> octets(8);
    EXPECT_EQ(t.regions.write(Table::at(3 << 8, kCount * 4096 - 7, 8, access::kLocalWrite), octets), MrFault::Bounds);
}

TEST(MemoryRegion, LargerTablePages) {
    Table t;
    const size_t perTable = 65536 / 8, count = perTable + 3;
    const auto pages = shuffledPages(t.memory(), 6, 4096);
    RegisterMr mr = Table::normal(1, 0, count * 4096, 2, count);
    mr.tablePageShift = 16;
    mr.words[0] = t.memory().allocate(65536);
    const uint64_t leaves[2] = {t.memory().allocate(65536), t.memory().allocate(65536)};
    t.memory().put64(mr.words[0], leaves[0]);
    t.memory().put64(mr.words[0] + 8, leaves[1]);
    for (size_t i = 0; i < 3; ++i) {
        t.memory().put64(leaves[0] + (perTable - 3 + i) * 8, pages[i]);
        t.memory().put64(leaves[1] + i * 8, pages[3 + i]);
    }
    ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
    t.roundTrip(1 << 8, (perTable - 3) * 4096, 6 * 4096, 0, pages, 4096);
}

TEST(MemoryRegion, EveryPageSize) {
    for (uint8_t shift = 12; shift <= 30; ++shift) {
        Table t;
        const uint64_t pageBytes = uint64_t{1} << shift;
        const auto pages = shuffledPages(t.memory(), 3, pageBytes);
        const uint64_t start = pageBytes * 9 - 1000, length = pageBytes + 2000;
        RegisterMr mr = Table::normal(3, start, length, 0, 3, shift);
        std::copy(pages.begin(), pages.end(), mr.words);
        ASSERT_EQ(t.regions.registerMr(mr), Status::Ok) << int{shift};
        std::vector<std::byte> data(1500, std::byte{0x5A});
        ASSERT_EQ(t.regions.write(Table::at(3 << 8, start + 500, 1500, access::kLocalWrite), data), MrFault::None);
        EXPECT_EQ(t.memory().copy(pages[0] + pageBytes - 500, 500), std::vector<std::byte>(500, std::byte{0x5A}));
        EXPECT_EQ(t.memory().copy(pages[1], 1000), std::vector<std::byte>(1000, std::byte{0x5A}));
    }
}

TEST(MemoryRegion, NeighbouringPagesAreOneCopy) {
    Table t;
    const uint64_t base = t.memory().allocate(64 * 4096);
    RegisterMr mr = Table::normal(3, 0, 64 * 4096, 1, 64);
    mr.words[0] = t.memory().allocate(4096);
    for (uint64_t i = 0; i < 64; ++i)
        t.memory().put64(mr.words[0] + i * 8, base + i * 4096);
    ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
    std::vector<std::byte> data(65536);
    t.host.reads = 0;
    ASSERT_EQ(t.regions.read(Table::at(3 << 8, 100, 65536), data), MrFault::None);
    EXPECT_EQ(t.host.reads, 2u); // addresses, data
}

// ---- lengths ----

TEST(MemoryRegion, LengthBeyondThirtyTwoBitsIsRecovered) {
    for (const uint64_t length : {uint64_t{4096}, (uint64_t{1} << 32) - 1, uint64_t{1} << 32, (uint64_t{1} << 32) + 1,
                                  uint64_t{5} << 30, (uint64_t{15} << 32) + 12345}) {
        for (const uint8_t shift : {uint8_t{12}, uint8_t{21}, uint8_t{30}}) {
            const uint64_t start = 0x40000000 + 0x321, page = uint64_t{1} << shift;
            const uint64_t offset = start % page, count = (offset + length + page - 1) / page;
            if (count > 0xFFFFF)
                continue;
            Table t;
            RegisterMr mr = Table::normal(1, start, length, 1, count, shift);
            ASSERT_EQ(t.regions.registerMr(mr), Status::Ok) << length << " " << int{shift};
            EXPECT_EQ(t.regions.check(Table::at(1 << 8, start + length - 1, 1)), MrFault::None);
            EXPECT_EQ(t.regions.check(Table::at(1 << 8, start + length, 1)), MrFault::Bounds);
        }
    }
}

TEST(MemoryRegion, ImpossibleLengthsAndCounts) {
    Table t;
    EXPECT_EQ(t.regions.registerMr(Table::normal(1, 0, 0, 0, 1)), Status::Invalid);
    EXPECT_EQ(t.regions.registerMr(Table::normal(1, 0x10, 0, 0, 1)), Status::Invalid);
    EXPECT_EQ(t.regions.registerMr(Table::normal(1, 0, 4097, 0, 1)), Status::Invalid);
    EXPECT_EQ(t.regions.registerMr(Table::normal(1, 0, 4096, 0, 2)), Status::Invalid);
    EXPECT_EQ(t.regions.registerMr(Table::normal(1, 0, 4096, 0, 0)), Status::Invalid);
    EXPECT_EQ(t.regions.registerMr(Table::normal(1, 0, 5 * 4096, 0, 5)), Status::Invalid); // more than inline
    EXPECT_EQ(t.regions.registerMr(Table::normal(1, 0, 4096, 2, 2)), Status::Invalid);
    EXPECT_EQ(t.regions.registerMr(Table::normal(1, 0, 4096, 2, 512 * 512 + 1)), Status::Invalid);
    EXPECT_EQ(t.regions.registerMr(Table::normal(1, UINT64_MAX - 100, 4096, 0, 2)), Status::Invalid);
    EXPECT_EQ(t.regions.registerMr(Table::normal(1, 0, uint64_t{1} << 37, 3, uint64_t{1} << 25)), Status::Invalid);
    RegisterMr mr = Table::normal(1, 0, 4096, 2, 1);
    mr.words[1] = UINT64_MAX;
    EXPECT_EQ(t.regions.registerMr(mr), Status::Invalid);
    EXPECT_EQ(t.regions.count(), 0u);
    EXPECT_EQ(t.regions.registerMr(Table::normal(1, 0, uint64_t{1} << 36, 3, uint64_t{1} << 24)), Status::Ok);
}

TEST(MemoryRegion, BadFields) {
    Table t;
    for (const uint8_t shift : {uint8_t{0}, uint8_t{11}, uint8_t{31}}) {
        RegisterMr mr = Table::normal(1, 0, 4096, 0, 1, shift);
        EXPECT_EQ(t.regions.registerMr(mr), Status::Invalid);
    }
    RegisterMr mr = Table::normal(8192, 0, 4096, 0, 1);
    EXPECT_EQ(t.regions.registerMr(mr), Status::Invalid); // index
    mr.index = 0;                                         // the allocator may wrap to it
    EXPECT_EQ(t.regions.registerMr(mr), Status::Ok);
    EXPECT_EQ(t.regions.registerMr(mr), Status::Exists);
    mr.index = 1;
    mr.type = 3;
    EXPECT_EQ(t.regions.registerMr(mr), Status::Invalid);
    mr.type = 0;
    mr.version = 2;
    EXPECT_EQ(t.regions.registerMr(mr), Status::Invalid);
    mr = Table::normal(1, 0, 4096, 2, 1);
    mr.version = 0;
    EXPECT_EQ(t.regions.registerMr(mr), Status::Invalid);
    MrTable flat(t.host, 10, 36, false);
    EXPECT_EQ(flat.registerMr(Table::normal(1, 0, 4096, 2, 1)), Status::NotSupported);
    EXPECT_EQ(t.regions.deregister(1), Status::NotFound);
    EXPECT_EQ(t.regions.deregister(0), Status::Ok);
}

// ---- protection ----

TEST(MemoryRegion, VerdictsInOrder) {
    Table t;
    RegisterMr mr = Table::normal(1, 0x1000, 4096, 0, 1);
    mr.key = 0x42;
    mr.access = access::kLocalRead | access::kRemoteRead;
    mr.words[0] = t.memory().allocate(4096);
    ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
    const uint32_t stag = 1 << 8 | 0x42, ro = access::kRemoteRead, rw = access::kRemoteWrite;
    const auto check = [&](uint32_t s, uint64_t addr, uint64_t len, uint32_t need, uint32_t pd) {
        return t.regions.check(Table::at(s, addr, len, need, pd, Side::Remote));
    };
    EXPECT_EQ(check(stag, 0x1000, 4096, ro, kPd), MrFault::None);
    EXPECT_EQ(check(stag ^ 1, UINT64_MAX, 4096, rw, 9), MrFault::Stag);
    EXPECT_EQ(check(2 << 8, 0x1000, 1, ro, kPd), MrFault::Stag);
    EXPECT_EQ(check(0xFFFFFFFF, 0x1000, 1, ro, kPd), MrFault::Stag);
    EXPECT_EQ(check(stag, UINT64_MAX, 4096, rw, 9), MrFault::Pd);
    EXPECT_EQ(check(stag, UINT64_MAX, 4096, rw, kPd), MrFault::Rights);
    EXPECT_EQ(check(stag, UINT64_MAX, 4096, ro, kPd), MrFault::Wrap);
    EXPECT_EQ(check(stag, UINT64_MAX, 1, ro, kPd), MrFault::Bounds);
    EXPECT_EQ(check(stag, 0xFFF, 1, ro, kPd), MrFault::Bounds);
    EXPECT_EQ(check(stag, 0x1FFF, 1, ro, kPd), MrFault::None);
    EXPECT_EQ(check(stag, 0x1FFF, 2, ro, kPd), MrFault::Bounds);
    EXPECT_EQ(check(stag, 0x1000, UINT64_MAX, ro, kPd), MrFault::Wrap);
    EXPECT_EQ(check(0x12345678, 0, 0, kAll, 99), MrFault::None); // nothing is looked at for length 0
    std::byte b{};
    EXPECT_EQ(t.regions.read(Table::at(stag, 0x1000, 2), Bytes(&b, 1)), MrFault::Bounds);
    EXPECT_EQ(t.regions.write(Table::at(stag, 0x1000, 1, access::kLocalWrite), ConstBytes(&b, 1)), MrFault::Rights);
    EXPECT_EQ(t.regions.read(Table::at(stag, 0x1000, 0), {}), MrFault::None);
}

TEST(MemoryRegion, EachRightAlone) {
    for (uint32_t have = 2; have <= 0x20; have <<= 1) {
        Table t;
        RegisterMr mr = Table::normal(1, 0, 4096, 0, 1);
        mr.access = have | 1 | 0xFFFFFFC0; // other bits are not rights
        ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
        for (uint32_t need = 2; need <= 0x20; need <<= 1)
            EXPECT_EQ(t.regions.check(Table::at(1 << 8, 0, 8, need)), need == have ? MrFault::None : MrFault::Rights);
    }
}

TEST(MemoryRegion, InvalidNormalRegion) {
    Table t;
    RegisterMr mr = Table::normal(1, 0, 4096, 0, 1);
    mr.valid = false;
    ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
    EXPECT_EQ(t.regions.check(Table::at(1 << 8, 0, 1)), MrFault::Stag);
}

TEST(MemoryRegion, LocalDmaKey) {
    Table t;
    const uint64_t bus = t.memory().allocate(8192);
    std::vector<std::byte> data(5000, std::byte{7}), back(5000);
    EXPECT_EQ(t.regions.write(Table::at(kLocalDmaKey, bus, 5000, access::kLocalWrite, 1234), data), MrFault::None);
    EXPECT_EQ(t.regions.read(Table::at(kLocalDmaKey, bus, 5000, access::kLocalRead, 99), back), MrFault::None);
    EXPECT_EQ(back, data);
    EXPECT_EQ(t.regions.check(Table::at(kLocalDmaKey, bus, 1, access::kRemoteRead)), MrFault::Rights);
    EXPECT_EQ(t.regions.check(Table::at(kLocalDmaKey, bus, 1, access::kLocalRead, kPd, Side::Remote)), MrFault::Rights);
    EXPECT_EQ(t.regions.check(Table::at(kLocalDmaKey, bus, 1, access::kLocalRead, kPd, Side::User)), MrFault::Stag);
    EXPECT_EQ(t.regions.check(Table::at(kLocalDmaKey, UINT64_MAX, 2)), MrFault::Wrap);
    EXPECT_EQ(t.regions.check(Table::at(kLocalDmaKey | 1, bus, 1)), MrFault::Stag);
    EXPECT_EQ(t.regions.read(Table::at(kLocalDmaKey, t.memory().ramBytes - 10, 5000), back), MrFault::Dma);
}

TEST(MemoryRegion, DmaTypeIsUsableWithoutValid) {
    Table t;
    RegisterMr mr = Table::normal(9, 0xBAD, 0, 0, 0, 31); // page size of a driver that takes log2 of 0
    mr.type = 2;
    mr.valid = false;
    mr.access = access::kLocalRead | access::kRemoteWrite;
    ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
    const uint64_t bus = t.memory().allocate(64);
    std::byte b{0x11};
    EXPECT_EQ(t.regions.write(Table::at(9 << 8, bus, 1, access::kRemoteWrite, kPd, Side::Remote), ConstBytes(&b, 1)),
              MrFault::None);
    EXPECT_EQ(t.memory().copy(bus, 1)[0], std::byte{0x11});
    EXPECT_EQ(t.regions.check(Table::at(9 << 8, bus, 1, access::kRemoteRead)), MrFault::Rights);
    EXPECT_EQ(t.regions.check(Table::at(9 << 8, bus, 1, access::kLocalRead, kPd + 1)), MrFault::Pd);
    EXPECT_EQ(t.regions.check(Table::at(9 << 8, UINT64_MAX - 1, 4)), MrFault::Wrap);
}

// ---- unreachable memory ----

TEST(MemoryRegion, UnreachableTablesAndPages) {
    Table t;
    RegisterMr mr = Table::normal(1, 0, 8 * 4096, 1, 8);
    mr.words[0] = t.memory().ramBytes; // table outside of RAM
    ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
    std::vector<std::byte> data(4096);
    EXPECT_EQ(t.regions.read(Table::at(1 << 8, 0, 4096), data), MrFault::Dma);
    uint64_t old = 0;
    EXPECT_EQ(t.regions.atomic(Table::at(1 << 8, 0, 8, access::kRemoteAtomic), ERDMA_ATOMIC_ADD, 1, 0, old),
              MrFault::Dma);
    mr.index = 2;
    mr.level = 3;
    mr.version = 1;
    mr.words[0] = t.memory().allocate(4096);
    mr.words[1] = 0;
    ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
    t.memory().put64(mr.words[0], UINT64_MAX - 3); // middle table outside
    EXPECT_EQ(t.regions.write(Table::at(2 << 8, 0, 4096, access::kLocalWrite), data), MrFault::Dma);
    mr = Table::normal(3, 0, 4096, 0, 1);
    mr.words[0] = UINT64_MAX - 4095;
    ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
    EXPECT_EQ(t.regions.read(Table::at(3 << 8, 0, 4096), data), MrFault::Dma);
}

// ---- atomics ----

TEST(MemoryRegion, Atomics) {
    Table t;
    const auto pages = shuffledPages(t.memory(), 2, 4096);
    RegisterMr mr = Table::normal(1, 0x8000, 8192, 0, 2);
    std::copy(pages.begin(), pages.end(), mr.words);
    ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
    t.memory().put64(pages[1] + 16, 100);
    const MrAccess where = Table::at(1 << 8, 0x9010, 0, access::kRemoteAtomic, kPd, Side::Remote);
    uint64_t old = 0;
    EXPECT_EQ(t.regions.atomic(where, ERDMA_ATOMIC_ADD, 5, 0, old), MrFault::None);
    EXPECT_EQ(old, 100u);
    EXPECT_EQ(t.regions.atomic(where, ERDMA_ATOMIC_SWAP_IF_EQUAL, 7, 99, old), MrFault::None);
    EXPECT_EQ(old, 105u);
    EXPECT_EQ(t.regions.atomic(where, ERDMA_ATOMIC_SWAP_IF_EQUAL, 7, 105, old), MrFault::None);
    EXPECT_EQ(t.memory().get64(pages[1] + 16), 7u);

    MrAccess bad = where;
    bad.addr += 4;
    EXPECT_EQ(t.regions.atomic(bad, ERDMA_ATOMIC_ADD, 5, 0, old), MrFault::Bounds);
    bad.addr = 0x8000 + 8192 - 4;
    EXPECT_EQ(t.regions.atomic(bad, ERDMA_ATOMIC_ADD, 5, 0, old), MrFault::Bounds);
    bad = where;
    bad.pd = 1;
    EXPECT_EQ(t.regions.atomic(bad, ERDMA_ATOMIC_ADD, 5, 0, old), MrFault::Pd);

    mr.index = 2;
    mr.words[0] = pages[0] + 4; // a page address that breaks alignment
    ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
    EXPECT_EQ(t.regions.atomic(Table::at(2 << 8, 0x8000, 8), ERDMA_ATOMIC_ADD, 5, 0, old), MrFault::Dma);
}

// ---- fast registration ----

TEST(MemoryRegion, FastRegistrationLifeCycle) {
    Table t;
    const uint64_t list = t.memory().allocate(4096);
    const auto pages = shuffledPages(t.memory(), 8, 4096);
    ASSERT_EQ(t.regions.registerMr(Table::fast(4, list, 8)), Status::Ok);
    EXPECT_EQ(t.regions.check(Table::at(4 << 8, 0, 1)), MrFault::Stag); // not valid yet
    for (size_t i = 0; i < pages.size(); ++i)
        t.memory().put64(list + i * 8, pages[i]);

    FastRegister fr{};
    fr.stag = 4 << 8 | 0x33;
    fr.iova = 0x7000123;
    fr.length = 8 * 4096 - 0x123;
    fr.access = kAll;
    fr.pageShift = 12;
    fr.count = 8;
    ASSERT_EQ(t.regions.fastRegister(fr, kPd), MrFault::None);
    t.roundTrip(4 << 8 | 0x33, fr.iova, fr.length, 0x123, pages, 4096);
    EXPECT_EQ(t.regions.check(Table::at(4 << 8, fr.iova, 1)), MrFault::Stag); // the old key

    // Again while valid, with another key and the list in the work request.
    fr.stag = 4 << 8 | 0x34;
    fr.inlineList = true;
    fr.count = 2;
    fr.length = 6000;
    fr.access = access::kLocalRead | access::kLocalWrite;
    fr.pages[0] = pages[5];
    fr.pages[1] = pages[2];
    ASSERT_EQ(t.regions.fastRegister(fr, kPd), MrFault::None);
    t.roundTrip(4 << 8 | 0x34, fr.iova, fr.length, 0x123, {pages[5], pages[2]}, 4096);
    EXPECT_EQ(t.regions.check(Table::at(4 << 8 | 0x34, fr.iova, 1, access::kRemoteRead)), MrFault::Rights);

    EXPECT_EQ(t.regions.localInvalidate(4 << 8 | 0x33, kPd), MrFault::Stag); // wrong key
    EXPECT_EQ(t.regions.localInvalidate(4 << 8 | 0x34, kPd + 1), MrFault::Pd);
    EXPECT_EQ(t.regions.localInvalidate(4 << 8 | 0x34, kPd), MrFault::None);
    EXPECT_EQ(t.regions.check(Table::at(4 << 8 | 0x34, fr.iova, 1)), MrFault::Stag);
    EXPECT_EQ(t.regions.localInvalidate(4 << 8 | 0x34, kPd), MrFault::None); // already invalid
    EXPECT_EQ(t.regions.remoteInvalidate(4 << 8 | 0x34, kPd), MrFault::Stag);
    ASSERT_EQ(t.regions.fastRegister(fr, kPd), MrFault::None);
    EXPECT_EQ(t.regions.remoteInvalidate(4 << 8 | 0x35, kPd), MrFault::Stag);
    EXPECT_EQ(t.regions.remoteInvalidate(4 << 8 | 0x34, kPd + 1), MrFault::Pd);
    EXPECT_EQ(t.regions.remoteInvalidate(4 << 8 | 0x34, kPd), MrFault::None);
    EXPECT_EQ(t.regions.deregister(4), Status::Ok);
    EXPECT_EQ(t.regions.fastRegister(fr, kPd), MrFault::Stag);
}

TEST(MemoryRegion, FastRegistrationRefusals) {
    Table t;
    ASSERT_EQ(t.regions.registerMr(Table::fast(4, 0x1000, 8)), Status::Ok);
    ASSERT_EQ(t.regions.registerMr(Table::normal(5, 0, 4096, 0, 1)), Status::Ok);
    RegisterMr dma = Table::normal(6, 0, 0, 0, 0, 31);
    dma.type = 2;
    ASSERT_EQ(t.regions.registerMr(dma), Status::Ok);
    FastRegister good{};
    good.stag = 4 << 8;
    good.iova = 0x10000;
    good.length = 8 * 4096;
    good.pageShift = 12;
    good.count = 8;
    EXPECT_EQ(t.regions.fastRegister(good, kPd), MrFault::None);
    const auto with = [&](auto change) {
        FastRegister fr = good;
        change(fr);
        return t.regions.fastRegister(fr, kPd);
    };
    EXPECT_EQ(t.regions.fastRegister(good, kPd + 1), MrFault::Pd);
    EXPECT_EQ(with([](auto& f) { f.stag = 5 << 8; }), MrFault::Stag);
    EXPECT_EQ(with([](auto& f) { f.stag = 6 << 8; }), MrFault::Stag);
    EXPECT_EQ(with([](auto& f) { f.stag = 7 << 8; }), MrFault::Stag);
    EXPECT_EQ(with([](auto& f) { f.stag = kLocalDmaKey; }), MrFault::Stag);
    EXPECT_EQ(with([](auto& f) { f.count = 9; }), MrFault::Bounds);
    EXPECT_EQ(with([](auto& f) { f.count = 7; }), MrFault::Bounds); // length does not fit
    EXPECT_EQ(with([](auto& f) { f.count = 0xFFFFF; }), MrFault::Bounds);
    EXPECT_EQ(with([](auto& f) { f.inlineList = true; }), MrFault::Bounds); // more than four
    EXPECT_EQ(with([](auto& f) { f.pageShift = 11; }), MrFault::Bounds);
    EXPECT_EQ(with([](auto& f) { f.pageShift = 31; }), MrFault::Bounds);
    EXPECT_EQ(with([](auto& f) { f.iova = UINT64_MAX - 100; }), MrFault::Wrap);
    EXPECT_EQ(with([](auto& f) { f.pageShift = 30; }), MrFault::None); // V's larger pages
    EXPECT_EQ(with([](auto& f) { f.count = 0, f.length = 0, f.inlineList = true; }), MrFault::None);
    EXPECT_EQ(t.regions.check(Table::at(4 << 8, 0x10000, 1)), MrFault::Rights);
    for (const uint32_t stag : {5u << 8, 6u << 8, 7u << 8}) {
        EXPECT_EQ(t.regions.localInvalidate(stag, kPd), MrFault::Stag);
        EXPECT_EQ(t.regions.remoteInvalidate(stag, kPd), MrFault::Stag);
    }
}

TEST(MemoryRegion, FastTableThroughTree) {
    Table t;
    const auto pages = shuffledPages(t.memory(), 4, 4096);
    RegisterMr mr = Table::fast(1, t.memory().allocate(4096), 600);
    mr.level = 2;
    mr.version = 1;
    const uint64_t leaf = t.memory().allocate(4096);
    t.memory().put64(mr.words[0], leaf);
    for (size_t i = 0; i < 4; ++i)
        t.memory().put64(leaf + i * 8, pages[i]);
    ASSERT_EQ(t.regions.registerMr(mr), Status::Ok);
    FastRegister fr{};
    fr.stag = 1 << 8 | 1;
    fr.length = 4 * 4096;
    fr.access = kAll;
    fr.pageShift = 12;
    fr.count = 4;
    ASSERT_EQ(t.regions.fastRegister(fr, kPd), MrFault::None);
    t.roundTrip(1 << 8 | 1, 0, 4 * 4096, 0, pages, 4096);
    EXPECT_EQ(t.regions.registerMr(Table::fast(2, 0, 0)), Status::Invalid);
}

// ---- hostile ----

TEST(MemoryRegion, RandomRegistrationsAndAccesses) {
    std::mt19937_64 random(99);
    Table t;
    t.memory().ramBytes = 1 << 20;
    for (int i = 0; i < 20000; ++i) {
        RegisterMr mr{};
        mr.index = static_cast<uint32_t>(random() % 20);
        mr.key = static_cast<uint8_t>(random() % 2);
        mr.valid = random() % 4 != 0;
        mr.version = static_cast<uint8_t>(random() % 3);
        mr.pd = static_cast<uint32_t>(random() % 2);
        mr.type = static_cast<uint8_t>(random() % 4);
        mr.access = static_cast<uint32_t>(random());
        mr.start = random() % 2 ? random() : random() % 100000;
        mr.pageShift = static_cast<uint8_t>(random() % 32);
        mr.tablePageShift = static_cast<uint8_t>(12 + random() % 8);
        mr.level = static_cast<uint8_t>(random() % 4);
        mr.countLow = static_cast<uint32_t>(random() % (random() % 2 ? 6 : 1 << 20));
        mr.sizeLow = static_cast<uint32_t>(random() % 2 ? random() : uint64_t{mr.countLow} << (mr.pageShift % 32));
        for (uint64_t& word : mr.words)
            word = random() % 3 ? random() % (1 << 20) : random();
        if (mr.version == 1 && random() % 2)
            mr.words[1] = 0;
        if (t.regions.registerMr(mr) == Status::Exists && random() % 2)
            t.regions.deregister(mr.index);
        FastRegister fr{};
        fr.stag = static_cast<uint32_t>(random() % 20 << 8 | random() % 2);
        fr.iova = random() % 2 ? random() : random() % 100000;
        fr.length = static_cast<uint32_t>(random() % 2 ? random() : random() % 50000);
        fr.access = static_cast<uint32_t>(random());
        fr.pageShift = static_cast<uint8_t>(random());
        fr.inlineList = random() % 2;
        fr.count = static_cast<uint32_t>(random() % 2 ? random() : random() % 20);
        t.regions.fastRegister(fr, static_cast<uint32_t>(random() % 2));
        std::vector<std::byte> data(random() % 20000);
        const MrAccess where{static_cast<uint32_t>(random() % 21 << 8 | random() % 2),
                             static_cast<uint32_t>(random() % 2),
                             random() % 2 ? mr.start : random() % 200000,
                             random() % 4 ? data.size() : random(),
                             static_cast<uint32_t>(random() & random() & access::kMask),
                             random() % 2 ? (random() % 2 ? Side::Kernel : Side::User) : Side::Remote};
        if (random() % 2)
            t.regions.read(where, data);
        else
            t.regions.write(where, data);
        uint64_t old = 0;
        t.regions.atomic(where, ERDMA_ATOMIC_ADD, 1, 1, old);
        if (random() % 8 == 0)
            t.regions.localInvalidate(where.stag, where.pd);
        if (random() % 8 == 0)
            t.regions.remoteInvalidate(where.stag, where.pd);
    }
    EXPECT_LE(t.regions.count(), 20u);
}

} // namespace
} // namespace erdma::test
