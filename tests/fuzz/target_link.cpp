// SPDX-License-Identifier: GPL-2.0-or-later
// Two adapters on a cable that belongs to somebody else: frames of one connection are lost, repeated, delayed, changed
// and made up.  A second connection between the same two adapters, whose frames nobody touches, keeps working, and no
// frame makes an adapter write where its guest did not allow it.
#include <deque>
#include <memory>

#include "driver.h"
#include "fpdu.h"
#include "packet.h"
#include "terminate.h"
#include "work.h"

namespace erdma::fuzz {
namespace {

using Octets = std::vector<std::byte>;
using namespace tcp_flag;

constexpr uint64_t kMs = 1'000'000;
constexpr uint32_t kBuffer = 4 * Ram::kPage;
constexpr uint32_t kRegion = kBuffer - 64;
constexpr uint64_t kIova = 0x7F0000000040;
constexpr uint32_t kSecretBytes = 64;
constexpr std::array<IpAddress, 2> kAddress = {0x0A000001u, 0x0A000002u};
constexpr std::array<IpAddress, 2> kAddress6 = {IpAddress(0xFE80'0000'0000'0000u, 1),
                                                IpAddress(0xFE80'0000'0000'0000u, 2)};
constexpr std::array<uint16_t, 2> kHostilePorts = {1000, 2000}, kBystanderPorts = {3000, 4000};
constexpr uint32_t kStag = 10u << 8, kSecretStag = 11u << 8;

// What the handshake agreed on.
struct Agreed {
    bool crc = false;
    uint8_t revision = 129;
    bool sack = true, timestamps = true;
    uint16_t mss = 1460;
    uint8_t scale = 0;
    bool v6 = false;
};

class Scene {
public:
    explicit Scene(Input& in) : in_(in) {
        const uint8_t flags = in.u8();
        agreed_.crc = (flags & 1) != 0;
        agreed_.revision = (flags & 2) != 0 ? 2 : 129;
        agreed_.sack = (flags & 4) == 0;
        agreed_.timestamps = (flags & 8) == 0;
        agreed_.mss = (flags & 16) != 0 ? 256 : 1460;
        agreed_.scale = (flags & 32) != 0 ? 7 : 0;
        bystander_ = (flags & 64) == 0;
        agreed_.v6 = ((flags & 16) != 0) != ((flags & 32) != 0); // there is no bit left
        for (unsigned i = 0; i < 2; ++i) {
            erdma_config config = smallConfig();
            config.mac[5] = static_cast<uint8_t>(config.mac[5] + i);
            config.segment_bytes = (flags & 128) != 0 ? 4096 : 0;
            machines_[i] = std::make_unique<Machine>(i, config, clock_);
            drivers_[i] = std::make_unique<Driver>(*machines_[i]);
            setUp(i);
        }
        open(kHostilePorts, 0, agreed_);
        if (bystander_)
            open(kBystanderPorts, 1, Agreed{});
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
    void setUp(unsigned i) {
        Driver& driver = *drivers_[i];
        driver.bringUp();
        FUZZ_CHECK(driver.createEq(1), "an event queue is refused");
        for (uint32_t q = 0; q < 2; ++q) {
            pairs_[i][q] = {.qpn = q + 1, .sendCqn = q + 1, .recvCqn = q + 1, .pd = q + 1, .sq = {}, .rq = {}};
            FUZZ_CHECK(driver.createCq(q + 1, 6) && driver.createQp(pairs_[i][q], 4, 3), "a queue pair is refused");
        }
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
                return; // its kernel's socket waits for nothing
            note(i, frame);
            auto& queue = isBystanders(frame) ? safe_[i] : cable_[i];
            if (queue.size() < 256)
                queue.push_back({frame.begin(), frame.end()});
        };
        poster_ = {{{kStag, kIova, kRegion}, {kStag, kIova, kRegion}, {kSecretStag, kIova, kSecretBytes}},
                   {{kStag, kIova, kRegion}, {kStag, kIova, kRegion}, {kSecretStag, kIova, kSecretBytes}}};
    }

    // ---- the handshake, as two kernels do it ----

    LinkHeader linkOf(unsigned from) const {
        LinkHeader link;
        link.source = {0x52, 0x54, 0, 0x12, 0x34, static_cast<uint8_t>(0x56 + from)};
        link.destination = {0x52, 0x54, 0, 0x12, 0x34, static_cast<uint8_t>(0x57 - from)};
        return link;
    }
    const std::array<IpAddress, 2>& addressesOf(const std::array<uint16_t, 2>& ports) const {
        return agreed_.v6 && ports == kHostilePorts ? kAddress6 : kAddress;
    }
    IpHeader ipOf(unsigned from, const std::array<uint16_t, 2>& ports) const {
        IpHeader ip;
        ip.source = addressesOf(ports)[from];
        ip.destination = addressesOf(ports)[1 - from];
        ip.sourcePort = ports[from];
        ip.destinationPort = ports[1 - from];
        return ip;
    }
    Octets frameOf(unsigned from, const std::array<uint16_t, 2>& ports, const TcpSegment& segment) const {
        Octets frame;
        buildTcpFrame(linkOf(from), ipOf(from, ports), segment, frame);
        return frame;
    }
    void arrive(unsigned at, ConstBytes frame) {
        machines_[at]->frame(ERDMA_TO_GUEST, frame);
        machines_[at]->framesEnd();
    }
    void fromKernel(unsigned from, const std::array<uint16_t, 2>& ports, const Agreed& agreed, uint32_t seq,
                    uint32_t ack, uint8_t flags, ConstBytes payload = {}) {
        TcpSegment s;
        s.seq = seq;
        s.ack = ack;
        s.flags = flags;
        s.window = 65535;
        s.payload = payload;
        if ((flags & kSyn) != 0) {
            s.options.mss = agreed.mss;
            if (agreed.scale != 0)
                s.options.windowScale = agreed.scale;
            s.options.sackPermitted = agreed.sack;
        }
        if (agreed.timestamps)
            s.options.timestamps = TcpTimestamps{static_cast<uint32_t>(clock_ / kMs), 1};
        const Octets frame = frameOf(from, ports, s);
        if (!machines_[from]->frame(ERDMA_TO_WIRE, frame))
            arrive(1 - from, frame);
    }
    static Octets mpaFrame(bool reply, const Agreed& agreed) {
        Octets out;
        for (const char c : std::string(reply ? "MPA ID Rep Frame" : "MPA ID Req Frame"))
            out.push_back(static_cast<std::byte>(c));
        out.push_back(agreed.crc ? std::byte{0x40} : std::byte{0});
        out.push_back(static_cast<std::byte>(agreed.revision));
        out.resize(agreed.revision == 129 ? 28 : 20);
        if (agreed.revision == 129) {
            storeBe32(out, 20, 1);
            storeBe32(out, 24, 1);
        }
        return out;
    }
    void open(const std::array<uint16_t, 2>& ports, unsigned pair, const Agreed& agreed) {
        const std::array<uint32_t, 2> iss = {0xFFFFFF00, 0x20000000};
        const Octets request = mpaFrame(false, agreed), reply = mpaFrame(true, agreed);
        const auto octets = static_cast<uint32_t>(request.size());
        std::array<uint32_t, 2> next = {iss[0] + 1, iss[1] + 1};
        fromKernel(0, ports, agreed, iss[0], 0, kSyn);
        fromKernel(1, ports, agreed, iss[1], next[0], kSyn | kAck);
        fromKernel(0, ports, agreed, next[0], next[1], kAck);
        fromKernel(0, ports, agreed, next[0], next[1], kAck | kPsh, request);
        next[0] += octets;
        fromKernel(1, ports, agreed, next[1], next[0], kAck);
        connect(1, ports, pair, next[1] + octets, next[0]);
        fromKernel(1, ports, agreed, next[1], next[0], kAck | kPsh, reply);
        pump(4);
        next[1] += octets;
        fromKernel(0, ports, agreed, next[0], next[1], kAck);
        connect(0, ports, pair, next[0], next[1]);
        pump(8);
        for (unsigned i = 0; i < 2; ++i)
            FUZZ_CHECK(machines_[i]->counter("handovers") == pair + 1, "a connection is not handed over");
        if (pair == 0)
            expected_ = {next[1], next[0]};
    }
    void connect(unsigned i, const std::array<uint16_t, 2>& ports, unsigned pair, uint32_t sendNxt, uint32_t recvNxt) {
        const std::array<IpAddress, 2>& addresses = addressesOf(ports);
        FUZZ_CHECK(drivers_[i]->connect(pairs_[i][pair].qpn, {addresses[i], addresses[1 - i], ports[i], ports[1 - i],
                                                              sendNxt, recvNxt, pairs_[1 - i][pair].qpn, 1}),
                   "a connection is refused");
    }

    // ---- the cable ----

    static bool isBystanders(const IpHeader& ip) {
        for (const uint16_t port : kBystanderPorts)
            if (ip.sourcePort == port || ip.destinationPort == port)
                return true;
        return false;
    }
    // Whoever may forge frames of a connection may end it.
    static bool isBystanders(ConstBytes frame) {
        const Frame parsed = parseFrame(frame);
        return isBystanders(parsed.ip) || isBystanders(parsed.notice.quoted);
    }
    // What the peers of the hostile connection wait for, from what they say.
    void note(unsigned from, ConstBytes frame) {
        const Frame parsed = parseFrame(frame);
        if (parsed.kind == Frame::Kind::Tcp && parsed.ip.sourcePort == kHostilePorts[from] && parsed.tcp.has(kAck))
            expected_[from] = parsed.tcp.ack;
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
        Pair& pair = pairs_[side][0];
        switch (in_.below(16)) {
        case 0:
        case 1:
        case 2: {
            std::vector<std::byte> sqe = makeSqe(in_, poster_);
            drivers_[side]->putSqe(pair, sqe);
            machines_[side]->write(0x5F000, Driver::sqDoorbell(pair));
            break;
        }
        case 3: {
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
            if (in_.rarely(4))
                drivers_[side]->command(0, 2, Request().u32(8, pair.qpn));
            else if (in_.below(2) == 0)
                drivers_[side]->command(0, 3, Request().u32(8, in_.below(6) << 24 | pair.qpn));
            else
                fromHostileKernel(side);
            break;
        }
    }

    // What its socket of the connection may still say.
    void fromHostileKernel(unsigned side) {
        const uint32_t sequence = expected_[1 - side] - in_.below(3);
        const auto flags = static_cast<uint8_t>(in_.u8() & 0x3F);
        fromKernel(side, kHostilePorts, agreed_, sequence, expected_[side], flags, in_.fewOctets(8));
    }

    void forged(unsigned to, const Octets& frame, const erdma_offload& offload = {}) {
        if (isBystanders(frame))
            return;
        machines_[to]->frame(ERDMA_TO_GUEST, frame, offload);
        if (!in_.rarely(4))
            machines_[to]->framesEnd();
    }

    // A frame of the connection with something else in it.
    void change(Octets& frame) {
        const Frame parsed = parseFrame(frame);
        if (parsed.kind != Frame::Kind::Tcp)
            return;
        if (in_.rarely(8)) { // any octets, checksums as they were
            for (uint32_t n = 1 + in_.below(3); n > 0; --n)
                spoil(frame);
            if (in_.rarely(4))
                frame.resize(std::max<size_t>(14, in_.u16() % frame.size()));
            return;
        }
        Octets payload(parsed.tcp.payload.begin(), parsed.tcp.payload.end());
        TcpSegment s = parsed.tcp;
        switch (in_.below(8)) {
        case 0:
            s.seq += in_.distance();
            break;
        case 1:
            s.ack += in_.distance();
            break;
        case 2:
            s.window = in_.u16();
            break;
        case 3:
            s.flags ^= static_cast<uint8_t>(1u << in_.below(8));
            break;
        case 4:
            payload.resize(payload.empty() ? 0 : in_.u16() % payload.size());
            break;
        case 5:
            for (const std::byte octet : in_.fewOctets(16))
                payload.push_back(octet);
            break;
        case 6:
            options(s);
            break;
        default:
            for (uint32_t n = in_.below(4); n > 0 && !payload.empty(); --n)
                spoil(payload);
            break;
        }
        s.payload = payload;
        s.congestionExperienced = false;
        Octets out;
        buildTcpFrame(parsed.link, parsed.ip, s, out);
        frame = std::move(out);
    }
    void spoil(Octets& octets) {
        const auto value = static_cast<std::byte>(in_.u8());
        octets[in_.u16() % octets.size()] = value;
    }
    void options(TcpSegment& s) {
        if (in_.below(2) == 0)
            s.options.timestamps = TcpTimestamps{in_.edge32(), in_.edge32()};
        s.options.sackCount = static_cast<uint8_t>(in_.below(5));
        for (SackBlock& block : s.options.sack) {
            block.from = s.ack + in_.u16();
            block.to = block.from + in_.u16();
        }
        if (in_.rarely(4))
            s.options.mss = in_.u16();
    }

    // A segment of an attacker who knows where the stream stands.
    void inject(unsigned to) {
        TcpSegment s;
        s.seq = expected_[to];
        s.ack = expected_[1 - to];
        s.flags = kAck;
        s.window = 512;
        if (agreed_.timestamps)
            s.options.timestamps = TcpTimestamps{static_cast<uint32_t>(clock_ / kMs), 1};
        if (in_.rarely(4))
            s.seq += in_.below(2) == 0 ? in_.u16() : in_.u32();
        if (in_.rarely(4))
            s.ack += in_.below(2) == 0 ? in_.u16() : in_.u32();
        if (in_.rarely(8))
            s.flags = in_.u8();
        if (in_.rarely(8))
            s.window = in_.u16();
        if (in_.rarely(8))
            options(s);
        Octets payload;
        for (uint32_t n = in_.below(4); n > 0; --n)
            appendFpdu(payload);
        if (in_.rarely(8)) {
            const auto more = in_.fewOctets(256);
            payload.insert(payload.end(), more.begin(), more.end());
        }
        payload.resize(std::min<size_t>(payload.size(), 60000));
        s.payload = payload;
        forged(to, frameOf(1 - to, kHostilePorts, s));
    }
    void appendFpdu(Octets& out) {
        Segment segment;
        static constexpr std::array<uint8_t, 16> ops = {0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 3};
        segment.op = static_cast<SegmentOp>(in_.pick(ops));
        segment.last = !in_.rarely(4);
        const Sge at = makeSge(in_, poster_.remote);
        segment.stag = at.stag;
        segment.to = at.addr;
        segment.message = 1 + (in_.rarely(4) ? in_.edge32() : in_.below(4));
        segment.offset = in_.rarely(4) ? in_.edge32() : 0;
        segment.immediate = 7;
        const Sge from = makeSge(in_, poster_.remote);
        segment.read = {from.stag, from.addr, at.length, at.stag, at.addr};
        segment.atomic = {in_.below(3), in_.below(2) == 0, at.stag, at.addr & ~uint64_t{7}, 1, 0};
        segment.atomicResponse = {in_.below(3), 5};
        segment.terminate.code =
            TerminateCode{static_cast<uint8_t>(in_.below(4)), static_cast<uint8_t>(in_.below(4)), in_.u8()};
        const auto data = in_.fewOctets(64);
        Octets payload(data.begin(), data.end());
        if (in_.rarely(8))
            payload.resize(in_.u16() % 4096);
        if (segment.op == SegmentOp::Write || segment.op == SegmentOp::ReadResponse || segment.op == SegmentOp::Send ||
            (segment.op >= SegmentOp::SendInv && segment.op <= SegmentOp::SendSeInv) ||
            segment.op >= SegmentOp::SendImm)
            segment.payload = payload;
        FpduFormat format;
        format.dialect = agreed_.revision == 129 ? FpduFormat::Dialect::Vendor : FpduFormat::Dialect::Standard;
        format.crc = agreed_.crc;
        format.rfc7306 = true;
        encodeFpdu(segment, format, out);
    }

    // ---- the bystander ----

    void bystanderWorks() {
        for (unsigned i = 0; i < 2; ++i)
            for (uint32_t at = 0; at < kSecretBytes; ++at)
                FUZZ_CHECK(*machines_[i]->ram().at(secret_[i] + at, 1) == static_cast<std::byte>(at * 5 + i),
                           "a bystander's memory changed");
        Pair& from = pairs_[0][1];
        Pair& to = pairs_[1][1];
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
            const std::byte* raw = machines_[i]->ram().at(drivers_[i]->cqRings[2].address, 32);
            const uint32_t header = loadBe32({raw, 32}, 0);
            FUZZ_CHECK(header >> 31 == 1 && (header & 0xFF) == 0, "a bystander's completion is missing or bad");
        }
    }

    Input& in_;
    uint64_t clock_ = 1000 * kMs;
    Agreed agreed_;
    bool bystander_ = true;
    std::array<std::unique_ptr<Machine>, 2> machines_;
    std::array<std::unique_ptr<Driver>, 2> drivers_;
    std::array<std::array<Pair, 2>, 2> pairs_;
    std::array<uint64_t, 2> buffer_{}, secret_{};
    Poster poster_;
    std::array<uint32_t, 2> expected_{};             // the next octet that each end waits for
    std::array<std::deque<Octets>, 2> cable_, safe_; // by sender
};

} // namespace
} // namespace erdma::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    erdma::fuzz::Input in(data, size);
    erdma::fuzz::Scene(in).play();
    return 0;
}
