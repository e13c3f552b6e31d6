// SPDX-License-Identifier: GPL-2.0-or-later
// top, record and plot on made-up adapters and files.
#include <gtest/gtest.h>

#include <cstring>
#include <sstream>

#include <arpa/inet.h>

#include "record.h"
#include "top.h"

namespace {

using eadm::Activity;
using eadm::Group;
using eadm::Json;
using eadm::Key;

erdma_info_qp exampleQp(uint32_t number, uint32_t pid, const char* program) {
    erdma_info_qp qp{};
    qp.number = number;
    qp.known = ERDMA_KNOWN_ADDRESSES | ERDMA_KNOWN_HARDWARE | ERDMA_KNOWN_SQ_PI | ERDMA_KNOWN_RQ_PI;
    qp.state = 2;
    qp.age_ms = 5000;
    qp.owner.pid = pid;
    std::strncpy(reinterpret_cast<char*>(qp.owner.name), program, sizeof(qp.owner.name) - 1);
    qp.link.peer[10] = qp.link.peer[11] = qp.link.own[10] = qp.link.own[11] = 0xFF;
    inet_pton(AF_INET, "10.0.0.2", qp.link.peer + 12);
    qp.link.peer_port = 18515;
    return qp;
}

// Two programs, the first of which has two queue pairs.
Activity example() {
    eadm::DeviceLook look;
    std::memcpy(look.device.name, "erdma_0", 8);
    std::memcpy(look.device.pci, "0000:01:00.0", 13);
    look.device.flags = ERDMA_DEVICE_UP;
    look.device.qps = 3;
    look.sample.at = 100;
    look.sample.qps = {exampleQp(1, 10, "a"), exampleQp(2, 10, "a"), exampleQp(3, 11, "b")};
    for (const auto name : eadm::kCounterNames)
        look.sample.counters.set(name, 0);
    return {look};
}

Activity later(const Activity& before) {
    Activity now = before;
    eadm::DeviceLook& look = now[0];
    look.sample.at += 2;
    for (auto& qp : look.sample.qps)
        qp.age_ms += 2000;
    look.sample.counters.set(eadm::Counter::tx_bytes_cnt, 8000);
    look.sample.counters.set(eadm::Counter::tx_packets_cnt, 60);
    look.sample.counters.set(eadm::Counter::rx_packets_cnt, 70000);
    auto& first = look.sample.qps[0];
    first.sq_pi = 200;
    first.rq_pi = 20;
    first.hw.sq_pi = 200;
    first.hw.sq_ci = 190;
    first.hw.rq_pi = 20;
    first.hw.rq_ci = 18;
    first.hw.tx_packets = 50;
    first.hw.retransmits = 3;
    look.sample.qps[1].state = 5;
    look.sample.qps[2].sq_pi = 400;
    look.reads[1] = 4;
    return now;
}

const Json& rowOf(const Json& rows, const char* path, const Json& value) {
    for (const Json& row : rows)
        if (eadm::at(row, path) == value)
            return row;
    ADD_FAILURE() << "no row has " << value << " at " << path;
    return rows.front();
}

TEST(Activity, ConnectionsHaveRatesAndWhatWaits) {
    const Activity before = example(), now = later(before);
    const Json rows = eadm::activityRows(before, now, Group::Connection);
    ASSERT_EQ(rows.size(), 3u);
    const Json& one = rowOf(rows, "qp", 1);
    EXPECT_EQ(one["posted_blocks"], 100.0);
    EXPECT_EQ(one["posted_receives"], 10.0);
    EXPECT_EQ(one["tx_packets"], 25.0);
    EXPECT_EQ(one["outstanding"], 10);
    EXPECT_EQ(one["receives"], 2);
    EXPECT_EQ(one["reads"], 4);
    EXPECT_EQ(one["retransmits"], 3);
    EXPECT_EQ(one["retransmits_rate"], 1.5);
    EXPECT_EQ(one["remote"], "10.0.0.2:18515");
    EXPECT_EQ(one["owner"]["name"], "a");
    // The adapter received more packets than a counter of a queue pair can tell.
    EXPECT_TRUE(one["rx_packets"].is_null());
    EXPECT_TRUE(rowOf(rows, "qp", 2)["reads"].is_null());
    EXPECT_EQ(rowOf(rows, "qp", 2)["state"], "ERROR");
    // Every row has the fields that the empty one promises.
    const Json shape = eadm::emptyRow(Group::Connection);
    for (const Json& row : rows)
        for (const auto& [name, value] : shape.items())
            EXPECT_TRUE(row.contains(name)) << name;
}

TEST(Activity, AnIndexThatWrapsIsNoTrouble) {
    Activity before = example();
    before[0].sample.qps[0].sq_pi = 65530;
    Activity now = later(before);
    now[0].sample.qps[0].sq_pi = 10;
    EXPECT_EQ(rowOf(eadm::activityRows(before, now, Group::Connection), "qp", 1)["posted_blocks"], 8.0);
}

TEST(Activity, AYoungerQueuePairOfTheSameNumberHasNoPast) {
    const Activity before = example();
    Activity now = later(before);
    now[0].sample.qps[0].age_ms = 10;
    const Json rows = eadm::activityRows(before, now, Group::Connection);
    EXPECT_EQ(rowOf(rows, "qp", 1)["posted_blocks"], 0.0);
    EXPECT_TRUE(rowOf(rows, "qp", 1)["retransmits_rate"].is_null());
}

TEST(Activity, WhatTheAdapterDoesNotTellIsNull) {
    const Activity before = example();
    Activity now = later(before);
    now[0].sample.qps[0].known &= ~ERDMA_KNOWN_HARDWARE;
    const Json rows = eadm::activityRows(before, now, Group::Connection);
    for (const char* name : {"outstanding", "receives", "retransmits", "retransmits_rate", "tx_packets"})
        EXPECT_TRUE(rowOf(rows, "qp", 1)[name].is_null()) << name;
}

TEST(Activity, ProgramsAndAdaptersAreSums) {
    const Activity before = example(), now = later(before);
    const Json programs = eadm::activityRows(before, now, Group::Process);
    ASSERT_EQ(programs.size(), 2u);
    const Json& a = rowOf(programs, "owner.name", "a");
    EXPECT_EQ(a["qps"], 2);
    EXPECT_EQ(a["state"], "1 ERROR, 1 RTS");
    EXPECT_EQ(a["posted_blocks"], 100.0);
    EXPECT_EQ(a["outstanding"], 10);
    EXPECT_EQ(a["retransmits"], 3);
    EXPECT_EQ(rowOf(programs, "owner.name", "b")["state"], "RTS");
    const Json adapters = eadm::activityRows(before, now, Group::Adapter);
    ASSERT_EQ(adapters.size(), 1u);
    EXPECT_EQ(adapters[0]["device"], "erdma_0");
    EXPECT_EQ(adapters[0]["qps"], 3);
    EXPECT_EQ(adapters[0]["tx_bytes"], 4000.0);
    // Of packets its own counters are right, not the sum.
    EXPECT_EQ(adapters[0]["rx_packets"], 35000.0);
    EXPECT_EQ(adapters[0]["posted_blocks"], 300.0);
    EXPECT_EQ(adapters[0]["reads"], 4);
}

TEST(Activity, AnAdapterThatCameInBetweenWaitsForTheNextLook) {
    EXPECT_TRUE(eadm::activityRows({}, example(), Group::Connection).empty());
    EXPECT_TRUE(eadm::activityRows({}, example(), Group::Adapter).empty());
}

// ---- top ----

TEST(Top, OptionsAreCheckedBeforeAnythingIsShown) {
    eadm::TopOptions options;
    EXPECT_EQ(eadm::viewOf(options).list.sort, "-posted_blocks");
    options.by = "socket";
    EXPECT_THROW(eadm::viewOf(options), eadm::Error);
    options.by = "adapter";
    EXPECT_EQ(eadm::viewOf(options).list.sort, "device");
    options.list.pid = 7;
    EXPECT_THROW(eadm::viewOf(options), eadm::Error);
    options.by = "process";
    EXPECT_EQ(eadm::viewOf(options).group, Group::Process);
    options.list.sort = "-retransmit";
    EXPECT_THROW(eadm::viewOf(options), eadm::Error);
}

TEST(Top, RowsAreSortedFilteredAndLimited) {
    const Activity before = example();
    Activity now = later(before);
    now[0].sample.hidden = 5;
    eadm::TopView view = eadm::viewOf({});
    eadm::TopRows rows = eadm::rowsOf(before, now, view);
    EXPECT_EQ(rows.rows[0]["qp"], 3);
    EXPECT_EQ(rows.hidden, 5u);
    view.list.limit = 1;
    rows = eadm::rowsOf(before, now, view);
    EXPECT_EQ(rows.rows.size(), 1u);
    EXPECT_EQ(rows.beyond, 2u);
    const std::string about = eadm::aboutRows(rows, view);
    EXPECT_NE(about.find("2 more"), std::string::npos);
    EXPECT_NE(about.find("5 queue pairs of other users"), std::string::npos);
}

TEST(Top, KeysChangeTheView) {
    eadm::TopView view = eadm::viewOf({});
    view.list.peer = ":5";
    eadm::press(view, Key::Reverse);
    EXPECT_EQ(view.list.sort, "posted_blocks");
    eadm::press(view, Key::NextColumn);
    EXPECT_EQ(view.list.sort, "posted_receives");
    eadm::press(view, Key::PreviousColumn);
    EXPECT_EQ(view.list.sort, "posted_blocks");
    // From the first column backwards is the last one.
    view.list.sort = "-device";
    eadm::press(view, Key::PreviousColumn);
    EXPECT_EQ(view.list.sort, "-remote");
    eadm::press(view, Key::Up);
    EXPECT_EQ(view.first, 0u);
    eadm::press(view, Key::Down);
    EXPECT_EQ(view.first, 1u);
    eadm::press(view, Key::Pause);
    EXPECT_TRUE(view.paused);
    // The ends of a connection are no field of a program.
    eadm::press(view, Key::Processes);
    EXPECT_EQ(view.group, Group::Process);
    EXPECT_EQ(view.first, 0u);
    const Activity before = example();
    EXPECT_EQ(eadm::rowsOf(before, later(before), view).rows.size(), 2u);
    view.list.pid = 10;
    eadm::press(view, Key::Adapters);
    EXPECT_EQ(eadm::rowsOf(before, later(before), view).rows.size(), 1u);
}

TEST(Top, EveryColumnCanBeSortedBy) {
    const Activity before = example(), now = later(before);
    for (const Group group : {Group::Connection, Group::Process, Group::Adapter}) {
        eadm::TopView view;
        eadm::regroup(view, group);
        for (size_t i = 0; i < eadm::columnsOf(group).size(); ++i) {
            EXPECT_NO_THROW(eadm::rowsOf(before, now, view)) << view.list.sort;
            eadm::press(view, Key::NextColumn);
        }
        EXPECT_EQ(view.list.sort, eadm::usualOrder(group));
    }
}

// ---- record and plot ----

std::string recordText(size_t lines, const char* program = "a") {
    Activity before = example();
    for (auto& qp : before[0].sample.qps)
        std::strncpy(reinterpret_cast<char*>(qp.owner.name), program, sizeof(qp.owner.name) - 1);
    const Activity now = later(before);
    Json head = {{"format", "eadm-record"}, {"record_version", 1}, {"time", "2026-11-27T12:00:00.000000+00:00"}};
    std::string text = head.dump() + "\n";
    for (size_t i = 1; i <= lines; ++i)
        text += eadm::recordLine(before, now, static_cast<double>(i), "then").dump() + "\n";
    return text;
}

eadm::Record read(const std::string& text) {
    std::istringstream file(text);
    return eadm::readRecord(file, "it");
}

TEST(Record, IsReadAsItWasWritten) {
    const eadm::Record record = read(recordText(3));
    ASSERT_EQ(record.lines.size(), 3u);
    EXPECT_FALSE(record.cut);
    EXPECT_EQ(record.lines[2]["at"], 3.0);
    EXPECT_EQ(record.lines[0]["connections"][0]["qp"], 3);
    EXPECT_EQ(record.lines[0]["adapters"][0]["tx_bytes"], 4000.0);
}

TEST(Record, ALineThatWasCutIsLeftOut) {
    std::string text = recordText(2);
    text.resize(text.size() - 20);
    const eadm::Record record = read(text);
    EXPECT_EQ(record.lines.size(), 1u);
    EXPECT_TRUE(record.cut);
    EXPECT_NE(eadm::pageOf(record, "x").find("ended in the middle"), std::string::npos);
}

TEST(Record, OtherFilesAreRefused) {
    const std::string good = recordText(1);
    const auto with = [&](const std::string& what, const std::string& instead) {
        std::string text = good;
        const size_t at = text.find(what);
        EXPECT_NE(at, std::string::npos) << what;
        return text.replace(at, what.size(), instead);
    };
    EXPECT_EQ(read(good).lines.size(), 1u);
    for (const std::string& text :
         {std::string(), std::string("root:x:0:0\n"), std::string("{}\n"), with("eadm-record", "eadm-snapshot"),
          with("\"record_version\":1", "\"record_version\":2"), with("\"at\":1.0", "\"at\":-1.0"),
          with("\"at\":1.0", "\"at\":1e300"), with("\"at\":1.0", "\"at\":\"x\""),
          with("\"tx_bytes\":4000.0", "\"tx_bytes\":-1"), with("\"tx_bytes\":4000.0", "\"tx_bytes\":1e300"),
          with("\"tx_bytes\":4000.0", "\"tx_bytes\":[]"), with("\"qps\":3", "\"qps\":-3"),
          with("\"adapters\":[", "\"adapters\":[7,"), with("\"connections\":", "\"others\":"),
          with("\"pid\":11", "\"pid\":\"11\""), good + "rubbish\n" + recordText(1)})
        EXPECT_THROW(read(text), eadm::Error) << text.substr(0, 200);
}

TEST(Plot, PageHasChartsAndNumbers) {
    const std::string page = eadm::pageOf(read(recordText(3)), "file");
    for (const char* word :
         {"<svg", "Throughput", "Queue pairs", "Busiest connections", "erdma_0", "QP 3 of a (11)", "<td>32.0k</td>"})
        EXPECT_NE(page.find(word), std::string::npos) << word;
    // Nothing is fetched, and nothing runs.
    for (const char* word : {"<script", "http", "src=", "nan", "inf"})
        EXPECT_EQ(page.find(word), std::string::npos) << word;
}

TEST(Plot, NamesOfProgramsAreNoMarkup) {
    const std::string page = eadm::pageOf(read(recordText(2, "<b>\"&x")), "<i>");
    EXPECT_EQ(page.find("<b>"), std::string::npos);
    EXPECT_EQ(page.find("<i>"), std::string::npos);
    EXPECT_NE(page.find("&lt;b&gt;&quot;&amp;x"), std::string::npos);
}

TEST(Plot, ALongRecordingKeepsItsPeaks) {
    eadm::Record record = read(recordText(1));
    const Json line = record.lines[0];
    record.lines.clear();
    for (size_t i = 0; i < 5000; ++i) {
        record.lines.push_back(line);
        record.lines.back()["at"] = static_cast<double>(i);
    }
    record.lines[1777]["adapters"][0]["tx_bytes"] = 1e6;
    const std::string page = eadm::pageOf(record, "long");
    EXPECT_NE(page.find("<td>8.00M</td>"), std::string::npos);
    EXPECT_NE(page.find("<polygon"), std::string::npos);
    EXPECT_LT(page.size(), 400000u);
}

} // namespace
