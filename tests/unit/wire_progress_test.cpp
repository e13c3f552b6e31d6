// SPDX-License-Identifier: GPL-2.0-or-later
// Nothing that is posted waits without a reason.  Whoever holds something back (acknowledgements for an answer, work for
// a later turn) must have somebody who comes for it: a timer, a turn, a frame under way.  Where nobody comes, the time
// without a completion tells.
#include "nic_bench.h"

namespace erdma::test {

namespace {

using flag::kSignal;

constexpr uint64_t kUs = kMs / 1000;
constexpr uint64_t kDelay = 20 * kUs;
constexpr uint64_t kLag = 60 * kUs; // of QEMU's main loop
constexpr unsigned kDepth = 900;    // of the send queue, in requests
constexpr unsigned kBursts = 200;

struct Conditions {
    uint32_t segmentBytes = 0;
    uint32_t bufferBytes = 1u << 20;
    uint32_t reads = 128; // at once
    double loss = 0;
    uint64_t patience = 0; // with something posted and nothing done
};

// Short messages for the most part, of all kinds, both ways, in bursts.
class Traffic {
public:
    Traffic(uint32_t seed, const Conditions& conditions)
        : random_(seed), patience_(conditions.patience), bench_(options(seed, conditions)) {
        for (unsigned i = 0; i < 2; ++i) {
            Path& path = bench_.link.paths[i];
            path.delay = kDelay;
            path.loss = conditions.loss;
            path.reorder = path.duplicate = conditions.loss / 2;
            bench_.link.receivers[i] = [this, i](ConstBytes frame) { arrive(i, frame); };
            for (unsigned n = 0; n < 100; ++n)
                bench_.side(i).recv(kIn, kMost);
        }
        bench_.runFor(3000 * kMs);
    }

