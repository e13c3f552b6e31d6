// SPDX-License-Identifier: GPL-2.0-or-later
// The impaired link (net/impairment.h) on a clock that the test moves.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "impaired_link.h"
#include "packet.h"

namespace erdma {
namespace {

TEST(Impairment, CleanLinkPassesAtOnceAndIsNotActive) {
    Link l;
    EXPECT_FALSE(l.link.active());
    EXPECT_EQ(l.link.deadline(), ERDMA_TIMER_OFF);
    l.set("seed=9");
    EXPECT_FALSE(l.link.active());
    l.push(ERDMA_TO_WIRE, 1);
    l.push(ERDMA_TO_GUEST, 2);
    ASSERT_EQ(l.arrivals.size(), 2u);
    EXPECT_EQ(l.arrivals[0].side, ERDMA_TO_WIRE);
    EXPECT_EQ(l.arrivals[1].side, ERDMA_TO_GUEST);
    EXPECT_EQ(l.arrivals[1].at, l.now);
}

TEST(Impairment, TextHasOneSpelling) {
    const std::map<std::string, std::string> spellings = {
        {"", ""},
        {" ; ", ""},
        {"both:loss=0%", ""},
        {"to-wire:loss=1%", "to-wire:loss=1%"},
        {"to-guest:cut", "to-guest:cut"},
        {"both:cut", "both:cut"},
        {"both:loss=1%,", "both:loss=1%"},
        {"to-wire:cut;to-guest:cut", "both:cut"},
        {" both : loss=0.5000% , delay=50ms ; seed=7", "both:loss=0.5%,delay=50ms;seed=7"},
        {"both:rate=1000mbit", "both:rate=1gbit"},
        {"both:rate=100mbit,corrupt=0.0001%", "both:corrupt=0.0001%,rate=100mbit"},
        {"both:delay=1500us,jitter=1ms", "both:delay=1500us,jitter=1ms"},
        {"to-wire:duplicate=100%,reorder=2.05%", "to-wire:reorder=2.05%,duplicate=100%"},
        {"both:loss=1%;to-wire:loss=2%", "to-wire:loss=2%;to-guest:loss=1%"},
        {"to-wire:drop=data#5", "to-wire:drop=data#5"},
        {"both:drop=any", "both:drop=any"},
        {"both:drop=ack#1-,loss=1%", "both:loss=1%,drop=ack"},
        {"to-guest:corrupt=data#5-5,duplicate=ack#2-3", "to-guest:corrupt=data#5,duplicate=ack#2-3"},
        {"to-wire:delay=1000us / data # 7- ", "to-wire:delay=1ms/data#7-"},
        {"to-wire:delay=5ms,delay=50ms/retransmission#1", "to-wire:delay=5ms,delay=50ms/retransmission#1"},
        {"to-wire:ecn=data/msn=0/opcode=send/conn=2#1-3", "to-wire:ecn=data/conn=2/opcode=send/msn=0#1-3"},
        {"to-wire:corrupt=2%,corrupt=data/opcode=read-response",
         "to-wire:corrupt=2%,corrupt=data/opcode=read-response"},
        {"to-wire:drop=data#18446744073709551615", "to-wire:drop=data#18446744073709551615"},
    };
    for (const auto& [text, canonical] : spellings) {
        Link l;
        l.set(text);
        EXPECT_EQ(describeLink(l.link.plan()), canonical) << text;
        EXPECT_EQ(l.link.active(), !canonical.empty());
        Link again;
        again.set(canonical);
        EXPECT_EQ(describeLink(again.link.plan()), canonical);
    }
}

TEST(Impairment, BadTextNamesTheFieldAndChangesNothing) {
    Link l;
    l.set("both:loss=3%");
    const std::map<std::string, std::string> bad = {
        {"loss=1%", "direction"},
        {"up:loss=1%", "direction"},
        {"both", "direction"},
        {"both:", "\"\" is none of"},
        {"both:loss", "loss must"},
        {"both:loss=1", "loss must"},
        {"both:loss=101%", "loss must"},
        {"both:loss=100.1%", "loss must"},
        {"both:loss=-1%", "loss must"},
        {"both:loss=0.00001%", "loss must"},
        {"both:loss=.5%", "loss must"},
        {"both:duplicate=x%", "duplicate must"},
        {"both:corrupt=%", "corrupt must"},
        {"both:reorder=1e1%", "reorder must"},
        {"both:delay=50", "delay must"},
        {"both:delay=61s", "delay must"},
        {"both:delay=18446744073709551615s", "delay must"},
        {"both:delay=1.5ms", "delay must"},
        {"both:delay=5ms,jitter=6ms", "jitter must not be more than delay"},
        {"both:delay=5ms,jitter=1h", "jitter must"},
        {"both:rate=0kbit", "rate must"},
        {"both:rate=100", "rate must"},
        {"both:rate=1001gbit", "rate must"},
        {"both:cut=1", "\"cut=1\" is none of"},
        {"both:speed=1", "\"speed=1\" is none of"},
        {"both:loss=1%;seed=x", "seed must"},
        {"both:drop", "drop must be chosen packets: any, data, ack or retransmission, for example drop=data#5"},
        {"both:drop=5%", "drop must be chosen packets"},
        {"both:drop=syn#1", "drop must be chosen packets"},
        {"both:corrupt=1", "corrupt must be 0% to 100%, for example corrupt=1.5%, or chosen packets: any, data"},
        {"both:ecn=data#0", "ecn must say which packets as #5, #5-7 or #5-"},
        {"both:ecn=data#", "ecn must say"},
        {"both:ecn=data#7-5", "ecn must say"},
        {"both:ecn=data#1#2", "ecn must say"},
        {"both:ecn=data#18446744073709551616", "ecn must say"},
        {"both:drop=data/conn=0", "conn must be the number of a connection"},
        {"both:drop=data/conn", "conn must be the number of a connection"},
        {"both:drop=data/msn=4294967296", "msn must be a number of 32 bits"},
        {"both:drop=data/opcode=3", "opcode must be write, read-request, read-response, send,"},
        {"both:drop=data/psn=7", "psn is a field of RoCE"},
        {"both:drop=data/port=7", "\"port=7\" is none of conn=, opcode= and msn="},
        {"both:drop=data//", "\"\" is none of conn="},
        {"both:delay=data#5", "delay must be 0ns to 60s"},
        {"both:delay=0ns/data#5", "delay of chosen packets must be 1ns to 60s"},
        {"both:delay=5ms/", "delay must be chosen packets"},
        {"both:loss=data#1", "loss must"},
        {"seed=", "seed must"},
        {"seed=18446744073709551616", "seed must"},
    };
    for (const auto& [text, words] : bad) {
        const std::string message = l.refused(text);
        EXPECT_NE(message.find(words), std::string::npos) << text << " -> " << message;
        EXPECT_EQ(describeLink(l.link.plan()), "both:loss=3%");
    }
}

TEST(Impairment, LossOfOneDirection) {
    Link l;
    l.set("to-wire:loss=10%;seed=3");
    for (uint32_t i = 0; i < 10000; ++i) {
        l.push(ERDMA_TO_WIRE, i);
        l.push(ERDMA_TO_GUEST, i);
    }
    const auto toWire =
        std::count_if(l.arrivals.begin(), l.arrivals.end(), [](const Arrival& a) { return a.side == ERDMA_TO_WIRE; });
    EXPECT_EQ(l.arrivals.size() - static_cast<size_t>(toWire), 10000u);
    EXPECT_NEAR(static_cast<double>(toWire), 9000, 120);
    EXPECT_EQ(l.counters[Counter::LinkLost], 10000u - static_cast<size_t>(toWire));
}

TEST(Impairment, SameSeedSameFate) {
    const auto fate = [](const std::string& text, uint32_t guestFramesBetween) {
        Link l;
        l.set(text);
        for (uint32_t i = 0; i < 500; ++i) {
            l.push(ERDMA_TO_WIRE, i);
            for (uint32_t n = 0; n < guestFramesBetween; ++n)
                l.push(ERDMA_TO_GUEST, i);
            l.now += 1000;
        }
        l.drain();
        std::vector<std::vector<std::byte>> wire;
        for (Arrival& arrival : l.arrivals)
            if (arrival.side == ERDMA_TO_WIRE)
                wire.push_back(std::move(arrival.frame));
        return wire;
    };
    const std::string all = "both:loss=5%,duplicate=5%,corrupt=5%,reorder=5%,delay=2ms,jitter=1ms";
    EXPECT_EQ(fate(all + ";seed=7", 0), fate(all + ";seed=7", 3)) << "the directions do not share their dice";
    EXPECT_NE(fate(all + ";seed=7", 0), fate(all + ";seed=8", 0));
}

TEST(Impairment, DelayIsExactAndKeepsOrder) {
    Link l;
    l.set("to-guest:delay=50ms");
    const uint64_t start = l.now;
    for (uint32_t i = 0; i < 10; ++i) {
        l.push(ERDMA_TO_GUEST, i);
        l.now += kMs;
    }
    EXPECT_TRUE(l.arrivals.empty());
    EXPECT_EQ(l.link.deadline(), start + 50 * kMs);
    l.drain();
    ASSERT_EQ(l.arrivals.size(), 10u);
    for (uint32_t i = 0; i < 10; ++i) {
        EXPECT_EQ(l.arrivals[i].number(), i);
        EXPECT_EQ(l.arrivals[i].at, start + (50 + i) * kMs);
    }
    EXPECT_EQ(l.counters[Counter::LinkDelayed], 10u);
    EXPECT_EQ(l.link.deadline(), ERDMA_TIMER_OFF);
}

TEST(Impairment, JitterStaysInItsBoundsAndKeepsOrder) {
    Link l;
    l.set("to-wire:delay=50ms,jitter=5ms");
    std::vector<uint64_t> sent;
    for (uint32_t i = 0; i < 200; ++i) {
        l.push(ERDMA_TO_WIRE, i);
        sent.push_back(l.now);
        l.runUntil(l.now + 20 * kMs);
    }
    l.drain();
    ASSERT_EQ(l.arrivals.size(), 200u);
    uint64_t least = UINT64_MAX, most = 0;
    for (uint32_t i = 0; i < 200; ++i) {
        EXPECT_EQ(l.arrivals[i].number(), i);
        least = std::min(least, l.arrivals[i].at - sent[i]);
        most = std::max(most, l.arrivals[i].at - sent[i]);
    }
    EXPECT_GE(least, 45 * kMs);
    EXPECT_LE(most, 55 * kMs);
    EXPECT_GT(most - least, 5 * kMs);
}

TEST(Impairment, FramesUnderWayAreNotOvertakenAfterTheLinkIsClean) {
    Link l;
    l.set("both:delay=50ms");
    l.push(ERDMA_TO_WIRE, 1);
    l.set("");
    EXPECT_TRUE(l.link.active()) << "a frame is still under way";
    l.push(ERDMA_TO_WIRE, 2);
    EXPECT_TRUE(l.arrivals.empty());
    l.drain();
    EXPECT_EQ(l.numbers(), (std::vector<uint32_t>{1, 2}));
    EXPECT_FALSE(l.link.active());
}

TEST(Impairment, ReorderedFrameIsOvertakenByOneToThree) {
    Link l;
    l.set("to-wire:reorder=20%");
    for (uint32_t i = 0; i < 1000; ++i)
        l.push(ERDMA_TO_WIRE, i);
    l.drain();
    std::vector<uint32_t> numbers = l.numbers();
    uint64_t late = 0;
    uint32_t highest = 0;
    for (uint32_t number : numbers) {
        if (number < highest) {
            ++late;
            EXPECT_LE(highest - number, 3u);
        }
        highest = std::max(highest, number);
    }
    EXPECT_EQ(late, l.counters[Counter::LinkReordered]);
    EXPECT_GT(late, 100u);
    std::sort(numbers.begin(), numbers.end());
    ASSERT_EQ(numbers.size(), 1000u);
    for (uint32_t i = 0; i < 1000; ++i)
        EXPECT_EQ(numbers[i], i);
}

TEST(Impairment, ReorderedFrameWithoutFollowersWaitsTenMilliseconds) {
    Link l;
    l.set("to-wire:reorder=100%");
    const uint64_t start = l.now;
    l.push(ERDMA_TO_WIRE, 1);
    EXPECT_TRUE(l.arrivals.empty());
    EXPECT_EQ(l.link.deadline(), start + 10 * kMs);
    l.drain();
    ASSERT_EQ(l.arrivals.size(), 1u);
    EXPECT_EQ(l.arrivals[0].at, start + 10 * kMs);
}

TEST(Impairment, DuplicatesArriveTwiceInARow) {
    Link l;
    l.set("to-guest:duplicate=100%");
    l.push(ERDMA_TO_GUEST, 1);
    l.push(ERDMA_TO_GUEST, 2);
    EXPECT_EQ(l.numbers(), (std::vector<uint32_t>{1, 1, 2, 2}));
    EXPECT_EQ(l.counters[Counter::LinkDuplicated], 2u);
}

TEST(Impairment, CorruptionFlipsOneBit) {
    Link l;
    l.set("to-wire:corrupt=100%");
    std::vector<std::byte> frame(1514, std::byte{0x5A});
    l.link.push(ERDMA_TO_WIRE, frame, {}, l.now);
    l.deliver();
    ASSERT_EQ(l.arrivals.size(), 1u);
    ASSERT_EQ(l.arrivals[0].frame.size(), frame.size());
    unsigned bits = 0;
    for (size_t i = 0; i < frame.size(); ++i)
        for (auto difference = frame[i] ^ l.arrivals[0].frame[i]; difference != std::byte{0}; difference >>= 1)
            bits += (difference & std::byte{1}) != std::byte{0};
    EXPECT_EQ(bits, 1u);
    EXPECT_EQ(l.counters[Counter::LinkCorrupted], 1u);
}

// A header that says "trust me" would hide the damage from the receiver.
TEST(Impairment, CorruptionOfAnUnfinishedChecksumCanBeSeen) {
    Link l;
    l.set("to-guest:corrupt=100%");
    IpHeader ip;
    ip.source = 0x0A4D0001;
    ip.destination = 0x0A4D0002;
    ip.sourcePort = 4000;
    ip.destinationPort = 5000;
    const std::vector<std::byte> payload(3000, std::byte{0x11});
    TcpSegment segment;
    segment.flags = tcp_flag::kAck;
    segment.payload = payload;
    std::vector<std::byte> frame;
    buildTcpFrame({}, ip, segment, frame);
    const uint16_t good = loadBe16(frame, 50);
    // What a sending kernel leaves there: the sum of the pseudo header.
    storeBe16(frame, 50, static_cast<uint16_t>(~checksumFold(checksumAdd(ConstBytes(frame).subspan(26, 8), 6 + 3020))));
    erdma_offload offload{};
    offload.needs_checksum = true;
    offload.gso_type = 1;
    offload.segment_bytes = 1448;
    offload.checksum_start = 34;
    offload.checksum_offset = 16;
    l.link.push(ERDMA_TO_GUEST, frame, offload, l.now);
    l.deliver();
    ASSERT_EQ(l.arrivals.size(), 1u);
    const Arrival& arrival = l.arrivals[0];
    EXPECT_FALSE(arrival.offload.needs_checksum);
    EXPECT_EQ(arrival.offload.gso_type, 0);
    EXPECT_EQ(arrival.offload.segment_bytes, 0);
    // All but the flipped bit is a frame with a good checksum.
    storeBe16(frame, 50, good);
    unsigned differing = 0;
    for (size_t i = 0; i < frame.size(); ++i)
        differing += frame[i] != arrival.frame[i];
    EXPECT_EQ(differing, 1u);

    // Offsets that point outside are the guest's affair.
    offload.checksum_start = 60000;
    l.link.push(ERDMA_TO_GUEST, frame, offload, l.now);
    offload.checksum_start = static_cast<uint16_t>(frame.size() - 1);
    offload.checksum_offset = 0;
    l.link.push(ERDMA_TO_GUEST, frame, offload, l.now);
    l.deliver();
    EXPECT_EQ(l.arrivals.size(), 3u);
}

TEST(Impairment, OffloadTravelsWithTheFrame) {
    Link l;
    l.set("to-wire:delay=1ms");
    erdma_offload offload{};
    offload.needs_checksum = true;
    offload.segment_bytes = 1448;
    l.push(ERDMA_TO_WIRE, 1, 9000, offload);
    l.push(ERDMA_TO_WIRE, 2);
    l.drain();
    ASSERT_EQ(l.arrivals.size(), 2u);
    EXPECT_TRUE(l.arrivals[0].offload.needs_checksum);
    EXPECT_EQ(l.arrivals[0].offload.segment_bytes, 1448);
    EXPECT_EQ(l.arrivals[0].frame.size(), 9000u);
    EXPECT_FALSE(l.arrivals[1].offload.needs_checksum);
}

TEST(Impairment, RateSpacesFrames) {
    Link l;
    l.set("to-wire:rate=8mbit"); // a megabyte a second: 1000 octets take 1 ms
    const uint64_t start = l.now;
    for (uint32_t i = 0; i < 50; ++i)
        l.push(ERDMA_TO_WIRE, i, 1000);
    l.drain();
    ASSERT_EQ(l.arrivals.size(), 50u);
    for (uint32_t i = 0; i < 50; ++i)
        EXPECT_EQ(l.arrivals[i].at, start + (i + 1) * kMs);
}

TEST(Impairment, LineQueueIsBounded) {
    Link l;
    l.set("to-wire:rate=8mbit");
    for (uint32_t i = 0; i < 500; ++i)
        l.push(ERDMA_TO_WIRE, i, 1000);
    l.drain();
    EXPECT_EQ(l.arrivals.size(), 101u) << "100 ms, and the frame that crosses it";
    EXPECT_EQ(l.counters[Counter::LinkOverflows], 399u);
}

TEST(Impairment, MemoryIsBounded) {
    Link l;
    l.set("both:delay=60s");
    for (uint32_t i = 0; i < 1000; ++i)
        l.push(ERDMA_TO_WIRE, i, 64 << 10);
    EXPECT_EQ(l.counters[Counter::LinkOverflows], 1000u - 512u) << "32 MiB";
    for (uint32_t i = 0; i < 40000; ++i)
        l.push(ERDMA_TO_GUEST, i, 60);
    EXPECT_EQ(l.counters[Counter::LinkOverflows], 1000u - 512u + 40000u - 32768u);
    l.drain();
    EXPECT_EQ(l.arrivals.size(), 512u + 32768u);
}

TEST(Impairment, CutDropsEverythingUntilMended) {
    Link l;
    l.set("both:delay=5ms");
    l.push(ERDMA_TO_WIRE, 1);
    l.set("both:cut");
    l.push(ERDMA_TO_WIRE, 2);
    l.push(ERDMA_TO_GUEST, 3);
    l.drain();
    EXPECT_EQ(l.numbers(), (std::vector<uint32_t>{1})) << "what was under way arrives";
    EXPECT_EQ(l.counters[Counter::LinkCut], 2u);
    l.set("");
    l.push(ERDMA_TO_WIRE, 4);
    EXPECT_EQ(l.numbers(), (std::vector<uint32_t>{1, 4}));
}

TEST(Impairment, TheSinkMaySend) {
    Link l;
    l.set("both:delay=1ms");
    l.push(ERDMA_TO_GUEST, 0);
    std::vector<uint32_t> seen;
    const Impairment::Sink answer = [&](erdma_side side, ConstBytes frame, const erdma_offload& offload) {
        seen.push_back(loadLe32(frame, 0));
        if (seen.size() < 5) {
            std::vector<std::byte> next(frame.begin(), frame.end());
            storeLe32(next, 0, seen.back() + 1);
            l.link.push(side == ERDMA_TO_WIRE ? ERDMA_TO_GUEST : ERDMA_TO_WIRE, next, offload, l.now);
        }
    };
    for (int step = 0; step < 10; ++step) {
        l.now += kMs;
        l.link.deliverDue(l.now, answer);
    }
    EXPECT_EQ(seen, (std::vector<uint32_t>{0, 1, 2, 3, 4}));
}

} // namespace
} // namespace erdma
