// SPDX-License-Identifier: GPL-2.0-or-later
// Two adapters with reliable connections of RoCEv2 on a simulated link.
#pragma once

#include "nic.h"
#include "rc.h"
#include "roce_frames.h"
#include "timed_bench.h"

namespace erdma::test {

// The least that reliable connections need around themselves: frames are found by their QPN, all go to one peer.
class RcNode final : public WireProtocol, public RcHost {
public:
    RcNode(Adapter& adapter, FrameOutput&) : adapter_(adapter) {}

    // What the next connection is made of.
    RcSetup setup;
    uint32_t sendPsn = 0;
    bool readyToSend = true; // otherwise the test calls start()
    RoceRoute route;
    RcTransport* transport = nullptr; // of the newest one that lives
    uint64_t sentFrames = 0, turns = 0;
    RcMemory kept;

    // ---- WireProtocol ----
    bool wants(erdma_side side, ConstBytes) const override { return side == ERDMA_TO_GUEST; }
    bool fromGuest(ConstBytes, const erdma_offload&) override { return false; }
    bool fromWire(ConstBytes raw, const erdma_offload&) override {
        const std::optional<RoceDatagram> datagram = findRoceDatagram(raw);
        RocePacket packet;
        if (datagram && readRocePacket(*datagram, packet) == RoceVerdict::Good && transport != nullptr)
            transport->receive(packet);
        return true;
    }
    void endOfFrames() override {
        if (transport != nullptr)
            transport->endOfBatch();
    }
    PairedNic::Claim connect(QueuePair& qp) override {
        auto made = std::make_unique<RcTransport>(qp, setup, *this);
        transport = made.get();
        if (readyToSend)
            transport->start(sendPsn);
        qp.attach(std::move(made));
        return PairedNic::Claim::Connected;
    }
    void setMtu(uint16_t) override {}
    void runPending() override {
        for (unsigned i = 0; i < 4 && anyPending(); ++i) {
            ++turns;
            transport->takeTurn();
        }
    }
    bool anyPending() const override { return transport != nullptr && transport->wantsTurn(); }
    bool reset() override { return true; }
    std::string connections() const override { return "[]"; }
    uint64_t deadline() const override { return transport == nullptr ? ERDMA_TIMER_OFF : transport->deadline(); }
    void onTimer(uint64_t) override {
        ++turns;
        if (transport != nullptr)
            transport->takeTurn();
    }

    // ---- RcHost ----
    uint64_t nowNs() override { return adapter_.machine.nowNs(); }
    void transmit(RcTransport&, const RocePacket& packet) override {
        ++sentFrames;
        std::vector<std::byte> frame;
        buildRoceFrame(route, packet, static_cast<uint16_t>(sentFrames), frame);
        adapter_.host.sendFrame(ERDMA_TO_WIRE, frame, {});
    }
    void rearm(RcTransport&) override {}
    RcMemory& memory() override { return kept; }
    void closed(RcTransport& gone) override {
        if (transport == &gone)
            transport = nullptr;
    }

private:
    Adapter& adapter_;
};

struct RoceOptions {
    BenchOptions bench{};
    RcSetup rc{}; // of both ends, but for the numbers
    uint32_t psnA = 0xABCDEF, psnB = 0x123456;
    uint32_t seed = 1;
    bool startA = true;
};

class RoceBench : public TimedBench {
public:
    explicit RoceBench(const RoceOptions& options = {}) : TimedBench(options.bench, options.seed) {
        for (unsigned i = 0; i < 2; ++i) {
            Device& device = *side(i).device;
            device.attachNic(Nic::make(device.adapter(), nodes[i]));
            RcNode& node = *nodes[i];
            node.route = routeOfFrames(i == 1);
            node.setup = options.rc;
            node.setup.peerQpn = side(1 - i).qpn;
            node.setup.receivePsn = i == 0 ? options.psnB : options.psnA;
            node.sendPsn = i == 0 ? options.psnA : options.psnB;
            node.readyToSend = i == 1 || options.startA;
            side(i).host->onFrame = [this, i](erdma_side, ConstBytes frame, const erdma_offload&) {
                link.send(i, Octets(frame.begin(), frame.end()));
            };
            link.receivers[i] = [this, i](ConstBytes frame) { give(i, frame); };
            link.paths[i].delay = 10'000; // 10 us
        }
        tick();
        EXPECT_TRUE(b.guest->connectQp(b.qpn, b.link).ok());
        EXPECT_TRUE(a.guest->connectQp(a.qpn, a.link).ok());
        EXPECT_TRUE(a.qp().active() && b.qp().active());
        settle();
    }
    ~RoceBench() override {
        for (unsigned i = 0; i < 2; ++i)
            side(i).host->onFrame = nullptr;
    }
    Side& side(unsigned i) { return i == 0 ? a : b; }
    RcNode& node(const Side& of) { return *nodes[&of == &a ? 0 : 1]; }
    void give(unsigned i, ConstBytes frame) {
        const Octets copy(frame.begin(), frame.end());
        side(i).device->frame(ERDMA_TO_GUEST, copy, {});
        side(i).device->framesEnd();
    }
    void post(const Side& side, SqeBytes sqe) { bench.post(side, std::move(sqe)); }

    std::array<RcNode*, 2> nodes{};

private:
    uint64_t timerAt() const override { return kNever; }
    void work() override {
        if (link.due() <= link.now)
            link.deliver();
        bench.advanceMs(0);
    }
};

} // namespace erdma::test
