// SPDX-License-Identifier: GPL-2.0-or-later
#include "snapshotjson.h"

#include "recording.h"

namespace eadm {

namespace {

template <typename Struct> Json hexList(const std::vector<Struct>& list) {
    Json json = Json::array();
    for (const Struct& one : list)
        json.push_back(hexOfStruct(one));
    return json;
}

template <typename Struct> std::vector<Struct> structList(const Json& json) {
    std::vector<Struct> list;
    for (const Json& one : json)
        list.push_back(structOf<Struct>(one));
    return list;
}

Json countersJson(const Counters& counters) {
    Json json = Json::object();
    for (size_t i = 0; i < kCounterNames.size(); ++i)
        if (counters.knows(static_cast<Counter>(i)))
            json[std::string(kCounterNames.at(i))] = counters[static_cast<Counter>(i)];
    return json;
}

Counters countersFrom(const Json& json) {
    Counters counters;
    for (const auto& [name, value] : json.items())
        counters.set(name, value.get<uint64_t>());
    return counters;
}

Json interfaceJson(const Interface& nic) {
    Json uppers = Json::array();
    for (const Upper& upper : nic.uppers)
        uppers.push_back({{"name", upper.name}, {"addresses", upper.addresses}, {"why", upper.why}});
    return {{"exists", nic.exists},       {"up", nic.up},   {"carrier", nic.carrier}, {"mtu", nic.mtu},
            {"addresses", nic.addresses}, {"mac", nic.mac}, {"master", nic.master},   {"uppers", uppers}};
}

Interface interfaceFrom(const Json& json) {
    Interface nic;
    json.at("exists").get_to(nic.exists);
    json.at("up").get_to(nic.up);
    json.at("carrier").get_to(nic.carrier);
    json.at("mtu").get_to(nic.mtu);
    json.at("addresses").get_to(nic.addresses);
    json.at("mac").get_to(nic.mac);
    json.at("master").get_to(nic.master);
    for (const Json& upper : json.at("uppers"))
        nic.uppers.push_back({upper.at("name").get<std::string>(),
                              upper.at("addresses").get<std::vector<std::string>>(),
                              upper.value("why", std::string{})});
    return nic;
}

Json qpJson(const WatchedQp& qp) {
    return {{"first", hexOfStruct(qp.first)}, {"second", hexOfStruct(qp.second)},
            {"seconds", qp.seconds},          {"waiting", qp.waiting ? Json(*qp.waiting) : Json()},
            {"path_mtu", qp.pathMtu},         {"translation", qp.translation},
            {"gid_gone", qp.gidGone}};
}

WatchedQp qpFrom(const Json& json) {
    WatchedQp qp;
    qp.first = structOf<erdma_info_qp>(json.at("first"));
    qp.second = structOf<erdma_info_qp>(json.at("second"));
    json.at("seconds").get_to(qp.seconds);
    if (!json.at("waiting").is_null())
        qp.waiting = json.at("waiting").get<std::vector<std::string>>();
    json.at("path_mtu").get_to(qp.pathMtu);
    json.at("translation").get_to(qp.translation);
    qp.gidGone = json.value("gid_gone", false); // new
    return qp;
}

Json unseenJson(const Unseen& unseen) {
    return {{"hidden_found", unseen.hiddenFound},
            {"hidden_qps", unseen.hiddenQps},
            {"all_qps", unseen.allQps},
            {"hidden_ceps", unseen.hiddenCeps},
            {"all_ceps", unseen.allCeps},
            {"silent_qps", unseen.silentQps},
            {"tcp", unseen.tcp},
            {"translations", unseen.translations}};
}

Unseen unseenFrom(const Json& json) {
    Unseen unseen;
    json.at("hidden_qps").get_to(unseen.hiddenQps);
    json.at("all_qps").get_to(unseen.allQps);
    json.at("hidden_ceps").get_to(unseen.hiddenCeps);
    json.at("all_ceps").get_to(unseen.allCeps);
    unseen.hiddenFound = json.value("hidden_found", uint64_t{0}); // new
    json.at("silent_qps").get_to(unseen.silentQps);
    json.at("tcp").get_to(unseen.tcp);
    json.at("translations").get_to(unseen.translations);
    return unseen;
}

Json adapterJson(const Adapter& adapter) {
    Json json = {{"device", hexOfStruct(adapter.device)},
                 {"seconds", adapter.seconds},
                 {"first", countersJson(adapter.first)},
                 {"second", countersJson(adapter.second)},
                 {"interface", interfaceJson(adapter.interface)},
                 {"without_gid", adapter.withoutGid},
                 {"failed", hexList(adapter.failed)},
                 {"ceps", hexList(adapter.ceps)},
                 {"found", hexList(adapter.found)},
                 {"unseen", unseenJson(adapter.unseen)}};
    for (const char* list : {"tcp", "vectors", "qps", "others"})
        json[list] = Json::array();
    for (const TcpFlow& flow : adapter.tcp)
        json["tcp"].push_back({{"local", flow.local},
                               {"remote", flow.remote},
                               {"uid", flow.uid},
                               {"bytes_per_second", flow.bytesPerSecond}});
    for (const CompletionVector& vector : adapter.vectors)
        json["vectors"].push_back(
            {{"first", hexOfStruct(vector.first)}, {"second", hexOfStruct(vector.second)}, {"cpus", vector.cpus}});
    for (const WatchedQp& qp : adapter.qps)
        json["qps"].push_back(qpJson(qp));
    for (const OtherRdma& other : adapter.others)
        json["others"].push_back({{"name", other.name}, {"sent", other.sent}, {"netdev", other.netdev}});
    return json;
}

Adapter adapterFrom(const Json& json) {
    Adapter adapter;
    adapter.device = structOf<erdma_info_device>(json.at("device"));
    json.at("seconds").get_to(adapter.seconds);
    adapter.first = countersFrom(json.at("first"));
    adapter.second = countersFrom(json.at("second"));
    adapter.interface = interfaceFrom(json.at("interface"));
    adapter.withoutGid = json.value("without_gid", std::vector<std::string>{}); // new
    adapter.failed = structList<erdma_info_qp>(json.at("failed"));
    adapter.ceps = structList<erdma_info_cep>(json.at("ceps"));
    adapter.found = structList<erdma_info_finding>(json.value("found", Json::array())); // new
    adapter.unseen = unseenFrom(json.at("unseen"));
    for (const Json& flow : json.at("tcp"))
        adapter.tcp.push_back({flow.at("local").get<std::string>(), flow.at("remote").get<std::string>(),
                               flow.at("uid").get<uint32_t>(), flow.at("bytes_per_second").get<uint64_t>()});
    for (const Json& vector : json.at("vectors"))
        adapter.vectors.push_back({structOf<erdma_info_eq>(vector.at("first")),
                                   structOf<erdma_info_eq>(vector.at("second")), vector.at("cpus").get<std::string>()});
    for (const Json& qp : json.at("qps"))
        adapter.qps.push_back(qpFrom(qp));
    for (const Json& other : json.at("others"))
        adapter.others.push_back({other.at("name").get<std::string>(), other.at("sent").get<uint64_t>(),
                                  other.at("netdev").get<std::string>()});
    return adapter;
}

} // namespace

Json snapshotJson(const Snapshot& snapshot) {
    Json json = {{"functions", snapshot.functions},          {"unbound", snapshot.unbound},
                 {"invisible", snapshot.invisible},          {"driver", snapshot.driver},
                 {"driver_trouble", snapshot.driverTrouble}, {"driver_missing", snapshot.driverMissing},
                 {"missing_nodes", snapshot.missingNodes},   {"window_scaling", snapshot.windowScaling},
                 {"receive_window", snapshot.receiveWindow}, {"locked_memory", snapshot.lockedMemory}};
    json["adapters"] = Json::array();
    for (const Adapter& adapter : snapshot.adapters)
        json["adapters"].push_back(adapterJson(adapter));
    return json;
}

Snapshot snapshotFrom(const Json& json) {
    Snapshot snapshot;
    json.at("functions").get_to(snapshot.functions);
    json.at("unbound").get_to(snapshot.unbound);
    json.at("invisible").get_to(snapshot.invisible);
    json.at("driver").get_to(snapshot.driver);
    json.at("driver_trouble").get_to(snapshot.driverTrouble);
    json.at("driver_missing").get_to(snapshot.driverMissing);
    json.at("missing_nodes").get_to(snapshot.missingNodes);
    json.at("window_scaling").get_to(snapshot.windowScaling);
    json.at("receive_window").get_to(snapshot.receiveWindow);
    json.at("locked_memory").get_to(snapshot.lockedMemory);
    for (const Json& adapter : json.at("adapters"))
        snapshot.adapters.push_back(adapterFrom(adapter));
    return snapshot;
}

} // namespace eadm
