// SPDX-License-Identifier: GPL-2.0-or-later
// eadm doctor on made-up machines: each fault has its finding, and a healthy one has none.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>
#include <set>

#include "doctor.h"
#include "objects.h"

namespace {

using eadm::Counter;
using eadm::Finding;
using eadm::Severity;
using eadm::Snapshot;

constexpr uint8_t kMac[6] = {0x52, 0x54, 0, 1, 2, 3};

eadm::WatchedQp exampleQp(uint32_t number, uint16_t port, uint16_t peerPort) {
    eadm::WatchedQp qp;
    qp.second.number = number;
    qp.second.known = ERDMA_KNOWN_ADDRESSES | ERDMA_KNOWN_HARDWARE | ERDMA_KNOWN_DEPTH;
    qp.second.state = 2;
    qp.second.age_ms = 60000;
    qp.second.link.own_port = port;
    qp.second.link.peer_port = peerPort;
    qp.second.hw.sq_pi = qp.second.hw.sq_ci = 10;
    qp.second.hw.rq_pi = 20;
    qp.second.hw.rq_ci = 10;
    qp.second.hw.tx_packets = qp.second.hw.rx_packets = 100;
    qp.pathMtu = 1500;
    qp.first = qp.second;
    qp.seconds = 2;
    qp.waiting.emplace();
    return qp;
}

Snapshot healthy() {
    Snapshot snapshot;
    snapshot.functions = {"0000:01:00.0"};
    snapshot.driver = true;
    snapshot.receiveWindow = 6 << 20;
    snapshot.lockedMemory = UINT64_MAX;
    eadm::Adapter adapter;
    std::memcpy(adapter.device.name, "erdma_0", 8);
    std::memcpy(adapter.device.netdev, "eth0", 5);
    std::memcpy(adapter.device.mac, kMac, sizeof(kMac));
    adapter.device.mtu = 1500;
    adapter.device.max_qp = adapter.device.max_cq = adapter.device.max_mr = adapter.device.max_pd =
        adapter.device.max_ctx = 1000;
    adapter.seconds = 2;
    for (const auto name : eadm::kCounterNames) {
        adapter.first.set(name, 0);
        adapter.second.set(name, 0);
    }
    adapter.interface.exists = adapter.interface.up = adapter.interface.carrier = true;
    adapter.interface.mtu = 1500;
    adapter.interface.addresses = 1;
    adapter.interface.mac = "52:54:00:01:02:03";
    adapter.vectors = {{.first = {}, .second = {}, .cpus = "0"}, {.first = {}, .second = {}, .cpus = "1"}};
    adapter.qps = {exampleQp(1, 100, 200), exampleQp(2, 200, 100)};
    snapshot.adapters = {adapter};
    return snapshot;
}

// Work that waits at both looks.
void waiting(eadm::WatchedQp& qp) { qp.first.hw.sq_pi = qp.second.hw.sq_pi = 15; }

// So many of the two seconds between the looks went to that, and the others to nothing.
void spend(eadm::WatchedQp& qp, erdma_limit limit, double seconds) {
    qp.first.known |= ERDMA_KNOWN_FLOW;
    qp.second.known |= ERDMA_KNOWN_FLOW;
    qp.second.flow.spent_ns[limit] += static_cast<uint64_t>(seconds * 1e9);
    qp.second.flow.spent_ns[ERDMA_LIMIT_IDLE] += static_cast<uint64_t>((2 - seconds) * 1e9);
}

// More reads and atomics wait than the programs agreed on, or wanted.
void readsWait(eadm::WatchedQp& qp, uint32_t ord) {
    qp.second.ord = ord;
    qp.waiting = {{"READ", "READ_INV", "ATOMIC_FAA"}};
}

// A window of 64 KiB that is under way for 1.8 of two seconds, over 40 ms.
void longPath(Snapshot& s, erdma_limit limit) {
    auto& qp = s.adapters[0].qps[0];
    spend(qp, limit, 1.8);
    for (auto* look : {&qp.first, &qp.second}) {
        look->flow.peer_window = look->flow.flight = 65536;
        look->flow.rtt_ns = 40'000'000;
        look->flow.frame_bytes = 1448;
    }
    qp.second.hw.tx_packets = static_cast<uint16_t>(qp.first.hw.tx_packets + 2000);
}

// Time-outs in ten seconds, which are few for that time, among so many packets.
void timeouts(Snapshot& s, uint32_t count, uint16_t packets) {
    auto& qp = s.adapters[0].qps[0];
    qp.seconds = 10;
    qp.second.hw.retransmits = count;
    qp.second.hw.tx_packets = static_cast<uint16_t>(qp.first.hw.tx_packets + packets);
}

// The adapter is in check mode, and found this or nothing.
void checkFound(Snapshot& s, std::optional<erdma_finding_severity> severity) {
    erdma_info_finding found{};
    found.flags = ERDMA_FINDING_ON;
    s.adapters[0].found = {found};
    if (!severity)
        return;
    s.adapters[0].found[0].total = 1;
    found = {};
    found.number = 1;
    found.severity = *severity;
    found.qp = 3;
    found.count = 20;
    found.first_ns = 9'000'000'000;
    found.last_ns = 2'500'000'000;
    found.owner.pid = 77;
    std::memcpy(found.owner.name, "rping", 5);
    std::memcpy(found.id, "source-changed", 14);
    std::memcpy(found.advice, "Leave it alone.", 15);
    s.adapters[0].found.push_back(found);
}

struct Case {
    const char* id;
    Severity severity;
    std::function<void(Snapshot&)> change; // makes a healthy machine this one
};

// What counts since the driver was loaded is a note; what counts while doctor watches is more.
void addCounted(std::vector<Case>& cases, Counter counter, const char* id, Severity now) {
    cases.push_back({id, now, [=](Snapshot& s) { s.adapters[0].second.set(counter, 5); }});
    cases.push_back({id, Severity::Note, [=](Snapshot& s) {
                         s.adapters[0].first.set(counter, 5);
                         s.adapters[0].second.set(counter, 5);
                     }});
}

std::vector<Case> machineCases() {
    return {
        {"no-adapter", Severity::Fault, [](Snapshot& s) { s = {}; }},
        {"driver-not-loaded", Severity::Fault,
         [](Snapshot& s) {
             s = {};
             s.functions = {"0000:01:00.0"};
         }},
        {"not-examined", Severity::Unknown,
         [](Snapshot& s) {
             s = {};
             s.functions = {"0000:01:00.0"};
             s.driverMissing = false;
             s.driverTrouble = "/dev/erdma may not be opened";
         }},
        {"not-examined", Severity::Unknown, [](Snapshot& s) { s.invisible = {"0000:02:00.0"}; }},
        {"not-bound", Severity::Fault, [](Snapshot& s) { s.unbound = {"0000:02:00.0"}; }},
        {"modules-missing", Severity::Fault, [](Snapshot& s) { s.missingNodes = {"/dev/infiniband/rdma_cm"}; }},
        {"small-window", Severity::Warning, [](Snapshot& s) { s.windowScaling = false; }},
        {"small-window", Severity::Warning, [](Snapshot& s) { s.receiveWindow = 65536; }},
        {"device-broken", Severity::Fault, [](Snapshot& s) { s.adapters[0].device.flags = ERDMA_DEVICE_BROKEN; }},
        {"limit-reached", Severity::Warning, [](Snapshot& s) { s.adapters[0].device.qps = 950; }},
        {"limit-reached", Severity::Warning, [](Snapshot& s) { s.adapters[0].device.cqs = 950; }},
        {"limit-reached", Severity::Warning, [](Snapshot& s) { s.adapters[0].device.mrs = 950; }},
        {"limit-reached", Severity::Warning, [](Snapshot& s) { s.adapters[0].device.pds = 950; }},
        {"limit-reached", Severity::Warning, [](Snapshot& s) { s.adapters[0].device.contexts = 950; }},
        {"not-paired", Severity::Fault, [](Snapshot& s) { s.adapters[0].device.netdev[0] = 0; }},
        {"not-examined", Severity::Unknown, [](Snapshot& s) { s.adapters[0].interface = {}; }},
        {"interface-down", Severity::Fault, [](Snapshot& s) { s.adapters[0].interface.up = false; }},
        {"interface-down", Severity::Fault, [](Snapshot& s) { s.adapters[0].interface.carrier = false; }},
        {"no-address", Severity::Fault, [](Snapshot& s) { s.adapters[0].interface.addresses = 0; }},
        {"address-elsewhere", Severity::Fault,
         [](Snapshot& s) {
             s.adapters[0].interface.addresses = 0;
             s.adapters[0].interface.master = "team0";
             s.adapters[0].interface.uppers = {{"team0", {"10.0.0.1"}, "which handles packets in a way of its own"}};
         }},
        {"address-elsewhere", Severity::Fault,
         [](Snapshot& s) {
             s.adapters[0].interface.addresses = 0;
             s.adapters[0].interface.uppers = {{"macvlan0", {"10.0.0.1"}, "whose MAC address is another"}};
         }},
        {"mac-mismatch", Severity::Fault, [](Snapshot& s) { s.adapters[0].interface.mac = "02:00:00:00:00:01"; }},
        {"mtu-mismatch", Severity::Warning, [](Snapshot& s) { s.adapters[0].device.mtu = 9000; }},
        {"mtu-mismatch", Severity::Warning, [](Snapshot& s) { s.adapters[0].qps[0].pathMtu = 1400; }},
        {"drops", Severity::Fault, [](Snapshot& s) { s.adapters[0].second.set(Counter::tx_disable_drop_cnt, 1); }},
        {"drops", Severity::Fault, [](Snapshot& s) { s.adapters[0].second.set(Counter::rx_disable_drop_cnt, 1); }},
        {"rate-limited", Severity::Warning,
         [](Snapshot& s) { s.adapters[0].second.set(Counter::tx_bps_limit_drop_cnt, 1); }},
        {"rate-limited", Severity::Warning,
         [](Snapshot& s) { s.adapters[0].second.set(Counter::tx_pps_limit_drop_cnt, 1); }},
        {"rate-limited", Severity::Warning,
         [](Snapshot& s) { s.adapters[0].second.set(Counter::rx_bps_limit_drop_cnt, 1); }},
        {"rate-limited", Severity::Warning,
         [](Snapshot& s) { s.adapters[0].second.set(Counter::rx_pps_limit_drop_cnt, 1); }},
        {"interrupts-not-balanced", Severity::Warning, [](Snapshot& s) { s.adapters[0].vectors[1].cpus = "0"; }},
        {"interrupts-not-balanced", Severity::Warning,
         [](Snapshot& s) { s.adapters[0].vectors[0].second.events = 5000; }},
    };
}

std::vector<Case> connectionCases() {
    return {
        {"slow-setup", Severity::Warning,
         [](Snapshot& s) {
             erdma_info_cep cep{};
             cep.state = 1;
             cep.state_age_ms = 9000;
             s.adapters[0].ceps = {cep};
         }},
        {"qp-failed", Severity::Fault,
         [](Snapshot& s) {
             s.adapters[0].first.set(Counter::qp_fatal_events_cnt, 1);
             s.adapters[0].second.set(Counter::qp_fatal_events_cnt, 1);
             s.adapters[0].failed.emplace_back();
         }},
        {"standard-peer", Severity::Note, [](Snapshot& s) { s.adapters[0].qps[0].second.mpa_revision = 2; }},
        {"standard-peer", Severity::Note,
         [](Snapshot& s) {
             s.adapters[0].qps[0].second.mpa_revision = 129;
             s.adapters[0].qps[0].second.flags |= ERDMA_QP_FLAG_CRC;
         }},
        {"retransmissions", Severity::Fault, [](Snapshot& s) { s.adapters[0].qps[0].second.hw.retransmits = 4; }},
        {"retransmissions", Severity::Warning, [](Snapshot& s) { s.adapters[0].qps[0].second.hw.retransmits = 2; }},
        {"retransmissions", Severity::Note, [](Snapshot& s) { s.adapters[0].qps[0].second.hw.retransmits = 1; }},
        {"retransmissions", Severity::Fault, [](Snapshot& s) { timeouts(s, 3, 1000); }},
        {"retransmissions", Severity::Warning, [](Snapshot& s) { timeouts(s, 3, 10000); }},
        {"retransmissions", Severity::Note, [](Snapshot& s) { timeouts(s, 3, 60000); }},
        // One in ten packets, but only one.
        {"retransmissions", Severity::Note, [](Snapshot& s) { timeouts(s, 1, 10); }},
        {"retransmissions", Severity::Warning,
         [](Snapshot& s) { // the adapter sent too little for a counter that wrapped
             timeouts(s, 3, 10000);
             s.adapters[0].second.set(Counter::tx_packets_cnt, 70000);
         }},
        {"retransmissions", Severity::Note,
         [](Snapshot& s) { // the counter of the queue pair may have wrapped
             timeouts(s, 3, 10000);
             s.adapters[0].second.set(Counter::tx_packets_cnt, 80000);
         }},
        {"retransmissions", Severity::Note,
         [](Snapshot& s) { // one in four seconds
             s.adapters[0].qps[0].second.hw.retransmits = 1;
             s.adapters[0].qps[0].seconds = 4;
         }},
        {"retransmissions", Severity::Note,
         [](Snapshot& s) {
             s.adapters[0].qps[0].first.hw.retransmits = s.adapters[0].qps[0].second.hw.retransmits = 300;
         }},
        {"retransmissions", Severity::Fault,
         [](Snapshot& s) { // the cable is cut: rare, but there is nothing else
             auto& qp = s.adapters[0].qps[0];
             waiting(qp);
             qp.seconds = 10;
             qp.second.hw.retransmits = 2;
             qp.second.hw.tx_packets = 102;
         }},
        {"no-receive-buffers", Severity::Fault,
         [](Snapshot& s) {
             waiting(s.adapters[0].qps[0]);
             s.adapters[0].qps[1].first.hw.rq_pi = s.adapters[0].qps[1].second.hw.rq_pi = 10;
         }},
        {"stalled", Severity::Warning,
         [](Snapshot& s) {
             waiting(s.adapters[0].qps[0]);
             s.adapters[0].qps.pop_back();
         }},
        {"held-up", Severity::Warning, [](Snapshot& s) { spend(s.adapters[0].qps[0], ERDMA_LIMIT_LOSS, 0.7); }},
        {"held-up", Severity::Warning, [](Snapshot& s) { spend(s.adapters[0].qps[0], ERDMA_LIMIT_REQUESTS, 0.7); }},
        {"long-path", Severity::Note, [](Snapshot& s) { longPath(s, ERDMA_LIMIT_WINDOW); }},
        {"long-path", Severity::Note, [](Snapshot& s) { longPath(s, ERDMA_LIMIT_PEER_WINDOW); }},
        {"receives-late", Severity::Warning,
         [](Snapshot& s) {
             spend(s.adapters[0].qps[0], ERDMA_LIMIT_ANSWERS, 1);
             s.adapters[0].qps[0].second.flow.starved_ns += 700'000'000;
         }},
        {"one-way", Severity::Fault,
         [](Snapshot& s) {
             auto& qp = s.adapters[0].qps[0];
             waiting(qp);
             qp.first.hw.rx_packets = qp.second.hw.rx_packets = 0;
             qp.first.hw.retransmits = qp.second.hw.retransmits = 3;
             qp.second.hw.sq_ci = 11;
             s.adapters[0].qps.pop_back();
         }},
        {"translated", Severity::Fault, [](Snapshot& s) { s.adapters[0].qps[0].translation = "a -> b"; }},
        {"other-rdma-device", Severity::Warning,
         [](Snapshot& s) {
             s.adapters[0].others = {{"rxe0", 0, "eth0"}};
         }},
        {"other-rdma-device", Severity::Fault,
         [](Snapshot& s) {
             s.adapters[0].others = {{"rxe0", 100, "eth0"}};
         }},
        {"tcp-instead", Severity::Warning,
         [](Snapshot& s) {
             s.adapters[0].tcp = {{"10.0.0.1:1", "10.0.0.2:2", 0, 5'000'000}};
         }},
        {"not-examined", Severity::Unknown,
         [](Snapshot& s) {
             s.adapters[0].unseen.hiddenQps = 12;
             s.adapters[0].unseen.allQps = 40;
         }},
        {"not-examined", Severity::Unknown,
         [](Snapshot& s) {
             s.adapters[0].unseen.hiddenCeps = 1;
             s.adapters[0].unseen.allCeps = 1;
         }},
        {"check-mode", Severity::Note, [](Snapshot& s) { checkFound(s, {}); }},
        {"check-error", Severity::Fault, [](Snapshot& s) { checkFound(s, ERDMA_FINDING_ERROR); }},
        {"check-warning", Severity::Warning, [](Snapshot& s) { checkFound(s, ERDMA_FINDING_WARNING); }},
        {"check-advice", Severity::Note, [](Snapshot& s) { checkFound(s, ERDMA_FINDING_ADVICE); }},
        {"not-examined", Severity::Unknown, [](Snapshot& s) { s.adapters[0].unseen.hiddenFound = 1; }},
        {"not-examined", Severity::Unknown, [](Snapshot& s) { s.adapters[0].unseen.silentQps = 1; }},
        {"not-examined", Severity::Unknown, [](Snapshot& s) { s.adapters[0].unseen.tcp = true; }},
        {"not-examined", Severity::Unknown, [](Snapshot& s) { s.adapters[0].unseen.translations = true; }},
        {"not-examined", Severity::Unknown,
         [](Snapshot& s) { // not permitted to dump, and there is work
             auto& qp = s.adapters[0].qps[0];
             waiting(qp);
             qp.second.hw.sq_ci = 11;
             qp.waiting.reset();
         }},
        {"not-examined", Severity::Unknown, [](Snapshot& s) { s.adapters[0].second = {}; }}, // a driver of other names
    };
}

// The machine speaks RoCEv2, and its first queue pair has no peer here.
eadm::WatchedQp& roce(Snapshot& s) {
    auto& adapter = s.adapters[0];
    adapter.device.protocol = 1;
    adapter.qps.pop_back();
    auto& qp = adapter.qps[0];
    for (auto* look : {&qp.first, &qp.second}) {
        look->known |= ERDMA_KNOWN_ROCE;
        look->state = ERDMA_QP_STATE_ROCE + 3;
        look->link.own[10] = look->link.own[11] = 0xFF; // 10.0.0.1
        look->link.own[12] = 10;
        look->link.own[15] = 1;
        look->roce.path_mtu = 3;
        look->roce.timeout = 14;
        look->roce.retries = look->roce.rnr_retries = 7;
    }
    return qp;
}

std::vector<Case> roceCases() {
    return {
        {"gid-missing", Severity::Fault,
         [](Snapshot& s) {
             roce(s);
             s.adapters[0].withoutGid = {"10.0.0.1"};
         }},
        {"gid-missing", Severity::Fault, [](Snapshot& s) { roce(s).gidGone = true; }},
        {"mtu-mismatch", Severity::Warning, [](Snapshot& s) { roce(s).second.roce.path_mtu = 4; }},
        {"mtu-mismatch", Severity::Warning, [](Snapshot& s) { roce(s).pathMtu = 1083; }},
        // Whoever is silent for longer than four time-outs would have made the timer expire.
        {"no-receive-buffers", Severity::Fault, [](Snapshot& s) { waiting(roce(s)); }},
        {"read-depth", Severity::Warning, [](Snapshot& s) { readsWait(roce(s), 2); }},
        {"read-depth", Severity::Warning,
         [](Snapshot& s) {
             auto& qp = roce(s);
             readsWait(qp, 2);
             spend(qp, ERDMA_LIMIT_REQUESTS, 0.7);
         }},
        {"stalled", Severity::Warning,
         [](Snapshot& s) { // the timer may not have expired yet
             auto& qp = roce(s);
             waiting(qp);
             qp.second.roce.timeout = 18;
         }},
        {"stalled", Severity::Warning,
         [](Snapshot& s) { // never expires
             auto& qp = roce(s);
             waiting(qp);
             qp.second.roce.timeout = 0;
         }},
        {"stalled", Severity::Warning,
         [](Snapshot& s) { // takes no receive buffer
             auto& qp = roce(s);
             waiting(qp);
             qp.waiting = {{"READ"}};
         }},
        {"stalled", Severity::Warning,
         [](Snapshot& s) { // is not to send
             auto& qp = roce(s);
             waiting(qp);
             qp.second.state = ERDMA_QP_STATE_ROCE + 4;
         }},
        {"retransmissions", Severity::Fault,
         [](Snapshot& s) {
             auto& qp = roce(s);
             waiting(qp);
             qp.second.hw.retransmits = 1;
         }},
    };
}

std::vector<Case> allCases() {
    auto cases = machineCases();
    for (const Case& one : roceCases())
        cases.push_back(one);
    for (const Case& one : connectionCases())
        cases.push_back(one);
    addCounted(cases, Counter::cmdq_timeout_cnt, "command-timeout", Severity::Fault);
    addCounted(cases, Counter::cmdq_failed_cnt, "command-failed", Severity::Fault);
    addCounted(cases, Counter::cmdq_rescued_cnt, "lost-interrupts", Severity::Warning);
    addCounted(cases, Counter::eq_rescued_cnt, "lost-interrupts", Severity::Warning);
    addCounted(cases, Counter::cmdq_bad_cnt, "strange-events", Severity::Warning);
    addCounted(cases, Counter::aeq_bad_events_cnt, "strange-events", Severity::Warning);
    addCounted(cases, Counter::ceq_bad_events_cnt, "strange-events", Severity::Warning);
    addCounted(cases, Counter::verbs_reg_mr_failed_cnt, "registration-failed", Severity::Warning);
    addCounted(cases, Counter::cm_refused_cnt, "connection-refused", Severity::Warning);
    addCounted(cases, Counter::cm_timeout_cnt, "connection-timeout", Severity::Warning);
    addCounted(cases, Counter::cm_rejected_cnt, "connection-rejected", Severity::Warning);
    addCounted(cases, Counter::cm_bad_requests_cnt, "bad-requests", Severity::Warning);
    addCounted(cases, Counter::cm_misrouted_cnt, "misrouted", Severity::Warning);
    addCounted(cases, Counter::cm_translated_cnt, "translated-setup", Severity::Warning);
    addCounted(cases, Counter::cm_crc_refused_cnt, "crc-refused", Severity::Warning);
    addCounted(cases, Counter::qp_crc_errors_cnt, "crc-errors", Severity::Warning);
    addCounted(cases, Counter::qp_dialect_errors_cnt, "not-in-dialect", Severity::Warning);
    addCounted(cases, Counter::qp_fatal_events_cnt, "qp-failed", Severity::Warning);
    return cases;
}

// How a connection came to be what it is, and why the adapter stopped one.
TEST(EadmDoctor, DialectsAreExplained) {
    Snapshot s = healthy();
    auto& qp = s.adapters[0].qps[0].second;
    qp.mpa_revision = 2;
    qp.flags |= ERDMA_QP_FLAG_CRC;
    qp.ord = 3;
    qp.ird = 4;
    qp.fallback = ERDMA_FALLBACK_CLOSED | ERDMA_FALLBACK_KNOWN;
    const std::string text = eadm::diagnose(s).at(0).text;
    for (const char* part :
         {"standard iWARP (MPA revision 2), with CRCs, ORD 3, IRD 4", "the peer closed", "remembered"})
        EXPECT_NE(text.find(part), std::string::npos) << text;
    qp.fallback = ERDMA_FALLBACK_REVISION;
    EXPECT_NE(eadm::diagnose(s).at(0).text.find("answered another one in its own"), std::string::npos);

    EXPECT_EQ(eadm::detailText(0), "");
    EXPECT_EQ(eadm::detailText(0x2002), "data came with a wrong CRC");
    EXPECT_EQ(eadm::detailText(0x1102), "error 1/1/02");
    EXPECT_EQ(eadm::detailText(0x1000A), "the peer's dialect has no atomic");
    EXPECT_EQ(eadm::detailText(0x10008), "the peer's dialect has no immediate data");
    EXPECT_EQ(eadm::detailText(0xFFFFFFFF), "the peer's dialect has no unknown");
}

TEST(EadmDoctor, CheckModeNamesQueueAndProcess) {
    Snapshot s = healthy();
    checkFound(s, ERDMA_FINDING_ERROR);
    auto& found = s.adapters[0].found[1];
    const auto text = [&s] { return eadm::diagnose(s).at(0).text; };
    EXPECT_EQ(text(), "Check mode found source-changed in queue pair 3 of rping (pid 77), 20 times, last 2.5 "
                      "seconds ago.");
    const Finding finding = eadm::diagnose(s).at(0);
    EXPECT_EQ(finding.advice, "Leave it alone.");
    EXPECT_EQ(finding.figures["finding"], "source-changed");
    EXPECT_EQ(finding.figures["count"], 20);
    EXPECT_EQ(finding.figures["qp"], 3);
    EXPECT_EQ(finding.figures["process"], "rping");
    EXPECT_EQ(finding.figures["pid"], 77);
    EXPECT_EQ(eadm::diagnose(s).at(1).figures["found"], 1);
    found.count = 1;
    EXPECT_NE(text().find("(pid 77), once, 2.5"), std::string::npos) << text();
    found.owner.kernel = 1;
    EXPECT_NE(text().find("in queue pair 3 of the kernel module rping"), std::string::npos) << text();
    found.owner = {};
    found.flags = ERDMA_FINDING_GONE;
    EXPECT_NE(text().find("in queue pair 3, which is gone"), std::string::npos) << text();
    EXPECT_FALSE(eadm::diagnose(s).at(0).figures.contains("pid"));
    found.qp = 0;
    found.cq = 4;
    EXPECT_NE(text().find("in completion queue 4, which is gone"), std::string::npos) << text();
    found.cq = 0;
    EXPECT_NE(text().find("source-changed, once"), std::string::npos) << text();
    s.adapters[0].found[0].flags = 0; // off
    EXPECT_TRUE(eadm::diagnose(s).empty());
}

// A file may say anything, and so may a driver that believes its adapter.
TEST(EadmDoctor, CheckModeBelievesLittle) {
    Snapshot s = healthy();
    checkFound(s, ERDMA_FINDING_ERROR);
    const auto good = s.adapters[0].found[1];
    const auto count = [&s](const erdma_info_finding& bad) {
        s.adapters[0].found[1] = bad;
        return eadm::diagnose(s).size() - 1; // without check-mode
    };
    EXPECT_EQ(count(good), 1u);
    for (const uint32_t severity : {3u, 255u, UINT32_MAX}) {
        auto bad = good;
        bad.severity = severity;
        EXPECT_EQ(count(bad), 0u) << severity;
    }
    auto bad = good;
    bad.count = 0;
    EXPECT_EQ(count(bad), 0u);
    bad = good;
    bad.id[0] = 0;
    EXPECT_EQ(count(bad), 0u);
    bad = good;
    std::ranges::fill(bad.id, uint8_t{0x1B}); // without an end, and not for terminals
    std::ranges::fill(bad.advice, uint8_t{0xC3});
    std::ranges::fill(bad.owner.name, uint8_t{0x07});
    bad.count = bad.first_ns = bad.last_ns = UINT64_MAX;
    ASSERT_EQ(count(bad), 1u);
    const std::string json = eadm::toJson(eadm::diagnose(s).at(0)).dump();
    EXPECT_TRUE(std::ranges::all_of(json, [](char c) { return c >= ' ' && c <= '~'; })) << json;
    // Of one kind, a few are told and the others are one line.
    s.adapters[0].found.resize(2000, good);
    EXPECT_EQ(count(good), 11u);
    EXPECT_NE(eadm::diagnose(s).at(10).text.find("source-changed in more queues"), std::string::npos);
}

TEST(EadmDoctor, Healthy) { EXPECT_TRUE(eadm::diagnose(healthy()).empty()); }

// Exactly the finding that belongs to it, nothing else.
TEST(EadmDoctor, EachFaultHasItsFinding) {
    size_t index = 0;
    for (const Case& one : allCases()) {
        Snapshot s = healthy();
        one.change(s);
        auto findings = eadm::diagnose(s);
        if (findings.size() == 2) // stands beside what check mode found
            std::erase_if(findings, [](const Finding& f) { return f.id == "check-mode"; });
        ASSERT_EQ(findings.size(), 1u) << one.id << ", case " << index;
        EXPECT_EQ(findings[0].id, one.id) << "case " << index;
        EXPECT_EQ(findings[0].severity, one.severity) << one.id << ", case " << index << ": " << findings[0].text;
        EXPECT_TRUE(findings[0].text.ends_with('.') && findings[0].advice.ends_with('.')) << findings[0].text;
        ++index;
    }
}

TEST(EadmDoctor, EachFindingHasItsFault) {
    std::set<std::string> staged;
    for (const Case& one : allCases())
        staged.insert(one.id);
    const auto& ids = eadm::findingIds();
    EXPECT_EQ(staged, std::set<std::string>(ids.begin(), ids.end()));
}

TEST(EadmDoctor, WhatCostsMostComesFirst) {
    Snapshot s = healthy();
    auto& qp = s.adapters[0].qps[0];
    spend(qp, ERDMA_LIMIT_PEER_WINDOW, 0.5);
    qp.second.flow.spent_ns[ERDMA_LIMIT_LOSS] += 800'000'000;
    qp.second.flow.spent_ns[ERDMA_LIMIT_REQUESTS] += 10'000'000; // less than one in a hundred is not worth a word
    qp.second.flow.rtt_ns = 1'500'000;
    const auto findings = eadm::diagnose(s);
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].text,
              "queue pair 1 of  (0) waited 65 % of the time: 40 % for what was lost to be sent again, "
              "25 % for its peer to take more.");
    EXPECT_EQ(findings[0].figures["percent"]["loss"], 40.0);
    EXPECT_EQ(findings[0].figures["percent"]["idle"], 75.0);
    EXPECT_EQ(findings[0].figures["rtt_us"], 1500.0);
    EXPECT_NE(findings[0].advice.find("loss on the path"), std::string::npos);

    // Of one that stands still another rule tells; a driver that does not know says nothing.
    waiting(qp);
    EXPECT_EQ(eadm::diagnose(s)[0].id, "stalled");
    qp.first.hw = qp.second.hw = s.adapters[0].qps[1].second.hw;
    qp.first.known &= ~uint32_t{ERDMA_KNOWN_FLOW};
    EXPECT_TRUE(eadm::diagnose(s).empty());
}

