// SPDX-License-Identifier: GPL-2.0-or-later
// Two connected queue pairs, on one adapter or on two, and builders for their work requests.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <numeric>
#include <vector>

#include "fake_host.h"
#include "sqe.h"

namespace erdma::test {

namespace flag {
inline constexpr uint64_t kSignal = 1u << 22;
inline constexpr uint64_t kSolicited = 1u << 23;
inline constexpr uint64_t kFence = 1u << 24;
inline constexpr uint64_t kInline = 1u << 25;
inline constexpr uint64_t kDirect = 1u << 26;
} // namespace flag

using SqeBytes = std::vector<std::byte>;

// Bytes that a provider does not clear hold garbage.  QPN, WQEBB count and index are filled in by Guest::putSqe().
inline SqeBytes rawSqe(uint32_t wqebbs, Op op, uint64_t flags, uint32_t sglLength) {
    SqeBytes raw(size_t{wqebbs} * 32, std::byte{0xEE});
    storeLe64(raw, 0, uint64_t{sglLength} << 56 | uint64_t{static_cast<uint8_t>(op)} << 27 | flags);
    return raw;
}

inline void putSges(SqeBytes& raw, size_t offset, const std::vector<Sge>& sges) {
    for (const Sge& sge : sges) {
        storeLe64(raw, offset, sge.addr);
        storeLe32(raw, offset + 8, sge.length);
        storeLe32(raw, offset + 12, sge.stag);
        offset += 16;
    }
}

inline uint32_t totalOf(const std::vector<Sge>& sges) {
    return std::accumulate(sges.begin(), sges.end(), 0u, [](uint32_t sum, const Sge& s) { return sum + s.length; });
}

inline uint32_t blocksFor(size_t bytes) { return static_cast<uint32_t>((bytes + 31) / 32); }

inline SqeBytes sendSqe(Op op, uint64_t flags, const std::vector<Sge>& sges, uint32_t word8 = 0) {
    SqeBytes raw = rawSqe(blocksFor(16 + 16 * sges.size()), op, flags, static_cast<uint32_t>(sges.size()));
    if (op == Op::SendImm)
        storeBe32(raw, 8, word8);
    else
        storeLe32(raw, 8, word8);
    storeLe32(raw, 12, totalOf(sges));
    putSges(raw, 16, sges);
    return raw;
}

inline SqeBytes inlineSendSqe(Op op, uint64_t flags, ConstBytes data, uint32_t word8 = 0) {
    SqeBytes raw = rawSqe(blocksFor(16 + data.size()), op, flags | flag::kInline, static_cast<uint32_t>(data.size()));
    if (op == Op::SendImm)
        storeBe32(raw, 8, word8);
    else
        storeLe32(raw, 8, word8);
    storeLe32(raw, 12, static_cast<uint32_t>(data.size()));
    std::copy(data.begin(), data.end(), raw.begin() + 16);
    return raw;
}

inline SqeBytes writeSqe(Op op, uint64_t flags, const std::vector<Sge>& sges, uint32_t remoteStag, uint64_t remoteTo,
                         uint32_t immediate = 0) {
    SqeBytes raw = rawSqe(1 + blocksFor(16 * sges.size()), op, flags, static_cast<uint32_t>(sges.size()));
    storeBe32(raw, 8, immediate);
    storeLe32(raw, 12, totalOf(sges));
    storeLe32(raw, 16, remoteStag);
    storeLe64(raw, 20, remoteTo);
    putSges(raw, 32, sges);
    return raw;
}

inline SqeBytes inlineWriteSqe(uint64_t flags, ConstBytes data, uint32_t remoteStag, uint64_t remoteTo) {
    SqeBytes raw =
        rawSqe(1 + blocksFor(data.size()), Op::Write, flags | flag::kInline, static_cast<uint32_t>(data.size()));
    storeLe32(raw, 12, static_cast<uint32_t>(data.size()));
    storeLe32(raw, 16, remoteStag);
    storeLe64(raw, 20, remoteTo);
    std::copy(data.begin(), data.end(), raw.begin() + 32);
    return raw;
}

inline SqeBytes readSqe(uint64_t flags, const Sge& sink, uint32_t sourceStag, uint64_t sourceTo,
                        std::optional<uint32_t> invalidate = std::nullopt) {
    SqeBytes raw = rawSqe(2, invalidate ? Op::ReadInv : Op::Read, flags, 0);
    if (invalidate)
        storeLe32(raw, 8, *invalidate);
    storeLe32(raw, 12, sink.length);
    storeLe32(raw, 16, sink.stag);
    storeLe64(raw, 20, sink.addr);
    putSges(raw, 32, {{sourceTo, sink.length, sourceStag}});
    return raw;
}

inline SqeBytes atomicSqe(Op op, uint64_t flags, uint64_t operand, uint64_t compare, uint32_t stag, uint64_t to,
                          const Sge& result) {
    SqeBytes raw = rawSqe(2, op, flags, 0);
    storeLe64(raw, 16, operand);
    if (op == Op::CompareSwap)
        storeLe64(raw, 24, compare);
    putSges(raw, 32, {{to, 0xEEEEEEEE, stag}, result});
    return raw;
}

inline SqeBytes regMrSqe(uint64_t flags, uint32_t stag, uint64_t iova, uint32_t length, uint32_t access,
                         const std::vector<uint64_t>& pages, std::optional<uint32_t> tableCount = std::nullopt) {
    SqeBytes raw = rawSqe(pages.empty() || tableCount ? 1 : 2, Op::RegMr, flags, 0);
    storeLe64(raw, 8, iova);
    storeLe32(raw, 16, length);
    storeLe32(raw, 20, stag);
    const uint32_t count = tableCount.value_or(static_cast<uint32_t>(pages.size()));
    storeLe32(raw, 24, count << 12 | (tableCount ? 1u << 6 : 0) | access);
    for (size_t i = 0; !tableCount && i < pages.size(); ++i)
        storeLe64(raw, 32 + 8 * i, pages[i]);
    return raw;
}

inline SqeBytes localInvSqe(uint64_t flags, uint32_t stag) {
    SqeBytes raw = rawSqe(1, Op::LocalInv, flags, 0);
    storeLe32(raw, 20, stag);
    return raw;
}

struct Expected {
    Op op;
    QueueType queue = QueueType::Send;
    Syndrome syndrome = Syndrome::Success;
    uint32_t index = 0;
    uint32_t bytes = 0;
};

inline void expectCqe(const std::optional<Cqe>& cqe, const Expected& want, const char* what = "") {
    ASSERT_TRUE(cqe.has_value()) << what << ": no completion";
    EXPECT_EQ(cqe->opcode, static_cast<uint8_t>(want.op)) << what;
    EXPECT_EQ(cqe->queueType, static_cast<uint8_t>(want.queue)) << what;
    EXPECT_EQ(cqe->syndrome, static_cast<uint8_t>(want.syndrome)) << what;
    EXPECT_EQ(cqe->index & 0xFFFF, want.index & 0xFFFF) << what;
    EXPECT_EQ(cqe->bytes, want.bytes) << what;
}

struct BenchOptions {
    bool twoDevices = false;
    bool connect = true;
    bool sharedCq = false; // all four queues complete into CQ 1 (one adapter only)
    uint32_t sqLog = 6;
    uint32_t rqLog = 4;
    uint32_t cqLog = 10;
    uint32_t bufferBytes = 1u << 20;
    bool ofProcess = false; // queue pairs
    erdma_config config = testConfig();
};

// One end: its queue pair and a registered buffer with every right.
struct Side {
    Guest* guest = nullptr;
    FakeHost* host = nullptr;
    Device* device = nullptr;
    uint32_t qpn = 0;
    uint32_t scq = 0;
    uint32_t rcq = 0;
    uint32_t stag = 0;
    uint64_t iova = 0;
    uint64_t bus = 0;
    Handover link{};

