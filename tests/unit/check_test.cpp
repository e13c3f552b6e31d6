// SPDX-License-Identifier: GPL-2.0-or-later
// Check mode: each finding with a program that has exactly that mistake, and the same program without it.
#include "checker.h"
#include "pair_bench.h"
#include "wire_bench.h"

namespace erdma::test {
namespace {

using check::Checker;
using check::Kind;
using flag::kFence;
using flag::kInline;
using flag::kSignal;

constexpr uint64_t kDelayNs = 1'000'000;

// Checked adapters whose work is held back, so that the test can do what it likes meanwhile.
class CheckedBench : public Bench {
public:
    explicit CheckedBench(const BenchOptions& options = processes(), uint64_t delayNs = kDelayNs) : Bench(options) {
        for (size_t i = 0; i < (options.twoDevices ? 2u : 1u); ++i) {
            checkers.push_back(std::make_unique<Checker>(machine(i).device.adapter()));
            checkers.back()->start({.mostDelayNs = delayNs, .seed = 7});
        }
    }
    ~CheckedBench() {
        for (size_t i = checkers.size(); i != 0; --i) // before those who watch them
            dropMachine(i - 1);
    }
    static BenchOptions processes() { return {.ofProcess = true}; }

    // All that was held back is done.
    void finish() {
        for (int i = 0; i < 40; ++i)
            advanceMs(1);
    }
    std::optional<Cqe> completion(const Side& side) {
        finish();
        return side.sent();
    }
    const check::Finding* found(Kind kind) const { return checkers.front()->findings().find(kind); }
    std::string report() const { return checkers.front()->report(); }
    uint64_t errors() const { return checkers.front()->findings().count(check::Severity::Error); }

    std::vector<std::unique_ptr<Checker>> checkers;
};

void expectSentence(const check::Finding* finding, const std::string& part) {
    ASSERT_NE(finding, nullptr) << part;
    EXPECT_NE(finding->sentence.find(part), std::string::npos) << finding->sentence;
}

// ---- memory of sends ----

TEST(Check, SourceChangedBeforeItIsSent) {
    CheckedBench t;
    t.recv(t.b, 0x1000, 256);
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 200)}));
    t.a.memory().fill(t.a.bus + 100, 1, 0xAA);
    expectCqe(t.completion(t.a), {Op::Send, QueueType::Send, Syndrome::Success, 0, 200});
    expectSentence(t.found(Kind::SourceChanged), "changed before it was sent");
    const check::Place& place = t.found(Kind::SourceChanged)->place;
    EXPECT_EQ(place.qpn, t.a.qpn);
    EXPECT_EQ(place.index, 0);
    EXPECT_EQ(place.address, t.a.iova);
    EXPECT_EQ(place.length, 200u);
    EXPECT_EQ(t.errors(), 1u) << t.report();
}

TEST(Check, SourceChangedBeforeTheCompletion) {
    CheckedBench t;
    for (uint32_t i = 0; i < 8; ++i) { // one of the delays surely lets the send go before its completion
        t.recv(t.b, 0x1000, 256);
        const uint64_t before = t.a.count(Counter::TxRequests);
        t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 200)}));
        while (t.a.count(Counter::TxRequests) == before)
            t.machine().guest.advance(1000);
        t.a.memory().fill(t.a.bus, 200, static_cast<uint8_t>(i + 1));
        t.finish();
        while (t.a.sent())
            continue;
    }
    expectSentence(t.found(Kind::SourceChanged), "before its completion");
}

TEST(Check, SourceChangedAfterTheCompletionIsFine) {
    CheckedBench t;
    for (uint32_t i = 0; i < 8; ++i) {
        t.recv(t.b, 0x1000, 256);
        t.a.memory().fill(t.a.bus, 200, static_cast<uint8_t>(i));
        t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 200)}));
        ASSERT_TRUE(t.completion(t.a));
        ASSERT_TRUE(t.b.received());
    }
    EXPECT_TRUE(t.checkers[0]->findings().empty()) << t.report();
}

TEST(Check, InlineDataIsFreeAtOnce) {
    CheckedBench t;
    t.recv(t.b, 0x1000, 256);
    const std::vector<std::byte> data(64, std::byte{1});
    t.post(t.a, inlineSendSqe(Op::Send, kSignal, data));
    t.a.memory().fill(t.a.bus, 200, 3);
    ASSERT_TRUE(t.completion(t.a));
    EXPECT_TRUE(t.checkers[0]->findings().empty()) << t.report();
}

