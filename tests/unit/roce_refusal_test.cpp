// SPDX-License-Identifier: GPL-2.0-or-later
// What a reliable connection refuses of a peer that the test plays, and what hostile packets do to it: nothing (roce.md 4.4
// to 4.6, chapter 9; numbers in comments are items of 11.4).

#include <map>
#include <random>

#include "roce_script.h"

namespace erdma::test {

namespace {

constexpr uint32_t kPeerPsn = 0x123456;

using Events = std::vector<std::pair<AsyncEvent, uint32_t>>;

// Payload for whatever a test sends.
const Octets& octetsOf(size_t length) {
    static std::map<size_t, Octets> all;
    return all.try_emplace(length, Octets(length, std::byte{0x5A})).first->second;
}

struct Refused {
    uint8_t syndrome;                                // of the NAK
    AsyncEvent event;                                // AEQE
    std::optional<Syndrome> rqe = Syndrome::Flushed; // of the first receive buffer
    uint32_t before = 0;                             // packets in front of the culprit
};

// One receive buffer of 100 octets is posted; the last packet is the culprit.
void expectRefused(const Refused& want, const std::function<std::vector<RocePacket>(ScriptBench&)>& make,
                   const RcSetup& setup = {}, const std::function<void(ScriptBench&)>& prepare = nullptr) {
    RoceOptions options;
    options.rc = setup;
    ScriptBench t(options);
    if (prepare)
        prepare(t);
    if (want.rqe)
        t.a.recv(0x1000, 100);
    const Octets before = t.a.data(0, 1u << 20);
    t.post(t.a, sendSqe(Op::Send, 0, {}));
    t.all();
    t.inject(make(t));
    const auto got = t.all();
    ASSERT_FALSE(got.empty());
    EXPECT_EQ(got.back().packet.op, RoceOp::Acknowledge);
    EXPECT_EQ(got.back().packet.syndrome, want.syndrome);
    EXPECT_EQ(got.back().packet.psn, psnPlus(kPeerPsn, want.before));
    EXPECT_FALSE(t.alive());
    const auto events = t.bench.events(t.a);
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].first, want.event);
    if (want.rqe) {
        const std::optional<Cqe> cqe = t.a.received();
        ASSERT_TRUE(cqe);
        EXPECT_EQ(cqe->syndrome, static_cast<uint8_t>(*want.rqe));
    }
    const std::optional<Cqe> own = t.a.sent();
    ASSERT_TRUE(own);
    EXPECT_EQ(own->syndrome, static_cast<uint8_t>(Syndrome::Flushed));
    EXPECT_FALSE(t.a.sent() || t.a.received());
    EXPECT_EQ(t.a.data(0x1000 + 100, 4096), Octets(before.begin() + 0x1000 + 100, before.begin() + 0x1000 + 4196));
    t.inject(make(t)); // what comes afterwards meets silence
    EXPECT_TRUE(t.quiet(100 * kMs));
}

constexpr Refused kInvalid{aeth::kInvalidRequest, AsyncEvent::Other};
constexpr Refused kInvalidSecond{aeth::kInvalidRequest, AsyncEvent::Other, Syndrome::Flushed, 1};

RocePacket plain(RoceOp op, uint32_t packets, size_t length) {
    return ScriptBench::request(op, psnPlus(kPeerPsn, packets), octetsOf(length));
}
RocePacket reth(const ScriptBench& t, RoceOp op, uint32_t packets, uint32_t total, size_t length) {
    return t.toMemory(op, psnPlus(kPeerPsn, packets), 0x4000, total, octetsOf(length));
}

using Packets = std::vector<RocePacket>;

