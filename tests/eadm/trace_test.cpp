// SPDX-License-Identifier: GPL-2.0-or-later
// Records of the kernel's tracing, as libtraceevent takes them apart.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include <traceevent/event-parse.h>

#include "traceevent.h"

namespace {

using eadm::Json;

constexpr const char* kHead = "ID: 1500\nformat:\n"
                              "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
                              "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n";

struct Field {
    std::string type, name;
    std::vector<uint8_t> bytes;
};

Field number(const std::string& type, const std::string& name, uint32_t value) {
    std::vector<uint8_t> bytes(4);
    std::memcpy(bytes.data(), &value, 4);
    return {type, name, bytes};
}

// The event as facts; the record may be `cut` short.
Json traced(const std::string& name, const std::vector<Field>& fields, size_t cut = 0) {
    std::string text = "name: " + name + "\n" + kHead;
    std::vector<uint8_t> data(8);
    data[0] = 1500 & 0xFF;
    data[1] = 1500 >> 8;
    for (const Field& field : fields) {
        text += "\tfield:" + field.type + " " + field.name + ";\toffset:" + std::to_string(data.size()) +
                ";\tsize:" + std::to_string(field.bytes.size()) + ";\tsigned:" + (field.type == "int" ? "1" : "0") +
                ";\n";
        data.insert(data.end(), field.bytes.begin(), field.bytes.end());
    }
    text += "\nprint fmt: \"x\"\n";
    const std::unique_ptr<tep_handle, void (*)(tep_handle*)> tep(tep_alloc(), tep_free);
    EXPECT_EQ(tep_parse_event(tep.get(), text.c_str(), text.size(), "erdma"), 0);
    tep_event* event = tep_find_event(tep.get(), 1500);
    EXPECT_NE(event, nullptr);
    data.resize(data.size() - cut);
    tep_record record{};
    record.data = data.data();
    record.size = static_cast<int>(data.size());
    Json json = eadm::traceJson(*event, record);
    json["time"] = "now";
    return json;
}

TEST(EadmTrace, Records) {
    EXPECT_EQ(eadm::traceText(traced("erdma_cmd_done",
                                     {number("u32", "device", 0), number("u32", "slot", 7), number("u32", "sub", 0),
                                      number("u32", "opcode", 1), number("int", "err", static_cast<uint32_t>(-12))})),
              "now 0 cmd_done slot=7 error=-12 command=CREATE_QP\n");
    const Json state =
        traced("erdma_cm_state", {number("u32", "device", 1), number("u32", "cep", 4), number("u32", "qpn", 9),
                                  number("u32", "from", 2), number("u32", "to", 5)});
    EXPECT_EQ(state["event"], "cm_state");
    EXPECT_EQ(state["qp"], 9);
    EXPECT_EQ(state["state"], "WAIT_REPLY->RDMA");
    EXPECT_EQ(traced("erdma_qp_state", {number("u32", "from", 0), number("u32", "to", 2)})["state"], "IDLE->RTS");
    const Json event =
        traced("erdma_cm_event", {number("u32", "device", 1), number("u32", "state", 5), number("u32", "event", 4)});
    EXPECT_EQ(event["what"], "timeout");
    EXPECT_EQ(event["state"], "RDMA");
    EXPECT_EQ(traced("erdma_async_event", {number("u32", "type", 3), {"bool", "known", {0}}})["unknown_object"], true);
    EXPECT_EQ(traced("erdma_async_event", {number("u32", "type", 3), {"bool", "known", {1}}})["unknown_object"], false);
}

TEST(EadmTrace, TextsAreSafe) {
    std::vector<uint8_t> why(48, 0);
    std::memcpy(why.data(), "a \033[31mcommand\n", 15);
    EXPECT_EQ(traced("erdma_device_broken", {{"char", "why[48]", why}})["why"], "a ?[31mcommand?");
}

TEST(EadmTrace, ShortRecords) {
    for (size_t cut = 1; cut <= 12; ++cut) {
        const Json json = traced("erdma_qp_state",
                                 {number("u32", "device", 1), number("u32", "from", 0), number("u32", "to", 2)}, cut);
        EXPECT_FALSE(json.contains("state")) << cut;
    }
}

} // namespace