    // False: something waits, and nothing happens.
    bool burst() {
        const auto who = random_() % 3; // one of them, or both
        for (unsigned i = 0; i < 2; ++i)
            if (who == 2 || who == i)
                post(i);
        return watch(random_() % 4 == 0 ? random_() % (2 * kMs) : random_() % (100 * kUs), false);
    }
    // True: everything was done.
    bool drain() { return watch(600'000 * kMs, true); }
    NicBench& bench() { return bench_; }

private:
    static constexpr uint64_t kIn = 512u << 10, kRead = 768u << 10; // own buffer: targets of the peer, sinks
    static constexpr uint32_t kMost = 128u << 10;

    static NicOptions options(uint32_t seed, const Conditions& conditions) {
        NicOptions options;
        options.seed = seed;
        options.bench.sqLog = 11;
        options.bench.rqLog = 8;
        options.bench.cqLog = 12;
        erdma_config& config = options.bench.config;
        config.segment_bytes = conditions.segmentBytes;
        config.buffer_bytes = conditions.bufferBytes;
        config.ord = config.ird = conditions.reads;
        config.rto_min_ms = 10;
        return options;
    }

    // Turns, timers and ends of batches come late, in whatever order.
    uint64_t lag() { return random_() % 2 == 0 ? 0 : random_() % kLag; }
    void arrive(unsigned i, ConstBytes raw) {
        const Octets frame(raw.begin(), raw.end());
        Device& device = *bench_.side(i).device;
        const ConstBytes head = ConstBytes(frame).first(std::min<size_t>(ERDMA_FRAME_HEAD, frame.size()));
        if (device.wantsFrame(ERDMA_TO_GUEST, head, frame.size()) && device.frame(ERDMA_TO_GUEST, frame, {}))
            endAt_[i] = std::min(endAt_[i], bench_.link.now + lag());
        else if (parseFrame(frame).kind == Frame::Kind::Tcp)
            bench_.kernel(i).input(frame);
    }
    uint64_t nextEvent() {
        uint64_t next = bench_.link.due();
        for (unsigned i = 0; i < 2; ++i) {
            const FakeHost& host = *bench_.side(i).host;
            if (host.scheduled && turnAt_[i] == kNever)
                turnAt_[i] = bench_.link.now + lag();
            if (std::exchange(armed_[i], host.timerAt) != host.timerAt)
                timerAt_[i] = host.timerAt == kNever ? kNever : std::max(host.timerAt, bench_.link.now) + lag();
            next = std::min({next, turnAt_[i], endAt_[i], timerAt_[i]});
        }
        return next;
    }
    void go(uint64_t time) {
        const uint64_t end = bench_.link.now + time;
        for (bool more = true; more;) {
            const uint64_t next = nextEvent();
            more = next <= end;
            bench_.link.now = std::clamp(next, bench_.link.now, end);
            for (unsigned i = 0; i < 2; ++i)
                bench_.side(i).host->clock = bench_.link.now;
            if (more)
                happen();
        }
    }
    void happen() {
        const uint64_t now = bench_.link.now;
        if (bench_.link.due() <= now)
            bench_.link.deliver();
        for (unsigned i = 0; i < 2; ++i) {
            const Side& side = bench_.side(i);
            if (endAt_[i] <= now) {
                endAt_[i] = kNever;
                side.device->framesEnd();
            }
            if (timerAt_[i] <= now) {
                timerAt_[i] = armed_[i] = side.host->timerAt = kNever;
                side.device->timer();
            }
            if (turnAt_[i] <= now) {
                turnAt_[i] = kNever;
                side.host->scheduled = false;
                side.device->run();
            }
        }
    }

    uint32_t size() {
        switch (random_() % 40) {
        case 0:
            return static_cast<uint32_t>(random_() % kMost);
        case 1:
        case 2:
            return static_cast<uint32_t>(random_() % 8192);
        default:
            return 1 + static_cast<uint32_t>(random_() % 200);
        }
    }
    // Without the turn that Guest::ringSq() gives the adapter.
    static void ring(const Side& side) {
        side.guest->write64(0x5F000, uint64_t{side.qpn} << 32 | (side.guest->qp(side.qpn).sq.pi & 0xFFFF));
    }
    void post(unsigned i) {
        const Side& own = bench_.side(i);
        const Side& peer = bench_.side(1 - i);
        const auto kind = random_() % 4;
        const bool together = random_() % 4 == 0;
        const bool many = random_() % 16 == 0; // more than one turn has time for
        for (auto n = 1 + random_() % (many ? kDepth : 64); n != 0 && posted_[i] < kDepth; --n) {
            const uint32_t bytes = many ? static_cast<uint32_t>(random_() % 8) : size();
            switch (kind == 3 ? random_() % 3 : kind) {
            case 0:
                own.put(writeSqe(Op::Write, kSignal, {own.sge(0, bytes)}, peer.stag, peer.iova + kIn));
                break;
            case 1:
                own.put(readSqe(kSignal, own.sge(kRead, bytes), peer.stag, peer.iova));
                break;
            default:
                own.put(sendSqe(Op::Send, kSignal, {own.sge(0, bytes)}));
                break;
            }
            ++posted_[i];
            if (!together)
                ring(own);
        }
        ring(own);
    }

    // For `time`, or until all is done.
    bool watch(uint64_t time, bool all) {
        const uint64_t end = bench_.link.now + time;
        uint64_t moved = bench_.link.now;
        while (bench_.link.now < end) {
            const bool any = poll();
            const bool idle = posted_[0] == 0 && posted_[1] == 0;
            if (idle && all)
                return true;
            if (any || idle)
                moved = bench_.link.now;
            if (bench_.link.now - moved > patience_)
                return false;
            go(std::min(kDelay / 2, end - bench_.link.now));
        }
        return !all;
    }
    bool poll() {
        bool any = false;
        for (unsigned i = 0; i < 2; ++i) {
            const Side& side = bench_.side(i);
            for (; const std::optional<Cqe> cqe = side.sent(); any = true) {
                EXPECT_EQ(cqe->syndrome, 0);
                --posted_[i];
            }
            for (; const std::optional<Cqe> cqe = side.received(); any = true) {
                EXPECT_EQ(cqe->syndrome, 0);
                side.recv(kIn, kMost);
            }
        }
        return any;
    }

    std::mt19937 random_;
    uint64_t patience_;
    NicBench bench_;
    // Of QEMU's main loop, for each end: what it will do and when, and the deadline that it knows.
    std::array<uint64_t, 2> endAt_{kNever, kNever}, turnAt_{kNever, kNever}, timerAt_{kNever, kNever},
        armed_{kNever, kNever};
    std::array<unsigned, 2> posted_{}; // and not completed
};

void soak(Traffic& traffic, uint32_t seed) {
    for (unsigned i = 0; i < kBursts; ++i)
        ASSERT_TRUE(traffic.burst()) << "seed " << seed << ", burst " << i << traffic.bench().iwarps[0]->connections()
                                     << traffic.bench().iwarps[1]->connections();
    ASSERT_TRUE(traffic.drain()) << "seed " << seed;
}

// A round trip takes 40 us, the main loop comes up to 60 us late, an acknowledgement waits 0.2 ms for an answer; what takes
// longer waited for a time-out of recovery, or of a delayed acknowledgement.
TEST(WireProgress, WithoutLossNothingWaitsForATimeout) {
    for (uint32_t seed = 1; seed <= 10; ++seed) {
        Conditions conditions;
        conditions.segmentBytes = seed % 2 == 0 ? 65000 : 0;
        conditions.bufferBytes = seed % 3 == 0 ? 128u << 10 : 1u << 20;
        conditions.reads = seed % 5 == 0 ? 4 : 128;
        conditions.patience = kMs;
        Traffic traffic(seed, conditions);
        ASSERT_NO_FATAL_FAILURE(soak(traffic, seed));
        for (const Side* side : {&traffic.bench().a, &traffic.bench().b}) {
            EXPECT_EQ(side->count(Counter::TcpRetransmissions), 0u) << seed;
            EXPECT_EQ(side->count(Counter::TcpTimeouts), 0u) << seed;
        }
    }
}

// Time-outs start at 10 ms, and double.
TEST(WireProgress, LossStopsNothingForLong) {
    for (uint32_t seed = 1; seed <= 6; ++seed) {
        Conditions conditions;
        conditions.segmentBytes = seed % 2 == 0 ? 65000 : 0;
        conditions.loss = seed % 4 < 2 ? 0.005 : 0.05;
        conditions.patience = 500 * kMs;
        Traffic traffic(seed, conditions);
        ASSERT_NO_FATAL_FAILURE(soak(traffic, seed));
        EXPECT_GT(traffic.bench().a.count(Counter::TcpRetransmissions), 0u) << seed;
    }
}

} // namespace

} // namespace erdma::test
