// SPDX-License-Identifier: GPL-2.0-or-later
#include "traceevent.h"

#include <algorithm>
#include <array>
#include <optional>

#include <traceevent/event-parse.h>

#include <fmt/format.h>

#include "decode.h"
#include "objects.h"

namespace eadm {

namespace {

std::string cmEvent(uint32_t number) {
    static constexpr std::array<const char*, 5> names = {"shutdown", "qp_stopped", "socket", "listener_gone",
                                                         "timeout"};
    return number < names.size() ? names[number] : fmt::format("{}", number);
}

// A number, or the characters of an array; null for what lies outside of the record.
Json valueOf(tep_format_field& field, tep_record& record) {
    const auto begin = static_cast<size_t>(std::max(field.offset, 0));
    const auto size = static_cast<size_t>(std::max(field.size, 0));
    const auto all = static_cast<size_t>(std::max(record.size, 0));
    if (begin > all || size > all - begin)
        return {};
    const auto* bytes = static_cast<const uint8_t*>(record.data) + begin;
    if ((field.flags & TEP_FIELD_IS_ARRAY) != 0)
        return textOf({bytes, size});
    unsigned long long number = 0;
    if (tep_read_number_field(&field, record.data, &number) != 0)
        return {};
    if ((field.flags & TEP_FIELD_IS_SIGNED) != 0)
        return size == 4 ? Json(static_cast<int32_t>(number)) : Json(static_cast<int64_t>(number));
    return number;
}

// A field as a number below 2^32; it is taken out of `fields`.
std::optional<uint32_t> take(Json& fields, const char* name) {
    if (!fields.contains(name))
        return std::nullopt;
    const Json value = fields[name];
    fields.erase(name);
    return value.is_number_unsigned() ? std::optional(value.get<uint32_t>()) : std::nullopt;
}

} // namespace

Json traceJson(tep_event& event, tep_record& record) {
    Json fields = Json::object();
    for (tep_format_field* field = event.format.fields; field; field = field->next)
        fields[field->name] = valueOf(*field, record);

    const std::string name = event.name;
    Json json;
    json["event"] = name.starts_with("erdma_") ? name.substr(6) : name;
    json["device"] = fields.contains("device") ? fields["device"] : Json();
    fields.erase("device");
    const auto stateName = name == "erdma_qp_state" ? qpState : cepState;
    const auto sub = take(fields, "sub"), opcode = take(fields, "opcode");
    const auto from = take(fields, "from"), to = take(fields, "to");
    const auto state = take(fields, "state"), what = take(fields, "event");
    for (const auto& [key, value] : fields.items())
        if (key == "qpn")
            json["qp"] = value;
        else if (key == "err")
            json["error"] = value;
        else if (key == "known")
            json["unknown_object"] = value == 0;
        else
            json[key] = value;
    if (sub && opcode)
        json["command"] = std::string(commandName(*sub, *opcode));
    if (from && to)
        json["state"] = stateName(*from) + "->" + stateName(*to);
    if (state)
        json["state"] = stateName(*state);
    if (what)
        json["what"] = cmEvent(*what);
    return json;
}

std::string traceText(const Json& event) {
    std::string text = fmt::format("{} {} {}", plain(event["time"]), plain(event["device"]), plain(event["event"]));
    for (const auto& [name, value] : event.items())
        if (name != "time" && name != "device" && name != "event" && name != "json_version")
            text += fmt::format(" {}={}", name, plain(value));
    return text + '\n';
}

} // namespace eadm
