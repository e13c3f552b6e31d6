// SPDX-License-Identifier: GPL-2.0-or-later
// eadm diff: what is different between two snapshots.
#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

#include "commands.h"
#include "doctor.h"
#include "objects.h"
#include "recording.h"
#include "snapshotjson.h"

namespace eadm {

namespace {

// A file, and what its devices are called.
struct Side {
    explicit Side(const std::string& path) : recording(std::make_shared<Recording>(path)) {
        if (!recording->driver())
            return;
        driver.emplace(recording, 1);
        for (const auto& device : devicesOf(*driver))
            devices[textOf(device.name)] = device;
    }
    std::shared_ptr<Recording> recording;
    std::optional<Driver> driver;
    std::map<std::string, erdma_info_device> devices;
};

template <typename Entry>
std::map<std::string, Json> rowsOf(const Side& side, const std::string& name, erdma_kind kind) {
    std::map<std::string, Json> rows;
    const auto device = side.devices.find(name);
    if (device == side.devices.end())
        return rows;
    for (const Entry& entry : side.driver->list<Entry>(kind, device->second.device).entries) {
        Json row = toJson(entry);
        // One that has the number of another is another.
        const auto key = kind == ERDMA_KIND_COUNTER || kind == ERDMA_KIND_CONF ? plain(row["name"])
                                                                               : fmt::format("{}", entry.number);
        rows[key] = std::move(row);
    }
    return rows;
}

// Objects that came and went.
template <typename Entry>
void compareObjects(Json& json, const char* word, const Side& before, const Side& now, const std::string& name,
                    erdma_kind kind) {
    const auto old = rowsOf<Entry>(before, name, kind), fresh = rowsOf<Entry>(now, name, kind);
    Json came = Json::array(), went = Json::array();
    for (const auto& [key, row] : fresh)
        if (!old.contains(key) || row["age_ms"] < old.at(key)["age_ms"])
            came.push_back(row);
    for (const auto& [key, row] : old)
        if (!fresh.contains(key) || fresh.at(key)["age_ms"] < row["age_ms"])
            went.push_back(row);
    json[word] = {{"came", came}, {"went", went}};
}

Json compareDevice(const Side& before, const Side& now, const std::string& name) {
    Json json;
    json["device"] = name;
    json["there"] = {before.devices.contains(name), now.devices.contains(name)};
    json["counters"] = Json::object();
    const auto old = rowsOf<erdma_info_counter>(before, name, ERDMA_KIND_COUNTER);
    for (const auto& [key, row] : rowsOf<erdma_info_counter>(now, name, ERDMA_KIND_COUNTER)) {
        const Json was = old.contains(key) ? old.at(key).at("value") : Json();
        if (was != row["value"])
            json["counters"][key] = {was, row["value"]};
    }
    json["settings"] = Json::object();
    const auto conf = rowsOf<erdma_info_conf>(before, name, ERDMA_KIND_CONF);
    for (const auto& [key, row] : rowsOf<erdma_info_conf>(now, name, ERDMA_KIND_CONF)) {
        const Json was = conf.contains(key) ? conf.at(key).at("value") : Json();
        if (was != row["value"])
            json["settings"][key] = {was, row["value"]};
    }
    Json& objects = json["objects"];
    compareObjects<erdma_info_qp>(objects, "qp", before, now, name, ERDMA_KIND_QP);
    compareObjects<erdma_info_cq>(objects, "cq", before, now, name, ERDMA_KIND_CQ);
    compareObjects<erdma_info_mr>(objects, "mr", before, now, name, ERDMA_KIND_MR);
    compareObjects<erdma_info_pd>(objects, "pd", before, now, name, ERDMA_KIND_PD);
    compareObjects<erdma_info_ctx>(objects, "ctx", before, now, name, ERDMA_KIND_CTX);
    compareObjects<erdma_info_cep>(objects, "cep", before, now, name, ERDMA_KIND_CEP);
    return json;
}

std::map<std::string, Json> findingsOf(const Side& side) {
    std::map<std::string, Json> found;
    for (const Finding& one : diagnose(snapshotFrom(side.recording->json().at("doctor"))))
        found[fmt::format("{} {} {} {}", one.device, one.id, severityName(one.severity),
                          one.figures.value("finding", ""))] = toJson(one);
    return found;
}

Json onlyIn(const std::map<std::string, Json>& mine, const std::map<std::string, Json>& other) {
    Json list = Json::array();
    for (const auto& [key, value] : mine)
        if (!other.contains(key))
            list.push_back(value);
    return list;
}

// Facts of the machine, line by line; what counts by itself is left out.
Json compareMachines(const Json& before, const Json& now) {
    Json json = Json::object();
    for (const auto& [name, value] : now.items()) {
        if (name == "interrupts" || name == "interfaces")
            continue;
        const auto lines = [](const Json& part) {
            std::set<std::string> all;
            for (const Json& line : part.is_array() ? part : Json::array({part}))
                all.insert(plain(line));
            return all;
        };
        const auto old = lines(before.contains(name) ? before[name] : Json::array()), fresh = lines(value);
        Json gone = Json::array(), added = Json::array();
        std::ranges::set_difference(old, fresh, std::back_inserter(gone.get_ref<Json::array_t&>()));
        std::ranges::set_difference(fresh, old, std::back_inserter(added.get_ref<Json::array_t&>()));
        if (!gone.empty() || !added.empty())
            json[name] = {{"gone", gone}, {"new", added}};
    }
    return json;
}

void showText(const Json& json) {
    print(fmt::format("{} -> {}\n", plain(json["before"]), plain(json["now"])));
    for (const Json& device : json["devices"]) {
        print(fmt::format("{}:\n", plain(device["device"])));
        for (const char* part : {"counters", "settings"})
            for (const auto& [name, values] : device[part].items())
                print(fmt::format("  {}  {} -> {}\n", name, plain(values[0]), plain(values[1])));
        for (const auto& [kind, change] : device["objects"].items())
            if (!change["came"].empty() || !change["went"].empty())
                print(fmt::format("  {}  {} came, {} went\n", kind, change["came"].size(), change["went"].size()));
    }
    for (const char* part : {"new", "gone"})
        for (const Json& finding : json["findings"][part])
            print(fmt::format("{} {}: {}\n", part, plain(finding["severity"]), plain(finding["text"])));
    for (const auto& [name, change] : json["machine"].items()) {
        for (const Json& line : change["gone"])
            print(fmt::format("{} - {}\n", name, plain(line)));
        for (const Json& line : change["new"])
            print(fmt::format("{} + {}\n", name, plain(line)));
    }
}

} // namespace

Exit compareSnapshots(const Options& options, const std::string& before, const std::string& now) {
    const Side old(before), fresh(now);
    Json json;
    try {
        json["before"] = old.recording->json().at("time");
        json["now"] = fresh.recording->json().at("time");
        std::set<std::string> names;
        for (const Side* side : {&old, &fresh})
            for (const auto& [name, device] : side->devices)
                names.insert(name);
        json["devices"] = Json::array();
        for (const std::string& name : names)
            json["devices"].push_back(compareDevice(old, fresh, name));
        const auto then = findingsOf(old), later = findingsOf(fresh);
        json["findings"] = {{"new", onlyIn(later, then)}, {"gone", onlyIn(then, later)}};
        json["machine"] = compareMachines(old.recording->json().at("machine"), fresh.recording->json().at("machine"));
    } catch (const Error&) {
        throw;
    } catch (const std::exception& error) {
        throw Error(Exit::Usage, fmt::format("these cannot be compared: {}", error.what()));
    }
    if (options.json)
        printJson(options, json);
    else
        showText(json);
    return Exit::Ok;
}

} // namespace eadm
