// SPDX-License-Identifier: GPL-2.0-or-later
// Receive queue, inbound messages and requests (adapter.md 7.3; wire.md 4, 5.5, 5.6), by way of a peer and, for what
// a well-behaved peer never does, by handing segments in.
#include "pair_bench.h"
#include "terminate.h"

namespace erdma::test {
namespace {

using flag::kSignal;
using Events = std::vector<std::pair<AsyncEvent, uint32_t>>;

// A transport that records what the queue pair says and does what the test tells it.
struct Wire {
    std::deque<Segment> segments;
    std::deque<std::vector<std::byte>> payloads;
    Placement answer{};
    size_t mtu = 1024;
    uint64_t sent = 0;
    uint64_t acked = 0;
    bool autoAck = true;
    bool closed = false;
    bool graceful = false;
    int ready = 0;
};

class TestTransport final : public Transport {
public:
    explicit TestTransport(Wire& wire) : wire_(wire) {}
    Placement deliver(const Segment& segment) override {
        if (wire_.answer.kind == Placement::Kind::Accepted) {
            wire_.segments.push_back(segment);
            wire_.payloads.emplace_back(segment.payload.begin(), segment.payload.end());
            ++wire_.sent;
        }
        return wire_.answer;
    }
    size_t maxPayload(bool) const override { return wire_.mtu; }
    uint64_t sent() const override { return wire_.sent; }
    uint64_t acknowledged() const override { return wire_.autoAck ? wire_.sent : wire_.acked; }
    void readyToReceive() override { ++wire_.ready; }
    RefusalCode codeOf(Refusal why) const override { return terminateCode(why); }
    unsigned runPeer(unsigned) override { return 0; }
    void close(bool graceful) override {
        wire_.closed = true;
        wire_.graceful = graceful;
    }

private:
    Wire& wire_;
};

// Queue pair `a` talks to the test.
struct WireBench : Bench {
    explicit WireBench(BenchOptions options = {}) : Bench(disconnected(options)) {
        EXPECT_TRUE(a.guest->connectQp(a.qpn, a.link).ok());
        a.qp().attach(std::make_unique<TestTransport>(wire));
        settle();
    }
    static BenchOptions disconnected(BenchOptions options) {
        options.connect = false;
        return options;
    }
    Placement in(Segment segment, ConstBytes payload = {}) {
        segment.payload = payload;
        const Placement placement = a.qp().inbound(segment);
        settle();
        return placement;
    }
    Segment write(uint64_t offset, bool last = true) const {
        return {.op = SegmentOp::Write, .last = last, .stag = a.stag, .to = a.iova + offset};
    }
    static Segment send(uint32_t msn, uint32_t mo = 0, bool last = true) {
        return {.op = SegmentOp::Send, .last = last, .message = msn, .offset = mo};
    }
    Segment readRequest(uint32_t msn, uint32_t size) const {
        return {.op = SegmentOp::ReadRequest, .message = msn, .read = {0x99, 0x1234, size, a.stag, a.iova}};
    }
    void expectFailed(const Placement& p, TerminateCode code, const Events& want) {
        EXPECT_EQ(p.kind, Placement::Kind::Failed);
        EXPECT_EQ(p.code.number, code.detail());
        EXPECT_EQ(events(a), want);
        EXPECT_EQ(a.state(), QpState::Error);
        EXPECT_TRUE(wire.closed);
        ASSERT_FALSE(wire.segments.empty());
        EXPECT_EQ(wire.segments.back().op, SegmentOp::Terminate);
        EXPECT_EQ(wire.segments.back().terminate.code.number, code.detail());
    }
    Wire wire;
};

Events fatal(uint32_t detail) { return {{AsyncEvent::QpFatal, detail}}; }

const std::vector<std::byte> kData(64, std::byte{0x5A});

// ---- receive queue ----

TEST(Responder, ReceivesInOrderWithTheRightIndices) {
    Bench t({.rqLog = 2});
    for (uint32_t i = 0; i < 70000; ++i) {
        const uint16_t rqe = t.recv(t.b, 0, 8);
        t.post(t.a, inlineSendSqe(Op::Send, 0, {}));
        const auto cqe = t.b.received();
        ASSERT_TRUE(cqe);
        ASSERT_EQ(cqe->index & 0xFFFF, rqe);
        ASSERT_EQ(cqe->syndrome, 0);
    }
}

TEST(Responder, MessageLongerThanTheBuffer) {
    for (const uint32_t size : {101u, 70000u, 131072u}) {
        Bench t;
        t.recv(t.b, 0x1000, 100);
        t.recv(t.b, 0x2000, 100);
        const auto before = t.b.data(0x1000 + 100, 4096);
        t.a.put(sendSqe(Op::Send, 0, {t.a.sge(0, size)}));
        t.a.put(sendSqe(Op::Send, 0, {}));
        t.ring(t.a);
        expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::RecvBounds, 0, 0});
        expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Flushed, 1, 0});
        expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::General, 0, 0});
        expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Flushed, 1, 0});
        EXPECT_EQ(t.b.data(0x1000 + 100, 4096), before);
        EXPECT_EQ(t.events(t.b), (Events{{AsyncEvent::RecvQueue, 0x1205}}));
        EXPECT_EQ(t.events(t.a), fatal(0x1205));
    }
}

