// SPDX-License-Identifier: GPL-2.0-or-later
// What a reliable connection asks, packet by packet, of a peer that the test plays (roce.md chapter 3; numbers in
// comments are items of 11.3).

#include "roce_script.h"

namespace erdma::test {

namespace {

using namespace script;
using flag::kSignal;

// 34, 42.
TEST(RoceRequester, SendInPackets) {
    ScriptBench t;
    t.post(t.a, send(t, 2500));
    EXPECT_EQ(seen(t.all()), (std::vector<Seen>{{RoceOp::SendFirst, psn(0), 1024, false},
                                                {RoceOp::SendMiddle, psn(1), 1024, false},
                                                {RoceOp::SendLast, psn(2), 452, true}}));
    t.post(t.a, send(t, 5));
    t.post(t.a, write(t, 6));
    EXPECT_EQ(seen(t.all()),
              (std::vector<Seen>{{RoceOp::SendOnly, psn(3), 5, true}, {RoceOp::WriteOnly, psn(4), 6, true}}));
    EXPECT_FALSE(status(t));
    t.ack(psn(4)); // one for all
    for (const uint32_t bytes : {2500u, 5u, 6u})
        EXPECT_EQ(t.a.sent()->bytes, bytes);
}

// 35, 36 and 17.
TEST(RoceRequester, WriteWithImmediate) {
    ScriptBench t;
    t.post(t.a, writeSqe(Op::WriteImm, kSignal | flag::kSolicited, {t.a.sge(0, 2048)}, 0x0A01, 0x7f0000001000, 77));
    const auto got = t.all();
    EXPECT_EQ(seen(got), (std::vector<Seen>{{RoceOp::WriteFirst, psn(0), 1024, false},
                                            {RoceOp::WriteLastImm, psn(1), 1024, true}}));
    EXPECT_EQ(got[0].packet.length, 2048u);
    EXPECT_EQ(got[0].packet.address, 0x7f0000001000u);
    EXPECT_EQ(got[0].packet.rkey, 0x0A01u);
    EXPECT_FALSE(got[0].packet.solicited);
    EXPECT_EQ(got[1].packet.immediate, 77u);
    EXPECT_TRUE(got[1].packet.solicited);
    t.ack(psn(1));
    EXPECT_EQ(status(t), Syndrome::Success);
    t.post(t.a, writeSqe(Op::Write, kSignal | flag::kSolicited, {t.a.sge(0, 8)}, 0x0A01, 0x7f0000001000));
    EXPECT_FALSE(t.next().solicited); // of a Write without immediate
}

// 37, 38.
TEST(RoceRequester, EmptyMessagesAndNumbers) {
    ScriptBench t;
    t.post(t.a, sendSqe(Op::Send, kSignal, {}));
    t.post(t.a, writeSqe(Op::Write, kSignal, {}, 0xFFFFFFFF, 1));
    t.post(t.a, readSqe(kSignal, {t.a.iova, 0, 0xFFFFFFFF}, 0xFFFFFFFF, 2));
    t.post(t.a, read(t, 2500));
    t.post(t.a, add(t));
    t.post(t.a, send(t, 1));
    EXPECT_EQ(seen(t.all()), (std::vector<Seen>{{RoceOp::SendOnly, psn(0), 0, true},
                                                {RoceOp::WriteOnly, psn(1), 0, true},
                                                {RoceOp::ReadRequest, psn(2), 0, true},
                                                {RoceOp::ReadRequest, psn(3), 0, true},
                                                {RoceOp::FetchAdd, psn(6), 0, true},
                                                {RoceOp::SendOnly, psn(7), 1, true}}));
    EXPECT_EQ(t.nodes[0]->transport->sendPsn(), psn(8));
    t.answer(RoceOp::ReadOnly, psn(2));
    for (unsigned i = 0; i < 3; ++i)
        EXPECT_EQ(status(t), Syndrome::Success);
    EXPECT_FALSE(status(t));
}

// 39.
TEST(RoceRequester, NumbersWrapInsideMessages) {
    RoceOptions options;
    options.psnA = 0xFFFFFE;
    ScriptBench t(options);
    t.post(t.a, send(t, 5000));
    uint32_t want = 0xFFFFFE;
    for (const KeptPacket& p : t.all())
        EXPECT_EQ(p.packet.psn, psnPlus(want++, 0));
    t.ack(2);
    EXPECT_EQ(status(t), Syndrome::Success);

    options.psnA = 0xFFFFFF;
    ScriptBench u(options);
    u.post(u.a, read(u, 2500));
    EXPECT_EQ(u.next().psn, 0xFFFFFFu);
    const Octets body(1024, std::byte{9});
    u.answer(RoceOp::ReadFirst, 0xFFFFFF, aeth::kAck, body);
    u.answer(RoceOp::ReadMiddle, 0, aeth::kAck, body);
    u.answer(RoceOp::ReadLast, 1, aeth::kAck, ConstBytes(body).first(452));
    EXPECT_EQ(status(u), Syndrome::Success);
    EXPECT_EQ(u.a.data(0x8000, 1024), body);
}

// 40, 41.
TEST(RoceRequester, WindowAndAcknowledgeRequests) {
    ScriptBench t;
    t.post(t.a, send(t, 1u << 20));
    auto got = t.all();
    ASSERT_EQ(got.size(), 128u);
    unsigned without = 0;
    for (const KeptPacket& p : got) {
        without = p.packet.ackRequest ? 0 : without + 1;
        EXPECT_LT(without, 32u);
    }
    EXPECT_TRUE(got.back().packet.ackRequest);
    EXPECT_TRUE(t.quiet());
    t.ack(psn(49));
    got = t.all();
    ASSERT_EQ(got.size(), 50u);
    EXPECT_EQ(got.front().packet.psn, psn(128));
    EXPECT_TRUE(got.back().packet.ackRequest);
}

// 45.
TEST(RoceRequester, ReadsGoOnWithAnyOpcode) {
    ScriptBench t;
    const Octets body(1024, std::byte{9});
    const std::array<std::array<RoceOp, 3>, 3> trains{{{RoceOp::ReadFirst, RoceOp::ReadMiddle, RoceOp::ReadLast},
                                                       {RoceOp::ReadMiddle, RoceOp::ReadFirst, RoceOp::ReadOnly},
                                                       {RoceOp::ReadOnly, RoceOp::ReadLast, RoceOp::ReadMiddle}}};
    uint32_t at = 0;
    for (const auto& train : trains) {
        t.post(t.a, read(t, 2500));
        for (unsigned i = 0; i < 3; ++i)
            t.answer(train[i], psn(at++), aeth::kAck, ConstBytes(body).first(i == 2 ? 452 : 1024));
        EXPECT_EQ(status(t), Syndrome::Success);
    }
}

// 46; chapter 9 item 13.
TEST(RoceRequester, AnswersNobodyAskedFor) {
    ScriptBench t;
    const Octets body(8, std::byte{9});
    const auto nonsense = [&](uint32_t number) {
        for (unsigned syndrome = 0x40; syndrome < 0x60; ++syndrome)
            t.answer(RoceOp::Acknowledge, number, static_cast<uint8_t>(syndrome));
        for (unsigned syndrome = 0x80; syndrome < 0x100; ++syndrome)
            t.answer(RoceOp::Acknowledge, number, static_cast<uint8_t>(syndrome));
        t.answer(RoceOp::ReadOnly, number, aeth::kAck, body);
        t.answer(RoceOp::ReadOnly, number, aeth::kAccess, body);
        t.answer(RoceOp::AtomicAcknowledge, number);
    };
    const auto outside = [&](uint32_t number) {
        for (const uint8_t syndrome : {aeth::kAck, aeth::kRnr, aeth::kSequence, aeth::kAccess})
            t.answer(RoceOp::Acknowledge, number, syndrome);
        nonsense(number);
    };
    outside(psn(0));
    outside(psn(0x7FFFFF));
    t.post(t.a, send(t, 10));
    ASSERT_EQ(t.all().size(), 1u);
    outside(psn(1));
    outside(psnPlus(kPsn, 0xFFFFFF)); // the one before
    outside(psnPlus(kPsn, 0x800000));
    nonsense(psn(0));
    EXPECT_TRUE(t.alive());
    EXPECT_TRUE(t.quiet());
    EXPECT_FALSE(status(t));
    EXPECT_GT(t.a.count(Counter::RcGhosts), 500u);
    t.ack(psn(0));
    EXPECT_EQ(status(t), Syndrome::Success);
    t.post(t.a, add(t));
    t.ack(psn(1)); // would complete it without a value
    EXPECT_FALSE(status(t));
}

// 57.
TEST(RoceRequester, RequestsOutstanding) {
    for (const uint8_t ord : std::initializer_list<uint8_t>{1, 4, 16}) {
        RoceOptions options;
        options.rc.ord = ord;
        ScriptBench t(options);
        for (unsigned i = 0; i < 20; ++i)
            t.a.put(i % 2 == 0 ? read(t, 8) : add(t));
        t.a.put(send(t, 1)); // behind all of them
        t.bench.ring(t.a);
        const Octets value(8, std::byte{1});
        uint32_t asked = 0;
        for (uint32_t i = 0; i < 20; ++i) {
            asked += static_cast<uint32_t>(t.all().size());
            EXPECT_EQ(asked, i + ord < 20 ? i + ord : 21) << i;
            t.answer(i % 2 == 0 ? RoceOp::ReadOnly : RoceOp::AtomicAcknowledge, psn(i), aeth::kAck,
                     i % 2 == 0 ? ConstBytes(value) : ConstBytes());
            EXPECT_EQ(status(t), Syndrome::Success);
        }
    }
    RoceOptions options;
    options.rc.ord = 0;
    ScriptBench t(options);
    t.post(t.a, send(t, 1));
    t.post(t.a, read(t, 8));
    EXPECT_EQ(t.all().size(), 1u);
    EXPECT_FALSE(status(t));
    t.ack(psn(0));
    EXPECT_EQ(status(t), Syndrome::Success);
    EXPECT_EQ(status(t), Syndrome::OrdExceeded);
}

// 58, 59.
TEST(RoceRequester, FenceAndLocalInvalidation) {
    ScriptBench t;
    t.post(t.a, read(t, 8));
    t.post(t.a, send(t, 1, kSignal | flag::kFence));
    EXPECT_EQ(t.all().size(), 1u);
    const Octets value(8, std::byte{1});
    t.answer(RoceOp::ReadOnly, psn(0), aeth::kAck, value);
    EXPECT_EQ(t.next().psn, psn(1));
    t.ack(psn(1));

    const uint64_t page = t.a.memory().allocate(4096);
    ASSERT_TRUE(t.a.guest->registerFast(50, t.a.memory().allocate(4096), 4).ok());
    const uint32_t stag = 50u << 8 | 1;
    t.post(t.a, regMrSqe(0, stag, 0x1000, 4096, 0x3C, {page}));
    t.post(t.a, writeSqe(Op::Write, kSignal, {{0x1000, 8, stag}}, 0x0B02, 0x7f0000002000));
    t.post(t.a, localInvSqe(kSignal, stag));
    t.post(t.a, send(t, 1));
    EXPECT_EQ(t.all().size(), 1u); // the Write
    while (status(t)) {
    }
    EXPECT_EQ(t.a.device->regions().check({stag, 1, 0x1000, 8, access::kLocalRead, erdma::Side::Kernel}),
              MrFault::None);
    t.ack(psn(2));
    EXPECT_EQ(status(t), Syndrome::Success);
    EXPECT_EQ(status(t), Syndrome::Success);
    EXPECT_NE(t.a.device->regions().check({stag, 1, 0x1000, 8, access::kLocalRead, erdma::Side::Kernel}),
              MrFault::None);
    EXPECT_EQ(t.next().psn, psn(3));
}

// 60.
TEST(RoceRequester, LocalErrorsComeInTheirOrder) {
    ScriptBench t;
    t.post(t.a, send(t, 1));
    t.post(t.a, sendSqe(Op::Send, 0, {t.a.sge(0, 2000), {t.a.iova, 8, 0xBAD00}}));
    t.post(t.a, send(t, 3));
    EXPECT_EQ(t.all().size(), 1u); // nothing of the bad one
    EXPECT_FALSE(status(t));
    t.ack(psn(0));
    EXPECT_EQ(status(t), Syndrome::Success);
    EXPECT_EQ(status(t), Syndrome::SendStag);
    EXPECT_EQ(status(t), Syndrome::Flushed);
    EXPECT_TRUE(t.quiet());
    EXPECT_TRUE(t.bench.events(t.a).empty());

    // Those before may fail first.
    ScriptBench u;
    u.post(u.a, send(u, 1));
    u.post(u.a, sendSqe(Op::Send, 0, {{u.a.iova, 8, 0xBAD00}}));
    u.answer(RoceOp::Acknowledge, psn(0), aeth::kAccess);
    EXPECT_EQ(status(u), Syndrome::RecvRights);
    EXPECT_EQ(status(u), Syndrome::Flushed);
}

// 6.1.
TEST(RoceRequester, WorkRequestsThatAreRefusedHere) {
    const auto refused = [](const std::function<SqeBytes(ScriptBench&)>& make, Syndrome want) {
        ScriptBench t;
        t.post(t.a, make(t));
        EXPECT_EQ(status(t), want);
        EXPECT_TRUE(t.quiet());
        EXPECT_TRUE(t.bench.events(t.a).empty());
    };
    refused([](auto& t) { return atomicSqe(Op::FetchAdd, 0, 1, 0, 1, 0x7f0000004004, t.a.sge(0, 8)); },
            Syndrome::RecvBounds);
    refused([](auto& t) { return atomicSqe(Op::FetchAdd, 0, 1, 0, 1, 0x7f0000004000, t.a.sge(0, 16)); },
            Syndrome::SendFormat);
    refused([](auto& t) { return readSqe(0, {t.a.iova, 0x80000001, t.a.stag}, 1, 0); }, Syndrome::SendFormat);
    refused([](auto& t) { return readSqe(0, {t.a.iova, 0x80000000, t.a.stag}, 1, 0); }, Syndrome::SendBounds);
}

// 61; chapter 9 item 14.
TEST(RoceRequester, ReadResponsesThatDoNotFit) {
    const Octets body(4096, std::byte{9});
    for (const size_t wrong : {0u, 4u, 1023u, 1025u, 1028u, 4096u}) {
        ScriptBench t;
        t.post(t.a, send(t, 1));
        t.post(t.a, read(t, 2500));
        t.answer(RoceOp::ReadFirst, psn(1), aeth::kAck, ConstBytes(body).first(wrong));
        EXPECT_EQ(status(t), Syndrome::Success) << wrong;
        EXPECT_EQ(status(t), Syndrome::General) << wrong;
        EXPECT_TRUE(t.bench.events(t.a).empty());
    }
    ScriptBench t;
    t.post(t.a, read(t, 10));
    ASSERT_TRUE(t.a.guest->deregister(t.a.stag >> 8).ok());
    t.answer(RoceOp::ReadOnly, psn(0), aeth::kAck, ConstBytes(body).first(10));
    EXPECT_EQ(status(t), Syndrome::SendStag);
    EXPECT_TRUE(t.bench.events(t.a).empty());
    EXPECT_EQ(t.all().size(), 1u); // and no NAK
}

// 62.
TEST(RoceRequester, ReadWithInvalidation) {
    ScriptBench t;
    const uint64_t page = t.a.memory().allocate(4096);
    ASSERT_TRUE(t.a.guest->registerFast(50, t.a.memory().allocate(4096), 4).ok());
    const uint32_t stag = 50u << 8 | 1;
    t.post(t.a, regMrSqe(0, stag, 0x1000, 4096, 0x3C, {page}));
    t.post(t.a, readSqe(kSignal, {0x1000, 8, stag}, 0x0B02, 0x7f0000002000, stag));
    EXPECT_EQ(t.next().op, RoceOp::ReadRequest);
    const Octets value(8, std::byte{1});
    t.answer(RoceOp::ReadOnly, psn(0), aeth::kAck, value);
    EXPECT_EQ(status(t), Syndrome::Success);
    EXPECT_EQ(t.a.memory().copy(page, 8), value);
    EXPECT_NE(t.a.device->regions().check({stag, 1, 0x1000, 8, access::kLocalRead, erdma::Side::Kernel}),
              MrFault::None);
}

// 63: nothing leaves before the connection may send, and nothing that comes is taken.
TEST(RoceRequester, StartsWhenItIsTold) {
    RoceOptions options;
    options.startA = false;
    ScriptBench t(options);
    t.post(t.a, send(t, 1));
    EXPECT_TRUE(t.quiet());
    t.ack(0);
    EXPECT_FALSE(status(t));
    t.nodes[0]->transport->start(kPsn);
    t.a.qp().resume();
    EXPECT_EQ(t.next().psn, kPsn);
    t.ack(kPsn);
    EXPECT_EQ(status(t), Syndrome::Success);
}

// 3.1: a long Read in parts, each of which the peer sees as a Read of its own.
TEST(RoceRequester, LongReadInParts) {
    for (const uint8_t ord : std::initializer_list<uint8_t>{1, 16}) {
        RoceOptions options;
        options.rc.ord = ord;
        ScriptBench t(options);
        constexpr uint32_t kPackets = 150;
        const Octets body(1024, std::byte{9});
        t.post(t.a, read(t, kPackets * 1024));
        t.post(t.a, send(t, 1));
        uint32_t asked = 0, served = 0;
        for (; served < kPackets; ++served) {
            for (const KeptPacket& p : t.all(30'000)) {
                if (asked == kPackets) {
                    EXPECT_EQ(p.packet.op, RoceOp::SendOnly);
                    EXPECT_EQ(p.packet.psn, psn(kPackets));
                    break;
                }
                ASSERT_EQ(p.packet.op, RoceOp::ReadRequest);
                EXPECT_EQ(p.packet.psn, psn(asked));
                EXPECT_EQ(p.packet.address, 0x7f0000002000u + asked * 1024);
                asked += p.packet.length / 1024;
                if (ord == 1) {
                    EXPECT_EQ(served, asked - p.packet.length / 1024);
                }
            }
            ASSERT_GT(asked, served);
            EXPECT_LE(asked - served, 128u);
            t.answer(RoceOp::ReadMiddle, psn(served), aeth::kAck, body);
        }
        EXPECT_EQ(asked, kPackets);
        EXPECT_EQ(status(t), Syndrome::Success);
        t.ack(psn(kPackets));
        EXPECT_EQ(status(t), Syndrome::Success);
    }
}

// The bound of kept packets holds, and a connection goes on within it.
TEST(RoceRequester, LittleMemory) {
    ScriptBench t;
    t.nodes[0]->kept.limit = 10 * 1024;
    t.post(t.a, send(t, 100 * 1024));
    uint32_t total = 0;
    while (total < 100) {
        const auto got = t.all();
        ASSERT_FALSE(got.empty());
        EXPECT_LE(got.size(), 11u);
        EXPECT_TRUE(got.back().packet.ackRequest);
        total += static_cast<uint32_t>(got.size());
        EXPECT_LE(t.nodes[0]->kept.used, 11u * 1024);
        t.ack(psn(total - 1));
    }
    EXPECT_EQ(status(t), Syndrome::Success);
    EXPECT_EQ(t.nodes[0]->kept.used, 0u);
}

} // namespace

} // namespace erdma::test
