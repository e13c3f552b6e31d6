// SPDX-License-Identifier: GPL-2.0-or-later
// Two RoCEv2 adapters on a cable that belongs to somebody else: frames of one connection and of datagrams are lost,
// repeated, delayed, changed and made up, by one who knows every number.  A second connection between the same two
// adapters, whose frames nobody touches, keeps working, and no frame makes an adapter write where its guest did not
// allow it.
#include <deque>
#include <memory>

#include "driver.h"
#include "roce_packet.h"
#include "work.h"

namespace erdma::fuzz {
namespace {

using Octets = std::vector<std::byte>;

constexpr uint64_t kMs = 1'000'000;
constexpr uint32_t kBuffer = 4 * Ram::kPage;
constexpr uint32_t kRegion = kBuffer - 64;
constexpr uint64_t kIova = 0x7F0000000040;
constexpr uint32_t kSecretBytes = 64;
constexpr uint32_t kStag = 10u << 8, kSecretStag = 11u << 8;
// Queue pairs, the same in both machines.
constexpr uint32_t kHostile = 0, kBystander = 1, kDatagrams = 2, kPairs = 3;
constexpr uint32_t kHandle = 5, kQkey = 0x11111111;
// States and attributes of MODIFY_QP (adapter.md 13.3, roce.md 1.9).
constexpr uint32_t kReset = 0, kInit = 1, kRtr = 2, kRts = 3, kError = 6;
constexpr uint32_t kState = 1, kQkeyGiven = 2, kAddress = 4, kSendPsn = 8, kRecvPsn = 16, kDestination = 32;
constexpr uint32_t kPathMtu = 1u << 16, kTimeout = 1u << 17, kRnrTimer = 1u << 20, kOrd = 1u << 21, kIrd = 1u << 22;

constexpr uint32_t qpnOf(uint32_t pair) { return pair + 2; }
constexpr uint32_t psnPlus(uint32_t psn, uint32_t more) { return (psn + more) & 0xFFFFFF; }

class Scene {
public:
    explicit Scene(Input& in) : in_(in) {
        const uint8_t flags = in.u8();
        const uint8_t numbers = in.u8();
        v6_ = (flags & 1) != 0;
        bystander_ = (flags & 2) == 0;
        pmtuCode_ = static_cast<uint8_t>(1 + (flags >> 2) % 3);
        limits_ = (flags & 16) != 0;
        firstPsn_ = (flags & 32) != 0 ? 0xFFFFFE : 0x100;
        ord_ = static_cast<uint8_t>(numbers & 3);
        ird_ = static_cast<uint8_t>(numbers >> 2 & 3);
        timeout_ = static_cast<uint8_t>(numbers >> 4 & 15);
        for (unsigned i = 0; i < 2; ++i) {
            erdma_config config = smallConfig();
            config.protocol = ERDMA_PROTOCOL_ROCEV2;
            config.mac[5] = static_cast<uint8_t>(config.mac[5] + i);
            machines_[i] = std::make_unique<Machine>(i, config, clock_);
            drivers_[i] = std::make_unique<Driver>(*machines_[i]);
            setUp(i);
        }
    }

    void play() {
        for (int step = 0; step < 200 && !in_.empty(); ++step) {
            act();
            carryBystander();
        }
        if (bystander_)
            bystanderWorks();
        else
            pump(64);
        // The cable outlives no adapter.
        machines_[0]->destroy();
        machines_[1]->destroy();
    }

private:
    // ---- both guests' kernels ----