// One cause, one finding: the receiver's end is named by that of who waits, if both are here.
TEST(EadmDoctor, ReceiverIsNamedOnce) {
    Snapshot s = healthy();
    auto& qps = s.adapters[0].qps;
    waiting(qps[0]);
    qps[1].first.hw.rq_pi = qps[1].second.hw.rq_pi = 10;
    spend(qps[1], ERDMA_LIMIT_IDLE, 2);
    qps[1].second.flow.starved_ns = 2'000'000'000;
    auto findings = eadm::diagnose(s);
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].id, "no-receive-buffers");

    // Who waits is elsewhere.
    qps.erase(qps.begin());
    findings = eadm::diagnose(s);
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].id, "receives-late");
}

// Who waits for answers, for the adapter, or for the window of the path, is only busy.
TEST(EadmDoctor, AsFastAsCanBe) {
    for (const auto limit : {ERDMA_LIMIT_ANSWERS, ERDMA_LIMIT_TURN, ERDMA_LIMIT_WINDOW}) {
        Snapshot s = healthy();
        spend(s.adapters[0].qps[0], limit, 2);
        EXPECT_TRUE(eadm::diagnose(s).empty()) << limit;
    }
    for (const double seconds : {0.5, 0.7}) {
        Snapshot s = healthy();
        spend(s.adapters[0].qps[0], ERDMA_LIMIT_PEER_BUFFERS, seconds);
        EXPECT_EQ(eadm::diagnose(s).size(), seconds < 0.6 ? 0u : 1u);
    }
}

