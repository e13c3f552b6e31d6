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
constexpr size_t kHeldOverhead = 128; // of a held frame, besides its octets
constexpr unsigned kReleasesAtOnce = 64;

// Of an end that names none (RFC 9293 3.7.1).
uint16_t defaultMss(const FlowKey& key) { return key.ownIp.isV4() ? 536 : 1220; }

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
        header.peerToPeer = (loadBe16(octets, 20) & 0x8000) != 0;
        const bool send = (loadBe16(octets, 20) & 0x4000) != 0;
        const unsigned others = loadBe16(octets, 22) >> 14;
        header.rtr = (others & 2) != 0 ? Rtr::Write : others != 0 ? Rtr::Read : send ? Rtr::Send : Rtr::Write;
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
    if (flow->counted)
        vlans_.drop(flow->key.vlan);
    flows_.erase(flow->key);
    order_[flow->rank].erase(flow);
}

void FlowTracker::erase(Flow& flow) { erase(flows_.at(flow.key)); }

// A few at a time, oldest first: cheap enough for every frame.
void FlowTracker::expire(uint64_t nowNs) {
    for (Flows& flows : order_) {
        for (int i = 0; i < 2 && !flows.empty(); ++i) {
            const Flow& oldest = flows.front();
            if (nowNs - oldest.seen < (oldest.rank == Asked ? settings_.idleMpa : settings_.idle))
                break;
            ++counters_.expired;
            erase(flows.begin());
        }
    }
}

// For a new flow, of which nothing is known yet.  False: everybody else has better reasons to be here.
bool FlowTracker::makeRoom() {
    if (flows_.size() < settings_.entries)
        return true;
    ++counters_.evicted;
    for (const Rank rank : {Opening, Open}) {
        if (!order_[rank].empty()) {
            erase(order_[rank].begin());
            return true;
        }
    }
    return false;
}

void FlowTracker::touch(Flow& flow, uint64_t nowNs) {
    Flows& flows = order_[flow.rank];
    flows.splice(flows.end(), flows, flows_.at(flow.key));
    flow.seen = nowNs;
}

void FlowTracker::countVlan(Flow& flow) {
    if (!std::exchange(flow.counted, true))
        vlans_.add(flow.key.vlan);
}

void FlowTracker::promote(Flow& flow, Rank rank) {
    if (flow.rank >= rank)
        return;
    order_[rank].splice(order_[rank].end(), order_[flow.rank], flows_.at(flow.key));
    flow.rank = rank;
}

// Whether the guest's kernel would take the peer's segment for one of this connection, as far as numbers tell.
bool FlowTracker::believable(const Flow& flow, const TcpSegment& segment) {
    const Half& guest = flow.guest;
    const Half& peer = flow.peer;
    if (segment.has(tcp_flag::kSyn)) {
        const bool same = !peer.synSeen || peer.first == segment.seq + 1;
        if (!segment.has(tcp_flag::kAck))
            return !flow.initiator && same;
        return flow.initiator && same && guest.synSeen && segment.ack == guest.first;
    }
    if (!peer.synSeen || !guest.synSeen || !segment.has(tcp_flag::kAck))
        return false;
    if (seqBefore(segment.ack, guest.first) || seqBefore(guest.highest, segment.ack))
        return false;
    // The scale, and with it the window, is not known of a handshake that was not seen.
    const bool behind = !flow.assumed && guest.acked && seqBefore(guest.edge, segment.seq);
    return !behind && !seqBefore(segment.seq, peer.first - 1); // a probe stands in front
}

// RFC 9293 3.10.7.3, RFC 5961 3: what else calls itself a reset changes nothing in the kernel either.
bool FlowTracker::resets(const Flow& flow, const TcpSegment& segment) {
    const Half& guest = flow.guest;
    const Half& peer = flow.peer;
    if (!peer.synSeen)
        return flow.initiator && segment.has(tcp_flag::kAck) && segment.ack == guest.first;
    return segment.seq == peer.highest || (guest.acked && segment.seq == guest.ack);
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
    // A new incarnation, unless the SYN is repeated.  A stranger's changes nothing while the guest's kernel knows of the
    // connection: that answers with a challenge.
    if (found != flows_.end() && opens) {
        const Flow& flow = *found->second;
        const Half& half = fromGuest ? flow.guest : flow.peer;
        const bool same = flow.initiator == fromGuest && half.first == frame.tcp.seq + 1;
        if (!same && (fromGuest || !flow.guestSpoke || flow.ended)) {
            erase(found->second);
            found = flows_.end();
        }
    }
    if (found == flows_.end()) {
        if (!opens && !asks)
            return nullptr;
        if (!makeRoom())
            return nullptr;
        Flows& flows = order_[Opening];
        flows.emplace_back();
        flows.back().key = key;
        flows.back().initiator = fromGuest;
        flows.back().guest.mss = flows.back().peer.mss = defaultMss(key);
        flows.back().seen = nowNs;
        if (asks)
            assumeHandshake(flows.back(), frame, nowNs);
        if (asks) // the kernel may answer only after the handover
            countVlan(flows.back());
        found = flows_.emplace(key, std::prev(flows.end())).first;
        ++counters_.created;
    }
    return &*found->second;
}

