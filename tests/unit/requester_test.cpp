// SPDX-License-Identifier: GPL-2.0-or-later
// Send queue: every opcode, good and bad, order, wrap, fence, limits (adapter.md 7.1, 7.2; wire.md 5).
#include <random>

#include "pair_bench.h"

namespace erdma::test {
namespace {

using flag::kFence;
using flag::kSignal;
using flag::kSolicited;

constexpr uint64_t kFar = 0x80000; // sinks and sources in the upper half of the buffers

TEST(Requester, WriteOfManySizes) {
    Bench t({.bufferBytes = 8u << 20});
    for (uint32_t size : {1u, 7u, 64u, 4096u, 65535u, 65536u, 65537u, 200000u, 3u << 20}) {
        t.a.memory().fill(t.a.bus, size, static_cast<uint8_t>(size));
        const uint16_t at =
            t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, size)}, t.b.stag, t.b.iova + (4u << 20)));
        expectCqe(t.a.sent(), {Op::Write, QueueType::Send, Syndrome::Success, at, size});
        EXPECT_EQ(t.b.data(4u << 20, size), t.a.data(0, size)) << size;
        EXPECT_FALSE(t.b.received());
    }
    EXPECT_TRUE(t.events(t.a).empty());
}

TEST(Requester, GatherOfSixElementsWithEmptyOnes) {
    Bench t;
    t.a.memory().fill(t.a.bus, 4096, 3);
    t.recv(t.b, kFar, 1000);
    const std::vector<Sge> sges = {t.a.sge(100, 1), {0, 0, 0}, t.a.sge(50, 33),
                                   t.a.sge(0, 7),   {5, 0, 9}, t.a.sge(900, 60)};
    const uint16_t at = t.post(t.a, sendSqe(Op::Send, kSignal, sges));
    expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Success, at, 101});
    expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Success, 0, 101});
    std::vector<std::byte> want;
    for (const Sge& s : sges) {
        if (s.length != 0) {
            const auto part = t.a.data(s.addr - t.a.iova, s.length);
            want.insert(want.end(), part.begin(), part.end());
        }
    }
    EXPECT_EQ(t.b.data(kFar, 101), want);
}

TEST(Requester, GatherAcrossSegments) {
    Bench t({.bufferBytes = 2u << 20});
    t.a.memory().fill(t.a.bus, 300000, 9);
    t.recv(t.b, kFar * 2, 300000);
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 65000), t.a.sge(65000, 70000), t.a.sge(135000, 65000)}));
    expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Success, 0, 200000});
    EXPECT_EQ(t.b.data(kFar * 2, 200000), t.a.data(0, 200000));
}

TEST(Requester, SendFamily) {
    Bench t;
    t.a.memory().fill(t.a.bus, 64, 1);
    const uint64_t page = t.b.memory().allocate(4096);
    ASSERT_TRUE(t.b.guest->registerFast(50, t.b.memory().allocate(4096), 4).ok());
    t.post(t.b, regMrSqe(0, 50 << 8 | 7, 0x5000, 4096, access::kMask, {page}));
    EXPECT_FALSE(t.b.sent());

    for (int i = 0; i < 3; ++i)
        t.recv(t.b, kFar + 64 * static_cast<uint64_t>(i), 64);
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}, 0xFFFFFFFF));
    t.post(t.a, sendSqe(Op::SendImm, kSignal, {t.a.sge(0, 10)}, 0xDEADBEEF));
    t.post(t.a, sendSqe(Op::SendInv, kSignal, {t.a.sge(0, 5)}, 50 << 8 | 7));
    expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Success, 0, 64});
    expectCqe(t.a.sent(), {Op::SendImm, QueueType::Send, Syndrome::Success, 1, 10});
    expectCqe(t.a.sent(), {Op::SendInv, QueueType::Send, Syndrome::Success, 2, 5});
    const auto plain = t.b.received();
    expectCqe(plain, {Op::RecvSend, QueueType::Receive, Syndrome::Success, 0, 64});
    EXPECT_EQ(plain->immediate, 0u);
    const auto immediate = t.b.received();
    expectCqe(immediate, {Op::RecvSendImm, QueueType::Receive, Syndrome::Success, 1, 10});
    EXPECT_EQ(immediate->immediate, 0xDEADBEEFu);
    const auto invalidated = t.b.received();
    expectCqe(invalidated, {Op::RecvSendInv, QueueType::Receive, Syndrome::Success, 2, 5});
    EXPECT_EQ(invalidated->invalidated, 50u << 8 | 7);

    // The region is gone now.
    t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 8)}, 50 << 8 | 7, 0x5000));
    expectCqe(t.a.sent(), {Op::Write, QueueType::Send, Syndrome::RecvStag, 3, 0});
}

TEST(Requester, WriteWithImmediate) {
    Bench t;
    t.a.memory().fill(t.a.bus, 70000, 5);
    t.recv(t.b, 0, 0);
    t.recv(t.b, 0, 16);
    const auto before = t.b.data(0, 16);
    t.post(t.a, writeSqe(Op::WriteImm, kSignal, {t.a.sge(0, 70000)}, t.b.stag, t.b.iova + kFar, 0x01020304));
    t.post(t.a, writeSqe(Op::WriteImm, kSignal, {}, 0x666, 0x777, 0x05060708));
    expectCqe(t.a.sent(), {Op::WriteImm, QueueType::Send, Syndrome::Success, 0, 70000});
    expectCqe(t.a.sent(), {Op::WriteImm, QueueType::Send, Syndrome::Success, 2, 0});
    auto cqe = t.b.received();
    expectCqe(cqe, {Op::RecvWriteImm, QueueType::Receive, Syndrome::Success, 0, 70000});
    EXPECT_EQ(cqe->immediate, 0x01020304u);
    cqe = t.b.received();
    expectCqe(cqe, {Op::RecvWriteImm, QueueType::Receive, Syndrome::Success, 1, 0});
    EXPECT_EQ(cqe->immediate, 0x05060708u);
    EXPECT_EQ(t.b.data(kFar, 70000), t.a.data(0, 70000));
    EXPECT_EQ(t.b.data(0, 16), before);
}

