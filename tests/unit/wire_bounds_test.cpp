// SPDX-License-Identifier: GPL-2.0-or-later
// Memory and work that peers and guests can cause: bounded, whatever they announce, hold back or report.

#include <ctime>

#include "nic_bench.h"

namespace erdma::test {

namespace {

using namespace tcp_flag;

constexpr size_t kMiB = size_t{1} << 20;

// ---- memory ----

TEST(WireBounds, AnnouncedWindowsAreClamped) {
    LinkSetup setup;
    setup.scaleA = 14;
    TcpPair pair(setup);
    TcpHandover h = handoverOf(setup, true, pair.link.now);
    h.rcvAdv = h.rcvNxt + (1u << 30);
    TcpConnection tcp(h, setup.settings, pair.a, pair.a, pair.budget);
    EXPECT_LE(tcp.receiveWindow(), 4 * kMiB);
    pair.a.hold = true;
    const Octets data(60000);
    TcpSegment s;
    s.flags = kAck;
    s.ack = h.sndUna;
    s.window = 512;
    s.payload = data;
    s.options.timestamps = TcpTimestamps{7000, 0};
    for (uint32_t i = 0; i < 500; ++i) {
        s.seq = h.rcvNxt + i * 60000;
        tcp.input(s);
    }
    EXPECT_LE(pair.budget.used(), 10 * kMiB);
}

// Nobody reads: the windows of all together stay within the budget, and everything arrives in the end.
TEST(WireBounds, ReceiversShareOneBudget) {
    MemoryBudget budget;
    budget.limit = 4 * kMiB;
    std::vector<std::unique_ptr<TcpPair>> pairs;
    for (uint32_t i = 0; i < 12; ++i)
        pairs.push_back(std::make_unique<TcpPair>(LinkSetup{}, i + 1, nullptr, &budget));
    for (auto& pair : pairs) {
        pair->b.hold = true;
        pair->a.write(kMiB);
    }
    size_t most = 0;
    for (int i = 0; i < 20; ++i)
        for (auto& pair : pairs) {
            pair->runFor(50 * kMs);
            most = std::max(most, budget.used());
        }
    EXPECT_GE(most, 2 * kMiB);
    EXPECT_LE(most, budget.limit + pairs.size() * 3 * TcpConnection::kAlways);
    for (auto& pair : pairs) {
        pair->b.hold = false;
        pair->b.tcp.resumeReceiving();
        ASSERT_TRUE(pair->run([&] { return pair->exchanged(); }, 600'000 * kMs));
        ASSERT_TRUE(pair->b.intact());
    }
}

TEST(WireBounds, SendersShareOneBudget) {
    MemoryBudget budget;
    budget.limit = 4 * kMiB;
    std::vector<std::unique_ptr<TcpPair>> pairs;
    for (uint32_t i = 0; i < 12; ++i) {
        pairs.push_back(std::make_unique<TcpPair>(LinkSetup{}, i + 1, &budget));
        TcpEndpoint& a = pairs.back()->a;
        pairs.back()->link.paths[0].cut = true;
        while (a.tcp.room() != 0)
            a.write(1448);
        EXPECT_GE(a.written, TcpConnection::kAlways / 2);
    }
    EXPECT_LE(budget.used(), budget.limit + pairs.size() * 2 * TcpConnection::kAlways);
    for (auto& pair : pairs) {
        pair->link.paths[0].cut = false;
        ASSERT_TRUE(pair->run([&] { return pair->exchanged(); }, 20'000 * kMs));
    }
}

// Who has finished keeps his buffers only until somebody else needs them.
TEST(WireBounds, SpareBuffersAreCalledBack) {
    MemoryBudget budget;
    budget.limit = 4 * kMiB;
    TcpPair idle({}, 1, &budget), busy({}, 2, &budget);
    idle.a.write(kMiB);
    ASSERT_TRUE(idle.run([&] { return idle.exchanged() && idle.a.tcp.flight() == 0; }));
    const size_t spare = budget.used();
    EXPECT_GE(spare, kMiB / 2);
    busy.link.paths[0].cut = true;
    while (busy.a.tcp.room() != 0)
        busy.a.write(1448);
    EXPECT_LE(budget.used(), 3 * kMiB);
    idle.a.write(kMiB / 8);
    ASSERT_TRUE(idle.run([&] { return idle.exchanged(); }));
    EXPECT_TRUE(idle.b.intact());
}

// ---- work ----

double secondsOf(const std::function<void()>& work) {
    const clock_t start = clock();
    work();
    return static_cast<double>(clock() - start) / CLOCKS_PER_SEC;
}

// `flight` segments of one octet that the peer does not acknowledge.
void fill(TcpPair& pair, unsigned flight) {
    pair.timestamps = true;
    pair.link.paths[0].drop = [](const Frame&, unsigned) { return true; };
    pair.forge(pair.a, 0, kAck, {}, 0, 60000);
    for (unsigned i = 0; i < flight; ++i) {
        pair.a.write(1);
        pair.forge(pair.a, 0, kAck, {}, 0, static_cast<uint16_t>(60000 - i % 2)); // it does not wait for the next
    }
}

void report(TcpPair& pair, uint64_t from, uint64_t to, uint64_t ack) {
    TcpSegment s;
    s.seq = pair.a.peer_;
    s.ack = pair.a.own_ + static_cast<uint32_t>(ack);
    s.flags = kAck;
    s.window = 60000;
    s.options.timestamps = TcpTimestamps{107000, 0};
    s.options.sackCount = 1;
    s.options.sack[0] = {pair.a.own_ + static_cast<uint32_t>(from), pair.a.own_ + static_cast<uint32_t>(to)};
    pair.a.tcp.input(s);
}

// Seconds for reports that say nothing new, in front of so many segments.
double reports(unsigned flight) {
    TcpPair pair;
    fill(pair, flight);
    const uint64_t una = pair.a.tcp.acknowledged(), end = pair.a.tcp.appended();
    report(pair, una + flight / 2, end, una);
    return secondsOf([&] {
        for (int i = 0; i < 10000; ++i)
            report(pair, una + flight / 2, end, una);
    });
}

TEST(WireBounds, ReportsCostWhatIsNewInThem) { EXPECT_LE(reports(3000), 6 * reports(50) + 0.02); }

// A retransmission is found at once, wherever it is.
TEST(WireBounds, RetransmissionsAreFoundAtOnce) {
    const auto run = [](unsigned flight) {
        TcpPair pair;
        fill(pair, flight);
        const uint64_t una = pair.a.tcp.acknowledged(), end = pair.a.tcp.appended();
        // The front arrived late, as far as anybody can see, and only the end is lost.
        report(pair, una + 1, end - 10, una);
        return secondsOf([&] {
            for (int i = 0; i < 10000; ++i)
                pair.forge(pair.a, 0, kAck, {}, una, 60000);
        });
    };
    EXPECT_LE(run(3000), 6 * run(50) + 0.02);
}

// Octets out of order, one by one and adjacent: what is told about them costs nothing more with every one.
TEST(WireBounds, TellingWhatArrivedCostsNoWalk) {
    const auto run = [](unsigned stored) {
        TcpPair pair;
        pair.timestamps = true;
        pair.link.paths[0].drop = [](const Frame&, unsigned) { return true; };
        const Octets one(1);
        for (unsigned i = 0; i < stored; ++i)
            pair.forge(pair.a, 2 + i, kAck, one);
        return secondsOf([&] {
            for (int i = 0; i < 10000; ++i)
                pair.forge(pair.a, 2 + stored / 2, kAck, one);
        });
    };
    EXPECT_LE(run(4000), 6 * run(40) + 0.02);
}

TEST(WireBounds, SegmentsInFlightAreCounted) {
    TcpPair pair;
    fill(pair, 9000);
    EXPECT_EQ(pair.a.tcp.flight(), 8192u);
}

// 1 MiB of the smallest FPDUs becomes complete by one frame.
TEST(WireBounds, OneFrameCompletesOnlySoMuch) {
    NicBench t;
    t.runFor(100 * kMs);
    TcpSegment last;
    t.link.paths[0].drop = [&](const Frame& f, unsigned) {
        last = f.tcp;
        last.seq = f.tcp.end();
        last.payload = {};
        return false;
    };
    t.bench.post(t.a, writeSqe(Op::Write, flag::kSignal, {t.a.sge(0, 64)}, t.b.stag, t.b.iova));
    t.runFor(100 * kMs);
    t.link.paths[0].drop = nullptr;
    Octets fpdus;
    for (unsigned i = 0; i < 3200; ++i) {
        Segment write;
        write.stag = 1;
        encodeFpdu(write, {}, fpdus);
    }
    ASSERT_EQ(fpdus.size(), 64000u);
    const auto frame = [&](unsigned index) {
        TcpSegment s = last;
        s.flags = kAck;
        s.seq += index * 64000;
        s.payload = fpdus;
        Octets out;
        buildTcpFrame(linkHeaderOf(true), ipHeaderOf(true), s, out);
        EXPECT_TRUE(t.b.device->frame(ERDMA_TO_GUEST, out, {}));
    };
    for (unsigned i = 1; i < 15; ++i)
        frame(i);
    const uint64_t before = t.b.count(Counter::FpdusIn);
    frame(0);
    EXPECT_LE(t.b.count(Counter::FpdusIn) - before, 4000u);
    EXPECT_TRUE(t.run([&] { return t.b.count(Counter::FpdusIn) - before == 15 * 3200; }, 1000 * kMs));
}

} // namespace

} // namespace erdma::test