void FlowTracker::learn(Flow& flow, Half& from, const Half& other, const Frame& frame, uint64_t nowNs) {
    const TcpSegment& s = frame.tcp;
    const bool syn = s.has(tcp_flag::kSyn);
    const bool measures = !flow.rtt && other.synSeen && !other.synRepeated && !from.synRepeated &&
                          &from == &flow.peer && s.has(tcp_flag::kAck);
    if (syn) {
        from.synRepeated = from.synSeen;
        from.synSeen = true;
        if (from.first != s.seq + 1)
            from.first = from.highest = s.seq + 1;
        from.mss = s.options.mss.value_or(defaultMss(flow.key));
        from.scale = s.options.windowScale;
        from.sack = s.options.sackPermitted;
        from.timestamps = s.options.timestamps.has_value();
        from.ecn = s.has(tcp_flag::kEce);
        from.synAt = nowNs;
    }
    if (measures && (syn || (!flow.assumed && !flow.initiator)))
        flow.rtt = nowNs - other.synAt; // of the guest's SYN, or SYN-ACK
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
    for (auto i = static_cast<size_t>(std::max<int64_t>(0, -offset)); i < segment.payload.size(); ++i) {
        const int64_t at = offset + static_cast<int64_t>(i);
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
    touch(*flow, nowNs);
    flow->guestSpoke = true;
    countVlan(*flow);
    learn(*flow, flow->guest, flow->peer, frame, nowNs);
    flow->link = frame.link;
    flow->ip = frame.ip;
    if (frame.tcp.has(tcp_flag::kRst)) {
        erase(*flow);
        return Passage::Pass;
    }
    flow->ended = flow->ended || frame.tcp.has(tcp_flag::kFin);
    // Its kernel took octets of a handshake that was not seen.
    if (flow->assumed && frame.tcp.has(tcp_flag::kAck) && seqBefore(flow->peer.first, frame.tcp.ack) &&
        seqAtOrBefore(frame.tcp.ack, flow->peer.highest))
        promote(*flow, Open);
    // Payload behind the request: another MPA user in the guest (rule b).
    const bool behind = flow->initiator && flow->guest.mpaComplete && !frame.tcp.payload.empty() &&
                        seqBefore(flow->guest.mpaEnd(), frame.tcp.end());
    if (behind || !flow->guest.synSeen || !learnMpa(flow->guest, frame.tcp, !flow->initiator)) {
        ++counters_.foreign;
        erase(*flow);
        return Passage::Pass;
    }
    if (flow->rank == Open && (flow->initiator ? flow->guest : flow->peer).mpaComplete)
        promote(*flow, Asked);
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
        if (resets(*flow, s))
            erase(*flow); // what was held goes first
        return Passage::Pass;
    }
    if (!believable(*flow, s))
        return Passage::Pass; // the kernel knows what to say
    touch(*flow, nowNs);
    learn(*flow, flow->peer, flow->guest, frame, nowNs);
    flow->ended = flow->ended || s.has(tcp_flag::kFin);
    if (s.has(tcp_flag::kAck) && (!flow->assumed || (flow->initiator && seqBefore(flow->guest.first, s.ack))))
        promote(*flow, Open);
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
    if (flow->rank == Open && (flow->initiator ? flow->guest : flow->peer).mpaComplete)
        promote(*flow, Asked);
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
    const size_t cost = frame.octets.size() + kHeldOverhead;
    if (flow.heldBytes + cost > settings_.holdBytes || flow.held.size() >= settings_.holdFrames ||
        held_.budget().left() < cost) {
        ++counters_.dropped;
        return;
    }
    if (flow.held.empty()) {
        flow.holdUntil = nowNs + settings_.hold;
        flow.holdAt = holds_.insert(holds_.end(), flow.key);
    }
    flow.heldBytes += cost;
    held_.set(held_.octets() + cost);
    ++counters_.heldFrames;
    flow.held.push_back(std::move(frame));
}

void FlowTracker::endHold(Flow& flow) {
    holds_.erase(flow.holdAt);
    held_.set(held_.octets() - std::exchange(flow.heldBytes, 0));
    flow.holdUntil = kNever;
}

// Everything held goes to the kernel.
void FlowTracker::release(Flow& flow) {
    if (flow.held.empty())
        return;
    endHold(flow);
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
    const bool sends = flow.initiator
                           ? ahead == 0
                           : ahead >= static_cast<int32_t>(kReplyLeast) && ahead <= static_cast<int32_t>(kReplyMost);
    if (!sends || recvNxt != peer.mpaEnd()) {
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
    tcp.ipBytes = static_cast<uint8_t>(ipBytes(flow.ip));
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
        // Either side asks, both use it; the reply of a passive end is yet to come (1.9), and may ask, too.
        out.format.crc = out.request->crc() || (out.reply && out.reply->crc());
    }
    out.held.clear();
    if (!flow.held.empty()) {
        endHold(flow);
        out.held.swap(flow.held);
    }
    erase(found->second);
    return Outcome::Ok;
}

uint64_t FlowTracker::deadline() const { return holds_.empty() ? kNever : flows_.at(holds_.front())->holdUntil; }

void FlowTracker::onTimer(uint64_t nowNs) {
    for (unsigned i = 0; i < kReleasesAtOnce && deadline() <= nowNs; ++i) {
        Flow& flow = *flows_.at(holds_.front());
        ++counters_.holdTimeouts;
        flow.holdOver = true;
        release(flow);
    }
}

void FlowTracker::clear(size_t most) {
    for (Flows& flows : order_)
        for (; !flows.empty() && most != 0; --most)
            erase(flows.begin());
}

} // namespace erdma
