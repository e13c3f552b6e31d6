// SPDX-License-Identifier: GPL-2.0-or-later
// The flow tracker: handshakes, MPA frames and noise of both sides in any order.  What it keeps stays bounded, what it
// holds comes out again unchanged and in order, and afterwards nothing is left.
#include <map>
#include <vector>

#include "byteorder.h"
#include "fuzz.h"
#include "tracker.h"

namespace erdma::fuzz {
namespace {

using Octets = std::vector<std::byte>;
using namespace tcp_flag;
using Passage = FlowTracker::Passage;

constexpr size_t kEntries = 4, kHeldMost = 2000;

class Scene final : public TrackerOutput {
public:
    explicit Scene(Input& in) : in_(in), tracker_(settings(), *this, memory_) { memory_.limit = kHeldMost; }

    void play() {
        for (int step = 0; step < 256 && !in_.empty(); ++step) {
            act();
            FUZZ_CHECK(tracker_.entries() <= kEntries, "more flows than allowed");
            FUZZ_CHECK(tracker_.heldBytes() <= kHeldMost, "more is held than allowed");
            FUZZ_CHECK((tracker_.heldBytes() == 0) == (tracker_.deadline() == kNever),
                       "frames are held without a time limit, or a time limit without frames");
        }
        tracker_.clear();
        FUZZ_CHECK(tracker_.entries() == 0 && tracker_.heldBytes() == 0 && tracker_.deadline() == kNever,
                   "something is left");
        FUZZ_CHECK(out_ + handedOver_ + tracker_.counters().dropped >= taken_, "a frame that was taken is lost");
        FUZZ_CHECK(out_ + handedOver_ <= taken_ + split_, "more frames came out than went in");
    }

private:
    static TrackerSettings settings() {
        TrackerSettings s;
        s.entries = kEntries;
        s.holdBytes = 1000;
        return s;
    }

    void toGuest(ConstBytes frame, const erdma_offload&) override {
        ++out_;
        const Octets copy(frame.begin(), frame.end());
        FUZZ_CHECK(parseFrame(copy).kind == Frame::Kind::Tcp, "the guest gets something that is no TCP");
    }

    struct Flow { // where the harness believes that the streams stand
        std::array<uint32_t, 2> next = {0xFFFFFFF0, 0x20000000};
    };

