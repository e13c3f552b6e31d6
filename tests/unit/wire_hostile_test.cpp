// SPDX-License-Identifier: GPL-2.0-or-later
// A peer that speaks TCP well and everything above it badly (wire.md checklist 89 to 110).
#include "byteorder.h"
#include "crc32c.h"
#include "wire_bench.h"

namespace erdma::test {

namespace {

Octets fpdu(const Segment& segment) {
    Octets out;
    encodeFpdu(segment, {.crc = true}, out);
    return out;
}

Octets joined(std::initializer_list<Octets> parts) {
    Octets out;
    for (const Octets& part : parts)
        out.insert(out.end(), part.begin(), part.end());
    return out;
}

const Octets kPayload(32, std::byte{0xEE});

struct Row {
    const char* name;
    std::function<Octets(WireBench&)> octets;
    uint32_t detail; // of the AEQE: layer, type, code
    AsyncEvent event;
};

// 5.6, 9.7 numbers 94 to 102 and 106.
TEST(WireHostile, WhatIsRefused) {
    using E = AsyncEvent;
    const auto write = [](uint32_t stag, uint64_t to, bool last = true) {
        return fpdu({.op = SegmentOp::Write, .last = last, .stag = stag, .to = to, .payload = kPayload});
    };
    const auto send = [](uint32_t msn, uint32_t mo, bool last = true) {
        return fpdu({.op = SegmentOp::Send, .last = last, .message = msn, .offset = mo, .payload = kPayload});
    };
    const auto read = [](uint32_t msn, uint32_t stag, uint64_t to, uint32_t size = 8) {
        return fpdu({.op = SegmentOp::ReadRequest, .message = msn, .read = {1, 2, size, stag, to}});
    };
    constexpr uint64_t kEnd = 1u << 20;
    const std::vector<Row> rows{
        {"write, wrong key", [&](WireBench& t) { return write(t.b.stag | 1, t.b.iova); }, 0x1100, E::Access},
        {"write, unknown index", [&](WireBench& t) { return write(0x77700, t.b.iova); }, 0x1100, E::Access},
        {"write, before", [&](WireBench& t) { return write(t.b.stag, t.b.iova - 1); }, 0x1101, E::Access},
        {"write, behind", [&](WireBench& t) { return write(t.b.stag, t.b.iova + kEnd - 31); }, 0x1101, E::Access},
        {"write, wrapping", [&](WireBench& t) { return write(t.b.stag, ~uint64_t{0} - 3); }, 0x1103, E::Access},
        {"write, local key", [&](WireBench& t) { return write(kLocalDmaKey, t.b.bus); }, 0x0102, E::Access},
        {"write, other PD",
         [&](WireBench& t) {
             t.b.guest->registerMr(60, 0x9000, t.b.memory().allocate(4096), 4096, 0x3E, 7);
             return write(60 << 8, 0x9000);
         },
         0x1102, E::Access},
        {"write, read-only",
         [&](WireBench& t) {
             t.b.guest->registerMr(61, 0x9000, t.b.memory().allocate(4096), 4096, access::kRemoteRead);
             return write(61 << 8, 0x9000);
         },
         0x0102, E::Access},
        {"write continues elsewhere",
         [&](WireBench& t) {
             return joined({write(t.b.stag, t.b.iova, false), write(t.b.stag, t.b.iova + 64)});
         },
         0x1101, E::QpFatal},
        {"write continues with another STag",
         [&](WireBench& t) {
             return joined({write(t.b.stag, t.b.iova, false), write(t.b.stag | 2, t.b.iova + 32)});
         },
         0x1100, E::QpFatal},
        {"read, wrong key", [&](WireBench& t) { return read(1, t.b.stag | 1, t.b.iova); }, 0x0100, E::Access},
        {"read, bounds", [&](WireBench& t) { return read(1, t.b.stag, t.b.iova + kEnd - 7); }, 0x0101, E::Access},
        {"read, local key", [&](WireBench& t) { return read(1, kLocalDmaKey, t.b.bus); }, 0x0102, E::Access},
        {"read, wrapping", [&](WireBench& t) { return read(1, t.b.stag, ~uint64_t{0} - 3); }, 0x0104, E::Access},
        {"read, MSN skipped", [&](WireBench& t) { return read(2, t.b.stag, t.b.iova); }, 0x1203, E::QpFatal},
        {"send, MSN 0", [&](WireBench&) { return send(0, 0); }, 0x1203, E::QpFatal},
        {"send, MSN skipped", [&](WireBench&) { return send(2, 0); }, 0x1203, E::QpFatal},
        {"send, MSN repeated",
         [&](WireBench&) {
             return joined({send(1, 0), send(1, 0)});
         },
         0x1203, E::QpFatal},
        {"send, MO of the first", [&](WireBench&) { return send(1, 4); }, 0x1204, E::QpFatal},
        {"send, MO of the second",
         [&](WireBench&) {
             return joined({send(1, 0, false), send(1, 28)});
         },
         0x1204, E::QpFatal},
        {"send inside a send",
         [&](WireBench&) {
             return joined({send(1, 0, false), send(2, 0)});
         },
         0x1203, E::QpFatal},
        {"send longer than the buffer",
         [&](WireBench&) {
             const Octets longPayload(4000, std::byte{0xEE});
             return fpdu({.op = SegmentOp::Send, .message = 1, .payload = longPayload});
         },
         0x1205, E::RecvQueue},
        {"unsolicited read response",
         [&](WireBench& t) {
             return fpdu({.op = SegmentOp::ReadResponse, .stag = t.b.stag, .to = t.b.iova, .payload = kPayload});
         },
         0x0206, E::QpFatal},
        {"unsolicited atomic response",
         [&](WireBench&) {
             return fpdu({.op = SegmentOp::AtomicResponse, .message = 1, .atomicResponse = {1, 2}});
         },
         0x0206, E::QpFatal},
        {"misaligned atomic",
         [&](WireBench& t) {
             return fpdu(
                 {.op = SegmentOp::AtomicRequest, .message = 1, .atomic = {1, false, t.b.stag, t.b.iova + 1, 1, 0}});
         },
         0x02FF, E::QpFatal},
        {"invalidate of a foreign STag",
         [&](WireBench& t) {
             t.b.guest->registerFast(62, t.b.memory().allocate(64), 1, 7);
             return fpdu({.op = SegmentOp::SendInv, .stag = 62 << 8, .message = 1, .payload = kPayload});
         },
         0x0109, E::Access},
    };
    for (const Row& row : rows) {
        WireBench t;
        t.runFor(100 * kMs);
        t.bench.recv(t.b, 4096, 3000);
        t.bench.recv(t.b, 8192, 3000);
        const Octets octets = row.octets(t);
        const auto outside = t.b.data(16384, 100000);
        t.inject(t.endB, octets);
        t.runFor(20 * kMs);
        ASSERT_EQ(t.b.state(), QpState::Error) << row.name;
        const auto events = t.events(t.b);
        ASSERT_EQ(events.size(), 1u) << row.name;
        EXPECT_EQ(events[0].second, row.detail) << row.name;
        EXPECT_EQ(events[0].first, row.event) << row.name;
        EXPECT_EQ(t.endB.endpoint->counters().terminatesOut, 1u) << row.name;
        EXPECT_EQ(t.b.data(16384, 100000), outside) << row.name;
        // Both receive buffers are accounted for, once.
        EXPECT_EQ(t.b.guest->drainCq(t.b.rcq).size(), 2u) << row.name;
        // Number 108: whatever comes now is ignored.
        t.inject(t.endB, fpdu({.op = SegmentOp::Write, .stag = t.b.stag, .to = t.b.iova + 16384, .payload = kPayload}));
        EXPECT_EQ(t.b.data(16384, 100000), outside) << row.name;
    }
}

// 9.7 number 101.
TEST(WireHostile, MoreReadsThanAgreed) {
    WireBench t;
    t.runFor(100 * kMs);
    Octets all;
    for (uint32_t msn = 1; msn <= kMaxIrd + 1; ++msn) {
        const Octets one = fpdu({.op = SegmentOp::ReadRequest, .message = msn, .read = {1, 2, 8, t.b.stag, t.b.iova}});
        all.insert(all.end(), one.begin(), one.end());
    }
    t.inject(t.endB, all);
    ASSERT_TRUE(t.run([&] { return t.b.state() == QpState::Error; }, 60'000 * kMs));
    const auto events = t.events(t.b);
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].second, 0x1202u);
}

// 9.7 numbers 104 and 105: the end of the stream, or silence, inside an FPDU.
TEST(WireHostile, StreamEndsInsideAnFpdu) {
    for (const bool fin : {true, false}) {
        WireBench t;
        t.runFor(100 * kMs);
        t.bench.recv(t.b, 4096, 3000);
        const auto before = t.b.data(0, 4096);
        const Octets whole = fpdu({.op = SegmentOp::Write, .stag = t.b.stag, .to = t.b.iova, .payload = kPayload});
        for (size_t cut = 1; cut < whole.size(); cut = cut * 2 + 1) {
            WireBench again;
            again.runFor(100 * kMs);
            again.inject(again.endB, ConstBytes(whole).first(cut),
                         static_cast<uint8_t>(tcp_flag::kAck | (fin ? tcp_flag::kFin : 0)));
            EXPECT_EQ(again.b.data(0, 4096), before);
            EXPECT_EQ(again.b.state(), fin ? QpState::Error : QpState::Rts) << cut;
            EXPECT_TRUE(again.events(again.b).empty());
        }
    }
}

// 9.7 number 107: headers announced that are not there.
TEST(WireHostile, ShortTerminate) {
    WireBench t;
    t.runFor(100 * kMs);
    for (const size_t copied : {0u, 2u, 10u, 16u}) {
        WireBench again;
        again.runFor(100 * kMs);
        Octets raw(2 + 18 + 4 + copied);
        storeBe16(raw, 0, static_cast<uint16_t>(raw.size() - 2));
        store8(raw, 2, 0x41);
        store8(raw, 3, 0x47);
        storeBe32(raw, 8, 2);
        storeBe32(raw, 12, 1);
        store8(raw, 20, 0x11);
        storeBe16(raw, 22, 0xE000);
        while (raw.size() % 4 != 0)
            raw.push_back(std::byte{0});
        const uint32_t crc = crc32c(raw);
        raw.resize(raw.size() + 4);
        storeLe32(raw, raw.size() - 4, crc);
        again.inject(again.endB, raw);
        EXPECT_EQ(again.b.state(), QpState::Error) << copied;
        EXPECT_EQ(again.endB.endpoint->counters().terminatesOut, 0u);
        EXPECT_EQ(again.endB.endpoint->counters().terminatesIn, 1u);
    }
}

// Segments that a good peer could send to the test's buffer, at the place where its stream is.
std::vector<Segment> goodSegments(const WireBench& t) {
    return {{.op = SegmentOp::Write, .stag = t.b.stag, .to = t.b.iova, .payload = kPayload},
            {.op = SegmentOp::ReadRequest, .message = 1, .read = {1, 2, 8, t.b.stag, t.b.iova}},
            {.op = SegmentOp::AtomicRequest, .message = 1, .atomic = {1, false, t.b.stag, t.b.iova, 1, 0}},
            {.op = SegmentOp::Send, .message = 1, .payload = kPayload}};
}

// Memory in front of the registered buffer, and behind it.
std::vector<std::byte> around(const WireBench& t) {
    auto all = t.b.memory().copy(t.b.bus - 0x1000, 0x1000);
    const auto behind = t.b.memory().copy(t.b.bus + (1u << 20), 0xFF0);
    all.insert(all.end(), behind.begin(), behind.end());
    return all;
}

// What holds whatever a peer sent: the connection goes on in silence, or ends with one event and every receive once.
void expectWholeOrOver(WireBench& t, size_t receives) {
    const auto events = t.events(t.b);
    const size_t done = t.b.guest->drainCq(t.b.rcq).size();
    if (t.b.state() == QpState::Error) {
        EXPECT_EQ(events.size(), 1u);
        EXPECT_EQ(done, receives);
    } else {
        EXPECT_EQ(t.b.state(), QpState::Rts);
        EXPECT_TRUE(events.empty());
        EXPECT_LE(done, receives);
        EXPECT_EQ(t.endB.endpoint->counters().terminatesOut, 0u);
    }
    EXPECT_LE(t.endB.endpoint->counters().terminatesOut, 1u);
}

// 9.7 number 110: random octets change nothing, and unless they announce more than they bring, end the connection.
TEST(WireHostile, RandomStreams) {
    std::mt19937 random(7);
    unsigned ended = 0;
    for (unsigned seed = 0; seed < 200; ++seed) {
        SCOPED_TRACE(seed);
        WireBench t;
        t.runFor(50 * kMs);
        t.bench.recv(t.b, 4096, 3000);
        const auto before = around(t);
        const auto buffer = t.b.data(0, 1u << 20);
        size_t announced = 0;
        size_t sent = 0;
        for (unsigned burst = 0; burst < 4; ++burst) {
            Octets octets(random() % 1400 + 8);
            for (std::byte& octet : octets)
                octet = static_cast<std::byte>(random());
            if (burst == 0)
                announced = (size_t{loadBe16(octets, 0)} + 2 + 3) / 4 * 4 + 4;
            sent = std::max(sent, octets.size()); // all at the same place of the stream
            t.inject(t.endB, octets);
        }
        t.runFor(20 * kMs);
        EXPECT_EQ(around(t), before);
        EXPECT_EQ(t.b.data(0, 1u << 20), buffer);
        if (announced <= sent) {
            EXPECT_EQ(t.b.state(), QpState::Error);
        }
        ended += t.b.state() == QpState::Error ? 1 : 0;
        expectWholeOrOver(t, 1);
    }
    EXPECT_GT(ended, 0u);
}

// 9.7 number 110: good segments with one octet of their headers changed write only where the peer was granted it.
TEST(WireHostile, ChangedHeaders) {
    std::mt19937 random(8);
    unsigned ended = 0;
    unsigned went = 0;
    for (unsigned seed = 0; seed < 400; ++seed) {
        SCOPED_TRACE(seed);
        WireBench t;
        t.runFor(50 * kMs);
        t.bench.recv(t.b, 4096, 3000);
        const auto before = around(t);
        const std::vector<Segment> good = goodSegments(t);
        Octets octets = fpdu(good[seed % good.size()]);
        const size_t header = octets.size() - 4 - (seed % good.size() % 3 == 0 ? kPayload.size() : 0);
        // Not the length: what is behind it would be something else altogether.
        store8(octets, 2 + random() % (header - 2), static_cast<uint8_t>(random()));
        storeLe32(octets, octets.size() - 4, crc32c(ConstBytes(octets).first(octets.size() - 4)));
        t.inject(t.endB, octets);
        t.runFor(20 * kMs);
        EXPECT_EQ(around(t), before);
        (t.b.state() == QpState::Error ? ended : went) += 1;
        expectWholeOrOver(t, 1);
    }
    // Some changes do not matter, or name another place in the buffer.
    EXPECT_GT(ended, 0u);
    EXPECT_GT(went, 0u);
}

} // namespace

} // namespace erdma::test