TEST(Check, UnsignalledSendIsFreeWhenThePeerAnswers) {
    CheckedBench t;
    t.recv(t.a, 0x2000, 64);
    t.recv(t.b, 0x1000, 256);
    t.post(t.a, sendSqe(Op::Send, 0, {t.a.sge(0, 200)}));
    t.finish();
    ASSERT_TRUE(t.b.received());
    t.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, 8)}));
    t.finish();
    ASSERT_TRUE(t.a.received());
    t.a.memory().fill(t.a.bus, 200, 9);
    t.recv(t.b, 0x1000, 256);
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 200)}));
    t.finish();
    EXPECT_TRUE(t.checkers[0]->findings().empty()) << t.report();
}

TEST(Check, ServedReadChanges) {
    for (const bool bug : {true, false}) {
        CheckedBench t;
        auto& checker = *t.checkers[0];
        const ReadRequest read{t.a.stag, t.a.iova, 64, t.b.stag, t.b.iova};
        checker.readAsked(t.b.qp(), 1, read);
        if (bug)
            t.b.memory().fill(t.b.bus, 8, 0x55);
        checker.readServed(t.b.qp(), 1, read);
        EXPECT_EQ(t.found(Kind::ReadSourceChanged) != nullptr, bug);
        EXPECT_EQ(t.errors(), 0u);
    }
}

// ---- memory that is written to ----

TEST(Check, ReceiveBufferUsedTooEarly) {
    for (const bool bug : {true, false}) {
        CheckedBench t;
        t.recv(t.b, 0x1000, 256);
        if (bug)
            t.b.memory().fill(t.b.bus + 0x1000, 16, 0x77);
        t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 200)}));
        ASSERT_TRUE(t.completion(t.a));
        ASSERT_TRUE(t.b.received());
        EXPECT_EQ(t.found(Kind::ReadTooEarly) != nullptr, bug) << t.report();
        if (bug) {
            EXPECT_TRUE(t.found(Kind::ReadTooEarly)->place.receiveQueue);
        }
        EXPECT_EQ(t.errors(), bug ? 1u : 0u);
    }
}

TEST(Check, ReadSinkUsedTooEarly) {
    for (const bool bug : {true, false}) {
        CheckedBench t;
        t.post(t.a, readSqe(kSignal, t.a.sge(0x3000, 64), t.b.stag, t.b.iova));
        if (bug)
            t.a.memory().fill(t.a.bus + 0x3000, 4, 0x11);
        expectCqe(t.completion(t.a), {Op::Read, QueueType::Send, Syndrome::Success, 0, 64});
        EXPECT_EQ(t.found(Kind::ReadTooEarly) != nullptr, bug) << t.report();
    }
}

TEST(Check, SinksOverlap) {
    for (const uint64_t second : {0x1080u, 0x1100u}) {
        CheckedBench t;
        t.recv(t.b, 0x1000, 256);
        t.recv(t.b, second, 256);
        EXPECT_EQ(t.found(Kind::SinkOverlap) != nullptr, second == 0x1080) << t.report();
    }
}

TEST(Check, SameReceiveBufferTwiceIsOnlyAWarning) {
    CheckedBench t;
    t.recv(t.b, 0x1000, 256);
    t.recv(t.b, 0x1000, 256);
    EXPECT_NE(t.found(Kind::SharedSink), nullptr);
    EXPECT_EQ(t.errors(), 0u) << t.report();
}

TEST(Check, ReceiveBufferIsBeingSent) {
    CheckedBench t;
    t.recv(t.b, 0x1000, 256);
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0x2000, 100)}));
    t.recv(t.a, 0x2040, 64);
    expectSentence(t.found(Kind::SinkOverlap), "a send or write that is unfinished");
}

TEST(Check, RemoteWriteIntoReceiveBuffer) {
    for (const bool bug : {true, false}) {
        CheckedBench t;
        t.recv(t.b, 0x1000, 256);
        t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 64)}, t.b.stag, t.b.iova + (bug ? 0x1010 : 0x2000)));
        ASSERT_TRUE(t.completion(t.a));
        EXPECT_EQ(t.found(Kind::SinkOverlap) != nullptr, bug) << t.report();
    }
}

