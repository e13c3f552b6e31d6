// SPDX-License-Identifier: GPL-2.0-or-later
// UD and GSI queue pairs, and packets to the adapter itself: adapter.md 13.4, roce.md 2.13, chapter 5, 11.5.
#include <gtest/gtest.h>

#include "roce_device_bench.h"

namespace erdma::test {
namespace {

constexpr uint32_t kQpn = 0x14, kQkey = 0x11111111;

RocePacket readAll(ConstBytes frame, RoceRoute& route) {
    RocePacket packet;
    const auto datagram = findRoceDatagram(frame);
    EXPECT_TRUE(datagram);
    if (datagram) {
        EXPECT_EQ(readRocePacket(*datagram, packet), RoceVerdict::Good);
        route = datagram->route;
    }
    return packet;
}

RocePacket datagramTo(uint32_t qpn, uint32_t qkey, ConstBytes payload) {
    RocePacket packet;
    packet.op = RoceOp::UdSend;
    packet.destinationQpn = qpn;
    packet.qkey = qkey;
    packet.sourceQpn = 0x876543;
    packet.payload = payload;
    return packet;
}

// Words of the entry that Guest::pollCq() does not tell.
uint32_t wordOf(RoceMachine& m, uint32_t cqn, uint32_t index, size_t at) {
    return loadBe32(m.memory().copy(m.guest.cq(cqn).address + index * 32 + at, 4), 0);
}

// Numbers 9 (D10), 16 and 97.
TEST(RoceUd, SendsWhatTheHandleSays) {
    erdma_config config = roceConfig();
    std::copy(kMacA.begin(), kMacA.end(), config.mac);
    RoceMachine m(config);
    m.openUd(kQpn, kQkey);
    const auto d10 = octets(frame::kD10);
    ASSERT_TRUE(m.setGid(4, gidAt(d10, 22)).ok());
    RoceRoute to;
    to.destination = kMacB;
    to.ipv6 = true;
    to.destinationGid = gidAt(d10, 38);
    to.hopLimit = 0; // means 64
    to.udpPort = 0xC005;
    ASSERT_TRUE(m.createAh(5, to, 1, 4).ok());
    m.memory().write(m.buffer, octets("70 69 6e 67"));
    m.post(kQpn, udSqe(Op::Send, flag::kSignal, {m.sge(0, 4)}, kQkey, 0x13, 5));
    ASSERT_EQ(m.wire.size(), 1u);
    EXPECT_EQ(m.wire[0], d10);
    const auto cqe = m.guest.pollCq(1);
    ASSERT_TRUE(cqe);
    EXPECT_EQ(cqe->syndrome, 0u);
    EXPECT_EQ(cqe->opcode, 2u);

    // Class, label, immediate, pad, solicited; the next PSN.
    to.trafficClass = 0xB9;
    to.flowLabel = 0x3A478;
    to.hopLimit = 1;
    ASSERT_TRUE(m.createAh(5, to, 1, 4).ok());
    m.post(kQpn, udSqe(Op::SendImm, flag::kSolicited, {m.sge(0, 3)}, 0x80010000, 0xABCDE1, 5, 0xDEADBEEF));
    RoceRoute route;
    const RocePacket packet = readAll(m.wire.at(1), route);
    EXPECT_EQ(packet.op, RoceOp::UdSendImm);
    EXPECT_EQ(packet.immediate, 0xDEADBEEFu);
    EXPECT_EQ(packet.destinationQpn, 0xABCDE1u);
    EXPECT_EQ(packet.sourceQpn, kQpn);
    EXPECT_EQ(packet.qkey, 0x80010000u);
    EXPECT_EQ(packet.psn, 8u);
    EXPECT_EQ(packet.pad, 1u);
    EXPECT_TRUE(packet.solicited);
    EXPECT_FALSE(packet.ackRequest);
    EXPECT_EQ(route.trafficClass, 0xB9);
    EXPECT_EQ(route.flowLabel, 0x3A478u);
    EXPECT_EQ(route.hopLimit, 1);
    EXPECT_EQ(m.query(kQpn).sendPsn, 9u);
}

// Number 95.
TEST(RoceUd, ReceivesTheHeaderBeforeThePayload) {
    RoceMachine m;
    m.openUd(kGsiQpn, kGsiQkey);
    const std::vector<std::byte> mad(256, std::byte{0x77});
    m.recv(kGsiQpn, 0, 512);
    RocePacket packet = datagramTo(kGsiQpn, kGsiQkey, mad);
    packet.sourceQpn = 1;
    std::vector<std::byte> frame;
    buildRoceFrame(routeOfFrames(), packet, 1, frame);
    EXPECT_EQ(frame.size(), 322u);
    EXPECT_TRUE(m.give(frame));
    auto cqe = m.guest.pollCq(2);
    ASSERT_TRUE(cqe);
    EXPECT_EQ(cqe->opcode, 4u);
    EXPECT_EQ(cqe->bytes, 296u);
    EXPECT_EQ(cqe->qpn, kGsiQpn);
    EXPECT_EQ(wordOf(m, 2, 0, 20), 1u);
    EXPECT_EQ(wordOf(m, 2, 0, 24), 0u);
    EXPECT_EQ(wordOf(m, 2, 0, 28), 1u);
    EXPECT_EQ(m.memory().copy(m.buffer, 20), std::vector<std::byte>(20));
    EXPECT_EQ(m.memory().copy(m.buffer + 20, 20), std::vector<std::byte>(frame.begin() + 14, frame.begin() + 34));
    EXPECT_EQ(m.memory().copy(m.buffer + 40, 256), mad);

    // IPv6, in a VLAN, with immediate.
    const auto d10 = octets(frame::kD10);
    ASSERT_TRUE(m.setGid(4, gidAt(d10, 38), 1u << 17 | 5u << 18).ok());
    RoceRoute route = findRoceDatagram(d10)->route;
    route.vlan = 3u << 13 | 5;
    packet.op = RoceOp::UdSendImm;
    packet.immediate = 0xDEADBEEF;
    packet.sourceQpn = 0x876543;
    packet.payload = {};
    m.recv(kGsiQpn, 0, 40);
    EXPECT_TRUE(m.give(route, packet));
    cqe = m.guest.pollCq(2);
    ASSERT_TRUE(cqe);
    EXPECT_EQ(cqe->opcode, 12u);
    EXPECT_EQ(cqe->bytes, 40u);
    EXPECT_EQ(cqe->immediate, 0xDEADBEEFu);
    EXPECT_EQ(wordOf(m, 2, 1, 20), 0x876543u);
    EXPECT_EQ(wordOf(m, 2, 1, 24), 1u << 12 | 5u);
    EXPECT_EQ(wordOf(m, 2, 1, 28), 1u << 31 | 3u << 20 | 0x76543u);
    EXPECT_EQ(m.memory().copy(m.buffer + 8, 16), std::vector<std::byte>(d10.begin() + 22, d10.begin() + 38));
}

// Number 96.
TEST(RoceUd, KeysMustFit) {
    RoceMachine m;
    m.openUd(kGsiQpn, kGsiQkey);
    m.openUd(kQpn, kQkey);
    for (const uint32_t qpn : {kGsiQpn, kQpn})
        m.recv(qpn, 0, 512);
    EXPECT_TRUE(m.give(routeOfFrames(), datagramTo(kGsiQpn, kGsiQkey + 1, {})));
    EXPECT_TRUE(m.give(routeOfFrames(), datagramTo(kQpn, kQkey + 1, {})));
    EXPECT_EQ(m.count(Counter::RoceBadQkey), 2u);
    RocePacket packet = datagramTo(kQpn, kQkey, {});
    packet.pkey = 0x1234;
    EXPECT_TRUE(m.give(routeOfFrames(), packet));
    EXPECT_EQ(m.count(Counter::RoceBadPkey), 1u);
    EXPECT_FALSE(m.guest.pollCq(2));
    packet.pkey = 0x7FFF;
    EXPECT_TRUE(m.give(routeOfFrames(), packet));
    EXPECT_TRUE(m.guest.pollCq(2));
    EXPECT_TRUE(m.modify(kQpn, kRts, attr::kQkey, Request().u32(20, 99)).ok());
    EXPECT_TRUE(m.give(routeOfFrames(), packet));
    EXPECT_EQ(m.count(Counter::RoceBadQkey), 3u);
    EXPECT_TRUE(m.wire.empty()); // nothing is ever answered
}

// The GSI queue pair that is not told a Q_Key has its own; others have 0 (1.7).
TEST(RoceUd, UsualKeys) {
    RoceMachine m;
    for (const uint32_t qpn : {kGsiQpn, kQpn}) {
        ASSERT_TRUE(m.createQp(qpn, kTypeUd).ok());
        EXPECT_TRUE(m.give(routeOfFrames(), datagramTo(qpn, 0, {})));
        ASSERT_TRUE(m.modify(qpn, kInit).ok());
        EXPECT_TRUE(m.give(routeOfFrames(), datagramTo(qpn, 0, {})));
        ASSERT_TRUE(m.modify(qpn, kRtr).ok());
        EXPECT_EQ(m.roce->find(qpn)->qkey(), qpn == kGsiQpn ? kGsiQkey : 0u);
    }
    EXPECT_EQ(m.count(Counter::RoceWrongState), 4u);
}

// Number 98.
TEST(RoceUd, AFailedSendStopsSendingOnly) {
    enum { kForeign, kUnknown, kGone, kBadKey, kOpcode };
    for (const int why : {kForeign, kUnknown, kGone, kBadKey, kOpcode}) {
        RoceMachine m;
        m.openUd(kQpn, kQkey);
        const RoceRoute to = routeOfFrames(true);
        ASSERT_TRUE(m.createAh(1, to).ok());
        ASSERT_TRUE(m.createAh(2, to, why == kForeign ? 2 : 1, why == kGone ? 9 : 1).ok());
        const uint32_t ah = why == kUnknown ? 3u : 2u;
        const Sge sge = why == kBadKey ? Sge{m.buffer, 8, 0xBAD00} : m.sge(0, 8);
        m.post(kQpn, udSqe(Op::Send, flag::kSignal, {m.sge(0, 8)}, kQkey, 1, 1));
        m.put(kQpn, udSqe(why == kOpcode ? Op::SendInv : Op::Send, 0, {sge}, kQkey, 1, ah));
        m.put(kQpn, udSqe(Op::Send, 0, {m.sge(0, 8)}, kQkey, 1, 1));
        m.guest.ringSq(kQpn);
        m.post(kQpn, udSqe(Op::Send, 0, {m.sge(0, 8)}, kQkey, 1, 1));
        const auto cqes = m.guest.drainCq(1);
        ASSERT_EQ(cqes.size(), 4u) << why;
        EXPECT_EQ(cqes[0].syndrome, 0u);
        EXPECT_EQ(cqes[1].syndrome, why == kBadKey ? 10u : 8u) << why;
        EXPECT_EQ(cqes[2].syndrome, 15u);
        EXPECT_EQ(cqes[3].syndrome, 15u);
        EXPECT_EQ(m.wire.size(), 1u);
        EXPECT_EQ(m.state(kQpn), kSqe);
        EXPECT_TRUE(m.guest.drainAeq().empty());
        EXPECT_TRUE(m.guest.reflushQp(kQpn, static_cast<uint16_t>(m.guest.qp(kQpn).sq.pi), 0).ok());
        // It still receives.
        m.recv(kQpn, 0, 64);
        EXPECT_TRUE(m.give(routeOfFrames(), datagramTo(kQpn, kQkey, {})));
        EXPECT_EQ(m.guest.drainCq(2).size(), 1u);
        // And sends again.
        ASSERT_TRUE(m.modify(kQpn, kRts).ok());
        EXPECT_EQ(m.state(kQpn), kRts);
        m.post(kQpn, udSqe(Op::Send, flag::kSignal, {m.sge(0, 8)}, kQkey, 1, 1));
        const auto again = m.guest.drainCq(1);
        ASSERT_EQ(again.size(), 1u);
        EXPECT_EQ(again[0].syndrome, 0u);
        EXPECT_EQ(m.wire.size(), 2u);
    }
}

// Out of SQE into ERROR and RESET; 9 number 24: work requests of connections.
TEST(RoceUd, EndsOfAStoppedSendQueue) {
    for (const uint32_t end : {kError, kReset}) {
        RoceMachine m;
        m.openUd(kQpn, kQkey);
        m.recv(kQpn, 0, 64);
        m.post(kQpn, inlineSendSqe(Op::Send, 0, ConstBytes(octets("61 62 63 64 65 66 67 68 69 6a 6b 6c 6d 6e 6f 70"))));
        EXPECT_EQ(m.guest.drainCq(1).at(0).syndrome, 8u);
        EXPECT_EQ(m.state(kQpn), kSqe);
        EXPECT_TRUE(m.modify(kQpn, end).ok());
        EXPECT_EQ(m.guest.drainCq(2).size(), end == kError ? 1u : 0u);
        EXPECT_EQ(m.state(kQpn), end);
    }
}

// Number 99.
TEST(RoceUd, OversizedOnesCompleteAndStayHere) {
    RoceMachine m;
    m.openUd(kQpn, kQkey);
    ASSERT_TRUE(m.createAh(1, routeOfFrames(true)).ok());
    for (const uint32_t length : {1024u, 1025u, 65536u})
        m.post(kQpn, udSqe(Op::Send, flag::kSignal, {m.sge(0, length)}, kQkey, 1, 1));
    m.post(kQpn, udSqe(Op::Send, flag::kSignal, {m.sge(0, 65536), m.sge(0, 100)}, kQkey, 1, 1));
    const auto cqes = m.guest.drainCq(1);
    ASSERT_EQ(cqes.size(), 4u);
    for (const Cqe& cqe : cqes)
        EXPECT_EQ(cqe.syndrome, 0u);
    EXPECT_EQ(m.wire.size(), 1u);
    EXPECT_EQ(m.count(Counter::RoceUdOversized), 3u);
    EXPECT_EQ(m.query(kQpn).sendPsn, 8u);
}

// Number 100.
TEST(RoceUd, WithoutBufferNothingHappens) {
    RoceMachine m;
    m.openUd(kQpn, kQkey);
    const auto payload = octets("01 02 03 04");
    EXPECT_TRUE(m.give(routeOfFrames(), datagramTo(kQpn, kQkey, payload)));
    m.recv(kQpn, 0, 43);
    EXPECT_TRUE(m.give(routeOfFrames(), datagramTo(kQpn, kQkey, payload)));
    EXPECT_EQ(m.count(Counter::RoceUdNoBuffer), 2u);
    EXPECT_FALSE(m.guest.pollCq(2));
    EXPECT_TRUE(m.give(routeOfFrames(), datagramTo(kQpn, kQkey, ConstBytes(payload).first(3)))); // the same buffer
    const auto cqe = m.guest.pollCq(2);
    ASSERT_TRUE(cqe);
    EXPECT_EQ(cqe->index, 0u);
    EXPECT_EQ(cqe->bytes, 43u);
}

// 5.3: a buffer that is none ends the queue pair.
TEST(RoceUd, ABadBufferIsAnError) {
    RoceMachine m;
    m.openUd(kQpn, kQkey);
    m.guest.postRecv(kQpn, m.buffer, 64, 0xBAD00);
    m.recv(kQpn, 0, 64);
    EXPECT_TRUE(m.give(routeOfFrames(), datagramTo(kQpn, kQkey, {})));
    const auto cqes = m.guest.drainCq(2);
    ASSERT_EQ(cqes.size(), 2u);
    EXPECT_EQ(cqes[0].syndrome, 3u);
    EXPECT_EQ(cqes[1].syndrome, 15u);
    EXPECT_EQ(m.state(kQpn), kError);
    EXPECT_EQ(m.guest.drainAeq().size(), 1u);
}

// Numbers 104 and 105, 5.5: to itself, and nothing on the wire.
TEST(RoceUd, LoopbackStaysHere) {
    RoceMachine m;
    RoceRoute self = routeOfFrames(true);
    self.destination = kMacB;
    self.destinationGid = mappedGid(kIpB);
    // Datagrams.
    m.openUd(kGsiQpn, kGsiQkey);
    ASSERT_TRUE(m.createAh(1, self).ok());
    m.recv(kGsiQpn, 1024, 300);
    m.post(kGsiQpn, udSqe(Op::Send, flag::kSignal, {m.sge(0, 256)}, kGsiQkey, 1, 1));
    EXPECT_EQ(m.guest.drainCq(1).size(), 1u);
    const auto got = m.guest.drainCq(2);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].bytes, 296u);
    EXPECT_EQ(load8(m.memory().copy(m.buffer + 1024 + 20, 1), 0), 0x45u);
    // A connection between two queue pairs, and one with itself.
    ASSERT_TRUE(m.createQp(0x20, kTypeRc).ok());
    ASSERT_TRUE(m.createQp(0x21, kTypeRc).ok());
    ASSERT_TRUE(m.createQp(0x22, kTypeRc).ok());
    for (const auto& [qpn, peer] : {std::pair{0x20u, 0x21u}, {0x21u, 0x20u}, {0x22u, 0x22u}}) {
        EXPECT_TRUE(m.modify(qpn, kInit).ok());
        EXPECT_TRUE(m.toRtr(qpn, self, peer, 0x100).ok());
        EXPECT_TRUE(m.toRts(qpn, 0x100).ok());
    }
    m.memory().fill(m.buffer, 5000);
    for (const auto& [from, to] : {std::pair{0x20u, 0x21u}, {0x21u, 0x20u}, {0x22u, 0x22u}}) {
        m.recv(to, 0x8000, 5000);
        m.post(from, sendSqe(Op::Send, flag::kSignal, {m.sge(0, 5000)}));
        m.guest.settle();
        const auto sent = m.guest.drainCq(1), received = m.guest.drainCq(2);
        ASSERT_EQ(sent.size(), 1u);
        EXPECT_EQ(sent[0].syndrome, 0u);
        ASSERT_EQ(received.size(), 1u);
        EXPECT_EQ(received[0].bytes, 5000u);
        EXPECT_EQ(m.memory().copy(m.buffer + 0x8000, 5000), m.memory().copy(m.buffer, 5000));
    }
    // The statuses are those of the wire: a region without such a key.
    m.post(0x20, writeSqe(Op::Write, flag::kSignal, {m.sge(0, 100)}, 0xBAD00, m.buffer));
    m.guest.settle();
    EXPECT_EQ(m.guest.drainCq(1).at(0).syndrome, 5u);
    EXPECT_EQ(m.state(0x20), kError);
    EXPECT_EQ(m.state(0x21), kError);
    EXPECT_TRUE(m.wire.empty());
}

// A source address that is gone: an RC packet is as good as lost (1.4).
TEST(RoceUd, WithoutSourceConnectionsLose) {
    RoceMachine m;
    ASSERT_TRUE(m.createQp(kQpn, kTypeRc).ok());
    m.connect(kQpn);
    ASSERT_TRUE(m.deleteGid(1).ok());
    m.post(kQpn, inlineSendSqe(Op::Send, flag::kSignal, ConstBytes(octets("61"))));
    EXPECT_TRUE(m.wire.empty());
    EXPECT_EQ(m.count(Counter::RoceGidMissing), 1u);
    EXPECT_EQ(m.state(kQpn), kRts);
    ASSERT_TRUE(m.setGid(1, mappedGid(kIpB)).ok());
    m.guest.advance(70'000'000);
    EXPECT_EQ(m.wire.size(), 1u);      // again, in time
    for (unsigned i = 0; i < 200; ++i) // each wait is a longer one
        m.guest.advance(100'000'000);
    EXPECT_EQ(m.guest.drainCq(1).at(0).syndrome, 16u);
}

} // namespace
} // namespace erdma::test
