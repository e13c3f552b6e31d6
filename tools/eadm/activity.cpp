// SPDX-License-Identifier: GPL-2.0-or-later
#include "activity.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "commands.h"
#include "decode.h"
#include "objects.h"

namespace eadm {

namespace {

constexpr size_t kMostAsked = 256; // queue pairs of an adapter, in one look

// What is added up for a program or an adapter.
constexpr const char* kSums[] = {"posted_blocks", "posted_receives", "tx_packets",  "rx_packets",      "outstanding",
                                 "reads",         "receives",        "retransmits", "retransmits_rate"};

const erdma_info_qp* findQp(const Sample& sample, uint32_t number) {
    const auto at = std::ranges::lower_bound(sample.qps, number, {}, &erdma_info_qp::number);
    return at != sample.qps.end() && at->number == number ? &*at : nullptr;
}

// The same queue pair earlier; a younger one has taken over the number of its predecessor.
const erdma_info_qp* earlier(const Sample& before, const erdma_info_qp& qp) {
    const erdma_info_qp* old = findQp(before, qp.number);
    return old && qp.age_ms >= old->age_ms ? old : nullptr;
}

const DeviceLook* earlier(const Activity& before, const DeviceLook& look) {
    const auto at = std::ranges::find_if(
        before, [&](const DeviceLook& one) { return textOf(one.device.pci) == textOf(look.device.pci); });
    return at != before.end() ? &*at : nullptr;
}

bool asked(const erdma_info_qp& qp) { return (qp.known & ERDMA_KNOWN_HARDWARE) != 0; }

uint32_t moved(const Sample& before, const erdma_info_qp& qp) {
    const erdma_info_qp* old = earlier(before, qp);
    if (!old)
        return 0;
    return uint32_t{static_cast<uint16_t>(qp.sq_pi - old->sq_pi)} + static_cast<uint16_t>(qp.rq_pi - old->rq_pi);
}

void askAbout(const Driver& driver, DeviceLook& look, const Sample& before, bool mayDump) {
    std::vector<std::pair<uint32_t, erdma_info_qp*>> wanted;
    for (erdma_info_qp& qp : look.sample.qps)
        if ((qp.known & ERDMA_KNOWN_ADDRESSES) != 0)
            wanted.emplace_back(moved(before, qp), &qp);
    std::ranges::stable_sort(wanted, [](const auto& a, const auto& b) { return a.first > b.first; });
    wanted.resize(std::min(wanted.size(), kMostAsked));
    for (const auto& [amount, qp] : wanted) {
        const uint32_t device = look.device.device;
        const auto answer = driver.find<erdma_info_qp>(ERDMA_KIND_QP, device, qp->number);
        if (!answer || answer->age_ms < qp->age_ms || !asked(*answer))
            continue; // it is gone, or the adapter tells nothing
        qp->hw = answer->hw;
        qp->known |= ERDMA_KNOWN_HARDWARE;
        if (!mayDump)
            continue;
        try {
            const auto waiting = waitingOperations(driver, device, *qp);
            look.reads[qp->number] = static_cast<uint32_t>(std::ranges::count_if(
                waiting, [](const std::string& op) { return op.starts_with("READ") || op.starts_with("ATOMIC"); }));
        } catch (const Error&) {
            // it was destroyed in between
        }
    }
}

double rounded(double value) { return std::round(value * 10) / 10; }

Json perSecond(double amount, double seconds) { return seconds > 0 ? Json(rounded(amount / seconds)) : Json(0.0); }

Json connectionRow(const DeviceLook& before, const DeviceLook& now, const erdma_info_qp& qp) {
    const Json shown = toJson(qp);
    const double seconds = now.sample.at - before.sample.at;
    const erdma_info_qp* old = earlier(before.sample, qp);
    Json row;
    row["device"] = textOf(now.device.name);
    for (const char* name : {"qp", "owner", "state", "local", "remote"})
        row[name] = shown.at(name);
    const auto grown = [&](uint16_t erdma_info_qp::*index, uint32_t bit) {
        const bool both = old && (old->known & qp.known & bit) != 0;
        return both ? perSecond(static_cast<uint16_t>(qp.*index - old->*index), seconds) : Json(0.0);
    };
    row["posted_blocks"] = grown(&erdma_info_qp::sq_pi, ERDMA_KNOWN_SQ_PI);
    row["posted_receives"] = grown(&erdma_info_qp::rq_pi, ERDMA_KNOWN_RQ_PI);
    // These counters have 16 bits: when the adapter as a whole did more, nobody knows how often they wrapped.
    const auto packets = [&](uint16_t erdma_hw_qp::*count, Counter all) {
        const uint64_t whole = now.sample.counters[all] - before.sample.counters[all];
        if (!old || !asked(*old) || !asked(qp) || whole > UINT16_MAX)
            return Json();
        return perSecond(static_cast<uint16_t>(qp.hw.*count - old->hw.*count), seconds);
    };
    row["tx_packets"] = packets(&erdma_hw_qp::tx_packets, Counter::tx_packets_cnt);
    row["rx_packets"] = packets(&erdma_hw_qp::rx_packets, Counter::rx_packets_cnt);
    const bool known = asked(qp);
    row["outstanding"] = known ? Json(static_cast<uint16_t>(qp.hw.sq_pi - qp.hw.sq_ci)) : Json();
    const auto reads = now.reads.find(qp.number);
    row["reads"] = reads != now.reads.end() ? Json(reads->second) : Json();
    row["receives"] = known ? Json(static_cast<uint16_t>(qp.hw.rq_pi - qp.hw.rq_ci)) : Json();
    row["retransmits"] = known ? Json(qp.hw.retransmits) : Json();
    const bool both = known && old && asked(*old) && qp.hw.retransmits >= old->hw.retransmits;
    row["retransmits_rate"] = both ? perSecond(qp.hw.retransmits - old->hw.retransmits, seconds) : Json();
    return row;
}

// What is not known of one is left out of the sum; nothing known makes nothing.
void addUp(Json& sum, const Json& row) {
    for (const char* name : kSums) {
        if (row.at(name).is_null())
            continue;
        Json& value = sum[name];
        if (row.at(name).is_number_float())
            value = rounded((value.is_null() ? 0.0 : value.get<double>()) + row.at(name).get<double>());
        else
            value = (value.is_null() ? uint64_t{0} : value.get<uint64_t>()) + row.at(name).get<uint64_t>();
    }
}

// "RTS", or "3 RTS, 1 ERROR".
std::string statesText(const std::map<std::string, uint64_t>& states) {
    if (states.size() == 1)
        return states.begin()->first;
    std::string text;
    for (const auto& [state, count] : states)
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, state);
    return text;
}

Json processRows(const Json& connections) {
    struct Program {
        Json row;
        std::map<std::string, uint64_t> states;
    };
    std::map<std::pair<uint64_t, std::string>, Program> programs;
    for (const Json& one : connections) {
        const Json& owner = one.at("owner");
        Program& program = programs[{owner.at("pid").get<uint64_t>(), owner.at("name").get<std::string>()}];
        if (program.row.is_null()) {
            program.row = emptyRow(Group::Process);
            program.row["owner"] = owner;
        }
        program.row["qps"] = program.row["qps"].get<uint64_t>() + 1;
        ++program.states[one.at("state").get<std::string>()];
        addUp(program.row, one);
    }
    Json rows = Json::array();
    for (auto& [key, program] : programs) {
        program.row["state"] = statesText(program.states);
        rows.push_back(std::move(program.row));
    }
    return rows;
}

Json adapterRow(const DeviceLook& before, const DeviceLook& now, const Json& connections) {
    Json row = emptyRow(Group::Adapter);
    row["device"] = textOf(now.device.name);
    row["state"] = toJson(now.device).at("state");
    row["qps"] = now.device.qps;
    for (const Json& one : connections)
        if (one.at("device") == row["device"])
            addUp(row, one);
    // The adapter's own counters know more than the queue pairs that may be seen.
    const Json rates = deviceRates(before.sample, now.sample);
    for (const auto& [name, value] : rates.items())
        row[name] = value;
    return row;
}

} // namespace