TEST(Check, SendOfAnUnfinishedRead) {
    for (const uint64_t flags : {kSignal, kSignal | kFence}) {
        CheckedBench t;
        t.recv(t.b, 0x1000, 256);
        t.post(t.a, readSqe(kSignal, t.a.sge(0x3000, 64), t.b.stag, t.b.iova));
        t.post(t.a, sendSqe(Op::Send, flags, {t.a.sge(0x3000, 64)}));
        EXPECT_EQ(t.found(Kind::UnorderedReuse) != nullptr, flags == kSignal) << t.report();
        t.finish();
        EXPECT_EQ(t.errors(), flags == kSignal ? 1u : 0u) << t.report();
    }
}

// ---- regions ----

TEST(Check, KeyOfARegionThatIsGone) {
    CheckedBench t;
    ASSERT_TRUE(t.a.guest->registerMr(20, 0x700000, t.a.bus, 4096).ok());
    t.advanceMs(3);
    ASSERT_TRUE(t.a.guest->deregister(20).ok());
    t.advanceMs(2);
    t.post(t.a, sendSqe(Op::Send, kSignal, {{0x700000, 64, 20u << 8}}));
    expectCqe(t.completion(t.a), {Op::Send, QueueType::Send, Syndrome::SendStag, 0, 0});
    expectSentence(t.found(Kind::StaleKey), "the key was that of region 0x1400, 0x700000 to 0x700fff (4096 bytes)");
    expectSentence(t.found(Kind::StaleKey), "had lived for 3.");
    EXPECT_EQ(t.found(Kind::StaleKey)->place.qpn, t.a.qpn);
}

TEST(Check, KeyThatNeverWas) {
    CheckedBench t;
    t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 64)}, 0x12345, t.b.iova + 0x40));
    t.finish();
    expectSentence(t.found(Kind::StaleKey), "the peer asked for 64 bytes");
    expectSentence(t.found(Kind::StaleKey), "no region has or had this key; the address is inside of region");
    EXPECT_EQ(t.found(Kind::StaleKey)->place.qpn, t.b.qpn);
}

TEST(Check, OutOfBounds) {
    CheckedBench t;
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge((1u << 20) - 52, 64)}));
    t.finish();
    expectSentence(t.found(Kind::OutOfBounds), "reaches 12 bytes beyond the end of region");
}

TEST(Check, OutOfBoundsOfThePeer) {
    CheckedBench t;
    t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 8)}, t.b.stag, t.b.iova + (1u << 20) + 12));
    t.finish();
    expectSentence(t.found(Kind::OutOfBounds), "begins 12 bytes behind the end of region");
}

TEST(Check, WrongRights) {
    CheckedBench t;
    ASSERT_TRUE(t.b.guest->registerMr(21, 0x900000, t.b.bus, 4096, access::kLocalRead | access::kRemoteRead).ok());
    t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 8)}, 21u << 8, 0x900000));
    t.finish();
    expectSentence(t.found(Kind::WrongRights), "was registered for local read, remote read, not for remote write");
}

TEST(Check, WrongPd) {
    CheckedBench t;
    ASSERT_TRUE(t.a.guest->registerMr(22, 0x900000, t.a.bus, 4096, 0x3E, 5).ok());
    t.post(t.a, sendSqe(Op::Send, kSignal, {{0x900000, 64, 22u << 8}}));
    t.finish();
    expectSentence(t.found(Kind::WrongPd), "of protection domain 1, the region of 5");
}

TEST(Check, RegionGoesWhileItIsUsed) {
    for (const bool bug : {true, false}) {
        CheckedBench t;
        ASSERT_TRUE(t.a.guest->registerMr(20, 0x700000, t.a.bus, 4096).ok());
        t.recv(t.b, 0x1000, 256);
        t.post(t.a, sendSqe(Op::Send, kSignal, {{0x700000, 64, 20u << 8}}));
        if (!bug) {
            ASSERT_TRUE(t.completion(t.a));
        }
        ASSERT_TRUE(t.a.guest->deregister(20).ok());
        EXPECT_EQ(t.found(Kind::DestroyedBusy) != nullptr, bug) << t.report();
    }
}

// ---- queues ----