TEST(Responder, BadReceiveBuffers) {
    const struct {
        const char* name;
        Sge (*sge)(const Bench&);
        Syndrome syndrome;
    } cases[] = {
        {"unknown",
         [](const Bench& t) {
             return Sge{t.b.iova, 64, 999 << 8};
         },
         Syndrome::RecvStag},
        {"behind", [](const Bench& t) { return t.b.sge((1u << 20) - 63, 64); }, Syndrome::RecvBounds},
        {"rights",
         [](const Bench& t) {
             return Sge{t.b.iova, 64, 40 << 8};
         },
         Syndrome::RecvRights},
        {"PD",
         [](const Bench& t) {
             return Sge{t.b.iova, 64, 41 << 8};
         },
         Syndrome::RecvPd},
        {"wrap",
         [](const Bench& t) {
             return Sge{UINT64_MAX - 8, 64, t.b.stag};
         },
         Syndrome::RecvWrap},
        {"not RAM",
         [](const Bench& t) {
             return Sge{t.b.iova, 64, 42 << 8};
         },
         Syndrome::General},
    };
    for (const auto& bad : cases) {
        SCOPED_TRACE(bad.name);
        Bench t;
        t.b.guest->registerMr(40, t.b.iova, t.b.bus, 4096, access::kLocalRead | access::kRemoteWrite);
        t.b.guest->registerMr(41, t.b.iova, t.b.bus, 4096, access::kMask, 2);
        t.b.guest->registerMr(42, t.b.iova, (uint64_t{1} << 40) + t.b.iova % 4096, 4096);
        const Sge sge = bad.sge(t);
        t.b.guest->postRecv(t.b.qpn, sge.addr, sge.length, sge.stag);
        t.post(t.a, sendSqe(Op::Send, 0, {t.a.sge(0, 64)}));
        expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, bad.syndrome, 0, 0});
        expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::General, 0, 0});
        const auto type = bad.syndrome == Syndrome::General ? AsyncEvent::QpFatal : AsyncEvent::RecvQueue;
        EXPECT_EQ(t.events(t.b), (Events{{type, 0}}));
        EXPECT_EQ(t.events(t.a), fatal(0));
    }
}

TEST(Responder, BadBuffersDoNotMatterWithoutPayload) {
    Bench t;
    t.b.guest->postRecv(t.b.qpn, 1, 64, 999);
    t.b.guest->postRecv(t.b.qpn, 1, 64, 999);
    t.post(t.a, sendSqe(Op::Send, 0, {}));
    t.post(t.a, writeSqe(Op::WriteImm, 0, {t.a.sge(0, 8)}, t.b.stag, t.b.iova, 1));
    expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Success, 0, 0});
    expectCqe(t.b.received(), {Op::RecvWriteImm, QueueType::Receive, Syndrome::Success, 1, 8});
}

TEST(Responder, MalformedReceiveEntries) {
    for (const uint64_t offset : {0u, 4u}) {
        for (const Op op : {Op::Send, Op::WriteImm}) {
            Bench t;
            t.recv(t.b, 0, 64);
            t.b.memory().put32(t.b.guest->qp(t.b.qpn).rq.address + offset, 0x77);
            t.post(t.a, op == Op::Send ? sendSqe(op, 0, {}) : writeSqe(op, 0, {}, 0, 0));
            expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::RecvFormat, 0, 0});
            expectCqe(t.a.sent(), {op, QueueType::Send, Syndrome::General, 0, 0});
            EXPECT_EQ(t.events(t.b), (Events{{AsyncEvent::RecvQueue, 0}}));
        }
    }
}

TEST(Responder, ReceiveRingThatIsGone) {
    Bench t;
    t.recv(t.b, 0, 64);
    t.b.memory().block(t.b.guest->qp(t.b.qpn).rq.address);
    t.post(t.a, sendSqe(Op::Send, 0, {}));
    expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::General, 0, 0});
    EXPECT_EQ(t.events(t.b), fatal(0));
}