// What the program wanted is what the adapter does only if that was negotiated (wire.md 2.7).
TEST(EadmDoctor, ReadsBetweenAdaptersAreMany) {
    for (const uint32_t revision : {0u, 1u, 129u}) {
        Snapshot s = healthy();
        auto& qp = s.adapters[0].qps[0];
        readsWait(qp, 2);
        qp.second.mpa_revision = revision;
        const auto idsOf = [&s] {
            std::set<std::string> ids;
            for (const Finding& one : eadm::diagnose(s))
                ids.insert(one.id);
            ids.erase("standard-peer");
            return ids;
        };
        EXPECT_EQ(idsOf(), std::set<std::string>()) << revision;
        spend(qp, ERDMA_LIMIT_REQUESTS, 0.2); // the adapter's clock knows better
        EXPECT_EQ(idsOf(), std::set<std::string>()) << revision;
        spend(qp, ERDMA_LIMIT_REQUESTS, 0.7);
        EXPECT_EQ(idsOf(), std::set<std::string>{"held-up"}) << revision;
        EXPECT_EQ(eadm::diagnose(s)[0].advice.find("initiator_depth"), std::string::npos) << revision;
        EXPECT_NE(eadm::diagnose(s)[0].advice.find("fence only what must be"), std::string::npos) << revision;
        // More than the adapter ever does at a time: nobody can do anything about it.
        qp.second.hw.sq_pi = static_cast<uint16_t>(qp.second.hw.sq_ci + 2 * 200);
        EXPECT_EQ(idsOf().empty(), revision != 0) << revision;
        qp.waiting->push_back("SEND");
        EXPECT_EQ(idsOf(), std::set<std::string>{"held-up"}) << revision;
    }
}