    void setUp(unsigned i) {
        Driver& driver = *drivers_[i];
        driver.bringUp();
        FUZZ_CHECK(driver.createEq(1), "an event queue is refused");
        FUZZ_CHECK(setGid(i, kHostile) && setGid(i, kBystander), "an address is refused");
        for (uint32_t q = 0; q < kPairs; ++q) {
            pairs_[i][q] = {.qpn = qpnOf(q),
                            .sendCqn = q + 1,
                            .recvCqn = q + 1,
                            .pd = q == kBystander ? 2u : 1u,
                            .sq = {},
                            .rq = {}};
            FUZZ_CHECK(driver.createCq(q + 1, 6) && driver.createQp(pairs_[i][q], 4, 3, 0, 0, q == kDatagrams ? 1 : 0),
                       "a queue pair is refused");
        }
        FUZZ_CHECK(open(i, kHostile) && open(i, kBystander), "a connection is refused");
        FUZZ_CHECK(modify(i, kDatagrams, kInit, kQkeyGiven, Request().u32(20, kQkey)) &&
                       modify(i, kDatagrams, kRtr, 0) && modify(i, kDatagrams, kRts, kSendPsn) && createHandle(i),
                   "datagrams are refused");
        buffer_[i] = driver.allocate(kBuffer) + kIova % Ram::kPage;
        secret_[i] = driver.allocate(Ram::kPage) + kIova % Ram::kPage;
        FUZZ_CHECK(driver.registerMr(10, 1, kIova, buffer_[i], kRegion, i == 1) &&
                       driver.registerMr(11, 2, kIova, secret_[i], kSecretBytes),
                   "a region is refused");
        for (uint32_t at = 0; at < kSecretBytes; ++at)
            *driver.ram().at(secret_[i] + at, 1) = static_cast<std::byte>(at * 5 + i);
        std::vector<Range> open = driver.eventRings;
        open.push_back({buffer_[i], kRegion});
        machines_[i]->seal(std::move(open));
        machines_[i]->onFrame = [this, i](erdma_side side, ConstBytes frame) {
            if (side == ERDMA_TO_GUEST)
                return; // its kernel has no RoCEv2 of its own
            auto& queue = isBystanders(frame) ? safe_[i] : cable_[i];
            if (queue.size() < 256)
                queue.push_back({frame.begin(), frame.end()});
            note(i, frame);
        };
        poster_ = {{{kStag, kIova, kRegion}, {kStag, kIova, kRegion}, {kSecretStag, kIova, kSecretBytes}},
                   {{kStag, kIova, kRegion}, {kStag, kIova, kRegion}, {kSecretStag, kIova, kSecretBytes}}};
    }

    // Addresses of their own, so that the hostile connection's may go.
    Gid gidOf(unsigned i, uint32_t pair) const {
        Gid gid = mappedGid(0x0A000001u + i + (pair == kBystander ? 0x100 : 0));
        if (v6_ && pair != kBystander)
            gid[0] = 0xFE;
        return gid;
    }
    bool isV6(uint32_t pair) const { return v6_ && pair != kBystander; }
    static uint32_t gidIndexOf(uint32_t pair) { return pair == kBystander ? 1 : 2; }

    bool setGid(unsigned i, uint32_t pair) {
        Request request;
        request.u32(8, gidIndexOf(pair) | (isV6(pair) ? 1u << 16 : 0));
        const Gid gid = gidOf(i, pair);
        for (size_t at = 0; at < gid.size(); ++at)
            request.u8(12 + at, gid[at]);
        return drivers_[i]->command(0, 14, request) == 0;
    }
    Mac macOf(unsigned i) const { return {0x52, 0x54, 0, 0x12, 0x34, static_cast<uint8_t>(0x56 + i)}; }
    // The peer's, as adapter.md 13.2 has it.
    void putAddress(unsigned i, uint32_t pair, Request& request, size_t at) const {
        request.u32(at, isV6(pair) ? 1u << 20 : 0)
            .u8(at + 5, 64)
            .u16(at + 8, 0xC000)
            .u16(at + 10, static_cast<uint16_t>(gidIndexOf(pair)));
        const Mac mac = macOf(1 - i);
        for (size_t n = 0; n < mac.size(); ++n)
            request.u8(at + 12 + n, mac[n]);
        const Gid gid = gidOf(1 - i, pair);
        for (size_t n = 0; n < gid.size(); ++n)
            request.u8(at + 20 + n, gid[n]);
    }
    bool createHandle(unsigned i) {
        Request request;
        request.u32(8, 1).u32(12, kHandle);
        putAddress(i, kDatagrams, request, 16);
        return drivers_[i]->command(0, 15, request) == 0;
    }
    bool modify(unsigned i, uint32_t pair, uint32_t state, uint32_t mask, Request request = Request()) {
        request.u32(8, state << 24 | qpnOf(pair)).u32(16, kState | mask);
        return drivers_[i]->command(0, 3, request) == 0;
    }
    // From RESET.
    bool open(unsigned i, uint32_t pair) {
        Request path;
        path.u32(12, qpnOf(pair)).u32(24, firstPsn_).u8(68, pair == kBystander ? 3 : pmtuCode_);
        putAddress(i, pair, path, 32);
        uint32_t more = 0;
        if (limits_ && pair == kHostile) {
            path.u8(69, timeout_).u8(72, 1).u8(73, ord_).u8(74, ird_);
            more = kTimeout | kRnrTimer | kOrd | kIrd;
        }
        if (pair == kHostile)
            nextRequest_[i] = lastRequest_[i] = firstPsn_;
        return modify(i, pair, kInit, 0) &&
               modify(i, pair, kRtr, kAddress | kDestination | kRecvPsn | kPathMtu | more, path) &&
               modify(i, pair, kRts, kSendPsn, Request().u32(28, firstPsn_));
    }