TEST(Responder, InvalidateThatFails) {
    Bench t;
    t.recv(t.b, 0, 64);
    t.post(t.a, sendSqe(Op::SendInv, 0, {t.a.sge(0, 8)}, t.b.stag)); // an ordinary region
    expectCqe(t.b.received(), {Op::RecvSend, QueueType::Receive, Syndrome::RecvStag, 0, 0});
    expectCqe(t.a.sent(), {Op::SendInv, QueueType::Send, Syndrome::RecvStag, 0, 0});
    EXPECT_EQ(t.events(t.b), (Events{{AsyncEvent::Access, 0x0109}}));
}

// ---- no receive buffer ----

TEST(Responder, SenderWaitsForAReceiveBuffer) {
    for (const Op op : {Op::Send, Op::SendImm, Op::WriteImm}) {
        Bench t({.twoDevices = true});
        t.a.memory().fill(t.a.bus, 64, 1);
        const std::vector<Sge> sges = {t.a.sge(0, 64)};
        t.a.put(op == Op::WriteImm ? writeSqe(op, kSignal, sges, t.b.stag, t.b.iova) : sendSqe(op, kSignal, sges));
        t.a.put(writeSqe(Op::Write, kSignal, sges, t.b.stag, t.b.iova + 512));
        t.ring(t.a);
        EXPECT_FALSE(t.a.sent());
        EXPECT_EQ(t.b.data(512, 64), std::vector<std::byte>(64)) << "later requests wait too";
        EXPECT_EQ(t.b.count(Counter::RnrHolds), 1u);
        t.advanceMs(29'000);
        EXPECT_EQ(t.a.state(), QpState::Rts);
        t.recv(t.b, 0, 64);
        EXPECT_EQ(t.a.sent()->syndrome, 0);
        EXPECT_EQ(t.a.sent()->syndrome, 0);
        EXPECT_EQ(t.b.received()->syndrome, 0);
        EXPECT_EQ(t.b.data(0, 64), t.a.data(0, 64));
        EXPECT_EQ(t.b.data(512, 64), t.a.data(0, 64));
        t.advanceMs(100'000);
        EXPECT_EQ(t.b.count(Counter::RnrTimeouts), 0u);
        EXPECT_EQ(t.a.state(), QpState::Rts);
    }
}

TEST(Responder, HoldExpires) {
    for (const Op op : {Op::Send, Op::WriteImm}) {
        Bench t;
        t.a.put(op == Op::Send ? sendSqe(op, 0, {}) : writeSqe(op, 0, {t.a.sge(0, 8)}, t.b.stag, t.b.iova));
        t.a.put(sendSqe(Op::Send, 0, {}));
        t.ring(t.a);
        t.advanceMs(29'999);
        EXPECT_FALSE(t.a.sent());
        t.advanceMs(2);
        expectCqe(t.a.sent(), {op, QueueType::Send, Syndrome::General, 0, 0});
        EXPECT_EQ(t.a.sent()->syndrome, static_cast<uint8_t>(Syndrome::Flushed));
        EXPECT_EQ(t.events(t.b), (Events{{AsyncEvent::RecvQueue, 0x1202}}));
        EXPECT_EQ(t.events(t.a), fatal(0x1202));
        EXPECT_EQ(t.b.count(Counter::RnrTimeouts), 1u);
    }
}

TEST(Responder, EachHoldHasItsOwnTime) {
    Bench t;
    for (int i = 0; i < 4; ++i) {
        t.post(t.a, sendSqe(Op::Send, kSignal, {}));
        EXPECT_FALSE(t.a.sent());
        t.advanceMs(20'000);
        t.recv(t.b, 0, 0);
        EXPECT_EQ(t.a.sent()->syndrome, 0);
    }
    EXPECT_EQ(t.b.count(Counter::RnrHolds), 4u);
}

TEST(Responder, HoldForEver) {
    BenchOptions options;
    options.config.rnr_hold_ms = 0;
    Bench t(options);
    t.post(t.a, sendSqe(Op::Send, kSignal, {}));
    t.advanceMs(100'000'000);
    EXPECT_EQ(t.a.state(), QpState::Rts);
    t.recv(t.b, 0, 0);
    EXPECT_EQ(t.a.sent()->syndrome, 0);
}

TEST(Responder, BothEndsHoldAndReadsPass) {
    Bench t;
    t.b.memory().fill(t.b.bus, 64, 6);
    t.post(t.b, sendSqe(Op::Send, kSignal, {}));
    t.post(t.a, readSqe(kSignal, t.a.sge(0, 64), t.b.stag, t.b.iova));
    EXPECT_EQ(t.a.sent()->syndrome, 0) << "an answer does not wait behind a Send that waits";
    t.post(t.a, sendSqe(Op::Send, kSignal, {}));
    EXPECT_FALSE(t.a.sent());
    t.recv(t.a, 0, 0);
    t.recv(t.b, 0, 0);
    EXPECT_EQ(t.a.sent()->syndrome, 0);
    EXPECT_EQ(t.b.sent()->syndrome, 0);
}

// ---- requests ----

TEST(Responder, ReadSourceThatVanishesInTheMiddle) {
    Bench t({.twoDevices = true, .bufferBytes = 24u << 20});
    t.a.put(readSqe(0, t.a.sge(0, 24u << 20), t.b.stag, t.b.iova));
    t.a.guest->ringSq(t.a.qpn);
    t.b.host->scheduled = false;
    t.b.device->run(); // a part of it
    EXPECT_FALSE(t.a.sent());
    ASSERT_TRUE(t.b.guest->deregister(12).ok());
    t.settle();
    expectCqe(t.a.sent(), {Op::Read, QueueType::Send, Syndrome::RecvStag, 0, 0});
    EXPECT_EQ(t.events(t.b), (Events{{AsyncEvent::Access, 0x0100}}));
    EXPECT_EQ(t.events(t.a), fatal(0x0100));
}

TEST(Responder, ResponsesAndOwnWorkTakeTurns) {
    Bench t({.twoDevices = true, .bufferBytes = 32u << 20});
    t.a.put(readSqe(kSignal, t.a.sge(0, 8u << 20), t.b.stag, t.b.iova));
    t.a.put(readSqe(kSignal, t.a.sge(0, 8u << 20), t.b.stag, t.b.iova));
    t.a.guest->ringSq(t.a.qpn);
    for (int i = 0; i < 3; ++i)
        t.b.put(writeSqe(Op::Write, kSignal, {t.b.sge(0, 8u << 20)}, t.a.stag, t.a.iova + (16u << 20)));
    t.ring(t.b);
    EXPECT_EQ(t.a.sent()->syndrome, 0);
    EXPECT_EQ(t.a.sent()->syndrome, 0);
    for (int i = 0; i < 3; ++i)
        EXPECT_EQ(t.b.sent()->syndrome, 0);
}

TEST(Responder, SegmentedResponsesOnASmallWire) {
    WireBench t;
    t.a.memory().fill(t.a.bus, 3000, 1);
    t.in(t.readRequest(1, 2500));
    t.in(t.readRequest(2, 0));
    ASSERT_EQ(t.wire.segments.size(), 4u);
    const uint32_t sizes[] = {1024, 1024, 452, 0};
    uint64_t to = 0x1234;
    std::vector<std::byte> all;
    for (size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(t.wire.segments[i].op, SegmentOp::ReadResponse);
        EXPECT_EQ(t.wire.segments[i].stag, 0x99u);
        EXPECT_EQ(t.wire.segments[i].to, i == 3 ? 0x1234 : to);
        EXPECT_EQ(t.wire.segments[i].last, i >= 2);
        EXPECT_EQ(t.wire.payloads[i].size(), sizes[i]);
        to += sizes[i];
        all.insert(all.end(), t.wire.payloads[i].begin(), t.wire.payloads[i].end());
    }
    EXPECT_EQ(all, t.a.data(0, 2500));
}

TEST(Responder, HeldTransportResumesResponsesAndRequests) {
    WireBench t;
    t.wire.answer.kind = Placement::Kind::Hold;
    t.in(t.readRequest(1, 100));
    t.in({.op = SegmentOp::AtomicRequest, .message = 2, .atomic = {7, false, t.a.stag, t.a.iova, 1, 0}});
    t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 2000)}, 1, 2));
    EXPECT_FALSE(t.a.sent());
    EXPECT_TRUE(t.wire.segments.empty());
    t.wire.answer.kind = Placement::Kind::Accepted;
    t.a.qp().resume();
    t.settle();
    EXPECT_EQ(t.a.sent()->syndrome, 0);
    EXPECT_EQ(t.wire.segments.size(), 4u);
}

