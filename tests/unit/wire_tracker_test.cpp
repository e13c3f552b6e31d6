// SPDX-License-Identifier: GPL-2.0-or-later
// Flow tracker: what it learns, what it holds and lets go, and its bounds (wire.md 1.5, 1.6, chapter 2).

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "byteorder.h"
#include "tracker.h"

namespace erdma::test {

namespace {

using Octets = std::vector<std::byte>;
using Passage = FlowTracker::Passage;
using Outcome = FlowTracker::Outcome;
using namespace tcp_flag;

constexpr uint32_t kIssA = 0x10000000, kIssB = 0x20000000;

Octets mpaFrame(bool reply, uint8_t revision, uint8_t flags, size_t privateBytes = 0, uint32_t cookie = 0x11) {
    const std::string key = reply ? "MPA ID Rep Frame" : "MPA ID Req Frame";
    Octets out;
    for (const char c : key)
        out.push_back(static_cast<std::byte>(c));
    out.push_back(std::byte{flags});
    out.push_back(std::byte{revision});
    out.push_back(static_cast<std::byte>(privateBytes >> 8));
    out.push_back(static_cast<std::byte>(privateBytes));
    if (revision == 129) {
        out.resize(28);
        storeBe32(out, 20, cookie);
        storeBe32(out, 24, 1);
    }
    out.resize(out.size() + privateBytes, std::byte{0x5A});
    return out;
}

// The guest is 10.0.0.1:1000, its peer 10.0.0.2:2000.
struct Scene final : TrackerOutput {
    explicit Scene(const TrackerSettings& settings = {}) : tracker(settings, *this, budget) {}

    void toGuest(ConstBytes frame, const erdma_offload&) override {
        const Octets copy(frame.begin(), frame.end());
        const Frame parsed = parseFrame(copy);
        ASSERT_EQ(parsed.kind, Frame::Kind::Tcp);
        guestGot(parsed);
    }
    void guestGot(const Frame& f) {
        guest.insert(guest.end(), f.tcp.payload.begin(), f.tcp.payload.end());
        ++guestFrames;
    }
    Passage send(bool fromGuest, uint32_t seq, uint32_t ack, uint8_t flags, ConstBytes payload = {},
                 TcpOptions options = {}, uint16_t window = 500) {
        TcpSegment s;
        s.seq = seq;
        s.ack = ack;
        s.flags = flags;
        s.window = window;
        s.payload = payload;
        s.options = options;
        IpHeader ip;
        ip.source = fromGuest ? 0x0A000001 : 0x0A000002;
        ip.destination = fromGuest ? 0x0A000002 : 0x0A000001;
        ip.sourcePort = fromGuest ? 1000 : 2000;
        ip.destinationPort = fromGuest ? 2000 : 1000;
        ip.ttl = 61;
        LinkHeader link;
        link.source[5] = fromGuest ? 1 : 2;
        link.destination[5] = fromGuest ? 2 : 1;
        Octets raw;
        buildTcpFrame(link, ip, s, raw);
        const Frame frame = parseFrame(raw);
        now += kMs;
        if (fromGuest)
            return tracker.fromGuest(frame, now);
        const Passage passage = tracker.fromWire(frame, raw, {}, now);
        if (passage == Passage::Pass)
            guestGot(frame);
        return passage;
    }
    // `active`: the guest opens.
    void handshake(bool active = true, bool rich = true) {
        TcpOptions a, b, ts;
        a.mss = 1460;
        b.mss = 8960;
        if (rich) {
            a.windowScale = 7;
            b.windowScale = 9;
            a.sackPermitted = b.sackPermitted = true;
            a.timestamps = TcpTimestamps{5000, 0};
            b.timestamps = TcpTimestamps{7000, 5000};
            ts.timestamps = TcpTimestamps{5001, 7000};
        }
        send(active, kIssA, 0, kSyn, {}, a, 64000);
        send(!active, kIssB, kIssA + 1, kSyn | kAck, {}, b, 65000);
        send(active, kIssA + 1, kIssB + 1, kAck, {}, ts, 502);
    }
    void request(bool active, const Octets& frame) {
        send(active, kIssA + 1, kIssB + 1, kAck | kPsh, frame, stamp(5002));
    }
    Passage reply(bool active, const Octets& frame, uint32_t requestBytes) {
        return send(!active, kIssB + 1, kIssA + 1 + requestBytes, kAck | kPsh, frame, stamp(7003));
    }
    static TcpOptions stamp(uint32_t value) {
        TcpOptions options;
        options.timestamps = TcpTimestamps{value, 1};
        return options;
    }
    static FlowKey key() { return {0x0A000001, 0x0A000002, 1000, 2000, 0}; }

