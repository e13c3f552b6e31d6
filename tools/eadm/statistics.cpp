// SPDX-License-Identifier: GPL-2.0-or-later
// eadm stat: counters once, or their rates again and again.
#include <algorithm>

#include <sys/ioctl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "commands.h"
#include "objects.h"
#include "rates.h"
#include "recording.h"

namespace eadm {

namespace {

Json countersJson(const Driver& driver, uint32_t device, bool whole) {
    Json json = whole ? Json::array() : Json::object();
    for (const auto& counter : driver.list<erdma_info_counter>(ERDMA_KIND_COUNTER, device).entries) {
        if (whole)
            json.push_back(toJson(counter));
        else
            json[textOf(counter.name)] = counter.value;
    }
    return json;
}

size_t rowsThatFit(bool terminal) {
    winsize size{};
    constexpr size_t head = 12;
    if (!terminal || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row < head + 3)
        return 20;
    return size.ws_row - head;
}

// What the adapter knows of the few connected queue pairs that are shown: each question is a command to it.
void askForDetails(const Driver& driver, uint32_t device, Json& rows) {
    for (Json& row : rows) {
        std::optional<erdma_info_qp> qp;
        if (!row["remote"].is_null())
            qp = driver.find<erdma_info_qp>(ERDMA_KIND_QP, device, row["qp"].get<uint64_t>());
        const bool known = qp && (qp->known & ERDMA_KNOWN_HARDWARE) != 0;
        row["outstanding"] = known ? Json(static_cast<uint16_t>(qp->hw.sq_pi - qp->hw.sq_ci)) : Json();
        row["receives"] = known ? Json(static_cast<uint16_t>(qp->hw.rq_pi - qp->hw.rq_ci)) : Json();
        row["retransmits"] = known ? Json(qp->hw.retransmits) : Json();
    }
}

std::string liveText(const Json& round) {
    const Json& rates = round["rates"];
    const auto bits = [&](const char* name) { return scaled(rates[name].get<double>() * 8); };
    const auto rate = [&](const char* name) { return scaled(rates[name].get<double>()); };
    std::string text = fmt::format(
        "{}  {}  sent {}bit/s {}pkt/s {}req/s  received {}bit/s {}pkt/s  drops {}/s  events {}/s\n",
        plain(round["time"]), plain(round["device"]), bits("tx_bytes"), rate("tx_packets"), rate("tx_requests"),
        bits("rx_bytes"), rate("rx_packets"), rate("drops"), rate("completion_events"));
    if (round["qps"].empty())
        return text;
    static const std::vector<Column> columns = {{"qp", "QP"},
                                                {"posted_blocks", "SEND_BLOCKS/S"},
                                                {"posted_receives", "RECVS/S"},
                                                {"outstanding", "OUT"},
                                                {"receives", "RQ"},
                                                {"retransmits", "RETX"},
                                                {"state", "STATE"},
                                                {"remote", "REMOTE"},
                                                {"owner", "OWNER"}};
    return text + table(columns, round["qps"]);
}

// Between the two looks of a snapshot.
Exit recordedRates(const Options& options) {
    const auto recording = std::make_shared<Recording>(options.from);
    const Driver first(recording, 0), second(recording, 1);
    Options lines = options;
    lines.line = true;
    for (const auto& device : devicesOf(second)) {
        if (!options.device.empty() && !isDevice(device, options.device))
            continue;
        Sample before = takeSample(first, device.device), now = takeSample(second, device.device);
        before.at = recording->at(0);
        now.at = recording->at(1);
        Json json;
        json["device"] = textOf(device.name);
        json["time"] = recording->json().value("time", "");
        json["seconds"] = now.at - before.at;
        json["rates"] = deviceRates(before, now);
        json["qps"] = queuePairRates(before, now, rowsThatFit(false));
        askForDetails(second, device.device, json["qps"]);
        if (options.json)
            printJson(lines, std::move(json));
        else
            print(liveText(json));
    }
    return Exit::Ok;
}

Exit liveStatistics(const Options& options, const StatOptions& stat) {
    if (!options.from.empty())
        return recordedRates(options);
    const Driver driver;
    auto devices = devicesOf(driver);
    if (!options.device.empty() || devices.empty())
        devices = {chooseDevice(driver, options.device)};
    const bool clear = options.terminal && !options.json;
    Options lines = options;
    lines.line = true;
    stopOnSignals();

    std::vector<Sample> before;
    for (const auto& device : devices)
        before.push_back(takeSample(driver, device.device));
    for (uint64_t round = 0; stat.rounds == 0 || round < stat.rounds; ++round) {
        const double now = steadySeconds();
        sleepFor(before.front().at + stat.seconds - now);
        if (stopped())
            break;
        std::string text;
        for (size_t i = 0; i < devices.size(); ++i) {
            const uint32_t device = devices[i].device;
            Sample fresh = takeSample(driver, device);
            Json json;
            json["device"] = textOf(devices[i].name);
            json["time"] = timeText();
            json["seconds"] = fresh.at - before[i].at;
            json["rates"] = deviceRates(before[i], fresh);
            json["qps"] = queuePairRates(before[i], fresh, rowsThatFit(clear) / devices.size());
            askForDetails(driver, device, json["qps"]);
            if (options.json)
                printJson(lines, std::move(json));
            else
                text += liveText(json);
            before[i] = std::move(fresh);
        }
        if (!options.json)
            print((clear ? "\033[H\033[J" : "") + text);
    }
    return Exit::Ok;
}

} // namespace

Exit showStatistics(const Options& options, const StatOptions& stat) {
    if (stat.live)
        return liveStatistics(options, stat);
    const Driver driver(options.from);
    auto devices = devicesOf(driver);
    if (!options.device.empty() || devices.empty())
        devices = {chooseDevice(driver, options.device)};
    Json json = Json::array();
    for (const auto& device : devices) {
        Json one;
        one["device"] = textOf(device.name);
        one["pci"] = textOf(device.pci);
        one["counters"] = countersJson(driver, device.device, stat.explain);
        json.push_back(one);
    }
    if (options.json) {
        printJson(options, {{"devices", json}});
        return Exit::Ok;
    }
    for (const Json& one : json) {
        if (json.size() > 1)
            print(fmt::format("{} ({})\n", plain(one["device"]), plain(one["pci"])));
        if (stat.explain)
            print(table({{"name", "COUNTER"}, {"alias", "ALSO"}, {"value", "VALUE"}, {"help", "MEANING"}},
                        one["counters"]));
        else
            print(facts(one["counters"]));
    }
    return Exit::Ok;
}

} // namespace eadm
