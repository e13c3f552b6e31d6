// SPDX-License-Identifier: GPL-2.0-or-later
#include "objects.h"

#include <arpa/inet.h>

#include <cstring>

#include <fmt/format.h>

namespace eadm {

namespace {

template <size_t N> std::string nameAt(const std::array<const char*, N>& names, uint32_t index) {
    return index < N ? names[index] : fmt::format("{}", index);
}

Json ownerJson(const erdma_info_owner& owner) {
    Json json;
    json["pid"] = owner.pid;
    json["uid"] = owner.uid;
    json["kernel"] = owner.kernel != 0;
    json["name"] = textOf(owner.name);
    return json;
}

std::string endText(std::span<const uint8_t, 16> address, uint16_t port) {
    const std::string text = addressText(address);
    return text.find(':') == std::string::npos ? fmt::format("{}:{}", text, port) : fmt::format("[{}]:{}", text, port);
}

template <typename Flag> Json namesOf(uint32_t bits, std::initializer_list<std::pair<Flag, const char*>> names) {
    Json list = Json::array();
    for (const auto& [bit, name] : names) {
        if ((bits & bit) != 0)
            list.push_back(name);
        bits &= ~bit;
    }
    if (bits != 0)
        list.push_back(fmt::format("{:#x}", bits));
    return list;
}

constexpr std::array<const char*, 5> kCongestionControls = {"newreno", "cubic", "hpcc_rtt", "hpcc_ecn", "hpcc_int"};

// A value that is only there when a bit of `known` says so.
template <typename Value> Json ifKnown(uint32_t known, uint32_t bit, Value value) {
    return (known & bit) != 0 ? Json(value) : Json();
}

Json hardwareJson(const erdma_hw_qp& hw) {
    Json json;
    json["sq_pi"] = hw.sq_pi;
    json["sq_ci"] = hw.sq_ci;
    json["rq_pi"] = hw.rq_pi;
    json["rq_ci"] = hw.rq_ci;
    json["last_sqe"] = hw.last_sqe;
    json["last_rqe"] = hw.last_rqe;
    json["send_cqes"] = hw.send_cqes;
    json["recv_cqes"] = hw.recv_cqes;
    json["tx_packets"] = hw.tx_packets;
    json["rx_packets"] = hw.rx_packets;
    json["error_drops"] = hw.error_drops;
    json["invalid_drops"] = hw.invalid_drops;
    json["retransmits"] = hw.retransmits;
    json["peer_qpn"] = hw.peer_qpn;
    json["fw_sq_pi"] = hw.fw_sq_pi;
    json["fw_sq_ci"] = hw.fw_sq_ci;
    json["fw_rq_ci"] = hw.fw_rq_ci;
    json["sq_flushing"] = hw.sq_flushing != 0;
    json["rq_flushing"] = hw.rq_flushing != 0;
    json["sq_flushed"] = hw.sq_flushed;
    json["rq_flushed"] = hw.rq_flushed;
    return json;
}

Json roceJson(const erdma_info_qp& e) {
    const auto& roce = e.roce;
    Json json;
    json["peer_qpn"] = roce.peer_qpn;
    json["sq_psn"] = ifKnown(e.known, ERDMA_KNOWN_PSN, roce.sq_psn);
    json["rq_psn"] = ifKnown(e.known, ERDMA_KNOWN_PSN, roce.rq_psn);
    json["path_mtu"] = roce.path_mtu >= 1 && roce.path_mtu <= 5 ? Json(128u << roce.path_mtu) : Json();
    json["timeout"] = roce.timeout;
    json["retries"] = roce.retries;
    json["rnr_retries"] = roce.rnr_retries;
    json["rnr_timer"] = roce.rnr_timer;
    json["gid_index"] = roce.gid_index;
    json["flow_label"] = roce.flow_label;
    json["traffic_class"] = roce.traffic_class;
    json["hop_limit"] = roce.hop_limit;
    json["service_level"] = roce.service_level;
    json["next_hop"] = macText(roce.mac);
    return json;
}

Json flowJson(const erdma_flow_qp& flow) {
    Json json;
    json["limit"] = limitName(flow.limit);
    json["starving"] = (flow.flags & ERDMA_FLOW_FLAG_STARVING) != 0;
    json["frame_bytes"] = flow.frame_bytes;
    json["window"] = flow.window;
    json["threshold"] = flow.threshold == UINT64_MAX ? Json() : Json(flow.threshold);
    json["flight"] = flow.flight;
    json["peer_window"] = flow.peer_window;
    json["rtt_us"] = flow.rtt_ns == 0 ? Json() : Json(static_cast<double>(flow.rtt_ns) / 1000);
    json["rtt_variation_us"] = flow.rtt_ns == 0 ? Json() : Json(static_cast<double>(flow.rtt_variation_ns) / 1000);
    json["timeout_us"] = static_cast<double>(flow.timeout_ns) / 1000;
    json["repeats"] = flow.repeats;
    json["recoveries"] = flow.recoveries;
    json["timeouts"] = flow.timeouts;
    json["not_ready"] = flow.not_ready;
    json["out_of_order"] = flow.out_of_order;
    for (uint32_t limit = 0; limit < ERDMA_LIMIT_COUNT; ++limit)
        json["ms"][limitName(limit)] = static_cast<double>(flow.spent_ns[limit]) / 1e6;
    json["ms_starved"] = static_cast<double>(flow.starved_ns) / 1e6;
    return json;
}

} // namespace

std::string addressText(std::span<const uint8_t, 16> address) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    static constexpr std::array<uint8_t, 12> mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
    const bool v4 = std::equal(mapped.begin(), mapped.end(), address.begin());
    inet_ntop(v4 ? AF_INET : AF_INET6, address.data() + (v4 ? 12 : 0), text.data(), text.size());
    return text.data();
}