// Of two standard ends the one that accepted knows what was agreed on; the other may have been offered more.
TEST(EadmDoctor, ReadDepthOfStandardPeers) {
    for (const bool passive : {false, true}) {
        Snapshot s = healthy();
        auto& qp = s.adapters[0].qps[0];
        readsWait(qp, 2);
        qp.second.mpa_revision = 2;
        qp.second.flags |= passive ? ERDMA_QP_FLAG_PASSIVE : 0;
        const auto first = [&s] { return eadm::diagnose(s).at(0); };
        EXPECT_EQ(first().id, passive ? "read-depth" : "standard-peer");
        spend(qp, ERDMA_LIMIT_REQUESTS, 0.2); // some wait, but not for long
        EXPECT_EQ(first().id, "standard-peer");
        spend(qp, ERDMA_LIMIT_REQUESTS, 0.7);
        EXPECT_EQ(eadm::diagnose(s).size(), 2u); // the cause is named once
        EXPECT_EQ(first().id, "read-depth");
        EXPECT_EQ(first().text, "queue pair 1 of  (0) waited 45 % of the time for reads before it: 3 wait, and the "
                                "programs agreed on 2 at a time.");
        EXPECT_EQ(first().figures["ord"], 2);
        EXPECT_EQ(first().figures["percent"]["requests"], 45.0);
        EXPECT_NE(first().advice.find("initiator_depth"), std::string::npos);
        qp.waiting = {{"READ", "READ"}}; // a fence
        EXPECT_EQ(first().id, "held-up");
        // What stands still has another reason.
        readsWait(qp, 2);
        waiting(qp);
        EXPECT_EQ(first().id, "stalled");
        for (const Finding& one : eadm::diagnose(s))
            EXPECT_NE(one.id, "read-depth");
    }
}

