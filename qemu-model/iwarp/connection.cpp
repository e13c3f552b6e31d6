// SPDX-License-Identifier: GPL-2.0-or-later
#include "connection.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <utility>

namespace erdma {

namespace {

constexpr uint64_t kKernelPatience = 1000 * kMs; // 7.5
constexpr uint64_t kForget = 60000 * kMs;        // 7.2, step 5

const char* nameOf(TcpState state) {
    switch (state) {
    case TcpState::Closed:
        return "CLOSED";
    case TcpState::Established:
        return "ESTABLISHED";
    case TcpState::FinWait1:
        return "FIN_WAIT_1";
    case TcpState::FinWait2:
        return "FIN_WAIT_2";
    case TcpState::Closing:
        return "CLOSING";
    case TcpState::CloseWait:
        return "CLOSE_WAIT";
    case TcpState::LastAck:
        return "LAST_ACK";
    case TcpState::TimeWait:
        return "TIME_WAIT";
    }
    return "";
}

std::string addressText(const IpAddress& ip, uint16_t port) {
    if (ip.isV4()) {
        const uint32_t v4 = ip.v4();
        return std::to_string(v4 >> 24) + "." + std::to_string(v4 >> 16 & 0xFF) + "." + std::to_string(v4 >> 8 & 0xFF) +
               "." + std::to_string(v4 & 0xFF) + ":" + std::to_string(port);
    }
    std::array<std::byte, IpAddress::kBytes> octets{};
    ip.store(octets, 0);
    std::array<char, INET6_ADDRSTRLEN> text{};
    inet_ntop(AF_INET6, octets.data(), text.data(), text.size());
    return "[" + std::string(text.data()) + "]:" + std::to_string(port);
}

KernelSetup kernelSetup(const FlowHandover& flow, uint32_t sendNxt) {
    return {flow.tcp.sndNxt, sendNxt, flow.tcp.rcvNxt, flow.tcp.timestamps, flow.tcp.tsValue};
}

} // namespace

Connection::Connection(const FlowKey& key, const FlowHandover& flow, uint32_t sendNxt, ConnectionHost& host)
    : key_(key), host_(host), link_(flow.link), ip_(flow.ip), kernel_(kernelSetup(flow, sendNxt), *this) {
    std::swap(link_.source, link_.destination);
    std::swap(ip_.source, ip_.destination);
    std::swap(ip_.sourcePort, ip_.destinationPort);
    ip_.tos = 0;
    ip_.ttl = 64;
}

void Connection::open(QueuePair& qp, const EndpointSetup& setup, MemoryBudget& budget,
                      const std::vector<HeldFrame>& held) {
    endpoint_ = Endpoint::open(qp, setup, *this, budget);
    for (const HeldFrame& frame : held) {
        const Frame parsed = parseFrame(frame.octets, frame.offload);
        if (parsed.kind == Frame::Kind::Tcp)
            endpoint_->input(parsed.tcp);
    }
    host_.schedule(*this);
}

void Connection::fromKernel(const TcpSegment& segment) {
    const KernelSide::Input input = kernel_.input(segment);
    if (!input.payload.empty()) {
        if (endpoint_->replyPending())
            endpoint_->kernelOctets(segment.seq, input.payload);
        kernel_.acknowledge(segment.seq + static_cast<uint32_t>(input.payload.size()));
    }
    if (segment.has(tcp_flag::kAck) && !segment.has(tcp_flag::kRst))
        endpoint_->kernelAcknowledged(segment.ack);
    if (input.fin && endpoint_->replyPending()) {
        endpoint_->kernelClosed(KernelSignal::Fin);
    } else if (input.fin || input.rst) {
        kernelClose_ = input.fin ? KernelSignal::Fin : KernelSignal::Rst;
        kernelCloseAt_ = nowNs() + kKernelPatience;
    }
    count();
    host_.schedule(*this);
}

void Connection::fromWire(const Frame& frame) {
    if (endpoint_->tcp().state() == TcpState::Closed)
        answerClosed(frame.tcp);
    else if (endpoint_->input(frame.tcp))
        endpoint_->heardFrom(frame.link.source);
}

// RFC 9293 3.10.7.1.
void Connection::answerClosed(const TcpSegment& segment) {
    if (segment.has(tcp_flag::kRst))
        return;
    TcpSegment reset;
    reset.flags = tcp_flag::kRst;
    if (segment.has(tcp_flag::kAck)) {
        reset.seq = segment.ack;
    } else {
        reset.ack = segment.end();
        reset.flags |= tcp_flag::kAck;
    }
    host_.toWire({endpoint_->setup().link, endpoint_->setup().ip, reset});
}

uint64_t Connection::deadline() const {
    return std::min({endpoint_->deadline(), kernel_.deadline(), kernelCloseAt_, forgetAt_});
}

size_t Connection::takeTurn() {
    const uint64_t now = nowNs();
    size_t work = 0;
    if (wantsTurn() || endpoint_->deadline() <= now)
        work = endpoint_->takeTurn();
    kernel_.onTimer();
    if (kernelCloseAt_ <= now) {
        kernelCloseAt_ = kNever;
        endpoint_->kernelClosed(kernelClose_);
    }
    if (endpoint_->finishedForGood() && forgetAt_ == kNever)
        forgetAt_ = now + kForget;
    count();
    return work;
}

void Connection::reset() {
    endpoint_->reset();
    kernel_.signal(KernelSignal::Rst);
    count();
}

bool Connection::replaceable() const {
    return endpoint_->queuePair() == nullptr &&
           (endpoint_->tcp().state() == TcpState::TimeWait || endpoint_->tcp().state() == TcpState::Closed);
}

bool Connection::replaceableBy(const TcpSegment& syn) const {
    return replaceable() && (endpoint_->tcp().state() == TcpState::Closed || endpoint_->tcp().isNewIncarnation(syn));
}

bool Connection::finished() const {
    return endpoint_->finishedForGood() && (kernel_.done() || forgetAt_ <= host_.nowNs());
}

void Connection::rearm(Endpoint& endpoint) {
    if (endpoint_.get() != &endpoint)
        return; // being opened
    if (endpoint.finishedForGood() && forgetAt_ == kNever)
        forgetAt_ = nowNs() + kForget;
    count();
    host_.schedule(*this);
}

void Connection::signalKernel(Endpoint&, KernelSignal signal) { kernel_.signal(signal); }

void Connection::toKernel(const TcpSegment& segment) {
    ++ip_.id;
    host_.toGuest({link_, ip_, segment});
}

uint32_t Connection::peerTimestamp() const { return endpoint_->tcp().peerTimestamp(); }

// What the parts counted since the last time.
void Connection::count() {
    Counters& counters = host_.counters();
    const auto add = [&counters](Counter counter, uint64_t now, uint64_t& seen) {
        counters[counter] += now - seen;
        seen = now;
    };
    const TcpCounters& tcp = endpoint_->tcp().counters();
    add(Counter::TcpSegmentsOut, tcp.segmentsOut, tcpSeen_.segmentsOut);
    add(Counter::TcpSegmentsIn, tcp.segmentsIn, tcpSeen_.segmentsIn);
    add(Counter::TcpRetransmissions, tcp.retransmissions, tcpSeen_.retransmissions);
    add(Counter::TcpTimeouts, tcp.timeouts, tcpSeen_.timeouts);
    add(Counter::TcpFastRecoveries, tcp.fastRecoveries, tcpSeen_.fastRecoveries);
    add(Counter::TcpDuplicates, tcp.duplicates, tcpSeen_.duplicates);
    add(Counter::TcpOutOfOrder, tcp.outOfOrder, tcpSeen_.outOfOrder);
    add(Counter::TcpOutOfOrderDrops, tcp.outOfOrderDropped, tcpSeen_.outOfOrderDropped);
    add(Counter::TcpMemoryDrops, tcp.memoryDropped, tcpSeen_.memoryDropped);
    add(Counter::TcpUnacceptable, tcp.unacceptable, tcpSeen_.unacceptable);
    add(Counter::TcpChallenges, tcp.challenges, tcpSeen_.challenges);
    add(Counter::TcpProbes, tcp.probes, tcpSeen_.probes);
    const EndpointCounters& endpoint = endpoint_->counters();
    add(Counter::FpdusOut, endpoint.fpdusOut, endpointSeen_.fpdusOut);
    add(Counter::FpdusIn, endpoint.fpdusIn, endpointSeen_.fpdusIn);
    add(Counter::CrcErrors, endpoint.crcErrors, endpointSeen_.crcErrors);
    add(Counter::TerminatesOut, endpoint.terminatesOut, endpointSeen_.terminatesOut);
    add(Counter::TerminatesIn, endpoint.terminatesIn, endpointSeen_.terminatesIn);
    const KernelCounters& kernel = kernel_.counters();
    add(Counter::KernelSegments, kernel.sent, kernelSeen_.sent);
    add(Counter::KernelDrops, kernel.dropped, kernelSeen_.dropped);
    add(Counter::KernelMisplaced, kernel.misplaced, kernelSeen_.misplaced);
}

std::string Connection::json() const {
    const TcpConnection& tcp = endpoint_->tcp();
    const EndpointSetup& setup = endpoint_->setup();
    const QueuePair* qp = endpoint_->queuePair();
    std::string out = "{";
    const auto text = [&out](const char* name, const std::string& value) {
        out += std::string("\"") + name + "\":\"" + value + "\",";
    };
    const auto number = [&out](const char* name, uint64_t value) {
        out += std::string("\"") + name + "\":" + std::to_string(value) + ",";
    };
    text("own", addressText(key_.ownIp, key_.ownPort));
    text("peer", addressText(key_.peerIp, key_.peerPort));
    number("vlan", key_.vlan);
    number("qpn", qp == nullptr ? 0 : qp->qpn());
    text("role", setup.initiator ? "initiator" : "responder");
    text("dialect", setup.format.dialect == FpduFormat::Dialect::Vendor ? "vendor" : "standard");
    number("crc", setup.format.crc ? 1 : 0);
    number("rfc7306", setup.format.rfc7306 ? 1 : 0);
    number("ord", setup.ord);
    number("ird", setup.ird);
    text("state", nameOf(tcp.state()));
    text("kernel", kernel_.stateName());
    number("segment_bytes", tcp.segmentBytes());
    number("srtt_us", tcp.smoothedRtt() / 1000);
    number("rto_ms", tcp.rto() / kMs);
    number("cwnd", tcp.congestion().window());
    number("flight", tcp.flight());
    number("unacknowledged", tcp.appended() - tcp.acknowledged());
    number("peer_window", tcp.peerWindow());
    number("receive_window", tcp.receiveWindow());
    number("reorder_bytes", tcp.reorderBytes());
    number("segments_out", tcp.counters().segmentsOut);
    number("segments_in", tcp.counters().segmentsIn);
    number("retransmissions", tcp.counters().retransmissions);
    number("fpdus_out", endpoint_->counters().fpdusOut);
    number("fpdus_in", endpoint_->counters().fpdusIn);
    out.back() = '}';
    return out;
}

} // namespace erdma
