// SPDX-License-Identifier: GPL-2.0-or-later
// A RoCEv2 adapter whose wire is the test: what it sends is kept, what the test puts on the wire it may claim.
#pragma once

#include <memory>
#include <vector>

#include "fake_host.h"
#include "nic.h"
#include "pair_bench.h"
#include "roce.h"
#include "roce_commands.h"
#include "roce_frames.h"

namespace erdma::test {

inline erdma_config roceConfig() {
    erdma_config config = testConfig();
    config.protocol = ERDMA_PROTOCOL_ROCEV2;
    std::copy(kMacB.begin(), kMacB.end(), config.mac); // of the frames of 2.11
    return config;
}

// MODIFY_QP's attribute mask (13.3, roce.md 1.9).
namespace attr {
inline constexpr uint32_t kState = 1, kQkey = 2, kAddress = 4, kSendPsn = 8, kRecvPsn = 16, kDestination = 32;
}
inline constexpr uint32_t kReset = 0, kInit = 1, kRtr = 2, kRts = 3, kSqd = 4, kSqe = 5, kError = 6;
inline constexpr uint32_t kTypeRc = 0, kTypeUd = 1;

// `at`: of the 36 octets of 13.2.
inline Request& putAddress(Request& request, size_t at, const RoceRoute& to, uint32_t gidIndex = 1) {
    request.u32(at, to.flowLabel | (to.ipv6 ? 1u << 20 : 0))
        .u8(at + 4, to.trafficClass)
        .u8(at + 5, to.hopLimit)
        .u8(at + 6, 0)
        .u16(at + 8, to.udpPort)
        .u16(at + 10, static_cast<uint16_t>(gidIndex));
    for (size_t i = 0; i < 6; ++i)
        request.u8(at + 12 + i, to.destination[i]);
    for (size_t i = 0; i < 16; ++i)
        request.u8(at + 20 + i, to.destinationGid[i]);
    return request;
}

struct RoceMachine : Machine {
    explicit RoceMachine(const erdma_config& config = roceConfig(), bool up = true) : Machine(128, config) {
        device.attachNic(Nic::make(device.adapter(), roce));
        device.setPersonality(std::make_unique<RoceCommands>(*roce));
        host.onFrame = [this](erdma_side side, ConstBytes frame, const erdma_offload&) {
            (side == ERDMA_TO_WIRE ? wire : toGuest).emplace_back(frame.begin(), frame.end());
        };
        if (!up)
            return;
        guest.bringUp();
        guest.createEq(1);
        EXPECT_TRUE(guest.createCq(1).ok());
        EXPECT_TRUE(guest.createCq(2).ok());
        EXPECT_TRUE(setGid(1, mappedGid(kIpB)).ok());
        buffer = memory().allocate(kBufferBytes);
        EXPECT_TRUE(guest.registerMr(7, buffer, buffer, kBufferBytes).ok());
    }
    static constexpr uint32_t kBufferBytes = 1 << 16, kStag = 7 << 8;

    FakeMemory& memory() { return guest.memory(); }
    Reply setGid(uint32_t index, const Gid& gid, uint32_t more = 0) {
        Request request;
        request.u32(8, index | (isMapped(gid) ? 0 : 1u << 16) | more);
        for (size_t i = 0; i < gid.size(); ++i)
            request.u8(12 + i, gid[i]);
        return guest.command(0, 14, request);
    }
    // Everything but the index is garbage, as drivers leave it.
    Reply deleteGid(uint32_t index) { return guest.command(0, 14, Request().u32(8, 1u << 31 | index)); }
    Reply createAh(uint32_t number, const RoceRoute& to, uint32_t pd = 1, uint32_t gidIndex = 1) {
        Request request;
        request.u32(8, pd).u32(12, number);
        return guest.command(0, 15, putAddress(request, 16, to, gidIndex));
    }
    Reply destroyAh(uint32_t number) { return guest.command(0, 16, Request().u32(8, 1).u32(12, number)); }