    // ---- the cable ----

    // Whoever may forge frames of a connection may end it.
    static bool isBystanders(ConstBytes frame) {
        RocePacket packet;
        return read(frame, packet) && packet.destinationQpn == qpnOf(kBystander);
    }
    static bool read(ConstBytes frame, RocePacket& packet) {
        const std::optional<RoceDatagram> datagram = findRoceDatagram(frame);
        return datagram && readRocePacket(*datagram, packet) == RoceVerdict::Good;
    }
    // What the hostile connection has asked for.
    void note(unsigned from, ConstBytes frame) {
        RocePacket packet;
        if (!read(frame, packet) || packet.destinationQpn != qpnOf(kHostile) || isResponse(packet.op))
            return;
        const uint32_t octets = 128u << pmtuCode_;
        const uint32_t packets =
            packet.op == RoceOp::ReadRequest ? std::max(1u, packet.length / octets + (packet.length % octets != 0)) : 1;
        lastRequest_[from] = packet.psn;
        nextRequest_[from] = psnPlus(packet.psn, packets);
    }
    void arrive(unsigned at, ConstBytes frame) {
        machines_[at]->frame(ERDMA_TO_GUEST, frame);
        machines_[at]->framesEnd();
    }
    void carryBystander() {
        for (int round = 0; round < 32; ++round) {
            if (safe_[0].empty() && safe_[1].empty())
                return;
            for (unsigned from = 0; from < 2; ++from) {
                if (safe_[from].empty())
                    continue;
                const Octets frame = std::move(safe_[from].front());
                safe_[from].pop_front();
                arrive(1 - from, frame);
                machines_[1 - from]->settle(8);
            }
        }
    }
    void deliver(unsigned from) {
        if (cable_[from].empty())
            return;
        const Octets frame = std::move(cable_[from].front());
        cable_[from].pop_front();
        arrive(1 - from, frame);
    }
    // All that is under way, unharmed.
    void pump(unsigned rounds) {
        for (unsigned round = 0; round < rounds; ++round) {
            for (unsigned i = 0; i < 2; ++i) {
                machines_[i]->settle(8);
                deliver(i);
            }
            carryBystander();
        }
    }

    // ---- what the input does ----

    void act() {
        const unsigned side = in_.below(2);
        switch (in_.below(16)) {
        case 0:
        case 1:
        case 2:
            post(side);
            break;
        case 3: {
            Pair& pair = pairs_[side][in_.rarely(4) ? kDatagrams : kHostile];
            const Sge sge = makeSge(in_, poster_.own);
            drivers_[side]->putRqe(pair, sge.addr, sge.length, sge.stag);
            machines_[side]->write(0x61000, Driver::rqDoorbell(pair));
            break;
        }
        case 4:
        case 5:
            for (uint32_t n = 1 + in_.below(4); n > 0; --n)
                deliver(side);
            break;
        case 6:
            if (!cable_[side].empty()) { // lost, or overtaken
                if (in_.below(2) == 0)
                    cable_[side].push_back(cable_[side].front());
                cable_[side].pop_front();
            }
            break;
        case 7:
            if (!cable_[side].empty()) // once more
                forged(1 - side, Octets(cable_[side].front()));
            break;
        case 8:
        case 9:
            if (!cable_[side].empty()) {
                Octets frame = std::move(cable_[side].front());
                cable_[side].pop_front();
                change(frame);
                forged(1 - side, frame);
            }
            break;
        case 10:
        case 11:
        case 12:
            inject(side);
            break;
        case 13:
            clock_ += uint64_t{1} << in_.below(38);
            for (auto& machine : machines_)
                machine->settle(8);
            break;
        case 14:
            machines_[side]->settle(in_.below(8));
            break;
        default:
            govern(side);
            break;
        }
    }

    void post(unsigned side) {
        std::vector<std::byte> sqe = makeSqe(in_, poster_);
        const bool datagram = in_.rarely(4);
        Pair& pair = pairs_[side][datagram ? kDatagrams : kHostile];
        if (datagram && !in_.rarely(8) && sqe.size() >= 32) { // a Send to the peer's, mostly
            const uint64_t keep = loadLe64(sqe, 0) & ~(uint64_t{0x1F} << 27);
            storeLe64(sqe, 0, keep | uint64_t{2} << 27);
            storeLe32(sqe, 16, kQkey);
            storeLe32(sqe, 20, qpnOf(kDatagrams));
            storeLe32(sqe, 24, in_.rarely(4) ? in_.u8() : kHandle);
        }
        drivers_[side]->putSqe(pair, sqe);
        machines_[side]->write(0x5F000, Driver::sqDoorbell(pair));
    }