TEST(Responder, AtomicResponseCarriesIdAndValue) {
    WireBench t;
    t.a.memory().put64(t.a.bus + 0x10, 41);
    t.in({.op = SegmentOp::AtomicRequest, .message = 1, .atomic = {7, false, t.a.stag, t.a.iova + 0x10, 1, 0}});
    t.in({.op = SegmentOp::AtomicRequest, .message = 2, .atomic = {8, true, t.a.stag, t.a.iova + 0x10, 5, 42}});
    ASSERT_EQ(t.wire.segments.size(), 2u);
    EXPECT_EQ(t.wire.segments[0].op, SegmentOp::AtomicResponse);
    EXPECT_EQ(t.wire.segments[0].message, 1u);
    EXPECT_EQ(t.wire.segments[0].atomicResponse.id, 7u);
    EXPECT_EQ(t.wire.segments[0].atomicResponse.original, 41u);
    EXPECT_EQ(t.wire.segments[1].message, 2u);
    EXPECT_EQ(t.wire.segments[1].atomicResponse.id, 8u);
    EXPECT_EQ(t.wire.segments[1].atomicResponse.original, 42u);
    EXPECT_EQ(t.a.memory().get64(t.a.bus + 0x10), 5u);
}

class TooManyRequests : public testing::TestWithParam<uint32_t> {};