TEST(Check, QueuePairGoesWithUnfinishedRequests) {
    for (const bool bug : {true, false}) {
        CheckedBench t;
        t.recv(t.b, 0x1000, 256);
        t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
        if (!bug) {
            ASSERT_TRUE(t.completion(t.a));
        }
        t.stop(t.a);
        EXPECT_TRUE(t.a.guest->destroyQp(t.a.qpn).ok());
        EXPECT_EQ(t.found(Kind::DestroyedBusy) != nullptr, bug) << t.report();
        EXPECT_EQ(t.errors(), bug ? 1u : 0u) << t.report();
    }
}

TEST(Check, MoreRequestsThanTheQueueWasMadeFor) {
    for (const uint32_t count : {17u, 16u}) { // of a ring of 64
        CheckedBench t;
        for (uint32_t i = 0; i < count; ++i)
            t.post(t.a, sendSqe(Op::Send, kSignal, {}));
        EXPECT_EQ(t.found(Kind::SqOverrun) != nullptr, count == 17) << t.report();
    }
}

TEST(Check, NothingSignalled) {
    for (const bool bug : {true, false}) {
        CheckedBench t;
        for (uint32_t i = 0; i < 16; ++i)
            t.post(t.a, sendSqe(Op::Send, i == 8 && !bug ? kSignal : 0, {}));
        EXPECT_EQ(t.found(Kind::UnsignalledFull) != nullptr, bug) << t.report();
        EXPECT_EQ(t.found(Kind::SqOverrun), nullptr);
    }
}

TEST(Check, CompletionQueueTooSmall) {
    for (const uint32_t cqLog : {3u, 4u}) {
        CheckedBench t({.cqLog = cqLog, .ofProcess = true});
        for (uint32_t i = 0; i < 9; ++i)
            t.post(t.a, sendSqe(Op::Send, kSignal, {}));
        EXPECT_EQ(t.found(Kind::CqOverflow) != nullptr, cqLog == 3) << t.report();
    }
}

TEST(Check, CompletionQueueOverflowed) {
    CheckedBench t({.cqLog = 3, .ofProcess = true}, 0);
    for (uint32_t i = 0; i < 8; ++i) {
        t.recv(t.b, 0x1000, 8);
        t.post(t.a, sendSqe(Op::Send, kSignal, {}));
    }
    t.a.guest->armCq(t.a.scq);
    EXPECT_EQ(t.found(Kind::CqOverflow), nullptr) << t.report();
    EXPECT_NE(t.found(Kind::CqNearlyFull), nullptr);
    t.recv(t.b, 0x1000, 8);
    t.post(t.a, sendSqe(Op::Send, kSignal, {}));
    t.a.guest->armCq(t.a.scq);
    expectSentence(t.found(Kind::CqOverflow), "9 were written since the program polled");
}

TEST(Check, PostsLongAfterTheError) {
    for (const uint64_t ms : {200u, 20u}) {
        CheckedBench t;
        t.post(t.a, sendSqe(Op::Send, kSignal, {{0, 64, 1}}));
        expectCqe(t.completion(t.a), {Op::Send, QueueType::Send, Syndrome::SendStag, 0, 0});
        t.advanceMs(ms);
        t.post(t.a, sendSqe(Op::Send, kSignal, {}));
        EXPECT_EQ(t.found(Kind::PostedAfterError) != nullptr, ms == 200) << t.report();
    }
}

// ---- advice ----

TEST(Check, AdviceAboutHabits) {
    CheckedBench t(CheckedBench::processes(), 0);
    const auto inlined = std::vector<std::byte>(64, std::byte{1});
    for (uint32_t i = 0; i < 1000; ++i) {
        t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 64)}, t.b.stag, t.b.iova));
        t.post(t.b, inlineWriteSqe(kSignal, inlined, t.a.stag, t.a.iova));
        t.a.sent();
        t.b.sent();
    }
    ASSERT_NE(t.found(Kind::NoInline), nullptr) << t.report();
    EXPECT_EQ(t.found(Kind::NoInline)->place.qpn, t.a.qpn);
    for (uint32_t i = 0; i < 50; ++i) {
        EXPECT_EQ(t.found(Kind::RegisterOften), nullptr);
        ASSERT_TRUE(t.a.guest->registerMr(30, 0xA00000, t.a.bus, 4096).ok());
        ASSERT_TRUE(t.a.guest->deregister(30).ok());
    }
    EXPECT_NE(t.found(Kind::RegisterOften), nullptr);
    for (uint32_t i = 0; i < 10; ++i) {
        t.post(t.a, sendSqe(Op::Send, kSignal, {}));
        t.advanceMs(1);
        t.recv(t.b, 0x1000, 8);
    }
    expectSentence(t.found(Kind::ReceiverLate), "found no receive buffer 10 times");
    EXPECT_EQ(t.errors(), 0u) << t.report();
}