    // What the guest's kernel does meanwhile.
    void govern(unsigned side) {
        const uint32_t pair = in_.rarely(4) ? kDatagrams : kHostile;
        switch (in_.below(6)) {
        case 0: {
            const uint32_t state = in_.below(8);
            const uint32_t mask = in_.rarely(4) ? in_.u32() : 0;
            modify(side, pair, state, mask);
            break;
        }
        case 1: // a new connection of the same queue pair
            modify(side, kHostile, kReset, 0);
            open(side, kHostile);
            break;
        case 2:
            drivers_[side]->command(0, 14, Request().u32(8, 1u << 31 | gidIndexOf(kHostile)));
            break;
        case 3:
            setGid(side, kHostile);
            createHandle(side);
            break;
        case 4:
            drivers_[side]->command(0, 17, Request().u32(8, qpnOf(pair)));
            break;
        default:
            modify(side, pair, kError, 0);
            break;
        }
    }

    void forged(unsigned to, const Octets& frame) {
        if (isBystanders(frame))
            return;
        machines_[to]->frame(ERDMA_TO_GUEST, frame);
        if (!in_.rarely(4))
            machines_[to]->framesEnd();
    }

    // A frame of the connection with something else in it.
    void change(Octets& frame) {
        const std::optional<RoceDatagram> datagram = findRoceDatagram(frame);
        RocePacket packet;
        if (!datagram || readRocePacket(*datagram, packet) != RoceVerdict::Good)
            return;
        if (in_.rarely(8)) { // any octet, the CRC as it was
            const auto value = static_cast<std::byte>(in_.u8());
            frame[in_.u16() % frame.size()] = value;
            return;
        }
        Octets payload(packet.payload.begin(), packet.payload.end());
        switch (in_.below(8)) {
        case 0:
            packet.psn = psnPlus(packet.psn, in_.distance());
            break;
        case 1:
            packet.op = anyOp();
            break;
        case 2:
            packet.syndrome = anySyndrome();
            break;
        case 3:
            packet.length = in_.edge32();
            break;
        case 4:
            packet.address = in_.below(2) == 0 ? packet.address + in_.distance() : in_.edge64();
            break;
        case 5:
            payload.resize(in_.u16() % (kMaxRocePayload + 1));
            break;
        case 6:
            packet.rkey = packet.invalidate = in_.pick(poster_.remote).stag;
            break;
        default:
            packet.ackRequest = !packet.ackRequest;
            break;
        }
        packet.payload = carriesPayload(packet.op) ? ConstBytes(payload) : ConstBytes();
        Octets out;
        buildRoceFrame(datagram->route, packet, 1, out);
        frame = std::move(out);
    }
    RoceOp anyOp() {
        static constexpr std::array<uint8_t, 28> ops = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09,
                                                        0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x10, 0x11, 0x12, 0x13,
                                                        0x14, 0x16, 0x17, 0x64, 0x65, 0x81, 0x11, 0x0D};
        return static_cast<RoceOp>(in_.pick(ops));
    }
    uint8_t anySyndrome() {
        static constexpr std::array<uint8_t, 10> syndromes = {0x1F, 0x1F, 0x1F, 0x20, 0x21,
                                                              0x60, 0x60, 0x61, 0x62, 0x63};
        return in_.rarely(8) ? in_.u8() : in_.pick(syndromes);
    }