TEST_P(TooManyRequests, EndTheConnection) {
    BenchOptions options;
    options.config.ird = GetParam();
    WireBench t(options);
    t.wire.answer.kind = Placement::Kind::Hold;
    for (uint32_t i = 1; i <= GetParam(); ++i)
        EXPECT_EQ(t.in(t.readRequest(i, 8)).kind, Placement::Kind::Accepted);
    // The answers owed go out first, then the Terminate.
    EXPECT_EQ(t.in(t.readRequest(GetParam() + 1, 8)).kind, Placement::Kind::Hold);
    EXPECT_EQ(t.in(t.send(1)).kind, Placement::Kind::Hold);
    t.wire.answer.kind = Placement::Kind::Accepted;
    t.a.qp().resume();
    t.settle();
    EXPECT_EQ(t.wire.segments.size(), GetParam() + 1);
    EXPECT_EQ(t.wire.segments.back().op, SegmentOp::Terminate);
    EXPECT_EQ(t.wire.segments.back().terminate.code.number, 0x1202u);
    EXPECT_EQ(t.wire.segments.back().terminate.culprit, TerminateInfo::Culprit::Request);
    EXPECT_EQ(t.wire.segments.back().terminate.message, GetParam() + 1);
    EXPECT_EQ(t.events(t.a), fatal(0x1202));
}

INSTANTIATE_TEST_SUITE_P(Responder, TooManyRequests, testing::Values(1, 5, kMaxIrd));

TEST(Responder, AtomicsToADeviceWithout) {
    BenchOptions options;
    options.config.atomic = false;
    WireBench t(options);
    t.expectFailed(t.in({.op = SegmentOp::AtomicRequest, .message = 1, .atomic = {7, false, t.a.stag, t.a.iova, 1, 0}}),
                   {0, 2, 6}, fatal(0x0206));
}

// ---- rows of wire.md 5.6 ----

TEST(Responder, SendInSegments) {
    WireBench t;
    t.recv(t.a, 0x1000, 200);
    EXPECT_EQ(t.in(t.send(1, 0, false), kData).kind, Placement::Kind::Accepted);
    EXPECT_EQ(t.in(t.write(0x2000), kData).kind, Placement::Kind::Accepted) << "a tagged message may come between";
    EXPECT_FALSE(t.a.received());
    EXPECT_EQ(t.in(t.send(1, 64, true), kData).kind, Placement::Kind::Accepted);
    expectCqe(t.a.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Success, 0, 128});
    EXPECT_EQ(t.a.data(0x1000, 64), kData);
    EXPECT_EQ(t.a.data(0x1040, 64), kData);
}

TEST(Responder, MessageNumbers) {
    for (const uint32_t msn : {0u, 2u, 7u}) {
        WireBench t;
        t.recv(t.a, 0, 64);
        t.expectFailed(t.in(t.send(msn)), {1, 2, 3}, fatal(0x1203));
        expectCqe(t.a.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Flushed, 0, 0});
    }
    {
        WireBench t;
        t.expectFailed(t.in({.op = SegmentOp::Immediate, .message = 2}), {1, 2, 3}, fatal(0x1203));
    }
    {
        WireBench t;
        t.expectFailed(t.in(t.readRequest(2, 8)), {1, 2, 3}, fatal(0x1203));
    }
    {
        WireBench t;
        t.expectFailed(t.in({.op = SegmentOp::AtomicRequest, .message = 9}), {1, 2, 3}, fatal(0x1203));
    }
    WireBench t;
    t.recv(t.a, 0, 200);
    t.in(t.send(1, 0, false), kData);
    t.expectFailed(t.in(t.send(2, 64), kData), {1, 2, 3}, fatal(0x1203));
    expectCqe(t.a.received(), {Op::RecvSend, QueueType::Receive, Syndrome::General, 0, 0});
}

TEST(Responder, MessageOffsets) {
    {
        WireBench t;
        t.recv(t.a, 0, 64);
        t.expectFailed(t.in(t.send(1, 4)), {1, 2, 4}, fatal(0x1204));
    }
    WireBench t;
    t.recv(t.a, 0, 200);
    t.in(t.send(1, 0, false), kData);
    t.expectFailed(t.in(t.send(1, 32), kData), {1, 2, 4}, fatal(0x1204));
    expectCqe(t.a.received(), {Op::RecvSend, QueueType::Receive, Syndrome::General, 0, 0});
}