TEST(Check, AdviceAboutTinyNeighbours) {
    CheckedBench t;
    for (uint32_t i = 0; i < 110; ++i) {
        t.a.put(writeSqe(Op::Write, i % 8 == 7 ? kSignal : 0, {t.a.sge(64 * i, 64)}, t.b.stag, t.b.iova + 64 * i));
        if (i % 8 == 7) {
            t.ring(t.a);
            t.finish();
        }
    }
    EXPECT_EQ(t.found(Kind::TinyMessages), nullptr);
    for (uint32_t i = 110; i < 140; ++i) {
        t.post(t.a, writeSqe(Op::Write, i % 8 == 7 ? kSignal : 0, {t.a.sge(64 * i, 64)}, t.b.stag, t.b.iova + 64 * i));
        if (i % 8 == 7)
            t.finish();
    }
    EXPECT_NE(t.found(Kind::TinyMessages), nullptr) << t.report();
}

TEST(Check, AdviceAboutRegistrations) {
    for (const bool between : {true, false}) {
        CheckedBench t(CheckedBench::processes(), 0);
        for (uint32_t i = 0; i < 100; ++i) {
            EXPECT_EQ(t.found(Kind::RegisterBetween), nullptr);
            if (between)
                t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 64)}, t.b.stag, t.b.iova));
            ASSERT_TRUE(t.a.guest->registerMr(30, 0xA00000 + 4096 * i, t.a.bus, 4096).ok());
            ASSERT_TRUE(t.a.guest->deregister(30).ok());
        }
        EXPECT_EQ(t.found(Kind::RegisterBetween) != nullptr, between) << t.report();
        EXPECT_EQ(t.found(Kind::RegisterOften), nullptr) << t.report();
        if (between)
            expectSentence(t.found(Kind::RegisterBetween), "100 regions, together 409600 bytes, were registered");
    }
}

TEST(Check, AdviceAboutVectors) {
    for (const uint32_t used : {1u, 2u}) {
        CheckedBench t(CheckedBench::processes(), 0);
        ASSERT_TRUE(t.machine().guest.createEq(2).ok());
        for (uint32_t i = 0; i < 4; ++i)
            ASSERT_TRUE(t.machine().guest.createCq(20 + i, 6, 1 + i % used).ok());
        for (uint32_t i = 0; i < 2000; ++i) {
            EXPECT_EQ(t.found(Kind::VectorsUneven), nullptr);
            t.machine().guest.armCq(20 + i % 4);
        }
        EXPECT_EQ(t.found(Kind::VectorsUneven) != nullptr, used == 1) << t.report();
    }
}

// Of a program whose peer is `delayMs` away: requests of `octets`, `atOnce` of them under way.
class WayBench {
public:
    WayBench(uint64_t delayMs, uint32_t times, uint32_t atOnce, uint32_t octets) {
        checker = std::make_unique<Checker>(t.a.device->adapter());
        t.link.paths[0].delay = t.link.paths[1].delay = delayMs * kMs;
        checker->start({});
        for (uint32_t i = 0; i < times; ++i) {
            t.bench.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, octets)}, t.b.stag, t.b.iova));
            if (i + 1 >= atOnce) {
                EXPECT_TRUE(t.sent(t.a));
            }
        }
    }
    bool found(Kind kind) const { return checker->findings().find(kind) != nullptr; }

    std::unique_ptr<Checker> checker; // outlives the adapter
    WireBench t{{.bench = {.sqLog = 7, .ofProcess = true}}};
};

TEST(Check, AdviceAboutOneRequestAtATime) {
    EXPECT_TRUE(WayBench(3, 101, 1, 64).found(Kind::OneAtATime));
    EXPECT_FALSE(WayBench(3, 101, 2, 64).found(Kind::OneAtATime));
    EXPECT_FALSE(WayBench(0, 101, 1, 64).found(Kind::OneAtATime)) << "the way is short";
}

