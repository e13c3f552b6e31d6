// SPDX-License-Identifier: GPL-2.0-or-later
// Two adapters with their filters, an in-memory link between them, and any number of connections.
#pragma once

#include <deque>

#include "nic_bench.h"

namespace erdma::test {

inline constexpr uint32_t kRigBuffer = 8u << 20;
inline constexpr uint32_t kRigSqLog = 8;

// Connections are set up by frames that two kernels would have sent.
class Rig {
public:
    Rig(unsigned connections, bool crc, uint32_t segmentBytes) : crc_(crc) {
        erdma_config config = testConfig();
        config.qblock = std::max(16u, connections / 1024 + 1);
        config.segment_bytes = segmentBytes;
        for (unsigned i = 0; i < 2; ++i) {
            ends_[i].machine = std::make_unique<Machine>(128, config);
            Machine& m = *ends_[i].machine;
            m.host.clock = clock_;
            Iwarp* iwarp = nullptr;
            m.device.attachNic(Nic::make(m.device.adapter(), iwarp));
            m.device.frame(ERDMA_TO_WIRE, arpOf(i == 0), {});
            m.host.onFrame = [this, i](erdma_side to, ConstBytes frame, const erdma_offload&) {
                frames_ += to == ERDMA_TO_WIRE ? 1 : 0;
                if (to == ERDMA_TO_WIRE)
                    ends_[1 - i].arriving.emplace_back(frame.begin(), frame.end());
            };
            m.guest.bringUp();
            m.guest.createEq(1);
            m.guest.createCq(1, 12);
            ends_[i].bus = m.guest.memory().allocate(kRigBuffer);
            m.guest.registerMr(10, kIova, ends_[i].bus, kRigBuffer);
            m.guest.memory().fill(ends_[i].bus, kRigBuffer, static_cast<uint8_t>(i));
        }
        for (uint32_t qpn = 1; qpn <= connections; ++qpn)
            connect(qpn);
        pump();
    }

    // An adapter that goes away says goodbye on the wire.
    ~Rig() {
        for (End& end : ends_)
            end.machine->host.onFrame = nullptr;
    }

    Machine& machine(unsigned i) { return *ends_[i].machine; }
    uint64_t frames() const { return frames_; } // on the wire until now
    Guest& guest(unsigned i) { return ends_[i].machine->guest; }
    void write(uint32_t qpn, uint32_t bytes, bool signalled) {
        SqeBytes sqe = writeSqe(Op::Write, signalled ? flag::kSignal : 0, {{kIova, bytes, 10 << 8}}, 10 << 8, kIova);
        guest(0).putSqe(qpn, sqe);
    }
    void ring(uint32_t qpn) { guest(0).ringSq(qpn); }
    // Until the completion is there.
    bool finish() {
        for (unsigned idle = 0; idle < 1000; ++idle) {
            if (pump())
                idle = 0;
            if (const auto cqe = guest(0).pollCq(1))
                return cqe->syndrome == 0;
        }
        return false;
    }

private:
    static constexpr uint64_t kIova = 0x7f0000000000;
    struct End {
        std::unique_ptr<Machine> machine;
        std::deque<Octets> arriving;
        uint64_t bus = 0;
    };

    bool pump() {
        clock_ += 2000;
        bool any = false;
        for (End& end : ends_) {
            Machine& m = *end.machine;
            m.host.clock = clock_;
            any = any || !end.arriving.empty();
            for (; !end.arriving.empty(); end.arriving.pop_front())
                m.device.frame(ERDMA_TO_GUEST, end.arriving.front(), {});
            m.device.framesEnd();
            m.guest.advance(0);
        }
        return any;
    }
    void segment(bool fromA, uint32_t port, uint8_t flags, uint32_t seq, uint32_t ack, ConstBytes payload = {}) {
        TcpSegment s;
        s.seq = seq;
        s.ack = ack;
        s.flags = flags;
        s.payload = payload;
        IpHeader ip = ipHeaderOf(fromA);
        (fromA ? ip.sourcePort : ip.destinationPort) = static_cast<uint16_t>(port);
        s.window = s.has(tcp_flag::kSyn) ? 65535 : 512;
        if (s.has(tcp_flag::kSyn)) {
            s.options.mss = 1460;
            s.options.windowScale = 7;
            s.options.sackPermitted = true;
        }
        s.options.timestamps = TcpTimestamps{1000, 1};
        Octets frame;
        buildTcpFrame(linkHeaderOf(fromA), ip, s, frame);
        Device& from = ends_[fromA ? 0 : 1].machine->device;
        if (!from.frame(ERDMA_TO_WIRE, frame, {}))
            ends_[fromA ? 1 : 0].machine->device.frame(ERDMA_TO_GUEST, frame, {});
    }
    void connect(uint32_t qpn) {
        using namespace tcp_flag;
        const uint32_t port = 1000 + qpn;
        const uint8_t flags = crc_ ? 0x40 : 0;
        const Octets request = mpaFrame(false, 129, flags), reply = mpaFrame(true, 129, flags);
        segment(true, port, kSyn, 100, 0);
        segment(false, port, kSyn | kAck, 200, 101);
        segment(true, port, kAck, 101, 201);
        segment(true, port, kAck, 101, 201, request);
        Handover link;
        link.congestionControl = 1;
        link.ownIp = 0x0A000002;
        link.peerIp = 0x0A000001;
        link.ownPort = 2000;
        link.peerPort = static_cast<uint16_t>(port);
        link.sendStart = 201 + 28;
        link.recvStart = 101 + 28;
        for (unsigned i = 0; i < 2; ++i)
            guest(i).createQp(qpn, 1, 1, kRigSqLog, 4);
        guest(1).connectQp(qpn, link);
        segment(false, port, kAck, 201, 101 + 28, reply);
        while (pump()) {
        }
        std::swap(link.ownIp, link.peerIp);
        std::swap(link.ownPort, link.peerPort);
        std::swap(link.sendStart, link.recvStart);
        guest(0).connectQp(qpn, link);
        while (pump()) {
        }
    }

    bool crc_;
    uint64_t clock_ = 1000 * kMs;
    uint64_t frames_ = 0;
    std::array<End, 2> ends_;
};

} // namespace erdma::test