TEST(Responder, MessageInsideAMessage) {
    {
        WireBench t;
        t.recv(t.a, 0, 200);
        t.in(t.send(1, 0, false), kData);
        Segment other = t.send(1, 64);
        other.op = SegmentOp::SendSe;
        t.expectFailed(t.in(other, kData), {0, 2, 6}, fatal(0x0206));
        expectCqe(t.a.received(), {Op::RecvSend, QueueType::Receive, Syndrome::General, 0, 0});
    }
    WireBench t;
    t.recv(t.a, 0, 200);
    t.in(t.send(1, 0, false), kData);
    t.expectFailed(t.in({.op = SegmentOp::ImmediateSe, .message = 1}), {0, 2, 6}, fatal(0x0206));
}

TEST(Responder, WriteContinuations) {
    {
        WireBench t;
        t.in(t.write(0, false), kData);
        EXPECT_EQ(t.in(t.write(64, false), kData).kind, Placement::Kind::Accepted);
        EXPECT_EQ(t.in(t.write(128), kData).kind, Placement::Kind::Accepted);
        EXPECT_EQ(t.in(t.write(0), kData).kind, Placement::Kind::Accepted);
        t.in(t.write(0, false), kData);
        t.expectFailed(t.in(t.write(65), kData), {1, 1, 1}, fatal(0x1101));
    }
    WireBench t;
    t.in(t.write(0, false), kData);
    Segment other = t.write(64);
    other.stag ^= 1;
    t.expectFailed(t.in(other, kData), {1, 1, 0}, fatal(0x1100));
}

TEST(Responder, ResponsesNobodyAskedFor) {
    {
        WireBench t;
        t.expectFailed(t.in({.op = SegmentOp::ReadResponse, .stag = t.a.stag, .to = t.a.iova}, kData), {0, 2, 6},
                       fatal(0x0206));
    }
    {
        WireBench t;
        t.expectFailed(t.in({.op = SegmentOp::AtomicResponse, .message = 1}), {0, 2, 6}, fatal(0x0206));
    }
    {
        WireBench t; // an atomic response to a read
        t.post(t.a, readSqe(0, t.a.sge(0, 64), 1, 2));
        t.expectFailed(t.in({.op = SegmentOp::AtomicResponse, .message = 1, .atomicResponse = {1, 2}}), {0, 2, 6},
                       fatal(0x0206));
        expectCqe(t.a.sent(), {Op::Read, QueueType::Send, Syndrome::Flushed, 0, 0});
    }
    {
        WireBench t; // and the reverse
        t.post(t.a, atomicSqe(Op::FetchAdd, 0, 1, 0, 1, 8, t.a.sge(0, 8)));
        t.expectFailed(t.in({.op = SegmentOp::ReadResponse}), {0, 2, 6}, fatal(0x0206));
    }
    WireBench t; // out of sequence
    t.post(t.a, atomicSqe(Op::FetchAdd, 0, 1, 0, 1, 8, t.a.sge(0, 8)));
    t.expectFailed(t.in({.op = SegmentOp::AtomicResponse, .message = 2, .atomicResponse = {1, 2}}), {1, 2, 3},
                   fatal(0x1203));
}

TEST(Responder, ReadResponsesThatDoNotFit) {
    const struct {
        const char* name;
        uint32_t stagDelta;
        uint64_t toDelta;
        size_t size;
        bool last;
        TerminateCode code;
    } cases[] = {
        {"STag", 1, 0, 64, true, {1, 1, 0}},
        {"address", 0, 1, 64, true, {1, 1, 1}},
        {"too long", 0, 0, 65, true, {1, 1, 1}},
        {"too short", 0, 0, 63, true, {1, 1, 1}},
    };
    for (const auto& bad : cases) {
        SCOPED_TRACE(bad.name);
        WireBench t;
        t.post(t.a, readSqe(0, t.a.sge(0, 64), 1, 2));
        const std::vector<std::byte> data(bad.size, std::byte{1});
        t.expectFailed(t.in({.op = SegmentOp::ReadResponse,
                             .last = bad.last,
                             .stag = t.a.stag + bad.stagDelta,
                             .to = t.a.iova + bad.toDelta},
                            data),
                       bad.code, fatal(bad.code.detail()));
        expectCqe(t.a.sent(), {Op::Read, QueueType::Send, Syndrome::Flushed, 0, 0});
        EXPECT_EQ(t.a.data(0, 64), std::vector<std::byte>(64));
    }
}

