// SPDX-License-Identifier: GPL-2.0-or-later
#include "packet_rules.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "byteorder.h"

namespace erdma {

namespace {

// What a rule asks of MPA, DDP and RDMAP (wire.md 3 and 4).
constexpr size_t kLengthBytes = 2;
constexpr size_t kCrcBytes = 4;
constexpr size_t kMsnOffset = 12; // in the FPDU
constexpr size_t kUntaggedBytes = 18;
constexpr uint8_t kTagged = 0x80;
constexpr uint8_t kDdpVersionMask = 0x03, kDdpVersion = 0x01;
constexpr uint8_t kOpcodeMask = 0x0F;
constexpr std::string_view kMpaFrames[] = {"MPA ID Req Frame", "MPA ID Rep Frame"};

bool isMpaFrame(ConstBytes payload) {
    return std::ranges::any_of(kMpaFrames, [payload](std::string_view words) {
        return payload.size() >= words.size() && std::memcmp(payload.data(), words.data(), words.size()) == 0;
    });
}

} // namespace

void PacketRules::set(const std::array<std::vector<PacketRule>, 2>& rules) {
    for (size_t side = 0; side < rules.size(); ++side) {
        rules_[side].clear();
        for (const PacketRule& rule : rules[side])
            rules_[side].push_back({rule});
    }
    flows_.clear();
    order_.clear();
    numbers_ = 0;
}

PacketRules::Flow& PacketRules::flowOf(const Key& key, size_t end, const TcpSegment& segment) {
    auto found = flows_.find(key);
    const bool opens = segment.has(tcp_flag::kSyn) && !segment.has(tcp_flag::kAck);
    // A SYN that is sent again has the number of the first one.
    if (found != flows_.end() && opens && found->second.syn[end] != segment.seq)
        found->second = {++numbers_, {}, {}};
    if (found == flows_.end()) {
        if (flows_.size() >= kMaxFlows) {
            flows_.erase(order_.front());
            order_.pop_front();
        }
        found = flows_.emplace(key, Flow{++numbers_, {}, {}}).first;
        order_.push_back(key);
    }
    if (segment.has(tcp_flag::kSyn))
        found->second.syn[end] = segment.seq;
    return found->second;
}

PacketRule::Kind PacketRules::kindOf(const TcpSegment& segment, const Flow& flow, size_t end) {
    using Kind = PacketRule::Kind;
    if (segment.has(tcp_flag::kSyn) || segment.has(tcp_flag::kRst))
        return Kind::Any;
    if (segment.payload.empty())
        return segment.has(tcp_flag::kFin) ? Kind::Any : Kind::Ack;
    if (flow.next[end] && seqBefore(segment.seq, *flow.next[end]))
        return Kind::Retransmission;
    return isMpaFrame(segment.payload) ? Kind::Any : Kind::Data;
}

// The adapter's packets begin with an FPDU, also when they are sent again (wire.md 3.4).
bool PacketRules::hasSegment(ConstBytes payload, const PacketRule& rule) {
    for (size_t n = 0; n < kMaxSegments && payload.size() >= kUntaggedBytes; ++n) {
        const size_t ulpdu = loadBe16(payload, 0);
        const uint8_t ddp = load8(payload, kLengthBytes);
        if ((ddp & kDdpVersionMask) != kDdpVersion)
            return false;
        const bool untagged = (ddp & kTagged) == 0;
        const uint8_t opcode = load8(payload, kLengthBytes + 1) & kOpcodeMask;
        if ((!rule.opcode || *rule.opcode == opcode) &&
            (!rule.msn || (untagged && *rule.msn == loadBe32(payload, kMsnOffset))))
            return true;
        const size_t whole = (kLengthBytes + ulpdu + 3) / 4 * 4 + kCrcBytes;
        payload = payload.subspan(std::min(whole, payload.size()));
    }
    return false;
}

PacketRules::Fate PacketRules::judge(erdma_side side, ConstBytes frame, const erdma_offload& offload) {
    Fate fate;
    const Frame seen = parseFrame(frame, offload);
    if (seen.kind != Frame::Kind::Tcp)
        return fate;
    const End source{seen.ip.source, seen.ip.sourcePort};
    const End destination{seen.ip.destination, seen.ip.destinationPort};
    const Key key = std::minmax(source, destination);
    const size_t end = source == key.first ? 0 : 1;
    Flow& flow = flowOf(key, end, seen.tcp);
    const PacketRule::Kind kind = kindOf(seen.tcp, flow, end);
    std::optional<uint32_t>& next = flow.next[end];
    if (!next || seen.tcp.has(tcp_flag::kSyn) || seqBefore(*next, seen.tcp.end()))
        next = seen.tcp.end();

    for (Counted& counted : rules_[side]) {
        const PacketRule& rule = counted.rule;
        if ((rule.kind != PacketRule::Kind::Any && rule.kind != kind) ||
            (rule.connection != 0 && rule.connection != flow.number) ||
            ((rule.opcode || rule.msn) && (isMpaFrame(seen.tcp.payload) || !hasSegment(seen.tcp.payload, rule))))
            continue;
        ++counted.matches;
        if (counted.matches < rule.first || counted.matches > rule.last)
            continue;
        switch (rule.action) {
        case PacketRule::Action::Drop:
            fate.drop = true;
            break;
        case PacketRule::Action::Corrupt:
            fate.corruptAt = seen.payloadOffset + seen.tcp.payload.size() - 1;
            break;
        case PacketRule::Action::Duplicate:
            fate.duplicate = true;
            break;
        case PacketRule::Action::Mark:
            fate.markAt = seen.ipOffset;
            break;
        case PacketRule::Action::Delay:
            fate.delayNs = std::max(fate.delayNs, rule.delayNs);
            break;
        }
    }
    return fate;
}

} // namespace erdma
