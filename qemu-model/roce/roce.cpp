// SPDX-License-Identifier: GPL-2.0-or-later
#include "roce.h"

#include <algorithm>
#include <bit>

#include "rc.h"
#include "ud.h"

namespace erdma {

namespace {

constexpr size_t kMostLooped = 4096; // frames; what comes beyond is lost, as on any link
constexpr uint8_t kDefaultHopLimit = 64;
constexpr uint8_t kGsoUdp = 5;         // VIRTIO_NET_HDR_GSO_UDP_L4
constexpr size_t kLeastTransport = 16; // BTH and CRC
constexpr size_t kUdpHeader = 8;
constexpr uint64_t kCnpGapNs = 50'000;
constexpr uint8_t kEcnMask = 3;

Mac macOf(const erdma_config& config) {
    Mac mac;
    std::copy(std::begin(config.mac), std::end(config.mac), mac.begin());
    return mac;
}

// The ID of a tag that is more than a priority.
std::optional<uint16_t> vlanOf(const RoceRoute& route) {
    const uint16_t id = route.vlan.value_or(0) & 0xFFF;
    return id != 0 ? std::optional(id) : std::nullopt;
}

} // namespace

Roce::Roce(Adapter& adapter, FrameOutput& output) : adapter_(adapter), output_(output), mac_(macOf(adapter.config)) {
    memory_.limit = adapter.config.total_buffer_bytes;
}

Roce::~Roce() = default;

// ---- frames ----

// 1.2.  The first 66 octets suffice.
std::optional<RoceDatagram> Roce::claimed(ConstBytes head) const {
    if (!adapter_.running)
        return std::nullopt;
    for (size_t i = 0; i < mac_.size(); ++i)
        if (load8(head, i) != mac_[i])
            return std::nullopt;
    std::optional<RoceDatagram> datagram = findRoceDatagram(head);
    if (datagram && !gids_.contains(datagram->route.destinationGid, vlanOf(datagram->route)))
        datagram.reset();
    return datagram;
}

bool Roce::wants(erdma_side side, ConstBytes head) const { return side == ERDMA_TO_GUEST && claimed(head).has_value(); }

bool Roce::fromWire(ConstBytes raw, const erdma_offload& offload) {
    const std::optional<RoceDatagram> datagram = claimed(raw);
    if (!datagram)
        return false;
    ++adapter_.counters[Counter::RoceClaimed];
    if (offload.gso_type == 0)
        input(*datagram);
    else if (offload.gso_type == kGsoUdp && offload.segment_bytes >= kLeastTransport)
        split(*datagram, offload.segment_bytes);
    else
        ++adapter_.counters[Counter::RoceBadLength];
    return true;
}

// Several datagrams behind one header: each gets its own again, with lengths and identification as on a wire.
void Roce::split(const RoceDatagram& run, size_t segment) {
    const size_t headers = run.ipHeader().size() + kUdpHeader;
    if (run.ip.size() < headers)
        return;
    ConstBytes rest = run.ip.subspan(headers);
    for (uint16_t i = 0; !rest.empty(); ++i) {
        const size_t piece = std::min(segment, rest.size());
        std::vector<std::byte> octets(run.ip.begin(), run.ip.begin() + static_cast<std::ptrdiff_t>(headers));
        octets.insert(octets.end(), rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(piece));
        const auto udp = static_cast<uint16_t>(kUdpHeader + piece);
        storeBe16(octets, headers - 4, udp);
        if (run.route.ipv6) {
            storeBe16(octets, 4, udp);
        } else {
            storeBe16(octets, 2, static_cast<uint16_t>(octets.size()));
            storeBe16(octets, 4, static_cast<uint16_t>(loadBe16(octets, 4) + i));
        }
        input({run.route, octets});
        rest = rest.subspan(piece);
    }
}

// 2.12; the first check that fails decides.
void Roce::input(const RoceDatagram& datagram) {
    Counters& counters = adapter_.counters;
    adapter_.budget.charge(4);
    adapter_.budget.chargeOctets(datagram.ip.size());
    RocePacket packet;
    switch (readRocePacket(datagram, packet)) {
    case RoceVerdict::BadLength:
        ++counters[Counter::RoceBadLength];
        return;
    case RoceVerdict::BadVersion:
    case RoceVerdict::BadOpcode:
        ++counters[Counter::RoceBadOpcode];
        return;
    case RoceVerdict::BadIcrc:
        ++counters[Counter::RoceBadIcrc];
        return;
    case RoceVerdict::Good:
        break;
    }
    if (packet.op == RoceOp::Cnp) {
        ++counters[Counter::RoceCnpsIn];
        return;
    }
    RoceQp* qp = receiverOf(datagram, packet);
    if (qp == nullptr)
        return;
    if (qp->ud()) {
        qp->ud()->input(datagram, packet);
        return;
    }
    if (!std::exchange(qp->inBatch, true))
        batch_.push_back(qp);
    if (datagram.congestionExperienced())
        answerMark(*qp);
    if (RcTransport* rc = qp->rc())
        rc->receive(packet);
}

// Checks 5 to 9.  Null: dropped, and counted.
RoceQp* Roce::receiverOf(const RoceDatagram& datagram, const RocePacket& packet) {
    Counters& counters = adapter_.counters;
    RoceQp* qp = find(packet.destinationQpn);
    if (qp == nullptr || isRc(packet.op) == qp->datagram()) { // 0 and the multicast number are never anybody's
        ++counters[Counter::RoceNoQp];
        return nullptr;
    }
    if (!qp->receives() || (qp->rc() == nullptr && qp->ud() == nullptr)) {
        ++counters[Counter::RoceWrongState];
        return nullptr;
    }
    if (qp->rc() && !fromPeer(*qp, datagram.route)) {
        ++counters[Counter::RoceWrongAddress];
        return nullptr;
    }
    if (!isOwnPartition(packet.pkey)) {
        ++counters[Counter::RoceBadPkey];
        return nullptr;
    }
    if (qp->ud() && packet.qkey != qp->qkey()) {
        ++counters[Counter::RoceBadQkey];
        return nullptr;
    }
    return qp;
}

bool Roce::fromPeer(const RoceQp& qp, const RoceRoute& route) const {
    const AddressVector& av = qp.address();
    const GidEntry* own = gids_.at(av.gidIndex);
    return own && route.ipv6 == av.ipv6 && route.sourceGid == av.gid && route.destinationGid == own->gid;
}

// 7.1: one for a queue pair and 50 us.
void Roce::answerMark(RoceQp& qp) {
    const uint64_t now = adapter_.machine.nowNs();
    if (!adapter_.config.roce_cnp || now < qp.nextCnp)
        return;
    qp.nextCnp = now + kCnpGapNs;
    AddressVector av = qp.address();
    av.trafficClass &= static_cast<uint8_t>(~kEcnMask);
    RocePacket packet;
    packet.op = RoceOp::Cnp;
    packet.migrated = false;
    packet.becn = true;
    packet.destinationQpn = qp.peerQpn();
    if (send(av, packet))
        ++adapter_.counters[Counter::RoceCnpsOut];
}

void Roce::endOfFrames() {
    std::vector<RoceQp*> batch;
    batch.swap(batch_);
    for (RoceQp* qp : batch) {
        qp->inBatch = false;
        if (qp->rc())
            qp->rc()->endOfBatch();
    }
}

bool Roce::send(const AddressVector& av, const RocePacket& packet) {
    const GidEntry* source = gids_.at(av.gidIndex);
    if (source == nullptr || isMapped(source->gid) == av.ipv6) {
        ++adapter_.counters[Counter::RoceGidMissing];
        return false;
    }
    RoceRoute route;
    route.destination = av.mac;
    route.source = mac_;
    if (source->vlan)
        route.vlan = static_cast<uint16_t>((av.serviceLevel & 7) << 13 | *source->vlan);
    route.ipv6 = av.ipv6;
    route.sourceGid = source->gid;
    route.destinationGid = av.gid;
    route.trafficClass = av.trafficClass;
    route.hopLimit = av.hopLimit != 0 ? av.hopLimit : kDefaultHopLimit;
    route.flowLabel = av.flowLabel;
    route.udpPort = av.udpPort;
    if (av.mac == mac_) { // 5.5
        if (looped_.size() >= kMostLooped) {
            ++adapter_.counters[Counter::TxDrops];
            return true;
        }
        buildRoceFrame(route, packet, identification_++, looped_.emplace_back());
        adapter_.host.schedule();
        return true;
    }
    frame_.clear();
    buildRoceFrame(route, packet, identification_++, frame_);
    output_.toWire(frame_);
    return true;
}

// ---- turns ----

void Roce::runPending() {
    const auto more = [this](size_t left) { return left != 0 && !adapter_.budget.spent(); };
    // What these cause comes in the next turn, so that two ends on one adapter do not hold up all others.
    for (size_t left = looped_.size(); more(left) && !looped_.empty(); --left) {
        const std::vector<std::byte> frame = std::move(looped_.front());
        looped_.pop_front();
        if (const std::optional<RoceDatagram> datagram = claimed(frame))
            input(*datagram);
        else
            ++adapter_.counters[Counter::RoceWrongAddress];
    }
    endOfFrames();
    for (size_t left = pending_.size(); more(left) && !pending_.empty(); --left) {
        adapter_.budget.charge(4);
        RoceQp& qp = *pending_.front();
        pending_.pop_front();
        qp.isPending = false;
        if (qp.rc())
            qp.rc()->takeTurn();
        if (qp.rc())
            schedule(qp);
    }
}

uint64_t Roce::deadline() const {
    return timers_.empty() || !adapter_.running ? ERDMA_TIMER_OFF : timers_.begin()->first;
}

void Roce::schedule(RoceQp& qp) {
    if (qp.rc() && qp.rc()->wantsTurn() && !std::exchange(qp.isPending, true)) {
        pending_.push_back(&qp);
        adapter_.host.schedule();
    }
    const uint64_t at = qp.rc() ? qp.rc()->deadline() : ERDMA_TIMER_OFF;
    if (at == qp.scheduledAt)
        return;
    if (qp.scheduledAt != ERDMA_TIMER_OFF)
        timers_.erase({qp.scheduledAt, &qp});
    qp.scheduledAt = at;
    if (at != ERDMA_TIMER_OFF)
        timers_.emplace(at, &qp);
}

void Roce::onTimer(uint64_t nowNs) {
    while (!timers_.empty() && timers_.begin()->first <= nowNs && !adapter_.budget.spent()) {
        adapter_.budget.charge(16);
        RoceQp& qp = *timers_.begin()->second;
        timers_.erase(timers_.begin());
        qp.scheduledAt = ERDMA_TIMER_OFF;
        if (qp.rc())
            qp.rc()->takeTurn();
        if (qp.rc())
            schedule(qp);
    }
}

// ---- life ----

void Roce::add(QueuePair& qp) { qps_.emplace(qp.qpn(), std::make_unique<RoceQp>(qp, *this)); }

void Roce::remove(uint32_t qpn) {
    const auto at = qps_.find(qpn);
    if (at == qps_.end())
        return;
    forget(*at->second);
    qps_.erase(at);
}

RoceQp* Roce::find(uint32_t qpn) const {
    const auto at = qps_.find(qpn);
    return at == qps_.end() ? nullptr : at->second.get();
}

void Roce::forget(RoceQp& qp) {
    if (qp.scheduledAt != ERDMA_TIMER_OFF)
        timers_.erase({qp.scheduledAt, &qp});
    qp.scheduledAt = ERDMA_TIMER_OFF;
    if (std::exchange(qp.inBatch, false))
        std::erase(batch_, &qp);
    if (std::exchange(qp.isPending, false))
        std::erase(pending_, &qp);
}

uint8_t Roce::defaultPathMtuCode() const {
    const uint32_t octets = adapter_.config.roce_pmtu;
    return octets != 0 ? static_cast<uint8_t>(std::countr_zero(octets / pathMtuOf(0))) : largestPathMtuCode(mtu_);
}

void Roce::traceState(uint32_t qpn, RoceState from, RoceState to) {
    if (from != to)
        adapter_.host.trace(ERDMA_TRACE_QP_STATE, qpn, static_cast<uint64_t>(from), static_cast<uint64_t>(to),
                            "command");
}

bool Roce::reset() {
    gids_.clear();
    handles_.clear();
    looped_.clear();
    while (!qps_.empty() && !adapter_.budget.spent()) {
        adapter_.budget.charge(32);
        qps_.begin()->second->pair().restart(true);
        remove(qps_.begin()->first);
    }
    return qps_.empty();
}

std::string Roce::connections() const {
    std::vector<uint32_t> numbers;
    for (const auto& [qpn, qp] : qps_)
        numbers.push_back(qpn);
    std::ranges::sort(numbers);
    std::string out =
        "[{\"gids\":" + gids_.describe() + ",\"address_handles\":" + std::to_string(handles_.size()) + "}";
    for (const uint32_t qpn : numbers)
        out += "," + find(qpn)->describe();
    return out + "]";
}

} // namespace erdma
