// SPDX-License-Identifier: GPL-2.0-or-later
// The rules about connections, queue pairs, and traffic that takes another way.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "examination.h"
#include "objects.h"

namespace eadm {

namespace {

bool starved(const WatchedQp& qp) {
    const auto empty = [](const erdma_hw_qp& hw) { return hw.rq_pi == hw.rq_ci; };
    return empty(qp.first.hw) && empty(qp.second.hw) && qp.first.hw.rq_pi == qp.second.hw.rq_pi;
}

uint16_t outstanding(const erdma_hw_qp& hw) { return static_cast<uint16_t>(hw.sq_pi - hw.sq_ci); }

// The oldest work at the first look is the oldest still.
bool noneCompleted(const WatchedQp& qp) {
    return outstanding(qp.first.hw) != 0 && outstanding(qp.second.hw) != 0 && qp.second.hw.sq_ci == qp.first.hw.sq_ci;
}

constexpr size_t kMostNamed = 3; // of many

constexpr uint8_t kEver = 7;           // retries without a limit, as verbs have it
constexpr uint8_t kLargestPathMtu = 5; // 4096 bytes
constexpr uint32_t kRts = ERDMA_QP_STATE_ROCE + 3;

// The longest that a RoCEv2 queue pair waits for an answer until its timer says that something was lost: four times what
// it was told.  0: for ever, or it does not say.
double patience(const erdma_info_qp& qp) {
    if ((qp.known & ERDMA_KNOWN_ROCE) == 0 || qp.roce.timeout == 0)
        return 0;
    return 4 * 4.096e-6 * static_cast<double>(uint64_t{1} << std::min<uint8_t>(qp.roce.timeout, 31));
}

// Whether its peer told it to wait for a receive buffer (RNR).  No counter tells; but had the peer been silent for so
// long, the timer would have said so.  Only what takes a buffer is told that.
bool toldToWait(const WatchedQp& qp) {
    const double silence = patience(qp.second);
    const bool takesBuffer = !qp.waiting || qp.waiting->empty() || qp.waiting->front().starts_with("SEND") ||
                             qp.waiting->front() == "WRITE_IMM";
    return qp.second.state == kRts && qp.second.hw.sq_flushing == 0 && silence != 0 && qp.seconds > silence &&
           qp.second.hw.retransmits == qp.first.hw.retransmits && takesBuffer;
}

// Bytes of a packet with that much payload: IP, UDP, BTH, RETH and ICRC.
uint32_t packetBytes(const erdma_info_qp& qp) {
    const bool v4 = addressText(qp.link.own).find('.') != std::string::npos;
    return (128U << qp.roce.path_mtu) + (v4 ? 20 : 40) + 8 + 12 + 16 + 4;
}

} // namespace

void Examination::connections() {
    struct Cause {
        Counter counter;
        const char *id, *text, *advice;
    };
    static constexpr Cause causes[] = {
        {Counter::cm_refused_cnt, "connection-refused", "{} connections went to ports where nobody listens",
         "Start the server first, or correct the port."},
        {Counter::cm_timeout_cnt, "connection-timeout", "{} connections got no answer in time",
         "Look at security groups and firewalls, and whether the peer listens with RDMA and not with TCP."},
        {Counter::cm_rejected_cnt, "connection-rejected", "{} connections were rejected by the peer",
         "The program there says why."},
        {Counter::cm_bad_requests_cnt, "bad-requests", "{} incoming connections did not speak RDMA",
         "Ordinary TCP clients or port scanners connect to an RDMA port."},
        {Counter::cm_misrouted_cnt, "misrouted",
         "{} connections were given up because their packets do not pass the adapter's interface",
         "The kernel's log names the interface; see 'ip route get PEER'. Address and route must be those of the "
         "adapter's interface, or of a bridge, bond or VLAN that sends by it."},
        {Counter::cm_translated_cnt, "translated-setup",
         "{} connections were given up because the kernel translates their addresses or ports (NAT), and the adapter's "
         "packets go past the translation",
         "Connect to the address and port where the server listens itself; take RDMA ports out of the rules."},
        {Counter::cm_crc_refused_cnt, "crc-refused",
         "{} connections were given up because one side wants CRCs and the other has none",
         "Compare the module parameter mpa_crc with the peer's setting; 'eadm info' shows mpa_crc among the "
         "capabilities of an adapter that has CRCs."},
        {Counter::qp_crc_errors_cnt, "crc-errors", "{} queue pairs were stopped because data came with a wrong CRC",
         "Something damages data on its way, and TCP's checksum lets it pass; or the peer does not keep the CRCs that "
         "it "
         "agreed on."},
        {Counter::qp_dialect_errors_cnt, "not-in-dialect",
         "{} queue pairs were stopped by immediate data or atomics, which their standard iWARP peers do not have",
         "Use a write and a send instead; if the peer knows RFC 7306, switch it on in the adapter."}};
    for (const Cause& cause : causes) {
        const uint64_t all = counter(cause.counter), now = growth(cause.counter);
        if (all != 0)
            add(now != 0 ? Severity::Warning : Severity::Note, cause.id,
                fmt::format("{}{}.", fmt::format(fmt::runtime(cause.text), all),
                            now != 0 ? fmt::format(", {} just now", now) : ", none of them just now"),
                cause.advice, {{"count", all}, {"now", now}});
    }
    Json stopped = Json::array();
    std::string names;
    for (const auto& qp : adapter_->failed) {
        if (stopped.size() < kMostNamed)
            names += fmt::format("{}{} of {} ({}{}{})", stopped.empty() ? ": " : ", ", qp.number, textOf(qp.owner.name),
                                 qp.owner.pid, qp.detail != 0 ? ", " : "", detailText(qp.detail));
        stopped.push_back(qp.number);
    }
    const uint64_t fatal = counter(Counter::qp_fatal_events_cnt), fresh = growth(Counter::qp_fatal_events_cnt);
    if (fatal != 0 || !stopped.empty())
        add(!stopped.empty() ? Severity::Fault
            : fresh != 0     ? Severity::Warning
                             : Severity::Note,
            "qp-failed",
            fmt::format("The adapter stopped {} queue pairs with an error, {} just now; {} of them exist{}.", fatal,
                        fresh, stopped.size(), names),
            speaksRoce()
                ? "The completions of their programs say why: wrong keys, lengths or rights; status 12: the peer "
                  "or the way to it is gone; status 13: the peer posts no receive buffers."
                : "The completions of their programs say why: wrong keys, lengths or rights, or a peer that vanished.",
            {{"events", fatal}, {"now", fresh}, {"qps", stopped}});
}

void Examination::setUp() {
    Json waiting = Json::array();
    for (const auto& cep : adapter_->ceps)
        if (cep.state >= 1 && cep.state <= 4 && static_cast<double>(cep.state_age_ms) > limits_.slow_setup * 1000)
            waiting.push_back({{"cep", cep.number}, {"state", cepState(cep.state)}, {"ms", cep.state_age_ms}});
    if (!waiting.empty())
        add(Severity::Warning, "slow-setup",
            fmt::format("{} connections are being set up for more than {} s.", waiting.size(), limits_.slow_setup),
            "'eadm info cep' shows them: CONNECTING waits for the peer's network, GOT_REQUEST for the program here.",
            {{"endpoints", waiting}});
}

// The other end, if it is on this adapter too.  RoCEv2 names it by number, iWARP by port.
const WatchedQp* Examination::peerOf(const WatchedQp& qp) const {
    const auto& link = qp.second.link;
    for (const WatchedQp& other : adapter_->qps) {
        const auto& back = other.second.link;
        const bool meant = speaksRoce() ? qp.second.roce.peer_qpn == other.second.number
                                        : link.own_port == back.peer_port && link.peer_port == back.own_port;
        if (&other != &qp && std::ranges::equal(link.own, back.peer) && std::ranges::equal(link.peer, back.own) &&
            meant)
            return &other;
    }
    return nullptr;
}

void Examination::queuePair(const WatchedQp& qp) {
    const auto& now = qp.second;
    const std::string name = fmt::format("queue pair {} of {} ({})", now.number, textOf(now.owner.name), now.owner.pid);
    dialectOf(qp, name);
    unreadable_ += !qp.waiting && outstanding(now.hw) != 0 ? 1 : 0;
    path(qp, name);
    // Of one that cannot work everything else is a consequence.
    if (neverWorks(qp, name))
        return;
    const Json figures = {{"qp", now.number},
                          {"outstanding_blocks", outstanding(now.hw)},
                          {"receive_buffers", static_cast<uint16_t>(now.hw.rq_pi - now.hw.rq_ci)},
                          {"retransmits", now.hw.retransmits}};
    // What retransmits and gets nothing through makes no progress, of course.
    const bool dead = retransmissions(qp, name, figures);
    if (noneCompleted(qp) && now.hw.tx_packets == qp.first.hw.tx_packets) {
        if (!dead)
            stuck(qp, name, figures);
    } else if (!dead) {
        // Of one whose peer here gets nothing through for want of buffers, what is said of the peer is enough.
        const WatchedQp* peer = starved(qp) ? peerOf(qp) : nullptr;
        if (!peer || !noneCompleted(*peer))
            slowness(qp, name);
    }
}

void Examination::stuck(const WatchedQp& qp, const std::string& name, const Json& figures) {
    const WatchedQp* peer = peerOf(qp);
    const auto& roce = qp.second.roce;
    if (peer && starved(*peer))
        addQp(Severity::Fault, "no-receive-buffers",
              fmt::format("{} waits: its peer here, queue pair {} of {}, has posted no receive buffer.", name,
                          peer->second.number, textOf(peer->second.owner.name)),
              "The receiving program must post more receives, or answer sooner.", figures);
    else if (toldToWait(qp)) {
        Json more = figures;
        more["rnr_retries"] = roce.rnr_retries;
        addQp(Severity::Fault, "no-receive-buffers",
              fmt::format("{} waits: its peer answers and takes nothing, as one without a receive buffer does (RNR).",
                          name),
              fmt::format(
                  "The receiving program there must post more receives, or answer sooner. {}",
                  roce.rnr_retries == kEver
                      ? "The queue pair waits for ever."
                      : fmt::format("After {} tries in a row the queue pair fails (status 13).", roce.rnr_retries)),
              more);
    } else if (const double silence = patience(qp.second); silence > qp.seconds)
        addQp(
            Severity::Warning, "stalled", fmt::format("{} has work that makes no progress.", name),
            fmt::format("The peer takes nothing: it may have no receive buffers, hang, or be cut off. Its timer takes "
                        "up to {:.1f} s to tell: watch for longer (-s), and run 'eadm doctor' there.",
                        silence),
            figures);
    else
        addQp(Severity::Warning, "stalled", fmt::format("{} has work that makes no progress.", name),
              "The peer takes nothing: it may have no receive buffers, hang, or be cut off ('eadm doctor' there says "
              "more).",
              figures);
}

// Nothing wrong: how it talks to whom, since less is possible there.
void Examination::dialectOf(const WatchedQp& qp, const std::string& name) {
    const auto& now = qp.second;
    const bool crc = (now.flags & ERDMA_QP_FLAG_CRC) != 0;
    if (now.mpa_revision == 0 || (now.mpa_revision == 129 && !crc))
        return;
    std::string text = fmt::format("The connection of {} is {} (MPA revision {}), {} CRCs", name,
                                   now.mpa_revision == 129 ? "one between adapters" : "one of standard iWARP",
                                   now.mpa_revision, crc ? "with" : "without");
    if (now.mpa_revision == 2) // others do not agree on that
        text += fmt::format(", ORD {}, IRD {}", now.ord, now.ird);
    if (const std::string why = fallbackText(now.fallback); !why.empty())
        text += ": " + why;
    addQp(Severity::Note, "standard-peer", text + ".",
          now.mpa_revision == 129 ? "Nothing is to be done."
                                  : "Nothing is to be done; immediate data and atomics are not to be had there.",
          {{"qp", now.number},
           {"revision", now.mpa_revision},
           {"crc", crc},
           {"ord", now.ord},
           {"ird", now.ird},
           {"fallback", fallbackText(now.fallback)}});
}

bool Examination::neverWorks(const WatchedQp& qp, const std::string& name) {
    const auto& now = qp.second;
    if (!qp.translation.empty()) {
        addQp(Severity::Fault, "translated",
              fmt::format("The connection of {} is translated here (NAT): {}. The adapter's packets go past the "
                          "translation, so nothing arrives.",
                          name, qp.translation),
              "Connect to the address and port where the server listens itself; take RDMA ports out of the rules.",
              {{"qp", now.number}, {"translation", qp.translation}});
        return true;
    }
    if (now.state == 2 && outstanding(now.hw) != 0 && now.hw.rx_packets == 0 && qp.first.hw.rx_packets == 0 &&
        now.hw.retransmits != 0 && static_cast<double>(now.age_ms) >= limits_.one_way * 1000) {
        addQp(
            Severity::Fault, "one-way",
            fmt::format("{} sends and has never received anything, though its connection was set up.", name),
            "What sets connections up takes the kernel's way, data the adapter's: look for NAT, a changed MAC address "
            "('eadm doctor' at the peer), or a firewall that knows only TCP's connections.",
            {{"qp", now.number}, {"tx_packets", now.hw.tx_packets}, {"retransmits", now.hw.retransmits}});
        return true;
    }
    return false;
}

// The counter of a queue pair has 16 bits.  It may have wrapped as often as what the whole adapter sent allows: with
// more packets a share is smaller, so nobody is accused because of it.
uint64_t Examination::packetsSent(const WatchedQp& qp) {
    constexpr uint64_t turn = 65536;
    const uint64_t least = static_cast<uint16_t>(qp.second.hw.tx_packets - qp.first.hw.tx_packets);
    const uint64_t all = growth(Counter::tx_packets_cnt);
    return all > least ? least + (all - least) / turn * turn : least;
}

// Returns whether it said that nothing gets through.
bool Examination::retransmissions(const WatchedQp& qp, const std::string& name, const Json& figures) {
    const auto& hw = qp.second.hw;
    const uint32_t grown = hw.retransmits - std::min(hw.retransmits, qp.first.hw.retransmits);
    const double perSecond = qp.seconds > 0 ? grown / qp.seconds : 0;
    const uint64_t sent = packetsSent(qp);
    const double percent = sent != 0 ? 100.0 * grown / static_cast<double>(sent) : 0;
    Json more = figures;
    more["now"] = grown;
    more["seconds"] = qp.seconds;
    more["packets_now"] = sent;
    more["percent"] = std::round(percent * 1000) / 1000;
    // Each time-out sends a packet or two again; when there is nothing else, nothing gets through.
    const bool nothing = grown != 0 && noneCompleted(qp) && sent <= 2 * uint64_t{grown};
    if (nothing)
        addQp(Severity::Fault, "retransmissions",
              fmt::format("{} gets nothing through: it retransmitted {} times just now, {} times in all.", name, grown,
                          hw.retransmits),
              speaksRoce()
                  ? fmt::format("The peer, or the network up to it, is gone, or drops what this connection sends. "
                                "After {} tries in a row the queue pair fails (status 12).",
                                qp.second.roce.retries)
                  : "The peer, or the network up to it, is gone, or drops what this connection sends.",
              more);
    // One time-out is no rate and no share.
    else if (grown >= 2 &&
             (perSecond >= limits_.retransmissions_warning || percent >= limits_.retransmissions_percent_warning))
        addQp(perSecond >= limits_.retransmissions_fault || percent >= limits_.retransmissions_percent_fault
                  ? Severity::Fault
                  : Severity::Warning,
              "retransmissions",
              fmt::format("The network loses packets: {} waited for {} of its {} packets just now until their time was "
                          "up and sent them again, {} times in all.",
                          name, grown, sent, hw.retransmits),
              "Look for loss on the path and for a peer that is overloaded.", more);
    else if (hw.retransmits != 0) {
        ++quietQps_;
        quietRetransmits_ += hw.retransmits;
    }
    return nothing;
}

void Examination::path(const WatchedQp& qp, const std::string& name) {
    const uint32_t mtu = adapter_->interface.mtu;
    if (qp.gidGone)
        addQp(Severity::Fault, "gid-missing",
              fmt::format("{} is connected from {}, GID {} of the adapter, which has no such GID now.", name,
                          addressText(qp.second.link.own), qp.second.roce.gid_index),
              fmt::format("Give {} back to {}, or connect again from an address that is there.",
                          addressText(qp.second.link.own), textOf(adapter_->device.netdev)),
              {{"qp", qp.second.number}, {"gid_index", qp.second.roce.gid_index}});
    if (speaksRoce()) {
        // Its packets have a size of their own, up to which no path need be as wide as the interface.
        const uint32_t room = qp.pathMtu != 0 && mtu != 0 ? std::min(qp.pathMtu, mtu) : std::max(qp.pathMtu, mtu);
        const uint8_t code = (qp.second.known & ERDMA_KNOWN_ROCE) != 0 ? qp.second.roce.path_mtu : uint8_t{0};
        if (room != 0 && code >= 1 && code <= kLargestPathMtu && packetBytes(qp.second) > room)
            addQp(Severity::Warning, "mtu-mismatch",
                  fmt::format("{} sends packets of {} bytes (path MTU {}), and {} carries {}.", name,
                              packetBytes(qp.second), 128U << code, room == mtu ? "the interface" : "its path", room),
                  "Raise the MTU again, at both ends and between them, or connect again with a smaller path MTU.",
                  {{"qp", qp.second.number},
                   {"path_mtu", 128U << code},
                   {"packet", packetBytes(qp.second)},
                   {"path", qp.pathMtu},
                   {"interface", mtu}});
        return;
    }
    if (qp.pathMtu != 0 && mtu != 0 && qp.pathMtu < mtu)
        addQp(Severity::Warning, "mtu-mismatch",
              fmt::format("The path of {} carries packets of {} bytes, the interface {}.", name, qp.pathMtu, mtu),
              "Give both ends and the route between them the same MTU.",
              {{"qp", qp.second.number}, {"path", qp.pathMtu}, {"interface", mtu}});
}

void Examination::otherWays() {
    const uint64_t carried = growth(Counter::tx_bytes_cnt) + growth(Counter::rx_bytes_cnt);
    for (const OtherRdma& other : adapter_->others)
        add(other.sent != 0 ? Severity::Fault : Severity::Warning, "other-rdma-device",
            other.sent != 0
                ? fmt::format("Traffic uses the software device {} on {} instead of the adapter: {} packets just now.",
                              other.name, other.netdev, other.sent)
                : fmt::format("The software device {} is on the adapter's interface {}; programs may choose it.",
                              other.name, other.netdev),
            fmt::format("Remove it: 'rdma link delete {}'.", other.name),
            {{"device", other.name}, {"packets_now", other.sent}});
    uint64_t tcp = 0;
    Json busiest = Json::array();
    for (const TcpFlow& flow : adapter_->tcp) {
        tcp += flow.bytesPerSecond;
        if (busiest.size() < kMostNamed)
            busiest.push_back({{"local", flow.local},
                               {"remote", flow.remote},
                               {"uid", flow.uid},
                               {"bytes_per_second", flow.bytesPerSecond}});
    }
    if (adapter_->others.empty() && carried == 0 && tcp != 0 && static_cast<double>(tcp) >= limits_.tcp_instead)
        add(Severity::Warning, "tcp-instead",
            fmt::format("{} TCP connections of this interface carry {}B/s, most {} to {} of user {}, and RDMA nothing.",
                        adapter_->tcp.size(), scaled(static_cast<double>(tcp)), adapter_->tcp.front().local,
                        adapter_->tcp.front().remote, adapter_->tcp.front().uid),
            "If they should use RDMA, see that the program found the device (its own log, or NCCL_DEBUG=INFO).",
            {{"tcp_connections", adapter_->tcp.size()},
             {"bytes_per_second", tcp},
             {"busiest", busiest},
             {"rdma_bytes_now", carried}});
}

} // namespace eadm
