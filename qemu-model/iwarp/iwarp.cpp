// SPDX-License-Identifier: GPL-2.0-or-later
#include "iwarp.h"

#include <algorithm>

#include "byteorder.h"
#include "glance.h"
#include "queue_pair.h"

namespace erdma {

namespace {

constexpr size_t kLingeringMost = 4096; // 7.9
// What one call does for connections, in octets; the rest waits for the next one.  No more than what a processor's own
// cache holds of frames that wait for the end of the run.
constexpr size_t kWorkAtOnce = size_t{256} << 10, kTurnCost = 512;
constexpr unsigned kResetCost = 128; // of a connection, in units of the budget

Mac macAt(ConstBytes frame, size_t offset) {
    Mac mac{};
    for (size_t i = 0; i < mac.size() && offset + i < frame.size(); ++i)
        mac[i] = load8(frame, offset + i);
    return mac;
}

Mac ownMac(const erdma_config& config) {
    Mac mac;
    std::copy(std::begin(config.mac), std::end(config.mac), mac.begin());
    return mac;
}

} // namespace

Iwarp::Iwarp(Adapter& adapter, FrameOutput& output)
    : adapter_(adapter), output_(output), addresses_(ownMac(adapter.config)),
      tracker_(TrackerSettings{}, *this, memory_) {
    memory_.limit = adapter.config.total_buffer_bytes;
}

Iwarp::~Iwarp() = default;

bool Iwarp::wants(erdma_side side, ConstBytes head) const {
    const Glance glance = glanceAt(head);
    switch (glance.kind) {
    case Glance::Kind::Foreign:
        return false;
    case Glance::Kind::Arp:
        return side == ERDMA_TO_WIRE && !addresses_.contains(macAt(head, 6));
    case Glance::Kind::Unreachable:
        return side == ERDMA_TO_GUEST && !owned_.empty();
    case Glance::Kind::Unclear:
        return true;
    case Glance::Kind::Tcp:
        break;
    }
    if (!speaks(glance.source))
        return false;
    if ((glance.flags & (tcp_flag::kSyn | tcp_flag::kAck)) == tcp_flag::kSyn || beginsRequest(glance.payload))
        return true;
    if (owned_.empty() && tracker_.entries() == 0)
        return false;
    FlowKey key{glance.source, glance.destination, glance.sourcePort, glance.destinationPort, glance.vlan};
    if (side == ERDMA_TO_GUEST) {
        std::swap(key.ownIp, key.peerIp);
        std::swap(key.ownPort, key.peerPort);
    }
    return owned_.contains(key) || tracker_.tracks(key);
}

Connection* Iwarp::find(const FlowKey& key) const {
    const auto at = owned_.find(key);
    return at == owned_.end() ? nullptr : at->second.get();
}

// A command does not name the VLAN of its tuple.
std::vector<uint16_t> Iwarp::vlans() const {
    std::vector<uint16_t> out;
    for (const auto& [vlan, count] : tracker_.vlans())
        out.push_back(vlan);
    for (const auto& [vlan, count] : vlans_)
        if (!tracker_.vlans().contains(vlan))
            out.push_back(vlan);
    return out;
}

// True: the frame does not go on.
bool Iwarp::fromGuest(ConstBytes raw, const erdma_offload& offload) {
    addresses_.learn(macAt(raw, 6));
    const Frame frame = parseFrame(raw, offload);
    if ((frame.kind != Frame::Kind::Tcp && frame.kind != Frame::Kind::BadChecksum) || !speaks(frame.ip.source))
        return false;
    const FlowKey key = keyOf(frame, true);
    const bool opens = frame.tcp.has(tcp_flag::kSyn) && !frame.tcp.has(tcp_flag::kAck);
    if (Connection* connection = find(key)) {
        if (resetting_)
            return true;
        if (frame.kind == Frame::Kind::BadChecksum) {
            ++counters()[Counter::BadChecksums];
            return true;
        }
        if (!opens) {
            connection->fromKernel(frame.tcp);
            return true;
        }
        if (!connection->replaceable())
            return true; // the kernel tries again
        erase(*connection);
    }
    if (frame.kind != Frame::Kind::Tcp)
        return false;
    const bool taken = tracker_.fromGuest(frame, nowNs()) == FlowTracker::Passage::Taken;
    countTracker();
    return taken;
}

bool Iwarp::fromWire(ConstBytes raw, const erdma_offload& offload) {
    if (!addresses_.contains(macAt(raw, 0)))
        return false;
    const Frame frame = parseFrame(raw, offload);
    if (frame.kind == Frame::Kind::PathMtu) {
        const IpHeader& quoted = frame.notice.quoted;
        if (quoted.source != frame.ip.destination)
            return false; // routers answer who sent the segment
        FlowKey key{quoted.source, quoted.destination, quoted.sourcePort, quoted.destinationPort, 0};
        key.vlan = keyOf(frame, false).vlan;
        Connection* connection = find(key);
        if (connection == nullptr)
            return false;
        if (!resetting_)
            connection->endpoint().pathMtu(frame.notice);
        return true;
    }
    if ((frame.kind != Frame::Kind::Tcp && frame.kind != Frame::Kind::BadChecksum) || !speaks(frame.ip.source))
        return false;
    const FlowKey key = keyOf(frame, false);
    const bool opens = frame.tcp.has(tcp_flag::kSyn) && !frame.tcp.has(tcp_flag::kAck);
    if (Connection* connection = find(key)) {
        if (resetting_)
            return true;
        if (frame.kind == Frame::Kind::BadChecksum) {
            ++counters()[Counter::BadChecksums];
            return true;
        }
        if (!opens || !connection->replaceableBy(frame.tcp)) {
            connection->fromWire(frame);
            if (!std::exchange(connection->inBatch, true))
                batch_.push_back(connection);
            return true;
        }
        erase(*connection);
    }
    if (frame.kind != Frame::Kind::Tcp)
        return false;
    const bool taken = tracker_.fromWire(frame, raw, offload, nowNs()) == FlowTracker::Passage::Taken;
    countTracker();
    return taken;
}

void Iwarp::endOfFrames() {
    std::vector<Connection*> batch;
    batch.swap(batch_);
    for (Connection* connection : batch) {
        connection->inBatch = false;
        connection->endpoint().endOfBatch();
    }
}

// ---- life of connections ----

EndpointSetup Iwarp::setupFor(const QueuePair& qp, const FlowHandover& flow) {
    const erdma_config& config = adapter_.config;
    EndpointSetup setup;
    setup.tcp = flow.tcp;
    setup.tcp.congestion = static_cast<CongestionControl>(
        std::min<uint8_t>(qp.handover().congestionControl, static_cast<uint8_t>(CongestionControl::HpccInt)));
    if (setup.tcp.congestion >= CongestionControl::HpccRtt)
        ++counters()[Counter::HpccFallbacks];
    setup.format = flow.format;
    setup.format.crc = setup.format.crc && config.mpa_crc;
    setup.format.rfc7306 = config.rfc7306;
    setup.crcCapable = config.mpa_crc;
    setup.link = flow.link;
    setup.ip = flow.ip;
    if (qp.handover().flowLabel != 0)
        setup.ip.flowLabel = qp.handover().flowLabel;
    setup.initiator = flow.initiator;
    setup.kernelOctets = flow.kernelOctets;
    if (flow.reply) {
        setup.rtr = flow.reply->rtr;
        setup.rtrAgreed = flow.reply->peerToPeer;
        const RequestLimits limits = requestLimits(*flow.reply, flow.initiator);
        setup.ord = limits.ord;
        setup.ird = limits.ird;
    }
    if (flow.format.dialect == FpduFormat::Dialect::Vendor)
        setup.tcp.largeSegment = config.segment_bytes;
    setup.completeQueued = config.complete_queued;
    setup.guard = config.first_fpdu_ms * kMs;
    TcpSettings& tcp = setup.settings;
    tcp.minRto = config.rto_min_ms * kMs;
    tcp.giveUp = config.give_up_ms * kMs;
    tcp.giveUpCount = adapter_.retransmitLimit;
    tcp.delayedAck = config.ack_delay_ms * kMs;
    tcp.delayedAckSegments = config.ack_segments;
    tcp.keepIdle = config.keep_idle_ms * kMs;
    tcp.keepInterval = config.keep_interval_ms * kMs;
    tcp.keepProbes = config.keep_probes;
    tcp.timeWait = config.time_wait_ms * kMs;
    tcp.receiveBuffer = tcp.sendBuffer = config.buffer_bytes;
    return setup;
}

PairedNic::Claim Iwarp::connect(QueuePair& qp) {
    const Handover& c = qp.handover();
    for (const uint16_t vlan : vlans()) {
        const FlowKey key{c.ownIp, c.peerIp, c.ownPort, c.peerPort, vlan};
        if (Connection* old = find(key)) {
            if (!old->replaceable())
                return PairedNic::Claim::Refused;
            continue; // its handshake would have replaced it
        }
        FlowHandover flow;
        const FlowTracker::Outcome outcome = tracker_.handOver(key, c.sendStart, c.recvStart, nowNs(), flow);
        countTracker();
        if (outcome == FlowTracker::Outcome::Untracked)
            continue;
        if (outcome == FlowTracker::Outcome::BadSequence) {
            ++counters()[Counter::HandoversRefused];
            return PairedNic::Claim::Refused;
        }
        ConnectionHost& host = *this;
        auto connection = std::make_unique<Connection>(key, flow, c.sendStart, host);
        Connection& opened = *connection;
        owned_.emplace(key, std::move(connection));
        vlans_.add(vlan);
        counters()[Counter::ConnectionsNow] = owned_.size();
        ++counters()[Counter::Handovers];
        opened.open(qp, setupFor(qp, flow), memory_, flow.held);
        return PairedNic::Claim::Connected;
    }
    return PairedNic::Claim::Unknown;
}

void Iwarp::setMtu(uint16_t mtu) {
    mtu_ = mtu; // the connections follow
    tracker_.setMtu(mtu);
}

void Iwarp::schedule(Connection& connection) {
    if (resetting_)
        return;
    const bool atOnce = connection.wantsTurn() || connection.finished();
    if (!connection.lingers && connection.endpoint().queuePair() == nullptr) {
        connection.lingers = true;
        lingering_.push_back(&connection);
    }
    if ((atOnce || lingering_.size() > kLingeringMost) && !std::exchange(connection.isPending, true))
        pending_.push_back(&connection);
    const uint64_t at = connection.deadline();
    if (at >= connection.scheduledAt)
        return;
    timers_.erase({connection.scheduledAt, &connection});
    connection.scheduledAt = at;
    timers_.emplace(at, &connection);
}

void Iwarp::erase(Connection& connection) {
    timers_.erase({connection.scheduledAt, &connection});
    if (connection.inBatch)
        std::erase(batch_, &connection);
    if (connection.isPending)
        std::erase(pending_, &connection);
    if (connection.lingers)
        std::erase(lingering_, &connection);
    vlans_.drop(connection.key().vlan);
    owned_.erase(FlowKey(connection.key()));
    counters()[Counter::ConnectionsNow] = owned_.size();
}

void Iwarp::runPending() {
    counters()[Counter::BufferedNow] = memory_.used();
    size_t work = 0;
    const auto more = [&] { return work < kWorkAtOnce && !adapter_.budget.spent(); };
    for (unsigned round = 0; round < 4 && !pending_.empty() && more(); ++round) {
        for (size_t left = pending_.size(); left != 0 && more(); --left) {
            Connection* connection = pending_.front();
            pending_.pop_front();
            connection->isPending = false;
            work += kTurnCost;
            if (connection->wantsTurn())
                work += connection->takeTurn();
            if (connection->finished())
                erase(*connection);
        }
    }
    while (lingering_.size() > kLingeringMost) {
        lingering_.front()->reset();
        erase(*lingering_.front());
    }
}

uint64_t Iwarp::deadline() const {
    uint64_t next = tracker_.deadline();
    if (!timers_.empty() && !resetting_)
        next = std::min(next, timers_.begin()->first);
    return next;
}

void Iwarp::onTimer(uint64_t nowNs) {
    tracker_.onTimer(nowNs);
    countTracker();
    counters()[Counter::BufferedNow] = memory_.used();
    size_t work = 0;
    while (work < kWorkAtOnce && !resetting_ && !timers_.empty() && timers_.begin()->first <= nowNs &&
           !adapter_.budget.spent()) {
        adapter_.budget.charge(64);
        Connection* connection = timers_.begin()->second;
        timers_.erase(timers_.begin());
        connection->scheduledAt = kNever;
        work += kTurnCost;
        if (connection->wantsTurn() || connection->deadline() <= nowNs)
            work += connection->takeTurn();
        schedule(*connection);
    }
}

bool Iwarp::reset() {
    if (!std::exchange(resetting_, true))
        flowsToForget_ = tracker_.entries();
    batch_.clear();
    pending_.clear();
    lingering_.clear();
    Budget& budget = adapter_.budget;
    for (; flowsToForget_ != 0 && !budget.spent(); --flowsToForget_) {
        budget.charge(4);
        tracker_.clear(1);
    }
    countTracker();
    while (!owned_.empty() && !budget.spent()) {
        budget.charge(kResetCost);
        Connection& connection = *owned_.begin()->second;
        connection.reset();
        erase(connection);
    }
    if (flowsToForget_ != 0 || !owned_.empty())
        return false;
    resetting_ = false;
    return true;
}

std::string Iwarp::connections() const {
    std::string out = "[";
    for (const auto& [key, connection] : owned_)
        out += (out.size() == 1 ? "" : ",") + connection->json();
    return out + "]";
}

void Iwarp::countTracker() {
    const TrackerCounters& now = tracker_.counters();
    Counters& all = counters();
    all[Counter::FlowsEvicted] += now.evicted - trackerSeen_.evicted;
    all[Counter::FlowsExpired] += now.expired - trackerSeen_.expired;
    all[Counter::HeldFrames] += now.heldFrames - trackerSeen_.heldFrames;
    all[Counter::HoldTimeouts] += now.holdTimeouts - trackerSeen_.holdTimeouts;
    all[Counter::HoldDrops] += now.dropped - trackerSeen_.dropped;
    all[Counter::FlowsNow] = tracker_.entries();
    trackerSeen_ = now;
}

} // namespace erdma