std::string macText(std::span<const uint8_t, 6> mac) {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

std::string qpState(uint32_t state) {
    constexpr std::array roce{"RESET", "INIT", "RTR", "RTS", "SQD", "SQE", "ERROR"};
    if (state >= ERDMA_QP_STATE_ROCE && state - ERDMA_QP_STATE_ROCE < roce.size())
        return roce[state - ERDMA_QP_STATE_ROCE];
    return nameAt(std::array{"IDLE", "RTR", "RTS", "CLOSING", "TERMINATE", "ERROR"}, state);
}

std::string limitName(uint32_t limit) {
    return nameAt(std::array{"idle", "answers", "turn", "window", "peer_window", "loss", "peer_buffers", "requests"},
                  limit);
}

std::string cepState(uint32_t state) {
    if (state == ERDMA_CEP_STATE_LISTEN)
        return "LISTEN";
    return nameAt(std::array{"NEW", "CONNECTING", "WAIT_REPLY", "WAIT_REQUEST", "GOT_REQUEST", "RDMA", "CLOSED"},
                  state);
}

std::string dialect(uint32_t revision) {
    return revision == 129 ? "erdma" : revision == 0 ? "" : fmt::format("iwarp{}", revision);
}

std::string fallbackText(uint32_t fallback) {
    const uint32_t why = fallback & ~uint32_t{ERDMA_FALLBACK_KNOWN};
    const std::string what = why == ERDMA_FALLBACK_CLOSED ? "the peer closed the connection when it read another one"
                             : why == ERDMA_FALLBACK_REVISION ? "the peer answered another one in its own"
                                                              : "";
    if (what.empty())
        return what;
    return (fallback & ERDMA_FALLBACK_KNOWN) != 0 ? what + " (remembered from an earlier connection)" : what;
}

std::string detailText(uint32_t detail) {
    // RDMAP's opcodes (wire.md 4.1).
    static constexpr std::array<const char*, 16> messages = {"write",
                                                             "read",
                                                             "read",
                                                             "send",
                                                             "send",
                                                             "send",
                                                             "send",
                                                             "terminate",
                                                             "immediate data",
                                                             "immediate data",
                                                             "atomic",
                                                             "atomic",
                                                             "send with immediate",
                                                             "send with immediate",
                                                             "unknown",
                                                             "unknown"};
    if (detail == 0)
        return "";
    if ((detail & 0x10000) != 0)
        return fmt::format("the peer's dialect has no {}", messages[detail & 0xF]);
    if (detail == 0x2002)
        return "data came with a wrong CRC";
    return fmt::format("error {}/{}/{:02x}", detail >> 12, detail >> 8 & 0xF, detail & 0xFF);
}

std::string congestionControl(uint32_t number) { return nameAt(kCongestionControls, number); }

// As the verbs tools print it (adapter.md 4.15).
std::string firmwareText(uint32_t version) { return fmt::format("0.{}.{}", version >> 16, version & 0xFFFF); }

Json toJson(const erdma_info_device& e) {
    Json json;
    json["device"] = textOf(e.name);
    json["pci"] = textOf(e.pci);
    json["netdev"] = textOf(e.netdev);
    json["state"] = (e.flags & ERDMA_DEVICE_BROKEN) != 0 ? "broken" : (e.flags & ERDMA_DEVICE_UP) != 0 ? "up" : "down";
    json["mac"] = macText(e.mac);
    json["mtu"] = e.mtu;
    json["firmware"] = firmwareText(e.firmware);
    std::array<uint8_t, sizeof(e.guid)> guid{};
    std::memcpy(guid.data(), &e.guid, guid.size());
    json["guid"] = fmt::format("{:02x}{:02x}:{:02x}{:02x}:{:02x}{:02x}:{:02x}{:02x}", guid[0], guid[1], guid[2],
                               guid[3], guid[4], guid[5], guid[6], guid[7]);
    json["pci_id"] = fmt::format("{:04x}:{:04x}", e.pci_vendor, e.pci_device);
    json["pci_revision"] = e.pci_revision;
    json["protocol"] = nameAt(std::array{"iwarp", "rocev2"}, e.protocol);
    json["capabilities"] = namesOf<uint32_t>(e.capabilities, {{1u << 7, "atomic"},
                                                              {1u << 6, "query_qc"},
                                                              {1u << 5, "mtt_va"},
                                                              {1u << 4, "ipv6"},
                                                              {1u << 3, "extend_db"},
                                                              {1u << 8, "mpa_crc"},
                                                              {1u << 9, "rfc7306"},
                                                              {1u << 10, "check"},
                                                              {1u << 11, "flow"}});
    json["doorbells"] = {
        {"direct_groups", e.direct_groups}, {"exclusive_pages", e.exclusive_pages}, {"divided_slots", e.divided_slots}};
    json["vectors"] = e.vectors;
    json["completion_vectors"] = e.completion_vectors;
    json["cc"] = congestionControl(e.default_cc);
    json["cc_recommended"] = congestionControl(e.device_cc);
    json["objects"] = {{"qp", e.qps},       {"cq", e.cqs},   {"mr", e.mrs}, {"pd", e.pds},
                       {"ctx", e.contexts}, {"cep", e.ceps}, {"ah", e.ahs}};
    json["limits"] = {{"qp", e.max_qp},
                      {"cq", e.max_cq},
                      {"mr", e.max_mr},
                      {"pd", e.max_pd},
                      {"ctx", e.max_ctx},
                      {"cqe", e.max_cqe},
                      {"send_wr", e.max_send_wr},
                      {"recv_wr", e.max_recv_wr},
                      {"mr_bytes", e.max_mr_size},
                      {"ah", e.max_ah}};
    return json;
}

Json toJson(const erdma_info_qp& e) {
    const bool linked = (e.known & ERDMA_KNOWN_ADDRESSES) != 0;
    Json json;
    json["qp"] = e.number;
    json["state"] = qpState(e.state);
    json["failed"] = (e.flags & ERDMA_QP_FLAG_FAILED) != 0;
    json["local"] = linked ? Json(endText(e.link.own, e.link.own_port)) : Json();
    json["remote"] = linked ? Json(endText(e.link.peer, e.link.peer_port)) : Json();
    json["type"] = (e.flags & ERDMA_QP_FLAG_DATAGRAM) == 0 ? "rc" : e.number == 1 ? "gsi" : "ud";
    json["role"] = !linked || e.state >= ERDMA_QP_STATE_ROCE
                       ? Json()
                       : Json((e.flags & ERDMA_QP_FLAG_PASSIVE) != 0 ? "passive" : "active");
    json["owner"] = ownerJson(e.owner);
    json["pd"] = e.pd;
    json["send_cq"] = e.send_cq;
    json["recv_cq"] = e.recv_cq;
    json["cep"] = e.cep != 0 ? Json(e.cep) : Json();
    json["sq_depth"] = e.sq_depth;
    json["rq_depth"] = e.rq_depth;
    json["sq_pi"] = ifKnown(e.known, ERDMA_KNOWN_SQ_PI, e.sq_pi);
    json["sq_ci"] = ifKnown(e.known, ERDMA_KNOWN_SQ_CI, e.sq_ci);
    json["rq_pi"] = ifKnown(e.known, ERDMA_KNOWN_RQ_PI, e.rq_pi);
    json["rq_ci"] = ifKnown(e.known, ERDMA_KNOWN_RQ_CI, e.rq_ci);
    json["ird"] = ifKnown(e.known, ERDMA_KNOWN_DEPTH, e.ird);
    json["ord"] = ifKnown(e.known, ERDMA_KNOWN_DEPTH, e.ord);
    json["dialect"] = e.mpa_revision != 0 ? Json(dialect(e.mpa_revision)) : Json();
    json["crc"] = e.mpa_revision != 0 ? Json((e.flags & ERDMA_QP_FLAG_CRC) != 0) : Json();
    json["fallback"] = fallbackText(e.fallback).empty() ? Json() : Json(fallbackText(e.fallback));
    json["why"] = detailText(e.detail).empty() ? Json() : Json(detailText(e.detail));
    json["cc"] = congestionControl(e.cc);
    json["cookie"] = e.cookie;
    json["peer_cookie"] = linked ? Json(e.peer_cookie) : Json();
    json["age_ms"] = e.age_ms;
    json["hw"] = (e.known & ERDMA_KNOWN_HARDWARE) != 0 ? hardwareJson(e.hw) : Json();
    json["roce"] = (e.known & ERDMA_KNOWN_ROCE) != 0 ? roceJson(e) : Json();
    json["flow"] = (e.known & ERDMA_KNOWN_FLOW) != 0 ? flowJson(e.flow) : Json();
    return json;
}

Json toJson(const erdma_info_cq& e) {
    Json json;
    json["cq"] = e.number;
    json["depth"] = e.depth;
    json["eq"] = e.eq;
    json["ci"] = ifKnown(e.known, ERDMA_KNOWN_SQ_CI, e.ci);
    json["doorbells"] = e.owner.kernel != 0 ? Json(e.doorbells) : Json();
    json["events"] = e.events;
    json["skipped"] = e.skipped;
    json["nonsense"] = e.nonsense;
    json["age_ms"] = e.age_ms;
    json["owner"] = ownerJson(e.owner);
    json["hw"] = Json();
    if ((e.known & ERDMA_KNOWN_HARDWARE) != 0)
        json["hw"] = {{"pi", e.hw.pi},
                      {"enabled", e.hw.enabled != 0},
                      {"log_depth", e.hw.log_depth},
                      {"owner_bit", e.hw.owner_bit},
                      {"bad_doorbell_type", e.hw.bad_doorbell_type == 0 ? "duplicate" : "out_of_order"},
                      {"bad_doorbell_ci", e.hw.bad_doorbell_ci},
                      {"out_of_order_doorbells", e.hw.out_of_order},
                      {"duplicate_doorbells", e.hw.duplicates}};
    return json;
}

Json toJson(const erdma_info_eq& e) {
    Json json;
    json["eq"] = e.number;
    json["kind"] = e.number == 0 ? "async" : e.number == 1 ? "command" : "completion";
    json["depth"] = e.depth;
    json["ci"] = ifKnown(e.known, ERDMA_KNOWN_SQ_CI, e.ci);
    json["vector"] = e.vector;
    json["irq"] = e.irq;
    json["cpu"] = e.cpu == ~0u ? Json() : Json(e.cpu);
    json["events"] = e.events;
    json["bad_events"] = e.bad_events;
    json["irq_name"] = textOf(e.irq_name);
    json["hw"] = Json();
    if ((e.known & ERDMA_KNOWN_HARDWARE) != 0)
        json["hw"] = {{"depth", e.hw.depth},
                      {"vector", e.hw.vector},
                      {"suppressed", e.hw.suppressed != 0},
                      {"head", e.hw.head},
                      {"tail", e.hw.tail},
                      {"head_owner", e.hw.head_owner},
                      {"tail_owner", e.hw.tail_owner},
                      {"overflow", e.hw.overflow != 0}};
    return json;
}

Json toJson(const erdma_info_mr& e) {
    Json json;
    json["mr"] = e.number;
    json["type"] = nameAt(std::array{"normal", "fast", "dma"}, e.type);
    json["lkey"] = fmt::format("{:#010x}", e.lkey);
    json["rkey"] = fmt::format("{:#010x}", e.rkey);
    json["pd"] = e.pd;
    json["access"] = namesOf<uint32_t>(e.access, {{1u, "local_write"},
                                                  {2u, "remote_write"},
                                                  {4u, "remote_read"},
                                                  {8u, "remote_atomic"},
                                                  {16u, "mw_bind"},
                                                  {32u, "zero_based"},
                                                  {64u, "on_demand"},
                                                  {128u, "hugetlb"},
                                                  {1u << 20, "relaxed_ordering"}});
    json["start"] = fmt::format("{:#x}", e.start);
    json["length"] = e.length;
    json["page_shift"] = e.page_shift;
    json["level"] = e.level;
    json["pages"] = e.pages;
    json["age_ms"] = e.age_ms;
    json["owner"] = ownerJson(e.owner);
    return json;
}

Json toJson(const erdma_info_pd& e) {
    Json json;
    json["pd"] = e.number;
    json["users"] = e.users;
    json["age_ms"] = e.age_ms;
    json["owner"] = ownerJson(e.owner);
    return json;
}

Json toJson(const erdma_info_ctx& e) {
    Json json;
    json["ctx"] = e.number;
    json["doorbell"] = nameAt(std::array{"exclusive", "slot", "shared"}, e.doorbell_type);
    json["doorbell_index"] = e.doorbell_index;
    json["sq_page"] = e.sq_page;
    json["rq_page"] = e.rq_page;
    json["cq_page"] = e.cq_page;
    json["age_ms"] = e.age_ms;
    json["owner"] = ownerJson(e.owner);
    return json;
}

Json toJson(const erdma_info_cep& e) {
    const bool linked = (e.known & ERDMA_KNOWN_ADDRESSES) != 0;
    const bool listener = e.state == ERDMA_CEP_STATE_LISTEN;
    Json json;
    json["cep"] = e.number;
    json["state"] = cepState(e.state);
    json["role"] = e.passive != 0 ? "passive" : "active";
    json["local"] = linked ? Json(endText(e.link.own, e.link.own_port)) : Json();
    json["remote"] = linked && !listener ? Json(endText(e.link.peer, e.link.peer_port)) : Json();
    json["qp"] = e.qp != 0 ? Json(e.qp) : Json();
    json["ird"] = ifKnown(e.known, ERDMA_KNOWN_DEPTH, e.ird);
    json["ord"] = ifKnown(e.known, ERDMA_KNOWN_DEPTH, e.ord);
    json["dialect"] = e.mpa_revision != 0 ? Json(dialect(e.mpa_revision)) : Json();
    json["fallback"] = fallbackText(e.fallback).empty() ? Json() : Json(fallbackText(e.fallback));
    json["backlog"] = listener ? Json(e.backlog) : Json();
    json["pending"] = listener ? Json(e.pending) : Json();
    json["age_ms"] = e.age_ms;
    json["state_age_ms"] = e.state_age_ms;
    json["owner"] = ownerJson(e.owner);
    return json;
}

Json toJson(const erdma_info_counter& e) {
    Json json;
    json["name"] = textOf(e.name);
    json["alias"] = textOf(e.alias);
    json["group"] = nameAt(std::array{"hw", "cmdq", "eq", "cm", "verbs"}, e.group);
    json["value"] = e.value;
    json["help"] = textOf(e.help);
    return json;
}

Json toJson(const erdma_info_conf& e) {
    const bool known = (e.flags & ERDMA_CONF_FLAG_UNKNOWN) == 0;
    const std::string name = textOf(e.name);
    Json json;
    json["name"] = name;
    json["value"] = known ? Json(e.value) : Json();
    json["number"] = json["value"];
    json["least"] = e.least;
    json["most"] = e.most;
    // What the numbers are called, from 0 on.
    json["names"] = Json::array();
    if (name == "cc") {
        for (uint64_t i = 0; i <= e.most && i < kCongestionControls.size(); ++i)
            json["names"].push_back(kCongestionControls[i]);
        if (known && e.value < json["names"].size())
            json["value"] = json["names"][e.value];
    }
    json["global"] = (e.flags & ERDMA_CONF_FLAG_GLOBAL) != 0;
    json["help"] = textOf(e.help);
    return json;
}

const std::vector<Column>& columnsOf(erdma_kind kind) {
    static const std::vector<Column> columns[ERDMA_KIND_COUNT] = {
        {{"device", "DEVICE"},
         {"pci", "PCI"},
         {"netdev", "NETDEV"},
         {"state", "STATE"},
         {"mac", "MAC"},
         {"mtu", "MTU"},
         {"protocol", "PROTOCOL"},
         {"firmware", "FIRMWARE"},
         {"completion_vectors", "VECTORS"},
         {"objects.qp", "QPS"},
         {"objects.cq", "CQS"},
         {"objects.mr", "MRS"}},
        {{"qp", "QP"},
         {"state", "STATE"},
         {"local", "LOCAL"},
         {"remote", "REMOTE"},
         {"role", "ROLE"},
         {"sq_pi", "SQ_PI"},
         {"rq_pi", "RQ_PI"},
         {"send_cq", "SCQ"},
         {"recv_cq", "RCQ"},
         {"owner.pid", "PID"},
         {"owner.name", "OWNER"}},
        {{"cq", "CQ"},
         {"depth", "DEPTH"},
         {"eq", "EQ"},
         {"ci", "CI"},
         {"events", "EVENTS"},
         {"owner.pid", "PID"},
         {"owner.name", "OWNER"}},
        {{"eq", "EQ"},
         {"kind", "KIND"},
         {"depth", "DEPTH"},
         {"ci", "CI"},
         {"vector", "VECTOR"},
         {"irq", "IRQ"},
         {"cpu", "CPU"},
         {"events", "EVENTS"},
         {"bad_events", "BAD"}},
        {{"mr", "MR"},
         {"type", "TYPE"},
         {"rkey", "RKEY"},
         {"pd", "PD"},
         {"start", "START"},
         {"length", "LENGTH"},
         {"access", "ACCESS"},
         {"owner.pid", "PID"},
         {"owner.name", "OWNER"}},
        {{"pd", "PD"}, {"users", "USERS"}, {"owner.pid", "PID"}, {"owner.name", "OWNER"}},
        {{"ctx", "CTX"},
         {"doorbell", "DOORBELL"},
         {"doorbell_index", "INDEX"},
         {"owner.pid", "PID"},
         {"owner.name", "OWNER"}},
        {{"cep", "CEP"},
         {"state", "STATE"},
         {"role", "ROLE"},
         {"local", "LOCAL"},
         {"remote", "REMOTE"},
         {"qp", "QP"},
         {"state_age_ms", "IN_STATE_MS"},
         {"owner.pid", "PID"},
         {"owner.name", "OWNER"}},
        {{"name", "COUNTER"}, {"value", "VALUE"}},
        {{"name", "SETTING"}, {"value", "VALUE"}, {"least", "LEAST"}, {"most", "MOST"}, {"help", "MEANING"}},
    };
    return columns[kind];
}

} // namespace eadm