TEST(Check, AdviceAboutTheMtu) {
    EXPECT_TRUE(WayBench(1, 200, 4, 24'000).found(Kind::SmallMtu));
    EXPECT_FALSE(WayBench(1, 200, 4, 8'000).found(Kind::SmallMtu));
}

TEST(Check, AdviceAboutTheWindow) {
    // 60 times 64,000 octets are more than a megabyte, which either end has room for.
    EXPECT_TRUE(WayBench(20, 600, 60, 64'000).found(Kind::WindowLimited));
    EXPECT_FALSE(WayBench(20, 600, 4, 64'000).found(Kind::WindowLimited));
}

// ---- delays, on and off ----

TEST(Check, OrderIsKeptAndNothingIsLost) {
    for (const bool two : {false, true}) {
        CheckedBench t({.twoDevices = two, .sqLog = 10, .rqLog = 8});
        t.a.memory().fill(t.a.bus, 64, 5);
        for (uint32_t i = 0; i < 100; ++i)
            t.recv(t.b, 0x1000 + 64 * i, 64);
        for (uint32_t i = 0; i < 100; ++i)
            t.a.put(sendSqe(Op::Send, kSignal, {t.a.sge(0, i % 64)}));
        t.ring(t.a);
        EXPECT_FALSE(t.a.sent() && t.b.received()) << "nothing is held back";
        for (int i = 0; i < 40; ++i)
            t.finish();
        uint32_t got = 0;
        while (const auto cqe = t.b.received()) {
            EXPECT_EQ(cqe->index, got);
            EXPECT_EQ(cqe->bytes, got % 64);
            ++got;
        }
        EXPECT_EQ(got, 100u);
    }
}

TEST(Check, ReadsOneByOne) {
    for (const uint32_t most : {1u, 4u}) {
        BenchOptions options = CheckedBench::processes();
        options.config.ord = most;
        CheckedBench t(options, 0);
        for (unsigned i = 0; i < 120; ++i) {
            t.a.put(readSqe(kSignal, t.a.sge(0, 64), t.b.stag, t.b.iova));
            t.post(t.a, readSqe(kSignal, t.a.sge(0x1000, 64), t.b.stag, t.b.iova));
            t.finish();
        }
        EXPECT_EQ(t.found(Kind::ReadsOneByOne) != nullptr, most == 1) << t.report();
    }
}

TEST(Check, OverTheWire) {
    std::unique_ptr<Checker> first, second; // outlive the adapters
    WireBench t({.bench = {.ofProcess = true}});
    first = std::make_unique<Checker>(t.a.device->adapter());
    second = std::make_unique<Checker>(t.b.device->adapter());
    first->start({.mostDelayNs = kDelayNs});
    second->start({.mostDelayNs = kDelayNs});
    for (uint32_t i = 0; i < 20; ++i) {
        t.bench.recv(t.b, 0x1000, 8192);
        t.a.memory().fill(t.a.bus, 5000, static_cast<uint8_t>(i));
        t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 5000)}));
        t.bench.post(t.a, readSqe(kSignal, t.a.sge(0x8000, 9000), t.b.stag, t.b.iova + 0x20000));
        expectCqe(t.received(t.b), {Op::RecvSend, QueueType::Receive, Syndrome::Success, i, 5000});
        EXPECT_EQ(t.b.data(0x1000, 5000), t.a.data(0, 5000));
        for (const Op op : {Op::Send, Op::Read})
            EXPECT_EQ(t.sent(t.a)->opcode, static_cast<uint8_t>(op));
    }
    EXPECT_TRUE(first->findings().empty()) << first->report();
    EXPECT_TRUE(second->findings().empty()) << second->report();
    t.bench.recv(t.b, 0x1000, 8192);
    t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 5000)}));
    t.a.memory().fill(t.a.bus, 1, 99);
    t.b.memory().fill(t.b.bus + 0x1000, 1, 98);
    ASSERT_TRUE(t.received(t.b));
    ASSERT_TRUE(t.sent(t.a));
    EXPECT_NE(first->findings().find(Kind::SourceChanged), nullptr);
    EXPECT_NE(second->findings().find(Kind::ReadTooEarly), nullptr);
}