TEST(Responder, ReadResponseInParts) {
    WireBench t;
    t.post(t.a, readSqe(kSignal, t.a.sge(0, 100), 1, 2));
    ASSERT_EQ(t.wire.segments.size(), 1u);
    EXPECT_EQ(t.wire.segments[0].read.sinkTo, t.a.iova);
    EXPECT_EQ(t.wire.segments[0].read.size, 100u);
    EXPECT_EQ(t.wire.segments[0].message, 1u);
    t.in({.op = SegmentOp::ReadResponse, .last = false, .stag = t.a.stag, .to = t.a.iova}, kData);
    EXPECT_FALSE(t.a.sent());
    t.in({.op = SegmentOp::ReadResponse, .stag = t.a.stag, .to = t.a.iova + 64}, ConstBytes(kData).first(36));
    expectCqe(t.a.sent(), {Op::Read, QueueType::Send, Syndrome::Success, 0, 100});
}

// ---- a transport that confirms later, and Terminates from it ----

TEST(Responder, SendsCompleteWhenAcknowledged) {
    WireBench t;
    t.wire.autoAck = false;
    t.a.put(sendSqe(Op::Send, kSignal, {t.a.sge(0, 2000)}));
    t.a.put(localInvSqe(kSignal, 0));
    t.a.guest->registerFast(0, t.a.memory().allocate(4096), 1);
    t.a.put(writeSqe(Op::Write, kSignal, {t.a.sge(0, 10)}, 1, 2));
    t.ring(t.a);
    EXPECT_EQ(t.wire.segments.size(), 3u);
    EXPECT_FALSE(t.a.sent());
    t.wire.acked = 1;
    t.a.qp().acknowledged();
    EXPECT_FALSE(t.a.sent());
    t.wire.acked = 2;
    t.a.qp().acknowledged();
    expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Success, 0, 2000});
    expectCqe(t.a.sent(), {Op::LocalInv, QueueType::Send, Syndrome::Success, 2 - 1, 0});
    EXPECT_FALSE(t.a.sent());
    t.wire.acked = 3;
    t.a.qp().acknowledged();
    expectCqe(t.a.sent(), {Op::Write, QueueType::Send, Syndrome::Success, 2, 10});
}

TEST(Responder, TerminateFindsItsCulprit) {
    using Kind = TerminateInfo::Culprit;
    const struct {
        const char* name;
        Kind kind;
        uint32_t msn;
        uint64_t to;
        int guilty; // entry that is blamed, -1: none
    } cases[] = {
        {"unknown", Kind::Unknown, 0, 0, 0},    {"send 1", Kind::Send, 1, 0, 0},
        {"send 2", Kind::Send, 2, 0, 3},        {"send 3", Kind::Send, 3, 0, -1},
        {"write", Kind::Write, 0, 0x5005, 1},   {"write elsewhere", Kind::Write, 0, 0x5040, -1},
        {"request 1", Kind::Request, 1, 0, 2},  {"request 2", Kind::Request, 2, 0, 4},
        {"request 3", Kind::Request, 3, 0, -1},
    };
    for (const auto& c : cases) {
        SCOPED_TRACE(c.name);
        WireBench t;
        t.wire.autoAck = false;
        const uint16_t at[] = {
            t.a.put(sendSqe(Op::Send, 0, {t.a.sge(0, 10)})),
            t.a.put(writeSqe(Op::Write, 0, {t.a.sge(0, 64)}, 1, 0x5000)),
            t.a.put(readSqe(0, t.a.sge(0, 8), 1, 2)),
            t.a.put(sendSqe(Op::SendImm, 0, {})),
            t.a.put(atomicSqe(Op::FetchAdd, 0, 1, 0, 1, 8, t.a.sge(0, 8))),
        };
        t.ring(t.a);
        Segment segment{.op = SegmentOp::Terminate, .message = 1};
        segment.terminate = {TerminateCode{0, 1, 2}, c.kind, c.msn, c.to, culpritSyndrome({0, 1, 2})};
        t.in(segment);
        for (int i = 0; i < 5; ++i) {
            const auto cqe = t.a.sent();
            ASSERT_TRUE(cqe);
            EXPECT_EQ(cqe->index, at[i]);
            EXPECT_EQ(cqe->syndrome, static_cast<uint8_t>(i == c.guilty ? Syndrome::RecvRights : Syndrome::Flushed));
        }
        EXPECT_EQ(t.events(t.a), fatal(0x0102));
        EXPECT_TRUE(t.wire.closed);
        for (const Segment& s : t.wire.segments)
            EXPECT_NE(s.op, SegmentOp::Terminate) << "never answered by another";
    }
}

