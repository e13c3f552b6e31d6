// SPDX-License-Identifier: GPL-2.0-or-later
// What connections of standard peers agree on: readiness, IRD and ORD, CRCs, RFC 7306 (wire.md 1.9, 2.6, 2.7, 4.2).

#include <gtest/gtest.h>

#include "fpdu.h"
#include "nic_bench.h"
#include "wire_bench.h"

namespace erdma::test {

namespace {

using namespace flag;

constexpr uint32_t kPeerToPeer = 0x80000000, kSendRtr = 0x40000000, kWriteRtr = 0x8000, kReadRtr = 0x4000;
constexpr uint32_t reads(uint32_t ird, uint32_t ord) { return ird << 16 | ord; }

// Opcodes of the FPDUs that begin a segment of one direction.
void record(Path& path, std::vector<uint8_t>& opcodes) {
    path.drop = [&opcodes](const Frame& f, unsigned) {
        if (f.tcp.payload.size() >= 20 && load8(f.tcp.payload, 0) != 'M')
            opcodes.push_back(load8(f.tcp.payload, 3) & 0xF);
        return false;
    };
}

NicOptions enhanced(uint32_t word) {
    NicOptions options;
    options.revision = 2;
    options.requestWord = kPeerToPeer | kSendRtr | kWriteRtr | kReadRtr | reads(16, 16);
    options.replyWord = word;
    options.bench.sqLog = 8;
    return options;
}

// Numbers of messages go on behind the one that begins, in both directions and in what Terminates quote.
TEST(WireStandard, RtrOfEveryKind) {
    for (const auto& [bit, opcode] : {std::pair{kWriteRtr, 0}, std::pair{kReadRtr, 1}, std::pair{kSendRtr, 3}}) {
        SCOPED_TRACE(opcode);
        NicOptions options = enhanced(kPeerToPeer | bit | reads(16, 16));
        options.connect = false;
        NicBench t(options);
        std::vector<uint8_t> opcodes;
        record(t.link.paths[0], opcodes);
        t.connect();
        t.runFor(10 * kMs);
        ASSERT_FALSE(opcodes.empty());
        EXPECT_EQ(opcodes.front(), opcode);
        EXPECT_FALSE(t.b.received()) << "nobody hears of it";
        for (unsigned i = 0; i < 3; ++i) {
            t.bench.recv(t.b, 0, 64);
            t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
            EXPECT_EQ(t.received(t.b)->bytes, 64u);
            EXPECT_EQ(t.sent(t.a)->syndrome, 0);
            t.bench.recv(t.a, 0, 64);
            t.bench.post(t.b, sendSqe(Op::Send, kSignal, {t.b.sge(0, 64)}));
            EXPECT_EQ(t.received(t.a)->bytes, 64u);
            EXPECT_EQ(t.sent(t.b)->syndrome, 0);
            t.bench.post(t.a, readSqe(kSignal, t.a.sge(100000, 500), t.b.stag, t.b.iova));
            EXPECT_EQ(t.sent(t.a)->syndrome, 0);
            t.bench.post(t.b, readSqe(kSignal, t.b.sge(100000, 500), t.a.stag, t.a.iova));
            EXPECT_EQ(t.sent(t.b)->syndrome, 0);
        }
        // A Send that does not fit: the right one is told.
        t.bench.recv(t.b, 0, 8);
        const uint16_t bad = t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
        t.run([&] { return t.a.state() == QpState::Error; }, 5000 * kMs);
        const auto refused = t.a.sent();
        if (refused && refused->syndrome != static_cast<uint8_t>(Syndrome::Success)) {
            EXPECT_EQ(refused->index, bad);
        }
        EXPECT_EQ(t.a.state(), QpState::Error);
    }
}

// A peer that was promised the message waits for it: it goes first, whatever else there is to say.
TEST(WireStandard, RtrGoesFirst) {
    for (const Rtr kind : {Rtr::Write, Rtr::Read, Rtr::Send}) {
        WireOptions options;
        options.format = {.dialect = FpduFormat::Dialect::Standard, .crc = false};
        options.rtr = kind;
        options.rtrAgreed = true;
        options.start = false;
        WireBench t(options);
        std::vector<uint8_t> opcodes;
        record(t.link.paths[0], opcodes);
        t.bench.recv(t.b, 0, 64);
        t.bench.post(t.a, sendSqe(Op::SendInv, kSignal, {t.a.sge(0, 64)}, 0xBAD00));
        t.connect();
        t.run([&] { return t.b.state() == QpState::Error; }, 1000 * kMs); // the invalidation fails
        ASSERT_FALSE(opcodes.empty());
        EXPECT_EQ(opcodes.front(), kind == Rtr::Write ? 0 : kind == Rtr::Read ? 1 : 3);
        EXPECT_TRUE(t.b.received()) << "the message behind it arrived";
    }
}

// Zero octets in the peer's first Send are its own business unless the reply asked for them.
TEST(WireStandard, EmptySendsAreDelivered) {
    for (const bool agreed : {false, true}) {
        WireOptions options;
        options.format = {.dialect = FpduFormat::Dialect::Standard, .crc = false};
        options.rtr = Rtr::Send;
        options.rtrAgreed = agreed;
        WireBench t(options);
        t.bench.recv(t.b, 0, 64);
        if (!agreed) {
            EXPECT_EQ(t.received(t.b)->bytes, 0u);
            continue;
        }
        t.runFor(1000 * kMs);
        EXPECT_FALSE(t.b.received());
        t.bench.post(t.a, sendSqe(Op::Send, kSignal, {}));
        EXPECT_EQ(t.received(t.b)->bytes, 0u) << "the second one";
    }
}

// 2.7: each end keeps to what the other said it serves.
TEST(WireStandard, ReadsAsTheReplySays) {
    NicBench t(enhanced(kPeerToPeer | kWriteRtr | reads(3, 2)));
    t.runFor(100 * kMs);
    for (unsigned i = 0; i < 2; ++i) {
        Side& from = t.side(i);
        Side& to = t.side(1 - i);
        t.link.paths[1 - i].cut = true;
        for (int n = 0; n < 8; ++n)
            from.put(readSqe(kSignal, from.sge(0, 8), to.stag, to.iova));
        t.bench.ring(from);
        t.runFor(100 * kMs);
        EXPECT_EQ(from.qp().snapshot().outstandingReads, i == 0 ? 3u : 2u);
        t.link.paths[1 - i].cut = false;
        for (int n = 0; n < 8; ++n)
            ASSERT_EQ(t.sent(from)->syndrome, 0);
    }
    EXPECT_NE(t.iwarps[0]->connections().find("\"ord\":3,\"ird\":2"), std::string::npos);
    EXPECT_NE(t.iwarps[1]->connections().find("\"ord\":2,\"ird\":3"), std::string::npos);
}

// 2.6: CRCs that were agreed on and are not there end the connection; nothing is placed.
TEST(WireStandard, CrcDemandedAndNotKept) {
    WireOptions options;
    options.format = {.dialect = FpduFormat::Dialect::Standard, .crc = true};
    options.passiveCrc = false; // B sends zeros
    WireBench t(options);
    t.a.memory().fill(t.a.bus, 64, 0);
    const auto before = t.a.data(0, 64);
    t.runFor(10 * kMs);
    t.bench.post(t.b, writeSqe(Op::Write, kSignal, {t.b.sge(0, 64)}, t.a.stag, t.a.iova));
    t.run([&] { return t.a.state() == QpState::Error; }, 1000 * kMs);
    EXPECT_EQ(t.a.state(), QpState::Error);
    EXPECT_EQ(t.endA.endpoint->counters().crcErrors, 1u);
    EXPECT_EQ(t.endA.endpoint->counters().terminatesOut, 1u);
    EXPECT_EQ(t.a.data(0, 64), before);
    EXPECT_EQ(t.events(t.a), (Events{{AsyncEvent::QpFatal, 0x2002}}));
}

// An adapter that does not offer CRCs does not compute them either, whatever its driver says in its name.
TEST(WireStandard, CrcsCanBeSwitchedOff) {
    NicOptions options;
    options.mpaFlags = options.replyFlags = 0x40;
    options.bench.config.mpa_crc = false;
    NicBench t(options);
    EXPECT_NE(t.iwarps[0]->connections().find("\"crc\":0"), std::string::npos);
    EXPECT_NE(t.iwarps[1]->connections().find("\"crc\":0"), std::string::npos);
    t.bench.recv(t.b, 0, 64);
    t.bench.post(t.a, sendSqe(Op::Send, kSignal, {t.a.sge(0, 64)}));
    EXPECT_EQ(t.received(t.b)->bytes, 64u);
}

// 4.2: with the property, what RFC 7306 has; the message that is private to dialect V never.
TEST(WireStandard, Rfc7306) {
    NicOptions options = enhanced(kPeerToPeer | kWriteRtr | reads(16, 16));
    options.bench.config.rfc7306 = true;
    NicBench t(options);
    t.bench.recv(t.b, 0, 64);
    t.bench.post(t.a, writeSqe(Op::WriteImm, kSignal, {t.a.sge(0, 64)}, t.b.stag, t.b.iova, 0xDEADBEEF));
    const auto immediate = t.received(t.b);
    expectCqe(immediate, {Op::RecvWriteImm, QueueType::Receive, Syndrome::Success, 0, 0}); // dialect S tells no length
    EXPECT_EQ(t.sent(t.a)->syndrome, 0);
    EXPECT_EQ(t.b.data(0, 64), t.a.data(0, 64));
    t.bench.post(t.a, atomicSqe(Op::FetchAdd, kSignal, 1, 0, t.b.stag, t.b.iova, t.a.sge(8, 8)));
    EXPECT_EQ(t.sent(t.a)->syndrome, 0);
    t.bench.post(t.a, sendSqe(Op::SendImm, kSignal, {t.a.sge(0, 64)}, 1));
    EXPECT_EQ(t.sent(t.a)->syndrome, static_cast<uint8_t>(Syndrome::SendFormat));
}

// The event says which operation the dialect does not have.
TEST(WireStandard, RefusedOperationsAreNamed) {
    const std::pair<Op, uint32_t> cases[] = {
        {Op::WriteImm, 0x10008}, {Op::SendImm, 0x1000C}, {Op::CompareSwap, 0x1000A}, {Op::FetchAdd, 0x1000A}};
    for (const auto& [op, detail] : cases) {
        NicBench t(enhanced(kPeerToPeer | kWriteRtr | reads(16, 16)));
        t.runFor(10 * kMs);
        if (op == Op::WriteImm)
            t.bench.post(t.a, writeSqe(op, kSignal, {t.a.sge(0, 64)}, t.b.stag, t.b.iova, 1));
        else if (op == Op::SendImm)
            t.bench.post(t.a, sendSqe(op, kSignal, {t.a.sge(0, 64)}, 1));
        else
            t.bench.post(t.a, atomicSqe(op, kSignal, 1, 0, t.b.stag, t.b.iova, t.a.sge(8, 8)));
        EXPECT_EQ(t.sent(t.a)->syndrome, static_cast<uint8_t>(Syndrome::SendFormat));
        const auto events = t.bench.events(t.a);
        ASSERT_EQ(events.size(), 1u);
        EXPECT_EQ(events[0].second, detail);
    }
}

} // namespace

} // namespace erdma::test
