// SPDX-License-Identifier: GPL-2.0-or-later
// What strangers can do to the tracker: floods, forged segments, frames for others (wire.md 1.6).

#include "nic_bench.h"

namespace erdma::test {

namespace {

using namespace tcp_flag;
using Passage = FlowTracker::Passage;
using Outcome = FlowTracker::Outcome;

constexpr uint32_t kIssA = 0x10000000, kIssB = 0x20000000;

// The guest listens at 10.0.0.1:1000; peers are 10.0.0.2 with any port.
struct Listener final : TrackerOutput {
    explicit Listener(const TrackerSettings& settings = {}) : tracker(settings, *this, budget) {}
    void toGuest(ConstBytes, const erdma_offload&) override { ++released; }

    Passage send(bool fromGuest, uint16_t port, uint32_t seq, uint32_t ack, uint8_t flags, ConstBytes payload = {},
                 uint16_t window = 500) {
        TcpSegment s;
        s.seq = seq;
        s.ack = ack;
        s.flags = flags;
        s.window = window;
        s.payload = payload;
        if (s.has(kSyn))
            s.options.windowScale = scale;
        IpHeader ip;
        ip.source = fromGuest ? 0x0A000001 : 0x0A000002;
        ip.destination = fromGuest ? 0x0A000002 : 0x0A000001;
        ip.sourcePort = fromGuest ? 1000 : port;
        ip.destinationPort = fromGuest ? port : 1000;
        Octets raw;
        buildTcpFrame(linkHeaderOf(fromGuest), ip, s, raw);
        const Frame frame = parseFrame(raw);
        now += kMs / 100;
        return fromGuest ? tracker.fromGuest(frame, now) : tracker.fromWire(frame, raw, {}, now);
    }
    // Up to the request; the guest's manager is about to hand over.
    void request(uint16_t port) {
        send(false, port, kIssB, 0, kSyn);
        send(true, port, kIssA, kIssB + 1, kSyn | kAck);
        send(false, port, kIssB + 1, kIssA + 1, kAck);
        send(false, port, kIssB + 1, kIssA + 1, kAck, mpaFrame(false));
        send(true, port, kIssA + 1, kIssB + 29, kAck);
    }
    // The guest asks, and the peer answered.
    void reply(uint16_t port) {
        send(true, port, kIssA, 0, kSyn);
        send(false, port, kIssB, kIssA + 1, kSyn | kAck);
        send(true, port, kIssA + 1, kIssB + 1, kAck);
        send(true, port, kIssA + 1, kIssB + 1, kAck, mpaFrame(false));
        send(false, port, kIssB + 1, kIssA + 29, kAck, mpaFrame(true));
        send(true, port, kIssA + 29, kIssB + 29, kAck);
    }
    static FlowKey key(uint16_t port) { return {0x0A000001, 0x0A000002, 1000, port, 0}; }
    Outcome accept(uint16_t port, uint32_t recvNxt = kIssB + 29) {
        return tracker.handOver(key(port), kIssA + 29, recvNxt, now, out);
    }