Group groupNamed(const std::string& word) {
    for (const Group group : {Group::Connection, Group::Process, Group::Adapter})
        if (word == nameOf(group))
            return group;
    throw Error(Exit::Usage, fmt::format("'{}' is no way to group; there are connection, process and adapter", word));
}

std::string_view nameOf(Group group) {
    return group == Group::Connection ? "connection" : group == Group::Process ? "process" : "adapter";
}

Activity lookAtActivity(const Driver& driver, const std::string& device, const Activity& before, bool mayDump) {
    auto devices = devicesOf(driver);
    if (!device.empty() || devices.empty())
        devices = {chooseDevice(driver, device)};
    Activity activity;
    for (const auto& one : devices) {
        DeviceLook look;
        look.device = one;
        look.sample = takeSample(driver, one.device);
        const DeviceLook* old = earlier(before, look);
        askAbout(driver, look, old ? old->sample : Sample{}, mayDump);
        activity.push_back(std::move(look));
    }
    return activity;
}

Json emptyRow(Group group) {
    Json row;
    if (group != Group::Process)
        row["device"] = "";
    if (group == Group::Connection)
        row["qp"] = 0;
    if (group != Group::Adapter)
        row["owner"] = toJson(erdma_info_qp{}).at("owner");
    row["state"] = "";
    if (group == Group::Connection)
        row["local"] = row["remote"] = Json();
    else
        row["qps"] = uint64_t{0};
    if (group == Group::Adapter)
        row.update(deviceRates({}, {}));
    for (const char* name : kSums)
        if (!row.contains(name))
            row[name] = Json();
    return row;
}

