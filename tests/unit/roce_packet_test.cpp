// SPDX-License-Identifier: GPL-2.0-or-later
// The frames of roce.md 2.11, octet by octet, and the checks of 2.12 that need no queue pair.

#include <gtest/gtest.h>

#include <random>

#include "byteorder.h"
#include "icrc.h"
#include "roce_frames.h"

namespace erdma::test {

namespace {

using Octets = std::vector<std::byte>;

struct Read {
    RoceVerdict verdict = RoceVerdict::BadLength;
    RoceDatagram datagram;
    RocePacket packet;
};

std::optional<Read> readFrame(ConstBytes frame) {
    const std::optional<RoceDatagram> datagram = findRoceDatagram(frame);
    if (!datagram)
        return std::nullopt;
    Read read;
    read.datagram = *datagram;
    read.verdict = readRocePacket(*datagram, read.packet);
    return read;
}

Octets build(const RoceRoute& route, const RocePacket& packet, uint16_t identification) {
    Octets out;
    buildRoceFrame(route, packet, identification, out);
    EXPECT_EQ(out.size(), roceFrameBytes(route, packet));
    return out;
}

// Puts the right ICRC behind an IPv4 frame without tag that was changed.
void seal(Octets& frame) {
    const size_t end = 14 + loadBe16(frame, 16);
    ASSERT_LE(end, frame.size());
    storeLe32(frame, end - 4, icrc(ConstBytes(frame).subspan(14, end - 18), false));
}

void sealIp(Octets& frame) {
    storeBe16(frame, 24, 0);
    storeBe16(frame, 24, checksumFold(checksumAdd(ConstBytes(frame).subspan(14, 20))));
}

RocePacket request(RoceOp op, uint32_t psn) {
    RocePacket packet;
    packet.op = op;
    packet.ackRequest = true;
    packet.destinationQpn = 0x12;
    packet.psn = psn;
    return packet;
}

RocePacket answer(RoceOp op, uint32_t psn, uint8_t syndrome, uint32_t msn) {
    RocePacket packet;
    packet.op = op;
    packet.destinationQpn = 0x11;
    packet.psn = psn;
    packet.syndrome = syndrome;
    packet.msn = msn;
    return packet;
}

RocePacket toMemory(RoceOp op, uint32_t psn, uint64_t address, uint32_t rkey, uint32_t length) {
    RocePacket packet = request(op, psn);
    packet.address = address;
    packet.rkey = rkey;
    packet.length = length;
    return packet;
}

// One frame of 2.11: built from its parts, and read back.
void expectFrame(std::string_view text, const RoceRoute& route, const RocePacket& packet, uint16_t identification) {
    const Octets want = octets(text);
    EXPECT_EQ(build(route, packet, identification), want);
    const std::optional<Read> read = readFrame(want);
    ASSERT_TRUE(read.has_value());
    ASSERT_EQ(read->verdict, RoceVerdict::Good);
    const RocePacket& p = read->packet;
    EXPECT_EQ(p.op, packet.op);
    EXPECT_EQ(p.solicited, packet.solicited);
    EXPECT_EQ(p.migrated, packet.migrated);
    EXPECT_EQ(p.becn, packet.becn);
    EXPECT_EQ(p.ackRequest, packet.ackRequest);
    EXPECT_EQ(p.pkey, 0xFFFF);
    EXPECT_EQ(p.destinationQpn, packet.destinationQpn);
    EXPECT_EQ(p.psn, packet.psn);
    EXPECT_EQ(p.qkey, packet.qkey);
    EXPECT_EQ(p.sourceQpn, packet.sourceQpn);
    EXPECT_EQ(p.address, packet.address);
    EXPECT_EQ(p.rkey, packet.rkey);
    EXPECT_EQ(p.length, packet.length);
    EXPECT_EQ(p.operand, packet.operand);
    EXPECT_EQ(p.compare, packet.compare);
    EXPECT_EQ(p.syndrome, packet.syndrome);
    EXPECT_EQ(p.msn, packet.msn);
    EXPECT_EQ(p.original, packet.original);
    EXPECT_EQ(p.immediate, packet.immediate);
    EXPECT_EQ(p.invalidate, packet.invalidate);
    EXPECT_TRUE(std::equal(p.payload.begin(), p.payload.end(), packet.payload.begin(), packet.payload.end()));
    EXPECT_TRUE(hasRightPayload(p));
    EXPECT_EQ(read->datagram.route.sourceGid, route.sourceGid);
    EXPECT_EQ(read->datagram.route.destinationGid, route.destinationGid);
    EXPECT_EQ(read->datagram.route.trafficClass, route.trafficClass);
    EXPECT_EQ(read->datagram.route.udpPort, route.udpPort);
}

ConstBytes bytesOf(std::string_view text) { return std::as_bytes(std::span(text)); }

// 11.1 items 9 and 10.
TEST(RocePacket, FramesOfTheDatasheet) {
    const RoceRoute there = routeOfFrames(), back = routeOfFrames(true);
    RocePacket send = request(RoceOp::SendOnly, 0xABCDEF);
    send.payload = bytesOf("hello");
    expectFrame(frame::kD1, there, send, 0x1234);
    expectFrame(frame::kD2, back, answer(RoceOp::Acknowledge, 0xABCDEF, 0x1F, 1), 1);
    expectFrame(frame::kD3a, back, answer(RoceOp::Acknowledge, 0xABCDF0, 0x60, 1), 2);
    expectFrame(frame::kD3b, back, answer(RoceOp::Acknowledge, 0xABCDF0, 0x2C, 1), 3);

    RocePacket write = toMemory(RoceOp::WriteOnlyImm, 0xABCDF0, 0x7f0000001000, 0x0a01, 8);
    const Octets rising = octets("00 01 02 03 04 05 06 07");
    write.solicited = true;
    write.immediate = 0xDEADBEEF;
    write.payload = rising;
    expectFrame(frame::kD4, there, write, 0x1235);
    expectFrame(frame::kD5, there, toMemory(RoceOp::ReadRequest, 0xABCDF1, 0x7f0000002000, 0x0b02, 2500), 0x1236);

    RocePacket response = answer(RoceOp::ReadOnly, 0xABCDF4, 0x1F, 4);
    response.payload = bytesOf("abc");
    expectFrame(frame::kD6, back, response, 4);
    RocePacket swap = toMemory(RoceOp::CompareSwap, 0xABCDF5, 0x7f0000004000, 0x0d04, 0);
    swap.operand = 0x1111;
    swap.compare = 0x2222;
    expectFrame(frame::kD7, there, swap, 0x1237);
    RocePacket original = answer(RoceOp::AtomicAcknowledge, 0xABCDF5, 0x1F, 5);
    original.original = 0x2222;
    expectFrame(frame::kD8, back, original, 5);
    RocePacket invalidate = request(RoceOp::SendOnlyInv, 0xABCDF6);
    invalidate.invalidate = 0x00012345;
    invalidate.payload = bytesOf("inv!");
    expectFrame(frame::kD9, there, invalidate, 0x1238);
}

TEST(RocePacket, DatagramOverIpv6AndCongestionNotification) {
    RoceRoute route = routeOfFrames();
    route.ipv6 = true;
    route.sourceGid = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0, 0, 1};
    route.destinationGid = route.sourceGid;
    route.destinationGid[15] = 2;
    route.udpPort = 0xC005;
    RocePacket ping;
    ping.op = RoceOp::UdSend;
    ping.destinationQpn = 0x13;
    ping.sourceQpn = 0x14;
    ping.qkey = 0x11111111;
    ping.psn = 7;
    ping.payload = bytesOf("ping");
    expectFrame(frame::kD10, route, ping, 0);

