// SPDX-License-Identifier: GPL-2.0-or-later
// How a reliable connection answers a peer that the test plays: order, duplicates, execution, refusals (roce.md chapter 4;
// numbers in comments are items of 11.4).

#include "roce_script.h"

namespace erdma::test {

namespace {

constexpr uint32_t kPeerPsn = 0x123456; // of the peer's first packet

uint32_t at(uint32_t packets) { return psnPlus(kPeerPsn, packets); }

Octets body(size_t length, uint8_t seed = 1) {
    Octets out(length);
    for (size_t i = 0; i < length; ++i)
        out[i] = static_cast<std::byte>(seed + i);
    return out;
}

struct Said {
    RoceOp op;
    uint32_t psn;
    uint8_t syndrome;
    uint32_t msn;
    bool operator==(const Said&) const = default;
};

std::vector<Said> said(ScriptBench& t) {
    std::vector<Said> out;
    for (const KeptPacket& p : t.all())
        out.push_back({p.packet.op, p.packet.psn, p.packet.syndrome, p.packet.msn});
    return out;
}

using Saids = std::vector<Said>;

Said ackOf(uint32_t psn, uint32_t msn) { return {RoceOp::Acknowledge, psn, aeth::kAck, msn}; }
Said nakOf(uint8_t syndrome, uint32_t psn, uint32_t msn) { return {RoceOp::Acknowledge, psn, syndrome, msn}; }

// 65, 80, 85, 86, 91: packets of any path MTU; only what asks for it is acknowledged, a batch at once.
TEST(RoceResponder, SendsOfAnyPathMtu) {
    ScriptBench t;
    uint32_t n = 0, msn = 0;
    for (const size_t size : {256u, 512u, 1024u, 2048u, 4096u}) {
        const Octets one = body(size), last = body(10, 7);
        t.a.recv(0x1000, 10'000);
        t.inject({t.request(RoceOp::SendFirst, at(n), one, false), t.request(RoceOp::SendMiddle, at(n + 1), one, false),
                  t.request(RoceOp::SendLastImm, at(n + 2), last)});
        n += 3;
        EXPECT_EQ(said(t), (Saids{ackOf(at(n - 1), ++msn)}));
        const std::optional<Cqe> cqe = t.a.received();
        ASSERT_TRUE(cqe);
        EXPECT_EQ(cqe->bytes, 2 * size + 10);
        EXPECT_EQ(cqe->opcode, static_cast<uint8_t>(Op::RecvSendImm));
        EXPECT_EQ(t.a.data(0x1000 + size, size), one);
        EXPECT_EQ(t.a.data(0x1000 + 2 * size, 10), last);
    }
    t.a.recv(0x1000, 10);
    t.a.recv(0x1000, 10);
    t.inject({t.request(RoceOp::SendOnly, at(n), body(4), false)});
    EXPECT_EQ(said(t), Saids{});
    t.inject(
        {t.request(RoceOp::SendOnly, at(n + 1), body(4)), t.toMemory(RoceOp::WriteOnly, at(n + 2), 0x100, 4, body(4))});
    EXPECT_EQ(said(t), (Saids{ackOf(at(n + 2), msn + 3)}));
    EXPECT_EQ(t.nodes[0]->transport->receivePsn(), at(n + 3));
}

// 66, 67.
TEST(RoceResponder, OneNakForAGap) {
    ScriptBench t;
    for (unsigned i = 0; i < 4; ++i)
        t.a.recv(0x1000, 100);
    for (uint32_t i = 1; i <= 100; ++i)
        t.inject({t.request(RoceOp::SendOnly, at(i), body(4))});
    EXPECT_EQ(said(t), (Saids{nakOf(aeth::kSequence, at(0), 0)}));
    t.inject({t.request(RoceOp::SendOnly, at(0), body(4)), t.request(RoceOp::SendOnly, at(1), body(4))});
    EXPECT_EQ(said(t), (Saids{ackOf(at(1), 2)}));
    t.inject({t.request(RoceOp::SendOnly, at(3), body(4))});
    EXPECT_EQ(said(t), (Saids{nakOf(aeth::kSequence, at(2), 2)}));
    t.inject({t.request(RoceOp::SendOnly, psnPlus(at(2), 0x7FFFFF), body(4))}); // chapter 9 item 7
    t.inject({t.request(RoceOp::SendOnly, psnPlus(at(2), 0x800000), body(4))});
    t.inject({t.request(RoceOp::SendOnly, at(2), body(4))});
    // The one that is half the numbers away counts as a duplicate: its answer concerns nobody.
    const Saids got = said(t);
    ASSERT_EQ(got.size(), 2u);
    EXPECT_EQ(got[1], ackOf(at(2), 3));
}

// 68, 69.
TEST(RoceResponder, DuplicatesAreNotExecuted) {
    ScriptBench t;
    t.a.recv(0x1000, 100);
    t.a.recv(0x2000, 100);
    t.inject({t.request(RoceOp::SendOnly, at(0), body(4)), t.toMemory(RoceOp::WriteOnly, at(1), 0x100, 4, body(4)),
              t.toMemory(RoceOp::WriteOnly, at(2), 0x200, 4, body(4))});
    EXPECT_EQ(said(t), (Saids{ackOf(at(2), 3)}));
    ASSERT_TRUE(t.a.received());
    t.a.memory().fill(t.a.bus + 0x100, 4, 0x99);
    t.inject({t.request(RoceOp::SendOnly, at(0), body(4))});
    EXPECT_EQ(said(t), (Saids{ackOf(at(0), 3)}));
    t.inject({t.request(RoceOp::SendOnly, at(0), body(4), false)});
    EXPECT_EQ(said(t), Saids{});
    t.inject({t.toMemory(RoceOp::WriteOnly, at(1), 0x100, 4, body(4))});
    EXPECT_EQ(said(t), (Saids{ackOf(at(1), 3)}));
    EXPECT_EQ(t.a.data(0x100, 4), body(4, 0x99));
    EXPECT_FALSE(t.a.received());
    const Octets four = body(4);
    const std::vector<RocePacket> flood(1000, t.request(RoceOp::SendOnly, at(0), four));
    t.inject(flood);
    EXPECT_EQ(said(t).size(), 1u);
}

// 70, 82, and 4.9.
TEST(RoceResponder, ReadsAndTheirDuplicates) {
    ScriptBench t;
    t.a.memory().fill(t.a.bus + 0x100, 2500, 1);
    const RocePacket read = t.toMemory(RoceOp::ReadRequest, at(0), 0x100, 2500);
    t.inject({read});
    auto got = t.all();
    ASSERT_EQ(got.size(), 3u);
    const std::array<RoceOp, 3> train{RoceOp::ReadFirst, RoceOp::ReadMiddle, RoceOp::ReadLast};
    for (uint32_t i = 0; i < 3; ++i) {
        EXPECT_EQ(got[i].packet.op, train[i]);
        EXPECT_EQ(got[i].packet.psn, at(i));
        EXPECT_EQ(got[i].payload, t.a.data(0x100 + i * 1024, i == 2 ? 452 : 1024));
        EXPECT_FALSE(got[i].packet.ackRequest || got[i].packet.solicited);
    }
    EXPECT_EQ(got[0].packet.msn, 1u);
    t.a.memory().fill(t.a.bus + 0x100, 2500, 77);
    t.inject({read});
    got = t.all();
    ASSERT_EQ(got.size(), 3u);
    EXPECT_EQ(got[0].payload, t.a.data(0x100, 1024));
    EXPECT_EQ(got[0].packet.msn, 1u);

    t.inject({t.toMemory(RoceOp::ReadRequest, at(1), 0x100 + 1024, 1476)}); // a part
    EXPECT_EQ(said(t), (Saids{{RoceOp::ReadFirst, at(1), aeth::kAck, 1}, {RoceOp::ReadLast, at(2), aeth::kAck, 1}}));
    t.inject({t.toMemory(RoceOp::ReadRequest, at(2), 0x100 + 2048, 452)});
    EXPECT_EQ(said(t), (Saids{{RoceOp::ReadOnly, at(2), aeth::kAck, 1}}));
    t.inject({t.toMemory(RoceOp::ReadRequest, at(2), 0x100 + 2048, 1025)}); // beyond what was asked for
    EXPECT_EQ(said(t), Saids{});
    EXPECT_TRUE(t.alive());
}

// 71, 82: what falls due during a train waits for its end.
TEST(RoceResponder, TrainIsRestartedAndNotInterrupted) {
    RoceOptions options;
    options.bench.bufferBytes = 8u << 20;
    ScriptBench t(options);
    constexpr uint32_t kPackets = 4000; // more than one run may send
    const RocePacket read = t.toMemory(RoceOp::ReadRequest, at(1), 0, kPackets * 1024);
    const Octets four = body(4);
    const RocePacket packet = t.toMemory(RoceOp::WriteOnly, at(0), 0x100, 4, four);
    const auto feed = [&](RocePacket p) { // without letting anything else happen
        p.destinationQpn = t.a.qpn;
        Octets frame;
        buildRoceFrame(routeOfFrames(true), p, 1, frame);
        t.a.device->frame(ERDMA_TO_GUEST, frame, {});
        t.a.device->framesEnd();
    };
    feed(packet);
    feed(read);
    const uint64_t begun = t.nodes[0]->sentFrames;
    ASSERT_LT(begun, kPackets);
    feed(packet); // duplicate
    feed(t.toMemory(RoceOp::WriteOnly, at(1 + kPackets), 0x200, 4, body(4)));
    feed(t.request(RoceOp::SendOnly, at(5 + kPackets), body(4))); // behind a gap
    feed(t.toMemory(RoceOp::ReadRequest, at(11), 10 * 1024, (kPackets - 10) * 1024));
    t.settle();
    const Saids got = said(t);
    ASSERT_GT(got.size(), kPackets);
    EXPECT_EQ(got[0], ackOf(at(0), 1)); // 81
    EXPECT_EQ(got[1].op, RoceOp::ReadFirst);
    size_t i = 2;
    while (i < got.size() && got[i].op == RoceOp::ReadMiddle)
        ++i;
    ASSERT_LT(i, got.size());
    EXPECT_EQ(got[i], (Said{RoceOp::ReadFirst, at(11), aeth::kAck, 2})); // begins anew
    EXPECT_LT(i, kPackets);
    for (uint32_t n = 12; ++i < got.size() && got[i].op == RoceOp::ReadMiddle; ++n)
        EXPECT_EQ(got[i].psn, at(n));
    ASSERT_EQ(got.size() - i, 2u);
    EXPECT_EQ(got[i], (Said{RoceOp::ReadLast, at(kPackets), aeth::kAck, 2}));
    EXPECT_EQ(got[i + 1], nakOf(aeth::kSequence, at(2 + kPackets), 3));
}

// The peer goes back to the first of several Reads.
TEST(RoceResponder, ReadsAreAskedAgain) {
    ScriptBench t;
    std::vector<RocePacket> reads;
    for (uint32_t i = 0; i < 3; ++i)
        reads.push_back(t.toMemory(RoceOp::ReadRequest, at(2 * i), 0, 2048));
    t.inject(reads);
    const auto first = said(t);
    ASSERT_EQ(first.size(), 6u);
    for (uint32_t i = 0; i < 6; ++i)
        EXPECT_EQ(first[i].psn, at(i));
    t.inject(reads);
    const auto second = said(t);
    ASSERT_EQ(second.size(), 6u);
    for (uint32_t i = 0; i < 6; ++i)
        EXPECT_EQ(second[i].psn, at(i));
}

// 72, 90; chapter 9 item 10.
TEST(RoceResponder, AtomicsAreExecutedOnce) {
    RoceOptions options;
    options.rc.ird = 2;
    ScriptBench t(options);
    const uint64_t offset = 0xFF0;
    t.a.memory().put64(t.a.bus + offset, 5);
    const auto add = [&](uint32_t psn, uint64_t value) {
        RocePacket packet = t.toMemory(RoceOp::FetchAdd, psn, offset, 0);
        packet.operand = value;
        return packet;
    };
    const auto original = [&] {
        const auto got = t.all();
        return got.size() == 1 && got[0].packet.op == RoceOp::AtomicAcknowledge
                   ? std::optional(std::pair(got[0].packet.psn, got[0].packet.original))
                   : std::nullopt;
    };
    t.inject({add(at(0), 3)});
    EXPECT_EQ(original(), std::pair(at(0), uint64_t{5}));
    t.inject({add(at(0), 3)});
    EXPECT_EQ(original(), std::pair(at(0), uint64_t{5}));
    t.inject({add(at(0), 1000)});
    EXPECT_EQ(original(), std::pair(at(0), uint64_t{5}));
    EXPECT_EQ(t.a.memory().get64(t.a.bus + offset), 8u);
    RocePacket swap = t.toMemory(RoceOp::CompareSwap, at(1), offset, 0);
    swap.operand = 100;
    swap.compare = 8;
    t.inject({swap});
    EXPECT_EQ(original(), std::pair(at(1), uint64_t{8}));
    t.inject({add(at(1), 1)}); // another operation
    EXPECT_FALSE(original());
    t.inject({add(at(2), 1)});
    EXPECT_EQ(original(), std::pair(at(2), uint64_t{100}));
    t.inject({add(at(0), 3)}); // no longer known
    EXPECT_FALSE(original());
    EXPECT_EQ(t.a.memory().get64(t.a.bus + offset), 101u);
    EXPECT_EQ(t.nodes[0]->transport->receivePsn(), at(3));
}

// 73.
TEST(RoceResponder, NotReady) {
    RoceOptions options;
    options.rc.rnrTimerCode = 9;
    ScriptBench t(options);
    const Octets octets = body(256);
    const std::vector<RocePacket> three{t.toMemory(RoceOp::WriteOnly, at(0), 0x100, 4, ConstBytes(octets).first(4)),
                                        t.request(RoceOp::SendFirst, at(1), ConstBytes(octets).first(256), false),
                                        t.request(RoceOp::SendLast, at(2), ConstBytes(octets).first(5)),
                                        t.request(RoceOp::SendOnly, at(3), ConstBytes(octets).first(6))};
    t.inject(three);
    EXPECT_EQ(said(t), (Saids{nakOf(aeth::kRnr | 9, at(1), 1)}));
    t.inject({three[1]});
    EXPECT_EQ(said(t), (Saids{nakOf(aeth::kRnr | 9, at(1), 1)}));
    t.inject({three[2]});
    EXPECT_EQ(said(t), Saids{});
    t.a.recv(0x1000, 1000);
    t.a.recv(0x2000, 1000);
    EXPECT_EQ(said(t), Saids{});
    t.inject({three[1], three[2], three[3]});
    EXPECT_EQ(said(t), (Saids{ackOf(at(3), 3)}));
    EXPECT_EQ(t.a.received()->bytes, 261u);
    EXPECT_EQ(t.a.received()->bytes, 6u);
    EXPECT_EQ(t.a.count(Counter::RcRnrNaksOut), 2u);
}

// 74, 88, 92.
TEST(RoceResponder, WriteWithImmediateIsNotReady) {
    ScriptBench t;
    const Octets octets = body(256);
    const RocePacket first = t.toMemory(RoceOp::WriteFirst, at(0), 0x100, 261, octets);
    RocePacket last = t.request(RoceOp::WriteLastImm, at(1), ConstBytes(octets).first(5));
    last.immediate = 0x01020304;
    last.solicited = true;
    const Octets before = t.a.data(0x200, 5);
    t.inject({first, last});
    EXPECT_EQ(said(t), (Saids{nakOf(aeth::kRnr | 12, at(1), 0)}));
    EXPECT_EQ(t.a.data(0x200, 5), before);
    t.a.recv(0x1000, 0);
    t.inject({last});
    EXPECT_EQ(said(t), (Saids{ackOf(at(1), 1)}));
    const std::optional<Cqe> cqe = t.a.received();
    ASSERT_TRUE(cqe);
    EXPECT_EQ(cqe->opcode, static_cast<uint8_t>(Op::RecvWriteImm));
    EXPECT_EQ(cqe->bytes, 261u);
    EXPECT_EQ(cqe->immediate, 0x01020304u);
    EXPECT_EQ(t.a.data(0x100, 256), body(256));
    EXPECT_EQ(t.a.data(0x200, 5), body(5));
}

// 84, 87: in order, and requests behind a Read wait for it.
TEST(RoceResponder, ExecutesInOrder) {
    ScriptBench t;
    t.a.memory().fill(t.a.bus + 0x100, 3000, 1);
    const Octets before = t.a.data(0x100, 3000), after = body(256, 99);
    t.inject({t.toMemory(RoceOp::WriteOnly, at(0), 0x100, 256, body(256, 55)),
              t.toMemory(RoceOp::ReadRequest, at(1), 0x100, 3000),
              t.toMemory(RoceOp::WriteOnly, at(4), 0x100, 256, after)});
    const auto got = t.all();
    ASSERT_EQ(got.size(), 5u);
    EXPECT_EQ(got[0].packet.psn, at(0)); // 81, 83
    EXPECT_EQ(got[0].packet.op, RoceOp::Acknowledge);
    EXPECT_EQ(ConstBytes(got[1].payload).first(256)[0], std::byte{55});
    EXPECT_TRUE(std::equal(before.begin() + 256, before.begin() + 1024, got[1].payload.begin() + 256));
    EXPECT_EQ(got[4].packet.psn, at(4));
    EXPECT_EQ(got[4].packet.msn, 3u);
    EXPECT_EQ(t.a.data(0x100, 256), after);
}

// 85: 24 bits.
TEST(RoceResponder, MessageNumberAndPsnWrap) {
    RoceOptions options;
    options.psnB = 0xFFFFFF;
    ScriptBench t(options);
    t.inject({t.toMemory(RoceOp::WriteOnly, 0xFFFFFF, 0x100, 4, body(4)), t.toMemory(RoceOp::ReadRequest, 0, 0x100, 4),
              t.toMemory(RoceOp::WriteOnly, 1, 0x100, 4, body(4))});
    EXPECT_EQ(said(t), (Saids{ackOf(0xFFFFFF, 1), {RoceOp::ReadOnly, 0, aeth::kAck, 2}, ackOf(1, 3)}));
}

} // namespace

} // namespace erdma::test