TEST(Requester, InlineData) {
    Bench t;
    std::vector<std::byte> data(96);
    for (size_t i = 0; i < data.size(); ++i)
        data[i] = static_cast<std::byte>(i * 3 + 1);
    for (size_t size : {0u, 1u, 15u, 16u, 17u, 48u, 80u, 96u}) {
        const ConstBytes part = ConstBytes(data).first(size);
        t.recv(t.b, kFar, 128);
        t.post(t.a, inlineSendSqe(Op::SendImm, kSignal, part, 42));
        expectCqe(t.b.received(), {Op::RecvSendImm, QueueType::Receive, Syndrome::Success,
                                   t.b.guest->qp(t.b.qpn).rq.pi - 1, static_cast<uint32_t>(size)});
        EXPECT_EQ(t.b.data(kFar, size), std::vector<std::byte>(part.begin(), part.end()));
        t.post(t.a, inlineWriteSqe(kSignal, part, t.b.stag, t.b.iova + 512));
        EXPECT_EQ(t.b.data(512, size), std::vector<std::byte>(part.begin(), part.end()));
        EXPECT_EQ(t.a.sent()->syndrome, 0);
        EXPECT_EQ(t.a.sent()->syndrome, 0);
    }
}

TEST(Requester, InlineBitIsIgnoredOnOtherOpcodes) {
    Bench t;
    t.b.memory().fill(t.b.bus, 64, 8);
    t.post(t.a, readSqe(kSignal | flag::kInline, t.a.sge(0, 64), t.b.stag, t.b.iova));
    expectCqe(t.a.sent(), {Op::Read, QueueType::Send, Syndrome::Success, 0, 64});
    EXPECT_EQ(t.a.data(0, 64), t.b.data(0, 64));
}

TEST(Requester, ReadOfManySizes) {
    Bench t({.bufferBytes = 2u << 20});
    t.b.memory().fill(t.b.bus, 1u << 20, 4);
    for (uint32_t size : {1u, 4096u, 65536u, 65537u, 1000000u}) {
        const uint16_t at = t.post(t.a, readSqe(kSignal, t.a.sge(1u << 20, size), t.b.stag, t.b.iova + 3));
        expectCqe(t.a.sent(), {Op::Read, QueueType::Send, Syndrome::Success, at, size});
        EXPECT_EQ(t.a.data(1u << 20, size), t.b.data(3, size));
    }
    EXPECT_EQ(t.a.qp().snapshot().outstandingReads, 0u);
}

TEST(Requester, ZeroLengthNeedsNoStag) {
    Bench t;
    t.recv(t.b, 0, 0);
    t.post(t.a, writeSqe(Op::Write, kSignal, {}, 0xBAD, 0xBAD));
    t.post(t.a, writeSqe(Op::Write, kSignal, {{1, 0, 2}}, 0xBAD, 0xBAD));
    t.post(t.a, readSqe(kSignal, {0xBAD, 0, 0xBAD}, 0xBAD, 0xBAD));
    t.post(t.a, sendSqe(Op::Send, kSignal, {}));
    for (Op op : {Op::Write, Op::Write, Op::Read, Op::Send}) {
        const auto cqe = t.a.sent();
        ASSERT_TRUE(cqe);
        EXPECT_EQ(cqe->opcode, static_cast<uint8_t>(op));
        EXPECT_EQ(cqe->syndrome, 0);
    }
    expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Success, 0, 0});
    EXPECT_TRUE(t.events(t.a).empty());
}

TEST(Requester, Atomics) {
    Bench t;
    const uint64_t target = t.b.bus + 0x30; // iova + 0x30 is aligned like this
    t.b.memory().put64(target, 0x1122334455667788);
    t.post(t.a, atomicSqe(Op::FetchAdd, kSignal, 2, 0, t.b.stag, t.b.iova + 0x30, t.a.sge(0, 8)));
    expectCqe(t.a.sent(), {Op::FetchAdd, QueueType::Send, Syndrome::Success, 0, 8});
    EXPECT_EQ(t.a.memory().get64(t.a.bus), 0x1122334455667788u);
    EXPECT_EQ(t.b.memory().get64(target), 0x112233445566778Au);
    t.post(t.a, atomicSqe(Op::CompareSwap, kSignal, 99, 1, t.b.stag, t.b.iova + 0x30, t.a.sge(8, 8)));
    t.post(t.a,
           atomicSqe(Op::CompareSwap, kSignal, 98, 0x112233445566778A, t.b.stag, t.b.iova + 0x30, t.a.sge(16, 16)));
    expectCqe(t.a.sent(), {Op::CompareSwap, QueueType::Send, Syndrome::Success, 2, 8});
    expectCqe(t.a.sent(), {Op::CompareSwap, QueueType::Send, Syndrome::Success, 4, 8});
    EXPECT_EQ(t.a.memory().get64(t.a.bus + 8), 0x112233445566778Au);
    EXPECT_EQ(t.a.memory().get64(t.a.bus + 16), 0x112233445566778Au);
    EXPECT_EQ(t.b.memory().get64(target), 98u);
}

TEST(Requester, AtomicsNeedTheCapability) {
    BenchOptions options;
    options.config.atomic = false;
    Bench t(options);
    t.post(t.a, atomicSqe(Op::FetchAdd, 0, 2, 0, t.b.stag, t.b.iova, t.a.sge(0, 8)));
    expectCqe(t.a.sent(), {Op::FetchAdd, QueueType::Send, Syndrome::SendFormat, 0, 0});
}

TEST(Requester, MisalignedAtomic) {
    Bench t;
    t.post(t.a, atomicSqe(Op::FetchAdd, 0, 2, 0, t.b.stag, t.b.iova + 4, t.a.sge(0, 8)));
    expectCqe(t.a.sent(), {Op::FetchAdd, QueueType::Send, Syndrome::RecvBounds, 0, 0});
    EXPECT_EQ(t.events(t.b), (std::vector<std::pair<AsyncEvent, uint32_t>>{{AsyncEvent::QpFatal, 0x2FF}}));
}

TEST(Requester, ShortAtomicResult) {
    Bench t;
    t.post(t.a, atomicSqe(Op::FetchAdd, 0, 2, 0, t.b.stag, t.b.iova, t.a.sge(0, 4)));
    expectCqe(t.a.sent(), {Op::FetchAdd, QueueType::Send, Syndrome::SendBounds, 0, 0});
}