    QueuePair& qp() const { return *device->findQp(qpn); }
    bool alive() const { return device->findQp(qpn) != nullptr; }
    QpState state() const { return qp().state(); }
    FakeMemory& memory() const { return guest->memory(); }
    Sge sge(uint64_t offset, uint32_t length) const { return {iova + offset, length, stag}; }
    std::optional<Cqe> sent() const { return guest->pollCq(scq); }
    std::optional<Cqe> received() const { return guest->pollCq(rcq); }
    uint16_t put(SqeBytes sqe) const { return guest->putSqe(qpn, sqe); }
    uint16_t recv(uint64_t offset, uint32_t length) const { return guest->postRecv(qpn, iova + offset, length, stag); }
    std::vector<std::byte> data(uint64_t offset, size_t length) const { return memory().copy(bus + offset, length); }
    uint64_t count(Counter c) const { return device->counters()[c]; }
};

class Bench {
public:
    explicit Bench(const BenchOptions& options = {}) : options_(options) {
        for (unsigned i = 0; i < (options.twoDevices ? 2u : 1u); ++i) {
            machines_.push_back(std::make_unique<Machine>(128, options.config, &fabric));
            machines_.back()->guest.bringUp();
            EXPECT_TRUE(machines_.back()->guest.createEq(1).ok());
        }
        makeSide(a, *machines_.front(), 1);
        makeSide(b, *machines_.back(), 2);
        a.link = {.cookie = b.qpn,
                  .ownIp = 0x0A000001,
                  .peerIp = 0x0A000002,
                  .ownPort = 1000,
                  .peerPort = 2000,
                  .sendStart = 77,
                  .recvStart = 99};
        b.link = {.cookie = a.qpn,
                  .ownIp = 0x0A000002,
                  .peerIp = 0x0A000001,
                  .ownPort = 2000,
                  .peerPort = 1000,
                  .sendStart = 99,
                  .recvStart = 77};
        if (options.connect)
            connect();
    }
    ~Bench() {
        if (tearDown) // destroy in an order that tests nothing else
            machines_.clear();
    }