    FlowKey keyOf(uint32_t flow) const {
        const auto address = [flow](uint32_t host) { // half of them over IPv6
            return flow < 3 ? IpAddress(0x0A000000 | host) : IpAddress(0xFE80'0000'0000'0000u, host);
        };
        return {address(1), address(2), static_cast<uint16_t>(1000 + flow), 2000,
                static_cast<uint16_t>(flow % 3 == 2 ? 5 : 0)};
    }

    void act() {
        const uint32_t number = in_.below(6);
        Flow& flow = flows_[number];
        const uint8_t what = in_.u8();
        switch (what % 16) {
        case 0:
            now_ += uint64_t{1} << in_.below(38);
            break;
        case 1:
            tracker_.onTimer(now_);
            break;
        case 2:
        case 3: {
            FlowHandover out;
            const unsigned own = in_.below(2);
            const uint32_t octets = in_.pick(std::array{0u, 20u, 28u, 24u});
            if (tracker_.handOver(keyOf(number), flow.next[own] + octets, flow.next[1 - own], now_, out) ==
                FlowTracker::Outcome::Ok) {
                handedOver_ += out.held.size();
                FUZZ_CHECK(!tracker_.tracks(keyOf(number)), "a flow that was handed over is still tracked");
                for (const HeldFrame& held : out.held)
                    FUZZ_CHECK(parseFrame(held.octets, held.offload).kind == Frame::Kind::Tcp,
                               "what was held is no TCP");
                FUZZ_CHECK(out.tcp.ownScale <= 14 && out.tcp.peerScale <= 14, "an impossible window scale");
            }
            break;
        }
        case 4: // a whole handshake, in order
            for (const uint32_t step : {0u, 1u, 2u})
                handshake(number, flow, (what & 0x80) != 0 ? 1 : 0, step);
            break;
        case 5: {
            const unsigned opener = in_.below(2);
            handshake(number, flow, opener, in_.below(3));
            break;
        }
        case 6: { // any octets at all
            const bool fromGuest = in_.below(2) == 0;
            raw(fromGuest, in_.fewOctets(256));
            break;
        }
        default:
            segment(number, flow, (what & 0x10) != 0 ? 1 : 0, what >> 5);
            break;
        }
    }

    void handshake(uint32_t number, Flow& flow, unsigned opener, uint32_t step) {
        TcpSegment s;
        const unsigned from = step == 1 ? 1 - opener : opener;
        s.seq = flow.next[from] - (step == 2 ? 0 : 1);
        s.ack = step == 0 ? 0 : flow.next[1 - from];
        s.flags = static_cast<uint8_t>(step == 0 ? kSyn : step == 1 ? kSyn | kAck : kAck);
        s.window = 60000;
        if (step != 2) {
            s.options.mss = 1460;
            s.options.sackPermitted = true;
            s.options.windowScale = 7;
        }
        s.options.timestamps = TcpTimestamps{1, 1};
        send(number, from, s);
    }

    void segment(uint32_t number, Flow& flow, unsigned from, unsigned kind) {
        TcpSegment s;
        s.seq = flow.next[from];
        s.ack = flow.next[1 - from];
        s.flags = kAck;
        s.window = in_.u8();
        Octets payload;
        switch (kind) {
        case 0:
            break;
        case 1:
        case 2:
        case 3: { // an MPA frame, perhaps with something in it changed
            for (const char c : std::string(kind == 1 ? "MPA ID Req Frame" : "MPA ID Rep Frame"))
                payload.push_back(static_cast<std::byte>(c));
            const uint8_t revision = in_.pick(std::array<uint8_t, 5>{129, 129, 1, 2, 3});
            const uint32_t priv = in_.below(5) * 8;
            payload.push_back(static_cast<std::byte>(in_.u8() & 0x70));
            payload.push_back(static_cast<std::byte>(revision));
            payload.push_back(std::byte{0});
            payload.push_back(static_cast<std::byte>(priv));
            payload.resize(payload.size() + (revision == 129 ? 8 : 0) + priv);
            if (in_.rarely(8)) {
                const auto value = static_cast<std::byte>(in_.u8());
                payload[in_.below(static_cast<uint32_t>(payload.size()))] = value;
            }
            break;
        }
        case 4:
            payload.resize(in_.u8());
            break;
        default: {
            const auto octets = in_.fewOctets(64);
            payload.assign(octets.begin(), octets.end());
            break;
        }
        }
        if (in_.rarely(4)) {
            s.seq += in_.u8() - 128u;
            s.flags = in_.u8();
        } else {
            flow.next[from] += static_cast<uint32_t>(payload.size());
        }
        if (in_.rarely(8)) { // in pieces
            const size_t first = payload.empty() ? 0 : in_.u8() % payload.size();
            s.payload = ConstBytes(payload).first(first);
            send(number, from, s);
            s.seq += static_cast<uint32_t>(first);
            s.payload = ConstBytes(payload).subspan(first);
        } else {
            s.payload = payload;
        }
        send(number, from, s);
    }

    void send(uint32_t number, unsigned from, const TcpSegment& segment) {
        const FlowKey key = keyOf(number);
        IpHeader ip;
        ip.source = from == 0 ? key.ownIp : key.peerIp;
        ip.destination = from == 0 ? key.peerIp : key.ownIp;
        ip.sourcePort = from == 0 ? key.ownPort : key.peerPort;
        ip.destinationPort = from == 0 ? key.peerPort : key.ownPort;
        LinkHeader link;
        link.source[5] = static_cast<uint8_t>(1 + from);
        link.destination[5] = static_cast<uint8_t>(2 - from);
        if (key.vlan != 0) {
            link.tagCount = 1;
            link.tags[0].control = key.vlan;
        }
        Octets frame;
        buildTcpFrame(link, ip, segment, frame);
        const Frame back = parseFrame(frame);
        FUZZ_CHECK(back.kind == Frame::Kind::Tcp && back.tcp.seq == segment.seq && back.tcp.flags == segment.flags &&
                       std::equal(back.tcp.payload.begin(), back.tcp.payload.end(), segment.payload.begin(),
                                  segment.payload.end()),
                   "a frame does not say what it was built from");
        raw(from == 0, frame);
    }

    void raw(bool fromGuest, ConstBytes octets) {
        const Octets copy(octets.begin(), octets.end());
        erdma_offload offload{};
        offload.data_valid = fromGuest;
        const Frame frame = parseFrame(copy, offload);
        now_ += 1000;
        if (fromGuest) {
            FUZZ_CHECK(tracker_.fromGuest(frame, now_) == Passage::Pass, "the guest's own frame is kept back");
            return;
        }
        if (tracker_.fromWire(frame, copy, offload, now_) == Passage::Taken) {
            ++taken_;
            ++split_; // the reply's end and what follows may become two
        }
    }

    Input& in_;
    MemoryBudget memory_;
    FlowTracker tracker_;
    std::map<uint32_t, Flow> flows_;
    uint64_t now_ = 1'000'000'000;
    uint64_t taken_ = 0, split_ = 0, out_ = 0, handedOver_ = 0;
};

} // namespace
} // namespace erdma::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    erdma::fuzz::Input in(data, size);
    erdma::fuzz::Scene(in).play();
    return 0;
}