TEST(Requester, FastRegistrationLifeCycle) {
    Bench t;
    const uint64_t table = t.b.memory().allocate(4096);
    const uint64_t data = t.b.memory().allocate(16 * 4096);
    ASSERT_TRUE(t.b.guest->registerFast(60, table, 16).ok());
    const uint32_t stag = 60 << 8 | 0x42;
    t.a.memory().fill(t.a.bus, 8192, 7);

    // List in the SQE.
    t.post(t.b, regMrSqe(kSignal, stag, 0x10000800, 4096, access::kMask, {data + 4096, data}));
    expectCqe(t.b.sent(), {Op::RegMr, QueueType::Send, Syndrome::Success, 0, 0});
    t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 4096)}, stag, 0x10000800));
    EXPECT_EQ(t.a.sent()->syndrome, 0);
    EXPECT_EQ(t.b.memory().copy(data + 4096 + 0x800, 2048), t.a.data(0, 2048));
    EXPECT_EQ(t.b.memory().copy(data, 2048), t.a.data(2048, 2048));
    t.post(t.b, localInvSqe(kSignal, stag));
    expectCqe(t.b.sent(), {Op::LocalInv, QueueType::Send, Syndrome::Success, 2, 0});

    // List in the table.
    for (uint64_t i = 0; i < 8; ++i)
        t.b.memory().put64(table + 8 * i, data + (15 - i) * 4096);
    const uint32_t next = 60 << 8 | 0x43;
    t.post(t.b, regMrSqe(kSignal, next, 0x20000000, 8 * 4096, access::kLocalWrite | access::kRemoteWrite, {}, 8));
    expectCqe(t.b.sent(), {Op::RegMr, QueueType::Send, Syndrome::Success, 3, 0});
    t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 8192)}, next, 0x20000000));
    EXPECT_EQ(t.a.sent()->syndrome, 0);
    EXPECT_EQ(t.b.memory().copy(data + 15 * 4096, 4096), t.a.data(0, 4096));
    EXPECT_EQ(t.b.memory().copy(data + 14 * 4096, 4096), t.a.data(4096, 4096));

    // The old key is no good any more.
    t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 8)}, stag, 0x20000000));
    EXPECT_EQ(t.a.sent()->syndrome, static_cast<uint8_t>(Syndrome::RecvStag));
}

TEST(Requester, RegistrationInOrderWithLaterRequests) {
    Bench t;
    const uint64_t page = t.a.memory().allocate(4096);
    ASSERT_TRUE(t.a.guest->registerFast(61, t.a.memory().allocate(4096), 4).ok());
    const uint32_t stag = 61 << 8 | 1;
    t.a.memory().fill(page, 100, 77);
    t.a.put(regMrSqe(0, stag, 0x1000, 4096, access::kLocalRead, {page}));
    t.a.put(writeSqe(Op::Write, 0, {{0x1000, 100, stag}}, t.b.stag, t.b.iova));
    t.a.put(localInvSqe(0, stag));
    const uint16_t bad = t.a.put(writeSqe(Op::Write, 0, {{0x1000, 100, stag}}, t.b.stag, t.b.iova));
    t.ring(t.a);
    EXPECT_EQ(t.b.data(0, 100), t.a.memory().copy(page, 100));
    expectCqe(t.a.sent(), {Op::Write, QueueType::Send, Syndrome::SendStag, bad, 0});
    EXPECT_FALSE(t.a.sent());
}

TEST(Requester, ReadWithInvalidate) {
    Bench t;
    const uint64_t page = t.a.memory().allocate(4096);
    ASSERT_TRUE(t.a.guest->registerFast(62, t.a.memory().allocate(4096), 4).ok());
    const uint32_t stag = 62 << 8 | 9;
    t.b.memory().fill(t.b.bus, 200, 13);
    t.a.put(regMrSqe(0, stag, 0x3000, 4096, access::kLocalWrite, {page}));
    const uint16_t at = t.a.put(readSqe(kSignal, {0x3000, 200, stag}, t.b.stag, t.b.iova, stag));
    t.ring(t.a);
    expectCqe(t.a.sent(), {Op::ReadInv, QueueType::Send, Syndrome::Success, at, 200});
    EXPECT_EQ(t.a.memory().copy(page, 200), t.b.data(0, 200));
    const uint16_t bad = t.post(t.a, readSqe(0, {0x3000, 200, stag}, t.b.stag, t.b.iova));
    expectCqe(t.a.sent(), {Op::Read, QueueType::Send, Syndrome::SendStag, bad, 0});
}

TEST(Requester, ReadWithInvalidateOfAWrongStag) {
    Bench t;
    const uint16_t at = t.post(t.a, readSqe(kSignal, t.a.sge(0, 10), t.b.stag, t.b.iova, t.a.stag));
    expectCqe(t.a.sent(), {Op::ReadInv, QueueType::Send, Syndrome::SendStag, at, 0});
    EXPECT_EQ(t.a.state(), QpState::Error);
}

TEST(Requester, LocalInvalidateWaitsForAReadIntoTheRegion) {
    Bench t({.twoDevices = true});
    const uint64_t pages = t.a.memory().allocate(4 * 4096);
    ASSERT_TRUE(t.a.guest->registerFast(63, t.a.memory().allocate(4096), 4).ok());
    const uint32_t stag = 63 << 8 | 9;
    t.b.memory().fill(t.b.bus, 8192, 3);
    t.a.put(regMrSqe(0, stag, 0x3000, 16384, access::kLocalWrite, {pages, pages + 4096, pages + 8192, pages + 12288}));
    t.a.put(readSqe(kSignal, {0x3000, 8192, stag}, t.b.stag, t.b.iova));
    t.a.put(localInvSqe(kSignal, stag));
    t.a.guest->ringSq(t.a.qpn); // the other adapter has not run yet
    EXPECT_EQ(t.a.qp().snapshot().outstandingReads, 1u);
    EXPECT_FALSE(t.a.sent());
    t.settle();
    EXPECT_EQ(t.a.sent()->syndrome, 0);
    EXPECT_EQ(t.a.sent()->syndrome, 0);
    EXPECT_EQ(t.a.memory().copy(pages, 8192), t.b.data(0, 8192));
}

// ---- form of the SQE ----

struct BadSqe {
    const char* name;
    SqeBytes (*make)(const Bench& t);
    Op echo;
    Syndrome syndrome = Syndrome::SendFormat;
};