    // A packet of an attacker who knows where both ends stand.
    void inject(unsigned to) {
        RocePacket packet;
        packet.op = anyOp();
        const bool datagram = isUd(packet.op);
        packet.destinationQpn = in_.rarely(16) ? in_.below(5) : qpnOf(datagram ? kDatagrams : kHostile);
        // A request that is due, or an answer to the newest one or to one before it.
        packet.psn = isResponse(packet.op) ? lastRequest_[to] : nextRequest_[1 - to];
        if (in_.rarely(4))
            packet.psn = psnPlus(packet.psn, in_.below(2) == 0 ? in_.distance() : uint32_t{in_.u8()} - 8);
        packet.ackRequest = in_.below(2) == 0;
        packet.solicited = in_.below(2) == 0;
        packet.syndrome = anySyndrome();
        packet.msn = in_.u8();
        const Sge at = makeSge(in_, poster_.remote);
        packet.address = at.addr;
        packet.rkey = at.stag;
        packet.length = at.length;
        packet.operand = in_.u8();
        packet.compare = in_.below(2);
        packet.original = 5;
        packet.immediate = 7;
        packet.invalidate = in_.pick(poster_.remote).stag;
        packet.qkey = in_.rarely(8) ? in_.u32() : kQkey;
        packet.sourceQpn = in_.u8();
        if (in_.rarely(16))
            packet.pkey = in_.u16();
        Octets payload(in_.below(3) == 0 ? 128u << pmtuCode_ : in_.below(4) == 0 ? at.length % 4097 : in_.u8());
        if (!payload.empty())
            payload[0] = std::byte{0x5A};
        if (carriesPayload(packet.op))
            packet.payload = payload;
        RoceRoute route;
        route.destination = macOf(to);
        route.source = macOf(1 - to);
        route.ipv6 = v6_;
        route.sourceGid = gidOf(1 - to, kHostile);
        route.destinationGid = gidOf(to, kHostile);
        if (in_.rarely(16))
            route.sourceGid[15] ^= 8;
        if (in_.rarely(16))
            route.trafficClass = 3; // congestion experienced
        Octets frame;
        buildRoceFrame(route, packet, 1, frame);
        forged(to, frame);
        if (!isResponse(packet.op) && !datagram && packet.psn == nextRequest_[1 - to])
            nextRequest_[1 - to] = psnPlus(packet.psn, 1);
    }

    // ---- the bystander ----

    void bystanderWorks() {
        for (unsigned i = 0; i < 2; ++i)
            for (uint32_t at = 0; at < kSecretBytes; ++at)
                FUZZ_CHECK(*machines_[i]->ram().at(secret_[i] + at, 1) == static_cast<std::byte>(at * 5 + i),
                           "a bystander's memory changed");
        Pair& from = pairs_[0][kBystander];
        Pair& to = pairs_[1][kBystander];
        machines_[1]->open({secret_[1], kSecretBytes});
        drivers_[1]->putRqe(to, kIova, kSecretBytes, kSecretStag);
        machines_[1]->write(0x61000, Driver::rqDoorbell(to));
        std::array<std::byte, 32> sqe{};
        storeLe64(sqe, 0, uint64_t{1} << 56 | uint64_t{2} << 27 | 1u << 22);
        storeLe32(sqe, 12, kSecretBytes);
        storeLe64(sqe, 16, kIova);
        storeLe32(sqe, 24, kSecretBytes);
        storeLe32(sqe, 28, kSecretStag);
        drivers_[0]->putSqe(from, sqe);
        machines_[0]->write(0x5F000, Driver::sqDoorbell(from));
        for (int i = 0; i < 4; ++i) {
            pump(4);
            clock_ += 50 * kMs;
        }
        for (uint32_t at = 0; at < kSecretBytes; ++at)
            FUZZ_CHECK(*machines_[1]->ram().at(secret_[1] + at, 1) == static_cast<std::byte>(at * 5),
                       "a bystander's message did not arrive");
        for (unsigned i = 0; i < 2; ++i) {
            const std::byte* raw = machines_[i]->ram().at(drivers_[i]->cqRings[qpnOf(kBystander) - 1].address, 32);
            const uint32_t header = loadBe32({raw, 32}, 0);
            FUZZ_CHECK(header >> 31 == 1 && (header & 0xFF) == 0, "a bystander's completion is missing or bad");
        }
    }

    Input& in_;
    uint64_t clock_ = 1000 * kMs;
    bool v6_ = false, bystander_ = true;
    bool limits_ = false; // the hostile connection's are given
    uint8_t pmtuCode_ = 3, ord_ = 0, ird_ = 0, timeout_ = 0;
    uint32_t firstPsn_ = 0;
    std::array<std::unique_ptr<Machine>, 2> machines_;
    std::array<std::unique_ptr<Driver>, 2> drivers_;
    std::array<std::array<Pair, kPairs>, 2> pairs_;
    std::array<uint64_t, 2> buffer_{}, secret_{};
    Poster poster_;
    std::array<uint32_t, 2> nextRequest_{}, lastRequest_{}; // PSNs of the hostile connection, by sender
    std::array<std::deque<Octets>, 2> cable_, safe_;        // by sender
};

} // namespace
} // namespace erdma::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    erdma::fuzz::Input in(data, size);
    erdma::fuzz::Scene(in).play();
    return 0;
}