    MemoryBudget budget;
    FlowTracker tracker;
    FlowHandover out;
    unsigned released = 0;
    std::optional<uint8_t> scale;
    uint64_t now = 1000 * kMs;
};

TEST(WireFlood, SynsDoNotEvictWhoWaitsForTheHandover) {
    TrackerSettings settings;
    settings.entries = 1000;
    Listener t(settings);
    t.request(2000);
    t.reply(2001);
    for (uint32_t i = 0; i < 5000; ++i) {
        const auto port = static_cast<uint16_t>(3000 + i);
        t.send(false, port, i * 7919, 0, kSyn);
        t.send(true, port, i * 31, i * 7919 + 1, kSyn | kAck); // the kernel answers each
        if (i % 2 == 0)                                        // a guess
            t.send(false, port, i * 7919 + 1, i * 31 + 77, kAck, mpaFrame(false));
        ASSERT_LE(t.tracker.entries(), 1000u);
    }
    // Requests out of nowhere as well.
    for (uint32_t i = 0; i < 5000; ++i)
        t.send(false, static_cast<uint16_t>(20000 + i), i, i, kAck, mpaFrame(false));
    EXPECT_EQ(t.accept(2000), Outcome::Ok);
    EXPECT_EQ(t.tracker.handOver(Listener::key(2001), kIssA + 29, kIssB + 29, t.now, t.out), Outcome::Ok);
    EXPECT_GT(t.tracker.counters().evicted, 0u);
}

TEST(WireFlood, ForgedSegmentsAreNotLearned) {
    for (const bool active : {false, true}) {
        Listener t;
        if (active)
            t.reply(2000);
        else
            t.request(2000);
        const auto forge = [&](uint32_t seq, uint32_t ack, uint8_t flags, ConstBytes payload = {}) {
            EXPECT_EQ(t.send(false, 2000, seq, ack, flags, payload, 65535), Passage::Pass);
        };
        forge(kIssB + 0x1000000, kIssA + 1, kAck); // behind the window
        forge(kIssB + 29, kIssA + 0x1000000, kAck);
        forge(kIssB + 29, kIssA - 5000, kAck);
        forge(kIssB + 100, kIssA + 1, kRst); // in the window only
        forge(kIssB + 0x1000000, 0, kRst);
        forge(0x66666666, 0, kSyn);
        forge(0x66666666, 0x77777777, kSyn | kAck);
        forge(0x66666666, 0x77777777, kAck, mpaFrame(false));
        forge(kIssB + 0x1000000, kIssA + 1, kAck | kFin);
        ASSERT_EQ(t.accept(2000), Outcome::Ok) << active;
        EXPECT_EQ(t.out.tcp.sndUna, active ? kIssA + 29 : kIssA + 1);
        EXPECT_EQ(t.out.tcp.sndWnd, 500u);
    }
}

TEST(WireFlood, ExactResetEndsTheTracking) {
    Listener t;
    t.request(2000);
    t.send(false, 2000, kIssB + 29, 0, kRst);
    EXPECT_EQ(t.tracker.entries(), 0u);
    // A refused connection.
    t.send(true, 2001, kIssA, 0, kSyn);
    EXPECT_EQ(t.tracker.entries(), 1u);
    t.send(false, 2001, 0, kIssA + 77, kRst | kAck);
    EXPECT_EQ(t.tracker.entries(), 1u);
    t.send(false, 2001, 0, kIssA + 1, kRst | kAck);
    EXPECT_EQ(t.tracker.entries(), 0u);
}

// The tuple again after an end that both sides saw, or that the guest's kernel agreed to.
TEST(WireFlood, RealReuseIsTracked) {
    Listener t;
    t.request(2000);
    t.send(false, 2000, kIssB + 29, kIssA + 1, kAck | kFin);
    t.send(true, 2000, kIssA + 1, kIssB + 30, kAck | kFin);
    t.send(false, 2000, 0x66666666, 0, kSyn);
    t.send(true, 2000, 0x55555555, 0x66666667, kSyn | kAck);
    t.send(false, 2000, 0x66666667, 0x55555556, kAck);
    t.send(false, 2000, 0x66666667, 0x55555556, kAck, mpaFrame(false));
    EXPECT_EQ(t.tracker.handOver(Listener::key(2000), 0x55555556 + 28, 0x66666667 + 28, t.now, t.out), Outcome::Ok);
}

// 1.5: both numbers of the command are checked.
TEST(WireFlood, ReceiveNumberMustFollowTheMpaFrame) {
    for (const uint32_t wrong : {1u, 1000u, 0x40000000u, static_cast<uint32_t>(-1)}) {
        Listener t;
        t.request(2000);
        EXPECT_EQ(t.accept(2000, kIssB + 29 + wrong), Outcome::BadSequence) << wrong;
        t.reply(2001);
        EXPECT_EQ(t.accept(2001, kIssB + 29 + wrong), Outcome::BadSequence) << wrong;
    }
}

// Somebody else's frames on a shared network make no entry.
TEST(WireFlood, FramesForOthersAreNotTracked) {
    NicOptions options;
    options.connect = false;
    NicBench t(options);
    const auto syn = [&](const Mac& destination, uint16_t port, uint16_t vlan = 0) {
        TcpSegment s;
        s.flags = kSyn;
        LinkHeader link = linkHeaderOf(false);
        link.destination = destination;
        link.tagCount = vlan != 0 ? 1 : 0;
        link.tags[0].control = vlan;
        IpHeader ip = ipHeaderOf(false);
        ip.sourcePort = port;
        Octets frame;
        buildTcpFrame(link, ip, s, frame);
        EXPECT_FALSE(t.a.device->frame(ERDMA_TO_GUEST, frame, {}));
    };
    const Mac own = linkHeaderOf(true).source;
    syn({2, 0, 0, 0, 0, 0x66}, 1);
    syn({0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 2); // RFC 9293 MUST-57
    syn({0x01, 0x00, 0x5E, 0, 0, 1}, 3);
    EXPECT_EQ(t.iwarps[0]->tracker().entries(), 0u);
    syn(own, 4);
    EXPECT_EQ(t.iwarps[0]->tracker().entries(), 1u);
    // A VLAN is known as long as the guest has a connection there.
    for (uint16_t vlan = 1; vlan < 4095; ++vlan)
        syn(own, 5, vlan);
    EXPECT_EQ(t.iwarps[0]->tracker().vlans().size(), 0u);
    t.connect();
    EXPECT_EQ(t.a.count(Counter::Handovers), 1u);
}

TEST(WireFlood, VlansAreForgotten) {
    NicOptions options;
    options.connect = false;
    NicBench t(options);
    for (uint16_t vlan = 1; vlan < 100; ++vlan) {
        TcpSegment s;
        s.flags = kSyn;
        LinkHeader link = linkHeaderOf(true);
        link.tagCount = 1;
        link.tags[0].control = vlan;
        Octets frame;
        buildTcpFrame(link, ipHeaderOf(true), s, frame);
        t.a.device->frame(ERDMA_TO_WIRE, frame, {});
        EXPECT_EQ(t.iwarps[0]->tracker().vlans().size(), 1u);
        s.flags = kRst;
        frame.clear();
        buildTcpFrame(link, ipHeaderOf(true), s, frame);
        t.a.device->frame(ERDMA_TO_WIRE, frame, {});
        EXPECT_EQ(t.iwarps[0]->tracker().vlans().size(), 0u);
    }
}

} // namespace

} // namespace erdma::test
