// SPDX-License-Identifier: GPL-2.0-or-later
// Snapshots: files that are read as they were written, files that are not, and addresses that leave the house.
#include <gtest/gtest.h>

#include <cstring>

#include <arpa/inet.h>

#include "mask.h"
#include "metrics.h"
#include "objects.h"
#include "recording.h"
#include "snapshotjson.h"
#include "temporary_file.h"

namespace {

using eadm::Json;

void setAddress(uint8_t (&address)[16], const char* text) {
    address[10] = address[11] = 0xFF;
    inet_pton(AF_INET, text, address + 12);
}

eadm::Snapshot exampleSnapshot() {
    eadm::Snapshot s;
    s.functions = {"0000:01:00.0"};
    s.driver = true;
    s.receiveWindow = 123;
    eadm::Adapter adapter;
    std::memcpy(adapter.device.name, "erdma_0", 8);
    std::memcpy(adapter.device.mac, "\x52\x54\x00\x01\x02\x03", 6);
    adapter.seconds = 2;
    adapter.second.set(eadm::Counter::cmdq_failed_cnt, 3);
    adapter.interface.exists = adapter.interface.up = adapter.interface.carrier = true;
    adapter.interface.mac = "52:54:00:01:02:03";
    adapter.interface.master = "br0";
    adapter.interface.uppers = {{"br0", {"10.1.2.3"}, "whose active port is d0"}};
    adapter.tcp = {{"10.1.2.3:80", "10.9.9.9:5", 7, 99}};
    adapter.vectors.resize(2);
    adapter.vectors[0].cpus = "0";
    adapter.vectors[1].cpus = "0";
    eadm::WatchedQp qp;
    qp.first.number = qp.second.number = 7;
    qp.second.known = ERDMA_KNOWN_ADDRESSES;
    setAddress(qp.second.link.own, "10.1.2.3");
    setAddress(qp.second.link.peer, "10.9.9.9");
    qp.second.link.own_port = 80;
    qp.waiting = {{"READ"}};
    qp.translation = "10.9.9.9:5 -> 10.1.2.3:80";
    qp.gidGone = true;
    adapter.withoutGid = {"10.1.2.3"};
    adapter.qps = {qp};
    adapter.others = {{"rxe0", 5, "eth0"}};
    adapter.unseen.hiddenQps = 1;
    adapter.unseen.hiddenFound = 2;
    adapter.found.resize(2);
    adapter.found[0].flags = ERDMA_FINDING_ON;
    adapter.found[1].number = 1;
    adapter.found[1].count = 5;
    std::memcpy(adapter.found[1].id, "stale-key", 9);
    s.adapters = {adapter};
    return s;
}

std::string findingsText(const eadm::Snapshot& s) {
    std::string text;
    for (const auto& finding : eadm::diagnose(s))
        text += eadm::toJson(finding).dump() + "\n";
    return text;
}

// One that an eadm took which did not know check mode.
TEST(EadmSnapshot, OlderFilesHaveNoCheckMode) {
    Json json = eadm::snapshotJson(exampleSnapshot());
    json["adapters"][0].erase("found");
    json["adapters"][0]["unseen"].erase("hidden_found");
    const eadm::Snapshot s = eadm::snapshotFrom(json);
    EXPECT_TRUE(s.adapters[0].found.empty());
    EXPECT_EQ(s.adapters[0].unseen.hiddenFound, 0u);
    EXPECT_EQ(findingsText(s).find("check"), std::string::npos) << findingsText(s);
}

TEST(EadmSnapshot, SameFindingsLater) {
    const eadm::Snapshot s = exampleSnapshot();
    const Json json = eadm::snapshotJson(s);
    const eadm::Snapshot later = eadm::snapshotFrom(Json::parse(json.dump()));
    EXPECT_EQ(eadm::snapshotJson(later), json);
    EXPECT_EQ(findingsText(later), findingsText(s));
    EXPECT_GT(findingsText(s).size(), 500u);
}

TEST(EadmSnapshot, BrokenJsonIsRefused) {
    const Json json = eadm::snapshotJson(exampleSnapshot());
    for (const auto& [name, value] : json.items()) {
        Json part = json;
        part.erase(name);
        EXPECT_ANY_THROW(eadm::snapshotFrom(part)) << name;
    }
    for (const auto& [name, value] : json["adapters"][0].items()) {
        Json part = json;
        part["adapters"][0][name] = "nonsense";
        EXPECT_ANY_THROW(eadm::snapshotFrom(part)) << name;
    }
}

Json exampleFile() {
    erdma_diag_version version{};
    version.interface = ERDMA_DIAG_VERSION;
    version.kinds = ~0u;
    Json entries = Json::array();
    for (const uint32_t number : {9u, 3u, 5u}) {
        erdma_info_pd pd{};
        pd.number = number;
        pd.users = number * 10;
        entries.push_back(eadm::hexOfStruct(pd));
    }
    const Json list = {{"kind", "pd"}, {"device", 0}, {"hidden", 2}, {"entries", entries}};
    const Json look = {{"at", 1.5}, {"lists", {list}}};
    return {{"format", "eadm-snapshot"},
            {"snapshot_version", 1},
            {"version", eadm::hexOfStruct(version)},
            {"looks", {look, look}}};
}

TEST(EadmSnapshot, AnswersAsTheDriver) {
    const TemporaryFile file(exampleFile().dump());
    const eadm::Driver driver(file.path);
    const auto page = driver.list<erdma_info_pd>(ERDMA_KIND_PD, 0);
    ASSERT_EQ(page.entries.size(), 3u);
    EXPECT_EQ(page.hidden, 2u);
    EXPECT_EQ(page.entries[0].number, 3u);
    EXPECT_EQ(driver.find<erdma_info_pd>(ERDMA_KIND_PD, 0, 5)->users, 50u);
    EXPECT_FALSE(driver.find<erdma_info_pd>(ERDMA_KIND_PD, 0, 6));
    EXPECT_TRUE(driver.list<erdma_info_qp>(ERDMA_KIND_QP, 0).entries.empty());
    EXPECT_TRUE(driver.list<erdma_info_pd>(ERDMA_KIND_PD, 7).entries.empty());
    EXPECT_THROW(driver.set(0, "cc", 1), eadm::Error);
    EXPECT_THROW(driver.dump(0, ERDMA_RING_SQ, 1, 0, 1), eadm::Error);
}

TEST(EadmSnapshot, ShorterAndLongerEntries) {
    Json file = exampleFile();
    auto& entries = file["looks"][1]["lists"][0]["entries"];
    entries[0] = entries[0].get<std::string>() + "ffffffff";
    entries[1] = entries[1].get<std::string>().substr(0, 16);
    const TemporaryFile written(file.dump());
    const eadm::Driver driver(written.path);
    const auto page = driver.list<erdma_info_pd>(ERDMA_KIND_PD, 0);
    ASSERT_EQ(page.entries.size(), 3u);
    EXPECT_EQ(page.entries[0].users, 30u);
    EXPECT_EQ(page.entries[0].owner.pid, 0u);
    EXPECT_EQ(page.entries[2].users, 90u);
}

TEST(EadmSnapshot, OtherFilesAreRefused) {
    std::vector<std::string> texts = {"", "{", "[]", "{}", "null", "\"x\"", std::string(1000, '[')};
    for (const char* name : {"format", "snapshot_version", "version", "looks"}) {
        Json part = exampleFile();
        part[name] = "other";
        texts.push_back(part.dump());
    }
    Json part = exampleFile();
    part["looks"].erase(1);
    texts.push_back(part.dump());
    part = exampleFile();
    part["looks"][0]["lists"][0]["entries"][0] = "xy";
    texts.push_back(part.dump());
    part["looks"][0]["lists"][0]["entries"][0] = "123";
    texts.push_back(part.dump());
    for (const std::string& text : texts) {
        const TemporaryFile file(text);
        EXPECT_THROW(eadm::Recording recording(file.path), eadm::Error) << text;
    }
    EXPECT_THROW(eadm::Recording recording("/nowhere"), eadm::Error);
}

TEST(EadmMask, EachAddressItsOwn) {
    eadm::Mask mask(true);
    std::string text = "10.1.2.3:80 and 10.9.9.9, again 10.1.2.3; 127.0.0.1; 52:54:00:01:02:03; fe80::1:2; 12:34:56";
    mask.apply(text);
    EXPECT_EQ(text,
              "198.18.0.1:80 and 198.18.0.2, again 198.18.0.1; 127.0.0.1; 02:00:00:00:00:01; fd00::0:1; 12:34:56");
    eadm::Snapshot s = exampleSnapshot();
    mask.apply(s);
    const std::string all = eadm::snapshotJson(s).dump();
    for (const char* left : {"10.1.2.3", "10.9.9.9", "0a010203", "0a090909", "525400010203", "52:54:00:01:02:03"})
        EXPECT_EQ(all.find(left), std::string::npos) << left;
    // What belonged together does so still.
    EXPECT_EQ(eadm::macText(s.adapters[0].device.mac), s.adapters[0].interface.mac);
    EXPECT_EQ(eadm::toJson(s.adapters[0].qps[0].second)["local"], "198.18.0.1:80");
    EXPECT_EQ(s.adapters[0].qps[0].translation, "198.18.0.2:5 -> 198.18.0.1:80");
    EXPECT_EQ(s.adapters[0].withoutGid, std::vector<std::string>{"198.18.0.1"});

    eadm::Mask off(false);
    eadm::Snapshot plain = exampleSnapshot();
    off.apply(plain);
    EXPECT_EQ(eadm::snapshotJson(plain), eadm::snapshotJson(exampleSnapshot()));
}

TEST(EadmMetrics, BothFormats) {
    eadm::Metrics metrics;
    metrics.counter("a", "counts \"this\"", {{"x", "q\"\\\n"}}, 7);
    metrics.gauge("b", "is", {}, 0.5);
    metrics.counter("a", "", {{"x", "other"}}, 8);
    const std::string samples = "a_total{x=\"q\\\"\\\\ \"} 7\na_total{x=\"other\"} 8\n";
    EXPECT_EQ(metrics.text(eadm::MetricsFormat::OpenMetrics), "# HELP a counts \\\"this\\\"\n# TYPE a counter\n" +
                                                                  samples +
                                                                  "# HELP b is\n# TYPE b gauge\nb 0.5\n# EOF\n");
    EXPECT_EQ(metrics.text(eadm::MetricsFormat::Text), "# HELP a_total counts \\\"this\\\"\n# TYPE a_total counter\n" +
                                                           samples + "# HELP b is\n# TYPE b gauge\nb 0.5\n");
}

TEST(EadmMetrics, Endpoints) {
    using Endpoint = std::pair<std::string, int>;
    EXPECT_EQ(eadm::endpointOf("9000"), Endpoint("127.0.0.1", 9000));
    EXPECT_EQ(eadm::endpointOf(":9000"), Endpoint("127.0.0.1", 9000));
    EXPECT_EQ(eadm::endpointOf("0.0.0.0:1"), Endpoint("0.0.0.0", 1));
    EXPECT_EQ(eadm::endpointOf("[::1]:1"), Endpoint("::1", 1));
    for (const char* text : {"", ":", "x", "1.2.3.4", "1.2.3.4:70000", "::1:80", "1.2.3.4:-1"})
        EXPECT_THROW(eadm::endpointOf(text), eadm::Error) << text;
}

} // namespace