SqeBytes withHeader(SqeBytes raw, uint64_t clear, uint64_t set) {
    storeLe64(raw, 0, (loadLe64(raw, 0) & ~clear) | set);
    return raw;
}

SqeBytes grown(SqeBytes raw, size_t wqebbs) {
    raw.resize(wqebbs * 32, std::byte{0});
    return raw;
}

SqeBytes with32(SqeBytes raw, size_t offset, uint32_t value) {
    storeLe32(raw, offset, value);
    return raw;
}

const BadSqe kBadSqes[] = {
    {"opcode 4", [](const Bench&) { return rawSqe(1, Op::RecvSend, 0, 0); }, Op::RecvSend},
    {"opcode 12", [](const Bench&) { return rawSqe(1, Op::RecvSendImm, 0, 0); }, Op::RecvSendImm},
    {"opcode 7", [](const Bench&) { return rawSqe(1, static_cast<Op>(7), 0, 0); }, static_cast<Op>(7)},
    {"opcode 19", [](const Bench&) { return rawSqe(1, static_cast<Op>(19), 0, 0); }, Op::Send},
    {"opcode 31", [](const Bench&) { return rawSqe(1, static_cast<Op>(31), 0, 0); }, Op::Send},
    {"send, seven SGEs", [](const Bench& t) { return sendSqe(Op::Send, 0, std::vector<Sge>(7, t.a.sge(0, 8))); },
     Op::Send},
    {"send, too many WQEBBs", [](const Bench& t) { return grown(sendSqe(Op::Send, 0, {t.a.sge(0, 8)}), 2); }, Op::Send},
    {"send, too few WQEBBs",
     [](const Bench& t) {
         return withHeader(sendSqe(Op::Send, 0, {t.a.sge(0, 8)}), uint64_t{0xFF} << 56, uint64_t{3} << 56);
     },
     Op::Send},
    {"send, length differs", [](const Bench& t) { return with32(sendSqe(Op::Send, 0, {t.a.sge(0, 8)}), 12, 9); },
     Op::Send},
    {"send, sum beyond 32 bits",
     [](const Bench& t) {
         return sendSqe(Op::Send, 0, {t.a.sge(0, 0xFFFFFFFF), t.a.sge(0, 9)});
     },
     Op::Send},
    {"inline, 97 bytes", [](const Bench&) { return inlineSendSqe(Op::Send, 0, std::vector<std::byte>(97)); }, Op::Send},
    {"inline, length differs",
     [](const Bench&) { return with32(inlineSendSqe(Op::Send, 0, std::vector<std::byte>(9)), 12, 8); }, Op::Send},
    {"write, length differs",
     [](const Bench& t) { return with32(writeSqe(Op::Write, 0, {t.a.sge(0, 8)}, t.b.stag, t.b.iova), 12, 7); },
     Op::Write},
    {"read, one WQEBB", [](const Bench&) { return rawSqe(1, Op::Read, 0, 0); }, Op::Read},
    {"read, three WQEBBs", [](const Bench& t) { return grown(readSqe(0, t.a.sge(0, 8), t.b.stag, t.b.iova), 3); },
     Op::Read},
    {"atomic, one WQEBB", [](const Bench&) { return rawSqe(1, Op::FetchAdd, 0, 0); }, Op::FetchAdd},
    {"invalidate, two WQEBBs", [](const Bench&) { return rawSqe(2, Op::LocalInv, 0, 0); }, Op::LocalInv},
    {"register, five pages inline", [](const Bench&) { return with32(rawSqe(3, Op::RegMr, 0, 0), 24, 5 << 12); },
     Op::RegMr},
    {"register, table type 2", [](const Bench&) { return with32(rawSqe(1, Op::RegMr, 0, 0), 24, 1 << 12 | 2 << 6); },
     Op::RegMr},
    {"register, page size below 4 KiB",
     [](const Bench&) { return with32(with32(rawSqe(1, Op::RegMr, 0, 0), 24, 1 << 12 | 1 << 6 | 1), 28, 11); },
     Op::RegMr},
    {"register, list without its WQEBB", [](const Bench&) { return with32(rawSqe(1, Op::RegMr, 0, 0), 24, 1 << 12); },
     Op::RegMr},
};

TEST(Requester, MalformedEntries) {
    for (const BadSqe& bad : kBadSqes) {
        SCOPED_TRACE(bad.name);
        Bench t;
        t.recv(t.b, 0, 64);
        t.post(t.a, inlineSendSqe(Op::Send, kSignal, std::vector<std::byte>(5)));
        EXPECT_EQ(t.a.sent()->syndrome, 0);
        const uint16_t at = t.a.put(bad.make(t));
        const uint16_t behind = t.a.put(inlineSendSqe(Op::SendImm, 0, {}));
        t.ring(t.a);
        expectCqe(t.a.sent(), {bad.echo, QueueType::Send, bad.syndrome, at, 0});
        expectCqe(t.a.sent(), {Op::SendImm, QueueType::Send, Syndrome::Flushed, behind, 0});
        EXPECT_FALSE(t.a.sent());
        EXPECT_EQ(t.a.state(), QpState::Error);
        EXPECT_EQ(t.b.state(), QpState::Error);
        ASSERT_EQ(t.events(t.a).size(), 1u);
        ASSERT_EQ(t.events(t.b).size(), 1u);
    }
}

// Header fields that Guest::putSqe() sets: written over in the ring.
TEST(Requester, MalformedHeaders) {
    const struct {
        const char* name;
        uint64_t clear, set;
        Syndrome next; // of the second entry
    } cases[] = {
        {"QPN of another", uint64_t{0xFFFFF} << 32, uint64_t{9} << 32, Syndrome::Flushed},
        {"index off by one", 0xFFFF, 3, Syndrome::Flushed},
        {"index 0", 0xFFFF, 0, Syndrome::Flushed},
        {"eight WQEBBs", uint64_t{7} << 52, uint64_t{7} << 52, Syndrome::Success},
        {"beyond PI", uint64_t{7} << 52, uint64_t{3} << 52, Syndrome::Success},
    };
    for (const auto& bad : cases) {
        SCOPED_TRACE(bad.name);
        Bench t;
        t.a.put(inlineSendSqe(Op::Send, 0, {}));
        t.a.put(inlineSendSqe(Op::Send, 0, {}));
        const uint64_t ring = t.a.guest->qp(t.a.qpn).sq.address;
        t.a.memory().put64(ring, (t.a.memory().get64(ring) & ~bad.clear) | bad.set);
        t.ring(t.a);
        expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::SendFormat, 0, 0});
        if (bad.next == Syndrome::Flushed)
            expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Flushed, 1, 0});
        EXPECT_FALSE(t.a.sent()) << "a step beyond PI swallows what was announced";
        EXPECT_EQ(t.events(t.a).size(), 1u);
    }
}

