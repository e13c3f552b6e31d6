// SPDX-License-Identifier: GPL-2.0-or-later
// Two queue pairs with their endpoints on a simulated link, without filter and kernels.
#pragma once

#include "endpoint.h"
#include "timed_bench.h"

namespace erdma::test {

using Events = std::vector<std::pair<AsyncEvent, uint32_t>>;

struct WireOptions {
    BenchOptions bench{};
    LinkSetup link{};
    FpduFormat format{.dialect = FpduFormat::Dialect::Vendor, .crc = true};
    uint32_t seed = 1;
    uint32_t replyOctets = 0; // that the passive kernel still owes
    bool passiveCrc = true;   // B knows `format.crc` from the start
    Rtr rtr = Rtr::Write;     // with which A begins
    bool rtrAgreed = false;   // and B waits for it
    bool start = true;
};

class WireEnd final : public EndpointHost {
public:
    WireEnd(SimulatedLink& link, unsigned index) : link_(link), index_(index) {}
    uint64_t nowNs() override { return link_.now; }
    uint16_t mtu() const override { return 1500; }
    void sendFrame(const TcpFrame& frame) override {
        Octets octets;
        buildTcpFrame(frame, octets);
        link_.send(index_, std::move(octets));
    }
    void rearm(Endpoint&) override {}
    void signalKernel(Endpoint&, KernelSignal signal) override { signals.push_back(signal); }

    std::vector<KernelSignal> signals;
    std::shared_ptr<Endpoint> endpoint;

private:
    SimulatedLink& link_;
    unsigned index_;
};

// A is the initiator.
class WireBench final : public TimedBench {
public:
    explicit WireBench(const WireOptions& options = {})
        : TimedBench(options.bench, options.seed), options_(options), endA(link, 0), endB(link, 1) {
        // Tuples that do not mirror each other, so that the fabric does not pair them.
        b.link.ownPort = 2001;
        b.link.peerPort = 1001;
        tick();
        if (options.start)
            connect();
    }
    ~WireBench() override {
        // Queue pairs first: they own the transports.
        a.guest->destroyQp(a.qpn);
        b.guest->destroyQp(b.qpn);
    }

    void connect() {
        EXPECT_TRUE(b.guest->connectQp(b.qpn, b.link).ok());
        open(endB, b, false);
        EXPECT_TRUE(a.guest->connectQp(a.qpn, a.link).ok());
        open(endA, a, true);
    }
    void open(WireEnd& end, const Side& side, bool first) {
        EndpointSetup setup;
        setup.tcp = handoverOf(options_.link, first, link.now);
        if (first && options_.replyOctets != 0)
            setup.tcp.rcvNxt += options_.replyOctets;
        setup.settings = options_.link.settings;
        setup.format = options_.format;
        setup.format.crc = options_.format.crc && (first || options_.passiveCrc);
        setup.rtr = options_.rtr;
        setup.rtrAgreed = options_.rtrAgreed;
        setup.link = linkHeaderOf(first);
        setup.ip = ipHeaderOf(first);
        setup.initiator = first;
        setup.kernelOctets = first ? 0 : options_.replyOctets;
        end.endpoint = Endpoint::open(side.qp(), setup, end, budget);
        link.receivers[first ? 0 : 1] = [this, &end](ConstBytes raw) {
            const Octets copy(raw.begin(), raw.end());
            const Frame frame = parseFrame(copy);
            if (frame.kind != Frame::Kind::Tcp) {
                ++badFrames;
                return;
            }
            end.endpoint->input(frame.tcp);
            end.endpoint->endOfBatch();
        };
    }

    Events events(const Side& side) { return bench.events(side); }
    bool over() const { return endA.endpoint->finishedForGood() && endB.endpoint->finishedForGood(); }
    // Octets that the peer of `end` never sent, at the place where it would continue.
    void inject(WireEnd& end, ConstBytes octets, uint8_t flags = tcp_flag::kAck) {
        const bool first = &end == &endA;
        const TcpConnection& own = end.endpoint->tcp();
        const TcpConnection& peer = (first ? endB : endA).endpoint->tcp();
        const LinkSetup& l = options_.link;
        TcpSegment s;
        s.seq = (first ? l.issB : l.issA) + static_cast<uint32_t>(peer.appended());
        s.ack = (first ? l.issA : l.issB) + static_cast<uint32_t>(own.acknowledged());
        s.window = 512;
        s.flags = flags;
        s.options.timestamps = TcpTimestamps{0x10000, 0};
        s.payload = octets;
        end.endpoint->input(s);
        settle();
    }

private:
    uint64_t timerAt() const override { return std::min(deadline(endA), deadline(endB)); }
    void work() override {
        if (link.due() <= link.now)
            link.deliver();
        else if (deadline(endA) <= link.now)
            endA.endpoint->takeTurn();
        else if (deadline(endB) <= link.now)
            endB.endpoint->takeTurn();
        else
            bench.advanceMs(0);
    }
    static uint64_t deadline(const WireEnd& end) {
        return !end.endpoint ? kNever : end.endpoint->wantsTurn() ? 0 : end.endpoint->deadline();
    }

    WireOptions options_;

public:
    MemoryBudget budget;
    WireEnd endA, endB;
    unsigned badFrames = 0;
};

} // namespace erdma::test
