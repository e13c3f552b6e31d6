// SPDX-License-Identifier: GPL-2.0-or-later
// eadm doctor on made-up machines: each fault has its finding, and a healthy one has none.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "doctor.h"

namespace {

using eadm::Severity;
using eadm::Snapshot;

eadm::WatchedQp exampleQp(uint32_t number, uint16_t port, uint16_t peerPort) {
    eadm::WatchedQp qp;
    qp.second.number = number;
    qp.second.known = ERDMA_KNOWN_ADDRESSES | ERDMA_KNOWN_HARDWARE | ERDMA_KNOWN_DEPTH;
    qp.second.state = 2;
    qp.second.link.own_port = port;
    qp.second.link.peer_port = peerPort;
    qp.second.hw.sq_pi = qp.second.hw.sq_ci = 10;
    qp.second.hw.rq_pi = 20;
    qp.second.hw.rq_ci = 10;
    qp.pathMtu = 1500;
    qp.first = qp.second;
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
    adapter.device.mtu = 1500;
    adapter.device.max_qp = 1000;
    adapter.interface = {.exists = true, .up = true, .carrier = true, .mtu = 1500, .addresses = 1, .bytesPerSecond = 0};
    adapter.vectors = {{.first = {}, .second = {}, .cpus = "0"}, {.first = {}, .second = {}, .cpus = "1"}};
    adapter.qps = {exampleQp(1, 100, 200), exampleQp(2, 200, 100)};
    snapshot.adapters = {adapter};
    return snapshot;
}

// Exactly this finding, nothing else.
void expectOnly(const Snapshot& snapshot, const std::string& id, Severity severity) {
    const auto findings = eadm::diagnose(snapshot);
    ASSERT_EQ(findings.size(), 1u) << id;
    EXPECT_EQ(findings[0].id, id);
    EXPECT_EQ(findings[0].severity, severity) << id;
    EXPECT_TRUE(findings[0].text.ends_with('.') && findings[0].advice.ends_with('.')) << findings[0].text;
}

TEST(EadmDoctor, Healthy) { EXPECT_TRUE(eadm::diagnose(healthy()).empty()); }

TEST(EadmDoctor, Machine) {
    expectOnly({}, "no-adapter", Severity::Fault);
    Snapshot s;
    s.functions = {"0000:01:00.0"};
    expectOnly(s, "driver-not-loaded", Severity::Fault);
    s = healthy();
    s.unbound = {"0000:02:00.0"};
    expectOnly(s, "not-bound", Severity::Fault);
    s = healthy();
    s.missingNodes = {"/dev/infiniband/rdma_cm"};
    expectOnly(s, "modules-missing", Severity::Fault);
    s = healthy();
    s.windowScaling = false;
    expectOnly(s, "small-window", Severity::Warning);
    s = healthy();
    s.receiveWindow = 65536;
    expectOnly(s, "small-window", Severity::Warning);
}

TEST(EadmDoctor, DeviceAndInterface) {
    Snapshot s = healthy();
    s.adapters[0].device.flags = ERDMA_DEVICE_BROKEN;
    expectOnly(s, "device-broken", Severity::Fault);
    s = healthy();
    s.adapters[0].device.qps = 950;
    expectOnly(s, "limit-reached", Severity::Warning);
    s = healthy();
    s.adapters[0].device.netdev[0] = 0;
    expectOnly(s, "not-paired", Severity::Fault);
    s = healthy();
    s.adapters[0].interface.up = false;
    expectOnly(s, "interface-down", Severity::Fault);
    s = healthy();
    s.adapters[0].interface.carrier = false;
    expectOnly(s, "interface-down", Severity::Fault);
    s = healthy();
    s.adapters[0].interface.addresses = 0;
    expectOnly(s, "no-address", Severity::Fault);
    s = healthy();
    s.adapters[0].device.mtu = 9000;
    expectOnly(s, "mtu-mismatch", Severity::Warning);
    s = healthy();
    s.adapters[0].qps[0].pathMtu = 1400;
    expectOnly(s, "mtu-mismatch", Severity::Warning);
}

TEST(EadmDoctor, Counters) {
    struct Case {
        const char *counter, *id;
        Severity past, now;
    };
    constexpr Case cases[] = {
        {"cmdq_timeout_cnt", "command-timeout", Severity::Fault, Severity::Fault},
        {"cmdq_failed_cnt", "command-failed", Severity::Warning, Severity::Fault},
        {"cmdq_rescued_cnt", "lost-interrupts", Severity::Warning, Severity::Warning},
        {"eq_rescued_cnt", "lost-interrupts", Severity::Warning, Severity::Warning},
        {"verbs_reg_mr_failed_cnt", "registration-failed", Severity::Warning, Severity::Warning},
        {"cm_refused_cnt", "connection-refused", Severity::Note, Severity::Warning},
        {"cm_timeout_cnt", "connection-timeout", Severity::Note, Severity::Warning},
        {"cm_rejected_cnt", "connection-rejected", Severity::Note, Severity::Warning},
        {"cm_bad_requests_cnt", "bad-requests", Severity::Note, Severity::Warning},
        {"qp_fatal_events_cnt", "qp-failed", Severity::Note, Severity::Note},
    };
    for (const Case& one : cases) {
        Snapshot s = healthy();
        s.adapters[0].second.counters[one.counter] = 5;
        expectOnly(s, one.id, one.now);
        s.adapters[0].first.counters[one.counter] = 5;
        expectOnly(s, one.id, one.past);
    }
    for (const char* name : {"tx_disable_drop_cnt", "rx_disable_drop_cnt"}) {
        Snapshot s = healthy();
        s.adapters[0].second.counters[name] = 1;
        expectOnly(s, "drops", Severity::Fault);
    }
    Snapshot s = healthy();
    s.adapters[0].second.counters["tx_bps_limit_drop_cnt"] = 1;
    expectOnly(s, "rate-limited", Severity::Warning);
}

TEST(EadmDoctor, QueuePairs) {
    Snapshot s = healthy();
    s.adapters[0].qps[0].second.hw.retransmits = 3;
    expectOnly(s, "retransmissions", Severity::Fault);
    s.adapters[0].qps[0].first.hw.retransmits = 3;
    expectOnly(s, "retransmissions", Severity::Note);

    // Work that waits, and a peer here without buffers; then a peer elsewhere.
    s = healthy();
    auto& qps = s.adapters[0].qps;
    qps[0].first.hw.sq_pi = qps[0].second.hw.sq_pi = 15;
    qps[1].first.hw.rq_pi = qps[1].second.hw.rq_pi = 10;
    expectOnly(s, "no-receive-buffers", Severity::Fault);
    qps.pop_back();
    expectOnly(s, "stalled", Severity::Warning);
    qps[0].second.hw.sq_ci = 11;
    EXPECT_TRUE(eadm::diagnose(s).empty());

    s = healthy();
    s.adapters[0].qps[0].second.ord = 2;
    s.adapters[0].qps[0].waiting = {"READ", "READ", "READ_INV"};
    expectOnly(s, "read-depth", Severity::Warning);
    s.adapters[0].qps[0].second.ord = 3;
    EXPECT_TRUE(eadm::diagnose(s).empty());
}

TEST(EadmDoctor, InterruptsSetupAndOtherWays) {
    Snapshot s = healthy();
    s.adapters[0].vectors[1].cpus = "0";
    expectOnly(s, "interrupts-not-balanced", Severity::Warning);
    s = healthy();
    s.adapters[0].vectors[0].second.events = 5000;
    expectOnly(s, "interrupts-not-balanced", Severity::Warning);

    s = healthy();
    erdma_info_cep cep{};
    cep.state = 1;
    cep.state_age_ms = 9000;
    s.adapters[0].ceps = {cep};
    expectOnly(s, "slow-setup", Severity::Warning);
    s.adapters[0].ceps[0].state = 5;
    EXPECT_TRUE(eadm::diagnose(s).empty());

    s = healthy();
    s.adapters[0].others = {{"rxe0", 0, "eth0"}};
    expectOnly(s, "other-rdma-device", Severity::Warning);
    s.adapters[0].others[0].sent = 100;
    expectOnly(s, "other-rdma-device", Severity::Fault);

    s = healthy();
    s.adapters[0].interface.bytesPerSecond = 5'000'000;
    s.adapters[0].tcpConnections = 2;
    expectOnly(s, "tcp-instead", Severity::Warning);
    s.adapters[0].second.counters["tx_bytes_cnt"] = 1;
    EXPECT_TRUE(eadm::diagnose(s).empty());
}

TEST(EadmDoctor, WorstFirstAndJson) {
    Snapshot s = healthy();
    s.adapters[0].second.counters["cm_refused_cnt"] = s.adapters[0].first.counters["cm_refused_cnt"] = 1;
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
