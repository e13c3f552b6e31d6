// SPDX-License-Identifier: GPL-2.0-or-later
// What eadm prints: tables, facts, numbers, rates, times; and names that programs chose to do harm.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <ctime>

#include "commands.h"
#include "objects.h"
#include "rates.h"

namespace {

using eadm::Json;

erdma_info_qp exampleQp() {
    erdma_info_qp qp{};
    qp.number = 7;
    qp.known = ERDMA_KNOWN_ADDRESSES | ERDMA_KNOWN_SQ_PI | ERDMA_KNOWN_HARDWARE;
    qp.state = 2;
    qp.flags = ERDMA_QP_FLAG_PASSIVE;
    qp.send_cq = 3;
    qp.recv_cq = 4;
    qp.sq_pi = 65535;
    qp.cc = 1;
    qp.owner.pid = 42;
    std::memcpy(qp.owner.name, "prog", 5);
    const uint8_t own[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 10, 77, 0, 1};
    std::memcpy(qp.link.own, own, 16);
    qp.link.peer[0] = 0xFE;
    qp.link.peer[1] = 0x80;
    qp.link.peer[15] = 9;
    qp.link.own_port = 4420;
    qp.link.peer_port = 33000;
    return qp;
}

TEST(EadmFormat, DecimalIsTheWholeText) {
    EXPECT_EQ(eadm::decimal("2.5"), 2.5);
    EXPECT_EQ(eadm::decimal(".5"), 0.5);
    EXPECT_EQ(eadm::decimal("1e3"), 1000);
    EXPECT_EQ(eadm::decimal("-1"), -1);
    for (const char* text : {"", " 1", "1 ", "1,5", "5x", "0x10", "inf", "nan", "1e999", "1.2.3"})
        EXPECT_EQ(eadm::decimal(text), std::nullopt) << text;
}

TEST(EadmFormat, TableIsGolden) {
    Json rows = Json::array({eadm::toJson(exampleQp())});
    rows.push_back(eadm::toJson(erdma_info_qp{}));
    EXPECT_EQ(eadm::table(eadm::columnsOf(ERDMA_KIND_QP), rows),
              "QP  STATE  LOCAL           REMOTE           ROLE     SQ_PI  RQ_PI  SCQ  RCQ  PID  OWNER\n"
              " 7  RTS    10.77.0.1:4420  [fe80::9]:33000  passive  65535      -    3    4   42  prog\n"
              " 0  IDLE   -               -                -            -      -    0    0    0  -\n");
}

TEST(EadmFormat, RoceQueuePairs) {
    erdma_info_qp qp = exampleQp();
    qp.state = ERDMA_QP_STATE_ROCE + 3;
    qp.known |= ERDMA_KNOWN_ROCE;
    qp.roce.path_mtu = 3;
    qp.roce.sq_psn = 77;
    Json json = eadm::toJson(qp);
    EXPECT_EQ(json["state"], "RTS");
    EXPECT_EQ(json["type"], "rc");
    EXPECT_TRUE(json["role"].is_null());
    EXPECT_EQ(json["roce"]["path_mtu"], 1024);
    EXPECT_TRUE(json["roce"]["sq_psn"].is_null()); // the adapter was not asked
    qp.known |= ERDMA_KNOWN_PSN;
    qp.flags |= ERDMA_QP_FLAG_DATAGRAM;
    qp.number = 1;
    json = eadm::toJson(qp);
    EXPECT_EQ(json["roce"]["sq_psn"], 77);
    EXPECT_EQ(json["type"], "gsi");
    EXPECT_EQ(eadm::qpState(ERDMA_QP_STATE_ROCE + 7), "23");
    EXPECT_EQ(eadm::toJson(exampleQp())["role"], "passive");
    EXPECT_TRUE(eadm::toJson(exampleQp())["roce"].is_null());
}

TEST(EadmFormat, FactsIndent) {
    EXPECT_EQ(eadm::facts({{"a", 1}, {"longer", nullptr}, {"in", {{"x", true}, {"list", {1, 2}}}}}),
              "a       1\nlonger  -\nin:\n  x     yes\n  list  1,2\n");
}

TEST(EadmFormat, Numbers) {
    EXPECT_EQ(eadm::scaled(0), "0");
    EXPECT_EQ(eadm::scaled(9999), "9999");
    EXPECT_EQ(eadm::scaled(12345), "12.3k");
    EXPECT_EQ(eadm::scaled(1234567), "1.23M");
    EXPECT_EQ(eadm::scaled(999e9), "999G");
    EXPECT_EQ(eadm::firmwareText(0x225), "0.0.549");
    EXPECT_EQ(eadm::qpState(2), "RTS");
    EXPECT_EQ(eadm::qpState(77), "77");
    EXPECT_EQ(eadm::cepState(ERDMA_CEP_STATE_LISTEN), "LISTEN");
}

TEST(EadmFormat, HostileNames) {
    const uint8_t name[] = {'a', 0x1B, '[', '3', '1', 'm', 0xFF, '\n', 'b', 0, 'x'};
    EXPECT_EQ(eadm::textOf(name), "a?[31m??b");
    const uint8_t full[] = {'f', 'u', 'l', 'l'};
    EXPECT_EQ(eadm::textOf(full), "full");
    erdma_info_pd pd{};
    std::memset(pd.owner.name, 0xFE, sizeof(pd.owner.name));
    EXPECT_NO_THROW(eadm::toJson(pd).dump());
}

TEST(EadmFormat, Suggestions) {
    const std::vector<std::string> known = {"ver", "dev", "info", "stat", "dump", "conf", "trace", "doctor"};
    EXPECT_EQ(eadm::nearest("docotr", known), "doctor");
    EXPECT_EQ(eadm::nearest("inf", known), "info");
    EXPECT_EQ(eadm::nearest("sttat", known), "stat");
    EXPECT_EQ(eadm::nearest("xylophone", known), "");
    EXPECT_EQ(eadm::nearest("", known), "");
}

TEST(EadmFormat, DeviceNames) {
    erdma_info_device device{};
    std::memcpy(device.name, "rocep1s0", 9);
    std::memcpy(device.pci, "0000:01:00.0", 13);
    EXPECT_TRUE(eadm::isDevice(device, "rocep1s0"));
    EXPECT_TRUE(eadm::isDevice(device, "0000:01:00.0"));
    EXPECT_TRUE(eadm::isDevice(device, "01:00.0"));
    EXPECT_FALSE(eadm::isDevice(device, "1:00.0"));
    EXPECT_FALSE(eadm::isDevice(device, ""));
}

TEST(EadmRates, CountersAndIndices) {
    eadm::Sample before;
    eadm::Sample now;
    before.at = 10;
    now.at = 12;
    before.counters.set(eadm::Counter::tx_bytes_cnt, 1000);
    before.counters.set(eadm::Counter::rx_bytes_cnt, 500);
    now.counters.set(eadm::Counter::tx_bytes_cnt, 3000);
    now.counters.set(eadm::Counter::rx_bytes_cnt, 100);
    now.counters.set("tx_packets_cnt", 4);
    now.counters.set("of_a_newer_driver_cnt", 4);
    EXPECT_FALSE(now.counters.knows(eadm::Counter::rx_packets_cnt));
    Json rates = eadm::deviceRates(before, now);
    EXPECT_EQ(rates["tx_bytes"], 1000.0);
    EXPECT_EQ(rates["rx_bytes"], 50.0); // began anew
    EXPECT_EQ(rates["tx_packets"], 2.0);

    auto qp = exampleQp();
    qp.age_ms = 100;
    before.qps = {qp};
    qp.age_ms = 2100;
    qp.sq_pi = 9; // wrapped: 10 blocks
    auto other = exampleQp();
    other.number = 8;
    now.qps = {qp, other};
    Json rows = eadm::queuePairRates(before, now, 5);
    ASSERT_EQ(rows.size(), 2u);
    EXPECT_EQ(rows[0]["qp"], 7);
    EXPECT_EQ(rows[0]["posted_blocks"], 5.0);
    EXPECT_EQ(rows[1]["posted_blocks"], 0.0);
    EXPECT_EQ(eadm::queuePairRates(before, now, 1).size(), 1u);
    // Another object with the same number: no rate.
    now.qps[0].age_ms = 50;
    EXPECT_EQ(eadm::queuePairRates(before, now, 1)[0]["posted_blocks"], 0.0);
}

TEST(EadmFormat, Times) {
    // Whatever the time zone: the same moment, as RFC 3339 writes it.
    setenv("TZ", "UTC-5:30", 1);
    tzset();
    EXPECT_EQ(eadm::timeText(1'000'000'000'123'456'789), "2001-09-09T07:16:40.123456+05:30");
    setenv("TZ", "UTC+3", 1);
    tzset();
    EXPECT_EQ(eadm::timeText(1'000'000'000'000'000'000), "2001-09-08T22:46:40.000000-03:00");
    unsetenv("TZ");
    tzset();
}

TEST(EadmFormat, SettingsHaveNames) {
    erdma_info_conf conf{};
    std::memcpy(conf.name, "cc", 3);
    conf.most = 4;
    conf.value = 1;
    Json json = eadm::toJson(conf);
    EXPECT_EQ(json["value"], "cubic");
    EXPECT_EQ(json["number"], 1);
    EXPECT_EQ(json["names"], Json({"newreno", "cubic", "hpcc_rtt", "hpcc_ecn", "hpcc_int"}));
    conf.value = 3;
    conf.most = 77;
    EXPECT_EQ(eadm::toJson(conf)["names"].size(), 5u);
    conf.value = 70;
    EXPECT_EQ(eadm::toJson(conf)["value"], 70);
    std::memcpy(conf.name, "acks", 5);
    EXPECT_EQ(eadm::toJson(conf)["names"], Json::array());
}

} // namespace
