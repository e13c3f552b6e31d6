// SPDX-License-Identifier: GPL-2.0-or-later
#include "decode.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace eadm {

namespace {

constexpr size_t kBlock = 32;

// Reads beyond the end are zero: a work request at the end of what was asked for may be cut off.
uint64_t little(Bytes bytes, size_t offset, size_t width) {
    uint64_t value = 0;
    for (size_t i = 0; i < width; ++i)
        if (offset + i < bytes.size())
            value |= uint64_t{bytes[offset + i]} << (8 * i);
    return value;
}

uint32_t le32(Bytes bytes, size_t offset) { return static_cast<uint32_t>(little(bytes, offset, 4)); }

uint32_t be32(Bytes bytes, size_t offset) { return __builtin_bswap32(le32(bytes, offset)); }

uint64_t field(uint64_t word, unsigned high, unsigned low) { return word >> low & ((uint64_t{2} << (high - low)) - 1); }

std::string hexOf(uint64_t value, int digits = 0) {
    return fmt::format("{:#0{}x}", value, digits == 0 ? 0 : digits + 2);
}

std::string hexBytes(Bytes bytes) {
    std::string text;
    for (const uint8_t byte : bytes)
        text += fmt::format("{:02x}", byte);
    return text;
}

struct Operation {
    const char* name;
    enum class Shape { None, Send, Write, Read, Atomic, FastReg, Invalidate } shape;
};

Operation operationOf(uint64_t opcode) {
    using Shape = Operation::Shape;
    switch (opcode) {
    case 0:
        return {"WRITE", Shape::Write};
    case 1:
        return {"READ", Shape::Read};
    case 2:
        return {"SEND", Shape::Send};
    case 3:
        return {"SEND_IMM", Shape::Send};
    case 9:
        return {"WRITE_IMM", Shape::Write};
    case 13:
        return {"SEND_INV", Shape::Send};
    case 14:
        return {"REG_MR", Shape::FastReg};
    case 15:
        return {"LOCAL_INV", Shape::Invalidate};
    case 16:
        return {"READ_INV", Shape::Read};
    case 17:
        return {"ATOMIC_CAS", Shape::Atomic};
    case 18:
        return {"ATOMIC_FAA", Shape::Atomic};
    default:
        return {nullptr, Shape::None};
    }
}

std::string completionName(uint64_t opcode) {
    switch (opcode) {
    case 4:
        return "RECV";
    case 5:
        return "RECV_IMM";
    case 6:
        return "RECV_INV";
    case 12:
        return "RECV_SEND_IMM";
    default:
        const Operation operation = operationOf(opcode);
        return operation.name ? operation.name : fmt::format("{}", opcode);
    }
}

Json segment(Bytes bytes, size_t offset) {
    Json json;
    json["addr"] = hexOf(little(bytes, offset, 8));
    json["length"] = le32(bytes, offset + 8);
    json["stag"] = hexOf(le32(bytes, offset + 12), 8);
    return json;
}

// Local data of a request: segments, or the bytes themselves.
void addPayload(Json& json, Bytes bytes, uint64_t header, size_t offset) {
    const auto length = static_cast<size_t>(field(header, 63, 56));
    if (json["inline"].get<bool>()) {
        const size_t begin = std::min(offset, bytes.size());
        json["data"] = hexBytes(bytes.subspan(begin, std::min(length, bytes.size() - begin)));
        return;
    }
    json["sgl"] = Json::array();
    for (size_t i = 0; i < length && offset + 16 * (i + 1) <= bytes.size(); ++i)
        json["sgl"].push_back(segment(bytes, offset + 16 * i));
}

Json accessOf(uint32_t word) {
    static constexpr std::array<const char*, 5> names = {"remote_atomic", "local_read", "local_write", "remote_read",
                                                         "remote_write"};
    Json list = Json::array();
    for (size_t i = 0; i < names.size(); ++i)
        if ((word >> (i + 1) & 1) != 0)
            list.push_back(names[i]);
    return list;
}

std::string syndromeName(uint64_t syndrome) {
    static constexpr std::array<const char*, 17> names = {
        "ok",       "general", "rq_format", "rq_stag",   "rq_bounds", "rq_rights", "rq_pd",   "rq_wrap", "sq_format",
        "sq_depth", "sq_stag", "sq_bounds", "sq_rights", "sq_pd",     "sq_wrap",   "flushed", "retries"};
    return syndrome < names.size() ? names[syndrome] : fmt::format("{}", syndrome);
}

std::string queueName(uint64_t type) {
    static constexpr std::array<const char*, 3> names = {"sq", "rq", "cmd"};
    return type < names.size() ? names[type] : fmt::format("{}", type);
}

} // namespace