Json activityRows(const Activity& before, const Activity& now, Group group) {
    Json connections = Json::array();
    for (const DeviceLook& look : now)
        if (const DeviceLook* old = earlier(before, look))
            for (const auto& qp : look.sample.qps)
                connections.push_back(connectionRow(*old, look, qp));
    if (group == Group::Connection)
        return connections;
    if (group == Group::Process)
        return processRows(connections);
    Json rows = Json::array();
    for (const DeviceLook& look : now)
        if (const DeviceLook* old = earlier(before, look))
            rows.push_back(adapterRow(*old, look, connections));
    return rows;
}

const std::vector<Column>& columnsOf(Group group) {
    using Columns = std::vector<Column>;
    const auto joined = [](std::initializer_list<Columns> parts) {
        Columns all;
        for (const Columns& part : parts)
            all.insert(all.end(), part.begin(), part.end());
        return all;
    };
    static const Columns owner = {{"owner.pid", "PID"}, {"owner.name", "PROGRAM"}};
    static const Columns posted = {{"posted_blocks", "BLOCKS/S", true}, {"posted_receives", "RECV/S", true}};
    static const Columns packets = {{"tx_packets", "TX/S", true}, {"rx_packets", "RX/S", true}};
    static const Columns waiting = {{"outstanding", "OUT"},
                                    {"reads", "READS"},
                                    {"receives", "RQ"},
                                    {"retransmits", "RETX"},
                                    {"retransmits_rate", "RETX/S"}};
    static const Columns connections = joined({{{"device", "DEVICE"}, {"qp", "QP"}},
                                               owner,
                                               {{"state", "STATE"}},
                                               posted,
                                               packets,
                                               waiting,
                                               {{"remote", "REMOTE"}}});
    static const Columns processes =
        joined({owner, {{"owner.uid", "UID"}, {"qps", "QPS"}, {"state", "STATE"}}, posted, packets, waiting});
    static const Columns adapters =
        joined({{{"device", "DEVICE"},
                 {"state", "STATE"},
                 {"qps", "QPS"},
                 {"tx_bytes", "TX_BYTES/S", true},
                 {"rx_bytes", "RX_BYTES/S", true}},
                packets,
                {{"tx_requests", "REQ/S", true}, {"completion_events", "EVENTS/S", true}, {"drops", "DROPS/S"}},
                waiting});
    return group == Group::Connection ? connections : group == Group::Process ? processes : adapters;
}

std::string_view usualOrder(Group group) { return group == Group::Adapter ? "device" : "-posted_blocks"; }

} // namespace eadm
