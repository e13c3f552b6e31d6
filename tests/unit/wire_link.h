// SPDX-License-Identifier: GPL-2.0-or-later
// A link on a simulated clock that loses, delays, reorders, duplicates and damages frames, and TCP engines at its ends.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "packet.h"
#include "tcp.h"

namespace erdma::test {

using Octets = std::vector<std::byte>;

// One direction.  Probabilities per frame.
struct Path {
    double loss = 0, duplicate = 0, damage = 0, reorder = 0;
    uint64_t delay = 1 * kMs; // reordered frames take up to 8 times as long
    bool cut = false;
    // Swallows a frame when it returns true; `index` counts the frames of this direction from 0.
    std::function<bool(const Frame& frame, unsigned index)> drop;
    unsigned frames = 0;
};

class SimulatedLink {
public:
    using Receiver = std::function<void(ConstBytes frame)>;

    explicit SimulatedLink(uint32_t seed = 1) : random_(seed) {}

    uint64_t now = 1000 * kMs;
    std::array<Path, 2> paths;         // by sending end
    std::array<Receiver, 2> receivers; // by receiving end

    void send(unsigned from, const Octets& frame) {
        Path& path = paths[from];
        const unsigned index = path.frames++;
        if (path.cut || (path.drop && path.drop(parseFrame(frame), index)) || chance(path.loss))
            return;
        put(from, frame);
        if (chance(path.duplicate))
            put(from, frame);
    }
    uint64_t due() const { return queue_.empty() ? kNever : queue_.begin()->first; }
    // One frame that is due.
    void deliver() {
        auto first = queue_.extract(queue_.begin());
        receivers[1 - first.mapped().from](first.mapped().octets);
    }
    size_t underway() const { return queue_.size(); }
    std::mt19937& random() { return random_; }
    bool chance(double p) { return p > 0 && std::uniform_real_distribution<>(0, 1)(random_) < p; }

private:
    struct Entry {
        unsigned from;
        Octets octets;
    };
    void put(unsigned from, Octets frame) {
        const Path& path = paths[from];
        // One bit: no checksum misses that.
        if (chance(path.damage)) {
            const size_t bit = 14 * 8 + random_() % ((frame.size() - 14) * 8);
            frame[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
        }
        const uint64_t delay = chance(path.reorder) ? path.delay + random_() % (7 * path.delay) : path.delay;
        queue_.emplace(now + delay, Entry{from, std::move(frame)}); // equal times keep their order
    }

    std::mt19937 random_;
    std::multimap<uint64_t, Entry> queue_;
};

// What both ends agreed on and where their streams stand.
struct LinkSetup {
    uint32_t issA = 0x10000000, issB = 0x20000000;
    uint16_t mss = 1460;
    uint16_t mtu = 1500;
    bool sack = true;
    bool timestamps = true;
    uint8_t scaleA = 7, scaleB = 7;
    CongestionControl congestion = CongestionControl::NewReno;
    std::optional<uint64_t> rtt = 10 * kMs;
    bool v6 = false;
    TcpSettings settings{};
};

inline TcpHandover handoverOf(const LinkSetup& setup, bool first, uint64_t now) {
    TcpHandover h;
    h.sndUna = h.sndNxt = first ? setup.issA : setup.issB;
    h.rcvNxt = first ? setup.issB : setup.issA;
    h.rcvAdv = h.rcvNxt + 65535;
    h.sndWnd = 65535;
    h.sndWl1 = h.rcvNxt;
    h.sndWl2 = h.sndUna;
    h.peerMss = setup.mss;
    h.mtu = setup.mtu;
    h.ipBytes = setup.v6 ? 40 : 20;
    h.ownScale = first ? setup.scaleA : setup.scaleB;
    h.peerScale = first ? setup.scaleB : setup.scaleA;
    h.sack = setup.sack;
    h.timestamps = setup.timestamps;
    h.tsRecent = first ? 7000 : 5000;
    h.tsValue = first ? 5000 : 7000;
    h.tsValueAt = now;
    h.rtt = setup.rtt;
    h.congestion = setup.congestion;
    return h;
}

inline LinkHeader linkHeaderOf(bool first) {
    LinkHeader link;
    link.source = {2, 0, 0, 0, 0, static_cast<uint8_t>(first ? 1 : 2)};
    link.destination = {2, 0, 0, 0, 0, static_cast<uint8_t>(first ? 2 : 1)};
    return link;
}

// What the guest says before anybody can find it: its address.
inline Octets arpOf(bool first) {
    Octets frame(60);
    const LinkHeader link = linkHeaderOf(first);
    for (size_t i = 0; i < 6; ++i) {
        frame[i] = std::byte{0xFF};
        frame[6 + i] = static_cast<std::byte>(link.source[i]);
    }
    frame[12] = std::byte{0x08};
    frame[13] = std::byte{0x06};
    return frame;
}

inline IpAddress addressOf(bool first, bool v6 = false) {
    const uint32_t host = first ? 1 : 2;
    return v6 ? IpAddress(0xFD00'0010'0077'0000u, host) : IpAddress(0x0A000000 | host);
}

inline IpHeader ipHeaderOf(bool first, bool v6 = false) {
    IpHeader ip;
    ip.source = addressOf(first, v6);
    ip.destination = addressOf(!first, v6);
    ip.sourcePort = first ? 1000 : 2000;
    ip.destinationPort = first ? 2000 : 1000;
    return ip;
}

// One end: sends what it is told to, keeps what it gets and every segment that it transmitted.
class TcpEndpoint final : public TcpUser, public TcpOutput {
public:
    struct Record {
        uint64_t at;
        uint64_t offset; // of the own stream
        size_t length;
        uint8_t flags;
        uint64_t ack; // offset of the peer's stream
        uint32_t window;
        uint8_t sackCount;
    };

    TcpEndpoint(SimulatedLink& link, const LinkSetup& setup, bool first, MemoryBudget& budget)
        : link_(link), first_(first), own_(first ? setup.issA : setup.issB), peer_(first ? setup.issB : setup.issA),
          scale_(first ? setup.scaleA : setup.scaleB),
          tcp(handoverOf(setup, first, link.now), setup.settings, *this, *this, budget) {
        link.receivers[first ? 0 : 1] = [this](ConstBytes raw) {
            const Octets copy(raw.begin(), raw.end());
            const Frame frame = parseFrame(copy);
            if (frame.kind != Frame::Kind::Tcp) {
                ++badFrames;
                return;
            }
            tcp.input(frame.tcp);
            if (batching)
                tcp.endOfBatch();
        };
    }

    size_t received(ConstBytes octets) override {
        const size_t n = hold ? 0 : std::min(octets.size(), takeAtMost);
        input.insert(input.end(), octets.begin(), octets.begin() + static_cast<std::ptrdiff_t>(n));
        return n;
    }
    void progressed() override {}
    void finished() override { ++fins; }
    void lost(TcpEnd why) override { end = why; }
    void transmit(const TcpSegment& s) override {
        sent.push_back({link_.now, s.seq - own_, s.payload.size(), s.flags, s.ack - peer_, uint32_t{s.window} << scale_,
                        s.options.sackCount});
        Octets frame;
        buildTcpFrame(linkHeaderOf(first_), ipHeaderOf(first_), s, frame);
        link_.send(first_ ? 0 : 1, frame);
    }
    uint64_t nowNs() override { return link_.now; }

    // Appends octets of a known pattern as units of `unit`.
    void write(size_t length, size_t unit = 1448) {
        while (length != 0) {
            const size_t piece = std::min(unit, length);
            Octets octets(piece);
            for (std::byte& b : octets)
                b = patternAt(written++);
            tcp.append(octets, piece == length);
            length -= piece;
        }
        tcp.flush();
    }
    static std::byte patternAt(size_t i) { return static_cast<std::byte>(i * 31 + (i >> 8) * 7); }
    bool intact() const {
        for (size_t i = 0; i < input.size(); ++i)
            if (input[i] != patternAt(i))
                return false;
        return true;
    }
    // Data segments, and when they left after `since`.
    std::vector<Record> data() const {
        std::vector<Record> out;
        for (const Record& r : sent)
            if (r.length != 0)
                out.push_back(r);
        return out;
    }

    SimulatedLink& link_;
    bool first_;
    uint32_t own_, peer_;
    uint8_t scale_;
    TcpConnection tcp;
    Octets input;
    size_t written = 0;
    bool hold = false;
    size_t takeAtMost = SIZE_MAX; // by one call
    bool batching = true;
    int fins = 0;
    std::optional<TcpEnd> end;
    unsigned badFrames = 0;
    std::vector<Record> sent;
};

class TcpPair {
public:
    // `shared`: budgets of the ends that others use as well.
    explicit TcpPair(const LinkSetup& setup = {}, uint32_t seed = 1, MemoryBudget* sharedA = nullptr,
                     MemoryBudget* sharedB = nullptr)
        : link(seed), a(link, setup, true, sharedA != nullptr ? *sharedA : budget),
          b(link, setup, false, sharedB != nullptr ? *sharedB : budget) {}

    // Until `done`, or nothing is left to happen, or the time is over.
    bool run(const std::function<bool()>& done, uint64_t limit = 3600'000 * kMs) {
        const uint64_t end = link.now + limit;
        while (!done()) {
            const uint64_t next = std::min({link.due(), a.tcp.deadline(), b.tcp.deadline()});
            if (next > end) {
                link.now = end;
                return done();
            }
            link.now = std::max(link.now, next);
            if (link.due() <= link.now)
                link.deliver();
            else if (a.tcp.deadline() <= link.now)
                a.tcp.onTimer();
            else
                b.tcp.onTimer();
        }
        return true;
    }
    void runFor(uint64_t time) {
        run([] { return false; }, time);
    }
    // Both directions took everything.
    bool exchanged() const { return a.input.size() == b.written && b.input.size() == a.written; }
    // A segment from nowhere, as `to` would get it from its peer.
    void forge(TcpEndpoint& to, uint64_t offset, uint8_t flags, ConstBytes payload = {},
               std::optional<uint64_t> ack = std::nullopt, uint16_t window = 512) {
        TcpSegment s;
        s.seq = to.peer_ + static_cast<uint32_t>(offset);
        s.ack = to.own_ + static_cast<uint32_t>(ack.value_or(to.tcp.acknowledged()));
        s.flags = flags;
        s.window = window;
        s.payload = payload;
        if (timestamps)
            s.options.timestamps = TcpTimestamps{to.first_ ? 7000u + 100000 : 5000u + 100000, 0};
        to.tcp.input(s);
    }

    bool timestamps = false; // of forged segments
    MemoryBudget budget;
    SimulatedLink link;
    TcpEndpoint a, b;
};

} // namespace erdma::test