TEST(Responder, TerminateCodesAsSyndromes) {
    EXPECT_EQ(culpritSyndrome({0, 1, 0}), Syndrome::RecvStag);
    EXPECT_EQ(culpritSyndrome({1, 1, 0}), Syndrome::RecvStag);
    EXPECT_EQ(culpritSyndrome({0, 1, 1}), Syndrome::RecvBounds);
    EXPECT_EQ(culpritSyndrome({1, 1, 1}), Syndrome::RecvBounds);
    EXPECT_EQ(culpritSyndrome({0, 1, 2}), Syndrome::RecvRights);
    EXPECT_EQ(culpritSyndrome({1, 1, 2}), Syndrome::RecvPd);
    EXPECT_EQ(culpritSyndrome({0, 1, 3}), Syndrome::RecvPd);
    EXPECT_EQ(culpritSyndrome({1, 1, 3}), Syndrome::RecvWrap);
    EXPECT_EQ(culpritSyndrome({0, 1, 4}), Syndrome::RecvWrap);
    EXPECT_EQ(culpritSyndrome({1, 1, 4}), Syndrome::General);
    EXPECT_EQ(culpritSyndrome({0, 1, 9}), Syndrome::RecvStag);
    EXPECT_EQ(culpritSyndrome({1, 1, 9}), Syndrome::General);
    EXPECT_EQ(culpritSyndrome({0, 1, 255}), Syndrome::General);
    EXPECT_EQ(culpritSyndrome({1, 2, 2}), Syndrome::General);
    EXPECT_EQ(culpritSyndrome({2, 0, 2}), Syndrome::General);
}

TEST(Responder, TransportThatDies) {
    WireBench t;
    t.wire.autoAck = false;
    t.recv(t.a, 0, 64);
    t.a.put(sendSqe(Op::Send, 0, {}));
    t.a.put(sendSqe(Op::Send, 0, {}));
    t.ring(t.a);
    t.a.qp().fail(Syndrome::RetryExceeded, AsyncEvent::QpFatal, 0x2001, "no answer");
    expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::RetryExceeded, 0, 0});
    expectCqe(t.a.sent(), {Op::Send, QueueType::Send, Syndrome::Flushed, 1, 0});
    expectCqe(t.a.received(), {Op::RecvSend, QueueType::Receive, Syndrome::Flushed, 0, 0});
    EXPECT_EQ(t.events(t.a), fatal(0x2001));
    EXPECT_EQ(t.in(t.write(0), kData).kind, Placement::Kind::Gone);
    t.a.qp().acknowledged();
    t.a.qp().resume();
    t.a.qp().peerClosed(true);
    EXPECT_TRUE(t.events(t.a).empty());
}

TEST(Responder, TransportTellsThatBuffersAreBack) {
    WireBench t;
    EXPECT_EQ(t.in(t.send(1)).kind, Placement::Kind::Hold);
    EXPECT_EQ(t.in(t.send(1)).kind, Placement::Kind::Hold);
    EXPECT_EQ(t.a.count(Counter::RnrHolds), 1u);
    EXPECT_EQ(t.wire.ready, 0);
    t.recv(t.a, 0, 64);
    EXPECT_EQ(t.wire.ready, 1);
    EXPECT_EQ(t.in(t.send(1)).kind, Placement::Kind::Accepted);
    EXPECT_TRUE(t.a.received());
}

TEST(Responder, ResponderRefusedByThePeer) {
    WireBench t;
    t.wire.answer.kind = Placement::Kind::Hold;
    t.in(t.readRequest(1, 8));
    t.post(t.a, sendSqe(Op::Send, 0, {}));
    t.wire.answer = {Placement::Kind::Failed, {}, Syndrome::RecvStag};
    t.a.qp().resume();
    t.settle();
    EXPECT_NE(t.a.sent()->syndrome, 0);
    EXPECT_EQ(t.events(t.a), fatal(0));
}

// A program may sleep on the CQ and wait for nothing but the peer's Write.
TEST(Responder, WriteWakesTheArmedSendCq) {
    Bench t;
    t.b.guest->armCq(t.b.scq);
    t.post(t.a, writeSqe(Op::Write, kSignal, {}, 0, 0));
    EXPECT_EQ(t.b.count(Counter::CqEvents), 0u) << "nothing was written";
    t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 100000)}, t.b.stag, t.b.iova));
    EXPECT_EQ(t.b.count(Counter::CqEvents), 1u) << "once for the message, not for each segment";
    EXPECT_FALSE(t.b.sent());
    t.post(t.a, writeSqe(Op::Write, kSignal, {t.a.sge(0, 8)}, t.b.stag, t.b.iova));
    EXPECT_EQ(t.b.count(Counter::CqEvents), 1u) << "not armed any more";
}

} // namespace
} // namespace erdma::test
