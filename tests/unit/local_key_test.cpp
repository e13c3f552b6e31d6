// SPDX-License-Identifier: GPL-2.0-or-later
// The local DMA key opens all of the guest's memory: it is for the queue pairs of its kernel (adapter.md 8.6).
#include "pair_bench.h"
#include "wire_bench.h"

namespace erdma::test {
namespace {

using flag::kSignal;

constexpr uint64_t kSecret = 0x7ACE;

struct LocalKey {
    // A page of somebody else.
    explicit LocalKey(Guest& guest) : page(guest.memory().allocate(4096)) { guest.memory().put64(page, kSecret); }
    Sge sge() const { return {page, 8, kLocalDmaKey}; }
    uint64_t page;
};

struct Loop : Bench {
    explicit Loop(bool ofProcess) : Bench({.twoDevices = true, .ofProcess = ofProcess}), key(*a.guest) {}
    LocalKey key;
};

TEST(LocalKey, ProcessesAreRefusedAtTheSendQueue) {
    const struct {
        const char* what;
        Op op;
        std::function<SqeBytes(const Loop&)> sqe;
    } rows[] = {
        {"send", Op::Send, [](const Loop& t) { return sendSqe(Op::Send, kSignal, {t.key.sge()}); }},
        {"send, second segment", Op::Send,
         [](const Loop& t) {
             return sendSqe(Op::Send, kSignal, {t.a.sge(0, 8), t.key.sge()});
         }},
        {"send of two segments on the wire", Op::Send,
         [](const Loop& t) {
             return sendSqe(Op::Send, kSignal, {t.a.sge(0, 0x18000), t.key.sge()});
         }},
        {"write", Op::Write,
         [](const Loop& t) { return writeSqe(Op::Write, kSignal, {t.key.sge()}, t.b.stag, t.b.iova); }},
        {"read", Op::Read, [](const Loop& t) { return readSqe(kSignal, t.key.sge(), t.b.stag, t.b.iova); }},
        {"compare and swap", Op::CompareSwap,
         [](const Loop& t) {
             return atomicSqe(Op::CompareSwap, kSignal, 1, 0, t.b.stag, (t.b.iova + 7) & ~7u, t.key.sge());
         }},
        {"fetch and add", Op::FetchAdd,
         [](const Loop& t) {
             return atomicSqe(Op::FetchAdd, kSignal, 1, 0, t.b.stag, (t.b.iova + 7) & ~7u, t.key.sge());
         }},
    };
    for (const auto& row : rows) {
        Loop t(true);
        t.recv(t.b, 0, 0x20000);
        const uint64_t before = loadLe64(t.b.data(0, 8), 0);
        const uint16_t index = t.post(t.a, row.sqe(t));
        const uint16_t behind = t.post(t.a, sendSqe(Op::Send, kSignal, {}));
        expectCqe(t.a.sent(), {row.op, QueueType::Send, Syndrome::SendStag, index}, row.what);
        expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Flushed, behind}, row.what);
        EXPECT_EQ(t.a.state(), QpState::Error) << row.what;
        EXPECT_EQ(t.a.memory().get64(t.key.page), kSecret) << row.what;
        EXPECT_EQ(loadLe64(t.b.data(0, 8), 0), before) << row.what;
    }
}

TEST(LocalKey, ProcessesAreRefusedAtTheReceiveQueue) {
    Loop t(true);
    const uint16_t index = t.a.guest->postRecv(t.a.qpn, t.key.page, 8, kLocalDmaKey);
    t.recv(t.a, 0, 8);
    t.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, 8)}));
    expectCqe(t.a.received(), {Op::RecvSend, QueueType::Receive, Syndrome::RecvStag, index});
    EXPECT_EQ(t.a.received()->syndrome, static_cast<uint8_t>(Syndrome::Flushed));
    EXPECT_EQ(t.a.memory().get64(t.key.page), kSecret);
}