// ---- protection ----

TEST(Requester, LocalProtection) {
    const struct {
        const char* name;
        Sge (*sge)(const Bench& t);
        Syndrome syndrome;
    } cases[] = {
        {"unknown index",
         [](const Bench& t) {
             return Sge{t.a.iova, 8, 999 << 8};
         },
         Syndrome::SendStag},
        {"wrong key",
         [](const Bench& t) {
             return Sge{t.a.iova, 8, t.a.stag | 1};
         },
         Syndrome::SendStag},
        {"one byte before",
         [](const Bench& t) {
             return Sge{t.a.iova - 1, 8, t.a.stag};
         },
         Syndrome::SendBounds},
        {"one byte behind", [](const Bench& t) { return t.a.sge((1u << 20) - 7, 8); }, Syndrome::SendBounds},
        {"no right",
         [](const Bench& t) {
             return Sge{t.a.iova, 8, 30 << 8};
         },
         Syndrome::SendRights},
        {"other PD",
         [](const Bench& t) {
             return Sge{t.a.iova, 8, 31 << 8};
         },
         Syndrome::SendPd},
        {"wraps",
         [](const Bench& t) {
             return Sge{UINT64_MAX - 3, 8, t.a.stag};
         },
         Syndrome::SendWrap},
        {"not RAM",
         [](const Bench& t) {
             return Sge{t.a.iova, 8, 32 << 8};
         },
         Syndrome::General},
    };
    for (const auto& bad : cases) {
        for (int shape = 0; shape < 4; ++shape) {
            SCOPED_TRACE(std::string(bad.name) + " shape " + std::to_string(shape));
            Bench t;
            const uint32_t right = shape < 2 ? access::kLocalWrite : access::kLocalRead; // the wrong one
            t.a.guest->registerMr(30, t.a.iova, t.a.bus, 4096, right);
            t.a.guest->registerMr(31, t.a.iova, t.a.bus, 4096, access::kMask, 2);
            t.a.guest->registerMr(32, t.a.iova, (uint64_t{1} << 40) + t.a.iova % 4096, 4096);
            const Sge sge = bad.sge(t);
            t.recv(t.b, 0, 200000);
            SqeBytes sqe;
            Op op = Op::Send;
            switch (shape) {
            case 0:
                sqe = sendSqe(Op::Send, 0, {t.a.sge(0, 100), sge});
                break;
            case 1:
                op = Op::Write; // in several segments
                sqe = writeSqe(Op::Write, 0, {t.a.sge(0, 100000), sge}, t.b.stag, t.b.iova);
                break;
            case 2:
                op = Op::Read;
                sqe = readSqe(0, sge, t.b.stag, t.b.iova);
                break;
            default:
                op = Op::FetchAdd;
                sqe = atomicSqe(Op::FetchAdd, 0, 1, 0, t.b.stag, t.b.iova, sge);
                break;
            }
            const auto before = t.b.data(0, 200000);
            const uint16_t at = t.post(t.a, sqe);
            expectCqe(t.a.sent(), {op, QueueType::Send, bad.syndrome, at, 0});
            EXPECT_EQ(t.a.state(), QpState::Error);
            EXPECT_EQ(t.events(t.a).size(), 1u);
            if (bad.syndrome != Syndrome::General) {
                EXPECT_EQ(t.b.data(0, 200000), before) << "something was sent";
                expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Flushed, 0, 0});
            }
        }
    }
}

TEST(Requester, LocalDmaKeyIsLocalOnly) {
    Bench t;
    t.a.memory().fill(t.a.bus, 100, 50);
    t.recv(t.b, 0, 100);
    t.post(t.a, sendSqe(Op::Send, kSignal, {{t.a.bus, 100, kLocalDmaKey}}));
    EXPECT_EQ(t.a.sent()->syndrome, 0);
    EXPECT_EQ(t.b.data(0, 100), t.a.data(0, 100));
    t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 8)}, kLocalDmaKey, t.b.bus));
    EXPECT_EQ(t.a.sent()->syndrome, static_cast<uint8_t>(Syndrome::RecvRights));
    EXPECT_EQ(t.events(t.b), (std::vector<std::pair<AsyncEvent, uint32_t>>{{AsyncEvent::Access, 0x102}}));
}