// A window that is always open and always full is a matter of the path, one that opens a little now and then of the peer.
TEST(EadmDoctor, LongPathIsNotASlowPeer) {
    Snapshot s = healthy();
    longPath(s, ERDMA_LIMIT_PEER_WINDOW);
    auto& qp = s.adapters[0].qps[0];
    const auto id = [&s] { return eadm::diagnose(s).at(0).id; };
    EXPECT_EQ(eadm::diagnose(s).at(0).text,
              "queue pair 1 of  (0) had as much under way as may be for 90 % of the time, "
              "65.5kB just now, and a round trip takes 40.0 ms.");
    // 50 round trips of 45 frames are possible.
    qp.second.hw.tx_packets = static_cast<uint16_t>(qp.first.hw.tx_packets + 500);
    EXPECT_EQ(id(), "held-up");
    EXPECT_NE(eadm::diagnose(s).at(0).text.find("for its peer to take more"), std::string::npos);
    qp.second.hw.tx_packets = static_cast<uint16_t>(qp.first.hw.tx_packets + 2000);
    qp.first.flow.peer_window = 1000;
    EXPECT_EQ(id(), "held-up");
    qp.first.flow.peer_window = 65536;
    qp.first.flow.rtt_ns = 0; // not measured
    EXPECT_EQ(id(), "held-up");
    // As fast as can be: neither the path is long nor the peer slow.
    qp.first.flow.rtt_ns = qp.second.flow.rtt_ns = 2'000'000;
    qp.second.hw.tx_packets = static_cast<uint16_t>(qp.first.hw.tx_packets + 40000);
    EXPECT_TRUE(eadm::diagnose(s).empty());
}

