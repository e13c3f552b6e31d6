// SPDX-License-Identifier: GPL-2.0-or-later
// One adapter with a reliable connection of RoCEv2, and a peer that the test plays.
#pragma once

#include <deque>

#include "roce_bench.h"

namespace erdma::test {

// A is an adapter, B's place is taken by the test: it reads what A sends and answers as it likes.
class ScriptBench final : public RoceBench {
public:
    explicit ScriptBench(const RoceOptions& options = {}) : RoceBench(options) {
        link.receivers[1] = [this](ConstBytes frame) {
            Octets copy(frame.begin(), frame.end());
            const std::optional<RoceDatagram> datagram = findRoceDatagram(copy);
            ASSERT_TRUE(datagram);
            RocePacket packet;
            ASSERT_EQ(readRocePacket(*datagram, packet), RoceVerdict::Good);
            ASSERT_TRUE(hasRightPayload(packet));
            KeptPacket& kept = out.emplace_back();
            kept.keep(packet);
        };
        sendPsn_ = options.psnB;
    }
    std::deque<KeptPacket> out; // what A sent and the test has not looked at

    // The next packet of A, without time passing but for that on the link; one with opcode Cnp when there is none.
    RocePacket next() {
        run([this] { return !out.empty(); }, kMs / 20);
        if (out.empty()) {
            RocePacket none;
            none.op = RoceOp::Cnp;
            return none;
        }
        last_ = std::move(out.front());
        out.pop_front();
        return last_.whole();
    }
    bool quiet(uint64_t time = kMs / 20) {
        runFor(time);
        return out.empty();
    }
    // What A has sent until nothing more comes for a moment.
    std::vector<KeptPacket> all(uint64_t time = kMs / 20) {
        runFor(time);
        std::vector<KeptPacket> got(out.begin(), out.end());
        out.clear();
        return got;
    }
    // Packets to A, in one batch.
    void inject(const std::vector<RocePacket>& packets) {
        for (RocePacket packet : packets) {
            packet.destinationQpn = a.qpn;
            Octets frame;
            buildRoceFrame(routeOfFrames(true), packet, 1, frame);
            a.device->frame(ERDMA_TO_GUEST, frame, {});
        }
        a.device->framesEnd();
        settle();
    }
    void answer(RoceOp op, uint32_t psn, uint8_t syndrome = aeth::kAck, ConstBytes payload = {}) {
        RocePacket packet;
        packet.op = op;
        packet.psn = psn;
        packet.syndrome = syndrome;
        packet.payload = payload;
        inject({packet});
    }
    void ack(uint32_t psn) { answer(RoceOp::Acknowledge, psn); }
    // A request of B's.
    static RocePacket request(RoceOp op, uint32_t psn, ConstBytes payload = {}, bool ackRequest = true) {
        RocePacket packet;
        packet.op = op;
        packet.psn = psn;
        packet.ackRequest = ackRequest;
        packet.payload = payload;
        return packet;
    }
    RocePacket toMemory(RoceOp op, uint32_t psn, uint64_t offset, uint32_t length, ConstBytes payload = {}) const {
        RocePacket packet = request(op, psn, payload);
        packet.address = a.iova + offset;
        packet.rkey = a.stag;
        packet.length = length;
        return packet;
    }
    bool alive() const { return a.qp().active(); }

private:
    uint32_t sendPsn_ = 0;
    KeptPacket last_;
};

namespace script {

inline constexpr uint32_t kPsn = 0xABCDEF; // of the first packet

inline uint32_t psn(uint32_t packets) { return psnPlus(kPsn, packets); }

struct Seen {
    RoceOp op;
    uint32_t psn;
    size_t payload;
    bool ackRequest;
    bool operator==(const Seen&) const = default;
};

inline std::vector<Seen> seen(const std::vector<KeptPacket>& packets) {
    std::vector<Seen> out;
    for (const KeptPacket& p : packets)
        out.push_back({p.packet.op, p.packet.psn, p.payload.size(), p.packet.ackRequest});
    return out;
}

inline SqeBytes send(const ScriptBench& t, uint32_t length, uint64_t flags = flag::kSignal) {
    return sendSqe(Op::Send, flags, {t.a.sge(0, length)});
}
inline SqeBytes write(const ScriptBench& t, uint32_t length, uint64_t flags = flag::kSignal) {
    return writeSqe(Op::Write, flags, {t.a.sge(0, length)}, 0x0B02, 0x7f0000002000);
}
inline SqeBytes read(const ScriptBench& t, uint32_t length, uint64_t flags = flag::kSignal) {
    return readSqe(flags, t.a.sge(0x8000, length), 0x0B02, 0x7f0000002000);
}
inline SqeBytes add(const ScriptBench& t, uint64_t flags = flag::kSignal) {
    return atomicSqe(Op::FetchAdd, flags, 3, 0, 0x0B02, 0x7f0000002000, t.a.sge(0, 8));
}

// The next completion without waiting.
inline std::optional<Syndrome> status(const ScriptBench& t) {
    const std::optional<Cqe> cqe = t.a.sent();
    return cqe ? std::optional(static_cast<Syndrome>(cqe->syndrome)) : std::nullopt;
}

} // namespace script

} // namespace erdma::test