// 76: the order of packets.
TEST(RoceRefusal, OrderOfPackets) {
    for (const RoceOp op : {RoceOp::SendMiddle, RoceOp::SendLast, RoceOp::SendLastImm, RoceOp::SendLastInv,
                            RoceOp::WriteMiddle, RoceOp::WriteLast, RoceOp::WriteLastImm})
        expectRefused(kInvalid, [&](auto&) { return Packets{plain(op, 0, 8)}; });
    for (const RoceOp op : {RoceOp::SendFirst, RoceOp::SendOnly, RoceOp::WriteFirst, RoceOp::WriteOnly,
                            RoceOp::ReadRequest, RoceOp::FetchAdd, RoceOp::WriteMiddle, RoceOp::WriteLast})
        expectRefused({aeth::kInvalidRequest, AsyncEvent::Other, Syndrome::Flushed, 1}, [&](auto& t) {
            return Packets{reth(t, RoceOp::WriteFirst, 0, 1024, 256),
                           op == RoceOp::WriteMiddle || op == RoceOp::WriteLast
                               ? plain(op == RoceOp::WriteMiddle ? RoceOp::SendMiddle : RoceOp::SendLast, 1, 256)
                               : reth(t, op, 1, 256, carriesPayload(op) ? 256 : 0)};
        });
}

// 76: opcodes that are not there, and those that a queue pair's attributes do not admit (79).
TEST(RoceRefusal, OpcodesAndAccessFlags) {
    for (const uint8_t op : std::initializer_list<uint8_t>{0x15, 0x18, 0x1B, 0x1C, 0x1D, 0x1F})
        expectRefused(kInvalid, [&](auto&) { return Packets{plain(static_cast<RoceOp>(op), 0, 32)}; });
    RcSetup setup;
    setup.peerMayWrite = false;
    expectRefused(
        kInvalid, [](auto& t) { return Packets{reth(t, RoceOp::WriteOnly, 0, 8, 8)}; }, setup);
    setup = {};
    setup.peerMayRead = false;
    expectRefused(
        kInvalid, [](auto& t) { return Packets{reth(t, RoceOp::ReadRequest, 0, 8, 0)}; }, setup);
    setup = {};
    setup.peerMayAtomic = false;
    expectRefused(
        kInvalid, [](auto& t) { return Packets{reth(t, RoceOp::FetchAdd, 0, 0, 0)}; }, setup);
    setup = {};
    setup.ird = 0;
    expectRefused(
        kInvalid, [](auto& t) { return Packets{reth(t, RoceOp::ReadRequest, 0, 8, 0)}; }, setup);
}