TEST(EadmDoctor, BusyIsNotIll) {
    Snapshot s = healthy();
    s.adapters[0].tcp = {{"10.0.0.1:1", "10.0.0.2:2", 0, 500'000'000}}; // heavy TCP beside RDMA
    s.adapters[0].second.set(Counter::tx_bytes_cnt, 1);
    EXPECT_TRUE(eadm::diagnose(s).empty());

    s = healthy(); // as many reads as were agreed on, and a send that waits its turn
    readsWait(roce(s), 3);
    s.adapters[0].qps[0].waiting->push_back("SEND");
    EXPECT_TRUE(eadm::diagnose(s).empty());

    s = healthy(); // RoCEv2 has packets of its own size, for which this path is wide enough
    roce(s).pathMtu = 1084;
    EXPECT_TRUE(eadm::diagnose(s).empty());

    s = healthy(); // work that waits, and some that was done
    waiting(s.adapters[0].qps[0]);
    s.adapters[0].qps[0].second.hw.sq_ci = 11;
    EXPECT_TRUE(eadm::diagnose(s).empty());

    s = healthy();
    erdma_info_cep cep{};
    cep.state = 5;
    cep.state_age_ms = 9'000'000;
    s.adapters[0].ceps = {cep};
    EXPECT_TRUE(eadm::diagnose(s).empty());

    // Thousands of connections, each with one retransmission ever: one note.
    s = healthy();
    s.adapters[0].qps.assign(5000, exampleQp(1, 100, 200));
    for (auto& qp : s.adapters[0].qps)
        qp.first.hw.retransmits = qp.second.hw.retransmits = 1;
    const auto notes = eadm::diagnose(s);
    ASSERT_EQ(notes.size(), 1u);
    EXPECT_EQ(notes[0].severity, Severity::Note);
    EXPECT_EQ(notes[0].figures["qps"], 5000);
}