    void connect() {
        EXPECT_TRUE(b.guest->connectQp(b.qpn, b.link).ok());
        EXPECT_FALSE(b.qp().active());
        EXPECT_TRUE(a.guest->connectQp(a.qpn, a.link).ok());
        EXPECT_TRUE(a.qp().active());
        EXPECT_TRUE(b.qp().active());
        settle();
    }
    Machine& machine(size_t i = 0) { return *machines_[i]; }
    void dropMachine(size_t i) { machines_.erase(machines_.begin() + static_cast<std::ptrdiff_t>(i)); }

    void settle() {
        for (bool more = true; more;) {
            more = false;
            for (auto& machine : machines_) {
                more |= machine->host.scheduled;
                machine->guest.settle();
            }
        }
    }
    void advanceMs(uint64_t ms) {
        for (auto& machine : machines_)
            machine->guest.advance(ms * 1'000'000);
        settle();
    }
    // Posts and rings.
    uint16_t post(const Side& side, SqeBytes sqe) {
        const uint16_t index = side.put(std::move(sqe));
        ring(side);
        return index;
    }
    void ring(const Side& side) {
        side.guest->ringSq(side.qpn);
        settle();
    }
    uint16_t recv(const Side& side, uint64_t offset, uint32_t length) {
        const uint16_t index = side.recv(offset, length);
        settle();
        return index;
    }
    void stop(const Side& side, QpState state = QpState::Error) {
        EXPECT_TRUE(side.guest->stopQp(side.qpn, state).ok());
        settle();
    }
    // Event type and detail of every AEQE for this QP since the last call; others must not exist.
    std::vector<std::pair<AsyncEvent, uint32_t>> events(const Side& side) {
        for (const Eqe& e : side.guest->drainAeq())
            pending_.push_back({side.device, e});
        std::vector<std::pair<AsyncEvent, uint32_t>> out;
        std::erase_if(pending_, [&](const auto& p) {
            if (p.first != side.device || p.second[1] != side.qpn)
                return false;
            out.emplace_back(static_cast<AsyncEvent>(p.second[0] >> 16 & 0xFF), p.second[2]);
            return true;
        });
        return out;
    }
    size_t leftOverEvents() const { return pending_.size(); }

    LoopbackFabric fabric;
    Side a, b;
    bool tearDown = true;

private:
    void makeSide(Side& side, Machine& machine, uint32_t number) {
        side.guest = &machine.guest;
        side.host = &machine.host;
        side.device = &machine.device;
        side.qpn = number;
        side.scq = options_.sharedCq ? 1 : number * 2;
        side.rcq = options_.sharedCq ? 1 : number * 2 + 1;
        side.iova = 0x7f0000000000u + uint64_t{number} * 0x100000000u + 0x10;
        // Nothing else is in the page in front of the buffer's first one, and up to the end of its last.
        side.bus = machine.guest.memory().allocate(options_.bufferBytes + 8192) + 4096 + 0x10;
        side.stag = (10 + number) << 8;
        if (side.device->findCq(side.scq) == nullptr) {
            EXPECT_TRUE(side.guest->createCq(side.scq, options_.cqLog).ok());
        }
        if (side.device->findCq(side.rcq) == nullptr) {
            EXPECT_TRUE(side.guest->createCq(side.rcq, options_.cqLog).ok());
        }
        EXPECT_TRUE(
            side.guest->createQp(side.qpn, side.scq, side.rcq, options_.sqLog, options_.rqLog, 1, options_.ofProcess)
                .ok());
        EXPECT_TRUE(side.guest->registerMr(10 + number, side.iova, side.bus, options_.bufferBytes).ok());
    }

    BenchOptions options_;
    std::vector<std::unique_ptr<Machine>> machines_;
    std::vector<std::pair<Device*, Eqe>> pending_;
};

} // namespace erdma::test
