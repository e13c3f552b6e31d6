// SPDX-License-Identifier: GPL-2.0-or-later
// Which frames are the adapter's, and which of them are dropped: roce.md 1.2, 2.12, 11.1.
#include <gtest/gtest.h>

#include <random>

#include "icrc.h"
#include "roce_device_bench.h"

namespace erdma::test {
namespace {

constexpr uint32_t kQpn = 0x12;

struct Claiming : RoceMachine {
    Claiming() {
        EXPECT_TRUE(createQp(kQpn, kTypeRc).ok());
        connect(kQpn);
        recv(kQpn, 0, 4096);
    }
    uint64_t dropped(Counter counter) {
        const uint64_t before = seen_[counter];
        seen_[counter] = count(counter);
        return seen_[counter] - before;
    }

private:
    std::map<Counter, uint64_t> seen_;
};

void fixChecksum(std::vector<std::byte>& frame, size_t ip = 14) {
    storeBe16(frame, ip + 10, 0);
    storeBe16(frame, ip + 10, checksumFold(checksumAdd(ConstBytes(frame).subspan(ip, 20))));
}

std::vector<std::byte> tagged(ConstBytes frame, std::initializer_list<uint16_t> controls) {
    std::vector<std::byte> out(frame.begin(), frame.begin() + 12);
    for (const uint16_t control : controls) {
        out.resize(out.size() + 4);
        storeBe16(out, out.size() - 4, 0x8100);
        storeBe16(out, out.size() - 2, control);
    }
    out.insert(out.end(), frame.begin() + 12, frame.end());
    return out;
}

// Numbers 1 and 2.
TEST(RoceClaim, OnlyOwnAddressesAndOnlyWhileItRuns) {
    Claiming m;
    const auto d1 = octets(frame::kD1);
    EXPECT_TRUE(m.give(d1));
    EXPECT_TRUE(m.toGuest.empty());
    EXPECT_EQ(m.count(Counter::RoceClaimed), 1u);
    EXPECT_TRUE(m.deleteGid(1).ok());
    EXPECT_FALSE(m.give(d1));
    EXPECT_TRUE(m.setGid(9, mappedGid(kIpB)).ok()); // claimed, but the queue pair's source is another one
    EXPECT_TRUE(m.give(d1));
    EXPECT_EQ(m.count(Counter::RoceWrongAddress), 1u);
    m.guest.write32(0x10, 1);
    m.guest.settle();
    EXPECT_FALSE(m.give(d1));
    RoceMachine fresh(roceConfig(), false);
    EXPECT_FALSE(fresh.give(d1));
}

// Number 4; 9 numbers 18 and 19.
TEST(RoceClaim, OthersFramesPass) {
    Claiming m;
    const auto d1 = octets(frame::kD1);
    const auto changed = [&](size_t at, uint8_t value) {
        auto copy = d1;
        store8(copy, at, value);
        fixChecksum(copy);
        return copy;
    };
    EXPECT_FALSE(m.give(changed(5, 9)));     // MAC
    EXPECT_FALSE(m.give(changed(20, 0x60))); // MF
    EXPECT_FALSE(m.give(changed(21, 1)));    // offset
    EXPECT_FALSE(m.give(changed(14, 0x46))); // options
    EXPECT_FALSE(m.give(changed(23, 6)));    // TCP
    EXPECT_FALSE(m.give(changed(37, 0xB8))); // port
    EXPECT_FALSE(m.give(changed(33, 3)));    // address
    auto broadcast = d1;
    std::fill_n(broadcast.begin(), 6, std::byte{0xFF});
    EXPECT_FALSE(m.give(broadcast));
    auto checksum = d1;
    store8(checksum, 24, 0);
    EXPECT_FALSE(m.give(checksum));
    EXPECT_FALSE(m.give(tagged(d1, {5})));
    EXPECT_FALSE(m.give(tagged(d1, {0, 0})));
    EXPECT_FALSE(m.give(ConstBytes(tagged(d1, {0})).first(17)));
    EXPECT_TRUE(m.setGid(3, gidAt(octets(frame::kD10), 38)).ok());
    auto d10 = octets(frame::kD10);
    store8(d10, 20, 0); // hop-by-hop
    EXPECT_FALSE(m.give(d10));
    EXPECT_EQ(m.count(Counter::RoceClaimed), 0u);
    // Cut anywhere: nothing bad happens, and nothing is taken in.
    for (size_t n = 0; n < d1.size(); ++n)
        m.give(ConstBytes(d1).first(n));
    EXPECT_EQ(m.query(kQpn).recvPsn, 0xABCDEFu);
    EXPECT_GT(m.dropped(Counter::RoceBadLength), 0u);
}

// Number 5, 1.9: VLANs.
TEST(RoceClaim, TagsOfOwnVlans) {
    Claiming m;
    const auto d1 = octets(frame::kD1);
    EXPECT_TRUE(m.give(tagged(d1, {7u << 13}))); // a priority only
    EXPECT_EQ(m.query(kQpn).recvPsn, 0xABCDF0u);
    EXPECT_TRUE(m.setGid(2, mappedGid(kIpB), 1u << 17 | 5u << 18).ok());
    EXPECT_TRUE(m.give(tagged(d1, {5})));
    EXPECT_FALSE(m.give(tagged(d1, {6})));
    // Its packets have the tag, with the service level as priority.
    RoceRoute route = routeOfFrames(true);
    ASSERT_TRUE(m.createQp(0x20, kTypeRc).ok());
    ASSERT_TRUE(m.modify(0x20, kInit).ok());
    ASSERT_TRUE(m.toRtr(0x20, route, 0x11, 0, 2).ok());
    ASSERT_TRUE(m.toRts(0x20).ok());
    m.wire.clear();
    m.post(0x20, inlineSendSqe(Op::Send, 0, ConstBytes(octets("61"))));
    ASSERT_EQ(m.wire.size(), 1u);
    EXPECT_EQ(findRoceDatagram(m.wire[0])->route.vlan, 5u);
}

// Numbers 3 and 8: an iWARP adapter takes nothing, and frames of the guest are its own.
TEST(RoceClaim, NothingOfTheGuestNorOfIwarp) {
    Claiming m;
    const auto d1 = octets(frame::kD1);
    EXPECT_FALSE(m.device.wantsFrame(ERDMA_TO_WIRE, d1, d1.size()));
    EXPECT_FALSE(m.device.frame(ERDMA_TO_WIRE, d1, {}));
}

// Number 6; 9 number 1.
TEST(RoceClaim, BadLengthsAreDroppedAndNotPassed) {
    Claiming m;
    for (const unsigned length : {0, 8, 12, 15, 17, 23, 25, 33, 36}) {
        auto frame = octets(frame::kD1);
        storeBe16(frame, 38, static_cast<uint16_t>(length));
        EXPECT_TRUE(m.give(frame)) << length;
        EXPECT_EQ(m.dropped(Counter::RoceBadLength), 1u) << length;
    }
    auto longer = octets(frame::kD1);
    storeBe16(longer, 16, 0x38); // IP length beyond the frame
    fixChecksum(longer);
    EXPECT_TRUE(m.give(longer));
    EXPECT_EQ(m.dropped(Counter::RoceBadLength), 1u);
    EXPECT_TRUE(m.toGuest.empty());
    // 9 number 20.
    erdma_offload offload{};
    offload.gso_type = 1;
    offload.segment_bytes = 100;
    EXPECT_TRUE(m.give(octets(frame::kD1), offload));
    EXPECT_EQ(m.dropped(Counter::RoceBadLength), 1u);
    EXPECT_EQ(m.query(kQpn).recvPsn, 0xABCDEFu);
}

// Number 7.
TEST(RoceClaim, PaddedFrames) {
    Claiming m;
    auto d1 = octets(frame::kD1);
    d1.resize(100, std::byte{0x55});
    EXPECT_TRUE(m.give(d1));
    EXPECT_EQ(m.query(kQpn).recvPsn, 0xABCDF0u);
}

// Numbers 11 and 12; 9 number 4.
TEST(RoceClaim, TheInvariantCrc) {
    Claiming m;
    for (unsigned bit = 0; bit < 32; ++bit) {
        auto frame = octets(frame::kD1);
        frame[frame.size() - 4 + bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
        EXPECT_TRUE(m.give(frame));
    }
    EXPECT_EQ(m.dropped(Counter::RoceBadIcrc), 32u);
    auto id = octets(frame::kD1);
    store8(id, 19, 0x35);
    fixChecksum(id);
    EXPECT_TRUE(m.give(id));
    EXPECT_EQ(m.dropped(Counter::RoceBadIcrc), 1u);
    EXPECT_EQ(m.query(kQpn).recvPsn, 0xABCDEFu);
    auto routed = octets(frame::kD1);
    store8(routed, 15, 0xFF);      // DSCP, ECN
    store8(routed, 22, 3);         // TTL
    storeBe16(routed, 40, 0x1234); // UDP checksum
    store8(routed, 46, 0xFF);      // FECN, BECN, reserved
    fixChecksum(routed);
    EXPECT_TRUE(m.give(routed));
    EXPECT_EQ(m.query(kQpn).recvPsn, 0xABCDF0u);
}

// 2.12, numbers 93 and 106; 9 numbers 3, 5 and 6.
TEST(RoceClaim, EachCheckHasItsCounter) {
    Claiming m;
    RoceRoute route = routeOfFrames();
    RocePacket packet;
    packet.op = RoceOp::SendOnly;
    packet.destinationQpn = kQpn;
    packet.psn = 0xABCDEF;
    const auto gives = [&](Counter counter, const RoceRoute& to, const RocePacket& what) {
        EXPECT_TRUE(m.give(to, what));
        return m.dropped(counter) == 1;
    };
    RocePacket other = packet;
    for (const uint32_t qpn : {0u, 0xFFFFFFu, 0x77u}) {
        other.destinationQpn = qpn;
        EXPECT_TRUE(gives(Counter::RoceNoQp, route, other)) << qpn;
    }
    other = packet;
    other.op = RoceOp::UdSend;
    EXPECT_TRUE(gives(Counter::RoceNoQp, route, other));
    for (const unsigned pkey : {0, 0x7FFE, 0x8000}) {
        other = packet;
        other.pkey = static_cast<uint16_t>(pkey);
        EXPECT_TRUE(gives(Counter::RoceBadPkey, route, other)) << pkey;
    }
    RoceRoute spoofed = route;
    spoofed.sourceGid = mappedGid(kIpA + 7);
    EXPECT_TRUE(gives(Counter::RoceWrongAddress, spoofed, packet));
    other = packet;
    other.op = RoceOp::Cnp;
    EXPECT_TRUE(gives(Counter::RoceCnpsIn, route, other));
    for (unsigned op = 0x20; op < 0x100; ++op) {
        other.op = static_cast<RoceOp>(op);
        if (isUd(other.op) || other.op == RoceOp::Cnp)
            continue;
        EXPECT_TRUE(gives(Counter::RoceBadOpcode, route, other)) << op;
    }
    EXPECT_EQ(m.query(kQpn).recvPsn, 0xABCDEFu);
    EXPECT_TRUE(m.modify(kQpn, kError).ok());
    EXPECT_TRUE(gives(Counter::RoceWrongState, route, packet));
}

// 1.2: datagrams that a sender on the same host left to the NIC to cut.
TEST(RoceClaim, UdpSegmentationIsUndone) {
    Claiming m;
    m.recv(kQpn, 64, 64);
    std::vector<std::byte> run, next;
    RocePacket packet;
    packet.destinationQpn = kQpn;
    packet.psn = 0xABCDEF;
    const auto payload = octets("68 65 6c 6c 6f");
    packet.payload = payload;
    buildRoceFrame(routeOfFrames(), packet, 7, run);
    packet.psn = 0xABCDF0;
    buildRoceFrame(routeOfFrames(), packet, 8, next);
    run.insert(run.end(), next.begin() + 42, next.end());
    erdma_offload offload{};
    offload.gso_type = 5;
    offload.segment_bytes = static_cast<uint16_t>(next.size() - 42);
    EXPECT_TRUE(m.give(run, offload));
    EXPECT_EQ(m.query(kQpn).recvPsn, 0xABCDF1u);
    EXPECT_EQ(m.guest.drainCq(2).size(), 2u);
    offload.segment_bytes = 15;
    EXPECT_TRUE(m.give(run, offload));
    EXPECT_EQ(m.dropped(Counter::RoceBadLength), 1u);
}

// 9 numbers 2, 3, 17 and 28: anything behind a right CRC, to every kind of queue pair.
TEST(RoceClaim, AnythingMayBeBehindARightCrc) {
    Claiming m;
    m.openUd(0x14, 5);
    m.openUd(kGsiQpn, kGsiQkey);
    std::mt19937 random(22);
    const uint64_t outside = m.memory().allocate(4096);
    m.memory().fill(outside, 4096, 9);
    for (unsigned i = 0; i < 20000; ++i) {
        std::vector<std::byte> frame;
        RocePacket base;
        base.op = RoceOp::SendOnly;
        base.destinationQpn = std::array{kQpn, 0x14u, kGsiQpn, 0x77u}[random() % 4];
        base.psn = 0xABCDEF + static_cast<uint32_t>(random() % 3);
        std::vector<std::byte> payload(random() % 80);
        for (std::byte& octet : payload)
            octet = static_cast<std::byte>(random());
        base.payload = payload;
        buildRoceFrame(routeOfFrames(), base, static_cast<uint16_t>(i), frame);
        const Bytes ip = Bytes(frame).subspan(14);
        store8(ip, 28, static_cast<uint8_t>(random() % 3 == 0 ? random() : random() % 0x20 + (random() % 2) * 0x64));
        store8(ip, 29, static_cast<uint8_t>(random() & 0xF0));
        storeLe32(ip, ip.size() - 4, icrc(ip.first(ip.size() - 4), false));
        ASSERT_TRUE(m.give(frame));
        if (m.state(kQpn) == kError) { // on to the next life
            ASSERT_TRUE(m.modify(kQpn, kReset).ok());
            m.guest.qp(kQpn).sq.pi = m.guest.qp(kQpn).rq.pi = 0;
            m.connect(kQpn);
            m.recv(kQpn, 0, 4096);
        }
        m.guest.drainCq(2);
        m.wire.clear();
    }
    EXPECT_EQ(m.count(Counter::RoceClaimed), 20000u);
    const auto untouched = m.memory().copy(outside, 4096);
    for (size_t i = 0; i < untouched.size(); ++i)
        ASSERT_EQ(untouched[i], static_cast<std::byte>(9 + i));
    EXPECT_TRUE(m.toGuest.empty());
}

// 7.1.
TEST(RoceClaim, MarksAreAnsweredWhenAsked) {
    for (const bool answers : {false, true}) {
        erdma_config config = roceConfig();
        config.roce_cnp = answers;
        RoceMachine m(config);
        ASSERT_TRUE(m.createQp(kQpn, kTypeRc).ok());
        RoceRoute back = routeOfFrames(true);
        back.trafficClass = 0xC2;
        m.connect(kQpn, back);
        RoceRoute route = routeOfFrames();
        route.trafficClass = 3;
        RocePacket packet; // a SEND without receive buffer
        packet.destinationQpn = kQpn;
        packet.psn = 0xABCDEF;
        EXPECT_TRUE(m.give(route, packet));
        EXPECT_TRUE(m.give(route, packet)); // within 50 us
        EXPECT_EQ(m.count(Counter::RoceCnpsOut), answers ? 1u : 0u);
        if (!answers)
            continue;
        const auto datagram = findRoceDatagram(m.wire.at(0));
        RocePacket cnp;
        ASSERT_EQ(readRocePacket(*datagram, cnp), RoceVerdict::Good);
        EXPECT_EQ(cnp.op, RoceOp::Cnp);
        EXPECT_TRUE(cnp.becn);
        EXPECT_EQ(cnp.destinationQpn, 0x11u);
        EXPECT_EQ(datagram->route.trafficClass, 0xC0u);
        m.host.clock += 60'000;
        EXPECT_TRUE(m.give(route, packet));
        EXPECT_EQ(m.count(Counter::RoceCnpsOut), 2u);
    }
}

} // namespace
} // namespace erdma::test