TEST(EadmDoctor, ManyAlikeAreCounted) {
    Snapshot s = healthy();
    s.adapters[0].qps.assign(5000, exampleQp(1, 100, 200));
    for (auto& qp : s.adapters[0].qps)
        waiting(qp);
    const auto findings = eadm::diagnose(s);
    ASSERT_EQ(findings.size(), 11u);
    EXPECT_EQ(findings.back().id, "stalled");
    EXPECT_EQ(findings.back().figures["more_qps"], 4990);
}

TEST(EadmDoctor, PartialIsNotHealthy) {
    Snapshot s = healthy();
    s.adapters[0].unseen.hiddenQps = 12;
    s.adapters[0].unseen.allQps = 40;
    auto findings = eadm::diagnose(s);
    EXPECT_EQ(eadm::worst(findings), Severity::Unknown);
    EXPECT_NE(findings[0].text.find("12 of 40 queue pairs belong to others"), std::string::npos);
    // A fault that was seen counts more.
    s.adapters[0].interface.up = false;
    findings = eadm::diagnose(s);
    EXPECT_EQ(eadm::worst(findings), Severity::Fault);
    EXPECT_EQ(findings.back().id, "not-examined");

    // Which counters the driver lacks is said.
    s = healthy();
    s.adapters[0].second = {};
    EXPECT_NE(eadm::diagnose(s)[0].text.find("cmdq_failed_cnt"), std::string::npos);
}