std::string_view commandName(uint32_t sub, uint32_t opcode) {
    struct Name {
        uint32_t sub, opcode;
        std::string_view name;
    };
    static constexpr Name names[] = {
        {0, 0, "QUERY_DEVICE"}, {0, 1, "CREATE_QP"},     {0, 2, "DESTROY_QP"},      {0, 3, "MODIFY_QP"},
        {0, 4, "CREATE_CQ"},    {0, 5, "DESTROY_CQ"},    {0, 6, "REFLUSH"},         {0, 8, "REG_MR"},
        {0, 9, "DEREG_MR"},     {0, 11, "QUERY_QPC"},    {0, 12, "QUERY_CQC"},      {0, 14, "SET_GID"},
        {0, 15, "CREATE_AH"},   {0, 16, "DESTROY_AH"},   {0, 17, "QUERY_QP"},       {1, 0, "CREATE_EQ"},
        {1, 1, "DESTROY_EQ"},   {1, 2, "QUERY_FW_INFO"}, {1, 3, "CONF_MTU"},        {1, 4, "GET_STATS"},
        {1, 5, "CONF_DEVICE"},  {1, 6, "QUERY_EQC"},     {1, 7, "SET_RETRANS_NUM"}, {1, 8, "ALLOC_DB"},
        {1, 9, "FREE_DB"},      {1, 10, "SET_EXT_ATTR"}, {1, 11, "GET_EXT_ATTR"},   {1, 192, "QUERY_CHECK"}};
    for (const Name& one : names)
        if (one.sub == sub && one.opcode == opcode)
            return one.name;
    return "unknown";
}

std::optional<RingShape> ringNamed(std::string_view word) {
    static constexpr RingShape shapes[] = {{"sq", ERDMA_RING_SQ, false},       {"rq", ERDMA_RING_RQ, false},
                                           {"cq", ERDMA_RING_CQ, false},       {"eq", ERDMA_RING_EQ, false},
                                           {"cmdq", ERDMA_RING_CMD_SQ, false}, {"cmdcq", ERDMA_RING_CMD_CQ, false}};
    for (const RingShape& shape : shapes)
        if (shape.word == word)
            return shape;
    return std::nullopt;
}

