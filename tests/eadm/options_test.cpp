// SPDX-License-Identifier: GPL-2.0-or-later
// What users write: thresholds, filters, numbers.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "filter.h"
#include "temporary_file.h"
#include "thresholds.h"

namespace {

using eadm::Json;

TEST(EadmThresholds, FileOfTheInstallation) {
    std::ifstream file(EADM_SOURCE "/eadm.conf");
    std::stringstream text;
    text << file.rdbuf();
    std::string set; // what is commented out there are the defaults
    for (std::string line; std::getline(text, line);) {
        const size_t equals = line.find(" = ");
        if (line.starts_with('#') && equals != std::string::npos && line.find(' ', 0) == equals)
            set += line.substr(1) + "\n";
    }
    const TemporaryFile defaults(set);
    const eadm::Thresholds read = eadm::readThresholds(defaults.path);
    const eadm::Thresholds wanted;
#define EXPECT_THRESHOLD(name, value)                                                                                  \
    EXPECT_EQ(read.name, wanted.name) << #name;                                                                        \
    EXPECT_NE(set.find(#name " = "), std::string::npos) << #name;
    EADM_THRESHOLDS(EXPECT_THRESHOLD)
#undef EXPECT_THRESHOLD
    EXPECT_EQ(static_cast<size_t>(std::count(set.begin(), set.end(), '\n')), eadm::thresholdNames().size());
    EXPECT_NO_THROW(eadm::readThresholds(EADM_SOURCE "/eadm.conf"));
}

TEST(EadmThresholds, Values) {
    const TemporaryFile good("# comment\nseconds = 7\n\nretransmissions_fault=0.25\n");
    EXPECT_EQ(eadm::readThresholds(good.path).seconds, 7);
    EXPECT_EQ(eadm::readThresholds(good.path).retransmissions_fault, 0.25);
    EXPECT_EQ(eadm::readThresholds(good.path).slow_setup, eadm::Thresholds{}.slow_setup);
    for (const char* text : {"secs = 1\n", "seconds = x\n", "seconds = 1 2\n", "seconds = -1\n", "seconds = nan\n",
                             "seconds =\n", "[part]\nseconds = 1\n", "seconds\n"}) {
        const TemporaryFile bad(text);
        EXPECT_THROW(eadm::readThresholds(bad.path), eadm::Error) << text;
    }
    EXPECT_THROW(eadm::readThresholds("/nowhere/eadm.conf"), eadm::Error);
}

Json rowsOfExample() {
    return Json::parse(R"([
        {"qp": 1, "state": "RTS", "local": "10.0.0.1:80", "remote": "10.0.0.2:5000", "ord": 9, "owner": {"pid": 7, "name": "rping"}},
        {"qp": 2, "state": "IDLE", "local": null, "remote": null, "ord": null, "owner": {"pid": 8, "name": "ib_write_bw"}},
        {"qp": 3, "state": "RTS", "local": "10.0.0.1:81", "remote": "10.0.0.3:80", "ord": 11, "owner": {"pid": 8, "name": "ib_read_bw"}}])");
}

// The numbers of the queue pairs that are left.
std::vector<int> chosen(const eadm::ListOptions& list) {
    Json rows = rowsOfExample();
    eadm::choose(rows, rowsOfExample()[0], list);
    std::vector<int> numbers;
    for (const Json& row : rows)
        numbers.push_back(row["qp"].get<int>());
    return numbers;
}

TEST(EadmFilter, Chooses) {
    using List = std::vector<int>;
    eadm::ListOptions list;
    EXPECT_EQ(chosen(list), (List{1, 2, 3}));
    list.pid = 8;
    EXPECT_EQ(chosen(list), (List{2, 3}));
    list = {};
    list.comm = "ib_*";
    EXPECT_EQ(chosen(list), (List{2, 3}));
    list = {};
    list.state = "rts";
    EXPECT_EQ(chosen(list), (List{1, 3}));
    list = {};
    list.peer = "10.0.0.3";
    EXPECT_EQ(chosen(list), (List{3}));
    list.peer = ":80";
    EXPECT_EQ(chosen(list), (List{3}));
    list.peer = "10.0.0.2:5000";
    EXPECT_EQ(chosen(list), (List{1}));
    list.peer = "10.0.0";
    EXPECT_EQ(chosen(list), (List{}));
    list = {};
    list.local = "10.0.0.1";
    EXPECT_EQ(chosen(list), (List{1, 3}));
}

TEST(EadmFilter, SortsAndLimits) {
    using List = std::vector<int>;
    eadm::ListOptions list;
    list.sort = "ord";
    EXPECT_EQ(chosen(list), (List{1, 3, 2})); // what is not known comes last
    list.sort = "-ord";
    EXPECT_EQ(chosen(list), (List{3, 1, 2}));
    list.sort = "-pid";
    EXPECT_EQ(chosen(list), (List{2, 3, 1}));
    list.limit = 2;
    EXPECT_EQ(chosen(list), (List{2, 3}));
    Json rows = rowsOfExample();
    EXPECT_EQ(eadm::choose(rows, rowsOfExample()[0], list), 1u);
    list.limit = 0;
    EXPECT_EQ(chosen(list), (List{}));
}

TEST(EadmFilter, FieldsThatAreNotThere) {
    Json rows = Json::array();
    const Json shape = {{"eq", 1}};
    eadm::ListOptions list;
    for (auto member : {&eadm::ListOptions::comm, &eadm::ListOptions::local, &eadm::ListOptions::peer,
                        &eadm::ListOptions::state, &eadm::ListOptions::sort}) {
        list = {};
        list.*member = "x";
        EXPECT_THROW(eadm::choose(rows, shape, list), eadm::Error);
    }
    list = {};
    list.pid = 1;
    EXPECT_THROW(eadm::choose(rows, shape, list), eadm::Error);
}

TEST(EadmOptions, Numbers) {
    EXPECT_EQ(eadm::numberOf("0.5", "seconds"), 0.5);
    EXPECT_EQ(eadm::wholeNumberOf("12", "rounds"), 12u);
    for (const char* text : {"", "x", "1x", "-1", "nan"})
        EXPECT_THROW(eadm::numberOf(text, "seconds"), eadm::Error) << text;
    for (const char* text : {"", "1.5", "-1", "99999999999999999999"})
        EXPECT_THROW(eadm::wholeNumberOf(text, "rounds"), eadm::Error) << text;
}

} // namespace