TEST(Requester, RemoteProtection) {
    const struct {
        const char* name;
        uint32_t (*stag)(const Bench& t);
        uint64_t (*to)(const Bench& t);
        Syndrome syndrome;
        uint32_t writeDetail, readDetail;
    } cases[] = {
        {"unknown", [](const Bench&) { return 999u << 8; }, [](const Bench& t) { return t.b.iova; }, Syndrome::RecvStag,
         0x1100, 0x0100},
        {"key", [](const Bench& t) { return t.b.stag | 5; }, [](const Bench& t) { return t.b.iova; },
         Syndrome::RecvStag, 0x1100, 0x0100},
        {"before", [](const Bench& t) { return t.b.stag; }, [](const Bench& t) { return t.b.iova - 8; },
         Syndrome::RecvBounds, 0x1101, 0x0101},
        {"behind", [](const Bench& t) { return t.b.stag; }, [](const Bench& t) { return t.b.iova + (1u << 20); },
         Syndrome::RecvBounds, 0x1101, 0x0101},
        {"rights", [](const Bench&) { return 40u << 8; }, [](const Bench& t) { return t.b.iova; }, Syndrome::RecvRights,
         0x0102, 0x0102},
        {"PD", [](const Bench&) { return 41u << 8; }, [](const Bench& t) { return t.b.iova; }, Syndrome::RecvPd, 0x1102,
         0x0103},
        {"wrap", [](const Bench& t) { return t.b.stag; }, [](const Bench&) { return UINT64_MAX - 7; },
         Syndrome::RecvWrap, 0x1103, 0x0104},
        {"local DMA key", [](const Bench&) { return kLocalDmaKey; },
         [](const Bench& t) { return t.b.bus & ~uint64_t{7}; }, Syndrome::RecvRights, 0x0102, 0x0102},
    };
    for (const auto& bad : cases) {
        for (int shape = 0; shape < 4; ++shape) {
            SCOPED_TRACE(std::string(bad.name) + " shape " + std::to_string(shape));
            Bench t;
            t.b.guest->registerMr(40, t.b.iova, t.b.bus, 4096, access::kLocalRead | access::kLocalWrite);
            t.b.guest->registerMr(41, t.b.iova, t.b.bus, 4096, access::kMask, 2);
            const uint32_t size = shape == 3 ? 8 : 16;
            t.recv(t.b, 0, 64);
            const uint64_t to = bad.to(t);
            const uint32_t stag = bad.stag(t);
            SqeBytes sqe = shape == 0   ? writeSqe(Op::Write, 0, {t.a.sge(0, size)}, stag, to)
                           : shape == 1 ? writeSqe(Op::WriteImm, 0, {t.a.sge(0, size)}, stag, to)
                           : shape == 2 ? readSqe(0, t.a.sge(0, size), stag, to)
                                        : atomicSqe(Op::CompareSwap, 0, 1, 0, stag, to, t.a.sge(0, 8));
            if (shape == 3 && std::string(bad.name) == "wrap")
                continue; // eight aligned bytes never wrap
            const Op op = shape == 0 ? Op::Write : shape == 1 ? Op::WriteImm : shape == 2 ? Op::Read : Op::CompareSwap;
            const auto before = t.b.data(0, 4096);
            const uint16_t at = t.a.put(sqe);
            const uint16_t behind = t.a.put(sendSqe(Op::Send, 0, {}));
            t.ring(t.a);
            expectCqe(t.a.sent(), {op, QueueType::Send, bad.syndrome, at, 0});
            expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Flushed, behind, 0});
            expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Flushed, 0, 0});
            const uint32_t detail = shape < 2 ? bad.writeDetail : bad.readDetail;
            EXPECT_EQ(t.events(t.a), (std::vector<std::pair<AsyncEvent, uint32_t>>{{AsyncEvent::QpFatal, detail}}));
            EXPECT_EQ(t.events(t.b), (std::vector<std::pair<AsyncEvent, uint32_t>>{{AsyncEvent::Access, detail}}));
            EXPECT_EQ(t.b.data(0, 4096), before);
        }
    }
}

TEST(Requester, RemoteErrorBehindReadsLetsThemFinish) {
    for (int shape = 0; shape < 3; ++shape) {
        Bench t({.twoDevices = true});
        t.b.memory().fill(t.b.bus, 4096, 3);
        t.a.put(readSqe(kSignal, t.a.sge(0, 4096), t.b.stag, t.b.iova));
        const uint16_t bad = t.a.put(shape == 0   ? writeSqe(Op::Write, 0, {t.a.sge(0, 8)}, 0x123, 0)
                                     : shape == 1 ? atomicSqe(Op::FetchAdd, 0, 1, 0, 0x123, 0, t.a.sge(0, 8))
                                                  : sendSqe(Op::SendInv, 0, {}, 0x456));
        const uint16_t behind = t.a.put(sendSqe(Op::Send, 0, {}));
        t.b.recv(0, 0);
        t.ring(t.a);
        expectCqe(t.a.sent(), {Op::Read, QueueType::Send, Syndrome::Success, 0, 4096});
        const auto cqe = t.a.sent();
        ASSERT_TRUE(cqe);
        EXPECT_EQ(cqe->index, bad);
        EXPECT_EQ(cqe->syndrome, static_cast<uint8_t>(Syndrome::RecvStag));
        expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Flushed, behind, 0});
        EXPECT_FALSE(t.a.sent());
        EXPECT_EQ(t.b.received()->syndrome, static_cast<uint8_t>(shape == 2 ? Syndrome::RecvStag : Syndrome::Flushed));
    }
}

TEST(Requester, ReadSinkThatVanishes) {
    Bench t({.twoDevices = true});
    t.a.put(readSqe(0, t.a.sge(0, 8), t.b.stag, t.b.iova));
    t.a.guest->ringSq(t.a.qpn);
    ASSERT_TRUE(t.a.guest->deregister(11).ok());
    t.post(t.b, readSqe(0, t.b.sge(0, 8), t.a.stag, t.a.iova)); // an innocent request of the other end
    expectCqe(t.a.sent(), {Op::Read, QueueType::Send, Syndrome::SendStag, 0, 0});
    const auto other = t.b.sent();
    ASSERT_TRUE(other);
    EXPECT_NE(other->syndrome, 0);
    EXPECT_EQ(t.events(t.a).size(), 1u);
    EXPECT_EQ(t.events(t.b).size(), 1u);
}

TEST(Requester, AtomicSinkThatVanishes) {
    Bench t({.twoDevices = true});
    t.a.put(atomicSqe(Op::FetchAdd, 0, 1, 0, t.b.stag, t.b.iova, t.a.sge(0, 8)));
    t.a.guest->ringSq(t.a.qpn);
    ASSERT_TRUE(t.a.guest->deregister(11).ok());
    t.settle();
    expectCqe(t.a.sent(), {Op::FetchAdd, QueueType::Send, Syndrome::SendStag, 0, 0});
}

TEST(Requester, BufferThatVanishesInTheMiddle) {
    Bench t({.bufferBytes = 16u << 20});
    t.recv(t.b, 0, 8u << 20);
    t.a.put(sendSqe(Op::Send, 0, {t.a.sge(0, 8u << 20)}));
    t.a.guest->write64(0x5F000, uint64_t{t.a.qpn} << 32 | 2); // rings; the inline share of the work is done
    ASSERT_FALSE(t.a.sent());
    ASSERT_TRUE(t.a.guest->deregister(11).ok());
    t.settle();
    expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::SendStag, 0, 0});
    expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::General, 0, 0});
}

// ---- order ----