Json decodeSqe(Bytes bytes) {
    const uint64_t header = little(bytes, 0, 8);
    const uint64_t opcode = field(header, 31, 27);
    const Operation operation = operationOf(opcode);
    const auto blocks = static_cast<size_t>(field(header, 54, 52)) + 1;
    bytes = bytes.first(std::min(bytes.size(), blocks * kBlock));
    Json json;
    json["op"] = operation.name ? operation.name : fmt::format("{}", opcode);
    json["qp"] = field(header, 51, 32);
    json["pi"] = field(header, 15, 0);
    json["blocks"] = blocks;
    json["signaled"] = field(header, 22, 22) != 0;
    json["solicited"] = field(header, 23, 23) != 0;
    json["fence"] = field(header, 24, 24) != 0;
    json["inline"] = field(header, 25, 25) != 0;
    json["direct"] = field(header, 26, 26) != 0;
    switch (operation.shape) {
    case Operation::Shape::Send:
        if (opcode == 3)
            json["imm"] = hexOf(be32(bytes, 8), 8);
        if (opcode == 13)
            json["inv_stag"] = hexOf(le32(bytes, 8), 8);
        json["length"] = le32(bytes, 12);
        addPayload(json, bytes, header, 16);
        break;
    case Operation::Shape::Write:
        if (opcode == 9)
            json["imm"] = hexOf(be32(bytes, 8), 8);
        json["length"] = le32(bytes, 12);
        json["sink_stag"] = hexOf(le32(bytes, 16), 8);
        json["sink_addr"] = hexOf(uint64_t{le32(bytes, 24)} << 32 | le32(bytes, 20));
        addPayload(json, bytes, header, 32);
        break;
    case Operation::Shape::Read:
        if (opcode == 16)
            json["inv_stag"] = hexOf(le32(bytes, 8), 8);
        json["length"] = le32(bytes, 12);
        json["sink_stag"] = hexOf(le32(bytes, 16), 8);
        json["sink_addr"] = hexOf(uint64_t{le32(bytes, 24)} << 32 | le32(bytes, 20));
        json["source"] = segment(bytes, 32);
        break;
    case Operation::Shape::Atomic:
        json["swap_add"] = hexOf(little(bytes, 16, 8));
        json["compare"] = hexOf(little(bytes, 24, 8));
        json["remote"] = segment(bytes, 32);
        json["local"] = segment(bytes, 48);
        break;
    case Operation::Shape::FastReg: {
        const uint32_t attributes = le32(bytes, 24);
        json["iova"] = hexOf(little(bytes, 8, 8));
        json["length"] = le32(bytes, 16);
        json["stag"] = hexOf(le32(bytes, 20), 8);
        json["pages"] = field(attributes, 31, 12);
        json["page_list"] = field(attributes, 7, 6) == 0 ? "inline" : "table";
        json["access"] = accessOf(attributes);
        break;
    }
    case Operation::Shape::Invalidate:
        json["stag"] = hexOf(le32(bytes, 20), 8);
        break;
    case Operation::Shape::None:
        break;
    }
    return json;
}

Json decodeRqe(Bytes bytes) {
    Json json;
    json["pi"] = little(bytes, 0, 2);
    json["qp"] = le32(bytes, 4);
    json["addr"] = hexOf(little(bytes, 16, 8));
    json["length"] = le32(bytes, 24);
    json["stag"] = hexOf(le32(bytes, 28), 8);
    return json;
}

Json decodeCqe(Bytes bytes) {
    const uint32_t header = be32(bytes, 0);
    const uint64_t opcode = field(header, 23, 16);
    Json json;
    json["owner"] = field(header, 31, 31);
    json["op"] = completionName(opcode);
    json["queue"] = queueName(field(header, 15, 8));
    json["syndrome"] = syndromeName(field(header, 7, 0));
    json["qp"] = be32(bytes, 8);
    json["index"] = be32(bytes, 4) & 0xFFFF;
    json["length"] = be32(bytes, 16);
    if (opcode == 5 || opcode == 12)
        json["imm"] = hexOf(le32(bytes, 12), 8);
    if (opcode == 6)
        json["inv_stag"] = hexOf(be32(bytes, 12), 8);
    return json;
}

Json decodeCommandCqe(Bytes bytes) {
    const uint32_t header = be32(bytes, 0);
    Json json;
    json["owner"] = field(header, 31, 31);
    json["queue"] = queueName(field(header, 15, 8));
    json["status"] = field(header, 7, 0);
    json["sq_index"] = be32(bytes, 4);
    json["resp0"] = hexOf(uint64_t{be32(bytes, 12)} << 32 | be32(bytes, 8));
    json["resp1"] = hexOf(uint64_t{be32(bytes, 20)} << 32 | be32(bytes, 16));
    return json;
}

Json decodeCommand(Bytes bytes) {
    const uint64_t header = little(bytes, 0, 8);
    const auto sub = static_cast<uint32_t>(field(header, 25, 24));
    const auto opcode = static_cast<uint32_t>(field(header, 23, 16));
    Json json;
    json["command"] = commandName(sub, opcode);
    json["sub"] = sub;
    json["opcode"] = opcode;
    json["cookie"] = field(header, 47, 32);
    json["pi"] = field(header, 15, 0);
    json["blocks"] = field(header, 54, 52) + 1;
    Json words = Json::array();
    size_t used = bytes.size();
    while (used > 8 && std::all_of(bytes.begin() + static_cast<ptrdiff_t>(used) - 4,
                                   bytes.begin() + static_cast<ptrdiff_t>(used), [](uint8_t b) { return b == 0; }))
        used -= 4;
    for (size_t offset = 8; offset < used; offset += 4)
        words.push_back(hexOf(le32(bytes, offset)));
    json["words"] = words;
    return json;
}