TEST(Check, CompletionsComeBeforeTheirQueuePairGoes) {
    CheckedBench t;
    t.recv(t.b, 0x1000, 64);
    t.recv(t.b, 0x2000, 64);
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    while (t.b.count(Counter::RxPackets) == 0)
        t.machine().guest.advance(1000);
    t.stop(t.b);
    expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Success, 0, 64});
    expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Flushed, 1, 0});
    EXPECT_TRUE(t.b.guest->destroyQp(t.b.qpn).ok());
    t.finish();
    EXPECT_FALSE(t.b.received());
}

TEST(Check, DisconnectStillDeliversEverything) {
    CheckedBench t({.twoDevices = true, .ofProcess = true});
    for (uint32_t i = 0; i < 10; ++i)
        t.recv(t.b, 0x1000 + 64 * i, 64);
    for (uint32_t i = 0; i < 10; ++i)
        t.a.put(sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    t.ring(t.a);
    t.stop(t.a, QpState::Closing);
    t.finish();
    for (uint32_t i = 0; i < 10; ++i)
        expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Success, i, 64});
}

TEST(Check, OffFindsNothingAndHoldsNothing) {
    CheckedBench t;
    Adapter& adapter = t.machine().device.adapter();
    t.recv(t.b, 0x1000, 64);
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    t.checkers[0]->stop();
    t.settle();
    t.advanceMs(0);
    ASSERT_TRUE(t.a.sent());
    ASSERT_TRUE(t.b.received());
    EXPECT_EQ(adapter.observer, nullptr);
    t.recv(t.b, 0x1000, 64);
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    EXPECT_TRUE(t.a.sent());
    t.checkers[0]->start({});
    EXPECT_EQ(adapter.observer, t.checkers[0].get());
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge((1u << 20) - 4, 8)}));
    t.finish();
    EXPECT_NE(t.found(Kind::OutOfBounds), nullptr) << "a region that was there before is known";
}

TEST(Check, ResetForgets) {
    CheckedBench t;
    t.recv(t.b, 0x1000, 64);
    t.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    t.machine().device.reset();
    t.settle();
    t.advanceMs(10);
    EXPECT_EQ(t.checkers[0]->deadline(), ERDMA_TIMER_OFF);
    EXPECT_EQ(t.errors(), 0u);
}

TEST(Check, LikeFindingsAreGrouped) {
    CheckedBench t;
    for (uint32_t i = 0; i < 5; ++i)
        t.recv(t.b, 0x1000, 64);
    EXPECT_EQ(t.found(Kind::SharedSink)->count, 4u);
    check::Findings many;
    for (uint32_t qpn = 1; qpn <= 1000; ++qpn)
        many.add(Kind::OutOfBounds, {.qpn = qpn, .index = {}}, qpn, "\"quoted\"\n");
    EXPECT_EQ(many.count(check::Severity::Error), check::Findings::kMost);
    EXPECT_EQ(many.dropped(), 1000 - check::Findings::kMost);
    EXPECT_NE(many.json().find("\\\"quoted\\\"\""), std::string::npos);
}

TEST(Check, DelayTexts) {
    check::Settings settings;
    EXPECT_FALSE(check::parseDelay("2ms;seed=9", settings));
    EXPECT_EQ(settings.mostDelayNs, 2'000'000u);
    EXPECT_EQ(settings.seed, 9u);
    EXPECT_EQ(check::describeDelay(settings), "2ms;seed=9");
    EXPECT_FALSE(check::parseDelay("0", settings));
    EXPECT_EQ(check::describeDelay(settings), "0;seed=1");
    for (const char* bad : {"fast", "2s", "-1us", "1", "seed=", "seed=x", "us"})
        EXPECT_TRUE(check::parseDelay(bad, settings)) << bad;
    EXPECT_FALSE(check::parseDelay("", settings));
    EXPECT_EQ(check::describeDelay(settings), "300us;seed=1");
    uint64_t most = 0;
    for (uint64_t i = 0; i < 1000; ++i) {
        most = std::max(most, check::drawDelay(settings, 1, i));
        EXPECT_EQ(check::drawDelay(settings, 1, i), check::drawDelay(settings, 1, i));
    }
    EXPECT_LE(most, 300'000u);
    EXPECT_GT(most, 250'000u);
}

} // namespace
} // namespace erdma::test