TEST(Requester, RingWrapsInTheMiddleOfAnEntry) {
    Bench t({.sqLog = 3});
    std::mt19937 random(7);
    t.a.memory().fill(t.a.bus, 4096, 1);
    uint32_t total = 0;
    for (int i = 0; i < 300; ++i) {
        const auto sges = static_cast<uint32_t>(random() % 7);
        const auto size = static_cast<uint32_t>(random() % 50 + 1);
        const std::vector<Sge> list(sges, t.a.sge(random() % 1000, size));
        const uint16_t at = t.post(
            t.a, writeSqe(Op::Write, kSignal, sges > 6 ? std::vector<Sge>(6, list[0]) : list, t.b.stag, t.b.iova));
        const uint32_t used = std::min(sges, 6u);
        expectCqe(t.a.sent(), {Op::Write, QueueType::Send, Syndrome::Success, at, used * size});
        total += 1 + (used + 1) / 2;
    }
    EXPECT_EQ(t.a.guest->qp(t.a.qpn).sq.pi, total);
}

TEST(Requester, IndicesAreFreeRunningSixteenBits) {
    Bench t({.sqLog = 8});
    uint32_t posted = 0;
    while (posted < 70000) {
        for (int i = 0; i < 200; ++i, ++posted)
            t.a.put(inlineWriteSqe(i == 199 ? kSignal : 0, {}, 0, 0));
        t.ring(t.a);
        const auto cqe = t.a.sent();
        ASSERT_TRUE(cqe);
        ASSERT_EQ(cqe->syndrome, 0);
        ASSERT_EQ(cqe->index & 0xFFFF, (posted - 1) & 0xFFFF);
    }
    EXPECT_FALSE(t.a.sent());
}

TEST(Requester, UnsignalledProducesNothing) {
    Bench t;
    t.recv(t.b, 0, 64);
    t.post(t.a, sendSqe(Op::Send, 0, {t.a.sge(0, 64)}));
    t.post(t.a, writeSqe(Op::Write, 0, {t.a.sge(0, 64)}, t.b.stag, t.b.iova));
    t.post(t.a, readSqe(0, t.a.sge(0, 64), t.b.stag, t.b.iova));
    EXPECT_FALSE(t.a.sent());
    EXPECT_EQ(t.a.qp().snapshot().sqCi, t.a.qp().snapshot().sqPi);
}

TEST(Requester, CompletionsWaitForASlowReadInFront) {
    Bench t({.twoDevices = true});
    t.recv(t.b, 0, 64);
    const uint16_t read = t.a.put(readSqe(kSignal, t.a.sge(kFar, 64), t.b.stag, t.b.iova));
    const uint16_t send = t.a.put(sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    const uint16_t write = t.a.put(writeSqe(Op::Write, kSignal, {t.a.sge(0, 64)}, t.b.stag, t.b.iova));
    t.a.guest->ringSq(t.a.qpn);
    EXPECT_TRUE(t.b.received()) << "the Send need not wait";
    EXPECT_FALSE(t.a.sent());
    t.settle();
    expectCqe(t.a.sent(), {Op::Read, QueueType::Send, Syndrome::Success, read, 64});
    expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Success, send, 64});
    expectCqe(t.a.sent(), {Op::Write, QueueType::Send, Syndrome::Success, write, 64});
}

TEST(Requester, FenceWaits) {
    Bench t({.twoDevices = true});
    t.recv(t.b, 0, 64);
    t.a.put(readSqe(kSignal, t.a.sge(0, 64), t.b.stag, t.b.iova + 512));
    t.a.put(sendSqe(Op::Send, kSignal | kFence, {t.a.sge(0, 64)}));
    t.b.memory().fill(t.b.bus + 512, 64, 200);
    t.a.guest->ringSq(t.a.qpn);
    EXPECT_FALSE(t.b.received());
    t.settle();
    EXPECT_TRUE(t.b.received());
    EXPECT_EQ(t.b.data(0, 64), t.b.data(512, 64)) << "the Send carries what the Read brought";
    EXPECT_EQ(t.a.sent()->syndrome, 0);
    EXPECT_EQ(t.a.sent()->syndrome, 0);
}

TEST(Requester, MoreReadsThanOrdWait) {
    Bench t({.twoDevices = true, .sqLog = 10});
    for (uint32_t i = 0; i < 300; ++i)
        t.a.put(readSqe(kSignal, t.a.sge(8 * i, 8), t.b.stag, t.b.iova + 8 * i));
    t.b.memory().fill(t.b.bus, 2400, 11);
    t.a.guest->ringSq(t.a.qpn);
    EXPECT_EQ(t.a.qp().snapshot().outstandingReads, kMaxOrd);
    EXPECT_EQ(t.b.qp().snapshot().queuedRequests, kMaxIrd);
    t.settle();
    for (uint32_t i = 0; i < 300; ++i)
        expectCqe(t.a.sent(), {Op::Read, QueueType::Send, Syndrome::Success, 2 * i, 8});
    EXPECT_EQ(t.a.data(0, 2400), t.b.data(0, 2400));
}

TEST(Requester, OrdOfTheDevice) {
    erdma_config config = testConfig();
    config.ord = 3;
    Bench t({.twoDevices = true, .config = config});
    for (uint32_t i = 0; i < 20; ++i)
        t.a.put(readSqe(kSignal, t.a.sge(8 * i, 8), t.b.stag, t.b.iova + 8 * i));
    t.a.guest->ringSq(t.a.qpn);
    EXPECT_EQ(t.a.qp().snapshot().outstandingReads, 3u);
    t.settle();
    for (uint32_t i = 0; i < 20; ++i)
        expectCqe(t.a.sent(), {Op::Read, QueueType::Send, Syndrome::Success, 2 * i, 8});
    EXPECT_EQ(t.a.count(Counter::MostReads), 3u);
    EXPECT_EQ(t.b.count(Counter::MostReads), 0u);
}

TEST(Requester, LongMessagesAreWorkedOffInParts) {
    Bench t({.bufferBytes = 64u << 20});
    t.a.put(writeSqe(Op::Write, kSignal, {t.a.sge(0, 64u << 20)}, t.b.stag, t.b.iova));
    t.a.guest->write64(0x5F000, uint64_t{t.a.qpn} << 32 | 2);
    EXPECT_FALSE(t.a.sent()) << "a doorbell must not take this long";
    EXPECT_TRUE(t.a.host->scheduled);
    t.settle();
    expectCqe(t.a.sent(), {Op::Write, QueueType::Send, Syndrome::Success, 0, 64u << 20});
}

