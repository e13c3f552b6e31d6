// SPDX-License-Identifier: GPL-2.0-or-later
#include "tracetext.h"

#include <array>
#include <charconv>

#include <fmt/format.h>

#include "decode.h"
#include "objects.h"

namespace eadm {

namespace {

std::optional<uint32_t> numberOf(std::string_view text) {
    uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

// "2->5" with names.
Json transition(std::string_view text, std::string (*name)(uint32_t)) {
    const size_t arrow = text.find("->");
    if (arrow == std::string_view::npos) {
        const auto only = numberOf(text);
        return only ? Json(name(*only)) : Json(std::string(text));
    }
    const auto from = numberOf(text.substr(0, arrow));
    const auto to = numberOf(text.substr(arrow + 2));
    return from && to ? Json(name(*from) + "->" + name(*to)) : Json(std::string(text));
}

std::string cmEvent(uint32_t number) {
    static constexpr std::array<const char*, 5> names = {"shutdown", "qp_stopped", "socket", "listener_gone",
                                                         "timeout"};
    return number < names.size() ? names[number] : fmt::format("{}", number);
}

} // namespace

// "  prog-12  [000] ..... 123.456789: erdma_cmd_done: device=0 slot=4 command=0/1 error=0"
std::optional<Json> parseTraceLine(std::string_view line) {
    const size_t mark = line.find(": erdma_");
    if (mark == std::string_view::npos)
        return std::nullopt;
    const size_t nameEnd = line.find(':', mark + 2);
    if (nameEnd == std::string_view::npos)
        return std::nullopt;
    const std::string event(line.substr(mark + 8, nameEnd - mark - 8));
    const size_t timeBegin = line.substr(0, mark).rfind(' ') + 1; // 0 without a blank
    Json json;
    json["time"] = std::string(line.substr(timeBegin, mark - timeBegin));
    json["event"] = event;
    json["device"] = Json();
    std::string_view rest = line.substr(nameEnd + 1);
    while (!rest.empty()) {
        const size_t begin = rest.find_first_not_of(' ');
        if (begin == std::string_view::npos)
            break;
        rest.remove_prefix(begin);
        const size_t equals = rest.find('=');
        if (equals == std::string_view::npos) {
            json["unknown_object"] = rest.find("unknown") != std::string_view::npos;
            break;
        }
        const bool quoted = equals + 1 < rest.size() && rest[equals + 1] == '"';
        const size_t end = std::min(rest.size(), quoted ? rest.find('"', equals + 2) : rest.find(' ', equals));
        const std::string key(rest.substr(0, equals));
        const std::string_view value = rest.substr(equals + (quoted ? 2 : 1), end - equals - (quoted ? 2 : 1));
        if (key == "command") {
            const size_t slash = value.find('/');
            const auto sub = numberOf(value.substr(0, slash));
            const auto opcode = slash == std::string_view::npos ? std::nullopt : numberOf(value.substr(slash + 1));
            json[key] = sub && opcode ? Json(std::string(commandName(*sub, *opcode))) : Json(std::string(value));
        } else if (key == "state") {
            json[key] = transition(value, event == "qp_state" ? qpState : cepState);
        } else if (key == "event") {
            json["what"] = transition(value, cmEvent);
        } else if (const auto number = numberOf(value)) {
            json[key] = *number;
        } else {
            json[key] = std::string(value);
        }
        rest.remove_prefix(std::min(rest.size(), end + (quoted ? 1 : 0)));
    }
    if (!json["device"].is_number())
        return std::nullopt;
    return json;
}

std::string traceText(const Json& event) {
    std::string text = fmt::format("{} {} {}", plain(event["time"]), plain(event["device"]), plain(event["event"]));
    for (const auto& [name, value] : event.items())
        if (name != "time" && name != "device" && name != "event")
            text += fmt::format(" {}={}", name, plain(value));
    return text + '\n';
}

} // namespace eadm