    RoceRoute back = routeOfFrames(true);
    back.trafficClass = 0xC0;
    RocePacket cnp;
    cnp.op = RoceOp::Cnp;
    cnp.migrated = false;
    cnp.becn = true;
    cnp.destinationQpn = 0x11;
    expectFrame(frame::kD11, back, cnp, 6);
}

// The masked fields may change on the way; every other octet counts.
TEST(RocePacket, IcrcCoversWhatRoutersLeaveAlone) {
    const Octets good = octets(frame::kD1);
    for (size_t at = 14; at < good.size(); ++at) {
        Octets frame = good;
        frame[at] ^= std::byte{1};
        const bool address = at == 22 || at == 15; // TTL and class: the header checksum follows
        if (at < 34)
            sealIp(frame);
        const std::optional<Read> read = readFrame(frame);
        const bool masked = address || at == 24 || at == 25 || at == 40 || at == 41 || at == 46;
        if (!read) { // no IPv4, a fragment, no UDP, another port
            EXPECT_TRUE(at == 14 || at == 20 || at == 21 || at == 23 || at == 36 || at == 37) << at;
        } else if (at != 25 && at != 24) {
            EXPECT_EQ(read->verdict == RoceVerdict::Good, masked) << at;
        }
    }
}

// 11.1 items 11 and 12.
TEST(RocePacket, EveryBitOfTheIcrcCounts) {
    for (const std::string_view text : {frame::kD1, frame::kD2, frame::kD3a, frame::kD3b, frame::kD4, frame::kD5,
                                        frame::kD6, frame::kD7, frame::kD8, frame::kD9, frame::kD10, frame::kD11}) {
        const Octets good = octets(text);
        for (unsigned bit = 0; bit < 32; ++bit) {
            Octets frame = good;
            frame[frame.size() - 1 - bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
            EXPECT_EQ(readFrame(frame)->verdict, RoceVerdict::BadIcrc);
        }
    }
    Octets renumbered = octets(frame::kD1);
    storeBe16(renumbered, 18, 0x1235);
    sealIp(renumbered);
    EXPECT_EQ(readFrame(renumbered)->verdict, RoceVerdict::BadIcrc);
}

// 11.1 items 13 to 15.
TEST(RocePacket, RoutesAndWhatTheIcrcDoesNotSee) {
    RoceRoute route = routeOfFrames();
    route.ipv6 = true;
    const RocePacket packet = request(RoceOp::SendOnly, 1);
    route.hopLimit = 0;
    const Octets zeros = build(route, packet, 0);
    route.trafficClass = 0xFF;
    route.flowLabel = 0xFFFFF;
    route.hopLimit = 1;
    const Octets ones = build(route, packet, 0);
    EXPECT_TRUE(std::equal(zeros.end() - 4, zeros.end(), ones.end() - 4));
    const std::optional<Read> read = readFrame(ones);
    ASSERT_EQ(read->verdict, RoceVerdict::Good);
    EXPECT_EQ(read->datagram.route.trafficClass, 0xFF);
    EXPECT_EQ(read->datagram.route.flowLabel, 0xFFFFFu);
    EXPECT_TRUE(read->datagram.congestionExperienced());

    route.ipv6 = false;
    route.udpPort = 0xE476;
    const Octets four = build(route, packet, 0);
    EXPECT_EQ(loadBe16(four, 20), 0x4000); // DF
    EXPECT_EQ(load8(four, 15), 0xFF);
    EXPECT_EQ(loadBe16(four, 34), 0xE476);
    EXPECT_EQ(loadBe16(four, 40), 0);
}

// Whatever way the CRC is computed, bit by bit it is the same.
TEST(RocePacket, IcrcOfAnyLength) {
    std::mt19937 random(3);
    for (size_t length = 0; length < 4200; length += length < 300 ? 1 : 127) {
        Octets packet = octets(frame::kD1);
        packet.erase(packet.begin(), packet.begin() + 14);
        packet.resize(40);
        for (const size_t masked : {1u, 8u, 10u, 11u, 26u, 27u, 32u})
            packet[masked] = std::byte{0xFF};
        for (size_t i = 0; i < length; ++i)
            packet.push_back(static_cast<std::byte>(random()));
        uint32_t state = 0xDEBB20E3;
        for (const std::byte octet : packet) {
            state ^= std::to_integer<uint32_t>(octet);
            for (int bit = 0; bit < 8; ++bit)
                state = state >> 1 ^ ((state & 1) != 0 ? 0xEDB88320 : 0);
        }
        ASSERT_EQ(icrc(packet, false), ~state) << length;
    }
}

// 11.1 items 6 and 7; chapter 9 items 1 and 2.
TEST(RocePacket, LengthsThatContradictEachOther) {
    const Octets good = octets(frame::kD2);
    for (size_t cut = 0; cut < good.size(); ++cut) {
        const std::optional<Read> read = readFrame(ConstBytes(good).first(cut));
        EXPECT_TRUE(!read || read->verdict == RoceVerdict::BadLength) << cut;
    }
    Octets padded = good;
    padded.resize(100);
    ASSERT_EQ(readFrame(padded)->verdict, RoceVerdict::Good);
    EXPECT_TRUE(readFrame(padded)->packet.payload.empty());
    for (const uint16_t udp : std::initializer_list<uint16_t>{0, 7, 8, 12, 15, 17, 27, 29, 32, 65535}) {
        Octets frame = padded;
        storeBe16(frame, 38, udp);
        EXPECT_EQ(readFrame(frame)->verdict, RoceVerdict::BadLength) << udp;
        storeBe16(frame, 16, static_cast<uint16_t>(udp + 20)); // the IP length agrees
        sealIp(frame);
        const std::optional<Read> read = readFrame(frame);
        EXPECT_TRUE(read && read->verdict != RoceVerdict::Good) << udp;
    }
}

// Chapter 9 items 2 and 3: whatever the opcode, nothing is read beyond the packet.
TEST(RocePacket, EveryOpcodeWithTooLittle) {
    for (unsigned op = 0; op < 256; ++op) {
        for (const size_t payload : {0u, 4u, 8u, 28u}) {
            for (const unsigned pad : {0u, 3u}) {
                RocePacket packet;
                packet.op = RoceOp::SendOnly;
                const Octets body(payload, std::byte{0x55});
                packet.payload = body;
                Octets frame = build(routeOfFrames(), packet, 1);
                store8(frame, 42, static_cast<uint8_t>(op));
                store8(frame, 43, static_cast<uint8_t>(0x40 | pad << 4));
                seal(frame);
                const std::optional<Read> read = readFrame(frame);
                ASSERT_TRUE(read);
                const auto code = static_cast<RoceOp>(op);
                if (!isKnown(code) && op > 0x1F)
                    EXPECT_EQ(read->verdict, RoceVerdict::BadOpcode) << op;
                else if (isKnown(code) && headerBytes(code) + pad > 12 + payload)
                    EXPECT_EQ(read->verdict, RoceVerdict::BadLength) << op;
                else
                    EXPECT_EQ(read->verdict, RoceVerdict::Good) << op;
            }
        }
    }
}

// Chapter 9 item 5.
TEST(RocePacket, VersionAndPartition) {
    for (unsigned version = 1; version < 16; ++version) {
        Octets frame = octets(frame::kD1);
        store8(frame, 43, static_cast<uint8_t>(0x70 | version));
        seal(frame);
        EXPECT_EQ(readFrame(frame)->verdict, RoceVerdict::BadVersion);
    }
    EXPECT_TRUE(isOwnPartition(0xFFFF));
    EXPECT_TRUE(isOwnPartition(0x7FFF));
    for (const uint16_t other : std::initializer_list<uint16_t>{0, 0x7FFE, 0x8000, 0x1234, 0xFFFE})
        EXPECT_FALSE(isOwnPartition(other));
}

// 11.1 item 4 as far as it concerns the form of a frame, and item 5.
TEST(RocePacket, WhatIsNoDatagramOfOurs) {
    const Octets good = octets(frame::kD1);
    const auto changed = [&](size_t at, unsigned value, bool checksum = true) {
        Octets frame = good;
        store8(frame, at, static_cast<uint8_t>(value));
        if (checksum)
            sealIp(frame);
        return findRoceDatagram(frame).has_value();
    };
    EXPECT_TRUE(changed(20, 0x40));
    EXPECT_TRUE(changed(20, 0x00));  // DF is not required
    EXPECT_FALSE(changed(20, 0x20)); // more fragments
    EXPECT_FALSE(changed(21, 1));    // offset
    EXPECT_FALSE(changed(14, 0x46));
    EXPECT_FALSE(changed(14, 0x55));
    EXPECT_FALSE(changed(23, 6));
    EXPECT_FALSE(changed(24, 0, false)); // checksum
    EXPECT_FALSE(changed(37, 0xB8));     // port
    EXPECT_FALSE(changed(13, 0x06));     // ARP

    Octets tagged(good.begin(), good.begin() + 12);
    const Octets tag = octets("81 00 a0 00"), doubled = octets("81 00 a0 00 81 00 00 05");
    tagged.insert(tagged.end(), tag.begin(), tag.end());
    tagged.insert(tagged.end(), good.begin() + 12, good.end());
    ASSERT_EQ(readFrame(tagged)->verdict, RoceVerdict::Good);
    EXPECT_EQ(readFrame(tagged)->datagram.route.vlan, 0xA000);
    Octets twice(good.begin(), good.begin() + 12);
    twice.insert(twice.end(), doubled.begin(), doubled.end());
    twice.insert(twice.end(), good.begin() + 12, good.end());
    EXPECT_FALSE(findRoceDatagram(twice).has_value());

    Octets hop = octets(frame::kD10);
    hop[20] = std::byte{0}; // hop-by-hop header
    EXPECT_FALSE(findRoceDatagram(hop).has_value());
}

// 11.1 item 16, and the tag of 2.1.
TEST(RocePacket, PadAndTag) {
    RoceRoute route = routeOfFrames();
    route.vlan = static_cast<uint16_t>(3u << 13 | 77);
    for (size_t length = 0; length <= 9; ++length) {
        const Octets body(length, std::byte{0xEE});
        RocePacket packet = request(RoceOp::SendOnly, 1);
        packet.payload = body;
        const Octets frame = build(route, packet, 9);
        const std::optional<Read> read = readFrame(frame);
        ASSERT_EQ(read->verdict, RoceVerdict::Good);
        EXPECT_EQ(read->datagram.route.vlan, route.vlan);
        EXPECT_EQ(read->packet.payload.size(), length);
        EXPECT_EQ(read->packet.pad, (4 - length % 4) % 4);
        for (size_t i = 0; i < read->packet.pad; ++i)
            EXPECT_EQ(frame[frame.size() - 5 - i], std::byte{0});
    }
    RocePacket wrong = request(RoceOp::SendOnly, 1);
    wrong.pad = 1;
    EXPECT_FALSE(hasRightPayload(wrong));
    wrong.op = RoceOp::Acknowledge;
    EXPECT_FALSE(hasRightPayload(wrong));
    wrong.pad = 0;
    EXPECT_TRUE(hasRightPayload(wrong));
    wrong.payload = bytesOf("1234");
    EXPECT_FALSE(hasRightPayload(wrong));
}

// 2.13.
TEST(RocePacket, FortyOctetsBeforeADatagram) {
    std::array<std::byte, 40> grh;
    grh.fill(std::byte{0xEE});
    const Octets four = octets(frame::kD1), six = octets(frame::kD10);
    buildGrh(*findRoceDatagram(four), grh);
    EXPECT_TRUE(std::all_of(grh.begin(), grh.begin() + 20, [](std::byte b) { return b == std::byte{0}; }));
    EXPECT_TRUE(std::equal(grh.begin() + 20, grh.end(), four.begin() + 14));
    buildGrh(*findRoceDatagram(six), grh);
    EXPECT_TRUE(std::equal(grh.begin(), grh.end(), six.begin() + 14));
}

// Any octets at all behind a right ICRC: chapter 9 item 28 as far as reading goes.
TEST(RocePacket, RandomOctets) {
    std::mt19937 random(7);
    for (unsigned round = 0; round < 20000; ++round) {
        Octets frame = octets(frame::kD5);
        frame.resize(14 + 20 + 8 + 16 + 4 * (random() % 12));
        for (size_t i = 42; i < frame.size(); ++i)
            frame[i] = static_cast<std::byte>(random());
        storeBe16(frame, 16, static_cast<uint16_t>(frame.size() - 14));
        storeBe16(frame, 38, static_cast<uint16_t>(frame.size() - 34));
        sealIp(frame);
        if (round % 2 == 0)
            store8(frame, 43, load8(frame, 43) & 0xF0);
        seal(frame);
        const std::optional<Read> read = readFrame(frame);
        ASSERT_TRUE(read);
        if (read->verdict == RoceVerdict::Good) {
            EXPECT_LE(headerBytes(read->packet.op) + read->packet.payload.size() + read->packet.pad + 4 + 42,
                      frame.size());
        }
    }
}

} // namespace

} // namespace erdma::test