TEST(Requester, SolicitedFlagReachesTheReceiver) {
    for (const bool solicited : {false, true}) {
        for (const Op op : {Op::Send, Op::SendImm, Op::WriteImm}) {
            Bench t;
            t.recv(t.b, 0, 64);
            t.b.guest->armCq(t.b.rcq, true);
            const uint64_t before = t.b.count(Counter::CqEvents);
            const uint64_t flags = solicited ? kSolicited : 0;
            t.post(t.a, op == Op::WriteImm ? writeSqe(op, flags, {}, 0, 0) : sendSqe(op, flags, {t.a.sge(0, 8)}));
            EXPECT_TRUE(t.b.received());
            EXPECT_EQ(t.b.count(Counter::CqEvents) - before, solicited ? 1u : 0u);
        }
    }
}

// ---- direct WQEs ----

TEST(Requester, DirectWqeIsTakenFromTheSlot) {
    Bench t;
    std::vector<std::byte> ringData(20, std::byte{1});
    std::vector<std::byte> slotData(20, std::byte{2});
    SqeBytes inRing = inlineWriteSqe(kSignal | flag::kDirect, ringData, t.b.stag, t.b.iova);
    t.a.guest->putSqe(t.a.qpn, inRing);
    DirectWqe direct;
    std::copy(inRing.begin(), inRing.end(), direct.bytes.begin());
    std::copy(slotData.begin(), slotData.end(), direct.bytes.begin() + 32);
    direct.wqebbs = 2;
    t.a.qp().sqDoorbell(2, &direct);
    t.settle();
    EXPECT_EQ(t.b.data(0, 20), slotData);
    expectCqe(t.a.sent(), {Op::Write, QueueType::Send, Syndrome::Success, 0, 20});
}

TEST(Requester, DirectWqeBehindOthersWaitsForItsTurn) {
    Bench t;
    std::vector<std::byte> one(20, std::byte{1});
    std::vector<std::byte> two(20, std::byte{2});
    std::vector<std::byte> slotData(20, std::byte{3});
    t.a.put(inlineWriteSqe(0, one, t.b.stag, t.b.iova));
    SqeBytes last = inlineWriteSqe(kSignal | flag::kDirect, two, t.b.stag, t.b.iova + 32);
    t.a.guest->putSqe(t.a.qpn, last);
    DirectWqe direct;
    std::copy(last.begin(), last.end(), direct.bytes.begin());
    std::copy(slotData.begin(), slotData.end(), direct.bytes.begin() + 32);
    direct.wqebbs = 2;
    t.a.qp().sqDoorbell(4, &direct);
    t.settle();
    EXPECT_EQ(t.b.data(0, 20), one);
    EXPECT_EQ(t.b.data(32, 20), slotData);
    expectCqe(t.a.sent(), {Op::Write, QueueType::Send, Syndrome::Success, 2, 20});
}

TEST(Requester, DirectWqeThatDisagreesFallsBackToTheRing) {
    Bench t;
    std::vector<std::byte> data(20, std::byte{1});
    for (int i = 0; i < 3; ++i) {
        SqeBytes sqe = inlineWriteSqe(kSignal | flag::kDirect, data, t.b.stag, t.b.iova);
        const uint16_t at = t.a.guest->putSqe(t.a.qpn, sqe);
        DirectWqe direct;
        std::fill(direct.bytes.begin(), direct.bytes.end(), std::byte{9});
        std::copy(sqe.begin(), sqe.end(), direct.bytes.begin());
        direct.wqebbs = i == 1 ? 1 : 2;
        if (i == 0)
            direct.bytes[7] = std::byte{5}; // SGL_LEN differs
        if (i == 2)
            direct.wqebbs = 7; // no such thing
        t.a.qp().sqDoorbell(static_cast<uint16_t>(at + 2), &direct);
        t.settle();
        EXPECT_EQ(t.b.data(0, 20), data);
        EXPECT_EQ(t.a.sent()->syndrome, 0);
    }
    EXPECT_EQ(t.a.count(Counter::DirectWqeFallbacks), 2u);
}

TEST(Requester, RingThatIsNotThereAnyMore) {
    Bench t;
    t.recv(t.b, 0, 0);
    t.a.put(sendSqe(Op::Send, kSignal, {}));
    t.a.memory().block(t.a.guest->qp(t.a.qpn).sq.address);
    t.ring(t.a);
    EXPECT_EQ(t.events(t.a).size(), 1u);
    EXPECT_EQ(t.a.state(), QpState::Error);
    EXPECT_FALSE(t.a.sent());
    expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Flushed, 0, 0});
}

TEST(Requester, RingOfWhichOnePageIsGone) {
    Bench t({.sqLog = 8}); // two pages
    const uint64_t ring = t.a.guest->qp(t.a.qpn).sq.address;
    t.a.memory().block((ring & ~uint64_t{4095}) + 4096);
    const uint32_t good = static_cast<uint32_t>((4096 - ring % 4096) / 32);
    for (uint32_t i = 0; i < good; ++i)
        t.a.put(inlineWriteSqe(kSignal, {}, 0, 0));
    t.a.put(inlineWriteSqe(kSignal, {}, 0, 0));
    t.ring(t.a);
    for (uint32_t i = 0; i < good; ++i)
        expectCqe(t.a.sent(), {Op::Write, QueueType::Send, Syndrome::Success, i, 0});
    EXPECT_FALSE(t.a.sent());
    EXPECT_EQ(t.events(t.a).size(), 1u);
}

TEST(Requester, EntryThatReachesIntoAMissingPage) {
    Bench t({.sqLog = 8});
    const uint64_t ring = t.a.guest->qp(t.a.qpn).sq.address;
    const uint32_t good = static_cast<uint32_t>((4096 - ring % 4096) / 32);
    for (uint32_t i = 1; i < good; ++i)
        t.a.put(inlineWriteSqe(0, {}, 0, 0));
    t.ring(t.a);
    t.a.memory().block((ring & ~uint64_t{4095}) + 4096);
    t.post(t.a, readSqe(kSignal, t.a.sge(0, 8), t.b.stag, t.b.iova));
    EXPECT_EQ(t.a.state(), QpState::Error);
    EXPECT_EQ(t.events(t.a).size(), 1u);
    EXPECT_EQ(t.a.sent()->syndrome, static_cast<uint8_t>(Syndrome::Flushed)) << "its header can be read";
    EXPECT_FALSE(t.a.sent());
}

} // namespace
} // namespace erdma::test