    MemoryBudget budget;
    FlowTracker tracker;
    Octets guest;
    unsigned guestFrames = 0;
    uint64_t now = 1000 * kMs;
};

// 2.1 to 2.4.
TEST(WireTracker, MpaFrames) {
    const Octets frame = mpaFrame(false, 129, 0x40, 4, 0x1234);
    MpaParse parse = parseMpa(frame, false);
    ASSERT_EQ(parse.kind, MpaParse::Kind::Header);
    EXPECT_EQ(parse.header.bytes(), 32u);
    EXPECT_EQ(parse.header.cookie, 0x1234u);
    EXPECT_EQ(parse.header.congestion, 1);
    EXPECT_TRUE(parse.header.crc());
    EXPECT_EQ(parseMpa(frame, true).kind, MpaParse::Kind::None);
    for (size_t length = 0; length < frame.size(); ++length)
        EXPECT_EQ(parseMpa(ConstBytes(frame).first(length), false).kind,
                  length < 28 ? MpaParse::Kind::NeedMore : MpaParse::Kind::Header);
    EXPECT_EQ(parseMpa(mpaFrame(false, 3, 0), false).kind, MpaParse::Kind::None);
    EXPECT_EQ(parseMpa(mpaFrame(false, 1, 0, 65535), false).kind, MpaParse::Kind::None);
    EXPECT_EQ(parseMpa(mpaFrame(false, 1, 0, 512), false).kind, MpaParse::Kind::Header);
    Octets enhanced = mpaFrame(true, 2, 0x10, 4);
    storeBe32(enhanced, 20, 0x80108010);
    parse = parseMpa(enhanced, true);
    EXPECT_EQ(parse.header.ird, 16);
    EXPECT_EQ(parse.header.ord, 16);
    EXPECT_TRUE(parseMpa(mpaFrame(true, 129, 0x20), true).header.rejects());
}

// 1.5: the example with its numbers, for the initiator.
TEST(WireTracker, ActiveHandover) {
    Scene t;
    t.handshake();
    t.request(true, mpaFrame(false, 129, 0, 4));
    t.reply(true, mpaFrame(true, 129, 0x40), 32);
    FlowHandover out;
    ASSERT_EQ(t.tracker.handOver(Scene::key(), 0x10000021, 0x2000001D, t.now, out), Outcome::Ok);
    EXPECT_TRUE(out.initiator);
    EXPECT_EQ(out.kernelOctets, 0u);
    EXPECT_EQ(out.tcp.sndUna, 0x10000021u);
    EXPECT_EQ(out.tcp.sndNxt, 0x10000021u);
    EXPECT_EQ(out.tcp.rcvNxt, 0x2000001Du);
    EXPECT_EQ(out.tcp.peerMss, 8960);
    EXPECT_EQ(out.tcp.ownScale, 7);
    EXPECT_EQ(out.tcp.peerScale, 9);
    EXPECT_TRUE(out.tcp.sack && out.tcp.timestamps);
    EXPECT_FALSE(out.tcp.ecn);
    EXPECT_EQ(out.tcp.tsRecent, 7003u);
    EXPECT_EQ(out.tcp.tsValue, 5002u);
    EXPECT_EQ(out.tcp.rcvAdv, kIssB + 1 + 64256); // 502 << 7
    EXPECT_EQ(out.tcp.sndWnd, 500u << 9);
    EXPECT_EQ(out.tcp.rtt, kMs);
    EXPECT_EQ(out.format.dialect, FpduFormat::Dialect::Vendor);
    EXPECT_TRUE(out.format.crc); // the reply asked
    EXPECT_EQ(out.link.source[5], 1);
    EXPECT_EQ(out.ip.source, 0x0A000001u);
    EXPECT_EQ(out.ip.ttl, 61);
    EXPECT_EQ(out.request->privateBytes, 4);
    EXPECT_EQ(out.reply->revision, 129);
    EXPECT_EQ(t.tracker.entries(), 0u);
    EXPECT_EQ(t.tracker.handOver(Scene::key(), 0x10000021, 0x2000001D, t.now, out), Outcome::Untracked);
}

TEST(WireTracker, PassiveHandover) {
    for (const int64_t reply : {28, 20, 1024, 19, 1025, 0, -1}) {
        Scene t;
        t.handshake(false);
        t.request(false, mpaFrame(false, 129, 0, 4));
        t.send(true, kIssB + 1, 0x10000021, kAck, {}, Scene::stamp(7004), 400);
        FlowHandover out;
        const Outcome outcome =
            t.tracker.handOver(Scene::key(), kIssB + 1 + static_cast<uint32_t>(reply), 0x10000021, t.now, out);
        if (reply < 20 || reply > 1024) {
            EXPECT_EQ(outcome, Outcome::BadSequence) << reply;
            continue;
        }
        ASSERT_EQ(outcome, Outcome::Ok);
        EXPECT_FALSE(out.initiator);
        EXPECT_EQ(out.kernelOctets, static_cast<uint32_t>(reply));
        EXPECT_EQ(out.tcp.sndUna, 0x20000001u);
        EXPECT_EQ(out.tcp.sndNxt, 0x20000001u);
        EXPECT_EQ(out.tcp.rcvNxt, 0x10000021u);
        EXPECT_EQ(out.tcp.peerMss, 1460);
        EXPECT_EQ(out.tcp.ownScale, 9);
        EXPECT_EQ(out.tcp.tsRecent, 5002u);
        EXPECT_EQ(out.tcp.tsValue, 7004u);
        EXPECT_FALSE(out.reply);
        EXPECT_EQ(out.tcp.rtt, kMs);
    }
}

// RFC 6298 3: which of two was answered, nobody knows.
TEST(WireTracker, RepeatedSynsMeasureNothing) {
    for (const bool active : {true, false}) {
        Scene t;
        const Octets request = mpaFrame(false, 129, 0), reply = mpaFrame(true, 129, 0);
        t.send(active, kIssA, 0, kSyn);
        t.now += 1000 * kMs;
        if (active)
            t.send(true, kIssA, 0, kSyn);
        t.send(!active, kIssB, kIssA + 1, kSyn | kAck);
        if (!active) {
            t.now += 1000 * kMs;
            t.send(true, kIssB, kIssA + 1, kSyn | kAck);
        }
        t.send(active, kIssA + 1, kIssB + 1, kAck);
        t.send(active, kIssA + 1, kIssB + 1, kAck, request);
        if (active)
            t.send(false, kIssB + 1, kIssA + 29, kAck, reply);
        t.send(true, active ? kIssA + 29 : kIssB + 1, active ? kIssB + 29 : kIssA + 29, kAck);
        FlowHandover out;
        ASSERT_EQ(t.tracker.handOver(Scene::key(), active ? kIssA + 29 : kIssB + 29, active ? kIssB + 29 : kIssA + 29,
                                     t.now, out),
                  Outcome::Ok);
        EXPECT_FALSE(out.tcp.rtt) << active;
    }
}

TEST(WireTracker, OptionsCountOnlyWhenBothOfferThem) {
    Scene t;
    t.handshake(true, false);
    t.request(true, mpaFrame(false, 1, 0));
    t.reply(true, mpaFrame(true, 1, 0), 20);
    FlowHandover out;
    ASSERT_EQ(t.tracker.handOver(Scene::key(), kIssA + 21, kIssB + 21, t.now, out), Outcome::Ok);
    EXPECT_FALSE(out.tcp.sack || out.tcp.timestamps);
    EXPECT_EQ(out.tcp.ownScale + out.tcp.peerScale, 0);
    EXPECT_EQ(out.tcp.sndWnd, 500u);
    EXPECT_EQ(out.format.dialect, FpduFormat::Dialect::Standard);
    EXPECT_FALSE(out.format.crc);
}

// 9.1 number 11: reply and FPDUs in one segment, and more behind.
TEST(WireTracker, WhatFollowsTheReplyIsHeldForTheEndpoint) {
    Scene t;
    t.handshake();
    t.request(true, mpaFrame(false, 129, 0));
    const Octets reply = mpaFrame(true, 129, 0);
    Octets both = reply;
    both.resize(128, std::byte{0xF0});
    const unsigned before = t.guestFrames;
    EXPECT_EQ(t.reply(true, both, 28), Passage::Taken);
    EXPECT_EQ(t.guestFrames, before + 1);
    EXPECT_EQ(t.guest, reply);
    EXPECT_EQ(t.send(false, kIssB + 129, kIssA + 29, kAck, Octets(50, std::byte{0xF1})), Passage::Taken);
    EXPECT_EQ(t.send(false, kIssB + 179, kIssA + 29, kAck), Passage::Pass); // pure ACKs go on
    EXPECT_EQ(t.reply(true, reply, 28), Passage::Pass);                     // so does a repeated reply
    FlowHandover out;
    ASSERT_EQ(t.tracker.handOver(Scene::key(), kIssA + 29, kIssB + 29, t.now, out), Outcome::Ok);
    ASSERT_EQ(out.held.size(), 2u);
    const Frame first = parseFrame(out.held[0].octets), second = parseFrame(out.held[1].octets);
    ASSERT_EQ(first.kind, Frame::Kind::Tcp);
    EXPECT_EQ(first.tcp.seq, kIssB + 29);
    EXPECT_EQ(first.tcp.payload.size(), 100u);
    EXPECT_EQ(first.tcp.payload[0], std::byte{0xF0});
    EXPECT_EQ(second.tcp.seq, kIssB + 129);
    EXPECT_EQ(t.tracker.heldBytes(), 0u);
    EXPECT_EQ(t.tracker.deadline(), kNever);
}

TEST(WireTracker, HoldsEnd) {
    enum { KernelSpeaks, Timeout, Fin, Rst, BadHandover, Cleared };
    for (const int how : {KernelSpeaks, Timeout, Fin, Rst, BadHandover, Cleared}) {
        Scene t;
        t.handshake();
        t.request(true, mpaFrame(false, 2, 0));
        const Octets reply = mpaFrame(true, 2, 0);
        t.reply(true, reply, 20);
        EXPECT_EQ(t.send(false, kIssB + 21, kIssA + 21, kAck, Octets(50)), Passage::Taken);
        EXPECT_EQ(t.guest.size(), 20u);
        const uint64_t due = t.tracker.deadline();
        EXPECT_EQ(due, t.now + 5000 * kMs);
        FlowHandover out;
        switch (how) {
        case KernelSpeaks:
            t.send(true, kIssA + 21, kIssB + 21, kAck, Octets(10));
            EXPECT_EQ(t.tracker.entries(), 0u);
            break;
        case Timeout:
            t.tracker.onTimer(due - 1);
            EXPECT_EQ(t.guest.size(), 20u);
            t.tracker.onTimer(due);
            EXPECT_EQ(t.tracker.entries(), 1u);
            EXPECT_EQ(t.send(false, kIssB + 71, kIssA + 21, kAck, Octets(5)), Passage::Pass);
            t.guest.resize(70);
            break;
        case Fin:
            EXPECT_EQ(t.send(false, kIssB + 71, kIssA + 21, kAck | kFin), Passage::Pass);
            break;
        case Rst:
            EXPECT_EQ(t.send(false, kIssB + 71, kIssA + 21, kRst), Passage::Pass);
            EXPECT_EQ(t.tracker.entries(), 0u);
            break;
        case BadHandover:
            EXPECT_EQ(t.tracker.handOver(Scene::key(), kIssA + 22, kIssB + 21, t.now, out), Outcome::BadSequence);
            break;
        case Cleared:
            t.tracker.clear();
            break;
        }
        EXPECT_EQ(t.guest.size(), 70u) << how;
        EXPECT_EQ(t.tracker.heldBytes(), 0u);
        EXPECT_EQ(t.tracker.deadline(), kNever);
    }
}

TEST(WireTracker, RejectionIsNotFollowedByAHold) {
    Scene t;
    t.handshake();
    t.request(true, mpaFrame(false, 129, 0));
    t.reply(true, mpaFrame(true, 129, 0x20), 28);
    EXPECT_EQ(t.send(false, kIssB + 29, kIssA + 29, kAck, Octets(50)), Passage::Pass);
}

TEST(WireTracker, HoldIsBounded) {
    TrackerSettings settings;
    settings.holdBytes = 5000;
    Scene t(settings);
    t.handshake();
    t.request(true, mpaFrame(false, 129, 0));
    t.reply(true, mpaFrame(true, 129, 0), 28);
    for (uint32_t i = 0; i < 20; ++i)
        EXPECT_EQ(t.send(false, kIssB + 29 + i * 1000, kIssA + 29, kAck, Octets(1000)), Passage::Taken);
    EXPECT_LE(t.tracker.heldBytes(), 5000u);
    EXPECT_EQ(t.tracker.counters().dropped, 16u);
}

TEST(WireTracker, MpaFramesOctetByOctetRepeatedAndOutOfOrder) {
    Scene t;
    t.handshake();
    const Octets request = mpaFrame(false, 129, 0, 9), reply = mpaFrame(true, 129, 0, 5);
    for (size_t i = request.size(); i-- != 0;) // backwards
        t.send(true, kIssA + 1 + static_cast<uint32_t>(i), kIssB + 1, kAck, ConstBytes(request).subspan(i, 1));
    const auto requestBytes = static_cast<uint32_t>(request.size());
    const uint32_t ack = kIssA + 1 + requestBytes;
    EXPECT_EQ(t.send(false, kIssB + 11, ack, kAck, ConstBytes(reply).subspan(10)), Passage::Taken); // behind a gap
    for (size_t i = 0; i < reply.size(); ++i)
        for (int twice = 0; twice < 2; ++twice)
            EXPECT_EQ(t.send(false, kIssB + 1 + static_cast<uint32_t>(i), ack, kAck, ConstBytes(reply).subspan(i, 1)),
                      Passage::Pass);
    EXPECT_EQ(t.send(false, kIssB + 1 + static_cast<uint32_t>(reply.size()), ack, kAck, Octets(1)), Passage::Taken);
    FlowHandover out;
    EXPECT_EQ(t.tracker.handOver(Scene::key(), ack, kIssB + 1 + static_cast<uint32_t>(reply.size()), t.now, out),
              Outcome::Ok);
}

TEST(WireTracker, OtherProtocolsAreForgottenAtOnce) {
    const std::vector<Octets> first{Octets(1, std::byte{'G'}), Octets(100, std::byte{'M'}), mpaFrame(true, 129, 0),
                                    mpaFrame(false, 3, 0), mpaFrame(false, 1, 0, 65535)};
    for (const Octets& octets : first) {
        for (const bool active : {true, false}) {
            Scene t;
            t.handshake(active);
            EXPECT_EQ(t.tracker.entries(), 1u);
            const ConstBytes piece = ConstBytes(octets).first(std::min<size_t>(octets.size(), 1000));
            EXPECT_EQ(t.send(active, kIssA + 1, kIssB + 1, kAck, piece), Passage::Pass);
            EXPECT_EQ(t.tracker.entries(), 0u);
        }
    }
}

// 1.6: without the SYNs, an MPA request makes the entry.
TEST(WireTracker, HandshakeNotSeen) {
    for (const bool active : {true, false}) {
        Scene t;
        const Octets request = mpaFrame(false, 129, 0);
        t.send(active, kIssA + 1, kIssB + 1, kAck, Octets(20, std::byte{'M'}));
        t.send(active, kIssA + 1, kIssB + 1, kAck, mpaFrame(true, 129, 0));
        t.send(active, kIssA + 1, kIssB + 1, kAck, ConstBytes(request).first(15));
        t.send(active, kIssA + 1, 0, kRst, request);
        EXPECT_EQ(t.tracker.entries(), 0u);
        t.request(active, request);
        EXPECT_EQ(t.tracker.entries(), 1u);
        t.request(active, request); // repeated
        EXPECT_EQ(t.tracker.counters().created, 1u);
        if (active) {
            EXPECT_EQ(t.reply(true, mpaFrame(true, 129, 0), 28), Passage::Pass);
            // The hold works as ever.
            EXPECT_EQ(t.send(false, kIssB + 29, kIssA + 29, kAck, Octets(20), Scene::stamp(7004)), Passage::Taken);
        }
        FlowHandover out;
        ASSERT_EQ(t.tracker.handOver(Scene::key(), active ? kIssA + 29 : kIssB + 29, active ? kIssB + 29 : kIssA + 29,
                                     t.now, out),
                  Outcome::Ok);
        EXPECT_EQ(out.initiator, active);
        EXPECT_EQ(out.held.size(), active ? 1u : 0u);
        EXPECT_EQ(out.kernelOctets, active ? 0u : 28u);
        EXPECT_EQ(out.tcp.peerMss, 536);
        EXPECT_FALSE(out.tcp.sack);
        EXPECT_TRUE(out.tcp.timestamps);
        EXPECT_EQ(out.tcp.peerScale, 0);
        EXPECT_EQ(out.tcp.ownScale, 14);
        EXPECT_EQ(out.tcp.sndWnd, 500u);
        EXPECT_EQ(out.tcp.sndUna, active ? kIssA + 29 : kIssB + 1);
        EXPECT_EQ(out.tcp.tsRecent, active ? 7004u : 5002u);
        EXPECT_EQ(out.tcp.tsValue, active ? 5002u : 1u);
        EXPECT_FALSE(out.tcp.rtt);
    }
}

// A request in the middle of another program's stream, while the peer sends, stops nothing.
TEST(WireTracker, RequestInAnotherStream) {
    Scene t;
    t.request(true, mpaFrame(false, 129, 0));
    EXPECT_EQ(t.tracker.entries(), 1u);
    EXPECT_EQ(t.send(false, kIssB + 501, kIssA + 29, kAck, Octets(500)), Passage::Pass);
    EXPECT_EQ(t.tracker.entries(), 0u);
    EXPECT_EQ(t.tracker.counters().foreign, 1u);
    EXPECT_EQ(t.tracker.counters().dropped, 0u);
}

TEST(WireTracker, FloodsAndIdleness) {
    TrackerSettings settings;
    settings.entries = 1000;
    Scene t(settings);
    for (const bool fromGuest : {true, false}) {
        for (uint32_t i = 0; i < 5000; ++i) {
            Frame frame;
            frame.kind = Frame::Kind::Tcp;
            frame.ip.source = i * 977;
            frame.ip.destination = fromGuest ? i : 1;
            frame.ip.sourcePort = static_cast<uint16_t>(i);
            frame.tcp.flags = kSyn;
            if (fromGuest)
                t.tracker.fromGuest(frame, t.now);
            else
                t.tracker.fromWire(frame, {}, {}, t.now);
            ASSERT_LE(t.tracker.entries(), 1000u);
        }
    }
    t.now += 31'000 * kMs;
    for (int i = 0; i < 600; ++i)
        t.send(true, 1, 1, kAck); // of an unknown connection
    EXPECT_EQ(t.tracker.entries(), 0u);
    EXPECT_GT(t.tracker.counters().evicted, 0u);
}

TEST(WireTracker, ReusedPortsStartAnew) {
    Scene t;
    t.handshake();
    t.request(true, mpaFrame(false, 129, 0));
    t.send(true, kIssA, 0, kSyn); // repeated: the same connection
    EXPECT_EQ(t.tracker.counters().created, 1u);
    t.send(true, kIssA + 5000, 0, kSyn);
    EXPECT_EQ(t.tracker.counters().created, 2u);
    EXPECT_EQ(t.tracker.entries(), 1u);
    FlowHandover out;
    EXPECT_EQ(t.tracker.handOver(Scene::key(), kIssA + 29, kIssB + 29, t.now, out), Outcome::Untracked);
}

TEST(WireTracker, RandomFramesNeverCrash) {
    for (uint32_t seed = 1; seed <= 300; ++seed) {
        TrackerSettings settings;
        settings.holdBytes = 4000;
        Scene t(settings);
        std::mt19937 random(seed);
        if (seed % 2 == 0) {
            t.handshake();
            t.request(true, mpaFrame(false, 129, 0));
        }
        const Octets reply = mpaFrame(true, 129, 0, 300);
        for (int i = 0; i < 200; ++i) {
            const bool guest = random() % 3 == 0;
            const auto flags = static_cast<uint8_t>(random() % 6 == 0 ? random() : kAck);
            const uint32_t at = static_cast<uint32_t>(random() % 600);
            const size_t from = std::min<size_t>(at, reply.size() - 1);
            const size_t length = random() % 20 == 0 ? 0 : random() % (reply.size() - from);
            t.send(guest, (guest ? kIssA : kIssB) + 1 + (random() % 10 == 0 ? static_cast<uint32_t>(random()) : at),
                   (guest ? kIssB : kIssA) + 1 + static_cast<uint32_t>(random() % 600), flags,
                   ConstBytes(reply).subspan(from, length), {}, static_cast<uint16_t>(random()));
            t.now += random() % (400 * kMs);
            t.tracker.onTimer(t.now);
            FlowHandover out;
            if (random() % 100 == 0)
                t.tracker.handOver(Scene::key(), kIssA + 29, kIssB + 1, t.now, out);
            ASSERT_LE(t.tracker.heldBytes(), 4000u);
        }
    }
}

} // namespace

} // namespace erdma::test
