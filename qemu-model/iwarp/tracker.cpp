// SPDX-License-Identifier: GPL-2.0-or-later
#include "tracker.h"

#include <algorithm>
#include <string_view>

#include "byteorder.h"

namespace erdma {

namespace {

constexpr std::string_view kRequestKey = "MPA ID Req Frame";
constexpr std::string_view kReplyKey = "MPA ID Rep Frame";
constexpr size_t kMpaHeader = 20;
constexpr size_t kMpaMost = 20 + 8 + 512;
constexpr uint16_t kPrivateMost = 512;
constexpr uint8_t kFlagEnhanced = 0x10;
constexpr uint16_t kOrdOfRevision1 = 16;                // appendix A
constexpr uint32_t kReplyLeast = 20, kReplyMost = 1024; // 1.5
constexpr uint8_t kScaleMost = 14, kUsualTtl = 64;

} // namespace

FlowKey keyOf(const Frame& frame, bool fromGuest) {
    FlowKey key;
    key.ownIp = fromGuest ? frame.ip.source : frame.ip.destination;
    key.peerIp = fromGuest ? frame.ip.destination : frame.ip.source;
    key.ownPort = fromGuest ? frame.ip.sourcePort : frame.ip.destinationPort;
    key.peerPort = fromGuest ? frame.ip.destinationPort : frame.ip.sourcePort;
    if (frame.link.tagCount != 0)
        key.vlan = frame.link.tags[frame.link.tagCount - 1].control & 0x0FFF;
    return key;
}

MpaParse parseMpa(ConstBytes octets, bool reply) {
    const std::string_view key = reply ? kReplyKey : kRequestKey;
    MpaParse out;
    for (size_t i = 0; i < std::min(octets.size(), key.size()); ++i) {
        if (std::to_integer<char>(octets[i]) != key[i]) {
            out.kind = MpaParse::Kind::None;
            return out;
        }
    }
    if (octets.size() < kMpaHeader)
        return out;
    MpaHeader& header = out.header;
    header.reply = reply;
    header.flags = load8(octets, 16);
    header.revision = load8(octets, 17);
    header.privateBytes = loadBe16(octets, 18);
    const bool known = header.revision == 1 || header.revision == 2 || header.revision == 129;
    if (!known || header.privateBytes > kPrivateMost) {
        out.kind = MpaParse::Kind::None;
        return out;
    }
    if (header.revision == 129) {
        if (octets.size() < 28)
            return out;
        header.cookie = loadBe32(octets, 20);
        header.congestion = static_cast<uint8_t>(loadBe32(octets, 24) & 0xF);
    } else if (header.revision == 2 && (header.flags & kFlagEnhanced) != 0 && header.privateBytes >= 4) {
        if (octets.size() < 24)
            return out;
        header.enhanced = true;
        header.ird = loadBe16(octets, 20) & 0x3FFF;
        header.ord = loadBe16(octets, 22) & 0x3FFF;
    }
    out.kind = MpaParse::Kind::Header;
    return out;
}

bool beginsRequest(ConstBytes octets) {
    return octets.size() >= kRequestKey.size() &&
           std::equal(kRequestKey.begin(), kRequestKey.end(), octets.begin(),
                      [](char key, std::byte octet) { return std::to_integer<char>(octet) == key; });
}

RequestLimits requestLimits(const MpaHeader& reply, bool initiator) {
    if (reply.revision == 129)
        return {kMaxOrd, kMaxIrd};
    if (!reply.enhanced)
        return {kOrdOfRevision1, kMaxIrd};
    const auto ord = static_cast<uint16_t>(std::min<uint32_t>(reply.ord, kMaxOrd));
    const auto ird = static_cast<uint16_t>(std::min<uint32_t>(reply.ird, kMaxIrd));
    return initiator ? RequestLimits{ird, ord} : RequestLimits{ord, ird};
}

FlowTracker::~FlowTracker() = default;

void FlowTracker::erase(Flows::iterator flow) {
    release(*flow);
    flows_.erase(flow->key);
    order_.erase(flow);
}

void FlowTracker::erase(Flow& flow) { erase(flows_.at(flow.key)); }

// A few at a time, oldest first: cheap enough for every frame.
void FlowTracker::expire(uint64_t nowNs) {
    for (int i = 0; i < 2 && !order_.empty(); ++i) {
        const Flow& oldest = order_.front();
        const bool mpa = oldest.guest.header || oldest.peer.header;
        if (nowNs - oldest.seen < (mpa ? settings_.idleMpa : settings_.idle))
            return;
        ++counters_.expired;
        erase(order_.begin());
    }
}

// The SYNs of a request were not seen: its own numbers are the first ones, and of what they agreed on only that counts
// which the segments show (1.6).
void FlowTracker::assumeHandshake(Flow& flow, const Frame& frame, uint64_t nowNs) {
    const TcpSegment& request = frame.tcp;
    Half& from = flow.initiator ? flow.guest : flow.peer;
    Half& to = flow.initiator ? flow.peer : flow.guest;
    flow.assumed = true;
    from.synSeen = to.synSeen = true;
    from.first = from.highest = request.seq;
    to.first = to.highest = request.ack;
    to.acked = true; // what came before, and it announced a window for this
    to.ack = to.windowAck = request.seq;
    to.windowSeq = request.ack;
    to.edge = request.end();
    if (const auto& stamps = request.options.timestamps) {
        from.timestamps = to.timestamps = true;
        to.tsValue = stamps->echo;
        to.tsAt = nowNs;
    }
    if (!flow.initiator) { // until the guest sends something
        flow.link = frame.link;
        std::swap(flow.link.source, flow.link.destination);
        flow.ip = frame.ip;
        flow.ip.ttl = kUsualTtl;
        std::swap(flow.ip.source, flow.ip.destination);
        std::swap(flow.ip.sourcePort, flow.ip.destinationPort);
    }
}

// The entry of the frame's tuple, made by a SYN, or else by an MPA request.
FlowTracker::Flow* FlowTracker::lookUp(const FlowKey& key, const Frame& frame, bool fromGuest, uint64_t nowNs) {
    expire(nowNs);
    const bool opens =
        frame.tcp.has(tcp_flag::kSyn) && !frame.tcp.has(tcp_flag::kAck) && !frame.tcp.has(tcp_flag::kRst);
    const bool asks = !frame.tcp.has(tcp_flag::kSyn) && !frame.tcp.has(tcp_flag::kRst) &&
                      frame.tcp.has(tcp_flag::kAck) && beginsRequest(frame.tcp.payload);
    auto found = flows_.find(key);
    // A new incarnation, unless the SYN is repeated.
    if (found != flows_.end() && opens) {
        const Flow& flow = *found->second;
        const Half& half = fromGuest ? flow.guest : flow.peer;
        if (flow.initiator != fromGuest || half.first != frame.tcp.seq + 1) {
            erase(found->second);
            found = flows_.end();
        }
    }
    if (found == flows_.end()) {
        if (!opens && !asks)
            return nullptr;
        if (flows_.size() >= settings_.entries) {
            ++counters_.evicted;
            erase(order_.begin());
        }
        order_.emplace_back();
        order_.back().key = key;
        order_.back().initiator = fromGuest;
        if (asks)
            assumeHandshake(order_.back(), frame, nowNs);
        found = flows_.emplace(key, std::prev(order_.end())).first;
        ++counters_.created;
    } else {
        order_.splice(order_.end(), order_, found->second);
    }
    found->second->seen = nowNs;
    return &*found->second;
}

void FlowTracker::learn(Flow& flow, Half& from, const Half& other, const Frame& frame, uint64_t nowNs) {
    const TcpSegment& s = frame.tcp;
    const bool syn = s.has(tcp_flag::kSyn);
    if (syn) {
        from.synSeen = true;
        from.first = from.highest = s.seq + 1;
        from.mss = s.options.mss.value_or(536);
        from.scale = s.options.windowScale;
        from.sack = s.options.sackPermitted;
        from.timestamps = s.options.timestamps.has_value();
        from.ecn = s.has(tcp_flag::kEce);
        from.synAt = nowNs;
        if (s.has(tcp_flag::kAck) && other.synSeen && &from == &flow.peer)
            flow.rtt = nowNs - other.synAt;
    } else if (!flow.rtt && !flow.assumed && &from == &flow.peer && other.synSeen && !flow.initiator &&
               s.has(tcp_flag::kAck)) {
        flow.rtt = nowNs - other.synAt; // answer to the guest's SYN-ACK
    }
    if (!from.synSeen)
        return;
    if (seqBefore(from.highest, s.end()))
        from.highest = s.end();
    if (s.options.timestamps && (!from.tsValue || seqAtOrBefore(*from.tsValue, s.options.timestamps->value))) {
        from.tsValue = s.options.timestamps->value;
        from.tsAt = nowNs;
    }
    if (!s.has(tcp_flag::kAck))
        return;
    const bool scaled = !syn && from.scale && other.scale;
    const uint64_t window = uint64_t{s.window} << (scaled ? *from.scale : 0);
    const uint32_t edge = s.ack + static_cast<uint32_t>(window);
    if (!from.acked || seqAtOrBefore(from.ack, s.ack)) {
        from.window = window;
        from.windowSeq = s.seq;
        from.windowAck = s.ack;
    }
    from.edge = !from.acked || seqBefore(from.edge, edge) ? edge : from.edge;
    from.ack = !from.acked || seqBefore(from.ack, s.ack) ? s.ack : from.ack;
    from.acked = true;
}

// False: this is no MPA connection.
bool FlowTracker::learnMpa(Half& from, const TcpSegment& segment, bool reply) {
    if (from.mpaComplete || segment.payload.empty())
        return true;
    const int64_t offset = seqDiff(segment.seq, from.first);
    for (size_t i = 0; i < segment.payload.size(); ++i) {
        const int64_t at = offset + static_cast<int64_t>(i);
        if (at < 0)
            continue;
        if (at >= static_cast<int64_t>(kMpaMost))
            break;
        const auto index = static_cast<size_t>(at);
        if (from.have.size() <= index) {
            from.have.resize(index + 1);
            from.mpa.resize(index + 1);
        }
        if (from.have[index])
            continue;
        from.have[index] = true;
        from.mpa[index] = segment.payload[i];
    }
    const auto gap = std::find(from.have.begin(), from.have.end(), false);
    const ConstBytes known = ConstBytes(from.mpa).first(static_cast<size_t>(gap - from.have.begin()));
    const MpaParse parse = parseMpa(known, reply);
    if (parse.kind == MpaParse::Kind::None)
        return false;
    if (parse.kind == MpaParse::Kind::Header) {
        from.header = parse.header;
        from.mpaComplete = known.size() >= parse.header.bytes();
    }
    return true;
}

FlowTracker::Passage FlowTracker::fromGuest(const Frame& frame, uint64_t nowNs) {
    if (frame.kind != Frame::Kind::Tcp)
        return Passage::Pass;
    Flow* flow = lookUp(keyOf(frame, true), frame, true, nowNs);
    if (flow == nullptr)
        return Passage::Pass;
    learn(*flow, flow->guest, flow->peer, frame, nowNs);
    flow->link = frame.link;
    flow->ip = frame.ip;
    if (frame.tcp.has(tcp_flag::kRst)) {
        erase(*flow);
        return Passage::Pass;
    }
    // Payload behind the request: another MPA user in the guest (rule b).
    const bool behind = flow->initiator && flow->guest.mpaComplete && !frame.tcp.payload.empty() &&
                        seqBefore(flow->guest.mpaEnd(), frame.tcp.end());
    if (behind || !flow->guest.synSeen || !learnMpa(flow->guest, frame.tcp, !flow->initiator)) {
        ++counters_.foreign;
        erase(*flow);
    }
    return Passage::Pass;
}

// The guest is initiator and the peer agreed: what follows is the adapter's.
bool FlowTracker::holding(const Flow& flow) const {
    return flow.initiator && flow.guest.mpaComplete && flow.peer.mpaComplete && !flow.peer.header->rejects() &&
           !flow.holdOver;
}

FlowTracker::Passage FlowTracker::fromWire(const Frame& frame, ConstBytes raw, const erdma_offload& offload,
                                           uint64_t nowNs) {
    if (frame.kind != Frame::Kind::Tcp)
        return Passage::Pass;
    const FlowKey key = keyOf(frame, false);
    Flow* flow = lookUp(key, frame, false, nowNs);
    if (flow == nullptr)
        return Passage::Pass;
    const TcpSegment& s = frame.tcp;
    if (s.has(tcp_flag::kRst)) {
        erase(*flow); // what was held goes first
        return Passage::Pass;
    }
    learn(*flow, flow->peer, flow->guest, frame, nowNs);
    if (!flow->peer.synSeen)
        return Passage::Pass; // a SYN-ACK will come, or nothing
    // An octet behind a gap in the reply would reach the kernel before the end of the reply is known; the peer sends
    // it again.  Without the SYNs it is no gap, but the middle of another program's stream, of which more than the
    // request acknowledged went to the kernel before: nobody would send that again.
    const bool replyOpen = flow->initiator && flow->guest.mpaComplete && !flow->peer.mpaComplete && !flow->holdOver;
    bool gap = false;
    if (replyOpen && !s.payload.empty()) {
        const auto missing = std::find(flow->peer.have.begin(), flow->peer.have.end(), false);
        const auto known = static_cast<uint32_t>(missing - flow->peer.have.begin());
        gap = seqBefore(flow->peer.first + known, s.seq);
    }
    if (gap && !flow->assumed) {
        ++counters_.dropped;
        return Passage::Taken;
    }
    if (gap || !learnMpa(flow->peer, s, flow->initiator)) {
        ++counters_.foreign;
        erase(*flow);
        return Passage::Pass;
    }
    if (!holding(*flow))
        return Passage::Pass;
    if (s.has(tcp_flag::kFin)) {
        flow->holdOver = true;
        release(*flow);
        return Passage::Pass;
    }
    const uint32_t limit = flow->peer.mpaEnd();
    if (s.payload.empty() || seqAtOrBefore(s.end(), limit))
        return Passage::Pass;
    if (seqAtOrBefore(limit, s.seq)) {
        hold(*flow, {std::vector<std::byte>(raw.begin(), raw.end()), offload}, nowNs);
        return Passage::Taken;
    }
    // Reply and more in one segment.
    const auto head = static_cast<size_t>(seqDiff(limit, s.seq));
    TcpSegment part = s;
    part.payload = s.payload.first(head);
    std::vector<std::byte> first;
    buildTcpFrame(frame.link, frame.ip, part, first);
    part.seq = limit;
    part.payload = s.payload.subspan(head);
    HeldFrame rest;
    buildTcpFrame(frame.link, frame.ip, part, rest.octets);
    hold(*flow, std::move(rest), nowNs);
    output_.toGuest(first, erdma_offload{});
    return Passage::Taken;
}

void FlowTracker::hold(Flow& flow, HeldFrame frame, uint64_t nowNs) {
    if (flow.heldBytes + frame.octets.size() > settings_.holdBytes ||
        heldBytes_ + frame.octets.size() > settings_.holdTotal) {
        ++counters_.dropped;
        return;
    }
    if (flow.held.empty()) {
        flow.holdUntil = nowNs + settings_.hold;
        holds_.push_back(flow.key);
    }
    flow.heldBytes += frame.octets.size();
    heldBytes_ += frame.octets.size();
    ++counters_.heldFrames;
    flow.held.push_back(std::move(frame));
}

// Everything held goes to the kernel.
void FlowTracker::release(Flow& flow) {
    if (flow.held.empty())
        return;
    holds_.remove(flow.key);
    heldBytes_ -= flow.heldBytes;
    flow.heldBytes = 0;
    flow.holdUntil = kNever;
    for (const HeldFrame& frame : std::exchange(flow.held, {}))
        output_.toGuest(frame.octets, frame.offload);
}

FlowTracker::Outcome FlowTracker::handOver(const FlowKey& key, uint32_t sendNxt, uint32_t recvNxt, uint64_t nowNs,
                                           FlowHandover& out) {
    const auto found = flows_.find(key);
    if (found == flows_.end())
        return Outcome::Untracked;
    Flow& flow = *found->second;
    const Half& guest = flow.guest;
    const Half& peer = flow.peer;
    const bool agreed = peer.mpaComplete && (guest.mpaComplete || !flow.initiator);
    if (!guest.acked || !peer.acked || !agreed) {
        erase(found->second);
        return Outcome::Untracked;
    }
    const int32_t ahead = seqDiff(sendNxt, guest.highest);
    const bool fits = flow.initiator
                          ? ahead == 0
                          : ahead >= static_cast<int32_t>(kReplyLeast) && ahead <= static_cast<int32_t>(kReplyMost);
    if (!fits) {
        flow.holdOver = true;
        release(flow);
        return Outcome::BadSequence;
    }
    TcpHandover& tcp = out.tcp;
    tcp.sndUna = peer.ack;
    tcp.sndNxt = guest.highest;
    tcp.rcvNxt = recvNxt;
    tcp.rcvAdv = guest.edge;
    tcp.sndWnd = static_cast<uint32_t>(std::min<uint64_t>(peer.window, 1u << 30));
    tcp.sndWl1 = peer.windowSeq;
    tcp.sndWl2 = peer.windowAck;
    tcp.peerMss = peer.mss;
    tcp.mtu = settings_.mtu;
    const bool scaled = guest.scale && peer.scale;
    // The peer may take the window for up to 2^14 times what is written.
    tcp.ownScale = flow.assumed ? kScaleMost : scaled ? *guest.scale : 0;
    tcp.peerScale = scaled ? *peer.scale : 0;
    tcp.sack = guest.sack && peer.sack;
    tcp.timestamps = guest.timestamps && peer.timestamps;
    tcp.tsRecent = peer.tsValue.value_or(0);
    tcp.tsValue = guest.tsValue.value_or(0);
    tcp.tsValueAt = guest.tsValue ? guest.tsAt : nowNs;
    tcp.ecn = guest.ecn && peer.ecn;
    tcp.rtt = flow.rtt;
    out.initiator = flow.initiator;
    out.kernelOctets = flow.initiator ? 0 : static_cast<uint32_t>(ahead);
    out.link = flow.link;
    out.ip = flow.ip;
    out.request = flow.initiator ? guest.header : peer.header;
    out.reply = flow.initiator ? peer.header : guest.header;
    if (out.request) {
        out.format.dialect = out.request->revision == 129 ? FpduFormat::Dialect::Vendor : FpduFormat::Dialect::Standard;
        // Either side asks, both use it; the reply of a passive end is yet to come (1.9).
        out.format.crc = (flow.initiator && out.request->crc()) || (out.reply && out.reply->crc());
    }
    out.held.clear();
    if (!flow.held.empty()) {
        holds_.remove(flow.key);
        heldBytes_ -= flow.heldBytes;
        out.held.swap(flow.held);
    }
    erase(found->second);
    return Outcome::Ok;
}

uint64_t FlowTracker::deadline() const { return holds_.empty() ? kNever : flows_.at(holds_.front())->holdUntil; }

void FlowTracker::onTimer(uint64_t nowNs) {
    while (deadline() <= nowNs) {
        Flow& flow = *flows_.at(holds_.front());
        ++counters_.holdTimeouts;
        flow.holdOver = true;
        release(flow);
    }
}

void FlowTracker::clear() {
    while (!order_.empty())
        erase(order_.begin());
}

} // namespace erdma
