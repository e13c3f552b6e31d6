// SPDX-License-Identifier: GPL-2.0-or-later
// A hostile guest writes what it likes into its rings: no crash, no endless loop, and only registered memory changes.
#include <random>

#include "pair_bench.h"

namespace erdma::test {
namespace {

class Noise {
public:
    explicit Noise(uint32_t seed) : random_(seed) {}
    uint32_t operator()(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }
    uint64_t word() { return uint64_t{static_cast<uint32_t>(random_())} << 32 | static_cast<uint32_t>(random_()); }

private:
    std::mt19937 random_;
};

// Memory that the adapter may not write.
class Guards {
public:
    void add(FakeMemory& memory, uint64_t address, uint64_t bytes) {
        memory.fill(address, bytes, 0x11);
        guards_.push_back({&memory, address, memory.copy(address, bytes)});
    }
    void check() const {
        for (const Guard& guard : guards_)
            EXPECT_EQ(guard.memory->copy(guard.address, guard.content.size()), guard.content) << guard.address;
    }

private:
    struct Guard {
        FakeMemory* memory;
        uint64_t address;
        std::vector<std::byte> content;
    };
    std::vector<Guard> guards_;
};

TEST(QueueFuzz, HostileEntries) {
    for (uint32_t seed = 0; seed < 400; ++seed) {
        SCOPED_TRACE(seed);
        Noise noise(seed);
        Bench t({.twoDevices = seed % 2 == 1, .sqLog = 5, .rqLog = 4, .bufferBytes = 1u << 16});
        constexpr uint64_t kPage = FakeMemory::kPage;
        Guards guards;
        for (const Side* side : {&t.a, &t.b}) {
            const uint64_t first = side->bus - side->bus % kPage;
            guards.add(side->memory(), first - kPage, kPage);
            // Fast registrations of `b` may name the buffer's first page; those of `a` only a page of their own.
            if (side == &t.a)
                guards.add(side->memory(), first, side->bus - first);
            const uint64_t end = side->bus + (1u << 16);
            guards.add(side->memory(), end, kPage - end % kPage);
        }
        const uint64_t fastPage = t.a.memory().allocate(3 * kPage) + kPage;
        guards.add(t.a.memory(), fastPage - kPage, kPage);
        guards.add(t.a.memory(), fastPage + kPage, kPage);
        t.a.guest->registerFast(70, t.a.memory().allocate(64), 8);
        t.b.guest->registerFast(70, t.b.memory().allocate(64), 8);

        for (int step = 0; step < 200; ++step) {
            const Side& side = noise(2) ? t.a : t.b;
            const Side& peer = &side == &t.a ? t.b : t.a;
            const auto address = [&](const Side& of) {
                return noise(8) == 0 ? noise.word() : of.iova + noise(1u << 16) - (noise(8) == 0 ? 64 : 0);
            };
            const auto stag = [&](const Side& of) {
                const uint32_t pick = noise(40);
                return pick == 0   ? static_cast<uint32_t>(noise.word())
                       : pick == 1 ? (70u << 8 | noise(4))
                       : pick == 2 ? of.stag ^ 1
                                   : of.stag;
            };
            const auto length = [&] { return noise(30) == 0 ? static_cast<uint32_t>(noise.word()) : noise(3000); };
            const uint64_t flags = uint64_t{noise(16)} << 22;
            SqeBytes sqe;
            switch (noise(12)) {
            case 0:
                sqe = sendSqe(Op::Send, flags & ~flag::kInline, {{address(side), length(), stag(side)}});
                break;
            case 1:
                sqe = sendSqe(noise(2) ? Op::SendImm : Op::SendInv, flags & ~flag::kInline, {}, stag(peer));
                break;
            case 2:
                sqe = inlineSendSqe(Op::Send, flags, std::vector<std::byte>(noise(97)));
                break;
            case 3:
            case 4:
                sqe = writeSqe(noise(2) ? Op::Write : Op::WriteImm, flags & ~flag::kInline,
                               {{address(side), length(), stag(side)}, {address(side), 8, stag(side)}}, stag(peer),
                               address(peer));
                break;
            case 5:
                sqe = readSqe(flags, {address(side), length(), stag(side)}, stag(peer), address(peer),
                              noise(4) ? std::nullopt : std::optional<uint32_t>(stag(side)));
                break;
            case 6:
                sqe =
                    atomicSqe(noise(2) ? Op::FetchAdd : Op::CompareSwap, flags, noise.word(), noise.word(), stag(peer),
                              address(peer) & ~uint64_t{noise(4) ? 7u : 0u}, {address(side), 8, stag(side)});
                break;
            case 7:
                sqe = regMrSqe(flags, 70u << 8 | noise(4), noise.word(), length(), noise(64),
                               {&side == &t.a ? fastPage : side.bus - side.bus % 4096});
                break;
            case 8:
                sqe = localInvSqe(flags, 70u << 8);
                break;
            default:
                break;
            }
            if (!sqe.empty() && noise(60) == 0)
                sqe[noise(static_cast<uint32_t>(sqe.size()))] = static_cast<std::byte>(noise(256));
            if (!sqe.empty()) {
                side.put(sqe);
            } else if (noise(3) != 0) {
                side.guest->postRecv(side.qpn, address(side), noise(4096), stag(side));
            } else if (noise(20) == 0) { // noise in the ring
                for (uint64_t at = 0; at < 32 * 32; at += 8)
                    side.memory().put64(side.guest->qp(side.qpn).sq.address + at, noise.word());
                side.guest->qp(side.qpn).sq.pi += noise(40);
            }
            if (noise(30) == 0)
                side.guest->write64(0x5F000, uint64_t{side.qpn} << 32 | noise(65536));
            if (noise(2) == 0) {
                side.guest->write64(0x5F000, uint64_t{side.qpn} << 32 | (side.guest->qp(side.qpn).sq.pi & 0xFFFF));
                if (noise(2) == 0)
                    t.settle();
            }
            if (noise(200) == 0)
                t.advanceMs(31'000);
        }
        t.settle();
        t.stop(t.a, noise(2) ? QpState::Closing : QpState::Error);
        t.settle();
        EXPECT_GE(t.a.state(), QpState::Closing);
        EXPECT_GE(t.b.state(), QpState::Closing);
        guards.check();
        for (const Side* side : {&t.a, &t.b}) {
            const QueuePair::Snapshot s = side->qp().snapshot();
            EXPECT_EQ(s.sqPi, s.sqCi);
            EXPECT_EQ(s.rqPi, s.rqCi);
            EXPECT_FALSE(side->host->scheduled);
        }
    }
}

TEST(QueueFuzz, PureNoise) {
    for (uint32_t seed = 0; seed < 300; ++seed) {
        Noise noise(seed + 5000);
        Bench t({.sqLog = 4, .rqLog = 3});
        const uint64_t writable = t.a.memory().pagesInUse();
        for (uint64_t at = 0; at < 16 * 32; at += 8) {
            for (const Side* side : {&t.a, &t.b})
                side->memory().put64(side->guest->qp(side->qpn).sq.address + at, noise.word());
        }
        for (uint64_t at = 0; at < 8 * 32; at += 8)
            t.b.memory().put64(t.b.guest->qp(t.b.qpn).rq.address + at, noise.word());
        t.b.qp().rqDoorbell(static_cast<uint16_t>(noise(9)));
        for (int i = 0; i < 8; ++i) {
            // Headers that pass the first checks more often than noise does.
            const uint64_t header = t.a.guest->qp(t.a.qpn).sq.address;
            const uint32_t wqebbs = noise(4);
            t.a.memory().put64(header, (noise.word() & ~(uint64_t{0x7FFFFF} << 32 | 0xFFFF)) | uint64_t{wqebbs} << 52 |
                                           uint64_t{t.a.qpn} << 32 | (wqebbs + 1));
            t.a.guest->write64(0x5F000, uint64_t{t.a.qpn} << 32 | noise(17));
            t.settle();
        }
        t.stop(t.a);
        const QueuePair::Snapshot s = t.a.qp().snapshot();
        EXPECT_EQ(s.sqPi, s.sqCi);
        EXPECT_LE(t.a.memory().pagesInUse(), writable + 16);
    }
}

} // namespace
} // namespace erdma::test