Json decodeCeqe(Bytes bytes) {
    const uint64_t word = little(bytes, 0, 8);
    Json json;
    json["owner"] = field(word, 31, 31);
    json["cq"] = field(word, 19, 0);
    json["pi"] = field(word, 55, 32);
    return json;
}

Json decodeAeqe(Bytes bytes) {
    static constexpr std::array<const char*, 5> names = {"qp_fatal", "qp_erq", "access", "cq", "other"};
    const uint32_t header = le32(bytes, 0);
    const uint64_t type = field(header, 23, 16);
    Json json;
    json["owner"] = field(header, 31, 31);
    json["type"] = type < names.size() ? names[type] : fmt::format("{}", type);
    json["subtype"] = field(header, 7, 0);
    json["object"] = le32(bytes, 4);
    json["data"] = hexOf(le32(bytes, 8));
    return json;
}

Json decodeRing(const RingShape& shape, const RingPart& part, bool hex) {
    Json list = Json::array();
    const Bytes all(part.bytes);
    for (uint32_t slot = 0; slot < part.count;) {
        const Bytes rest = all.subspan(size_t{slot} * part.entryBytes);
        const Bytes one = rest.first(std::min<size_t>(rest.size(), part.entryBytes));
        Json json;
        uint32_t used = 1;
        json["slot"] = part.first + slot;
        switch (shape.ring) {
        case ERDMA_RING_SQ:
            json.update(decodeSqe(rest));
            used = std::min(json["blocks"].get<uint32_t>(), part.count - slot);
            break;
        case ERDMA_RING_RQ:
            json.update(decodeRqe(one));
            break;
        case ERDMA_RING_CQ:
            json.update(decodeCqe(one));
            break;
        case ERDMA_RING_CMD_SQ:
            json.update(decodeCommand(one));
            break;
        case ERDMA_RING_CMD_CQ:
            json.update(decodeCommandCqe(one));
            break;
        default:
            json.update(shape.asynchronous ? decodeAeqe(one) : decodeCeqe(one));
        }
        if (hex)
            json["hex"] = hexBytes(rest.first(std::min<size_t>(rest.size(), size_t{used} * part.entryBytes)));
        list.push_back(std::move(json));
        slot += used;
    }
    return list;
}

std::vector<std::string> waitingOperations(const Driver& driver, uint32_t device, const erdma_info_qp& qp) {
    constexpr uint32_t kMostBlocks = 64; // that are decoded
    std::vector<std::string> names;
    const auto blocks = static_cast<uint16_t>(qp.hw.sq_pi - qp.hw.sq_ci);
    if (blocks == 0 || qp.sq_depth == 0)
        return names;
    const uint32_t first = qp.hw.sq_ci & (qp.sq_depth - 1);
    const uint32_t count = std::min({uint32_t{blocks}, qp.sq_depth - first, kMostBlocks});
    const RingPart part = driver.dump(device, ERDMA_RING_SQ, qp.number, first, count);
    for (const Json& entry : decodeRing(*ringNamed("sq"), part, false))
        names.push_back(entry["op"].get<std::string>());
    return names;
}

std::string entryLine(const Json& entry) {
    std::string text = fmt::format("[{:>4}]", entry["slot"].get<uint64_t>());
    std::string hex;
    for (const auto& [name, value] : entry.items()) {
        if (name == "slot")
            continue;
        if (name == "hex") {
            hex = value.get<std::string>();
        } else if (value.is_boolean()) {
            if (value.get<bool>())
                text += " " + name;
        } else if (value.is_object() || (value.is_array() && !value.empty() && value[0].is_object())) {
            text += fmt::format(" {}=", name);
            const Json parts = value.is_object() ? Json::array({value}) : value;
            for (const Json& part : parts)
                text += fmt::format("[{}+{} {}]", plain(part["addr"]), plain(part["length"]), plain(part["stag"]));
        } else {
            text += fmt::format(" {}={}", name, plain(value));
        }
    }
    text += '\n';
    for (size_t i = 0; i < hex.size(); i += 64)
        text += fmt::format("        {}\n", hex.substr(i, 64));
    return text;
}

} // namespace eadm
