// SPDX-License-Identifier: GPL-2.0-or-later
// eadm record, and how its file is read.
#include "record.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>

#include <fmt/format.h>

#include "commands.h"
#include "filter.h"

namespace eadm {

namespace {

// Of a file that anybody may have written: only what can be drawn, so that plot need not look again.
void demandRow(const Json& row, Group group) {
    constexpr double most = 1e18;
    const Json shape = emptyRow(group);
    for (const auto& [name, nothing] : shape.items()) {
        const Json& value = row.at(name);
        if (name == "device" || name == "state") {
            if (!value.is_string())
                throw std::invalid_argument(fmt::format("{} is no text", name));
        } else if (name == "qp" || name == "qps") {
            if (!value.is_number_unsigned())
                throw std::invalid_argument(fmt::format("{} is no number", name));
        } else if (name == "owner") {
            if (!value.at("name").is_string() || !value.at("pid").is_number_unsigned())
                throw std::invalid_argument("an owner has no name or number");
        } else if (name != "local" && name != "remote" && !value.is_null() &&
                   !(value.is_number() && value.get<double>() >= 0 && value.get<double>() <= most)) {
            throw std::invalid_argument(fmt::format("{} is no number that can be drawn", name));
        }
    }
}

void demandLine(const Json& line) {
    for (const Json& row : line.at("adapters").get_ref<const Json::array_t&>())
        demandRow(row, Group::Adapter);
    for (const Json& row : line.at("connections").get_ref<const Json::array_t&>())
        demandRow(row, Group::Connection);
    const auto at = line.at("at").get<double>();
    constexpr double longest = 1e9;
    if (!(at >= 0 && at <= longest))
        throw std::invalid_argument("a line has no time");
}

} // namespace

Json recordLine(const Activity& before, const Activity& now, double at, const std::string& time) {
    Json line;
    line["time"] = time;
    line["at"] = std::round(at * 1000) / 1000;
    line["adapters"] = activityRows(before, now, Group::Adapter);
    Json connections = activityRows(before, now, Group::Connection);
    ListOptions busiest;
    busiest.sort = usualOrder(Group::Connection);
    busiest.limit = kMostRecorded;
    line["left_out"] = choose(connections, emptyRow(Group::Connection), busiest);
    line["connections"] = connections;
    uint64_t hidden = 0;
    for (const DeviceLook& look : now)
        hidden += look.sample.hidden;
    line["hidden"] = hidden;
    return line;
}

Record readRecord(std::istream& file, const std::string& name) {
    Record record;
    std::string text;
    size_t number = 0;
    try {
        while (std::getline(file, text)) {
            ++number;
            const Json line = Json::parse(text, nullptr, false);
            if (line.is_discarded() && file.eof() && number > 1) {
                record.cut = true;
                break;
            }
            if (line.is_discarded())
                throw std::invalid_argument("it is not JSON");
            if (number == 1) {
                if (line.at("format") != kRecordFormat || line.at("record_version") != kRecordVersion)
                    throw std::invalid_argument("it has another format");
                record.head = line;
                continue;
            }
            demandLine(line);
            if (!record.lines.empty() && line["at"] < record.lines.back()["at"])
                throw std::invalid_argument("time goes back");
            record.lines.push_back(line);
        }
        if (number == 0)
            throw std::invalid_argument("it is empty");
    } catch (const std::exception& error) {
        throw Error(Exit::Usage,
                    fmt::format("{} is no recording that this eadm reads: line {}: {}", name, number, error.what()));
    }
    return record;
}

Exit recordActivity(const Options& options, const RecordOptions& what) {
    if (what.every > what.seconds)
        throw Error(Exit::Usage, "--every is longer than --seconds: there would be nothing in it");
    const Driver driver;
    const bool mayDump = (driver.version().rights & ERDMA_RIGHT_CHANGE) != 0;
    Activity before = lookAtActivity(driver, options.device, {}, mayDump);
    std::ofstream out(what.file, std::ios::trunc);
    const auto write = [&](const Json& line) {
        out << line.dump() << '\n' << std::flush;
        if (!out)
            throw Error(Exit::Failed, fmt::format("{} cannot be written", what.file));
    };
    write({{"format", kRecordFormat},
           {"record_version", kRecordVersion},
           {"time", timeText()},
           {"eadm", EADM_VERSION},
           {"seconds", what.seconds},
           {"every", what.every}});
    stopOnSignals();
    const double begin = steadySeconds();
    uint64_t lines = 0;
    // A look that comes late does not make the later ones late.
    const auto rounds = static_cast<uint64_t>(what.seconds / what.every + 0.001);
    for (uint64_t round = 1; round <= rounds && !stopped(); ++round) {
        while (!stopped() && steadySeconds() < begin + static_cast<double>(round) * what.every)
            sleepFor(std::min(0.2, begin + static_cast<double>(round) * what.every - steadySeconds()));
        if (stopped())
            break;
        Activity later = lookAtActivity(driver, options.device, before, mayDump);
        write(recordLine(before, later, steadySeconds() - begin, timeText()));
        before = std::move(later);
        ++lines;
    }
    if (options.json)
        printJson(
            options,
            {{"file", what.file}, {"lines", lines}, {"seconds", std::round((steadySeconds() - begin) * 10) / 10}});
    else
        print(fmt::format("{}: {} looks in {:.1f} s; 'eadm plot {}' makes a page of it\n", what.file, lines,
                          steadySeconds() - begin, what.file));
    return Exit::Ok;
}

Exit plotActivity(const PlotOptions& what) {
    std::ifstream file(what.file);
    if (!file)
        throw Error(Exit::Usage, fmt::format("{} cannot be read", what.file));
    const Record record = readRecord(file, what.file);
    if (record.lines.empty())
        throw Error(Exit::Usage, fmt::format("{} holds no looks: the recording ended before its first", what.file));
    const std::string page = pageOf(record, what.file);
    if (what.output.empty()) {
        print(page);
        return Exit::Ok;
    }
    std::ofstream out(what.output, std::ios::trunc);
    out << page << std::flush;
    if (!out)
        throw Error(Exit::Failed, fmt::format("{} cannot be written", what.output));
    return Exit::Ok;
}

} // namespace eadm