    Reply createQp(uint32_t qpn, uint32_t type, bool ofProcess = false, uint32_t pd = 1) {
        Guest::QpRings rings{guest.newRing(64, 32), guest.newRing(16, 32)};
        Request request = Guest::qpRequest(qpn, 1, 2, 6, 4, pd, rings.sq.address, rings.rq.address, ofProcess ? 0 : 8);
        const Reply reply = guest.command(0, 1, request.u32(116, type));
        if (reply.ok())
            guest.qp(qpn) = rings;
        return reply;
    }
    // Bits of `mask` besides the state; fields whose bit is clear are garbage.
    Reply modify(uint32_t qpn, uint32_t state, uint32_t mask = 0, Request request = Request()) {
        return guest.command(0, 3, request.u32(8, state << 24 | qpn).u32(16, attr::kState | mask));
    }
    Reply toRtr(uint32_t qpn, const RoceRoute& to, uint32_t peer = 0x11, uint32_t psn = 0xABCDEF,
                uint32_t gidIndex = 1) {
        Request request;
        request.u32(12, peer).u32(24, psn);
        return modify(qpn, kRtr, attr::kAddress | attr::kDestination | attr::kRecvPsn,
                      putAddress(request, 32, to, gidIndex));
    }
    Reply toRts(uint32_t qpn, uint32_t psn = 0x100) {
        return modify(qpn, kRts, attr::kSendPsn, Request().u32(28, psn));
    }
    // RC: as B of the frames of 2.11, whose peer is A.
    void connect(uint32_t qpn, const RoceRoute& to = routeOfFrames(true), uint32_t peer = 0x11) {
        EXPECT_TRUE(modify(qpn, kInit).ok());
        EXPECT_TRUE(toRtr(qpn, to, peer).ok());
        EXPECT_TRUE(toRts(qpn).ok());
    }
    void openUd(uint32_t qpn, uint32_t qkey) {
        EXPECT_TRUE(createQp(qpn, kTypeUd).ok());
        EXPECT_TRUE(modify(qpn, kInit, attr::kQkey, Request().u32(20, qkey)).ok());
        EXPECT_TRUE(modify(qpn, kRtr).ok());
        EXPECT_TRUE(toRts(qpn, 7).ok());
    }
    struct Query {
        uint32_t sendPsn, recvPsn, state;
        bool draining;
    };
    Query query(uint32_t qpn) {
        const Reply reply = guest.command(0, 17, Request().u32(8, qpn));
        EXPECT_TRUE(reply.ok());
        const uint64_t w = reply.resp0;
        return {static_cast<uint32_t>(w & 0xFFFFFF), static_cast<uint32_t>(w >> 24 & 0xFFFFFF),
                static_cast<uint32_t>(w >> 48 & 0xFF), (w >> 56 & 1) != 0};
    }
    uint32_t state(uint32_t qpn) { return query(qpn).state; }

    // True: the adapter took it.
    bool give(ConstBytes frame, const erdma_offload& offload = {}) {
        const bool wanted =
            device.wantsFrame(ERDMA_TO_GUEST, frame.first(std::min<size_t>(frame.size(), 128)), frame.size());
        const bool taken = wanted && device.frame(ERDMA_TO_GUEST, frame, offload);
        device.framesEnd();
        guest.settle();
        return taken;
    }
    bool give(const RoceRoute& route, const RocePacket& packet) {
        std::vector<std::byte> frame;
        buildRoceFrame(route, packet, 1, frame);
        return give(frame);
    }
    uint16_t post(uint32_t qpn, SqeBytes sqe) {
        const uint16_t index = put(qpn, std::move(sqe));
        guest.ringSq(qpn);
        return index;
    }
    // Without doorbell.
    uint16_t put(uint32_t qpn, SqeBytes sqe) { return guest.putSqe(qpn, sqe); }
    void recv(uint32_t qpn, uint64_t offset, uint32_t length) { guest.postRecv(qpn, buffer + offset, length, kStag); }
    Sge sge(uint64_t offset, uint32_t length) { return {buffer + offset, length, kStag}; }

    Roce* roce = nullptr;
    std::vector<std::vector<std::byte>> wire, toGuest;
    uint64_t buffer = 0;
};

// A UD SEND (13.4).
inline SqeBytes udSqe(Op op, uint64_t flags, const std::vector<Sge>& sges, uint32_t qkey, uint32_t qpn, uint32_t ah,
                      uint32_t immediate = 0) {
    SqeBytes raw =
        rawSqe(static_cast<uint32_t>(1 + (sges.size() + 1) / 2), op, flags, static_cast<uint32_t>(sges.size()));
    uint32_t length = 0;
    for (const Sge& sge : sges)
        length += sge.length;
    storeBe32(raw, 8, immediate);
    storeLe32(raw, 12, length);
    storeLe32(raw, 16, qkey);
    storeLe32(raw, 20, qpn);
    storeLe32(raw, 24, ah);
    putSges(raw, 32, sges);
    return raw;
}

} // namespace erdma::test