TEST(EadmDoctor, ThresholdsCount) {
    eadm::Thresholds limits;
    Snapshot s = healthy();
    s.adapters[0].qps[0].second.hw.retransmits = 4;
    limits.retransmissions_fault = 10;
    EXPECT_EQ(eadm::worst(eadm::diagnose(s, limits)), Severity::Warning);
    limits.retransmissions_warning = 10;
    EXPECT_EQ(eadm::worst(eadm::diagnose(s, limits)), Severity::Note);
    s = healthy();
    s.adapters[0].tcp = {{"10.0.0.1:1", "10.0.0.2:2", 0, 5'000'000}};
    limits.tcp_instead = 1e9;
    EXPECT_TRUE(eadm::diagnose(s, limits).empty());
}

TEST(EadmDoctor, WorstFirstAndJson) {
    Snapshot s = healthy();
    s.adapters[0].first.set(Counter::cm_refused_cnt, 1);
    s.adapters[0].second.set(Counter::cm_refused_cnt, 1);
    s.windowScaling = false;
    s.adapters[0].interface.up = false;
    const auto findings = eadm::diagnose(s);
    ASSERT_EQ(findings.size(), 3u);
    EXPECT_TRUE(std::ranges::is_sorted(findings, [](const auto& a, const auto& b) { return a.severity > b.severity; }));
    EXPECT_EQ(eadm::toJson(findings[0])["severity"], "fault");
    EXPECT_EQ(eadm::toJson(findings[0])["device"], "erdma_0");
    EXPECT_TRUE(eadm::toJson(findings[1])["device"].is_null());
}

} // namespace
