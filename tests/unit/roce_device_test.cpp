// SPDX-License-Identifier: GPL-2.0-or-later
// RoCEv2's commands and the states of its queue pairs: adapter.md 13.3, roce.md 1.7 to 1.9, 5.7, 11.2.
#include <gtest/gtest.h>

#include "roce_device_bench.h"

namespace erdma::test {
namespace {

constexpr uint32_t kQpn = 0x12;

TEST(RoceDevice, RegistersAndCapabilities) {
    RoceMachine m;
    EXPECT_EQ(m.guest.read32(0x0C), 1u);
    const Reply caps = m.guest.command(0, 0);
    EXPECT_EQ(caps.resp0 >> 48 & 0xF, 8u);  // MAX_GID
    EXPECT_EQ(caps.resp0 >> 8 & 0xFF, 16u); // MAX_AH
    const uint64_t target = m.memory().allocate(64);
    EXPECT_TRUE(m.guest.command(1, 11, Request().u64(16, target).u32(24, 28)).ok());
    EXPECT_EQ(m.memory().get32(target + 16), 3u << 16); // QPX, UDX
    Machine iwarp;
    iwarp.guest.bringUp();
    EXPECT_EQ(iwarp.guest.read32(0x0C), 0u);
    EXPECT_EQ(iwarp.guest.command(0, 0).resp0 & (uint64_t{0xF} << 48 | 0xFF00), 0u);
}

// Number 18.
TEST(RoceDevice, StatesInOrderForAllKinds) {
    RoceMachine m;
    for (const uint32_t qpn : {kQpn, 0x13u, kGsiQpn}) {
        ASSERT_TRUE(m.createQp(qpn, qpn == kQpn ? kTypeRc : kTypeUd).ok());
        EXPECT_EQ(m.state(qpn), kReset);
        EXPECT_TRUE(m.modify(qpn, kInit).ok());
        EXPECT_EQ(m.state(qpn), kInit);
        EXPECT_TRUE(qpn == kQpn ? m.toRtr(qpn, routeOfFrames(true)).ok() : m.modify(qpn, kRtr).ok());
        EXPECT_EQ(m.state(qpn), kRtr);
        EXPECT_TRUE(m.toRts(qpn, 0x123456).ok());
        const auto now = m.query(qpn);
        EXPECT_EQ(now.state, kRts);
        EXPECT_EQ(now.sendPsn, 0x123456u);
        EXPECT_EQ(now.recvPsn, qpn == kQpn ? 0xABCDEFu : 0u);
        EXPECT_FALSE(now.draining);
        EXPECT_TRUE(m.modify(qpn, kReset).ok());
        EXPECT_EQ(m.query(qpn).sendPsn, 0u);
        EXPECT_EQ(m.state(qpn), kReset);
        EXPECT_TRUE(m.guest.destroyQp(qpn).ok());
    }
}

// Numbers 19, 20 and 21; 9 number 21: all pairs.
TEST(RoceDevice, TransitionsAreThoseOfTheTable) {
    const auto reach = [](RoceMachine& m, uint32_t state) {
        EXPECT_TRUE(m.createQp(kQpn, state == kSqe ? kTypeUd : kTypeRc).ok());
        if (state == kReset)
            return;
        EXPECT_TRUE(m.modify(kQpn, kInit).ok());
        if (state == kInit)
            return;
        EXPECT_TRUE(m.toRtr(kQpn, routeOfFrames(true)).ok());
        if (state == kRtr)
            return;
        EXPECT_TRUE(m.toRts(kQpn).ok());
        if (state == kSqd || state == kError) {
            EXPECT_TRUE(m.modify(kQpn, state).ok());
        }
        if (state == kSqe)
            m.post(kQpn, udSqe(Op::Send, 0, {}, 0, 0, 77)); // no such handle
    };
    for (uint32_t from = kReset; from <= kError; ++from) {
        for (uint32_t to = kReset; to <= kError + 1; ++to) {
            RoceMachine m;
            reach(m, from);
            ASSERT_EQ(m.state(kQpn), from);
            const bool allowed = to == kReset || to == kError || (to == from && from != kError) ||
                                 (from == kReset && to == kInit) || (from == kInit && to == kRtr) ||
                                 (from == kRtr && to == kRts) || (from == kRts && to == kSqd) ||
                                 (from == kSqd && to == kRts) || (from == kSqe && to == kRts);
            // All that RTR needs comes along.
            Request request;
            request.u32(12, 0x11).u32(24, 5);
            const uint32_t mask = to == kRtr ? attr::kAddress | attr::kDestination : 0;
            const uint32_t psn = from == kInit && to == kRtr ? attr::kRecvPsn : 0;
            const Reply reply = m.modify(kQpn, to, mask | psn, putAddress(request, 32, routeOfFrames(true)));
            EXPECT_EQ(reply.status, allowed ? 0u : 22u) << from << " to " << to;
            EXPECT_EQ(m.state(kQpn), allowed ? to : from) << from << " to " << to;
        }
    }
}

// Number 19: PSNs stay, and may not be set.
TEST(RoceDevice, EqualStateIsNoTransition) {
    RoceMachine m;
    ASSERT_TRUE(m.createQp(kQpn, kTypeRc).ok());
    m.connect(kQpn);
    m.post(kQpn, inlineSendSqe(Op::Send, 0, ConstBytes(octets("61 62"))));
    EXPECT_EQ(m.query(kQpn).sendPsn, 0x101u);
    EXPECT_TRUE(m.modify(kQpn, kRts).ok());
    EXPECT_EQ(m.query(kQpn).sendPsn, 0x101u);
    EXPECT_EQ(m.query(kQpn).recvPsn, 0xABCDEFu);
    EXPECT_EQ(m.modify(kQpn, kRts, attr::kSendPsn, Request().u32(28, 9)).status, 22u);
    EXPECT_EQ(m.modify(kQpn, kRts, attr::kRecvPsn, Request().u32(24, 9)).status, 22u);
    EXPECT_EQ(m.query(kQpn).sendPsn, 0x101u);
}

// Number 22; 9 number 21.
TEST(RoceDevice, RtrNeedsAddressDestinationAndPsn) {
    constexpr uint32_t all = attr::kAddress | attr::kDestination | attr::kRecvPsn;
    RoceMachine m;
    ASSERT_TRUE(m.createQp(kQpn, kTypeRc).ok());
    ASSERT_TRUE(m.modify(kQpn, kInit).ok());
    const auto request = [](const RoceRoute& to, uint32_t gidIndex) {
        Request out;
        out.u32(12, 0xABCDE1).u32(24, 5);
        return putAddress(out, 32, to, gidIndex);
    };
    RoceRoute route = routeOfFrames(true);
    for (const uint32_t missing : {attr::kAddress, attr::kDestination, attr::kRecvPsn})
        EXPECT_EQ(m.modify(kQpn, kRtr, all & ~missing, request(route, 1)).status, 22u) << missing;
    EXPECT_EQ(m.modify(kQpn, kRtr, all, request(route, 0xFFFF)).status, 22u);
    route.ipv6 = true; // and a mapped destination
    EXPECT_EQ(m.modify(kQpn, kRtr, all, request(route, 1)).status, 22u);
    route.destinationGid[0] = 0xFE; // an IPv6 destination from an IPv4 source
    EXPECT_EQ(m.modify(kQpn, kRtr, all, request(route, 1)).status, 22u);
    EXPECT_EQ(m.state(kQpn), kInit);
    // A source that does not exist (any more) is for later; what an earlier command said counts.
    EXPECT_TRUE(m.modify(kQpn, kInit, attr::kAddress, request(routeOfFrames(true), 5)).ok());
    EXPECT_TRUE(m.modify(kQpn, kRtr, attr::kDestination | attr::kRecvPsn, request(route, 1)).ok());
    EXPECT_EQ(m.guest.command(0, 17, Request().u32(8, 0x99)).status, 2u);
    EXPECT_EQ(m.modify(0x99, kError).status, 2u);
}

// 7.4: no path MTU fits, so no connection.
TEST(RoceDevice, InterfaceMtuBoundsThePathMtu) {
    struct {
        uint32_t mtu, code;
    } constexpr rows[] = {{4192, 5}, {4191, 4}, {2144, 4}, {2143, 3}, {1500, 3}, {1120, 3},
                          {1119, 2}, {608, 2},  {607, 1},  {352, 1},  {351, 0},  {9000, 5}};
    for (const auto& row : rows) {
        RoceMachine m;
        ASSERT_TRUE(m.guest.command(1, 3, Request().u32(8, row.mtu)).ok());
        ASSERT_TRUE(m.createQp(kQpn, kTypeRc).ok());
        ASSERT_TRUE(m.modify(kQpn, kInit).ok());
        // QPX: the next one does not fit.
        EXPECT_EQ(m.modify(kQpn, kInit, 1u << 16, Request().u8(68, static_cast<uint8_t>(row.code + 1))).status, 22u);
        EXPECT_EQ(m.toRtr(kQpn, routeOfFrames(true)).status, row.code == 0 ? 22u : 0u) << row.mtu;
        if (row.code == 0)
            continue;
        ASSERT_TRUE(m.toRts(kQpn).ok());
        m.post(kQpn, sendSqe(Op::Send, 0, {m.sge(0, 8192)}));
        ASSERT_FALSE(m.wire.empty());
        RocePacket packet;
        const auto datagram = findRoceDatagram(m.wire.front());
        ASSERT_EQ(readRocePacket(*datagram, packet), RoceVerdict::Good);
        EXPECT_EQ(packet.payload.size(), 128u << row.code) << row.mtu;
    }
}

// Number 32: ranges.
TEST(RoceDevice, ExtendedAttributesOutOfRange) {
    struct {
        uint32_t bit;
        size_t at;
        uint8_t good, bad;
    } constexpr rows[] = {{16, 68, 1, 0}, {16, 68, 3, 6},   {17, 69, 31, 32}, {18, 70, 7, 8},
                          {19, 71, 7, 8}, {20, 72, 31, 32}, {23, 75, 7, 8}};
    RoceMachine m;
    ASSERT_TRUE(m.createQp(kQpn, kTypeRc).ok());
    ASSERT_TRUE(m.modify(kQpn, kInit).ok());
    for (const auto& row : rows) {
        EXPECT_TRUE(m.modify(kQpn, kInit, 1u << row.bit, Request().u8(row.at, row.good)).ok()) << row.at;
        EXPECT_EQ(m.modify(kQpn, kInit, 1u << row.bit, Request().u8(row.at, row.bad)).status, 22u) << row.at;
    }
    EXPECT_TRUE(m.modify(kQpn, kInit, 3u << 21, Request().u8(73, 255).u8(74, 255)).ok()); // ORD and IRD are cut
    EXPECT_TRUE(m.modify(kQpn, kInit, 0xFF00FF00).ok());                                  // unknown bits
}

// Numbers 23 and 24.
TEST(RoceDevice, FramesAsInTheDatasheet) {
    RoceMachine m;
    ASSERT_TRUE(m.createQp(kQpn, kTypeRc).ok());
    RoceRoute route = routeOfFrames(true);
    m.connect(kQpn, route, 0xABCDE1);
    m.recv(kQpn, 0, 64);
    EXPECT_TRUE(m.give(octets(frame::kD1)));
    EXPECT_EQ(m.query(kQpn).recvPsn, 0xABCDF0u);
    ASSERT_EQ(m.wire.size(), 1u); // the acknowledgement
    RocePacket packet;
    ASSERT_EQ(readRocePacket(*findRoceDatagram(m.wire[0]), packet), RoceVerdict::Good);
    EXPECT_EQ(packet.op, RoceOp::Acknowledge);
    EXPECT_EQ(packet.destinationQpn, 0xABCDE1u);
    const auto cqe = m.guest.pollCq(2);
    ASSERT_TRUE(cqe);
    EXPECT_EQ(cqe->bytes, 5u);
    EXPECT_EQ(m.memory().copy(m.buffer, 5), octets("68 65 6c 6c 6f"));
}

// Number 25.
TEST(RoceDevice, ReflushDoesNothingOutsideError) {
    RoceMachine m;
    ASSERT_TRUE(m.createQp(kQpn, kTypeRc).ok());
    for (uint32_t state : {kReset, kInit, kRtr, kRts}) {
        const bool reached = state == kInit  ? m.modify(kQpn, kInit).ok()
                             : state == kRtr ? m.toRtr(kQpn, routeOfFrames(true)).ok()
                             : state == kRts ? m.toRts(kQpn).ok()
                                             : true;
        EXPECT_TRUE(reached) << state;
        EXPECT_TRUE(m.guest.reflushQp(kQpn, 1, 1).ok());
        EXPECT_EQ(m.state(kQpn), state);
    }
    m.post(kQpn, inlineSendSqe(Op::Send, flag::kSignal, ConstBytes(octets("61"))));
    EXPECT_TRUE(m.guest.reflushQp(kQpn, 1, 0).ok());
    EXPECT_FALSE(m.guest.pollCq(1));
    EXPECT_TRUE(m.modify(kQpn, kError).ok());
    EXPECT_EQ(m.guest.pollCq(1)->syndrome, 15u);
    SqeBytes last = inlineSendSqe(Op::Send, 0, ConstBytes(octets("61")));
    m.guest.putSqe(kQpn, last);
    EXPECT_TRUE(m.guest.reflushQp(kQpn, 2, 0).ok());
    EXPECT_EQ(m.guest.pollCq(1)->syndrome, 15u);
}

// Numbers 26 and 27.
TEST(RoceDevice, ResetForgetsQuietlyAndRingsGoOnWhereTheyMust) {
    for (const bool ofProcess : {false, true}) {
        RoceMachine m;
        ASSERT_TRUE(m.createQp(kQpn, kTypeRc, ofProcess).ok());
        for (uint32_t round = 0; round < 3; ++round) {
            m.connect(kQpn);
            m.recv(kQpn, 0, 64);
            m.recv(kQpn, 64, 64);
            m.wire.clear();
            const uint16_t first = m.post(kQpn, inlineSendSqe(Op::Send, 0, ConstBytes(octets("61"))));
            m.post(kQpn, inlineSendSqe(Op::Send, 0, ConstBytes(octets("62"))));
            ASSERT_EQ(m.wire.size(), 2u) << round;
            EXPECT_EQ(first, ofProcess ? 2 * round : 0u);
            EXPECT_TRUE(m.modify(kQpn, kReset).ok());
            EXPECT_FALSE(m.guest.pollCq(1));
            EXPECT_FALSE(m.guest.pollCq(2));
            EXPECT_EQ(m.guest.host().timerAt, ERDMA_TIMER_OFF);
            if (!ofProcess)
                m.guest.qp(kQpn).sq.pi = m.guest.qp(kQpn).rq.pi = 0;
        }
        // Out of ERROR as well, whose flush is not repeated.
        m.connect(kQpn);
        m.recv(kQpn, 0, 64);
        EXPECT_TRUE(m.modify(kQpn, kError).ok());
        EXPECT_EQ(m.guest.drainCq(2).size(), 1u);
        EXPECT_TRUE(m.modify(kQpn, kReset).ok());
        EXPECT_EQ(m.state(kQpn), kReset);
        EXPECT_FALSE(m.guest.pollCq(2));
    }
}

// Number 63, 1.7: what is posted in INIT starts in RTS.
TEST(RoceDevice, SendsWaitForRts) {
    RoceMachine m;
    ASSERT_TRUE(m.createQp(kQpn, kTypeRc).ok());
    ASSERT_TRUE(m.modify(kQpn, kInit).ok());
    m.post(kQpn, inlineSendSqe(Op::Send, 0, ConstBytes(octets("61"))));
    ASSERT_TRUE(m.toRtr(kQpn, routeOfFrames(true)).ok());
    m.post(kQpn, inlineSendSqe(Op::Send, 0, ConstBytes(octets("62"))));
    EXPECT_TRUE(m.wire.empty());
    ASSERT_TRUE(m.toRts(kQpn).ok());
    m.guest.settle();
    EXPECT_EQ(m.wire.size(), 2u);
}

// Number 28: what has begun goes on, nothing else starts.
TEST(RoceDevice, SqdFinishesWhatHasBegun) {
    RoceMachine m;
    ASSERT_TRUE(m.createQp(kQpn, kTypeRc).ok());
    m.connect(kQpn);
    m.post(kQpn, inlineSendSqe(Op::Send, flag::kSignal, ConstBytes(octets("61"))));
    ASSERT_EQ(m.wire.size(), 1u);
    ASSERT_TRUE(m.modify(kQpn, kSqd).ok());
    EXPECT_TRUE(m.query(kQpn).draining);
    m.post(kQpn, inlineSendSqe(Op::Send, flag::kSignal, ConstBytes(octets("62"))));
    EXPECT_EQ(m.wire.size(), 1u);
    RocePacket ack;
    ack.op = RoceOp::Acknowledge;
    ack.destinationQpn = kQpn;
    ack.psn = 0x100;
    ack.syndrome = 0x1F;
    EXPECT_TRUE(m.give(routeOfFrames(), ack));
    EXPECT_EQ(m.guest.drainCq(1).size(), 1u);
    EXPECT_EQ(m.query(kQpn).state, kSqd);
    EXPECT_FALSE(m.query(kQpn).draining);
    ASSERT_TRUE(m.modify(kQpn, kRts).ok());
    m.guest.settle();
    EXPECT_EQ(m.wire.size(), 2u);
}

// Numbers 30 and 31; 9 number 22.
TEST(RoceDevice, GidsAndAddressHandles) {
    RoceMachine m;
    EXPECT_TRUE(m.deleteGid(1).ok());
    EXPECT_TRUE(m.deleteGid(1).ok());
    EXPECT_EQ(m.roce->gids().at(1), nullptr);
    EXPECT_EQ(m.setGid(0xFFFF, mappedGid(kIpB)).status, 22u);
    EXPECT_EQ(m.deleteGid(256).status, 22u);
    EXPECT_EQ(m.setGid(2, Gid{}).status, 22u);
    EXPECT_EQ(m.setGid(2, mappedGid(kIpB), 1u << 16).status, 22u); // IPv6, it says
    EXPECT_TRUE(m.setGid(2, mappedGid(kIpB)).ok());
    EXPECT_TRUE(m.setGid(2, mappedGid(kIpA)).ok());
    EXPECT_EQ(m.roce->gids().at(2)->gid, mappedGid(kIpA));

    const RoceRoute route = routeOfFrames(true);
    for (const uint32_t number : {0u, 1u, 0xFFFFu})
        EXPECT_TRUE(m.createAh(number, route).ok()) << number;
    for (const uint32_t number : {0x10000u, 0xFFFFFFFFu})
        EXPECT_EQ(m.createAh(number, route).status, 22u) << number;
    EXPECT_EQ(m.createAh(2, route, 1, 256).status, 22u);
    EXPECT_TRUE(m.createAh(1, route, 3).ok());
    EXPECT_EQ(m.roce->handles().find(1)->pd, 3u);
    EXPECT_EQ(m.roce->handles().size(), 3u);
    EXPECT_TRUE(m.destroyAh(1).ok());
    EXPECT_EQ(m.destroyAh(1).status, 2u);
    m.guest.write32(0x10, 1); // RESET forgets all
    m.guest.settle();
    EXPECT_EQ(m.roce->handles().size(), 0u);
    EXPECT_EQ(m.roce->gids().at(2), nullptr);
}

// 9 number 23.
TEST(RoceDevice, KindsOfQueuePairs) {
    RoceMachine m;
    for (uint32_t type = 2; type < 16; ++type)
        EXPECT_EQ(m.createQp(kQpn, type).status, 22u) << type;
    EXPECT_EQ(m.createQp(kGsiQpn, kTypeRc).status, 22u);
    EXPECT_TRUE(m.createQp(kGsiQpn, kTypeUd).ok());
    EXPECT_EQ(m.createQp(kGsiQpn, kTypeUd).status, 17u);
    EXPECT_TRUE(m.guest.destroyQp(kGsiQpn).ok());
    EXPECT_TRUE(m.createQp(kGsiQpn, kTypeUd).ok());
}

// 9 number 26, 1.2: nothing of it is left.
TEST(RoceDevice, ResetInTheMiddleOfMessages) {
    RoceMachine m;
    ASSERT_TRUE(m.createQp(kQpn, kTypeRc).ok());
    m.connect(kQpn);
    m.openUd(0x13, 5);
    m.post(kQpn, sendSqe(Op::Send, 0, {m.sge(0, 60000)}));
    m.guest.write32(0x10, 1);
    m.guest.settle();
    EXPECT_TRUE(m.guest.resetDone());
    EXPECT_EQ(m.roce->find(kQpn), nullptr);
    EXPECT_EQ(m.host.timerAt, ERDMA_TIMER_OFF);
    m.wire.clear();
    EXPECT_FALSE(m.give(octets(frame::kD1)));
    m.guest.advance(60'000'000'000);
    EXPECT_TRUE(m.wire.empty());
}

TEST(RoceDevice, StateAsText) {
    RoceMachine m;
    ASSERT_TRUE(m.createQp(kQpn, kTypeRc).ok());
    m.connect(kQpn);
    m.openUd(kGsiQpn, kGsiQkey);
    const std::string text = m.roce->connections();
    EXPECT_NE(text.find("{\"index\":1,\"gid\":\"10.77.0.2\"}"), std::string::npos) << text;
    EXPECT_NE(text.find("\"qpn\":1,\"type\":\"GSI\",\"state\":\"RTS\""), std::string::npos) << text;
    EXPECT_NE(text.find("\"peer\":\"10.77.0.1\",\"peer_qpn\":17"), std::string::npos) << text;
}

} // namespace
} // namespace erdma::test