// 76: lengths; chapter 9 items 8 and 11.
TEST(RoceRefusal, Lengths) {
    for (const size_t wrong : {0u, 4u, 255u, 260u, 1020u, 3072u, 4095u})
        expectRefused({aeth::kInvalidRequest, AsyncEvent::Other, Syndrome::Flushed},
                      [&](auto& t) { return Packets{reth(t, RoceOp::WriteFirst, 0, 100'000, wrong)}; });
    const auto second = [](RoceOp op, uint32_t total, size_t length) {
        expectRefused(kInvalidSecond, [&](auto& t) {
            return Packets{reth(t, RoceOp::WriteFirst, 0, total, 256), plain(op, 1, length)};
        });
    };
    second(RoceOp::WriteMiddle, 10'000, 512);
    second(RoceOp::WriteMiddle, 10'000, 252);
    second(RoceOp::WriteMiddle, 512, 256); // as much as was announced, and not the last
    second(RoceOp::WriteMiddle, 300, 256);
    second(RoceOp::WriteLast, 10'000, 0);
    second(RoceOp::WriteLast, 10'000, 257);
    second(RoceOp::WriteLast, 500, 243);
    second(RoceOp::WriteLast, 500, 245);
    for (const auto& [total, length] : {std::pair<uint32_t, size_t>{8, 7}, {8, 9}, {0, 1}, {0x80000001, 8}, {~0u, 8}})
        expectRefused(kInvalid, [&](auto& t) { return Packets{reth(t, RoceOp::WriteOnly, 0, total, length)}; });
    for (const uint32_t total : {0x80000001u, 0xFFFFFFFFu})
        expectRefused(kInvalid, [&](auto& t) { return Packets{reth(t, RoceOp::ReadRequest, 0, total, 0)}; });
    expectRefused(kInvalid, [&](auto& t) { return Packets{reth(t, RoceOp::WriteFirst, 0, 256, 256)}; });
}

// 75.
TEST(RoceRefusal, SendLongerThanItsBuffer) {
    const Refused tooLong{aeth::kInvalidRequest, AsyncEvent::Other, Syndrome::RecvBounds};
    expectRefused(tooLong, [](auto&) { return Packets{plain(RoceOp::SendOnly, 0, 101)}; });
    expectRefused(tooLong, [](auto&) { return Packets{plain(RoceOp::SendFirst, 0, 256)}; });
    // In several packets: the buffer holds the first one.
    RoceOptions options;
    ScriptBench t(options);
    t.a.recv(0x1000, 300);
    const Octets before = t.a.data(0x1000 + 300, 300);
    t.inject({plain(RoceOp::SendFirst, 0, 256), plain(RoceOp::SendLast, 1, 45)});
    EXPECT_EQ(t.next().syndrome, aeth::kInvalidRequest);
    EXPECT_EQ(t.a.received()->syndrome, static_cast<uint8_t>(Syndrome::RecvBounds));
    EXPECT_EQ(t.a.data(0x1000 + 300, 300), before);
}

// A message that breaks off costs its buffer.
TEST(RoceRefusal, InsideASend) {
    for (const RoceOp op : {RoceOp::SendOnly, RoceOp::WriteOnly, RoceOp::SendMiddle}) {
        ScriptBench t;
        t.a.recv(0x8000, 10'000);
        t.inject({plain(RoceOp::SendFirst, 0, 256), reth(t, op, 1, 8, 8)});
        EXPECT_EQ(t.next().syndrome, aeth::kInvalidRequest);
        EXPECT_EQ(t.a.received()->syndrome, static_cast<uint8_t>(Syndrome::General));
    }
}

// 77; chapter 9 item 8.
TEST(RoceRefusal, RemoteAccess) {
    const Refused access{aeth::kAccess, AsyncEvent::Access};
    const auto change = [](const std::function<void(ScriptBench&, RocePacket&)>& how) {
        return [how](RoceOp op) {
            return [how, op](ScriptBench& t) {
                RocePacket p = reth(t, op, 0, op == RoceOp::WriteFirst ? 300 : 8,
                                    op == RoceOp::WriteFirst ? 256
                                    : carriesPayload(op)     ? 8
                                                             : 0);
                how(t, p);
                return Packets{p};
            };
        };
    };
    const std::vector<std::function<void(ScriptBench&, RocePacket&)>> ways{
        [](auto&, auto& p) { p.rkey = 0x00FFFF00; },        // no such region
        [](auto&, auto& p) { p.rkey ^= 1; },                // key
        [](auto& t, auto& p) { p.address = t.a.iova - 8; }, // in front
        [](auto& t, auto& p) { p.address = t.a.iova + (1u << 20); },
        [](auto&, auto& p) { p.address = ~uint64_t{0} - 7; },
        [](auto&, auto& p) { p.rkey = kLocalDmaKey; },
    };
    for (const auto& way : ways)
        for (const RoceOp op : {RoceOp::WriteOnly, RoceOp::WriteFirst, RoceOp::ReadRequest, RoceOp::CompareSwap})
            expectRefused(access, change(way)(op));
    // The end of what was announced, before anything is placed.
    expectRefused(access, [](ScriptBench& t) {
        RocePacket p = reth(t, RoceOp::WriteFirst, 0, 300, 256);
        p.address = t.a.iova + (1u << 20) - 299;
        return Packets{p};
    });
    // Another PD, a right that is missing.
    const auto foreign = [](uint32_t rights, uint32_t pd, RoceOp op) {
        return std::pair<std::function<Packets(ScriptBench&)>, std::function<void(ScriptBench&)>>{
            [op](ScriptBench& t) {
                RocePacket p = reth(t, op, 0, 8, op == RoceOp::WriteOnly ? 8 : 0);
                p.rkey = 60u << 8;
                return Packets{p};
            },
            [rights, pd](ScriptBench& t) {
                ASSERT_TRUE(t.a.guest->registerMr(60, t.a.iova, t.a.bus, 1u << 20, rights, pd).ok());
            }};
    };
    for (const auto& [rights, pd, op] : {std::tuple{0x3Eu, 2u, RoceOp::WriteOnly},
                                         {0x3Eu, 2u, RoceOp::ReadRequest},
                                         {0x1Eu, 1u, RoceOp::WriteOnly},
                                         {0x2Eu, 1u, RoceOp::ReadRequest},
                                         {0x3Cu, 1u, RoceOp::FetchAdd}}) {
        const auto [make, prepare] = foreign(rights, pd, op);
        expectRefused(access, make, {}, prepare);
    }
    // With immediate there is a receive buffer in use.
    expectRefused({aeth::kAccess, AsyncEvent::Access, Syndrome::RecvRights}, [](ScriptBench& t) {
        RocePacket p = reth(t, RoceOp::WriteOnlyImm, 0, 8, 8);
        p.rkey ^= 1;
        return Packets{p};
    });
}

// 79.
TEST(RoceRefusal, MisalignedAtomic) {
    expectRefused(kInvalid, [](ScriptBench& t) {
        RocePacket p = reth(t, RoceOp::FetchAdd, 0, 0, 0);
        p.address += 4;
        return Packets{p};
    });
}

// 78, and memory that is not there.
TEST(RoceRefusal, ReceiveBufferThatCannotBeUsed) {
    for (const bool unreachable : {false, true}) {
        ScriptBench t;
        t.a.guest->postRecv(t.a.qpn, t.a.iova, 100, unreachable ? t.a.stag : 0xBAD00);
        if (unreachable)
            t.a.memory().block(t.a.bus);
        t.inject({plain(RoceOp::SendOnly, 0, 8)});
        const RocePacket nak = t.next();
        EXPECT_EQ(nak.syndrome, aeth::kOperation);
        EXPECT_EQ(nak.psn, kPeerPsn);
        EXPECT_EQ(t.a.received()->syndrome, static_cast<uint8_t>(unreachable ? Syndrome::General : Syndrome::RecvStag));
        const auto events = t.bench.events(t.a);
        ASSERT_EQ(events.size(), 1u);
        EXPECT_EQ(events[0].first, unreachable ? AsyncEvent::QpFatal : AsyncEvent::RecvQueue);
    }
}

// 89.
TEST(RoceRefusal, Invalidation) {
    ScriptBench t;
    const uint64_t page = t.a.memory().allocate(4096);
    ASSERT_TRUE(t.a.guest->registerFast(50, t.a.memory().allocate(4096), 4).ok());
    const uint32_t stag = 50u << 8 | 1;
    t.post(t.a, regMrSqe(0, stag, 0x1000, 4096, 0x3C, {page}));
    t.a.recv(0x1000, 100);
    t.a.recv(0x1000, 100);
    RocePacket p = plain(RoceOp::SendOnlyInv, 0, 4);
    p.invalidate = stag;
    t.inject({p});
    EXPECT_EQ(t.next().syndrome, aeth::kAck);
    const std::optional<Cqe> cqe = t.a.received();
    ASSERT_TRUE(cqe);
    EXPECT_EQ(cqe->opcode, static_cast<uint8_t>(Op::RecvSendInv));
    EXPECT_EQ(cqe->invalidated, stag);
    EXPECT_NE(t.a.device->regions().check({stag, 1, 0x1000, 8, access::kLocalRead, erdma::Side::Kernel}),
              MrFault::None);
    // Chapter 9 item 12: a region that is none of these, the local DMA key.
    for (const auto& key : {std::optional<uint32_t>(), std::optional<uint32_t>(kLocalDmaKey)})
        expectRefused({aeth::kAccess, AsyncEvent::Access, Syndrome::RecvStag}, [&](ScriptBench& u) {
            RocePacket q = plain(RoceOp::SendOnlyInv, 0, 4);
            q.invalidate = key.value_or(u.a.stag);
            return Packets{q};
        });
}

// 4.7, chapter 9 item 9: too many Reads at once.
TEST(RoceRefusal, MoreReadsThanAdmitted) {
    for (const uint32_t reads : {4u, 5u}) {
        RoceOptions options;
        options.rc.ird = 4;
        ScriptBench t(options);
        Packets packets;
        for (uint32_t i = 0; i < reads; ++i)
            packets.push_back(t.toMemory(RoceOp::ReadRequest, psnPlus(kPeerPsn, 1000 * i), 0, 1000 * 1024));
        for (RocePacket p : packets) {
            p.destinationQpn = t.a.qpn;
            Octets frame;
            buildRoceFrame(routeOfFrames(true), p, 1, frame);
            t.a.device->frame(ERDMA_TO_GUEST, frame, {});
        }
        t.a.device->framesEnd();
        const auto got = t.all();
        EXPECT_EQ(t.alive(), reads == 4);
        EXPECT_EQ(got.size(), reads == 4 ? 4000u : 4001u);
        if (reads == 5) {
            EXPECT_EQ(got.back().packet.syndrome, aeth::kInvalidRequest);
        }
    }
}

// 4.6: a region that goes away while a Read is answered.
TEST(RoceRefusal, RegionGoesDuringARead) {
    RoceOptions options;
    options.bench.bufferBytes = 8u << 20;
    ScriptBench t(options);
    RocePacket read = t.toMemory(RoceOp::ReadRequest, kPeerPsn, 0, 8000 * 1024);
    read.destinationQpn = t.a.qpn;
    Octets frame;
    buildRoceFrame(routeOfFrames(true), read, 1, frame);
    t.a.device->frame(ERDMA_TO_GUEST, frame, {});
    ASSERT_TRUE(t.a.guest->deregister(t.a.stag >> 8).ok());
    const auto got = t.all();
    EXPECT_LT(got.size(), 8000u);
    for (const KeptPacket& p : got)
        EXPECT_NE(p.packet.op, RoceOp::Acknowledge);
    EXPECT_FALSE(t.alive());
    EXPECT_EQ(t.bench.events(t.a), (Events{{AsyncEvent::QpFatal, aeth::kAccess}}));
}

// Chapter 9 item 28: anything behind a right ICRC, in any order.
TEST(RoceRefusal, RandomPackets) {
    std::mt19937 random(11);
    unsigned ended = 0;
    for (unsigned seed = 0; seed < 60; ++seed) {
        RoceOptions options;
        options.rc.timeoutCode = 8;
        ScriptBench t(options);
        for (unsigned i = 0; i < 16; ++i)
            t.a.recv(0x1000, 5000);
        for (unsigned i = 0; i < 8; ++i)
            t.post(t.a, i % 2 == 0 ? script::send(t, 3000) : script::read(t, 9000));
        const Octets before = t.a.memory().copy(t.a.bus - 4096, 4096);
        uint32_t next = kPeerPsn;
        for (unsigned i = 0; i < 400 && t.alive(); ++i) {
            RocePacket p = t.request(static_cast<RoceOp>(random() % 0x18), next, octetsOf(random() % 5 * 256));
            if (!carriesPayload(p.op))
                p.payload = {};
            p.address = t.a.iova + random() % 2000;
            p.rkey = random() % 8 == 0 ? static_cast<uint32_t>(random()) : t.a.stag;
            p.length = random() % 2 == 0 ? static_cast<uint32_t>(p.payload.size()) : static_cast<uint32_t>(random());
            if (isResponse(p.op)) {
                p.psn = psnPlus(script::kPsn, random() % 40);
                p.syndrome = random() % 3 == 0 ? static_cast<uint8_t>(random()) : aeth::kAck;
            } else if (random() % 4 == 0) {
                p.psn = psnPlus(next, random() % 64 - 32);
            }
            t.inject({p});
            if (t.alive())
                next = t.nodes[0]->transport->receivePsn();
            t.runFor(kMs / 100);
        }
        ended += t.alive() ? 0 : 1;
        EXPECT_EQ(t.a.memory().copy(t.a.bus - 4096, 4096), before);
        t.bench.stop(t.a);
        EXPECT_EQ(t.nodes[0]->kept.used, 0u);
    }
    EXPECT_GT(ended, 10u);
}

} // namespace

} // namespace erdma::test