TEST(LocalKey, ProcessesAreRefusedOnTheWire) {
    WireBench send({.bench = {.ofProcess = true}});
    LocalKey key(*send.a.guest);
    send.bench.recv(send.b, 0, 64);
    send.bench.post(send.a, sendSqe(Op::Send, kSignal, {key.sge()}));
    expectCqe(send.sent(send.a), {Op::Send, QueueType::Send, Syndrome::SendStag, 0});

    WireBench receive({.bench = {.ofProcess = true}});
    LocalKey sink(*receive.b.guest);
    receive.b.guest->postRecv(receive.b.qpn, sink.page, 8, kLocalDmaKey);
    receive.bench.post(receive.a, sendSqe(Op::Send, kSignal, {receive.a.sge(0, 8)}));
    expectCqe(receive.received(receive.b), {Op::RecvSend, QueueType::Receive, Syndrome::RecvStag, 0});
    EXPECT_EQ(receive.b.memory().get64(sink.page), kSecret);

    WireBench read({.bench = {.ofProcess = true}});
    LocalKey target(*read.a.guest);
    read.bench.post(read.a, readSqe(kSignal, target.sge(), read.b.stag, read.b.iova));
    expectCqe(read.sent(read.a), {Op::Read, QueueType::Send, Syndrome::SendStag, 0});
    EXPECT_EQ(read.a.memory().get64(target.page), kSecret);
}

TEST(LocalKey, KernelsUseItEverywhere) {
    Loop t(false);
    t.b.memory().put64(t.b.bus, 42);
    t.recv(t.b, 0x100, 8);
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.key.sge()}));
    EXPECT_EQ(loadLe64(t.b.data(0x100, 8), 0), kSecret);
    t.post(t.a, readSqe(kSignal, t.key.sge(), t.b.stag, t.b.iova));
    EXPECT_EQ(t.a.memory().get64(t.key.page), 42u);
    t.a.guest->postRecv(t.a.qpn, t.key.page, 8, kLocalDmaKey);
    t.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0x100, 8)}));
    EXPECT_EQ(t.a.memory().get64(t.key.page), kSecret);
    while (const auto cqe = t.a.sent())
        EXPECT_EQ(cqe->syndrome, 0u);
}

// What tells the two apart is both rings: one exact buffer each, page size 1 MiB, level 0.
TEST(LocalKey, OnlyBothRingsOfAKernelMakeAQueuePairOfTheKernel) {
    Machine m;
    m.guest.bringUp();
    m.guest.createEq(1);
    m.guest.createCq(1);
    uint32_t qpn = 0;
    const auto ofKernel = [&](uint32_t sqField, uint32_t rqField, uint32_t count, bool table) {
        const uint64_t ring = m.guest.memory().allocate(4096), list = m.guest.memory().allocate(4096);
        m.guest.memory().put64(list, ring);
        const uint64_t at = table ? list : ring;
        Request request = Guest::qpRequest(++qpn, 1, 1, 4, 4, 1, at, at, 8, count, table);
        EXPECT_EQ(m.guest.status(0, 1, request.u32(16, sqField << 28 | 1).u32(20, rqField << 28 | 1)), 0u);
        return m.device.findQp(qpn)->config().ofKernel;
    };
    EXPECT_TRUE(ofKernel(8, 8, 1, false));
    EXPECT_FALSE(ofKernel(7, 8, 1, false));
    EXPECT_FALSE(ofKernel(8, 7, 1, false));
    EXPECT_FALSE(ofKernel(9, 9, 1, false));
    EXPECT_FALSE(ofKernel(8, 8, 2, false));
    EXPECT_FALSE(ofKernel(8, 8, 1, true));
}

TEST(LocalKey, ProcessesRegisterNoPages) {
    Loop t(true);
    ASSERT_TRUE(t.a.guest->registerFast(50, t.a.memory().allocate(4096), 8).ok());
    t.post(t.a, regMrSqe(kSignal, 50 << 8 | 1, 0x1000, 8, access::kLocalRead, {t.key.page}));
    expectCqe(t.a.sent(), {Op::RegMr, QueueType::Send, Syndrome::SendFormat, 0});
}

} // namespace
} // namespace erdma::test
